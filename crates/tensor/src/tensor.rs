//! Host tensors.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{AlignedBytes, DType, Element, Real, Shape, collected, dispatch, filled};

/// A dense, row-major, immutable tensor in host memory. Clones share the bytes.
///
/// ```
/// use inferrum_tensor::{DType, Tensor};
///
/// # fn main() -> Result<(), inferrum_tensor::TensorError> {
/// let tensor = Tensor::from_slice([2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!((tensor.dtype(), tensor.shape().dims()), (DType::F32, &[2, 3][..]));
/// let rows: Vec<&[f32]> = tensor.as_slice::<f32>()?.chunks(3).collect();
/// assert_eq!(rows[1], [4.0, 5.0, 6.0]);
/// assert!(tensor.as_slice::<i64>().is_err(), "nothing is converted");
/// assert!(Tensor::from_slice([2, 3], &[1f32]).is_err(), "6 elements are needed");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    data: Data,
}

#[derive(Clone)]
enum Data {
    /// `copy` is the same bytes, aligned; made when a typed view of unaligned bytes is first asked for.
    Bytes {
        bytes: Bytes,
        copy: Arc<OnceLock<Bytes>>,
        /// Where `bytes` can be read again from.
        pages: Option<Arc<dyn Pages>>,
    },
    Strings(Arc<[String]>),
}

/// Memory that stands for a file: the system can take it back, and reads it again when it is next looked at.
pub trait Pages: Send + Sync {
    /// Gives back what whole pages of `bytes` there are. Contents and addresses stay as they are. Bytes that are not of
    /// this memory are left alone.
    fn release(&self, bytes: &[u8]);
}

/// Why a tensor could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The number of elements or bytes does not match the shape.
    #[error("a tensor of shape {shape} needs {expected} {unit}, got {got}")]
    Length {
        /// The shape.
        shape: Shape,
        /// What is counted: `elements` or `bytes`.
        unit: &'static str,
        /// How many the shape needs.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A typed view or conversion asked for another element type.
    #[error("expected a tensor of {expected}, got {got}")]
    DType {
        /// What was asked for.
        expected: String,
        /// What the tensor holds.
        got: DType,
    },
    /// The bytes are no valid elements, such as a `bool` that is neither 0 nor 1.
    #[error("the bytes are not valid elements of {0}")]
    InvalidBytes(DType),
    /// The allocator refused.
    #[error("out of memory: {bytes} bytes could not be allocated")]
    OutOfMemory {
        /// How many bytes were asked for.
        bytes: usize,
    },
}

/// Lets a typed vector own the bytes of a tensor without a copy.
struct VecBytes<T>(Vec<T>);

impl<T: bytemuck::NoUninit> AsRef<[u8]> for VecBytes<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Tensor {
    /// A tensor of `shape` that takes over `elements`, without a copy.
    ///
    /// # Errors
    /// [`TensorError::Length`] when there are not as many elements as the shape needs.
    pub fn from_vec<T: Element>(shape: impl Into<Shape>, elements: Vec<T>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        check_length(&shape, "elements", shape.elements(), elements.len())?;
        Ok(Tensor::from_parts(T::DTYPE, shape, Bytes::from_owner(VecBytes(elements))))
    }

    /// A tensor of `shape` with a copy of `elements`.
    ///
    /// # Errors
    /// [`TensorError::Length`] when there are not as many elements as the shape needs; [`TensorError::OutOfMemory`].
    pub fn from_slice<T: Element>(shape: impl Into<Shape>, elements: &[T]) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        check_length(&shape, "elements", shape.elements(), elements.len())?;
        Tensor::from_vec(shape, collected(elements.len(), elements.iter().copied())?)
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// [`TensorError::Length`] when there are not as many strings as the shape needs.
    pub fn from_strings(shape: impl Into<Shape>, strings: Vec<String>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        check_length(&shape, "elements", shape.elements(), strings.len())?;
        Ok(Tensor { dtype: DType::String, shape, data: Data::Strings(strings.into()) })
    }

