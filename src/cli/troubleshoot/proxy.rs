//! `meshgate troubleshoot proxy`.

use clap::Args;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Admin;
use super::dump::{Dump, Wanted, Way, list, text};
use crate::cli::{CliError, output};

/// Options of `troubleshoot proxy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Which upstreams there are says `meshgate troubleshoot upstreams`. What the control plane knows about the way, from the sidecar \
to the instance, says `meshgate path`.")]
pub(in crate::cli) struct ProxyOptions {
    /// ID of the upstream
    #[arg(long, value_name = "ID", required_unless_present = "upstream_ip", conflicts_with = "upstream_ip")]
    upstream_envoy_id: Option<String>,
    /// Address that the application dials, of a transparent proxy
    #[arg(long, value_name = "IP")]
    upstream_ip: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

/// One line of the list: whether it is as it should be, and what was seen.
#[derive(Debug, PartialEq, Eq)]
struct Checked(bool, String);

/// Goes through the list, and prints all of it whatever is wrong.
pub(super) async fn run(options: &ProxyOptions) -> Result<(), CliError> {
    let wanted = match (&options.upstream_envoy_id, &options.upstream_ip) {
        (Some(id), _) => Wanted::Id(id),
        (None, Some(ip)) => Wanted::Ip(ip),
        (None, None) => return Err(CliError::Usage("say -upstream-envoy-id or -upstream-ip".to_owned())),
    };
    let admin = &options.admin;
    let certificates = admin.ask("certs").await?;
    let counters = admin.ask("stats?format=json&usedonly").await?;
    let way = Dump::of(&admin.ask("config_dump").await?).way_to(wanted);
    let hosts = admin.ask("clusters?format=json").await?;
    let now = OffsetDateTime::now_utc();
    let all = [
        certificates_checked(&certificates, now),
        rejections_checked(&counters),
        failures_checked(&counters, &way),
        listener_checked(&way),
        routes_checked(&way),
    ];
    for Checked(is_right, seen) in all.into_iter().chain(clusters_checked(&way, &hosts)) {
        output::line(&format!("{} {seen}", if is_right { "✓" } else { "✗" }))?;
    }
    Ok(())
}

/// Its own certificates and those that it verifies others with are valid now.
fn certificates_checked(answer: &Value, now: OffsetDateTime) -> Checked {
    let all = list(&answer["certificates"]).iter();
    let each = all.flat_map(|certificate| list(&certificate["ca_cert"]).iter().chain(list(&certificate["cert_chain"])));
    let time = |value: &Value| OffsetDateTime::parse(text(value), &Rfc3339).ok();
    let is_valid = |certificate: &&Value| {
        time(&certificate["valid_from"]).is_some_and(|from| from <= now)
            && time(&certificate["expiration_time"]).is_some_and(|until| now < until)
    };
    let (valid, invalid): (Vec<_>, Vec<_>) = each.partition(is_valid);
    match (valid.len(), invalid.as_slice()) {
        (0, []) => Checked(false, "Envoy has no certificates: it has heard of no control plane yet".to_owned()),
        (count, []) => Checked(true, format!("all {count} certificates are valid")),
        (_, [first, ..]) => {
            let until = text(&first["expiration_time"]);
            Checked(false, format!("{} certificates are not valid now; one ends at {until}", invalid.len()))
        }
    }
}

/// The counters with a name.
fn counted<'a>(counters: &'a Value, is_wanted: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = (&'a str, u64)> {
    let counter = |stat: &'a Value| Some((text(&stat["name"]), stat["value"].as_u64()?));
    list(&counters["stats"]).iter().filter_map(counter).filter(move |(name, value)| *value > 0 && is_wanted(name))
}

fn rejections_checked(counters: &Value) -> Checked {
    let rejected: Vec<_> = counted(counters, |name| name.ends_with(".update_rejected")).collect();
    let total: u64 = rejected.iter().map(|(_, count)| count).sum();
    let names: Vec<_> = rejected.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    match total {
        0 => Checked(true, "Envoy has rejected no configuration".to_owned()),
        _ => Checked(false, format!("Envoy has rejected {total} configurations ({})", names.join(", "))),
    }
}

fn failures_checked(counters: &Value, way: &Way) -> Checked {
    let is_ours = |name: &str| {
        let cluster = name.strip_prefix("cluster.").and_then(|rest| rest.strip_suffix(".upstream_cx_connect_fail"));
        cluster.is_some_and(|cluster| way.clusters.contains(cluster))
    };
    match counted(counters, is_ours).map(|(_, count)| count).sum::<u64>() {
        0 => Checked(true, "no connection to the upstream has failed".to_owned()),
        count => Checked(false, format!("{count} connections to the upstream have failed")),
    }
}

fn listener_checked(way: &Way) -> Checked {
    match way.has_listener {
        true => Checked(true, "the upstream has a listener".to_owned()),
        false => Checked(false, "the upstream has no listener: see troubleshoot upstreams".to_owned()),
    }
}

fn routes_checked(way: &Way) -> Checked {
    let missing: Vec<_> = way.routes.difference(&way.known_routes).map(String::as_str).collect();
    match (way.routes.len(), missing.as_slice()) {
        (0, _) => Checked(way.has_listener, "the upstream needs no route".to_owned()),
        (_, []) => Checked(true, "the upstream has its route".to_owned()),
        (_, missing) => Checked(false, format!("routes are missing: {}", missing.join(", "))),
    }
}

/// Each cluster of the upstream is there, and an instance of it can be called.
fn clusters_checked(way: &Way, answer: &Value) -> Vec<Checked> {
    if way.clusters.is_empty() {
        return vec![Checked(false, "no cluster leads to the upstream".to_owned())];
    }
    let hosts = |name: &str| {
        let cluster = list(&answer["cluster_statuses"]).iter().find(|cluster| cluster["name"] == name);
        cluster.map(|cluster| list(&cluster["host_statuses"])).unwrap_or_default()
    };
    let checked = |name: &String| {
        if !way.known_clusters.contains(name) {
            return Checked(false, format!("cluster {name} is missing"));
        }
        let all = hosts(name);
        let healthy = all.iter().filter(|host| is_healthy(&host["health_status"])).count();
        Checked(healthy > 0, format!("cluster {name} has {healthy} healthy endpoints of {}", all.len()))
    };
    way.clusters.iter().map(checked).collect()
}

/// Healthy as the control plane said, and not put out by Envoy itself.
fn is_healthy(status: &Value) -> bool {
    let failed = status
        .as_object()
        .is_some_and(|members| members.iter().any(|(name, is)| name.starts_with("failed_") && *is == true));
    !failed && matches!(text(&status["eds_health_status"]), "" | "HEALTHY" | "UNKNOWN")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_certificate_that_has_ended_is_told() {
        let until = |end: &str| json!({ "valid_from": "2024-01-01T00:00:00Z", "expiration_time": end });
        let answer = |end: &str| json!({ "certificates": [{ "ca_cert": [until("2034-01-01T00:00:00Z")], "cert_chain": [until(end)] }] });
        let now = datetime!(2024-06-01 00:00 UTC);

        assert_eq!(
            certificates_checked(&answer("2024-06-02T00:00:00Z"), now),
            Checked(true, "all 2 certificates are valid".to_owned())
        );
        assert_eq!(
            certificates_checked(&answer("2024-05-31T00:00:00Z"), now),
            Checked(false, "1 certificates are not valid now; one ends at 2024-05-31T00:00:00Z".to_owned())
        );
        assert!(!certificates_checked(&json!({}), now).0);
    }

    #[test]
    fn only_failures_of_the_upstream_count() {
        let stats = |pairs: &[(&str, u64)]| {
            let stats: Vec<_> = pairs.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            json!({ "stats": stats })
        };
        let way = Way { clusters: ["db.a".to_owned()].into(), ..Way::default() };
        let counters = stats(&[
            ("cluster.db.a.upstream_cx_connect_fail", 2),
            ("cluster.web.upstream_cx_connect_fail", 7),
            ("listener_manager.lds.update_rejected", 1),
        ]);

        assert_eq!(
            failures_checked(&counters, &way),
            Checked(false, "2 connections to the upstream have failed".to_owned())
        );
        assert_eq!(
            rejections_checked(&counters),
            Checked(false, "Envoy has rejected 1 configurations (listener_manager.lds.update_rejected: 1)".to_owned())
        );
        assert!(failures_checked(&stats(&[]), &way).0 && rejections_checked(&stats(&[])).0);
    }

    #[test]
    fn an_endpoint_that_is_put_out_is_not_healthy() {
        let status = |status: Value| {
            let answer =
                json!({ "cluster_statuses": [{ "name": "db", "host_statuses": [{ "health_status": status }] }] });
            let cluster = || std::collections::BTreeSet::from(["db".to_owned()]);
            let way = Way { clusters: cluster(), known_clusters: cluster(), ..Way::default() };
            clusters_checked(&way, &answer).remove(0)
        };

        assert_eq!(
            status(json!({ "eds_health_status": "HEALTHY" })),
            Checked(true, "cluster db has 1 healthy endpoints of 1".to_owned())
        );
        assert!(!status(json!({ "eds_health_status": "UNHEALTHY" })).0);
        assert!(!status(json!({ "eds_health_status": "HEALTHY", "failed_outlier_check": true })).0);
    }
}
