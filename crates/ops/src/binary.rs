//! Operators of two numbers: arithmetic, comparison, logic, bits (<https://onnx.ai/onnx/operators/>).
//!
//! Since opset 7 operands broadcast as NumPy's. Before, only the second did, and only where `broadcast` was set;
//! `axis` then named the axis of the first operand at which the second starts.

use std::any::Any;
use std::sync::Arc;

use inferrum_graph::{Fact, Facts, Inputs, NodeDef, OpError, OpKey, Operator, ShapeFact, SymDim};
use inferrum_tensor::{DType, Real, Shape, Tensor, Value, collected, dispatch};

use crate::types::{COMPARABLE, INTEGERS, NUMBERS, TRUTH, Types};
use crate::{Broadcast, Expression, OpEntry, scalar};

/// An element-wise function of two operands. Inputs: shapes that broadcast together; types of the row, the same for both
/// (for `Pow` each its own, the first one's being the output's). Output: the common shape; the inputs' type or bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    /// The function.
    pub kind: BinaryKind,
    /// Where set, the second operand starts at this axis of the first (negative counts from the end), and the output
    /// has the first one's shape. Otherwise, and in every model since opset 7, shapes meet at their last axes.
    pub axis: Option<i64>,
}

/// What a [`BinaryKind`] is.
#[derive(Debug)]
pub struct BinaryRow {
    /// The operator's type in ONNX.
    pub name: &'static str,
    /// The types it takes.
    pub types: Types,
    /// Whether the output is of truth values, and not of the first input's type.
    pub truth: bool,
    /// The function as an [`Expression`] of `x` and `y`.
    pub text: &'static str,
    /// The function of floats; truth values are 0 and 1.
    pub float: fn(f64, f64) -> f64,
    /// The function of integers and truth values, of which the lowest bits are kept.
    pub integer: fn(i128, i128) -> i128,
}

