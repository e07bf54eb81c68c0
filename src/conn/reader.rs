//! Drives the parser of one connection: offers bytes, keeps what was not taken, carries it over gaps,
//! lets it search the next boundary, and makes one direction wait for the other. What happens where both directions begin
//! to speak something else is told by [`switch`].

mod switch;

use super::detect::{Detector, Explained, Kept, Matching};
use super::losses::Losses;
use super::trial::{Said, Standing, Trial, say};
use super::{Entry, Info, Observer};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::protocol::{self, AfterGap, End, Gap, Input, Output, Parser, Protocol, Resync, Then, Verdict};
use crate::record::Record;
use std::fmt;

/// How many bytes one direction may wait for the other, e.g. a response for its lost request.
const BLOCK_LIMIT: usize = 1 << 20;

/// How long one direction may wait for the other, in nanoseconds of the trace.
const BLOCK_TIME: u64 = 1_000_000_000;

/// How many bytes may wait for the rest of their message. Parsers have bounds of their own below it.
const UNREAD_LIMIT: usize = 16 << 20;

/// What happens to a connection now, and who watches.
pub struct Context<'a> {
    pub info: &'a mut Info,
    pub observer: &'a mut dyn Observer,
    pub losses: &'a mut Losses,
    pub time: Timestamp,
    pub level: u8,
    /// Where what is said is held back, while the protocol is on trial.
    pub held: Option<Vec<(Timestamp, Said)>>,
}

impl Context<'_> {
    /// Tells the observer a step if its level is wanted.
    pub fn trace(&mut self, level: u8, step: &'static str, message: fmt::Arguments<'_>) {
        if level > self.level {
            return;
        }
        match &mut self.held {
            Some(held) => held.push((self.time, Said::Trace(level, step, message.to_string()))),
            None => self.observer.trace(self.info, self.time, level, step, message),
        }
    }

    /// Tells the observer of a frame that is no longer on trial.
    pub fn tell_frame(&mut self, direction: Direction, range: Range, what: fmt::Arguments<'_>) {
        self.losses.frame(direction, range);
        self.account(direction, Entry::Framed(range));
        self.trace(2, "frame", format_args!("{} {range} {what}", direction.name()));
    }

    /// Tells the observer of bytes that moved and never came.
    pub fn lost(&mut self, direction: Direction, range: Range, cause: Cause) {
        self.losses.add(direction, range, cause);
        self.account(direction, Entry::Lost(range, cause));
        let (name, stage, slug) = (direction.name(), cause.stage().name(), cause.slug());
        self.trace(1, "gap", format_args!("{name} {range} {} bytes at {stage}: {slug}", range.len()));
    }

    /// Tells the observer what became of bytes.
    pub fn account(&mut self, direction: Direction, entry: Entry<'_>) {
        self.observer.account(self.info, direction, entry);
    }
}

impl Output for Context<'_> {
    fn frame(&mut self, direction: Direction, range: Range, what: fmt::Arguments<'_>) {
        if self.level >= 1 {
            self.observer.frame(self.info, self.time, direction, range, what);
        }
        self.frame_aside(direction, range, what);
    }

    fn frame_aside(&mut self, direction: Direction, range: Range, what: fmt::Arguments<'_>) {
        if let Some(held) = &mut self.held {
            let what = if self.level >= 2 { what.to_string() } else { String::new() };
            held.push((self.time, Said::Frame(direction, range, what)));
            return;
        }
        self.tell_frame(direction, range, what);
    }

    fn skip(&mut self, direction: Direction, range: Range, cause: Cause, reason: fmt::Arguments<'_>) {
        if range.is_empty() {
            return;
        }
        if let Some(held) = &mut self.held {
            held.push((self.time, Said::Skip(direction, range, cause, reason.to_string())));
            return;
        }
        self.account(direction, Entry::Skipped(range, cause, reason));
        let (name, slug) = (direction.name(), cause.slug());
        self.trace(1, slug, format_args!("{name} {range} {} bytes: {reason}", range.len()));
    }

    fn record(&mut self, mut record: Record) {
        if let Some(held) = &mut self.held {
            held.push((self.time, Said::Record(Box::new(record))));
            return;
        }
        self.losses.judge(&mut record);
        self.observer.record(self.info, self.time, record);
    }

    fn step(&mut self, step: &'static str, message: fmt::Arguments<'_>) {
        self.trace(2, step, message);
    }
}

