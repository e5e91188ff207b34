//! Bundles: the whole state apart from secrets, as one JSON document (`docs/bundle.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use super::decoded::Decoded;
use super::lenient::{Decoding, Typing, cut, decode, in_order};
use super::tree::{Content, Member, Tree, same_key};
use super::{Format, Shape, definitions, entry_shape, parse_at_most, shape_of, to_json_pretty, to_tree};
use crate::model::{
    Bundle, BundleAgent, BundleRow, Check, Datacenter, FederationState, Imported, Indexed, KnownDatacenter,
    NamespaceDefinition, Node, NodeName, PartitionDefinition, PeerTrustBundle, Peering, Place, Problem, ProblemKind,
    Problems, QueryResult, ServiceOnNode,
};

/// Largest bundle that is read, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 256 << 20;

/// What the document says that it is.
const FORMAT: &str = "meshgate-bundle";
/// The version of the format that is written, and the only one that is read.
const VERSION: u64 = 1;

/// The commit of a row, which stands among its fields.
const MODIFY_INDEX: &str = "ModifyIndex";

/// What the first and the last line of every private key in PEM form end with.
const MARK: &str = "PRIVATE KEY-----";
/// What stands in place of a secret.
const HIDDEN: &str = "<hidden>";

/// The highest number of a commit that is taken over, so that there is no end to those that follow. Clients that keep
/// numbers as floating-point ones know all of these.
const MOST_COMMITS: u64 = 1 << 53;

const AGENT: &str = "Agent";
const NODES: &str = "Nodes";
const SERVICES: &str = "Services";
const CHECKS: &str = "Checks";
const ENTRIES: &str = "ConfigEntries";
const DATACENTERS: &str = "Datacenters";
const PARTITIONS: &str = "Partitions";
const NAMESPACES: &str = "Namespaces";
const FEDERATION_STATES: &str = "FederationStates";
const PEERINGS: &str = "Peerings";
const TRUST_BUNDLES: &str = "PeerTrustBundles";
const IMPORTED: &str = "ImportedServices";
const QUERIES: &str = "PreparedQueries";
const CONFIGURATIONS: &str = "Configurations";
const REDACTED: &str = "Redacted";

/// Every member of the document.
const MEMBERS: [&str; 17] = [
    "Format",
    "Version",
    AGENT,
    NODES,
    SERVICES,
    CHECKS,
    ENTRIES,
    DATACENTERS,
    PARTITIONS,
    NAMESPACES,
    FEDERATION_STATES,
    PEERINGS,
    TRUST_BUNDLES,
    IMPORTED,
    QUERIES,
    CONFIGURATIONS,
    REDACTED,
];

/// The bundle that a document is, normalized.
///
/// # Errors
/// What cannot be decoded and what breaks a rule, all of it; of a document that is no bundle or of another version, only
/// that.
pub fn bundle(text: &[u8]) -> Result<Bundle, Problems> {
    let mut document = Document::of(parse_at_most(text, Format::Json, MAX_BUNDLE_BYTES)?)?;
    let bundle = document.read();
    let mut problems = document.problems;
    in_order(&mut problems);
    cut(&mut problems);
    problems.into_result().map(|()| bundle)
}

/// What a bundle is decoded from.
pub fn bundle_shape() -> Shape {
    /// Rows of a shape, each with its commit.
    fn rows(row: Shape) -> Shape {
        let with_commit = |mut row: Shape| {
            if let Shape::Object(fields) = &mut row {
                fields.push((MODIFY_INDEX, shape_of::<u64>()));
            }
            row
        };
        let kinds = if let Shape::OneOf(kinds) = row { kinds } else { vec![row] };
        let mut kinds: Vec<_> = kinds.into_iter().map(with_commit).collect();
        let row = if kinds.len() == 1 { kinds.remove(0) } else { Shape::OneOf(kinds) };
        Shape::List(Box::new(row))
    }
    Shape::Object(vec![
        ("Format", Shape::Choice(vec![FORMAT])),
        ("Version", shape_of::<u64>()),
        (AGENT, shape_of::<BundleAgent>()),
        (NODES, rows(shape_of::<Node>())),
        (SERVICES, rows(shape_of::<ServiceOnNode>())),
        (CHECKS, rows(shape_of::<Check>())),
        (ENTRIES, rows(entry_shape())),
        (DATACENTERS, rows(shape_of::<KnownDatacenter>())),
        (PARTITIONS, rows(shape_of::<PartitionDefinition>())),
        (NAMESPACES, rows(shape_of::<NamespaceDefinition>())),
        (FEDERATION_STATES, rows(shape_of::<FederationState>())),
        (PEERINGS, rows(shape_of::<Peering>())),
        (TRUST_BUNDLES, rows(shape_of::<PeerTrustBundle>())),
        (IMPORTED, rows(shape_of::<Imported>())),
        (QUERIES, rows(shape_of::<QueryResult>())),
        (REDACTED, Shape::Boolean),
        (CONFIGURATIONS, Shape::Map(Box::new(Shape::Text))),
    ])
}

