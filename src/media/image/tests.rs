//! Files made to measure.

use super::super::testing::{collect_counting, collect_parts, head, noise, streams, without_tail};
use super::*;
use proptest::prelude::*;

/// (stream, bytes, form) of the joined runs, in windows as small as they may be, as file and as pipe.
fn split(bytes: &[u8]) -> (Vec<(u8, u64, Form)>, Option<&'static str>) {
    let (runs, doubt) = collect_counting(open(head(bytes)).expect("a picture"), bytes, &[0]);
    let pipe = collect_counting(open(without_tail(bytes)).expect("a picture"), bytes, &[33_333, 0]);
    assert_eq!((&runs, doubt), (&pipe.0, pipe.1));
    (runs.iter().map(|r| (r.stream, r.bytes, r.form)).collect(), doubt)
}

fn raster(packing: Packing, row_bytes: u32) -> Form {
    Form::Raster(Raster { packing, row_bytes })
}

fn plain(bytes: u8, channels: u8, big_endian: bool, row_bytes: u32) -> Form {
    raster(Packing::Samples { bytes, channels, big_endian }, row_bytes)
}

/// A DPX header of 2048 bytes.
fn dpx(big_endian: bool, size: (u32, u32), descriptor: u8, bits: u8, packing: u16) -> Vec<u8> {
    let mut h = vec![0xff; 2048];
    let four = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let two = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    h[..4].copy_from_slice(if big_endian { b"SDPX" } else { b"XPDS" });
    for (at, n) in [(4, 2048), (772, size.0), (776, size.1), (808, 2048)] {
        h[at..at + 4].copy_from_slice(&four(n));
    }
    (h[800], h[803]) = (descriptor, bits);
    h[804..806].copy_from_slice(&two(packing));
    h[806..808].copy_from_slice(&two(0));
    h
}

/// A TIFF directory at `at`, and its values behind it. `tags`: number, values of four bytes.
fn directory(big_endian: bool, at: usize, tags: &[(u16, &[u32])]) -> Vec<u8> {
    let four = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let two = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut out = two(tags.len() as u16).to_vec();
    let mut behind = Vec::new();
    let end = at + 2 + 12 * tags.len() + 4;
    for (tag, values) in tags {
        out.extend([two(*tag), two(4)].concat());
        out.extend(four(values.len() as u32));
        if let [one] = values {
            out.extend(four(*one));
        } else {
            out.extend(four((end + behind.len()) as u32));
            behind.extend(values.iter().flat_map(|v| four(*v)));
        }
    }
    out.extend(four(0));
    [out, behind].concat()
}

fn tiff_head(big_endian: bool, directory: u32) -> Vec<u8> {
    if big_endian {
        [b"MM\0*", &directory.to_be_bytes()[..]].concat()
    } else {
        [b"II*\0", &directory.to_le_bytes()[..]].concat()
    }
}

/// A picture's rows of samples with structure.
fn rows(bytes: usize, row: usize, pixel: usize) -> Vec<u8> {
    let noise = noise(bytes);
    (0..bytes)
        .map(|i| {
            let (x, y, c) = ((i % row / pixel) as f64, (i / row) as f64, (i % pixel) as f64);
            (110.0 + 50.0 * (x / 31.0 + y / 70.0).sin() + 40.0 * (y / 20.0 - x / 99.0 + c * 0.8).cos()) as u8
                + (noise[i] & 3)
        })
        .collect()
}

