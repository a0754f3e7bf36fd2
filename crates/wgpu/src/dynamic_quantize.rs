//! `DynamicQuantizeLinear`: the range of the data by parts, scale and zero point, then the elements.

use inferrum_backend::Decline;
use inferrum_ops::dynamic_quantize::DynamicQuantizeLinear;
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, Work, words};
use crate::quantize::QUOTIENT;
use crate::rows::Rows;
use crate::shader::{FUNCTIONS, Template};

const SOURCE: &str = include_str!("../../../shaders/dynamic_quantize.wgsl");

/// Elements of a part.
const PART: usize = 16384;

pub(crate) fn lower(_op: &DynamicQuantizeLinear, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    let elements = lowering.shape(0)?.elements();
    let parts = elements.div_ceil(PART);
    let params = words([elements, parts, PART])?;
    let mut scratch = vec![8 * parts.max(1)];
    let mut kept = |output: usize| match lowering.wants(output) {
        true => Operand::Output(output),
        false => {
            scratch.push(4);
            Operand::Scratch(scratch.len() - 1)
        }
    };
    let (scale, zero) = (kept(1), kept(2));
    let mut dispatches = Vec::new();

    let mut bindings = Bindings::default();
    bindings.read("x", "f32", Operand::Input(0));
    bindings.write("ranges", "vec2<f32>", Operand::Scratch(0));
    let rows = Rows::of(parts, PART, true);
    let shader = rows.fill(template(&bindings, "parts"), lowering.abilities).build();
    dispatches.push(rows.dispatch(shader, bindings.operands(), params.clone())?);

    let mut bindings = Bindings::default();
    bindings.read("ranges", "vec2<f32>", Operand::ReadScratch(0));
    bindings.write("scale", "f32", scale.clone());
    bindings.write("zero", "u32", zero.clone());
    let rows = Rows::of(1, PART, true);
    let shader = rows.fill(template(&bindings, "range"), lowering.abilities).build();
    dispatches.push(rows.dispatch(shader, bindings.operands(), params.clone())?);

    if lowering.wants(0) {
        let mut bindings = Bindings::default();
        bindings.read("x", "f32", Operand::Input(0));
        bindings.write("scale", "f32", scale);
        bindings.write("zero", "u32", zero);
        bindings.write("y", "u32", Operand::Output(0));
        let shader = Rows::of(1, 1, true).fill(template(&bindings, "elements"), lowering.abilities).build();
        dispatches.push(Dispatch::over(elements, shader, bindings.operands(), params)?);
    }
    Ok(Lowered::Work(Work { name: "dynamic quantize".into(), dispatches, scratch }))
}

fn template(bindings: &Bindings, stage: &'static str) -> Template {
    Template::new("dynamic quantize", SOURCE)
        .including(FUNCTIONS)
        .including(QUOTIENT)
        .params(3)
        .with("buffers", bindings.declarations())
        .switch(stage, true)
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
