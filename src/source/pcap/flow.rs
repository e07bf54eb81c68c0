//! TCP flows of a capture: from segments to events.
//!
//! A flow is a pair of addresses and ports from one handshake to the next. Segments become events as they
//! arrive, retransmissions and disorder included: sorting and trimming is the stream's business. What is
//! decided here: which end is the client, where offsets begin, what was lost, when a flow ends.

use super::half::Half;
use super::link::{Segment, flag};
use super::overlap::Overlaps;
use super::port_class;
use crate::event::{
    Call, Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Loss, Open, Opened, Range, Role,
    Start, Timestamp, Total, Transport,
};
use crate::source::Sink;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// Flows kept at once. Segments of further ones are counted, not followed.
const MAX_FLOWS: usize = 1 << 20;

/// How long after its end a flow may still get segments that count, in nanoseconds of capture time: data
/// in flight when a reset was sent, and disorder of the capture.
const CLOSING_TIME: u64 = 1_000_000_000;

/// How long a closed flow is remembered, so that its last retransmissions open no new one.
const CLOSED_TIME: u64 = 60_000_000_000;

/// How many flows may wait in either state; beyond it the oldest moves on early.
const MAX_WAITING: usize = 1 << 14;

/// How long after a capture's beginning bytes are acknowledged that were on their way then, in nanoseconds: a round trip, for
/// which a second is the first guess of every sender (RFC 6298, section 2), and the half second that an acknowledgement may
/// wait at most (RFC 9293, section 3.8.6.3).
const IN_FLIGHT_TIME: u64 = 1_500_000_000;

const SYN_ACK: u8 = flag::SYN | flag::ACK;

/// Makes a [`Step`] of flows whose table is borrowed at the same time.
macro_rules! step {
    ($flows:ident, $time:ident, $sink:ident) => {
        Step {
            time: $time,
            began: $flows.began.unwrap_or($time),
            numbers: &mut $flows.numbers,
            ignored: &mut $flows.ignored,
            overlaps: &mut $flows.overlaps,
            sink: $sink,
        }
    };
}

/// Segments that became no event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignored {
    /// Sequence number outside any window.
    pub wild: u64,
    /// Data before the first byte of a flow whose handshake was not seen.
    pub early: u64,
    /// New data after the flow's end.
    pub late: u64,
    /// Segments of flows beyond the bound.
    pub crowded: u64,
}

impl Ignored {
    /// Each count with what it counts, for messages.
    pub fn reasons(&self) -> [(u64, &'static str); 4] {
        [
            (self.wild, "TCP segments ignored: sequence or acknowledgement number outside any window"),
            (self.early, "TCP segments ignored: before the first byte of a connection found open"),
            (self.late, "TCP segments ignored: new data after the connection's end"),
            (self.crowded, "TCP segments ignored: too many connections at once"),
        ]
    }
}

/// Numbers the flows of a capture, whatever carries them, from 1.
#[derive(Debug, Default)]
pub struct Numbers(u64);

impl Numbers {
    /// The next flow.
    pub fn next(&mut self) -> ConnId {
        self.0 += 1;
        ConnId { socket: self.0, opened: 0 }
    }
}

/// The two ends of a flow, the smaller one first: as numbers, which are quicker to hash than addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([(u128, u32); 2]);

impl Key {
    pub(super) fn of(source: SocketAddr, destination: SocketAddr) -> Key {
        let (source, destination) = (Key::end(source), Key::end(destination));
        Key(if source <= destination { [source, destination] } else { [destination, source] })
    }

