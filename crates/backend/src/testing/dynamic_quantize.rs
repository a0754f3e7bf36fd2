//! `DynamicQuantizeLinear`.

use inferrum_ops::dynamic_quantize::DynamicQuantizeLinear;
use inferrum_tensor::Tensor;

use super::{Case, given, random};

/// Of both signs, of one, of zeros, and of nothing.
pub fn ranges_of_every_kind() -> Vec<Case> {
    let positive = Tensor::vector(vec![0.5f32, 1.0, 2.75]);
    let negative = Tensor::vector(vec![-0.5f32, -1.0, -2.75]);
    let zeros = Tensor::vector(vec![0f32; 5]);
    [random(&[17], 1), random(&[3, 20011], 2), random(&[0, 3], 3), positive, negative, zeros]
        .map(|x| Case::new(DynamicQuantizeLinear, given([x]), 3))
        .into()
}
