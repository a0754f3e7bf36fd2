//! Activations of one number with constants: `LeakyRelu`, `Elu`, `Gelu`, ... (<https://onnx.ai/onnx/operators/>).
//!
//! Opset 1 had `consumed_inputs`, which never changed a result, and other defaults of `Selu`. `Affine`,
//! `ParametricSoftplus`, `Scale` and `ScaledTanh` were experimental until opset 10. The `com.microsoft` operators `Gelu`,
//! `QuickGelu` and `FastGelu` without a bias are `Gelu`, `Swish` and `Gelu` by `tanh`.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{Tensor, Value};

use crate::types::{FLOATS, NUMBERS, Types};
use crate::{Expression, OpEntry, scalar};

use Activation::*;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Affine", 1, |def| parse(def, Affine { alpha: 1.0, beta: 0.0 })),
    OpEntry::onnx("Celu", 1, |def| parse(def, Celu { alpha: 1.0 })),
    OpEntry::onnx("Elu", 1, |def| parse(def, Elu { alpha: 1.0 })),
    OpEntry::onnx("Gelu", 1, parse_gelu),
    OpEntry::onnx("HardSigmoid", 1, |def| parse(def, HardSigmoid { alpha: 0.2, beta: 0.5 })),
    OpEntry::onnx("LeakyRelu", 1, |def| parse(def, LeakyRelu { alpha: 0.01 })),
    OpEntry::onnx("ParametricSoftplus", 1, |def| parse(def, ParametricSoftplus { alpha: 1.0, beta: 1.0 })),
    OpEntry::onnx("Scale", 1, |def| parse(def, Scale { scale: 1.0 })),
    OpEntry::onnx("ScaledTanh", 1, |def| parse(def, ScaledTanh { alpha: 1.0, beta: 1.0 })),
    OpEntry::onnx("Selu", 1, parse_selu),
    OpEntry::onnx("Shrink", 1, |def| parse(def, Shrink { lambd: 0.5, bias: 0.0 })),
    OpEntry::onnx("Swish", 1, |def| parse(def, Swish { alpha: 1.0 })),
    OpEntry::onnx("ThresholdedRelu", 1, |def| parse(def, ThresholdedRelu { alpha: 1.0 })),
    OpEntry::microsoft("Gelu", 1, |def| parse(def, Gelu)),
    OpEntry::microsoft("QuickGelu", 1, |def| parse(def, Swish { alpha: 1.702 })),
];

