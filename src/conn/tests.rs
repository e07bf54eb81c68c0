//! The tracker under random cuts, holes, order and garbage, with a protocol of lines: `?` asks, `!`
//! answers. Whatever is fed, every byte is accounted for once at each stage.

use super::*;
use crate::event::{Call, Close, CloseReason, Loss, Range, Total};
use crate::protocol::{AfterGap, Gap, Input, Output, Parser, Progress, Resync, Sample, Then, Verdict};
use crate::record::{Message, Status};
use proptest::prelude::*;
use std::collections::VecDeque;

static LINES: Protocol = Protocol {
    name: "lines",
    detect,
    parser: |_| Box::new(Lines::default()),
    datagrams: None,
    endpoint: crate::protocol::endpoint::of_summary,
    keep_alives: &[],
};
static PROTOCOLS: &[&Protocol] = &[&LINES];

/// Takes any first question for its own, and then knows only questions with an x in them.
static HASTY: Protocol = Protocol {
    name: "hasty",
    detect: |_| Verdict::Match(95),
    parser: |_| Box::new(Hasty(Lines::default())),
    datagrams: None,
    endpoint: crate::protocol::endpoint::of_summary,
    keep_alives: &[],
};

/// The protocol of lines, which is less sure of itself.
static MODEST: Protocol = Protocol { name: "modest", detect: |_| Verdict::Match(90), ..LINES_ROW };

const LINES_ROW: Protocol = Protocol {
    name: "lines",
    detect,
    parser: |_| Box::new(Lines::default()),
    datagrams: None,
    endpoint: crate::protocol::endpoint::of_summary,
    keep_alives: &[],
};

fn detect(sample: &Sample<'_>) -> Verdict {
    let mut all = sample.data.iter().flat_map(|data| data.iter());
    match all.any(|byte| b"?!".contains(byte)) {
        true => Verdict::Match(100),
        false => Verdict::Maybe("a line"),
    }
}

#[derive(Default)]
struct Lines {
    asked: VecDeque<Message>,
    unblocked: bool,
}

impl Parser for Lines {
    fn feed(&mut self, input: Input<'_>, out: &mut dyn Output) -> Progress {
        let Some(end) = input.data.iter().position(|&byte| byte == b'\n') else {
            return Progress { taken: 0, then: Then::More("the end of the line") };
        };
        let range = Range::new(input.offset, input.offset + end as u64 + 1);
        let message = Message {
            direction: input.direction,
            range,
            parts: Vec::new(),
            started: input.time,
            ended: input.time,
            fields: Vec::new(),
            causes: Vec::new(),
        };
        let (request, response) = match input.data[0] {
            b'?' => {
                out.frame(input.direction, range, format_args!("question"));
                self.asked.push_back(message);
                return Progress { taken: end + 1, then: Then::More("a line") };
            }
            b'!' => match self.asked.pop_front() {
                Some(request) => (Some(request), Some(message)),
                None if self.unblocked => (None, Some(message)),
                None => return Progress { taken: 0, then: Then::Other("its question") },
            },
            _ => {
                let reason = "neither ? nor !".to_owned();
                return Progress { taken: 0, then: Then::Malformed { length: end + 1, reason } };
            }
        };
        self.unblocked = false;
        out.frame(input.direction, range, format_args!("answer"));
        let status = if request.is_some() { Status::Complete } else { Status::NoRequest };
        out.record(Record { protocol: "lines", status, summary: String::new(), request, response });
        Progress { taken: end + 1, then: Then::More("a line") }
    }

    fn gap(&mut self, gap: Gap<'_>, out: &mut dyn Output) -> AfterGap {
        let range = Range::new(gap.range.from - gap.unread.len() as u64, gap.range.from);
        out.skip(gap.direction, range, Cause::ResyncSkipped, format_args!("cut by a gap"));
        AfterGap::Resync
    }

    fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
        if at_event && b"?!".contains(&data[0]) {
            return Resync::Found(0);
        }
        match data.windows(2).position(|pair| pair[0] == b'\n' && b"?!".contains(&pair[1])) {
            Some(at) => Resync::Found(at + 1),
            None => Resync::Skip(data.len() - 1),
        }
    }

    fn finish(&mut self, rest: Input<'_>, _: End, out: &mut dyn Output) {
        let range = Range::new(rest.offset, rest.offset + rest.data.len() as u64);
        out.skip(rest.direction, range, Cause::Incomplete, format_args!("ends inside a line"));
    }

    fn unblock(&mut self, _: Direction) {
        self.unblocked = true;
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        for request in self.asked.drain(..) {
            let request = Some(request);
            let summary = String::new();
            out.record(Record {
                protocol: "lines",
                status: Status::NoResponse,
                summary,
                request,
                response: None,
            });
        }
    }
}

struct Hasty(Lines);

impl Parser for Hasty {
    fn feed(&mut self, input: Input<'_>, out: &mut dyn Output) -> Progress {
        match input.data.iter().position(|&byte| byte == b'\n') {
            Some(end) if !input.data[..end].contains(&b'x') => {
                let then = Then::Malformed { length: end + 1, reason: "no x".to_owned() };
                Progress { taken: 0, then }
            }
            _ => self.0.feed(input, out),
        }
    }

    fn gap(&mut self, gap: Gap<'_>, out: &mut dyn Output) -> AfterGap {
        self.0.gap(gap, out)
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        self.0.resync(direction, data, at_event)
    }

    fn finish(&mut self, rest: Input<'_>, end: End, out: &mut dyn Output) {
        self.0.finish(rest, end, out);
    }

    fn unblock(&mut self, direction: Direction) {
        self.0.unblock(direction);
    }

    fn close(&mut self, end: End, time: Timestamp, out: &mut dyn Output) {
        self.0.close(end, time, out);
    }
}

/// Writes down what the tracker says, byte by byte.
#[derive(Default)]
struct Notes {
    /// Of each offset: delivered, lost, framed, skipped.
    bytes: [Vec<[Option<Cause>; 2]>; 2],
    delivered: [Vec<bool>; 2],
    framed: [Vec<bool>; 2],
    records: Vec<(Status, u64)>,
}

impl Notes {
    fn cover<T: Clone + Default>(table: &mut Vec<T>, range: Range) -> &mut [T] {
        let end = range.to as usize;
        if table.len() < end {
            table.resize(end, T::default());
        }
        &mut table[range.from as usize..end]
    }
}

impl Observer for Notes {
    fn record(&mut self, _: &Info, _: Timestamp, record: Record) {
        let from = record.messages().map(|message| message.range.from).last();
        self.records.push((record.status, from.unwrap_or(0)));
    }

    fn account(&mut self, _: &Info, direction: Direction, entry: Entry<'_>) {
        let index = direction.index();
        match entry {
            Entry::Delivered(range) => {
                for delivered in Notes::cover(&mut self.delivered[index], range) {
                    assert!(!std::mem::replace(delivered, true), "delivered twice");
                }
            }
            Entry::Lost(range, cause) => {
                for causes in Notes::cover(&mut self.bytes[index], range) {
                    assert_eq!(causes[0].replace(cause), None, "lost twice");
                }
            }
            Entry::PastTcp(_) => {}
            Entry::Framed(range) => {
                for framed in Notes::cover(&mut self.framed[index], range) {
                    assert!(!std::mem::replace(framed, true), "framed twice");
                }
            }
            Entry::Skipped(range, cause, _) => {
                for causes in Notes::cover(&mut self.bytes[index], range) {
                    assert_eq!(causes[1].replace(cause), None, "skipped twice");
                }
            }
        }
    }
}

/// One event of a test: direction, offset, bytes; or a loss where there are no bytes but a length.
type Step = (Direction, u64, Vec<u8>, u64);

const CONN: ConnId = ConnId { socket: 1, opened: 1 };

