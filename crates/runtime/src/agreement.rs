//! Whether two values agree: how tests, and comparisons between devices, judge outputs.

use std::fmt;

use inferrum_tensor::{DType, Tensor, TensorError, Value};

/// When floats agree. Everything else must be equal; but see [`Rule::off_by_one`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Each element: `|got - want| <= absolute + relative * |want|`, as NumPy's `allclose`. For bfloat16 the relative
    /// part is at least 2^-6, two units in the last place, as in ONNX's own test runner.
    Elementwise {
        /// Part of the expected element.
        relative: f64,
        /// Absolute part.
        absolute: f64,
    },
    /// Each element: `|got - want| <= part * max(greatest |want| of the tensor, 1e-6)`.
    OfGreatest(f64),
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// When floats agree. NaN agrees with NaN, an infinity only with itself.
    pub tolerance: Tolerance,
    /// Whether 8-bit integers may be off by one, as in quantised graphs that round elsewhere.
    pub off_by_one: bool,
}

/// How much wider a model's tolerance is on a device other than the processor: sums go in other orders there, and functions are the
/// driver's.
pub const WIDER_ON_DEVICES: f64 = 4.0;

impl Rule {
    /// The rule of ONNX's backend tests: relative 1e-3, absolute 1e-7.
    pub const ONNX_SUITE: Rule =
        Rule { tolerance: Tolerance::Elementwise { relative: 1e-3, absolute: 1e-7 }, off_by_one: false };
}

/// The greatest errors among elements that agree.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Errors {
    /// Greatest `|got - want|`.
    pub absolute: f64,
    /// Greatest `|got - want| / |want|`, over expected elements that are not zero.
    pub relative: f64,
}

impl Errors {
    fn worst(self, other: Errors) -> Errors {
        Errors { absolute: self.absolute.max(other.absolute), relative: self.relative.max(other.relative) }
    }
}

/// Why two values do not agree.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// They are of different kinds, types or shapes.
    #[error("expected {want}, got {got}")]
    Type {
        /// What was expected.
        want: String,
        /// What was given.
        got: String,
    },
    /// Some elements differ.
    #[error(
        "{count} of {total} elements differ, first at {}: expected {want}, got {got} \
         (greatest error {:.1e} absolute, {:.1e} relative)",
        Index(.index), .errors.absolute, .errors.relative
    )]
    Elements {
        /// How many differ.
        count: usize,
        /// How many there are.
        total: usize,
        /// The first that differs.
        index: Vec<usize>,
        /// The element expected there.
        want: String,
        /// The element given there.
        got: String,
        /// The greatest errors.
        errors: Errors,
    },
    /// The keys of two maps differ.
    #[error("expected keys {want}, got {got}")]
    Keys {
        /// What was expected.
        want: String,
        /// What was given.
        got: String,
    },
    /// An item of a container disagrees.
    #[error("item {index}: {source}")]
    Item {
        /// Its place.
        index: usize,
        /// Why.
        source: Box<Disagreement>,
    },
    /// The elements cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

struct Index<'a>(&'a [usize]);

