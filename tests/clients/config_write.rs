//! `meshgate config write` with files, folders and resources.

use std::path::Path;

use crate::agent::{Agent, meshgate};

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

/// A command about a folder, its exit code, and what it says, without the folder's name.
fn run(agent: &Agent, command: &str, folder: &Path) -> (i32, String) {
    let output = agent.run(&format!("{command} {}", folder.display()));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap().replace(&format!("{}/", folder.display()), "");
    (output.status.code().unwrap(), said)
}

fn commit(agent: &Agent, entry: &str) -> String {
    let (kind, name) = entry.split_once('/').unwrap();
    let read = agent.say(&format!("config read -kind {kind} -name {name}"));
    serde_json::from_str::<serde_json::Value>(&read).unwrap()["ModifyIndex"].to_string()
}

#[test]
fn a_folder_of_every_format_is_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            // The splitter comes first and needs the protocol that comes last.
            ("a.hcl", "Kind = \"service-splitter\"\nName = \"web\"\nSplits = [{ Weight = 100 }]\n"),
            ("b.json", r#"[{"Kind": "mesh"}, {"Kind": "service-resolver", "Name": "web"}]"#),
            (
                "c.yaml",
                "apiVersion: consul.hashicorp.com/v1alpha1\nkind: ProxyDefaults\nmetadata: {name: global}\nspec:\n  \
                 config: {protocol: http}\n---\nKind: exported-services\nName: default\nServices: []\n",
            ),
            ("notes.txt", "no configuration"),
        ],
    );
    let agent = Agent::start("-dev");

    let (code, said) = run(&agent, "config write", folder.path());

    assert_eq!(code, 0, "{said}");
    let written = [
        "service-splitter/web",
        "mesh/mesh",
        "service-resolver/web",
        "proxy-defaults/global",
        "exported-services/default",
    ];
    for entry in written {
        assert!(said.contains(&format!("Config entry written: {entry}\n")), "{said}");
    }
    assert!(said.contains("notes.txt: skipped"), "{said}");
    let commits: std::collections::BTreeSet<_> = written.iter().map(|entry| commit(&agent, entry)).collect();
    assert_eq!(commits.len(), 1);
}

#[test]
fn every_error_of_every_file_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("a.hcl", "Kind = \"service-defaults\"\nName = \"web\"\nProtocl = \"http\"\n"),
            ("b.yaml", "Kind: service-defaults\nName: api\n---\nKind: service-defaults\nName: db\nProtocol: htttp\n"),
            (
                "c.yaml",
                "apiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceDefaults\nmetadata: {name: x}\nspec:\n  \
                 meshGateway: {mode: sideways}\n",
            ),
            ("d.json", "{"),
            ("e.json", "{\"service\": {\"name\": \"x\"}}"),
        ],
    );
    let agent = Agent::start("-dev");

    let (code, said) = run(&agent, "config write", folder.path());

    assert_eq!(code, 1);
    for expected in [
        "a.hcl:3: Protocl: invalid config key \"Protocl\", did you mean \"Protocol\"?\n",
        "b.yaml:6: Protocol: unknown protocol \"htttp\"",
        "c.yaml:5: spec.meshGateway.mode: unknown mesh gateway mode \"sideways\"",
        "d.json:1: invalid JSON",
        "e.json: holds services: use `meshgate services register`\n",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in {said}");
    }
    assert_eq!(agent.say("config list -kind service-defaults"), "");
    let (_, judged) = run(&agent, "validate", folder.path());
    assert!(judged.contains("c.yaml:5") && judged.contains("spec.meshGateway.mode"), "{judged}");
}

#[test]
fn what_only_the_control_plane_sees_is_told_with_its_place_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let intentions = "Kind: service-intentions\nName: db\nPartition: team-b\nSources: [{Name: web, Action: allow}]\n";
    write(folder.path(), &[("a.yaml", "Kind: mesh\n"), ("b.yaml", intentions)]);
    let agent = Agent::start("-dev");

    let (code, said) = run(&agent, "config write -partition team-a", folder.path());

    assert_eq!(code, 1);
    assert!(said.contains("b.yaml:1: partition is \"team-a\" in the query and \"team-b\" in the body"), "{said}");
    assert_eq!(agent.say("config list -kind mesh -partition team-a"), "");

    let splitter = "Kind: service-splitter\nName: web\nSplits: [{Weight: 100}]\n";
    write(folder.path(), &[("b.yaml", splitter)]);
    let (code, said) = run(&agent, "config write", folder.path());
    assert_eq!(code, 1);
    assert!(said.contains("the discovery chain of web could not be compiled"), "{said}");
    assert_eq!(agent.say("config list -kind mesh"), "");
}

#[test]
fn an_entry_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let resource = "apiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceDefaults\nmetadata:\n  name: web\n";
    write(folder.path(), &[("a.hcl", "Kind = \"service-defaults\"\nName = \"web\"\n"), ("b.yaml", resource)]);

    let output = meshgate("config write").arg(folder.path()).output().unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    let place = folder.path().display();
    assert_eq!(
        said,
        format!("error: {place}/b.yaml:4: metadata.name: service-defaults/web is at {place}/a.hcl:1 already\n")
    );
}

#[test]
fn a_resource_is_deleted_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let resource = "apiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceIntentions\nmetadata: {name: x, namespace: \
                    shop}\nspec:\n  destination: {name: db}\n  sources: [{name: web, action: allow}]\n";
    write(folder.path(), &[("a.yaml", resource)]);
    let agent = Agent::start("-dev");
    let file = folder.path().join("a.yaml");

    assert_eq!(agent.say(&format!("config write {}", file.display())), "Config entry written: service-intentions/db\n");
    assert_eq!(agent.say("config list -kind service-intentions -namespace shop"), "db\n");
    let deleted = agent.say(&format!("config delete -filename {}", file.display()));

    assert_eq!(deleted, "Config entry deleted: service-intentions/db\n");
    assert_eq!(agent.say("config list -kind service-intentions -namespace shop"), "");
}

#[test]
fn a_file_and_an_option_that_name_two_places_delete_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let entry = "Kind: service-defaults\nName: web\nPartition: b\nNamespace: shop\n";
    write(folder.path(), &[("a.yaml", entry)]);
    let agent = Agent::start("-dev");
    let file = folder.path().join("a.yaml");
    agent.say(&format!("config write {}", file.display()));
    let other = folder.path().join("other.yaml");
    std::fs::write(&other, "Kind: service-defaults\nName: web\nNamespace: shop\n").unwrap();
    agent.say(&format!("config write -partition a {}", other.display()));

    for (options, expected) in [
        (
            "-partition a",
            "partition is \"a\" by -partition (CONSUL_PARTITION) and \"b\" in the file: give one, or the same",
        ),
        ("-namespace x", "namespace is \"x\" by -namespace (CONSUL_NAMESPACE) and \"shop\" in the file"),
    ] {
        let (code, said) = run(&agent, &format!("config delete {options} -filename"), &file);
        assert!(code != 0 && said.contains(expected), "{code} {said}");
    }
    for partition in ["a", "b"] {
        let listed = agent.say(&format!("config list -kind service-defaults -partition {partition} -namespace shop"));
        assert_eq!(listed, "web\n", "{partition}");
    }

    agent.say(&format!("config delete -partition b -namespace shop -filename {}", file.display()));
    assert_eq!(agent.say("config list -kind service-defaults -partition b -namespace shop"), "");
}
