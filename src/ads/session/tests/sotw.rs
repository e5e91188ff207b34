//! Tables for the State-of-the-World form. The numbers are test cases of the protocol reference.

use super::script::check;
use crate::ads::message::Variant;

fn sotw(case: &str, steps: &[(&str, &str)]) {
    check(Variant::StateOfTheWorld, case, steps);
}

#[test]
fn first_answers() {
    sotw("an empty world is an answer", &[("set SDS s@1; LDS", "LDS"), ("CDS", "CDS")]); // T016
    sotw(
        "one answer per type, in the order that breaks nothing", // T005, T072
        &[
            ("set SDS s@1; set CDS a@1; set EDS a@1; set LDS l@1; set RDS r@1", ""),
            ("RDS =r; LDS; EDS =a; CDS; SDS =s", "SDS =s@1 | CDS =a@1 | EDS =a@1 | LDS =l@1 | RDS =r@1"),
        ],
    );
    sotw("no names, no interest", &[("set EDS a@1; EDS", "")]);
    sotw(
        "nothing before the proxy is known",
        &[("CDS; EDS =a", ""), ("set CDS a@1; set EDS a@1", "CDS =a@1 | EDS =a@1")],
    );
}

#[test]
fn subscriptions() {
    sotw(
        "everything, both, one, nothing", // T023
        &[
            ("set CDS a@1 b@1; CDS", "CDS =a@1 =b@1"),
            ("ack CDS =* =a", "(acked CDS) | CDS =a@1 =b@1"),
            ("ack CDS =a", "(acked CDS)"),
            ("set CDS a@2 b@2", "CDS =a@2"),
            ("ack CDS =", "(acked CDS)"),
            ("set CDS a@3 b@3", ""),
        ],
    );
    sotw("a missing name delays nobody", &[("set EDS a@1; EDS =a =missing", "EDS =a@1")]); // T037
    sotw(
        "a missing route has a stub",
        &[("set EDS a@1; RDS =r", "RDS =r@stub"), ("ack RDS; set RDS r@1", "(acked RDS) | RDS =r@1")],
    );
    sotw(
        "no names any more", // T038
        &[("set EDS a@1; EDS =a", "EDS =a@1"), ("ack EDS", "(acked EDS)"), ("EDS =", ""), ("set EDS a@2", "")],
    );
    sotw(
        "names come and go", // T039, T040
        &[
            ("set RDS a@1 b@1; RDS =a", "RDS =a@1"),
            ("ack RDS =b", "(acked RDS) | RDS =b@1"),
            ("ack RDS =a =b", "(acked RDS) | RDS =a@1"),
            ("ack RDS =a", "(acked RDS)"),
        ],
    );
    sotw(
        "listeners by name are a whole set too", // T041
        &[
            ("set LDS a@1 b@1 c@1; LDS =a =b", "LDS =a@1 =b@1"),
            ("ack LDS; set LDS a@2 c@2", "(acked LDS) | LDS =a@2 =b@1"),
        ],
    );
    sotw("a listener by name that does not exist", &[("set CDS a@1; LDS =a", "LDS")]);
    sotw(
        "what is in flight for an older list is not repeated",
        &[("set EDS a@1 b@1; EDS =a", "EDS =a@1"), ("set EDS a@2; ack EDS =b", "(acked EDS) | EDS =b@1")],
    );
}

#[test]
fn nonces() {
    sotw(
        "what a stale list dropped is sent again if the next one names it",
        &[
            ("set EDS a@1 b@1; EDS =a =b", "EDS =a@1 =b@1"),
            ("ack EDS; set EDS b@2", "(acked EDS) | EDS =b@2"),
            ("nonce EDS 1 =b; nonce EDS 1 =a =b", ""),
            ("ack EDS", "(acked EDS) | EDS =a@1"),
        ],
    );
    sotw(
        "a stale nonce is ignored", // T046, T047
        &[
            ("set CDS a@1; CDS", "CDS =a@1"),
            ("set CDS a@2; nonce CDS xyz", ""),
            ("nonce CDS 0", ""),
            ("ack CDS", "(acked CDS) | CDS =a@2"),
        ],
    );
    sotw(
        "a repeated request is answered again", // T048
        &[
            ("set CDS a@1; set EDS a@1; CDS; EDS =a", "CDS =a@1 | EDS =a@1"),
            ("ack CDS; ack EDS", "(acked CDS) | (acked EDS)"),
            ("EDS =a", "EDS =a@1"),
            ("ack EDS", "(acked EDS)"),
            ("CDS", "CDS =a@1"),
        ],
    );
    sotw(
        "names are answered although their version is known",
        &[("set EDS a@1 b@1; nonce EDS 77 =a =b", "EDS =a@1 =b@1")],
    ); // T091
}

