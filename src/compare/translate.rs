//! Finds the flows that a capture has under other addresses than the process: behind a translation (NAT, the virtual
//! address of a service, the mapped port of a container), or on the other side of a proxy that passes bytes on.
//!
//! A translation leaves sequence numbers alone: where both vantages know those of the first byte in both directions,
//! 64 bits tell the connection; where the capture has nothing but a SYN, its 32 do, and an end that is the same. Where
//! one began late, content has to agree at the place that they foretell. A proxy opens connections of its own, of which
//! content alone tells: all that can be compared has to agree, and what fits several flows, or several connections, is told apart by time (both live at once) or is ambiguous. A proxy is itself the
//! server of the one connection and the client of the other, so where the two have their server or their client in common
//! they are two connections that carried the same, or one behind a firewall that renumbers: ambiguous. Nothing is aligned
//! by a guess.

use super::align::{Alignment, Told, by_anchors, ends_of, is_counted};
use super::anchor::Hits;
use super::clock::{Clock, PRECISION};
use super::contents;
use crate::event::{CloseReason, ConnId, Direction, Start, Total};
use crate::ledger::{Ledger, RangeSet};
use rustc_hash::FxHashMap;

/// Needles that have to agree where nothing but content tells.
const NEEDLES_MIN: usize = 2;

/// Which ends of the flows carried a connection, by [`Alignment::flipped`].
pub type Used = Vec<[bool; 2]>;

/// The sequence numbers of the first bytes, by direction.
type First = [u32; 2];

fn first(ledger: &Ledger) -> Option<First> {
    let [send, recv] = known_first(ledger);
    Some([send?, recv?])
}

/// As far as they are known.
fn known_first(ledger: &Ledger) -> [Option<u32>; 2] {
    let counts = ends_of(ledger).is_some() && is_counted(ledger);
    let first = |start: Start| Some(start.seq?.wrapping_sub(start.offset as u32));
    ledger.info.open.start.map(|start| first(start).filter(|_| counts))
}

/// The flows by the sequence numbers of their first bytes.
pub struct Firsts {
    both: FxHashMap<First, Vec<(usize, bool)>>,
    /// Those of which the number of one direction is known, with that direction.
    one: FxHashMap<u32, Vec<(usize, Direction)>>,
}

impl Firsts {
    /// Sorts both ends of all flows.
    pub fn new(flows: &[Ledger]) -> Firsts {
        let mut both: FxHashMap<First, Vec<(usize, bool)>> = FxHashMap::default();
        let mut one: FxHashMap<u32, Vec<(usize, Direction)>> = FxHashMap::default();
        for (index, flow) in flows.iter().enumerate() {
            match known_first(flow) {
                [Some(send), Some(recv)] => {
                    both.entry([send, recv]).or_default().push((index, false));
                    both.entry([recv, send]).or_default().push((index, true));
                }
                [Some(send), None] => one.entry(send).or_default().push((index, Direction::Send)),
                [None, Some(recv)] => one.entry(recv).or_default().push((index, Direction::Recv)),
                [None, None] => {}
            }
        }
        Firsts { both, one }
    }

    /// The flows that a connection is, at as many places as it was seen at.
    pub fn of(&self, process: &Ledger) -> impl Iterator<Item = (usize, bool)> {
        first(process).and_then(|first| self.both.get(&first)).into_iter().flatten().copied()
    }

    /// The flows that a connection can be of which only the first packets were seen: one number is the same, and one end.
    fn of_one(&self, process: &Ledger, flows: &[Ledger]) -> impl Iterator<Item = (usize, bool)> {
        let ends = |ledger: &Ledger| [ledger.info.open.local, ledger.info.open.remote];
        let ours = ends(process);
        let numbers = Direction::BOTH.into_iter().zip(known_first(process));
        let known = numbers.filter_map(|(direction, number)| Some((direction, self.one.get(&number?)?)));
        let likely = known.flat_map(|(direction, flows)| flows.iter().map(move |flow| (direction, flow)));
        likely.filter_map(move |(direction, &(index, of_flow))| {
            let (mut theirs, flipped) = (ends(&flows[index]), direction != of_flow);
            if flipped {
                theirs.reverse();
            }
            theirs.iter().zip(&ours).any(|(theirs, ours)| theirs == ours).then_some((index, flipped))
        })
    }
}

