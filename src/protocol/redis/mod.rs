//! Redis: RESP2, RESP3 and inline commands.
//!
//! This file drives the parts for one connection: [`resp`] cuts elements, [`element`] keeps a bounded picture
//! of each, [`command`] and [`reply`] turn it into fields, [`pairing`] finds out which reply answers which
//! command, [`detect`] knows Redis, and the places where messages begin, by content.
//!
//! A frame is one whole top-level element: a command with its arguments, or a reply with its attribute.

mod command;
mod detect;
mod element;
mod inline;
mod pairing;
mod reply;
mod resp;
#[cfg(test)]
mod tests;

use super::{
    AfterGap, End, Endpoint, Gap, Input, Options, Output, Parser, Progress, Protocol, Resync, Then, endpoint,
};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::record::{Field, Message, Record, Value};
use command::Command;
use detect::Side;
use element::{Element, Kind};
use pairing::{Effect, Pairing};
use reply::Reply;
use resp::{Carried, Grammar, Reader, Step};

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: "redis",
    detect: detect::detect,
    parser,
    datagrams: None,
    endpoint,
    keep_alives: &[BLANK_LINE, EMPTY_ARRAY, NEWLINE],
};

/// What a server passes over without a reply: an inline command without words, and a command without arguments.
const BLANK_LINE: &str = "blank line";
const EMPTY_ARRAY: &str = "empty array";

/// What a master sends while it prepares the reply to PSYNC.
const NEWLINE: &str = "newline (keep-alive)";

/// A command by its name; failed where the reply is an error.
fn endpoint(record: &Record) -> Endpoint {
    match endpoint::asked(record, "command") {
        Some(command) => Endpoint { name: command.to_ascii_uppercase(), failed: endpoint::has_error(record) },
        None => endpoint::of_summary(record),
    }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Redis::new(options))
}

/// The parser of one connection.
struct Redis {
    options: Options,
    lanes: [Lane; 2],
    /// The direction of the commands, once known.
    commands: Option<Direction>,
    pairing: Pairing,
    /// The replies need not wait for commands any more, until the next command.
    unblocked: [bool; 2],
}

/// One direction.
struct Lane {
    reader: Reader,
    element: Element,
    /// Offset of the first byte of the element under way.
    from: u64,
    /// When that byte came; absent while it is not there.
    started: Option<Timestamp>,
    /// Why bytes of the element are missing.
    causes: Vec<Cause>,
    /// Bytes were read or lost: a search for a boundary is not that of a connection found open.
    begun: bool,
    /// A boundary is searched.
    searching: bool,
    /// Messages were passed over, and pairing was not told yet.
    unreported_loss: bool,
    /// Bytes came that the search has not decided on.
    undecided: bool,
}

impl Lane {
    fn new(options: Options) -> Lane {
        Lane {
            reader: Reader::new(Grammar::Reply),
            element: Element::new(options.max_field),
            from: 0,
            started: None,
            causes: Vec::new(),
            begun: false,
            searching: false,
            unreported_loss: false,
            undecided: false,
        }
    }

    /// Ready for the next element.
    fn reset(&mut self) {
        self.reader.reset();
        self.element.reset();
        self.started = None;
        self.causes.clear();
    }
}

impl Parser for Redis {
    fn feed(&mut self, input: Input<'_>, out: &mut dyn Output) -> Progress {
        self.begin(input.direction);
        let mut taken = 0;
        loop {
            let rest = Input { offset: input.offset + taken as u64, data: &input.data[taken..], ..input };
            let (length, then) = self.element(rest, out);
            taken += length;
            if let Some(then) = then {
                return Progress { taken, then };
            }
        }
    }

