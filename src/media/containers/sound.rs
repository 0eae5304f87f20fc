//! Tests of uncompressed sound in containers: in whichever words it stands there, it is that of the WAV.

use super::super::demux::{ORDER, decisions, essence};
use super::super::film::{
    Frame, Moov, Video, avi_of, element, film, fragments_of, full, mkv_of, mp4_box, mp4_of, mxf_of, picture_entry,
    track,
};
use super::super::testing::{
    FilmFile, alike_in_windows, collect_parts, harm, head, noise, real, streams, windows, without_tail,
};
use super::super::{ESSENCE, LAYERS, Part, WORDS, open};
use crate::chunk::{Form, Pcm};
use proptest::prelude::*;

/// Sound of two channels, silent at first, as integers of 32 bits whose lower ones are not used.
fn sound(frames: usize, bits: u32) -> Vec<i32> {
    let mut low = noise(8 * frames).into_iter();
    let mut next = |i: usize| {
        let wave = ((i % 400) as i32 - 200).pow(2) * 40_000 - (1 << 30);
        let random = i32::from_le_bytes([0; 4].map(|_: u8| low.next().unwrap()));
        (wave.wrapping_add(random >> 4)) >> (32 - bits) << (32 - bits)
    };
    (0..2 * frames).map(|i| if i < 6000 { 0 } else { next(i) }).collect()
}

/// A word of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Little(usize),
    Big(usize),
    /// Of a byte.
    Unsigned,
    LittleFloat(usize),
    BigFloat(usize),
}

fn words(sound: &[i32], how: As) -> Vec<u8> {
    let word = |v: &i32| {
        let mut word = match how {
            As::Little(n) | As::Big(n) => v.to_le_bytes()[4 - n..].to_vec(),
            As::Unsigned => vec![v.to_le_bytes()[3] ^ 0x80],
            As::LittleFloat(4) | As::BigFloat(4) => (*v as f32 / 2_147_483_648.0).to_le_bytes().to_vec(),
            _ => (f64::from(*v) / 2_147_483_648.0).to_le_bytes().to_vec(),
        };
        if matches!(how, As::Big(_) | As::BigFloat(_)) {
            word.reverse();
        }
        word
    };
    sound.iter().flat_map(word).collect()
}

fn wav(sound: &[i32], bytes: usize) -> Vec<u8> {
    let data = words(sound, if bytes == 1 { As::Unsigned } else { As::Little(bytes) });
    let format = [&[1, 0, 2, 0][..], &[0; 8], &[2 * bytes as u8, 0, 8 * bytes as u8, 0]].concat();
    let mut file = [&b"RIFF"[..], &(data.len() as u32 + 36).to_le_bytes(), b"WAVEfmt \x10\0\0\0", &format].concat();
    file.extend([&b"data"[..], &(data.len() as u32).to_le_bytes(), &data].concat());
    file
}

/// A film with this sound: some bytes of it behind each picture.
fn with_sound(words: &[u8], each: usize) -> Vec<Frame> {
    beside(Video::Avc, words, each)
}

fn beside(video: Video, words: &[u8], each: usize) -> Vec<Frame> {
    let mut pieces = words.chunks(each);
    let pictures = film(video, pieces.len(), 3000).into_iter().filter(|f| f.track == 0);
    let mut sound = |_| pieces.next().map(|bytes| Frame { track: 1, key: true, bytes: bytes.to_vec() });
    pictures.flat_map(|picture| [Some(picture), sound(())]).flatten().collect()
}

/// A sample entry of QuickTime, for two channels of so many bits.
fn entry(kind: &[u8; 4], bits: u8, little: bool) -> Vec<u8> {
    let mut fields = [0; 28];
    (fields[17], fields[19]) = (2, bits);
    if !little {
        return mp4_box(kind, &fields);
    }
    fields[9] = 1;
    let wave = mp4_box(b"wave", &[mp4_box(b"frma", kind), mp4_box(b"enda", &[0, 1])].concat());
    mp4_box(kind, &[&fields[..], &[0; 16], &wave].concat())
}

/// Of `lpcm`, in version 2.
fn lpcm(bits: u8, flags: u8) -> Vec<u8> {
    let mut fields = [0; 64];
    (fields[9], fields[43], fields[51], fields[55]) = (2, 2, bits, flags);
    mp4_box(b"lpcm", &fields)
}

