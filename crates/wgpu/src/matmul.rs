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
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};

    #[test]
    fn addends_of_every_shape() {
        let (m, k, n) = (17, 40, 33);
        for addend in [None, Some(vec![n]), Some(vec![m, n]), Some(vec![m, 1]), Some(vec![1]), Some(vec![])] {
            for (beta, trans_a, trans_b) in [(1.0, false, true), (0.5, true, false)] {
                let a = if trans_a { [k, m] } else { [m, k] };
                let b = if trans_b { [n, k] } else { [k, n] };
                let mut inputs = vec![Some((random(&a, 1), false)), Some((random(&b, 2), true))];
                inputs.extend(addend.as_ref().map(|shape| Some((random(shape, 3), false))));
                let close = Tolerance { relative: 1e-5, absolute: 2e-5 };
                agree_with(Gemm { alpha: 0.5, beta, trans_a, trans_b }, &inputs, 1, close);
            }
        }
    }
}