macro_rules! rows {
    ($($(#[$doc:meta])* $kind:ident as $name:literal ($types:ident) $(-> $truth:ident)? = $text:literal, $float:expr, $integer:expr;)*) => {
        /// The function of a [`Binary`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum BinaryKind { $($(#[$doc])* $kind),* }

        impl BinaryKind {
            /// Every function.
            pub const ALL: &[BinaryKind] = &[$(BinaryKind::$kind),*];
        }

        static ROWS: &[BinaryRow] = &[$(BinaryRow {
            name: $name,
            types: $types,
            truth: rows!(@given $($truth)?),
            text: $text,
            float: $float,
            integer: $integer,
        }),*];
    };
    (@given) => { false };
    (@given truth) => { true };
}

rows! {
    /// `a + b`.
    Add as "Add" (NUMBERS) = "x + y", |a, b| a + b, |a, b| a + b;
    /// Whether both are true.
    And as "And" (TRUTH) -> truth = "x && y", f64::min, |a, b| a & b;
    /// The bits that are set in both.
    BitwiseAnd as "BitwiseAnd" (INTEGERS) = "x & y", |a, b| (a as i64 & b as i64) as f64, |a, b| a & b;
    /// The bits that are set in either.
    BitwiseOr as "BitwiseOr" (INTEGERS) = "x | y", |a, b| (a as i64 | b as i64) as f64, |a, b| a | b;
    /// The bits that are set in one and not in the other.
    BitwiseXor as "BitwiseXor" (INTEGERS) = "x ^ y", |a, b| (a as i64 ^ b as i64) as f64, |a, b| a ^ b;
    /// `a / b`; integers truncate towards zero, and give 0 where `b` is 0.
    Div as "Div" (NUMBERS) = "divide(x, y)", |a, b| a / b, |a, b| a.checked_div(b).unwrap_or(0);
    /// Whether `a` equals `b`.
    Equal as "Equal" (COMPARABLE) -> truth = "x == y", |a, b| f64::from(a == b), |a, b| i128::from(a == b);
    /// Whether `a` is greater than `b`.
    Greater as "Greater" (NUMBERS) -> truth = "x > y", |a, b| f64::from(a > b), |a, b| i128::from(a > b);
    /// Whether `a` is `b` or greater.
    GreaterOrEqual as "GreaterOrEqual" (NUMBERS) -> truth = "x >= y",
        |a, b| f64::from(a >= b), |a, b| i128::from(a >= b);
    /// Whether `a` is less than `b`.
    Less as "Less" (NUMBERS) -> truth = "x < y", |a, b| f64::from(a < b), |a, b| i128::from(a < b);
    /// Whether `a` is `b` or less.
    LessOrEqual as "LessOrEqual" (NUMBERS) -> truth = "x <= y", |a, b| f64::from(a <= b), |a, b| i128::from(a <= b);
    /// `Mod`: `a - floor(a / b) * b`, with the sign of `b`; integers give 0 where `b` is 0.
    FloorMod as "Mod" (NUMBERS) = "floor_mod(x, y)", scalar::floor_mod,
        |a, b| a.checked_rem(b).map_or(0, |rest| (rest + b).checked_rem(b).unwrap_or(0));
    /// `Mod` with `fmod`: `a - trunc(a / b) * b`, with the sign of `a`; integers give 0 where `b` is 0.
    TruncMod as "Mod" (NUMBERS) = "fmod(x, y)", |a, b| a % b, |a, b| a.checked_rem(b).unwrap_or(0);
    /// `a b`.
    Mul as "Mul" (NUMBERS) = "x * y", |a, b| a * b, i128::wrapping_mul;
    /// Whether either is true.
    Or as "Or" (TRUTH) -> truth = "x || y", f64::max, |a, b| a | b;
    /// `a^b`. An integer to a negative power truncates: it is 0 unless `a` is 1 or -1.
    Pow as "Pow" (NUMBERS) = "power(x, T(y))", f64::powf, integer_power;
    /// `BitShift` with `direction` = `LEFT`: `a 2^b`; 0 where `b` is negative.
    ShiftLeft as "BitShift" (INTEGERS) = "shift_left(x, y)", |a, b| a * b.exp2(),
        |a, b| if (0..128).contains(&b) { a << b } else { 0 };
    /// `BitShift` with `direction` = `RIGHT`: `floor(a / 2^b)`; -1 or 0, the sign of `a`, where `b` is negative.
    ShiftRight as "BitShift" (INTEGERS) = "shift_right(x, y)", |a, b| (a / b.exp2()).floor(),
        |a, b| a >> if (0..128).contains(&b) { b } else { 127 };
    /// `a - b`.
    Sub as "Sub" (NUMBERS) = "x - y", |a, b| a - b, |a, b| a - b;
    /// Whether exactly one is true.
    Xor as "Xor" (TRUTH) -> truth = "x != y", |a, b| f64::from(a != b), |a, b| a ^ b;
}

use BinaryKind::*;

pub(crate) const OPERATORS: &[OpEntry] = &[
    OpEntry::onnx("Add", 2, |def| Binary::parse(def, Add)),
    OpEntry::onnx("And", 2, |def| Binary::parse(def, And)),
    OpEntry::onnx("BitShift", 2, parse_bit_shift),
    OpEntry::onnx("BitwiseAnd", 2, |def| Binary::parse(def, BitwiseAnd)),
    OpEntry::onnx("BitwiseOr", 2, |def| Binary::parse(def, BitwiseOr)),
    OpEntry::onnx("BitwiseXor", 2, |def| Binary::parse(def, BitwiseXor)),
    OpEntry::onnx("Div", 2, |def| Binary::parse(def, Div)),
    OpEntry::onnx("Equal", 2, |def| Binary::parse(def, Equal)),
    OpEntry::onnx("Greater", 2, |def| Binary::parse(def, Greater)),
    OpEntry::onnx("GreaterOrEqual", 2, |def| Binary::parse(def, GreaterOrEqual)),
    OpEntry::onnx("Less", 2, |def| Binary::parse(def, Less)),
    OpEntry::onnx("LessOrEqual", 2, |def| Binary::parse(def, LessOrEqual)),
    OpEntry::onnx("Mod", 2, |def| {
        let kind = if def.flag("fmod", false)? { TruncMod } else { FloorMod };
        Binary::parse(def, kind)
    }),
    OpEntry::onnx("Mul", 2, |def| Binary::parse(def, Mul)),
    OpEntry::onnx("Or", 2, |def| Binary::parse(def, Or)),
    OpEntry::onnx("Pow", 2, |def| Binary::parse(def, Pow)),
    OpEntry::onnx("Sub", 2, |def| Binary::parse(def, Sub)),
    OpEntry::onnx("Xor", 2, |def| Binary::parse(def, Xor)),
];

fn parse_bit_shift(def: &mut NodeDef) -> Result<Arc<dyn Operator>, OpError> {
    match def.string("direction")?.as_deref() {
        Some("LEFT") => Binary::parse(def, ShiftLeft),
        Some("RIGHT") => Binary::parse(def, ShiftRight),
        other => Err(OpError::attribute("direction", "`LEFT` or `RIGHT`", other.unwrap_or("nothing"))),
    }
}

/// `a^b` modulo 2^128; a negative power truncates towards zero.
fn integer_power(a: i128, b: i128) -> i128 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 if b % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        };
    }
    let (mut power, mut square, mut left) = (1i128, a, b);
    while left > 0 {
        if left & 1 == 1 {
            power = power.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        left >>= 1;
    }
    power
}

