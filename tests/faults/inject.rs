//! Faults as they happen to events, each with the range that a comparison has to name for it.

use super::conversation::Rng;
use super::link::Link;
use sockdbg::compare::Coverage;
use sockdbg::event::{
    Call, Cause, CloseReason, Data, Direction, Event, Kind, Loss, Open, Opened, Range, Start, Timestamp,
};
use std::net::SocketAddr;

/// All connections of a comparison, and when each vantage was watching (process, wire).
pub struct Case<'a> {
    pub links: Vec<Link<'a>>,
    pub coverage: [Coverage; 2],
    /// How far the capture's clock is ahead, in nanoseconds: added to its times when they are read.
    pub ahead: i64,
    /// What was done, for the message of a failed test.
    pub log: Vec<String>,
}

/// The list of a vantage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Process = 0,
    Wire = 1,
}

/// Faults of single events in a case, at most: each can hide one moment that both vantages saw.
const FAULTS_MAX: usize = 4;

/// By how much a fault moves a packet in time at most, in nanoseconds: packets that change places are near each other.
pub const MOVED_MAX: u64 = 6_000_000;

/// Offsets of clocks, in nanoseconds.
const AHEAD: &[i64] = &[
    3_600_000_000_000,
    -3_600_000_000_000,
    -7_500_000_000_000,
    90_000_000_000_000,
    20_000_000,
    -20_000_000,
    2_000_000_000,
];

impl<'a> Case<'a> {
    /// Injects one or several faults that can happen together.
    pub fn inject(&mut self, rng: &mut Rng) {
        if rng.chance(40) {
            self.limit_coverage(rng);
        }
        self.inject_into_connections(rng);
        self.translate(rng);
        if rng.chance(30) {
            self.shift_clock(rng);
        }
    }

    /// The capture's clock is another one. That shows in what both vantages saw move at once, so there has to be some.
    pub fn shift_clock(&mut self, rng: &mut Rng) {
        if self.links.iter().any(Link::has_common_moments) {
            let ahead = rng.pick(AHEAD) + rng.below(1000) as i64;
            self.log.push(format!("clock {ahead} ns ahead"));
            self.ahead = ahead;
        }
    }

    /// Some flows are seen behind a translation of addresses: every packet has others.
    pub fn translate(&mut self, rng: &mut Rng) {
        for index in 0..self.links.len() {
            if rng.chance(20) {
                self.log.push(format!("link {index}: addresses translated"));
                self.links[index].translate(index as u16, rng);
            }
        }
    }

    /// Injects faults of single connections and events.
    pub fn inject_into_connections(&mut self, rng: &mut Rng) {
        for index in 0..self.links.len() {
            if rng.chance(25) {
                let fault = rng.below(5);
                self.log.push(format!("link {index}: whole-connection fault {fault}"));
                self.links[index].whole(fault, rng);
            }
        }
        for _ in 0..rng.below(FAULTS_MAX as u64 + 1) {
            let index = rng.below(self.links.len() as u64) as usize;
            let fault = rng.below(8);
            self.log.push(format!("link {index}: local fault {fault}"));
            self.links[index].local(fault, rng);
        }
    }

    /// One vantage, or both, begins late or ends early. The wire does not do both at once, and not both
    /// vantages end early: what moved behind the end of both is known to nobody.
    fn limit_coverage(&mut self, rng: &mut Rng) {
        let times: Vec<u64> =
            self.links.iter().flat_map(|link| &link.wire).map(|event| event.time.0).collect();
        let mut times = [rng.pick(&times), rng.pick(&times)];
        times.sort_unstable();
        let what = rng.below(7);
        self.log.push(format!("coverage {what} at {times:?}"));
        match what {
            0 => self.process_late(times[0]),
            1 => self.process_early(times[0], false),
            2 => self.process_early(times[0], true),
            3 => self.wire_late(times[0]),
            4 => self.wire_early(times[0]),
            5 => {
                self.process_late(times[0]);
                self.wire_early(times[1]);
            }
            _ => {
                self.process_early(times[1], rng.chance(50));
                self.wire_late(times[0]);
            }
        }
    }

    fn process_late(&mut self, time: u64) {
        self.coverage[0].first = Some(Timestamp(time));
        self.links.iter_mut().for_each(|link| link.process_late(time));
    }

    fn process_early(&mut self, time: u64, cut: bool) {
        self.coverage[0].last = Some(Timestamp(time));
        self.coverage[0].cut = cut;
        self.links.iter_mut().for_each(|link| link.process.retain(|event| event.time.0 <= time));
    }

    fn wire_late(&mut self, time: u64) {
        self.coverage[1].first = Some(Timestamp(time));
        self.links.iter_mut().for_each(|link| link.wire_late(time));
    }

