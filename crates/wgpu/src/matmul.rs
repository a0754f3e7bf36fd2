//! `MatMul`, `Gemm` and `FusedMatMul` that no rewrite has made a linear layer.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::Operator;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::gemm::Gemm;
use inferrum_ops::matmul::MatMul;

use crate::kernel::{Lowered, Lowering};
use crate::linear::{Addend, lower_product};

/// Position of the addend among the inputs of `Gemm`.
const ADDEND: usize = 2;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    if any.is::<MatMul>() {
        return lower_product(&FusedMatMul::default(), None, None, lowering);
    }
    if let Some(product) = any.downcast_ref::<FusedMatMul>() {
        return lower_product(product, None, None, lowering);
    }
    let gemm = any.downcast_ref::<Gemm>().ok_or_else(|| Decline("another operator".into()))?;
    let (alpha, trans_a, trans_b) = (gemm.alpha, gemm.trans_a, gemm.trans_b);
    let product = FusedMatMul { alpha, trans_a, trans_b, ..FusedMatMul::default() };
    let addend = lowering.has(ADDEND).then_some(Addend { input: ADDEND, scale: gemm.beta });
    lower_product(&product, None, addend, lowering)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tolerance, agree_on};
    use inferrum_backend::testing::linear;

    #[test]
    fn addends_of_every_shape() {
        agree_on(linear::addends_of_every_shape(), Tolerance { relative: 1e-5, absolute: 2e-5 });
    }
}
