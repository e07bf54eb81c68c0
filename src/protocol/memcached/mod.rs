//! memcached: the text protocol with its meta commands
//! (<https://github.com/memcached/memcached/blob/master/doc/protocol.txt>).
//!
//! This file leads one connection through its messages; [`command`] and [`answer`] read lines, [`meta`] knows flags,
//! [`request`] and [`reply`] say what messages mean, [`pairing`] and [`quiet`] find out what belongs together, [`detect`]
//! knows the protocol by its content, [`udp`] puts datagrams together.
//!
//! A frame is one command with its data block; or one line of an answer with its data block. An answer is one line, or
//! items or a list up to the line that ends them.
//!
//! Left out: the deprecated binary protocol, which is named ([`binary`]).

mod answer;
mod binary;
mod command;
mod detect;
mod meta;
mod pairing;
mod quiet;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod udp;

use super::endpoint;
use super::exchange;
use super::framed::{Driver, Frame, Framed, Head};
use super::{Datagram, End, Endpoint, Input, Options, Output, Parser, Protocol, Resync};
use crate::event::{Cause, Direction, Timestamp};
use crate::record::Record;
use answer::Code;
use command::{Command, Read, Verb};
use pairing::Pairing;
use reply::Reply;
use request::Ask;

/// The name in records, filters and traces.
const NAME: &str = "memcached";

/// The table's row.
pub static PROTOCOL: Protocol = Protocol {
    name: NAME,
    detect: detect::detect,
    parser,
    datagrams: Some(udp::detect),
    endpoint,
    keep_alives: &[],
};

/// The command; of an answer alone what it is.
fn endpoint(record: &Record) -> Endpoint {
    let command = endpoint::asked(record, "command").map(|name| match command::is_known(name.as_bytes()) {
        true => name.into_owned(),
        false => "unknown command".to_owned(),
    });
    let answer = || endpoint::answered(record, "status").map(|status| status.into_owned());
    let name = command.or_else(answer).unwrap_or_else(|| "answer".to_owned());
    Endpoint { name, failed: endpoint::has_error(record) }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Memcached {
        options,
        client: options.client(),
        spoken: false,
        in_step: true,
        released: false,
        sending: false,
        may_authenticate: true,
        pairing: Pairing::default(),
        open: None,
        tails: Default::default(),
        udp: udp::Udp::default(),
    }))
}

/// The last bytes of a data block of which not all is kept.
#[derive(Clone, Copy, Default)]
struct Tail {
    /// Where they end, from the first byte of their frame.
    end: u64,
    bytes: [u8; 2],
}

/// One connection.
struct Memcached {
    options: Options,
    /// The client's direction, once known.
    client: Option<Direction>,
    /// A line was read.
    spoken: bool,
    /// Every command is known, so that an answer has its own.
    in_step: bool,
    /// The command of the next answer was awaited, and does not come.
    released: bool,
    /// A command is under way whose data block has not come to its end.
    sending: bool,
    /// The next thing stored can be a name and a password.
    may_authenticate: bool,
    pairing: Pairing,
    /// An answer whose end has not come.
    open: Option<Reply>,
    tails: [Tail; 2],
    udp: udp::Udp,
}

