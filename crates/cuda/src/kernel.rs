//! What a kernel is: launches of functions over memory.

use std::any::Any;
use std::sync::Arc;

use inferrum_backend::{BoundNode, Decline};
use inferrum_tensor::{DType, Tensor};
use smallvec::SmallVec;

use crate::abilities::Abilities;
use crate::driver::Argument;
use crate::library::Product;
use crate::source::Source;

/// Threads of a block of kernels that take an element, or a few, each.
pub(crate) const BLOCK: usize = 256;

/// Blocks along x that a device counts.
const MOST_BLOCKS: usize = i32::MAX as usize;

/// A node that is to become a kernel.
pub(crate) struct Lowering<'a> {
    /// The node with its facts; every shape is concrete.
    pub(crate) bound: &'a BoundNode<'a>,
    /// What the device can do.
    pub(crate) abilities: &'a Abilities,
}

impl<'a> std::ops::Deref for Lowering<'a> {
    type Target = BoundNode<'a>;

    fn deref(&self) -> &BoundNode<'a> {
        self.bound
    }
}

impl Lowering<'_> {
    /// The C++ type of a float input's elements; kernels read them as `float(x[i])`.
    ///
    /// # Errors
    /// It is missing, or no float of 16 or 32 bits.
    pub(crate) fn float(&self, input: usize) -> Result<&'static str, Decline> {
        let dtype = self.dtype(input)?;
        float_type(dtype).ok_or_else(|| {
            Decline(format!("input {input} is {dtype}, the kernel takes floats of 16 and 32 bits"))
        })
    }

    /// The C++ type of a float output's elements; kernels write them as `Y(value)`.
    ///
    /// # Errors
    /// As [`Lowering::float`].
    pub(crate) fn output_float(&self, output: usize) -> Result<&'static str, Decline> {
        let dtype = self.output_dtype(output)?;
        float_type(dtype).ok_or_else(|| {
            Decline(format!("output {output} is {dtype}, the kernel gives floats of 16 and 32 bits"))
        })
    }

    /// Declines unless every given input, but for those in `other`, is of floats.
    ///
    /// # Errors
    /// [`Decline`] that names the input.
    pub(crate) fn require_floats(&self, other: &[usize]) -> Result<(), Decline> {
        let mut given = (0..self.inputs.len()).filter(|input| self.has(*input) && !other.contains(input));
        given.try_for_each(|input| self.float(input).map(drop))
    }

    /// The input, or no pointer if it is left out.
    pub(crate) fn optional(&self, input: usize) -> Operand {
        if self.has(input) { Operand::Input(input) } else { Operand::Nothing }
    }

    /// The output, or no pointer if nobody needs it.
    pub(crate) fn wanted(&self, output: usize) -> Operand {
        if self.wants(output) { Operand::Output(output) } else { Operand::Nothing }
    }
}

/// The C++ type of floats that kernels compute with as float32.
pub(crate) fn float_type(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => c_type(dtype),
        _ => None,
    }
}

/// The C++ type of a tensor's elements as they stand in memory, which is as on the host.
pub(crate) fn c_type(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I8 => "i8",
        DType::U8 => "u8",
        DType::Bool => "bool",
        DType::I16 => "i16",
        DType::U16 => "u16",
        DType::I32 => "i32",
        DType::U32 => "u32",
        DType::I64 => "i64",
        DType::U64 => "u64",
        _ => return None,
    })
}

/// What a node becomes.
pub(crate) enum Lowered {
    /// The first output is the first input's elements under another shape.
    View,
    /// Launches, one after the other.
    Work(Work),
}

/// The launches of a node.
pub(crate) struct Work {
    /// The kernel's name.
    pub(crate) name: String,
    pub(crate) kernels: Vec<Kernel>,
    /// Bytes of each piece of intermediate memory.
    pub(crate) scratch: Vec<usize>,
    /// What a library may compute instead, if the device has one that does.
    pub(crate) library: Option<Box<Multiplication>>,
}

/// A product with its operands. What the product does not have is [`Operand::Nothing`].
pub(crate) struct Multiplication {
    pub(crate) product: Product,
    pub(crate) a: Operand,
    pub(crate) b: Operand,
    /// What is added, and lies as the result.
    pub(crate) c: Operand,
    pub(crate) bias: Operand,
    pub(crate) d: Operand,
}