    /// A tensor over bytes in native order, one element after the other; nothing is copied, and the bytes need not be aligned.
    ///
    /// # Errors
    /// [`TensorError::Length`], [`TensorError::InvalidBytes`] (a `bool` beyond 1), or [`TensorError::DType`] for strings.
    pub fn from_bytes(
        dtype: DType,
        shape: impl Into<Shape>,
        bytes: impl Into<Bytes>,
    ) -> Result<Tensor, TensorError> {
        let (shape, bytes) = (shape.into(), bytes.into());
        if dtype == DType::String {
            return Err(TensorError::DType { expected: "a type stored as bytes".into(), got: dtype });
        }
        check_length(&shape, "bytes", shape.elements().saturating_mul(dtype.size()), bytes.len())?;
        if dtype == DType::Bool && bytes.iter().any(|&byte| byte > 1) {
            return Err(TensorError::InvalidBytes(dtype));
        }
        Ok(Tensor::from_parts(dtype, shape, bytes))
    }

    /// A tensor over aligned bytes; see [`Tensor::from_bytes`].
    ///
    /// # Errors
    /// As [`Tensor::from_bytes`].
    pub fn from_aligned(
        dtype: DType,
        shape: impl Into<Shape>,
        bytes: AlignedBytes,
    ) -> Result<Tensor, TensorError> {
        Tensor::from_bytes(dtype, shape, Bytes::from_owner(bytes))
    }

