//! Losses, violations and bounds.

use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::exchange::PENDING_MAX;
use crate::protocol::http2::BLOCK_MAX;
use crate::protocol::http2::frame::{CONTINUATION, DATA, HEADERS, PADDED, PING, WINDOW_UPDATE};
use crate::protocol::testing::{run, run_counted, word};
use crate::record::Status;

fn gap(direction: Direction, length: u64) -> Step {
    Step::Gap(direction, length, Cause::RingFull)
}

fn outcome(steps: &[Step]) -> Outcome {
    let options = Options { max_field: 1000, ..Options::default() };
    run(&PROTOCOL, &[opening(), steps.to_vec()].concat(), Setup { options, ..Setup::default() })
}

fn summaries(steps: &[Step]) -> Vec<String> {
    let mut lines = outcome(steps).summaries();
    lines.retain(|line| !line.starts_with("SETTINGS"));
    lines
}

#[test]
fn a_hole_in_a_body_leaves_the_frames_behind_it_known() {
    let whole = data(0, 1, "0123456789");
    let steps = [
        send([headers(END_STREAM, 1, get("/1")), headers(END_STREAM, 3, get("/3"))].concat()),
        recv([headers(0, 1, [0x88]), whole[..12].to_vec()].concat()),
        gap(Direction::Recv, 4),
        recv([&whole[16..], &data(END_STREAM, 1, "z"), &headers(END_STREAM, 3, [0x89])].concat()),
    ];
    assert_eq!(summaries(&steps), ["200 GET /1 11 B [truncated]", "204 GET /3 0 B"]);
    let outcome = outcome(&steps);
    let hole = outcome.records.iter().find(|record| record.summary.contains("/1")).expect("a record");
    assert_eq!((value(&hole.response, "body"), hole.causes()), (&bytes("012"), vec![Cause::RingFull]));
}

#[test]
fn behind_a_hole_the_next_frames_are_found_and_old_entries_are_unknown() {
    let first = [get("/1"), indexed("x-id", "one")].concat();
    let lost = headers(END_STREAM, 3, [get("/3"), indexed("x-id", "two")].concat());
    let steps = [
        send(headers(END_STREAM, 1, first)),
        recv(headers(END_STREAM, 1, [0x88])),
        gap(Direction::Send, lost.len() as u64),
        recv(headers(END_STREAM, 3, [0x88])),
        send(
            [headers(END_STREAM, 5, [get("/5"), vec![0xbe]].concat()), cut(PING, 0, 0, b"12345678")].concat(),
        ),
        recv(headers(END_STREAM, 5, [0x88])),
    ];
    let outcome = outcome(&steps);
    let mut lines = outcome.summaries();
    lines.retain(|line| !line.starts_with("SETTINGS") && !line.starts_with("PING"));
    assert_eq!(lines, ["200 GET /1 0 B", "200 (request not seen) 0 B [no-request]", "200 GET /5 0 B"]);
    let five = outcome.records.iter().find(|record| record.summary.contains("/5")).expect("a record");
    assert_eq!(value(&five.request, "unknown_fields"), &Value::Number(1));
}

#[test]
fn a_lost_response_leaves_its_request_with_the_cause() {
    let answer = headers(END_STREAM, 1, [0x88]);
    let steps = [
        send([headers(END_STREAM, 1, get("/1")), headers(END_STREAM, 3, get("/3"))].concat()),
        gap(Direction::Recv, answer.len() as u64),
        recv([headers(END_STREAM, 3, [0x88]), cut(PING, 0, 0, b"12345678")].concat()),
    ];
    let outcome = outcome(&steps);
    let one = outcome.records.iter().find(|record| record.summary.contains("/1")).expect("a record");
    assert_eq!(one.causes(), [Cause::RingFull, Cause::NoResponse]);
    assert!(outcome.summaries().contains(&"200 GET /3 0 B".to_owned()), "{:?}", outcome.summaries());
}

#[test]
fn a_body_of_which_the_lost_table_may_say_the_coding_says_so() {
    let steps = [
        gap(Direction::Recv, 9),
        send([headers(END_STREAM, 1, get("/1")), headers(END_STREAM, 3, get("/3"))].concat()),
        // Nothing that is indexed; then an index of what is lost.
        recv([headers(0, 1, [0x88]), data(END_STREAM, 1, "abc")].concat()),
        recv([headers(0, 3, [0x88, 0xbe]), data(END_STREAM, 3, "abc")].concat()),
    ];
    let outcome = outcome(&steps);
    let of =
        |path: &str| outcome.records.iter().find(|record| record.summary.contains(path)).expect("a record");
    assert_eq!(of("/1").response.as_ref().expect("a response").field("body_coding"), None);
    assert_eq!(value(&of("/3").response, "body_coding"), &Value::Text("unknown".into()));
    assert_eq!(value(&of("/3").response, "body"), &bytes("abc"));
    assert_eq!(of("/3").summary, "200 GET /3 3 B");
}

