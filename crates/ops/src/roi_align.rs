//! `RoiAlign` (<https://onnx.ai/onnx/operators/onnx__RoiAlign.html>). Before opset 16 there was no half-pixel shift.

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, SymDim};
use inferrum_tensor::{DType, Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::types::FLOATS;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("RoiAlign", 3, RoiAlign::parse)];

/// Pools bilinear samples of regions of images (<https://arxiv.org/abs/1703.06870>).
///
/// Inputs: `[N, C, H, W]` of floats, regions `[R, 4]` as x1, y1, x2, y2, and the image of each, int64 `[R]`. Output:
/// `[R, C, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RoiAlign {
    /// Extents of the output.
    pub size: [usize; 2],
    /// Whether the greatest sample is taken; else their mean.
    pub max: bool,
    /// Whether regions are shifted by half a pixel; if not, regions smaller than a pixel are widened to one.
    pub half_pixel: bool,
    /// Samples of an output element on each axis; as many as pixels when `None`.
    pub sampling: Option<usize>,
    /// What the regions' coordinates are multiplied by.
    pub scale: f32,
}

/// A sample: the four pixels around it and their weights.
type Sample = [(usize, f64); 4];

impl RoiAlign {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let max = match def.string_or("mode", "avg")?.as_str() {
            "avg" => false,
            "max" => true,
            other => return Err(OpError::attribute("mode", "`avg` or `max`", other)),
        };
        let half_pixel = match def.string("coordinate_transformation_mode")?.as_deref() {
            None => def.opset >= 16,
            Some("half_pixel") => true,
            Some("output_half_pixel") => false,
            Some(other) => {
                let expected = "`half_pixel` or `output_half_pixel`";
                return Err(OpError::attribute("coordinate_transformation_mode", expected, other));
            }
        };
        let sampling = match def.int_or("sampling_ratio", 0)? {
            0 => None,
            n => Some(bounded("sampling_ratio", n, 0)?),
        };
        let height = def.int_or("output_height", 1)?;
        let width = def.int_or("output_width", 1)?;
        Ok(Arc::new(RoiAlign {
            size: [bounded("output_height", height, 1)?, bounded("output_width", width, 1)?],
            max,
            half_pixel,
            sampling,
            scale: def.float_or("spatial_scale", 1.0)?,
        }))
    }

    /// Start and length of a region on one axis.
    fn extent(&self, from: f64, to: f64) -> (f64, f64) {
        let (scale, shift) = (f64::from(self.scale), if self.half_pixel { 0.5 } else { 0.0 });
        let start = from * scale - shift;
        let length = to * scale - shift - start;
        (start, if self.half_pixel { length } else { length.max(1.0) })
    }

    /// Places of the samples of one axis, those of an output element after each other, and how many those are.
    fn places(
        &self,
        (start, length): (f64, f64),
        size: usize,
        limit: usize,
    ) -> Result<(Vec<f64>, usize), OpError> {
        let bin = length / size as f64;
        let count = match self.sampling {
            Some(count) => count as f64,
            // In single precision, where lengths that ought to be whole are.
            None => f64::from((bin as f32).ceil().max(0.0)),
        };
        // More samples than 64 a pixel come only from a region that is far greater than the image.
        if count * size as f64 > 64.0 * (limit as f64 + 1.0) + 65536.0 {
            let reason = format!("a region of length {length} needs too many samples of an image of {limit}");
            return Err(OpError::value(1, reason));
        }
        let count = count as usize;
        let at = |i: usize| start + bin * ((i / count) as f64 + ((i % count) as f64 + 0.5) / count as f64);
        Ok(((0..size * count).map(at).collect(), count))
    }

    fn pool(
        &self,
        image: &[f64],
        width: usize,
        (ys, y_count): (&[f64], usize),
        (xs, x_count): (&[f64], usize),
    ) -> Vec<f64> {
        let height = image.len() / width.max(1);
        let mut pooled = Vec::with_capacity(self.size[0] * self.size[1]);
        for bin_y in 0..self.size[0] {
            for bin_x in 0..self.size[1] {
                let mut sum = 0.0;
                let mut greatest: Option<f64> = None;
                for &y in &ys[bin_y * y_count..][..y_count] {
                    for &x in &xs[bin_x * x_count..][..x_count] {
                        let parts = sample(y, x, height, width)
                            .map(|(place, weight)| if weight == 0.0 { 0.0 } else { weight * image[place] });
                        sum += parts.iter().sum::<f64>();
                        // The greatest weighted pixel, not the greatest sample: what every implementation does.
                        let part = parts.into_iter().fold(f64::NEG_INFINITY, f64::max);
                        greatest = Some(greatest.map_or(part, |greatest| greatest.max(part)));
                    }
                }
                let count = (y_count * x_count).max(1) as f64;
                pooled.push(if self.max { greatest.unwrap_or(0.0) } else { sum / count });
            }
        }
        pooled
    }
}

