//! DNS: in datagrams and streams (RFC 1035, RFC 7766), with EDNS (RFC 6891), updates (RFC 2136), notifications (RFC 1996),
//! zone transfers (RFC 5936, RFC 1995), and its kin for the local network: mDNS (RFC 6762) and LLMNR (RFC 4795).
//!
//! This file leads one connection through its messages; [`detect`] knows the protocol by its content, [`message`] and
//! [`name`] read it, [`data`], [`edns`] and [`show`] say what it means, with the names of [`tables`]; [`pairing`] finds out
//! what belongs together, [`transfer`] where the answer with a whole zone ends.
//!
//! Which end is the client makes no difference: a message itself says whether it asks or answers, and servers ask each
//! other. Left out: what is encrypted (DNS over TLS, HTTPS and QUIC), and the contents of stateful operations (RFC 8490).

mod data;
mod detect;
mod edns;
mod message;
mod name;
mod pairing;
mod show;
mod tables;
#[cfg(test)]
mod tests;
mod transfer;

use super::exchange::Half;
use super::framed::{Driver, Frame, Framed, Head};
use super::{Datagram, End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Address, Cause, Direction, Range, Timestamp};
use crate::record::Record;
use message::{Ending, HEADER, Header, Message};
use pairing::{Pairing, Told};

/// The name in records, filters and traces.
const NAME: &str = "dns";

/// Where DNS is spoken.
const PORT: u16 = 53;

/// Where mDNS is spoken (RFC 6762, section 3).
const MDNS_PORT: u16 = 5353;

/// Where LLMNR is spoken (RFC 4795, section 2).
const LLMNR_PORT: u16 = 5355;

/// Bytes of the length before each message of a stream (RFC 1035, section 4.2.2).
const LENGTH: usize = 2;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: Some(detect::datagram),
    endpoint,
    keep_alives: &[],
};

/// A question by its type and name; failed with any code of response but NOERROR.
fn endpoint(record: &Record) -> Endpoint {
    let text = |name| endpoint::asked(record, name).or_else(|| endpoint::answered(record, name));
    let failed = endpoint::answered(record, "rcode").is_some_and(|rcode| rcode != "NOERROR");
    let Some(name) = text("qname") else {
        return Endpoint { failed, ..endpoint::of_summary(record) };
    };
    let kind = match text("opcode").as_deref() {
        Some("QUERY") | None => text("qtype").unwrap_or_default(),
        Some(opcode) => opcode.to_owned().into(),
    };
    Endpoint { name: endpoint::shortened(&format!("{kind} {name}")), failed }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Dns { options, pairing: Pairing::default() }))
}

/// A kin of DNS with the same messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Mdns,
    Llmnr,
}

impl Variant {
    fn of(datagram: &Datagram<'_>) -> Option<Variant> {
        match datagram {
            _ if is_at(datagram, PORT) => None,
            _ if is_at(datagram, MDNS_PORT) => Some(Variant::Mdns),
            _ if is_at(datagram, LLMNR_PORT) => Some(Variant::Llmnr),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Variant::Mdns => "mDNS",
            Variant::Llmnr => "LLMNR",
        }
    }
}

/// True where one of the ends is at this port.
fn is_at(datagram: &Datagram<'_>, port: u16) -> bool {
    let ends = [datagram.local, datagram.peer].into_iter().flatten();
    ends.filter_map(Address::ip).any(|end| end.port() == port)
}

/// One connection, or one socket of datagrams.
struct Dns {
    options: Options,
    pairing: Pairing,
}

/// Where a message came from.
struct Place<'a> {
    direction: Direction,
    range: Range,
    times: [Timestamp; 2],
    /// Why bytes of it are missing.
    causes: &'a [Cause],
    peer: Option<Address>,
    variant: Option<Variant>,
}

impl Framed for Dns {
    fn head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        let Some(length) = data.first_chunk().map(|head| usize::from(u16::from_be_bytes(*head))) else {
            return Head::More("the length of a message");
        };
        let rest = &data[LENGTH..];
        if rest.len() < HEADER.min(length) {
            return Head::More("the header of a message");
        }
        match Header::read(rest) {
            Some(header) if length >= HEADER && header.is_plausible(length) => {}
            _ => {
                let reason = "no length and header of a message".to_owned();
                return Head::Malformed {
                    length: data.len().min(LENGTH + HEADER.min(length)).max(1),
                    reason,
                };
            }
        }
        Head::Frame { length: (LENGTH + length) as u64, keep: LENGTH + length }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let data = frame.data.get(LENGTH..).unwrap_or_default();
        let place = Place {
            direction: frame.direction,
            range: frame.range,
            times: frame.times,
            causes: &frame.causes,
            peer: None,
            variant: None,
        };
        self.message(data, frame.length as usize - LENGTH, &place, out)
    }

    fn datagram(&mut self, datagram: Datagram<'_>, out: &mut dyn Output) {
        self.pairing.is_datagrams = true;
        let place = Place {
            direction: datagram.direction,
            range: datagram.range,
            times: [datagram.time; 2],
            causes: datagram.cause.as_slice(),
            peer: datagram.peer,
            variant: Variant::of(&datagram),
        };
        let length = datagram.range.len() as usize;
        if let Err(reason) = self.message(datagram.data, length, &place, out) {
            let (captured, cause) = (datagram.captured(), Cause::ParseError);
            out.skip(datagram.direction, captured, cause, format_args!("{reason}"));
        }
    }

    fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
        detect::boundary(data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, _: &mut dyn Output) {
        self.pairing.lost(direction, cause);
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.pairing.close(out);
    }
}

impl Dns {
    /// Takes a message of `length` bytes, of which `data` are at hand.
    ///
    /// # Errors
    /// Not even its header and first question can be read.
    fn message(
        &mut self,
        data: &[u8],
        length: usize,
        place: &Place<'_>,
        out: &mut dyn Output,
    ) -> Result<(), String> {
        let message = Message::read(data, length).ok_or("shorter than a header")?;
        if let Ending::Malformed(reason) = &message.ending
            && message.questions.is_empty()
            && message.records.is_empty()
        {
            return Err(reason.clone());
        }
        let kind = if message.header.is_response() { "response" } else { "query" };
        let Place { direction, range, .. } = *place;
        out.frame(direction, range, format_args!("{kind} {:#06x} {length} bytes", message.header.id));
        let mut shown = show::show(&message, place.variant, self.options);
        let fields = std::mem::take(&mut shown.fields);
        let mut half = Half::new(direction, range, place.times, String::new(), fields);
        place.causes.iter().chain(&shown.causes).for_each(|&cause| half.add_cause(cause));
        self.pairing.take(Told { half, shown, variant: place.variant }, &message, place.peer, out);
        Ok(())
    }
}
