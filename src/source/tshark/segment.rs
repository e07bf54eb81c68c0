//! From the fields of one packet to its TCP segment, and what is missing for it.
//!
//! Fields may have been left out with `-e` or `-j`. What others of them tell is used instead, where they
//! tell it for certain; the rest is remembered as missing.

use super::fields::{Field, Fields};
use crate::source::pcap::link::flag;
use std::net::{IpAddr, SocketAddr};

/// The longest segment that is believed. IP packets end at 64 KiB, segments before segmentation by the
/// network card at a few hundred.
const MAX_LENGTH: u64 = 16 << 20;

/// RFC 9293, section 3.1.
const MIN_HEADER: u64 = 20;

/// Numbers above this are not relative: tshark's begin at 0 or 1, a real one is below it once in 4,096.
const MAX_RELATIVE: u32 = 1 << 20;

/// A TCP segment as the JSON tells it.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    /// Both numbers count from the connection's beginning, as tshark saw it.
    pub relative: bool,
    /// Absent where it is not told in the same way as `seq`.
    pub ack: Option<u32>,
    pub flags: u8,
    /// Bytes of payload on the wire.
    pub length: usize,
    /// The payload in hexadecimal, with or without colons. Empty where there is none.
    pub payload: &'a str,
    /// The JSON tells that the capture holds less than the packet.
    pub cut: bool,
}

/// What a packet turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Tcp(Segment<'a>),
    /// Not TCP, only a TCP header that another packet quotes (ICMP), or cut in the TCP header,
    /// or with one that is damaged.
    Other,
    /// TCP, but these are missing.
    Lacks(&'static str),
    /// TCP, but its values can't be true.
    Damaged,
}

/// Which fields the file's TCP segments have had so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns {
    pub seq_raw: bool,
    pub length: bool,
    /// `tcp.payload`, which every segment with payload has.
    pub payload: bool,
    pub ack: bool,
    pub flags: bool,
    /// `tcp.seq` is not relative: tshark ran with `-o tcp.relative_sequence_numbers:FALSE`. By the first segment
    /// without `tcp.seq_raw`.
    absolute: Option<bool>,
}

/// Reads a packet's segment.
pub fn read<'a>(fields: &'a Fields<'_>, columns: &mut Columns) -> Content<'a> {
    if !fields.has_tcp() || is_quoted(fields) {
        return Content::Other;
    }
    let summary = fields.get(Field::Tcp).unwrap_or_default();
    let raw = fields.get(Field::SeqRaw).filter(|_| !is_raw_bytes(fields)).and_then(number);
    let length = fields.get(Field::Length).or_else(|| after(summary, "Len: ")).and_then(number);
    let told_length = length.is_some();
    // A header quoted in another packet has neither; nor has one that is cut.
    if (columns.seq_raw && raw.is_none()) || (columns.length && !told_length) {
        return Content::Other;
    }
    if fields.get(Field::TcpHeader).and_then(number).is_some_and(|length| length < MIN_HEADER) {
        return Content::Other;
    }
    if is_in_both(fields) {
        return Content::Lacks("frame.protocols, which tells IPv6 in IPv4 from the reverse");
    }
    let Some(addresses) = addresses(fields) else {
        return Content::Lacks("ip.src and ip.dst (or ipv6.src and ipv6.dst)");
    };
    let Some(ports) = ports(fields, summary) else { return Content::Lacks("tcp.srcport and tcp.dstport") };
    let told = raw.or_else(|| fields.get(Field::Seq).or_else(|| after(summary, "Seq: ")).and_then(number));
    let Some(seq) = told else { return Content::Lacks("tcp.seq_raw") };
    let Ok(seq) = u32::try_from(seq) else { return Content::Damaged };
    let relative = raw.is_none() && !*columns.absolute.get_or_insert(seq > MAX_RELATIVE);
    let ack = acknowledged(fields, summary, raw.is_some());
    let own = fields.get(Field::Payload).or_else(|| fields.get(Field::PayloadBytes));
    let payload = own.or_else(|| other_payload(fields, length)).unwrap_or_default();
    let shown = length.unwrap_or(hex_length(payload) as u64);
    // Where the frame is too short for it, tshark shows what is there.
    let length = shown.max(stated_length(fields).unwrap_or(0));
    if length > MAX_LENGTH {
        return Content::Damaged;
    }
    let told = flags(fields);
    columns.seq_raw |= raw.is_some();
    columns.length |= told_length;
    columns.payload |= own.is_some();
    columns.ack |= ack.is_some();
    columns.flags |= told.is_some();
    Content::Tcp(Segment {
        source: SocketAddr::new(addresses[0], ports[0]),
        destination: SocketAddr::new(addresses[1], ports[1]),
        seq,
        relative,
        ack,
        flags: told.unwrap_or_else(|| guess(relative && seq == 0 && length == 0, ack)),
        length: length as usize,
        payload,
        cut: length > shown || is_cut(fields),
    })
}