    /// Address, and port with a mark for the family.
    fn end(address: SocketAddr) -> (u128, u32) {
        match address {
            SocketAddr::V4(v4) => (u128::from(v4.ip().to_bits()), u32::from(v4.port())),
            SocketAddr::V6(v6) => (v6.ip().to_bits(), 1 << 16 | u32::from(v6.port())),
        }
    }
}

/// All flows of a capture.
#[derive(Default)]
pub struct Flows {
    table: FxHashMap<Key, Flow>,
    /// Flows that end at the stated time if nothing contradicts, with the packet count of their end.
    closing: VecDeque<(Timestamp, Key)>,
    /// Closed flows and when to forget them.
    closed: VecDeque<(Timestamp, Key)>,
    /// The latest time seen. Packets may be out of order; the clock here never goes back.
    now: Timestamp,
    /// The time of the first segment.
    began: Option<Timestamp>,
    /// What the next flow is called.
    pub numbers: Numbers,
    /// What was left out.
    pub ignored: Ignored,
    /// Retransmissions whose content differs.
    pub overlaps: Overlaps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Only acknowledgements seen so far, or an unanswered SYN: no event yet.
    Silent,
    Open,
    /// Reset by this direction's sender, who can't send any more. If it does, the reset was not real.
    Reset(Direction, Timestamp),
    /// A FIN was seen and acknowledged in both directions, ranges are missing.
    Finished(Timestamp),
    Closed,
}

struct Flow {
    conn: ConnId,
    state: State,
    /// Client and server, by the index of the direction in which they send.
    ends: [SocketAddr; 2],
    role: Role,
    fresh: bool,
    /// Time of its first segment.
    began: Timestamp,
    /// Segments seen.
    packets: u64,
    halves: [Half; 2],
}

impl Flows {
    /// Takes one segment.
    pub fn segment(
        &mut self,
        time: Timestamp,
        segment: &Segment<'_>,
        sink: &mut Sink<'_>,
    ) -> ControlFlow<()> {
        self.now = self.now.max(time);
        self.began.get_or_insert(time);
        if !(self.closing.is_empty() && self.closed.is_empty()) {
            self.expire(sink)?;
        }
        let key = Key::of(segment.source, segment.destination);
        let known = self.table.get(&key);
        if known.is_none_or(|flow| flow.is_replaced_by(segment)) {
            if known.is_some() {
                self.make_way(key, time, sink)?;
            }
            if segment.flags & flag::RST != 0 {
                return ControlFlow::Continue(());
            }
            if self.table.len() == MAX_FLOWS {
                self.ignored.crowded += 1;
                return ControlFlow::Continue(());
            }
            self.table.insert(key, Flow::new(segment, time));
        }
        let Some(flow) = self.table.get_mut(&key) else { return ControlFlow::Continue(()) };
        let before = flow.state;
        let mut step = step!(self, time, sink);
        flow.segment(segment, &mut step)?;
        let after = flow.state;
        if before != after {
            self.schedule(key, after);
        }
        ControlFlow::Continue(())
    }

    /// The capture ends: everything missing is lost, every flow is still open. In the order of appearance.
    pub fn end(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let mut rest: Vec<Flow> = std::mem::take(&mut self.table).into_values().collect();
        rest.sort_unstable_by_key(|flow| (flow.conn, flow.began));
        for mut flow in rest {
            let (time, reason) = match flow.state {
                State::Reset(_, time) => (time, CloseReason::Reset),
                State::Finished(time) => (time, CloseReason::Fin),
                _ => (self.now, CloseReason::StillOpen),
            };
            let mut step = step!(self, time, sink);
            // Acknowledgements alone tell that it was open, and where its streams stood.
            if flow.state == State::Silent {
                flow.halves.iter_mut().for_each(|half| half.base = half.base.or(half.idle));
                flow.open(&mut step)?;
            }
            flow.close(reason, &mut step)?;
        }
        ControlFlow::Continue(())
    }

    /// Ends the flow of these ports: another one begins.
    fn make_way(&mut self, key: Key, time: Timestamp, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let Some(mut flow) = self.table.remove(&key) else { return ControlFlow::Continue(()) };
        let (time, reason) = match flow.state {
            State::Reset(_, time) => (time, CloseReason::Reset),
            State::Finished(time) => (time, CloseReason::Fin),
            _ => (time, CloseReason::Closed),
        };
        let mut step = step!(self, time, sink);
        flow.close(reason, &mut step)
    }

    fn schedule(&mut self, key: Key, state: State) {
        match state {
            State::Reset(..) | State::Finished(_) => {
                self.closing.push_back((Timestamp(self.now.0.saturating_add(CLOSING_TIME)), key));
            }
            State::Closed => {
                self.closed.push_back((Timestamp(self.now.0.saturating_add(CLOSED_TIME)), key));
            }
            State::Silent | State::Open => {}
        }
    }

