//! Where clients connect to: sockets that listen, and their TLS. It knows nothing of what is served on them.

mod tls;

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

pub use self::tls::{Protocols, Tls};

/// Lets a fleet that lost another replica connect within a second.
const BACKLOG: u32 = 4096;

/// Opens a listening socket whose queue holds a whole fleet.
///
/// # Errors
/// The address cannot be bound. The runtime must be one of tokio.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where clients connect to.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// What its clients speak; `None` if they do not speak TLS.
    pub tls: Option<Tls>,
}

impl From<TcpListener> for Listener {
    /// Clients that do not speak TLS.
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}
