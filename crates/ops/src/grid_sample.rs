//! `GridSample` (<https://onnx.ai/onnx/operators/onnx__GridSample.html>). Opset 16 knew two spatial axes and called the
//! modes `bilinear` and `bicubic`, as does the operator of the same name in `com.microsoft`.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};
use smallvec::SmallVec;

use crate::OpEntry;
use crate::resize::cubic;
use crate::take::take;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("GridSample", 2, GridSample::parse),
    OpEntry::microsoft("GridSample", 2, GridSample::parse),
];

/// Samples an image at places that a grid gives.
///
/// Inputs: `[N, C, D1, ..., Dr]` of any type (a real one unless the mode is nearest), grid `[N, E1, ..., Er, r]` of floats:
/// the places on the axes, last axis first, from -1 to 1. Output: `[N, C, E1, ..., Er]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridSample {
    /// How an element is made of its neighbours.
    pub mode: Mode,
    /// What lies outside the image.
    pub padding: Padding,
    /// Whether -1 and 1 are the middles of the elements at the edges; else their outer edges.
    pub align_corners: bool,
}

/// How an element is made of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The nearest; of two equally near ones the even one.
    Nearest,
    /// The two neighbours on each axis, weighted by distance.
    Linear,
    /// Four neighbours on each axis by cubic convolution of coefficient -0.75.
    Cubic,
}

/// What lies outside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    Zeros,
    /// The element at the edge.
    Border,
    /// The image, mirrored at the edges of its corner elements (with aligned corners: at their middles).
    Reflection,
}

/// Places on the spatial axes and weights of the elements that make one output element.
type Taps = SmallVec<[(usize, f64); 16]>;

impl GridSample {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let mode = match def.string_or("mode", "linear")?.as_str() {
            "linear" | "bilinear" => Mode::Linear,
            "cubic" | "bicubic" => Mode::Cubic,
            "nearest" => Mode::Nearest,
            other => return Err(OpError::attribute("mode", "`linear`, `nearest` or `cubic`", other)),
        };
        let padding = match def.string_or("padding_mode", "zeros")?.as_str() {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            other => {
                return Err(OpError::attribute("padding_mode", "`zeros`, `border` or `reflection`", other));
            }
        };
        Ok(Arc::new(GridSample { mode, padding, align_corners: def.flag("align_corners", false)? }))
    }

    /// The output's shape for an image and a grid of the given shapes.
    ///
    /// # Errors
    /// The shapes do not fit each other.
    pub fn output_shape(&self, image: &Shape, grid: &Shape) -> Result<Shape, OpError> {
        let rank = image.rank();
        if rank < 3 {
            return Err(OpError::shape(0, "[N, C, D1, ...]", image));
        }
        if grid.rank() != rank || grid[0] != image[0] || grid[rank - 1] != rank - 2 {
            return Err(OpError::shape(
                1,
                format!("[{}, {} extents, {}]", image[0], rank - 2, rank - 2),
                grid,
            ));
        }
        Ok(image[..2].iter().chain(&grid[1..rank - 1]).copied().collect())
    }

    /// The index of the element at `index` of an axis of `extent` elements; `None` for a zero.
    fn element(&self, index: i64, extent: usize) -> Option<usize> {
        let last = extent as i64 - 1;
        if (0..=last).contains(&index) {
            return usize::try_from(index).ok();
        }
        match self.padding {
            Padding::Zeros => None,
            Padding::Border => usize::try_from(index.clamp(0, last)).ok(),
            Padding::Reflection => {
                // Mirrored at the middles an image repeats after 2 (n - 1) elements, at the edges after 2 n.
                let (period, shift) = if self.align_corners { (2 * last, 0) } else { (2 * (last + 1), 1) };
                if period == 0 {
                    return Some(0);
                }
                let place = index.rem_euclid(period);
                usize::try_from(if place > last { period - shift - place } else { place }).ok()
            }
        }
    }

    /// The first neighbour of a place on an axis of `extent` elements, and the neighbours' weights.
    fn neighbours(&self, normal: f64, extent: usize) -> (i64, SmallVec<[f64; 4]>) {
        let length = extent as f64;
        let place = if self.align_corners {
            (normal + 1.0) / 2.0 * (length - 1.0)
        } else {
            ((normal + 1.0) * length - 1.0) / 2.0
        };
        // Beyond this, floats no longer tell elements apart; also keeps the integer arithmetic in range.
        let place = if place.is_nan() { -1e15 } else { place.clamp(-1e15, 1e15) };
        let left = place.floor();
        let ratio = place - left;
        match self.mode {
            Mode::Nearest => (place.round_ties_even() as i64, SmallVec::from_slice(&[1.0])),
            Mode::Linear => (left as i64, SmallVec::from_slice(&[1.0 - ratio, ratio])),
            Mode::Cubic => {
                let distances = [1.0 + ratio, ratio, 1.0 - ratio, 2.0 - ratio];
                (left as i64 - 1, distances.into_iter().map(|distance| cubic(distance, -0.75)).collect())
            }
        }
    }

    /// The elements of one plane of extents `dims` that make the element at `place` (last axis first).
    fn taps(&self, place: &[f64], dims: &[usize]) -> Taps {
        let mut taps: Taps = SmallVec::from_slice(&[(0, 1.0)]);
        for (&normal, &extent) in place.iter().rev().zip(dims) {
            let (first, weights) = self.neighbours(normal, extent);
            let mut next = Taps::new();
            for &(outer, outer_weight) in &taps {
                for (index, weight) in (first..).zip(&weights) {
                    if let Some(element) = self.element(index, extent) {
                        next.push((outer * extent + element, outer_weight * weight));
                    }
                }
            }
            taps = next;
        }
        taps
    }
}

