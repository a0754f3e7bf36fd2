//! How one axis is resized: which input elements an output element is made of, and with which weights.

use inferrum_graph::OpError;
use inferrum_tensor::{AllocationLimit, zeroed};

use super::{Coordinates, Mode, Policy, Resize, Rounding, SIZES};

/// How one axis is resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// Extent of the data.
    pub input: usize,
    /// Extent of the output.
    pub output: usize,
    /// Output over input as a fraction: numerator and denominator. Kept apart so that sizes give exact places.
    pub scale: (f64, f64),
    /// Start and end of the region, as fractions of the data.
    pub region: (f64, f64),
}

/// The input elements of each output element of one axis, and their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    /// For each output element the first input element.
    pub starts: Vec<usize>,
    /// The weights of output element `i`, from its first input element on: `weights[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<usize>,
    /// All weights.
    pub weights: Vec<f64>,
    /// For each output element, whether it lies outside the data and takes the extrapolation value.
    pub outside: Vec<bool>,
}

impl Axis {
    /// An axis that stays as it is.
    pub(super) fn identity(extent: usize) -> Axis {
        Axis { input: extent, output: extent, scale: (1.0, 1.0), region: (0.0, 1.0) }
    }

    /// An axis whose extent is multiplied by `scale` (input `index` of the node). A region does not change the extent.
    pub(super) fn scaled(index: usize, input: usize, scale: f32) -> Result<Axis, OpError> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(OpError::value(index, format!("scales are above 0 and finite, got {scale}")));
        }
        // In single precision, as exporters computed the scale: 10 * 0.7 is to be 7.
        let output = (input as f32 * scale).floor();
        if output > u32::MAX as f32 {
            return Err(OpError::value(index, format!("scale {scale} makes extent {input} into {output}")));
        }
        // A scale that is a rounded quotient of the extents stands for that quotient: 5 / (5/3) is to be 3.
        let exact = f64::from(output) / input as f64;
        let rounded = (f64::from(scale) - exact).abs() <= 1e-6 * exact;
        let scale = if rounded { (f64::from(output), input as f64) } else { (f64::from(scale), 1.0) };
        Ok(Axis { input, output: output as usize, scale, region: (0.0, 1.0) })
    }

    /// Whether the output is the data.
    pub(super) fn is_identity(&self, resize: &Resize) -> bool {
        let region = resize.coordinates == Coordinates::CropAndResize && self.region != (0.0, 1.0);
        self.input == self.output && self.scale.0 == self.scale.1 && !region
    }

    /// Where output element `x` lies in the data.
    fn place(&self, resize: &Resize, x: usize) -> f64 {
        let (numerator, denominator) = self.scale;
        // The nearest element is a choice, and a scale stands for the decimal that was rounded to it: 17 / 1.7 is to be
        // 10, as it is in single precision, in which exporters and ONNX Runtime compute.
        let unscaled = |x: f64| match resize.mode {
            Mode::Nearest(_) => f64::from((x * denominator / numerator) as f32),
            Mode::Linear | Mode::Cubic(_) => x * denominator / numerator,
        };
        let x = x as f64;
        let input = self.input as f64;
        let length = numerator * input / denominator;
        let half_pixel = unscaled(x + 0.5) - 0.5;
        match resize.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::PytorchHalfPixel if self.output <= 1 => 0.0,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => input / 2.0 * (1.0 - self.output as f64 / length) + half_pixel,
            Coordinates::AlignCorners if length == 1.0 || self.output <= 1 => 0.0,
            Coordinates::AlignCorners => x * (input - 1.0) / (length - 1.0),
            Coordinates::Asymmetric => unscaled(x),
            Coordinates::HalfPixelForNearest => unscaled(x + 0.5),
            Coordinates::CropAndResize => {
                // Sum and difference in single precision, so that 0.1 and 0.9 are around 0.5.
                let (start, end) = self.region;
                let rounded = |value: f64| f64::from(value as f32);
                if self.output <= 1 {
                    0.5 * rounded(start + end) * (input - 1.0)
                } else {
                    start * (input - 1.0)
                        + x * rounded(end - start) * (input - 1.0) / (self.output as f64 - 1.0)
                }
            }
        }
    }

    /// The taps of every output element. The data must not be empty where the output is not.
    ///
    /// # Errors
    /// The filter is far wider than the data; memory.
    pub fn taps(&self, resize: &Resize) -> Result<Taps, OpError> {
        let mut taps = Taps {
            starts: zeroed(self.output)?,
            offsets: zeroed(self.output.saturating_add(1))?,
            weights: Vec::new(),
            outside: zeroed(self.output)?,
        };
        if self.input == 0 {
            return Ok(taps);
        }
        let filter = Filter::new(self, resize)?;
        let last = self.input as i64 - 1;
        let mut row: Vec<f64> = Vec::new();
        for x in 0..self.output {
            let place = self.place(resize, x);
            if resize.coordinates == Coordinates::CropAndResize && !(0.0..=last as f64).contains(&place) {
                taps.outside[x] = true;
            }
            let left = filter.fill(place, &mut row);
            if resize.exclude_outside && !matches!(resize.mode, Mode::Nearest(_)) {
                exclude_outside(&mut row, left, last);
            }
            // Taps beyond an edge are those at the edge.
            let first = left.clamp(0, last);
            let end = left.saturating_add(row.len() as i64 - 1).clamp(first, last);
            taps.starts[x] = first as usize;
            let offset = taps.weights.len();
            let count = (end - first + 1) as usize;
            AllocationLimit::check::<f64>(offset.saturating_add(count))?;
            taps.weights.try_reserve(count).map_err(|_| out_of_memory(count))?;
            taps.weights.resize(offset + count, 0.0);
            for (tap, weight) in (left..).zip(&row) {
                taps.weights[offset + (tap.clamp(first, end) - first) as usize] += weight;
            }
            taps.offsets[x + 1] = taps.weights.len();
        }
        Ok(taps)
    }
}

