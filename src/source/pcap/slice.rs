//! A part of a capture: the packets of some connections as pcapng, with the fragments and tunnels that they came in. With
//! a redaction, without their payload.
//!
//! Packets are copied as they are, interface by interface, with their times. A statistics block at the end says when the
//! capture ran, which the packets that are left no longer tell, and what it dropped.

use super::super::Error;
use super::super::input::Input;
use super::file::{Packet, Reader, Unit};
use super::link::{Content, Dissector, Piece};
use super::note_time;
use crate::event::Timestamp;
use crate::recording::{pcapng as ng, redacted_comment};
use crate::redact::{HEAD, Redaction};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::path::Path;

/// Bytes of fragments that may wait for the rest of their packet. Beyond it the oldest is left out.
const HELD_MAX: usize = 16 << 20;

/// Where the checksums of TCP (RFC 9293, section 3.1) and UDP (RFC 768) are in their headers.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const UDP_HEADER: usize = 8;

/// Which packets to keep: by transport (true: TCP), source and destination.
pub type Keep<'a> = dyn Fn(bool, SocketAddr, SocketAddr) -> bool + 'a;

/// What became of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sliced {
    /// Packets that were kept.
    pub packets: u64,
    /// Packets in fragments of a tunnel, of which a redaction can't tell what is payload: left out.
    pub left_out: u64,
}

/// Why there is no slice, or no more of it.
#[derive(Debug)]
pub enum Failure {
    /// The capture can't be read.
    Read(Error),
    /// The slice can't be written.
    Write(io::Error),
}

/// Copies the packets to keep from the capture at `path` (pcap or pcapng). `span` is when the capture ran, where that is
/// known better than by its first and last packet.
///
/// # Errors
/// The capture can't be read, or `out` not be written.
pub fn slice(
    path: &Path,
    keep: &Keep<'_>,
    span: Option<(Timestamp, Timestamp)>,
    redaction: Option<&Redaction>,
    out: &mut dyn Write,
) -> Result<Sliced, Failure> {
    let input = Input::open(path, None).map_err(Failure::Read)?;
    let mut reader = Reader::open(input).map_err(Failure::Read)?;
    let blocks = Blocks { out, interfaces: Vec::new() };
    let mut slicer = Slicer { blocks, redaction, held: VecDeque::new(), bytes: 0, sliced: Sliced::default() };
    let redacted = redaction.map(Redaction::id).or(reader.redacted);
    slicer.blocks.section(redacted.map(redacted_comment)).map_err(Failure::Write)?;
    let mut times = super::Summary::default();
    let mut dissector = Dissector::default();
    let is_cut = loop {
        match reader.next().map_err(Failure::Read)? {
            Unit::Packet(packet) => {
                let time = note_time(&mut times, packet.time);
                slicer.packet(time, &packet, &mut dissector, keep).map_err(Failure::Write)?;
            }
            Unit::Other | Unit::Stray => {}
            Unit::End => break false,
            Unit::Cut(_) => break true,
        }
    };
    let told = span.or(reader.span);
    let span = [
        times.first.into_iter().chain(told.map(|told| told.0)).min(),
        times.last.max(told.map(|told| told.1)),
    ];
    slicer.blocks.statistics(span, reader.dropped, is_cut).map_err(Failure::Write)?;
    Ok(slicer.sliced)
}

struct Slicer<'a> {
    blocks: Blocks<'a>,
    redaction: Option<&'a Redaction>,
    held: VecDeque<Held>,
    bytes: usize,
    sliced: Sliced,
}

/// A packet with a fragment.
struct Held {
    piece: Piece,
    time: Timestamp,
    interface: u32,
    length: usize,
    data: Vec<u8>,
    /// Where the fragment's payload is in `data`.
    place: Range<usize>,
}

/// What a packet was found to hold.
struct Found {
    is_tcp: bool,
    wanted: bool,
    /// The address of the payload, and the length of what was captured of it.
    payload: Range<usize>,
    /// Its length on the wire.
    length: usize,
    /// Its first bytes.
    head: Vec<u8>,
}

