//! For the tests of parsers: leads one through a conversation as [`crate::conn`] does. Buffers what it does not take,
//! carries it over gaps, lets one direction wait for the other, and proves that every byte is accounted for once.

use super::{AfterGap, End, Gap, Input, Options, Output, Parser, Protocol, Resync, Then};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::record::{Message, Record, Value};
use std::fmt;

/// What happens on a connection, in order.
#[derive(Clone, Debug)]
pub enum Step {
    Bytes(Direction, Vec<u8>),
    Gap(Direction, u64, Cause),
}

/// Shorthand for what a client sends.
pub fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::Bytes(Direction::Send, bytes.as_ref().to_vec())
}

/// Shorthand for what a client receives.
pub fn recv(bytes: impl AsRef<[u8]>) -> Step {
    Step::Bytes(Direction::Recv, bytes.as_ref().to_vec())
}

/// What a parser made of a connection.
#[derive(Debug, Default)]
pub struct Outcome {
    pub records: Vec<Record>,
    pub skipped: Vec<(Direction, Range, Cause, String)>,
    /// The stream after which the parser gave up, if it did.
    pub switched: Option<String>,
    frames: Vec<(Direction, Range)>,
    gaps: Vec<(Direction, Range)>,
}

impl Output for Outcome {
    fn frame(&mut self, direction: Direction, range: Range, _: fmt::Arguments<'_>) {
        assert!(!range.is_empty(), "an empty frame");
        self.frames.push((direction, range));
    }

    fn skip(&mut self, direction: Direction, range: Range, cause: Cause, reason: fmt::Arguments<'_>) {
        if !range.is_empty() {
            self.skipped.push((direction, range, cause, reason.to_string()));
        }
    }

    fn record(&mut self, record: Record) {
        for message in record.messages() {
            self.check_parts(message);
        }
        self.records.push(record);
    }

    fn step(&mut self, _: &'static str, _: fmt::Arguments<'_>) {}
}

impl Outcome {
    /// The records' summaries, with a mark for those that are not complete.
    pub fn summaries(&self) -> Vec<String> {
        let line = |record: &Record| match record.status {
            crate::record::Status::Complete => record.summary.clone(),
            status => format!("{} [{}]", record.summary, status.name()),
        };
        self.records.iter().map(line).collect()
    }

    /// Panics unless each part of a message is one frame, or several that follow each other.
    fn check_parts(&self, message: &Message) {
        for part in message.ranges() {
            let inside = |frame: &&(Direction, Range)| {
                frame.0 == message.direction && frame.1.intersection(part) == Some(frame.1)
            };
            let frames = self.frames.iter().filter(inside);
            let covered: u64 = frames.map(|frame| frame.1.len()).sum();
            let lost = self.gaps.iter().filter(|gap| gap.0 == message.direction);
            let between: u64 = lost.filter_map(|gap| gap.1.intersection(part)).map(|gap| gap.len()).sum();
            assert!(
                covered <= part.len() && covered + between >= part.len(),
                "no frames for {part} of {message:?}"
            );
        }
    }

    /// Panics unless frames, skipped bytes and gaps cover `[start, end)` of each direction exactly once; a
    /// gap may lie inside a frame.
    fn check_account(&self, starts: [u64; 2], ends: [u64; 2]) {
        for direction in Direction::BOTH {
            let mut ranges: Vec<Range> = Vec::new();
            let own = |of: &&(Direction, Range)| of.0 == direction;
            ranges.extend(self.frames.iter().filter(own).map(|frame| frame.1));
            ranges.extend(self.skipped.iter().filter(|skip| skip.0 == direction).map(|skip| skip.1));
            // Where a frame spans a gap, or its beginning, the bytes are the frame's.
            for (_, gap) in self.gaps.iter().filter(own) {
                let spanned =
                    ranges.iter().filter_map(|range| range.intersection(*gap)).map(|part| part.to).max();
                ranges.push(Range::new(spanned.unwrap_or(gap.from), gap.to));
            }
            ranges.retain(|range| !range.is_empty());
            ranges.sort_by_key(|range| range.from);
            let mut at = starts[direction.index()];
            for range in &ranges {
                assert_eq!(range.from, at, "{} is not covered once: {ranges:?}", direction.name());
                at = range.to;
            }
            assert_eq!(at, ends[direction.index()], "{} is not covered: {ranges:?}", direction.name());
        }
    }
}

