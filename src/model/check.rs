//! Health checks: how they are defined, and the rows that hold their results.

use std::collections::BTreeMap;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::{
    CheckId, Datacenter, GoDuration, Ignored, Namespace, NodeName, Partition, Place, Problems, ServiceId,
    SocketEndpoint, is_default,
};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// All is well.
    Passing,
    /// Usable, with less weight.
    Warning,
    /// Not usable. What nobody has reported on is critical.
    #[default]
    #[serde(alias = "")]
    Critical,
    /// What a peer says about an instance that it takes out on purpose, while one of our own has a critical check then.
    /// Consul goes on using it all the same (contract 7), so whoever calls it through either side sees one behaviour.
    Maintenance,
}

/// Most bytes of output that an agent keeps of each check unless it is told another number (`check_output_max_size`).
pub const CHECK_OUTPUT_MAX_SIZE: usize = 4096;

/// A check that somebody asks for, nested in a service definition or alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckDefinition {
    /// ID on the node; made from the service or the name when empty.
    #[serde(rename = "CheckID", alias = "ID", skip_serializing_if = "is_default")]
    pub check_id: CheckId,
    /// Name for people.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Free text.
    #[serde(skip_serializing_if = "is_default")]
    pub notes: String,
    /// The service instance it judges; empty for a check of the node.
    #[serde(rename = "ServiceID", skip_serializing_if = "is_default")]
    pub service_id: ServiceId,
    /// Status before the first run.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_status")]
    pub status: Option<CheckStatus>,
    /// Command to run; refused, because scripts are never run.
    #[serde(alias = "Args", skip_serializing_if = "is_default")]
    pub script_args: Vec<String>,
    /// URL to request: 2xx passes, 429 warns, all else is critical.
    #[serde(rename = "HTTP", skip_serializing_if = "is_default")]
    pub http: String,
    /// Method of the request, `GET` when empty.
    #[serde(skip_serializing_if = "is_default")]
    pub method: String,
    /// Header lines of the request.
    #[serde(skip_serializing_if = "is_default")]
    pub header: BTreeMap<String, Vec<String>>,
    /// Body of the request.
    #[serde(skip_serializing_if = "is_default")]
    pub body: String,
    /// Do not follow redirects.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_redirects: bool,
    /// `host:port` to connect to.
    #[serde(rename = "TCP", skip_serializing_if = "is_default")]
    pub tcp: String,
    /// Speak TLS after connecting.
    #[serde(rename = "TCPUseTLS", skip_serializing_if = "is_default")]
    pub tcp_use_tls: bool,
    /// `host:port` to send a datagram to.
    #[serde(rename = "UDP", skip_serializing_if = "is_default")]
    pub udp: String,
    /// `host:port[/service]` that speaks the gRPC health protocol.
    #[serde(rename = "GRPC", skip_serializing_if = "is_default")]
    pub grpc: String,
    /// Speak TLS to it.
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "is_default")]
    pub grpc_use_tls: bool,
    /// `host:port` that answers HTTP/2 pings.
    #[serde(rename = "H2PING", skip_serializing_if = "is_default")]
    pub h2ping: String,
    /// Speak TLS to it; on unless switched off.
    #[serde(rename = "H2PingUseTLS", skip_serializing_if = "Option::is_none")]
    pub h2ping_use_tls: Option<bool>,
    /// Container in which a script would run; refused with scripts.
    #[serde(rename = "DockerContainerID", skip_serializing_if = "is_default")]
    pub docker_container_id: String,
    /// Shell for a script; refused with scripts.
    #[serde(skip_serializing_if = "is_default")]
    pub shell: String,
    /// Service of the operating system; not run.
    #[serde(rename = "OSService", skip_serializing_if = "is_default")]
    pub os_service: String,
    /// How long a reported status holds.
    #[serde(rename = "TTL", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<GoDuration>,
    /// Instance on the same node whose health is mirrored.
    #[serde(skip_serializing_if = "is_default")]
    pub alias_service: ServiceId,
    /// Node whose health is mirrored.
    #[serde(skip_serializing_if = "is_default")]
    pub alias_node: NodeName,
    /// Time between runs; raised to a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Time that one run may take; 10 s when unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Name to verify in a certificate.
    #[serde(rename = "TLSServerName", skip_serializing_if = "is_default")]
    pub tls_server_name: String,
    /// Do not verify certificates.
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_default")]
    pub tls_skip_verify: bool,
    /// Successes in a row before the status passes.
    #[serde(skip_serializing_if = "is_default")]
    pub success_before_passing: u32,
    /// Failures in a row before the status warns.
    #[serde(skip_serializing_if = "is_default")]
    pub failures_before_warning: u32,
    /// Failures in a row before the status is critical.
    #[serde(skip_serializing_if = "is_default")]
    pub failures_before_critical: u32,
    /// How long a service may be critical before it is removed; raised to a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deregister_critical_service_after: Option<GoDuration>,
    /// Most bytes of output that are kept, if that is fewer than the agent keeps.
    #[serde(skip_serializing_if = "is_default")]
    pub output_max_size: i64,
}

