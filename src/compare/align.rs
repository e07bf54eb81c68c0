//! Finds for each connection of the process the flow of the capture that carried it, and how far their
//! offsets lie apart.
//!
//! Addresses name the candidates, TCP sequence numbers (the anchors) decide between them and give the
//! distance of the offsets: arithmetic, no guess by content or time unless there is no anchor at all.

use super::clock::Estimate;
use crate::event::{Address, Direction, Opened, Range, Start, Transport};
use crate::ledger::{Account, Ledger, RangeSet, Stopped};
use crate::protocol::End;
use rustc_hash::FxHashMap;

/// Anchors further apart than this are not of the same connection (RFC 9293 windows end at 1 GiB).
const FAR: i64 = 1 << 30;

/// Which flow belongs to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// Index of the flow's ledger.
    pub flow: usize,
    /// True where the process is the flow's server: its send direction is the flow's receive direction.
    pub flipped: bool,
    /// By direction of the process: what to add to a flow offset to get the process's.
    pub shift: [i64; 2],
    /// What tells that they belong together.
    pub told: Told,
}

/// What tells that a flow carried a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// They have the same addresses, and sequence numbers do not contradict.
    Addresses,
    /// The sequence numbers of the first byte of both directions, under other addresses.
    Sequence,
    /// The same bytes at the place that sequence numbers foretell, under other addresses.
    Place,
    /// The same bytes in both directions, under other addresses and sequence numbers.
    Content,
}

impl Alignment {
    /// The flow's direction that carries the process's `direction`.
    pub fn flow_direction(self, direction: Direction) -> Direction {
        if self.flipped { direction.reverse() } else { direction }
    }

    /// A flow range in the process's offsets; what lies before offset 0 is cut off.
    pub fn to_process(self, direction: Direction, range: Range) -> Range {
        shifted(range, self.shift[direction.index()])
    }

    /// A range of the process in the flow's offsets.
    pub fn to_flow(self, direction: Direction, range: Range) -> Range {
        shifted(range, -self.shift[direction.index()])
    }

    /// What the flow's account says of a direction, in the process's offsets.
    pub fn account(self, direction: Direction, flow: &Ledger) -> Account {
        let account = &flow.accounts[self.flow_direction(direction).index()];
        let delivered: RangeSet =
            account.delivered.iter().map(|range| self.to_process(direction, range)).collect();
        let lost = account.lost.iter().map(|lost| {
            let range = self.to_process(direction, lost.range);
            Stopped { range, ..lost.clone() }
        });
        Account { delivered, lost: lost.collect(), ..Account::default() }
    }
}

fn shifted(range: Range, by: i64) -> Range {
    Range::new(range.from.saturating_add_signed(by), range.to.saturating_add_signed(by))
}

/// Both ends of a connection, in an order of their own.
pub type Ends = (Address, Address);

/// The flows of a capture by their addresses.
pub struct Flows<'a> {
    flows: &'a [Ledger],
    by_ends: FxHashMap<Ends, Vec<usize>>,
    /// Sockets without TCP addresses, at another vantage of processes.
    by_socket: FxHashMap<SocketOf, Vec<usize>>,
    /// The other vantage may be of the process at the other end.
    has_far_ends: bool,
}

/// What tells a socket at two vantages of a process.
type SocketOf = (u64, Option<i32>, Option<u32>);