#[derive(Default)]
struct Lane {
    unread: Vec<u8>,
    offset: u64,
    resyncing: bool,
    blocked: bool,
}

struct Driver {
    parser: Box<dyn Parser + Send>,
    lanes: [Lane; 2],
    time: Timestamp,
    out: Outcome,
    /// Bytes offered to the parser, for tests of its cost.
    offered: u64,
}

/// How a connection is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    pub options: Options,
    /// The connection was open before: the first bytes can be anything.
    pub mid_stream: bool,
    /// Nanoseconds from step to step.
    pub pause: u64,
}

/// Runs a connection and returns what the parser made of it.
pub fn run(protocol: &Protocol, steps: &[Step], setup: Setup) -> Outcome {
    run_counted(protocol, steps, setup).0
}

/// Likewise; also tells how many bytes were offered in all.
pub fn run_counted(protocol: &Protocol, steps: &[Step], setup: Setup) -> (Outcome, u64) {
    let start = if setup.mid_stream { 1000 } else { 0 };
    let lane = || Lane { offset: start, resyncing: setup.mid_stream, ..Lane::default() };
    let mut driver = Driver {
        parser: (protocol.parser)(setup.options),
        lanes: [lane(), lane()],
        time: Timestamp(1),
        out: Outcome::default(),
        offered: 0,
    };
    for direction in Direction::BOTH.into_iter().filter(|_| setup.mid_stream) {
        driver.parser.begin_inside(direction);
    }
    for step in steps {
        driver.time.0 += setup.pause;
        match step {
            Step::Bytes(direction, bytes) => driver.bytes(*direction, bytes),
            Step::Gap(direction, length, cause) => driver.gap(*direction, *length, *cause),
        }
    }
    for direction in Direction::BOTH {
        driver.unblock(direction);
    }
    for direction in Direction::BOTH {
        driver.finish(direction);
    }
    driver.parser.close(End::Closed, driver.time, &mut driver.out);
    let ends = [driver.lanes[0].offset, driver.lanes[1].offset];
    driver.out.check_account([start; 2], ends);
    (driver.out, driver.offered)
}

impl Driver {
    fn bytes(&mut self, direction: Direction, bytes: &[u8]) {
        let lane = &mut self.lanes[direction.index()];
        let at_event = lane.unread.is_empty();
        lane.unread.extend_from_slice(bytes);
        if self.run(direction, at_event) {
            self.continue_other(direction);
        }
    }

    /// Feeds until stuck; true if anything was taken.
    fn run(&mut self, direction: Direction, mut at_event: bool) -> bool {
        let before = self.lanes[direction.index()].offset;
        loop {
            let lane = &mut self.lanes[direction.index()];
            lane.blocked = false;
            if lane.unread.is_empty() {
                break;
            }
            if let Some(name) = self.out.switched.clone() {
                self.skip(direction, usize::MAX, Cause::Unsupported, &name);
                break;
            }
            self.offered += lane.unread.len() as u64;
            if lane.resyncing {
                let (count, found) = match self.parser.resync(direction, &lane.unread, at_event) {
                    Resync::Found(count) => (count, true),
                    Resync::Skip(count) => (count, false),
                };
                at_event = false;
                lane.resyncing = !found;
                self.skip(direction, count, Cause::ResyncSkipped, "resync");
                if !found {
                    break;
                }
                continue;
            }
            let input = Input { direction, offset: lane.offset, time: self.time, data: &lane.unread };
            let progress = self.parser.feed(input, &mut self.out);
            lane.unread.drain(..progress.taken);
            lane.offset += progress.taken as u64;
            match progress.then {
                Then::More(_) if progress.taken == 0 => break,
                Then::More(_) => {}
                Then::Other(_) => {
                    lane.blocked = true;
                    break;
                }
                Then::Malformed { length, reason } => {
                    assert!(length > 0 && length <= lane.unread.len(), "{length} {reason}");
                    lane.resyncing = true;
                    self.skip(direction, length, Cause::ParseError, &reason);
                }
                Then::Switched(_) | Then::Undeclared(_) => {
                    self.out.switched = Some(match progress.then {
                        Then::Switched(name) => name,
                        _ => "undeclared".to_owned(),
                    });
                    self.run(direction.reverse(), false);
                }
            }
        }
        self.lanes[direction.index()].offset != before
    }

