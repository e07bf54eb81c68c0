//! What a recording of other processes has of UDP, in the shape of a capture: each socket as the flows that it is an end of.
//!
//! A socket on any address of its host does not tell which of them it was asked at: the other side's datagrams do.

use super::{is_udp, local, peer};
use crate::event::{Address, Cause, Direction, Range};
use crate::ledger::{Account, Ledger, Print, Prints, Stopped};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Of an end of which nothing is known.
const UNKNOWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The sockets of the other recording.
#[derive(Default)]
pub struct FarEnds {
    /// A flow for each socket and each other end that it has; the socket is the client.
    pub flows: Vec<Ledger>,
    /// For each flow the index of its socket.
    pub sockets: Vec<usize>,
    /// By [`Direction::index`] of the sockets: why datagrams are lost of which that side knows no more.
    pub lost: [Option<Cause>; 2],
}

impl FarEnds {
    /// Those of the `far` recording, where `near` is the one that it is held against.
    pub fn new(near: &[Ledger], far: &[Ledger]) -> FarEnds {
        let talks = talks_of(near);
        let mut ends = FarEnds::default();
        for (number, socket) in far.iter().enumerate().filter(|(_, ledger)| is_udp(ledger)) {
            let flows = flows_of(socket, &talks);
            ends.sockets.extend(flows.iter().map(|_| number));
            ends.flows.extend(flows);
            for (cause, direction) in ends.lost.iter_mut().zip(Direction::BOTH) {
                *cause = cause.or_else(|| lost_unseen(socket, direction));
            }
        }
        ends
    }
}

/// Which address each end of the near side speaks to, by both ports: own and other.
type Talks = FxHashMap<(u16, u16), Vec<[SocketAddr; 2]>>;

fn talks_of(near: &[Ledger]) -> Talks {
    let mut talks = Talks::default();
    for socket in near.iter().filter(|ledger| is_udp(ledger)) {
        let own = local(socket).unwrap_or(UNKNOWN);
        let peers = socket.prints.lists.iter().flatten().filter_map(|print| peer(socket, print));
        for other in peers {
            let known = talks.entry((own.port(), other.port())).or_default();
            if !known.contains(&[own, other]) {
                known.push([own, other]);
            }
        }
    }
    talks
}

fn flows_of(socket: &Ledger, talks: &Talks) -> Vec<Ledger> {
    let mut by_peer: BTreeMap<SocketAddr, [Vec<Print>; 2]> = BTreeMap::new();
    for direction in Direction::BOTH {
        for print in &socket.prints.lists[direction.index()] {
            let lists = by_peer.entry(peer(socket, print).unwrap_or(UNKNOWN)).or_default();
            lists[direction.index()].push(*print);
        }
    }
    let flow = |(peer, lists): (SocketAddr, [Vec<Print>; 2])| {
        let mut flow = Ledger { info: socket.info.clone(), end: socket.end, ..Ledger::default() };
        (flow.info.task, flow.info.fd) = (None, None);
        flow.info.open.local = Some(Address::from(address_towards(socket, peer, talks)));
        flow.info.open.remote = Some(Address::from(peer));
        flow.accounts = Direction::BOTH.map(|way| account(socket, way, &lists[way.index()]));
        flow.prints = Prints { lists, peers: Vec::new(), left_out: socket.prints.left_out };
        flow
    };
    by_peer.into_iter().map(flow).collect()
}

/// The socket's own address, as its peer has it.
fn address_towards(socket: &Ledger, peer: SocketAddr, talks: &Talks) -> SocketAddr {
    let own = local(socket).unwrap_or(UNKNOWN);
    if !own.ip().is_unspecified() {
        return own;
    }
    let mut asked: Vec<SocketAddr> = talks
        .get(&(peer.port(), own.port()))
        .into_iter()
        .flatten()
        .filter(|[near, _]| near.ip().is_unspecified() || near.ip() == peer.ip())
        .map(|[_, other]| *other)
        .collect();
    asked.sort_unstable();
    asked.dedup();
    if let [only] = asked[..] { only } else { own }
}

/// What a socket has of some of its datagrams.
fn account(socket: &Ledger, way: Direction, prints: &[Print]) -> Account {
    let mut account = Account::default();
    let lost = &socket.accounts[way.index()].lost;
    for print in prints {
        let at = print.range.from + print.captured;
        account.delivered.insert(Range::new(print.range.from, at));
        let cause = lost.get(lost.partition_point(|lost| lost.range.to < print.range.to));
        if let Some(cut) = cause.filter(|_| at < print.range.to) {
            account.lost.push(Stopped { range: Range::new(at, print.range.to), ..cut.clone() });
        }
    }
    account
}

/// Why datagrams of a socket are lost of which nothing but that is known.
fn lost_unseen(socket: &Ledger, direction: Direction) -> Option<Cause> {
    let prints = &socket.prints.lists[direction.index()];
    let known = |range: Range| {
        let first = prints.partition_point(|print| print.range.to <= range.from);
        prints.get(first).is_some_and(|print| print.range.from < range.to)
    };
    let mut lost = socket.accounts[direction.index()].lost.iter();
    lost.find(|lost| !known(lost.range)).map(|lost| lost.cause)
}
