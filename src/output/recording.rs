//! Writes a recording: events as packets of a pcapng file that Wireshark opens and sockdbg reads back.
//!
//! The layout is in [`crate::recording`]; here are the packets made up around it. One pass, no allocation per
//! event. Not thread-safe by design: one writer, one file.

use crate::event::{
    Address, Cause, Close, ConnId, Data, Direction, Event, Kind, Loss, Open, Opened, Role, Task, Timestamp,
    Transport,
};
use crate::recording::{
    DESCRIPTION, ENTERPRISE, Encoded, MAX_DATAGRAM, MAX_PART, NO_DATAGRAM, Part, TCP, UDP, VERSION, encode,
    encode_part, payload_of, pcapng as ng, redacted_comment,
};
use crate::redact::{Content, RunId};
use crate::source::Summary;
use rustc_hash::FxHashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// The longest text in a comment. An option's length has 16 bits.
const MAX_COMMENT: usize = 4096;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Length of what an Enhanced Packet Block has before its packet.
const BLOCK_HEAD: usize = 28;

/// Length of a TCP header without options.
const TCP_HEADER: usize = 20;

const UDP_HEADER: usize = 8;

/// Sequence number of the first byte of a direction of which no real one is known.
const MADE_UP_BASE: u32 = 1;

/// A recording being written.
pub struct Writer<W: Write> {
    blocks: Blocks<W>,
    conns: FxHashMap<ConnId, Ends>,
    events: u64,
    content: Content,
}

/// Writes blocks, which is all that goes into the file.
struct Blocks<W: Write> {
    out: W,
    /// Head of the block with the packet's headers, and what follows the payload; kept for their memory.
    head: Vec<u8>,
    options: Vec<u8>,
}

/// What the headers of a connection's packets are made from.
#[derive(Clone, Copy)]
struct Ends {
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    /// Per direction: sequence number of offset 0, once known.
    base: [Option<u32>; 2],
    /// Per direction: offset after the last byte.
    end: [u64; 2],
    /// The direction in which the answer to the SYN goes, until it was written.
    unanswered: Option<Direction>,
}

impl Default for Ends {
    fn default() -> Ends {
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let transport = Transport::default();
        Ends { transport, local: unknown, remote: unknown, base: [None; 2], end: [0; 2], unanswered: None }
    }
}

/// What a packet says beside its payload.
struct Packet<'a> {
    time: Timestamp,
    direction: Direction,
    flags: u8,
    seq: u32,
    payload: &'a [u8],
    /// Bytes of payload that moved; at most what one packet holds.
    length: usize,
    /// IP protocol number.
    protocol: u8,
    task: Option<Task>,
    encoded: Encoded,
    comment: Option<Comment<'a>>,
}

/// What is worth a comment in Wireshark.
#[derive(Clone, Copy)]
enum Comment<'a> {
    /// An event without payload.
    Event(&'a Event<'a>),
    /// The hash of the payload that was taken out.
    Redacted(&'a str),
}

impl Writer<BufWriter<File>> {
    /// Creates the file, readable for its owner only: it will hold payload. An existing one is emptied.
    pub fn create(path: &Path) -> io::Result<Writer<BufWriter<File>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Writer::new(BufWriter::with_capacity(BUFFER, file))
    }
}

impl<W: Write> Writer<W> {
    /// Begins a recording. Each event takes several small writes, so `out` has to buffer.
    pub fn new(out: W) -> io::Result<Writer<W>> {
        Writer::with_content(out, Content::Whole)
    }

    /// As [`Writer::new`], where payload may have to be taken out, or was.
    pub fn with_content(out: W, content: Content) -> io::Result<Writer<W>> {
        let (head, options, conns) = Default::default();
        let mut blocks = Blocks { out, head, options };
        blocks.section_header(content.run())?;
        blocks.interface()?;
        Ok(Writer { blocks, conns, events: 0, content })
    }

