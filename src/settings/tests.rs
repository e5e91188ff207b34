use std::path::Path;

use super::*;

fn inputs(flags: &[(&'static str, &str)]) -> Inputs {
    Inputs {
        flags: flags.iter().map(|(key, text)| (*key, (*text).to_owned())).collect(),
        host_name: Some("laptop".to_owned()),
        host_address: Some("10.0.0.5".parse().unwrap()),
        ..Inputs::default()
    }
}

fn dev(flags: &[(&'static str, &str)]) -> Inputs {
    Inputs { dev: true, ..inputs(flags) }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// What is wrong, without the directory that the files are in.
fn problems(inputs: &Inputs, directory: &Path) -> Vec<String> {
    let prefix = format!("{}/", directory.display());
    let SettingsError(problems) = Settings::load(inputs).unwrap_err();
    problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

#[test]
fn dev_needs_nothing() {
    let settings = Settings::load(&dev(&[])).unwrap();

    assert_eq!(
        settings,
        Settings {
            datacenter: Datacenter::from("dc1"),
            hosted_datacenters: Vec::new(),
            node_name: NodeName::from("laptop"),
            node_id: None,
            node_meta: BTreeMap::new(),
            data_dir: None,
            dev: true,
            http: vec!["127.0.0.1:8500".parse().unwrap()],
            https: None,
            grpc: vec!["127.0.0.1:8502".parse().unwrap()],
            grpc_tls: None,
            advertise: "127.0.0.1".parse().unwrap(),
            advertise_wan: None,
            check_output_max_size: 4096,
            history: Retention { commits: 1024, bytes: 16 << 20 },
            sidecar_ports: SidecarPorts { min: 21_000, max: 21_255 },
            default_intention_policy: IntentionPolicy::Allow,
            ca: None,
            cluster_id: None,
            waits: Waits { default: Duration::from_secs(300), longest: Duration::from_secs(600) },
            access: Access::default(),
            domain: DnsDomain::default(),
            services: Vec::new(),
            checks: Vec::new(),
            entries: Vec::new(),
            log: LogOptions { level: "info".to_owned(), json: false },
            shutdown_deadline: Duration::from_secs(10),
            prometheus: false,
            traces: None,
            inputs: dev(&[]),
            warnings: Vec::new(),
        }
    );
}

#[test]
fn flags_win_over_variables_over_later_files_over_earlier_ones() {
    let directory = tempfile::tempdir().unwrap();
    let text = |level: &str, port: u16| format!(r#"{{"datacenter": "{level}", "ports": {{"http": {port}}}}}"#);
    let mut inputs = inputs(&[("data_dir", "/var/lib/meshgate")]);
    inputs.files = vec![
        write(directory.path(), "one.json", r#"{"node_name": "from-file-1", "log_level": "WARN", "datacenter": "a"}"#),
        write(directory.path(), "two.json", &text("b", 1)),
    ];
    inputs.variables.insert("MESHGATE_PORTS_HTTP".to_owned(), "2".to_owned());
    inputs.variables.insert("MESHGATE_DATACENTER".to_owned(), "c".to_owned());
    inputs.flags.push(("datacenter", "D".to_owned()));

    let settings = Settings::load(&inputs).unwrap();

    assert_eq!(settings.datacenter, Datacenter::from("d"));
    assert_eq!(settings.http, ["127.0.0.1:2".parse().unwrap()]);
    assert_eq!(settings.node_name, NodeName::from("from-file-1"));
    assert_eq!(settings.log.level, "warn");
    assert_eq!(settings.advertise, "10.0.0.5".parse::<IpAddr>().unwrap());
}

#[test]
fn calls_are_restricted_as_in_consul() {
    let directory = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        let path = write(directory.path(), "agent.hcl", text);
        Inputs { files: vec![path], ..dev(&[]) }
    };
    let all = r#"
        default_query_time = "30s"
        max_query_time     = "1m"
        http_config {
          block_endpoints       = ["/v1/agent/monitor"]
          allow_write_http_from = ["10.0.0.0/8", "::1/128"]
          response_headers { Access-Control-Allow-Origin = "*" }
          use_cache = true
        }
    "#;
    let wrong = r#"
        default_query_time = "soon"
        http_config {
          block_endpoints       = ["monitor"]
          allow_write_http_from = ["10.0.0.0"]
          response_headers { "a b" = "c" }
        }
    "#;

    let settings = Settings::load(&with(all)).unwrap();

    assert_eq!(settings.waits, Waits { default: Duration::from_secs(30), longest: Duration::from_secs(60) });
    let Access { blocked, writers, headers } = &settings.access;
    assert_eq!((blocked.as_slice(), writers.len()), (&["/v1/agent/monitor".to_owned()][..], 2));
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(settings.warnings[0].ends_with("without effect in meshgate: http_config.use_cache"));
    assert_eq!(
        problems(&with(wrong), directory.path()),
        [
            "agent.hcl:2: default_query_time: invalid duration \"soon\": expected a number with a unit, such as \"30s\", \"250ms\" \
             or \"1h30m\"",
            "agent.hcl:6: http_config.response_headers: \"a b\" cannot be a header with the value \"c\"",
            "agent.hcl:4: http_config.block_endpoints: \"monitor\" is no path: begin with /v1/",
            "agent.hcl:5: http_config.allow_write_http_from: \"10.0.0.0\" is no network: use an address and a number of bits, \
             such as 10.0.0.0/8",
        ]
    );
}

#[test]
fn the_certificate_authority_is_configured_as_in_consul() {
    let directory = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        let path = write(directory.path(), "agent.hcl", text);
        Inputs { files: vec![path], ..dev(&[]) }
    };
    let all = r#"
        connect {
          enabled     = true
          ca_provider = "consul"
          ca_config {
            cluster_id         = "11111111-2222-3333-4444-555555555555"
            leaf_cert_ttl      = "24h"
            root_cert_ttl      = "9000h"
            csr_max_per_second = 7
            private_key_type   = "rsa"
            private_key_bits   = 2048
          }
        }
    "#;
    let wrong = r#"
        connect {
          ca_provider = "vault"
          ca_config {
            leaf_cert_ttl    = "30m"
            private_key_bits = 521
            cluster_id       = "mine"
          }
        }
    "#;

    let settings = Settings::load(&with(all)).unwrap();

    let ca = settings.ca.unwrap();
    assert_eq!(settings.cluster_id.as_deref(), Some("11111111-2222-3333-4444-555555555555"));
    assert_eq!((ca.provider.as_str(), ca.config.key_kind()), ("consul", Some(crate::model::KeyKind::Rsa2048)));
    assert_eq!((ca.config.leaf_cert_ttl.to_string(), ca.config.csr_max_per_second), ("24h0m0s".to_owned(), 7.0));
    let [warning] = &settings.warnings[..] else { panic!("{:?}", settings.warnings) };
    assert!(warning.ends_with("without effect in meshgate: connect.enabled"), "{warning}");
    assert_eq!(
        problems(&with(wrong), directory.path()),
        [
            "agent.hcl:3: connect.ca_provider: \"vault\" is not there: the provider is \"consul\"",
            "agent.hcl:4: connect.ca_config: LeafCertTTL 30m is not between 1h and 8760h",
            "agent.hcl:4: connect.ca_config: PrivateKeyType no keys of type \"ec\" with 521 PrivateKeyBits are made: use ec \
             with 256 or 384, or rsa with 2048 or 4096",
            "agent.hcl:4: connect.ca_config: cluster_id \"mine\" is no UUID",
        ]
    );
    assert_eq!(
        problems(&with("connect {\n ca_config {\n leaf_ttl = \"1h\"\n}\n}"), directory.path()).len(),
        1,
        "a key that there is not"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let mut inputs = inputs(&[("ports.http", "99999"), ("shutdown_deadline", "soon")]);
    inputs.variables.insert("MESHGATE_CLIENT_ADDR".to_owned(), "everywhere".to_owned());
    let text = r#"{
        "datacentre": "dc1",
        "ports": {"grpc": -1, "gprc": 8502},
        "acl": {"enabled": true, "default_policy": "deny"},
        "service": {"name": "web", "address": "0.0.0.0"}
    }"#;
    inputs.files = vec![
        write(directory.path(), "agent.json", text),
        write(directory.path(), "notes.txt", ""),
        directory.path().join("missing.hcl"),
    ];

    assert_eq!(
        problems(&inputs, directory.path()),
        [
            "agent.json:2: datacentre: invalid config key datacentre; did you mean datacenter?",
            "agent.json:3: ports.gprc: invalid config key ports.gprc; did you mean ports.grpc?",
            "agent.json:4: acl.enabled: access control lists are not enforced: remove the key, and keep the ports away \
             from those who must not use them",
            "agent.json:5: service.Address: Invalid service address: it must be one that others can dial",
            "notes.txt: is no .hcl, .json or .yaml file: rename it, or add -config-format",
            "missing.hcl: No such file or directory (os error 2)",
            "MESHGATE_CLIENT_ADDR: \"everywhere\" is no IP address",
            "-http-port: 99999 is no port: use a number up to 65535",
            "agent.json:3: ports.grpc: xDS cannot be switched off: give a port, 0 to let the system choose one, or serve it \
             with TLS by ports.grpc_tls",
            "-shutdown-deadline: invalid duration \"soon\": expected a number with a unit, such as \"30s\", \"250ms\" or \
             \"1h30m\"",
            "data_dir: required, because the state is kept there (or use -dev, which keeps it in memory): set -data-dir, \
             MESHGATE_DATA_DIR, or data_dir in a file",
        ]
    );
}

#[test]
fn a_directory_is_read_by_name_and_other_suffixes_are_told() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "20-later.json", r#"{"hosted_datacenters": ["dc2", "dc3"], "node_name": "later"}"#);
    write(directory.path(), "10-first.json", r#"{"hosted_datacenters": "dc2", "node_name": "first"}"#);
    write(directory.path(), "README.md", "not read");
    std::fs::create_dir(directory.path().join("nested.json")).unwrap();
    let mut inputs = dev(&[("hosted_datacenters", "dc1,DC4")]);
    inputs.files = vec![directory.path().to_owned()];

    let settings = Settings::load(&inputs).unwrap();

    assert_eq!(settings.node_name, NodeName::from("later"));
    let hosted: Vec<_> = settings.hosted_datacenters.iter().map(Datacenter::as_str).collect();
    assert_eq!(hosted, ["dc2", "dc3", "dc4"]);
    let skipped = format!(
        "{}: skipped, because it is no .hcl, .json or .yaml file",
        directory.path().join("README.md").display()
    );
    assert_eq!(settings.warnings, [skipped]);
}

#[test]
fn keys_of_consul_without_a_meaning_are_told_and_do_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{"server": true, "connect": {"enabled": true}, "ports": {"dns": -1, "https": -1, "grpc": 8600}, "acl": {"enabled": false}}"#;
    let mut inputs = dev(&[("data_dir", "/var/lib/meshgate")]);
    inputs.files = vec![write(directory.path(), "agent.json", text)];

    let settings = Settings::load(&inputs).unwrap();

    let prefix = format!("{}/", directory.path().display());
    let warnings: Vec<_> = settings.warnings.iter().map(|text| text.replace(&prefix, "")).collect();
    assert_eq!(
        warnings,
        [
            "agent.json: without effect in meshgate: server, connect.enabled, ports.dns",
            "-data-dir: has no effect with -dev, which keeps the state in memory",
        ]
    );
    assert_eq!((settings.grpc[0].port(), settings.data_dir), (8600, None));
}

#[test]
fn services_and_entries_are_taken_from_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let hcl = r#"
        ports { grpc = 8600 }
        services {
          name = "mesh-gateway"
          kind = "mesh-gateway"
          port = 4431
        }
        config_entries {
          bootstrap {
            kind = "proxy-defaults"
            name = "global"
            config { protocol = "http" }
          }
          bootstrap { kind = "mesh" }
        }
    "#;
    let yaml = "kind: service-defaults\nname: web\nprotocol: http\n---\nkind: service-defaults\nname: api\n";
    write(directory.path(), "a.hcl", hcl);
    write(directory.path(), "b.yaml", yaml);
    write(directory.path(), "c.json", r#"{"service": {"Name": "web", "Port": "8080"}}"#);
    write(directory.path(), "d.hcl", "\n");
    let mut inputs = dev(&[]);
    inputs.files = vec![directory.path().to_owned()];
    inputs.snippets = vec![r#"node_name = "snippet""#.to_owned()];

    let settings = Settings::load(&inputs).unwrap();

    let services: Vec<_> = settings.services.iter().map(|service| (service.name.as_str(), service.port)).collect();
    assert_eq!(services, [("mesh-gateway", 4431), ("web", 8080)]);
    let entries: Vec<_> = settings.entries.iter().map(|entry| entry.key().to_string()).collect();
    assert_eq!(entries, ["proxy-defaults/global", "mesh/mesh", "service-defaults/web", "service-defaults/api"]);
    assert_eq!((settings.grpc[0].port(), settings.node_name.as_str()), (8600, "snippet"));
}

#[test]
fn what_is_wrong_in_a_definition_is_told_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let hcl = r#"
services = [
  { name = "web" port = 80 },
  {
    name = "api"
    meta { consul-x = "1" }
    connect { sidecar_service { proxy { upstreams { destination_name = "db" } } } }
  },
]
config_entries {
  bootstrap { kind = "mesh" }
  bootstrap {
    kind = "proxy-defaults"
    name = "mine"
  }
}
"#;
    let mut inputs = dev(&[]);
    inputs.files = vec![write(directory.path(), "agent.hcl", hcl)];

    assert_eq!(
        problems(&inputs, directory.path()),
        [
            "agent.hcl:6: services[1].Meta.consul-x: Invalid Service Meta: the key prefix \"consul-\" is reserved",
            "agent.hcl:7: services[1].Connect.SidecarService.Proxy.Upstreams[0].LocalBindPort: upstream local bind port or \
             local socket path must be defined and nonzero",
            "agent.hcl:14: config_entries.bootstrap[1].Name: invalid name \"mine\": a proxy-defaults entry is named \
             \"global\"",
        ]
    );
}

#[test]
fn rules_are_told_beside_what_cannot_be_decoded() {
    let directory = tempfile::tempdir().unwrap();
    let hcl = r#"
service {
  port = "http"
  address = "0.0.0.0"
  check { ttl = "soon" }
  checks = ["x", { http = "http://127.0.0.1" }]
  connect {
    sidecar_service { proxy { upstreams = [{ destination_name = "db" local_bind_port = "x" }, { local_bind_port = 1 }] } }
  }
}
config_entries {
  boot = 1
  bootstrap {
    kind = "service-defaults"
    name = { a = 1 }
    protocol = "htttp"
    MeshGatway { mode = "local" }
  }
}
"#;
    let mut inputs = dev(&[]);
    inputs.files = vec![write(directory.path(), "agent.hcl", hcl)];

    assert_eq!(
        problems(&inputs, directory.path()),
        [
            "agent.hcl:2: service.Name: Missing service name",
            "agent.hcl:3: service.Port: expected a whole number from 0 to 65535, found the string \"http\"",
            "agent.hcl:4: service.Address: Invalid service address: it must be one that others can dial",
            "agent.hcl:5: service.Check.TTL: invalid duration \"soon\": expected a number with a unit, such as \"30s\", \
             \"250ms\" or \"1h30m\"",
            "agent.hcl:6: service.Checks[0]: expected an object, found the string \"x\"",
            "agent.hcl:6: service.Checks[1].Interval: Invalid check: Interval must be greater than 0",
            "agent.hcl:8: service.Connect.SidecarService.Proxy.Upstreams[0].LocalBindPort: expected a whole number from 0 to \
             65535, found the string \"x\"",
            "agent.hcl:8: service.Connect.SidecarService.Proxy.Upstreams[1].DestinationName: upstream destination name \
             cannot be empty",
            "agent.hcl:12: config_entries.boot: invalid config key \"boot\", did you mean \"bootstrap\"?",
            "agent.hcl:15: config_entries.bootstrap.Name: expected a string, found an object",
            "agent.hcl:16: config_entries.bootstrap.Protocol: unknown protocol \"htttp\": expected \"tcp\", \"http\", \
             \"http2\" or \"grpc\"",
            "agent.hcl:17: config_entries.bootstrap.MeshGatway: invalid config key \"MeshGatway\", did you mean \
             \"MeshGateway\"?",
        ]
    );
}

#[test]
fn ports_that_exclude_each_other_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let flags = [("ports.grpc", "8500"), ("ports.sidecar_min_port", "30000")];

    assert_eq!(
        problems(&dev(&flags), directory.path()),
        [
            "-grpc-port: 127.0.0.1:8500 is also what ports.http says: each needs a port of its own",
            "-sidecar-min-port: the range of sidecar ports 30000..21255 is empty: the lowest port comes first",
        ]
    );
}

#[test]
fn tls_of_xds_is_what_its_own_keys_say_and_else_what_the_defaults_say() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"
        tls {
          defaults { ca_file = "ca.pem" cert_file = "cert.pem" key_file = "key.pem" verify_incoming = true }
          grpc { cert_file = "grpc.pem" key_file = "grpc-key.pem" tls_min_version = "TLSv1_3" }
        }
    "#;
    let inputs = Inputs { files: vec![write(directory.path(), "tls.hcl", text)], ..dev(&[("ports.grpc", "-1")]) };

    let settings = Settings::load(&inputs).unwrap();

    assert_eq!(settings.grpc, []);
    assert_eq!(
        settings.grpc_tls,
        Some(TlsListener {
            addresses: vec!["127.0.0.1:8503".parse().unwrap()],
            files: TlsFiles {
                section: TlsSection::Grpc,
                cert_file: "grpc.pem".into(),
                key_file: "grpc-key.pem".into(),
                client_ca_file: Some("ca.pem".into()),
                min_version: TlsVersion::V1_3,
            },
        })
    );
    let without = Inputs { flags: vec![("ports.grpc_tls", "-1".to_owned())], ..inputs };
    assert_eq!(Settings::load(&without).unwrap().grpc_tls, None);
}

#[test]
fn the_keys_of_older_versions_about_tls_count() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"
        ca_file         = "ca.pem"
        cert_file       = "cert.pem"
        key_file        = "key.pem"
        tls_min_version = "tls13"
        verify_incoming = true
        ports { https = 8501 }
    "#;
    let inputs = Inputs { files: vec![write(directory.path(), "old.hcl", text)], ..dev(&[]) };

    let settings = Settings::load(&inputs).unwrap();

    let files = settings.https.unwrap().files;
    assert_eq!((files.client_ca_file, files.min_version), (Some("ca.pem".into()), TlsVersion::V1_3));
    let warning = format!(
        "{}:6: verify_incoming: is tls.defaults.verify_incoming now, and counts as that where nothing else is said there",
        inputs.files[0].display()
    );
    assert!(settings.warnings.contains(&warning), "{:?}", settings.warnings);

    // What a file says by the name of today counts, wherever it stands in there.
    let both = r#"
        tls { defaults { ca_file = "new.pem" } }
        ca_file = "old.pem"
    "#;
    let files = [write(directory.path(), "old.hcl", text), write(directory.path(), "to-new.hcl", both)].to_vec();
    let settings = Settings::load(&Inputs { files, ..dev(&[]) }).unwrap();
    assert_eq!(settings.https.unwrap().files.client_ca_file, Some("new.pem".into()));
}

#[test]
fn tls_that_lacks_something_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{"tls": {"grpc": {"verify_incoming": true, "tls_min_version": "TLSv1_0"}}}"#;
    let flags = [("ports.grpc_tls", "8502")];
    let inputs = Inputs { files: vec![write(directory.path(), "tls.json", text)], ..dev(&flags) };

    assert_eq!(
        problems(&inputs, directory.path()),
        [
            "tls.json:1: tls.grpc.tls_min_version: is too old to be spoken: use TLSv1_2 or TLSv1_3",
            "-grpc-tls-port: 127.0.0.1:8502 is also what ports.grpc says: each needs a port of its own",
            "-grpc-tls-port: xDS with TLS needs a certificate, tls.grpc.cert_file, in a file",
            "-grpc-tls-port: xDS with TLS needs the private key of its certificate, tls.grpc.key_file, in a file",
            "-grpc-tls-port: xDS with TLS needs roots to verify the certificates of clients with, tls.grpc.ca_file, in a \
             file",
        ]
    );
}

#[test]
fn the_api_is_served_with_tls_where_a_port_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{"tls": {"https": {"cert_file": "api.pem", "key_file": "api-key.pem"}}}"#;
    let files = vec![write(directory.path(), "tls.json", text)];
    let closed = Inputs { files: files.clone(), ..dev(&[]) };
    let open = Inputs { files, ..dev(&[("ports.https", "8501")]) };

    assert_eq!(Settings::load(&closed).unwrap().https, None);
    assert_eq!(
        Settings::load(&open).unwrap().https,
        Some(TlsListener {
            addresses: vec!["127.0.0.1:8501".parse().unwrap()],
            files: TlsFiles {
                section: TlsSection::Https,
                cert_file: "api.pem".into(),
                key_file: "api-key.pem".into(),
                client_ca_file: None,
                min_version: TlsVersion::V1_2,
            },
        })
    );
    let without = dev(&[("ports.https", "8500")]);
    assert_eq!(
        problems(&without, directory.path()),
        [
            "-https-port: 127.0.0.1:8500 is also what ports.http says: each needs a port of its own",
            "-https-port: the HTTP API with TLS needs a certificate, tls.https.cert_file, in a file",
            "-https-port: the HTTP API with TLS needs the private key of its certificate, tls.https.key_file, in a file",
        ]
    );
}

