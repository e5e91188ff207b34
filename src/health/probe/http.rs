//! What does an HTTP server answer?

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use super::tls::Tls;
use crate::health::report::Finding;
use crate::model::{CheckDefinition, CheckStatus};

/// One client for each combination of settings that a client has, made when first used.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    tls: Tls,
    clients: Arc<[OnceLock<Client>; 4]>,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Clients {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls, clients: Arc::default() }
    }

    /// Requests: 2xx passes, 429 warns, all else is critical. Of the answer no more than `most` bytes are read.
    pub(super) async fn run(&self, check: &CheckDefinition, most: usize) -> Finding {
        let method = if check.method.is_empty() { "GET" } else { &check.method };
        let what = format!("HTTP {method} {}", check.http);
        match self.request(method, check, most).await {
            Ok((code, body)) => Finding::new(status(code), format!("{what}: {code} Output: {body}")),
            Err(error) => Finding::critical(format!("{what}: {}", innermost(&*error))),
        }
    }

    async fn request(&self, method: &str, check: &CheckDefinition, most: usize) -> Result<(StatusCode, String), Error> {
        let method = Method::from_bytes(method.as_bytes())?;
        let url = Url::parse(&check.http)?;
        let request = if check.tls_server_name.is_empty() {
            self.shared(check)?.request(method, url)
        } else {
            self.named(method, url, check).await?
        };
        let response = with_headers(request, check).body(check.body.clone()).send().await?;
        let code = response.status();
        Ok((code, start_of_body(response, most).await))
    }

    fn shared(&self, check: &CheckDefinition) -> Result<Client, Error> {
        let slot = &self.clients[usize::from(check.disable_redirects) * 2 + usize::from(check.tls_skip_verify)];
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = self.builder(check).build()?;
        Ok(slot.get_or_init(|| client).clone())
    }

    fn builder(&self, check: &CheckDefinition) -> reqwest::ClientBuilder {
        let redirects = if check.disable_redirects { Policy::none() } else { Policy::default() };
        Client::builder()
            .tls_backend_preconfigured(self.tls.config(check.tls_skip_verify, &[]))
            .redirect(redirects)
            .user_agent("meshgate health check")
            .no_proxy()
            // A connection that is kept would hide that no new one can be made.
            .pool_max_idle_per_host(0)
    }

    /// A request whose certificate must be for another name than the URL says: that name becomes the URL's, at the
    /// address of the URL's own.
    async fn named(&self, method: Method, mut url: Url, check: &CheckDefinition) -> Result<RequestBuilder, Error> {
        let name = &check.tls_server_name;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port)).await?.collect();
        let authority = url.authority().to_owned();
        url.set_host(Some(name))?;
        let client = self.builder(check).resolve_to_addrs(name, &addresses).build()?;
        let request = client.request(method, url);
        let has_host = check.header.keys().any(|name| name.eq_ignore_ascii_case("host"));
        Ok(if has_host { request } else { request.header(http::header::HOST, authority) })
    }
}

fn with_headers(mut request: RequestBuilder, check: &CheckDefinition) -> RequestBuilder {
    for (name, values) in &check.header {
        for value in values {
            request = request.header(name, value);
        }
    }
    request
}

fn status(code: StatusCode) -> CheckStatus {
    match code {
        StatusCode::TOO_MANY_REQUESTS => CheckStatus::Warning,
        code if code.is_success() => CheckStatus::Passing,
        _ => CheckStatus::Critical,
    }
}

/// Reads no more than is kept.
async fn start_of_body(mut response: Response, limit: usize) -> String {
    let mut body = Vec::new();
    while body.len() < limit {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    body.truncate(limit);
    String::from_utf8_lossy(&body).into_owned()
}

/// The outer errors only say that a request failed.
fn innermost<'e>(error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
