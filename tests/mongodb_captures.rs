//! MongoDB in captures that nobody of this project wrote, through the capture source and the tracker: operations are
//! those that tshark found, requests and answers those of DeepFlow and packetbeat.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, histogram, run, text, try_run};
use sockdbg::record::{Record, Status, Value};
use std::collections::BTreeMap;
use std::fs;

fn operations(records: &[&Record]) -> BTreeMap<String, usize> {
    let messages = records.iter().flat_map(|record| record.messages());
    count(messages.map(|message| text(message, "opCode").expect("an operation")))
}

#[test]
fn operations_are_those_that_tshark_found() {
    let figures = expected("tshark.mongo.opcodes");
    assert_eq!(figures.len(), 9, "captures are missing");
    for (file, figure) in figures {
        assert_eq!(operations(&run(&file).of("mongodb")), histogram(&figure), "{file}");
    }
}

/// Requests that tshark finds no answer to in the capture, by `requestID` against `responseTo`, and answers likewise.
const HALVES: [(&str, usize, usize); 2] = [
    // The server closes instead of answering an operation that nobody knows.
    ("mongodb/packetbeat--mongodb_invalid_opcode_2269.pcap", 3, 0),
    // The capture begins with an answer.
    ("mongodb/packetbeat--mongodb_reply_request_reply.pcap", 0, 1),
];

#[test]
fn every_request_has_its_answer() {
    for file in files("mongodb") {
        let seen = run(&file);
        let of = |status: Status| seen.of("mongodb").iter().filter(|record| record.status == status).count();
        let halves = HALVES.iter().find(|row| row.0 == file).map_or((0, 0), |row| (row.1, row.2));
        assert_eq!((of(Status::NoResponse), of(Status::NoRequest)), halves, "{file}");
        assert_eq!(of(Status::Truncated), 0, "{file}");
    }
}

#[test]
fn deepflow_counts_as_many_requests_and_answers() {
    let figures = expected("deepflow.result.request/response/session");
    let figure = &figures["mongodb/deepflow--mongo--mongo.pcap"];
    let seen = run("mongodb/deepflow--mongo--mongo.pcap");
    let records = seen.of("mongodb");
    let requests = records.iter().filter(|record| record.request.is_some()).count();
    let responses = records.iter().filter(|record| record.response.is_some()).count();
    assert_eq!(format!("{requests}/{responses}/0"), *figure);
}

/// Collections as OP_QUERY names them, in the files that tshark wrote beside the captures.
fn namespaces_of_tshark(file: &str) -> BTreeMap<String, usize> {
    let table = folder().join(format!("{file}.mongo.tshark.tsv"));
    let table = fs::read_to_string(table).expect("what tshark decoded");
    let column = table
        .lines()
        .next()
        .expect("names")
        .split('\t')
        .position(|name| name == "mongo.full_collection_name");
    let column = column.expect("the column");
    let cells = table.lines().skip(1).filter_map(|line| line.split('\t').nth(column));
    count(cells.flat_map(|cell| cell.split('|')).filter(|name| !name.is_empty()).map(str::to_owned))
}

#[test]
fn collections_are_those_that_tshark_found() {
    for file in files("mongodb") {
        let seen = run(&file);
        let records = seen.of("mongodb");
        let requests = records.iter().filter_map(|record| record.request.as_ref());
        let queries = requests.filter(|request| text(request, "opCode").as_deref() == Some("OP_QUERY"));
        let ours = count(queries.map(|request| match text(request, "fullCollectionName") {
            Some(name) => name,
            None => format!("{}.$cmd", text(request, "db").expect("a command has a database")),
        }));
        assert_eq!(ours, namespaces_of_tshark(&file), "{file}");
    }
}

#[test]
fn a_session_reads_like_what_was_done() {
    let seen = run("mongodb/packetbeat--mongo_one_row.pcap");
    let records = seen.of("mongodb");
    let response = records[0].response.as_ref().expect("a response");
    let Some(Value::Map(row)) = field(response, "body") else { panic!("{response:?}") };
    assert!(row.len() > 1, "{row:?}");
    assert_eq!(text(response, "numberReturned").as_deref(), Some("1"));
}

#[test]
fn no_other_protocol_is_taken_for_mongodb() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("mongodb/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if let Some(first) = seen.of("mongodb").first() {
            wrong.push((file, first.summary.clone()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("mongodb").iter().for_each(|file| assert_robust(file));
}
