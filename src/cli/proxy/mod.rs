//! `meshgate proxy`: what one proxy should have, for people.

mod actual;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::actual::{Actual, Difference, differences};
use super::client::Target;
use super::output::ViewOption;
use super::troubleshoot::Admin;
use super::{CliError, output};

/// Most fields of a resource that a table shows.
const SHOWN_FIELDS: usize = 10;

/// Options of `proxy`.
#[derive(Debug, Args)]
#[command(after_help = "\
This is what the control plane sends. With -actual it is what the proxy's Envoy says that it has, and nothing is asked of the
control plane; with -diff it is in what the two differ, and the exit code is 1 if they do. Both ask Envoy's admin interface,
which most Envoys let only their own machine reach. dump prints all resources as JSON; keys are never shown.

  meshgate proxy web-sidecar-proxy clusters
  meshgate proxy web-sidecar-proxy -diff -envoy-admin-endpoint localhost:19001")]
pub(super) struct ProxyOptions {
    #[command(flatten)]
    shown: Shown,
    /// What it should have, which is shown unless something else is asked for
    #[arg(long, conflicts_with_all = ["actual", "diff"])]
    desired: bool,
    /// What its Envoy has
    #[arg(long, conflicts_with = "diff")]
    actual: bool,
    /// In what these differ
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Options of `at`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the proxy should have had is computed again from the state of then, by the code that configures Envoy: the hash is that of
what was sent, unless a part could not be made and stayed as it was, which is said. `meshgate history` lists the commits.

  meshgate at 48213 web-sidecar-proxy
  meshgate at 2026-01-02T15:04:05Z mesh-gateway chains")]
pub(super) struct AtOptions {
    /// The commit after which, by its index, or the time
    #[arg(value_name = "COMMIT|TIME")]
    commit: String,
    #[command(flatten)]
    shown: Shown,
}

/// What to show of which proxy.
#[derive(Debug, Args)]
struct Shown {
    /// The proxy, by its ID, node/ID or datacenter/partition/node/ID
    #[arg(value_name = "PROXY")]
    proxy: String,
    /// What of it
    #[arg(value_enum, default_value_t)]
    what: What,
    #[command(flatten)]
    output: ViewOption,
    #[command(flatten)]
    target: Target,
}

/// The parts of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum What {
    /// Names and versions of everything
    #[default]
    Summary,
    /// Where it listens
    Listeners,
    /// What happens to connections, by listener and match
    Chains,
    /// Where it connects to
    Clusters,
    /// The addresses behind the clusters
    Endpoints,
    /// Which request goes to which cluster
    Routes,
    /// Certificates and whom it trusts
    Secrets,
    /// The document that its Envoy was started with, as JSON; only with -actual
    Bootstrap,
    /// Everything as JSON
    Dump,
}

impl What {
    /// The type of the resources that say it.
    const fn kind(self) -> Option<&'static str> {
        match self {
            What::Summary | What::Dump | What::Bootstrap => None,
            What::Listeners | What::Chains => Some("LDS"),
            What::Clusters => Some("CDS"),
            What::Endpoints => Some("EDS"),
            What::Routes => Some("RDS"),
            What::Secrets => Some("SDS"),
        }
    }

    /// What the columns are called, and the rows of a resource.
    fn table(self) -> (&'static [&'static str], RowsOf) {
        match self {
            What::Summary | What::Dump | What::Bootstrap => (&["TYPE", "NAME", "VERSION"], summary),
            What::Listeners => (&["NAME", "ADDRESS", "DIRECTION", "CHAINS"], listener),
            What::Chains => (&["LISTENER", "CHAIN", "MATCH", "LEADS TO"], chains),
            What::Clusters => (&["NAME", "TYPE", "ENDPOINTS FROM", "TLS"], cluster),
            What::Endpoints => (&["CLUSTER", "ADDRESS", "HEALTH", "PRIORITY", "WEIGHT"], endpoints),
            What::Routes => (&["ROUTES", "DOMAINS", "MATCH", "LEADS TO"], routes),
            What::Secrets => (&["NAME", "KIND"], secret),
        }
    }
}

/// The rows that a resource is shown as.
type RowsOf = fn(&Value) -> Vec<Vec<String>>;

