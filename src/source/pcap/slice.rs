//! A part of a capture: the packets of some connections as pcapng, with the fragments and tunnels that they came in. With
//! a redaction, without their payload.
//!
//! Packets are copied as they are and in their order, interface by interface, with their times and what is said of them
//! (comments, flags). Checksums over payload that was taken out are those of what is left. Whose a fragment is, the
//! whole packet tells, so what comes after it waits for the others. A statistics block at the end says when the
//! capture ran, which the packets that are left no longer tell, and what it dropped.

use super::super::Error;
use super::super::input::Input;
use super::checksum::Sum;
use super::file::{Packet, Reader, Unit};
use super::fragment::{Key, LIFETIME, MAX_COMPLETE, Whole};
use super::link::{Content, Dissector, Owner, address};
use super::note_time;
use crate::event::Timestamp;
use crate::recording::{pcapng as ng, redacted_comment};
use crate::redact::{HEAD, Redaction};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::path::Path;

/// Bytes of packets that may wait for the rest of a fragmented one. Beyond it, that one is taken to be incomplete.
const HELD_MAX: usize = 16 << 20;

/// Where the checksums of TCP (RFC 9293, section 3.1) and UDP (RFC 768) are in their headers.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// Which packets to keep: by transport (true: TCP), source and destination.
pub type Keep<'a> = dyn Fn(bool, SocketAddr, SocketAddr) -> bool + 'a;

/// What became of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sliced {
    /// Packets that were kept.
    pub packets: u64,
    /// Fragments within fragments, of which a redaction can't tell what is payload: left out.
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
    let (queue, done, sliced) = Default::default();
    let mut slicer = Slicer { blocks, redaction, queue, bytes: 0, done, sliced };
    let redacted = redaction.map(Redaction::id).or(reader.redacted);
    slicer.blocks.section(redacted.map(redacted_comment)).map_err(Failure::Write)?;
    let mut times = super::Summary::default();
    let mut dissector = Dissector { sums: redaction.map(|_| Vec::new()), ..Dissector::default() };
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
    slicer.end(keep).map_err(Failure::Write)?;
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
    /// Packets from the first of which is not known yet whose it is, in order.
    queue: VecDeque<Waiting>,
    /// Bytes in it.
    bytes: usize,
    /// What became of the packets that were complete last, for copies of their fragments.
    done: VecDeque<(Key, Fate)>,
    sliced: Sliced,
}

/// A packet that can't be written before those in front of it.
struct Waiting {
    time: Timestamp,
    interface: u32,
    length: usize,
    data: Vec<u8>,
    /// What the capture says of it besides, as it is written.
    options: Vec<u8>,
    /// Checksums in it that cover the payload.
    sums: Vec<Sum>,
    /// The fragment in it, until it is known whose it is. Others in the queue are to be written.
    part: Option<FragmentIn>,
}

/// A fragment in a packet.
#[derive(Clone)]
struct FragmentIn {
    key: Key,
    /// Where it begins in the payload of the packet that it is of.
    offset: usize,
    /// Where its captured payload is in the packet that it came in.
    place: Range<usize>,
    /// In a first fragment, whose it is.
    owner: Option<Owner>,
}

/// What is done with the fragments of a packet.
#[derive(Clone)]
enum Fate {
    Dropped,
    Kept,
    /// Kept without what is payload in them.
    Blanked(Blank),
    /// A redaction can't tell what is payload in them.
    LeftOut,
}

/// What takes the payload out of fragments. Places are in the payload of the packet that they are of.
#[derive(Clone, Default)]
struct Blank {
    /// Where the payload begins.
    header: usize,
    /// What stands for its first bytes.
    head: Vec<u8>,
    /// The checksums over it as they are then.
    sums: Vec<(Range<usize>, [u8; 2])>,
}

/// What a packet was found to hold.
struct Found {
    is_tcp: bool,
    wanted: bool,
    /// The address of what was captured of the payload.
    payload: Range<usize>,
    /// Its first bytes.
    head: Vec<u8>,
}