    /// Moves on what has waited long enough. A flow that changed its mind, or a new one of the same ports,
    /// is recognised by its state.
    fn expire(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        while let Some(key) = due(&mut self.closing, self.now) {
            let Some(flow) = self.table.get_mut(&key) else { continue };
            let (time, reason) = match flow.state {
                State::Reset(_, time) => (time, CloseReason::Reset),
                State::Finished(time) => (time, CloseReason::Fin),
                State::Silent | State::Open | State::Closed => continue,
            };
            if self.now.since(time) < CLOSING_TIME && self.closing.len() < MAX_WAITING {
                continue; // a later end of a new flow; its own entry follows
            }
            let mut step = step!(self, time, sink);
            flow.close(reason, &mut step)?;
            self.schedule(key, State::Closed);
        }
        while let Some(key) = due(&mut self.closed, self.now) {
            if self.table.get(&key).is_some_and(|flow| flow.state == State::Closed) {
                self.table.remove(&key);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Takes the first entry of a queue if its time has come, or the queue is too long.
fn due(queue: &mut VecDeque<(Timestamp, Key)>, now: Timestamp) -> Option<Key> {
    let &(time, key) = queue.front()?;
    if time > now && queue.len() <= MAX_WAITING {
        return None;
    }
    queue.pop_front();
    Some(key)
}

/// What a flow needs to handle one segment.
struct Step<'a, 'b> {
    time: Timestamp,
    /// When the capture began.
    began: Timestamp,
    numbers: &'a mut Numbers,
    ignored: &'a mut Ignored,
    overlaps: &'a mut Overlaps,
    sink: &'a mut Sink<'b>,
}

impl Flow {
    fn new(first: &Segment<'_>, time: Timestamp) -> Flow {
        let (source, destination) = (first.source, first.destination);
        let handshake = first.flags & (flag::SYN | flag::ACK);
        // Without a handshake: the lower port is the server's; if they are equal, the first sender is the client. Between
        // ports of one kind that is a guess.
        let from_server = match handshake {
            flag::SYN => false,
            SYN_ACK => true,
            _ => source.port() < destination.port(),
        };
        let is_alike = port_class(source.port()) == port_class(destination.port());
        let guess = handshake & flag::SYN == 0 && is_alike;
        let role = if guess { Role::Unknown } else { Role::Client };
        let ends = if from_server { [destination, source] } else { [source, destination] };
        Flow {
            conn: ConnId::default(),
            state: State::Silent,
            ends,
            role,
            fresh: handshake & flag::SYN != 0,
            began: time,
            packets: 0,
            halves: Default::default(),
        }
    }

    fn direction(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.ends[0] { Direction::Send } else { Direction::Recv }
    }

    /// True where a segment shows that the ports are used again: a SYN with another initial sequence number, or of a
    /// flow of which nothing is known but that it was open; without a SYN, numbers far from those of a flow that is
    /// over.
    fn is_replaced_by(&self, segment: &Segment<'_>) -> bool {
        if segment.flags & flag::SYN == 0 {
            let over = !matches!(self.state, State::Silent | State::Open);
            return over
                && segment.flags & (flag::ACK | flag::RST) == flag::ACK
                && self.is_elsewhere(segment);
        }
        let base = self.halves[self.direction(segment).index()].base;
        let differs = base.is_some_and(|base| base != segment.seq.wrapping_add(1));
        let initial = segment.flags & flag::ACK == 0;
        match self.state {
            State::Silent if !self.fresh => true,
            State::Silent | State::Open => initial && differs,
            State::Reset(..) | State::Finished(_) | State::Closed => differs,
        }
    }

    /// True where neither number of a segment can belong to this flow, now that it is over.
    fn is_elsewhere(&self, segment: &Segment<'_>) -> bool {
        let direction = self.direction(segment);
        let (own, peer) = (&self.halves[direction.index()], &self.halves[direction.reverse().index()]);
        (own.is_far(segment.seq) || own.is_behind_fin(segment.seq))
            && (peer.is_far(segment.ack) || peer.is_behind_fin(segment.ack))
    }

    fn segment(&mut self, segment: &Segment<'_>, step: &mut Step<'_, '_>) -> ControlFlow<()> {
        let direction = self.direction(segment);
        self.packets += 1;
        if self.state == State::Closed {
            step.ignored.late += u64::from(self.is_news(segment, direction));
            return ControlFlow::Continue(());
        }
        self.halves[direction.index()].shown = true;
        self.find_starts(segment, direction);
        // A SYN waits for what follows, which tells where the other direction begins.
        let answered = segment.flags & flag::SYN == 0 || self.halves.iter().all(|half| half.base.is_some());
        if self.fresh && answered {
            self.open(step)?;
        }
        if segment.flags & flag::RST != 0 {
            return self.reset(segment, direction, step);
        }
        let syn = u32::from(segment.flags & flag::SYN != 0);
        let seq = segment.seq.wrapping_add(syn);
        let brings = segment.length > 0 || segment.flags & flag::FIN != 0;
        let half = &mut self.halves[direction.index()];
        if let Some(offset) = half.offset(seq).filter(|_| !self.fresh) {
            half.place(offset, brings);
        }
        if segment.length > 0 {
            self.data(segment, seq, direction, step)?;
        }
        if segment.flags & flag::FIN != 0 {
            self.fin(segment, seq.wrapping_add(segment.length as u32), direction, step)?;
        }
        if segment.flags & flag::ACK != 0 {
            let early = !self.fresh && step.time.since(step.began) <= IN_FLIGHT_TIME;
            let peer = &mut self.halves[direction.reverse().index()];
            match peer.offset(segment.ack) {
                Some(offset) => peer.acknowledge(offset.max(0) as u64, early),
                None => step.ignored.wild += 1,
            }
        }
        if self.halves[0].has_holes() || self.halves[1].has_holes() {
            self.lose(false, step)?;
        }
        self.finish(step)
    }

    /// True where a segment brings data beyond all that was known.
    fn is_news(&self, segment: &Segment<'_>, direction: Direction) -> bool {
        let half = &self.halves[direction.index()];
        let end = segment.seq.wrapping_add(segment.length as u32);
        segment.length > 0 && half.offset(end).is_some_and(|end| end > half.top as i64)
    }

    /// Learns from a segment where either direction begins.
    fn find_starts(&mut self, segment: &Segment<'_>, direction: Direction) {
        let own = &mut self.halves[direction.index()];
        if own.base.is_none() {
            if segment.flags & flag::SYN != 0 {
                own.base = Some(segment.seq.wrapping_add(1));
            } else if segment.length > 0 || segment.flags & flag::FIN != 0 {
                own.base = Some(segment.seq);
            } else if segment.flags & flag::RST == 0 {
                own.idle = Some(segment.seq);
            }
        } else if self.state == State::Silent && !self.fresh && own.top == 0 && segment.length > 0 {
            // Nothing was reported yet: what came before the first acknowledgement can still be the start.
            if own.offset(segment.seq).is_some_and(|offset| offset < 0) {
                own.base = Some(segment.seq);
            }
        }
        let peer = &mut self.halves[direction.reverse().index()];
        let acknowledges = segment.flags & (flag::ACK | flag::RST) == flag::ACK;
        if acknowledges && peer.base.is_none() {
            peer.base = Some(segment.ack);
        }
    }

    fn data(
        &mut self,
        segment: &Segment<'_>,
        seq: u32,
        direction: Direction,
        step: &mut Step<'_, '_>,
    ) -> ControlFlow<()> {
        let half = &mut self.halves[direction.index()];
        let Some(offset) = half.offset(seq) else {
            step.ignored.wild += 1;
            return ControlFlow::Continue(());
        };
        let before = offset.min(0).unsigned_abs() as usize;
        if before >= segment.length {
            // One byte before the next is a keep-alive (RFC 9293, section 3.8.4), not a loss of anything.
            step.ignored.early += u64::from(!self.fresh && segment.length > 1);
            return ControlFlow::Continue(());
        }
        let range = Range::new(offset.max(0) as u64, (offset + segment.length as i64) as u64);
        let payload = segment.payload.get(before..).unwrap_or_default();
        if half.fin.is_some_and(|fin| range == Range::new(fin, fin + 1)) {
            return ControlFlow::Continue(()); // the keep-alive of who has sent a FIN, whose number it has
        }
        let old = half.is_old(range);
        // One byte that was acknowledged already is a keep-alive. It bears the right byte, or 0.
        let repeated = old || (payload == [0] && half.is_acknowledged(range.to));
        if range.len() == 1 && range.to == half.top && repeated {
            return ControlFlow::Continue(());
        }
        if range.from < half.top {
            step.overlaps.compare(segment, (self.conn, direction), half, range.from, payload);
        }
        let grows = half.arrive(range);
        if !old {
            step.overlaps.keep(half, range.from, payload);
        }
        let tcp_seq = half.seq(range.from);
        let acked = self.acked(segment, direction);
        if grows && matches!(self.state, State::Reset(by, _) if by == direction) {
            self.state = State::Open;
        }
        self.open(step)?;
        let complete = payload.len() as u64 == range.len();
        self.emit(
            step,
            Kind::Data(Data {
                direction,
                offset: range.from,
                length: range.len(),
                payload,
                tcp_seq,
                peer: None,
                call: Call::Packet,
                cause: (!complete).then_some(Cause::WireSnaplen),
                peek: false,
                past_tcp: false,
                acked,
                error: None,
            }),
        )
    }

    /// Up to which offset a segment acknowledges the bytes of the other direction.
    fn acked(&self, segment: &Segment<'_>, direction: Direction) -> Option<u64> {
        let peer = &self.halves[direction.reverse().index()];
        let offset = peer.offset(segment.ack).filter(|_| segment.flags & flag::ACK != 0)?;
        let offset = offset.max(0) as u64;
        Some(peer.fin.map_or(offset, |fin| offset.min(fin)))
    }

    fn fin(
        &mut self,
        segment: &Segment<'_>,
        seq: u32,
        direction: Direction,
        step: &mut Step<'_, '_>,
    ) -> ControlFlow<()> {
        let acked = self.acked(segment, direction);
        let half = &mut self.halves[direction.index()];
        let Some(offset) = half.offset(seq).filter(|&offset| offset >= 0) else {
            step.ignored.wild += 1;
            return ControlFlow::Continue(());
        };
        if !half.finish(offset as u64) {
            return ControlFlow::Continue(());
        }
        self.open(step)?;
        self.emit(
            step,
            Kind::Data(Data {
                direction,
                offset: offset as u64,
                length: 0,
                payload: &[],
                tcp_seq: Some(seq),
                peer: None,
                call: Call::Packet,
                cause: None,
                peek: false,
                past_tcp: false,
                acked,
                error: None,
            }),
        )
    }

    fn reset(
        &mut self,
        segment: &Segment<'_>,
        direction: Direction,
        step: &mut Step<'_, '_>,
    ) -> ControlFlow<()> {
        let (half, peer) = (&self.halves[direction.index()], &self.halves[direction.reverse().index()]);
        let plausible = match half.base {
            Some(_) => half.offset(segment.seq).is_some(),
            // An answer to a SYN has to acknowledge it (RFC 9293, section 3.10.7.3).
            None => peer.offset(segment.ack).is_some_and(|offset| offset >= 0),
        };
        if !plausible {
            step.ignored.wild += 1;
        } else if self.state == State::Open {
            self.state = State::Reset(direction, step.time);
        }
        ControlFlow::Continue(())
    }

    /// Ends the flow where both directions ended and both ends know it.
    fn finish(&mut self, step: &mut Step<'_, '_>) -> ControlFlow<()> {
        let over = self.halves.iter().all(|half| half.fin_acked);
        if !over || !matches!(self.state, State::Open | State::Reset(..)) {
            return ControlFlow::Continue(());
        }
        if self.halves.iter().any(Half::has_holes) {
            self.state = State::Finished(step.time);
            return ControlFlow::Continue(());
        }
        self.close(CloseReason::Fin, step)
    }

    /// Reports the missing ranges that can be given up.
    fn lose(&mut self, all: bool, step: &mut Step<'_, '_>) -> ControlFlow<()> {
        for direction in Direction::BOTH {
            while let Some((range, cause)) =
                self.halves[direction.index()].settle(step.time, self.packets, all)
            {
                self.open(step)?;
                self.emit(step, Kind::Loss(Loss { direction, range, cause }))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Reports the end of the flow, and before it what is missing.
    fn close(&mut self, reason: CloseReason, step: &mut Step<'_, '_>) -> ControlFlow<()> {
        if self.state == State::Closed {
            return ControlFlow::Continue(());
        }
        let fresh = self.fresh;
        if fresh {
            self.open(step)?;
        }
        let unclear = self.halves.each_mut().map(|half| half.end_unclear(fresh));
        self.lose(true, step)?;
        if self.state == State::Silent {
            return ControlFlow::Continue(());
        }
        self.state = State::Closed;
        let totals = [0, 1].map(|index: usize| {
            let half: &Half = &self.halves[index];
            let end = half.base.map(|_| half.top);
            Total { moved: half.moved(), end, pending: 0, fin_or_byte: unclear[index] }
        });
        self.emit(step, Kind::Close(Close { reason, call: Some(Call::Packet), totals }))
    }

    /// Reports the flow, unless it was; one whose handshake was seen as of its first segment.
    fn open(&mut self, step: &mut Step<'_, '_>) -> ControlFlow<()> {
        if self.state != State::Silent {
            return ControlFlow::Continue(());
        }
        self.state = State::Open;
        self.conn = step.numbers.next();
        let start = [0, 1].map(|index: usize| Start { offset: 0, seq: self.halves[index].base });
        let kind = Kind::Open(Open {
            opened: if self.fresh { Opened::Fresh } else { Opened::Found },
            transport: Transport::Tcp,
            local: Some(self.ends[0].into()),
            remote: Some(self.ends[1].into()),
            role: self.role,
            start,
            exact: self.fresh,
            filtered: false,
            call: Some(Call::Packet),
            error: None,
        });
        let time = if self.fresh { self.began } else { step.time };
        (step.sink)(&Event { time, conn: self.conn, task: None, fd: None, kind })
    }

    fn emit(&self, step: &mut Step<'_, '_>, kind: Kind<'_>) -> ControlFlow<()> {
        (step.sink)(&Event { time: step.time, conn: self.conn, task: None, fd: None, kind })
    }
}

#[cfg(test)]
mod tests;