/// Prints what a proxy should have.
///
/// # Errors
/// The control plane or Envoy does not answer or refuses, knows no such proxy, or the two differ where that is asked.
pub(super) async fn run(options: &ProxyOptions) -> Result<(), CliError> {
    let view = async || match (options.actual, options.diff) {
        (true, _) => options.show_actual().await,
        (_, true) => options.show_differences().await,
        (false, false) => options.shown.show("proxy", None).await,
    };
    options.shown.output.repeat(view).await
}

/// Prints what a proxy should have had.
///
/// # Errors
/// As for [`run`], or the state of then is forgotten.
pub(super) async fn run_at(options: &AtOptions) -> Result<(), CliError> {
    let Shown { output, .. } = &options.shown;
    output.repeat(async || options.shown.show("at", Some(&options.commit)).await).await
}

impl ProxyOptions {
    async fn show_actual(&self) -> Result<(), CliError> {
        let actual = self.asked().await?;
        if self.shown.what == What::Bootstrap {
            return self.shown.output.write(&actual.bootstrap, || output::json(&actual.bootstrap));
        }
        let kind = self.shown.what.kind();
        let resources: Vec<_> =
            actual.resources.into_iter().filter(|it| kind.is_none_or(|kind| it["Type"] == kind)).collect();
        let problems = told_problems(&actual.problems, kind);
        let answer = json!({ "Proxy": actual.node, "Problems": problems, "Resources": resources });
        self.shown.write(&answer)
    }

    /// What Envoy has, if it is that of this proxy.
    async fn asked(&self) -> Result<Actual, CliError> {
        let actual = Actual::of(&self.admin.ask("config_dump?include_eds").await?);
        let wanted = self.shown.proxy.rsplit('/').next().unwrap_or_default();
        if actual.node == wanted {
            return Ok(actual);
        }
        Err(CliError::Usage(format!(
            "the Envoy at {} is that of {:?}: say with -envoy-admin-endpoint where the one of {wanted:?} is",
            self.admin, actual.node
        )))
    }

    async fn show_differences(&self) -> Result<(), CliError> {
        let actual = self.asked().await?;
        let answer = self.shown.ask("proxy", None).await?;
        let kind = self.shown.what.kind();
        let is_shown = |it: &&Value| kind.is_none_or(|kind| it["Type"] == kind);
        let desired: Vec<_> = items(&answer["Resources"]).filter(is_shown).collect();
        let has: Vec<_> = actual.resources.into_iter().filter(|it| is_shown(&it)).collect();
        let found = differences(&desired, &has);
        let problems = told_problems(&actual.problems, kind);
        let verdict = || match found.len() {
            0 if !problems.is_empty() => format!("Envoy refused {} of what it was sent", problems.len()),
            0 => format!("Envoy has what it should have: {} resources", desired.len()),
            1 => "1 resource is not as it should be".to_owned(),
            count => format!("{count} resources are not as they should be"),
        };
        let told = json!({ "Proxy": answer["Proxy"], "Differences": found, "Problems": problems });
        self.shown.output.write_or(&told, verdict, || {
            let most = if self.shown.output.is_wide() { usize::MAX } else { SHOWN_FIELDS };
            found.iter().flat_map(|it| told_difference(it, most)).try_for_each(|line| output::line(&line))?;
            problems.iter().try_for_each(|problem| output::line(&format!("! {problem}")))?;
            output::line(&verdict())
        })?;
        if found.is_empty() && problems.is_empty() { Ok(()) } else { Err(CliError::No) }
    }
}

