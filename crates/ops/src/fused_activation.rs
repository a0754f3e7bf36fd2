//! Activations that operators apply to their own results: those of `RNN`, `GRU`, `LSTM` and of the fused operators of
//! `com.microsoft`. Formulas: <https://onnx.ai/onnx/operators/onnx__LSTM.html>.

use inferrum_graph::OpError;

use crate::{Expression, scalar};

/// An element-wise function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FusedActivation {
    /// `max(x, 0)`.
    Relu,
    /// `x` if it is positive, else `alpha * x`.
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
    /// `x` if it is greater than `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// `tanh(x)`.
    Tanh,
    /// `alpha * tanh(beta * x)`.
    ScaledTanh {
        /// Scale of the result.
        alpha: f32,
        /// Scale of the argument.
        beta: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `min(max(alpha * x + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x * HardSigmoid(x)` with slope 1/6 and value 1/2 at 0.
    HardSwish,
    /// `x * Sigmoid(x)`, also called Swish.
    Silu,
    /// `x` if it is positive, else `alpha * (exp(x) - 1)`.
    Elu {
        /// Limit of the negative side, negated.
        alpha: f32,
    },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `alpha * x + beta`.
    Affine {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `min(max(x, min), max)`.
    Clip {
        /// Least result.
        min: f32,
        /// Greatest result.
        max: f32,
    },
    /// `x` times the normal distribution function of `x`, by `erf`. Only Inferrum's own fusions make it.
    Gelu,
    /// `Gelu` by its approximation with `tanh`. Only Inferrum's own fusions make it.
    GeluTanh,
}

/// Parameters of activations, taken one after the other; a default stands in for one that is not there.
pub(crate) struct Parameters<'a>(pub(crate) &'a [f32]);

impl Parameters<'_> {
    pub(crate) fn next(&mut self, default: f32) -> f32 {
        let Some((&first, rest)) = self.0.split_first() else { return default };
        self.0 = rest;
        first
    }
}

/// What to call an operator with an activation: `Conv + Relu`.
pub(crate) fn label(op: &str, activation: Option<FusedActivation>) -> String {
    match activation {
        None => op.to_owned(),
        Some(activation) => {
            let text = format!("{activation:?}");
            format!("{op} + {}", text.split(' ').next().unwrap_or_default())
        }
    }
}

impl FusedActivation {
    /// The activation of an ONNX name (in any case, as ONNX Runtime takes it); those that have parameters take them
    /// from `alpha` and `beta`, with the defaults of the ONNX operator of that name.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for an unknown name.
    pub(crate) fn named(
        attribute: &str,
        name: &str,
        alpha: &mut Parameters<'_>,
        beta: &mut Parameters<'_>,
    ) -> Result<FusedActivation, OpError> {
        use FusedActivation::*;
        Ok(match name.to_ascii_lowercase().as_str() {
            "relu" => Relu,
            "leakyrelu" => LeakyRelu { alpha: alpha.next(0.01) },
            "thresholdedrelu" => ThresholdedRelu { alpha: alpha.next(1.0) },
            "tanh" => Tanh,
            "scaledtanh" => ScaledTanh { alpha: alpha.next(1.0), beta: beta.next(1.0) },
            "sigmoid" => Sigmoid,
            "hardsigmoid" => HardSigmoid { alpha: alpha.next(0.2), beta: beta.next(0.5) },
            "hardswish" => HardSwish,
            "silu" | "swish" => Silu,
            "elu" => Elu { alpha: alpha.next(1.0) },
            "softsign" => Softsign,
            "softplus" => Softplus,
            "affine" => Affine { alpha: alpha.next(1.0), beta: beta.next(0.0) },
            "clip" => Clip { min: alpha.next(f32::MIN), max: beta.next(f32::MAX) },
            _ => return Err(OpError::attribute(attribute, "an activation function", name)),
        })
    }

