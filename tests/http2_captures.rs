//! HTTP/2 and gRPC in captures that nobody of this project wrote, through the capture source and the tracker: counts of
//! frames, requests, responses and messages are those of tshark and DeepFlow, and every difference is explained, file by
//! file. Header compression and frames are held against the vectors of http2jp.

mod common;

use common::captures::{
    assert_robust, count, expected, field, files, folder, histogram, options, run, text, try_run,
};
use serde_json::Value as Json;
use sockdbg::conn::{Entry, Info, Observer, Tracker};
use sockdbg::event::{
    Call, Cause, ConnId, Data, Direction, Event, Kind, Open, Opened, Range, Timestamp, Vantage,
};
use sockdbg::record::{Message, Record, Value};
use sockdbg::source::Source;
use sockdbg::source::pcap::{self, Capture};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

/// Figures in which tshark 4.0 counts otherwise: file, kind, our figure, the reason.
const DIFFERENCES: [(&str, &str, &str, &str); 6] = [
    (
        "http2/arkime--http2-nghttp2.pcap",
        "tshark.http2.frames",
        r#"{"CONTINUATION": 1, "DATA": 4, "GOAWAY": 1, "HEADERS": 3, "PRIORITY": 5, "PUSH_PROMISE": 1, "SETTINGS": 4, "WINDOW_UPDATE": 2}"#,
        "tshark shows nothing of the client's stream behind its HEADERS of 16384 bytes: CONTINUATION, the \
         acknowledgement of SETTINGS, WINDOW_UPDATE and GOAWAY",
    ),
    (
        "http2/deepflow--http--grpc-unary.pcap",
        "tshark.http2.frames",
        r#"{"DATA": 3, "HEADERS": 2}"#,
        "the capture ends inside the last DATA frame, which tshark leaves out",
    ),
    (
        "http2/suricata--bug-5929-02--http2_multiple_headers.pcap",
        "tshark.http2.frames",
        r#"{"DATA": 2, "HEADERS": 2, "SETTINGS": 4, "WINDOW_UPDATE": 2}"#,
        "the server's first packet, of SETTINGS and WINDOW_UPDATE, comes before the preface, and tshark passes over it",
    ),
    (
        "http2/suricata--http2-authority-mismatch--authority_and_host_2.pcap",
        "tshark.http2.frames",
        r#"{"DATA": 1, "HEADERS": 2, "SETTINGS": 4, "WINDOW_UPDATE": 1}"#,
        "likewise",
    ),
    (
        "http2/suricata--dns-over-http2--dns_over_https.pcap",
        "tshark.http2.responses",
        "3",
        "the client gave up stream 7 before its response came: late frames, and no response",
    ),
    (
        "http2/suricata--dns-over-http2--dns_over_https.pcap",
        "tshark.http2.status",
        r#"{"200": 3}"#,
        "likewise",
    ),
];

/// Messages of HTTP/2 and gRPC in a capture, by what `of` gives.
fn messages(file: &str, of: fn(&Record) -> Option<&Message>) -> Vec<Message> {
    let seen = run(file);
    let records = seen.of("http2").into_iter().chain(seen.of("grpc"));
    records.filter_map(of).cloned().collect()
}

/// Requests that came as frames of a client: not the one of HTTP/1.1 that asked for the upgrade, none that was promised.
fn requests(file: &str) -> Vec<Message> {
    let mut requests = messages(file, |record| record.request.as_ref());
    requests.retain(|request| {
        let is_own = matches!(field(request, "stream_id"), Some(Value::Number(id)) if id % 2 == 1);
        is_own && field(request, "method").is_some() && field(request, "upgraded").is_none()
    });
    requests
}

fn responses(file: &str) -> Vec<Message> {
    let mut responses = messages(file, |record| record.response.as_ref());
    responses.retain(|response| field(response, "status").is_some());
    responses
}

/// How often a field has each value, as `GET:7,POST:3`.
fn values(messages: &[Message], name: &str) -> BTreeMap<String, usize> {
    count(messages.iter().filter_map(|message| text(message, name)))
}

