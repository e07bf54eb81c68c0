//! Connections of a log that the other vantage has under other addresses (NAT, the virtual address of a service, the mapped
//! port of a container): content tells which flow one is.
//!
//! The same content alone does not tell a translation from somebody else who says the same to the same server, or from a proxy. So
//! where the server is the same and the client is not, or several flows or connections agree as well, it is ambiguous.

use super::content::Hits;
use super::pair::{Pair, meet_in_time};
use crate::event::{Address, Opened, Role, Transport};
use crate::ledger::Ledger;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Needles that have to agree where nothing but content tells.
const NEEDLES_MIN: usize = 2;

/// What content tells of connections under other addresses.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// What is certain.
    pub(super) pairs: Vec<Pair>,
    /// Connections with the flows that each could be.
    pub(super) ambiguous: Vec<(usize, Vec<usize>)>,
}

/// True where the addresses of a connection are known, and none of the flows has them.
pub(super) fn is_astray(ledger: &Ledger, has: impl Fn([Address; 2]) -> bool) -> bool {
    let open = &ledger.info.open;
    let moved = ledger.accounts.iter().any(|account| account.end() > 0);
    let ends = open.local.zip(open.remote).filter(|_| open.transport == Transport::Tcp && moved);
    ends.is_some_and(|(local, remote)| !has([local.min(remote), local.max(remote)]))
}

impl Elsewhere {
    /// Looks for `connections` among the flows; those that are `used`, with whether the process is their server, are taken.
    pub(super) fn new(
        connections: &[usize],
        log: &[Ledger],
        flows: &[Ledger],
        hits: &Hits,
        used: &FxHashSet<(usize, bool)>,
        undated: bool,
    ) -> Elsewhere {
        let ids: FxHashMap<_, usize> =
            flows.iter().enumerate().map(|(index, flow)| (flow.info.id, index)).collect();
        let mut fitting: Vec<(Pair, usize)> = Vec::new();
        for &process in connections {
            let likely = hits.flows(log[process].info.id).filter_map(|id| ids.get(&id).copied());
            let ends = likely.flat_map(|flow| [false, true].map(|flipped| Pair { process, flow, flipped }));
            let free = ends.filter(|pair| {
                !used.contains(&(pair.flow, pair.flipped))
                    && (undated || meet_in_time(&log[process], &flows[pair.flow]))
            });
            let votes = |pair: Pair| {
                let votes = agreeing(&log[process], &flows[pair.flow], pair, hits)?;
                Some((pair, votes))
            };
            fitting.extend(free.filter_map(votes));
        }
        let (mut of_process, mut of_end) = (FxHashMap::default(), FxHashMap::default());
        for &(pair, votes) in &fitting {
            note(&mut of_process, pair.process, votes);
            note(&mut of_end, (pair.flow, pair.flipped), votes);
        }
        let is_certain = |&(pair, votes): &(Pair, usize)| {
            of_process[&pair.process] == (votes, 1)
                && of_end[&(pair.flow, pair.flipped)] == (votes, 1)
                && is_translation(&log[pair.process], &flows[pair.flow], pair.flipped)
        };
        let pairs: Vec<Pair> = fitting.iter().filter(|one| is_certain(one)).map(|one| one.0).collect();
        let processes: FxHashSet<usize> = pairs.iter().map(|pair| pair.process).collect();
        let taken: FxHashSet<(usize, bool)> = pairs.iter().map(|pair| (pair.flow, pair.flipped)).collect();
        let is_left =
            |pair: &Pair| !processes.contains(&pair.process) && !taken.contains(&(pair.flow, pair.flipped));
        let mut ambiguous: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for pair in fitting.iter().map(|one| one.0).filter(is_left) {
            ambiguous.entry(pair.process).or_default().push(pair.flow);
        }
        Elsewhere { pairs, ambiguous: ambiguous.into_iter().collect() }
    }
}

/// Notes the most votes, and how many have so many.
fn note<K: std::hash::Hash + Eq>(most: &mut FxHashMap<K, (usize, u32)>, key: K, votes: usize) {
    let (known, count) = most.entry(key).or_default();
    match votes.cmp(known) {
        Ordering::Less => {}
        Ordering::Equal => *count += 1,
        Ordering::Greater => (*known, *count) = (votes, 1),
    }
}

/// Client and server.
fn client_first([local, remote]: [Option<Address>; 2], is_server: bool) -> [Option<Address>; 2] {
    if is_server { [remote, local] } else { [local, remote] }
}

/// True where a flow with the content of a connection can't be another one that carried the same.
fn is_translation(process: &Ledger, flow: &Ledger, flipped: bool) -> bool {
    let (ours, theirs) = (&process.info.open, &flow.info.open);
    let ours = client_first([ours.local, ours.remote], flipped);
    // In a flow the client is the local end.
    let theirs = [theirs.local, theirs.remote];
    ours[0] == theirs[0] || ours[1] != theirs[1]
}

/// How many pieces of a connection's content a flow has, where that is most of what is known, and the same end connected.
fn agreeing(process: &Ledger, flow: &Ledger, pair: Pair, hits: &Hits) -> Option<usize> {
    let (ours, theirs) = (&process.info.open, &flow.info.open);
    let is_other = ours.role != Role::Unknown && ours.role != pair.role();
    if theirs.transport != Transport::Tcp || theirs.opened == Opened::Fresh && is_other {
        return None;
    }
    let (votes, size) = pair.agreement(process, flow, hits);
    (votes >= NEEDLES_MIN && votes * 2 >= size).then_some(votes)
}
