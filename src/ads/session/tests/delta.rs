//! Tables for the Delta form. The numbers are test cases of the protocol reference.

use super::script::check;
use crate::ads::message::Variant;

fn delta(case: &str, steps: &[(&str, &str)]) {
    check(Variant::Delta, case, steps);
}

#[test]
fn first_answers() {
    delta("a wildcard gets all", &[("set CDS a@1 b@1 c@1; CDS", "CDS +a@1 +b@1 +c@1")]); // T001
    delta("a name gets that name", &[("set EDS a@1 b@1; EDS +a", "EDS +a@1")]); // T002
    delta("an empty world is an answer", &[("set SDS s@1; CDS", "CDS"), ("LDS", "LDS")]); // T015
    delta("an empty world is answered once", &[("set SDS s@1; CDS", "CDS"), ("ack CDS", "(acked CDS)"), ("CDS", "")]);
    delta("nothing before the proxy is known", &[("CDS; LDS", ""), ("set CDS a@1; set LDS l@1>a", "CDS +a@1")]);
    delta("no names, no interest", &[("set EDS a@1; set RDS r@1; set SDS s@1; EDS; RDS; SDS", "")]); // T024
    delta(
        "one answer per type, in the order that breaks nothing", // T004, T072
        &[
            ("set SDS s@1; set CDS a@1; set EDS a@1; set LDS l@1; set RDS r@1", ""),
            ("RDS +r; LDS; EDS +a; CDS; SDS +s", "SDS +s@1 | CDS +a@1 | EDS +a@1 | LDS +l@1 | RDS +r@1"),
        ],
    );
}

#[test]
fn subscriptions() {
    delta(
        "a wildcard with names on top, taken away again", // T019, T020
        &[
            ("set CDS a@1 b@1; CDS", "CDS +a@1 +b@1"),
            ("ack CDS +a", "(acked CDS) | CDS +a@1"),
            ("ack CDS -*", "(acked CDS)"),
            ("set CDS b@2", ""),
            ("set CDS a@2", "CDS +a@2"),
        ],
    );
    delta(
        "names, then everything, then names again", // T021
        &[
            ("set CDS a@1 b@1 c@1; CDS +a", "CDS +a@1"),
            ("ack CDS +*", "(acked CDS) | CDS +b@1 +c@1"),
            ("ack CDS +b", "(acked CDS) | CDS +b@1"),
            ("ack CDS -*", "(acked CDS)"),
            ("set CDS a@2 b@2 c@2", "CDS +a@2 +b@2"),
        ],
    );
    delta(
        "unsubscribing under a wildcard is answered", // T022
        &[
            ("set CDS b@1; CDS", "CDS +b@1"),
            ("ack CDS +b +d", "(acked CDS) | CDS +b@1 -d"),
            ("ack CDS -b -d", "(acked CDS) | CDS +b@1 -d"),
        ],
    );
    delta(
        "interest in nothing", // T025
        &[("set CDS a@1; CDS +* -*", ""), ("CDS +a", "CDS +a@1")],
    );
    delta(
        "asked again, answered again",
        &[("set EDS a@1; EDS +a", "EDS +a@1"), ("ack EDS +a", "(acked EDS) | EDS +a@1")],
    ); // T026
    delta("asked twice, answered once", &[("set EDS a@1; EDS +a +a", "EDS +a@1")]); // T027
    delta("an unknown name is not missed", &[("set EDS a@1; EDS +a", "EDS +a@1"), ("ack EDS -x", "(acked EDS)")]); // T028
    delta(
        "not asked for any more", // T029, T030
        &[
            ("set EDS a@1; EDS +a", "EDS +a@1"),
            ("ack EDS -a", "(acked EDS)"),
            ("set EDS a@2", ""),
            ("EDS +a", "EDS +a@2"),
            ("ack EDS -a", "(acked EDS)"),
            ("EDS +a", "EDS +a@2"),
        ],
    );
}

