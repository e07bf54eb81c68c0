//! Which bytes are taken for Kafka.

use super::*;
use crate::event::Role;
use crate::protocol::{Sample, Verdict};

fn verdict(send: &[u8], recv: &[u8], from_start: bool) -> Verdict {
    (PROTOCOL.detect)(&Sample { data: [send, recv], from_start: [from_start; 2], role: Role::Unknown })
}

#[test]
fn a_request_that_follows_its_schema_is_as_good_as_proof() {
    for from_start in [false, true] {
        assert_eq!(verdict(&heartbeat(1), b"", from_start), Verdict::Match(95));
        assert_eq!(verdict(&alive(1), &heartbeat(1), from_start), Verdict::Match(98), "answered");
    }
    let produce = produce(1, 1, &batch(1, 0));
    for length in 14..produce.len() {
        assert!(matches!(verdict(&produce[..length], b"", true), Verdict::Maybe(_)), "{length}");
    }
    let long = super::produce(1, 1, &[batch(1, 0), vec![0; 100_000]].concat());
    assert_eq!(verdict(&long[..50_000], b"", true), Verdict::Match(90), "need not be whole");
    assert_eq!(
        verdict(&[b"before", &heartbeat(1)[..], &heartbeat(2)].concat(), b"", false),
        Verdict::Match(90)
    );
}

#[test]
fn others_are_not_taken_for_it() {
    let others: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        // PostgreSQL's startup message, whose version is that of Metadata v0, and its request for TLS.
        b"\x00\x00\x00\x22\x00\x03\x00\x00user\x00me\x00database\x00mine\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\x03",
    ];
    for other in others {
        assert!(matches!(verdict(other, b"", true), Verdict::No(_)), "{other:?}");
    }
    // A response alone could be anybody's.
    assert!(matches!(verdict(b"", &alive(1), false), Verdict::No(_)));
}
