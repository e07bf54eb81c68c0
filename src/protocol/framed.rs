//! Protocols whose messages say how long they are: one driver for all of them.
//!
//! [`Driver`] cuts frames, in place where a whole one is at hand. Of a frame that is longer than what the protocol
//! wants to keep, it keeps the beginning and shows the rest as it passes, so a body of any size takes constant memory. It
//! carries a frame over a gap inside it (its end is known), and accounts for every byte. What frames mean is the
//! business of the [`Framed`] protocol alone.

use super::{AfterGap, Agreement, Datagram, End, Gap, Input, Output, Parser, Progress, Resync, Then};
use crate::event::{Cause, Direction, Range, Timestamp};

/// The most bytes of one frame that are kept for a protocol to look at.
pub const KEEP_MAX: usize = 1 << 20;

/// How many holes of one frame are told apart. Those beyond it count as bytes that came, should the frame be refused.
const HOLES_MAX: usize = 1024;

/// What a protocol of frames brings; both directions of one connection.
pub trait Framed {
    /// Reads the beginning of the frame at the front of `input.data`, which is never empty. May be asked again about
    /// the same bytes with more behind them.
    fn head(&mut self, input: Input<'_>) -> Head;

    /// A frame is there, whole or as far as it came. Has to tell [`Output::frame`] of it, once, with its range; or
    /// refuses it with a reason, and then its bytes are marked [`Cause::ParseError`]. The next frame is expected
    /// behind it either way.
    ///
    /// # Errors
    /// The frame does not follow the protocol.
    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String>;

    /// Bytes of the frame under way, behind those that are kept of it, as they come; [`Framed::frame`] follows when its
    /// end has come. `at` counts from the first byte of the frame, and jumps where bytes are missing.
    fn beyond(&mut self, direction: Direction, at: u64, data: &[u8]) {
        let _ = (direction, at, data);
    }

    /// See [`Parser::datagram`]: needed where datagrams carry the same messages, each one in one.
    fn datagram(&mut self, datagram: Datagram<'_>, out: &mut dyn Output) {
        datagram.refuse(out);
    }

    /// See [`Parser::continues`].
    fn continues(&self, datagram: &Datagram<'_>) -> bool {
        let _ = datagram;
        false
    }

    /// See [`Parser::begin_inside`].
    fn begin_inside(&mut self, direction: Direction) {
        let _ = direction;
    }

    /// See [`Parser::resync`].
    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync;

    /// Frames of a direction, it is not known how many, were lost or could not be read. What is paired by order can't
    /// be paired across this; state that frames change may have changed.
    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output);

    /// See [`Parser::take_over`].
    fn take_over(&mut self, agreement: Agreement) {
        let _ = agreement;
    }

    /// See [`Parser::unblock`]: needed where [`Head::Other`] is used.
    fn unblock(&mut self, direction: Direction) {
        let _ = direction;
    }

    /// What both directions speak behind the last frame, where that was agreed: [`Head::Switched`] follows. Needed where the
    /// frames tell, and not what comes behind them, which may be lost.
    fn switched(&self) -> Option<&'static str> {
        None
    }

    /// No more frames come in this direction.
    fn finish(&mut self, direction: Direction, end: End, time: Timestamp, out: &mut dyn Output) {
        let _ = (direction, end, time, out);
    }

    /// See [`Parser::close`].
    fn close(&mut self, end: End, time: Timestamp, out: &mut dyn Output);
}

/// What the beginning of a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// A frame begins here.
    Frame {
        /// Bytes from here to its end, at least 1.
        length: u64,
        /// How many of them the protocol wants to see; [`KEEP_MAX`] at most.
        keep: usize,
    },
    /// Too few bytes to say. Names what is missing.
    More(&'static str),
    /// See [`Then::Other`].
    Other(&'static str),
    /// See [`Then::Malformed`].
    Malformed {
        /// Up to and including the byte that proves it.
        length: usize,
        /// What is wrong.
        reason: String,
    },
    /// See [`Then::Switched`].
    Switched(String),
}

/// One frame, or what is there of it.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// Its bytes in the stream; one that the stream's end cuts ends there.
    pub range: Range,
    /// Its first bytes: all that are wanted, or those before the first gap.
    pub data: &'a [u8],
    /// How long it says to be.
    pub length: u64,
    /// When its first byte came, and its last.
    pub times: [Timestamp; 2],
    /// Why bytes of it are missing; empty where none is. Bytes beyond those wanted are not missing.
    pub causes: Vec<Cause>,
}