#[test]
fn the_api_is_served_with_tls_alone_where_its_other_port_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{
        "ports": {"http": -1, "https": 8501},
        "tls": {"https": {"cert_file": "api.pem", "key_file": "api-key.pem"}}
    }"#;
    let files = vec![write(directory.path(), "tls.json", text)];

    let settings = Settings::load(&Inputs { files, ..dev(&[]) }).unwrap();

    assert_eq!(settings.http, []);
    assert_eq!(settings.https.as_ref().unwrap().addresses, ["127.0.0.1:8501".parse().unwrap()]);
    let shown = settings.to_redacted_json();
    assert_eq!((&shown["ports"]["http"], &shown["addresses"]["http"]), (&json!(-1), &json!(null)));
    assert_eq!(
        problems(&dev(&[("ports.http", "-1")]), directory.path()),
        [
            "-http-port: the HTTP API cannot be switched off: give a port, 0 to let the system choose one, or serve it with \
             TLS by ports.https"
        ]
    );
}

#[test]
fn a_port_may_be_open_at_several_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let flags = [("client_addr", "127.0.0.1 10.0.0.5  127.0.0.1"), ("addresses.grpc", "::1 localhost")];

    let settings = Settings::load(&dev(&flags)).unwrap();

    assert_eq!(settings.http, ["127.0.0.1:8500", "10.0.0.5:8500"].map(|text| text.parse().unwrap()));
    assert_eq!(settings.grpc, ["[::1]:8502", "127.0.0.1:8502"].map(|text| text.parse().unwrap()));
    assert_eq!(settings.to_redacted_json()["addresses"]["http"], "127.0.0.1 10.0.0.5");
    // Who writes them once more can read them.
    let again = [("addresses.http", "127.0.0.1 10.0.0.5")];
    assert_eq!(Settings::load(&dev(&again)).unwrap().http, settings.http);
    assert_eq!(
        problems(&dev(&[("client_addr", "127.0.0.1 here"), ("bind_addr", "10.0.0.1 10.0.0.2")]), directory.path()),
        [
            "-client: \"here\" is no IP address",
            "-bind: \"10.0.0.1 10.0.0.2\" are several addresses: give one, such as 0.0.0.0 for all",
        ]
    );
}

