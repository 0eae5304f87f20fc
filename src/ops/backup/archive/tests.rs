//! Archives in any order and form, cut off, odd and hostile.

use super::stream::time_of;
use super::*;
use crate::ops::testing::{Shelf, noise};
use crate::ops::{Control, export};

#[test]
fn paths_that_lead_out_are_none() {
    let names = |p: &str| path_of(p.as_bytes()).map(|p| p.into_iter().map(|n| String::from_utf8(n).unwrap()).collect());
    assert_eq!(names("./a//b/"), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(names("/etc/x"), Some(vec!["etc".to_owned(), "x".to_owned()]));
    for bad in ["../x", "a/../../x", "", ".", "/", "a\0b", &"n".repeat(limits::NAME_BYTES + 1)] {
        assert_eq!(names(bad), None::<Vec<String>>, "{bad:?}");
    }
}

fn header(kind: EntryType, bytes: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes as u64);
    header.set_mode(0o640);
    header.set_mtime(77);
    header.set_uid(1000);
    header.set_gid(7);
    header
}

#[test]
fn an_archive_in_any_order_becomes_a_tree_and_an_archive_again() {
    let mut made = tar::Builder::new(Vec::new());
    let long = noise(6, 600_000);
    let deep = format!("z/{}/{}", "d".repeat(90), "n".repeat(90));
    made.append_data(&mut header(EntryType::Regular, 3), "z/b", &b"old"[..]).unwrap();
    made.append_data(&mut header(EntryType::Regular, 4), &deep, &b"deep"[..]).unwrap();
    made.append_data(&mut header(EntryType::Directory, 0), "z/", &b""[..]).unwrap();
    made.append_pax_extensions([("mtime", &b"5.25"[..]), ("SCHILY.xattr.user.x", b"y")]).unwrap();
    made.append_data(&mut header(EntryType::Regular, long.len()), "a.bin", &long[..]).unwrap();
    made.append_data(&mut header(EntryType::Regular, 3), "z/b", &b"new"[..]).unwrap();
    made.append_link(&mut header(EntryType::Link, 0), "m/link", "a.bin").unwrap();
    made.append_link(&mut header(EntryType::Link, 0), "m/lost", "nothing").unwrap();
    made.append_link(&mut header(EntryType::Symlink, 0), "s", "../elsewhere").unwrap();
    let mut out = header(EntryType::Regular, 1);
    out.as_old_mut().name[..4].copy_from_slice(b"../x");
    out.set_cksum();
    made.append(&out, &b"x"[..]).unwrap();
    made.append_data(&mut header(EntryType::Fifo, 0), "pipe", &b""[..]).unwrap();
    let archive = made.into_inner().unwrap();

    let shelf = Shelf::new(2);
    let report = shelf.import(&archive);
    let counts = &report.counts;
    assert_eq!((counts.files, counts.symlinks, counts.skipped_special, report.unreadable), (4, 1, 1, 2));
    assert!(!report.complete, "members were left out");
    let store = shelf.read();
    let mut back = Vec::new();
    export::run(&store, &shelf.latest(&store), None, &mut back, &Control::default()).unwrap();
    let mut got = Vec::new();
    let mut input = &back[..];
    let mut tar = Tar::new(&mut input);
    while let Some(Member { path, header, pax, .. }) = tar.next().unwrap() {
        let (mut bytes, name) = (Vec::new(), String::from_utf8(path).unwrap());
        got.push((name, header.entry_type(), header.mode().unwrap(), pax.mtime, pax.attributes));
        tar.read_to_end(&mut bytes).unwrap();
        match got.last().unwrap().0.as_str() {
            "a.bin" => assert!(bytes == long),
            "z/b" => assert_eq!(bytes, b"new", "the last of a name counts"),
            _ => {}
        }
    }
    let names: Vec<&str> = got.iter().map(|g| g.0.as_str()).collect();
    let folder = format!("z/{}/", "d".repeat(90));
    assert_eq!(names, ["a.bin", "m/", "m/link", "s", "z/", "z/b", &folder, &deep]);
    assert_eq!(got[0].3, Some(Time { seconds: 5, nanos: 250_000_000 }));
    assert_eq!(got[0].4, [(b"user.x".to_vec(), b"y".to_vec())]);
    assert_eq!((got[1].2, got[4].2, got[2].1), (0o755, 0o640, EntryType::Link));
    for cut in [archive.len() / 2, 700, 100] {
        let input = Box::new(std::io::Cursor::new(archive[..cut].to_vec()));
        assert!(shelf.try_import(input).is_err(), "an archive cut at {cut} makes no snapshot");
    }
}