/// An attribute that counts; it may be read from a file but not be absurd.
fn bounded(name: &str, n: i64, least: usize) -> Result<usize, OpError> {
    let fits = |n: &usize| (least..=1 << 16).contains(n);
    usize::try_from(n)
        .ok()
        .filter(fits)
        .ok_or_else(|| OpError::attribute(name, format!("{least} to 65536"), n))
}

/// The pixels around a place and their weights; all 0 for a place outside the image.
fn sample(y: f64, x: f64, height: usize, width: usize) -> Sample {
    let outside = |place: f64, extent: usize| !(-1.0..=extent as f64).contains(&place) || extent == 0;
    if outside(y, height) || outside(x, width) {
        return [(0, 0.0); 4];
    }
    let neighbours = |place: f64, extent: usize| {
        let low = (place.max(0.0) as usize).min(extent - 1);
        let high = (low + 1).min(extent - 1);
        let ratio = if low == extent - 1 { 0.0 } else { place.max(0.0) - low as f64 };
        (low, high, ratio)
    };
    let (top, bottom, down) = neighbours(y, height);
    let (left, right, across) = neighbours(x, width);
    [
        (top * width + left, (1.0 - down) * (1.0 - across)),
        (top * width + right, (1.0 - down) * across),
        (bottom * width + left, down * (1.0 - across)),
        (bottom * width + right, down * across),
    ]
}

/// Checks image and region shapes as far as they are known; gives the number of regions.
pub(crate) fn regions(inputs: Facts<'_>, columns: usize) -> Result<SymDim, OpError> {
    let (image, rois) = (inputs.tensor(0)?, inputs.tensor(1)?);
    FLOATS.check(0, image.dtype)?;
    if rois.dtype != image.dtype {
        return Err(OpError::dtype(1, image.dtype.to_string(), rois.dtype));
    }
    if image.shape.rank().is_some_and(|rank| rank != 4) {
        return Err(OpError::shape(0, "[N, C, H, W]", &image.shape));
    }
    let width = rois.shape.dim(1).known();
    if rois.shape.rank().is_some_and(|rank| rank != 2) || width.is_some_and(|width| width != columns) {
        return Err(OpError::shape(1, format!("[R, {columns}]"), &rois.shape));
    }
    Ok(rois.shape.dim(0))
}

