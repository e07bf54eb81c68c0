//! CQL: the native protocol of Apache Cassandra and ScyllaDB, v3 to v5
//! (<https://cassandra.apache.org/doc/latest/cassandra/reference/native-protocol.html>).
//!
//! This file leads one connection through its messages and finds out what belongs together; [`envelope`] reads what
//! begins every message, [`segment`] the framing of v5 around them, [`read`] the notations of bodies, [`values`] those of
//! columns, [`request`] and [`response`] say what messages mean, [`statement`] knows what was prepared, [`detect`] the
//! protocol by its content.
//!
//! A request is paired with the answer of the same stream. Events are records by themselves.
//!
//! A frame is an envelope, or a segment of v5 with all envelopes in it; an envelope can go over several segments.
//!
//! Left out: v1 and v2 (Cassandra up to 2.1), which have another header.

mod detect;
mod envelope;
mod read;
mod request;
mod response;
mod segment;
mod show;
mod statement;
#[cfg(test)]
mod tests;
mod values;

use super::cursor::Cursor;
use super::endpoint::of_summary;
use super::exchange::{self, Half, PENDING_MAX, Pending};
use super::framed::{Driver, Frame, Framed, Head, KEEP_MAX};
use super::{End, Input, Options, Output, Parser, Protocol, Resync};
use crate::event::{Cause, Direction, Range, Timestamp};
use envelope::{Front, HEADER, Header, Opcode};
use request::Asked;
use rustc_hash::FxHashMap;
use segment::{Format, HEADER_MAX, Segment};
use show::Shown;
use statement::Statements;

/// The name in records, filters and traces.
const NAME: &str = "cql";

/// The longest compressed body that is looked at, uncompressed.
const INFLATED_MAX: usize = 4 << 20;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint: of_summary,
    keep_alives: &[],
};

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Cql {
        options,
        client: options.client(),
        framing: Framing::Unknown,
        compression: Compression::Unknown,
        requests: Pending::new(NAME),
        asked: FxHashMap::default(),
        lost: None,
        statements: Statements::default(),
        partial: [None, None],
    }))
}

/// How messages are framed on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Not known yet: v5 changes from envelopes to segments.
    Unknown,
    /// Up to v4.
    Envelopes,
    /// From v5 on, behind the answer to STARTUP.
    Segments(Format),
}

/// How bodies of envelopes are compressed, by STARTUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    /// STARTUP was not seen: what works is taken.
    Unknown,
    Lz4,
    Snappy,
    /// One that nobody knows, or none.
    Other,
}

/// Bytes of one envelope, and where they are from.
struct Message<'a> {
    header: Header,
    /// What is at hand of the body.
    body: &'a [u8],
    /// Bytes of it are missing or not kept.
    is_cut: bool,
    place: Place,
}

/// Where a message was cut from.
#[derive(Clone, Debug)]
struct Place {
    direction: Direction,
    ranges: Vec<Range>,
    times: [Timestamp; 2],
    causes: Vec<Cause>,
}

impl Place {
    /// Takes in a further segment. Segments that follow each other are one range, so hostile ones that hold hardly
    /// anything do not make the list long.
    fn extend(&mut self, range: Range, ended: Timestamp, causes: &[Cause]) {
        match self.ranges.last_mut() {
            Some(last) if last.to == range.from => last.to = range.to,
            _ => self.ranges.push(range),
        }
        self.times[1] = ended;
        causes.iter().for_each(|cause| cause.note_in(&mut self.causes));
    }
}

/// An envelope that goes over several segments.
struct Partial {
    header: Header,
    body: Vec<u8>,
    /// How many bytes of the body came, also of those that are not kept.
    seen: u64,
    place: Place,
}

/// One connection.
struct Cql {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    framing: Framing,
    compression: Compression,
    /// Requests that wait for their answers, by stream.
    requests: Pending<i16>,
    /// What answers have to know of them, likewise.
    asked: FxHashMap<i16, Asked>,
    /// Why answers may be missing.
    lost: Option<Cause>,
    statements: Statements,
    partial: [Option<Partial>; 2],
}

