//! What Envoy and the system take at most. More is refused on write where a field of ours carries it; what comes another way
//! is cut or left out when the configuration is made.

/// The longest path of a Unix socket, in bytes: Linux keeps 108 with the zero byte at the end.
pub const LONGEST_SOCKET_PATH: usize = 107;

/// The largest size of request headers that Envoy can be told to take, in KiB.
pub const MOST_REQUEST_HEADERS_KB: u32 = 8192;

/// True if `path` can be that of a Unix socket.
pub fn is_socket_path(path: &str) -> bool {
    path.len() <= LONGEST_SOCKET_PATH && !path.contains('\0')
}

/// True if `name` can be the SNI of a TLS handshake: at most 255 bytes, and none of them zero.
pub fn is_sni(name: &str) -> bool {
    name.len() <= 255 && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_that_fits_and_one_more() {
        assert_eq!([107, 108].map(|length| is_socket_path(&"/".repeat(length))), [true, false]);
        assert_eq!([255, 256].map(|length| is_sni(&"x".repeat(length))), [true, false]);
        assert!(!is_socket_path("/run/\0") && !is_sni("a\0b"));
    }
}
