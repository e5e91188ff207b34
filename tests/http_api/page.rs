//! The files of the pages at `/ui/`. What they show is tested in a browser, by the test program `ui`.

use axum::body::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::support::http::router;

async fn call(method: Method, path: &str, known: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("if-none-match", known);
    router().await.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer")
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn the_root_leads_to_the_pages() {
    for path in ["/", "/ui"] {
        let moved = call(Method::GET, path, "").await;
        assert_eq!((moved.status().as_u16(), header(&moved, "location")), (301, "/ui/"), "{path}");
    }
}

#[tokio::test]
async fn every_file_that_a_file_names_is_served_under_a_strict_policy() {
    let mut open = vec![String::new()];
    let mut seen = Vec::new();
    let named =
        regex::Regex::new(r#"(?:from|src=|href=)\s*"(?:\./)?([a-z]+\.(?:js|css|svg))""#).expect("an expression");
    while let Some(name) = open.pop() {
        let answer = call(Method::GET, &format!("/ui/{name}"), "").await;
        assert_eq!(answer.status(), 200, "{name}");
        let kind = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(header(&answer, "content-type"), kind, "{name}");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{name}");
        let policy = header(&answer, "content-security-policy").to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{name}: {policy}");
        let text = text(answer).await;
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "https://"] {
            assert!(!text.contains(word), "{name} has {word}");
        }
        let found = named.captures_iter(&text).map(|found| found[1].to_owned());
        open.extend(found.filter(|found| !seen.contains(found)).collect::<Vec<_>>());
        seen.push(name);
    }
    seen.sort();
    seen.dedup();
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/page")).expect("the sources");
    let names = folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut wanted: Vec<_> = names.filter(|name| !name.ends_with(".rs") && name != "index.html").collect();
    wanted.push(String::new());
    wanted.sort();
    assert_eq!(seen, wanted, "what is served, and what there is");
}

#[tokio::test]
async fn a_file_that_is_known_is_not_sent_again() {
    let first = call(Method::GET, "/ui/main.js", "").await;
    let tag = header(&first, "etag").to_owned();
    assert!(!text(first).await.is_empty());

    for (known, status) in [(tag.as_str(), 304), (&format!("W/\"other\", {tag}"), 304), ("W/\"other\"", 200)] {
        let answer = call(Method::GET, "/ui/main.js", known).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (status, tag.as_str()), "{known}");
        assert_eq!(text(answer).await.is_empty(), status == 304, "{known}");
    }
    assert_ne!(header(&call(Method::GET, "/ui/", "").await, "etag"), tag);
}

#[tokio::test]
async fn pages_are_only_read() {
    assert_eq!(call(Method::HEAD, "/ui/", "").await.status(), 200);
    assert_eq!(call(Method::POST, "/ui/", "").await.status(), 405);
    let missing = call(Method::GET, "/ui/../main.rs", "").await;
    assert_eq!(missing.status(), 404);
    assert!(text(missing).await.contains("is no known endpoint"));
}
