//! HTTP/1.x records of captures that nobody of this project made, against what tshark makes of them.
//!
//! tshark counts a message when it has it whole (`tshark.http.*`) or, asked otherwise, when it has its
//! head (`header-only`); the larger figure is what has to be found here. Where ours differs the file is
//! in [`DIFFERENCES`], with the reason.

mod common;

use common::captures::{assert_robust, count, field, files, folder, histogram};
use sockdbg::conn::{Info, Observer, Options, Tracker};
use sockdbg::event::{Cause, ConnId, Data, Event, Kind, Timestamp, Vantage};
use sockdbg::record::{Message, Record, Value};
use sockdbg::source::Source;
use sockdbg::source::pcap::{self, Capture};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Files whose count of requests or responses is another than tshark's: ours, and why it is right.
const DIFFERENCES: &[(&str, usize, usize, &str)] = &[
    ("http/akita--simple_http_two_with_noise.pcap", 2, 2, "tshark also counts four SSDP requests over UDP"),
    (
        "http/arkime--http-tcp-seq-issue.pcap",
        1,
        1,
        "the request's beginning comes in a retransmission that tshark does not dissect",
    ),
    (
        "http/deepflow--http--client-ip.pcap",
        1,
        1,
        "the capture lacks the end of the request, whose head is whole but for its last lines",
    ),
    (
        "http/ndpi--soap.pcap",
        2,
        1,
        "two connections carry a POST; tshark takes that of the second for a retransmission",
    ),
    ("http/suricata--http-connect--http-connect-simple.pcap", 2, 2, "tshark counts one of the two responses"),
    ("http/suricata--http-gap-beyond-body.pcap", 3, 2, "tshark does not count a response with a gap in it"),
    ("http/suricata--http-gap-double.pcap", 3, 3, "tshark does not count a response with a gap in it"),
    ("http/suricata--http-gap-simple.pcap", 3, 3, "tshark does not count a response with a gap in it"),
    ("http/suricata--http-gap-whole-body.pcap", 3, 3, "tshark does not count a response with a gap in it"),
    ("http/suricata--http-missing-protocol.pcap", 0, 0, "no HTTP version in the request line"),
    ("http/suricata--http-not09-spaces.pcap", 0, 0, "no HTTP version in the request line"),
    ("http/suricata--http-not09.pcap", 0, 0, "no HTTP version in the request line"),
    (
        "http/suricata--http-range-file.pcap",
        15,
        15,
        "tshark loses a response whose segments come out of order",
    ),
    (
        "http/suricata--tcp-rst-unacked-stream-07-http.pcap",
        1,
        0,
        "a gap cuts the request's head, whose request line is there",
    ),
    (
        "http/zeek--http--261--variant-02-cl_uint64max.pcap",
        1,
        0,
        "what tshark takes for a second request lies within the Content-Length of the first",
    ),
    (
        "http/zeek--http--261--variant-09-te_obs_fold.pcap",
        2,
        0,
        "tshark does not unfold the Transfer-Encoding, so the second request is body to it",
    ),
    (
        "http/zeek--http--http-bad-request-with-version.pcap",
        1,
        1,
        "the request comes after five bytes of garbage, which are skipped here",
    ),
    (
        "http/zeek--http--methods.pcap",
        10,
        49,
        "tshark counts any line with a method it knows; 17 of them lack a space, the target or the version",
    ),
    (
        "http/zeek--http--query-method-non-standard-port.pcap",
        1,
        1,
        "tshark 4.0 does not know the method QUERY",
    ),
    ("http/zeek--http--query-method.pcap", 1, 1, "tshark 4.0 does not know the method QUERY"),
    ("http/zeek--http--http_09.pcap", 1, 0, HTTP_09),
    ("tcp/arkime--wireshark-retrans.pcap", 4, 4, "tshark counts two retransmitted responses twice"),
];

/// Answers of HTTP/0.9 have no status, by which they are counted.
const HTTP_09: &str = "tshark does not know HTTP/0.9; Zeek does";

/// The folders of the captures whose TCP streams speak HTTP/1.x, some of them by the way.
const FOLDERS: [&str; 4] = ["http/", "tcp/", "tls/", "cql/"];

/// Keeps the records, with their connections.
#[derive(Default)]
struct Records(Vec<(ConnId, Record)>);

impl Observer for Records {
    fn record(&mut self, info: &Info, _: Timestamp, record: Record) {
        if record.protocol == "http1" {
            self.0.push((info.id, record));
        }
    }
}

