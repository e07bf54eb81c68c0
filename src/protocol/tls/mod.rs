//! TLS over TCP, as far as it is in the clear: TLS 1.0 to 1.3 (RFC 2246, 4346, 5246, 8446), SSL 3 (RFC 6101), and the
//! beginning of SSL 2.
//!
//! This file leads one connection through its records; [`mod@record`] knows their headers, [`handshake`] puts messages
//! together, [`hello`] reads the two that negotiate, [`show`] and [`certificate`] say what is in them, [`fingerprint`]
//! makes JA3 and JA4, [`session`] makes records of it all, [`ssl2`] is what older clients begin with, [`detect`] knows
//! the protocol by its content. Names of numbers are in [`names`] and [`suites`].
//!
//! A frame is one record of the record layer. A record is one handshake: what the client sent, from its hello on, with
//! what the server did, as far as it is not encrypted, and the alert with which one of them gave up. All that is sent
//! under protection makes one record more, at the connection's end. Of TLS 1.3 everything behind the ServerHello is under
//! protection.
//!
//! Left out: DTLS and QUIC; and nothing is decrypted.

mod certificate;
mod detect;
mod fingerprint;
mod handshake;
mod hello;
mod names;
mod record;
mod session;
mod show;
mod ssl2;
mod suites;
#[cfg(test)]
mod tests;

use super::cursor::Cursor;
use super::exchange::{self, Half};
use super::framed::{Driver, Frame, Framed, Head};
use super::{Agreement, End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Field, Record, Value};
use handshake::{Assembler, Message};
use hello::{Hello, extension};
use record::{Content, HEADER};
use session::{Handshake, Protected, Side};

/// The name in records, filters and traces.
const NAME: &str = "tls";

/// How many certificates of one chain are read. The others are counted.
const CHAIN_MAX: usize = 16;

/// The least bytes of a record with Finished: a header, and a message of 4 and 12 bytes, or of a hash, under protection.
const FINISHED_MIN: u64 = HEADER as u64 + 16;

/// The most bytes of its payload: with an initialization vector, a hash of 48 bytes and padding.
const FINISHED_MAX: u16 = 128;

/// Bytes of a record with ChangeCipherSpec.
const CHANGE_CIPHER: u64 = HEADER as u64 + 1;

/// The table's row.
pub static PROTOCOL: Protocol =
    Protocol { name: NAME, detect: detect::detect, parser, datagrams: None, endpoint, keep_alives: &[] };

/// What was agreed on; failed with a fatal alert.
fn endpoint(record: &Record) -> Endpoint {
    let failed = endpoint::any_field(record, |name, value| match value {
        Value::Text(text) => name == "alerts" && text.starts_with("fatal"),
        _ => false,
    });
    Endpoint { failed, ..endpoint::of_summary(record) }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Tls {
        client: options.client(),
        lanes: Default::default(),
        version: None,
        spoken: None,
        handshake: None,
        is_seen: false,
        is_ssl2: false,
    }))
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// Something of it was read.
    begun: bool,
    /// The message under way.
    assembler: Assembler,
    /// What is sent from here on is encrypted: of TLS 1.2 and before.
    encrypted: bool,
    /// Records were lost, or came before the trace: whether it is encrypted is not known.
    uncertain: bool,
    protected: Protected,
    /// Why bytes before the next record are missing: what they were shows by that.
    lost: Vec<Cause>,
    /// Offset after the last record.
    end: u64,
}

impl Lane {
    /// How many bytes are missing before this record.
    fn missing(&self, frame: &Frame<'_>) -> u64 {
        if self.lost.is_empty() { 0 } else { frame.range.from.saturating_sub(self.end) }
    }
}

/// One connection.
struct Tls {
    /// The client's direction, once known.
    client: Option<Direction>,
    lanes: [Lane; 2],
    /// The version agreed on.
    version: Option<u16>,
    /// That of the last record with application data.
    spoken: Option<u16>,
    /// The one under way.
    handshake: Option<Handshake>,
    /// A handshake was seen, whole or not.
    is_seen: bool,
    /// Both sides stay with SSL 2.
    is_ssl2: bool,
}

