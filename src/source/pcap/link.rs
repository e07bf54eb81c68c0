//! From a captured packet down to its TCP segment or UDP datagram: link layer, tags, tunnels, IP, their headers.
//!
//! In place, but for IP packets that came in fragments, which `fragment` puts together. Every length may be cut by
//! a snap length, and the IP length may be absent (segmentation offload), so the true length of the payload is
//! computed from headers, never from what was captured. Of a packet in a tunnel only the inner one counts.

use super::checksum::Sum;
use super::file::Packet;
use super::fragment::{Fragments, Key, Whole};
use super::ip::{self, Header};
use super::linktype::{Start, start};
use super::tunnel;
use crate::event::Timestamp;
use std::net::{IpAddr, SocketAddr};
use std::ops::{ControlFlow, Range};

/// Headers that one packet may nest, tags and tunnels included.
const MAX_NESTING: usize = 24;

/// Numbers of what follows an Ethernet header.
pub mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q and 802.1ad, and numbers used for QinQ before it.
    pub const VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
    /// RFC 3032, RFC 5332.
    pub const MPLS: [u16; 2] = [0x8847, 0x8848];
    /// RFC 2516, session stage.
    pub const PPPOE: u16 = 0x8864;
    /// A whole Ethernet frame (RFC 1701 and its successors call it transparent bridging).
    pub const BRIDGING: u16 = 0x6558;
    /// Numbers below are lengths of IEEE 802.3 frames.
    pub const FIRST: u16 = 0x0600;
}

/// Protocol numbers of IP.
pub mod protocol {
    /// RFC 2003, RFC 4213.
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const GRE: u8 = 47;
}

/// Bytes of a TCP header that are needed: up to the flags.
const TCP_NEEDED: usize = 14;

const UDP_HEADER: usize = 8;

/// TCP header flags.
pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
}

/// A part of a packet: the bytes captured of it, and its length on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub bytes: &'a [u8],
    pub length: usize,
}

impl<'a> Part<'a> {
    /// `length` may be less than what was captured: the rest is padding.
    pub fn new(bytes: &'a [u8], length: usize) -> Part<'a> {
        Part { bytes: &bytes[..bytes.len().min(length)], length }
    }

    /// What follows `count` bytes; absent where the packet is shorter.
    pub fn skip(self, count: usize) -> Option<Part<'a>> {
        let length = self.length.checked_sub(count)?;
        Some(Part { bytes: self.bytes.get(count..).unwrap_or_default(), length })
    }

    /// The first `length` bytes, or all where there are fewer.
    pub fn limit(self, length: usize) -> Part<'a> {
        Part::new(self.bytes, self.length.min(length))
    }

    /// The 16-bit number at `at`; absent where it was not captured.
    pub fn be16(self, at: usize) -> Option<u16> {
        let bytes = self.bytes.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

/// What a part of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet frame without its checksum.
    Ethernet,
    /// What an EtherType stands for.
    Type(u16),
    /// A PPP frame, with or without address and control field.
    Ppp,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Bytes of its header; 0 where that is not known.
    pub header: usize,
    /// Bytes of payload on the wire.
    pub length: usize,
    /// The captured ones of them.
    pub payload: &'a [u8],
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// The identification of its IPv4 packet; 0 where it has none.
    pub id: u32,
    /// Bytes of payload on the wire.
    pub length: usize,
    /// The captured ones of them.
    pub payload: &'a [u8],
}

/// What a packet turned out to be.
#[derive(Debug)]
pub enum Content<'a> {
    Tcp(Segment<'a>),
    Udp(Datagram<'a>),
    /// Something other than TCP and UDP, or cut within their headers.
    Other,
    /// A fragment of an IP packet that is not complete with it.
    Fragment,
    /// The link type is not known.
    UnknownLink,
}

/// Takes what a packet turned out to be.
pub type Take<'a> = dyn FnMut(Content<'_>) -> ControlFlow<()> + 'a;

/// Looks inside packets. Remembers fragments, and nothing else.
#[derive(Default)]
pub struct Dissector {
    /// IP packets of which fragments are missing.
    pub fragments: Fragments,
    /// The fragment that the last packet was, if it was one.
    pub piece: Option<Piece>,
    /// The packet that was complete with the last one.
    pub whole: Option<Whole>,
    /// The checksums over the payload of the last packet, those of its tunnels first, where they are wanted.
    pub sums: Option<Vec<Sum>>,
}

