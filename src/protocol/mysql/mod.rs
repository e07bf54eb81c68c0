//! MySQL and MariaDB: the client/server protocol
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>,
//! <https://mariadb.com/kb/en/clientserver-protocol/>).
//!
//! This file leads one connection through its packets: [`packet`] knows what they are made of, [`handshake`] how a
//! connection begins, [`request`] and [`answer`] what client and server say, [`statements`] which SQL a number stands
//! for, [`pairing`] which answer belongs to which request, [`detect`] the protocol and its boundaries by content.
//!
//! A frame is one packet. A record is a command with its answer, all results of it; a login from the client's first
//! packet to OK or ERR; the greeting and what nothing answers by itself, and so each event of a binary log.
//!
//! Left out: the compressed protocol, which is named; what follows an SSLRequest is TLS. The X Protocol is another one.

mod answer;
mod binlog;
mod detect;
mod handshake;
mod packet;
mod pairing;
mod proxy;
mod report;
mod request;
mod result;
mod shape;
mod sql;
mod statements;
#[cfg(test)]
mod tests;
mod values;

use super::exchange::{self, Half};
use super::framed::{Driver, Frame, Framed, Head};
use super::{End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::record::Record;
use packet::{Agreed, ERR, HEADER, PAYLOAD_MAX, Packet, capability, command_name, header};
use pairing::{Done, Pairing};
use request::{Op, Request, Said};
use shape::Side;
use statements::Statements;
use std::borrow::Cow;

/// The name in records, filters and traces.
const NAME: &str = "mysql";

/// How much of a packet is looked at besides what fields may show.
const LOOK: usize = 64 << 10;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &["COM_PING"],
};

/// A statement without literals, or a command; failed where the answer, or a result of several, is an error.
fn endpoint(record: &Record) -> Endpoint {
    let failed = endpoint::any_field(record, |name, _| name == "error_code");
    let text = |name| endpoint::asked(record, name).or_else(|| endpoint::answered(record, name));
    let name = match text("query").or_else(|| text("statement")) {
        Some(query) => endpoint::statement_with(&query, &['\'', '"']),
        None => text("type")
            .or_else(|| text("command"))
            .map_or_else(|| endpoint::of_summary(record).name, std::borrow::Cow::into_owned),
    };
    Endpoint { name, failed }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Mysql {
        options,
        client: options.client(),
        guessed: false,
        server_flags: None,
        agreed: Agreed::default(),
        greeted: false,
        begun: false,
        proxied: false,
        late: false,
        pairing: Pairing::new(NAME, options),
        statements: Statements::default(),
        parts: [None, None],
        switched: None,
        unblocked: [false; 2],
    }))
}

