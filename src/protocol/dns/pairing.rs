//! Which response belongs to which query: same id, same question, the other way round (RFC 5452, section 9.1), and where
//! one socket has several peers, the same peer.

use super::message::Message;
use super::show::{RECORDS_MAX, Shown, transfer_outcome};
use super::transfer::Transfer;
use super::{NAME, Variant, name};
use crate::event::{Address, Cause, Direction};
use crate::protocol::Output;
use crate::protocol::exchange::{self, Half, PENDING_MAX};
use crate::record::{Field, Value};
use std::collections::VecDeque;

/// How long a query in a datagram is waited for, in nanoseconds. Resolvers give up much sooner.
const WAIT_TIME: u64 = 60_000_000_000;

/// Answered queries that are remembered, to recognise a second response to a query that was sent twice.
const ANSWERED_MAX: usize = 64;

/// What tells to which query a response belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The direction of the query.
    asked: Direction,
    /// The other end of a datagram, where it is known.
    peer: Option<Address>,
    id: u16,
    opcode: u8,
    /// Names in small letters, types and classes; empty where the message has none.
    questions: Vec<u8>,
}

impl Key {
    /// That of a message.
    pub fn of(message: &Message<'_>, direction: Direction, peer: Option<Address>) -> Key {
        let header = message.header;
        let asked = if header.is_response() { direction.reverse() } else { direction };
        let mut questions = Vec::new();
        for question in &message.questions {
            let (name, _) = name::key(message.data, question.name).unwrap_or_default();
            questions.extend(name);
            questions.push(0);
            questions.extend(question.rtype.to_be_bytes());
            questions.extend(question.class.to_be_bytes());
        }
        Key { asked, peer, id: header.id, opcode: header.opcode(), questions }
    }

    /// True where a response with the key `response` answers the query with this one. Servers that refuse may leave out
    /// the question, and so do all messages of a transfer but the first (RFC 5936, section 2.2.1).
    fn is_answered_by(&self, response: &Key) -> bool {
        let same = (self.asked, self.id, self.opcode) == (response.asked, response.id, response.opcode);
        let questions = self.questions == response.questions || response.questions.is_empty();
        same && questions && self.is_to(response.peer)
    }

    /// Whoever hears a query to many may answer it.
    fn is_to(&self, peer: Option<Address>) -> bool {
        self.peer == peer || self.peer.is_none() || peer.is_none() || is_multicast(self.peer)
    }
}

/// True for the address of many hosts.
fn is_multicast(address: Option<Address>) -> bool {
    address.and_then(Address::ip).is_some_and(|ip| ip.ip().is_multicast())
}

/// A message on its way into a record.
pub struct Told {
    pub half: Half,
    pub shown: Shown,
    pub variant: Option<Variant>,
}

/// A query that waits.
struct Waiting {
    key: Key,
    request: Half,
    /// How often it was sent again.
    repeats: u64,
    variant: Option<Variant>,
    /// What became of its zone transfer, if it asked for one, and the messages of it that came.
    transfer: Option<(Transfer, Option<Told>)>,
}

/// The queries and responses of one connection.
#[derive(Default)]
pub struct Pairing {
    waiting: VecDeque<Waiting>,
    answered: VecDeque<Key>,
    /// They are datagrams: queries are sent again, and given up when they have waited for long.
    pub is_datagrams: bool,
}

impl Pairing {
    /// A message came.
    pub fn take(&mut self, told: Told, message: &Message<'_>, peer: Option<Address>, out: &mut dyn Output) {
        let now = told.half.message.started;
        while self.is_datagrams
            && let Some(first) = self.waiting.front()
            && now.since(first.request.message.started) > WAIT_TIME
        {
            self.give_up_first(None, out);
        }
        let key = Key::of(message, told.half.message.direction, peer);
        if told.variant == Some(Variant::Mdns) && message.header.id == 0 {
            // Nobody has to answer, several may, and answers come unasked (RFC 6762, section 6).
            return lone(told, !message.header.is_response(), out);
        }
        match message.header.is_response() {
            true => self.response(key, told, message, out),
            false => self.query(key, told, message, out),
        }
    }

