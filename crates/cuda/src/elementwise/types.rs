//! The types that kernels of element-wise operators compute with.

use inferrum_backend::Decline;
use inferrum_tensor::DType;

use crate::kernel::c_type;

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F32)
}

/// Floats that are computed with as such: in float32, or float64 as they are.
pub(super) fn is_real(dtype: DType) -> bool {
    is_float(dtype) || dtype == DType::F64
}

/// The C++ type that a step computes with for a type of elements.
pub(super) fn scalar(dtype: DType) -> Result<&'static str, Decline> {
    match dtype {
        dtype if is_float(dtype) => Ok("float"),
        DType::I8 | DType::I16 | DType::I32 => Ok("i32"),
        DType::U8 | DType::U16 | DType::U32 => Ok("u32"),
        DType::Bool | DType::I64 | DType::U64 | DType::F64 => {
            c_type(dtype).ok_or_else(|| Decline(format!("arithmetic of {dtype}")))
        }
        other => Err(Decline(format!("arithmetic of {other}"))),
    }
}

/// The type that literals of an expression stand for: floats, if any operand is one.
pub(super) fn literals(operands: &[DType]) -> Result<&'static str, Decline> {
    let types = operands.iter().map(|&dtype| scalar(dtype)).collect::<Result<Vec<_>, _>>()?;
    let numbers: Vec<&str> = types.into_iter().filter(|&name| name != "bool").collect();
    let real = ["double", "float"].into_iter().find(|name| numbers.contains(name));
    Ok(real.or(numbers.first().copied()).unwrap_or("float"))
}

/// `name`, a value of one type, as another.
pub(super) fn cast(name: &str, from: DType, to: DType) -> Result<String, Decline> {
    if from == to {
        return Ok(name.to_owned());
    }
    let text = match to {
        // What loses bits twice would be rounded twice.
        DType::F16 | DType::BF16 if !is_float(from) => format!("to_odd(double({name}))"),
        to if is_float(to) => format!("float({name})"),
        DType::F64 => format!("double({name})"),
        to => {
            let into = c_type(to).ok_or_else(|| Decline(format!("arithmetic of {to}")))?;
            format!("{}(Cast<{into}>::of({name}))", scalar(to)?)
        }
    };
    scalar(from)?;
    match to {
        // What a model casts is rounded, also between steps.
        DType::F16 | DType::BF16 => Ok(format!("float({}({text}))", c_type(to).unwrap_or("float"))),
        _ => wrapped(text, to),
    }
}

/// The value of an expression of a narrow integer type, which wraps.
pub(super) fn wrapped(text: String, dtype: DType) -> Result<String, Decline> {
    let wide = scalar(dtype)?;
    Ok(match dtype {
        DType::I8 | DType::U8 | DType::I16 | DType::U16 => {
            let narrow = c_type(dtype).unwrap_or(wide);
            format!("{wide}({narrow}({text}))")
        }
        _ => text,
    })
}

/// The text of an expression as it holds for these types: sums of integers wrap, which C++ says of none that has a sign, and what is
/// divided by zero is 0.
///
/// # Errors
/// It does not hold for them.
pub(super) fn meant(text: &'static str, operands: &[DType]) -> Result<String, Decline> {
    let real = operands.iter().any(|&dtype| is_real(dtype));
    if text == "power(x, T(y))" {
        // The exponent is of a type of its own.
        let double = operands.contains(&DType::F64);
        return Ok(match (real, double) {
            (true, true) => "power(double(x), double(y))".into(),
            (true, false) => "power(float(x), float(y))".into(),
            (false, _) => "power(x, y)".into(),
        });
    }
    if real {
        return Ok(text.into());
    }
    Ok(match text {
        "x + y" => "sum(x, y)",
        "x + y + z" => "sum(sum(x, y), z)",
        "x - y" => "difference(x, y)",
        "x * y" => "product(x, y)",
        "-x" => "difference(decltype(x)(0), x)",
        // Means are of sums that do not wrap.
        text if text.starts_with("(x + y") && operands.iter().any(|dtype| dtype.size() > 2) => {
            return Err(Decline("a mean of wide integers".into()));
        }
        text => text,
    }
    .into())
}
