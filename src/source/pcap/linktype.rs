//! Link types: which layer a captured packet begins with, and what the types are called.
//!
//! Numbers, names and layouts: the LINKTYPE_ registry of tcpdump.org.

use super::link::{Layer, Part, ethertype, ip_version};

/// What a packet of a link type begins with once its pseudo-header is taken off.
pub enum Start<'a> {
    /// It goes on with this layer.
    Layer(Layer, Part<'a>),
    /// Cut short, or nothing that is known.
    Nothing,
    /// The link type is not supported.
    Unsupported,
}

/// True where packets of the link type are read.
pub fn is_supported(link: u16) -> bool {
    !matches!(start(link, Part::new(&[], 0)), Start::Unsupported)
}

/// Takes off what comes before the network layer, Ethernet headers aside.
pub fn start(link: u16, packet: Part<'_>) -> Start<'_> {
    let found = match link {
        1 => Some((Layer::Ethernet, packet)),
        // Null and loop: four bytes of address family, whose byte order and numbers depend on the system.
        0 | 108 => packet.skip(4).and_then(ip),
        // Raw IP, by the numbers of several systems; IPv4 and IPv6 alone.
        12 | 14 | 101 | 228 | 229 => ip(packet),
        // Linux cooked, version 1 and 2.
        113 => packet.be16(14).and_then(|kind| Some((Layer::Type(kind), packet.skip(16)?))),
        276 => packet.be16(0).and_then(|kind| Some((Layer::Type(kind), packet.skip(20)?))),
        9 | 50 => Some((Layer::Ppp, packet)),
        // PPP behind a byte that tells the direction.
        204 => packet.skip(1).map(|rest| (Layer::Ppp, rest)),
        // PPP over Ethernet without the Ethernet.
        51 => Some((Layer::Type(ethertype::PPPOE), packet)),
        // Cisco HDLC: address, control, EtherType.
        104 => packet.be16(2).and_then(|kind| Some((Layer::Type(kind), packet.skip(4)?))),
        239 => nflog(packet),
        _ => return Start::Unsupported,
    };
    found.map_or(Start::Nothing, |(layer, rest)| Start::Layer(layer, rest))
}

/// IPv4 or IPv6, as the first half-byte says.
fn ip(packet: Part<'_>) -> Option<(Layer, Part<'_>)> {
    Some((Layer::Type(ip_version(packet)?), packet))
}

/// Netfilter log: a header of 4 bytes, then fields of length, type and value, padded to 4 bytes. The packet is the
/// field of type 9 (NFULA_PAYLOAD). Lengths are in the byte order of the machine that captured; nearly all are
/// little-endian, and the length of another one would be too large to be whole.
fn nflog(packet: Part<'_>) -> Option<(Layer, Part<'_>)> {
    let mut rest = packet.skip(4)?;
    while let Some(head) = rest.bytes.first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes([head[0], head[1]]));
        if u16::from_le_bytes([head[2], head[3]]) & 0x7fff == 9 {
            return ip(rest.limit(length).skip(4)?);
        }
        rest = rest.skip(length.max(4).next_multiple_of(4))?;
    }
    None
}

/// How messages name a link type: number and name.
pub fn describe(link: u16) -> String {
    match name(link) {
        Some(name) => format!("{link} ({name})"),
        None => link.to_string(),
    }
}

fn name(link: u16) -> Option<&'static str> {
    Some(match link {
        0 => "BSD loopback",
        1 => "Ethernet",
        3 => "AX.25",
        6 => "IEEE 802.5 Token Ring",
        7 => "ARCNET",
        8 => "SLIP",
        9 => "PPP",
        10 => "FDDI",
        50 => "PPP in HDLC framing",
        51 => "PPPoE",
        100 => "RFC 1483 ATM",
        101 => "raw IP",
        104 => "Cisco HDLC",
        105 => "IEEE 802.11",
        107 => "Frame Relay",
        108 => "OpenBSD loopback",
        109 => "OpenBSD IPsec",
        113 => "Linux cooked v1",
        114 => "Apple LocalTalk",
        117 => "OpenBSD pflog",
        119 => "IEEE 802.11 with Prism header",
        122 => "IP over Fibre Channel",
        123 => "SunATM",
        127 => "IEEE 802.11 with radiotap header",
        129 => "Linux ARCNET",
        138 => "IP over IEEE 1394",
        144 => "Linux IrDA",
        147..=162 => "private use",
        163 => "IEEE 802.11 with AVS header",
        165 => "BACnet MS/TP",
        166 => "PPP of pppd",
        187 => "Bluetooth HCI H4",
        189 => "USB of Linux",
        190 => "CAN",
        192 => "PPI",
        195 | 230 => "IEEE 802.15.4",
        196 => "SITA",
        201 => "Bluetooth HCI H4 with direction",
        204 => "PPP with direction",
        215 => "IEEE 802.15.4 without header",
        220 => "USB of Linux, padded",
        224 => "Fibre Channel FC-2",
        225 => "Fibre Channel FC-2 with delimiters",
        226 => "Solaris ipnet",
        227 => "SocketCAN",
        228 => "raw IPv4",
        229 => "raw IPv6",
        239 => "NFLOG",
        240 => "netANALYZER",
        242 => "IP over InfiniBand",
        247 => "InfiniBand",
        249 => "USBPcap",
        251 => "Bluetooth LE",
        252 => "exported PDU of Wireshark",
        253 => "Netlink",
        254 => "Bluetooth monitor of Linux",
        258 => "Apple PKTAP",
        271 => "vsock monitor",
        276 => "Linux cooked v2",
        _ => return None,
    })
}
