//! Where each node runs, and why.

use std::fmt;

use crate::Transfers;

/// Where one node runs.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePlacement {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The device's id.
    pub device: String,
    /// The kernel's name, such as `gemm avx512`.
    pub kernel: String,
    /// Why it does not run as asked for, if so.
    pub reason: Option<String>,
    /// Why the host runs it although the device did not decline it, if so.
    pub hosted: Option<&'static str>,
}

/// Where every node of a model runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// The nodes, in order of execution. Nodes that were folded away are absent.
    pub nodes: Vec<NodePlacement>,
    /// What crosses between the host and the device in a run; of a body of control flow, in one call.
    pub transfers: Transfers,
}

impl Placement {
    /// Number of nodes by device and kernel, most frequent first.
    pub fn kernels(&self) -> Vec<(String, String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for node in &self.nodes {
            *counts.entry((node.device.clone(), node.kernel.clone())).or_insert(0usize) += 1;
        }
        let mut rows: Vec<_> =
            counts.into_iter().map(|((device, kernel), count)| (device, kernel, count)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.2));
        rows
    }

    /// The nodes that do not run as asked for.
    pub fn declined(&self) -> impl Iterator<Item = &NodePlacement> {
        self.nodes.iter().filter(|node| node.reason.is_some())
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (device, kernel, count) in self.kernels() {
            writeln!(f, "{count:>6}  {device:<8} {kernel}")?;
        }
        for node in self.declined() {
            writeln!(f, "{} ({}): {}", node.node, node.op, node.reason.as_deref().unwrap_or_default())?;
        }
        if !self.transfers.is_empty() {
            writeln!(f, "{}", self.transfers)?;
        }
        Ok(())
    }
}