impl Slicer<'_> {
    fn packet(
        &mut self,
        time: Timestamp,
        packet: &Packet<'_>,
        dissector: &mut Dissector,
        keep: &Keep<'_>,
    ) -> io::Result<()> {
        let mut found = None;
        let _ = dissector.packet(time, packet, &mut |content| {
            found = match content {
                Content::Tcp(one) => Some((true, one.source, one.destination, one.payload, one.length)),
                Content::Udp(one) => Some((false, one.source, one.destination, one.payload, one.length)),
                _ => None,
            }
            .map(|(is_tcp, source, destination, payload, length)| Found {
                is_tcp,
                wanted: keep(is_tcp, source, destination),
                payload: address(payload),
                length,
                head: payload[..payload.len().min(HEAD)].to_vec(),
            });
            ControlFlow::Continue(())
        });
        let interface = self.blocks.interface(packet)?;
        let data = packet.data.to_vec();
        if let Some((piece, bytes)) = dissector.piece.take() {
            let Some(place) = within(packet.data, bytes) else { return Ok(()) };
            self.bytes += data.len();
            self.held.push_back(Held { piece, time, interface, length: packet.length, data, place });
            if let Some(found) = found {
                self.complete(&piece, &found)?;
            }
            while self.bytes > HELD_MAX {
                let Some(oldest) = self.held.pop_front() else { break };
                self.bytes -= oldest.data.len();
            }
            return Ok(());
        }
        let Some(found) = found.filter(|found| found.wanted) else { return Ok(()) };
        let mut data = data;
        if let Some(redaction) = self.redaction {
            let place = within(packet.data, found.payload.clone());
            // Nothing was captured of the payload, or of what is before it, where there is no place.
            if let Some(place) = place {
                blank(&mut data, place, &found, redaction);
            }
        }
        self.keep(time, interface, packet.length, &data)
    }

    fn keep(&mut self, time: Timestamp, interface: u32, length: usize, data: &[u8]) -> io::Result<()> {
        self.sliced.packets += 1;
        self.blocks.packet(time, interface, length, data)
    }

    /// All fragments of a packet are there.
    fn complete(&mut self, piece: &Piece, found: &Found) -> io::Result<()> {
        let (mut pieces, others): (VecDeque<Held>, VecDeque<Held>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.piece.key == piece.key);
        self.held = others;
        self.bytes = self.held.iter().map(|held| held.data.len()).sum();
        if !found.wanted {
            return Ok(());
        }
        if let Some(redaction) = self.redaction
            && !blank_pieces(&mut pieces, found, redaction)
        {
            self.sliced.left_out += pieces.len() as u64;
            return Ok(());
        }
        pieces.iter().try_for_each(|held| self.keep(held.time, held.interface, held.length, &held.data))
    }
}

/// Takes the payload out of a packet, and the checksum over it, by which a guess could be tried.
fn blank(data: &mut [u8], place: Range<usize>, found: &Found, redaction: &Redaction) {
    let filled = redaction.fill(&data[place.clone()], found.is_tcp);
    data[place.start..].fill(0);
    data[place.clone()].copy_from_slice(&filled);
    blank_checksum(&mut data[..place.start], found.is_tcp);
}

/// In a header that ends where `before` does.
fn blank_checksum(before: &mut [u8], is_tcp: bool) {
    let end = before.len();
    // The header's length is in the header: of the possible ones, every one that says so.
    let lengths = if is_tcp { 20..=60 } else { UDP_HEADER..=UDP_HEADER };
    for length in lengths.step_by(4) {
        let Some(start) = end.checked_sub(length) else { continue };
        let at = start + if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        if !is_tcp || usize::from(before[start + 12] >> 4) * 4 == length {
            before[at..at + 2].fill(0);
            if is_tcp {
                return;
            }
        }
    }
}

/// Takes the payload out of the fragments of a packet. False where it is inside of a tunnel.
fn blank_pieces(pieces: &mut VecDeque<Held>, found: &Found, redaction: &Redaction) -> bool {
    let first = pieces.iter().find(|held| held.piece.offset == 0).map(|held| &held.data[held.place.clone()]);
    let header = match (first, found.is_tcp) {
        (Some(bytes), true) => bytes.get(12).map(|byte| usize::from(byte >> 4) * 4),
        (Some(_), false) => Some(UDP_HEADER),
        (None, _) => None,
    };
    let Some(header) = header else { return false };
    let end = pieces.iter().map(|held| held.piece.offset + held.piece.length).max();
    if end != Some(header + found.length) {
        return false;
    }
    let head = redaction.fill(&found.head, found.is_tcp);
    for held in pieces {
        let (offset, place) = (held.piece.offset, held.place.clone());
        let within_header = header.saturating_sub(offset).min(place.len());
        let payload = place.start + within_header;
        held.data[payload..].fill(0);
        for (at, byte) in held.data[payload..place.end].iter_mut().enumerate() {
            *byte = head.get(offset + within_header + at - header).copied().unwrap_or(0);
        }
        if offset == 0 && within_header == header {
            blank_checksum(&mut held.data[..payload], found.is_tcp);
        }
    }
    true
}

