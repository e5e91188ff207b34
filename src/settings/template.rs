//! Templates of addresses, such as `{{ GetPrivateIP }}`: which address of this host is meant (`http-api.md` 4.1).
//!
//! A template is a chain of words: the first one takes addresses of the host, those behind it pick from them, and what is left
//! is written with spaces in between.

use std::net::IpAddr;

use regex::Regex;

use super::inputs::HostAddress;
use crate::model::Network;

/// What can begin a template, for messages.
const SOURCES: &str = "GetPrivateIP, GetPublicIP, GetInterfaceIP \"NAME\", GetAllInterfaces, GetDefaultInterfaces, \
                       GetPrivateInterfaces and GetPublicInterfaces";
/// What can follow, for messages.
const FILTERS: &str = "include and exclude with \"name\", \"type\", \"network\", \"rfc\" or \"flags\", limit N, attr \"address\" \
                       and join \"address\" \" \"";

/// Fills in the templates of a text; another text is as it was.
///
/// # Errors
/// A template that is none, or that no address of the host is meant by.
pub(super) fn filled(text: &str, host: &[HostAddress]) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("{{") {
        let (template, after) =
            behind.split_once("}}").ok_or_else(|| format!("{text:?} lacks the }}}} of a template"))?;
        filled += before;
        filled += &one(template, host).map_err(|why| format!("{{{{{template}}}}}: {why}"))?;
        rest = after;
    }
    filled += rest;
    Ok(filled)
}

/// What one template means.
fn one(template: &str, host: &[HostAddress]) -> Result<String, String> {
    let mut steps = steps(template).into_iter().map(words);
    let mut chosen = source(&steps.next().unwrap_or_default(), host)?;
    for step in steps {
        chosen = filter(&step, chosen)?;
    }
    match chosen.as_slice() {
        [] => Err("no address of this host is like that".to_owned()),
        chosen => Ok(chosen.iter().map(|it| it.ip.to_string()).collect::<Vec<_>>().join(" ")),
    }
}

/// The steps of a template; a bar inside of quotes separates none.
fn steps(template: &str) -> Vec<&str> {
    let mut quote = None;
    let is_bar = |c: char| {
        match (quote, c) {
            (None, '"' | '`' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None | Some(_), _) => {}
        }
        quote.is_none() && c == '|'
    };
    template.split(is_bar).collect()
}

/// The words of a step, without their quotes. A quoted word may hold spaces.
fn words(step: &str) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), step.trim());
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '`' | '\'' => rest[1..].split_once(first).unwrap_or((&rest[1..], "")),
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// The addresses that a template begins with, the ones that others are reached from first, of IPv4 before those of IPv6.
fn source(words: &[&str], host: &[HostAddress]) -> Result<Vec<HostAddress>, String> {
    let mut all: Vec<_> = host.to_vec();
    all.sort_by_key(|it| (!it.is_default, it.ip.is_ipv6()));
    let those =
        |is_meant: &dyn Fn(&HostAddress) -> bool| all.iter().filter(|it| is_meant(it)).cloned().collect::<Vec<_>>();
    let (private, public) = (
        |it: &HostAddress| is_forwardable(it.ip) && is_private(it.ip),
        |it: &HostAddress| is_forwardable(it.ip) && !is_private(it.ip),
    );
    let default = all.iter().find(|it| it.is_default).map(|it| it.interface.clone());
    let found = match *words {
        ["GetPrivateIPs" | "GetPrivateInterfaces"] => those(&private),
        ["GetPublicIPs" | "GetPublicInterfaces"] => those(&public),
        ["GetPrivateIP"] => those(&private).into_iter().take(1).collect(),
        ["GetPublicIP"] => those(&public).into_iter().take(1).collect(),
        ["GetInterfaceIPs", name] => those(&|it| it.interface == name && !is_link_local(it.ip)),
        ["GetInterfaceIP", name] => {
            those(&|it| it.interface == name && !is_link_local(it.ip)).into_iter().take(1).collect()
        }
        ["GetDefaultInterfaces"] => those(&|it| Some(&it.interface) == default.as_ref()),
        ["GetAllInterfaces"] => all,
        _ => return Err(format!("a template begins with one of {SOURCES}")),
    };
    Ok(found)
}

/// What a step leaves of the addresses.
fn filter(words: &[&str], mut chosen: Vec<HostAddress>) -> Result<Vec<HostAddress>, String> {
    match *words {
        [verb @ ("include" | "exclude"), by, value] => {
            let is_meant = condition(by, value)?;
            chosen.retain(|it| is_meant(it) == (verb == "include"));
        }
        ["limit", count] => chosen.truncate(count.parse().map_err(|_| format!("limit {count:?} is no number"))?),
        // They say how addresses become text, which they do anyway.
        ["attr", "address"] => chosen.truncate(1),
        ["join", "address", " "] => {}
        _ => return Err(format!("{:?} is not known here: use {FILTERS}", words.join(" "))),
    }
    Ok(chosen)
}

