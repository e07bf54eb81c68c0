//! PostgreSQL in captures that nobody of this project wrote, through the capture source and the tracker: messages,
//! statements, tags and errors are those of tshark, records those of Zeek, packetbeat and Suricata, and every
//! difference is explained, file by file.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, histogram, run, text, try_run};
use sockdbg::event::Cause;
use sockdbg::record::{Message, Record, Value};
use std::collections::BTreeMap;

fn messages<'a>(records: &'a [&'a Record]) -> impl Iterator<Item = &'a Message> {
    records.iter().flat_map(|record| record.messages())
}

/// Statements sent: by Query, and by Parse.
fn statements(records: &[&Record]) -> usize {
    let requests = records.iter().filter_map(|record| record.request.as_ref());
    let sends = |request: &&Message| {
        let parses = match field(request, "messages") {
            Some(Value::List(names)) => names.contains(&Value::Text("Parse".into())),
            _ => false,
        };
        parses || matches!(text(request, "type").as_deref(), Some("Query" | "Parse"))
    };
    requests.filter(sends).count()
}

/// Command tags, as `SELECT 1:2`; each result of an answer counts.
fn tags(records: &[&Record]) -> BTreeMap<String, usize> {
    let mut tags = Vec::new();
    for message in messages(records) {
        tags.extend(text(message, "command_tag"));
        if let Some(Value::List(results)) = field(message, "results") {
            for result in results {
                let Value::Map(pairs) = result else { panic!("{result:?}") };
                let tag = pairs.iter().find(|(name, _)| *name == Value::Text("command_tag".into()));
                if let Some((_, Value::Bytes(tag))) = tag {
                    tags.push(String::from_utf8_lossy(tag).into_owned());
                }
            }
        }
    }
    count(tags.into_iter().filter(|tag| !["empty query", "portal suspended"].contains(&tag.as_str())))
}

/// SQLSTATEs of errors and notices.
fn codes(records: &[&Record]) -> BTreeMap<String, usize> {
    fn of(value: &Value) -> Option<String> {
        let Value::Map(pairs) = value else { return None };
        let code = pairs.iter().find(|(name, _)| *name == Value::Text("code".into()));
        code.and_then(|(_, value)| match value {
            Value::Bytes(code) => Some(String::from_utf8_lossy(code).into_owned()),
            _ => None,
        })
    }
    let mut codes = Vec::new();
    for message in messages(records) {
        codes.extend(field(message, "error").and_then(of));
        if let Some(Value::List(notices)) = field(message, "notices") {
            codes.extend(notices.iter().filter_map(of));
        }
    }
    count(codes.into_iter())
}

/// What tshark counts by the type of messages.
fn types(figure: &str) -> BTreeMap<String, usize> {
    if figure == "0" { BTreeMap::new() } else { histogram(figure) }
}

/// Records by the type of what the client sent.
fn kinds(records: &[&Record]) -> BTreeMap<String, usize> {
    let requests = records.iter().filter_map(|record| record.request.as_ref());
    count(requests.filter_map(|request| text(request, "type")))
}

#[test]
fn statements_are_as_many_as_tshark_counts() {
    let figures = expected("tshark.pgsql.queries");
    assert_eq!(figures.len(), 27, "captures are missing");
    for (file, figure) in figures {
        assert_eq!(statements(&run(&file).of("postgres")).to_string(), figure, "{file}");
    }
}

#[test]
fn command_tags_are_those_of_tshark() {
    let figures = expected("tshark.pgsql.command_tags");
    assert_eq!(figures.len(), 15, "captures are missing");
    for (file, figure) in figures {
        assert_eq!(tags(&run(&file).of("postgres")), histogram(&figure), "{file}");
    }
}

#[test]
fn error_codes_are_those_of_tshark() {
    let figures = expected("tshark.pgsql.error_codes");
    assert_eq!(figures.len(), 5, "captures are missing");
    for (file, figure) in figures {
        assert_eq!(codes(&run(&file).of("postgres")), histogram(&figure), "{file}");
    }
}

/// What tshark calls the messages that records count one by one.
const NAMES: [(&str, &str); 8] = [
    ("Startup message", "StartupMessage"),
    ("SSL request", "SSLRequest"),
    ("GSS encrypt request", "GSSENCRequest"),
    ("Cancel request", "CancelRequest"),
    ("Simple query", "Query"),
    ("Termination", "Terminate"),
    ("SASLInitialResponse message", "SASLInitialResponse"),
    ("SASLResponse message", "SASLResponse"),
];

/// Files in which tshark counts other messages of the client, with the reason.
const KINDS: [(&str, &str, usize, &str); 1] = [(
    "postgres/suricata--pgsql--pgsql-events--UnknownMessage.pcap",
    "Unknown",
    0,
    "eight bytes with a code that no version of the protocol has: not taken for PostgreSQL",
)];

#[test]
fn messages_of_the_client_are_those_of_tshark() {
    for (file, figure) in expected("tshark.pgsql.types") {
        let (ours, theirs) = (kinds(&run(&file).of("postgres")), types(&figure));
        for (theirs_name, name) in NAMES {
            let pair = (theirs.get(theirs_name).copied(), ours.get(name).copied());
            assert_eq!(pair.0, pair.1, "{file}: {name}");
        }
        let executions = ours.get("Execute").copied();
        assert_eq!(executions, theirs.get("Execute").copied(), "{file}: Execute");
        for (_, name, count, reason) in KINDS.iter().filter(|row| row.0 == file) {
            assert_eq!(theirs.get(*name), Some(&1), "{reason}: there is no difference any more");
            assert_eq!(run(&file).of("postgres").len(), *count, "{reason}");
        }
    }
}

#[test]
fn rows_are_as_many_as_tshark_counts() {
    for (file, figure) in expected("tshark.pgsql.types") {
        let seen = run(&file);
        let mut rows = 0;
        for message in messages(&seen.of("postgres")) {
            rows += text(message, "rows").map_or(0, |rows| rows.parse::<u64>().expect("a number"));
        }
        let theirs = types(&figure).get("Data row").copied().unwrap_or(0) as u64;
        assert_eq!(rows, theirs, "{file}");
    }
}

#[test]
fn records_are_the_rows_that_zeek_logs() {
    let figures = expected("zeek.postgresql.log.rows");
    assert_eq!(figures.len(), 6, "captures are missing");
    for (file, figure) in figures {
        let seen = run(&file);
        let kinds = kinds(&seen.of("postgres"));
        // Zeek takes a login for one.
        let of = |name: &str| kinds.get(name).copied().unwrap_or(0);
        let rows = of("SSLRequest") + of("StartupMessage") + of("Query") + of("Terminate");
        assert_eq!(rows.to_string(), figure, "{file}");
    }
}

#[test]
fn transactions_are_those_of_packetbeat() {
    let figures = expected("packetbeat.transactions");
    let figures: Vec<_> = figures.into_iter().filter(|(file, _)| file.starts_with("postgres/")).collect();
    assert_eq!(figures.len(), 3, "captures are missing");
    for (file, figure) in figures {
        let statements = kinds(&run(&file).of("postgres")).get("Query").copied().unwrap_or(0);
        assert_eq!(statements.to_string(), figure, "{file}");
    }
}

/// Captures in which Suricata counts more transactions, with the reason.
const TRANSACTIONS: [(&str, usize, &str); 1] = [(
    "postgres/suricata--pgsql--pgsql-copy-data-in--TLPW-Jason-copyfrom-small.pcap",
    1,
    "it takes the data of a COPY for a transaction of their own; here they belong to the COPY",
)];

#[test]
fn records_are_the_transactions_of_suricata() {
    let figures = expected("suricata.eve.pgsql");
    assert_eq!(figures.len(), 2, "captures are missing");
    for (file, figure) in figures {
        let more = TRANSACTIONS.iter().find(|row| row.0 == file).map_or(0, |row| row.1);
        assert_eq!((run(&file).of("postgres").len() + more).to_string(), figure, "{file}");
    }
}

#[test]
fn connections_are_those_of_arkime_and_ndpi() {
    for (kind, file, count) in [
        ("arkime.sessions", "postgres/arkime--postgres-good.pcap", 1),
        ("ndpi.flows", "postgres/ndpi--pgsql.pcap", 6),
    ] {
        let figure = &expected(kind)[file];
        let said = [format!("postgresql:{count}"), format!("PostgreSQL={count}")];
        assert!(said.iter().any(|word| figure.contains(word)), "{figure}");
        let seen = run(file);
        assert_eq!(seen.protocols.values().filter(|protocol| **protocol == Some("postgres")).count(), count);
    }
}

/// Captures of other protocols in which somebody speaks PostgreSQL as well: how many records.
const BESIDE: [(&str, usize, &str); 1] = [(
    "http/packetbeat--http_10_connection_close.pcap",
    1,
    "a connection to port 5432 begins with an SSLRequest, which the server agrees to",
)];

#[test]
fn no_other_protocol_is_taken_for_postgres() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("postgres/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        let expected = BESIDE.iter().find(|row| row.0 == file).map_or(0, |row| row.1);
        if seen.of("postgres").len() != expected {
            let first = seen.of("postgres").first().map(|record| record.summary.clone());
            wrong.push((file, seen.of("postgres").len(), first));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(read > 500, "captures are missing: {read} were read");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("postgres").iter().for_each(|file| assert_robust(file));
}

/// Files of which not every byte becomes a frame, for these causes.
const SKIPPED: [(&str, Cause, &str); 3] = [
    (
        "postgres/suricata--pgsql--pgsql-events--UnknownMessage.pcap",
        Cause::ProtocolUnknown,
        "its packet has no code of the protocol",
    ),
    (
        "postgres/suricata--pgsql-bug-6080-probe-test-01.pcap",
        Cause::ProtocolUnknown,
        "IRC on the port of PostgreSQL",
    ),
    (
        "postgres/zeek--postgresql--bad-startup-message-1.pcap",
        Cause::ProtocolUnknown,
        "the packet says to be 3 bytes long, and the server's error lacks its SQLSTATE",
    ),
];

#[test]
fn every_byte_is_framed_where_nothing_is_missing() {
    for file in files("postgres") {
        let seen = run(&file);
        let skipped: Vec<Cause> =
            Cause::ALL.iter().copied().filter(|&cause| seen.skipped(cause) > 0).collect();
        let expected: Vec<Cause> = SKIPPED.iter().filter(|row| row.0 == file).map(|row| row.1).collect();
        assert_eq!(skipped, expected, "{file}");
    }
}
