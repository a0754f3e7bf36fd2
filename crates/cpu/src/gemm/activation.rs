//! Activation functions that a matrix product or a convolution can apply to its result.

use crate::simd::{self, Isa, Kernel, Simd, math};

/// An activation function, element by element. NaN stays NaN in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// `x`
    #[default]
    None,
    /// `max(0, x)`
    Relu,
    /// `min(max(x, lo), hi)`; Relu6 is `Clip(0, 6)`.
    Clip(f32, f32),
    /// `x` where positive, else `a x`
    LeakyRelu(f32),
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x / (1 + e^-x)`, also called Swish
    Silu,
    /// `max(0, min(1, a x + b))`
    HardSigmoid(f32, f32),
    /// `x max(0, min(1, x / 6 + 1/2))`
    HardSwish,
    /// `tanh x`
    Tanh,
    /// `x / 2 (1 + erf(x / sqrt 2))`
    Gelu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`
    GeluTanh,
}

/// A function on vectors of any instruction set.
trait Function: Copy {
    fn eval<S: Simd>(self, s: S, x: S::F32) -> S::F32;
}

/// Declares functions: name, parameters, body on vectors.
macro_rules! functions {
    ($($name:ident($($arg:ident),*): |$self:ident, $s:ident, $x:ident| $body:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $name { $($arg: f32),* }
        impl Function for $name {
            #[inline(always)]
            fn eval<S: Simd>($self, $s: S, $x: S::F32) -> S::F32 { $body }
        }
    )*};
}

// Bounds come first in min and max, which keeps NaN.
functions! {
    Clip(lo, hi): |self, s, x| s.min(s.splat(self.hi), s.max(s.splat(self.lo), x));
    LeakyRelu(a): |self, s, x| s.select(s.lt(x, s.zero()), s.mul(x, s.splat(self.a)), x);
    Sigmoid(): |self, s, x| math::sigmoid(s, x);
    Silu(): |self, s, x| s.div(x, s.add(s.splat(1.0), math::exp(s, s.neg(x))));
    HardSigmoid(a, b): |self, s, x| {
        s.min(s.splat(1.0), s.max(s.zero(), s.mul_add(x, s.splat(self.a), s.splat(self.b))))
    };
    HardSwish(): |self, s, x| s.mul(x, HardSigmoid { a: 1.0 / 6.0, b: 0.5 }.eval(s, x));
    Tanh(): |self, s, x| math::tanh(s, x);
    Gelu(): |self, s, x| math::gelu(s, x);
    // (1 + tanh u) / 2 = 1 / (1 + e^-2u), which loses nothing where tanh is near -1.
    GeluTanh(): |self, s, x| {
        let x2 = s.mul(x, x);
        let u2 = s.mul(x, s.mul_add(x2, s.splat(-2.0 * 0.797_884_6 * 0.044_715), s.splat(-2.0 * 0.797_884_6)));
        s.div(x, s.add(s.splat(1.0), math::exp(s, u2)))
    };
}

impl Activation {
    /// The bounds of an activation that only clamps (no bounds for [`Activation::None`]).
    pub(crate) fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Activation::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Activation::Relu => Some((0.0, f32::INFINITY)),
            Activation::Clip(lo, hi) => Some((lo, hi)),
            _ => None,
        }
    }

    /// Applies the function to a slice in place.
    pub fn apply(self, isa: Isa, x: &mut [f32]) {
        isa.dispatch(Apply { activation: self, x });
    }

    /// Applies the function in place to `rows` rows of `cols` elements, `stride` apart.
    ///
    /// # Safety
    /// The rows must be valid for reads and writes.
    #[inline(always)]
    pub(crate) unsafe fn apply_rows<S: Simd>(
        self,
        s: S,
        x: *mut f32,
        stride: usize,
        rows: usize,
        cols: usize,
    ) {
        let x = Block { x, stride, rows, cols };
        match self {
            Activation::None => {}
            Activation::Relu => s.call(On(Clip { lo: 0.0, hi: f32::INFINITY }, x)),
            Activation::Clip(lo, hi) => s.call(On(Clip { lo, hi }, x)),
            Activation::LeakyRelu(a) => s.call(On(LeakyRelu { a }, x)),
            Activation::Sigmoid => s.call(On(Sigmoid {}, x)),
            Activation::Silu => s.call(On(Silu {}, x)),
            Activation::HardSigmoid(a, b) => s.call(On(HardSigmoid { a, b }, x)),
            Activation::HardSwish => s.call(On(HardSwish {}, x)),
            Activation::Tanh => s.call(On(Tanh {}, x)),
            Activation::Gelu => s.call(On(Gelu {}, x)),
            Activation::GeluTanh => s.call(On(GeluTanh {}, x)),
        }
    }
}

