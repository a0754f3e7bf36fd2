//! What a GPU kernel is: dispatches of shaders over buffers.

use std::any::Any;
use std::sync::Arc;

use inferrum_backend::{BoundNode, Decline};
use inferrum_tensor::{DType, Tensor};
use smallvec::SmallVec;

use crate::abilities::Abilities;
use crate::shader::Shader;
use crate::tuner::Choose;

/// Invocations of a workgroup of kernels that take one element each.
pub(crate) const WORKGROUP: usize = 64;

/// Workgroups along one axis that every adapter takes.
pub(crate) const MOST_GROUPS: usize = 65535;

/// A node that is to become a kernel.
pub(crate) struct Lowering<'a> {
    /// The node with its facts; every shape is concrete.
    pub(crate) bound: &'a BoundNode<'a>,
    /// What the adapter can do.
    pub(crate) abilities: &'a Abilities,
    /// Who says which form of a kernel is taken.
    pub(crate) chooser: &'a dyn Choose,
}

impl<'a> std::ops::Deref for Lowering<'a> {
    type Target = BoundNode<'a>;

    fn deref(&self) -> &BoundNode<'a> {
        self.bound
    }
}

impl Lowering<'_> {
    /// The WGSL type of a float input's elements. Shaders read them as `f32(x[i])`, which changes nothing where they are f32.
    ///
    /// # Errors
    /// It is missing, no float, or the adapter does not store its type.
    pub(crate) fn float(&self, input: usize) -> Result<&'static str, Decline> {
        let dtype = self.dtype(input)?;
        self.float_type(dtype)
            .ok_or_else(|| Decline(format!("input {input} is {dtype}, the kernel takes {}", self.floats())))
    }

    /// The WGSL type of a float output's elements. Shaders write them as `Out(value)`.
    ///
    /// # Errors
    /// As [`Lowering::float`].
    pub(crate) fn output_float(&self, output: usize) -> Result<&'static str, Decline> {
        let dtype = self.output_dtype(output)?;
        self.float_type(dtype)
            .ok_or_else(|| Decline(format!("output {output} is {dtype}, the kernel gives {}", self.floats())))
    }

    /// Declines unless every given input, but for those in `other`, is of floats that the adapter stores.
    ///
    /// # Errors
    /// [`Decline`] that names the input.
    pub(crate) fn require_floats(&self, other: &[usize]) -> Result<(), Decline> {
        let mut given = (0..self.inputs.len()).filter(|input| self.has(*input) && !other.contains(input));
        given.try_for_each(|input| self.float(input).map(drop))
    }

    fn float_type(&self, dtype: DType) -> Option<&'static str> {
        match dtype {
            DType::F32 => Some("f32"),
            DType::F16 if self.abilities.f16 => Some("f16"),
            _ => None,
        }
    }

    fn floats(&self) -> &'static str {
        if self.abilities.f16 { "float32 or float16" } else { "float32" }
    }
}

/// What a node becomes.
pub(crate) enum Lowered {
    /// The first output is the first input's elements under another shape.
    View,
    /// Dispatches, one after the other.
    Work(Work),
}

/// The dispatches of a node.
pub(crate) struct Work {
    /// The kernel's name.
    pub(crate) name: String,
    pub(crate) dispatches: Vec<Dispatch>,
    /// Bytes of each intermediate buffer.
    pub(crate) scratch: Vec<usize>,
}

/// A shader with what it works on.
pub(crate) struct Dispatch {
    pub(crate) shader: Shader,
    /// What is bound, from binding 1 on.
    pub(crate) operands: SmallVec<[Operand; 4]>,
    /// Words at binding 0, a uniform; nothing is bound there if there are none.
    pub(crate) params: Vec<u32>,
    pub(crate) groups: [u32; 3],
}

