//! Mux: the session protocol of Finagle, which ThriftMux is spoken over (the documentation of
//! `com.twitter.finagle.mux`; the numbers of messages: `Message.scala` of finagle-mux).
//!
//! This file leads one connection through its messages and finds out what belongs together; [`message`] takes messages
//! apart, [`show`] says what they mean, [`detect`] knows the protocol by its content.
//!
//! Both sides may ask. A T message is paired with the R message, or the Rerr, of the same tag in the other direction.
//! Tdiscarded and Tlease are markers, to which no answer comes. A message in fragments is put together by its tag; other
//! messages may lie between them.

mod detect;
mod message;
mod show;
#[cfg(test)]
mod tests;

use super::exchange::{self, Half, Pending};
use super::framed::{Driver, Frame, Framed, Head, KEEP_MAX};
use super::{End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::Record;
use message::{Body, CAN_TINIT, HEADER, Header, Kind};
use std::collections::VecDeque;

/// The name in records, filters and traces.
const NAME: &str = "mux";

/// How many bytes of a message are looked at besides those of its body that are shown: contexts and delegations have up
/// to 64 KiB each.
const LOOKED_AT: usize = 256 << 10;

/// How many messages of one direction may wait for their next fragment.
const PARTIALS_MAX: usize = 64;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &["Tping"],
};

/// A message by its type, destination and method; failed where the status is ERROR or NACK, or the answer is Rerr.
fn endpoint(record: &Record) -> Endpoint {
    let answered = |name| endpoint::answered(record, name);
    let failed = answered("type").is_some_and(|kind| kind == "Rerr")
        || answered("status").is_some_and(|status| status != "OK");
    Endpoint { failed, ..endpoint::of_summary(record) }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Mux {
        options,
        requests: [Pending::new(NAME), Pending::new(NAME)],
        partials: [VecDeque::new(), VecDeque::new()],
        lost: [None, None],
        greeted: false,
    }))
}

/// A message of which more fragments come.
struct Partial {
    header: Header,
    /// Ranges, times and causes of the fragments so far.
    half: Half,
    body: Vec<u8>,
    /// How many bytes of the body came, also of those that are not kept.
    size: u64,
}

/// One connection.
struct Mux {
    options: Options,
    /// T messages that wait for their answers, by the direction in which they went and their tag.
    requests: [Pending<u32>; 2],
    partials: [VecDeque<Partial>; 2],
    /// Why messages of a direction may be missing.
    lost: [Option<Cause>; 2],
    /// Rinit was seen: what was agreed on begins behind it.
    greeted: bool,
}

impl Framed for Mux {
    fn head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        // A TLS record with a handshake (RFC 8446, section 5.1), where both sides wanted one in Tinit and Rinit.
        match data {
            [0x16, 3, ..] if self.greeted => return Head::Switched("TLS".to_owned()),
            [0x16] if self.greeted => return Head::More("what begins behind Rinit"),
            _ => {}
        }
        if !Header::is_possible(data) {
            let reason = "no header of a message".to_owned();
            return Head::Malformed { length: data.len().min(HEADER), reason };
        }
        match Header::read(data) {
            Some(header) => Head::Frame { length: header.whole, keep: self.most() },
            None => Head::More("the header of a message"),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let header = Header::read(frame.data).ok_or("no header of a message")?;
        let bytes = frame.data.get(HEADER..).unwrap_or_default();
        let size = header.whole - HEADER as u64;
        if !header.is_fragment && frame.is_all() && !self.is_begun(frame.direction, header.tag) {
            // Refused before it is taken for a frame.
            let (_, is_read) = message::body(header.kind, bytes);
            if !is_read {
                return Err(format!("{} ends before its content does", header.kind.name()));
            }
        }
        let part = if header.is_fragment { " fragment" } else { "" };
        out.frame(frame.direction, frame.range, format_args!("{}{part} {}", header.kind.name(), header.tag));
        let mut half = Half::new(frame.direction, frame.range, frame.times, "", Vec::new());
        frame.causes.iter().for_each(|&cause| half.add_cause(cause));
        self.part(Partial { header, half, body: bytes.to_vec(), size }, out);
        Ok(())
    }

    fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
        detect::boundary(data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        // Tags tell by themselves what belongs together, but a fragment in between may be among what is missing.
        self.end_partials(direction, cause, out);
        self.lost[direction.index()] = Some(cause);
    }

    fn finish(&mut self, direction: Direction, _: End, _: Timestamp, out: &mut dyn Output) {
        self.end_partials(direction, Cause::Incomplete, out);
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        for direction in Direction::BOTH {
            let cause = self.lost[direction.reverse().index()];
            self.requests[direction.index()].give_up(cause, out);
        }
    }
}

impl Mux {
    /// How many bytes of one message are kept.
    fn most(&self) -> usize {
        LOOKED_AT.saturating_add(self.options.max_field).min(KEEP_MAX)
    }

