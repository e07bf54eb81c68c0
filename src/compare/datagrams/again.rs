//! Flows of a capture that have the datagrams of the process a second time: before or behind a translation, where the
//! capture saw both sides of it.
//!
//! Content and time tell, as for a talk under other addresses ([`super::translate`]): more different ones have to agree
//! than are missing from either, at about the same time, with one flow of the process alone. A proxy is itself the
//! destination of the one flow and the source of the other; what it passes on is not the same datagram.

use super::translate::{BYTES_MIN, CONTENTS_MIN, Content, content};
use super::{Datagrams, SLACK, ends, is_udp};
use crate::event::{Direction, Timestamp};
use crate::ledger::Ledger;
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// When each content first went a way.
type Firsts = FxHashMap<(Content, Direction), Timestamp>;

/// What the capture has of the process, by content.
pub struct Again {
    by_content: FxHashMap<(Content, Direction), Vec<usize>>,
    flows: FxHashMap<usize, Firsts>,
}

fn firsts(flow: &Ledger) -> Firsts {
    let mut firsts = Firsts::default();
    for direction in Direction::BOTH {
        for print in &flow.prints.lists[direction.index()] {
            if let Some(content) = content(print) {
                let first = firsts.entry((content, direction)).or_insert(print.time);
                *first = print.time.min(*first);
            }
        }
    }
    firsts
}

impl Again {
    /// Sorts the flows of which datagrams are the process's.
    pub fn new(datagrams: &Datagrams<'_>) -> Again {
        let is_ours =
            |flow: &usize| datagrams.found[*flow].iter().flatten().any(|found| found.contains(&true));
        let udp = (0..datagrams.wire.len()).filter(|&flow| is_udp(&datagrams.wire[flow])).filter(is_ours);
        let flows: FxHashMap<usize, Firsts> = udp.map(|flow| (flow, firsts(&datagrams.wire[flow]))).collect();
        let mut by_content: FxHashMap<(Content, Direction), Vec<usize>> = FxHashMap::default();
        for (&flow, contents) in &flows {
            contents.keys().for_each(|&content| by_content.entry(content).or_default().push(flow));
        }
        Again { by_content, flows }
    }

    /// Both ends of the flow of the process that another flow has again, the one that sends first.
    pub fn of(&self, number: usize, datagrams: &Datagrams<'_>) -> Option<[SocketAddr; 2]> {
        let own = firsts(&datagrams.wire[number]);
        let mut agreeing: FxHashMap<usize, (usize, u64)> = FxHashMap::default();
        for (content, time) in &own {
            for &flow in self.by_content.get(content).into_iter().flatten() {
                let other = self.flows[&flow][content];
                if other.since(*time).max(time.since(other)) <= SLACK {
                    let (count, bytes) = agreeing.entry(flow).or_default();
                    (*count, *bytes) = (*count + 1, *bytes + content.0.0);
                }
            }
        }
        let theirs = ends(&datagrams.wire[number], Direction::Send)?;
        let fits = |&(flow, (count, bytes)): &(usize, (usize, u64))| {
            let most = own.len().max(self.flows[&flow].len());
            let passed_on = ends(&datagrams.wire[flow], Direction::Send)
                .is_some_and(|ours| ours[0].ip() == theirs[1].ip() || ours[1].ip() == theirs[0].ip());
            count >= CONTENTS_MIN && bytes >= BYTES_MIN && 2 * count > most && !passed_on
        };
        let mut fitting = agreeing.into_iter().filter(fits);
        let (flow, _) = fitting.next()?;
        if fitting.next().is_some() { None } else { ends(&datagrams.wire[flow], Direction::Send) }
    }
}
