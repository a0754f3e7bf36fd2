//! `Conv` (<https://onnx.ai/onnx/operators/onnx__Conv.html>), the same in all opsets, and `FusedConv` and `NhwcFusedConv`
//! of `com.microsoft` (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>). The latter lays
//! images out channels last and becomes [`ChannelsLast`] around the former.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::accumulate::{Accumulate, add_scaled};
use crate::fused::channels_last::ChannelsLast;
use crate::fused_activation::{self, FusedActivation, Parameters};
use crate::window::{Window, WindowSpec};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Conv", 3, |def| Ok(Arc::new(Conv::read(def)?))),
    OpEntry::microsoft("FusedConv", 4, |def| Ok(Arc::new(FusedConv::read(def)?))),
    OpEntry::microsoft("NhwcFusedConv", 4, |def| {
        let inner = Arc::new(FusedConv::read(def)?);
        Ok(Arc::new(ChannelsLast { inner, images: vec![0, 3] }))
    }),
];

/// Convolution. Inputs: X `[N, C, D1, ...]`, W `[M, C / group, K1, ...]`, optionally B `[M]`; output
/// `[N, M, O1, ...]`. Any float; at least one spatial axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Into how many groups the channels are divided.
    pub group: usize,
    /// Kernel, strides, dilations and padding.
    pub window: WindowSpec,
}

/// The extents of one convolution, all known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// N.
    pub batch: usize,
    /// Number of groups.
    pub groups: usize,
    /// Input channels of one group.
    pub in_channels: usize,
    /// Output channels of one group.
    pub out_channels: usize,
    /// The spatial axes.
    pub window: Window,
}

impl Conv {
    /// Reads the attributes of any operator of the family.
    pub(crate) fn read(def: &mut NodeDef) -> Result<Conv, OpError> {
        Ok(Conv { group: group(def)?, window: WindowSpec::parse(def)? })
    }

    /// The extents for X of shape `x` and W of shape `w`.
    ///
    /// # Errors
    /// The shapes do not fit each other or the attributes.
    pub fn geometry(&self, x: &Shape, w: &Shape) -> Result<ConvGeometry, OpError> {
        self.output_shape(&x.into(), &w.into(), 1)?;
        let kernel = self.checked_kernel(&w[2..])?;
        Ok(ConvGeometry {
            batch: x[0],
            groups: self.group,
            in_channels: w[1],
            out_channels: w[0] / self.group,
            window: self.window.resolve(kernel, &x[2..])?,
        })
    }

    /// The output's shape, as far as it is known; `w_input` is the place of W among the inputs, for messages.
    ///
    /// # Errors
    /// As [`Conv::geometry`].
    pub fn output_shape(&self, x: &ShapeFact, w: &ShapeFact, w_input: usize) -> Result<ShapeFact, OpError> {
        let rank = match (x.rank(), w.rank()) {
            (Some(x), Some(w)) if x != w => {
                return Err(OpError::shape(w_input, format!("of rank {x}, like the data"), w));
            }
            (Some(rank), _) | (_, Some(rank)) => rank,
            (None, None) => return Ok(ShapeFact::unknown()),
        };
        if rank < 3 {
            return Err(OpError::shape(0, "[N, C, D1, ...]", x));
        }
        if let (Some(channels), Some(of_group)) = (x.dim(1).known(), w.dim(1).known())
            && of_group.checked_mul(self.group) != Some(channels)
        {
            let expected = format!("[M, {channels} / {} groups, ...]", self.group);
            return Err(OpError::shape(w_input, expected, w));
        }
        if w.dim(0).known().is_some_and(|maps| !maps.is_multiple_of(self.group)) {
            return Err(OpError::shape(w_input, format!("[a multiple of {} groups, ...]", self.group), w));
        }
        let kernel: Vec<SymDim> = (2..rank)
            .map(|axis| match (w.dim(axis), self.window.kernel.get(axis - 2)) {
                (SymDim::Unknown | SymDim::Symbol(_), Some(&extent)) => SymDim::Known(extent),
                (dim, _) => dim,
            })
            .collect();
        if let Some(kernel) = kernel.iter().map(SymDim::known).collect::<Option<Vec<usize>>>() {
            self.checked_kernel(&kernel)?;
        }
        let spatial: Vec<SymDim> = (2..rank).map(|axis| x.dim(axis)).collect();
        let spatial = self.window.output_dims(&kernel, &spatial)?;
        Ok([x.dim(0), w.dim(0)].into_iter().chain(spatial).collect())
    }

