//! Which flow of another vantage a connection of a log is: by its addresses, and where the log lacks them by content
//! and time.

use super::content::Hits;
use super::elsewhere::{Elsewhere, is_astray};
use crate::event::{Address, CloseReason, ConnId, Direction, Opened, Role, Transport};
use crate::ledger::Ledger;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Reverse;

/// Flows that are looked at for one connection for the time alone at which they began.
const NEAREST: usize = 64;

/// A connection and its flow, by their indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) process: usize,
    pub(super) flow: usize,
    /// The process is the flow's server.
    pub(super) flipped: bool,
}

impl Pair {
    /// The flow's direction that carries the process's `direction`.
    pub(super) fn flow_direction(self, direction: Direction) -> Direction {
        if self.flipped { direction.reverse() } else { direction }
    }

    /// What the process is to the flow.
    pub(super) fn role(self) -> Role {
        if self.flipped { Role::Server } else { Role::Client }
    }

    /// How many pieces of the connection's content the flow has, and how many are known.
    pub(super) fn agreement(self, process: &Ledger, flow: &Ledger, hits: &Hits) -> (usize, usize) {
        let (mut votes, mut size) = (0, 0);
        for direction in Direction::BOTH {
            let lane = (process.info.id, direction);
            votes += hits.votes(lane, (flow.info.id, self.flow_direction(direction)));
            size += hits.size(lane);
        }
        (votes, size)
    }
}

/// How well a connection and a flow go together: lower fits better.
type Rank = (Reverse<bool>, Reverse<usize>, u64);

/// From this rank on, nothing speaks for a pair but one address and the time.
const BY_ADDRESS: Rank = (Reverse(false), Reverse(0), 0);

/// How far the clocks of two vantages may be apart that both have a calendar, in ns, for the time to tell anything.
const CLOCKS_APART: u64 = 1_000_000_000;

/// The flows by what names them.
struct Flows<'a> {
    flows: &'a [Ledger],
    by_ends: FxHashMap<[Address; 2], Vec<usize>>,
    by_address: FxHashMap<Address, Vec<usize>>,
    by_id: FxHashMap<ConnId, usize>,
    by_socket: FxHashMap<u64, Vec<usize>>,
}

