//! Where the HTTP API is: `host:port`, a URL with an optional path prefix, or a Unix socket.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::ClientError;

/// The address of an HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiAddress {
    base: Url,
    socket: Option<PathBuf>,
}

impl ApiAddress {
    /// Reads an address. `tls` says what a bare `host:port` speaks.
    ///
    /// # Errors
    /// The text is none of the forms.
    pub(crate) fn parse(text: &str, tls: bool) -> Result<Self, ClientError> {
        let error = || ClientError::Address(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            let base = Url::parse("http://localhost/").map_err(|_| error())?;
            return if path.is_empty() { Err(error()) } else { Ok(Self { base, socket: Some(path.into()) }) };
        }
        let scheme = if tls { "https" } else { "http" };
        let url = match text.split_once("://") {
            Some(("http", rest)) => format!("{scheme}://{rest}"),
            Some(("https", _)) => text.to_owned(),
            Some(_) => return Err(error()),
            None => format!("{scheme}://{text}"),
        };
        let base = Url::parse(&url).map_err(|_| error())?;
        if base.host_str().is_none_or(str::is_empty) {
            return Err(error());
        }
        Ok(Self { base, socket: None })
    }

    /// The URL that paths are added to.
    pub(crate) fn base(&self) -> Url {
        self.base.clone()
    }

    /// The Unix socket, if it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The host, unless it is a Unix socket.
    pub(crate) fn host(&self) -> Option<&str> {
        if self.socket.is_some() { None } else { self.base.host_str() }
    }
}

/// A URL without the user and the password that may be in it.
pub(super) fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    // What cannot have them has none.
    let _ = shown.set_password(None).and_then(|()| shown.set_username(""));
    shown
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "unix://{}", path.display()),
            None => f.write_str(shown(&self.base).as_str().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() {
        let cases = [
            ("127.0.0.1:8500", false, "http://127.0.0.1:8500", Some("127.0.0.1")),
            ("localhost:8501", true, "https://localhost:8501", Some("localhost")),
            ("http://10.0.0.1:8500/prefix", false, "http://10.0.0.1:8500/prefix", Some("10.0.0.1")),
            ("https://consul.example:8501", false, "https://consul.example:8501", Some("consul.example")),
            ("[::1]:8500", false, "http://[::1]:8500", Some("[::1]")),
            // A password is used, and not shown.
            ("http://ops:secret@10.0.0.1:8500", false, "http://10.0.0.1:8500", Some("10.0.0.1")),
            ("unix:///run/meshgate.sock", false, "unix:///run/meshgate.sock", None),
        ];

        for (text, tls, shown, host) in cases {
            let address = ApiAddress::parse(text, tls).unwrap();
            assert_eq!((address.to_string().as_str(), address.host()), (shown, host), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_would_do() {
        for text in ["", "ftp://10.0.0.1", "unix://", "http://"] {
            let error = ApiAddress::parse(text, false).unwrap_err();
            assert!(error.to_string().contains("use host:port"), "{error}");
        }
    }
}
