//! `MaxPool`, `AveragePool`, `LpPool` (<https://onnx.ai/onnx/operators/onnx__MaxPool.html>).
//!
//! `MaxPool` has a second output since opset 8; dilations and `ceil_mode` came with opset 10 (`MaxPool`), 10 and 19
//! (`AveragePool`), 18 (`LpPool`); in opset 1 `p` of `LpPool` was a float. Older nodes have the defaults.
//!
//! `NhwcMaxPool` of `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>) lays
//! images out channels last and becomes [`ChannelsLast`] around `MaxPool`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::conv::same_float_types;
use crate::fused::channels_last::ChannelsLast;
use crate::window::{Window, WindowSpec};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("AveragePool", 1, AveragePool::parse),
    OpEntry::onnx("LpPool", 1, LpPool::parse),
    OpEntry::onnx("MaxPool", 1, MaxPool::parse),
    OpEntry::microsoft("NhwcMaxPool", 1, |def| {
        let window = WindowSpec::parse_pool(def)?;
        let inner = Arc::new(MaxPool { window, column_major: false, indices: false });
        Ok(Arc::new(ChannelsLast { inner, images: vec![0] }))
    }),
];

/// The greatest element of each window; padding never is. Input `[N, C, D1, ...]`: any float, int8 or uint8. Outputs:
/// `[N, C, O1, ...]`, and if asked for the indices int64 of the same shape of the first such element in the whole input.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool {
    /// Kernel, strides, dilations, padding, `ceil_mode`.
    pub window: WindowSpec,
    /// Whether indices count the spatial axes with the first one fastest.
    pub column_major: bool,
    /// Whether the second output is there.
    pub indices: bool,
}

/// The mean of each window. Input `[N, C, D1, ...]`, any float; output `[N, C, O1, ...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AveragePool {
    /// Kernel, strides, dilations, padding, `ceil_mode`.
    pub window: WindowSpec,
    /// Whether padding counts among the elements.
    pub count_include_pad: bool,
}

/// The p-norm of each window. Input `[N, C, D1, ...]`, any float; output `[N, C, O1, ...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LpPool {
    /// Kernel, strides, dilations, padding, `ceil_mode`.
    pub window: WindowSpec,
    /// The exponent, greater than 0.
    pub p: f32,
}

impl WindowSpec {
    /// Reads the attributes of a pooling.
    pub(crate) fn parse_pool(def: &mut NodeDef) -> Result<WindowSpec, OpError> {
        let window = WindowSpec { ceil: def.flag("ceil_mode", false)?, ..WindowSpec::parse(def)? };
        if window.kernel.is_empty() {
            return Err(OpError::attribute("kernel_shape", "an extent for each spatial axis", "nothing"));
        }
        Ok(window)
    }

    /// The output's shape of a pooling of `[N, C, D1, ...]`.
    ///
    /// # Errors
    /// The input has another number of axes, or the window does not fit it.
    pub fn pooled_shape(&self, x: &ShapeFact) -> Result<ShapeFact, OpError> {
        let axes = self.kernel.len();
        let Some(dims) = x.dims() else { return Ok(ShapeFact::of_rank(axes + 2)) };
        if dims.len() != axes + 2 {
            return Err(OpError::shape(0, format!("[N, C, {axes} spatial axes]"), x));
        }
        let kernel: Vec<SymDim> = self.kernel.iter().map(|&extent| extent.into()).collect();
        let spatial = self.output_dims(&kernel, &dims[2..])?;
        Ok(dims[..2].iter().cloned().chain(spatial).collect())
    }

    /// The window of a pooling of `[N, C, D1, ...]`.
    ///
    /// # Errors
    /// As [`WindowSpec::pooled_shape`].
    pub fn pool(&self, x: &Shape) -> Result<Window, OpError> {
        self.pooled_shape(&x.into())?;
        self.resolve(&self.kernel, &x[2..])
    }
}

