//! When a client has all that it should have.

use super::script::Script;
use crate::ads::message::Variant;

/// Runs events one after the other, each with whether the client has everything then.
fn check(variant: Variant, steps: &[(&str, bool)]) {
    let mut script = Script::new(variant);
    for (number, (event, is_in_sync)) in steps.iter().enumerate() {
        let sent = script.run(event);
        assert_eq!(script.is_in_sync(), *is_in_sync, "{variant:?}: step {number}: {event}: {sent}");
    }
}

#[test]
fn a_client_has_everything_when_it_has_accepted_all_that_was_sent() {
    let both = [
        ("CDS", false),
        ("set CDS a@1; set LDS l@1", false),
        // Listeners were not asked for.
        ("ack CDS", false),
        ("LDS", false),
        ("ack LDS", true),
        ("set CDS a@2", false),
        ("ack CDS", true),
        // A refusal is no state that it should be in, whatever else it accepts.
        ("set CDS a@3", false),
        ("nack CDS", false),
        ("set LDS l@2", false),
        ("ack LDS", false),
        ("tick 60", false),
        ("set CDS a@4", false),
        ("ack CDS", true),
        // What nobody asked for is not missing.
        ("set SDS s@1", true),
    ];

    check(Variant::Delta, &both);
    check(Variant::StateOfTheWorld, &both);
}

#[test]
fn what_a_client_asks_for_later_is_missing_until_it_has_it() {
    check(
        Variant::Delta,
        &[
            ("set CDS a@1; set LDS l@1; CDS; LDS", false),
            ("ack CDS; ack LDS", true),
            ("set EDS a@1; EDS +a", false),
            ("ack EDS", true),
            ("set EDS a@2; set CDS b@1", false),
            ("ack EDS", false),
            ("ack CDS", true),
            ("del CDS b", false),
            ("ack CDS", true),
        ],
    );
}
