//! Contexts: control planes by name, with all that is said to reach them. An option counts most, then a variable of the
//! environment, then the context, then what is said by default.

mod file;

use clap::builder::{OsStr, Resettable};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Subcommand};
use serde_json::{Value, json};

use self::file::{Context, Contexts};
use super::output::OutputOption;
use super::{CliError, output};

/// An option that every command has which calls the API, and no other one.
const CALLS: &str = "explain_api";
/// The option that names a context.
const OPTION: &str = "-context";

/// Commands about contexts.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Contexts are kept in $XDG_CONFIG_HOME/meshgate/contexts.json (~/.config where that is not set), which its owner alone may read. \
An option counts most, then Consul's variables (CONSUL_HTTP_ADDR and so on), then the context: the one of -context, of \
MESHGATE_CONTEXT, or the one that `meshgate context use` chose.")]
pub(super) enum ContextCommand {
    /// List the contexts, and say which one counts and why
    #[command(visible_alias = "list")]
    Ls(ListOptions),
    /// Make a context, or change what it says
    Set(Box<SetOptions>),
    /// Choose the context that counts where nothing else is said
    Use(UseOptions),
    /// Remove a context
    Rm(NameOptions),
}

/// Options of `context ls`.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    output: OutputOption,
}

/// Options of `context set`. What is not given stays as it is; what is given as '' is removed.
#[derive(Debug, Args)]
#[command(after_help = "What is not given stays as it is; what is given as '' is removed.")]
pub(super) struct SetOptions {
    /// Its name
    name: String,
    /// Address of the agent: host:port, a URL, or unix:///path
    #[arg(long, alias = "addr", value_name = "ADDRESS")]
    http_addr: Option<String>,
    /// ACL token; `-` reads it from standard input, so that no shell remembers it
    #[arg(long)]
    token: Option<String>,
    /// File with the ACL token
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// Datacenter that commands are about
    #[arg(long, alias = "dc")]
    datacenter: Option<String>,
    /// Admin partition that commands are about
    #[arg(long)]
    partition: Option<String>,
    /// Namespace that commands are about
    #[arg(long)]
    namespace: Option<String>,
    /// Certificates to verify the agent with
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Certificate to show to the agent
    #[arg(long, value_name = "FILE")]
    client_cert: Option<String>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    client_key: Option<String>,
}

/// Options of `context use`.
#[derive(Debug, Args)]
pub(super) struct UseOptions {
    /// Its name
    #[arg(required_unless_present = "none")]
    name: Option<String>,
    /// Choose none
    #[arg(long, conflicts_with = "name")]
    none: bool,
}

/// A context by its name.
#[derive(Debug, Args)]
pub(super) struct NameOptions {
    /// Its name
    name: String,
}

/// Which context counts, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    name: String,
    source: &'static str,
}

/// Runs a `context` command.
///
/// # Errors
/// The file cannot be used, or there is no such context.
pub(super) fn run(command: &ContextCommand, said: Option<Chosen>) -> Result<(), CliError> {
    let mut contexts = Contexts::read()?;
    match command {
        ContextCommand::Ls(options) => list(&contexts, said, options.output),
        ContextCommand::Set(options) => {
            options.change(contexts.contexts.entry(options.name.clone()).or_default())?;
            contexts.write()?;
            output::line(&format!("Context {:?} is kept: meshgate context use {}", options.name, options.name))
        }
        ContextCommand::Use(options) => {
            if let Some(name) = &options.name {
                known(&contexts, name)?;
            }
            contexts.current.clone_from(&options.name);
            contexts.write()?;
            let told = options
                .name
                .as_ref()
                .map_or("No context counts now".to_owned(), |it| format!("Context {it:?} counts now"));
            output::line(&told)
        }
        ContextCommand::Rm(NameOptions { name }) => {
            known(&contexts, name)?;
            contexts.contexts.remove(name);
            contexts.current.take_if(|current| current == name);
            contexts.write()?;
            output::line(&format!("Context {name:?} is removed"))
        }
    }
}

fn known<'c>(contexts: &'c Contexts, name: &str) -> Result<&'c Context, CliError> {
    contexts.contexts.get(name).ok_or_else(|| {
        CliError::Usage(format!("there is no context {name:?}: `meshgate context ls` lists those that there are"))
    })
}

impl SetOptions {
    fn change(&self, context: &mut Context) -> Result<(), CliError> {
        let token = match self.token.as_deref() {
            Some("-") => {
                let read = std::io::read_to_string(std::io::stdin());
                Some(read.map_err(CliError::io("standard input cannot be read"))?.trim().to_owned())
            }
            said => said.map(str::to_owned),
        };
        // A file named from here is the same one wherever a command runs.
        let absolute = |path: &Option<String>| match path.as_deref() {
            Some("") | None => Ok(path.clone()),
            Some(text) => std::path::absolute(text).map(|path| Some(path.display().to_string())),
        };
        let absolute = |path| absolute(path).map_err(CliError::io("the current directory cannot be found out"));
        for (field, said) in [
            (&mut context.address, self.http_addr.clone()),
            (&mut context.token, token),
            (&mut context.token_file, absolute(&self.token_file)?),
            (&mut context.datacenter, self.datacenter.clone()),
            (&mut context.partition, self.partition.clone()),
            (&mut context.namespace, self.namespace.clone()),
            (&mut context.ca_file, absolute(&self.ca_file)?),
            (&mut context.cert_file, absolute(&self.client_cert)?),
            (&mut context.key_file, absolute(&self.client_key)?),
        ] {
            if let Some(said) = said {
                *field = said;
            }
        }
        if context.cert_file.is_empty() != context.key_file.is_empty() {
            return Err(CliError::Usage("-client-cert and -client-key go together".to_owned()));
        }
        Ok(())
    }
}

