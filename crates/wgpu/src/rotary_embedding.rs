//! `RotaryEmbedding` of f32. A place that is not in the tables fails the run.

use inferrum_backend::Decline;
use inferrum_ops::rotary_embedding::{Form, RotaryEmbedding};

use crate::bindings::Bindings;
use crate::indices;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, words};
use crate::shader::Template;

const SOURCE: &str = include_str!("../../../shaders/rotary_embedding.wgsl");

pub(crate) fn lower(op: &RotaryEmbedding, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (cosines, sines, positions) = op.places();
    lowering.require_floats(&[positions])?;
    let (shape, table) = (lowering.shape(0)?, lowering.shape(cosines)?);
    let half = table.last().copied().unwrap_or(0);
    let extents = op.extents(&shape, half).map_err(|error| Decline(error.to_string()))?;
    let rows = table.elements().checked_div(half).unwrap_or(0);
    let params = words([shape.elements(), extents.head, extents.len, extents.heads, extents.rotated, rows])?;
    let mut bindings = Bindings::default();
    bindings.read("x", lowering.float(0)?, Operand::Input(0));
    bindings.read("cosines", lowering.float(cosines)?, Operand::Input(cosines));
    bindings.read("sines", lowering.float(sines)?, Operand::Input(sines));
    let given = lowering.has(positions);
    let mut offset = false;
    if given {
        offset = op.form == Form::Microsoft && lowering.shape(positions)?.rank() <= 1;
        let most = i64::try_from(rows).unwrap_or(i64::MAX);
        if lowering.constant(positions).is_some()
            && lowering.ints(positions)?.iter().any(|place| !(0..most).contains(place))
        {
            return Err(Decline(format!("a place beyond the {rows} rows of the tables")));
        }
        bindings.read("positions", "vec2<u32>", Operand::Input(positions));
    }
    bindings.write("y", lowering.output_float(0)?, Operand::Output(0));
    let told = given && lowering.constant(positions).is_none();
    if told {
        bindings.write("fault", "atomic<u32>", Operand::Fault(positions, indices::out_of_range));
    }
    let shader = Template::new("rotary embedding", SOURCE)
        .params(params.len())
        .with("buffers", bindings.declarations())
        .switch("heads_first", extents.heads_first)
        .including(if told { indices::FAULT } else { "" })
        .switch("faults", told)
        .switch("positions", given)
        .switch("offset", offset)
        .switch("interleaved", op.interleaved)
        .build();
    let dispatch = Dispatch::over(shape.elements(), shader, bindings.operands(), params)?;
    Ok(Lowered::one("rotary embedding", dispatch))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::rotary_embedding;

    #[test]
    fn both_forms_and_orders_of_pairs() {
        agree_on(rotary_embedding::forms_and_orders(), Tolerance::CLOSE);
    }
}
