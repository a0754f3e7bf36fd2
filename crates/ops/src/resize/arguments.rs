//! The inputs that say what the output's extents are.

use inferrum_graph::OpError;
use inferrum_tensor::Tensor;

use super::{Coordinates, REGION, Resize, SIZES, check_count};

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
    pub(super) fn of(resize: &Resize, get: impl Fn(usize) -> Option<Tensor>) -> Result<Arguments, OpError> {
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
    pub(super) fn region(&self, resize: &Resize, count: usize) -> Result<Vec<(f64, f64)>, OpError> {
        if resize.coordinates != Coordinates::CropAndResize {
            return Ok(vec![(0.0, 1.0); count]);
        }
        let region = self.region.as_deref().unwrap_or(&[]);
        check_count(REGION, region.len(), 2 * count)?;
        Ok((0..count).map(|i| (region[i], region[count + i])).collect())
    }
}
