//! What `-register` registers for a gateway (contract 9.2).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::bind::{GATEWAY_PORT, host_and_port, is_local};
use super::options::EnvoyOptions;
use crate::cli::CliError;
use crate::model::{CheckDefinition, GoDuration, Proxy, ServiceAddress, ServiceDefinition, ServiceId, ServiceKind};

/// Connections, and requests of what is exported to peers, that a mesh gateway carries to one service at a time: more than a
/// machine has. Envoy's own limit of 1,024 is meant for clients, and a gateway carries those of a whole datacenter.
const MOST_CARRIED: u32 = 1_000_000;

/// How often a gateway's port is tried.
const CHECK_INTERVAL: GoDuration = GoDuration::from_secs(10);

/// The registration that the options describe. `is_local` tells whether this machine has an address.
///
/// # Errors
/// Options that cannot be understood, or a LAN address that Envoy could not listen on.
pub(super) fn registration(
    kind: ServiceKind,
    options: &EnvoyOptions,
    is_local: impl Fn(&str) -> bool,
) -> Result<ServiceDefinition, CliError> {
    let address = |text: &Option<String>, flag| match text.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            host_and_port(text, GATEWAY_PORT, flag).map(|(host, port)| Some(ServiceAddress { address: host, port }))
        }
        None => Ok(None),
    };
    let lan = address(&options.address, "address")?;
    let wan = address(&options.wan_address, "wan-address")?;
    let mut config = proxy_config(options, lan.as_ref(), wan.as_ref(), is_local)?;
    if kind == ServiceKind::MeshGateway {
        config.insert("limits".to_owned(), limits());
    }
    let name = options.gateway_service(kind);
    let check = (kind != ServiceKind::ApiGateway).then(|| check(kind, options, lan.as_ref())).transpose()?;
    let meta = options.expose_servers.then(|| ("consul-wan-federation".to_owned(), "1".to_owned()));
    let tagged = [("lan", lan.clone()), ("wan", wan)];
    let (address, port) = lan.map_or((String::new(), GATEWAY_PORT), |lan| (lan.address, lan.port));
    Ok(ServiceDefinition {
        kind,
        id: ServiceId::from(name.as_str()),
        name,
        address,
        port,
        tagged_addresses: tagged
            .into_iter()
            .filter_map(|(network, address)| Some((network.to_owned(), address?)))
            .collect::<BTreeMap<_, _>>(),
        meta: meta.into_iter().collect(),
        check,
        proxy: (!config.is_empty()).then(|| Proxy { config, ..Proxy::default() }),
        ..ServiceDefinition::default()
    })
}

/// What the gateway listens on, where that is not the address that it is registered with.
fn proxy_config(
    options: &EnvoyOptions,
    lan: Option<&ServiceAddress>,
    wan: Option<&ServiceAddress>,
    is_local: impl Fn(&str) -> bool,
) -> Result<Map<String, Value>, CliError> {
    let mut config = Map::new();
    if !options.bind_address.is_empty() {
        config.insert("envoy_gateway_bind_addresses".to_owned(), bind_addresses(&options.bind_address)?);
        config.insert("envoy_gateway_no_default_bind".to_owned(), json!(true));
        return Ok(config);
    }
    let (Some(lan), wan) = (lan, wan) else { return Ok(config) };
    if !is_local(&lan.address) {
        let message = format!(
            "-address {} is no address of this machine, so Envoy cannot listen on it: say what to listen on with \
             -bind-address default=<ip>:{}",
            lan.address, lan.port
        );
        return Err(CliError::Usage(message));
    }
    if wan.is_some_and(|wan| is_local(&wan.address)) {
        config.insert("envoy_gateway_bind_tagged_addresses".to_owned(), json!(true));
        config.insert("envoy_gateway_no_default_bind".to_owned(), json!(true));
        return Ok(config);
    }
    Ok(config)
}

fn limits() -> Value {
    let keys = ["max_connections", "max_pending_requests", "max_concurrent_requests"];
    keys.into_iter().map(|key| (key, MOST_CARRIED)).collect()
}

fn bind_addresses(pairs: &[String]) -> Result<Value, CliError> {
    let read = |pair: &String| {
        let refused = || CliError::Usage(format!("-bind-address {pair:?} is not of the form name=ip:port"));
        let (name, address) = pair.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(refused)?;
        let (host, port) = host_and_port(address, GATEWAY_PORT, "bind-address")?;
        host.parse::<std::net::IpAddr>().map_err(|_| refused())?;
        Ok((name.to_owned(), json!({"address": host, "port": port})))
    };
    pairs.iter().map(read).collect::<Result<Map<_, _>, _>>().map(Value::Object)
}

