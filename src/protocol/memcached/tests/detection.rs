//! memcached is recognised, and nothing else is taken for it.

use super::super::PROTOCOL;
use crate::event::Role;
use crate::protocol::{ALL, Sample, Verdict};

fn sample<'a>(sent: &'a [u8], answered: &'a [u8], role: Role, from_start: bool) -> Sample<'a> {
    Sample { data: [sent, answered], from_start: [from_start; 2], role }
}

fn verdict(sent: &str, answered: &str) -> Verdict {
    (PROTOCOL.detect)(&sample(sent.as_bytes(), answered.as_bytes(), Role::Unknown, true))
}

/// Conversations, the beginning of a connection each.
const OWN: [(&str, &str); 17] = [
    ("get k\r\n", "VALUE k 0 5\r\nhello\r\nEND\r\n"),
    ("get k\r\n", "END\r\n"),
    ("gets k l\r\n", "END\r\n"),
    ("set k 0 0 5\r\nhello\r\n", "STORED\r\n"),
    ("set k 0 0 5 noreply\r\nhello\r\nget k\r\n", "VALUE k 0 5\r\nhello\r\nEND\r\n"),
    ("incr k 1\r\n", "5\r\n"),
    ("delete k\r\n", "NOT_FOUND\r\n"),
    ("touch k 10\r\n", "TOUCHED\r\n"),
    ("stats\r\n", "STAT pid 1\r\n"),
    ("version\r\n", "VERSION 1.6.18\r\n"),
    ("flush_all\r\n", "OK\r\n"),
    ("mg k v\r\n", "VA 5\r\nhello\r\n"),
    ("mg k v q\r\nmg l v q\r\nmn\r\n", "MN\r\n"),
    ("ms k 5 T0\r\nhello\r\n", "HD\r\n"),
    ("mn\r\n", "MN\r\n"),
    ("quit\r\n", ""),
    ("verbosity 1\r\n", "OK\r\n"),
];

#[test]
fn its_conversations_are_recognised_from_the_start() {
    for (sent, answered) in OWN.iter().filter(|(_, answered)| !answered.is_empty()) {
        for role in [Role::Client, Role::Unknown] {
            let verdict = (PROTOCOL.detect)(&sample(sent.as_bytes(), answered.as_bytes(), role, true));
            assert!(matches!(verdict, Verdict::Match(75..)), "{sent:?} {answered:?}: {verdict:?}");
        }
        // Seen from the server.
        let verdict = (PROTOCOL.detect)(&sample(answered.as_bytes(), sent.as_bytes(), Role::Unknown, true));
        assert!(matches!(verdict, Verdict::Match(75..)), "{sent:?} {answered:?}: {verdict:?}");
        for length in 1..sent.len() {
            let verdict = (PROTOCOL.detect)(&sample(&sent.as_bytes()[..length], b"", Role::Unknown, true));
            assert!(!matches!(verdict, Verdict::No(_)), "{:?}: {verdict:?}", &sent[..length]);
        }
    }
    assert_eq!(verdict("", "ERROR Too many open connections\r\n"), Verdict::Match(90));
}

#[test]
fn of_all_protocols_none_is_surer_of_them() {
    for (sent, answered) in OWN.iter().filter(|(_, answered)| !answered.is_empty()) {
        let sample = sample(sent.as_bytes(), answered.as_bytes(), Role::Unknown, true);
        for other in ALL.iter().filter(|other| other.name != PROTOCOL.name) {
            let verdict = (other.detect)(&sample);
            // A few bytes can be the beginning of a binary message.
            let is_open = matches!(verdict, Verdict::Maybe(_)) && answered.len() < 16;
            assert!(
                is_open || matches!(verdict, Verdict::No(_)),
                "{}: {sent:?} {answered:?}: {verdict:?}",
                other.name
            );
        }
    }
}

#[test]
fn it_is_recognised_in_the_middle() {
    let inside = |sent: &str, answered: &str| {
        (PROTOCOL.detect)(&sample(sent.as_bytes(), answered.as_bytes(), Role::Unknown, false))
    };
    for (sent, answered) in [
        ("of a block\r\nset k 0 0 2\r\nhi\r\n", ""),
        ("", "rest\r\nVALUE k 0 2\r\nhi\r\nEND\r\n"),
        ("get k\r\n", "VALUE k 0 2\r\nhi\r\nEND\r\n"),
    ] {
        let verdict = inside(sent, answered);
        assert!(matches!(verdict, Verdict::Match(90..)), "{sent:?} {answered:?}: {verdict:?}");
    }
    for (sent, answered) in
        [("get k\r\n", ""), ("", "END\r\n"), ("", "5\r\n"), ("", "OK\r\n"), ("quit\r\n", "")]
    {
        let verdict = inside(sent, answered);
        assert!(matches!(verdict, Verdict::No(_)), "{sent:?} {answered:?}: {verdict:?}");
    }
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for (sent, answered) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ("get / HTTP/1.1\r\n", ""),
        // Redis, with inline commands.
        ("get k\r\n", "$-1\r\n"),
        ("set k v\r\n", "+OK\r\n"),
        ("incr k\r\n", ":1\r\n"),
        ("quit\r\n", "+OK\r\n"),
        ("touch k 1\r\n", ":1\r\n"),
        ("*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
        // NATS, SMTP, POP3, FTP, beanstalkd.
        ("", "INFO {\"server_id\":\"x\"}\r\n"),
        ("PING\r\n", "PONG\r\n"),
        ("quit\r\n", "220 smtp\r\n221 bye\r\n"),
        ("STAT\r\n", "+OK POP3\r\n+OK 2 320\r\n"),
        ("stats\r\n", "OK 900\r\n---\n"),
        ("QUIT\r\n", "220 ftp\r\n"),
        ("\u{16}\u{3}\u{1}\u{0}\u{5}", ""),
    ] {
        for role in [Role::Client, Role::Unknown] {
            let verdict = (PROTOCOL.detect)(&sample(sent.as_bytes(), answered.as_bytes(), role, true));
            assert!(matches!(verdict, Verdict::No(_)), "{sent:?} {answered:?}: {verdict:?}");
        }
    }
    // Words that Redis has, too, decide nothing without their answer.
    for sent in ["get k\r\n", "touch k 1\r\n", "quit\r\n"] {
        assert!(matches!(verdict(sent, ""), Verdict::Maybe(_)), "{sent:?}");
    }
}

#[test]
fn the_binary_protocol_is_recognised_by_its_headers() {
    let get = b"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x07\0\0\0\0\0\0\0\0Hello";
    let miss = b"\x81\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x09\x00\x00\x00\x07\0\0\0\0\0\0\0\0Not found";
    for from_start in [true, false] {
        let detect = |sent, answered| (PROTOCOL.detect)(&sample(sent, answered, Role::Unknown, from_start));
        assert_eq!(detect(get, miss), Verdict::Match(100));
        assert_eq!(detect(miss, get), Verdict::Match(100));
        assert_eq!(detect(get, b""), Verdict::Match(90));
        assert!(matches!(detect(&get[..5], b""), Verdict::Maybe(_)));
        assert!(matches!(detect(&[0x80; 40], b""), Verdict::No(_)));
        // A hello of SSL 2.
        assert!(matches!(detect(b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80\x06\x00\x40\x04", b""), Verdict::No(_)));
    }
}