#[test]
fn a_message_whose_header_section_is_lost_is_not_complete() {
    let first = headers(0, 1, [0x88]);
    let steps = [
        send(headers(END_STREAM, 1, get("/1"))),
        gap(Direction::Recv, first.len() as u64),
        recv([data(END_STREAM, 1, "abc"), cut(PING, 0, 0, b"12345678")].concat()),
    ];
    let outcome = outcome(&steps);
    let record = outcome.records.iter().find(|record| record.summary.contains("/1")).expect("a record");
    assert_eq!(record.summary, "(unknown) GET /1 3 B");
    assert_eq!(record.status, Status::Truncated);
    assert_eq!(record.causes(), [Cause::RingFull]);
}

#[test]
fn the_end_of_a_header_section_whose_beginning_is_lost_is_of_its_stream() {
    let first = cut(HEADERS, END_STREAM, 1, get("/1"));
    let steps = [
        send(&first[..12]),
        gap(Direction::Send, first.len() as u64 - 12),
        send([cut(CONTINUATION, END_HEADERS, 1, [0x82]), cut(PING, 0, 0, b"12345678")].concat()),
        recv(headers(END_STREAM, 1, [0x88])),
    ];
    let lines = summaries(&steps);
    assert!(lines.contains(&"200 GET (unknown) 0 B [truncated]".to_owned()), "{lines:?}");
    let lost = [
        gap(Direction::Send, first.len() as u64),
        send([cut(CONTINUATION, END_HEADERS, 1, [0x82]), cut(PING, 0, 0, b"12345678")].concat()),
        recv(headers(END_STREAM, 1, [0x88])),
    ];
    let lines = summaries(&lost);
    assert!(lines.contains(&"200 (headers not seen) 0 B [truncated]".to_owned()), "{lines:?}");
}

#[test]
fn an_acknowledgement_behind_lost_ones_is_of_what_waits_alone() {
    let settings = |value: u8| cut(frame::SETTINGS, 0, 0, [0, 3, 0, 0, 0, value]);
    let ack = cut(frame::SETTINGS, frame::ACK, 0, b"");
    let ping = |flags| cut(PING, flags, 0, b"12345678");
    let one = [gap(Direction::Recv, 9), recv(&ack)];
    assert_eq!(
        outcome(&one).summaries(),
        ["SETTINGS MAX_CONCURRENT_STREAMS=100 -> ACK", "SETTINGS [no-response]"]
    );
    let two = [send(settings(1)), gap(Direction::Recv, 9), recv(&ack)];
    assert_eq!(
        outcome(&two).summaries(),
        [
            "SETTINGS MAX_CONCURRENT_STREAMS=100 [no-response]",
            "SETTINGS MAX_CONCURRENT_STREAMS=1 [no-response]",
            "SETTINGS ACK [no-request]",
            "SETTINGS [no-response]",
        ]
    );
    let pings = [send(ping(0)), gap(Direction::Recv, 17), send(ping(0)), recv(ping(frame::ACK))];
    let count = |steps: &[Step], line: &str| summaries(steps).iter().filter(|one| *one == line).count();
    assert_eq!(count(&pings, "PING (keep-alive) [no-response]"), 2);
    assert_eq!(count(&pings, "PING ACK (keep-alive) [no-request]"), 1);
    let single = [gap(Direction::Recv, 17), send(ping(0)), recv(ping(frame::ACK))];
    assert_eq!(count(&single, "PING (keep-alive) -> ACK"), 1);
}

#[test]
fn what_breaks_the_rules_is_refused_and_the_rest_read() {
    let faulty = [
        (cut(PING, 0, 0, b"1234567"), Cause::ParseError),
        (cut(WINDOW_UPDATE, 0, 0, b"\0\0\x01"), Cause::ParseError),
        (cut(DATA, 0, 0, b"x"), Cause::ParseError),
        (cut(DATA, PADDED, 1, b"\x08ab"), Cause::ParseError),
        (cut(HEADERS, PADDED | END_HEADERS, 1, b"\x08ab"), Cause::ParseError),
        (cut(CONTINUATION, END_HEADERS, 1, b"\x88"), Cause::ParseError),
    ];
    for (bad, cause) in faulty {
        let next = [headers(END_STREAM, 9, get("/next")), cut(PING, 0, 0, b"12345678")].concat();
        let found = outcome(&[send([bad.clone(), next].concat()), recv(headers(END_STREAM, 9, [0x88]))]);
        let skipped: Vec<Cause> = found.skipped.iter().map(|skipped| skipped.2).collect();
        assert!(skipped.contains(&cause), "{bad:?}: {skipped:?}");
        assert!(
            found.summaries().contains(&"200 GET /next 0 B".to_owned()),
            "{bad:?}: {:?}",
            found.summaries()
        );
    }
}

