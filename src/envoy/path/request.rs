//! What is sent.

use std::collections::BTreeSet;

/// What somebody sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// Bytes that are no HTTP.
    Tcp,
    /// An HTTP request.
    Http(Request),
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method, such as `GET`.
    pub method: String,
    /// Host, with a port if the caller names one.
    pub authority: String,
    /// Path, with a query if there is one.
    pub path: String,
    /// Other headers; names in any case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A `GET` of this path without headers of its own.
    pub fn get(path: &str) -> Self {
        Self { method: "GET".to_owned(), authority: "upstream".to_owned(), path: path.to_owned(), headers: Vec::new() }
    }
}

/// The value of a header, as far as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// It is this.
    Known(String),
    /// It is computed from something that the model does not know.
    Computed,
}

/// The headers of a request on its way, pseudo headers included; names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headers(Vec<(String, Value)>);

/// What looking for a header finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It has this value; those of several headers are joined.
    Value(String),
    /// There is none.
    Missing,
    /// Whether there is one, or what it says, is not modelled.
    Unknown,
}

impl Headers {
    pub(super) fn of(request: &Request) -> Self {
        let pseudo = [(":method", &request.method), (":authority", &request.authority), (":path", &request.path)];
        let pseudo = pseudo.into_iter().map(|(name, value)| (name.to_owned(), Value::Known(value.clone())));
        let own = request.headers.iter().map(|(name, value)| (name.to_lowercase(), Value::Known(value.clone())));
        // Envoy and its callers say `host` for what is `:authority` inside.
        Self(pseudo.chain(own.filter(|(name, _)| name != "host")).collect())
    }

    /// Every value of a header, as one.
    pub(super) fn find(&self, name: &str) -> Found {
        let name = if name.eq_ignore_ascii_case("host") { ":authority".to_owned() } else { name.to_lowercase() };
        if is_of_envoy(&name) {
            return Found::Unknown;
        }
        let mut values = Vec::new();
        for (_, value) in self.0.iter().filter(|(known, _)| *known == name) {
            match value {
                Value::Known(value) => values.push(value.as_str()),
                Value::Computed => return Found::Unknown,
            }
        }
        if values.is_empty() { Found::Missing } else { Found::Value(values.join(",")) }
    }

    /// The path with its query; `None` if it is not known.
    pub(super) fn path(&self) -> Option<String> {
        match self.find(":path") {
            Found::Value(path) => Some(path),
            Found::Missing | Found::Unknown => None,
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }

    pub(super) fn remove(&mut self, name: &str) {
        let name = name.to_lowercase();
        self.0.retain(|(known, _)| *known != name);
    }

    pub(super) fn add(&mut self, name: &str, value: Value) {
        self.0.push((name.to_lowercase(), value));
    }

    /// Replaces every header of this name.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.remove(name);
        self.add(name, value);
    }

    /// The names of all headers that the caller sent.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.0.iter().map(|(name, _)| name.clone()).filter(|name| !name.starts_with(':')).collect()
    }
}

/// Headers that Envoy adds or changes on its own.
fn is_of_envoy(name: &str) -> bool {
    const OTHERS: [&str; 9] = [
        ":scheme",
        "connection",
        "content-length",
        "te",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-forwarded-for",
        "x-forwarded-proto",
    ];
    name.starts_with("x-envoy-") || name == "x-request-id" || OTHERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_by_any_spelling_and_joined() {
        let headers = [("X-A", "1"), ("x-a", "2"), ("Host", "ignored")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let headers = Headers::of(&Request { headers: headers.to_vec(), ..Request::get("/p?q") });

        assert_eq!(headers.find("x-A"), Found::Value("1,2".to_owned()));
        assert_eq!(headers.find("host"), Found::Value("upstream".to_owned()));
        assert_eq!(headers.find("x-b"), Found::Missing);
        assert_eq!(headers.find("x-request-id"), Found::Unknown);
        assert_eq!(headers.path().as_deref(), Some("/p?q"));
    }
}