macro_rules! activations {
    ($($(#[$doc:meta])* $kind:ident $({ $($parameter:ident),* })? as $name:literal ($types:ident) = $text:literal, $float:expr;)*) => {
        /// An element-wise activation with its constants. Input and output: any shape, floats of 16 bits or more
        /// (`Shrink`: also integers, computed as f64 and truncated).
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[allow(missing_docs, reason = "the constants are named and explained in the formula")]
        pub enum Activation { $($(#[$doc])* $kind $({ $($parameter: f32),* })?),* }

        impl Activation {
            /// The activation of a number.
            pub fn apply(&self, x: f64) -> f64 {
                match *self {
                    $(Activation::$kind $({ $($parameter),* })? => {
                        $($(let $parameter = f64::from($parameter);)*)?
                        at(x, $float)
                    })*
                }
            }

            /// The operator's type in ONNX.
            pub fn name(&self) -> &'static str {
                match self { $(Activation::$kind { .. } => $name),* }
            }

            /// The types it takes.
            fn types(&self) -> Types {
                match self { $(Activation::$kind { .. } => $types),* }
            }

            /// The activation as an [`Expression`] of `x`.
            pub fn expression(&self) -> Expression {
                let (text, parameters) = match *self {
                    $(Activation::$kind $({ $($parameter),* })? =>
                        ($text, vec![$($((stringify!($parameter), $parameter)),*)?])),*
                };
                Expression { text, operands: 1, parameters, truth: false, integers: false }
            }

            /// The same activation with the constants that the node gives.
            fn read(self, def: &mut NodeDef) -> Result<Activation, OpError> {
                Ok(match self {
                    $(Activation::$kind $({ $($parameter),* })? => Activation::$kind $({
                        $($parameter: def.float_or(stringify!($parameter), $parameter)?),*
                    })?),*
                })
            }
        }
    };
}

activations! {
    /// `alpha x + beta`.
    Affine { alpha, beta } as "Affine" (FLOATS) = "alpha * x + beta", |x| alpha * x + beta;
    /// `max(x, 0) + min(0, alpha (e^(x / alpha) - 1))`.
    Celu { alpha } as "Celu" (FLOATS) = "select(x, alpha * expm1(x / alpha), x < T(0.0))",
        |x| if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x };
    /// `x` if that is 0 or more, else `alpha (e^x - 1)`.
    Elu { alpha } as "Elu" (FLOATS) = "select(x, alpha * expm1(x), x < T(0.0))",
        |x| if x < 0.0 { alpha * x.exp_m1() } else { x };
    /// `x P(X <= x)` for normal `X`: `x / 2 (1 + erf(x / sqrt(2)))`.
    Gelu as "Gelu" (FLOATS) = "T(0.5) * x * (T(1.0) + erf(x * T(0.7071067811865476)))", scalar::gelu;
    /// `Gelu` with `approximate` = `tanh`: `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh as "Gelu" (FLOATS) =
        "T(0.5) * x * (T(1.0) + tanh(T(0.7978845608028654) * (x + T(0.044715) * x * x * x)))", scalar::gelu_tanh;
    /// `clamp(alpha x + beta, 0, 1)`.
    HardSigmoid { alpha, beta } as "HardSigmoid" (FLOATS) =
        "minimum(maximum(alpha * x + beta, T(0.0)), T(1.0))",
        |x| scalar::minimum(scalar::maximum(alpha * x + beta, 0.0), 1.0);
    /// `x` if that is 0 or more, else `alpha x`.
    LeakyRelu { alpha } as "LeakyRelu" (FLOATS) = "select(x, alpha * x, x < T(0.0))",
        |x| if x < 0.0 { alpha * x } else { x };
    /// `alpha ln(1 + e^(beta x))`.
    ParametricSoftplus { alpha, beta } as "ParametricSoftplus" (FLOATS) = "alpha * softplus(beta * x)",
        |x| alpha * scalar::softplus(beta * x);
    /// `scale x`.
    Scale { scale } as "Scale" (FLOATS) = "scale * x", |x| scale * x;
    /// `alpha tanh(beta x)`.
    ScaledTanh { alpha, beta } as "ScaledTanh" (FLOATS) = "alpha * tanh(beta * x)", |x| alpha * (beta * x).tanh();
    /// `gamma x` if `x` is above 0, else `gamma alpha (e^x - 1)`.
    Selu { alpha, gamma } as "Selu" (FLOATS) = "gamma * select(x, alpha * expm1(x), x < T(0.0))",
        |x| gamma * if x < 0.0 { alpha * x.exp_m1() } else { x };
    /// `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0.
    Shrink { lambd, bias } as "Shrink" (NUMBERS) =
        "select(select(T(0.0), x - bias, x > lambd), x + bias, x < -lambd)",
        |x| if x < -lambd { x + bias } else if x > lambd { x - bias } else { 0.0 };
    /// `x / (1 + e^(-alpha x))`.
    Swish { alpha } as "Swish" (FLOATS) = "x * sigmoid(alpha * x)", |x| x * scalar::sigmoid(alpha * x);
    /// `x` if that is above `alpha`, else 0.
    ThresholdedRelu { alpha } as "ThresholdedRelu" (FLOATS) = "select(T(0.0), x, x > alpha)",
        |x| if x > alpha { x } else { 0.0 };
}

/// Gives a closure the type of its argument.
fn at(x: f64, f: impl Fn(f64) -> f64) -> f64 {
    f(x)
}

fn parse(def: &mut NodeDef, defaults: Activation) -> Result<Arc<dyn Operator>, OpError> {
    if def.opset < 6 {
        def.ignore(&["consumed_inputs"]);
    }
    Ok(Arc::new(defaults.read(def)?))
}

fn parse_selu(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
    let defaults = if def.opset < 6 {
        Selu { alpha: 1.6732, gamma: 1.0507 }
    } else {
        Selu { alpha: 1.673_263_2, gamma: 1.050_701 }
    };
    parse(def, defaults)
}

fn parse_gelu(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
    match def.string_or("approximate", "none")?.as_str() {
        "none" => parse(def, Gelu),
        "tanh" => parse(def, GeluTanh),
        other => Err(OpError::attribute("approximate", "`none` or `tanh`", format!("`{other}`"))),
    }
}

impl Operator for Activation {
    fn key(&self) -> OpKey {
        OpKey::onnx(self.name())
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.types().check(0, inputs.dtype(0)?)?;
        Ok(vec![inputs.like(0)?])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let y: Vec<f64> = x.to_f64()?.into_iter().map(|x| self.apply(x)).collect();
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().clone(), &y)?.into()])
    }

    fn flops(&self, _inputs: Facts<'_>, outputs: &[Fact]) -> u64 {
        // Every formula has about four operations.
        4 * outputs.iter().map(Fact::element_count).sum::<u64>()
    }
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    Some((op as &dyn Any).downcast_ref::<Activation>()?.expression())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::{SAMPLES, close, evaluate};
    use crate::testing::{parse_at, parse_in, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::DType;

    const EACH: &[Activation] = &[
        Affine { alpha: 1.5, beta: -0.5 },
        Celu { alpha: 2.0 },
        Celu { alpha: -2.0 },
        Elu { alpha: 0.75 },
        Gelu,
        GeluTanh,
        HardSigmoid { alpha: 0.25, beta: 0.5 },
        LeakyRelu { alpha: 0.125 },
        ParametricSoftplus { alpha: 0.5, beta: 2.0 },
        Scale { scale: 3.0 },
        ScaledTanh { alpha: 1.5, beta: 0.25 },
        Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
        Shrink { lambd: 0.5, bias: 1.5 },
        Swish { alpha: 1.702 },
        ThresholdedRelu { alpha: 0.5 },
    ];

    #[test]
    fn texts_agree_with_closures() {
        for activation in EACH {
            let expression = crate::expression(activation).unwrap();
            for &x in SAMPLES {
                let (text, closure) = (evaluate(&expression, &[x]), activation.apply(x));
                assert!(close(text, closure), "{activation:?} of {x}: text {text}, closure {closure}");
            }
        }
    }

    fn of(opset: i64, op_type: &str, attrs: &[(&str, Attr)], x: &[f32]) -> Vec<f32> {
        run(&*parse_at(opset, op_type, attrs), &[Tensor::vector(x.to_vec())])[0].as_slice().unwrap().to_vec()
    }

    fn assert_close(got: &[f32], expected: &[f32]) {
        let close = got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-6 * (1.0 + b.abs()));
        assert!(close && got.len() == expected.len(), "got {got:?}, expected {expected:?}");
    }

    #[test]
    fn values_match_onnx_runtime() {
        let x = [-2.0, -0.25, 0.0, 0.25, 2.0];
        assert_close(&of(16, "LeakyRelu", &[], &x), &[-0.02, -0.0025, 0.0, 0.25, 2.0]);
        let alpha = [("alpha", Attr::Float(2.0))];
        assert_close(&of(6, "Elu", &alpha, &x), &[-1.7293295, -0.44239843, 0.0, 0.25, 2.0]);
        assert_close(&of(12, "Celu", &alpha, &x), &[-1.2642411, -0.23500621, 0.0, 0.25, 2.0]);
        assert_close(&of(6, "Selu", &[], &x), &[-1.5201665, -0.38889018, 0.0, 0.26267526, 2.101402]);
        assert_close(&of(10, "ThresholdedRelu", &[], &x), &[0.0, 0.0, 0.0, 0.0, 2.0]);
        assert_close(&of(6, "HardSigmoid", &[], &x), &[0.1, 0.45, 0.5, 0.55, 0.9]);
        assert_close(&of(9, "Shrink", &[("bias", Attr::Float(0.5))], &x), &[-1.5, 0.0, 0.0, 0.0, 1.5]);
        assert_close(&of(20, "Gelu", &[], &x), &[-0.04550028, -0.10032342, 0.0, 0.14967658, 1.9544997]);
        let tanh = [("approximate", Attr::String(b"tanh".to_vec()))];
        assert_close(&of(20, "Gelu", &tanh, &x), &[-0.04540235, -0.10032465, 0.0, 0.14967535, 1.9545977]);
        assert_close(&of(24, "Swish", &[], &x), &[-0.23840582, -0.10945588, 0.0, 0.14054412, 1.7615942]);
    }

    #[test]
    fn old_opsets_keep_their_defaults() {
        let ignored = [("consumed_inputs", Attr::Ints(vec![0]))];
        assert_close(&of(1, "Selu", &ignored, &[1.0]), &[1.0507]);
        assert_close(&of(1, "ScaledTanh", &[("alpha", Attr::Float(2.0))], &[0.5]), &[0.924_234_3]);
    }

    #[test]
    fn microsoft_operators_become_onnx_ones() {
        let quick = parse_in("com.microsoft", 1, "QuickGelu", &[]);
        assert_eq!((&*quick as &dyn Any).downcast_ref(), Some(&Swish { alpha: 1.702 }));
        let gelu = parse_in("com.microsoft", 1, "Gelu", &[]);
        assert_eq!((&*gelu as &dyn Any).downcast_ref(), Some(&Gelu));
    }

    #[test]
    fn shrink_takes_integers_and_others_do_not() {
        let op = parse_at(9, "Shrink", &[("lambd", Attr::Float(1.0)), ("bias", Attr::Float(0.5))]);
        let y = run(&*op, &[Tensor::vector(vec![-3i32, -1, 0, 1, 3])]);
        assert_eq!(y[0].as_slice::<i32>().unwrap(), [-2, 0, 0, 0, 2]);
        let integers = [Some(Tensor::zeros(DType::I32, [1]).unwrap())];
        assert!(matches!(try_run(&Elu { alpha: 1.0 }, &integers), Err(OpError::DType { .. })));
    }
}