    /// Whether fragments of a message with this tag came.
    fn is_begun(&self, direction: Direction, tag: u32) -> bool {
        self.partials[direction.index()].iter().any(|partial| partial.header.tag == tag)
    }

    /// A frame: a whole message, a fragment, or what ends a message in fragments.
    fn part(&mut self, part: Partial, out: &mut dyn Output) {
        let most = self.most();
        let slot = part.half.message.direction.index();
        let partials = &mut self.partials[slot];
        let begun = partials.iter().position(|partial| partial.header.tag == part.header.tag);
        let is_end = !part.header.is_fragment;
        let Some(mut whole) = begun.and_then(|at| partials.remove(at)) else {
            if is_end {
                return self.message(part, out);
            }
            return self.keep(slot, part, out);
        };
        if part.header.kind != whole.header.kind {
            // The sender gave up in the middle (Tdiscarded, Rerr), or uses the tag anew.
            whole.half.add_cause(Cause::Incomplete);
            self.message(whole, out);
            return self.part(part, out);
        }
        // Behind a gap what follows is not the beginning any more.
        let is_whole = whole.half.message.causes.is_empty() && whole.body.len() as u64 == whole.size;
        let room = if is_whole { most.saturating_sub(whole.body.len()) } else { 0 };
        whole.body.extend_from_slice(&part.body[..part.body.len().min(room)]);
        whole.size += part.size;
        let message = &part.half.message;
        whole.half.extend(message.range, message.ended, &message.causes);
        if is_end { self.message(whole, out) } else { self.keep(slot, whole, out) }
    }

    /// Waits for the next fragment. At the bound the oldest message is given up.
    fn keep(&mut self, slot: usize, partial: Partial, out: &mut dyn Output) {
        if self.partials[slot].len() >= PARTIALS_MAX
            && let Some(mut oldest) = self.partials[slot].pop_front()
        {
            oldest.half.add_cause(Cause::Limit);
            oldest.half.add_cause(Cause::Incomplete);
            self.message(oldest, out);
        }
        self.partials[slot].push_back(partial);
    }

    fn end_partials(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        for mut partial in std::mem::take(&mut self.partials[direction.index()]) {
            partial.half.add_cause(cause);
            self.message(partial, out);
        }
    }

    /// A message, whole or as far as it came.
    fn message(&mut self, message: Partial, out: &mut dyn Output) {
        let Partial { header, mut half, body: bytes, size } = message;
        let (body, is_read) = message::body(header.kind, &bytes);
        let kept = bytes.len() as u64;
        let shown = show::show(&header, &body, size.max(kept), kept, self.options);
        let is_whole = half.message.causes.is_empty();
        if !is_read && is_whole {
            half.add_cause(if kept < size { Cause::FieldTruncated } else { Cause::ParseError });
        }
        if body.is_limited {
            half.add_cause(Cause::Limit);
        }
        if shown.is_cut && is_whole {
            half.add_cause(Cause::FieldTruncated);
        }
        half.summary = shown.summary;
        half.message.fields = shown.fields;
        self.pair(&header, &body, half, out);
    }

    fn pair(&mut self, header: &Header, body: &Body<'_>, half: Half, out: &mut dyn Output) {
        let direction = half.message.direction;
        let tag = header.tag;
        let from_client = header.kind.is_of_client().unwrap_or(true);
        if matches!(header.kind, Kind::Tdiscarded | Kind::Tlease) {
            return exchange::lone(NAME, half, from_client, out);
        }
        if header.kind.is_t() {
            return self.ask(tag, half, out);
        }
        match self.requests[direction.reverse().index()].take(&tag) {
            Some(request) => exchange::pair(NAME, request, half, out),
            // An Rerr that answers nothing asks whether Tinit is known.
            None if header.kind == Kind::Rerr && body.rest == CAN_TINIT => self.ask(tag, half, out),
            None => exchange::unasked(NAME, half, out),
        }
        if header.kind == Kind::Rinit {
            // A new session: tags of the one before have no meaning any more.
            self.greeted = true;
            self.requests.iter_mut().for_each(|requests| requests.give_up(None, out));
        } else {
            self.greeted = false;
        }
    }

    fn ask(&mut self, tag: u32, half: Half, out: &mut dyn Output) {
        let direction = half.message.direction;
        let requests = &mut self.requests[direction.index()];
        // A tag is free again once its answer came: it was lost.
        if let Some(older) = requests.take(&tag) {
            exchange::unanswered_because(NAME, older, self.lost[direction.reverse().index()], out);
        }
        if self.requests[direction.index()].is_empty() {
            // What was lost before can't be the answer to this.
            self.lost[direction.reverse().index()] = None;
        }
        self.requests[direction.index()].push(tag, half, out);
    }
}
