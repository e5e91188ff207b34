//! What `path` and `sni` print.

use crate::agent::meshgate;
use crate::explain::{golden, mesh, told};

#[test]
fn a_path_is_told_link_by_link_with_the_command_that_mends_it() {
    let (agent, _folder) = mesh();

    let (code, said) = told(&agent, "path web api@dc2");
    assert_eq!(code, 1, "{said}");
    golden("path.txt", &said);
    let (code, nobody) = told(&agent, "path api web@dc1 -datacenter dc2");
    assert_eq!(code, 1, "{nobody}");
    golden("path-without-upstream.txt", &nobody);
    let probed = told(&agent, "path web api@dc2 --probe").1;
    assert!(
        probed.contains("probe 127.0.0.1:9191: ") && probed.contains("does the sidecar run on this machine?"),
        "{probed}"
    );
}

/// Commands that answers name are ones that there are.
#[test]
fn commands_that_mend_are_understood() {
    let (agent, _folder) = mesh();
    let mut seen = 0;
    for (from, to) in [("web", "api@dc2"), ("web", "cache"), ("web", "db"), ("nobody", "api"), ("web", "api@nowhere")] {
        let answer = agent.run(&format!("path {from} {to} -o json"));
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        for link in answer["Links"].as_array().unwrap() {
            let Some(fix) = link["Fix"].as_str() else { continue };
            let command = fix.split("   #").next().unwrap().replace('\'', "");
            let line = command.strip_prefix("meshgate ").unwrap();
            let understood = meshgate(&format!("{line} --help")).output().unwrap();
            assert!(understood.status.success(), "{fix}: {}", String::from_utf8_lossy(&understood.stderr));
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn names_are_written_and_read() {
    let (agent, _folder) = mesh();

    let sni = agent.say("sni encode api@dc2");
    assert!(sni.starts_with("api.default.dc2.internal.") && sni.ends_with(".consul\n"), "{sni}");
    assert_eq!(agent.say(&format!("sni decode {}", sni.trim())), "service api in dc2/default/default   known\n");
    golden("sni.txt", &told(&agent, "sni ls -all").1);
    assert_eq!(told(&agent, "sni ls -conflicts").0, 0);
    assert_eq!(told(&agent, "sni decode www.example.org").0, 3);
}

#[test]
fn a_cluster_is_explained_field_by_field() {
    let (agent, _folder) = mesh();

    let (code, said) = told(&agent, "explain cluster web api.default.dc2");
    assert_eq!(code, 0, "{said}");
    golden("cluster.txt", &said);
    golden("field.txt", &told(&agent, "explain field listener web api address").1);
}
