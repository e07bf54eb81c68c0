//! Which answer belongs to which request.
//!
//! A server answers in the order of the commands, each answer to its end before the next begins. A client takes turns
//! more often than not: it sends a command when all before is answered. After a loss that is what makes pairing certain
//! again; of a client that was seen to send ahead it takes a silence as well.

use super::answer::Answer;
use super::binlog;
use super::packet::{Agreed, EOF, ERR, OK, Packet};
use super::report::Failure;
use super::request::{Infile, Op, Request};
use super::statements::Statements;
use crate::event::{Cause, Timestamp};
use crate::protocol::exchange::{self, Half};
use crate::protocol::{Options, Output};
use crate::record::{Field, Value};
use std::collections::VecDeque;

/// How many requests may wait for their answers.
pub const REQUESTS_MAX: usize = 4096;

/// How many bytes of their fields are kept; later requests are paired as well, but show less.
pub const HELD_MAX: usize = 16 << 20;

/// For so long, in nanoseconds, nothing moved in either direction.
const IDLE: u64 = 1_000_000_000;

/// What an answer did besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Nothing,
    /// The client is who it says to be.
    LoggedIn,
}

/// The state of pairing on one connection.
pub struct Pairing {
    name: &'static str,
    options: Options,
    queue: VecDeque<Request>,
    /// The answer under way: to the first of the queue, or to nothing that is known where `stray`.
    answer: Option<Answer>,
    stray: bool,
    /// How many bytes the fields of the queue hold.
    held: usize,
    /// Since when it can't be told what answers what, and why.
    uncertain: bool,
    lost: Option<Cause>,
    /// The client was seen to send while an answer was due.
    pipelines: bool,
    /// Events of a binary log come.
    streams: bool,
    /// When something moved last.
    last: Timestamp,
}

impl Pairing {
    /// At the beginning of a connection.
    pub fn new(name: &'static str, options: Options) -> Pairing {
        Pairing {
            name,
            options,
            queue: VecDeque::new(),
            answer: None,
            stray: false,
            held: 0,
            uncertain: false,
            lost: None,
            pipelines: false,
            streams: false,
            last: Timestamp::default(),
        }
    }

    /// The connection was open before the first byte that is seen.
    pub fn started_late(&mut self) {
        self.uncertain = true;
    }

    /// True where a packet of the server can only answer a request that is not seen yet.
    pub fn must_wait(&self) -> bool {
        self.queue.is_empty() && self.answer.is_none() && !self.uncertain && !self.streams
    }

    /// The sequence number of the server's next packet, where it is known.
    pub fn expected_seq(&self) -> Option<u8> {
        if self.uncertain {
            return None;
        }
        let front = self.queue.front()?;
        // Here packets of the client come between.
        if front.op == Op::Login || front.infile.is_some() {
            return None;
        }
        match &self.answer {
            Some(answer) if answer.may_be_done || self.stray => None,
            Some(answer) => answer.next_seq,
            None => Some(front.first_seq),
        }
    }

    /// How many bytes of the server's next packet are wanted if it is a row.
    pub fn wants_of_row(&self) -> Option<usize> {
        self.answer.as_ref().and_then(Answer::wants_of_row)
    }

    /// True while a client proves who it is.
    pub fn is_logging_in(&self) -> bool {
        self.queue.back().is_some_and(|last| last.op == Op::Login)
    }

    /// True where a packet of the client with this sequence number goes on with the contents of a local file.
    pub fn goes_on_with_file(&self, seq: u8) -> bool {
        let last = self.queue.back();
        last.is_some_and(|last| last.infile.is_some_and(|file| !file.over) && last.next_seq == seq)
    }

    /// A request begins.
    pub fn push(&mut self, mut request: Request, out: &mut dyn Output) {
        let [started, ended] = [request.half.message.started, request.half.message.ended];
        let quiet = started.since(self.last);
        self.last = self.last.max(ended);
        if self.stray || self.answer.as_ref().is_some_and(|answer| answer.may_be_done) {
            self.end_answer(None, out);
        }
        if self.uncertain {
            if self.pipelines && quiet < IDLE {
                return exchange::unanswered_because(self.name, request.finish(), self.lost, out);
            }
            self.restart(out);
        } else if !self.queue.is_empty() {
            self.pipelines = true;
        }
        if self.queue.len() >= REQUESTS_MAX {
            self.give_up(Some(Cause::Limit), out);
            return exchange::unanswered_because(self.name, request.finish(), Some(Cause::Limit), out);
        }
        let size = weight(&request.half.message.fields);
        if self.held + size > HELD_MAX {
            request.half.message.fields.truncate(1);
            request.half.add_cause(Cause::FieldTruncated);
        }
        self.held += weight(&request.half.message.fields);
        self.streams = false;
        self.queue.push_back(request);
    }

