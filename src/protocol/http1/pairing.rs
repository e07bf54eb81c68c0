//! Which response answers which request: by order (RFC 9112, section 9.3.2), and carefully so where
//! some are lost.
//!
//! A wrong pair is worse than none. While both directions are whole, the n-th response answers the n-th
//! request. After a loss:
//!
//! - Requests that were known before other requests got lost are still answered in order.
//! - Where responses got lost, the one whose first byte is missing is given up. Of the requests left the
//!   next response answers one; if only one is left, this is certain.
//! - Behind lost requests nobody can count. A client that is known to wait for each response before its
//!   next request ([`TURNS`]) has its responses in step all the same: the next one answers its latest
//!   request. So has one to which nothing was owed when something got lost that has no room for two requests, and
//!   whose next request came when one response had been seen since, to the end, that answers none that is known. Of a
//!   client that pipelines, or may, the rest stays unpaired.
//! - When nothing has moved for a while ([`REST`]) and no request is open, nothing is owed: the count starts anew.
//! - Where bytes of responses that nobody asked for get lost, the server is ahead of its client: the rest stays unpaired.
//! - A loss that seldom hides a whole request ([`Lost::BeforeStart`], [`Lost::Tail`]) is not held against
//!   a client that was not seen to pipeline: a trace of cut calls would be useless otherwise.
//!
//! All else becomes lone requests and lone responses, each decision a `step` of the trace.

use super::arrivals::Arrival;
use crate::event::{Cause, Timestamp};
use crate::protocol::Output;
use crate::record::{Field, Message, Record, Status, Value};
use std::collections::VecDeque;

/// Most requests that wait for their responses. Those beyond it become records at once, with
/// [`Cause::Limit`].
const MAX_WAITING: usize = 1024;

/// After so many exchanges one at a time a client is believed not to pipeline. Not 1: clients that
/// pipeline often try the server with one request first.
const TURNS: u32 = 2;

/// A response may be seen before its request: the call that sends the request may return after the one of
/// another thread that reads the response. Beyond so many nanoseconds it was sent without being asked for,
/// as servers do that time out (408) or break the protocol.
const EARLY: u64 = 100_000_000;

/// After so many nanoseconds without a byte no answer is owed to requests that nothing is seen of. Longer than
/// servers take for all but few requests, and a client that keeps a pipeline full leaves no such pause.
const REST: u64 = 1_000_000_000;

/// A message that is as whole as it will be.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) message: Message,
    /// It lacks bytes.
    pub(super) truncated: bool,
}

/// What the answer of a request depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// Arrival of the request's first byte.
    pub(super) arrival: Arrival,
    /// Bytes of its head.
    pub(super) length: u64,
    /// Bytes between the last message of the client and this one.
    pub(super) room: u64,
    /// HEAD: the response has no body, whatever its head says.
    pub(super) head: bool,
    /// CONNECT: a 2xx response makes a tunnel.
    pub(super) connect: bool,
    /// A 100 (Continue) may come first.
    pub(super) expects_continue: bool,
    /// Bytes in front of its final response are lost, but perhaps only those of a 100.
    pub(super) hit: Option<Cause>,
}

/// What may hide in a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Everything before the trace began. Usually no request is open at that moment.
    BeforeStart,
    /// The end of what one call or packet moved. Usually it held no more than one request.
    Tail,
    /// Any number of messages.
    Messages,
}

/// To which request a response belongs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Match {
    /// To this one.
    Known(u64, Asked),
    /// It can't be told, says why: the response stays alone.
    Lone(&'static str),
    /// None is known that waits for an answer.
    None,
}

/// A request and what is known of its answer.
#[derive(Debug)]
struct Exchange {
    id: u64,
    asked: Asked,
    /// Absent while the request is under way.
    request: Option<Half>,
    answer: Answer,
    doubt: Option<Doubt>,
}

#[derive(Debug)]
enum Answer {
    /// Not begun.
    Open,
    UnderWay,
    Whole(Half),
    /// None will be paired, for these causes.
    GivenUp(Vec<Cause>),
}

