//! NATS: the client protocol (<https://docs.nats.io/reference/reference-protocols/nats-protocol>), with headers (ADR-4).
//!
//! This file leads one connection through its messages and finds out what belongs together; [`mod@line`] reads control
//! lines, [`show`] says what messages mean, [`detect`] knows the protocol by its content.
//!
//! A frame is one operation with its payload. A request that names an inbox for its answer is paired with the first
//! message to that inbox, whichever side asked; PING with PONG; in verbose mode, what the client sends with +OK or
//! -ERR. Everything else is a record by itself.
//!
//! Left out: what servers speak to each other (routes, gateways, leaf nodes).

mod detect;
mod line;
mod show;
#[cfg(test)]
mod tests;

use super::exchange::{self, Half, Pending};
use super::framed::{Driver, Frame, Framed, Head};
use super::{End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, endpoint};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::{Field, Record, Value};
use line::{Line, Op, Read, Side};

/// The name in records, filters and traces.
const NAME: &str = "nats";

/// How many bytes of headers are looked at.
const HEADERS_MAX: u64 = 64 << 10;

/// The least bytes of a message that the server confirms: `SUB a 1`, `UNSUB 1`.
const CONFIRMED_MIN: u64 = 9;

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &["PING"],
};

/// An operation with its subject; of the inboxes that clients make up for one answer the prefix.
fn endpoint(record: &Record) -> Endpoint {
    let text = |name| endpoint::asked(record, name).or_else(|| endpoint::answered(record, name));
    let (operation, subject) = (text("op").unwrap_or_default(), text("subject").unwrap_or_default());
    let subject = if subject.starts_with("_INBOX.") { "_INBOX.*" } else { &subject };
    Endpoint {
        name: format!("{operation} {subject}").trim_end().to_owned(),
        failed: endpoint::has_error(record),
    }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Nats {
        options,
        client: options.client(),
        verbose: None,
        requests: [Pending::new(NAME), Pending::new(NAME)],
        pings: [Pending::new(NAME), Pending::new(NAME)],
        confirmed: Pending::new(NAME),
        count: Count::default(),
        uncounted: None,
        turns: Turns::default(),
        lost: [None; 2],
        greeted: false,
        spoken: false,
    }))
}

/// One connection.
struct Nats {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    /// Whether the server confirms what the client sends; absent where its CONNECT was not seen.
    verbose: Option<bool>,
    /// Messages that wait for an answer in their inbox, by the direction in which they went.
    requests: [Pending<Vec<u8>>; 2],
    /// PINGs, likewise; with how many messages went before that are confirmed.
    pings: [Pending<u64>; 2],
    /// What waits for its +OK, by its number.
    confirmed: Pending<u64>,
    count: Count,
    /// Messages of the client are lost, and with them the count of those that wait: why. A PONG is behind them all.
    uncounted: Option<Cause>,
    turns: Turns,
    /// Why messages of a direction are lost, and with them perhaps questions.
    lost: [Option<Cause>; 2],
    /// INFO was seen, or lost, and no more of the client yet: TLS can begin.
    greeted: bool,
    /// The client has said something.
    spoken: bool,
}

/// The messages that the server confirms in verbose mode. One that is paired by its inbox is confirmed like others, and does
/// not wait among them.
#[derive(Default)]
struct Count {
    sent: u64,
    /// Confirmations, as long as they are counted.
    confirmed: u64,
}

impl Count {
    /// How many confirmations are still to come.
    fn owed(&self) -> u64 {
        self.sent - self.confirmed
    }

    /// Nothing is owed, or nobody knows how much.
    fn settle(&mut self) {
        self.confirmed = self.sent;
    }
}

/// Whether the client waits for each confirmation before it goes on, as people do who type.
#[derive(Default)]
struct Turns {
    /// It was seen to send while only a part of what it had sent was confirmed.
    overlaps: bool,
    /// A part of what waits was confirmed.
    answering: bool,
    /// A confirmation came since messages of the client were lost.
    answered: bool,
    /// The count is believed for the turns alone.
    assumed: Option<Cause>,
    /// Bytes of the client are lost that may be too few for a message that is confirmed: nothing waited, and everything
    /// before was seen.
    short: bool,
    /// Offset after the client's last message.
    end: u64,
}