/// One connection.
struct Mysql {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    /// It was learnt from what is no proof.
    guessed: bool,
    /// The capability flags of the server.
    server_flags: Option<u64>,
    agreed: Agreed,
    /// The server's first packet came.
    greeted: bool,
    /// The client's first packet came.
    begun: bool,
    /// The frame under way of the client is no packet, but what a proxy says in front.
    proxied: bool,
    /// The connection was open before.
    late: bool,
    pairing: Pairing,
    statements: Statements,
    /// Packets whose contents go on in the next one.
    parts: [Option<Packet<'static>>; 2],
    /// What both directions speak since an agreement.
    switched: Option<&'static str>,
    /// Go on once without the other direction.
    unblocked: [bool; 2],
}

impl Framed for Mysql {
    fn head(&mut self, input: Input<'_>) -> Head {
        if let Some(name) = self.switched {
            return Head::Switched(name.to_owned());
        }
        if !self.begun
            && !self.late
            && self.client.is_none_or(|client| client == input.direction)
            && let Some(length) = proxy::header(input.data)
        {
            return self.proxy_head(input.direction, length);
        }
        let Some((length, seq)) = header(input.data) else { return Head::More("the header of a packet") };
        let whole = HEADER as u64 + length;
        if self.parts[input.direction.index()].is_some() {
            return Head::Frame { length: whole, keep: HEADER };
        }
        let kind = input.data.get(HEADER).copied();
        if length > 0 && kind.is_none() {
            return Head::More("the contents of a packet");
        }
        // Where the greeting was not seen, a client's wish to compress may or may not have been granted.
        let is_first = !self.begun && !self.greeted;
        let may_compress = is_first || self.server_flags.is_none() && self.compression().is_some();
        if self.late && may_compress && shape::is_compressed(input.data) {
            return self.switch("the compressed protocol of MySQL");
        }
        match self.side(input, length, seq, kind) {
            None => Head::More("what tells the client from the server"),
            Some(Side::Client) => self.client_head(input.data, whole, seq, kind),
            Some(Side::Server) => self.server_head(input, whole, seq, kind),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let from_client = self.client == Some(frame.direction);
        if from_client && std::mem::take(&mut self.proxied) {
            out.frame(frame.direction, frame.range, format_args!("PROXY header"));
            let (summary, fields) = proxy::describe(frame.data);
            let mut half = Half::new(frame.direction, frame.range, frame.times, summary, fields);
            frame.causes.iter().for_each(|&cause| half.add_cause(cause));
            exchange::lone(NAME, half, true, out);
            return Ok(());
        }
        let (length, seq) = header(frame.data).ok_or("no header")?;
        let who = if from_client { "client" } else { "server" };
        out.frame(frame.direction, frame.range, format_args!("packet {seq} of the {who}, {length} bytes"));
        let part = &mut self.parts[frame.direction.index()];
        let mut packet = match part.take() {
            None => Packet {
                direction: frame.direction,
                range: frame.range,
                seqs: [seq, seq],
                data: Cow::Borrowed(&frame.data[HEADER..]),
                length,
                times: frame.times,
                causes: frame.causes.clone(),
            },
            Some(mut packet) => {
                packet.range = Range::new(packet.range.from, frame.range.to);
                packet.seqs[1] = seq;
                packet.length += length;
                packet.times[1] = frame.times[1];
                packet.causes.extend_from_slice(&frame.causes);
                packet.causes.dedup();
                packet
            }
        };
        if length == PAYLOAD_MAX {
            packet.data = Cow::Owned(packet.data.into_owned());
            *part = Some(owned(packet));
            return Ok(());
        }
        self.packet(&packet, out);
        Ok(())
    }

    fn begin_inside(&mut self, _: Direction) {
        self.late = true;
        self.pairing.started_late();
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        if at_event && self.late && shape::is_compressed(data) {
            return Resync::Found(0);
        }
        let sides: &[Side] = match self.client {
            Some(client) if client == direction => &[Side::Client],
            Some(_) => &[Side::Server],
            None => &Side::BOTH,
        };
        if at_event && sides.contains(&Side::Client) && detect::starts_login(data) == Some(true) {
            return Resync::Found(0);
        }
        if at_event && sides.contains(&Side::Client) && self.begins_tls(data) {
            return Resync::Found(0);
        }
        detect::boundary(sides, data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        self.late = true;
        if let Some(mut packet) = self.parts[direction.index()].take() {
            packet.causes.push(cause);
            self.packet(&packet, out);
        }
        match self.client {
            Some(client) if client != direction => self.pairing.lost_answers(cause, out),
            _ => self.pairing.lost_requests(cause),
        }
    }

    fn switched(&self) -> Option<&'static str> {
        self.switched
    }

    fn unblock(&mut self, direction: Direction) {
        self.unblocked[direction.index()] = true;
    }

    fn finish(&mut self, direction: Direction, _: End, _: Timestamp, out: &mut dyn Output) {
        if let Some(mut packet) = self.parts[direction.index()].take() {
            packet.causes.push(Cause::Incomplete);
            self.packet(&packet, out);
        }
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.pairing.close(out);
    }
}

impl Mysql {
    /// Who sends in a direction; learnt from content where it is not known. None: too few bytes to say.
    fn side(&mut self, input: Input<'_>, length: u64, seq: u8, kind: Option<u8>) -> Option<Side> {
        let direction = input.direction;
        // Commands with these numbers have no contents behind them.
        let is_greeting = seq == 0 && length > 1 && matches!(kind, Some(9 | 10));
        let is_command = seq == 0 && !is_greeting && kind.is_some_and(|kind| kind != ERR);
        if let Some(client) = self.client
            && !(self.guessed && is_command && client != direction)
        {
            return Some(if client == direction { Side::Client } else { Side::Server });
        }
        let from_client = is_command || detect::starts_login(input.data)?;
        self.guessed = !from_client && !is_greeting;
        self.client = Some(if from_client { direction } else { direction.reverse() });
        Some(if from_client { Side::Client } else { Side::Server })
    }

