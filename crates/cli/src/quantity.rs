//! Numbers with units, short.

use std::time::Duration;

/// `12.3 ms`; seconds from 10 s on, microseconds below 0.1 ms.
pub(crate) fn time(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms >= 10_000.0 {
        format!("{} s", three_digits(ms / 1e3))
    } else if ms < 0.1 {
        format!("{} µs", three_digits(ms * 1e3))
    } else {
        format!("{} ms", three_digits(ms))
    }
}

/// `12.3 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// `25.6 MFLOP`.
pub(crate) fn flop(count: u64) -> String {
    scaled(count as f64, 1000.0, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"])
}

/// `25.6 M`.
pub(crate) fn count(count: f64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T", "P"]).trim_end().to_owned()
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let digits = if unit == 0 { format!("{value}") } else { three_digits(value) };
    format!("{digits} {}", units[unit])
}

/// A number of three digits or more, no exponent: `0.123`, `1.23`, `12.3`, `123`, `1234`.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// An error measure: `0`, `1.2e-7`.
pub(crate) fn error(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.1e}") }
}

/// `s` unless there is one.
pub(crate) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(time(Duration::from_micros(1234)), "1.23 ms");
        assert_eq!(time(Duration::from_micros(12)), "12.0 µs");
        assert_eq!(time(Duration::from_secs(75)), "75.0 s");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(167_936), "164 KiB");
        assert_eq!(count(41_002.0), "41.0 k");
        assert_eq!(count(7.0), "7");
        assert_eq!(three_digits(99.96), "100");
    }
}
