//! A small client of Consul's HTTP API.

mod address;
mod options;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::output;
use crate::codec::hide_private_keys_in;
pub(crate) use address::ApiAddress;
pub(crate) use options::{ClientOptions, DatacenterOption, Target, read_ca};

/// Commands wait for an answer, not for ever.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// For what has no end of its own, or moves much.
const NO_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Why an answer was not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The address of the API cannot be understood.
    #[error(
        "{0:?} is no address of an HTTP API: use host:port, http://host:port, https://host:port or unix:///path \
         (-http-addr or CONSUL_HTTP_ADDR)"
    )]
    Address(String),
    /// A file that an option names cannot be used.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// Options of TLS that cannot be used.
    #[error("the TLS options cannot be used")]
    Tls(#[source] reqwest::Error),
    /// Nobody answered.
    #[error("no answer from {address}: is `meshgate agent` running there? (-http-addr or CONSUL_HTTP_ADDR)")]
    Connect {
        /// Where the API was expected.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The API refused.
    #[error("Unexpected response code: {code} ({body})")]
    Status {
        /// HTTP status.
        code: u16,
        /// What it said.
        body: String,
    },
    /// It would have changed something, and was only told.
    #[error("nothing was changed: leave -explain-api out to do it")]
    OnlyTold,
    /// The same, and what comes next depends on what would have been answered.
    #[error("nothing was changed, and the calls that come next depend on its answer: leave -explain-api out to do it")]
    ToldUntil,
    /// The answer is not what the API answers.
    #[error("{address} gave an answer that cannot be understood")]
    Answer {
        /// Where the API was expected.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl ClientError {
    /// True if what was asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
    }

    /// The same of a call whose answer the next ones need.
    pub(crate) fn or_next(self) -> Self {
        if matches!(self, Self::OnlyTold) { Self::ToldUntil } else { self }
    }

    /// True if the token does not suffice.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Status { code: 403, .. })
    }
}

/// Changes none of which needs the answer to another one, so that all of them are told where they are only told.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    are_told: bool,
}

impl Changes {
    /// Takes note of one: its answer, or `None` if it was only told.
    ///
    /// # Errors
    /// It was tried and failed.
    pub(crate) fn note<T>(&mut self, made: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
        match made {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::OnlyTold) => {
                self.are_told = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// They were only told.
    pub(crate) fn end(self) -> Result<(), ClientError> {
        if self.are_told { Err(ClientError::OnlyTold) } else { Ok(()) }
    }
}

/// The body of a call.
#[derive(Debug, Clone, Copy)]
enum Said<'a> {
    Nothing,
    Json(&'a Value),
    Bytes,
}

/// A client with its address, token and tenancy.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    address: ApiAddress,
    /// The URL that paths are added to.
    base: Url,
    token: String,
    basic_auth: Option<(String, String)>,
    query: Vec<(&'static str, String)>,
    /// Each call is told as what `curl` takes.
    is_told: bool,
    /// What `curl` needs to connect as this client does.
    connection: Vec<String>,
}

impl Client {
    /// A client as the options say, for a datacenter (the agent's own when empty).
    ///
    /// # Errors
    /// The address, a file or the TLS options cannot be used.
    pub(crate) fn new(options: &ClientOptions, datacenter: &str) -> Result<Self, ClientError> {
        let address = options.address()?;
        let mut base = address.base();
        let mut http = options.tls(reqwest::Client::builder().timeout(TIMEOUT).no_proxy(), base.scheme())?;
        if let Some(path) = address.socket() {
            http = http.unix_socket(path.to_owned());
        }
        if let Some(name) = options.tls_server_name().filter(|_| base.scheme() == "https") {
            http = http.resolve_to_addrs(name, &resolved(&base));
            base.set_host(Some(name)).map_err(|_| ClientError::Address(name.to_owned()))?;
        }
        let connection = options.curl(&address);
        let mut query = Vec::new();
        let parameters = [("dc", datacenter), ("partition", &*options.partition), ("ns", &*options.namespace)];
        query.extend(
            parameters.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, (*value).to_owned())),
        );
        if options.stale {
            query.push(("stale", String::new()));
        }
        Ok(Self {
            http: http.build().map_err(ClientError::Tls)?,
            address,
            base,
            token: options.token()?,
            basic_auth: options.basic_auth(),
            query,
            is_told: options.explain_api,
            connection,
        })
    }

