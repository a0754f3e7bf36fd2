//! Element-wise operators, and chains of them as one dispatch: each operator says its expression, the shader is made of these.

mod expression;
#[cfg(test)]
mod tests;
mod types;

use std::any::Any;
use std::fmt::Write as _;

use inferrum_backend::{Decline, Loops};
use inferrum_graph::{Facts, Operator, ShapeFact};
use inferrum_ops::binary::Binary;
use inferrum_ops::cast::Cast;
use inferrum_ops::fused::elementwise::{self as fused, Elementwise};
use inferrum_ops::prelu::PRelu;
use inferrum_ops::{Expression, expression};
use inferrum_tensor::{DType, Shape, Tensor, TensorError};

use crate::bindings::Bindings;
use crate::kernel::{Dispatch, Lowered, Lowering, Operand, word};
use crate::shader::{FUNCTIONS, Template};
use crate::storage;
use crate::strides::{loop_words, offsets};

pub(crate) use expression::in_wgsl;
use types::{cast, compute_type, is_float, scalar, wrapped};

const SOURCE: &str = include_str!("../../../shaders/elementwise.wgsl");
const CASTS: &str = include_str!("../../../shaders/casts.wgsl");

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
            cast(&x.name, x.dtype, dtype)?
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
        if matches!(dtype, DType::I64 | DType::U64) {
            let known = self.lowering.abilities.i64;
            return known
                .then_some(if dtype == DType::I64 { "i64" } else { "u64" })
                .ok_or_else(|| Decline("the adapter has no 64-bit integers".into()));
        }
        storage::words(dtype).ok_or_else(|| Decline(format!("arithmetic of {dtype}")))
    }

    fn build(self, result: &Value) -> Result<Lowered, Decline> {
        let lowering = self.lowering;
        let shape = lowering.output_shape(0)?;
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
            if let Some(constant) = lowering.constant(*place).filter(|constant| constant.len() == 1) {
                let element = self.words(*dtype)?;
                let _ = writeln!(body, "    let x{i} = {};", parameter(constant, element, &mut params)?);
                continue;
            }
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
        let computed = compute_type(self.reads.iter().map(|(_, dtype, _)| *dtype))?;
        let template = Template::new("elementwise", SOURCE);
        let template = if computed == "f32" { template.including(FUNCTIONS) } else { template };
        let casts = computed == "f32" && result.dtype.is_integer();
        let template =
            template.including(if casts { CASTS } else { "" }).switch("i64", lowering.abilities.i64);
        let shader = template
            .with("type", computed)
            .params(params.len())
            .with("bits", if matches!(computed, "i64" | "u64") { 64 } else { 32 })
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

/// A constant of one element as an expression of words that are added to the parameters.
fn parameter(constant: &Tensor, element: &str, params: &mut Vec<u32>) -> Result<String, Decline> {
    let refused = |error: TensorError| Decline(error.to_string());
    let first = params.len();
    match constant.dtype() {
        DType::F16 => {
            params.extend(constant.to_f64().map_err(refused)?.iter().map(|x| (*x as f32).to_bits()))
        }
        _ => match storage::widened(constant).map_err(refused)? {
            Some(words) => params.extend(words),
            None => params.extend(storage::bytes_as_words(constant.bytes())),
        },
    }
    let low = format!("param({first}u)");
    let wide = || format!("(u64({low}) | u64(param({}u)) << 32u)", first + 1);
    Ok(match element {
        "u32" if constant.dtype() == DType::Bool => format!("{low} != 0u"),
        "u32" => low,
        "i32" => format!("bitcast<i32>({low})"),
        "u64" => wide(),
        "i64" => format!("bitcast<i64>{}", wide()),
        _ => format!("bitcast<f32>({low})"),
    })
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
