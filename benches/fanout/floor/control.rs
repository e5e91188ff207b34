//! How the bench tells the floor server what to send.

use std::net::SocketAddr;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

/// A command to the server.
#[derive(Debug)]
pub(super) enum Command {
    /// Send a message to the streams with these numbers.
    Push(Range<usize>, Bytes),
    /// From now on, answer the next first request of the message's type with it.
    Script(Bytes),
}

/// The end of the bench.
#[derive(Debug)]
pub(crate) struct Control(TcpStream);

impl Control {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }

    /// Sends a message to the streams with these numbers.
    pub(crate) async fn push(&mut self, streams: Range<usize>, message: &[u8]) -> Result<(), Failure> {
        self.send(streams, message).await
    }

    /// Lets streams that open be answered with these messages, each for the next request of its type.
    pub(crate) async fn script(&mut self, messages: &[Bytes]) -> Result<(), Failure> {
        for message in messages {
            self.send(0..0, message).await?;
            self.0.read_u8().await?;
        }
        Ok(())
    }

    async fn send(&mut self, streams: Range<usize>, message: &[u8]) -> Result<(), Failure> {
        let mut bytes = BytesMut::with_capacity(12 + message.len());
        bytes.put_u32(streams.start as u32);
        bytes.put_u32(streams.end as u32);
        bytes.put_u32(message.len() as u32);
        bytes.put_slice(message);
        Ok(self.0.write_all(&bytes).await?)
    }
}

/// The end of the server.
#[derive(Debug)]
pub(super) struct Commands(TcpStream);

impl Commands {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self(socket)
    }

    /// The next command; an error when the bench is gone.
    pub(super) async fn next(&mut self) -> std::io::Result<Command> {
        let streams = self.0.read_u32().await? as usize..self.0.read_u32().await? as usize;
        let length = self.0.read_u32().await?;
        let mut message = vec![0; length as usize];
        self.0.read_exact(&mut message).await?;
        let message = Bytes::from(message);
        Ok(if streams.end == 0 { Command::Script(message) } else { Command::Push(streams, message) })
    }

    /// Tells that the last command is done.
    pub(super) async fn confirm(&mut self) -> std::io::Result<()> {
        self.0.write_u8(1).await
    }
}
