//! Holds the ledger of a process against that of a capture, and names every difference.
//!
//! Knows ledgers and nothing of where they came from: live and offline comparison are the same code.

mod align;
pub mod anchor;
mod balance;
mod datagrams;
mod edges;
mod missing;

pub use balance::Balance;
pub use edges::{EDGE, Edge, Edges};
pub use missing::{Collector, Wanted};

use crate::conn::Info;
use crate::event::{Cause, ConnId, Direction, Range, Role, Timestamp, Transport, Vantage};
use crate::ledger::Ledger;
use align::{Alignment, Flows};
use balance::{Direct, Other};
use datagrams::{Datagrams, is_udp};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// How many missing records a finding lists; the others are counted.
pub const LISTED_RECORDS: usize = 100;

/// When a vantage was watching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Time of its first event or packet, or when the probes were in place.
    pub first: Option<Timestamp>,
    /// Time of its last.
    pub last: Option<Timestamp>,
    /// True where the input ends in the middle.
    pub cut: bool,
}

/// What one vantage saw.
#[derive(Debug, Default)]
pub struct Side {
    /// Its ledgers.
    pub ledgers: Vec<Ledger>,
    /// When it was watching.
    pub coverage: Coverage,
    /// It has streams alone: what it lacks of datagrams means nothing.
    pub streams_only: bool,
}

/// A record of the other vantage that these bytes would have become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its protocol.
    pub protocol: &'static str,
    /// The record on one line.
    pub summary: String,
    /// Time of its first byte.
    pub started: Timestamp,
    /// Its range in the finding's direction, in the process's offsets.
    pub range: Range,
}

/// A range of bytes that stopped at a stage, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which direction.
    pub direction: Direction,
    /// Which bytes.
    pub range: Range,
    /// Why; the cause knows its stage.
    pub cause: Cause,
    /// What is known beyond the cause.
    pub detail: String,
    /// Records that the capture shows in the range, at most [`LISTED_RECORDS`].
    pub records: Vec<Missing>,
    /// How many records there are, listed or not.
    pub record_count: u64,
    /// Between which moments the bytes moved, as far as the vantages tell.
    pub times: Option<[Timestamp; 2]>,
    /// The bytes around its beginning and around its end, where they were collected ([`Edges`]).
    pub edges: Vec<Edge>,
}

impl Finding {
    fn new(direction: Direction, range: Range, cause: Cause, detail: String) -> Finding {
        let (records, edges) = (Vec::new(), Vec::new());
        Finding { direction, range, cause, detail, records, record_count: 0, times: None, edges }
    }

    fn place_in_time(&mut self, ledger: &Ledger) {
        let timeline = &ledger.accounts[self.direction.index()].timeline;
        self.times = timeline.before(self.range.from).zip(timeline.after(self.range.to)).map(Into::into);
    }

    /// True where it describes the limits of the comparison, not a difference: traffic of others, what came after
    /// the trace, what agrees but is encrypted, and what can't be compared or parsed for being of this `transport`.
    pub fn is_note(&self, transport: Transport) -> bool {
        match self.cause {
            Cause::NotThisProcess | Cause::AfterDetach | Cause::WireNotCompared | Cause::WireEncrypted => {
                true
            }
            Cause::WireNoVantage => transport.is_unix(),
            Cause::ProtocolUnknown => !transport.is_stream(),
            _ => false,
        }
    }
}

/// One connection at both vantages.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Who it is: as the process saw it, or as the capture did where no socket of the process matches.
    pub info: Info,
    /// The flow's number in the capture.
    pub flow: Option<ConnId>,
    /// True where the process has this connection.
    pub of_process: bool,
    /// By [`Direction::index`].
    pub balances: [Balance; 2],
    /// What is missing, by direction, stage and offset.
    pub findings: Vec<Finding>,
    /// Records that the process's side made of it.
    pub records: u64,
    alignment: Option<Alignment>,
}

impl Comparison {
    /// Bytes that nothing explains.
    pub fn residual(&self) -> u64 {
        self.balances.iter().map(|balance| balance.residual).sum()
    }

    /// Without alignment.
    fn of(
        ledger: &Ledger,
        of_process: bool,
        balances: [Balance; 2],
        mut findings: Vec<Finding>,
    ) -> Comparison {
        findings.sort_by_key(|finding| (finding.direction, finding.cause.stage(), finding.range));
        findings.iter_mut().for_each(|finding| finding.place_in_time(ledger));
        let (info, records) = (ledger.info.clone(), ledger.records);
        Comparison { info, flow: None, of_process, balances, findings, records, alignment: None }
    }