/// Without flags: `is_start` is true for number 0 without a byte, which is a SYN's. Who acknowledges
/// something has ACK set.
fn guess(is_start: bool, ack: Option<u32>) -> u8 {
    let syn = if is_start { flag::SYN } else { 0 };
    syn | if ack.is_some_and(|ack| ack > 0) { flag::ACK } else { 0 }
}

/// An ICMP message holds the beginning of the packet that it is about.
fn is_quoted(fields: &Fields<'_>) -> bool {
    let Some(protocols) = fields.get(Field::Protocols) else { return false };
    let mut before = protocols.split(':').take_while(|&protocol| protocol != "tcp");
    before.any(|protocol| matches!(protocol, "icmp" | "icmpv6"))
}

/// With `-T ek -x`, the bytes of `tcp.seq` have the name of the field `tcp.seq_raw`, which old tsharks lack.
fn is_raw_bytes(fields: &Fields<'_>) -> bool {
    fields.is_tree && fields.count(Field::RawPort) > 0 && fields.count(Field::SeqRaw) == 1
}

/// Source and destination. A list names those of every IP header, the outer ones first.
fn addresses(fields: &Fields<'_>) -> Option<[IpAddr; 2]> {
    let at = |field, index: usize| fields.all(field).nth(index)?.parse::<IpAddr>().ok();
    let families = [
        [Field::IpSource, Field::IpDestination, Field::IpAddress, Field::Ip],
        [Field::Ipv6Source, Field::Ipv6Destination, Field::Ipv6Address, Field::Ipv6],
    ];
    // A packet may have both: IPv6 in IPv4 and the reverse. A tree has kept only what is within.
    let order = if is_inside(fields, "ip", "ipv6") { [1, 0] } else { [0, 1] };
    order.into_iter().map(|family| families[family]).find_map(|[source, destination, both, text]| {
        let last = |field| inner(fields, fields.count(field));
        if let Some(pair) = last(source).and_then(|n| Some([at(source, n)?, at(destination, n)?])) {
            return Some(pair);
        }
        if let Some(pair) = last(both).and_then(|_| inner(fields, fields.count(both) / 2)) {
            return Some([at(both, pair * 2)?, at(both, pair * 2 + 1)?]);
        }
        let text = fields.all(text).nth(last(text)?)?;
        Some([address_after(text, "Src: ")?, address_after(text, "Dst: ")?])
    })
}

/// True where a list has addresses of both families, and does not tell which of them are within.
fn is_in_both(fields: &Fields<'_>) -> bool {
    let any = |names: [Field; 3]| names.into_iter().any(|name| fields.get(name).is_some());
    let old = any([Field::IpSource, Field::IpAddress, Field::Ip]);
    let new = any([Field::Ipv6Source, Field::Ipv6Address, Field::Ipv6]);
    old && new && fields.get(Field::Protocols).is_none()
}

/// True where the protocols of the frame tell that `inner` came after `outer`, both before TCP.
fn is_inside(fields: &Fields<'_>, outer: &str, inner: &str) -> bool {
    let protocols = fields.get(Field::Protocols).unwrap_or_default();
    let last =
        protocols.split(':').take_while(|&name| name != "tcp").filter(|name| [outer, inner].contains(name));
    last.last() == Some(inner)
}

/// Of so many IP headers, the one before the first TCP header: each further TCP header has one of its own.
fn inner(fields: &Fields<'_>, headers: usize) -> Option<usize> {
    let segments = fields.count(Field::SourcePort).max(fields.count(Field::Port) / 2).max(1);
    headers.checked_sub(segments.min(headers.max(1)))
}

/// `Src: 10.0.0.1` or, with names, `Src: localhost (127.0.0.1)`.
pub fn address_after(text: &str, label: &str) -> Option<IpAddr> {
    in_parentheses(after(text, label)?).parse().ok()
}

fn ports(fields: &Fields<'_>, summary: &str) -> Option<[u16; 2]> {
    let source = fields.get(Field::SourcePort).or_else(|| fields.all(Field::Port).next());
    let destination = fields.get(Field::DestinationPort).or_else(|| fields.all(Field::Port).nth(1));
    let source = source.or_else(|| after(summary, "Src Port: "))?;
    let destination = destination.or_else(|| after(summary, "Dst Port: "))?;
    Some([in_parentheses(source).parse().ok()?, in_parentheses(destination).parse().ok()?])
}

