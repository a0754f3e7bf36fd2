//! Sums of products in a wide type: what the references of convolutions and matrix products compute in.

/// A number in which products are summed: `f64` for floats, `i64` for integers (wrapping, so that the low bits are
/// those of the narrower type).
pub(crate) trait Accumulate: Copy + Default + bytemuck::Zeroable {
    /// `self += a * b`.
    fn add_product(&mut self, a: Self, b: Self);
}

impl Accumulate for f64 {
    fn add_product(&mut self, a: f64, b: f64) {
        *self += a * b;
    }
}

impl Accumulate for i64 {
    fn add_product(&mut self, a: i64, b: i64) {
        *self = self.wrapping_add(a.wrapping_mul(b));
    }
}

/// `y[i] += a * x[i * stride]`, for each element of `y`.
pub(crate) fn add_scaled<T: Accumulate>(y: &mut [T], a: T, x: &[T], stride: usize) {
    if stride == 1 {
        y.iter_mut().zip(x).for_each(|(y, &x)| y.add_product(a, x));
    } else {
        y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, &x)| y.add_product(a, x));
    }
}
