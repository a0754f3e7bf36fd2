//! Conversion between tensors and arrays of the `ndarray` crate (feature `ndarray`).
//!
//! ```
//! use ndarray::{Axis, array};
//!
//! # fn main() -> Result<(), inferrum::TensorError> {
//! let tensor = inferrum::ndarray::to_tensor(&array![[1.0f32, 2.0], [3.0, 4.0]])?;
//! let view = inferrum::ndarray::view::<f32>(&tensor)?;
//! assert_eq!(view.sum_axis(Axis(0)), array![4.0, 6.0].into_dyn());
//! # Ok(())
//! # }
//! ```
//!
//! An array as memory for an output:
//!
//! ```
//! use inferrum::{Bindings, RunOptions, Session};
//! use ndarray::{Array2, Array4};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
//! let session = Session::load(model)?;
//! let images = inferrum::ndarray::into_tensor(Array4::<f32>::zeros((3, 1, 28, 28)))?;
//! let mut probabilities = Array2::<f32>::zeros((3, 10));
//! let buffer = inferrum::ndarray::output(&mut probabilities)?;
//! let mut bindings = Bindings::new().with("probabilities", buffer);
//! session.run_bound(images, &mut bindings, RunOptions::default())?;
//! assert!((probabilities.sum() - 3.0).abs() < 1e-4);
//! # Ok(())
//! # }
//! ```

use ::ndarray::{Array, ArrayBase, ArrayViewD, Data, DataMut, Dimension, IxDyn};
use inferrum_tensor::{Element, Tensor, TensorError, collected};

use crate::{Error, OutputBuffer};

/// A tensor with a copy of an array's elements, in row-major order.
///
/// # Errors
/// [`TensorError::OutOfMemory`].
pub fn to_tensor<T, S, D>(array: &ArrayBase<S, D>) -> Result<Tensor, TensorError>
where
    T: Element,
    S: Data<Elem = T>,
    D: Dimension,
{
    Tensor::from_vec(array.shape(), collected(array.len(), array.iter().copied())?)
}

/// A tensor that takes over an array's memory if the array is row-major and whole, and copies it otherwise.
///
/// # Errors
/// [`TensorError::OutOfMemory`].
pub fn into_tensor<T: Element, D: Dimension>(array: Array<T, D>) -> Result<Tensor, TensorError> {
    if !array.is_standard_layout() {
        return to_tensor(&array);
    }
    let shape = array.shape().to_vec();
    match array.into_raw_vec_and_offset() {
        (elements, None | Some(0)) if elements.len() == shape.iter().product::<usize>() => {
            Tensor::from_vec(shape, elements)
        }
        (elements, offset) => {
            let kept = elements.into_iter().skip(offset.unwrap_or(0)).take(shape.iter().product());
            Tensor::from_vec(shape, kept.collect())
        }
    }
}

/// A tensor's elements as an array, without a copy (except of bytes that a file holds unaligned).
///
/// # Errors
/// [`TensorError::DType`] when the elements are of another type, [`TensorError::OutOfMemory`].
pub fn view<T: Element>(tensor: &Tensor) -> Result<ArrayViewD<'_, T>, TensorError> {
    let elements = tensor.as_slice::<T>()?;
    ArrayViewD::from_shape(IxDyn(tensor.shape()), elements).map_err(|_| TensorError::Length {
        shape: tensor.shape().clone(),
        unit: "elements",
        expected: tensor.len(),
        got: elements.len(),
    })
}

/// The elements of an array as memory for an output of the array's shape; see [`crate::Session::run_bound`].
///
/// # Errors
/// [`Error::Unsupported`] when the elements do not lie in row-major order without gaps.
pub fn output<T, S, D>(array: &mut ArrayBase<S, D>) -> Result<OutputBuffer<'_>, Error>
where
    T: Element + bytemuck::Pod,
    S: DataMut<Elem = T>,
    D: Dimension,
{
    let shape = array.shape().to_vec();
    let elements = array.as_slice_mut().ok_or_else(|| {
        Error::Unsupported(format!(
            "an array of shape {shape:?} for an output, whose elements are not in row-major order without gaps; bind \
             one in standard layout"
        ))
    })?;
    Ok(OutputBuffer::new(elements).shaped(shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::ndarray::{Array2, array, s};

    #[test]
    fn any_layout_becomes_row_major() {
        let array = Array2::from_shape_fn((3, 4), |(i, j)| (10 * i + j) as i32);
        let transposed = to_tensor(&array.t()).unwrap();
        assert_eq!(transposed.shape().dims(), [4, 3]);
        assert_eq!(transposed.as_slice::<i32>().unwrap()[..4], [0, 10, 20, 1]);
        assert_eq!(into_tensor(array.clone().reversed_axes()).unwrap(), transposed);
        let part = to_tensor(&array.slice(s![1.., ..;2])).unwrap();
        assert_eq!(part.as_slice::<i32>().unwrap(), [10, 12, 20, 22]);
    }

    #[test]
    fn owned_arrays_keep_their_memory() {
        let array = array![[1.5f64, 2.5], [3.5, 4.5]];
        let address = array.as_ptr();
        let tensor = into_tensor(array).unwrap();
        assert_eq!(tensor.as_slice::<f64>().unwrap().as_ptr(), address);
        let sliced = array![1u8, 2, 3, 4].slice_move(s![1..3]);
        assert_eq!(into_tensor(sliced).unwrap().as_slice::<u8>().unwrap(), [2, 3]);
    }

    #[test]
    fn views_have_the_tensors_shape_and_type() {
        let tensor = Tensor::from_vec([2, 0, 3], Vec::<f32>::new()).unwrap();
        assert_eq!(view::<f32>(&tensor).unwrap().shape(), [2, 0, 3]);
        assert!(view::<f64>(&tensor).is_err());
        assert_eq!(view::<i64>(&Tensor::scalar(7i64)).unwrap().ndim(), 0);
    }

    #[test]
    fn arrays_are_memory_for_outputs() {
        let mut array = Array2::<f32>::zeros((3, 4));
        let buffer = output(&mut array).unwrap();
        assert_eq!((buffer.dtype(), buffer.len()), (inferrum_tensor::DType::F32, 12));
        assert!(buffer.check("y", buffer.dtype(), &[3, 4].into()).is_ok());
        assert!(buffer.check("y", buffer.dtype(), &[4, 3].into()).is_err());
        assert!(output(&mut array.slice_mut(s![.., ..2])).is_err());
        assert!(output(&mut array.view_mut().reversed_axes()).is_err());
    }
}