impl Framed for Cql {
    fn head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        let formats = self.formats();
        if let Some(segment) = Segment::read(data, formats) {
            let whole = segment.whole();
            return Head::Frame { length: whole as u64, keep: whole };
        }
        let is_envelope = !matches!(self.framing, Framing::Segments(_)) && Header::is_possible(data);
        if let Some(header) = Header::read(data).filter(|_| is_envelope) {
            return Head::Frame { length: header.whole(), keep: KEEP_MAX };
        }
        if is_envelope || !formats.is_empty() && data.len() < HEADER_MAX {
            return Head::More("the header of a message");
        }
        Head::Malformed { length: data.len().min(HEADER), reason: "no header of a message".to_owned() }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        if let Some(segment) = Segment::read(frame.data, self.formats()) {
            self.framing = Framing::Segments(segment.format);
            return self.segment(segment, frame, out);
        }
        let header = Header::read(frame.data).ok_or("no header of a message")?;
        if header.version < 5 {
            self.framing = Framing::Envelopes;
        }
        out.frame(frame.direction, frame.range, format_args!("{} {}", header.opcode.name(), header.stream));
        let mut causes = frame.causes.clone();
        if !frame.is_cut() && !frame.is_all() {
            causes.push(Cause::FieldTruncated);
        }
        let place =
            Place { direction: frame.direction, ranges: vec![frame.range], times: frame.times, causes };
        let body = frame.data.get(HEADER..).unwrap_or_default();
        self.message(Message { header, body, is_cut: !frame.is_all(), place }, out);
        Ok(())
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        let from_client = self.client.map(|client| client == direction);
        detect::boundary(data, at_event, self.formats(), self.framing, from_client)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        self.end_partial(direction, cause, out);
        if self.client != Some(direction) {
            self.lost = Some(cause);
        }
    }

    fn finish(&mut self, direction: Direction, _: End, _: Timestamp, out: &mut dyn Output) {
        self.end_partial(direction, Cause::Incomplete, out);
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.requests.give_up(self.lost, out);
    }
}

