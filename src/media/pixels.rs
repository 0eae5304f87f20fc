//! Pixels in one order: rows downwards and without padding, the bytes of a pixel in the order that other formats have them in.
//! Version 1.
//!
//! A BMP keeps a picture's rows upwards, each padded to four bytes, blue before red; PPM and TIFF keep the same picture
//! downwards, red first. They meet only if their pixels are the same bytes in the same order.
//!
//! # What stands in a recipe
//!
//! ```text
//! parameters := flags:u8 pixel:u8 place:u8{pixel} row:varint used:varint
//!                 flags: 1 rows upwards: the segment's last row is the stream's first
//!                 pixel: bytes of a pixel, 1 to 8
//!                 place: for each byte of a pixel in the stream its place in the file's pixel; each place comes once
//!                 row:   bytes of a row in the file
//!                 used:  of these, from the first on, the bytes that are pixels: whole ones, at least one; fewer than
//!                        8 are left
//! parts      := pixels padding?
//! pixels     := (used bytes of a row)*      row by row, downwards
//! padding    := (the other bytes of a row)* in the file's order; missing if all are zero
//! ```
//! A segment is whole rows.
//!
//! # Invariants
//!
//! 1. What [`Order::apart`] gives, [`inverse`] puts together; anything else is refused or gives bytes of the asked length.
//! 2. Memory is that of the segment; work is linear in it.

use crate::error::Result;
use crate::format::wire::{Put, Reader};

/// Bytes of a pixel at most.
const PIXEL_MAX: usize = 8;
/// A row has fewer bytes behind its pixels.
const PADDING_END: usize = 8;
/// Rows upwards.
const UPWARDS: u8 = 1;

/// How pixels stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    is_upward: bool,
    /// Bytes of a pixel, and for each of them in the stream its place in the file.
    pixel: usize,
    places: [u8; PIXEL_MAX],
    row: usize,
    used: usize,
}

impl Order {
    /// Rows of `row` bytes of which the first `used` are pixels, whose bytes have these places in the file. `None` where a way back
    /// would refuse it.
    pub fn new(is_upward: bool, places: &[u8], row: usize, used: usize) -> Option<Order> {
        let pixel = places.len();
        let is_order = (0..pixel).all(|place| places.iter().any(|p| usize::from(*p) == place));
        let mut all = [0; PIXEL_MAX];
        all.get_mut(..pixel)?.copy_from_slice(places);
        let fits = pixel > 0 && used > 0 && used.is_multiple_of(pixel) && used <= row && row - used < PADDING_END;
        (is_order && fits).then_some(Order { is_upward, pixel, places: all, row, used })
    }

    /// Bytes of a row in the file.
    pub fn row(&self) -> usize {
        self.row
    }

    /// Bytes of a row in the stream.
    pub fn used(&self) -> usize {
        self.used
    }

    pub fn is_upward(&self) -> bool {
        self.is_upward
    }

    /// Whether pixels stand in the file as they do in the stream.
    pub fn is_plain(&self) -> bool {
        self.row == self.used && !self.is_upward && self.places().iter().enumerate().all(|(i, p)| usize::from(*p) == i)
    }

    fn places(&self) -> &[u8] {
        &self.places[..self.pixel] // at most PIXEL_MAX
    }

    /// What stands in a recipe.
    pub fn parameters(&self) -> Vec<u8> {
        let mut out = vec![if self.is_upward { UPWARDS } else { 0 }, self.pixel as u8]; // at most PIXEL_MAX
        out.extend_from_slice(self.places());
        out.put_varint(self.row as u64);
        out.put_varint(self.used as u64);
        out
    }

    /// The rows' pixels, and their padding, which is empty if all of it is zero. `rows` are whole rows.
    pub fn apart(&self, rows: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let count = rows.len() / self.row; // a row has a byte
        let mut pixels = vec![0; count * self.used];
        for (i, row) in rows.chunks_exact(self.row).enumerate() {
            let to = if self.is_upward { count - 1 - i } else { i }; // of `count` rows
            self.move_row(&mut pixels[to * self.used..][..self.used], &row[..self.used], false);
        }
        let others = || rows.chunks_exact(self.row).map(|row| &row[self.used..]);
        let padding =
            if others().flatten().all(|b| *b == 0) { Vec::new() } else { others().flatten().copied().collect() };
        (pixels, padding)
    }