impl BinaryKind {
    /// What the function is.
    pub fn row(self) -> &'static BinaryRow {
        &ROWS[self as usize]
    }
}

impl Binary {
    /// The function with operands that broadcast as NumPy's.
    pub const fn new(kind: BinaryKind) -> Binary {
        Binary { kind, axis: None }
    }

    fn parse(def: &mut NodeDef, kind: BinaryKind) -> Result<Arc<dyn Operator>, OpError> {
        let mut axis = None;
        if def.opset < 7 {
            def.ignore(&["consumed_inputs"]);
            // Without `broadcast` the shapes are equal, and where an axis stands is no matter.
            let broadcasts = def.flag("broadcast", false)?;
            axis = def.int("axis")?.filter(|_| broadcasts);
        }
        Ok(Arc::new(Binary { kind, axis }))
    }

    /// The second operand's shape in a form that broadcasts as NumPy's with a first operand of rank `rank`.
    ///
    /// # Errors
    /// [`Binary::axis`] is out of range.
    pub fn second_shape(&self, rank: usize, second: &ShapeFact) -> Result<ShapeFact, OpError> {
        let (Some(axis), Some(dims)) = (self.axis, second.dims()) else { return Ok(second.clone()) };
        let out_of_range = || OpError::attribute("axis", format!("an axis of {rank} dimensions"), axis);
        let signed_rank = i64::try_from(rank).map_err(|_| out_of_range())?;
        let start = if axis < 0 { axis.saturating_add(signed_rank) } else { axis };
        let start = usize::try_from(start).ok().filter(|&start| start <= rank).ok_or_else(out_of_range)?;
        let repeats = (rank - start).checked_sub(dims.len()).ok_or_else(|| {
            OpError::shape(1, format!("of at most {} dimensions, from axis {start} on", rank - start), second)
        })?;
        Ok(dims.iter().cloned().chain(std::iter::repeat_n(SymDim::Known(1), repeats)).collect())
    }

    fn broadcast(&self, a: &Shape, b: &Shape) -> Result<Broadcast, OpError> {
        let second = self.second_shape(a.rank(), &b.into())?;
        let second = second.concrete().unwrap_or_else(|| b.clone());
        if self.axis.is_some() { Broadcast::onto_first(&[a, &second]) } else { Broadcast::new(&[a, &second]) }
    }

    /// The common shape, as far as it is known.
    fn output_shape(&self, a: &ShapeFact, b: &ShapeFact) -> Result<ShapeFact, OpError> {
        let second = match a.rank() {
            Some(rank) => self.second_shape(rank, b)?,
            None if self.axis.is_some() => return Ok(ShapeFact::unknown()),
            None => b.clone(),
        };
        let misfit = || OpError::shape(1, format!("that broadcasts with {a}"), b);
        let common = a.broadcast(&second).ok_or_else(misfit)?;
        if self.axis.is_none() {
            return Ok(common);
        }
        // The first operand is never enlarged.
        a.merge(&common).ok_or_else(misfit)
    }
}

