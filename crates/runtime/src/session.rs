//! A model that is ready to run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use inferrum_backend::{Backend, Device, DeviceInfo, Placement, Profile, RunContext, Span, Stop};
use inferrum_graph::{Fact, Graph, SymDim};
use inferrum_tensor::{AllocationLimit, Shape, Value};

use crate::bindings::{Bindings, OutputBuffer};
use crate::devices::{self, Opened};
use crate::program::{Delivered, Delivery, Plan, Program};
use crate::{Error, Inputs, Outputs, Precision, ValueInfo, memory};

/// A model that is ready to run. Threads may share it and run it at the same time; weights are held once.
///
/// A run takes a [`Tensor`](crate::Tensor) (or another [`Value`], where the model asks for a sequence, an optional or a
/// map) for each input: by name, or in the model's order. [`Session::inputs`] tells names, element types and shapes;
/// where these leave extents open, every run may have its own. Types and shapes are checked, nothing is converted.
///
/// ```
/// use inferrum::{Inputs, Session, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
/// let session = Session::load(model)?;
/// let pixels: &[f32] = &[0.0; 2 * 28 * 28];
/// let batch = Tensor::from_vec([2, 1, 28, 28], pixels.to_vec())?;
/// let by_name = session.run(Inputs::new().with("image", batch.clone()))?;
/// let in_order = session.run(batch)?;
/// assert_eq!(by_name["probabilities"], in_order[0]);
/// assert_eq!(in_order[0].shape().dims(), [2, 10]);
/// let first: &[f32] = &in_order[0].as_slice::<f32>()?[..10];
/// assert!((first.iter().sum::<f32>() - 1.0).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
pub struct Session {
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    output_names: Arc<[String]>,
    program: Program,
    backend: Arc<dyn Backend>,
    choice: Option<String>,
    profile: Option<Profile>,
    fusions: Vec<(String, usize)>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let described = |values: &[ValueInfo]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        f.debug_struct("Session")
            .field("inputs", &described(&self.inputs))
            .field("outputs", &described(&self.outputs))
            .field("device", &self.device().id)
            .finish_non_exhaustive()
    }
}

/// How to load and run a model: [`Session::builder`] makes one with the settings that each method names.
///
/// ```
/// use inferrum::{Device, Precision, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
/// let session = Session::builder()
///     .device(Device::Cpu)
///     .precision(Precision::F32)
///     .threads(2)
///     .max_memory(256 << 20)
///     .load(model)?;
/// assert_eq!(session.device().id, "cpu");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionBuilder {
    device: Device,
    precision: Precision,
    threads: Option<usize>,
    max_memory: Option<usize>,
    profile: bool,
    optimize: bool,
}

/// What one run may be told.
///
/// ```
/// use inferrum::{Error, RunOptions, Session, Stop, Tensor, DType};
/// use std::time::{Duration, Instant};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
/// let session = Session::load(model)?;
/// let image = Tensor::zeros(DType::F32, [1, 1, 28, 28])?;
///
/// // A deadline, ten seconds from now.
/// let deadline = Stop::at(Instant::now() + Duration::from_secs(10));
/// session.run_with(image.clone(), RunOptions { stop: Some(&deadline), ..RunOptions::default() })?;
///
/// // Cancelled, here before it begins; a clone of `stop` in another thread does the same at any time.
/// let stop = Stop::new();
/// stop.stop();
/// let run = session.run_with(image, RunOptions { stop: Some(&stop), ..RunOptions::default() });
/// assert!(matches!(run, Err(Error::Stopped(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions<'a> {
    /// When to give up: looked at between two nodes and in every call of a body, so a node that has begun is finished.
    pub stop: Option<&'a Stop>,
    /// Where to note what took how long; several runs may share one. Takes the place of the session's own profile.
    pub profile: Option<&'a Profile>,
}

impl SessionBuilder {
    /// The device; [`Device::Auto`] unless said otherwise.
    #[must_use]
    pub fn device(mut self, device: Device) -> SessionBuilder {
        self.device = device;
        self
    }