    /// Adds an event.
    pub fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.events += 1;
        let ends = self.conns.entry(event.conn).or_default();
        match &event.kind {
            Kind::Open(open) => self.blocks.open(event, open, ends),
            Kind::Data(data) => match &self.content {
                Content::Whole | Content::Gone(_) => self.blocks.data(event, data, ends, None),
                Content::Hashed(redaction) => {
                    let payload = payload_of(data);
                    let filled = redaction.fill(payload, ends.transport.is_stream());
                    let hash = self.content.instead(payload).unwrap_or_default();
                    let data = Data { payload: &filled, ..data.clone() };
                    let event = Event { kind: Kind::Data(data.clone()), ..event.clone() };
                    self.blocks.data(&event, &data, ends, Some(&hash))
                }
            },
            Kind::Loss(loss) => self.blocks.loss(event, loss, ends),
            Kind::Close(close) => {
                let written = self.blocks.close(event, close, ends);
                if close.reason.is_final() {
                    self.conns.remove(&event.conn);
                }
                written
            }
        }
    }

    /// Hands everything so far to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.blocks.out.flush()
    }

    /// Ends the recording with what the source says of itself.
    pub fn finish(mut self, summary: &Summary) -> io::Result<()> {
        self.blocks.statistics(self.events, summary)?;
        self.flush()
    }
}

