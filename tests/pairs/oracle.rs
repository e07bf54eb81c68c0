//! What a comparison has to say, computed from the clean pair and what is left of it: sets of bytes, and nothing of the
//! engine but its vocabulary.

use super::case::{Case, Files, Lack, State, moved, opening};
use super::ranges::Ranges;
use sockdbg::event::{Cause, Close, CloseReason, Direction, Kind, Opened, Role};
use std::collections::BTreeMap;

/// Bytes by connection, side that sends, and cause.
pub type Named = BTreeMap<(usize, usize, Cause), Ranges>;

/// What the process's side has of the bytes that one side sends.
struct Process {
    /// Where it begins to see.
    start: u64,
    /// Accounted for, and with payload.
    known: Ranges,
    held: Ranges,
    end: u64,
    close: Option<Close>,
    /// Bytes without payload, by the cause that the event tells.
    stopped: Vec<(Cause, Ranges)>,
}

/// What the capture has of them.
struct Wire {
    /// It has packets of the flow that tell more than that it is there.
    is_there: bool,
    /// Bytes of its packets, and those that it keeps.
    seen: Ranges,
    held: Ranges,
    /// As far as its packets and acknowledgements tell that bytes were sent.
    frontier: u64,
    /// The first byte that it could have.
    first: u64,
    /// Known to be wrong: where the capture lacks the FIN and the last bytes before it, and neither an acknowledgement of just
    /// these nor the process's side tells where the stream ended, the number of the FIN, which was acknowledged, counts as
    /// a byte. Nothing tells it from one.
    fin_counts: bool,
}

impl Process {
    fn is_closed(&self) -> bool {
        self.close.is_some_and(|close| close.reason != CloseReason::StillOpen)
    }
}