impl Found {
    fn of(content: &Content<'_>, keep: &Keep<'_>) -> Option<Found> {
        let (is_tcp, source, destination, payload) = match content {
            Content::Tcp(one) => (true, one.source, one.destination, one.payload),
            Content::Udp(one) => (false, one.source, one.destination, one.payload),
            _ => return None,
        };
        let head = payload[..payload.len().min(HEAD)].to_vec();
        let wanted = keep(is_tcp, source, destination);
        Some(Found { is_tcp, wanted, payload: address(payload), head })
    }
}

/// Where the checksum of a header is that ends where the payload begins.
fn checksum(is_tcp: bool, header: usize, payload: usize) -> Option<Range<usize>> {
    let at = payload.checked_sub(header)? + if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    Some(at..at + 2)
}

impl Slicer<'_> {
    fn packet(
        &mut self,
        time: Timestamp,
        packet: &Packet<'_>,
        dissector: &mut Dissector,
        keep: &Keep<'_>,
    ) -> io::Result<()> {
        let (mut found, mut whole) = (None, None);
        let _ = dissector.packet(time, packet, &mut |content| {
            found = Found::of(&content, keep);
            ControlFlow::Continue(())
        });
        let (length, options) = (packet.length, options_of(packet, self.redaction.is_some()));
        let (data, part, sums) = (Vec::new(), None, sums_within(dissector, packet.data));
        let mut waiting = Waiting { time, interface: 0, length, data, options, sums, part };
        if let Some(piece) = dissector.piece.take() {
            let Some(place) = within(packet.data, &piece.bytes) else { return Ok(()) };
            let (key, offset, owner) = (piece.key, piece.offset, piece.owner);
            let part = FragmentIn { key, offset, place, owner };
            waiting.data = packet.data.to_vec();
            if piece.is_copy {
                let fate = self.done.iter().rev().find(|(other, _)| *other == key);
                let fate = fate.map_or(Fate::Dropped, |(_, fate)| fate.clone());
                if !self.apply(&fate, &part, &mut waiting) {
                    return Ok(());
                }
            } else {
                waiting.part = Some(part);
                whole = piece.whole.map(|whole| (key, whole, piece.inner));
            }
        } else {
            let Some(found) = found.as_ref().filter(|found| found.wanted) else {
                return self.settle(time, keep);
            };
            waiting.data = packet.data.to_vec();
            if let Some(redaction) = self.redaction {
                // Nothing was captured of the payload where it has no place; the checksums tell of it all the same.
                let end = packet.data.len();
                let place = within(packet.data, &found.payload).unwrap_or(end..end);
                let blank = Blank {
                    header: place.start,
                    head: redaction.fill(&packet.data[place.clone()], found.is_tcp),
                    sums: Vec::new(),
                };
                blank.apply(&mut waiting, 0, 0..place.end);
            }
        }
        waiting.interface = self.blocks.interface(packet)?;
        self.bytes += waiting.size();
        self.queue.push_back(waiting);
        match whole {
            // Its own fragments are parts of a fragment, and wait for the rest of that.
            Some((key, _, Some((inner, false)))) => self.parts(key).for_each(|part| part.key = inner),
            Some((key, bytes, inner)) => {
                let keys = [key].into_iter().chain(inner.map(|inner| inner.0));
                let sums =
                    dissector.whole.as_ref().map(|whole| (whole, sums_within(dissector, &whole.bytes)));
                keys.for_each(|key| self.complete(key, &bytes, found.as_ref(), sums.as_ref()));
            }
            None => {}
        }
        self.settle(time, keep)
    }

    /// The fragments of a packet that wait.
    fn parts(&mut self, key: Key) -> impl Iterator<Item = &mut FragmentIn> {
        self.queue.iter_mut().filter_map(|one| one.part.as_mut()).filter(move |part| part.key == key)
    }

    /// All fragments of a packet are there; `bytes` is where they were put together.
    fn complete(
        &mut self,
        key: Key,
        bytes: &Range<usize>,
        found: Option<&Found>,
        sums: Option<&(&Whole, Vec<Sum>)>,
    ) {
        let fate = match (found.filter(|found| found.wanted), self.redaction) {
            (None, _) => Fate::Dropped,
            (Some(_), None) => Fate::Kept,
            (Some(found), Some(redaction)) => {
                let is_inside = bytes.start <= found.payload.start && found.payload.end <= bytes.end;
                let header = found.payload.start.wrapping_sub(bytes.start);
                let blank = || {
                    let head = redaction.fill(&found.head, found.is_tcp);
                    let sums = sums.map_or(Vec::new(), |(whole, sums)| renewed(whole, sums, header, &head));
                    Blank { header, head, sums }
                };
                if is_inside { Fate::Blanked(blank()) } else { Fate::LeftOut }
            }
        };
        self.decide(key, &fate);
        if self.done.len() == MAX_COMPLETE {
            self.done.pop_front();
        }
        self.done.push_back((key, fate));
    }

    /// Fragments that stay without the others belong to whom the first of them names.
    fn give_up(&mut self, key: Key, keep: &Keep<'_>) {
        let owner = self.parts(key).find_map(|part| part.owner);
        let fate = match owner.filter(|owner| keep(owner.is_tcp, owner.source, owner.destination)) {
            None => Fate::Dropped,
            Some(_) if self.redaction.is_none() => Fate::Kept,
            Some(Owner { is_tcp, header, .. }) => {
                // It covers fragments that are not there.
                let sums = checksum(is_tcp, header, header).map(|place| (place, [0; 2]));
                Fate::Blanked(Blank { header, head: Vec::new(), sums: sums.into_iter().collect() })
            }
        };
        self.decide(key, &fate);
    }

    fn decide(&mut self, key: Key, fate: &Fate) {
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain_mut(|one| {
            let Some(part) = one.part.take_if(|part| part.key == key) else { return true };
            let keep = self.apply(fate, &part, one);
            self.bytes -= if keep { 0 } else { one.size() };
            keep
        });
        self.queue = queue;
    }

    /// False where the packet is not kept.
    fn apply(&mut self, fate: &Fate, part: &FragmentIn, packet: &mut Waiting) -> bool {
        self.sliced.left_out += u64::from(matches!(fate, Fate::LeftOut));
        if let Fate::Blanked(blank) = fate {
            blank.apply(packet, part.offset, part.place.clone());
        }
        matches!(fate, Fate::Kept | Fate::Blanked(_))
    }

    /// Writes what needs to wait no longer.
    fn settle(&mut self, now: Timestamp, keep: &Keep<'_>) -> io::Result<()> {
        while let Some(front) = self.queue.front() {
            match &front.part {
                Some(part) if self.bytes > HELD_MAX || now.since(front.time) > LIFETIME => {
                    let key = part.key;
                    self.give_up(key, keep);
                }
                Some(_) => break,
                None => self.write_front()?,
            }
        }
        Ok(())
    }

    fn write_front(&mut self) -> io::Result<()> {
        let Some(front) = self.queue.pop_front() else { return Ok(()) };
        self.bytes -= front.size();
        self.sliced.packets += 1;
        self.blocks.packet(&front)
    }

    /// No more packets come.
    fn end(&mut self, keep: &Keep<'_>) -> io::Result<()> {
        while let Some(front) = self.queue.front() {
            match front.part.as_ref().map(|part| part.key) {
                Some(key) => self.give_up(key, keep),
                None => self.write_front()?,
            }
        }
        Ok(())
    }
}

