//! UDP at both vantages, datagram by datagram.
//!
//! Datagrams have no sequence numbers, may come in another order, and one socket may talk with many: so each one that a
//! process moved is looked for among those of the capture, by addresses, length and content. Where the content is not
//! known on one side, the first in order that can be it is. What no addresses lead to may be there under others
//! ([`translate`]). What is left over at either side is missing at the other.

pub mod again;
pub mod far;
mod joined;
mod translate;

use super::balance::{Direct, Other};
use super::clock::Clock;
use super::{Balance, Comparison, Coverage, Finding, Placed, Side};
use crate::event::{Address, Cause, Direction, Opened, Range, Timestamp, Transport};
use crate::ledger::{Account, Ledger, Print, Stopped};
use crate::protocol::End;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use translate::Translated;

/// Candidates that are looked at for one datagram, of those that could be it by port, length and first bytes.
const LOOK_MAX: usize = 256;

/// How far a datagram may lie outside the life of its socket, in nanoseconds: the calls that open and close a socket are
/// told of at their end.
const SLACK: u64 = 1_000_000_000;

/// A datagram of the capture: flow, direction, number.
type Place = (u32, Direction, u32);

/// What is known of a datagram beforehand: the process's port (0: not known), which way it went from there, the other
/// end, its length, its first bytes.
type Key = (u16, Direction, SocketAddr, u64, u64);

/// Which datagrams of a capture are whose.
pub struct Datagrams<'a> {
    process: &'a [Ledger],
    wire: &'a [Ledger],
    /// The process's sockets, by port.
    sockets: FxHashMap<u16, Vec<&'a Ledger>>,
    by_content: FxHashMap<Key, VecDeque<Place>>,
    by_length: FxHashMap<(u16, Direction, u64), VecDeque<Place>>,
    by_port: FxHashMap<(u16, Direction), VecDeque<Place>>,
    /// For each flow and direction: which datagrams were found, seen from their sender and from their receiver.
    found: Vec<[Vec<[bool; 2]>; 2]>,
    /// For each socket of the process and direction, the datagram of the capture that each of its own is.
    matched: FxHashMap<usize, [Vec<Option<Place>>; 2]>,
    /// Where in the datagram of the capture one of the process begins, where that has several as one: by socket, direction and
    /// number.
    begins: FxHashMap<(usize, Direction, usize), u64>,
    /// Each of these whole, in the offsets of the socket.
    joined: FxHashMap<(usize, Direction), Vec<(Range, Place)>>,
    /// Those of the capture that the process's began and did not end: how many bytes it has, and why no more.
    left_over: FxHashMap<Place, (u64, Cause)>,
    /// Addresses of the process's host, as far as its datagrams tell.
    own: FxHashSet<IpAddr>,
    /// What was found under other addresses.
    translated: Translated,
    /// Where the other vantage is one of processes: what they lost, see [`far::FarEnds::lost`].
    far: Option<[Option<Cause>; 2]>,
}

/// Where the capture has the datagrams of a socket.
#[derive(Default)]
struct Seen {
    flows: BTreeSet<u32>,
    /// Those whose payload the process's side lacks.
    placed: Vec<Placed>,
}

/// True for a ledger of UDP.
pub fn is_udp(ledger: &Ledger) -> bool {
    ledger.info.open.transport == Transport::Udp
}

fn canonical(address: Address) -> Option<SocketAddr> {
    address.ip().map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()))
}

fn local(ledger: &Ledger) -> Option<SocketAddr> {
    ledger.info.open.local.and_then(canonical)
}

fn port(ledger: &Ledger) -> u16 {
    local(ledger).map_or(0, |end| end.port())
}

/// The other end of a datagram of the process.
fn peer(ledger: &Ledger, print: &Print) -> Option<SocketAddr> {
    ledger.prints.peer(print).or(ledger.info.open.remote).and_then(canonical)
}