    /// A tensor of one element and no axes.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::from_parts(T::DTYPE, Shape::scalar(), Bytes::from_owner(VecBytes(vec![value])))
    }

    /// A tensor of one axis, mostly for shapes and axes.
    pub fn vector<T: Element>(elements: Vec<T>) -> Tensor {
        let shape = Shape::from([elements.len()]);
        Tensor::from_parts(T::DTYPE, shape, Bytes::from_owner(VecBytes(elements)))
    }

    /// A tensor of zeros (empty strings).
    ///
    /// # Errors
    /// [`TensorError::OutOfMemory`].
    pub fn zeros(dtype: DType, shape: impl Into<Shape>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        if dtype == DType::String {
            let strings = filled(shape.elements(), String::new())?;
            return Tensor::from_strings(shape, strings);
        }
        let bytes = AlignedBytes::zeroed(shape.elements().saturating_mul(dtype.size()))?;
        Ok(Tensor::from_parts(dtype, shape, Bytes::from_owner(bytes)))
    }

    /// The same tensor, which knows that its bytes are in `pages`.
    #[must_use]
    pub fn with_pages(mut self, of: Arc<dyn Pages>) -> Tensor {
        if let Data::Bytes { pages, .. } = &mut self.data {
            *pages = Some(of);
        }
        self
    }

    /// Gives back memory that the elements can be read from a file into again: they will not be needed soon.
    pub fn release(&self) {
        if let Data::Bytes { bytes, pages: Some(pages), .. } = &self.data {
            pages.release(bytes);
        }
    }

    fn from_parts(dtype: DType, shape: Shape, bytes: Bytes) -> Tensor {
        Tensor { dtype, shape, data: Data::Bytes { bytes, copy: Arc::default(), pages: None } }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.elements()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in native order, perhaps unaligned; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes { bytes, .. } => bytes,
            Data::Strings(_) => &[],
        }
    }

    /// The bytes in native order, aligned for the element type: copied once if the file held them unaligned.
    ///
    /// # Errors
    /// [`TensorError::OutOfMemory`] when that copy cannot be made.
    pub fn aligned_bytes(&self) -> Result<&[u8], TensorError> {
        match &self.data {
            Data::Strings(_) => Ok(&[]),
            Data::Bytes { bytes, copy, .. } => {
                let alignment = self.dtype.size().clamp(1, 8);
                if bytes.as_ptr().addr().is_multiple_of(alignment) {
                    return Ok(bytes);
                }
                if copy.get().is_none() {
                    // A second thread may do the same work; the first result stays.
                    let _ = copy.set(Bytes::from_owner(AlignedBytes::copy_of(bytes)?));
                    self.release();
                }
                Ok(copy.get().map_or(&[], |bytes| bytes))
            }
        }
    }

    /// The elements.
    ///
    /// # Errors
    /// [`TensorError::DType`] when the elements are of another type, [`TensorError::OutOfMemory`].
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        if T::DTYPE != self.dtype {
            return Err(TensorError::DType { expected: T::DTYPE.to_string(), got: self.dtype });
        }
        bytemuck::checked::try_cast_slice(self.aligned_bytes()?)
            .map_err(|_| TensorError::InvalidBytes(self.dtype))
    }

    /// The strings.
    ///
    /// # Errors
    /// [`TensorError::DType`] when the elements are no strings.
    pub fn as_strings(&self) -> Result<&[String], TensorError> {
        match &self.data {
            Data::Strings(strings) => Ok(strings),
            Data::Bytes { .. } => Err(TensorError::DType { expected: "string".into(), got: self.dtype }),
        }
    }

    /// The single element of a tensor that has exactly one.
    ///
    /// # Errors
    /// As [`Tensor::as_slice`], and [`TensorError::Length`] unless there is exactly one element.
    pub fn to_scalar<T: Element>(&self) -> Result<T, TensorError> {
        match self.as_slice::<T>()? {
            [value] => Ok(*value),
            _ => Err(TensorError::Length {
                shape: self.shape.clone(),
                unit: "elements",
                expected: 1,
                got: self.len(),
            }),
        }
    }

    /// The elements of any real type, in f64.
    ///
    /// # Errors
    /// [`TensorError::DType`] for strings and complex numbers, [`TensorError::OutOfMemory`].
    pub fn to_f64(&self) -> Result<Vec<f64>, TensorError> {
        dispatch!(real, self.dtype, T => collect(self.as_slice::<T>()?, |&x| Real::to_f64(x)), else Err(self.not_real()))
    }

    /// The elements of any real type, truncated to i64: wrapped from u64, the nearest of floats that are beyond it.
    ///
    /// # Errors
    /// As [`Tensor::to_f64`].
    pub fn to_i64(&self) -> Result<Vec<i64>, TensorError> {
        if self.dtype.is_float() {
            return dispatch!(real, self.dtype, T => collect(self.as_slice::<T>()?, |&x| Real::to_f64(x) as i64), else Err(self.not_real()));
        }
        dispatch!(real, self.dtype, T => collect(self.as_slice::<T>()?, |&x| x.to_i128() as i64), else Err(self.not_real()))
    }

    /// A tensor of any real type from f64, each element rounded once.
    ///
    /// # Errors
    /// [`TensorError::Length`], [`TensorError::DType`] for strings and complex numbers, [`TensorError::OutOfMemory`].
    pub fn from_f64(dtype: DType, shape: impl Into<Shape>, values: &[f64]) -> Result<Tensor, TensorError> {
        dispatch!(real, dtype, T => Tensor::from_vec(shape, collect(values, |&x| <T as Real>::from_f64(x))?),
            else Err(TensorError::DType { expected: "a real type".into(), got: dtype }))
    }

    /// A tensor of any real type from i64, wrapped to the type's width.
    ///
    /// # Errors
    /// As [`Tensor::from_f64`].
    pub fn from_i64(dtype: DType, shape: impl Into<Shape>, values: &[i64]) -> Result<Tensor, TensorError> {
        dispatch!(real, dtype, T => Tensor::from_vec(shape, collect(values, |&x| <T as Real>::from_i128(i128::from(x)))?),
            else Err(TensorError::DType { expected: "a real type".into(), got: dtype }))
    }

    /// The same elements under another shape; shares the bytes.
    ///
    /// # Errors
    /// [`TensorError::Length`] when the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        check_length(&shape, "elements", shape.elements(), self.len())?;
        Ok(Tensor { dtype: self.dtype, shape, data: self.data.clone() })
    }

    /// A hash of the elements.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.data {
            Data::Bytes { bytes, .. } => bytes.hash(&mut hasher),
            Data::Strings(strings) => strings.hash(&mut hasher),
        }
        hasher.finish()
    }

    fn not_real(&self) -> TensorError {
        TensorError::DType { expected: "a real type".into(), got: self.dtype }
    }
}

fn check_length(shape: &Shape, unit: &'static str, expected: usize, got: usize) -> Result<(), TensorError> {
    if expected == got {
        return Ok(());
    }
    Err(TensorError::Length { shape: shape.clone(), unit, expected, got })
}