    fn continue_other(&mut self, moved: Direction) {
        let mut turn = moved.reverse();
        while self.lanes[turn.index()].blocked && self.run(turn, false) {
            turn = turn.reverse();
        }
    }

    fn skip(&mut self, direction: Direction, count: usize, cause: Cause, reason: &str) {
        let lane = &mut self.lanes[direction.index()];
        let count = count.min(lane.unread.len());
        lane.unread.drain(..count);
        let range = Range::new(lane.offset, lane.offset + count as u64);
        lane.offset = range.to;
        self.out.skip(direction, range, cause, format_args!("{reason}"));
    }

    fn unblock(&mut self, direction: Direction) {
        if std::mem::take(&mut self.lanes[direction.index()].blocked) {
            self.parser.unblock(direction);
            if self.run(direction, false) {
                self.continue_other(direction);
            }
        }
    }

    fn gap(&mut self, direction: Direction, length: u64, cause: Cause) {
        self.unblock(direction);
        let lane = &mut self.lanes[direction.index()];
        let from = lane.offset + lane.unread.len() as u64;
        let range = Range::new(from, from + length);
        self.out.gaps.push((direction, range));
        if self.out.switched.is_some() {
            lane.offset = range.to;
            return;
        }
        if lane.resyncing {
            self.skip(direction, usize::MAX, Cause::ResyncSkipped, "resync");
        }
        let lane = &mut self.lanes[direction.index()];
        let unread = std::mem::take(&mut lane.unread);
        let gap = Gap { direction, range, unread: &unread, cause, time: self.time };
        let after = self.parser.gap(gap, &mut self.out);
        let lane = &mut self.lanes[direction.index()];
        lane.offset = range.to;
        match after {
            AfterGap::Continue => {}
            AfterGap::Resync => lane.resyncing = true,
            AfterGap::Switched(name) => self.out.switched = Some(name),
            AfterGap::Undeclared(_) => self.out.switched = Some("undeclared".to_owned()),
        }
        if self.out.switched.is_some() {
            self.run(direction.reverse(), false);
        }
        self.unblock(direction.reverse());
    }

    fn finish(&mut self, direction: Direction) {
        if self.out.switched.is_some() {
            return;
        }
        if self.lanes[direction.index()].resyncing {
            self.skip(direction, usize::MAX, Cause::ResyncSkipped, "resync");
        }
        let lane = &mut self.lanes[direction.index()];
        let rest = std::mem::take(&mut lane.unread);
        let input = Input { direction, offset: lane.offset, time: self.time, data: &rest };
        self.parser.finish(input, End::Closed, &mut self.out);
        self.lanes[direction.index()].offset += rest.len() as u64;
        self.unblock(direction.reverse());
    }
}

/// The same connection, byte by byte.
pub fn by_bytes(steps: &[Step]) -> Vec<Step> {
    cut(steps, || 1)
}