    /// A message of the client that nothing answers.
    pub fn lone(&mut self, half: Half, out: &mut dyn Output) {
        self.last = self.last.max(half.message.ended);
        exchange::lone(self.name, half, true, out);
    }

    /// The client proves who it is.
    pub fn proof(&mut self, packet: &Packet<'_>) {
        self.last = self.last.max(packet.times[1]);
        if let Some(last) = self.queue.back_mut() {
            if let Some((true, cause)) = last.missing(packet.seqs[0]) {
                match &mut self.answer {
                    Some(answer) => answer.miss(cause),
                    None => last.beheaded = Some(cause),
                }
            }
            last.extend(packet);
            last.proofs += 1;
        }
    }

    /// Contents of a local file came; the empty packet is their end. False: there is no request to which they belong.
    pub fn file(&mut self, packet: &Packet<'_>) -> bool {
        self.last = self.last.max(packet.times[1]);
        let Some(last) = self.queue.back_mut() else { return false };
        last.extend(packet);
        let file = last.infile.get_or_insert_with(Infile::default);
        if packet.length == 0 {
            file.over = true;
        } else {
            file.packets += 1;
            file.bytes += packet.length;
        }
        true
    }

    /// A packet of the server came: goes to what it answers, and ends that where it is the last of it.
    pub fn answer(
        &mut self,
        packet: &Packet<'_>,
        agreed: &mut Agreed,
        statements: &mut Statements,
        out: &mut dyn Output,
    ) -> Done {
        self.last = self.last.max(packet.times[1]);
        let ended = self.answer.as_ref().is_some_and(|answer| {
            answer.may_be_done && !self.stray && answer.next_seq != Some(packet.seqs[0])
        });
        if ended && self.queue.len() > 1 {
            self.end_answer(None, out);
        }
        let Some(front) = self.queue.front().filter(|_| !self.stray) else {
            self.unasked(packet, agreed, statements, out);
            return Done::Nothing;
        };
        let is_first = self.answer.is_none();
        let begins = packet.seqs[0] == front.first_seq;
        let is_login = front.op == Op::Login;
        let doubtful = (self.uncertain || is_login) && !front.lenient;
        if is_first && !begins && (doubtful || is_login && packet.seqs[0] < front.first_seq) {
            self.unasked(packet, agreed, statements, out);
            return Done::Nothing;
        }
        if front.op == Op::Binlog && packet.kind() == Some(OK) {
            return self.stream_begins(packet, out);
        }
        let (op, inside) = (front.op.clone(), front.lenient && !begins);
        let missing = match self.queue.front_mut() {
            Some(front) if is_login => front.count(packet),
            // Its number tells that it is not the first.
            Some(front) if is_first && inside => front.lost.map(|(_, cause)| cause),
            _ => None,
        };
        let logs_in = op == Op::Login;
        let options = self.options;
        let answer = self.answer.get_or_insert_with(|| Answer::new(packet, op, inside, options));
        if let Some(cause) = missing {
            answer.miss(cause);
        }
        if !answer.add(packet, agreed, statements) {
            return Done::Nothing;
        }
        let logged_in = logs_in && !answer.has_failed();
        self.end_answer(None, out);
        if logged_in { Done::LoggedIn } else { Done::Nothing }
    }

    /// The first event is paired with the request for all; those behind it come alone.
    fn stream_begins(&mut self, packet: &Packet<'_>, out: &mut dyn Output) -> Done {
        if let Some(request) = self.pop() {
            exchange::pair(self.name, request.finish(), binlog::event(packet), out);
        }
        self.streams = true;
        Done::Nothing
    }