#[test]
fn refusals() {
    sotw(
        "a refused set is not sent again until it changes", // T057, T060
        &[
            ("set LDS a@1 b@1; LDS", "LDS =a@1 =b@1"),
            ("nack LDS", "(nacked LDS a b)"),
            ("LDS", ""),
            ("set LDS b@2", "LDS =a@1 =b@2"),
            ("ack LDS", "(acked LDS)"),
        ],
    );
    sotw(
        "a set that may be refused for a secret is tried once more when a secret changes",
        &[
            ("set SDS s@1; set LDS a@1; LDS; SDS =s", "SDS =s@1 | LDS =a@1"),
            ("ack SDS; nack LDS", "(acked SDS) | (nacked LDS a) | LDS"),
            ("ack LDS", ""),
            ("set SDS s@2", "SDS =s@2 | LDS =a@1"),
            ("nack LDS", "(nacked LDS a) | LDS"),
        ],
    );
    sotw(
        "the others of a set go on, with what the refused one was before",
        &[
            ("set CDS a@1 b@1; CDS", "CDS =a@1 =b@1"),
            ("ack CDS; set CDS a@2 b@2 c@2", "(acked CDS) | CDS =a@2 =b@2 =c@2"),
            ("nack CDS !a !c", "(nacked CDS a b c) | CDS =a@1 =b@2"),
            ("ack CDS", ""),
            ("set CDS b@3", "CDS =a@1 =b@3"),
            ("ack CDS; set CDS c@3", "CDS =a@1 =b@3 =c@3"),
            ("ack CDS; set CDS a@3", "CDS =a@3 =b@3 =c@3"),
            ("ack CDS", "(acked CDS)"),
        ],
    );
    sotw(
        "of a set that cannot be read one is found after the other",
        &[
            ("set LDS a@1 b@1 c@1 d@1; LDS", "LDS =a@1 =b@1 =c@1 =d@1"),
            ("nack LDS ?c", "(nacked LDS a b c d) | LDS =a@1 =b@1 =d@1"),
            ("nack LDS ?a", "(nacked LDS a b d) | LDS =b@1 =d@1"),
            ("ack LDS; del LDS c", "LDS =b@1 =d@1"),
        ],
    );
    sotw(
        "names in reasons are no culprits",
        &[("set LDS a@1 b@1 no@1; LDS", "LDS =a@1 =b@1 =no@1"), ("nack LDS !xa !b:no", "(nacked LDS a b no)")],
    );
    sotw(
        "of an earlier stream's set, what is refused stays under its name",
        &[
            ("set CDS a@1 b@1; CDS ~", "CDS =a@1 =b@1"),
            ("nack CDS !a", "(nacked CDS a b)"),
            ("set CDS b@2", "CDS =a@1 =b@2"),
            ("nack CDS !a", "(nacked CDS b)"),
            ("set CDS a@2", "CDS =a@2 =b@2"),
            ("ack CDS", "(acked CDS)"),
            ("set CDS a@3", "CDS =a@3 =b@2"),
            ("nack CDS !a", "(nacked CDS a) | CDS =a@2 =b@2"),
        ],
    );
    sotw(
        "a cluster that was refused and is gone stays, as it was, until its users are",
        &[
            ("set CDS a@1; set LDS l@1>a; CDS; LDS", "CDS =a@1"),
            ("ack CDS", "(acked CDS) | LDS =l@1"),
            ("ack LDS; set CDS a@2", "(acked LDS) | CDS =a@2"),
            ("nack CDS !a", "(nacked CDS a) | CDS =a@1"),
            ("ack CDS; del CDS a; set CDS b@1; set LDS l@2>b", "CDS =a@1 =b@1"),
            ("ack CDS", "LDS =l@2"),
            ("ack LDS", "(acked LDS) | CDS =b@1"),
            ("ack CDS", "(acked CDS)"),
        ],
    );
    sotw(
        "named resources are tried alone, once",
        &[
            ("set EDS bad@1 good@1; EDS =bad =good", "EDS =bad@1 =good@1"),
            ("nack EDS", "(nacked EDS bad good) | EDS =bad@1"),
            ("nack EDS", "(nacked EDS bad) | EDS =good@1"),
            ("ack EDS", ""),
            ("EDS =bad =good", "EDS =good@1"),
        ],
    );
}

#[test]
fn order() {
    sotw(
        "endpoints follow their cluster",
        &[
            ("set CDS a@1 b@1; set EDS a@1 b@1; CDS; EDS =a =b", "CDS =a@1 =b@1 | EDS =a@1 =b@1"),
            ("ack CDS; ack EDS; set CDS a@2", "(acked CDS) | (acked EDS) | CDS =a@2 =b@1 | EDS =a@1"),
        ],
    );
    sotw(
        "a cluster that is gone stays until its users are", // T073
        &[
            ("set CDS a@1; set RDS r@1>a; CDS; RDS =r", "CDS =a@1"),
            ("ack CDS", "(acked CDS) | RDS =r@1"),
            ("ack RDS; del CDS a; set CDS b@1; set RDS r@2>b", "(acked RDS) | CDS =a@1 =b@1"),
            ("ack CDS", "(acked CDS) | RDS =r@2"),
            ("ack RDS", "(acked RDS) | CDS =b@1"),
        ],
    );
    sotw(
        "a listener that waits holds the whole set back",
        &[
            ("set CDS a@1; set LDS l@1>a; CDS; LDS", "CDS =a@1"),
            ("ack CDS", "(acked CDS) | LDS =l@1"),
            ("ack LDS; set CDS b@1; set LDS l@2>b m@1>a", "(acked LDS) | CDS =a@1 =b@1"),
            ("ack CDS", "(acked CDS) | LDS =l@2 =m@1"),
        ],
    );
    sotw(
        "listeners that are gone are left out",
        &[("set LDS a@1 b@1; LDS", "LDS =a@1 =b@1"), ("ack LDS; del LDS a", "(acked LDS) | LDS =b@1")],
    );
}
