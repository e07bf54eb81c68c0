//! The double-entry ledger: for each connection and direction, which bytes reached which stage, and the
//! cause for each range that stopped on the way.
//!
//! A [`Book`] is an [`Observer`]: it writes down what a tracker tells and judges nothing. Comparing the
//! books of two vantages is the business of [`crate::compare`].

pub mod catalogue;
#[cfg(test)]
mod conservation;
mod digest;
mod prints;
mod ranges;
mod timeline;

pub use digest::{Differences, Digest};
pub use prints::{HEAD, Print, Prints};
pub use ranges::RangeSet;
pub use timeline::Timeline;

use crate::conn::{Entry, Info, Observer};
use crate::event::{Cause, Close, ConnId, Direction, Range, Stage, Timestamp, Transport};
use crate::protocol::{Datagram, End};
use crate::record::{Message, Record, Status};
use prints::PRINTS_MAX;
use rustc_hash::FxHashMap;

/// A range of bytes that stopped at the stage of `cause`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Which bytes.
    pub range: Range,
    /// Why.
    pub cause: Cause,
    /// What is known beyond the cause; may be empty.
    pub detail: String,
}

/// The account of one direction.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Bytes whose payload arrived in the stream.
    pub delivered: RangeSet,
    /// Bytes that moved and never arrived, by cause; sorted, disjoint from `delivered`.
    pub lost: Vec<Stopped>,
    /// Delivered bytes that became part of a frame, of a message cut short those aside.
    pub framed: RangeSet,
    /// Delivered bytes that belong to no whole frame; sorted.
    pub skipped: Vec<Stopped>,
    /// Framed bytes that became part of a whole or truncated record.
    pub recorded: RangeSet,
    /// Framed bytes whose record lacks its other half.
    pub unpaired: Vec<Stopped>,
    /// Bytes that moved without a packet, see [`crate::event::Data::past_tcp`].
    pub past_tcp: RangeSet,
    /// When its bytes moved.
    pub timeline: Timeline,
    /// Of the delivered bytes, by their offsets.
    pub digest: Digest,
    /// Framed bytes that a record claimed, whatever its status: each byte counts once, for the record that came first.
    pub claimed: RangeSet,
}

impl Account {
    /// Offset after the last byte known of.
    pub fn end(&self) -> u64 {
        let delivered = self.delivered.iter().last().map_or(0, |range| range.to);
        let lost = self.lost.iter().map(|lost| lost.range.to).max().unwrap_or(0);
        delivered.max(lost)
    }

    /// Every range that stopped, at whichever stage.
    pub fn stopped(&self) -> impl Iterator<Item = &Stopped> {
        self.lost.iter().chain(&self.skipped).chain(&self.unpaired)
    }

    /// Bytes that stopped at `stage`.
    pub fn stopped_at(&self, stage: Stage) -> u64 {
        self.stopped()
            .filter(|stopped| stopped.cause.stage() == stage)
            .map(|stopped| stopped.range.len())
            .sum()
    }

    /// The bytes that passed each stage.
    pub fn stages(&self) -> Stages {
        let delivered = self.delivered.len();
        let captured = delivered + self.stopped_at(Stage::Delivery);
        let moved = captured + self.stopped_at(Stage::Capture);
        let (framed, recorded) = (self.framed.len(), self.recorded.len());
        let unframed = self.stopped_at(Stage::Stream) + self.stopped_at(Stage::Frame);
        let unpaired = self.stopped_at(Stage::Record);
        Stages {
            moved,
            captured,
            delivered,
            framed,
            recorded,
            unframed: delivered.abs_diff(framed + unframed),
            unrecorded: framed.abs_diff(recorded + unpaired),
        }
    }

    /// Adds a range that is missing behind all that is known.
    pub fn miss(&mut self, range: Range, cause: Cause) {
        extend(&mut self.lost, range, cause, "");
    }

    fn lose(&mut self, range: Range, cause: Cause) {
        extend(&mut self.lost, range, cause, "");
        self.framed.remove(range); // a frame that spans the gap was cut from what arrived of it
    }

