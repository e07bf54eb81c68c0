//! A recording as a source: gives back the events that `output::recording` wrote.
//!
//! The layout is in [`crate::recording`]. The headers of the packets are for Wireshark; nothing here looks at
//! them but to skip them.

use super::input::{Input, MAX_UNIT};
use super::{Error, Sink, Source, Summary};
use crate::event::{ConnId, Event, Kind, Timestamp, Vantage};
use crate::recording::{
    DESCRIPTION, Decoded, ENTERPRISE, NO_DATAGRAM, UDP, decode, pcapng as ng, redacted_by,
};
use crate::redact::RunId;
use std::path::Path;

/// A recording, open.
pub struct Recording {
    input: Input,
    /// The payload of an event that spans several packets, as far as it was read.
    parts: Vec<u8>,
    /// That event, and the length of its payload.
    pending: Option<(Event<'static>, usize)>,
    /// The end marker was read.
    finished: bool,
    /// Packets that are not ours.
    foreign: u64,
    redacted: Option<RunId>,
}

/// What became of one block.
enum Step {
    Continue,
    Stopped,
    /// The block is damaged, and how.
    Damaged(String),
}

impl Recording {
    /// Opens the recording at `path` (`-`: standard input).
    ///
    /// # Errors
    /// [`Error::Input`] where it can't be read or is no recording.
    pub fn open(path: &Path) -> Result<Recording, Error> {
        let mut input = Input::open(path, None)?;
        if is_recording(&mut input)? {
            return Ok(Recording::from_input(input));
        }
        let name = input.name();
        Err(Error::Input(if input.data().is_empty() {
            format!("{name}: is empty; the recording may not have started")
        } else {
            format!("{name}: is not a recording of sockdbg; make one with `sockdbg events -w FILE`")
        }))
    }

    /// A recording over an input of which [`is_recording`] is true.
    pub(super) fn from_input(input: Input) -> Recording {
        let header = word(input.data(), 4).unwrap_or(0) as usize;
        let redacted = input.data().get(..header).and_then(redacted_by);
        Recording { input, parts: Vec::new(), pending: None, finished: false, foreign: 0, redacted }
    }

    /// Reads blocks until the end. Gives why the recording ends in the middle, if it does.
    fn blocks(&mut self, summary: &mut Summary, sink: &mut Sink<'_>) -> Result<Option<String>, Error> {
        loop {
            let Some(length) = next_block(&mut self.input)? else { return Ok(self.end()) };
            let position = self.input.position();
            let step = match self.block(length, summary, sink) {
                Ok(step) => step,
                Err(reason) => Step::Damaged(reason.into()),
            };
            match step {
                Step::Continue => self.input.consume(length),
                Step::Stopped => {
                    self.finished = true;
                    return Ok(None);
                }
                Step::Damaged(reason) => {
                    let name = self.input.name();
                    return Ok(Some(format!("{name}: the block at byte {position} {reason}")));
                }
            }
        }
    }

    /// Why there is no further block.
    fn end(&self) -> Option<String> {
        let (name, rest) = (self.input.name(), self.input.data().len());
        let at = self.input.position() + rest as u64;
        if let Some(failure) = self.input.failure() {
            return Some(format!("{name}: {failure}; the recording in it can be read up to byte {at}"));
        }
        if rest >= 12 && block_length(self.input.data()).is_none() {
            Some(format!("{name}: the block at byte {} has an impossible length", self.input.position()))
        } else if rest > 0 || self.pending.is_some() {
            Some(format!("{name}: the recording ends inside an event at byte {at}"))
        } else if !self.finished {
            Some(format!("{name}: the recording ends without its end marker at byte {at}"))
        } else {
            None
        }
    }

