//! The web interface at `/ui/`: files that are part of the program. What they show they ask the API for.
//!
//! The pages only read. They load nothing from elsewhere, and the policy that is sent with them allows no script or style
//! that does not come from here, so that a name in the state can never become one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use sha2::{Digest, Sha256};

use super::off::unknown;
use super::route::{Routes, Tail};

/// Where the pages are.
pub(super) const HOME: &str = "/ui/";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// What a browser lets the pages do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path, content type and content.
const FILES: [(&str, &str, &[u8]); 14] = [
    ("", HTML, include_bytes!("index.html")),
    ("style.css", STYLE, include_bytes!("style.css")),
    ("icon.svg", ICON, include_bytes!("icon.svg")),
    ("main.js", SCRIPT, include_bytes!("main.js")),
    ("dom.js", SCRIPT, include_bytes!("dom.js")),
    ("api.js", SCRIPT, include_bytes!("api.js")),
    ("parts.js", SCRIPT, include_bytes!("parts.js")),
    ("overview.js", SCRIPT, include_bytes!("overview.js")),
    ("topology.js", SCRIPT, include_bytes!("topology.js")),
    ("proxies.js", SCRIPT, include_bytes!("proxies.js")),
    ("proxy.js", SCRIPT, include_bytes!("proxy.js")),
    ("envoy.js", SCRIPT, include_bytes!("envoy.js")),
    ("changes.js", SCRIPT, include_bytes!("changes.js")),
    ("path.js", SCRIPT, include_bytes!("path.js")),
];

/// A file with the tag that says which version of it this is.
struct File {
    kind: &'static str,
    body: &'static [u8],
    tag: HeaderValue,
}

static BY_PATH: LazyLock<BTreeMap<&str, File>> = LazyLock::new(|| {
    let file = |(path, kind, body)| {
        let hash = Sha256::digest(body);
        let hash: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        // A weak one, as the content may be sent compressed.
        let tag = HeaderValue::try_from(format!("W/\"{hash}\"")).expect("hexadecimal digits");
        (path, File { kind, body, tag })
    };
    FILES.into_iter().map(file).collect()
});

/// The routes of the pages.
pub(super) fn routes() -> Routes {
    Routes::new()
        .page("/ui", async || moved())
        .page(HOME, async |uri: Uri, headers: HeaderMap| file("", uri, &headers).await)
        .page("/ui/{*tail}", async |Tail(path): Tail, uri: Uri, headers: HeaderMap| file(&path, uri, &headers).await)
}

/// Leads to the pages. Their links are relative to a folder, so the slash at the end counts.
pub(super) fn moved() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(HOME));
    response
}

async fn file(path: &str, uri: Uri, headers: &HeaderMap) -> Response {
    let Some(file) = BY_PATH.get(path) else { return unknown(uri).await };
    let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|tag| tag.trim() == file.tag);
    let mut response = Response::new(if is_known { axum::body::Body::empty() } else { file.body.into() });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let named: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, file.kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A browser asks each time whether it has the current ones, so that no page speaks to an API of another version.
        (CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in named {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(ETAG, file.tag.clone());
    response
}
