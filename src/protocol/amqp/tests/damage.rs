//! Gaps, connections that were open before, bounds, and what does not follow the protocol.

use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::testing::{recv, run, run_counted, send};

fn gap(direction: Direction, length: u64) -> Step {
    Step::Gap(direction, length, Cause::RingFull)
}

#[test]
fn a_gap_inside_a_body_leaves_its_end_known() {
    let steps = [
        send([publish(1), header(1, 10, b"\x00\x00")].concat()),
        send(&body(1, b"0123456789")[..9]),
        gap(Direction::Send, 4),
        send(&body(1, b"0123456789")[13..]),
        send([publish(1), header(1, 0, b"\x00\x00")].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected = [
        "basic.publish exchange=x routing_key=k 10 bytes [truncated]",
        "basic.publish exchange=x routing_key=k 0 bytes",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(outcome.records[0].causes(), [Cause::RingFull]);
    assert_eq!(field(&outcome.records[0], "body"), Some(&bytes("01")));
}

#[test]
fn behind_a_gap_the_next_frame_is_found_and_what_it_cuts_is_said() {
    let message = [
        publish(1),
        header(1, 4, b"\x00\x00"),
        body(1, b"\x01\xcea\xce"),
        publish(1),
        header(1, 0, b"\x00\x00"),
    ]
    .concat();
    // Lost: the header and the beginning of the body.
    let from = publish(1).len();
    let to = from + header(1, 4, b"\x00\x00").len() + 8;
    let steps = [
        send(method(1, 20, 10, b"\x00")),
        send(&message[..from]),
        gap(Direction::Send, (to - from) as u64),
        send(&message[to..]),
        recv(method(1, 20, 11, b"\x00\x00\x00\x00")),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected = [
        "channel.open [no-response]",
        "basic.publish exchange=x routing_key=k 0 bytes [truncated]",
        "basic.publish exchange=x routing_key=k 0 bytes",
        "channel.open-ok [no-request]",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(outcome.records[0].causes(), [Cause::RingFull, Cause::NoResponse]);
    let skipped: Vec<_> = outcome.skipped.iter().map(|one| (one.1.len(), one.2)).collect();
    assert_eq!(skipped, [(4, Cause::ResyncSkipped)]);
}

#[test]
fn of_a_connection_that_was_open_what_is_not_known_is_said() {
    let deliver = method(1, 60, 60, b"\x02t1\x00\x00\x00\x00\x00\x00\x00\x05\x01\x00\x01k");
    let setup = Setup { mid_stream: true, ..setup() };
    // Attached inside a body; the next frame is the rest of it.
    let steps = [
        recv(
            [
                &b"a body's end\xce"[..],
                &body(1, b"rest"),
                &deliver,
                &header(1, 2, b"\x00\x00"),
                &body(1, b"hi"),
            ]
            .concat(),
        ),
        send(method(1, 60, 80, b"\x00\x00\x00\x00\x00\x00\x00\x05\x00")),
        recv(method(1, 50, 21, b"")),
    ];
    let outcome = run(&PROTOCOL, &steps, setup);
    let expected = [
        "message (method: unknown) 4 bytes [truncated]",
        "basic.deliver consumer_tag=t1 delivery_tag=5 routing_key=k 2 bytes",
        "basic.ack delivery_tag=5",
        "queue.bind-ok [no-request]",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(field(&outcome.records[0], "header"), Some(&Value::Text("unknown".into())));
    assert_eq!(outcome.records[0].causes(), [Cause::BeforeAttach]);
    // Attached before a header.
    let steps = [recv([header(1, 2, b"\x00\x00"), body(1, b"hi")].concat())];
    let outcome = run(&PROTOCOL, &steps, setup);
    assert_eq!(outcome.summaries(), ["message (method: unknown) 2 bytes [truncated]"]);
    assert_eq!(field(&outcome.records[0], "body"), Some(&bytes("hi")));
}

#[test]
fn a_frame_without_its_end_is_refused() {
    let mut wrong = publish(1);
    *wrong.last_mut().unwrap() = 0xcd;
    let outcome = run(
        &PROTOCOL,
        &[send(HEADER), send(&wrong), send(publish(1)), send(header(1, 0, b"\x00\x00"))],
        setup(),
    );
    assert_eq!(
        outcome.summaries(),
        ["basic.publish exchange=x routing_key=k 0 bytes", "protocol header 0-0-9-1"]
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
    assert_eq!((outcome.skipped[0].1.len(), outcome.skipped[0].2), (wrong.len() as u64, Cause::ParseError));
    // Likewise of a body of which only the beginning is kept.
    let options = Options { max_field: 4, ..Options::default() };
    let mut wrong = body(1, &[b'x'; 100]);
    *wrong.last_mut().unwrap() = 0xcd;
    let steps = [send(publish(1)), send(header(1, 100, b"\x00\x00")), send(&wrong)];
    let outcome = run(&PROTOCOL, &steps, Setup { options, ..setup() });
    assert_eq!((outcome.skipped[0].1.len(), outcome.skipped[0].2), (wrong.len() as u64, Cause::ParseError));
}

#[test]
fn arguments_that_are_not_well_formed_are_refused() {
    // A table that says to be longer than its method.
    let wrong = method(1, 40, 10, b"\x00\x00\x01x\x06fanout\x00\x00\x00\x00\x09");
    let outcome = run(&PROTOCOL, &[send(HEADER), send(&wrong)], setup());
    assert_eq!((outcome.skipped[0].1.len(), outcome.skipped[0].2), (wrong.len() as u64, Cause::ParseError));
    assert!(outcome.skipped[0].3.contains("exchange.declare"), "{:?}", outcome.skipped);
}

#[test]
fn a_frame_larger_than_agreed_is_no_frame() {
    let tune_ok = method(0, 10, 31, b"\x07\xff\x00\x00\x10\x00\x00\x3c");
    let steps =
        [send(&tune_ok), send([publish(1), header(1, 5000, b"\x00\x00"), body(1, &[b'x'; 5000])].concat())];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!((outcome.skipped[0].1.len(), outcome.skipped[0].2), (7, Cause::ParseError));
}

#[test]
fn a_body_of_any_size_streams_through_and_is_shown_in_part() {
    let mut steps = vec![send(publish(1)), send(header(1, 64 << 20, b"\x00\x00"))];
    steps.extend((0..512).map(|_| send(body(1, &[b'x'; 128 << 10]))));
    let moved: u64 =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() as u64 } else { 0 }).sum();
    let (outcome, offered) = run_counted(&PROTOCOL, &steps, setup());
    assert_eq!(offered, moved, "no byte is offered twice: none is held back");
    assert_eq!(outcome.summaries(), ["basic.publish exchange=x routing_key=k 67108864 bytes"]);
    assert_eq!(outcome.records[0].causes(), [Cause::FieldTruncated]);
    let Some(Value::Bytes(body)) = field(&outcome.records[0], "body") else { panic!("a body") };
    assert_eq!(body.len(), 4096);
}

#[test]
fn what_is_kept_is_bounded() {
    let calls: Vec<u8> = (0..5000).flat_map(|_| method(1, 50, 30, b"\x00\x00\x01q\x00")).collect();
    let outcome = run(&PROTOCOL, &[send(calls)], setup());
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!((outcome.records.len(), limited), (5000, 5000 - crate::protocol::exchange::PENDING_MAX));
    let messages: Vec<u8> = (1..=2000).flat_map(publish).collect();
    let outcome = run(&PROTOCOL, &[send(messages)], setup());
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!((outcome.records.len(), limited), (2000, 2000 - super::super::CONTENTS_MAX));
    // Tables in tables in tables.
    let mut table = Vec::new();
    for _ in 0..200 {
        table = [&b"\x01aF"[..], &(table.len() as u32).to_be_bytes(), &table].concat();
    }
    let arguments =
        [&b"\x00\x00\x01x\x06fanout\x00"[..], &(table.len() as u32).to_be_bytes(), &table].concat();
    let outcome = run(&PROTOCOL, &[send(method(1, 40, 10, &arguments))], setup());
    assert_eq!(outcome.records[0].causes(), [Cause::NoResponse, Cause::FieldTruncated]);
    // A table of many members.
    let table = b"\x01aV".repeat(10_000);
    let arguments =
        [&b"\x00\x00\x01x\x06fanout\x00"[..], &(table.len() as u32).to_be_bytes(), &table].concat();
    let outcome = run(&PROTOCOL, &[send(method(1, 40, 10, &arguments))], setup());
    assert_eq!(outcome.records[0].causes(), [Cause::NoResponse, Cause::FieldTruncated]);
}
