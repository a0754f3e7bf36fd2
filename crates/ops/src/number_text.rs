//! Numbers as text, as `Cast` reads and writes them.

/// A float as C's `%.8g` writes it, which is what ONNX Runtime does; `NaN`, `INF`, `-INF`.
pub(crate) fn to_text(x: f64) -> String {
    const DIGITS: i32 = 8;
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "INF".into() } else { "-INF".into() };
    }
    // Rounding to 8 digits first tells the exponent: 99999999.9 has 9 digits before the point.
    let scientific = format!("{:.*e}", DIGITS as usize - 1, x);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        return trimmed(&format!("{:.*}", (DIGITS - 1 - exponent) as usize, x)).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs())
}

/// Without zeros at the end of a fraction.
fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// The number that a text is; `INF` and `NaN` in any case.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// The integer that a text is; the fraction of a float is cut off.
pub(crate) fn parse_integer(text: &str) -> Option<i128> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| x as i128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_c_does() {
        for (x, text) in [
            (f64::from(0.1f32), "0.1"),
            (f64::from(300.7f32), "300.70001"),
            (-1e10, "-1e+10"),
            (1e-7, "1e-07"),
            (123456789.0, "1.2345679e+08"),
            (16777216.0, "16777216"),
            (99999999.9, "1e+08"),
            (0.0001, "0.0001"),
            (0.00001234, "1.234e-05"),
            (1e300, "1e+300"),
            (-0.0, "-0"),
            (100000.0, "100000"),
            (f64::from(1f32 / 3.0), "0.33333334"),
        ] {
            assert_eq!(to_text(x), text);
        }
        assert_eq!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(to_text), ["NaN", "INF", "-INF"]);
    }

    #[test]
    fn texts_are_read() {
        assert_eq!(parse_float("+INF"), Some(f64::INFINITY));
        assert!(parse_float("nan").is_some_and(f64::is_nan));
        assert_eq!([parse_float(" 1e-5 "), parse_float("-"), parse_float("")], [Some(1e-5), None, None]);
        assert_eq!(
            [parse_integer("9223372036854775807"), parse_integer("1e3")],
            [Some(i64::MAX as i128), Some(1000)]
        );
        assert_eq!([parse_integer("2.718"), parse_integer("inf"), parse_integer("x")], [Some(2), None, None]);
    }
}