#[test]
fn templates_mean_addresses_of_this_host() {
    let directory = tempfile::tempdir().unwrap();
    let host = |interface: &str, ip: &str, is_default| HostAddress {
        interface: interface.to_owned(),
        ip: ip.parse().unwrap(),
        is_default,
    };
    let of = |text: &str| Inputs {
        files: vec![write(directory.path(), "agent.hcl", text)],
        host_addresses: vec![host("lo", "127.0.0.1", false), host("eth0", "10.0.0.5", true)],
        ..dev(&[])
    };
    let text = r#"
        client_addr    = "127.0.0.1 {{ GetPrivateIP }}"
        advertise_addr = "{{ GetInterfaceIP \"eth0\" }}"
    "#;

    let settings = Settings::load(&of(text)).unwrap();

    assert_eq!(settings.http, ["127.0.0.1:8500", "10.0.0.5:8500"].map(|text| text.parse().unwrap()));
    assert_eq!(settings.advertise, "10.0.0.5".parse::<IpAddr>().unwrap());
    let told = problems(&of("bind_addr = \"{{ GetInterfaceIP `eth1` }}\""), directory.path());
    assert_eq!(told, ["agent.hcl:1: bind_addr: {{ GetInterfaceIP `eth1` }}: no address of this host is like that"]);
}

