//! From element-wise operators to steps of a program.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{Operator, ShapeFact};
use inferrum_ops::activation::Activation;
use inferrum_ops::bias_gelu::BiasGelu;
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::cast::Cast;
use inferrum_ops::clip::Clip;
use inferrum_ops::is_inf::IsInf;
use inferrum_ops::prelu::PRelu;
use inferrum_ops::select::Where;
use inferrum_ops::swiglu::SwiGlu;
use inferrum_ops::unary::{Unary, UnaryKind};
use inferrum_ops::variadic::{Variadic, VariadicKind};
use inferrum_tensor::{DType, Shape, Tensor};
use smallvec::SmallVec;

use super::function::Function;
use super::program::{Operand, Step};

/// An operand of an operator.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    pub(super) source: From<'a>,
    pub(super) dtype: DType,
    pub(super) shape: Shape,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum From<'a> {
    /// The node's input at this place; its elements, if they are constant.
    Input(usize, Option<&'a Tensor>),
    /// A step, or what it is equal to.
    Operand(Operand),
}

/// A program that is being made.
#[derive(Clone, Debug, Default)]
pub(super) struct Builder {
    pub(super) inputs: Vec<ProgramInput>,
    pub(super) steps: Vec<Step>,
}

/// A node's input as the program reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProgramInput {
    pub(super) place: usize,
    pub(super) dtype: DType,
    /// A shape that broadcasts as NumPy's.
    pub(super) shape: Shape,
}

impl Value<'_> {
    /// The only element of a constant.
    fn constant(&self) -> Option<f64> {
        match self.source {
            From::Input(_, Some(tensor)) if tensor.len() == 1 => tensor.to_f64().ok()?.first().copied(),
            _ => None,
        }
    }

    /// The value under another shape, which has as many elements.
    fn reshaped(&self, shape: Shape) -> Result<Self, Decline> {
        match self.source {
            From::Operand(_) if shape != self.shape => {
                Err(Decline("an intermediate result is broadcast along a leading axis".into()))
            }
            _ => Ok(Value { shape, ..self.clone() }),
        }
    }
}

impl Builder {
    /// The operand that stands for a value.
    pub(super) fn operand(&mut self, value: &Value<'_>) -> Operand {
        if let Some(constant) = value.constant() {
            return Operand::Constant(constant as f32);
        }
        match value.source {
            From::Operand(operand) => operand,
            From::Input(place, _) => {
                let input = ProgramInput { place, dtype: value.dtype, shape: value.shape.clone() };
                let found = self.inputs.iter().position(|other| *other == input);
                Operand::Input(found.unwrap_or_else(|| {
                    self.inputs.push(input);
                    self.inputs.len() - 1
                }))
            }
        }
    }

    pub(super) fn emit(&mut self, function: Function, operands: &[Operand]) -> Operand {
        debug_assert_eq!(function.arity(), operands.len());
        self.steps.push(Step { function, operands: SmallVec::from_slice(operands) });
        Operand::Step(self.steps.len() - 1)
    }

