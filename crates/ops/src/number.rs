//! Two number types in which the references of arithmetic operators work: `f64` for floats, `i128` for integers and
//! `bool`. Elements are read exactly and each result is rounded (wrapped) once, when it is written.

use std::cmp::Ordering;

use inferrum_graph::OpError;
use inferrum_tensor::{DType, Real, Shape, Tensor, TensorError, dispatch, zeroed};

/// What a reference may do with a number without asking which it is.
pub(crate) trait Number: Copy + bytemuck::Zeroable + PartialOrd {
    /// Nothing added.
    const ZERO: Self;
    /// Nothing multiplied.
    const ONE: Self;

    /// The elements of a tensor.
    ///
    /// # Errors
    /// The elements are no numbers; memory.
    fn read(tensor: &Tensor) -> Result<Vec<Self>, OpError>;

    /// A tensor of `dtype`: floats are rounded, integers wrapped, and `bool` is whether the number is not zero.
    ///
    /// # Errors
    /// The type is no number; the count does not fit the shape; memory.
    fn write(dtype: DType, shape: Shape, numbers: &[Self]) -> Result<Tensor, OpError>;

    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// The quotient; of integers truncated, and 0 where the divisor is.
    fn over(self, divisor: Self) -> Self;
    /// Without its sign.
    fn magnitude(self) -> Self;
    /// A count.
    fn count(n: usize) -> Self;
    /// Whether it is NaN.
    fn is_nan(self) -> bool;
    /// NumPy's order for sorting: NaN is the greatest, the zeros are equal.
    fn order(self, other: Self) -> Ordering;

    /// The greater; NaN if either is.
    fn greater(self, other: Self) -> Self {
        if self.order(other).is_lt() { other } else { self }
    }

    /// The lesser; NaN if either is.
    fn lesser(self, other: Self) -> Self;
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    fn read(tensor: &Tensor) -> Result<Vec<f64>, OpError> {
        Ok(tensor.to_f64()?)
    }
    fn write(dtype: DType, shape: Shape, numbers: &[f64]) -> Result<Tensor, OpError> {
        Ok(Tensor::from_f64(dtype, shape, numbers)?)
    }
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    fn times(self, other: f64) -> f64 {
        self * other
    }
    fn over(self, divisor: f64) -> f64 {
        self / divisor
    }
    fn magnitude(self) -> f64 {
        self.abs()
    }
    fn count(n: usize) -> f64 {
        n as f64
    }
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    fn order(self, other: f64) -> Ordering {
        self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
    fn lesser(self, other: f64) -> f64 {
        if self.is_nan() || self <= other { self } else { other }
    }
}

impl Number for i128 {
    const ZERO: i128 = 0;
    const ONE: i128 = 1;

    fn read(tensor: &Tensor) -> Result<Vec<i128>, OpError> {
        let not_real = || TensorError::DType { expected: "a real type".into(), got: tensor.dtype() };
        let mut numbers = zeroed::<i128>(tensor.len())?;
        dispatch!(real, tensor.dtype(), T => {
            for (number, &element) in numbers.iter_mut().zip(tensor.as_slice::<T>()?) {
                *number = element.to_i128();
            }
        }, else return Err(not_real().into()));
        Ok(numbers)
    }
    fn write(dtype: DType, shape: Shape, numbers: &[i128]) -> Result<Tensor, OpError> {
        let not_real = || TensorError::DType { expected: "a real type".into(), got: dtype };
        dispatch!(real, dtype, T => {
            let mut elements = zeroed::<T>(numbers.len())?;
            for (element, &number) in elements.iter_mut().zip(numbers) {
                *element = <T as Real>::from_i128(number);
            }
            Ok(Tensor::from_vec(shape, elements)?)
        }, else Err(not_real().into()))
    }
    fn plus(self, other: i128) -> i128 {
        self.wrapping_add(other)
    }
    fn times(self, other: i128) -> i128 {
        self.wrapping_mul(other)
    }
    fn over(self, divisor: i128) -> i128 {
        self.checked_div(divisor).unwrap_or(0)
    }
    fn magnitude(self) -> i128 {
        self.wrapping_abs()
    }
    fn count(n: usize) -> i128 {
        n as i128
    }
    fn is_nan(self) -> bool {
        false
    }
    fn order(self, other: i128) -> Ordering {
        self.cmp(&other)
    }
    fn lesser(self, other: i128) -> i128 {
        self.min(other)
    }
}

/// Runs `$body` with `$N` bound to the [`Number`] in which a tensor of `$dtype` is worked on.
macro_rules! with_number {
    ($dtype:expr, $N:ident => $body:expr) => {
        if $dtype.is_float() {
            type $N = f64;
            $body
        } else {
            type $N = i128;
            $body
        }
    };
}
pub(crate) use with_number;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_greatest_and_spreads() {
        assert_eq!(f64::NAN.order(f64::INFINITY), Ordering::Greater);
        assert_eq!(f64::NAN.order(f64::NAN), Ordering::Equal);
        assert_eq!((-0.0).order(0.0), Ordering::Equal);
        assert!(f64::NAN.greater(1.0).is_nan() && 1.0.greater(f64::NAN).is_nan());
        assert!(f64::NAN.lesser(1.0).is_nan() && 1.0.lesser(f64::NAN).is_nan());
        assert_eq!(Number::greater(3i128, 5), 5);
    }

    #[test]
    fn numbers_are_written_wrapped_and_rounded() {
        let tensor = i128::write(DType::U8, Shape::from([3]), &[256, -1, 7]).unwrap();
        assert_eq!(tensor.as_slice::<u8>().unwrap(), [0, 255, 7]);
        assert_eq!(i128::read(&tensor).unwrap(), [0, 255, 7]);
        assert!(i128::write(DType::U8, Shape::from([2]), &[1]).is_err());
        assert!(i128::read(&Tensor::zeros(DType::Complex64, [1]).unwrap()).is_err());
        assert!(f64::read(&Tensor::zeros(DType::String, [1]).unwrap()).is_err());
    }
}
