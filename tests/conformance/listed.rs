//! The cases that docs/compatibility.md says differ, with the reason and the decision.

use std::collections::BTreeMap;

/// The heading above the table.
const HEADING: &str = "### Conformance cases that are not equal";

/// Case to reason and decision. The table has these three columns; names stand in backquotes.
pub(crate) fn read(document: &str) -> Result<BTreeMap<String, (String, String)>, String> {
    let (_, rest) = document.split_once(HEADING).ok_or_else(|| format!("there is no {HEADING:?}"))?;
    let section = rest.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            [name, reason, decision] if !reason.is_empty() && !decision.is_empty() => {
                Ok((name.trim_matches('`').to_owned(), (reason.to_owned(), decision.to_owned())))
            }
            _ => Err(format!("{line:?} is not a case, a reason and a decision")),
        }
    };
    rows.map(row).collect()
}