impl fmt::Display for Index<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Compares what was got with what was wanted. Types and shapes must be the same.
///
/// # Errors
/// They do not agree.
pub fn compare(got: &Value, want: &Value, rule: &Rule) -> Result<Errors, Disagreement> {
    match (got, want) {
        (Value::Tensor(got), Value::Tensor(want)) => compare_tensors(got, want, rule),
        (Value::Sequence(a), Value::Sequence(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.try_fold(Errors::default(), |errors, (index, (got, want))| {
                let item = compare(got, want, rule)
                    .map_err(|source| Disagreement::Item { index, source: Box::new(source) })?;
                Ok(errors.worst(item))
            })
        }
        (Value::Optional(None), Value::Optional(None)) => Ok(Errors::default()),
        (Value::Optional(Some(got)), Value::Optional(Some(want))) => compare(got, want, rule),
        (Value::Map { keys: a, values: got }, Value::Map { keys: b, values: want }) => {
            if a != b {
                return Err(Disagreement::Keys { want: format!("{b:?}"), got: format!("{a:?}") });
            }
            compare_tensors(got, want, rule)
        }
        _ => Err(Disagreement::Type { want: want.describe(), got: got.describe() }),
    }
}

/// As [`compare`], for tensors.
///
/// # Errors
/// They do not agree.
pub fn compare_tensors(got: &Tensor, want: &Tensor, rule: &Rule) -> Result<Errors, Disagreement> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        let describe = |tensor: &Tensor| format!("{}[{}]", tensor.dtype(), tensor.shape());
        return Err(Disagreement::Type { want: describe(want), got: describe(got) });
    }
    match want.dtype() {
        DType::String => compare_equal(got.as_strings()?, want.as_strings()?, want),
        // Integers beyond 2^53 are not exact in f64.
        DType::I64 => compare_equal(got.as_slice::<i64>()?, want.as_slice::<i64>()?, want),
        DType::U64 => compare_equal(got.as_slice::<u64>()?, want.as_slice::<u64>()?, want),
        dtype => {
            let (got, reference) = (numbers(got)?, numbers(want)?);
            let agree: Box<dyn Fn(f64, f64) -> bool> = match rule.tolerance {
                _ if dtype == DType::Bool || dtype.is_integer() => {
                    let slack =
                        if rule.off_by_one && matches!(dtype, DType::U8 | DType::I8) { 1.0 } else { 0.0 };
                    Box::new(move |got, want| (got - want).abs() <= slack)
                }
                Tolerance::Elementwise { relative, absolute } => {
                    let relative = if dtype == DType::BF16 { relative.max(1.0 / 64.0) } else { relative };
                    Box::new(move |got, want| (got - want).abs() <= absolute + relative * want.abs())
                }
                Tolerance::OfGreatest(part) => {
                    let finite = reference.iter().filter(|x| x.is_finite());
                    let bound = part * finite.fold(1e-6, |greatest: f64, x| greatest.max(x.abs()));
                    Box::new(move |got, want| (got - want).abs() <= bound)
                }
            };
            let same = |got: f64, want: f64| {
                got == want
                    || (got.is_nan() && want.is_nan())
                    || (got.is_finite() && want.is_finite() && agree(got, want))
            };
            judge(&got, &reference, want, same)
        }
    }
}

/// The elements in f64; complex numbers as two each.
fn numbers(tensor: &Tensor) -> Result<Vec<f64>, TensorError> {
    match tensor.dtype() {
        DType::Complex64 => {
            Ok(tensor.as_slice::<[f32; 2]>()?.as_flattened().iter().map(|&x| x.into()).collect())
        }
        DType::Complex128 => Ok(tensor.as_slice::<[f64; 2]>()?.as_flattened().to_vec()),
        _ => tensor.to_f64(),
    }
}

fn judge(
    got: &[f64],
    want: &[f64],
    tensor: &Tensor,
    same: impl Fn(f64, f64) -> bool,
) -> Result<Errors, Disagreement> {
    let mut errors = Errors::default();
    let (mut count, mut first) = (0, None);
    for (place, (&a, &b)) in got.iter().zip(want).enumerate() {
        let absolute = if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() };
        let relative = if b == 0.0 { 0.0 } else { absolute / b.abs() };
        let absolute = if absolute.is_nan() { f64::INFINITY } else { absolute };
        errors = errors.worst(Errors { absolute, relative });
        if !same(a, b) {
            count += 1;
            first.get_or_insert((place, a, b));
        }
    }
    let Some((place, got, want)) = first else { return Ok(errors) };
    let place = if tensor.is_empty() { 0 } else { place / (tensor_numbers(tensor) / tensor.len()).max(1) };
    Err(Disagreement::Elements {
        count,
        total: tensor.len(),
        index: unravel(place, tensor),
        want: want.to_string(),
        got: got.to_string(),
        errors,
    })
}

/// How many real numbers a tensor holds.
fn tensor_numbers(tensor: &Tensor) -> usize {
    let each = if matches!(tensor.dtype(), DType::Complex64 | DType::Complex128) { 2 } else { 1 };
    tensor.len().saturating_mul(each)
}

fn compare_equal<T: PartialEq + fmt::Debug>(
    got: &[T],
    want: &[T],
    tensor: &Tensor,
) -> Result<Errors, Disagreement> {
    let mut differing = got.iter().zip(want).enumerate().filter(|(_, (a, b))| a != b);
    let Some((place, (a, b))) = differing.next() else { return Ok(Errors::default()) };
    Err(Disagreement::Elements {
        count: 1 + differing.count(),
        total: tensor.len(),
        index: unravel(place, tensor),
        want: format!("{b:?}"),
        got: format!("{a:?}"),
        errors: Errors { absolute: f64::INFINITY, relative: f64::INFINITY },
    })
}