/// A fragment of an IP packet, and what became of the packet with it.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The same for all of a packet.
    pub key: Key,
    /// Where it begins in the payload of the packet.
    pub offset: usize,
    /// Where its captured payload was in memory.
    pub bytes: Range<usize>,
    /// In the first fragment, what its headers say, as far as no tunnel is in the way.
    pub owner: Option<Owner>,
    /// It is a copy of one whose packet was complete before.
    pub is_copy: bool,
    /// Where the payload of the packet was in memory that is complete with it.
    pub whole: Option<Range<usize>>,
    /// That payload is, or holds, a fragment of this packet in turn, which is complete with it or not.
    pub inner: Option<(Key, bool)>,
}

/// Whose a fragment is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub is_tcp: bool,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Bytes before the payload.
    pub header: usize,
}

/// Where bytes are in memory.
pub fn address(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

impl Dissector {
    /// Looks inside a packet; `take` is called once.
    pub fn packet(&mut self, time: Timestamp, packet: &Packet<'_>, take: &mut Take<'_>) -> ControlFlow<()> {
        (self.piece, self.whole) = (None, None);
        self.sums.iter_mut().for_each(Vec::clear);
        match start(packet.link, Part::new(packet.data, packet.length)) {
            Start::Layer(layer, part) => self.descend(time, layer, part, 0, take),
            Start::Nothing => take(Content::Other),
            Start::Unsupported => take(Content::UnknownLink),
        }
    }

    /// Follows headers from a layer down to what is inside.
    fn descend(
        &mut self,
        time: Timestamp,
        mut layer: Layer,
        mut part: Part<'_>,
        depth: usize,
        take: &mut Take<'_>,
    ) -> ControlFlow<()> {
        for depth in depth..MAX_NESTING {
            let header = match layer {
                Layer::Type(ethertype::IPV4) => ip::version4(part),
                Layer::Type(ethertype::IPV6) => ip::version6(part),
                _ => {
                    let Some(next) = below(layer, part) else { return take(Content::Other) };
                    (layer, part) = next;
                    continue;
                }
            };
            let Some(header) = header else { return take(Content::Other) };
            if header.fragment.is_some() {
                return self.fragment(time, &header, depth, take);
            }
            self.note_sum(&header);
            match inside(&header) {
                Inside::Content(content) => return take(content),
                Inside::Layer(next, rest) => (layer, part) = (next, rest),
            }
        }
        take(Content::Other)
    }

    /// Goes on with an IP packet that is complete with this fragment.
    fn fragment(
        &mut self,
        time: Timestamp,
        header: &Header<'_>,
        depth: usize,
        take: &mut Take<'_>,
    ) -> ControlFlow<()> {
        let whole = self.fragments.add(time, header);
        if let Some((place, key)) = header.fragment.zip(Key::of(header)) {
            let is_copy = self.fragments.was_copy;
            let owner = (place.offset == 0).then(|| owner(header)).flatten();
            match &mut self.piece {
                Some(outer) => outer.inner = Some((key, whole.is_some())),
                None => {
                    let (offset, bytes) = (place.offset, address(header.payload.bytes));
                    let whole = whole.as_ref().map(|whole| address(&whole.bytes));
                    self.piece = Some(Piece { key, offset, bytes, owner, is_copy, whole, inner: None });
                }
            }
        }
        let Some(whole) = whole else { return take(Content::Fragment) };
        let part = Part::new(&whole.bytes, whole.length);
        let flow = match ip::behind_fragment(header, whole.protocol, part) {
            None => take(Content::Other),
            Some(header) => {
                self.note_sum(&header);
                match inside(&header) {
                    Inside::Content(content) => take(content),
                    Inside::Layer(layer, rest) => self.descend(time, layer, rest, depth + 1, take),
                }
            }
        };
        self.whole = Some(whole);
        flow
    }

    fn note_sum(&mut self, header: &Header<'_>) {
        if let Some(sums) = &mut self.sums {
            sums.extend(Sum::of(header));
        }
    }
}

/// What an IP packet carries.
enum Inside<'a> {
    Content(Content<'a>),
    Layer(Layer, Part<'a>),
}

fn inside<'a>(header: &Header<'a>) -> Inside<'a> {
    let part = header.payload;
    let tunnel = match header.protocol {
        protocol::TCP => return Inside::Content(tcp(header.source, header.destination, part)),
        protocol::UDP => match tunnel::udp(part) {
            None => return Inside::Content(udp(header)),
            tunnel => tunnel,
        },
        protocol::GRE => tunnel::gre(part),
        protocol::IPV4 => Some((Layer::Type(ethertype::IPV4), part)),
        protocol::IPV6 => Some((Layer::Type(ethertype::IPV6), part)),
        _ => None,
    };
    tunnel.map_or(Inside::Content(Content::Other), |(layer, rest)| Inside::Layer(layer, rest))
}

