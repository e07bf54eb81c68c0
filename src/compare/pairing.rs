//! Which connection is which flow, and the report that follows from it.
//!
//! Addresses and sequence numbers are looked at first ([`super::align`]); what they leave is looked for under other
//! addresses ([`super::translate`]), which may take another pass over the capture ([`Pairing::finder`]).

use super::align::{self, Alignment, Flows, Told};
use super::anchor::{Finder, Hits, Outline};
use super::balance::{self, Balance, Direct, Other};
use super::clock::{Clock, Estimate};
use super::contents;
use super::datagrams::again::Again;
use super::datagrams::far::FarEnds;
use super::datagrams::{Datagrams, is_udp};
use super::translate::{self, ByContent, Firsts, Used};
use super::{Comparison, Coverage, Finding, Report, Side};
use crate::conn::Info;
use crate::event::{Address, Cause, Conflict, ConnId, Direction, Opened, Range, Role, Timestamp, Vantage};
use crate::ledger::Ledger;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// How many flows are named that a connection could be.
const NAMED: usize = 4;

/// The connections of a process and the flows of another vantage.
pub struct Pairing<'a> {
    process: &'a Side,
    wire: &'a Side,
    vantages: [Vantage; 2],
    /// By connection of the process.
    aligned: Vec<Option<Alignment>>,
    used: Used,
    /// Connections that could be one of several flows.
    ambiguous: Vec<(usize, Vec<usize>)>,
    firsts: Firsts,
    clock: Option<Clock>,
}

