//! `TopK` of f32 for a constant, small k: one after the other.

use inferrum_backend::Decline;
use inferrum_ops::top_k::TopK;

use crate::bindings::Bindings;
use crate::kernel::{Lowered, Lowering, Operand, words};
use crate::rows::Rows;
use crate::shader::{FUNCTIONS, Template};

const SOURCE: &str = include_str!("../../../shaders/top_k.wgsl");

/// Each further element is another walk through its row.
const MOST: usize = 1024;

pub(crate) fn lower(op: &TopK, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_floats(&[1])?;
    let shape = lowering.shape(0)?;
    let axis = shape.axis(op.axis).ok_or_else(|| Decline(format!("axis {} is out of range", op.axis)))?;
    let (outer, extent, inner) = shape.split_at_axis(axis);
    let k = TopK::count(&lowering.ints(1)?, Some(extent)).map_err(|error| Decline(error.to_string()))?;
    if k > MOST {
        return Err(Decline(format!("the first {k} elements, the kernel takes {MOST}")));
    }
    let count = outer.saturating_mul(inner);
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    let (values, indices) = (lowering.wants(0), lowering.wants(1));
    if values {
        bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    }
    if indices {
        bindings.write("indices", "vec2<u32>", Operand::Output(1));
    }
    let params = words([count, extent, inner, k])?;
    let rows = Rows::of(count, extent, true);
    let template = Template::new("top k", SOURCE).including(FUNCTIONS).params(params.len());
    let shader = rows
        .fill(template, lowering.abilities)
        .with("buffers", bindings.declarations())
        .switch("largest", op.largest)
        .switch("values", values)
        .switch("indices", indices)
        .build();
    Ok(Lowered::one("top k", rows.dispatch(shader, bindings.operands(), params)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::top_k;

    #[test]
    fn along_every_axis() {
        agree_on(top_k::along_every_axis(), Tolerance::EXACT);
    }

    #[test]
    fn equals_and_nan() {
        agree_on(top_k::equals_and_nan(), Tolerance::EXACT);
    }
}