/// Holds our figures of one kind against the expected ones; a file without one has to have none of ours.
fn check<T: PartialEq + fmt::Debug>(kind: &str, ours: impl Fn(&str) -> T, read: impl Fn(&str) -> T, none: T) {
    let theirs = expected(kind);
    let mut wrong = Vec::new();
    for file in files("http2") {
        let ours = ours(&file);
        let figure = theirs.get(&file).map(|figure| read(figure));
        let theirs = figure.as_ref().unwrap_or(&none);
        match DIFFERENCES.iter().find(|difference| (difference.0, difference.1) == (file.as_str(), kind)) {
            Some((_, _, figure, _)) => {
                assert_ne!(
                    format!("{theirs:?}"),
                    format!("{ours:?}"),
                    "{file}: there is no difference any more"
                );
                assert_eq!(format!("{ours:?}"), *figure, "{file} {kind}");
            }
            None if ours != *theirs => wrong.push(format!("{file} {kind}: {ours:?}, expected {theirs:?}")),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn number(figure: &str) -> usize {
    figure.parse().expect("a number")
}

#[test]
fn requests_and_responses_are_those_of_tshark() {
    assert_eq!(files("http2").len(), 19, "captures are missing");
    check("tshark.http2.requests", |file| requests(file).len(), number, 0);
    check("tshark.http2.responses", |file| responses(file).len(), number, 0);
    check("tshark.http2.methods", |file| values(&requests(file), "method"), histogram, BTreeMap::new());
    check("tshark.http2.status", |file| values(&responses(file), "status"), histogram, BTreeMap::new());
}

#[test]
fn messages_and_states_of_grpc_are_those_of_tshark() {
    let counted = |file: &str| {
        let both = [
            messages(file, |record| record.request.as_ref()),
            messages(file, |record| record.response.as_ref()),
        ];
        let counts = both.iter().flatten().filter_map(|message| match field(message, "message_count") {
            Some(Value::Number(count)) => usize::try_from(*count).ok(),
            _ => None,
        });
        counts.sum::<usize>()
    };
    check("tshark.grpc.messages", counted, number, 0);
    let states = |file: &str| values(&messages(file, |record| record.response.as_ref()), "grpc_status");
    check("tshark.grpc.status", states, histogram, BTreeMap::new());
}

/// The request that was upgraded is stream 1's, and tshark counts it with HTTP/1.1.
#[test]
fn an_upgraded_request_is_answered_on_stream_1() {
    let mut upgraded = 0;
    for file in files("http2") {
        let seen = run(&file);
        let status = |record: &Record| record.response.as_ref().and_then(|response| text(response, "status"));
        let answered = seen.of("http1").into_iter().filter(|record| status(record).as_deref() == Some("101"));
        let switched = answered.count();
        let ours: Vec<&Record> = seen
            .of("http2")
            .into_iter()
            .filter(|record| {
                record.request.as_ref().is_some_and(|request| field(request, "upgraded").is_some())
            })
            .collect();
        assert_eq!(ours.len(), switched, "{file}");
        for record in ours {
            let request = record.request.as_ref().expect("a request");
            assert_eq!(text(request, "stream_id").as_deref(), Some("1"), "{file}");
            assert!(field(request, "settings").is_some() && record.response.is_some(), "{file}: {record:?}");
        }
        upgraded += switched;
    }
    assert_eq!(upgraded, 5);
}

/// Counts frames by type, as the trace names them.
#[derive(Default)]
struct Frames(BTreeMap<String, usize>);

impl Observer for Frames {
    fn trace_level(&self) -> u8 {
        2
    }

    fn trace(&mut self, _: &Info, _: Timestamp, _: u8, step: &'static str, message: fmt::Arguments<'_>) {
        // `send [0, 27) SETTINGS of stream 0`
        let message = message.to_string();
        if step == "frame"
            && let Some((_, what)) = message.split_once(") ")
            && let Some((kind, _)) = what.split_once(" of stream ")
        {
            *self.0.entry(kind.to_owned()).or_default() += 1;
        }
    }

    fn record(&mut self, _: &Info, _: Timestamp, _: Record) {}

    fn account(&mut self, _: &Info, _: Direction, _: Entry<'_>) {}
}

fn frames(file: &str) -> BTreeMap<String, usize> {
    let mut tracker = Tracker::new(Vantage::Wire, options(), Frames::default());
    let mut sink = |event: &Event<'_>| {
        tracker.event(event);
        ControlFlow::Continue(())
    };
    let mut capture = Capture::open(&folder().join(file), pcap::Options::default()).expect("a capture");
    capture.run(&mut sink).expect("a whole capture");
    tracker.finish().0
}

#[test]
fn frames_are_those_of_tshark() {
    check("tshark.http2.frames", frames, histogram, BTreeMap::new());
}

#[test]
fn requests_and_responses_are_those_of_deepflow() {
    // Its third figure counts packets with parts of messages.
    for (file, figure) in expected("deepflow.result.request/response/session") {
        if file.starts_with("http2/") {
            let theirs: Vec<usize> = figure.split('/').map(number).collect();
            assert_eq!([requests(&file).len(), responses(&file).len()], theirs[..2], "{file}");
        }
    }
}

/// Captures of other folders that hold HTTP/2, as tshark shows where it is told the port.
const MIXED: [&str; 2] =
    ["link/pcapfileex--mixed_traffic_sample.pcap", "link/pcapfileex--mixed_traffic_sample.pcapng"];

#[test]
fn captures_of_several_protocols_hold_http2_where_tshark_finds_it() {
    for file in MIXED {
        assert!(!run(file).of("http2").is_empty(), "{file}");
    }
}

#[test]
fn no_other_protocol_is_taken_for_http2() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("http2/") && !file.starts_with("format/"));
    let mut read = 0;
    for file in others.filter(|file| !MIXED.contains(&file.as_str())) {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        assert!(seen.of("http2").is_empty() && seen.of("grpc").is_empty(), "{file}");
    }
    assert!(read > 500, "captures are missing: {read} were read");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("http2").iter().for_each(|file| assert_robust(file));
}

/// What a tracker makes of a connection of which one direction is known: bytes that a client sent, or that it received.
fn track(direction: Direction, bytes: &[u8]) -> Told {
    let mut tracker = Tracker::new(Vantage::Wire, options(), Told::default());
    let conn = ConnId::default();
    let event = |kind| Event { time: Timestamp(1), conn, task: None, fd: None, kind };
    tracker.event(&event(Kind::Open(Open { opened: Opened::Fresh, ..Open::default() })));
    tracker.event(&event(Kind::Data(Data {
        direction,
        offset: 0,
        length: bytes.len() as u64,
        payload: bytes,
        tcp_seq: None,
        peer: None,
        call: Call::Read,
        cause: None,
        peek: false,
        past_tcp: false,
        acked: None,
        error: None,
    })));
    tracker.finish()
}

/// Records, and ranges that follow no rule.
#[derive(Default)]
struct Told {
    records: Vec<Record>,
    refused: Vec<Range>,
}

impl Observer for Told {
    fn record(&mut self, _: &Info, _: Timestamp, record: Record) {
        self.records.push(record);
    }

    fn account(&mut self, _: &Info, _: Direction, entry: Entry<'_>) {
        if let Entry::Skipped(range, Cause::ParseError, _) = entry {
            self.refused.push(range);
        }
    }
}

fn vectors(prefix: &str) -> Vec<(String, Json)> {
    let folder = folder().join("http2/vectors");
    let entries = std::fs::read_dir(&folder).expect("the vectors");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    assert!(!names.is_empty(), "no vectors {prefix}");
    let read = |name: String| {
        let text = std::fs::read_to_string(folder.join(&name)).expect("a vector");
        (name, serde_json::from_str(&text).expect("JSON"))
    };
    names.into_iter().map(read).collect()
}

fn hex(text: &Json) -> Vec<u8> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_str().expect("text").as_bytes()).expect("hexadecimal")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface of a client and its SETTINGS.
fn opening() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat()
}

