//! Pairs of datagrams: what the sockets of a process moved and what a capture has of it, damaged; and what a comparison has
//! to say, datagram by datagram.

use super::case::write_recording;
use super::compare::{FILES, report};
use super::packets;
use super::pair::kept;
use super::ranges::Ranges;
use crate::common::random::Random;
use etherparse::{NetSlice, TransportSlice};
use sockdbg::event::{
    Address, Call, Cause, Close, CloseReason, Comm, ConnId, Data, Direction, Event, Kind, Loss, Open, Opened,
    Range, Role, Stage, Task, Timestamp, Total, Transport,
};
use sockdbg::source;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::Path;

/// From a datagram's arrival to the return of the call that reads it, and how long the probes are in place before and after,
/// in ns.
const READING: u64 = 1000;
const MARGIN: u64 = 1_000_000_000;

/// Offsets of clocks, in ns.
const AHEAD: &[i64] = &[3_600_000_000_000, -3_600_000_000_000, -2_000_000_000];

/// A datagram in its frame.
#[derive(Clone)]
pub struct Packet {
    time: u64,
    frame: Vec<u8>,
    /// Bytes of the frame that the capture keeps.
    kept: usize,
    /// Source and destination.
    ends: [SocketAddr; 2],
    payload: std::ops::Range<usize>,
    /// What tells a copy of it; 0 where nothing does.
    id: u16,
    /// The event of the process that moved it.
    event: usize,
}

/// A clean pair.
pub struct Pair {
    pub name: &'static str,
    link: u32,
    packets: Vec<Packet>,
    events: Vec<Event<'static>>,
    span: [u64; 2],
}

fn read(path: &Path) -> (u32, Vec<Packet>) {
    let (link, frames) = packets::frames(path);
    let parse = |(time, frame): (u64, Vec<u8>)| {
        let sliced = packets::slice(&frame, link)?;
        let place = |part: &[u8]| part.as_ptr() as usize - frame.as_ptr() as usize;
        let (addresses, id): ([IpAddr; 2], u16) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                ([header.source_addr().into(), header.destination_addr().into()], header.identification())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                ([header.source_addr().into(), header.destination_addr().into()], 0)
            }
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else { return None };
        let ports = [udp.source_port(), udp.destination_port()];
        let payload = place(udp.payload())..place(udp.payload()) + udp.payload().len();
        let ends = [0, 1].map(|end: usize| SocketAddr::new(addresses[end], ports[end]));
        drop(sliced);
        Some(Packet { time, kept: frame.len(), ends, payload, id, event: 0, frame })
    };
    let packets = frames.into_iter().filter_map(parse).filter(|packet| !packet.payload.is_empty());
    (link, packets.collect())
}

impl Packet {
    fn bytes(&self) -> &[u8] {
        &self.frame[self.payload.clone()]
    }
}