impl Frame<'_> {
    /// True where bytes that the protocol wants to see are missing or were never sent.
    pub fn is_cut(&self) -> bool {
        !self.causes.is_empty()
    }

    /// True where `data` is all of it.
    pub fn is_all(&self) -> bool {
        self.data.len() as u64 == self.length
    }
}

/// The [`Parser`] of a [`Framed`] protocol.
pub struct Driver<P> {
    protocol: P,
    lanes: [Lane; 2],
}

#[derive(Default)]
struct Lane {
    /// The frame whose end has not come.
    open: Option<OpenFrame>,
    /// When the first byte came of a frame whose head is not whole.
    waiting: Option<Timestamp>,
}

/// A frame whose end has not come.
struct OpenFrame {
    from: u64,
    length: u64,
    keep: usize,
    /// Its first bytes, up to `keep`, or to the first gap.
    kept: Vec<u8>,
    /// How many of its bytes came or are known to be lost.
    at: u64,
    started: Timestamp,
    causes: Vec<Cause>,
    /// Where bytes of it are missing, in order; [`HOLES_MAX`] at most.
    holes: Vec<Range>,
}

impl OpenFrame {
    fn missing(&self) -> u64 {
        self.length - self.at
    }

    /// Passes over bytes that are missing.
    fn lose(&mut self, count: u64) {
        let hole = Range::new(self.from + self.at, self.from + self.at + count);
        self.at += count;
        let has_room = self.holes.len() < HOLES_MAX;
        match self.holes.last_mut() {
            Some(last) if last.to == hole.from => last.to = hole.to,
            _ if has_room && !hole.is_empty() => self.holes.push(hole),
            _ => {}
        }
    }

    /// Takes what belongs to it of `data`; returns how much that is.
    fn take(&mut self, data: &[u8]) -> usize {
        let count = self.missing().min(data.len() as u64) as usize;
        // Behind a gap `kept` does not grow: it would not be the beginning any more.
        if self.kept.len() as u64 == self.at {
            let wanted = (self.keep - self.kept.len()).min(count);
            self.kept.extend_from_slice(&data[..wanted]);
        }
        self.at += count as u64;
        count
    }
}

