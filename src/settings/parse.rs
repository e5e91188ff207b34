//! Values as people write them: numbers and switches may be texts, since flags and variables are nothing else.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;

use crate::model::{Datacenter, DnsDomain, GoDuration, IntentionPolicy, Network, NetworkError};
use crate::telemetry::LogOptions;

/// A text; numbers and switches are taken as they are written.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(switch) => Ok(switch.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(format!("{value} is not a text")),
    }
}

fn some_text(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
}

/// A name that other names are made of: lower case.
pub(super) fn datacenter(value: &Value) -> Result<Datacenter, String> {
    let name = some_text(value)?.to_lowercase();
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Ok(Datacenter::from(name));
    }
    Err(format!("{name:?} is no name of a datacenter: use letters, digits, - and _"))
}

/// A name of a node.
pub(super) fn node_name(value: &Value) -> Result<String, String> {
    let name = some_text(value)?;
    if name.contains('/') || name.chars().any(char::is_whitespace) {
        return Err(format!("{name:?} is no name of a node: it must not contain slashes or spaces"));
    }
    Ok(name)
}

/// A UUID.
pub(super) fn uuid(value: &Value) -> Result<String, String> {
    let text = some_text(value)?;
    uuid::Uuid::parse_str(&text).map(|uuid| uuid.to_string()).map_err(|_| format!("{text:?} is no UUID"))
}

/// A path.
pub(super) fn path(value: &Value) -> Result<PathBuf, String> {
    some_text(value).map(PathBuf::from)
}

/// A port to listen on, if it is not negative; 0 lets the system choose one.
pub(super) fn open_port(value: &Value) -> Result<Option<u16>, String> {
    let text = text(value)?;
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Ok(None),
        Ok(number) => {
            u16::try_from(number).map(Some).map_err(|_| format!("{text} is no port: use a number up to 65535"))
        }
        Err(_) => Err(format!("{text:?} is no port: use a number from 0 to 65535")),
    }
}

/// An end of a range of ports; 0 switches the range off.
pub(super) fn range_port(value: &Value) -> Result<u16, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("{text:?} is no port: use a number from 0 to 65535"))
}

/// A number of bytes, at least one and at most what a log or an answer can bear.
pub(super) fn size(value: &Value) -> Result<usize, String> {
    const MOST: usize = 1 << 20;
    let text = text(value)?;
    let size = text.parse().ok().filter(|size| (1..=MOST).contains(size));
    size.ok_or_else(|| format!("{text:?} is no size: use a number of bytes from 1 to {MOST}"))
}

/// A number of commits.
pub(super) fn count(value: &Value) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    let text = text(value)?;
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| format!("{text:?} is no number of commits: use one from 1 to {MOST}"))
}

/// A number of bytes of memory.
pub(super) fn memory(value: &Value) -> Result<usize, String> {
    const MOST: usize = 16 << 30;
    let text = text(value)?;
    let size = text.parse().ok().filter(|size| (1..=MOST).contains(size));
    size.ok_or_else(|| format!("{text:?} is no size: use a number of bytes from 1 to {MOST}"))
}

/// An IP address.
pub(super) fn ip(value: &Value) -> Result<IpAddr, String> {
    match ips(value)?[..] {
        [ip] => Ok(ip),
        _ => Err(format!("{:?} are several addresses: give one, such as 0.0.0.0 for all", text(value)?)),
    }
}

/// IP addresses with spaces between them, one at least and each once.
pub(super) fn ips(value: &Value) -> Result<Vec<IpAddr>, String> {
    let text = some_text(value)?;
    let mut ips = Vec::new();
    for word in text.split_whitespace() {
        let ip = match word {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            _ => IpAddr::from_str(word).map_err(|_| format!("{word:?} is no IP address"))?,
        };
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Ok(ips)
}

/// An IP address that others can dial.
pub(super) fn advertised_ip(value: &Value) -> Result<IpAddr, String> {
    let ip = ip(value)?;
    if ip.is_unspecified() {
        Err(format!("{ip} cannot be dialled by others: give an address of this host"))
    } else {
        Ok(ip)
    }
}

/// A network, such as `10.0.0.0/8`.
pub(super) fn network(value: &Value) -> Result<Network, String> {
    some_text(value)?.parse().map_err(|error: NetworkError| error.to_string())
}

/// What paths of the API begin with.
pub(super) fn path_prefix(value: &Value) -> Result<String, String> {
    let text = some_text(value)?;
    if text.starts_with('/') { Ok(text) } else { Err(format!("{text:?} is no path: begin with /v1/")) }
}

/// A switch.
pub(super) fn switch(value: &Value) -> Result<bool, String> {
    let text = text(value)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// What happens to calls that no intention speaks about.
pub(super) fn intention_policy(value: &Value) -> Result<IntentionPolicy, String> {
    match text(value)?.as_str() {
        "allow" => Ok(IntentionPolicy::Allow),
        "deny" => Ok(IntentionPolicy::Deny),
        other => Err(format!("{other:?} is neither allow nor deny")),
    }
}

/// A DNS domain.
pub(super) fn domain(value: &Value) -> Result<DnsDomain, String> {
    let text = some_text(value)?;
    DnsDomain::parse(&text).ok_or_else(|| format!("{text:?} is no DNS domain: use labels with dots between them"))
}

/// What is logged: a level, or directives for parts of the program.
pub(super) fn log_level(value: &Value) -> Result<String, String> {
    LogOptions::parse_level(&some_text(value)?).map_err(|error| error.to_string())
}

/// A length of time greater than zero.
pub(super) fn duration(value: &Value) -> Result<std::time::Duration, String> {
    let duration = duration_or_none(value)?;
    if duration.is_zero() { Err(format!("{:?} must be greater than zero", text(value)?)) } else { Ok(duration) }
}

/// A length of time; none switches something off.
pub(super) fn duration_or_none(value: &Value) -> Result<std::time::Duration, String> {
    let duration = GoDuration::from_str(&some_text(value)?).map_err(|error| error.to_string())?;
    Ok(duration.to_std())
}

/// Texts; one text is split at commas.
pub(super) fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect()
        }
        Value::Array(list) => list.clone(),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![value.clone()],
    }
}
