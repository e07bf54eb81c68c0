//! UDP flows of a capture: from datagrams to events, as a socket would show them.
//!
//! A flow is a pair of addresses and ports, until it is idle for long. UDP has no handshake and no sequence numbers, so
//! offsets count the datagrams as they come. What is decided here: which end is the client, which packets are copies
//! of one datagram, when a flow is over.

use super::flow::{Key, Numbers};
use super::link::Datagram;
use super::port_class;
use crate::event::{
    Call, Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Open, Opened, Role, Start,
    Timestamp, Total, Transport,
};
use crate::source::Sink;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// Flows kept at once. Datagrams of further ones are counted, not followed.
const MAX_FLOWS: usize = 1 << 20;

/// How long a flow may be idle, in nanoseconds of capture time. RFC 4787 (section 4.3) wants address translators to
/// remember a flow of UDP for 5 minutes.
const IDLE_TIME: u64 = 300_000_000_000;

/// Within how long, in nanoseconds of capture time, the same datagram is a copy made on its way: seen at the next
/// interface, or mirrored. A sender repeats itself later than that, or with another identification.
const COPY_TIME: u64 = 5_000_000;

/// Datagrams of one direction that are remembered to recognise copies.
const MAX_RECENT: usize = 16;

/// Datagrams that became no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Copies of one that was seen before.
    pub copies: u64,
    /// Datagrams of flows beyond the bound.
    pub crowded: u64,
}

impl Ignored {
    /// Each count with what it counts, for messages.
    pub fn reasons(&self) -> [(u64, &'static str); 2] {
        [
            (self.copies, "packets left out: copies of UDP datagrams that the capture has already"),
            (self.crowded, "UDP datagrams ignored: too many flows at once"),
        ]
    }
}

/// All UDP flows of a capture.
#[derive(Default)]
pub struct DatagramFlows {
    table: FxHashMap<Key, Flow>,
    /// When to look next whether a flow is idle: one entry for each.
    idle: VecDeque<(Timestamp, Key)>,
    /// The latest time seen.
    now: Timestamp,
    hasher: RandomState,
    /// What was left out.
    pub ignored: Ignored,
}

struct Flow {
    conn: ConnId,
    /// Client and server, by the index of the direction in which they send.
    ends: [SocketAddr; 2],
    last: Timestamp,
    /// Bytes of each direction.
    moved: [u64; 2],
    recent: [VecDeque<Recent>; 2],
}

/// What tells a copy of a datagram.
#[derive(Clone, Copy)]
struct Recent {
    time: Timestamp,
    /// Of the payload: its digest and length.
    content: (u64, usize),
    /// The identification of the IPv4 packet; 0 where there is none.
    id: u32,
    /// Where it was seen.
    place: u64,
}

impl Recent {
    /// Equal identifications tell a copy wherever it was seen. Where a sender gives none (RFC 6864 allows that for
    /// packets that are not fragmented, and IPv6 has none) only another place does.
    fn is_copied_by(&self, other: &Recent) -> bool {
        self.content == other.content
            && self.id == other.id
            && (self.id != 0 || self.place != other.place)
            && other.time.0.abs_diff(self.time.0) <= COPY_TIME
    }
}

impl DatagramFlows {
    /// Takes one datagram, seen at the interface that `place` stands for.
    pub fn datagram(
        &mut self,
        time: Timestamp,
        datagram: &Datagram<'_>,
        place: u64,
        numbers: &mut Numbers,
        sink: &mut Sink<'_>,
    ) -> ControlFlow<()> {
        self.now = self.now.max(time);
        self.expire(sink)?;
        let key = Key::of(datagram.source, datagram.destination);
        if !self.table.contains_key(&key) {
            if self.table.len() == MAX_FLOWS {
                self.ignored.crowded += 1;
                return ControlFlow::Continue(());
            }
            let flow = Flow::open(time, datagram, numbers, sink)?;
            self.idle.push_back((Timestamp(self.now.0.saturating_add(IDLE_TIME)), key));
            self.table.insert(key, flow);
        }
        let Some(flow) = self.table.get_mut(&key) else { return ControlFlow::Continue(()) };
        let content = (self.hasher.hash_one(datagram.payload), datagram.length);
        if !flow.is_news(datagram, Recent { time, content, id: datagram.id, place }) {
            self.ignored.copies += 1;
            return ControlFlow::Continue(());
        }
        flow.last = self.now;
        flow.data(time, datagram, sink)
    }