/// `slice.iter().map(f).collect()`, except that a refused allocation is an error.
fn collect<T, U>(slice: &[T], f: impl FnMut(&T) -> U) -> Result<Vec<U>, TensorError> {
    collected(slice.len(), slice.iter().map(f))
}

impl PartialEq for Tensor {
    /// Same type, shape and bits; so NaN equals the same NaN, and 0.0 is not -0.0.
    fn eq(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && match (&self.data, &other.data) {
                (Data::Strings(a), Data::Strings(b)) => a == b,
                _ => self.bytes() == other.bytes(),
            }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        write!(f, "{}[{}]", self.dtype, self.shape)?;
        if self.len() > SHOWN {
            // A digest, so that different tensors have different texts.
            return write!(f, " #{:016x}", self.digest());
        }
        f.write_str(" ")?;
        match &self.data {
            Data::Strings(strings) => fmt::Debug::fmt(strings, f),
            Data::Bytes { .. } => dispatch!(real, self.dtype,
                T => fmt::Debug::fmt(self.as_slice::<T>().unwrap_or(&[]), f), else f.write_str("..")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unaligned_bytes_give_the_right_elements() {
        let mut raw = vec![0xAB];
        raw.extend([1.5f32, -2.0].iter().flat_map(|x| x.to_ne_bytes()));
        let tensor = Tensor::from_bytes(DType::F32, [2], Bytes::from(raw).slice(1..)).unwrap();
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [1.5, -2.0]);
        assert_eq!(tensor.clone().to_f64().unwrap(), [1.5, -2.0]);
    }

    #[test]
    fn an_aligned_copy_releases_the_original() {
        struct Released(std::sync::Mutex<Vec<(usize, usize)>>);
        impl Pages for Released {
            fn release(&self, bytes: &[u8]) {
                self.0.lock().unwrap().push((bytes.as_ptr().addr() % 4, bytes.len()));
            }
        }
        let released = Arc::new(Released(std::sync::Mutex::default()));
        // A vector of f32 is aligned; one byte further it is not.
        let raw = Tensor::vector(vec![0f32; 4]);
        let Data::Bytes { bytes, .. } = &raw.data else { unreachable!() };
        let tensor = |range: std::ops::Range<usize>| {
            Tensor::from_bytes(DType::F32, [2], bytes.slice(range)).unwrap().with_pages(released.clone())
        };
        tensor(0..8).as_slice::<f32>().unwrap();
        assert_eq!(*released.0.lock().unwrap(), []);
        let unaligned = tensor(1..9);
        unaligned.reshape([1, 2]).unwrap().as_slice::<f32>().unwrap();
        unaligned.as_slice::<f32>().unwrap();
        assert_eq!(*released.0.lock().unwrap(), [(1, 8)]);
        tensor(4..12).release();
        raw.release();
        assert_eq!(*released.0.lock().unwrap(), [(1, 8), (0, 8)]);
    }

    #[test]
    fn wrong_lengths_types_and_bytes_are_errors() {
        assert!(matches!(
            Tensor::from_vec([3], vec![1u8, 2]),
            Err(TensorError::Length { expected: 3, got: 2, .. })
        ));
        assert!(matches!(Tensor::scalar(1i32).as_slice::<f32>(), Err(TensorError::DType { .. })));
        assert_eq!(
            Tensor::from_bytes(DType::Bool, [1], vec![2]).unwrap_err(),
            TensorError::InvalidBytes(DType::Bool)
        );
        assert!(matches!(Tensor::zeros(DType::F64, [usize::MAX, 9]), Err(TensorError::OutOfMemory { .. })));
        assert!(matches!(Tensor::zeros(DType::F64, [1 << 50]), Err(TensorError::OutOfMemory { .. })));
    }

    #[test]
    fn every_real_type_round_trips_small_integers() {
        for &dtype in
            DType::ALL.iter().filter(|d| !matches!(d, DType::String | DType::Complex64 | DType::Complex128))
        {
            let tensor = Tensor::from_f64(dtype, [2, 1], &[1.0, 1.0]).unwrap();
            assert_eq!(tensor.to_i64().unwrap(), [1, 1], "{dtype}");
            assert_eq!(tensor.bytes().len(), 2 * dtype.size(), "{dtype}");
        }
    }
}