/// Aligns connections that no flow has the addresses of by their first sequence numbers. Of a flow that was seen at
/// several places the one with the most bytes is taken.
pub fn by_sequence(
    process: &[Ledger],
    flows: &[Ledger],
    firsts: &Firsts,
    aligned: &mut [Option<Alignment>],
    used: &mut Used,
) {
    let bytes = |flow: usize| flows[flow].accounts.iter().map(|one| one.delivered.len()).sum::<u64>();
    for (ledger, slot) in process.iter().zip(aligned).filter(|(_, slot)| slot.is_none()) {
        let is_free = |&(flow, flipped): &(usize, bool)| !used[flow][usize::from(flipped)];
        let most = |&(flow, _): &(usize, bool)| (bytes(flow), std::cmp::Reverse(flow));
        let best = firsts.of(ledger).filter(is_free).max_by_key(most);
        let best = best.or_else(|| firsts.of_one(ledger, flows).filter(is_free).max_by_key(most));
        let Some((flow, flipped)) = best else { continue };
        let alignment = Alignment { flow, flipped, shift: [0; 2], told: Told::Sequence };
        let Some((_, alignment)) = by_anchors(ledger, &flows[flow], alignment) else { continue };
        used[flow][usize::from(flipped)] = true;
        *slot = Some(alignment);
    }
}

/// What content tells of the connections that are left.
pub struct ByContent<'a> {
    /// The process's side.
    pub process: &'a [Ledger],
    /// The capture's.
    pub flows: &'a [Ledger],
    /// Where bytes of the one are in the other.
    pub hits: &'a Hits,
    /// How the clocks differ, where that is known.
    pub clock: Option<Clock>,
}

