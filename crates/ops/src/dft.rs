//! `DFT` (<https://onnx.ai/onnx/operators/onnx__DFT.html>). In opset 17 the axis was an attribute, 1 by default.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::fourier::{Complex, Fourier};
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("DFT", 3, Dft::parse).before(&[(20, 2)])];

const LENGTH: usize = 1;
const AXIS: usize = 2;

/// The discrete Fourier transform along an axis.
///
/// Inputs: floats, of which the last axis has 1 element (real) or 2 (complex); length, an integer scalar (optional: the
/// axis' extent), to which the axis is cut or filled with zeros; axis, int64 scalar (optional: -2). Output: complex, but
/// real for the inverse of a one-sided spectrum; one-sided, the axis has `length / 2 + 1` elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dft {
    /// Whether it is the inverse transform.
    pub inverse: bool,
    /// Whether the half of the spectrum that follows from the other for a real signal is left out.
    pub onesided: bool,
}

impl Dft {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 20 {
            let axis = def.int_or("axis", 1)?;
            def.lift_scalar(AXIS, axis);
        }
        Ok(Arc::new(Dft { inverse: def.flag("inverse", false)?, onesided: def.flag("onesided", false)? }))
    }

    /// The axis and the length of the transform for a signal of shape `shape`.
    ///
    /// # Errors
    /// The axis is none of the signal, or the length is not positive.
    pub fn transform(
        &self,
        shape: &Shape,
        length: Option<i64>,
        axis: Option<i64>,
    ) -> Result<(usize, usize), OpError> {
        let rank = shape.rank();
        if rank < 2 || !matches!(shape[rank - 1], 1 | 2) {
            return Err(OpError::shape(0, "at least one axis, then 1 (real) or 2 (complex) elements", shape));
        }
        if self.onesided && !self.inverse && shape[rank - 1] == 2 {
            return Err(OpError::shape(0, "1 (real) as the last extent of a one-sided transform", shape));
        }
        let given = axis.unwrap_or(-2);
        let axis = shape.axis(given).filter(|&axis| axis < rank - 1).ok_or_else(|| {
            OpError::value(
                AXIS,
                format!("the axis is one of the first {} of the signal {shape}, got {given}", rank - 1),
            )
        })?;
        let natural = if self.inverse && self.onesided {
            2 * shape[axis].saturating_sub(1) as i64
        } else {
            shape[axis] as i64
        };
        let length = length.unwrap_or(natural);
        match usize::try_from(length) {
            Ok(length) if length > 0 => Ok((axis, length)),
            _ => Err(OpError::value(LENGTH, format!("the length is 1 or more, got {length}"))),
        }
    }

    /// Extent of the axis after a transform of `length`.
    fn extent(&self, length: usize) -> usize {
        if self.onesided && !self.inverse { length / 2 + 1 } else { length }
    }

    /// Extent of the last axis of the output.
    fn parts(&self) -> usize {
        if self.onesided && self.inverse { 1 } else { 2 }
    }

    /// Transforms one signal, already as long as the transform.
    fn run(&self, fourier: &mut Fourier, x: &mut [Complex], y: &mut [Complex]) -> Result<(), OpError> {
        if !self.inverse {
            fourier.forward(x, y);
            return Ok(());
        }
        if self.onesided {
            // The other half mirrors the given one; ends that are their own mirror image are real.
            let length = x.len();
            x[0][1] = 0.0;
            for k in 1..=length / 2 {
                x[length - k] = [x[k][0], -x[k][1]];
            }
            if length.is_multiple_of(2) {
                x[length / 2][1] = 0.0;
            }
        }
        fourier.inverse(x, y)
    }
}

