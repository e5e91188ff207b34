//! How Envoy reads tags out of the names of its metrics (contract 9.3).
//!
//! Envoy's extractor takes a pattern with two groups: the first is cut out of the name, the second is the value.

use serde_json::{Value, json};

use super::Bootstrap;

/// Whether metrics carry the tag names of older versions as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeprecatedTags {
    /// They do; dashboards made for them go on working.
    #[default]
    Keep,
    /// They do not.
    Omit,
}

/// Tags of a cluster's name by the part that is the value. In each pattern `<` and `>` enclose the value, and `$` stands
/// for one segment of the name.
const CLUSTER_PARTS: [(&str, &str); 10] = [
    ("custom_hash", r"(?:<$>~)?(?:$\.)?$\.$\.(?:$\.)?$\.$\.$\.consul\."),
    ("service_subset", r"(?:$~)?(?:<$>\.)?$\.$\.(?:$\.)?$\.$\.$\.consul\."),
    ("service", r"(?:$~)?(?:$\.)?<$>\.$\.(?:$\.)?$\.$\.$\.consul\."),
    ("namespace", r"(?:$~)?(?:$\.)?$\.<$>\.(?:$\.)?$\.$\.$\.consul\."),
    ("partition", r"(?:$~)?(?:$\.)?$\.$\.(?:<$>\.)?$\.internal[^.]*\.$\.consul\."),
    ("datacenter", r"(?:$~)?(?:$\.)?$\.$\.(?:$\.)?<$>\.internal[^.]*\.$\.consul\."),
    ("peer", r"$\.(?:$\.)?<$>\.external\.$\.consul\."),
    ("routing_type", r"(?:$~)?(?:$\.)?$\.$\.(?:$\.)?$\.<$>\.$\.consul\."),
    ("trust_domain", r"(?:$~)?(?:$\.)?$\.$\.(?:$\.)?$\.$\.<$>\.consul\."),
    ("target", r"(?:$~)?<(?:$\.)?$\.$\.(?:$\.)?$>\.$\.$\.consul\."),
];

const FULL_TARGET: (&str, &str) = ("full_target", r"(?:$~)?<(?:$\.)?$\.$\.(?:$\.)?$\.$\.$>\.consul\.");

/// Tags of an upstream listener's name; the prefix says whether the upstream is peered.
const UPSTREAM_PARTS: [(&str, &str); 5] = [
    ("service", r"(?:tcp|http)\.upstream(?:_peered)?\.(<$>(?:\.$)?(?:\.$)?\.$\.)"),
    ("datacenter", r"(?:tcp|http)\.upstream\.($(?:\.$)?(?:\.$)?\.<$>\.)"),
    ("peer", r"(?:tcp|http)\.upstream_peered\.($(?:\.$)?\.<$>\.)"),
    ("namespace", r"(?:tcp|http)\.upstream(?:_peered)?\.($(?:\.<$>)?(?:\.$)?\.$\.)"),
    ("partition", r"(?:tcp|http)\.upstream\.($(?:\.$)?(?:\.<$>)?\.$\.)"),
];

/// Tags that were never given to clusters under their older names.
const NEVER_DEPRECATED: [&str; 2] = ["partition", "peer"];

/// The `stats_config` of the bootstrap: tags of the user, then those read from names, then fixed ones.
pub(super) fn stats_config(input: &Bootstrap) -> Value {
    let user = &input.config.stats_tags;
    let mut tags: Vec<Value> = user.iter().map(|(name, value)| fixed(name, value)).collect();
    let clusters = CLUSTER_PARTS.iter().chain(std::iter::once(&FULL_TARGET));
    for (part, pattern) in clusters.clone() {
        tags.push(extracted(&format!("consul.destination.{part}"), r"^cluster\.(?:passthrough~)?", pattern));
    }
    for (part, pattern) in UPSTREAM_PARTS {
        tags.push(json!({"tag_name": format!("consul.upstream.{part}"), "regex": format!("^{}", expand(pattern))}));
    }
    if input.deprecated_tags == DeprecatedTags::Keep {
        let older = clusters.filter(|(part, _)| !NEVER_DEPRECATED.contains(part));
        tags.extend(older.map(|(part, pattern)| extracted(&format!("consul.{part}"), r"^cluster\.", pattern)));
    }
    let node = &input.node;
    let ours = [
        ("local_cluster", &node.cluster),
        ("consul.source.service", &node.cluster),
        ("consul.source.namespace", &node.namespace),
        ("consul.source.partition", &node.partition),
        ("consul.source.datacenter", &node.datacenter),
    ];
    let missing = ours.into_iter().filter(|(name, value)| !value.is_empty() && !user.iter().any(|tag| tag.0 == *name));
    tags.extend(missing.map(|(name, value)| fixed(name, value)));
    json!({"stats_tags": tags, "use_all_default_tags": true})
}

