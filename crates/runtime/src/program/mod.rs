//! A graph that is ready to run with any input shapes.
//!
//! The shapes of a run's inputs select a *stage*: one forward pass resolved every shape and every small integer, and
//! the nodes became regions of the backend. Where a shape depends on elements that only a run knows (`NonZero`, or
//! `Reshape` by a computed shape), the stage ends, the run reads what it needs, and that selects the next stage. Stages
//! are kept, so a later run with the same shapes only replays them.

mod bind;
mod control;
mod delivery;
mod held;
mod plan;
mod run;
mod signature;
mod stage;
mod transfers;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use inferrum_backend::{Backend, NodePlacement, Placement, RunContext, Transfers};
use inferrum_graph::{Fact, Graph, NodeId};
use inferrum_tensor::AllocationLimit;
use lru::LruCache;

use crate::Error;
use crate::inputs::Input;
pub(crate) use delivery::{Delivered, Delivery};
pub use plan::{Plan, PlannedBody, PlannedNode};
use signature::Signature;
use stage::{Place, Stage, Stages};

/// A graph with its backend, and the stages bound so far.
pub(crate) struct Program {
    graph: Arc<Graph>,
    devices: Devices,
    /// The nodes that take each value.
    consumers: Vec<Vec<NodeId>>,
    /// The node that gives each value.
    producers: Vec<Option<NodeId>>,
    /// Whether a node of another program calls this one.
    is_body: bool,
    /// Programs of the bodies of control-flow nodes.
    bodies: HashMap<NodeId, Vec<Program>>,
    first: Stages,
    limit: usize,
    placement: Mutex<HashMap<NodeId, NodePlacement>>,
    /// What crosses in each stage bound so far, by its first node.
    transfers: Mutex<BTreeMap<usize, Transfers>>,
}

/// The backends of a program.
#[derive(Clone)]
pub(crate) struct Devices {
    pub(crate) backend: Arc<dyn Backend>,
    /// The processor, for what the backend declines; None if it is the backend.
    pub(crate) host: Option<Arc<dyn Backend>>,
    /// Whether nothing may be declined.
    pub(crate) strict: bool,
}

impl Devices {
    fn at(&self, place: Place) -> &Arc<dyn Backend> {
        match (place, &self.host) {
            (Place::Host, Some(host)) => host,
            _ => &self.backend,
        }
    }
}

/// Stages kept for one point of a program.
const STAGES_KEPT: NonZeroUsize = NonZeroUsize::new(16).unwrap();

fn stages() -> Stages {
    Mutex::new(LruCache::new(STAGES_KEPT))
}

impl Program {
    /// A program of `graph`, which may take `limit` bytes of memory.
    pub(crate) fn new(graph: Graph, devices: Devices, limit: usize) -> Program {
        let bodies = graph
            .nodes()
            .iter()
            .enumerate()
            .filter_map(|(index, node)| {
                let bodies = node.op.control()?.bodies();
                let program = |body: &Arc<Graph>| Program {
                    is_body: true,
                    ..Program::new(Graph::clone(body), devices.clone(), limit)
                };
                Some((NodeId(index), bodies.into_iter().map(program).collect()))
            })
            .collect();
        let (consumers, producers) = (graph.consumers(), graph.producers());
        Program {
            graph: Arc::new(graph),
            devices,
            consumers,
            producers,
            is_body: false,
            bodies,
            first: stages(),
            limit,
            placement: Mutex::default(),
            transfers: Mutex::default(),
        }
    }

    /// The graph.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Binds the first stage if the graph itself says every input's shape, so that the first run finds it made.
    ///
    /// # Errors
    /// A node refuses its inputs, or memory runs out.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let facts: Vec<&Fact> = self.graph.inputs.iter().map(|&id| self.graph.fact(id)).collect();
        if facts.iter().all(|fact| fact.concrete_shape().is_some()) {
            let signature = Signature::of_facts(&facts);
            self.first_stage(signature, || facts.into_iter().cloned().collect())?;
        }
        Ok(())
    }

    fn first_stage(
        &self,
        signature: Signature,
        inputs: impl FnOnce() -> Vec<Fact>,
    ) -> Result<Arc<Stage>, Error> {
        stage::get_or_bind(&self.first, signature, || {
            let mut facts: Vec<Fact> = self.graph.values().iter().map(|value| value.fact.clone()).collect();
            for (&id, fact) in self.graph.inputs.iter().zip(inputs()) {
                facts[id.index()] = fact;
            }
            let none = vec![false; facts.len()];
            bind::bind(self, bind::Known { facts, on_device: none.clone(), returned: none }, 0)
        })
    }

    /// The outputs for inputs in the order of the graph's, which have been checked. `deliveries` says how each output is
    /// wanted; those beyond its end are wanted as values.
    ///
    /// # Errors
    /// A node fails, memory runs out, a buffer of the caller's does not fit, or the run is stopped.
    pub(crate) fn run(
        &self,
        inputs: Vec<Input>,
        deliveries: Vec<Delivery<'_>>,
        context: &RunContext<'_>,
    ) -> Result<Vec<Delivered>, Error> {
        let _limit = AllocationLimit::new(self.limit);
        run::run(self, inputs, deliveries, context)
    }

    /// What a run with inputs like `inputs`, which are concrete, will do.
    ///
    /// # Errors
    /// A node refuses its inputs, or memory runs out.
    pub(crate) fn plan(&self, inputs: &[Fact]) -> Result<Plan, Error> {
        let _limit = AllocationLimit::new(self.limit);
        plan::plan(self, inputs)
    }

    /// Where each node bound so far runs, in order, bodies after their node; and what crosses.
    pub(crate) fn placement(&self) -> Placement {
        let placed = self.placement.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let stages = self.transfers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let mut nodes = Vec::with_capacity(placed.len());
        let mut transfers: Vec<_> = stages.into_values().flat_map(|transfers| transfers.0).collect();
        for index in (0..self.graph.nodes().len()).map(NodeId) {
            nodes.extend(placed.get(&index).cloned());
            for body in self.bodies.get(&index).into_iter().flatten().map(Program::placement) {
                nodes.extend(body.nodes);
                transfers.extend(body.transfers.0);
            }
        }
        Placement { nodes, transfers: Transfers(transfers) }
    }

    fn noted(&self, node: NodeId) -> Option<NodePlacement> {
        self.placement.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&node).cloned()
    }

    fn note(&self, node: NodeId, placement: NodePlacement) {
        self.placement.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(node, placement);
    }

    /// Notes what crosses in the stage that begins at node `start`; what is known of later ones was of other shapes.
    fn note_transfers(&self, start: usize, transfers: Transfers) {
        let mut stages = self.transfers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stages.split_off(&start);
        stages.insert(start, transfers);
    }
}
