//! Transactions: reads and writes of the catalog that happen together or not at all (`http-api.md` 2.14).

use super::{Check, Node, NodeName, Service};

/// Most operations of one transaction.
pub const MAX_OPERATIONS: usize = 128;

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It is read, and must be there.
    Get,
    /// It is added or replaced.
    Set,
    /// The same, if it was last changed by the commit that the operation names; 0 means that there is none.
    Cas,
    /// It is removed, if it is there.
    Delete,
    /// It is removed, if it was last changed by the commit that the operation names.
    DeleteCas,
}

impl Verb {
    /// The verb with this name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "get" => Some(Verb::Get),
            "set" => Some(Verb::Set),
            "cas" => Some(Verb::Cas),
            "delete" => Some(Verb::Delete),
            "delete-cas" => Some(Verb::DeleteCas),
            _ => None,
        }
    }

    /// True for a verb that changes nothing.
    pub fn is_read(self) -> bool {
        self == Verb::Get
    }
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub row: OperationRow,
    /// The commit that the row must have been changed by last, for the verbs that compare.
    pub index: u64,
}

/// The row of an operation; those that read or remove need no more of it than what identifies it.
#[derive(Debug, Clone, PartialEq)]
pub enum OperationRow {
    /// A node.
    Node(Box<Node>),
    /// An instance on a node.
    Service(NodeName, Box<Service>),
    /// A check, which says its node.
    Check(Box<Check>),
}
