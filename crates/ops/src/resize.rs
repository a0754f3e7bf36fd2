//! `Resize` (<https://onnx.ai/onnx/operators/onnx__Resize.html>) and its predecessor `Upsample`.
//!
//! `Upsample` and `Resize` of opset 10 have the scales as input 1 (before: as attributes) and know no coordinate
//! transformations; opset 11 put the region before the scales and added sizes, opset 18 antialiasing, axes and policies.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::take::take;

mod axis;

pub(crate) use axis::cubic;
pub use axis::{Axis, Taps};

pub(crate) const OPERATORS: &[OpEntry] =
    &[OpEntry::onnx("Resize", Resize::parse), OpEntry::onnx("Upsample", Resize::parse_upsample)];

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
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 11 {
            let mode = early_mode(def)?;
            return Ok(Arc::new(Resize { mode, scales_at: 1, ..Resize::early() }));
        }
        let rounding = match def.string_or("nearest_mode", "round_prefer_floor")?.as_str() {
            "round_prefer_floor" | "" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            other => {
                let expected = "`round_prefer_floor`, `round_prefer_ceil`, `floor` or `ceil`";
                return Err(OpError::attribute("nearest_mode", expected, other));
            }
        };
        let cubic = def.float_or("cubic_coeff_a", -0.75)?;
        let mode = match def.string_or("mode", "nearest")?.as_str() {
            "nearest" => Mode::Nearest(rounding),
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic(cubic),
            other => return Err(OpError::attribute("mode", "`nearest`, `linear` or `cubic`", other)),
        };
        let antialias = def.flag("antialias", false)?;
        if antialias && matches!(mode, Mode::Nearest(_)) {
            return Err(OpError::attribute("antialias", "0, as the mode is `nearest`", 1));
        }
        let policy = match def.string_or("keep_aspect_ratio_policy", "stretch")?.as_str() {
            "stretch" => Policy::Stretch,
            "not_larger" => Policy::NotLarger,
            "not_smaller" => Policy::NotSmaller,
            other => {
                let expected = "`stretch`, `not_larger` or `not_smaller`";
                return Err(OpError::attribute("keep_aspect_ratio_policy", expected, other));
            }
        };
        Ok(Arc::new(Resize {
            mode,
            coordinates: coordinates(&def.string_or("coordinate_transformation_mode", "half_pixel")?)?,
            antialias,
            exclude_outside: def.flag("exclude_outside", false)?,
            extrapolation: def.float_or("extrapolation_value", 0.0)?,
            axes: def.ints("axes")?,
            policy,
            scales_at: 2,
        }))
    }

    fn parse_upsample(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let mode = early_mode(def)?;
        let scales = if def.opset < 7 {
            let required = |scale: Option<f32>, name| {
                scale.ok_or_else(|| OpError::attribute(name, "a positive number", "nothing"))
            };
            let height = required(def.float("height_scale")?, "height_scale")?;
            let width = required(def.float("width_scale")?, "width_scale")?;
            Some(vec![1.0, 1.0, height, width])
        } else {
            def.floats("scales")?
        };
        if let Some(scales) = scales {
            def.lift(1, Tensor::vector(scales));
        }
        Ok(Arc::new(Resize { mode, scales_at: 1, ..Resize::early() }))
    }

    /// What held before opset 11.
    fn early() -> Resize {
        Resize {
            mode: Mode::Linear,
            coordinates: Coordinates::Asymmetric,
            antialias: false,
            exclude_outside: false,
            extrapolation: 0.0,
            axes: None,
            policy: Policy::Stretch,
            scales_at: 1,
        }
    }

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

/// What a node says of the output's extents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// Starts, then ends, of the region.
    pub region: Option<Vec<f64>>,
    /// Output extent over input extent.
    pub scales: Option<Vec<f32>>,
    /// Output extents.
    pub sizes: Option<Vec<i64>>,
}

