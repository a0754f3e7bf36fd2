//! Nested loops as an argument of kernels.

use inferrum_backend::{Decline, Loops};

use crate::kernel::{Operand, word};

/// The struct `Loops` (loops.cuh).
pub(crate) const SOURCE: &str = include_str!("../../../kernels/loops.cuh");

/// The words of a `Loops<rank, operands>` of these operands.
///
/// # Errors
/// A number does not fit a word.
pub(crate) fn loop_words(loops: &Loops, operands: &[usize]) -> Result<Vec<u32>, Decline> {
    let mut words = Vec::new();
    for &extent in loops.dims().iter().rev() {
        words.push(word(extent)?);
    }
    for &operand in operands {
        for &stride in loops.strides(operand).iter().rev() {
            words.push(stride_word(stride)?);
        }
    }
    Ok(words)
}

/// As [`loop_words`], as an argument.
///
/// # Errors
/// As there.
pub(crate) fn loop_operand(loops: &Loops, operands: &[usize]) -> Result<Operand, Decline> {
    Ok(Operand::words(&loop_words(loops, operands)?))
}

/// A step of either sign.
///
/// # Errors
/// It does not fit a word.
pub(crate) fn stride_word(stride: isize) -> Result<u32, Decline> {
    let stride = i32::try_from(stride).map_err(|_| Decline(format!("a stride of {stride}")))?;
    Ok(stride as u32)
}

/// A first element.
///
/// # Errors
/// There is none before the first, and it must fit a word.
pub(crate) fn start_word(start: isize) -> Result<u32, Decline> {
    usize::try_from(start).map_err(|_| Decline("a position before the first element".into())).and_then(word)
}