/// Why it is not certain that the next response answers a request.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// No request before it is lost, only responses are.
    intact: bool,
    /// A response began (or was lost) between the loss and the request.
    answered: bool,
    /// The loss is of a kind that seldom hides a request that nothing is seen of.
    mild: bool,
    /// No request was open when it was lost, and there is no room for two.
    quiet: bool,
    /// Responses between the loss and the request that answer none that is known: none, one, or more.
    unasked: u8,
}

impl Doubt {
    /// Of requests that may be lost, or given up, in front of the next one.
    fn open() -> Doubt {
        Doubt { intact: false, answered: true, mild: false, quiet: false, unasked: 0 }
    }
}

/// The requests of one connection that wait for something.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    queue: VecDeque<Exchange>,
    next_id: u64,
    /// Set while requests may be lost after the last one of `queue`.
    lost: Option<Doubt>,
    /// The client was seen to send a request before the last one was answered.
    pipelines: bool,
    /// Messages of the connection are lost.
    lossy: bool,
    /// How many times in a row nothing was open when a response was whole.
    turns: u32,
    /// Requests that were given up for [`MAX_WAITING`], whose responses are still to come.
    beyond: u64,
    /// The response under way answers one of them.
    answers_beyond: bool,
    /// A response began, or was lost, at this [`Arrival::order`] while no request was known. A request that
    /// came before, its head still waiting for its end, is the one that it answered.
    unasked: Option<(u64, Option<Cause>)>,
    /// When the last message was whole, or the last loss known.
    moved: Timestamp,
    /// When the last response was whole.
    answered: Timestamp,
    /// Bytes of the shortest head of a request.
    shortest: Option<u64>,
}

impl Pairing {
    /// A request's head was read.
    pub(super) fn begin_request(&mut self, asked: Asked) -> u64 {
        self.next_id += 1;
        let shortest = self.shortest.map_or(asked.length, |known| known.min(asked.length));
        self.shortest = Some(shortest);
        let is_open = self.queue.iter().any(|one| matches!(one.answer, Answer::Open | Answer::UnderWay));
        if !is_open && asked.arrival.time.since(self.moved) >= REST {
            (self.lost, self.unasked) = (None, None);
        }
        if let Some(lost) = &mut self.lost {
            lost.quiet &= asked.room < 2 * shortest;
        }
        let last_open = self.queue.iter().rev().find(|exchange| exchange.is_open());
        self.pipelines |= last_open.is_some_and(|last| last.asked.arrival.order == asked.arrival.order);
        let answer = if self.beyond > 0 || self.queue.len() >= MAX_WAITING {
            self.beyond += 1;
            Answer::GivenUp(vec![Cause::Limit])
        } else {
            match self.unasked.take() {
                Some((lost, cause)) if asked.arrival.order <= lost => {
                    Answer::GivenUp(cause.into_iter().collect())
                }
                // A gap took, or cut, responses that nobody had asked for: this request may be the one they answer.
                Some(_) if self.lost.is_none() => {
                    self.pipelines = true;
                    self.lost = Some(Doubt::open());
                    Answer::Open
                }
                _ => Answer::Open,
            }
        };
        let doubt = self.lost.take();
        self.queue.push_back(Exchange { id: self.next_id, asked, request: None, answer, doubt });
        self.next_id
    }

    /// A request is whole, or as whole as it will be.
    pub(super) fn end_request(&mut self, id: u64, half: Half, out: &mut dyn Output) {
        self.moved = self.moved.max(half.message.ended);
        if let Some(exchange) = self.find(id) {
            exchange.request = Some(half);
        }
        self.settle(out);
    }