    /// True where a capture could have it.
    fn is_comparable(&self) -> bool {
        let not_compared = self.findings.iter().any(|finding| finding.cause == Cause::WireNotCompared);
        !self.info.open.transport.is_unix() && !not_compared
    }

    /// True where something is missing or unexplained.
    pub fn differs(&self) -> bool {
        let transport = self.info.open.transport;
        self.residual() > 0 || self.findings.iter().any(|finding| !finding.is_note(transport))
    }
}

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte of the process's connections became part of a record, and the capture agrees.
    Complete,
    /// Bytes are missing, and each has its cause.
    Incomplete,
    /// Bytes are missing without a cause: sockdbg is wrong, or a cause is missing from its catalogue.
    Unexplained,
    /// The process moved no byte on a connection that could be compared.
    NothingToCompare,
}

impl Verdict {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Complete => "complete",
            Verdict::Incomplete => "incomplete",
            Verdict::Unexplained => "unexplained",
            Verdict::NothingToCompare => "nothing-to-compare",
        }
    }
}

/// Bytes and findings of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CauseTotal {
    /// Bytes that stopped for it.
    pub bytes: u64,
    /// Ranges.
    pub findings: u64,
    /// Records that the capture shows in them.
    pub records: u64,
}

/// The result of a comparison.
#[derive(Debug)]
pub struct Report {
    /// Connections of the process, then flows of the capture that are none of its.
    pub connections: Vec<Comparison>,
    /// The process's, and that which it is compared with.
    pub vantages: [Vantage; 2],
}

impl Report {
    /// Compares what the process's side saw with what the capture has.
    pub fn new(process: &Side, wire: &Side) -> Report {
        Report::between(process, wire, [Vantage::Syscall, Vantage::Wire])
    }

    /// Compares two vantages, the second of which may be one of the process as well: then it is held against the first
    /// as a capture would be, and what it lacks has the causes of its kind.
    pub fn between(process: &Side, wire: &Side, vantages: [Vantage; 2]) -> Report {
        let other = vantages[1];
        let flows = Flows::new(&wire.ledgers);
        let coverage = [&process.coverage, &wire.coverage];
        let pids: FxHashSet<Option<u32>> = wire.ledgers.iter().map(pid_of).collect();
        let mut used = vec![false; wire.ledgers.len()];
        let mut datagrams = (!other.is_process()).then(|| Datagrams::new(&process.ledgers, &wire.ledgers));
        let mut connections = Vec::new();
        let aligned = process.ledgers.iter().zip(flows.align(&process.ledgers));
        for (number, (ledger, alignment)) in aligned.enumerate() {
            if let Some(alignment) = &alignment {
                used[alignment.flow] = true;
            }
            // A log of strace without -f does not tell whose it is.
            let has_process = pids.contains(&pid_of(ledger)) || pids.contains(&None);
            let other = Other { vantage: other, has_process };
            if let Some(datagrams) = datagrams.as_mut().filter(|_| is_udp(ledger)) {
                connections.push(datagrams.compare(number, ledger, wire, coverage, other));
                continue;
            }
            connections.push(compare(ledger, wire, alignment, coverage, other));
        }
        connections.retain(|comparison| !is_silent(comparison));
        for (number, flow) in wire.ledgers.iter().enumerate().filter(|&(number, _)| !used[number]) {
            let datagrams = datagrams.as_ref().filter(|_| is_udp(flow));
            match datagrams.and_then(|datagrams| datagrams.rest(number, &process.coverage)) {
                None => connections.push(unmatched(flow, process, other)),
                Some(rest) if rest.findings.is_empty() => {}
                Some(rest) => connections.push(rest),
            }
        }
        Report { connections, vantages }
    }

    /// The answer in one word.
    pub fn verdict(&self) -> Verdict {
        let (residual, differs, compared) = self.connections.iter().fold((0, false, false), |sum, one| {
            let both_processes = self.vantages[1].is_process();
            let comparable = one.of_process && (one.is_comparable() || both_processes);
            (sum.0 + one.residual(), sum.1 || one.differs(), sum.2 || comparable)
        });
        match (residual, differs, compared) {
            (1.., ..) => Verdict::Unexplained,
            (_, true, _) => Verdict::Incomplete,
            (.., true) => Verdict::Complete,
            _ => Verdict::NothingToCompare,
        }
    }

