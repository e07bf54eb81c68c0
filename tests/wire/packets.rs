//! Packets, captures of them, and what the capture source makes of one.

use etherparse::PacketBuilder;
use sockdbg::event::{Cause, CloseReason, ConnId, Event, Kind, Range, Transport};
use sockdbg::source::pcap::{Capture, Options};
use sockdbg::source::{Error, Source, Summary};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;

pub const CLIENT: &str = "10.0.0.1:50000";
pub const SERVER: &str = "10.0.0.2:80";

/// LINKTYPE_ values.
pub const ETHERNET: u16 = 1;
pub const RAW: u16 = 101;

const MILLISECOND: u64 = 1_000_000;

/// An IP packet with a TCP segment; flags by their letters.
pub fn segment(from: &str, to: &str, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let ends = [from, to].map(|end| end.parse::<SocketAddr>().unwrap());
    let ip = match ends {
        [SocketAddr::V4(from), SocketAddr::V4(to)] => {
            PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        }
        [SocketAddr::V6(from), SocketAddr::V6(to)] => {
            PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 64)
        }
        _ => panic!("addresses of two families"),
    };
    let mut tcp = ip.tcp(ends[0].port(), ends[1].port(), seq, 65535);
    for flag in flags.chars() {
        tcp = match flag {
            'S' => tcp.syn(),
            'F' => tcp.fin(),
            'R' => tcp.rst(),
            _ => tcp.ack(ack),
        };
    }
    let mut packet = Vec::new();
    tcp.write(&mut packet, payload).unwrap();
    packet
}

/// An IP packet with a UDP datagram.
pub fn datagram(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let ends = [from, to].map(|end| end.parse::<std::net::SocketAddrV4>().unwrap());
    let ip = PacketBuilder::ipv4(ends[0].ip().octets(), ends[1].ip().octets(), 64);
    let mut packet = Vec::new();
    ip.udp(ends[0].port(), ends[1].port()).write(&mut packet, payload).unwrap();
    packet
}

/// A frame of `kind` (EtherType) around `payload`.
pub fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes(), payload].concat()
}