    /// Finds the request that the response beginning at `arrival` answers, and marks it so.
    pub(super) fn begin_response(&mut self, arrival: Arrival, out: &mut dyn Output) -> Match {
        let Some(first) = self.queue.iter().position(Exchange::is_open) else {
            if self.beyond > 0 {
                self.beyond -= 1;
                self.answers_beyond = true;
                return Match::Lone("its request was beyond the bound of waiting ones");
            }
            return Match::None;
        };
        let is_candidate = |exchange: &Exchange| exchange.may_be_answered_at(arrival);
        let candidates = self.queue.iter().filter(|exchange| is_candidate(exchange)).count();
        let mut answered = first;
        let asked_at = self.queue.iter().rfind(|one| is_candidate(one)).map(|one| one.asked.arrival.time);
        if let Some(doubt) = &mut self.queue[first].doubt {
            if candidates == 0 {
                doubt.answered = true;
                doubt.unasked = doubt.unasked.saturating_add(1);
                self.pipelines |= doubt.unasked > 1;
                return self.lone("it came before any request that may be its own");
            }
            let in_turn = doubt.mild && doubt.answered
                || doubt.quiet && doubt.unasked == 1 && asked_at >= Some(self.answered);
            let waits = !self.pipelines && (self.turns >= TURNS || (in_turn && candidates == 1));
            let hidden = self.lost.is_some_and(|lost| !lost.mild);
            if waits && !hidden {
                // Who waits for each answer has had, or lost, those to all its requests but the last.
                answered = self.queue.iter().rposition(is_candidate).unwrap_or(first);
                self.give_up_before(answered, out);
            } else if !doubt.intact || candidates > 1 || hidden {
                // Answers that are owed to these can be told from those to later requests only where the
                // client is known not to pipeline.
                self.pipelines |= !waits;
                self.give_up_candidates(arrival, candidates, out);
                return self.lone("requests or responses are lost, it may answer several requests");
            }
        } else if self.came_too_early(arrival, first) {
            return self.lone("it came before the request that waits");
        } else {
            self.pipelines |= candidates > 1;
        }
        let exchange = &mut self.queue[answered];
        exchange.doubt = None;
        exchange.answer = Answer::UnderWay;
        let found = Match::Known(exchange.id, exchange.asked);
        self.note_answer();
        self.settle(out);
        found
    }

    /// True where a response came so long before the request at `index` that it can't be its own. Where
    /// something is lost already, any time is too long.
    fn came_too_early(&self, arrival: Arrival, index: usize) -> bool {
        let exchange = &self.queue[index];
        let early = exchange.asked.arrival.time.since(arrival.time);
        early > EARLY || (self.lossy && !exchange.may_be_answered_at(arrival))
    }

    /// A response begins that belongs to no known request.
    pub(super) fn begin_lone_response(&mut self, arrival: Arrival) {
        self.unasked = Some((arrival.order, None));
        self.note_unasked();
    }

    /// A response that answers no known request, behind a loss of requests.
    fn note_unasked(&mut self) {
        self.note_answer();
        if let Some(lost) = &mut self.lost {
            lost.unasked = lost.unasked.saturating_add(1);
            self.pipelines |= lost.unasked > 1;
        }
    }

    fn lone(&mut self, why: &'static str) -> Match {
        self.note_answer();
        Match::Lone(why)
    }

    fn note_answer(&mut self) {
        if let Some(lost) = &mut self.lost {
            lost.answered = true;
        }
    }

    /// A response is whole, or as whole as it will be.
    pub(super) fn end_response(&mut self, id: Option<u64>, half: Half, out: &mut dyn Output) {
        self.answered = half.message.ended;
        self.moved = self.moved.max(half.message.ended);
        let is_beyond = std::mem::take(&mut self.answers_beyond) && id.is_none();
        match id.and_then(|id| self.find(id)) {
            Some(exchange) => exchange.answer = Answer::Whole(half),
            None => {
                let causes = if is_beyond { vec![Cause::Limit] } else { Vec::new() };
                out.record(alone(record(None, Some(half)), causes));
            }
        }
        match self.queue.iter().any(Exchange::is_open) {
            _ if id.is_none() || self.lost.is_some() => {}
            true => self.turns = 0,
            false => self.turns = self.turns.saturating_add(1),
        }
        self.settle(out);
    }

    /// An unknown number of requests is lost, as was known at `time`.
    pub(super) fn requests_lost(&mut self, loss: Lost, time: Timestamp) {
        self.moved = self.moved.max(time);
        self.lossy |= loss == Lost::Messages;
        self.lost = Some(Doubt {
            answered: loss == Lost::BeforeStart,
            mild: loss != Lost::Messages,
            quiet: self.lost.is_none_or(|known| known.quiet) && !self.is_owed(),
            ..Doubt::open()
        });
    }