    fn frame(&mut self, range: Range) {
        self.framed.insert(range);
        for lost in self.lost.iter().rev().take_while(|lost| lost.range.to > range.from) {
            self.framed.remove(lost.range);
        }
    }

    /// A message ended before its end. A gap is the cause of what it lacks; here nothing but the message
    /// itself shows that more should have come, so its bytes count as no frame.
    fn break_off(&mut self, range: Range, detail: &str) {
        for range in self.unclaimed(range) {
            insert(&mut self.skipped, Stopped { range, cause: Cause::Incomplete, detail: detail.to_owned() });
            self.framed.remove(range);
        }
    }

    /// The framed bytes of a range that no record claimed yet.
    fn unclaimed(&self, range: Range) -> Vec<Range> {
        let framed = self.framed.within(range).into_iter();
        framed.flat_map(|part| self.claimed.missing_in(part)).collect()
    }

    fn record(&mut self, range: Range, cause: Option<Cause>, detail: &str) {
        for part in self.unclaimed(range) {
            self.claimed.insert(part);
            match cause {
                None => self.recorded.insert(part),
                Some(cause) => extend(&mut self.unpaired, part, cause, detail),
            }
        }
    }
}

/// True where the other half of a message is missing for the bound on those that wait. That is then its last cause: in front of
/// others it says that its decoding hit a bound.
fn is_given_up(message: &Message) -> bool {
    message.causes.last() == Some(&Cause::Limit)
}

/// Adds a range where it belongs in a sorted list.
fn insert(list: &mut Vec<Stopped>, stopped: Stopped) {
    let at = list.partition_point(|other| other.range.from < stopped.range.from);
    list.insert(at, stopped);
}

/// Adds a range to a list; one that continues the last entry is joined to it.
fn extend(list: &mut Vec<Stopped>, range: Range, cause: Cause, detail: &str) {
    match list.last_mut() {
        Some(last) if last.range.to == range.from && last.cause == cause && last.detail == detail => {
            last.range.to = range.to;
        }
        _ => list.push(Stopped { range, cause, detail: detail.to_owned() }),
    }
}

/// How many bytes of a direction passed each stage. Bytes in = bytes out + bytes by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Moved by a traced call (for a capture: seen or acknowledged).
    pub moved: u64,
    /// Payload copied.
    pub captured: u64,
    /// Payload arrived in the stream.
    pub delivered: u64,
    /// Part of a frame.
    pub framed: u64,
    /// Part of a record.
    pub recorded: u64,
    /// Bytes that no entry explains between stream and frame: the residual there.
    pub unframed: u64,
    /// Bytes that no entry explains between frame and record.
    pub unrecorded: u64,
}

impl Stages {
    /// Bytes that nothing explains.
    pub fn residual(&self) -> u64 {
        self.unframed + self.unrecorded
    }
}

/// The ledger of one connection.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Whose it is.
    pub info: Info,
    /// By [`Direction::index`].
    pub accounts: [Account; 2],
    /// How it ended; absent while it is open.
    pub end: Option<End>,
    /// What the vantage reported at the end.
    pub close: Option<Close>,
    /// Records that came from it.
    pub records: u64,
    /// Its datagrams, of UDP.
    pub prints: Prints,
}

/// The ledgers of all connections of one vantage.
#[derive(Debug, Default)]
pub struct Book {
    ledgers: FxHashMap<ConnId, Ledger>,
    /// Datagrams that are remembered.
    prints: usize,
}

impl Book {
    /// The ledgers, in the order in which their connections came up.
    pub fn into_ledgers(self) -> Vec<Ledger> {
        let mut ledgers: Vec<Ledger> = self.ledgers.into_values().collect();
        ledgers.sort_by_key(|ledger| (ledger.info.first, ledger.info.id));
        ledgers
    }

    fn ledger(&mut self, info: &Info) -> &mut Ledger {
        self.ledgers.entry(info.id).or_insert_with(|| Ledger { info: info.clone(), ..Ledger::default() })
    }
}