    /// The weights' kernel, which `kernel_shape` must agree with.
    fn checked_kernel<'a>(&self, kernel: &'a [usize]) -> Result<&'a [usize], OpError> {
        if !self.window.kernel.is_empty() && self.window.kernel[..] != *kernel {
            let got = format!("{:?}", self.window.kernel);
            return Err(OpError::attribute("kernel_shape", format!("that of the weights, {kernel:?}"), got));
        }
        Ok(kernel)
    }

    /// The output's fact for X, W and B at places 0, 1 and 2.
    fn infer_float(&self, inputs: Facts<'_>) -> Result<Fact, OpError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        same_float_types(inputs, 3)?;
        let shape = self.output_shape(&x.shape, &w.shape, 1)?;
        check_channels(inputs, 2, &w.shape.dim(0))?;
        Ok(Fact::tensor(x.dtype, shape))
    }

    /// The convolution and its shape, in f64.
    fn run_float(&self, inputs: Inputs<'_>) -> Result<(Shape, Vec<f64>), OpError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = self.geometry(x.shape(), w.shape())?;
        let mut y = convolve(&geometry, &x.to_f64()?, &w.to_f64()?)?;
        if let Some(bias) = inputs.optional(2)? {
            geometry.add_per_channel(&mut y, &bias.to_f64()?, |y, bias| *y += bias);
        }
        Ok((geometry.output_shape(), y))
    }
}

impl ConvGeometry {
    /// `[N, M, O1, ...]`.
    pub fn output_shape(&self) -> Shape {
        let maps = self.groups * self.out_channels;
        [self.batch, maps].into_iter().chain(self.window.output.iter().copied()).collect()
    }

    /// Calls `f` on each element of `y` (`[N, M, O1, ...]`) with its channel's entry of `values` (`[M]`).
    pub(crate) fn add_per_channel<T, V: Copy>(
        &self,
        y: &mut [T],
        values: &[V],
        mut f: impl FnMut(&mut T, V),
    ) {
        let plane = self.window.positions();
        if plane == 0 || values.is_empty() {
            return;
        }
        for (channel, plane) in y.chunks_exact_mut(plane).enumerate() {
            let value = values[channel % values.len()];
            plane.iter_mut().for_each(|y| f(y, value));
        }
    }

    /// Two for each multiply-add.
    pub(crate) fn flops(&self) -> u64 {
        [
            self.batch,
            self.groups,
            self.out_channels,
            self.in_channels,
            self.window.taps(),
            self.window.positions(),
        ]
        .into_iter()
        .fold(2, |product: u64, n| product.saturating_mul(n as u64))
    }
}