    /// The function of one element.
    pub fn apply(self, x: f64) -> f64 {
        use FusedActivation::*;
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            Relu if x <= 0.0 => 0.0,
            Relu => x,
            LeakyRelu { alpha } if x < 0.0 => f64::from(alpha) * x,
            LeakyRelu { .. } => x,
            ThresholdedRelu { alpha } if x > f64::from(alpha) => x,
            ThresholdedRelu { .. } => 0.0,
            Tanh => x.tanh(),
            ScaledTanh { alpha, beta } => f64::from(alpha) * (f64::from(beta) * x).tanh(),
            Sigmoid => sigmoid(x),
            HardSigmoid { alpha, beta } => bounded(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0),
            HardSwish => x * bounded(x / 6.0 + 0.5, 0.0, 1.0),
            Silu => x * sigmoid(x),
            Elu { alpha } if x < 0.0 => f64::from(alpha) * x.exp_m1(),
            Elu { .. } => x,
            Softsign => x / (1.0 + x.abs()),
            Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Affine { alpha, beta } => f64::from(alpha) * x + f64::from(beta),
            Clip { min, max } => bounded(x, f64::from(min), f64::from(max)),
            Gelu => scalar::gelu(x),
            GeluTanh => scalar::gelu_tanh(x),
        }
    }

    /// The function as an [`Expression`] of `x`.
    pub fn expression(self) -> Expression {
        use FusedActivation::*;
        let (text, parameters) = match self {
            Relu => ("select(x, T(0.0), x < T(0.0))", vec![]),
            LeakyRelu { alpha } => ("select(x, alpha * x, x < T(0.0))", vec![("alpha", alpha)]),
            ThresholdedRelu { alpha } => ("select(T(0.0), x, x > alpha)", vec![("alpha", alpha)]),
            Tanh => ("tanh(x)", vec![]),
            ScaledTanh { alpha, beta } => ("alpha * tanh(beta * x)", vec![("alpha", alpha), ("beta", beta)]),
            Sigmoid => ("sigmoid(x)", vec![]),
            HardSigmoid { alpha, beta } => {
                ("minimum(maximum(alpha * x + beta, T(0.0)), T(1.0))", vec![("alpha", alpha), ("beta", beta)])
            }
            HardSwish => ("x * minimum(maximum(x / T(6.0) + T(0.5), T(0.0)), T(1.0))", vec![]),
            Silu => ("x * sigmoid(x)", vec![]),
            Elu { alpha } => ("select(x, alpha * expm1(x), x < T(0.0))", vec![("alpha", alpha)]),
            Softsign => ("x / (T(1.0) + abs(x))", vec![]),
            Softplus => ("softplus(x)", vec![]),
            Affine { alpha, beta } => ("alpha * x + beta", vec![("alpha", alpha), ("beta", beta)]),
            Clip { min, max } => ("minimum(maximum(x, low), high)", vec![("low", min), ("high", max)]),
            Gelu => ("T(0.5) * x * (T(1.0) + erf(x * T(0.7071067811865476)))", vec![]),
            GeluTanh => (
                "T(0.5) * x * (T(1.0) + tanh(T(0.7978845608028654) * (x + T(0.044715) * x * x * x)))",
                vec![],
            ),
        };
        Expression { text, operands: 1, parameters, truth: false, integers: false }
    }
}

/// `min(max(x, low), high)`; NaN stays NaN, and `low > high` is no error.
fn bounded(x: f64, low: f64, high: f64) -> f64 {
    if x < low {
        low.min(high)
    } else if x > high {
        high
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_in_order_by_those_that_have_them() {
        let (mut alpha, mut beta) = (Parameters(&[0.5, 2.0]), Parameters(&[3.0]));
        let mut named = |name: &str| FusedActivation::named("activations", name, &mut alpha, &mut beta);
        assert_eq!(named("LeakyRelu").unwrap(), FusedActivation::LeakyRelu { alpha: 0.5 });
        assert_eq!(named("tanh").unwrap(), FusedActivation::Tanh);
        assert_eq!(named("Affine").unwrap(), FusedActivation::Affine { alpha: 2.0, beta: 3.0 });
        assert_eq!(named("HardSigmoid").unwrap(), FusedActivation::HardSigmoid { alpha: 0.2, beta: 0.5 });
        assert!(named("Gelu3").is_err());
    }

    #[test]
    fn texts_agree_with_the_functions() {
        use crate::expression::evaluate::{SAMPLES, close, evaluate};
        use FusedActivation::*;
        for activation in [
            Relu,
            LeakyRelu { alpha: 0.125 },
            ThresholdedRelu { alpha: 0.5 },
            Tanh,
            ScaledTanh { alpha: 1.5, beta: 0.25 },
            Sigmoid,
            HardSigmoid { alpha: 0.25, beta: 0.5 },
            HardSwish,
            Silu,
            Elu { alpha: 0.75 },
            Softsign,
            Softplus,
            Affine { alpha: 1.5, beta: -0.5 },
            Clip { min: -0.5, max: 2.0 },
            Gelu,
            GeluTanh,
        ] {
            for &x in SAMPLES {
                let (text, closure) = (evaluate(&activation.expression(), &[x]), activation.apply(x));
                assert!(close(text, closure), "{activation:?} of {x}: text {text}, function {closure}");
            }
        }
    }

    #[test]
    fn values_on_both_sides_of_the_knee() {
        use FusedActivation::*;
        let table = [
            (Relu, -1.0, 0.0),
            (LeakyRelu { alpha: 0.5 }, -1.0, -0.5),
            (ThresholdedRelu { alpha: 1.0 }, 1.0, 0.0),
            (ThresholdedRelu { alpha: 1.0 }, 1.5, 1.5),
            (ScaledTanh { alpha: 2.0, beta: 0.5 }, 2.0, 2.0 * 1f64.tanh()),
            (HardSigmoid { alpha: 0.25, beta: 0.5 }, 1.0, 0.75),
            (HardSigmoid { alpha: 0.25, beta: 0.5 }, -9.0, 0.0),
            (HardSwish, 3.0, 3.0),
            (Silu, 0.0, 0.0),
            (Elu { alpha: 2.0 }, -1.0, 2.0 * ((-1f64).exp() - 1.0)),
            (Softsign, -1.0, -0.5),
            (Softplus, 0.0, 2f64.ln()),
            (Softplus, 1000.0, 1000.0),
            (Affine { alpha: 2.0, beta: 1.0 }, 3.0, 7.0),
            (Clip { min: -1.0, max: 1.0 }, 5.0, 1.0),
        ];
        for (activation, x, expected) in table {
            assert!((activation.apply(x) - expected).abs() < 1e-12, "{activation:?}");
        }
        assert!(Relu.apply(f64::NAN).is_nan());
    }
}