#[test]
fn the_size_of_output_is_a_number_of_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let size = |text| dev(&[("check_output_max_size", text)]);

    assert_eq!(Settings::load(&size("100")).unwrap().check_output_max_size, 100);
    for wrong in ["0", "-1", "1048577", "big"] {
        let expected = format!("-check-output-max-size: {wrong:?} is no size: use a number of bytes from 1 to 1048576");
        assert_eq!(problems(&size(wrong), directory.path()), [expected]);
    }
}

#[test]
fn the_history_has_bounds_that_are_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let set = dev(&[("history_commits", "10"), ("history_bytes", "65536")]);

    assert_eq!(Settings::load(&set).unwrap().history, Retention { commits: 10, bytes: 65_536 });
    for (key, wrong, message) in [
        ("history_commits", "0", "-history-commits: \"0\" is no number of commits: use one from 1 to 1000000"),
        ("history_bytes", "1k", "-history-bytes: \"1k\" is no size: use a number of bytes from 1 to 17179869184"),
    ] {
        assert_eq!(problems(&dev(&[(key, wrong)]), directory.path()), [message]);
    }
}

#[test]
fn unknown_variables_are_told_unless_something_else_sets_them() {
    let mut inputs = dev(&[]);
    for name in ["MESHGATE_DATACENTRE", "MESHGATE_SERVICE_HOST", "MESHGATE_PORT_8500_TCP", "MESHGATE_CACHE_DIR", "HOME"]
    {
        inputs.variables.insert(name.to_owned(), "x".to_owned());
    }

    let warnings = Settings::load(&inputs).unwrap().warnings;

    assert_eq!(warnings, ["MESHGATE_DATACENTRE: there is no such setting; it has no effect"]);
}