fn records(path: &Path) -> Vec<Record> {
    records_with(path, |_| {}).into_iter().map(|(_, record)| record).collect()
}

/// The records of a capture whose data events are changed by `change`.
fn records_with(path: &Path, mut change: impl FnMut(&mut Data<'_>)) -> Vec<(ConnId, Record)> {
    let mut tracker = Tracker::new(Vantage::Wire, Options::default(), Records::default());
    let mut capture = Capture::open(path, pcap::Options::default()).expect("a capture");
    let mut sink = |event: &Event<'_>| {
        let mut event = event.clone();
        if let Kind::Data(data) = &mut event.kind {
            change(data);
        }
        tracker.event(&event);
        ControlFlow::Continue(())
    };
    capture.run(&mut sink).expect("a readable capture");
    tracker.finish().0
}

fn text(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Number(number) => number.to_string(),
        other => panic!("neither text nor number: {other:?}"),
    }
}

/// How often each method occurs.
fn methods(records: &[Record]) -> BTreeMap<String, usize> {
    let requests = records.iter().filter_map(|record| record.request.as_ref());
    count(requests.filter_map(|request| field(request, "method")).map(text))
}

/// How often each status occurs, interim ones included.
fn statuses(records: &[Record]) -> BTreeMap<String, usize> {
    let responses = records.iter().filter_map(|record| record.response.as_ref());
    count(responses.flat_map(|response| {
        let interim = match field(response, "interim") {
            Some(Value::List(statuses)) => statuses.as_slice(),
            _ => &[],
        };
        interim.iter().chain(field(response, "status")).map(text).collect::<Vec<_>>()
    }))
}

/// What `expected.tsv` says of one file.
#[derive(Default)]
struct Expected {
    requests: usize,
    responses: usize,
    methods: Option<BTreeMap<String, usize>>,
    statuses: Option<BTreeMap<String, usize>>,
}

fn expected() -> BTreeMap<String, Expected> {
    let text = fs::read_to_string(folder().join("expected.tsv")).expect("expected.tsv");
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    for line in text.lines().filter(|line| FOLDERS.iter().any(|folder| line.starts_with(folder))) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, _, kind, value, ..] = columns[..] else { panic!("not four columns: {line}") };
        if !kind.starts_with("tshark.http.") {
            continue;
        }
        let entry = expected.entry(file.to_string()).or_default();
        let number = |value: &str| value.parse::<usize>().expect("a number");
        match kind {
            "tshark.http.requests" => entry.requests = entry.requests.max(number(value)),
            "tshark.http.responses" => entry.responses = entry.responses.max(number(value)),
            "tshark.http.methods" => entry.methods = Some(histogram(value)),
            "tshark.http.status" => entry.statuses = Some(histogram(value)),
            _ => {
                let (requests, responses) = value.split_once('/').expect("requests/responses");
                entry.requests = entry.requests.max(number(requests));
                entry.responses = entry.responses.max(number(responses));
            }
        }
    }
    expected
}

fn total(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}

