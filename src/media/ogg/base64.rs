//! Base64 as comments hold pictures (RFC 4648, section 4): one alphabet, padded, no line breaks.
//!
//! # Invariants
//!
//! `encode(decode(x)) == x` for whatever [`decode`] takes.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Value of each letter; 0xff for what is none.
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [0xff; 256];
    let mut i = 0;
    while i < 64 {
        values[ALPHABET[i] as usize] = i as u8; // below 64
        i += 1;
    }
    values
}

/// Bytes that `bytes` become.
pub fn encoded_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Appends `bytes` as letters.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    // 6 bits: within the alphabet.
    let letter = |bits: u32, shift: u32| ALPHABET[(bits >> shift & 63) as usize];
    let (triples, rest) = bytes.as_chunks::<3>();
    for &[a, b, c] in triples {
        let bits = u32::from_be_bytes([0, a, b, c]);
        out.extend_from_slice(&[18, 12, 6, 0].map(|shift| letter(bits, shift)));
    }
    match *rest {
        [a] => out.extend_from_slice(&[letter(u32::from(a), 2), letter(u32::from(a) << 4, 0), b'=', b'=']),
        [a, b] => {
            let bits = u32::from_be_bytes([0, 0, a, b]);
            out.extend_from_slice(&[letter(bits, 10), letter(bits, 4), letter(bits << 2, 0), b'=']);
        }
        _ => {}
    }
}

/// What `letters` stand for; `None` where [`encode`] would not write them like this.
pub fn decode(letters: &[u8]) -> Option<Vec<u8>> {
    let (fours, []) = letters.as_chunks::<4>() else { return None };
    let (last, fours) = fours.split_last()?;
    let value = |letter: u8| VALUES[usize::from(letter)]; // a u8: within 256
    let mut out = Vec::with_capacity(letters.len() / 4 * 3);
    let mut wrong = 0;
    for &four in fours {
        let [a, b, c, d] = four.map(value);
        wrong |= a | b | c | d;
        let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        let [_, x, y, z] = bits.to_be_bytes();
        out.extend_from_slice(&[x, y, z]);
    }
    let kept = match last {
        [_, _, b'=', b'='] => 1,
        [_, _, _, b'='] => 2,
        _ => 3,
    };
    let [a, b, c, d] = last.map(|l| if l == b'=' { 0 } else { value(l) });
    wrong |= a | b | c | d;
    let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
    out.extend_from_slice(bits.to_be_bytes().get(1..1 + kept)?);
    // A '=' elsewhere, or bits behind the last byte, would come back as something else.
    let mut again = Vec::with_capacity(4);
    encode(out.get(out.len().checked_sub(kept)?..)?, &mut again);
    (wrong < 64 && again == last).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_the_rfc_are_met() {
        for (bytes, letters) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, letters.as_bytes());
            assert_eq!(out.len(), encoded_bytes(bytes.len()));
            assert_eq!(decode(&out).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn what_would_not_come_back_is_refused() {
        for letters in ["", "Z", "Zm9", "Zh==", "Zm9=", "Z===", "====", "Z=9v", "Zg==Zg==", "Zm9vZm\nv", "Zm9-", "Z=g="]
        {
            assert_eq!(decode(letters.as_bytes()), None, "{letters}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 1..100)) {
            let mut out = Vec::new();
            encode(&bytes, &mut out);
            prop_assert_eq!(decode(&out), Some(bytes));
        }

        #[test]
        fn letters_that_are_taken_come_back(letters in "[A-Za-z0-9+/=]{4,24}") {
            if let Some(bytes) = decode(letters.as_bytes()) {
                let mut out = Vec::new();
                encode(&bytes, &mut out);
                prop_assert_eq!(out, letters.as_bytes());
            }
        }
    }
}
