//! How requests are spread over endpoints, as a resolver asks for it (contract 3.4, 3.10).

use std::sync::Arc;
use std::time::Duration;

use crate::ir::{HashField, HashSource, LoadBalancing};
use crate::model::GoDuration;
use crate::model::entry::{HashPolicy, LoadBalancer, RingHashConfig};

/// How the endpoints of a cluster take turns.
pub(super) fn load_balancing(load_balancer: &LoadBalancer) -> LoadBalancing {
    match load_balancer.policy.as_str() {
        "least_request" => LoadBalancing::LeastRequest {
            choices: load_balancer.least_request_config.as_ref().map(|c| c.choice_count).filter(|count| *count > 0),
        },
        "random" => LoadBalancing::Random,
        "ring_hash" => {
            let size = |pick: fn(&RingHashConfig) -> u64| {
                load_balancer.ring_hash_config.as_ref().map(pick).filter(|size| *size > 0)
            };
            LoadBalancing::RingHash {
                minimum: size(|config| config.minimum_ring_size),
                maximum: size(|config| config.maximum_ring_size),
            }
        }
        "maglev" => LoadBalancing::Maglev,
        _ => LoadBalancing::RoundRobin,
    }
}

/// What the routes to such a cluster hash; nothing unless the policy hashes.
pub(super) fn hash_sources(load_balancer: &LoadBalancer) -> Vec<HashSource> {
    if !load_balancer.is_hashing() {
        return Vec::new();
    }
    load_balancer.hash_policies.iter().filter_map(hash_source).collect()
}

fn hash_source(policy: &HashPolicy) -> Option<HashSource> {
    let name: Arc<str> = policy.field_value.as_str().into();
    let field = match policy.field.as_str() {
        _ if policy.source_ip => HashField::SourceIp,
        "header" => HashField::Header(name),
        "query_parameter" => HashField::QueryParameter(name),
        "cookie" => {
            let cookie = policy.cookie_config.clone().unwrap_or_default();
            let ttl = cookie.ttl.map(GoDuration::to_std).filter(|ttl| *ttl > Duration::ZERO);
            HashField::Cookie {
                name,
                ttl: if cookie.session { Some(Duration::ZERO) } else { ttl },
                path: cookie.path.as_str().into(),
            }
        }
        _ => return None,
    };
    Some(HashSource { field, terminal: policy.terminal })
}
