//! Files of the reference encoder and of our own, whole and damaged.

use super::super::testing::{collect_parts, head, real, streams};
use super::*;

fn all(file: &[u8], windows: &[usize]) -> (Vec<Part>, Option<&'static str>) {
    collect_parts(open(head(file)).expect("WavPack"), file, windows)
}

#[test]
#[ignore]
fn measure() {
    let path = std::env::var("WV").expect("WV");
    for path in path.split(':') {
        let bytes = std::fs::read(path).expect(path);
        let mut best = [f64::MAX; 2];
        let mut parts = Vec::new();
        let mut doubt = None;
        for _ in 0..std::env::var("N").map_or(3, |n| n.parse().expect("N")) {
            let mut splitter = open(head(&bytes)).expect("WavPack");
            parts.clear();
            let begin = std::time::Instant::now();
            splitter.split(&bytes, true, &mut parts);
            best[0] = best[0].min(begin.elapsed().as_secs_f64());
            doubt = splitter.doubt();
            let begin = std::time::Instant::now();
            let mut at = 0;
            for part in &parts {
                let end = at + part.bytes() as usize;
                if let Part::Mapped(m) = part {
                    let of: Vec<&[u8]> = m.parts.iter().map(|p| &p.bytes[..]).collect();
                    let back = super::super::inverse(m.how, &m.parameters, &of, m.bytes as usize).expect("back");
                    assert!(back == bytes[at..end], "does not come back");
                }
                at = end;
            }
            best[1] = best[1].min(begin.elapsed().as_secs_f64());
        }
        let of = streams(&bytes, &parts);
        let sizes: Vec<(u8, usize)> = of.iter().map(|(k, v)| (*k, v.len())).collect();
        let mapped: u64 = parts.iter().filter(|p| matches!(p, Part::Mapped(_))).map(Part::bytes).sum();
        let mb = bytes.len() as f64 / 1e6;
        println!(
            "{path}: {} B, mapped {:.3}%, streams {sizes:?}, decisions {:.4}%, split {:.1} MB/s, inverse {:.1} MB/s, {doubt:?}",
            bytes.len(),
            100.0 * mapped as f64 / bytes.len() as f64,
            100.0 * of.get(&DECISIONS).map_or(0, Vec::len) as f64 / bytes.len() as f64,
            mb / best[0],
            mb / best[1]
        );
        if let Ok(raw) = std::env::var("RAW") {
            let wav = std::fs::read(raw).expect("raw");
            let essence = &of[&ESSENCE];
            let at = wav.len() - essence.len();
            assert!((0..=at).any(|at| wav[at..].starts_with(essence)), "other samples");
            println!("samples are those of the WAV");
        }
    }
}
