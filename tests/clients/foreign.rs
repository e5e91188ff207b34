//! Client libraries of Consul, unmodified, each drive a round: register, configure, query, deregister.

use std::path::Path;
use std::process::Command;

use crate::agent::Agent;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
}

/// What a program says on standard output. It must not fail.
fn say(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}{told}");
    said
}

/// A Python that finds a package and all that it needs, in the versions that `<package>.txt` names. What is not there yet is
/// installed with pip, which takes nothing that has another hash than the file says.
pub(crate) fn python_with(package: &str) -> Command {
    let requirements = folder().join(format!("{package}.txt"));
    let named = xxhash_rust::xxh3::xxh3_64(&std::fs::read(&requirements).unwrap());
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{package}-{named:016x}"));
    if !place.exists() {
        // Beside it first, so that what is half installed is never taken for the whole.
        let beside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes"];
        say(Command::new("python3").args(pip).arg("--target").arg(beside.path()).arg("-r").arg(requirements));
        std::fs::rename(beside.keep(), &place).unwrap();
    }
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", place).env("NO_PROXY", "*");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSUL_")) {
        python.env_remove(name);
    }
    python
}

#[test]
fn py_consul_drives_a_round() {
    let agent = Agent::start("-dev");

    let said = say(python_with("py-consul").arg(folder().join("py_consul.py")).env("CONSUL_HTTP_ADDR", &agent.http));

    assert_eq!(said, "py-consul: the round is done\n");
    assert_eq!(agent.say("catalog services"), "");
}

#[test]
fn rs_consul_drives_a_round() {
    let agent = Agent::start("-dev");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rs-consul");

    let said = say(Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(folder().join("rs-consul/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .env("CONSUL_HTTP_ADDR", &agent.http));

    assert!(said.ends_with("rs-consul: the round is done\n"), "{said}");
    assert_eq!(agent.say("catalog services"), "");
}