/// Whose a first fragment is, by the ports that are in it.
fn owner(header: &Header<'_>) -> Option<Owner> {
    Some(match inside(header) {
        Inside::Content(Content::Tcp(one)) => {
            Owner { is_tcp: true, source: one.source, destination: one.destination, header: one.header }
        }
        Inside::Content(Content::Udp(one)) => {
            Owner { is_tcp: false, source: one.source, destination: one.destination, header: UDP_HEADER }
        }
        _ => return None,
    })
}

/// What follows a header above IP.
fn below(layer: Layer, part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    let (skip, next) = match layer {
        Layer::Ethernet => return ethernet(part),
        Layer::Ppp => return ppp(part),
        Layer::Type(ethertype::BRIDGING) => return Some((Layer::Ethernet, part)),
        Layer::Type(ethertype::PPPOE) => return pppoe(part),
        Layer::Type(tag) if ethertype::VLAN.contains(&tag) => (4, part.be16(2)?),
        Layer::Type(label) if ethertype::MPLS.contains(&label) => (4, below_mpls(label, part)?),
        Layer::Type(_) => return None,
    };
    Some((Layer::Type(next), part.skip(skip)?))
}

fn ethernet(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    let kind = part.be16(12)?;
    if kind >= ethertype::FIRST {
        return Some((Layer::Type(kind), part.skip(14)?));
    }
    // IEEE 802.2 with SNAP (RFC 1042): the EtherType comes later. Padding may follow the stated length.
    let snap = part.bytes.get(14..20)? == [0xaa, 0xaa, 3, 0, 0, 0];
    snap.then_some(())?;
    Some((Layer::Type(part.be16(20)?), part.limit(14 + usize::from(kind)).skip(22)?))
}

/// What follows one MPLS label: another, or an IP header after the bottom of the stack.
fn below_mpls(label: u16, part: Part<'_>) -> Option<u16> {
    let bottom = part.bytes.get(2)? & 1 == 1;
    if bottom { ip_version(part.skip(4)?) } else { Some(label) }
}

/// The PPPoE length counts the PPP frame. What follows is padding.
fn pppoe(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    let length = usize::from(part.be16(4)?);
    Some((Layer::Ppp, part.skip(6)?.limit(length)))
}

/// PPP (RFC 1661, RFC 1662): address and control field may be left out, and the first byte of the protocol number
/// where it is zero. Behind Cisco's address field comes an EtherType.
fn ppp(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    if matches!(part.bytes, [0x0f | 0x8f, 0, ..]) {
        return Some((Layer::Type(part.be16(2)?), part.skip(4)?));
    }
    let part = if part.bytes.starts_with(&[0xff, 3]) { part.skip(2)? } else { part };
    let short = part.bytes.first()? & 1 == 1;
    let (number, rest) =
        if short { (u16::from(part.bytes[0]), part.skip(1)?) } else { (part.be16(0)?, part.skip(2)?) };
    match number {
        0x0021 => Some((Layer::Type(ethertype::IPV4), rest)),
        0x0057 => Some((Layer::Type(ethertype::IPV6), rest)),
        _ => None,
    }
}

/// The EtherType that the first half-byte of an IP header stands for.
pub fn ip_version(part: Part<'_>) -> Option<u16> {
    match part.bytes.first()? >> 4 {
        4 => Some(ethertype::IPV4),
        6 => Some(ethertype::IPV6),
        _ => None,
    }
}

/// RFC 768.
fn udp<'a>(header: &Header<'a>) -> Content<'a> {
    let part = header.payload;
    let Some(head) = part.bytes.first_chunk::<UDP_HEADER>() else { return Content::Other };
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let length = tunnel::datagram_length(word(4), part);
    let Some(payload) = part.limit(length).skip(UDP_HEADER) else { return Content::Other };
    Content::Udp(Datagram {
        source: SocketAddr::new(header.source, word(0)),
        destination: SocketAddr::new(header.destination, word(2)),
        id: header.id,
        length: payload.length,
        payload: payload.bytes,
    })
}

fn tcp(source: IpAddr, destination: IpAddr, part: Part<'_>) -> Content<'_> {
    let Some(head) = part.bytes.first_chunk::<TCP_NEEDED>() else { return Content::Other };
    let header = usize::from(head[12] >> 4) * 4;
    if header < 20 {
        return Content::Other;
    }
    let Some(payload) = part.skip(header) else { return Content::Other };
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    Content::Tcp(Segment {
        source: SocketAddr::new(source, port(0)),
        destination: SocketAddr::new(destination, port(2)),
        seq: word(4),
        ack: word(8),
        flags: head[13],
        header,
        length: payload.length,
        payload: payload.bytes,
    })
}