impl<'a> Datagrams<'a> {
    /// Finds the datagrams of the process's sockets in the capture, or in what stands for it: then `far` is what is lost there.
    pub fn new(process: &'a [Ledger], wire: &'a [Ledger], far: Option<[Option<Cause>; 2]>) -> Datagrams<'a> {
        let mut sockets_by_port: FxHashMap<u16, Vec<&Ledger>> = FxHashMap::default();
        for socket in process.iter().filter(|ledger| is_udp(ledger)) {
            sockets_by_port.entry(port(socket)).or_default().push(socket);
        }
        let (by_content, by_length, by_port) = Default::default();
        let found =
            wire.iter().map(|flow| flow.prints.lists.each_ref().map(|list| vec![[false; 2]; list.len()]));
        let found = found.collect();
        let (matched, begins, joined, left_over, own, translated) = Default::default();
        let sockets = sockets_by_port;
        let mut all = Datagrams {
            process,
            wire,
            sockets,
            by_content,
            by_length,
            by_port,
            found,
            matched,
            begins,
            joined,
            left_over,
            own,
            translated,
            far,
        };
        all.index();
        let sockets = || process.iter().enumerate().filter(|(_, ledger)| is_udp(ledger));
        for (number, socket) in sockets() {
            let lists = socket.prints.lists.each_ref().map(|list| vec![None; list.len()]);
            all.matched.insert(number, lists);
        }
        for by_content in [true, false] {
            for (number, socket) in sockets() {
                Direction::BOTH.into_iter().for_each(|way| all.look_for(number, socket, way, by_content));
            }
        }
        all.look_for_joined();
        all
    }

    /// Sorts what may be of the process's sockets.
    fn index(&mut self) {
        for (flow, ledger) in (0u32..).zip(self.wire).filter(|(_, ledger)| is_udp(ledger)) {
            for direction in Direction::BOTH {
                let Some([source, destination]) = ends(ledger, direction) else { continue };
                for (index, print) in (0u32..).zip(&ledger.prints.lists[direction.index()]) {
                    let place = (flow, direction, index);
                    let length = print.range.len();
                    for (way, own, peer) in
                        [(Direction::Send, source, destination), (Direction::Recv, destination, source)]
                    {
                        let ports =
                            [own.port(), 0].into_iter().filter(|port| self.sockets.contains_key(port));
                        if let Some(head) = print.head {
                            for port in ports {
                                let key = (port, way, peer, length, head);
                                self.by_content.entry(key).or_default().push_back(place);
                            }
                        }
                        if !self.sockets.contains_key(&own.port()) {
                            continue;
                        }
                        self.by_length.entry((own.port(), way, length)).or_default().push_back(place);
                        self.by_port.entry((own.port(), way)).or_default().push_back(place);
                    }
                }
            }
        }
    }

    fn print(&self, place: Place) -> &'a Print {
        &self.wire[place.0 as usize].prints.lists[place.1.index()][place.2 as usize]
    }

    fn is_found(&mut self, place: Place, way: Direction) -> &mut bool {
        &mut self.found[place.0 as usize][place.1.index()][place.2 as usize][way.index()]
    }

    /// Looks for what a socket moved one way.
    fn look_for(&mut self, number: usize, socket: &Ledger, way: Direction, by_content: bool) {
        for (index, print) in socket.prints.lists[way.index()].iter().enumerate() {
            if self.matched[&number][way.index()][index].is_some() {
                continue;
            }
            let (port, length, peer) = (port(socket), print.range.len(), peer(socket, print));
            let queue = match (by_content, print.head, peer) {
                (true, Some(head), Some(peer)) => self.by_content.remove(&(port, way, peer, length, head)),
                (false, ..) => self.by_length.remove(&(port, way, length)),
                _ => continue,
            };
            let Some(mut queue) = queue else { continue };
            let place = self.take(&mut queue, socket, way, print, peer);
            match (by_content, print.head, peer) {
                (true, Some(head), Some(peer)) => {
                    self.by_content.insert((port, way, peer, length, head), queue);
                }
                _ => drop(self.by_length.insert((port, way, length), queue)),
            }
            if let Some(place) = place {
                if let Some(own) = self.own_end(place, way) {
                    self.own.insert(own.ip());
                }
                self.matched.entry(number).or_default()[way.index()][index] = Some(place);
            }
        }
    }

    /// The first in order that can be it.
    fn take(
        &mut self,
        queue: &mut VecDeque<Place>,
        socket: &Ledger,
        way: Direction,
        print: &Print,
        peer: Option<SocketAddr>,
    ) -> Option<Place> {
        while queue.front().is_some_and(|&place| *self.is_found(place, way)) {
            queue.pop_front();
        }
        let fits = |all: &mut Datagrams<'_>, place: Place| {
            !*all.is_found(place, way)
                && all.is_between(place, socket, way, peer)
                && all.print(place).is_like(print)
        };
        let place = queue.iter().copied().take(LOOK_MAX).find(|&place| fits(self, place))?;
        *self.is_found(place, way) = true;
        Some(place)
    }

    /// The process's end of a datagram that it sent or received.
    fn own_end(&self, place: Place, way: Direction) -> Option<SocketAddr> {
        ends(&self.wire[place.0 as usize], place.1).map(|ends| ends[way.index()])
    }

    /// True where a datagram is between a socket's address and a peer, as far as they are known.
    fn is_between(&self, place: Place, socket: &Ledger, way: Direction, peer: Option<SocketAddr>) -> bool {
        let Some(ends) = ends(&self.wire[place.0 as usize], place.1) else { return false };
        let (own, other) = (ends[way.index()], ends[way.reverse().index()]);
        let local = local(socket).filter(|local| !local.ip().is_unspecified());
        local.is_none_or(|local| local.ip() == own.ip()) && peer.is_none_or(|peer| peer == other)
    }

    /// What the capture has of the datagrams of a socket, in the socket's offsets. `seen` learns where.
    fn account(
        &mut self,
        number: usize,
        socket: &Ledger,
        way: Direction,
        coverage: &Coverage,
        seen: &mut Seen,
    ) -> Account {
        let mut account = Account::default();
        let prints = &socket.prints.lists[way.index()];
        let matched = self.matched.get(&number).map(|lists| lists[way.index()].clone()).unwrap_or_default();
        for (index, (print, place)) in prints.iter().zip(matched).enumerate() {
            let has_payload = print.captured == print.range.len();
            let Some(place) = place else {
                let parts = self.take_parts(number, way, print);
                if !parts.is_empty() {
                    self.note(seen, way, print.range.from, &parts, !has_payload);
                    account.delivered.insert(print.range);
                    continue;
                }
                if let Some(detail) = self.translated.why_ambiguous(number, way, index) {
                    match account.lost.last_mut().filter(|last| {
                        last.cause == Cause::WireAmbiguous
                            && last.detail == detail
                            && last.range.to == print.range.from
                    }) {
                        Some(last) => last.range.to = print.range.to,
                        None => account.lost.push(stopped(print.range, Cause::WireAmbiguous, detail)),
                    }
                    continue;
                }
                let (cause, detail) = self.absent(way, print.time, coverage);
                account.lost.push(stopped(print.range, cause, detail));
                continue;
            };
            let begin = self.begins.get(&(number, way, index)).copied().unwrap_or(0);
            self.note_one(seen, way, print.range, (place, begin), !has_payload);
            let captured = self.print(place).captured.saturating_sub(begin);
            let at = print.range.from + captured.min(print.range.len());
            account.delivered.insert(Range::new(print.range.from, at));
            if at < print.range.to {
                account.lost.push(stopped(Range::new(at, print.range.to), self.why_cut(place), ""));
            }
        }
        // Datagrams of which the process's side knows nothing but that they were lost.
        let own = &socket.accounts[way.index()];
        let mut known = prints.iter().map(|print| print.range).collect::<crate::ledger::RangeSet>();
        for &(whole, place) in self.joined.get(&(number, way)).into_iter().flatten() {
            let at = whole.from + self.print(place).captured.min(whole.len());
            account.delivered.insert(Range::new(whole.from, at));
            for cut in known.missing_in(Range::new(at, whole.to)) {
                account.lost.push(stopped(cut, self.why_cut(place), ""));
            }
            known.insert(whole);
        }
        for lost in &own.lost {
            for range in known.missing_in(lost.range) {
                let taken = self.take_any(number, way, range.len());
                let at = self.note(seen, way, range.from, &taken, true);
                account.delivered.insert(Range::new(range.from, at));
                if at < range.to {
                    let (cause, detail) = self.absent(way, socket.info.last, coverage);
                    account.lost.push(stopped(Range::new(at, range.to), cause, detail));
                }
            }
        }
        account.lost.sort_by_key(|lost| lost.range);
        account
    }

    /// Notes where datagrams of a socket are that follow each other from an offset on; with the places themselves, if they
    /// are `wanted`. Gives the offset where they end.
    fn note(&self, seen: &mut Seen, direction: Direction, from: u64, places: &[Place], wanted: bool) -> u64 {
        places.iter().fold(from, |from, &place| {
            let range = Range::new(from, from + self.print(place).range.len());
            self.note_one(seen, direction, range, (place, 0), wanted);
            range.to
        })
    }

    /// Notes that a range of a socket is in a datagram of the capture, from there on.
    fn note_one(
        &self,
        seen: &mut Seen,
        direction: Direction,
        range: Range,
        (place, begin): (Place, u64),
        wanted: bool,
    ) {
        seen.flows.insert(place.0);
        if wanted && !range.is_empty() {
            let flow = self.wire[place.0 as usize].info.id;
            let (flow_direction, at) = (place.1, self.print(place).range.from + begin);
            seen.placed.push(Placed { direction, range, flow, flow_direction, at });
        }
    }

    /// Why the capture has not all of a datagram.
    fn why_cut(&self, place: Place) -> Cause {
        let lost = &self.wire[place.0 as usize].accounts[place.1.index()].lost;
        let end = self.print(place).range.to;
        let cut = lost.get(lost.partition_point(|lost| lost.range.to < end));
        cut.map_or(Cause::WireSnaplen, |cut| cut.cause)
    }

    /// One call may move several datagrams, which the kernel splits and joins (UDP_SEGMENT, UDP_GRO): takes those that
    /// together are as long. Empty where there are none.
    fn take_parts(&mut self, number: usize, way: Direction, print: &Print) -> Vec<Place> {
        let (peer, length) = (peer(&self.process[number], print), print.range.len());
        let (mut parts, mut total): (Vec<Place>, u64) = (Vec::new(), 0);
        for place in self.left(number, way, peer) {
            let part = self.print(place);
            if parts.is_empty() && !part.begins(print) {
                continue;
            }
            total += part.range.len();
            parts.push(place);
            if total >= length {
                break;
            }
        }
        if total != length || parts.len() < 2 {
            return Vec::new();
        }
        parts.iter().for_each(|&place| *self.is_found(place, way) = true);
        parts
    }

    /// Takes datagrams that nobody has claimed, in order, up to so many bytes.
    fn take_any(&mut self, number: usize, way: Direction, bytes: u64) -> Vec<Place> {
        let mut left = bytes;
        let mut taken = Vec::new();
        for place in self.left(number, way, None) {
            let length = self.print(place).range.len();
            if length <= left {
                *self.is_found(place, way) = true;
                left -= length;
                taken.push(place);
            }
        }
        taken
    }

    /// What nobody has claimed of the datagrams that a socket and a peer, where one is known, may have exchanged.
    fn left(&mut self, number: usize, way: Direction, peer: Option<SocketAddr>) -> Vec<Place> {
        let socket = &self.process[number];
        let elsewhere = self.translated.places(number, peer, way);
        let mut left: Vec<Place> =
            elsewhere.into_iter().filter(|&place| !*self.is_found(place, way)).take(LOOK_MAX).collect();
        let Some(mut queue) = self.by_port.remove(&(port(socket), way)) else { return left };
        while queue.front().is_some_and(|&place| *self.is_found(place, way)) {
            queue.pop_front();
        }
        let here = queue.iter().copied().take(LOOK_MAX);
        left.extend(
            here.filter(|&place| !*self.is_found(place, way) && self.is_between(place, socket, way, peer)),
        );
        self.by_port.insert((port(socket), way), queue);
        left
    }

    /// A socket of the process against the capture.
    pub fn compare(
        &mut self,
        number: usize,
        socket: &Ledger,
        wire: &Side,
        coverage: [&Coverage; 2],
        (other, unpaired): (Other, Option<(Cause, String)>),
    ) -> Comparison {
        let unpaired = unpaired.as_ref().map(|(cause, detail)| (*cause, &**detail));
        let (mut findings, mut seen) = (Vec::new(), Seen::default());
        let has_any = self.translated.knows(number)
            || Direction::BOTH.iter().any(|&way| self.by_port.contains_key(&(port(socket), way)))
            || self.matched.get(&number).is_some_and(|lists| lists.iter().flatten().any(Option::is_some));
        let comparable = !wire.streams_only && socket.prints.left_out == 0;
        let comparable = comparable && self.wire.iter().all(|flow| flow.prints.left_out == 0);
        let balances = Direction::BOTH.map(|direction| {
            let account = match (comparable, has_any) {
                (false, _) => Some(not_compared(socket, direction, wire.streams_only)),
                (true, true) => Some(self.account(number, socket, direction, coverage[1], &mut seen)),
                (true, false) => None,
            };
            let wire = account.map(|account| (socket, account));
            Direct { direction, process: socket, wire, wire_start: 0, coverage, other, unpaired }
                .balance(&mut findings)
        });
        findings.extend(self.translated_findings(number));
        let translated = self.only_lane(number);
        let lanes = seen.flows.iter().filter_map(|&flow| ends(&self.wire[flow as usize], Direction::Send));
        let (lanes, mut placed) = (lanes.collect(), seen.placed);
        placed.sort_by_key(|one| (one.direction, one.range));
        Comparison { translated, lanes, placed, ..Comparison::of(socket, true, balances, findings) }
    }

    /// What a flow of the capture has beyond the datagrams that were found, where it is one of the process's sockets.
    /// Absent where none of its datagrams is.
    pub fn rest(&self, number: usize, process: &Coverage, clock: Clock) -> Option<Comparison> {
        let flow = &self.wire[number];
        let (mut findings, mut left, mut ours) = (Vec::new(), [0; 2], false);
        for direction in Direction::BOTH {
            let prints =
                flow.prints.lists[direction.index()].iter().zip(&self.found[number][direction.index()]);
            for (index, (print, found)) in (0u32..).zip(prints) {
                ours |= found.contains(&true);
                let time = clock.to_process(print.time);
                let left_over = self.left_over.get(&(number as u32, direction, index));
                if let Some(&(taken, cause)) = left_over {
                    let rest = Range::new(print.range.from + taken, print.range.to);
                    extend(&mut findings, direction, rest, cause, LEFT_OVER);
                    left[direction.index()] += rest.len();
                }
                for way in Direction::BOTH.into_iter().filter(|way| !found[way.index()]) {
                    let Some(ends) = ends(flow, direction) else { continue };
                    let [end, other] = [ends[way.index()], ends[way.reverse().index()]];
                    let mut sockets = self.sockets.get(&end.port()).into_iter().flatten();
                    let translated = self.translated.sockets.get(&[end, other]);
                    let is_translated =
                        translated.is_some_and(|&number| is_alive(&self.process[number], time));
                    if !is_translated && !sockets.any(|socket| self.is_at(socket, end, other, time)) {
                        continue;
                    }
                    ours = true;
                    let (cause, detail) = unseen(way, time, process);
                    extend(&mut findings, direction, print.range, cause, detail);
                    left[direction.index()] += print.range.len();
                }
            }
        }
        let balances = left.map(|wire| Balance { wire, ..Balance::default() });
        let mut rest = Comparison {
            flow: Some(flow.info.id),
            records: 0,
            ..Comparison::of(flow, true, balances, findings)
        };
        rest.set_clock(clock);
        ours.then_some(rest)
    }

    /// Why the other vantage lacks what the process moved at `time`.
    fn absent(&self, way: Direction, time: Timestamp, other: &Coverage) -> (Cause, &'static str) {
        let Some(lost) = self.far else { return not_captured(time, other) };
        if other.first.is_some_and(|first| time < first) {
            return (Cause::BeforeAttach, "moved before the other recording began");
        }
        if other.last.is_none_or(|last| last < time) {
            let cause = if other.cut { Cause::RecordingCut } else { Cause::AfterDetach };
            return (cause, "the other recording ended before these bytes");
        }
        match (lost[way.reverse().index()], way) {
            (Some(cause), _) => (cause, "lost at the other end, which may have been these"),
            (None, Direction::Send) => {
                (Cause::Unread, "not read at the other end: lost on the way, or dropped there")
            }
            (None, Direction::Recv) => {
                (Cause::UntracedSyscall, "sent by no call that the other recording has")
            }
        }
    }

    /// True where a socket was at an address then.
    fn is_at(&self, socket: &Ledger, end: SocketAddr, other: SocketAddr, time: Timestamp) -> bool {
        let Some(local) = local(socket) else { return false };
        let remote = socket.info.open.remote.and_then(canonical);
        let address = match local.ip().is_unspecified() {
            true => self.own.contains(&end.ip()) || end.ip().is_multicast(),
            false => local.ip() == end.ip(),
        };
        local.port() == end.port()
            && address
            && is_alive(socket, time)
            && remote.is_none_or(|remote| remote == other)
    }
}

