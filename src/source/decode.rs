//! Raw records of the kernel's ring buffer -> [`Event`]s. Pure: no kernel, no clock, no I/O.
//!
//! The layouts are in [`crate::source::raw`]. A call's bytes may come in several chunks, which are joined here; most calls need one, and its
//! payload is handed on without a copy. Whatever the bytes are, nothing here panics: a record that is no
//! record is refused with [`Malformed`].

use super::counted::Counted;
use super::raw::{Head, RawClose, RawData, RawLoss, RawNames, RawOpen, RawPeer};
use super::sockaddr;
use crate::event::{
    Address, Call, Cause, Close, CloseReason, Comm, ConnId, Data, Direction, Event, Kind, Loss, Open, Opened,
    Range, Role, Start, Task, Timestamp, Total, Transport,
};
use rustc_hash::FxHashMap;
use std::ops::ControlFlow;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Takes each event. Gets it by value: the source may complete what a record can't know.
pub type Emit<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// The bytes are no record of this version's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

const KIND_OPEN: u8 = 1;
const KIND_DATA: u8 = 2;
const KIND_CLOSE: u8 = 3;
const KIND_LOSS: u8 = 4;
const KIND_PEER: u8 = 5;
const KIND_NAMES: u8 = 6;

const FLAG_PEEK: u8 = 1;
const FLAG_SEQ: u8 = 2;
const FLAG_FAULT: u8 = 4;
const FLAG_LIMIT: u8 = 8;
const FLAG_FOUND: u8 = 16;
const FLAG_NOT_SENT: u8 = 32;
const FLAG_INEXACT: u8 = 64;
/// Of data, as the next ones.
const FLAG_WITH_PEER: u8 = 16;
const FLAG_PAST_TCP: u8 = 64;
const FLAG_TRUNCATED: u8 = 32;

/// Calls remembered as cut, and peers whose datagram has not come: each thread has at most one on its way.
const CUT_MAX: usize = 1 << 16;

/// Turns records into events, in the order of the ring.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Added to the kernel's monotonic clock to get Unix time, in ns.
    clock_offset: u64,
    /// Calls whose chunks have not all come: at most one per thread, connection and direction.
    partial: Vec<Partial>,
    /// Calls that were handed on with a part missing before the probes said that it is missing.
    cut: Vec<RawData>,
    /// Connections announced and not ended. Where the ring refuses an announcement, two threads may both
    /// make up for it; the second is dropped.
    open: FxHashMap<ConnId, Option<Counted>>,
    /// Peers of datagrams whose data has not come yet.
    peers: FxHashMap<Key, Option<Address>>,
    /// Names of Unix sockets whose announcement has not come yet.
    names: FxHashMap<ConnId, [Option<Address>; 2]>,
}

/// Chunks of one call share it; a thread makes one call at a time.
type Key = (ConnId, u8, u32);

/// A call whose last chunk has not come yet.
#[derive(Debug)]
struct Partial {
    raw: RawData,
    peer: Option<Address>,
    bytes: Vec<u8>,
}

impl Decoder {
    /// A decoder for records whose times are `clock_offset` nanoseconds before Unix time.
    pub fn new(clock_offset: u64) -> Decoder {
        Decoder { clock_offset, ..Decoder::default() }
    }

    /// Decodes one record. Breaks when `emit` does.
    pub fn record(&mut self, bytes: &[u8], emit: &mut Emit<'_>) -> Result<ControlFlow<()>, Malformed> {
        let (head, _) = read::<Head>(bytes)?;
        if !self.partial.is_empty() && self.cut_earlier_calls(bytes, &head, emit).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match head.kind {
            KIND_OPEN => self.open(read::<RawOpen>(bytes)?.0, emit),
            KIND_DATA => {
                let (raw, payload) = read::<RawData>(bytes)?;
                self.data(raw, payload.get(..raw.captured as usize).ok_or(Malformed)?, emit)
            }
            KIND_CLOSE => self.close(read::<RawClose>(bytes)?.0, emit),
            KIND_LOSS => self.loss(read::<RawLoss>(bytes)?.0, emit),
            KIND_PEER => self.peer(&read::<RawPeer>(bytes)?.0),
            KIND_NAMES => self.names(&read::<RawNames>(bytes)?.0),
            _ => Err(Malformed),
        }
    }

