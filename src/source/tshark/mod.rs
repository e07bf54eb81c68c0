//! The JSON of tshark as a capture: `-T json` and `-T ek`, whole or reduced to fields.
//!
//! `unit` cuts the input into packets, `fields` finds their fields, `segment` makes TCP segments of them and `datagram`
//! UDP datagrams, `lacking` says what was left out. The rest is shared with packet captures: [`super::pcap::flow`] makes
//! events of segments, [`super::pcap::datagram`] of datagrams. One packet is in memory at a time.

mod datagram;
mod fields;
mod lacking;
mod relative;
mod segment;
mod time;
mod unit;

use super::input::Input;
use super::pcap::datagram::DatagramFlows;
use super::pcap::flow::Flows;
use super::pcap::link::{self, flag};
use super::pcap::note_time;
use super::{Error, Sink, Source, Summary};
use crate::event::{Cause, Event, Kind, Timestamp, Vantage};
use datagram::Datagram;
use fields::{Field, Fields, Object};
use lacking::{Counts, DATAGRAMS, SEGMENTS};
use relative::Relative;
use segment::{Columns, Content, Segment};
use std::ops::ControlFlow;
use unit::{Reader, Unit};

/// How far the first brace may be.
const MAX_BLANKS: usize = 1024;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What other JSON is called.
const FOREIGN: &str = "is JSON, but not what `tshark -T json` or `tshark -T ek` writes";

/// The JSON of tshark, open.
pub struct Capture {
    reader: Reader,
    taker: Taker,
}

/// What takes the packets.
#[derive(Default)]
struct Taker {
    flows: Flows,
    datagrams: DatagramFlows,
    columns: Columns,
    datagram_columns: datagram::Columns,
    relative: Relative,
    counts: Counts,
    /// The payload of the packet at hand, decoded.
    payload: Vec<u8>,
}

/// True where an input looks like JSON that could be tshark's: an object, or an array that does not begin with
/// a word (as `[pid 123]` does).
///
/// # Errors
/// The input can't be read.
pub fn is_json(input: &mut Input) -> Result<bool, Error> {
    input.fill(4)?;
    if is_utf_16(input.data()) {
        return Ok(true);
    }
    // A pcapng file begins with line feeds as well.
    if input.data().starts_with(b"\x0a\x0d\x0d\x0a") {
        return Ok(false);
    }
    let start = if input.data().starts_with(MARK) { MARK.len() } else { 0 };
    let (first, at) = next_byte(input, start)?;
    Ok(match first {
        Some(b'{') => matches!(next_byte(input, at + 1)?.0, None | Some(b'"' | b'}')),
        Some(b'[') => {
            matches!(next_byte(input, at + 1)?.0, None | Some(b'{' | b']' | b'[' | b'"' | b'0'..=b'9'))
        }
        _ => false,
    })
}

/// The first byte from `at` on that is not blank, and its place.
fn next_byte(input: &mut Input, mut at: usize) -> Result<(Option<u8>, usize), Error> {
    while at < MAX_BLANKS && input.fill(at + 1)? {
        let byte = input.data()[at];
        if !byte.is_ascii_whitespace() {
            return Ok((Some(byte), at));
        }
        at += 1;
    }
    Ok((None, at))
}

/// As PowerShell writes with `>`: a byte order mark, and a bracket or brace.
fn is_utf_16(head: &[u8]) -> bool {
    matches!(head, [0xff, 0xfe, b'[' | b'{', 0, ..] | [0xfe, 0xff, 0, b'[' | b'{', ..])
}