mod optional_status {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::CheckStatus;

    #[allow(clippy::ref_option, reason = "the signature that serde's `with` asks for")]
    pub(super) fn serialize<S: Serializer>(status: &Option<CheckStatus>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(status.map_or("", CheckStatus::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CheckStatus>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        CheckStatus::parse(&text).map(Some).ok_or_else(|| {
            D::Error::custom(format_args!(
                "unknown check status {text:?}: expected \"passing\", \"warning\" or \"critical\""
            ))
        })
    }
}

impl CheckStatus {
    /// The status as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckStatus::Passing => "passing",
            CheckStatus::Warning => "warning",
            CheckStatus::Critical => "critical",
            CheckStatus::Maintenance => "maintenance",
        }
    }

    /// What is wrong with the status for a check of our own.
    pub(super) fn refusal(self) -> Option<&'static str> {
        let is_foreign = self == CheckStatus::Maintenance;
        is_foreign.then_some("only peers are in maintenance: expected \"passing\", \"warning\" or \"critical\"")
    }

    /// The status with this spelling, of those that are reported.
    pub fn parse(text: &str) -> Option<Self> {
        [CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical].into_iter().find(|s| s.as_str() == text)
    }
}

/// What a check does, found from the fields that are set, in the order of `http-api.md` 3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// The gRPC health protocol.
    Grpc,
    /// An HTTP request.
    Http,
    /// A status that somebody reports in time.
    Ttl,
    /// A TCP connection.
    Tcp,
    /// A datagram.
    Udp,
    /// The health of another service or node.
    Alias,
    /// A script in a container.
    Docker,
    /// A script.
    Script,
    /// An HTTP/2 ping.
    H2Ping,
    /// A service of the operating system.
    OsService,
}

impl CheckKind {
    /// The word that the `Type` of a check row shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckKind::Grpc => "grpc",
            CheckKind::Http => "http",
            CheckKind::Ttl => "ttl",
            CheckKind::Tcp => "tcp",
            CheckKind::Udp => "udp",
            CheckKind::Alias => "alias",
            CheckKind::Docker => "docker",
            CheckKind::Script => "script",
            CheckKind::H2Ping => "h2ping",
            CheckKind::OsService => "os_service",
        }
    }
}

impl CheckDefinition {
    /// What the check does, if its fields say so.
    pub fn kind(&self) -> Option<CheckKind> {
        let set = [
            (!self.grpc.is_empty(), CheckKind::Grpc),
            (!self.http.is_empty(), CheckKind::Http),
            (self.ttl.is_some(), CheckKind::Ttl),
            (!self.tcp.is_empty(), CheckKind::Tcp),
            (!self.udp.is_empty(), CheckKind::Udp),
            (self.is_alias(), CheckKind::Alias),
            (!self.docker_container_id.is_empty(), CheckKind::Docker),
            (!self.script_args.is_empty(), CheckKind::Script),
            (!self.h2ping.is_empty(), CheckKind::H2Ping),
            (!self.os_service.is_empty(), CheckKind::OsService),
        ];
        set.into_iter().find_map(|(is_set, kind)| is_set.then_some(kind))
    }

    fn is_alias(&self) -> bool {
        !self.alias_service.as_str().is_empty() || !self.alias_node.as_str().is_empty()
    }

    /// The port and the path that an HTTP check asks for without TLS; `None` if it asks for something else.
    pub fn plain_http_target(&self) -> Option<(u16, String)> {
        let url: Uri = self.http.parse().ok()?;
        let is_plain = url.scheme_str() == Some("http") && url.host().is_some();
        is_plain.then(|| (url.port_u16().unwrap_or(80), url.path().to_owned()))
    }

    /// The port that a gRPC check asks without TLS; `None` if it does something else.
    pub fn plain_grpc_port(&self) -> Option<u16> {
        let target = self.grpc.split('/').next().unwrap_or_default();
        let is_plain = !self.grpc_use_tls && !self.grpc.is_empty();
        is_plain.then(|| target.parse().ok()).flatten().map(|SocketEndpoint { port, .. }| port)
    }

