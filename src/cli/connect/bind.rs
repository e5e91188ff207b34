//! Addresses of the command line, and whether they are this machine's.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use crate::cli::CliError;
use crate::settings::with_addresses_of_host;

/// The port of a gateway whose address names none.
pub(super) const GATEWAY_PORT: u16 = 8443;

/// Reads `host:port`, `host`, `[v6]:port` or a bare IPv6 address; templates mean addresses of this machine. The flag is for
/// the message.
///
/// # Errors
/// It is none of these.
pub(super) fn host_and_port(text: &str, default_port: u16, flag: &str) -> Result<(String, u16), CliError> {
    let refused = || CliError::Usage(format!("-{flag} {text:?} is not of the form host:port"));
    // The port is none of the template's, which may be filled with an IPv6 address.
    let (template, port) = text.split_at(text.rfind("}}").map_or(text.len(), |end| end + 2));
    let filled = with_addresses_of_host(template).map_err(|why| CliError::Usage(format!("-{flag} {why}")))?;
    let filled = match filled.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if !port.is_empty() => format!("[{address}]{port}"),
        Ok(_) | Err(_) => filled + port,
    };
    let text = filled.as_str();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address.to_string(), default_port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| refused())?),
        None => (text, default_port),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && host.parse::<IpAddr>().is_err())
    {
        return Err(refused());
    }
    Ok((host.to_owned(), port))
}

/// The address as a socket has it; names are looked up, and IPv4 is preferred.
///
/// # Errors
/// The name has no address.
pub(super) fn resolve(host: &str, port: u16, flag: &str) -> Result<SocketAddr, CliError> {
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| CliError::Usage(format!("-{flag}: the address of {host:?} cannot be found: {error}")))?
        .collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    first.ok_or_else(|| CliError::Usage(format!("-{flag}: {host:?} has no address")))
}

/// True if a socket of this machine can have the address. Names are nobody's: they may mean something else elsewhere.
pub(super) fn is_local(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified() && TcpListener::bind((ip, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_added_where_there_is_none() {
        let cases = [
            ("10.0.0.5:443", Some(("10.0.0.5", 443))),
            ("10.0.0.5", Some(("10.0.0.5", 8443))),
            ("gateway.example", Some(("gateway.example", 8443))),
            ("[2001:db8::5]:443", Some(("2001:db8::5", 443))),
            ("2001:db8::5", Some(("2001:db8::5", 8443))),
            (":443", None),
            ("10.0.0.5:https", None),
            ("10.0.0.5:99999", None),
            (
                "{{ GetAllInterfaces | include \"flags\" \"loopback\" | include \"type\" \"IPv4\" | limit 1 }}:8444",
                Some(("127.0.0.1", 8444)),
            ),
            (
                "{{ GetAllInterfaces | include \"flags\" \"loopback\" | include \"type\" \"IPv6\" | limit 1 }}:8444",
                Some(("::1", 8444)),
            ),
            ("{{ GetPrivateAddress }}:8443", None),
            ("10.0.0.1 10.0.0.2:8443", None),
        ];

        for (text, expected) in cases {
            let found = host_and_port(text, GATEWAY_PORT, "address").ok();
            assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{text}");
        }
    }

    #[test]
    fn local_is_what_a_socket_can_have() {
        assert!(is_local("127.0.0.1"));
        assert!(!is_local("203.0.113.77"));
        assert!(!is_local("0.0.0.0"));
        assert!(!is_local("localhost"));
    }
}