/// Of `ipcm` or `fpcm`.
fn mpeg(kind: &[u8; 4], bits: u8, little: bool) -> Vec<u8> {
    let mut fields = [0; 28];
    (fields[17], fields[19]) = (2, 16);
    mp4_box(kind, &[&fields[..], &full(b"pcmC", 0, &[u8::from(little), bits])].concat())
}

/// Files that hold a sound of so many bits beside a video.
fn everywhere(sound: &[i32], bits: u32) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let film = |how: As| {
        let frame = words(&[0, 0], how).len();
        with_sound(&words(sound, how), 1000 * frame)
    };
    let quicktime: Vec<(&str, Vec<u8>, As)> = match bits {
        8 => vec![("raw", entry(b"raw ", 8, false), As::Unsigned), ("sowt", entry(b"sowt", 8, false), As::Little(1))],
        16 => vec![
            ("twos", entry(b"twos", 16, false), As::Big(2)),
            ("sowt", entry(b"sowt", 16, false), As::Little(2)),
            ("in24", entry(b"in24", 16, false), As::Big(3)),
            ("in24 enda", entry(b"in24", 16, true), As::Little(3)),
            ("lpcm", lpcm(16, 2 | 4), As::Big(2)),
            ("ipcm", mpeg(b"ipcm", 16, false), As::Big(2)),
            ("fl32", entry(b"fl32", 16, false), As::BigFloat(4)),
        ],
        _ => vec![
            ("in24", entry(b"in24", 16, false), As::Big(3)),
            ("in24 enda", entry(b"in24", 16, true), As::Little(3)),
            ("in32", entry(b"in32", 16, false), As::Big(4)),
            ("lpcm", lpcm(24, 4), As::Little(3)),
            ("lpcm float", lpcm(32, 1 | 2), As::BigFloat(4)),
            ("fl32", entry(b"fl32", 16, true), As::LittleFloat(4)),
            ("fl64", entry(b"fl64", 16, false), As::BigFloat(8)),
            ("fpcm", mpeg(b"fpcm", 64, true), As::LittleFloat(8)),
        ],
    };
    for (name, entry, how) in quicktime {
        let (entries, film) = ([picture_entry(Video::Avc), entry], film(how));
        all.push((format!("{name} in mov"), mp4_of(&entries, &film, Moov::First, &[])));
        all.push((format!("{name} in fragments"), fragments_of(&entries, &film, 30)));
    }
    let matroska: &[(&[u8], u8, As)] = match bits {
        8 => &[(b"A_PCM/INT/LIT", 8, As::Unsigned)],
        16 => &[(b"A_PCM/INT/BIG", 16, As::Big(2)), (b"A_PCM/INT/LIT", 24, As::Little(3))],
        _ => &[
            (b"A_PCM/INT/BIG", 24, As::Big(3)),
            (b"A_PCM/INT/LIT", 32, As::Little(4)),
            (b"A_PCM/FLOAT/IEEE", 32, As::LittleFloat(4)),
            (b"A_PCM/FLOAT/IEEE", 64, As::LittleFloat(8)),
        ],
    };
    for (codec, bits, how) in matroska {
        let audio = element(&[0xe1], &[element(&[0x62, 0x64], &[*bits]), element(&[0x9f], &[2])].concat());
        all.push((format!("{bits} bits in mkv"), mkv_of(Video::Avc, (codec, &audio), &film(*how), false, &[])));
    }
    let (tag, word, how) = match bits {
        8 => (1, 8, As::Unsigned),
        16 => (3, 32, As::LittleFloat(4)),
        _ => (1, 24, As::Little(3)),
    };
    all.push(("avi".into(), avi_of(&film(how), [tag, word])));
    if bits > 8 {
        all.push(("mxf".into(), mxf_of(&film(As::Little(3)), Some(24))));
    }
    all
}

/// Films with the sound of a WAV, which has 16 bits and two channels.
pub(in super::super) fn films(wav: &[u8]) -> Vec<FilmFile> {
    let sound: Vec<i32> = wav[44..].as_chunks().0.iter().map(|&[a, b]| i32::from_le_bytes([0, 0, a, b])).collect();
    let film = |(name, file): (String, Vec<u8>)| {
        let pictures = streams(&file, &collect_parts(open(head(&file)), &file, &[]).0)[&essence(0)].len();
        FilmFile { name, file, picture_bytes: pictures as u64 }
    };
    everywhere(&sound, 16).into_iter().map(film).collect()
}

