//! Every operation on every instruction set present, against plain Rust.

use super::*;

/// Interesting values first, then pseudo-random ones of many magnitudes.
fn values(n: usize, mut seed: u64) -> Vec<f32> {
    let special = [0.0, -0.0, 1.0, -1.5, 2.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5, -2.5, 1e-40];
    let random = std::iter::from_fn(move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let unit = (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        Some(unit * [1.0, 10.0, 1e4][(seed >> 33) as usize % 3])
    });
    special.into_iter().chain(random).take(n).collect()
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Declares a kernel over equal-length slices.
macro_rules! kernel {
    ($name:ident, |$s:ident, $($arg:ident),*| $body:expr) => {
        struct $name<'a> { $($arg: &'a [f32],)* out: &'a mut [f32] }
        impl Kernel for $name<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, $s: S) {
                let $name { $($arg,)* out } = self;
                let n = out.len();
                for i in (0..n).step_by(S::LANES) {
                    let end = n.min(i + S::LANES);
                    $(let $arg = $s.load_partial(&$arg[i..end]);)*
                    $s.store_partial(&mut out[i..end], $body);
                }
            }
        }
    };
}

macro_rules! check {
    (|$s:ident, $($arg:ident),*| $body:expr, $scalar:expr) => {{
        kernel!(Op, |$s, $($arg),*| $body);
        for isa in Isa::available() {
            for n in [1, 3, 4, 16, 17, 127] {
                let mut seed = 0;
                $(seed += 1; let $arg = values(n, seed); let $arg = &$arg[..];)*
                // One element more than the slice: it must survive.
                let mut out = vec![f32::from_bits(0xABAB_ABAB); n + 1];
                isa.dispatch(Op { $($arg,)* out: &mut out[..n] });
                assert_eq!(out[n].to_bits(), 0xABAB_ABAB, "{isa:?} wrote past the end");
                let scalar = $scalar;
                for i in 0..n {
                    let expected: f32 = scalar($($arg[i]),*);
                    assert!(same(out[i], expected), "{isa:?} {} at {i}: {} != {expected} of {:?}", stringify!($body), out[i], ($($arg[i],)*));
                }
            }
        }
    }};
}

#[test]
fn float_arithmetic() {
    check!(|s, a, b| s.add(a, b), |a: f32, b: f32| a + b);
    check!(|s, a, b| s.sub(a, b), |a: f32, b: f32| a - b);
    check!(|s, a, b| s.mul(a, b), |a: f32, b: f32| a * b);
    check!(|s, a, b| s.div(a, b), |a: f32, b: f32| a / b);
    check!(|s, a, b| s.min(a, b), |a: f32, b: f32| if a < b { a } else { b });
    check!(|s, a, b| s.max(a, b), |a: f32, b: f32| if a > b { a } else { b });
    check!(|s, a| s.neg(a), |a: f32| -a);
    check!(|s, a| s.abs(a), |a: f32| a.abs());
    check!(|s, a, b| s.copysign(a, b), |a: f32, b: f32| a.copysign(b));
    check!(|s, a| s.sqrt(s.abs(a)), |a: f32| a.abs().sqrt());
    check!(|s, a| s.round_ties_even(a), |a: f32| a.round_ties_even());
    check!(|s, a| s.floor(a), |a: f32| a.floor());
    check!(|s, a| s.ceil(a), |a: f32| a.ceil());
    check!(|s, a| s.trunc(a), |a: f32| a.trunc());
}

#[test]
fn multiply_add_is_fused_or_not() {
    kernel!(MulAdd, |s, a, b, c| s.mul_add(a, b, c));
    kernel!(NegMulAdd, |s, a, b, c| s.neg_mul_add(a, b, c));
    let (a, b, c) = (values(127, 1), values(127, 2), values(127, 3));
    for isa in Isa::available() {
        let mut out = vec![f32::NAN; 127];
        let mut neg = vec![f32::NAN; 127];
        isa.dispatch(MulAdd { a: &a, b: &b, c: &c, out: &mut out });
        isa.dispatch(NegMulAdd { a: &a, b: &b, c: &c, out: &mut neg });
        for i in 0..127 {
            let (fused, unfused) = (a[i].mul_add(b[i], c[i]), a[i] * b[i] + c[i]);
            assert!(same(out[i], fused) || same(out[i], unfused), "{isa:?} at {i}");
            let (fused, unfused) = ((-a[i]).mul_add(b[i], c[i]), c[i] - a[i] * b[i]);
            assert!(same(neg[i], fused) || same(neg[i], unfused), "{isa:?} at {i}");
        }
    }
}

