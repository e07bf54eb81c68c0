//! A clean pair: what a capture has, and what the process at one end of its connections would have recorded.

use super::packets::{self, Flow, Packet};
use sockdbg::event::{
    Address, Call, Close, CloseReason, Comm, ConnId, Data, Direction, Event, Kind, Open, Opened, Range, Role,
    Start, Task, Timestamp, Total, Vantage,
};
use sockdbg::source;
use std::ops::ControlFlow;
use std::path::Path;

/// How the process's calls cut the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// One for each packet.
    Packets,
    /// Of at most so many bytes.
    Small(u64),
    /// One for all that goes one way within a few milliseconds.
    Large,
}

/// Longest call of [`Calls::Large`], and how long it waits at most, in ns.
const LARGE: u64 = 64 << 10;
const PATIENCE: u64 = 5_000_000;

/// From a packet's arrival to the return of the call that reads it, in ns.
const READING: u64 = 1000;

/// How long the probes are in place before and after, in ns.
const MARGIN: u64 = 1_000_000_000;

/// A connection as both have it.
pub struct Conn {
    pub flow: Flow,
    pub id: ConnId,
    /// The process is its server.
    pub is_server: bool,
    /// The process's side, in the order of time.
    pub events: Vec<Event<'static>>,
}

impl Conn {
    /// The process's direction in which `side` sends.
    pub fn direction(&self, side: usize) -> Direction {
        let is_ours = usize::from(self.is_server) == side;
        if is_ours { Direction::Send } else { Direction::Recv }
    }

    /// Who sends in the process's direction.
    pub fn side(&self, direction: Direction) -> usize {
        usize::from(self.direction(0) != direction)
    }
}

pub struct Pair {
    pub name: &'static str,
    pub link: u32,
    pub packets: Vec<Packet>,
    pub conns: Vec<Conn>,
    /// When the probes were put in place and removed.
    pub span: [u64; 2],
}

impl Pair {
    /// From a capture alone: the process's calls follow from its bytes. Each connection belongs to one of two processes.
    pub fn of_capture(
        name: &'static str,
        file: &Path,
        server: bool,
        calls: Calls,
        change: Option<fn(&mut Vec<Packet>)>,
    ) -> Pair {
        let (link, mut packets) = packets::read(file);
        if let Some(change) = change {
            change(&mut packets);
        }
        let flows = packets::flows(&mut packets);
        assert!(!flows.is_empty(), "{name}: no whole connection");
        let conns = (0..).zip(flows).map(|(index, flow)| process_side(index, flow, &packets, server, calls));
        Pair::new(name, link, conns.collect(), packets)
    }

    /// From a recording and a capture of the same traffic. Connections that either lacks are left out of both.
    pub fn of_files(name: &'static str, recording: &Path, capture: &Path) -> Pair {
        let (link, mut packets) = packets::read(capture);
        let flows = packets::flows(&mut packets);
        let mut source = source::open(recording).expect("a recording");
        assert_eq!(source.vantage(), Vantage::Syscall);
        let mut events: Vec<Event<'static>> = Vec::new();
        let mut take = |event: &Event<'_>| {
            events.push(kept(event));
            ControlFlow::Continue(())
        };
        source.run(&mut take).expect("a recording that can be read");
        let mut conns: Vec<Conn> = Vec::new();
        let mut kept_flows = vec![None; flows.len()];
        for (index, flow) in flows.into_iter().enumerate() {
            let ends = flow.ends.map(|end| Some(Address::from(end)));
            let opens = events.iter().filter_map(|event| match &event.kind {
                Kind::Open(open) => Some((event.conn, open)),
                _ => None,
            });
            let mut mine = opens
                .filter(|(_, open)| [open.local, open.remote] == ends || [open.remote, open.local] == ends);
            let Some((id, open)) = mine.next() else { continue };
            let is_server = open.remote == ends[0];
            let events = events.iter().filter(|event| event.conn == id).cloned().collect();
            kept_flows[index] = Some(conns.len());
            conns.push(Conn { flow, id, is_server, events });
        }
        packets.retain(|packet| kept_flows[packet.flow].is_some());
        packets.iter_mut().for_each(|packet| packet.flow = kept_flows[packet.flow].unwrap());
        assert!(!conns.is_empty(), "{name}: no connection in both");
        Pair::new(name, link, conns, packets)
    }

    fn new(name: &'static str, link: u32, conns: Vec<Conn>, packets: Vec<Packet>) -> Pair {
        let of_calls = conns.iter().flat_map(|conn| &conn.events).map(|event| event.time.0);
        let times: Vec<u64> = packets.iter().map(|packet| packet.time).chain(of_calls).collect();
        let span = [times.iter().min().unwrap() - MARGIN, times.iter().max().unwrap() + MARGIN];
        Pair { name, link, packets, conns, span }
    }

    /// Bytes in all streams.
    pub fn bytes(&self) -> usize {
        self.conns.iter().flat_map(|conn| &conn.flow.streams).map(Vec::len).sum()
    }
}

