//! Element-wise operators: of f32, f16, bf16 and truth values as vectorised programs, of other types in plain loops.
//!
//! A single operator is a program of one step or a few; a chain of them (`fused::Elementwise`) is one program, which
//! passes over memory once. Half floats are computed in f32 and rounded at the end.

mod format;
mod function;
mod kernel;
mod program;
mod translate;
mod typed;

pub(crate) use format::bf16_bits;

#[cfg(test)]
mod tests;

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{Facts, Operator};
use inferrum_ops::fused::elementwise as fused;
use inferrum_tensor::DType;
use smallvec::SmallVec;

use self::format::Format;
use self::kernel::{Access, Elementwise, Input, REGISTER_FLOATS};
use self::program::{Code, Operand};
use self::translate::{Builder, From, ProgramInput, Value};
use crate::kernel::{Lowered, Lowering};
use crate::strided::Loops;

/// Rows of the innermost loop shorter than this are not worth a pass of their own.
const LEAST_ROW: usize = 32;
/// Longest block.
const MOST_BLOCK: usize = 1024;
/// Longest pattern that is laid out once for all blocks; blocks are never shorter than this.
const MOST_PATTERN: usize = REGISTER_FLOATS / program::MAX_REGISTERS;
/// Work, in additions, below which a second thread does not pay.
const LEAST_WORK: usize = 1 << 16;

pub(crate) fn lower<O: Operator>(op: &O, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let mut dtypes = Vec::new();
    for place in (0..lowering.bound.inputs.len()).filter(|&place| lowering.has(place)) {
        dtypes.push(lowering.dtype(place)?);
    }
    dtypes.push(lowering.output_dtype(0)?);
    let truth_only = dtypes.iter().all(|&dtype| dtype == DType::Bool);
    // The exponent of `Pow` may be of any type where it is constant.
    let in_f32 = Format::of(dtypes[0]).is_some() && Format::of(lowering.output_dtype(0)?).is_some();
    let fused = (op as &dyn Any).downcast_ref::<fused::Elementwise>();
    if fused.is_none() && (!in_f32 || truth_only) {
        return typed::lower(op, lowering);
    }
    let mut builder = Builder::default();
    let values = inputs(lowering)?;
    let result = match fused {
        Some(chain) => translate_chain(&mut builder, chain, &values, lowering)?,
        None => builder.translate(op, &values)?,
    };
    build(builder, result, lowering)
}

fn inputs<'a>(lowering: &Lowering<'a>) -> Result<Vec<Option<Value<'a>>>, Decline> {
    (0..lowering.bound.inputs.len())
        .map(|place| {
            if !lowering.has(place) {
                return Ok(None);
            }
            let source = From::Input(place, lowering.constant(place));
            Ok(Some(Value { source, dtype: lowering.dtype(place)?, shape: lowering.shape(place)? }))
        })
        .collect()
}

fn translate_chain<'a>(
    builder: &mut Builder,
    chain: &fused::Elementwise,
    inputs: &[Option<Value<'a>>],
    lowering: &Lowering<'a>,
) -> Result<Operand, Decline> {
    let facts = chain.facts(Facts(&lowering.bound.inputs)).map_err(|error| Decline(error.to_string()))?;
    let mut results: Vec<Value<'a>> = Vec::new();
    for (step, fact) in chain.steps.iter().zip(&facts) {
        let operands: Vec<Option<Value<'a>>> = step
            .operands
            .iter()
            .map(|operand| match operand {
                None => None,
                Some(fused::Operand::Input(input)) => inputs.get(*input).cloned().flatten(),
                Some(fused::Operand::Step(step)) => results.get(*step).cloned(),
            })
            .collect();
        let operand = builder.translate(step.op.as_ref(), &operands)?;
        let (Some(tensor), Some(shape)) = (fact.as_tensor(), fact.concrete_shape()) else {
            return Err(Decline("a shape is not known".into()));
        };
        if Format::of(tensor.dtype).is_none() {
            return Err(Decline(format!("an intermediate result is {}", tensor.dtype)));
        }
        results.push(Value { source: From::Operand(operand), dtype: tensor.dtype, shape });
    }
    let result = results.last().ok_or_else(|| Decline("no steps".into()))?;
    Ok(builder.operand(result))
}

