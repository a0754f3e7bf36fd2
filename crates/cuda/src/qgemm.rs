//! `QGemm`.

use inferrum_backend::{Decline, Loops};
use inferrum_ops::qgemm::QGemm;

use crate::integer_product::{IntegerProduct, lower_integer_product};
use crate::kernel::{Lowered, Lowering, Operand};
use crate::loops::loop_operand;
use crate::requantize::{Epilogue, Scale};

const A_SCALE: usize = 1;
const B_SCALE: usize = 4;
const C: usize = 6;
const Y_SCALE: usize = 7;
const Y_ZERO: usize = 8;

pub(crate) fn lower(op: &QGemm, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let places =
        IntegerProduct { a: 0, a_zero: 2, b: 3, b_zero: 5, trans_a: op.trans_a, trans_b: op.trans_b };
    let shape = lowering.output_shape(0)?;
    lower_integer_product(places, lowering, |columns| {
        let mut epilogue = if lowering.has(Y_ZERO) {
            let scales = [A_SCALE, B_SCALE, Y_SCALE];
            Epilogue::rescaled(scales, columns, "column", Some(op.alpha), Y_ZERO, lowering)?
        } else {
            let a = Scale::of("a_scale", A_SCALE, "0", 1, lowering)?;
            let b = Scale::of("b_scale", B_SCALE, "column", columns, lowering)?;
            let alpha = format!("__uint_as_float({}u)", op.alpha.to_bits());
            let text = format!("float(sum) * (({alpha} * {}) * {})", a.text, b.text);
            Epilogue::floats(lowering.output_float(0)?, text).scaled(a).scaled(b)
        };
        if lowering.has(C) {
            let loops = Loops::broadcast(&shape, &[&lowering.shape(C)?])?;
            let walked = format!("const Loops<{}, 1> addends", loops.dims().len());
            epilogue = epilogue
                .reading("i32", "c", Operand::Input(C))
                .with_parameter(walked, loop_operand(&loops, &[0])?)
                .after("u32 addend[1]; addends.walk(at, addend)")
                .with_sum("i32(u32(sum) + u32(c[addend[0]]))");
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
