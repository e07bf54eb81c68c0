//! Which answer belongs to which request.
//!
//! A server answers in the order of the messages, so pairing is following what is owed ([`Op`]). After an error in the
//! extended protocol it passes over everything up to the next Sync. That every message fits what is owed is checked;
//! where one does not, or messages were lost, nothing is paired until it is certain again, see
//! [`Pairing::may_restart`].

use super::answer::Answer;
use super::request::{Op, Request};
use super::statements::Tables;
use crate::event::{Cause, Timestamp};
use crate::protocol::exchange::{self, Half};
use crate::protocol::framed::Frame;
use crate::protocol::{Options, Output};
use std::collections::VecDeque;

/// How many requests may wait for their answers.
pub const REQUESTS_MAX: usize = 16_384;

/// How many bytes of their fields are kept; later requests are paired as well, but show less.
pub const HELD_MAX: usize = 16 << 20;

/// For so long, in nanoseconds, nothing moved in either direction.
const IDLE: u64 = 1_000_000_000;

/// The state of pairing on one connection.
pub struct Pairing {
    options: Options,
    name: &'static str,
    queue: VecDeque<Request>,
    /// The answer under way: to the first of the queue, or to nothing that is known where `stray`.
    answer: Option<Answer>,
    stray: bool,
    held: usize,
    /// Since when the count is not believed.
    uncertain: bool,
    /// The count is believed because the client takes turns, not because nothing was missed.
    assumed: bool,
    /// Only answers were lost since the count was believed.
    asked_all: bool,
    /// The server has let the client in, and was not ready since.
    admitted: bool,
    /// The client was seen to send while answers to earlier cycles were due.
    pipelines: bool,
    /// The server passes over messages up to a Sync that has not come.
    discarding: bool,
    /// A COPY failed: what still comes of its data is for nothing.
    copy_failed: bool,
    /// Such data.
    ignored: Option<(Half, u64, u64)>,
    /// Why bytes before the next message of the server are missing, where an answer was due.
    lost: Option<Cause>,
    /// The last message of the server was ReadyForQuery.
    ready: bool,
    /// When something moved last.
    last: Timestamp,
    /// How long nothing had moved when the client's last message began, in nanoseconds.
    quiet: u64,
}

impl Pairing {
    /// At the beginning of a connection.
    pub fn new(name: &'static str, options: Options) -> Pairing {
        Pairing {
            options,
            name,
            queue: VecDeque::new(),
            answer: None,
            stray: false,
            held: 0,
            uncertain: false,
            assumed: false,
            asked_all: true,
            admitted: false,
            pipelines: false,
            discarding: false,
            copy_failed: false,
            ignored: None,
            lost: None,
            ready: false,
            last: Timestamp::default(),
            quiet: 0,
        }
    }

    /// The connection was open before the first byte that is seen.
    pub fn started_late(&mut self) {
        (self.uncertain, self.asked_all) = (true, false);
    }