    /// Puts a row's pixels in order, or (`back`) as the file has them. Both rows are as long.
    fn move_row(&self, to: &mut [u8], from: &[u8], back: bool) {
        match *self.places() {
            [0] => to.copy_from_slice(from),
            // Both ways are the same.
            [1, 0] => move_pixels(to, from, |&[a, b]| [b, a]),
            [2, 1, 0] => move_pixels(to, from, |&[a, b, c]| [c, b, a]),
            [2, 1, 0, 3] => move_pixels(to, from, |&[a, b, c, d]| [c, b, a, d]),
            _ => {
                for (to, from) in to.chunks_exact_mut(self.pixel).zip(from.chunks_exact(self.pixel)) {
                    for (i, place) in self.places().iter().enumerate() {
                        let (to_place, from_place) = if back { ((*place).into(), i) } else { (i, (*place).into()) };
                        to[to_place] = from[from_place]; // places are below the pixel's bytes
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn move_pixels<const N: usize>(to: &mut [u8], from: &[u8], turn: impl Fn(&[u8; N]) -> [u8; N]) {
    for (to, from) in to.as_chunks_mut().0.iter_mut().zip(from.as_chunks().0) {
        *to = turn(from);
    }
}

/// Puts rows together again.
///
/// # Errors
/// [`crate::Error::Malformed`] for what no splitter left.
pub fn inverse(parameters: &[u8], parts: &[&[u8]], bytes: usize) -> Result<Vec<u8>> {
    let mut r = Reader::new("a segment of pixels", parameters);
    let (flags, pixel) = (r.u8()?, usize::from(r.u8()?));
    if flags & !UPWARDS != 0 || pixel > PIXEL_MAX {
        return Err(r.bad("an order that there is not"));
    }
    let places = r.take(pixel)?;
    let (row, used) = (r.varint()?, r.varint()?);
    r.end()?;
    let size = |n: u64| usize::try_from(n).unwrap_or(0);
    let order = Order::new(flags == UPWARDS, places, size(row), size(used));
    let order = order.ok_or_else(|| r.bad("an order that there is not"))?;
    let (pixels, padding) = match *parts {
        [pixels] => (pixels, None),
        [pixels, padding] => (pixels, Some(padding)),
        _ => return Err(r.bad("neither one nor two parts")),
    };
    let (row, used) = (order.row, order.used);
    let count = pixels.len() / used;
    let other = row - used; // see `Order::new`
    // So memory is that of the parts, whatever the recipe says: fewer than eight bytes a row come to them.
    if count * used != pixels.len()
        || count.checked_mul(row) != Some(bytes)
        || padding.is_some_and(|p| p.len() != count * other)
    {
        return Err(r.bad("other pixels than the segment has room for"));
    }
    let mut out = vec![0; bytes];
    for (i, to) in out.chunks_exact_mut(row).enumerate() {
        let from = if order.is_upward { count - 1 - i } else { i }; // of `count` rows
        let (to_pixels, to_padding) = to.split_at_mut(used);
        order.move_row(to_pixels, &pixels[from * used..][..used], true);
        if let Some(padding) = padding {
            to_padding.copy_from_slice(&padding[i * other..][..other]);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn version_1_is_read_for_ever() {
        // Two rows of two pixels, upwards, blue first, with two bytes of padding.
        let parameters = [1, 3, 2, 1, 0, 8, 6];
        let file = [6, 5, 4, 9, 8, 7, 0xaa, 0, 3, 2, 1, 13, 12, 11, 0, 0xbb];
        let pixels = [1, 2, 3, 11, 12, 13, 4, 5, 6, 7, 8, 9];
        let padding = [0xaa, 0, 0, 0xbb];
        assert_eq!(inverse(&parameters, &[&pixels, &padding], 16).unwrap(), file);
        let order = Order::new(true, &[2, 1, 0], 8, 6).unwrap();
        assert_eq!(order.parameters(), parameters);
        assert_eq!(order.apart(&file), (pixels.to_vec(), padding.to_vec()));
        // Without padding; and an order that is not its own way back.
        let back = [&file[..6], &[0, 0], &file[8..14], &[0, 0]].concat();
        assert_eq!(inverse(&parameters, &[&pixels], 16).unwrap(), back);
        assert_eq!(inverse(&[0, 3, 1, 2, 0, 3, 3], &[&[1, 2, 3]], 3).unwrap(), [3, 1, 2]);
    }

    #[test]
    fn what_no_splitter_leaves_is_refused() {
        let pixels: &[u8] = &[0; 12];
        for (why, parameters, parts, bytes) in [
            ("a flag", &[2, 3, 2, 1, 0, 6, 6][..], &[pixels][..], 12),
            ("no pixel", &[0, 0, 6, 6], &[pixels], 12),
            ("a large pixel", &[0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9], &[&[0; 9]], 9),
            ("a place twice", &[0, 3, 2, 1, 2, 6, 6], &[pixels], 12),
            ("a place outside", &[0, 3, 3, 1, 0, 6, 6], &[pixels], 12),
            ("much padding", &[0, 1, 0, 9, 1], &[pixels], 108),
            ("more used than there is", &[0, 1, 0, 3, 4], &[pixels], 9),
            ("no row", &[0, 1, 0, 0, 0], &[pixels], 12),
            ("half a pixel", &[0, 3, 2, 1, 0, 5, 4], &[pixels], 15),
            ("a byte behind", &[0, 3, 2, 1, 0, 6, 6, 0], &[pixels], 12),
            ("half a row", &[0, 3, 2, 1, 0, 9, 9], &[pixels], 12),
            ("another length", &[0, 3, 2, 1, 0, 6, 6], &[pixels], 13),
            ("other padding", &[0, 3, 2, 1, 0, 8, 6], &[pixels, &[0; 3]], 16),
            ("three parts", &[0, 3, 2, 1, 0, 6, 6], &[pixels, &[], &[]], 12),
            ("no part", &[0, 3, 2, 1, 0, 6, 6], &[], 0),
        ] {
            assert!(inverse(parameters, parts, bytes).is_err(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn rows_come_back(
            is_upward: bool,
            places in (1..=PIXEL_MAX).prop_flat_map(|n| Just((0..n as u8).collect::<Vec<_>>()).prop_shuffle()),
            usual in prop::option::of(prop::sample::select(vec![vec![0u8], vec![1, 0], vec![2, 1, 0], vec![2, 1, 0, 3]])),
            width in 1..40usize,
            padding in 0..PADDING_END,
            rows in 0..20usize,
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            is_padded: bool,
        ) {
            let places = usual.unwrap_or(places);
            let used = width * places.len();
            let order = Order::new(is_upward, &places, used + padding, used).unwrap();
            let mut file: Vec<u8> = bytes.into_iter().cycle().take(rows * order.row()).collect();
            if !is_padded {
                file.chunks_exact_mut(order.row()).for_each(|row| row[used..].fill(0));
            }
            let (pixels, others) = order.apart(&file);
            prop_assert!(is_padded || others.is_empty());
            let parts = if others.is_empty() { vec![&pixels[..]] } else { vec![&pixels[..], &others[..]] };
            prop_assert_eq!(&inverse(&order.parameters(), &parts, file.len()).unwrap(), &file);
            if order.is_plain() {
                prop_assert_eq!(&pixels, &file);
            }
        }

        #[test]
        fn arbitrary_parameters_never_panic(parameters in prop::collection::vec(0..9u8, 0..12), parts: Vec<Vec<u8>>, bytes in 0..200usize) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            if let Ok(out) = inverse(&parameters, &parts, bytes) {
                prop_assert_eq!(out.len(), bytes);
            }
        }
    }
}