impl<'a> Flows<'a> {
    fn new(flows: &'a [Ledger]) -> Flows<'a> {
        let mut by_ends: FxHashMap<[Address; 2], Vec<usize>> = FxHashMap::default();
        let mut by_address: FxHashMap<Address, Vec<usize>> = FxHashMap::default();
        let mut by_socket: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
        for (index, flow) in flows.iter().enumerate() {
            let (local, remote) = (flow.info.open.local, flow.info.open.remote);
            if let (Some(local), Some(remote)) = (local, remote) {
                by_ends.entry(sorted(local, remote)).or_default().push(index);
            }
            for address in local.into_iter().chain(remote) {
                by_address.entry(address).or_default().push(index);
            }
            by_socket.entry(flow.info.id.socket).or_default().push(index);
        }
        let by_id = flows.iter().enumerate().map(|(index, flow)| (flow.info.id, index)).collect();
        Flows { flows, by_ends, by_address, by_id, by_socket }
    }

    /// Flows with both addresses, or the same socket where it is none of TCP.
    fn named(&self, process: &Ledger) -> Vec<usize> {
        let open = &process.info.open;
        if open.transport != Transport::Tcp {
            return self.by_socket.get(&process.info.id.socket).cloned().unwrap_or_default();
        }
        let ends = open.local.zip(open.remote).map(|(local, remote)| sorted(local, remote));
        ends.and_then(|ends| self.by_ends.get(&ends)).cloned().unwrap_or_default()
    }

    /// Flows with content of the connection, and those with one of its addresses that began about when it did.
    fn likely(&self, process: &Ledger, hits: &Hits, shift: i64) -> Vec<usize> {
        let mut likely: Vec<usize> =
            hits.flows(process.info.id).filter_map(|id| self.by_id.get(&id).copied()).collect();
        let first = process.info.first.0.saturating_add_signed(shift);
        for address in process.info.open.remote.into_iter().chain(process.info.open.local) {
            // In the order of their beginnings.
            let Some(list) = self.by_address.get(&address) else { continue };
            let middle = list.partition_point(|&flow| self.flows[flow].info.first.0 < first);
            let from = middle.saturating_sub(NEAREST / 2);
            likely.extend(&list[from..list.len().min(from + NEAREST)]);
        }
        likely.sort_unstable();
        likely.dedup();
        likely
    }
}

/// True where both were there at some moment, by clocks that may differ a little.
pub(super) fn meet_in_time(process: &Ledger, flow: &Ledger) -> bool {
    let (process, flow) = (&process.info, &flow.info);
    process.first.since(flow.last) <= CLOCKS_APART && flow.first.since(process.last) <= CLOCKS_APART
}

/// False where a flow was seen from its beginning to its end, and has fewer bytes than the connection moved.
fn has_room(process: &Ledger, flow: &Ledger, pair: Pair) -> bool {
    let over = flow.close.is_some_and(|close| matches!(close.reason, CloseReason::Fin | CloseReason::Reset));
    let is_whole = over && flow.info.open.opened == Opened::Fresh;
    !is_whole
        || Direction::BOTH.into_iter().all(|direction| {
            let of_flow = pair.flow_direction(direction);
            process.accounts[direction.index()].end() <= flow.accounts[of_flow.index()].end()
        })
}

fn sorted(a: Address, b: Address) -> [Address; 2] {
    [a.min(b), a.max(b)]
}

/// How the connections of a log go with the flows of another vantage.
pub(super) struct Pairs {
    pub(super) pairs: Vec<Pair>,
    /// Of what has none under its own addresses.
    pub(super) elsewhere: Elsewhere,
    /// How far the times of the log are behind, in ns, where they are not those of a calendar.
    pub(super) shift: i64,
    /// Nothing tells that; the first flow that can be the first connection is taken to be it.
    pub(super) is_guess: bool,
}

/// Pairs connections with flows, each flow's end once; not those that could be several flows' as well, as far as addresses and
/// content tell.
pub(super) fn pairs(log: &[Ledger], flows: &[Ledger], hits: &Hits, undated: bool) -> Pairs {
    let flows = Flows::new(flows);
    let named: Vec<Vec<Fit>> =
        (0..log.len()).map(|process| fits(process, log, &flows, hits, &flows.named(&log[process]))).collect();
    let (shift, is_guess) = if undated { clock_shift(&named, log, &flows, hits) } else { (0, false) };
    let mut ranked: Vec<(Rank, Pair)> = Vec::new();
    for (process, mut candidates) in named.into_iter().enumerate() {
        if candidates.is_empty() {
            candidates = fits(process, log, &flows, hits, &flows.likely(&log[process], hits, shift));
        }
        ranked.extend(candidates.iter().map(|fit| {
            let begins = |ledger: &Ledger| ledger.info.first.0;
            let apart = begins(&log[process])
                .saturating_add_signed(shift)
                .abs_diff(begins(&flows.flows[fit.pair.flow]));
            ((Reverse(fit.certain), Reverse(fit.votes), apart), fit.pair)
        }));
    }
    ranked.sort_by_key(|one| one.0);
    // What one address alone allows comes last; that is told, not guessed, only where nothing else is left.
    let by_address = ranked.partition_point(|(rank, _)| *rank < BY_ADDRESS);
    let (mut used, mut taken) = (FxHashSet::default(), vec![false; log.len()]);
    let mut pairs = Vec::new();
    for &(_, pair) in &ranked[..by_address] {
        if !taken[pair.process] && used.insert((pair.flow, pair.flipped)) {
            taken[pair.process] = true;
            pairs.push(pair);
        }
    }
    let may_be = |pair: &Pair| {
        let (process, flow) = (&log[pair.process], &flows.flows[pair.flow]);
        (undated || meet_in_time(process, flow)) && has_room(process, flow, *pair)
    };
    let left = ranked[by_address..].iter().map(|one| one.1).filter(may_be);
    let left = left.filter(|pair| !taken[pair.process] && !used.contains(&(pair.flow, pair.flipped)));
    let left: Vec<Pair> = left.collect();
    let (mut flows_of, mut connections_of) = (FxHashMap::<_, u32>::default(), FxHashMap::<_, u32>::default());
    for pair in &left {
        *flows_of.entry(pair.process).or_default() += 1;
        *connections_of.entry((pair.flow, pair.flipped)).or_default() += 1;
    }
    pairs.extend(
        left.into_iter()
            .filter(|pair| (flows_of[&pair.process], connections_of[&(pair.flow, pair.flipped)]) == (1, 1)),
    );
    // A capture has other addresses than the process, a vantage of the process has the same.
    let is_astray = |process: &usize| is_astray(&log[*process], |ends| flows.by_ends.contains_key(&ends));
    let of_process = flows.flows.iter().any(|flow| flow.info.task.is_some());
    let astray: Vec<usize> =
        (0..log.len()).filter(|&one| !taken[one] && !of_process && is_astray(&one)).collect();
    let elsewhere = Elsewhere::new(&astray, log, flows.flows, hits, &used, undated);
    Pairs { pairs, elsewhere, shift, is_guess }
}

/// A connection and a flow that may be one.
#[derive(Clone, Copy, Debug)]
struct Fit {
    pair: Pair,
    votes: usize,
    /// Both addresses are known and agree.
    certain: bool,
}

fn fits(process: usize, log: &[Ledger], flows: &Flows<'_>, hits: &Hits, candidates: &[usize]) -> Vec<Fit> {
    let pairs =
        candidates.iter().flat_map(|&flow| [false, true].map(|flipped| Pair { process, flow, flipped }));
    pairs.filter_map(|pair| fit(&log[process], &flows.flows[pair.flow], pair, hits)).collect()
}

/// How the connection may be an end of the flow, if it may.
fn fit(process: &Ledger, flow: &Ledger, pair: Pair, hits: &Hits) -> Option<Fit> {
    let (ours, theirs) = (&process.info.open, &flow.info.open);
    let of_process = flow.info.task.is_some();
    if ours.transport != theirs.transport || of_process && pair.flipped {
        return None;
    }
    if ours.transport != Transport::Tcp {
        // Only the same socket at another vantage of the process: no capture is compared with it.
        let same = process.info.id.socket == flow.info.id.socket && process.info.fd == flow.info.fd;
        return (same && of_process).then_some(Fit { pair, votes: 0, certain: true });
    }
    let [local, remote] =
        if pair.flipped { [theirs.remote, theirs.local] } else { [theirs.local, theirs.remote] };
    let known = [agree(ours.local, local)?, agree(ours.remote, remote)?];
    // A flow whose SYN was seen tells who connected.
    let is_other = ours.role != Role::Unknown && ours.role != pair.role();
    if !of_process && theirs.opened == Opened::Fresh && is_other {
        return None;
    }
    let (votes, size) = pair.agreement(process, flow, hits);
    let certain = known == [Known::Whole; 2];
    let content = votes > 0 && votes * 2 >= size;
    // Without any address only content speaks for it; with one of them, nothing may speak against it.
    let fits = certain || content || known.contains(&Known::Whole) && size == 0;
    fits.then_some(Fit { pair, votes, certain })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Whole,
    /// Nothing, or the port alone.
    Part,
}

/// How an address agrees with the flow's; `None` where it does not.
fn agree(own: Option<Address>, flow: Option<Address>) -> Option<Known> {
    match (own, flow) {
        (Some(own), Some(flow)) if own == flow => Some(Known::Whole),
        (Some(own), Some(flow)) => {
            let (own, flow) = (own.ip()?, flow.ip()?);
            (own.ip().is_unspecified() && own.port() == flow.port()).then_some(Known::Part)
        }
        _ => Some(Known::Part),
    }
}

/// The distance of the clocks: of connections that can be only one flow the one in the middle; else one between clocks that
/// show the time of day; else that of the first connection and the first flow that may be it, which is a guess.
fn clock_shift(named: &[Vec<Fit>], log: &[Ledger], flows: &Flows<'_>, hits: &Hits) -> (i64, bool) {
    let distance = |pair: Pair| {
        let (process, flow) = (&log[pair.process].info, &flows.flows[pair.flow].info);
        // What was open before begins at a different time at each.
        match process.open.opened {
            Opened::Fresh => flow.first.0.wrapping_sub(process.first.0) as i64,
            Opened::Found => flow.last.0.wrapping_sub(process.last.0) as i64,
        }
    };
    let mut first = None;
    let mut by_clock: Option<(u64, i64)> = None;
    let mut distances = Vec::new();
    for (process, named) in named.iter().enumerate() {
        let by_content: Vec<usize> =
            hits.flows(log[process].info.id).filter_map(|id| flows.by_id.get(&id).copied()).collect();
        let candidates = match named.is_empty() {
            true => fits(process, log, flows, hits, &by_content),
            false => named.clone(),
        };
        match candidates[..] {
            [only] => distances.push(distance(only.pair)),
            _ => {
                let pairs = || candidates.iter().map(|fit| fit.pair);
                first = first.or(pairs().min_by_key(|pair| flows.flows[pair.flow].info.first));
                let clocks = pairs().map(distance).map(|distance| (off_the_clock(distance), distance));
                by_clock = by_clock.into_iter().chain(clocks).min();
            }
        }
    }
    distances.sort_unstable();
    let by_clock = by_clock.filter(|(off, _)| *off <= CLOCKS_APART).map(|(_, distance)| distance);
    match distances.get(distances.len() / 2).copied().or(by_clock) {
        Some(shift) => (shift, false),
        None => (first.map_or(0, distance), first.is_some()),
    }
}

/// How far a distance is from one between two clocks that show the time of different zones and days.
fn off_the_clock(distance: i64) -> u64 {
    const ZONES: u64 = 15 * 60 * 1_000_000_000;
    let part = distance.unsigned_abs() % ZONES;
    part.min(ZONES - part)
}
