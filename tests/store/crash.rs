//! `kill -9` at random moments: what was acknowledged is there, and nothing is half there.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meshgate::model::{Node, NodeName};
use meshgate::store::{NodeKey, Op, Outcome, View};

use super::embedded;

/// Names the directory to the child.
const DIRECTORY: &str = "MESHGATE_CRASH_TEST_DIRECTORY";
const WRITERS: u64 = 8;
const ROUNDS: u32 = 12;

fn node(name: &str, number: u64) -> Op {
    Op::PutNode(Node {
        node: NodeName::from(format!("{name}-{number}")),
        address: number.to_string(),
        ..Node::default()
    })
}

fn has(view: &View, name: &str, number: u64) -> bool {
    let key = NodeKey::new(&Node::default().place(), &NodeName::from(format!("{name}-{number}")));
    view.node(&key).is_some_and(|row| row.value.address == number.to_string())
}

/// The numbers of the first rows of all writes.
fn numbers(view: &View) -> impl Iterator<Item = u64> {
    let here = Node::default().place();
    let all: Vec<_> = view.nodes(&here).filter(|row| row.value.node.as_str().starts_with("a-")).collect();
    all.into_iter().map(|row| row.value.address.parse().unwrap())
}

/// The child: several writers, each write has two rows. Says the number and the index of each after its acknowledgement.
#[tokio::test]
#[ignore = "runs until it is killed, as the child of acknowledged_writes_survive_a_kill"]
async fn write_until_killed() {
    let directory = std::env::var_os(DIRECTORY).expect("the parent names the directory");
    let (store, _) = embedded(Path::new(&directory));
    let first = numbers(&store.view()).max().unwrap_or(0) + 1;
    let write = |writer: u64| {
        let store = &store;
        async move {
            for number in (first + writer..).step_by(WRITERS as usize) {
                let outcome = store.write(vec![node("a", number), node("b", number)]).await.unwrap();
                let Outcome::Committed(index) = outcome else { panic!("{outcome:?}") };
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {number} {index}").unwrap();
                out.flush().unwrap();
            }
        }
    };
    futures::future::join_all((0..WRITERS).map(write)).await;
}

fn start_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::write_until_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// `acknowledged <number> <index>`; the harness prints other lines, and the last one may be cut off.
fn acknowledged(line: &str) -> Option<(u64, u64)> {
    let (number, index) = line.strip_prefix("acknowledged ")?.strip_suffix('\n')?.split_once(' ')?;
    Some((number.parse().ok()?, index.parse().ok()?))
}

/// Kills a child `delay` after so many acknowledgements, or after its start; returns all that it acknowledged.
fn kill_after(directory: &Path, acks: usize, delay: Duration) -> Vec<(u64, u64)> {
    let mut child = start_child(directory);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut found = Vec::new();
    let mut line = String::new();
    let mut is_killed = false;
    while output.read_line(&mut line).unwrap() > 0 {
        found.extend(acknowledged(&line));
        line.clear();
        if found.len() >= acks && !is_killed {
            let end = Instant::now() + delay;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            // SIGKILL: the child cannot clean up.
            child.kill().unwrap();
            is_killed = true;
        }
    }
    child.wait().unwrap();
    assert!(is_killed, "the child ended by itself");
    found
}

fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

#[test]
fn a_kill_while_the_store_is_made_leaves_one_that_opens() {
    for round in 0..2 * ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let delay = Duration::from_micros(random(8000));

        let acknowledged = kill_after(directory.path(), 0, delay);

        let (store, _) = embedded(directory.path());
        let view = store.view();
        assert!(acknowledged.iter().all(|(number, _)| has(&view, "b", *number)), "round {round}, {delay:?}");
    }
}

#[test]
fn acknowledged_writes_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let (acks, delay) = (1 + random(60) as usize, Duration::from_micros(random(3000)));
        all.extend(kill_after(directory.path(), acks, delay));

        let context = format!("round {round}, killed after {acks} acknowledgements and {delay:?}");
        let (store, writer) = embedded(directory.path());
        let view = store.view();
        for (number, index) in &all {
            assert!(has(&view, "a", *number) && has(&view, "b", *number), "{number} is lost: {context}");
            assert!(*index <= view.index(), "index {index} is lost: {context}");
        }
        // Each commit has two rows, and the first one is 2, so a half one, a lost one or a wrong index would show here.
        let place = Node::default().place();
        assert_eq!(view.nodes(&place).count() as u64, 2 * view.index().saturating_sub(1), "{context}");
        assert!(numbers(&view).all(|number| has(&view, "b", number)), "{context}");
        drop((view, store));
        writer.join().unwrap();
    }
}
