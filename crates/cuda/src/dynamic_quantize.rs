//! `DynamicQuantizeLinear`: the ranges of parts of the data, then scale, zero point and elements.

use inferrum_backend::Decline;
use inferrum_ops::dynamic_quantize::DynamicQuantizeLinear;
use inferrum_tensor::DType;

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, Work, word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/dynamic_quantize.cu");

/// Elements of a thread.
const WIDTH: usize = 4;

/// Runs of elements that a block goes through at least, where there are as many.
const RUNS: usize = 4;

/// Parts, which the threads of a block read at once.
const MOST_PARTS: usize = BLOCK;

pub(crate) fn lower(_op: &DynamicQuantizeLinear, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if lowering.dtype(0)? != DType::F32 {
        return Err(Decline(format!("quantisation of {}", lowering.dtype(0)?)));
    }
    let elements = lowering.shape(0)?.elements();
    let runs = elements.div_ceil(BLOCK * WIDTH);
    let parts = runs.div_ceil(RUNS).clamp(1, MOST_PARTS);
    // The last step of a part may go as far beyond the end.
    word(elements.saturating_add(MOST_PARTS * BLOCK * WIDTH))?;
    let source = |entry| Template::new(entry, SOURCE).build();
    let ranges = [Operand::Input(0), Operand::Scratch(0), Operand::word(elements)?];
    let quantized = [
        Operand::Input(0),
        Operand::Scratch(0),
        lowering.wanted(0),
        lowering.wanted(1),
        lowering.wanted(2),
        Operand::word(elements)?,
        Operand::word(parts)?,
    ];
    let blocks = if lowering.wants(0) { runs } else { 1 };
    let kernels = vec![
        Kernel::blocks(parts, BLOCK, source("ranges"), &ranges)?,
        Kernel::blocks(blocks, BLOCK, source("elements"), &quantized)?,
    ];
    Ok(Lowered::Work(Work {
        name: "dynamic quantize".into(),
        kernels,
        scratch: vec![8 * parts],
        library: None,
    }))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::dynamic_quantize;

    #[test]
    fn ranges_of_every_kind() {
        agree_on(dynamic_quantize::ranges_of_every_kind(), Tolerance::EXACT);
    }
}
