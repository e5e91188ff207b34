//! Every trap that docs/traps.md lists has its test.

use std::path::Path;

const DOCUMENT: &str = include_str!("../docs/traps.md");

/// How many traps each section has: the facts of the protocol, and the gotchas of the contract.
const SECTIONS: [(&str, usize); 2] = [("## The protocol", 12), ("## The contract", 65)];

/// The rows below a heading: number and tests.
fn rows(heading: &str) -> Vec<(usize, Vec<&'static str>)> {
    let (_, rest) = DOCUMENT.split_once(heading).unwrap_or_else(|| panic!("{heading} is missing"));
    let section = rest.split("\n## ").next().unwrap_or_default();
    let row = |line: &'static str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = cells[0].parse().ok()?;
        let tests = cells.last()?.split(',').map(str::trim).collect();
        Some((number, tests))
    };
    section.lines().filter(|line| line.starts_with("| ")).filter_map(row).collect()
}

/// Why a test is not there.
fn missing(test: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let words: Vec<_> = test.split('`').map(str::trim).filter(|word| !word.is_empty()).collect();
    match words[..] {
        [golden] if golden.starts_with("golden ") => {
            let input = root.join("testdata/golden").join(&golden["golden ".len()..]).join("input.yaml");
            (!input.is_file()).then(|| format!("there is no {}", input.display()))
        }
        [file, function] => {
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            let is_there = text.contains(&format!("fn {function}("));
            (!is_there).then(|| format!("{file} has no function {function}"))
        }
        _ => Some(format!("{test:?} is neither a golden nor a file and a function")),
    }
}

#[test]
fn every_trap_has_a_test() {
    for (heading, count) in SECTIONS {
        let rows = rows(heading);
        let numbers: Vec<_> = rows.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, Vec::from_iter(1..=count), "{heading}: the numbers of the rows");
        let problems: Vec<_> = rows
            .iter()
            .flat_map(|(number, tests)| tests.iter().filter_map(move |test| missing(test).map(|why| (number, why))))
            .collect();
        assert!(problems.is_empty(), "{heading}: {problems:#?}");
    }
}