fn file(made: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    made.append_data(&mut header(EntryType::Regular, bytes.len()), path, bytes).unwrap();
}

fn try_import(archive: &[u8]) -> Result<crate::ops::backup::BackupReport> {
    Shelf::new(1).try_import(Box::new(std::io::Cursor::new(archive.to_vec())))
}

/// Imports, and exports again: each member's name, link and content, and how many were left out.
fn through(archive: &[u8]) -> (BTreeMap<String, (String, Vec<u8>)>, u64) {
    let shelf = Shelf::new(1);
    let left_out = shelf.import(archive).unreadable;
    let (store, mut back) = (shelf.read(), Vec::new());
    export::run(&store, &shelf.latest(&store), None, &mut back, &Control::default()).unwrap();
    let (mut input, mut got) = (&back[..], BTreeMap::new());
    let mut tar = Tar::new(&mut input);
    while let Some(member) = tar.next().unwrap() {
        let mut bytes = Vec::new();
        tar.read_to_end(&mut bytes).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        got.insert(text(member.path), (text(member.link), bytes));
    }
    (got, left_out)
}

#[test]
fn an_archive_without_its_end_marker_makes_no_snapshot() {
    let mut made = tar::Builder::new(Vec::new());
    file(&mut made, "a", &[1; 512]);
    file(&mut made, "b", &[2; 512]);
    let whole = made.into_inner().unwrap();
    assert_eq!(whole.len(), 6 * 512);
    assert!(try_import(&whole).is_ok());
    assert!(try_import(&whole[..5 * 512]).is_ok(), "one block of zeros is an end");
    for blocks in 0..5 {
        assert!(try_import(&whole[..blocks * 512]).is_err(), "cut behind block {blocks}");
    }
    assert!(try_import(&[0; 512]).is_ok(), "an archive of nothing");
}

#[test]
fn files_that_had_one_name_in_turn_are_not_called_one_by_their_links() {
    let mut made = tar::Builder::new(Vec::new());
    for (content, link) in [(&b"first"[..], "b"), (b"second", "c")] {
        file(&mut made, "a", content);
        made.append_link(&mut header(EntryType::Link, 0), link, "a").unwrap();
    }
    let (got, left_out) = through(&made.into_inner().unwrap());
    assert_eq!((left_out, &got["b"].1[..]), (0, &b"first"[..]));
    assert_eq!((&got["a"].1[..], got["c"].0.as_str()), (&b"second"[..], "a"));
}

#[test]
fn odd_members_are_left_out_by_name_and_the_others_kept() {
    let mut made = tar::Builder::new(Vec::new());
    file(&mut made, "file", b"1");
    file(&mut made, "file/below", b"2");
    file(&mut made, "dir/below", b"3");
    file(&mut made, "dir", b"4");
    made.append_data(&mut header(EntryType::Directory, 0), "d", &b""[..]).unwrap();
    made.append_link(&mut header(EntryType::Link, 0), "to-a-folder", "d").unwrap();
    let far = "x".repeat(70_000);
    made.append_pax_extensions([("linkpath", far.as_bytes())]).unwrap();
    made.append_link(&mut header(EntryType::Symlink, 0), "far", "x").unwrap();
    made.append_pax_extensions([("SCHILY.xattr.", &b"no name"[..])]).unwrap();
    file(&mut made, "attribute", b"5");
    made.append_pax_extensions([("SCHILY.xattr.user.x", &b"two\nlines"[..])]).unwrap();
    file(&mut made, "last", b"6");
    let (got, left_out) = through(&made.into_inner().unwrap());
    assert_eq!(left_out, 5);
    assert_eq!(got.keys().collect::<Vec<_>>(), ["d/", "dir/", "dir/below", "file", "last"]);
}

