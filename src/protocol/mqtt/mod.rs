//! MQTT 5.0 (<https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html>), 3.1.1
//! (<https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/mqtt-v3.1.1.html>) and 3.1 before it, over TCP and Unix sockets.
//!
//! This file leads one connection through its packets and finds out what belongs together; [`head`] reads fixed headers,
//! [`packet`] says what packets mean, of [`values`], [`properties`] and [`reason`] codes; [`detect`] knows the protocol by
//! its content.
//!
//! A packet that is answered is paired with its answer by the packet identifier, for each side by itself: PUBLISH with
//! PUBACK or PUBREC, PUBREL with PUBCOMP, SUBSCRIBE with SUBACK, UNSUBSCRIBE with UNSUBACK. CONNECT with CONNACK, and
//! PINGREQ with PINGRESP, by their order. Everything else is a record by itself.
//!
//! The version is what CONNECT says. In a connection that was open before, it is learned from packets that only one
//! version has; until then, what depends on it says `unknown`.
//!
//! Left out: MQTT within WebSocket, and MQTT-SN.

mod detect;
mod head;
mod packet;
mod properties;
mod reason;
#[cfg(test)]
mod tests;
mod values;

use super::exchange::{self, Half, Pending};
use super::framed::{Driver, Frame, Framed, Head as Begun, KEEP_MAX};
use super::{End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Record, Value};
use head::{HEAD_MAX, Head, Kind, Not, Side, Version};
use packet::{Context, Packet};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The name in records, filters and traces.
const NAME: &str = "mqtt";

/// How many bytes of the properties of a PUBLISH are looked at, where it is too long to be kept.
const PROPERTIES_MAX: usize = 64 << 10;

/// The longest topic.
const TOPIC_MAX: usize = 2 + u16::MAX as usize;

/// How many bytes of topics are kept for their aliases, of each direction.
const ALIASES_MAX: usize = 1 << 20;

/// How many bytes are kept of a call that may have begun with a packet.
const BEGUN_MAX: usize = 64;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &["PINGREQ"],
};

/// The packet that asks, with the topic or the first topic filter.
fn endpoint(record: &Record) -> Endpoint {
    let text = |name| endpoint::asked(record, name).or_else(|| endpoint::answered(record, name));
    let filters = record.messages().find_map(|message| message.field("topic_filters"));
    let filter = match filters {
        Some(Value::List(filters)) => match filters.first() {
            Some(Value::Bytes(filter)) => Some(String::from_utf8_lossy(filter)),
            _ => None,
        },
        _ => None,
    };
    let topic = text("topic").or(filter).map_or(Cow::Borrowed(""), |topic| endpoint::topic(&topic).into());
    let packet = text("packet").unwrap_or_default();
    Endpoint { name: format!("{packet} {topic}").trim_end().to_owned(), failed: endpoint::has_error(record) }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Mqtt {
        options,
        client: options.client(),
        version: Known::No,
        calls: Pending::new(NAME),
        aliases: Default::default(),
        begun: Default::default(),
    }))
}

/// How well the version is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    No,
    /// From packets that only this one has.
    Learned(Version),
    /// From CONNECT.
    Said(Version),
}

/// By what a packet is found again that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    direction: Direction,
    /// What it is. PUBLISH is answered by its QoS.
    kind: Kind,
    qos: u8,
    /// Absent of what is answered by its order.
    identifier: Option<u16>,
}

/// Topics by what stands for them.
#[derive(Debug, Default)]
struct Aliases {
    topics: BTreeMap<u16, Vec<u8>>,
    bytes: usize,
}

impl Aliases {
    /// False where there is no room: the alias is unknown then.
    fn set(&mut self, alias: u16, topic: Vec<u8>) -> bool {
        self.bytes -= self.topics.remove(&alias).map_or(0, |before| before.len());
        let has_room = self.bytes + topic.len() <= ALIASES_MAX;
        if has_room {
            self.bytes += topic.len();
            self.topics.insert(alias, topic);
        }
        has_room
    }
}

/// One connection.
struct Mqtt {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    version: Known,
    calls: Pending<Call>,
    /// By the direction in which they are used.
    aliases: [Aliases; 2],
    /// With what a call began that may be the beginning of a packet, while one is looked for, by direction. Brokers read
    /// the fixed header byte by byte, and all of that begins where a call did.
    begun: [Vec<u8>; 2],
}