/// A function with all that it works on.
pub(crate) struct Kernel {
    pub(crate) source: Source,
    /// In the order of the function's parameters.
    pub(crate) operands: SmallVec<[Operand; 8]>,
    /// Blocks along x, y, z.
    pub(crate) grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub(crate) block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub(crate) shared: u32,
}

/// A parameter of a kernel. Inputs and weights are read, outputs written, scratch both.
#[derive(Clone)]
pub(crate) enum Operand {
    /// Points to the node's input.
    Input(usize),
    /// Points to the node's output.
    Output(usize),
    /// Points to intermediate memory.
    Scratch(usize),
    /// Points to a constant input in a form of the kernel's own.
    Packed(Packing),
    /// Points to bytes that the kernel's lowering has computed.
    Table(Arc<[u8]>),
    /// Points to a `Fault` (prelude.cuh), by which the kernel tells of an element of this input that fails the run.
    Fault(usize),
    /// Points to nothing.
    Nothing,
    /// A value: a number, or a struct of numbers.
    Value(Argument),
}

/// How a constant is packed.
#[derive(Clone)]
pub(crate) struct Packing {
    /// The input.
    pub(crate) input: usize,
    /// Names the form: equal forms of one constant are made once.
    pub(crate) form: String,
    pub(crate) pack: Arc<Pack>,
}

/// The bytes of a packed constant.
pub(crate) type Pack = dyn Fn(&Tensor) -> Result<Vec<u8>, Decline> + Send + Sync;

impl Operand {
    /// A number for a `u32`.
    ///
    /// # Errors
    /// It is more than an index counts.
    pub(crate) fn word(number: usize) -> Result<Operand, Decline> {
        Ok(Operand::Value(Argument::value(&word(number)?)))
    }

    /// A number for a `float`.
    pub(crate) fn float(number: f32) -> Operand {
        Operand::Value(Argument::value(&number))
    }

    /// A struct of 32-bit words.
    pub(crate) fn words(words: &[u32]) -> Operand {
        Operand::Value(Argument::of_bytes(bytemuck::cast_slice(words)))
    }
}

impl Lowered {
    /// One launch.
    pub(crate) fn one(name: impl Into<String>, kernel: Kernel) -> Lowered {
        Lowered::many(name, vec![kernel])
    }

    /// Several launches without intermediate memory.
    pub(crate) fn many(name: impl Into<String>, kernels: Vec<Kernel>) -> Lowered {
        Lowered::Work(Work { name: name.into(), kernels, scratch: Vec::new(), library: None })
    }
}

impl Kernel {
    /// A launch of `blocks` blocks of `threads` threads along x.
    ///
    /// # Errors
    /// More blocks than a device counts.
    pub(crate) fn blocks(
        blocks: usize,
        threads: usize,
        source: Source,
        operands: &[Operand],
    ) -> Result<Kernel, Decline> {
        if blocks > MOST_BLOCKS {
            return Err(Decline(format!("{blocks} blocks are more than a GPU counts")));
        }
        let operands = operands.iter().cloned().collect();
        let grid = [blocks.max(1) as u32, 1, 1];
        Ok(Kernel { source, operands, grid, block: [threads as u32, 1, 1], shared: 0 })
    }

    /// A launch with a thread for each of `count` elements, in blocks of [`BLOCK`]. The last block has threads to spare.
    ///
    /// # Errors
    /// More than an index counts.
    pub(crate) fn over(count: usize, source: Source, operands: &[Operand]) -> Result<Kernel, Decline> {
        word(count)?;
        Kernel::blocks(count.div_ceil(BLOCK), BLOCK, source, operands)
    }
}

/// A number for a kernel. Indices are 32 bits wide, and have some room at the end.
///
/// # Errors
/// It does not fit.
pub(crate) fn word(number: usize) -> Result<u32, Decline> {
    u32::try_from(number)
        .ok()
        .filter(|&word| word <= i32::MAX as u32)
        .ok_or_else(|| Decline(format!("{number} elements are more than a kernel's index counts")))
}

/// Numbers for a kernel.
///
/// # Errors
/// As [`word`].
pub(crate) fn words(numbers: impl IntoIterator<Item = usize>) -> Result<Vec<u32>, Decline> {
    numbers.into_iter().map(word).collect()
}

/// The row type of the kernel table.
pub(crate) type Lower = fn(&dyn Any, &Lowering<'_>) -> Result<Lowered, Decline>;
