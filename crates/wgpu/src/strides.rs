//! Nested loops as WGSL: from the number of an element to offsets.

use std::fmt::Write as _;

use inferrum_backend::{Decline, Loops};

use crate::kernel::word;

/// The words that [`offsets`] reads: extents from the innermost loop outwards, then each operand's strides likewise.
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
            let stride = i32::try_from(stride).map_err(|_| Decline(format!("a stride of {stride}")))?;
            words.push(stride as u32);
        }
    }
    Ok(words)
}

/// Statements that declare `offset0`, `offset1`... for the loops' element number `index`, a `u32`. They read words from
/// `param(first)` on, which are those of [`loop_words`].
pub(crate) fn offsets(rank: usize, operands: usize, first: usize, index: &str) -> String {
    let mut text = format!("    var loop_rest = {index};\n    var loop_at = 0u;\n");
    for operand in 0..operands {
        let _ = writeln!(text, "    var walked{operand} = 0i;");
    }
    for axis in 0..rank {
        if axis + 1 < rank {
            let _ = writeln!(text, "    loop_at = loop_rest % param({}u);", first + axis);
            let _ = writeln!(text, "    loop_rest = loop_rest / param({}u);", first + axis);
        } else {
            text.push_str("    loop_at = loop_rest;\n");
        }
        for operand in 0..operands {
            let stride = first + rank * (operand + 1) + axis;
            let _ = writeln!(text, "    walked{operand} += i32(loop_at) * bitcast<i32>(param({stride}u));");
        }
    }
    for operand in 0..operands {
        let _ = writeln!(text, "    let offset{operand} = u32(walked{operand});");
    }
    text
}

/// A function `name` from an element number of the loops to an operand's offset; what it reads is added to `params`.
///
/// # Errors
/// As [`loop_words`].
pub(crate) fn offset_function(
    name: &str,
    loops: &Loops,
    operand: usize,
    params: &mut Vec<u32>,
) -> Result<String, Decline> {
    if loops.is_dense(operand) {
        return Ok(format!("fn {name}(index: u32) -> u32 {{ return index; }}\n"));
    }
    if loops.is_scalar(operand) {
        return Ok(format!("fn {name}(index: u32) -> u32 {{ return 0u; }}\n"));
    }
    let body = offsets(loops.dims().len(), 1, params.len(), "index");
    params.extend(loop_words(loops, &[operand])?);
    Ok(format!("fn {name}(index: u32) -> u32 {{\n{body}    return offset0;\n}}\n"))
}
