//! What one run at a time works in: a stream, memory, and recorded launches.

use std::sync::Arc;

use inferrum_backend::{BackendError, DeviceFailure};

use crate::driver::{Address, Argument, Driver, Graph, Launch, Pinned, Stream};
use crate::library::Operands;
use crate::memory::Memory;
use crate::plan::{Action, Fault, Parameter, Place, Plan};

/// Recordings that a set keeps, each for other memory of inputs and outputs.
const KEPT_GRAPHS: usize = 4;

/// What one run at a time works in.
pub(crate) struct Set {
    pub(crate) stream: Box<dyn Stream>,
    driver: Arc<dyn Driver>,
    arena: Memory,
    /// The set's own memory of inputs and outputs, made when first asked for.
    ends: Vec<Option<Memory>>,
    /// Page-locked memory of inputs and outputs, likewise.
    pinned: Vec<Option<Box<dyn Pinned>>>,
    faults: Option<(Memory, Box<dyn Pinned>)>,
    graphs: Vec<(Vec<Address>, Recorded)>,
}

/// What is known of launches over some memory.
enum Recorded {
    /// They ran once.
    Seen,
    Graph(Box<dyn Graph>),
    /// They cannot be recorded.
    Never,
}

/// Where each place of a plan is in a run.
pub(crate) struct Addresses {
    places: Vec<Address>,
}

impl Set {
    /// # Errors
    /// No memory.
    pub(crate) fn new(driver: &Arc<dyn Driver>, plan: &Plan) -> Result<Set, BackendError> {
        let faults = match plan.faults.len() * Fault::BYTES {
            0 => None,
            bytes => Some((Memory::take(driver, bytes)?, driver.pinned(bytes)?)),
        };
        Ok(Set {
            stream: driver.stream()?,
            driver: Arc::clone(driver),
            arena: Memory::take(driver, plan.arena.bytes).map_err(|error| plan.arena.name(error))?,
            ends: plan.places.iter().map(|_| None).collect(),
            pinned: plan.places.iter().map(|_| None).collect(),
            faults,
            graphs: Vec::new(),
        })
    }