    /// Hands on the calls whose remaining chunks were refused and which no later record completed.
    pub fn finish(&mut self, emit: &mut Emit<'_>) -> ControlFlow<()> {
        for partial in std::mem::take(&mut self.partial) {
            self.emit_partial(&partial, emit)?;
        }
        ControlFlow::Continue(())
    }

    /// A thread that makes another call has ended the one before: no chunk of it will follow. Only data tells so:
    /// an announcement or an end that the ring refused is sent later, by others, and names the thread all the same.
    fn cut_earlier_calls(&mut self, bytes: &[u8], head: &Head, emit: &mut Emit<'_>) -> ControlFlow<()> {
        let begins = match head.kind {
            KIND_DATA => read::<RawData>(bytes).is_ok_and(|(raw, _)| raw.at == 0),
            KIND_PEER => true,
            _ => false,
        };
        if !begins {
            return ControlFlow::Continue(());
        }
        while let Some(index) = self.partial.iter().position(|partial| partial.raw.head.tid == head.tid) {
            let partial = self.partial.swap_remove(index);
            if partial.raw.head.flags & FLAG_PEEK == 0 && self.cut.len() < CUT_MAX {
                self.cut.push(partial.raw);
            }
            self.emit_partial(&partial, emit)?;
        }
        ControlFlow::Continue(())
    }

    /// The probes end no connection in the middle of a call on it: no chunk will follow.
    fn cut_calls_on(&mut self, ended: ConnId, emit: &mut Emit<'_>) -> ControlFlow<()> {
        while let Some(index) = self.partial.iter().position(|partial| conn(&partial.raw.head) == ended) {
            let partial = self.partial.swap_remove(index);
            self.emit_partial(&partial, emit)?;
        }
        ControlFlow::Continue(())
    }