    /// The same question asked at another address. Only what HTTP and gRPC checks ask for has one.
    #[must_use]
    pub fn asked_at(&self, address: &SocketEndpoint) -> Self {
        let mut asked = self.clone();
        if let Ok(url) = self.http.parse::<Uri>() {
            let path = url.path_and_query().map_or("/", |path| path.as_str());
            asked.http = format!("http://{address}{path}");
        }
        if !self.grpc.is_empty() {
            let service = self.grpc.find('/').map_or("", |at| &self.grpc[at..]);
            asked.grpc = format!("{address}{service}");
        }
        asked
    }

    /// The start of an output that is kept where the agent keeps `most` bytes, whole characters. A check may ask for fewer.
    pub fn kept<'o>(&self, output: &'o str, most: usize) -> &'o str {
        &output[..output.floor_char_boundary(self.output_limit(most))]
    }

    /// Most bytes of output that are kept where the agent keeps `most`.
    pub fn output_limit(&self, most: usize) -> usize {
        match usize::try_from(self.output_max_size) {
            Ok(own @ 1..) => own.min(most),
            Ok(0) | Err(_) => most,
        }
    }

    /// True for a check that is run at an interval.
    fn is_active(&self) -> bool {
        !matches!(self.kind(), None | Some(CheckKind::Ttl | CheckKind::Alias))
    }

    /// Every broken rule of `http-api.md` 3.6.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        let zero = GoDuration::default();
        problems.refuse_control_characters("CheckID", self.check_id.as_str());
        if self.kind().is_none() {
            problems.rule("", "Invalid check: set one of TTL, HTTP, TCP, UDP, GRPC, H2PING or AliasService");
        }
        if matches!(self.kind(), Some(CheckKind::Docker | CheckKind::Script)) {
            problems.rule("ScriptArgs", "Invalid check: script checks are disabled on this agent");
        }
        if self.ttl.is_some() && self.interval.is_some_and(|interval| interval != zero) {
            problems.rule("Interval", "Invalid check: Interval and TTL cannot both be set");
        }
        if self.ttl.is_some_and(|ttl| ttl <= zero) {
            problems.rule("TTL", "Invalid check: TTL must be greater than 0");
        }
        if self.is_active() && self.interval.is_none_or(|interval| interval <= zero) {
            problems.rule("Interval", "Invalid check: Interval must be greater than 0");
        }
        if self.is_alias() && (self.is_active() || self.ttl.is_some()) {
            problems.rule("AliasService", "Invalid check: an alias check cannot be combined with another type");
        }
        if self.output_max_size < 0 {
            problems.rule("OutputMaxSize", "Invalid check: OutputMaxSize must be positive");
        }
        if self.failures_before_warning > self.failures_before_critical && self.failures_before_critical > 0 {
            problems
                .rule("FailuresBeforeWarning", "Invalid check: FailuresBeforeWarning exceeds FailuresBeforeCritical");
        }
        problems
    }
}

/// A check that is registered alone (`http-api.md` 2.2, 3.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckRegistration {
    /// What is checked.
    pub definition: CheckDefinition,
    /// Where it belongs.
    pub tenancy: CheckTenancy,
}

/// What a check that is registered alone says beyond its definition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckTenancy {
    /// ACL token of the registration; never stored, never shown.
    pub token: String,
    /// Namespace of the service that it judges.
    pub namespace: Option<Namespace>,
    /// Partition of the node.
    pub partition: Option<Partition>,
}

impl CheckRegistration {
    /// Fills in the ID, which is the name unless something else is said.
    pub fn normalize(&mut self) {
        if self.definition.check_id.as_str().is_empty() {
            self.definition.check_id = CheckId::from(self.definition.name.as_str());
        }
    }

    /// Every broken rule.
    pub fn validate(&self) -> Problems {
        let mut problems = Problems::default();
        if self.definition.name.is_empty() {
            problems.rule("Name", "Missing check name");
        }
        problems.0.extend(self.definition.validate().0);
        problems
    }
}

/// What somebody reports on a check that has a TTL (`http-api.md` 2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckUpdate {
    /// The result.
    pub status: CheckStatus,
    /// What led to it.
    pub output: String,
}