impl Window {
    /// `[N, C, O1, ...]` for a pooling of `[N, C, D1, ...]`.
    pub(crate) fn pooled(&self, x: &Shape) -> Shape {
        x[..2].iter().copied().chain(self.output.iter().copied()).collect()
    }

    /// For each element of each window, `combine(result, element)`, starting from zeros.
    pub(crate) fn fold(
        &self,
        x: &Shape,
        data: &[f64],
        combine: impl Fn(&mut f64, f64),
    ) -> Result<Vec<f64>, OpError> {
        let mut y = zeroed::<f64>(self.pooled(x).elements())?;
        let planes = data.chunks_exact(self.input_elements().max(1));
        for (y, x) in y.chunks_exact_mut(self.positions().max(1)).zip(planes) {
            for tap in 0..self.taps() {
                self.for_each_run(tap, |run| {
                    let met = x[run.input..].iter().step_by(self.run_stride());
                    y[run.output..][..run.len].iter_mut().zip(met).for_each(|(y, &x)| combine(y, x));
                });
            }
        }
        Ok(y)
    }

    /// One operation for each element of each window.
    pub(crate) fn pool_flops(&self, x: &Shape) -> u64 {
        (self.pooled(x).elements() as u64).saturating_mul(self.taps() as u64)
    }
}

/// The arithmetic operations of a pooling.
fn pool_flops(window: &WindowSpec, inputs: Facts<'_>) -> u64 {
    let Some(x) = inputs.get(0).and_then(Fact::concrete_shape) else { return 0 };
    window.pool(&x).map_or(0, |window| window.pool_flops(&x))
}

impl AveragePool {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let count_include_pad = def.flag("count_include_pad", false)?;
        Ok(Arc::new(AveragePool { window: WindowSpec::parse_pool(def)?, count_include_pad }))
    }

    /// The means of `data` of shape `x`; 0 where a window has no element.
    pub(crate) fn average(&self, window: &Window, x: &Shape, data: &[f64]) -> Result<Vec<f64>, OpError> {
        let mut y = window.fold(x, data, |y, x| *y += x)?;
        if y.is_empty() {
            return Ok(y);
        }
        let counts = window.elements_in_windows(self.count_include_pad);
        for y in y.chunks_exact_mut(counts.len().max(1)) {
            y.iter_mut().zip(&counts).for_each(|(y, &count)| *y /= count.max(1) as f64);
        }
        Ok(y)
    }
}

