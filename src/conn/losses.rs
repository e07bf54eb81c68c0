//! What is lost of the two streams of a connection, and which records that leaves less than whole.
//!
//! A parser tells what it knows to be missing. That a message lacks what lies between its first byte and its last is
//! known without a protocol, so it holds for all of them here.

use crate::event::{Cause, Direction, Range};
use crate::record::{Message, Record, Status};

/// How many lost ranges of one direction are told apart. Beyond it the two oldest count as one, with what lies between.
const RANGES_MAX: usize = 4096;

/// What is lost of a connection.
#[derive(Debug, Default)]
pub struct Losses {
    lanes: [Lane; 2],
}

/// Lost ranges of one direction, in order.
#[derive(Debug, Default)]
struct Lane {
    lost: Vec<(Range, Cause)>,
    /// Those parts of them that no frame spans: whose bytes they were is not known.
    unframed: Vec<(Range, Cause)>,
}

impl Losses {
    /// Bytes are lost, behind all that were lost before.
    pub fn add(&mut self, direction: Direction, range: Range, cause: Cause) {
        let lane = &mut self.lanes[direction.index()];
        for list in [&mut lane.lost, &mut lane.unframed] {
            list.push((range, cause));
            if list.len() > RANGES_MAX {
                let (first, _) = list.remove(0);
                list[0].0.from = first.from;
            }
        }
    }

    /// A frame was cut, which may span lost bytes. Then they are its own.
    pub fn frame(&mut self, direction: Direction, frame: Range) {
        let list = &mut self.lanes[direction.index()].unframed;
        let first = list.partition_point(|(range, _)| range.to <= frame.from);
        let spanned = list[first..].iter().take_while(|(range, _)| range.from < frame.to).count();
        if spanned == 0 {
            return;
        }
        let rests = list[first..first + spanned].iter().flat_map(|&(range, cause)| {
            [Range::new(range.from, frame.from.max(range.from)), Range::new(frame.to.min(range.to), range.to)]
                .map(|rest| (rest, cause))
        });
        let rests: Vec<_> = rests.filter(|(rest, _)| !rest.is_empty()).collect();
        list.splice(first..first + spanned, rests);
    }

    /// Marks the messages of a record that lack lost bytes.
    pub fn judge(&self, record: &mut Record) {
        if self.lanes.iter().all(|lane| lane.lost.is_empty()) {
            return;
        }
        for message in [&mut record.request, &mut record.response].into_iter().flatten() {
            if let Some(cause) = self.lanes[message.direction.index()].missing(message) {
                cause.note_in(&mut message.causes);
                record.status = Status::Truncated;
            }
        }
    }
}

impl Lane {
    /// Why a message lacks bytes: its frames span lost ones, or nobody knows whose those between its frames were.
    fn missing(&self, message: &Message) -> Option<Cause> {
        let own = message.ranges().find_map(|part| inside(&self.lost, part));
        own.or_else(|| inside(&self.unframed, message.range))
    }
}

/// The cause of the first of the ranges that has something of `range`.
fn inside(list: &[(Range, Cause)], range: Range) -> Option<Cause> {
    let first = list.partition_point(|(lost, _)| lost.to <= range.from);
    list.get(first).filter(|(lost, _)| lost.from < range.to).map(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(range: Range, parts: &[Range]) -> Message {
        Message {
            direction: Direction::Recv,
            range,
            parts: parts.to_vec(),
            started: Default::default(),
            ended: Default::default(),
            fields: Vec::new(),
            causes: Vec::new(),
        }
    }

    fn judged(losses: &Losses, response: Message) -> (Status, Vec<Cause>) {
        let mut record = Record {
            protocol: "test",
            status: Status::Complete,
            summary: String::new(),
            request: None,
            response: Some(response),
        };
        losses.judge(&mut record);
        (record.status, record.causes().to_vec())
    }

    #[test]
    fn a_message_that_spans_lost_bytes_is_truncated_with_their_cause() {
        let mut losses = Losses::default();
        losses.add(Direction::Recv, Range::new(10, 20), Cause::RingFull);
        losses.add(Direction::Send, Range::new(0, 90), Cause::WireNotCaptured);
        for (from, to, whole) in
            [(0, 10, true), (20, 30, true), (0, 11, false), (19, 30, false), (0, 90, false)]
        {
            let (status, causes) = judged(&losses, message(Range::new(from, to), &[]));
            assert_eq!(status == Status::Complete, whole, "{from} {to}");
            assert_eq!(causes.is_empty(), whole);
            assert!(whole || causes == [Cause::RingFull]);
        }
    }

    #[test]
    fn lost_bytes_that_a_frame_spans_are_of_its_message_alone() {
        let mut losses = Losses::default();
        losses.add(Direction::Recv, Range::new(10, 20), Cause::RingFull);
        let around = message(Range::new(0, 40), &[Range::new(0, 5), Range::new(30, 40)]);
        assert_eq!(judged(&losses, around.clone()).0, Status::Truncated);
        losses.frame(Direction::Recv, Range::new(5, 15));
        assert_eq!(judged(&losses, around.clone()).0, Status::Truncated);
        losses.frame(Direction::Recv, Range::new(15, 30));
        assert_eq!(judged(&losses, around).0, Status::Complete);
        assert_eq!(judged(&losses, message(Range::new(5, 15), &[])).0, Status::Truncated);
    }

    #[test]
    fn more_ranges_than_are_told_apart_make_no_record_whole() {
        let mut losses = Losses::default();
        for index in 0..RANGES_MAX as u64 + 10 {
            losses.add(Direction::Recv, Range::new(index * 10, index * 10 + 1), Cause::RingFull);
        }
        assert_eq!(losses.lanes[1].lost.len(), RANGES_MAX);
        assert_eq!(judged(&losses, message(Range::new(0, 1), &[])).0, Status::Truncated);
        assert_eq!(judged(&losses, message(Range::new(41_001, 41_009), &[])).0, Status::Complete);
    }
}