#[test]
fn comparisons_and_masks() {
    let pick = |m: bool| if m { 1.0 } else { 2.0 };
    check!(|s, a, b| s.select(s.eq(a, b), s.splat(1.0), s.splat(2.0)), |a: f32, b: f32| pick(a == b));
    check!(|s, a, b| s.select(s.lt(a, b), s.splat(1.0), s.splat(2.0)), |a: f32, b: f32| pick(a < b));
    check!(|s, a, b| s.select(s.le(a, b), s.splat(1.0), s.splat(2.0)), |a: f32, b: f32| pick(a <= b));
    check!(|s, a, b| s.select(s.gt(a, b), s.splat(1.0), s.splat(2.0)), |a: f32, b: f32| pick(a > b));
    check!(|s, a, b| s.select(s.ge(a, b), s.splat(1.0), s.splat(2.0)), |a: f32, b: f32| pick(a >= b));
    check!(|s, a| s.select(s.is_nan(a), s.splat(1.0), s.splat(2.0)), |a: f32| pick(a.is_nan()));
    check!(
        |s, a, b| s.select(s.and(s.lt(a, b), s.not(s.or(s.lt(a, s.zero()), s.eq(b, s.zero())))), a, b),
        |a: f32, b: f32| if a < b && !(a < 0.0 || b == 0.0) { a } else { b }
    );
    check!(
        |s, a| s.bits_to_f32(s.select_i32(s.lt(a, s.zero()), s.splat_i32(7), s.to_bits(a))),
        |a: f32| if a < 0.0 { f32::from_bits(7) } else { a }
    );
    check!(|s, a| s.splat(if s.any(s.lt(a, a)) { 1.0 } else { 0.0 }), |_: f32| 0.0);
    check!(|s, a| s.splat(if s.any(s.first(1)) { 1.0 } else { s.sum(a) }), |_: f32| 1.0);
}

#[test]
fn integers() {
    let bits = |a: f32| a.to_bits() as i32;
    let float = |a: i32| f32::from_bits(a as u32);
    check!(|s, a, b| s.bits_to_f32(s.add_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(
        bits(a).wrapping_add(bits(b))
    ));
    check!(|s, a, b| s.bits_to_f32(s.sub_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(
        bits(a).wrapping_sub(bits(b))
    ));
    check!(|s, a, b| s.bits_to_f32(s.mul_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(
        bits(a).wrapping_mul(bits(b))
    ));
    check!(|s, a, b| s.bits_to_f32(s.and_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(bits(a) & bits(b)));
    check!(|s, a, b| s.bits_to_f32(s.or_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(bits(a) | bits(b)));
    check!(|s, a, b| s.bits_to_f32(s.xor_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(bits(a) ^ bits(b)));
    check!(|s, a| s.bits_to_f32(s.shl_i32::<5>(s.to_bits(a))), |a| float(bits(a) << 5));
    check!(|s, a| s.bits_to_f32(s.shr_i32::<5>(s.to_bits(a))), |a| float(bits(a) >> 5));
    check!(|s, a, b| s.bits_to_f32(s.min_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(
        bits(a).min(bits(b))
    ));
    check!(|s, a, b| s.bits_to_f32(s.max_i32(s.to_bits(a), s.to_bits(b))), |a, b| float(
        bits(a).max(bits(b))
    ));
    check!(
        |s, a, b| s.select(s.eq_i32(s.to_bits(a), s.to_bits(b)), a, s.zero()),
        |a, b| if bits(a) == bits(b) { a } else { 0.0 }
    );
    check!(|s, a, b| s.select(s.gt_i32(s.to_bits(a), s.to_bits(b)), a, b), |a, b| if bits(a) > bits(b) {
        a
    } else {
        b
    });
    check!(|s, a| s.to_f32(s.to_bits(a)), |a| bits(a) as f32);
    // Conversions are specified only where the result fits.
    let finite = |a: f32| if a.is_finite() { a } else { 0.0 };
    check!(|s, a| s.to_f32(s.to_i32_round(s.select(s.lt(s.abs(a), s.splat(1e6)), a, s.zero()))), |a: f32| {
        finite(a).round_ties_even() as i32 as f32
    });
    check!(|s, a| s.to_f32(s.to_i32_trunc(s.select(s.lt(s.abs(a), s.splat(1e6)), a, s.zero()))), |a: f32| {
        finite(a) as i32 as f32
    });
}

struct Reductions<'a>(&'a [f32]);

impl Kernel for Reductions<'_> {
    type Output = [f32; 5];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; 5] {
        let mut copy = vec![0; S::LANES];
        let bits: Vec<i32> = self.0[..S::LANES].iter().map(|x| x.to_bits() as i32).collect();
        s.store_i32(&mut copy, s.load_i32(&bits));
        assert_eq!(copy, bits);
        [
            s.sum(fold(s, self.0, 0.0, |a, b| s.add(a, b))),
            s.max_lane(fold(s, self.0, f32::NEG_INFINITY, |a, b| s.max(a, b))),
            s.min_lane(fold(s, self.0, f32::INFINITY, |a, b| s.min(a, b))),
            s.max_lane(s.load(self.0)) - self.0[..S::LANES].iter().fold(f32::MIN, |a, &b| a.max(b)),
            s.min_lane(s.load(self.0)) - self.0[..S::LANES].iter().fold(f32::MAX, |a, &b| a.min(b)),
        ]
    }
}

#[test]
fn reductions() {
    for isa in Isa::available() {
        for n in [16, 17, 63, 64, 127, 1000] {
            // Small integers: sums are exact in any order.
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
            let max = x.iter().fold(f32::MIN, |a, &b| a.max(b));
            let min = x.iter().fold(f32::MAX, |a, &b| a.min(b));
            let got = isa.dispatch(Reductions(&x));
            assert_eq!(got, [x.iter().sum(), max, min, 0.0, 0.0], "{isa:?} n={n}");
        }
    }
}

struct Slices<'a>(&'a [f32], &'a [f32], [&'a mut [f32]; 4]);

impl Kernel for Slices<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Slices(a, b, [o0, o1, o2, o3]) = self;
        map(s, a, o0, |a| s.add(a, s.splat(1.0)));
        o1.copy_from_slice(a);
        map_in_place(s, o1, |a| s.neg(a));
        zip(s, a, b, o2, |a, b| s.sub(a, b));
        o3.copy_from_slice(a);
        zip_in_place(s, o3, b, |a, b| s.mul(a, b));
    }
}