    /// The precision; [`Precision::F32`] unless said otherwise.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> SessionBuilder {
        self.precision = precision;
        self
    }

    /// The number of threads that one run computes with, from 1 (0 counts as 1) to 1024; as many as the process may use
    /// (its CPU quota and affinity) unless said otherwise. Sessions share their threads, so that runs at the same time do
    /// not add up.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> SessionBuilder {
        self.threads = Some(threads.max(1));
        self
    }

    /// Bytes that the model's weights and one run may take; the machine's memory unless said otherwise. What would take
    /// more is [`Error::OutOfMemory`] before it is allocated.
    #[must_use]
    pub fn max_memory(mut self, bytes: usize) -> SessionBuilder {
        self.max_memory = Some(bytes);
        self
    }

    /// Whether every run is profiled; see [`Session::profile`].
    #[must_use]
    pub fn profile(mut self, profile: bool) -> SessionBuilder {
        self.profile = profile;
        self
    }

    /// Whether the graph is rewritten before it runs; it is unless said otherwise.
    #[must_use]
    pub fn optimize(mut self, optimize: bool) -> SessionBuilder {
        self.optimize = optimize;
        self
    }

    /// Loads the model in a file. The file is mapped; it must not change while the session lives.
    ///
    /// # Errors
    /// [`Error::Load`]: the file cannot be read, is no model, or uses operators that do not exist here (all are named).
    /// Otherwise as [`SessionBuilder::build`].
    pub fn load(self, path: impl AsRef<Path>) -> Result<Session, Error> {
        let _limit = AllocationLimit::new(self.limit());
        self.build(inferrum_onnx::load(path.as_ref())?.graph)
    }

    /// Loads a model from memory. It cannot refer to external data.
    ///
    /// # Errors
    /// As [`SessionBuilder::load`].
    pub fn load_bytes(self, bytes: impl Into<bytes::Bytes>) -> Result<Session, Error> {
        let _limit = AllocationLimit::new(self.limit());
        self.build(inferrum_onnx::load_bytes(bytes.into(), None)?.graph)
    }

    fn limit(&self) -> usize {
        self.max_memory.unwrap_or_else(memory::machine_limit)
    }

    /// Makes a session of a graph.
    ///
    /// # Errors
    /// [`Error::Node`]: an operator refuses its inputs; [`Error::Device`]: the device cannot be used, with what to do;
    /// [`Error::OutOfMemory`]: the weights alone take more than [`SessionBuilder::max_memory`]; [`Error::Unsupported`]:
    /// too many [`SessionBuilder::threads`].
    pub fn build(self, graph: Graph) -> Result<Session, Error> {
        let limit = self.limit();
        let _limit = AllocationLimit::new(limit);
        let needed =
            graph.values().iter().filter_map(|value| value.fact.value()).map(|t| t.bytes().len()).sum();
        if needed > limit {
            return Err(Error::OutOfMemory { what: "the model's weights".into(), needed, limit });
        }
        let Opened { backend, reason: choice } = devices::open(&self.device, self.threads)?;
        let info = |ids: &[inferrum_graph::ValueId]| -> Vec<ValueInfo> {
            ids.iter()
                .map(|&id| ValueInfo { name: graph.value(id).name.clone(), fact: graph.fact(id).clone() })
                .collect()
        };
        let (inputs, outputs) = (info(&graph.inputs), info(&graph.outputs));
        let (graph, fusions) = if self.optimize { optimized(graph, &*backend)? } else { (graph, Vec::new()) };
        let program = Program::new(graph, Arc::clone(&backend), limit);
        program.prepare()?;
        Ok(Session {
            output_names: outputs.iter().map(|output| output.name.clone()).collect(),
            inputs,
            outputs,
            program,
            backend,
            choice,
            profile: self.profile.then(Profile::new),
            fusions,
        })
    }
}

