//! What becomes of sums of products of 8-bit integers.

use std::sync::Arc;

use inferrum_backend::Decline;
use inferrum_tensor::DType;

use crate::bindings::Bindings;
use crate::kernel::{Lowering, Operand};
use crate::storage;

/// Functions for [`Epilogue`]s that quantise; `functions.wgsl` comes before.
pub(crate) const QUANTIZED: &str = include_str!("../../../shaders/quantized.wgsl");

/// Statements that store `sum`, an i32, of an element `at`.
pub(crate) struct Epilogue {
    /// The WGSL type of the output's elements.
    pub(crate) element: &'static str,
    pub(crate) text: String,
}

impl Epilogue {
    /// The sums as they are.
    pub(crate) fn sums() -> Epilogue {
        Epilogue { element: "i32", text: "    output[at] = sum;".into() }
    }

    /// `sum`, scaled and quantised. Factors are one for all or one for each `index`, an expression; so are zero points.
    ///
    /// # Errors
    /// The output is of another type.
    pub(crate) fn quantized(
        factors: &[f32],
        index: &str,
        zero: i64,
        dtype: DType,
        bindings: &mut Bindings,
    ) -> Result<Epilogue, Decline> {
        let (least, most) = range(dtype)?;
        let element = storage::words(dtype).ok_or_else(|| Decline(format!("an output of {dtype}")))?;
        let factor = factor(factors, index, bindings);
        let text =
            format!("    output[at] = {element}(quantized(f32(sum) * {factor}, {zero}, {least}, {most}));");
        Ok(Epilogue { element, text })
    }

    /// `sum`, scaled.
    pub(crate) fn floats(factors: &[f32], index: &str, bindings: &mut Bindings) -> Epilogue {
        let factor = factor(factors, index, bindings);
        Epilogue { element: "f32", text: format!("    output[at] = f32(sum) * {factor};") }
    }
}

/// What an 8-bit integer holds.
///
/// # Errors
/// Another type.
pub(crate) fn range(dtype: DType) -> Result<(i32, i32), Decline> {
    match dtype {
        DType::I8 => Ok((-128, 127)),
        DType::U8 => Ok((0, 255)),
        other => Err(Decline(format!("quantisation to {other}"))),
    }
}

/// An expression for the factor of `index`.
fn factor(factors: &[f32], index: &str, bindings: &mut Bindings) -> String {
    if let [factor] = factors {
        return format!("bitcast<f32>({}u)", factor.to_bits());
    }
    let words: Arc<[u32]> = factors.iter().map(|factor| factor.to_bits()).collect();
    bindings.read("factors", "f32", Operand::Table(words));
    format!("factors[{index}]")
}

/// The constant floats at a place.
///
/// # Errors
/// They are not constant, or of another type than f32.
pub(crate) fn constant_floats(lowering: &Lowering<'_>, place: usize) -> Result<Vec<f32>, Decline> {
    let constant = lowering.constant(place).filter(|tensor| tensor.dtype() == DType::F32);
    let floats = constant.and_then(|tensor| tensor.as_slice::<f32>().ok());
    floats.map(<[f32]>::to_vec).ok_or_else(|| Decline(format!("input {place} is no constant of float32")))
}

/// The constant float at a place.
///
/// # Errors
/// As [`constant_floats`]; there are several.
pub(crate) fn constant_float(lowering: &Lowering<'_>, place: usize) -> Result<f32, Decline> {
    match constant_floats(lowering, place)?[..] {
        [value] => Ok(value),
        _ => Err(Decline(format!("input {place} is no scalar"))),
    }
}

/// The constant integer at a place; 0 if it is left out.
///
/// # Errors
/// It is no constant, or there are several.
pub(crate) fn constant_int(lowering: &Lowering<'_>, place: usize) -> Result<i64, Decline> {
    if !lowering.has(place) {
        return Ok(0);
    }
    lowering.constant(place).ok_or_else(|| Decline(format!("input {place} is no constant")))?;
    match lowering.ints(place)?[..] {
        [value] => Ok(value),
        _ => Err(Decline(format!("input {place} is no scalar"))),
    }
}