/// The members of a bundle that were not read yet, and what is wrong with the others.
struct Document {
    members: BTreeMap<&'static str, Tree>,
    problems: Problems,
}

impl Document {
    /// Takes the document apart, if it is a bundle of the version that is read.
    fn of(tree: Tree) -> Result<Self, Problem> {
        let no_bundle = format!("this is no bundle: expected an object with the Format {FORMAT:?}");
        let no_bundle = located(&tree, "", no_bundle);
        let Content::Object(found) = tree.content else { return Err(no_bundle) };
        let mut members: BTreeMap<&'static str, Tree> = BTreeMap::new();
        let mut problems = Problems::default();
        for member in found {
            let Some(known) = MEMBERS.into_iter().find(|known| same_key(known, &member.key)) else {
                problems.0.push(definitions::unknown_key(&member, "", &MEMBERS));
                continue;
            };
            if members.contains_key(known) {
                problems.0.push(located(&member.value, known, "the same section is there already".to_owned()));
            } else {
                members.insert(known, member.value);
            }
        }
        match members.remove("Format").map(|format| format.content) {
            Some(Content::String(format)) if format == FORMAT => {}
            _ => return Err(no_bundle),
        }
        let Some(version) = members.remove("Version") else {
            return Err(Problem {
                path: "Version".to_owned(),
                message: format!("missing; {VERSION} is read"),
                ..no_bundle
            });
        };
        if decode(&version, Typing::Strict).value != Some(VERSION) {
            let found = version.describe();
            let message =
                format!("expected {VERSION}, found {found}: use the version of meshgate that wrote the bundle");
            return Err(located(&version, "Version", message));
        }
        Ok(Self { members, problems })
    }

    fn read(&mut self) -> Bundle {
        let agent = self.agent();
        let home = agent.datacenter.clone();
        let before = self.problems.0.len();
        let nodes: Vec<Indexed<Node>> = self.rows(NODES, &home);
        // A node that was refused is not missing.
        let are_all = self.problems.0.len() == before;
        let existing: BTreeSet<_> = nodes.iter().map(|node| node.value.key()).collect();
        let on_a_node = |place: Place, node: &NodeName| {
            let mut problems = Problems::default();
            if are_all && !existing.contains(&(place.clone(), node.clone())) {
                problems.rule("Node", format!("{NODES} has no node {node:?} in {place}"));
            }
            problems
        };
        self.lift_freshness();
        Bundle {
            agent,
            services: self.rows_by(SERVICES, &home, strict, |row: &ServiceOnNode| on_a_node(row.place(), &row.node)),
            checks: self.rows_by(CHECKS, &home, strict, |row: &Check| on_a_node(row.place(), &row.node)),
            entries: self.rows_by(ENTRIES, &home, definitions::entry, |_| Problems::default()),
            datacenters: self.rows(DATACENTERS, &home),
            partitions: self.rows(PARTITIONS, &home),
            namespaces: self.rows(NAMESPACES, &home),
            federation_states: self.rows(FEDERATION_STATES, &home),
            peerings: self.rows(PEERINGS, &home),
            trust_bundles: self.rows(TRUST_BUNDLES, &home),
            imported: self.rows(IMPORTED, &home),
            queries: self.rows(QUERIES, &home),
            is_redacted: self.is_redacted(),
            configurations: self.configurations(),
            nodes,
        }
    }

    fn agent(&mut self) -> BundleAgent {
        let Some(tree) = self.members.remove(AGENT) else { return BundleAgent::default() };
        let mut agent = Decoded::at(AGENT, &tree, strict);
        agent.judge(BundleAgent::validate);
        agent.into_result().unwrap_or_else(|problems| {
            self.problems.0.extend(problems.0);
            BundleAgent::default()
        })
    }

