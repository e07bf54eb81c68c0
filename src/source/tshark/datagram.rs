//! From the fields of one packet to its UDP datagram, and what is missing for it.
//!
//! Of a packet in a tunnel the inner one counts, as in a capture: the first datagram whose port is not that of a tunnel. A
//! list names the fields of every header, the outer ones first, and which of them belong together the protocols of the
//! frame tell.

use super::fields::{Field, Fields};
use super::segment::{address_after, after, hex_length, in_parentheses, is_cut, number};
use crate::source::pcap::tunnel;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// Bytes of a header (RFC 768).
const HEADER: u64 = 8;

/// The longest datagram that is believed: jumbograms (RFC 2675) and those before segmentation by the network card.
const MAX_LENGTH: u64 = 16 << 20;

/// A UDP datagram as the JSON tells it.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// The identification of its IPv4 packet; 0 where it has none, or it is not told.
    pub id: u32,
    /// Bytes of payload on the wire.
    pub length: usize,
    /// The payload in hexadecimal, with or without colons. Empty where there is none.
    pub payload: &'a str,
    /// The JSON tells that the capture holds less than the packet.
    pub cut: bool,
    /// Where it was captured: interface and direction, as far as they are told.
    pub place: u64,
}

/// What a packet turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Udp(Datagram<'a>),
    /// No UDP, only a header that another packet quotes (ICMP), or UDP around another packet.
    Other,
    /// UDP, but these are missing.
    Lacks(&'static str),
    /// UDP, but its values can't be true.
    Damaged,
}

/// Which fields the file's datagrams have had so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns {
    pub length: bool,
    pub id: bool,
}

/// Reads a packet's datagram.
pub fn read<'a>(fields: &'a Fields<'_>, columns: &mut Columns) -> Content<'a> {
    if !fields.has_udp() {
        let hidden = !fields.has_tcp() && before_udp(fields, 0).is_some_and(|before| !quotes(&before));
        return if hidden { Content::Lacks("udp.srcport and udp.dstport") } else { Content::Other };
    }
    let ports = ports(fields);
    let Some(index) = ports.iter().position(|&[_, to]| !tunnel::is_port(to)).or(ports.len().checked_sub(1))
    else {
        return Content::Lacks("udp.srcport and udp.dstport");
    };
    let before = before_udp(fields, index);
    if before.as_ref().is_some_and(|before| quotes(before) || before.contains(&"tcp")) {
        return Content::Other;
    }
    let [from, to] = ports[index];
    if tunnel::is_port(to) && (fields.has_tcp() || carries_a_packet(fields)) {
        return Content::Other;
    }
    let Some((family, header)) = header(fields, index, ports.len(), before.as_deref()) else {
        return Content::Lacks(
            "frame.protocols, which tells the headers of a tunnel, and of what ICMP quotes",
        );
    };
    let Some([source, destination]) = addresses(fields, family, header) else {
        return Content::Lacks("ip.src and ip.dst (or ipv6.src and ipv6.dst)");
    };
    let told = fields.all(Field::UdpLength).nth(index).and_then(number);
    let stated = match told {
        Some(1..HEADER) => return Content::Damaged,
        Some(0) | None => None, // the network card does the segmentation
        Some(length) => Some(length - HEADER),
    };
    let own = own_payload(fields, index, ports.len());
    let payload = own.or_else(|| undissected(fields, stated)).unwrap_or_default();
    let shown = hex_length(payload) as u64;
    let cut = is_cut(fields);
    // What is claimed beyond the end of a whole frame was never there.
    let whole = fields.get(Field::Captured).is_some() && !cut && shown > 0;
    let length = stated.map_or(shown, |stated| if whole { stated.min(shown) } else { stated });
    if length > MAX_LENGTH {
        return Content::Damaged;
    }
    columns.length |= told.is_some();
    let id = (family == Family::Ipv4).then(|| fields.all(Field::IpId).nth(header)).flatten();
    columns.id |= id.is_some() || family == Family::Ipv6;
    Content::Udp(Datagram {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
        id: id.and_then(number).and_then(|id| u32::try_from(id).ok()).unwrap_or(0),
        length: length as usize,
        payload,
        cut: cut || (shown > 0 && shown < length),
        place: place(fields),
    })
}

/// Source and destination port of each header.
fn ports(fields: &Fields<'_>) -> Vec<[u16; 2]> {
    let port = |text: &str| in_parentheses(text).parse::<u16>().ok();
    let pairs = fields.all(Field::UdpSource).zip(fields.all(Field::UdpDestination));
    let ports: Vec<[u16; 2]> = pairs.filter_map(|(from, to)| Some([port(from)?, port(to)?])).collect();
    if !ports.is_empty() {
        return ports;
    }
    let both: Vec<u16> = fields.all(Field::UdpPort).filter_map(port).collect();
    if !both.is_empty() {
        return both.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    }
    let summaries = fields.all(Field::Udp);
    let told = |text| Some([port(after(text, "Src Port: ")?)?, port(after(text, "Dst Port: ")?)?]);
    summaries.filter_map(told).collect()
}

