//! `Det` (<https://onnx.ai/onnx/operators/onnx__Det.html>). Opset 22 only added bfloat16.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact};
use inferrum_tensor::{Tensor, Value, zeroed};

use crate::OpEntry;
use crate::extents;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("Det", 1, Det::parse)];

/// The determinant of each matrix. `[*, M, M]` to `[*]`, any float type.
#[derive(Debug, Clone, PartialEq)]
pub struct Det;

impl Det {
    fn parse(_def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(Det))
    }
}

/// The determinant of a square matrix of side `m`, by elimination with row pivots; the matrix is used up.
fn determinant(matrix: &mut [f64], m: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..m {
        let pivot = (column..m)
            .max_by(|&a, &b| matrix[a * m + column].abs().total_cmp(&matrix[b * m + column].abs()))
            .unwrap_or(column);
        if pivot != column {
            (0..m).for_each(|i| matrix.swap(pivot * m + i, column * m + i));
            product = -product;
        }
        let head = matrix[column * m + column];
        if head == 0.0 {
            return 0.0;
        }
        product *= head;
        for row in column + 1..m {
            let factor = matrix[row * m + column] / head;
            for i in column..m {
                matrix[row * m + i] -= factor * matrix[column * m + i];
            }
        }
    }
    product
}

impl Operator for Det {
    fn key(&self) -> OpKey {
        OpKey::onnx("Det")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = inputs.tensor(0)?;
        FLOATS.check(0, data.dtype)?;
        let shape = match data.shape.dims() {
            None => ShapeFact::unknown(),
            Some([batch @ .., rows, columns]) if rows.merge(columns).is_some() => {
                batch.iter().cloned().collect()
            }
            Some(_) => return Err(OpError::shape(0, "[*, M, M]", &data.shape)),
        };
        Ok(vec![Fact::tensor(data.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let shape = extents::output_shape(self, inputs)?;
        let m = data.shape().last().copied().unwrap_or(0);
        let mut determinants = zeroed::<f64>(shape.elements())?;
        // The determinant of a matrix without elements.
        determinants.fill(1.0);
        let mut elements = data.to_f64()?;
        for (determinant_of, matrix) in
            determinants.iter_mut().zip(elements.chunks_exact_mut(m.saturating_mul(m).max(1)))
        {
            *determinant_of = determinant(matrix, m);
        }
        Ok(vec![Tensor::from_f64(data.dtype(), shape, &determinants)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let Some(shape) = inputs.get(0).and_then(Fact::concrete_shape) else { return 0 };
        let side = shape.last().copied().unwrap_or(0) as u64;
        (shape.elements() as u64).saturating_mul(side) / 3 * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{run, try_run};
    use inferrum_tensor::DType;

    #[test]
    fn small_determinants_are_exact() {
        let matrices =
            Tensor::from_vec([3, 2, 2], vec![0f32, 1., 2., 3., 1., 2., 2., 4., 1., 0., 0., 5.]).unwrap();
        assert_eq!(run(&Det, &[matrices])[0], Tensor::vector(vec![-2f32, 0.0, 5.0]));
        let one = Tensor::from_vec([1, 1], vec![-3f64]).unwrap();
        assert_eq!(run(&Det, &[one])[0], Tensor::scalar(-3f64));
        let none = Tensor::zeros(DType::F32, [2, 0, 0]).unwrap();
        assert_eq!(run(&Det, &[none])[0], Tensor::vector(vec![1f32, 1.0]));
        let nan = Tensor::from_vec([2, 2], vec![f32::NAN, 1., 2., 3.]).unwrap();
        assert!(run(&Det, &[nan])[0].as_slice::<f32>().unwrap()[0].is_nan());
    }

    #[test]
    fn other_shapes_are_errors() {
        for shape in [&[2, 3][..], &[4], &[]] {
            assert!(try_run(&Det, &[Some(Tensor::zeros(DType::F32, shape).unwrap())]).is_err());
        }
    }
}