    fn proxy_head(&mut self, direction: Direction, length: Option<u64>) -> Head {
        let Some(length) = length else { return Head::More("the rest of a PROXY header") };
        (self.client, self.proxied) = (Some(direction), true);
        Head::Frame { length, keep: LOOK }
    }

    /// True of a ClientHello where a login could be: an SSLRequest before it was lost.
    fn begins_tls(&self, data: &[u8]) -> bool {
        self.late && self.greeted && !self.begun && matches!(data, [0x16, 3, 0..=4, _, _, 1, ..])
    }

    fn client_head(&mut self, data: &[u8], length: u64, seq: u8, kind: Option<u8>) -> Head {
        let goes_on = seq != 0 || self.pairing.goes_on_with_file(seq);
        if !self.begun && !self.late {
            // Of the protocol before 4.1 a login is hardly more than a name.
            match detect::starts_login(data) {
                Some(false) if seq != 1 || length > detect::OLD_LOGIN_MAX => {
                    return Head::Malformed {
                        length: data.len().min(HEADER + 1),
                        reason: "no login".to_owned(),
                    };
                }
                _ => {}
            }
        }
        // The request to encrypt can be among what was lost: a ClientHello follows it.
        if self.begins_tls(data) {
            return self.switch("TLS");
        }
        if goes_on {
            let logs_in = !self.begun || self.pairing.is_logging_in() || self.is_login(data, seq);
            let keep = if logs_in { HEADER + LOOK } else { HEADER };
            return Head::Frame { length, keep };
        }
        if kind.and_then(command_name).is_none() {
            return Head::Malformed { length: data.len().min(HEADER + 1), reason: "no command".to_owned() };
        }
        Head::Frame { length, keep: HEADER + LOOK + self.options.max_field }
    }

    fn server_head(&mut self, input: Input<'_>, length: u64, seq: u8, kind: Option<u8>) -> Head {
        let direction = input.direction;
        let unasked = seq == 0 && kind == Some(ERR) || !self.greeted && !self.late;
        if !unasked && !self.unblocked[direction.index()] && self.pairing.must_wait() {
            return Head::Other("its request");
        }
        let expected = self.pairing.expected_seq();
        if !unasked && kind != Some(ERR) && expected.is_some_and(|expected| expected != seq) {
            let reason = format!("a packet with number {seq} out of order");
            return Head::Malformed { length: HEADER, reason };
        }
        let is_end = matches!(kind, Some(ERR | packet::EOF)) && length < LOOK as u64;
        let row = self.pairing.wants_of_row().filter(|_| !is_end);
        Head::Frame { length, keep: row.unwrap_or(HEADER + LOOK + self.options.max_field) }
    }

    /// How both have agreed to compress. Where both flags are set, zlib is what servers take.
    fn compression(&self) -> Option<&'static str> {
        let has = |flag: u64| self.agreed.has(flag) == Some(true);
        if has(capability::COMPRESS) { Some("zlib") } else { has(capability::ZSTD).then_some("zstd") }
    }

    fn switch(&mut self, name: &'static str) -> Head {
        self.switched = Some(name);
        Head::Switched(name.to_owned())
    }

    /// The contents of one packet, or of several that belong together.
    fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Output) {
        if self.client == Some(packet.direction) {
            self.unblocked[packet.direction.reverse().index()] = false;
            self.client_packet(packet, out);
        } else {
            self.server_packet(packet, out);
        }
    }