    /// True where nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.answer.is_none()
    }

    /// True where an answer is under way.
    pub fn is_answering(&self) -> bool {
        self.answer.is_some()
    }

    /// True where it can't be told now what answers what.
    pub fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// The answer to the request to encrypt came.
    pub fn negotiated(&mut self, response: Half, out: &mut dyn Output) {
        let asked = matches!(self.next_op(), Some(Op::Negotiate(_)));
        match asked.then(|| self.pop()).flatten() {
            Some(request) => {
                exchange::pair(self.name, request.finish(self.options.max_field), response, out);
            }
            None => exchange::unasked(self.name, response, out),
        }
    }

    /// True where a message of the server can only answer a request that is not seen yet.
    pub fn must_wait(&self) -> bool {
        self.queue.is_empty() && self.answer.is_none() && !self.uncertain && !self.assumed
    }

    /// What is owed next.
    pub fn next_op(&self) -> Option<&Op> {
        self.queue.front().filter(|request| !request.orphan).and_then(|request| request.ops.front())
    }

    /// How many bytes of the next row are wanted.
    pub fn wants_of_row(&self) -> usize {
        self.answer.as_ref().map_or(self.options.max_field, Answer::wants_of_row)
    }

    /// Whether messages of the client go into the last request.
    pub fn last_is_open(&self) -> bool {
        self.queue.back().is_some_and(|request| !request.ended)
    }

    /// The last request.
    pub fn last(&mut self) -> Option<&mut Request> {
        self.queue.back_mut()
    }

    /// A message of the client came that is no data of a COPY.
    pub fn client_moves(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        self.copy_failed = false;
        self.flush_ignored(out);
        self.quiet = frame.times[0].since(self.last);
        self.last = self.last.max(frame.times[1]);
    }

    /// A request begins.
    pub fn push(&mut self, mut request: Request, out: &mut dyn Output) {
        let begins_cycle = self.queue.back().is_none_or(Request::ends_cycle);
        if self.uncertain {
            if begins_cycle && self.may_restart() {
                self.restart(out);
                request.lenient = true;
            } else {
                request.orphan = true;
            }
        }
        if self.queue.len() >= REQUESTS_MAX {
            self.lose_all(Some(Cause::Limit), out);
            request.orphan = true;
        }
        request.discarded = self.discarding;
        self.queue.push_back(request);
    }

    /// The last request has all that it has for now: what it holds is counted, and it is a record if nothing is owed.
    pub fn settle(&mut self, out: &mut dyn Output) {
        let Some(last) = self.queue.back_mut() else { return };
        if self.discarding {
            let ops = std::mem::take(&mut last.ops);
            last.ops = ops.into_iter().filter(|op| *op == Op::Sync).collect();
            self.discarding = last.ops.is_empty();
        }
        self.held -= std::mem::take(&mut last.counted);
        if self.held + last.held() > HELD_MAX {
            last.lighten();
        }
        last.counted = last.held();
        self.held += last.counted;
        if !last.ended || !last.ops.is_empty() {
            return;
        }
        let is_answered = self.queue.len() == 1 && self.answer.is_some() && !self.stray;
        if is_answered {
            return self.end_answer(None, out);
        }
        // Nothing is owed for a Flush, nor for what is passed over.
        if let Some(request) = self.queue.pop_back() {
            self.held -= request.counted;
            self.unpaired(request, out);
        }
    }

    /// Whether all that was sent before a new cycle must be answered by now. So it is where the client takes
    /// turns, that is, was never seen to send ahead: it sends only what it has to send when all before is answered. Of
    /// others, where the server was ready and the connection was quiet for [`IDLE`].
    fn may_restart(&self) -> bool {
        !self.pipelines || self.ready && self.quiet >= IDLE
    }

    fn restart(&mut self, out: &mut dyn Output) {
        // Who logs in can't send ahead.
        let is_login = |request: &Request| matches!(request.ops.front(), Some(Op::Login));
        let logs_in = self.asked_all && !self.queue.is_empty() && self.queue.iter().all(is_login);
        self.end_answer(None, out);
        while let Some(request) = self.pop() {
            self.unanswered(request, None, out);
        }
        (self.uncertain, self.assumed, self.discarding) = (false, !logs_in, false);
        self.asked_all = true;
        out.step("pairing-restarts", format_args!("all before is answered"));
    }

    /// Gives up what waits.
    pub fn lose_all(&mut self, cause: Option<Cause>, out: &mut dyn Output) {
        self.end_answer(cause, out);
        while let Some(request) = self.pop() {
            self.unanswered(request, cause, out);
        }
        (self.uncertain, self.discarding, self.asked_all) = (true, false, false);
    }

    /// Messages of the server were lost. A client that takes turns waits for one cycle only, the last, and what
    /// still comes answers that.
    pub fn lost_answers(&mut self, cause: Cause, out: &mut dyn Output) {
        // The end of a login may be among them.
        (self.ready, self.admitted) = (false, false);
        if self.pipelines {
            return self.lose_all(Some(cause), out);
        }
        // The one byte that answers it would have been the next.
        if matches!(self.next_op(), Some(Op::Negotiate(_)))
            && let Some(request) = self.pop()
        {
            self.unanswered(request, Some(cause), out);
        }
        let closed = self.queue.iter().rev().skip(1).position(Request::ends_cycle);
        let last_cycle = closed.map_or(self.queue.len(), |at| at + 1);
        let explained = self.queue.len() > last_cycle;
        if self.stray || explained {
            self.end_answer(Some(cause), out);
        }
        while self.queue.len() > last_cycle
            && let Some(request) = self.pop()
        {
            self.unanswered(request, Some(cause), out);
        }
        if let Some(answer) = &mut self.answer {
            answer.add_cause(cause);
        }
        self.lost = (!explained && self.answer.is_none() && !self.queue.is_empty()).then_some(cause);
        self.queue.iter_mut().for_each(|request| request.lenient = true);
        self.uncertain = true;
    }

    /// Messages of the client were lost.
    pub fn lost_requests(&mut self, cause: Cause) {
        if let Some(last) = self.queue.back_mut() {
            if !last.ends_cycle() {
                last.half.add_cause(cause);
                (last.lenient, last.ended) = (true, true);
            } else if last.copy.begun && !last.copy.over {
                last.half.add_cause(cause);
            }
        }
        (self.uncertain, self.discarding, self.asked_all) = (true, false, false);
    }

    /// Data of a COPY came from the client: CopyData, CopyDone or CopyFail. False: it belongs to no request.
    pub fn copy_in(&mut self, frame: &Frame<'_>, kind: u8, name: &'static str, out: &mut dyn Output) -> bool {
        self.last = self.last.max(frame.times[1]);
        let bytes = frame.length.saturating_sub(super::message::HEADER as u64);
        if self.copy_failed {
            let (half, messages, total) = self.ignored.get_or_insert_with(|| {
                (Half::new(frame.direction, frame.range, frame.times, "", Vec::new()), 0, 0)
            });
            half.extend(frame.range, frame.times[1], &frame.causes);
            *messages += u64::from(kind == b'd');
            *total += if kind == b'd' { bytes } else { 0 };
            if kind != b'd' {
                self.flush_ignored(out);
            }
            return true;
        }
        let Some(last) = self.queue.back_mut().filter(|last| !last.copy.over) else { return false };
        last.extend(frame, name);
        last.copy.begun = true;
        if kind == b'd' {
            last.copy.messages += 1;
            last.copy.bytes += bytes;
        } else {
            last.copy.over = true;
        }
        true
    }

    fn flush_ignored(&mut self, out: &mut dyn Output) {
        if let Some((mut half, messages, bytes)) = self.ignored.take() {
            half.summary =
                format!("{messages} CopyData, {bytes} bytes: passed over by the server, the COPY has failed");
            half.message.fields = vec![
                super::request::text("type", "CopyData"),
                super::request::number("copy_messages", messages),
                super::request::number("copy_bytes", bytes),
            ];
            exchange::lone(self.name, half, true, out);
        }
    }

    /// A message of the server came: goes to what it answers, and ends that where it is the last of it.
    pub fn answer(&mut self, kind: u8, frame: &Frame<'_>, tables: &mut Tables, out: &mut dyn Output) {
        self.last = self.last.max(frame.times[1]);
        self.ready = kind == b'Z';
        self.admitted |= kind == b'R' && super::startup::admits(frame);
        self.answer_to(kind, frame, tables, out);
        // What was sent before the end of the login was a part of it, lost or not.
        if kind == b'Z' && std::mem::take(&mut self.admitted) && self.queue.is_empty() {
            (self.uncertain, self.assumed, self.asked_all) = (false, false, true);
        }
    }

    fn answer_to(&mut self, kind: u8, frame: &Frame<'_>, tables: &mut Tables, out: &mut dyn Output) {
        let answerable = self.queue.front().is_some_and(|request| !request.orphan);
        if !answerable || self.stray {
            return self.stray_answer(kind, frame, out);
        }
        if kind == b'E' {
            return self.error(frame, tables, out);
        }
        let Some(ends) = self.advance(kind, frame, tables, out) else {
            out.step("pairing-lost", format_args!("{} fits no request", char::from(kind)));
            self.lose_all(None, out);
            return self.stray_answer(kind, frame, out);
        };
        self.add(kind, frame);
        if ends {
            self.end_front(out);
        }
        if kind == b'Z' {
            self.learn_turns(out);
        }
    }

    /// At ReadyForQuery: whether the client has sent the next cycle already.
    fn learn_turns(&mut self, out: &mut dyn Output) {
        if self.queue.is_empty() || self.pipelines {
            return;
        }
        self.pipelines = true;
        if self.assumed || self.uncertain {
            out.step("pairing-lost", format_args!("the client does not take turns"));
            self.lose_all(None, out);
        }
    }

    fn add(&mut self, kind: u8, frame: &Frame<'_>) {
        let options = self.options;
        let answer = self.answer.get_or_insert_with(|| Answer::new(frame, options));
        self.lost.take().into_iter().for_each(|cause| answer.add_cause(cause));
        answer.add(kind, frame);
    }

    /// Finds what a message answers. `None`: nothing. Else whether it is the last of its request's answer.
    fn advance(
        &mut self,
        kind: u8,
        frame: &Frame<'_>,
        tables: &mut Tables,
        out: &mut dyn Output,
    ) -> Option<bool> {
        if matches!(kind, b'N' | b'S' | b'A') {
            return Some(false);
        }
        loop {
            let front = self.queue.front_mut().filter(|front| !front.orphan)?;
            let fits = |op: &Op| step(op, kind, frame).is_some();
            let lenient = front.lenient;
            let reach = if lenient { front.ops.len() } else { 1 };
            let at = front.ops.iter().take(reach).position(fits);
            let Some(at) = at else {
                if !lenient {
                    return None;
                }
                // What is owed is not known exactly: it can answer a message that was not seen, or a later request.
                let later = self.queue.iter().skip(1).take_while(|next| !next.orphan);
                let is_later = later.take(8).any(|next| next.ops.iter().any(fits));
                if !is_later {
                    return Some(kind == b'Z');
                }
                self.end_front(out);
                continue;
            };
            front.ops.drain(..at);
            let op = front.ops.front()?;
            if kind == b't'
                && let Op::DescribeStatement(name) = op
            {
                tables.describe(name, super::parameter_types(frame));
            }
            if kind == b'G' {
                front.copy.begun = true;
                // A server that waits for the data of a COPY passes over Sync and Flush.
                while front.ops.get(1) == Some(&Op::Sync) {
                    front.ops.remove(1);
                    (front.synced, front.takes_end) = (false, true);
                }
            }
            if step(front.ops.front()?, kind, frame)? {
                front.ops.pop_front();
            }
            return Some(front.ops.is_empty() && front.ended);
        }
    }

    /// The server refused: what is owed up to the next Sync never comes.
    fn error(&mut self, frame: &Frame<'_>, tables: &mut Tables, out: &mut dyn Output) {
        self.add(b'E', frame);
        let Some(front) = self.queue.front_mut() else { return };
        let fatal = self.answer.as_ref().is_some_and(Answer::is_fatal);
        let in_copy = front.copy.begun && !front.copy.over;
        self.copy_failed |= in_copy;
        let knows_all = !front.lenient || front.synced;
        match front.ops.front() {
            _ if fatal => return self.end_front(out),
            Some(Op::Negotiate(_) | Op::Login) => return self.end_front(out),
            Some(Op::Query | Op::Function | Op::CopyEnd | Op::StreamEnd) => return,
            // Its Sync may be among what was lost: the error ends at ReadyForQuery.
            _ if !knows_all => return,
            _ => {}
        }
        let mut discard = |request: &mut Request| {
            let at = request.ops.iter().position(|op| *op == Op::Sync).unwrap_or(request.ops.len());
            for op in request.ops.drain(..at) {
                if let Op::Parse(name) = op {
                    tables.close_statement(&name);
                }
            }
            request.ops.is_empty()
        };
        let mut open = discard(front);
        front.ended |= open;
        if open {
            self.end_front(out);
            while open && let Some(next) = self.queue.front_mut().filter(|next| !next.orphan) {
                open = discard(next);
                next.discarded = true;
                if open {
                    next.ended = true;
                    if let Some(request) = self.pop() {
                        self.unpaired(request, out);
                    }
                }
            }
            self.discarding = open;
        }
    }

    /// What answers nothing that is known: up to ReadyForQuery.
    fn stray_answer(&mut self, kind: u8, frame: &Frame<'_>, out: &mut dyn Output) {
        if self.answer.is_none() {
            self.stray = true;
        }
        self.add(kind, frame);
        if kind == b'Z' || self.answer.as_ref().is_some_and(Answer::is_fatal) {
            self.end_answer(None, out);
        }
    }

    /// The answer under way is all there is of it.
    fn end_answer(&mut self, cause: Option<Cause>, out: &mut dyn Output) {
        let Some(mut answer) = self.answer.take() else { return };
        cause.into_iter().for_each(|cause| answer.add_cause(cause));
        if std::mem::take(&mut self.stray) {
            return exchange::unasked(self.name, answer.finish(), out);
        }
        match self.pop() {
            Some(request) => {
                exchange::pair(self.name, request.finish(self.options.max_field), answer.finish(), out);
            }
            None => exchange::unasked(self.name, answer.finish(), out),
        }
    }

    /// The first request is answered, or never will be.
    fn end_front(&mut self, out: &mut dyn Output) {
        if self.answer.is_some() {
            return self.end_answer(None, out);
        }
        if let Some(request) = self.pop() {
            self.unanswered(request, None, out);
        }
    }

    fn pop(&mut self) -> Option<Request> {
        self.lost = None;
        let request = self.queue.pop_front()?;
        self.held -= request.counted;
        Some(request)
    }

    /// A request to which nothing is owed.
    fn unpaired(&mut self, request: Request, out: &mut dyn Output) {
        if request.orphan || request.lenient && !request.discarded {
            return self.unanswered(request, None, out);
        }
        exchange::lone(self.name, request.finish(self.options.max_field), true, out);
    }

    fn unanswered(&mut self, request: Request, cause: Option<Cause>, out: &mut dyn Output) {
        let half = request.finish(self.options.max_field);
        exchange::unanswered_because(self.name, half, cause, out);
    }

    /// The connection or the trace ended.
    pub fn close(&mut self, out: &mut dyn Output) {
        self.flush_ignored(out);
        // An answer that lacks its end is cut by the end of the connection.
        self.end_answer(Some(Cause::Incomplete), out);
        while let Some(request) = self.pop() {
            self.unanswered(request, None, out);
        }
    }
}