    /// A packet of the server that answers nothing, or what was not seen.
    fn unasked(
        &mut self,
        packet: &Packet<'_>,
        agreed: &mut Agreed,
        statements: &mut Statements,
        out: &mut dyn Output,
    ) {
        if self.streams && packet.kind() == Some(OK) {
            return exchange::lone(self.name, binlog::event(packet), false, out);
        }
        if self.streams && packet.kind() == Some(EOF) {
            self.streams = false;
            return exchange::lone(
                self.name,
                packet.half("EOF (end of the binary log)", Vec::new()),
                false,
                out,
            );
        }
        // A server says so why it ends a connection.
        if self.answer.is_none() && packet.kind() == Some(ERR) && (packet.seqs[0] == 0 || self.streams) {
            let failure = Failure::read(packet, self.options.show_secrets);
            let half = packet.half(failure.summary(), failure.fields());
            return exchange::lone(self.name, half, false, out);
        }
        let inside = packet.seqs[0] != 1;
        let options = self.options;
        let answer = self.answer.get_or_insert_with(|| Answer::new(packet, Op::Unknown, inside, options));
        self.stray = true;
        if answer.add(packet, agreed, statements) {
            self.end_answer(None, out);
        }
    }

    /// Packets of the server were lost. A client that takes turns waits for one answer only, the last, and what still
    /// comes is of that.
    pub fn lost_answers(&mut self, cause: Cause, out: &mut dyn Output) {
        (self.uncertain, self.lost) = (true, Some(cause));
        self.queue.iter_mut().for_each(|request| request.lost = Some((true, cause)));
        if self.pipelines {
            return self.give_up(Some(cause), out);
        }
        if self.stray {
            self.end_answer(Some(cause), out);
        }
        while self.queue.len() > 1 {
            self.end_front(Some(cause), out);
        }
        if let Some(answer) = &mut self.answer {
            answer.lose(cause);
        }
        self.queue.iter_mut().for_each(|request| request.lenient = true);
    }

    /// Packets of the client were lost.
    pub fn lost_requests(&mut self, cause: Cause) {
        (self.uncertain, self.lost) = (true, Some(cause));
        if let Some(last) = self.queue.back_mut() {
            last.lost = Some((false, cause));
            if last.infile.is_some_and(|file| !file.over) {
                last.half.add_cause(cause);
            }
        }
    }

    /// The client sends, so all before is answered.
    fn restart(&mut self, out: &mut dyn Output) {
        let lost = self.lost.take();
        self.give_up(lost, out);
        self.uncertain = false;
        out.step("pairing-restarts", format_args!("all before is answered"));
    }

    /// No more answers come to what waits.
    fn give_up(&mut self, cause: Option<Cause>, out: &mut dyn Output) {
        if self.stray {
            self.end_answer(cause, out);
        }
        while !self.queue.is_empty() {
            self.end_front(cause, out);
        }
    }

    /// The first of the queue has all of its answer that it gets.
    fn end_front(&mut self, cause: Option<Cause>, out: &mut dyn Output) {
        if self.answer.is_some() && !self.stray {
            self.end_answer(cause, out);
        } else if let Some(request) = self.pop() {
            exchange::unanswered_because(self.name, request.finish(), cause, out);
        }
    }

    fn end_answer(&mut self, cause: Option<Cause>, out: &mut dyn Output) {
        let Some(answer) = self.answer.take() else { return };
        let mut response = answer.finish();
        cause.into_iter().for_each(|cause| response.add_cause(cause));
        if std::mem::take(&mut self.stray) {
            return exchange::unasked(self.name, response, out);
        }
        match self.pop() {
            Some(request) => exchange::pair(self.name, request.finish(), response, out),
            None => exchange::unasked(self.name, response, out),
        }
    }

    fn pop(&mut self) -> Option<Request> {
        let request = self.queue.pop_front()?;
        self.held = self.held.saturating_sub(weight(&request.half.message.fields));
        Some(request)
    }

    /// The connection ended: what has no answer gets none.
    pub fn close(&mut self, out: &mut dyn Output) {
        let is_whole = self.answer.as_ref().is_none_or(|answer| answer.may_be_done);
        if self.answer.is_some() {
            self.end_answer((!is_whole).then_some(Cause::Incomplete), out);
        }
        self.give_up(None, out);
    }
}

/// How many bytes fields hold, roughly.
fn weight(fields: &[Field]) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Text(text) => text.len(),
            Value::List(list) => list.iter().map(of).sum::<usize>() + 32,
            Value::Map(pairs) => pairs.iter().map(|(name, value)| of(name) + of(value)).sum::<usize>() + 32,
            _ => 32,
        }
    }
    fields.iter().map(|field| 32 + of(&field.value)).sum()
}
