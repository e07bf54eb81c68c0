//! What a comparison has to say, computed from the faults and the plain arithmetic of what each vantage
//! still knows: no code of the engine is used but its vocabulary.

use super::inject::{Case, opening};
use super::link::{Link, Missing};
use sockdbg::compare::Coverage;
use sockdbg::event::{Cause, CloseReason, Direction, Event, Kind, Opened, Range, Role, Stage};
use std::collections::BTreeMap;

/// Ranges by direction and cause, joined where they touch.
pub type Named = BTreeMap<(Direction, Cause), Vec<Range>>;

/// Joins ranges that touch.
pub fn named(missing: impl IntoIterator<Item = Missing>) -> Named {
    let mut sorted: Vec<Missing> = missing.into_iter().filter(|(_, _, range)| !range.is_empty()).collect();
    sorted.sort();
    let mut named = Named::new();
    for (direction, cause, range) in sorted {
        let ranges = named.entry((direction, cause)).or_default();
        match ranges.last_mut() {
            Some(last) if last.to == range.from => last.to = range.to,
            _ => ranges.push(range),
        }
    }
    named
}

/// Which bytes a vantage knows of; the faults lie inside.
struct Known {
    bytes: [Range; 2],
    /// The final close, if there is one.
    closed: bool,
    pending: u64,
}

fn known(link: &Link<'_>, events: &[Event<'_>], base: [u64; 2]) -> Known {
    let mut known = Known { bytes: base.map(|base| Range::new(base, base)), closed: false, pending: 0 };
    for event in events {
        if let Some((direction, range)) = link.moved(event) {
            let bytes = &mut known.bytes[direction.index()];
            bytes.to = bytes.to.max(range.to);
        }
        if let Kind::Close(close) = &event.kind {
            known.closed = close.reason != CloseReason::StillOpen;
            known.pending = close.totals[Direction::Recv.index()].pending;
            if event.task.is_some() {
                for (bytes, total) in known.bytes.iter_mut().zip(close.totals) {
                    bytes.to = bytes.to.max(total.end.unwrap_or(0));
                }
            }
        }
    }
    known
}

/// Bytes whose payload the process's side has.
fn held(link: &Link<'_>, direction: Direction) -> impl Iterator<Item = Range> {
    link.process.iter().filter_map(move |event| match &event.kind {
        Kind::Data(data) if data.direction == direction => {
            Some(Range::new(data.offset, data.offset + data.payload.len() as u64))
        }
        _ => None,
    })
}

fn part(range: Range, from: u64, to: u64) -> Range {
    range.intersection(Range::new(from, to)).unwrap_or_default()
}

/// What has to be named of a connection before its bytes become frames.
pub fn expected(case: &Case<'_>, link: &Link<'_>) -> Named {
    let [traced, captured] = case.coverage;
    let mut missing = Vec::new();
    let Some((opened, open)) = opening(&link.process) else { return unmatched(case, link) };
    let start = [0, 1].map(|index: usize| open.start[index].offset);
    let process = known(link, &link.process, start);
    let wire = opening(&link.wire).map(|(_, open)| (open.opened, known(link, &link.wire, link.base)));
    for direction in Direction::BOTH {
        let index = direction.index();
        let mut say = |cause, range| missing.push((direction, cause, range));
        say(Cause::BeforeAttach, Range::new(0, start[index]));
        let ours = Range::new(0, process.bytes[index].to);
        let Some((opened_as, wire)) = &wire else {
            say(without_flow(opened, link, captured), ours);
            continue;
        };
        let theirs = wire.bytes[index];
        // What moved between the process's end and the flow's beginning too: both know where they are in the stream.
        let after = Range::new(ours.to, theirs.to);
        let unread = if process.closed { after.len() } else { process.pending.min(after.len()) };
        if !process.closed && traced.cut {
            say(Cause::RecordingCut, after);
        } else if direction == Direction::Recv {
            say(Cause::Unread, part(after, after.from, after.from + unread));
            say(Cause::AfterDetach, part(after, after.from + unread, u64::MAX));
        } else {
            say(Cause::AfterDetach, after);
        }
        if *opened_as == Opened::Found {
            say(Cause::WireStartedLate, Range::new(0, theirs.from));
        }
        say(Cause::WireEndedEarly, part(ours, theirs.to, u64::MAX));
        for range in link.rewritten.iter().filter(|one| one.0 == direction).map(|one| one.1) {
            held(link, direction).filter_map(|held| held.intersection(range)).for_each(|both| {
                say(Cause::WireContentDiffers, both);
            });
        }
        if link.translated {
            say(Cause::WireAddressTranslated, theirs);
        }
    }
    // A fault at a vantage that lost the connection as a whole is not seen any more.
    let at_wire = |cause: &Cause| cause.stage() == Stage::Wire;
    let faults = link.faults.iter().filter(|(_, cause, _)| wire.is_some() || !at_wire(cause));
    missing.extend(faults.copied());
    named(missing)
}

/// Why the capture has nothing of a connection. Its close brings no byte, and need not be seen.
fn without_flow(opened: u64, link: &Link<'_>, captured: Coverage) -> Cause {
    let moved = link.process.iter().filter(|event| link.moved(event).is_some()).map(|event| event.time).max();
    let last = moved.or_else(|| link.process.iter().map(|event| event.time).max());
    if captured.first > last {
        return Cause::WireStartedLate;
    }
    match captured.last.is_some_and(|last| opened > last.0) {
        true => Cause::WireEndedEarly,
        false => Cause::WireNoVantage,
    }
}

/// The process has no such connection: in the flow's terms.
fn unmatched(case: &Case<'_>, link: &Link<'_>) -> Named {
    let Some((opened, open)) = opening(&link.wire) else { return Named::new() };
    let serves = case
        .links
        .iter()
        .filter_map(|link| opening(&link.process))
        .any(|(_, process)| process.role == Role::Server && process.local == open.remote);
    let last = link.wire.iter().map(|event| event.time).max();
    let traced = case.coverage[0];
    let cause = if serves && last < traced.first {
        Cause::BeforeAttach
    } else if serves && traced.last.is_some_and(|last| opened > last.0) {
        if traced.cut { Cause::RecordingCut } else { Cause::AfterDetach }
    } else {
        Cause::NotThisProcess
    };
    let wire = known(link, &link.wire, link.base);
    named(Direction::BOTH.map(|direction| {
        let length = wire.bytes[direction.index()].len();
        (link.flow_direction(direction), cause, Range::new(0, length))
    }))
}
