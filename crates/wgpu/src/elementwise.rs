//! Element-wise operators, and chains of them as one dispatch: each operator says its expression, the shader is made of these.

use std::any::Any;
use std::fmt::Write as _;

use inferrum_backend::{Decline, Loops};
use inferrum_graph::{Facts, Operator, ShapeFact};
use inferrum_ops::binary::Binary;
use inferrum_ops::cast::Cast;
use inferrum_ops::fused::elementwise::{self as fused, Elementwise};
use inferrum_ops::prelu::PRelu;
use inferrum_ops::{Expression, expression};
use inferrum_tensor::{DType, Shape};

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;
use crate::strides::{loop_words, offsets};

const SOURCE: &str = include_str!("../../../shaders/elementwise.wgsl");

/// Buffers that every adapter binds at once, but for the output's.
const MOST_INPUTS: usize = 7;

/// A value that the shader computes or reads.
#[derive(Clone)]
struct Value {
    /// How the shader names it.
    name: String,
    dtype: DType,
    shape: Shape,
    /// The node's input that it is, as it stands there.
    input: Option<usize>,
}

/// A shader that is being made.
struct Builder<'a> {
    lowering: &'a Lowering<'a>,
    /// What is read: the node's input, and the shape under which it broadcasts.
    reads: Vec<(usize, DType, Shape)>,
    /// Functions, one for each operator.
    functions: String,
    /// Statements that call them.
    calls: String,
    count: usize,
}

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let mut builder =
        Builder { lowering, reads: Vec::new(), functions: String::new(), calls: String::new(), count: 0 };
    let inputs: Vec<Option<Value>> = (0..lowering.inputs.len())
        .map(|place| {
            let value = |dtype| {
                let shape = lowering.shape(place)?;
                Ok(Value { name: String::new(), dtype, shape, input: Some(place) })
            };
            lowering.has(place).then(|| value(lowering.dtype(place)?)).transpose()
        })
        .collect::<Result<_, Decline>>()?;
    let result = match (op as &dyn Any).downcast_ref::<Elementwise>() {
        Some(chain) => builder.chain(chain, &inputs)?,
        None => {
            let (dtype, shape) = (lowering.output_dtype(0)?, lowering.output_shape(0)?);
            builder.step(op, &inputs, dtype, shape)?
        }
    };
    builder.build(&result)
}