#[test]
fn in_any_words_of_any_container_it_is_that_of_the_wav() {
    for bits in [8, 16, 24] {
        let sound = sound(150_000, bits);
        let wav = wav(&sound, bits as usize / 8);
        let wav = streams(&wav, &collect_parts(open(head(&wav)), &wav, &[]).0).remove(&ESSENCE).unwrap();
        for (name, file) in everywhere(&sound, bits) {
            let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
            assert_eq!(doubt, None, "{name}");
            assert!(collect_parts(open(without_tail(&file)), &file, &[0, 777]).0 == parts);
            let streams = streams(&file, &parts);
            assert!(streams[&essence(1)] == wav, "{name}, {bits} bits");
            assert!(!streams.contains_key(&decisions(essence(1))), "{name}: corrections");
            assert!(streams.get(&ORDER).map_or(0, Vec::len) < file.len() / 200, "{name}");
            let parts = parts.iter().flat_map(|p| if let Part::Mapped(m) = p { &m.parts[..] } else { &[] });
            let parts: Vec<_> = parts.filter(|p| p.stream == essence(1)).collect();
            let form = Form::Pcm(Pcm { sample_bytes: bits as u8 / 8, channels: 2, coded: false });
            assert!(parts.iter().all(|p| p.form == form), "{name}");
            assert!(parts[0].cut && parts.len() > 1 && parts[1..].iter().all(|p| !p.cut), "{name}");
        }
    }
}

/// Alone, in segments as a WAV's, with borders as it has them.
#[test]
fn alone_in_a_movie_it_is_what_a_wav_is() {
    let sound = sound(400_000, 24);
    for (narrow, kind, how) in
        [(false, b"in24", As::Big(3)), (true, b"in24", As::Big(3)), (true, b"fl32", As::BigFloat(4))]
    {
        let sound: Vec<i32> = sound.iter().map(|v| if narrow { v >> 16 << 16 } else { *v }).collect();
        let frame = Frame { track: 1, key: true, bytes: words(&sound, how) };
        let ftyp = mp4_box(b"ftyp", b"qt  \0\0\x02\0qt  ");
        let moov = |at: u32| {
            let trak = super::super::film::trak(std::slice::from_ref(&frame), 1, &entry(kind, 16, false), &[at]);
            mp4_box(b"moov", &[full(b"mvhd", 0, &[0; 96]), trak].concat())
        };
        let at = ftyp.len() + moov(0).len() + 8;
        let file = [ftyp, moov(at as u32), mp4_box(b"mdat", &frame.bytes)].concat();
        let wav = wav(&sound, 3);
        let pieces = |file: &[u8]| {
            let (parts, doubt) = collect_parts(open(head(file)), file, &[]);
            assert_eq!(doubt, None);
            assert!(collect_parts(open(without_tail(file)), file, &[0, 77_777]).0 == parts);
            let mut cuts = vec![0];
            for part in &parts {
                let (stream, cut, bytes) = match part {
                    Part::Run(run) => (run.stream, run.cut, run.bytes),
                    Part::Mapped(m) => (m.parts[0].stream, m.parts[0].cut, m.parts[0].bytes.len() as u64),
                };
                match cuts.last_mut() {
                    _ if stream != ESSENCE => {}
                    Some(n) if !cut => *n += bytes,
                    _ => cuts.push(bytes),
                }
            }
            (streams(file, &parts).remove(&ESSENCE).unwrap(), cuts)
        };
        assert!(pieces(&file) == pieces(&wav), "{narrow} {how:?}");
    }
}

/// Of the WAV among `tests/media`, some noise below its 16 bits if there are more.
fn piano(bits: u32) -> Vec<i32> {
    let wav = real("Rutger Muller/Piano/01 Piano.wav");
    let mut low = noise(1 << 20).into_iter();
    let mut sample = |&[a, b]: &[u8; 2]| {
        let low = if bits > 16 { low.next().unwrap() } else { 0 };
        i32::from_le_bytes([0, low, a, b])
    };
    wav[44..].as_chunks().0.iter().map(&mut sample).collect()
}

