//! Leads a parser through a conversation as `crate::conn` does, with cuts and holes, and checks that every
//! byte is accounted for once.

use super::super::PROTOCOL;
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::protocol::{AfterGap, End, Gap, Input, Options, Output, Parser, Resync, Then};
use crate::record::Record;
use std::fmt;

/// What an event carries, or that its bytes are lost.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) direction: Direction,
    pub(crate) bytes: Vec<u8>,
    pub(crate) lost: bool,
}

/// What the parser gave.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    /// Frames and skips, in the order given.
    pub(crate) accounts: Vec<(Direction, Range, Option<Cause>)>,
    pub(crate) steps: Vec<String>,
}

impl Output for Log {
    fn frame(&mut self, direction: Direction, range: Range, what: fmt::Arguments<'_>) {
        self.steps.push(format!("frame {} {range} {what}", direction.name()));
        self.accounts.push((direction, range, None));
    }

    fn skip(&mut self, direction: Direction, range: Range, cause: Cause, reason: fmt::Arguments<'_>) {
        self.steps.push(format!("skip {} {range} {} {reason}", direction.name(), cause.slug()));
        self.accounts.push((direction, range, Some(cause)));
    }

    fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    fn step(&mut self, step: &'static str, message: fmt::Arguments<'_>) {
        self.steps.push(format!("{step} {message}"));
    }
}

impl Log {
    pub(crate) fn skipped(&self, cause: Cause) -> u64 {
        self.accounts.iter().filter(|account| account.2 == Some(cause)).map(|account| account.1.len()).sum()
    }
}

#[derive(Default)]
struct Lane {
    offset: u64,
    buffer: Vec<u8>,
    searching: bool,
    at_event: bool,
    blocked: bool,
    lost: Vec<Range>,
}

/// One connection under test.
pub(crate) struct Driver {
    parser: Box<dyn Parser + Send>,
    pub(crate) log: Log,
    lanes: [Lane; 2],
    switched: bool,
    time: Timestamp,
    /// Why bytes are lost.
    pub(crate) cause: Cause,
}

impl Driver {
    pub(crate) fn new(options: Options) -> Driver {
        let parser = (PROTOCOL.parser)(options);
        let (log, lanes, time) = (Log::default(), Default::default(), Timestamp(0));
        Driver { parser, log, lanes, switched: false, time, cause: Cause::RingFull }
    }

    /// A driver that begins to see both directions in the middle of the connection.
    pub(crate) fn mid_stream(options: Options) -> Driver {
        let mut driver = Driver::new(options);
        for direction in Direction::BOTH {
            driver.lanes[direction.index()].searching = true;
            driver.parser.begin_inside(direction);
        }
        driver
    }

    pub(crate) fn push(&mut self, piece: &Piece) {
        self.time.0 += 1000;
        if piece.lost {
            self.lose(piece.direction, piece.bytes.len() as u64);
        } else {
            self.receive(piece);
        }
        self.pump_both(piece.direction);
    }

    /// Bytes that were held in a search are given up where the new ones begin a message.
    fn receive(&mut self, piece: &Piece) {
        let lane = &mut self.lanes[piece.direction.index()];
        if lane.searching && !lane.buffer.is_empty() && !self.switched {
            let found = self.parser.resync(piece.direction, &piece.bytes, true);
            if found == Resync::Found(0) {
                self.give_up_held(piece.direction);
            }
        }
        let lane = &mut self.lanes[piece.direction.index()];
        lane.at_event = lane.buffer.is_empty();
        lane.buffer.extend_from_slice(&piece.bytes);
    }

    fn give_up_held(&mut self, direction: Direction) {
        let lane = &mut self.lanes[direction.index()];
        let from = lane.offset;
        lane.offset += std::mem::take(&mut lane.buffer).len() as u64;
        self.log.accounts.push((direction, Range::new(from, lane.offset), Some(Cause::ResyncSkipped)));
    }

    fn lose(&mut self, direction: Direction, length: u64) {
        self.unblock(direction);
        if self.lanes[direction.index()].searching {
            self.give_up_held(direction);
        }
        let lane = &mut self.lanes[direction.index()];
        let unread = std::mem::take(&mut lane.buffer);
        let from = lane.offset + unread.len() as u64;
        let range = Range::new(from, from + length);
        lane.lost.push(range);
        lane.offset = range.to;
        if self.switched {
            return;
        }
        let gap = Gap { direction, range, unread: &unread, cause: self.cause, time: self.time };
        match self.parser.gap(gap, &mut self.log) {
            AfterGap::Continue => {}
            AfterGap::Resync => lane.searching = true,
            AfterGap::Switched(_) | AfterGap::Undeclared(_) => self.switched = true,
        }
        lane.blocked = false;
        self.unblock(direction.reverse());
    }

    fn unblock(&mut self, direction: Direction) {
        if self.lanes[direction.index()].blocked {
            self.parser.unblock(direction);
            self.pump(direction);
        }
    }

    fn pump_both(&mut self, first: Direction) {
        let mut direction = first;
        let mut idle = 0;
        while idle < 2 {
            idle = if self.pump(direction) { 0 } else { idle + 1 };
            direction = direction.reverse();
        }
    }

    /// Shows one direction's bytes until it takes no more; true where it took some.
    fn pump(&mut self, direction: Direction) -> bool {
        let mut moved = false;
        while !self.lanes[direction.index()].buffer.is_empty() {
            let (taken, goes_on) = self.show(direction);
            let lane = &mut self.lanes[direction.index()];
            lane.buffer.drain(..taken);
            lane.offset += taken as u64;
            lane.at_event &= taken == 0;
            moved |= taken > 0;
            if !goes_on {
                break;
            }
        }
        moved
    }

