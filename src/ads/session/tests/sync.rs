//! What a client does not hold as it should, and since which snapshot.

use super::script::Script;
use crate::ads::message::Variant;

/// Runs events one after the other, each with what the client does not hold as it should then.
fn check(variant: Variant, steps: &[(&str, &str)]) {
    run(Script::new(variant), variant, steps);
}

/// The same, from a client on that has the cluster `a` and the listener `l` of a first snapshot.
fn check_settled(variant: Variant, steps: &[(&str, &str)]) {
    let mut script = Script::new(variant);
    for event in ["set CDS a@1>; set LDS l@1; CDS; LDS", "ack CDS; ack LDS"] {
        script.run(event);
    }
    assert_eq!(script.unsettled(), "");
    run(script, variant, steps);
}

fn run(mut script: Script, variant: Variant, steps: &[(&str, &str)]) {
    for (number, (event, unsettled)) in steps.iter().enumerate() {
        let sent = script.run(event);
        assert_eq!(script.unsettled(), *unsettled, "{variant:?}: step {number}: {event}: {sent}");
    }
}

#[test]
fn a_client_has_everything_when_it_has_accepted_all_that_was_sent() {
    let start = [
        ("CDS", "?"),
        ("set CDS a@1; set LDS l@1", "?"),
        ("ack CDS", "LDS * (0,..]"),
        ("LDS", "?"),
        ("ack LDS", ""),
        ("set CDS a@2>", "?"),
        ("ack CDS", ""),
    ];

    check(Variant::Delta, &start);
    check(Variant::StateOfTheWorld, &start);
}

#[test]
fn what_is_refused_is_pending_for_the_snapshots_that_brought_it() {
    check_settled(
        Variant::Delta,
        &[
            ("set CDS a@2>", "?"),
            ("nack CDS", "!CDS a (1,2]"),
            // Whatever else it accepts.
            ("set LDS l@2", "?"),
            ("ack LDS", "!CDS a (1,2]"),
            ("tick 60", "!CDS a (1,2]"),
            // Two at once: both are tried alone then, and each keeps what it is pending for.
            ("set CDS b@1>", "?"),
            ("ack CDS", "!CDS a (1,2]"),
            ("set CDS a@3>", "?"),
            ("nack CDS", "!CDS a (1,5]"),
            ("set CDS a@4>", "?"),
            ("ack CDS", ""),
        ],
    );
    check_settled(
        Variant::StateOfTheWorld,
        &[
            ("set CDS a@2>", "?"),
            ("nack CDS", "?"),
            ("ack CDS", "!CDS a (1,2]"),
            ("set CDS b@1> c@1>", "?"),
            // It does not say which.
            ("nack CDS", "!CDS a (1,2], !CDS * (2,3]"),
            ("set CDS a@3>", "?"),
            ("ack CDS", ""),
        ],
    );
}

#[test]
fn of_a_response_that_is_refused_each_resource_is_judged_by_itself() {
    check_settled(
        Variant::Delta,
        &[
            // While nothing is answered, more is asked for.
            ("set LDS l@2", "?"),
            ("set LDS m@1", "?"),
            ("set LDS n@1", "?"),
            ("ack LDS", "?"),
            ("nack LDS", "?"),
            ("ack LDS", "?"),
            ("nack LDS", "!LDS n (3,4]"),
        ],
    );
}

#[test]
fn what_a_client_asks_for_later_is_missing_until_it_has_it() {
    check(
        Variant::Delta,
        &[
            ("set CDS a@1; set LDS l@1; CDS; LDS", "?"),
            // The client has not asked for it, and there is none.
            ("ack CDS; ack LDS", ""),
            // Nothing leads to it.
            ("set EDS b@1", ""),
            ("set EDS a@1", "EDS a (2,3]"),
            ("EDS +a", "?"),
            ("ack EDS", ""),
            ("set EDS a@2; set CDS b@1", "?"),
            ("ack EDS", "?"),
            ("ack CDS", "EDS b (1,2]"),
            ("EDS +b", "?"),
            ("ack EDS", ""),
            // What it drops while it is still led to is missing again.
            ("EDS -b", "EDS b (0,4]"),
            ("del CDS b", "?"),
            ("ack CDS", ""),
            // What nobody leads to is not missing.
            ("set SDS s@1", ""),
        ],
    );
}

#[test]
fn an_answer_that_does_not_come_is_told() {
    check_settled(Variant::Delta, &[("set CDS a@2>", "?"), ("tick 20", "CDS a (1,2]"), ("ack CDS", "")]);
}

#[test]
fn what_another_process_gave_stays_and_is_told_for_what_was_there_at_the_start() {
    check(
        Variant::Delta,
        &[
            ("lack LDS; set CDS a@1>; CDS ~a@1; LDS ~l@1", "?"),
            ("ack CDS; ack LDS", "~LDS l (0,1]"),
            ("set CDS b@1>", "?"),
            ("ack CDS", "~LDS l (0,1]"),
            ("whole LDS", "?"),
            ("ack LDS", ""),
        ],
    );
}

#[test]
fn of_many_things_no_more_is_told_than_since_when() {
    let names: Vec<_> = (10..40).map(|number| format!("e{number}@1")).collect();
    let clusters: Vec<_> = names.iter().map(|name| format!("{name}>{}", &name[..3])).collect();
    let many = format!("set CDS {}; set EDS {}", clusters.join(" "), names.join(" "));
    check_settled(Variant::Delta, &[(&many, "?"), ("ack CDS", "EDS * (0,2]")]);
}
