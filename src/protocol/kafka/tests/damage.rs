//! Gaps, connections that were open before, bounds, and what does not follow the protocol.

use super::*;
use crate::event::{Cause, Direction, Role};
use crate::protocol::testing::{recv, run, run_counted, send};

fn gap(direction: Direction, length: usize) -> Step {
    Step::Gap(direction, length as u64, Cause::RingFull)
}

#[test]
fn a_gap_inside_records_leaves_the_end_of_the_request_known() {
    let all = produce(1, 1, &batch(3, 0));
    let steps = [
        send(&all[..60]),
        gap(Direction::Send, 40),
        send(&all[100..]),
        send(heartbeat(2)),
        recv(produced(1, 0)),
        recv(alive(2)),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        ["Produce v3 t 0 records or more -> ok [truncated]", "Heartbeat v0 group=g -> ok"]
    );
    assert_eq!(outcome.records[0].causes(), [Cause::RingFull]);
}

#[test]
fn behind_a_gap_numbers_still_tell_what_belongs_together() {
    let (lost, kept) = (heartbeat(2), heartbeat(3));
    let steps = [
        send(heartbeat(1)),
        // The whole of 2 and the beginning of 3 are lost.
        gap(Direction::Send, lost.len() + 5),
        send(&kept[5..]),
        send(heartbeat(4)),
        recv(alive(1)),
        recv(alive(2)),
        gap(Direction::Recv, alive(3).len() + 3),
        recv(&alive(4)[3..]),
        send(heartbeat(5)),
        recv(alive(5)),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected = [
        "Heartbeat v0 group=g -> ok",
        "response (api: unknown) 6 bytes [no-request]",
        "Heartbeat v0 group=g [no-response]",
        "Heartbeat v0 group=g -> ok",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(outcome.records[2].causes(), [Cause::RingFull, Cause::NoResponse]);
    assert!(outcome.skipped.iter().all(|one| one.2 == Cause::ResyncSkipped), "{:?}", outcome.skipped);
    let skipped = Direction::BOTH
        .map(|way| outcome.skipped.iter().filter(|one| one.0 == way).map(|one| one.1.len()).sum::<u64>());
    assert_eq!(skipped, [kept.len() - 5, alive(4).len() - 3].map(|length| length as u64));
}

#[test]
fn behind_a_lost_first_request_the_end_that_opened_the_connection_is_the_client() {
    let lost = produce(1, 1, &batch(1, 0));
    let options = Options { role: Role::Client, ..setup().options };
    let steps = [
        gap(Direction::Send, lost.len()),
        // Could be a request as well.
        recv(produced(1, 0)),
        send(heartbeat(2)),
        recv(alive(2)),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup { options, ..setup() });
    let size = produced(1, 0).len() - 4;
    let unknown = format!("response (api: unknown) {size} bytes [no-request]");
    assert_eq!(outcome.summaries(), [unknown.as_str(), "Heartbeat v0 group=g -> ok"]);
}

#[test]
fn of_a_connection_that_was_open_a_response_that_begins_like_a_request_is_none() {
    // Its number is what Heartbeat, version 0, begins with, and so on to the last field, behind which there is more.
    let like = b"\x00\x00\x00\x07\x00\x02me\x00\x01g\x00\x00\x00\x05\x00\x01m and more";
    let first = response(12 << 16, b"", like);
    let steps = [recv(&first), send(heartbeat(3)), recv(alive(3))];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..setup() });
    let unknown = format!("response (api: unknown) {} bytes [no-request]", first.len() - 4);
    assert_eq!(outcome.summaries(), [unknown.as_str(), "Heartbeat v0 group=g -> ok"]);
}