impl<W: Write> Blocks<W> {
    fn section_header(&mut self, redacted: Option<RunId>) -> io::Result<()> {
        self.options.clear();
        if let Some(run) = redacted {
            put_text(&mut self.options, ng::OPT_COMMENT, &redacted_comment(run));
        }
        let application = concat!("sockdbg ", env!("CARGO_PKG_VERSION"));
        put_text(&mut self.options, ng::SHB_USERAPPL, application);
        put_option(&mut self.options, ng::OPT_ENDOFOPT, &[]);
        let mut body = ng::BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]); // version 1.0
        body.extend([0xff; 8]); // length of the section: not known in advance
        self.block(ng::SECTION_HEADER, &body)
    }

    fn interface(&mut self) -> io::Result<()> {
        self.options.clear();
        put_text(&mut self.options, ng::IF_NAME, "syscall");
        put_text(&mut self.options, ng::IF_DESCRIPTION, &format!("{DESCRIPTION} {VERSION}"));
        put_option(&mut self.options, ng::IF_TSRESOL, &[9]);
        put_option(&mut self.options, ng::OPT_ENDOFOPT, &[]);
        let [low, high] = ng::LINKTYPE_RAW.to_le_bytes();
        self.block(ng::INTERFACE_DESCRIPTION, &[low, high, 0, 0, 0, 0, 0, 0])
    }

    fn statistics(&mut self, events: u64, summary: &Summary) -> io::Result<()> {
        self.options.clear();
        for warning in &summary.warnings {
            put_text(&mut self.options, ng::OPT_COMMENT, warning);
        }
        let times = [(ng::ISB_STARTTIME, summary.first), (ng::ISB_ENDTIME, summary.last)];
        for (code, time) in times {
            if let Some(time) = time {
                put_option(&mut self.options, code, &split(time));
            }
        }
        put_option(&mut self.options, ng::ISB_IFRECV, &events.to_le_bytes());
        put_option(&mut self.options, ng::ISB_IFDROP, &summary.dropped.to_le_bytes());
        put_option(&mut self.options, ng::OPT_ENDOFOPT, &[]);
        let body = [&[0; 4][..], &split(summary.last.unwrap_or_default())].concat();
        self.block(ng::INTERFACE_STATISTICS, &body)
    }

    /// A block with the options at hand.
    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let total = (12 + body.len() + self.options.len()) as u32;
        for part in [&kind.to_le_bytes(), &total.to_le_bytes(), body, &self.options, &total.to_le_bytes()] {
            self.out.write_all(part)?;
        }
        Ok(())
    }

    /// A fresh connection becomes a handshake, so that Wireshark sees where it begins; one that was found open
    /// an empty segment.
    fn open(&mut self, event: &Event<'_>, open: &Open, ends: &mut Ends) -> io::Result<()> {
        ends.transport = open.transport;
        if open.transport.is_unix() {
            ends.make_up_addresses(event.conn);
        } else {
            ends.set_addresses(open.local, open.remote);
        }
        for (index, start) in open.start.iter().enumerate() {
            ends.base[index] = start.seq.map(|seq| seq.wrapping_sub(start.offset as u32));
            ends.end[index] = start.offset;
        }
        if open.opened == Opened::Found || !open.transport.is_stream() {
            let seq = ends.seq(Direction::Send, ends.end[0]);
            return self.bare(event, Direction::Send, ACK, seq, ends);
        }
        let direction = if open.role == Role::Server { Direction::Recv } else { Direction::Send };
        let initial = ends.seq(direction, 0).wrapping_sub(1);
        self.bare(event, direction, SYN, initial, ends)?;
        if open.error.is_none() {
            ends.unanswered = Some(direction.reverse());
            self.answer(event, ends)?;
        }
        Ok(())
    }

    /// Writes the SYN-ACK of a handshake once its number is known.
    fn answer(&mut self, event: &Event<'_>, ends: &mut Ends) -> io::Result<()> {
        let Some(direction) = ends.unanswered else { return Ok(()) };
        let Some(base) = ends.base[direction.index()] else { return Ok(()) };
        ends.unanswered = None;
        let packet = Packet {
            time: event.time,
            direction,
            flags: SYN | ACK,
            seq: base.wrapping_sub(1),
            payload: &[],
            length: 0,
            protocol: TCP,
            task: None,
            encoded: encode_part(Part::Decoration, event.conn),
            comment: None,
        };
        self.packet(&packet, ends)
    }

    fn data(
        &mut self,
        event: &Event<'_>,
        data: &Data<'_>,
        ends: &mut Ends,
        hash: Option<&str>,
    ) -> io::Result<()> {
        let index = data.direction.index();
        if ends.base[index].is_none() {
            ends.base[index] = data.tcp_seq.map(|seq| seq.wrapping_sub(data.offset as u32));
        }
        let seq = ends.seq(data.direction, data.offset);
        self.answer(event, ends)?;
        let (protocol, most) = if ends.transport.is_stream() { (TCP, MAX_PART) } else { (UDP, MAX_DATAGRAM) };
        let mut to_peer = *ends;
        if data.peer.is_some() && !ends.transport.is_unix() {
            to_peer.set_addresses(Some(ends.local.into()), data.peer);
        }
        // A failed call sent none.
        let protocol = if protocol == UDP && data.error.is_some() { NO_DATAGRAM } else { protocol };
        let mut parts = payload_of(data).chunks(most);
        let mut sent = 0;
        let mut encoded = encode(event);
        let mut comment = hash.map(Comment::Redacted);
        loop {
            let payload = parts.next().unwrap_or_default();
            let last = parts.len() == 0;
            // Where the payload was cut, the last packet claims the rest, as far as an IP packet can.
            let rest = data.length.saturating_sub(sent as u64).min(most as u64) as usize;
            let length = if last { rest.max(payload.len()) } else { payload.len() };
            let flags = if length > 0 { PSH | ACK } else { ACK };
            let packet = Packet {
                time: event.time,
                direction: data.direction,
                flags,
                seq: seq.wrapping_add(sent as u32),
                payload,
                length,
                protocol,
                task: event.task,
                encoded,
                comment: comment.take(),
            };
            self.packet(&packet, &to_peer)?;
            sent += payload.len();
            if last {
                break;
            }
            encoded = encode_part(Part::Continuation, event.conn);
        }
        let end = &mut ends.end[index];
        *end = (*end).max(data.offset.saturating_add(data.length));
        Ok(())
    }

    fn loss(&mut self, event: &Event<'_>, loss: &Loss, ends: &mut Ends) -> io::Result<()> {
        let end = &mut ends.end[loss.direction.index()];
        *end = (*end).max(loss.range.to);
        let seq = ends.seq(loss.direction, loss.range.from);
        self.bare(event, loss.direction, ACK, seq, ends)
    }

    fn close(&mut self, event: &Event<'_>, close: &Close, ends: &mut Ends) -> io::Result<()> {
        let flags = if close.reason.is_final() { FIN | ACK } else { ACK };
        let seq = ends.seq(Direction::Send, ends.end[0]);
        self.bare(event, Direction::Send, flags, seq, ends)
    }

    /// An event without payload.
    fn bare(
        &mut self,
        event: &Event<'_>,
        direction: Direction,
        flags: u8,
        seq: u32,
        ends: &Ends,
    ) -> io::Result<()> {
        let packet = Packet {
            time: event.time,
            direction,
            flags,
            seq,
            payload: &[],
            length: 0,
            protocol: if ends.transport.is_stream() { TCP } else { NO_DATAGRAM },
            task: event.task,
            encoded: encode(event),
            comment: Some(Comment::Event(event)),
        };
        self.packet(&packet, ends)
    }

    /// One Enhanced Packet Block.
    fn packet(&mut self, packet: &Packet<'_>, ends: &Ends) -> io::Result<()> {
        // Filled in when its lengths are known.
        self.head.clear();
        self.head.extend_from_slice(&[0; BLOCK_HEAD]);
        put_headers(&mut self.head, packet, ends);
        let headers = self.head.len() - BLOCK_HEAD;
        let captured = headers + packet.payload.len();
        let padding = captured.next_multiple_of(4) - captured;
        self.options.clear();
        put_packet_options(&mut self.options, packet);
        let total = (BLOCK_HEAD + captured + padding + self.options.len() + 4) as u32;
        self.options.extend_from_slice(&total.to_le_bytes());
        let head = &mut self.head;
        head[..4].copy_from_slice(&ng::ENHANCED_PACKET.to_le_bytes());
        head[4..8].copy_from_slice(&total.to_le_bytes());
        head[12..20].copy_from_slice(&split(packet.time));
        head[20..24].copy_from_slice(&(captured as u32).to_le_bytes());
        head[24..28].copy_from_slice(&((headers + packet.length) as u32).to_le_bytes());
        for part in [&self.head, packet.payload, &[0; 3][..padding], &self.options] {
            self.out.write_all(part)?;
        }
        Ok(())
    }
}

