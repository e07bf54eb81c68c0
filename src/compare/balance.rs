//! One direction of one connection, seen from both vantages: which bytes are missing where, and why.
//!
//! Every byte that either vantage knows of is accounted for at both: present, stopped by a cause, or
//! part of the residual. All offsets are the process's.

use super::align::Alignment;
use super::{Coverage, Finding};
use crate::event::{
    Cause, CloseReason, Direction, FinOrByte, Opened, Range, Stage, Total, Transport, Vantage,
};
use crate::ledger::{Account, Ledger, RangeSet};
use crate::protocol::{End, tls};

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
    /// What the second vantage is.
    pub other: Other,
    /// Where the connection could be one of several flows, or nothing tells which: why it has none.
    pub unpaired: Option<(Cause, &'a str)>,
}

/// What the process's side is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Other {
    /// Its kind.
    pub vantage: Vantage,
    /// True where it is a vantage of processes and has this one.
    pub has_process: bool,
    /// True where it is that of the process at the other end of the connection.
    pub far_end: bool,
}

impl Direct<'_> {
    /// Balances the direction; what stopped anywhere goes to `findings`.
    pub fn balance(&self, findings: &mut Vec<Finding>) -> Balance {
        let account = self.account();
        let everything = self.everything();
        let stages = account.stages();
        let mut residual = stages.residual();
        for stopped in account.stopped() {
            self.find(stopped.range, stopped.cause, &stopped.detail, findings);
        }
        residual += self.missing_at_process(&everything, findings);
        residual += self.missing_on_wire(&everything, findings);
        self.encrypted(findings);
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

    /// Adds a finding; an empty range is none.
    fn find(&self, range: Range, cause: Cause, detail: &str, findings: &mut Vec<Finding>) {
        if !range.is_empty() {
            findings.push(Finding::new(self.direction, range, cause, detail.to_owned()));
        }
    }

    /// Every byte that either vantage knows of. Where each begins in the stream, it knows how many came before.
    fn everything(&self) -> RangeSet {
        let exact = self.process.info.open.exact;
        let before = if exact { self.start().max(self.wire_start) } else { 0 };
        let wire = self.wire.iter().flat_map(|(_, wire)| ranges(wire));
        ranges(self.account()).chain(wire).chain([Range::new(0, before)]).collect()
    }

    /// Bytes that the process's side does not know of. Returns how many nothing explains.
    fn missing_at_process(&self, everything: &RangeSet, findings: &mut Vec<Finding>) -> u64 {
        let (start, end) = (self.start(), self.account().end().max(self.start()));
        let known = known(self.account());
        let mut unexplained = 0;
        for range in everything.iter().flat_map(|range| known.missing_in(range)) {
            let (before, after) = split(range, start);
            self.find(before, Cause::BeforeAttach, "moved before the probes were in place", findings);
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
            self.find(range, Cause::RecordingCut, "the recording ends in the middle", findings);
            return 0;
        }
        match self.direction {
            Direction::Recv if self.other.far_end => self.never_read(range, Reader::Process, findings),
            Direction::Recv => {
                let unread = if open { self.total().pending } else { range.len() };
                let (unread, later) = split(range, range.from + unread.min(range.len()));
                self.find(unread, Cause::Unread, "arrived, and was not read by the process", findings);
                self.find(later, Cause::AfterDetach, "on the wire after the trace ended", findings);
                0
            }
            Direction::Send if open => {
                self.find(range, Cause::AfterDetach, "on the wire after the trace ended", findings);
                0
            }
            Direction::Send => range.len(),
        }
    }

    /// Bytes that the capture does not have. Returns how many nothing explains.
    fn missing_on_wire(&self, everything: &RangeSet, findings: &mut Vec<Finding>) -> u64 {
        let Some((flow, wire)) = &self.wire else {
            let without_packet = |range| self.past_tcp(range, findings);
            for range in everything.iter().flat_map(without_packet).collect::<Vec<_>>() {
                let (cause, detail) = self.unpaired.unwrap_or_else(|| self.no_flow());
                self.find(range, cause, detail, findings);
            }
            return 0;
        };
        // Of datagrams the account itself says what it lacks.
        let of_datagrams = self.other.far_end && self.process.info.open.transport == Transport::Udp;
        let of_calls = self.other.vantage.is_process() && !of_datagrams;
        for lost in &wire.lost {
            let detail = match of_calls {
                true if self.other.far_end => AT_THE_OTHER_END,
                true => self.other.vantage.name(),
                false => &lost.detail,
            };
            self.find(lost.range, lost.cause, detail, findings);
        }
        let known = known(wire);
        let began = self.wire_began(flow, &known);
        let end = wire.end();
        let mut unexplained = 0;
        let missing = everything.iter().flat_map(|range| known.missing_in(range));
        for range in missing.flat_map(|range| self.past_tcp(range, findings)).collect::<Vec<_>>() {
            let (before, after) = split(range, began);
            let (cause, detail) = match self.other.vantage.is_process() {
                true => (Cause::BeforeAttach, "moved before the other vantage began"),
                false => (Cause::WireStartedLate, "the capture began after these bytes were sent"),
            };
            self.find(before, cause, detail, findings);
            let (between, after) = split(after, end);
            unexplained += between.len();
            if !after.is_empty() && self.other.far_end && self.direction == Direction::Send {
                unexplained += self.never_read(after, Reader::FarEnd, findings);
            } else if !after.is_empty() {
                self.after_wire_end(after, flow, findings);
            }
        }
        unexplained
    }

    /// What both have of TLS agrees byte for byte, as ciphertext: there is no plaintext to compare.
    fn encrypted(&self, findings: &mut Vec<Finding>) {
        let Some((_, wire)) = self.wire.as_ref().filter(|_| !self.other.vantage.is_process()) else { return };
        let info = &self.process.info;
        if info.protocol != Some(tls::PROTOCOL.name) {
            return;
        }
        let from = info.protocol_from[self.direction.index()];
        for range in self.account().delivered.iter() {
            let (_, range) = split(range, from);
            for both in wire.delivered.within(range) {
                let detail = "TLS: compared as ciphertext, byte for byte";
                self.find(both, Cause::WireEncrypted, detail, findings);
            }
        }
    }

    /// Bytes that one end wrote, and the other did not read. Its kernel says how many wait there; of what never arrived
    /// the writer's kernel says that it was not acknowledged. Returns how many nothing explains.
    fn never_read(&self, range: Range, reader: Reader, findings: &mut Vec<Finding>) -> u64 {
        let far = self.wire.as_ref().map(|(flow, _)| *flow);
        let of_far = |ledger: &Ledger, direction: Direction| {
            ledger.close.map_or(0, |close| close.totals[direction.index()].pending)
        };
        let (waiting, unsent, reads_on, cut, details) = match reader {
            Reader::FarEnd => (
                far.map_or(0, |far| of_far(far, Direction::Recv)),
                self.total().pending,
                far.is_some_and(|far| far.end != Some(End::Closed)),
                self.coverage[1].cut,
                [
                    "arrived at the other end, and was not read by it",
                    "on its way when the other recording ended",
                ],
            ),
            Reader::Process => (
                self.total().pending,
                far.map_or(0, |far| of_far(far, Direction::Send)),
                self.process.end != Some(End::Closed),
                self.coverage[0].cut,
                ["arrived, and was not read by the process", "on its way when the trace ended"],
            ),
        };
        let (unread, rest) = split(range, range.from + waiting.min(range.len()));
        self.find(unread, Cause::Unread, details[0], findings);
        if reads_on {
            let cause = if cut { Cause::RecordingCut } else { Cause::AfterDetach };
            self.find(rest, cause, details[1], findings);
            return 0;
        }
        // The reader is closed: what was acknowledged had arrived.
        let (arrived, unsent) = split(rest, rest.to - unsent.min(rest.len()));
        self.find(arrived, Cause::Unread, details[0], findings);
        self.find(
            unsent,
            Cause::WireUnsent,
            "written, and not acknowledged by the reader's kernel",
            findings,
        );
        0
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
        if self.other.vantage.is_process() {
            return self.no_calls();
        }
        if process.open.transport.is_unix() {
            return (Cause::WireNoVantage, "a Unix socket: no network carries its bytes");
        }
        // What comes after its last byte moves none, and need not make a flow.
        let moved = self.process.accounts.iter().filter_map(|account| account.timeline.last()).max();
        if capture.first.is_some_and(|first| moved.unwrap_or(process.last) < first) {
            return (Cause::WireStartedLate, "the connection's bytes had moved before the capture began");
        }
        if capture.cut && capture.last.is_none() {
            return (Cause::WireEndedEarly, "the capture ends inside its first packet");
        }
        if capture.last.is_some_and(|last| process.first > last) {
            return (Cause::WireEndedEarly, "the connection began after the capture ended");
        }
        (Cause::WireNoVantage, "the capture has no packet of this connection")
    }

    /// Why another vantage of processes has no call on a connection at all.
    fn no_calls(&self) -> (Cause, &'static str) {
        let (process, other) = (&self.process.info, self.coverage[1]);
        if other.first.is_some_and(|first| process.last < first) {
            return (Cause::BeforeAttach, "the connection was over before the other vantage began");
        }
        if other.last.is_some_and(|last| process.first > last) {
            return (Cause::AfterDetach, "the connection began after the other vantage ended");
        }
        match self.other.has_process {
            _ if self.other.far_end => {
                (Cause::WireNoVantage, "the other recording has neither end of this connection")
            }
            true => (Cause::UntracedSyscall, "the other vantage has no call on this connection"),
            false => {
                (Cause::OtherProcess, "the other vantage lacks this process; strace -f follows children")
            }
        }
    }

    /// Names what no capture can have. The rest of the range.
    fn past_tcp(&self, range: Range, findings: &mut Vec<Finding>) -> Vec<Range> {
        if self.other.vantage.is_process() {
            return vec![range];
        }
        let past = &self.account().past_tcp;
        for part in past.within(range) {
            let detail = "the kernel handed them from socket to socket (BPF sockmap)";
            self.find(part, Cause::WireNoVantage, detail, findings);
        }
        past.missing_in(range)
    }

    /// Why the capture lacks the end of what the process moved.
    fn after_wire_end(&self, range: Range, flow: &Ledger, findings: &mut Vec<Finding>) {
        let ended =
            flow.close.is_some_and(|close| matches!(close.reason, CloseReason::Fin | CloseReason::Reset));
        let capture = self.coverage[1];
        if self.other.vantage.is_process() {
            let over = capture.last.is_none_or(|last| last < self.process.info.last);
            let open = flow.end != Some(End::Closed);
            let (cause, detail) = match open && over {
                _ if self.other.far_end && open && capture.cut => (Cause::RecordingCut, AT_THE_OTHER_END),
                true => (Cause::AfterDetach, "the other vantage ended before these bytes"),
                false => (Cause::UntracedSyscall, "no call at the other vantage"),
            };
            return self.find(range, cause, detail, findings);
        }
        if !ended && (capture.cut || capture.last.is_none_or(|last| last < self.process.info.last)) {
            return self.find(range, Cause::WireEndedEarly, "the capture ended before these bytes", findings);
        }
        let (sent, unsent) = split(range, self.acknowledged(ended));
        let detail = "the process moved them, the capture lacks them";
        self.find(sent, Cause::WireNotCaptured, detail, findings);
        let detail = "written by the process, not on the wire when the connection ended";
        self.find(unsent, Cause::WireUnsent, detail, findings);
    }

    /// Offset before which every byte was on the wire: the peer acknowledged it, as the process's kernel says, or sent it.
    /// Where the kernel's word is missing, a connection that `ended` without the bytes never sent them.
    fn acknowledged(&self, ended: bool) -> u64 {
        let Total { end, pending, .. } = self.total();
        match (self.direction, end) {
            (Direction::Recv, _) => u64::MAX,
            (Direction::Send, Some(end)) => end.saturating_sub(pending),
            (Direction::Send, None) if ended || pending > 0 => 0,
            (Direction::Send, None) => u64::MAX,
        }
    }
}

