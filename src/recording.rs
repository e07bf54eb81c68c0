//! The recording format: how an event is laid out in a pcapng file. Pure; reading and writing of files is
//! the business of `source::recording` and `output::recording`.
//!
//! A recording is a pcapng file (draft-ietf-opsawg-pcapng) in little-endian byte order with one interface of
//! link type RAW. Every event is one Enhanced Packet Block, more where the payload exceeds one IP packet. The
//! packet (IP and TCP or UDP headers made up from addresses and offsets, then the payload) is for Wireshark and its
//! kin; what a packet can't say is in a custom option of the block, laid out here. Events of datagram sockets that
//! are no datagram are IP packets of [`NO_DATAGRAM`]. An Interface Statistics Block ends the file; without it, the
//! recording was cut.
//!
//! ```text
//! all events    0  "SD"  2 version  3 kind  4 flags  5 direction  6 call  7 cause or reason or role
//!               8  socket inode (8)  16 opened (4)  20 fd (4)  24 error (4)  28 tcp_seq (4)  32 comm (16)
//! data          48 offset (8)  56 length (8)  64 payload length (8)  72 peer, where its flag is set
//! loss          48 from (8)    56 to (8)
//! close         48 2 x { moved (8)  end (8)  pending (8) }
//! open          48 2 x { offset (8)  seq (4) }  72 local  100 remote; 5 holds the transport in its upper half
//! address       family (2)  port (2)  flow (4)  scope (4)  address (16)
//!               of a Unix socket: family (2)  length (2)  0 (24); the name is behind all of the fields above
//! ```
//! Version 1 had neither transport nor peer: all was TCP.
//! Numbers are little-endian. A field whose flag is not set holds 0.

use crate::event::{
    Address, Call, Cause, Close, CloseReason, Comm, ConnId, Data, Direction, Event, Kind, Loss, Open, Opened,
    Range, Role, Start, Task, Timestamp, Total, Transport, UnixName,
};
use crate::redact::RunId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Version of the layout. A reader refuses a higher one.
pub const VERSION: u8 = 2;

/// First bytes of the custom option's data.
pub const MAGIC: [u8; 2] = *b"SD";

/// The number under which the custom option is filed: 32473 is reserved for examples (RFC 5612). To be
/// replaced when sockdbg has a Private Enterprise Number of its own; [`MAGIC`] tells ours until then.
pub const ENTERPRISE: u32 = 32473;

/// Begins the interface's description, by which a recording is told from a capture.
pub const DESCRIPTION: &str = "sockdbg recording";

/// Begins the comment in the first block of a file whose payload was taken out. The run's id follows.
const REDACTED: &str = "sockdbg redacted ";

/// Length of a Section Header Block before its options.
const SECTION_HEAD: usize = 24;

/// The comment of a file whose payload was taken out by this run.
pub fn redacted_comment(run: RunId) -> String {
    format!("{REDACTED}{run}: zeros stand for the payload")
}

/// The run that took the payload out of a file which begins with these bytes; absent where none did. `header` is a whole
/// Section Header Block, or less.
pub fn redacted_by(header: &[u8]) -> Option<RunId> {
    header_options(header).filter(|(code, _)| *code == pcapng::OPT_COMMENT).find_map(|(_, text)| {
        let run = std::str::from_utf8(text).ok()?.strip_prefix(REDACTED)?.get(..16)?;
        RunId::parse(run)
    })
}

/// True where a Section Header Block says that sockdbg wrote the file.
pub fn is_ours(header: &[u8]) -> bool {
    header_options(header).any(|(code, text)| code == pcapng::SHB_USERAPPL && text.starts_with(b"sockdbg "))
}