    fn wire_early(&mut self, time: u64) {
        self.coverage[1].last = Some(Timestamp(time));
        self.links.iter_mut().for_each(|link| link.wire.retain(|event| event.time.0 <= time));
    }
}

impl<'a> Link<'a> {
    /// The probes find the connection open: exact offsets, as the kernel knows them.
    fn process_late(&mut self, time: u64) {
        let Some(open) = opening(&self.process).filter(|(at, _)| *at < time).map(|(_, open)| open.clone())
        else {
            return;
        };
        let (before, mut after): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.process).into_iter().partition(|event| event.time.0 < time);
        if after.is_empty() {
            return;
        }
        let mut start = open.start;
        for direction in Direction::BOTH {
            let start = &mut start[direction.index()];
            let moved =
                before.iter().filter_map(|event| self.moved(event)).filter(|moved| moved.0 == direction);
            start.offset = moved.map(|(_, range)| range.to).fold(start.offset, u64::max);
            start.seq = Some(self.seq[direction.index()].wrapping_add(start.offset as u32));
        }
        let found = Open { opened: Opened::Found, exact: true, start, call: Some(Call::Listing), ..open };
        after.insert(0, self.event(true, time, Kind::Open(found)));
        self.process = after;
    }

    /// The capture begins inside the flow: offsets count from the first byte seen, or acknowledged.
    fn wire_late(&mut self, time: u64) {
        let Some(open) = opening(&self.wire).filter(|(at, _)| *at < time).map(|(_, open)| open.clone())
        else {
            return;
        };
        self.wire.retain(|event| event.time.0 >= time);
        if self.wire.is_empty() {
            return;
        }
        let mut first: [Option<u64>; 2] = [None; 2];
        for event in &self.wire {
            if let Kind::Data(data) = &event.kind {
                first[data.direction.index()].get_or_insert(data.offset);
            }
        }
        let first = first.map(|first| first.expect("the FINs come last"));
        for event in &mut self.wire {
            match &mut event.kind {
                Kind::Data(data) => data.offset -= first[data.direction.index()],
                Kind::Close(close) => {
                    for (total, first) in close.totals.iter_mut().zip(first) {
                        total.end = total.end.map(|end| end - first);
                    }
                }
                _ => {}
            }
        }
        let start = [0, 1].map(|index: usize| Start {
            offset: 0,
            seq: open.start[index].seq.map(|seq| seq.wrapping_add(first[index] as u32)),
        });
        for direction in Direction::BOTH {
            self.base[direction.index()] += first[self.flow_direction(direction).index()];
        }
        let found = Open { opened: Opened::Found, exact: false, start, ..open };
        let open = self.event(false, self.wire[0].time.0, Kind::Open(found));
        self.wire.insert(0, open);
    }

    /// Other addresses in the capture. A flow without its handshake is left alone: whether its content is enough to find
    /// it is the business of another test.
    fn translate(&mut self, number: u16, rng: &mut Rng) {
        let other = |host: u8, port: u16| Some(SocketAddr::from(([198, 51, 100, host], port)).into());
        let which = rng.below(3);
        for event in &mut self.wire {
            let Kind::Open(open) = &mut event.kind else { continue };
            if open.opened == Opened::Found {
                return;
            }
            if which != 0 {
                open.local = other(1, 30_000 + number);
            }
            if which != 1 {
                open.remote = other(2, 8080);
            }
            self.translated = true;
        }
    }

    /// Both vantages saw the end of the same bytes that the process sent. Those that it received may have waited for it,
    /// and tell nothing of small offsets.
    fn has_common_moments(&self) -> bool {
        let ends = |events: &[Event<'_>]| -> Vec<(Direction, u64)> {
            let data = events.iter().filter(|event| matches!(event.kind, Kind::Data(_)));
            let moved = data.filter_map(|event| self.moved(event));
            moved
                .filter(|moved| moved.0 == Direction::Send)
                .map(|(direction, range)| (direction, range.to))
                .collect()
        };
        let wire = ends(&self.wire);
        ends(&self.process).iter().filter(|end| wire.contains(end)).count() > FAULTS_MAX
    }

    /// Faults of a whole connection at one vantage.
    fn whole(&mut self, fault: u64, rng: &mut Rng) {
        match fault {
            0 => self.process.clear(),
            1 => self.wire.clear(),
            2 => self.filter(),
            _ => self.leave_unread(rng),
        }
    }

    /// The user's filter: one loss a direction with everything that moved.
    fn filter(&mut self) {
        if !self.faults.is_empty() {
            return; // the demo's connection with a finding of its own
        }
        let Some((_, open)) = opening(&self.process) else { return };
        let (mut open, mut end) = (open.clone(), [0, 1].map(|index: usize| open.start[index].offset));
        open.filtered = true;
        for (direction, range) in self.process.iter().filter_map(|event| self.moved(event)) {
            end[direction.index()] = end[direction.index()].max(range.to);
        }
        let (first, last) = (self.process[0].time.0, self.process[self.process.len() - 1].time.0);
        let close = self.process.pop().filter(|event| matches!(event.kind, Kind::Close(_)));
        self.process = vec![self.event(true, first, Kind::Open(open.clone()))];
        for direction in Direction::BOTH {
            let range = Range::new(open.start[direction.index()].offset, end[direction.index()]);
            if range.is_empty() {
                continue;
            }
            let loss = Loss { direction, range, cause: Cause::Filtered };
            self.process.push(self.event(true, last, Kind::Loss(loss)));
            self.faults.push((direction, Cause::Filtered, range));
            self.taken[0].push((direction, range));
        }
        self.process.extend(close);
    }

    /// The process closes, or the trace ends, with the last bytes still in the receive queue.
    fn leave_unread(&mut self, rng: &mut Rng) {
        let Some(Event { kind: Kind::Close(_), .. }) = self.process.last() else { return };
        if self.server {
            return; // its last answer shows that it has read what was asked
        }
        // Who left bytes unread has not read the end of the stream either.
        self.process.retain(|event| !matches!(&event.kind, Kind::Data(data) if data.length == 0));
        let mut end = u64::MAX;
        for _ in 0..1 + rng.below(3) {
            let last = self.process.iter().rposition(|event| {
                matches!(&event.kind, Kind::Data(data) if data.direction == Direction::Recv && data.length > 0)
            });
            let Some(last) = last else { break };
            let event = self.process.remove(last);
            end = self.moved(&event).map_or(end, |(_, range)| range.from);
        }
        let Some(Event { kind: Kind::Close(close), .. }) = self.process.last_mut() else { return };
        let total = &mut close.totals[Direction::Recv.index()];
        let whole = total.end.unwrap_or(0);
        if end < whole {
            (total.end, total.pending) = (Some(end), whole - end);
            if rng.chance(50) {
                close.reason = CloseReason::StillOpen;
                // The rest of the queue came after the trace.
                total.pending -= rng.below(total.pending);
            }
        }
    }

    /// A fault of one event.
    fn local(&mut self, fault: u64, rng: &mut Rng) {
        match fault {
            0 => self.drop_call(rng),
            1 => self.refuse(rng),
            2 => self.shorten(
                At::Process,
                rng.pick(&[Cause::Snaplen, Cause::IovecLimit, Cause::UserMemoryFault]),
                rng,
            ),
            3 => self.shorten(At::Wire, Cause::WireSnaplen, rng),
            4 => self.lose_packet(rng),
            5 => self.retransmit(rng),
            6 => self.rewrite(rng),
            _ => self.reorder(rng),
        }
    }

    fn list(&mut self, at: At) -> &mut Vec<Event<'a>> {
        match at {
            At::Process => &mut self.process,
            At::Wire => &mut self.wire,
        }
    }

    /// An event that moved bytes which no fault touched yet. In a flow found open not the first of its
    /// direction: that one tells where offsets begin.
    fn victim(&mut self, at: At, rng: &mut Rng) -> Option<(usize, Direction, Range)> {
        let list = if at == At::Process { &self.process } else { &self.wire };
        let found = opening(list).is_some_and(|(_, open)| open.opened == Opened::Found);
        let mut seen = [!(found && at == At::Wire); 2];
        let mut victims = Vec::new();
        for (index, event) in list.iter().enumerate() {
            let Some((direction, range)) = self.moved(event) else { continue };
            let first = !std::mem::replace(&mut seen[direction.index()], true);
            let free = !self.taken[at as usize]
                .iter()
                .any(|(taken, bytes)| *taken == direction && bytes.intersection(range).is_some());
            if free && !first && matches!(event.kind, Kind::Data(_)) {
                victims.push((index, direction, range));
            }
        }
        let victim = (!victims.is_empty()).then(|| rng.pick(&victims))?;
        self.taken[at as usize].push((victim.1, victim.2));
        Some(victim)
    }

    /// A call that the probes do not know: nothing but the jump of the offset tells of it.
    fn drop_call(&mut self, rng: &mut Rng) {
        let Some((index, direction, range)) = self.victim(At::Process, rng) else { return };
        let shows = self.process[index + 1..].iter().any(|event| match &event.kind {
            Kind::Close(close) => close.totals[direction.index()].end.is_some(),
            _ => self.moved(event).is_some_and(|moved| moved.0 == direction),
        });
        if shows {
            self.process.remove(index);
            self.faults.push((direction, Cause::UntracedSyscall, range));
        }
    }

    /// The ring buffer was full.
    fn refuse(&mut self, rng: &mut Rng) {
        let Some((index, direction, range)) = self.victim(At::Process, rng) else { return };
        self.process[index].kind = Kind::Loss(Loss { direction, range, cause: Cause::RingFull });
        self.faults.push((direction, Cause::RingFull, range));
    }

    /// Other bytes in a packet than the process has.
    fn rewrite(&mut self, rng: &mut Rng) {
        let Some((index, direction, range)) = self.victim(At::Wire, rng) else { return };
        let Kind::Data(data) = &mut self.wire[index].kind else { return };
        let from = rng.below(range.len());
        let to = from + 1 + rng.below(range.len() - from);
        let mut payload = data.payload.to_vec();
        payload[from as usize..to as usize].iter_mut().for_each(|byte| *byte ^= 0x80);
        data.payload = Box::leak(payload.into_boxed_slice()); // some kilobytes, for as long as the test runs
        self.rewritten.push((direction, Range::new(range.from + from, range.from + to)));
    }

    /// Payload cut short.
    fn shorten(&mut self, at: At, cause: Cause, rng: &mut Rng) {
        let Some((index, direction, range)) = self.victim(at, rng) else { return };
        let Kind::Data(data) = &mut self.list(at)[index].kind else { return };
        let keep = rng.below(range.len());
        data.payload = &data.payload[..keep as usize];
        data.cause = Some(cause);
        self.faults.push((direction, cause, Range::new(range.from + keep, range.to)));
    }

    /// A packet that the capture lacks and the peer acknowledged: reported as lost a few packets later.
    fn lose_packet(&mut self, rng: &mut Rng) {
        let Some((index, direction, range)) = self.victim(At::Wire, rng) else { return };
        let event = self.wire.remove(index);
        let Kind::Data(data) = &event.kind else { return };
        let loss = Loss { direction: data.direction, range: data.range(), cause: Cause::WireNotCaptured };
        let at = self.later(index, rng);
        let time = self.wire[..at].last().map_or(0, |event| event.time.0);
        let event = self.event(false, time, Kind::Loss(loss));
        self.wire.insert(at, event);
        self.faults.push((direction, Cause::WireNotCaptured, range));
    }

    /// A place behind `index`, at most 20 packets on, before the end of the flow.
    fn later(&self, index: usize, rng: &mut Rng) -> usize {
        let closed = matches!(self.wire.last(), Some(Event { kind: Kind::Close(_), .. }));
        let end = self.wire.len() - usize::from(closed);
        (index + rng.below(20) as usize).min(end)
    }

    /// Bytes come once more, in packets cut elsewhere.
    fn retransmit(&mut self, rng: &mut Rng) {
        let Some((index, ..)) = self.victim(At::Wire, rng) else { return };
        let event = self.wire[index].clone();
        let Kind::Data(data) = &event.kind else { return };
        let middle = rng.below(data.length + 1);
        for (from, to) in [(0, middle), (middle, data.length), (middle / 2, data.length)] {
            if from == to {
                continue;
            }
            let again = Data {
                offset: data.offset + from,
                length: to - from,
                payload: &data.payload[from as usize..to as usize],
                tcp_seq: data.tcp_seq.map(|seq| seq.wrapping_add(from as u32)),
                peer: None,
                ..data.clone()
            };
            let at = self.later(index + 1, rng);
            let time = self.wire[at - 1].time.0;
            let again = self.event(false, time, Kind::Data(again));
            self.wire.insert(at, again);
        }
    }

    /// Two packets change places.
    fn reorder(&mut self, rng: &mut Rng) {
        let Some((index, ..)) = self.victim(At::Wire, rng) else { return };
        let other = self.later(index, rng).min(self.wire.len() - 1);
        if self.wire[index..=other].iter().all(|event| matches!(event.kind, Kind::Data(_) | Kind::Loss(_))) {
            let time = self.wire[other].time;
            if time.since(self.wire[index].time) > MOVED_MAX {
                return;
            }
            let mut event = self.wire.remove(index);
            event.time = time;
            self.wire.insert(other, event);
        }
    }
}

/// When the connection came up at a vantage, and as what.
pub fn opening<'e>(events: &'e [Event<'_>]) -> Option<(u64, &'e Open)> {
    events.iter().find_map(|event| match &event.kind {
        Kind::Open(open) => Some((event.time.0, open)),
        _ => None,
    })
}