/// What was refused, of one type or of all.
fn told_problems<'p>(problems: &'p [(&'static str, String)], kind: Option<&str>) -> Vec<&'p str> {
    let of_kind = problems.iter().filter(|(of, _)| kind.is_none_or(|kind| kind == *of));
    of_kind.map(|(_, problem)| problem.as_str()).collect()
}

/// A resource that is not as it should be, with at most so many of its fields.
fn told_difference(difference: &Difference, most: usize) -> Vec<String> {
    let Difference { kind, name, state, desired, actual, fields } = difference;
    let (sign, what) = match *state {
        "missing" => ("+", format!("it is not there, and should be as {desired}")),
        "warming" => ("~", "it waits for something that it names, and the one before is used".to_owned()),
        "unwanted" if actual.is_empty() => ("-", "it is there, and should not be".to_owned()),
        "unwanted" => ("-", format!("it is there as {actual}, and should not be")),
        _ if actual.is_empty() => ("~", "it has other endpoints".to_owned()),
        _ => ("~", format!("it is {actual}, and should be {desired}")),
    };
    let shown = |field: &Value| {
        let side = |name: &str| if field[name].is_null() { "(unset)".to_owned() } else { field[name].to_string() };
        format!("    {}: {} -> {}", text(&field["Path"]), side("Actual"), side("Desired"))
    };
    let head = format!("{sign} {kind} {name}: {what}");
    let more = fields.len().saturating_sub(most);
    let more = (more > 0).then(|| format!("    and {more} more fields (-o wide)"));
    std::iter::once(head).chain(fields.iter().take(most).map(shown)).chain(more).collect()
}

impl Shown {
    async fn show(&self, verb: &str, commit: Option<&str>) -> Result<(), CliError> {
        if self.what == What::Bootstrap {
            let message = "what an Envoy was started with is known by itself alone: add -actual; what it would be started \
                           with is printed by `meshgate connect envoy -proxy-id ID -bootstrap`";
            return Err(CliError::Usage(message.to_owned()));
        }
        self.write(&self.ask(verb, commit).await?)
    }

    async fn ask(&self, verb: &str, commit: Option<&str>) -> Result<Value, CliError> {
        let path: Vec<&str> = ["meshgate", verb].into_iter().chain(self.proxy.split('/')).collect();
        let kind = self.what.kind().map(|kind| ("types", kind));
        let query: Vec<_> = kind.into_iter().chain(commit.map(|commit| ("commit", commit))).collect();
        Ok(self.target.client()?.get(&path, &query).await?)
    }

    fn write(&self, answer: &Value) -> Result<(), CliError> {
        if self.what == What::Dump {
            return self.output.write(&answer["Resources"], || output::json(&answer["Resources"]));
        }
        self.output.write(answer, || {
            let (headings, rows_of) = self.what.table();
            let mut rows = vec![headings.iter().map(|heading| (*heading).to_owned()).collect()];
            rows.extend(items(&answer["Resources"]).flat_map(rows_of));
            output::columns(&rows)?;
            if self.what == What::Summary && answer["Hash"].is_string() {
                output::line(&format!("\ncommit {}, hash {}", answer["Index"], text(&answer["Hash"])))?;
            }
            items(&answer["Problems"]).try_for_each(|problem| output::line(&format!("! {}", text(problem))))
        })
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

/// The texts of a list, or a dash.
fn joined<'v>(values: impl Iterator<Item = &'v Value>) -> String {
    let all: Vec<_> = values.map(text).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

fn address(value: &Value) -> String {
    match (&value["socketAddress"], &value["pipe"]["path"]) {
        (Value::Null, Value::String(path)) => format!("unix://{path}"),
        (socket, _) => format!("{}:{}", text(&socket["address"]), socket["portValue"].as_u64().unwrap_or_default()),
    }
}

fn summary(resource: &Value) -> Vec<Vec<String>> {
    vec![["Type", "Name", "Version"].map(|name| text(&resource[name])).to_vec()]
}

fn listener(resource: &Value) -> Vec<Vec<String>> {
    let listener = &resource["Resource"];
    let chains = items(&listener["filterChains"]).count() + usize::from(!listener["defaultFilterChain"].is_null());
    let direction = text(&listener["trafficDirection"]).to_lowercase();
    vec![vec![text(&resource["Name"]), address(&listener["address"]), direction, chains.to_string()]]
}

fn chains(resource: &Value) -> Vec<Vec<String>> {
    let listener = &resource["Resource"];
    let default = Some(&listener["defaultFilterChain"]).filter(|chain| !chain.is_null());
    let all = items(&listener["filterChains"]).map(|chain| (chain, matched(&chain["filterChainMatch"])));
    let all = all.chain(default.map(|chain| (chain, "everything else".to_owned())));
    let row = |(chain, matched): (&Value, String)| {
        vec![text(&resource["Name"]), text(&chain["name"]), matched, joined_targets(&chain["filters"])]
    };
    all.map(row).collect()
}

/// What a connection must be for a chain.
fn matched(wanted: &Value) -> String {
    let mut parts = Vec::new();
    if wanted["serverNames"].is_array() {
        parts.push(format!("SNI {}", joined(items(&wanted["serverNames"]))));
    }
    let ranges = items(&wanted["prefixRanges"])
        .map(|range| format!("{}/{}", text(&range["addressPrefix"]), range["prefixLen"].as_u64().unwrap_or_default()));
    let ranges: Vec<_> = ranges.collect();
    if !ranges.is_empty() {
        parts.push(format!("to {}", ranges.join(", ")));
    }
    if !wanted["destinationPort"].is_null() {
        parts.push(format!("port {}", text(&wanted["destinationPort"])));
    }
    if wanted["applicationProtocols"].is_array() {
        parts.push(format!("ALPN {}", joined(items(&wanted["applicationProtocols"]))));
    }
    if parts.is_empty() { "everything".to_owned() } else { parts.join(" and ") }
}

/// Where the filters of a chain lead.
fn joined_targets(filters: &Value) -> String {
    let targets: Vec<_> = items(filters).filter_map(|filter| target(&filter["typedConfig"])).collect();
    if targets.is_empty() { "-".to_owned() } else { targets.join(", ") }
}

fn target(config: &Value) -> Option<String> {
    if let Some(routes) = config["rds"]["routeConfigName"].as_str() {
        return Some(format!("routes {routes}"));
    }
    if config["routeConfig"].is_object() {
        let hosts = items(&config["routeConfig"]["virtualHosts"]).flat_map(|host| items(&host["routes"]));
        let leads: Vec<_> = hosts.map(action).collect();
        return Some(leads.join(", "));
    }
    leads_to(config)
}

/// The cluster or clusters that a proxy filter or a route leads to.
fn leads_to(action: &Value) -> Option<String> {
    if let Some(cluster) = action["cluster"].as_str() {
        return Some(cluster.to_owned());
    }
    let weighted = items(&action["weightedClusters"]["clusters"]);
    let weighted = weighted.map(|part| format!("{} ({})", text(&part["name"]), text(&part["weight"])));
    let weighted: Vec<_> = weighted.collect();
    if !weighted.is_empty() {
        return Some(weighted.join(", "));
    }
    action["clusterHeader"].as_str().map(|header| format!("the cluster of the header {header}"))
}

fn cluster(resource: &Value) -> Vec<Vec<String>> {
    let cluster = &resource["Resource"];
    let kind = cluster["type"].as_str().or(cluster["clusterType"]["name"].as_str()).unwrap_or("STATIC");
    let from = match kind {
        "EDS" => format!("EDS {}", cluster["edsClusterConfig"]["serviceName"].as_str().unwrap_or_default()),
        _ => {
            let localities = items(&cluster["loadAssignment"]["endpoints"]);
            let endpoints = localities.flat_map(|of| items(&of["lbEndpoints"]));
            let addresses: Vec<_> = endpoints.map(|of| address(&of["endpoint"]["address"])).collect();
            addresses.join(", ")
        }
    };
    let tls = &cluster["transportSocket"]["typedConfig"];
    let tls = match (tls.is_null(), tls["sni"].as_str()) {
        (true, _) => "-".to_owned(),
        (false, Some(sni)) => format!("SNI {sni}"),
        (false, None) => "yes".to_owned(),
    };
    vec![vec![text(&resource["Name"]), kind.to_owned(), from.trim().to_owned(), tls]]
}

fn endpoints(resource: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for of in items(&resource["Resource"]["endpoints"]) {
        let priority = of["priority"].as_u64().unwrap_or_default().to_string();
        for endpoint in items(&of["lbEndpoints"]) {
            let health = endpoint["healthStatus"].as_str().unwrap_or("UNKNOWN").to_lowercase();
            let weight = text(&endpoint["loadBalancingWeight"]);
            let at = address(&endpoint["endpoint"]["address"]);
            rows.push(vec![text(&resource["Name"]), at, health, priority.clone(), weight]);
        }
    }
    if rows.is_empty() {
        rows.push(vec![text(&resource["Name"]), "(none)".to_owned()]);
    }
    rows
}

fn routes(resource: &Value) -> Vec<Vec<String>> {
    let hosts = items(&resource["Resource"]["virtualHosts"]);
    let of_host = |host: &Value| -> Vec<Vec<String>> {
        let domains = joined(items(&host["domains"]));
        let row =
            |route: &Value| vec![text(&resource["Name"]), domains.clone(), request(&route["match"]), action(route)];
        items(&host["routes"]).map(row).collect()
    };
    hosts.flat_map(of_host).collect()
}

/// What a request must be for a route.
fn request(wanted: &Value) -> String {
    let path = [("prefix", ""), ("path", "= "), ("pathSeparatedPrefix", "below ")].into_iter();
    let path = path.filter_map(|(name, sign)| Some(format!("{sign}{}", wanted[name].as_str()?))).next();
    let path = path.or_else(|| Some(format!("~ {}", wanted["safeRegex"]["regex"].as_str()?)));
    let headers = items(&wanted["headers"]).map(|header| format!("header {}", text(&header["name"])));
    let parameters = items(&wanted["queryParameters"]).map(|of| format!("parameter {}", text(&of["name"])));
    let all: Vec<_> = path.into_iter().chain(headers).chain(parameters).collect();
    if all.is_empty() { "everything".to_owned() } else { all.join(" and ") }
}

/// What a route does.
fn action(route: &Value) -> String {
    let redirects = || (!route["redirect"].is_null()).then(|| "a redirect".to_owned());
    let answers = || route["directResponse"]["status"].as_u64().map(|status| format!("an answer {status}"));
    leads_to(&route["route"]).or_else(redirects).or_else(answers).unwrap_or_else(|| "-".to_owned())
}

fn secret(resource: &Value) -> Vec<Vec<String>> {
    let secret = &resource["Resource"];
    let kind = if secret["tlsCertificate"].is_object() { "certificate and key" } else { "whom it trusts" };
    vec![vec![text(&resource["Name"]), kind.to_owned()]]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_are_rows() {
        let filter = json!({ "typedConfig": { "cluster": "local_app" } });
        let by_route = json!({ "typedConfig": { "rds": { "routeConfigName": "web" } } });
        let listener = json!({ "Name": "l", "Resource": {
            "address": { "socketAddress": { "address": "127.0.0.1", "portValue": 9191 } },
            "trafficDirection": "OUTBOUND",
            "filterChains": [{ "filterChainMatch": { "serverNames": ["a", "b"] }, "filters": [filter] }],
            "defaultFilterChain": { "name": "rest", "filters": [by_route] },
        } });
        let endpoint = json!({ "endpoint": { "address": { "socketAddress": { "address": "10.0.0.1", "portValue": 80 } } },
            "healthStatus": "HEALTHY", "loadBalancingWeight": 1 });
        let assignment =
            json!({ "Name": "c", "Resource": { "endpoints": [{ "priority": 1, "lbEndpoints": [endpoint] }] } });
        let split = json!({ "clusters": [{ "name": "x", "weight": 9 }, { "name": "y", "weight": 1 }] });
        let table = json!({ "Name": "r", "Resource": { "virtualHosts": [{ "domains": ["*"], "routes": [
            { "match": { "path": "/a", "headers": [{ "name": "h" }] }, "route": { "weightedClusters": split } },
            { "match": { "prefix": "/" }, "redirect": {} },
        ] }] } });

        assert_eq!(super::listener(&listener), [["l", "127.0.0.1:9191", "outbound", "2"]]);
        assert_eq!(
            chains(&listener),
            [["l", "-", "SNI a, b", "local_app"], ["l", "rest", "everything else", "routes web"]]
        );
        assert_eq!(endpoints(&assignment), [["c", "10.0.0.1:80", "healthy", "1", "1"]]);
        assert_eq!(endpoints(&json!({ "Name": "c", "Resource": {} })), [["c", "(none)"]]);
        assert_eq!(routes(&table), [["r", "*", "= /a and header h", "x (9), y (1)"], ["r", "*", "/", "a redirect"]]);
    }
}