impl Pair {
    /// From a capture of DNS alone: one socket for each address of the process, which is all servers of it or all clients.
    pub fn of_capture(name: &'static str, file: &Path, server: bool) -> Pair {
        const DNS: u16 = 53;
        let (link, mut packets) = read(file);
        packets.retain(|packet| packet.ends.iter().filter(|end| end.port() == DNS).count() == 1);
        let mut owns: Vec<SocketAddr> = Vec::new();
        let (mut next, mut events, mut last): (Vec<[u64; 2]>, Vec<Event<'static>>, Vec<u64>) =
            Default::default();
        for packet in &mut packets {
            let is_own = |end: &&SocketAddr| (end.port() == DNS) == server;
            let own = *packet.ends.iter().find(is_own).expect("one of two");
            let direction = if packet.ends[0] == own { Direction::Send } else { Direction::Recv };
            let other = packet.ends[usize::from(packet.ends[0] == own)];
            let index = owns.iter().position(|&end| end == own).unwrap_or(owns.len());
            let event = |time, kind| event(index, time, kind);
            if index == owns.len() {
                owns.push(own);
                next.push([0; 2]);
                last.push(0);
                events.push(event(packet.time, Kind::Open(open(own, server))));
            }
            let moved = &mut next[index][direction.index()];
            let offset = *moved;
            *moved += packet.payload.len() as u64;
            let payload: &'static [u8] = Box::leak(packet.bytes().to_vec().into_boxed_slice());
            let time = packet.time + if direction == Direction::Recv { READING } else { 0 };
            last[index] = time;
            packet.event = events.len();
            let call = if direction == Direction::Send { Call::Sendto } else { Call::Recvfrom };
            events.push(event(
                time,
                Kind::Data(Data {
                    direction,
                    offset,
                    length: payload.len() as u64,
                    payload,
                    tcp_seq: None,
                    peer: Some(other.into()),
                    call,
                    cause: None,
                    peek: false,
                    past_tcp: false,
                    acked: None,
                    error: None,
                }),
            ));
        }
        for (index, (moved, last)) in next.into_iter().zip(last).enumerate() {
            let totals = moved.map(|moved| Total { moved, end: Some(moved), ..Total::default() });
            let close = Close { reason: CloseReason::Closed, call: Some(Call::Close), totals };
            events.push(event(index, last + 2 * READING, Kind::Close(close)));
        }
        Pair::new(name, link, packets, events)
    }

    /// From a recording and a capture of the same traffic: each datagram has to be in both.
    pub fn of_files(name: &'static str, recording: &Path, capture: &Path) -> Pair {
        let (link, mut packets) = read(capture);
        let mut source = source::open(recording).expect("a recording");
        let mut events: Vec<Event<'static>> = Vec::new();
        let mut take = |event: &Event<'_>| {
            events.push(kept(event));
            ControlFlow::Continue(())
        };
        source.run(&mut take).expect("a recording that can be read");
        let sockets: BTreeMap<ConnId, Open> = events.iter().filter_map(of_udp).collect();
        events.retain(|event| sockets.contains_key(&event.conn));
        let mut free: Vec<usize> = (0..packets.len()).collect();
        for (number, event) in events.iter().enumerate() {
            let Kind::Data(data) = &event.kind else { continue };
            let socket = &sockets[&event.conn];
            let [own, other] = [socket.local, data.peer.or(socket.remote)];
            let is_it = |&at: &usize| {
                let mut ends = packets[at].ends.map(|end| Some(Address::from(end)));
                if data.direction == Direction::Recv {
                    ends.reverse();
                }
                ends == [own, other] && packets[at].bytes() == data.payload
            };
            let at = free.iter().position(is_it).expect("each datagram is in the capture");
            packets[free.remove(at)].event = number;
        }
        assert!(free.is_empty() && !packets.is_empty(), "{name}: {} datagrams of nobody", free.len());
        Pair::new(name, link, packets, events)
    }

    fn new(name: &'static str, link: u32, packets: Vec<Packet>, events: Vec<Event<'static>>) -> Pair {
        let times: Vec<u64> =
            events.iter().map(|event| event.time.0).chain(packets.iter().map(|packet| packet.time)).collect();
        let span = [times.iter().min().unwrap() - MARGIN, times.iter().max().unwrap() + MARGIN];
        Pair { name, link, packets, events, span }
    }

    /// How many datagrams it has.
    pub fn datagrams(&self) -> usize {
        self.packets.len()
    }
}

fn of_udp(event: &Event<'_>) -> Option<(ConnId, Open)> {
    let Kind::Open(open) = &event.kind else { return None };
    (open.transport == Transport::Udp).then(|| (event.conn, open.clone()))
}

fn event(socket: usize, time: u64, kind: Kind<'static>) -> Event<'static> {
    let conn = ConnId { socket: 1000 + socket as u64, opened: socket as u32 };
    let task = Some(Task { pid: 70, tid: 70, comm: Comm::new(b"test") });
    Event { time: Timestamp(time), conn, task, fd: Some(5), kind }
}

fn open(own: SocketAddr, server: bool) -> Open {
    Open {
        opened: Opened::Fresh,
        transport: Transport::Udp,
        local: Some(own.into()),
        role: if server { Role::Server } else { Role::Client },
        exact: true,
        ..Open::default()
    }
}

/// Who is meant (a socket of the process, or a flow that is none's), who sends, and why bytes are missing.
pub type Named = BTreeMap<(String, String, Cause), Ranges>;

/// What became of a datagram at one vantage.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Whole,
    /// Nothing of it is left, for this cause.
    Gone(Cause),
    /// Only so many of its bytes.
    Cut(u64, Cause),
}

