//! Whether the source itself is in order: floors, owners of foreign crates, headers, words.
//!
//! `ls src` is the architecture: a module uses only those above it in the list of floors. Imports are
//! read as text (`crate::name`), which is enough for code that is formatted by rustfmt.

use std::fs;
use std::path::{Path, PathBuf};

/// From the top: each uses only those before it.
const FLOORS: &[&str] = &[
    "error", "format", "io", "chunk", "media", "pack", "index", "catalog", "pool", "remote", "store", "ops", "serve",
    "mount", "cli",
];

/// Who may use a foreign crate.
const OWNERS: &[(&str, &[&str])] = &[
    ("blake3", &["format"]),
    ("twox_hash", &["format"]),
    ("sha2", &["format"]),
    ("md5", &["format"]),
    ("tar", &["ops"]),
    ("fastcdc", &["chunk"]),
    ("zstd", &["chunk"]),
    ("rocksdb", &["index"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["cli"]),
    ("serde_json", &["cli"]),
    ("jiff", &["cli"]),
    ("tokio", &["remote", "ops", "serve", "mount", "cli"]),
    ("uzers", &["io"]),
    ("reed_solomon_simd", &["pool"]),
    ("rustix", &["io"]),
    ("crossbeam_channel", &["io"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    out.sort();
    assert!(!out.is_empty());
    out
}

/// The floor a file of `src` belongs to; `None` for `lib.rs` and `main.rs`.
fn floor_of(path: &Path) -> Option<String> {
    let relative = path.strip_prefix(root().join("src")).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    let name = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
    (name != "lib" && name != "main").then_some(name)
}

/// Lines of code: comments and the tests at a file's end are left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")).map(|(i, l)| (i + 1, l))
}

/// Every `crate::a` and `crate::{a, b::c}` in a line.
fn used_floors(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        let name = |s: &str| s.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => out.extend(list.split(',').map(name)),
            None => out.push(name(rest)),
        }
    }
    out.retain(|n| FLOORS.contains(&n.as_str()));
    out
}

#[test]
fn a_floor_uses_only_those_above_it() {
    let rank = |name: &str| FLOORS.iter().position(|f| *f == name);
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let Some(floor) = floor_of(&path) else { continue };
        let own = rank(&floor).unwrap_or_else(|| panic!("{} is on no floor of DESIGN", path.display()));
        let text = fs::read_to_string(&path).unwrap();
        for (n, line) in code(&text) {
            for used in used_floors(line) {
                if rank(&used).unwrap() > own {
                    wrong.push(format!("{}:{n}: {floor} uses {used}, which stands below it", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_foreign_crate_has_one_owner() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let floor = floor_of(&path).unwrap_or_default();
        let text = fs::read_to_string(&path).unwrap();
        for (n, line) in code(&text) {
            for (name, owners) in OWNERS {
                let uses = line
                    .match_indices(&format!("{name}::"))
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
                // A module of the floor's own may have the name of a crate.
                let own = root().join("src").join(&floor).join(format!("{name}.rs")).exists();
                if uses && !own && !owners.contains(&floor.as_str()) {
                    wrong.push(format!("{}:{n}: {name} belongs to {owners:?}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_owns() {
    for dir in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(dir)) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//! "), "{} does not open with a //! header", path.display());
        }
    }
}

#[test]
fn nothing_is_left_unfinished_and_the_library_is_silent() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let floor = floor_of(&path).unwrap_or_default();
        let text = fs::read_to_string(&path).unwrap();
        for (n, line) in code(&text) {
            for mark in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"] {
                if line.contains(mark) {
                    wrong.push(format!("{}:{n}: {mark}", path.display()));
                }
            }
            let speaks = ["println!(", "eprintln!(", "print!(", "std::process::exit", "std::env::var"]
                .iter()
                .any(|w| line.contains(w));
            if speaks && floor != "cli" {
                wrong.push(format!("{}:{n}: the library prints, exits or reads the environment", path.display()));
            }
            if line.contains("unsafe ") && !line.contains("SAFETY") && floor != "chunk" && floor != "io" {
                wrong.push(format!("{}:{n}: unsafe", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_gives_the_commands_that_ci_runs() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    for command in ["sh .ci/setup && cargo run --locked -- demo", "sh .ci/setup && cargo test --locked"] {
        assert!(readme.contains(command), "README.md lacks `{command}`");
    }
    assert!(ci.contains("sh .ci/setup && cargo test --locked"), ".ci/run does not call the README's test command");
}