/// The acknowledgement number, of the same kind as the sequence number.
fn acknowledged(fields: &Fields<'_>, summary: &str, raw: bool) -> Option<u32> {
    let text = if raw {
        fields.get(Field::AckRaw)
    } else {
        fields.get(Field::Ack).or_else(|| after(summary, "Ack: "))
    };
    u32::try_from(number(text?)?).ok()
}

/// The flags, from whichever field has them.
fn flags(fields: &Fields<'_>) -> Option<u8> {
    if let Some(flags) = fields.get(Field::Flags).and_then(number) {
        return Some(flags as u8); // above the lowest eight there are only reserved ones
    }
    if let Some(text) = fields.get(Field::FlagsText) {
        let letters = [('F', flag::FIN), ('S', flag::SYN), ('R', flag::RST), ('A', flag::ACK)];
        return Some(letters.iter().filter(|(letter, _)| text.contains(*letter)).map(|(_, flag)| flag).sum());
    }
    let single = [
        (Field::Fin, flag::FIN),
        (Field::Syn, flag::SYN),
        (Field::Reset, flag::RST),
        (Field::AckFlag, flag::ACK),
    ];
    let told = single.iter().any(|&(field, _)| fields.get(field).is_some());
    let set = |field| matches!(fields.get(field), Some("1" | "True" | "true" | "Set"));
    told.then(|| single.iter().filter(|&&(field, _)| set(field)).map(|(_, flag)| flag).sum())
}

/// The payload under another name than `tcp.payload`. It may be a part of it, or a message put together from
/// several segments, unless it is as long as the segment. The last part of a message that ends with the
/// connection has no other name than that of the whole.
fn other_payload<'a>(fields: &'a Fields<'_>, length: Option<u64>) -> Option<&'a str> {
    let is_last = fields.get(Field::FrameNumber) == fields.all(Field::Part).next_back();
    if let Some(whole) = fields.get(Field::Reassembled).filter(|_| is_last) {
        let (digits, length) = (if has_colons(whole) { 3 } else { 2 }, length? as usize);
        let start = hex_length(whole).checked_sub(length)?;
        return whole.get(start * digits..).filter(|rest| !rest.is_empty());
    }
    [Field::SegmentData, Field::DataData, Field::Data].into_iter().find_map(|field| {
        let fits = |text: &&str| Some(hex_length(text) as u64) == length;
        fields.get(field).filter(|_| fields.count(field) == 1).filter(fits)
    })
}

/// Bytes of payload by the length in the IP header, where the payload of IP is TCP.
fn stated_length(fields: &Fields<'_>) -> Option<u64> {
    let get = |field| fields.all(field).nth(inner(fields, fields.count(field))?).and_then(number);
    let header = fields.get(Field::TcpHeader).and_then(number)?;
    let inside = if let Some(length) = get(Field::IpLength) {
        length.checked_sub(get(Field::IpHeader)?)?
    } else {
        get(Field::Ipv6Next).filter(|&next| next == 6)?;
        get(Field::Ipv6Length)?
    };
    inside.checked_sub(header)
}

pub fn is_cut(fields: &Fields<'_>) -> bool {
    let length = |field| fields.get(field).and_then(number);
    match (length(Field::Captured), length(Field::FrameLength)) {
        (Some(captured), Some(length)) => captured < length,
        _ => false,
    }
}

/// Bytes that a hexadecimal text stands for.
pub fn hex_length(text: &str) -> usize {
    if has_colons(text) { text.len().div_ceil(3) } else { text.len() / 2 }
}

fn has_colons(text: &str) -> bool {
    text.as_bytes().get(2) == Some(&b':')
}

/// Turns hexadecimal digits into bytes, up to the first that is none.
pub fn decode(text: &str, into: &mut Vec<u8>) {
    into.clear();
    let step = if has_colons(text) { 3 } else { 2 };
    for pair in text.as_bytes().chunks(step) {
        let digit = |at: usize| pair.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return };
        into.push((high << 4 | low) as u8); // two digits of four bits
    }
}

/// A whole number, decimal or hexadecimal.
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        // In a summary, a remark may follow.
        None => text.split(' ').next()?.parse().ok(),
    }
}

/// What follows a label, up to the next comma.
pub fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(label)?;
    Some(rest.split(',').next().unwrap_or(rest).trim())
}

/// `80` of `http (80)`.
pub fn in_parentheses(text: &str) -> &str {
    let within = text.split_once('(').and_then(|(_, rest)| rest.split(')').next());
    within.unwrap_or(text)
}
