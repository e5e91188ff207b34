//! `meshgate check -pre`: what this machine lacks for an agent and for Envoys, before there are any.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::envoy::{EnvoyError, EnvoyVersion, find, version_of, versions};
use crate::cli::{CliError, descriptors};

/// The ports that an agent listens on unless it is told otherwise.
const PORTS: [u16; 2] = [8_500, 8_502];

/// What is looked at: the ID, which is never used for something else, and what holds if nothing is found.
const CHECKS: [(&str, &str); 4] = [
    ("MG-SRV-002", "the ports of an agent are free"),
    ("MG-SRV-003", "enough files and connections may be open"),
    ("MG-ENVOY-002", "there is an Envoy of a version that is supported"),
    ("MG-ENVOY-003", "Envoy can listen on the IPv6 loopback address"),
];

/// Something that was found.
struct Found {
    is_problem: bool,
    subject: String,
    what: String,
    fix: String,
}

/// The checklist, in the form in which the API tells its own; of it what `only` and `categories` name, all if they name nothing.
///
/// # Errors
/// They name what is not on the list.
pub(super) fn checklist(only: &[String], categories: &[String]) -> Result<Value, CliError> {
    let area = |id: &str| id.split('-').nth(1).unwrap_or_default().to_owned();
    let is_one = |named: &str, of: &str| named.split(',').any(|part| part.trim().eq_ignore_ascii_case(of));
    let unknown = |named: &&String, list: &[String]| {
        named.split(',').any(|part| !list.iter().any(|item| item.eq_ignore_ascii_case(part.trim())))
    };
    let ids: Vec<String> = CHECKS.iter().map(|(id, _)| (*id).to_owned()).collect();
    let areas: Vec<String> = ids.iter().map(|id| area(id)).collect();
    let strange = only.iter().find(|named| unknown(named, &ids));
    if let Some(named) = strange.or_else(|| categories.iter().find(|named| unknown(named, &areas))) {
        return Err(CliError::Usage(format!("-pre looks at {}: there is no {named}", ids.join(", "))));
    }
    let is_wanted = |id: &str| {
        let all = only.is_empty() && categories.is_empty();
        all || only.iter().any(|named| is_one(named, id)) || categories.iter().any(|named| is_one(named, &area(id)))
    };
    let wanted = CHECKS.iter().filter(|(id, _)| is_wanted(id));
    let checks: Vec<_> = wanted.map(|(id, what)| checked(id, what, &look(id))).collect();
    let ok = checks.iter().all(|check| check["Status"] != "problem");
    Ok(json!({ "Ok": ok, "Checks": checks }))
}

fn checked(id: &str, what: &str, found: &[Found]) -> Value {
    let status = match found {
        [] => "ok",
        found if found.iter().any(|found| found.is_problem) => "problem",
        _ => "warning",
    };
    let finding = |found: &Found| {
        let Found { is_problem, subject, what, fix } = found;
        let severity = if *is_problem { "problem" } else { "warning" };
        json!({ "Severity": severity, "ID": id, "Subject": subject, "What": what, "Fix": fix })
    };
    let findings: Vec<_> = found.iter().map(finding).collect();
    let category = id.split('-').nth(1);
    json!({ "ID": id, "Category": category, "What": what, "Status": status, "Findings": findings })
}

fn look(id: &str) -> Vec<Found> {
    match id {
        "MG-SRV-002" => PORTS.into_iter().filter_map(taken).collect(),
        "MG-SRV-003" => few_files(descriptors::highest()).into_iter().collect(),
        "MG-ENVOY-002" => no_envoy(find(None), version_of).into_iter().collect(),
        _ => no_ipv6().into_iter().collect(),
    }
}

fn taken(port: u16) -> Option<Found> {
    let refused = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).err()?;
    Some(Found {
        is_problem: true,
        subject: format!("127.0.0.1:{port}"),
        what: format!("an agent could not listen there: {refused}"),
        fix: "end what listens there, or give the agent other ports (-http-port, -grpc-port)".to_owned(),
    })
}

fn few_files(most: Option<u64>) -> Option<Found> {
    let most = most.filter(|most| *most < descriptors::FEW)?;
    Some(Found {
        is_problem: false,
        subject: "open files".to_owned(),
        what: format!("at most {most} may be open, and each proxy and each call that waits takes one"),
        fix: "raise the hard limit (LimitNOFILE of systemd, ulimit -Hn)".to_owned(),
    })
}

fn no_envoy(
    found: Result<std::path::PathBuf, EnvoyError>,
    version: impl FnOnce(&Path) -> Result<EnvoyVersion, EnvoyError>,
) -> Option<Found> {
    let problem = |subject: String, what: String| Found {
        is_problem: true,
        subject,
        what,
        fix: format!("`meshgate envoy install` fetches one (of {})", versions().join(", ")),
    };
    let path = match found {
        Ok(path) => path,
        Err(error) => return Some(problem("envoy".to_owned(), error.to_string())),
    };
    let shown = path.display().to_string();
    match version(&path) {
        Err(error) => Some(problem(shown, error.to_string())),
        Ok(version) => {
            let is_known = |known: &&str| EnvoyVersion::parse(known).is_some_and(|known| known.is_compatible(version));
            let is_supported = versions().iter().any(is_known);
            (!is_supported).then(|| problem(shown, format!("it is Envoy {version}, which is not supported")))
        }
    }
}

fn no_ipv6() -> Option<Found> {
    let refused = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).err()?;
    Some(Found {
        is_problem: false,
        subject: "::1".to_owned(),
        what: format!("nobody can listen there ({refused}), and listeners of exposed checks take ::1 too"),
        fix: "leave IPv6 of the loopback interface on (net.ipv6.conf.lo.disable_ipv6 = 0)".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_is_told_with_what_to_do() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();

        let port = taken(listener.local_addr().unwrap().port()).unwrap();
        let files = few_files(Some(1_024)).unwrap();
        let none = no_envoy(Err(EnvoyError::NotFound), |_| unreachable!("there is none")).unwrap();
        let old = no_envoy(Ok("/opt/envoy".into()), |_| Ok(EnvoyVersion { major: 1, minor: 20, patch: 0 })).unwrap();

        assert!(port.is_problem && port.fix.contains("-http-port"), "{}", port.fix);
        assert!(!files.is_problem && files.what.contains("1024"), "{}", files.what);
        assert!(none.fix.contains("meshgate envoy install"), "{}", none.fix);
        assert_eq!(
            (old.subject.as_str(), old.what.as_str()),
            ("/opt/envoy", "it is Envoy 1.20.0, which is not supported")
        );
        let right = no_envoy(Ok("/opt/envoy".into()), |_| Ok(EnvoyVersion { major: 1, minor: 40, patch: 9 }));
        assert!(right.is_none() && few_files(None).is_none() && few_files(Some(1 << 20)).is_none());
    }

    #[test]
    fn the_list_is_what_is_asked_for() {
        let ids = |only: &[&str], categories: &[&str]| -> Vec<String> {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let list = checklist(&owned(only), &owned(categories)).unwrap();
            list["Checks"].as_array().unwrap().iter().map(|check| check["ID"].as_str().unwrap().to_owned()).collect()
        };

        assert_eq!(ids(&[], &[]).len(), CHECKS.len());
        assert_eq!(ids(&["mg-srv-003"], &["envoy"]), ["MG-SRV-003", "MG-ENVOY-002", "MG-ENVOY-003"]);
        assert!(checklist(&["MG-GW-001".to_owned()], &[]).is_err());
    }
}
