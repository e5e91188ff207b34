//! The applications of the demo: each says its name.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::DemoError;

/// Starts an application that answers every request with `text`.
pub(super) async fn start(applications: &mut JoinSet<()>, address: SocketAddr, text: String) -> Result<(), DemoError> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(DemoError::io(format!("an application cannot listen on {address}")))?;
    let router = Router::new().fallback(move || std::future::ready(text.clone()));
    applications.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(error = %error, %address, "an application ended");
        }
    });
    Ok(())
}
