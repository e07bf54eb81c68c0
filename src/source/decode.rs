//! Raw records of the kernel's ring buffer -> [`Event`]s. Pure: no kernel, no clock, no I/O.
//!
//! The layouts are those of `src/bpf/abi.h`; [`crate::source::live`] asserts that the compiled probes have
//! the same. A call's bytes may come in several chunks, which are joined here; most calls need one, and its
//! payload is handed on without a copy. Whatever the bytes are, nothing here panics: a record that is no
//! record is refused with [`Malformed`].

use crate::event::{
    Call, Cause, Close, CloseReason, Comm, ConnId, Data, Direction, Event, Kind, Loss, Open, Opened, Range,
    Role, Start, Task, Timestamp, Total, Transport,
};
use rustc_hash::FxHashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Takes each event. Gets it by value: the source may complete what a record can't know.
pub type Emit<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// The bytes are no record of this version's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

const KIND_OPEN: u8 = 1;
const KIND_DATA: u8 = 2;
const KIND_CLOSE: u8 = 3;
const KIND_LOSS: u8 = 4;

const FLAG_PEEK: u8 = 1;
const FLAG_SEQ: u8 = 2;
const FLAG_FAULT: u8 = 4;
const FLAG_LIMIT: u8 = 8;
const FLAG_FOUND: u8 = 16;
const FLAG_NOT_SENT: u8 = 32;

/// Calls remembered as cut: each thread has at most one on its way, and its loss follows.
const CUT_MAX: usize = 1 << 16;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `struct sd_head`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    pub(super) time: u64,
    pub(super) inode: u64,
    pub(super) opened: u32,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) fd: i32,
    pub(super) comm: [u8; 16],
    pub(super) kind: u8,
    pub(super) call: u8,
    pub(super) direction: u8,
    pub(super) flags: u8,
    pub(super) padding: u32,
}

/// `struct sd_start`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawStart {
    pub(super) offset: u64,
    pub(super) seq: u32,
    pub(super) known: u32,
}

/// `struct sd_open`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawOpen {
    pub(super) head: Head,
    pub(super) start: [RawStart; 2],
    pub(super) local: [u8; 16],
    pub(super) remote: [u8; 16],
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub(super) family: u16,
    pub(super) role: u16,
    pub(super) error: i32,
    pub(super) padding: u32,
}

/// `struct sd_data`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawData {
    pub(super) head: Head,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) wanted: u64,
    pub(super) at: u64,
    pub(super) captured: u32,
    pub(super) seq: u32,
    pub(super) error: i32,
    pub(super) cause: u32,
}

/// `struct sd_loss`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawLoss {
    pub(super) head: Head,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) cause: u32,
    pub(super) padding: u32,
}

/// `struct sd_total`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawTotal {
    pub(super) moved: u64,
    pub(super) end: u64,
    pub(super) pending: u32,
    pub(super) known: u32,
}

/// `struct sd_close`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawClose {
    pub(super) head: Head,
    pub(super) total: [RawTotal; 2],
    pub(super) reason: u32,
    pub(super) padding: u32,
}

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
    open: FxHashSet<ConnId>,
}

/// A call whose last chunk has not come yet.
#[derive(Debug)]
struct Partial {
    raw: RawData,
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
        let open = Open {
            opened: if raw.head.flags & FLAG_FOUND != 0 { Opened::Found } else { Opened::Fresh },
            transport: Transport::Tcp,
            local: Some(address(raw.family, &raw.local, raw.local_port)?),
            remote: Some(address(raw.family, &raw.remote, raw.remote_port)?),
            role: match raw.role {
                1 => Role::Client,
                2 => Role::Server,
                _ => Role::Unknown,
            },
            start: raw
                .start
                .map(|start| Start { offset: start.offset, seq: (start.known == 1).then_some(start.seq) }),
            exact: true,
            filtered: raw.head.flags & FLAG_NOT_SENT != 0,
            call: Some(call(&raw.head)?),
            error: (raw.error != 0).then_some(raw.error),
        };
        if open.error.is_none() && !self.open.insert(conn(&raw.head)) {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(emit(self.event(&raw.head, Kind::Open(open))))
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
            if is_last(&raw) {
                return Ok(self.emit_data(&raw, payload, emit));
            }
            self.partial.push(Partial { raw, bytes: payload.to_vec() });
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

    fn emit_partial(&self, partial: &Partial, emit: &mut Emit<'_>) -> ControlFlow<()> {
        self.emit_data(&partial.raw, &partial.bytes, emit)
    }

    /// `raw` has passed [`check`]; `payload` is all of the call that came.
    fn emit_data(&self, raw: &RawData, payload: &[u8], emit: &mut Emit<'_>) -> ControlFlow<()> {
        let (Ok(direction), Ok(call)) = (direction(&raw.head), call(&raw.head)) else {
            return ControlFlow::Continue(());
        };
        let data = Data {
            direction,
            offset: raw.offset,
            length: raw.length,
            payload,
            tcp_seq: (raw.head.flags & FLAG_SEQ != 0).then_some(raw.seq),
            call,
            cause: missing_because(raw, payload.len() as u64),
            peek: raw.head.flags & FLAG_PEEK != 0,
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
    raw.at + u64::from(raw.captured) == raw.wanted || raw.head.flags & (FLAG_FAULT | FLAG_LIMIT) != 0
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
    } else if captured == raw.wanted {
        Some(Cause::Snaplen)
    } else {
        Some(Cause::RingFull)
    }
}

fn conn(head: &Head) -> ConnId {
    ConnId { socket: head.inode, opened: head.opened }
}

/// Chunks of one call share it; a thread makes one call at a time.
fn key(head: &Head) -> (ConnId, u8, u32) {
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

/// IPv4-mapped IPv6 addresses are shown as the IPv4 they carry (RFC 4291, 2.5.5.2).
fn address(family: u16, bytes: &[u8; 16], port: u16) -> Result<SocketAddr, Malformed> {
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical(),
        _ => return Err(Malformed),
    };
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let start = [RawStart { offset: 1, seq: 2, known: 1 }, RawStart { offset: 3, seq: 4, known: 0 }];
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[192, 0, 2, 1]);
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&[192, 0, 2, 2]);
        let (local_port, remote_port) = PORTS;
        let head = Head { flags, ..head(KIND_OPEN, 0, 1) };
        let family = AF_INET;
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
            padding: 0,
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

    #[test]
    fn addresses_of_both_families() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(address(AF_INET6, &mapped, 5).unwrap().to_string(), "192.0.2.7:5");
        let mut six = [0; 16];
        (six[0], six[15]) = (0x20, 1);
        assert_eq!(address(AF_INET6, &six, 5).unwrap().to_string(), "[2000::1]:5");
        assert_eq!(address(1, &six, 5), Err(Malformed));
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
            records in prop::collection::vec((0usize..6, prop::collection::vec((0usize..200, any::<u8>()), 0..6)), 1..20),
            garbage in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let models = [
                open(0),
                chunk(1, 0, 6, 0, b"ab"),
                chunk(1, 0, 6, 2, b"cdef"),
                chunk(1, u64::MAX - 3, 3, 0, b"x"),
                loss(1, 2, 6),
                close(2),
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