impl Ends {
    fn seq(&mut self, direction: Direction, offset: u64) -> u32 {
        self.base[direction.index()].get_or_insert(MADE_UP_BASE).wrapping_add(offset as u32)
    }

    /// The ends of a Unix socket have none that a packet could have. Wireshark needs some that tell connections apart:
    /// of the prefix that is never routed (RFC 6666), made from the socket's inode.
    fn make_up_addresses(&mut self, conn: ConnId) {
        let port = 0xc000 | (conn.opened as u16 & 0x3fff);
        let prefix = 0x100u128 << 112;
        // The kernel's inode numbers of sockets have 32 bits.
        let end = |side: u128| {
            let ip = prefix | side << 48 | u128::from(conn.socket & 0xffff_ffff_ffff);
            SocketAddr::new(Ipv6Addr::from(ip).into(), port)
        };
        (self.local, self.remote) = (end(1), end(2));
    }

    /// Makes both addresses one family: a packet has only one.
    fn set_addresses(&mut self, local: Option<Address>, remote: Option<Address>) {
        let [local, remote] = [local, remote].map(|address| address.and_then(Address::ip));
        let like = |other: Option<SocketAddr>| match other {
            Some(SocketAddr::V6(_)) => SocketAddr::new(IpAddr::V6([0; 16].into()), 0),
            _ => SocketAddr::new(IpAddr::V4([0; 4].into()), 0),
        };
        self.local = local.unwrap_or_else(|| like(remote));
        self.remote = remote.unwrap_or_else(|| like(local));
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            self.local.set_ip(IpAddr::V6(mapped(self.local.ip())));
            self.remote.set_ip(IpAddr::V6(mapped(self.remote.ip())));
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// IP and TCP or UDP headers. The IP checksum is right, and that of a whole datagram over IPv6, where 0 is not allowed;
/// others are 0, which Wireshark does not check by default.
fn put_headers(out: &mut Vec<u8>, packet: &Packet<'_>, ends: &Ends) {
    let (source, destination) = match packet.direction {
        Direction::Send => (ends.local, ends.remote),
        Direction::Recv => (ends.remote, ends.local),
    };
    let protocol = packet.protocol;
    let length = packet.length
        + match protocol {
            TCP => TCP_HEADER,
            UDP => UDP_HEADER,
            _ => 0,
        };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&ipv4_header(from, to, 20 + length, protocol));
        }
        (from, to) => out.extend_from_slice(&ipv6_header(mapped(from), mapped(to), length, protocol)),
    }
    let ports = [source.port(), destination.port()];
    match protocol {
        TCP => put_tcp_header(out, packet, ends, ports),
        UDP => {
            let sum = if source.is_ipv6() && packet.payload.len() == packet.length {
                udp_checksum([mapped(source.ip()), mapped(destination.ip())], ports, packet.payload)
            } else {
                0
            };
            out.extend([ports[0], ports[1], length as u16, sum].into_iter().flat_map(u16::to_be_bytes));
        }
        _ => {}
    }
}