impl Operator for Binary {
    fn key(&self) -> OpKey {
        OpKey::onnx(self.kind.row().name)
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (row, a, b) = (self.kind.row(), inputs.tensor(0)?, inputs.tensor(1)?);
        row.types.check(0, a.dtype)?;
        if self.kind == Pow {
            row.types.check(1, b.dtype)?;
        } else if b.dtype != a.dtype {
            return Err(OpError::dtype(1, a.dtype.name(), b.dtype));
        }
        let dtype = if row.truth { DType::Bool } else { a.dtype };
        Ok(vec![Fact::tensor(dtype, self.output_shape(&a.shape, &b.shape)?)])
    }

    fn reference(&self, inputs: Inputs<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let broadcast = self.broadcast(a.shape(), b.shape())?;
        let output = if a.dtype() == DType::String {
            let equal = broadcast.zip(&refs(a.as_strings()?), &refs(b.as_strings()?), |a, b| a == b)?;
            Tensor::from_vec(broadcast.shape().clone(), equal)?
        } else if a.dtype().is_float() || b.dtype().is_float() {
            let values = broadcast.zip(&a.to_f64()?, &b.to_f64()?, self.kind.row().float)?;
            Tensor::from_f64(self.output_dtype(a), broadcast.shape().clone(), &values)?
        } else {
            self.integers(&broadcast, a, b)?
        };
        Ok(vec![output.into()])
    }
}

impl Binary {
    fn output_dtype(&self, a: &Tensor) -> DType {
        if self.kind.row().truth { DType::Bool } else { a.dtype() }
    }

    fn integers(&self, broadcast: &Broadcast, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
        let function = self.kind.row().integer;
        let values = broadcast.zip(&wide(a)?, &wide(b)?, function)?;
        let not_real = || OpError::dtype(0, NUMBERS.name, a.dtype());
        dispatch!(real, self.output_dtype(a), T => {
            let elements = collected(values.len(), values.iter().map(|&value| <T as Real>::from_i128(value)))?;
            Ok(Tensor::from_vec(broadcast.shape().clone(), elements)?)
        }, else Err(not_real()))
    }
}

/// The elements of an integer or bool tensor, widened.
fn wide(tensor: &Tensor) -> Result<Vec<i128>, OpError> {
    dispatch!(real, tensor.dtype(), T => {
        let elements = tensor.as_slice::<T>()?;
        Ok(collected(elements.len(), elements.iter().map(|x| x.to_i128()))?)
    }, else Err(OpError::dtype(0, NUMBERS.name, tensor.dtype())))
}

