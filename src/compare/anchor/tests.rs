//! Logs whose place in a flow is known, laid out again by content.

use super::*;
use crate::conn::{Options, Tracker};
use crate::event::{Call, Cause, Close, Range, Role, Start, Task, Total, Vantage};
use crate::ledger::Book;
use proptest::prelude::*;

/// A call of a conversation.
#[derive(Clone, Debug)]
struct Step {
    direction: Direction,
    bytes: Vec<u8>,
    /// Bytes that the log shows of it; `None` where the log lacks it.
    shown: Option<usize>,
}

/// A conversation, and what of it each vantage has.
#[derive(Clone, Debug)]
struct Case {
    steps: Vec<Step>,
    /// The log begins with this step, the flow with that one.
    log_from: usize,
    flow_from: usize,
    /// The log knows the addresses.
    named: bool,
}

const CLIENT: &str = "192.0.2.1:4000";
const SERVER: &str = "192.0.2.2:80";
const LOG: ConnId = ConnId { socket: 7, opened: 1 };
const FLOW: ConnId = ConnId { socket: 1, opened: 0 };
const SEQ: [u32; 2] = [u32::MAX - 100, 5000];

fn event(conn: ConnId, time: u64, kind: Kind<'_>) -> Event<'_> {
    let task = (conn == LOG).then_some(Task { pid: 9, tid: 9, ..Task::default() });
    Event { time: Timestamp(time), conn, task, fd: None, kind }
}

fn open(opened: Opened, named: bool, start: [Start; 2], role: Role) -> Kind<'static> {
    let [local, remote] = [CLIENT, SERVER].map(|end| named.then(|| end.parse().unwrap()));
    let exact = opened == Opened::Fresh;
    Kind::Open(Open { opened, local, remote, start, role, exact, ..Open::default() })
}

fn close(reason: CloseReason, moved: [u64; 2]) -> Kind<'static> {
    let totals = moved.map(|moved| Total { moved, ..Total::default() });
    Kind::Close(Close { reason, call: None, totals })
}

fn data(direction: Direction, offset: u64, bytes: &[u8], shown: usize) -> Kind<'_> {
    let payload = &bytes[..shown.min(bytes.len())];
    let cause = (payload.len() < bytes.len()).then_some(Cause::StraceStringLimit);
    Kind::Data(Data {
        direction,
        offset,
        length: bytes.len() as u64,
        payload,
        tcp_seq: None,
        peer: None,
        call: Call::Write,
        cause,
        peek: false,
        past_tcp: false,
        acked: None,
        error: None,
    })
}

impl Case {
    fn log(&self) -> Vec<Event<'_>> {
        let fresh = self.log_from == 0;
        let opened = if fresh { Opened::Fresh } else { Opened::Found };
        let role = if fresh { Role::Client } else { Role::Unknown };
        let mut events = vec![event(LOG, 1, open(opened, self.named, [Start::default(); 2], role))];
        let mut next = [0; 2];
        for (number, step) in self.steps.iter().enumerate().skip(self.log_from) {
            if let Some(shown) = step.shown {
                let index = step.direction.index();
                events.push(event(
                    LOG,
                    2 + number as u64,
                    data(step.direction, next[index], &step.bytes, shown),
                ));
                next[index] += step.bytes.len() as u64;
            }
        }
        events.push(event(LOG, 1000, close(CloseReason::Closed, next)));
        events
    }

    /// Segments of `size` bytes.
    fn flow(&self, size: usize) -> Vec<Event<'_>> {
        let skipped = self.lengths(self.flow_from);
        let opened = if self.flow_from == 0 { Opened::Fresh } else { Opened::Found };
        let start = [0, 1]
            .map(|index| Start { offset: 0, seq: Some(SEQ[index].wrapping_add(skipped[index] as u32)) });
        let mut events = vec![event(FLOW, 1, open(opened, true, start, Role::Client))];
        let mut next = [0; 2];
        for (number, step) in self.steps.iter().enumerate().skip(self.flow_from) {
            for segment in step.bytes.chunks(size) {
                let index = step.direction.index();
                let kind = data(step.direction, next[index], segment, segment.len());
                events.push(event(FLOW, 2 + number as u64, kind));
                next[index] += segment.len() as u64;
            }
        }
        events.push(event(FLOW, 1000, close(CloseReason::Fin, next)));
        events
    }

    /// Bytes of either direction in the steps before this one.
    fn lengths(&self, step: usize) -> [u64; 2] {
        let mut lengths = [0; 2];
        self.steps[..step].iter().for_each(|step| lengths[step.direction.index()] += step.bytes.len() as u64);
        lengths
    }

    /// What the log lacks from its beginning on: in the offsets of the connection, or of the flow where that begins
    /// later than the log.
    fn truth(&self, direction: Direction) -> Vec<(Range, Cause)> {
        let mut lost: Vec<(Range, Cause)> = Vec::new();
        let mut at = 0;
        for (number, step) in self.steps.iter().enumerate() {
            if step.direction != direction {
                continue;
            }
            let (from, to) = (at, at + step.bytes.len() as u64);
            at = to;
            if number < self.log_from {
                continue;
            }
            let (from, cause) = match step.shown {
                None => (from, Cause::UntracedSyscall),
                Some(shown) => (from + (shown as u64).min(to - from), Cause::StraceStringLimit),
            };
            match lost.last_mut() {
                Some(last) if last.0.to == from && last.1 == cause => last.0.to = to,
                _ if from < to => lost.push((Range::new(from, to), cause)),
                _ => {}
            }
        }
        lost
    }
}

