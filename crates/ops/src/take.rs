//! Elements of a tensor by their places, for any element type.

use inferrum_graph::OpError;
use inferrum_tensor::{DType, Shape, Tensor, zeroed};

/// The elements of `x` at `sources`, as a tensor of `shape`. Where the place is `usize::MAX` the element is `fill`: an
/// empty string for strings, 0 for complex numbers.
pub(crate) fn take(x: &Tensor, sources: &[usize], shape: Shape, fill: f64) -> Result<Tensor, OpError> {
    if x.dtype() == DType::String {
        let strings = x.as_strings()?;
        let taken = sources.iter().map(|&source| strings.get(source).cloned().unwrap_or_default()).collect();
        return Ok(Tensor::from_strings(shape, taken)?);
    }
    let size = x.dtype().size();
    let fill = match x.dtype() {
        DType::Complex64 | DType::Complex128 => vec![0; size],
        dtype => Tensor::from_f64(dtype, Shape::scalar(), &[fill])?.bytes().to_vec(),
    };
    let mut bytes: Vec<u8> = zeroed(sources.len().saturating_mul(size))?;
    for (to, &source) in bytes.chunks_exact_mut(size).zip(sources) {
        to.copy_from_slice(if source == usize::MAX { &fill } else { &x.bytes()[source * size..][..size] });
    }
    Ok(Tensor::from_bytes(x.dtype(), shape, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_kind_are_taken_or_filled() {
        let places = [1, usize::MAX, 0];
        let strings = Tensor::from_strings([2], vec!["a".into(), "b".into()]).unwrap();
        assert_eq!(take(&strings, &places, [3].into(), 1.0).unwrap().as_strings().unwrap(), ["b", "", "a"]);
        let ints = Tensor::vector(vec![5i16, 6]);
        assert_eq!(take(&ints, &places, [3].into(), 7.0).unwrap().as_slice::<i16>().unwrap(), [6, 7, 5]);
        let complex = Tensor::vector(vec![[1f32, 2.0], [3.0, 4.0]]);
        let taken = take(&complex, &places, [3].into(), 7.0).unwrap();
        assert_eq!(taken.as_slice::<[f32; 2]>().unwrap(), [[3.0, 4.0], [0.0, 0.0], [1.0, 2.0]]);
    }
}