/// One direction as the parser sees it.
#[derive(Default)]
struct Lane {
    /// Offered and not taken.
    unread: Vec<u8>,
    /// Offset of the first byte not taken.
    offset: u64,
    /// When the newest byte came. Bytes that waited for the other direction keep their own time.
    arrived: Timestamp,
    /// The first of them is also the first of an event.
    at_event: bool,
    /// Searching the next boundary.
    resyncing: bool,
    /// Since when it waits for the other direction.
    blocked: Option<Timestamp>,
    finished: bool,
}

impl Lane {
    /// Offset after the last byte that came.
    fn end(&self) -> u64 {
        self.offset + self.unread.len() as u64
    }
}

enum State {
    Detecting(Box<Detector>),
    Parsing(Box<dyn Parser + Send>),
    /// Both directions speak something else now.
    Switched(String),
}

/// The reader of one connection.
pub struct Reader {
    state: State,
    /// While parsing, where the protocol is a guess.
    trial: Option<Trial>,
    lanes: [Lane; 2],
    options: super::Options,
}

impl Reader {
    /// A reader whose directions begin at `offsets`.
    pub fn new(options: super::Options, info: &Info, offsets: [u64; 2], from_start: [bool; 2]) -> Reader {
        let lanes = offsets.map(|offset| Lane { offset, ..Lane::default() });
        let state = State::Detecting(Box::new(Detector::new(options.protocols, info.open.role, from_start)));
        Reader { state, trial: None, lanes, options }
    }

    /// The next bytes of a direction.
    pub fn bytes(&mut self, direction: Direction, offset: u64, data: &[u8], cx: &mut Context<'_>) {
        if let Some(trial) = &mut self.trial {
            trial.detector.add(direction, offset, data, cx.time);
        }
        self.held_back(cx, |reader, cx| reader.take_bytes(direction, offset, data, cx));
    }

    /// Bytes of a direction that will never come.
    pub fn gap(&mut self, direction: Direction, range: Range, cause: Cause, cx: &mut Context<'_>) {
        if let Some(trial) = &mut self.trial {
            trial.detector.gap(direction, range, cause, cx.time);
        }
        self.held_back(cx, |reader, cx| reader.take_gap(direction, range, cause, cx));
    }

    /// No more bytes will come in a direction.
    pub fn finish(&mut self, direction: Direction, end: End, cx: &mut Context<'_>) {
        let offset = self.lanes[direction.index()].end();
        if let Some(trial) = &mut self.trial {
            trial.detector.finish(direction, offset, end, cx.time);
        }
        self.held_back(cx, |reader, cx| reader.take_finish(direction, end, cx));
    }

    /// The connection, or the trace, is over.
    pub fn close(&mut self, end: End, cx: &mut Context<'_>) {
        // No more evidence comes.
        self.decide_last(cx);
        for direction in Direction::BOTH {
            self.unblock(direction, cx);
        }
        // What was read last may have been the answer behind which something else begins.
        self.decide_last(cx);
        for direction in Direction::BOTH {
            self.take_finish(direction, end, cx);
        }
        if let State::Parsing(parser) = &mut self.state {
            parser.close(end, cx.time, cx);
        }
    }

    /// Decides by what there is.
    fn decide_last(&mut self, cx: &mut Context<'_>) {
        if let State::Detecting(detector) = &mut self.state {
            let verdicts = detector.verdicts();
            match detector.choose(&verdicts, true) {
                Some(protocol) => self.decide(protocol, &verdicts, cx),
                None => skip_unknown(detector, &verdicts, cx),
            }
        }
        self.confirm(cx);
    }