fn fixed(name: &str, value: &str) -> Value {
    json!({"tag_name": name, "fixed_value": value})
}

fn extracted(name: &str, prefix: &str, pattern: &str) -> Value {
    json!({"tag_name": name, "regex": format!("{prefix}({})", expand(pattern))})
}

fn expand(pattern: &str) -> String {
    pattern.replace('<', "(").replace('>', ")").replace('$', "[^.]+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(tag: &str, metric: &str) -> Option<(String, String)> {
        let pattern = CLUSTER_PARTS
            .iter()
            .chain(std::iter::once(&FULL_TARGET))
            .find(|(name, _)| *name == tag)
            .map(|(_, pattern)| format!(r"^cluster\.(?:passthrough~)?({})", expand(pattern)))
            .unwrap();
        let captures = regex::Regex::new(&pattern).unwrap().captures(metric)?;
        let rest = metric.replace(&captures[1], "");
        captures.get(2).map(|value| (value.as_str().to_owned(), rest))
    }

    #[test]
    fn each_part_of_a_cluster_name_becomes_a_tag() {
        let metric = "cluster.a1b2c3d4~v1.web.team.dc2.internal.11111111-2222-3333-4444-555555555555.consul.rq_total";
        let expected = [
            ("custom_hash", "a1b2c3d4"),
            ("service_subset", "v1"),
            ("service", "web"),
            ("namespace", "team"),
            ("datacenter", "dc2"),
            ("routing_type", "internal"),
            ("trust_domain", "11111111-2222-3333-4444-555555555555"),
            ("target", "v1.web.team.dc2"),
            ("full_target", "v1.web.team.dc2.internal.11111111-2222-3333-4444-555555555555"),
        ];

        for (tag, value) in expected {
            let (found, rest) = value_of(tag, metric).unwrap();
            assert_eq!((found.as_str(), rest.as_str()), (value, "cluster.rq_total"), "{tag}");
        }
    }

    #[test]
    fn a_name_without_optional_parts_yields_the_others() {
        let metric = "cluster.web.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul.rq_total";

        assert_eq!(value_of("service", metric).unwrap().0, "web");
        assert_eq!(value_of("datacenter", metric).unwrap().0, "dc1");
        assert_eq!(value_of("partition", metric), None);
        assert_eq!(value_of("custom_hash", metric), None);
    }

    #[test]
    fn an_imported_service_is_tagged_with_its_peer() {
        let metric = "cluster.web.default.partner.external.11111111-2222-3333-4444-555555555555.consul.rq_total";

        assert_eq!(value_of("peer", metric).unwrap().0, "partner");
        assert_eq!(value_of("datacenter", metric), None);
    }

    #[test]
    fn an_upstream_listener_is_tagged_with_what_it_leads_to() {
        let expected = [
            ("service", "tcp.upstream.api.default.default.dc2.downstream_cx_total", "api"),
            ("datacenter", "tcp.upstream.api.default.default.dc2.downstream_cx_total", "dc2"),
            ("namespace", "http.upstream.api.team.blue.dc2.downstream_rq_total", "team"),
            ("partition", "http.upstream.api.team.blue.dc2.downstream_rq_total", "blue"),
            ("peer", "tcp.upstream_peered.api.default.partner.downstream_cx_total", "partner"),
        ];

        for (tag, metric, value) in expected {
            let (_, pattern) = UPSTREAM_PARTS.iter().find(|(name, _)| *name == tag).unwrap();
            let captures = regex::Regex::new(&format!("^{}", expand(pattern))).unwrap().captures(metric).unwrap();
            assert_eq!(captures[2].to_owned(), value, "{tag} of {metric}");
        }
    }
}