fn put_tcp_header(out: &mut Vec<u8>, packet: &Packet<'_>, ends: &Ends, ports: [u16; 2]) {
    let reverse = packet.direction.reverse().index();
    let acknowledged = ends.base[reverse].map(|base| base.wrapping_add(ends.end[reverse] as u32));
    // Nothing can be acknowledged of a direction whose numbers are not known yet, nor in the first SYN.
    let acknowledged = acknowledged.filter(|_| packet.flags & ACK != 0);
    let flags = if acknowledged.is_some() { packet.flags } else { packet.flags & !ACK };
    let mut header = [0; TCP_HEADER];
    header[..2].copy_from_slice(&ports[0].to_be_bytes());
    header[2..4].copy_from_slice(&ports[1].to_be_bytes());
    header[4..8].copy_from_slice(&packet.seq.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledged.unwrap_or(0).to_be_bytes());
    header[12..16].copy_from_slice(&[0x50, flags, 0xff, 0xff]); // five words; the window is as large as can be
    out.extend_from_slice(&header);
}

fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, length: usize, protocol: u8) -> [u8; 20] {
    let [high, low] = (length as u16).to_be_bytes();
    let mut header = [0; 20];
    // Version 4, five words; not to be fragmented; 64 hops.
    header[..12].copy_from_slice(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn ipv6_header(from: Ipv6Addr, to: Ipv6Addr, length: usize, protocol: u8) -> [u8; 40] {
    let [high, low] = (length as u16).to_be_bytes();
    let mut header = [0; 40];
    // Version 6; 64 hops.
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, protocol, 64]);
    header[8..24].copy_from_slice(&from.octets());
    header[24..].copy_from_slice(&to.octets());
    header
}

/// RFC 8200, section 8.1: with a pseudo header, and never 0.
fn udp_checksum(ends: [Ipv6Addr; 2], ports: [u16; 2], payload: &[u8]) -> u16 {
    let length = (UDP_HEADER + payload.len()) as u32;
    // The length is in the pseudo header and in the UDP header.
    let fields = u32::from(UDP) + 2 * length + ports.map(u32::from).iter().sum::<u32>();
    let sum = ends.iter().map(|ip| sum_of_words(&ip.octets())).sum::<u32>() + fields + sum_of_words(payload);
    match complement(sum) {
        0 => 0xffff,
        sum => sum,
    }
}

fn checksum(header: &[u8; 20]) -> u16 {
    complement(sum_of_words(header))
}

/// RFC 1071. Of bytes that fit into one packet.
fn sum_of_words(bytes: &[u8]) -> u32 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |&byte| u32::from(byte) << 8);
    pairs.iter().map(|&pair| u32::from(u16::from_be_bytes(pair))).sum::<u32>() + last
}

