//! One connection as both vantages see it: two lists of events, and what a comparison has to say of them.

use super::conversation::{Conversation, Rng, Talk};
use super::inject::opening;
use sockdbg::event::{
    Call, Cause, Close, CloseReason, Comm, ConnId, Data, Direction, Event, Kind, Open, Opened, Range, Role,
    Start, Task, Timestamp, Total,
};

/// A fault with a range of its own, in the process's offsets.
pub type Missing = (Direction, Cause, Range);

/// A connection of the process and its flow. What is not said otherwise is in the process's terms.
pub struct Link<'a> {
    pub process: Vec<Event<'a>>,
    pub wire: Vec<Event<'a>>,
    pub conn: ConnId,
    pub flow: ConnId,
    /// The process is the flow's server.
    pub server: bool,
    /// Offset of the process at which the flow's offset 0 is.
    pub base: [u64; 2],
    /// Sequence number of offset 0.
    pub seq: [u32; 2],
    /// Request and response, in the order sent.
    pub pairs: Vec<[Range; 2]>,
    /// The direction of requests.
    pub asks: Direction,
    pub talk: Talk,
    /// Faults so far that have a range of their own.
    pub faults: Vec<Missing>,
    /// Bytes that are others in the capture.
    pub rewritten: Vec<(Direction, Range)>,
    /// The capture has other addresses.
    pub translated: bool,
    /// Bytes that no further fault may touch, at each vantage.
    pub taken: [Vec<(Direction, Range)>; 2],
}

/// How the bytes of a turn are cut into calls or packets.
const SHAPES: &[u64] = &[1 << 20, 1460, 512, 100];

/// Nanoseconds between the turns of a conversation.
const TURN: u64 = 1_000_000;

const TASK: Task = Task { pid: 7, tid: 7, comm: Comm(*b"test\0\0\0\0\0\0\0\0\0\0\0\0") };