/// A buffer of a dispatch. Inputs and weights are read, outputs written, scratch either.
#[derive(Clone)]
pub(crate) enum Operand {
    /// The node's input.
    Input(usize),
    /// The node's output.
    Output(usize),
    /// An intermediate buffer that is written.
    Scratch(usize),
    /// An intermediate buffer that is read.
    ReadScratch(usize),
    /// A constant input in a form of the kernel's own.
    Packed(Packing),
    /// Words that the kernel's lowering has computed.
    Table(Arc<[u32]>),
    /// Four words by which the kernel tells of an element of this input that fails the run (`fault.wgsl`), and what is wrong
    /// with it: the dispatch's last operand.
    Fault(usize, Wrong),
}

/// Says what is wrong with an element of an input, and the extent that it goes by.
pub(crate) type Wrong = fn(i64, u32) -> String;

/// How a constant is packed.
#[derive(Clone)]
pub(crate) struct Packing {
    /// The input.
    pub(crate) input: usize,
    /// Names the form: equal forms of one constant are made once.
    pub(crate) form: String,
    /// Bytes of it once it is packed.
    pub(crate) bytes: usize,
    pub(crate) pack: Arc<Pack>,
}

/// The words of a packed constant.
pub(crate) type Pack = dyn Fn(&Tensor) -> Result<Vec<u32>, Decline> + Send + Sync;

impl Operand {
    /// Whether the shader may write it.
    pub(crate) fn is_written(&self) -> bool {
        matches!(self, Operand::Output(_) | Operand::Scratch(_) | Operand::Fault(..))
    }
}

impl Lowered {
    /// One dispatch.
    pub(crate) fn one(name: impl Into<String>, dispatch: Dispatch) -> Lowered {
        Lowered::many(name, vec![dispatch])
    }

    /// Several dispatches without intermediate buffers.
    pub(crate) fn many(name: impl Into<String>, dispatches: Vec<Dispatch>) -> Lowered {
        Lowered::Work(Work { name: name.into(), dispatches, scratch: Vec::new() })
    }
}

impl Dispatch {
    /// A dispatch with an invocation for each of `count` elements, in workgroups of [`WORKGROUP`].
    ///
    /// # Errors
    /// More than the adapter counts.
    pub(crate) fn over(
        count: usize,
        shader: Shader,
        operands: &[Operand],
        params: Vec<u32>,
    ) -> Result<Dispatch, Decline> {
        let groups = linear_groups(count.div_ceil(WORKGROUP))?;
        Ok(Dispatch { shader, operands: operands.iter().cloned().collect(), params, groups })
    }
}

/// `count` workgroups along x, then y; the last row may have more than asked for.
///
/// # Errors
/// More than any adapter takes.
pub(crate) fn linear_groups(count: usize) -> Result<[u32; 3], Decline> {
    let rows = count.div_ceil(MOST_GROUPS).max(1);
    if rows > MOST_GROUPS {
        return Err(Decline(format!("{count} workgroups are more than a GPU counts")));
    }
    Ok([count.div_ceil(rows) as u32, rows as u32, 1])
}

/// So many workgroups along each axis.
///
/// # Errors
/// More than any adapter takes.
pub(crate) fn grid(counts: [usize; 3]) -> Result<[u32; 3], Decline> {
    if counts.iter().any(|&count| count > MOST_GROUPS) {
        return Err(Decline(format!("{counts:?} workgroups are more than a GPU counts")));
    }
    Ok(counts.map(|count| count as u32))
}

/// A number for a shader.
///
/// # Errors
/// It does not fit 32 bits.
pub(crate) fn word(number: usize) -> Result<u32, Decline> {
    u32::try_from(number)
        .ok()
        .filter(|&word| word <= i32::MAX as u32)
        .ok_or_else(|| Decline(format!("{number} elements are more than a shader's index counts")))
}

/// Numbers for a shader.
///
/// # Errors
/// As [`word`].
pub(crate) fn words(numbers: impl IntoIterator<Item = usize>) -> Result<Vec<u32>, Decline> {
    numbers.into_iter().map(word).collect()
}

/// The row type of the kernel table.
pub(crate) type Lower = fn(&dyn Any, &Lowering<'_>) -> Result<Lowered, Decline>;