impl<'a> Flows<'a> {
    /// Sorts the flows by their addresses. `has_far_ends`: they may be what the process at the other end saw.
    pub fn new(flows: &'a [Ledger], has_far_ends: bool) -> Flows<'a> {
        let mut by_ends: FxHashMap<Ends, Vec<usize>> = FxHashMap::default();
        let mut by_socket: FxHashMap<SocketOf, Vec<usize>> = FxHashMap::default();
        for (index, flow) in flows.iter().enumerate() {
            if flow.info.open.transport == Transport::Udp && flow.info.task.is_none() {
                continue; // datagrams of a capture have no offsets of their own
            }
            if let Some(ends) = ends_of(flow) {
                by_ends.entry(ends).or_default().push(index);
            } else if flow.info.task.is_some() {
                by_socket.entry(socket_of(flow)).or_default().push(index);
            }
        }
        Flows { flows, by_ends, by_socket, has_far_ends }
    }

    /// For each connection of the process the flow that carried it, if the capture has it; and what tells how the clocks
    /// differ.
    /// A flow carries one connection, which may have both ends in the process: where several could be one of its
    /// ends, the one nearest in time is.
    pub fn align(&self, process: &[Ledger]) -> (Vec<Option<Alignment>>, Estimate) {
        let mut fits: Vec<(usize, Fit)> = Vec::new();
        for (number, ledger) in process.iter().enumerate() {
            let candidates = ends_of(ledger).and_then(|ends| self.by_ends.get(&ends)).into_iter().flatten();
            let same_socket = self.by_socket.get(&socket_of(ledger)).into_iter().flatten();
            let candidates = candidates.chain(same_socket.filter(|_| ends_of(ledger).is_none()));
            let fitting = candidates.filter_map(|&index| self.candidate(ledger, index));
            fits.extend(fitting.map(|fit| (number, fit)));
        }
        self.leave_certain(process, &mut fits);
        let estimate = self.estimate(process, &fits);
        let clock = estimate.clock().unwrap_or_default();
        fits.sort_by_cached_key(|&(number, (distance, alignment))| {
            let (process, flow) = (&process[number].info, &self.flows[alignment.flow].info);
            let [first, last] = [flow.first, flow.last].map(|time| clock.to_process(time));
            // Of two recordings the other end tells more than the same end again.
            let same_end = self.has_far_ends && !alignment.flipped;
            (same_end, first.since(process.last) + process.first.since(last), distance)
        });
        let mut aligned = vec![None; process.len()];
        let mut used = vec![[false; 2]; self.flows.len()];
        for (number, (_, alignment)) in fits {
            let used = &mut used[alignment.flow][usize::from(alignment.flipped)];
            if aligned[number].is_none() && !*used {
                *used = true;
                aligned[number] = Some(alignment);
            }
        }
        (aligned, estimate)
    }

    /// Where both know the number of the first byte in both directions, no other flow can be that connection, nor another
    /// connection that flow: a guess by anchors and times need not be asked.
    fn leave_certain(&self, process: &[Ledger], fits: &mut Vec<(usize, Fit)>) {
        let knows = |ledger: &Ledger| {
            is_counted(ledger) && ledger.info.open.start.iter().all(|start| start.seq.is_some())
        };
        let is_certain = |number: usize, flow: usize| knows(&process[number]) && knows(&self.flows[flow]);
        let (mut connections, mut flows) = (vec![false; process.len()], vec![[false; 2]; self.flows.len()]);
        for &(number, (_, one)) in fits.iter().filter(|(number, (_, one))| is_certain(*number, one.flow)) {
            connections[number] = true;
            flows[one.flow][usize::from(one.flipped)] = true;
        }
        fits.retain(|&(number, (_, one))| {
            let taken = connections[number] || flows[one.flow][usize::from(one.flipped)];
            !taken || is_certain(number, one.flow)
        });
    }

    /// The moments of the connections that can be but one flow's end, which can be but theirs.
    fn estimate(&self, process: &[Ledger], fits: &[(usize, Fit)]) -> Estimate {
        let (mut flows_of, mut connections_of) =
            (vec![0u32; process.len()], vec![[0u32; 2]; self.flows.len()]);
        for (number, (_, alignment)) in fits {
            flows_of[*number] += 1;
            connections_of[alignment.flow][usize::from(alignment.flipped)] += 1;
        }
        let mut estimate = Estimate::default();
        for &(number, (_, alignment)) in fits {
            let connections = connections_of[alignment.flow][usize::from(alignment.flipped)];
            if (flows_of[number], connections) == (1, 1) {
                estimate.add(&process[number], &self.flows[alignment.flow], alignment);
            }
        }
        estimate
    }

    /// How well a flow with the connection's addresses fits; `None` where it is another connection.
    fn candidate(&self, process: &Ledger, index: usize) -> Option<Fit> {
        let flow = &self.flows[index];
        let of_calls = flow.info.task.is_some() && process.info.task.is_some();
        let flipped = flow.info.open.local != process.info.open.local && ends_of(flow).is_some();
        if of_calls && flow.info.open.transport != process.info.open.transport {
            return None;
        }
        // A log of strace has no sequence numbers by which the two ends of a connection are told apart from its ports
        // used again.
        if of_calls && flipped && !self.has_far_ends {
            return None;
        }
        by_anchors(process, flow, Alignment { flow: index, flipped, shift: [0; 2], told: Told::Addresses })
    }
}

/// Bytes between the two beginnings (fewer fit better), and the alignment.
pub type Fit = (u64, Alignment);

/// Completes an alignment with what the anchors tell; `None` where they tell that it is another connection.
pub fn by_anchors(process: &Ledger, flow: &Ledger, mut alignment: Alignment) -> Option<Fit> {
    let mut distance = None;
    for direction in Direction::BOTH {
        let ours = process.info.open.start[direction.index()];
        let theirs = flow.info.open.start[alignment.flow_direction(direction).index()];
        if ours.seq.is_none() || theirs.seq.is_none() {
            continue;
        }
        let at = position(process, flow, direction, [ours, theirs])?;
        alignment.shift[direction.index()] = at - theirs.offset as i64;
        distance = Some(distance.unwrap_or(0).max(at.abs_diff(ours.offset as i64)));
    }
    Some((distance.unwrap_or(u64::MAX), alignment))
}

/// Where the flow's start lies in the process's offsets; `None` where it can't be of this connection.
fn position(process: &Ledger, flow: &Ledger, direction: Direction, starts: [Start; 2]) -> Option<i64> {
    let [ours, theirs] = starts;
    let ahead = theirs.seq?.wrapping_sub(ours.seq?);
    let at = ours.offset as i64 + i64::from(ahead as i32);
    match (is_counted(process), is_counted(flow)) {
        // Both know the first byte: then it has one sequence number, however much moved since.
        (true, true) => {
            (ahead == (theirs.offset as u32).wrapping_sub(ours.offset as u32)).then_some(theirs.offset as i64)
        }
        // Sequence numbers repeat after 4 GiB.
        (true, false) => {
            let at = if at < 0 { at + (1 << 32) } else { at };
            (at <= last_position(process, direction)).then_some(at)
        }
        (false, _) => (i64::from(ahead as i32).abs() <= FAR).then_some(at),
    }
}

/// True where offsets count from the connection's first byte.
pub fn is_counted(ledger: &Ledger) -> bool {
    ledger.info.open.opened == Opened::Fresh || ledger.info.open.exact
}

/// The last offset at which a flow can begin that has bytes of this connection.
fn last_position(process: &Ledger, direction: Direction) -> i64 {
    let start = process.info.open.start[direction.index()].offset;
    let known = process.accounts[direction.index()].end().max(start) as i64;
    let total = process.close.map(|close| close.totals[direction.index()]).unwrap_or_default();
    match total.end {
        // Behind the last byte and those left unread comes at most the FIN.
        Some(end) if process.end == Some(End::Closed) => known.max((end + total.pending) as i64) + 1,
        _ => known + FAR,
    }
}

fn socket_of(ledger: &Ledger) -> SocketOf {
    (ledger.info.id.socket, ledger.info.fd, ledger.info.task.map(|task| task.pid))
}

/// The addresses of a TCP connection, the lower one first.
pub fn ends_of(ledger: &Ledger) -> Option<Ends> {
    let open = Some(&ledger.info.open).filter(|open| open.transport == Transport::Tcp)?;
    let (local, remote) = (open.local?, open.remote?);
    Some((local.min(remote), local.max(remote)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Close, CloseReason, Open, Timestamp, Total};

    fn ledger(local: &str, remote: &str, opened: Opened, start: [(u64, u32); 2], first: u64) -> Ledger {
        let start = start.map(|(offset, seq)| Start { offset, seq: Some(seq) });
        let open = Open {
            opened,
            start,
            local: Some(local.parse().unwrap()),
            remote: Some(remote.parse().unwrap()),
            ..Open::default()
        };
        let mut ledger = Ledger::default();
        ledger.info.open = open;
        (ledger.info.first, ledger.info.last) = (Timestamp(first), Timestamp(first + 10));
        ledger
    }

    const CLIENT: &str = "127.0.0.1:4000";
    const SERVER: &str = "127.0.0.1:80";

    /// The flow of each process's ledger, and the shifts.
    fn check(process: &[Ledger], flows: &[Ledger], expected: &[Option<(usize, [i64; 2])>]) {
        let (aligned, _) = Flows::new(flows, false).align(process);
        let found: Vec<_> = aligned.iter().map(|one| one.map(|one| (one.flow, one.shift))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_server_is_aligned_with_directions_swapped() {
        let process = ledger(SERVER, CLIENT, Opened::Found, [(1000, 501_000), (10, 10)], 0);
        let flow = ledger(CLIENT, SERVER, Opened::Found, [(0, 5), (0, 500_900)], 0);
        let alignment = Flows::new(&[flow], false).align(&[process]).0[0].unwrap();
        let told = Told::Addresses;
        assert_eq!(alignment, Alignment { flow: 0, flipped: true, shift: [900, 5], told });
        assert_eq!(alignment.to_process(Direction::Send, Range::new(0, 50)), Range::new(900, 950));
        assert_eq!(alignment.to_flow(Direction::Send, Range::new(900, 950)), Range::new(0, 50));
    }

    #[test]
    fn both_ends_of_a_flow_may_be_connections_of_the_process() {
        let flow = [ledger(CLIENT, SERVER, Opened::Fresh, [(0, 700), (0, 800)], 0)];
        let ends = [
            ledger(CLIENT, SERVER, Opened::Fresh, [(0, 700), (0, 800)], 0),
            ledger(SERVER, CLIENT, Opened::Fresh, [(0, 800), (0, 700)], 0),
        ];
        let aligned = Flows::new(&flow, false).align(&ends).0;
        let flipped: Vec<_> = aligned.iter().map(|end| end.map(|end| end.flipped)).collect();
        assert_eq!(flipped, [Some(false), Some(true)]);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let process = ledger(CLIENT, SERVER, Opened::Found, [(100, 10), (0, 0)], 0);
        let flow = ledger(CLIENT, SERVER, Opened::Found, [(0, u32::MAX - 9), (0, 0)], 0);
        check(&[process], &[flow], &[Some((0, [80, 0]))]);
    }

    #[test]
    fn of_two_connections_with_the_same_ports_the_anchor_tells() {
        let process = ledger(CLIENT, SERVER, Opened::Fresh, [(0, 700), (0, 800)], 50);
        let flows = [
            ledger(CLIENT, SERVER, Opened::Fresh, [(0, 300), (0, 400)], 50),
            ledger(CLIENT, SERVER, Opened::Fresh, [(0, 700), (0, 800)], 60),
        ];
        check(std::slice::from_ref(&process), &flows, &[Some((1, [0, 0]))]);
        check(&[process], &flows[..1], &[None]);
    }

    /// The clock of the capture is an hour ahead, so times would tell the wrong one.
    #[test]
    fn what_both_saw_begin_is_not_what_the_capture_found_open_on_the_same_ports() {
        const HOUR: u64 = 3_600_000_000_000;
        let old = [(1_000_000, 1_000_300), (0, 400)];
        let mut process = [
            ledger(CLIENT, SERVER, Opened::Found, old, 50),
            ledger(CLIENT, SERVER, Opened::Fresh, [(0, 250_300), (0, 250_400)], 90),
        ];
        process[0].info.open.exact = true;
        let flows = [
            ledger(CLIENT, SERVER, Opened::Found, [(0, 1_000_300), (0, 400)], HOUR + 50),
            ledger(CLIENT, SERVER, Opened::Fresh, [(0, 250_300), (0, 250_400)], HOUR + 90),
        ];
        check(&process, &flows, &[Some((0, [1_000_000, 0])), Some((1, [0, 0]))]);
    }

    #[test]
    fn where_both_count_from_the_first_byte_no_distance_is_too_far() {
        let moved = 5 << 30;
        let mut process = ledger(CLIENT, SERVER, Opened::Found, [(moved, 7 + moved as u32), (0, 9)], 0);
        process.info.open.exact = true;
        let flow = ledger(CLIENT, SERVER, Opened::Fresh, [(0, 7), (0, 9)], 0);
        let other = ledger(CLIENT, SERVER, Opened::Fresh, [(0, 8), (0, 9)], 0);
        check(std::slice::from_ref(&process), &[flow], &[Some((0, [0, 0]))]);
        check(&[process], &[other], &[None]);
    }

    #[test]
    fn a_capture_may_begin_three_gib_on() {
        let process = ledger(CLIENT, SERVER, Opened::Fresh, [(0, 7), (0, 9)], 0);
        let mut process = process;
        process.accounts[0].delivered.insert(Range::new(0, 4 << 30));
        let flow = ledger(CLIENT, SERVER, Opened::Found, [(0, 7 + (3 << 30)), (0, 9)], 0);
        check(&[process], &[flow], &[Some((0, [3 << 30, 0]))]);
    }

    #[test]
    fn a_flow_behind_the_end_of_a_connection_is_another_one() {
        let mut process = ledger(CLIENT, SERVER, Opened::Fresh, [(0, 7), (0, 9)], 0);
        let total = Total { end: Some(100), ..Total::default() };
        process.close = Some(Close { reason: CloseReason::Closed, call: None, totals: [total; 2] });
        process.end = Some(End::Closed);
        let flow = |at: u32| ledger(CLIENT, SERVER, Opened::Found, [(0, 7 + at), (0, 9)], 50);
        check(std::slice::from_ref(&process), &[flow(101)], &[Some((0, [101, 0]))]);
        check(&[process], &[flow(102)], &[None]);
    }

    #[test]
    fn a_flow_carries_one_connection() {
        let process = [0, 100].map(|time| ledger(CLIENT, SERVER, Opened::Fresh, [(0, 7), (0, 9)], time));
        let flow = ledger(CLIENT, SERVER, Opened::Found, [(0, 7), (0, 9)], 100);
        check(&process, &[flow], &[None, Some((0, [0, 0]))]);
    }
}
