//! Any bytes through the splitter that takes them: covered once, in order, the same in any windows, and every mapped
//! segment comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onefold::format::limits;
use onefold::media::{self, Deflate, Hints, Mapped, Options, Part};

fn split(bytes: &[u8], step: usize) -> Vec<(u8, u64, Option<Mapped>)> {
    let head = &bytes[..bytes.len().min(media::HINT_BYTES)];
    let mut splitter = media::open_with(Hints { head, tail: None }, Options { deflate: Deflate::Always });
    let (mut at, mut shown, mut out) = (0, 0, Vec::<(u8, u64, Option<Mapped>)>::new());
    while at < bytes.len() || shown == 0 {
        shown = (at.max(shown) + step).max(at + media::WINDOW_MIN).min(bytes.len());
        let mut parts = Vec::new();
        let last = shown == bytes.len();
        splitter.split(&bytes[at..shown], last, &mut parts);
        let used: u64 = parts.iter().map(Part::bytes).sum();
        assert!(used > 0 || bytes.is_empty() || at == bytes.len(), "nothing was consumed");
        for part in parts {
            let (from, to) = (at, at + part.bytes() as usize);
            assert!(to <= shown, "beyond the window");
            at = to;
            match part {
                Part::Run(run) => match out.last_mut() {
                    Some((stream, n, None)) if *stream == run.stream && !run.cut => *n += run.bytes,
                    _ => out.push((run.stream, run.bytes, None)),
                },
                Part::Mapped(mapped) => {
                    let parts: Vec<&[u8]> = mapped.parts.iter().map(|p| p.bytes.as_slice()).collect();
                    assert!(mapped.bytes <= limits::SEGMENT_BYTES);
                    assert!(mapped.parameters.len() <= limits::SEGMENT_PARAMETER_BYTES);
                    let back = media::inverse(mapped.how, &mapped.parameters, &parts, to - from);
                    assert!(back.is_ok_and(|back| back == bytes[from..to]), "it does not come back");
                    out.push((255, mapped.bytes, Some(mapped)));
                }
            }
        }
        if last {
            break;
        }
    }
    assert_eq!(at, bytes.len(), "all is covered");
    out
}

fuzz_target!(|bytes: &[u8]| {
    let whole = split(bytes, bytes.len().max(1));
    assert!(split(bytes, 1 << 20) == whole, "it depends on the windows");
});
