//! `Resize` (<https://onnx.ai/onnx/operators/onnx__Resize.html>) and its predecessor `Upsample`.
//!
//! `Upsample` and `Resize` of opset 10 have the scales as input 1 (before: as attributes) and know no coordinate
//! transformations; opset 11 put the region before the scales and added sizes, opset 18 antialiasing, axes and policies.

use inferrum_graph::{Fact, Facts, Inputs, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::take::take;

mod arguments;
mod attributes;
mod axis;

pub use arguments::Arguments;
pub(crate) use axis::cubic;
pub use axis::{Axis, Taps};

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Resize", 4, Resize::parse).before(&[(11, 2)]),
    OpEntry::onnx("Upsample", 2, Resize::parse_upsample).before(&[(9, 1)]),
];

const REGION: usize = 1;
const SIZES: usize = 3;

/// Samples a tensor at other places along its axes, each axis for itself.
///
/// Inputs: data of any shape and type (a real one unless the mode is [`Mode::Nearest`]); region `[2*N]` (starts, then
/// ends, as fractions of the extents), float scales `[N]`, int64 sizes `[N]`, of which one of the last two is given. `N` is
/// the rank or the number of axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// How an element is made of its neighbours.
    pub mode: Mode,
    /// Where in the data an output element lies.
    pub coordinates: Coordinates,
    /// Whether linear and cubic filters widen when the output is smaller.
    pub antialias: bool,
    /// Whether neighbours outside the data have no weight; else they are those at the edge.
    pub exclude_outside: bool,
    /// What lies outside the data under [`Coordinates::CropAndResize`].
    pub extrapolation: f32,
    /// The axes that region, scales and sizes speak of; all of them when `None`.
    pub axes: Option<Vec<i64>>,
    /// How sizes are to be read.
    pub policy: Policy,
    /// Which input the scales are: 2, or 1 before opset 11, when there was no region.
    pub scales_at: usize,
}

/// How an element is made of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// One neighbour.
    Nearest(Rounding),
    /// The two neighbours, weighted by distance.
    Linear,
    /// Four neighbours by the cubic convolution of this coefficient (<https://ieeexplore.ieee.org/document/1163711>).
    Cubic(f32),
}

/// Which neighbour is the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// The closer one; the lower one of two equally close.
    PreferFloor,
    /// The closer one; the upper one of two equally close.
    PreferCeil,
    /// The lower one.
    Floor,
    /// The upper one.
    Ceil,
    /// The upper one when the output is smaller, else the lower one: the rule before opset 11.
    Direction,
}

/// Where in the data an output element lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    /// `(x + 0.5) / scale - 0.5`.
    HalfPixel,
    /// As `HalfPixel`, with the data's middle at the output's middle.
    HalfPixelSymmetric,
    /// As `HalfPixel`, but 0 when the output has one element.
    PytorchHalfPixel,
    /// The first and last elements coincide.
    AlignCorners,
    /// `x / scale`.
    Asymmetric,
    /// `(x + 0.5) / scale`.
    HalfPixelForNearest,
    /// The first and last output elements lie at the ends of the region.
    CropAndResize,
}

/// How sizes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// As the output's extents.
    Stretch,
    /// The aspect ratio is kept, and no extent is greater.
    NotLarger,
    /// The aspect ratio is kept, and no extent is smaller.
    NotSmaller,
}