#[test]
fn a_dpx_is_its_header_its_picture_and_what_follows() {
    let rgb10 = |big_endian| raster(Packing::Rgb10 { big_endian }, 4000);
    let uyvy = Packing::Yuv422 { bytes: 1, luma_first: false, big_endian: false };
    for (big_endian, descriptor, bits, packing, form) in [
        (true, 50, 10, 1, rgb10(true)),
        (false, 50, 10, 1, rgb10(false)),
        (true, 50, 8, 0, plain(1, 3, false, 3000)),
        (false, 51, 8, 0, plain(1, 4, false, 4000)),
        (false, 6, 16, 0, plain(2, 1, false, 2000)),
        (false, 50, 12, 1, plain(2, 3, false, 6000)),
        (true, 100, 8, 0, raster(uyvy, 2000)),
    ] {
        let file = [dpx(big_endian, (1000, 700), descriptor, bits, packing), noise(5_000_000)].concat();
        let Form::Raster(Raster { row_bytes, .. }) = form else { panic!() };
        let picture = u64::from(row_bytes) * 700;
        let (runs, doubt) = split(&file);
        let back = 5_000_000 - picture;
        assert_eq!((runs, doubt), (vec![(0, 2048, Form::Bytes), (1, picture, form), (0, back, Form::Bytes)], None));
        assert_eq!(split(&file[..100_000]).1, Some("picture: the file ends within it"));
    }
    let packed = [dpx(true, (1000, 700), 50, 12, 0), noise(100)].concat();
    assert_eq!(split(&packed), (vec![(0, 2048, Form::Bytes), (1, 100, Form::Bytes)], None), "packed words are bytes");
}

#[test]
fn strips_that_follow_each_other_are_one_run_wherever_the_directory_lies() {
    let (row, height) = (3 * 500, 400);
    let picture = rows(row * height, row, 3);
    for big_endian in [false, true] {
        for front in [true, false] {
            let start = if front { 20_008 } else { 8 };
            let at = if front { 8 } else { 8 + picture.len() };
            let starts: Vec<u32> = (0..height / 8).map(|i| (start + i * 8 * row) as u32).collect();
            let lengths = vec![8 * row as u32; height / 8];
            let tags = directory(
                big_endian,
                at,
                &[
                    (256, &[500]),
                    (257, &[400]),
                    (258, &[8, 8, 8]),
                    (259, &[1]),
                    (262, &[2]),
                    (273, &starts),
                    (277, &[3]),
                    (279, &lengths),
                ],
            );
            let head = tiff_head(big_endian, at as u32);
            let file = if front {
                [head, tags.clone(), noise(20_000 - tags.len()), picture.clone(), noise(77)].concat()
            } else {
                [head, picture.clone(), tags.clone(), noise(77)].concat()
            };
            let back = if front { 77 } else { 77 + tags.len() as u64 };
            let picture = picture.len() as u64;
            let form = plain(1, 3, big_endian, row as u32);
            let want = vec![(0, start as u64, Form::Bytes), (1, picture, form), (0, back, Form::Bytes)];
            assert_eq!(split(&file), (want, None));
        }
    }
}

#[test]
fn a_directory_behind_a_large_picture_is_not_needed() {
    let (row, height) = (3 * 2000, 700);
    let picture = rows(row * height, row, 3);
    let at = 8 + picture.len();
    let tags = directory(false, at, &[(256, &[2000]), (258, &[8, 8, 8]), (273, &[8]), (279, &[picture.len() as u32])]);
    let back = tags.len() as u64;
    let file = [tiff_head(false, at as u32), picture.clone(), tags].concat();
    let form = plain(1, 3, false, row as u32);
    let want = vec![(0, 8, Form::Bytes), (1, picture.len() as u64, form), (0, back, Form::Bytes)];
    assert_eq!(split(&file), (want, None));
    // The same picture with its directory in front is cut alike.
    let tags =
        directory(false, 8, &[(256, &[2000]), (258, &[8, 8, 8]), (273, &[5000]), (279, &[picture.len() as u32])]);
    let front = [tags.clone(), noise(4992 - tags.len())].concat();
    let (runs, _) = split(&[tiff_head(false, 8), front, picture.clone()].concat());
    assert_eq!(runs[1], (1, picture.len() as u64, form));
}

