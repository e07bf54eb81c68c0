//! Faults, as they happen to recordings and captures.

use super::case::{Case, Lack, moved, opening};
use super::packets::Packet;
use super::pair::Conn;
use crate::common::random::Random;
use sockdbg::event::{
    Call, Cause, Close, CloseReason, Direction, Event, Kind, Loss, Open, Opened, Range, Timestamp, Total,
};
use std::net::SocketAddr;

/// Each fault, with how it is shown in the table.
pub const FAULTS: &[(&str, Fault)] = &[
    ("drop event", drop_event),
    ("drop close", drop_close),
    ("ring full", refuse),
    ("cut payload", cut_payload),
    ("shared socket", hide_other_user),
    ("filter", filter),
    ("attach late", attach_late),
    ("detach early", detach_early),
    ("cut recording", truncate_recording),
    ("remove conn", remove_connection),
    ("hide process", hide_process),
    ("drop packets", drop_packets),
    ("snap one", snap_one),
    ("snap all", snap_all),
    ("capture late", capture_late),
    ("stop capture", stop_capture),
    ("cut capture", truncate_capture),
    ("duplicate", duplicate),
    ("reorder", reorder),
    ("resegment", resegment),
    ("rewrite bytes", rewrite),
    ("rewrite tuple", translate),
    ("remove flow", remove_flow),
    ("shift clock", shift_clock),
];

