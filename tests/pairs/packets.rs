//! Captures read and written packet by packet, and the streams in them put together in the plainest way: by another
//! parser of packets than sockdbg's, and without its reassembly.

use super::ranges::Ranges;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use sockdbg::event::Range;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// pcap's magic numbers for microseconds and nanoseconds (draft-ietf-opsawg-pcap).
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// Link types (https://www.tcpdump.org/linktypes.html).
const NULL: u32 = 0;
const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const COOKED: u32 = 113;

/// A TCP segment in its frame.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Nanoseconds since 1970.
    pub time: u64,
    pub frame: Vec<u8>,
    /// Bytes of the frame that the capture keeps.
    pub kept: usize,
    pub ends: [SocketAddr; 2],
    pub seq: u32,
    pub ack: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// Where the headers of IP and TCP begin in the frame, and where the payload is.
    ip: usize,
    tcp: usize,
    pub payload: std::ops::Range<usize>,
    /// Which flow of the pair, and who sends: 0 is the client.
    pub flow: usize,
    pub side: usize,
    /// Its bytes in the stream, and the first byte that it does not acknowledge.
    pub range: Range,
    pub acked: Option<u64>,
}

impl Packet {
    /// Bytes of payload that the capture keeps.
    pub fn held(&self) -> Range {
        let kept = self.kept.clamp(self.payload.start, self.payload.end) - self.payload.start;
        Range::new(self.range.from, self.range.from + kept as u64)
    }

    /// The same segment with a part of its payload: `from..to` of it.
    pub fn part(&self, from: usize, to: usize) -> Packet {
        let mut part = self.clone();
        let payload = self.payload.start + from..self.payload.start + to;
        part.frame.truncate(self.payload.start);
        part.frame.extend_from_slice(&self.frame[payload]);
        part.payload = self.payload.start..part.frame.len();
        part.kept = part.frame.len();
        part.seq = self.seq.wrapping_add(from as u32);
        part.frame[self.tcp + 4..self.tcp + 8].copy_from_slice(&part.seq.to_be_bytes());
        part.range = Range::new(self.range.from + from as u64, self.range.from + to as u64);
        let (at, length) = match self.frame[self.ip] >> 4 {
            4 => (self.ip + 2, part.frame.len() - self.ip),
            _ => (self.ip + 4, part.frame.len() - self.ip - 40),
        };
        part.frame[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
        part
    }

    /// Gives one end (0: the source) another address and port.
    pub fn readdress(&mut self, end: usize, to: SocketAddr) {
        let octets = match to.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let first = self.ip + if octets.len() == 4 { 12 } else { 8 };
        let at = first + end * octets.len();
        self.frame[at..at + octets.len()].copy_from_slice(&octets);
        let at = self.tcp + 2 * end;
        self.frame[at..at + 2].copy_from_slice(&to.port().to_be_bytes());
    }

    fn parse(time: u64, frame: &[u8], link: u32) -> Option<Packet> {
        let sliced = slice(frame, link)?;
        let (ip, addresses): (&[u8], [IpAddr; 2]) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                (header.slice(), [header.source_addr().into(), header.destination_addr().into()])
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                (header.slice(), [header.source_addr().into(), header.destination_addr().into()])
            }
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
        let place = |part: &[u8]| part.as_ptr() as usize - frame.as_ptr() as usize;
        let payload = place(tcp.payload());
        Some(Packet {
            time,
            frame: frame.to_vec(),
            kept: frame.len(),
            ends: [
                SocketAddr::new(addresses[0], tcp.source_port()),
                SocketAddr::new(addresses[1], tcp.destination_port()),
            ],
            seq: tcp.sequence_number(),
            ack: tcp.ack().then(|| tcp.acknowledgment_number()),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            ip: place(ip),
            tcp: place(tcp.slice()),
            payload: payload..payload + tcp.payload().len(),
            flow: 0,
            side: 0,
            range: Range::default(),
            acked: None,
        })
    }
}

/// The headers in a frame.
pub fn slice(frame: &[u8], link: u32) -> Option<SlicedPacket<'_>> {
    match link {
        ETHERNET => SlicedPacket::from_ethernet(frame).ok(),
        COOKED => SlicedPacket::from_linux_sll(frame).ok(),
        NULL => SlicedPacket::from_ip(frame.get(4..)?).ok(),
        _ => SlicedPacket::from_ip(frame).ok(),
    }
}

/// A capture's link type and its TCP segments, those that were cut left out.
pub fn read(path: &Path) -> (u32, Vec<Packet>) {
    let (link, frames) = frames(path);
    (link, frames.into_iter().filter_map(|(time, frame)| Packet::parse(time, &frame, link)).collect())
}