    fn is_redacted(&mut self) -> bool {
        let Some(tree) = self.members.remove(REDACTED) else { return false };
        Decoded::at(REDACTED, &tree, strict).into_result().unwrap_or_else(|problems| {
            self.problems.0.extend(problems.0);
            false
        })
    }

    fn configurations(&mut self) -> BTreeMap<String, String> {
        let Some(tree) = self.members.remove(CONFIGURATIONS) else { return BTreeMap::new() };
        Decoded::at(CONFIGURATIONS, &tree, strict).into_result().unwrap_or_else(|problems| {
            self.problems.0.extend(problems.0);
            BTreeMap::new()
        })
    }

    /// The rows of a section.
    fn rows<T: BundleRow + DeserializeOwned>(&mut self, section: &'static str, home: &Datacenter) -> Vec<Indexed<T>> {
        self.rows_by(section, home, strict, |_| Problems::default())
    }

    /// The rows of a section with a decoder and further rules of its own.
    fn rows_by<T: BundleRow>(
        &mut self,
        section: &'static str,
        home: &Datacenter,
        decode: impl Fn(&Tree) -> Decoding<T>,
        rules: impl Fn(&T) -> Problems,
    ) -> Vec<Indexed<T>> {
        let mut seen = BTreeSet::new();
        let mut rows = Vec::new();
        for (position, mut tree) in self.items(section).into_iter().enumerate() {
            let place = format!("{section}[{position}]");
            let modify_index = self.modify_index(&mut tree, &place);
            let mut item = Decoded::at(&place, &tree, &decode);
            item.judge(|value| {
                let mut value = value.clone();
                value.normalize(home);
                let mut problems = value.validate();
                problems.0.extend(rules(&value).0);
                if problems.0.is_empty() && !seen.insert(value.key()) {
                    problems.rule("", "the same row is there already");
                }
                problems
            });
            match item.into_result() {
                Ok(mut value) => {
                    value.normalize(home);
                    rows.push(Indexed { value, modify_index });
                }
                Err(problems) => self.problems.0.extend(problems.0),
            }
        }
        rows
    }

    fn items(&mut self, section: &'static str) -> Vec<Tree> {
        let Some(tree) = self.members.remove(section) else { return Vec::new() };
        let expected = format!("expected a list, found {}", tree.describe());
        let problem = located(&tree, section, expected);
        match tree.content {
            Content::Null => Vec::new(),
            Content::List(items) => items,
            Content::Bool(_) | Content::Number(_) | Content::String(_) | Content::Object(_) => {
                self.problems.0.push(problem);
                Vec::new()
            }
        }
    }

    /// Takes the commit of a row from among its fields.
    fn modify_index(&mut self, tree: &mut Tree, place: &str) -> u64 {
        let taken = tree.split_off(&[MODIFY_INDEX]);
        let Some(value) = taken.get(MODIFY_INDEX) else { return 0 };
        let index: Option<u64> = decode(value, Typing::Strict).value;
        index.filter(|index| *index <= MOST_COMMITS).unwrap_or_else(|| {
            let message = format!("expected a whole number from 0 to {MOST_COMMITS}, found {}", value.describe());
            self.problems.0.push(located(value, &format!("{place}.{MODIFY_INDEX}"), message));
            0
        })
    }

    /// Consul tells how fresh a gateway is inside of its `Service`. Moves that to where it is kept.
    fn lift_freshness(&mut self) {
        let Some(states) = self.members.get_mut(FEDERATION_STATES) else { return };
        let gateways = items_mut(states).filter_map(|state| member_mut(state, "MeshGateways")).flat_map(items_mut);
        for gateway in gateways {
            let is_stated = gateway.get(MODIFY_INDEX).is_some();
            let Some(service) = member_mut(gateway, "Service") else { continue };
            let taken = service.split_off(&[MODIFY_INDEX]).content;
            if let (Content::Object(taken), Content::Object(members), false) = (taken, &mut gateway.content, is_stated)
            {
                members.extend(taken);
            }
        }
    }
}

fn strict<T: DeserializeOwned>(tree: &Tree) -> Decoding<T> {
    decode(tree, Typing::Strict)
}

