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
        config_entry(text.as_bytes(), Format::Yaml).into_result().expect_err("several").to_string(),
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
             ingress-gateway, mesh, proxy-defaults, service-defaults, service-intentions, service-resolver, \
             service-router, service-splitter, terminating-gateway",
            "line 10: config_entries.boot: invalid config key \"boot\", did you mean \"bootstrap\"?",
            "line 12: datacenter: invalid config key \"datacenter\"",
        ]
    );
}

#[test]
fn an_entry_needs_a_known_kind() {
    let refused = |text: &str| config_entry(text.as_bytes(), Format::Json).into_result().expect_err(text).to_string();

    assert!(refused("{\"Name\": \"a\"}").contains("needs a Kind"));
    assert_eq!(refused("{\"Kind\": 1}"), "line 1: Kind: Kind must be a string, found the number 1");
    assert!(refused("{\"kind\": \"x\"}").contains("invalid config entry kind: x"));
    assert_eq!(
        refused("{\"kind\": \"mesh-gateway\"}"),
        "line 1: Kind: invalid config entry kind: mesh-gateway, which a registration has: put it into a service block"
    );
    assert_eq!(refused("[]"), "line 1: expected an object with a Kind, found a list of 0");
    assert_eq!(
        refused("{\"Kind\": \"jwt-provider\"}"),
        "line 1: Kind: invalid config entry kind: jwt-provider, of which meshgate keeps no entries: expected \
         one of exported-services, ingress-gateway, mesh, proxy-defaults, service-defaults, service-intentions, \
         service-resolver, service-router, service-splitter, terminating-gateway"
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

    let ConfigEntry::ProxyDefaults(entry) = config_entry(text.as_bytes(), Format::Json).into_result().expect("valid")
    else {
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
    assert_eq!(items(&[tree]).into_result().expect("valid").services[0].name, "a");
}

#[test]
fn texts_are_written_in_field_order() {
    let entry =
        config_entry(b"Kind = \"service-resolver\" Name = \"api\" Redirect { Datacenter = \"dc2\" }", Format::Hcl)
            .into_result()
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

fn judged(text: &str, rules: impl FnOnce(&ServiceDefinition) -> Problems) -> Vec<String> {
    let problems = service_definition(text.as_bytes()).whole_or_judged(rules).expect_err(text);
    problems.0.iter().map(ToString::to_string).collect()
}

fn broken(paths: &[&str]) -> Problems {
    Problems(paths.iter().map(|path| Problem::rule(*path, "is forbidden")).collect())
}

#[test]
fn rules_see_what_could_be_decoded_and_are_told_in_the_order_of_the_source() {
    let text =
        "{\n\"Prot\": 1,\n\"Name\": \"web\",\n\"Port\": \"80\",\n\"Checks\": [5,\n{\"TTL\": \"1s\"}],\n\"ID\": \"x\"}";

    let told = judged(text, |service| {
        assert_eq!((service.name.as_str(), service.port, service.checks.len()), ("web", 0, 1));
        broken(&["ID", "Port", "Checks", "Checks[0].TTL", "Name", "Meta.a"])
    });

    assert_eq!(
        told,
        [
            "line 1: Meta.a: is forbidden",
            "line 2: Prot: json: unknown field \"Prot\", did you mean \"Port\"?",
            "line 3: Name: is forbidden",
            "line 4: Port: expected a whole number from 0 to 65535, found the string \"80\"",
            "line 5: Checks[0]: expected an object, found the number 5",
            "line 6: Checks[1].TTL: is forbidden",
            "line 7: ID: is forbidden",
        ]
    );
}

#[test]
fn what_can_be_decoded_whole_is_left_to_the_caller_to_judge() {
    let whole = service_definition(br#"{"Name": "web"}"#).whole_or_judged(|_| broken(&["Name"]));
    assert_eq!(whole.expect("nothing is refused").name, "web");

    let no_text = service_definition(b"{").whole_or_judged(|_| broken(&["Name"])).expect_err("cut short");
    assert_eq!(no_text.0.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::Syntax]);
}

#[test]
fn items_are_judged_at_their_places() {
    let text = "service { name = \"a\" prot = 1 }\nconfig_entries {\n  bootstrap { kind = \"mesh\" }\n  bootstrap {\n    \
                kind = \"proxy-defaults\"\n    name = \"x\"\n  }\n}\nservices { name = \"b\" }\n";
    let documents = parse_documents(text.as_bytes(), Format::Hcl).expect("valid");

    let mut found = items(&documents);
    found.services.iter_mut().for_each(|service| service.judge(|_| broken(&["Name"])));
    found.entries[1].judge(|_| broken(&["Name"]));

    let told: Vec<_> = found.into_result().expect_err("broken").0.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 1: service.prot: invalid config key \"prot\", did you mean \"port\"?",
            "line 1: service.Name: is forbidden",
            "line 6: config_entries.bootstrap[1].Name: is forbidden",
            "line 9: services.Name: is forbidden",
        ]
    );
}

#[test]
fn rules_leave_the_bound_on_reports_as_it_is() {
    let meta: Vec<_> = (0..100).map(|n| format!("Meta.{n}")).collect();
    let paths: Vec<_> = meta.iter().map(String::as_str).collect();

    let told = judged(r#"{"Prot": 1}"#, |_| broken(&paths));

    assert_eq!(told.len(), lenient::MAX_PROBLEMS);
    assert!(told.iter().any(|line| line.contains("Prot")), "{told:?}");
}
