//! `QGemm` with constant scales.

use inferrum_backend::{Decline, Loops};
use inferrum_ops::qgemm::QGemm;

use crate::integer_product::{IntegerProduct, lower_integer_product};
use crate::kernel::{Lowered, Lowering, Operand};
use crate::requantize::{Epilogue, constant_float, constant_floats, constant_int};
use crate::strides::{loop_words, offsets};

const C: usize = 6;
const Y_SCALE: usize = 7;
const Y_ZERO: usize = 8;

pub(crate) fn lower(op: &QGemm, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places =
        IntegerProduct { a: 0, a_zero: 2, b: 3, b_zero: 5, trans_a: op.trans_a, trans_b: op.trans_b };
    let a = constant_float(lowering, 1)?;
    let y = if lowering.has(Y_ZERO) { Some(constant_float(lowering, Y_SCALE)?) } else { None };
    let factor = |b: &f32| op.alpha * a * b / y.unwrap_or(1.0);
    let factors: Vec<f32> = constant_floats(lowering, 4)?.iter().map(factor).collect();
    let zero = constant_int(lowering, Y_ZERO)?;
    let (dtype, shape) = (lowering.output_dtype(0)?, lowering.output_shape(0)?);
    let addend = lowering.has(C).then(|| lowering.shape(C)).transpose()?;
    lower_integer_product(places, lowering, |bindings, params| {
        let mut epilogue = match y {
            Some(_) => Epilogue::quantized(&factors, "column", zero, dtype, bindings)?,
            None => Epilogue::floats(&factors, "column", bindings),
        };
        if let Some(addend) = addend {
            bindings.read("c", "i32", Operand::Input(C));
            let loops = Loops::broadcast(&shape, &[&addend])?;
            let walk = offsets(loops.dims().len(), 1, params.len(), "at");
            params.extend(loop_words(&loops, &[0])?);
            let text = epilogue.text.replace("f32(sum)", "f32(sum + c[offset0])");
            epilogue.text = format!("{walk}{text}");
        }
        Ok(epilogue)
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::qgemm;

    #[test]
    fn stored_either_way_with_every_addend() {
        agree_on(qgemm::stored_either_way_with_every_addend(), Tolerance { relative: 3e-7, absolute: 0.0 });
    }
}
