//! The functions that programs are made of, each with its vector form.

use crate::simd::{Simd, activation, math};

/// An operand in memory: `step` is 1 for consecutive elements, 0 for one element repeated in [`LANES`] places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    pub(super) data: *const f32,
    pub(super) step: usize,
}

/// Lanes of the widest vector.
pub(super) const LANES: usize = 16;

/// Declares [`Function`]: name, parameters, cost in units of an addition, and the vector form.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident $({ $($p:ident),+ })? [$cost:literal] |$s:ident, $($x:ident),+| $body:expr;)*) => {
        /// A function of one to three numbers. Truth values are 1 and 0.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Function {
            $($(#[$doc])* $name $({ $(
                #[allow(missing_docs)] $p: f32
            ),+ })?,)*
            /// Any function of one number, element by element.
            Map(fn(f32) -> f32),
            /// Any function of two numbers, element by element.
            Zip(fn(f32, f32) -> f32),
        }

        impl Function {
            /// Number of operands.
            pub(crate) fn arity(self) -> usize {
                match self {
                    $(Function::$name $({ $($p: _),+ })? => [$(stringify!($x)),+].len(),)*
                    Function::Map(_) => 1,
                    Function::Zip(_) => 2,
                }
            }

            /// Cost for one element, in units of an addition.
            pub(crate) fn cost(self) -> usize {
                match self {
                    $(Function::$name $({ $($p: _),+ })? => $cost,)*
                    Function::Map(_) | Function::Zip(_) => 64,
                }
            }

            /// Writes the function of `n` elements of each operand.
            ///
            /// # Safety
            /// Each operand of the arity must be readable for `n` elements, or for [`LANES`] if its step is 0, and `out`
            /// writable for `n`. `out` may be where an operand is, but must not overlap it otherwise.
            #[inline(always)]
            pub(super) unsafe fn apply<S: Simd>(self, s: S, operands: &[Pointer; 3], out: *mut f32, n: usize) {
                match self {
                    $(Function::$name $({ $($p),+ })? => {
                        let $s = s;
                        let [$($x,)+ ..] = *operands;
                        let mut i = 0;
                        // SAFETY: i + LANES <= n in the loop, and only n - i elements are touched after it.
                        unsafe {
                            while i + S::LANES <= n {
                                $(let $x = $s.load_ptr($x.data.add(i * $x.step));)+
                                $s.store_ptr(out.add(i), $body);
                                i += S::LANES;
                            }
                            if i < n {
                                $(let $x = $s.load_ptr_first($x.data.add(i * $x.step), n - i);)+
                                $s.store_ptr_first(out.add(i), $body, n - i);
                            }
                        }
                    })*
                    // SAFETY: the caller vouches for n elements.
                    Function::Map(f) => unsafe { map(f, operands[0], out, n) },
                    // SAFETY: the caller vouches for n elements.
                    Function::Zip(f) => unsafe { zip(f, operands[0], operands[1], out, n) },
                }
            }
        }
    };
}

/// # Safety
/// As [`Function::apply`].
#[inline(never)]
unsafe fn map(f: fn(f32) -> f32, x: Pointer, out: *mut f32, n: usize) {
    for i in 0..n {
        // SAFETY: the caller vouches for n elements.
        unsafe { *out.add(i) = f(*x.data.add(i * x.step)) };
    }
}

/// # Safety
/// As [`Function::apply`].
#[inline(never)]
unsafe fn zip(f: fn(f32, f32) -> f32, a: Pointer, b: Pointer, out: *mut f32, n: usize) {
    for i in 0..n {
        // SAFETY: the caller vouches for n elements.
        unsafe { *out.add(i) = f(*a.data.add(i * a.step), *b.data.add(i * b.step)) };
    }
}

/// 1 where the mask is true, else 0.
#[inline(always)]
fn truth<S: Simd>(s: S, mask: S::Mask) -> S::F32 {
    s.select(mask, s.splat(1.0), s.zero())
}