fn located(tree: &Tree, path: &str, message: String) -> Problem {
    Problem { kind: ProblemKind::Type, path: path.to_owned(), message, line: Some(tree.line) }
}

fn items_mut(tree: &mut Tree) -> impl Iterator<Item = &mut Tree> {
    let items = if let Content::List(items) = &mut tree.content { items.as_mut_slice() } else { &mut [] };
    items.iter_mut()
}

fn member_mut<'t>(tree: &'t mut Tree, key: &str) -> Option<&'t mut Tree> {
    let Content::Object(members) = &mut tree.content else { return None };
    members.iter_mut().rev().find(|member| same_key(&member.key, key)).map(|member| &mut member.value)
}

/// The document of a bundle, without a newline at its end. Equal bundles give equal texts. A private key that somebody put
/// into a text is left out.
///
/// # Errors
/// As [`to_json_pretty`].
pub fn bundle_to_json(bundle: &Bundle) -> Result<String, serde_json::Error> {
    let mut document = to_tree(&Written(bundle))?;
    hide_private_keys(&mut document);
    to_json_pretty(&document)
}

/// A bundle as it is written.
struct Written<'b>(&'b Bundle);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Bundle {
            agent,
            nodes,
            services,
            checks,
            entries,
            datacenters,
            partitions,
            namespaces,
            federation_states,
            peerings,
            trust_bundles,
            imported,
            queries,
            is_redacted,
            configurations,
        } = self.0;
        let mut map = serializer.serialize_map(Some(MEMBERS.len()))?;
        map.serialize_entry("Format", FORMAT)?;
        map.serialize_entry("Version", &VERSION)?;
        if *is_redacted {
            map.serialize_entry(REDACTED, is_redacted)?;
        }
        map.serialize_entry(AGENT, agent)?;
        map.serialize_entry(NODES, &rows(nodes))?;
        map.serialize_entry(SERVICES, &rows(services))?;
        map.serialize_entry(CHECKS, &rows(checks))?;
        map.serialize_entry(ENTRIES, &rows(entries))?;
        map.serialize_entry(DATACENTERS, &rows(datacenters))?;
        map.serialize_entry(PARTITIONS, &rows(partitions))?;
        map.serialize_entry(NAMESPACES, &rows(namespaces))?;
        map.serialize_entry(FEDERATION_STATES, &rows(federation_states))?;
        map.serialize_entry(PEERINGS, &rows(peerings))?;
        map.serialize_entry(TRUST_BUNDLES, &rows(trust_bundles))?;
        map.serialize_entry(IMPORTED, &rows(imported))?;
        map.serialize_entry(QUERIES, &rows(queries))?;
        if !configurations.is_empty() {
            map.serialize_entry(CONFIGURATIONS, configurations)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct WrittenRow<'b, T> {
    #[serde(flatten)]
    value: &'b T,
    #[serde(rename = "ModifyIndex")]
    modify_index: u64,
}

fn rows<T>(rows: &[Indexed<T>]) -> Vec<WrittenRow<'_, T>> {
    rows.iter().map(|row| WrittenRow { value: &row.value, modify_index: row.modify_index }).collect()
}

/// Puts a word in place of every private key in PEM form, wherever it stands.
fn hide_private_keys(tree: &mut Tree) {
    match &mut tree.content {
        Content::Null | Content::Bool(_) | Content::Number(_) => {}
        Content::String(text) => hide_private_key(text),
        Content::List(items) => items.iter_mut().for_each(hide_private_keys),
        Content::Object(members) => {
            for Member { key, value, .. } in members {
                hide_private_key(key);
                hide_private_keys(value);
            }
        }
    }
}

/// True for a field of Envoy's that holds a key, a secret, or what opens one, in both spellings of Envoy's JSON.
pub fn holds_private_key(field: &str) -> bool {
    const FIELDS: [&str; 6] =
        ["privatekey", "password", "privatekeyprovider", "pkcs12", "genericsecret", "sessionticketkeys"];
    let letters = field.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase());
    FIELDS.iter().any(|name| letters.clone().eq(name.bytes()))
}

