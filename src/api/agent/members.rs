//! `/v1/agent/members` and what changes them: this agent is alone, and has no others to gossip with.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::response::Response;
use serde::Serialize;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::{Routes, Tail, get, prefix, put};
use crate::model::Datacenter;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/v1/agent/members", get(list))
        .route("/v1/agent/leave", put(leave))
        .merge(prefix("/v1/agent/join/", put(join)))
        .merge(prefix("/v1/agent/force-leave/", put(force_leave)))
}

/// A member as Consul's gossip library shows it. The protocol numbers are those of a current agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Member {
    name: String,
    addr: String,
    port: u16,
    tags: BTreeMap<&'static str, String>,
    status: u8,
    protocol_min: u8,
    protocol_max: u8,
    protocol_cur: u8,
    delegate_min: u8,
    delegate_max: u8,
    delegate_cur: u8,
}

/// The status of a member that is there.
const ALIVE: u8 = 1;

async fn list(call: Call) -> Result<Response, ApiError> {
    let wan = call.query.flag("wan")?;
    if wan && call.query.value("segment").is_some() {
        return Err(ApiError::ExclusiveParameters("wan", "segment"));
    }
    let members: Vec<Member> = if wan {
        let hosted = call.api.options.datacenters();
        hosted.iter().map(|datacenter| Member { name: call.wan_name(datacenter), ..call.member(datacenter) }).collect()
    } else {
        vec![call.member(&call.scope.place.datacenter)]
    };
    call.answer(Filtered::Rows, &members)
}

/// Who is alone can only join itself.
async fn join(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let address = tail.required("address to join")?;
    if call.is_own_address(&address) {
        return Ok(Response::default());
    }
    Err(ApiError::NotJoined(address))
}

/// Stops the process in good order, as a signal does. What is registered stays.
async fn leave(call: Call) -> Response {
    tracing::info!("asked to leave: stopping");
    call.api.leave.cancel();
    Response::default()
}

/// Who is alive cannot be forced out, and nobody else is known.
async fn force_leave(call: Call, tail: Tail) -> Result<Response, ApiError> {
    let name = tail.required("node name")?;
    let mut own = call.api.options.datacenters().into_iter().map(|datacenter| call.wan_name(&datacenter));
    if name == call.api.options.node.as_str() || own.any(|wan| wan == name) {
        return Ok(Response::default());
    }
    Err(ApiError::NoSuchMember(name))
}

impl Call {
    /// True if an address, with or without a port, is where this agent is.
    fn is_own_address(&self, address: &str) -> bool {
        let options = &self.api.options;
        let host = match address.parse::<SocketAddr>() {
            Ok(socket) => socket.ip().to_string(),
            Err(_) => {
                let host =
                    address.rsplit_once(':').filter(|(host, _)| !host.contains(':')).map_or(address, |(host, _)| host);
                host.trim_matches(['[', ']']).to_owned()
            }
        };
        host == options.advertise || host == options.node.as_str()
    }

    /// This agent as a member of a datacenter.
    pub(super) fn member(&self, datacenter: &Datacenter) -> Member {
        let options = &self.api.options;
        let tags = [
            ("role", "consul".to_owned()),
            ("dc", datacenter.to_string()),
            ("build", env!("CARGO_PKG_VERSION").to_owned()),
            ("id", options.node_id.clone()),
        ];
        Member {
            name: options.node.to_string(),
            addr: options.advertise.clone(),
            port: options.http_addr.port(),
            tags: tags.into(),
            status: ALIVE,
            protocol_min: 1,
            protocol_max: 5,
            protocol_cur: 2,
            delegate_min: 2,
            delegate_max: 5,
            delegate_cur: 4,
        }
    }

    fn wan_name(&self, datacenter: &Datacenter) -> String {
        format!("{}.{datacenter}", self.api.options.node)
    }
}
