//! The text protocol in datagrams (doc/protocol.txt, "UDP protocol").

use super::super::{PROTOCOL, udp};
use super::setup;
use crate::event::{Address, Cause, Direction, Range, Timestamp};
use crate::protocol::testing::{Outcome, field};
use crate::protocol::{Datagram, End, Verdict};
use crate::record::Value;
use std::net::SocketAddr;

const SEND: Direction = Direction::Send;
const RECV: Direction = Direction::Recv;

/// A datagram: which way, request id, place, how many, and the text.
type Moved<'a> = (Direction, u16, u16, u16, &'a [u8]);

fn bytes_of(&(_, id, seq, total, text): &Moved<'_>) -> Vec<u8> {
    [&id.to_be_bytes()[..], &seq.to_be_bytes(), &total.to_be_bytes(), &[0, 0], text].concat()
}

fn run(all: &[Moved<'_>]) -> Outcome {
    let mut parser = (PROTOCOL.parser)(setup().options);
    let (mut out, mut at) = (Outcome::default(), [0u64; 2]);
    let peer: SocketAddr = "127.0.0.1:11211".parse().unwrap();
    for (index, moved) in all.iter().enumerate() {
        let data = bytes_of(moved);
        let direction = moved.0;
        let range = Range::new(at[direction.index()], at[direction.index()] + data.len() as u64);
        at[direction.index()] = range.to;
        let (time, peer) = (Timestamp(index as u64), Some(Address::from(peer)));
        let datagram = Datagram { direction, range, time, data: &data, cause: None, local: None, peer };
        let known = parser.continues(&datagram) || matches!(udp::detect(&datagram), Verdict::Match(_));
        assert!(known, "{moved:?}");
        parser.datagram(datagram, &mut out);
    }
    parser.close(End::Closed, Timestamp(0), &mut out);
    out
}

#[test]
fn an_answer_is_found_by_its_request_id() {
    let outcome = run(&[
        (SEND, 7, 0, 1, b"set a 0 0 5\r\nhello\r\n"),
        (SEND, 8, 0, 1, b"get a\r\n"),
        (RECV, 8, 0, 1, b"VALUE a 0 5\r\nhello\r\nEND\r\n"),
        (RECV, 7, 0, 1, b"STORED\r\n"),
        (SEND, 9, 0, 1, b"set b 0 0 1 noreply\r\nx\r\n"),
        (SEND, 10, 0, 1, b"get none\r\n"),
    ]);
    let expected = [
        "get a -> hit, 5 bytes",
        "set a 5 bytes -> STORED",
        "set b 1 bytes noreply",
        "get none [no-response]",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(field(&outcome.records[0], "request_id"), Some(&Value::Number(8)));
    assert_eq!(outcome.records[0].latency(), Some(1));
    assert_eq!(outcome.skipped, []);
}

#[test]
fn an_answer_of_several_datagrams_is_put_together_in_whatever_order_they_come() {
    let text = b"VALUE a 0 20\r\n0123456789abcdefghij\r\nVALUE b 1 2\r\nxy\r\nEND\r\n";
    let (first, second, third) = (&text[..20], &text[20..21], &text[21..]);
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let parts = [(RECV, 1, 0, 3, first), (RECV, 1, 1, 3, second), (RECV, 1, 2, 3, third)];
        let mut all: Vec<Moved<'_>> = vec![(SEND, 1, 0, 1, b"get a b c\r\n")];
        all.extend(order.map(|at| parts[at]));
        let outcome = run(&all);
        assert_eq!(outcome.summaries(), ["get a b c -> 2 hits, 1 miss, 22 bytes"], "{order:?}");
        let answer = outcome.records[0].response.as_ref().unwrap();
        assert_eq!(answer.range, Range::new(0, text.len() as u64 + 24), "headers are part of it");
        assert_eq!(answer.field("datagrams"), Some(&Value::Number(3)));
    }
}

#[test]
fn an_answer_that_lacks_a_datagram_says_so() {
    let outcome = run(&[
        (SEND, 1, 0, 1, b"get a\r\n"),
        (RECV, 1, 0, 3, b"VALUE a 0 9\r\n012"),
        (RECV, 1, 2, 3, b"678\r\nEND\r\n"),
        (SEND, 2, 0, 1, b"mn\r\n"),
        (RECV, 2, 0, 1, b"MN\r\n"),
    ]);
    assert_eq!(outcome.summaries(), ["mn -> MN", "get a -> 1 value, 9 bytes [truncated]"]);
    let answer = outcome.records[1].response.as_ref().unwrap();
    assert!(answer.causes.contains(&Cause::Incomplete));
    let bytes: u64 = answer.ranges().map(|range| range.len()).sum();
    assert_eq!(bytes, 24 + 18, "every datagram belongs to it");
}

#[test]
fn commands_of_one_datagram_are_answered_together() {
    let outcome = run(&[
        (SEND, 3, 0, 1, b"get a\r\nmg b v q\r\nincr n 1\r\n"),
        (RECV, 3, 0, 1, b"END\r\n5\r\n"),
        // Sent again with the id of before.
        (SEND, 3, 0, 1, b"version\r\n"),
        (RECV, 3, 0, 1, b"VERSION 1.6.18\r\n"),
    ]);
    let expected = ["get a -> miss", "mg b v q -> suppressed", "incr n 1 -> 5", "version -> VERSION 1.6.18"];
    assert_eq!(outcome.summaries(), expected);
}

#[test]
fn what_is_no_datagram_of_memcached_is_not_taken_for_one() {
    let judge = |data: &[u8]| {
        let range = Range::new(0, data.len() as u64);
        let (time, cause) = (Timestamp(0), None);
        udp::detect(&Datagram { direction: SEND, range, time, data, cause, local: None, peer: None })
    };
    let wrong: [&[u8]; 7] = [
        b"",
        b"\0\x01\0\0\0\x01\0",
        b"\0\x01\0\0\0\x01\0\0",
        b"\0\x01\0\0\0\x01\0\x01get a\r\n",
        b"\0\x01\0\x01\0\x01\0\0get a\r\n",
        b"\0\x01\0\0\0\x01\0\0GET / HTTP/1.1\r\n",
        // A query of DNS begins with an id, flags and counts.
        b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x03get\x01a\0\0\x01\0\x01",
    ];
    for data in wrong {
        assert!(matches!(judge(data), Verdict::No(_)), "{data:?}");
    }
    assert!(matches!(judge(b"\0\x01\0\0\0\x01\0\0stats\r\n"), Verdict::Match(_)));
}

#[test]
fn open_requests_are_bounded_and_given_up_after_a_minute() {
    let all: Vec<Moved<'_>> = (0..1030).map(|id| (SEND, id, 0, 1, &b"get a\r\n"[..])).collect();
    let outcome = run(&all);
    assert_eq!(outcome.records.len(), 1030);
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!(limited, 6);
}
