//! Packets of a pcap or pcapng file, one after the other, with time, link type and both lengths.
//!
//! Blocks are parsed by `pcap-parser`, in place. What a packet holds is the business of `link`.
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.

use super::super::Error;
use super::super::input::{Again, Input, MAX_UNIT};
use super::foreign;
use crate::event::Timestamp;
use crate::recording::{is_ours, pcapng, redacted_by};
use crate::redact::RunId;
use pcap_parser::pcapng::{Block, parse_block_be, parse_block_le};
use pcap_parser::{
    InterfaceDescriptionBlock, InterfaceStatisticsBlock, OptionCode, PcapHeader, PcapNGOption,
    parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
};

/// Interfaces of one section beyond this are not kept; their packets count as unreadable.
const MAX_INTERFACES: usize = 1 << 16;

/// Bytes kept of an interface's name. Linux has at most 15.
const MAX_NAME: usize = 64;

/// The obsolete Packet Block (draft-ietf-opsawg-pcapng, appendix A), which old tools wrote.
const PACKET_BLOCK: u32 = 2;
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// One captured packet.
pub struct Packet<'a> {
    /// Absent in a Simple Packet Block.
    pub time: Option<Timestamp>,
    /// LINKTYPE_ value of its interface.
    pub link: u16,
    /// Name of its interface, where the file tells.
    pub interface: Option<&'a str>,
    /// The captured bytes.
    pub data: &'a [u8],
    /// Length on the wire; at least `data.len()`.
    pub length: usize,
    /// Where `data` begins in the input.
    pub position: u64,
    /// What the file says of it besides (draft-ietf-opsawg-pcapng, section 4.3.1), numbers in the section's byte order.
    pub options: Vec<PcapNGOption<'a>>,
    /// That of its section.
    pub big_endian: bool,
}

/// What reading one unit of the file gave.
pub enum Unit<'a> {
    Packet(Packet<'a>),
    /// A block without a packet.
    Other,
    /// A packet of an interface that the file does not describe.
    Stray,
    /// The file ends here, as it should.
    End,
    /// The file ends in the middle, or is damaged, and why.
    Cut(String),
}

/// A capture file, open.
pub struct Reader {
    input: Input,
    format: Format,
    /// Bytes of the unit given last. They stay in the buffer until the next call.
    taken: usize,
    /// Packets that the writer of the file says were dropped.
    pub dropped: u64,
    /// When the capture ran, where the file is a slice of one: its packets do not tell.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The run that took the payload out.
    pub redacted: Option<RunId>,
}

enum Format {
    Pcap(PcapHeader),
    Pcapng(Section),
}

/// State of a pcapng section.
#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Written by sockdbg, which leaves packets out.
    of_slice: bool,
}

struct Interface {
    name: Option<String>,
    link: u16,
    snaplen: u32,
    clock: Clock,
    /// isb_ifdrop counts from the start of the capture, so the last one of an interface stands.
    dropped: u64,
}

/// How an interface's time stamps become nanoseconds since the epoch.
#[derive(Clone, Copy)]
struct Clock {
    /// Units per second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
}

impl Clock {
    fn time(self, high: u32, low: u32) -> Timestamp {
        let units = u64::from(high) << 32 | u64::from(low);
        let nanos = match self.resolution {
            1_000_000_000 => units,
            1_000_000 => units.saturating_mul(1000),
            resolution => {
                let exact = u128::from(units) * 1_000_000_000 / u128::from(resolution);
                exact.min(u128::from(u64::MAX)) as u64
            }
        };
        Timestamp(nanos.saturating_add_signed(self.offset.saturating_mul(1_000_000_000)))
    }
}

impl Reader {
    /// Recognises the format from the first bytes.
    pub fn open(mut input: Input) -> Result<Reader, Error> {
        input.fill(24)?;
        let head = input.data();
        let mut redacted = None;
        let format = if head.starts_with(&PCAPNG_MAGIC) {
            if !section_header_is_whole(&mut input)? {
                return Err(refusal(&input));
            }
            redacted = section_header(&input).and_then(redacted_by);
            Format::Pcapng(Section::default())
        } else {
            match parse_pcap_header(head) {
                Ok((_, header)) if header.version_major == 2 => Format::Pcap(header),
                Ok((_, header)) => {
                    let (major, minor) = (header.version_major, header.version_minor);
                    return Err(Error::Input(format!(
                        "{}: a pcap file of unknown version {major}.{minor}; only 2.x is defined",
                        input.name()
                    )));
                }
                Err(_) => return Err(refusal(&input)),
            }
        };
        if let Format::Pcap(header) = &format {
            let size = header.size();
            input.consume(size);
        }
        Ok(Reader { input, format, taken: 0, dropped: 0, span: None, redacted })
    }

