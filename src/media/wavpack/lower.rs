//! Bits below those that are predicted: how a sample becomes the number that is coded.
//!
//! ```text
//! sample = ((number << sent | bits) and what was left out below) << shift
//! ```
//! `sent` bits of each stand in a bitstream of their own, lowest first. Its new form begins with a width of 5 bits: where
//! it is not 0, samples that would be wider have as many bits fewer, the lowest ones being zero. What was left out is
//! zeros, ones, or copies of the lowest bit. `shift` are zeros too. (WavPack 5, `fixup_samples` in `unpack.c`.)
//!
//! # Invariants
//!
//! [`Lower::apply`] takes nothing that [`Lower::remove`] would not give back.

use super::bits::{BitReader, BitWriter};

/// How numbers become samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lower {
    sent: u32,
    fill: Fill,
    filled: u32,
    shift: u32,
    /// There is a bitstream; its width, if it is one of the new form.
    stream: Option<Option<u8>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fill {
    #[default]
    Zeros,
    Ones,
    Copies,
}

/// A lower stream's checksum goes on.
fn crc_of(crc: u32, sample: i32) -> u32 {
    let sample = sample.cast_unsigned();
    crc.wrapping_mul(9).wrapping_add((sample & 0xffff) * 3).wrapping_add(sample >> 16)
}

impl Lower {
    /// `lower` are the numbers of a block's metadata, each below 32, none if it has no such flag. `None` where bits that
    /// were sent are missing, or a stream that nothing uses is there.
    pub fn new(lower: Option<[u8; 4]>, shift: u32, stream: Option<Option<u8>>) -> Option<Lower> {
        let [sent, zeros, ones, copies] = lower.unwrap_or_default().map(u32::from);
        let (fill, filled) = match (zeros, ones) {
            (0, 0) => (Fill::Copies, copies),
            (0, _) => (Fill::Ones, ones),
            _ => (Fill::Zeros, zeros),
        };
        let lower_is_there = lower.is_some() || stream.is_none();
        ((sent == 0 || stream.is_some()) && lower_is_there).then_some(Lower { sent, fill, filled, shift, stream })
    }

    /// Numbers are samples.
    fn is_nothing(&self) -> bool {
        (self.sent, self.filled, self.shift, self.stream) == (0, 0, 0, None)
    }

    /// Bits that are sent of a sample whose number is this.
    fn bits_of(&self, number: i32) -> u32 {
        match self.stream {
            Some(Some(width @ 1..)) => {
                let own = 32 - (number ^ number >> 31).leading_zeros() + self.sent;
                self.sent.saturating_sub(own.saturating_sub(width.into()))
            }
            _ => self.sent,
        }
    }

    /// Makes samples of numbers. `stream` is the bitstream with its checksum in front. True if it is filled up with
    /// zeros, `None` where no encoder made it so.
    pub fn apply(&self, stream: Option<(u32, &[u8])>, numbers: &mut [i32]) -> Option<bool> {
        if self.is_nothing() {
            return Some(false);
        }
        let (crc_told, bytes) = stream.unwrap_or_default();
        let (mut bits, mut crc, mut lost) = (BitReader::new(bytes), u32::MAX, 0);
        if let Some(Some(width)) = self.stream
            && bits.take(5) != u32::from(width)
        {
            return None;
        }
        for number in numbers {
            let mut sample = *number;
            if self.sent > 0 {
                let count = self.bits_of(sample); // at most `sent`, below 32
                let low = if count > 0 { bits.take(count).cast_signed() } else { 0 };
                sample = (sample << count | low) << (self.sent - count);
            }
            sample = match self.fill {
                Fill::Zeros => sample << self.filled,
                Fill::Ones => !(!sample << self.filled),
                Fill::Copies => {
                    let all = -(sample & 1); // all ones or none
                    (sample ^ all) << self.filled ^ all
                }
            };
            crc = crc_of(crc, sample);
            sample <<= self.shift;
            lost |= sample >> self.shift >> self.filled >> self.sent ^ *number;
            *number = sample;
        }
        let is_right = self.stream.is_none() || crc == crc_told;
        (lost == 0 && is_right).then(|| bits.padding())?
    }

