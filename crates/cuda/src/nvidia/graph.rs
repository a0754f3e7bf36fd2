//! Recorded work, and moments to measure from.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::{self, CUevent, CUgraph, CUgraphExec, CUstream};
use inferrum_backend::BackendError;

use super::api;
use super::gpu::{Gpu, Retired};
use crate::driver::{Graph, Mark};

/// Work that was recorded, ready to be done any number of times.
pub(crate) struct Recorded {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) handle: CUgraphExec,
    /// The kernels that it runs.
    _kernels: Vec<Arc<dyn Any + Send + Sync>>,
}

// SAFETY: the driver takes a graph on any thread; of several launches of one graph, each waits for the one before.
unsafe impl Send for Recorded {}
// SAFETY: as above.
unsafe impl Sync for Recorded {}

impl Recorded {
    /// What a stream has recorded, which is used up.
    ///
    /// # Errors
    /// The driver refuses.
    pub(crate) fn new(
        gpu: &Arc<Gpu>,
        graph: CUgraph,
        kernels: Vec<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Recorded, BackendError> {
        let mut handle: CUgraphExec = std::ptr::null_mut();
        // SAFETY: the graph was recorded; it is not needed any more once the driver has made it ready to run.
        let (made, destroyed) = unsafe {
            (sys::cuGraphInstantiateWithFlags(&raw mut handle, graph, 0), sys::cuGraphDestroy(graph))
        };
        gpu.context.check("cuGraphInstantiate", made)?;
        let recorded = Recorded { gpu: Arc::clone(gpu), handle, _kernels: kernels };
        gpu.context.check("cuGraphDestroy", destroyed)?;
        Ok(recorded)
    }
}

impl Graph for Recorded {}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.gpu.retire(Retired::Graph(self.handle));
    }
}

/// A moment in a stream.
pub(crate) struct Moment {
    gpu: Arc<Gpu>,
    event: CUevent,
}

// SAFETY: the driver takes an event on any thread.
unsafe impl Send for Moment {}

impl Moment {
    /// The moment when all is done that was given to the stream so far. The context is current.
    ///
    /// # Errors
    /// The device has failed.
    pub(crate) fn new(gpu: &Arc<Gpu>, stream: CUstream) -> Result<Moment, BackendError> {
        let mut event: CUevent = std::ptr::null_mut();
        // SAFETY: the context is current; 0 is an event with a time.
        gpu.context.check("cuEventCreate", unsafe { sys::cuEventCreate(&raw mut event, 0) })?;
        let moment = Moment { gpu: Arc::clone(gpu), event };
        // SAFETY: event and stream are alive, and of the same context.
        gpu.context.check("cuEventRecord", unsafe { sys::cuEventRecord(event, stream) })?;
        Ok(moment)
    }
}

impl Mark for Moment {
    fn since(&self, earlier: &dyn Mark) -> Result<Duration, BackendError> {
        let earlier: &dyn Any = earlier;
        let earlier = earlier.downcast_ref::<Moment>().filter(|it| Arc::ptr_eq(&it.gpu, &self.gpu));
        let Some(earlier) = earlier else {
            return Err(BackendError::Device("the marks are of different devices".into()));
        };
        self.gpu.context.enter()?;
        let mut milliseconds = 0.0_f32;
        // SAFETY: both events are alive, and were recorded in the same context.
        let told = unsafe { api::elapsed(&raw mut milliseconds, earlier.event, self.event) };
        told.map_err(|failure| self.gpu.context.error(&failure))?;
        Ok(Duration::try_from_secs_f64(f64::from(milliseconds) / 1000.0).unwrap_or_default())
    }
}

impl Drop for Moment {
    fn drop(&mut self) {
        if self.gpu.context.enter().is_ok() {
            // SAFETY: it was created, and nothing names it any more; the driver keeps what is still to be recorded.
            let code = unsafe { sys::cuEventDestroy_v2(self.event) };
            if let Err(error) = self.gpu.context.check("cuEventDestroy", code) {
                log::debug!("{error}");
            }
        }
    }
}