/// Cuts an IPv4 packet into fragments whose payload has at most `size` bytes, a multiple of 8.
pub fn fragments(packet: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let (head, payload) = packet.split_at(20);
    let count = payload.len().div_ceil(size);
    let fragment = |(number, piece): (usize, &[u8])| {
        let mut head = head.to_vec();
        let more = if number + 1 < count { 0x2000 } else { 0 };
        head[2..4].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
        head[4..6].copy_from_slice(&id.to_be_bytes());
        head[6..8].copy_from_slice(&(more | (number * size / 8) as u16).to_be_bytes());
        [&head[..], piece].concat()
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

/// A packet in a capture.
#[derive(Clone)]
pub struct Captured {
    /// Nanoseconds.
    pub time: u64,
    pub bytes: Vec<u8>,
    /// Length on the wire.
    pub length: usize,
}

/// A capture under construction, a packet each millisecond.
#[derive(Clone)]
pub struct Tape {
    pub link: u16,
    pub packets: Vec<Captured>,
    time: u64,
}

impl Tape {
    pub fn new(link: u16) -> Tape {
        Tape { link, packets: Vec::new(), time: 1_700_000_000 * 1000 * MILLISECOND }
    }

    /// A connection whose streams both begin at sequence number 101.
    pub fn connected() -> Tape {
        let mut tape = Tape::new(RAW);
        tape.send("S", 100, 0, b"").answer("SA", 100, 101, b"").send("A", 101, 101, b"");
        tape
    }

    pub fn packet(&mut self, bytes: Vec<u8>) -> &mut Tape {
        self.time += MILLISECOND;
        let length = bytes.len();
        self.packets.push(Captured { time: self.time, bytes, length });
        self
    }

    /// A segment of the client.
    pub fn send(&mut self, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> &mut Tape {
        self.packet(segment(CLIENT, SERVER, flags, seq, ack, payload))
    }

    /// A segment of the server.
    pub fn answer(&mut self, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> &mut Tape {
        self.packet(segment(SERVER, CLIENT, flags, seq, ack, payload))
    }

    pub fn wait(&mut self, milliseconds: u64) -> &mut Tape {
        self.time += milliseconds * MILLISECOND;
        self
    }

    /// As a pcap file: microseconds, little-endian.
    pub fn pcap(&self) -> Vec<u8> {
        self.pcap_in(false, false)
    }

    /// As a pcap file in either byte order and resolution.
    pub fn pcap_in(&self, big_endian: bool, nanoseconds: bool) -> Vec<u8> {
        let put = |number: u64| {
            let number = number as u32;
            if big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
        };
        let versions = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut file = [put(magic), versions, put(0), put(0), put(262_144), put(self.link.into())].concat();
        for packet in &self.packets {
            let part = packet.time % (1000 * MILLISECOND) / if nanoseconds { 1 } else { 1000 };
            file.extend([put(packet.time / (1000 * MILLISECOND)), put(part)].concat());
            file.extend([put(packet.bytes.len() as u64), put(packet.length as u64)].concat());
            file.extend(&packet.bytes);
        }
        file
    }

    /// What the capture source makes of it.
    pub fn read(&self) -> Seen {
        read(&self.pcap())
    }
}

/// A range without payload, by direction: false is what the client sent.
pub type Missing = (bool, Range, Cause);

/// A connection as it was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conn {
    pub transport: Transport,
    pub client: String,
    pub server: String,
    /// What the client and the server sent; the first to arrive stand, missing bytes are `?`.
    pub sent: [String; 2],
    pub missing: Vec<Missing>,
    pub end: Option<CloseReason>,
    /// Bytes moved, as the close says.
    pub moved: [u64; 2],
}

/// Everything that was seen of a capture.
pub struct Seen {
    pub conns: Vec<Conn>,
    pub summary: Summary,
    pub packets: u64,
}

impl Seen {
    /// The one connection that there is, with nothing to warn of.
    #[track_caller]
    pub fn only(self) -> Conn {
        assert_eq!(self.summary.warnings, [""; 0]);
        self.one()
    }

    /// The one connection that there is.
    #[track_caller]
    pub fn one(mut self) -> Conn {
        assert_eq!(self.conns.len(), 1, "{:?}", self.conns);
        self.conns.remove(0)
    }
}

impl Conn {
    /// What was sent, and nothing is missing.
    #[track_caller]
    pub fn sent(&self, client: &str, server: &str) {
        assert_eq!((self.sent[0].as_str(), self.sent[1].as_str()), (client, server), "{self:?}");
        assert!(self.missing.is_empty(), "{self:?}");
        assert_eq!(self.moved, [client.len() as u64, server.len() as u64], "{self:?}");
    }
}

/// Reads a file of these bytes.
pub fn try_read(bytes: &[u8]) -> Result<Seen, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    try_read_file(file.path())
}

/// Reads a file of these bytes, which is a capture.
#[track_caller]
pub fn read(bytes: &[u8]) -> Seen {
    try_read(bytes).unwrap_or_else(|error| panic!("{error}"))
}

pub fn try_read_file(path: &Path) -> Result<Seen, Error> {
    let mut conns: BTreeMap<ConnId, (Conn, Streams)> = BTreeMap::new();
    let mut capture = Capture::open(path, Options::default())?;
    let summary = capture.run(&mut |event| {
        let (conn, streams) = conns.entry(event.conn).or_default();
        note(event, conn, streams);
        ControlFlow::Continue(())
    })?;
    // A tunnel that is cut before what is in it is a datagram.
    conns.retain(|_, (conn, _)| conn.transport == Transport::Tcp);
    let finish = |(mut conn, streams): (Conn, Streams)| {
        conn.sent = streams.map(|stream| stream.iter().map(|byte| byte.map_or('?', char::from)).collect());
        conn
    };
    let packets = capture.counts().packets;
    Ok(Seen { conns: conns.into_values().map(finish).collect(), summary, packets })
}

/// What both ends sent, byte by byte.
type Streams = [Vec<Option<u8>>; 2];

/// Streams longer than this are counted and not kept.
const KEPT: u64 = 1 << 18;

fn note(event: &Event<'_>, conn: &mut Conn, streams: &mut Streams) {
    assert_eq!(conn.end, None, "after the end: {event:?}");
    match &event.kind {
        Kind::Open(open) => {
            conn.transport = open.transport;
            conn.client = open.local.as_ref().unwrap().to_string();
            conn.server = open.remote.as_ref().unwrap().to_string();
        }
        Kind::Data(data) => {
            let stream = &mut streams[data.direction.index()];
            let range = data.range();
            if range.to > KEPT {
                return;
            }
            if stream.len() < range.to as usize {
                stream.resize(range.to as usize, None);
            }
            for (slot, &byte) in stream[range.from as usize..].iter_mut().zip(data.payload) {
                slot.get_or_insert(byte);
            }
        }
        Kind::Loss(loss) => conn.missing.push((loss.direction.index() == 1, loss.range, loss.cause)),
        Kind::Close(close) => {
            conn.end = Some(close.reason);
            conn.moved = close.totals.map(|total| total.moved);
        }
    }
}