impl Framed for Tls {
    fn head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        let lane = &self.lanes[input.direction.index()];
        if self.is_ssl2 {
            return match ssl2::record(data) {
                Some(length) => Head::Frame { length, keep: 3 },
                None => Head::More("the header of a record"),
            };
        }
        match record::header(data) {
            Ok(Some(header)) => {
                let length = usize::from(header.length);
                let wanted = match header.content {
                    Content::Handshake if !lane.encrypted || self.handshake.is_some() => length,
                    Content::Handshake | Content::Alert => length.min(4),
                    Content::ChangeCipherSpec => length.min(1),
                    Content::ApplicationData | Content::Heartbeat => 0,
                };
                Head::Frame { length: (HEADER + length) as u64, keep: HEADER + wanted }
            }
            Ok(None) => Head::More("the header of a record"),
            Err(reason) if !lane.begun => self.first(data, reason),
            Err(reason) => malformed(data, reason),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        self.lanes[frame.direction.index()].begun = true;
        let header = match record::header(frame.data) {
            Ok(Some(header)) if !self.is_ssl2 => header,
            _ => return self.ssl2_frame(frame, out),
        };
        let was_finished = self.side(frame.direction).is_some_and(|side| side.finished);
        self.infer_finished(header, frame);
        let what = self.record(header, frame);
        self.place_loss(frame, header.content, was_finished);
        self.lanes[frame.direction.index()].end = frame.range.to;
        let (version, length) = (names::version(header.version), header.length);
        let (direction, range, name) = (frame.direction, frame.range, header.content.name());
        let what = format_args!("{name} {version} {length}{what}");
        if header.content == Content::Handshake {
            out.frame(direction, range, what);
        } else {
            out.frame_aside(direction, range, what);
        }
        if header.content == Content::Alert {
            self.tell_stray_alert(frame, out);
        }
        self.settle(out);
        Ok(())
    }

    fn begin_inside(&mut self, direction: Direction) {
        let lane = &mut self.lanes[direction.index()];
        (lane.begun, lane.uncertain) = (true, true);
    }

    fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
        // Records of TLS 1.3 have the version of TLS 1.2; those of its drafts, one or another.
        let version = match self.version {
            Some(0x0304) => Some(self.spoken.unwrap_or(0x0303)),
            version => version.filter(|&version| !names::is_13(version)),
        };
        detect::boundary(data, at_event, version)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, _: &mut dyn Output) {
        self.break_off(direction, cause);
        let lane = &mut self.lanes[direction.index()];
        lane.uncertain = true;
        cause.note_in(&mut lane.lost);
        // It begins in the handshake, wherever it ends.
        if let Some(side) = self.side(direction).filter(|side| !side.finished) {
            side.lose(cause);
        }
    }

    fn take_over(&mut self, agreement: Agreement) {
        // The side that asked to encrypt is the client of both.
        self.client.get_or_insert(agreement.client);
    }

    fn finish(&mut self, direction: Direction, _: End, _: Timestamp, _: &mut dyn Output) {
        self.break_off(direction, Cause::Incomplete);
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        if let Some(handshake) = self.handshake.take() {
            handshake.tell(out);
        }
        let client = self.client_or_first();
        let protected = [client, client.reverse()].map(|direction| {
            let lane = &mut self.lanes[direction.index()];
            lane.protected.lose(&lane.lost);
            std::mem::take(&mut lane.protected)
        });
        let [client, server] = protected;
        session::tell_protected(client, server, !self.is_seen, out);
    }
}

fn malformed(data: &[u8], reason: &str) -> Head {
    let is_text =
        data.iter().take(8).all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\r' | b'\n'));
    let but = if is_text { ": it looks like text" } else { "" };
    Head::Malformed { length: 1, reason: format!("{reason}{but}") }
}

impl Tls {
    /// The first bytes of a direction, which are no record of TLS.
    fn first(&mut self, data: &[u8], reason: &'static str) -> Head {
        let shapes = [ssl2::client_hello(data), ssl2::server_hello(data)];
        if let [ssl2::Shape::Hello(length), _] | [_, ssl2::Shape::Hello(length)] = shapes {
            return Head::Frame { length: length as u64, keep: length };
        }
        if shapes.contains(&ssl2::Shape::Begun) {
            return Head::More("an SSL 2 hello");
        }
        malformed(data, reason)
    }

    /// The direction of the client; where nothing tells which it is, that of the end that is observed.
    fn client_or_first(&self) -> Direction {
        self.client.unwrap_or(Direction::Send)
    }

    /// The side of the handshake under way that sends in a direction.
    fn side(&mut self, direction: Direction) -> Option<&mut Side> {
        let is_client = self.client_or_first() == direction;
        let handshake = self.handshake.as_mut()?;
        Some(if is_client { &mut handshake.client } else { &mut handshake.server })
    }