/// The fields of a request in the order of a record: pseudo-header fields, then the others.
fn fields(message: &Message) -> Vec<(String, String)> {
    let show = |value: &Value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    };
    let names = ["method", "scheme", "authority", "path"];
    let pseudo = names.iter().filter_map(|name| Some((format!(":{name}"), show(field(message, name)?))));
    let Some(Value::Map(headers)) = field(message, "headers") else { panic!("no headers: {message:?}") };
    pseudo.chain(headers.iter().map(|(name, value)| (show(name), show(value)))).collect()
}

#[test]
fn header_blocks_decode_as_the_vectors_say() {
    let mut blocks = 0;
    for (name, story) in vectors("hpack-test-case") {
        let cases = story["cases"].as_array().expect("cases");
        let streams = cases.iter().zip((1..).step_by(2));
        let sent: Vec<u8> =
            streams.flat_map(|(case, stream)| frame(1, 5, stream, &hex(&case["wire"]))).collect();
        let told = track(Direction::Send, &[opening(), sent].concat());
        assert_eq!(told.refused, [], "{name}");
        let requests = told.records.iter().filter(|record| {
            record.request.as_ref().is_some_and(|request| field(request, "stream_id").is_some())
        });
        let ours: Vec<_> =
            requests.map(|record| fields(record.request.as_ref().expect("a request"))).collect();
        assert_eq!(ours.len(), cases.len(), "{name}");
        for (case, ours) in cases.iter().zip(&ours) {
            let pairs = case["headers"].as_array().expect("headers").iter();
            let pairs = pairs.flat_map(|pair| pair.as_object().expect("a pair"));
            let mut theirs: Vec<(String, String)> =
                pairs.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())).collect();
            let order = [":method", ":scheme", ":authority", ":path"];
            theirs.sort_by_key(|(name, _)| order.iter().position(|one| one == name).unwrap_or(order.len()));
            assert_eq!(*ours, theirs, "{name} {}", case["seqno"]);
            blocks += 1;
        }
    }
    assert!(blocks > 100, "{blocks}");
}

