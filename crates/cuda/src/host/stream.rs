//! A queue that does at once what it is given, and recordings.

use std::any::Any;
use std::ffi::c_void;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use inferrum_backend::BackendError;

use super::Shared;
use super::compile::Kernel;
use super::memory::PinnedBytes;
use super::runner::{self, Report};
use crate::driver::{self, Address, Argument, Function, Graph, Launch, Mark, Pinned};
use crate::library::{Operands, Prepared, Product};

pub(super) struct Stream {
    shared: Arc<Shared>,
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>) -> Stream {
        Stream { shared }
    }

    /// Computes a product by its reference.
    fn product(&self, product: &Product, at: &Operands) -> Result<(), String> {
        let mut memory = self.shared.memory();
        let read = |from: Address, bytes: usize| {
            let mut content = vec![0; bytes];
            memory.read(from, &mut content).map(|()| content)
        };
        let [a, b, d] = product.bytes();
        let (a, b) = (read(at.a, a)?, read(at.b, b)?);
        let c = product.added.then(|| read(at.c, d)).transpose()?;
        let bias = product.bias.then(|| read(at.bias, product.n * product.result.bytes())).transpose()?;
        // What lies between the rows stays.
        let mut content = read(at.d, d)?;
        product.reference(&a, &b, c.as_deref(), bias.as_deref(), &mut content);
        memory.write(at.d, &content)
    }

    fn step(&mut self, step: &Step) -> Result<(), BackendError> {
        self.shared.check()?;
        let done = match step {
            Step::Launch { function, grid, block, shared, arguments } => {
                let launch = Launch { function, grid: *grid, block: *block, shared: *shared, arguments };
                return run(&self.shared, &launch);
            }
            Step::Upload { to, from, bytes } => {
                let from = from.upgrade();
                match from.as_deref().and_then(|from| from.first(*bytes)) {
                    Some(from) => self.shared.memory().write(*to, from),
                    None => Err(gone(*bytes)),
                }
            }
            Step::Download { from, to, bytes } => {
                let to = to.upgrade();
                match to.as_deref().and_then(|to| to.first_mut(*bytes)) {
                    Some(to) => self.shared.memory().read(*from, to),
                    None => Err(gone(*bytes)),
                }
            }
            #[cfg(test)]
            Step::Copy { from, to, bytes } => self.shared.memory().copy(*from, *to, *bytes),
            Step::Fill { to, byte, bytes } => self.shared.memory().fill(*to, *byte, *bytes),
            Step::Multiply { product, at } => self.product(product, at),
        };
        done.map_err(|reason| self.shared.fail(reason))
    }
}

fn gone(bytes: usize) -> String {
    format!("a copy of {bytes} bytes from or to page-locked memory that is shorter, or freed")
}

impl driver::Stream for Stream {
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), BackendError> {
        self.shared.check()?;
        run(&self.shared, launch)
    }

    fn upload(&mut self, to: Address, from: &dyn Pinned, bytes: usize) -> Result<(), BackendError> {
        self.shared.check()?;
        let from = from.bytes().get(..bytes).ok_or_else(|| BackendError::Device(gone(bytes)))?;
        self.shared.memory().write(to, from).map_err(|reason| self.shared.fail(reason))
    }

    fn download(&mut self, from: Address, to: &mut dyn Pinned, bytes: usize) -> Result<(), BackendError> {
        self.shared.check()?;
        let to = to.bytes_mut().get_mut(..bytes).ok_or_else(|| BackendError::Device(gone(bytes)))?;
        self.shared.memory().read(from, to).map_err(|reason| self.shared.fail(reason))
    }

    fn multiply(&mut self, product: &Arc<dyn Prepared>, at: &Operands) -> Result<(), BackendError> {
        self.step(&Step::Multiply { product: reference(product)?, at: *at })
    }

    #[cfg(test)]
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), BackendError> {
        self.step(&Step::Copy { from, to, bytes })
    }

    fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<(), BackendError> {
        self.step(&Step::Fill { to, byte, bytes })
    }

    fn capture(
        &mut self,
        record: &mut dyn FnMut(&mut dyn driver::Stream) -> Result<(), BackendError>,
    ) -> Result<Box<dyn Graph>, BackendError> {
        self.shared.check()?;
        let mut recorder = Recorder { shared: Arc::clone(&self.shared), steps: Vec::new() };
        record(&mut recorder)?;
        Ok(Box::new(Recording { steps: recorder.steps }))
    }

    fn replay(&mut self, graph: &dyn Graph) -> Result<(), BackendError> {
        let recording = (graph as &dyn Any)
            .downcast_ref::<Recording>()
            .ok_or_else(|| BackendError::Device("a graph of another device is replayed".into()))?;
        recording.steps.iter().try_for_each(|step| self.step(step))
    }

    fn mark(&mut self) -> Result<Box<dyn Mark>, BackendError> {
        self.shared.check()?;
        Ok(Box::new(Moment(Instant::now())))
    }

    fn wait(&mut self) -> Result<(), BackendError> {
        self.shared.check()?;
        let intact = self.shared.memory().all_intact();
        intact.map_err(|reason| self.shared.fail(reason))
    }
}