    /// The link type of all packets; absent in pcapng, where each interface has its own.
    pub fn link(&self) -> Option<u16> {
        match &self.format {
            Format::Pcap(header) => Some(header.network.0 as u16),
            Format::Pcapng(_) => None,
        }
    }

    /// A way to read packets again.
    pub fn again(&self) -> Option<Again> {
        self.input.again()
    }

    /// What messages call the file.
    pub fn name(&self) -> &str {
        self.input.name()
    }

    /// The next unit. After [`Unit::End`] and [`Unit::Cut`] there is none.
    pub fn next(&mut self) -> Result<Unit<'_>, Error> {
        self.input.consume(std::mem::take(&mut self.taken));
        match self.format {
            Format::Pcap(_) => self.next_record(),
            Format::Pcapng(_) => self.next_block(),
        }
    }

    fn next_record(&mut self) -> Result<Unit<'_>, Error> {
        let Format::Pcap(header) = &self.format else { return Ok(Unit::End) };
        let modified = header.is_modified_format();
        let head = if modified { 24 } else { 16 };
        if !self.input.fill(head)? {
            return Ok(end(&self.input));
        }
        let number: [u8; 4] = self.input.data()[8..12].try_into().expect("4 bytes of the 16 at hand");
        let captured =
            if header.is_bigendian() { u32::from_be_bytes(number) } else { u32::from_le_bytes(number) };
        let total = head.saturating_add(captured as usize);
        if !self.input.fill(total)? {
            return Ok(cut_in_unit(&self.input, total));
        }
        self.taken = total;
        let bytes = &self.input.data()[..total];
        let parsed = match (modified, header.is_bigendian()) {
            (true, _) => parse_pcap_frame_modified(bytes),
            (_, true) => parse_pcap_frame_be(bytes),
            (_, false) => parse_pcap_frame(bytes),
        };
        let Ok((_, frame)) = parsed else { return Ok(damaged(&self.input, "packet record")) };
        let unit = if header.is_nanosecond_precision() { 1 } else { 1000 };
        let nanos = u64::from(frame.ts_sec) * 1_000_000_000 + u64::from(frame.ts_usec) * unit;
        Ok(Unit::Packet(Packet {
            time: Some(Timestamp(nanos)),
            // The upper half holds the length of a frame check sequence, not the link type.
            link: header.network.0 as u16,
            interface: None,
            data: frame.data,
            length: (frame.origlen as usize).max(frame.data.len()),
            position: self.input.position() + head as u64,
            options: Vec::new(),
            big_endian: false,
        }))
    }

    fn next_block(&mut self) -> Result<Unit<'_>, Error> {
        let Format::Pcapng(section) = &mut self.format else { return Ok(Unit::End) };
        if !self.input.fill(12)? {
            return Ok(end(&self.input));
        }
        let head = self.input.data();
        if head.starts_with(&PCAPNG_MAGIC) {
            // A new section may have another byte order, told by its magic number, and other interfaces.
            let of_slice = section_header(&self.input).is_some_and(is_ours);
            *section = Section { big_endian: is_big_endian(head), interfaces: Vec::new(), of_slice };
        }
        let number: [u8; 4] = head[4..8].try_into().expect("4 bytes of the 12 at hand");
        let total = if section.big_endian { u32::from_be_bytes(number) } else { u32::from_le_bytes(number) };
        let total = total as usize;
        if total < 12 || !total.is_multiple_of(4) {
            return Ok(damaged(&self.input, "block"));
        }
        if !self.input.fill(total)? {
            return Ok(cut_in_unit(&self.input, total));
        }
        self.taken = total;
        let bytes = &self.input.data()[..total];
        let parse = if section.big_endian { parse_block_be } else { parse_block_le };
        let Ok((_, block)) = parse(bytes) else { return Ok(damaged(&self.input, "block")) };
        let mut unit = match block {
            Block::EnhancedPacket(packet) => {
                let captured = (packet.caplen as usize).min(packet.data.len());
                let (data, length) = (&packet.data[..captured], packet.origlen as usize);
                let time = Some((packet.ts_high, packet.ts_low));
                section.packet(packet.if_id, time, data, length, packet.options)
            }
            Block::SimplePacket(packet) => {
                // Its captured length is not stored: the smaller of the snap length and its own length.
                let snaplen = section.interfaces.first().map_or(0, |interface| interface.snaplen as usize);
                let limit = if snaplen == 0 { usize::MAX } else { snaplen };
                let length = packet.origlen as usize;
                let data = &packet.data[..packet.data.len().min(length).min(limit)];
                section.packet(0, None, data, length, Vec::new())
            }
            Block::Unknown(block) if kind(bytes, section.big_endian) == PACKET_BLOCK => {
                section.old_packet(block.data)
            }
            Block::InterfaceDescription(block) => {
                section.describe(&block);
                Unit::Other
            }
            Block::InterfaceStatistics(block) => {
                self.dropped = section.statistics(&block).unwrap_or(self.dropped);
                self.span = section.span(&block).or(self.span);
                Unit::Other
            }
            _ => Unit::Other,
        };
        if let Unit::Packet(packet) = &mut unit {
            let within = packet.data.as_ptr() as usize - bytes.as_ptr() as usize;
            packet.position = self.input.position() + within as u64;
        }
        Ok(unit)
    }
}

