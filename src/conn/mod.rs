//! From events to records: one [`Tracker`] follows every connection of a vantage.
//!
//! It puts each direction's bytes in order ([`stream`]), finds out which protocol is spoken
//! ([`detect`]), drives the parser over cuts and gaps ([`connection`]), and tells an [`Observer`] about
//! every byte, record and step. It knows neither clock nor file nor terminal, and treats all vantages
//! alike but for one rule: system calls come in stream order, packets need not.

mod connection;
mod datagrams;
mod detect;
mod losses;
mod order;
mod reader;
pub mod stream;
#[cfg(test)]
mod switch_tests;
#[cfg(test)]
mod tests;
mod trial;

use crate::event::{
    Cause, Close, ConnId, Data, Direction, Event, Kind, Open, Opened, Range, Start, Task, Timestamp, Vantage,
};
use crate::protocol::{self, Datagram, End, Protocol};
use crate::record::Record;
use connection::Connection;
use rustc_hash::FxHashMap;
use std::fmt;

/// Who a connection is: what every line about it carries.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// Its socket.
    pub id: ConnId,
    /// Addresses, role, and where the vantage began to see it.
    pub open: Open,
    /// The task that used it last.
    pub task: Option<Task>,
    /// The descriptor through which it was used last.
    pub fd: Option<i32>,
    /// Time of its first event.
    pub first: Timestamp,
    /// Time of its newest event.
    pub last: Timestamp,
    /// The same, but for the word that a vantage's end found it open.
    pub active: Timestamp,
    /// The protocol that it was found to speak.
    pub protocol: Option<&'static str>,
    /// From which offset on each direction speaks it, by [`Direction::index`].
    pub protocol_from: [u64; 2],
}

impl Info {
    /// Tells its times by another clock.
    pub fn map_times(&mut self, to: impl Fn(Timestamp) -> Timestamp) {
        for time in [&mut self.first, &mut self.last, &mut self.active] {
            *time = to(*time);
        }
    }
}

/// What became of bytes of one direction. Ranges of one kind never overlap.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// They arrived in the stream.
    Delivered(Range),
    /// They moved, but their payload never arrived.
    Lost(Range, Cause),
    /// They moved without a packet, see [`Data::past_tcp`].
    PastTcp(Range),
    /// A frame was cut from the range; lost bytes may lie inside.
    Framed(Range),
    /// They arrived, and belong to no frame. With the reason.
    Skipped(Range, Cause, fmt::Arguments<'a>),
}

/// Watches a [`Tracker`] at work.
pub trait Observer {
    /// Up to which level [`Observer::trace`] is wanted: 0 not at all, 1 what changes a connection's state,
    /// 2 each step.
    fn trace_level(&self) -> u8 {
        0
    }

    /// A step of the reasoning: its level, a slug, and a sentence.
    fn trace(
        &mut self,
        info: &Info,
        time: Timestamp,
        level: u8,
        step: &'static str,
        message: fmt::Arguments<'_>,
    ) {
        let _ = (info, time, level, step, message);
    }

    /// A frame was cut, from level 1 on. Its record follows, when all of that has come. Unlike [`Entry::Framed`], this is
    /// also told while the protocol is a guess, which may be withdrawn.
    fn frame(
        &mut self,
        info: &Info,
        time: Timestamp,
        direction: Direction,
        range: Range,
        what: fmt::Arguments<'_>,
    ) {
        let _ = (info, time, direction, range, what);
    }

    /// The guess was wrong: there are no such frames.
    fn withdraw(&mut self, info: &Info) {
        let _ = info;
    }

    /// A record is ready.
    fn record(&mut self, info: &Info, time: Timestamp, record: Record);

    /// Bytes reached a stage, or stopped there.
    fn account(&mut self, info: &Info, direction: Direction, entry: Entry<'_>) {
        let _ = (info, direction, entry);
    }

    /// A datagram moved, which is not empty.
    fn datagram(&mut self, info: &Info, datagram: &Datagram<'_>) {
        let _ = (info, datagram);
    }

    /// Bytes of a stream, in order: those of [`Entry::Delivered`].
    fn bytes(&mut self, info: &Info, direction: Direction, offset: u64, bytes: &[u8]) {
        let _ = (info, direction, offset, bytes);
    }

