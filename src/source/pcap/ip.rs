//! Headers of IPv4 (RFC 791) and IPv6 (RFC 8200), extension headers included.

use super::link::Part;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Extension headers that one packet may have. RFC 8200 has each of its six once.
const MAX_EXTENSIONS: usize = 16;

const IPV6_HEADER: usize = 40;

/// Numbers of extension headers (IANA, "IPv6 Extension Header Types").
mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    /// Also between IPv4 and its payload.
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HOST_IDENTITY: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// What an IP packet, or a fragment of one, says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// What the payload is; in a fragment, what it is in the first one.
    pub protocol: u8,
    /// The identification of an IPv4 packet; 0 in IPv6.
    pub id: u32,
    pub payload: Part<'a>,
    /// Absent in a packet that is whole.
    pub fragment: Option<Fragment>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub id: u32,
    /// Where it begins in the payload of the whole packet, in bytes.
    pub offset: usize,
    /// Others follow it.
    pub more: bool,
}

/// Reads an IPv4 header; absent where it is none, or not captured.
pub fn version4(part: Part<'_>) -> Option<Header<'_>> {
    let head = part.bytes.first_chunk::<20>()?;
    let length = usize::from(head[0] & 15) * 4;
    if head[0] >> 4 != 4 || length < 20 {
        return None;
    }
    // The length is 0 where the network card does the segmentation: then the frame has as many as there are.
    let stated = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let whole = if stated < length { part } else { Part { length: stated, ..part }.limit(stated) };
    let place = u16::from_be_bytes([head[6], head[7]]);
    let (more, offset) = (place & 0x2000 != 0, usize::from(place & 0x1fff) * 8);
    let id = u32::from(u16::from_be_bytes([head[4], head[5]]));
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]).into();
    let header = Header {
        source: address(12),
        destination: address(16),
        protocol: head[9],
        id,
        payload: whole.skip(length)?,
        fragment: (more || offset > 0).then_some(Fragment { id, offset, more }),
    };
    if header.fragment.is_some() { Some(header) } else { extensions(header) }
}

/// Reads an IPv6 header and its extensions; absent where it is none, or not captured.
pub fn version6(part: Part<'_>) -> Option<Header<'_>> {
    let head = part.bytes.first_chunk::<IPV6_HEADER>()?;
    if head[0] >> 4 != 6 {
        return None;
    }
    // The length is 0 in a jumbogram (RFC 2675): then the frame has as many as there are.
    let stated = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let whole = if stated == 0 {
        part
    } else {
        Part { length: IPV6_HEADER + stated, ..part }.limit(IPV6_HEADER + stated)
    };
    let address = |at: usize| {
        let bytes: [u8; 16] = head[at..at + 16].try_into().expect("16 bytes of the 40 at hand");
        Ipv6Addr::from(bytes).into()
    };
    extensions(Header {
        source: address(8),
        destination: address(24),
        protocol: head[6],
        id: 0,
        payload: whole.skip(IPV6_HEADER)?,
        fragment: None,
    })
}

/// The header of a packet that was put together: `payload` follows the header for fragments.
pub fn behind_fragment<'a>(fragment: &Header<'_>, protocol: u8, payload: Part<'a>) -> Option<Header<'a>> {
    let (source, destination, id) = (fragment.source, fragment.destination, fragment.id);
    extensions(Header { source, destination, protocol, id, payload, fragment: None })
}

/// Goes behind extension headers, up to one for fragments.
fn extensions(mut header: Header<'_>) -> Option<Header<'_>> {
    for _ in 0..MAX_EXTENSIONS {
        let bytes = header.payload.bytes;
        let units = |unit: usize, extra: usize| Some((usize::from(*bytes.get(1)?) + extra) * unit);
        let length = match header.protocol {
            extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::DESTINATION
            | extension::MOBILITY
            | extension::HOST_IDENTITY
            | extension::SHIM6
                if header.source.is_ipv6() =>
            {
                units(8, 1)?
            }
            extension::AUTHENTICATION => units(4, 2)?,
            extension::FRAGMENT if header.source.is_ipv6() => 8,
            _ => return Some(header),
        };
        if header.protocol == extension::FRAGMENT {
            let place = header.payload.be16(2)?;
            let (more, offset) = (place & 1 == 1, usize::from(place & 0xfff8));
            let id = u32::from_be_bytes(bytes.get(4..8)?.try_into().expect("4 bytes"));
            // One that is the first and the last is a whole packet (RFC 6946).
            header.fragment = (more || offset > 0).then_some(Fragment { id, offset, more });
        }
        header.protocol = *bytes.first()?;
        header.payload = header.payload.skip(length)?;
        if header.fragment.is_some() {
            return Some(header);
        }
    }
    None
}