    fn gap(&mut self, gap: Gap<'_>, out: &mut dyn Output) -> AfterGap {
        let direction = gap.direction;
        let offset = gap.range.from - gap.unread.len() as u64;
        let unread = Input { direction, offset, time: gap.time, data: gap.unread };
        let rest = self.drain(unread, out);
        let lane = &mut self.lanes[direction.index()];
        lane.begun = true;
        if !lane.reader.at_start() {
            let carried = lane.reader.skip(rest.data.len() as u64, gap.range.len(), &mut lane.element);
            if carried != Carried::No && !lane.causes.contains(&gap.cause) {
                lane.causes.push(gap.cause);
            }
            match carried {
                Carried::Inside => return AfterGap::Continue,
                Carried::Whole => {
                    self.whole(direction, gap.range.to, gap.time, out);
                    return AfterGap::Continue;
                }
                Carried::No => {}
            }
        }
        self.cut_short(rest, gap.cause, out);
        self.abandon(direction, Some(gap.cause));
        AfterGap::Resync
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        let answer = match self.commands {
            Some(commands) if commands == direction => detect::command_boundary(data, at_event),
            Some(_) => detect::reply_boundary(data, at_event),
            None => detect::any_boundary(data, at_event),
        };
        let passed = match answer {
            Resync::Found(count) | Resync::Skip(count) => count,
        };
        let lane = &mut self.lanes[direction.index()];
        // A line end is kept as evidence for what follows it, it is no part of a message. At the first byte
        // of a connection that was open before, nothing is passed over.
        let is_loss = !is_line_end(&data[..passed]) || lane.begun && !lane.searching;
        lane.searching |= is_loss;
        lane.unreported_loss |= is_loss;
        lane.undecided = matches!(answer, Resync::Skip(_)) && !is_line_end(&data[passed..]);
        self.report_losses();
        self.pairing.started_late();
        answer
    }

    fn finish(&mut self, rest: Input<'_>, end: End, out: &mut dyn Output) {
        let rest = self.drain(rest, out);
        if !rest.data.is_empty() || !self.lanes[rest.direction.index()].reader.at_start() {
            out.step("cut-off", format_args!("{} inside a message", end.reason()));
            self.cut_short(rest, Cause::Incomplete, out);
        }
    }

    fn unblock(&mut self, direction: Direction) {
        self.unblocked[direction.index()] = true;
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.pairing.close(out);
    }
}

impl Redis {
    fn new(options: Options) -> Redis {
        let mut redis = Redis {
            options,
            lanes: [Lane::new(options), Lane::new(options)],
            commands: None,
            pairing: Pairing::new(),
            unblocked: [false; 2],
        };
        if let Some(client) = options.client() {
            redis.set_commands(client);
        }
        redis
    }

    fn set_commands(&mut self, direction: Direction) {
        self.commands = Some(direction);
        self.lanes[direction.index()].reader = Reader::new(Grammar::Request);
    }

    /// Tells pairing of messages that were passed over, once it is known what they were.
    fn report_losses(&mut self) {
        let Some(commands) = self.commands else { return };
        if std::mem::take(&mut self.lanes[commands.reverse().index()].unreported_loss) {
            self.pairing.lost_replies(None);
        }
        // Last, so that where both were lost, the replies do not count as those of the commands.
        if std::mem::take(&mut self.lanes[commands.index()].unreported_loss) {
            self.pairing.lost_commands(None);
        }
    }

    /// Bytes of a direction can be read, or are known to end.
    fn begin(&mut self, direction: Direction) {
        let lane = &mut self.lanes[direction.index()];
        (lane.begun, lane.searching, lane.undecided) = (true, false, false);
    }

    /// Takes one element, or what is there of it. `None`: go on behind it.
    fn element(&mut self, input: Input<'_>, out: &mut dyn Output) -> (usize, Option<Then>) {
        let direction = input.direction;
        let Some(&first) = input.data.first() else {
            return (0, Some(Then::More("a message")));
        };
        if self.commands.is_none()
            && let Err(then) = self.learn(&input)
        {
            return (0, Some(then));
        }
        let is_commands = self.commands == Some(direction);
        let lane = &mut self.lanes[direction.index()];
        if lane.reader.at_start() {
            lane.from = input.offset;
            lane.started.get_or_insert(input.time);
            if !is_commands && let Some(answer) = self.before_reply(first, &input, out) {
                return answer;
            }
        }
        let lane = &mut self.lanes[direction.index()];
        let (taken, step) = lane.reader.read(input.data, &mut lane.element);
        let to = input.offset + taken as u64;
        match step {
            Step::Need(what) => (taken, Some(Then::More(what))),
            Step::Whole => (taken, self.whole(direction, to, input.time, out)),
            Step::Malformed { length, reason } => {
                let range = Range::new(lane.from, to);
                if !range.is_empty() {
                    out.skip(direction, range, Cause::ParseError, format_args!("{reason}"));
                }
                self.abandon(direction, Some(Cause::ParseError));
                (taken, Some(Then::Malformed { length, reason }))
            }
        }
    }

