//! What a gateway is made of so far, and what every SNI leads to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{TrustDomain, is_server_name};
use crate::resolve::{LeftOut, Part};

/// A gateway in the making.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) part: Part,
    /// What each SNI leads to, for people.
    taken: BTreeMap<Arc<str>, String>,
}

impl Draft {
    /// Takes an SNI for `what`, which is then known by its spelling in lower case: Envoy reads SNIs so. `None` if it leads
    /// to something else already; `what` goes without it then, and that is reported.
    pub(super) fn take(&mut self, sni: &str, what: impl Into<String>) -> Option<Arc<str>> {
        let (name, what): (Arc<str>, String) = (sni.to_lowercase().into(), what.into());
        if let Some(by) = self.taken.get(&name) {
            let by = by.clone();
            self.part.left_out.push(LeftOut::Sni { what, sni: name.to_string(), by: Some(by) });
            return None;
        }
        self.taken.insert(name.clone(), what);
        Some(name)
    }

    /// The same for an SNI that has a filter chain of its own. Envoy refuses a listener with a name that it cannot match, or
    /// with one twice.
    pub(super) fn take_for_chain(&mut self, sni: &str, what: impl Into<String>) -> Option<Arc<str>> {
        let what = what.into();
        if is_server_name(sni) {
            return self.take(sni, what);
        }
        self.part.left_out.push(LeftOut::Sni { what, sni: sni.to_owned(), by: None });
        None
    }

    /// The same for an SNI that a peer says: nothing in our own trust domain is a peer's.
    pub(super) fn take_from_peer(&mut self, sni: &str, own: &TrustDomain, what: impl Into<String>) -> Option<Arc<str>> {
        let what = what.into();
        if !sni.to_lowercase().ends_with(&format!(".{own}")) {
            return self.take_for_chain(sni, what);
        }
        let by = Some("what is ours, in our own trust domain".to_owned());
        self.part.left_out.push(LeftOut::Sni { what, sni: sni.to_lowercase(), by });
        None
    }
}
