//! Every name that two Envoy resources, or Envoy and an operator, must agree on (contract 1.4 and 1.6).
//!
//! Cluster names are SNIs with `~` between prefixes, which no SNI contains; listener names end with the address, because
//! Envoy cannot move a listener to another one.

use std::fmt::Write;
use std::net::Ipv6Addr;

use crate::ir::{Bind, Callers, ClusterName, ListenerName, PolicyName, Roots, SecretName, Stat, UpstreamId};

/// Route configuration and virtual host of the inbound side.
pub const PUBLIC: &str = "public_listener";

/// Where a transparent proxy sends what is no upstream.
const ORIGINAL_DESTINATION: &str = "original-destination";

/// The header that tells of the certificates that a request came with, from hop to hop.
pub const CLIENT_CERT_HEADER: &str = "x-forwarded-client-cert";

/// A policy of an RBAC filter (contract 3.2).
pub fn policy(name: PolicyName) -> String {
    match name {
        PolicyName::Connections => "consul-intentions-layer4".to_owned(),
        PolicyName::Requests(position) => format!("consul-intentions-layer7-{position}"),
        PolicyName::Partitions => "not-exported-partitions".to_owned(),
    }
}

/// A cluster's name, which is also that of its load assignment.
pub fn cluster(name: &ClusterName) -> String {
    match name {
        ClusterName::LocalApp => "local_app".to_owned(),
        ClusterName::OriginalDestination => ORIGINAL_DESTINATION.to_owned(),
        ClusterName::Exposed(port) => format!("exposed_cluster_{port}"),
        ClusterName::Sni(name) | ClusterName::Given(name) => name.to_string(),
        ClusterName::Customised { hash, sni } => format!("{hash}~{sni}"),
        ClusterName::Exported(sni) => format!("exported~{sni}"),
        ClusterName::FailoverLeg { position, parent } => format!("failover-target~{position}~{}", cluster(parent)),
    }
}

/// An upstream in listener and route names: `[prepared_query:][<ap>/<ns>/]<name>[?peer=<peer>|?dc=<dc>]`.
pub fn upstream(id: &UpstreamId) -> String {
    let or_default = |name: &str| if name.is_empty() { "default".to_owned() } else { name.to_owned() };
    let mut text = String::from(if id.is_query { "prepared_query:" } else { "" });
    if !(id.partition.is_empty() && id.namespace.is_empty()) {
        let _ = write!(text, "{}/{}/", or_default(&id.partition), or_default(&id.namespace));
    }
    text.push_str(&id.name);
    if !id.peer.is_empty() {
        let _ = write!(text, "?peer={}", id.peer);
    } else if !id.datacenter.is_empty() {
        let _ = write!(text, "?dc={}", id.datacenter);
    }
    text
}

/// A listener's name: what it is for, and where it listens.
pub fn listener(name: &ListenerName, bind: &Bind) -> String {
    let role = match name {
        ListenerName::Public => PUBLIC.to_owned(),
        ListenerName::Upstream(id) => upstream(id),
        ListenerName::Outbound => "outbound_listener".to_owned(),
        ListenerName::ExposedPath(path) => format!("exposed_path_{}", stripped(path)),
        ListenerName::Gateway(address) => address.to_string(),
    };
    match bind {
        Bind::Tcp(host, port) if host.parse::<Ipv6Addr>().is_ok() => format!("{role}:[{host}]:{port}"),
        Bind::Tcp(host, port) => format!("{role}:{host}:{port}"),
        Bind::Pipe(path, _) => format!("{role}:{path}"),
    }
}

/// A secret's name: what it is for. The part before `~` is fixed, so that no peer or service can take another's name.
pub fn secret(name: &SecretName) -> String {
    match name {
        SecretName::Leaf => "leaf".to_owned(),
        SecretName::Roots(Roots::Own) => "roots".to_owned(),
        SecretName::Roots(Roots::Peer(peer)) => format!("roots~{peer}"),
        SecretName::Callers(Callers::Inbound) => "callers".to_owned(),
        SecretName::Callers(Callers::Exported(service)) => format!("callers~{}", upstream(service)),
    }
}