/// The options of a Section Header Block: code and value, up to the first that is cut.
fn header_options(header: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut options = header.get(SECTION_HEAD..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, rest) = options.split_first_chunk::<4>()?;
        let (code, length) = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        let length = usize::from(length);
        let value = rest.get(..length)?;
        options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

/// The most payload one event can have: what the kernel moves in one call at most (MAX_RW_COUNT).
pub const MAX_PAYLOAD: u64 = 0x7fff_f000;

/// Payload bytes in one packet: what an IPv4 packet holds beside IP and TCP headers of 20 bytes each.
pub const MAX_PART: usize = 65_535 - 40;

/// The same of a datagram: beside headers of 20 and 8 bytes. The longest datagram of UDP over IPv4.
pub const MAX_DATAGRAM: usize = 65_535 - 28;

/// IP protocol numbers.
pub const TCP: u8 = 6;
/// See [`TCP`].
pub const UDP: u8 = 17;
/// For experimentation (RFC 3692), which a recording does not carry: no header follows. Were it UDP, it would look like
/// an empty datagram.
pub const NO_DATAGRAM: u8 = 253;

/// Block types and option codes of pcapng that a recording uses.
#[allow(missing_docs)] // the names are those of the draft
pub mod pcapng {
    pub const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub const INTERFACE_DESCRIPTION: u32 = 1;
    pub const INTERFACE_STATISTICS: u32 = 5;
    pub const ENHANCED_PACKET: u32 = 6;
    pub const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
    pub const LINKTYPE_RAW: u16 = 101;

    pub const OPT_ENDOFOPT: u16 = 0;
    pub const OPT_COMMENT: u16 = 1;
    pub const OPT_CUSTOM_TEXT: u16 = 2988;
    pub const OPT_CUSTOM_BINARY: u16 = 2989;
    pub const SHB_USERAPPL: u16 = 4;
    pub const IF_NAME: u16 = 2;
    pub const IF_DESCRIPTION: u16 = 3;
    pub const IF_TSRESOL: u16 = 9;
    pub const EPB_FLAGS: u16 = 2;
    pub const EPB_HASH: u16 = 3;
    pub const EPB_DROPCOUNT: u16 = 4;
    pub const EPB_PACKETID: u16 = 5;
    pub const EPB_QUEUE: u16 = 6;
    pub const EPB_VERDICT: u16 = 7;
    /// Process id and thread id, 32 bits each.
    pub const EPB_PROCESSID_THREADID: u16 = 8;
    pub const ISB_STARTTIME: u16 = 2;
    pub const ISB_ENDTIME: u16 = 3;
    pub const ISB_IFRECV: u16 = 4;
    pub const ISB_IFDROP: u16 = 5;

    /// Direction bits of `epb_flags`.
    pub const INBOUND: u32 = 1;
    pub const OUTBOUND: u32 = 2;
}

/// What a packet of a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For Wireshark's sake only, such as the SYN-ACK of a handshake.
    Decoration,
    /// An event, or the first part of one.
    Event,
    /// More payload of the event before.
    Continuation,
}

/// Where an event's bits in the header are.
mod flag {
    pub const TASK: u8 = 1;
    pub const FD: u8 = 2;
    pub const ERROR: u8 = 4;
    pub const TCP_SEQ: u8 = 8;
    /// Data: MSG_PEEK. Open: offsets are exact.
    pub const PEEK: u8 = 16;
    pub const EXACT: u8 = 16;
    /// Open: left out by the filter.
    pub const FILTERED: u8 = 32;
    /// Data: has a peer of its own.
    pub const PEER: u8 = 32;
    /// Data: handed from socket to socket, past TCP.
    pub const PAST_TCP: u8 = 64;
    /// Open: found, not fresh.
    pub const FOUND: u8 = 64;
    /// Per direction: the seq of an open, the end of a close.
    pub const KNOWN: [u8; 2] = [4, 8];
}

const DECORATION: u8 = 0;
const OPEN: u8 = 1;
const DATA: u8 = 2;
const CLOSE: u8 = 3;
const LOSS: u8 = 4;
const CONTINUATION: u8 = 5;

/// Length of the part that all kinds have.
const HEAD: usize = 48;

/// The custom option's data, made in place.
#[derive(Clone, Copy)]
pub struct Encoded {
    bytes: [u8; Encoded::MAX],
    length: usize,
}

impl Encoded {
    const MAX: usize = HEAD + 24 + 2 * (28 + UnixName::MAX);

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn new(kind: u8, conn: ConnId) -> Encoded {
        let mut encoded = Encoded { bytes: [0; Encoded::MAX], length: HEAD };
        encoded.put(0, &MAGIC);
        encoded.put(2, &[VERSION, kind]);
        encoded.put(8, &conn.socket.to_le_bytes());
        encoded.put(16, &conn.opened.to_le_bytes());
        encoded
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.put(self.length, bytes);
        self.length += bytes.len();
    }

    /// Sets a field and its flag, if there is a value.
    fn put_if(&mut self, flag: u8, at: usize, bytes: Option<[u8; 4]>) {
        if let Some(bytes) = bytes {
            self.bytes[4] |= flag;
            self.put(at, &bytes);
        }
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.bytes[4] |= if on { flag } else { 0 };
    }
}

