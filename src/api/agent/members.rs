//! `GET /v1/agent/members`: this agent, which has no others to gossip with.

use std::collections::BTreeMap;

use axum::Router;
use axum::response::Response;
use serde::Serialize;

use crate::api::call::Call;
use crate::api::error::ApiError;
use crate::api::filter::Filtered;
use crate::api::route::{Routes, get};
use crate::model::Datacenter;

pub(super) fn routes() -> Routes {
    Router::new().route("/v1/agent/members", get(list))
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

impl Call {
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