/// Damages a case; false where it has nothing that this can happen to.
pub type Fault = fn(&mut Case<'_>, &mut Random) -> bool;

/// Offsets of clocks, in ns.
const AHEAD: &[i64] =
    &[3_600_000_000_000, -3_600_000_000_000, 90_000_000_000_000, 20_000_000, -2_000_000_000];

/// How many packets a packet can be late, and how long, in ns.
const LATE: usize = 3;
const LATE_TIME: u64 = 5_000_000;

fn pick<T: Copy>(from: &[T], random: &mut Random) -> Option<T> {
    (!from.is_empty()).then(|| from[random.below(from.len())])
}

fn touches(taken: &[(usize, Range)], side: usize, range: Range) -> bool {
    taken.iter().any(|&(of, other)| of == side && other.intersection(range).is_some())
}

/// An event with payload that no fault touched yet, by connection and place.
fn victim(case: &mut Case<'_>, random: &mut Random) -> Option<(usize, usize, Direction, Range)> {
    let mut victims = Vec::new();
    for (index, state) in case.states.iter().enumerate() {
        let conn = &case.pair.conns[index];
        for (at, event) in state.events.iter().enumerate() {
            let Kind::Data(data) = &event.kind else { continue };
            let Some((direction, range)) = moved(event).filter(|_| data.cause.is_none()) else { continue };
            if !touches(&state.taken[0], conn.side(direction), range) {
                victims.push((index, at, direction, range));
            }
        }
    }
    let victim = pick(&victims, random)?;
    let side = case.pair.conns[victim.0].side(victim.2);
    case.states[victim.0].taken[0].push((side, victim.3));
    Some(victim)
}

/// Nothing but the jump of the offset tells of a call.
fn drop_event(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some((conn, at, ..)) = victim(case, random) else { return false };
    case.states[conn].events.remove(at);
    true
}

/// The end of a connection goes unseen.
fn drop_close(case: &mut Case<'_>, random: &mut Random) -> bool {
    let is_last = |event: &Event<'_>| matches!(event.kind, Kind::Close(_));
    let closed: Vec<usize> =
        (0..case.states.len()).filter(|&conn| case.states[conn].events.last().is_some_and(is_last)).collect();
    let Some(conn) = pick(&closed, random) else { return false };
    case.states[conn].events.pop();
    true
}

fn refuse(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some((conn, at, direction, range)) = victim(case, random) else { return false };
    case.states[conn].events[at].kind = Kind::Loss(Loss { direction, range, cause: Cause::RingFull });
    true
}

fn cut_payload(case: &mut Case<'_>, random: &mut Random) -> bool {
    let cause = pick(&[Cause::Snaplen, Cause::IovecLimit, Cause::UserMemoryFault], random);
    keep_part(case, random, cause, |length, random| random.below(length))
}

/// Another process, which is not traced, has the socket too: the kernel tells that bytes moved, not what.
fn hide_other_user(case: &mut Case<'_>, random: &mut Random) -> bool {
    keep_part(case, random, Some(Cause::OtherProcess), |_, _| 0)
}

fn keep_part(
    case: &mut Case<'_>,
    random: &mut Random,
    cause: Option<Cause>,
    keep: fn(usize, &mut Random) -> usize,
) -> bool {
    let Some((conn, at, ..)) = victim(case, random) else { return false };
    let Kind::Data(data) = &mut case.states[conn].events[at].kind else { return false };
    data.payload = &data.payload[..keep(data.payload.len(), random)];
    data.cause = cause;
    true
}

/// A connection that no fault of the process's side touched yet.
fn untouched(case: &Case<'_>, random: &mut Random) -> Option<usize> {
    let is_whole = |&conn: &usize| {
        let state = &case.states[conn];
        state.taken[0].is_empty()
            && !state.translated
            && state.events.len() == case.pair.conns[conn].events.len()
    };
    let whole: Vec<usize> = (0..case.states.len()).filter(is_whole).collect();
    pick(&whole, random).filter(|_| !case.windowed[0])
}

/// The user's filter: totals, and no payload.
fn filter(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(conn) = untouched(case, random) else { return false };
    let state = &mut case.states[conn];
    let mut left = Vec::new();
    let mut end = [0; 2];
    let last = state.events[state.events.len() - 1].time;
    for mut event in std::mem::take(&mut state.events) {
        if let Some((direction, range)) = moved(&event) {
            end[direction.index()] = end[direction.index()].max(range.to);
        } else if let Kind::Open(open) = &mut event.kind {
            open.filtered = true;
            left.push(event);
        } else if matches!(event.kind, Kind::Close(_)) {
            for (direction, end) in Direction::BOTH.into_iter().zip(&mut end) {
                let range = Range::new(0, std::mem::take(end));
                if !range.is_empty() {
                    let kind = Kind::Loss(Loss { direction, range, cause: Cause::Filtered });
                    left.push(Event { time: last, kind, ..event.clone() });
                }
            }
            left.push(event);
        }
    }
    state.events = left;
    for side in [0, 1] {
        state.taken[0].push((side, Range::new(0, u64::MAX)));
    }
    true
}

/// A moment within the pair's life.
fn moment(case: &Case<'_>, random: &mut Random) -> u64 {
    pick(&case.pair.packets.iter().map(|packet| packet.time).collect::<Vec<_>>(), random).unwrap_or(0)
}

/// May the process's window change? What was damaged before may be on either side of it.
fn take_window(case: &mut Case<'_>, at: usize) -> bool {
    let fresh = !case.windowed[at] && case.states.iter().all(|state| state.taken[at].is_empty());
    let fresh = fresh && case.states.iter().all(|state| !state.translated);
    case.windowed[at] |= fresh;
    fresh
}

/// The probes find connections open: exact offsets, as the kernel knows them.
fn attach_late(case: &mut Case<'_>, random: &mut Random) -> bool {
    if !take_window(case, 0) {
        return false;
    }
    let time = moment(case, random);
    case.span[0] = time;
    for (state, conn) in case.states.iter_mut().zip(&case.pair.conns) {
        let Some(open) = opening(&state.events).filter(|(at, _)| *at < time) else { continue };
        let open = open.1.clone();
        let (before, after): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.events).into_iter().partition(|event| event.time.0 < time);
        let Some(first) = after.first().cloned() else { continue };
        state.events =
            vec![Event { time: Timestamp(time), kind: Kind::Open(found(conn, open, &before)), ..first }];
        state.events.extend(after);
    }
    true
}

