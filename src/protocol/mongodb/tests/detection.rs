//! Which connections are MongoDB.

use super::*;
use crate::event::Role;
use crate::protocol::testing::{recv, run, send};
use crate::protocol::{Sample, Verdict};

fn judge(data: &[u8], from_start: bool) -> Verdict {
    let sample = Sample { data: [data, &[]], from_start: [from_start; 2], role: Role::Unknown };
    (PROTOCOL.detect)(&sample)
}

#[test]
fn a_whole_message_is_proof_and_the_beginning_of_one_is_enough() {
    let message = ping(1);
    assert_eq!(judge(&message, true), Verdict::Match(100));
    let last = judge(&message[..message.len() - 1], true);
    assert_eq!(last, Verdict::Match(90));
    for end in 1..16 {
        assert!(matches!(judge(&message[..end], true), Verdict::Maybe(_)), "{end}");
    }
}

#[test]
fn in_the_middle_of_a_message_the_next_one_is_found() {
    let stream = [&ok(3, 1)[7..], &ok(4, 2)].concat();
    assert_eq!(judge(&stream, false), Verdict::Match(100));
    let middle = Setup { mid_stream: true, ..setup() };
    let outcome = run(&PROTOCOL, &[send([&ping(1)[7..], &ping(2)].concat()), recv(ok(9, 2))], middle);
    assert_eq!(outcome.summaries(), ["ping admin -> ok"]);
}

#[test]
fn others_are_refused_at_once() {
    let others: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5f\x11\x22\x33\x44",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"*1\r\n$4\r\nPING\r\n",
        &[0; 64],
        &[
            36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 1, 1, 1, 1, 1, 1, 1,
            0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ];
    for other in others {
        assert!(matches!(judge(other, true), Verdict::No(_)), "{other:?}: {:?}", judge(other, true));
    }
}

#[test]
fn an_operation_that_is_not_known_is_a_guess() {
    let unknown = message(0, 0, 2269, &[&[0; 5][..], &doc(&[text("insert", "t")])].concat());
    assert_eq!(judge(&unknown, true), Verdict::Match(60));
    assert!(matches!(judge(&message(0, 0, 2269, b"not a document"), true), Verdict::No(_)));
}
