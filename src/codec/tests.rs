use super::*;
use crate::model::EntryKind;

fn found(text: &str, format: Format) -> (Vec<String>, Vec<EntryKind>) {
    let found = definitions(text.as_bytes(), format).unwrap_or_else(|problems| panic!("{problems}"));
    let services = found.services.iter().map(|service| service.name.clone()).collect();
    (services, found.entries.iter().map(ConfigEntry::kind).collect())
}

fn refused(text: &str, format: Format) -> Vec<String> {
    definitions(text.as_bytes(), format).expect_err(text).0.iter().map(ToString::to_string).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_mixes_services_and_entries() {
    let text = r#"
        service { name = "a" }
        services = [{ name = "b" }]
        services { name = "c" }
        config_entries {
          bootstrap = [
            { kind = "proxy-defaults" name = "global" config { protocol = "http" } mesh_gateway { mode = "local" } },
            { kind = "mesh" peering { peer_through_mesh_gateways = true } }
          ]
        }
        config_entries { bootstrap { kind = "service-defaults" name = "a" } }
    "#;

    assert_eq!(
        found(text, Format::Hcl),
        (names(&["a", "b", "c"]), vec![EntryKind::ProxyDefaults, EntryKind::Mesh, EntryKind::ServiceDefaults])
    );
}

#[test]
fn yaml_holds_several_documents() {
    let text = "Kind: mesh\n---\nservice: {name: a}\n---\n---\nkind: proxy-defaults\nname: global\n";

    assert_eq!(found(text, Format::Yaml), (names(&["a"]), vec![EntryKind::Mesh, EntryKind::ProxyDefaults]));
    assert_eq!(found("", Format::Yaml), (vec![], vec![]));
    assert_eq!(
        config_entry(text.as_bytes(), Format::Yaml).expect_err("several").to_string(),
        "line 3: expected one document, found another"
    );
}

#[test]
fn an_entry_whose_field_is_called_services_is_an_entry() {
    let text = r#"{"Kind": "exported-services", "Name": "default", "Services": [{"Name": "a", "Consumers": [{}]}]}"#;

    assert_eq!(found(text, Format::Json), (vec![], vec![EntryKind::ExportedServices]));
}

#[test]
fn problems_name_the_place_in_the_file() {
    let text = "service { nam = \"a\" }\nservices = [{}, { port = \"x\" }]\nconfig_entries {\n  bootstrap = [\n    \
                { kind = \"mesh\" },\n    { kind = \"proxy-defaults\" mesh_gateway { mode = \"x\" } },\n    \
                { kind = \"proxy-default\" },\n    { name = \"a\" },\n  ]\n  boot = 1\n}\ndatacenter = \"dc1\"\n";

    assert_eq!(
        refused(text, Format::Hcl),
        [
            "line 1: service.nam: invalid config key \"nam\", did you mean \"name\"?",
            "line 2: services[1].Port: expected a whole number from 0 to 65535, found the string \"x\"",
            "line 6: config_entries.bootstrap[1].MeshGateway.Mode: unknown mesh gateway mode \"x\": expected \"none\", \
             \"local\" or \"remote\" (lower case)",
            "line 7: config_entries.bootstrap[2].Kind: invalid config entry kind: proxy-default, did you mean \
             \"proxy-defaults\"?",
            "line 8: config_entries.bootstrap[3]: a config entry needs a Kind at its top: one of exported-services, \
             mesh, proxy-defaults, service-defaults, service-resolver",
            "line 10: config_entries.boot: invalid config key \"boot\", did you mean \"bootstrap\"?",
            "line 12: datacenter: invalid config key \"datacenter\"",
        ]
    );
}

#[test]
fn an_entry_needs_a_known_kind() {
    let refused = |text: &str| config_entry(text.as_bytes(), Format::Json).expect_err(text).to_string();

    assert!(refused("{\"Name\": \"a\"}").contains("needs a Kind"));
    assert_eq!(refused("{\"Kind\": 1}"), "line 1: Kind: Kind must be a string, found the number 1");
    assert!(refused("{\"kind\": \"x\"}").contains("invalid config entry kind: x"));
    assert_eq!(
        refused("{\"kind\": \"mesh-gateway\"}"),
        "line 1: Kind: invalid config entry kind: mesh-gateway, which a registration has: put it into a service block"
    );
    assert_eq!(refused("[]"), "line 1: expected an object with a Kind, found a list of 0");
    assert_eq!(
        refused("{\"Kind\": \"service-router\"}"),
        "line 1: Kind: invalid config entry kind: service-router, of which meshgate keeps no entries: expected \
         one of exported-services, mesh, proxy-defaults, service-defaults, service-resolver"
    );
    assert_eq!(
        refused("{\"Kind\": \"service-resolvr\"}"),
        "line 1: Kind: invalid config entry kind: service-resolvr, did you mean \"service-resolver\"?"
    );
}

#[test]
fn what_a_reply_shows_may_be_sent_back() {
    let text = r#"{"Kind":"proxy-defaults","Name":"global","Partition":"default","Namespace":"default","CreateIndex":1,
                   "ModifyIndex":2,"Hash":3,"Config":{"a":1}}"#;

    let ConfigEntry::ProxyDefaults(entry) = config_entry(text.as_bytes(), Format::Json).expect("valid") else {
        panic!("another kind")
    };
    assert_eq!(entry.config["a"], 1);
}

#[test]
fn agent_settings_are_split_off_before() {
    let mut tree =
        parse(b"datacenter = \"dc2\"\nports { http = 1 }\nservice { name = \"a\" }", Format::Hcl).expect("valid");

    let settings = tree.split_off(&["datacenter", "ports"]);

    assert_eq!(settings.get("datacenter").map(|tree| &tree.content), Some(&Content::String("dc2".to_owned())));
    assert_eq!(definitions_in(&[tree]).expect("valid").services[0].name, "a");
}

#[test]
fn texts_are_written_in_field_order() {
    let entry =
        config_entry(b"Kind = \"service-resolver\" Name = \"api\" Redirect { Datacenter = \"dc2\" }", Format::Hcl)
            .expect("valid");

    assert_eq!(
        to_json_pretty(&entry).expect("writes"),
        "{\n    \"Kind\": \"service-resolver\",\n    \"Name\": \"api\",\n    \"Redirect\": {\n        \
         \"Datacenter\": \"dc2\"\n    }\n}"
    );
    assert_eq!(
        to_hcl(&entry).expect("writes"),
        "Kind = \"service-resolver\"\nName = \"api\"\nRedirect {\n  Datacenter = \"dc2\"\n}\n"
    );
    assert_eq!(to_yaml(&entry).expect("writes"), "Kind: service-resolver\nName: api\nRedirect:\n  Datacenter: dc2\n");
}

#[test]
fn what_is_no_text_is_refused_with_its_line() {
    assert_eq!(
        parse(b"a = 1\nb = \"\xff\"", Format::Hcl).expect_err("not UTF-8").to_string(),
        "line 2: the text is not UTF-8"
    );
    assert!(parse(&vec![b' '; MAX_BYTES + 1], Format::Hcl).expect_err("too large").message.contains("more than"));
}

#[test]
fn formats_are_known_by_their_extensions() {
    let formats = ["hcl", "json", "yml", "yaml", "txt"].map(Format::from_extension);

    assert_eq!(formats, [Some(Format::Hcl), Some(Format::Json), Some(Format::Yaml), Some(Format::Yaml), None]);
}
