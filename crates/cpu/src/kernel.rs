//! What a CPU kernel is, and what it sees.

use std::any::Any;

use inferrum_backend::{BoundNode, Decline};
use inferrum_graph::OpError;
use inferrum_tensor::{DType, Element, Shape};
use smallvec::SmallVec;

use crate::simd::Isa;
use crate::threads::Threads;
use crate::weights::Weights;

/// Runs one node of fixed shapes. Many threads may run it at once.
pub trait NodeKernel: Send + Sync {
    /// Writes every element of every output.
    ///
    /// # Errors
    /// Elements that the operator cannot take, such as an index out of range.
    fn run(&self, io: Io<'_>) -> Result<(), OpError>;
}

/// A node that is to become a kernel.
pub struct Lowering<'a> {
    /// The node with its facts; every shape is concrete.
    pub bound: &'a BoundNode<'a>,
    /// Where packed weights are kept.
    pub weights: &'a Weights,
    /// The instruction set to compute with.
    pub isa: Isa,
    /// The threads to pack weights with.
    pub threads: &'a Threads,
}

/// A kernel and what the memory planner must know of it.
pub struct Lowered {
    /// What runs. `None` when the first output is the first input's bytes under another shape.
    pub kernel: Option<Box<dyn NodeKernel>>,
    /// The kernel's name, such as `gemm avx512`.
    pub name: String,
    /// Inputs in whose memory the first output may be written. When the planner does so, the kernel finds that input
    /// `None` and its elements in the output.
    pub in_place: SmallVec<[usize; 2]>,
    /// Constant inputs that the kernel has packed, and does not read at run time.
    pub packed: SmallVec<[usize; 4]>,
    /// Bytes of scratch memory for one run.
    pub scratch: usize,
}

impl Lowered {
    /// A kernel that needs nothing special.
    pub fn new(name: impl Into<String>, kernel: impl NodeKernel + 'static) -> Lowered {
        Lowered { kernel: Some(Box::new(kernel)), ..Lowered::view(name) }
    }

    /// The first output is the first input's bytes under another shape.
    pub fn view(name: impl Into<String>) -> Lowered {
        Lowered {
            kernel: None,
            name: name.into(),
            in_place: SmallVec::new(),
            packed: SmallVec::new(),
            scratch: 0,
        }
    }

    /// The first output may be written where one of these inputs stands.
    pub fn in_place(mut self, inputs: &[usize]) -> Lowered {
        self.in_place = SmallVec::from_slice(inputs);
        self
    }

    /// These constant inputs are not read at run time.
    pub fn packed(mut self, inputs: &[usize]) -> Lowered {
        self.packed = SmallVec::from_slice(inputs);
        self
    }

    /// The kernel needs this many bytes of scratch memory.
    pub fn scratch(mut self, bytes: usize) -> Lowered {
        self.scratch = bytes;
        self
    }
}

impl<'a> std::ops::Deref for Lowering<'a> {
    type Target = BoundNode<'a>;

    fn deref(&self) -> &BoundNode<'a> {
        self.bound
    }
}

/// What a kernel sees in a run.
pub struct Io<'a> {
    /// The inputs. `None`: left out, or the output stands in its place.
    pub inputs: SmallVec<[Option<View<'a>>; 8]>,
    /// The outputs. `None`: not needed.
    pub outputs: SmallVec<[Option<ViewMut<'a>>; 2]>,
    /// Scratch memory, as much as was asked for, with any content.
    pub scratch: &'a mut [u8],
    /// The threads to compute with.
    pub threads: &'a Threads,
}

/// An input.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: &'a Shape,
    /// Elements in native order, aligned.
    pub bytes: &'a [u8],
}

/// An output.
pub struct ViewMut<'a> {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: &'a Shape,
    /// Elements in native order, aligned; what stands here before is meaningless, or the input in whose place it is.
    pub bytes: &'a mut [u8],
}

impl<'a> Io<'a> {
    /// Input `index`, unless it is left out or in the output's place.
    pub fn view(&self, index: usize) -> Option<View<'a>> {
        self.inputs.get(index).copied().flatten()
    }

    /// Elements of input `index`, unless it is left out or in the output's place.
    ///
    /// # Errors
    /// Another element type.
    pub fn optional<T: Element>(&self, index: usize) -> Result<Option<&'a [T]>, OpError> {
        self.view(index).map(|view| view.as_slice()).transpose()
    }

    /// Elements of input `index`.
    ///
    /// # Errors
    /// The input is not there, or of another type.
    pub fn input<T: Element>(&self, index: usize) -> Result<&'a [T], OpError> {
        self.view(index).ok_or(OpError::MissingInput { index })?.as_slice()
    }

    /// Takes output `index`, if it is needed.
    ///
    /// # Errors
    /// Another element type.
    pub fn optional_output<T: Element + bytemuck::Pod>(
        &mut self,
        index: usize,
    ) -> Result<Option<&'a mut [T]>, OpError> {
        self.outputs.get_mut(index).and_then(Option::take).map(ViewMut::into_slice).transpose()
    }

    /// Takes output `index`, which must be needed.
    ///
    /// # Errors
    /// The output is not needed, or of another type.
    pub fn output<T: Element + bytemuck::Pod>(&mut self, index: usize) -> Result<&'a mut [T], OpError> {
        self.optional_output(index)?.ok_or_else(|| OpError::Invalid(format!("output {index} is not there")))
    }

    /// Takes the bytes of output `index`, which must be needed.
    ///
    /// # Errors
    /// The output is not needed.
    pub fn output_bytes(&mut self, index: usize) -> Result<&'a mut [u8], OpError> {
        let view = self.outputs.get_mut(index).and_then(Option::take);
        view.map(|view| view.bytes).ok_or_else(|| OpError::Invalid(format!("output {index} is not there")))
    }
}

impl<'a> Io<'a> {
    /// Takes the scratch memory, as elements of a type.
    ///
    /// # Errors
    /// It is not a whole number of elements.
    pub fn scratch<T: bytemuck::Pod>(&mut self) -> Result<&'a mut [T], OpError> {
        let bytes = std::mem::take(&mut self.scratch);
        if bytes.is_empty() {
            return Ok(&mut []);
        }
        bytemuck::try_cast_slice_mut(bytes)
            .map_err(|error| OpError::Invalid(format!("scratch memory: {error}")))
    }
}

impl<'a> View<'a> {
    /// The elements.
    ///
    /// # Errors
    /// Another element type.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], OpError> {
        let mismatch =
            || inferrum_tensor::TensorError::DType { expected: T::DTYPE.to_string(), got: self.dtype };
        if self.dtype != T::DTYPE {
            return Err(mismatch().into());
        }
        bytemuck::checked::try_cast_slice(self.bytes).map_err(|_| mismatch().into())
    }
}

impl<'a> ViewMut<'a> {
    /// The elements.
    ///
    /// # Errors
    /// Another element type.
    pub fn into_slice<T: Element + bytemuck::Pod>(self) -> Result<&'a mut [T], OpError> {
        let mismatch =
            || inferrum_tensor::TensorError::DType { expected: T::DTYPE.to_string(), got: self.dtype };
        if self.dtype != T::DTYPE {
            return Err(mismatch().into());
        }
        bytemuck::try_cast_slice_mut(self.bytes).map_err(|_| mismatch().into())
    }
}

/// The row type of the CPU's kernel table.
pub type Lower = fn(&dyn Any, &Lowering<'_>) -> Result<Lowered, Decline>;