    /// An unknown number of responses is lost. `first_hit`: among the lost bytes is the first byte of
    /// the next one. `order`: what was fed before has it, or a smaller one, as its [`Arrival::order`].
    pub(super) fn responses_lost(&mut self, first_hit: bool, cause: Cause, order: u64, out: &mut dyn Output) {
        self.lossy = true;
        let Some(first) = self.queue.iter().position(Exchange::is_open) else {
            if first_hit {
                self.unasked = Some((order, Some(cause)));
                return self.note_unasked();
            }
            return self.note_answer();
        };
        let exchange = &mut self.queue[first];
        let mut doubt = Doubt { intact: true, ..Doubt::open() };
        if let Some(known) = &mut exchange.doubt {
            if !known.answered && !known.intact {
                // The lost responses may be those of the lost requests.
                known.answered = true;
                return;
            }
            doubt = *known;
        }
        // What was hit may have been only the 100 that a request waits for.
        if first_hit && exchange.asked.expects_continue {
            exchange.asked.hit = Some(cause);
        } else if first_hit {
            out.step("give-up", format_args!("the response of request {} is lost", exchange.id));
            exchange.answer = Answer::GivenUp(vec![cause]);
        }
        match self.queue.iter_mut().find(|exchange| exchange.is_open()) {
            Some(next) => next.doubt = Some(doubt),
            // Every response that was owed is accounted for.
            None if doubt.intact => {}
            None => self.lost = Some(doubt),
        }
        self.settle(out);
    }

    /// True where a whole request waits for the beginning of its answer.
    fn is_owed(&self) -> bool {
        self.queue.iter().any(|exchange| exchange.is_open() && exchange.request.is_some())
    }

    /// Gives up the open requests before the one at `index`.
    fn give_up_before(&mut self, index: usize, out: &mut dyn Output) {
        for exchange in self.queue.iter_mut().take(index).filter(|exchange| exchange.is_open()) {
            out.step("give-up", format_args!("the response of request {} is lost", exchange.id));
            exchange.answer = Answer::GivenUp(Vec::new());
        }
    }

    /// An exchange ended with an interim response: the final one may still come, or be lost.
    pub(super) fn final_response_unsure(&mut self) {
        let doubt = Doubt::open();
        match self.queue.iter_mut().find(|exchange| exchange.is_open()) {
            Some(next) => next.doubt = Some(doubt),
            None => self.lost = Some(doubt),
        }
    }

    /// Gives up the open requests that came before `arrival`: nobody knows which of them is answered.
    fn give_up_candidates(&mut self, arrival: Arrival, candidates: usize, out: &mut dyn Output) {
        for exchange in &mut self.queue {
            if exchange.may_be_answered_at(arrival) {
                exchange.answer = Answer::GivenUp(Vec::new());
            }
        }
        out.step("give-up", format_args!("{candidates} requests may be the one that is answered"));
        let doubt = Some(Doubt::open());
        match self.queue.iter_mut().find(|exchange| exchange.is_open()) {
            Some(next) => next.doubt = doubt,
            None => self.lost = doubt,
        }
        self.settle(out);
    }

    /// True where a response that begins now finds a request to answer, or it is known that it has none.
    pub(super) fn knows_next(&self) -> bool {
        self.beyond > 0 || self.queue.iter().any(Exchange::is_open)
    }

    /// True where an answer is on its way or may still come to any request.
    pub(super) fn waits(&self, id: u64) -> bool {
        let exchange = self.queue.iter().rev().find(|exchange| exchange.id == id);
        exchange.is_some_and(|exchange| matches!(exchange.answer, Answer::Open | Answer::UnderWay))
    }

    /// Nothing more comes: what waits for an answer becomes a record.
    pub(super) fn close(&mut self, out: &mut dyn Output) {
        for exchange in &mut self.queue {
            if matches!(exchange.answer, Answer::Open | Answer::UnderWay) {
                exchange.answer = Answer::GivenUp(Vec::new());
            }
        }
        self.settle(out);
        self.queue.clear();
    }