/// The event with a payload that stays: pairs live as long as the test.
pub fn kept(event: &Event<'_>) -> Event<'static> {
    let kind = match &event.kind {
        Kind::Open(open) => Kind::Open(open.clone()),
        Kind::Close(close) => Kind::Close(*close),
        Kind::Loss(loss) => Kind::Loss(loss.clone()),
        Kind::Data(data) => {
            let payload: &'static [u8] = Box::leak(data.payload.to_vec().into_boxed_slice());
            Kind::Data(Data { payload, ..data.clone() })
        }
    };
    Event { time: event.time, conn: event.conn, task: event.task, fd: event.fd, kind }
}

/// What the process that is one end of a flow would have seen.
fn process_side(index: usize, flow: Flow, packets: &[Packet], is_server: bool, calls: Calls) -> Conn {
    let id = ConnId { socket: 1000 + index as u64, opened: index as u32 };
    let mut conn = Conn { flow, id, is_server, events: Vec::new() };
    let pid = 70 + index as u32 % 2;
    let task = Task { pid, tid: pid, comm: Comm::new(b"test") };
    let event = |time, kind| Event { time: Timestamp(time), conn: id, task: Some(task), fd: Some(5), kind };
    let mine: Vec<&Packet> = packets.iter().filter(|packet| packet.flow == index).collect();
    let streams = conn.flow.streams.clone().map(|stream| &*Box::leak(stream.into_boxed_slice()));
    let mut events = vec![event(mine[0].time, Kind::Open(open(&conn)))];
    let mut known: [super::ranges::Ranges; 2] = Default::default();
    let mut last: Option<(usize, u64, Range)> = None;
    let mut pieces = Vec::new();
    let mut fins = [false; 2];
    for packet in &mine {
        let side = packet.side;
        let before = frontier(&known[side]);
        known[side] = known[side].or(&[packet.range].into_iter().collect());
        let range = Range::new(before, frontier(&known[side]));
        if !range.is_empty() {
            let joined = last.filter(|&(of, time, so_far)| {
                calls == Calls::Large
                    && of == side
                    && packet.time - time < PATIENCE
                    && range.to - so_far.from <= LARGE
            });
            let whole = joined.map_or(range, |(.., so_far)| Range::new(so_far.from, range.to));
            if joined.is_some() {
                pieces.pop();
            }
            let sends = conn.direction(side) == Direction::Send;
            let began = joined.map_or(packet.time, |(_, time, _)| time);
            pieces.push((if sends { began } else { packet.time + READING }, side, whole));
            last = Some((side, began, whole));
        }
        let ends = packet.fin && !fins[side] && conn.direction(side) == Direction::Recv;
        if ends && frontier(&known[side]) == streams[side].len() as u64 {
            let end = streams[side].len() as u64;
            pieces.push((packet.time + READING, side, Range::new(end, end)));
            last = None;
        }
        fins[side] |= packet.fin;
    }
    for (time, side, whole) in pieces {
        for range in cut(whole, calls) {
            let payload = &streams[side][range.from as usize..range.to as usize];
            events.push(event(time, Kind::Data(data(&conn, side, range, payload))));
        }
    }
    let over = fins == [true; 2] || mine.iter().any(|packet| packet.rst);
    let end = mine[mine.len() - 1].time + 2 * READING;
    let total = |direction| {
        let length = conn.flow.streams[conn.side(direction)].len() as u64;
        Total { moved: length, end: Some(length), ..Total::default() }
    };
    let reason = if over { CloseReason::Closed } else { CloseReason::StillOpen };
    let call = Some(if over { Call::Close } else { Call::Listing });
    events.push(event(end, Kind::Close(Close { reason, call, totals: Direction::BOTH.map(total) })));
    events.sort_by_key(|event| event.time);
    conn.events = events;
    conn
}

fn frontier(known: &super::ranges::Ranges) -> u64 {
    known.0.first().filter(|first| first.from == 0).map_or(0, |first| first.to)
}

fn cut(range: Range, calls: Calls) -> Vec<Range> {
    let Calls::Small(length) = calls else { return vec![range] };
    if range.is_empty() {
        return vec![range];
    }
    let starts = (range.from..range.to).step_by(length as usize);
    starts.map(|from| Range::new(from, (from + length).min(range.to))).collect()
}

fn open(conn: &Conn) -> Open {
    let [client, server] = conn.flow.ends.map(|end| Some(Address::from(end)));
    let start = |direction| {
        let seq = conn.flow.initial[conn.side(direction)].wrapping_add(1);
        Start { offset: 0, seq: Some(seq) }
    };
    Open {
        opened: Opened::Fresh,
        local: if conn.is_server { server } else { client },
        remote: if conn.is_server { client } else { server },
        role: if conn.is_server { Role::Server } else { Role::Client },
        start: Direction::BOTH.map(start),
        exact: true,
        call: Some(if conn.is_server { Call::Accept4 } else { Call::Connect }),
        ..Open::default()
    }
}

fn data(conn: &Conn, side: usize, range: Range, payload: &'static [u8]) -> Data<'static> {
    let direction = conn.direction(side);
    Data {
        direction,
        offset: range.from,
        length: range.len(),
        payload,
        tcp_seq: Some(conn.flow.initial[side].wrapping_add(1).wrapping_add(range.from as u32)),
        peer: None,
        call: if direction == Direction::Send { Call::Write } else { Call::Read },
        cause: None,
        peek: false,
        past_tcp: false,
        acked: None,
        error: None,
    }
}
