//! Element-wise operators on elements in their own type: integers, truth values, f64, and choices of any type.

use std::any::Any;

use inferrum_backend::Decline;
use inferrum_graph::{OpError, Operator, ShapeFact};
use inferrum_ops::activation::Activation;
use inferrum_ops::binary::{Binary, BinaryKind};
use inferrum_ops::clip::Clip;
use inferrum_ops::select::Where;
use inferrum_ops::unary::{Unary, UnaryKind};
use inferrum_ops::variadic::{Variadic, VariadicKind};
use inferrum_tensor::{DType, Real, Shape, dispatch};
use smallvec::SmallVec;

use crate::kernel::{Io, Lowered, Lowering, NodeKernel};
use crate::strided::{Cursor, Loops};
use crate::threads::Shared;

/// Most operands.
const OPERANDS: usize = 3;

/// A function of rows.
struct Typed {
    row: RowFunction,
    operands: SmallVec<[Operand; OPERANDS]>,
    loops: Loops,
    elements: usize,
    output_size: usize,
}

struct Operand {
    place: usize,
    elements: usize,
    size: usize,
}

type RowFunction = Box<dyn Fn(&Row) + Send + Sync>;

/// Consecutive elements of the output, and for each operand the first element and the step to the next.
struct Row {
    length: usize,
    inputs: [*const u8; OPERANDS],
    steps: [isize; OPERANDS],
    output: *mut u8,
}

pub(super) fn lower(op: &dyn Operator, lowering: &Lowering<'_>) -> Result<Lowered, Decline> {
    let row = row_function(op, lowering)?;
    let output = lowering.output_shape(0)?;
    let mut shapes = Vec::new();
    let mut operands: SmallVec<[Operand; OPERANDS]> = SmallVec::new();
    for place in (0..lowering.bound.inputs.len()).filter(|&place| lowering.has(place)) {
        let shape = lowering.shape(place)?;
        operands.push(Operand { place, elements: shape.elements(), size: lowering.dtype(place)?.size() });
        shapes.push(operand_shape(op, place, shape, lowering)?);
    }
    if operands.len() > OPERANDS {
        return Err(Decline(format!("{} operands of a type without vectors", operands.len())));
    }
    let output_size = lowering.output_dtype(0)?.size();
    let in_place: Vec<usize> = operands
        .iter()
        .zip(&shapes)
        .filter(|(operand, shape)| operand.size == output_size && **shape == output)
        .map(|(operand, _)| operand.place)
        .collect();
    let loops = Loops::broadcast(&output, &shapes.iter().collect::<Vec<_>>())?;
    let kernel = Typed { row, operands, elements: output.elements(), loops, output_size };
    Ok(Lowered::new("elementwise typed", kernel).in_place(&in_place))
}

/// An operand's shape in a form that broadcasts as NumPy's.
fn operand_shape(
    op: &dyn Operator,
    place: usize,
    shape: Shape,
    lowering: &Lowering<'_>,
) -> Result<Shape, Decline> {
    let any = op as &dyn Any;
    if any.is::<Clip>() && place > 0 {
        return Ok(Shape::scalar());
    }
    if let (Some(op), 1) = (any.downcast_ref::<Binary>(), place) {
        let second = op.second_shape(lowering.shape(0)?.rank(), &ShapeFact::from(&shape));
        let second = second.map_err(|error| Decline(error.to_string()))?;
        return second.concrete().ok_or_else(|| Decline("a shape is not known".into()));
    }
    Ok(shape)
}

impl NodeKernel for Typed {
    fn run(&self, mut io: Io<'_>) -> Result<(), OpError> {
        let output = io.output_bytes(0)?;
        if self.elements == 0 {
            return Ok(());
        }
        let (length, target) = (output.len(), Shared(output.as_mut_ptr()));
        let mut all_fit = length >= self.elements * self.output_size;
        let mut bases = [Shared(std::ptr::null_mut::<u8>()); OPERANDS];
        for (base, operand) in bases.iter_mut().zip(&self.operands) {
            let (length, start) = match io.view(operand.place) {
                Some(view) => (view.bytes.len(), view.bytes.as_ptr().cast_mut()),
                None => (length, target.get()),
            };
            all_fit &= length >= operand.elements * operand.size;
            *base = Shared(start);
        }
        if !all_fit {
            return Err(OpError::Invalid("a buffer is smaller than its shape".into()));
        }
        let task = if self.elements <= 2 * TASK { self.elements } else { TASK };
        io.threads.par_for(self.elements.div_ceil(task), |index| {
            let (start, end) = (index * task, self.elements.min((index + 1) * task));
            let mut cursor = Cursor::new(&self.loops, start);
            let mut position = start;
            while position < end {
                let length = cursor.left().min(end - position);
                let mut row = Row {
                    length,
                    inputs: [std::ptr::null(); OPERANDS],
                    steps: [0; OPERANDS],
                    // SAFETY: the output holds all elements, checked above.
                    output: unsafe { target.get().add(position * self.output_size) },
                };
                for (i, operand) in self.operands.iter().enumerate() {
                    // SAFETY: the loops' offsets lie within the operand's shape, and its buffer holds that.
                    row.inputs[i] = unsafe {
                        bases[i].get().cast_const().offset(cursor.offset(i) * operand.size as isize)
                    };
                    row.steps[i] = self.loops.inner_stride(i);
                }
                (self.row)(&row);
                position += length;
                cursor.advance(length);
            }
        });
        Ok(())
    }
}

