//! Which bytes are taken for AMQP.

use super::*;
use crate::event::Role;
use crate::protocol::{Sample, Verdict};

fn verdict(send: &[u8], recv: &[u8], from_start: bool) -> Verdict {
    (PROTOCOL.detect)(&Sample { data: [send, recv], from_start: [from_start; 2], role: Role::Unknown })
}

#[test]
fn the_protocol_header_is_proof() {
    assert_eq!(verdict(HEADER, b"", true), Verdict::Match(100));
    assert_eq!(verdict(HEADER, b"", false), Verdict::Match(100));
    for length in 1..HEADER.len() {
        assert!(matches!(verdict(&HEADER[..length], b"", true), Verdict::Maybe(_)), "{length}");
    }
    for other in [&b"AMQP\x00\x01\x00\x00"[..], b"AMQP\x03\x01\x00\x00"] {
        assert!(matches!(verdict(other, b"", true), Verdict::No(_)), "AMQP 1.0");
    }
}

#[test]
fn whole_methods_are_as_good_as_proof() {
    let publish = publish(1);
    let Verdict::Match(90..) = verdict(b"", &publish, false) else { panic!("a method") };
    let Verdict::Match(90..) = verdict(b"", &[b"body\xce", &publish[..]].concat(), false) else {
        panic!("a method behind the end of another frame")
    };
    assert!(matches!(verdict(&publish[..12], b"", false), Verdict::Maybe(_)), "the beginning of a method");
    let mut wrong = publish.clone();
    *wrong.last_mut().unwrap() = 0;
    assert!(matches!(verdict(&wrong, b"", false), Verdict::No(_)), "no end");
    for other in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00",
        b"\x01\x00\x00\x01\x0e",
        b"ABCDEFGH",
        b"*1\r\n",
    ] {
        assert!(matches!(verdict(other, b"", true), Verdict::No(_)), "{other:?}");
    }
}