#[test]
fn slice_functions() {
    for isa in Isa::available() {
        for n in [0, 1, 3, 4, 15, 16, 17, 127] {
            let a: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
            let b: Vec<f32> = (0..n).map(|i| 3.0 - i as f32).collect();
            let mut out = vec![f32::NAN; 4 * n];
            let mut parts = out.chunks_mut(n.max(1));
            let parts = std::array::from_fn(|_| parts.next().unwrap_or_default());
            isa.dispatch(Slices(&a, &b, parts));
            for i in 0..n {
                let got: [f32; 4] = std::array::from_fn(|k| out[k * n + i]);
                assert_eq!(got, [a[i] + 1.0, -a[i], a[i] - b[i], a[i] * b[i]], "{isa:?} n={n} i={i}");
            }
        }
    }
}

struct Bytes<'a>(&'a [u8], [&'a mut [i32]; 2], &'a mut [u8]);

impl Kernel for Bytes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Bytes(x, [unsigned, signed], low) = self;
        for i in (0..x.len()).step_by(S::LANES) {
            let end = x.len().min(i + S::LANES);
            let (a, b) = (s.load_u8(&x[i..end]), s.load_i8(&x[i..end]));
            let mut lanes = [0; 16];
            s.store_i32(&mut lanes, a);
            unsigned[i..end].copy_from_slice(&lanes[..end - i]);
            s.store_i32(&mut lanes, b);
            signed[i..end].copy_from_slice(&lanes[..end - i]);
            s.store_bytes(&mut low[i..end], s.add_i32(s.mul_i32(a, s.splat_i32(257)), s.splat_i32(1)));
        }
    }
}

#[test]
fn bytes_become_integers_and_back() {
    for isa in Isa::available() {
        for n in [1, 3, 4, 15, 16, 17, 127, 256] {
            let x: Vec<u8> = (0..n).map(|i| (i * 37 + 5) as u8).collect();
            let (mut unsigned, mut signed, mut low) = (vec![-1; n], vec![-1; n], vec![0xAB; n + 1]);
            isa.dispatch(Bytes(&x, [&mut unsigned, &mut signed], &mut low[..n]));
            for i in 0..n {
                let got = (unsigned[i], signed[i], low[i]);
                assert_eq!(
                    got,
                    (i32::from(x[i]), i32::from(x[i] as i8), x[i].wrapping_add(1)),
                    "{isa:?} {n} {i}"
                );
            }
            assert_eq!(low[n], 0xAB, "{isa:?} wrote past the end");
        }
    }
}

