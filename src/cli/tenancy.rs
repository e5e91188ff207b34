//! `meshgate partition` and `meshgate namespace`: tenants and what is said about them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::Target;
use super::files::SourceText;
use super::output::OutputFormat;
use super::{CliError, output};

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenant {
    /// A partition.
    Partition,
    /// A namespace of a partition.
    Namespace,
}

impl Tenant {
    /// The part of its endpoint, and of the one that lists all.
    const fn paths(self) -> (&'static str, &'static str) {
        match self {
            Tenant::Partition => ("partition", "partitions"),
            Tenant::Namespace => ("namespace", "namespaces"),
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Tenant::Partition => "Partition",
            Tenant::Namespace => "Namespace",
        }
    }
}

/// Commands about tenants.
#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Make one
    Create(CreateOptions),
    /// Change what is said about one
    Update(UpdateOptions),
    /// Make or change the one of a file
    Write(FileOptions),
    /// Print one
    Read(ReadOptions),
    /// List all of them
    List(ListOptions),
    /// Delete one with all that is in it
    Delete(DeleteOptions),
}

/// Options of `create` and `update`.
#[derive(Debug, Args)]
pub(super) struct CreateOptions {
    /// Its name
    #[arg(long)]
    name: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// A fact about a namespace (key=value); may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    /// ID of a policy of every token of a namespace; may be given several times. It is kept, without effect: there are no
    /// ACLs
    #[arg(long, value_name = "ID")]
    default_policy_id: Vec<String>,
    /// Name of such a policy; may be given several times
    #[arg(long, value_name = "NAME")]
    default_policy_name: Vec<String>,
    /// ID of a role of every token of a namespace; may be given several times. It is kept, without effect: there are no
    /// ACLs
    #[arg(long, value_name = "ID")]
    default_role_id: Vec<String>,
    /// Name of such a role; may be given several times
    #[arg(long, value_name = "NAME")]
    default_role_name: Vec<String>,
    #[command(flatten)]
    shown: Shown,
}

/// Options of `update`.
#[derive(Debug, Args)]
pub(super) struct UpdateOptions {
    /// Forget what was said before in place of adding to it
    #[arg(long)]
    no_merge: bool,
    #[command(flatten)]
    said: CreateOptions,
}

/// Options of `write`.
#[derive(Debug, Args)]
pub(super) struct FileOptions {
    /// File with its definition, in JSON, HCL or YAML; - is standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    shown: Shown,
}

/// Options of `read`.
#[derive(Debug, Args)]
pub(super) struct ReadOptions {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    shown: Shown,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    shown: Shown,
}

/// Options of `delete`.
#[derive(Debug, Args)]
pub(super) struct DeleteOptions {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    target: Target,
}

/// Which control plane is asked, and how the answer is printed.
#[derive(Debug, Args)]
struct Shown {
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
    #[command(flatten)]
    target: Target,
}

/// Runs a command about tenants of this kind.
///
/// # Errors
/// Input that is wrong, or a control plane that does not answer or refuses.
pub(super) async fn run(tenant: Tenant, command: TenantCommand) -> Result<(), CliError> {
    let (one, all) = tenant.paths();
    match command {
        TenantCommand::Create(options) => {
            let body = options.over(Value::Object(Map::new()), tenant)?;
            write(&options.shown, &[one], &body).await
        }
        TenantCommand::Update(options) => {
            let UpdateOptions { no_merge, said } = &options;
            let stored: Value = said.shown.target.client()?.get(&[one, &said.name], &[]).await?;
            let stored = if *no_merge { Value::Object(Map::new()) } else { stored };
            let body = said.over(stored, tenant)?;
            write(&said.shown, &[one, &said.name], &body).await
        }
        TenantCommand::Write(options) => {
            let body: Value = SourceText::read(&options.file)?.value()?;
            write(&options.shown, &[one], &body).await
        }
        TenantCommand::Read(options) => {
            let found = options.shown.target.client()?.get(&[one, &options.name], &[]).await?;
            options.shown.print(&found)
        }
        TenantCommand::List(options) => list(&options.shown, all).await,
        TenantCommand::Delete(options) => {
            options.target.client()?.delete(&[one, &options.name], &[]).await?;
            output::line(&format!("{} deleted: {}", tenant.title(), options.name))
        }
    }
}