/// A check and its last result, as the catalog holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Check {
    /// The node it is registered on.
    pub node: NodeName,
    /// Its ID there.
    #[serde(rename = "CheckID")]
    pub check_id: CheckId,
    /// Name for people.
    pub name: String,
    /// The last result.
    pub status: CheckStatus,
    /// Free text.
    pub notes: String,
    /// What the last run said.
    pub output: String,
    /// The service instance it judges; empty for the node.
    #[serde(rename = "ServiceID")]
    pub service_id: ServiceId,
    /// That instance's service.
    pub service_name: String,
    /// That instance's tags.
    pub service_tags: Vec<String>,
    /// The word for what it does, such as `tcp`; free-form for checks that others run.
    #[serde(rename = "Type")]
    pub kind: String,
    /// How it is run, if this process runs it or its registrar said so.
    pub definition: CheckDefinition,
    /// The datacenter it belongs to.
    #[serde(skip_serializing_if = "is_default")]
    pub datacenter: Datacenter,
    /// The partition it belongs to.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: Partition,
    /// Defined in a file of the agent, and gone when the file no longer has it. Kept, never shown.
    #[serde(skip_serializing_if = "is_default")]
    pub from_file: bool,
    /// Sent by the Go client.
    #[serde(skip_serializing)]
    pub namespace: Ignored,
    /// Sent by the Go client.
    #[serde(skip_serializing)]
    pub exposed_port: Ignored,
    /// Sent by the Go client.
    #[serde(skip_serializing)]
    pub create_index: Ignored,
    /// Sent by the Go client.
    #[serde(skip_serializing)]
    pub modify_index: Ignored,
}

impl Check {
    /// Where the check is.
    pub fn place(&self) -> Place {
        Place::new(&self.datacenter, &self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(interval: Option<GoDuration>) -> CheckDefinition {
        CheckDefinition { tcp: "127.0.0.1:1".to_owned(), interval, ..CheckDefinition::default() }
    }

    #[test]
    fn an_active_check_needs_an_interval() {
        let paths = |check: CheckDefinition| check.validate().0.into_iter().map(|p| p.path).collect::<Vec<_>>();

        assert_eq!(paths(tcp(None)), ["Interval"]);
        assert_eq!(paths(tcp(Some(GoDuration::default()))), ["Interval"]);
        assert_eq!(paths(tcp(Some(GoDuration::from_secs(1)))), Vec::<String>::new());
    }

    #[test]
    fn what_is_asked_in_plain_text_can_be_asked_at_another_address() {
        let http = |url: &str| CheckDefinition { http: url.to_owned(), ..CheckDefinition::default() };
        let grpc = |target: &str, tls| CheckDefinition {
            grpc: target.to_owned(),
            grpc_use_tls: tls,
            ..CheckDefinition::default()
        };
        let targets = ["http://web:8080/ready?deep=1", "http://[::1]", "https://web/ready", "web/ready", ""];
        assert_eq!(
            targets.map(|url| http(url).plain_http_target()),
            [Some((8080, "/ready".to_owned())), Some((80, "/".to_owned())), None, None, None]
        );
        let targets = [("web:9090/api", false), ("[::1]:9090", false), ("web:9090", true), ("web", false), ("", false)];
        assert_eq!(
            targets.map(|(target, tls)| grpc(target, tls).plain_grpc_port()),
            [Some(9090), Some(9090), None, None, None]
        );

        let address = SocketEndpoint::new("::1", 21_500);
        assert_eq!(http("http://web:8080/ready?deep=1").asked_at(&address).http, "http://[::1]:21500/ready?deep=1");
        assert_eq!(grpc("web:9090/api", false).asked_at(&address).grpc, "[::1]:21500/api");
        assert_eq!(grpc("web:9090", false).asked_at(&address).grpc, "[::1]:21500");
    }

    #[test]
    fn output_is_cut_between_characters_and_never_longer_than_the_agent_keeps() {
        let kept = |output_max_size, text: &str| {
            CheckDefinition { output_max_size, ..CheckDefinition::default() }.kept(text, 4096).len()
        };

        assert_eq!((kept(0, "short"), kept(0, &"x".repeat(5000)), kept(0, &"\u{20ac}".repeat(2000))), (5, 4096, 4095));
        assert_eq!((kept(10, &"\u{20ac}".repeat(4)), kept(9000, &"x".repeat(9000))), (9, 4096));
    }

    #[test]
    fn ttl_and_interval_exclude_each_other() {
        let check = CheckDefinition {
            ttl: Some(GoDuration::from_secs(10)),
            interval: Some(GoDuration::from_secs(5)),
            ..CheckDefinition::default()
        };

        assert_eq!(check.validate().0.len(), 1);
    }

    #[test]
    fn a_check_that_does_nothing_is_refused() {
        assert_eq!(CheckDefinition::default().validate().0.len(), 1);
    }
}
