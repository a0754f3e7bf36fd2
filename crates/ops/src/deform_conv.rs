//! `DeformConv` (<https://onnx.ai/onnx/operators/onnx__DeformConv.html>), the same in all opsets.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{Tensor, Value, zeroed};
use smallvec::SmallVec;

use crate::OpEntry;
use crate::conv::{Conv, ConvGeometry, check_channels, conv_flops, group, same_float_types};
use crate::window::{Window, WindowSpec, explicit_pads, positive};

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("DeformConv", 5, DeformConv::parse)];

/// Convolution that reads its input at displaced places, interpolating linearly; outside the input all is zero.
///
/// Inputs: X `[N, C, D1, ...]`; W `[M, C / group, K1, ...]`; offset `[N, offset_group * kernel elements * axes, O1, ...]`;
/// optionally B `[M]` and mask `[N, offset_group * kernel elements, O1, ...]`. Output `[N, M, O1, ...]`. Any float.
#[derive(Debug, Clone, PartialEq)]
pub struct DeformConv {
    /// Group, kernel, strides, dilations and padding.
    pub conv: Conv,
    /// Into how many groups the input's channels are divided, each with its own offsets.
    pub offset_group: usize,
}

impl DeformConv {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let window = WindowSpec {
            kernel: positive(def, "kernel_shape")?,
            strides: positive(def, "strides")?,
            dilations: positive(def, "dilations")?,
            padding: explicit_pads(def)?,
            ceil: false,
        };
        let offset_group = def.int_or("offset_group", 1)?;
        let offset_group = usize::try_from(offset_group)
            .ok()
            .filter(|&g| g > 0)
            .ok_or_else(|| OpError::attribute("offset_group", "1 or more", offset_group))?;
        Ok(Arc::new(DeformConv { conv: Conv { group: group(def)?, window }, offset_group }))
    }

    /// Checks the offsets, or the mask, which have `per_tap` channels for each kernel element.
    fn check_field(
        &self,
        inputs: Facts<'_>,
        index: usize,
        y: &ShapeFact,
        per_tap: impl Fn(usize) -> usize,
    ) -> Result<(), OpError> {
        let (Some(field), Some(y_dims)) = (inputs.optional(index)?, y.dims()) else { return Ok(()) };
        let axes = y_dims.len() - 2;
        let taps = inputs.shape(1)?.dims().and_then(|w| {
            w[2..].iter().map(SymDim::known).try_fold(self.offset_group, |p: usize, n| p.checked_mul(n?))
        });
        let channels =
            taps.and_then(|taps| taps.checked_mul(per_tap(axes))).map_or(SymDim::Unknown, SymDim::Known);
        let expected: ShapeFact =
            [y_dims[0].clone(), channels].into_iter().chain(y_dims[2..].iter().cloned()).collect();
        if field.shape.merge(&expected).is_none() {
            return Err(OpError::shape(index, expected.to_string(), &field.shape));
        }
        Ok(())
    }
}