/// The axes whose extents `inputs` become `sizes` under `policy`.
pub(super) fn sized(inputs: &[usize], sizes: &[i64], policy: Policy) -> Result<Vec<Axis>, OpError> {
    let mut axes = Vec::with_capacity(inputs.len());
    for (&input, &size) in inputs.iter().zip(sizes) {
        let output = usize::try_from(size)
            .map_err(|_| OpError::value(SIZES, format!("sizes are 0 or more, got {size}")))?;
        if input == 0 && output > 0 {
            return Err(OpError::value(SIZES, format!("an extent of 0 cannot become {output}")));
        }
        let scale = if input == 0 { (1.0, 1.0) } else { (output as f64, input as f64) };
        axes.push(Axis { input, output, scale, region: (0.0, 1.0) });
    }
    let ratio = |axis: &Axis| axis.scale.0 / axis.scale.1;
    let pick = |take: fn(f64, f64) -> f64| axes.iter().map(ratio).reduce(take);
    let common = match policy {
        Policy::Stretch => None,
        Policy::NotLarger => pick(f64::min),
        Policy::NotSmaller => pick(f64::max),
    };
    if let Some(scale) = common {
        for axis in &mut axes {
            axis.output = (scale * axis.input as f64 + 0.5).floor() as usize;
            axis.scale = (scale, 1.0);
        }
    }
    Ok(axes)
}

/// The weights around a place.
struct Filter {
    mode: Mode,
    /// How much the filter is stretched, as a factor of distances: 1 or less.
    stretch: f64,
    shrinks: bool,
    /// Taps left of the place's left neighbour, and taps in all.
    before: i64,
    count: usize,
}

impl Filter {
    fn new(axis: &Axis, resize: &Resize) -> Result<Filter, OpError> {
        let scale = axis.scale.0 / axis.scale.1;
        let stretch = if resize.antialias { scale.min(1.0) } else { 1.0 };
        let radius = match resize.mode {
            Mode::Nearest(_) | Mode::Linear => 1.0,
            Mode::Cubic(_) => 2.0,
        };
        let before = -((-radius / stretch).floor() + 1.0);
        // Every element has a weight at the least; far more taps come only from a region far beyond the data.
        if before > 16.0 * axis.input as f64 + 16.0 {
            let reason = format!(
                "antialiasing by scale {scale} needs a filter far wider than the data's {}",
                axis.input
            );
            return Err(OpError::Unsupported(reason));
        }
        let before = before as i64;
        Ok(Filter {
            mode: resize.mode,
            stretch,
            shrinks: scale < 1.0,
            before,
            count: 2 + 2 * before as usize,
        })
    }

    /// Fills `row` with the weights around `place`; gives the tap of the first.
    fn fill(&self, place: f64, row: &mut Vec<f64>) -> i64 {
        row.clear();
        if let Mode::Nearest(rounding) = self.mode {
            row.push(1.0);
            return nearest(place, rounding, self.shrinks);
        }
        // The left neighbour is never the place itself.
        let left = place.ceil() - 1.0;
        let ratio = place - left;
        let distances = (0..self.count).map(|tap| (tap as f64 - self.before as f64 - ratio) * self.stretch);
        match self.mode {
            Mode::Cubic(a) => row.extend(distances.map(|distance| cubic(distance.abs(), f64::from(a)))),
            _ => row.extend(distances.map(|distance| (1.0 - distance.abs()).max(0.0))),
        }
        if self.stretch < 1.0 {
            normalize(row);
        }
        (left as i64).saturating_sub(self.before)
    }
}