/// The kernel of a program whose result is `result`.
fn build(mut builder: Builder, result: Operand, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    if result != Operand::Step(builder.steps.len().wrapping_sub(1)) {
        builder.emit(function::Function::Identity, &[result]);
    }
    let (shape, dtype) = (lowering.output_shape(0)?, lowering.output_dtype(0)?);
    let output = Format::of(dtype).ok_or_else(|| Decline(format!("an output of {dtype}")))?;
    let shapes: Vec<_> = builder.inputs.iter().map(|input| &input.shape).collect();
    let loops = Loops::broadcast(&shape, &shapes)?;
    let by_rows = loops.dims().len() == 1 || loops.inner() >= LEAST_ROW;
    let mut registers = 0;
    let mut inputs: SmallVec<[Input; 4]> = SmallVec::new();
    for (i, input) in builder.inputs.iter().enumerate() {
        let format = Format::of(input.dtype)
            .ok_or_else(|| Decline(format!("input {} is {}", input.place, input.dtype)))?;
        let access = access(&loops, i, by_rows, format, &mut registers);
        inputs.push(Input { place: input.place, format, elements: input.shape.elements(), access });
    }
    let code = Code::new(&builder.steps, registers, output != Format::F32)
        .ok_or_else(|| Decline(format!("{} steps need too many registers", builder.steps.len())))?;
    let block = block(&loops, &inputs, code.registers);
    let elements = shape.elements();
    let cost = 1 + builder.steps.iter().map(|step| step.function.cost()).sum::<usize>();
    let task = if elements.saturating_mul(cost) <= LEAST_WORK { elements } else { LEAST_WORK / cost };
    let grain = if by_rows { 64 } else { block.min(MOST_BLOCK) };
    let task = task.max(2048).next_multiple_of(grain);
    let name = if builder.steps.len() == 1 { "elementwise" } else { "elementwise chain" };
    let same = |input: &&ProgramInput| input.shape == shape && input.dtype.size() == dtype.size();
    let in_place: Vec<usize> = builder.inputs.iter().filter(same).map(|input| input.place).collect();
    let unread: Vec<usize> = (0..lowering.bound.inputs.len())
        .filter(|&place| lowering.constant(place).is_some())
        .filter(|&place| inputs.iter().all(|input| input.place != place))
        .collect();
    let kernel =
        Elementwise { code, inputs, loops, by_rows, output, elements, block, task, isa: lowering.isa };
    Ok(Lowered::new(name, kernel).in_place(&in_place).packed(&unread))
}

fn access(loops: &Loops, input: usize, by_rows: bool, format: Format, registers: &mut usize) -> Access {
    let mut register = || {
        *registers += 1;
        *registers - 1
    };
    let widens = format != Format::F32;
    if loops.is_scalar(input) {
        Access::Scalar
    } else if by_rows {
        Access::Row((widens && loops.inner_stride(input) != 0).then(register))
    } else if loops.is_dense(input) {
        if widens { Access::Widened(register()) } else { Access::Direct }
    } else if loops.period(input) <= MOST_PATTERN {
        Access::Pattern(register())
    } else {
        Access::Laid(register())
    }
}

/// Elements of a block: what fits the registers, and a multiple of every pattern's period.
fn block(loops: &Loops, inputs: &[Input], registers: usize) -> usize {
    if registers == 0 {
        return usize::MAX;
    }
    let block = (REGISTER_FLOATS / registers).min(MOST_BLOCK) / function::LANES * function::LANES;
    let patterns = (0..inputs.len()).filter(|&i| matches!(inputs[i].access, Access::Pattern(_)));
    // Each period divides every longer one.
    let period = patterns.map(|i| loops.period(i)).max().unwrap_or(1).max(1);
    block / period * period
}