impl Framed for Mqtt {
    fn head(&mut self, input: Input<'_>) -> Begun {
        match head::head(input.data, self.said()) {
            Ok(head) => {
                let most = match head.kind {
                    Kind::Publish => HEAD_MAX + TOPIC_MAX + 2 + 4 + PROPERTIES_MAX + self.options.max_field,
                    _ => KEEP_MAX,
                };
                let length = head.length();
                Begun::Frame { length, keep: usize::try_from(length).unwrap_or(usize::MAX).min(most) }
            }
            Err(Not::Yet) => Begun::More("the rest of a fixed header"),
            Err(Not::Ever(length, wrong)) => Begun::Malformed { length, reason: wrong.to_string() },
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let head = head::head(frame.data, self.said()).map_err(|_| "a fixed header that gaps cut")?;
        let (packet, learned) = self
            .read(head, &frame.data[head.size..], frame)
            .map_err(|reason| format!("{}: {reason}", head.kind.name()))?;
        let name = head.kind.name();
        out.frame(frame.direction, frame.range, format_args!("{name} {}", head.length()));
        if let Some(version) = learned {
            self.version = Known::Learned(version);
            out.step("version", format_args!("{name} tells that this is MQTT {}", version.name()));
        }
        self.message(packet, frame, out);
        Ok(())
    }

    fn begin_inside(&mut self, _: Direction) {
        self.version = Known::No;
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        let side = self.client.map(|client| if client == direction { Side::Client } else { Side::Server });
        let said = self.said();
        let begun = &mut self.begun[direction.index()];
        let goes_on = !begun.is_empty() && data.starts_with(begun);
        let answer = detect::boundary(side, said, data, at_event || goes_on);
        match answer {
            Resync::Skip(0) if at_event && begun.is_empty() && data.len() <= BEGUN_MAX => {
                begun.extend_from_slice(data);
            }
            Resync::Skip(0) => {}
            // A call that begins with no packet says nothing of what the calls before began with.
            Resync::Skip(_) if at_event => {}
            Resync::Found(_) | Resync::Skip(_) => begun.clear(),
        }
        answer
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        // An alias may stand for another topic now. Identifiers tell by themselves what is answered; what is paired by
        // its order can't be any more.
        self.aliases[direction.index()] = Aliases::default();
        self.begun[direction.index()].clear();
        // A connection has one CONNECT, whatever the client said behind it.
        let is_lost = |call: &Call| {
            call.identifier.is_none() && (call.kind, call.direction) != (Kind::Connect, direction)
        };
        while let Some((_, request)) = self.calls.take_if(is_lost) {
            exchange::unanswered_because(NAME, request, Some(cause), out);
        }
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.calls.give_up(None, out);
    }
}

impl Mqtt {
    /// The version, where CONNECT said it.
    fn said(&self) -> Option<Version> {
        match self.version {
            Known::Said(version) => Some(version),
            Known::Learned(_) | Known::No => None,
        }
    }

    fn is_client(&self, direction: Direction) -> bool {
        self.client.is_none_or(|client| client == direction)
    }

    /// Reads a packet in the version that is known, else in the only one that it can be of, which is given then.
    fn read(
        &self,
        head: Head,
        body: &[u8],
        frame: &Frame<'_>,
    ) -> Result<(Packet, Option<Version>), &'static str> {
        let aliases = &self.aliases[frame.direction.index()].topics;
        let topic_of = |alias: u16| aliases.get(&alias).map(Vec::as_slice);
        let read = |version| {
            let context = Context { version, options: self.options, topic_of: &topic_of };
            packet::read(head, body, frame.is_all(), &context)
        };
        if head.kind == Kind::Connect {
            return read(None).map(|packet| (packet, None));
        }
        match self.version {
            Known::Said(version) => return read(Some(version)).map(|packet| (packet, None)),
            Known::Learned(version) if head.is_of(version) => {
                if let Ok(packet) = read(Some(version)) {
                    return Ok((packet, None));
                }
            }
            _ => {}
        }
        let readings = [Version::V311, Version::V5].map(|version| match head.is_of(version) {
            true => read(Some(version)).map(|packet| (packet, Some(version))),
            false => Err("a remaining length of another version"),
        });
        match readings {
            [Ok((old, _)), Ok((new, _))] if old == new => Ok((old, None)),
            [Ok(_), Ok(_)] => read(None).map(|packet| (packet, None)),
            [Ok(one), Err(_)] | [Err(_), Ok(one)] => Ok(one),
            [Err(_), Err(reason)] => Err(reason),
        }
    }