    /// Where each place is; `outside` is memory from elsewhere that stands for some of them.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn addresses(
        &mut self,
        plan: &Plan,
        outside: &[Option<Arc<Memory>>],
    ) -> Result<Addresses, BackendError> {
        let mut places = Vec::with_capacity(plan.places.len());
        for (number, place) in plan.places.iter().enumerate() {
            places.push(match (place, outside.get(number).and_then(Option::as_ref)) {
                (Place::Constant(memory), _) => memory.address(),
                (Place::Arena(offset), _) => self.arena.address().offset(*offset),
                (Place::End(_), Some(memory)) => memory.address(),
                (Place::End(own), None) => match &self.ends[number] {
                    Some(memory) => memory.address(),
                    None => {
                        let memory = Memory::take(&self.driver, own.bytes).map_err(|e| own.name(e))?;
                        self.ends[number].insert(memory).address()
                    }
                },
            });
        }
        Ok(Addresses { places })
    }

    /// Copies to a place.
    ///
    /// # Errors
    /// No memory, or the device has failed.
    pub(crate) fn upload(&mut self, at: &Addresses, place: usize, bytes: &[u8]) -> Result<(), BackendError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let pinned = pinned(&mut self.pinned[place], &*self.driver, bytes.len())?;
        pinned.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        self.stream.upload(at.places[place], &*pinned, bytes.len())
    }

    /// Asks for `bytes` of a place, which [`Set::arrived`] gives after the stream was waited for.
    ///
    /// # Errors
    /// No memory, or the device has failed.
    pub(crate) fn download(
        &mut self,
        at: &Addresses,
        place: usize,
        bytes: usize,
    ) -> Result<(), BackendError> {
        if bytes == 0 {
            return Ok(());
        }
        let pinned = pinned(&mut self.pinned[place], &*self.driver, bytes)?;
        self.stream.download(at.places[place], pinned, bytes)
    }

    /// What came from a place.
    pub(crate) fn arrived(&self, place: usize, bytes: usize) -> &[u8] {
        self.pinned[place].as_ref().and_then(|pinned| pinned.bytes().get(..bytes)).unwrap_or_default()
    }

    /// Asks for what launches tell, if any may.
    ///
    /// # Errors
    /// The device has failed.
    pub(crate) fn ask_faults(&mut self) -> Result<(), BackendError> {
        let Some((memory, pinned)) = &mut self.faults else { return Ok(()) };
        self.stream.download(memory.address(), &mut **pinned, memory.bytes())
    }

    /// The first fault that was told, after the stream was waited for.
    ///
    /// # Errors
    /// That fault.
    pub(crate) fn told(&self, plan: &Plan) -> Result<(), BackendError> {
        let Some((_, pinned)) = &self.faults else { return Ok(()) };
        let told = pinned.bytes().chunks(Fault::BYTES);
        plan.faults.iter().zip(told).find_map(|(fault, told)| fault.error(told)).map_or(Ok(()), Err)
    }

    /// Forgets what was told before.
    ///
    /// # Errors
    /// The device has failed.
    pub(crate) fn clear_faults(&mut self) -> Result<(), BackendError> {
        match &self.faults {
            Some((memory, _)) => self.stream.fill(memory.address(), 0, memory.bytes()),
            None => Ok(()),
        }
    }

    /// Launches a step.
    ///
    /// # Errors
    /// The launch is refused.
    pub(crate) fn launch(&mut self, plan: &Plan, at: &Addresses, index: usize) -> Result<(), BackendError> {
        let told = self.faults.as_ref().map(|(memory, _)| memory.address());
        launch(&mut *self.stream, plan, at, told, index)
    }

    /// Launches all steps: one by one the first time, as a recording of them later on.
    ///
    /// # Errors
    /// A launch is refused, or the device has failed.
    pub(crate) fn launch_all(&mut self, plan: &Plan, at: &Addresses) -> Result<(), BackendError> {
        if plan.steps.is_empty() {
            return Ok(());
        }
        let known = self.graphs.iter().position(|(places, _)| *places == at.places);
        if let Some(known) = known {
            // The one that was used last stands last.
            let (places, recorded) = self.graphs.remove(known);
            let recorded = match recorded {
                Recorded::Seen => self.record(plan, at)?,
                other => other,
            };
            let result = match &recorded {
                Recorded::Graph(graph) => self.stream.replay(&**graph),
                Recorded::Seen | Recorded::Never => self.launch_each(plan, at),
            };
            self.graphs.push((places, recorded));
            return result;
        }
        if self.graphs.len() >= KEPT_GRAPHS {
            self.graphs.remove(0);
        }
        self.graphs.push((at.places.clone(), Recorded::Seen));
        self.launch_each(plan, at)
    }

    fn launch_each(&mut self, plan: &Plan, at: &Addresses) -> Result<(), BackendError> {
        (0..plan.steps.len()).try_for_each(|index| self.launch(plan, at, index))
    }

    /// Records all steps. What cannot be recorded is launched step by step for good.
    fn record(&mut self, plan: &Plan, at: &Addresses) -> Result<Recorded, BackendError> {
        let told = self.faults.as_ref().map(|(memory, _)| memory.address());
        let recorded = self.stream.capture(&mut |stream| {
            (0..plan.steps.len()).try_for_each(|index| launch(stream, plan, at, told, index))
        });
        match recorded {
            Ok(graph) => Ok(Recorded::Graph(graph)),
            Err(error @ BackendError::Failure(DeviceFailure::Lost { .. })) => Err(error),
            Err(error) => {
                log::warn!("kernels are launched one by one, for they cannot be recorded: {error}");
                Ok(Recorded::Never)
            }
        }
    }
}

fn launch(
    stream: &mut dyn Stream,
    plan: &Plan,
    at: &Addresses,
    told: Option<Address>,
    index: usize,
) -> Result<(), BackendError> {
    let step = &plan.steps[index];
    let done = match &step.action {
        Action::Launch { function, parameters, grid, block, shared } => {
            let argument = |parameter: &Parameter| match parameter {
                Parameter::At(place) => Argument::address(at.places[*place]),
                Parameter::Fault(number) => {
                    let told = told.map(|told| told.offset(number * Fault::BYTES));
                    Argument::address(told.unwrap_or_default())
                }
                Parameter::Value(value) => value.clone(),
            };
            let arguments: Vec<Argument> = parameters.iter().map(argument).collect();
            let (grid, block, shared) = (*grid, *block, *shared);
            stream.launch(&Launch { function, grid, block, shared, arguments: &arguments })
        }
        Action::Multiply { product, at: places } => {
            let [a, b, c, bias, d, workspace] =
                places.map(|place| place.map_or(Address::default(), |place| at.places[place]));
            stream.multiply(product, &Operands { a, b, c, bias, d, workspace })
        }
    };
    let placement = &plan.placement[step.node];
    done.map_err(|error| match error {
        BackendError::Device(reason) => DeviceFailure::Kernel {
            node: placement.node.clone(),
            op: placement.op.clone(),
            device: placement.device.clone(),
            reason,
        }
        .into(),
        other => other,
    })
}

/// Page-locked memory of at least `bytes`.
fn pinned<'a>(
    held: &'a mut Option<Box<dyn Pinned>>,
    driver: &dyn Driver,
    bytes: usize,
) -> Result<&'a mut dyn Pinned, BackendError> {
    if held.as_ref().is_none_or(|held| held.bytes().len() < bytes) {
        *held = Some(driver.pinned(bytes)?);
    }
    match held {
        Some(held) => Ok(&mut **held),
        None => Err(BackendError::Device("page-locked memory was not kept".into())),
    }
}
