//! `DynamicQuantizeLSTM` of `com.microsoft`
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value};

use crate::OpEntry;
use crate::lstm::LSTM;
use crate::matmul::{MatMulGeometry, multiply};
use crate::quantized::{Affine, byte_type};
use crate::recurrent::{Cell, RecurrentGeometry, check};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::microsoft("DynamicQuantizeLSTM", 12, DynamicQuantizeLSTM::parse)];

/// [`LSTM`] with 8-bit weights: X, and at each step the hidden states of the batch, are quantised to uint8 as
/// `DynamicQuantizeLinear` does.
///
/// Inputs as those of `LSTM`, float32, but W `[D, inputs, 4H]` and R `[D, H, 4H]`, int8 or uint8; further scale and zero
/// point of W, scale and zero point of R, each `[D]` or `[D, 4H]`. Outputs as those of `LSTM`.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicQuantizeLSTM {
    /// The operator on floats.
    pub lstm: LSTM,
}

const W_SCALE: usize = 8;
const R_SCALE: usize = 10;

impl DynamicQuantizeLSTM {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        // The domain counts its own versions; nothing of ONNX's old ones applies.
        def.opset = i64::MAX;
        Ok(Arc::new(DynamicQuantizeLSTM { lstm: LSTM::read(def)? }))
    }

    /// The extents for X and R of the given shapes, which have passed `infer`.
    fn geometry(&self, x: &Shape, r: &Shape) -> Result<RecurrentGeometry, OpError> {
        let mut geometry = self.lstm.recurrence.geometry(x, r)?;
        geometry.hidden = r.get(1).copied().unwrap_or(0);
        Ok(geometry)
    }
}

impl Operator for DynamicQuantizeLSTM {
    fn key(&self) -> OpKey {
        OpKey::microsoft("DynamicQuantizeLSTM")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        for index in [0, 3, 5, 6, 7, W_SCALE, R_SCALE] {
            if let Some(input) = inputs.optional(index)?
                && input.dtype != DType::F32
            {
                return Err(OpError::dtype(index, "float32", input.dtype));
            }
        }
        let weights = byte_type(inputs, 1)?;
        for index in [2, W_SCALE + 1, R_SCALE + 1] {
            if inputs.dtype(index)? != weights {
                return Err(OpError::dtype(index, format!("{weights}, like input 1"), inputs.dtype(index)?));
            }
        }
        let recurrence = &self.lstm.recurrence;
        let hidden = recurrence.hidden(inputs.shape(2)?.dim(1), 2)?;
        let times = |n: usize| hidden.map(|hidden| hidden.saturating_mul(n));
        let directions = SymDim::Known(recurrence.direction.count());
        check(inputs, 1, &[directions.clone(), inputs.shape(0)?.dim(2), times(4)])?;
        check(inputs, 2, &[directions.clone(), hidden.clone(), times(4)])?;
        check(inputs, 3, &[directions.clone(), times(8)])?;
        check(inputs, 7, &[directions.clone(), times(3)])?;
        for index in [W_SCALE, W_SCALE + 1, R_SCALE, R_SCALE + 1] {
            let shape: &ShapeFact = inputs.shape(index)?;
            match shape.rank() {
                Some(2) => check(inputs, index, &[directions.clone(), times(4)])?,
                _ => check(inputs, index, std::slice::from_ref(&directions))?,
            }
        }
        recurrence.infer(inputs, &hidden, &[5, 6])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let recurrence = &self.lstm.recurrence;
        let geometry = self.geometry(inputs.tensor(0)?.shape(), inputs.tensor(2)?.shape())?;
        let mut cell = QuantizedCell {
            op: &self.lstm,
            x: recurrence.steps_first(inputs.tensor(0)?)?.as_slice::<f32>()?.to_vec(),
            w: Quantized::read(inputs, 1, W_SCALE)?,
            r: Quantized::read(inputs, 2, R_SCALE)?,
            bias: inputs.optional(3)?.map(Tensor::to_f64).transpose()?,
            peepholes: LSTM::peepholes(inputs)?,
        };
        let states = vec![recurrence.state(inputs, 5, &geometry)?, recurrence.state(inputs, 6, &geometry)?];
        recurrence.run(inputs, &geometry, &mut cell, states)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        let shape = |index: usize| inputs.get(index).and_then(Fact::concrete_shape);
        let (Some(x), Some(w), Some(r)) = (shape(0), shape(1), shape(2)) else { return 0 };
        let rows = x.first().zip(x.get(1)).map_or(0, |(a, b)| (*a as u64).saturating_mul(*b as u64));
        rows.saturating_mul(2).saturating_mul((w.elements() as u64).saturating_add(r.elements() as u64))
    }
}

/// Weights `[D, rows, columns]` with their parameters.
struct Quantized {
    /// Less the zero points.
    weights: Vec<i64>,
    rows: usize,
    columns: usize,
    /// `[D]` or `[D, columns]`.
    scales: Vec<f64>,
    /// Scales of one direction: 1 or `columns`.
    scales_each: usize,
}

impl Quantized {
    fn read(inputs: Inputs<'_>, weights: usize, scale: usize) -> Result<Quantized, OpError> {
        let tensor = inputs.tensor(weights)?;
        let &[directions, rows, columns] = &tensor.shape()[..] else {
            return Err(OpError::shape(weights, "[D, rows, 4H]", tensor.shape()));
        };
        let mut weights = tensor.to_i64()?;
        let zero_points = inputs.ints(scale + 1)?;
        let zeros_each = zero_points.len().checked_div(directions).unwrap_or(0).max(1);
        for (i, weight) in weights.iter_mut().enumerate() {
            let (direction, column) = (i / (rows * columns), i % columns);
            *weight -= zero_points[direction * zeros_each + column % zeros_each];
        }
        let scales = inputs.tensor(scale)?.to_f64()?;
        let scales_each = scales.len().checked_div(directions).unwrap_or(0).max(1);
        Ok(Quantized { weights, rows, columns, scales, scales_each })
    }