impl Cql {
    /// How segments may begin here.
    fn formats(&self) -> &'static [Format] {
        match self.framing {
            Framing::Unknown => &[Format::Uncompressed, Format::Compressed],
            Framing::Envelopes => &[],
            Framing::Segments(Format::Uncompressed) => &[Format::Uncompressed],
            Framing::Segments(Format::Compressed) => &[Format::Compressed],
        }
    }

    /// The envelopes of a segment.
    fn segment(&mut self, segment: Segment, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let direction = frame.direction;
        let payload = match frame.is_all() {
            true => segment.payload(frame.data)?,
            // What came before a gap can be read, if it is not compressed.
            false if segment.inflated == 0 => {
                let end = frame.data.len().min(segment.header() + segment.length);
                frame.data.get(segment.header()..end).unwrap_or_default().to_vec()
            }
            false => return Err("a compressed segment that is cut".to_owned()),
        };
        let place =
            Place { direction, ranges: vec![frame.range], times: frame.times, causes: frame.causes.clone() };
        if !segment.is_self_contained {
            return self.part(&payload, segment, place, frame, out);
        }
        let messages = split(&payload, &place)?;
        out.frame(direction, frame.range, format_args!("segment of {}", messages.len()));
        self.end_partial(direction, Cause::ParseError, out);
        messages.into_iter().for_each(|message| self.message(message, out));
        Ok(())
    }

    /// A segment that is part of one envelope.
    fn part(
        &mut self,
        payload: &[u8],
        segment: Segment,
        place: Place,
        frame: &Frame<'_>,
        out: &mut dyn Output,
    ) -> Result<(), String> {
        let slot = place.direction.index();
        let length = segment.inflated.max(segment.length) as u64;
        let begins = Header::read(payload).filter(|header| header.whole() > length);
        match (&mut self.partial[slot], begins) {
            (Some(partial), _) => {
                let room = KEEP_MAX.saturating_sub(partial.body.len());
                // Behind a gap what follows is not the beginning any more.
                let is_whole = partial.place.causes.is_empty() && partial.body.len() as u64 == partial.seen;
                let kept = if is_whole { payload.len().min(room) } else { 0 };
                partial.body.extend_from_slice(&payload[..kept]);
                partial.seen += length;
                partial.place.extend(frame.range, place.times[1], &place.causes);
            }
            (None, Some(header)) => {
                let body = payload.get(HEADER..).unwrap_or_default().to_vec();
                let seen = length.saturating_sub(HEADER as u64);
                self.partial[slot] = Some(Partial { header, body, seen, place });
            }
            (None, None) => return Err("a part of a message whose beginning is lost".to_owned()),
        }
        out.frame(frame.direction, frame.range, format_args!("segment, a part of a message"));
        let is_done = |partial: &mut Partial| partial.seen >= u64::from(partial.header.length);
        if let Some(partial) = self.partial[slot].take_if(is_done) {
            self.end(partial, out);
        }
        Ok(())
    }

    /// What was to be an envelope ends before its end.
    fn end_partial(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        if let Some(mut partial) = self.partial[direction.index()].take() {
            partial.place.causes.push(cause);
            self.end(partial, out);
        }
    }

    fn end(&mut self, partial: Partial, out: &mut dyn Output) {
        let Partial { header, body, seen, mut place } = partial;
        let is_limited = place.causes.is_empty() && (body.len() as u64) < seen;
        if is_limited {
            place.causes.push(Cause::FieldTruncated);
        }
        let is_cut = (body.len() as u64) < u64::from(header.length);
        self.message(Message { header, body: &body, is_cut, place }, out);
    }

    fn message(&mut self, message: Message<'_>, out: &mut dyn Output) {
        let Message { header, place, .. } = &message;
        let client = if header.from_client { place.direction } else { place.direction.reverse() };
        self.client = Some(client);
        let mut shown = Shown::default();
        shown.header(header);
        let mut causes = place.causes.clone();
        let inflated = match header.is_compressed() && header.length > 0 {
            true => self.inflate(&message, &mut shown, &mut causes),
            false => None,
        };
        let is_unread = header.is_compressed() && header.length > 0 && inflated.is_none();
        let body = match &inflated {
            Some(body) => body.as_slice(),
            None if is_unread => &[],
            None => message.body,
        };
        let is_cut = is_unread || message.is_cut && inflated.is_none();
        let is_read = self.read(&message, body, &mut shown, is_cut, out);
        if is_read.is_err() {
            causes.push(Cause::ParseError);
        }
        if shown.is_cut {
            causes.push(Cause::FieldTruncated);
        }
        if shown.is_limited {
            causes.push(Cause::Limit);
        }
        let half = half(place, shown, &causes);
        self.pair(header, half, is_read.ok().flatten(), out);
    }

    /// Undoes the compression of an envelope's body; says how it is compressed.
    fn inflate(&self, message: &Message<'_>, shown: &mut Shown, causes: &mut Vec<Cause>) -> Option<Vec<u8>> {
        if message.is_cut {
            return None;
        }
        let (body, compression) = (message.body, self.compression);
        let candidates: &[Compression] = match compression {
            Compression::Unknown => &[Compression::Lz4, Compression::Snappy],
            Compression::Lz4 => &[Compression::Lz4],
            Compression::Snappy => &[Compression::Snappy],
            Compression::Other => &[],
        };
        for &candidate in candidates {
            let (name, inflated) = match candidate {
                Compression::Lz4 => ("lz4", lz4(body)),
                _ => ("snappy", snappy(body)),
            };
            if let Ok(inflated) = inflated {
                let from = if compression == Compression::Unknown { " (STARTUP was not seen)" } else { "" };
                shown.word("compression", format!("{name}{from}"));
                return Some(inflated);
            }
            if inflated == Err(Cause::Limit) && compression != Compression::Unknown {
                causes.push(Cause::Limit);
                return None;
            }
        }
        // The compression is unknown, or what is compressed is not what it says to be.
        causes.push(if candidates.len() == 1 { Cause::ParseError } else { Cause::Unsupported });
        None
    }

    /// Reads a body; returns what its answer has to know.
    ///
    /// # Errors
    /// It is shorter than what it says to hold.
    fn read(
        &mut self,
        message: &Message<'_>,
        body: &[u8],
        shown: &mut Shown,
        is_cut: bool,
        out: &mut dyn Output,
    ) -> Result<Option<Asked>, ()> {
        let header = message.header;
        let options = self.options;
        let mut cursor = Cursor::new(body);
        let is_answered = self.asked.get(&header.stream).filter(|_| !header.from_client);
        header.opcode.name().clone_into(&mut shown.summary);
        let front = Front::take(&header, &mut cursor);
        let (read, asked) = match front {
            None => (None, None),
            Some(front) => {
                shown.front(&front, options);
                if header.from_client {
                    let mut reader =
                        request::Reader { header, options, statements: &self.statements, shown, asked: None };
                    let read = reader.read(&mut cursor);
                    (read, reader.asked)
                } else {
                    let statements = &self.statements;
                    let mut reader = response::Reader {
                        header,
                        options,
                        statements,
                        asked: is_answered,
                        shown,
                        prepared: None,
                    };
                    let read = reader.read(&mut cursor);
                    if let Some(prepared) = reader.prepared {
                        self.statements.add(prepared);
                    }
                    (read, None)
                }
            }
        };
        if read.is_none() && !is_cut {
            out.step("malformed", format_args!("{} ends before its content does", header.opcode.name()));
            return Err(());
        }
        Ok(asked)
    }

    /// Brings requests and answers together.
    fn pair(&mut self, header: &Header, half: Half, asked: Option<Asked>, out: &mut dyn Output) {
        if header.opcode == Opcode::Event {
            return exchange::lone(NAME, half, false, out);
        }
        let stream = header.stream;
        if header.from_client {
            // A stream is free again once its answer came: it was lost.
            if let Some(older) = self.requests.take(&stream) {
                exchange::unanswered_because(NAME, older, self.lost, out);
            }
            if let Some(Asked::Startup(compression)) = &asked {
                self.compression = match compression.as_deref() {
                    Some("lz4") => Compression::Lz4,
                    Some("snappy") => Compression::Snappy,
                    _ => Compression::Other,
                };
            }
            self.asked.remove(&stream);
            if let Some(asked) = asked.filter(|_| self.asked.len() < PENDING_MAX) {
                self.asked.insert(stream, asked);
            }
            if self.requests.is_empty() {
                // What was lost before can't be the answer to this.
                self.lost = None;
            }
            return self.requests.push(stream, half, out);
        }
        self.asked.remove(&stream);
        match self.requests.take(&stream) {
            Some(request) => exchange::pair(NAME, request, half, out),
            None => exchange::unasked(NAME, half, out),
        }
    }
}

