//! Finds for each connection of the process the flow of the capture that carried it, and how far their
//! offsets lie apart.
//!
//! Addresses name the candidates, TCP sequence numbers (the anchors) decide between them and give the
//! distance of the offsets: arithmetic, no guess by content or time unless there is no anchor at all.

use crate::event::{Direction, Opened, Range};
use crate::ledger::{Account, Ledger, RangeSet, Stopped};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

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
type Ends = (SocketAddr, SocketAddr);

/// The flows of a capture by their addresses.
pub struct Flows<'a> {
    flows: &'a [Ledger],
    by_ends: FxHashMap<Ends, Vec<usize>>,
}

impl<'a> Flows<'a> {
    /// Sorts the flows by their addresses.
    pub fn new(flows: &'a [Ledger]) -> Flows<'a> {
        let mut by_ends: FxHashMap<Ends, Vec<usize>> = FxHashMap::default();
        for (index, flow) in flows.iter().enumerate() {
            if let Some(ends) = ends_of(flow) {
                by_ends.entry(ends).or_default().push(index);
            }
        }
        Flows { flows, by_ends }
    }

    /// The flow that carried `process`, if the capture has it.
    pub fn align(&self, process: &Ledger) -> Option<Alignment> {
        let candidates = self.by_ends.get(&ends_of(process)?)?;
        let aligned = candidates.iter().filter_map(|&index| self.candidate(process, index));
        aligned.min_by_key(|&(rank, _)| rank).map(|(_, alignment)| alignment)
    }

    /// How well a flow fits (lower is better), and its alignment; `None` where it is another connection.
    fn candidate(&self, process: &Ledger, index: usize) -> Option<((u64, u64), Alignment)> {
        let flow = &self.flows[index];
        let flipped = flow.info.open.local != process.info.open.local;
        let mut alignment = Alignment { flow: index, flipped, shift: [0; 2] };
        let mut distance = None;
        for direction in Direction::BOTH {
            let ours = process.info.open.start[direction.index()];
            let theirs = flow.info.open.start[alignment.flow_direction(direction).index()];
            let between = match (ours.seq, theirs.seq) {
                (Some(ours), Some(theirs)) => i64::from(theirs.wrapping_sub(ours) as i32),
                _ => continue,
            };
            alignment.shift[direction.index()] = ours.offset as i64 + between - theirs.offset as i64;
            distance = Some(distance.unwrap_or(0).max(between.unsigned_abs()));
        }
        if distance.is_some_and(|distance| distance > FAR as u64) || self.differ_at_start(process, &alignment)
        {
            return None;
        }
        let apart = flow.info.first.since(process.info.last) + process.info.first.since(flow.info.last);
        Some(((apart, distance.unwrap_or(FAR as u64)), alignment))
    }

    /// Two fresh connections are the same only where both begin at the same sequence number.
    fn differ_at_start(&self, process: &Ledger, alignment: &Alignment) -> bool {
        let flow = &self.flows[alignment.flow];
        let fresh = |ledger: &Ledger| ledger.info.open.opened == Opened::Fresh;
        fresh(process) && fresh(flow) && alignment.shift != [0; 2]
    }
}

fn ends_of(ledger: &Ledger) -> Option<Ends> {
    let (local, remote) = (ledger.info.open.local?, ledger.info.open.remote?);
    Some((local.min(remote), local.max(remote)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Open, Start, Timestamp};

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

    #[test]
    fn a_server_is_aligned_with_directions_swapped() {
        let process = ledger(SERVER, CLIENT, Opened::Found, [(1000, 501_000), (10, 10)], 0);
        let flow = ledger(CLIENT, SERVER, Opened::Found, [(0, 5), (0, 500_900)], 0);
        let alignment = Flows::new(&[flow]).align(&process).unwrap();
        assert_eq!(alignment, Alignment { flow: 0, flipped: true, shift: [900, 5] });
        assert_eq!(alignment.to_process(Direction::Send, Range::new(0, 50)), Range::new(900, 950));
        assert_eq!(alignment.to_flow(Direction::Send, Range::new(900, 950)), Range::new(0, 50));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let process = ledger(CLIENT, SERVER, Opened::Found, [(100, 10), (0, 0)], 0);
        let flow = ledger(CLIENT, SERVER, Opened::Found, [(0, u32::MAX - 9), (0, 0)], 0);
        assert_eq!(Flows::new(&[flow]).align(&process).unwrap().shift, [80, 0]);
    }

    #[test]
    fn of_two_connections_with_the_same_ports_the_anchor_tells() {
        let process = ledger(CLIENT, SERVER, Opened::Fresh, [(0, 700), (0, 800)], 50);
        let flows = [
            ledger(CLIENT, SERVER, Opened::Fresh, [(0, 300), (0, 400)], 50),
            ledger(CLIENT, SERVER, Opened::Fresh, [(0, 700), (0, 800)], 60),
        ];
        assert_eq!(Flows::new(&flows).align(&process).unwrap().flow, 1);
        assert_eq!(Flows::new(&flows[..1]).align(&process), None);
    }
}