/// Elements that a thread takes at once.
const TASK: usize = 1 << 15;

fn map<T: Copy + 'static, U: 'static>(f: impl Fn(T) -> U + Copy + Send + Sync + 'static) -> RowFunction {
    Box::new(move |row| {
        let (x, step, out) = (row.inputs[0].cast::<T>(), row.steps[0], row.output.cast::<U>());
        for i in 0..row.length {
            // SAFETY: `run` gives rows that lie within the buffers, of the types that lowering has chosen.
            unsafe { *out.add(i) = f(*x.offset(i as isize * step)) };
        }
    })
}

fn zip<T: Copy + 'static, U: 'static>(f: impl Fn(T, T) -> U + Copy + Send + Sync + 'static) -> RowFunction {
    Box::new(move |row| {
        let (a, b, out) = (row.inputs[0].cast::<T>(), row.inputs[1].cast::<T>(), row.output.cast::<U>());
        // Loops of their own for common steps, so that the compiler makes vectors of them.
        // SAFETY: as for `map`.
        unsafe {
            match (row.steps[0], row.steps[1]) {
                (1, 1) => (0..row.length).for_each(|i| *out.add(i) = f(*a.add(i), *b.add(i))),
                (1, 0) => {
                    let b = *b;
                    (0..row.length).for_each(|i| *out.add(i) = f(*a.add(i), b));
                }
                (0, 1) => {
                    let a = *a;
                    (0..row.length).for_each(|i| *out.add(i) = f(a, *b.add(i)));
                }
                (s, t) => (0..row.length as isize)
                    .for_each(|i| *out.offset(i) = f(*a.offset(i * s), *b.offset(i * t))),
            }
        }
    })
}

/// `f(x, y, z)` of a first operand of type `C` and two of type `T`.
fn zip3<C: Copy + 'static, T: Copy + 'static>(
    f: impl Fn(C, T, T) -> T + Copy + Send + Sync + 'static,
) -> RowFunction {
    Box::new(move |row| {
        let (c, a, b) = (row.inputs[0].cast::<C>(), row.inputs[1].cast::<T>(), row.inputs[2].cast::<T>());
        let [s, t, u] = row.steps;
        let out = row.output.cast::<T>();
        for i in 0..row.length as isize {
            // SAFETY: as for `map`.
            unsafe { *out.offset(i) = f(*c.offset(i * s), *a.offset(i * t), *b.offset(i * u)) };
        }
    })
}

fn row_function(op: &dyn Operator, lowering: &Lowering<'_>) -> Result<RowFunction, Decline> {
    let any = op as &dyn Any;
    let dtype = lowering.dtype(0)?;
    let unfit = || Decline(format!("{} of {dtype}", op.key()));
    if let Some(op) = any.downcast_ref::<Unary>() {
        return unary(op.kind, dtype).ok_or_else(unfit);
    }
    if let Some(&activation) = any.downcast_ref::<Activation>() {
        return if dtype == DType::F64 { Ok(map(move |x: f64| activation.apply(x))) } else { Err(unfit()) };
    }
    if let Some(op) = any.downcast_ref::<Binary>() {
        let same = lowering.dtype(1)? == dtype;
        return same.then(|| binary(op.kind, dtype)).flatten().ok_or_else(unfit);
    }
    if let (Some(op), 2) = (any.downcast_ref::<Variadic>(), lowering.bound.inputs.len()) {
        return variadic(op.kind, dtype).ok_or_else(unfit);
    }
    if let Some(op) = any.downcast_ref::<Clip>() {
        return clip(op, dtype).ok_or_else(unfit);
    }
    if any.is::<Where>() {
        return choice(lowering.dtype(1)?.size()).ok_or_else(unfit);
    }
    Err(unfit())
}

fn unary(kind: UnaryKind, dtype: DType) -> Option<RowFunction> {
    let row = kind.row();
    match dtype {
        DType::Bool if kind == UnaryKind::Not => Some(map(|x: u8| u8::from(x == 0))),
        DType::F64 if row.truth => {
            let f = row.float;
            Some(map(move |x: f64| u8::from(f(x) != 0.0)))
        }
        DType::F64 => Some(map(row.float)),
        _ if row.truth => None,
        _ => {
            let f = row.integer?;
            dispatch!(integer, dtype, T => Some(map(move |x: T| <T as Real>::from_i128(f(x.to_i128())))), else None)
        }
    }
}