#[test]
fn where_the_tables_come_last_it_is_guessed() {
    for (bits, how) in [
        (16, As::Little(2)),
        (16, As::Big(2)),
        (16, As::Big(3)),
        (24, As::Little(3)),
        (24, As::Big(3)),
        (24, As::Little(4)),
        (16, As::LittleFloat(4)),
        (24, As::BigFloat(4)),
    ] {
        let sound = piano(bits);
        let (words, pcm) = (words(&sound, how), words(&sound, As::Little(bits as usize / 8)));
        let frame = words.len() / sound.len() * 2;
        let last = |video| {
            let film = beside(video, &words, 1920 * frame);
            let entries = [picture_entry(video), entry(b"none", 16, false)];
            (mp4_of(&entries, &film, Moov::Last, &[]), essence(1), track(&film, 0))
        };
        let alone = [mp4_box(b"ftyp", b"qt  \0\0\x02\0qt  "), mp4_box(b"mdat", &words), mp4_box(b"moov", &[])].concat();
        let all = [last(Video::ProRes), last(Video::Avc), last(Video::Hevc), (alone, ESSENCE, Vec::new())];
        for (file, stream, pictures) in all {
            let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
            assert_eq!(doubt, None);
            assert!(collect_parts(open(without_tail(&file)), &file, &[0, 777]).0 == parts);
            let streams = streams(&file, &parts);
            assert!(streams[&stream] == pcm, "{how:?} {bits}");
            assert!(stream == ESSENCE || streams[&ESSENCE] == pictures);
            let form = Form::Pcm(Pcm { sample_bytes: bits as u8 / 8, channels: 2, coded: false });
            let has_form = |part: &Part| match part {
                Part::Run(run) => run.stream != stream || run.form == form,
                Part::Mapped(m) => m.parts.iter().all(|p| p.stream != stream || p.form == form),
            };
            assert!(parts.iter().all(has_form), "{how:?} {bits}");
        }
    }
}

/// Silence tells nothing; pictures of a few bytes, and delimiters in front of others, are found in sound as well.
#[test]
fn what_samples_are_is_found_out_behind_silence_and_beside_small_units() {
    let sound = [vec![0; 2 * 50_000], piano(16)].concat();
    let words = words(&sound, As::Big(2));
    let mut film = beside(Video::Avc, &words, 1920 * 4);
    for (i, frame) in film.iter_mut().filter(|f| f.track == 0).enumerate() {
        if i % 3 == 1 {
            frame.bytes = [&[0, 0, 0, 12, 0x41, 0x9a], &noise(i + 50)[i..i + 10]].concat();
        } else if i > 0 {
            frame.bytes.splice(0..0, [0, 0, 0, 2, 9, 0x30]);
        }
    }
    let entries = [picture_entry(Video::Avc), entry(b"twos", 16, false)];
    let file = mp4_of(&entries, &film, Moov::Last, &[]);
    let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
    assert_eq!(doubt, None);
    assert!(collect_parts(open(without_tail(&file)), &file, &[0, 777]).0 == parts);
    let of = streams(&file, &parts);
    let pcm = self::words(&sound, As::Little(2));
    assert!(of[&essence(0)] == track(&film, 0));
    // The first sound that is heard is looked at before it is known what it is.
    let told = of[&essence(1)].iter().zip(&pcm).rev().take_while(|(a, b)| a == b).count();
    let heard = 2 * piano(16).len();
    assert!(of[&essence(1)].len() == pcm.len() && told > heard - 3 * 1920 * 4, "{told} of {heard}");
}

/// A film of H.264 whose tables come last, with these pieces of sound of 24 bits behind its pictures.
fn untold(pieces: &[Vec<u8>]) -> (Vec<u8>, Vec<Frame>) {
    let pictures = film(Video::Avc, pieces.len(), 3000).into_iter().filter(|f| f.track == 0);
    let sound = pieces.iter().map(|bytes| Frame { track: 1, key: true, bytes: bytes.clone() });
    let frames: Vec<Frame> = pictures.zip(sound).flat_map(|(picture, sound)| [picture, sound]).collect();
    (mp4_of(&[picture_entry(Video::Avc), entry(b"none", 16, false)], &frames, Moov::Last, &[]), frames)
}

/// Its pictures come apart, and its sound as that of a WAV.
fn is_apart(pieces: &[Vec<u8>]) -> bool {
    let (file, frames) = untold(pieces);
    let of = streams(&file, &collect_parts(open(head(&file)), &file, &[]).0);
    let little: Vec<u8> = pieces.concat().as_chunks().0.iter().flat_map(|&[a, b, c]| [c, b, a]).collect();
    of[&essence(0)] == track(&frames, 0) && of[&essence(1)] == little
}

fn pieces(words: &[u8], frames: usize) -> Vec<Vec<u8>> {
    words.chunks(frames * 6).map(<[u8]>::to_vec).collect()
}