impl Framed for Memcached {
    fn head(&mut self, input: Input<'_>) -> Head {
        let data = input.data;
        if !self.spoken && binary::MAGIC.contains(&data[0]) {
            return match binary::header(data) {
                Some(_) => Head::Switched(binary::NAME.to_owned()),
                None if data.len() < binary::HEADER => Head::More("a header of the binary protocol"),
                None => Head::Malformed { length: 1, reason: "no header of the binary protocol".to_owned() },
            };
        }
        self.learn(input);
        if self.client == Some(input.direction.reverse()) {
            self.answer_head(data)
        } else {
            self.command_head(data)
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        let whole_end = self.ends_well(frame);
        if self.client == Some(frame.direction.reverse()) {
            let Read::Line(line) = answer::read(frame.data) else {
                return Err("no line of a server".to_owned());
            };
            if line.block.is_some() && !whole_end {
                return Err("the data block does not end where it should".to_owned());
            }
            out.frame(frame.direction, frame.range, format_args!("{:?} {}", line.code, frame.length));
            self.answered(&line, frame, out);
            return Ok(());
        }
        let Read::Line(command) = command::read(frame.data) else { return Err("no command line".to_owned()) };
        out.frame(frame.direction, frame.range, format_args!("{:?} {}", command.verb, frame.length));
        self.asked(&command, frame, whole_end, out);
        Ok(())
    }

    fn beyond(&mut self, direction: Direction, at: u64, data: &[u8]) {
        let tail = &mut self.tails[direction.index()];
        let bytes = match *data {
            [.., before, last] => [before, last],
            [last] => [if at == tail.end { tail.bytes[1] } else { 0 }, last],
            [] => return,
        };
        *tail = Tail { end: at + data.len() as u64, bytes };
    }

    fn datagram(&mut self, datagram: Datagram<'_>, out: &mut dyn Output) {
        let client = self.client.unwrap_or(datagram.direction);
        self.udp.take(client, &datagram, self.options, out);
    }

    fn continues(&self, datagram: &Datagram<'_>) -> bool {
        self.udp.continues(datagram)
    }

    fn begin_inside(&mut self, _: Direction) {
        (self.in_step, self.may_authenticate) = (false, false);
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        if !self.spoken && at_event && detect::is_binary(data) {
            return Resync::Found(0);
        }
        detect::boundary(self.client.map(|client| client == direction), data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        if self.client == Some(direction.reverse()) {
            if let Some(mut open) = self.open.take() {
                open.add_cause(cause);
                self.pairing.answer(open, false, out);
            }
            self.pairing.lost_answers(cause, out);
        } else {
            (self.sending, self.may_authenticate) = (false, false);
            self.pairing.lost_commands(cause);
        }
    }

    fn unblock(&mut self, _: Direction) {
        self.released = true;
    }

    fn finish(&mut self, direction: Direction, _: End, _: Timestamp, out: &mut dyn Output) {
        if self.client == Some(direction.reverse())
            && let Some(mut open) = self.open.take()
        {
            open.add_cause(Cause::Incomplete);
            self.pairing.answer(open, false, out);
        }
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        self.pairing.close(out);
        self.udp.close(self.options, out);
    }
}

impl Memcached {
    /// Finds out by its content which side sends a direction, where that is not known.
    fn learn(&mut self, input: Input<'_>) {
        if self.client.is_some() {
            return;
        }
        match command::read(input.data) {
            Read::Line(command) if command.verb != Verb::Unknown => self.client = Some(input.direction),
            Read::Line(_) => {
                if let Read::Line(_) = answer::read(input.data) {
                    self.client = Some(input.direction.reverse());
                }
            }
            _ => {}
        }
    }

    fn command_head(&mut self, data: &[u8]) -> Head {
        match command::read(data) {
            Read::Line(command) if command.verb == Verb::Unknown && self.client.is_none() => {
                Head::Malformed { length: command.length, reason: "no command".to_owned() }
            }
            Read::Line(command) => {
                self.spoken = true;
                self.sending = command.block.is_some();
                self.frame_of(command.length, command.block)
            }
            Read::Begun => Head::More("the end of a command line"),
            Read::No(proof) => Head::Malformed { length: proof, reason: "no command line".to_owned() },
        }
    }

    fn answer_head(&mut self, data: &[u8]) -> Head {
        match answer::read(data) {
            Read::Line(line) => {
                // The call that sends a command may be seen to end after the one that reads its answer.
                let is_early = self.pairing.is_idle() && self.open.is_none() && !self.sending;
                if is_early && self.in_step && !self.released && line.code != Code::Log {
                    return Head::Other("the command that it answers");
                }
                self.spoken = true;
                self.frame_of(line.length, line.block)
            }
            Read::Begun => Head::More("the end of a line"),
            Read::No(proof) => {
                Head::Malformed { length: proof.min(data.len()), reason: "no line of a server".to_owned() }
            }
        }
    }

    /// A line, and its data block as far as it is shown.
    fn frame_of(&self, length: usize, block: Option<u64>) -> Head {
        let Some(bytes) = block else { return Head::Frame { length: length as u64, keep: length } };
        let whole = length as u64 + bytes + 2;
        let shown = self.options.max_field as u64;
        let keep = if bytes <= shown { whole } else { length as u64 + shown };
        Head::Frame { length: whole, keep: usize::try_from(keep).unwrap_or(usize::MAX) }
    }

    /// Whether a frame ends with the end of a line, as far as that can be known.
    fn ends_well(&mut self, frame: &Frame<'_>) -> bool {
        let tail = std::mem::take(&mut self.tails[frame.direction.index()]);
        if frame.is_all() {
            return frame.data.ends_with(b"\r\n");
        }
        frame.is_cut() || tail.end != frame.length || tail.bytes == *b"\r\n"
    }

    fn asked(&mut self, command: &Command<'_>, frame: &Frame<'_>, whole_end: bool, out: &mut dyn Output) {
        self.sending = false;
        self.in_step = true;
        let credentials = std::mem::take(&mut self.may_authenticate) && command.verb == Verb::Set;
        let half = request::half(command, frame, self.options, credentials);
        if command.noreply || command.verb == Verb::Quit {
            return exchange::lone(NAME, half, true, out);
        }
        let bad_block = command.block.is_some() && !whole_end;
        self.pairing.command(Ask::new(command, bad_block), half, out);
    }

    fn answered(&mut self, line: &answer::Line<'_>, frame: &Frame<'_>, out: &mut dyn Output) {
        self.released = false;
        // The next try is expected then.
        self.may_authenticate |= line.code == Code::ClientError
            && [&b"CLIENT_ERROR unauthenticated"[..], b"CLIENT_ERROR authentication failure"]
                .contains(&line.text);
        if let Some(mut open) = self.open.take() {
            if open.goes_on_with(line) {
                open.add(line, frame, self.options);
                return self.keep_or_pair(open, out);
            }
            open.add_cause(Cause::Incomplete);
            self.pairing.answer(open, self.sending, out);
        }
        let reply = Reply::new(line, frame, self.options);
        if line.code == Code::Log || detect::is_refusal(line) {
            return exchange::lone(NAME, reply.half(None), false, out);
        }
        self.keep_or_pair(reply, out);
    }

    fn keep_or_pair(&mut self, reply: Reply, out: &mut dyn Output) {
        if reply.last.is_none() {
            self.open = Some(reply);
        } else {
            self.pairing.answer(reply, self.sending, out);
        }
    }
}