impl Operator for GridSample {
    fn key(&self) -> OpKey {
        OpKey::onnx("GridSample")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (image, grid) = (inputs.tensor(0)?, inputs.tensor(1)?);
        if self.mode != Mode::Nearest
            && matches!(image.dtype, DType::String | DType::Complex64 | DType::Complex128)
        {
            return Err(OpError::dtype(0, "a real type, as the mode is not `nearest`", image.dtype));
        }
        if !grid.dtype.is_float() {
            return Err(OpError::dtype(1, "a float type", grid.dtype));
        }
        let shape = match (image.shape.concrete(), grid.shape.concrete()) {
            (Some(image), Some(grid)) => self.output_shape(&image, &grid)?.into(),
            _ => match image.shape.rank().or(grid.shape.rank()) {
                Some(rank) if rank >= 3 => {
                    let dims = (0..rank).map(|axis| match axis {
                        0 | 1 => image.shape.dim(axis),
                        _ => grid.shape.dim(axis - 1),
                    });
                    ShapeFact::from(dims.collect::<Vec<SymDim>>())
                }
                _ => ShapeFact::unknown(),
            },
        };
        Ok(vec![Fact::tensor(image.dtype, shape)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (image, grid) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let shape = self.output_shape(image.shape(), grid.shape())?;
        let dims = &image.shape()[2..];
        if shape.elements() == 0 {
            return Ok(vec![Tensor::zeros(image.dtype(), shape)?.into()]);
        }
        if dims.contains(&0) {
            return Err(OpError::shape(0, "an image that is not empty", image.shape()));
        }
        let (batch, channels) = (shape[0], shape[1]);
        let plane: usize = dims.iter().product();
        let places = shape.elements() / batch / channels;
        let grid = grid.to_f64()?;
        let nearest = self.mode == Mode::Nearest;
        let values = if nearest { Vec::new() } else { image.to_f64()? };
        let mut sources: Vec<usize> = zeroed(if nearest { shape.elements() } else { 0 })?;
        let mut sums: Vec<f64> = zeroed(if nearest { 0 } else { shape.elements() })?;
        for (index, place) in grid.chunks_exact(dims.len()).enumerate() {
            let taps = self.taps(place, dims);
            for channel in 0..channels {
                let map = index / places * channels + channel;
                let to = map * places + index % places;
                if nearest {
                    sources[to] = taps.first().map_or(usize::MAX, |(source, _)| map * plane + source);
                } else {
                    sums[to] =
                        taps.iter().map(|(source, weight)| weight * values[map * plane + source]).sum();
                }
            }
        }
        let y = if nearest {
            take(image, &sources, shape, 0.0)?
        } else {
            Tensor::from_f64(image.dtype(), shape, &sums)?
        };
        Ok(vec![y.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        let Some(shape) = outputs.first().and_then(Fact::concrete_shape) else { return 0 };
        let taps: u64 = match self.mode {
            Mode::Nearest => 0,
            Mode::Linear => 2,
            Mode::Cubic => 4,
        };
        let axes = shape.rank().saturating_sub(2) as u32;
        (shape.elements() as u64).saturating_mul(taps.saturating_pow(axes).saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    fn line(attrs: &[(&str, &str)], align: i64, places: &[f32]) -> Vec<f64> {
        let mut attrs: Vec<(&str, Attr)> =
            attrs.iter().map(|(n, text)| (*n, Attr::String((*text).into()))).collect();
        attrs.push(("align_corners", Attr::Int(align)));
        let op = parse_at(22, "GridSample", &attrs);
        let image = tensor(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
        run(&*op, &[image, tensor(&[1, places.len(), 1], places)])[0].to_f64().unwrap()
    }

    #[test]
    fn corners_may_be_aligned() {
        assert_eq!(line(&[], 1, &[-1.0, 0.0, 1.0]), [1.0, 2.5, 4.0]);
        assert_eq!(line(&[], 0, &[-0.75, 0.0, 1.0]), [1.0, 2.5, 2.0]);
    }

    #[test]
    fn the_outside_is_padded() {
        let padded = |padding: &str, align| {
            line(&[("padding_mode", padding), ("mode", "nearest")], align, &[-1.8, -1.2, 1.2, 1.6, f32::NAN])
        };
        assert_eq!(padded("zeros", 0)[..4], [0.0; 4]);
        assert_eq!(padded("border", 0), [1.0, 1.0, 4.0, 4.0, 1.0]);
        assert_eq!(padded("reflection", 0)[..4], [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(padded("reflection", 1)[..4], [2.0, 1.0, 4.0, 3.0]);
    }

    #[test]
    fn old_mode_names_and_ties() {
        assert_eq!(line(&[("mode", "bicubic")], 1, &[1.0 / 3.0]).len(), 1);
        assert_eq!(line(&[("mode", "nearest")], 0, &[0.0, -0.5]), [3.0, 1.0]);
    }

    #[test]
    fn places_stand_last_axis_first() {
        let op = parse_at(16, "GridSample", &[("mode", Attr::String("nearest".into()))]);
        let image = Tensor::from_strings([1, 1, 1, 2], vec!["l".into(), "r".into()]).unwrap();
        let y = run(&*op, &[image, tensor(&[1, 1, 2, 2], &[0.5, 0.0, 0.0, 2.5])]).remove(0);
        assert_eq!(y.as_strings().unwrap(), ["r", ""]);
    }

    #[test]
    fn shapes_are_checked() {
        let op = parse_at(22, "GridSample", &[]);
        let zeros = |shape: &[usize]| Some(Tensor::zeros(DType::F32, shape).unwrap());
        assert!(try_run(&*op, &[zeros(&[1, 1, 4]), zeros(&[1, 2, 2])]).is_err());
        assert!(try_run(&*op, &[zeros(&[1, 1, 0]), zeros(&[1, 2, 1])]).is_err());
        let y = try_run(&*op, &[zeros(&[1, 3, 0, 2]), zeros(&[1, 0, 5, 2])]).unwrap();
        assert_eq!(y[0].shape().dims(), [1, 3, 0, 5]);
    }
}