impl Capture {
    /// Reads an input that [`is_json`] recognised.
    ///
    /// # Errors
    /// [`Error::Input`] where it is in an encoding other than JSON's (RFC 8259, section 8.1).
    pub(super) fn from_input(mut input: Input) -> Result<Capture, Error> {
        if is_utf_16(input.data()) {
            return Err(Error::Input(format!(
                "{}: is UTF-16, as PowerShell writes with >; run tshark in cmd or another shell, or convert it: \
                 iconv -f UTF-16 -t UTF-8",
                input.name()
            )));
        }
        if input.data().starts_with(MARK) {
            input.consume(MARK.len());
        }
        Ok(Capture { reader: Reader::new(input), taker: Taker::default() })
    }

    /// Takes every packet.
    fn packets(&mut self, summary: &mut Summary, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, Error> {
        let name = self.reader.name().to_owned();
        loop {
            let counts = &mut self.taker.counts;
            let (json, position) = match self.reader.next()? {
                Unit::Object(json, position) => (json, position),
                Unit::End => return Ok(ControlFlow::Continue(())),
                Unit::Other(_) if counts.packets == 0 => {
                    return Err(Error::Input(format!("{name}: {FOREIGN}")));
                }
                Unit::Cut(reason) | Unit::Other(reason) => {
                    summary.cut = Some(reason);
                    return Ok(ControlFlow::Continue(()));
                }
            };
            let what = match Fields::read(json) {
                Ok((Object::Index, _)) => continue,
                Ok((Object::Packet, fields)) => {
                    counts.packets += 1;
                    let time = time::of(&fields);
                    counts.untimed += u64::from(time.is_none());
                    let time = note_time(summary, time);
                    if self.taker.packet(&fields, time, sink).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    continue;
                }
                Ok((Object::Own, _)) => {
                    "is JSON, but not tshark's; if it is the output of sockdbg, record with `sockdbg events -w` \
                     instead, which can be read back"
                        .to_owned()
                }
                Ok((Object::Foreign, _)) => FOREIGN.to_owned(),
                Err(error) => format!("damaged JSON in the object at byte {position}: {error}"),
            };
            if counts.packets == 0 {
                return Err(Error::Input(format!("{name}: {what}")));
            }
            counts.unread += 1;
            counts.first_unread.get_or_insert(what);
        }
    }
}

impl Source for Capture {
    fn vantage(&self) -> Vantage {
        Vantage::Wire
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        if self.packets(&mut summary, sink)?.is_continue() {
            let Taker { counts, columns, datagram_columns, .. } = &self.taker;
            if let Some(reason) = counts.refusal(columns, datagram_columns) {
                return Err(Error::Input(format!("{}: {reason}", self.reader.name())));
            }
            let _stopped = self.taker.flows.end(sink).is_break() || self.taker.datagrams.end(sink).is_break();
        }
        let Taker { counts, columns, datagram_columns, flows, datagrams, .. } = &self.taker;
        summary.streams_only = !counts.has_datagrams();
        summary.conflicts = flows.overlaps.conflicts();
        let ignored = flows.ignored.reasons().into_iter().chain(datagrams.ignored.reasons());
        let ignored = ignored.filter(|(count, _)| *count > 0);
        let warnings = counts.warnings(columns, datagram_columns).into_iter();
        let warnings = warnings.chain(ignored.map(|(count, what)| format!("{count} {what}")));
        summary.warnings = warnings.map(|warning| format!("{}: {warning}", self.reader.name())).collect();
        Ok(summary)
    }
}

impl Taker {
    fn packet(&mut self, fields: &Fields<'_>, time: Timestamp, sink: &mut Sink<'_>) -> ControlFlow<()> {
        self.counts.lists |= !fields.is_tree;
        self.counts.unnamed += u64::from(fields.get(Field::Protocols).is_none());
        match datagram::read(fields, &mut self.datagram_columns) {
            datagram::Content::Other => {}
            datagram::Content::Lacks(what) => {
                self.counts.udp += 1;
                self.counts.lack(DATAGRAMS, what);
                return ControlFlow::Continue(());
            }
            datagram::Content::Damaged => {
                self.counts.udp += 1;
                self.counts.udp_damaged += 1;
                return ControlFlow::Continue(());
            }
            datagram::Content::Udp(datagram) => {
                self.counts.udp += 1;
                self.counts.udp_taken += 1;
                return self.datagram(&datagram, time, sink);
            }
        }
        match segment::read(fields, &mut self.columns) {
            Content::Other => return ControlFlow::Continue(()),
            Content::Lacks(what) => self.counts.lack(SEGMENTS, what),
            Content::Damaged => self.counts.damaged += 1,
            Content::Tcp(segment) => {
                self.counts.taken += 1;
                self.counts.tcp += 1;
                return self.segment(&segment, time, sink);
            }
        }
        self.counts.tcp += 1;
        ControlFlow::Continue(())
    }

