//! A stretch of a program with every shape known.

use std::sync::{Arc, Mutex};

use inferrum_backend::Executable;
use inferrum_graph::{Fact, NodeId, ValueId};
use lru::LruCache;

use super::signature::Signature;
use crate::Error;

/// Steps to run, and what comes after.
pub(crate) struct Stage {
    pub(crate) steps: Vec<Step>,
    /// What is known of each value when the stage has run.
    pub(crate) facts: Vec<Fact>,
    /// Which values the device computes, by [`ValueId::index`].
    pub(crate) on_device: Vec<bool>,
    /// Which values came from the device to the host, or follow there from such.
    pub(crate) returned: Vec<bool>,
    /// Values of the host that several regions of the device take, so that they go there once.
    pub(crate) shared: Vec<ValueId>,
    pub(crate) end: End,
}

/// Values that the host has and several of these steps take on the device.
pub(crate) fn shared(steps: &[Step], on_device: &[bool]) -> Vec<ValueId> {
    let mut taken: Vec<ValueId> = Vec::new();
    for step in steps {
        if let Step::Region { place: Place::Device, inputs, .. } = step {
            taken.extend(inputs.iter().filter(|id| !on_device[id.index()]));
        }
    }
    taken.sort_unstable_by_key(|id| id.index());
    let mut shared: Vec<ValueId> =
        taken.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    shared.dedup();
    shared
}

/// Which backend runs a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The session's device.
    Device,
    /// The processor, for what the device declines.
    Host,
}

/// A step of a stage.
pub(crate) enum Step {
    /// Nodes that one backend runs as one.
    Region {
        executable: Arc<dyn Executable>,
        /// Whether it is the session's device, or the processor beside it.
        place: Place,
        nodes: Vec<NodeId>,
        inputs: Vec<ValueId>,
        outputs: Vec<ValueId>,
    },
    /// A node on values that no backend holds (strings, sequences), or whose output shapes depend on elements: by its
    /// reference.
    Host(NodeId),
    /// A node that runs bodies.
    Control(NodeId),
}

/// What comes after the steps of a stage.
pub(crate) enum End {
    /// The graph's outputs are there.
    Finish,
    /// The next stage begins at node `at`, selected by the shapes of `observe` and the elements of `read`.
    Continue { at: usize, observe: Vec<ValueId>, read: Vec<ValueId>, next: Stages },
}

/// The stages bound for one point of a program; the least recently used one goes first.
pub(crate) type Stages = Mutex<LruCache<Signature, Arc<Stage>>>;

/// The stage of a signature, bound now if it is not there.
pub(crate) fn get_or_bind(
    stages: &Stages,
    signature: Signature,
    bind: impl FnOnce() -> Result<Stage, Error>,
) -> Result<Arc<Stage>, Error> {
    let lock = || stages.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(stage) = lock().get(&signature) {
        return Ok(Arc::clone(stage));
    }
    // Bound outside the lock: runs with other shapes go on; of two equal binds the later result stays.
    let stage = Arc::new(bind()?);
    lock().put(signature, Arc::clone(&stage));
    Ok(stage)
}