#[test]
fn facts_about_the_node_are_overlaid() {
    let directory = tempfile::tempdir().unwrap();
    let mut inputs = dev(&[("node_meta", "rack=7")]);
    inputs.files = vec![write(
        directory.path(),
        "agent.json",
        r#"{"node_meta": {"rack": "1", "row": 3}, "node_id": "0A0B0C0D-0000-4000-8000-000000000001"}"#,
    )];

    let settings = Settings::load(&inputs).unwrap();

    let expected = [("rack".to_owned(), "7".to_owned()), ("row".to_owned(), "3".to_owned())];
    assert_eq!(settings.node_meta, BTreeMap::from(expected));
    assert_eq!(settings.node_id.as_deref(), Some("0a0b0c0d-0000-4000-8000-000000000001"));
}

#[test]
fn a_host_without_a_name_must_be_given_one() {
    let directory = tempfile::tempdir().unwrap();
    let nameless = Inputs { host_name: None, ..dev(&[]) };

    assert_eq!(
        problems(&nameless, directory.path()),
        ["node_name: this host has no name: set -node, MESHGATE_NODE_NAME, or node_name in a file"]
    );
}

#[test]
fn secrets_are_not_shown() {
    let mut value = json!([{"Name": "web", "Check": {"Header": {"Authorization": ["Bearer x"]}, "HTTP": "http://x"}, "Token": "t"}]);

    hide_secrets(&mut value);

    assert_eq!(
        value,
        json!([{"Name": "web", "Check": {"Header": "<hidden>", "HTTP": "http://x"}, "Token": "<hidden>"}])
    );
}