fn found(conn: &Conn, open: Open, before: &[Event<'_>]) -> Open {
    let start = Direction::BOTH.map(|direction| {
        let mine = before.iter().filter_map(moved).filter(|moved| moved.0 == direction);
        let offset = mine.map(|(_, range)| range.to).max().unwrap_or(0);
        let first = conn.flow.initial[conn.side(direction)].wrapping_add(1);
        sockdbg::event::Start { offset, seq: Some(first.wrapping_add(offset as u32)) }
    });
    Open { opened: Opened::Found, start, call: Some(Call::Listing), ..open }
}

/// The trace ends: what is open is told with its totals so far.
fn detach_early(case: &mut Case<'_>, random: &mut Random) -> bool {
    if !take_window(case, 0) {
        return false;
    }
    let time = moment(case, random);
    case.span[1] = time;
    for state in &mut case.states {
        let was = state.events.len();
        state.events.retain(|event| event.time.0 <= time);
        let Some(last) = state.events.last().filter(|_| state.events.len() < was).cloned() else { continue };
        let totals = Direction::BOTH.map(|direction| {
            let mine = state.events.iter().filter_map(moved).filter(|moved| moved.0 == direction);
            let end = mine.map(|(_, range)| range.to).max().unwrap_or(0);
            Total { moved: end, end: Some(end), ..Total::default() }
        });
        let close = Close { reason: CloseReason::StillOpen, call: Some(Call::Listing), totals };
        state.events.push(Event { time: Timestamp(time), kind: Kind::Close(close), ..last });
    }
    true
}

/// The disk was full, or the tracer killed: the file ends at any byte.
fn truncate_recording(case: &mut Case<'_>, random: &mut Random) -> bool {
    if case.states.iter().any(|state| state.translated) || std::mem::replace(&mut case.windowed[0], true) {
        return false;
    }
    case.recording_cut = Some(random.below(case.recording_length()));
    true
}

fn remove_connection(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(conn) = untouched(case, random).filter(|_| !case.windowed[1]) else { return false };
    case.states[conn].events.clear();
    true
}

/// One of two processes was not traced: none of its connections is known.
fn hide_process(case: &mut Case<'_>, _: &mut Random) -> bool {
    if case.windowed != [false; 2] || case.states.iter().any(|state| state.translated) {
        return false;
    }
    let pids: Vec<u32> =
        case.states.iter().filter_map(|state| Some(state.events.first()?.task?.pid)).collect();
    let hidden = pids.iter().max().copied().filter(|&pid| pids.iter().any(|&other| other != pid));
    let Some(hidden) = hidden else { return false };
    for state in &mut case.states {
        if state.events.first().and_then(|event| event.task).is_some_and(|task| task.pid == hidden) {
            state.events.clear();
        }
    }
    true
}

/// A packet with payload, whose bytes are in no other packet and that no fault touched yet.
fn packet(case: &mut Case<'_>, random: &mut Random) -> Option<usize> {
    let is_free = |&at: &usize| {
        let packet = &case.packets[at];
        let taken = &case.states[packet.flow].taken[1];
        packet.kept == packet.frame.len()
            && !packet.range.is_empty()
            && !touches(taken, packet.side, packet.range)
    };
    let free: Vec<usize> = (0..case.packets.len()).filter(is_free).collect();
    let at = pick(&free, random).filter(|_| !case.windowed[1])?;
    let packet = &case.packets[at];
    let again = |other: &&Packet| {
        (other.flow, other.side) == (packet.flow, packet.side)
            && other.range.intersection(packet.range).is_some()
    };
    if case.packets.iter().filter(again).count() > 1 {
        return None;
    }
    let (flow, side, range) = (packet.flow, packet.side, packet.range);
    case.states[flow].taken[1].push((side, range));
    Some(at)
}

/// The capture lacks some packets, whatever they are; not the handshakes.
fn drop_packets(case: &mut Case<'_>, random: &mut Random) -> bool {
    if case.windowed[1] {
        return false;
    }
    for _ in 0..1 + random.below(4) {
        let at = random.below(case.packets.len());
        let packet = &case.packets[at];
        let state = &mut case.states[packet.flow];
        if packet.syn || touches(&state.taken[1], packet.side, packet.range) {
            continue;
        }
        state.taken[1].push((packet.side, packet.range));
        let packet = case.packets.remove(at);
        case.lacks.push((Lack::NotCaptured, packet));
    }
    true
}

fn snap_one(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(at) = packet(case, random) else { return false };
    let packet = &mut case.packets[at];
    packet.kept = packet.payload.start + random.below(packet.payload.len());
    true
}

/// tcpdump -s: every packet is cut at the same length, behind its headers.
fn snap_all(case: &mut Case<'_>, random: &mut Random) -> bool {
    if case.states.iter().any(|state| !state.taken[1].is_empty()) {
        return false;
    }
    let headers = case.packets.iter().map(|packet| packet.payload.start).max().unwrap_or(0);
    let length = headers + random.below(200);
    for packet in &mut case.packets {
        packet.kept = packet.frame.len().min(length);
    }
    for state in &mut case.states {
        state.taken[1].extend([0, 1].map(|side| (side, Range::new(0, u64::MAX))));
    }
    true
}

/// The capture begins in the middle. Not between a packet and its retransmission: of bytes that only the first had, nobody
/// can tell whether the capture lost them.
fn capture_late(case: &mut Case<'_>, random: &mut Random) -> bool {
    if case.states.iter().any(|state| state.events.is_empty()) || !take_window(case, 1) {
        return false;
    }
    let at = random.below(case.packets.len());
    let (before, after) = case.packets.split_at(at);
    let in_order = before.iter().all(|early| {
        let same =
            |late: &&Packet| (late.flow, late.side) == (early.flow, early.side) && !late.range.is_empty();
        after.iter().filter(same).all(|late| late.range.from >= early.range.to)
    });
    if !in_order {
        return false;
    }
    let after = case.packets.split_off(at);
    let before = std::mem::replace(&mut case.packets, after);
    case.lacks.extend(before.into_iter().map(|packet| (Lack::StartedLate, packet)));
    true
}

/// The capture ends in the middle, between two packets.
fn stop_capture(case: &mut Case<'_>, random: &mut Random) -> bool {
    if std::mem::replace(&mut case.windowed[1], true) {
        return false;
    }
    let off = case.packets.split_off(random.below(case.packets.len()));
    case.lacks.extend(off.into_iter().map(|packet| (Lack::EndedEarly, packet)));
    true
}

/// The capture's file ends at any byte.
fn truncate_capture(case: &mut Case<'_>, random: &mut Random) -> bool {
    if std::mem::replace(&mut case.windowed[1], true) {
        return false;
    }
    case.capture_cut = Some(random.below(case.capture_length()));
    true
}

/// A place for a packet of the same flow a little later, not behind its end.
fn later(case: &Case<'_>, at: usize, random: &mut Random) -> usize {
    let Packet { flow, time, .. } = case.packets[at];
    let mut place = at + 1;
    for _ in 0..random.below(LATE + 1) {
        let next = case.packets.get(place).filter(|next| next.flow == flow && !next.fin && !next.rst);
        place += usize::from(next.is_some_and(|next| next.time - time < LATE_TIME));
    }
    place
}

fn insert(case: &mut Case<'_>, place: usize, mut packet: Packet) {
    packet.time = case.packets[place - 1].time;
    case.packets.insert(place, packet);
}

/// The same packet twice, as where a bridge is captured at both sides.
fn duplicate(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(at) = packet(case, random) else { return false };
    let again = case.packets[at].clone();
    insert(case, at + 1, again);
    true
}

/// A packet comes after others of its flow.
fn reorder(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(at) = packet(case, random) else { return false };
    let place = later(case, at, random);
    let moved = case.packets[at].clone();
    insert(case, place, moved);
    case.packets.remove(at);
    true
}

/// Bytes come once more, in packets cut elsewhere.
fn resegment(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(at) = packet(case, random) else { return false };
    let length = case.packets[at].payload.len();
    let middle = random.below(length + 1);
    for (from, to) in [(0, middle), (middle, length), (middle / 2, length)] {
        if from < to {
            let again = case.packets[at].part(from, to);
            let place = later(case, at, random);
            insert(case, place, again);
        }
    }
    true
}

/// Other bytes in a packet than the process has.
fn rewrite(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(at) = packet(case, random) else { return false };
    let packet = &mut case.packets[at];
    let from = random.below(packet.payload.len());
    let to = from + 1 + random.below(packet.payload.len() - from);
    packet.frame[packet.payload.start + from..packet.payload.start + to]
        .iter_mut()
        .for_each(|byte| *byte ^= 0x80);
    let range = Range::new(packet.range.from + from as u64, packet.range.from + to as u64);
    let (flow, side) = (packet.flow, packet.side);
    case.states[flow].rewritten[side].push(range);
    true
}

/// The capture is behind a translation: one end of a connection, or both, has other addresses in it.
fn translate(case: &mut Case<'_>, random: &mut Random) -> bool {
    let plain = |&flow: &usize| !case.states[flow].translated && !case.states[flow].events.is_empty();
    let plain: Vec<usize> = (0..case.states.len()).filter(plain).collect();
    let Some(flow) = pick(&plain, random).filter(|_| case.windowed == [false; 2]) else { return false };
    let which = random.below(3);
    let is_v4 = case.pair.conns[flow].flow.ends[0].is_ipv4();
    let other = |side: usize| -> SocketAddr {
        let port = [20_000 + flow as u16, 8080][side];
        let ip =
            if is_v4 { ["198.51.100.1", "198.51.100.2"][side] } else { ["2001:db8::1", "2001:db8::2"][side] };
        SocketAddr::new(ip.parse().unwrap(), port)
    };
    for packet in case.packets.iter_mut().filter(|packet| packet.flow == flow) {
        for side in [0, 1] {
            if which == 2 || which == side {
                packet.readdress(usize::from(packet.side != side), other(side));
            }
        }
    }
    case.states[flow].translated = true;
    true
}

/// The capture's interface is another one than this connection's. Packets of others tell that it ran meanwhile: without, it
/// looks like one that began later or ended sooner.
fn remove_flow(case: &mut Case<'_>, random: &mut Random) -> bool {
    let is_whole = |&flow: &usize| {
        let state = &case.states[flow];
        let times = |mine: bool| {
            let packets = case.packets.iter().filter(move |packet| (packet.flow == flow) == mine);
            packets.map(|packet| packet.time)
        };
        let ran = times(false).min() <= times(true).min() && times(false).max() >= times(true).max();
        state.taken[1].is_empty() && !state.translated && !state.events.is_empty() && ran
    };
    let whole: Vec<usize> = (0..case.states.len()).filter(is_whole).collect();
    let Some(flow) = pick(&whole, random).filter(|_| case.windowed == [false; 2]) else { return false };
    let (gone, left) = std::mem::take(&mut case.packets).into_iter().partition(|packet| packet.flow == flow);
    case.packets = left;
    let gone: Vec<Packet> = gone;
    case.lacks.extend(gone.into_iter().map(|packet| (Lack::WholeFlow, packet)));
    case.windowed[1] = true;
    true
}

/// The capture was made on a host whose clock is another. Only moments that both saw tell.
fn shift_clock(case: &mut Case<'_>, random: &mut Random) -> bool {
    if case.ahead != 0 || case.windowed != [false; 2] {
        return false;
    }
    case.ahead = AHEAD[random.below(AHEAD.len())] + random.below(1000) as i64;
    case.windowed = [true; 2];
    true
}