    /// Whether bytes of the client with their header are a login.
    fn is_login(&self, data: &[u8], seq: u8) -> bool {
        !self.begun && !self.late && seq != 0 || detect::starts_login(data) == Some(true)
    }

    fn client_packet(&mut self, packet: &Packet<'_>, out: &mut dyn Output) {
        let seq = packet.seqs[0];
        let login = !self.pairing.is_logging_in()
            && (!self.begun && !self.late && seq != 0
                || seq == 1 && handshake::begins_login(&packet.data) == Some(true));
        self.begun = true;
        if login {
            return self.login(packet, out);
        }
        if seq != 0 || self.pairing.goes_on_with_file(seq) {
            return self.goes_on(packet, out);
        }
        let (op, said) = request::command(packet, &mut self.statements, self.agreed, self.options);
        match op {
            Some(op) => self.pairing.push(Request::new(packet, op, said), out),
            None => {
                let mut half = packet.half(said.summary, said.fields);
                said.causes.iter().for_each(|&cause| half.add_cause(cause));
                self.pairing.lone(half, out);
            }
        }
    }

    /// A packet of the client that goes on with what it began.
    fn goes_on(&mut self, packet: &Packet<'_>, out: &mut dyn Output) {
        if self.pairing.is_logging_in() {
            return self.pairing.proof(packet);
        }
        if !self.pairing.file(packet) {
            let fields = vec![packet::text("command", "unknown")];
            let said = Said { summary: "unknown request".to_owned(), fields, ..Said::default() };
            self.pairing.push(Request::new(packet, Op::Unknown, said), out);
            self.pairing.file(packet);
        }
    }

    fn login(&mut self, packet: &Packet<'_>, out: &mut dyn Output) {
        let login = handshake::login(&packet.data, self.server_flags);
        let has = |flag: u64| login.flags & flag != 0;
        let wants_tls = packet.length == handshake::SSL_REQUEST && has(capability::SSL);
        let (summary, fields) = login.describe(wants_tls, self.options.show_secrets);
        if wants_tls {
            exchange::lone(NAME, packet.half(summary, fields), true, out);
            self.switched = Some("TLS");
            return;
        }
        let flags = login.flags & self.server_flags.unwrap_or(u64::MAX);
        self.agreed.flags = Some(flags);
        self.agreed.deprecate_eof = Some(flags & capability::DEPRECATE_EOF != 0);
        let mut said = Said { summary, fields, ..Said::default() };
        // What comes behind the login can't be read: its record is the only one that there will be.
        if let (true, Some(name)) = (self.server_flags.is_some(), self.compression()) {
            said.summary.push_str(&format!(" compression={name} (not decoded)"));
            said.fields.push(packet::text("compression", name));
        }
        self.pairing.push(Request::new(packet, Op::Login, said), out);
    }

    fn server_packet(&mut self, packet: &Packet<'_>, out: &mut dyn Output) {
        let first = !std::mem::replace(&mut self.greeted, true);
        if first
            && packet.seqs[0] == 0
            && matches!(packet.kind(), Some(9 | 10))
            && let Some(greeting) = handshake::greeting(&packet.data)
        {
            self.server_flags = Some(greeting.flags);
            let (summary, fields) = greeting.describe(self.options.show_secrets);
            return exchange::lone(NAME, packet.half(summary, fields), false, out);
        }
        let done = self.pairing.answer(packet, &mut self.agreed, &mut self.statements, out);
        if done == Done::LoggedIn && self.server_flags.is_some() {
            self.switched = match self.compression() {
                Some("zlib") => Some("the compressed protocol of MySQL (zlib)"),
                Some(_) => Some("the compressed protocol of MySQL (zstd)"),
                None => self.switched,
            };
        }
    }
}

/// A packet that owns what it holds.
fn owned(packet: Packet<'_>) -> Packet<'static> {
    let Packet { direction, range, seqs, data, length, times, causes } = packet;
    Packet { direction, range, seqs, data: Cow::Owned(data.into_owned()), length, times, causes }
}
