//! WebSocket (RFC 6455), with permessage-deflate (RFC 7692): what follows an upgrade of HTTP/1.1.
//!
//! This file leads one connection through its frames and joins fragments to messages; [`frame`] reads headers,
//! [`extension`] what the handshake agreed on, [`content`] the payload of messages, [`deflate`] undoes their compression,
//! [`show`] says what control frames mean, [`detect`] knows the protocol by its content where the handshake was not seen.
//!
//! A record is one message by itself; but a ping is paired with its pong, and the first close with the other side's.
//! Control frames come between the fragments of a message, which knows its own ranges.
//!
//! Left out: WebSocket over HTTP/2 (RFC 8441), and extensions other than permessage-deflate.

mod close;
mod content;
mod deflate;
mod detect;
mod extension;
mod frame;
mod show;
#[cfg(test)]
mod tests;

use super::exchange::{self, Half, Pending};
use super::framed::{Driver, Frame, Framed, Head};
use super::{Agreement, End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Record, Value};
use content::{Coding, Content};
use deflate::Inflater;
use extension::{Extensions, Subprotocol};
use frame::{Header, Opcode, Read};

/// The name in records, filters and traces.
const NAME: &str = "websocket";

/// Up to how many bytes each new one makes a search for a boundary begin anew.
const SEARCH_ALWAYS: usize = 4 << 10;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &["ping"],
};

/// A message by its opcode and the subprotocol it belongs to; a close failed unless it is orderly.
fn endpoint(record: &Record) -> Endpoint {
    let text = |name| endpoint::asked(record, name).or_else(|| endpoint::answered(record, name));
    let words = ["subprotocol", "opcode"].map(|name| text(name).unwrap_or_default());
    let words = words.map(|word| if word == "unknown" { Default::default() } else { word });
    let codes = record.messages().filter_map(|message| message.field("code"));
    let is_orderly =
        |code: &Value| matches!(code, Value::Number(code) if close::is_orderly(u16::try_from(*code).ok()));
    let failed = codes.into_iter().any(|code| !is_orderly(code)) || endpoint::has_error(record);
    Endpoint { name: words.join(" ").trim_start().to_owned(), failed }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(WebSocket {
        options,
        // Masks tell it for sure; who opened a connection that was open before the trace is often a guess.
        client: None,
        extensions: Extensions::Unknown,
        subprotocol: Subprotocol::Unknown,
        lanes: Default::default(),
        pings: [Pending::new(NAME), Pending::new(NAME)],
        closing: None,
    }))
}

/// One connection.
struct WebSocket {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    extensions: Extensions,
    subprotocol: Subprotocol,
    lanes: [Lane; 2],
    /// Pings that wait for their pong, with their payload, by the direction in which they went.
    pings: [Pending<Vec<u8>>; 2],
    /// The first close, while the other side's has not come.
    closing: Option<Half>,
}

/// One direction.
#[derive(Default)]
struct Lane {
    /// The frame under way.
    current: Option<Current>,
    /// The message under way.
    open: Option<Open>,
    inflater: Inflater,
    /// Why the beginning of a message may be missing, until one begins.
    beheaded: Option<Cause>,
    /// Something was lost, or came before the trace.
    lossy: bool,
    /// It said that it is done.
    closed: bool,
    /// How many bytes were held for the search of a boundary, and from how many on it is worth its while again.
    held: usize,
    due: usize,
    /// Whether its last frame was masked.
    masked: Option<bool>,
}

/// A frame whose end has not come.
struct Current {
    header: Header,
    /// Why it is out of place, where it is.
    violation: Option<&'static str>,
    /// What is wrong with its mask. It can be read all the same, and some peers do without on purpose.
    wrong_mask: Option<&'static str>,
    /// Bytes of its payload that passed, or were passed over.
    at: u64,
}

/// A message whose end has not come.
struct Open {
    content: Content,
    compressed: bool,
    /// What is wrong with the mask of one of its frames.
    wrong_mask: Option<&'static str>,
    /// Its frames so far; absent while the first is under way.
    half: Option<Half>,
    fragments: u32,
}

impl Framed for WebSocket {
    fn head(&mut self, input: Input<'_>) -> Head {
        let header = match frame::read(input.data) {
            Read::Header(header) => header,
            Read::Begun => return Head::More("the header of a frame"),
            Read::Bad(length, reason) => return Head::Malformed { length, reason: reason.to_owned() },
        };
        if let Err(reason) = self.extensions.check(&header) {
            return Head::Malformed { length: 1, reason: reason.to_owned() };
        }
        self.begin(input.direction, header);
        // Has its highest bit clear.
        let length = header.length.saturating_add(header.size as u64);
        // Payload of messages is looked at as it passes, so that the context of compression is kept up.
        let keep = if header.opcode.is_control() { length as usize } else { header.size };
        Head::Frame { length, keep }
    }

