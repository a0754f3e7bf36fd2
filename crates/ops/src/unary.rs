//! Operators of one number without parameters, `Abs` to `Tanh` (<https://onnx.ai/onnx/operators/>).
//!
//! Opset 1 had `consumed_inputs`, which never changed a result. Later opsets only added types.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator};
use inferrum_tensor::{DType, Real, Tensor, Value, collected, dispatch};

use crate::types::{FLOATS, FLOATS_AND_FLOAT8, INTEGERS, NUMBERS, SIGNED, TRUTH, Types};
use crate::{Expression, OpEntry, scalar};

/// An element-wise function without parameters. Input and output: any shape; the types are the row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
}

/// What a [`UnaryKind`] is.
#[derive(Debug)]
pub struct UnaryRow {
    /// The operator's type in ONNX.
    pub name: &'static str,
    /// The types it takes.
    pub types: Types,
    /// Whether the output is of truth values, and not of the input's type.
    pub truth: bool,
    /// The function as an [`Expression`] of `x`.
    pub text: &'static str,
    /// The function of a float; truth values are 0 and 1.
    pub float: fn(f64) -> f64,
    /// The function of an integer or truth value, of which the lowest bits are kept; where it has none, integers go
    /// through [`UnaryRow::float`].
    pub integer: Option<fn(i128) -> i128>,
}