    fn datagram(&mut self, found: &Datagram<'_>, time: Timestamp, sink: &mut Sink<'_>) -> ControlFlow<()> {
        segment::decode(found.payload, &mut self.payload);
        let cause = match self.payload.is_empty() && !found.cut {
            true => Cause::WirePayloadLeftOut,
            false => Cause::WireSnaplen,
        };
        self.counts.udp_left_out += u64::from(found.length > 0 && cause == Cause::WirePayloadLeftOut);
        self.counts.with_payload += u64::from(!self.payload.is_empty());
        let datagram = link::Datagram {
            source: found.source,
            destination: found.destination,
            id: found.id,
            length: found.length,
            payload: &self.payload[..self.payload.len().min(found.length)],
        };
        let numbers = &mut self.flows.numbers;
        self.datagrams.datagram(time, &datagram, found.place, numbers, &mut |event| match adapt(
            event, false, cause,
        ) {
            Some(event) => sink(&event),
            None => sink(event),
        })
    }

    fn segment(&mut self, found: &Segment<'_>, time: Timestamp, sink: &mut Sink<'_>) -> ControlFlow<()> {
        segment::decode(found.payload, &mut self.payload);
        let cause = self.cause(found);
        let base = if found.relative {
            self.counts.relative += 1;
            self.relative.base(found.source, found.destination, found.flags)
        } else {
            0
        };
        // Without its number, an acknowledgement says nothing.
        let flags = if found.ack.is_some() { found.flags } else { found.flags & !flag::ACK };
        let segment = link::Segment {
            source: found.source,
            destination: found.destination,
            seq: found.seq.wrapping_add(base),
            ack: found.ack.unwrap_or_default().wrapping_add(base),
            flags,
            header: 0,
            length: found.length,
            payload: &self.payload[..self.payload.len().min(found.length)],
        };
        let relative = found.relative;
        self.flows.segment(time, &segment, &mut |event| match adapt(event, relative, cause) {
            Some(event) => sink(&event),
            None => sink(event),
        })
    }

    /// Why the payload is not whole, should it not be.
    fn cause(&mut self, found: &Segment<'_>) -> Cause {
        if !self.payload.is_empty() || found.cut {
            return Cause::WireSnaplen;
        }
        self.counts.left_out += u64::from(found.length > 0);
        Cause::WirePayloadLeftOut
    }
}

/// The event with the cause that is true for JSON, and without the anchors that relative numbers are not;
/// `None` where it is right as it is.
fn adapt<'a>(event: &Event<'a>, relative: bool, cause: Cause) -> Option<Event<'a>> {
    let cut = matches!(&event.kind, Kind::Data(data) if data.cause == Some(Cause::WireSnaplen));
    let renamed = cut && cause != Cause::WireSnaplen;
    if !relative && !renamed {
        return None;
    }
    let mut event = event.clone();
    match &mut event.kind {
        Kind::Open(open) if relative => open.start.iter_mut().for_each(|start| start.seq = None),
        Kind::Data(data) => {
            data.cause = data.cause.map(|_| cause);
            data.tcp_seq = data.tcp_seq.filter(|_| !relative);
        }
        _ => {}
    }
    Some(event)
}
