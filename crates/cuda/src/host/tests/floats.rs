//! Narrow floats: every code, and what is rounded to each.

use half::{bf16, f16};
use inferrum_tensor::{F8E4M3Fn, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz};

use super::*;

const WIDEN: &str = r#"
extern "C" __global__ void widen(const X *x, float *y) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = float(x[i]);
}
"#;

const NARROW: &str = r#"
extern "C" __global__ void narrow(const float *x, Y *y) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = MAKE(x[i]);
}
"#;

/// Floats whose upper half is anything, and whose lower half is at and about the ties of narrower types.
fn floats(bytes: usize) -> Vec<f32> {
    const LOWER: [u32; 10] = [0, 1, 0xFFFF, 0xFFF, 0x1000, 0x1001, 0x3000, 0x7FFF, 0x8000, 0x8001];
    // All ties of 8-bit floats are in the upper half.
    let lower = &LOWER[..if bytes == 1 { 3 } else { LOWER.len() }];
    let whole = |upper: u32| lower.iter().map(move |lower| f32::from_bits(upper << 16 | lower));
    (0..=0xFFFFu32).flat_map(whole).collect()
}

/// The same float, or NaN as well.
fn same(got: f32, expected: f32) -> bool {
    got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan())
}

/// Widens all codes of a type, and narrows floats to it; `plain`: by bits even where the host has instructions.
fn check<Bits>(
    name: &str,
    make: &str,
    plain: bool,
    widened: impl Fn(usize) -> f32,
    narrowed: impl Fn(f32) -> f32,
) where
    Bits: bytemuck::Pod + TryFrom<usize> + Into<u64>,
{
    let mut bench = Bench::new();
    let source = |entry, text| {
        let template = Template::new(entry, text).define("X", name).define("Y", name).define("MAKE", make);
        let mut source = template.build();
        if plain {
            source.text = format!("#define PLAIN_FLOATS\n{}", source.text).into();
        }
        source
    };
    let widen = bench.load(&source("widen", WIDEN));
    let codes: Vec<Bits> =
        (0..1usize << (8 * size_of::<Bits>())).filter_map(|code| Bits::try_from(code).ok()).collect();
    let got: Vec<f32> = bench.made(&widen, [codes.len() as u32 / 256, 256], &codes, codes.len());
    for (code, got) in got.iter().enumerate() {
        assert!(same(*got, widened(code)), "{name} {code:#x}: {got}, not {}", widened(code));
    }
    let (narrow, values) = (bench.load(&source("narrow", NARROW)), floats(size_of::<Bits>()));
    let bits: Vec<Bits> = bench.made(&narrow, [values.len() as u32 / 256, 256], &values, values.len());
    for (value, bits) in values.iter().zip(bits) {
        let (got, expected) = (widened(bits.into() as usize), narrowed(*value));
        assert!(same(got, expected), "{value} ({:#x}) as {make}: {got}, not {expected}", value.to_bits());
    }
}

#[test]
fn binary16_is_as_in_half() {
    for plain in [false, true] {
        let (widened, narrowed) =
            (|code| f16::from_bits(code as u16).to_f32(), |value| f16::from_f32(value).to_f32());
        check::<u16>("f16", "f16", plain, widened, narrowed);
    }
}

#[test]
fn bfloat16_is_as_in_half() {
    let (widened, narrowed) =
        (|code| bf16::from_bits(code as u16).to_f32(), |value| bf16::from_f32(value).to_f32());
    check::<u16>("bf16", "bf16", false, widened, narrowed);
}

#[test]
fn eight_bit_floats_are_as_in_onnx() {
    macro_rules! eight {
        ($($name:literal: $type:ty),*) => { $(
            let widened = |code| <$type>::from_bits(code as u8).to_f64() as f32;
            check::<u8>($name, $name, false, widened, |value| {
                <$type>::from_f64(f64::from(value)).to_f64() as f32
            });
            check::<u8>($name, concat!($name, "::overflowing"), false, widened, |value| {
                <$type>::from_f64_overflowing(f64::from(value)).to_f64() as f32
            });
        )* };
    }
    eight!("f8e4m3": F8E4M3Fn, "f8e4m3fnuz": F8E4M3Fnuz, "f8e5m2": F8E5M2, "f8e5m2fnuz": F8E5M2Fnuz);
}

const TWICE: &str = r#"
extern "C" __global__ void twice(const double *x, u32 *y) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = f16(x[i]).bits | u32(bf16(x[i]).bits) << 16;
}
"#;