fn nearest(place: f64, rounding: Rounding, shrinks: bool) -> i64 {
    let rounded = match rounding {
        Rounding::PreferFloor => (place - 0.5).ceil(),
        Rounding::PreferCeil => (place + 0.5).floor(),
        Rounding::Floor => place.floor(),
        Rounding::Ceil => place.ceil(),
        Rounding::Direction if shrinks => place.ceil(),
        Rounding::Direction => place.floor(),
    };
    rounded as i64
}

/// The cubic convolution kernel, equation (4) of <https://ieeexplore.ieee.org/document/1163711>.
pub(crate) fn cubic(distance: f64, a: f64) -> f64 {
    if distance <= 1.0 {
        ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
    } else if distance < 2.0 {
        ((a * distance - 5.0 * a) * distance + 8.0 * a) * distance - 4.0 * a
    } else {
        0.0
    }
}

fn exclude_outside(row: &mut [f64], left: i64, last: i64) {
    for (tap, weight) in (left..).zip(row.iter_mut()) {
        if !(0..=last).contains(&tap) {
            *weight = 0.0;
        }
    }
    normalize(row);
}

fn normalize(row: &mut [f64]) {
    let sum: f64 = row.iter().sum();
    if sum != 0.0 {
        row.iter_mut().for_each(|weight| *weight /= sum);
    }
}

fn out_of_memory(count: usize) -> OpError {
    inferrum_tensor::TensorError::OutOfMemory { bytes: count.saturating_mul(size_of::<f64>()) }.into()
}

impl Taps {
    /// `[outer, input, inner]` resized to `[outer, output, inner]`.
    pub(super) fn apply(
        &self,
        values: &[f64],
        (outer, input, inner): (usize, usize, usize),
        extrapolation: f64,
    ) -> Result<Vec<f64>, OpError> {
        let output = self.starts.len();
        let mut resized: Vec<f64> = zeroed(outer.saturating_mul(output).saturating_mul(inner))?;
        if resized.is_empty() {
            return Ok(resized);
        }
        for (row, sums) in resized.chunks_exact_mut(inner).enumerate() {
            let x = row % output;
            if self.outside[x] {
                sums.fill(extrapolation);
                continue;
            }
            let first = row / output * input + self.starts[x];
            for (tap, weight) in (first..).zip(&self.weights[self.offsets[x]..self.offsets[x + 1]]) {
                sums.iter_mut().zip(&values[tap * inner..]).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        Ok(resized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(mode: Mode, antialias: bool, exclude_outside: bool) -> Resize {
        Resize { mode, antialias, exclude_outside, coordinates: Coordinates::HalfPixel, ..Resize::early() }
    }

    #[test]
    fn weights_sum_to_one() {
        for (input, output) in [(1, 7), (7, 1), (17, 5), (5, 17), (3, 3)] {
            let axis = sized(&[input], &[output as i64], Policy::Stretch).unwrap()[0];
            for mode in [Mode::Linear, Mode::Cubic(-0.5), Mode::Nearest(Rounding::Ceil)] {
                for antialias in [false, true] {
                    let taps = axis.taps(&resize(mode, antialias, true)).unwrap();
                    for x in 0..output {
                        let weights = &taps.weights[taps.offsets[x]..taps.offsets[x + 1]];
                        assert!(
                            (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12,
                            "{mode:?} {input} {output} {x}"
                        );
                        assert!(taps.starts[x] + weights.len() <= input);
                    }
                }
            }
        }
    }

    #[test]
    fn the_nearest_element_is_that_of_the_decimal_scale() {
        let nearest = |input: usize, scale: f32, coordinates, rounding| {
            let resize = Resize { mode: Mode::Nearest(rounding), coordinates, ..Resize::early() };
            Axis::scaled(2, input, scale).unwrap().taps(&resize).unwrap().starts
        };
        // 17 / 1.7 is 10, though the nearest float to 1.7 is a little above it.
        let starts = nearest(12, 1.7, Coordinates::Asymmetric, Rounding::Floor);
        assert_eq!(starts, (0..20).map(|x| x * 10 / 17).collect::<Vec<_>>());
        // (3 + 0.5) / 0.7 - 0.5 is 4.5, though the nearest float to 0.7 is a little below it.
        assert_eq!(nearest(9, 0.7, Coordinates::HalfPixel, Rounding::PreferFloor), [0, 2, 3, 4, 6, 7]);
    }

    #[test]
    fn halves_are_rounded_as_asked() {
        let rounded = |rounding| [-0.5, 0.5, 1.5, 2.0].map(|place| nearest(place, rounding, false));
        assert_eq!(rounded(Rounding::PreferFloor), [-1, 0, 1, 2]);
        assert_eq!(rounded(Rounding::PreferCeil), [0, 1, 2, 2]);
        assert_eq!(rounded(Rounding::Floor), [-1, 0, 1, 2]);
        assert_eq!(rounded(Rounding::Ceil), [0, 1, 2, 2]);
    }
}