#[test]
fn what_is_compressed_or_scattered_is_bytes_from_its_first_strip_on() {
    for (compression, gap) in [(5, 0), (5, 3), (1, 3)] {
        let starts: Vec<u32> = (0..100).map(|i| 4000 + i * (1000 + gap)).collect();
        let tags = directory(
            true,
            8,
            &[(256, &[50]), (258, &[8, 8]), (259, &[compression]), (273, &starts), (279, &[1000; 100])],
        );
        let file = [tiff_head(true, 8), tags.clone(), noise(3992 - tags.len() + 110_000)].concat();
        let picture = u64::from(99 * (1000 + gap) + 1000);
        let want = vec![(0, 4000, Form::Bytes), (1, picture, Form::Bytes), (0, 110_000 - picture, Form::Bytes)];
        assert_eq!(split(&file), (want, None), "{compression} {gap}");
    }
}

#[test]
fn a_big_tiff_has_wide_numbers() {
    let mut file = b"II+\0\x08\0\0\0".to_vec();
    file.extend(16u64.to_le_bytes());
    file.extend(5u64.to_le_bytes());
    for (tag, value) in [(256u16, 300u64), (258, 16), (259, 1), (273, 2000), (279, 60_000)] {
        file.extend([&tag.to_le_bytes()[..], &16u16.to_le_bytes(), &1u64.to_le_bytes(), &value.to_le_bytes()].concat());
    }
    file.extend(0u64.to_le_bytes());
    file.resize(2000, 7);
    file.extend(noise(60_005));
    let want = vec![(0, 2000, Form::Bytes), (1, 60_000, plain(2, 1, false, 600)), (0, 5, Form::Bytes)];
    assert_eq!(split(&file), (want, None));
}

/// A BMP's headers and palette, of a picture 317 wide.
fn bmp(bits: u16, height: i32, compression: u32) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
    file.extend([1078u32, 40, 317].map(u32::to_le_bytes).concat());
    file.extend(height.to_le_bytes());
    file.extend([1u16, bits].map(u16::to_le_bytes).concat());
    file.extend(compression.to_le_bytes());
    file.resize(1078, 0);
    file
}

#[test]
fn a_bmp_has_rows_of_whole_words() {
    let want = vec![(0, 1078, Form::Bytes), (1, 636 * 200, Form::Bytes), (0, 9, Form::Bytes)];
    assert_eq!(split(&[bmp(16, 200, 0), noise(636 * 200 + 9)].concat()), (want, None));
    let want = vec![(0, 1078, Form::Bytes), (1, 5009, Form::Bytes)];
    assert_eq!(split(&[bmp(24, 200, 1), noise(5009)].concat()), (want, None), "compressed");
    // What stands as it does elsewhere is not mapped: grey, downwards, without padding.
    let mut grey = bmp(8, -200, 0);
    grey[18] = 60;
    grey[19] = 1; // 316 wide
    let want = vec![(0, 1078, Form::Bytes), (1, 316 * 200, plain(1, 1, false, 316)), (0, 9, Form::Bytes)];
    assert_eq!(split(&[grey, noise(316 * 200 + 9)].concat()), (want, None));
}

/// The essence of a picture that is mapped, its form, the places in it where borders were asked for, and the doubt.
fn essence(file: &[u8], windows: &[usize]) -> (Vec<u8>, Form, Vec<usize>, Option<&'static str>) {
    let (parts, doubt) = collect_parts(open(head(file)).expect("a picture"), file, windows);
    let (mut at, mut cuts, mut form) = (0, Vec::new(), None);
    for part in &parts {
        if let Part::Mapped(mapped) = part {
            let part = &mapped.parts[0];
            assert_eq!((part.stream, mapped.how), (ESSENCE, PIXELS));
            assert_eq!(*form.get_or_insert(part.form), part.form);
            cuts.extend(part.cut.then_some(at));
            at += part.bytes.len();
        }
    }
    (streams(file, &parts).remove(&ESSENCE).unwrap(), form.expect("a segment"), cuts, doubt)
}

