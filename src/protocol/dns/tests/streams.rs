//! DNS over TCP.

use super::*;
use crate::event::Role;
use crate::protocol::testing::{recv, run, run_damaged, run_in_cuts, send};
use crate::protocol::{Sample, Verdict};
use crate::record::Status;

fn check(steps: &[Step], expected: &[&str]) {
    let outcome = run_in_cuts(&PROTOCOL, steps, shown());
    assert_eq!(outcome.summaries(), expected);
    run_damaged(&PROTOCOL, steps, shown());
}

fn together(messages: &[Writer]) -> Vec<u8> {
    messages.iter().flat_map(|message| message.clone().in_stream()).collect()
}

#[test]
fn several_messages_of_one_segment_are_paired_in_any_order() {
    check(
        &[
            send(together(&[query(1, 1), query(2, 28), query(3, 15)])),
            recv(together(&[response(3, 15), address(1, 7)])),
            recv(response(2, 28).in_stream()),
        ],
        &[
            "NOERROR MX example.org -> no answer",
            "NOERROR A example.org -> 192.0.2.7",
            "NOERROR AAAA example.org -> no answer",
        ],
    );
}

#[test]
fn halves_alone_are_records_too() {
    let other = Writer::new(1, RESPONSE).question(b"\x05other\x00", 1, 1);
    check(
        &[send(query(1, 1).in_stream()), recv(other.in_stream())],
        &["NOERROR A other -> no answer [no-request]", "A example.org [no-response]"],
    );
}

#[test]
fn a_query_that_comes_again_in_a_stream_is_another_one() {
    check(
        &[send(together(&[query(1, 1), query(1, 1)])), recv(together(&[address(1, 7), address(1, 8)]))],
        &["NOERROR A example.org -> 192.0.2.7", "NOERROR A example.org -> 192.0.2.8"],
    );
}

#[test]
fn case_does_not_count_and_a_refusal_may_lack_the_question() {
    let loud = Writer::new(1, RESPONSE).question(b"\x07EXAMPLE\x03org\x00", 1, 1);
    check(
        &[
            send(together(&[query(1, 1), query(2, 1)])),
            recv(loud.in_stream()),
            recv(Writer::new(2, 0x8105).in_stream()),
        ],
        &["NOERROR A example.org -> no answer", "REFUSED A example.org"],
    );
}

fn transfer_message(records: &[(u16, Vec<u8>)], with_question: bool) -> Writer {
    let mut message = Writer::new(9, 0x8400);
    if with_question {
        message = message.question(NAME, 252, 1);
    }
    for (rtype, data) in records {
        message = message.record(Section::Answer, NAME, *rtype, data);
    }
    message
}

#[test]
fn a_zone_comes_in_many_messages_and_is_one_record() {
    let a = |last: u8| (1, vec![192, 0, 2, last]);
    let answer = [
        transfer_message(&[(6, soa(5)), a(1)], true),
        transfer_message(&[a(2), a(3)], false),
        transfer_message(&[a(4), (6, soa(5))], false),
    ];
    let steps = [
        send(together(&[query(9, 252), query(10, 1)])),
        recv(together(&answer)),
        recv(address(10, 7).in_stream()),
    ];
    check(
        &steps,
        &["NOERROR AXFR example.org -> 6 records in 3 messages", "NOERROR A example.org -> 192.0.2.7"],
    );
    let outcome = run(&PROTOCOL, &steps, shown());
    let Some(Value::List(answers)) = field(&outcome.records[0], "answer") else { panic!("no answers") };
    assert_eq!(answers.len(), 6);
    assert_eq!(field(&outcome.records[0], "messages"), Some(&Value::Number(3)));
}

#[test]
fn a_zone_that_ends_too_early_is_incomplete() {
    let first = transfer_message(&[(6, soa(5))], true).record(Section::Answer, NAME, 1, &[192, 0, 2, 1]);
    let steps = [send(query(9, 252).in_stream()), recv(first.in_stream())];
    check(&steps, &["NOERROR AXFR example.org -> 2 records in 1 message [truncated]"]);
    let outcome = run(&PROTOCOL, &steps, shown());
    assert_eq!(outcome.records[0].causes(), [Cause::Incomplete]);
    check(
        &[send(query(9, 252).in_stream()), recv(Writer::new(9, 0x8005).question(NAME, 252, 1).in_stream())],
        &["REFUSED AXFR example.org"],
    );
}

