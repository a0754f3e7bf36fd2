//! `LayerNormalization` (<https://onnx.ai/onnx/operators/onnx__LayerNormalization.html>), and `RMSNormalization`
//! (<https://onnx.ai/onnx/operators/onnx__RMSNormalization.html>), which ONNX Runtime called
//! `SimplifiedLayerNormalization`, in ONNX's domain or its own.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::axes::axis_attr;
use crate::moments::{Moments, float_type, stash_type};
use crate::{Broadcast, OpEntry};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("LayerNormalization", 3, LayerNormalization::parse),
    OpEntry::onnx("RMSNormalization", 2, RMSNormalization::parse),
    OpEntry::onnx("SimplifiedLayerNormalization", 2, RMSNormalization::parse),
    OpEntry::microsoft("SimplifiedLayerNormalization", 2, RMSNormalization::parse),
];

/// `(x - mean) / sqrt(variance + epsilon) * scale + B`, with the moments over the axes from `axis` on.
///
/// Inputs: X, scale, optionally B; these two broadcast to X. Outputs: Y of X's shape, of scale's type; if asked for the
/// mean and `1 / sqrt(variance + epsilon)`, whose normalised axes are 1. Floats of 16 bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormalization {
    /// The first normalised axis; negative counts from the end.
    pub axis: i64,
    /// What is added to the variance.
    pub epsilon: f32,
    /// The type of the second and third output, in which the moments are computed at least.
    pub stash: DType,
    /// Number of outputs, 1 to 3.
    pub outputs: usize,
}

/// `x / sqrt(mean of squares + epsilon) * scale`, with the mean over the axes from `axis` on.
///
/// Inputs: X and scale, which broadcasts to X. Outputs: Y of X's shape, of scale's type; if asked for
/// `1 / sqrt(mean of squares + epsilon)`, whose normalised axes are 1. Floats of 16 bits or more.
#[derive(Debug, Clone, PartialEq)]
pub struct RMSNormalization {
    /// The first normalised axis; negative counts from the end.
    pub axis: i64,
    /// What is added to the mean of squares.
    pub epsilon: f32,
    /// The type of the second output, in which the mean is computed at least.
    pub stash: DType,
    /// Number of outputs, 1 or 2.
    pub outputs: usize,
}

impl LayerNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(LayerNormalization {
            axis: def.int_or("axis", -1)?,
            epsilon: def.float_or("epsilon", 1e-5)?,
            stash: stash_type(def)?,
            outputs: def.outputs.len().clamp(1, 3),
        }))
    }
}

impl RMSNormalization {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let most = if def.op_type == "RMSNormalization" { 1 } else { 2 };
        Ok(Arc::new(RMSNormalization {
            axis: def.int_or("axis", -1)?,
            epsilon: def.float_or("epsilon", 1e-5)?,
            stash: stash_type(def)?,
            outputs: def.outputs.len().clamp(1, most),
        }))
    }
}

/// Facts of Y and of `outputs - 1` statistics.
fn infer(inputs: Facts<'_>, axis: i64, stash: DType, outputs: usize) -> Result<Vec<Fact>, OpError> {
    float_type(inputs, 0)?;
    let dtype = float_type(inputs, 1)?;
    let x = inputs.shape(0)?;
    let statistics: ShapeFact = match x.dims() {
        None => ShapeFact::unknown(),
        Some(dims) => {
            let axis = axis_attr(axis, dims.len())?;
            let ones = (axis..dims.len()).map(|_| SymDim::Known(1));
            dims[..axis].iter().cloned().chain(ones).collect()
        }
    };
    for index in [1, 2] {
        let Some(parameter) = inputs.optional(index)? else { continue };
        if parameter.dtype != dtype {
            return Err(OpError::dtype(index, format!("{dtype}, like input 1"), parameter.dtype));
        }
        let fits = match (x.concrete(), parameter.shape.concrete()) {
            (Some(x), Some(parameter)) => Broadcast::onto_first(&[&x, &parameter]).is_ok(),
            _ => x.broadcast(&parameter.shape).is_some(),
        };
        if !fits {
            return Err(OpError::shape(index, format!("that broadcasts to {x}"), &parameter.shape));
        }
    }
    let y = Fact::tensor(dtype, x.clone());
    Ok([y].into_iter().chain((1..outputs).map(|_| Fact::tensor(stash, statistics.clone()))).collect())
}

/// Rows and their elements when the axes from `axis` on are normalised, and the shape of the statistics.
fn rows(shape: &Shape, axis: i64) -> Result<(usize, usize, Shape), OpError> {
    let axis = axis_attr(axis, shape.rank())?;
    let elements = |dims: &[usize]| Shape::from(dims).elements();
    let statistics = shape[..axis].iter().copied().chain(shape[axis..].iter().map(|_| 1)).collect();
    Ok((elements(&shape[..axis]), elements(&shape[axis..]), statistics))
}

/// `y * scale + bias`, the parameters broadcast to `shape`.
fn scaled(y: &mut [f64], shape: &Shape, scale: &Tensor, bias: Option<&Tensor>) -> Result<(), OpError> {
    let broadcast = Broadcast::onto_first(&[shape, scale.shape()])?;
    let elements = scale.to_f64()?;
    y.iter_mut().zip(broadcast.indices(1)).for_each(|(y, i)| *y *= elements[i]);
    if let Some(bias) = bias {
        let broadcast = Broadcast::onto_first(&[shape, bias.shape()])?;
        let elements = bias.to_f64()?;
        y.iter_mut().zip(broadcast.indices(1)).for_each(|(y, i)| *y += elements[i]);
    }
    Ok(())
}