/// The convolution of `x` (`[N, C, D1, ...]`) with `w` (`[M, C / group, K1, ...]`), without bias.
pub(crate) fn convolve<T: Accumulate>(geometry: &ConvGeometry, x: &[T], w: &[T]) -> Result<Vec<T>, OpError> {
    let ConvGeometry { groups, in_channels, out_channels, ref window, .. } = *geometry;
    let (plane, positions, taps) = (window.input_elements(), window.positions(), window.taps());
    let mut y = zeroed::<T>(geometry.output_shape().elements())?;
    if positions == 0 || plane == 0 {
        return Ok(y);
    }
    for (index, y) in y.chunks_exact_mut(positions).enumerate() {
        let (image, map) = (index / (groups * out_channels), index % (groups * out_channels));
        let first = (image * groups + map / out_channels) * in_channels;
        for channel in 0..in_channels {
            let x = &x[(first + channel) * plane..][..plane];
            let w = &w[(map * in_channels + channel) * taps..][..taps];
            for (tap, &w) in w.iter().enumerate() {
                window.for_each_run(tap, |run| {
                    add_scaled(&mut y[run.output..][..run.len], w, &x[run.input..], window.run_stride());
                });
            }
        }
    }
    Ok(y)
}

/// The attribute `group`.
pub(crate) fn group(def: &mut NodeDef) -> Result<usize, OpError> {
    let group = def.int_or("group", 1)?;
    usize::try_from(group)
        .ok()
        .filter(|&g| g > 0)
        .ok_or_else(|| OpError::attribute("group", "1 or more", group))
}

/// Checks that inputs `0..count`, as far as they are given, are of one float type.
pub(crate) fn same_float_types(inputs: Facts<'_>, count: usize) -> Result<DType, OpError> {
    let dtype = inputs.dtype(0)?;
    if !matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16) {
        return Err(OpError::dtype(0, "float32, float64, float16 or bfloat16", dtype));
    }
    for index in 1..count {
        if let Some(input) = inputs.optional(index)?
            && input.dtype != dtype
        {
            return Err(OpError::dtype(index, format!("{dtype}, like input 0"), input.dtype));
        }
    }
    Ok(dtype)
}

/// Checks that input `index`, if it is given, has shape `[channels]`.
pub(crate) fn check_channels(inputs: Facts<'_>, index: usize, channels: &SymDim) -> Result<(), OpError> {
    if let Some(input) = inputs.optional(index)?
        && input.shape.merge(&std::iter::once(channels.clone()).collect()).is_none()
    {
        return Err(OpError::shape(index, format!("[{channels}]"), &input.shape));
    }
    Ok(())
}

/// The arithmetic operations of a convolution of X and W at the given places.
pub(crate) fn conv_flops(conv: &Conv, inputs: Facts<'_>, x: usize, w: usize) -> u64 {
    let shape = |index: usize| inputs.get(index).and_then(Fact::concrete_shape);
    let (Some(x), Some(w)) = (shape(x), shape(w)) else { return 0 };
    conv.geometry(&x, &w).map_or(0, |geometry| geometry.flops())
}

