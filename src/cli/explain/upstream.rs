//! An upstream's explanation as text.

use owo_colors::OwoColorize;

use super::changed;
use crate::api::{EndpointExplanation, Removal, RungExplanation, Setting, TargetExplanation, UpstreamExplanation};

/// The explanation, line by line.
pub(super) fn lines(answer: &UpstreamExplanation) -> Vec<String> {
    let UpstreamExplanation { proxy, upstream, listens, ladder, notes, chain, targets, removals, problems, .. } =
        answer;
    let mode = targets.first().map_or("", |target| &target.mode);
    let mut lines = vec![format!(
        "gateway mode for {} -> {upstream}: {}",
        proxy.service,
        if mode.is_empty() { "unset" } else { mode }.bold()
    )];
    lines.push(format!("  {}  listens on {}", about(answer), or_nowhere(listens)));
    lines.extend(rungs(ladder));
    lines.extend(notes.iter().map(|note| format!("  note: {note}")));
    for setting in chain {
        lines.push(format!("  chain: {}  {}", source(setting), changed(setting)));
    }
    for target in targets {
        lines.extend(self::target(target, targets.len() > 1));
    }
    lines.extend(removals.iter().filter(|removal| is_won(ladder, removal.rung)).flat_map(|it| removal(it, targets)));
    lines.extend(problems.iter().map(|problem| format!("{} {problem}", "problem:".red().bold())));
    lines
}

fn about(answer: &UpstreamExplanation) -> String {
    let proxy = &answer.proxy;
    format!("{} on {} in {}/{}", proxy.id, proxy.node, proxy.datacenter, proxy.partition)
}

fn or_nowhere(listens: &str) -> &str {
    if listens.is_empty() { "nothing" } else { listens }
}

fn is_won(ladder: &[RungExplanation], rung: usize) -> bool {
    ladder.iter().any(|it| it.rung == rung && it.status == "wins")
}

/// The winner first, then the others, strongest first.
fn rungs(ladder: &[RungExplanation]) -> Vec<String> {
    let winner = ladder.iter().find(|rung| rung.status == "wins");
    let others = ladder.iter().filter(|rung| rung.status != "wins");
    let said = |rung: &RungExplanation| {
        let Setting { field, value, .. } = &rung.setting;
        if value.is_empty() { field.clone() } else { format!("{field} = {value}") }
    };
    let sources = ladder.iter().map(|rung| source(&rung.setting).chars().count()).max().unwrap_or(0);
    let widest = ladder.iter().map(|rung| said(rung).chars().count()).max().unwrap_or(0);
    let row = |rung: &RungExplanation| {
        let head = if rung.status == "wins" { format!("{}", "WINS".green().bold()) } else { "    ".to_owned() };
        let tail = match (rung.status.as_str(), winner) {
            ("wins", _) => changed(&rung.setting),
            ("overridden", Some(winner)) => format!("{}, overridden by {}", changed(&rung.setting), winner.rung),
            _ => "(unset)".to_owned(),
        };
        let (source, said) = (source(&rung.setting), said(rung));
        format!("  {head}  {}  {source:<sources$}  {said:<widest$}  {tail}", rung.rung)
    };
    winner.into_iter().chain(others).map(row).collect()
}

fn source(setting: &Setting) -> String {
    if setting.partition.is_default() {
        return setting.source.clone();
    }
    format!("{} (partition {})", setting.source, setting.partition)
}

fn target(target: &TargetExplanation, is_one_of_several: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let leg = target.leg.map(|leg| format!("  leg {leg}")).unwrap_or_default();
    if is_one_of_several || target.leg.is_some() {
        let mode = if target.mode.is_empty() { "unset" } else { &target.mode };
        lines.push(format!("target {}{leg}: mode {}", target.target, mode.bold()));
    }
    lines.push(format!("  Because of  {}", target.because));
    for setting in target.target_side.iter().filter(|setting| !setting.value.is_empty()) {
        let is_used = target.because.contains("target") || setting.field == "ExternalSNI";
        let used = if is_used { "Target's side" } else { "Not used: target's" };
        let why = if is_used { "" } else { " (only consulted when 0-6 are all unset)" };
        let Setting { field, value, .. } = setting;
        lines.push(format!("  {used} {} {field} = {value}  {}{why}", source(setting), changed(setting)));
    }
    let applies = if target.applies { "yes".to_owned() } else { format!("{}", "no".yellow()) };
    lines.push(format!("  Applies?  {applies} - {}", target.applies_because));
    let of = if target.gateways_of.is_empty() { String::new() } else { format!(" of {}", target.gateways_of) };
    let endpoints = match target.endpoints.as_slice() {
        [] => format!("{}", "none".red()),
        all => all.iter().map(endpoint).collect::<Vec<_>>().join(", "),
    };
    let behind = target.behind.as_ref().map(|behind| {
        format!("   behind them: {} of {} instances of {} take traffic", behind.healthy, behind.total, behind.service)
    });
    lines.push(format!("  So: dials {}{of}: {endpoints}{}", target.dials, behind.unwrap_or_default()));
    lines.push(format!("      addresses {}   SNI {}", target.addresses, target.sni));
    lines.push(format!("      cluster {}", target.cluster));
    lines.extend(target.omissions.iter().map(|omission| format!("  {} {omission}", "missing:".red())));
    lines
}

fn endpoint(endpoint: &EndpointExplanation) -> String {
    let health = if endpoint.healthy { format!("{}", "healthy".green()) } else { format!("{}", "unhealthy".red()) };
    let name = if endpoint.instance.is_empty() { String::new() } else { format!(" ({})", endpoint.instance) };
    let failing =
        if endpoint.failing.is_empty() { String::new() } else { format!(" [{}]", endpoint.failing.join(", ")) };
    format!("{}{name} {health}{failing}", endpoint.address)
}

fn removal(removal: &Removal, now: &[TargetExplanation]) -> Vec<String> {
    let head = format!("  If you remove #{}:", removal.rung);
    if !removal.problem.is_empty() {
        return vec![format!("{head} {}", removal.problem)];
    }
    let row = |target: &crate::api::RemovedTarget| {
        let name = if now.len() > 1 { format!(" {}:", target.target) } else { String::new() };
        let mode = if target.mode.is_empty() { "unset" } else { &target.mode };
        if !target.changes {
            return format!("{head}{name} nothing changes: mode stays {mode} (from {})", target.because);
        }
        let endpoints = if target.endpoints.is_empty() { "none".to_owned() } else { target.endpoints.join(", ") };
        let renamed = if now.iter().any(|now| now.cluster == target.cluster) {
            String::new()
        } else {
            format!("; its cluster is called {} then", target.cluster)
        };
        format!("{head}{name} mode becomes {mode} (from {}) -> endpoints {endpoints}{renamed}", target.because)
    };
    removal.targets.iter().map(row).collect()
}