impl Observer for Book {
    fn record(&mut self, info: &Info, _: Timestamp, record: Record) {
        let ledger = self.ledger(info);
        ledger.records += 1;
        let (cause, detail) = match record.status {
            Status::NoResponse => (Some(Cause::NoResponse), record.summary.as_str()),
            Status::NoRequest => (Some(Cause::NoRequest), record.summary.as_str()),
            Status::Complete | Status::Truncated => (None, ""),
        };
        for message in record.messages() {
            let cause = cause.map(|cause| if is_given_up(message) { Cause::Limit } else { cause });
            let account = &mut ledger.accounts[message.direction.index()];
            let is_cut = message.causes.contains(&Cause::Incomplete);
            for part in message.ranges() {
                match is_cut {
                    true => account.break_off(part, &record.summary),
                    false => account.record(part, cause, detail),
                }
            }
        }
    }

    fn account(&mut self, info: &Info, direction: Direction, entry: Entry<'_>) {
        let account = &mut self.ledger(info).accounts[direction.index()];
        match entry {
            Entry::Delivered(range) => {
                account.timeline.note(range.to, info.last);
                account.delivered.insert(range);
            }
            Entry::Lost(range, cause) => {
                account.timeline.note(range.to, info.last);
                account.lose(range, cause);
            }
            Entry::PastTcp(range) => account.past_tcp.insert(range),
            Entry::Framed(range) => account.frame(range),
            Entry::Skipped(range, cause, reason) => {
                extend(&mut account.skipped, range, cause, &reason.to_string());
            }
        }
    }

    fn datagram(&mut self, info: &Info, datagram: &Datagram<'_>) {
        if info.open.transport != Transport::Udp {
            return;
        }
        let is_full = self.prints == PRINTS_MAX;
        self.prints += usize::from(!is_full);
        let prints = &mut self.ledger(info).prints;
        match is_full {
            true => prints.left_out += 1,
            false => prints.add(datagram),
        }
    }

    fn bytes(&mut self, info: &Info, direction: Direction, offset: u64, bytes: &[u8]) {
        self.ledger(info).accounts[direction.index()].digest.add(offset, bytes);
    }

    fn closed(&mut self, info: &Info, end: End, close: Option<&Close>) {
        let ledger = self.ledger(info);
        ledger.info = info.clone();
        ledger.end = Some(end);
        ledger.close = close.copied();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: Direction = Direction::Send;

    fn message(range: Range, causes: Vec<Cause>) -> Message {
        let at = Timestamp(1);
        Message {
            direction: SEND,
            range,
            parts: Vec::new(),
            started: at,
            ended: at,
            fields: Vec::new(),
            causes,
        }
    }

    /// Books a truncated response between bytes that are no protocol, and looks at what stopped and came through.
    fn check(causes: Vec<Cause>, skipped: &[(Range, Cause)], recorded: u64) {
        let (mut book, info, whole) = (Book::default(), Info::default(), Range::new(10, 50));
        for range in [Range::new(0, 10), whole, Range::new(50, 60)] {
            book.account(&info, SEND, Entry::Delivered(range));
        }
        book.account(&info, SEND, Entry::Skipped(Range::new(0, 10), Cause::ParseError, format_args!("?")));
        book.account(&info, SEND, Entry::Skipped(Range::new(50, 60), Cause::ParseError, format_args!("?")));
        book.account(&info, SEND, Entry::Framed(whole));
        book.record(
            &info,
            Timestamp(1),
            Record {
                protocol: "test",
                status: Status::Truncated,
                summary: "a response".to_owned(),
                request: None,
                response: Some(message(whole, causes)),
            },
        );
        let account = &book.into_ledgers()[0].accounts[SEND.index()];
        let found: Vec<_> = account.skipped.iter().map(|one| (one.range, one.cause)).collect();
        assert_eq!((found.as_slice(), account.recorded.len()), (skipped, recorded));
        assert_eq!(account.stages().residual(), 0);
    }

    #[test]
    fn a_message_cut_short_by_its_end_is_named_and_one_cut_by_a_gap_is_the_gaps() {
        let (before, behind) = (Range::new(0, 10), Range::new(50, 60));
        let error = Cause::ParseError;
        check(vec![Cause::RingFull], &[(before, error), (behind, error)], 40);
        let cut = (Range::new(10, 50), Cause::Incomplete);
        check(vec![Cause::Incomplete], &[(before, error), cut, (behind, error)], 0);
    }
}
