//! Recipes, trees, snapshots, and what the log means.
//!
//! This floor knows how snapshots are built from chunks: folders are sorted maps cut into nodes
//! ([`map`]), long streams are lists ([`list`]), files are recipes ([`recipe`]). It reads and writes
//! chunks only through the traits of [`crate::pack`], so it knows no disk. [`state`] folds the log's
//! entries into what exists.
//!
//! # Invariants
//!
//! 1. Equal folders have equal roots: nodes are cut by the names in them alone.
//! 2. Everything is built and read in memory that does not grow with the folder, the file or the store;
//!    depth and levels are bounded.
//! 3. Names and lengths that come from chunks are checked before they are used.

pub mod list;
pub mod map;
pub mod recipe;
pub mod state;
pub mod tree;

#[cfg(test)]
pub(crate) mod testing {
    //! Chunks in a hash map.

    use crate::error::{Error, Result};
    use crate::format::{ChunkId, ChunkKind, Keys};
    use crate::pack::{ReadChunks, WriteChunks};
    use std::collections::HashMap;

    pub struct Chunks {
        pub keys: Keys,
        pub held: HashMap<ChunkId, Vec<u8>>,
        /// Those of kind list.
        pub lists: std::collections::HashSet<ChunkId>,
    }

    impl Default for Chunks {
        fn default() -> Self {
            Chunks { keys: Keys::new([7; 32], 0), held: HashMap::new(), lists: Default::default() }
        }
    }

    impl WriteChunks for Chunks {
        fn put(&mut self, kind: ChunkKind, bytes: &[u8]) -> Result<ChunkId> {
            let id = self.keys.chunk_id(kind, bytes);
            if kind == ChunkKind::List {
                self.lists.insert(id);
            }
            self.held.insert(id, bytes.to_vec());
            Ok(id)
        }
    }

    impl ReadChunks for Chunks {
        fn chunk(&self, _kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
            self.held.get(id).cloned().ok_or_else(|| Error::ChunkMissing { chunk: id.to_string() })
        }
    }
}
