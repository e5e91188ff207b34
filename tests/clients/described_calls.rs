//! Schemathesis calls whatever the API's description allows, and much that it does not.

use std::path::Path;

use serde_json::Value;

use crate::agent::Agent;
use crate::foreign::python_with;

/// What ends the agent, does not end itself, or takes no JSON.
const NOT_CALLED: &str = "/v1/(agent/monitor|agent/leave|snapshot|meshgate/events)";

/// Seconds that it calls; `MESHGATE_CALL_SECONDS` says other.
const SECONDS: u32 = 60;

#[test]
fn whatever_is_called_is_answered_as_described() {
    let agent = Agent::start("-dev");
    agent.say("services register -name web -port 8080 -meta a=b -tag v1");
    let folder = tempfile::tempdir().unwrap();
    let hooks = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/schemathesis_hooks.py"));
    std::fs::copy(hooks, folder.path().join("schemathesis_hooks.py")).unwrap();
    let seconds = std::env::var("MESHGATE_CALL_SECONDS").map_or(SECONDS, |text| text.parse().expect("a number"));
    // What is installed before does not count.
    let mut schemathesis = python_with("schemathesis");

    let output = schemathesis
        .args(["-c", "import sys; sys.path.insert(0, '.'); from schemathesis.cli import schemathesis; schemathesis()"])
        .args(["run", &format!("http://{}/v1/openapi.json", agent.http)])
        .args(["--phases", "coverage,fuzzing", "--workers", "1", "--seed", "1", "--max-time", &seconds.to_string()])
        .args(["--exclude-path-regex", NOT_CALLED, "--request-timeout", "20", "--continue-on-failure"])
        .args(["--checks", "no_fault_of_its_own,status_code_conformance,content_type_conformance"])
        .args(["--checks", "response_schema_conformance", "--suppress-health-check", "all", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .current_dir(folder.path())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let about: Value = serde_json::from_str(&agent.get("/v1/agent/self")).unwrap();
    assert_eq!(about["Stats"]["runtime"]["handler_panics"], "0");
    let generated = said.split(" generated,").next().and_then(|before| before.split_whitespace().next_back());
    let calls: u32 = generated.and_then(|number| number.parse().ok()).unwrap_or_default();
    // Even a machine that does other things manages some each second.
    assert!(calls > 3 * seconds, "it calls little: {said}");
}
