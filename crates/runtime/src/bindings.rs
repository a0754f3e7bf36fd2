//! Outputs in memory of the caller's or the device's.

use bytemuck::{NoUninit, Pod};
use inferrum_tensor::{DType, Element, Shape, Value};

use crate::{DeviceTensor, Error};

/// Where some of a model's outputs go, by name: to memory of the caller's, or nowhere, that is, they stay in the memory of
/// the device. See [`crate::Session::run_bound`].
///
/// ```
/// use inferrum::{Bindings, OutputBuffer, RunOptions, Session, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
/// let session = Session::load(model)?;
/// let mut probabilities = [0f32; 10];
/// let mut bindings = Bindings::new().with("probabilities", OutputBuffer::new(&mut probabilities));
/// for brightness in [0f32, 0.5, 1.0] {
///     let image = Tensor::from_vec([1, 1, 28, 28], vec![brightness; 28 * 28])?;
///     session.run_bound(image, &mut bindings, RunOptions::default())?;
///     let sum: f32 = bindings.as_slice::<f32>("probabilities")?.iter().sum();
///     assert!((sum - 1.0).abs() < 1e-5);
/// }
/// assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
/// # Ok(())
/// # }
/// ```
///
/// What stays on the device is an input of the next run, without a copy: the state of a recurrent model, or the keys and
/// values of attention.
///
/// ```
/// use inferrum::{Bindings, Inputs, RunOptions, Session, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
/// let session = Session::load(model)?;
/// let image = Tensor::from_vec([1, 1, 28, 28], vec![0f32; 28 * 28])?;
/// let mut bindings = Bindings::new().staying("probabilities");
/// session.run_bound(image, &mut bindings, RunOptions::default())?;
/// let kept = bindings.resident("probabilities")?;
/// println!("{:?}", kept); // float32[1x10] on wgpu:0
/// let host: Tensor = kept.to_host()?; // read when it is wanted
/// assert_eq!((host.shape(), host.shape().dims()), (kept.shape(), &[1, 10][..]));
/// let next_inputs = Inputs::new().with("state", kept); // or the input of another run
/// # drop(next_inputs);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Bindings<'a> {
    bound: Vec<Bound<'a>>,
}

#[derive(Debug)]
struct Bound<'a> {
    name: String,
    target: Target<'a>,
    /// The output's shape in the last run.
    shape: Option<Shape>,
}

#[derive(Debug)]
enum Target<'a> {
    Buffer(OutputBuffer<'a>),
    /// The device's memory, with what stayed there in the last run.
    Device(Option<DeviceTensor>),
}

/// Where an output goes in one run.
pub(crate) enum Lent<'a> {
    Buffer(OutputBuffer<'a>),
    Stay,
}