/// Functions of integers whose loops the compiler can make vectors of.
macro_rules! integer_loops {
    ($kind:expr, $T:ty) => {
        match $kind {
            BinaryKind::Add => Some(zip(<$T>::wrapping_add)),
            BinaryKind::Sub => Some(zip(<$T>::wrapping_sub)),
            BinaryKind::Mul => Some(zip(<$T>::wrapping_mul)),
            BinaryKind::Div => Some(zip(|a: $T, b: $T| if b == 0 { 0 } else { a.wrapping_div(b) })),
            BinaryKind::TruncMod => Some(zip(|a: $T, b: $T| if b == 0 { 0 } else { a.wrapping_rem(b) })),
            _ => comparison!($kind, $T),
        }
    };
}

macro_rules! comparison {
    ($kind:expr, $T:ty) => {
        match $kind {
            BinaryKind::Equal => Some(zip(|a: $T, b: $T| u8::from(a == b))),
            BinaryKind::Less => Some(zip(|a: $T, b: $T| u8::from(a < b))),
            BinaryKind::LessOrEqual => Some(zip(|a: $T, b: $T| u8::from(a <= b))),
            BinaryKind::Greater => Some(zip(|a: $T, b: $T| u8::from(a > b))),
            BinaryKind::GreaterOrEqual => Some(zip(|a: $T, b: $T| u8::from(a >= b))),
            _ => None,
        }
    };
}

fn binary(kind: BinaryKind, dtype: DType) -> Option<RowFunction> {
    let quick = match dtype {
        DType::I32 => integer_loops!(kind, i32),
        DType::I64 => integer_loops!(kind, i64),
        DType::F64 => comparison!(kind, f64),
        DType::Bool => {
            return match kind {
                BinaryKind::And => Some(zip(|a: u8, b: u8| a & b)),
                BinaryKind::Or => Some(zip(|a: u8, b: u8| a | b)),
                BinaryKind::Xor => Some(zip(|a: u8, b: u8| a ^ b)),
                BinaryKind::Equal => Some(zip(|a: u8, b: u8| u8::from(a == b))),
                _ => None,
            };
        }
        _ => None,
    };
    let (truth, float, integer) = (kind.row().truth, kind.row().float, kind.row().integer);
    quick.or_else(|| match dtype {
        DType::F64 => Some(zip(float)),
        _ if truth => dispatch!(integer, dtype,
            T => Some(zip(move |a: T, b: T| u8::from(integer(a.to_i128(), b.to_i128()) != 0))), else None),
        _ => dispatch!(integer, dtype,
            T => Some(zip(move |a: T, b: T| <T as Real>::from_i128(integer(a.to_i128(), b.to_i128())))), else None),
    })
}

fn variadic(kind: VariadicKind, dtype: DType) -> Option<RowFunction> {
    match (kind, dtype) {
        (VariadicKind::Max, DType::F64) => {
            Some(zip(|a: f64, b: f64| if a.is_nan() || a > b { a } else { b }))
        }
        (VariadicKind::Min, DType::F64) => {
            Some(zip(|a: f64, b: f64| if a.is_nan() || a < b { a } else { b }))
        }
        (VariadicKind::Sum, DType::F64) => Some(zip(|a: f64, b: f64| a + b)),
        (VariadicKind::Mean, _) => None,
        (VariadicKind::Max, _) => dispatch!(integer, dtype, T => Some(zip(<T as Ord>::max)), else None),
        (VariadicKind::Min, _) => dispatch!(integer, dtype, T => Some(zip(<T as Ord>::min)), else None),
        (VariadicKind::Sum, _) => dispatch!(integer, dtype, T => Some(zip(<T>::wrapping_add)), else None),
    }
}

fn clip(op: &Clip, dtype: DType) -> Option<RowFunction> {
    dispatch!(integer, dtype, T => Some(match (op.has_min, op.has_max) {
        (false, false) => map(|x: T| x),
        (true, false) => zip(<T as Ord>::max),
        (false, true) => zip(<T as Ord>::min),
        (true, true) => zip3(|x: T, low: T, high: T| x.max(low).min(high)),
    }), else None)
}

/// `Where` of elements of `size` bytes.
fn choice(size: usize) -> Option<RowFunction> {
    fn of<T: Copy + 'static>() -> RowFunction {
        zip3(|c: u8, a: T, b: T| if c != 0 { a } else { b })
    }
    match size {
        1 => Some(of::<u8>()),
        2 => Some(of::<u16>()),
        4 => Some(of::<u32>()),
        8 => Some(of::<u64>()),
        _ => None,
    }
}
