//! From a captured packet down to its TCP segment: link layer, IP, TCP header. In place, no state.
//!
//! Every length may be cut by a snap length, and the IP length may be absent (segmentation offload), so
//! the true length of the payload is computed from headers, never from what was captured.

use super::file::Packet;
use etherparse::LaxIpSlice;
use std::net::{IpAddr, SocketAddr};

/// Tags and tunnels that one packet may nest.
const MAX_NESTING: usize = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, 802.1ad, and the number used for QinQ before it.
const ETHERTYPE_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// RFC 3032.
const ETHERTYPE_MPLS: u16 = 0x8847;
/// RFC 2516, session stage.
const ETHERTYPE_PPPOE: u16 = 0x8864;

const IP_TCP: u8 = 6;
/// IPv4 and IPv6 in IP: RFC 2003, RFC 4213.
const IP_IPV4: u8 = 4;
const IP_IPV6: u8 = 41;

/// Bytes of a TCP header that are needed: up to the flags.
const TCP_NEEDED: usize = 14;

/// TCP header flags.
pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Bytes of payload on the wire.
    pub length: usize,
    /// The captured ones of them.
    pub payload: &'a [u8],
}

/// What a packet turned out to be.
#[derive(Debug)]
pub enum Content<'a> {
    Tcp(Segment<'a>),
    /// Something other than TCP, or cut before the TCP header's flags.
    Other,
    /// A fragment of an IP packet.
    Fragment,
    /// The link type is not known.
    UnknownLink,
}

/// Looks inside a packet.
pub fn dissect<'a>(packet: &Packet<'a>) -> Content<'a> {
    let Some(offset) = network_offset(packet.link, packet.data) else { return Content::UnknownLink };
    let Some((offset, ethertype)) = offset else { return Content::Other };
    let (data, length) = (packet.data.get(offset..), packet.length.checked_sub(offset));
    match (data, length) {
        (Some(data), Some(length)) => below_link(ethertype, data, length),
        _ => Content::Other,
    }
}

/// Where the link header ends and which EtherType follows it. Outside: the link type is known; inside:
/// the header is whole. Layouts: the LINKTYPE_ registry of tcpdump.org.
#[allow(clippy::option_option)] // two different answers, one level each
fn network_offset(link: u16, data: &[u8]) -> Option<Option<(usize, u16)>> {
    let after = |length: usize, ethertype: Option<u16>| Some(ethertype.map(|ethertype| (length, ethertype)));
    match link {
        1 => after(14, be16(data, 12)),
        // Null and loop: four bytes of address family, whose byte order and numbers depend on the system.
        0 | 108 => after(4, ip_version(data, 4)),
        12 | 14 | 101 | 228 | 229 => after(0, ip_version(data, 0)),
        113 => after(16, be16(data, 14)),
        276 => after(20, be16(data, 0)),
        _ => None,
    }
}

/// The link type's name, for messages.
pub fn link_name(link: u16) -> &'static str {
    match link {
        9 => "PPP",
        105 => "IEEE802_11",
        127 => "IEEE802_11_RADIOTAP",
        147..=162 => "USER",
        195 => "IEEE802_15_4",
        220 => "USB_LINUX_MMAPPED",
        239 => "NFLOG",
        252 => "WIRESHARK_UPPER_PDU",
        _ => "unnamed",
    }
}

/// Follows tags down to an IP header.
fn below_link(mut ethertype: u16, mut data: &[u8], mut length: usize) -> Content<'_> {
    for _ in 0..MAX_NESTING {
        let (skip, next) = match ethertype {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return below_ethernet(data, length),
            tag if ETHERTYPE_VLAN.contains(&tag) => (4, be16(data, 2)),
            ETHERTYPE_MPLS => (4, below_mpls(data)),
            ETHERTYPE_PPPOE => (8, below_pppoe(data)),
            _ => return Content::Other,
        };
        let (Some(next), Some(rest), Some(shorter)) = (next, data.get(skip..), length.checked_sub(skip))
        else {
            return Content::Other;
        };
        let limit = if ethertype == ETHERTYPE_PPPOE { pppoe_length(data) } else { usize::MAX };
        (ethertype, data, length) = (next, &rest[..rest.len().min(limit)], shorter.min(limit));
    }
    Content::Other
}

/// What follows one MPLS label: another, or an IP header after the bottom of the stack.
fn below_mpls(data: &[u8]) -> Option<u16> {
    let bottom = data.get(2)? & 1 == 1;
    if bottom { ip_version(data, 4) } else { Some(ETHERTYPE_MPLS) }
}

/// What follows a PPPoE header: the PPP protocol numbers of IPv4 and IPv6.
fn below_pppoe(data: &[u8]) -> Option<u16> {
    match be16(data, 6)? {
        0x0021 => Some(ETHERTYPE_IPV4),
        0x0057 => Some(ETHERTYPE_IPV6),
        _ => None,
    }
}

/// Bytes after the PPP protocol number, which the PPPoE length counts too. What follows is padding.
fn pppoe_length(data: &[u8]) -> usize {
    be16(data, 4).map_or(0, |length| usize::from(length).saturating_sub(2))
}

/// From an IP header (through IP in IP) to TCP. `length` is what the frame had room for.
fn below_ethernet(mut data: &[u8], mut length: usize) -> Content<'_> {
    for _ in 0..MAX_NESTING {
        let Ok((ip, None)) = LaxIpSlice::from_slice(data) else { return Content::Other };
        let payload = ip.payload();
        if payload.fragmented {
            return Content::Fragment;
        }
        let header = payload.payload.as_ptr() as usize - data.as_ptr() as usize;
        let stated = stated_length(data);
        let whole = if stated < header { length } else { stated };
        let Some(inner) = whole.checked_sub(header) else { return Content::Other };
        match payload.ip_number.0 {
            IP_TCP => {
                let (source, destination) = (ip.source_addr(), ip.destination_addr());
                return tcp(source, destination, payload.payload, inner);
            }
            IP_IPV4 | IP_IPV6 => (data, length) = (payload.payload, inner),
            _ => return Content::Other,
        }
    }
    Content::Other
}

/// Length of the packet by its own IP header; 0 where the header leaves it open (offload, jumbograms).
fn stated_length(ip: &[u8]) -> usize {
    match ip[0] >> 4 {
        4 => be16(ip, 2).map_or(0, usize::from),
        _ => be16(ip, 4).filter(|&length| length > 0).map_or(0, |length| 40 + usize::from(length)),
    }
}

fn tcp(source: IpAddr, destination: IpAddr, data: &[u8], length: usize) -> Content<'_> {
    let Some(head) = data.first_chunk::<TCP_NEEDED>() else { return Content::Other };
    let header = usize::from(head[12] >> 4) * 4;
    if header < 20 || header > length {
        return Content::Other;
    }
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let length = length - header;
    let payload = data.get(header..).unwrap_or_default();
    Content::Tcp(Segment {
        source: SocketAddr::new(source, port(0)),
        destination: SocketAddr::new(destination, port(2)),
        seq: word(4),
        ack: word(8),
        flags: head[13],
        length,
        payload: &payload[..payload.len().min(length)],
    })
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The EtherType that the first half-byte of an IP header at `at` stands for.
fn ip_version(data: &[u8], at: usize) -> Option<u16> {
    match data.get(at)? >> 4 {
        4 => Some(ETHERTYPE_IPV4),
        6 => Some(ETHERTYPE_IPV6),
        _ => None,
    }
}
