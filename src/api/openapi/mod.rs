//! `GET /v1/openapi.json`: what the API serves, as an OpenAPI 3.1 document.
//!
//! The paths and methods are those of the route table, and the bodies what the decoders take. What they are about, their
//! parameters and their answers stands in `api.yaml`; tests hold it against the routes and against every answer that they get.

mod description;
mod schema;

use std::sync::LazyLock;

use axum::response::Response;
use http::Method;
use serde_json::{Map, Value, json};

use self::description::{Description, Operation};
use super::call::Call;
use super::route::{Routes, Served, get};

/// The route of the document.
pub(super) fn routes() -> Routes {
    Routes::new().route("/v1/openapi.json", get(read))
}

async fn read(call: Call) -> Response {
    call.json(document())
}

/// The document. It is the same for every process of this version.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| describe(&super::routes().served(), &Description::read()));
    &DOCUMENT
}

fn describe(served: &[Served], description: &Description) -> Value {
    let mut paths = Map::new();
    for (name, operation) in operations(served, description) {
        let (method, path) = name.split_once(' ').expect("a method and a path");
        let route = served.iter().find(|route| serves(route, method, path)).expect("only what is served is described");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method.to_ascii_lowercase()] = described(&name, &operation, route, description);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "meshgate",
            "description": "Consul's HTTP API as far as a mesh of gateways and sidecars needs it, and what meshgate adds: this document, and all under /v1/meshgate/.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": description.schemas },
    })
}

/// The operations that are served: as described, or bare, so that none is missing.
fn operations(served: &[Served], description: &Description) -> Vec<(String, Operation)> {
    let mut operations: Vec<_> = description
        .operations
        .iter()
        .filter(|(name, _)| {
            name.split_once(' ').is_some_and(|(method, path)| served.iter().any(|route| serves(route, method, path)))
        })
        .map(|(name, operation)| (name.clone(), operation.clone()))
        .collect();
    operations.extend(undescribed(served, description).into_iter().map(|name| (name, Operation::default())));
    operations
}

/// The methods and paths that nothing is said about.
fn undescribed(served: &[Served], description: &Description) -> Vec<String> {
    let mut missing = Vec::new();
    for route in served {
        for method in &route.methods {
            let is_described = description.operations.keys().any(|name| {
                name.split_once(' ').is_some_and(|(of, path)| of == *method && serves(route, method, path))
            });
            if !is_described {
                missing.push(format!("{method} {}{}", route.path, if route.is_prefix { "{name}" } else { "" }));
            }
        }
    }
    missing
}

/// True if a route answers for a path with names in braces.
fn serves(route: &Served, method: &str, path: &str) -> bool {
    let literal = path.split('{').next().unwrap_or_default();
    let is_path = if route.is_prefix { route.path == literal } else { route.path == path };
    is_path && route.methods.contains(&method)
}

fn described(name: &str, operation: &Operation, route: &Served, description: &Description) -> Value {
    let (method, path) = name.split_once(' ').expect("a method and a path");
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty() && *word != "v1");
    let id: Vec<_> = words.map(str::to_ascii_lowercase).collect();
    let tag = path.split('/').nth(2).filter(|tag| !tag.is_empty()).unwrap_or("root");
    let body = route.bodies.iter().find(|(of, _)| of == Method::from_bytes(method.as_bytes()).unwrap_or_default());
    let schema = body.map(|(_, shape)| schema::of_shape(&shape()));
    let mut value = json!({
        "operationId": id.join("-"),
        "summary": operation.about,
        "tags": [tag],
        "parameters": description.parameters_of(path, operation),
        "responses": description.responses(operation, schema.is_some() || operation.body.is_some()),
    });
    let content = match (operation.body.as_deref(), schema) {
        (Some("archive"), _) => Some(json!({ "application/x-gzip": {} })),
        (_, Some(schema)) => Some(json!({ "application/json": { "schema": schema } })),
        (_, None) => None,
    };
    if let Some(content) = content {
        value["requestBody"] = json!({ "required": operation.body.as_deref() != Some("optional"), "content": content });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let (served, description) = (crate::api::routes().served(), Description::read());

        assert_eq!(undescribed(&served, &description), Vec::<String>::new());
        for name in description.operations.keys() {
            let (method, path) = name.split_once(' ').expect("a method and a path");
            assert!(served.iter().any(|route| serves(route, method, path)), "{name} is not served");
        }
    }

    #[test]
    fn what_is_written_has_a_body_or_says_so() {
        const WITHOUT: [&str; 13] = [
            "PUT /v1/agent/check/deregister/{id}",
            "PUT /v1/agent/check/fail/{id}",
            "PUT /v1/agent/check/pass/{id}",
            "PUT /v1/agent/check/warn/{id}",
            "PUT /v1/agent/maintenance",
            "PUT /v1/agent/reload",
            "PUT /v1/agent/service/deregister/{id}",
            "PUT /v1/agent/service/maintenance/{id}",
            "PUT /v1/agent/join/{address}",
            "PUT /v1/agent/leave",
            "PUT /v1/agent/force-leave/{node}",
            "PUT /v1/meshgate/rollback/{kind}/{name}",
            "PUT /v1/meshgate/certs/rotate",
        ];

        for (path, item) in document()["paths"].as_object().expect("an object") {
            for (method, operation) in item.as_object().expect("an object") {
                let name = format!("{} {path}", method.to_ascii_uppercase());
                let takes = operation.get("requestBody").is_some();
                let should = matches!(method.as_str(), "put" | "post") && !WITHOUT.contains(&name.as_str());
                assert_eq!(takes, should, "{name}: say with `taking` at its route what its body is decoded from");
            }
        }
    }
}
