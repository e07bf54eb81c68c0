//! From messages to records: requests that wait for their answer, and what becomes of halves.

use super::Output;
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::record::{Field, Message, Record, Status};
use std::collections::VecDeque;

/// How many requests of one connection may wait for their answers.
pub const PENDING_MAX: usize = 4096;

/// How many parts of a message are told apart where frames of other messages lie between them.
pub const PARTS_MAX: usize = 1024;

/// A message on its way into a record, with the line that shows it.
#[derive(Clone, Debug)]
pub struct Half {
    /// The message.
    pub message: Message,
    /// What matters of it, on one line.
    pub summary: String,
}

impl Half {
    /// A message that lacks nothing.
    pub fn new(
        direction: Direction,
        range: Range,
        times: [Timestamp; 2],
        summary: impl Into<String>,
        fields: Vec<Field>,
    ) -> Half {
        let [started, ended] = times;
        let (parts, causes) = (Vec::new(), Vec::new());
        let message = Message { direction, range, parts, started, ended, fields, causes };
        Half { message, summary: summary.into() }
    }

    /// Notes why a part of it is missing or not decoded, once.
    pub fn add_cause(&mut self, cause: Cause) {
        cause.note_in(&mut self.message.causes);
    }

    /// Takes in a further frame of the same message, behind those it has. Frames of other messages may lie between.
    pub fn extend(&mut self, range: Range, ended: Timestamp, causes: &[Cause]) {
        self.add_part(range);
        self.message.ended = ended;
        causes.iter().for_each(|&cause| self.add_cause(cause));
    }

    /// Counts a range behind those it has among its own.
    fn add_part(&mut self, range: Range) {
        let Message { range: whole, parts, .. } = &mut self.message;
        if range.from > whole.to && parts.is_empty() {
            parts.push(*whole);
        }
        // At the bound what lies between is taken in: the ledger gives each byte to whoever claims it first.
        let is_full = parts.len() >= PARTS_MAX;
        match parts.last_mut() {
            Some(last) if range.from <= last.to || is_full => last.to = last.to.max(range.to),
            Some(_) => parts.push(range),
            None => {}
        }
        whole.to = whole.to.max(range.to);
    }
}

/// Requests that wait for their answers, each with what tells to which answer it belongs; in the order in which they
/// came.
#[derive(Debug)]
pub struct Pending<K> {
    protocol: &'static str,
    waiting: VecDeque<(K, Half)>,
}

impl<K: PartialEq> Pending<K> {
    /// Nothing waits yet.
    pub fn new(protocol: &'static str) -> Pending<K> {
        Pending { protocol, waiting: VecDeque::new() }
    }

    /// A request came. At the bound the oldest one is given up, and becomes a record with [`Cause::Limit`].
    pub fn push(&mut self, key: K, request: Half, out: &mut dyn Output) {
        if self.waiting.len() >= PENDING_MAX
            && let Some((_, oldest)) = self.waiting.pop_front()
        {
            unanswered_because(self.protocol, oldest, Some(Cause::Limit), out);
        }
        self.waiting.push_back((key, request));
    }

    /// The oldest request with this key.
    pub fn take(&mut self, key: &K) -> Option<Half> {
        let at = self.waiting.iter().position(|(of, _)| of == key)?;
        self.waiting.remove(at).map(|(_, request)| request)
    }

    /// The oldest request whose key `fits`, and its key.
    pub fn take_if(&mut self, fits: impl Fn(&K) -> bool) -> Option<(K, Half)> {
        let at = self.waiting.iter().position(|(of, _)| fits(of))?;
        self.waiting.remove(at)
    }

    /// The keys of those that wait, the oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.waiting.iter().map(|(of, _)| of)
    }

    /// The oldest request and its key.
    pub fn pop(&mut self) -> Option<(K, Half)> {
        self.waiting.pop_front()
    }

    /// The request that [`Pending::take`] would give.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut Half> {
        self.waiting.iter_mut().find(|(of, _)| of == key).map(|(_, request)| request)
    }

    /// The oldest request and its key, which stay.
    pub fn front(&self) -> Option<&(K, Half)> {
        self.waiting.front()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True where none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// No answers come any more, or it can't be told any more to what they belong: all become records. `cause` is why,
    /// where it is not just that the answer was never seen.
    pub fn give_up(&mut self, cause: Option<Cause>, out: &mut dyn Output) {
        for (_, request) in self.waiting.drain(..) {
            unanswered_because(self.protocol, request, cause, out);
        }
    }
}

/// A request with its response.
pub fn pair(protocol: &'static str, request: Half, response: Half, out: &mut dyn Output) {
    let whole = is_whole(&request.message) && is_whole(&response.message);
    let status = if whole { Status::Complete } else { Status::Truncated };
    let summary = match (request.summary.as_str(), response.summary.as_str()) {
        (summary, "") | ("", summary) => summary.to_owned(),
        (request, response) => format!("{request} -> {response}"),
    };
    let (request, response) = (Some(request.message), Some(response.message));
    out.record(Record { protocol, status, summary, request, response });
}

/// A request whose response never came into view.
pub fn unanswered(protocol: &'static str, request: Half, out: &mut dyn Output) {
    unanswered_because(protocol, request, None, out);
}

/// Likewise; `cause` tells why, where that is known. The request lacks nothing by it.
pub fn unanswered_because(
    protocol: &'static str,
    mut request: Half,
    cause: Option<Cause>,
    out: &mut dyn Output,
) {
    let status = if is_whole(&request.message) { Status::NoResponse } else { Status::Truncated };
    request.add_cause(Cause::NoResponse);
    cause.into_iter().for_each(|cause| request.add_cause(cause));
    let Half { message, summary } = request;
    out.record(Record { protocol, status, summary, request: Some(message), response: None });
}

/// A response whose request never came into view.
pub fn unasked(protocol: &'static str, mut response: Half, out: &mut dyn Output) {
    let status = if is_whole(&response.message) { Status::NoRequest } else { Status::Truncated };
    response.add_cause(Cause::NoRequest);
    let Half { message, summary } = response;
    out.record(Record { protocol, status, summary, request: None, response: Some(message) });
}

/// A message that needs no other half. `from_client` says whether it is shown as a request.
pub fn lone(protocol: &'static str, half: Half, from_client: bool, out: &mut dyn Output) {
    let status = if is_whole(&half.message) { Status::Complete } else { Status::Truncated };
    let Half { message, summary } = half;
    let (request, response) = if from_client { (Some(message), None) } else { (None, Some(message)) };
    out.record(Record { protocol, status, summary, request, response });
}

/// What is shown shorter than it came, or not decoded, still came whole; and so does what came alone.
fn is_whole(message: &Message) -> bool {
    let harmless =
        [Cause::FieldTruncated, Cause::Unsupported, Cause::NoResponse, Cause::NoRequest, Cause::Limit];
    message.causes.iter().all(|cause| harmless.contains(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::Outcome;

    #[test]
    fn a_request_whose_answer_is_lost_lacks_nothing_itself() {
        let mut out = Outcome::default();
        let (direction, range) = (Direction::Send, Range::new(0, 1));
        out.frame(direction, range, format_args!("request"));
        let mut pending = Pending::new("test");
        pending.push((), Half::new(direction, range, Default::default(), "request", Vec::new()), &mut out);
        pending.give_up(Some(Cause::RingFull), &mut out);
        assert_eq!(out.summaries(), ["request [no-response]"]);
        assert_eq!(out.records[0].causes(), [Cause::RingFull, Cause::NoResponse]);
    }
}
