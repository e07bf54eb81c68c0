//! One connection: its two streams, what is known of it, and the reader of its bytes.

use super::datagrams::Datagrams;
use super::losses::Losses;
use super::order::{Next, Release, Streams};
use super::reader::{Context, Reader};
use super::stream::Piece;
use super::{Entry, Info, Observer, Options};
use crate::event::{
    Cause, Close, CloseReason, Data, Direction, Event, Kind, Open, Opened, Range, Timestamp, Vantage,
};
use crate::protocol::{Datagram, End};

/// One connection of a tracker.
pub struct Connection {
    info: Info,
    vantage: Vantage,
    losses: Losses,
    streams: Streams,
    reader: Reader,
    /// What reads instead of `reader` where each call moves a datagram.
    datagrams: Option<Datagrams>,
}

impl Connection {
    /// Begins to follow a connection.
    pub fn open(info: Info, vantage: Vantage, options: Options, observer: &mut dyn Observer) -> Connection {
        let start = info.open.start;
        let offsets = start.map(|start| start.offset);
        let counted = info.open.opened == Opened::Fresh || info.open.exact;
        let from_start = start.map(|start| start.offset == 0 && counted);
        let reader = Reader::new(options, &info, offsets, from_start);
        let streams = Streams::new(offsets);
        let datagrams = (!info.open.transport.is_stream()).then(|| Datagrams::new(options));
        let mut connection =
            Connection { info, vantage, losses: Losses::default(), streams, reader, datagrams };
        connection.trace_open(observer);
        connection
    }

    /// What is known of it.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Notes who used it last, and when.
    pub fn touch(&mut self, event: &Event<'_>) {
        self.info.last = self.info.last.max(event.time);
        if !matches!(&event.kind, Kind::Close(Close { reason: CloseReason::StillOpen, .. })) {
            self.info.active = self.info.active.max(event.time);
        }
        self.info.task = event.task.or(self.info.task);
        self.info.fd = event.fd.or(self.info.fd);
    }

    /// Bytes moved, or the stream's end was seen.
    pub fn data(&mut self, data: &Data<'_>, time: Timestamp, observer: &mut dyn Observer) {
        let direction = data.direction;
        let next = self.streams.next(direction);
        let mut cx = context(&mut self.info, &mut self.losses, observer, time);
        let (name, call) = (direction.name(), data.call.name());
        let length = data.length;
        cx.trace(2, "bytes", format_args!("{name} {} {length} bytes by {call}", data.range()));
        if self.vantage.is_process() && data.offset > next {
            let range = Range::new(next, data.offset);
            self.lose(direction, range, Cause::UntracedSyscall, time, observer);
        }
        if self.datagrams.is_some() {
            return self.datagram(data, time, observer);
        }
        self.learn_anchor(data);
        if data.past_tcp {
            let mut cx = context(&mut self.info, &mut self.losses, observer, time);
            cx.account(direction, Entry::PastTcp(data.range()));
        }
        let captured = data.payload.len() as u64;
        let piece = (data.offset, Piece::Bytes(data.payload));
        self.with_streams(observer, |streams, release| {
            streams.insert(direction, piece, data.acked, time, release);
        });
        if captured < length {
            let cause = data.cause.unwrap_or(Cause::UserMemoryFault);
            let range = Range::new(data.offset + captured, data.offset + length);
            self.lose(direction, range, cause, time, observer);
        }
        let is_stream = self.info.open.transport.is_stream();
        if length == 0 && is_stream && (direction == Direction::Recv || self.vantage == Vantage::Wire) {
            self.with_streams(observer, |streams, release| {
                streams.finish(direction, data.offset, data.acked, time, release);
            });
        }
    }

    /// A datagram moved. They come one after the other, and are never put together again.
    fn datagram(&mut self, data: &Data<'_>, time: Timestamp, observer: &mut dyn Observer) {
        let (direction, range) = (data.direction, data.range());
        // What came before is known to have moved or to be lost, so the stream only counts on.
        if range.is_empty() || range.from < self.streams.next(direction) {
            return;
        }
        self.streams.jump(direction, range.to);
        let captured = Range::new(range.from, range.from + data.payload.len() as u64);
        let cause = (captured != range).then(|| data.cause.unwrap_or(Cause::UserMemoryFault));
        let mut cx = context(&mut self.info, &mut self.losses, observer, time);
        if !captured.is_empty() {
            cx.account(direction, Entry::Delivered(captured));
        }
        if let Some(cause) = cause {
            cx.lost(direction, Range::new(captured.to, range.to), cause);
        }
        let (local, peer) = (cx.info.open.local, data.peer.or(cx.info.open.remote));
        let datagram = Datagram { direction, range, time, data: data.payload, cause, local, peer };
        cx.observer.datagram(cx.info, &datagram);
        if let Some(datagrams) = self.datagrams.as_mut().filter(|_| !captured.is_empty()) {
            datagrams.take(datagram, &mut cx);
        }
    }

