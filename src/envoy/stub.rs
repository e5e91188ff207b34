//! What is sent in place of a resource that does not exist.

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3 as route_v3;
use prost::Message;

use super::snapshot::Resource;

/// A route configuration that routes nothing. A listener waits without end for a route that is answered as removed, and
/// 15 s for one that is not answered; with this one it serves 404 (xds-protocol, section 0, fact 4).
pub fn missing_route(name: &str) -> Resource {
    let route = route_v3::RouteConfiguration { name: name.to_owned(), ..Default::default() };
    Resource::new(name, Bytes::from(route.encode_to_vec()), [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_route_has_its_name_and_no_virtual_hosts() {
        let stub = missing_route("public");

        let route = route_v3::RouteConfiguration::decode(stub.body.clone()).unwrap();
        assert_eq!((&*stub.name, &*route.name, route.virtual_hosts.len()), ("public", "public", 0));
    }
}
