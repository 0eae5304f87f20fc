//! A logarithm that is the same on every machine, for encoders that weigh costs.

/// log2 of a positive number, within 0.01. Sums and products alone: IEEE 754 fixes each of them, a maths library's own
/// logarithm differs between platforms.
pub(super) fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023; // eleven bits
    let m = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    f64::from(exponent) + (m - 1.0) * (1.0 + (2.0 - m) * (0.443 - 0.17 * (m - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::log2;

    #[test]
    fn it_is_the_logarithm_within_a_hundredth() {
        let mut x = 1e-9;
        while x < 1e18 {
            assert!((log2(x) - x.log2()).abs() < 0.01, "{x}");
            x *= 1.001;
        }
        assert_eq!((log2(1.0), log2(1024.0), log2(0.5)), (0.0, 10.0, -1.0));
    }
}