    /// The capture ends, every flow is still open. In the order of appearance.
    pub fn end(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let mut rest: Vec<Flow> = std::mem::take(&mut self.table).into_values().collect();
        rest.sort_unstable_by_key(|flow| flow.conn);
        rest.iter().try_for_each(|flow| flow.close(self.now, CloseReason::StillOpen, sink))
    }

    /// Ends the flows that have been idle for long.
    fn expire(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        while let Some(&(due, key)) = self.idle.front().filter(|(due, _)| *due <= self.now) {
            self.idle.pop_front();
            let Some(flow) = self.table.get(&key) else { continue };
            let next = Timestamp(flow.last.0.saturating_add(IDLE_TIME));
            if next > due {
                self.idle.push_back((next, key));
                continue;
            }
            flow.close(flow.last, CloseReason::Closed, sink)?;
            self.table.remove(&key);
        }
        ControlFlow::Continue(())
    }
}

impl Flow {
    /// Begins with its first datagram, and says so. The kind of the ports tells which end is the server; where both are
    /// of one kind, whoever sends first is taken for the client, and the role is a guess.
    fn open(
        time: Timestamp,
        first: &Datagram<'_>,
        numbers: &mut Numbers,
        sink: &mut Sink<'_>,
    ) -> ControlFlow<(), Flow> {
        let (source, destination) = (first.source, first.destination);
        let classes = [source, destination].map(|end| port_class(end.port()));
        let from_server = classes[0] < classes[1];
        let role = if classes[0] == classes[1] { Role::Unknown } else { Role::Client };
        let ends = if from_server { [destination, source] } else { [source, destination] };
        let conn = numbers.next();
        let flow = Flow { conn, ends, last: time, moved: [0; 2], recent: Default::default() };
        let open = Open {
            opened: Opened::Found,
            transport: Transport::Udp,
            local: Some(ends[0].into()),
            remote: Some(ends[1].into()),
            role,
            start: [Start::default(); 2],
            exact: false,
            filtered: false,
            call: Some(Call::Packet),
            error: None,
        };
        match flow.emit(time, Kind::Open(open), sink) {
            ControlFlow::Continue(()) => ControlFlow::Continue(flow),
            ControlFlow::Break(()) => ControlFlow::Break(()),
        }
    }

    fn direction(&self, datagram: &Datagram<'_>) -> Direction {
        if datagram.source == self.ends[0] { Direction::Send } else { Direction::Recv }
    }

    /// False for a copy.
    fn is_news(&mut self, datagram: &Datagram<'_>, one: Recent) -> bool {
        let recent = &mut self.recent[self.direction(datagram).index()];
        if recent.iter().any(|other| other.is_copied_by(&one)) {
            return false;
        }
        if recent.len() == MAX_RECENT {
            recent.pop_front();
        }
        recent.push_back(one);
        true
    }

    fn data(&mut self, time: Timestamp, datagram: &Datagram<'_>, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let direction = self.direction(datagram);
        let offset = self.moved[direction.index()];
        let length = datagram.length as u64;
        self.moved[direction.index()] += length;
        let complete = datagram.payload.len() as u64 == length;
        let data = Data {
            direction,
            offset,
            length,
            payload: datagram.payload,
            tcp_seq: None,
            peer: None,
            call: Call::Packet,
            cause: (!complete).then_some(Cause::WireSnaplen),
            peek: false,
            past_tcp: false,
            acked: None,
            error: None,
        };
        self.emit(time, Kind::Data(data), sink)
    }

    fn close(&self, time: Timestamp, reason: CloseReason, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let totals = self.moved.map(|moved| Total { moved, end: Some(moved), ..Total::default() });
        self.emit(time, Kind::Close(Close { reason, call: Some(Call::Packet), totals }), sink)
    }

    fn emit(&self, time: Timestamp, kind: Kind<'_>, sink: &mut Sink<'_>) -> ControlFlow<()> {
        sink(&Event { time, conn: self.conn, task: None, fd: None, kind })
    }
}

#[cfg(test)]
mod tests;