fn refs(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

pub(crate) fn expression(op: &dyn Operator) -> Option<Expression> {
    let op = (op as &dyn Any).downcast_ref::<Binary>()?;
    let row = op.kind.row();
    op.axis.is_none().then(|| Expression {
        text: row.text,
        operands: 2,
        parameters: Vec::new(),
        truth: row.truth,
        integers: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::evaluate::{SAMPLES, close, evaluate};
    use crate::testing::{parse_at, run, try_run};
    use inferrum_graph::Attr;
    use inferrum_tensor::{Element, f16};

    fn of<T: Element, R: Element>(op_type: &str, a: Vec<T>, b: Vec<T>) -> Vec<R> {
        of_attrs(op_type, &[], a, b)
    }

    fn of_attrs<T: Element, R: Element>(
        op_type: &str,
        attrs: &[(&str, Attr)],
        a: Vec<T>,
        b: Vec<T>,
    ) -> Vec<R> {
        run(&*parse_at(28, op_type, attrs), &[Tensor::vector(a), Tensor::vector(b)])[0]
            .as_slice()
            .unwrap()
            .to_vec()
    }

    #[test]
    fn texts_agree_with_closures() {
        assert_eq!(ROWS.len(), BinaryKind::ALL.len());
        for &kind in BinaryKind::ALL {
            let (row, expression) = (kind.row(), crate::expression(&Binary::new(kind)).unwrap());
            let floats = row.types.hold(DType::F32);
            let bound = if row.types.hold(DType::Bool) { 1 } else { 7 };
            for (&x, &y) in SAMPLES.iter().flat_map(|x| SAMPLES.iter().map(move |y| (x, y))) {
                let (x, y) = if floats {
                    (x, y)
                } else {
                    (f64::from(x as i64 as u8 & bound), f64::from(y as i64 as u8 & bound))
                };
                let (text, closure) = (evaluate(&expression, &[x, y]), (row.float)(x, y));
                assert!(close(text, closure), "{kind:?} of {x}, {y}: text {text}, closure {closure}");
                // Fractions, and what integers cannot tell: a division by zero or an overflow.
                let whole = x.fract() == 0.0 && y.fract() == 0.0 && closure.abs() < 1e18;
                if whole {
                    let integer = (row.integer)(x as i128, y as i128) as f64;
                    assert_eq!(integer, closure.trunc(), "{kind:?} of integers {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn integers_wrap_and_truncate() {
        assert_eq!(of::<i8, i8>("Add", vec![127, -128], vec![1, -1]), [-128, 127]);
        assert_eq!(of::<u8, u8>("Sub", vec![0, 7], vec![1, 3]), [255, 4]);
        assert_eq!(of::<u64, u64>("Mul", vec![u64::MAX, 3], vec![u64::MAX, 5]), [1, 15]);
        assert_eq!(
            of::<i32, i32>("Div", vec![7, -7, 5, i32::MIN, 1], vec![2, 2, -3, -1, 0]),
            [3, -3, -1, i32::MIN, 0]
        );
        assert_eq!(
            of::<i64, i64>("Mod", vec![7, -7, 5, i64::MIN, 1], vec![-3, 3, -4, -1, 0]),
            [-2, 2, -3, 0, 0]
        );
        let fmod = [("fmod", Attr::Int(1))];
        assert_eq!(of_attrs::<i8, i8>("Mod", &fmod, vec![7, -7], vec![-3, 3]), [1, -1]);
    }

    #[test]
    fn powers_take_their_type_from_the_base() {
        let pow = parse_at(15, "Pow", &[]);
        let y = run(&*pow, &[Tensor::vector(vec![2i64, 3, -2, -1]), Tensor::vector(vec![-1i32, 45, 3, -3])]);
        assert_eq!(y[0].as_slice::<i64>().unwrap(), [0, 3i64.wrapping_pow(45), -8, -1]);
        let y = run(&*pow, &[Tensor::vector(vec![2i32, 3]), Tensor::vector(vec![0.5f32, 1.5])]);
        assert_eq!(y[0].as_slice::<i32>().unwrap(), [1, 5]);
        let y = run(&*pow, &[Tensor::vector(vec![f16::from_f64(1.5)]), Tensor::vector(vec![2u64])]);
        assert_eq!(y[0].as_slice::<f16>().unwrap(), [f16::from_f64(2.25)]);
    }

    #[test]
    fn shifts_follow_the_sign_bit() {
        let right = [("direction", Attr::String(b"RIGHT".to_vec()))];
        let left = [("direction", Attr::String(b"LEFT".to_vec()))];
        assert_eq!(of_attrs::<u8, u8>("BitShift", &right, vec![16, 4, 255], vec![1, 2, 8]), [8, 1, 0]);
        assert_eq!(
            of_attrs::<i8, i8>("BitShift", &right, vec![-16, -1, 9, -9], vec![1, 100, -1, -1]),
            [-8, -1, 0, -1]
        );
        assert_eq!(
            of_attrs::<i8, i8>("BitShift", &left, vec![64, 1, 1, 3], vec![1, 8, -1, 7]),
            [-128, 0, 0, -128]
        );
        assert_eq!(of_attrs::<u64, u64>("BitShift", &left, vec![1, 1], vec![63, u64::MAX]), [1 << 63, 0]);
    }

    #[test]
    fn comparisons_are_exact() {
        assert_eq!(of::<u64, bool>("Less", vec![u64::MAX - 1, 1], vec![u64::MAX, 1]), [true, false]);
        assert_eq!(of::<f32, bool>("GreaterOrEqual", vec![f32::NAN, 1.0], vec![1.0, 1.0]), [false, true]);
        assert_eq!(of::<bool, bool>("Equal", vec![true, false], vec![true, true]), [true, false]);
        assert_eq!(of::<bool, bool>("Xor", vec![true, false], vec![true, true]), [false, true]);
        let strings = |texts: [&str; 2]| Tensor::from_strings([2], texts.map(String::from).to_vec()).unwrap();
        let y = run(&*parse_at(19, "Equal", &[]), &[strings(["a", "b"]), strings(["a", "c"])]);
        assert_eq!(y[0].as_slice::<bool>().unwrap(), [true, false]);
    }

    #[test]
    fn operands_broadcast_both_ways() {
        let (a, b) =
            (Tensor::from_vec([2, 1], vec![1f32, 2.0]).unwrap(), Tensor::vector(vec![10f32, 20.0, 30.0]));
        let y = run(&*parse_at(14, "Add", &[]), &[a, b]);
        assert_eq!(y[0].shape().dims(), [2, 3]);
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [11., 21., 31., 12., 22., 32.]);
        let empty = run(
            &*parse_at(14, "Mul", &[]),
            &[Tensor::zeros(DType::F32, [0, 1]).unwrap(), Tensor::scalar(1f32)],
        );
        assert_eq!(empty[0].shape().dims(), [0, 1]);
    }

    #[test]
    fn before_opset_7_the_second_operand_may_start_at_an_axis() {
        let zeros = Tensor::zeros(DType::F32, [2, 3, 2]).unwrap();
        let b = Tensor::vector(vec![1f32, 2.0, 3.0]);
        for axis in [1, -2] {
            let op = parse_at(6, "Add", &[("broadcast", Attr::Int(1)), ("axis", Attr::Int(axis))]);
            let y = run(&*op, &[zeros.clone(), b.clone()]);
            assert_eq!(y[0].as_slice::<f32>().unwrap(), [1., 1., 2., 2., 3., 3., 1., 1., 2., 2., 3., 3.]);
            assert!(crate::expression(&*op).is_none());
        }
        let op = parse_at(6, "Add", &[("broadcast", Attr::Int(1))]);
        assert_eq!((&*op as &dyn Any).downcast_ref(), Some(&Binary::new(Add)));
        for axis in [2, 4, -4, i64::MIN, i64::MAX] {
            let op = Binary { kind: Add, axis: Some(axis) };
            assert!(try_run(&op, &[Some(zeros.clone()), Some(b.clone())]).is_err(), "{axis}");
        }
        let enlarging = Binary { kind: Add, axis: Some(0) };
        assert!(try_run(&enlarging, &[Some(Tensor::zeros(DType::F32, [1]).unwrap()), Some(b)]).is_err());
    }

    #[test]
    fn symbols_survive() {
        let n = SymDim::Symbol("n".into());
        let fact = Fact::tensor(DType::F32, vec![n.clone(), SymDim::Known(4)]);
        let other = Fact::tensor(DType::F32, [4]);
        let outputs = Binary::new(Add).infer(Facts(&[Some(&fact), Some(&other)])).unwrap();
        assert_eq!(outputs[0], fact);
        let first_decides =
            Binary { kind: Add, axis: Some(1) }.infer(Facts(&[Some(&fact), Some(&other)])).unwrap();
        assert_eq!(first_decides, [fact]);
    }

    #[test]
    fn types_that_differ_are_an_error() {
        let result = try_run(&Binary::new(Add), &[Some(Tensor::scalar(1f32)), Some(Tensor::scalar(1i32))]);
        assert!(matches!(result, Err(OpError::DType { index: 1, .. })));
        let result = try_run(&Binary::new(And), &[Some(Tensor::scalar(1u8)), Some(Tensor::scalar(1u8))]);
        assert!(matches!(result, Err(OpError::DType { index: 0, .. })));
    }
}
