//! Products with few rows or columns: the other factor is streamed.

use inferrum_backend::Decline;

use crate::form::Form;
use crate::kernel::{BLOCK, Kernel, Lowering, Operand, float_type};
use crate::product::Product;
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/gemv.cu");

/// Parts of the depth begin at multiples of it, so that what is read at once is in one part.
const STEP: usize = 128;

/// The kernel of a [`Form::Stream`].
///
/// # Errors
/// More elements than the kernel counts.
pub(crate) fn kernel(
    product: &Product,
    form: Form,
    parts: &Operand,
    lowering: &Lowering<'_>,
) -> Result<Kernel, Decline> {
    let Form::Stream { few, down, columns, splits } = form else {
        return Err(Decline("another form".into()));
    };
    let swapped = product.n < product.m;
    let (rows, many) = if swapped { (&product.b, &product.a) } else { (&product.a, &product.b) };
    let streamed = if swapped { product.m } else { product.n };
    let float = |dtype| float_type(dtype).ok_or_else(|| Decline(format!("a product of {dtype}")));
    let side_by_side = if rows.by_depth { rows.width } else { 1 };
    let (batches, rank) = product.loops()?;
    let template = Template::new("gemv", SOURCE)
        .switch("SWAPPED", swapped)
        .switch("BY_DEPTH", many.by_depth)
        .define("FEW", few)
        .define("WIDTH", many.width)
        .define("F_WIDTH", side_by_side)
        .define("TF", float(rows.dtype)?)
        .define("TM", float(many.dtype)?)
        .define("DOWN", down)
        .define("COLUMNS", columns)
        .define("BATCH_AXES", rank);
    let of_a_block = if many.by_depth { BLOCK / 32 / down * columns } else { columns };
    let (m, n) = if swapped { (of_a_block, few) } else { (few, of_a_block) };
    let template = template.define("STREAMED", of_a_block).define("BLOCK_M", m).define("BLOCK_N", n);
    let source = product.fill_result(template, splits, lowering)?.build();
    let mut operands =
        vec![rows.operand.clone(), many.operand.clone(), product.extents(splits, STEP)?, batches];
    operands.extend(product.result_operands(splits, parts)?);
    let blocks = [product.batches.elements(), splits, streamed.div_ceil(of_a_block)];
    Kernel::blocks(blocks.into_iter().fold(1, usize::saturating_mul), BLOCK, source, &operands)
}