/// Lays out a packet that is no event.
pub fn encode_part(part: Part, conn: ConnId) -> Encoded {
    let kind = if part == Part::Continuation { CONTINUATION } else { DECORATION };
    Encoded::new(kind, conn)
}

/// Lays out an event, all but its time and process ids (which have places of their own in the block) and
/// its payload.
pub fn encode(event: &Event<'_>) -> Encoded {
    let kind = match &event.kind {
        Kind::Open(_) => OPEN,
        Kind::Data(_) => DATA,
        Kind::Close(_) => CLOSE,
        Kind::Loss(_) => LOSS,
    };
    let mut out = Encoded::new(kind, event.conn);
    out.put_if(flag::FD, 20, event.fd.map(i32::to_le_bytes));
    if let Some(task) = &event.task {
        out.set(flag::TASK, true);
        out.put(32, &task.comm.0);
    }
    match &event.kind {
        Kind::Open(open) => encode_open(open, &mut out),
        Kind::Data(data) => encode_data(data, &mut out),
        Kind::Close(close) => encode_close(close, &mut out),
        Kind::Loss(loss) => {
            out.put(5, &[loss.direction as u8, 0, loss.cause as u8]);
            out.append(&loss.range.from.to_le_bytes());
            out.append(&loss.range.to.to_le_bytes());
        }
    }
    out
}

fn encode_open(open: &Open, out: &mut Encoded) {
    let role = match open.role {
        Role::Unknown => 0,
        Role::Client => 1,
        Role::Server => 2,
    };
    out.put(6, &[open.call.map_or(0, |call| call as u8), role]);
    out.put_if(flag::ERROR, 24, open.error.map(i32::to_le_bytes));
    out.set(flag::EXACT, open.exact);
    out.set(flag::FILTERED, open.filtered);
    out.set(flag::FOUND, open.opened == Opened::Found);
    let mut known = 0;
    for (start, flag) in open.start.iter().zip(flag::KNOWN) {
        known |= if start.seq.is_some() { flag } else { 0 };
        out.append(&start.offset.to_le_bytes());
        out.append(&start.seq.unwrap_or(0).to_le_bytes());
    }
    out.put(5, &[known | (open.transport as u8) << 4]);
    encode_addresses(&[open.local, open.remote], out);
}

fn encode_data(data: &Data<'_>, out: &mut Encoded) {
    out.put(5, &[data.direction as u8, data.call as u8, data.cause.map_or(0, |cause| cause as u8)]);
    out.put_if(flag::ERROR, 24, data.error.map(i32::to_le_bytes));
    out.put_if(flag::TCP_SEQ, 28, data.tcp_seq.map(u32::to_le_bytes));
    out.set(flag::PEEK, data.peek);
    out.set(flag::PAST_TCP, data.past_tcp);
    out.append(&data.offset.to_le_bytes());
    out.append(&data.length.to_le_bytes());
    out.append(&(payload_of(data).len() as u64).to_le_bytes());
    if data.peer.is_some() {
        out.set(flag::PEER, true);
        encode_addresses(&[data.peer], out);
    }
}

/// The payload that is recorded: never more than moved, nor than a reader takes.
pub fn payload_of<'a>(data: &Data<'a>) -> &'a [u8] {
    let limit = data.length.min(MAX_PAYLOAD) as usize;
    &data.payload[..data.payload.len().min(limit)]
}

fn encode_close(close: &Close, out: &mut Encoded) {
    let reason = match close.reason {
        CloseReason::Descriptor => 1,
        CloseReason::Closed => 2,
        CloseReason::Fin => 3,
        CloseReason::Reset => 4,
        CloseReason::StillOpen => 5,
    };
    let mut known = 0;
    for (total, flag) in close.totals.iter().zip(flag::KNOWN) {
        known |= if total.end.is_some() { flag } else { 0 };
        for number in [total.moved, total.end.unwrap_or(0), total.pending] {
            out.append(&number.to_le_bytes());
        }
    }
    out.put(5, &[known, close.call.map_or(0, |call| call as u8), reason]);
}

fn encode_addresses(addresses: &[Option<Address>], out: &mut Encoded) {
    for address in addresses {
        match address {
            None => out.append(&[0; 28]),
            Some(Address::Ip(address)) => out.append(&encode_ip(*address)),
            Some(Address::Unix(name)) => {
                let mut field = [0; 28];
                (field[0], field[2]) = (1, name.as_bytes().len() as u8);
                out.append(&field);
            }
        }
    }
    for address in addresses {
        if let Some(Address::Unix(name)) = address {
            out.append(name.as_bytes());
        }
    }
}

