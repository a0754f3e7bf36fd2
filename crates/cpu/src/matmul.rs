//! `MatMul`, `Gemm` and `FusedMatMul` of f32 that no rewrite has made a [`Linear`], such as in bodies, whose types only a
//! run knows.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator};
use inferrum_ops::fused_matmul::FusedMatMul;
use inferrum_ops::gemm::Gemm;
use inferrum_ops::matmul::MatMul;
use inferrum_tensor::DType;

use crate::gemm::{self, Epilogue, MatMut, MatRef, Unpacked};
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::linear::lower_product;
use crate::simd::Isa;
use crate::strided::{Cursor, Loops};

/// Position of the addend among the inputs of `Gemm`.
const ADDEND: usize = 2;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let any = op as &dyn Any;
    if any.is::<MatMul>() {
        return lower_product(&FusedMatMul::default(), None, lowering);
    }
    if let Some(product) = any.downcast_ref::<FusedMatMul>() {
        return lower_product(product, None, lowering);
    }
    let gemm = any.downcast_ref::<Gemm>().ok_or_else(|| Decline("another operator".into()))?;
    lower_gemm(gemm, lowering)
}

fn lower_gemm(op: &Gemm, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    lowering.require_dtype(DType::F32, &[])?;
    if op.trans_a {
        return Err(Decline("the left operand is transposed".into()));
    }
    let output = lowering.output_shape(0)?;
    let (&[rows, n], &[_, k]) = (output.dims(), lowering.shape(0)?.dims()) else {
        return Err(Decline("operands that are no matrices".into()));
    };
    let vector = !lowering.has(ADDEND)
        || op.beta == 1.0 && lowering.shape(ADDEND)?.rank() == 1 && lowering.shape(ADDEND)?[0] == n;
    if vector {
        let product = FusedMatMul { alpha: op.alpha, trans_b: op.trans_b, ..FusedMatMul::default() };
        return lower_product(&product, None, lowering);
    }
    let addend = Loops::broadcast(&output, &[&lowering.shape(ADDEND)?])?;
    let kernel = Sum { op: op.clone(), rows, k, n, addend, isa: lowering.isa };
    Ok(Lowered::new(format!("gemm {}", lowering.isa.name()), kernel))
}

/// `alpha A B + beta C` with a C that is broadcast.
struct Sum {
    op: Gemm,
    rows: usize,
    k: usize,
    n: usize,
    addend: Loops,
    isa: Isa,
}

impl NodeKernel for Sum {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let c: &[f32] = io.input(ADDEND)?;
        let y: &mut [f32] = io.output(0)?;
        let mut cursor = Cursor::new(&self.addend, 0);
        let mut rest = &mut *y;
        while !rest.is_empty() {
            let (row, after) = std::mem::take(&mut rest).split_at_mut(cursor.left());
            let (first, step) = (cursor.offset(0), self.addend.inner_stride(0));
            for (i, y) in (0..).zip(row.iter_mut()) {
                // Loops give offsets within the operand.
                *y = self.op.beta * c.get((first + i * step) as usize).copied().unwrap_or(f32::NAN);
            }
            cursor.advance(row.len());
            rest = after;
        }
        let a = MatRef::new(io.input(0)?, self.rows, self.k);
        let b = Unpacked::new(io.input(1)?, self.k, self.n, self.op.trans_b);
        let epilogue = Epilogue { alpha: self.op.alpha, accumulate: true, ..Epilogue::default() };
        gemm::matmul(self.isa, io.threads, a, b, MatMut::new(y, self.rows, self.n), &epilogue);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random};

    const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 2e-5 };

    #[test]
    fn addends_of_every_shape() {
        for (m, k, n) in [(3, 5, 7), (1, 127, 33), (17, 1, 1), (40, 3, 17)] {
            for addend in
                [None, Some(vec![n]), Some(vec![m, n]), Some(vec![m, 1]), Some(vec![1]), Some(vec![])]
            {
                for (beta, trans_b, constant) in [(1.0, true, true), (0.5, false, false), (-2.0, true, false)]
                {
                    let b = if trans_b { [n, k] } else { [k, n] };
                    let mut inputs = vec![Some((random(&[m, k], 1), false)), Some((random(&b, 2), constant))];
                    inputs.extend(addend.as_ref().map(|shape| Some((random(shape, 3), false))));
                    agree_with(Gemm { alpha: 0.5, beta, trans_a: false, trans_b }, &inputs, 1, CLOSE);
                }
            }
        }
    }

    #[test]
    fn products_that_are_left() {
        let inputs = [Some((random(&[2, 3, 17], 1), false)), Some((random(&[17, 5], 2), true))];
        agree_with(MatMul, &inputs, 1, CLOSE);
        let inputs = [Some((random(&[2, 3, 17], 1), false)), Some((random(&[2, 5, 17], 2), false))];
        agree_with(FusedMatMul { alpha: 2.0, trans_b: true, ..FusedMatMul::default() }, &inputs, 1, CLOSE);
    }
}