    fn beyond(&mut self, direction: Direction, at: u64, data: &[u8]) {
        let Lane { current: Some(current), open, inflater, .. } = &mut self.lanes[direction.index()] else {
            return;
        };
        let (None, Some(open)) = (current.violation, open) else { return };
        let at = at.saturating_sub(current.header.size as u64);
        open.content.miss(at.saturating_sub(current.at), inflater);
        open.content.push(data, current.header.mask, at, inflater);
        current.at = at + data.len() as u64;
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let lane = self.lane(frame.direction);
        let current = lane.current.take().ok_or("no header")?;
        let Header { fin, opcode, length, .. } = current.header;
        if let Some(reason) = current.violation {
            return Err(reason.to_owned());
        }
        let more = if fin { "" } else { ", more follows" };
        out.frame(frame.direction, frame.range, format_args!("{} {length} bytes{more}", opcode.name()));
        if opcode.is_control() {
            self.control(frame, &current, out);
        } else {
            self.data(frame, &current, out);
        }
        Ok(())
    }

    fn begin_inside(&mut self, direction: Direction) {
        let lane = self.lane(direction);
        lane.lossy = true;
        lane.beheaded = Some(Cause::BeforeAttach);
        lane.inflater.forget("what it refers to came before the trace");
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        let client = self.client;
        let lane = &mut self.lanes[direction.index()];
        // A long wait for a frame's end is not to cost more with each packet.
        if data.len() > SEARCH_ALWAYS && (lane.held..lane.due).contains(&data.len()) {
            return Resync::Skip(0);
        }
        let masked = lane.masked.or(client.map(|client| client == direction));
        let found = detect::boundary(data, masked, &self.extensions, at_event);
        // What is shorter than that is an event looked at by itself.
        if let Resync::Skip(count) = found
            && data.len() >= lane.held
        {
            lane.held = data.len() - count;
            lane.due = lane.held + lane.held / 4;
        }
        found
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        self.end_message(direction, Some(cause), out);
        let lane = self.lane(direction);
        (lane.current, lane.held, lane.due) = (None, 0, 0);
        lane.lossy = true;
        lane.beheaded = Some(cause);
        lane.inflater.forget("what it refers to was lost");
        // Payloads of pings are often the same, so a later pong could be taken for the lost one.
        self.pings[direction.reverse().index()].give_up(Some(cause), out);
    }

    fn take_over(&mut self, agreement: Agreement) {
        self.client = Some(agreement.client);
        self.subprotocol = Subprotocol::of(&agreement);
        let Some(answer) = agreement.answer else { return };
        // What a part of the answer does not say, the part that was lost may have said.
        if answer.causes.is_empty() {
            self.extensions = Extensions::of(&answer);
        }
    }

    fn finish(&mut self, direction: Direction, _: End, _: Timestamp, out: &mut dyn Output) {
        self.end_message(direction, Some(Cause::Incomplete), out);
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.pings.iter_mut().for_each(|pings| pings.give_up(None, out));
        if let Some(half) = self.closing.take() {
            exchange::unanswered(NAME, half, out);
        }
    }
}

