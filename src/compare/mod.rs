//! Holds the ledger of a process against that of a capture, and names every difference.
//!
//! Knows ledgers and nothing of where they came from: live and offline comparison are the same code.

mod align;
pub mod anchor;
mod balance;
mod clock;
mod contents;
mod datagrams;
mod edges;
mod missing;
mod pairing;
mod translate;

pub use balance::Balance;
pub use clock::Clock;
pub use contents::{Checker, Keeper};
pub use edges::{EDGE, Edge, Edges};
pub use missing::{Collector, Wanted};
pub use pairing::Pairing;

use crate::conn::Info;
use crate::event::{Address, Cause, Conflict, ConnId, Direction, Range, Timestamp, Transport, Vantage};
use crate::ledger::Ledger;
use align::Alignment;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::net::SocketAddr;

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
    /// Bytes that it has twice, with different content.
    pub conflicts: Vec<Conflict>,
    /// Connections of a strace log of which nothing tells what they are at the other vantage.
    pub unplaced: FxHashMap<ConnId, Transport>,
    /// Of a strace log, what the other vantage has under other addresses.
    pub elsewhere: anchor::Elsewhere,
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

    /// True where no byte is missing: some are not what they should be.
    pub fn is_contradiction(&self) -> bool {
        matches!(self.cause, Cause::WireOverlapDiffers | Cause::WireContentDiffers)
    }

    fn place_in_time(&mut self, ledger: &Ledger) {
        let timeline = &ledger.accounts[self.direction.index()].timeline;
        self.times = timeline.before(self.range.from).zip(timeline.after(self.range.to)).map(Into::into);
    }

    /// True where it describes the limits of the comparison, not a difference: traffic of others, what came after
    /// the trace, what nothing places, what was seen under other addresses, what agrees but is encrypted or redacted, and what can't be compared or parsed
    /// for being of this `transport`.
    pub fn is_note(&self, transport: Transport) -> bool {
        match self.cause {
            Cause::NotThisProcess | Cause::AfterDetach | Cause::WireNotCompared => true,
            Cause::WireAddressTranslated | Cause::WireEncrypted | Cause::Redacted => true,
            Cause::StraceNoAddress => true,
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
    /// The addresses under which the capture has it, the process's end first, where they are others.
    pub translated: Option<[Address; 2]>,
    /// Both ends of each flow of the capture that has datagrams of it, where it is a socket of UDP.
    pub lanes: Vec<[SocketAddr; 2]>,
    /// By [`Direction::index`].
    pub balances: [Balance; 2],
    /// What is missing, by direction, stage and offset.
    pub findings: Vec<Finding>,
    /// Records that the process's side made of it.
    pub records: u64,
    alignment: Option<Alignment>,
    /// Where the capture has datagrams whose payload the process's side lacks.
    placed: Vec<Placed>,
    /// Bytes of both vantages that are, or may be, not the same: still to be looked at.
    suspects: Vec<contents::Suspect>,
}

/// A datagram of the process in a flow of the capture.
#[derive(Clone, Copy, Debug)]
struct Placed {
    /// The process's direction, and its offsets.
    direction: Direction,
    range: Range,
    flow: ConnId,
    /// The flow's direction, and the offset there of the first byte.
    flow_direction: Direction,
    at: u64,
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
        Comparison {
            info,
            flow: None,
            of_process,
            translated: None,
            lanes: Vec::new(),
            balances,
            findings,
            records,
            alignment: None,
            placed: Vec::new(),
            suspects: Vec::new(),
        }
    }

    /// Turns its times, which are the capture's, into the process's.
    fn set_clock(&mut self, clock: Clock) {
        self.info.map_times(|time| clock.to_process(time));
        for finding in &mut self.findings {
            finding.times = finding.times.map(|times| times.map(|time| clock.to_process(time)));
        }
    }

    /// True where the other vantage, a process's or a capture, could have it, and was asked.
    fn is_comparable(&self, other: Vantage) -> bool {
        const NOT_COMPARED: [Cause; 2] = [Cause::WireNotCompared, Cause::StraceNoAddress];
        let not_compared = self.findings.iter().any(|finding| NOT_COMPARED.contains(&finding.cause));
        (other.is_process() || !self.info.open.transport.is_unix()) && !not_compared
    }

    /// True where something is missing or unexplained.
    pub fn differs(&self) -> bool {
        self.residual() > 0 || self.faults().next().is_some()
    }

    /// Findings of what is missing or different.
    fn faults(&self) -> impl Iterator<Item = &Finding> {
        let transport = self.info.open.transport;
        self.findings.iter().filter(move |finding| !finding.is_note(transport))
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
    /// Bytes that both vantages have and nobody compared.
    pub uncompared: u64,
    /// How often both were read for their contents.
    passes: u32,
    /// How the clocks of the two differ; absent where no moment is known from both. All times of the report are the
    /// process's.
    pub clock: Option<Clock>,
}

impl Report {
    /// Compares what the process's side saw with what the capture has.
    pub fn new(process: &Side, wire: &Side) -> Report {
        Report::between(process, wire, [Vantage::Syscall, Vantage::Wire])
    }

    /// Compares two vantages, the second of which may be one of the process as well: then it is held against the first
    /// as a capture would be, and what it lacks has the causes of its kind.
    pub fn between(process: &Side, wire: &Side, vantages: [Vantage; 2]) -> Report {
        Pairing::new(process, wire, vantages).report()
    }

    /// The answer in one word.
    pub fn verdict(&self) -> Verdict {
        let (residual, differs, compared) = self.connections.iter().fold((0, false, false), |sum, one| {
            let comparable = one.of_process && one.is_comparable(self.vantages[1]);
            (sum.0 + one.residual(), sum.1 || one.differs(), sum.2 || comparable)
        });
        match (residual, differs, compared) {
            (1.., ..) => Verdict::Unexplained,
            (_, true, _) => Verdict::Incomplete,
            (.., true) => Verdict::Complete,
            _ => Verdict::NothingToCompare,
        }
    }

    /// Bytes of the process's connections that are missing somewhere, or are not the same.
    pub fn missing(&self) -> u64 {
        let ours = self.connections.iter().filter(|one| one.of_process);
        ours.flat_map(Comparison::faults).map(|finding| finding.range.len()).sum()
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
