//! `meshgate validate`: files of settings, registrations and config entries, checked without starting anything.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, files, output};
use crate::model::{Namespace, Partition};
use crate::settings::{FileFormat, Inputs, SettingsError, check_files};

/// Options of `meshgate validate`.
#[derive(Debug, Args)]
pub(super) struct ValidateOptions {
    /// Files and directories, as -config-file and -config-dir of the agent take them
    #[arg(required_unless_present = "files", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// File with config entries, services or Kubernetes resources, or a folder of such files, as `meshgate plan` and
    /// `meshgate apply` take them; - is standard input (repeatable)
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    files: Vec<String>,
    /// Format of files whose name does not tell it: hcl, json or yaml
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    config_format: Option<FileFormat>,
    /// Say nothing when everything is right
    #[arg(long)]
    quiet: bool,
}

/// Checks the files.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn run(options: &ValidateOptions) -> Result<(), CliError> {
    if !options.files.is_empty() {
        files::definitions(&options.files, &Partition::default(), &Namespace::default())?;
    }
    let inputs = Inputs {
        files: options.paths.clone(),
        file_format: options.config_format,
        // The host's own name and variables must not decide whether a file is right.
        host_name: Some("host".to_owned()),
        ..Inputs::default()
    };
    let failed = |error: SettingsError| CliError::Input(format!("Config validation failed: {error}"));
    let warnings = if options.paths.is_empty() { Vec::new() } else { check_files(&inputs).map_err(failed)? };
    if options.quiet {
        return Ok(());
    }
    warnings.iter().for_each(|text| output::warning(text));
    output::line("Configuration is valid!")
}