impl Arguments {
    /// Of tensors, of which an empty one is as good as none.
    fn of(resize: &Resize, get: impl Fn(usize) -> Option<Tensor>) -> Result<Arguments, OpError> {
        let given = |index| get(index).filter(|tensor| !tensor.is_empty());
        let region = if resize.scales_at == 2 { given(REGION) } else { None };
        let scales = given(resize.scales_at).map(|tensor| tensor.to_f64()).transpose()?;
        let sizes = if resize.scales_at == 2 { given(SIZES) } else { None };
        Ok(Arguments {
            region: region.map(|tensor| tensor.to_f64()).transpose()?,
            scales: scales.map(|scales| scales.into_iter().map(|scale| scale as f32).collect()),
            sizes: sizes.map(|tensor| tensor.to_i64()).transpose()?,
        })
    }

    /// The region's start and end on each axis.
    fn region(&self, resize: &Resize, count: usize) -> Result<Vec<(f64, f64)>, OpError> {
        if resize.coordinates != Coordinates::CropAndResize {
            return Ok(vec![(0.0, 1.0); count]);
        }
        let region = self.region.as_deref().unwrap_or(&[]);
        check_count(REGION, region.len(), 2 * count)?;
        Ok((0..count).map(|i| (region[i], region[count + i])).collect())
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

/// The mode of an operator before opset 11.
fn early_mode(def: &mut NodeDef) -> Result<Mode, OpError> {
    match def.string_or("mode", "nearest")?.as_str() {
        "nearest" => Ok(Mode::Nearest(Rounding::Direction)),
        "linear" | "bilinear" => Ok(Mode::Linear),
        other => Err(OpError::attribute("mode", "`nearest` or `linear`", other)),
    }
}

fn coordinates(name: &str) -> Result<Coordinates, OpError> {
    Ok(match name {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::HalfPixelForNearest,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        other => {
            let expected = "`half_pixel`, `half_pixel_symmetric`, `pytorch_half_pixel`, `align_corners`, `asymmetric`, \
                            `tf_half_pixel_for_nn` or `tf_crop_and_resize`";
            return Err(OpError::attribute("coordinate_transformation_mode", expected, other));
        }
    })
}

fn check_count(index: usize, got: usize, expected: usize) -> Result<(), OpError> {
    if got == expected { Ok(()) } else { Err(OpError::shape(index, format!("[{expected}]"), got)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    fn scaled(attrs: &[(&str, &str)], x: &Tensor, scales: &[f32]) -> Vec<f64> {
        let attrs: Vec<(&str, Attr)> =
            attrs.iter().map(|(name, text)| (*name, Attr::String((*text).into()))).collect();
        let op = parse_at(19, "Resize", &attrs);
        let inputs = [Some(x.clone()), None, Some(Tensor::vector(scales.to_vec()))];
        try_run(&*op, &inputs).unwrap()[0].to_f64().unwrap()
    }

    #[test]
    fn linear_modes_place_their_samples() {
        let x = tensor(&[2], &[0.0, 3.0]);
        let y =
            |mode: &str| scaled(&[("mode", "linear"), ("coordinate_transformation_mode", mode)], &x, &[2.0]);
        assert_eq!(y("half_pixel"), [0.0, 0.75, 2.25, 3.0]);
        assert_eq!(y("align_corners"), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(y("asymmetric"), [0.0, 1.5, 3.0, 3.0]);
    }

    #[test]
    fn nearest_takes_any_type() {
        let op = parse_at(13, "Resize", &[]);
        let scales = || Some(Tensor::vector(vec![2f32]));
        let strings = Tensor::from_strings([2], vec!["a".into(), "b".into()]).unwrap();
        let y = try_run(&*op, &[Some(strings), None, scales()]).unwrap().remove(0);
        assert_eq!(y.as_strings().unwrap(), ["a", "a", "b", "b"]);
        let flags = Tensor::from_vec([2], vec![true, false]).unwrap();
        let y = try_run(&*op, &[Some(flags), None, scales()]).unwrap().remove(0);
        assert_eq!(y.as_slice::<bool>().unwrap(), [true, true, false, false]);
    }

    #[test]
    fn upsample_is_resize_of_its_time() {
        let mut def = NodeDef::new("Upsample", 7, [("scales".to_string(), Attr::Floats(vec![1.5]))].into());
        let op = crate::parse("", &mut def).unwrap().unwrap();
        let lifted = def.finish().unwrap().remove(0);
        assert_eq!((lifted.0, op.key()), (1, OpKey::onnx("Resize")));
        let x = tensor(&[4], &[0.0, 1.0, 2.0, 3.0]);
        let y = run(&*op, &[x, lifted.1]).remove(0);
        assert_eq!(y.to_f64().unwrap(), [0.0, 0.0, 1.0, 2.0, 2.0, 3.0]);
    }

    #[test]
    fn sizes_keep_the_aspect_ratio() {
        let shape = |policy: &str| {
            let op = parse_at(18, "Resize", &[("keep_aspect_ratio_policy", Attr::String(policy.into()))]);
            let sizes = Tensor::vector(vec![7i64, 8]);
            let y = try_run(&*op, &[Some(tensor(&[2, 4], &[0.0; 8])), None, None, Some(sizes)])
                .unwrap()
                .remove(0);
            y.shape().dims().to_vec()
        };
        assert_eq!(shape("stretch"), [7, 8]);
        assert_eq!(shape("not_larger"), [4, 8]);
        assert_eq!(shape("not_smaller"), [7, 14]);
    }

    #[test]
    fn integers_are_rounded_and_kept_in_range() {
        let op = parse_at(13, "Resize", &[("mode", Attr::String("cubic".into()))]);
        let x = Tensor::from_vec([4], vec![0u8, 255, 255, 0]).unwrap();
        let y = try_run(&*op, &[Some(x), None, Some(Tensor::vector(vec![2f32]))]).unwrap().remove(0);
        let y = y.as_slice::<u8>().unwrap().to_vec();
        assert_eq!((y[0], y[3], y[4]), (0, 255, 255));
    }

    #[test]
    fn a_region_may_reach_outside() {
        let attrs = [
            ("coordinate_transformation_mode", Attr::String("tf_crop_and_resize".into())),
            ("mode", Attr::String("linear".into())),
            ("extrapolation_value", Attr::Float(9.0)),
        ];
        let op = parse_at(13, "Resize", &attrs);
        let inputs = [
            Some(tensor(&[3], &[1.0, 2.0, 3.0])),
            Some(Tensor::vector(vec![0.5f32, 1.5])),
            None,
            Some(Tensor::vector(vec![3i64])),
        ];
        assert_eq!(try_run(&*op, &inputs).unwrap()[0].to_f64().unwrap(), [2.0, 3.0, 9.0]);
    }

    #[test]
    fn unfit_arguments_are_errors() {
        let op = parse_at(19, "Resize", &[]);
        let x = || Some(tensor(&[2, 2], &[0.0; 4]));
        let fails =
            |scales: &[f32]| try_run(&*op, &[x(), None, Some(Tensor::vector(scales.to_vec()))]).is_err();
        assert!(
            fails(&[1.0])
                && fails(&[1.0, 0.0])
                && fails(&[1.0, -1.0])
                && fails(&[f32::NAN, 1.0])
                && fails(&[1e30, 1e30])
        );
        assert!(fails(&[f32::INFINITY, 1.0]) && fails(&[]) && !fails(&[0.1, 1.0]));
        let sizes = |sizes: &[i64]| try_run(&*op, &[x(), None, None, Some(Tensor::vector(sizes.to_vec()))]);
        assert!(sizes(&[-1, 2]).is_err() && sizes(&[i64::MAX, 2]).is_err());
        assert_eq!(sizes(&[0, 3]).unwrap()[0].shape().dims(), [0, 3]);
        let empty = Some(tensor(&[0], &[]));
        assert!(try_run(&*op, &[empty, None, None, Some(Tensor::vector(vec![3i64]))]).is_err());
    }

    #[test]
    fn symbols_survive_where_nothing_changes() {
        let op = parse_at(13, "Resize", &[]);
        let n = SymDim::Symbol("N".into());
        let x = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(3), n.clone()]);
        let scales = Fact::constant(Tensor::vector(vec![1f32, 2.0, 2.0]));
        let facts = op.infer(Facts(&[Some(&x), None, Some(&scales)])).unwrap();
        assert_eq!(facts, [Fact::tensor(DType::F32, vec![n, SymDim::Known(6), SymDim::Unknown])]);
    }
}