/// The same for a value that is shown in other ways, and a word in place of what Envoy's fields for keys hold.
pub fn hide_private_keys_in(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => hide_private_key(text),
        Value::Array(items) => items.iter_mut().for_each(hide_private_keys_in),
        Value::Object(members) => {
            for (mut key, mut value) in std::mem::take(members) {
                hide_private_key(&mut key);
                match holds_private_key(&key) {
                    true => value = HIDDEN.into(),
                    false => hide_private_keys_in(&mut value),
                }
                members.insert(key, value);
            }
        }
    }
}

/// From the line that begins a key to the one that ends it, or to the end of the text; of a text that is JSON, such as an
/// escape hatch, what the fields for keys hold.
fn hide_private_key(text: &mut String) {
    hide_in_document(text);
    while let Some(mark) = text.find(MARK) {
        let start = text[..mark].rfind("-----").unwrap_or(mark);
        let behind = mark + MARK.len();
        let end = text[behind..].find(MARK).map_or(text.len(), |end| behind + end + MARK.len());
        text.replace_range(start..end, HIDDEN);
    }
    hide_encoded_private_key(text);
}

/// Writes a document anew if it holds something to hide.
fn hide_in_document(text: &mut String) {
    if !text.trim_start().starts_with(['{', '[']) {
        return;
    }
    let Ok(document) = serde_json::from_str::<Value>(text) else { return };
    let mut shown = document.clone();
    hide_private_keys_in(&mut shown);
    if shown != document {
        *text = shown.to_string();
    }
}

/// The same for PEM in base64, as the `inlineBytes` of Envoy's JSON are written: whatever stands before the key, its mark is
/// written in one of three ways.
fn hide_encoded_private_key(text: &mut String) {
    let is_encoded = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    for mark in &*ENCODED_MARKS {
        while let Some(found) = text.find(mark) {
            let start = found - text.as_bytes()[..found].iter().rev().take_while(|byte| is_encoded(byte)).count();
            let end = found + text.as_bytes()[found..].iter().take_while(|byte| is_encoded(byte)).count();
            text.replace_range(start..end, HIDDEN);
        }
    }
}