    fn event<'a>(&self, head: &Head, kind: Kind<'a>) -> Event<'a> {
        Event {
            time: Timestamp(head.time.wrapping_add(self.clock_offset)),
            conn: conn(head),
            task: (head.pid != 0).then_some(Task { pid: head.pid, tid: head.tid, comm: Comm(head.comm) }),
            fd: (head.fd >= 0).then_some(head.fd),
            kind,
        }
    }

    fn open(&mut self, raw: RawOpen, emit: &mut Emit<'_>) -> Result<ControlFlow<()>, Malformed> {
        let transport = Transport::from_number(raw.transport).ok_or(Malformed)?;
        let [local, remote] = if transport.is_unix() {
            self.names.remove(&conn(&raw.head)).unwrap_or_default()
        } else {
            let local = sockaddr::address(raw.family, &raw.local, raw.local_port)?;
            [Some(local), sockaddr::remote(raw.family, &raw.remote, raw.remote_port)?]
        };
        let open = Open {
            opened: if raw.head.flags & FLAG_FOUND != 0 { Opened::Found } else { Opened::Fresh },
            transport,
            local,
            remote,
            role: match raw.role {
                1 => Role::Client,
                2 => Role::Server,
                _ => Role::Unknown,
            },
            start: raw
                .start
                .map(|start| Start { offset: start.offset, seq: (start.known == 1).then_some(start.seq) }),
            exact: raw.head.flags & FLAG_INEXACT == 0,
            filtered: raw.head.flags & FLAG_NOT_SENT != 0,
            call: Some(call(&raw.head)?),
            error: (raw.error != 0).then_some(raw.error),
        };
        if open.error.is_none() {
            let is_counted = transport != Transport::Tcp;
            let counted = is_counted.then_some(Counted::new(open.remote));
            if self.open.contains_key(&conn(&raw.head)) {
                return Ok(ControlFlow::Continue(()));
            }
            self.open.insert(conn(&raw.head), counted);
        }
        Ok(emit(self.event(&raw.head, Kind::Open(open))))
    }

    /// The datagram that it belongs to follows, or was refused and never comes.
    fn peer(&mut self, raw: &RawPeer) -> Result<ControlFlow<()>, Malformed> {
        let bytes = raw.address.get(..raw.length as usize).ok_or(Malformed)?;
        if self.peers.len() < CUT_MAX {
            self.peers.insert(key(&raw.head), sockaddr::sockaddr(bytes));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The open that they belong to follows, now or when the ring has room for it.
    fn names(&mut self, raw: &RawNames) -> Result<ControlFlow<()>, Malformed> {
        let name = |bytes: &[u8; 112], length: u32| {
            bytes.get(..length as usize).map(sockaddr::sockaddr).ok_or(Malformed)
        };
        let names = [name(&raw.local, raw.local_length)?, name(&raw.remote, raw.remote_length)?];
        if self.names.len() < CUT_MAX {
            self.names.insert(conn(&raw.head), names);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The peer of a datagram whose first chunk has come. One that waits for another datagram of the thread is of
    /// one that the ring refused.
    fn peer_of(&mut self, raw: &RawData, key: Key) -> Option<Address> {
        if self.peers.is_empty() {
            return None;
        }
        self.peers.remove(&key).flatten().filter(|_| raw.head.flags & FLAG_WITH_PEER != 0)
    }

    fn data(
        &mut self,
        raw: RawData,
        payload: &[u8],
        emit: &mut Emit<'_>,
    ) -> Result<ControlFlow<()>, Malformed> {
        check(&raw)?;
        let key = key(&raw.head);
        let earlier = self.partial.iter().position(|partial| self::key(&partial.raw.head) == key);
        if raw.at == 0 {
            // Only a peek that was refused in the middle leaves chunks behind without a loss.
            if let Some(index) = earlier {
                let partial = self.partial.swap_remove(index);
                if self.emit_partial(&partial, emit).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let peer = self.peer_of(&raw, key);
            if is_last(&raw) {
                return Ok(self.emit_data(&raw, peer, payload, emit));
            }
            self.partial.push(Partial { raw, peer, bytes: payload.to_vec() });
            return Ok(ControlFlow::Continue(()));
        }
        let index = earlier.ok_or(Malformed)?;
        let partial = &mut self.partial[index];
        if partial.bytes.len() as u64 != raw.at || call_of(&partial.raw) != call_of(&raw) {
            return Err(Malformed);
        }
        partial.bytes.extend_from_slice(payload);
        partial.raw.head.flags |= raw.head.flags;
        if !is_last(&raw) {
            return Ok(ControlFlow::Continue(()));
        }
        let partial = self.partial.swap_remove(index);
        Ok(self.emit_partial(&partial, emit))
    }

    fn loss(&mut self, raw: RawLoss, emit: &mut Emit<'_>) -> Result<ControlFlow<()>, Malformed> {
        let cause = cause(raw.cause)?;
        if raw.to < raw.from {
            return Err(Malformed);
        }
        let mut range = Range::new(raw.from, raw.to);
        // Refused chunks of a call whose first ones came: the call itself says, or said, what it lacks.
        if let Some(index) = self.partial.iter().position(|partial| is_cut_by(&partial.raw, &raw)) {
            let partial = self.partial.swap_remove(index);
            range = Range::new(end(&partial.raw), raw.to);
            if self.emit_partial(&partial, emit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        } else if let Some(index) = self.cut.iter().position(|call| is_cut_by(call, &raw)) {
            range = Range::new(end(&self.cut.swap_remove(index)), raw.to);
        }
        if range.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let direction = direction(&raw.head)?;
        if let Some(Some(counted)) = self.open.get_mut(&conn(&raw.head)) {
            range = counted.place(direction, range.len(), false).ok_or(Malformed)?;
        }
        Ok(emit(self.event(&raw.head, Kind::Loss(Loss { direction, range, cause }))))
    }

    fn close(&mut self, raw: RawClose, emit: &mut Emit<'_>) -> Result<ControlFlow<()>, Malformed> {
        let reason = match raw.reason {
            1 => CloseReason::Descriptor,
            2 => CloseReason::Closed,
            3 => CloseReason::Reset,
            4 => CloseReason::StillOpen,
            _ => return Err(Malformed),
        };
        let totals = raw.total.map(|total| Total {
            moved: total.moved,
            end: (total.known == 1).then_some(total.end),
            pending: u64::from(total.pending),
            ..Total::default()
        });
        if reason != CloseReason::Descriptor && self.cut_calls_on(conn(&raw.head), emit).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if reason.is_final() {
            self.open.remove(&conn(&raw.head));
            self.cut.retain(|call| conn(&call.head) != conn(&raw.head));
        }
        let close = Close { reason, call: Some(call(&raw.head)?), totals };
        Ok(emit(self.event(&raw.head, Kind::Close(close))))
    }

    fn emit_partial(&mut self, partial: &Partial, emit: &mut Emit<'_>) -> ControlFlow<()> {
        self.emit_data(&partial.raw, partial.peer, &partial.bytes, emit)
    }

    /// `raw` has passed [`check`]; `payload` is all of the call that came.
    fn emit_data(
        &mut self,
        raw: &RawData,
        peer: Option<Address>,
        payload: &[u8],
        emit: &mut Emit<'_>,
    ) -> ControlFlow<()> {
        let (Ok(direction), Ok(call)) = (direction(&raw.head), call(&raw.head)) else {
            return ControlFlow::Continue(());
        };
        let peek = raw.head.flags & FLAG_PEEK != 0;
        let (mut offset, mut remote) = (raw.offset, None);
        if raw.head.flags & FLAG_SEQ == 0
            && let Some(Some(counted)) = self.open.get_mut(&conn(&raw.head))
        {
            offset = counted.place(direction, raw.length, peek).map_or(offset, |range| range.from);
            remote = counted.remote;
        }
        let data = Data {
            direction,
            offset,
            length: raw.length,
            payload,
            tcp_seq: (raw.head.flags & FLAG_SEQ != 0).then_some(raw.seq),
            peer: peer.filter(|&peer| Some(peer) != remote),
            call,
            cause: missing_because(raw, payload.len() as u64),
            peek,
            past_tcp: raw.head.flags & FLAG_PAST_TCP != 0,
            acked: None,
            error: (raw.error != 0).then_some(raw.error),
        };
        emit(self.event(&raw.head, Kind::Data(data)))
    }
}

/// When the record was made, by the kernel's monotonic clock in nanoseconds; 0 for what is no record.
pub(super) fn time(record: &[u8]) -> u64 {
    read::<Head>(record).map_or(0, |(head, _)| head.time)
}

/// The loss begins in the middle of this call: the kernel refused its remaining chunks.
fn is_cut_by(call: &RawData, loss: &RawLoss) -> bool {
    conn(&call.head) == conn(&loss.head)
        && call.head.direction == loss.head.direction
        && (call.offset + 1..end(call)).contains(&loss.from)
        && loss.to >= end(call)
}

/// Offset after the call's last byte; [`check`] has made sure that there is one.
fn end(call: &RawData) -> u64 {
    call.offset + call.length
}

fn read<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    T::read_from_prefix(bytes).map_err(|_| Malformed)
}

/// What every later step relies on.
fn check(raw: &RawData) -> Result<(), Malformed> {
    direction(&raw.head)?;
    call(&raw.head)?;
    if raw.cause != 0 {
        cause(raw.cause)?;
    }
    let sane = raw.wanted <= raw.length
        && raw.offset.checked_add(raw.length).is_some()
        && raw.at.checked_add(u64::from(raw.captured)).is_some_and(|end| end <= raw.wanted);
    sane.then_some(()).ok_or(Malformed)
}

/// No chunk follows this one.
fn is_last(raw: &RawData) -> bool {
    raw.at + u64::from(raw.captured) == raw.wanted
        || raw.head.flags & (FLAG_FAULT | FLAG_LIMIT | FLAG_TRUNCATED) != 0
}

fn missing_because(raw: &RawData, captured: u64) -> Option<Cause> {
    if captured == raw.length {
        None
    } else if raw.cause != 0 {
        cause(raw.cause).ok()
    } else if raw.head.flags & FLAG_FAULT != 0 {
        Some(Cause::UserMemoryFault)
    } else if raw.head.flags & FLAG_LIMIT != 0 {
        Some(Cause::IovecLimit)
    } else if raw.head.flags & FLAG_TRUNCATED != 0 {
        Some(Cause::DatagramTruncated)
    } else if captured == raw.wanted {
        Some(Cause::Snaplen)
    } else {
        Some(Cause::RingFull)
    }
}

fn conn(head: &Head) -> ConnId {
    ConnId { socket: head.inode, opened: head.opened }
}

fn key(head: &Head) -> Key {
    (conn(head), head.direction, head.tid)
}

/// What all chunks of one call agree on.
fn call_of(raw: &RawData) -> (u64, u64, u64) {
    (raw.offset, raw.length, raw.wanted)
}

fn direction(head: &Head) -> Result<Direction, Malformed> {
    match head.direction {
        0 => Ok(Direction::Send),
        1 => Ok(Direction::Recv),
        _ => Err(Malformed),
    }
}

fn cause(number: u32) -> Result<Cause, Malformed> {
    u8::try_from(number).ok().and_then(Cause::from_number).ok_or(Malformed)
}

fn call(head: &Head) -> Result<Call, Malformed> {
    Call::from_number(head.call).ok_or(Malformed)
}

#[cfg(test)]
mod tests;