fn event(kind: Kind<'_>) -> Event<'_> {
    Event { time: Timestamp(5), conn: CONN, task: None, fd: Some(3), kind }
}

/// Feeds the steps, closes, and proves that the account of each direction is whole.
fn check(vantage: Vantage, steps: &[Step], lengths: [usize; 2]) -> Notes {
    check_with(PROTOCOLS, vantage, steps, lengths)
}

/// Bytes of a packet.
pub(super) fn data(direction: Direction, offset: u64, payload: &[u8]) -> Data<'_> {
    let length = payload.len() as u64;
    let (tcp_seq, peer, cause, error) = Default::default();
    Data {
        direction,
        offset,
        length,
        payload,
        tcp_seq,
        peer,
        call: Call::Packet,
        cause,
        peek: false,
        past_tcp: false,
        acked: None,
        error,
    }
}

fn check_with(
    protocols: &'static [&'static Protocol],
    vantage: Vantage,
    steps: &[Step],
    lengths: [usize; 2],
) -> Notes {
    let options = Options { protocols, ..Options::default() };
    let mut tracker = Tracker::new(vantage, options, Notes::default());
    tracker.event(&event(Kind::Open(Open { exact: true, ..Open::default() })));
    for (direction, offset, bytes, lost) in steps {
        let (direction, offset) = (*direction, *offset);
        if *lost > 0 {
            let range = Range::new(offset, offset + lost);
            tracker.event(&event(Kind::Loss(Loss { direction, range, cause: Cause::RingFull })));
            continue;
        }
        tracker.event(&event(Kind::Data(data(direction, offset, bytes))));
    }
    let totals = lengths.map(|end| Total { end: Some(end as u64), ..Total::default() });
    tracker.event(&event(Kind::Close(Close { reason: CloseReason::Closed, call: None, totals })));
    let mut notes = tracker.finish();
    for (index, &length) in lengths.iter().enumerate() {
        let whole = Range::new(0, length as u64);
        Notes::cover(&mut notes.bytes[index], whole);
        Notes::cover(&mut notes.delivered[index], whole);
        Notes::cover(&mut notes.framed[index], whole);
        assert_eq!(notes.bytes[index].len(), length, "nothing is accounted for beyond the end");
        for (offset, &[lost, skipped]) in notes.bytes[index].iter().enumerate() {
            let (delivered, framed) = (notes.delivered[index][offset], notes.framed[index][offset]);
            assert!(delivered != lost.is_some(), "{offset}: delivered or lost, {delivered} {lost:?}");
            if delivered {
                assert!(framed != skipped.is_some(), "{offset}: framed or skipped, {framed} {skipped:?}");
            }
        }
    }
    notes
}

/// Questions and answers of different lengths.
fn dialogue(turns: usize) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    for turn in 0..turns {
        streams[0].extend(format!("?{}\n", "q".repeat(turn % 7)).bytes());
        streams[1].extend(format!("!{}\n", "a".repeat(turn % 5)).bytes());
    }
    streams
}

fn step(direction: Direction, offset: usize, bytes: &[u8]) -> Step {
    (direction, offset as u64, bytes.to_vec(), 0)
}

fn complete(notes: &Notes) -> usize {
    notes.records.iter().filter(|(status, _)| *status == Status::Complete).count()
}

/// Cuts each stream at the given places and deals the parts out in turn, keeping each stream's order.
fn cut(streams: &[Vec<u8>; 2], cuts: &[usize]) -> Vec<Step> {
    let mut parts: [VecDeque<Step>; 2] = Default::default();
    for direction in Direction::BOTH {
        let stream = &streams[direction.index()];
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        at.dedup();
        let pairs = at.windows(2).map(|pair| step(direction, pair[0], &stream[pair[0]..pair[1]]));
        parts[direction.index()] = pairs.collect();
    }
    let mut steps = Vec::new();
    while parts.iter().any(|queue| !queue.is_empty()) {
        steps.extend(parts.iter_mut().filter_map(VecDeque::pop_front));
    }
    steps
}

#[test]
fn an_answer_waits_for_its_late_question() {
    let [questions, answers] = dialogue(1);
    let steps = [step(Direction::Recv, 0, &answers), step(Direction::Send, 0, &questions)];
    assert_eq!(complete(&check(Vantage::Wire, &steps, [2, 2])), 1);
}

#[test]
fn a_jump_of_the_offset_is_an_untraced_call() {
    let steps = [step(Direction::Send, 0, b"?a\n"), step(Direction::Send, 10, b"?b\n")];
    let notes = check(Vantage::Syscall, &steps, [13, 0]);
    assert!(notes.bytes[0][3..10].iter().all(|causes| causes[0] == Some(Cause::UntracedSyscall)));
    assert_eq!(notes.records.len(), 2);
}