/// What a flow's account says of a direction, and where its first offset lies, both in the process's offsets. Where the flow
/// has a number that is a byte or the FIN, it is a byte if the process knows of one there, and else none that is missing;
/// what is missing before it then says so.
pub fn on_wire(
    process: &Ledger,
    flow: &Ledger,
    alignment: Alignment,
    direction: Direction,
) -> (Account, u64) {
    let mut wire = alignment.account(direction, flow);
    let of_flow = alignment.flow_direction(direction).index();
    let to_process = |at: u64| alignment.to_process(direction, Range::new(at, at)).from;
    let start = to_process(flow.info.open.start[of_flow].offset);
    let total = flow.close.map_or(Total::default(), |close| close.totals[of_flow]);
    let known = end_of(process, direction);
    let at = total.end.map_or(0, to_process);
    match total.fin_or_byte {
        Some(FinOrByte::BeforeStart) if start > known => return (wire, start - 1),
        Some(FinOrByte::AtEnd(cause)) if known > at => wire.miss(Range::new(at, at + 1), cause),
        Some(FinOrByte::AtEnd(_)) if last_byte(process, direction) != Some(at) => {
            if let Some(last) = wire.lost.last_mut().filter(|last| last.range.to == at) {
                last.detail = BYTE_OR_FIN.to_owned();
            }
        }
        _ => {}
    }
    (wire, start)
}

