//! The most memory that may be taken from a device.

use inferrum_backend::Unusable;

/// The variable that limits the memory taken from each GPU, such as `24GiB`.
pub(crate) const MEMORY_VARIABLE: &str = "INFERRUM_CUDA_MEMORY";

/// The limit that the environment sets, in bytes.
///
/// # Errors
/// The variable is no size.
pub(crate) fn asked() -> Result<Option<usize>, Unusable> {
    let Ok(value) = std::env::var(MEMORY_VARIABLE) else { return Ok(None) };
    if value.is_empty() {
        return Ok(None);
    }
    size(&value).map(Some).ok_or_else(|| Unusable {
        reason: format!("{MEMORY_VARIABLE} is `{value}`"),
        remedy: "set it to a size such as 24GiB, or unset it".into(),
    })
}

/// Bytes of a size: a number, and a unit of 1024 or its powers (`k`, `MiB`, `GB`).
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (bytes.is_finite() && bytes < 2_f64.powi(62)).then_some(bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("1000"), size("1.5k"), size("2GiB")), (Some(1000), Some(1536), Some(2 << 30)));
        assert_eq!((size("3 MB"), size("0")), (Some(3 << 20), Some(0)));
        assert_eq!((size(""), size("2 apples"), size("1e400"), size("9999999T")), (None, None, None, None));
    }
}
