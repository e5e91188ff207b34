//! The OpenAPI document, held against answers.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use meshgate::api;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// The variable with the file that calls are written to, one a line: test, operation, status.
pub(crate) const CALLS: &str = "MESHGATE_CALLS";

/// An operation as `GET /v1/config/{kind}`, with what the document says about it.
pub(crate) fn operation(method: &str, path: &str) -> Option<(String, &'static Value)> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = api::openapi()["paths"].as_object().expect("an object");
    let fitting = paths.iter().filter_map(|(template, item)| {
        let operation = item.get(method.to_ascii_lowercase())?;
        Some((fit(template, path)?, format!("{method} {template}"), operation))
    });
    fitting.max_by_key(|(fit, _, _)| *fit).map(|(_, name, operation)| (name, operation))
}

/// How closely a path fits a template: the steps that are the same, then all steps. The last name takes what is left.
fn fit(template: &str, path: &str) -> Option<(usize, usize)> {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let takes_the_rest = template.last().is_some_and(|last| last.starts_with('{'));
    if path.len() < template.len() || (path.len() > template.len() && !takes_the_rest) {
        return None;
    }
    let fits = |(step, given): (&&str, &&str)| if step.starts_with('{') { !given.is_empty() } else { step == given };
    let same = template.iter().filter(|step| !step.starts_with('{')).count();
    template.iter().zip(&path).all(fits).then_some((same, template.len()))
}

/// A call: method, path with its query, and headers.
pub(crate) type Sent<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)]);

/// Fails where an answer is not as the document says, and writes down the call if somebody wants to know.
pub(crate) fn check((method, path, sent): Sent<'_>, status: u16, headers: &HeaderMap, body: &[u8]) {
    // A path that takes other methods may be a name for this one.
    let Some((name, operation)) = operation(method, path).filter(|_| status != 405) else {
        assert!(status >= 400 || method == "OPTIONS", "{method} {path} is answered and not described");
        return;
    };
    record(&name, status);
    let Some(response) = operation["responses"].get(status.to_string()) else {
        panic!("{name} answers {status}, which is not described: {}", String::from_utf8_lossy(body))
    };
    check_headers(&name, status, response, headers);
    let content_type = headers.get("content-type").map_or("", |value| value.to_str().expect("headers are ASCII"));
    let media_type = content_type.split(';').next().unwrap_or_default();
    let described = response.get("content").and_then(|content| content.get(media_type));
    if status < 400 {
        check_parameters(&name, operation, path, sent);
    }
    if body.is_empty() {
        let wanted = response.get("content").and_then(|content| content.get("application/json"));
        assert!(wanted.is_none(), "{name} answers {status} without the JSON that is described");
        return;
    }
    assert!(described.is_some(), "{name} answers {status} with {content_type:?}, which is not described");
    if media_type == "application/json" {
        let value: Value = serde_json::from_slice(body).expect("JSON");
        if let Err(error) = validator(&name, status, described.unwrap_or(&Value::Null)).validate(&value) {
            panic!(
                "{name} answers {status} with what its schema does not allow, at {}: {error}",
                error.instance_path()
            );
        }
    }
}

/// What Consul's clients send and nothing reads: their token, and how a node is forced out of a cluster of many.
const UNREAD: [&str; 3] = ["token", "prune", "wan"];

/// Fails where an answer has a header of Consul or meshgate which is not described, or lacks one that is.
fn check_headers(name: &str, status: u16, response: &Value, headers: &HeaderMap) {
    let described = response["headers"].as_object().expect("every answer has headers");
    let given = headers.keys().map(reqwest::header::HeaderName::as_str).filter(|given| given.starts_with("x-"));
    let strange: Vec<_> =
        given.filter(|given| !described.keys().any(|known| known.eq_ignore_ascii_case(given))).collect();
    assert!(strange.is_empty(), "{name} answers {status} with {strange:?}, which is not described");
    let certain = described.iter().filter(|(_, header)| header["required"] == true);
    let missing: Vec<_> = certain.map(|(known, _)| known).filter(|known| !headers.contains_key(*known)).collect();
    assert!(missing.is_empty(), "{name} answers {status} without {missing:?}");
}

/// Fails where a call that was understood had a parameter or a header of Consul which the operation does not tell of.
fn check_parameters(name: &str, operation: &Value, path: &str, sent: &[(&str, &str)]) {
    let described = operation["parameters"].as_array().expect("a list").iter();
    let described: Vec<_> = described.filter_map(|parameter| parameter["name"].as_str()).collect();
    let of_consul = sent.iter().map(|(header, _)| *header).filter(|header| header.starts_with("x-"));
    let strange: Vec<_> =
        of_consul.filter(|header| !described.iter().any(|known| known.eq_ignore_ascii_case(header))).collect();
    assert!(strange.is_empty(), "{name} takes {strange:?}, which is not described");
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let given = query.split('&').filter_map(|pair| pair.split('=').next()).filter(|given| !given.is_empty());
    let strange: Vec<_> = given.filter(|given| !UNREAD.contains(given) && !described.contains(given)).collect();
    assert!(strange.is_empty(), "{name} takes {strange:?}, which is not described");
}

/// What judges the answers of an operation with a status.
type Validators = HashMap<(String, u16), Arc<Validator>>;

fn validator(name: &str, status: u16, described: &Value) -> Arc<Validator> {
    static KNOWN: LazyLock<Mutex<Validators>> = LazyLock::new(Mutex::default);
    let key = (name.to_owned(), status);
    if let Some(known) = KNOWN.lock().expect("no test panics while it holds this").get(&key) {
        return known.clone();
    }
    let mut schema = described["schema"].clone();
    schema["components"] = api::openapi()["components"].clone();
    let made = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("the schema of {name}: {error}"));
    let made = Arc::new(made);
    KNOWN.lock().expect("no test panics while it holds this").insert(key, made.clone());
    made
}

fn record(name: &str, status: u16) {
    let Some(file) = std::env::var_os(CALLS) else { return };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("the file of calls opens");
    file.write_all(format!("{test}\t{name}\t{status}\n").as_bytes()).expect("the file of calls is written");
}

/// What every operation can answer without saying so, which no test need see for each.
pub(crate) fn goes_without_saying(status: &str) -> bool {
    json!(["400", "403", "408", "413", "500"]).as_array().expect("a list").iter().any(|known| known == status)
}