/// A capture's link type and its frames with their times, those that were cut left out.
pub fn frames(path: &Path) -> (u32, Vec<(u64, Vec<u8>)>) {
    let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let little = [MICROSECONDS, NANOSECONDS].contains(&u32::from_le_bytes(file[..4].try_into().unwrap()));
    let word = |at: usize| {
        let bytes = file[at..at + 4].try_into().unwrap();
        if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    let scale = match word(0) {
        MICROSECONDS => 1000,
        NANOSECONDS => 1,
        magic => panic!("{}: {magic:#x} is no pcap file", path.display()),
    };
    let link = word(20);
    assert!([NULL, ETHERNET, RAW, COOKED].contains(&link), "{}: link type {link}", path.display());
    let (mut frames, mut at) = (Vec::new(), FILE_HEADER);
    while at + RECORD_HEADER <= file.len() {
        let time = u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)) * scale;
        let (kept, length) = (word(at + 8) as usize, word(at + 12));
        let frame = &file[at + RECORD_HEADER..at + RECORD_HEADER + kept];
        if kept == length as usize {
            frames.push((time, frame.to_vec()));
        }
        at += RECORD_HEADER + kept;
    }
    (link, frames)
}

/// Moves the sequence numbers of all connections so that they wrap soon after the handshake.
pub fn wrap(packets: &mut [Packet]) {
    let mut initial: BTreeMap<[SocketAddr; 2], u32> = BTreeMap::new();
    for packet in packets.iter().filter(|packet| packet.syn) {
        initial.entry(packet.ends).or_insert(packet.seq);
    }
    const BEFORE: u32 = 200;
    for packet in packets {
        let [source, destination] = packet.ends;
        let shift =
            |ends| initial.get(&ends).map_or(0, |&first: &u32| BEFORE.wrapping_neg().wrapping_sub(first));
        packet.seq = packet.seq.wrapping_add(shift([source, destination]));
        let back = shift([destination, source]);
        packet.ack = packet.ack.map(|ack| ack.wrapping_add(back));
        let numbers = [packet.seq, packet.ack.unwrap_or(0)];
        for (index, number) in numbers.into_iter().enumerate() {
            let at = packet.tcp + 4 + 4 * index;
            packet.frame[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
    }
}

/// A capture's bytes, and where each packet ends in them.
pub fn write(link: u32, packets: &[Packet], ahead: i64) -> (Vec<u8>, Vec<usize>) {
    write_frames(link, packets.iter().map(|packet| (packet.time, packet.kept, &packet.frame[..])), ahead)
}

/// The same of frames: time, how many bytes of it are kept, and all of them.
pub fn write_frames<'f>(
    link: u32,
    frames: impl Iterator<Item = (u64, usize, &'f [u8])>,
    ahead: i64,
) -> (Vec<u8>, Vec<usize>) {
    let mut file = Vec::new();
    for word in [NANOSECONDS, 2 | 4 << 16, 0, 0, 1 << 18, link] {
        file.extend(word.to_le_bytes());
    }
    let mut ends = Vec::new();
    for (time, kept, frame) in frames {
        let time = time.strict_add_signed(ahead);
        let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000);
        for word in [seconds as u32, rest as u32, kept as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend_from_slice(&frame[..kept]);
        ends.push(file.len());
    }
    (file, ends)
}

/// Gives connections that were open before the capture a handshake just before their first packet, so that everything of
/// them is there. Who sends first is the client.
pub fn add_handshakes(packets: &mut Vec<Packet>) {
    let mut templates: Vec<[Option<Packet>; 2]> = Vec::new();
    for packet in packets.iter() {
        let is_same = |one: &&mut [Option<Packet>; 2]| {
            let ends = one[0].as_ref().expect("a client").ends;
            ends == packet.ends || [ends[1], ends[0]] == packet.ends
        };
        match templates.iter_mut().find(is_same) {
            None => templates.push([Some(packet.clone()), None]),
            Some([Some(client), server]) if client.ends != packet.ends && server.is_none() => {
                *server = Some(packet.clone());
            }
            Some(_) => {}
        }
    }
    let mut whole = Vec::new();
    for [client, server] in templates {
        let (Some(client), Some(server)) = (client, server) else { continue };
        let first = [client.seq, client.ack.unwrap_or(server.seq)];
        let of = |like: &Packet, seq: u32, ack: Option<u32>, flags: u8| {
            let mut packet = like.part(0, 0);
            packet.time = client.time;
            (packet.syn, packet.fin, packet.rst) = (flags & SYN != 0, false, false);
            (packet.seq, packet.ack) = (seq, ack);
            let tcp = packet.tcp;
            packet.frame[tcp + 4..tcp + 8].copy_from_slice(&seq.to_be_bytes());
            packet.frame[tcp + 8..tcp + 12].copy_from_slice(&ack.unwrap_or(0).to_be_bytes());
            packet.frame[tcp + 13] = flags;
            packet
        };
        let before = first.map(|first| first.wrapping_sub(1));
        let handshake = [
            of(&client, before[0], None, SYN),
            of(&server, before[1], Some(first[0]), SYN | ACK),
            of(&client, first[0], Some(first[1]), ACK),
        ];
        whole.push((client.ends, handshake));
    }
    for (ends, handshake) in whole {
        let at = packets.iter().position(|packet| packet.ends == ends).expect("its first packet");
        packets.splice(at..at, handshake);
    }
}

/// Flags of TCP (RFC 9293, section 3.1).
const SYN: u8 = 2;
const ACK: u8 = 16;

/// A connection of a capture, whole.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Client and server.
    pub ends: [SocketAddr; 2],
    /// Initial sequence numbers of both.
    pub initial: [u32; 2],
    pub streams: [Vec<u8>; 2],
}

/// The connections of which everything is there: both handshakes, every byte, no byte twice with other content, nothing
/// acknowledged that is missing. Their packets are given numbers and offsets; those of others are dropped.
pub fn flows(packets: &mut Vec<Packet>) -> Vec<Flow> {
    let mut by_ends: BTreeMap<[SocketAddr; 2], Vec<usize>> = BTreeMap::new();
    for (index, packet) in packets.iter().enumerate() {
        let mut ends = packet.ends;
        ends.sort();
        by_ends.entry(ends).or_default().push(index);
    }
    let mut of_flow = vec![None; packets.len()];
    let mut found: Vec<(usize, Vec<usize>, Flow)> = Vec::new();
    for indices in by_ends.into_values() {
        let mine: Vec<&Packet> = indices.iter().map(|&index| &packets[index]).collect();
        if let Some(flow) = whole(&mine) {
            found.push((indices[0], indices, flow));
        }
    }
    found.sort_by_key(|found| found.0);
    let mut flows = Vec::new();
    for (_, indices, flow) in found {
        for index in indices {
            of_flow[index] = Some(flows.len());
            place(&mut packets[index], &flow);
            packets[index].flow = flows.len();
        }
        flows.push(flow);
    }
    let mut at = 0..;
    packets.retain(|_| of_flow[at.next().unwrap()].is_some());
    // Files need not be in order of time; a recording is.
    let mut now = 0;
    for packet in packets {
        now = now.max(packet.time);
        packet.time = now;
    }
    flows
}

/// Where a packet is in its flow.
fn place(packet: &mut Packet, flow: &Flow) {
    packet.side = usize::from(packet.ends[0] != flow.ends[0]);
    let offset = |side: usize, seq: u32| i64::from(seq.wrapping_sub(flow.initial[side]) as i32) - 1;
    let from = offset(packet.side, packet.seq.wrapping_add(u32::from(packet.syn))).max(0) as u64;
    packet.range = Range::new(from, from + packet.payload.len() as u64);
    packet.acked = packet.ack.map(|ack| offset(1 - packet.side, ack).max(0) as u64);
}

fn whole(packets: &[&Packet]) -> Option<Flow> {
    let syn = packets.iter().find(|packet| packet.syn && packet.ack.is_none())?;
    let answer = packets.iter().find(|packet| packet.syn && packet.ack.is_some())?;
    let initial = [syn.seq, answer.seq];
    let ends = syn.ends;
    let mut flow = Flow { ends, initial, streams: Default::default() };
    let mut known: [Ranges; 2] = Default::default();
    let mut acked = [0; 2];
    let mut fins = [None; 2];
    for packet in packets {
        let mut placed = (*packet).clone();
        place(&mut placed, &flow);
        let side = placed.side;
        let exact = packet.seq.wrapping_sub(initial[side]) as i32;
        if packet.syn && (exact != 0 || !packet.payload.is_empty()) || !packet.syn && !packet.rst && exact < 1
        {
            return None; // the ports are used twice, data with the SYN, or a number before the first
        }
        acked[1 - side] = acked[1 - side].max(placed.acked.unwrap_or(0));
        let range = placed.range;
        if packet.fin {
            fins[side] = Some(range.to);
        }
        if range.is_empty() {
            continue;
        }
        let bytes = &packet.frame[packet.payload.clone()];
        let stream = &mut flow.streams[side];
        if stream.len() < range.to as usize {
            stream.resize(range.to as usize, 0);
        }
        let here = &mut stream[range.from as usize..range.to as usize];
        for both in known[side].and(&Ranges::of(range.from, range.to)).0 {
            let part = (both.from - range.from) as usize..(both.to - range.from) as usize;
            if here[part.clone()] != bytes[part] {
                return None; // another test's subject
            }
        }
        here.copy_from_slice(bytes);
        known[side] = known[side].or(&Ranges::of(range.from, range.to));
    }
    for side in [0, 1] {
        let length = flow.streams[side].len() as u64;
        let end = length + u64::from(fins[side].is_some());
        let complete = known[side] == Ranges::of(0, length) && fins[side].is_none_or(|fin| fin == length);
        if !complete || acked[side] > end {
            return None;
        }
    }
    (!flow.streams.iter().all(Vec::is_empty)).then_some(flow)
}
