//! Decoders against input that nobody meant: mutations of a corpus, on the stable compiler, in bounded time.
//!
//! ```text
//! cargo test --test fuzz
//! MESHGATE_FUZZ_SECONDS=600 cargo test --test fuzz -- filter hcl
//! ```
//!
//! Each target (`targets.rs`) gets the files of its corpus as they are, then mutations of them. Whatever comes in, a target
//! must not panic, must not take more time or memory than an input of this size may, and what it decodes must come back the
//! same once encoded. An input that breaks this is written to `testdata/fuzz/<target>/`, so that it is tried from then on.
//! The mutations are the same in every run of the same length, unless `MESHGATE_FUZZ_SEED` says other.

#![allow(clippy::print_stdout, reason = "a test program tells what it did")]

#[path = "../support/mod.rs"]
mod support;

mod mutate;
mod targets;

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use mutate::Mutator;
use targets::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How long each target is tried.
const SECONDS: u64 = 4;
/// What threads of the control plane have, so that what is too deep for them is too deep here.
const STACK: usize = 2 << 20;
/// After which time one input is given up, with the program.
const HANGS: Duration = Duration::from_secs(60);
/// Longest input.
const LONGEST: usize = 64 * 1024;
/// Most time of the processor for one input, in a build without optimization.
const TIME: Duration = Duration::from_secs(10);
/// Most bytes that may be allocated on the way, freed ones included.
const MEMORY: usize = 512 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, otherwise| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    let (seconds, seed) = (number("MESHGATE_FUZZ_SECONDS", SECONDS), number("MESHGATE_FUZZ_SEED", 1));
    let is_wanted =
        |target: &&Target| arguments.is_empty() || arguments.iter().any(|wanted| target.name.contains(wanted));
    let wanted: Vec<_> = TARGETS.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        println!("no target is called like {arguments:?}");
        return ExitCode::FAILURE;
    }
    let mut failures = 0;
    for target in wanted {
        // Whatever ends the program now, this was last.
        println!("{} with seed {seed}:", target.name);
        match on_small_stack(target, Duration::from_secs(seconds), seed) {
            Ok(tried) => println!("{}: {tried} inputs", target.name),
            Err(failure) => {
                failures += 1;
                println!("{}: {failure}", target.name);
            }
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries a target as a thread of the control plane would.
fn on_small_stack(target: &'static Target, time: Duration, seed: u64) -> Result<u64, String> {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || run(target, time, seed));
    let ended = thread.map_err(|error| error.to_string())?.join();
    ended.unwrap_or_else(|_| Err("the program of the test panicked".to_owned()))
}

/// Tries a target; the number of inputs.
fn run(target: &'static Target, time: Duration, seed: u64) -> Result<u64, String> {
    let corpus = corpus(target)?;
    for (name, input) in &corpus {
        judge(target, input).map_err(|failure| format!("{name}: {failure}"))?;
    }
    let inputs: Vec<_> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(seed, target.words);
    let started = Instant::now();
    let mut tried = inputs.len() as u64;
    let current = Current::watch(target);
    while started.elapsed() < time {
        let input = mutator.next(&inputs, LONGEST);
        current.set(&input);
        judge(target, &input)
            .map_err(|failure| format!("{failure}\nthe input is {}", keep(target, &input).display()))?;
        tried += 1;
    }
    Ok(tried)
}

/// The input that is tried, in a file, for what cannot be caught: a stack that is too small, an abort, or no end.
struct Current {
    file: PathBuf,
    since: Arc<Mutex<Option<Instant>>>,
}

impl Current {
    fn watch(target: &'static Target) -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        let current = Self { file, since: Arc::default() };
        let (since, file) = (Arc::downgrade(&current.since), current.file.clone());
        std::thread::spawn(move || {
            while let Some(since) = since.upgrade() {
                let is_over = since.lock().expect("it is whole").is_some_and(|since| since.elapsed() > HANGS);
                if is_over {
                    println!("{}: it has not ended after {HANGS:?}; the input is {}", target.name, file.display());
                    std::process::abort();
                }
                drop(since);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        current
    }

    fn set(&self, input: &[u8]) {
        std::fs::write(&self.file, input).expect("the target folder can be written");
        *self.since.lock().expect("it is whole") = Some(Instant::now());
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        // It is of use only when the program ended before.
        std::fs::remove_file(&self.file).ok();
    }
}

/// Gives one input to a target.
fn judge(target: &Target, input: &[u8]) -> Result<(), String> {
    let region = Region::new(ALLOCATOR);
    let before = processor_time();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let (took, allocated) = (processor_time().saturating_sub(before), region.change().bytes_allocated);
    match outcome {
        Err(_) => Err("it panicked".to_owned()),
        Ok(Err(broken)) => Err(broken),
        Ok(Ok(())) if took > TIME => Err(format!("it took {took:?}")),
        Ok(Ok(())) if allocated > MEMORY => Err(format!("it allocated {} MiB", allocated >> 20)),
        Ok(Ok(())) => Ok(()),
    }
}

/// Time that this thread was given, whatever else the machine does.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata"))
}

/// The inputs of a target: its own, and files of other tests.
fn corpus(target: &Target) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files = files_below(&root().join("fuzz").join(target.name), "");
    files.extend(target.others.iter().flat_map(|(folder, suffix)| files_below(&root().join(folder), suffix)));
    files.sort();
    let read = |file: PathBuf| {
        let input = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok((file.display().to_string(), input))
    };
    let mut corpus = files.into_iter().map(read).collect::<Result<Vec<_>, String>>()?;
    corpus.extend((target.made)().into_iter().enumerate().map(|(position, input)| (format!("made {position}"), input)));
    if corpus.is_empty() { Err("it has no corpus".to_owned()) } else { Ok(corpus) }
}

fn files_below(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let Ok(listed) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = listed.filter_map(|entry| Some(entry.ok()?.path()));
    let below = |path: PathBuf| {
        if path.is_dir() {
            return files_below(&path, suffix);
        }
        let is_meant = path.to_string_lossy().ends_with(suffix);
        is_meant.then_some(path).into_iter().collect()
    };
    paths.flat_map(below).collect()
}

/// Puts an input into the corpus.
fn keep(target: &Target, input: &[u8]) -> PathBuf {
    let folder = root().join("fuzz").join(target.name);
    let name = format!("found-{:016x}", mutate::hash(input));
    // Where it cannot be written, seed and target still lead to it.
    let _ = std::fs::create_dir_all(&folder);
    let _ = std::fs::write(folder.join(&name), input);
    folder.join(name)
}