/// What a message means for what is owed: `None`, it does not answer that; else whether nothing more is owed for it.
fn step(op: &Op, kind: u8, frame: &Frame<'_>) -> Option<bool> {
    let fits = |kinds: &[u8]| kinds.contains(&kind);
    match op {
        Op::Negotiate(_) => None,
        Op::Login => match kind {
            b'R' => Some(super::startup::awaits_client(frame)),
            b'Z' => Some(true),
            _ => fits(b"vK").then_some(false),
        },
        // A Query that begins streaming in both directions is answered: what comes then are messages of their own.
        Op::Query => fits(b"TDCIGHWdcZ").then_some(matches!(kind, b'Z' | b'W')),
        Op::Function => fits(b"VZ").then_some(kind == b'Z'),
        Op::Parse(_) => (kind == b'1').then_some(true),
        Op::Bind => (kind == b'2').then_some(true),
        Op::DescribeStatement(_) => fits(b"tTn").then_some(kind != b't'),
        Op::DescribePortal => fits(b"Tn").then_some(true),
        Op::Execute => fits(b"DGHdcCIs").then_some(fits(b"CIs")),
        Op::Close => (kind == b'3').then_some(true),
        Op::Sync => (kind == b'Z').then_some(true),
        Op::CopyEnd => fits(b"CZ").then_some(kind == b'Z'),
        Op::StreamEnd => fits(b"TDCcdZ").then_some(kind == b'Z'),
    }
}
