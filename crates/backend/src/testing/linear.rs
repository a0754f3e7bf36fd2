//! Matrix products: `Linear`, `FusedMatMul` and `Gemm`.

use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::gemm::{FusedGemm, Gemm};

use super::{Case, given, random};

/// A product of `m` x `k` by `k` x `n` with everything around it, and alone; the right operand is a constant, and is not.
pub fn products(
    [m, k, n]: [usize; 3],
    transposed: [bool; 2],
    activation: Option<FusedActivation>,
) -> [Case; 2] {
    let [trans_a, trans_b] = transposed;
    let product = FusedMatMul { alpha: 0.5, trans_a, trans_b, ..FusedMatMul::default() };
    let a = if trans_a { [k, m] } else { [m, k] };
    let b = if trans_b { [n, k] } else { [k, n] };
    let op = Linear { product, activation };
    let all = vec![
        Some((random(&a, 1), false)),
        Some((random(&b, 2), true)),
        Some((random(&[n], 3), true)),
        Some((random(&[m, n], 4), false)),
    ];
    let alone = given([random(&a, 1), random(&b, 5)]);
    [Case::new(op.clone(), all, 1), Case::new(op, alone, 1)]
}

/// Operands as they are and transposed, of odd and even extents.
pub fn operands_either_way() -> Vec<Case> {
    let mut cases = Vec::new();
    for extents in [[1, 1, 1], [33, 127, 65], [2, 300, 72], [100, 3, 1], [17, 64, 40]] {
        for transposed in [[false, false], [true, false], [false, true], [true, true]] {
            cases.extend(products(extents, transposed, None));
        }
    }
    cases
}

/// Sums of nothing, to which something is added.
pub fn without_depth() -> Vec<Case> {
    [[false, false], [true, true]]
        .into_iter()
        .flat_map(|transposed| products([3, 0, 4], transposed, None))
        .collect()
}

/// Each activation after a small product.
pub fn every_activation() -> Vec<Case> {
    use FusedActivation::*;
    let all = [
        Relu,
        LeakyRelu { alpha: 0.125 },
        ThresholdedRelu { alpha: 0.5 },
        Tanh,
        ScaledTanh { alpha: 1.5, beta: 0.25 },
        Sigmoid,
        HardSigmoid { alpha: 0.25, beta: 0.5 },
        HardSwish,
        Silu,
        Elu { alpha: 0.75 },
        Softsign,
        Softplus,
        Affine { alpha: 1.5, beta: -0.5 },
        Clip { min: -0.5, max: 2.0 },
        Gelu,
        GeluTanh,
    ];
    all.into_iter()
        .flat_map(|activation| products([9, 4, 12], [false; 2], Some(activation)).into_iter().take(1))
        .collect()
}

/// Leading axes that repeat, are missing, or are empty.
pub fn batches_broadcast() -> Vec<Case> {
    let mut cases = Vec::new();
    for (a, b) in [
        (&[2usize, 3, 5, 17][..], &[2usize, 3, 17, 9][..]),
        (&[2, 3, 5, 17], &[3, 17, 9]),
        (&[2, 1, 5, 17], &[1, 3, 17, 9]),
        (&[5, 17], &[4, 17, 9]),
        (&[4, 3, 17], &[17, 9]),
        (&[17], &[4, 17, 9]),
        (&[4, 5, 17], &[17]),
        (&[0, 5, 17], &[17, 3]),
        (&[2, 0], &[0, 3]),
        (&[2, 0], &[0, 4]),
        (&[3, 1, 16, 24], &[2, 24, 32]),
    ] {
        let op = Linear { product: FusedMatMul::default(), activation: None };
        cases.push(Case::new(op, given([random(a, 1), random(b, 2)]), 1));
    }
    let product = FusedMatMul { trans_batch_a: true, trans_b: true, ..FusedMatMul::default() };
    let op = Linear { product, activation: None };
    cases.push(Case::new(op, given([random(&[5, 2, 7], 1), random(&[2, 9, 7], 2)]), 1));
    cases
}

/// `Gemm` with what is added to it in every shape that broadcasts.
pub fn addends_of_every_shape() -> Vec<Case> {
    let (m, k, n) = (17, 40, 33);
    let mut cases = Vec::new();
    for addend in [None, Some(vec![n]), Some(vec![m, n]), Some(vec![m, 1]), Some(vec![1]), Some(vec![])] {
        for (beta, trans_a, trans_b) in [(1.0, false, true), (0.5, true, false)] {
            let a = if trans_a { [k, m] } else { [m, k] };
            let b = if trans_b { [n, k] } else { [k, n] };
            let mut inputs = vec![Some((random(&a, 1), false)), Some((random(&b, 2), true))];
            inputs.extend(addend.as_ref().map(|shape| Some((random(shape, 3), false))));
            cases.push(Case::new(Gemm { alpha: 0.5, beta, trans_a, trans_b }, inputs, 1));
        }
    }
    cases
}

/// `FusedGemm` with an addend for each row.
pub fn activated_addends() -> Vec<Case> {
    let gemm = Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b: true };
    let op = FusedGemm { gemm, activation: Some(FusedActivation::Relu) };
    vec![Case::new(op, given([random(&[9, 20], 1), random(&[12, 20], 2), random(&[9, 1], 3)]), 1)]
}
