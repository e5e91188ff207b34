//! What Envoy's `config_dump` says, as far as the way to an upstream goes.

use std::collections::BTreeSet;

use serde_json::Value;

/// The name of the listener that takes whatever a transparent proxy dials begins so.
const TRANSPARENT: &str = "outbound_listener:";

/// An answer of `/config_dump`.
pub(super) struct Dump(Vec<Value>);

/// How callers find an upstream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// By the ID of an explicit upstream.
    Id(&'a str),
    /// By an address that the application dials.
    Ip(&'a str),
}

/// The way to an upstream inside of an Envoy.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Its listener or filter chain is there.
    pub(super) has_listener: bool,
    /// The route configurations that it names.
    pub(super) routes: BTreeSet<String>,
    /// Those of them that are there.
    pub(super) known_routes: BTreeSet<String>,
    /// The clusters that calls can go to; those that only stand for others are not among them.
    pub(super) clusters: BTreeSet<String>,
    /// Those of them that are there.
    pub(super) known_clusters: BTreeSet<String>,
}

impl Dump {
    /// Reads an answer.
    pub(super) fn of(answer: &Value) -> Self {
        Self(answer["configs"].as_array().cloned().unwrap_or_default())
    }

    /// The listeners that applications dial.
    fn outbound(&self) -> impl Iterator<Item = (&str, &Value)> {
        let all = self.0.iter().flat_map(|config| list(&config["dynamic_listeners"]));
        let active = all.map(|listener| &listener["active_state"]["listener"]);
        active
            .filter(|listener| listener["traffic_direction"] == "OUTBOUND")
            .map(|listener| (text(&listener["name"]), listener))
    }

    /// The IDs of explicit upstreams: each has a listener, called by its ID and its address.
    pub(super) fn upstream_ids(&self) -> BTreeSet<&str> {
        let explicit = self.outbound().filter(|(name, _)| !name.starts_with(TRANSPARENT));
        explicit.map(|(name, listener)| id_of(name, listener)).collect()
    }

    /// The addresses that the transparent listener knows, each with the clusters behind it.
    pub(super) fn upstream_ips(&self) -> Vec<(String, BTreeSet<String>)> {
        let chains = self.transparent_chains();
        let mut rows: Vec<_> =
            chains.flat_map(|chain| addresses(chain).into_iter().map(|ip| (ip, self.way(chain).clusters))).collect();
        rows.sort();
        rows
    }

    fn transparent_chains(&self) -> impl Iterator<Item = &Value> {
        let transparent = self.outbound().filter(|(name, _)| name.starts_with(TRANSPARENT));
        transparent.flat_map(|(_, listener)| list(&listener["filter_chains"]))
    }

    /// The way to an upstream; an empty one if nothing leads there.
    pub(super) fn way_to(&self, wanted: Wanted<'_>) -> Way {
        let found = match wanted {
            Wanted::Id(id) => self
                .outbound()
                .find(|(name, listener)| !name.starts_with(TRANSPARENT) && id_of(name, listener) == id)
                .map(|(_, listener)| listener),
            Wanted::Ip(ip) => self.transparent_chains().find(|chain| addresses(chain).iter().any(|known| known == ip)),
        };
        found.map(|found| Way { has_listener: true, ..self.way(found) }).unwrap_or_default()
    }

    /// Where a listener or filter chain leads.
    fn way(&self, from: &Value) -> Way {
        let mut way = Way::default();
        let mut named = BTreeSet::new();
        clusters_in(from, &mut named);
        collect(from, "route_config_name", &mut |name| way.routes.extend([text(name).to_owned()]));
        for route in self.0.iter().flat_map(|config| list(&config["dynamic_route_configs"])) {
            let route = &route["route_config"];
            if way.routes.contains(text(&route["name"])) {
                way.known_routes.insert(text(&route["name"]).to_owned());
                clusters_in(route, &mut named);
            }
        }
        let known: Vec<_> = self.0.iter().flat_map(|config| list(&config["dynamic_active_clusters"])).collect();
        let find = |name: &str| known.iter().map(|row| &row["cluster"]).find(|cluster| cluster["name"] == name);
        // One that stands for several leads to those.
        let (mut open, mut seen): (Vec<String>, _) = (named.into_iter().collect(), BTreeSet::new());
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let cluster = find(&name);
            let members = cluster.map(|cluster| list(&cluster["cluster_type"]["typed_config"]["clusters"]));
            match members {
                Some([first, rest @ ..]) => {
                    open.extend(std::iter::once(first).chain(rest).map(|member| text(member).to_owned()));
                    continue;
                }
                Some([]) => way.known_clusters.extend([name.clone()]),
                None => {}
            }
            way.clusters.insert(name);
        }
        way
    }
}