impl CreateOptions {
    /// What is there already with what the options say.
    fn over(&self, mut body: Value, tenant: Tenant) -> Result<Value, CliError> {
        body["Name"] = self.name.as_str().into();
        if let Some(description) = &self.description {
            body["Description"] = description.as_str().into();
        }
        if !self.meta.is_empty() && tenant == Tenant::Partition {
            return Err(CliError::Usage("-meta is for namespaces: partitions have no facts".to_owned()));
        }
        self.add_acls(&mut body, tenant)?;
        for pair in &self.meta {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| CliError::Usage(format!("-meta {pair:?} is not of the form key=value")))?;
            body["Meta"][key] = value.into();
        }
        Ok(body)
    }
}

impl CreateOptions {
    /// Adds the links to policies and roles that are not there yet.
    fn add_acls(&self, body: &mut Value, tenant: Tenant) -> Result<(), CliError> {
        let links = [
            ("PolicyDefaults", "ID", &self.default_policy_id),
            ("PolicyDefaults", "Name", &self.default_policy_name),
            ("RoleDefaults", "ID", &self.default_role_id),
            ("RoleDefaults", "Name", &self.default_role_name),
        ];
        for (list, field, values) in links {
            if !values.is_empty() && tenant == Tenant::Partition {
                let message = "-default-policy-... and -default-role-... are for namespaces: partitions have none";
                return Err(CliError::Usage(message.to_owned()));
            }
            for value in values {
                let links = &mut body["ACLs"][list];
                if !links.is_array() {
                    *links = json!([]);
                }
                let links = links.as_array_mut().into_iter();
                let is_there = |links: &Vec<Value>| links.iter().any(|link| link[field] == **value);
                links.filter(|links| !is_there(links)).for_each(|links| links.push(json!({ field: value })));
            }
        }
        Ok(())
    }
}

impl Shown {
    fn print(&self, found: &Value) -> Result<(), CliError> {
        match self.format {
            OutputFormat::Json => output::json(found),
            OutputFormat::Pretty => output::columns(&facts(found)),
        }
    }
}

async fn write(shown: &Shown, path: &[&str], body: &Value) -> Result<(), CliError> {
    let answer = shown.target.client()?.put(path, &[], Some(body)).await?;
    let written: Value = serde_json::from_str(&answer)
        .map_err(|error| CliError::Input(format!("the answer cannot be understood: {error}")))?;
    shown.print(&written)
}

async fn list(shown: &Shown, path: &str) -> Result<(), CliError> {
    let found: Vec<Value> = shown.target.client()?.get(&[path], &[]).await?;
    if shown.format == OutputFormat::Json {
        return output::json(&found);
    }
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let heading = vec!["Name".to_owned(), "Description".to_owned()];
    let rows = found.iter().map(|row| vec![text(row, "Name"), text(row, "Description")]);
    output::columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

/// What is said about a tenant, a fact in a row.
fn facts(found: &Value) -> Vec<Vec<String>> {
    let mut facts = Vec::new();
    for field in ["Name", "Partition", "Description"] {
        if let Some(text) = found[field].as_str() {
            facts.push(vec![format!("{field}:"), text.to_owned()]);
        }
    }
    let meta: BTreeMap<String, Value> = found["Meta"].as_object().cloned().unwrap_or_default().into_iter().collect();
    facts.extend(
        meta.iter().map(|(key, value)| vec![format!("Meta[{key}]:"), value.as_str().unwrap_or_default().to_owned()]),
    );
    if let acls @ Value::Object(_) = &found["ACLs"] {
        facts.push(vec!["ACLs:".to_owned(), json!(acls).to_string()]);
    }
    facts
}