fn book<'a>(vantage: Vantage, events: impl Iterator<Item = Event<'a>>) -> Vec<Ledger> {
    let mut tracker = Tracker::new(vantage, Options::default(), Book::default());
    events.for_each(|event| tracker.event(&event));
    tracker.finish().into_ledgers()
}

/// Anchors the log by the flow and gives its ledger, after the passes that `cmd::anchored` makes over files.
fn anchored(case: &Case, size: usize) -> Ledger {
    let (log, flow) = (case.log(), case.flow(size));
    let mut outline = Outline::default();
    log.iter().for_each(|event| outline.event(event));
    let mut finder = Finder::new(outline);
    flow.iter().for_each(|event| finder.event(event));
    let ledgers = book(Vantage::Strace, log.iter().cloned());
    let flows = book(Vantage::Wire, flow.iter().cloned());
    let mut anchors = Anchors::new(&ledgers, &flows, &finder.hits(), false);
    let mut calls = Calls::new(anchors.vague());
    log.iter().for_each(|event| calls.event(event));
    let mut matcher = anchors.matcher(calls);
    flow.iter().for_each(|event| matcher.event(event));
    anchors.learn(matcher);
    let events: Vec<_> = log.iter().map(|event| anchors.apply(event)).collect();
    book(Vantage::Strace, events.into_iter()).remove(0)
}

/// Bytes that come once, so that their place tells itself.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 32) as u8
    };
    (0..length).map(|_| next(&mut state)).collect()
}

fn check(case: &Case, size: usize) {
    let ledger = anchored(case, size);
    for direction in Direction::BOTH {
        let index = direction.index();
        let begun = case.lengths(case.log_from)[index];
        let (start, account) = (ledger.info.open.start[index], &ledger.accounts[index]);
        assert_eq!(
            (start.offset, start.seq),
            (begun, Some(SEQ[index].wrapping_add(begun as u32))),
            "{case:?}"
        );
        let mut lost: Vec<(Range, Cause)> = Vec::new();
        for stopped in &account.lost {
            match lost.last_mut() {
                Some(last) if last.0.to == stopped.range.from && last.1 == stopped.cause => {
                    last.0.to = stopped.range.to
                }
                _ => lost.push((stopped.range, stopped.cause)),
            }
        }
        assert_eq!(lost, case.truth(direction), "{direction:?} {case:?}");
    }
    assert_eq!(ledger.info.open.remote, Some(SERVER.parse().unwrap()));
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<bool>(), 16usize..200, prop::option::weighted(0.8, 12usize..300));
    prop::collection::vec(step, 6..40).prop_map(|steps| {
        let numbered = steps.into_iter().enumerate();
        let step = |(number, (send, length, shown)): (usize, (bool, usize, Option<usize>))| {
            let direction = if send { Direction::Send } else { Direction::Recv };
            Step { direction, bytes: bytes(number as u64 + 1, length), shown }
        };
        numbered.map(step).collect()
    })
}

proptest! {
    /// A log that has the connection from its first byte on, and lacks any of its calls.
    #[test]
    fn calls_that_a_log_lacks_are_found(steps in steps(), size in 1usize..300) {
        check(&Case { steps, log_from: 0, flow_from: 0, named: true }, size);
    }

    /// A log that begins in the middle, and has every call from there on.
    #[test]
    fn a_log_that_begins_in_the_middle_finds_its_place(
        mut steps in steps(), from in 1usize..3, size in 1usize..300, named in any::<bool>()
    ) {
        steps.iter_mut().for_each(|step| step.shown = Some(step.shown.unwrap_or(20)));
        // Each direction has bytes behind the beginning that can be recognised.
        for (direction, seed) in [(Direction::Send, 1001), (Direction::Recv, 1002)] {
            steps.push(Step { direction, bytes: bytes(seed, 100), shown: Some(64) });
        }
        check(&Case { steps, log_from: from, flow_from: 0, named }, size);
    }
}

#[test]
fn a_flow_that_begins_later_than_the_log_has_its_sequence_numbers_behind() {
    let step = |direction, seed, length| Step { direction, bytes: bytes(seed, length), shown: Some(64) };
    let (send, recv) = (Direction::Send, Direction::Recv);
    let steps = vec![step(send, 1, 100), step(recv, 2, 70), step(send, 3, 120), step(recv, 4, 90)];
    check(&Case { steps, log_from: 0, flow_from: 2, named: true }, 50);
}

#[test]
fn of_equal_messages_the_last_is_taken_for_the_missing_one() {
    let request = |shown| Step { direction: Direction::Send, bytes: bytes(1, 40), shown };
    let steps = vec![request(Some(40)), request(None), request(Some(40))];
    let lost = &anchored(&Case { steps, log_from: 0, flow_from: 0, named: true }, 40).accounts[0].lost;
    // A known wrong result: content does not tell that it was the second.
    let ranges: Vec<_> = lost.iter().map(|lost| (lost.range, lost.cause)).collect();
    assert_eq!(ranges, [(Range::new(80, 120), Cause::UntracedSyscall)]);
}