    /// Totals by cause, in pipeline order.
    pub fn causes(&self) -> BTreeMap<Cause, CauseTotal> {
        let mut causes: BTreeMap<Cause, CauseTotal> = BTreeMap::new();
        for finding in self.connections.iter().flat_map(|comparison| &comparison.findings) {
            let total = causes.entry(finding.cause).or_default();
            total.bytes += finding.range.len();
            total.findings += 1;
            total.records += finding.record_count;
        }
        causes
    }
}

/// The process that used a connection last.
fn pid_of(ledger: &Ledger) -> Option<u32> {
    ledger.info.task.map(|task| task.pid)
}

fn compare(
    process: &Ledger,
    wire: &Side,
    alignment: Option<Alignment>,
    coverage: [&Coverage; 2],
    other: Other,
) -> Comparison {
    let mut findings = Vec::new();
    let balances = Direction::BOTH.map(|direction| {
        let wire = alignment.as_ref().map(|alignment| {
            let flow = &wire.ledgers[alignment.flow];
            (flow, alignment.account(direction, flow))
        });
        let wire_start =
            alignment.map_or(0, |alignment| alignment.to_process(direction, Range::default()).from);
        Direct { direction, process, wire, wire_start, coverage, other }.balance(&mut findings)
    });
    findings.sort_by_key(|finding| (finding.direction, finding.cause.stage(), finding.range));
    findings.iter_mut().for_each(|finding| finding.place_in_time(process));
    Comparison {
        info: process.info.clone(),
        flow: alignment.map(|alignment| wire.ledgers[alignment.flow].info.id),
        of_process: true,
        balances,
        findings,
        records: process.records,
        alignment,
    }
}

/// True for a connection that moved nothing: there is nothing to say about it.
fn is_silent(comparison: &Comparison) -> bool {
    comparison.findings.is_empty() && comparison.balances == [Balance::default(); 2]
}

/// A flow of the capture that belongs to no connection of the process.
fn unmatched(flow: &Ledger, process: &Side, other: Vantage) -> Comparison {
    let (cause, detail) = match other.is_process() {
        true => why_unmatched_call(flow, process),
        false => why_unmatched(flow, process),
    };
    let mut findings = Vec::new();
    let balances = Direction::BOTH.map(|direction| {
        let account = &flow.accounts[direction.index()];
        let end = account.end();
        if end > 0 {
            findings.push(Finding::new(direction, Range::new(0, end), cause, detail.to_owned()));
        }
        Balance { wire: account.delivered.len(), ..Balance::default() }
    });
    findings.iter_mut().for_each(|finding| finding.place_in_time(flow));
    Comparison {
        info: flow.info.clone(),
        flow: Some(flow.info.id),
        of_process: false,
        balances,
        findings,
        records: 0,
        alignment: None,
    }
}

/// A flow to an address at which the process serves may have come before or after the trace.
fn why_unmatched(flow: &Ledger, process: &Side) -> (Cause, &'static str) {
    let served = |ledger: &Ledger| {
        ledger.info.open.role == Role::Server && ledger.info.open.local == flow.info.open.remote
    };
    let coverage = &process.coverage;
    if process.ledgers.iter().any(served) {
        if coverage.first.is_some_and(|first| flow.info.last < first) {
            return (Cause::BeforeAttach, "the connection was over before the probes were in place");
        }
        if coverage.last.is_some_and(|last| flow.info.first > last) {
            return match coverage.cut {
                true => (Cause::RecordingCut, "the connection began after the recording's end"),
                false => (Cause::AfterDetach, "the connection began after the trace ended"),
            };
        }
    }
    (Cause::NotThisProcess, "no socket of the process has these addresses")
}

/// Why the process's side has no connection that another vantage of processes has.
fn why_unmatched_call(flow: &Ledger, process: &Side) -> (Cause, &'static str) {
    if !process.ledgers.iter().any(|ledger| pid_of(ledger) == pid_of(flow)) {
        return (Cause::NotThisProcess, "of a process that the other file lacks");
    }
    let coverage = &process.coverage;
    if coverage.first.is_some_and(|first| flow.info.last < first) {
        return (Cause::BeforeAttach, "the connection was over before the first file begins");
    }
    if coverage.last.is_some_and(|last| flow.info.first > last) {
        return (Cause::AfterDetach, "the connection began after the first file ends");
    }
    (Cause::UntracedSyscall, "the first file has no call on this connection")
}