#[test]
fn prometheus_is_served_where_metrics_are_kept_for_some_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.hcl");
    let served = |time: &str| {
        let text = format!("telemetry {{\n prometheus_retention_time = {time:?}\n disable_hostname = true\n}}");
        std::fs::write(&path, text).unwrap();
        let settings = Settings::load(&Inputs { files: vec![path.clone()], ..dev(&[]) }).unwrap();
        assert!(settings.warnings[0].ends_with("without effect in meshgate: telemetry.disable_hostname"));
        settings.prometheus
    };

    assert_eq!((served("0s"), served("60s")), (false, true));
}

#[test]
fn checks_of_files_stand_alone_and_are_judged_with_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checks.hcl");
    let load = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Inputs { files: vec![path.clone()], ..dev(&[]) }
    };

    let right = "check {\n id = \"disk\"\n name = \"Disk\"\n ttl = \"1h\"\n}\nchecks = [{ name = \"up\", service_id = \"web\", \
                 tcp = \"127.0.0.1:80\", interval = \"5s\" }]";
    let checks = Settings::load(&load(right)).unwrap().checks;
    let named: Vec<_> =
        checks.iter().map(|it| (it.definition.name.as_str(), it.definition.service_id.as_str())).collect();
    assert_eq!(named, [("Disk", ""), ("up", "web")]);

    let wrong = "check {\n name = \"x\"\n ttl = \"1h\"\n colour = \"red\"\n}\nchecks {\n ttl = \"1h\"\n}";
    let problems = problems(&load(wrong), directory.path());
    assert!(problems[0].starts_with("checks.hcl:4: check.colour: invalid config key"), "{problems:?}");
    assert!(problems[1].starts_with("checks.hcl:6: checks.Name: Missing check name"), "{problems:?}");
}