#[test]
fn sound_that_begins_like_a_unit_is_sound() {
    let mut pieces = pieces(&words(&piano(24), As::Big(3)), 1920);
    for piece in pieces.iter_mut().skip(3) {
        piece[..6].copy_from_slice(&[0, 0, 0x20, 0, 0x41, 0x9a]); // a length, and how a slice begins
    }
    assert!(is_apart(&pieces));
}

#[test]
fn sound_that_goes_on_beyond_a_search_is_sound() {
    assert!(is_apart(&pieces(&words(&piano(24), As::Big(3)), 24_000)));
}

#[test]
fn sound_behind_the_last_picture_is_sound() {
    let mut pieces = pieces(&words(&piano(24), As::Big(3)), 1920);
    let last = pieces.split_off(20).concat();
    pieces.push(last);
    assert!(is_apart(&pieces));
}

/// Such as a camera writes.
#[test]
fn other_things_behind_sound_are_no_pictures() {
    let mut pieces = pieces(&words(&piano(24), As::Big(3)), 1920);
    let mut noise = noise(1 << 20).into_iter();
    for piece in &mut pieces {
        piece.extend(noise.by_ref().take(1027));
    }
    let (file, frames) = untold(&pieces);
    let of = streams(&file, &collect_parts(open(head(&file)), &file, &[]).0);
    assert!(of[&essence(0)] == track(&frames, 0));
}

