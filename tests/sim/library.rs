//! The library that is backed up: real files in a folder of their own, which grow new, changed and nearly equal ones.

use super::chance::Chance;
use crate::support::touch;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What lies in a library, by the path below its root.
pub type Files = BTreeMap<String, Arc<Vec<u8>>>;

pub struct Library {
    dir: tempfile::TempDir,
    pub files: Files,
    /// Writes so far: each gets a time of its own.
    pub writes: i64,
}

const FOLDERS: [&str; 4] = ["a", "b", "c/d", "e"];

/// Bytes of one file at most, about.
const LONG: u64 = 60_000;

/// Sound of 16 bits and two channels with a header and a tag of some length.
fn wav(chance: &mut Chance, samples: &[u8]) -> Vec<u8> {
    let n = chance.below(300) as usize & !1;
    let tag = chance.bytes(n as u64);
    let mut out = b"RIFF".to_vec();
    out.extend(((4 + 24 + 8 + samples.len() + 8 + tag.len()) as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0\x44\xac\0\0\x10\xb1\x02\0\x04\0\x10\0LIST");
    out.extend((tag.len() as u32).to_le_bytes());
    out.extend(tag);
    out.extend(b"data");
    out.extend((samples.len() as u32).to_le_bytes());
    out.extend(samples);
    out
}

fn sound(chance: &mut Chance) -> Vec<u8> {
    let (mut left, mut right) = (0i32, 0i32);
    let frames = 2_000 + chance.below(8_000);
    let steps = chance.bytes(2 * frames);
    steps
        .chunks_exact(2)
        .flat_map(|s| {
            left = (left + i32::from(s[0] as i8)).clamp(-30_000, 30_000);
            right = (left + i32::from(s[1] as i8) / 4).clamp(-30_000, 30_000);
            let (l, r) = ((left as i16).to_le_bytes(), (right as i16).to_le_bytes());
            [l[0], l[1], r[0], r[1]]
        })
        .collect()
}

/// A tar archive of some files.
fn tar(members: &[(&String, &Arc<Vec<u8>>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in members {
        let mut head = vec![0; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..108].copy_from_slice(b"0000644\0");
        head[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        head[156] = b'0';
        head[257..265].copy_from_slice(b"ustar\x0000");
        head[148..156].fill(b' ');
        let sum: u32 = head.iter().map(|b| u32::from(*b)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(head);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

impl Library {
    pub fn new() -> Library {
        let dir = tempfile::tempdir().unwrap();
        for folder in FOLDERS {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Library { dir, files: Files::new(), writes: 0 }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn some(&self, chance: &mut Chance) -> Option<(String, Arc<Vec<u8>>)> {
        let nth = chance.below(self.files.len() as u64) as usize;
        self.files.iter().nth(nth).map(|(n, b)| (n.clone(), Arc::clone(b)))
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let path = self.at(name);
        fs::write(&path, &bytes).unwrap();
        self.writes += 1;
        touch(&path, 1_500_000_000 + self.writes, self.writes);
        self.files.insert(name.to_owned(), Arc::new(bytes));
    }

    fn remove(&mut self, name: &str) {
        fs::remove_file(self.at(name)).unwrap();
        self.files.remove(name);
    }

    /// Changes some files.
    pub fn edit(&mut self, chance: &mut Chance) {
        for _ in 0..=chance.below(4) {
            self.edit_one(chance);
        }
    }

    fn edit_one(&mut self, chance: &mut Chance) {
        let name = format!("{}/{}", chance.pick(&FOLDERS), chance.below(7));
        let old = self.some(chance);
        let bytes = match (chance.below(12), old) {
            (0, Some((old, _))) => return self.remove(&old),
            (1, Some((old, bytes))) => {
                self.remove(&old);
                bytes.to_vec()
            }
            // much like another one: chunks are stored as what they lack
            (2..=4, Some((_, bytes))) => {
                let mut bytes = bytes.to_vec();
                let at = chance.below(bytes.len() as u64 + 1) as usize;
                let n = chance.below(400);
                bytes.splice(at..at, chance.bytes(n));
                bytes
            }
            (5, Some((_, bytes))) if bytes.starts_with(b"RIFF") => {
                let at = bytes.windows(4).position(|w| w == b"data").unwrap_or(0) + 8;
                wav(chance, &bytes[at.min(bytes.len())..])
            }
            (5, Some(_)) => {
                let two: Vec<_> = self.files.iter().take(1 + chance.below(3) as usize).collect();
                tar(&two)
            }
            (6, _) => {
                let n = chance.below(600);
                chance.bytes(n)
            }
            (7, _) => vec![chance.next() as u8; chance.below(4 * LONG) as usize],
            (8, _) => {
                let n = chance.below(3_000);
                (0..n).flat_map(|i| format!("line {} of {n}\n", i * i % 97).into_bytes()).collect()
            }
            (9 | 10, _) => {
                let samples = sound(chance);
                wav(chance, &samples)
            }
            _ => {
                let n = chance.below(LONG);
                chance.bytes(n)
            }
        };
        self.put(&name, bytes);
    }
}