    fn block(
        &mut self,
        length: usize,
        summary: &mut Summary,
        sink: &mut Sink<'_>,
    ) -> Result<Step, &'static str> {
        let block = &self.input.data()[..length];
        if block[length - 4..] != block[4..8] {
            return Err("has two different lengths");
        }
        let body = &block[8..length - 4];
        match word(block, 0)? {
            ng::SECTION_HEADER if word(body, 0)? != ng::BYTE_ORDER_MAGIC => {
                return Err("begins a section in big-endian byte order, which sockdbg does not write");
            }
            ng::SECTION_HEADER => self.finished = false,
            ng::INTERFACE_STATISTICS => {
                statistics(body, summary)?;
                self.finished = true;
            }
            ng::ENHANCED_PACKET => {
                let packet = Packet::parse(body)?;
                return deliver(
                    &packet,
                    &mut self.pending,
                    &mut self.parts,
                    &mut self.foreign,
                    summary,
                    sink,
                );
            }
            _ => {}
        }
        Ok(Step::Continue)
    }
}

impl Source for Recording {
    fn vantage(&self) -> Vantage {
        Vantage::Syscall
    }

    fn redacted(&self) -> Option<RunId> {
        self.redacted
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        summary.cut = self.blocks(&mut summary, sink)?;
        if self.redacted.is_some() {
            let name = self.input.name();
            summary.warnings.push(format!(
                "{name}: was made with --redact: compared by length and place, nothing in it can be cut into records"
            ));
        }
        if self.foreign > 0 {
            let (name, count) = (self.input.name(), self.foreign);
            summary.warnings.push(format!("{name}: {count} packets that sockdbg did not write, ignored"));
        }
        Ok(summary)
    }
}

/// True where the input begins like a recording: a section header, then our interface.
pub(super) fn is_recording(input: &mut Input) -> Result<bool, Error> {
    if !input.fill(8)? || word(input.data(), 0) != Ok(ng::SECTION_HEADER) {
        return Ok(false);
    }
    let header = word(input.data(), 4).unwrap_or(0) as usize;
    if !input.fill(header.saturating_add(8))? {
        return Ok(false);
    }
    let interface = word(input.data(), header + 4).unwrap_or(0) as usize;
    let total = header.saturating_add(interface);
    if word(input.data(), header) != Ok(ng::INTERFACE_DESCRIPTION) || interface < 20 || !input.fill(total)? {
        return Ok(false);
    }
    let options = &input.data()[header + 16..total - 4];
    let description = Options(options).find(|option| option.0 == ng::IF_DESCRIPTION);
    Ok(description.is_some_and(|(_, text)| text.starts_with(DESCRIPTION.as_bytes())))
}

/// Has the next whole block at hand; gives its length.
fn next_block(input: &mut Input) -> Result<Option<usize>, Error> {
    if !input.fill(12)? {
        return Ok(None);
    }
    let Some(length) = block_length(input.data()) else { return Ok(None) };
    Ok(input.fill(length)?.then_some(length))
}

/// Length of the block at the front, if it can be one.
fn block_length(data: &[u8]) -> Option<usize> {
    let length = word(data, 4).ok()? as usize;
    (12..=MAX_UNIT).contains(&length).then_some(length).filter(|length| length.is_multiple_of(4))
}

/// What an Enhanced Packet Block holds for us.
struct Packet<'a> {
    time: Timestamp,
    /// The payload, without the made-up headers.
    payload: &'a [u8],
    ids: Option<(u32, u32)>,
    custom: Option<&'a [u8]>,
}

impl Packet<'_> {
    fn parse(body: &[u8]) -> Result<Packet<'_>, &'static str> {
        let time = time(body, 4)?;
        let captured = word(body, 12)? as usize;
        let data = body.get(20..20 + captured).ok_or("has a packet that is cut")?;
        let options = body.get(20 + captured.next_multiple_of(4)..).unwrap_or_default();
        let payload = data.get(headers(data)..).unwrap_or_default();
        let mut packet = Packet { time, payload, ids: None, custom: None };
        for (code, value) in Options(options) {
            match code {
                ng::EPB_PROCESSID_THREADID => packet.ids = Some((word(value, 0)?, word(value, 4)?)),
                ng::OPT_CUSTOM_BINARY if word(value, 0) == Ok(ENTERPRISE) => {
                    packet.custom = Some(&value[4..])
                }
                _ => {}
            }
        }
        Ok(packet)
    }
}