macro_rules! rows {
    ($($(#[$doc:meta])* $kind:ident($types:ident) $(-> $truth:ident)? = $text:literal, $float:expr $(, $integer:expr)?;)*) => {
        /// The function of a [`Unary`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum UnaryKind { $($(#[$doc])* $kind),* }

        impl UnaryKind {
            /// Every function.
            pub const ALL: &[UnaryKind] = &[$(UnaryKind::$kind),*];
        }

        static ROWS: &[UnaryRow] = &[$(UnaryRow {
            name: stringify!($kind),
            types: $types,
            truth: rows!(@given $($truth)?),
            text: $text,
            float: $float,
            integer: rows!(@optional $($integer)?),
        }),*];

        pub(crate) const OPERATORS: &[OpEntry] =
            &[$(OpEntry::onnx(stringify!($kind), 1, |def| Unary::parse(def, UnaryKind::$kind))),*];
    };
    (@given) => { false };
    (@given truth) => { true };
    (@optional) => { None };
    (@optional $value:expr) => { Some($value) };
}

rows! {
    /// `|x|`.
    Abs(NUMBERS) = "abs(x)", f64::abs, |x| x.abs();
    /// The angle whose cosine is `x`.
    Acos(FLOATS) = "acos(x)", f64::acos;
    /// The inverse of `Cosh`.
    Acosh(FLOATS) = "acosh(x)", f64::acosh;
    /// The angle whose sine is `x`.
    Asin(FLOATS) = "asin(x)", f64::asin;
    /// The inverse of `Sinh`.
    Asinh(FLOATS) = "asinh(x)", f64::asinh;
    /// The angle whose tangent is `x`.
    Atan(FLOATS) = "atan(x)", f64::atan;
    /// The inverse of `Tanh`.
    Atanh(FLOATS) = "atanh(x)", f64::atanh;
    /// Every bit inverted.
    BitwiseNot(INTEGERS) = "~x", |x| -x - 1.0, |x| !x;
    /// The least integer not below `x`.
    Ceil(FLOATS) = "ceil(x)", f64::ceil;
    /// The cosine.
    Cos(FLOATS) = "cos(x)", f64::cos;
    /// The hyperbolic cosine.
    Cosh(FLOATS) = "cosh(x)", f64::cosh;
    /// The error function.
    Erf(NUMBERS) = "erf(x)", scalar::erf;
    /// `e^x`.
    Exp(FLOATS) = "exp(x)", f64::exp;
    /// The greatest integer not above `x`.
    Floor(FLOATS) = "floor(x)", f64::floor;
    /// `x * clamp(x / 6 + 1 / 2, 0, 1)`.
    HardSwish(FLOATS) = "x * minimum(maximum(x / T(6.0) + T(0.5), T(0.0)), T(1.0))",
        |x| x * scalar::minimum(scalar::maximum(x / 6.0 + 0.5, 0.0), 1.0);
    /// Whether `x` is not a number.
    IsNaN(FLOATS_AND_FLOAT8) -> truth = "is_nan(x)", |x| f64::from(x.is_nan());
    /// The natural logarithm.
    Log(FLOATS) = "log(x)", f64::ln;
    /// `x * tanh(ln(1 + e^x))`.
    Mish(FLOATS) = "x * tanh(softplus(x))", |x| x * scalar::softplus(x).tanh();
    /// `-x`.
    Neg(SIGNED) = "-x", |x| -x, |x| -x;
    /// Whether `x` is false.
    Not(TRUTH) -> truth = "!x", |x| f64::from(x == 0.0), |x| i128::from(x == 0);
    /// `1 / x`.
    Reciprocal(FLOATS) = "T(1.0) / x", f64::recip;
    /// `max(x, 0)`; NaN for NaN.
    Relu(SIGNED) = "select(x, T(0.0), x < T(0.0))", |x| if x < 0.0 { 0.0 } else { x }, |x| x.max(0);
    /// The nearest integer; halves go to the even one.
    Round(FLOATS) = "round_even(x)", f64::round_ties_even;
    /// `1 / (1 + e^-x)`.
    Sigmoid(FLOATS) = "sigmoid(x)", scalar::sigmoid;
    /// -1, 0 or 1; NaN for NaN.
    Sign(NUMBERS) = "sign(x)", scalar::sign, |x| x.signum();
    /// The sine.
    Sin(FLOATS) = "sin(x)", f64::sin;
    /// The hyperbolic sine.
    Sinh(FLOATS) = "sinh(x)", f64::sinh;
    /// `ln(1 + e^x)`.
    Softplus(FLOATS) = "softplus(x)", scalar::softplus;
    /// `x / (1 + |x|)`.
    Softsign(FLOATS) = "x / (T(1.0) + abs(x))", |x| x / (1.0 + x.abs());
    /// The square root; NaN below 0.
    Sqrt(FLOATS) = "sqrt(x)", f64::sqrt;
    /// The tangent.
    Tan(FLOATS) = "tan(x)", f64::tan;
    /// The hyperbolic tangent.
    Tanh(FLOATS) = "tanh(x)", f64::tanh;
}

impl UnaryKind {
    /// What the function is.
    pub fn row(self) -> &'static UnaryRow {
        &ROWS[self as usize]
    }
}

impl Unary {
    fn parse(def: &mut NodeDef, kind: UnaryKind) -> Result<Arc<dyn Operator>, OpError> {
        if def.opset < 6 {
            def.ignore(&["consumed_inputs"]);
        }
        Ok(Arc::new(Unary { kind }))
    }
}

impl Operator for Unary {
    fn key(&self) -> OpKey {
        OpKey::onnx(self.kind.row().name)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (row, input) = (self.kind.row(), inputs.tensor(0)?);
        row.types.check(0, input.dtype)?;
        let dtype = if row.truth { DType::Bool } else { input.dtype };
        Ok(vec![Fact::tensor(dtype, input.shape.clone())])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (row, x) = (self.kind.row(), inputs.tensor(0)?);
        if let (Some(function), false) = (row.integer, x.dtype().is_float()) {
            return Ok(vec![map_integers(x, function)?.into()]);
        }
        let y: Vec<f64> = x.to_f64()?.into_iter().map(row.float).collect();
        let dtype = if row.truth { DType::Bool } else { x.dtype() };
        Ok(vec![Tensor::from_f64(dtype, x.shape().clone(), &y)?.into()])
    }
}

/// `function` of every element, wrapped to the type's width.
fn map_integers(x: &Tensor, function: fn(i128) -> i128) -> Result<Tensor, OpError> {
    dispatch!(real, x.dtype(), T => {
        let elements = x.as_slice::<T>()?;
        let mapped = elements.iter().map(|&x| <T as Real>::from_i128(function(x.to_i128())));
        Ok(Tensor::from_vec(x.shape().clone(), collected(elements.len(), mapped)?)?)
    }, else Err(OpError::dtype(0, "a real type", x.dtype())))
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    let row = (op as &dyn Any).downcast_ref::<Unary>()?.kind.row();
    Some(Expression {
        text: row.text,
        operands: 1,
        parameters: Vec::new(),
        truth: row.truth,
        integers: row.integer.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::{SAMPLES, close, evaluate};
    use crate::testing::{parse_at, run, try_run};
    use inferrum_tensor::{bf16, f16};

    fn of<T: inferrum_tensor::Element>(op_type: &str, x: Vec<T>) -> Tensor {
        run(&*parse_at(22, op_type, &[]), &[Tensor::vector(x)]).remove(0)
    }

    #[test]
    fn rows_and_kinds_match() {
        assert_eq!(ROWS.len(), UnaryKind::ALL.len());
        for kind in UnaryKind::ALL {
            assert_eq!(kind.row().name, format!("{kind:?}"));
        }
    }

    #[test]
    fn texts_agree_with_closures() {
        for &kind in UnaryKind::ALL {
            let expression = crate::expression(&Unary { kind }).unwrap();
            for &x in SAMPLES {
                // Truth values and bits have no fractions.
                let x = if kind.row().types.hold(DType::F32) { x } else { f64::from(x as i64 as u8 & 1) };
                let (text, closure) = (evaluate(&expression, &[x]), (kind.row().float)(x));
                assert!(close(text, closure), "{kind:?} of {x}: text {text}, closure {closure}");
                if let (Some(function), true) = (kind.row().integer, x.fract() == 0.0) {
                    assert_eq!(function(x as i128) as f64, closure, "{kind:?} of integer {x}");
                }
            }
        }
    }

    #[test]
    fn floats_match_known_values() {
        assert_eq!(
            of("Round", vec![0.5f32, 1.5, 2.5, -0.5, -1.5]).as_slice::<f32>().unwrap(),
            [0., 2., 2., -0., -2.]
        );
        assert_eq!(of("HardSwish", vec![-4f32, -1.5, 4.0]).as_slice::<f32>().unwrap(), [-0.0, -0.375, 4.0]);
        assert_eq!(
            of("Sign", vec![f16::NEG_INFINITY, f16::ZERO]).as_slice::<f16>().unwrap(),
            [f16::NEG_ONE, f16::ZERO]
        );
        assert_eq!(
            of("Exp", vec![bf16::ONE]).as_slice::<bf16>().unwrap(),
            [bf16::from_f64(std::f64::consts::E)]
        );
        assert_eq!(of("Mish", vec![1f64]).as_slice::<f64>().unwrap(), [0.8650983882673103]);
        assert!(of("Relu", vec![f32::NAN]).as_slice::<f32>().unwrap()[0].is_nan());
    }

    #[test]
    fn integers_wrap() {
        assert_eq!(of("Abs", vec![i8::MIN, -3, 3]).as_slice::<i8>().unwrap(), [i8::MIN, 3, 3]);
        assert_eq!(of("Neg", vec![i64::MIN, -3, 3]).as_slice::<i64>().unwrap(), [i64::MIN, 3, -3]);
        assert_eq!(of("BitwiseNot", vec![0u8, 0x0F]).as_slice::<u8>().unwrap(), [0xFF, 0xF0]);
        assert_eq!(of("Sign", vec![u64::MAX, 0]).as_slice::<u64>().unwrap(), [1, 0]);
        assert_eq!(of("Relu", vec![-3i32, 5]).as_slice::<i32>().unwrap(), [0, 5]);
    }

    #[test]
    fn truth_values_come_out_as_bool() {
        assert_eq!(of("IsNaN", vec![f32::NAN, f32::INFINITY]).as_slice::<bool>().unwrap(), [true, false]);
        assert_eq!(of("Not", vec![true, false]).as_slice::<bool>().unwrap(), [false, true]);
    }

    #[test]
    fn empty_and_scalar_shapes_stay() {
        let op = parse_at(13, "Tanh", &[]);
        assert_eq!(run(&*op, &[Tensor::zeros(DType::F32, [3, 0]).unwrap()])[0].shape().dims(), [3, 0]);
        assert_eq!(run(&*op, &[Tensor::scalar(0f32)])[0].shape().rank(), 0);
    }

    #[test]
    fn types_outside_the_row_are_errors() {
        for (op_type, dtype) in
            [("Sqrt", DType::I32), ("Neg", DType::U8), ("Not", DType::U8), ("BitwiseNot", DType::F32)]
        {
            let input = [Some(Tensor::zeros(dtype, [1]).unwrap())];
            let result = try_run(&*parse_at(22, op_type, &[]), &input);
            assert!(matches!(result, Err(OpError::DType { index: 0, .. })), "{op_type} of {dtype}");
        }
    }
}
