//! Connections with TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Sender};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::Failure;
use crate::options::ServerFiles;
use crate::support::tls::{self, Pair};

/// Connections whose handshake is done; as many handshakes at a time as there are clients.
///
/// # Errors
/// A file cannot be used.
pub(super) fn incoming(
    listener: TcpListener,
    files: &ServerFiles,
) -> Result<impl Stream<Item = io::Result<Encrypted>> + use<>, Failure> {
    let pair = Pair { certificate: files.tls_certificate.clone(), key: files.tls_key.clone() };
    let acceptor = TlsAcceptor::from(Arc::new(tls::server(&files.tls_ca, &pair)?));
    let (sender, connections) = mpsc::channel(1024);
    tokio::spawn(accept(listener, acceptor, sender));
    Ok(ReceiverStream::new(connections))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, sender: Sender<io::Result<Encrypted>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            socket.set_nodelay(true)?;
            let connection = acceptor.accept(socket).await?;
            // The bench may be over.
            sender.send(Ok(Encrypted(connection))).await.ok();
            io::Result::Ok(())
        });
    }
}

/// A connection.
pub(super) struct Encrypted(TlsStream<TcpStream>);

impl Connected for Encrypted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
