//! The whole parser under cuts, holes and garbage.
//!
//! [`conversations`] has the traffic with what has to come of it, [`driver`] plays the part of
//! `crate::conn`.

mod boundaries;
mod conversations;
mod driver;
mod losses;
mod messages;

use crate::event::{Cause, Direction, Range, Role, Timestamp};
use crate::protocol::Options;
use crate::record::{Record, Status, Value};
use conversations::{CONVERSATIONS, Conversation, lengths};
use driver::{Log, Piece, Random};

const KEEP: Options = Options { max_field: 4096, show_secrets: false, role: Role::Unknown };

/// The record without its times, which depend on the cuts.
fn timeless(record: &Record) -> Record {
    let mut record = record.clone();
    for message in record.request.iter_mut().chain(record.response.iter_mut()) {
        message.started = Timestamp(0);
        message.ended = Timestamp(0);
    }
    record
}

fn timeless_all(log: &Log) -> Vec<Record> {
    log.records.iter().map(timeless).collect()
}

fn whole(conversation: &Conversation) -> Log {
    driver::run(&conversation.pieces(), KEEP, conversation.end)
}

fn summaries(log: &Log) -> Vec<String> {
    log.records.iter().map(|record| format!("{}: {}", record.status.name(), record.summary)).collect()
}

fn field<'a>(record: &'a Record, half: &str, name: &str) -> Option<&'a Value> {
    let message = if half == "request" { record.request.as_ref()? } else { record.response.as_ref()? };
    message.fields.iter().find(|field| field.name == name).map(|field| &field.value)
}

#[test]
fn every_conversation_gives_the_records_it_says() {
    for conversation in CONVERSATIONS {
        let log = whole(conversation);
        assert_eq!(summaries(&log), conversation.records, "{}: {:#?}", conversation.name, log.steps);
    }
}

#[test]
fn cuts_change_nothing() {
    for conversation in CONVERSATIONS {
        let pieces = conversation.pieces();
        let expected = timeless_all(&whole(conversation));
        let bytewise = driver::run(&driver::cut(&pieces, || 1), KEEP, conversation.end);
        assert_eq!(timeless_all(&bytewise), expected, "{} byte by byte", conversation.name);
        for seed in 1..=50 {
            let mut random = Random(seed);
            let cut = driver::cut(&pieces, || 1 + random.below(40));
            let log = driver::run(&cut, KEEP, conversation.end);
            assert_eq!(timeless_all(&log), expected, "{} cut by seed {seed}", conversation.name);
        }
    }
}

/// The index of the exchange that a range of one direction belongs to.
fn owner(truth: &[Record], direction: Direction, range: Range) -> Option<usize> {
    truth.iter().position(|record| {
        record.messages().any(|m| m.direction == direction && m.range.intersection(range).is_some())
    })
}

/// What must hold whatever is lost: no record pairs what does not belong together, and what is called
/// complete is what it is without the loss.
fn check_against_truth(truth: &[Record], log: &Log, lost: (Direction, Range), context: &str) {
    for record in &log.records {
        let owners: Vec<_> = record.messages().map(|m| owner(truth, m.direction, m.range)).collect();
        assert!(
            owners.iter().all(|owner| *owner == owners[0]),
            "{context}: wrong pair {} {:#?}",
            record.summary,
            log.steps
        );
        if record.status == Status::Complete {
            assert!(
                truth.contains(&timeless(record)),
                "{context}: not as without the loss {} {:#?}",
                record.summary,
                log.steps
            );
        }
        for message in record.messages() {
            if message.direction == lost.0 && message.range.intersection(lost.1).is_some() {
                assert!(
                    message.causes.contains(&Cause::RingFull),
                    "{context}: cause not named: {}",
                    record.summary
                );
            }
        }
    }
}

#[test]
fn no_hole_makes_a_wrong_record() {
    for conversation in CONVERSATIONS.iter().filter(|conversation| !conversation.quotes) {
        let pieces = conversation.pieces();
        let truth = timeless_all(&whole(conversation));
        for (direction, length) in lengths(&pieces) {
            for from in 0..length {
                for size in [1, 2, 7, 30, 200] {
                    let range = Range::new(from, (from + size).min(length));
                    let holed = driver::hole(&pieces, direction, range);
                    let context = format!("{} without {} {range}", conversation.name, direction.name());
                    let log = driver::run(&holed, KEEP, conversation.end);
                    check_against_truth(&truth, &log, (direction, range), &context);
                }
            }
        }
    }
}

/// It has to be known that the client waits for each response, which two exchanges show.
#[test]
fn a_hole_spares_the_other_exchanges_of_a_client_that_waits() {
    for conversation in CONVERSATIONS.iter().filter(|conversation| conversation.lockstep) {
        let turns = CONVERSATIONS[0].pieces().into_iter().take(4);
        let pieces: Vec<Piece> = turns.chain(conversation.pieces()).collect();
        let truth = timeless_all(&driver::run(&pieces, KEEP, conversation.end));
        for (direction, length) in lengths(&pieces) {
            let first = truth[2].messages().find(|message| message.direction == direction);
            let first = first.expect("the exchanges are whole").range.from;
            for from in first..length {
                for size in [1, 2, 7] {
                    let lost = Range::new(from, (from + size).min(length));
                    let log = driver::run(&driver::hole(&pieces, direction, lost), KEEP, conversation.end);
                    let context = format!("{} without {} {lost}", conversation.name, direction.name());
                    check_spared(&truth, &log, (direction, lost), &context);
                }
            }
        }
    }
}

fn check_spared(truth: &[Record], log: &Log, lost: (Direction, Range), context: &str) {
    let found = timeless_all(log);
    for record in truth.iter().filter(|record| !touches(record, lost.0, lost.1)) {
        let summary = &record.summary;
        assert!(
            found.contains(record),
            "{context}: {summary} is not in {:#?} {:#?}",
            summaries(log),
            log.steps
        );
    }
}

fn touches(record: &Record, direction: Direction, range: Range) -> bool {
    record.messages().any(|m| m.direction == direction && m.range.intersection(range).is_some())
}
