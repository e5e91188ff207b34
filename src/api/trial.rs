//! Changes that a few proxies try before they are made: `canary` of `POST /v1/meshgate/apply`.
//!
//! **Invariant.** Nothing is stored before each of those proxies has acknowledged what it was sent, and nothing at all unless
//! they did. Whoever stops waiting for the answer ends the trial.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PlanError;
use super::error::ApiError;
use super::plan::number;
use super::query::Query;
use crate::model::{Datacenter, GoDuration, NodeName, Partition, Problems, ServiceId};
use crate::store::{Index, View};

/// How long a proxy has to take a change that it tries, unless the call says otherwise.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest time of a trial that a call can ask for.
const LONGEST: Duration = Duration::from_secs(300);

/// Most proxies that a call can have try a change: a few of each kind and version tell as much as all.
const MOST: usize = 100;

/// Makes of a state what a change would make of it, or says why it cannot be made.
pub type Candidate = Arc<dyn Fn(&View) -> Result<View, Problems> + Send + Sync>;

/// What is to be tried, and how.
pub struct TrialQuestion {
    /// What it is about, for people.
    pub name: String,
    /// What it makes of a state; asked again for each newer state.
    pub candidate: Candidate,
    /// How it is tried.
    pub terms: TrialTerms,
}

/// How a change is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialTerms {
    /// How many proxies try it at most.
    pub proxies: usize,
    /// How long each has to acknowledge all of it, and to come back if it loses its stream.
    pub patience: Duration,
    /// For how long none may refuse it or stay away after that.
    pub lasting: Duration,
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// There is nobody to ask.
    #[error("{0}")]
    Plan(#[source] PlanError),
    /// It cannot be made.
    #[error("{0}")]
    Refused(Problems),
    /// Nobody tries it, or those that tried it do not have it as it should be. What is to be done is part of the text.
    #[error("{0}")]
    Halted(String),
}

/// A change that some proxies have and that is not made yet. Dropping it takes it away from them.
pub trait Tested: Send {
    /// Those that have it.
    fn proxies(&self) -> Vec<TrialProxy>;

    /// It was made with this commit, or why it was not.
    fn over(self: Box<Self>, made: Result<Index, String>);
}

/// How a change was tried before it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrialReport {
    /// How many proxies were to try it.
    pub asked: usize,
    /// Those that did. None if the change touches no proxy.
    pub proxies: Vec<TrialProxy>,
}

/// A proxy that tried a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrialProxy {
    /// Its datacenter.
    pub datacenter: Datacenter,
    /// Its partition.
    pub partition: Partition,
    /// The node it is registered on.
    pub node: NodeName,
    /// Its service ID.
    #[serde(rename = "ID")]
    pub id: ServiceId,
    /// Its kind, such as `mesh-gateway`.
    pub kind: String,
    /// Envoy's version as its stream says it; empty if it does not.
    pub envoy_version: String,
    /// How many proxies of this kind and version are connected and touched by the change, itself included.
    pub alike: usize,
}

impl TrialTerms {
    /// What a call says about it; `None` if it asks for no trial.
    pub(super) fn of(query: &Query) -> Result<Option<Self>, ApiError> {
        let expected = "expected a number of proxies, at least 1 and at most 100";
        let proxies: Option<usize> = number("canary", query.value("canary"), expected)?;
        let Some(proxies) = proxies else { return Ok(None) };
        if proxies == 0 || proxies > MOST {
            return Err(ApiError::InvalidParameter { name: "canary", value: proxies.to_string(), expected });
        }
        let patience = duration("canary-timeout", query)?.unwrap_or(PATIENCE);
        let lasting = duration("canary-for", query)?.unwrap_or_default();
        if patience + lasting > LONGEST {
            let value = query.value("canary-for").or(query.value("canary-timeout")).unwrap_or_default().to_owned();
            let expected = "expected canary-timeout and canary-for to be no longer than 5m together";
            return Err(ApiError::InvalidParameter { name: "canary-for", value, expected });
        }
        Ok(Some(Self { proxies, patience, lasting }))
    }
}

fn duration(name: &'static str, query: &Query) -> Result<Option<Duration>, ApiError> {
    let Some(text) = query.value(name) else { return Ok(None) };
    let expected = "expected a duration such as 30s";
    let read = text.parse::<GoDuration>().map(|read| read.to_std().min(LONGEST * 2));
    read.map(Some).map_err(|_| ApiError::InvalidParameter { name, value: text.to_owned(), expected })
}