    /// Bytes were lost before a record, which has been counted: what they were shows by whose it is, but for one that begins
    /// a handshake, before which nothing of it is. `was_finished`: its side of the handshake was, before it.
    fn place_loss(&mut self, frame: &Frame<'_>, content: Content, was_finished: bool) {
        let direction = frame.direction;
        let causes = std::mem::take(&mut self.lanes[direction.index()].lost);
        if causes.is_empty() {
            return;
        }
        // Between two ClientHellos there is a HelloRetryRequest, and the other way round.
        let [is_retried, has_two] = self
            .handshake
            .as_ref()
            .map_or([false; 2], |handshake| [handshake.retried, handshake.client.has_two_hellos()]);
        let protected = &self.lanes[direction.index()].protected;
        // The first that is under protection is a handshake message of TLS 1.2: Finished, before which there is no other.
        let is_finished = content == Content::Handshake && !was_finished && protected.begins_with(frame);
        let mut is_protected = protected.ends_with(frame) && !is_finished;
        if let Some(side) = self.side(direction) {
            let begins = side.begins_with(frame)
                && (side.said("ClientHello") && !is_retried || side.said("ServerHello") && !has_two);
            if !was_finished && !begins {
                causes.iter().for_each(|&cause| side.lose(cause));
            }
            is_protected |= side.protected_alert;
        }
        if is_protected {
            self.lanes[direction.index()].protected.lose(&causes);
        }
    }

    /// What a record under protection tells of those that were lost right before it. Of TLS 1.2 and before, nothing comes
    /// between ChangeCipherSpec and Finished, and nothing is encrypted before; so behind an alert that is, both have been. A
    /// handshake message that is encrypted is Finished where what is lost is too short for it, or the other side has not
    /// sent its own. Of TLS 1.3 a client that sends no certificate and no early data has nothing to send between its
    /// hello and Finished but ChangeCipherSpec.
    fn infer_finished(&mut self, header: record::Header, frame: &Frame<'_>) {
        let direction = frame.direction;
        let missing = self.lanes[direction.index()].missing(frame);
        let is_client = self.client_or_first() == direction;
        let Some(handshake) = self.handshake.as_mut().filter(|_| missing > 0) else { return };
        let is_13 = handshake.is_13();
        let is_known = handshake.version.is_some();
        let (side, peer) = match is_client {
            true => (&mut handshake.client, &handshake.server),
            false => (&mut handshake.server, &handshake.client),
        };
        let others = &self.lanes[direction.reverse().index()];
        let peer_is_due = !peer.finished && !others.uncertain && others.lost.is_empty();
        let has_room = missing >= FINISHED_MIN;
        let is_encrypted = header.length > 2;
        match header.content {
            _ if side.finished => {}
            Content::Alert if is_known && !is_13 && is_encrypted && has_room => side.finished = true,
            Content::Heartbeat if side.changed && has_room => side.finished = true,
            Content::Handshake
                if header.length <= FINISHED_MAX && (!has_room || is_client && peer_is_due) =>
            {
                side.changed |= !is_plausible(&frame.data[HEADER..], &KINDS);
            }
            Content::ApplicationData if is_13 && is_client && peer.finished => {
                side.finished = missing >= CHANGE_CIPHER + FINISHED_MIN;
            }
            _ => {}
        }
        side.changed |= side.finished && !is_13;
        self.lanes[direction.index()].encrypted |= side.changed && !is_13;
    }

    /// Counts a record of the record layer where it belongs; gives words for the trace.
    fn record(&mut self, header: record::Header, frame: &Frame<'_>) -> String {
        let payload = &frame.data[HEADER..];
        match header.content {
            Content::Handshake => self.handshake_record(frame, payload),
            Content::ChangeCipherSpec => {
                self.change_cipher(frame);
                String::new()
            }
            Content::Alert => self.alert(header, frame, payload),
            Content::ApplicationData => {
                self.spoken = Some(header.version);
                self.data(header, frame);
                String::new()
            }
            Content::Heartbeat => {
                self.lanes[frame.direction.index()].protected.take_in(frame, header.content);
                String::new()
            }
        }
    }

