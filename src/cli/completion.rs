//! `meshgate completion`: commands, options and values for the completion of a shell.
//!
//! The scripts are small: they ask this program what may come next, so that they never tell anything else than it takes.

use clap::{Args, Command, ValueEnum};

use super::{CliError, arguments, output};

const BASH: &str = r#"_meshgate() {
    local IFS=$'\n'
    COMPREPLY=($("$1" completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _meshgate meshgate"#;

const ZSH: &str = r#"#compdef meshgate
_meshgate() {
    local -a found
    found=("${(@f)$("${words[1]}" completion zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        _describe meshgate found
    else
        _files
    fi
}
compdef _meshgate meshgate"#;

const FISH: &str = r#"function __meshgate_candidates
    set -l words (commandline -opc)
    $words[1] completion fish -- $words[2..] (commandline -ct) 2>/dev/null
end
complete -c meshgate -a '(__meshgate_candidates)'"#;

/// Options of `meshgate completion`.
#[derive(Debug, Args)]
#[command(after_help = "\
  source <(meshgate completion bash)                              in ~/.bashrc
  source <(meshgate completion zsh)                               in ~/.zshrc, after compinit
  meshgate completion fish | source                               in ~/.config/fish/config.fish")]
pub(super) struct CompletionOptions {
    /// The shell that reads it
    #[arg(value_enum)]
    shell: Shell,
    /// The words after the program's name up to the one that is being written: what that may be is printed
    #[arg(last = true, hide = true)]
    words: Vec<String>,
}

/// The shells that there are scripts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// A word that may come next.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    text: String,
    about: String,
}

/// Prints the script of a shell, or what its user may write next.
///
/// # Errors
/// Standard output is closed.
pub(super) fn run(options: &CompletionOptions, program: Command) -> Result<(), CliError> {
    if options.words.is_empty() {
        return output::line(match options.shell {
            Shell::Bash => BASH,
            Shell::Zsh => ZSH,
            Shell::Fish => FISH,
        });
    }
    let mut program = arguments::with_switch_values(program);
    program.build();
    candidates(&program, &options.words).iter().try_for_each(|it| output::line(&options.shell.shown(it)))
}

impl Shell {
    fn shown(self, candidate: &Candidate) -> String {
        let Candidate { text, about } = candidate;
        match self {
            Shell::Bash => text.clone(),
            Shell::Zsh => format!("{}:{about}", text.replace(':', "\\:")),
            Shell::Fish => format!("{text}\t{about}"),
        }
    }
}

/// What the last of these words may become. Nothing where it may be anything, such as a file.
fn candidates(program: &Command, words: &[String]) -> Vec<Candidate> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let mut place = Place { command: program, argument: None, given: 0 };
    for word in before {
        if word == "--" {
            return Vec::new();
        }
        place.pass(word);
    }
    let mut found = place.candidates(last);
    found.retain(|it| it.text.starts_with(last.as_str()));
    found
}

/// Where a word stands.
struct Place<'c> {
    command: &'c Command,
    /// The option whose value it is.
    argument: Option<&'c clap::Arg>,
    /// How many words without options come before it.
    given: usize,
}

impl<'c> Place<'c> {
    fn pass(&mut self, word: &str) {
        if self.argument.take().is_some() {
            return;
        }
        if word.starts_with('-') {
            self.argument =
                self.option(word).filter(|it| it.get_action().takes_values() && !it.is_require_equals_set());
            return;
        }
        match self.command.find_subcommand(word) {
            Some(command) if self.given == 0 => self.command = command,
            Some(_) | None => self.given += 1,
        }
    }

    /// The option that is written like this, without its value.
    fn option(&self, word: &str) -> Option<&'c clap::Arg> {
        let name = word.trim_start_matches('-');
        let is_short = word.len() == 2;
        let is_named = |it: &&clap::Arg| {
            it.get_long() == Some(name)
                || it.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
                || (is_short && it.get_short().is_some_and(|short| name.starts_with(short)))
        };
        self.command.get_arguments().find(is_named)
    }

    fn candidates(&self, word: &str) -> Vec<Candidate> {
        if let Some(argument) = self.argument {
            return values(argument);
        }
        if word.starts_with('-') {
            let dashes = if word.starts_with("--") { "--" } else { "-" };
            let shown = self.command.get_arguments().filter(|it| !it.is_hide_set());
            let named = shown.filter_map(|it| Some((it.get_long()?, it.get_help())));
            return named.map(|(name, about)| Candidate::new(format!("{dashes}{name}"), about)).collect();
        }
        let commands = self.command.get_subcommands().filter(|it| self.given == 0 && !it.is_hide_set());
        let named = commands.flat_map(|it| {
            let names = std::iter::once(it.get_name()).chain(it.get_visible_aliases());
            names.map(|name| Candidate::new(name.to_owned(), it.get_about()))
        });
        let positional = self.command.get_positionals().nth(self.given);
        named.chain(positional.into_iter().flat_map(values)).collect()
    }
}

/// The values that an argument may have, if it is not just anything.
fn values(argument: &clap::Arg) -> Vec<Candidate> {
    if argument.is_hide_possible_values_set() {
        return Vec::new();
    }
    let values = argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
    values.map(|value| Candidate::new(value.get_name().to_owned(), value.get_help())).collect()
}

impl Candidate {
    /// A word with what it is about, as far as that fits into a line.
    fn new(text: String, about: Option<&clap::builder::StyledStr>) -> Self {
        let about = about.map(ToString::to_string).unwrap_or_default();
        Self { text, about: about.lines().next().unwrap_or_default().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn complete(words: &str) -> Vec<String> {
        let mut program = arguments::with_switch_values(Cli::command());
        program.build();
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        candidates(&program, &words).into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn what_may_come_next_follows_from_what_was_written() {
        assert_eq!(complete("conf"), ["config"]);
        assert_eq!(complete("prox"), ["proxies", "proxy"]);
        assert_eq!(complete("config re"), ["read"]);
        assert_eq!(complete("connect envoy -sidec"), ["-sidecar-for"]);
        assert_eq!(complete("connect envoy --sidec"), ["--sidecar-for"]);
        // A switch takes no next word, an option does.
        assert_eq!(complete("connect envoy -register -gate"), ["-gateway"]);
        assert_eq!(complete("connect envoy -sidecar-for -gate"), [""; 0]);
        assert_eq!(complete("ps -o y"), ["yaml"]);
        assert_eq!(complete("completion "), ["bash", "zsh", "fish"]);
        // What is ours ends there.
        assert_eq!(complete("connect envoy -sidecar-for web -- -"), [""; 0]);
    }
}