#[test]
fn garbage_is_named_and_passed_over() {
    let steps = [step(Direction::Send, 0, b"?a\nxx\nyy\n?b\n")];
    let notes = check(Vantage::Syscall, &steps, [12, 0]);
    assert!(notes.bytes[0][3..6].iter().all(|causes| causes[1] == Some(Cause::ParseError)));
    assert!(notes.bytes[0][6..9].iter().all(|causes| causes[1] == Some(Cause::ResyncSkipped)));
}

#[test]
fn a_wrong_guess_is_corrected_from_the_first_byte_on() {
    static BOTH: &[&Protocol] = &[&HASTY, &MODEST];
    let streams = [b"?x\n?b\n?c\n".to_vec(), b"!1\n!2\n!3\n".to_vec()];
    // In one direction after the other, so that what is refuted has said something before.
    let steps = [step(Direction::Send, 0, &streams[0]), step(Direction::Recv, 0, &streams[1])];
    let notes = check_with(BOTH, Vantage::Syscall, &steps, [9, 9]);
    assert_eq!(complete(&notes), 3);
    assert!(notes.bytes.iter().flatten().all(|causes| *causes == [None, None]));
}

#[test]
fn a_guess_that_nobody_else_would_make_stays() {
    static ALONE: &[&Protocol] = &[&HASTY];
    let steps = [step(Direction::Send, 0, b"?b\n?x\n?x\n")];
    let notes = check_with(ALONE, Vantage::Syscall, &steps, [9, 0]);
    assert!(notes.bytes[0][..3].iter().all(|causes| causes[1] == Some(Cause::ParseError)));
    assert_eq!(notes.records, [(Status::NoResponse, 6)]);
}

#[test]
fn a_guess_is_on_trial_only_until_a_record_is_whole() {
    static BOTH: &[&Protocol] = &[&HASTY, &MODEST];
    let steps = [
        step(Direction::Send, 0, b"?x\n"),
        step(Direction::Recv, 0, b"!x\n"),
        step(Direction::Send, 3, b"?b\n"),
    ];
    let notes = check_with(BOTH, Vantage::Syscall, &steps, [6, 3]);
    assert_eq!(complete(&notes), 1);
    assert!(notes.bytes[0][3..].iter().all(|causes| causes[1] == Some(Cause::ParseError)));
}