fn process(case: &Case<'_>, conn: usize, side: usize) -> Option<Process> {
    let state = &case.states[conn];
    let direction =
        if case.pair.conns[conn].side(Direction::Send) == side { Direction::Send } else { Direction::Recv };
    let (_, open) = opening(&state.events)?;
    let start = open.start[direction.index()].offset;
    let (mut known, mut held, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    let (mut close, mut told) = (None, 0);
    for event in &state.events {
        if let Kind::Close(this) = &event.kind {
            close = Some(*this).filter(|close| close.reason != CloseReason::Descriptor);
        }
        if let Kind::Data(data) = &event.kind
            && data.direction == direction
            && data.error.is_none()
        {
            told = told.max(data.offset); // reading the end of the stream tells where it is
        }
        let Some((_, range)) = moved(event).filter(|moved| moved.0 == direction) else { continue };
        known.push(range);
        let (payload, cause) = match &event.kind {
            Kind::Data(data) => (data.payload.len() as u64, data.cause),
            Kind::Loss(loss) => (0, Some(loss.cause)),
            _ => continue,
        };
        held.push(sockdbg::event::Range::new(range.from, range.from + payload));
        stopped.extend(cause.map(|cause| (cause, Ranges::of(range.from + payload, range.to))));
    }
    let (known, held): (Ranges, Ranges) = (known.into_iter().collect(), held.into_iter().collect());
    let told = close.and_then(|close| close.totals[direction.index()].end).unwrap_or(0).max(told);
    let end = known.end().max(told).max(start);
    Some(Process { start, known, held, end, close, stopped })
}

fn wire(case: &Case<'_>, conn: usize, side: usize) -> Wire {
    let mine = case.packets.iter().filter(|packet| packet.flow == conn);
    let (ours, theirs): (Vec<_>, Vec<_>) = mine.partition(|packet| packet.side == side);
    let length = case.pair.conns[conn].flow.streams[side].len() as u64;
    let seen: Ranges = ours.iter().map(|packet| packet.range).collect();
    let whole = process(case, conn, side).is_some_and(|process| process.is_closed());
    let late = case.lacks.iter().any(|(lack, _)| *lack == Lack::StartedLate);
    let lacks_end = seen.end() < length || late && seen.is_empty();
    let acked = theirs.iter().filter_map(|packet| packet.acked).max().unwrap_or(0);
    let fin = ours.iter().filter(|packet| packet.fin).map(|packet| packet.range.to).max().unwrap_or(0);
    let is_told =
        ours.iter().any(|packet| packet.fin) || theirs.iter().any(|packet| packet.acked == Some(length));
    let fin_counts = acked > length && !is_told && lacks_end && !whole;
    let length = length + u64::from(fin_counts);
    let told = |packet: &&super::packets::Packet| packet.syn || packet.fin || !packet.range.is_empty();
    let first = ours.iter().filter(|packet| !packet.rst).map(|packet| packet.range.from);
    let first = first.chain(theirs.iter().filter_map(|packet| packet.acked)).min().unwrap_or(0).min(length);
    Wire {
        is_there: ours.iter().chain(&theirs).copied().any(|packet| told(&packet)),
        held: ours.iter().map(|packet| packet.held()).collect(),
        frontier: seen.end().max(acked).max(fin).min(length),
        first: seen.0.first().map_or(first, |range| range.from),
        seen,
        fin_counts,
    }
}

/// What has to be named before bytes become frames, but that TLS is encrypted ([`encrypted`]).
pub fn expected(case: &Case<'_>, files: &Files) -> Named {
    let mut named = Named::new();
    for conn in 0..case.states.len() {
        for side in [0, 1] {
            let mut say = |cause: Cause, ranges: Ranges| {
                if !ranges.is_empty() {
                    let all = named.entry((conn, side, cause)).or_default();
                    *all = all.or(&ranges);
                }
            };
            match process(case, conn, side) {
                Some(process) => of_direction(case, files, conn, side, &process, &mut say),
                None => unmatched(case, files, conn, side, &mut say),
            }
        }
    }
    named
}

fn of_direction(
    case: &Case<'_>,
    files: &Files,
    conn: usize,
    side: usize,
    process: &Process,
    say: &mut impl FnMut(Cause, Ranges),
) {
    let state = &case.states[conn];
    let wire = wire(case, conn, side);
    let length = case.pair.conns[conn].flow.streams[side].len() as u64 + u64::from(wire.fin_counts);
    let at_wire = if wire.is_there { wire.frontier } else { 0 };
    let everything = Ranges::of(0, process.end.max(at_wire));
    for (cause, ranges) in &process.stopped {
        say(*cause, ranges.clone());
    }
    say(Cause::BeforeAttach, Ranges::of(0, process.start));
    let inside = Ranges::of(process.start, process.end);
    say(Cause::UntracedSyscall, inside.without(&process.known));
    let after = everything.and(&Ranges::of(process.end, u64::MAX));
    match () {
        () if process.is_closed() => assert!(after.is_empty(), "a closed connection has its totals"),
        () if files.cut[0] => say(Cause::RecordingCut, after),
        () => say(Cause::AfterDetach, after),
    }
    if !wire.is_there {
        return say(why_no_flow(case, files, conn), everything);
    }
    say(Cause::WireSnaplen, wire.seen.without(&wire.held));
    let missing = everything.and(&Ranges::of(0, length)).without(&wire.seen);
    let late = case.lacks.iter().any(|(lack, _)| *lack == Lack::StartedLate);
    let (before, missing) = if late { (missing, Ranges::default()) } else { (Ranges::default(), missing) };
    say(Cause::WireStartedLate, before);
    // A packet that nothing in the capture comes after could as well have come after the capture.
    let early = missing.and(&Ranges::of(wire.frontier, u64::MAX));
    let ended = early.0.iter().filter(|_| ends_before(case, conn, side, wire.frontier));
    let ended: Ranges = ended.copied().collect();
    say(Cause::WireNotCaptured, missing.without(&ended));
    say(Cause::WireEndedEarly, ended);
    let rewritten: Ranges = state.rewritten[side].iter().copied().collect();
    say(Cause::WireContentDiffers, rewritten.and(&process.held).and(&wire.held));
    if state.translated {
        say(Cause::WireAddressTranslated, Ranges::of(0, wire.frontier));
    }
}

/// The capture was over when the bytes behind `frontier` were sent.
fn ends_before(case: &Case<'_>, conn: usize, side: usize, frontier: u64) -> bool {
    let last = case.packets.iter().map(|packet| packet.time).max().unwrap_or(0);
    let carried = case.lacks.iter().filter(|(_, packet)| {
        (packet.flow, packet.side) == (conn, side) && packet.range.to > frontier && !packet.range.is_empty()
    });
    // Of a flow whose end the capture does not have, what nothing in it acknowledges may have come after.
    if case.lacks.iter().any(|(lack, packet)| *lack == Lack::EndedEarly && packet.flow == conn) {
        return true;
    }
    let mut carried = carried.peekable();
    carried.peek().is_some() && carried.all(|(lack, packet)| *lack == Lack::EndedEarly || packet.time >= last)
}

/// Why the capture has nothing of a connection. Of a file with no packet, that ends where one could begin, nobody can tell
/// when it was made.
fn why_no_flow(case: &Case<'_>, files: &Files, conn: usize) -> Cause {
    if case.packets.is_empty() && !files.cut[1] {
        return Cause::WireNoVantage;
    }
    let lacks = case.lacks.iter().filter(|(_, packet)| packet.flow == conn).map(|(lack, _)| *lack);
    let lacks: Vec<Lack> = lacks.collect();
    match () {
        () if lacks.contains(&Lack::StartedLate) && hides_its_end(case, conn) => Cause::WireNoVantage,
        () if lacks.contains(&Lack::StartedLate) => Cause::WireStartedLate,
        () if lacks.contains(&Lack::EndedEarly) => Cause::WireEndedEarly,
        () => Cause::WireNoVantage,
    }
}

/// Known to be wrong: a filter's totals come at the connection's end, and a flow that is nothing but acknowledgements is none,
/// so that nothing tells that the bytes had moved before a capture that began in the connection's life.
fn hides_its_end(case: &Case<'_>, conn: usize) -> bool {
    let state = &case.states[conn];
    let filtered = opening(&state.events).is_some_and(|(_, open)| open.filtered);
    let first = case.packets.iter().map(|packet| packet.time).min();
    filtered && state.events.last().is_some_and(|last| first.is_some_and(|first| last.time.0 >= first))
}

/// What is expected of a connection is known to be wrong.
pub fn known_wrong(case: &Case<'_>, conn: usize) -> bool {
    let wires = [0, 1].map(|side| wire(case, conn, side));
    let late = case.lacks.iter().any(|(lack, packet)| *lack == Lack::StartedLate && packet.flow == conn);
    wires.iter().any(|wire| wire.fin_counts) || late && !wires[0].is_there && hides_its_end(case, conn)
}

/// The process's side has no such connection. Whether it had one before or after is known where the address is one at
/// which it serves; a flow to any other may be anybody's.
fn unmatched(case: &Case<'_>, files: &Files, conn: usize, side: usize, say: &mut impl FnMut(Cause, Ranges)) {
    let wire = wire(case, conn, side);
    if !wire.is_there {
        return;
    }
    let server = case.pair.conns[conn].flow.ends[1];
    let serves = case
        .states
        .iter()
        .filter_map(|state: &State| opening(&state.events))
        .any(|(_, open)| open.role == Role::Server && open.local == Some(server.into()));
    let times = case.packets.iter().filter(|packet| packet.flow == conn).map(|packet| packet.time);
    let (first, last) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
    let of_events = case.states.iter().flat_map(|state| &state.events).map(|event| event.time.0);
    let end = if files.cut[0] { of_events.max().unwrap_or(0) } else { case.span[1] };
    let cause = match () {
        () if serves && last < case.span[0] => Cause::BeforeAttach,
        () if serves && first > end && files.cut[0] => Cause::RecordingCut,
        () if serves && first > end => Cause::AfterDetach,
        () => Cause::NotThisProcess,
    };
    // A flow found open counts from the first byte that it could have.
    let late = case.lacks.iter().any(|(lack, _)| *lack == Lack::StartedLate);
    say(cause, Ranges::of(0, wire.frontier - if late { wire.first.min(wire.frontier) } else { 0 }));
}

/// Known to be wrong: where the capture lacks a connection's flow and the process's side another connection that carried
/// mostly the same bytes, content makes a translation of the two, or finds it ambiguous.
pub fn has_twins(case: &Case<'_>) -> bool {
    let conns = 0..case.states.len();
    let lacks_flow = |conn: &usize| !wire(case, *conn, 0).is_there && process(case, *conn, 0).is_some();
    let lacks_process = |conn: &usize| wire(case, *conn, 0).is_there && process(case, *conn, 0).is_none();
    let streams = |conn: usize| &case.pair.conns[conn].flow.streams;
    let are_twins = |one: usize, other: usize| {
        [0, 1].into_iter().all(|side| is_alike(&streams(one)[side], &streams(other)[side]))
    };
    conns
        .clone()
        .filter(lacks_flow)
        .any(|one| conns.clone().filter(lacks_process).any(|other| are_twins(one, other)))
}

/// As many bytes, at least half of them the same.
fn is_alike(one: &[u8], other: &[u8]) -> bool {
    let same = one.iter().zip(other).filter(|(one, other)| one == other).count();
    one.len() == other.len() && same * 2 >= one.len()
}

/// Known to be wrong: bytes that were on their way when the capture began, and that something in it acknowledges, count as
/// not captured. Their ranges are right.
pub fn on_their_way(case: &Case<'_>, said: &mut Named) -> bool {
    let late = case.lacks.iter().any(|(lack, _)| *lack == Lack::StartedLate);
    let keys: Vec<_> = said.keys().filter(|key| late && key.2 == Cause::WireNotCaptured).copied().collect();
    for key in &keys {
        let ranges = said.remove(key).unwrap_or_default();
        let all = said.entry((key.0, key.1, Cause::WireStartedLate)).or_default();
        *all = all.or(&ranges);
    }
    !keys.is_empty()
}

/// Bytes that both have with their payload: of TLS no others can be named as encrypted.
pub fn in_both(case: &Case<'_>, conn: usize, side: usize) -> Ranges {
    let wire = wire(case, conn, side);
    process(case, conn, side).map_or(Ranges::default(), |process| process.held.and(&wire.held))
}

/// The process's side is as it was.
pub fn is_whole_at_process(case: &Case<'_>, conn: usize) -> bool {
    let (left, all) = (&case.states[conn].events, &case.pair.conns[conn].events);
    let same = left.iter().zip(all).all(|(one, other)| match (&one.kind, &other.kind) {
        (Kind::Data(one), Kind::Data(other)) => {
            one.payload.len() == other.payload.len() && one.offset == other.offset
        }
        (Kind::Open(one), Kind::Open(other)) => {
            one.opened == other.opened && other.opened == Opened::Fresh && one == other
        }
        (Kind::Close(one), Kind::Close(other)) => one == other,
        (Kind::Loss(one), Kind::Loss(other)) => one == other,
        _ => false,
    });
    left.len() == all.len() && same
}
