//! What the demo prints: headings and steps on standard output, progress on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;

/// Told what is being done.
pub trait Progress: Send + Sync {
    /// This is being done now.
    fn step(&self, text: &str);
}

/// Tells nobody; for tests.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &str) {}
}

/// A moving line on a terminal, a line per step elsewhere.
#[derive(Debug)]
pub(super) struct Spinner(Option<ProgressBar>);

impl Spinner {
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }
}

impl Progress for Spinner {
    fn step(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprint_line(&format!("- {text}")),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[allow(clippy::print_stderr, reason = "the demo tells a person what it does")]
fn eprint_line(text: &str) {
    anstream::eprintln!("{text}");
}

#[allow(clippy::print_stdout, reason = "the demo shows a person what it found")]
fn print_line(text: &str) {
    anstream::println!("{text}");
}

/// What was shown, and whether all of it was as it should be.
#[derive(Debug, Default)]
pub(super) struct Report {
    failed: usize,
    passed: usize,
}

impl Report {
    /// A part of the tour.
    pub(super) fn heading(&self, text: &str) {
        print_line(&format!("\n{}", text.bold()));
    }

    /// A part of a part.
    pub(super) fn subheading(&self, text: &str) {
        print_line(&format!("  {text}"));
    }

    /// One step with its proof.
    pub(super) fn step(&mut self, is_good: bool, title: &str, text: &str) {
        if is_good {
            self.passed += 1;
            print_line(&format!("    {} {title} {text}", "ok  ".green()));
        } else {
            self.failed += 1;
            print_line(&format!("    {} {title} {text}", "FAIL".red()));
        }
    }

    /// Plain text.
    pub(super) fn text(&self, text: &str) {
        print_line(text);
    }

    /// Ends with the sum; returns how many steps failed.
    pub(super) fn end(&self) -> usize {
        let sum = format!("\n{} steps as they should be, {} not", self.passed, self.failed);
        if self.failed == 0 {
            print_line(&sum.green().to_string());
        } else {
            print_line(&sum.red().to_string());
        }
        self.failed
    }
}