impl Operator for Conv {
    fn key(&self) -> OpKey {
        OpKey::onnx("Conv")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![self.infer_float(inputs)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (shape, y) = self.run_float(inputs)?;
        Ok(vec![Tensor::from_f64(inputs.tensor(0)?.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        conv_flops(self, inputs, 0, 1)
    }
}

/// `activation(Conv(X, W, B) + Z)`. Inputs as those of [`Conv`], and optionally Z of the output's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct FusedConv {
    /// The convolution.
    pub conv: Conv,
    /// What is applied to the sum.
    pub activation: Option<FusedActivation>,
    /// Whether kernels of f32 are to add in ONNX Runtime's order, each product with one rounding: a quantised graph was calibrated
    /// under it, and a sum that falls to the other side of a rounding moves a result by a whole step.
    pub ordered: bool,
}

impl FusedConv {
    /// A convolution whose sums are added in any order.
    pub fn new(conv: Conv, activation: Option<FusedActivation>) -> FusedConv {
        FusedConv { conv, activation, ordered: false }
    }

    fn read(def: &mut NodeDef) -> Result<FusedConv, OpError> {
        let params = def.floats("activation_params")?.unwrap_or_default();
        let name = def.string("activation")?.unwrap_or_default();
        let (alpha, beta) = params.split_at(params.len().min(1));
        let activation = match name.as_str() {
            "" => None,
            name => Some(FusedActivation::named(
                "activation",
                name,
                &mut Parameters(alpha),
                &mut Parameters(beta),
            )?),
        };
        Ok(FusedConv::new(Conv::read(def)?, activation))
    }
}

impl Operator for FusedConv {
    fn key(&self) -> OpKey {
        OpKey::microsoft("FusedConv")
    }

    fn label(&self) -> String {
        fused_activation::label("Conv", self.activation)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let mut y = self.conv.infer_float(inputs)?;
        same_float_types(inputs, 4)?;
        if inputs.has(3) {
            let z = inputs.like(3)?;
            y = y.merge(&z).ok_or_else(|| OpError::shape(3, y.to_string(), z))?;
        }
        Ok(vec![y])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (shape, mut y) = self.conv.run_float(inputs)?;
        if let Some(z) = inputs.optional(3)? {
            y.iter_mut().zip(z.to_f64()?).for_each(|(y, z)| *y += z);
        }
        if let Some(activation) = self.activation {
            y.iter_mut().for_each(|y| *y = activation.apply(*y));
        }
        Ok(vec![Tensor::from_f64(inputs.tensor(0)?.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        conv_flops(&self.conv, inputs, 0, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;

    fn ramp(shape: &[usize]) -> Tensor {
        let shape = Shape::from(shape);
        Tensor::from_vec(shape.clone(), (1..=shape.elements()).map(|x| x as f32).collect()).unwrap()
    }

    /// Straight from the definition, one output at a time.
    fn by_definition(geometry: &ConvGeometry, x: &[f64], w: &[f64]) -> Vec<f64> {
        let win = &geometry.window;
        let mut y = vec![f64::NAN; geometry.output_shape().elements()];
        let maps = geometry.groups * geometry.out_channels;
        for (index, y) in y.iter_mut().enumerate() {
            let (plane, o) = (index / win.positions(), index % win.positions());
            let (n, m) = (plane / maps, plane % maps);
            let (oh, ow) = (o / win.output[1], o % win.output[1]);
            *y = 0.0;
            for c in 0..geometry.in_channels {
                for kh in 0..win.kernel[0] {
                    for kw in 0..win.kernel[1] {
                        let h = (oh * win.strides[0] + kh * win.dilations[0]).wrapping_sub(win.pads_begin[0]);
                        let v = (ow * win.strides[1] + kw * win.dilations[1]).wrapping_sub(win.pads_begin[1]);
                        if h < win.input[0] && v < win.input[1] {
                            let channel =
                                (n * geometry.groups + m / geometry.out_channels) * geometry.in_channels + c;
                            let tap =
                                ((m * geometry.in_channels + c) * win.kernel[0] + kh) * win.kernel[1] + kw;
                            *y += x[(channel * win.input[0] + h) * win.input[1] + v] * w[tap];
                        }
                    }
                }
            }
        }
        y
    }

    #[test]
    fn agrees_with_the_definition() {
        use crate::window::Padding;
        use smallvec::smallvec;
        let conv = Conv {
            group: 2,
            window: WindowSpec {
                strides: smallvec![2, 1],
                dilations: smallvec![1, 3],
                padding: Padding::Explicit { begin: smallvec![1, 4], end: smallvec![2, 0] },
                ..WindowSpec::default()
            },
        };
        let (x, w) = (ramp(&[3, 4, 5, 7]), ramp(&[6, 2, 2, 3]));
        let y = run(&conv, &[x.clone(), w.clone()]).remove(0);
        let geometry = conv.geometry(x.shape(), w.shape()).unwrap();
        assert_eq!(y.to_f64().unwrap(), by_definition(&geometry, &x.to_f64().unwrap(), &w.to_f64().unwrap()));
    }

    #[test]
    fn one_and_three_axes_with_bias() {
        let op = parse_at(11, "Conv", &[("pads", Attr::Ints(vec![1, 1]))]);
        let y = run(&*op, &[ramp(&[1, 1, 3]), ramp(&[1, 1, 3]), ramp(&[1])]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [9., 15., 9.]);
        let op = parse_at(11, "Conv", &[]);
        let y = run(&*op, &[ramp(&[1, 1, 2, 2, 2]), ramp(&[1, 1, 2, 1, 2])]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [1. + 4. + 15. + 24., 3. + 8. + 21. + 32.]);
    }

    #[test]
    fn empty_inputs_give_empty_or_bias() {
        let op = parse_at(11, "Conv", &[]);
        assert_eq!(run(&*op, &[ramp(&[0, 2, 4]), ramp(&[3, 2, 2])]).remove(0).shape().dims(), [0, 3, 3]);
        let y = run(&*op, &[ramp(&[1, 0, 3]), ramp(&[2, 0, 2]), ramp(&[2])]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [1., 1., 2., 2.]);
    }

    #[test]
    fn misfits_are_errors() {
        let op = parse_at(11, "Conv", &[("group", Attr::Int(2))]);
        for (x, w) in [
            (vec![1, 4, 5], vec![2, 4, 3]),
            (vec![1, 4, 5], vec![3, 2, 3]),
            (vec![1, 4], vec![2, 2]),
            (vec![1, 4, 5], vec![2, 2, 3, 3]),
            (vec![1, 4, 2], vec![2, 2, 9]),
        ] {
            assert!(try_run(&*op, &[Some(ramp(&x)), Some(ramp(&w))]).is_err(), "{x:?} {w:?}");
        }
        let op = parse_at(11, "Conv", &[("kernel_shape", Attr::Ints(vec![2]))]);
        assert!(try_run(&*op, &[Some(ramp(&[1, 1, 5])), Some(ramp(&[1, 1, 3]))]).is_err());
    }

    #[test]
    fn the_batch_may_be_a_symbol() {
        let op = parse_at(11, "Conv", &[("pads", Attr::Ints(vec![1, 1]))]);
        let (n, l) = (SymDim::Symbol("n".into()), SymDim::Symbol("l".into()));
        let x = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(4), l.clone()]);
        let w = Fact::tensor(DType::F32, [8, 4, 3]);
        let y = op.infer(Facts(&[Some(&x), Some(&w)])).unwrap();
        assert_eq!(y, [Fact::tensor(DType::F32, vec![n, SymDim::Known(8), l])]);
    }

    #[test]
    fn fused_conv_adds_and_activates() {
        let attrs = [
            ("activation", Attr::String(b"Clip".to_vec())),
            ("activation_params", Attr::Floats(vec![0., 6.])),
        ];
        let op = parse_in("com.microsoft", 1, "FusedConv", &attrs);
        let z = Tensor::from_vec([1, 1, 2], vec![-9f32, 1.]).unwrap();
        let y = run(&*op, &[ramp(&[1, 1, 2]), ramp(&[1, 1, 1]), ramp(&[1]), z]).remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [0., 4.]);
    }

    #[test]
    fn nhwc_fused_conv_has_x_and_z_channels_last() {
        let relu = [("activation", Attr::String(b"Relu".to_vec()))];
        let op = parse_in("com.microsoft", 1, "NhwcFusedConv", &relu);
        // Two elements of two channels, [1, 2] and [3, 4]; filters [1, 2] and [3, 4].
        let (x, w) = (ramp(&[1, 1, 2, 2]), ramp(&[2, 2, 1, 1]));
        let z = Tensor::from_vec([1, 1, 2, 2], vec![-9f32, 0., 1., 2.]).unwrap();
        let y = run(&*op, &[x, w, Tensor::vector(vec![0f32, 100.]), z]).remove(0);
        assert_eq!(y.shape().dims(), [1, 1, 2, 2]);
        assert_eq!(y.as_slice::<f32>().unwrap(), [0., 111., 12., 127.]);
    }
}
