//! Requests and responses: every way in which their frames can come.

use super::*;
use crate::event::{Cause, Range};
use crate::protocol::http2::frame::{CONTINUATION, HEADERS, PADDED, PUSH_PROMISE, RST_STREAM, WITH_PRIORITY};
use crate::record::Status;

#[test]
fn a_request_and_its_response_are_a_record() {
    let records = check(
        &[
            send(headers(END_STREAM, 1, [get("/a?b=1"), field("user-agent", "x")].concat())),
            recv(headers(0, 1, [&[0x88][..], &field("content-type", "text/plain")].concat())),
            recv([data(0, 1, "hel"), data(END_STREAM, 1, "lo")].concat()),
        ],
        &["200 GET /a?b=1 5 B"],
    );
    let Record { request, response, protocol, .. } = &records[0];
    assert_eq!(*protocol, "http2");
    assert_eq!((value(request, "method"), value(request, "path")), (&bytes("GET"), &bytes("/a?b=1")));
    assert_eq!((value(request, "scheme"), value(request, "stream_id")), (&bytes("http"), &Value::Number(1)));
    assert_eq!(value(request, "headers"), &map(&[("user-agent", "x")]));
    assert_eq!((value(response, "status"), value(response, "body")), (&Value::Number(200), &bytes("hello")));
    assert_eq!(value(response, "body_length"), &Value::Number(5));
}

#[test]
fn frames_of_several_streams_take_turns() {
    let records = check(
        &[
            send([headers(END_STREAM, 1, get("/1")), headers(0, 3, get("/3"))].concat()),
            recv([headers(0, 1, [0x88]), data(0, 1, "aa"), headers(0, 3, [0x8d])].concat()),
            send([data(0, 3, "b"), data(END_STREAM, 3, "")].concat()),
            recv([data(0, 3, "cc"), data(END_STREAM, 1, "a"), data(END_STREAM, 3, "c")].concat()),
        ],
        &["200 GET /1 3 B", "404 GET /3 3 B"],
    );
    // Behind SETTINGS: HEADERS of 10 bytes, DATA of 11, 10 of the other stream, DATA of 11 and 10.
    let [one, three] = [&records[0], &records[1]].map(|record| record.response.as_ref().expect("a response"));
    assert_eq!(one.parts, [Range::new(9, 30), Range::new(51, 61)]);
    assert_eq!(three.parts, [Range::new(30, 51), Range::new(61, 71)]);
    assert_eq!((one.range, three.range), (Range::new(9, 61), Range::new(30, 71)));
    assert_eq!(records[1].request.as_ref().expect("a request").parts, []);
}

#[test]
fn padding_priority_and_continuation_are_taken_off() {
    let block = [get("/long"), field("a", "1"), field("b", "2")].concat();
    let first = [&[3][..], &[0x80, 0, 0, 5, 200], &block[..4], &[0; 3]].concat();
    let records = check(
        &[
            send(cut(HEADERS, END_STREAM | PADDED | WITH_PRIORITY, 1, first)),
            send(cut(CONTINUATION, 0, 1, &block[4..9])),
            send(cut(CONTINUATION, END_HEADERS, 1, &block[9..])),
            recv(headers(0, 1, [0x88])),
            recv(cut(frame::DATA, END_STREAM | PADDED, 1, b"\x04body\0\0\0\0")),
        ],
        &["200 GET /long 4 B"],
    );
    assert_eq!(value(&records[0].request, "headers"), &map(&[("a", "1"), ("b", "2")]));
    assert_eq!(value(&records[0].response, "body"), &bytes("body"));
}

#[test]
fn interim_responses_and_trailers_belong_to_the_response() {
    let early = [field(":status", "103"), field("link", "</s>")].concat();
    let records = check(
        &[
            send(headers(END_STREAM, 1, get("/"))),
            recv([headers(0, 1, early), headers(0, 1, [0x88]), data(0, 1, "x")].concat()),
            recv(headers(END_STREAM, 1, field("checksum", "7"))),
        ],
        &["200 GET / 1 B"],
    );
    assert_eq!(value(&records[0].response, "interim"), &Value::List(vec![Value::Number(103)]));
    assert_eq!(value(&records[0].response, "trailers"), &map(&[("checksum", "7")]));
}

#[test]
fn the_dynamic_table_is_kept() {
    let first = [get("/1"), indexed("x-id", "one"), indexed("x-id", "two")].concat();
    // 62 is the newest entry: two; 63 the one before.
    let second = [get("/2"), vec![0xbe, 0xbf]].concat();
    let records = check(
        &[
            send(headers(END_STREAM, 1, first)),
            recv(headers(END_STREAM, 1, [0x88])),
            send(headers(END_STREAM, 3, second)),
            recv(headers(END_STREAM, 3, [0x88])),
        ],
        &["200 GET /1 0 B", "200 GET /2 0 B"],
    );
    assert_eq!(value(&records[1].request, "headers"), &map(&[("x-id", "two"), ("x-id", "one")]));
}

