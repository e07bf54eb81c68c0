//! One direction of one connection, seen from both vantages: which bytes are missing where, and why.
//!
//! Every byte that either vantage knows of is accounted for at both: present, stopped by a cause, or
//! part of the residual. All offsets are the process's.

use super::{Coverage, Finding};
use crate::event::{Cause, CloseReason, Direction, Opened, Range, Stage, Total};
use crate::ledger::{Account, Ledger, RangeSet};
use crate::protocol::End;

/// How many bytes of a direction passed each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Payload in the capture.
    pub wire: u64,
    /// Moved by traced calls.
    pub syscall: u64,
    /// Payload copied in the kernel.
    pub captured: u64,
    /// Payload that arrived in the stream.
    pub delivered: u64,
    /// Part of a frame.
    pub framed: u64,
    /// Part of a record.
    pub recorded: u64,
    /// Bytes that nothing explains, at any stage.
    pub residual: u64,
}

/// A direction of a connection at both vantages.
pub struct Direct<'a> {
    /// Which.
    pub direction: Direction,
    /// The process's ledger.
    pub process: &'a Ledger,
    /// The flow's ledger and its account of this direction in the process's offsets; absent where the
    /// capture has no such flow.
    pub wire: Option<(&'a Ledger, Account)>,
    /// Where the flow's first offset lies in the process's; 0 where there is no flow.
    pub wire_start: u64,
    /// When each vantage was watching.
    pub coverage: [&'a Coverage; 2],
}

impl Direct<'_> {
    /// Balances the direction; what stopped anywhere goes to `findings`.
    pub fn balance(&self, findings: &mut Vec<Finding>) -> Balance {
        let account = self.account();
        let everything = self.everything();
        let stages = account.stages();
        let mut residual = stages.residual();
        for stopped in account.stopped() {
            self.find(stopped.range, stopped.cause, stopped.detail.clone(), findings);
        }
        residual += self.missing_at_process(&everything, findings);
        residual += self.missing_on_wire(&everything, findings);
        Balance {
            wire: self.wire.as_ref().map_or(0, |(_, wire)| wire.delivered.len()),
            syscall: stages.moved,
            captured: stages.captured,
            delivered: stages.delivered,
            framed: stages.framed,
            recorded: stages.recorded,
            residual,
        }
    }

    fn account(&self) -> &Account {
        &self.process.accounts[self.direction.index()]
    }

    fn start(&self) -> u64 {
        self.process.info.open.start[self.direction.index()].offset
    }

    fn total(&self) -> Total {
        self.process.close.map_or(Total::default(), |close| close.totals[self.direction.index()])
    }

    fn find(&self, range: Range, cause: Cause, detail: String, findings: &mut Vec<Finding>) {
        findings.push(Finding::new(self.direction, range, cause, detail));
    }

    /// Every byte that either vantage knows of.
    fn everything(&self) -> RangeSet {
        let before = Range::new(0, if self.process.info.open.exact { self.start() } else { 0 });
        let wire = self.wire.iter().flat_map(|(_, wire)| ranges(wire));
        ranges(self.account()).chain(wire).chain([before]).collect()
    }

    /// Bytes that the process's side does not know of. Returns how many nothing explains.
    fn missing_at_process(&self, everything: &RangeSet, findings: &mut Vec<Finding>) -> u64 {
        let (start, end) = (self.start(), self.account().end().max(self.start()));
        let known = known(self.account());
        let mut unexplained = 0;
        for range in everything.iter().flat_map(|range| known.missing_in(range)) {
            let (before, after) = split(range, start);
            if !before.is_empty() {
                let detail = "moved before the probes were in place".to_owned();
                self.find(before, Cause::BeforeAttach, detail, findings);
            }
            let (between, after) = split(after, end);
            unexplained += between.len();
            unexplained += self.after_process_end(after, findings);
        }
        unexplained
    }

    /// Bytes that the capture has after the last one that the process's side knows of.
    fn after_process_end(&self, range: Range, findings: &mut Vec<Finding>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let open = self.process.end != Some(End::Closed);
        if open && self.coverage[0].cut {
            let detail = "the recording ends in the middle".to_owned();
            self.find(range, Cause::RecordingCut, detail, findings);
            return 0;
        }
        match self.direction {
            Direction::Recv => {
                let unread = if open { self.total().pending } else { range.len() };
                let (unread, later) = split(range, range.from + unread.min(range.len()));
                if !unread.is_empty() {
                    let detail = "arrived, and was not read by the process".to_owned();
                    self.find(unread, Cause::Unread, detail, findings);
                }
                if !later.is_empty() {
                    let detail = "on the wire after the trace ended".to_owned();
                    self.find(later, Cause::AfterDetach, detail, findings);
                }
                0
            }
            Direction::Send if open => {
                let detail = "on the wire after the trace ended".to_owned();
                self.find(range, Cause::AfterDetach, detail, findings);
                0
            }
            Direction::Send => range.len(),
        }
    }

    /// Bytes that the capture does not have. Returns how many nothing explains.
    fn missing_on_wire(&self, everything: &RangeSet, findings: &mut Vec<Finding>) -> u64 {
        let Some((flow, wire)) = &self.wire else {
            for range in everything.iter() {
                let (cause, detail) = self.no_flow();
                self.find(range, cause, detail.to_owned(), findings);
            }
            return 0;
        };
        for lost in &wire.lost {
            self.find(lost.range, lost.cause, lost.detail.clone(), findings);
        }
        let known = known(wire);
        let began = self.wire_began(flow, &known);
        let end = wire.end();
        let mut unexplained = 0;
        for range in everything.iter().flat_map(|range| known.missing_in(range)) {
            let (before, after) = split(range, began);
            if !before.is_empty() {
                let detail = "the capture began after these bytes were sent".to_owned();
                self.find(before, Cause::WireStartedLate, detail, findings);
            }
            let (between, after) = split(after, end);
            unexplained += between.len();
            if !after.is_empty() {
                let (cause, detail) = self.after_wire_end(flow);
                self.find(after, cause, detail.to_owned(), findings);
            }
        }
        unexplained
    }

    /// The first byte that the capture could have: of a flow found open the first one it saw, or, where it
    /// saw none, the one that its acknowledgements or its FIN name.
    fn wire_began(&self, flow: &Ledger, known: &RangeSet) -> u64 {
        if flow.info.open.opened == Opened::Fresh {
            return 0;
        }
        known.iter().next().map_or(self.wire_start, |range| range.from)
    }

    /// Why the capture has no packet of a connection at all.
    fn no_flow(&self) -> (Cause, &'static str) {
        let (process, capture) = (&self.process.info, self.coverage[1]);
        if capture.first.is_some_and(|first| process.last < first) {
            return (Cause::WireStartedLate, "the connection was over before the capture began");
        }
        if capture.last.is_some_and(|last| process.first > last) {
            return (Cause::WireEndedEarly, "the connection began after the capture ended");
        }
        (Cause::WireNoVantage, "the capture has no packet of this connection")
    }

    /// Why the capture lacks the end of what the process moved.
    fn after_wire_end(&self, flow: &Ledger) -> (Cause, &'static str) {
        let ended =
            flow.close.is_some_and(|close| matches!(close.reason, CloseReason::Fin | CloseReason::Reset));
        let capture = self.coverage[1];
        if !ended && (capture.cut || capture.last.is_none_or(|last| last < self.process.info.last)) {
            return (Cause::WireEndedEarly, "the capture ended before these bytes");
        }
        if self.direction == Direction::Send && (ended || self.total().pending > 0) {
            return (Cause::WireUnsent, "written by the process, not on the wire when the connection ended");
        }
        (Cause::WireNotCaptured, "the process moved them, the capture lacks them")
    }
}

/// Bytes of the connection that both vantages would have to account for at `stage` or before.
pub fn stops_before_records(stage: Stage) -> bool {
    !matches!(stage, Stage::Wire | Stage::Record | Stage::Output)
}

/// Every range that an account knows of.
fn ranges(account: &Account) -> impl Iterator<Item = Range> + '_ {
    account.delivered.iter().chain(account.lost.iter().map(|lost| lost.range))
}

fn known(account: &Account) -> RangeSet {
    ranges(account).collect()
}

/// The parts of a range before and from `at`.
fn split(range: Range, at: u64) -> (Range, Range) {
    let at = at.clamp(range.from, range.to);
    (Range::new(range.from, at), Range::new(at, range.to))
}