    fn handshake_record(&mut self, frame: &Frame<'_>, payload: &[u8]) -> String {
        let direction = frame.direction;
        let lane = &mut self.lanes[direction.index()];
        let begins = lane.assembler.is_empty();
        let is_readable = match (lane.encrypted, lane.uncertain) {
            // Between them a client of TLS 1.3 whose server asked for another hello.
            (true, _) => begins && is_plausible(payload, &[1]),
            (false, true) => !begins || is_plausible(payload, &KINDS),
            (false, false) => true,
        };
        if !is_readable {
            return self.encrypted_handshake(frame);
        }
        lane.uncertain = false;
        let messages = lane.assembler.add(payload);
        // Who sends which hello is known before the record is anybody's.
        let first =
            messages.first().map(|message| message.kind).or(payload.first().copied().filter(|_| begins));
        match first {
            Some(1) => self.client = Some(direction),
            Some(2) => self.client = Some(direction.reverse()),
            // Less sure, where neither hello was seen: the others that only one side sends.
            Some(16) => self.client = self.client.or(Some(direction)),
            Some(4 | 12..=14 | 22) => self.client = self.client.or(Some(direction.reverse())),
            _ => {}
        }
        self.handshake.get_or_insert_default();
        self.is_seen = true;
        if let Some(side) = self.side(direction) {
            side.take_in(frame);
        }
        let mut what = String::new();
        for message in messages {
            what.push(' ');
            what.push_str(names::handshake(message.kind).unwrap_or("unknown"));
            self.message(direction, &message, Some(frame.times[1]));
        }
        if let Some(&cause) = frame.causes.first() {
            self.break_off(direction, cause);
            self.lanes[direction.index()].uncertain = true;
        }
        what
    }

    /// A handshake record that can't be read.
    fn encrypted_handshake(&mut self, frame: &Frame<'_>) -> String {
        let direction = frame.direction;
        match self.side(direction) {
            Some(side) if !side.finished && side.changed => {
                side.take_in(frame);
                side.message("Finished (encrypted)");
                side.finished = true;
            }
            _ => self.lanes[direction.index()].protected.take_in(frame, Content::Handshake),
        }
        " encrypted".to_owned()
    }

    fn change_cipher(&mut self, frame: &Frame<'_>) {
        let direction = frame.direction;
        let is_13 = self.handshake.as_ref().is_some_and(Handshake::is_13);
        let is_client = self.client_or_first() == direction;
        let lane = &mut self.lanes[direction.index()];
        lane.encrypted |= !is_13;
        // It is part of a handshake, of which it may be all that is seen.
        if !self.is_seen && lane.protected.is_empty() && !lane.lost.is_empty() {
            self.handshake.get_or_insert_default();
            self.is_seen = true;
        }
        let Some(side) = self.side(direction).filter(|side| !side.finished) else {
            return self.lanes[direction.index()].protected.take_in(frame, Content::ChangeCipherSpec);
        };
        side.take_in(frame);
        side.changed = true;
        side.message("change_cipher_spec");
        // A server that goes on with a known session has nothing to say before (RFC 5246, section 7.3).
        let resumes = !is_client && !is_13 && side.said("ServerHello") && !side.said("ServerHelloDone");
        if let Some(handshake) = self.handshake.as_mut().filter(|_| resumes) {
            handshake.resumed = true;
        }
    }

    fn alert(&mut self, header: record::Header, frame: &Frame<'_>, payload: &[u8]) -> String {
        let direction = frame.direction;
        let lane = &mut self.lanes[direction.index()];
        let readable = match payload {
            [level @ 1..=2, description] if header.length == 2 && !lane.encrypted => {
                Some((*level, *description))
            }
            _ => None,
        };
        if readable.is_none() || self.handshake.is_none() {
            let Some(side) = self.side(direction).filter(|side| !side.finished) else {
                if readable.is_none() {
                    self.lanes[direction.index()].protected.take_in(frame, Content::Alert);
                }
                return readable
                    .map_or(" encrypted".to_owned(), |alert| format!(" {}", session::alert_name(alert)));
            };
            side.take_in(frame);
            side.protected_alert = true;
            return " encrypted".to_owned();
        }
        let Some((alert, side)) = readable.zip(self.side(direction)) else { return String::new() };
        side.take_in(frame);
        side.alert(alert);
        format!(" {}", session::alert_name(alert))
    }

