//! The result of a comparison as JSON Lines: a `type: connection` line each, `type: summary` last.

use super::json::{Connection, write_line};
use super::records_json::connection;
use super::remedy;
use super::time::rfc3339;
use crate::compare::{Balance, Comparison, Edge, Finding, Missing, Report};
use crate::event::{Direction, Timestamp, Transport, Vantage};
use crate::ledger::catalogue;
use serde::Serialize;
use std::io::{self, Write};

/// Writes the report; `time` is that of the summary: when the comparison's last input ended.
///
/// # Errors
/// `out` can't be written.
pub fn write(report: &Report, time: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    for comparison in &report.connections {
        write_line(&ConnectionLine::new(comparison), out)?;
    }
    write_line(&SummaryLine::new(report, time), out)
}

#[derive(Serialize)]
pub(super) struct ConnectionLine<'a> {
    r#type: &'static str,
    time: String,
    /// When it was used last.
    last: String,
    #[serde(flatten)]
    connection: Connection<'a>,
    /// False for a flow of the capture that is no socket of the process.
    of_process: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<u64>,
    /// The addresses under which the capture has it, the process's end first, where they are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    records: u64,
    send: Side,
    recv: Side,
    findings: Vec<FindingObject<'a>>,
}

impl<'a> ConnectionLine<'a> {
    pub(super) fn new(comparison: &'a Comparison) -> ConnectionLine<'a> {
        let [send, recv] = comparison.balances.map(Side::from);
        let [wire_local, wire_remote] = match comparison.translated {
            Some(ends) => ends.map(|end| Some(end.to_string())),
            None => [None, None],
        };
        ConnectionLine {
            r#type: "connection",
            time: rfc3339(comparison.info.first),
            last: rfc3339(comparison.info.last),
            connection: connection(&comparison.info),
            of_process: comparison.of_process,
            flow: comparison.flow.map(|flow| flow.socket),
            wire_local,
            wire_remote,
            protocol: comparison.info.protocol,
            records: comparison.records,
            send,
            recv,
            findings: comparison
                .findings
                .iter()
                .map(|finding| FindingObject::new(finding, comparison.info.open.transport))
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct Side {
    wire: u64,
    syscall: u64,
    captured: u64,
    delivered: u64,
    framed: u64,
    recorded: u64,
    residual: u64,
}

impl From<Balance> for Side {
    fn from(balance: Balance) -> Side {
        let Balance { wire, syscall, captured, delivered, framed, recorded, residual } = balance;
        Side { wire, syscall, captured, delivered, framed, recorded, residual }
    }
}

#[derive(Serialize)]
struct FindingObject<'a> {
    direction: &'static str,
    range: [u64; 2],
    bytes: u64,
    stage: &'static str,
    cause: &'static str,
    detail: &'a str,
    /// True where it describes the limits of the comparison, not a difference.
    note: bool,
    /// How many records the capture shows in the range; the first of them follow.
    record_count: u64,
    records: Vec<MissingObject<'a>>,
    /// Between which moments the bytes moved, as far as the vantages tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<[String; 2]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edges: Vec<EdgeObject>,
}

/// Bytes around the beginning or the end of a finding.
#[derive(Serialize)]
struct EdgeObject {
    offset: u64,
    /// Hexadecimal, two characters a byte; `..` for a byte that the capture lacks.
    bytes: String,
}

impl From<&Edge> for EdgeObject {
    fn from(edge: &Edge) -> EdgeObject {
        let hex = |byte: &Option<u8>| byte.map_or("..".to_owned(), |byte| format!("{byte:02x}"));
        EdgeObject { offset: edge.at, bytes: edge.bytes.iter().map(hex).collect() }
    }
}

impl<'a> FindingObject<'a> {
    fn new(finding: &'a Finding, transport: Transport) -> FindingObject<'a> {
        let Finding { direction, range, cause, detail, records, record_count, times, edges } = finding;
        FindingObject {
            direction: Direction::name(*direction),
            range: [range.from, range.to],
            bytes: range.len(),
            stage: cause.stage().name(),
            cause: cause.slug(),
            detail,
            note: finding.is_note(transport),
            record_count: *record_count,
            records: records.iter().map(MissingObject::new).collect(),
            times: times.map(|times| times.map(rfc3339)),
            edges: edges.iter().map(EdgeObject::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct MissingObject<'a> {
    time: String,
    protocol: &'static str,
    summary: &'a str,
    range: [u64; 2],
}

impl<'a> MissingObject<'a> {
    fn new(missing: &'a Missing) -> MissingObject<'a> {
        let Missing { protocol, summary, started, range } = missing;
        MissingObject { time: rfc3339(*started), protocol, summary, range: [range.from, range.to] }
    }
}

#[derive(Serialize)]
pub(super) struct SummaryLine {
    r#type: &'static str,
    time: String,
    verdict: &'static str,
    /// The process's vantage, and that it was compared with: what `wire` means in the other lines.
    vantages: [&'static str; 2],
    /// How far the second vantage's clock is ahead of the process's, which the report's times are of, in ns; absent where
    /// nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_offset_ns: Option<i64>,
    /// Bytes that both vantages have, and that were not compared byte by byte.
    bytes_not_compared: u64,
    connections: u64,
    records: u64,
    /// Bytes that traced calls moved.
    bytes: u64,
    missing: u64,
    residual: u64,
    causes: Vec<CauseObject>,
    remedies: Vec<Remedy>,
}

#[derive(Serialize)]
struct CauseObject {
    cause: &'static str,
    stage: &'static str,
    bytes: u64,
    findings: u64,
    records: u64,
}

#[derive(Serialize)]
struct Remedy {
    cause: &'static str,
    remedy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

impl SummaryLine {
    pub(super) fn new(report: &Report, time: Timestamp) -> SummaryLine {
        let causes = report.causes();
        let ours: Vec<&Comparison> = report.connections.iter().filter(|one| one.of_process).collect();
        SummaryLine {
            r#type: "summary",
            time: rfc3339(time),
            verdict: report.verdict().name(),
            vantages: report.vantages.map(Vantage::name),
            bytes_not_compared: report.uncompared,
            clock_offset_ns: report.clock.map(|clock| clock.ahead),
            connections: ours.len() as u64,
            records: ours.iter().map(|one| one.records).sum(),
            bytes: ours.iter().flat_map(|one| one.balances).map(|balance| balance.syscall).sum(),
            missing: report.missing(),
            residual: ours.iter().map(|one| one.residual()).sum(),
            causes: causes
                .iter()
                .map(|(cause, total)| CauseObject {
                    cause: cause.slug(),
                    stage: cause.stage().name(),
                    bytes: total.bytes,
                    findings: total.findings,
                    records: total.records,
                })
                .collect(),
            remedies: causes
                .keys()
                .map(|&cause| {
                    let (slug, remedy) = (cause.slug(), catalogue::entry(cause).remedy);
                    Remedy { cause: slug, remedy, command: remedy::command(report, cause) }
                })
                .collect(),
        }
    }
}
