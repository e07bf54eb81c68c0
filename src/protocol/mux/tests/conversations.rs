//! Messages of each kind, and what belongs together.

use super::*;
use crate::event::{Cause, Direction};

const TRACE: &str = "com.twitter.finagle.tracing.TraceContext";
const DEADLINE: &str = "com.twitter.finagle.Deadline";

#[test]
fn a_session_from_its_beginning() {
    let init = |version: u16, headers: &[(&[u8], &[u8])]| {
        let pairs = headers.iter().map(|(key, value)| [long(key), long(value)].concat());
        [&version.to_be_bytes()[..], &pairs.collect::<Vec<_>>().concat()].concat()
    };
    let lease = [&[0][..], &5000u64.to_be_bytes()].concat();
    let steps = [
        send(message(-128, 1, b"tinit check")),
        recv(message(-128, 1, b"tinit check")),
        send(message(68, 1, &init(1, &[(b"mux-framer", &[0, 0, 0x10, 0])]))),
        recv(message(-68, 1, &init(1, &[]))),
        send(message(65, 1, &[])),
        recv(message(-65, 1, &[])),
        recv(message(67, 0, &lease)),
        send(tdispatch(2, "/svc/a")),
        send(tdispatch(3, "/svc/b")),
        recv(rdispatch(3, 0, b"answer")),
        recv(rdispatch(2, 1, b"sad panda")),
        send(tdispatch(2, "")),
        recv(rdispatch(2, 2, b"")),
        // The server asks, too.
        recv(message(65, 1, &[])),
        send(message(-65, 1, &[])),
        recv(message(64, 7, &[])),
        send(message(-64, 7, &[])),
    ];
    let outcome = check(
        &steps,
        &[
            "Rerr tinit check -> Rerr tinit check",
            "Tinit version 1 -> Rinit version 1",
            "Tping -> Rping",
            "Tlease 5000 ms",
            "Tdispatch /svc/b 3 bytes -> Rdispatch OK 6 bytes",
            "Tdispatch /svc/a 3 bytes -> Rdispatch ERROR sad panda",
            "Tdispatch 3 bytes -> Rdispatch NACK",
            "Tping -> Rping",
            "Tdrain -> Rdrain",
        ],
    );
    let headers = Value::Map(vec![(bytes("mux-framer"), Value::Bytes(vec![0, 0, 0x10, 0]))]);
    assert_eq!(field(&outcome.records[1], "headers"), Some(&headers));
    assert_eq!(field(&outcome.records[4], "dst"), Some(&bytes("/svc/b")));
    assert_eq!(field(&outcome.records[4], "tag"), Some(&Value::Number(3)));
    assert_eq!(field(&outcome.records[4], "body"), Some(&bytes("ask")));
    assert_eq!(field(&outcome.records[5], "why"), Some(&bytes("sad panda")));
    let asked = outcome.records[8].request.as_ref().expect("a request");
    assert_eq!(asked.direction, Direction::Recv);
}

#[test]
fn contexts_and_delegations_are_shown_as_what_they_are() {
    let ids: Vec<u8> = (1u64..=3).flat_map(u64::to_be_bytes).chain([0; 8]).collect();
    let deadline = [7i64, i64::MAX].map(i64::to_be_bytes).concat();
    let contexts: [(&str, &[u8]); 4] =
        [(TRACE, &ids), (DEADLINE, &deadline), ("my.Auth-Token", b"s3cret"), ("other", b"x")];
    // The call `query(a: "ok")` of Thrift's binary protocol, as strict encoding has it.
    let call =
        [&[0x80, 1, 0, 1][..], &long(b"query"), &[0, 0, 0, 0], &[0x0b, 0, 1], &long(b"ok"), &[0]].concat();
    let ask = message(2, 2, &dispatch(&contexts, "/s", &[("/foo", "/bar")], &call));
    let answer =
        [&[0, 0, 1][..], &short("k"), &short("v"), &[0x80, 1, 0, 2], &long(b"query"), &[0; 5]].concat();
    let outcome = check(
        &[send(ask.clone()), recv(message(-2, 2, &answer))],
        &["Tdispatch /s thrift query 27 bytes -> Rdispatch OK thrift query 18 bytes"],
    );
    let hex = |id: u64| Value::Text(format!("{id:016x}").into());
    let trace = Value::Map(vec![
        (word("spanid"), hex(1)),
        (word("parentid"), hex(2)),
        (word("traceid"), hex(3)),
        (word("flags"), hex(0)),
    ]);
    let deadline = Value::Map(vec![
        (word("timestamp_ns"), Value::Number(7)),
        (word("deadline_ns"), Value::Number(i64::MAX)),
    ]);
    let contexts = Value::Map(vec![
        (bytes(TRACE), trace),
        (bytes(DEADLINE), deadline),
        (bytes("my.Auth-Token"), word("***")),
        (bytes("other"), bytes("x")),
    ]);
    assert_eq!(field(&outcome.records[0], "contexts"), Some(&contexts));
    let dtab = Value::Map(vec![(bytes("/foo"), bytes("/bar"))]);
    assert_eq!(field(&outcome.records[0], "dtab"), Some(&dtab));
    assert_eq!(field(&outcome.records[0], "thrift_method"), Some(&bytes("query")));
    let options = Options { show_secrets: true, ..setup().options };
    let shown = run(&PROTOCOL, &[send(ask)], Setup { options, ..setup() });
    assert!(format!("{:?}", shown.records).contains(&format!("{:?}", b"s3cret").replace(['[', ']'], "")));
}