    fn query(&mut self, key: Key, told: Told, message: &Message<'_>, out: &mut dyn Output) {
        // What a stream carries arrives: there, a query that comes again is another one.
        if self.is_datagrams
            && let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.key == key)
        {
            return waiting.repeat(&told.half);
        }
        if self.waiting.len() == PENDING_MAX {
            self.give_up_first(Some(Cause::Limit), out);
        }
        let transfer = Transfer::asked_by(message).map(|transfer| (transfer, None));
        let Told { mut half, shown, variant } = told;
        half.summary = shown.subject;
        self.waiting.push_back(Waiting { key, request: half, repeats: 0, variant, transfer });
    }

    fn response(&mut self, key: Key, told: Told, message: &Message<'_>, out: &mut dyn Output) {
        let found = self.waiting.iter().position(|waiting| waiting.key.is_answered_by(&key));
        let Some(at) = found else { return self.unasked(&key, told, out) };
        let waiting = &mut self.waiting[at];
        let told = match &mut waiting.transfer {
            Some((transfer, so_far)) => {
                let is_last = transfer.take(message);
                match so_far {
                    Some(so_far) => so_far.append(told),
                    None => *so_far = Some(told),
                }
                if !is_last {
                    return;
                }
                None
            }
            None => Some(told),
        };
        if let Some(waiting) = self.waiting.remove(at) {
            if self.answered.len() == ANSWERED_MAX {
                self.answered.pop_front();
            }
            self.answered.push_back(waiting.key.clone());
            match (waiting.transfer, told) {
                (_, Some(told)) => pair(waiting.request, told, None, out),
                (Some((transfer, Some(told))), None) => {
                    transferred(waiting.request, told, &transfer, None, out);
                }
                _ => {}
            }
        }
    }

    /// A response without a query: a second one to a query that was sent twice, or one whose query was not seen.
    fn unasked(&mut self, key: &Key, mut told: Told, out: &mut dyn Output) {
        if self.answered.iter().any(|answered| answered.is_answered_by(key)) {
            told.half.message.fields.push(Field::new("repeated", Value::Flag(true)));
            told.half.summary = format!("{} repeated", told.line());
            return exchange::lone(NAME, told.half, false, out);
        }
        match told.variant {
            Some(_) => lone(told, false, out),
            None => {
                told.half.summary = told.line();
                exchange::unasked(NAME, told.half, out);
            }
        }
    }

    /// The oldest query gets no answer.
    fn give_up_first(&mut self, cause: Option<Cause>, out: &mut dyn Output) {
        let Some(Waiting { request, variant, transfer, .. }) = self.waiting.pop_front() else { return };
        match (transfer, variant) {
            (Some((transfer, Some(told))), _) => transferred(request, told, &transfer, cause, out),
            // To many: that nobody knows an answer is no failure.
            (_, Some(_)) => exchange::lone(NAME, request, true, out),
            _ => exchange::unanswered_because(NAME, request, cause, out),
        }
    }

    /// Messages of a direction were lost: a transfer under way lacks them.
    pub fn lost(&mut self, direction: Direction, cause: Cause) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.key.asked != direction) {
            if let Some((_, Some(told))) = &mut waiting.transfer {
                told.half.add_cause(cause);
            }
        }
    }

    /// No more messages come.
    pub fn close(&mut self, out: &mut dyn Output) {
        while !self.waiting.is_empty() {
            self.give_up_first(None, out);
        }
    }
}

impl Waiting {
    /// The query was sent again. The time until its answer counts from the first.
    fn repeat(&mut self, again: &Half) {
        self.repeats += 1;
        let ended = self.request.message.ended;
        self.request.extend(again.message.range, ended, &again.message.causes);
        let fields = &mut self.request.message.fields;
        let count = Value::Number(self.repeats as i64);
        match fields.iter_mut().find(|field| field.name == "retransmissions") {
            Some(field) => field.value = count,
            None => fields.push(Field::new("retransmissions", count)),
        }
    }
}

impl Told {
    /// All of it on one line.
    fn line(&self) -> String {
        let Shown { rcode, subject, outcome, .. } = &self.shown;
        format!("{}{outcome}", [rcode.as_str(), subject].join(" ").trim())
    }

    /// Takes in the next message of a transfer.
    fn append(&mut self, next: Told) {
        let Half { message, .. } = next.half;
        self.half.extend(message.range, message.ended, &message.causes);
        self.shown.rcode = next.shown.rcode;
        for field in message.fields {
            let Value::List(more) = field.value else { continue };
            let own = self.half.message.fields.iter_mut().find(|own| own.name == field.name);
            match own {
                Some(Field { value: Value::List(list), name }) if name != "flags" => {
                    let room = RECORDS_MAX - list.len().min(RECORDS_MAX);
                    let all = more.len() <= room;
                    list.extend(more.into_iter().take(room));
                    if !all {
                        self.half.add_cause(Cause::FieldTruncated);
                    }
                }
                Some(_) => {}
                None => self.half.message.fields.push(Field::new(field.name, Value::List(more))),
            }
        }
    }
}

/// A query with its response. The line has the query's subject, for the response may leave it out.
fn pair(mut request: Half, mut told: Told, outcome: Option<String>, out: &mut dyn Output) {
    told.shown.subject = std::mem::take(&mut request.summary);
    told.shown.outcome = outcome.unwrap_or(told.shown.outcome);
    told.half.summary = told.line();
    exchange::pair(NAME, request, told.half, out);
}

/// A zone transfer, of which the last message came, or nothing comes any more.
fn transferred(
    request: Half,
    mut told: Told,
    transfer: &Transfer,
    cause: Option<Cause>,
    out: &mut dyn Output,
) {
    if !transfer.is_done() {
        let known = !told.half.message.causes.is_empty();
        told.half.add_cause(cause.unwrap_or(Cause::Incomplete));
        if known && cause.is_none() {
            told.half.message.causes.retain(|&cause| cause != Cause::Incomplete);
        }
    }
    let count = Value::Number(transfer.messages as i64);
    told.half.message.fields.push(Field::new("messages", count));
    let outcome = (transfer.records > 0).then(|| transfer_outcome(transfer));
    pair(request, told, outcome, out);
}

fn lone(mut told: Told, from_client: bool, out: &mut dyn Output) {
    told.half.summary = told.line();
    exchange::lone(NAME, told.half, from_client, out);
}
