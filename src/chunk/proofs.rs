//! Which proofs decode as a restore does.
//!
//! Proofs of sound and pictures take the neighbours that should stand there, not those made before: residuals of sound have to be
//! those that its samples leave, samples of pictures have to come out. That tells of the payload, not of the decoder's loops. So that a fault of these shows at a backup too, some proofs run them.

/// One proof in so many.
const WHOLE: u32 = 32;

/// The proofs of one thread.
#[derive(Default)]
pub(super) struct Proofs(u32);

impl Proofs {
    /// Counts a proof; whether it is one of those that decode as a restore does. The first is.
    pub(super) fn is_whole(&mut self) -> bool {
        let is_whole = self.0.is_multiple_of(WHOLE);
        self.0 = self.0.wrapping_add(1);
        is_whole
    }
}

/// Harms each bit of a payload: where it is still proven, it must decode to the same bytes.
#[cfg(test)]
pub fn each_bit_harmed(
    payload: &[u8],
    plain: &[u8],
    mut proves: impl FnMut(&[u8]) -> bool,
    decode: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), &'static str>,
) {
    assert!(proves(payload)); // the first one is decoded as a restore does it
    let mut harmed = payload.to_vec();
    for bit in 0..payload.len() * 8 {
        harmed[bit / 8] ^= 1 << (bit % 8);
        if proves(&harmed) {
            let mut out = Vec::new();
            assert_eq!(decode(&harmed, &mut out), Ok(()), "bit {bit}");
            assert!(out == plain, "bit {bit}");
        }
        harmed[bit / 8] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_proof_in_32_is_whole_and_so_is_the_first() {
        let mut proofs = Proofs::default();
        let whole: Vec<usize> = (0..100).filter(|_| proofs.is_whole()).collect();
        assert_eq!(whole, [0, 32, 64, 96]);
    }
}