impl Blank {
    /// Takes the payload out of a packet, and out of the checksums over it, by which a guess could be tried. `place` is
    /// where the bytes from `offset` on are in it; what follows them is padding, which may hold anything.
    fn apply(&self, packet: &mut Waiting, offset: usize, place: Range<usize>) {
        let data = &mut packet.data[..];
        let at = |wanted: usize| wanted.saturating_sub(offset).saturating_add(place.start).min(place.end);
        data[place.end..].fill(0);
        data[at(self.header)..place.end].fill(0);
        for (wanted, &byte) in (self.header..).zip(&self.head) {
            if offset <= wanted && wanted - offset < place.len() {
                data[at(wanted)] = byte;
            }
        }
        for (wanted, &byte) in self.sums.iter().flat_map(|(at, bytes)| at.clone().zip(bytes)) {
            if offset <= wanted && wanted - offset < place.len() {
                data[at(wanted)] = byte;
            }
        }
        // The outer ones cover the inner ones.
        packet.sums.iter().rev().for_each(|sum| sum.renew(data));
    }
}

impl Waiting {
    /// Bytes of memory that it counts for.
    fn size(&self) -> usize {
        self.data.len() + self.options.len()
    }
}

/// The checksums over payload that are in `data`, by their places there.
fn sums_within(dissector: &Dissector, data: &[u8]) -> Vec<Sum> {
    let sums = dissector.sums.iter().flatten();
    let inside = |sum: &Sum| Some(Sum { covered: within(data, &sum.covered)?, ..sum.clone() });
    sums.filter_map(inside).collect()
}

