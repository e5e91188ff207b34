//! What no answer of the API shows.

use super::compile::in_turn;
use crate::model::entry::HeaderModifiers;

#[test]
fn later_header_changes_win() {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let changes = |add, set, remove: &[&str]| HeaderModifiers {
        add: map(add),
        set: map(set),
        remove: remove.iter().map(ToString::to_string).collect(),
    };
    let first = changes(&[("a", "first")], &[("leg", "first"), ("first", "1")], &["gone"]);
    let later = changes(&[("b", "later")], &[("leg", "later")], &["gone", "later-gone"]);

    assert_eq!(
        in_turn(&first, &later),
        changes(&[("a", "first"), ("b", "later")], &[("leg", "later"), ("first", "1")], &["gone", "later-gone"])
    );
}
