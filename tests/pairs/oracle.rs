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
    /// It has packets of the flow. A reset alone does not tell that there ever was one.
    is_there: bool,
    /// Bytes of its packets, and those that it keeps.
    seen: Ranges,
    held: Ranges,
    /// As far as its packets and acknowledgements, and what the process knows, tell that bytes were sent. A FIN counts as one,
    /// and nothing comes after it (RFC 9293, section 3.4): where the capture has none, the last number that was acknowledged
    /// is a byte only if the process's side knows of a byte there.
    frontier: u64,
    /// The first byte that it could have.
    first: u64,
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
    let mine = case.packets.iter().filter(|packet| packet.flow == conn && !packet.rst);
    let (ours, theirs): (Vec<_>, Vec<_>) = mine.partition(|packet| packet.side == side);
    let seen: Ranges = case
        .packets
        .iter()
        .filter(|packet| (packet.flow, packet.side) == (conn, side))
        .map(|packet| packet.range)
        .collect();
    let acks = theirs.iter().filter_map(|packet| packet.acked);
    // Of a connection found open, its sender's packets tell where its stream stands, too.
    let stands = ours.iter().map(|packet| packet.range.from).filter(|_| is_late(case));
    let told = acks.chain(stands).max().unwrap_or(0);
    let known = process(case, conn, side).map_or(0, |process| process.end);
    let fin = ours.iter().find(|packet| packet.fin).map(|packet| packet.range.to);
    let frontier = match fin {
        Some(fin) => fin,
        None if told > seen.end().max(known) => told - 1,
        None => told.max(seen.end()),
    };
    let first = ours.iter().map(|packet| packet.range.from);
    let first = first.chain(theirs.iter().filter_map(|packet| packet.acked)).min().unwrap_or(0);
    Wire {
        is_there: !ours.is_empty() || !theirs.is_empty(),
        held: ours.iter().map(|packet| packet.held()).collect(),
        frontier,
        first: seen.0.first().map_or(first, |range| range.from),
        seen,
    }
}

/// The capture began in the middle.
fn is_late(case: &Case<'_>) -> bool {
    case.lacks.iter().any(|(lack, _)| *lack == Lack::StartedLate)
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
    let missing = everything.without(&wire.seen);
    let (before, missing) =
        if is_late(case) { (missing, Ranges::default()) } else { (Ranges::default(), missing) };
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
    // Of a flow whose end the capture does not have, what nothing in it acknowledges may have come after. A packet that is
    // missing behind all others was as good as cut off, where the process went on and no end is in view.
    let over =
        has_both_fins(case, conn) || case.packets.iter().any(|packet| packet.flow == conn && packet.rst);
    let goes_on = case.states[conn].events.last().is_some_and(|event| event.time.0 > last);
    if case.lacks.iter().any(|(lack, packet)| {
        packet.flow == conn && (*lack == Lack::EndedEarly || (packet.time >= last && goes_on && !over))
    }) {
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
    if (0..case.states.len()).any(|other| could_be(case, conn, other)) {
        return Cause::WireAmbiguous;
    }
    let lacks = case.lacks.iter().filter(|(_, packet)| packet.flow == conn).map(|(lack, _)| *lack);
    let lacks: Vec<Lack> = lacks.collect();
    match () {
        () if lacks.contains(&Lack::StartedLate) && has_no_times(case, conn) => Cause::WireNoVantage,
        () if lacks.contains(&Lack::StartedLate) => Cause::WireStartedLate,
        () if lacks.contains(&Lack::EndedEarly) => Cause::WireEndedEarly,
        () => Cause::WireNoVantage,
    }
}

/// Of what a filter leaves out only the totals are known, and these at the connection's end: where the capture began before,
/// nothing tells that the bytes had moved by then.
fn has_no_times(case: &Case<'_>, conn: usize) -> bool {
    let state = &case.states[conn];
    let filtered = opening(&state.events).is_some_and(|(_, open)| open.filtered);
    let first = case.packets.iter().map(|packet| packet.time).min();
    filtered && state.events.last().is_some_and(|last| first.is_some_and(|first| last.time.0 >= first))
}

/// Clocks are not known better than this, in ns.
const CLOCKS: u64 = 10_000_000;

/// So many bytes are nowhere the same by chance.
const TELLING: u64 = 16;

/// The capture lacks a connection, and has one with another beginning that the process's side lacks, to the same server,
/// alive at the same time, all of whose bytes that both have are the same: it was another one, or a firewall changed the
/// sequence numbers between. Nothing tells.
fn could_be(case: &Case<'_>, conn: usize, other: usize) -> bool {
    let streams = |of: usize, side: usize| &case.pair.conns[of].flow.streams[side];
    if conn == other || !wire(case, other, 0).is_there || process(case, other, 0).is_some() {
        return false;
    }
    let ends = [conn, other].map(|of| case.pair.conns[of].flow.ends);
    assert!(ends[0][1] == ends[1][1] || ends[0][0] != ends[1][0], "one client's address twice");
    let is_same = |side: usize| {
        let Some(process) = process(case, conn, side) else { return false };
        let wire = wire(case, other, side);
        let both = process.held.and(&wire.held);
        let rewritten: Ranges = case.states[other].rewritten[side].iter().copied().collect();
        let same = both.0.iter().all(|range| {
            let part = range.from as usize..range.to as usize;
            streams(conn, side)[part.clone()] == streams(other, side)[part]
        });
        let tells = both.0.iter().any(|range| range.len() >= TELLING) || process.end.max(wire.frontier) == 0;
        let moved = (process.end > process.start) == (wire.frontier > 0);
        let whole = process.is_closed() && has_both_fins(case, other);
        same && tells && moved && rewritten.and(&both).is_empty() && (!whole || process.end == wire.frontier)
    };
    ends[0][1] == ends[1][1] && are_alive_at_once(case, conn, other) && [0, 1].into_iter().all(is_same)
}

fn has_both_fins(case: &Case<'_>, conn: usize) -> bool {
    let mine = |side| case.packets.iter().filter(move |packet| (packet.flow, packet.side) == (conn, side));
    [0, 1].into_iter().all(|side| {
        let length = case.pair.conns[conn].flow.streams[side].len() as u64;
        mine(side).any(|packet| packet.fin) && mine(1 - side).any(|packet| packet.acked > Some(length))
    })
}

/// By the times of the process's events of one, and of the packets of the other: one that the capture does not see end is
/// open until the capture ends.
fn are_alive_at_once(case: &Case<'_>, conn: usize, other: usize) -> bool {
    let events = case.states[conn].events.iter().map(|event| event.time.0);
    let packets = || case.packets.iter().filter(|packet| packet.flow == other).map(|packet| packet.time);
    let over =
        has_both_fins(case, other) || case.packets.iter().any(|packet| packet.flow == other && packet.rst);
    let end = if over { packets().max() } else { case.packets.iter().map(|packet| packet.time).max() };
    let (Some(begin), Some(end)) = (packets().min(), end) else { return false };
    let (first, last) = (events.clone().min().unwrap_or(0), events.max().unwrap_or(0));
    begin <= last + CLOCKS && first <= end + CLOCKS
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
    say(cause, Ranges::of(0, wire.frontier - if is_late(case) { wire.first.min(wire.frontier) } else { 0 }));
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