#[test]
fn names_that_do_not_exist() {
    delta(
        "endpoints are denied at once and sent once they exist", // T031, T032
        &[("set CDS a@1; EDS +a", "EDS -a"), ("ack EDS; set EDS a@1", "(acked EDS) | EDS +a@1")],
    );
    delta("secrets are denied at once", &[("set CDS a@1; SDS +s", "SDS -s")]); // T034
    delta("clusters asked for by name are denied at once", &[("set SDS s@1; CDS +a", "CDS -a")]);
    delta(
        "a route is never denied: a stub stands in", // T033
        &[("set CDS a@1; RDS +r", "RDS +r@stub"), ("ack RDS; set RDS r@1", "(acked RDS) | RDS +r@1")],
    );
    delta("both in one response", &[("set EDS a@1; EDS +a +b", "EDS +a@1 -b")]); // T036
    delta(
        "named endpoints, secrets and routes that are gone stay with the client", // T074
        &[
            ("set EDS a@1; set SDS s@1; set RDS r@1; EDS +a; SDS +s; RDS +r", "SDS +s@1 | EDS +a@1 | RDS +r@1"),
            ("ack EDS; ack SDS; ack RDS; del EDS a; del SDS s; del RDS r", "(acked EDS) | (acked SDS) | (acked RDS)"),
            ("set EDS a@1", "EDS +a@1"),
        ],
    );
    delta(
        "what a wildcard covers is taken away",
        &[("set EDS a@1 b@1; EDS +*", "EDS +a@1 +b@1"), ("ack EDS; del EDS a", "(acked EDS) | EDS -a")],
    );
}

#[test]
fn nonces() {
    delta(
        "a stale nonce does not make a subscription stale", // T043
        &[("set EDS a@1; EDS +a", "EDS +a@1"), ("nonce EDS 99 +b", ""), ("ack EDS", "(acked EDS) | EDS -b")],
    );
    delta("an unknown nonce answers nothing", &[("set CDS a@1; CDS", "CDS +a@1"), ("nonce CDS zzz; set CDS a@2", "")]); // T049
    delta("an answer to nothing", &[("set CDS a@1; nonce EDS 1", "")]); // T058
    delta(
        "an ACK that subscribes",
        &[("set EDS a@1 b@1; EDS +a", "EDS +a@1"), ("ack EDS +b", "(acked EDS) | EDS +b@1")],
    ); // T044
    delta("a second ACK is none", &[("set CDS a@1; CDS", "CDS +a@1"), ("ack CDS", "(acked CDS)"), ("ack CDS", "")]);
}