    /// What happens before a reply is read: a replication stream begins, or its command is awaited.
    fn before_reply(
        &mut self,
        first: u8,
        input: &Input<'_>,
        out: &mut dyn Output,
    ) -> Option<(usize, Option<Then>)> {
        match (self.pairing.next_effect(), first) {
            // The reply to SYNC is a bulk string without line end, and newlines before it keep the
            // connection alive, as they do before the reply to PSYNC.
            (Effect::Sync, b'$' | b'\n') => return Some((0, Some(switched()))),
            (Effect::Psync, b'\n') => {
                let range = Range::new(input.offset, input.offset + 1);
                out.frame(input.direction, range, format_args!("newline of a master at work"));
                let message = self.message(input.direction, range.to, input.time);
                self.pairing.aside(message, NEWLINE, Side::Replies, false, out);
                self.lanes[input.direction.index()].started = None;
                return Some((1, None));
            }
            _ => {}
        }
        // What is no reply need not wait for the command that it does not answer.
        let wait = Kind::of(first).is_some()
            && self.pairing.must_wait(first)
            && !self.unblocked[input.direction.index()];
        wait.then_some((0, Some(Then::Other("its command"))))
    }

    /// Finds out which direction has the commands.
    fn learn(&mut self, input: &Input<'_>) -> Result<(), Then> {
        let direction = input.direction;
        let other = direction.reverse();
        // The client speaks first. A server does so only to refuse a connection.
        let is_first = self.pairing.is_counted() && !self.lanes[other.index()].begun;
        let is_refusal = matches!(input.data, [b'-'] | [b'-', b'A'..=b'Z', ..]);
        let commands = match detect::side(input.data) {
            _ if is_first && !is_refusal => direction,
            Some(Side::Commands) => direction,
            Some(Side::Replies) => other,
            Some(Side::Either) if self.unblocked[direction.index()] => direction,
            Some(Side::Either) => return Err(Then::Other("what the other direction speaks")),
            None => return Err(Then::More("the rest of the first message")),
        };
        self.set_commands(commands);
        self.report_losses();
        Ok(())
    }

    /// The element under way is complete, or as complete as a gap in it allows.
    fn whole(
        &mut self,
        direction: Direction,
        to: u64,
        time: Timestamp,
        out: &mut dyn Output,
    ) -> Option<Then> {
        let truncated = !self.lanes[direction.index()].causes.is_empty();
        let message = self.message(direction, to, time);
        let then = if self.commands == Some(direction) {
            self.command(message, truncated, out);
            None
        } else {
            self.reply(message, truncated, out)
        };
        self.lanes[direction.index()].reset();
        then
    }

    /// The message that the element under way becomes, without its fields.
    fn message(&mut self, direction: Direction, to: u64, time: Timestamp) -> Message {
        let lane = &mut self.lanes[direction.index()];
        let range = Range::new(lane.from, to);
        let started = lane.started.unwrap_or(time);
        let causes = std::mem::take(&mut lane.causes);
        Message { direction, range, parts: Vec::new(), started, ended: time, fields: Vec::new(), causes }
    }

