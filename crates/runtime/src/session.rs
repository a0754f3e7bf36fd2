//! A model that is ready to run.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use inferrum_backend::{
    Backend, DeviceInfo, Placement, Profile, Resident, RunContext, Span, Stop, TransferLog,
};
use inferrum_graph::{Fact, Graph};
use inferrum_tensor::Tensor;

use crate::bindings::{Bindings, Lent, OutputBuffer};
use crate::program::{Delivered, Delivery, Plan, Program};
use crate::{DeviceTensor, Error, Inputs, Outputs, ValueInfo, devices};

mod builder;
mod ordered;

pub use builder::SessionBuilder;

/// A model that is ready to run. Threads may share it and run it at the same time; weights are held once.
///
/// A run takes a [`Tensor`](crate::Tensor) (or another [`Value`](crate::Value), where the model asks for a sequence, an
/// optional or a map) for each input: by name, or in the model's order. [`Session::inputs`] tells names, element types and
/// shapes; where these leave extents open, every run may have its own. Types and shapes are checked, nothing is converted.
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
    /// Why the device was chosen, once asked for; None if the caller named it.
    choice: Option<OnceLock<String>>,
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
    /// Where to note what crosses between the host's memory and the device's; several runs may share one.
    pub transfers: Option<&'a TransferLog>,
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
        SessionBuilder::new()
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

    /// Why the device was chosen, if [`Device::Auto`](crate::Device::Auto) chose it. The first call asks the drivers for what
    /// else there is.
    pub fn choice(&self) -> Option<&str> {
        self.choice.as_ref().map(|choice| choice.get_or_init(devices::why_the_processor).as_str())
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
        self.program.placement()
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
    /// does not take, for two extents of one symbol that differ, or for an input that is given twice; [`Error::Node`]
    /// for a node that refuses such shapes or elements; [`Error::OutOfMemory`] before a run that would take more than it may.
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

    /// Runs the model and puts outputs where `bindings` wants them, in memory of the caller's or the device's; the others are
    /// returned. Where the outputs are computed in the caller's memory, and where they are copied to it, tells
    /// [`OutputBuffer`].
    ///
    /// After an error the bound memory holds anything, and nothing has stayed on the device.
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
            if let Some(Lent::Buffer(buffer)) = buffer {
                fits(output, buffer)?;
            }
        }
        let lent = self.output_names.iter().zip(lent);
        let deliveries = lent.map(|(name, lent)| match lent {
            None => Delivery::Value,
            Some(Lent::Buffer(buffer)) => Delivery::Buffer(name, buffer),
            Some(Lent::Stay) => Delivery::Stay,
        });
        let delivered = self.deliver(inputs.into(), deliveries.collect(), options)?;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (name, delivered) in self.output_names.iter().zip(delivered) {
            match delivered {
                Delivered::Written(shape) => bindings.written(name, shape),
                Delivered::Kept(tensor) => bindings.kept(name, DeviceTensor(tensor)),
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
        let context = RunContext {
            stop: options.stop,
            profile: options.profile.or(self.profile.as_ref()),
            transfers: options.transfers,
        };
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

    /// A copy of a tensor in the device's memory, for inputs that many runs take; the host's memory where the device has none of its
    /// own, or no form for the type.
    ///
    /// # Errors
    /// The device has no memory for it, or fails ([`Error::DeviceFailure`]).
    pub fn upload(&self, tensor: &Tensor) -> Result<DeviceTensor, Error> {
        let held = self.backend.upload(tensor)?;
        Ok(DeviceTensor(held.map_or_else(|| Resident::Host(tensor.clone()), Resident::Device)))
    }

    /// Arithmetic operations a second (f32) that the device reaches now in a short loop without memory traffic, on as
    /// many threads as runs use; `None` where that is not measured. Takes some 50 ms.
    pub fn measured_peak(&self) -> Option<f64> {
        self.backend.measured_peak()
    }
}
