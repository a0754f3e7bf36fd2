//! Keys or values with those of a cache before them.

use inferrum_backend::Decline;
use inferrum_backend::attention::Attended;
use inferrum_ops::fused::attention::Layout;
use inferrum_ops::sdpa::Sdpa;

use super::Rows;
use crate::copies::{copy_type, element_bytes, together};
use crate::kernel::{Kernel, Lowering, Operand, Work, word, words};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../../kernels/append.cu");

/// Keys (input 1) or values (input 2), joined with the cache where there is one or where output `index` asks for them.
///
/// # Errors
/// The cache is of another type or length, or there are more elements than an index counts.
pub(super) fn side(
    attended: &Attended,
    index: usize,
    lowering: &Lowering<'_>,
    work: &mut Work,
) -> Result<Rows, Decline> {
    let Sdpa { batch, kv_heads, kv_len, head, v_head, .. } = attended.sdpa;
    let width = if index == 1 { head } else { v_head };
    let cached = attended.past.map_or(0, |(_, cached)| cached);
    let new = Rows::of_side(attended.sides[index], lowering)?;
    let (element, input) = (new.element, attended.sides[index].input);
    let wanted = lowering.wants(index);
    if attended.past.is_none() && !wanted {
        return Ok(new);
    }
    let elements = batch.saturating_mul(kv_heads).saturating_mul(kv_len).saturating_mul(width);
    let bytes = element_bytes(lowering.dtype(input)?)?;
    let all = if wanted {
        Operand::Output(index)
    } else {
        work.scratch.push(elements.saturating_mul(bytes));
        Operand::Scratch(work.scratch.len() - 1)
    };
    let past = match attended.past {
        None => Operand::Nothing,
        Some((input, _)) if lowering.float(input + index - 1)? == element => {
            Operand::Input(input + index - 1)
        }
        Some(_) => return Err(Decline("a cache of another type".into())),
    };
    if elements > 0 {
        let side_by_side = together(bytes, |factor| {
            [width, new.start].iter().chain(&new.strides).all(|extent| extent % factor == 0)
        });
        let mut parameters =
            words([elements / side_by_side, kv_len, cached, width / side_by_side, kv_heads])?;
        parameters.extend(words(new.strides.map(|step| step / side_by_side))?);
        parameters.push(word(new.start / side_by_side)?);
        let source = Template::new("append", SOURCE).define("T", copy_type(bytes * side_by_side)).build();
        let operands = [past, new.operand, all.clone(), Operand::words(&parameters)];
        work.kernels.push(Kernel::over(elements / side_by_side, source, &operands)?);
    }
    Ok(Rows::of(all, element, Layout::HeadsFirst, [batch, kv_heads, kv_len, width]))
}