impl<P: Framed> Driver<P> {
    /// A driver at the beginning of a connection.
    pub fn new(protocol: P) -> Driver<P> {
        Driver { protocol, lanes: Default::default() }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction.index()]
    }

    /// Takes the bytes at the front: those of the open frame, or the next frame as far as it came.
    fn step(&mut self, input: Input<'_>, out: &mut dyn Output) -> Progress {
        let direction = input.direction;
        if let Some(open) = &mut self.lanes[direction.index()].open {
            let at = open.at;
            let taken = open.take(input.data);
            pass_on(&mut self.protocol, direction, (open.keep, at), &input.data[..taken]);
            if open.missing() == 0 {
                self.end_open(direction, input.time, out);
            }
            return Progress { taken, then: Then::More("the rest of a frame") };
        }
        let started = *self.lane(direction).waiting.get_or_insert(input.time);
        let then = match self.protocol.head(input) {
            Head::Frame { length, keep } if length > 0 => {
                self.lane(direction).waiting = None;
                let keep = keep.min(KEEP_MAX).min(usize::try_from(length).unwrap_or(usize::MAX));
                return self.begin(input, started, length, keep, out);
            }
            Head::Frame { .. } => Then::Malformed { length: 1, reason: "a frame of no length".to_owned() },
            Head::More(wanted) => Then::More(wanted),
            Head::Other(wanted) => Then::Other(wanted),
            Head::Malformed { length, reason } => Then::Malformed { length, reason },
            Head::Switched(name) => Then::Switched(name),
        };
        if matches!(then, Then::Malformed { .. }) {
            self.lane(direction).waiting = None;
            self.protocol.lost(direction, Cause::ParseError, out);
        }
        Progress { taken: 0, then }
    }

    fn begin(
        &mut self,
        input: Input<'_>,
        started: Timestamp,
        length: u64,
        keep: usize,
        out: &mut dyn Output,
    ) -> Progress {
        let Input { direction, offset, time, data } = input;
        if data.len() as u64 >= length {
            let range = Range::new(offset, offset + length);
            pass_on(&mut self.protocol, direction, (keep, 0), &data[..length as usize]);
            let frame = Frame {
                direction,
                range,
                data: &data[..keep],
                length,
                times: [started, time],
                causes: Vec::new(),
            };
            self.hand_on(&frame, &[], out);
            return Progress { taken: length as usize, then: Then::More("a frame") };
        }
        let mut open = OpenFrame {
            from: offset,
            length,
            keep,
            kept: Vec::new(),
            at: 0,
            started,
            causes: Vec::new(),
            holes: Vec::new(),
        };
        let taken = open.take(data);
        pass_on(&mut self.protocol, direction, (keep, 0), &data[..taken]);
        self.lane(direction).open = Some(open);
        Progress { taken, then: Then::More("the rest of a frame") }
    }

    /// The open frame ends with what came of it.
    fn end_open(&mut self, direction: Direction, time: Timestamp, out: &mut dyn Output) {
        let Some(open) = self.lane(direction).open.take() else { return };
        let range = Range::new(open.from, open.from + open.at);
        let OpenFrame { kept, length, started, causes, holes, .. } = open;
        let frame = Frame { direction, range, data: &kept, length, times: [started, time], causes };
        self.hand_on(&frame, &holes, out);
    }

    fn hand_on(&mut self, frame: &Frame<'_>, holes: &[Range], out: &mut dyn Output) {
        let Err(reason) = self.protocol.frame(frame, out) else { return };
        let mut from = frame.range.from;
        for hole in holes.iter().copied().chain([Range::new(frame.range.to, frame.range.to)]) {
            if from < hole.from {
                let part = Range::new(from, hole.from);
                out.skip(frame.direction, part, Cause::ParseError, format_args!("{reason}"));
            }
            from = hole.to;
        }
    }

    /// Reads what can be read before a gap or the end; what is left is the beginning of a frame without a length.
    fn drain<'a>(&mut self, input: Input<'a>, out: &mut dyn Output) -> Input<'a> {
        let mut rest = input;
        let mut unblocked = false;
        while !rest.data.is_empty() {
            let progress = self.step(rest, out);
            rest.data = &rest.data[progress.taken..];
            rest.offset += progress.taken as u64;
            match progress.then {
                Then::Other(_) if !unblocked => {
                    self.protocol.unblock(rest.direction);
                    unblocked = true;
                }
                _ if progress.taken == 0 => break,
                _ => unblocked = false,
            }
        }
        rest
    }

    /// Bytes that are no frame, since their rest is missing.
    fn leave(&mut self, rest: Input<'_>, cause: Cause, why: &str, out: &mut dyn Output) {
        self.lane(rest.direction).waiting = None;
        let range = Range::new(rest.offset, rest.offset + rest.data.len() as u64);
        out.skip(rest.direction, range, cause, format_args!("{why}"));
    }
}

/// Shows bytes of a frame that begin `at` its first byte, but for those that are kept.
fn pass_on<P: Framed>(protocol: &mut P, direction: Direction, (keep, at): (usize, u64), data: &[u8]) {
    let kept = (keep as u64).saturating_sub(at).min(data.len() as u64) as usize;
    if kept < data.len() {
        protocol.beyond(direction, at + kept as u64, &data[kept..]);
    }
}

impl<P: Framed> Parser for Driver<P> {
    fn feed(&mut self, input: Input<'_>, out: &mut dyn Output) -> Progress {
        let mut rest = input;
        loop {
            let Progress { taken, then } = self.step(rest, out);
            rest.data = &rest.data[taken..];
            rest.offset += taken as u64;
            if rest.data.is_empty() || taken == 0 {
                return Progress { taken: input.data.len() - rest.data.len(), then };
            }
        }
    }