impl<'a> Bindings<'a> {
    /// No bindings yet.
    pub fn new() -> Bindings<'a> {
        Bindings::default()
    }

    /// Adds a buffer for the output `name`, or replaces it. Whether the model has such an output, and whether the buffer
    /// fits, is checked by the run.
    #[must_use]
    pub fn with(self, name: impl Into<String>, buffer: impl Into<OutputBuffer<'a>>) -> Bindings<'a> {
        self.bind(name.into(), Target::Buffer(buffer.into()))
    }

    /// Lets the output `name` stay in the memory of the session's device; [`Bindings::resident`] gives it after a run. What
    /// the processor computes in the device's place stays in the host's memory.
    #[must_use]
    pub fn staying(self, name: impl Into<String>) -> Bindings<'a> {
        self.bind(name.into(), Target::Device(None))
    }

    fn bind(mut self, name: String, target: Target<'a>) -> Bindings<'a> {
        self.bound.retain(|bound| bound.name != name);
        self.bound.push(Bound { name, target, shape: None });
        self
    }

    /// The output `name` of the last run, which stayed on the device.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if it is not to stay, or no run has given it.
    pub fn resident(&self, name: &str) -> Result<&DeviceTensor, Error> {
        let resident = |bound: &'_ Bound<'a>| matches!(&bound.target, Target::Device(Some(_)));
        let found = self.bound.iter().find(|bound| bound.name == name).map(|bound| &bound.target);
        match found {
            Some(Target::Device(Some(tensor))) => Ok(tensor),
            _ => {
                let names = self.bound.iter().filter(|bound| resident(bound));
                let known = names.map(|bound| bound.name.as_str()).collect::<Vec<_>>().join(", ");
                Err(Error::UnknownName { kind: "output that stayed", name: name.to_owned(), known })
            }
        }
    }

    /// The shape that output `name` had in the last run; `None` if it is not bound, or that run failed.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        self.bound.iter().find(|bound| bound.name == name)?.shape.as_ref()
    }

    /// The elements of output `name` in the last run.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if it is not bound, or no run has filled it; [`Error::Output`] if the elements are not of
    /// type `T`, are strings, or lie in memory that is not aligned for `T`.
    pub fn as_slice<T: Element>(&self, name: &str) -> Result<&[T], Error> {
        let filled =
            |bound: &'_ Bound<'a>| bound.shape.is_some() && matches!(bound.target, Target::Buffer(_));
        let found = self.bound.iter().find(|bound| bound.name == name);
        let Some(Bound { target: Target::Buffer(buffer), shape: Some(shape), .. }) = found else {
            let names = self.bound.iter().filter(|bound| filled(bound));
            let known = names.map(|bound| bound.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::UnknownName { kind: "filled binding", name: name.to_owned(), known });
        };
        let wrong = |got: String| Error::Output {
            name: name.to_owned(),
            expected: format!("elements of {}", T::DTYPE),
            got,
        };
        let bytes: &[u8] = match &buffer.memory {
            Memory::Bytes(bytes) => bytes,
            Memory::Bools(bools) => bytemuck::cast_slice(bools),
            Memory::Strings(_) => &[],
        };
        if buffer.dtype != T::DTYPE {
            return Err(wrong(buffer.dtype.to_string()));
        }
        let filled = bytes.get(..shape.elements().saturating_mul(buffer.dtype.size())).unwrap_or(&[]);
        bytemuck::checked::try_cast_slice(filled).map_err(|error| wrong(error.to_string()))
    }

    /// The names of the bound outputs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.bound.iter().map(|bound| bound.name.as_str())
    }

    /// Where each of `names` goes in a run; shapes, and what stayed, are forgotten until it is over.
    pub(crate) fn lend_all<'b>(&'b mut self, names: &[String]) -> Vec<Option<Lent<'b>>> {
        let mut lent: Vec<Option<Lent<'b>>> = names.iter().map(|_| None).collect();
        for bound in &mut self.bound {
            bound.shape = None;
            if let Some(index) = names.iter().position(|name| *name == bound.name) {
                lent[index] = Some(match &mut bound.target {
                    Target::Buffer(buffer) => Lent::Buffer(buffer.lend()),
                    Target::Device(kept) => {
                        *kept = None;
                        Lent::Stay
                    }
                });
            }
        }
        lent
    }

    /// Notes the shape of what a run wrote.
    pub(crate) fn written(&mut self, name: &str, shape: Shape) {
        if let Some(bound) = self.bound.iter_mut().find(|bound| bound.name == name) {
            bound.shape = Some(shape);
        }
    }

    /// Notes what a run left on the device.
    pub(crate) fn kept(&mut self, name: &str, tensor: DeviceTensor) {
        if let Some(bound) = self.bound.iter_mut().find(|bound| bound.name == name) {
            bound.shape = Some(tensor.shape().clone());
            bound.target = Target::Device(Some(tensor));
        }
    }
}

/// Memory of the caller's for one output: how many elements of which type, and whether all of it must be filled.
///
/// A run computes in this memory where it can. It copies once, out of memory of its own, where the output is an input,
/// a constant, or another output under a second name; where a part of the model that runs on its own goes on with it
/// (after a shape that depends on elements, in control flow); where an operator runs on the host by its reference; for
/// `bool` and strings; and for memory that is not aligned for its elements ([`OutputBuffer::bytes`]).
#[derive(Debug)]
pub struct OutputBuffer<'a> {
    memory: Memory<'a>,
    dtype: DType,
    room: Room,
}