    /// Makes numbers of samples and writes the bitstream, whose checksum is returned. `None`
    /// beyond `max` bytes.
    pub fn remove(&self, samples: &mut [i32], zeros: bool, bits: &mut BitWriter, max: usize) -> Option<u32> {
        bits.begin(max);
        let mut crc = u32::MAX;
        if self.is_nothing() {
            return Some(crc);
        }
        if let Some(Some(width)) = self.stream {
            bits.write(1, |sink| sink.put(5, u64::from(width & 31)))?;
        }
        for samples in samples.chunks_mut(1024) {
            bits.write(4 * samples.len(), |sink| {
                for sample in samples {
                    *sample >>= self.shift;
                    crc = crc_of(crc, *sample);
                    *sample >>= self.filled;
                    let low = sample.cast_unsigned();
                    *sample >>= self.sent;
                    let count = self.bits_of(*sample); // at most `sent`
                    sink.put(count, u64::from((low >> (self.sent - count)) & ((1 << count) - 1)));
                }
            })?;
        }
        (self.stream.is_none() || bits.end(zeros)).then_some(crc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_taken_off_is_put_back(
            samples in prop::collection::vec(any::<i32>(), 0..60),
            lower in (0..12_u8, 0..3_usize, 0..5_u8),
            shift in 0..4_u32,
            stream in prop_oneof![Just(None), Just(Some(None)), (0..32_u8).prop_map(|width| Some(Some(width)))],
            zeros: bool,
        ) {
            let mut info = [lower.0, 0, 0, 0];
            info[1 + lower.1] = lower.2;
            let Some(low) = Lower::new(Some(info), shift, stream) else {
                prop_assert!(lower.0 > 0 && stream.is_none());
                return Ok(());
            };
            let (mut numbers, mut bits) = (samples.clone(), BitWriter::default());
            let crc = low.remove(&mut numbers, zeros, &mut bits, 10_000).expect("room");
            let mut back = numbers.clone();
            let told = stream.map(|_| (crc, bits.bytes()));
            let before = numbers.clone();
            match low.apply(told, &mut back) {
                // What was filled is as it was said to be, so numbers come back whatever the samples were.
                Some(filled) => {
                    prop_assert!(bits.bytes().is_empty() || !filled || zeros);
                    let mut again = back.clone();
                    let crc_again = low.remove(&mut again, zeros, &mut bits, 10_000);
                    prop_assert_eq!(again, before);
                    prop_assert!(stream.is_none() || crc_again == Some(crc));
                }
                // The checksum is that of the samples, which are others where what was filled is not what it should be.
                None => prop_assert!(stream.is_some() && back != samples),
            }
        }
    }

    #[test]
    fn bits_that_are_missing_are_refused() {
        assert_eq!(Lower::new(Some([8, 0, 0, 0]), 0, None), None, "bits were left out: that is lossy");
        assert_eq!(Lower::new(None, 0, Some(None)), None, "a stream that nothing says is there");
        let low = Lower::new(Some([8, 0, 0, 0]), 0, Some(None)).expect("lower bits");
        let mut numbers = [3, -3];
        assert_eq!(low.apply(Some((0, &[1, 2])), &mut numbers), None, "a wrong checksum");
        let crc = crc_of(crc_of(u32::MAX, 3 << 8 | 1), -3 << 8 | 2);
        let mut numbers = [3, -3];
        assert_eq!((low.apply(Some((crc, &[1, 2])), &mut numbers), numbers), (Some(false), [769, -766]));
        // Beyond 32 bits nothing comes back.
        let low = Lower::new(Some([0, 4, 0, 0]), 0, None).expect("lower bits");
        assert_eq!(low.apply(None, &mut [1 << 28]), None);
    }
}