impl WebSocket {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction.index()]
    }

    /// A frame begins, and with it perhaps a message.
    fn begin(&mut self, direction: Direction, header: Header) {
        // Only a client masks (RFC 6455, section 5.1).
        let sends = if header.mask.is_some() { direction } else { direction.reverse() };
        let from_client = *self.client.get_or_insert(sends) == direction;
        let violation = self.violation(direction, &header);
        let wrong_mask = match header.mask {
            None if from_client => Some("a frame of the client that is not masked"),
            Some(_) if !from_client => Some("a masked frame of the server"),
            _ => None,
        };
        let (deflates, alone) = (self.extensions.deflates(), self.extensions.forgets(from_client));
        let limit = self.options.max_field;
        let lane = self.lane(direction);
        lane.masked = Some(header.mask.is_some());
        lane.current = Some(Current { header, violation, wrong_mask, at: 0 });
        if header.opcode.is_control() {
            return;
        }
        if violation.is_some() {
            lane.inflater.forget("a message before it is malformed");
        } else if lane.open.is_none() {
            let (opcode, coding) = match header.opcode {
                Opcode::Continuation if deflates => {
                    lane.inflater.forget("what it refers to was lost");
                    (None, Coding::Unknown("its first frame is missing, which says whether it is compressed"))
                }
                Opcode::Continuation => (None, Coding::Plain),
                opcode if !header.rsv1 && !header.rsv23 => (Some(opcode), Coding::Plain),
                opcode if deflates && !header.rsv23 => {
                    lane.inflater.begin(alone);
                    (Some(opcode), Coding::Deflate)
                }
                opcode => (Some(opcode), Coding::Unknown("an extension changes it that is not known")),
            };
            lane.beheaded = None;
            let (content, compressed) = (Content::new(opcode, coding, limit), header.rsv1);
            lane.open = Some(Open { content, compressed, wrong_mask: None, half: None, fragments: 0 });
        }
    }

    /// Why a frame should not be where it is.
    fn violation(&self, direction: Direction, header: &Header) -> Option<&'static str> {
        let lane = &self.lanes[direction.index()];
        match header.opcode {
            _ if lane.closed => Some("a frame behind the close"),
            Opcode::Continuation if lane.open.is_none() && lane.beheaded.is_none() => {
                Some("a continuation of no message")
            }
            Opcode::Text | Opcode::Binary if lane.open.is_some() => {
                Some("a new message between the fragments of another")
            }
            _ => None,
        }
    }

    /// A frame of a message is there.
    fn data(&mut self, frame: &Frame<'_>, current: &Current, out: &mut dyn Output) {
        let Lane { open: Some(open), inflater, .. } = &mut self.lanes[frame.direction.index()] else {
            return;
        };
        open.content.miss(missing(current), inflater);
        open.fragments = open.fragments.saturating_add(1);
        open.wrong_mask = open.wrong_mask.or(current.wrong_mask);
        match &mut open.half {
            Some(half) => half.extend(frame.range, frame.times[1], &frame.causes),
            None => {
                let mut half = Half::new(frame.direction, frame.range, frame.times, "", Vec::new());
                frame.causes.iter().for_each(|&cause| half.add_cause(cause));
                open.half = Some(half);
            }
        }
        if current.header.fin {
            self.end_message(frame.direction, None, out);
        }
    }

    /// The message under way is as whole as it will be. `cut`: why its last frame did not come.
    fn end_message(&mut self, direction: Direction, cut: Option<Cause>, out: &mut dyn Output) {
        let Lane { open, inflater, .. } = &mut self.lanes[direction.index()];
        let Some(Open { content, compressed, wrong_mask, half: Some(mut half), fragments }) = open.take()
        else {
            return;
        };
        if content.opcode.is_none() {
            // Its beginning is missing, and nobody knows how much that is.
            half.add_cause(Cause::Incomplete);
        }
        cut.into_iter().for_each(|cause| half.add_cause(cause));
        let facts = show::Facts {
            opcode: content.opcode,
            length: content.length,
            fragments,
            subprotocol: self.subprotocol.named(),
            extension: compressed.then(|| self.extensions.named()),
            wrong_mask,
        };
        let ended = content.end(cut.is_none(), inflater);
        show::message(&mut half, facts, ended);
        exchange::lone(NAME, half, self.client == Some(direction), out);
    }

    /// A whole control frame is there, or as far as it came.
    fn control(&mut self, frame: &Frame<'_>, current: &Current, out: &mut dyn Output) {
        let header = &current.header;
        let direction = frame.direction;
        let mut payload = frame.data.get(header.size..).unwrap_or_default().to_vec();
        frame::unmask(&mut payload, header.mask, 0);
        let half = show::control(frame, current, &payload, self.options.max_field);
        let from_client = self.client == Some(direction);
        match header.opcode {
            // Without its payload nobody can tell what is its pong.
            Opcode::Ping | Opcode::Pong if frame.is_cut() => exchange::lone(NAME, half, from_client, out),
            Opcode::Ping => self.pings[direction.index()].push(payload, half, out),
            Opcode::Pong => self.pong(&payload, half, from_client, out),
            _ => self.closed(half, out),
        }
    }

    /// A pong answers the ping with its payload; those before it may go without (RFC 6455, section 5.5.3).
    fn pong(&mut self, payload: &[u8], half: Half, from_client: bool, out: &mut dyn Output) {
        let direction = half.message.direction;
        let pings = &mut self.pings[direction.reverse().index()];
        if pings.keys().any(|of| of == payload) {
            while let Some((of, ping)) = pings.pop() {
                if of == payload {
                    return exchange::pair(NAME, ping, half, out);
                }
                exchange::unanswered(NAME, ping, out);
            }
        }
        // Unasked it is a heartbeat, where no ping can have been missed.
        match self.lanes.iter().any(|lane| lane.lossy) {
            true => exchange::unasked(NAME, half, out),
            false => exchange::lone(NAME, half, from_client, out),
        }
    }

    fn closed(&mut self, half: Half, out: &mut dyn Output) {
        self.lane(half.message.direction).closed = true;
        match self.closing.take() {
            Some(first) => exchange::pair(NAME, first, half, out),
            None => self.closing = Some(half),
        }
    }
}

/// Bytes at the end of a frame's payload that are missing: those in a gap, and those that were never sent.
fn missing(current: &Current) -> u64 {
    current.header.length.saturating_sub(current.at)
}