    /// A request that waits for the end of its answer.
    pub(super) fn request(&self, id: u64) -> Option<&Message> {
        let exchange = self.queue.iter().rev().find(|exchange| exchange.id == id)?;
        exchange.request.as_ref().map(|half| &half.message)
    }

    fn find(&mut self, id: u64) -> Option<&mut Exchange> {
        self.queue.iter_mut().rev().find(|exchange| exchange.id == id)
    }

    /// Makes records of what is settled, in the order of the requests. An exchange whose request is still
    /// under way holds back nobody.
    fn settle(&mut self, out: &mut dyn Output) {
        let mut index = 0;
        while index < self.queue.len() {
            if !self.queue[index].is_settled() {
                index += 1;
                continue;
            }
            let Some(Exchange { request: Some(request), answer, .. }) = self.queue.remove(index) else {
                continue;
            };
            match answer {
                Answer::Whole(response) => out.record(record(Some(request), Some(response))),
                Answer::GivenUp(causes) => out.record(alone(record(Some(request), None), causes)),
                Answer::Open | Answer::UnderWay => {}
            }
        }
    }
}

impl Exchange {
    fn is_open(&self) -> bool {
        matches!(self.answer, Answer::Open)
    }

    /// True where a response whose first byte arrived then can be its own. Both the order in which bytes
    /// were offered and their times have to allow it: bytes that waited for a hole before them to be
    /// filled are offered late.
    fn may_be_answered_at(&self, arrival: Arrival) -> bool {
        let asked = self.asked.arrival;
        self.is_open() && asked.order < arrival.order && asked.time <= arrival.time
    }

    fn is_settled(&self) -> bool {
        self.request.is_some() && matches!(self.answer, Answer::Whole(_) | Answer::GivenUp(_))
    }
}

/// A record of one message, and why the other one is missing.
fn alone(mut record: Record, causes: Vec<Cause>) -> Record {
    let message = record.request.as_mut().or(record.response.as_mut());
    message
        .into_iter()
        .for_each(|message| causes.iter().for_each(|cause| cause.note_in(&mut message.causes)));
    record
}

fn record(mut request: Option<Half>, mut response: Option<Half>) -> Record {
    let status = match (&mut request, &mut response) {
        (Some(request), None) => {
            Cause::NoResponse.note_in(&mut request.message.causes);
            Status::NoResponse
        }
        (None, Some(response)) => {
            Cause::NoRequest.note_in(&mut response.message.causes);
            Status::NoRequest
        }
        (Some(request), Some(response)) if !request.truncated && !response.truncated => Status::Complete,
        _ => Status::Truncated,
    };
    let [request, response] = [request, response].map(|half| half.map(|half| half.message));
    let summary = summary(request.as_ref(), response.as_ref());
    Record { protocol: super::NAME, status, summary, request, response }
}

/// `200 GET /a?b=1 12.3 kB`: status, method, target, size of the response's body.
fn summary(request: Option<&Message>, response: Option<&Message>) -> String {
    let number = |message: Option<&Message>, name| match field(message?, name)? {
        Value::Number(number) => Some(*number),
        _ => None,
    };
    let text = |name| match field(request?, name)? {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    };
    let status = number(response, "status").map_or("---".to_string(), |status| status.to_string());
    let asked = match (text("method"), text("target")) {
        (Some(method), Some(target)) => format!("{method} {target}"),
        _ => "(request not seen)".to_string(),
    };
    match number(response, "body_length") {
        Some(length) => format!("{status} {asked} {}", size(length)),
        None => format!("{status} {asked}"),
    }
}

fn field<'a>(message: &'a Message, name: &str) -> Option<&'a Value> {
    message.fields.iter().find(|Field { name: known, .. }| known == name).map(|field| &field.value)
}

/// Bytes in decimal units: `12 B`, `12.3 kB`.
pub(in crate::protocol) fn size(bytes: i64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = ["kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 999.95 {
        let Some(larger) = units.next() else { break };
        (value, unit) = (value / 1000.0, larger);
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_decimal_units() {
        let sizes = [0, 999, 1000, 12_345, 999_949, 999_950, 1_000_000_000].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "12.3 kB", "999.9 kB", "1.0 MB", "1.0 GB"]);
    }
}