/// Offset behind the last byte of a direction that the process's side knows of.
fn end_of(process: &Ledger, direction: Direction) -> u64 {
    let index = direction.index();
    let total = process.close.and_then(|close| close.totals[index].end).unwrap_or(0);
    process.accounts[index].end().max(process.info.open.start[index].offset).max(total)
}

/// Of missing bytes at the end of what a capture knows.
const BYTE_OR_FIN: &str = "one number more was acknowledged, which is a byte or the FIN";

/// Where a direction ended, if the process that closed the connection knows: of what it received, it left nothing unread.
fn last_byte(process: &Ledger, direction: Direction) -> Option<u64> {
    let close = process.close.filter(|close| close.reason.is_final())?;
    let Total { end, pending, .. } = close.totals[direction.index()];
    end.filter(|_| direction == Direction::Send || pending == 0)
}

/// Which end did not read.
enum Reader {
    Process,
    FarEnd,
}

/// Where something is missing that the process's side has.
const AT_THE_OTHER_END: &str = "at the other end";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::align::Told;
    use crate::event::{Close, Open, Start, Timestamp};
    use crate::ledger::Stopped;

    /// Cause and range of a finding.
    type Named = (Cause, u64, u64);

    /// What one vantage knows of a direction: delivered, lost.
    fn account(delivered: &[(u64, u64)], lost: &[(u64, u64, Cause)]) -> Account {
        let range = |&(from, to): &(u64, u64)| Range::new(from, to);
        let stopped = |&(from, to, cause): &(u64, u64, Cause)| Stopped {
            range: Range::new(from, to),
            cause,
            detail: String::new(),
        };
        let delivered: RangeSet = delivered.iter().map(range).collect();
        let (framed, recorded) = (delivered.clone(), delivered.clone());
        let lost = lost.iter().map(stopped).collect();
        Account { delivered, lost, framed, recorded, ..Account::default() }
    }

    /// A ledger of both directions with the same account; closed with `pending` bytes where that is told.
    fn ledger(account: &Account, start: Option<u64>, closed: Option<(CloseReason, u64)>) -> Ledger {
        let begin = Start { offset: start.unwrap_or(0), seq: Some(1) };
        let opened = if start.is_some() { Opened::Found } else { Opened::Fresh };
        let open = Open { opened, exact: true, start: [begin; 2], ..Open::default() };
        let mut ledger = Ledger { accounts: [account.clone(), account.clone()], ..Ledger::default() };
        ledger.info.open = open;
        (ledger.info.first, ledger.info.last) = (Timestamp(10), Timestamp(20));
        ledger.end = closed.map(|(reason, _)| if reason.is_final() { End::Closed } else { End::TraceEnded });
        ledger.close = closed.map(|(reason, pending)| {
            let total = Total { pending, ..Total::default() };
            Close { reason, call: None, totals: [total; 2] }
        });
        ledger
    }

    /// `direction` of a process against a flow that begins at `wire_start`: cause and range of each finding,
    /// and the residual.
    fn check(
        direction: Direction,
        process: &Ledger,
        wire: Option<&Ledger>,
        wire_start: u64,
        expected: &[Named],
        residual: u64,
    ) {
        let covered = |last| Coverage { first: Some(Timestamp(0)), last: Some(Timestamp(last)), cut: false };
        let (traced, captured) = (covered(30), covered(30));
        let other = Other { vantage: Vantage::Wire, has_process: false, far_end: false };
        let mut findings = Vec::new();
        let wire = wire.map(|flow| (flow, flow.accounts[direction.index()].clone()));
        let direct = Direct {
            direction,
            process,
            wire,
            wire_start,
            coverage: [&traced, &captured],
            other,
            unpaired: None,
        };
        let balance = direct.balance(&mut findings);
        let found: Vec<_> = findings.iter().map(|one| (one.cause, one.range.from, one.range.to)).collect();
        assert_eq!((found.as_slice(), balance.residual), (expected, residual));
    }

    #[test]
    fn what_both_have_is_no_finding() {
        let whole = ledger(&account(&[(0, 100)], &[]), None, Some((CloseReason::Closed, 0)));
        check(Direction::Send, &whole, Some(&whole), 0, &[], 0);
    }

    #[test]
    fn what_went_past_tcp_no_capture_can_have() {
        let closed = Some((CloseReason::Closed, 0));
        let mut process = ledger(&account(&[(0, 100)], &[]), None, closed);
        process.accounts[0].past_tcp.insert(Range::new(40, 90));
        let wire = ledger(&account(&[(0, 40)], &[]), None, closed);
        let expected = [(Cause::WireNoVantage, 40, 90), (Cause::WireNotCaptured, 90, 100)];
        check(Direction::Send, &process, Some(&wire), 0, &expected, 0);
        let expected =
            [(Cause::WireNoVantage, 40, 90), (Cause::WireNoVantage, 0, 40), (Cause::WireNoVantage, 90, 100)];
        check(Direction::Send, &process, None, 0, &expected, 0);
    }

    #[test]
    fn of_tls_what_both_have_is_noted_from_where_it_begins() {
        let process = account(&[(0, 50), (60, 100)], &[(50, 60, Cause::RingFull)]);
        let wire = account(&[(0, 90)], &[(90, 100, Cause::WireNotCaptured)]);
        let closed = Some((CloseReason::Closed, 0));
        let (mut process, wire) = (ledger(&process, None, closed), ledger(&wire, None, closed));
        process.info.protocol = Some("tls");
        process.info.protocol_from = [8, 1];
        for (direction, from) in [(Direction::Send, 8), (Direction::Recv, 1)] {
            let expected = [
                (Cause::RingFull, 50, 60),
                (Cause::WireNotCaptured, 90, 100),
                (Cause::WireEncrypted, from, 50),
                (Cause::WireEncrypted, 60, 90),
            ];
            check(direction, &process, Some(&wire), 0, &expected, 0);
        }
        check(
            Direction::Send,
            &process,
            None,
            0,
            &[(Cause::RingFull, 50, 60), (Cause::WireNoVantage, 0, 100)],
            0,
        );
    }

    #[test]
    fn two_causes_at_the_same_bytes_are_both_named() {
        let process = account(&[(0, 50)], &[(50, 100, Cause::RingFull)]);
        let wire = account(&[(0, 40), (60, 100)], &[(40, 60, Cause::WireNotCaptured)]);
        let closed = Some((CloseReason::Closed, 0));
        let expected = [(Cause::RingFull, 50, 100), (Cause::WireNotCaptured, 40, 60)];
        let (process, wire) = (ledger(&process, None, closed), ledger(&wire, None, closed));
        check(Direction::Send, &process, Some(&wire), 0, &expected, 0);
    }

    #[test]
    fn what_the_wire_has_behind_the_process_depends_on_direction_and_end() {
        let wire = ledger(&account(&[(0, 100)], &[]), None, Some((CloseReason::Fin, 0)));
        let short = account(&[(0, 70)], &[]);
        let rows: [(Direction, CloseReason, u64, &[Named], u64); 4] = [
            (Direction::Recv, CloseReason::Closed, 0, &[(Cause::Unread, 70, 100)], 0),
            (
                Direction::Recv,
                CloseReason::StillOpen,
                10,
                &[(Cause::Unread, 70, 80), (Cause::AfterDetach, 80, 100)],
                0,
            ),
            (Direction::Send, CloseReason::StillOpen, 0, &[(Cause::AfterDetach, 70, 100)], 0),
            (Direction::Send, CloseReason::Closed, 0, &[], 30), // nothing explains it
        ];
        for (direction, reason, pending, expected, residual) in rows {
            let process = ledger(&short, None, Some((reason, pending)));
            check(direction, &process, Some(&wire), 0, expected, residual);
        }
    }

    #[test]
    fn a_number_that_may_be_the_fin_is_a_byte_where_the_process_knows_of_one() {
        let lost = Cause::WireNotCaptured;
        let closed = |end, pending| (100, Some((CloseReason::Closed, pending)), Some(end));
        let open = |known| (known, Some((CloseReason::StillOpen, 0)), None);
        // What the process knows of, and how it ended; then where what is missing ends, and whether more may be missing.
        let rows = [
            (closed(100, 0), Direction::Send, 100, false),
            (closed(100, 0), Direction::Recv, 100, false),
            (closed(100, 1), Direction::Recv, 100, true), // a byte was left unread, or more
            (closed(101, 0), Direction::Send, 101, false),
            (open(100), Direction::Send, 100, true),
            (open(101), Direction::Send, 101, false),
            (open(90), Direction::Recv, 100, true),
            ((100, None, None), Direction::Recv, 100, true),
        ];
        for ((known, closed, end), direction, expected, unclear) in rows {
            let mut process = ledger(&account(&[(0, known)], &[]), None, closed);
            process.close.iter_mut().flat_map(|close| &mut close.totals).for_each(|total| total.end = end);
            let mut flow =
                ledger(&account(&[(0, 80)], &[(80, 100, lost)]), None, Some((CloseReason::StillOpen, 0)));
            let fin_or_byte = Some(FinOrByte::AtEnd(lost));
            let total = Total { end: Some(100), fin_or_byte, ..Total::default() };
            flow.close.as_mut().expect("told").totals = [total; 2];
            let alignment = Alignment { flow: 0, flipped: false, shift: [0; 2], told: Told::Addresses };
            let (wire, _) = on_wire(&process, &flow, alignment, direction);
            let [last] = &wire.lost[..] else { panic!("{:?}", wire.lost) };
            assert_eq!((last.range.to, last.detail == BYTE_OR_FIN), (expected, unclear), "{direction:?}");
        }
    }

    #[test]
    fn a_flow_that_begins_behind_a_number_that_may_be_the_fin_begins_behind_the_last_byte_known() {
        for (known, expected) in [(100, 100), (99, 100), (101, 101)] {
            let process = ledger(&account(&[(0, known)], &[]), None, Some((CloseReason::StillOpen, 0)));
            let mut flow = ledger(&account(&[], &[]), Some(0), Some((CloseReason::StillOpen, 0)));
            let total = Total { fin_or_byte: Some(FinOrByte::BeforeStart), ..Total::default() };
            flow.close.as_mut().expect("told").totals = [total; 2];
            let alignment = Alignment { flow: 0, flipped: false, shift: [101; 2], told: Told::Addresses };
            assert_eq!(on_wire(&process, &flow, alignment, Direction::Send).1, expected, "{known}");
        }
    }

    #[test]
    fn bytes_that_moved_between_the_two_vantages_are_known_to_have_moved() {
        let process = ledger(&account(&[(0, 40)], &[]), None, Some((CloseReason::StillOpen, 0)));
        let wire = ledger(&account(&[(60, 100)], &[]), Some(0), None);
        let expected = [(Cause::AfterDetach, 40, 100), (Cause::WireStartedLate, 0, 60)];
        check(Direction::Send, &process, Some(&wire), 60, &expected, 0);
    }

    #[test]
    fn a_flow_found_open_began_at_its_first_byte_or_where_its_anchor_says() {
        let process = ledger(&account(&[(0, 100)], &[]), None, Some((CloseReason::Closed, 0)));
        let late = ledger(&account(&[(60, 100)], &[]), Some(0), None);
        check(Direction::Send, &process, Some(&late), 60, &[(Cause::WireStartedLate, 0, 60)], 0);
        let empty = ledger(&account(&[], &[]), Some(0), Some((CloseReason::Fin, 0)));
        check(Direction::Send, &process, Some(&empty), 100, &[(Cause::WireStartedLate, 0, 100)], 0);
    }

    #[test]
    fn bytes_before_both_are_missing_at_both() {
        let process = ledger(&account(&[(40, 100)], &[]), Some(40), Some((CloseReason::Closed, 0)));
        let wire = ledger(&account(&[(60, 100)], &[]), Some(0), None);
        let expected = [(Cause::BeforeAttach, 0, 40), (Cause::WireStartedLate, 0, 60)];
        check(Direction::Recv, &process, Some(&wire), 60, &expected, 0);
        let expected = [(Cause::BeforeAttach, 0, 40), (Cause::WireNoVantage, 0, 100)];
        check(Direction::Recv, &process, None, 0, &expected, 0);
    }

    #[test]
    fn the_end_that_the_wire_lacks_was_not_sent_or_not_captured() {
        let process = ledger(&account(&[(0, 100)], &[]), None, Some((CloseReason::Closed, 0)));
        let wire = ledger(&account(&[(0, 90)], &[]), None, Some((CloseReason::Reset, 0)));
        check(Direction::Send, &process, Some(&wire), 0, &[(Cause::WireUnsent, 90, 100)], 0);
        check(Direction::Recv, &process, Some(&wire), 0, &[(Cause::WireNotCaptured, 90, 100)], 0);
    }

    /// A reset hides what the capture lost before it: the sender's kernel knows what was acknowledged.
    #[test]
    fn what_was_acknowledged_was_sent_although_a_reset_follows() {
        let (lost, unsent) = (Cause::WireNotCaptured, Cause::WireUnsent);
        let wire = ledger(&account(&[(0, 90)], &[]), None, Some((CloseReason::Reset, 0)));
        let rows: [(u64, &[Named]); 3] =
            [(0, &[(lost, 90, 100)]), (4, &[(lost, 90, 96), (unsent, 96, 100)]), (30, &[(unsent, 90, 100)])];
        for (pending, expected) in rows {
            let closed = Some((CloseReason::Closed, pending));
            let mut process = ledger(&account(&[(0, 100)], &[]), None, closed);
            process
                .close
                .iter_mut()
                .flat_map(|close| &mut close.totals)
                .for_each(|total| total.end = Some(100));
            check(Direction::Send, &process, Some(&wire), 0, expected, 0);
        }
    }

    /// A hundred thousand holes at both vantages: with work that grows with their square this would take
    /// hours.
    #[test]
    fn very_many_holes_are_balanced_one_by_one() {
        let count = 100_000u64;
        let parts: Vec<_> = (0..count).map(|n| (n * 10, n * 10 + 5)).collect();
        let holes: Vec<_> = (0..count).map(|n| (n * 10 + 5, n * 10 + 10, Cause::RingFull)).collect();
        let lost: Vec<_> = holes.iter().map(|&(from, to, _)| (from, to, Cause::WireNotCaptured)).collect();
        let process = ledger(&account(&parts, &holes), None, None);
        let wire = ledger(&account(&parts, &lost), None, None);
        let expected: Vec<_> =
            holes.iter().chain(&lost).map(|&(from, to, cause)| (cause, from, to)).collect();
        check(Direction::Send, &process, Some(&wire), 0, &expected, 0);
    }
}
