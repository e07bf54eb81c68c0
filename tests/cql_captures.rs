//! CQL in captures that nobody of this project wrote, through the capture source and the tracker: messages are those
//! that tshark found, one by one.

mod common;

use common::captures::{assert_robust, count, expected, files, folder, histogram, run, text, try_run};
use sockdbg::record::{Record, Status};
use std::collections::BTreeMap;
use std::fs;

fn opcodes(records: &[&Record]) -> BTreeMap<String, usize> {
    let messages = records.iter().flat_map(|record| record.messages());
    count(messages.map(|message| text(message, "opcode").expect("an opcode")))
}

#[test]
fn opcodes_are_those_that_tshark_found() {
    let figures = expected("tshark.cql.opcodes");
    assert_eq!(figures.len(), 7, "captures are missing");
    for (file, figure) in figures {
        // The Thrift interface of Cassandra before CQL, which is another protocol.
        let expected = if figure == "0" { BTreeMap::new() } else { histogram(&figure) };
        assert_eq!(opcodes(&run(&file).of("cql")), expected, "{file}");
    }
}

/// A column of the table that tshark wrote beside a capture, one cell a message that has it.
fn column(file: &str, name: &str) -> Vec<String> {
    let Ok(table) = fs::read_to_string(folder().join(format!("{file}.cql.tshark.tsv"))) else {
        return Vec::new();
    };
    let names = table.lines().next().expect("names");
    let at = names.split('\t').position(|column| column == name).expect("the column");
    let cells = table.lines().skip(1).filter_map(|line| line.split('\t').nth(at));
    let mut cells: Vec<String> =
        cells.flat_map(|cell| cell.split('|')).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
    cells.sort();
    cells
}

/// A field of all messages.
fn fields(records: &[&Record], name: &str) -> Vec<String> {
    let messages = records.iter().flat_map(|record| record.messages());
    let mut values: Vec<String> = messages.filter_map(|message| text(message, name)).collect();
    values.sort();
    values
}

#[test]
fn streams_and_counts_of_rows_are_those_that_tshark_found() {
    for file in files("cql") {
        let seen = run(&file);
        let records = seen.of("cql");
        assert_eq!(fields(&records, "stream"), column(&file, "cql.stream"), "{file}");
        assert_eq!(fields(&records, "rows_count"), column(&file, "cql.result.rows.row_count"), "{file}");
        assert_eq!(fields(&records, "code"), column(&file, "cql.error_code"), "{file}");
    }
}

#[test]
fn statements_are_those_that_tshark_found() {
    for file in files("cql") {
        let seen = run(&file);
        // It gives each string that it finds, of which those of queries are some, and writes line ends as \n.
        let strings = column(&file, "cql.string");
        for query in fields(&seen.of("cql"), "query") {
            let query = query.replace('\n', "\\\\n").replace('\t', "\\\\t").replace('\r', "\\\\r");
            assert!(strings.contains(&query), "{file}: {query:?} is not among {strings:#?}");
        }
    }
}

#[test]
fn every_request_has_its_answer() {
    for file in files("cql") {
        for record in run(&file).of("cql") {
            assert_eq!(record.status, Status::Complete, "{file}: {record:?}");
        }
    }
}

#[test]
fn no_other_protocol_is_taken_for_cql() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("cql/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if let Some(first) = seen.of("cql").first() {
            wrong.push((file, first.summary.clone()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("cql").iter().for_each(|file| assert_robust(file));
}