#[test]
fn treq_of_the_time_before_tdispatch() {
    let ids: Vec<u8> = (1u64..=3).flat_map(u64::to_be_bytes).collect();
    let keys = [&[2, 1, 24][..], &ids, &[2, 1, 1]].concat();
    let steps = [
        send(message(1, 2, &[&keys[..], b"ask"].concat())),
        recv(message(-1, 2, b"\0answer")),
        send(message(1, 3, b"\0ask")),
        recv(message(-1, 3, b"\x01no")),
        send(message(1, 4, b"\0ask")),
        recv(message(-1, 4, b"\x02busy")),
    ];
    let outcome = check(
        &steps,
        &[
            "Treq 3 bytes -> Rreq OK 6 bytes",
            "Treq 3 bytes -> Rreq ERROR no",
            "Treq 3 bytes -> Rreq NACK busy",
        ],
    );
    let Some(Value::Map(ids)) = field(&outcome.records[0], "traceid") else { panic!("no ids") };
    assert_eq!(ids[2], (word("traceid"), word("0000000000000003")));
    assert_eq!(field(&outcome.records[0], "traceflag"), Some(&word("01")));
}

#[test]
fn what_is_discarded_is_told_and_still_answered() {
    let why = [&[0, 0, 2][..], b"timed out"].concat();
    let steps = [
        send(tdispatch(2, "/a")),
        send(message(66, 0, &why)),
        recv(message(-66, 2, &[])),
        // The numbers that Finagle used at first.
        send(tdispatch(2, "/a")),
        send(message(-62, 0, &why)),
        recv(message(127, 2, b"failed")),
    ];
    let outcome = check(
        &steps,
        &[
            "Tdiscarded tag 2 timed out",
            "Tdispatch /a 3 bytes -> Rdiscarded",
            "Tdiscarded tag 2 timed out",
            "Tdispatch /a 3 bytes -> Rerr failed",
        ],
    );
    assert_eq!(field(&outcome.records[0], "which"), Some(&Value::Number(2)));
}

#[test]
fn fragments_are_put_together_whatever_lies_between() {
    const MORE: u32 = 1 << 23;
    let body = dispatch(&[("k", b"v")], "/long/name", &[], b"0123456789");
    let (one, rest) = body.split_at(3);
    let (two, three) = rest.split_at(8);
    let steps = [
        send(message(2, 5 | MORE, one)),
        send(message(65, 1, &[])),
        send(message(2, 5 | MORE, two)),
        send(tdispatch(6, "/other")),
        send(message(2, 5, three)),
        recv(message(-2, 5 | MORE, &[0, 0])),
        recv([message(-65, 1, &[]), rdispatch(6, 0, b"")].concat()),
        recv(message(-2, 5, &[0, b'y'])),
    ];
    let outcome = check(
        &steps,
        &[
            "Tping -> Rping",
            "Tdispatch /other 3 bytes -> Rdispatch OK 0 bytes",
            "Tdispatch /long/name 10 bytes -> Rdispatch OK 1 bytes",
        ],
    );
    let request = outcome.records[2].request.as_ref().expect("a request");
    assert_eq!(request.parts.len(), 3);
    // An Rerr ends what was begun, and so does the end of the stream.
    let steps = [
        send(tdispatch(5, "/a")),
        recv(message(-2, 5 | MORE, &[0, 0, 0, b'x'])),
        recv(message(-128, 5, b"failed")),
        send(message(2, 7 | MORE, one)),
    ];
    let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        [
            "Tdispatch /a 3 bytes -> Rdispatch OK 1 bytes [truncated]",
            "Rerr failed [no-request]",
            "Tdispatch 0 bytes [truncated]",
        ]
    );
}

#[test]
fn fragments_that_are_never_ended_are_bounded() {
    let many: Vec<u8> = (1..=300).flat_map(|tag| message(2, tag | 1 << 23, &[0, 0])).collect();
    let outcome = run(&PROTOCOL, &[send(many)], setup());
    assert_eq!(outcome.records.len(), 300);
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!(limited, 300 - super::super::PARTIALS_MAX);
}

#[test]
fn halves_of_what_was_lost() {
    let steps = [
        recv(rdispatch(9, 0, b"early")),
        send(tdispatch(2, "/a")),
        send(tdispatch(2, "/b")),
        recv(rdispatch(2, 0, b"")),
        send(tdispatch(3, "/c")),
        Step::Gap(Direction::Recv, 11, Cause::RingFull),
        send(message(65, 1, &[])),
        recv(message(-65, 1, &[])),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        [
            "Rdispatch OK 5 bytes [no-request]",
            "Tdispatch /a 3 bytes [no-response]",
            "Tdispatch /b 3 bytes -> Rdispatch OK 0 bytes",
            "Tping -> Rping",
            "Tdispatch /c 3 bytes [no-response]",
        ]
    );
    assert_eq!(outcome.records[4].causes(), [Cause::RingFull, Cause::NoResponse]);
}

#[test]
fn a_body_of_any_size_passes_in_part() {
    let ask = message(2, 2, &dispatch(&[], "/big", &[], &vec![b'x'; 3 << 20]));
    let outcome = run(&PROTOCOL, &[send(ask), recv(rdispatch(2, 0, b""))], setup());
    assert_eq!(outcome.summaries(), ["Tdispatch /big 3145728 bytes -> Rdispatch OK 0 bytes"]);
    assert_eq!(outcome.records[0].causes(), [Cause::FieldTruncated]);
    let Some(Value::Bytes(body)) = field(&outcome.records[0], "body") else { panic!("no body") };
    assert_eq!(body.len(), 4096);
}

#[test]
fn tls_that_was_agreed_on_is_another_protocol() {
    let init = [&[0, 1][..], &long(b"tls"), &long(b"required")].concat();
    let steps = [
        send(message(68, 1, &init)),
        recv(message(-68, 1, &init)),
        send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ];
    let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.switched.as_deref(), Some("TLS"));
}
