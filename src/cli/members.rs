//! `meshgate members`: the agents that know each other.

use std::collections::BTreeMap;

use clap::Args;
use regex::Regex;
use serde::Deserialize;

use super::client::Target;
use super::{CliError, output};
use crate::model::SocketEndpoint;

const STANDARD: &[&str] = &["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"];
const DETAILED: &[&str] = &["Node", "Address", "Status", "Tags"];

/// Options of `meshgate members`.
#[derive(Debug, Args)]
pub(super) struct MembersOptions {
    /// Print all tags in place of what they mean
    #[arg(long)]
    detailed: bool,
    /// List the servers of every datacenter
    #[arg(long)]
    wan: bool,
    /// Only members whose status matches this regular expression
    #[arg(long, value_name = "REGEX", default_value = ".*", hide_default_value = true)]
    status: String,
    /// Only members of this segment
    #[arg(long, value_name = "NAME")]
    segment: Option<String>,
    /// Only members that this expression selects
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    addr: String,
    port: u16,
    tags: BTreeMap<String, String>,
    status: u8,
    protocol_cur: u8,
}

/// Lists the members.
///
/// # Errors
/// The control plane does not answer or refuses, or no member is left, which has the exit code 2.
pub(super) async fn run(options: &MembersOptions) -> Result<(), CliError> {
    let status = Regex::new(&options.status)
        .map_err(|_| CliError::Usage(format!("-status {:?} is no regular expression", options.status)))?;
    let client = options.target.client()?;
    let mut query = Vec::new();
    if options.wan {
        query.push(("wan", "1"));
    }
    query.extend(options.segment.iter().map(|segment| ("segment", segment.as_str())));
    query.extend(options.filter.iter().map(|filter| ("filter", filter.as_str())));
    let mut members: Vec<Member> = client.get(&["agent", "members"], &query).await?;
    members.retain(|member| status.is_match(member.status()));
    if members.is_empty() {
        return Err(CliError::Nothing("no member has that status".to_owned()));
    }
    members.sort_by(|one, other| one.name.cmp(&other.name));
    let heading = if options.detailed { DETAILED } else { STANDARD };
    let heading = heading.iter().map(|name| (*name).to_owned()).collect();
    let rows = members.iter().map(|member| if options.detailed { member.detailed() } else { member.standard() });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    output::columns(&rows)
}

impl Member {
    fn status(&self) -> &'static str {
        match self.status {
            0 => "none",
            1 => "alive",
            2 => "leaving",
            3 => "left",
            4 => "failed",
            _ => "unknown",
        }
    }

    fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map(String::as_str).unwrap_or_default()
    }

    fn beginning(&self) -> [String; 3] {
        let address = SocketEndpoint::new(&self.addr, self.port).to_string();
        [self.name.clone(), address, self.status().to_owned()]
    }

    fn standard(&self) -> Vec<String> {
        let kind = match self.tag("role") {
            "consul" => "server",
            "node" => "client",
            _ => "unknown",
        };
        let partition = Some(self.tag("ap")).filter(|name| !name.is_empty()).unwrap_or("default");
        let segment = if kind == "server" { "<all>" } else { self.tag("segment") };
        let build = self.tag("build").split(':').next().unwrap_or_default();
        let protocol = self.protocol_cur.to_string();
        let rest = [kind, build, &protocol, self.tag("dc"), partition, segment];
        self.beginning().into_iter().chain(rest.map(str::to_owned)).collect()
    }

    fn detailed(&self) -> Vec<String> {
        let tags: Vec<_> = self.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.beginning().into_iter().chain([tags.join(",")]).collect()
    }
}