impl Chosen {
    /// What options and environment choose; `None` if they choose nothing. An empty option means no context at all.
    pub(super) fn said(matches: &ArgMatches) -> Option<Self> {
        let name = matches.get_one::<String>("context")?.clone();
        if matches.value_source("context") == Some(ValueSource::CommandLine) {
            return Some(Self { name, source: OPTION });
        }
        Some(Self { name, source: "MESHGATE_CONTEXT" }).filter(|chosen| !chosen.name.is_empty())
    }

    /// What counts in the end.
    fn of(contexts: &Contexts, said: Option<Self>) -> Option<Self> {
        let current = || contexts.current.clone().map(|name| Self { name, source: "meshgate context use" });
        said.or_else(current).filter(|chosen| !chosen.name.is_empty())
    }
}

fn list(contexts: &Contexts, said: Option<Chosen>, output: OutputOption) -> Result<(), CliError> {
    let chosen = Chosen::of(contexts, said);
    let source = |name: &str| chosen.as_ref().filter(|it| it.name == name).map(|it| it.source);
    let value = json!({
        "Current": chosen.as_ref().map(|it| &it.name),
        "Source": chosen.as_ref().map(|it| it.source),
        "Contexts": contexts.contexts.iter().map(|(name, context)| shown(name, context)).collect::<Vec<_>>(),
    });
    output.write(&value, || {
        let heading = ["CONTEXT", "ADDRESS", "DATACENTER", "PARTITION", "NAMESPACE", "TOKEN", "CA FILE", "COUNTS"];
        let rows = contexts.contexts.iter().map(|(name, it)| {
            let token = match (&*it.token_file, &*it.token) {
                ("", "") => "",
                ("", _) => "kept",
                (file, _) => file,
            };
            let counts = source(name).map(|source| format!("* by {source}")).unwrap_or_default();
            let cells = [name, &it.address, &it.datacenter, &it.partition, &it.namespace, token, &it.ca_file, &counts];
            cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell.to_owned() }).to_vec()
        });
        let rows: Vec<_> = std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect();
        output::columns(&rows)
    })?;
    if let Some(chosen) = &chosen {
        known(contexts, &chosen.name)?;
    }
    Ok(())
}

/// A context without its token.
fn shown(name: &str, context: &Context) -> Value {
    let mut value = json!(Context { token: String::new(), ..context.clone() });
    value["Name"] = name.into();
    value["HasToken"] = (!context.token.is_empty()).into();
    value
}

/// The program as it is where a context counts: what neither options nor variables say is said by the context. `None` if
/// the command calls no API, or no context counts.
///
/// # Errors
/// There is no such context, or the file cannot be used.
pub(super) fn with_defaults(program: &Command, matches: &ArgMatches) -> Result<Option<Command>, CliError> {
    let leaf = leaf(matches);
    if leaf.try_contains_id(CALLS).is_err() {
        return Ok(None);
    }
    let said = Chosen::said(leaf);
    if said.as_ref().is_some_and(|chosen| chosen.name.is_empty()) {
        return Ok(None);
    }
    let contexts = match Contexts::read() {
        // Whoever names no context need not be able to reach the file.
        Err(CliError::Io(error)) if said.is_none() && is_out_of_reach(error.kind()) => return Ok(None),
        contexts => contexts?,
    };
    let Some(chosen) = Chosen::of(&contexts, said) else { return Ok(None) };
    let context = known(&contexts, &chosen.name)?;
    let is_said = |id: &str| match leaf.try_get_raw(id).ok().flatten() {
        // An empty variable means the same as none.
        Some(mut values) => {
            let source = leaf.value_source(id);
            source == Some(ValueSource::CommandLine)
                || (source == Some(ValueSource::EnvVariable) && values.any(|value| !value.is_empty()))
        }
        None => false,
    };
    // Secrets are for the address that they were kept with, unless somebody says so in the same breath.
    let is_elsewhere = is_said("http_addr")
        && chosen.source != OPTION
        && leaf.get_one::<String>("http_addr").is_some_and(|address| *address != context.address);
    let secret = |value| if is_elsewhere { "" } else { value };
    // What is said otherwise than by the same option.
    let token_file = if is_said("token") { "" } else { secret(&context.token_file) };
    let ca_file = if is_said("ca_path") { "" } else { &context.ca_file };
    let pairs = [
        ("http_addr", &*context.address),
        ("token", secret(&context.token)),
        ("token_file", token_file),
        ("datacenter", &context.datacenter),
        ("partition", &context.partition),
        ("namespace", &context.namespace),
        ("ca_file", ca_file),
        ("client_cert", secret(&context.cert_file)),
        ("client_key", secret(&context.key_file)),
    ];
    let unsaid = pairs.into_iter().filter(|(id, value)| !value.is_empty() && !is_said(id));
    let unsaid: Vec<_> = unsaid.map(|(id, value)| (id, value.to_owned())).collect();
    Ok(Some(said_by(program.clone(), &unsaid)))
}

/// True for a file that the user may not look for, or whose folder is none.
fn is_out_of_reach(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotADirectory)
}

/// The command that was named, with its options.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| leaf(inner))
}

fn said_by(command: Command, values: &[(&'static str, String)]) -> Command {
    let calls = command.get_arguments().any(|it| it.get_id() == CALLS);
    let command = command.mut_subcommands(|inner| said_by(inner, values));
    if !calls {
        return command;
    }
    command.mut_args(|argument| match values.iter().find(|(id, _)| argument.get_id() == id) {
        Some((_, value)) => {
            let argument = argument.default_value(value.clone()).hide_default_value(true);
            argument.env(Resettable::<OsStr>::Reset)
        }
        None => argument,
    })
}