/// The check that takes an unreachable gateway out, and removes it after a while.
fn check(kind: ServiceKind, options: &EnvoyOptions, lan: Option<&ServiceAddress>) -> Result<CheckDefinition, CliError> {
    let after: GoDuration = options
        .deregister_after_critical
        .parse()
        .map_err(|error| CliError::Usage(format!("-deregister-after-critical: {error}")))?;
    let (host, port) = lan.map_or(("127.0.0.1", GATEWAY_PORT), |lan| (lan.address.as_str(), lan.port));
    Ok(CheckDefinition {
        name: format!("{kind} listening"),
        tcp: crate::model::SocketEndpoint::new(host, port).to_string(),
        interval: Some(CHECK_INTERVAL),
        deregister_critical_service_after: Some(after).filter(|after| after.as_nanos() != 0),
        ..CheckDefinition::default()
    })
}

/// The registration with what this machine says about its addresses.
///
/// # Errors
/// As for `registration`.
pub(super) fn of_this_machine(kind: ServiceKind, options: &EnvoyOptions) -> Result<ServiceDefinition, CliError> {
    registration(kind, options, is_local)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: EnvoyOptions,
    }

    fn registered(arguments: &str, local: &[&str]) -> Result<Value, String> {
        let arguments = std::iter::once("envoy").chain(arguments.split_whitespace());
        let options = Line::try_parse_from(arguments).unwrap().options;
        let kind = options.gateway_kind().unwrap().unwrap();
        let registration = registration(kind, &options, |host| local.contains(&host));
        registration.map(|registration| json!(registration)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_gateway_is_registered_with_its_addresses_and_a_check() {
        let body = registered(
            "--gateway mesh --register --address 10.0.0.5:8443 --wan-address 198.51.100.5:443",
            &["10.0.0.5"],
        );

        assert_eq!(
            body.unwrap(),
            json!({
                "Kind": "mesh-gateway", "ID": "mesh-gateway", "Name": "mesh-gateway",
                "Address": "10.0.0.5", "Port": 8443,
                "TaggedAddresses": {
                    "lan": {"Address": "10.0.0.5", "Port": 8443},
                    "wan": {"Address": "198.51.100.5", "Port": 443},
                },
                "Check": {
                    "Name": "mesh-gateway listening", "TCP": "10.0.0.5:8443",
                    "Interval": "10s", "DeregisterCriticalServiceAfter": "6h0m0s",
                },
                "Proxy": {"Config": {"limits": limits()}, "Expose": {}, "MeshGateway": {}},
            })
        );
    }

    #[test]
    fn a_gateway_with_two_addresses_of_this_machine_listens_on_both() {
        let arguments = "--gateway mesh --register --address 127.0.0.2:8443 --wan-address 127.0.0.3:443";

        let body = registered(arguments, &["127.0.0.2", "127.0.0.3"]).unwrap();

        assert_eq!(
            body["Proxy"]["Config"],
            json!({
                "envoy_gateway_bind_tagged_addresses": true, "envoy_gateway_no_default_bind": true, "limits": limits(),
            })
        );
    }

    #[test]
    fn an_address_of_another_machine_needs_one_to_listen_on() {
        let error = registered("--gateway mesh --register --address 203.0.113.7:443", &[]).unwrap_err();
        assert!(error.contains("-bind-address default=<ip>:443"), "{error}");

        let body =
            registered("--gateway mesh --register --address 203.0.113.7:443 --bind-address default=10.0.0.5:8443", &[]);
        assert_eq!(
            body.unwrap()["Proxy"]["Config"],
            json!({
                "envoy_gateway_bind_addresses": {"default": {"address": "10.0.0.5", "port": 8443}},
                "envoy_gateway_no_default_bind": true,
                "limits": limits(),
            })
        );
    }

    #[test]
    fn a_gateway_without_an_address_is_checked_on_the_loopback_interface() {
        let body = registered("--gateway mesh --register --deregister-after-critical 0", &[]).unwrap();

        assert_eq!(
            body,
            json!({
                "Kind": "mesh-gateway", "ID": "mesh-gateway", "Name": "mesh-gateway", "Port": 8443,
                "Check": {"Name": "mesh-gateway listening", "TCP": "127.0.0.1:8443", "Interval": "10s"},
                "Proxy": {"Config": {"limits": limits()}, "Expose": {}, "MeshGateway": {}},
            })
        );
    }

    #[test]
    fn servers_are_exposed_by_metadata() {
        let body = registered("--gateway mesh --register --expose-servers --service gw", &[]).unwrap();

        assert_eq!((&body["Name"], &body["Meta"]), (&json!("gw"), &json!({"consul-wan-federation": "1"})));
    }
}