fn optimized(graph: Graph, backend: &dyn Backend) -> Result<(Graph, Vec<(String, usize)>), Error> {
    let (graph, fusions) = inferrum_optimize::optimize(backend.legalize(graph)?)?;
    Ok((backend.prepare(graph)?, fusions))
}

/// One element is taken for a declared scalar whatever its shape, as other runtimes do: exporters and their users often
/// disagree there.
fn scalar_where_declared(declared: &Fact, value: &mut Value) -> Result<(), Error> {
    let scalar = declared.as_tensor().is_some_and(|tensor| tensor.shape.rank() == Some(0));
    if let Value::Tensor(tensor) = value
        && scalar
        && tensor.len() == 1
    {
        *tensor = tensor.reshape(Shape::scalar())?;
    }
    Ok(())
}

/// # Errors
/// What the model declares of an output does not fit a buffer.
fn fits(output: &ValueInfo, buffer: &OutputBuffer<'_>) -> Result<(), Error> {
    match &output.fact {
        Fact::Unknown => Ok(()),
        Fact::Tensor(tensor) => {
            buffer.check_dtype(&output.name, tensor.dtype)?;
            let shape = output.fact.concrete_shape();
            shape.map_or(Ok(()), |shape| buffer.check(&output.name, tensor.dtype, &shape))
        }
        other => Err(Error::Output {
            name: output.name.clone(),
            expected: format!("no buffer, for it is {other}"),
            got: buffer.describe(),
        }),
    }
}

impl Session {
    /// Settings to load a model with.
    pub fn builder() -> SessionBuilder {
        SessionBuilder {
            device: Device::Auto,
            precision: Precision::F32,
            threads: None,
            max_memory: None,
            profile: false,
            optimize: true,
        }
    }