#[test]
fn a_bmp_has_the_pixels_of_a_ppm_in_the_same_order() {
    let (width, height) = (317_usize, 3000);
    for (bits, pixel, order) in [(24u16, 3, &[2, 1, 0][..]), (32, 4, &[2, 1, 0, 3]), (8, 1, &[0])] {
        let used = width * pixel;
        let row = used.next_multiple_of(4);
        let picture = rows(used * height, used, pixel);
        for is_upward in [true, false] {
            for padding in [0, 7] {
                let mut file = bmp(bits, if is_upward { height as i32 } else { -(height as i32) }, 0);
                for y in 0..height {
                    let y = if is_upward { height - 1 - y } else { y };
                    for pixel in picture[y * used..][..used].chunks_exact(pixel) {
                        file.extend(order.iter().map(|place| pixel[*place]));
                    }
                    file.resize(file.len() + row - used, padding);
                }
                file.extend(noise(9));
                let (pixels, form, cuts, doubt) = essence(&file, &[0]);
                assert_eq!((form, doubt), (plain(1, pixel as u8, false, used as u32), None));
                // Upwards each segment goes downwards, the last rows first.
                let segment = if is_upward { WINDOW_MIN / row } else { height };
                let segments: Vec<&[u8]> = picture.rchunks(segment * used).collect();
                assert!(pixels == segments.concat(), "{bits} {is_upward} {padding}");
                assert_eq!(cuts, (0..height).step_by(segment).map(|y| y * used).collect::<Vec<_>>());
                for windows in [&[33_333][..], &[0, 4 << 20]] {
                    assert!(essence(&file, windows).0 == pixels);
                }
                // Cut short within a row: what is whole is turned, the rest is as it is.
                let (short, .., doubt) = essence(&file[..1078 + row * 1000 + 5], &[0]);
                assert_eq!((short.len(), doubt), (1000 * used + 5, Some("picture: the file ends within it")));
            }
        }
    }
}

#[test]
fn colours_of_a_bmp_are_where_its_masks_say() {
    let row = 317 * 4;
    let picture = rows(row * 10, row, 4);
    for (masks, order) in [
        ([0xff_0000, 0xff00, 0xff], [2, 1, 0, 3]),
        ([0xff00_0000, 0xff_0000, 0xff00], [3, 2, 1, 0]),
        ([0xff, 0xff00, 0xff_0000], [0, 1, 2, 3]),
        ([0x3ff, 0xf_fc00, 0x3ff0_0000], [0, 1, 2, 3]), // none that are bytes
    ] {
        let mut file = bmp(32, 10, 3);
        file[54..66].copy_from_slice(&masks.map(u32::to_le_bytes).concat());
        for row in picture.rchunks(row) {
            file.extend(row.as_chunks::<4>().0.iter().flat_map(|pixel| {
                let mut turned = [0; 4];
                order.iter().zip(pixel).for_each(|(place, byte)| turned[*place] = *byte);
                turned
            }));
        }
        let (pixels, ..) = essence(&file, &[0]);
        assert!(pixels == picture, "{masks:x?}");
    }
    // Two colours in one place are left as they are.
    let mut file = [bmp(32, 10, 3), picture].concat();
    file[54..66].copy_from_slice(&[0xff_u32, 0xff, 0xff00].map(u32::to_le_bytes).concat());
    let want = vec![(0, 1078, Form::Bytes), (1, 10 * row as u64, plain(1, 4, false, row as u32))];
    assert_eq!(split(&file), (want, None));
}

#[test]
fn within_a_text_a_picture_stands_as_it_does_in_the_file() {
    let deep = [dpx(true, (500, 800), 50, 16, 0), noise(6 * 500 * 800)].concat();
    let padded = [bmp(24, 200, 0), noise(952 * 200)].concat();
    for (file, front, form) in [(deep, 2048, plain(2, 3, true, 3000)), (padded, 1078, plain(1, 3, false, 952))] {
        let mut splitter = open(head(&file)).unwrap();
        splitter.stay_plain();
        let (runs, doubt) = collect_counting(splitter, &file, &[0]);
        let runs: Vec<_> = runs.iter().map(|r| (r.stream, r.bytes, r.form)).collect();
        let want = vec![(0, front, Form::Bytes), (1, file.len() as u64 - front, form)];
        assert_eq!((runs, doubt), (want, None));
    }
}

