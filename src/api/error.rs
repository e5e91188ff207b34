//! Every way in which a call can fail, and the one table from failure to status and text.
//!
//! Consul's split (`http-api.md` 1.2): what the HTTP layer cannot read and what breaks a rule on the agent is 400, what the
//! server side refuses is 500. Texts that clients match are kept byte for byte; section 1.2 of the reference lists them.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{ConfigureError, IssueError, PlanError, TrialError};
use crate::codec::Decoded;
use crate::model::{
    CheckId, Datacenter, EntryKey, EntryKind, FilterError, MAX_OPERATIONS, NodeName, Problem, Problems, ServiceId,
};
use crate::store::{Index, PastError, SnapshotError, StoreError};

/// Which decoder refused a body; Consul's texts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoder {
    /// Registrations and reports.
    Strict,
    /// Config entries.
    Entry,
}

impl Decoder {
    /// The value of a body. A body that cannot be decoded is told the rules that the rest breaks too, so that whoever sent
    /// it learns everything at once; a whole one is judged by the caller, with a status of its own.
    pub(super) fn accept<T>(self, body: Decoded<'_, T>, rules: impl FnOnce(&T) -> Problems) -> Result<T, ApiError> {
        body.whole_or_judged(rules).map_err(|problems| ApiError::Undecodable { decoder: self, problems })
    }
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the query string cannot be read: {0:?} is not percent-encoded text")]
    UnreadableQuery(String),
    #[error("the endpoint is blocked by the configuration of the agent (http_config.block_endpoints)")]
    Blocked,
    #[error("access is restricted: nothing may be changed from this address (http_config.allow_write_http_from)")]
    NoWriter,
    #[error("the path holds characters that cannot be printed")]
    UnprintablePath,
    #[error("the name in the path is not percent-encoded UTF-8")]
    UnreadablePath,
    #[error("Invalid index")]
    InvalidIndex,
    #[error("Invalid wait time")]
    InvalidWait,
    #[error("Invalid value {value:?} for {name}: {expected}")]
    InvalidParameter { name: &'static str, value: String, expected: &'static str },
    #[error("{0} and {1} cannot be given together")]
    ExclusiveParameters(&'static str, &'static str),
    #[error("peer-name and sameness-group are mutually exclusive")]
    PeerAndSamenessGroup,
    #[error("{name} is {query:?} in the query and {body:?} in the body: give one, or the same")]
    TenancyConflict { name: &'static str, query: String, body: String },
    #[error("Missing {0}")]
    Missing(&'static str),
    #[error("No path to datacenter: {datacenter:?} is not hosted here, but {} is", hosted.join(", "))]
    UnknownDatacenter { datacenter: Datacenter, hosted: Vec<String> },
    #[error("exported-services of another datacenter can only be written there: leave dc out or name the primary, {0}")]
    NotPrimary(Datacenter),
    #[error("Request body too large, max size: {0} bytes")]
    BodyTooLarge(usize),
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    #[error("the request body cannot be read")]
    BodyBroken(#[source] axum::Error),
    #[error("{}{problems}", match decoder { Decoder::Strict => "Request decode failed: ", Decoder::Entry => "Request decoding failed: " })]
    Undecodable { decoder: Decoder, problems: Problems },
    #[error("{}", agent_text(.0))]
    InvalidRegistration(Problems),
    #[error("{0}")]
    Refused(Problems),
    #[error("Scripts are disabled on this agent: check {0:?} cannot run one")]
    ScriptsDisabled(CheckId),
    #[error("Unknown service ID {0:?}: make sure that the ID is passed, not the name")]
    NoServiceToChange(ServiceId),
    #[error(
        "ServiceID {0:?} does not exist: register the service first, or leave ServiceID out for a check of the node"
    )]
    NoServiceToCheck(ServiceId),
    #[error("unknown service ID: {0}")]
    UnknownService(ServiceId),
    #[error("Unknown check ID {0:?}: make sure that the ID is passed, not the name")]
    UnknownCheck(CheckId),
    #[error("CheckID {0:?} does not have associated TTL")]
    NoTtl(CheckId),
    #[error("Config entry not found for \"{kind}\" / {name:?}")]
    EntryNotFound { kind: EntryKind, name: String },
    #[error("Node not found: {0:?}")]
    NodeNotFound(NodeName),
    #[error(
        "Failed to join {0}: this agent stands alone, and keeps its members by no gossip; only itself can be joined"
    )]
    NotJoined(String),
    #[error("agent: No node found with name {0:?}")]
    NoSuchMember(String),
    #[error("{0}")]
    NotThere(String),
    #[error("{0}")]
    Unclear(String),
    #[error("Intention not found")]
    IntentionNotFound,
    #[error("{kind} not found: {name:?}")]
    TenantNotFound { kind: &'static str, name: String },
    #[error("Name is {body:?} in the body and {path:?} in the path: give one, or the same")]
    OtherName { path: String, body: String },
    #[error("State is kept by the provider and cannot be set: leave it out")]
    CaState,
    #[error("{0:?} is not a UUID")]
    NotAUuid(String),
    #[error(
        "{uri:?} is no identity of a service: expected spiffe://trust-domain/ns/namespace/dc/datacenter/svc/service"
    )]
    NotAService { uri: String },
    #[error("invalid config entry kind: {0}")]
    UnknownKind(String),
    #[error("a config entry is named by a kind and a name")]
    UnnamedEntry,
    #[error("filtering is only supported for service-defaults, not for {0}")]
    FilterNotSupported(EntryKind),
    #[error("{0}")]
    Past(#[from] PastError),
    #[error("there is no commit {0} in the history: it is forgotten, changed nothing, or has not happened")]
    NoCommit(Index),
    #[error(
        "there is no proxy {0:?}: none is registered or connected, give its ID, node/ID or datacenter/partition/node/ID"
    )]
    NoProxy(String),
    #[error("there are several proxies {name:?}: name the node too, as in {found}")]
    SeveralProxies { name: String, found: String },
    #[error("nothing was made for the proxy {0:?}: it is not connected, or waits for its registration or certificate")]
    NotConfigured(String),
    #[error("{0} was changed in the meantime: look at it again")]
    ChangedMeanwhile(EntryKey),
    #[error("invalid cas {0:?}: expected the ModifyIndex of the entry")]
    InvalidCas(String),
    #[error("Failed to create boolean expression evaluator: {0}")]
    Filter(#[from] FilterError),
    #[error("ACL support disabled")]
    AclDisabled,
    #[error("peering is disabled")]
    PeeringDisabled,
    #[error("the discovery chain could not be compiled: {0}")]
    Chain(String),
    #[error("Unknown log level: {0}: use trace, debug, info, warn or error")]
    UnknownLogLevel(String),
    #[error("the files were not taken over, and everything stays as it was: {0}")]
    Reload(String),
    #[error("Prometheus metrics are off: set telemetry.prometheus_retention_time to more than 0")]
    PrometheusOff,
    #[error("the facts about this machine cannot be read")]
    Host(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{}", with_cause(.0))]
    Snapshot(#[from] SnapshotError),
    #[error("the snapshot cannot be made")]
    Archive(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("Transaction contains too many operations ({0} > {MAX_OPERATIONS})")]
    TooManyOperations(usize),
    #[error("{0}")]
    Plan(#[source] PlanError),
    #[error("{0}")]
    Trial(#[source] TrialError),
    #[error("the bundle cannot be written")]
    Bundle(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    CaConfig(#[from] ConfigureError),
    #[error("{0}")]
    Certificate(#[from] IssueError),
    #[error("{0}")]
    RootGiven(Problems),
    #[error(
        "the root of commit {revision} is not everywhere: {missing}. Leaves of yet another root would not be verified there: \
         look at it with `meshgate wait -revision {revision}`, or use force"
    )]
    RootOnItsWay { revision: Index, missing: String },
    #[error("the certificate was not issued in time: try again")]
    CertificateTimeout,
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl ApiError {
    fn status(&self) -> StatusCode {
        use ApiError as E;
        match self {
            E::InvalidIndex
            | E::InvalidWait
            | E::UnprintablePath
            | E::UnreadablePath
            | E::InvalidParameter { .. }
            | E::ExclusiveParameters(..)
            | E::PeerAndSamenessGroup
            | E::TenancyConflict { .. }
            | E::Missing(_)
            | E::BodyBroken(_)
            | E::UnknownLogLevel(_)
            | E::Undecodable { .. }
            | E::InvalidRegistration(_)
            | E::NotAUuid(_)
            | E::OtherName { .. }
            | E::Unclear(_)
            | E::CaState
            | E::SeveralProxies { .. }
            | E::NotAService { .. }
            | E::Certificate(IssueError::Identity(_)) => StatusCode::BAD_REQUEST,
            E::AclDisabled => StatusCode::UNAUTHORIZED,
            E::Blocked | E::NoWriter => StatusCode::FORBIDDEN,
            E::NoServiceToChange(_)
            | E::NoServiceToCheck(_)
            | E::UnknownService(_)
            | E::UnknownCheck(_)
            | E::EntryNotFound { .. }
            | E::NodeNotFound(_)
            | E::IntentionNotFound
            | E::NotThere(_)
            | E::TenantNotFound { .. }
            | E::UnnamedEntry
            | E::Past(_)
            | E::NoCommit(_)
            | E::NoProxy(_)
            | E::NotConfigured(_) => StatusCode::NOT_FOUND,
            E::ChangedMeanwhile(_)
            | E::RootGiven(_)
            | E::RootOnItsWay { .. }
            | E::Trial(TrialError::Refused(_) | TrialError::Halted(_)) => StatusCode::CONFLICT,
            E::PrometheusOff => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            E::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            E::BodyTooLarge(_) | E::TooManyOperations(_) => StatusCode::PAYLOAD_TOO_LARGE,
            E::Certificate(IssueError::Unavailable(_))
            | E::CertificateTimeout
            | E::Plan(PlanError::NoEngine)
            | E::Trial(TrialError::Plan(PlanError::NoEngine))
            | E::Store(StoreError::Closed) => StatusCode::SERVICE_UNAVAILABLE,
            E::UnreadableQuery(_)
            | E::UnknownDatacenter { .. }
            | E::NotPrimary(_)
            | E::Refused(_)
            | E::ScriptsDisabled(_)
            | E::NoTtl(_)
            | E::UnknownKind(_)
            | E::FilterNotSupported(_)
            | E::InvalidCas(_)
            | E::Filter(_)
            | E::PeeringDisabled
            | E::Chain(_)
            | E::NotJoined(_)
            | E::NoSuchMember(_)
            | E::Bundle(_)
            | E::Plan(PlanError::Failed(_))
            | E::Trial(TrialError::Plan(PlanError::Failed(_)))
            | E::Host(_)
            | E::Snapshot(_)
            | E::Archive(_)
            | E::Reload(_)
            | E::CaConfig(_)
            | E::Certificate(IssueError::Failed(_))
            | E::Store(
                StoreError::Rejected(_)
                | StoreError::Backend(_)
                | StoreError::Open { .. }
                | StoreError::InUse { .. }
                | StoreError::Format { .. }
                | StoreError::Damaged { .. }
                | StoreError::Rows(_)
                | StoreError::Panicked,
            ) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The cause, if the process itself failed; everything else is the caller's business.
    fn fault(&self) -> Option<&dyn std::error::Error> {
        if let Self::Store(cause) = self {
            return (!matches!(cause, StoreError::Rejected(_))).then_some(cause);
        }
        if let Self::Certificate(cause) = self {
            return (!matches!(cause, IssueError::Identity(_))).then_some(cause);
        }
        matches!(
            self,
            Self::CaConfig(ConfigureError::Failed(_))
                | Self::CertificateTimeout
                | Self::Bundle(_)
                | Self::Plan(_)
                | Self::Trial(TrialError::Plan(_))
                | Self::Host(_)
                | Self::Archive(_)
        )
        .then_some(self)
    }

    /// The log says what the answer does not: the cause of a fault.
    fn log(&self) {
        match self.fault() {
            Some(cause) => tracing::error!(error = %self, ?cause, "a call failed"),
            None => tracing::debug!(error = %self, "a call is refused"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let mut response = text(self.status(), self.to_string());
        if matches!(self, Self::PrometheusOff)
            && let Ok(reason) = HeaderValue::try_from(self.to_string())
        {
            response.headers_mut().insert(HeaderName::from_static("x-consul-reason"), reason);
        }
        response
    }
}

/// An answer in plain text, as every error is.
pub(super) fn text(status: StatusCode, message: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(message.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// What is wrong with a snapshot, to the last detail: it came from outside.
fn with_cause(error: &SnapshotError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// The text for a registration that breaks rules. Rules whose message clients know by its first words stand at the start
/// of the answer when they are alone; all others follow a headline.
fn agent_text(problems: &Problems) -> String {
    match problems.0.as_slice() {
        [Problem { message, path, .. }] if message.starts_with("Missing ") || message.starts_with("Invalid ") => {
            if path.contains(['.', '[']) { format!("{message} (at {path})") } else { message.clone() }
        }
        _ => format!("Validation failed: {problems}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_first_words_stand_first() {
        for (problem, expected) in [
            (Problem::rule("Name", "Missing service name"), "Missing service name"),
            (Problem::rule("Meta.a b", "Invalid Service Meta: bad key"), "Invalid Service Meta: bad key (at Meta.a b)"),
            (Problem::rule("Port", "Port must be set"), "Validation failed: Port: Port must be set"),
        ] {
            assert_eq!(agent_text(&problem.into()), expected);
        }
    }

    #[test]
    fn a_failure_of_the_disk_says_no_more_than_it_must() {
        let error = ApiError::Store(StoreError::Backend("/secret/path: disk full".into()));

        assert_eq!(
            (error.status().as_u16(), error.to_string().as_str()),
            (
                500,
                "the data directory cannot be written; nothing was changed. Make room on the disk, or mend it: the \
                 agent takes writes again as soon as it can write all of its state anew"
            )
        );
    }
}