    fn message(&mut self, mut packet: Packet, frame: &Frame<'_>, out: &mut dyn Output) {
        let direction = frame.direction;
        // Surer than the role, which is a guess where the beginning was not seen.
        match packet.kind.sender() {
            Some(Side::Client) => self.client = Some(direction),
            Some(Side::Server) => self.client = Some(direction.reverse()),
            None => {}
        }
        let fields = std::mem::take(&mut packet.fields);
        let summary = std::mem::take(&mut packet.summary);
        let mut half = Half::new(direction, frame.range, frame.times, summary, fields);
        frame.causes.iter().for_each(|&cause| half.add_cause(cause));
        if packet.is_cut && !frame.is_cut() {
            half.add_cause(Cause::FieldTruncated);
        }
        if packet.is_unsupported {
            half.add_cause(Cause::Unsupported);
        }
        if let (Some(alias), Some(topic)) = (packet.alias, &packet.topic)
            && packet.kind == Kind::Publish
            && !topic.is_empty()
            && !self.aliases[direction.index()].set(alias, topic.clone())
        {
            out.step("limit", format_args!("no room for the topic of alias {alias}"));
        }
        let identifier = packet.identifier;
        let asked = |kind, qos| Call { direction: direction.reverse(), kind, qos, identifier };
        let call = Call { direction, kind: packet.kind, qos: packet.qos, identifier };
        match packet.kind {
            Kind::Connect => {
                self.version = packet.version.map_or(Known::No, Known::Said);
                self.aliases = Default::default();
                self.calls.push(call, half, out);
            }
            Kind::Pingreq => self.calls.push(call, half, out),
            Kind::Subscribe | Kind::Unsubscribe | Kind::Pubrel => self.ask(call, false, half, out),
            Kind::Publish if packet.qos > 0 => self.ask(call, packet.is_again, half, out),
            Kind::Connack => self.answer(asked(Kind::Connect, 0), half, out),
            Kind::Pingresp => self.answer(asked(Kind::Pingreq, 0), half, out),
            // A gap has the identifier.
            Kind::Suback | Kind::Unsuback | Kind::Puback | Kind::Pubrec | Kind::Pubcomp
                if identifier.is_none() =>
            {
                exchange::unasked(NAME, half, out);
            }
            Kind::Suback => self.answer(asked(Kind::Subscribe, 0), half, out),
            Kind::Unsuback => self.answer(asked(Kind::Unsubscribe, 0), half, out),
            Kind::Puback => self.answer(asked(Kind::Publish, 1), half, out),
            Kind::Pubrec => self.answer(asked(Kind::Publish, 2), half, out),
            Kind::Pubcomp => self.answer(asked(Kind::Pubrel, 0), half, out),
            Kind::Publish | Kind::Disconnect | Kind::Auth => {
                exchange::lone(NAME, half, self.is_client(direction), out);
            }
        }
    }

    /// A packet with an identifier waits for its answer. One that waits with the same identifier, and is not just sent
    /// again, got its answer without being seen: identifiers are not used twice at a time.
    fn ask(&mut self, call: Call, is_again: bool, half: Half, out: &mut dyn Output) {
        let is_same = |other: &Call| {
            let is_release = |call: &Call| call.kind == Kind::Pubrel;
            (other.direction, other.identifier) == (call.direction, call.identifier)
                && is_release(other) == is_release(&call)
        };
        if call.identifier.is_none() {
            // A gap has it.
            return exchange::unanswered(NAME, half, out);
        }
        if !is_again && let Some((_, before)) = self.calls.take_if(is_same) {
            exchange::unanswered(NAME, before, out);
        }
        self.calls.push(call, half, out);
    }

    fn answer(&mut self, asked: Call, half: Half, out: &mut dyn Output) {
        match self.calls.take(&asked) {
            Some(request) => exchange::pair(NAME, request, half, out),
            None => exchange::unasked(NAME, half, out),
        }
    }
}
