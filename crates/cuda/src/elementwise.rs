//! Element-wise operators, and chains of them as one launch: each operator says its expression, the kernel is made of these.

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
use inferrum_tensor::{DType, Shape};

use crate::kernel::{BLOCK, Kernel, Lowered, Lowering, Operand, c_type, word};
use crate::loops::{self, loop_operand};
use crate::source::Template;

use types::{cast, is_real, literals, meant, scalar, wrapped};

const SOURCE: &str = include_str!("../../../kernels/elementwise.cu");

/// Functions that expressions call.
pub(crate) const FUNCTIONS: &str = include_str!("../../../kernels/functions.cuh");

/// Bytes that a thread reads and writes together.
const TOGETHER: usize = 16;

/// A value that the kernel computes or reads.
#[derive(Clone)]
struct Value {
    /// How the kernel names it.
    name: String,
    dtype: DType,
    shape: Shape,
    /// The node's input that it is, as it stands there.
    input: Option<usize>,
}

/// An input under the shape in which it broadcasts.
#[derive(Clone, PartialEq)]
struct Read {
    place: usize,
    dtype: DType,
    shape: Shape,
}

/// How a thread comes by its elements of an input.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    /// They lie as the output's.
    Dense,
    /// There is one for all.
    Scalar,
    /// By walking the loops: side by side, or the same one for all elements of the thread.
    Walked { operand: usize, side_by_side: bool },
}

/// A kernel that is being made.
struct Builder<'a> {
    lowering: &'a Lowering<'a>,
    reads: Vec<Read>,
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
        let _ = writeln!(self.calls, "    {} {name} = {text};", scalar(dtype)?);
        Ok(Value { name, dtype, shape, input: None })
    }

    /// An operand as an argument; what is an input is read.
    fn argument(&mut self, value: &Value) -> Result<Value, Decline> {
        let Some(place) = value.input else { return Ok(value.clone()) };
        scalar(value.dtype)?;
        let read = Read { place, dtype: value.dtype, shape: value.shape.clone() };
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
        let types: Vec<DType> = arguments.iter().map(|argument| argument.dtype).collect();
        let float = types.iter().any(|&dtype| is_real(dtype));
        if !float && !expression.integers && !types.iter().all(|&dtype| dtype == DType::Bool) {
            return Err(Decline(format!("`{}` is for floats", expression.text)));
        }
        if float && types.first().is_some_and(|&dtype| !is_real(dtype) && dtype != DType::Bool) {
            return Err(Decline("an integer operand beside a float one".into()));
        }
        let text = meant(expression.text, &types)?;
        let mut parameters = Vec::new();
        for (name, argument) in ["x", "y", "z"].iter().zip(arguments) {
            parameters.push(format!("{} {name}", scalar(argument.dtype)?));
        }
        let name = format!("step{}", self.count);
        let result = if expression.truth { "bool" } else { scalar(dtype)? };
        let _ = writeln!(
            self.functions,
            "__device__ inline {result} {name}({}) {{\n    typedef {} T;",
            parameters.join(", "),
            literals(&types)?
        );
        for (parameter, value) in &expression.parameters {
            let bits = value.to_bits();
            let _ = writeln!(self.functions, "    const T {parameter} = T(__uint_as_float({bits}u));");
        }
        let _ = writeln!(self.functions, "    return {result}({text});\n}}");
        let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
        wrapped(format!("{name}({})", names.join(", ")), dtype)
    }

    fn build(self, result: &Value) -> Result<Lowered, Decline> {
        let shape = self.lowering.output_shape(0)?;
        let shapes: Vec<&Shape> = self.reads.iter().map(|read| &read.shape).collect();
        let loops = Loops::broadcast(&shape, &shapes)?;
        let y = c_type(result.dtype).ok_or_else(|| Decline(format!("arithmetic of {}", result.dtype)))?;
        if result.input.is_some() {
            return Err(Decline("a chain of no steps".into()));
        }
        let widest = self.reads.iter().map(|read| read.dtype.size()).chain([result.dtype.size()]).max();
        let width = TOGETHER / widest.unwrap_or(TOGETHER).clamp(1, TOGETHER);
        let (width, access) = [width, width / 2, width / 4, 1]
            .into_iter()
            .filter(|&width| width > 0)
            .find_map(|width| Some((width, accesses(&loops, width)?)))
            .ok_or_else(|| Decline("loops that no thread walks".into()))?;
        let text = Text::of(&self.reads, &access)?;
        let mut operands: Vec<Operand> = self.reads.iter().map(|read| Operand::Input(read.place)).collect();
        let walked: Vec<usize> =
            (0..self.reads.len()).filter(|&i| matches!(access[i], Access::Walked { .. })).collect();
        let (mut parameters, mut offsets) = (text.parameters.clone(), String::from("(void)0"));
        if !walked.is_empty() {
            parameters.push(format!("Loops<{}, {}> loops", loops.dims().len(), walked.len()));
            operands.push(loop_operand(&loops, &walked)?);
            offsets = format!("u32 at[{}]; loops.walk(index, at)", walked.len());
        }
        operands.extend([Operand::Output(0), Operand::word(shape.elements())?]);
        let chain = format!(
            "namespace expressions {{\n{}__device__ inline {y} chain({}) {{\n{}    return {y}({});\n}}\n}}\nusing expressions::chain;\n",
            self.functions,
            text.chain_parameters.join(", "),
            text.widened + &self.calls,
            result.name
        );
        let source = Template::new("elementwise", SOURCE)
            .including(loops::SOURCE)
            .including(FUNCTIONS)
            .with(&chain)
            .define("WIDTH", width)
            .define("Y", y)
            .define("PARAMETERS", parameters.join(", "))
            .define("OFFSETS", offsets)
            .define("LOADS", text.loads.join("; "))
            .define("ARGUMENTS", text.arguments.join(", "))
            .define("TAIL", text.tail.join(", "))
            .build();
        let name = if self.count == 1 { "elementwise" } else { "elementwise chain" };
        word(shape.elements().saturating_add(BLOCK * width))?;
        Ok(Lowered::one(name, Kernel::over(shape.elements().div_ceil(width), source, &operands)?))
    }
}

