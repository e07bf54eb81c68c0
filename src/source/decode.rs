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
/// Of data, as the next one.
const FLAG_WITH_PEER: u8 = 16;
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

    /// A thread that does something else has ended its call: no chunk of it will follow.
    fn cut_earlier_calls(&mut self, bytes: &[u8], head: &Head, emit: &mut Emit<'_>) -> ControlFlow<()> {
        let continued = match head.kind {
            KIND_DATA => read::<RawData>(bytes).is_ok_and(|(raw, _)| raw.at > 0),
            // Says itself what is missing.
            KIND_LOSS => true,
            _ => false,
        };
        if continued {
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
        });
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
mod tests {
    use super::super::raw::{RawStart, RawTotal};
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    const PORTS: (u16, u16) = (1000, 2000);

    fn head(kind: u8, direction: u8, tid: u32) -> Head {
        Head {
            time: 5,
            inode: 77,
            opened: 3,
            pid: 10,
            tid,
            fd: 4,
            comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
            kind,
            call: Call::Write as u8,
            direction,
            flags: FLAG_SEQ,
            padding: 0,
        }
    }

    fn open(flags: u8) -> Vec<u8> {
        open_as(Transport::Tcp as u32, flags)
    }

    fn open_as(transport: u32, flags: u8) -> Vec<u8> {
        let start = [RawStart { offset: 1, seq: 2, known: 1 }, RawStart { offset: 3, seq: 4, known: 0 }];
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[192, 0, 2, 1]);
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&[192, 0, 2, 2]);
        let (local_port, remote_port) = PORTS;
        let head = Head { flags, ..head(KIND_OPEN, 0, 1) };
        let family = 2; // AF_INET
        let raw = RawOpen {
            head,
            start,
            local,
            remote,
            local_port,
            remote_port,
            family,
            role: 2,
            error: 0,
            transport,
        };
        raw.as_bytes().to_vec()
    }

    /// A chunk of a call by thread `tid` that sent `length` bytes at `offset`; it carries `payload` from `at` on.
    fn chunk(tid: u32, offset: u64, length: u64, at: u64, payload: &[u8]) -> Vec<u8> {
        let raw = RawData {
            head: head(KIND_DATA, 0, tid),
            offset,
            length,
            wanted: length,
            at,
            captured: payload.len() as u32,
            seq: offset as u32,
            error: 0,
            cause: 0,
        };
        // The ring hands out the whole class the probe reserved.
        [raw.as_bytes(), payload, &[0xee; 100]].concat()
    }

    fn loss(tid: u32, from: u64, to: u64) -> Vec<u8> {
        let cause = Cause::RingFull as u32;
        RawLoss { head: head(KIND_LOSS, 0, tid), from, to, cause, padding: 0 }.as_bytes().to_vec()
    }

    fn close(reason: u32) -> Vec<u8> {
        let total = [
            RawTotal { moved: 9, end: 10, pending: 1, known: 1 },
            RawTotal { moved: 0, end: 0, pending: 0, known: 0 },
        ];
        RawClose { head: head(KIND_CLOSE, 0, 1), total, reason, padding: 0 }.as_bytes().to_vec()
    }

    /// The events of `records`, one line each.
    fn lines(records: &[Vec<u8>]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut decoder = Decoder::new(100);
        let mut emit = |event: Event<'_>| {
            assert_eq!((event.time, event.fd), (Timestamp(105), Some(4)));
            lines.push(line(&event));
            ControlFlow::Continue(())
        };
        for record in records {
            assert_eq!(decoder.record(record, &mut emit), Ok(ControlFlow::Continue(())));
        }
        assert!(decoder.finish(&mut emit).is_continue());
        lines
    }

    fn line(event: &Event<'_>) -> String {
        match &event.kind {
            Kind::Open(open) => format!("open {:?} {:?}", open.opened, open.role),
            Kind::Data(data) => {
                let cause = data.cause.map_or("whole", Cause::slug);
                format!("data {} {} {cause}", data.range(), String::from_utf8_lossy(data.payload))
            }
            Kind::Loss(loss) => format!("loss {} {}", loss.range, loss.cause.slug()),
            Kind::Close(close) => format!("close {}", close.reason.name()),
        }
    }

    #[test]
    fn payload_that_never_was_in_reach_has_its_own_cause() {
        let mut record = RawData::read_from_prefix(&chunk(1, 0, 9, 0, b"")).unwrap().0;
        (record.wanted, record.cause) = (0, Cause::IoUring as u32);
        assert_eq!(lines(&[record.as_bytes().to_vec()]), ["data [0, 9)  io-uring"]);
        record.cause = 255;
        let mut decoder = Decoder::default();
        assert_eq!(decoder.record(record.as_bytes(), &mut |_| ControlFlow::Continue(())), Err(Malformed));
    }

    #[test]
    fn records_become_events_in_order() {
        let records = [open(FLAG_FOUND), chunk(1, 0, 3, 0, b"abc"), loss(1, 3, 9), close(2)];
        let expected =
            ["open Found Server", "data [0, 3) abc whole", "loss [3, 9) ring-full", "close closed"];
        assert_eq!(lines(&records), expected);
    }

    #[test]
    fn open_and_close_carry_what_the_kernel_knows() {
        let mut decoder = Decoder::new(0);
        let check = &mut |event: Event<'_>| {
            assert_eq!(event.conn, ConnId { socket: 77, opened: 3 });
            match event.kind {
                Kind::Open(open) => {
                    assert_eq!(open.local, Some("192.0.2.1:1000".parse().unwrap()));
                    assert_eq!(open.remote, Some("192.0.2.2:2000".parse().unwrap()));
                    assert_eq!(open.start[0], Start { offset: 1, seq: Some(2) });
                    assert_eq!(open.start[1], Start { offset: 3, seq: None });
                    assert!(open.filtered && open.exact);
                }
                Kind::Close(close) => {
                    assert_eq!(close.totals[0], Total { moved: 9, end: Some(10), pending: 1 });
                    assert_eq!(close.totals[1], Total { moved: 0, end: None, pending: 0 });
                }
                other => panic!("{other:?}"),
            }
            ControlFlow::Break(())
        };
        assert_eq!(decoder.record(&open(FLAG_NOT_SENT), check), Ok(ControlFlow::Break(())));
        assert_eq!(decoder.record(&close(4), check), Ok(ControlFlow::Break(())));
    }

    #[test]
    fn chunks_of_one_call_are_joined_across_other_threads() {
        let records = [
            chunk(1, 0, 6, 0, b"ab"),
            chunk(2, 6, 4, 0, b"gh"),
            chunk(1, 0, 6, 2, b"cd"),
            chunk(1, 0, 6, 4, b"ef"),
            chunk(2, 6, 4, 2, b"ij"),
        ];
        assert_eq!(lines(&records), ["data [0, 6) abcdef whole", "data [6, 10) ghij whole"]);
    }

    #[test]
    fn refused_chunks_complete_their_call() {
        // The loss says what the call lacks, and more: the call after it was refused, too.
        let records = [chunk(1, 10, 6, 0, b"ab"), loss(1, 12, 20), chunk(1, 20, 1, 0, b"z")];
        let expected = ["data [10, 16) ab ring-full", "loss [16, 20) ring-full", "data [20, 21) z whole"];
        assert_eq!(lines(&records), expected);
        // Nothing more came at all.
        assert_eq!(lines(&records[..1]), ["data [10, 16) ab ring-full"]);
        // The thread went on to do something else before the loss was said: that must not say it twice.
        let records = [chunk(1, 10, 6, 0, b"ab"), close(1), loss(1, 12, 16)];
        assert_eq!(lines(&records), ["data [10, 16) ab ring-full", "close descriptor"]);
    }

    #[test]
    fn second_announcement_is_dropped() {
        let records = [open(0), open(0), close(2), open(0)];
        assert_eq!(lines(&records), ["open Fresh Server", "close closed", "open Fresh Server"]);
    }

    /// A datagram of thread `tid`, behind its peer 192.0.2.`host`:53 if there is one.
    fn datagram(tid: u32, host: Option<u8>, payload: &[u8]) -> Vec<Vec<u8>> {
        let mut data = chunk(tid, 0, payload.len() as u64, 0, payload);
        data[std::mem::offset_of!(Head, flags)] = 0;
        let mut records = Vec::new();
        if let Some(host) = host {
            let mut address = [0; 112];
            address[..8].copy_from_slice(&[2, 0, 0, 53, 192, 0, 2, host]);
            let head = head(KIND_PEER, 0, tid);
            records.push(RawPeer { head, address, length: 16, padding: 0 }.as_bytes().to_vec());
            data[std::mem::offset_of!(Head, flags)] |= FLAG_WITH_PEER;
        }
        records.push(data);
        records
    }

    #[test]
    fn datagrams_are_numbered_in_the_order_of_the_ring_and_keep_their_peers() {
        let mut records = vec![open_as(Transport::Udp as u32, 0)];
        // Two threads were given offset 0 both.
        records.extend(datagram(1, Some(7), b"abc"));
        records.extend(datagram(2, Some(8), b"de"));
        records.push(loss(1, 5, 9));
        records.extend(datagram(1, None, b""));
        // The ring took this peer, but not its datagram.
        records.push(datagram(1, Some(9), b"")[0].clone());
        records.extend(datagram(1, None, b"f"));
        let mut seen = Vec::new();
        let mut decoder = Decoder::new(0);
        for record in &records {
            let mut emit = |event: Event<'_>| {
                match &event.kind {
                    Kind::Data(data) => {
                        let peer = data.peer.map_or("none".into(), |peer| peer.to_string());
                        seen.push(format!("{} {peer}", data.range()));
                    }
                    Kind::Loss(loss) => seen.push(format!("{} lost", loss.range)),
                    _ => {}
                }
                ControlFlow::Continue(())
            };
            assert_eq!(decoder.record(record, &mut emit), Ok(ControlFlow::Continue(())));
        }
        let expected =
            ["[0, 3) 192.0.2.7:53", "[3, 5) 192.0.2.8:53", "[5, 9) lost", "[9, 9) none", "[9, 10) none"];
        assert_eq!(seen, expected);
    }

    #[test]
    fn truncated_records_are_refused() {
        for record in [open(0), loss(1, 3, 9), close(2)] {
            for length in 0..record.len() {
                let mut decoder = Decoder::new(0);
                let decoded = decoder.record(&record[..length], &mut |event| panic!("{event:?}"));
                assert_eq!(decoded, Err(Malformed), "{length} of {}", record.len());
            }
        }
        let record = chunk(1, 0, 3, 0, b"abc");
        for length in 0..record.len() - 100 {
            let decoded = Decoder::new(0).record(&record[..length], &mut |event| panic!("{event:?}"));
            assert_eq!(decoded, Err(Malformed));
        }
    }

    proptest! {
        /// Whatever the ring holds, the decoder ends without a panic and hands on sane ranges.
        #[test]
        fn any_bytes_are_survived(
            records in prop::collection::vec((0usize..9, prop::collection::vec((0usize..200, any::<u8>()), 0..6)), 1..20),
            garbage in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let models = [
                open(0),
                chunk(1, 0, 6, 0, b"ab"),
                chunk(1, 0, 6, 2, b"cdef"),
                chunk(1, u64::MAX - 3, 3, 0, b"x"),
                loss(1, 2, 6),
                close(2),
                open_as(Transport::Udp as u32, 0),
                datagram(1, Some(1), b"abc")[0].clone(),
                datagram(1, Some(1), b"abc")[1].clone(),
            ];
            let mut decoder = Decoder::new(u64::MAX);
            let mut emit = |event: Event<'_>| {
                if let Kind::Data(data) = &event.kind {
                    assert!(data.payload.len() as u64 <= data.length);
                    assert_eq!(data.range().len(), data.length);
                    assert_eq!(data.cause.is_none(), data.payload.len() as u64 == data.length);
                }
                ControlFlow::Continue(())
            };
            for (model, changes) in records {
                let mut record = models[model].clone();
                for (at, value) in changes {
                    if let Some(byte) = record.get_mut(at) {
                        *byte = value;
                    }
                }
                let _ = decoder.record(&record, &mut emit);
            }
            let _ = decoder.record(&garbage, &mut emit);
            let _ = decoder.finish(&mut emit);
        }
    }
}