#[test]
fn requests_and_responses_are_those_of_tshark() {
    let expected = expected();
    assert!(expected.len() > 150, "{} files have figures", expected.len());
    let mut wrong = Vec::new();
    for (file, expected) in &expected {
        let records = records(&folder().join(file));
        let (methods, statuses) = (methods(&records), statuses(&records));
        let found = (total(&methods), total(&statuses));
        let difference = DIFFERENCES.iter().find(|difference| difference.0 == file);
        let wanted = difference.map_or((expected.requests, expected.responses), |d| (d.1, d.2));
        if found != wanted {
            wrong.push(format!("{file}: {found:?} requests and responses, not {wanted:?}"));
        }
        if difference.is_some_and(|d| (d.1, d.2) == (expected.requests, expected.responses)) {
            wrong.push(format!("{file}: no difference, though the table has one"));
        }
        if difference.is_some() {
            continue;
        }
        // The histograms are of whole messages alone.
        for (found, expected) in [(&methods, &expected.methods), (&statuses, &expected.statuses)] {
            if expected.as_ref().is_some_and(|expected| total(expected) == total(found) && expected != found)
            {
                wrong.push(format!("{file}: {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_difference_names_a_file_that_is_there() {
    let expected = expected();
    let stray: Vec<_> =
        DIFFERENCES.iter().filter(|difference| !expected.contains_key(difference.0)).collect();
    assert!(stray.is_empty(), "{stray:?}");
}

/// The exchanges of a Zeek `http.log`: method, target and status of each row that has both halves. None
/// where the log lacks one of these columns. Zeek gives answers of HTTP/0.9 the status 0, and takes other methods than GET
/// for it, which HTTP/0.9 does not have.
fn zeek_pairs(log: &str) -> Option<Vec<String>> {
    let header = log.lines().find_map(|line| line.strip_prefix("#fields\t"))?;
    let columns: Vec<&str> = header.split('\t').collect();
    let column = |name| columns.iter().position(|&column| column == name);
    let (method, uri, status) = (column("method")?, column("uri")?, column("status_code")?);
    let rows = log.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect());
    let is_whole = |row: &Vec<&str>| {
        let is_answered = row[status] != "-" && (row[status] != "0" || row[method] == "GET");
        row[method] != "-" && row[uri] != "-" && is_answered
    };
    let pair = |row: Vec<&str>| {
        let status = if row[status] == "0" { "" } else { row[status] };
        format!("{status} {} {}", row[method], row[uri].replace("(empty)", ""))
    };
    let mut pairs: Vec<String> = rows.filter(is_whole).map(pair).collect();
    pairs.sort();
    Some(pairs)
}

fn pairs(records: &[Record]) -> Vec<String> {
    let exchanges =
        records.iter().filter_map(|record| Some((record.request.as_ref()?, record.response.as_ref()?)));
    let word = |message, name| field(message, name).map(text).unwrap_or_default();
    let mut pairs: Vec<String> = exchanges
        .map(|(request, response)| {
            format!("{} {} {}", word(response, "status"), word(request, "method"), word(request, "target"))
        })
        .collect();
    pairs.sort();
    pairs
}

#[test]
fn requests_get_the_responses_that_zeek_gives_them() {
    let mut logs = 0;
    for entry in fs::read_dir(folder().join("http")).expect("the folder http") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Some((capture, _)) = name.split_once(".zeek.").filter(|_| name.ends_with(".http.log")) else {
            continue;
        };
        let of_file = |difference: &&(&str, usize, usize, &str)| difference.0 == format!("http/{capture}");
        if DIFFERENCES.iter().filter(of_file).any(|difference| difference.3 != HTTP_09) {
            continue;
        }
        let log = fs::read_to_string(&path).expect("a log");
        let Some(expected) = zeek_pairs(&log) else { continue };
        assert_eq!(pairs(&records(&path.with_file_name(capture))), expected, "{name}");
        logs += 1;
    }
    assert!(logs > 10, "{logs} logs were compared");
}

/// With payload cut off or left out at random there are fewer pairs, but no others.
#[test]
fn losses_make_no_new_pairs() {
    let unfit = [
        // Without its CONNECT a tunnel with HTTP in it is HTTP, and its pairs are true.
        "http/suricata--http-connect--http-connect-simple.pcap",
        // Have gaps of their own, which leave a response alone that another loss makes certain.
        "http/suricata--http-gap-beyond-body.pcap",
        "http/suricata--http-gap-whole-body.pcap",
        // The server sends responses that nobody asked for, so counting means nothing.
        "http/zeek--http--http-desync-request-response-5.pcap",
    ];
    for file in expected().into_keys().filter(|file| !unfit.contains(&file.as_str())) {
        let path = folder().join(&file);
        let truth = records_with(&path, |_| {});
        for seed in 1..=200u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let lossy = records_with(&path, |data| {
                // xorshift64 (Marsaglia 2003)
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if state % 8 == 0 && data.cause.is_none() {
                    let keep =
                        if state & 64 == 0 { 0 } else { state as usize >> 8 } % (data.payload.len() + 1);
                    data.cause = (keep < data.payload.len()).then_some(Cause::WireNotCaptured);
                    data.payload = &data.payload[..keep];
                }
            });
            for (conn, record) in &lossy {
                let (Some(request), Some(response)) = (&record.request, &record.response) else { continue };
                let overlap = |a: &Option<Message>, b: &Message| {
                    a.as_ref().is_some_and(|a| a.range.intersection(b.range).is_some())
                };
                let of_conn = truth.iter().filter(|(true_conn, _)| true_conn == conn);
                let wrong = of_conn.map(|(_, truth)| truth).find(|truth| {
                    let (asks, answers) =
                        (overlap(&truth.request, request), overlap(&truth.response, response));
                    // A head that the stream's end cuts is no message, while one that a gap cuts is.
                    asks != answers && (answers || truth.response.is_some())
                });
                assert!(wrong.is_none(), "{file} seed {seed}: {conn:?} {record:?}, truly {wrong:?}");
            }
        }
    }
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("http").iter().for_each(|file| assert_robust(file));
}