/// The same connection, each step in pieces as long as `length` says.
pub fn cut(steps: &[Step], mut length: impl FnMut() -> usize) -> Vec<Step> {
    let mut pieces = Vec::new();
    for step in steps {
        match step {
            Step::Bytes(direction, bytes) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (piece, more) = rest.split_at(length().clamp(1, rest.len()));
                    pieces.push(Step::Bytes(*direction, piece.to_vec()));
                    rest = more;
                }
            }
            gap => pieces.push(gap.clone()),
        }
    }
    pieces
}

/// A small pseudo-random generator (xorshift), so that cuts repeat.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A message without what cuts may change: its times.
fn timeless(message: &Option<Message>) -> Option<Message> {
    let message = message.clone()?;
    Some(Message { started: Timestamp(0), ended: Timestamp(0), ..message })
}

/// A record likewise.
pub fn plain(record: &Record) -> Record {
    Record { request: timeless(&record.request), response: timeless(&record.response), ..record.clone() }
}

/// Runs a connection whole, byte by byte and in random cuts; all have to give the same. Returns it.
pub fn run_in_cuts(protocol: &Protocol, steps: &[Step], setup: Setup) -> Outcome {
    let whole = run(protocol, steps, setup);
    let expected: Vec<Record> = whole.records.iter().map(plain).collect();
    let mut random = Random(0x5eed_1234);
    for round in 0..20 {
        let pieces =
            if round == 0 { by_bytes(steps) } else { cut(steps, || 1 + random.below(1 << (round % 7))) };
        let outcome = run(protocol, &pieces, setup);
        let records: Vec<Record> = outcome.records.iter().map(plain).collect();
        assert_eq!(records, expected, "round {round}");
        assert_eq!(outcome.switched, whole.switched, "round {round}");
    }
    whole
}

/// Runs a connection with each step lost in turn, with random holes, with garbage in front of each direction, with the
/// steps in reversed order, and as one that was open before. What comes out is the parser's business; [`run`] checks
/// that every byte is accounted for once.
pub fn run_damaged(protocol: &Protocol, steps: &[Step], setup: Setup) {
    let lost = |step: &Step| match step {
        Step::Bytes(direction, bytes) => Step::Gap(*direction, bytes.len() as u64, Cause::RingFull),
        gap => gap.clone(),
    };
    for index in 0..steps.len() {
        let mut damaged = steps.to_vec();
        damaged[index] = lost(&steps[index]);
        run(protocol, &damaged, setup);
    }
    let mut random = Random(0xdead_beef);
    for round in 0..50 {
        let pieces = cut(steps, || 1 + random.below(64));
        let holes = pieces.iter().map(|step| if random.below(8) == 0 { lost(step) } else { step.clone() });
        let holes: Vec<Step> = holes.collect();
        run(protocol, &holes, setup);
        run(protocol, &holes, Setup { mid_stream: true, ..setup });
        let garbage = Direction::BOTH.map(|direction| {
            Step::Bytes(direction, (0..1 + random.below(40)).map(|_| random.below(256) as u8).collect())
        });
        run(protocol, &[&garbage[..], &pieces[..]].concat(), setup);
        if round == 0 {
            let reversed: Vec<Step> = steps.iter().rev().cloned().collect();
            run(protocol, &reversed, setup);
        }
    }
}

/// A conversation of which every byte is framed, by the summaries of its records; in all cuts and with all damage.
#[track_caller]
pub fn check_whole(protocol: &Protocol, steps: &[Step], setup: Setup, expected: &[&str]) -> Outcome {
    run_damaged(protocol, steps, setup);
    let outcome = run_in_cuts(protocol, steps, setup);
    assert_eq!(outcome.skipped, []);
    assert_eq!(outcome.summaries(), expected);
    outcome
}

/// A field of a record's request, else of its response.
pub fn field<'a>(record: &'a Record, name: &str) -> Option<&'a Value> {
    record.messages().find_map(|message| message.field(name))
}

/// What the peer sent.
pub fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

/// What the parser chose.
pub fn word(text: &'static str) -> Value {
    Value::Text(text.into())
}