#[test]
fn datagrams_are_judged_one_by_one() {
    struct Echo;
    impl Parser for Echo {
        fn datagram(&mut self, datagram: protocol::Datagram<'_>, out: &mut dyn Output) {
            out.frame(datagram.direction, datagram.range, format_args!("echo"));
        }
        fn feed(&mut self, _: Input<'_>, _: &mut dyn Output) -> Progress {
            unreachable!("a stream")
        }
        fn gap(&mut self, _: Gap<'_>, _: &mut dyn Output) -> AfterGap {
            unreachable!("a stream")
        }
        fn resync(&mut self, _: Direction, _: &[u8], _: bool) -> Resync {
            unreachable!("a stream")
        }
        fn finish(&mut self, _: Input<'_>, _: End, _: &mut dyn Output) {}
        fn unblock(&mut self, _: Direction) {}
        fn close(&mut self, _: End, _: Timestamp, _: &mut dyn Output) {}
    }
    static ECHO: Protocol = Protocol {
        name: "echo",
        detect: |_| Verdict::No("datagrams only"),
        parser: |_| Box::new(Echo),
        datagrams: Some(|datagram| match datagram.data.starts_with(b"e") {
            true => Verdict::Match(100),
            false => Verdict::No("no e"),
        }),
        endpoint: crate::protocol::endpoint::of_summary,
        keep_alives: &[],
    };
    static PROTOCOLS: &[&Protocol] = &[&LINES, &ECHO];
    let options = Options { protocols: PROTOCOLS, ..Options::default() };
    let mut tracker = Tracker::new(Vantage::Syscall, options, Notes::default());
    let open = Open { exact: true, transport: crate::event::Transport::Udp, ..Open::default() };
    tracker.event(&event(Kind::Open(open)));
    let mut datagram = |offset, payload: &[u8], length| {
        let cause = (length > payload.len() as u64).then_some(Cause::Snaplen);
        tracker.event(&event(Kind::Data(Data { length, cause, ..data(Direction::Send, offset, payload) })));
    };
    datagram(0, b"eee", 3);
    datagram(3, b"", 0);
    datagram(3, b"?ab", 3);
    datagram(6, b"e", 3);
    datagram(11, b"e", 1);
    let notes = tracker.finish();
    let causes = &notes.bytes[0];
    assert_eq!(
        notes.framed[0],
        [true, true, true, false, false, false, true, true, true, false, false, true]
    );
    assert!(causes[3..6].iter().all(|causes| *causes == [None, Some(Cause::ProtocolUnknown)]));
    assert!(causes[7..9].iter().all(|causes| *causes == [Some(Cause::Snaplen), None]));
    assert!(causes[9..11].iter().all(|causes| *causes == [Some(Cause::UntracedSyscall), None]));
}

#[test]
fn what_nobody_recognises_is_unknown() {
    let steps = [step(Direction::Send, 0, b"hello\n")];
    let notes = check(Vantage::Syscall, &steps, [6, 0]);
    assert!(notes.bytes[0].iter().all(|causes| causes[1] == Some(Cause::ProtocolUnknown)));
}

#[test]
fn what_nobody_recognises_is_not_kept_for_ever() {
    let block = vec![b'x'; 64 << 10];
    let mut steps: Vec<Step> =
        (0..10).map(|index| step(Direction::Send, index * block.len(), &block)).collect();
    steps.push(step(Direction::Send, 10 * block.len(), b"?late\n"));
    let notes = check(Vantage::Syscall, &steps, [10 * block.len() + 6, 0]);
    assert_eq!(notes.records.len(), 1, "a later event that is sure is still recognised");
}

proptest! {
    #[test]
    fn cuts_change_nothing(turns in 1usize..40, cuts in prop::collection::vec(0usize..400, 0..30)) {
        let streams = dialogue(turns);
        let lengths = [streams[0].len(), streams[1].len()];
        for vantage in [Vantage::Wire, Vantage::Syscall] {
            prop_assert_eq!(complete(&check(vantage, &cut(&streams, &cuts), lengths)), turns);
        }
    }

    #[test]
    fn packets_may_come_in_any_order_and_twice(
        turns in 1usize..20,
        cuts in prop::collection::vec(0usize..200, 0..20),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let streams = dialogue(turns);
        let lengths = [streams[0].len(), streams[1].len()];
        let mut steps = cut(&streams, &cuts);
        for index in order {
            let step = index.get(&steps).clone();
            let at = index.index(steps.len());
            steps.insert(at, step.clone());
            let other = (at * 7 + 3) % steps.len();
            steps.swap(at, other);
        }
        let notes = check(Vantage::Wire, &steps, lengths);
        prop_assert!(notes.records.iter().all(|(status, _)| *status == Status::Complete));
        prop_assert_eq!(notes.records.len(), turns);
    }

    #[test]
    fn holes_and_garbage_leave_the_account_whole(
        turns in 1usize..20,
        cuts in prop::collection::vec(0usize..200, 1..20),
        faults in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3), 1..8),
    ) {
        let streams = dialogue(turns);
        let lengths = [streams[0].len(), streams[1].len()];
        for vantage in [Vantage::Wire, Vantage::Syscall] {
            let mut steps = cut(&streams, &cuts);
            for (index, fault) in &faults {
                let at = index.index(steps.len());
                let (direction, offset, bytes, lost) = steps[at].clone();
                match fault {
                    0 if bytes.len() > 1 => steps[at].2.fill(b'x'),
                    1 if !bytes.is_empty() => steps[at] = (direction, offset, Vec::new(), bytes.len() as u64),
                    _ if lost == 0 && steps.len() > 1 => drop(steps.remove(at)),
                    _ => {}
                }
            }
            check(vantage, &steps, lengths);
        }
    }
}