/// A product as it is.
pub(super) struct Reference(pub(super) Product);

impl Prepared for Reference {
    fn workspace(&self) -> usize {
        // So that the plan's memory for libraries is tried.
        256
    }
}

fn reference(product: &Arc<dyn Prepared>) -> Result<Product, BackendError> {
    let known = (&**product as &dyn Any).downcast_ref::<Reference>();
    known.map(|known| known.0).ok_or_else(|| BackendError::Device("a product of another device".into()))
}

struct Moment(Instant);

impl Mark for Moment {
    fn since(&self, earlier: &dyn Mark) -> Result<Duration, BackendError> {
        let earlier = (earlier as &dyn Any)
            .downcast_ref::<Moment>()
            .ok_or_else(|| BackendError::Device("a mark of another device".into()))?;
        Ok(self.0.saturating_duration_since(earlier.0))
    }
}

/// A piece of recorded work.
enum Step {
    Launch {
        function: Function,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: Vec<Argument>,
    },
    Upload {
        to: Address,
        from: Weak<PinnedBytes>,
        bytes: usize,
    },
    Download {
        from: Address,
        to: Weak<PinnedBytes>,
        bytes: usize,
    },
    #[cfg(test)]
    Copy {
        from: Address,
        to: Address,
        bytes: usize,
    },
    Fill {
        to: Address,
        byte: u8,
        bytes: usize,
    },
    Multiply {
        product: Product,
        at: Operands,
    },
}

struct Recording {
    steps: Vec<Step>,
}

impl Graph for Recording {}

/// A stream that only remembers.
struct Recorder {
    shared: Arc<Shared>,
    steps: Vec<Step>,
}

impl Recorder {
    fn pinned(&self, pinned: &dyn Pinned, bytes: usize) -> Result<Weak<PinnedBytes>, BackendError> {
        let found = self.shared.pinned.find(pinned).filter(|_| bytes <= pinned.bytes().len());
        found.ok_or_else(|| BackendError::Device(gone(bytes)))
    }
}

fn unrecordable(what: &str) -> BackendError {
    BackendError::Device(format!("{what} while work is recorded"))
}

impl driver::Stream for Recorder {
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), BackendError> {
        kernel(launch)?;
        self.steps.push(Step::Launch {
            function: launch.function.clone(),
            grid: launch.grid,
            block: launch.block,
            shared: launch.shared,
            arguments: launch.arguments.to_vec(),
        });
        Ok(())
    }

    fn upload(&mut self, to: Address, from: &dyn Pinned, bytes: usize) -> Result<(), BackendError> {
        let from = self.pinned(from, bytes)?;
        self.steps.push(Step::Upload { to, from, bytes });
        Ok(())
    }

    fn download(&mut self, from: Address, to: &mut dyn Pinned, bytes: usize) -> Result<(), BackendError> {
        let to = self.pinned(to, bytes)?;
        self.steps.push(Step::Download { from, to, bytes });
        Ok(())
    }

    fn multiply(&mut self, product: &Arc<dyn Prepared>, at: &Operands) -> Result<(), BackendError> {
        self.steps.push(Step::Multiply { product: reference(product)?, at: *at });
        Ok(())
    }

    #[cfg(test)]
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), BackendError> {
        self.steps.push(Step::Copy { from, to, bytes });
        Ok(())
    }

    fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<(), BackendError> {
        self.steps.push(Step::Fill { to, byte, bytes });
        Ok(())
    }

    fn capture(
        &mut self,
        _record: &mut dyn FnMut(&mut dyn driver::Stream) -> Result<(), BackendError>,
    ) -> Result<Box<dyn Graph>, BackendError> {
        Err(unrecordable("a recording"))
    }

    fn replay(&mut self, _graph: &dyn Graph) -> Result<(), BackendError> {
        Err(unrecordable("a replay"))
    }

    fn mark(&mut self) -> Result<Box<dyn Mark>, BackendError> {
        Err(unrecordable("a mark"))
    }

    fn wait(&mut self) -> Result<(), BackendError> {
        Err(unrecordable("a wait"))
    }
}