#[derive(Debug)]
enum Memory<'a> {
    Bytes(&'a mut [u8]),
    Bools(&'a mut [bool]),
    Strings(&'a mut [String]),
}

/// What fits.
#[derive(Clone, Debug)]
enum Room {
    /// As many elements as there are.
    Whole,
    /// Up to as many.
    Most,
    /// One shape.
    Shape(Shape),
}

impl<'a> OutputBuffer<'a> {
    /// Elements of type `T`, as many as the output has.
    pub fn new<T: Element + Pod>(elements: &'a mut [T]) -> OutputBuffer<'a> {
        OutputBuffer::of(Memory::Bytes(bytemuck::cast_slice_mut(elements)), T::DTYPE)
    }

    /// Truth values, as many as the output has.
    pub fn bools(elements: &'a mut [bool]) -> OutputBuffer<'a> {
        OutputBuffer::of(Memory::Bools(elements), DType::Bool)
    }

    /// Strings, as many as the output has.
    pub fn strings(elements: &'a mut [String]) -> OutputBuffer<'a> {
        OutputBuffer::of(Memory::Strings(elements), DType::String)
    }

    /// Elements of type `dtype` as bytes in native order, as many as the output has. The address of memory that is
    /// computed in is a multiple of the element's size, as that of [`crate::AlignedBytes`] is.
    ///
    /// For [`DType::String`] no buffer of bytes fits; a run will say so.
    pub fn bytes(dtype: DType, bytes: &'a mut [u8]) -> OutputBuffer<'a> {
        OutputBuffer::of(Memory::Bytes(bytes), dtype)
    }

    fn of(memory: Memory<'a>, dtype: DType) -> OutputBuffer<'a> {
        OutputBuffer { memory, dtype, room: Room::Whole }
    }

    /// The output may have fewer elements: they fill the buffer's front, and [`Bindings::shape`] tells how many they
    /// are. For outputs whose shape only a run knows.
    #[must_use]
    pub fn at_most(mut self) -> OutputBuffer<'a> {
        self.room = Room::Most;
        self
    }

    /// The output must have this shape, not only as many elements.
    #[must_use]
    pub fn shaped(mut self, shape: impl Into<Shape>) -> OutputBuffer<'a> {
        self.room = Room::Shape(shape.into());
        self
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements that fit. A part of an element at the end of bytes does not count.
    pub fn len(&self) -> usize {
        match &self.memory {
            Memory::Bytes(bytes) => bytes.len().checked_div(self.dtype.size()).unwrap_or(0),
            Memory::Bools(bools) => bools.len(),
            Memory::Strings(strings) => strings.len(),
        }
    }

    /// Whether no element fits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same memory for a while.
    fn lend(&mut self) -> OutputBuffer<'_> {
        let memory = match &mut self.memory {
            Memory::Bytes(bytes) => Memory::Bytes(bytes),
            Memory::Bools(bools) => Memory::Bools(bools),
            Memory::Strings(strings) => Memory::Strings(strings),
        };
        OutputBuffer { memory, dtype: self.dtype, room: self.room.clone() }
    }

    /// # Errors
    /// An output `name` of this type and shape does not fit.
    pub(crate) fn check(&self, name: &str, dtype: DType, shape: &Shape) -> Result<(), Error> {
        let elements = shape.elements();
        let fits = match &self.room {
            Room::Whole => self.len() == elements && self.whole(),
            Room::Most => self.len() >= elements,
            Room::Shape(wanted) => wanted == shape && self.len() == elements && self.whole(),
        };
        if self.dtype == dtype && fits {
            return Ok(());
        }
        Err(Error::Output {
            name: name.to_owned(),
            expected: format!("a buffer for {dtype}[{shape}], which is {elements} elements"),
            got: self.describe(),
        })
    }

    /// # Errors
    /// An output `name` of this type never fits.
    pub(crate) fn check_dtype(&self, name: &str, dtype: DType) -> Result<(), Error> {
        let storable = dtype != DType::String || matches!(self.memory, Memory::Strings(_));
        if self.dtype == dtype && storable {
            return Ok(());
        }
        Err(Error::Output {
            name: name.to_owned(),
            expected: format!("a buffer for elements of {dtype}"),
            got: self.describe(),
        })
    }

    /// Whether no part of an element is left over.
    fn whole(&self) -> bool {
        match &self.memory {
            Memory::Bytes(bytes) => bytes.len() == self.len().saturating_mul(self.dtype.size()),
            Memory::Bools(_) | Memory::Strings(_) => true,
        }
    }

    /// The buffer in words.
    pub(crate) fn describe(&self) -> String {
        let (dtype, len) = (self.dtype, self.len());
        match (&self.room, &self.memory) {
            (Room::Shape(shape), _) if shape.elements() == len => format!("one for {dtype}[{shape}]"),
            (Room::Shape(shape), _) => format!("one for {dtype}[{shape}] with memory for {len} elements"),
            (_, Memory::Bytes(bytes)) if !self.whole() => {
                format!("one of {} bytes for elements of {dtype}", bytes.len())
            }
            (Room::Whole, _) => format!("one for {len} elements of {dtype}"),
            (Room::Most, _) => format!("one for at most {len} elements of {dtype}"),
        }
    }

    /// The bytes for an output of a shape that fits; the buffer itself where the elements are not written as bytes.
    pub(crate) fn into_bytes(self, shape: &Shape) -> Result<&'a mut [u8], OutputBuffer<'a>> {
        let needed = shape.elements().saturating_mul(self.dtype.size());
        match self.memory {
            Memory::Bytes(bytes) if bytes.len() >= needed && self.dtype != DType::String => {
                Ok(&mut bytes[..needed])
            }
            memory => Err(OutputBuffer { memory, ..self }),
        }
    }

    /// Copies an output here, and gives its shape.
    ///
    /// # Errors
    /// It does not fit, or is no tensor.
    pub(crate) fn fill(self, name: &str, value: &Value) -> Result<Shape, Error> {
        let Value::Tensor(tensor) = value else {
            return Err(Error::Output {
                name: name.to_owned(),
                expected: format!("no buffer, for it is {}", value.describe()),
                got: self.describe(),
            });
        };
        self.check_dtype(name, tensor.dtype())?;
        self.check(name, tensor.dtype(), tensor.shape())?;
        match self.memory {
            Memory::Bytes(bytes) => copy(tensor.bytes(), bytes),
            Memory::Bools(bools) => copy(tensor.as_slice::<bool>()?, bools),
            Memory::Strings(strings) => {
                strings.iter_mut().zip(tensor.as_strings()?).for_each(|(to, from)| to.clone_from(from));
            }
        }
        Ok(tensor.shape().clone())
    }
}

/// Copies to the front of `to`, which is no shorter.
fn copy<T: NoUninit>(from: &[T], to: &mut [T]) {
    if let Some(front) = to.get_mut(..from.len()) {
        front.copy_from_slice(from);
    }
}

impl<'a, T: Element + Pod> From<&'a mut [T]> for OutputBuffer<'a> {
    fn from(elements: &'a mut [T]) -> OutputBuffer<'a> {
        OutputBuffer::new(elements)
    }
}

impl<'a, T: Element + Pod> From<&'a mut Vec<T>> for OutputBuffer<'a> {
    fn from(elements: &'a mut Vec<T>) -> OutputBuffer<'a> {
        OutputBuffer::new(elements)
    }
}

impl<'a, T: Element + Pod, const LEN: usize> From<&'a mut [T; LEN]> for OutputBuffer<'a> {
    fn from(elements: &'a mut [T; LEN]) -> OutputBuffer<'a> {
        OutputBuffer::new(elements)
    }
}
