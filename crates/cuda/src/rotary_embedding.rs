//! `RotaryEmbedding`. A place that is not in the tables fails the run.

use inferrum_backend::Decline;
use inferrum_ops::rotary_embedding::{Form, RotaryEmbedding};

use crate::copies::{element_bytes, together};
use crate::kernel::{Kernel, Lowered, Lowering, Operand, words};
use crate::source::Template;

const SOURCE: &str = include_str!("../../../kernels/rotary_embedding.cu");

pub(crate) fn lower(op: &RotaryEmbedding, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let (cosines, sines, positions) = op.places();
    lowering.require_floats(&[positions])?;
    let element = lowering.float(0)?;
    if [cosines, sines].into_iter().any(|table| lowering.float(table) != Ok(element)) {
        return Err(Decline("tables of another type than the data".into()));
    }
    let (shape, table) = (lowering.shape(0)?, lowering.shape(cosines)?);
    let half = table.last().copied().unwrap_or(0);
    let extents = op.extents(&shape, half).map_err(|error| Decline(error.to_string()))?;
    let rows = table.elements().checked_div(half).unwrap_or(0);
    let bytes = element_bytes(lowering.dtype(0)?)?;
    let side = together(bytes, |factor| half % factor == 0 && (extents.head - extents.rotated) % factor == 0);
    let of_row = (half + extents.head - extents.rotated) / side;
    let count = shape.elements().checked_div(extents.head).unwrap_or(0).saturating_mul(of_row);
    let given = match lowering.has(positions) {
        false => 0,
        true if op.form == Form::Microsoft && lowering.shape(positions)?.rank() <= 1 => 2,
        true => 1,
    };
    let parameters = words([
        count,
        extents.head,
        half,
        extents.len,
        extents.heads,
        rows,
        usize::from(extents.heads_first),
        given,
    ])?;
    words([shape.elements()])?;
    let source = Template::new("rotary_embedding", SOURCE)
        .define("X", element)
        .define("Y", lowering.output_float(0)?)
        .define("SIDE", format!("{side}u"))
        .switch("INTERLEAVED", op.interleaved)
        .build();
    let operands = [
        Operand::Input(0),
        Operand::Input(cosines),
        Operand::Input(sines),
        lowering.optional(positions),
        Operand::Output(0),
        if given > 0 { Operand::Fault(positions) } else { Operand::Nothing },
        Operand::words(&parameters),
    ];
    Ok(Lowered::one("rotary embedding", Kernel::over(count, source, &operands)?))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on, fails, random};
    use inferrum_backend::testing::rotary_embedding;
    use inferrum_ops::rotary_embedding::{Form, RotaryEmbedding};
    use inferrum_tensor::{Shape, Tensor};

    #[test]
    fn both_forms_and_orders_of_pairs() {
        agree_on(rotary_embedding::forms_and_orders(), Tolerance::CLOSE);
    }

    #[test]
    fn places_beyond_the_tables_fail_the_run() {
        let op = RotaryEmbedding { form: Form::Onnx, heads: None, rotated: None, interleaved: false };
        for bad in [-1i64, 11, i64::MAX] {
            let places = Tensor::from_vec([1, 3], vec![0, bad, 2]).unwrap();
            let inputs = [random(&[1, 2, 3, 8], 1), random(&[11, 4], 2), random(&[11, 4], 3), places];
            let error = fails(op.clone(), &inputs, &[Shape::from([1, 2, 3, 8])]);
            assert!(error.contains(&bad.to_string()), "{error}");
        }
    }
}
