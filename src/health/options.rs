//! What the runner is started with.

use std::collections::BTreeSet;

use crate::model::{CHECK_OUTPUT_MAX_SIZE, Datacenter, NodeName, Place};
use crate::store::{CheckKey, NodeKey, View};

/// Settings of the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The agent's node: checks on it are run, those on other nodes are run by somebody else.
    pub node: NodeName,
    /// The datacenters that this process hosts. Others may have a node of the same name.
    pub datacenters: BTreeSet<Datacenter>,
    /// Most checks that run at one moment; the others wait. Each holds a socket.
    pub concurrency: usize,
    /// Most bytes of output that are kept of a run, unless the check asks for fewer.
    pub output_max_size: usize,
}

impl Options {
    /// The checks of a node in these datacenters, at most 256 at one moment, with 4096 bytes of output.
    pub fn new(node: NodeName, datacenters: impl IntoIterator<Item = Datacenter>) -> Self {
        Self {
            node,
            datacenters: datacenters.into_iter().collect(),
            concurrency: 256,
            output_max_size: CHECK_OUTPUT_MAX_SIZE,
        }
    }

    /// True if this process runs the checks of a node.
    pub(super) fn is_own(&self, node: &NodeKey) -> bool {
        node.node == self.node && self.datacenters.contains(&node.place.datacenter)
    }

    /// The nodes whose checks this process runs, one for each place that is known.
    pub(super) fn nodes(&self, view: &View) -> Vec<NodeKey> {
        let places = self.datacenters.iter().flat_map(|datacenter| {
            view.partitions(datacenter).into_iter().map(|partition| Place::new(datacenter, &partition))
        });
        places.map(|place| NodeKey::new(&place, &self.node)).collect()
    }

    /// True if this process runs a check.
    pub(super) fn runs(&self, check: &CheckKey) -> bool {
        self.is_own(&check.node)
    }
}