#[test]
fn refusals() {
    delta(
        "a refused resource is not sent again until it changes", // T051, T052, T057
        &[
            ("set LDS l@1; LDS", "LDS +l@1"),
            ("nack LDS", "(nacked LDS l)"),
            ("LDS; LDS +l", ""),
            ("set CDS a@1", ""),
            ("set LDS l@2", "LDS +l@2"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    delta(
        "a refused resource that changes and changes back is still refused",
        &[
            ("set LDS l@1; LDS", "LDS +l@1"),
            ("nack LDS; set LDS l@2; set LDS l@1", "(nacked LDS l)"),
            ("set LDS m@1", "LDS +m@1"),
            ("ack LDS", ""),
        ],
    );
    delta(
        "those who came with a culprit are tried alone, once", // T053
        &[
            ("set LDS bad@1 good@1; LDS", "LDS +bad@1 +good@1"),
            ("nack LDS", "(nacked LDS bad good) | LDS +bad@1"),
            ("nack LDS", "(nacked LDS bad) | LDS +good@1"),
            ("ack LDS", ""),
            ("set LDS bad@2", "LDS +bad@2"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    delta(
        "what was refused may be held, and is taken away when it is gone", // T054
        &[
            ("set LDS bad@1 good@1; LDS", "LDS +bad@1 +good@1"),
            ("nack LDS; del LDS good", "(nacked LDS bad good) | LDS -good"),
            ("ack LDS", "LDS +bad@1"),
            ("nack LDS; del LDS bad", "(nacked LDS bad) | LDS -bad"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    delta(
        "a refused removal is tried once more and then left",
        &[
            ("set LDS a@1; LDS", "LDS +a@1"),
            ("ack LDS; del LDS a; set LDS b@1", "(acked LDS) | LDS +b@1 -a"),
            ("nack LDS", "(nacked LDS b) | LDS -a"),
            ("nack LDS", "(nacked LDS) | LDS +b@1"),
            ("ack LDS", ""),
        ],
    );
    delta(
        "one that changed and changed back on the way is tried alone, too",
        &[
            ("set LDS bad@1 good@1; LDS", "LDS +bad@1 +good@1"),
            ("set LDS good@2", ""),
            ("set LDS good@1", ""),
            ("nack LDS", "(nacked LDS bad good) | LDS +bad@1"),
            ("nack LDS", "(nacked LDS bad) | LDS +good@1"),
        ],
    );
    delta(
        "new content goes before second tries",
        &[
            ("set LDS a@1 b@1; LDS", "LDS +a@1 +b@1"),
            ("nack LDS; set LDS c@1", "(nacked LDS a b) | LDS +c@1"),
            ("ack LDS", "LDS +a@1"),
        ],
    );
    delta(
        "a refusal that subscribes", // T056
        &[("set EDS a@1 b@1; EDS +a", "EDS +a@1"), ("nack EDS +b", "(nacked EDS a) | EDS +b@1")],
    );
    delta(
        "what may be refused for a secret is tried once more, alone, when a secret changes",
        &[
            ("set SDS s@1; set CDS a@1 b@1>; CDS; SDS +s", "SDS +s@1 | CDS +a@1 +b@1"),
            ("nack CDS", "(nacked CDS a b) | CDS +a@1"),
            ("nack CDS", "(nacked CDS a) | CDS +b@1"),
            ("ack CDS; nack SDS", "(nacked SDS s)"),
            ("set SDS s@2", "SDS +s@2 | CDS +a@1"),
            ("nack CDS", "(nacked CDS a)"),
            ("set EDS a@1", ""),
        ],
    );
    delta(
        "asking again for what is refused does not send it again",
        &[("set EDS a@1; EDS +a", "EDS +a@1"), ("nack EDS +a", "(nacked EDS a)"), ("set EDS a@2", "EDS +a@2")],
    );
}

#[test]
fn one_response_in_flight_and_the_latest_state_wins() {
    delta(
        "five generations are one response", // T070, T100, T131
        &[
            ("set CDS a@1; CDS", "CDS +a@1"),
            ("set CDS a@2", ""),
            ("set CDS a@3; set CDS b@1", ""),
            ("del CDS b", ""),
            ("set CDS a@4", ""),
            ("ack CDS", "(acked CDS) | CDS +a@4"),
        ],
    );
    delta(
        "there and back again is nothing", // T077
        &[("set CDS a@1; CDS", "CDS +a@1"), ("set CDS a@2", ""), ("set CDS a@1", ""), ("ack CDS", "(acked CDS)")],
    );
    delta("equal content is nothing", &[("set CDS a@1; CDS", "CDS +a@1"), ("ack CDS; set CDS a@1", "(acked CDS)")]);
    delta(
        "what is there at first is sent at once, what is late when it comes", // T071
        &[("set EDS a@1; EDS +a +b", "EDS +a@1 -b"), ("ack EDS; set EDS b@1", "(acked EDS) | EDS +b@1")],
    );
    delta(
        "a rotated secret is one secret", // T078
        &[
            ("set SDS s@1; set CDS a@1>; set LDS l@1; SDS +s; CDS; LDS", "SDS +s@1 | CDS +a@1 | LDS +l@1"),
            ("ack SDS; ack CDS; ack LDS; set SDS s@2", "(acked SDS) | (acked CDS) | (acked LDS) | SDS +s@2"),
        ],
    );
}

/// A client with one cluster, its endpoints, a listener and a route, all acknowledged.
const IN_SYNC: [(&str, &str); 3] = [
    ("set CDS a@1; set EDS a@1; set LDS l@1; set RDS r@1>a; CDS; EDS +a; LDS", "CDS +a@1 | EDS +a@1 | LDS +l@1"),
    ("ack CDS; ack EDS; ack LDS; RDS +r", "(acked CDS) | (acked EDS) | (acked LDS) | RDS +r@1"),
    ("ack RDS", "(acked RDS)"),
];

fn in_sync(case: &str, steps: &[(&str, &str)]) {
    delta(case, &[&IN_SYNC[..], steps].concat());
}

#[test]
fn endpoints_follow_their_clusters() {
    in_sync("a changed cluster makes equal endpoints due", &[("set CDS a@2", "CDS +a@2 | EDS +a@1")]); // T062
    in_sync(
        "endpoints in flight do not count", // T063
        &[
            ("set EDS a@2", "EDS +a@2"),
            ("set CDS a@2", "CDS +a@2"),
            ("ack EDS", "(acked EDS) | EDS +a@2"),
            ("ack EDS; ack CDS", "(acked EDS) | (acked CDS)"),
        ],
    );
    in_sync("endpoints do not wait for the cluster's ACK", &[("set CDS a@2; set EDS a@2", "CDS +a@2 | EDS +a@2")]); // T064
    in_sync(
        "secrets do not wait for it either",
        &[("set SDS s@1; set CDS a@2", "CDS +a@2 | EDS +a@1"), ("SDS +s", "SDS +s@1")],
    );
    in_sync(
        "a new cluster's endpoints are sent when they are asked for", // T076
        &[("set CDS b@1; set EDS b@1", "CDS +b@1"), ("EDS +b", "EDS +b@1")],
    );
    in_sync("a cluster without EDS has none", &[("set CDS s@1>", "CDS +s@1")]);
    in_sync(
        "deleted and created again", // T075
        &[
            ("del CDS a; set CDS x@1>; set RDS r@2>x", "CDS +x@1"),
            ("ack CDS", "(acked CDS) | RDS +r@2"),
            ("ack RDS", "(acked RDS) | CDS -a"),
            ("set CDS a@1; EDS -a", ""),
            ("ack CDS", "(acked CDS) | CDS +a@1"),
            ("EDS +a", "EDS +a@1"),
        ],
    );
}

#[test]
fn make_before_break() {
    in_sync(
        "a route waits for the cluster that it leads to", // T065
        &[
            ("set CDS b@1; set EDS b@1; set RDS r@2>b", "CDS +b@1"),
            ("EDS +b", "EDS +b@1"),
            ("ack EDS", "(acked EDS)"),
            ("ack CDS", "(acked CDS) | RDS +r@2"),
        ],
    );
    in_sync(
        "a refused cluster is not waited for",
        &[("set CDS b@1; set RDS r@2>b", "CDS +b@1"), ("nack CDS", "(nacked CDS b) | RDS +r@2")],
    );
    in_sync(
        "a cluster that is still to be sent is waited for",
        &[
            ("set CDS a@2", "CDS +a@2 | EDS +a@1"),
            ("set CDS b@1; set RDS r@2>b", ""),
            ("ack CDS", "(acked CDS) | CDS +b@1"),
            ("ack CDS", "(acked CDS) | RDS +r@2"),
        ],
    );
    in_sync("other listeners do not wait", &[("set CDS b@1; set LDS l@2 m@1>b", "CDS +b@1 | LDS +l@2")]);
    in_sync(
        "a route that moves, and a cluster that nothing needs any more", // T066, T067
        &[
            ("set CDS b@1; set EDS b@1; del CDS a; set RDS r@2>b", "CDS +b@1"),
            ("EDS +b", "EDS +b@1"),
            ("ack CDS", "(acked CDS) | RDS +r@2"),
            ("ack RDS", "(acked RDS) | CDS -a"),
        ],
    );
    in_sync("a listener that takes over an address", &[("del LDS l; set LDS m@1", "LDS +m@1 -l")]); // T068
    in_sync(
        "a listener that takes over an address and waits takes the removal with it",
        &[("set CDS b@1; del LDS l; set LDS m@1>b", "CDS +b@1"), ("ack CDS", "(acked CDS) | LDS +m@1 -l")],
    );
    in_sync(
        "and so does one that need not wait: it may be the one that takes over",
        &[("set CDS b@1; del LDS l; set LDS m@1>b n@1", "CDS +b@1"), ("ack CDS", "(acked CDS) | LDS +m@1 +n@1 -l")],
    );
    in_sync("a listener alone", &[("set LDS l@2", "LDS +l@2")]); // T069
    in_sync(
        "what a refused route still uses is kept",
        &[
            ("set CDS b@1>; del CDS a; set RDS r@2>b", "CDS +b@1"),
            ("ack CDS", "(acked CDS) | RDS +r@2"),
            ("nack RDS", "(nacked RDS r)"),
            ("set RDS r@3>b", "RDS +r@3"),
            ("nack RDS", "(nacked RDS r)"),
            ("set RDS r@4>b", "RDS +r@4"),
            ("ack RDS", "(acked RDS) | CDS -a"),
        ],
    );
}

#[test]
fn an_answer_that_does_not_come() {
    in_sync(
        "opens the gate after a while, but no second response", // T061, T100
        &[
            ("set CDS b@1; set RDS r@2>b", "CDS +b@1"),
            ("tick 19", ""),
            ("tick 1", "(overdue CDS) | RDS +r@2"),
            ("tick 60", "(overdue RDS)"),
            ("set CDS b@2", ""),
            ("ack CDS", "(acked CDS) | CDS +b@2"),
        ],
    );
    in_sync(
        "does not keep clusters for ever",
        &[("del CDS a; set LDS l@2", "LDS +l@2"), ("tick 20", "(overdue LDS) | CDS -a")],
    );
    in_sync(
        "endpoints do not concern listeners", // T059
        &[
            ("set CDS b@1; set EDS a@2; set LDS l@2>b", "CDS +b@1 | EDS +a@2"),
            ("nack EDS; ack CDS", "(nacked EDS a) | (acked CDS) | LDS +l@2"),
        ],
    );
}

#[test]
fn reconnects() {
    delta("nothing changed", &[("set CDS a@1; set LDS l@1; CDS ~a@1; LDS ~l@1", "CDS | LDS")]); // T082, T088
    delta(
        "what is gone is taken away, after what used it", // T083
        &[
            ("set CDS a@1; set LDS l@2; CDS ~a@1 ~gone@1; LDS ~l@1 ~old@1", "CDS | LDS +l@2 -old"),
            ("ack CDS", "(acked CDS)"),
            ("ack LDS", "(acked LDS) | CDS -gone"),
        ],
    );
    delta("what has another version is sent", &[("set CDS a@1 b@2; CDS ~a@1 ~b@1", "CDS +b@2")]); // T084
    delta(
        "what another control plane sent is replaced",
        &[("set CDS a@1; CDS ~a@? ~x@?", "CDS +a@1"), ("ack CDS", "(acked CDS) | CDS -x")],
    );
    delta(
        "endpoints of changed clusters are sent, the others are not", // T085
        &[("set CDS a@2 b@1; set EDS a@1 b@1; CDS ~a@1 ~b@1; EDS +a +b ~a@1 ~b@1", "CDS +a@2 | EDS +a@1")],
    );
    delta(
        "even if the clusters were sent before endpoints were asked for",
        &[("set CDS a@2 b@1; set EDS a@1 b@1; CDS ~a@1 ~b@1", "CDS +a@2"), ("EDS +a +b ~a@1 ~b@1", "EDS +a@1")],
    );
    delta("endpoints before clusters: it is stuck", &[("set EDS a@1 b@1; EDS +a +b ~a@1 ~b@1", "EDS +a@1 +b@1")]); // T014, T086
    delta(
        "versions count only in the first request", // T087
        &[("set EDS a@1 b@1; CDS; EDS +a", "CDS | EDS +a@1"), ("ack EDS +b ~b@1", "(acked EDS) | EDS +b@1")],
    );
    delta("secrets and routes that are held", &[("set SDS s@1; set RDS r@1; SDS +s ~s@1; RDS +r ~r@1", "")]);
    delta("a route that is held and gone stays", &[("set CDS a@1; RDS +r ~r@1", "")]);
    delta(
        "what may be a resource that cannot be made again stays until everything is made",
        &[
            ("set CDS a@1; set LDS l@1 m@1; lack LDS; CDS ~a@1 ~gone@1; LDS ~l@1 ~m@1 ~x@1", "CDS | LDS"),
            ("ack CDS", "(acked CDS)"),
            ("ack LDS", "(acked LDS) | CDS -gone"),
            ("del LDS m", "LDS -m"),
            ("ack LDS", "(acked LDS)"),
            ("whole LDS", "LDS -x"),
        ],
    );
    delta("endpoints that are held and gone are denied", &[("set CDS a@1; CDS ~a@1; EDS +a ~a@1", "CDS | EDS -a")]);
    delta("a version without a subscription is no interest", &[("set EDS a@1; CDS; EDS +b ~a@2", "CDS | EDS -b")]);
    delta(
        "a wildcard and names", // T042
        &[
            ("set CDS a@1 od2@2; CDS +* +od1 +od2 ~a@1 ~od1@1 ~od2@1", "CDS +od2@2"),
            ("ack CDS", "(acked CDS) | CDS -od1"),
        ],
    );
    delta(
        "before the proxy is known",
        &[("CDS ~a@1 ~b@1; EDS +a ~a@1", ""), ("set CDS a@1 b@2; set EDS a@1", "CDS +b@2")],
    );
    delta(
        "a refused resource is not among the versions",
        &[("set LDS l@1 m@1; LDS ~l@1", "LDS +m@1"), ("nack LDS", "(nacked LDS m)")],
    ); // T092
}
