//! Goldens: API calls in, the Envoy resources of one proxy out, one behaviour for each folder of `testdata/golden`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the outputs anew and deletes those that no longer belong to a case.
//! What it writes is a proposal: read it before it is committed.

#[path = "../support/mod.rs"]
mod support;

mod case;
mod compare;
mod conformance;
mod deprecated;
mod envoy;

use case::Case;

#[tokio::test]
async fn the_resources_of_every_case_are_as_reviewed() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut differences = Vec::new();
    for case in Case::all() {
        let outputs = case.run().await.outputs();
        if is_update {
            compare::write(&case.folder, &outputs);
        } else {
            differences.extend(compare::differences(&case.folder, &outputs));
        }
    }

    assert!(
        differences.is_empty(),
        "{}\nIf this is what is meant: UPDATE_GOLDEN=1 cargo test --test golden, and read the difference",
        differences.join("\n")
    );
}
