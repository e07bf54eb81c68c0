//! Which connections are Mux.

use super::*;
use crate::event::Role;
use crate::protocol::{Sample, Verdict};

fn judge(data: [&[u8]; 2], from_start: bool) -> Verdict {
    (PROTOCOL.detect)(&Sample { data, from_start: [from_start; 2], role: Role::Unknown })
}

#[test]
fn a_ping_alone_is_a_guess_and_with_its_answer_proof() {
    let (ping, pong) = (message(65, 1, &[]), message(-65, 1, &[]));
    assert_eq!(judge([&ping, &[]], true), Verdict::Match(70));
    assert_eq!(judge([&ping, &pong], true), Verdict::Match(97));
    assert_eq!(judge([&message(-128, 1, b"tinit check"), &[]], true), Verdict::Match(100));
    assert_eq!(judge([&tdispatch(2, "/a"), &[]], false), Verdict::Match(95));
    assert!(matches!(judge([&ping, b"HTTP/1.1 200 OK\r\n"], true), Verdict::No(_)));
}

#[test]
fn others_are_refused_at_once() {
    let others: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        // Thrift's framed transport: a call in strict encoding.
        b"\0\0\0\x1b\x80\x01\0\x01\0\0\0\x05query\0\0\0\0\x0b\0\x01\0\0\0\x02ok\0",
        // PostgreSQL's SSLRequest, Kafka's ApiVersions, HTTP/2's SETTINGS.
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x14\0\x12\0\0\0\0\0\0\0\x06client\0\0",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64",
        b"\0\0\0\x04\x01\0\0\0\0",
        &[0; 64],
    ];
    for other in others {
        assert!(
            matches!(judge([other, &[]], true), Verdict::No(_)),
            "{other:?}: {:?}",
            judge([other, &[]], true)
        );
    }
}

#[test]
fn in_the_middle_of_a_message_the_next_one_is_found() {
    let middle = Setup { mid_stream: true, ..setup() };
    let asked = [&tdispatch(2, "/a")[9..], &tdispatch(3, "/b")].concat();
    let outcome = run(&PROTOCOL, &[send(asked), recv(rdispatch(3, 0, b""))], middle);
    assert_eq!(outcome.summaries(), ["Tdispatch /b 3 bytes -> Rdispatch OK 0 bytes"]);
}