impl Builder<'_> {
    fn chain(&mut self, chain: &Elementwise, inputs: &[Option<Value>]) -> Result<Value, Decline> {
        let facts = chain.facts(Facts(&self.lowering.inputs)).map_err(|error| Decline(error.to_string()))?;
        let mut results: Vec<Value> = Vec::new();
        for (step, fact) in chain.steps.iter().zip(&facts) {
            let operand = |operand: &Option<fused::Operand>| match *operand {
                None => None,
                Some(fused::Operand::Input(place)) => inputs.get(place).cloned().flatten(),
                Some(fused::Operand::Step(step)) => results.get(step).cloned(),
            };
            let operands: Vec<Option<Value>> = step.operands.iter().map(operand).collect();
            let (Some(tensor), Some(shape)) = (fact.as_tensor(), fact.concrete_shape()) else {
                return Err(Decline("a shape is not known".into()));
            };
            results.push(self.step(&*step.op, &operands, tensor.dtype, shape)?);
        }
        results.pop().ok_or_else(|| Decline("no steps".into()))
    }

    /// The result of an operator.
    fn step(
        &mut self,
        op: &dyn Operator,
        operands: &[Option<Value>],
        dtype: DType,
        shape: Shape,
    ) -> Result<Value, Decline> {
        let any = op as &dyn Any;
        let given = |place: usize| operands.get(place).cloned().flatten();
        let missing = |place: usize| Decline(format!("input {place} is missing"));
        let text = if any.is::<Cast>() {
            let x = given(0).ok_or_else(|| missing(0))?;
            let x = self.argument(&x)?;
            cast(&x, dtype)?
        } else {
            let expression =
                expression(op).ok_or_else(|| Decline(format!("{} has no expression", op.key())))?;
            let mut arguments = Vec::new();
            for place in 0..expression.operands {
                let value = given(place).ok_or_else(|| missing(place))?;
                let value = under_broadcast(any, value, place, operands)?;
                arguments.push(self.argument(&value)?);
            }
            self.function(&expression, &arguments, dtype)?
        };
        let name = format!("v{}", self.count);
        self.count += 1;
        let _ = writeln!(self.calls, "    let {name} = {text};");
        Ok(Value { name, dtype, shape, input: None })
    }

    /// An operand as an argument; what is an input is read.
    fn argument(&mut self, value: &Value) -> Result<Value, Decline> {
        let Some(place) = value.input else { return Ok(value.clone()) };
        let read = (place, value.dtype, value.shape.clone());
        let index = self.reads.iter().position(|other| *other == read).unwrap_or_else(|| {
            self.reads.push(read);
            self.reads.len() - 1
        });
        Ok(Value { name: format!("x{index}"), ..value.clone() })
    }

    /// A call of the function of an expression.
    fn function(
        &mut self,
        expression: &Expression,
        arguments: &[Value],
        dtype: DType,
    ) -> Result<String, Decline> {
        let float = arguments.iter().any(|value| is_float(value.dtype));
        if !float && !expression.integers && !arguments.iter().all(|value| value.dtype == DType::Bool) {
            return Err(Decline(format!("`{}` is for floats", expression.text)));
        }
        let first = arguments.first().map(|value| value.dtype);
        if float && first.is_some_and(|dtype| !is_float(dtype) && dtype != DType::Bool) {
            return Err(Decline("an integer operand beside a float one".into()));
        }
        let mut text = String::new();
        for (name, argument) in ["x", "y", "z"].iter().zip(arguments) {
            let _ = write!(text, "{name}: {}, ", scalar(argument.dtype)?);
        }
        let name = format!("step{}", self.count);
        let result = if expression.truth { "bool" } else { scalar(dtype)? };
        let _ = writeln!(self.functions, "fn {name}({text}) -> {result} {{");
        for (parameter, value) in &expression.parameters {
            let _ = writeln!(self.functions, "    let {parameter} = T(bitcast<f32>({}u));", value.to_bits());
        }
        let _ = writeln!(self.functions, "    return {};\n}}", in_wgsl(expression.text));
        let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
        Ok(wrapped(format!("{name}({})", names.join(", ")), dtype))
    }

    /// The type of a buffer's elements, in which 64-bit integers are computed with where the adapter can.
    fn words(&self, dtype: DType) -> Result<&'static str, Decline> {
        if dtype == DType::I64 {
            let known = self.lowering.abilities.i64;
            return known
                .then_some("i64")
                .ok_or_else(|| Decline("the adapter has no 64-bit integers".into()));
        }
        storage::words(dtype).ok_or_else(|| Decline(format!("arithmetic of {dtype}")))
    }

    fn build(self, result: &Value) -> Result<Lowered, Decline> {
        let lowering = self.lowering;
        let shape = lowering.output_shape(0)?;
        if self.reads.len() > MOST_INPUTS {
            return Err(Decline(format!("{} inputs, the kernel takes {MOST_INPUTS}", self.reads.len())));
        }
        let shapes: Vec<&Shape> = self.reads.iter().map(|(_, _, shape)| shape).collect();
        let loops = Loops::broadcast(&shape, &shapes)?;
        let walked: Vec<usize> =
            (0..self.reads.len()).filter(|&i| !loops.is_scalar(i) && !loops.is_dense(i)).collect();
        let mut params = vec![word(shape.elements())?];
        params.extend(loop_words(&loops, &walked)?);
        let mut bindings = Bindings::default();
        let mut body = if walked.is_empty() {
            String::new()
        } else {
            offsets(loops.dims().len(), walked.len(), 1, "index")
        };
        for (i, (place, dtype, _)) in self.reads.iter().enumerate() {
            bindings.read(&format!("input{i}"), self.words(*dtype)?, Operand::Input(*place));
            let at = match walked.iter().position(|&walked| walked == i) {
                Some(operand) => format!("offset{operand}"),
                None if loops.is_scalar(i) => "0".to_owned(),
                None => "index".to_owned(),
            };
            let element = format!("input{i}[{at}]");
            let element = match dtype {
                DType::Bool => format!("{element} != 0u"),
                DType::F16 => format!("f32({element})"),
                _ => element,
            };
            let _ = writeln!(body, "    let x{i} = {element};");
        }
        bindings.write("output", self.words(result.dtype)?, Operand::Output(0));
        let name = match result.input {
            Some(_) => return Err(Decline("a chain of no steps".into())),
            None => &result.name,
        };
        body.push_str(&self.calls);
        let stored = match result.dtype {
            DType::Bool => format!("u32({name})"),
            DType::F16 => format!("f16({name})"),
            _ => name.clone(),
        };
        let _ = write!(body, "    output[index] = {stored};");
        let computed = compute_type(&self.reads)?;
        let template = Template::new("elementwise", SOURCE);
        let template = if computed == "f32" { template.including(FUNCTIONS) } else { template };
        let shader = template
            .with("type", computed)
            .params(params.len())
            .with("bits", if computed == "i64" { 64 } else { 32 })
            .with("buffers", bindings.declarations())
            .with("steps", self.functions)
            .with("body", body)
            .switch("integer", computed != "f32")
            .switch("signed", matches!(computed, "i32" | "i64"))
            .build();
        let name = if self.count == 1 { "elementwise" } else { "elementwise chain" };
        Ok(Lowered::one(name, Dispatch::over(shape.elements(), shader, bindings.operands(), params)?))
    }
}

