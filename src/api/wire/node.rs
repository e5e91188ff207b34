//! Nodes.

use serde::{Serialize, Serializer};

use crate::model::Node;
use crate::store::{Index, Stored};

/// A node with the commits that made and changed it.
#[derive(Debug, Clone)]
pub(in crate::api) struct CatalogNode(pub(in crate::api) Stored<Node>);

impl Serialize for CatalogNode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Row<'a> {
            #[serde(flatten)]
            node: &'a Node,
            create_index: Index,
            modify_index: Index,
        }
        let Stored { value, create_index, modify_index } = &self.0;
        Row { node: value, create_index: *create_index, modify_index: *modify_index }.serialize(serializer)
    }
}