/// RFC 1995, section 7: changes from 1 to 2, and from 2 to 3.
#[test]
fn changes_of_a_zone_end_with_the_newest_soa_where_a_change_would_begin() {
    let a = |last: u8| (1, vec![192, 0, 2, last]);
    let s = |serial| (6, soa(serial));
    let one = [s(3), s(1), a(1), s(2), a(2)];
    let two = [s(2), a(2), s(3), a(3), s(3)];
    let asked = query(9, 251).record(Section::Authority, NAME, 6, &soa(1));
    check(
        &[
            send(asked.clone().in_stream()),
            recv(together(&[transfer_message(&one, false), transfer_message(&two, false)])),
        ],
        &["NOERROR IXFR example.org -> 10 records in 2 messages"],
    );
    // Nothing new: the SOA alone.
    check(
        &[send(asked.in_stream()), recv(transfer_message(&[s(1)], false).in_stream())],
        &["NOERROR IXFR example.org -> 1 record in 1 message"],
    );
}

#[test]
fn after_a_gap_and_in_the_middle_the_next_whole_message_goes_on() {
    let answers = together(&[address(1, 1), address(2, 2)]);
    let steps = [recv(&answers[5..])];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..shown() });
    assert_eq!(outcome.summaries(), ["NOERROR A example.org -> 192.0.2.2 [no-request]"]);
    let gap = Step::Gap(Direction::Recv, 1000, Cause::RingFull);
    let steps =
        [send(together(&[query(1, 1), query(2, 1)])), recv(&answers[..10]), gap, recv(&answers[20..])];
    let outcome = run(&PROTOCOL, &steps, shown());
    assert_eq!(outcome.summaries().last().unwrap(), "A example.org [no-response]");
    assert!(
        outcome.summaries().contains(&"NOERROR A example.org -> 192.0.2.2".to_owned()),
        "{:?}",
        outcome.summaries()
    );
}

#[test]
fn what_is_no_message_is_skipped_and_the_next_one_found() {
    let garbage = [&b"\x00\x20garbage and more of it, long enough"[..], &query(5, 1).in_stream()].concat();
    let outcome = run(&PROTOCOL, &[send(garbage)], shown());
    assert_eq!(outcome.summaries(), ["A example.org [no-response]"]);
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
    assert_eq!(outcome.records[0].status, Status::NoResponse);
}

fn judge(data: [&[u8]; 2]) -> Verdict {
    detect::detect(&Sample { data, from_start: [true; 2], role: Default::default() })
}

#[test]
fn a_stream_is_known_by_its_first_message() {
    let asked = query(1, 1).in_stream();
    assert_eq!(judge([&asked, b""]), Verdict::Match(95));
    for cut in 1..asked.len() {
        let expected_maybe = cut < asked.len() - 4;
        let verdict = judge([&asked[..cut], b""]);
        let fits = match verdict {
            Verdict::Maybe(_) => true,
            Verdict::Match(80) => !expected_maybe,
            _ => false,
        };
        assert!(fits, "{cut}: {verdict:?}");
    }
    assert_eq!(
        judge([&query(1, 252).in_stream(), &transfer_message(&[(6, soa(5))], true).in_stream()]),
        Verdict::Match(95)
    );
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x00\x1c\x12\x34\x01\x40\x00\x01",
        b"\x00\x1c\x12\x34\x01\x00\x00\x09\x00\x00\x00\x00\x00\x00",
    ] {
        assert!(matches!(judge([other, b""]), Verdict::No(_)), "{other:?}");
        assert!(matches!(judge([&asked, other]), Verdict::No(_)), "{other:?}");
    }
}

#[test]
fn a_byte_amid_a_connection_is_no_message() {
    let judge = |data: &[u8]| {
        let sample = Sample { data: [b"", data], from_start: [false; 2], role: Role::Unknown };
        (PROTOCOL.detect)(&sample)
    };
    assert!(matches!(judge(b":"), Verdict::Maybe(_)));
    assert!(matches!(judge(b":l33t.server.org"), Verdict::No(_)));
    assert!(matches!(judge(&query(1, 1).in_stream()), Verdict::Match(95)));
}