impl Operator for RoiAlign {
    fn key(&self) -> OpKey {
        OpKey::onnx("RoiAlign")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let count = regions(inputs, 4)?;
        let batch = inputs.tensor(2)?;
        if batch.dtype != DType::I64 {
            return Err(OpError::dtype(2, "int64", batch.dtype));
        }
        let one_axis = batch.shape.rank().is_none_or(|rank| rank == 1);
        let count = count.merge(&batch.shape.dim(0)).filter(|_| one_axis).ok_or_else(|| {
            OpError::shape(2, format!("[{count}], one image for each region"), &batch.shape)
        })?;
        let image = inputs.tensor(0)?;
        let dims = vec![count, image.shape.dim(1), self.size[0].into(), self.size[1].into()];
        Ok(vec![Fact::tensor(image.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let image = inputs.tensor(0)?;
        let &[images, channels, height, width] = image.shape().dims() else {
            return Err(OpError::shape(0, "[N, C, H, W]", image.shape()));
        };
        let rois = inputs.tensor(1)?.to_f64()?;
        let batches = inputs.ints(2)?;
        let shape = Shape::from([batches.len(), channels, self.size[0], self.size[1]]);
        let mut y: Vec<f64> = zeroed(shape.elements())?;
        let values = image.to_f64()?;
        let plane = height * width;
        if !y.is_empty() && plane > 0 {
            let region_size = channels * self.size[0] * self.size[1];
            for ((y, roi), &batch) in y.chunks_exact_mut(region_size).zip(rois.chunks_exact(4)).zip(&batches)
            {
                let batch = usize::try_from(batch).ok().filter(|&batch| batch < images).ok_or_else(|| {
                    OpError::value(2, format!("images are 0 to {}, got {batch}", images as i64 - 1))
                })?;
                let (xs, x_count) = self.places(self.extent(roi[0], roi[2]), self.size[1], width)?;
                let (ys, y_count) = self.places(self.extent(roi[1], roi[3]), self.size[0], height)?;
                for (channel, y) in y.chunks_exact_mut(self.size[0] * self.size[1]).enumerate() {
                    let image = &values[(batch * channels + channel) * plane..][..plane];
                    y.copy_from_slice(&self.pool(image, width, (&ys, y_count), (&xs, x_count)));
                }
            }
        }
        Ok(vec![Tensor::from_f64(image.dtype(), shape, &y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;

    fn image() -> Tensor {
        Tensor::from_vec([1, 1, 4, 4], (0..16).map(|i| i as f32).collect()).unwrap()
    }

    fn align(opset: i64, attrs: &[(&str, Attr)], roi: [f32; 4]) -> Vec<f64> {
        let op = parse_at(opset, "RoiAlign", attrs);
        let rois = Tensor::from_vec([1, 4], roi.to_vec()).unwrap();
        run(&*op, &[image(), rois, Tensor::vector(vec![0i64])])[0].to_f64().unwrap()
    }

    #[test]
    fn the_middle_of_a_linear_image_is_its_mean() {
        // Pixel (x, y) holds 4 y + x at its middle, which lies at x + 0.5.
        assert_eq!(align(16, &[], [1.0, 1.0, 3.0, 3.0]), [7.5]);
        let attrs = [("output_height", Attr::Int(2)), ("sampling_ratio", Attr::Int(3))];
        assert_eq!(align(16, &attrs, [1.0, 1.0, 3.0, 3.0]), [5.5, 9.5]);
        assert_eq!(align(10, &[], [1.0, 1.0, 3.0, 3.0]), [10.0]);
    }

    #[test]
    fn places_outside_are_zero() {
        assert_eq!(align(16, &[("mode", Attr::String("max".into()))], [10.0, 10.0, 12.0, 12.0]), [0.0]);
    }

    #[test]
    fn unfit_regions_are_errors() {
        let op = parse_at(16, "RoiAlign", &[]);
        let run = |roi: [f32; 4], batch: i64| {
            let rois = Tensor::from_vec([1, 4], roi.to_vec()).unwrap();
            try_run(&*op, &[Some(image()), Some(rois), Some(Tensor::vector(vec![batch]))])
        };
        assert!(run([0.0, 0.0, 1.0, 1.0], 1).is_err() && run([0.0, 0.0, 1.0, 1.0], -1).is_err());
        assert!(run([0.0, 0.0, 1e30, 1.0], 0).is_err() && run([0.0, 0.0, f32::NAN, 1.0], 0).is_ok());
        let none = Some(Tensor::zeros(DType::F32, [0, 4]).unwrap());
        let y = try_run(&*op, &[Some(image()), none, Some(Tensor::vector(Vec::<i64>::new()))]).unwrap();
        assert_eq!(y[0].shape().dims(), [0, 1, 1, 1]);
    }
}