impl Operator for AveragePool {
    fn key(&self) -> OpKey {
        OpKey::onnx("AveragePool")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 1)?;
        Ok(vec![Fact::tensor(dtype, self.window.pooled_shape(inputs.shape(0)?)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let window = self.window.pool(x.shape())?;
        let y = self.average(&window, x.shape(), &x.to_f64()?)?;
        Ok(vec![Tensor::from_f64(x.dtype(), window.pooled(x.shape()), &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        pool_flops(&self.window, inputs)
    }
}

/// The exponent of a norm: an integer, or a float in opset 1.
pub(crate) fn exponent(def: &mut NodeDef) -> Result<f32, OpError> {
    let p = if def.opset < 2 { def.float_or("p", 2.0)? } else { def.int_or("p", 2)? as f32 };
    if p > 0.0 { Ok(p) } else { Err(OpError::attribute("p", "more than 0", p)) }
}

impl LpPool {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        Ok(Arc::new(LpPool { p: exponent(def)?, window: WindowSpec::parse_pool(def)? }))
    }
}

impl Operator for LpPool {
    fn key(&self) -> OpKey {
        OpKey::onnx("LpPool")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 1)?;
        Ok(vec![Fact::tensor(dtype, self.window.pooled_shape(inputs.shape(0)?)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let window = self.window.pool(x.shape())?;
        let p = f64::from(self.p);
        let mut y = window.fold(x.shape(), &x.to_f64()?, |y, x| *y += x.abs().powf(p))?;
        y.iter_mut().for_each(|y| *y = y.powf(p.recip()));
        Ok(vec![Tensor::from_f64(x.dtype(), window.pooled(x.shape()), &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        pool_flops(&self.window, inputs).saturating_mul(2)
    }
}

impl MaxPool {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let column_major = def.flag("storage_order", false)?;
        let indices = def.outputs.len() > 1;
        Ok(Arc::new(MaxPool { window: WindowSpec::parse_pool(def)?, column_major, indices }))
    }

    /// The index, among the spatial elements, that the second output states for the element at row-major `index`.
    pub fn stored_index(&self, index: usize, extents: &[usize]) -> usize {
        if !self.column_major {
            return index;
        }
        // The last axis has the greatest step.
        let (mut rest, mut stored) = (index, 0);
        let mut step: usize = extents.iter().product();
        for &extent in extents.iter().rev().filter(|&&extent| extent > 0) {
            step /= extent;
            stored += rest % extent * step;
            rest /= extent;
        }
        stored
    }
}

impl Operator for MaxPool {
    fn key(&self) -> OpKey {
        OpKey::onnx("MaxPool")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.tensor(0)?;
        if !matches!(x.dtype, DType::I8 | DType::U8) {
            same_float_types(inputs, 1)?;
        }
        let shape = self.window.pooled_shape(&x.shape)?;
        let indices = self.indices.then(|| Fact::tensor(DType::I64, shape.clone()));
        Ok([Fact::tensor(x.dtype, shape)].into_iter().chain(indices).collect())
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let window = self.window.pool(x.shape())?;
        let shape = window.pooled(x.shape());
        let data = x.to_f64()?;
        let (plane, positions) = (window.input_elements(), window.positions());
        // The index of each window's greatest element; -1 where a window has none.
        let mut winners = zeroed::<i64>(shape.elements())?;
        winners.fill(-1);
        let planes = data.chunks_exact(plane.max(1));
        for (winners, x) in winners.chunks_exact_mut(positions.max(1)).zip(planes) {
            for tap in 0..window.taps() {
                window.for_each_run(tap, |run| {
                    for (i, winner) in winners[run.output..][..run.len].iter_mut().enumerate() {
                        let index = run.input + i * window.run_stride();
                        // A number beats NaN, the first of equals stays.
                        let beaten = |best: f64| x[index] > best || (best.is_nan() && !x[index].is_nan());
                        if *winner < 0 || beaten(x[*winner as usize]) {
                            *winner = index as i64;
                        }
                    }
                });
            }
        }
        let least = if x.dtype() == DType::I8 { -128.0 } else { f64::NEG_INFINITY };
        let mut y = zeroed::<f64>(shape.elements())?;
        for (i, (y, winner)) in y.iter_mut().zip(&mut winners).enumerate() {
            let first = i / positions.max(1) * plane;
            *y = if *winner < 0 { least } else { data[first + *winner as usize] };
            if *winner >= 0 {
                *winner = (first + self.stored_index(*winner as usize, &window.input)) as i64;
            }
        }
        let mut outputs = vec![Tensor::from_f64(x.dtype(), shape.clone(), &y)?.into()];
        if self.indices {
            outputs.push(Tensor::from_vec(shape, winners)?.into());
        }
        Ok(outputs)
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        pool_flops(&self.window, inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn ints(values: &[i64]) -> Attr {
        Attr::Ints(values.to_vec())
    }

    #[test]
    fn nhwc_max_pool_has_channels_last() {
        let op = parse_in("com.microsoft", 1, "NhwcMaxPool", &[("kernel_shape", ints(&[1, 2]))]);
        let x = Tensor::from_vec([1, 1, 3, 2], vec![1u8, 9, 5, 8, 3, 7]).unwrap();
        let y = run(&*op, &[x]).remove(0);
        assert_eq!((y.shape().dims(), y.as_slice::<u8>().unwrap()), (&[1, 1, 2, 2][..], &[5u8, 9, 5, 8][..]));
    }

    fn seven() -> Tensor {
        Tensor::from_vec([1, 1, 7], (1..=7).map(|x| x as f32).collect()).unwrap()
    }

    #[test]
    fn one_axis_with_ceil_mode_as_onnx_runtime_gives_it() {
        let table: [(&str, Vec<(&str, Attr)>, &[f32]); 7] = [
            ("MaxPool", vec![("kernel_shape", ints(&[3])), ("pads", ints(&[1, 1]))], &[2., 5., 7.]),
            ("MaxPool", vec![("kernel_shape", ints(&[2])), ("pads", ints(&[1, 1]))], &[1., 4., 7.]),
            ("AveragePool", vec![("kernel_shape", ints(&[3])), ("pads", ints(&[1, 1]))], &[1.5, 4., 6.5]),
            (
                "AveragePool",
                vec![
                    ("kernel_shape", ints(&[3])),
                    ("pads", ints(&[1, 1])),
                    ("count_include_pad", Attr::Int(1)),
                ],
                &[1., 4., 13. / 3.],
            ),
            (
                "AveragePool",
                vec![("kernel_shape", ints(&[3])), ("auto_pad", Attr::String(b"VALID".to_vec()))],
                &[2., 5., 7.],
            ),
            (
                "AveragePool",
                vec![
                    ("kernel_shape", ints(&[3])),
                    ("auto_pad", Attr::String(b"SAME_LOWER".to_vec())),
                    ("count_include_pad", Attr::Int(1)),
                ],
                &[1., 4., 13. / 3.],
            ),
            ("LpPool", vec![("kernel_shape", ints(&[1])), ("p", Attr::Int(3))], &[1., 4., 7.]),
        ];
        for (op_type, mut attrs, expected) in table {
            attrs.extend([("strides", ints(&[3])), ("ceil_mode", Attr::Int(1))]);
            let y = run(&*parse_at(22, op_type, &attrs), &[seven()]).remove(0);
            let close =
                y.to_f64().unwrap().iter().zip(expected).all(|(y, &e)| (y - f64::from(e)).abs() < 1e-6);
            assert!(close && y.len() == expected.len(), "{op_type} {attrs:?} gave {y:?}");
        }
    }

    #[test]
    fn indices_count_the_whole_input_in_either_order() {
        let x = Tensor::from_vec([1, 2, 2, 3], vec![1i8, 9, 2, 9, 3, 4, -5, -6, -7, -1, -2, -3]).unwrap();
        for (column_major, expected) in [(false, [1, 1, 9, 10]), (true, [2, 2, 7, 9])] {
            let window = WindowSpec { kernel: [2, 2][..].into(), ..WindowSpec::default() };
            let op = MaxPool { window, column_major, indices: true };
            let outputs = run(&op, std::slice::from_ref(&x));
            assert_eq!(outputs[0].as_slice::<i8>().unwrap(), [9, 9, -1, -2]);
            assert_eq!(outputs[1].as_slice::<i64>().unwrap(), expected);
        }
    }

    #[test]
    fn a_number_beats_nan() {
        let op = parse_at(12, "MaxPool", &[("kernel_shape", ints(&[2])), ("strides", ints(&[2]))]);
        let x = Tensor::from_vec(
            [1, 1, 6],
            vec![f32::NAN, 1., f32::NEG_INFINITY, f32::NEG_INFINITY, 2., f32::NAN],
        );
        let y = run(&*op, &[x.unwrap()]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [1., f32::NEG_INFINITY, 2.]);
    }

    #[test]
    fn misfits_are_errors() {
        let op = parse_at(12, "MaxPool", &[("kernel_shape", ints(&[2, 2]))]);
        assert!(try_run(&*op, &[Some(seven())]).is_err());
        let op = parse_at(12, "AveragePool", &[("kernel_shape", ints(&[9]))]);
        assert!(try_run(&*op, &[Some(seven())]).is_err());
        let op = parse_at(12, "AveragePool", &[("kernel_shape", ints(&[2]))]);
        assert!(try_run(&*op, &[Some(Tensor::zeros(DType::I8, [1, 1, 4]).unwrap())]).is_err());
        assert_eq!(run(&*op, &[Tensor::zeros(DType::F32, [0, 3, 4]).unwrap()])[0].shape().dims(), [0, 3, 3]);
    }
}