impl Section {
    fn describe(&mut self, block: &InterfaceDescriptionBlock<'_>) {
        if self.interfaces.len() == MAX_INTERFACES {
            return;
        }
        let resolution = match block.if_tsresol {
            power @ 0..=19 => 10u64.pow(u32::from(power)),
            power @ 0x80..=0xbf => 1 << (power & 0x3f),
            _ => 1_000_000,
        };
        let offset = option(&block.options, OptionCode::IfTsoffset, self.big_endian).unwrap_or(0) as i64;
        let name = block.options.iter().find(|option| option.code == OptionCode::IfName);
        let name = name.and_then(|name| name.as_bytes().ok());
        self.interfaces.push(Interface {
            name: name.map(|name| String::from_utf8_lossy(&name[..name.len().min(MAX_NAME)]).into_owned()),
            link: block.linktype.0 as u16,
            snaplen: block.snaplen,
            clock: Clock { resolution, offset },
            dropped: 0,
        });
    }

    /// Takes an interface's counters; gives the drops of all interfaces.
    fn statistics(&mut self, block: &InterfaceStatisticsBlock<'_>) -> Option<u64> {
        let dropped = option(&block.options, OptionCode::IsbIfDrop, self.big_endian)?;
        self.interfaces.get_mut(block.if_id as usize)?.dropped = dropped;
        Some(self.interfaces.iter().fold(0, |sum, interface| sum.saturating_add(interface.dropped)))
    }

    /// When the capture ran that this is a slice of.
    fn span(&self, block: &InterfaceStatisticsBlock<'_>) -> Option<(Timestamp, Timestamp)> {
        let clock = self.interfaces.get(block.if_id as usize).filter(|_| self.of_slice)?.clock;
        let time = |code| {
            let option = block.options.iter().find(|option| option.code == OptionCode(code))?;
            let bytes = option.as_bytes().ok().filter(|bytes| bytes.len() == 8)?;
            Some(clock.time(number(&bytes[..4], false) as u32, number(&bytes[4..], false) as u32))
        };
        Some((time(pcapng::ISB_STARTTIME)?, time(pcapng::ISB_ENDTIME)?))
    }