struct Apply<'a> {
    activation: Activation,
    x: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the slice is one row.
        unsafe { self.activation.apply_rows(s, self.x.as_mut_ptr(), 0, 1, self.x.len()) }
    }
}

/// Rows to be changed in place.
struct Block {
    x: *mut f32,
    stride: usize,
    rows: usize,
    cols: usize,
}

/// A function on a block, in code of its own.
struct On<F>(F, Block);

impl<F: Function> Kernel for On<F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let On(f, block) = self;
        for i in 0..block.rows {
            // SAFETY: the contract of `apply_rows`, the only maker of blocks.
            let row = unsafe { std::slice::from_raw_parts_mut(block.x.add(i * block.stride), block.cols) };
            simd::map_in_place(
                s,
                row,
                #[inline(always)]
                |x| f.eval(s, x),
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// All activations, with parameters.
    pub(crate) const ALL: [Activation; 11] = [
        Activation::None,
        Activation::Relu,
        Activation::Clip(-0.5, 0.75),
        Activation::LeakyRelu(0.1),
        Activation::Sigmoid,
        Activation::Silu,
        Activation::HardSigmoid(0.2, 0.5),
        Activation::HardSwish,
        Activation::Tanh,
        Activation::Gelu,
        Activation::GeluTanh,
    ];

    /// The definition in f64 (erf by its Maclaurin series, good to |x| < 5).
    pub(crate) fn exact(activation: Activation, x: f64) -> f64 {
        let erf = |t: f64| {
            let (mut term, mut sum) = (t, t);
            for k in 1..150 {
                term *= -t * t / k as f64;
                sum += term / (2 * k + 1) as f64;
            }
            if t.abs() > 5.0 { t.signum() } else { sum * 2.0 / std::f64::consts::PI.sqrt() }
        };
        match activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Clip(lo, hi) => x.max(lo as f64).min(hi as f64),
            Activation::LeakyRelu(a) => {
                if x < 0.0 {
                    x * a as f64
                } else {
                    x
                }
            }
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::HardSigmoid(a, b) => (a as f64 * x + b as f64).clamp(0.0, 1.0),
            Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Activation::Tanh => x.tanh(),
            Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + u.tanh())
            }
        }
    }

    #[test]
    fn follow_their_definitions() {
        for isa in Isa::available() {
            for n in [0, 1, 3, 17, 1001] {
                let x: Vec<f32> = (0..n).map(|i| (i as f32 * 7.77).rem_euclid(16.0) - 8.0).collect();
                for activation in ALL {
                    let mut y = x.clone();
                    activation.apply(isa, &mut y);
                    for (&x, &y) in x.iter().zip(&y) {
                        let e = exact(activation, x as f64);
                        let error = (y as f64 - e).abs();
                        assert!(
                            error <= 3e-7 * e.abs().max(x.abs() as f64),
                            "{isa:?} {activation:?}({x}) = {y}, not {e}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn keep_nan() {
        for isa in Isa::available() {
            for activation in ALL {
                let mut y = [f32::NAN; 17];
                activation.apply(isa, &mut y);
                assert!(y.iter().all(|y| y.is_nan()), "{isa:?} {activation:?}");
            }
        }
    }
}