impl Operator for DeformConv {
    fn key(&self) -> OpKey {
        OpKey::onnx("DeformConv")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = same_float_types(inputs, 5)?;
        let (x, w) = (inputs.shape(0)?, inputs.shape(1)?);
        let y = self.conv.output_shape(x, w, 1)?;
        if x.dim(1).known().is_some_and(|channels| !channels.is_multiple_of(self.offset_group)) {
            return Err(OpError::shape(
                0,
                format!("[N, a multiple of {} offset groups, ...]", self.offset_group),
                x,
            ));
        }
        inputs.require(2)?;
        self.check_field(inputs, 2, &y, |axes| axes)?;
        check_channels(inputs, 3, &w.dim(0))?;
        self.check_field(inputs, 4, &y, |_| 1)?;
        Ok(vec![Fact::tensor(dtype, y)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let geometry = self.conv.geometry(x.shape(), w.shape())?;
        let (xs, ws, offsets) = (x.to_f64()?, w.to_f64()?, inputs.tensor(2)?.to_f64()?);
        let mask = inputs.optional(4)?.map(Tensor::to_f64).transpose()?;
        let shape = geometry.output_shape();
        let mut y = zeroed::<f64>(shape.elements())?;
        let ConvGeometry { batch, groups, in_channels, out_channels, ref window } = geometry;
        let (plane, positions, taps) = (window.input_elements(), window.positions(), window.taps());
        let (channels, axes) = (groups * in_channels, window.kernel.len());
        // What one input channel gives each kernel element at each position.
        let mut sampled = zeroed::<f64>(taps.saturating_mul(positions))?;
        for image_and_channel in 0..batch * channels {
            let (image, channel) = (image_and_channel / channels, image_and_channel % channels);
            let offset_group = image * self.offset_group + channel / (channels / self.offset_group);
            let x = &xs[image_and_channel * plane..][..plane];
            let offsets = &offsets[offset_group * taps * axes * positions..][..taps * axes * positions];
            sample_all(window, x, offsets, &mut sampled);
            if let Some(mask) = &mask {
                let mask = &mask[offset_group * taps * positions..][..taps * positions];
                sampled.iter_mut().zip(mask).for_each(|(sample, mask)| *sample *= mask);
            }
            let (group, of_group) = (channel / in_channels, channel % in_channels);
            for map in group * out_channels..(group + 1) * out_channels {
                let y = &mut y[(image * groups * out_channels + map) * positions..][..positions];
                let w = &ws[(map * in_channels + of_group) * taps..][..taps];
                for (&w, samples) in w.iter().zip(sampled.chunks_exact(positions.max(1))) {
                    y.iter_mut().zip(samples).for_each(|(y, sample)| *y += w * sample);
                }
            }
        }
        if let Some(bias) = inputs.optional(3)? {
            geometry.add_per_channel(&mut y, &bias.to_f64()?, |y, bias| *y += bias);
        }
        Ok(vec![Tensor::from_f64(x.dtype(), shape, &y)?.into()])
    }

    fn flops(&self, inputs: Facts<'_>, _outputs: &[Fact]) -> u64 {
        conv_flops(&self.conv, inputs, 0, 1)
    }
}

/// The input `x` at the displaced place of each kernel element and window; `offsets` is `[taps, axes, positions]`, the
/// result `[taps, positions]`.
fn sample_all(window: &Window, x: &[f64], offsets: &[f64], sampled: &mut [f64]) {
    let positions = window.positions();
    let axes = window.kernel.len();
    let mut place: SmallVec<[f64; 3]> = SmallVec::from_elem(0.0, axes);
    for (i, sample) in sampled.iter_mut().enumerate() {
        let (tap, position) = (i / positions, i % positions);
        let (mut tap_rest, mut position_rest) = (tap, position);
        for axis in (0..axes).rev() {
            let (t, o) = (tap_rest % window.kernel[axis], position_rest % window.output[axis]);
            (tap_rest, position_rest) = (tap_rest / window.kernel[axis], position_rest / window.output[axis]);
            let undisplaced = (o * window.strides[axis] + t * window.dilations[axis]) as f64
                - window.pads_begin[axis] as f64;
            place[axis] = undisplaced + offsets[(tap * axes + axis) * positions + position];
        }
        *sample = interpolated(x, &window.input, &place);
    }
}

/// The value at a place between elements, linear along each axis; zero outside.
fn interpolated(x: &[f64], extents: &[usize], place: &[f64]) -> f64 {
    let mut sum = 0.0;
    'corner: for corner in 0..1usize << place.len() {
        let (mut weight, mut index) = (1.0, 0);
        for (axis, (&at, &extent)) in place.iter().zip(extents).enumerate() {
            let low = at.floor();
            let upper = corner >> axis & 1 == 1;
            let (along, share) = if upper { (low + 1.0, at - low) } else { (low, 1.0 - (at - low)) };
            // Also false for NaN.
            if !(along >= 0.0 && along < extent as f64) || share == 0.0 {
                continue 'corner;
            }
            weight *= share;
            index = index * extent + along as usize;
        }
        sum += weight * x[index];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{DType, Shape};

    /// The shape of the offsets for an output of shape `y`.
    fn offset_shape(geometry: &ConvGeometry) -> Shape {
        let channels = geometry.window.taps() * geometry.window.kernel.len();
        [geometry.batch, channels].into_iter().chain(geometry.window.output.iter().copied()).collect()
    }

    fn ramp(shape: &[usize]) -> Tensor {
        let shape = Shape::from(shape);
        let values = (0..shape.elements()).map(|x| (x * 7 % 11) as f32 - 3.0).collect();
        Tensor::from_vec(shape.clone(), values).unwrap()
    }

    #[test]
    fn without_displacement_it_is_a_convolution() {
        let attrs = [
            ("pads", Attr::Ints(vec![1, 0, 1, 2])),
            ("strides", Attr::Ints(vec![2, 1])),
            ("group", Attr::Int(2)),
        ];
        let (x, w, b) = (ramp(&[2, 4, 5, 4]), ramp(&[6, 2, 3, 2]), ramp(&[6]));
        let conv = parse_at(22, "Conv", &attrs);
        let expected = run(&*conv, &[x.clone(), w.clone(), b.clone()]).remove(0);
        let deform = parse_at(22, "DeformConv", &attrs);
        let conv = (&*conv as &dyn std::any::Any).downcast_ref::<Conv>().unwrap();
        let offsets =
            Tensor::zeros(DType::F32, offset_shape(&conv.geometry(x.shape(), w.shape()).unwrap())).unwrap();
        assert_eq!(run(&*deform, &[x, w, offsets, b]).remove(0), expected);
    }

    #[test]
    fn places_between_and_outside() {
        let deform = parse_at(22, "DeformConv", &[]);
        let x = Tensor::from_vec([1, 1, 3], vec![1f32, 2., 4.]).unwrap();
        let w = Tensor::from_vec([1, 1, 1], vec![10f32]).unwrap();
        let offsets = Tensor::from_vec([1, 1, 3], vec![-0.5f32, 0.25, f32::NAN]).unwrap();
        let mask = Tensor::from_vec([1, 1, 3], vec![1f32, 2., 1.]).unwrap();
        let y = try_run(&*deform, &[Some(x), Some(w), Some(offsets), None, Some(mask)]).unwrap().remove(0);
        assert_eq!(y.as_slice::<f32>().unwrap(), [5., 50., 0.]);
    }

    #[test]
    fn misfits_are_errors() {
        let deform = parse_at(22, "DeformConv", &[("offset_group", Attr::Int(2))]);
        let inputs = |channels: usize, offsets: &[usize]| {
            [Some(ramp(&[1, channels, 3, 3])), Some(ramp(&[1, channels, 2, 2])), Some(ramp(offsets))]
        };
        assert!(try_run(&*deform, &inputs(2, &[1, 16, 2, 2])).is_ok());
        assert!(try_run(&*deform, &inputs(3, &[1, 16, 2, 2])).is_err());
        assert!(try_run(&*deform, &inputs(2, &[1, 8, 2, 2])).is_err());
        assert!(try_run(&*deform, &inputs(2, &[1, 16, 3, 2])).is_err());
    }
}