/// The index of the element at a place of the row-major order.
fn unravel(mut place: usize, tensor: &Tensor) -> Vec<usize> {
    let mut index: Vec<usize> = tensor
        .shape()
        .iter()
        .rev()
        .map(|&extent| {
            let at = place % extent.max(1);
            place /= extent.max(1);
            at
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferrum_tensor::MapKeys;

    const GREATEST: Rule = Rule { tolerance: Tolerance::OfGreatest(1e-3), off_by_one: true };

    fn floats(values: &[f32]) -> Value {
        Tensor::vector(values.to_vec()).into()
    }

    #[test]
    fn floats_agree_within_the_tolerance_only() {
        let want = floats(&[1.0, 100.0, f32::NAN, f32::INFINITY]);
        let near = floats(&[1.0009, 100.09, f32::NAN, f32::INFINITY]);
        let errors = compare(&near, &want, &Rule::ONNX_SUITE).unwrap();
        assert!((errors.absolute - 0.09).abs() < 1e-4, "{errors:?}");
        for wrong in [
            [1.0, 100.2, f32::NAN, f32::INFINITY],
            [1.0, 100.0, 0.0, f32::INFINITY],
            [1.0, 100.0, f32::NAN, f32::NEG_INFINITY],
            [f32::NAN, 100.0, f32::NAN, f32::INFINITY],
            [1.0, 100.0, f32::NAN, f32::MAX],
        ] {
            assert!(compare(&floats(&wrong), &want, &Rule::ONNX_SUITE).is_err(), "{wrong:?}");
            assert!(compare(&floats(&wrong), &want, &GREATEST).is_err(), "{wrong:?}");
        }
        // Small elements are judged by the greatest.
        assert!(compare(&floats(&[0.05, 100.0]), &floats(&[0.0, 100.0]), &GREATEST).is_ok());
        assert!(compare(&floats(&[0.05, 100.0]), &floats(&[0.0, 100.0]), &Rule::ONNX_SUITE).is_err());
    }

    #[test]
    fn integers_are_equal_and_bytes_may_be_off_by_one() {
        let bytes = |values: [i8; 2]| Value::from(Tensor::vector(values.to_vec()));
        assert!(compare(&bytes([1, 2]), &bytes([1, 3]), &GREATEST).is_ok());
        assert!(compare(&bytes([1, 2]), &bytes([1, 4]), &GREATEST).is_err());
        assert!(compare(&bytes([1, 2]), &bytes([1, 3]), &Rule::ONNX_SUITE).is_err());
        let long = |value: i64| Value::from(Tensor::scalar(value));
        assert!(compare(&long(1 << 60), &long((1 << 60) + 1), &GREATEST).is_err());
    }

    #[test]
    fn kinds_types_shapes_and_keys_must_be_the_same() {
        let a = floats(&[1.0, 2.0]);
        let b: Value = a.as_tensor().unwrap().reshape([1, 2]).unwrap().into();
        assert!(matches!(compare(&a, &b, &GREATEST), Err(Disagreement::Type { .. })));
        let sequence = |items: &[Value]| Value::Sequence(items.to_vec());
        assert!(
            compare(&sequence(std::slice::from_ref(&a)), &sequence(&[a.clone(), a.clone()]), &GREATEST)
                .is_err()
        );
        assert!(matches!(
            compare(&sequence(std::slice::from_ref(&a)), &sequence(&[floats(&[1.0, 3.0])]), &GREATEST),
            Err(Disagreement::Item { index: 0, .. })
        ));
        let map =
            |key: i64| Value::Map { keys: MapKeys::Int(vec![key]), values: Tensor::vector(vec![1.0f32]) };
        assert!(compare(&map(1), &map(1), &GREATEST).is_ok());
        assert!(matches!(compare(&map(1), &map(2), &GREATEST), Err(Disagreement::Keys { .. })));
        assert!(compare(&Value::Optional(None), &Value::Optional(Some(Box::new(a))), &GREATEST).is_err());
    }

    #[test]
    fn the_first_difference_is_named_by_its_index() {
        let want = Tensor::from_vec([2, 3], vec![0.0f32; 6]).unwrap();
        let got = Tensor::from_vec([2, 3], vec![0.0f32, 0.0, 0.0, 0.0, 9.0, 8.0]).unwrap();
        let Err(Disagreement::Elements { count, index, .. }) = compare_tensors(&got, &want, &GREATEST) else {
            panic!("must differ")
        };
        assert_eq!((count, index), (2, vec![1, 1]));
    }
}