    /// An alert in the clear while no handshake is under way is a record by itself.
    fn tell_stray_alert(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        let lane = &self.lanes[frame.direction.index()];
        let &[level @ 1..=2, description] = &frame.data[HEADER..] else { return };
        if self.handshake.is_some() || lane.encrypted || frame.length != HEADER as u64 + 2 {
            return;
        }
        let name = session::alert_name((level, description));
        let fields = vec![Field::new("alerts", Value::List(vec![Value::Text(name.clone().into())]))];
        let half = Half::new(frame.direction, frame.range, frame.times, format!("alert {name}"), fields);
        let is_client = self.client_or_first() == frame.direction;
        match self.lanes[frame.direction.reverse().index()].lost.first() {
            None => exchange::lone(NAME, half, is_client, out),
            // It answers what is lost.
            Some(&cause) if is_client => exchange::unanswered_because(NAME, half, Some(cause), out),
            Some(_) => exchange::unasked(NAME, half, out),
        }
    }

    fn data(&mut self, header: record::Header, frame: &Frame<'_>) {
        let direction = frame.direction;
        let is_client = self.client_or_first() == direction;
        if let Some(handshake) = &mut self.handshake {
            // The first record of the client behind the ServerHello is its Finished, or an alert (RFC 8446, section
            // 5.2: two bytes, one for the type, and a tag of 16, or of 8); no other message is that short.
            let is_alert = is_client
                && handshake.is_13()
                && handshake.server.finished
                && !handshake.client.finished
                && !handshake.early_data
                && matches!(header.length, 19 | 11);
            let side = if is_client { &mut handshake.client } else { &mut handshake.server };
            if is_alert {
                side.take_in(frame);
                side.protected_alert = true;
                return;
            }
            side.finished = true;
        }
        self.lanes[direction.index()].protected.take_in(frame, header.content);
    }

    /// The message under way in a direction ends with what came of it.
    fn break_off(&mut self, direction: Direction, cause: Cause) {
        let Some(message) = self.lanes[direction.index()].assembler.take() else { return };
        if let Some(side) = self.side(direction) {
            side.add_cause(cause);
        }
        self.message(direction, &message, None);
    }

    /// A handshake message came, whole at `time`, or in part.
    fn message(&mut self, direction: Direction, message: &Message, time: Option<Timestamp>) {
        let is_client = self.client_or_first() == direction;
        let handshake = self.handshake.get_or_insert_default();
        let body = &message.body;
        if message.kind == 2 || message.kind == 6 {
            let hello = if message.kind == 2 { Hello::server(body) } else { Hello::retry(body) };
            if let Some(hello) = hello {
                answered(handshake, &hello, time);
                self.version = handshake.version;
            }
        }
        let side = if is_client { &mut handshake.client } else { &mut handshake.server };
        match message.kind {
            1 => {
                if let Some(hello) = Hello::client(body) {
                    handshake.early_data |= hello.extension(extension::EARLY_DATA).is_some();
                    side.hello(
                        show::client_hello(&hello),
                        show::client_line(&hello),
                        "second_client_hello",
                        time,
                    );
                }
            }
            4 => {
                if let Some(hint) = Cursor::new(body).u32() {
                    side.field(Field::new("ticket_lifetime_hint", Value::Number(hint.into())));
                }
            }
            11 => {
                let (chain, count) = certificates(body, message.is_cut());
                if count > chain.len() {
                    side.field(Field::new("certificate_count", Value::Number(count as i64)));
                    side.add_cause(Cause::FieldTruncated);
                }
                side.field(Field::new("certificates", Value::List(chain)));
            }
            12 => {
                if let [3, high, low, ..] = body[..] {
                    // A named curve (RFC 8422, section 5.4).
                    let name = names::group(u16::from_be_bytes([high, low]));
                    side.field(Field::new("named_curve", Value::Text(name)));
                }
            }
            _ => {}
        }
        let is_shortened = message.body.len() == handshake::MESSAGE_MAX;
        match (names::handshake(message.kind), message.is_cut() && !is_shortened) {
            (Some(name), false) => side.message(name),
            (Some(name), true) => side.message(format!("{name} (cut)")),
            (None, _) => side.message(format!("handshake type {}", message.kind)),
        }
        if message.is_cut() && is_shortened {
            side.add_cause(Cause::FieldTruncated);
        }
    }

    /// Tells the handshake under way if it is over.
    fn settle(&mut self, out: &mut dyn Output) {
        if let Some(handshake) = self.handshake.take_if(|handshake| handshake.is_over()) {
            handshake.tell(out);
        }
    }