impl Resize {
    /// For each place in region, scales and sizes, the axis it speaks of.
    fn axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        let Some(axes) = &self.axes else { return Ok((0..rank).collect()) };
        let shape: Shape = vec![0; rank].into();
        let out_of_range =
            |axis| OpError::attribute("axes", format!("axes of the data's {rank} dimensions"), axis);
        let axes: Vec<usize> = axes
            .iter()
            .map(|&axis| shape.axis(axis).ok_or_else(|| out_of_range(axis)))
            .collect::<Result<_, _>>()?;
        if (1..axes.len()).any(|i| axes[..i].contains(&axes[i])) {
            return Err(OpError::attribute("axes", "each axis once", format!("{:?}", self.axes)));
        }
        Ok(axes)
    }

    /// How each axis of data of shape `input` is resized.
    ///
    /// # Errors
    /// The arguments do not fit the data.
    pub fn plan(&self, input: &Shape, arguments: &Arguments) -> Result<Vec<Axis>, OpError> {
        let axes = self.axes(input.rank())?;
        let region = arguments.region(self, axes.len())?;
        let mut plan: Vec<Axis> = input.iter().map(|&extent| Axis::identity(extent)).collect();
        match (arguments.scales.as_deref(), arguments.sizes.as_deref()) {
            (Some(scales), None) => {
                check_count(self.scales_at, scales.len(), axes.len())?;
                for ((&axis, &scale), &region) in axes.iter().zip(scales).zip(&region) {
                    plan[axis] = Axis { region, ..Axis::scaled(self.scales_at, input[axis], scale)? };
                }
            }
            (None, Some(sizes)) => {
                check_count(SIZES, sizes.len(), axes.len())?;
                let extents: Vec<usize> = axes.iter().map(|&axis| input[axis]).collect();
                let sized = axis::sized(&extents, sizes, self.policy)?;
                for ((&axis, sized), &region) in axes.iter().zip(sized).zip(&region) {
                    plan[axis] = Axis { region, ..sized };
                }
            }
            (None, None) => return Err(OpError::Invalid("one of scales and sizes must be given".into())),
            (Some(_), Some(_)) => {
                return Err(OpError::Invalid("only one of scales and sizes may be given".into()));
            }
        }
        Ok(plan)
    }

    /// The output's extents where not everything is known.
    fn partial_shape(&self, input: &ShapeFact, arguments: &Arguments) -> Result<ShapeFact, OpError> {
        let Some(dims) = input.dims() else { return Ok(ShapeFact::unknown()) };
        let axes = self.axes(dims.len())?;
        let mut dims = dims.to_vec();
        for (place, &axis) in axes.iter().enumerate() {
            let scale = arguments.scales.as_deref().and_then(|scales| scales.get(place));
            let size = arguments.sizes.as_deref().and_then(|sizes| sizes.get(place));
            dims[axis] = match (scale, size) {
                (Some(&1.0), _) => continue,
                (Some(&scale), _) => match dims[axis] {
                    SymDim::Known(extent) => {
                        SymDim::Known(Axis::scaled(self.scales_at, extent, scale)?.output)
                    }
                    _ => SymDim::Unknown,
                },
                (None, Some(&size)) if self.policy == Policy::Stretch => {
                    usize::try_from(size).map_or(SymDim::Unknown, SymDim::Known)
                }
                _ => SymDim::Unknown,
            };
        }
        Ok(dims.into())
    }

    fn nearest(&self, x: &Tensor, plan: &[Axis], output: Shape) -> Result<Tensor, OpError> {
        // For each output element the place of its source, `usize::MAX` for outside; built axis by axis.
        let mut sources: Vec<usize> = vec![0];
        let mut elements = 1usize;
        for axis in plan {
            elements = elements.saturating_mul(axis.output);
            let taps = axis.taps(self)?;
            let mut next: Vec<usize> = zeroed(elements)?;
            for (sources_of_row, &source) in next.chunks_exact_mut(axis.output.max(1)).zip(&sources) {
                for (to, place) in sources_of_row.iter_mut().zip(0..) {
                    let outside = source == usize::MAX || taps.outside[place];
                    *to = if outside { usize::MAX } else { source * axis.input + taps.starts[place] };
                }
            }
            sources = next;
        }
        take(x, &sources, output, f64::from(self.extrapolation))
    }

    fn filtered(&self, x: &Tensor, plan: &[Axis], output: Shape) -> Result<Tensor, OpError> {
        let mut values = x.to_f64()?;
        let mut shape = x.shape().clone();
        for (place, axis) in plan.iter().enumerate().filter(|(_, axis)| !axis.is_identity(self)) {
            values =
                axis.taps(self)?.apply(&values, shape.split_at_axis(place), f64::from(self.extrapolation))?;
            shape.dims_mut()[place] = axis.output;
        }
        if !x.dtype().is_float() {
            values.iter_mut().for_each(|value| *value = value.round_ties_even());
        }
        Ok(Tensor::from_f64(x.dtype(), output, &values)?)
    }
}

impl Operator for Resize {
    fn key(&self) -> OpKey {
        OpKey::onnx("Resize")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.tensor(0)?;
        let filtered = !matches!(self.mode, Mode::Nearest(_));
        if filtered && matches!(x.dtype, DType::String | DType::Complex64 | DType::Complex128) {
            return Err(OpError::dtype(0, "a real type, as the mode is not `nearest`", x.dtype));
        }
        let known =
            self.value_inputs().iter().all(|&index| !inputs.has(index) || inputs.value(index).is_some());
        let arguments = Arguments::of(self, |index| inputs.value(index).cloned())?;
        let shape = match x.shape.concrete() {
            Some(shape) if known => {
                // What the region holds does not matter here.
                let unbounded = Resize { coordinates: Coordinates::Asymmetric, ..self.clone() };
                unbounded
                    .plan(&shape, &arguments)?
                    .into_iter()
                    .map(|axis| SymDim::Known(axis.output))
                    .collect()
            }
            _ => self.partial_shape(&x.shape, &arguments)?,
        };
        Ok(vec![Fact::tensor(x.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let arguments = Arguments::of(self, |index| inputs.get(index).and_then(Value::as_tensor).cloned())?;
        let plan = self.plan(x.shape(), &arguments)?;
        let output: Shape = plan.iter().map(|axis| axis.output).collect();
        if output.elements() == 0 {
            return Ok(vec![Tensor::zeros(x.dtype(), output)?.into()]);
        }
        let y = match self.mode {
            Mode::Nearest(_) => self.nearest(x, &plan, output)?,
            Mode::Linear | Mode::Cubic(_) => self.filtered(x, &plan, output)?,
        };
        Ok(vec![y.into()])
    }

    fn value_inputs(&self) -> &[usize] {
        if self.scales_at == 2 { &[2, SIZES] } else { &[1] }
    }

    fn flops(&self, inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let taps = match self.mode {
            Mode::Nearest(_) => return 0,
            Mode::Linear => 2,
            Mode::Cubic(_) => 4,
        };
        // The taps of each axis that changes, multiplied and added.
        let input = inputs.get(0).and_then(Fact::concrete_shape);
        let (Some(input), Some(output)) = (input, outputs.first().and_then(Fact::concrete_shape)) else {
            return 0;
        };
        let changed = input.iter().zip(output.iter()).filter(|(a, b)| a != b).count() as u64;
        (output.elements() as u64).saturating_mul(2 * taps * changed)
    }
}

fn check_count(index: usize, got: usize, expected: usize) -> Result<(), OpError> {
    if got == expected { Ok(()) } else { Err(OpError::shape(index, format!("[{expected}]"), got)) }
}

#[cfg(test)]
mod tests;