/// Films of the piano, made by `ffmpeg` 5.1.9: `-c:v libx264 -c:a pcm_s16be -movflags +faststart`, `-c:v prores_ks -c:a
/// pcm_s24be` (so that its tables come last), `-c:v libx264 -c:a alac -movflags +faststart`, `-c:v libx264 -c:a pcm_f32le`; and
/// from its second second on `-c:v libx264 -c:a pcm_s24be`.
#[test]
fn real_files_have_the_samples_of_the_wav() {
    let wav = real("Rutger Muller/Piano/01 Piano.wav");
    let wav = streams(&wav, &collect_parts(open(head(&wav)), &wav, &[]).0).remove(&ESSENCE).unwrap();
    for (name, frames) in [("twos.mov", 5292), ("in24.mov", 14112), ("alac.mp4", 13230), ("float.mkv", 2646)] {
        let path = format!("{}/fuzz/corpus/splitters/{name}", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(path).unwrap();
        let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
        assert_eq!(doubt, None, "{name}");
        let of = streams(&file, &parts);
        assert_eq!(of[&essence(1)].len() / 4, frames, "{name}");
        assert!(wav.starts_with(&of[&essence(1)]), "{name}");
    }
    let file = std::fs::read(format!("{}/fuzz/corpus/splitters/last.mov", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
    assert_eq!(doubt, None);
    let of = streams(&file, &parts);
    let rest = &wav[4 * 44_100..];
    assert!(of[&essence(1)].len() == 4 * 15_876 && rest.starts_with(&of[&essence(1)]));
}

/// A sample of time code, say.
#[test]
fn what_is_no_frame_between_pictures_is_wrapper() {
    let sound = piano(24);
    let mut film = beside(Video::ProRes, &words(&sound, As::Big(3)), 1920 * 6);
    film.push(Frame { track: 1, key: true, bytes: vec![1, 2, 3, 4] });
    let file = mp4_of(&[picture_entry(Video::ProRes), entry(b"none", 16, false)], &film, Moov::Last, &[]);
    let (parts, doubt) = collect_parts(open(head(&file)), &file, &[]);
    assert_eq!(doubt, None);
    assert!(streams(&file, &parts)[&essence(1)] == words(&sound, As::Little(3)));
}

#[test]
fn floats_that_are_no_integers_keep_their_bits_and_single_ones_are_corrected() {
    let sound = sound(60_000, 24);
    let mut bytes = words(&sound, As::BigFloat(4));
    let entries = [picture_entry(Video::Avc), entry(b"fl32", 16, false)];
    for at in (40_000..bytes.len()).step_by(4 * 997) {
        bytes[at / 4 * 4..at / 4 * 4 + 4].copy_from_slice(&f32::NAN.to_be_bytes());
    }
    let file = mp4_of(&entries, &with_sound(&bytes, 9000), Moov::First, &[]);
    let of = streams(&file, &collect_parts(open(head(&file)), &file, &[]).0);
    assert_eq!(of[&essence(1)].len(), bytes.len() / 4 * 3);
    assert!(!of[&decisions(essence(1))].is_empty());

    let odd: Vec<u8> = (1..60_001).flat_map(|i| (1.0 / i as f32).to_be_bytes()).collect();
    let file = mp4_of(&entries, &with_sound(&odd, 8000), Moov::First, &[]);
    let of = streams(&file, &collect_parts(open(head(&file)), &file, &[]).0);
    let little: Vec<u8> = odd.as_chunks().0.iter().flat_map(|&[a, b, c, d]| [d, c, b, a]).collect();
    assert!(of[&essence(1)] == little);
}

/// From there on nothing tells where a sample begins.
#[test]
fn behind_half_a_frame_samples_are_bytes() {
    let bytes = words(&sound(300_000, 24), As::Big(3));
    let mut film = with_sound(&bytes, 9000);
    let broken = film.len() / 2;
    film[broken..].iter_mut().find(|f| f.track == 1).unwrap().bytes.truncate(8000);
    let file = mp4_of(&[picture_entry(Video::Avc), entry(b"in24", 16, false)], &film, Moov::First, &[]);
    let (parts, doubt) = collect_parts(open(head(&file)), &file, &[0]);
    assert_eq!(doubt, Some("container: samples that are no whole frames"));
    let of = streams(&file, &parts);
    assert!(of[&essence(0)] == track(&film, 0));
    let (sound, as_it_stands) = (&of[&essence(1)], track(&film, 1));
    assert!(sound.len() == as_it_stands.len());
    let same = sound.iter().rev().zip(as_it_stands.iter().rev()).take_while(|(a, b)| a == b).count();
    assert!(same > sound.len() / 3 && same < sound.len() * 2 / 3, "{same} of {}", sound.len());
    let layered = parts.iter().filter(|p| matches!(p, Part::Mapped(m) if m.how == LAYERS)).count();
    assert!(layered > 0 && layered < parts.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Covering, the way back and windows are checked in `collect_parts`.
    #[test]
    fn mutated_files_are_covered_alike_in_any_windows(
        which in any::<prop::sample::Index>(),
        bits in prop::sample::select(vec![8, 16, 24]),
        frames in prop_oneof![0..9000_usize, 60_000..100_000_usize],
        harm in harm(),
        windows in windows(),
    ) {
        let mut files = everywhere(&sound(frames, bits), bits);
        let (_, mut bytes) = files.swap_remove(which.index(files.len()));
        harm.to(&mut bytes);
        alike_in_windows(&bytes, &windows)?;
    }

    #[test]
    fn mutated_files_without_tables_are_covered_alike_in_any_windows(
        how in prop::sample::select(vec![As::Little(2), As::Big(3), As::BigFloat(4)]),
        video in prop::sample::select(vec![Video::ProRes, Video::Avc]),
        harm in harm(),
        windows in windows(),
    ) {
        let words = words(&piano(24)[60_000..100_000], how);
        let film = beside(video, &words, 3840);
        let mut file = mp4_of(&[picture_entry(video), entry(b"none", 16, false)], &film, Moov::Last, &[]);
        harm.to(&mut file);
        alike_in_windows(&file, &windows)?;
    }

    #[test]
    fn mutated_sound_alone_is_covered_alike_in_any_windows(
        frames in prop_oneof![10_000..30_000_usize, 300_000..600_000_usize],
        pad in prop_oneof![Just(0_usize), 1..100_usize],
        harm in harm(),
        windows in windows(),
    ) {
        let mut bytes = words(&sound(frames, 16), As::Big(3));
        bytes.extend(vec![7; pad]);
        let frame = Frame { track: 1, key: true, bytes };
        let ftyp = mp4_box(b"ftyp", b"qt  \0\0\x02\0qt  ");
        let moov = |at: usize| {
            let trak = super::super::film::trak(std::slice::from_ref(&frame), 1, &entry(b"in24", 16, false), &[at as u32]);
            mp4_box(b"moov", &[full(b"mvhd", 0, &[0; 96]), trak].concat())
        };
        let at = ftyp.len() + moov(0).len() + 8;
        let mut file = [ftyp, moov(at), mp4_box(b"mdat", &frame.bytes)].concat();
        let (parts, _) = collect_parts(open(head(&file)), &file, &[]);
        prop_assert!(frames < 100_000 || parts.iter().any(|p| matches!(p, Part::Mapped(m) if m.how == WORDS)));
        harm.to(&mut file);
        alike_in_windows(&file, &windows)?;
    }
}
