//! What services speak.

use crate::model::ServiceName;
use crate::resolve::opaque;
use crate::resolve::state::State;

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// Bytes.
    #[default]
    Tcp,
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// The protocol with this name in any case; unknown ones count as `tcp`.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "http" => Protocol::Http,
            "http2" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            _ => Protocol::Tcp,
        }
    }

    /// The protocol as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Http => "http",
            Protocol::Http2 => "http2",
            Protocol::Grpc => "grpc",
        }
    }

    /// True if requests can be told apart.
    pub const fn is_http_like(self) -> bool {
        !matches!(self, Protocol::Tcp)
    }

    /// True if connections to the service are HTTP/2.
    pub const fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc)
    }
}

/// The protocol of a service: its service-defaults, even if they name none, else proxy-defaults, else `tcp`.
pub fn protocol_of(state: &dyn State, service: &ServiceName) -> Protocol {
    if let Some(entry) = state.service_defaults(service) {
        return Protocol::parse(&entry.protocol);
    }
    let defaults = state.proxy_defaults(&service.partition);
    Protocol::parse(&defaults.and_then(|entry| opaque::text(&entry.config, "protocol")).unwrap_or_default())
}