impl<'a> Pairing<'a> {
    /// Pairs what addresses and sequence numbers tell.
    pub fn new(process: &'a Side, wire: &'a Side, vantages: [Vantage; 2]) -> Pairing<'a> {
        let (mut aligned, mut estimate) =
            Flows::new(&wire.ledgers, vantages == TWO_RECORDINGS).align(&process.ledgers);
        let mut used = vec![[false; 2]; wire.ledgers.len()];
        for alignment in aligned.iter().flatten() {
            used[alignment.flow][usize::from(alignment.flipped)] = true;
        }
        // A log of strace has no sequence numbers, and its addresses are those of the other vantage by now.
        let firsts = Firsts::new(if vantages.contains(&Vantage::Strace) { &[] } else { &wire.ledgers });
        translate::by_sequence(&process.ledgers, &wire.ledgers, &firsts, &mut aligned, &mut used);
        let of_sequence = |(index, one): (usize, &Option<Alignment>)| {
            one.filter(|one| one.told == Told::Sequence).map(|one| (index, one))
        };
        for (index, alignment) in aligned.iter().enumerate().filter_map(of_sequence) {
            estimate.add(&process.ledgers[index], &wire.ledgers[alignment.flow], alignment);
        }
        let (ambiguous, clock) = (Vec::new(), estimate.clock());
        let mut pairing = Pairing { process, wire, vantages, aligned, used, ambiguous, firsts, clock };
        pairing.learn_elsewhere();
        pairing.estimate_clock();
        pairing
    }

    /// Pairs what content has told beforehand, of a strace log.
    fn learn_elsewhere(&mut self) {
        let flows = self.wire.ledgers.iter().enumerate();
        let flows: FxHashMap<ConnId, usize> = flows.map(|(index, flow)| (flow.info.id, index)).collect();
        for (number, process) in self.process.ledgers.iter().enumerate() {
            let id = process.info.id;
            if let Some((flow, flipped)) = self.process.elsewhere.known.get(&id)
                && let Some(&flow) = flows.get(flow)
            {
                let alignment = Alignment { flow, flipped: *flipped, shift: [0; 2], told: Told::Content };
                let fit = align::by_anchors(process, &self.wire.ledgers[flow], alignment);
                self.used[flow][usize::from(*flipped)] |= fit.is_some();
                self.aligned[number] = fit.map(|(_, alignment)| alignment);
            } else if let Some(could_be) = self.process.elsewhere.ambiguous.get(&id) {
                let could_be = could_be.iter().filter_map(|flow| flows.get(flow).copied());
                self.ambiguous.push((number, could_be.collect()));
            }
        }
    }

    /// How the clocks differ, by every pair, where those that are certain did not tell.
    fn estimate_clock(&mut self) {
        if self.clock.is_some() {
            return;
        }
        let mut estimate = Estimate::default();
        for (ledger, alignment) in self.process.ledgers.iter().zip(&self.aligned) {
            if let Some(alignment) = *alignment {
                estimate.add(ledger, &self.wire.ledgers[alignment.flow], alignment);
            }
        }
        self.clock = estimate.clock();
    }

    /// Both vantages have the same clock: without a word of the contrary, it is taken to be the same.
    pub fn of_one_host(&mut self) {
        self.clock = self.clock.or(Some(Clock { ahead: 0, same: true }));
    }

    /// Looks in the capture for the content of connections that have no flow yet. `None` where there is none, or no flow
    /// that it could be.
    pub fn finder(&self, outline: Outline) -> Option<Finder> {
        let paired = |index: usize| self.aligned[index].is_none() && has_bytes(&self.process.ledgers[index]);
        let connections: FxHashSet<ConnId> = ids(&self.process.ledgers, paired);
        let flows = ids(&self.wire.ledgers, |index| {
            self.used[index] == [false; 2] && has_bytes(&self.wire.ledgers[index])
        });
        let wanted =
            !self.vantages.contains(&Vantage::Strace) && !connections.is_empty() && !flows.is_empty();
        wanted.then(|| Finder::among(outline, &connections, flows))
    }

    /// Pairs what content tells.
    pub fn by_content(&mut self, hits: &Hits) {
        let (process, flows) = (&self.process.ledgers, &self.wire.ledgers);
        let by_content = ByContent { process, flows, hits, clock: self.clock };
        self.ambiguous = by_content.align(&mut self.aligned, &mut self.used);
        self.estimate_clock();
    }

    /// Compares.
    pub fn report(mut self) -> Report {
        let recordings = self.vantages == TWO_RECORDINGS;
        let (process, wire) = (&self.process.ledgers, &self.wire.ledgers);
        let far = recordings.then(|| FarEnds::new(process, wire));
        let mut datagrams = match &far {
            Some(far) => Some(Datagrams::new(process, &far.flows, Some(far.lost))),
            None => (!self.vantages[1].is_process()).then(|| Datagrams::new(process, wire, None)),
        };
        if let Some(datagrams) = &mut datagrams {
            self.clock = self.clock.or_else(|| datagrams.clock());
            datagrams.translate(self.clock);
            self.clock = self.clock.or_else(|| datagrams.clock());
        }
        let wire_coverage = self.wire_coverage();
        let coverage = [&self.process.coverage, &wire_coverage];
        let pids: FxHashSet<Option<u32>> = self.wire.ledgers.iter().map(pid_of).collect();
        let mut connections = Vec::new();
        for (index, (ledger, alignment)) in self.process.ledgers.iter().zip(&self.aligned).enumerate() {
            // A log of strace without -f does not tell whose it is.
            let has_process = pids.contains(&pid_of(ledger)) || pids.contains(&None);
            let far_end = recordings && alignment.is_none_or(|alignment| alignment.flipped);
            let other = Other { vantage: self.vantages[1], has_process, far_end };
            connections.push(match datagrams.as_mut().filter(|_| is_udp(ledger)) {
                Some(datagrams) => {
                    let unpaired = self.why_unpaired(index);
                    datagrams.compare(index, ledger, self.wire, coverage, (other, unpaired))
                }
                None => self.compare(index, *alignment, coverage, other),
            });
        }
        connections.retain(|comparison| !is_silent(comparison));
        let clock = self.clock.unwrap_or_default();
        if let (Some(far), Some(datagrams)) = (&far, &datagrams) {
            connections.extend(self.rest_of_far_ends(far, datagrams, clock));
        }
        let again = datagrams.as_ref().map(|datagrams| (Again::new(datagrams), datagrams));
        let is_left = |flow: &usize| self.used[*flow] == [false; 2] && !(recordings && is_udp(&wire[*flow]));
        for flow in (0..wire.len()).filter(is_left) {
            let datagrams = datagrams.as_ref().filter(|_| is_udp(&self.wire.ledgers[flow]));
            match datagrams.and_then(|datagrams| datagrams.rest(flow, &self.process.coverage, clock)) {
                None => {
                    let of_acks = self.wire.ledgers[flow].info.open.opened == Opened::Found;
                    let again = again.as_ref().filter(|_| is_udp(&self.wire.ledgers[flow]));
                    let twin = match again.and_then(|(again, datagrams)| again.of(flow, datagrams)) {
                        Some([from, to]) => Some(seen_again(from, to)),
                        None => self.seen_elsewhere(flow),
                    };
                    let unmatched = self.unmatched(flow, twin);
                    connections.extend(Some(unmatched).filter(|one| !of_acks || !is_silent(one)));
                }
                Some(rest) if rest.findings.is_empty() => {}
                Some(rest) => connections.push(rest),
            }
        }
        Report { connections, vantages: self.vantages, uncompared: 0, passes: 0, clock: self.clock }
    }

    /// What the sockets of UDP of the other recording have that the first lacks, and those that are none of its peers'.
    fn rest_of_far_ends(&self, far: &FarEnds, datagrams: &Datagrams<'_>, clock: Clock) -> Vec<Comparison> {
        let mut rests: BTreeMap<usize, Vec<Comparison>> = BTreeMap::new();
        for (flow, &socket) in far.sockets.iter().enumerate() {
            rests.entry(socket).or_default().extend(datagrams.rest(flow, &self.process.coverage, clock));
        }
        let of_socket = |(socket, rests): (usize, Vec<Comparison>)| match rests.is_empty() {
            true => vec![self.unmatched(socket, None)],
            false => rests.into_iter().filter(|rest| !rest.findings.is_empty()).collect(),
        };
        rests.into_iter().flat_map(of_socket).collect()
    }

    fn wire_coverage(&self) -> Coverage {
        let Coverage { first, last, cut } = self.wire.coverage;
        let ours = |time: Timestamp| self.clock.unwrap_or_default().to_process(time);
        Coverage { first: first.map(ours), last: last.map(ours), cut }
    }

    fn compare(
        &self,
        index: usize,
        alignment: Option<Alignment>,
        coverage: [&Coverage; 2],
        other: Other,
    ) -> Comparison {
        let process = &self.process.ledgers[index];
        let mut findings = Vec::new();
        let unpaired = self.why_unpaired(index);
        let balances = Direction::BOTH.map(|direction| {
            let wire = alignment.map(|alignment| {
                let flow = &self.wire.ledgers[alignment.flow];
                let (account, start) = balance::on_wire(process, flow, alignment, direction);
                (flow, account, start)
            });
            let wire_start = wire.as_ref().map_or(0, |wire| wire.2);
            let wire = wire.map(|(flow, account, _)| (flow, account));
            let unpaired = unpaired.as_ref().map(|(cause, detail)| (*cause, &**detail));
            Direct { direction, process, wire, wire_start, coverage, other, unpaired }.balance(&mut findings)
        });
        let translated = alignment.filter(|alignment| alignment.told != Told::Addresses);
        if let Some(alignment) = translated {
            findings.extend(self.translated(process, alignment));
        }
        if let Some(alignment) = alignment {
            let conflicts = self.conflicts_of(self.wire.ledgers[alignment.flow].info.id).map(|conflict| {
                let direction = alignment.flow_direction(conflict.direction); // its own inverse
                conflicting(direction, alignment.to_process(direction, conflict.range))
            });
            findings.extend(conflicts);
        }
        Comparison {
            flow: alignment.map(|alignment| self.wire.ledgers[alignment.flow].info.id),
            translated: translated.and_then(|alignment| self.ends(alignment)),
            alignment,
            suspects: alignment.map_or(Vec::new(), |alignment| {
                contents::suspects(process, &self.wire.ledgers[alignment.flow], alignment)
            }),
            ..Comparison::of(process, true, balances, findings)
        }
    }

    /// The addresses of a flow, the process's end first.
    fn ends(&self, alignment: Alignment) -> Option<[Address; 2]> {
        let open = &self.wire.ledgers[alignment.flow].info.open;
        let (local, remote) = (open.local?, open.remote?);
        Some(if alignment.flipped { [remote, local] } else { [local, remote] })
    }

    /// That a connection was seen under other addresses: a finding for each direction that moved bytes.
    fn translated(&self, process: &Ledger, alignment: Alignment) -> Vec<Finding> {
        let tuple = |ends: Option<[Address; 2]>| match ends {
            Some([local, remote]) => format!("{local} -> {remote}"),
            None => "unknown addresses".to_owned(),
        };
        let open = &process.info.open;
        let how = match alignment.told {
            Told::Sequence | Told::Addresses => "as the sequence numbers tell",
            Told::Place => "as sequence numbers and content tell",
            Told::Content => "as content alone tells",
        };
        let (ours, theirs) =
            (tuple(open.local.zip(open.remote).map(Into::into)), tuple(self.ends(alignment)));
        let place = if self.vantages == TWO_RECORDINGS { "at the other end" } else { "in the capture" };
        let detail = format!("{ours} at the process is {theirs} {place}, {how}");
        let flow = &self.wire.ledgers[alignment.flow];
        let found = Direction::BOTH.into_iter().filter_map(|direction| {
            let (account, _) = balance::on_wire(process, flow, alignment, direction);
            let from = account.delivered.iter().chain(account.lost.iter().map(|lost| lost.range)).min()?.from;
            let range = Range::new(from, account.end());
            Some(Finding::new(direction, range, Cause::WireAddressTranslated, detail.clone()))
        });
        found.filter(|finding| !finding.range.is_empty()).collect()
    }

    /// Why a connection was paired with no flow, where more is to be said of it than that there is none.
    fn why_unpaired(&self, index: usize) -> Option<(Cause, String)> {
        let unplaced = unplaced(&self.process.ledgers[index], self.process, self.wire);
        let unplaced = unplaced.map(|detail| (Cause::StraceNoAddress, detail.to_owned()));
        unplaced.or_else(|| Some((Cause::WireAmbiguous, self.why_ambiguous(index)?)))
    }

    fn why_ambiguous(&self, index: usize) -> Option<String> {
        let (_, flows) = self.ambiguous.iter().find(|(process, _)| *process == index)?;
        if flows.is_empty() {
            return Some(
                "too many flows of the capture have the same bytes under other addresses".to_owned(),
            );
        }
        let tuple = |&flow: &usize| {
            let open = &self.wire.ledgers[flow].info.open;
            open.local
                .zip(open.remote)
                .map_or(String::new(), |(local, remote)| format!("{local} -> {remote}"))
        };
        let named: Vec<String> = flows.iter().take(NAMED).map(tuple).collect();
        let more = match flows.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("it could be any of {}{more}, which carry the same bytes", named.join(", ")))
    }

    /// A flow of the capture that belongs to no connection of the process; `twin` where it is one of its, seen again.
    fn unmatched(&self, index: usize, twin: Option<String>) -> Comparison {
        let flow = &self.wire.ledgers[index];
        let ours = |time: Timestamp| self.clock.unwrap_or_default().to_process(time);
        let mut info = flow.info.clone();
        info.map_times(ours);
        let unplaced = unplaced(flow, self.wire, self.process);
        let (cause, detail) = match (twin, unplaced) {
            (Some(detail), _) => (Cause::WireAddressTranslated, detail),
            (None, Some(detail)) => (Cause::StraceNoAddress, detail.to_owned()),
            (None, None) => {
                let (cause, detail) = match self.vantages[1].is_process() {
                    true if self.vantages == TWO_RECORDINGS => {
                        (Cause::NotThisProcess, "the first recording has neither end of it")
                    }
                    true => why_unmatched_call(flow, self.process),
                    false => why_unmatched(&info, self.process),
                };
                (cause, detail.to_owned())
            }
        };
        let mut findings = Vec::new();
        let balances = Direction::BOTH.map(|direction| {
            let account = &flow.accounts[direction.index()];
            let end = account.end();
            if end > 0 {
                findings.push(Finding::new(direction, Range::new(0, end), cause, detail.clone()));
            }
            Balance { wire: account.delivered.len(), ..Balance::default() }
        });
        let conflicts = self.conflicts_of(flow.info.id);
        findings.extend(conflicts.map(|conflict| conflicting(conflict.direction, conflict.range)));
        for finding in &mut findings {
            finding.place_in_time(flow);
            finding.times = finding.times.map(|times| times.map(ours));
        }
        Comparison {
            info,
            flow: Some(flow.info.id),
            of_process: false,
            translated: None,
            lanes: Vec::new(),
            balances,
            findings,
            records: 0,
            alignment: None,
            placed: Vec::new(),
            suspects: Vec::new(),
        }
    }

    /// What a flow has twice with different content, each once.
    fn conflicts_of(&self, flow: ConnId) -> impl Iterator<Item = Conflict> {
        let mut conflicts: Vec<Conflict> =
            self.wire.conflicts.iter().filter(|conflict| conflict.conn == flow).copied().collect();
        conflicts.sort_by_key(|conflict| (conflict.direction, conflict.range));
        conflicts.dedup();
        conflicts.into_iter()
    }

    /// Where a flow is a connection that was paired with another flow: behind or before a translation, on another
    /// interface.
    fn seen_elsewhere(&self, index: usize) -> Option<String> {
        let flow = &self.wire.ledgers[index];
        let (twin, _) = self.firsts.of(flow).find(|&(twin, _)| self.used[twin] != [false; 2])?;
        let open = &self.wire.ledgers[twin].info.open;
        let (local, remote) = (open.local?, open.remote?);
        Some(seen_again(local, remote))
    }
}

