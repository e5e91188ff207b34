//! What no answer of the API shows.

use super::compile::merged;
use crate::model::entry::HeaderModifiers;

#[test]
fn the_header_changes_of_an_inner_splitter_win() {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let changes = |add, set, remove: &[&str]| HeaderModifiers {
        add: map(add),
        set: map(set),
        remove: remove.iter().map(ToString::to_string).collect(),
    };
    let outer = changes(&[("a", "outer")], &[("leg", "outer"), ("outer", "1")], &["gone"]);
    let inner = changes(&[("b", "inner")], &[("leg", "inner")], &["gone", "inner-gone"]);

    assert_eq!(
        merged(&outer, &inner),
        changes(&[("a", "outer"), ("b", "inner")], &[("leg", "inner"), ("outer", "1")], &["gone", "inner-gone"])
    );
}