/// The second operand of some operators does not broadcast as NumPy's; its shape under which it does.
fn under_broadcast(
    op: &dyn Any,
    value: Value,
    place: usize,
    operands: &[Option<Value>],
) -> Result<Value, Decline> {
    let Some(first) = operands.first().cloned().flatten().filter(|_| place == 1) else { return Ok(value) };
    let shape = if let Some(op) = op.downcast_ref::<Binary>() {
        let shape = op.second_shape(first.shape.rank(), &ShapeFact::from(&value.shape));
        let shape = shape.map_err(|error| Decline(error.to_string()))?;
        shape.concrete().ok_or_else(|| Decline("a shape is not known".into()))?
    } else if let Some(op) = op.downcast_ref::<PRelu>() {
        op.slope_shape(first.shape.rank(), &value.shape)
    } else {
        value.shape.clone()
    };
    if shape != value.shape && value.input.is_none() {
        return Err(Decline("an intermediate result is broadcast along a leading axis".into()));
    }
    Ok(Value { shape, ..value })
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::F32)
}

/// The type that a step computes with for a type of elements.
fn scalar(dtype: DType) -> Result<&'static str, Decline> {
    match dtype {
        DType::Bool => Ok("bool"),
        DType::F16 | DType::F32 => Ok("f32"),
        DType::I8 | DType::I16 | DType::I32 => Ok("i32"),
        DType::U8 | DType::U16 | DType::U32 => Ok("u32"),
        DType::I64 => Ok("i64"),
        other => Err(Decline(format!("arithmetic of {other}"))),
    }
}

/// The type that literals of expressions stand for: floats, if any operand is one.
fn compute_type(reads: &[(usize, DType, Shape)]) -> Result<&'static str, Decline> {
    let types = reads.iter().map(|(_, dtype, _)| scalar(*dtype)).collect::<Result<Vec<_>, _>>()?;
    let numbers: Vec<&str> = types.into_iter().filter(|&name| name != "bool").collect();
    Ok(if numbers.contains(&"f32") || numbers.is_empty() { "f32" } else { numbers[0] })
}

/// `x` as another type.
fn cast(x: &Value, to: DType) -> Result<String, Decline> {
    let name = &x.name;
    let (from, into) = (scalar(x.dtype)?, scalar(to)?);
    let text = match (from, into) {
        _ if x.dtype == to => return Ok(name.clone()),
        ("bool", "f32") => format!("select(0.0, 1.0, {name})"),
        ("f32", "bool") => format!("{name} != 0.0"),
        ("i32", "bool") => format!("{name} != 0i"),
        ("u32", "bool") => format!("{name} != 0u"),
        // What lies beyond a narrow type wraps as on the host.
        ("i64", "bool") => format!("{name} != 0li"),
        ("bool", "i64") => format!("select(0li, 1li, {name})"),
        ("f32", "u32") if to != DType::U32 => format!("bitcast<u32>(i32({name}))"),
        ("i32", "u32") => format!("bitcast<u32>({name})"),
        ("u32", "i32") => format!("bitcast<i32>({name})"),
        _ => format!("{into}({name})"),
    };
    // What a model casts to float16 is rounded, also between steps.
    let text = if to == DType::F16 { format!("f32(f16({text}))") } else { text };
    Ok(wrapped(text, to))
}