    fn show(&mut self, direction: Direction) -> (usize, bool) {
        let Driver { parser, log, lanes, switched, time, .. } = self;
        let lane = &mut lanes[direction.index()];
        let offset = lane.offset;
        let skip = |log: &mut Log, from: u64, length: usize, cause| {
            log.accounts.push((direction, Range::new(from, from + length as u64), Some(cause)));
        };
        if *switched {
            skip(log, offset, lane.buffer.len(), Cause::Unsupported);
            return (lane.buffer.len(), false);
        }
        if lane.searching {
            return match parser.resync(direction, &lane.buffer, lane.at_event) {
                Resync::Found(at) | Resync::Skip(at) if at > 0 => {
                    skip(log, offset, at, Cause::ResyncSkipped);
                    (at, true)
                }
                Resync::Found(_) => {
                    lane.searching = false;
                    (0, true)
                }
                Resync::Skip(_) => (0, false),
            };
        }
        let progress = parser.feed(Input { direction, offset, time: *time, data: &lane.buffer }, log);
        lane.blocked = matches!(progress.then, Then::Other(_));
        match progress.then {
            Then::More(_) | Then::Other(_) => (progress.taken, false),
            Then::Malformed { length, reason } => {
                assert!(
                    length > 0 && progress.taken + length <= lane.buffer.len(),
                    "malformed length {length}: {reason}"
                );
                log.steps.push(format!("malformed {} {length}: {reason}", direction.name()));
                skip(log, offset + progress.taken as u64, length, Cause::ParseError);
                lane.searching = true;
                (progress.taken + length, true)
            }
            Then::Switched(_) | Then::Undeclared(_) => {
                *switched = true;
                (progress.taken, true)
            }
        }
    }

    /// Ends both directions and the connection, and checks the accounts.
    pub(crate) fn end(mut self, end: End) -> Log {
        for direction in Direction::BOTH {
            self.unblock(direction);
            self.pump_both(direction);
        }
        for direction in Direction::BOTH {
            if self.lanes[direction.index()].searching {
                self.give_up_held(direction);
            }
            let Driver { parser, log, lanes, switched, time, .. } = &mut self;
            let lane = &mut lanes[direction.index()];
            let rest = Input { direction, offset: lane.offset, time: *time, data: &lane.buffer };
            if !*switched {
                parser.finish(rest, end, log);
            }
            lane.offset += lane.buffer.len() as u64;
            self.unblock(direction.reverse());
        }
        self.parser.close(end, self.time, &mut self.log);
        self.check_accounts();
        self.log
    }

    /// Every byte that came is in exactly one frame or skip; a frame may reach over lost bytes.
    fn check_accounts(&self) {
        for direction in Direction::BOTH {
            let lane = &self.lanes[direction.index()];
            let mut ranges: Vec<Range> = lane.lost.clone();
            ranges.retain(|lost| {
                !self.accounts(direction).any(|range| range.from <= lost.from && lost.to <= range.to)
            });
            // A gap that a message of known length ends in belongs to its frame in part.
            for lost in &mut ranges {
                if let Some(frame) =
                    self.accounts(direction).find(|range| range.intersection(*lost).is_some())
                {
                    assert!(frame.from < lost.from && frame.to > lost.from, "a frame begins in a gap");
                    lost.from = frame.to;
                }
            }
            ranges.extend(self.accounts(direction));
            ranges.sort();
            let mut at = 0;
            for range in ranges {
                assert_eq!(range.from, at, "{} {:#?}", direction.name(), self.log.steps);
                at = range.to;
            }
            assert_eq!(at, lane.offset, "{} {:#?}", direction.name(), self.log.steps);
        }
        for record in &self.log.records {
            for message in record.messages() {
                let account = (message.direction, message.range, None);
                assert!(self.log.accounts.contains(&account), "a record of no frame: {record:?}");
            }
        }
    }

    fn accounts(&self, direction: Direction) -> impl Iterator<Item = Range> + '_ {
        let accounts = self.log.accounts.iter().filter(move |account| account.0 == direction);
        accounts.map(|account| account.1).filter(|range| !range.is_empty())
    }
}

/// Leads a whole conversation.
pub(crate) fn run(pieces: &[Piece], options: Options, end: End) -> Log {
    let mut driver = Driver::new(options);
    pieces.iter().for_each(|piece| driver.push(piece));
    driver.end(end)
}

/// A small generator of numbers (xorshift64, Marsaglia 2003), so that a failing seed can be run again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Cuts every piece into parts of `length()` bytes.
pub(crate) fn cut(pieces: &[Piece], mut length: impl FnMut() -> usize) -> Vec<Piece> {
    let mut parts = Vec::new();
    for piece in pieces {
        let mut rest = &piece.bytes[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(length().clamp(1, rest.len()));
            parts.push(Piece { bytes: part.to_vec(), ..piece.clone() });
            rest = after;
        }
    }
    parts
}

/// Loses the bytes `range` of one direction.
pub(crate) fn hole(pieces: &[Piece], direction: Direction, range: Range) -> Vec<Piece> {
    let mut parts = Vec::new();
    let mut offset = 0;
    for piece in pieces {
        if piece.direction != direction {
            parts.push(piece.clone());
            continue;
        }
        let here = Range::new(offset, offset + piece.bytes.len() as u64);
        offset = here.to;
        let lost = here.intersection(range).unwrap_or(Range::new(here.to, here.to));
        for (part, lost) in
            [(Range::new(here.from, lost.from), false), (lost, true), (Range::new(lost.to, here.to), false)]
        {
            if !part.is_empty() {
                let bytes = &piece.bytes[(part.from - here.from) as usize..(part.to - here.from) as usize];
                parts.push(Piece { bytes: bytes.to_vec(), lost, ..piece.clone() });
            }
        }
    }
    parts
}