    /// The products of vectors of `rows` elements, quantised together, with the weights of a direction.
    fn product(&self, direction: usize, vectors: &[f32]) -> Result<Vec<f64>, OpError> {
        let fitted = Affine::fitted(vectors);
        let quantized: Vec<i64> =
            fitted.quantize_all(vectors).into_iter().map(|q| q - fitted.zero_point).collect();
        let count = vectors.len().checked_div(self.rows).unwrap_or(0);
        let (a, b) = (Shape::from([count, self.rows]), Shape::from([self.rows, self.columns]));
        let size = self.rows * self.columns;
        let weights = &self.weights[direction * size..][..size];
        let sums = multiply(&MatMulGeometry::new(&a, &b)?, &quantized, weights)?;
        let scales = &self.scales[direction * self.scales_each..][..self.scales_each];
        let real =
            |(i, sum): (usize, i64)| sum as f64 * fitted.scale * scales[i % self.columns % self.scales_each];
        Ok(sums.into_iter().enumerate().map(real).collect())
    }
}

struct QuantizedCell<'a> {
    op: &'a LSTM,
    x: Vec<f32>,
    w: Quantized,
    r: Quantized,
    bias: Option<Vec<f64>>,
    peepholes: Option<Vec<f64>>,
}

impl Cell for QuantizedCell<'_> {
    fn project_inputs(&mut self, direction: usize) -> Result<Vec<f64>, OpError> {
        self.w.product(direction, &self.x)
    }

    fn project_states(&mut self, direction: usize, h: &[f64]) -> Result<Vec<f64>, OpError> {
        let h: Vec<f32> = h.iter().map(|&h| h as f32).collect();
        self.r.product(direction, &h)
    }

    fn step(&self, direction: usize, from_input: &[f64], from_state: &[f64], states: &mut [&mut [f64]]) {
        let (rows, of_peepholes) = (from_input.len(), 3 * states[0].len());
        let bias = self.bias.as_ref().map(|bias| &bias[direction * 2 * rows..][..2 * rows]);
        let peepholes = self.peepholes.as_ref().map(|p| &p[direction * of_peepholes..][..of_peepholes]);
        let gates =
            |i: usize| from_input[i] + from_state[i] + bias.map_or(0.0, |bias| bias[i] + bias[rows + i]);
        self.op.advance(direction, gates, peepholes, states);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_node, try_run};
    use inferrum_graph::Attr;

    #[test]
    fn it_is_close_to_the_float_operator() {
        let (steps, batch, inputs, hidden) = (5, 2, 3, 4);
        let direction = [("direction", Attr::String(b"bidirectional".to_vec()))];
        // Numbers without a pattern, in -1 to 1.
        let noise = |count: usize, seed: usize| -> Vec<f64> {
            (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0).collect()
        };
        let x = noise(steps * batch * inputs, 1);
        let quantize = |values: &[f64]| values.iter().map(|x| (x * 100.0).round()).collect::<Vec<f64>>();
        let (w, r) =
            (quantize(&noise(2 * inputs * 4 * hidden, 2)), quantize(&noise(2 * hidden * 4 * hidden, 3)));
        let tensor = |dtype: DType, shape: &[usize], values: &[f64]| {
            Some(Tensor::from_f64(dtype, shape, values).unwrap())
        };
        let bias = tensor(DType::F32, &[2, 8 * hidden], &noise(16 * hidden, 4));
        let x = tensor(DType::F32, &[steps, batch, inputs], &x);
        let transposed = |values: &[f64], rows: usize| -> Option<Tensor> {
            let columns = 4 * hidden;
            let at = |i: usize| {
                let (direction, column, row) = (i / (rows * columns), i / rows % columns, i % rows);
                values[(direction * rows + row) * columns + column] / 100.0
            };
            let values: Vec<f64> = (0..values.len()).map(at).collect();
            tensor(DType::F32, &[2, columns, rows], &values)
        };
        let float = parse_node("", 14, "LSTM", &direction, 3);
        let expected =
            try_run(&*float, &[x.clone(), transposed(&w, inputs), transposed(&r, hidden), bias.clone()])
                .unwrap();
        let quantized = parse_node("com.microsoft", 1, "DynamicQuantizeLSTM", &direction, 3);
        let scale = || tensor(DType::F32, &[2], &[0.01, 0.01]);
        let zeros = || tensor(DType::I8, &[2, 4 * hidden], &vec![0.0; 8 * hidden]);
        let (w, r) = (
            tensor(DType::I8, &[2, inputs, 4 * hidden], &w),
            tensor(DType::I8, &[2, hidden, 4 * hidden], &r),
        );
        let scales = || tensor(DType::F32, &[2, 4 * hidden], &vec![0.01; 8 * hidden]);
        let zero = || tensor(DType::I8, &[2], &[0.0; 2]);
        let inputs = [x, w, r, bias, None, None, None, None, scale(), zeros(), scales(), zero()];
        let got = try_run(&*quantized, &inputs).unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got.shape(), expected.shape());
            let pairs = got.to_f64().unwrap().into_iter().zip(expected.to_f64().unwrap());
            let worst = pairs.map(|(g, e)| (g - e).abs()).fold(0.0, f64::max);
            assert!(worst > 0.0 && worst < 0.03, "{worst}");
        }
    }
}