/// A header of its own making, whatever it says.
fn raw(made: &mut Vec<u8>, kind: EntryType, bytes: u64, data: &[u8]) {
    let mut head = header(kind, 0);
    head.set_path("m").unwrap();
    head.set_size(bytes);
    head.set_cksum();
    made.extend_from_slice(head.as_bytes());
    made.extend_from_slice(data);
    made.resize(made.len().next_multiple_of(512), 0);
}

#[test]
fn global_headers_are_no_members_and_hold_for_those_behind_them() {
    let record = |key: &str, value: &str| {
        let n = key.len() + value.len() + 3;
        let n = n + (n + 2).to_string().len(); // of fewer than 98 bytes
        format!("{n} {key}={value}\n")
    };
    let mut made = Vec::new();
    let comment = record("comment", "78b51e2a0d0e4a0a8ad6c0a2c3f3d0f5e1c2b3a4"); // as `git archive` writes it
    raw(&mut made, EntryType::XGlobalHeader, comment.len() as u64, comment.as_bytes());
    raw(&mut made, EntryType::Regular, 1, b"1");
    for records in [record("mtime", "77.5") + &record("uname", "curator"), record("mtime", "78")] {
        raw(&mut made, EntryType::XGlobalHeader, records.len() as u64, records.as_bytes());
    }
    let mut tail = tar::Builder::new(Vec::new());
    tail.append_pax_extensions([("uname", &b"guest"[..])]).unwrap();
    file(&mut tail, "other", b"2");
    made.extend(tail.into_inner().unwrap());
    assert_eq!(try_import(&made).unwrap().counts.skipped_special, 0);
    let (mut input, mut seen) = (&made[..], Vec::new());
    let mut tar = Tar::new(&mut input);
    while let Some(member) = tar.next().unwrap() {
        seen.push((member.path, member.pax.mtime.map(|t| t.seconds), member.pax.user));
    }
    let wanted = [(b"m".to_vec(), None, None), (b"other".to_vec(), Some(78), Some("guest".to_owned()))];
    assert_eq!(seen, wanted);
}

