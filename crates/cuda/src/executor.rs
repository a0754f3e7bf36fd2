//! Runs a plan.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inferrum_backend::{
    BackendError, Destination, Executable, NodePlacement, Profile, Resident, RunContext, Span,
};
use inferrum_tensor::{AlignedBytes, Tensor, TensorError};

use crate::backend::Shared;
use crate::driver::Mark;
use crate::memory::Memory;
use crate::plan::{Output, Place, Plan};
use crate::set::{Addresses, Set};
use crate::tensor::CudaTensor;

/// Sets that a plan keeps for later runs.
const KEPT_SETS: usize = 4;

/// A plan with what it needs to run.
pub(crate) struct CudaExecutable {
    shared: Arc<Shared>,
    plan: Plan,
    /// Sets of runs that are over.
    idle: Mutex<Vec<Set>>,
}

/// An input as a run finds it.
enum Source<'a> {
    /// In the host's memory.
    Host(Tensor),
    /// Here.
    Resident(&'a CudaTensor),
}

/// Memory from elsewhere, by place.
type Outside = Vec<Option<Arc<Memory>>>;

impl CudaExecutable {
    /// # Errors
    /// No memory.
    pub(crate) fn new(shared: Arc<Shared>, plan: Plan) -> Result<CudaExecutable, BackendError> {
        // The first run finds its memory there, or the model is refused before it.
        let set = Set::new(&shared.driver, &plan)?;
        Ok(CudaExecutable { shared, plan, idle: Mutex::new(vec![set]) })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Set>> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run_in(
        &self,
        set: &mut Set,
        inputs: &[Resident],
        mut destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError> {
        destinations.resize_with(self.plan.outputs.len(), Destination::default);
        let sources = self.sources(inputs)?;
        let mut outside = self.outside(&sources);
        self.homes(&destinations, &mut outside)?;
        let at = set.addresses(&self.plan, &outside)?;
        for (source, place) in sources.iter().zip(&self.plan.inputs) {
            if let (Source::Host(tensor), Some(place)) = (source, place) {
                set.upload(&at, *place, tensor.bytes())?;
            }
        }
        set.clear_faults()?;
        self.launch(set, &at, context)?;
        for (output, destination) in self.plan.outputs.iter().zip(&destinations) {
            if !matches!(destination, Destination::Stay) {
                set.download(&at, output.place, output.bytes())?;
            }
        }
        set.ask_faults()?;
        // Even where all outputs stay: what other streams do with them must find them there.
        set.stream.wait()?;
        set.told(&self.plan)?;
        let outputs = self.plan.outputs.iter().zip(destinations);
        outputs.map(|(output, destination)| self.finish(set, output, destination, &outside)).collect()
    }

    /// Where the inputs are; what another device holds comes to the host.
    fn sources<'a>(&self, inputs: &'a [Resident]) -> Result<Vec<Source<'a>>, BackendError> {
        let source = |input: &'a Resident| match self.shared.held(input) {
            Some(tensor) => Ok(Source::Resident(tensor)),
            None => input.to_host().map(Source::Host),
        };
        inputs.iter().map(source).collect()
    }

    /// The memory of inputs that are here already: it is taken as it is, for no launch writes an input.
    fn outside(&self, sources: &[Source<'_>]) -> Outside {
        let mut outside: Outside = vec![None; self.plan.places.len()];
        for (source, place) in sources.iter().zip(&self.plan.inputs) {
            if let (Source::Resident(tensor), Some(place)) = (source, place) {
                outside[*place] = Some(Arc::clone(&tensor.memory));
            }
        }
        outside
    }

    /// Gives outputs that stay memory of their own, in which they are computed. An output that is an input under another shape
    /// shares its memory, and so does one that is a constant.
    fn homes(&self, destinations: &[Destination<'_>], outside: &mut Outside) -> Result<(), BackendError> {
        for (destination, output) in destinations.iter().zip(&self.plan.outputs) {
            if !matches!(destination, Destination::Stay) || outside[output.place].is_some() {
                continue;
            }
            outside[output.place] = Some(match &self.plan.places[output.place] {
                Place::Constant(memory) => Arc::clone(memory),
                Place::End(own) => {
                    Arc::new(Memory::take(&self.shared.driver, own.bytes).map_err(|e| own.name(e))?)
                }
                Place::Arena(_) => return Err(BackendError::Device("an output lies in the arena".into())),
            });
        }
        Ok(())
    }

    /// Launches everything: at once; step by step where times are wanted; in parts where the run may be stopped.
    fn launch(&self, set: &mut Set, at: &Addresses, context: &RunContext<'_>) -> Result<(), BackendError> {
        if let Some(profile) = context.profile {
            return self.launch_timed(set, at, profile);
        }
        if context.stop.is_none() {
            return set.launch_all(&self.plan, at);
        }
        for part in &self.plan.parts {
            context.check()?;
            let result = part.clone().try_for_each(|index| set.launch(&self.plan, at, index));
            result.and_then(|()| set.stream.wait()).map_err(|e| self.plan.during(e, part.clone()))?;
        }
        context.check()
    }

    fn launch_timed(&self, set: &mut Set, at: &Addresses, profile: &Profile) -> Result<(), BackendError> {
        let mut marks: Vec<Box<dyn Mark>> = Vec::with_capacity(self.plan.steps.len() + 1);
        let start = profile.now();
        marks.push(set.stream.mark()?);
        for index in 0..self.plan.steps.len() {
            set.launch(&self.plan, at, index)?;
            marks.push(set.stream.mark()?);
        }
        set.stream.wait()?;
        let mut from = Duration::ZERO;
        for (step, marks) in self.plan.steps.iter().zip(marks.windows(2)) {
            let duration = marks[1].since(&*marks[0])?;
            let placement = &self.plan.placement[step.node];
            profile.record(Span {
                node: placement.node.clone(),
                op: placement.op.clone(),
                kernel: placement.kernel.clone(),
                start: start + from,
                duration,
                flops: step.flops,
                bytes: step.bytes,
                shape: step.shape.clone(),
            });
            from += duration;
        }
        Ok(())
    }

    fn finish(
        &self,
        set: &Set,
        output: &Output,
        destination: Destination<'_>,
        outside: &Outside,
    ) -> Result<Option<Resident>, BackendError> {
        if let (Destination::Stay, Some(memory)) = (&destination, &outside[output.place]) {
            return Ok(Some(Resident::Device(Arc::new(CudaTensor {
                driver: Arc::clone(&self.shared.driver),
                device: self.shared.info.id.clone(),
                memory: Arc::clone(memory),
                dtype: output.dtype,
                shape: output.shape.clone(),
            }))));
        }
        let arrived = set.arrived(output.place, output.bytes());
        if let Destination::Caller(memory) = destination {
            let (expected, got) = (arrived.len(), memory.len());
            if expected != got {
                return Err(BackendError::Device(format!(
                    "an output of {expected} bytes got memory of {got}"
                )));
            }
            memory.copy_from_slice(arrived);
            return Ok(None);
        }
        let refused = |error: TensorError| BackendError::Device(error.to_string());
        let elements = AlignedBytes::copy_of(arrived).map_err(refused)?;
        let tensor = Tensor::from_aligned(output.dtype, output.shape.clone(), elements).map_err(refused)?;
        Ok(Some(Resident::Host(tensor)))
    }
}

impl Executable for CudaExecutable {
    fn run(
        &self,
        inputs: &[Resident],
        destinations: Vec<Destination<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Option<Resident>>, BackendError> {
        context.check()?;
        let idle = self.idle().pop();
        let mut set = match idle {
            Some(set) => set,
            None => Set::new(&self.shared.driver, &self.plan)?,
        };
        let result = self.run_in(&mut set, inputs, destinations, context);
        // What failed may have left work on its way, which uses the set's memory.
        if result.is_ok() || set.stream.wait().is_ok() {
            let mut idle = self.idle();
            if idle.len() < KEPT_SETS {
                idle.push(set);
            }
        }
        result.map_err(|error| self.plan.during(error, 0..self.plan.steps.len()))
    }

    fn workspace_bytes(&self) -> usize {
        self.plan.arena.bytes
    }

    fn placement(&self) -> &[NodePlacement] {
        &self.plan.placement
    }
}