    /// Host that the API is on, for finding what else listens there.
    pub(crate) fn host(&self) -> Option<&str> {
        self.address.host()
    }

    /// The token that requests carry; empty for none.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Reads.
    ///
    /// # Errors
    /// No answer, a refusal, or an answer of another shape.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let answer = self.send(Method::GET, path, query, None).await?;
        answer.json().await.map_err(|source| self.answer_error(source))
    }

    /// Reads; the answer's bytes are returned as they are.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn get_bytes(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<u8>, ClientError> {
        let answer = self.send(Method::GET, path, query, None).await?;
        answer.bytes().await.map(Vec::from).map_err(|source| self.answer_error(source))
    }

    /// Writes; the answer's text is returned.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn put(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<String, ClientError> {
        let answer = self.send(Method::PUT, path, query, body).await?;
        answer.text().await.map_err(|source| self.answer_error(source))
    }

    /// Sends something new; the answer is decoded.
    ///
    /// # Errors
    /// No answer, a refusal, or an answer of another shape.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, ClientError> {
        let answer = self.send(Method::POST, path, &[], Some(body)).await?;
        answer.json().await.map_err(|source| self.answer_error(source))
    }

    /// Asks with a body that may be left out, and waits so long for the answer; it is decoded.
    ///
    /// # Errors
    /// No answer, a refusal, or an answer of another shape.
    pub(crate) async fn post_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let answer = self.send_within(Method::POST, path, query, body, timeout).await?;
        answer.json().await.map_err(|source| self.answer_error(source))
    }

    /// Deletes; the answer's text is returned.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, ClientError> {
        let answer = self.send(Method::DELETE, path, query, None).await?;
        answer.text().await.map_err(|source| self.answer_error(source))
    }

    /// Reads what takes as long as it takes.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn follow(&self, path: &[&str], query: &[(&str, &str)]) -> Result<reqwest::Response, ClientError> {
        self.tell(&Method::GET, path, query, Said::Nothing)?;
        self.answered(self.http.get(self.url(path, query)).timeout(NO_TIMEOUT)).await
    }

    /// Writes what is no JSON.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn put_bytes(&self, path: &[&str], body: Vec<u8>) -> Result<(), ClientError> {
        self.tell(&Method::PUT, path, &[], Said::Bytes)?;
        self.answered(self.http.put(self.url(path, &[])).timeout(NO_TIMEOUT).body(body)).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<reqwest::Response, ClientError> {
        self.send_within(method, path, query, body, TIMEOUT).await
    }

    async fn send_within(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<reqwest::Response, ClientError> {
        self.tell(&method, path, query, body.map_or(Said::Nothing, Said::Json))?;
        let mut request = self.http.request(method, self.url(path, query)).timeout(timeout);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answered(request).await
    }

    /// Tells a call if calls are told.
    ///
    /// # Errors
    /// It would change something, so that it is told and not made.
    fn tell(&self, method: &Method, path: &[&str], query: &[(&str, &str)], said: Said<'_>) -> Result<(), ClientError> {
        if !self.is_told {
            return Ok(());
        }
        output::note(&self.curl(method, path, query, said));
        // A plan is asked for with a body, and stores nothing.
        let is_read = *method == Method::GET || path == ["meshgate", "plan"];
        if is_read { Ok(()) } else { Err(ClientError::OnlyTold) }
    }

    /// The same call for a shell, with the same headers. Secrets stay where they are.
    fn curl(&self, method: &Method, path: &[&str], query: &[(&str, &str)], said: Said<'_>) -> String {
        let mut words = vec!["curl".to_owned()];
        if *method != Method::GET {
            words.push(format!("-X {method}"));
        }
        words.extend(self.connection.iter().cloned());
        if !self.token.is_empty() {
            words.push("-H \"X-Consul-Token: $CONSUL_HTTP_TOKEN\"".to_owned());
        }
        let url = self.url(path, query);
        if self.basic_auth.is_some() || !url.username().is_empty() || url.password().is_some() {
            words.push("--user \"$CONSUL_HTTP_AUTH\"".to_owned());
        }
        match said {
            Said::Nothing => {}
            Said::Json(body) => {
                let mut body = body.clone();
                hide_private_keys_in(&mut body);
                words.push(format!("-H 'Content-Type: application/json' --data-binary {}", quoted(&body.to_string())));
            }
            // Without a header, curl would call it a form.
            Said::Bytes => words.push("-H 'Content-Type:' --data-binary @FILE".to_owned()),
        }
        words.push(quoted(address::shown(&url).as_str()));
        words.join(" ")
    }

    async fn answered(&self, mut request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        if !self.token.is_empty() {
            request = request.header("X-Consul-Token", &self.token);
        }
        if let Some((user, password)) = &self.basic_auth {
            request = request.basic_auth(user, Some(password));
        }
        let answer = request.send().await.map_err(|source| ClientError::Connect {
            address: self.address.to_string(),
            source: source.without_url(),
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.map_err(|source| self.answer_error(source))?;
        Err(ClientError::Status { code: status.as_u16(), body: body.trim().to_owned() })
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        let ours = self.query.iter().map(|(name, value)| (*name, value.as_str()));
        let mut pairs = ours.chain(query.iter().copied()).peekable();
        if pairs.peek().is_some() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        url
    }

    /// An answer that broke off, or is not what was expected.
    pub(crate) fn answer_error(&self, source: reqwest::Error) -> ClientError {
        ClientError::Answer { address: self.address.to_string(), source: source.without_url() }
    }
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Where a host is; nowhere if nobody knows it, which shows when it is dialled.
fn resolved(base: &Url) -> Vec<SocketAddr> {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = base.port_or_known_default().unwrap_or_default();
    (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_certificate_may_be_for_another_name_than_the_address_says() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["agent.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server.unwrap()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http_addr = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let Ok(mut stream) = acceptor.accept(listener.accept().await.unwrap().0).await else { continue };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ntrue").await;
            }
        });
        let ask = async |name: &str| {
            let mut options = ClientOptions::default();
            options.http_addr.clone_from(&http_addr);
            options.ca_file = Some(ca_file.clone());
            options.tls_server_name = name.to_owned();
            options.ssl_verify = true;
            Client::new(&options, "").unwrap().get::<bool>(&["x"], &[]).await
        };

        assert!(ask("agent.example").await.unwrap());
        assert!(matches!(ask("").await, Err(ClientError::Connect { .. })));
        assert!(matches!(ask("other.example").await, Err(ClientError::Connect { .. })));
    }

    #[test]
    fn a_call_is_told_as_a_shell_takes_it_without_the_token() {
        let mut options = ClientOptions::default();
        options.http_addr = "unix:///run/mesh gate.sock".to_owned();
        options.namespace = "blue".to_owned();
        options.explain_api = true;
        let mut client = Client::new(&options, "").unwrap();
        client.token = "very secret".to_owned();
        let body = serde_json::json!({ "Name": "it's" });

        let told = client.curl(&Method::PUT, &["config"], &[("cas", "7")], Said::Json(&body));

        assert_eq!(
            told,
            "curl -X PUT --unix-socket '/run/mesh gate.sock' -H \"X-Consul-Token: $CONSUL_HTTP_TOKEN\" \
             -H 'Content-Type: application/json' --data-binary '{\"Name\":\"it'\\''s\"}' \
             'http://localhost/v1/config?ns=blue&cas=7'"
        );
        let tell = |method, path: &[&str]| client.tell(&method, path, &[], Said::Nothing);
        assert!(tell(Method::GET, &["agent", "self"]).is_ok() && tell(Method::POST, &["meshgate", "plan"]).is_ok());
        assert!(matches!(tell(Method::POST, &["meshgate", "apply"]), Err(ClientError::OnlyTold)));
    }

    #[test]
    fn names_are_escaped_and_tenancy_travels_along() {
        let mut options = ClientOptions::default();
        options.http_addr = "http://10.0.0.1:8500/proxy".to_owned();
        options.partition = "blue".to_owned();
        let client = Client::new(&options, "dc2").unwrap();

        let url = client.url(&["config", "service-defaults", "a/b c"], &[("cas", "7")]);

        assert_eq!(
            url.as_str(),
            "http://10.0.0.1:8500/proxy/v1/config/service-defaults/a%2Fb%20c?dc=dc2&partition=blue&cas=7"
        );
    }
}