fn seen_again(local: impl std::fmt::Display, remote: impl std::fmt::Display) -> String {
    format!("the packets of {local} -> {remote}, seen again under other addresses")
}

/// Why a connection of one side was paired with none of the other, where a log of strace has too little to tell.
fn unplaced(ledger: &Ledger, own: &Side, other: &Side) -> Option<&'static str> {
    if own.unplaced.contains_key(&ledger.info.id) {
        return Some("the log has too little of its addresses and content");
    }
    let may_be = other.unplaced.values().any(|&transport| transport == ledger.info.open.transport);
    may_be.then_some("it may be one of which the log has too little")
}

fn conflicting(direction: Direction, range: Range) -> Finding {
    let detail = "sent again with other bytes; the first to arrive stand".to_owned();
    Finding::new(direction, range, Cause::WireOverlapDiffers, detail)
}

/// Both may have either end of a connection.
const TWO_RECORDINGS: [Vantage; 2] = [Vantage::Syscall, Vantage::Syscall];

/// Bytes of a stream, that is: datagrams are looked for one by one ([`super::datagrams`]).
fn has_bytes(ledger: &Ledger) -> bool {
    !is_udp(ledger) && ledger.accounts.iter().any(|account| !account.delivered.is_empty())
}

fn ids(ledgers: &[Ledger], wanted: impl Fn(usize) -> bool) -> FxHashSet<ConnId> {
    let wanted = ledgers.iter().enumerate().filter(|&(index, _)| wanted(index));
    wanted.map(|(_, ledger)| ledger.info.id).collect()
}

/// The process that used a connection last.
fn pid_of(ledger: &Ledger) -> Option<u32> {
    ledger.info.task.map(|task| task.pid)
}

/// True for a connection that moved nothing: there is nothing to say about it.
fn is_silent(comparison: &Comparison) -> bool {
    comparison.findings.is_empty() && comparison.balances == [Balance::default(); 2]
}

/// A flow to an address at which the process serves may have come before or after the trace. One that the capture does not
/// see end is no older for it: had the process still had it, the probes would have found it.
fn why_unmatched(flow: &Info, process: &Side) -> (Cause, &'static str) {
    let served =
        |ledger: &Ledger| ledger.info.open.role == Role::Server && ledger.info.open.local == flow.open.remote;
    let coverage = &process.coverage;
    if process.ledgers.iter().any(served) {
        if coverage.first.is_some_and(|first| flow.active < first) {
            return (Cause::BeforeAttach, "its bytes had moved before the probes were in place");
        }
        if coverage.last.is_some_and(|last| flow.first > last) {
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
