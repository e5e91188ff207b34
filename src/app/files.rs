//! Registrations and config entries of the configuration files.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Mutex;

use super::tls::{Configs, Secured};
use super::{App, AppError};
use crate::api::{AddedCheck, Files, Options, Registration, UsedPorts};
use crate::model::{CheckRegistration, Place, Problems, ServiceDefinition};
use crate::settings::{Settings, TlsListener};
use crate::store::{Author, CheckKey, Condition, NodeKey, Op, Store, StoreError, View, Write};
use crate::telemetry::{LogOptions, Logs, with_causes};

/// Writes what the files hold: entries where there is none of their name, services as the agent registers them. What the
/// files held before and hold no longer goes.
///
/// # Errors
/// Something is refused by a rule that only the state shows, or the store fails. Either all services are taken over or none.
pub(super) async fn take_over(store: &Store, settings: &Settings, options: &Options) -> Result<(), AppError> {
    let services = settings.services.iter().map(|definition| registration(settings, options, definition));
    let services = services.collect::<Result<Vec<_>, _>>()?;
    let checks = settings.checks.iter().map(|check| added_check(settings, options, check));
    let checks = checks.collect::<Result<Vec<_>, _>>()?;
    for entry in &settings.entries {
        let key = entry.key();
        let what = format!("the entry {key}");
        let write = Write { conditions: vec![Condition::EntryAt(key, 0)], ops: vec![Op::PutEntry(entry.clone())] };
        store.write(write).await.map_err(|error| refused(what, error))?;
    }
    let options = options.clone();
    let written = store.write_with(move |view| changes(view, &options, (services, checks))).await;
    written.map(drop).map_err(|error| refused("a registration".to_owned(), error))
}

/// A registration with what it is called in messages.
type Named = (String, Registration);

fn registration(settings: &Settings, options: &Options, definition: &ServiceDefinition) -> Result<Named, AppError> {
    let what = format!("the service {:?}", definition.name);
    let place = Place::new(&settings.datacenter, &definition.partition.clone().unwrap_or_default());
    match Registration::new(definition.clone(), place, options) {
        Ok(registration) => Ok((what, registration.from_file())),
        Err(error) => Err(AppError::Refused { what, problems: error.to_string() }),
    }
}

fn added_check(
    settings: &Settings,
    options: &Options,
    check: &CheckRegistration,
) -> Result<(String, AddedCheck), AppError> {
    let what = format!("the check {:?}", check.definition.name);
    let place = Place::new(&settings.datacenter, &check.tenancy.partition.clone().unwrap_or_default());
    match AddedCheck::new(check.clone(), place, options) {
        Ok(check) => Ok((what, check.from_file())),
        Err(error) => Err(AppError::Refused { what, problems: error.to_string() }),
    }
}

/// What must be done so that the agent's nodes have what the files have, and nothing that they had before.
fn changes(
    view: &View,
    options: &Options,
    (services, checks): (Vec<Named>, Vec<(String, AddedCheck)>),
) -> Result<Write, Problems> {
    let mut ops = agent_nodes(view, options);
    ops.extend(no_longer_defined(view, options, &services, checks.iter().map(|(_, check)| check.key())));
    let mut made = view.after(&ops);
    let mut ports = UsedPorts::of(options, &made);
    for (what, registration) in services {
        let located = |problems: Problems| Problems(problems.0.into_iter().map(|it| it.under(&what)).collect());
        let write = registration.into_write_beside(&made, &mut ports).map_err(located)?;
        made = made.after(&write.ops);
        ops.extend(write.ops);
    }
    for (what, check) in checks {
        let located = |problems: Problems| Problems(problems.0.into_iter().map(|it| it.under(&what)).collect());
        ops.extend(check.into_write(&made).map_err(located)?.ops);
    }
    Ok(ops.into())
}

fn places(view: &View, options: &Options) -> impl Iterator<Item = Place> {
    let partitions = |datacenter| {
        let partitions = view.partitions(&datacenter).into_iter();
        partitions.map(move |partition| Place::new(&datacenter, &partition)).collect::<Vec<_>>()
    };
    options.datacenters().into_iter().flat_map(partitions)
}

/// The agent's nodes that are there, as the settings now describe them.
fn agent_nodes(view: &View, options: &Options) -> Vec<Op> {
    let is_there = |place: &Place| view.node(&NodeKey::new(place, &options.node)).is_some();
    places(view, options).filter(is_there).map(|place| Op::PutNode(options.agent_node(&place))).collect()
}

