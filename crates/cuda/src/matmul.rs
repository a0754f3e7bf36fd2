//! `MatMul`, `Gemm`, `FusedGemm` and `FusedMatMul` that no rewrite has made a linear layer.

use std::any::Any;

use inferrum_backend::{Decline, broadcast_strides};
use inferrum_graph::Operator;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::gemm::{FusedGemm, Gemm};
use inferrum_ops::matmul::MatMul;

use crate::epilogue::Bias;
use crate::kernel::{Lowered, Lowering};
use crate::linear::lower_product;

/// Position of the addend among the inputs of `Gemm`.
const ADDEND: usize = 2;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    if any.is::<MatMul>() {
        return lower_product(&FusedMatMul::default(), None, None, None, lowering);
    }
    if let Some(product) = any.downcast_ref::<FusedMatMul>() {
        return lower_product(product, None, None, None, lowering);
    }
    let (gemm, activation) = match (any.downcast_ref::<FusedGemm>(), any.downcast_ref::<Gemm>()) {
        (Some(fused), _) => (&fused.gemm, fused.activation),
        (None, Some(gemm)) => (gemm, None),
        (None, None) => return Err(Decline("another operator".into())),
    };
    let (alpha, trans_a, trans_b) = (gemm.alpha, gemm.trans_a, gemm.trans_b);
    let product = FusedMatMul { alpha, trans_a, trans_b, ..FusedMatMul::default() };
    let addend = lowering.has(ADDEND).then(|| addend(gemm.beta, lowering)).transpose()?;
    lower_product(&product, activation, addend, None, lowering)
}

/// What is added to a product under NumPy's broadcasting.
fn addend(scale: f32, lowering: &Lowering<'_>) -> Result<Bias, Decline> {
    let (output, shape) = (lowering.output_shape(0)?, lowering.shape(ADDEND)?);
    let strides = broadcast_strides(&output, &shape);
    let strides = strides.ok_or_else(|| Decline(format!("{shape} does not broadcast to {output}")))?;
    let [row, column] = strides[..] else { return Err(Decline("a result that is no matrix".into())) };
    Ok(Bias { input: ADDEND, scale, batch: 0, row: row.unsigned_abs(), by_column: column != 0 })
}

#[cfg(test)]
mod tests {
    use crate::product::tests::SUMS;
    use crate::testing::agree_on;
    use inferrum_backend::testing::linear;

    #[test]
    fn addends_of_every_shape() {
        agree_on(linear::addends_of_every_shape(), SUMS);
    }

    #[test]
    fn an_activation_comes_after_the_addend() {
        agree_on(linear::activated_addends(), SUMS);
    }
}