    /// Loads the model in a file with the default settings.
    ///
    /// # Errors
    /// As [`SessionBuilder::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Session, Error> {
        Session::builder().load(path)
    }

    /// The model's inputs, in its order: names, element types and shapes.
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    /// The model's outputs, in its order: names, element types and shapes, as far as the model tells them.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// The device that runs the model.
    pub fn device(&self) -> &DeviceInfo {
        self.backend.info()
    }

    /// Why the device was chosen, if [`Device::Auto`] chose it.
    pub fn choice(&self) -> Option<&str> {
        self.choice.as_deref()
    }

    /// Rewrites that were applied, with how often.
    pub fn fusions(&self) -> &[(String, usize)] {
        &self.fusions
    }

    /// The graph as it runs.
    pub fn graph(&self) -> &Graph {
        self.program.graph()
    }

    /// Bytes of weights that the device holds in forms of its own.
    pub fn weight_bytes(&self) -> usize {
        self.backend.weight_bytes()
    }

    /// Where each node runs, as far as a run, or the model's own shapes, have decided it.
    pub fn placement(&self) -> Placement {
        Placement { nodes: self.program.placement() }
    }

    /// What took how long in the runs so far, node by node, in order of time; empty unless
    /// [`SessionBuilder::profile`] asked for it. [`Span::start`] counts from when the session was made.
    ///
    /// ```
    /// use inferrum::{DType, Session, Tensor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits.onnx");
    /// let session = Session::builder().profile(true).load(model)?;
    /// session.run(Tensor::zeros(DType::F32, [1, 1, 28, 28])?)?;
    /// let spans = session.profile();
    /// let slowest = spans.iter().max_by_key(|span| span.duration).expect("a span for each node");
    /// println!("{} ({}): {:?}, {} FLOP", slowest.node, slowest.kernel, slowest.duration, slowest.flops);
    /// # assert!(spans.iter().any(|span| span.flops > 100_000 && span.shape.contains("1x")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn profile(&self) -> Vec<Span> {
        self.profile.as_ref().map(Profile::spans).unwrap_or_default()
    }

    /// Runs the model on `inputs`: each under its name, or all in the model's order (see [`Inputs`] for what converts).
    ///
    /// # Errors
    /// [`Error::MissingInputs`] and [`Error::UnknownName`]; [`Error::Input`] for an element type or shape that the model
    /// does not take, for two extents of one symbol that differ, or for an input that is given twice; [`Error::Node`] for a node that refuses such shapes
    /// or elements; [`Error::OutOfMemory`] before a run that would take more than it may.
    pub fn run(&self, inputs: impl Into<Inputs>) -> Result<Outputs, Error> {
        self.run_with(inputs, RunOptions::default())
    }

    /// Runs the model with a deadline, a way to cancel, or a profile.
    ///
    /// # Errors
    /// As [`Session::run`], and [`Error::Stopped`].
    pub fn run_with(&self, inputs: impl Into<Inputs>, options: RunOptions<'_>) -> Result<Outputs, Error> {
        let mut outputs = Outputs::default();
        self.run_into(inputs, &mut outputs, options)?;
        Ok(outputs)
    }

    /// Runs the model and puts the outputs in the place of those in `outputs`, whose memory is used again where it fits
    /// and nobody holds a clone of the tensor. So a loop of runs with the same shapes allocates no outputs.
    ///
    /// After an error `outputs` is empty.
    ///
    /// # Errors
    /// As [`Session::run_with`].
    pub fn run_into(
        &self,
        inputs: impl Into<Inputs>,
        outputs: &mut Outputs,
        options: RunOptions<'_>,
    ) -> Result<(), Error> {
        let reuse = std::mem::take(outputs).values.into_iter();
        let reuse = reuse.map(|value| value.into_tensor().map_or(Delivery::Value, Delivery::Reuse)).collect();
        let delivered = self.deliver(inputs.into(), reuse, options)?;
        let values = delivered.into_iter().filter_map(Delivered::into_value).collect();
        *outputs = Outputs { names: Arc::clone(&self.output_names), values };
        Ok(())
    }

    /// Runs the model and writes outputs to the memory that `bindings` has for them; the others are returned. Where the
    /// outputs are computed in that memory, and where they are copied to it, tells [`OutputBuffer`].
    ///
    /// After an error the bound memory holds anything.
    ///
    /// # Errors
    /// As [`Session::run_with`]; [`Error::UnknownName`] for a name that is no output; [`Error::Output`] for a buffer of
    /// the wrong element type, shape or size (before anything runs if the model says the output's shape), or for an
    /// output that is a sequence, an optional or a map.
    pub fn run_bound(
        &self,
        inputs: impl Into<Inputs>,
        bindings: &mut Bindings<'_>,
        options: RunOptions<'_>,
    ) -> Result<Outputs, Error> {
        if let Some(name) = bindings.names().find(|name| !self.output_names.iter().any(|known| known == name))
        {
            let known = self.output_names.join(", ");
            return Err(Error::UnknownName { kind: "output", name: name.to_owned(), known });
        }
        let lent = bindings.lend_all(&self.output_names);
        for (output, buffer) in self.outputs.iter().zip(&lent) {
            buffer.as_ref().map_or(Ok(()), |buffer| fits(output, buffer))?;
        }
        let lent = self.output_names.iter().zip(lent);
        let deliveries = lent
            .map(|(name, buffer)| buffer.map_or(Delivery::Value, |buffer| Delivery::Buffer(name, buffer)));
        let delivered = self.deliver(inputs.into(), deliveries.collect(), options)?;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (name, delivered) in self.output_names.iter().zip(delivered) {
            match delivered {
                Delivered::Written(shape) => bindings.written(name, shape),
                Delivered::Value(value) => {
                    names.push(name.clone());
                    values.push(value);
                }
            }
        }
        Ok(Outputs { names: names.into(), values })
    }

    fn deliver(
        &self,
        inputs: Inputs,
        deliveries: Vec<Delivery<'_>>,
        options: RunOptions<'_>,
    ) -> Result<Vec<Delivered>, Error> {
        let values = self.ordered(inputs)?;
        let context = RunContext { stop: options.stop, profile: options.profile.or(self.profile.as_ref()) };
        self.program.run(values, deliveries, &context)
    }

    /// What a run with inputs of these types and concrete shapes will do and take, without running it.
    ///
    /// # Errors
    /// [`Error::Input`] for a fact that is not concrete or does not fit the model; a node that refuses its inputs;
    /// memory.
    pub fn plan(&self, inputs: &[Fact]) -> Result<Plan, Error> {
        let names = self.inputs.iter().map(|input| input.name.clone());
        if inputs.len() != self.inputs.len() {
            let takes: Vec<String> = self.inputs.iter().map(|input| input.fact.to_string()).collect();
            return Err(Error::MissingInputs {
                names: names.skip(inputs.len()).collect(),
                takes: takes.join(", "),
            });
        }
        for (given, input) in inputs.iter().zip(&self.inputs) {
            let concrete = given.as_tensor().is_none_or(|_| given.concrete_shape().is_some());
            if !concrete || input.fact.merge(given).is_none() {
                return Err(Error::Input {
                    name: input.name.clone(),
                    expected: format!("{} of known shape", input.fact),
                    got: given.to_string(),
                });
            }
        }
        self.program.plan(inputs)
    }

    /// Arithmetic operations a second (f32) that the device reaches now in a short loop without memory traffic, on as
    /// many threads as runs use; `None` where that is not measured. Takes some 50 ms.
    pub fn measured_peak(&self) -> Option<f64> {
        self.backend.measured_peak()
    }

    /// The inputs in the model's order, checked.
    fn ordered(&self, inputs: Inputs) -> Result<Vec<Value>, Error> {
        let mut slots: Vec<Option<Value>> = vec![None; self.inputs.len()];
        for (position, (name, value)) in inputs.0.into_iter().enumerate() {
            let index = match &name {
                None => Some(position).filter(|&position| position < slots.len()),
                Some(name) => self.inputs.iter().position(|input| input.name == *name),
            };
            let Some(index) = index else {
                let known =
                    self.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
                let name = name.unwrap_or_else(|| format!("number {position}"));
                return Err(Error::UnknownName { kind: "input", name, known });
            };
            if slots[index].replace(value).is_some() {
                let name = self.inputs[index].name.clone();
                return Err(Error::Input { name, expected: "one value".into(), got: "two".into() });
            }
        }
        let missing: Vec<String> = self
            .inputs
            .iter()
            .zip(&slots)
            .filter(|(_, slot)| slot.is_none())
            .map(|(i, _)| i.name.clone())
            .collect();
        if !missing.is_empty() {
            let takes: Vec<String> =
                self.inputs.iter().map(|input| format!("{}: {}", input.name, input.fact)).collect();
            return Err(Error::MissingInputs { names: missing, takes: takes.join(", ") });
        }
        let mut values: Vec<Value> = slots.into_iter().flatten().collect();
        for (input, value) in self.inputs.iter().zip(&mut values) {
            scalar_where_declared(&input.fact, value)?;
        }
        self.check(&values)?;
        Ok(values)
    }

    /// Types and shapes are as declared, and a symbol is one number throughout.
    fn check(&self, values: &[Value]) -> Result<(), Error> {
        let mut symbols: HashMap<&str, usize> = HashMap::new();
        for (input, value) in self.inputs.iter().zip(values) {
            let wrong = || Error::Input {
                name: input.name.clone(),
                expected: input.fact.to_string(),
                got: value.describe(),
            };
            if input.fact.merge(&Fact::of(value)).is_none() {
                return Err(wrong());
            }
            let (Some(declared), Some(tensor)) = (input.fact.as_tensor(), value.as_tensor()) else {
                continue;
            };
            for (dim, &extent) in declared.shape.dims().into_iter().flatten().zip(tensor.shape().dims()) {
                if let SymDim::Symbol(name) = dim
                    && *symbols.entry(name).or_insert(extent) != extent
                {
                    let expected = format!("{} with {name} = {}", input.fact, symbols[&**name]);
                    return Err(Error::Input { name: input.name.clone(), expected, got: value.describe() });
                }
            }
        }
        Ok(())
    }
}