#[test]
fn traces_are_sent_where_the_strongest_source_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "agent.hcl", "telemetry { otlp_endpoint = \"http://file\" }");
    let sent = |flags: &[(&'static str, &str)], variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let inputs = Inputs { files: vec![file.clone()], variables, ..dev(flags) };
        Settings::load(&inputs).unwrap().traces.map(|traces| traces.endpoint)
    };
    let theirs = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://theirs");
    let for_traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://for-traces/x");
    let ours = ("MESHGATE_TELEMETRY_OTLP_ENDPOINT", "http://ours");

    assert_eq!(sent(&[], &[]).unwrap(), "http://file/v1/traces");
    assert_eq!(sent(&[], &[theirs]).unwrap(), "http://theirs/v1/traces");
    assert_eq!(sent(&[], &[theirs, for_traces]).unwrap(), "http://for-traces/x");
    assert_eq!(sent(&[], &[theirs, for_traces, ours]).unwrap(), "http://ours/v1/traces");
    let flag = ("telemetry.otlp_endpoint", "http://flag");
    assert_eq!(sent(&[flag], &[theirs, for_traces, ours]).unwrap(), "http://flag/v1/traces");
    assert_eq!(sent(&[flag], &[("OTEL_SDK_DISABLED", "true")]), None);
    assert_eq!(Settings::load(&dev(&[])).unwrap().traces, None);
}
