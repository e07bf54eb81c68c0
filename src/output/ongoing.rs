//! What is in progress: frames whose record is not there yet, such as a request that waits for its answer (a long poll) or
//! the parts of a stream that goes on.

use super::time::duration;
use crate::conn::Info;
use crate::event::{ConnId, Direction, Range, Timestamp};
use crate::record::Record;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// How old a frame without a record is when it is told of first, in nanoseconds; then whenever that has doubled.
const FIRST: u64 = 1_000_000_000;

/// How many frames of a connection are remembered; those beyond it are not told of.
const FRAMES_MAX: usize = 64;

/// Frames without records, of all connections.
#[derive(Debug, Default)]
pub struct Ongoing {
    connections: BTreeMap<ConnId, Connection>,
    /// Nothing is due before.
    next: Timestamp,
}

#[derive(Debug)]
struct Connection {
    info: Info,
    frames: VecDeque<Frame>,
}

#[derive(Debug)]
struct Frame {
    direction: Direction,
    range: Range,
    since: Timestamp,
    what: String,
    /// How often it was told of.
    told: u32,
}

impl Ongoing {
    /// A frame was cut.
    pub fn frame(
        &mut self,
        info: &Info,
        since: Timestamp,
        direction: Direction,
        range: Range,
        what: fmt::Arguments<'_>,
    ) {
        let connection = self
            .connections
            .entry(info.id)
            .or_insert_with(|| Connection { info: info.clone(), frames: VecDeque::new() });
        if connection.frames.len() < FRAMES_MAX {
            let what = what.to_string();
            connection.frames.push_back(Frame { direction, range, since, what, told: 0 });
        }
    }

    /// Its frames are in progress no more.
    pub fn record(&mut self, info: &Info, record: &Record) {
        let Some(connection) = self.connections.get_mut(&info.id) else { return };
        for message in record.messages() {
            connection.frames.retain(|frame| {
                frame.direction != message.direction
                    || !message.ranges().any(|range| range.intersection(frame.range).is_some())
            });
        }
    }

    /// Forgets a connection.
    pub fn forget(&mut self, id: ConnId) {
        self.connections.remove(&id);
    }

    /// Tells of the oldest frame of each connection where that has become old: when it did, and a sentence.
    pub fn tell(&mut self, now: Timestamp, mut tell: impl FnMut(&Info, Timestamp, fmt::Arguments<'_>)) {
        if now < self.next {
            return;
        }
        self.next = Timestamp(now.0.saturating_add(FIRST / 2));
        for Connection { info, frames } in self.connections.values_mut() {
            let others = frames.len().saturating_sub(1);
            let Some(frame) = frames.front_mut() else { continue };
            let age = now.since(frame.since);
            let mut step = FIRST.checked_shl(frame.told).unwrap_or(u64::MAX);
            if age < step {
                continue;
            }
            while step <= age / 2 {
                step *= 2;
                frame.told += 1;
            }
            frame.told += 1;
            let (name, range, what) = (frame.direction.name(), frame.range, &frame.what);
            let more = match others {
                0 => String::new(),
                1 => ", nor of 1 frame behind it".to_owned(),
                _ => format!(", nor of {others} frames behind it"),
            };
            let since = Timestamp(frame.since.0 + step);
            let age = duration(step);
            tell(info, since, format_args!("no record yet of {name} {range} {what}, {age} old{more}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Message, Status};

    const SECOND: u64 = 1_000_000_000;

    fn at(tenths: u64) -> Timestamp {
        Timestamp(tenths * SECOND / 10)
    }

    fn told(ongoing: &mut Ongoing, now: Timestamp) -> Vec<(Timestamp, String)> {
        let mut told = Vec::new();
        ongoing.tell(now, |_, time, message| told.push((time, message.to_string())));
        told
    }

    fn record(direction: Direction, range: Range) -> Record {
        let (parts, fields, causes) = (Vec::new(), Vec::new(), Vec::new());
        let message = Message { direction, range, parts, started: at(0), ended: at(0), fields, causes };
        Record {
            protocol: "test",
            status: Status::Complete,
            summary: String::new(),
            request: Some(message),
            response: None,
        }
    }

    #[test]
    fn what_has_no_record_is_told_of_when_its_age_has_doubled() {
        let (mut ongoing, info) = (Ongoing::default(), Info::default());
        for (from, what) in [(0, "GET /a"), (10, "GET /b")] {
            ongoing.frame(&info, at(0), Direction::Send, Range::new(from, from + 10), format_args!("{what}"));
        }
        assert_eq!(told(&mut ongoing, at(9)), []);
        let line = |what: &str, age: &str| {
            format!("no record yet of send {what}, {age} old, nor of 1 frame behind it")
        };
        assert_eq!(told(&mut ongoing, at(14)), [(at(10), line("[0, 10) GET /a", "1.000s"))]);
        assert_eq!(told(&mut ongoing, at(19)), []);
        // Nobody looked in the meantime.
        assert_eq!(told(&mut ongoing, at(90)), [(at(80), line("[0, 10) GET /a", "8.000s"))]);
        assert_eq!(told(&mut ongoing, at(159)), []);
        // The other direction's bytes have the same offsets.
        ongoing.record(&info, &record(Direction::Recv, Range::new(0, 10)));
        ongoing.record(&info, &record(Direction::Send, Range::new(0, 10)));
        let alone = "no record yet of send [10, 20) GET /b, 16.000s old".to_owned();
        assert_eq!(told(&mut ongoing, at(165)), [(at(160), alone)]);
        ongoing.forget(info.id);
        assert_eq!(told(&mut ongoing, at(1000)), []);
    }
}