fn address(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// Where bytes that are a part of `data` are in it.
fn within(data: &[u8], part: Range<usize>) -> Option<Range<usize>> {
    let all = address(data);
    let is_part = all.start <= part.start && part.end <= all.end;
    is_part.then(|| part.start - all.start..part.end - all.start)
}

/// Writes blocks of pcapng, little-endian, with times in nanoseconds.
struct Blocks<'a> {
    out: &'a mut dyn Write,
    /// Link type and name of each interface that was described.
    interfaces: Vec<(u16, Option<String>)>,
}

impl Blocks<'_> {
    fn section(&mut self, comment: Option<String>) -> io::Result<()> {
        let mut body = ng::BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]); // version 1.0
        body.extend([0xff; 8]); // length of the section: not known in advance
        if let Some(comment) = comment {
            option(&mut body, ng::OPT_COMMENT, comment.as_bytes());
        }
        let application = concat!("sockdbg ", env!("CARGO_PKG_VERSION"));
        option(&mut body, ng::SHB_USERAPPL, application.as_bytes());
        option(&mut body, ng::OPT_ENDOFOPT, &[]);
        self.block(ng::SECTION_HEADER, &body)
    }

    /// The number of a packet's interface, which is described before its first packet.
    fn interface(&mut self, packet: &Packet<'_>) -> io::Result<u32> {
        let known = self
            .interfaces
            .iter()
            .position(|(link, name)| (*link, name.as_deref()) == (packet.link, packet.interface));
        if let Some(index) = known {
            return Ok(index as u32);
        }
        let [low, high] = packet.link.to_le_bytes();
        let mut body = vec![low, high, 0, 0, 0, 0, 0, 0];
        if let Some(name) = packet.interface {
            option(&mut body, ng::IF_NAME, name.as_bytes());
        }
        option(&mut body, ng::IF_TSRESOL, &[9]);
        option(&mut body, ng::OPT_ENDOFOPT, &[]);
        self.block(ng::INTERFACE_DESCRIPTION, &body)?;
        self.interfaces.push((packet.link, packet.interface.map(str::to_owned)));
        Ok(self.interfaces.len() as u32 - 1)
    }

    fn packet(&mut self, time: Timestamp, interface: u32, length: usize, data: &[u8]) -> io::Result<()> {
        let mut body = interface.to_le_bytes().to_vec();
        body.extend(split(time));
        body.extend((data.len() as u32).to_le_bytes());
        body.extend((length as u32).to_le_bytes());
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        self.block(ng::ENHANCED_PACKET, &body)
    }

    /// When the capture ran, and what it dropped. One that was cut is so again: with a block that has no end.
    fn statistics(&mut self, span: [Option<Timestamp>; 2], dropped: u64, is_cut: bool) -> io::Result<()> {
        if self.interfaces.is_empty() {
            // Statistics are of an interface. Nothing is known of the one there was.
            self.block(
                ng::INTERFACE_DESCRIPTION,
                &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0],
            )?;
        }
        let mut body = vec![0; 4];
        body.extend(split(span[1].unwrap_or_default()));
        for (code, time) in [ng::ISB_STARTTIME, ng::ISB_ENDTIME].into_iter().zip(span) {
            if let Some(time) = time {
                option(&mut body, code, &split(time));
            }
        }
        option(&mut body, ng::ISB_IFDROP, &dropped.to_le_bytes());
        option(&mut body, ng::OPT_ENDOFOPT, &[]);
        self.block(ng::INTERFACE_STATISTICS, &body)?;
        if is_cut { self.out.write_all(&ng::ENHANCED_PACKET.to_le_bytes()) } else { Ok(()) }
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let total = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &total, body, &total].iter().try_for_each(|part| self.out.write_all(part))
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A time stamp as pcapng has it: upper half first.
fn split(time: Timestamp) -> [u8; 8] {
    let [high, low] = [(time.0 >> 32) as u32, time.0 as u32].map(u32::to_le_bytes);
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&high);
    bytes[4..].copy_from_slice(&low);
    bytes
}