impl<'a> Link<'a> {
    /// Both vantages on a conversation, whole.
    pub fn new(talk: &'a Conversation, number: u64, server: bool, rng: &mut Rng) -> Link<'a> {
        let sides = if server { [1, 0] } else { [0, 1] };
        let mut link = Link {
            process: Vec::new(),
            wire: Vec::new(),
            conn: ConnId { socket: 1000 + number, opened: number as u32 },
            flow: ConnId { socket: number, opened: 0 },
            server,
            base: sides.map(|side| talk.prior[side]),
            seq: sides.map(|side| talk.seq[side]),
            pairs: talk.pairs.clone(),
            asks: if server { Direction::Recv } else { Direction::Send },
            talk: talk.talk,
            faults: Vec::new(),
            rewritten: Vec::new(),
            translated: false,
            taken: Default::default(),
        };
        let found = talk.prior != [0; 2];
        link.open(talk, found);
        for (turn, &(side, range)) in talk.turns.iter().enumerate() {
            let time = talk.begin + (turn as u64 + 1) * TURN;
            for part in cut(range, rng) {
                let data = data(talk, side, part, link.direction(side), link.seq_at(side, part.from, talk));
                link.process.push(link.event(true, time + part.to - range.from, Kind::Data(data)));
            }
            for part in cut(range, rng) {
                let mut data =
                    data(talk, side, part, client_direction(side), link.seq_at(side, part.from, talk));
                data.offset -= talk.prior[side];
                data.call = Call::Packet;
                link.wire.push(link.event(false, time + part.to - range.from, Kind::Data(data)));
            }
        }
        link.close(talk);
        link
    }

    /// What two sources saw of one connection, both from its handshake on. `known`: findings that are there
    /// already.
    pub fn of(lists: [Vec<Event<'a>>; 2], pairs: Vec<[Range; 2]>, known: Vec<Missing>) -> Link<'a> {
        let [process, wire] = lists;
        let (conn, flow) = (process[0].conn, wire[0].conn);
        let open = opening(&process).expect("the listener was traced").1;
        let server = open.role == Role::Server;
        let seq = open.start.map(|start| start.seq.unwrap_or_default());
        let asks = if server { Direction::Recv } else { Direction::Send };
        let taken = [known.iter().map(|&(direction, _, range)| (direction, range)).collect(), Vec::new()];
        let (talk, base) = (Talk::KeepAlive, [0; 2]);
        Link {
            process,
            wire,
            conn,
            flow,
            server,
            base,
            seq,
            pairs,
            asks,
            talk,
            faults: known,
            rewritten: Vec::new(),
            translated: false,
            taken,
        }
    }

    fn direction(&self, side: usize) -> Direction {
        let direction = client_direction(side);
        if self.server { direction.reverse() } else { direction }
    }

    /// The flow's direction that carries the process's `direction`.
    pub fn flow_direction(&self, direction: Direction) -> Direction {
        if self.server { direction.reverse() } else { direction }
    }

    fn seq_at(&self, side: usize, offset: u64, talk: &Conversation) -> u32 {
        talk.seq[side].wrapping_add(offset as u32)
    }

    pub fn event(&self, process: bool, time: u64, kind: Kind<'a>) -> Event<'a> {
        let conn = if process { self.conn } else { self.flow };
        let task = process.then_some(TASK);
        Event { time: Timestamp(time), conn, task, fd: process.then_some(5), kind }
    }

    fn open(&mut self, talk: &Conversation, found: bool) {
        let opened = if found { Opened::Found } else { Opened::Fresh };
        let start = |offset, seq| Start { offset, seq: Some(seq) };
        let wire = Open {
            opened,
            local: Some(talk.client.into()),
            remote: Some(talk.server.into()),
            role: Role::Client,
            start: [0, 1].map(|side| start(0, self.seq_at(side, talk.prior[side], talk))),
            exact: !found,
            ..Open::default()
        };
        let mut process = Open { exact: true, ..wire.clone() };
        process.start = [0, 1].map(|index: usize| {
            start(self.base[index], self.seq[index].wrapping_add(self.base[index] as u32))
        });
        if self.server {
            process.role = Role::Server;
            std::mem::swap(&mut process.local, &mut process.remote);
        }
        self.wire.push(self.event(false, talk.begin, Kind::Open(wire)));
        self.process.push(self.event(true, talk.begin, Kind::Open(process)));
    }

    fn close(&mut self, talk: &'a Conversation) {
        let time = talk.begin + (talk.turns.len() as u64 + 1) * TURN;
        for side in [0, 1] {
            let end = Range::new(talk.end(side), talk.end(side));
            let mut fin = data(talk, side, end, client_direction(side), self.seq_at(side, end.from, talk));
            fin.offset -= talk.prior[side];
            self.wire.push(self.event(false, time, Kind::Data(fin)));
        }
        let total = |end| Total { end: Some(end), ..Total::default() };
        let close = |reason, totals| Kind::Close(Close { reason, call: None, totals });
        let wire = close(CloseReason::Fin, [0, 1].map(|side| total(talk.end(side) - talk.prior[side])));
        self.wire.push(self.event(false, time, wire));
        let sides = if self.server { [1, 0] } else { [0, 1] };
        let process = close(CloseReason::Closed, sides.map(|side| total(talk.end(side))));
        self.process.push(self.event(true, time, process));
    }

    /// The capture has every byte from the handshake to the end, as it was sent.
    pub fn has_whole_flow(&self) -> bool {
        if !self.rewritten.is_empty() {
            return false;
        }
        let lacks = |event: &Event<'_>| match &event.kind {
            Kind::Open(open) => open.opened == Opened::Found,
            Kind::Data(data) => (data.payload.len() as u64) < data.length,
            Kind::Loss(_) => true,
            Kind::Close(_) => false,
        };
        let ends = self.wire.iter().any(|event| matches!(event.kind, Kind::Close(_)));
        ends && !self.wire.iter().any(lacks)
    }

    /// The range of the process's bytes that an event of either vantage moved, where it did.
    pub fn moved(&self, event: &Event<'_>) -> Option<(Direction, Range)> {
        let (direction, range) = match &event.kind {
            Kind::Data(data) if data.length > 0 && !data.peek && data.error.is_none() => {
                (data.direction, data.range())
            }
            Kind::Loss(loss) => (loss.direction, loss.range),
            _ => return None,
        };
        if event.conn == self.conn && event.task.is_some() {
            return Some((direction, range));
        }
        let direction = self.flow_direction(direction);
        let base = self.base[direction.index()];
        Some((direction, Range::new(range.from + base, range.to + base)))
    }
}

fn client_direction(side: usize) -> Direction {
    Direction::BOTH[side]
}

fn data<'a>(talk: &'a Conversation, side: usize, range: Range, direction: Direction, seq: u32) -> Data<'a> {
    let call = if direction == Direction::Send { Call::Write } else { Call::Read };
    Data {
        direction,
        offset: range.from,
        length: range.len(),
        payload: talk.bytes(side, range),
        tcp_seq: Some(seq),
        peer: None,
        call,
        cause: None,
        peek: false,
        past_tcp: false,
        acked: None,
        error: None,
    }
}

/// Cuts a range into parts of one of the [`SHAPES`], or at random places.
fn cut(range: Range, rng: &mut Rng) -> Vec<Range> {
    let (mut parts, mut from) = (Vec::new(), range.from);
    let (shape, random) = (rng.pick(SHAPES), rng.chance(50));
    while from < range.to {
        let length = if random { 1 + rng.below(shape.min(range.len())) } else { shape };
        let to = (from + length).min(range.to);
        parts.push(Range::new(from, to));
        from = to;
    }
    parts
}
