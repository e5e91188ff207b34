//! Arguments in Consul's spelling, made into what clap reads.

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

/// Gives every long option that is written with one dash (`-sidecar-for web`) its second one. What follows `--` is not
/// ours.
pub(super) fn with_double_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut ours = true;
    arguments
        .into_iter()
        .map(|argument| {
            ours &= argument != "--";
            match argument.to_str() {
                Some(text) if ours && is_single_dash_long(text) => format!("-{text}").into(),
                Some(_) | None => argument,
            }
        })
        .collect()
}

/// The command that is named, whatever options of the program itself come before it.
pub(super) fn command(arguments: &[OsString]) -> Option<&str> {
    let mut words = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
    loop {
        match words.next()? {
            "--context" => drop(words.next()),
            word if word.starts_with("--context=") || word.starts_with("--no-color") => {}
            word => return Some(word),
        }
    }
}

/// `-name`, `-name=value`; not `-h`, `--name` or `-8502`.
fn is_single_dash_long(text: &str) -> bool {
    let Some(name) = text.strip_prefix('-') else { return false };
    name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Lets every switch take a value (`-register=false`), as Go's flags do.
pub(super) fn with_switch_values(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        if matches!(argument.get_action(), ArgAction::SetTrue) { with_value(argument) } else { argument }
    });
    command.mut_subcommands(with_switch_values)
}

fn with_value(argument: Arg) -> Arg {
    argument
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .value_parser(BoolishValueParser::new())
        .value_name("BOOL")
        .hide_possible_values(true)
        .default_value("false")
        .default_missing_value("true")
        .hide_default_value(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_options_get_their_second_dash_and_nothing_else_changes() {
        let words = "connect envoy -sidecar-for web -register=false --bootstrap -h -http-port -1 - -- -l debug";

        let arguments = with_double_dashes(words.split(' ').map(OsString::from));

        assert_eq!(
            arguments.join(&OsString::from(" ")),
            "connect envoy --sidecar-for web --register=false --bootstrap -h --http-port -1 - -- -l debug"
        );
    }
}