/// True where a socket was open then.
fn is_alive(socket: &Ledger, time: Timestamp) -> bool {
    let closed = socket.end == Some(End::Closed);
    let opened = socket.info.open.opened == Opened::Fresh;
    (!closed || time.0 <= socket.info.last.0.saturating_add(SLACK))
        && (!opened || time.0.saturating_add(SLACK) >= socket.info.first.0)
}

/// Source and destination of what a flow has one way.
fn ends(flow: &Ledger, direction: Direction) -> Option<[SocketAddr; 2]> {
    let open = &flow.info.open;
    let (client, server) = (open.local.and_then(canonical)?, open.remote.and_then(canonical)?);
    Some(if direction == Direction::Send { [client, server] } else { [server, client] })
}

fn stopped(range: Range, cause: Cause, detail: &str) -> Stopped {
    Stopped { range, cause, detail: detail.to_owned() }
}

/// Adds a finding, or extends the last one that it continues.
fn extend(findings: &mut Vec<Finding>, direction: Direction, range: Range, cause: Cause, detail: &str) {
    // Seen from both ends, findings of a direction take turns.
    let last = findings.iter_mut().rev().take(2);
    let mut last =
        last.filter(|last| (last.direction, last.cause, last.range.to) == (direction, cause, range.from));
    match last.next() {
        Some(last) => last.range.to = range.to,
        None => findings.push(Finding::new(direction, range, cause, detail.to_owned())),
    }
}