#[test]
fn rows_that_no_window_has_room_for_stay_as_they_are() {
    let row = WINDOW_MIN + 2;
    let file = [format!("P5\n{} 2\n65535\n", row / 2).as_bytes(), &noise(2 * row)].concat();
    let front = (file.len() - 2 * row) as u64;
    let want = vec![(0, front, Form::Bytes), (1, 2 * row as u64, plain(2, 1, true, row as u32))];
    assert_eq!(split(&file), (want, None));
}

#[test]
fn a_tga_has_the_pixels_of_a_bmp() {
    let (width, height) = (250_usize, 3000);
    for (kind, pixel, order, attributes) in [(2, 3, &[2, 1, 0][..], 0), (2, 4, &[2, 1, 0, 3], 8), (3, 1, &[0], 0)] {
        let row = width * pixel;
        let picture = rows(row * height, row, pixel);
        for is_upward in [true, false] {
            let about = attributes | if is_upward { 0 } else { 32 };
            let mut file = vec![5, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 250, 0, 184, 11, 8 * pixel as u8, about];
            file.extend(b"title");
            for y in 0..height {
                let y = if is_upward { height - 1 - y } else { y };
                for pixel in picture[y * row..][..row].chunks_exact(pixel) {
                    file.extend(order.iter().map(|place| pixel[*place]));
                }
            }
            file.extend(b"\0\0\0\0\0\0\0\0TRUEVISION-XFILE.\0");
            let form = plain(1, pixel as u8, false, row as u32);
            if pixel == 1 && !is_upward {
                let runs = vec![(0, 23, Form::Bytes), (1, (row * height) as u64, form), (0, 26, Form::Bytes)];
                assert_eq!(split(&file), (runs, None));
                continue;
            }
            let (pixels, told, _, doubt) = essence(&file, &[0]);
            let segment = if is_upward { WINDOW_MIN / row } else { height };
            assert!(pixels == picture.rchunks(segment * row).collect::<Vec<_>>().concat());
            assert_eq!((told, doubt), (form, None));
        }
    }
    // What is not quite a header is none.
    let head = [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 250, 0, 184, 11, 24, 0];
    assert!(format_of(&head).is_some());
    for at in 1..head.len() {
        let mut other = head;
        other[at] ^= 0x50;
        assert_eq!(format_of(&other).is_some(), (12..16).contains(&at), "{at}");
    }
}

#[test]
fn samples_of_two_bytes_are_turned_to_little_endian() {
    let (row, height) = (6 * 500, 800);
    let little = rows(row * height, row, 6);
    let big: Vec<u8> = little.as_chunks().0.iter().flat_map(|&[a, b]| [b, a]).collect();
    let tags = |big_endian| {
        let tags: [(u16, &[u32]); 4] =
            [(256, &[500]), (258, &[16, 16, 16]), (273, &[5000]), (279, &[(row * height) as u32])];
        let tags = directory(big_endian, 8, &tags);
        [tiff_head(big_endian, 8), tags.clone(), noise(4992 - tags.len())].concat()
    };
    let form = plain(2, 3, false, row as u32);
    let (runs, _) = split(&[tags(false), little.clone()].concat());
    assert_eq!(runs, [(0, 5000, Form::Bytes), (1, (row * height) as u64, form)]);
    for front in [tags(true), b"P6\n500 800\n65535\n".to_vec(), dpx(true, (500, 800), 50, 16, 0)] {
        let file = [front, big.clone()].concat();
        for windows in [&[][..], &[0], &[77_777]] {
            let (pixels, form_told, cuts, doubt) = essence(&file, windows);
            assert!(pixels == little);
            assert_eq!((form_told, cuts, doubt), (form, vec![0], None));
        }
    }
}