    fn ssl2_frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let direction = frame.direction;
        if let Some((version, fields)) =
            ssl2::describe_client(frame.data).filter(|_| !self.is_ssl2 && frame.data[2] == 1)
        {
            out.frame(
                direction,
                frame.range,
                format_args!("SSL 2 ClientHello for {}", names::version(version)),
            );
            self.client = Some(direction);
            self.is_seen = true;
            let handshake = self.handshake.get_or_insert_default();
            let shown = show::Shown { fields, is_shortened: false };
            handshake.client.take_in(frame);
            let line = format!("ClientHello of SSL 2 for {}", names::version(version));
            handshake.client.hello(shown, line, "second_client_hello", Some(frame.times[1]));
            handshake.client.message("ClientHello (SSL 2.0)");
            return Ok(());
        }
        if let Some(fields) =
            ssl2::describe_server(frame.data).filter(|_| !self.is_ssl2 && frame.data[2] == 4)
        {
            out.frame(direction, frame.range, format_args!("SSL 2 ServerHello"));
            self.client = Some(direction.reverse());
            (self.is_seen, self.is_ssl2, self.version) = (true, true, Some(0x0002));
            let handshake = self.handshake.get_or_insert_default();
            handshake.version = self.version;
            let shown = show::Shown { fields, is_shortened: false };
            handshake.server.take_in(frame);
            handshake.server.hello(shown, "SSL 2.0".to_owned(), "second_server_hello", Some(frame.times[1]));
            handshake.server.message("ServerHello (SSL 2.0)");
            return Ok(());
        }
        if !self.is_ssl2 {
            return Err("no hello of SSL 2".to_owned());
        }
        out.frame_aside(direction, frame.range, format_args!("SSL 2 record {}", frame.length));
        let is_clear = frame.data.get(2) == Some(&2) && self.client == Some(direction);
        match self.side(direction) {
            Some(side) if is_clear && !side.said("ClientMasterKey") => {
                side.take_in(frame);
                side.message("ClientMasterKey");
            }
            side => {
                if let Some(side) = side {
                    side.finished = true;
                }
                self.lanes[direction.index()].protected.take_in(frame, Content::ApplicationData);
            }
        }
        self.settle(out);
        Ok(())
    }
}

/// A ServerHello or HelloRetryRequest came.
fn answered(handshake: &mut Handshake, hello: &Hello<'_>, time: Option<Timestamp>) {
    handshake.version = Some(hello.chosen_version());
    let line = show::server_line(hello);
    if std::mem::replace(&mut handshake.retried, hello.is_retry()) {
        handshake.server.after_retry();
    }
    handshake.resumed |= handshake.is_13() && hello.extension(extension::PRE_SHARED_KEY).is_some();
    let line = if hello.is_retry() { format!("{line} HelloRetryRequest") } else { line };
    handshake.server.hello(show::server_hello(hello), line, "second_server_hello", time);
}

/// The certificates of a chain (RFC 5246, section 7.4.2), as far as they came, and how many there are.
fn certificates(body: &[u8], is_cut: bool) -> (Vec<Value>, usize) {
    let mut cursor = Cursor::new(body);
    let (mut chain, mut count) = (Vec::new(), 0);
    // The length of the list says no more than that of the message.
    let _ = cursor.u24();
    while let Some(length) = cursor.u24() {
        let length = length as usize;
        let is_whole = length <= cursor.len();
        let Some(der) = cursor.bytes(length.min(cursor.len())) else { break };
        count += 1;
        if chain.len() < CHAIN_MAX && (is_whole || is_cut) {
            chain.push(certificate::describe(der, is_whole));
        }
    }
    (chain, count)
}

/// Types of messages that are in the clear.
const KINDS: [u8; 10] = [1, 2, 4, 6, 11, 12, 13, 14, 16, 22];

/// True where messages can begin here that are not encrypted.
fn is_plausible(payload: &[u8], kinds: &[u8]) -> bool {
    let Some(&[kind, high, a, b]) = payload.first_chunk::<4>() else { return false };
    let length = u32::from_be_bytes([0, high, a, b]) as usize;
    let fits = match kind {
        1 | 2 => length >= 38 && payload.get(4).is_none_or(|&major| matches!(major, 3 | 0x7e | 0x7f)),
        14 => length == 0,
        _ => length > 0 && length <= handshake::MESSAGE_MAX,
    };
    kinds.contains(&kind) && fits
}
