//! Mean and variance, as the normalisations share them.

use bytemuck::Zeroable;
use inferrum_graph::{Facts, OpError};
use inferrum_tensor::{DType, Shape, zeroed};

use crate::index::offsets;

/// Mean and population variance of a set of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Zeroable)]
#[repr(C)]
pub(crate) struct Moments {
    /// Sum over count; NaN of no numbers.
    pub(crate) mean: f64,
    /// Mean of the squared distances from the mean.
    pub(crate) variance: f64,
}

impl Moments {
    /// The moments of `values`.
    pub(crate) fn of(values: &[f64]) -> Moments {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        Moments { mean, variance }
    }

    /// `1 / sqrt(variance + epsilon)`.
    pub(crate) fn inverse_deviation(self, epsilon: f32) -> f64 {
        (self.variance + f64::from(epsilon)).sqrt().recip()
    }
}

/// For each element of `shape`, the index of the set it belongs to: all elements with the same index along the axes for
/// which `kept` holds. Also the number of sets.
pub(crate) fn sets(
    shape: &Shape,
    kept: impl Fn(usize) -> bool,
) -> (usize, impl Iterator<Item = usize> + Clone) {
    let mut strides = vec![0isize; shape.rank()];
    let mut count = 1usize;
    for axis in (0..shape.rank()).rev().filter(|&axis| kept(axis)) {
        strides[axis] = count as isize;
        count = count.saturating_mul(shape[axis]);
    }
    (count, offsets(shape, &strides, 0))
}

/// The moments of each set of elements; see [`sets`].
pub(crate) fn moments_of_sets(
    values: &[f64],
    count: usize,
    sets: impl Iterator<Item = usize> + Clone,
) -> Result<Vec<Moments>, OpError> {
    let mut moments = zeroed::<Moments>(count)?;
    let mut sizes = zeroed::<u64>(count)?;
    for (x, set) in values.iter().zip(sets.clone()) {
        moments[set].mean += x;
        sizes[set] += 1;
    }
    moments.iter_mut().zip(&sizes).for_each(|(moments, &size)| moments.mean /= size as f64);
    for (x, set) in values.iter().zip(sets) {
        moments[set].variance += (x - moments[set].mean) * (x - moments[set].mean);
    }
    moments.iter_mut().zip(&sizes).for_each(|(moments, &size)| moments.variance /= size as f64);
    Ok(moments)
}

/// Checks that input `index` is a float of 16 bits or more.
pub(crate) fn float_type(inputs: Facts<'_>, index: usize) -> Result<DType, OpError> {
    match inputs.dtype(index)? {
        dtype @ (DType::F32 | DType::F64 | DType::F16 | DType::BF16) => Ok(dtype),
        other => Err(OpError::dtype(index, "float32, float64, float16 or bfloat16", other)),
    }
}

/// The attribute `stash_type`: the type in which statistics are given.
pub(crate) fn stash_type(def: &mut inferrum_graph::NodeDef) -> Result<DType, OpError> {
    let code = def.int_or("stash_type", 1)?;
    i32::try_from(code)
        .ok()
        .and_then(DType::from_onnx_code)
        .filter(|dtype| matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16))
        .ok_or_else(|| OpError::attribute("stash_type", "the number of a float type, such as 1", code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_told_apart_by_the_kept_axes() {
        let shape = Shape::from([2, 2, 2]);
        let values = [1., 3., 10., 30., 2., 4., 20., 40.];
        let (count, of) = sets(&shape, |axis| axis == 1);
        assert_eq!((count, of.clone().collect::<Vec<_>>()), (2, vec![0, 0, 1, 1, 0, 0, 1, 1]));
        let moments = moments_of_sets(&values, count, of).unwrap();
        assert_eq!(moments[0], Moments { mean: 2.5, variance: 1.25 });
        assert_eq!(moments[0], Moments::of(&[1., 3., 2., 4.]));
        assert_eq!(moments[1], Moments::of(&[10., 30., 20., 40.]));
    }
}
