//! Tests of the book: at each stage bytes in are bytes out and bytes by cause, whatever the tracker tells and
//! however often.

use super::*;
use crate::record::Message;

const D: Direction = Direction::Send;

/// One thing that a tracker tells.
#[derive(Clone, Copy)]
enum Told {
    Delivered(u64, u64),
    Lost(u64, u64, Cause),
    Framed(u64, u64),
    Skipped(u64, u64, Cause),
    Recorded(u64, u64, Status),
}

fn tell(book: &mut Book, told: Told) {
    let info = Info::default();
    let entry = match told {
        Told::Delivered(from, to) => Entry::Delivered(Range::new(from, to)),
        Told::Lost(from, to, cause) => Entry::Lost(Range::new(from, to), cause),
        Told::Framed(from, to) => Entry::Framed(Range::new(from, to)),
        Told::Skipped(from, to, cause) => {
            return book.account(&info, D, Entry::Skipped(Range::new(from, to), cause, format_args!("why")));
        }
        Told::Recorded(from, to, status) => {
            return book.record(&info, Timestamp(0), record(Range::new(from, to), status));
        }
    };
    book.account(&info, D, entry);
}

fn record(range: Range, status: Status) -> Record {
    let time = Timestamp(0);
    let (parts, fields, causes) = (Vec::new(), Vec::new(), Vec::new());
    let message = Message { direction: D, range, parts, started: time, ended: time, fields, causes };
    Record { protocol: "test", status, summary: String::new(), request: Some(message), response: None }
}

/// Moved, captured, delivered, framed, recorded, residual.
fn check(told: &[Told], expected: [u64; 6]) -> Account {
    let mut book = Book::default();
    told.iter().for_each(|&told| tell(&mut book, told));
    let account = book.into_ledgers().remove(0).accounts[D.index()].clone();
    let stages = account.stages();
    let found = [stages.moved, stages.captured, stages.delivered, stages.framed, stages.recorded];
    assert_eq!((&found[..], stages.residual()), (&expected[..5], expected[5]));
    account
}

#[test]
fn bytes_in_are_bytes_out_and_bytes_by_cause() {
    use Told::*;
    check(&[Delivered(0, 10), Framed(0, 10), Recorded(0, 10, Status::Complete)], [10, 10, 10, 10, 10, 0]);
    check(&[Delivered(0, 10), Framed(0, 10), Recorded(0, 10, Status::NoResponse)], [10, 10, 10, 10, 0, 0]);
    check(&[Delivered(0, 10), Skipped(0, 10, Cause::ParseError)], [10, 10, 10, 0, 0, 0]);
    check(&[Delivered(0, 10), Framed(0, 4)], [10, 10, 10, 4, 0, 10]);
    // What another path moved was not moved by a traced call; what a call moved may be cut or refused.
    check(&[Lost(0, 7, Cause::UntracedSyscall)], [0, 0, 0, 0, 0, 0]);
    check(&[Lost(0, 7, Cause::Snaplen)], [7, 0, 0, 0, 0, 0]);
    check(&[Lost(0, 7, Cause::RingFull)], [7, 7, 0, 0, 0, 0]);
}

#[test]
fn a_gap_inside_a_frame_is_no_part_of_it() {
    use Told::*;
    let parts = [Delivered(0, 4), Lost(4, 6, Cause::RingFull), Delivered(6, 10)];
    let framed = [Framed(0, 10), Recorded(0, 10, Status::Truncated)];
    check(&[&parts[..], &framed].concat(), [10, 10, 8, 8, 8, 0]);
    // The frame of a message that ended with the gap may be told before the gap.
    check(&[Delivered(0, 4), Framed(0, 6), Lost(4, 6, Cause::RingFull)], [6, 6, 4, 4, 0, 4]);
}

/// Streams of one connection take turns: 0..4 and 8..10 belong to one message, 4..8 to another.
#[test]
fn messages_whose_frames_take_turns_count_their_own_bytes() {
    for (first, second, recorded) in [
        (Status::Complete, Status::Complete, 10),
        (Status::NoResponse, Status::Complete, 4),
        (Status::Complete, Status::NoResponse, 6),
    ] {
        let mut book = Book::default();
        [Told::Delivered(0, 10), Told::Framed(0, 4), Told::Framed(4, 8), Told::Framed(8, 10)]
            .into_iter()
            .for_each(|told| tell(&mut book, told));
        let mut divided = record(Range::new(0, 10), first);
        if let Some(request) = &mut divided.request {
            request.parts = vec![Range::new(0, 4), Range::new(8, 10)];
        }
        book.record(&Info::default(), Timestamp(0), divided);
        tell(&mut book, Told::Recorded(4, 8, second));
        let stages = book.into_ledgers()[0].accounts[D.index()].stages();
        assert_eq!((stages.recorded, stages.residual()), (recorded, 0));
    }
}

/// What two records claim counts for the one that came first.
#[test]
fn no_byte_counts_twice() {
    use Told::*;
    let framed = [Delivered(0, 10), Framed(0, 10)];
    let claims = [Recorded(0, 6, Status::NoResponse), Recorded(0, 10, Status::Complete)];
    check(&[&framed[..], &claims].concat(), [10, 10, 10, 10, 4, 0]);
}

#[test]
fn what_continues_the_last_entry_is_one_with_it() {
    use Told::*;
    let account = check(
        &[Lost(0, 5, Cause::RingFull), Lost(5, 9, Cause::RingFull), Lost(9, 10, Cause::Snaplen)],
        [10, 9, 0, 0, 0, 0],
    );
    let ranges: Vec<Range> = account.lost.iter().map(|lost| lost.range).collect();
    assert_eq!(ranges, [Range::new(0, 9), Range::new(9, 10)]);
    assert_eq!(account.end(), 10);
}

/// A hundred thousand losses: with work that grows with their square this would take hours.
#[test]
fn very_many_losses_are_taken_one_by_one() {
    let mut book = Book::default();
    let count = 100_000;
    for n in 0..count {
        let from = n * 10;
        tell(&mut book, Told::Delivered(from, from + 6));
        tell(&mut book, Told::Lost(from + 6, from + 10, Cause::RingFull));
        tell(&mut book, Told::Framed(from, from + 10));
        tell(&mut book, Told::Recorded(from, from + 10, Status::Truncated));
    }
    let account = &book.into_ledgers()[0].accounts[D.index()];
    assert_eq!((account.lost.len() as u64, account.recorded.len()), (count, 6 * count));
    assert_eq!(account.stages().residual(), 0);
}