/// Frames that the vectors call faulty and that are read all the same, with the reason.
const TOLERATED: [(&str, &str); 2] = [
    ("data-frame-size", "what a receiver allows is its own affair; the frame is longer than the default"),
    ("window_update-frame-increment", "flow control is not judged"),
];

#[test]
fn faulty_frames_of_the_vectors_are_refused() {
    let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
    for (name, vector) in vectors("http2-frame-test-case--error") {
        let told = track(Direction::Recv, &[settings.clone(), hex(&vector["wire"])].concat());
        let tolerated = TOLERATED.iter().any(|(part, _)| name.contains(part));
        assert_eq!(told.refused.is_empty(), tolerated, "{name}: {:?}", told.records);
    }
}

#[test]
fn frames_of_the_vectors_are_read() {
    let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
    let mut seen = Vec::new();
    for (name, vector) in
        vectors("http2-frame-test-case").into_iter().filter(|(name, _)| name.contains("normal"))
    {
        let told = track(Direction::Recv, &[settings.clone(), hex(&vector["wire"])].concat());
        assert_eq!(told.refused, [], "{name}");
        let summaries: Vec<&str> = told.records.iter().map(|record| record.summary.as_str()).collect();
        seen.push((name, summaries.join("; ")));
    }
    let expected = [
        ("data", "(unknown) (request not seen) 13 B"),
        ("goaway", "GOAWAY COMPRESSION_ERROR, last stream 30: hpack is broken"),
        ("ping", "PING (keep-alive)"),
        ("priority", "1 PRIORITY"),
        // Its block is the text `this is dummy`.
        ("push_promise", "(pushed)"),
        ("rst_stream", "reset by"),
    ];
    for (kind, line) in expected {
        let name = format!("http2-frame-test-case--{kind}--normal.json");
        let found = seen.iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(found.1.contains(line), "{found:?}");
    }
}