#[test]
fn compressed_bodies_are_shown_as_what_they_are() {
    // RFC 1952 around a stored block of RFC 1951: "hi".
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x02\0\xfd\xffhi\xac\x2a\x93\xd8\x02\0\0\0";
    let records = check(
        &[
            send(headers(END_STREAM, 1, get("/"))),
            recv(headers(0, 1, [&[0x88][..], &field("content-encoding", "gzip")].concat())),
            recv(data(END_STREAM, 1, gzip)),
        ],
        &["200 GET / 25 B"],
    );
    assert_eq!(value(&records[0].response, "body"), &bytes("hi"));
    assert_eq!(value(&records[0].response, "body_decoded"), &Value::Flag(true));
}

#[test]
fn a_reset_is_told_with_who_did_it() {
    let code = |code: u8| [0, 0, 0, code];
    let records = check(
        &[
            send(headers(END_STREAM, 1, get("/refused"))),
            recv(cut(RST_STREAM, 0, 1, code(7))),
            send(headers(END_STREAM, 3, get("/unwanted"))),
            send(cut(RST_STREAM, 0, 3, code(8))),
            send(headers(END_STREAM, 5, get("/half"))),
            recv([headers(0, 5, [0x88]), data(0, 5, "abc")].concat()),
            send(cut(RST_STREAM, 0, 5, code(8))),
            // Was under way when the client gave up.
            recv(data(END_STREAM, 5, "def")),
        ],
        &[
            "--- GET /refused 0 B reset by server: REFUSED_STREAM",
            "--- GET /unwanted reset by client: CANCEL",
            "200 GET /half 3 B reset by client: CANCEL",
            "1 late DATA",
        ],
    );
    assert_eq!(value(&records[0].response, "reset"), &Value::Text("REFUSED_STREAM".into()));
    assert_eq!(value(&records[2].request, "reset"), &Value::Text("CANCEL".into()));
}

#[test]
fn a_server_that_answers_early_resets_the_rest_of_the_request() {
    check(
        &[
            send([headers(0, 1, get("/up")), data(0, 1, "aaaa")].concat()),
            recv(headers(END_STREAM, 1, [0x8c])),
            recv(cut(RST_STREAM, 0, 1, [0; 4])),
            send(data(END_STREAM, 1, "bbbb")),
            send(headers(END_STREAM, 3, get("/next"))),
            recv(headers(END_STREAM, 3, [0x89])),
        ],
        &["400 GET /up 0 B reset by server: NO_ERROR", "204 GET /next 0 B", "1 late DATA"],
    );
}

#[test]
fn a_promise_is_the_request_of_a_pushed_response() {
    let promise = [&[0, 0, 0, 2][..], &get("/style.css")].concat();
    let records = check(
        &[
            send(headers(END_STREAM, 1, get("/"))),
            recv(cut(PUSH_PROMISE, END_HEADERS, 1, promise)),
            recv([headers(0, 1, [0x88]), headers(0, 2, [0x88]), data(END_STREAM, 2, "css")].concat()),
            recv(data(END_STREAM, 1, "html")),
        ],
        &["200 GET /style.css 3 B (pushed)", "200 GET / 4 B"],
    );
    let direction = |message: &Option<Message>| message.as_ref().map(|message| message.direction);
    assert_eq!(direction(&records[0].request), direction(&records[0].response));
}

#[test]
fn what_is_not_answered_or_not_ended_says_so() {
    let records = check(
        &[
            send([headers(END_STREAM, 1, get("/slow")), headers(0, 3, get("/upload"))].concat()),
            send(data(0, 3, "part")),
            send(headers(END_STREAM, 5, get("/stream"))),
            recv([headers(0, 5, [0x88]), data(0, 5, "tick")].concat()),
        ],
        &["--- GET /slow [no-response]", "--- GET /upload [truncated]", "200 GET /stream 4 B [truncated]"],
    );
    assert!(records[1].causes().contains(&Cause::Incomplete));
    assert_eq!(records[2].request.as_ref().map(|request| request.causes.len()), Some(0));
}

#[test]
fn connect_names_its_authority() {
    let connect = [field(":method", "CONNECT"), field(":authority", "db:5432")].concat();
    check(
        &[
            send(headers(0, 1, connect)),
            recv([headers(0, 1, [0x88]), data(END_STREAM, 1, "hello")].concat()),
            send(data(END_STREAM, 1, "bye")),
        ],
        &["200 CONNECT db:5432 5 B"],
    );
}

#[test]
fn credentials_are_masked_unless_asked_for() {
    let secrets = ["authorization", "cookie", "proxy-authorization"];
    let block: Vec<u8> = secrets.iter().flat_map(|name| field(name, "sesame")).collect();
    let steps = [
        send(headers(END_STREAM, 1, [get("/"), block].concat())),
        recv(headers(END_STREAM, 1, [vec![0x88], field("set-cookie", "sesame")].concat())),
    ];
    let masked = talk(&steps, Options::default());
    assert!(!format!("{:?}", masked.records).contains("sesame"));
    let shown = talk(&steps, Options { show_secrets: true, ..Options::default() });
    assert_eq!(format!("{:?}", shown.records).matches(&format!("{:?}", bytes("sesame"))).count(), 4);
}

#[test]
fn the_response_of_a_request_that_is_seen_late_waits_for_it() {
    let outcome = talk(
        &[recv(headers(END_STREAM, 1, [0x88])), send(headers(END_STREAM, 1, get("/late")))],
        Options::default(),
    );
    assert_eq!(
        (outcome.summaries(), outcome.records[0].status),
        (vec!["200 GET /late 0 B".to_owned()], Status::Complete)
    );
}