/// The texts that depend on how inputs are read.
#[derive(Default)]
struct Text {
    /// Pointers of the kernel.
    parameters: Vec<String>,
    /// Parameters of the function `chain`, as they are stored.
    chain_parameters: Vec<String>,
    /// Statements that make of these what is computed with.
    widened: String,
    /// What a thread reads at once.
    loads: Vec<String>,
    /// Element `i` of that.
    arguments: Vec<String>,
    /// Element `i`, read alone.
    tail: Vec<String>,
}

impl Text {
    fn of(reads: &[Read], access: &[Access]) -> Result<Text, Decline> {
        let mut text = Text::default();
        for (i, (read, access)) in reads.iter().zip(access).enumerate() {
            let stored =
                c_type(read.dtype).ok_or_else(|| Decline(format!("arithmetic of {}", read.dtype)))?;
            let computed = scalar(read.dtype)?;
            // An input that a view shares with another is read by both, so nothing is `__restrict__` but the output.
            text.parameters.push(format!("const {stored}* input{i}"));
            text.chain_parameters.push(format!("{stored} s{i}"));
            let _ = writeln!(text.widened, "    {computed} x{i} = {computed}(s{i});");
            let pack = |at: &str| format!("vec<{stored}, WIDTH> p{i} = load<WIDTH>(input{i} + {at})");
            let (load, argument, tail) = match *access {
                Access::Dense => (pack("index"), format!("p{i}[i]"), format!("input{i}[index + i]")),
                Access::Scalar => {
                    (format!("{stored} p{i} = input{i}[0]"), format!("p{i}"), format!("input{i}[0]"))
                }
                Access::Walked { operand, side_by_side: true } => (
                    pack(&format!("at[{operand}]")),
                    format!("p{i}[i]"),
                    format!("input{i}[at[{operand}] + i]"),
                ),
                Access::Walked { operand, side_by_side: false } => (
                    format!("{stored} p{i} = input{i}[at[{operand}]]"),
                    format!("p{i}"),
                    format!("input{i}[at[{operand}]]"),
                ),
            };
            text.loads.push(load);
            text.arguments.push(argument);
            text.tail.push(tail);
        }
        Ok(text)
    }
}

/// How a thread of `width` elements comes by those of each operand; None if it does not.
fn accesses(loops: &Loops, width: usize) -> Option<Vec<Access>> {
    let inner = loops.dims().len() - 1;
    let whole = |stride: &isize| stride.unsigned_abs().is_multiple_of(width);
    let mut walked = 0;
    let mut access = Vec::with_capacity(loops.operands());
    for operand in 0..loops.operands() {
        access.push(if loops.is_dense(operand) {
            Access::Dense
        } else if loops.is_scalar(operand) {
            Access::Scalar
        } else {
            let strides = loops.strides(operand);
            let side_by_side = match strides[inner] {
                _ if width == 1 => true,
                1 if strides[..inner].iter().all(whole) => true,
                0 => false,
                _ => return None,
            };
            walked += 1;
            Access::Walked { operand: walked - 1, side_by_side }
        });
    }
    (walked == 0 || loops.inner().is_multiple_of(width)).then_some(access)
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