    /// Does `action`, and holds back what it says while the protocol is on trial; then decides how that goes on.
    fn held_back(&mut self, cx: &mut Context<'_>, action: impl FnOnce(&mut Reader, &mut Context<'_>)) {
        cx.held = self.trial.as_mut().map(|trial| std::mem::take(&mut trial.said));
        action(self, cx);
        if let (Some(said), Some(trial)) = (cx.held.take(), &mut self.trial) {
            trial.said = said;
        }
        self.weigh(cx);
    }

    /// Ends the trial if it can be told by now whether the guess is right. A doubtful one gives way to a protocol that
    /// recognises the bytes; without one it stays: real peers make mistakes, too.
    fn weigh(&mut self, cx: &mut Context<'_>) {
        let Some(trial) = &mut self.trial else { return };
        match trial.standing() {
            Standing::Open if matches!(self.state, State::Parsing(_)) => {}
            Standing::Doubtful => {
                let refuted = trial.protocol;
                trial.detector.refute(refuted);
                let verdicts = trial.detector.verdicts();
                let Some(protocol) = trial.detector.choose(&verdicts, false) else {
                    return self.confirm(cx);
                };
                let Some(Trial { detector, .. }) = self.trial.take() else { return };
                cx.observer.withdraw(cx.info);
                cx.trace(1, "reconsidered", format_args!("not {}: {}", refuted.name, protocol.name));
                self.state = State::Detecting(Box::new(detector));
                self.decide(protocol, &verdicts, cx);
            }
            _ => self.confirm(cx),
        }
    }

    /// The guess stands, for good.
    fn confirm(&mut self, cx: &mut Context<'_>) {
        if let Some(trial) = self.trial.take() {
            let held = cx.held.take();
            say(trial.said, cx);
            say(held.unwrap_or_default(), cx);
        }
    }

    fn take_bytes(&mut self, direction: Direction, offset: u64, data: &[u8], cx: &mut Context<'_>) {
        match &mut self.state {
            State::Detecting(_) => self.detect(direction, offset, data, cx),
            State::Parsing(_) => self.offer(direction, data, cx),
            State::Switched(name) => {
                let range = Range::new(offset, offset + data.len() as u64);
                cx.account(direction, Entry::Skipped(range, Cause::Unsupported, format_args!("{name}")));
            }
        }
    }

    fn take_gap(&mut self, direction: Direction, range: Range, cause: Cause, cx: &mut Context<'_>) {
        self.unblock(direction, cx);
        let lane = &mut self.lanes[direction.index()];
        let parser = match &mut self.state {
            State::Detecting(detector) => return detector.gap(direction, range, cause, cx.time),
            State::Parsing(parser) => parser,
            State::Switched(_) => return,
        };
        lane.blocked = None;
        let unread = std::mem::take(&mut lane.unread);
        let mut shown: &[u8] = &unread;
        if lane.resyncing {
            skip_unread(direction, range.from, shown.len(), cx);
            shown = &[];
        }
        let gap = Gap { direction, range, unread: shown, cause, time: cx.time };
        let after = parser.gap(gap, cx);
        lane.offset = range.to;
        if after != AfterGap::Continue && !lane.resyncing {
            lane.resyncing = true;
            cx.trace(
                1,
                "resync",
                format_args!("{} searches the next message from {}", direction.name(), range.to),
            );
        }
        match after {
            AfterGap::Continue | AfterGap::Resync => self.unblock(direction.reverse(), cx),
            AfterGap::Switched(name) => self.switch(direction, name, Some((range, cause)), cx),
            AfterGap::Undeclared(next) => self.look_again(direction, next, &[], cx),
        }
    }

    fn take_finish(&mut self, direction: Direction, end: End, cx: &mut Context<'_>) {
        self.unblock(direction, cx);
        let lane = &mut self.lanes[direction.index()];
        let parser = match &mut self.state {
            State::Detecting(detector) => return detector.finish(direction, lane.offset, end, cx.time),
            State::Parsing(parser) => parser,
            State::Switched(_) => return,
        };
        if std::mem::replace(&mut lane.finished, true) {
            return;
        }
        let unread = std::mem::take(&mut lane.unread);
        let (mut rest, offset) = (unread.as_slice(), lane.offset);
        if lane.resyncing {
            skip_unread(direction, offset + rest.len() as u64, rest.len(), cx);
            rest = &[];
        }
        parser.finish(Input { direction, offset, time: cx.time, data: rest }, end, cx);
        lane.offset = offset + unread.len() as u64;
        self.unblock(direction.reverse(), cx);
    }

    fn detect(&mut self, direction: Direction, offset: u64, data: &[u8], cx: &mut Context<'_>) {
        let State::Detecting(detector) = &mut self.state else { return };
        self.lanes[direction.index()].offset = offset + data.len() as u64;
        if self.options.redacted {
            let range = Range::new(offset, offset + data.len() as u64);
            return cx.account(direction, Entry::Skipped(range, Cause::Redacted, format_args!("{REDACTED}")));
        }
        if detector.has_given_up() {
            let verdicts = detector.verdicts_on(direction, data);
            cx.trace(2, "detect", format_args!("{}", Explained(&verdicts)));
            match Detector::choose_alone(&verdicts) {
                Some(protocol) => {
                    detector.add(direction, offset, data, cx.time);
                    self.decide(protocol, &verdicts, cx);
                }
                None => {
                    let range = Range::new(offset, offset + data.len() as u64);
                    let reason = format_args!("no protocol recognised");
                    cx.account(direction, Entry::Skipped(range, Cause::ProtocolUnknown, reason));
                }
            }
            return;
        }
        detector.add(direction, offset, data, cx.time);
        self.consider(cx);
    }

    /// Decides on a protocol if what is kept allows it.
    fn consider(&mut self, cx: &mut Context<'_>) {
        let State::Detecting(detector) = &mut self.state else { return };
        if !detector.is_due() {
            return;
        }
        let verdicts = detector.verdicts();
        cx.trace(2, "detect", format_args!("{}", Explained(&verdicts)));
        if let Some(protocol) = detector.choose(&verdicts, false) {
            self.decide(protocol, &verdicts, cx);
        } else if detector.is_full() {
            cx.trace(1, "given-up", format_args!("no protocol recognised: {}", Explained(&verdicts)));
            skip_unknown(detector, &verdicts, cx);
        }
    }

    /// Takes `protocol` and replays what was kept; unless it is proven, on trial.
    fn decide(
        &mut self,
        protocol: &'static Protocol,
        verdicts: &[(&'static Protocol, Verdict)],
        cx: &mut Context<'_>,
    ) {
        cx.info.protocol = Some(protocol.name);
        cx.trace(1, "protocol", format_args!("{}: {}", protocol.name, Matching(verdicts)));
        let mut parser = self.parser(protocol, cx);
        if let State::Detecting(detector) = &self.state
            && let Some(agreement) = detector.agreement(protocol)
        {
            parser.take_over(agreement);
        }
        let State::Detecting(mut detector) = std::mem::replace(&mut self.state, State::Parsing(parser))
        else {
            return;
        };
        let kept = detector.take();
        self.place_lanes(&kept, detector.begins_at_start());
        cx.info.protocol_from = self.lanes.each_ref().map(|lane| lane.offset);
        let on_trial = !is_proven(protocol, verdicts);
        cx.held = on_trial.then(Vec::new);
        self.replay(&kept, cx);
        if let Some(said) = cx.held.take() {
            detector.keep(kept);
            self.trial = Some(Trial { said, ..Trial::new(protocol, *detector) });
            self.weigh(cx);
        }
    }

    /// Where each direction's reading begins, and which have to search a boundary first.
    fn place_lanes(&mut self, kept: &[Kept], from_start: [bool; 2]) {
        let mut known = [false; 2];
        for item in kept {
            let (direction, offset, resyncing) = match *item {
                Kept::Bytes(direction, offset, ..) => (direction, offset, !from_start[direction.index()]),
                Kept::Gap(direction, range, ..) => (direction, range.from, false),
                Kept::Finish(direction, offset, ..) => (direction, offset, false),
            };
            if !std::mem::replace(&mut known[direction.index()], true) {
                self.lanes[direction.index()] = Lane { offset, resyncing, ..Lane::default() };
            }
        }
        for direction in Direction::BOTH.into_iter().filter(|direction| !known[direction.index()]) {
            self.lanes[direction.index()].resyncing = !from_start[direction.index()];
        }
        let State::Parsing(parser) = &mut self.state else { return };
        for direction in
            Direction::BOTH.into_iter().filter(|direction| self.lanes[direction.index()].resyncing)
        {
            parser.begin_inside(direction);
        }
    }

    fn replay(&mut self, kept: &[Kept], cx: &mut Context<'_>) {
        let now = cx.time;
        for item in kept {
            match item {
                Kept::Bytes(direction, _, data, time) => {
                    cx.time = *time;
                    self.take_bytes(*direction, self.lanes[direction.index()].end(), data, cx);
                }
                Kept::Gap(direction, range, cause, time) => {
                    cx.time = *time;
                    self.take_gap(*direction, *range, *cause, cx);
                }
                Kept::Finish(direction, _, end, time) => {
                    cx.time = *time;
                    self.take_finish(*direction, *end, cx);
                }
            }
        }
        cx.time = now;
    }

    /// Offers new bytes behind those that were not taken, then lets the other direction go on.
    fn offer(&mut self, direction: Direction, data: &[u8], cx: &mut Context<'_>) {
        let lane = &mut self.lanes[direction.index()];
        lane.arrived = cx.time;
        let waited = lane.blocked.is_some_and(|since| cx.time.since(since) > BLOCK_TIME);
        let before = lane.offset;
        if lane.resyncing && !lane.unread.is_empty() && self.begins_at(direction, data) {
            let lane = &mut self.lanes[direction.index()];
            let rest = std::mem::take(&mut lane.unread);
            lane.offset += rest.len() as u64;
            skip_unread(direction, lane.offset, rest.len(), cx);
        }
        let lane = &mut self.lanes[direction.index()];
        if lane.unread.is_empty() {
            let taken = self.run(direction, data, true, cx);
            let lane = &mut self.lanes[direction.index()];
            lane.at_event = taken == 0;
            lane.unread.extend_from_slice(&data[taken..]);
        } else {
            lane.unread.extend_from_slice(data);
            if waited || lane.unread.len() > BLOCK_LIMIT {
                self.unblock(direction, cx);
            } else if lane.blocked.is_none() {
                self.resume(direction, cx);
            }
        }
        if self.lanes[direction.index()].unread.len() > UNREAD_LIMIT {
            self.drop_unread(direction, cx);
        }
        if self.lanes[direction.index()].offset != before {
            self.continue_other(direction, cx);
        }
    }

    /// True where a message begins with the first byte of an event.
    fn begins_at(&mut self, direction: Direction, data: &[u8]) -> bool {
        let State::Parsing(parser) = &mut self.state else { return false };
        parser.resync(direction, data, true) == Resync::Found(0)
    }

    /// Lets a direction that waits for the progress of `moved` try again, and `moved` after it, for as
    /// long as one helps the other.
    fn continue_other(&mut self, moved: Direction, cx: &mut Context<'_>) {
        let mut turn = moved.reverse();
        while self.lanes[turn.index()].blocked.take().is_some() {
            let before = self.lanes[turn.index()].offset;
            self.resume(turn, cx);
            if self.lanes[turn.index()].offset == before {
                break;
            }
            turn = turn.reverse();
        }
    }

    /// Ends the waiting of a direction for the other, if it does.
    fn unblock(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let State::Parsing(parser) = &mut self.state else { return };
        if self.lanes[direction.index()].blocked.take().is_some() {
            parser.unblock(direction);
            self.resume(direction, cx);
            self.continue_other(direction, cx);
        }
    }

    /// Offers again what was not taken.
    fn resume(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let lane = &mut self.lanes[direction.index()];
        let mut unread = std::mem::take(&mut lane.unread);
        let at_event = lane.at_event;
        let taken = self.run(direction, &unread, at_event, cx);
        unread.drain(..taken);
        // Where what follows was found to be another protocol, its parser may have left some already.
        let lane = &mut self.lanes[direction.index()];
        lane.at_event = at_event && taken == 0;
        unread.append(&mut lane.unread);
        lane.unread = unread;
    }

    /// Feeds the parser until it is stuck. Returns how many bytes it got rid of.
    fn run(&mut self, direction: Direction, data: &[u8], at_event: bool, cx: &mut Context<'_>) -> usize {
        let mut at = 0;
        let mut unblocked = false;
        while at < data.len() {
            let rest = &data[at..];
            let parser = match &mut self.state {
                State::Parsing(parser) => parser,
                State::Switched(name) => {
                    let lane = &mut self.lanes[direction.index()];
                    let range = Range::new(lane.offset, lane.offset + rest.len() as u64);
                    lane.offset = range.to;
                    cx.account(direction, Entry::Skipped(range, Cause::Unsupported, format_args!("{name}")));
                    return data.len();
                }
                State::Detecting(_) => {
                    let offset = self.lanes[direction.index()].offset;
                    self.detect(direction, offset, rest, cx);
                    return data.len();
                }
            };
            let lane = &mut self.lanes[direction.index()];
            if lane.resyncing {
                let (count, found) = match parser.resync(direction, rest, at_event && at == 0) {
                    Resync::Found(count) => (count, true),
                    Resync::Skip(count) => (count, false),
                };
                lane.offset += count as u64;
                lane.resyncing = !found;
                at += count;
                skip_unread(direction, lane.offset, count, cx);
                if !found {
                    break;
                }
                let offset = lane.offset;
                cx.trace(1, "resynced", format_args!("{} goes on at {offset}", direction.name()));
                continue;
            }
            let input = Input { direction, offset: lane.offset, time: lane.arrived, data: rest };
            let progress = parser.feed(input, cx);
            lane.offset += progress.taken as u64;
            at += progress.taken;
            match progress.then {
                Then::More(wanted) => {
                    if progress.taken == 0 {
                        wait(direction, lane.offset, data.len() - at, wanted, cx);
                        break;
                    }
                }
                Then::Other(wanted) => {
                    wait(direction, lane.offset, data.len() - at, wanted, cx);
                    if progress.taken > 0 {
                        unblocked = false;
                    }
                    if unblocked || !self.lanes[direction.reverse().index()].finished {
                        self.lanes[direction.index()].blocked.get_or_insert(cx.time);
                        break;
                    }
                    parser.unblock(direction);
                    unblocked = true;
                }
                Then::Malformed { length, reason } => {
                    let length = length.clamp(1, data.len() - at);
                    let range = Range::new(lane.offset, lane.offset + length as u64);
                    lane.offset = range.to;
                    lane.resyncing = true;
                    at += length;
                    cx.skip(direction, range, Cause::ParseError, format_args!("{reason}"));
                }
                Then::Switched(name) => {
                    cx.trace(1, "switched", format_args!("both directions go on as {name}"));
                    self.switch(direction, name, None, cx);
                    unblocked = false;
                }
                Then::Undeclared(next) => {
                    self.look_again(direction, next, &data[at..], cx);
                    return data.len();
                }
            }
        }
        at
    }

    fn parser(&self, protocol: &Protocol, cx: &Context<'_>) -> Box<dyn Parser + Send> {
        let role = cx.info.open.role;
        (protocol.parser)(protocol::Options { role, ..self.options.protocol })
    }

    /// One message outgrew what may be buffered.
    fn drop_unread(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let lane = &mut self.lanes[direction.index()];
        let length = std::mem::take(&mut lane.unread).len() as u64;
        let range = Range::new(lane.offset, lane.offset + length);
        lane.offset = range.to;
        lane.resyncing = true;
        lane.blocked = None;
        cx.skip(
            direction,
            range,
            Cause::BufferLimit,
            format_args!("a message of more than {UNREAD_LIMIT} bytes"),
        );
    }
}

/// Why what zeros stand for is not shown to a protocol.
pub(super) const REDACTED: &str = "zeros stand for the payload";

/// True where nothing else could give what was seen.
fn is_proven(protocol: &Protocol, verdicts: &[(&'static Protocol, Verdict)]) -> bool {
    let own = verdicts.iter().find(|(of, _)| of.name == protocol.name);
    matches!(own, Some((_, Verdict::Match(100..))))
}

fn wait(direction: Direction, offset: u64, bytes: usize, wanted: &str, cx: &mut Context<'_>) {
    cx.trace(2, "wait", format_args!("{} at {offset}: {bytes} bytes wait for {wanted}", direction.name()));
}

/// Accounts for `count` bytes before `end` that were passed over on the way to the next boundary.
fn skip_unread(direction: Direction, end: u64, count: usize, cx: &mut Context<'_>) {
    let range = Range::new(end - count as u64, end);
    cx.skip(direction, range, Cause::ResyncSkipped, format_args!("on the way to the next message"));
}

fn skip_unknown(detector: &mut Detector, verdicts: &[(&'static Protocol, Verdict)], cx: &mut Context<'_>) {
    for item in detector.give_up() {
        if let Kept::Bytes(direction, offset, data, _) = item {
            let range = Range::new(offset, offset + data.len() as u64);
            cx.skip(direction, range, Cause::ProtocolUnknown, format_args!("{}", Explained(verdicts)));
        }
    }
}
