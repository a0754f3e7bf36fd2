//! `MaxRoiPool` (<https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html>).

use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Shape, Tensor, Value, zeroed};

use crate::OpEntry;
use crate::roi_align::regions;

pub(crate) const OPERATORS: &[OpEntry] = &[OpEntry::onnx("MaxRoiPool", 2, MaxRoiPool::parse)];

/// The greatest pixels of regions of images, as in Fast R-CNN (<https://arxiv.org/abs/1504.08083>).
///
/// Inputs: `[N, C, H, W]` of floats, regions `[R, 5]` as image, x1, y1, x2, y2, both ends included. Output:
/// `[R, C, height, width]`, 0 where a part of a region holds no pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxRoiPool {
    /// Extents of the output.
    pub size: [usize; 2],
    /// What the regions' coordinates are multiplied by.
    pub scale: f32,
}

impl MaxRoiPool {
    fn parse(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
        let given = def.ints("pooled_shape")?.unwrap_or_default();
        let fits = |&n: &i64| usize::try_from(n).ok().filter(|n| (1..=1 << 16).contains(n));
        let size: Option<Vec<usize>> = given.iter().map(fits).collect();
        let Some(&[height, width]) = size.as_deref() else {
            return Err(OpError::attribute(
                "pooled_shape",
                "height and width, 1 to 65536",
                format!("{given:?}"),
            ));
        };
        Ok(Arc::new(MaxRoiPool { size: [height, width], scale: def.float_or("spatial_scale", 1.0)? }))
    }

    /// First pixel and the one after the last of each part of a region on one axis.
    fn bins(&self, from: f64, to: f64, size: usize, extent: usize) -> Vec<(usize, usize)> {
        let scale = f64::from(self.scale);
        let (start, end) = ((from * scale).round(), (to * scale).round());
        let bin = (end - start + 1.0).max(1.0) / size as f64;
        let pixel = |place: f64| (place + start).clamp(0.0, extent as f64) as usize;
        (0..size).map(|i| (pixel((i as f64 * bin).floor()), pixel(((i + 1) as f64 * bin).ceil()))).collect()
    }
}

impl Operator for MaxRoiPool {
    fn key(&self) -> OpKey {
        OpKey::onnx("MaxRoiPool")
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let count = regions(inputs, 5)?;
        let image = inputs.tensor(0)?;
        let dims = vec![count, image.shape.dim(1), self.size[0].into(), self.size[1].into()];
        Ok(vec![Fact::tensor(image.dtype, dims)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let image = inputs.tensor(0)?;
        let &[images, channels, height, width] = image.shape().dims() else {
            return Err(OpError::shape(0, "[N, C, H, W]", image.shape()));
        };
        let rois = inputs.tensor(1)?;
        let shape = Shape::from([rois.shape()[0], channels, self.size[0], self.size[1]]);
        let mut y: Vec<f64> = zeroed(shape.elements())?;
        let values = image.to_f64()?;
        let plane = self.size[0] * self.size[1];
        for (index, y) in y.chunks_exact_mut(plane).enumerate() {
            let (region, channel) = (index / channels, index % channels);
            let roi = &rois.to_f64()?[region * 5..][..5];
            if !(0.0..images as f64).contains(&roi[0]) {
                return Err(OpError::value(
                    1,
                    format!("images are 0 to {}, got {}", images as i64 - 1, roi[0]),
                ));
            }
            let image = &values[(roi[0] as usize * channels + channel) * height * width..][..height * width];
            let rows = self.bins(roi[2], roi[4], self.size[0], height);
            let columns = self.bins(roi[1], roi[3], self.size[1], width);
            for (place, y) in y.iter_mut().enumerate() {
                let ((top, bottom), (left, right)) =
                    (rows[place / self.size[1]], columns[place % self.size[1]]);
                let pixels =
                    (top..bottom).flat_map(|row| &image[row * width + left..row * width + right.max(left)]);
                *y = pixels.copied().reduce(f64::max).unwrap_or(0.0);
            }
        }
        Ok(vec![Tensor::from_f64(image.dtype(), shape, &y)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{parse_at, try_run};
    use inferrum_graph::Attr;

    fn pool(size: [i64; 2], roi: [f32; 5]) -> Result<Vec<f64>, OpError> {
        let op = parse_at(22, "MaxRoiPool", &[("pooled_shape", Attr::Ints(size.to_vec()))]);
        let image = Tensor::from_vec([1, 1, 3, 3], (0..9).map(|i| i as f32 - 20.0).collect()).unwrap();
        let rois = Tensor::from_vec([1, 5], roi.to_vec()).unwrap();
        try_run(&*op, &[Some(image), Some(rois)]).map(|y| y[0].to_f64().unwrap())
    }

    #[test]
    fn ends_are_included_and_nothing_is_zero() {
        assert_eq!(pool([1, 1], [0.0, 0.0, 0.0, 1.0, 1.0]).unwrap(), [-16.0]);
        assert_eq!(pool([1, 2], [0.0, 0.0, 0.0, 2.0, 0.0]).unwrap(), [-19.0, -18.0]);
        assert_eq!(pool([1, 2], [0.0, 2.0, 2.0, 5.0, 5.0]).unwrap(), [-12.0, 0.0]);
    }

    #[test]
    fn images_out_of_range_are_errors() {
        for image in [-1.0, 1.0, f32::NAN] {
            assert!(pool([1, 1], [image, 0.0, 0.0, 1.0, 1.0]).is_err());
        }
        assert!(pool([1, 1], [0.0, f32::NAN, -1e30, 1e30, f32::INFINITY]).is_ok());
    }
}