#[test]
fn of_a_connection_that_was_open_what_is_not_known_is_said() {
    let setup = Setup { mid_stream: true, ..setup() };
    let steps = [
        recv(alive(7)),
        send([&b"the end of a request"[..], &produce(8, 1, &batch(2, 0)), &heartbeat(9)].concat()),
        recv([produced(8, 0), alive(9)].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, setup);
    let expected = [
        "response (api: unknown) 6 bytes [no-request]",
        "Produce v3 t 2 records -> ok",
        "Heartbeat v0 group=g -> ok",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(outcome.skipped[0].1.len(), 20);
}

#[test]
fn records_of_any_size_stream_through_and_what_is_at_hand_of_them_is_counted() {
    // One batch, longer than what is kept of a message.
    let size: u32 = 64 << 20;
    let mut head = batch(3, 0);
    head.truncate(61);
    head[8..12].copy_from_slice(&(size - 12).to_be_bytes());
    let whole = produce(1, 1, &head);
    let mut start = whole.clone();
    let more = size as usize - head.len();
    start[..4].copy_from_slice(&((whole.len() - 4 + more) as u32).to_be_bytes());
    let place = whole.len() - head.len() - 4;
    start[place..place + 4].copy_from_slice(&size.to_be_bytes());
    let mut steps = vec![send(&start)];
    let mut left = more;
    while left > 0 {
        let part = left.min(64 << 10);
        steps.push(send(vec![b'x'; part]));
        left -= part;
    }
    steps.push(recv(produced(1, 0)));
    let moved: u64 =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() as u64 } else { 0 }).sum();
    let (outcome, offered) = run_counted(&PROTOCOL, &steps, setup());
    assert_eq!(offered, moved, "no byte is offered twice: none is held back");
    assert_eq!(outcome.summaries(), ["Produce v3 t 3 records or more -> ok"]);
    assert_eq!(outcome.records[0].causes(), [Cause::FieldTruncated]);
}

#[test]
fn what_is_kept_is_bounded() {
    let requests: Vec<u8> = (0..5000).flat_map(heartbeat).collect();
    let outcome = run(&PROTOCOL, &[send(requests)], setup());
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!((outcome.records.len(), limited), (5000, 5000 - crate::protocol::exchange::PENDING_MAX));
    let topics: Vec<u8> = b"\x00\x01t".repeat(20_000);
    let body = [&20_000u32.to_be_bytes()[..], &topics].concat();
    let outcome = run(&PROTOCOL, &[send(request(3, 1, 1, b"", &body))], setup());
    assert_eq!(outcome.summaries(), ["Metadata v1 t of 20000 [no-response]"]);
    assert_eq!(outcome.records[0].causes(), [Cause::NoResponse, Cause::FieldTruncated]);
}

#[test]
fn a_message_that_does_not_follow_its_schema_says_where() {
    // More topics than there is room for.
    let steps = [
        send(heartbeat(1)),
        send(request(3, 1, 2, b"", b"\x7f\xff\xff\xff")),
        send(heartbeat(3)),
        recv(alive(3)),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected =
        ["Heartbeat v0 group=g [no-response]", "Metadata v1 [truncated]", "Heartbeat v0 group=g -> ok"];
    assert_eq!(outcome.summaries(), expected);
    assert!(field(&outcome.records[1], "malformed").is_some());
    assert!(outcome.records[1].causes().contains(&Cause::ParseError));
}

#[test]
fn bytes_behind_the_last_field_are_told_and_no_fault() {
    let outcome = run(&PROTOCOL, &[send(request(3, 1, 2, b"", b"\x00\x00\x00\x00more"))], setup());
    assert_eq!(outcome.summaries(), ["Metadata v1 [no-response]"]);
    assert_eq!(field(&outcome.records[0], "trailing_bytes"), Some(&Value::Number(4)));
    assert_eq!(outcome.records[0].causes(), [Cause::Unsupported, Cause::NoResponse]);
    // The empty array that old versions of librdkafka send is known.
    let outcome = run(&PROTOCOL, &[send(request(18, 0, 2, b"", &[0; 4]))], setup());
    assert_eq!(field(&outcome.records[0], "trailing_bytes"), None);
}

#[test]
fn what_is_no_message_is_passed_over() {
    let steps = [
        send(heartbeat(1)),
        send(b"\xff\xff\xff\xff garbage"),
        send(heartbeat(2)),
        recv(alive(1)),
        recv(alive(2)),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries(), ["Heartbeat v0 group=g -> ok", "Heartbeat v0 group=g -> ok"]);
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
}