    fn gap(&mut self, gap: Gap<'_>, out: &mut dyn Output) -> AfterGap {
        let Gap { direction, range, unread, cause, time } = gap;
        let offset = range.from - unread.len() as u64;
        let rest = self.drain(Input { direction, offset, time, data: unread }, out);
        let mut behind = range.len();
        if let Some(open) = &mut self.lane(direction).open {
            let inside = open.missing().min(behind);
            open.lose(inside);
            behind -= inside;
            cause.note_in(&mut open.causes);
            if open.missing() == 0 {
                self.end_open(direction, time, out);
            }
            if behind == 0 {
                return AfterGap::Continue;
            }
        } else {
            self.leave(rest, Cause::ResyncSkipped, "the beginning of a frame that a gap cuts", out);
        }
        if let Some(name) = self.protocol.switched() {
            return AfterGap::Switched(name.to_owned());
        }
        self.protocol.lost(direction, cause, out);
        AfterGap::Resync
    }

    fn begin_inside(&mut self, direction: Direction) {
        self.protocol.begin_inside(direction);
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        self.protocol.resync(direction, data, at_event)
    }

    fn finish(&mut self, rest: Input<'_>, end: End, out: &mut dyn Output) {
        let (direction, time) = (rest.direction, rest.time);
        let rest = self.drain(rest, out);
        if let Some(open) = &mut self.lane(direction).open {
            open.causes.push(Cause::Incomplete);
            out.step("cut-off", format_args!("{} inside a frame", end.reason()));
            self.end_open(direction, time, out);
        } else {
            self.leave(rest, Cause::Incomplete, "the stream ends inside the beginning of a frame", out);
        }
        self.protocol.finish(direction, end, time, out);
    }

    fn take_over(&mut self, agreement: Agreement) {
        self.protocol.take_over(agreement);
    }

    fn continues(&self, datagram: &Datagram<'_>) -> bool {
        self.protocol.continues(datagram)
    }

    fn datagram(&mut self, datagram: Datagram<'_>, out: &mut dyn Output) {
        self.protocol.datagram(datagram, out);
    }

    fn unblock(&mut self, direction: Direction) {
        self.protocol.unblock(direction);
    }

    fn close(&mut self, end: End, time: Timestamp, out: &mut dyn Output) {
        self.protocol.close(end, time, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::{self, Half};
    use super::super::testing::{Setup, Step, run, run_damaged, run_in_cuts};
    use super::super::{Options, Protocol, Sample, Verdict};
    use super::*;
    use proptest::prelude::*;

    /// Frames of a length byte (of all that follows), a kind and a body, of which two bytes are kept and the others seen as
    /// they pass.
    #[derive(Default)]
    struct Letters {
        passed: [Vec<(u64, u8)>; 2],
    }

    static PROTOCOL: Protocol = Protocol {
        name: "letters",
        detect,
        parser,
        datagrams: None,
        endpoint: crate::protocol::endpoint::of_summary,
        keep_alives: &[],
    };

    fn detect(_: &Sample<'_>) -> Verdict {
        Verdict::Match(100)
    }

    fn parser(_: Options) -> Box<dyn Parser + Send> {
        Box::new(Driver::new(Letters::default()))
    }

    impl Framed for Letters {
        fn head(&mut self, input: Input<'_>) -> Head {
            match input.data {
                [0, ..] => Head::Malformed { length: 1, reason: "a length of 0".to_owned() },
                [length, kind, ..] if kind.is_ascii_uppercase() => {
                    Head::Frame { length: u64::from(*length) + 1, keep: 4 }
                }
                [_, _, ..] => Head::Malformed { length: 2, reason: "no letter".to_owned() },
                _ => Head::More("the kind"),
            }
        }

        fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
            let passed = std::mem::take(&mut self.passed[frame.direction.index()]);
            if frame.data.get(1) == Some(&b'X') {
                return Err("refused".to_owned());
            }
            out.frame(frame.direction, frame.range, format_args!("letter"));
            let mut summary = String::from_utf8_lossy(frame.data.get(1..).unwrap_or_default()).into_owned();
            for (at, byte) in passed {
                summary.push_str(&format!(" {at}{}", char::from(byte)));
            }
            let mut half = Half::new(frame.direction, frame.range, frame.times, summary, Vec::new());
            frame.causes.iter().for_each(|&cause| half.add_cause(cause));
            exchange::lone("letters", half, true, out);
            Ok(())
        }

        fn beyond(&mut self, direction: Direction, at: u64, data: &[u8]) {
            self.passed[direction.index()].extend((at..).zip(data.iter().copied()));
        }

        fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
            if at_event { Resync::Found(0) } else { Resync::Skip(data.len()) }
        }

        fn lost(&mut self, _: Direction, cause: Cause, out: &mut dyn Output) {
            out.step("lost", format_args!("{}", cause.slug()));
        }

        fn close(&mut self, _: End, _: Timestamp, _: &mut dyn Output) {}
    }