/// The checksums in a packet that came in fragments, as they are when what follows its `header` bytes begins with `head` and
/// goes on with zeros.
fn renewed(whole: &Whole, sums: &[Sum], header: usize, head: &[u8]) -> Vec<(Range<usize>, [u8; 2])> {
    let mut bytes = whole.bytes.clone();
    let payload = bytes.get_mut(header..).unwrap_or_default();
    payload.fill(0);
    payload.iter_mut().zip(head).for_each(|(byte, &head)| *byte = head);
    sums.iter().rev().for_each(|sum| sum.renew(&mut bytes));
    let renewed = sums.iter().map(|sum| {
        let place = sum.place();
        let mut value = [0; 2];
        value[..place.len()].copy_from_slice(&bytes[place.clone()]);
        (place, value)
    });
    renewed.collect()
}

/// What the capture says of a packet besides its bytes, as a slice has it: with numbers in its byte order, and without what
/// may not be copied. `redacted`: without words, which may quote the payload, and without hashes of it, too.
fn options_of(packet: &Packet<'_>, redacted: bool) -> Vec<u8> {
    let mut options = Vec::new();
    for one in &packet.options {
        let (code, Ok(value)) = (one.code.0, one.as_bytes()) else { continue };
        let mut value = value.to_vec();
        // The numbers in it, by their length.
        let (numbers, length) = match code {
            ng::OPT_COMMENT | ng::EPB_HASH if !redacted => (0..0, 1),
            ng::OPT_CUSTOM_TEXT | ng::OPT_CUSTOM_BINARY if !redacted => (0..4, 4),
            ng::EPB_FLAGS | ng::EPB_QUEUE | ng::EPB_PROCESSID_THREADID => (0..value.len(), 4),
            ng::EPB_DROPCOUNT | ng::EPB_PACKETID => (0..value.len(), 8),
            // Behind its kind a verdict of eBPF is a number, that of a network card bytes.
            ng::EPB_VERDICT if matches!(value.first(), Some(1 | 2)) => (1..value.len(), 8),
            ng::EPB_VERDICT => (0..0, 1),
            _ => continue,
        };
        if let Some(numbers) = value.get_mut(numbers).filter(|_| packet.big_endian) {
            numbers.chunks_exact_mut(length).for_each(<[u8]>::reverse);
        }
        option(&mut options, code, &value);
    }
    if !options.is_empty() {
        option(&mut options, ng::OPT_ENDOFOPT, &[]);
    }
    options
}

/// Where bytes that are a part of `data` are in it.
fn within(data: &[u8], part: &Range<usize>) -> Option<Range<usize>> {
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

    fn packet(&mut self, packet: &Waiting) -> io::Result<()> {
        let mut body = packet.interface.to_le_bytes().to_vec();
        body.extend(split(packet.time));
        body.extend((packet.data.len() as u32).to_le_bytes());
        body.extend((packet.length as u32).to_le_bytes());
        body.extend(&packet.data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(&packet.options);
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