/// Length of the headers that were made up for a packet.
fn headers(packet: &[u8]) -> usize {
    let is_ipv6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let (length, protocol) = if is_ipv6 { (40, packet.get(6)) } else { (20, packet.get(9)) };
    match protocol {
        Some(&UDP) => length + 8,
        Some(&NO_DATAGRAM) => length,
        _ => length + 20,
    }
}

/// Hands the event of a packet on, or keeps it until its payload is complete.
fn deliver(
    packet: &Packet<'_>,
    pending: &mut Option<(Event<'static>, usize)>,
    parts: &mut Vec<u8>,
    foreign: &mut u64,
    summary: &mut Summary,
    sink: &mut Sink<'_>,
) -> Result<Step, &'static str> {
    let Some(custom) = packet.custom else {
        *foreign += 1;
        return Ok(Step::Continue);
    };
    let event = match decode(custom, packet.time, packet.ids)? {
        Decoded::Decoration => return Ok(Step::Continue),
        Decoded::Event(..) if pending.is_some() => return Err("interrupts an event"),
        Decoded::Event(event, payload) if payload > packet.payload.len() as u64 => {
            parts.clear();
            parts.extend_from_slice(packet.payload);
            *pending = Some((event, payload as usize));
            return Ok(Step::Continue);
        }
        Decoded::Event(event, payload) => with_payload(event, &packet.payload[..payload as usize]),
        Decoded::Continuation(conn) => {
            let (event, length) = continued(pending, conn)?;
            parts.extend_from_slice(packet.payload);
            if parts.len() < length {
                *pending = Some((event, length));
                return Ok(Step::Continue);
            }
            with_payload(event, &parts[..length])
        }
    };
    note_time(summary, event.time);
    Ok(if sink(&event).is_break() { Step::Stopped } else { Step::Continue })
}

fn continued(
    pending: &mut Option<(Event<'static>, usize)>,
    conn: ConnId,
) -> Result<(Event<'static>, usize), &'static str> {
    let pending = pending.take().filter(|(event, _)| event.conn == conn);
    pending.ok_or("continues an event that is not there")
}

fn with_payload<'a>(event: Event<'static>, payload: &'a [u8]) -> Event<'a> {
    let mut event: Event<'a> = event;
    if let Kind::Data(data) = &mut event.kind {
        data.payload = payload;
    }
    event
}

fn note_time(summary: &mut Summary, time: Timestamp) {
    summary.first = Some(summary.first.map_or(time, |first| first.min(time)));
    summary.last = Some(summary.last.map_or(time, |last| last.max(time)));
}

/// The end marker: what the writer's source said of itself.
fn statistics(body: &[u8], summary: &mut Summary) -> Result<(), &'static str> {
    for (code, value) in Options(body.get(12..).unwrap_or_default()) {
        match code {
            ng::OPT_COMMENT => summary.warnings.push(String::from_utf8_lossy(value).into_owned()),
            ng::ISB_STARTTIME => summary.first = Some(time(value, 0)?),
            ng::ISB_ENDTIME => summary.last = Some(time(value, 0)?),
            ng::ISB_IFDROP => summary.dropped = u64::from(word(value, 4)?) << 32 | u64::from(word(value, 0)?),
            _ => {}
        }
    }
    Ok(())
}

/// A time stamp: upper half first.
fn time(bytes: &[u8], at: usize) -> Result<Timestamp, &'static str> {
    Ok(Timestamp(u64::from(word(bytes, at)?) << 32 | u64::from(word(bytes, at + 4)?)))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, &'static str> {
    let bytes = bytes.get(at..at + 4).ok_or("is cut")?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Options of a block: code and value. Ends at the first that is cut.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        let (code, length) = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        if code == ng::OPT_ENDOFOPT {
            return None;
        }
        let length = usize::from(length);
        let value = rest.get(..length)?;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}
