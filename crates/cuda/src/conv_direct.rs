//! Convolution with few filters in a group: a thread for each output element.

use inferrum_backend::Decline;

use crate::division::divisor;
use crate::epilogue::Epilogue;
use crate::images::Read;
use crate::kernel::{Kernel, Lowered, Lowering, Operand, word};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/conv_direct.cu");

/// The kernel of `filters` filters in each group, each a row of depths; sums are added in blocks of `block` products.
///
/// # Errors
/// More elements than the kernel counts.
pub(crate) fn lower(
    name: &'static str,
    read: &Read<'_>,
    filters: usize,
    block: usize,
    epilogue: &Epilogue,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    let images = read.images()?;
    let elements = lowering.output_shape(0)?.elements();
    let positions = epilogue.row;
    let depth = read.channels * read.window.taps();
    let mut words =
        vec![word(elements)?, word(depth)?, word(block.max(1))?, word(read.channels * read.plane())?];
    for number in [positions, read.groups * filters, filters] {
        words.extend(divisor(number)?);
    }
    let template = Template::new("conv_direct", SOURCE)
        .define("BLOCK_M", 1)
        .define("BLOCK_N", 1)
        .define("X_T", lowering.float(0)?)
        .define("W_T", lowering.float(1)?)
        .switch("ALONE", filters == 1);
    let source = images.fill(epilogue.fill(1, template, lowering)?, 0).build();
    let mut operands = vec![
        Operand::Input(0),
        Operand::Input(1),
        images.taps,
        Operand::words(&images.window),
        Operand::words(&words),
    ];
    operands.extend(epilogue.operands()?);
    Ok(Lowered::one(name, Kernel::over(elements, source, &operands)?))
}
