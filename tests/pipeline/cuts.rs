//! Every fixture, made by real peers, fed to the tracker again in random cuts and with each event lost:
//! the same records, or a stated gap; and every byte has its place in the ledger.

use crate::common::random::Random;
use crate::common::trace::{Data, Seen, What, require_bpf};
use crate::http::{chunking_asked_three, nginx_asked_twenty};
use crate::redis::redis_spoken_to;
use sockdbg::conn::{Entry, Info, Observer, Options, Tracker};
use sockdbg::event::{Cause, Close, ConnId, Direction, Loss, Range, Timestamp, Vantage};
use sockdbg::ledger::Book;
use sockdbg::protocol::{self, End};
use sockdbg::record::{Message, Record, Status};
use sockdbg::source::{Source, recording::Recording};
use std::ops::ControlFlow;
use std::path::Path;

/// Events of a recording.
fn events(recording: &Path) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut source = Recording::open(recording).expect("a recording");
    let summary = source.run(&mut |event| {
        seen.push(Seen::new(event));
        ControlFlow::Continue(())
    });
    assert_eq!(summary.expect("readable").cut, None);
    seen
}

/// Keeps every record, beside the book.
#[derive(Default)]
struct Notes {
    book: Book,
    records: Vec<(ConnId, Record)>,
}

impl Observer for Notes {
    fn record(&mut self, info: &Info, time: Timestamp, record: Record) {
        self.records.push((info.id, record.clone()));
        self.book.record(info, time, record);
    }

    fn account(&mut self, info: &Info, direction: Direction, entry: Entry<'_>) {
        self.book.account(info, direction, entry);
    }

    fn closed(&mut self, info: &Info, end: End, close: Option<&Close>) {
        self.book.closed(info, end, close);
    }
}

/// Runs events through a tracker. Every byte that moved has to be in the ledger: delivered or lost, and
/// what was delivered framed or skipped, and what was framed in a record.
fn track(events: &[Seen]) -> Vec<(ConnId, Record)> {
    let protocol = protocol::Options { max_field: 4096, ..protocol::Options::default() };
    let options = Options { protocol, ..Options::default() };
    let mut tracker = Tracker::new(Vantage::Syscall, options, Notes::default());
    for seen in events {
        tracker.event(&seen.event());
    }
    let Notes { book, records } = tracker.finish();
    for ledger in book.into_ledgers() {
        for direction in [Direction::Send, Direction::Recv] {
            let (account, stages) =
                (&ledger.accounts[direction.index()], ledger.accounts[direction.index()].stages());
            assert_eq!(stages.residual(), 0, "{account:#?}");
            let lost: u64 = account.lost.iter().map(|lost| lost.range.len()).sum();
            assert_eq!(stages.delivered + lost, moved(events, ledger.info.id, direction), "{account:#?}");
        }
    }
    records
}

/// Bytes that events tell of.
fn moved(events: &[Seen], conn: ConnId, direction: Direction) -> u64 {
    let ranges = events.iter().filter(|seen| seen.conn == conn).filter_map(|seen| match &seen.what {
        What::Data(data) if data.direction == direction => Some(data.range),
        What::Loss(loss) if loss.direction == direction => Some(loss.range),
        _ => None,
    });
    ranges.map(Range::len).sum()
}

/// The event as several, cut at random, often near its ends.
fn cut(seen: &Seen, random: &mut Random) -> Vec<Seen> {
    let What::Data(data) = &seen.what else { return vec![seen.clone()] };
    let (mut rest, mut parts) = (data.clone(), Vec::new());
    while rest.payload.len() > 1 && random.below(4) > 0 {
        let longest = rest.payload.len() - 1;
        let bound = if random.below(2) == 0 { longest.min(20) } else { longest };
        let at = 1 + random.below(bound);
        parts.push(Seen { what: What::Data(first(&mut rest, at)), ..seen.clone() });
    }
    parts.push(Seen { what: What::Data(rest), ..seen.clone() });
    parts
}

/// Takes the first bytes out of `rest`.
fn first(rest: &mut Data, count: usize) -> Data {
    let behind = rest.payload.split_off(count);
    let middle = rest.range.from + count as u64;
    let part = Data { range: Range::new(rest.range.from, middle), ..rest.clone() };
    rest.range.from = middle;
    rest.payload = behind;
    rest.tcp_seq = rest.tcp_seq.map(|seq| seq.wrapping_add(count as u32));
    part
}

/// Cuts each event, many times over.
fn check_cuts(events: &[Seen], rounds: u64) {
    let truth = track(events);
    for seed in 1..=rounds {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let parts: Vec<Seen> = events.iter().flat_map(|seen| cut(seen, &mut random)).collect();
        assert!(track(&parts) == truth, "other records with seed {seed}");
    }
}

/// True where a record made after a loss says nothing else than `truth`, only less: the same if it claims to
/// be complete, else messages of the same record, each cut out of where it was.
fn agrees(record: &Record, truth: &Record) -> bool {
    let within = |part: &Option<Message>, whole: &Option<Message>| match (part, whole) {
        (Some(part), Some(whole)) => {
            whole.range.intersection(part.range) == Some(part.range)
                && (!part.causes.is_empty() || part.range == whole.range)
        }
        (part, _) => part.is_none(),
    };
    match record.status {
        Status::Complete => record == truth,
        _ => within(&record.request, &truth.request) && within(&record.response, &truth.response),
    }
}

/// Loses each event in turn.
fn check_holes(events: &[Seen]) {
    let truth = track(events);
    let is_data = |seen: &Seen| matches!(&seen.what, What::Data(data) if !data.range.is_empty());
    for at in (0..events.len()).filter(|&at| is_data(&events[at])) {
        let mut events = events.to_vec();
        let What::Data(data) = &events[at].what else { unreachable!("just looked") };
        let loss = Loss { direction: data.direction, range: data.range, cause: Cause::RingFull };
        events[at].what = What::Loss(loss.clone());
        let left = track(&events);
        for (conn, record) in &left {
            let mut same = truth.iter().filter(|one| one.0 == *conn).map(|one| &one.1);
            assert!(same.any(|one| agrees(record, one)), "without {loss:?}: {record:#?}");
        }
        let whole = left.iter().filter(|(_, record)| record.status == Status::Complete).count();
        assert!(whole < truth.len(), "without {loss:?} nothing is missing");
    }
}

#[test]
fn nginx_cut_and_with_holes() {
    if !require_bpf() {
        return;
    }
    let events = events(&nginx_asked_twenty().0.recording);
    assert_eq!(track(&events).len(), 20);
    check_cuts(&events, 5);
    check_holes(&events);
}

#[test]
fn chunks_and_gzip_cut_and_with_holes() {
    if !require_bpf() {
        return;
    }
    let events = events(&chunking_asked_three().0.recording);
    assert_eq!(track(&events).len(), 3);
    check_cuts(&events, 300);
    check_holes(&events);
}

#[test]
fn redis_cut_and_with_holes() {
    if !require_bpf() {
        return;
    }
    let events = events(&redis_spoken_to().0.recording);
    assert_eq!(track(&events).len(), 12);
    check_cuts(&events, 300);
    check_holes(&events);
}