#[test]
fn a_block_that_can_not_be_decoded_gives_what_comes_before_the_fault() {
    // Behind the path: an index that nobody entered.
    let steps = [
        send(headers(END_STREAM, 1, [get("/a"), vec![0xbe]].concat())),
        recv(headers(END_STREAM, 1, [0x88])),
    ];
    let found = outcome(&steps);
    let record = found.records.iter().find(|record| record.summary.contains("/a")).expect("a record");
    assert_eq!((record.summary.as_str(), record.causes()), ("200 GET /a 0 B", vec![Cause::ParseError]));
}

#[test]
fn a_body_of_any_size_passes_in_constant_memory() {
    // Frames of nearly 16 MiB: nothing of their payload may wait for their end.
    let (frame, piece) = ((16 << 20) - 1, 64 << 10);
    let mut steps = opening();
    steps.push(send(headers(END_STREAM, 1, get("/big"))));
    steps.push(recv(headers(0, 1, [0x88])));
    let mut body = cut(DATA, 0, 1, vec![b'x'; frame]);
    body.extend(data(END_STREAM, 1, ""));
    steps.extend(body.chunks(piece).map(recv));
    let (outcome, offered) = run_counted(&PROTOCOL, &steps, Setup::default());
    assert!(outcome.summaries().contains(&"200 GET /big 16.8 MB".to_owned()), "{:?}", outcome.summaries());
    assert!(offered < body.len() as u64 + 1000, "{offered} bytes were offered for {}", body.len());
}

#[test]
fn a_header_block_has_a_bound() {
    let mut steps = vec![send(cut(HEADERS, END_STREAM, 1, get("/endless")))];
    let filler = field("a", &"x".repeat(120)).repeat(100);
    for _ in 0..=BLOCK_MAX / filler.len() {
        steps.push(send(cut(CONTINUATION, 0, 1, &filler)));
    }
    steps.push(send(cut(CONTINUATION, END_HEADERS, 1, b"")));
    steps.push(recv(headers(END_STREAM, 1, [0x88])));
    let found = outcome(&steps);
    let record = found.records.iter().find(|record| record.summary.contains("/endless")).expect("a record");
    assert!(record.causes().contains(&Cause::Unsupported), "{:?}", record.causes());
    let Value::Map(kept) = value(&record.request, "headers") else { panic!("no map") };
    assert!(kept.len() * 121 <= 64 << 10 && kept.len() > 500, "{}", kept.len());
    assert!(matches!(value(&record.request, "left_out_fields"), Value::Number(count) if *count > 1000));
}

#[test]
fn open_streams_have_a_bound() {
    let steps: Vec<Step> = (0..=PENDING_MAX as u32)
        .map(|n| send(headers(END_STREAM, 2 * n + 1, get(&format!("/{n}")))))
        .collect();
    let outcome = outcome(&steps);
    assert_eq!(outcome.records[0].summary, "--- GET /0");
    assert_eq!(outcome.records[0].causes(), [Cause::NoResponse, Cause::Limit]);
    assert_eq!(outcome.records.len(), PENDING_MAX + 1 + OPENING.len());
}

#[test]
fn what_a_stream_said_before_the_trace_is_missing() {
    let ping = cut(PING, 0, 0, b"12345678");
    let steps = [
        // The rest of a request whose header section came before, and one of which all is seen.
        send([data(END_STREAM, 1, "the rest"), ping.clone(), headers(END_STREAM, 3, get("/3"))].concat()),
        recv([ping, headers(END_STREAM, 1, [0x88]), headers(END_STREAM, 3, [0x88])].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..Setup::default() });
    let of = |id: i64| {
        let is_it = |record: &&Record| value_of(&record.request, "stream_id") == Some(&Value::Number(id));
        outcome.records.iter().find(is_it).expect("a record")
    };
    assert_eq!(of(1).causes(), [Cause::BeforeAttach]);
    assert_eq!((of(1).status, of(3).status), (Status::Truncated, Status::Complete));
    assert_eq!(value(&of(1).request, "headers"), &word("unknown"));
}

fn value_of<'a>(message: &'a Option<Message>, name: &str) -> Option<&'a Value> {
    message.as_ref()?.field(name)
}
