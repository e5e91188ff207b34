//! The API's description of itself, and the page that tells what is tested by what.
//!
//! The other tests are run once more with a client that writes down what they call. So the page says what was called, not
//! what somebody thought would be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use meshgate::api;

use crate::support::http::TestApi;
use crate::support::openapi::{CALLS, goes_without_saying};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
const BEGIN: &str = "<!-- endpoints: UPDATE_GOLDEN=1 cargo test --test http_api described -->\n";
const END: &str = "<!-- end of endpoints -->";

#[tokio::test]
async fn the_document_is_served_as_it_is() {
    let api = TestApi::start().await;

    let served = api.get("/v1/openapi.json").await.json();

    assert_eq!(served, *api::openapi());
    assert_eq!(served["openapi"], "3.1.0");
    let entry = &served["components"]["schemas"]["ConfigEntry"]["anyOf"];
    assert_eq!(entry.as_array().map(Vec::len), Some(10));
    let body = &served["paths"]["/v1/agent/service/register"]["put"]["requestBody"];
    let port = &body["content"]["application/json"]["schema"]["properties"]["Port"];
    assert_eq!(*port, serde_json::json!({ "type": "integer", "minimum": 0, "maximum": 65535 }));
}

/// The sources of the API, without their tests and without what describes them.
fn sources(folder: &Path) -> String {
    let entries =
        std::fs::read_dir(folder).expect("the sources are there").map(|entry| entry.expect("it is read").path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true if path.ends_with("openapi") => String::new(),
        true => sources(&path),
        false => {
            let text = std::fs::read_to_string(path).expect("it is text");
            text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
        }
    };
    entries.map(text).collect()
}

/// For each operation, the names of what is described in this part of a call.
fn described_in(place: &str) -> Vec<BTreeSet<&'static str>> {
    let items = api::openapi()["paths"].as_object().expect("an object").values();
    let operations = items.flat_map(|item| item.as_object().expect("an object").values());
    let names = operations.map(|operation| {
        let parameters = operation["parameters"].as_array().expect("a list").iter();
        let placed = parameters.filter(|parameter| parameter["in"] == place);
        placed.map(|parameter| parameter["name"].as_str().expect("a name")).collect()
    });
    names.collect()
}

#[test]
fn every_operation_tells_the_headers_that_it_reads() {
    let sources = sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api")));
    let read = regex::Regex::new(r#"said\("[a-z]+", "(x-[a-z-]+)"\)"#).expect("an expression");
    let mut read: BTreeSet<_> = read.captures_iter(&sources).map(|found| found[1].to_owned()).collect();
    // Consul's clients send it, whether there are ACLs or not.
    read.insert("x-consul-token".to_owned());

    assert_eq!(read.len(), 3, "{read:?}");
    for described in described_in("header") {
        assert_eq!(described.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<_>>(), read);
    }
}

#[test]
fn answers_tell_their_headers() {
    let headers = |path: &str, status: &str| {
        let of = &api::openapi()["paths"][path]["get"]["responses"][status]["headers"];
        of.as_object().expect("an object").keys().map(String::as_str).collect::<Vec<_>>()
    };

    assert_eq!(headers("/v1/agent/self", "200"), ["X-Consul-Default-ACL-Policy"]);
    assert_eq!(headers("/v1/agent/service/{id}", "200"), ["X-Consul-ContentHash", "X-Consul-Default-ACL-Policy"]);
    assert_eq!(headers("/v1/agent/service/{id}", "404"), ["X-Consul-Default-ACL-Policy"]);
    let of_a_read = headers("/v1/catalog/nodes", "200");
    assert!(of_a_read.contains(&"X-Consul-Index") && of_a_read.contains(&"X-Consul-Query-Backend"), "{of_a_read:?}");
}

#[test]
fn the_parameters_are_those_that_are_read() {
    let sources = sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api")));
    let read = r#"(?:query|self)\s*\.(?:get|value|has|flag|all|required_bool)\("([a-z_-]+)"\)|(?:required|said)\(&?(?:call, )?"([a-z_-]+)""#;
    let read = regex::Regex::new(read).expect("an expression");
    let names = read.captures_iter(&sources).filter_map(|found| found.get(1).or(found.get(2)));
    let read: BTreeSet<&str> = names.map(|name| name.as_str()).collect();
    let described: BTreeSet<_> = described_in("query").iter().flatten().copied().collect();

    assert_eq!(read.difference(&described).collect::<Vec<_>>(), Vec::<&&str>::new(), "read and not described");
    assert_eq!(described.difference(&read).collect::<Vec<_>>(), Vec::<&&str>::new(), "described and not read");
}

/// By operation: the statuses that were seen, and the tests that called it.
type Calls = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

/// What the other tests of this program call.
fn calls() -> Calls {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("calls");
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--skip", "described::the_page"])
        .env(CALLS, &file)
        .output()
        .expect("this program runs again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = std::fs::read_to_string(file).expect("calls were written down");
    let mut calls = Calls::new();
    for line in text.lines() {
        let [test, operation, status] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        let (statuses, tests) = calls.entry(operation.to_owned()).or_default();
        statuses.insert(status.to_owned());
        // A thread of a runtime has no test's name.
        tests.extend(test.contains("::").then(|| test.to_owned()));
    }
    calls
}

/// Each operation with its summary and its statuses, in the order of the paths.
fn operations() -> Vec<(String, String, Vec<String>)> {
    let paths = api::openapi()["paths"].as_object().expect("an object");
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object().expect("an object").iter().map(move |(method, operation)| {
            let statuses = operation["responses"].as_object().expect("an object").keys().cloned().collect();
            let about = operation["summary"].as_str().expect("a text").to_owned();
            (format!("{} {path}", method.to_ascii_uppercase()), about, statuses)
        })
    });
    each.collect()
}

#[test]
fn the_page_tells_what_the_tests_call() {
    let calls = calls();
    let mut unseen = Vec::new();
    let mut table =
        "| endpoint | what it does | answers that tests see | first tests |\n|---|---|---|---|\n".to_owned();
    for (name, about, statuses) in operations() {
        let nothing = Default::default();
        let (seen, tests) = calls.get(&name).unwrap_or(&nothing);
        let missing = statuses.iter().filter(|status| !goes_without_saying(status) && !seen.contains(*status));
        unseen.extend(missing.map(|status| format!("{name} {status}")));
        let first: Vec<_> = tests.iter().take(2).map(|test| format!("`{test}`")).collect();
        let seen: Vec<_> = seen.iter().map(String::as_str).collect();
        table += &format!("| `{name}` | {about} | {} | {} |\n", seen.join(", "), first.join(", "));
    }

    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page has a table of endpoints");
    let (recorded, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(Path::new(PAGE), format!("{before}{BEGIN}{table}{END}{after}")).expect("the page is written");
    } else {
        same(recorded, &table);
    }
    assert_eq!(unseen, Vec::<String>::new(), "answers that no test sees");
}

/// Fails with the lines that differ.
fn same(recorded: &str, actual: &str) {
    let diff = similar::TextDiff::from_lines(recorded, actual);
    assert!(recorded == actual, "UPDATE_GOLDEN=1 cargo test --test http_api described\n{}", diff.unified_diff());
}
