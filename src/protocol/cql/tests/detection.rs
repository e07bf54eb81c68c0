//! Which connections are CQL.

use super::*;
use crate::event::Role;
use crate::protocol::testing::run;
use crate::protocol::{Sample, Verdict};

fn judge(data: &[u8], from_start: bool) -> Verdict {
    let sample = Sample { data: [data, &[]], from_start: [from_start; 2], role: Role::Unknown };
    (PROTOCOL.detect)(&sample)
}

#[test]
fn connections_begin_with_options_or_startup() {
    assert_eq!(judge(&startup(4, None), true), Verdict::Match(100));
    assert_eq!(judge(&envelope(5, 0, 0, 5, &[]), true), Verdict::Match(90));
    assert!(matches!(judge(&query(1, "SELECT 1"), true), Verdict::No(_)));
    assert_eq!(judge(&query(1, "SELECT 1"), false), Verdict::Match(97));
}

#[test]
fn others_are_refused_at_once() {
    let others: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        // SOCKS 4 and 5.
        b"\x04\x01\x00\x50\x0a\x00\x00\x01me\0",
        b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50",
        // MySQL: COM_QUERY and COM_QUIT.
        b"\x05\x00\x00\x00\x03USE x",
        b"\x04\x00\x00\x01\x02\x00\x00\x00",
        &[0; 64],
    ];
    for other in others {
        assert!(matches!(judge(other, true), Verdict::No(_)), "{other:?}: {:?}", judge(other, true));
    }
}

#[test]
fn in_the_middle_of_a_message_the_next_one_is_found() {
    let middle = Setup { mid_stream: true, ..setup() };
    let asked = [&query(1, "SELECT 1")[12..], &query(2, "SELECT 2")].concat();
    let outcome = run(&PROTOCOL, &[send(asked), recv(void(2))], middle);
    assert_eq!(outcome.summaries(), ["SELECT 2 -> void"]);
}