/// The name of what a filter does, without colons; virtual hosts of inline routes carry it too.
pub fn filter(stat: &Stat) -> String {
    match stat {
        Stat::Public | Stat::PublicPermissive => PUBLIC.to_owned(),
        Stat::Upstream { service, namespace, partition, datacenter }
        | Stat::GatewayExported { service, namespace, partition, datacenter } => {
            format!("{service}.{namespace}.{partition}.{datacenter}")
        }
        Stat::Peered { service, namespace, peer } => format!("{service}.{namespace}.{peer}"),
        Stat::Query(id) => upstream(id),
        Stat::OriginalDestination => ORIGINAL_DESTINATION.to_owned(),
        Stat::ExposedPath(path, port) => format!("exposed_path_filter_{}_{port}", stripped(path)),
        Stat::GatewayLocal { listener } => listener.to_string(),
        Stat::GatewayRemote { listener, place } => format!("{listener}.{place}"),
        Stat::GatewayServer { listener, datacenter } | Stat::GatewayPeeringServers { listener, datacenter } => {
            format!("{listener}.{datacenter}")
        }
        Stat::GatewayPeer { server_name } => server_name.to_string(),
    }
}

/// Envoy's `stat_prefix` for a filter.
pub fn stat_prefix(stat: &Stat) -> String {
    let prefix = match stat {
        Stat::Public | Stat::ExposedPath(..) => "",
        Stat::PublicPermissive => "permissive_",
        Stat::Upstream { .. } | Stat::Query(_) | Stat::OriginalDestination => "upstream.",
        Stat::Peered { .. } => "upstream_peered.",
        Stat::GatewayLocal { .. } => "mesh_gateway_local.",
        Stat::GatewayRemote { .. } => "mesh_gateway_remote.",
        Stat::GatewayServer { .. } => "mesh_gateway_local_server.",
        Stat::GatewayPeeringServers { .. } => "mesh_gateway_local_peering_server.",
        Stat::GatewayPeer { .. } => "mesh_gateway_remote_peering_servers.",
        Stat::GatewayExported { .. } => "mesh_gateway_local_peered.",
    };
    format!("{prefix}{}", filter(stat).replace(':', "_"))
}

fn stripped(path: &str) -> String {
    path.chars().filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(partition: &str, datacenter: &str) -> UpstreamId {
        UpstreamId {
            is_query: false,
            partition: partition.into(),
            namespace: "".into(),
            name: "api".into(),
            peer: "".into(),
            datacenter: datacenter.into(),
        }
    }

    #[test]
    fn an_upstream_shows_what_is_not_default() {
        assert_eq!(upstream(&id("", "")), "api");
        assert_eq!(upstream(&id("", "dc2")), "api?dc=dc2");
        assert_eq!(upstream(&id("team-a", "")), "team-a/default/api");
        assert_eq!(upstream(&UpstreamId { peer: "west".into(), ..id("", "") }), "api?peer=west");
        assert_eq!(upstream(&UpstreamId { is_query: true, ..id("", "dc2") }), "prepared_query:api?dc=dc2");
    }

    #[test]
    fn a_leg_repeats_its_parent() {
        let parent = ClusterName::Customised { hash: "c225dc1c".into(), sni: "api.default.dc1.internal.T".into() };
        let leg = ClusterName::FailoverLeg { position: 1, parent: Box::new(parent) };

        assert_eq!(cluster(&leg), "failover-target~1~c225dc1c~api.default.dc1.internal.T");
    }

    #[test]
    fn listeners_carry_their_address() {
        let gateway = ListenerName::Gateway("bar".into());
        let path = ListenerName::ExposedPath("/health/ready".into());

        assert_eq!(listener(&gateway, &Bind::Tcp("2001:db8::ff".into(), 9999)), "bar:[2001:db8::ff]:9999");
        assert_eq!(listener(&path, &Bind::Tcp("0.0.0.0".into(), 21500)), "exposed_path_healthready:0.0.0.0:21500");
        assert_eq!(
            listener(&ListenerName::Upstream(id("", "")), &Bind::Pipe("/tmp/api.sock".into(), 0)),
            "api:/tmp/api.sock"
        );
    }

    #[test]
    fn secrets_are_named_by_what_they_are_for() {
        let names = [
            SecretName::Leaf,
            SecretName::Roots(Roots::Own),
            SecretName::Roots(Roots::Peer("west".into())),
            SecretName::Callers(Callers::Inbound),
            SecretName::Callers(Callers::Exported(id("team-a", ""))),
        ];

        let texts = names.each_ref().map(secret);

        assert_eq!(texts, ["leaf", "roots", "roots~west", "callers", "callers~team-a/default/api"]);
    }

    #[test]
    fn statistics_have_no_colons() {
        let query = Stat::Query(UpstreamId { is_query: true, ..id("", "") });
        assert_eq!(
            (filter(&query).as_str(), stat_prefix(&query).as_str()),
            ("prepared_query:api", "upstream.prepared_query_api")
        );

        let stat = Stat::GatewayRemote { listener: "a:b".into(), place: "team-a.east".into() };

        assert_eq!(stat_prefix(&stat), "mesh_gateway_remote.a_b.team-a.east");
    }
}