impl Framed for Nats {
    fn head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        // A TLS record with a handshake (RFC 8446, section 5.1).
        match data {
            [0x16, 3, ..] if self.greeted => return Head::Switched("TLS".to_owned()),
            [0x16] if self.greeted => return Head::More("what begins behind INFO"),
            _ => {}
        }
        let sides = self.sides(input.direction);
        let read = |side: &Side| line::read(*side, data);
        let mut proof = 0;
        let mut is_begun = false;
        for side in sides {
            match read(side) {
                Read::Line(line) => {
                    self.learn(line.op, input.direction);
                    let shown = line.words.header.min(HEADERS_MAX) + self.options.max_field as u64;
                    let keep = (line.length as u64 + shown + 2).min(line.whole());
                    return Head::Frame {
                        length: line.whole(),
                        keep: usize::try_from(keep).unwrap_or(usize::MAX),
                    };
                }
                Read::Begun => is_begun = true,
                Read::No(length) => proof = proof.max(length),
            }
        }
        if is_begun {
            return Head::More("the end of a control line");
        }
        Head::Malformed { length: proof.clamp(1, data.len()), reason: "no operation".to_owned() }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let sides = self.sides(frame.direction);
        let line = sides.iter().find_map(|&side| match line::read(side, frame.data) {
            Read::Line(line) => Some(line),
            _ => None,
        });
        let line = line.ok_or("no operation")?;
        if frame.is_all() && line.words.total.is_some() && !frame.data.ends_with(b"\r\n") {
            return Err("the payload does not end where it should".to_owned());
        }
        out.frame(frame.direction, frame.range, format_args!("{} {}", line.op.name(), frame.length));
        self.message(&line, frame, out);
        Ok(())
    }

    fn begin_inside(&mut self, _: Direction) {
        self.verbose = None;
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        detect::boundary(self.sides(direction), data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        let owed = self.count.owed();
        // What is paired by order can't be any more. Inboxes tell by themselves.
        self.lost[direction.index()] = Some(cause);
        Direction::BOTH.iter().for_each(|way| self.pings[way.index()].give_up(Some(cause), out));
        self.give_up_confirmed(cause, out);
        if self.client != Some(direction.reverse()) {
            // The client says once what it wants, and before all else.
            if !self.spoken {
                self.verbose = None;
            }
            self.turns.short = owed == 0 && self.uncounted.is_none();
            self.uncounted = Some(cause);
            (self.turns.answered, self.turns.answering) = (false, false);
        } else if !self.spoken {
            // What was lost is the INFO that asks for TLS, as the first bytes of the client show.
            self.greeted = true;
        } else if owed > 1 || owed > 0 && self.turns.overlaps {
            // Of several confirmations some may be left. One that a client waits for came, when it goes on.
            self.uncounted = Some(cause);
            (self.turns.answered, self.turns.answering) = (false, false);
        }
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.confirmed.give_up(None, out);
        for direction in Direction::BOTH {
            self.pings[direction.index()].give_up(None, out);
            self.requests[direction.index()].give_up(None, out);
        }
    }
}