/// Nothing is said of what the capture has.
fn not_compared(socket: &Ledger, direction: Direction, streams_only: bool) -> Account {
    let detail = match streams_only {
        true => "no datagrams are read of this kind of capture",
        false => "more datagrams than are remembered",
    };
    let account = &socket.accounts[direction.index()];
    let ranges = account.delivered.iter().chain(account.lost.iter().map(|lost| lost.range));
    let all: crate::ledger::RangeSet = ranges.collect();
    let lost = all.iter().map(|range| stopped(range, Cause::WireNotCompared, detail)).collect();
    Account { lost, ..Account::default() }
}

/// Why the capture lacks what the process moved at `time`.
fn not_captured(time: Timestamp, capture: &Coverage) -> (Cause, &'static str) {
    if capture.first.is_some_and(|first| time < first) {
        return (Cause::WireStartedLate, "the capture began after these bytes were sent");
    }
    if capture.cut || capture.last.is_none_or(|last| last < time) {
        return (Cause::WireEndedEarly, "the capture ended before these bytes");
    }
    (Cause::WireNotCaptured, "the process moved them, the capture lacks them")
}

/// Of the end of a datagram.
const LEFT_OVER: &str = "the process read its beginning alone";

/// Why the process's side lacks what was on the wire at `time`.
fn unseen(way: Direction, time: Timestamp, process: &Coverage) -> (Cause, &'static str) {
    if process.first.is_some_and(|first| time < first) {
        return (Cause::BeforeAttach, "moved before the probes were in place");
    }
    if process.last.is_some_and(|last| time > last) {
        return match process.cut {
            true => (Cause::RecordingCut, "the recording ends in the middle"),
            false => (Cause::AfterDetach, "on the wire after the trace ended"),
        };
    }
    match way {
        Direction::Recv => {
            (Cause::Unread, "arrived, and was not read: left in the socket, or dropped when it was full")
        }
        Direction::Send => {
            (Cause::UntracedSyscall, "sent from the process's port by no call that was traced")
        }
    }
}
