//! Scalar expressions of operators as WGSL.

/// An expression with the functions of `functions.wgsl` in place of WGSL's own where these differ from ONNX.
pub(crate) fn in_wgsl(text: &str) -> String {
    const OURS: [&str; 10] =
        ["acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "sign", "sinh", "tanh"];
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let (before, word) = rest.split_at(start);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        result.push_str(before);
        result.push_str(&word[..end]);
        if OURS.contains(&&word[..end]) {
            result.push('_');
        }
        rest = &word[end..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_apart() {
        assert_eq!(in_wgsl("tanh(x) * T(0.5) + atanh(tan(y))"), "tanh_(x) * T(0.5) + atanh_(tan(y))");
    }
}