struct Transpose<'a>(&'a [f32], &'a mut [f32], usize);

impl Kernel for Transpose<'_> {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        assert!(self.0.len() >= S::LANES * self.2 && self.1.len() >= S::LANES * self.2 && self.2 >= S::LANES);
        // SAFETY: checked just above.
        unsafe { s.transpose_ptr(self.0.as_ptr(), self.2, self.1.as_mut_ptr(), self.2) };
        S::LANES
    }
}

#[test]
fn transposed_block() {
    let stride = 19;
    let src: Vec<f32> = (0..16 * stride).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let mut dst = vec![-1.0; 16 * stride];
        let lanes = isa.dispatch(Transpose(&src, &mut dst, stride));
        for i in 0..16 {
            for j in 0..stride {
                let inside = i < lanes && j < lanes;
                let expected = if inside { src[j * stride + i] } else { -1.0 };
                assert_eq!(dst[i * stride + j], expected, "{isa:?} {i} {j}");
            }
        }
    }
}

#[test]
fn names_and_choice() {
    let available = Isa::available();
    assert!(available.contains(&Isa::best()));
    assert_eq!(available.last().map(|isa| isa.name()), Some("portable"));
}

/// erf by its Maclaurin series (small) or the continued fraction of erfc (large), in f64.
fn erf64(x: f64) -> f64 {
    let t = x.abs();
    let y = if t < 2.5 {
        let (mut term, mut sum) = (t, t);
        for k in 1..80 {
            term *= -t * t / k as f64;
            sum += term / (2 * k + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(t, |f, k| t + k as f64 / 2.0 / f);
        1.0 - (-t * t).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    y.copysign(x)
}

/// Largest relative error of `f` against `exact` over `range`.
fn worst(isa: Isa, range: (f32, f32), exact: fn(f64) -> f64, f: fn(Isa, &[f32], &mut [f32])) -> f64 {
    let n = 200_001;
    let x: Vec<f32> = (0..n).map(|i| range.0 + (range.1 - range.0) * (i as f32 / (n - 1) as f32)).collect();
    let mut y = vec![f32::NAN; n];
    f(isa, &x, &mut y);
    let errors = x.iter().zip(&y).map(|(&x, &y)| {
        let e = exact(x as f64);
        let error = ((y as f64 - e) / e).abs();
        if e == y as f64 { 0.0 } else { error }
    });
    // f64::max would drop NaN.
    errors.fold(0.0, |a, e| if e <= a { a } else { e })
}

macro_rules! on_slices {
    ($name:ident, $f:path) => {
        fn $name(isa: Isa, x: &[f32], out: &mut [f32]) {
            kernel!(F, |s, x| $f(s, x));
            isa.dispatch(F { x, out });
        }
    };
}
on_slices!(exp_on, math::exp);
on_slices!(sigmoid_on, math::sigmoid);
on_slices!(tanh_on, math::tanh);
on_slices!(erf_on, math::erf);
on_slices!(exp_m1_on, math::exp_m1_negative);
on_slices!(log_on, math::log);
on_slices!(log_1p_on, math::log_1p);
on_slices!(sin_on, math::sin);
on_slices!(cos_on, math::cos);
on_slices!(exp_bounded_on, math::exp_bounded);
on_slices!(gelu_on, math::gelu);

#[test]
fn math_errors_are_as_documented() {
    for isa in Isa::available() {
        // Without fused multiply-add a little more.
        let slack = if isa.name() == "portable" { 6e-8 } else { 0.0 };
        let check = |name: &str, bound: f64, got: f64| {
            println!("{isa:?} {name}: {got:.2e}");
            assert!(got < bound + slack, "{isa:?} {name}: {got:e}");
        };
        for range in [(-1.0, 1.0), (-87.3, 88.7)] {
            check("exp", 1.2e-7, worst(isa, range, f64::exp, exp_on));
            check("sigmoid", 2.5e-7, worst(isa, range, |x| 1.0 / (1.0 + (-x).exp()), sigmoid_on));
            check("tanh", 2.5e-7, worst(isa, range, f64::tanh, tanh_on));
        }
        check("exp_bounded", 1.2e-7, worst(isa, (-87.0, 87.0), f64::exp, exp_bounded_on));
        for range in [(-1.0, 1.0), (-4.5, 4.5)] {
            check("erf", 2.5e-7, worst(isa, range, erf64, erf_on));
        }
        for range in [(-0.01, 0.0), (-1.0, 0.0), (-100.0, 0.0)] {
            check("exp_m1", 2e-7, worst(isa, range, f64::exp_m1, exp_m1_on));
        }
        for range in [(1e-44, 1e-37), (1e-3, 2.0), (0.9, 1.1), (0.0, 3e38)] {
            check("log", 1.5e-7, worst(isa, range, f64::ln, log_on));
        }
        for range in [(0.0, 1e-6), (0.0, 1.0), (0.0, 1e3)] {
            check("log_1p", 2.5e-7, worst(isa, range, f64::ln_1p, log_1p_on));
        }
    }
}

#[test]
fn trigonometric_errors_are_as_documented() {
    let n = 200_001;
    let limit = math::TRIGONOMETRIC_LIMIT;
    for isa in Isa::available() {
        let slack = if isa.name() == "portable" { 6e-8 } else { 0.0 };
        for bound in [1.0, 100.0, limit] {
            let x: Vec<f32> = (0..n).map(|i| bound * (2.0 * i as f32 / (n - 1) as f32 - 1.0)).collect();
            let (mut sin, mut cos) = (vec![f32::NAN; n], vec![f32::NAN; n]);
            sin_on(isa, &x, &mut sin);
            cos_on(isa, &x, &mut cos);
            for i in 0..n {
                let (s, c) = f64::from(x[i]).sin_cos();
                let error = (f64::from(sin[i]) - s).abs().max((f64::from(cos[i]) - c).abs());
                assert!(error < 1.2e-7 + slack, "{isa:?} at {}: {error:e}", x[i]);
            }
        }
    }
}

#[test]
fn gelu_error_is_as_documented() {
    for isa in Isa::available() {
        let x: Vec<f32> = (0..400_001).map(|i| (i as f32 - 200_000.0) * 5e-5).collect();
        let mut y = vec![f32::NAN; x.len()];
        gelu_on(isa, &x, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let x = x as f64;
            let exact = 0.5 * x * (1.0 + erf64(x * std::f64::consts::FRAC_1_SQRT_2));
            assert!((y as f64 - exact).abs() <= 1.5e-7 * x.abs(), "{isa:?} gelu({x}) = {y}, not {exact}");
        }
        let edges = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1e30, -1e30];
        let mut y = [1.0; 6];
        gelu_on(isa, &edges, &mut y);
        assert!(y[0].is_nan() && y[1] == f32::INFINITY && y[2].abs() < 1e-15 && y[3] == 0.0);
        assert!(y[4] == 1e30 && y[5].abs() < 1e-15, "{isa:?} {y:?}");
    }
}

#[test]
fn math_at_the_edges() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-30, -1e30, 88.8, -100.0];
    for isa in Isa::available() {
        let mut y = [0.0; 9];
        exp_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[1] == f32::INFINITY && y[2] == 0.0 && y[3] == 1.0 && y[6] == 0.0);
        assert!(y[7] == f32::INFINITY && (y[8] / 3.8e-44 - 1.0).abs() < 0.1, "{isa:?} {y:?}");
        tanh_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[1..4] == [1.0, -1.0, 0.0] && y[4].is_sign_negative() && y[5] == 1e-30);
        erf_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[1..4] == [1.0, -1.0, 0.0] && y[4].is_sign_negative() && y[6] == -1.0);
        assert!((y[5] / 1.128_379_2e-30 - 1.0).abs() < 1e-6);
        sigmoid_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[1..4] == [1.0, 0.0, 0.5]);
        log_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[1] == f32::INFINITY && y[2].is_nan() && y[6].is_nan(), "{isa:?} {y:?}");
        assert!(y[3..5] == [f32::NEG_INFINITY; 2] && (y[5] / -69.077_55 - 1.0).abs() < 1e-6);
        log_1p_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[3] == 0.0 && y[5] == 1e-30);
        exp_m1_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[1..4] == [0.0, -1.0, 0.0] && y[6] == -1.0);
        sin_on(isa, &x, &mut y);
        assert!(y[0].is_nan() && y[3] == 0.0 && y[4].is_sign_negative() && y[5] == 1e-30);
    }
}
