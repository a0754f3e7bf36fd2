//! Operands of products of 8-bit integers: signed bytes, four to a word, with their zero points. Unsigned integers are moved by
//! 128, and so are their zero points, which leaves the differences as they are.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_tensor::{DType, Tensor};

use crate::kernel::{Lowering, Operand, Packing, word};

/// The structs and functions of kernels.
pub(crate) const SOURCE: &str = include_str!("../../../kernels/integers.cuh");

/// The bits that turn in a byte of a type to make it signed.
///
/// # Errors
/// Another type.
pub(crate) fn flip(dtype: DType) -> Result<u8, Decline> {
    match dtype {
        DType::I8 => Ok(0),
        DType::U8 => Ok(128),
        other => Err(Decline(format!("products of {other}"))),
    }
}

/// The zero points of an operand.
pub(crate) struct Zeros {
    /// The input, if it is read.
    input: Option<usize>,
    flip: u8,
    count: usize,
    /// The one signed zero point of all, if it is known.
    known: Option<i32>,
}

impl Zeros {
    /// Those at `place`, of which there may be one or as many as in `counts`; `dtype` is the operand's.
    ///
    /// # Errors
    /// Another number of them.
    pub(crate) fn of(
        lowering: &Lowering<'_>,
        dtype: DType,
        place: usize,
        counts: &[usize],
    ) -> Result<Zeros, Decline> {
        let flip = flip(dtype)?;
        let none = Zeros { input: None, flip, count: 1, known: Some(-i32::from(flip)) };
        if !lowering.has(place) {
            return Ok(none);
        }
        let count = lowering.shape(place)?.elements();
        if count != 1 && !counts.contains(&count) {
            return Err(Decline(format!("{count} zero points at input {place}")));
        }
        if lowering.constant(place).is_some() {
            let values = lowering.ints(place)?;
            let first = values.first().copied().unwrap_or(0);
            if values.iter().all(|&value| value == first) {
                return Ok(Zeros { known: Some(first as i32 - i32::from(flip)), ..none });
            }
        }
        Ok(Zeros { input: Some(place), flip, count, known: None })
    }

    /// Whether they are certainly 0, so that nothing is to be put right.
    pub(crate) fn vanish(&self) -> bool {
        self.known == Some(0)
    }

    /// Points to those that are read.
    pub(crate) fn operand(&self) -> Operand {
        self.input.map_or(Operand::Nothing, Operand::Input)
    }

    /// The struct `Zeros` (integers.cuh).
    ///
    /// # Errors
    /// More of them than an index counts.
    pub(crate) fn words(&self) -> Result<[u32; 3], Decline> {
        Ok([word(self.count)?, u32::from(self.flip), self.known.unwrap_or(0) as u32])
    }
}

/// A constant matrix of bytes as it is packed: a line of words of four depths each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) lines: usize,
    pub(crate) depth: usize,
    /// Bytes between neighbouring lines and depths.
    pub(crate) line_stride: usize,
    pub(crate) depth_stride: usize,
    /// Words of a line, of which the last ones may be empty.
    pub(crate) words: usize,
}

impl Layout {
    /// Signed bytes of a line.
    fn line<'a>(&'a self, bytes: &'a [u8], line: usize, flip: u8) -> impl Iterator<Item = u8> + 'a {
        let start = line * self.line_stride;
        (0..self.depth)
            .map(move |depth| bytes.get(start + depth * self.depth_stride).map_or(0, |byte| byte ^ flip))
    }

    fn packing(
        self,
        place: usize,
        dtype: DType,
        what: &str,
        pack: impl Fn(&Layout, &[u8], u8) -> Vec<u8> + Send + Sync + 'static,
    ) -> Result<Operand, Decline> {
        let flip = flip(dtype)?;
        let form = format!("{what} of {dtype}, {self:?}");
        let pack = move |tensor: &Tensor| Ok(pack(&self, tensor.bytes(), flip));
        Ok(Operand::Packed(Packing { input: place, form, pack: Arc::new(pack) }))
    }

    /// The constant at `place` as words.
    ///
    /// # Errors
    /// Another type than 8-bit integers.
    pub(crate) fn packed(self, place: usize, dtype: DType) -> Result<Operand, Decline> {
        self.packing(place, dtype, "lines", |layout, bytes, flip| {
            let mut packed = vec![0u8; 4 * layout.words * layout.lines];
            for (line, packed) in packed.chunks_exact_mut((4 * layout.words).max(1)).enumerate() {
                packed.iter_mut().zip(layout.line(bytes, line, flip)).for_each(|(to, byte)| *to = byte);
            }
            packed
        })
    }

    /// The sum along the depth of each line of the constant at `place`.
    ///
    /// # Errors
    /// Another type than 8-bit integers.
    pub(crate) fn sums(self, place: usize, dtype: DType) -> Result<Operand, Decline> {
        self.packing(place, dtype, "sums", |layout, bytes, flip| {
            let sum = |line: usize| layout.line(bytes, line, flip).map(|byte| i32::from(byte as i8)).sum();
            (0..layout.lines).flat_map(|line| i32::to_ne_bytes(sum(line))).collect()
        })
    }
}