    fn packet<'a>(
        &'a self,
        interface: u32,
        time: Option<(u32, u32)>,
        data: &'a [u8],
        length: usize,
        options: Vec<PcapNGOption<'a>>,
    ) -> Unit<'a> {
        let Some(interface) = self.interfaces.get(interface as usize) else { return Unit::Stray };
        Unit::Packet(Packet {
            time: time.map(|(high, low)| interface.clock.time(high, low)),
            link: interface.link,
            interface: interface.name.as_deref(),
            data,
            length: length.max(data.len()),
            position: 0, // told by the caller, who has the input
            options,
            big_endian: self.big_endian,
        })
    }

    /// Body of a Packet Block: interface and drop count as 16 bits each, then as in an Enhanced Packet Block.
    fn old_packet<'a>(&'a self, body: &'a [u8]) -> Unit<'a> {
        let Some((head, rest)) = body.split_first_chunk::<20>() else { return Unit::Stray };
        let word = |at: usize| number(&head[at..at + 4], self.big_endian) as u32;
        let captured = (word(12) as usize).min(rest.len());
        let interface = number(&head[..2], self.big_endian) as u32;
        let (data, time) = (&rest[..captured], Some((word(4), word(8))));
        self.packet(interface, time, data, word(16) as usize, Vec::new())
    }
}

/// The section header that is at hand, if it is little-endian as ours are, and whole.
fn section_header(input: &Input) -> Option<&[u8]> {
    let length = number(input.data().get(4..8)?, false);
    input.data().get(..usize::try_from(length).ok()?)
}

/// The length of the first block comes in the byte order that its magic number tells.
fn section_header_is_whole(input: &mut Input) -> Result<bool, Error> {
    let Some(head) = input.data().first_chunk::<12>() else { return Ok(false) };
    let length = number(&head[4..8], is_big_endian(head));
    input.fill(length as usize)
}

/// Whether a section is in big-endian byte order, by the first twelve bytes of its header.
fn is_big_endian(head: &[u8]) -> bool {
    head[8..12] == [0x1a, 0x2b, 0x3c, 0x4d]
}

/// The value of an option that holds a number. Done here because `pcap-parser` reads numbers in options as
/// little-endian also in big-endian sections.
fn option(options: &[PcapNGOption<'_>], code: OptionCode, big_endian: bool) -> Option<u64> {
    let option = options.iter().find(|option| option.code == code)?;
    let bytes = option.as_bytes().ok().filter(|bytes| bytes.len() == 8)?;
    Some(number(bytes, big_endian))
}

/// A whole number of up to 8 bytes.
fn number(bytes: &[u8], big_endian: bool) -> u64 {
    let append = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
    if big_endian { bytes.iter().fold(0, append) } else { bytes.iter().rev().fold(0, append) }
}

fn kind(block: &[u8], big_endian: bool) -> u32 {
    number(&block[..4], big_endian) as u32
}

/// The end between two units, or in the head of one.
fn end(input: &Input) -> Unit<'static> {
    if input.data().is_empty() && input.failure().is_none() { Unit::End } else { cut_in_unit(input, 0) }
}

fn cut_in_unit(input: &Input, length: usize) -> Unit<'static> {
    let name = input.name();
    if length > MAX_UNIT {
        let at = input.position();
        return Unit::Cut(format!(
            "{name}: damaged at byte {at}: a unit of {length} bytes is more than {MAX_UNIT}"
        ));
    }
    let at = input.position() + input.data().len() as u64;
    Unit::Cut(match input.failure() {
        Some(failure) => format!("{name}: {failure}; the capture in it can be read up to byte {at}"),
        None => format!("{name}: ends inside a packet or block at byte {at}"),
    })
}

fn damaged(input: &Input, what: &str) -> Unit<'static> {
    Unit::Cut(format!("{}: damaged {what} at byte {}", input.name(), input.position()))
}

/// Why an input is no capture, by what it looks like.
fn refusal(input: &Input) -> Error {
    let head = input.data();
    let capture = head.starts_with(&PCAPNG_MAGIC) || parse_pcap_header(&[head, &[0; 24]].concat()).is_ok();
    if let Some(failure) = input.failure() {
        return Error::Input(format!("{}: {failure}; nothing can be read from it", input.name()));
    }
    let foreign = foreign::reason(head);
    let reason = if head.is_empty() {
        "is empty; the capture may not have started"
    } else if let Some(foreign) = &foreign {
        foreign
    } else if capture || head.len() < 4 {
        "ends before its header is complete; nothing can be read from it"
    } else {
        "is neither a capture (pcap, pcapng, JSON of tshark) nor a recording of sockdbg nor a strace log"
    };
    Error::Input(format!("{}: {reason}", input.name()))
}
