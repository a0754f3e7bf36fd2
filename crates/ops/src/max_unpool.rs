//! `MaxUnpool` (<https://onnx.ai/onnx/operators/onnx__MaxUnpool.html>), the same in all opsets.
//!
//! Indices count the elements of the shape that kernel, strides and pads give; where `output_shape` asks for a larger
//! one, the rest is zeros at the end of each axis. So says ONNX's reference (ONNX Runtime counts in the larger shape).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::same_float_types;
use crate::window::{WindowSpec, explicit_pads, positive, transposed_window};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("MaxUnpool", 3, MaxUnpool::parse)];

/// Puts each element at its index and zeros elsewhere. Inputs: X `[N, C, D1, ...]`, any float; indices int64 of the same
/// shape; optionally the output's shape int64 `[rank]`. Output `[N, C, O1, ...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxUnpool {
    /// Kernel, strides and padding of the `MaxPool` that is undone.
    pub window: WindowSpec,
}

impl MaxUnpool {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let kernel = positive(def, "kernel_shape")?;
        if kernel.is_empty() {
            return Err(OpError::attribute("kernel_shape", "an extent for each spatial axis", "nothing"));
        }
        let window = WindowSpec {
            kernel,
            strides: positive(def, "strides")?,
            padding: explicit_pads(def)?,
            ..WindowSpec::default()
        };
        Ok(Arc::new(MaxUnpool { window }))
    }

    /// The shape in which indices count.
    fn indexed_shape(&self, x: &Shape) -> Result<Shape, OpError> {
        if x.rank() != self.window.kernel.len() + 2 {
            let expected = format!("[N, C, {} spatial axes]", self.window.kernel.len());
            return Err(OpError::shape(0, expected, x));
        }
        let window = transposed_window(&self.window, &[], &[], &self.window.kernel, &x[2..])?;
        Ok(x[..2].iter().copied().chain(window.input).collect())
    }
}

/// The asked-for output shape, which must hold the indexed one.
fn target(indexed: &Shape, asked: &[i64]) -> Result<Shape, OpError> {
    let holds = |(&dim, &asked): (&usize, &i64)| usize::try_from(asked).ok().filter(|&asked| asked >= dim);
    let target: Option<Shape> = indexed.iter().zip(asked).map(holds).collect();
    target.filter(|_| asked.len() == indexed.rank()).ok_or_else(|| {
        OpError::value(2, format!("an output shape that holds {indexed} is needed, got {asked:?}"))
    })
}

impl Operator for MaxUnpool {
    fn key(&self) -> OpKey {
        OpKey::onnx("MaxUnpool")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 1)?;
        let (x, indices) = (inputs.shape(0)?, inputs.tensor(1)?);
        if indices.dtype != DType::I64 {
            return Err(OpError::dtype(1, "int64", indices.dtype));
        }
        if x.merge(&indices.shape).is_none() {
            return Err(OpError::shape(1, format!("{x}, like input 0"), &indices.shape));
        }
        let indexed = x.concrete().map(|x| self.indexed_shape(&x)).transpose()?;
        let rank = self.window.kernel.len() + 2;
        let shape: ShapeFact = match (indexed, inputs.has(2), inputs.ints(2)?) {
            (Some(indexed), false, _) => indexed.into(),
            (Some(indexed), true, Some(asked)) => target(&indexed, &asked)?.into(),
            (None, true, Some(asked)) => {
                let dim = |&n: &i64| usize::try_from(n).map_or(SymDim::Unknown, SymDim::Known);
                asked.iter().map(dim).collect()
            }
            _ => ShapeFact::of_rank(rank),
        };
        Ok(vec![Fact::tensor(dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let indexed = self.indexed_shape(x.shape())?;
        let shape = match inputs.optional_ints(2)? {
            Some(asked) => target(&indexed, &asked)?,
            None => indexed.clone(),
        };
        let mut y = zeroed::<f64>(shape.elements())?;
        let strides = shape.strides();
        for (value, index) in x.to_f64()?.into_iter().zip(inputs.ints(1)?) {
            let mut rest =
                usize::try_from(index).ok().filter(|&i| i < indexed.elements()).ok_or_else(|| {
                    OpError::value(
                        1,
                        format!(
                            "index {index} is not within the {} elements of {indexed}",
                            indexed.elements()
                        ),
                    )
                })?;
            let mut place = 0;
            for (&extent, &stride) in indexed.iter().zip(&strides).rev() {
                place += rest % extent * stride;
                rest /= extent;
            }
            y[place] = value;
        }
        Ok(vec![Tensor::from_f64(x.dtype(), shape, &y)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;

    fn unpooled(indices: Vec<i64>, asked: Option<Vec<i64>>) -> Result<Tensor, OpError> {
        let two = Attr::Ints(vec![2]);
        let op = parse_at(22, "MaxUnpool", &[("kernel_shape", two.clone()), ("strides", two)]);
        let x = Tensor::from_vec([1, 2, 2], vec![1f32, 2., 3., 4.])?;
        let indices = Tensor::from_vec([1, 2, 2], indices)?;
        try_run(&*op, &[Some(x), Some(indices), asked.map(Tensor::vector)]).map(|mut y| y.remove(0))
    }

    #[test]
    fn elements_go_to_their_indices() {
        let y = unpooled(vec![1, 2, 4, 7], None).unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap(), [0., 1., 2., 0., 3., 0., 0., 4.]);
        let y = unpooled(vec![1, 2, 4, 7], Some(vec![1, 2, 5])).unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap(), [0., 1., 2., 0., 0., 3., 0., 0., 4., 0.]);
    }

    #[test]
    fn indices_and_shapes_out_of_range_are_errors() {
        assert!(unpooled(vec![1, 2, 4, 8], None).is_err());
        assert!(unpooled(vec![-1, 2, 4, 7], None).is_err());
        assert!(unpooled(vec![1, 2, 4, 7], Some(vec![1, 2, 3])).is_err());
        assert!(unpooled(vec![1, 2, 4, 7], Some(vec![1, 2])).is_err());
    }
}
