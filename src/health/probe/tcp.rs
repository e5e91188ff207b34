//! Can a connection be made?

use super::tls::Tls;
use crate::health::report::Finding;
use crate::model::CheckDefinition;

/// Connects, with a TLS handshake if asked for, and closes.
pub(super) async fn run(tls: &Tls, check: &CheckDefinition) -> Finding {
    let alpn: Option<&[&str]> = check.tcp_use_tls.then_some(&[]);
    match tls.connect(&check.tcp, check, alpn).await {
        Ok(_) => Finding::passing(format!("TCP connect {}: Success", check.tcp)),
        Err(error) => Finding::critical(format!("TCP connect {}: {error}", check.tcp)),
    }
}
