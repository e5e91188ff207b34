//! Facts about the machine, in the shape of Consul's `agent/host`. What cannot be found out is left out.

use std::fs;

use serde_json::{Map, Value, json};

/// What is known about the machine.
pub fn host() -> Value {
    json!({ "Memory": memory(), "CPU": processors(), "Host": system(), "Disk": null, "Errors": null })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn trimmed(path: &str) -> String {
    read(path).trim().to_owned()
}

/// Bytes, from the table of the kernel, which counts in kibibytes.
fn memory() -> Value {
    let table = read("/proc/meminfo");
    let bytes = |name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1024
    };
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    json!({
        "total": total,
        "available": available,
        "used": total.saturating_sub(available),
        "free": bytes("MemFree"),
        "buffers": bytes("Buffers"),
        "cached": bytes("Cached"),
    })
}

fn processors() -> Value {
    let table = read("/proc/cpuinfo");
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default();
    let named: Vec<_> = table.lines().filter(|line| line.starts_with("model name")).map(value).collect();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = |number: usize| {
        let name = named.get(number).cloned().unwrap_or_default();
        json!({ "cpu": number, "cores": 1, "modelName": name })
    };
    (0..count).map(processor).collect()
}

fn system() -> Value {
    let release = read("/etc/os-release");
    let of_release = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    let uptime = read("/proc/uptime");
    let uptime = uptime.split('.').next().and_then(|seconds| seconds.parse::<u64>().ok());
    let mut facts = Map::new();
    facts.insert("hostname".to_owned(), json!(trimmed("/proc/sys/kernel/hostname")));
    facts.insert("uptime".to_owned(), json!(uptime.unwrap_or_default()));
    facts.insert("os".to_owned(), json!(std::env::consts::OS));
    facts.insert("platform".to_owned(), json!(of_release("ID")));
    facts.insert("platformVersion".to_owned(), json!(of_release("VERSION_ID")));
    facts.insert("kernelVersion".to_owned(), json!(trimmed("/proc/sys/kernel/osrelease")));
    facts.insert("kernelArch".to_owned(), json!(std::env::consts::ARCH));
    facts.into()
}