impl ByContent<'_> {
    /// Aligns what is certain. Returns the connections that could be one of several flows, with these; none are given
    /// where the connection's bytes are everywhere.
    pub fn align(&self, aligned: &mut [Option<Alignment>], used: &mut Used) -> Vec<(usize, Vec<usize>)> {
        let ids: FxHashMap<ConnId, usize> =
            self.flows.iter().enumerate().map(|(index, flow)| (flow.info.id, index)).collect();
        let mut ambiguous = Vec::new();
        let mut by_content: Vec<(usize, Vec<Alignment>)> = Vec::new();
        for (number, process) in self.process.iter().enumerate() {
            let id = process.info.id;
            if aligned[number].is_some() || ends_of(process).is_none() {
                continue;
            }
            let mut likely: Vec<usize> = self.hits.flows(id).filter_map(|id| ids.get(&id).copied()).collect();
            likely.sort_unstable();
            let ends = likely.into_iter().flat_map(|flow| [false, true].map(|flipped| (flow, flipped)));
            let free: Vec<_> = ends.filter(|&(flow, flipped)| !used[flow][usize::from(flipped)]).collect();
            if let Some(placed) = self.best_place(number, &free) {
                used[placed.flow][usize::from(placed.flipped)] = true;
                aligned[number] = Some(placed);
                continue;
            }
            let alike = free.iter().filter_map(|&(flow, flipped)| self.alike(number, flow, flipped));
            let fitting: Vec<_> = alike.filter(|&one| self.live_at_once(number, one)).collect();
            if !fitting.is_empty() {
                by_content.push((number, fitting));
            } else if self.hits.is_everywhere(id) {
                ambiguous.push((number, Vec::new()));
            }
        }
        let mut connections: FxHashMap<(usize, bool), usize> = FxHashMap::default();
        for one in by_content.iter().flat_map(|(_, fitting)| fitting) {
            *connections.entry((one.flow, one.flipped)).or_default() += 1;
        }
        for (number, fitting) in by_content {
            match fitting[..] {
                // A flow that may be another connection as well is none's.
                [only]
                    if connections[&(only.flow, only.flipped)] == 1
                        && !self.have_a_common_end(number, only) =>
                {
                    used[only.flow][usize::from(only.flipped)] = true;
                    aligned[number] = Some(only);
                }
                _ => ambiguous.push((number, fitting.iter().map(|one| one.flow).collect())),
            }
        }
        ambiguous.sort_unstable();
        ambiguous
    }

    /// The flow of which sequence numbers foretell where the connection's bytes are, and which has them there.
    fn best_place(&self, number: usize, ends: &[(usize, bool)]) -> Option<Alignment> {
        let placed = ends.iter().filter_map(|&(flow, flipped)| {
            let (process, flow_ledger) = (&self.process[number], &self.flows[flow]);
            let alignment = Alignment { flow, flipped, shift: [0; 2], told: Told::Place };
            let known = |direction: Direction| {
                let theirs = flow_ledger.info.open.start[alignment.flow_direction(direction).index()];
                process.info.open.start[direction.index()].seq.is_some() && theirs.seq.is_some()
            };
            let (_, alignment) = by_anchors(process, flow_ledger, alignment)?;
            let votes = Direction::BOTH
                .into_iter()
                .filter(|&direction| known(direction))
                .map(|direction| self.votes(number, alignment, direction).0)
                .sum::<usize>();
            (votes > 0).then_some((votes, alignment))
        });
        placed.max_by_key(|&(votes, alignment)| (votes, std::cmp::Reverse(alignment.flow))).map(|best| best.1)
    }

    /// The flow, where all of its content that can be compared is the connection's, at one distance.
    fn alike(&self, number: usize, flow: usize, flipped: bool) -> Option<Alignment> {
        let (process, flow_ledger) = (&self.process[number], &self.flows[flow]);
        let mut alignment = Alignment { flow, flipped, shift: [0; 2], told: Told::Content };
        let mut sum = 0;
        for direction in Direction::BOTH {
            let of_flow = alignment.flow_direction(direction);
            let lanes = ((process.info.id, direction), (flow_ledger.info.id, of_flow));
            let (ours, theirs) =
                (&process.accounts[direction.index()], &flow_ledger.accounts[of_flow.index()]);
            if (ours.end() > process.info.open.start[direction.index()].offset) != (theirs.end() > 0)
                || lengths(process, flow_ledger, alignment, direction)
                    .is_some_and(|[ours, theirs]| ours != theirs)
            {
                return None;
            }
            if !is_counted(process) || !is_counted(flow_ledger) {
                let mut distances: Vec<i64> = self.hits.distances(lanes.0, lanes.1).collect();
                distances.sort_by_key(|&one| std::cmp::Reverse(self.hits.votes_at(lanes.0, lanes.1, one)));
                let most: Vec<usize> =
                    distances.iter().map(|&one| self.hits.votes_at(lanes.0, lanes.1, one)).collect();
                match most[..] {
                    [] => {}
                    [first, second, ..] if first == second => return None,
                    _ => alignment.shift[direction.index()] = distances[0].checked_neg()?,
                }
            }
            let (votes, expected) = self.votes(number, alignment, direction);
            if votes < expected || expected == 0 && !ours.delivered.is_empty() && !theirs.delivered.is_empty()
            {
                return None;
            }
            sum += votes;
        }
        let differs = || contents::suspects(process, flow_ledger, alignment).iter().any(|one| one.certain);
        (sum >= NEEDLES_MIN && !differs()).then_some(alignment)
    }

    /// How many of the connection's needles the flow has where they should be, and how many it could have.
    fn votes(&self, number: usize, alignment: Alignment, direction: Direction) -> (usize, usize) {
        let flow = &self.flows[alignment.flow];
        let of_flow = alignment.flow_direction(direction);
        let lanes = ((self.process[number].info.id, direction), (flow.info.id, of_flow));
        let delivered: &RangeSet = &flow.accounts[of_flow.index()].delivered;
        let expected = self.hits.needles(lanes.0).filter(|&needle| {
            let at = alignment.to_flow(direction, needle);
            at.len() == needle.len() && delivered.missing_in(at).is_empty()
        });
        let distance = alignment.shift[direction.index()].saturating_neg();
        (self.hits.votes_at(lanes.0, lanes.1, distance), expected.count())
    }

    /// False where the two certainly did not live at the same time. That clocks may differ is no reason to take another
    /// connection to the same server for this one.
    fn live_at_once(&self, number: usize, alignment: Alignment) -> bool {
        let common = self.have_a_common_end(number, alignment).then(Clock::default);
        let Some(clock) = self.clock.or(common) else { return true };
        let (process, flow) = (&self.process[number].info, &self.flows[alignment.flow].info);
        let [begin, end] = [flow.first, flow.last].map(|time| clock.to_process(time));
        begin.since(process.last) <= PRECISION && process.first.since(end) <= PRECISION
    }

    /// Both have the same server, or the same client.
    fn have_a_common_end(&self, number: usize, alignment: Alignment) -> bool {
        let (ours, theirs) = (&self.process[number].info.open, &self.flows[alignment.flow].info.open);
        let [local, remote] =
            if alignment.flipped { [theirs.remote, theirs.local] } else { [theirs.local, theirs.remote] };
        (ours.local.is_some() && ours.local == local) || (ours.remote.is_some() && ours.remote == remote)
    }
}

/// How many bytes a direction had at either vantage, where both know of its first and of its last.
fn lengths(process: &Ledger, flow: &Ledger, alignment: Alignment, direction: Direction) -> Option<[u64; 2]> {
    let ours = process.close.filter(|close| close.reason.is_final() && is_counted(process))?;
    let theirs = flow.close.filter(|close| close.reason == CloseReason::Fin && is_counted(flow))?;
    let of_flow = alignment.flow_direction(direction);
    let Total { end, pending, .. } = ours.totals[direction.index()];
    let unread = if direction == Direction::Recv { pending } else { 0 };
    Some([end? + unread, theirs.totals[of_flow.index()].end?])
}

#[cfg(test)]
mod tests;