/// `db` of the listener `db:127.0.0.1:9191`, or `db:/run/db.sock`: its name without its address.
fn id_of<'a>(name: &'a str, listener: &Value) -> &'a str {
    let (socket, pipe) = (&listener["address"]["socket_address"], text(&listener["address"]["pipe"]["path"]));
    let (ip, port) = (text(&socket["address"]), socket["port_value"].as_u64().unwrap_or_default());
    let ends = [format!(":{ip}:{port}"), format!(":[{ip}]:{port}"), format!(":{pipe}")];
    ends.iter().find_map(|end| name.strip_suffix(end.as_str())).unwrap_or(name)
}

/// The addresses that a filter chain is for.
fn addresses(chain: &Value) -> Vec<String> {
    let ranges = list(&chain["filter_chain_match"]["prefix_ranges"]);
    ranges.iter().map(|range| text(&range["address_prefix"]).to_owned()).collect()
}

/// The clusters that a part of the configuration names.
fn clusters_in(value: &Value, found: &mut BTreeSet<String>) {
    collect(value, "cluster", &mut |name| found.extend(name.as_str().map(str::to_owned)));
    collect(value, "weighted_clusters", &mut |weighted| {
        found.extend(list(&weighted["clusters"]).iter().map(|cluster| text(&cluster["name"]).to_owned()));
    });
}

/// Shows `take` every member with this key, however deep.
fn collect(value: &Value, key: &str, take: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                if name == key {
                    take(inner);
                }
                collect(inner, key, take);
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, key, take)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A list; an empty one where there is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text; an empty one where there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_id_of_an_upstream_is_what_is_before_the_address_of_its_listener() {
        let at = |ip: &str| json!({ "address": { "socket_address": { "address": ip, "port_value": 9191 } } });
        for (name, listener, id) in [
            ("db:127.0.0.1:9191", at("127.0.0.1"), "db"),
            ("db?dc=dc2:127.0.0.1:9191", at("127.0.0.1"), "db?dc=dc2"),
            ("db:::1:9191", at("::1"), "db"),
            ("db:[::1]:9191", at("::1"), "db"),
            ("db:/run/db.sock", json!({ "address": { "pipe": { "path": "/run/db.sock" } } }), "db"),
            ("db", at("127.0.0.1"), "db"),
        ] {
            assert_eq!(id_of(name, &listener), id, "{name}");
        }
    }

    #[test]
    fn a_way_goes_through_routes_and_clusters_that_stand_for_others() {
        let route = json!({ "virtual_hosts": [{ "routes": [
            { "route": { "cluster": "both" } },
            { "route": { "weighted_clusters": { "clusters": [{ "name": "v1" }, { "name": "v2" }] } } },
        ] }], "name": "web" });
        let members = json!({ "typed_config": { "clusters": ["here", "there"] } });
        let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 80 } });
        let listener = json!({ "name": "web:127.0.0.1:80", "address": address, "traffic_direction": "OUTBOUND",
            "filter_chains": [{ "filters": [{ "typed_config": { "rds": { "route_config_name": "web" } } }] }] });
        let cluster = |name: &str| json!({ "cluster": { "name": name } });
        let dump = Dump::of(&json!({ "configs": [
            { "dynamic_listeners": [{ "active_state": { "listener": listener } }] },
            { "dynamic_route_configs": [{ "route_config": route }] },
            { "dynamic_active_clusters": [
                { "cluster": { "name": "both", "cluster_type": members } }, cluster("here"), cluster("v1"), cluster("v2")] },
        ] }));

        let way = dump.way_to(Wanted::Id("web"));

        assert_eq!(dump.upstream_ids(), BTreeSet::from(["web"]));
        assert!(way.has_listener && !dump.way_to(Wanted::Id("db")).has_listener);
        assert_eq!((way.routes.len(), way.known_routes.len()), (1, 1));
        assert_eq!(way.clusters.iter().collect::<Vec<_>>(), ["here", "there", "v1", "v2"]);
        assert_eq!(way.known_clusters.iter().collect::<Vec<_>>(), ["here", "v1", "v2"]);
    }

    #[test]
    fn addresses_of_a_transparent_proxy_are_found_with_their_clusters() {
        let chain = |ip: &str, cluster: &str| {
            json!({ "filter_chain_match": { "prefix_ranges": [{ "address_prefix": ip, "prefix_len": 32 }] },
                "filters": [{ "typed_config": { "cluster": cluster } }] })
        };
        let listener = json!({ "name": "outbound_listener:127.0.0.1:15001", "traffic_direction": "OUTBOUND",
            "filter_chains": [chain("10.0.0.1", "a"), chain("10.0.0.2", "b")] });
        let dump =
            Dump::of(&json!({ "configs": [{ "dynamic_listeners": [{ "active_state": { "listener": listener } }] }] }));

        let rows = dump.upstream_ips();

        assert_eq!(
            rows,
            [("10.0.0.1".to_owned(), ["a".to_owned()].into()), ("10.0.0.2".to_owned(), ["b".to_owned()].into())]
        );
        assert!(dump.way_to(Wanted::Ip("10.0.0.2")).clusters.contains("b"));
        assert!(dump.upstream_ids().is_empty());
    }
}
