//! Matrix products of f32 with their epilogues; constant right operands are packed once.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_graph::OpError;
use inferrum_ops::fused::linear::Linear;
use inferrum_ops::fused_activation::FusedActivation;
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::matmul::MatMulGeometry;
use inferrum_tensor::{DType, Shape};

use crate::epilogue::{Addends, activation};
use crate::gemm::{
    self, Activation, Batch, Bias, Epilogue, Item, MatMut, MatRef, Operand, PackedB, RawB, Unpacked,
};
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::simd::Isa;

pub(crate) fn lower(op: &Linear, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lower_product(&op.product, op.activation, lowering)
}

/// The kernel of `activation(product + bias + residual)`, with the inputs of a [`Linear`].
pub(crate) fn lower_product(
    product: &FusedMatMul,
    fused: Option<FusedActivation>,
    lowering: &Lowering<'_>,
) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    if product.trans_a || product.trans_batch_a || product.trans_batch_b {
        return Err(Decline("the left operand, or a batch, is transposed".into()));
    }
    let (a, stored) = (lowering.shape(0)?, lowering.shape(1)?);
    let b: Shape = product.axes(1, stored.rank()).into_iter().map(|axis| stored[axis]).collect();
    let geometry = MatMulGeometry::new(&a, &b).map_err(|error| Decline(error.to_string()))?;
    let addends = Addends {
        bias: Linear::BIAS,
        residual: Linear::RESIDUAL,
        has_residual: lowering.has(Linear::RESIDUAL),
    };
    let common = Common {
        alpha: product.alpha,
        activation: activation(fused)?,
        addends,
        b_transposed: product.trans_b && stored.rank() >= 2,
        isa: lowering.isa,
    };
    let isa = lowering.isa.name();
    // One right operand for every row of the left one: a single product.
    let shared = geometry.b_batch.elements() == 1;
    let rows = if shared { geometry.batch.elements() * geometry.m } else { geometry.m };
    if let Some(constant) = lowering.constant(1).filter(|_| shared) {
        let (k, n, transposed) = (geometry.k, geometry.n, common.b_transposed);
        let packed = lowering.weights.get(constant, &format!("right operand {transposed}"), |constant| {
            let b = RawB { bytes: constant.bytes(), depth: k, cols: n, transposed };
            let packed = PackedB::from_raw(common.isa, lowering.threads, b);
            let bytes = packed.size_bytes();
            Ok::<_, Decline>((packed, bytes))
        })?;
        let name = if rows == 1 { format!("gemv {isa}") } else { format!("gemm {isa}") };
        let kernel = Packed { common, rows, k, n, packed };
        return Ok(Lowered::new(name, kernel).in_place(&[Linear::RESIDUAL]).packed(&[1]));
    }
    if shared {
        let (k, n) = (geometry.k, geometry.n);
        return Ok(
            Lowered::new(format!("gemm {isa}"), Single { common, rows, k, n }).in_place(&[Linear::RESIDUAL])
        );
    }
    let MatMulGeometry { m, k, n, .. } = geometry;
    let pairs = geometry.pairs().map_err(|error| Decline(error.to_string()))?;
    let item = |(c, (a, b)): (usize, (usize, usize))| Item { a: a * m * k, b: b * k * n, c: c * m * n };
    let items = pairs.into_iter().enumerate().map(item).collect();
    let kernel = Batched { common, m, k, n, items };
    Ok(Lowered::new(format!("batched gemm {isa}"), kernel).in_place(&[Linear::RESIDUAL]))
}

/// What every product needs.
struct Common {
    alpha: f32,
    activation: Activation,
    addends: Addends,
    b_transposed: bool,
    isa: Isa,
}

impl Common {
    fn epilogue<'a>(&self, io: &Io<'a>, rows: usize, n: usize) -> Result<Epilogue<'a>, OpError> {
        Ok(Epilogue { alpha: self.alpha, ..self.addends.epilogue(io, rows, n, self.activation)? })
    }
}

/// A product with a packed constant.
struct Packed {
    common: Common,
    rows: usize,
    k: usize,
    n: usize,
    packed: Arc<PackedB>,
}

impl NodeKernel for Packed {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let epilogue = self.common.epilogue(&io, self.rows, self.n)?;
        let a = MatRef::new(io.input(0)?, self.rows, self.k);
        let c = MatMut::new(io.output(0)?, self.rows, self.n);
        gemm::gemm(io.threads, a, self.packed.view(), c, &epilogue);
        Ok(())
    }
}

/// A product of two values of the run.
struct Single {
    common: Common,
    rows: usize,
    k: usize,
    n: usize,
}