impl Operator for Dft {
    fn key(&self) -> OpKey {
        OpKey::onnx("DFT")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.tensor(0)?;
        FLOATS.check(0, x.dtype)?;
        for index in [LENGTH, AXIS] {
            scalar_integer(inputs, index)?;
        }
        let known = |index| !inputs.has(index) || inputs.value(index).is_some();
        let (length, axis) = (first(inputs.ints(LENGTH)?), first(inputs.ints(AXIS)?));
        let shape = match x.shape.concrete() {
            Some(shape) if known(LENGTH) && known(AXIS) => {
                let (axis, length) = self.transform(&shape, length, axis)?;
                let mut shape = shape;
                shape.dims_mut()[axis] = self.extent(length);
                *shape.dims_mut().last_mut().unwrap_or(&mut 0) = self.parts();
                ShapeFact::from(shape)
            }
            _ => self.partial_shape(&x.shape, inputs)?,
        };
        Ok(vec![Fact::tensor(x.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let (given, axis) = (first(inputs.optional_ints(LENGTH)?), first(inputs.optional_ints(AXIS)?));
        let (axis, length) = self.transform(x.shape(), given, axis)?;
        let rank = x.shape().rank();
        let parts = x.shape()[rank - 1];
        let mut shape = x.shape().clone();
        shape.dims_mut()[axis] = self.extent(length);
        shape.dims_mut()[rank - 1] = self.parts();
        // The signal as [outer, axis, inner, parts].
        let (outer, extent, rest) = x.shape().split_at_axis(axis);
        let inner = rest / parts.max(1);
        let values = x.to_f64()?;
        let mut y: Vec<f64> = zeroed(shape.elements())?;
        let (mut signal, mut spectrum): (Vec<Complex>, Vec<Complex>) = (zeroed(length)?, zeroed(length)?);
        let mut fourier = Fourier::new(length)?;
        // Of a one-sided spectrum more than half is not looked at.
        let used = if self.inverse && self.onesided { length / 2 + 1 } else { length }.min(extent);
        for line in 0..outer.saturating_mul(inner) {
            let (before, after) = (line / inner, line % inner);
            signal.fill([0.0, 0.0]);
            for (i, element) in signal.iter_mut().enumerate().take(used) {
                let place = ((before * extent + i) * inner + after) * parts;
                *element = [values[place], if parts == 2 { values[place + 1] } else { 0.0 }];
            }
            self.run(&mut fourier, &mut signal, &mut spectrum)?;
            for (i, element) in spectrum.iter().enumerate().take(self.extent(length)) {
                let place = ((before * self.extent(length) + i) * inner + after) * self.parts();
                y[place..][..self.parts()].copy_from_slice(&element[..self.parts()]);
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), shape, &y)?.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        &[LENGTH, AXIS]
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let Some(shape) = outputs.first().and_then(Fact::concrete_shape) else { return 0 };
        // About 5 n log2 n for n complex elements.
        let elements = shape.elements() as u64;
        elements.saturating_mul(5 * u64::from(elements.checked_ilog2().unwrap_or(0)))
    }
}

impl Dft {
    fn partial_shape(&self, shape: &ShapeFact, inputs: Facts<'_>) -> Result<ShapeFact, OpError> {
        let Some(dims) = shape.dims() else { return Ok(ShapeFact::unknown()) };
        let mut dims = dims.to_vec();
        let rank = dims.len();
        let axis = if inputs.has(AXIS) { first(inputs.ints(AXIS)?) } else { Some(-2) };
        let places: Shape = vec![0; rank].into();
        match axis.and_then(|axis| places.axis(axis)) {
            Some(axis) => {
                let length = match (inputs.has(LENGTH), first(inputs.ints(LENGTH)?)) {
                    (true, Some(length)) => usize::try_from(length).map_or(SymDim::Unknown, SymDim::Known),
                    (false, _) if !(self.inverse && self.onesided) => dims[axis].clone(),
                    _ => SymDim::Unknown,
                };
                let halved = self.onesided && !self.inverse;
                dims[axis] = if halved { length.map(|length| length / 2 + 1) } else { length };
            }
            None => dims.fill(SymDim::Unknown),
        }
        if let Some(last) = dims.last_mut() {
            *last = SymDim::Known(self.parts());
        }
        Ok(dims.into())
    }
}

fn first(values: Option<Vec<i64>>) -> Option<i64> {
    values.and_then(|values| values.first().copied())
}

/// Checks that an input, if it is given, is one integer.
pub(crate) fn scalar_integer(inputs: Facts<'_>, index: usize) -> Result<(), OpError> {
    let Some(tensor) = inputs.optional(index)? else { return Ok(()) };
    if !matches!(tensor.dtype, DType::I32 | DType::I64) {
        return Err(OpError::dtype(index, "int32 or int64", tensor.dtype));
    }
    match tensor.shape.concrete() {
        Some(shape) if shape.elements() != 1 => Err(OpError::shape(index, "one element", shape)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;

    fn dft(attrs: [i64; 2], shape: &[usize], x: &[f32], rest: [Option<i64>; 2]) -> Result<Tensor, OpError> {
        let op = parse_at(20, "DFT", &[("inverse", Attr::Int(attrs[0])), ("onesided", Attr::Int(attrs[1]))]);
        let x = Tensor::from_vec(shape, x.to_vec()).unwrap();
        try_run(&*op, &[Some(x), rest[0].map(Tensor::scalar), rest[1].map(Tensor::scalar)])
            .map(|mut y| y.remove(0))
    }

    fn close(y: &Tensor, expected: &[f64]) -> bool {
        y.to_f64().unwrap().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
            && y.len() == expected.len()
    }

    #[test]
    fn transforms_of_a_short_signal() {
        let y = dft([0, 0], &[3, 1], &[1.0, 2.0, 4.0], [None; 2]).unwrap();
        let s = 3f64.sqrt();
        assert!(close(&y, &[7.0, 0.0, -2.0, s, -2.0, -s]));
        let half = dft([0, 1], &[3, 1], &[1.0, 2.0, 4.0], [None; 2]).unwrap();
        assert!(close(&half, &[7.0, 0.0, -2.0, s]));
        let back = dft([1, 1], &[2, 2], &[7.0, 0.0, -2.0, s as f32], [Some(3), None]).unwrap();
        assert!(close(&back, &[1.0, 2.0, 4.0]));
        let back = dft([1, 0], &[3, 2], &[7.0, 0.0, -2.0, s as f32, -2.0, -s as f32], [None; 2]).unwrap();
        assert!(close(&back, &[1.0, 0.0, 2.0, 0.0, 4.0, 0.0]));
    }

    #[test]
    fn axes_and_lengths() {
        let x = [1.0, 10.0, 2.0, 20.0];
        let along = |axis| dft([0, 0], &[2, 2, 1], &x, [Some(1), Some(axis)]).unwrap();
        assert!(close(&along(0), &[1.0, 0.0, 10.0, 0.0]));
        assert!(close(&along(-2), &[1.0, 0.0, 2.0, 0.0]));
        let longer = dft([0, 0], &[1, 1], &[5.0], [Some(2), None]).unwrap();
        assert!(close(&longer, &[5.0, 0.0, 5.0, 0.0]));
    }

    #[test]
    fn in_opset_17_the_axis_is_an_attribute() {
        let mut def = NodeDef::new("DFT", 17, Default::default());
        assert!(crate::parse("", &mut def).unwrap().is_ok());
        let lifted = def.finish().unwrap();
        assert_eq!((lifted[0].0, lifted[0].1.to_i64().unwrap()), (AXIS, vec![1]));
    }

    #[test]
    fn unfit_signals_are_errors() {
        assert!(dft([0, 0], &[3], &[0.0; 3], [None; 2]).is_err());
        assert!(dft([0, 0], &[1, 3], &[0.0; 3], [None; 2]).is_err());
        assert!(dft([0, 1], &[1, 2], &[0.0; 2], [None; 2]).is_err());
        assert!(dft([0, 0], &[3, 1], &[0.0; 3], [Some(0), None]).is_err());
        assert!(dft([0, 0], &[3, 1], &[0.0; 3], [Some(i64::MAX), None]).is_err());
        assert!(dft([0, 0], &[3, 1], &[0.0; 3], [None, Some(-1)]).is_err());
        assert_eq!(dft([0, 0], &[0, 3, 1], &[], [None; 2]).unwrap().shape().dims(), [0, 3, 2]);
    }
}