/// `y`, but `scalar` of each lane of `x` that is too large for the vector form. Other lanes keep `y`, so that a result does
/// not depend on what stands beside it.
#[inline(always)]
fn reduced<S: Simd>(s: S, x: S::F32, y: S::F32, scalar: fn(f32) -> f32) -> S::F32 {
    if !s.any(s.gt(s.abs(x), s.splat(math::TRIGONOMETRIC_LIMIT))) {
        return y;
    }
    let (mut from, mut lanes) = ([0.0; LANES], [0.0; LANES]);
    s.store(&mut from, x);
    s.store(&mut lanes, y);
    for (x, lane) in from.into_iter().zip(&mut lanes) {
        if x.abs() > math::TRIGONOMETRIC_LIMIT {
            *lane = scalar(x);
        }
    }
    s.load(&lanes)
}

functions! {
    /// `x`.
    Identity [1] |s, x| x;
    /// `|x|`.
    Abs [1] |s, x| s.abs(x);
    /// `-x`.
    Neg [1] |s, x| s.neg(x);
    /// `e^x`.
    Exp [8] |s, x| math::exp(s, x);
    /// `ln x`.
    Log [8] |s, x| math::log(s, x);
    /// Square root.
    Sqrt [4] |s, x| s.sqrt(x);
    /// `1 / sqrt x`.
    Rsqrt [6] |s, x| s.div(s.splat(1.0), s.sqrt(x));
    /// `1 / x`.
    Reciprocal [3] |s, x| s.div(s.splat(1.0), x);
    /// `x x`.
    Square [1] |s, x| s.mul(x, x);
    /// `x x x`.
    Cube [1] |s, x| s.mul(s.mul(x, x), x);
    /// `1 / (1 + e^-x)`.
    Sigmoid [10] |s, x| math::sigmoid(s, x);
    /// Hyperbolic tangent.
    Tanh [12] |s, x| math::tanh(s, x);
    /// The error function.
    Erf [16] |s, x| math::erf(s, x);
    /// Sine.
    Sin [12] |s, x| reduced(s, x, math::sin(s, x), f32::sin);
    /// Cosine.
    Cos [12] |s, x| reduced(s, x, math::cos(s, x), f32::cos);
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    Gelu [18] |s, x| activation::gelu(s, x);
    /// GELU by its tanh approximation.
    GeluTanh [12] |s, x| activation::gelu_tanh(s, x);
    /// `x / (1 + e^(-alpha x))`.
    Swish { alpha } [11] |s, x| activation::swish(s, x, alpha);
    /// `x max(0, min(1, x / 6 + 1 / 2))`.
    HardSwish [2] |s, x| activation::hard_swish(s, x);
    /// `max(0, min(1, alpha x + beta))`.
    HardSigmoid { alpha, beta } [2] |s, x| activation::hard_sigmoid(s, x, alpha, beta);
    /// `ln(1 + e^x)`.
    Softplus [20] |s, x| activation::softplus(s, x);
    /// `x tanh(ln(1 + e^x))`.
    Mish [12] |s, x| activation::mish(s, x);
    /// `max(0, x)`.
    Relu [1] |s, x| activation::relu(s, x);
    /// `min(max(x, low), high)`.
    Clip { low, high } [1] |s, x| activation::clip(s, x, low, high);
    /// `x`, or `alpha x` where negative.
    LeakyRelu { alpha } [1] |s, x| activation::leaky_relu(s, x, s.splat(alpha));
    /// `x`, or `alpha (e^(x / scale) - 1)` where negative.
    Elu { alpha, scale } [9] |s, x| activation::elu(s, x, alpha, scale);
    /// `gamma` times [`Function::Elu`].
    Selu { alpha, gamma } [9] |s, x| s.mul(s.splat(gamma), activation::elu(s, x, alpha, 1.0));
    /// `x` where above `alpha`, else 0.
    ThresholdedRelu { alpha } [1] |s, x| s.select(s.le(x, s.splat(alpha)), s.zero(), x);
    /// Towards zero by `bias` outside of `limit`, 0 within.
    Shrink { limit, bias } [2] |s, x| activation::shrink(s, x, limit, bias);
    /// `x / (1 + |x|)`.
    Softsign [3] |s, x| activation::softsign(s, x);
    /// `alpha tanh(beta x)`.
    ScaledTanh { alpha, beta } [12] |s, x| s.mul(s.splat(alpha), math::tanh(s, s.mul(x, s.splat(beta))));
    /// `alpha x + beta`.
    Affine { alpha, beta } [1] |s, x| s.mul_add(x, s.splat(alpha), s.splat(beta));
    /// To the integer below or equal.
    Floor [1] |s, x| s.floor(x);
    /// To the integer above or equal.
    Ceil [1] |s, x| s.ceil(x);
    /// To the nearest integer, ties to even.
    Round [1] |s, x| s.round_ties_even(x);
    /// 1, -1 or 0.
    Sign [2] |s, x| {
        let one = s.splat(1.0);
        let y = s.select(s.lt(x, s.zero()), s.neg(one), s.select(s.eq(x, s.zero()), s.zero(), x));
        s.select(s.gt(x, s.zero()), one, y)
    };
    /// Whether `x` is 0.
    Not [1] |s, x| truth(s, s.eq(x, s.zero()));
    /// Whether `x` is not 0.
    Truth [1] |s, x| truth(s, s.not(s.eq(x, s.zero())));
    /// Whether `x` is NaN.
    IsNan [1] |s, x| truth(s, s.is_nan(x));
    /// Whether `x` is infinity (if `positive`) or minus infinity (if `negative`).
    IsInf { positive, negative } [1] |s, x| {
        let infinity = s.splat(f32::INFINITY);
        let above = s.select(s.eq(x, infinity), s.splat(positive), s.zero());
        s.select(s.eq(x, s.neg(infinity)), s.splat(negative), above)
    };

    /// `a + b`.
    Add [1] |s, a, b| s.add(a, b);
    /// `a - b`.
    Sub [1] |s, a, b| s.sub(a, b);
    /// `a b`.
    Mul [1] |s, a, b| s.mul(a, b);
    /// `a / b`.
    Div [3] |s, a, b| s.div(a, b);
    /// The smaller, NaN if either is.
    Min [1] |s, a, b| s.select(s.is_nan(a), a, s.min(a, b));
    /// The larger, NaN if either is.
    Max [1] |s, a, b| s.select(s.is_nan(a), a, s.max(a, b));
    /// `a`, or `a b` where `a` is negative.
    PRelu [1] |s, a, b| activation::leaky_relu(s, a, b);
    /// Whether `a = b`.
    Equal [1] |s, a, b| truth(s, s.eq(a, b));
    /// Whether `a < b`.
    Less [1] |s, a, b| truth(s, s.lt(a, b));
    /// Whether `a <= b`.
    LessOrEqual [1] |s, a, b| truth(s, s.le(a, b));
    /// Whether both are not 0.
    And [1] |s, a, b| truth(s, s.not(s.or(s.eq(a, s.zero()), s.eq(b, s.zero()))));
    /// Whether one is not 0.
    Or [1] |s, a, b| truth(s, s.not(s.and(s.eq(a, s.zero()), s.eq(b, s.zero()))));
    /// Whether exactly one of two truth values is 1.
    Xor [1] |s, a, b| truth(s, s.not(s.eq(a, b)));

    /// `a` where `c` is not 0, else `b`.
    Select [1] |s, c, a, b| s.select(s.eq(c, s.zero()), b, a);
    /// `min(max(x, low), high)`, NaN if `x` is.
    ClipBetween [1] |s, x, low, high| s.min(high, s.max(low, x));
}