#[test]
fn pictures_in_a_row_have_each_their_header() {
    let one = |header: &str, bytes: usize| [header.as_bytes(), &noise(bytes)].concat();
    let file = [
        one("P6 # a comment\n# another\n 640\t480\n255\n", 640 * 480 * 3),
        one("P5\n1000 900\n255\n", 1000 * 900),
        one("P7\nWIDTH 100\nHEIGHT 90\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n", 100 * 90 * 4),
        b"tail".to_vec(),
    ]
    .concat();
    let pictures: Vec<_> = split(&file).0.into_iter().filter(|r| r.0 == ESSENCE).map(|r| (r.1, r.2)).collect();
    let want =
        [(921_600, plain(1, 3, true, 1920)), (900_000, plain(1, 1, true, 1000)), (36_000, plain(1, 4, true, 400))];
    assert_eq!(pictures, want);
    assert_eq!(split(&file).1, None);
}

#[test]
fn only_what_looks_like_a_header_opens() {
    let many: [&[u8]; 9] = [
        b"",
        b"BMW is a car maker, and this is a text that goes on for long enough to hold a header of a picture",
        b"P6 is a road",
        b"P5\n10 10\n70000\n",
        b"P5\n10 1000000000000 255\n",
        b"P6\n10 10 255",
        b"P7\nWIDTH 5\n",
        b"II*",
        b"SDP",
    ];
    for bytes in many {
        assert!(open(head(bytes)).is_none());
    }
    for bytes in
        [&b"II*\0\0\0\0\0"[..], b"MM\0*\0\0\0\x08", b"II*\0\xff\0\0\0", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", b"XPDS"]
    {
        let (runs, doubt) = split(bytes);
        assert!(runs == [(1, bytes.len() as u64, Form::Bytes)] && doubt.is_some(), "{bytes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Covering, borders and progress are checked by the collector.
    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        which in 0..7u8,
        changes in prop::collection::vec((prop_oneof![0..300_usize, 760..820_usize, 0..3_000_000_usize], any::<u8>()), 0..6),
        cut in prop::option::of(0..3_200_000_usize),
        windows in prop::collection::vec(prop_oneof![0..64_usize, 0..1_000_000_usize], 1..6),
    ) {
        let picture = rows(3_100_000, 1500, 3);
        let end = (8 + picture.len()) as u32;
        let mut file = match which {
            0 => [dpx(true, (500, 700), 50, 10, 1), picture].concat(),
            1 => [tiff_head(true, end), picture, directory(true, end as usize, &[(256, &[500]), (273, &[8]), (279, &[50_000])])].concat(),
            2 => [tiff_head(false, 8), directory(false, 8, &[(256, &[500]), (258, &[8, 8, 8]), (273, &[3000, 9000, 15_000]), (279, &[6000, 6000, 5000])]), picture].concat(),
            3 => [b"P6\n500 1000\n255\n".to_vec(), picture[..1_500_000].to_vec(), b"P5\n500 100\n255\n".to_vec(), picture[..60_000].to_vec()].concat(),
            4 => [b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x00\x02\0\0\0\x02\0\0\x01\0\x18\0".to_vec(), vec![0; 24], picture].concat(),
            5 => [vec![0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 250, 0, 184, 11, 24, 0], picture].concat(),
            _ => [tiff_head(false, 70_000), picture].concat(),
        };
        for (at, value) in changes {
            if let Some(b) = file.get_mut(at) {
                *b = value;
            }
        }
        file.truncate(cut.unwrap_or(usize::MAX));
        if let Some(splitter) = open(head(&file)) {
            let whole = collect_parts(splitter, &file, &[]);
            let parts = collect_parts(open(without_tail(&file)).expect("the same head"), &file, &windows);
            prop_assert_eq!(whole, parts);
        }
    }
}
