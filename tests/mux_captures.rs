//! Mux in captures that nobody of this project wrote, through the capture source and the tracker: messages are those that
//! Finagle's own Lua dissector found, where they are Mux.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, histogram, run, text, try_run};
use sockdbg::record::{Record, Status, Value};
use std::collections::BTreeMap;

const FILE: &str = "mux/finagle--end-to-end.pkts1-552.pcap";

/// Kinds that the dissector counts and that are none, with the reason: it takes every connection for Mux, also those of
/// framed Thrift in the same capture. A call of Thrift begins with 80 01 00 01, which it reads as an Rerr with tag
/// 0x010001; an answer behind an empty header of TTwitter begins with 00, which it names CanTinit.
const THRIFT: [&str; 2] = ["Rerr", "CanTinit"];

fn kinds(records: &[&Record]) -> BTreeMap<String, usize> {
    let messages = records.iter().flat_map(|record| record.messages());
    count(messages.map(|message| text(message, "type").expect("a type")))
}

#[test]
fn kinds_of_messages_are_those_of_finagle_s_dissector() {
    let figures = expected("finagle-lua.mux.types");
    assert_eq!(figures.len(), 1, "captures are missing");
    let mut theirs = histogram(&figures[FILE]);
    assert_eq!(THRIFT.map(|kind| theirs.remove(kind).expect("a kind")), [44, 25]);
    let seen = run(FILE);
    assert_eq!(kinds(&seen.of("mux")), theirs);
}

/// What the dissector read of each message that is Mux: tag and type. Those of Thrift have types 0 and 128.
fn dissected() -> Vec<(String, String)> {
    let table = folder().join(format!("{FILE}.mux.tshark.tsv"));
    let table = std::fs::read_to_string(table).expect("what tshark decoded");
    let rows = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let mut messages = Vec::new();
    for row in rows {
        let (types, tags) = (row[3].split('|'), row[4].split('|'));
        let pairs = types.zip(tags).filter(|(kind, _)| !matches!(*kind, "0" | "128"));
        messages.extend(pairs.map(|(kind, tag)| (kind.to_owned(), tag.to_owned())));
    }
    messages.sort();
    messages
}

#[test]
fn tags_are_those_of_finagle_s_dissector() {
    let numbers = [
        ("Tdispatch", "2"),
        ("Rdispatch", "254"),
        ("Tdrain", "64"),
        ("Rdrain", "192"),
        ("Tping", "65"),
        ("Rping", "191"),
    ];
    let seen = run(FILE);
    let records = seen.of("mux");
    let mut ours: Vec<(String, String)> = records
        .iter()
        .flat_map(|record| record.messages())
        .map(|message| {
            let kind = text(message, "type").expect("a type");
            let number = numbers.iter().find(|(name, _)| *name == kind).expect("a known type").1;
            (number.to_owned(), text(message, "tag").expect("a tag"))
        })
        .collect();
    ours.sort();
    assert_eq!(ours, dissected());
}

#[test]
fn every_request_has_its_answer_and_its_contexts() {
    let seen = run(FILE);
    for record in seen.of("mux") {
        assert_eq!(record.status, Status::Complete, "{record:?}");
        let request = record.request.as_ref().expect("a request");
        if text(request, "type").as_deref() == Some("Tdispatch") {
            let Some(Value::Map(contexts)) = field(request, "contexts") else { panic!("{request:?}") };
            let names = contexts.iter().map(|(name, _)| name);
            let deadline = Value::Bytes(b"com.twitter.finagle.Deadline".to_vec());
            assert!(names.into_iter().any(|name| *name == deadline), "{contexts:?}");
            assert_eq!(text(request, "thrift_method").as_deref(), Some("query"));
        }
    }
}

#[test]
fn no_other_protocol_is_taken_for_mux() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("mux/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if let Some(first) = seen.of("mux").first() {
            wrong.push((file, first.summary.clone()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("mux").iter().for_each(|file| assert_robust(file));
}