/// The kernel of a launch, whose arguments are checked against its parameters.
fn kernel<'a>(launch: &Launch<'a>) -> Result<&'a Kernel, BackendError> {
    let name = launch.function.name;
    let refused = |reason: String| BackendError::Device(format!("a launch of `{name}`: {reason}"));
    let kernel = (&*launch.function.module as &dyn Any)
        .downcast_ref::<Kernel>()
        .ok_or_else(|| refused("it was compiled for another device".into()))?;
    // SAFETY: the table is there as long as the kernel is.
    let module = unsafe { &*kernel.module };
    // SAFETY: the table says how many there are.
    let parameters =
        unsafe { std::slice::from_raw_parts(module.parameters, module.parameter_count as usize) };
    if parameters.len() != launch.arguments.len() {
        let (parameters, arguments) = (parameters.len(), launch.arguments.len());
        return Err(refused(format!("it has {parameters} parameters and is given {arguments} arguments")));
    }
    for (at, (parameter, argument)) in parameters.iter().zip(launch.arguments).enumerate() {
        if parameter.bytes as usize != argument.bytes {
            return Err(refused(format!(
                "its parameter {at} (from 0) is of type `{}` and has {} bytes, the argument has {}",
                parameter.kind(),
                parameter.bytes,
                argument.bytes
            )));
        }
    }
    Ok(kernel)
}

/// Runs a launch.
fn run(shared: &Shared, launch: &Launch<'_>) -> Result<(), BackendError> {
    let kernel = kernel(launch)?;
    let buffers = buffers(shared, launch, kernel)?;
    // At multiples of 16 bytes, as a parameter that is a vector needs it.
    let mut values: Vec<u128> = Vec::new();
    let mut places = Vec::with_capacity(launch.arguments.len());
    for argument in launch.arguments {
        places.push(values.len());
        values.resize(values.len() + argument.bytes.div_ceil(16), 0);
        let value = &mut bytemuck::cast_slice_mut::<u128, u8>(&mut values)[16 * places[places.len() - 1]..];
        value[..argument.bytes].copy_from_slice(argument.bytes());
    }
    let pointers: Vec<*const c_void> =
        places.iter().map(|&place| (&raw const values[place]).cast::<c_void>()).collect();
    let raw = runner::Launch {
        module: kernel.module,
        grid: launch.grid,
        block: launch.block,
        shared: launch.shared,
        arguments: pointers.as_ptr(),
    };
    let mut report = Report::new();
    {
        let _alone = kernel.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: the kernel is open and runs nowhere else, its arguments were checked, and they outlive the call.
        unsafe { (shared.runner.launch)(&raw, &mut report) };
    }
    if report.kind != 0 {
        return Err(failed(shared, launch, kernel, &report));
    }
    let memory = shared.memory();
    for buffer in buffers {
        if let Err(reason) = memory.intact(buffer) {
            drop(memory);
            return Err(shared.fail(format!("kernel `{}`: {reason}", launch.function.name)));
        }
    }
    Ok(())
}

/// The buffers that pointers among the arguments are into.
fn buffers(shared: &Shared, launch: &Launch<'_>, kernel: &Kernel) -> Result<Vec<Address>, BackendError> {
    // SAFETY: as in `kernel`, which has counted the arguments.
    let parameters = unsafe {
        std::slice::from_raw_parts((*kernel.module).parameters, (*kernel.module).parameter_count as usize)
    };
    let memory = shared.memory();
    let mut found = Vec::new();
    for (at, (parameter, argument)) in parameters.iter().zip(launch.arguments).enumerate() {
        if parameter.is_pointer == 0 {
            continue;
        }
        let address = argument.bytes().try_into().map_or(0, u64::from_ne_bytes);
        match memory.find(address) {
            Some((start, _)) => found.push(start),
            None if address == 0 => {}
            None => {
                return Err(BackendError::Device(format!(
                    "a launch of `{}`: argument {at} (from 0) is {address:#x}, which is in no buffer",
                    launch.function.name
                )));
            }
        }
    }
    Ok(found)
}

/// The error of a launch that failed.
fn failed(shared: &Shared, launch: &Launch<'_>, kernel: &Kernel, report: &Report) -> BackendError {
    let name = launch.function.name;
    if report.thread[0] == u32::MAX {
        return BackendError::Device(format!("a launch of `{name}`: {}", report.text()));
    }
    let mut reason = format!("kernel `{name}`, thread {:?} of block {:?}: ", report.thread, report.block);
    if report.kind == 2 {
        let access = if report.writes == 0 { "read" } else { "write" };
        let _ = write!(reason, "a {access} at {}", shared.memory().describe(report.address));
    } else {
        reason.push_str(&report.text());
        if let Some(line) = kernel.line(report.line) {
            let _ = write!(reason, " (line {}: `{line}`)", report.line);
        }
    }
    shared.fail(reason)
}
