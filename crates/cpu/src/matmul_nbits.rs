//! `MatMulNBits` of f32 with constant weights: made floats and packed once, then a product as any other. The packed weights
//! take eight times the room of 4-bit ones.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_graph::{Inputs, OpError};
use inferrum_ops::matmul_nbits::MatMulNBits;
use inferrum_tensor::{DType, Tensor, Value};

use crate::gemm::{self, Bias, Epilogue, MatMut, MatRef, PackedB, Unpacked};
use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::threads::Threads;

/// Positions of the inputs: packed weights, scales, zero points, blocks of rows, bias.
const WEIGHTS: usize = 1;
const SCALES: usize = 2;
const BLOCKS: usize = 4;
const BIAS: usize = 5;

struct Product {
    rows: usize,
    k: usize,
    n: usize,
    packed: Arc<PackedB>,
}

pub(crate) fn lower(op: &MatMulNBits, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if lowering.dtype(0)? != DType::F32 {
        return Err(Decline(format!("A is {}", lowering.dtype(0)?)));
    }
    let mut constants: Vec<Option<&Tensor>> = vec![None];
    for index in WEIGHTS..=BLOCKS {
        let constant = lowering.constant(index);
        if lowering.has(index) && constant.is_none() {
            return Err(Decline(format!("input {index} is not constant")));
        }
        constants.push(constant);
    }
    let weights = lowering.constant(WEIGHTS).ok_or_else(|| Decline("no weights".into()))?;
    // Weights may be shared and scaled otherwise: the form names where every constant lies.
    let places: Vec<usize> =
        constants[SCALES..].iter().map(|tensor| tensor.map_or(0, |t| t.bytes().as_ptr().addr())).collect();
    let form = format!("right operand of {op:?} with {places:?}");
    let packed = lowering.weights.get(weights, &form, |_| {
        let values: Vec<Option<Value>> =
            constants.iter().map(|tensor| tensor.cloned().map(Value::Tensor)).collect();
        let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        let dequantized = op.dequantized(Inputs(&refs)).map_err(|error| Decline(error.to_string()))?;
        let floats: Vec<f32> = dequantized.into_iter().map(|weight| weight as f32).collect();
        let rows = MatRef::new(&floats, op.n, op.k);
        let packed = PackedB::new(lowering.isa, &Threads::single(), Unpacked::Transposed(rows));
        let bytes = packed.size_bytes();
        Ok::<_, Decline>((packed, bytes))
    })?;
    let rows = lowering.shape(0)?.elements() / op.k;
    let name =
        format!("{} {} of {} bits", if rows == 1 { "gemv" } else { "gemm" }, lowering.isa.name(), op.bits);
    let kernel = Product { rows, k: op.k, n: op.n, packed };
    Ok(Lowered::new(name, kernel).packed(&[1, 2, 3, 4]))
}

impl NodeKernel for Product {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let bias = io.optional::<f32>(BIAS)?.map_or(Bias::None, Bias::Columns);
        let a = MatRef::new(io.input(0)?, self.rows, self.k);
        let c = MatMut::new(io.output(0)?, self.rows, self.n);
        gemm::gemm(io.threads, a, self.packed.view(), c, &Epilogue { bias, ..Epilogue::default() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree_with, random, random_of};

    #[test]
    fn every_width_with_and_without_zero_points() {
        for (bits, k, n, block_size) in [(4, 64, 7, 32), (2, 100, 17, 16), (8, 33, 3, 16), (4, 20, 1, 16)] {
            let op = MatMulNBits { k, n, bits, block_size, accuracy_level: 0 };
            let (blocks, zero_bytes) = (op.blocks(), op.zero_point_bytes());
            let constant = |tensor: Tensor| Some((tensor, true));
            let bytes = |shape: &[usize], seed| {
                let noise = random(shape, seed).to_f64().unwrap();
                let bytes: Vec<f64> = noise.iter().map(|x| ((x + 3.0) * 42.0).floor()).collect();
                Tensor::from_f64(DType::U8, shape, &bytes).unwrap()
            };
            let weights = bytes(&[n, blocks, op.block_bytes()], 1);
            let scales = random(&[n, blocks], 2);
            for zero in [None, Some(bytes(&[n, zero_bytes], 3)), Some(random(&[n, blocks], 4))] {
                for rows in [&[k][..], &[5, k], &[2, 3, k]] {
                    let mut inputs = vec![
                        Some((random(rows, 5), false)),
                        constant(weights.clone()),
                        constant(scales.clone()),
                        zero.clone().map(|zero| (zero, true)),
                    ];
                    let tolerance = Tolerance { relative: 1e-4, absolute: 1e-2 };
                    agree_with(op.clone(), &inputs, 1, tolerance);
                    inputs.extend([None, Some((random_of(DType::F32, &[n], 6), false))]);
                    agree_with(op.clone(), &inputs, 1, tolerance);
                }
            }
        }
    }
}