    /// The connection is over, or the trace is (`end`). `close` has the totals where the vantage gave them.
    fn closed(&mut self, info: &Info, end: End, close: Option<&Close>) {
        let _ = (info, end, close);
    }
}

/// Settings of a [`Tracker`].
#[derive(Clone, Copy)]
pub struct Options {
    /// What parsers may spend.
    pub protocol: protocol::Options,
    /// The protocols to consider.
    pub protocols: &'static [&'static Protocol],
    /// Zeros stand for the bytes: none are shown to a protocol.
    pub redacted: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { protocol: protocol::Options::default(), protocols: protocol::ALL, redacted: false }
    }
}

/// Follows all connections of one vantage.
pub struct Tracker<O> {
    vantage: Vantage,
    options: Options,
    connections: FxHashMap<ConnId, Connection>,
    last: Timestamp,
    observer: O,
}

impl<O: Observer> Tracker<O> {
    /// A tracker that has seen nothing yet.
    pub fn new(vantage: Vantage, options: Options, observer: O) -> Tracker<O> {
        Tracker { vantage, options, connections: FxHashMap::default(), last: Timestamp::default(), observer }
    }

    /// The observer.
    pub fn observer(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event<'_>) {
        self.last = self.last.max(event.time);
        match &event.kind {
            Kind::Open(open) => self.open(event, open),
            Kind::Data(data) => self.data(event, data),
            Kind::Loss(loss) => {
                let (connection, observer) = self.connection(event, loss.direction, loss.range.from);
                connection.lose(loss.direction, loss.range, loss.cause, event.time, observer);
            }
            Kind::Close(close) => self.close(event, close),
        }
    }

    /// Ends the trace: what is still open is closed as [`End::TraceEnded`]. Gives the observer back.
    pub fn finish(mut self) -> O {
        let mut open: Vec<(ConnId, Connection)> = self.connections.drain().collect();
        open.sort_by_key(|(id, connection)| (connection.info().first, *id));
        for (_, connection) in open {
            connection.end(End::TraceEnded, None, self.last, &mut self.observer);
        }
        self.observer
    }

    fn open(&mut self, event: &Event<'_>, open: &Open) {
        if self.connections.contains_key(&event.conn) {
            return; // announced again: a second process or descriptor
        }
        let info = info_of(event, open.clone());
        let connection = Connection::open(info, self.vantage, self.options, &mut self.observer);
        if open.error.is_none() {
            self.connections.insert(event.conn, connection);
        }
    }

    fn data(&mut self, event: &Event<'_>, data: &Data<'_>) {
        if data.peek || data.error.is_some() {
            return; // nothing moved
        }
        let (connection, observer) = self.connection(event, data.direction, data.offset);
        connection.data(data, event.time, observer);
    }

    fn close(&mut self, event: &Event<'_>, close: &Close) {
        let ends = match close.reason {
            reason if reason.is_final() => Some(End::Closed),
            crate::event::CloseReason::StillOpen => Some(End::TraceEnded),
            _ => None,
        };
        match ends {
            Some(end) => {
                if let Some(mut connection) = self.connections.remove(&event.conn) {
                    connection.touch(event);
                    connection.end(end, Some(close), event.time, &mut self.observer);
                }
            }
            None => {
                if let Some(connection) = self.connections.get_mut(&event.conn) {
                    connection.touch(event);
                    connection.descriptor_closed(event.time, &mut self.observer);
                }
            }
        }
    }

    /// The event's connection; one whose opening was never announced is found open at `offset`.
    fn connection(
        &mut self,
        event: &Event<'_>,
        direction: Direction,
        offset: u64,
    ) -> (&mut Connection, &mut O) {
        let connection = self.connections.entry(event.conn).or_insert_with(|| {
            let mut open = Open { opened: Opened::Found, ..Open::default() };
            open.start[direction.index()] = Start { offset, seq: None };
            Connection::open(info_of(event, open), self.vantage, self.options, &mut self.observer)
        });
        connection.touch(event);
        (connection, &mut self.observer)
    }
}

fn info_of(event: &Event<'_>, open: Open) -> Info {
    Info {
        id: event.conn,
        open,
        task: event.task,
        fd: event.fd,
        first: event.time,
        last: event.time,
        active: event.time,
        protocol: None,
        protocol_from: [0; 2],
    }
}