impl NodeKernel for Single {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let epilogue = self.common.epilogue(&io, self.rows, self.n)?;
        let a = MatRef::new(io.input(0)?, self.rows, self.k);
        let b = Unpacked::new(io.input(1)?, self.k, self.n, self.common.b_transposed);
        let c = MatMut::new(io.output(0)?, self.rows, self.n);
        gemm::matmul(self.common.isa, io.threads, a, b, c, &epilogue);
        Ok(())
    }
}

/// Many products of one shape, as in attention.
struct Batched {
    common: Common,
    m: usize,
    k: usize,
    n: usize,
    items: Vec<Item>,
}

impl NodeKernel for Batched {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let &Batched { m, k, n, ref items, ref common } = self;
        let batch = Batch {
            a: Operand { data: io.input(0)?, stride: k },
            b: Operand { data: io.input(1)?, stride: if common.b_transposed { k } else { n } },
            c_stride: n,
            m,
            n,
            k,
            b_transposed: common.b_transposed,
            items,
        };
        // The products are added to the residual in the output's place.
        let residual = io.optional::<f32>(common.addends.residual)?;
        let bias = io.optional::<f32>(common.addends.bias)?;
        let epilogue = Epilogue {
            alpha: common.alpha,
            accumulate: common.addends.has_residual,
            bias: bias.map_or(Bias::None, Bias::Columns),
            activation: common.activation,
            ..Epilogue::default()
        };
        let (isa, threads) = (common.isa, io.threads);
        let output = io.output(0)?;
        if let Some(residual) = residual {
            output.copy_from_slice(residual);
        }
        gemm::matmul_batch(isa, threads, &batch, output, &epilogue);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 2e-5 };

    fn linear(trans_b: bool, activation: Option<FusedActivation>) -> Linear {
        Linear { product: FusedMatMul { alpha: 0.5, trans_b, ..FusedMatMul::default() }, activation }
    }

    #[test]
    fn products_of_all_shapes_agree() {
        let cases: &[(&[usize], &[usize], bool)] = &[
            (&[3, 5], &[5, 7], false),
            (&[2, 3, 127], &[127, 33], false),
            (&[2, 3, 17], &[9, 17], true),
            (&[4, 2, 3, 8], &[4, 2, 8, 6], false),
            (&[2, 5, 8], &[2, 6, 8], true),
            (&[2, 1, 5, 8], &[3, 8, 4], false),
            (&[8], &[8, 3], false),
            (&[3, 8], &[8], false),
            (&[1, 300], &[300, 65], false),
            (&[0, 4], &[4, 3], false),
            (&[3, 0], &[0, 2], false),
        ];
        for (a, b, trans_b) in cases {
            for constant in [false, true] {
                let inputs = [Some((random(a, 1), false)), Some((random(b, 2), constant))];
                agree_with(linear(*trans_b, None), &inputs, 1, CLOSE);
            }
        }
    }

    #[test]
    fn the_epilogue_agrees() {
        for activation in [FusedActivation::Relu, FusedActivation::Gelu, FusedActivation::GeluTanh] {
            let inputs = [
                Some((random(&[2, 9, 20], 1), false)),
                Some((random(&[20, 31], 2), true)),
                Some((random(&[31], 3), true)),
                Some((random(&[2, 9, 31], 4), false)),
            ];
            agree_with(linear(false, Some(activation)), &inputs, 1, CLOSE);
        }
    }

    #[test]
    fn the_epilogue_of_different_right_operands_agrees() {
        let value = |shape: &[usize], seed| Some((random(shape, seed), false));
        // As in attention with relative positions: scores and what is added to them. The last is broadcast over a batch.
        let shapes: [[&[usize]; 3]; 4] = [
            [&[2, 3, 9, 20], &[2, 3, 31, 20], &[2, 3, 9, 31]],
            [&[17, 1, 4], &[17, 3, 4], &[17, 1, 3]],
            [&[2, 5, 0], &[2, 3, 0], &[2, 5, 3]],
            [&[2, 1, 5, 8], &[3, 4, 8], &[2, 3, 5, 4]],
        ];
        for [a, b, c] in shapes {
            let bias = [b[b.len() - 2]];
            for activation in [None, Some(FusedActivation::Relu)] {
                let (left, right, residual) = (value(a, 1), value(b, 2), value(c, 4));
                let inputs = [left.clone(), right.clone(), value(&bias, 3), residual.clone()];
                agree_with(linear(true, activation), &inputs, 1, CLOSE);
                agree_with(linear(true, activation), &[left, right, None, residual], 1, CLOSE);
            }
        }
    }
}