#[test]
fn sparse_files_of_every_form_have_their_names_holes_and_bytes() {
    let (first, second) = (noise(1, 1024), noise(2, 700));
    let packed = [&first[..], &second[..]].concat();
    let mut want = vec![0; 9000];
    want[2048..3072].copy_from_slice(&first);
    want[8000..8700].copy_from_slice(&second);
    let mut map = b"3\n2048\n1024\n8000\n700\n9000\n0\n".to_vec();
    map.resize(512, 0);
    type Records<'a> = Vec<(&'a str, &'a [u8])>;
    let forms: [(Records<'_>, Vec<u8>); 3] = [
        (
            vec![
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"s"),
                ("GNU.sparse.realsize", b"9000"),
            ],
            [&map[..], &packed[..]].concat(),
        ),
        (
            vec![
                ("GNU.sparse.name", b"s"),
                ("GNU.sparse.size", b"9000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.map", b"2048,1024,8000,700"),
            ],
            packed.clone(),
        ),
        (
            vec![
                ("path", b"s"),
                ("GNU.sparse.size", b"9000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"2048"),
                ("GNU.sparse.numbytes", b"1024"),
                ("GNU.sparse.offset", b"8000"),
                ("GNU.sparse.numbytes", b"700"),
            ],
            packed.clone(),
        ),
    ];
    for (n, (records, data)) in forms.into_iter().enumerate() {
        let mut made = tar::Builder::new(Vec::new());
        made.append_pax_extensions(records).unwrap();
        file(&mut made, "GNUSparseFile.1/s", &data);
        file(&mut made, "z", b"behind it");
        let (got, left_out) = through(&made.into_inner().unwrap());
        assert_eq!((left_out, got.len()), (0, 2), "form {n}");
        assert!(got["s"].1 == want && got["z"].1 == b"behind it", "form {n}");
    }
    assert!(through(&of_type_s(&packed, &[(2048, 1024), (8000, 700)], 9000)).0["m"].1 == want);
}

/// An archive of one sparse file of type `S`, its first ranges in the header and the others behind it.
fn of_type_s(packed: &[u8], ranges: &[(u64, u64)], bytes: u64) -> Vec<u8> {
    let mut head = header(EntryType::GNUSparse, packed.len());
    head.set_path("m").unwrap();
    let gnu = head.as_gnu_mut().unwrap();
    let (in_header, behind) = ranges.split_at(1);
    for (block, (offset, length)) in gnu.sparse.iter_mut().zip(in_header) {
        block.set_offset(*offset);
        block.set_length(*length);
    }
    gnu.set_is_extended(true);
    gnu.set_real_size(bytes);
    head.set_cksum();
    let mut next = tar::GnuExtSparseHeader::new();
    for (block, (offset, length)) in next.sparse_mut().iter_mut().zip(behind) {
        block.set_offset(*offset);
        block.set_length(*length);
    }
    let mut out = [&head.as_bytes()[..], next.as_bytes(), packed].concat();
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

#[test]
fn a_small_archive_of_a_huge_sparse_file_is_read_at_once_and_a_false_map_left_out() {
    let shelf = Shelf::new(1);
    let huge = 1 << 60;
    shelf.import(&of_type_s(&[7; 600], &[(512, 512), (1 << 50, 88)], huge));
    let store = shelf.read();
    let info = shelf.latest(&store);
    let found = crate::catalog::tree::lookup(&store, &info.snapshot.tree, b"m").unwrap();
    let Some(crate::catalog::tree::Found::Entry(entry)) = found else { panic!("it is not there") };
    assert!(matches!(entry.kind, EntryKind::File { bytes, .. } if bytes == huge));
    for (ranges, bytes) in [
        ([(512, 512), (600, 88)], huge),           // into one another
        ([(0, 500), (1000, 100)], huge),           // no whole blocks
        ([(512, 512), (1024, 87)], huge),          // less than is there
        ([(512, 512), (1024, 88)], 1100),          // beyond its end
        ([(512, 512), (1024, 88)], u64::MAX >> 1), // longer than a file can be
    ] {
        assert_eq!(through(&of_type_s(&[7; 600], &ranges, bytes)).1, 1, "{ranges:?} {bytes}");
    }
}

#[test]
fn headers_that_claim_to_be_huge_are_refused_and_not_read_into_memory() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut made = Vec::new();
        raw(&mut made, kind, 1 << 40, b"");
        let endless = std::io::Read::chain(std::io::Cursor::new(made), std::io::repeat(b'x'));
        assert!(Shelf::new(1).try_import(Box::new(endless)).is_err(), "{kind:?}");
    }
}

#[test]
fn decimals_are_times() {
    let told = ["3", "3.5", "-1.25", "-0.999999999", "7.1234567891", "x", "1.x"].map(time_of);
    let time = |seconds, nanos| Some(Time { seconds, nanos });
    let want = [time(3, 0), time(3, 500_000_000), time(-2, 750_000_000), time(-1, 1), time(7, 123_456_789), None, None];
    assert_eq!(told, want);
}

proptest::proptest! {
    #[test]
    fn mutated_archives_never_panic(flips: Vec<(u16, u8)>, cut: u16) {
        let mut archive = of_type_s(&[7; 600], &[(512, 512), (2048, 88)], 4000);
        let mut made = tar::Builder::new(Vec::new());
        made.append_pax_extensions([("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.realsize", b"9")]).unwrap();
        file(&mut made, "s", &[b"1\n5\n2\n".to_vec(), vec![0; 510]].concat());
        archive.splice(0..0, made.into_inner().unwrap());
        for (at, by) in flips {
            let n = archive.len();
            archive[usize::from(at) % n] ^= by;
        }
        archive.truncate(archive.len() - usize::from(cut) % archive.len());
        let mut input = &archive[..];
        let mut tar = Tar::new(&mut input);
        while let Ok(Some(_)) = tar.next() {
            let _ = std::io::copy(&mut (&mut tar).take(10_000), &mut std::io::sink()); // any answer but a panic
        }
    }
}