    /// The result of an operator.
    pub(super) fn translate(
        &mut self,
        op: &dyn Operator,
        values: &[Option<Value<'_>>],
    ) -> Result<Operand, Decline> {
        let value = |index: usize| {
            values
                .get(index)
                .and_then(Option::as_ref)
                .ok_or_else(|| Decline(format!("input {index} is missing")))
        };
        let x = value(0)?;
        let any = op as &dyn Any;
        if let Some(op) = any.downcast_ref::<Unary>() {
            let (function, x) = (unary(op.kind)?, self.operand(x));
            return Ok(self.emit(function, &[x]));
        }
        if let Some(op) = any.downcast_ref::<Activation>() {
            return self.activation(op, x);
        }
        if let Some(op) = any.downcast_ref::<IsInf>() {
            let flag = |flag: bool| f32::from(u8::from(flag));
            let function =
                Function::IsInf { positive: flag(op.detect_positive), negative: flag(op.detect_negative) };
            let x = self.operand(x);
            return Ok(self.emit(function, &[x]));
        }
        if let Some(op) = any.downcast_ref::<Binary>() {
            return self.binary(op, x, value(1)?);
        }
        if let Some(op) = any.downcast_ref::<Variadic>() {
            let operands = (0..values.len())
                .map(|index| value(index).map(|value| self.operand(value)))
                .collect::<Result<Vec<_>, _>>()?;
            return Ok(self.variadic(op.kind, &operands));
        }
        if any.is::<Clip>() {
            return Ok(self.clip(
                x,
                values.get(1).and_then(Option::as_ref),
                values.get(2).and_then(Option::as_ref),
            ));
        }
        if any.is::<Where>() {
            let operands = [self.operand(x), self.operand(value(1)?), self.operand(value(2)?)];
            return Ok(self.emit(Function::Select, &operands));
        }
        if let Some(op) = any.downcast_ref::<PRelu>() {
            let slope = value(1)?.reshaped(op.slope_shape(x.shape.rank(), &value(1)?.shape))?;
            let operands = [self.operand(x), self.operand(&slope)];
            return Ok(self.emit(Function::PRelu, &operands));
        }
        if let Some(op) = any.downcast_ref::<Cast>() {
            // Between types that are all computed in f32; that of a result is given at the end.
            let function = if op.to == DType::Bool { Function::Truth } else { Function::Identity };
            let x = self.operand(x);
            return Ok(self.emit(function, &[x]));
        }
        if let Some(op) = any.downcast_ref::<BiasGelu>() {
            let operands = [self.operand(x), self.operand(value(1)?)];
            let sum = self.emit(Function::Add, &operands);
            return Ok(self.emit(if op.tanh { Function::GeluTanh } else { Function::Gelu }, &[sum]));
        }
        if let Some(op) = any.downcast_ref::<SwiGlu>() {
            let operands = [self.operand(x), self.operand(value(1)?)];
            let gate = self.emit(Function::Swish { alpha: op.alpha }, &operands[..1]);
            return Ok(self.emit(Function::Mul, &[gate, operands[1]]));
        }
        Err(Decline(format!("{} is no step of a program", op.key())))
    }

    fn activation(&mut self, activation: &Activation, x: &Value<'_>) -> Result<Operand, Decline> {
        let x = self.operand(x);
        let function = match *activation {
            Activation::Affine { alpha, beta } => Function::Affine { alpha, beta },
            Activation::Celu { alpha } if alpha > 0.0 => Function::Elu { alpha, scale: alpha },
            Activation::Celu { .. } => return Err(Decline("alpha is not positive".into())),
            Activation::Elu { alpha } => Function::Elu { alpha, scale: 1.0 },
            Activation::Gelu => Function::Gelu,
            Activation::GeluTanh => Function::GeluTanh,
            Activation::HardSigmoid { alpha, beta } => Function::HardSigmoid { alpha, beta },
            Activation::LeakyRelu { alpha } => Function::LeakyRelu { alpha },
            Activation::ParametricSoftplus { alpha, beta } => {
                let inner = self.emit(Function::Mul, &[x, Operand::Constant(beta)]);
                let softplus = self.emit(Function::Softplus, &[inner]);
                return Ok(self.emit(Function::Mul, &[softplus, Operand::Constant(alpha)]));
            }
            Activation::Scale { scale } => {
                return Ok(self.emit(Function::Mul, &[x, Operand::Constant(scale)]));
            }
            Activation::ScaledTanh { alpha, beta } => Function::ScaledTanh { alpha, beta },
            Activation::Selu { alpha, gamma } => Function::Selu { alpha, gamma },
            Activation::Shrink { lambd, bias } => Function::Shrink { limit: lambd, bias },
            Activation::Swish { alpha } => Function::Swish { alpha },
            Activation::ThresholdedRelu { alpha } => Function::ThresholdedRelu { alpha },
        };
        Ok(self.emit(function, &[x]))
    }

    fn binary(&mut self, op: &Binary, a: &Value<'_>, b: &Value<'_>) -> Result<Operand, Decline> {
        let second = op
            .second_shape(a.shape.rank(), &ShapeFact::from(&b.shape))
            .map_err(|error| Decline(error.to_string()))?;
        let second = second.concrete().ok_or_else(|| Decline("a shape is not known".into()))?;
        if op.kind == BinaryKind::Pow
            && let Some(function) = b.constant().and_then(power)
        {
            let a = self.operand(a);
            return Ok(self.emit(function, &[a]));
        }
        let b = b.reshaped(second)?;
        let (a, b) = (self.operand(a), self.operand(&b));
        let function = match op.kind {
            BinaryKind::Add => Function::Add,
            BinaryKind::Sub => Function::Sub,
            BinaryKind::Mul => Function::Mul,
            BinaryKind::Div => Function::Div,
            BinaryKind::And => Function::And,
            BinaryKind::Or => Function::Or,
            BinaryKind::Xor => Function::Xor,
            BinaryKind::Equal => Function::Equal,
            BinaryKind::Less => Function::Less,
            BinaryKind::LessOrEqual => Function::LessOrEqual,
            BinaryKind::Greater => return Ok(self.emit(Function::Less, &[b, a])),
            BinaryKind::GreaterOrEqual => return Ok(self.emit(Function::LessOrEqual, &[b, a])),
            BinaryKind::Pow => Function::Zip(f32::powf),
            BinaryKind::TruncMod => Function::Zip(|a, b| a % b),
            BinaryKind::FloorMod => Function::Zip(floor_mod),
            BinaryKind::BitwiseAnd
            | BinaryKind::BitwiseOr
            | BinaryKind::BitwiseXor
            | BinaryKind::ShiftLeft
            | BinaryKind::ShiftRight => return Err(Decline("bits of floats".into())),
        };
        Ok(self.emit(function, &[a, b]))
    }

    fn variadic(&mut self, kind: VariadicKind, operands: &[Operand]) -> Operand {
        let function = match kind {
            VariadicKind::Max => Function::Max,
            VariadicKind::Min => Function::Min,
            VariadicKind::Sum | VariadicKind::Mean => Function::Add,
        };
        let mut result = operands[0];
        for &operand in &operands[1..] {
            result = self.emit(function, &[result, operand]);
        }
        if kind == VariadicKind::Mean {
            result = self.emit(Function::Div, &[result, Operand::Constant(operands.len() as f32)]);
        }
        result
    }

    fn clip(&mut self, x: &Value<'_>, low: Option<&Value<'_>>, high: Option<&Value<'_>>) -> Operand {
        // A bound is a single element, whatever its shape.
        let bound = |value: Option<&Value<'_>>, or: f32| match value {
            None => Operand::Constant(or),
            Some(value) => self.operand(&Value { shape: Shape::scalar(), ..value.clone() }),
        };
        let mut bound = bound;
        let (low, high) = (bound(low, f32::NEG_INFINITY), bound(high, f32::INFINITY));
        let x = self.operand(x);
        match (low, high) {
            (Operand::Constant(low), Operand::Constant(high)) if low == 0.0 && high == f32::INFINITY => {
                self.emit(Function::Relu, &[x])
            }
            (Operand::Constant(low), Operand::Constant(high)) => {
                self.emit(Function::Clip { low, high }, &[x])
            }
            (low, high) => self.emit(Function::ClipBetween, &[x, low, high]),
        }
    }
}