fn complement(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

fn put_packet_options(out: &mut Vec<u8>, packet: &Packet<'_>) {
    if let Some(comment) = packet.comment {
        put_comment(out, comment);
    }
    let direction = if packet.direction == Direction::Send { ng::OUTBOUND } else { ng::INBOUND };
    put_option(out, ng::EPB_FLAGS, &direction.to_le_bytes());
    if let Some(task) = packet.task {
        let ids = u64::from(task.tid) << 32 | u64::from(task.pid);
        put_option(out, ng::EPB_PROCESSID_THREADID, &ids.to_le_bytes());
    }
    let data = packet.encoded.as_bytes();
    put_head(out, ng::OPT_CUSTOM_BINARY, 4 + data.len());
    out.extend_from_slice(&ENTERPRISE.to_le_bytes());
    out.extend_from_slice(data);
    pad(out);
    put_option(out, ng::OPT_ENDOFOPT, &[]);
}

#[inline]
fn put_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    put_head(out, code, value.len());
    out.extend_from_slice(value);
    pad(out);
}

#[inline]
fn put_head(out: &mut Vec<u8>, code: u16, length: usize) {
    let head = u32::from(length as u16) << 16 | u32::from(code);
    out.extend_from_slice(&head.to_le_bytes());
}

/// Every option before was padded, so the length of all is a multiple of four again.
#[inline]
fn pad(out: &mut Vec<u8>) {
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
}

fn put_text(out: &mut Vec<u8>, code: u16, text: &str) {
    put_option(out, code, &text.as_bytes()[..text.floor_char_boundary(MAX_COMMENT)]);
}

/// A comment says in words what is in the custom option, for those who read the recording in Wireshark.
fn put_comment(out: &mut Vec<u8>, comment: Comment<'_>) {
    let start = out.len();
    put_head(out, ng::OPT_COMMENT, 0);
    // Writing to memory does not fail.
    let _ = write!(out, "{comment}");
    let length = (out.len() - start - 4) as u16;
    out[start + 2..start + 4].copy_from_slice(&length.to_le_bytes());
    pad(out);
}

impl std::fmt::Display for Comment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let event = match self {
            Comment::Event(event) => event,
            Comment::Redacted(said) => return f.write_str(said),
        };
        match &event.kind {
            Kind::Open(open) => {
                let how = if open.opened == Opened::Fresh { "open" } else { "found open" };
                write!(f, "{how} as {}", open.role.name())?;
                if open.transport.is_unix() {
                    let name = |address: Option<Address>| address.map_or("?".into(), |name| name.to_string());
                    let [local, remote] = [open.local, open.remote].map(name);
                    write!(f, ", {} from \"{local}\" to \"{remote}\"", open.transport.name())?;
                }
                if let Some(error) = open.error {
                    write!(f, ", failed with errno {error}")?;
                }
            }
            Kind::Close(close) => {
                let [sent, received] = close.totals;
                write!(f, "{}: sent {}, received {}", close.reason.name(), sent.moved, received.moved)?;
            }
            Kind::Loss(loss) => {
                let (direction, cause): (_, Cause) = (loss.direction.name(), loss.cause);
                write!(f, "lost in {direction} direction: {} ({})", loss.range, cause.slug())?;
            }
            Kind::Data(data) => write!(f, "{}", data.call.name())?,
        }
        write!(f, "; socket {}", event.conn.socket)?;
        if let Some(fd) = event.fd {
            write!(f, " fd {fd}")?;
        }
        match &event.task {
            Some(task) => write!(f, " of {} ({})", task.pid, task.comm.as_bytes().escape_ascii()),
            None => Ok(()),
        }
    }
}

/// A time stamp as pcapng has it: upper half first.
fn split(time: Timestamp) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&((time.0 >> 32) as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&(time.0 as u32).to_le_bytes());
    bytes
}