type Condition = Box<dyn Fn(&HostAddress) -> bool>;

fn condition(by: &str, value: &str) -> Result<Condition, String> {
    let value = value.to_owned();
    Ok(match by.to_ascii_lowercase().as_str() {
        "name" => {
            let name = Regex::new(&value).map_err(|_| format!("{value:?} is no expression"))?;
            Box::new(move |it| name.is_match(&it.interface))
        }
        "type" => match value.to_ascii_lowercase().as_str() {
            "ip" => Box::new(|_| true),
            "ipv4" => Box::new(|it| it.ip.is_ipv4()),
            "ipv6" => Box::new(|it| it.ip.is_ipv6()),
            _ => return Err(format!("type {value:?} is none of IP, IPv4 and IPv6")),
        },
        "network" => {
            let network: Network = value.parse().map_err(|error| format!("{error}"))?;
            Box::new(move |it| network.contains(it.ip))
        }
        "rfc" if value == "6890" => Box::new(|it| is_private(it.ip)),
        "flags" => {
            let flags: Vec<String> = value.split('|').map(|flag| flag.trim().to_ascii_lowercase()).collect();
            if let Some(other) = flags.iter().find(|flag| !matches!(flag.as_str(), "up" | "forwardable" | "loopback")) {
                return Err(format!("flag {other:?} is none of up, forwardable and loopback"));
            }
            Box::new(move |it| {
                flags.iter().all(|flag| match flag.as_str() {
                    "forwardable" => is_forwardable(it.ip),
                    "loopback" => it.ip.is_loopback(),
                    // Others have no addresses.
                    _ => true,
                })
            })
        }
        _ => return Err(format!("{by:?} is not known here: use {FILTERS}")),
    })
}

/// True for addresses that routers pass on.
fn is_forwardable(ip: IpAddr) -> bool {
    !ip.is_loopback() && !is_link_local(ip) && !ip.is_multicast() && !ip.is_unspecified()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// True for addresses of networks that are nobody's on the Internet (RFC 6890).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        // The last ones are those of carriers, RFC 6598.
        IpAddr::V4(v4) => {
            v4.is_private() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64 || !is_forwardable(ip)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || !is_forwardable(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<HostAddress> {
        [
            ("lo", "127.0.0.1", false),
            ("lo", "::1", false),
            ("eth0", "fe80::1", false),
            ("eth0", "2001:db8:1::5", false),
            ("eth1", "10.1.0.7", false),
            ("eth0", "192.168.7.5", true),
            ("eth2", "203.0.113.9", false),
        ]
        .map(|(interface, ip, is_default)| HostAddress {
            interface: interface.to_owned(),
            ip: ip.parse().expect(ip),
            is_default,
        })
        .into()
    }

    #[test]
    fn a_template_means_addresses_of_this_host() {
        for (template, expected) in [
            ("{{ GetPrivateIP }}", "192.168.7.5"),
            ("{{GetPublicIP}}", "203.0.113.9"),
            ("{{ GetPrivateIPs }}", "192.168.7.5 10.1.0.7"),
            ("{{ GetInterfaceIP \"eth0\" }}", "192.168.7.5"),
            ("{{ GetInterfaceIP `eth1` }} 127.0.0.1", "10.1.0.7 127.0.0.1"),
            (
                "{{ GetDefaultInterfaces | include \"type\" \"IPv6\" | exclude \"flags\" \"loopback\" | limit 9 }}",
                "fe80::1 2001:db8:1::5",
            ),
            ("{{ GetAllInterfaces | include \"network\" \"10.0.0.0/8\" | attr \"address\" }}", "10.1.0.7"),
            (
                "{{ GetAllInterfaces | include \"name\" \"^eth\" | include \"type\" \"IPv4\" | join \"address\" \" \" }}",
                "192.168.7.5 10.1.0.7 203.0.113.9",
            ),
            (
                "{{ GetAllInterfaces | include \"flags\" \"forwardable|up\" | include \"rfc\" \"6890\" | limit 1 }}",
                "192.168.7.5",
            ),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(filled(template, &host()).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn a_template_that_means_nothing_is_told() {
        for (template, fragment) in [
            ("{{ GetPrivateIP", "lacks the }}"),
            ("{{ GetInterfaceIP \"eth9\" }}", "{{ GetInterfaceIP \"eth9\" }}: no address of this host is like that"),
            ("{{ PrivateIP }}", "a template begins with one of GetPrivateIP"),
            ("{{ GetAllInterfaces | sort \"size\" }}", "\"sort size\" is not known here"),
            ("{{ GetAllInterfaces | include \"network\" \"ten\" }}", "ten"),
            ("{{ GetAllInterfaces | include \"flags\" \"up|odd\" }}", "\"odd\""),
        ] {
            let told = filled(template, &host()).expect_err(template);
            assert!(told.contains(fragment), "{template}: {told}");
        }
    }
}