fn unary(kind: UnaryKind) -> Result<Function, Decline> {
    Ok(match kind {
        UnaryKind::Abs => Function::Abs,
        UnaryKind::Acos => Function::Map(f32::acos),
        UnaryKind::Acosh => Function::Map(|x| f64::from(x).acosh() as f32),
        UnaryKind::Asin => Function::Map(f32::asin),
        UnaryKind::Asinh => Function::Map(|x| f64::from(x).asinh() as f32),
        UnaryKind::Atan => Function::Map(f32::atan),
        UnaryKind::Atanh => Function::Map(|x| f64::from(x).atanh() as f32),
        UnaryKind::BitwiseNot => return Err(Decline("bits of floats".into())),
        UnaryKind::Ceil => Function::Ceil,
        UnaryKind::Cos => Function::Cos,
        UnaryKind::Cosh => Function::Map(f32::cosh),
        UnaryKind::Erf => Function::Erf,
        UnaryKind::Exp => Function::Exp,
        UnaryKind::Floor => Function::Floor,
        UnaryKind::HardSwish => Function::HardSwish,
        UnaryKind::IsNaN => Function::IsNan,
        UnaryKind::Log => Function::Log,
        UnaryKind::Mish => Function::Mish,
        UnaryKind::Neg => Function::Neg,
        UnaryKind::Not => Function::Not,
        UnaryKind::Reciprocal => Function::Reciprocal,
        UnaryKind::Relu => Function::Relu,
        UnaryKind::Round => Function::Round,
        UnaryKind::Sigmoid => Function::Sigmoid,
        UnaryKind::Sign => Function::Sign,
        UnaryKind::Sin => Function::Sin,
        UnaryKind::Sinh => Function::Map(f32::sinh),
        UnaryKind::Softplus => Function::Softplus,
        UnaryKind::Softsign => Function::Softsign,
        UnaryKind::Sqrt => Function::Sqrt,
        UnaryKind::Tan => Function::Map(f32::tan),
        UnaryKind::Tanh => Function::Tanh,
    })
}

/// The function of raising to a constant power, where there is a quicker one.
fn power(exponent: f64) -> Option<Function> {
    const POWERS: [(f64, Function); 6] = [
        (1.0, Function::Identity),
        (2.0, Function::Square),
        (3.0, Function::Cube),
        (0.5, Function::Sqrt),
        (-0.5, Function::Rsqrt),
        (-1.0, Function::Reciprocal),
    ];
    POWERS.iter().find(|(power, _)| *power == exponent).map(|&(_, function)| function)
}

/// `a - floor(a / b) b`, with the sign of `b`.
fn floor_mod(a: f32, b: f32) -> f32 {
    let rest = a % b;
    if rest == 0.0 {
        0f32.copysign(b)
    } else if (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    }
}
