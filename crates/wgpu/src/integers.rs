//! Operands of products of 8-bit integers: signed bytes, four to a word, with their zero points. Unsigned integers are moved by
//! 128, and so are their zero points, which leaves the differences as they are.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_tensor::{DType, Tensor};

use crate::bindings::Bindings;
use crate::kernel::{Lowering, Operand, Packing};
use crate::storage;

/// What is taken from a byte of a type to make it signed.
///
/// # Errors
/// Another type.
pub(crate) fn flip(dtype: DType) -> Result<i32, Decline> {
    match dtype {
        DType::I8 => Ok(0),
        DType::U8 => Ok(128),
        other => Err(Decline(format!("products of {other}"))),
    }
}

/// The zero points of an operand.
pub(crate) struct Zeros {
    /// The input, if it is given.
    input: Option<usize>,
    dtype: DType,
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
        if !lowering.has(place) {
            return Ok(Zeros { input: None, dtype, count: 1, known: Some(-flip) });
        }
        let count = lowering.shape(place)?.elements();
        if count != 1 && !counts.contains(&count) {
            return Err(Decline(format!("{count} zero points at input {place}")));
        }
        let mut known = None;
        if lowering.constant(place).is_some() {
            let values = lowering.ints(place)?;
            let first = values.first().copied().unwrap_or(0);
            known = values.iter().all(|&value| value == first).then_some(first as i32 - flip);
        }
        Ok(Zeros { input: Some(place), dtype, count, known })
    }

    /// Whether they are certainly 0, so that nothing is to be put right.
    pub(crate) fn vanish(&self) -> bool {
        self.known == Some(0)
    }

    /// A function `name` from a row or column to its zero point; the buffer that it reads is added.
    pub(crate) fn declare(&self, name: &str, bindings: &mut Bindings) -> Result<String, Decline> {
        let value = match (self.known, self.input) {
            (Some(value), _) => format!("{value}"),
            (None, None) => "0".to_owned(),
            (None, Some(place)) => {
                let element = storage::words(self.dtype).ok_or_else(|| Decline("zero points".into()))?;
                bindings.read(&format!("{name}_points"), element, Operand::Input(place));
                let at = if self.count == 1 { "0".to_owned() } else { format!("index % {}u", self.count) };
                format!("i32({name}_points[{at}]) - {}", flip(self.dtype)?)
            }
        };
        Ok(format!("fn {name}(index: u32) -> i32 {{ return {value}; }}\n"))
    }
}

/// A constant matrix of bytes as it is packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) lines: usize,
    pub(crate) depth: usize,
    /// Bytes between neighbouring lines and depths.
    pub(crate) line_stride: usize,
    pub(crate) depth_stride: usize,
    /// Whether the words of neighbouring lines, not of neighbouring depths, are to lie side by side.
    pub(crate) lines_inner: bool,
}

impl Layout {
    /// Signed bytes of a line, from a depth on.
    fn line<'a>(&'a self, bytes: &'a [u8], line: usize, flip: i32) -> impl Iterator<Item = u8> + 'a {
        let start = line * self.line_stride;
        (0..self.depth).map(move |depth| {
            bytes.get(start + depth * self.depth_stride).map_or(0, |byte| byte ^ flip as u8)
        })
    }

    fn name(&self, what: &str) -> String {
        format!("{what} {self:?}")
    }

    /// The constant at `place` as words of four depths.
    ///
    /// # Errors
    /// Another type than 8-bit integers.
    pub(crate) fn words(self, place: usize, dtype: DType) -> Result<Operand, Decline> {
        let flip = flip(dtype)?;
        let pack = move |tensor: &Tensor| {
            let words = self.depth.div_ceil(4);
            let mut packed = vec![0u32; words * self.lines];
            for line in 0..self.lines {
                for (depth, byte) in self.line(tensor.bytes(), line, flip).enumerate() {
                    let word = depth / 4;
                    let at = if self.lines_inner { word * self.lines + line } else { line * words + word };
                    packed[at] |= u32::from(byte) << (8 * (depth % 4));
                }
            }
            Ok(packed)
        };
        let form = self.name(if flip == 0 { "signed words" } else { "unsigned words" });
        let bytes = 4 * self.depth.div_ceil(4) * self.lines;
        Ok(Operand::Packed(Packing { input: place, form, bytes, pack: Arc::new(pack) }))
    }

    /// The sum along the depth of each line of the constant at `place`.
    ///
    /// # Errors
    /// Another type than 8-bit integers.
    pub(crate) fn sums(self, place: usize, dtype: DType) -> Result<Operand, Decline> {
        let flip = flip(dtype)?;
        let pack = move |tensor: &Tensor| {
            let sum = |line: usize| -> i32 {
                self.line(tensor.bytes(), line, flip).map(|byte| i32::from(byte as i8)).sum()
            };
            Ok((0..self.lines).map(|line| sum(line) as u32).collect())
        };
        let form = self.name(if flip == 0 { "signed sums" } else { "unsigned sums" });
        Ok(Operand::Packed(Packing { input: place, form, bytes: 4 * self.lines, pack: Arc::new(pack) }))
    }
}