    fn command(&mut self, mut message: Message, truncated: bool, out: &mut dyn Output) {
        let direction = message.direction;
        let element = &mut self.lanes[direction.index()].element;
        if element.count == Some(0) {
            let summary = if element.is_inline { BLANK_LINE } else { EMPTY_ARRAY };
            message.fields.extend(element.is_inline.then(|| Field::new("inline", Value::Flag(true))));
            out.frame(direction, message.range, format_args!("{summary}"));
            return self.pairing.aside(message, summary, Side::Commands, truncated, out);
        }
        let command = Command::new(element, self.options.show_secrets);
        out.frame(direction, message.range, format_args!("command {}", command.summary));
        message.fields = command.fields;
        message.causes.extend(command.cut.then_some(Cause::FieldTruncated));
        let other = direction.reverse().index();
        self.unblocked[other] = false;
        // Replies that are still being searched for came before this command.
        if !self.lanes[other].undecided {
            self.pairing.next_turn(message.started, out);
        }
        if command.is_clear {
            self.pairing.command(message, command.summary, command.effect, truncated, out);
        } else {
            self.pairing.fragment(message, command.summary, out);
        }
    }

    fn reply(&mut self, mut message: Message, truncated: bool, out: &mut dyn Output) -> Option<Then> {
        let direction = message.direction;
        let mut reply = Reply::new(&mut self.lanes[direction.index()].element);
        match self.pairing.next_effect() {
            Effect::ConfigGet if !self.options.show_secrets => reply.mask_config(),
            Effect::Acl if !self.options.show_secrets => reply.mask_acl(),
            _ => {}
        }
        out.frame(direction, message.range, format_args!("reply {}", reply.summary));
        message.fields = std::mem::take(&mut reply.fields);
        message.causes.extend(reply.cut.then_some(Cause::FieldTruncated));
        let switches = self.pairing.next_effect() == Effect::Psync && reply.kind == Some(Kind::SimpleString);
        self.pairing.reply(message, reply, truncated, out);
        switches.then(switched)
    }

    /// The element under way ends here, incomplete: `rest` are its last bytes.
    fn cut_short(&mut self, rest: Input<'_>, cause: Cause, out: &mut dyn Output) {
        let direction = rest.direction;
        let to = rest.offset + rest.data.len() as u64;
        let lane = &mut self.lanes[direction.index()];
        if lane.reader.at_start() {
            lane.from = rest.offset;
            lane.started.get_or_insert(rest.time);
        }
        if lane.from == to {
            return;
        }
        if self.commands.is_none() {
            let range = Range::new(lane.from, to);
            out.skip(direction, range, cause, format_args!("too little to know what it is"));
            return lane.reset();
        }
        cause.note_in(&mut lane.causes);
        self.whole(direction, to, rest.time, out);
    }

    /// Reads what can be read of bytes that no others will follow. Returns those that are left.
    fn drain<'a>(&mut self, input: Input<'a>, out: &mut dyn Output) -> Input<'a> {
        let direction = input.direction;
        let blocked = !std::mem::replace(&mut self.unblocked[direction.index()], true);
        let progress = self.feed(input, out);
        self.unblocked[direction.index()] = !blocked;
        let offset = input.offset + progress.taken as u64;
        let data = &input.data[progress.taken..];
        let range = Range::new(offset, offset + data.len() as u64);
        let rest = Input { offset: range.to, data: &[], ..input };
        match progress.then {
            Then::More(_) | Then::Other(_) => return Input { offset, data, ..input },
            Then::Malformed { reason, .. } => {
                out.skip(direction, range, Cause::ParseError, format_args!("{reason}"));
            }
            Then::Switched(name) => {
                out.skip(direction, range, Cause::Unsupported, format_args!("{name}"));
            }
            Then::Undeclared(next) => {
                out.skip(direction, range, Cause::Unsupported, format_args!("{}", next.why));
            }
        }
        rest
    }

    /// Messages of a direction are lost from here on: the next is searched.
    fn abandon(&mut self, direction: Direction, cause: Option<Cause>) {
        let lane = &mut self.lanes[direction.index()];
        lane.reset();
        (lane.searching, lane.undecided) = (true, false);
        if self.commands.is_some_and(|commands| commands != direction) {
            self.pairing.lost_replies(cause);
        } else {
            self.pairing.lost_commands(cause);
        }
    }
}

/// True for a line end, or a part of one, or nothing.
fn is_line_end(bytes: &[u8]) -> bool {
    matches!(bytes, b"" | b"\r" | b"\n" | b"\r\n")
}

fn switched() -> Then {
    Then::Switched("redis replication".to_owned())
}