/// The protocols of the frame before a UDP header; absent where they are not told, or have no such header.
fn before_udp<'a>(fields: &'a Fields<'_>, index: usize) -> Option<Vec<&'a str>> {
    let names: Vec<&str> = fields.get(Field::Protocols)?.split(':').collect();
    let mut headers = names.iter().enumerate().filter(|(_, name)| **name == "udp");
    let (at, _) = headers.nth(index)?;
    Some(names[..at].to_vec())
}

/// An ICMP message holds the beginning of the packet that it is about.
fn quotes(before: &[&str]) -> bool {
    before.iter().any(|name| matches!(*name, "icmp" | "icmpv6"))
}

/// True where the frame has an IP header behind its last UDP header: what tshark found in a tunnel.
fn carries_a_packet(fields: &Fields<'_>) -> bool {
    let names = fields.get(Field::Protocols).unwrap_or_default().split(':').rev();
    let (mut udp, mut ip) = (false, false);
    for name in names {
        udp |= name == "udp";
        ip |= !udp && matches!(name, "ip" | "ipv6");
    }
    udp && ip
}

/// Which IP header is a datagram's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

/// The family of the IP header before a UDP header, and its place among those of the family; absent where it is not told.
fn header(
    fields: &Fields<'_>,
    index: usize,
    datagrams: usize,
    before: Option<&[&str]>,
) -> Option<(Family, usize)> {
    let [old, new] = [
        [Field::IpSource, Field::IpAddress, Field::Ip],
        [Field::Ipv6Source, Field::Ipv6Address, Field::Ipv6],
    ]
    .map(|[source, both, summary]| {
        fields.count(source).max(fields.count(both) / 2).max(fields.count(summary))
    });
    if fields.is_tree {
        return Some((if old > 0 { Family::Ipv4 } else { Family::Ipv6 }, 0)); // others were left out
    }
    if let Some(before) = before {
        let last = before.iter().rev().find(|name| matches!(**name, "ip" | "ipv6"))?;
        let family = if *last == "ip" { Family::Ipv4 } else { Family::Ipv6 };
        let place = before.iter().filter(|name| *name == last).count() - 1; // the last is one of them
        return Some((family, place));
    }
    match (old, new) {
        (headers, 0) if headers <= datagrams => Some((Family::Ipv4, index)),
        (0, headers) if headers <= datagrams => Some((Family::Ipv6, index)),
        _ => None,
    }
}

fn addresses(fields: &Fields<'_>, family: Family, header: usize) -> Option<[IpAddr; 2]> {
    let [source, destination, both, summary] = match family {
        Family::Ipv4 => [Field::IpSource, Field::IpDestination, Field::IpAddress, Field::Ip],
        Family::Ipv6 => [Field::Ipv6Source, Field::Ipv6Destination, Field::Ipv6Address, Field::Ipv6],
    };
    let at = |field, index: usize| fields.all(field).nth(index)?.parse::<IpAddr>().ok();
    if let (Some(source), Some(destination)) = (at(source, header), at(destination, header)) {
        return Some([source, destination]);
    }
    if let (Some(source), Some(destination)) = (at(both, header * 2), at(both, header * 2 + 1)) {
        return Some([source, destination]);
    }
    let text = fields.all(summary).nth(header)?;
    Some([address_after(text, "Src: ")?, address_after(text, "Dst: ")?])
}

/// The payload of a datagram. One without bytes has no such field.
fn own_payload<'a>(fields: &'a Fields<'_>, index: usize, datagrams: usize) -> Option<&'a str> {
    match fields.count(Field::UdpPayload) {
        count if count == datagrams => fields.all(Field::UdpPayload).nth(index),
        1 if index == 0 => fields.get(Field::UdpPayload),
        _ => None,
    }
}

/// What no dissector took, where that is all of the payload.
fn undissected<'a>(fields: &'a Fields<'_>, length: Option<u64>) -> Option<&'a str> {
    [Field::DataData, Field::Data].into_iter().find_map(|field| {
        let fits = |text: &&str| length.is_none_or(|length| hex_length(text) as u64 == length);
        fields.get(field).filter(|_| fields.count(field) == 1).filter(fits)
    })
}

/// Interface and direction, as a capture of several has them: copies of a packet differ in it.
fn place(fields: &Fields<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    for field in [Field::Interface, Field::CookedInterface, Field::CookedType] {
        fields.get(field).hash(&mut hasher);
    }
    hasher.finish()
}
