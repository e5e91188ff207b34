//! A change as a person makes it: what would happen, the change, and whether it is live; with exit codes for scripts.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "support/agent.rs"]
mod agent;

use std::path::Path;
use std::process::Output;

use agent::{Agent, meshgate};
use serde_json::Value;

const WEB: &str = r#"
    service {
      name = "web"
      port = 8080
      connect { sidecar_service { proxy { upstreams = [{ destination_name = "api", local_bind_port = 9191 }] } } }
    }
    service {
      name = "api"
      port = 8081
      connect { sidecar_service {} }
    }
"#;

/// What a command printed, its errors, and its exit code.
fn told(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_change_is_planned_made_and_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let services = write(directory.path(), "services.hcl", WEB);
    let entry = "Kind = \"service-resolver\"\nName = \"api\"\nConnectTimeout = \"7s\"\n";
    let resolver = write(directory.path(), "resolver.hcl", entry);
    let agent = Agent::start("-dev");
    let run = |line: &str| told(&agent.run(line));

    let (text, _, code) = run(&format!("apply -f {services} -wait"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("+ service/web-sidecar-proxy") && text.contains(" is live: 0 of 0 proxies"), "{text}");

    let (text, _, code) = run(&format!("plan -f {resolver}"));
    assert_eq!(code, 2, "{text}");
    for part in [
        "+ service-resolver/api",
        "Affects 1 of 2 proxies, 0 of them connected.",
        "clusters-changed  1        1 ",
        &format!("Run `meshgate apply -f {resolver} -wait`."),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (text, _, _) = run(&format!("plan -o wide -f {resolver}"));
    assert!(text.contains("connectTimeout: \"5s\" -> \"7s\""), "{text}");
    let (text, _, code) = run(&format!("plan -o json -f {resolver}"));
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, plan["Affected"][0]["ID"].as_str()), (2, Some("web-sidecar-proxy")));

    let (text, _, code) = run(&format!("apply -f {resolver}"));
    assert!(code == 0 && text.contains("Applied: revision "), "{text}");
    for command in ["plan", "diff"] {
        let (text, _, code) = run(&format!("{command} -f {resolver}"));
        assert_eq!(code, 0, "{text}");
    }
    // What is there already may not be live yet.
    let (text, _, code) = run(&format!("apply -o json -wait -f {resolver}"));
    let again: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, again["Applied"]["Changed"].as_bool()), (0, Some(false)));
    assert_eq!(
        (again["Reached"]["Live"].as_bool(), &again["Reached"]["Revision"]),
        (Some(true), &again["Applied"]["Index"])
    );
    assert_eq!(run("wait -timeout 5s").2, 0);
    // No such commit: that is the fault of whoever asks.
    assert_eq!(run("wait -revision 1000000").2, 3);

    let checked =
        WEB.replace("port = 8081\n", "port = 8081\n check { http = \"http://10.0.0.1/\" interval = \"10s\" }\n");
    let checked = write(directory.path(), "checked.hcl", &checked);
    for command in ["plan", "diff"] {
        let (text, _, code) = run(&format!("{command} -f {checked}"));
        assert!(code == 2 && text.contains("Checks.service:api: (unset) -> "), "{text}");
    }

    let (text, _, code) = run("diff -delete service-resolver/api");
    assert_eq!((text.as_str(), code), ("- service-resolver/api\n", 2));
    assert_eq!(run("apply -delete service-resolver/api").2, 0);
    assert_eq!(run("diff -delete service-resolver/api").2, 0);
}

#[test]
fn what_an_owner_has_no_more_is_pruned_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let resolver = |name: &str| format!("Kind = \"service-resolver\"\nName = \"{name}\"\nConnectTimeout = \"7s\"\n");
    let folder = directory.path().join("team-a");
    std::fs::create_dir(&folder).unwrap();
    write(&folder, "services.hcl", WEB);
    write(&folder, "api.hcl", &resolver("api"));
    write(&folder, "old.hcl", &resolver("old"));
    write(&folder, "mesh.hcl", "Kind = \"mesh\"\nTransparentProxy { MeshDestinationsOnly = true }\n");
    let other = write(directory.path(), "other.hcl", &resolver("other"));
    let folder = folder.to_str().unwrap();
    let agent = Agent::start("-dev");
    let run = |line: &str| told(&agent.run(line));
    assert_eq!(run(&format!("apply -f {folder} -owner team-a")).2, 0);
    assert_eq!(run(&format!("apply -f {other} -owner team-b")).2, 0);
    assert_eq!(run(&format!("plan -f {folder} -owner team-a -prune")).2, 0);

    for name in ["old.hcl", "mesh.hcl"] {
        std::fs::remove_file(Path::new(folder).join(name)).unwrap();
    }
    let (web, _) = WEB.split_once("service {\n      name = \"api\"").unwrap();
    write(Path::new(folder), "services.hcl", web);
    write(Path::new(folder), "new.hcl", &resolver("new"));

    // What goes is told first, and with its sidecar.
    let (text, error, code) = run(&format!("plan -f {folder} -owner team-a -prune"));
    assert_eq!(code, 1, "web loses its endpoints: {text}{error}");
    let first: Vec<_> = text.lines().take(4).collect();
    let gone = ["- mesh/mesh", "- service-resolver/old", "- service/api", "- service/api-sidecar-proxy"];
    assert!(gone.iter().all(|line| first.contains(line)), "{text}{error}");
    assert!(text.contains("+ service-resolver/new") && !text.contains("other"), "{text}{error}");
    assert!(text.contains(&format!("Run `meshgate apply -f {folder} -owner team-a -prune -wait`.")), "{text}");

    let (text, error, code) = run(&format!("apply -f {folder} -owner team-a -prune -force"));
    assert_eq!(code, 0, "{text}{error}");
    assert_eq!(run("config list -kind service-resolver").0, "api\nnew\nother\n");
    assert_eq!(run(&format!("diff -f {folder} -owner team-a -prune")).2, 0);
    // Without the label nobody owns it.
    assert_eq!(run(&format!("apply -f {other}")).2, 0);
    let (text, error, code) = run(&format!("plan -f {folder} -owner team-b -prune"));
    assert!(code == 2 && !text.contains("- service-resolver/other"), "{text}{error}");
    assert_eq!(run(&format!("plan -f {folder} -prune")).2, 3);
}

