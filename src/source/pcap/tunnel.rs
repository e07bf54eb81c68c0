//! Tunnels over IP: GRE and what it carries, VXLAN, Geneve, GTP. Each function gives what is inside.

use super::link::{Layer, Part, ethertype, ip_version};

/// Where a tunnel over UDP is expected, by destination port.
mod port {
    /// RFC 7348.
    pub const VXLAN: u16 = 4789;
    /// draft-ietf-nvo3-vxlan-gpe.
    pub const VXLAN_GPE: u16 = 4790;
    /// What Linux takes for VXLAN unless it is told the other one.
    pub const VXLAN_LINUX: u16 = 8472;
    /// RFC 8926.
    pub const GENEVE: u16 = 6081;
    /// 3GPP TS 29.281.
    pub const GTP: u16 = 2152;
}

/// GRE (RFC 2784, RFC 2890) and its variant for PPTP (RFC 2637).
pub fn gre(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    const VERSION: u16 = 7;
    let (flags, kind) = (part.be16(0)?, part.be16(2)?);
    let fields = |present: &[u16]| 4 + 4 * present.iter().filter(|&field| flags & field != 0).count();
    match (flags & VERSION, kind) {
        // Source routes were given up with RFC 1701.
        (0, _) if flags & ROUTING != 0 => None,
        (0, _) => {
            let rest = part.skip(fields(&[CHECKSUM, KEY, SEQUENCE]))?;
            match kind {
                0x88be => erspan(rest, flags & SEQUENCE != 0),
                0x22eb => erspan3(rest),
                _ => Some((Layer::Type(kind), rest)),
            }
        }
        (1, 0x880b) => Some((Layer::Ppp, part.skip(fields(&[KEY, SEQUENCE, ACKNOWLEDGEMENT]))?)),
        _ => None,
    }
}

/// ERSPAN (draft-foschiano-erspan): type I has no header, type II one of 8 bytes, and a sequence number in GRE.
fn erspan(part: Part<'_>, numbered: bool) -> Option<(Layer, Part<'_>)> {
    Some((Layer::Ethernet, part.skip(if numbered { 8 } else { 0 })?))
}

/// ERSPAN type III: a header of 12 bytes, 8 more where its last bit says so.
fn erspan3(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    let more = part.bytes.get(11)? & 1 == 1;
    let layer = match part.be16(10)? >> 10 & 0x1f {
        0 => Layer::Ethernet,
        2 => return part.skip(if more { 20 } else { 12 }).and_then(ip),
        _ => return None,
    };
    Some((layer, part.skip(if more { 20 } else { 12 })?))
}

/// True for a port whose datagrams carry packets.
pub fn is_port(port: u16) -> bool {
    [port::VXLAN, port::VXLAN_LINUX, port::VXLAN_GPE, port::GENEVE, port::GTP].contains(&port)
}

/// A UDP datagram whose destination port and header are those of a tunnel.
pub fn udp(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    let inner =
        || part.limit(part.be16(4).map_or(part.length, |length| datagram_length(length, part))).skip(8);
    match part.be16(2)? {
        port::VXLAN | port::VXLAN_LINUX | port::VXLAN_GPE => vxlan(inner()?),
        port::GENEVE => geneve(inner()?),
        port::GTP => gtp(inner()?),
        _ => None,
    }
}

/// The length is 0 where the network card does the segmentation.
pub fn datagram_length(stated: u16, part: Part<'_>) -> usize {
    if stated == 0 { part.length } else { usize::from(stated) }
}

/// The flag that a network identifier is there has to be set, and the last byte is reserved.
fn vxlan(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    const IDENTIFIED: u8 = 0x08;
    /// Of the generic protocol extension: the fourth byte says what follows.
    const PROTOCOL: u8 = 0x04;
    let head = part.bytes.first_chunk::<8>()?;
    if head[0] & IDENTIFIED == 0 || head[7] != 0 {
        return None;
    }
    let layer = match (head[0] & PROTOCOL != 0, head[3]) {
        (false, _) | (true, 3) => Layer::Ethernet,
        (true, 1) => Layer::Type(ethertype::IPV4),
        (true, 2) => Layer::Type(ethertype::IPV6),
        _ => return None,
    };
    Some((layer, part.skip(8)?))
}

fn geneve(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    let head = part.bytes.first_chunk::<8>()?;
    if head[0] >> 6 != 0 || head[7] != 0 {
        return None;
    }
    let options = usize::from(head[0] & 0x3f) * 4;
    Some((Layer::Type(part.be16(2)?), part.skip(8 + options)?))
}

/// GTP-U version 1, and in it only user data (message type 255).
fn gtp(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    const USER_DATA: u8 = 255;
    /// Extension header, sequence number, N-PDU number: one of them, and the fields of all are there.
    const OPTIONAL: u8 = 0x07;
    const EXTENSION: u8 = 0x04;
    let head = part.bytes.first_chunk::<8>()?;
    if head[0] >> 4 != 3 || head[1] != USER_DATA {
        return None;
    }
    let length = usize::from(part.be16(2)?);
    let mut rest = part.skip(8)?.limit(length);
    if head[0] & OPTIONAL != 0 {
        let mut next = if head[0] & EXTENSION != 0 { *rest.bytes.get(3)? } else { 0 };
        rest = rest.skip(4)?;
        while next != 0 {
            // Lengths are in units of four bytes; the last byte names the next one.
            let length = usize::from(*rest.bytes.first()?).max(1) * 4;
            next = *rest.bytes.get(length - 1)?;
            rest = rest.skip(length)?;
        }
    }
    ip(rest)
}

fn ip(part: Part<'_>) -> Option<(Layer, Part<'_>)> {
    Some((Layer::Type(ip_version(part)?), part))
}