impl Nats {
    fn sides(&self, direction: Direction) -> &'static [Side] {
        match self.client {
            Some(client) if client == direction => &[Side::Client],
            Some(_) => &[Side::Server],
            None => &Side::BOTH,
        }
    }

    /// Only one side sends most operations.
    fn learn(&mut self, op: Op, direction: Direction) {
        if self.client.is_none() {
            match (op.is_of(Side::Client), op.is_of(Side::Server)) {
                (true, false) => self.client = Some(direction),
                (false, true) => self.client = Some(direction.reverse()),
                _ => {}
            }
        }
    }

    fn message(&mut self, line: &Line<'_>, frame: &Frame<'_>, out: &mut dyn Output) {
        let direction = frame.direction;
        let from_client = self.client == Some(direction);
        self.greeted = line.op == Op::Info || self.greeted && !from_client;
        self.spoken |= from_client;
        if from_client {
            let missing = frame.range.from.saturating_sub(self.turns.end);
            self.turns.end = frame.range.to;
            if std::mem::take(&mut self.turns.short) && missing < CONFIRMED_MIN {
                self.uncounted = None;
            }
        }
        let half = show::half(line, frame, self.options);
        match line.op {
            Op::Ping => self.pings[direction.index()].push(self.count.sent, half, out),
            Op::Pong => match self.pings[direction.reverse().index()].pop() {
                Some((before, ping)) => {
                    if !from_client && self.uncounted.take().is_some() {
                        self.count.confirmed = before;
                    }
                    if !from_client {
                        self.turns.assumed = None;
                    }
                    exchange::pair(NAME, ping, half, out);
                }
                None => exchange::unasked(NAME, half, out),
            },
            Op::Ok => match self.take_confirmed() {
                // Nothing else is said so: where the CONNECT was not seen, this tells.
                None if self.verbose.is_none() => {
                    self.verbose = Some(true);
                    exchange::unasked(NAME, half, out);
                }
                Some(request) => exchange::pair(NAME, request, half, out),
                None if self.uncounted.is_some() => exchange::unasked(NAME, half, out),
                None => exchange::lone(NAME, half, false, out),
            },
            // The server refuses instead of confirming; unasked, it tells why it closes the connection.
            Op::Err => match self.take_confirmed() {
                Some(request) => exchange::pair(NAME, request, half, out),
                None => exchange::lone(NAME, half, false, out),
            },
            Op::Connect => {
                // Verbose is what a CONNECT that does not say is.
                self.verbose = Some(show::is_verbose(line.rest));
                self.confirm_or_tell(half, out);
            }
            Op::Sub | Op::Unsub => self.confirm_or_tell(half, out),
            Op::Pub | Op::Hpub | Op::Msg | Op::Hmsg => self.published(line, half, from_client, out),
            Op::Info => exchange::lone(NAME, half, false, out),
        }
    }

    /// What the next confirmation belongs to.
    fn take_confirmed(&mut self) -> Option<Half> {
        self.turns.answered = true;
        if self.uncounted.is_some() || self.count.owed() == 0 {
            self.turns.answering = false;
            return None;
        }
        let request = self.confirmed.take(&self.count.confirmed);
        self.count.confirmed += 1;
        self.turns.answering = self.count.owed() > 0;
        request
    }

    /// Nobody knows any more whose the next confirmation is.
    fn give_up_confirmed(&mut self, cause: Cause, out: &mut dyn Output) {
        self.confirmed.give_up(Some(cause), out);
        self.count.settle();
    }

    /// A message comes that will be confirmed: whether the client takes turns. One that does sends only when all before is
    /// confirmed, so that the count starts anew behind a confirmation.
    fn next_turn(&mut self, out: &mut dyn Output) {
        if let Some(cause) = self.uncounted.filter(|_| self.turns.answered && !self.turns.overlaps) {
            out.step("pairing-restarts", format_args!("all before is confirmed"));
            (self.uncounted, self.turns.assumed) = (None, Some(cause));
            self.count.settle();
        } else if self.turns.answering {
            self.turns.overlaps = true;
            if let Some(cause) = self.turns.assumed.take() {
                out.step("pairing-lost", format_args!("the client does not take turns"));
                self.give_up_confirmed(cause, out);
                (self.uncounted, self.turns.answering) = (Some(cause), false);
            }
        }
    }

    /// Counts a message of the client that the server confirms in verbose mode. Its number, where its confirmation can be told
    /// from others.
    fn count(&mut self, out: &mut dyn Output) -> Option<u64> {
        if self.verbose != Some(true) {
            return None;
        }
        self.next_turn(out);
        self.count.sent += 1;
        self.uncounted.is_none().then_some(self.count.sent - 1)
    }

    /// A message of the client that nothing answers but its confirmation.
    fn confirm_or_tell(&mut self, mut half: Half, out: &mut dyn Output) {
        let number = self.count(out);
        if self.verbose.is_none() {
            half.message.fields.push(Field::new("verbose", Value::Text("unknown".into())));
        }
        match (self.verbose, number) {
            (Some(true), Some(number)) => self.confirmed.push(number, half, out),
            (Some(true), None) => exchange::unanswered_because(NAME, half, self.uncounted, out),
            _ => exchange::lone(NAME, half, true, out),
        }
    }

    fn published(&mut self, line: &Line<'_>, mut half: Half, from_client: bool, out: &mut dyn Output) {
        let direction = half.message.direction;
        let subject = line.words.subject.unwrap_or_default();
        let asked = self.requests[direction.reverse().index()].take(&subject.to_vec());
        let inbox = line.words.reply.filter(|reply| is_inbox(reply));
        if from_client && (asked.is_some() || inbox.is_some()) {
            // In verbose mode its +OK comes as well, and is told by itself.
            self.count(out);
        }
        if let Some(request) = asked {
            return exchange::pair(NAME, request, half, out);
        }
        // It may be the answer to a question that is lost.
        let lost = self.lost[direction.reverse().index()].filter(|_| is_inbox(subject));
        lost.into_iter().for_each(|cause| half.add_cause(cause));
        match inbox {
            Some(inbox) => self.requests[direction.index()].push(inbox.to_vec(), half, out),
            None if from_client => self.confirm_or_tell(half, out),
            None => exchange::lone(NAME, half, false, out),
        }
    }
}

/// Subjects that clients make for one answer: inboxes, those of service imports, and acknowledgements of JetStream.
fn is_inbox(subject: &[u8]) -> bool {
    [&b"_INBOX."[..], b"_R_.", b"$JS.ACK."].iter().any(|prefix| subject.starts_with(prefix))
}
