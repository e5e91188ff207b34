//! Is there somebody behind a UDP port?

use std::io;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};

use crate::health::report::Finding;
use crate::model::CheckDefinition;

/// Sends a datagram. UDP services need not answer what they do not understand, so silence passes; only the refusal that
/// the target's host sends for a closed port is critical.
pub(super) async fn run(check: &CheckDefinition, timeout: Duration) -> Finding {
    let target = &check.udp;
    match tokio::time::timeout(timeout, exchange(target)).await {
        Err(_) => Finding::passing(format!("UDP {target}: no refusal")),
        Ok(Ok(())) => Finding::passing(format!("UDP {target}: answered")),
        Ok(Err(error)) => Finding::critical(format!("UDP {target}: {error}")),
    }
}

async fn exchange(target: &str) -> io::Result<()> {
    let address = lookup_host(target).await?.next().ok_or_else(|| io::Error::other("the name has no address"))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(b"meshgate health check").await?;
    socket.recv(&mut [0; 1]).await.map(drop)
}