/// How base64 writes [`MARK`] behind any number of bytes, without the characters that say something of its neighbours too.
static ENCODED_MARKS: LazyLock<[String; 3]> = LazyLock::new(|| {
    [0, 1, 2].map(|before: usize| {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; before][..], MARK.as_bytes()].concat());
        let whole = (before + MARK.len()) * 8 / 6;
        encoded[(before * 8).div_ceil(6)..whole].to_owned()
    })
});

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of row, as short as it can be said.
    const WHOLE: &str = r#"{
        "Format": "meshgate-bundle",
        "Version": 1,
        "Agent": {"Datacenter": "east", "ClusterID": "11111111-2222-3333-4444-555555555555"},
        "Nodes": [{"Node": "n1", "Address": "10.0.0.1", "ModifyIndex": 7}],
        "Services": [{"Node": "n1", "Service": {"Service": "web", "Port": 80}}],
        "Checks": [{"Node": "n1", "Name": "up", "Status": "passing"}],
        "ConfigEntries": [{"Kind": "service-defaults", "Name": "web", "Protocol": "http"}],
        "Datacenters": [{"Name": "west"}],
        "Partitions": [{"Name": "team", "Description": "ours"}],
        "Namespaces": [{"Name": "blue", "Partition": "team", "Meta": {"a": "b"}}],
        "FederationStates": [{"Datacenter": "west", "MeshGateways": [
            {"Node": {"Node": "g"}, "Service": {"Kind": "mesh-gateway", "Service": "gw", "Port": 1, "ModifyIndex": 9}}]}],
        "Peerings": [{"Name": "p", "State": "ACTIVE"}],
        "PeerTrustBundles": [{"PeerName": "p", "TrustDomain": "two.consul", "RootPEMs": ["no PEM"]}],
        "ImportedServices": [{"PeerName": "p", "Node": {"Node": "x", "Datacenter": "north"}, "Service": {
            "Kind": "connect-proxy", "Service": "db-sidecar-proxy", "Proxy": {"DestinationServiceName": "db"},
            "Connect": {"PeerMeta": {"SNI": ["s"], "SpiffeID": ["u"], "Protocol": "tcp"}}},
            "Checks": [{"Name": "up", "Status": "maintenance"}]}],
        "PreparedQueries": [{"Name": "q", "Nodes": [{"Node": {"Node": "n"}, "Service": {"Service": "db"}}]}]
    }"#;

    fn problems(text: &str) -> Vec<String> {
        bundle(text.as_bytes()).expect_err("refused").0.iter().map(ToString::to_string).collect()
    }

    /// A bundle with these members.
    fn with(members: &str) -> String {
        format!("{{\"Format\": \"meshgate-bundle\", \"Version\": 1, {members}}}")
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let whole = bundle(WHOLE.as_bytes()).expect("nothing is wrong");

        assert_eq!(whole.nodes[0].modify_index, 7);
        assert_eq!(whole.services[0].value.datacenter.as_str(), "east");
        assert_eq!(whole.services[0].value.service.id.as_str(), "web");
        assert_eq!(whole.checks[0].value.check_id.as_str(), "up");
        let gateway = &whole.federation_states[0].value.mesh_gateways[0];
        assert_eq!((gateway.modify_index, gateway.node.datacenter.as_str()), (9, "west"));
        let Imported { datacenter, node, service, .. } = &whole.imported[0].value;
        assert_eq!((datacenter.as_str(), node.datacenter.as_str()), ("east", "north"));
        assert_eq!(service.peer_name.as_str(), "p");
        assert_eq!(whole.queries[0].value.nodes[0].node.datacenter.as_str(), "east");
    }

    #[test]
    fn keys_are_hidden_in_base64_wherever_they_begin() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";

        for before in
            ["", "a", "ab", "abc", "Bag Attributes\n", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"]
        {
            for engine in [base64::engine::general_purpose::STANDARD, base64::engine::general_purpose::URL_SAFE] {
                let mut value = serde_json::json!([format!("k={}!", engine.encode(format!("{before}{pem}")))]);
                hide_private_keys_in(&mut value);
                // The sign in front might belong to it.
                assert_eq!(
                    value[0].as_str().map(|text| text.replace("k=", "")),
                    Some("<hidden>!".to_owned()),
                    "{before}"
                );
            }
        }
    }

    #[test]
    fn secrets_are_hidden_in_the_text_of_an_escape_hatch() {
        let typed = serde_json::json!({
            "private_key": { "filename": "key.pem" }, "password": "open", "connect_timeout": "1s",
        });
        let cluster = serde_json::json!({ "name": "api", "typed": typed }).to_string();
        let mut value = serde_json::json!({ "envoy_cluster_json": cluster });
        hide_private_keys_in(&mut value);
        let shown: Value = serde_json::from_str(value["envoy_cluster_json"].as_str().unwrap()).unwrap();
        let typed = serde_json::json!({ "private_key": "<hidden>", "password": "<hidden>", "connect_timeout": "1s" });
        assert_eq!(shown, serde_json::json!({ "name": "api", "typed": typed }));

        // What holds nothing of the sort stays as it was written, to the space.
        let plain = serde_json::json!({ "envoy_cluster_json": "{ \"name\" :  \"api\" }", "text": "{ no JSON" });
        let mut shown = plain.clone();
        hide_private_keys_in(&mut shown);
        assert_eq!(shown, plain);
    }

    #[test]
    fn keys_are_hidden_in_base64_too() {
        let key = "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tCk1JSQotLS0tLUVORCBFQyBQUklWQVRFIEtFWS0tLS0tCg==";
        let certificate = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSQo=";
        let mut value =
            serde_json::json!({ "hatch": format!("{{\"a\":\"{certificate}\",\"b\":\"{key}\"}}"), "k": key });

        hide_private_keys_in(&mut value);

        let hatch = format!("{{\"a\":\"{certificate}\",\"b\":\"<hidden>\"}}");
        assert_eq!(value, serde_json::json!({ "hatch": hatch, "k": "<hidden>" }));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let whole = bundle(WHOLE.as_bytes()).expect("nothing is wrong");

        let text = bundle_to_json(&whole).expect("it can be written");

        assert_eq!(bundle(text.as_bytes()), Ok(whole));
    }

    #[test]
    fn a_document_that_is_no_bundle_of_this_version_is_told_nothing_else() {
        for (text, expected) in [
            ("[]", "line 1: this is no bundle: expected an object with the Format \"meshgate-bundle\""),
            ("{\n\"Foramt\": 1}", "line 1: this is no bundle: expected an object with the Format \"meshgate-bundle\""),
            ("{\"Format\": \"meshgate-bundle\", \"x\": 1}", "line 1: Version: missing; 1 is read"),
            (
                "{\"Format\": \"meshgate-bundle\",\n\"Version\": 2, \"x\": 1}",
                "line 2: Version: expected 1, found the number 2: use the version of meshgate that wrote the bundle",
            ),
            ("{", "line 1: invalid JSON: EOF while parsing an object, at column 1"),
        ] {
            assert_eq!(problems(text), [expected], "{text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_its_place() {
        let text = with(
            r#"
            "Peers": [],
            "Agent": {"ClusterID": "one"},
            "Nodes": [{"Node": "n", "Address": "a", "Adress": "b"}, {"Node": "m", "Address": "a"},
                {"Node": "m", "Address": "c"}],
            "Services": {},
            "Checks": [{"Node": "m", "Name": "c", "ModifyIndex": -1}],
            "Datacenters": [{"Name": "dc3", "ModifyIndex": 9007199254740993}],
            "Peerings": [{"Name": "A", "State": "AWAY"}],
            "PeerTrustBundles": [{"PeerName": "b"}]"#,
        );

        assert_eq!(
            problems(&text),
            [
                "line 2: Peers: invalid config key \"Peers\", did you mean \"Peerings\"?",
                "line 3: Agent.ClusterID: \"one\" is not a UUID",
                "line 4: Nodes[0].Adress: json: unknown field \"Adress\", did you mean \"Address\"?",
                "line 5: Nodes[2]: the same row is there already",
                "line 6: Services: expected a list, found an object",
                "line 7: Checks[0].ModifyIndex: expected a whole number from 0 to 9007199254740992, found the number -1",
                "line 8: Datacenters[0].ModifyIndex: expected a whole number from 0 to 9007199254740992, found the \
                 number 9007199254740993",
                "line 9: Peerings[0].State: unknown value \"AWAY\": expected one of \"UNDEFINED\", \"PENDING\", \
                 \"ESTABLISHING\", \"ACTIVE\", \"FAILING\", \"DELETING\", \"TERMINATED\"",
                "line 9: Peerings[0].Name: \"A\" is no name of a peering: a peering's name has 1 to 63 lower-case \
                 letters, digits and -, with a letter or digit at both ends",
                "line 10: PeerTrustBundles[0].TrustDomain: must be the trust domain of the peer",
            ]
        );
    }

    #[test]
    fn rows_are_on_nodes_of_the_bundle() {
        let on =
            |nodes: &str| with(&format!("\"Nodes\": [{nodes}], \"Checks\": [{{\"Node\": \"n\", \"Name\": \"c\"}}]"));

        assert_eq!(problems(&on("")), ["line 1: Checks[0].Node: Nodes has no node \"n\" in dc1/default"]);
        // A node that was refused is not told to be missing as well.
        assert_eq!(problems(&on("{\"Node\": \"n\"}")), ["line 1: Nodes[0].Address: must be the address of the node"]);
    }

    #[test]
    fn many_problems_are_counted() {
        let text = with(&format!("\"Peerings\": [{}]", vec!["{}"; 60].join(", ")));

        let told = problems(&text);

        assert_eq!((told.len(), told.last().map(String::as_str)), (51, Some("and 10 more")));
    }

    #[test]
    fn private_keys_are_not_written() {
        let pem = |label| format!("-----BEGIN {label}-----\nMII\n-----END {label}-----");
        for (text, hidden) in [
            (pem("CERTIFICATE"), pem("CERTIFICATE")),
            (format!("a{}b{}", pem("EC PRIVATE KEY"), pem("PRIVATE KEY")), "a<hidden>b<hidden>".to_owned()),
            ("-----BEGIN PRIVATE KEY-----\ncut".to_owned(), "<hidden>".to_owned()),
            ("PRIVATE KEY-----".to_owned(), "<hidden>".to_owned()),
        ] {
            let value = PeerTrustBundle { root_pems: vec![text], ..PeerTrustBundle::default() };
            let trust_bundles = vec![Indexed { value, modify_index: 1 }];

            let written = bundle_to_json(&Bundle { trust_bundles, ..Bundle::default() }).expect("it can be written");

            let read: serde_json::Value = serde_json::from_str(&written).expect("it is JSON");
            assert_eq!(read["PeerTrustBundles"][0]["RootPEMs"][0], hidden);
        }
    }
}