/// The value of an expression of a narrow type, which wraps.
fn wrapped(text: String, dtype: DType) -> String {
    match dtype {
        DType::U8 => format!("(({text}) & 0xffu)"),
        DType::U16 => format!("(({text}) & 0xffffu)"),
        DType::I8 => format!("((({text}) << 24u) >> 24u)"),
        DType::I16 => format!("((({text}) << 16u) >> 16u)"),
        _ => text,
    }
}

/// An expression with the functions of `functions.wgsl` in place of WGSL's own where these differ from ONNX.
pub(crate) fn in_wgsl(text: &str) -> String {
    const OURS: [&str; 10] =
        ["acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "sign", "sinh", "tanh"];
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let (before, word) = rest.split_at(start);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        result.push_str(before);
        result.push_str(&word[..end]);
        if OURS.contains(&&word[..end]) {
            result.push('_');
        }
        rest = &word[end..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tolerance, agree, agree_with, random, random_of};
    use inferrum_ops::activation::Activation;
    use inferrum_ops::binary::BinaryKind;
    use inferrum_ops::cast::Conversion;
    use inferrum_ops::clip::Clip;
    use inferrum_ops::select::Where;
    use inferrum_ops::unary::{Unary, UnaryKind};
    use inferrum_tensor::Tensor;
    use std::sync::Arc;

    /// What a GPU's own functions of one number may miss.
    const FUNCTIONS: Tolerance = Tolerance { relative: 1e-5, absolute: 3e-6 };

    #[test]
    fn functions_of_one_number() {
        use UnaryKind::*;
        let special =
            vec![0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 1e-4, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let mut numbers = special;
        numbers.extend(random(&[127], 1).as_slice::<f32>().unwrap());
        let x = Tensor::vector(numbers);
        for kind in [
            Abs, Ceil, Exp, Floor, HardSwish, IsNaN, Mish, Neg, Reciprocal, Relu, Round, Sigmoid, Sign,
            Softplus, Softsign, Tanh, Erf, Atan, Sqrt, Log,
        ] {
            let absolute = if matches!(kind, Abs | Ceil | Floor | Neg | Relu | Round | Sign | IsNaN) {
                0.0
            } else {
                3e-6
            };
            agree(Unary { kind }, std::slice::from_ref(&x), Tolerance { relative: 3e-6, absolute });
        }
        let finite = random(&[130], 2);
        for kind in [Cos, Sin, Cosh, Sinh, Asinh] {
            agree(Unary { kind }, std::slice::from_ref(&finite), FUNCTIONS);
        }
        let inside = Tensor::vector((-60..=60).map(|i| i as f32 / 61.0).collect::<Vec<f32>>());
        for kind in [Acos, Asin, Atanh, Tan] {
            agree(
                Unary { kind },
                std::slice::from_ref(&inside),
                Tolerance { relative: 1e-4, absolute: 1e-4 },
            );
        }
    }

    #[test]
    fn activations() {
        for op in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Swish { alpha: 1.5 },
            Activation::Elu { alpha: 0.7 },
            Activation::LeakyRelu { alpha: 0.1 },
            Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        ] {
            agree(op, &[random(&[3, 127], 1)], FUNCTIONS);
        }
    }

    #[test]
    fn operands_broadcast() {
        for (a, b) in [
            (&[2usize, 3, 17][..], &[2usize, 3, 17][..]),
            (&[2, 3, 17], &[17]),
            (&[2, 1, 17], &[3, 1]),
            (&[], &[5]),
            (&[4, 1, 3, 1, 2], &[2, 1, 5, 1]),
        ] {
            for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div] {
                agree(
                    Binary::new(kind),
                    &[random(a, 1), random(b, 2)],
                    Tolerance { relative: 3e-7, absolute: 0.0 },
                );
            }
            for kind in [BinaryKind::Less, BinaryKind::GreaterOrEqual, BinaryKind::Equal] {
                let inputs = [random_of(DType::I32, a, 1), random_of(DType::I32, b, 2)];
                agree(Binary::new(kind), &inputs, Tolerance::EXACT);
            }
            let inputs = [random_of(DType::Bool, a, 3), random(a, 1), random(b, 2)];
            agree(Where, &inputs, Tolerance::EXACT);
        }
        let inputs = [random(&[0, 3], 1), random(&[3], 2)];
        agree(Binary::new(BinaryKind::Add), &inputs, Tolerance::EXACT);
    }

    #[test]
    fn integers_wrap() {
        for dtype in [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32, DType::I64] {
            let (a, b) = (random_of(dtype, &[70], 1), random_of(dtype, &[70], 2));
            let divisors = Tensor::from_i64(dtype, [70], &(1..=70).collect::<Vec<i64>>()).unwrap();
            for kind in
                [BinaryKind::Add, BinaryKind::Mul, BinaryKind::Less, BinaryKind::FloorMod, BinaryKind::Div]
            {
                let b = if matches!(kind, BinaryKind::FloorMod | BinaryKind::Div) { &divisors } else { &b };
                agree(Binary::new(kind), &[a.clone(), b.clone()], Tolerance::EXACT);
            }
        }
        let logic = [random_of(DType::Bool, &[33], 1), random_of(DType::Bool, &[33], 2)];
        agree(Binary::new(BinaryKind::Xor), &logic, Tolerance::EXACT);
        agree(Unary { kind: UnaryKind::Not }, &logic[..1], Tolerance::EXACT);
    }

    #[test]
    fn powers() {
        let bases = Tensor::vector(vec![-2f32, -1.5, 0.0, 0.5, 3.0, 2.0, -3.0, 4.0]);
        for exponent in [2f32, 3.0, 0.5, -1.0, 0.0, 1.0] {
            let exponent = Some((Tensor::scalar(exponent), true));
            let inputs = [Some((bases.clone(), false)), exponent];
            agree_with(
                Binary::new(BinaryKind::Pow),
                &inputs,
                1,
                Tolerance { relative: 1e-5, absolute: 1e-6 },
            );
        }
    }

    #[test]
    fn remainders_are_exact() {
        let numbers = vec![5.5f32, -5.5, 1e8, -1e30, 0.3, 7.0, -0.0, f32::INFINITY, 3.0, f32::NAN];
        let divisors = vec![2f32, 2.0, 3.0, 0.7, 0.1, f32::INFINITY, 1.0, 2.0, 0.0, 1.0];
        for kind in [BinaryKind::TruncMod, BinaryKind::FloorMod] {
            let inputs = [Tensor::vector(numbers.clone()), Tensor::vector(divisors.clone())];
            let tolerance = if kind == BinaryKind::TruncMod { 0.0 } else { 1e-6 };
            agree(Binary::new(kind), &inputs[..], Tolerance { relative: tolerance, absolute: 0.0 });
        }
    }

    #[test]
    fn types_change() {
        let types = [DType::F32, DType::I32, DType::U8, DType::I8, DType::Bool, DType::I64];
        for from in types {
            for to in types {
                agree(
                    Cast { to, conversion: Conversion::default() },
                    &[random_of(from, &[40], 1)],
                    Tolerance::EXACT,
                );
            }
        }
    }

    #[test]
    fn chains_are_one_dispatch() {
        let step = |op: Arc<dyn Operator>, operands: &[fused::Operand]| fused::Step {
            op,
            operands: operands.iter().copied().map(Some).collect(),
        };
        use fused::Operand::{Input, Step};
        let chain = || Elementwise {
            steps: vec![
                step(Arc::new(Binary::new(BinaryKind::Mul)), &[Input(0), Input(1)]),
                step(Arc::new(Unary { kind: UnaryKind::Sigmoid }), &[Step(0)]),
                step(Arc::new(Binary::new(BinaryKind::Less)), &[Step(1), Input(2)]),
                step(Arc::new(Where), &[Step(2), Step(1), Input(0)]),
            ],
        };
        let inputs = [random(&[5, 1, 17], 1), random(&[3, 1], 2), Tensor::scalar(0.4f32)];
        agree(chain(), &inputs, FUNCTIONS);
        agree(
            Clip { has_min: true, has_max: true },
            &[random(&[9], 1), Tensor::scalar(-1f32), Tensor::scalar(1f32)],
            Tolerance::EXACT,
        );
    }

    #[test]
    fn functions_are_named_apart() {
        assert_eq!(in_wgsl("tanh(x) * T(0.5) + atanh(tan(y))"), "tanh_(x) * T(0.5) + atanh_(tan(y))");
    }
}