fn encode_ip(address: SocketAddr) -> [u8; 28] {
    let mut out = [0; 28];
    out[2..4].copy_from_slice(&address.port().to_le_bytes());
    match address {
        SocketAddr::V4(address) => {
            out[0] = 4;
            out[12..16].copy_from_slice(&address.ip().octets());
        }
        SocketAddr::V6(address) => {
            out[0] = 6;
            out[4..8].copy_from_slice(&address.flowinfo().to_le_bytes());
            out[8..12].copy_from_slice(&address.scope_id().to_le_bytes());
            out[12..28].copy_from_slice(&address.ip().octets());
        }
    }
    out
}

/// What a custom option says.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // lives for a moment, and most are events: a box would be an allocation for each
pub enum Decoded {
    /// An event without its payload, and how many bytes of payload belong to it.
    Event(Event<'static>, u64),
    /// More payload of the event before, on this connection.
    Continuation(ConnId),
    /// Nothing that concerns a reader.
    Decoration,
}

/// Reads what [`encode`] laid out. `ids` are the process and thread id that the block has.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(bytes: &[u8], time: Timestamp, ids: Option<(u32, u32)>) -> Result<Decoded, &'static str> {
    let input = Input(bytes);
    if bytes.get(..2) != Some(&MAGIC) {
        return Err("has no event");
    }
    if input.byte(2)? > VERSION {
        return Err("was written by a newer sockdbg");
    }
    let conn = ConnId { socket: input.u64(8)?, opened: input.u32(16)? };
    let flags = input.byte(4)?;
    let comm = Comm(input.array(32)?);
    let (kind, payload) = match input.byte(3)? {
        DECORATION => return Ok(Decoded::Decoration),
        CONTINUATION => return Ok(Decoded::Continuation(conn)),
        OPEN => (Kind::Open(decode_open(input, flags)?), 0),
        DATA => {
            let (data, payload) = decode_data(input, flags)?;
            (Kind::Data(data), payload)
        }
        CLOSE => (Kind::Close(decode_close(input)?), 0),
        LOSS => (Kind::Loss(decode_loss(input)?), 0),
        _ => return Err("has an event of unknown kind"),
    };
    let task = match (flags & flag::TASK != 0, ids) {
        (false, _) => None,
        (true, Some((pid, tid))) => Some(Task { pid, tid, comm }),
        (true, None) => return Err("has an event without its process id"),
    };
    let fd = input.i32_if(flags & flag::FD, 20)?;
    Ok(Decoded::Event(Event { time, conn, task, fd, kind }, payload))
}

fn decode_open(input: Input<'_>, flags: u8) -> Result<Open, &'static str> {
    let known = input.byte(5)?;
    let mut start = [Start::default(); 2];
    for (index, start) in start.iter_mut().enumerate() {
        let at = HEAD + index * 12;
        let seq = input.u32(at + 8)?;
        *start = Start { offset: input.u64(at)?, seq: (known & flag::KNOWN[index] != 0).then_some(seq) };
    }
    let [local, remote] = decode_addresses(input, HEAD + 24)?;
    Ok(Open {
        opened: if flags & flag::FOUND != 0 { Opened::Found } else { Opened::Fresh },
        transport: Transport::from_number(u32::from(known >> 4)).ok_or("has an unknown transport")?,
        local,
        remote,
        role: match input.byte(7)? {
            0 => Role::Unknown,
            1 => Role::Client,
            2 => Role::Server,
            _ => return Err("has an unknown role"),
        },
        start,
        exact: flags & flag::EXACT != 0,
        filtered: flags & flag::FILTERED != 0,
        call: input.call()?,
        error: input.i32_if(flags & flag::ERROR, 24)?,
    })
}

fn decode_data(input: Input<'_>, flags: u8) -> Result<(Data<'static>, u64), &'static str> {
    let (offset, length, payload) = (input.u64(HEAD)?, input.u64(HEAD + 8)?, input.u64(HEAD + 16)?);
    if offset.checked_add(length).is_none() || payload > length.min(MAX_PAYLOAD) {
        return Err("has an event with an impossible length");
    }
    let data = Data {
        direction: input.direction()?,
        offset,
        length,
        payload: &[],
        peer: if flags & flag::PEER != 0 { decode_addresses::<1>(input, HEAD + 24)?[0] } else { None },
        tcp_seq: if flags & flag::TCP_SEQ != 0 { Some(input.u32(28)?) } else { None },
        call: input.call()?.ok_or("has data without a call")?,
        cause: input.cause()?,
        peek: flags & flag::PEEK != 0,
        past_tcp: flags & flag::PAST_TCP != 0,
        acked: None,
        error: input.i32_if(flags & flag::ERROR, 24)?,
    };
    Ok((data, payload))
}