/// The envelopes of a payload; the last one may be cut where the payload is.
fn split<'a>(payload: &'a [u8], place: &Place) -> Result<Vec<Message<'a>>, String> {
    let mut messages = Vec::new();
    let mut rest = payload;
    let is_cut = !place.causes.is_empty();
    while !rest.is_empty() {
        let Some(header) = Header::read(rest) else {
            if is_cut && rest.len() < HEADER {
                break;
            }
            return Err("a segment without a message in it".to_owned());
        };
        let length = usize::try_from(header.whole()).unwrap_or(usize::MAX);
        let end = length.min(rest.len());
        if end < length && !is_cut {
            return Err("a message longer than its segment".to_owned());
        }
        let mut place = place.clone();
        if end == length {
            // What is missing of the segment is not of this message.
            place.causes.clear();
        }
        messages.push(Message { header, body: &rest[HEADER..end], is_cut: end < length, place });
        rest = &rest[end..];
    }
    Ok(messages)
}

/// A body of LZ4: its length in front of a block.
fn lz4(body: &[u8]) -> Result<Vec<u8>, Cause> {
    let mut cursor = Cursor::new(body);
    let length = cursor.u32().ok_or(Cause::ParseError)? as usize;
    if length > INFLATED_MAX {
        return Err(Cause::Limit);
    }
    segment::lz4(cursor.rest(), length).map_err(|_| Cause::ParseError)
}

/// A body of Snappy's raw format.
fn snappy(body: &[u8]) -> Result<Vec<u8>, Cause> {
    let length = snap::raw::decompress_len(body).map_err(|_| Cause::ParseError)?;
    if length > INFLATED_MAX {
        return Err(Cause::Limit);
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|_| Cause::ParseError)
}

fn half(place: &Place, shown: Shown, causes: &[Cause]) -> Half {
    let first = place.ranges[0];
    let mut half = Half::new(place.direction, first, place.times, shown.summary, shown.fields);
    place.ranges[1..].iter().for_each(|&range| half.extend(range, place.times[1], &[]));
    causes.iter().for_each(|&cause| half.add_cause(cause));
    half
}