    fn bytes(data: &[u8]) -> Step {
        Step::Bytes(Direction::Send, data.to_vec())
    }

    fn gap(length: u64) -> Step {
        Step::Gap(Direction::Send, length, Cause::RingFull)
    }

    fn check(steps: &[Step], expected: &[&str]) {
        assert_eq!(run(&PROTOCOL, steps, Setup::default()).summaries(), expected);
    }

    #[test]
    fn frames_are_cut_whatever_the_cuts_and_long_ones_are_kept_in_part() {
        let conversation = [bytes(b"\x01A\x04BbcX\x02CcX\x02XX\x03D34")];
        let outcome = run_in_cuts(&PROTOCOL, &conversation, Setup::default());
        assert_eq!(outcome.summaries(), ["A", "Bbc 4X", "Cc"]);
        run_damaged(&PROTOCOL, &conversation, Setup::default());
        let skipped: Vec<_> = outcome.skipped.iter().map(|(_, range, cause, _)| (*range, *cause)).collect();
        // The body of C is said to be one byte long, so its X begins what is no frame.
        assert_eq!(skipped[0], (Range::new(10, 12), Cause::ParseError));
    }

    #[test]
    fn a_refused_frame_is_skipped_and_the_next_one_read() {
        let outcome = run(&PROTOCOL, &[bytes(b"\x02XX\x01A")], Setup::default());
        assert_eq!(outcome.summaries(), ["A"]);
        assert_eq!(outcome.skipped[0].1, Range::new(0, 3));
    }

    #[test]
    fn of_a_refused_frame_with_holes_only_what_came_is_skipped() {
        let outcome = run(
            &PROTOCOL,
            &[bytes(b"\x08Xa"), gap(2), bytes(b"b"), gap(1), bytes(b"cd\x01A")],
            Setup::default(),
        );
        let skipped: Vec<Range> = outcome.skipped.iter().map(|skipped| skipped.1).collect();
        assert_eq!(skipped, [Range::new(0, 3), Range::new(5, 6), Range::new(7, 9)]);
        assert_eq!(outcome.summaries(), ["A"]);
    }

    #[test]
    fn a_gap_inside_a_frame_leaves_its_end_known() {
        check(&[bytes(b"\x08Aa"), gap(4), bytes(b"xy\x01B")], &["Aa 7x 8y [truncated]", "B"]);
        check(&[bytes(b"\x08A"), gap(7), bytes(b"\x01B")], &["A [truncated]", "B"]);
        check(&[bytes(b"\x04A"), gap(4), bytes(b"\x01B")], &["A [truncated]", "B"]);
        check(&[bytes(b"\x01A\x04"), gap(4), bytes(b"\x01B")], &["A", "B"]);
    }

    #[test]
    fn what_is_not_kept_is_seen_as_it_passes() {
        let outcome = run_in_cuts(&PROTOCOL, &[bytes(b"\x07A234567\x01B\x04C23")], Setup::default());
        assert_eq!(outcome.summaries(), ["A23 44 55 66 77", "B", "C23 [truncated]"]);
        check(&[bytes(b"\x08A2345"), gap(2), bytes(b"8\x01B")], &["A23 44 55 88 [truncated]", "B"]);
        check(&[bytes(b"\x08A"), gap(5), bytes(b"78\x01B")], &["A 77 88 [truncated]", "B"]);
    }

    #[test]
    fn the_end_of_the_stream_cuts() {
        check(&[bytes(b"\x01A\x08Bcd")], &["A", "Bcd [truncated]"]);
        check(&[bytes(b"\x01A\x08")], &["A"]);
    }

    proptest! {
        /// [`run`] checks that every byte is accounted for once.
        #[test]
        fn any_bytes_are_accounted_for(
            parts in prop::collection::vec((prop::collection::vec(prop_oneof![0u8..5, b'A'..=b'Z'], 0..20), 0u64..6), 1..12)
        ) {
            let steps: Vec<Step> = parts.into_iter().flat_map(|(data, lost)| [bytes(&data), gap(lost)]).collect();
            run(&PROTOCOL, &steps, Setup::default());
        }
    }
}