fn decode_close(input: Input<'_>) -> Result<Close, &'static str> {
    let known = input.byte(5)?;
    let mut totals = [Total::default(); 2];
    for (index, total) in totals.iter_mut().enumerate() {
        let at = HEAD + index * 24;
        let end = input.u64(at + 8)?;
        *total = Total {
            moved: input.u64(at)?,
            end: (known & flag::KNOWN[index] != 0).then_some(end),
            pending: input.u64(at + 16)?,
            ..Total::default()
        };
    }
    let reason = match input.byte(7)? {
        1 => CloseReason::Descriptor,
        2 => CloseReason::Closed,
        3 => CloseReason::Fin,
        4 => CloseReason::Reset,
        5 => CloseReason::StillOpen,
        _ => return Err("has a close for an unknown reason"),
    };
    Ok(Close { reason, call: input.call()?, totals })
}

fn decode_loss(input: Input<'_>) -> Result<Loss, &'static str> {
    let (from, to) = (input.u64(HEAD)?, input.u64(HEAD + 8)?);
    if from > to {
        return Err("has a loss that ends before it begins");
    }
    let cause = input.cause()?.ok_or("has a loss without a cause")?;
    Ok(Loss { direction: input.direction()?, range: Range { from, to }, cause })
}

fn decode_addresses<const N: usize>(
    input: Input<'_>,
    at: usize,
) -> Result<[Option<Address>; N], &'static str> {
    let mut addresses = [None; N];
    let mut name_at = at + N * 28;
    for (index, address) in addresses.iter_mut().enumerate() {
        let at = at + index * 28;
        *address = if input.byte(at)? == 1 {
            let length = usize::from(input.byte(at + 2)?);
            let name = input.0.get(name_at..name_at + length).ok_or("has an event that is cut")?;
            name_at += length;
            Some(Address::Unix(UnixName::new(name)))
        } else {
            decode_ip(input, at)?
        };
    }
    Ok(addresses)
}

fn decode_ip(input: Input<'_>, at: usize) -> Result<Option<Address>, &'static str> {
    let port = u16::from_le_bytes(input.array(at + 2)?);
    match input.byte(at)? {
        0 => Ok(None),
        4 => {
            let ip = Ipv4Addr::from(input.array::<4>(at + 12)?);
            Ok(Some(SocketAddr::new(IpAddr::V4(ip), port).into()))
        }
        6 => {
            let ip = Ipv6Addr::from(input.array::<16>(at + 12)?);
            let address = SocketAddrV6::new(ip, port, input.u32(at + 4)?, input.u32(at + 8)?);
            Ok(Some(SocketAddr::from(address).into()))
        }
        _ => Err("has an address of unknown family"),
    }
}

/// Fields of a custom option, which may be cut or hostile.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], &'static str> {
        let bytes = self.0.get(at..at + N).ok_or("has an event that is cut")?;
        Ok(bytes.try_into().expect("as many bytes as were taken"))
    }

    fn byte(self, at: usize) -> Result<u8, &'static str> {
        Ok(self.array::<1>(at)?[0])
    }

    fn u32(self, at: usize) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    fn u64(self, at: usize) -> Result<u64, &'static str> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }

    fn i32_if(self, flag: u8, at: usize) -> Result<Option<i32>, &'static str> {
        Ok(if flag == 0 { None } else { Some(i32::from_le_bytes(self.array(at)?)) })
    }

    fn direction(self) -> Result<Direction, &'static str> {
        match self.byte(5)? {
            0 => Ok(Direction::Send),
            1 => Ok(Direction::Recv),
            _ => Err("has an unknown direction"),
        }
    }

    fn call(self) -> Result<Option<Call>, &'static str> {
        match self.byte(6)? {
            0 => Ok(None),
            number => Call::from_number(number).map(Some).ok_or("has an unknown call"),
        }
    }

    fn cause(self) -> Result<Option<Cause>, &'static str> {
        match self.byte(7)? {
            0 => Ok(None),
            number => Cause::from_number(number).map(Some).ok_or("has an unknown cause"),
        }
    }
}
