//! Does a server answer an HTTP/2 ping?

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::tls::{Stream, Tls};
use crate::health::report::Finding;
use crate::model::CheckDefinition;

/// The client's preface with an empty SETTINGS frame, then a PING frame (RFC 9113, 3.4, 6.5, 6.7).
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x06\0\0\0\0\0meshgate";
const PING: u8 = 6;
const ACK: u8 = 1;
/// The frame size that no server may exceed without having been told.
const MAX_FRAME: usize = 16_384;

/// Connects, with TLS unless the check switches it off, and waits for the answer to a ping.
pub(super) async fn run(tls: &Tls, check: &CheckDefinition) -> Finding {
    let target = &check.h2ping;
    let alpn: Option<&[&str]> = check.h2ping_use_tls.unwrap_or(true).then_some(&["h2"]);
    let answer = async { ping(&mut *tls.connect(target, check, alpn).await?).await };
    match answer.await {
        Ok(()) => Finding::passing(format!("HTTP2 ping {target}: answered")),
        Err(error) => Finding::critical(format!("HTTP2 ping {target}: {error}")),
    }
}

async fn ping(stream: &mut dyn Stream) -> io::Result<()> {
    stream.write_all(HELLO).await?;
    stream.flush().await?;
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        let [a, b, c, kind, flags, ..] = header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > MAX_FRAME {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        stream.read_exact(&mut vec![0; length]).await?;
        if kind == PING && flags & ACK != 0 {
            return Ok(());
        }
    }
}