#[test]
fn a_change_that_nobody_can_try_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let services = write(directory.path(), "services.hcl", WEB);
    let resolver = |name: &str| format!("Kind = \"service-resolver\"\nName = \"{name}\"\nConnectTimeout = \"7s\"\n");
    let touching = write(directory.path(), "touching.hcl", &resolver("api"));
    let unrelated = write(directory.path(), "unrelated.hcl", &resolver("unrelated"));
    let agent = Agent::start("-dev");
    let run = |line: &str| told(&agent.run(line));
    assert_eq!(run(&format!("apply -f {services}")).2, 0);

    let (text, error, code) = run(&format!("apply -f {touching} -canary 2 -canary-timeout 1s -wait"));
    assert!(code == 1 && text.contains("Trying it first, on at most 2 of the 0 connected proxies"), "{text}{error}");
    assert!(
        error.starts_with("error: nobody could try it: of the 1 proxies that the change touches none is "),
        "{error}"
    );
    assert!(error.contains("apply it without `canary`"), "{error}");
    assert_eq!(run(&format!("diff -f {touching}")).2, 2);
    let (text, error, code) = run(&format!("apply -f {unrelated} -canary 1"));
    assert!(code == 0 && text.contains("It touches no proxy: there was nothing to try\nApplied: "), "{text}{error}");
    let (text, error, code) = run(&format!("apply -f {unrelated} -canary 1"));
    assert!(code == 0 && text.contains("Nothing to change") && !text.contains("try"), "{text}{error}");
    let (text, _, code) = run("apply -o json -delete service-resolver/unrelated -canary 1");
    let applied: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, applied["Applied"]["Trial"].to_string().as_str()), (0, r#"{"Asked":1,"Proxies":[]}"#));

    for wrong in
        ["-canary 0", "-canary some", "-canary-for 1s", "-canary 1 -canary-for soon", "-canary 1 -canary-for 6m"]
    {
        assert_eq!(run(&format!("apply -f {touching} {wrong}")).2, 3, "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_a_code() {
    let directory = tempfile::tempdir().unwrap();
    let services = write(directory.path(), "services.hcl", WEB);
    let split = "Kind: service-splitter\nName: api\nSplits:\n- Weight: 100\n";
    let refused = write(directory.path(), "split.yaml", split);
    let typo = write(directory.path(), "typo.hcl", "Kind = \"service-defaults\"\nName = \"api\"\nProtocl = \"http\"\n");
    let nowhere = "Kind = \"service-resolver\"\nName = \"api\"\nRedirect { Service = \"nobody\" }\n";
    let nowhere = write(directory.path(), "nowhere.hcl", nowhere);
    let agent = Agent::start("-dev");
    let run = |line: &str| told(&agent.run(line));
    assert_eq!(run(&format!("apply -f {services}")).2, 0);
    assert_eq!(run("lint").2, 0);

    let (_, error, code) = run(&format!("plan -f {refused}"));
    assert!(code == 1 && error.contains("api speaks tcp"), "{error}");
    let (_, error, code) = run(&format!("plan -f {typo}"));
    assert!(code == 1 && error.contains("typo.hcl:3") && error.contains("Protocl"), "{error}");

    let (text, _, code) = run(&format!("plan -f {nowhere}"));
    assert!(code == 1 && text.contains("! MG-CFG-001  service-resolver/"), "{text}");
    let (_, error, code) = run(&format!("apply -f {nowhere}"));
    assert!(code == 1 && error.contains("nothing was changed") && error.contains("-force"), "{error}");
    assert_eq!(run("config list -kind service-resolver").0, "");
    assert_eq!(run(&format!("lint -f {nowhere}")).2, 1);
    assert_eq!(run(&format!("apply -force -f {nowhere}")).2, 0);
    let (text, _, code) = run("lint");
    assert!(code == 1 && text.contains("MG-CFG-001") && text.contains("      -> "), "{text}");

    assert_eq!(run("plan").2, 3);
    assert_eq!(run("plan -f /nowhere.hcl").2, 1);
    let none = meshgate(&format!("plan -f {nowhere} -http-addr 127.0.0.1:1")).output().unwrap();
    assert_eq!(none.status.code(), Some(4));
}

#[test]
fn files_are_validated_without_an_agent() {
    let directory = tempfile::tempdir().unwrap();
    let kubernetes = "apiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceDefaults\nmetadata:\n  name: api\nspec:\n  protocol: http\n";
    write(directory.path(), "defaults.yaml", kubernetes);
    write(directory.path(), "services.hcl", WEB);
    let folder = directory.path().to_str().unwrap();

    let good = told(&meshgate(&format!("validate -f {folder}")).output().unwrap());
    assert_eq!((good.0.as_str(), good.2), ("Configuration is valid!\n", 0), "{}", good.1);

    write(directory.path(), "typo.hcl", "Kind = \"service-defaults\"\nName = \"api\"\nProtocl = \"http\"\n");
    let (_, error, code) = told(&meshgate(&format!("validate -f {folder}")).output().unwrap());
    assert!(code == 1 && error.contains("typo.hcl:3"), "{error}");
}
