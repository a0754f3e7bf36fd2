//! The types that shaders of element-wise operators compute with.

use inferrum_backend::Decline;
use inferrum_tensor::DType;

pub(super) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::F32)
}

/// The type that a step computes with for a type of elements.
pub(super) fn scalar(dtype: DType) -> Result<&'static str, Decline> {
    match dtype {
        DType::Bool => Ok("bool"),
        DType::F16 | DType::F32 => Ok("f32"),
        DType::I8 | DType::I16 | DType::I32 => Ok("i32"),
        DType::U8 | DType::U16 | DType::U32 => Ok("u32"),
        DType::I64 => Ok("i64"),
        DType::U64 => Ok("u64"),
        other => Err(Decline(format!("arithmetic of {other}"))),
    }
}

/// The type that literals of expressions stand for: floats, if any operand is one.
pub(super) fn compute_type(reads: impl Iterator<Item = DType>) -> Result<&'static str, Decline> {
    let types = reads.map(scalar).collect::<Result<Vec<_>, _>>()?;
    let numbers: Vec<&str> = types.into_iter().filter(|&name| name != "bool").collect();
    Ok(if numbers.contains(&"f32") || numbers.is_empty() { "f32" } else { numbers[0] })
}

/// `name`, a value of one type, as another.
pub(super) fn cast(name: &str, from: DType, to: DType) -> Result<String, Decline> {
    let text = match (scalar(from)?, scalar(to)?) {
        _ if from == to => return Ok(name.to_owned()),
        ("bool", "f32") => format!("select(0.0, 1.0, {name})"),
        // By bits: NaN differs from 0, whatever comparisons of it say.
        ("f32", "bool") => format!("bitcast<u32>({name}) << 1u != 0u"),
        ("i32", "bool") => format!("{name} != 0i"),
        ("u32", "bool") => format!("{name} != 0u"),
        ("i64", "bool") => format!("{name} != 0li"),
        ("u64", "bool") => format!("{name} != 0lu"),
        ("bool", "i64") => format!("select(0li, 1li, {name})"),
        ("bool", "u64") => format!("select(0lu, 1lu, {name})"),
        // See `casts.wgsl`.
        ("f32", "u32") => format!("low_word({name})"),
        ("f32", "i32") if to == DType::I32 => format!("saturated_i32({name})"),
        ("f32", "i32") => format!("bitcast<i32>(low_word({name}))"),
        ("f32", "i64") => format!("saturated_i64({name})"),
        ("f32", "u64") => format!("wrapped_u64({name})"),
        ("i32", "u64") => format!("u64(i64({name}))"),
        ("i32", "u32") => format!("bitcast<u32>({name})"),
        ("u32", "i32") => format!("bitcast<i32>({name})"),
        (_, into) => format!("{into}({name})"),
    };
    // What a model casts to float16 is rounded, also between steps.
    let text = if to == DType::F16 { format!("f32(f16({text}))") } else { text };
    // What lies beyond a narrow type wraps as on the host.
    Ok(wrapped(text, to))
}

/// The value of an expression of a narrow type, which wraps.
pub(super) fn wrapped(text: String, dtype: DType) -> String {
    match dtype {
        DType::U8 => format!("(({text}) & 0xffu)"),
        DType::U16 => format!("(({text}) & 0xffffu)"),
        DType::I8 => format!("((({text}) << 24u) >> 24u)"),
        DType::I16 => format!("((({text}) << 16u) >> 16u)"),
        _ => text,
    }
}