    /// Bytes are known to be lost.
    pub fn lose(
        &mut self,
        direction: Direction,
        range: Range,
        cause: Cause,
        time: Timestamp,
        observer: &mut dyn Observer,
    ) {
        if self.vantage.is_process() {
            let next = self.streams.next(direction);
            if range.from > next {
                self.lost(direction, Range::new(next, range.from), Cause::UntracedSyscall, time, observer);
            }
        }
        self.lost(direction, range, cause, time, observer);
    }

    /// A descriptor was closed, others still refer to the socket.
    pub fn descriptor_closed(&mut self, time: Timestamp, observer: &mut dyn Observer) {
        let fd = self.info.fd.unwrap_or(-1);
        let mut cx = context(&mut self.info, &mut self.losses, observer, time);
        cx.trace(1, "descriptor", format_args!("fd {fd} closed, the socket stays open through others"));
    }

    /// The connection or the trace is over.
    pub fn end(mut self, end: End, close: Option<&Close>, time: Timestamp, observer: &mut dyn Observer) {
        let tail = match self.vantage {
            Vantage::Wire => Cause::WireNotCaptured,
            Vantage::Syscall | Vantage::Strace => Cause::UntracedSyscall,
        };
        let ends = Direction::BOTH.map(|way| close.and_then(|close| close.totals[way.index()].end));
        self.with_streams(observer, |streams, release| streams.end(ends, tail, time, release));
        let [sent, received] = Direction::BOTH.map(|direction| self.streams.next(direction));
        let mut cx = context(&mut self.info, &mut self.losses, observer, time);
        let why = close.map_or(end.reason(), |close| match close.reason {
            CloseReason::Reset => "the connection was reset",
            CloseReason::Fin => "both ends finished",
            _ => end.reason(),
        });
        cx.trace(1, "close", format_args!("{why}; {sent} bytes sent, {received} received"));
        match &mut self.datagrams {
            Some(datagrams) => datagrams.close(end, &mut cx),
            None => self.reader.close(end, &mut cx),
        }
        observer.closed(&self.info, end, close);
    }

    /// The peer's sequence numbers may not be known before its first data.
    fn learn_anchor(&mut self, data: &Data<'_>) {
        let start = &mut self.info.open.start[data.direction.index()];
        if let (None, Some(seq)) = (start.seq, data.tcp_seq) {
            start.seq = Some(seq.wrapping_sub(data.offset.wrapping_sub(start.offset) as u32));
        }
    }

    fn trace_open(&mut self, observer: &mut dyn Observer) {
        let time = self.info.first;
        let Open { opened, start, filtered, error, call, .. } = self.info.open.clone();
        let mut cx = context(&mut self.info, &mut self.losses, observer, time);
        let role = cx.info.open.role.name();
        let (sent, received) = (start[0].offset, start[1].offset);
        match (error, opened) {
            (Some(errno), _) => cx.trace(1, "open", format_args!("connect failed, errno {errno}")),
            (None, Opened::Fresh) => {
                let how = call.map_or("open", |call| call.name());
                cx.trace(1, "open", format_args!("by {how}, as {role}"));
            }
            (None, Opened::Found) => cx.trace(
                1,
                "found",
                format_args!("open already, as {role}; {sent} bytes sent and {received} received before"),
            ),
        }
        if filtered {
            cx.trace(1, "filtered", format_args!("payload left out by the filter"));
        }
    }

    fn lost(
        &mut self,
        direction: Direction,
        range: Range,
        cause: Cause,
        time: Timestamp,
        observer: &mut dyn Observer,
    ) {
        let piece = (range.from, Piece::Gap(range.len(), cause));
        self.with_streams(observer, |streams, release| {
            streams.insert(direction, piece, None, time, release);
        });
    }

    /// Runs `action` on the streams; what they release goes to the ledger and the reader.
    fn with_streams(
        &mut self,
        observer: &mut dyn Observer,
        action: impl FnOnce(&mut Streams, &mut Release<'_>),
    ) {
        let Connection { info, losses, streams, reader, datagrams, .. } = self;
        action(streams, &mut |direction, offset, next, time| {
            let mut cx = context(info, losses, observer, time);
            match next {
                Next::Piece(Piece::Bytes(bytes)) => {
                    let range = Range::new(offset, offset + bytes.len() as u64);
                    cx.account(direction, Entry::Delivered(range));
                    cx.observer.bytes(cx.info, direction, offset, bytes);
                    reader.bytes(direction, offset, bytes, &mut cx);
                }
                Next::Piece(Piece::Gap(length, cause)) => {
                    let range = Range::new(offset, offset + length);
                    cx.lost(direction, range, cause);
                    if datagrams.is_none() {
                        reader.gap(direction, range, cause, &mut cx);
                    }
                }
                Next::End => reader.finish(direction, End::Finished, &mut cx),
            }
        });
    }
}

fn context<'a>(
    info: &'a mut Info,
    losses: &'a mut Losses,
    observer: &'a mut dyn Observer,
    time: Timestamp,
) -> Context<'a> {
    let level = observer.trace_level();
    Context { info, observer, losses, time, level, held: None }
}