fn no_longer_defined(
    view: &View,
    options: &Options,
    services: &[Named],
    alone: impl Iterator<Item = CheckKey>,
) -> Vec<Op> {
    let (mut instances, mut checks) = (BTreeSet::new(), alone.collect::<BTreeSet<_>>());
    for (_, registration) in services {
        let (of_instances, of_checks) = registration.rows();
        instances.extend(of_instances);
        checks.extend(of_checks);
    }
    let mut ops = Vec::new();
    for place in places(view, options) {
        let node = NodeKey::new(&place, &options.node);
        let old = view.services_on(&node).filter(|row| row.value.from_file).map(|row| node.instance(&row.value.id));
        ops.extend(old.filter(|id| !instances.contains(id)).map(Op::DeleteService));
        let old = view.checks_on(&node).filter(|row| row.value.from_file).map(|row| CheckKey::of(&row.value));
        ops.extend(old.filter(|key| !checks.contains(key)).map(Op::DeleteCheck));
    }
    ops
}

fn refused(what: String, error: StoreError) -> AppError {
    if let StoreError::Rejected(problems) = error {
        return AppError::Refused { what, problems: problems.to_string() };
    }
    AppError::Store(error)
}

/// Settings that a reload takes over; all others need a restart.
const TAKEN_OVER: [&str; 6] = ["services", "checks", "config_entries", "node_meta", "log_level", "tls"];

/// Reads the files again when somebody asks for it. Clones share what was read last.
#[derive(Debug, Clone)]
pub(super) struct Reloader {
    store: Store,
    options: Options,
    logs: Logs,
    /// What listeners with TLS show their clients.
    secured: Secured,
    last: Arc<Mutex<Settings>>,
}

impl Reloader {
    pub(super) fn new(app: &App, options: Options) -> Self {
        Self {
            store: app.store.by(Author::Files),
            options,
            logs: app.logs.clone(),
            secured: app.secured.clone(),
            last: Arc::new(Mutex::new(app.settings.clone())),
        }
    }

    /// The settings of the start, with what reloads took over since.
    pub(super) async fn taken_over_into(&self, start: Settings) -> Settings {
        let last = self.last.lock().await.clone();
        let tls = |old: Option<TlsListener>, new: Option<TlsListener>| match (old, new) {
            (Some(old), Some(new)) => Some(TlsListener { addresses: old.addresses, ..new }),
            (old, _) => old,
        };
        Settings {
            services: last.services,
            checks: last.checks,
            entries: last.entries,
            node_meta: last.node_meta,
            log: LogOptions { level: last.log.level, ..start.log },
            https: tls(start.https, last.https),
            grpc_tls: tls(start.grpc_tls, last.grpc_tls),
            ..start
        }
    }

    /// Takes over what the files hold now. One reload after the other.
    async fn take_over(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut last = self.last.lock().await;
        let inputs = last.inputs.clone();
        let (settings, tls) = tokio::task::spawn_blocking(move || {
            let settings = Settings::load(&inputs)?;
            let tls = Configs::read(&settings)?;
            Ok::<_, Box<dyn Error + Send + Sync>>((settings, tls))
        })
        .await??;
        let options = Options { node_meta: settings.node_meta.clone().into(), ..self.options.clone() };
        take_over(&self.store, &settings, &options).await?;
        self.options.node_meta.set(settings.node_meta.clone());
        self.logs.set_level(&settings.log.level)?;
        self.secured.replace(tls);
        for key in need_restart(&last, &settings) {
            tracing::warn!(key, "has changed, and needs a restart to have an effect");
        }
        settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        tracing::info!(services = settings.services.len(), "files were read again");
        *last = settings;
        Ok(())
    }
}

/// The keys that differ and are not taken over.
fn need_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let (Value::Object(old), Value::Object(new)) = (old.to_redacted_json(), new.to_redacted_json()) else {
        return Vec::new();
    };
    let differs =
        |(key, value): &(&String, &Value)| !TAKEN_OVER.contains(&key.as_str()) && old.get(*key) != Some(*value);
    new.iter().filter(differs).map(|(key, _)| key.clone()).collect()
}

impl Files for Reloader {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        let reload = async {
            self.take_over().await.map_err(|error| {
                let problem = with_causes(&*error);
                tracing::error!(error = problem, "the files were not taken over");
                problem
            })
        };
        reload.boxed()
    }
}