/// A pair that is being damaged.
pub struct Case<'a> {
    pair: &'a Pair,
    packets: Vec<Packet>,
    /// By event: at the process, in the capture.
    fates: [Vec<Fate>; 2],
    /// Sockets that were not traced.
    removed: Vec<ConnId>,
    /// The capture's window, or its clock, was changed.
    windowed: bool,
    ahead: i64,
    pub log: Vec<&'static str>,
}

type Fault = fn(&mut Case<'_>, &mut Random) -> bool;

/// Each fault, with its name. False where a case has nothing that this can happen to.
pub const FAULTS: &[(&str, Fault)] = &[
    ("drop event", |case, random| case.at_process(random, |_, _| Fate::Gone(Cause::UntracedSyscall))),
    ("ring full", |case, random| case.at_process(random, |_, _| Fate::Gone(Cause::RingFull))),
    ("cut payload", |case, random| {
        case.at_process(random, |length, random| Fate::Cut(random.below(length) as u64, Cause::Snaplen))
    }),
    ("drop packet", drop_packet),
    ("cut packet", cut_packet),
    ("duplicate", duplicate),
    ("reorder", reorder),
    ("capture late", |case, random| case.limit(random, Cause::WireStartedLate)),
    ("stop capture", |case, random| case.limit(random, Cause::WireEndedEarly)),
    ("remove socket", remove_socket),
    ("shift clock", shift_clock),
];

impl<'a> Case<'a> {
    pub fn new(pair: &'a Pair) -> Case<'a> {
        let fates = [(); 2].map(|()| vec![Fate::Whole; pair.events.len()]);
        let (packets, removed, log) = (pair.packets.clone(), Vec::new(), Vec::new());
        Case { pair, packets, fates, removed, windowed: false, ahead: 0, log }
    }

    fn conn(&self, event: usize) -> ConnId {
        self.pair.events[event].conn
    }

    /// A packet of a datagram that no fault touched yet, and whose content no other has.
    fn victim(&self, random: &mut Random) -> Option<usize> {
        let is_free = |&at: &usize| {
            let packet = &self.packets[at];
            let is_same = |other: &&Packet| other.ends == packet.ends && other.bytes() == packet.bytes();
            self.fates.iter().all(|fates| fates[packet.event] == Fate::Whole)
                && !self.removed.contains(&self.conn(packet.event))
                && self.packets.iter().filter(is_same).count() == 1
        };
        let free: Vec<usize> = (0..self.packets.len()).filter(is_free).collect();
        (!free.is_empty()).then(|| free[random.below(free.len())])
    }

    fn at_process(&mut self, random: &mut Random, fate: fn(usize, &mut Random) -> Fate) -> bool {
        let Some(at) = self.victim(random) else { return false };
        let packet = &self.packets[at];
        self.fates[0][packet.event] = fate(packet.payload.len(), random);
        true
    }

    /// Each socket has a packet left, so that the capture is one of its interface.
    fn has_some_of_each(&self, packets: &[Packet]) -> bool {
        let has_some = |event: &Event<'_>| packets.iter().any(|packet| self.conn(packet.event) == event.conn);
        self.pair.events.iter().all(has_some)
    }

    /// The capture begins or ends in the middle. Calls whose place between two packets is not that of their own packet tell
    /// nothing certain.
    fn limit(&mut self, random: &mut Random, cause: Cause) -> bool {
        let at = random.below(self.packets.len());
        let (mut left, mut gone) = (self.packets[..at].to_vec(), self.packets[at..].to_vec());
        if cause == Cause::WireStartedLate {
            std::mem::swap(&mut left, &mut gone);
        }
        let times = left.iter().map(|packet| packet.time);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return false };
        let is_clear = |packet: &Packet| {
            let time = self.pair.events[packet.event].time.0;
            let outside = if cause == Cause::WireStartedLate { time < first } else { time > last };
            outside
                && self.fates[0][packet.event] == Fate::Whole
                && self.fates[1][packet.event] == Fate::Whole
        };
        let lost = |fate: &Fate| matches!(fate, Fate::Gone(_));
        let clear = self.removed.is_empty()
            && !self.fates.iter().flatten().any(lost)
            && gone.iter().all(is_clear)
            && self.has_some_of_each(&left);
        if !clear || std::mem::replace(&mut self.windowed, true) {
            return false;
        }
        for packet in gone {
            self.fates[1][packet.event] = Fate::Gone(cause);
        }
        self.packets = left;
        true
    }

    fn files(&self) -> [Vec<u8>; 2] {
        let mut events = Vec::new();
        for (event, fate) in self.pair.events.iter().zip(&self.fates[0]) {
            let mut event = event.clone();
            let range = if let Kind::Data(data) = &event.kind { data.range() } else { Range::default() };
            match (&mut event.kind, fate) {
                _ if self.removed.contains(&event.conn) => continue,
                (_, Fate::Gone(Cause::UntracedSyscall)) => continue,
                (Kind::Data(data), &Fate::Gone(cause)) => {
                    event.kind = Kind::Loss(Loss { direction: data.direction, range, cause });
                }
                (Kind::Data(data), &Fate::Cut(kept, cause)) => {
                    (data.payload, data.cause) = (&data.payload[..kept as usize], Some(cause));
                }
                _ => {}
            }
            events.push((0, event));
        }
        events.sort_by_key(|(_, event)| event.time);
        let (recording, ..) = write_recording(&events, self.pair.span);
        let frames = self.packets.iter().map(|packet| (packet.time, packet.kept, &packet.frame[..]));
        [recording, packets::write_frames(self.pair.link, frames, self.ahead).0]
    }

    /// What has to be named.
    fn expected(&self) -> Named {
        let mut named = Named::new();
        let mut say = |who: String, sends: String, cause: Cause, range: Range| {
            let all = named.entry((who, sends, cause)).or_default();
            *all = all.or(&Ranges::of(range.from, range.to));
        };
        for (number, event) in self.pair.events.iter().enumerate() {
            let Kind::Data(data) = &event.kind else { continue };
            if self.removed.contains(&event.conn) {
                continue;
            }
            for fates in &self.fates {
                let who = || event.conn.socket.to_string();
                let sends = || data.direction.name().to_owned();
                match fates[number] {
                    Fate::Whole => {}
                    Fate::Gone(cause) => say(who(), sends(), cause, data.range()),
                    Fate::Cut(kept, cause) => {
                        let Range { from, to } = data.range();
                        say(who(), sends(), cause, Range::new(from + kept, to));
                    }
                }
            }
        }
        let mut lengths: BTreeMap<[SocketAddr; 2], u64> = BTreeMap::new();
        let mut seen: Vec<usize> = Vec::new();
        for packet in self.packets.iter().filter(|packet| self.removed.contains(&self.conn(packet.event))) {
            if !seen.contains(&packet.event) {
                seen.push(packet.event);
                *lengths.entry(packet.ends).or_default() += packet.payload.len() as u64;
            }
        }
        for (ends, length) in lengths {
            say(flow(ends), ends[0].to_string(), Cause::NotThisProcess, Range::new(0, length));
        }
        named
    }

    /// Compares, and holds what is said against what was done.
    pub fn check(&self, folder: &Path) -> Result<(), String> {
        let paths = FILES.map(|name| folder.join(name));
        for (path, bytes) in paths.iter().zip(self.files()) {
            std::fs::write(path, bytes).expect("a file");
        }
        let report = report([&paths[0], &paths[1]])?;
        let mut said = Named::new();
        for comparison in &report.connections {
            if comparison.residual() > 0 {
                return Err(format!("residual {}", comparison.residual()));
            }
            let open = &comparison.info.open;
            let ends = [open.local, open.remote].map(|end| end.and_then(|end| end.ip()));
            for finding in comparison.findings.iter().filter(|one| one.cause.stage() < Stage::Stream) {
                let (who, sends) = match (comparison.flow, ends) {
                    (Some(_), [Some(client), Some(server)]) => {
                        let of_client = finding.direction == Direction::Send;
                        (flow([client, server]), if of_client { client } else { server }.to_string())
                    }
                    _ => (comparison.info.id.socket.to_string(), finding.direction.name().to_owned()),
                };
                let all = said.entry((who, sends, finding.cause)).or_default();
                *all = all.or(&Ranges::of(finding.range.from, finding.range.to));
            }
        }
        let expected = self.expected();
        if said != expected {
            return Err(format!("said {said:?}\n    not {expected:?}"));
        }
        let ahead = report.clock.map_or(0, |clock| if clock.same { 0 } else { clock.ahead });
        if ahead.abs_diff(self.ahead) > MARGIN {
            return Err(format!("clock {:?}, {} ns ahead", report.clock, self.ahead));
        }
        Ok(())
    }
}

fn flow(mut ends: [SocketAddr; 2]) -> String {
    ends.sort();
    format!("{} {}", ends[0], ends[1])
}

fn drop_packet(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(at) = case.victim(random).filter(|_| !case.windowed) else { return false };
    // At either end it would look like a capture that began later or ended sooner.
    if at == 0 || at + 1 == case.packets.len() {
        return false;
    }
    let packet = case.packets.remove(at);
    if !case.has_some_of_each(&case.packets) {
        case.packets.insert(at, packet);
        return false;
    }
    case.fates[1][packet.event] = Fate::Gone(Cause::WireNotCaptured);
    true
}

fn cut_packet(case: &mut Case<'_>, random: &mut Random) -> bool {
    let Some(at) = case.victim(random) else { return false };
    let packet = &mut case.packets[at];
    let left = random.below(packet.payload.len());
    packet.kept = packet.payload.start + left;
    case.fates[1][packet.event] = Fate::Cut(left as u64, Cause::WireSnaplen);
    true
}

/// The same packet twice, as where a bridge is captured at both sides. Without an identification nothing tells it from a
/// datagram that was sent twice.
fn duplicate(case: &mut Case<'_>, random: &mut Random) -> bool {
    let at = random.below(case.packets.len());
    let copy = case.packets[at].clone();
    if copy.id == 0 {
        return false;
    }
    case.packets.insert(at + 1, copy);
    true
}

/// A packet changes places with the next.
fn reorder(case: &mut Case<'_>, random: &mut Random) -> bool {
    let at = random.below(case.packets.len());
    let Some(next) = case.packets.get(at + 1).filter(|_| !case.windowed) else { return false };
    // Copies come together.
    let pair = [case.packets[at].event, next.event];
    if case.packets.iter().filter(|packet| pair.contains(&packet.event)).count() > 2 {
        return false;
    }
    let times = [case.packets[at].time, next.time];
    case.packets.swap(at, at + 1);
    (case.packets[at].time, case.packets[at + 1].time) = (times[0], times[1]);
    case.windowed = true;
    true
}

fn remove_socket(case: &mut Case<'_>, random: &mut Random) -> bool {
    let conn = case.conn(case.packets[random.below(case.packets.len())].event);
    let mine = |number: usize| case.conn(number) == conn;
    let whole = (0..case.pair.events.len())
        .filter(|&number| mine(number))
        .all(|number| case.fates.iter().all(|fates| fates[number] == Fate::Whole));
    if !whole || case.windowed || case.pair.events.iter().all(|event| event.conn == conn) {
        return false;
    }
    case.removed.push(conn);
    true
}

/// The capture was made on a host whose clock is another. Only moments that both saw tell.
fn shift_clock(case: &mut Case<'_>, random: &mut Random) -> bool {
    let lost = |fate: &Fate| matches!(fate, Fate::Gone(_));
    if !case.removed.is_empty() || case.fates.iter().flatten().any(lost) || case.windowed {
        return false;
    }
    case.windowed = true;
    case.ahead = AHEAD[random.below(AHEAD.len())];
    true
}
