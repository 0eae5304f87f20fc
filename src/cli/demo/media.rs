//! The small real library that is built into the program, for a demo without one of the user's own.
//!
//! `README.md` among the files names where each comes from and its licence; it goes wherever they go.

use crate::error::{Error, Result};
use std::path::Path;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../tests/media/", $path)))),*]
    };
}

/// Path and bytes of each file, in the order of their paths.
pub const FILES: &[(&str, &[u8])] = files![
    "Photos/2008/Wood.jpg",
    "README.md",
    "Rutger Muller/Piano/01 Piano.wav",
    "Sub-d/Guitar/01 E Minor Ninth.mp3",
    "Videos/Lunar Land.mp4",
    "corsica_s/Alarms/01 Alarm Clock.ogg",
    "kaligari/Hums/01 Haunted Hum.flac",
    "kaligari/Hums/02 Glass Hum.flac",
    "kaligari/Hums/cover.png",
    "maqsim/Lunar Land/01 Lunar Land.mp3",
];

/// Writes the library below `root`, which is made.
///
/// # Errors
/// [`Error::Io`].
pub fn write(root: &Path) -> Result<()> {
    for (path, bytes) in FILES {
        let file = root.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        }
        std::fs::write(&file, bytes).map_err(Error::io("write", file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media");
        let (mut folders, mut found) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        assert_eq!(found, FILES.iter().map(|(path, _)| *path).collect::<Vec<_>>());
        assert!(FILES.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= 5_000_000);
    }
}