impl Operator for LayerNormalization {
    fn key(&self) -> OpKey {
        OpKey::onnx("LayerNormalization")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        infer(inputs, self.axis, self.stash, self.outputs)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, scale) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (count, elements, statistics) = rows(x.shape(), self.axis)?;
        let mut y = x.to_f64()?;
        let (mut means, mut inverses) = (zeroed::<f64>(count)?, zeroed::<f64>(count)?);
        for ((row, mean), inverse) in y.chunks_exact_mut(elements.max(1)).zip(&mut means).zip(&mut inverses) {
            let moments = Moments::of(row);
            (*mean, *inverse) = (moments.mean, moments.inverse_deviation(self.epsilon));
            row.iter_mut().for_each(|y| *y = (*y - *mean) * *inverse);
        }
        scaled(&mut y, x.shape(), scale, inputs.optional(2)?)?;
        let mut outputs = vec![Tensor::from_f64(scale.dtype(), x.shape().clone(), &y)?.into()];
        for values in [means, inverses].iter().take(self.outputs - 1) {
            outputs.push(Tensor::from_f64(self.stash, statistics.clone(), values)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Mean, distances, squares, their mean, scale; then a multiply-add.
        outputs.first().map_or(0, |y| 7 * y.element_count())
    }
}

impl Operator for RMSNormalization {
    fn key(&self) -> OpKey {
        OpKey::onnx(if self.outputs == 1 { "RMSNormalization" } else { "SimplifiedLayerNormalization" })
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        infer(inputs, self.axis, self.stash, self.outputs)
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, scale) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (count, elements, statistics) = rows(x.shape(), self.axis)?;
        let mut y = x.to_f64()?;
        let mut inverses = zeroed::<f64>(count)?;
        for (row, inverse) in y.chunks_exact_mut(elements.max(1)).zip(&mut inverses) {
            *inverse = inverse_rms(row, self.epsilon);
            row.iter_mut().for_each(|y| *y *= *inverse);
        }
        scaled(&mut y, x.shape(), scale, None)?;
        let mut outputs = vec![Tensor::from_f64(scale.dtype(), x.shape().clone(), &y)?.into()];
        if self.outputs > 1 {
            outputs.push(Tensor::from_f64(self.stash, statistics, &inverses)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Squares, their mean, two scales.
        outputs.first().map_or(0, |y| 4 * y.element_count())
    }
}

/// `1 / sqrt(mean of squares + epsilon)`.
pub(crate) fn inverse_rms(row: &[f64], epsilon: f32) -> f64 {
    let mean_of_squares = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    (mean_of_squares + f64::from(epsilon)).sqrt().recip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, parse_node, run, try_run};
    use inferrum_graph::Attr;

    fn close(tensor: &Tensor, expected: &[f64]) -> bool {
        let got = tensor.to_f64().unwrap();
        got.len() == expected.len() && got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5)
    }

    #[test]
    fn rows_are_normalised_and_statistics_given() {
        let x = Tensor::from_vec([2, 1, 2], vec![1f32, 3., 10., 30.]).unwrap();
        let attrs = [("epsilon", Attr::Float(0.0))];
        let scale = Tensor::vector(vec![1f32, 2.]);
        let y = run(
            &*parse_node("", 17, "LayerNormalization", &attrs, 3),
            &[x.clone(), scale, Tensor::scalar(1f32)],
        );
        assert!(close(&y[0], &[0., 3., 0., 3.]), "{y:?}");
        assert!(close(&y[1], &[2., 20.]) && y[1].shape().dims() == [2, 1, 1]);
        assert!(close(&y[2], &[1., 0.1]));
        let all =
            parse_at(17, "LayerNormalization", &[("axis", Attr::Int(0)), ("epsilon", Attr::Float(0.0))]);
        let y = run(&*all, &[x, Tensor::from_vec([2, 1, 1], vec![1f32, 0.]).unwrap()]);
        let deviation = 131.5f64.sqrt();
        assert!(close(&y[0], &[-10.0 / deviation, -8.0 / deviation, 0., 0.]), "{y:?}");
    }

    #[test]
    fn half_precision_and_its_statistics() {
        let x = Tensor::from_f64(DType::F16, [1, 2], &[1., 3.]).unwrap();
        let scale = Tensor::from_f64(DType::F16, [2], &[1., 1.]).unwrap();
        let y = run(&*parse_node("", 17, "LayerNormalization", &[], 2), &[x.clone(), scale]);
        assert_eq!((y[0].dtype(), y[1].dtype()), (DType::F16, DType::F32));
        let op = parse_at(17, "LayerNormalization", &[]);
        let wide = Tensor::from_vec([2, 2], vec![1f32; 4]).unwrap();
        assert!(try_run(&*op, &[Some(x), Some(wide)]).is_err());
    }

    #[test]
    fn rms_under_its_three_names() {
        let x = Tensor::from_vec([1, 2], vec![3f32, 4.]).unwrap();
        let scale = Tensor::vector(vec![1f32, 2.]);
        let attrs = [("epsilon", Attr::Float(12.5))];
        let ops = [
            parse_at(23, "RMSNormalization", &attrs),
            parse_at(14, "SimplifiedLayerNormalization", &attrs),
            parse_in("com.microsoft", 1, "SimplifiedLayerNormalization", &attrs),
        ];
        for op in ops {
            assert!(close(&run(&*op, &[x.clone(), scale.clone()])[0], &[0.6, 1.6]), "{op:?}");
        }
        let both = parse_node("", 14, "SimplifiedLayerNormalization", &attrs, 2);
        assert!(close(&run(&*both, &[x, scale])[1], &[0.2]));
    }
}
