//! `QGemm` of `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Tensor, Value};

use crate::OpEntry;
use crate::gemm::{Gemm, add_broadcast, check_addend, gemm_flops, matrices_shape, stored};
use crate::matmul::multiply;
use crate::quantized::{byte_type, one_scale, one_zero_point, saturate, scale, scales, zero_point_like};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::microsoft("QGemm", 9, QGemm::parse)];

/// `alpha * A * B + C` of 8-bit matrices. Inputs: A `[M, K]`, its scale and zero point (scalars); B `[K, N]`, its scale and
/// zero point (scalars or `[N]`); optionally C int32, in steps of `alpha` times both scales, which broadcasts to
/// `[M, N]`; optionally scale and zero point of Y (scalars). A and B may be stored transposed. Output `[M, N]`, of the
/// type of Y's zero point, or float32 where that is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct QGemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Whether A is stored as `[K, M]`.
    pub trans_a: bool,
    /// Whether B is stored as `[N, K]`.
    pub trans_b: bool,
}

impl QGemm {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(QGemm {
            alpha: def.float_or("alpha", 1.0)?,
            trans_a: def.int_or("transA", 0)? != 0,
            trans_b: def.int_or("transB", 0)? != 0,
        }))
    }
}

impl Operator for QGemm {
    fn key(&self) -> OpKey {
        OpKey::microsoft("QGemm")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let one = SymDim::Known(1);
        byte_type(inputs, 0)?;
        byte_type(inputs, 3)?;
        let shape = matrices_shape(inputs, (0, self.trans_a), (3, self.trans_b))?;
        scale(inputs, 1, &one)?;
        zero_point_like(inputs, 2, 0, &one)?;
        scale(inputs, 4, &shape.dim(1))?;
        zero_point_like(inputs, 5, 3, &shape.dim(1))?;
        if let Some(c) = inputs.optional(6)?
            && c.dtype != DType::I32
        {
            return Err(OpError::dtype(6, "int32", c.dtype));
        }
        check_addend(inputs, 6, &shape)?;
        if inputs.has(7) {
            scale(inputs, 7, &one)?;
        }
        let dtype = match inputs.has(8) {
            true => byte_type(inputs, 8)?,
            false => DType::F32,
        };
        if inputs.has(8) && !inputs.has(7) {
            return Err(OpError::MissingInput { index: 7 });
        }
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(3)?);
        let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: self.trans_a, trans_b: self.trans_b };
        let geometry = gemm.geometry(a.shape(), b.shape())?;
        let a_zero = one_zero_point(inputs, 2)?;
        let b_zeros = inputs.optional_ints(5)?.filter(|zeros| !zeros.is_empty()).unwrap_or_else(|| vec![0]);
        let mut a = stored(a, self.trans_a, Tensor::to_i64)?;
        let mut b = stored(b, self.trans_b, Tensor::to_i64)?;
        a.iter_mut().for_each(|a| *a -= a_zero);
        b.iter_mut().enumerate().for_each(|(i, b)| *b -= b_zeros[i % geometry.n % b_zeros.len()]);
        let mut sums = multiply(&geometry, &a, &b)?;
        add_broadcast(&mut sums, &geometry.output, inputs.optional(6)?, Tensor::to_i64, |y, c| *y += c)?;
        let (a_scale, b_scales) = (one_scale(inputs, 1)?, scales(inputs, 4)?);
        let factor = |i: usize| self.alpha * a_scale * b_scales[i % geometry.n % b_scales.len()];
        let Some(y_zero) = inputs.optional(8)? else {
            let y: Vec<f64> =
                sums.iter().enumerate().map(|(i, &sum)| sum as f64 * f64::from(factor(i))).collect();
            return Ok(vec![Tensor::from_f64(DType::F32, geometry.output, &y)?.into()]);
        };
        let (y_scale, zero_point) = (one_scale(inputs, 7)?, one_zero_point(inputs, 8)?);
        for (i, sum) in sums.iter_mut().enumerate() {
            // In f32, as ONNX Runtime has it: ties would fall otherwise.
            *sum =
                saturate(f64::from(*sum as i32 as f32 * (factor(i) / y_scale)), zero_point, y_zero.dtype());
        }
        Ok(vec![Tensor::from_i64(y_zero.dtype(), geometry.output, &sums)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        gemm_flops(inputs, (0, self.trans_a), (3, self.trans_b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_in, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn columns_have_their_own_scale() {
        let op =
            parse_in("com.microsoft", 1, "QGemm", &[("transB", Attr::Int(1)), ("alpha", Attr::Float(2.0))]);
        let mut inputs = vec![
            Some(Tensor::from_vec([1, 2], vec![130u8, 127]).unwrap()),
            Some(Tensor::scalar(0.5f32)),
            Some(Tensor::scalar(128u8)),
            Some(Tensor::from_vec([2, 2], vec![3i8, 5, -2, 4]).unwrap()),
            Some(Tensor::vector(vec![1f32, 0.5])),
            Some(Tensor::vector(vec![1i8, 0])),
            Some(Tensor::vector(vec![10i32, 7])),
        ];
        // (2 * 2 - 4 + 10) * 1 = 10; (-4 - 4 + 7) * 0.5 = -0.5.
        assert_eq!(try_run(&*op, &inputs).unwrap()[0].as_slice::<f32>().unwrap(), [10., -0.5]);
        inputs.extend([Some(Tensor::scalar(4f32)), Some(Tensor::scalar(1u8))]);
        assert_eq!(try_run(&*op, &inputs).unwrap()[0].as_slice::<u8>().unwrap(), [3, 1]);
        inputs[7] = None;
        assert!(try_run(&*op, &inputs).is_err());
    }
}