/// The nearest float of so many bits of mantissa, ties to even; `least` is the exponent of the least normal number.
fn once(value: f64, mantissa: i32, least: i32, greatest: f64) -> f32 {
    if !value.is_finite() || value == 0.0 {
        return value as f32;
    }
    let exponent = (((value.to_bits() >> 52) & 0x7FF) as i32 - 1023).max(least);
    // Powers of two one by one, since their product may be less than the least double.
    let rounded = (value * 2f64.powi(mantissa) / 2f64.powi(exponent)).round_ties_even();
    let rounded = rounded * 2f64.powi(exponent) / 2f64.powi(mantissa);
    if rounded.abs() > greatest { f32::INFINITY.copysign(rounded as f32) } else { rounded as f32 }
}

#[test]
fn doubles_are_rounded_once() {
    let mut bench = Bench::new();
    let twice = bench.kernel("twice", TWICE);
    // At and next to the ties of both types.
    let mut values = vec![f64::MAX, -f64::MAX, f64::INFINITY, f64::MIN_POSITIVE, f64::NAN];
    for upper in (0..0x7F80u32).step_by(3) {
        let tie = f64::from(f32::from_bits(upper << 16 | 0x8000));
        let half = f64::from(f16::from_bits((upper % 0x7BFF) as u16)) * (1.0 + 2f64.powi(-11));
        values.extend([tie, tie.next_up(), -tie.next_down(), half, half.next_up(), -half.next_down()]);
    }
    values.truncate(values.len() / 256 * 256);
    let got: Vec<u32> = bench.made(&twice, [values.len() as u32 / 256, 256], &values, values.len());
    for (value, got) in values.iter().zip(got) {
        let (half, brain) = (f16::from_bits(got as u16), bf16::from_bits((got >> 16) as u16));
        assert!(same(half.to_f32(), once(*value, 10, -14, 65504.0)), "{value:?} as f16: {half:?}");
        assert!(
            same(brain.to_f32(), once(*value, 7, -126, f64::from(bf16::MAX))),
            "{value:?} as bf16: {brain:?}"
        );
    }
}

const CONVERT: &str = r#"
extern "C" __global__ void convert(const double *x, int *y) {
    u32 i = threadIdx.x;
    y[4 * i] = __float2int_rn(float(x[i]));
    y[4 * i + 1] = __double2int_rz(x[i]);
    y[4 * i + 2] = int(__float2uint_rn(float(x[i])));
    y[4 * i + 3] = __dp4a(int(0x80ff7f01), __float_as_int(float(x[i])), 1000) + __float2int_rd(float(x[i]));
}
"#;

#[test]
fn conversions_to_integers_saturate() {
    let mut bench = Bench::new();
    let convert = bench.kernel("convert", CONVERT);
    let values = [2.5f64, -3.5, 1e10, -1e10, f64::NAN, 4e9, f64::INFINITY, -0.75];
    let got: Vec<i32> = bench.made(&convert, [1, values.len() as u32], &values, 4 * values.len());
    for (got, &value) in got.as_chunks::<4>().0.iter().zip(&values) {
        let narrow = value as f32;
        let bytes = narrow.to_bits().to_le_bytes().map(|byte| i32::from(byte as i8));
        let dot: i32 = [1, 127, -1, -128].iter().zip(bytes).map(|(x, y)| x * y).sum();
        let expected = [
            narrow.round_ties_even() as i32,
            value as i32,
            narrow.round_ties_even() as u32 as i32,
            (1000 + dot).wrapping_add(narrow.floor() as i32),
        ];
        assert_eq!(*got, expected, "{value}");
    }
}

const EXTREMES: &str = r#"
extern "C" __global__ void extremes(const float *x, float *y) {
    u32 i = threadIdx.x, n = blockDim.x;
    for (u32 j = 0; j < n; j++) {
        float *z = y + 4 * (i * n + j);
        z[0] = fmaxf(x[i], x[j]), z[1] = min(x[i], x[j]);
        z[2] = float(fmax(double(x[i]), double(x[j]))), z[3] = float(fmin(double(x[i]), double(x[j])));
    }
}
"#;

#[test]
fn extremes_pass_nan_over() {
    let mut bench = Bench::new();
    let extremes = bench.kernel("extremes", EXTREMES);
    let values = [1f32, -2.0, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40];
    let got: Vec<f32> = bench.made(&extremes, [1, 8], &values, 256);
    for (at, got) in got.as_chunks::<4>().0.iter().enumerate() {
        let (x, y) = (values[at / 8], values[at % 8]);
        // The total order has -0 before 0.
        let (least, greatest) = match (x.is_nan(), y.is_nan()) {
            (true, _) => (y, y),
            (_, true) => (x, x),
            _ if x.total_cmp(&y).is_le() => (x, y),
            _ => (y, x),
        };
        for (got, expected) in got.iter().zip([greatest, least, greatest, least]) {
            assert!(same(*got, expected), "{x} and {y}: {got:?}");
        }
    }
}
