//! HTTP/0.9 (the HTTP of 1991, kept in RFC 1945 as Simple-Request and Simple-Response, section 4.1): a line without a version
//! asks, and what comes up to the close answers, without a head.
//!
//! Such a conversation is believed only from its first bytes on, where the line is all that the client says and the answer
//! begins as a document does: other protocols have such lines, too, e.g. inline commands of Redis.

use super::head::{self, Framing, Head};
use super::message::{Draft, Framed};
use super::start_line::StartLine;
use super::{Http1, Step};
use crate::event::Direction;
use crate::protocol::{Input, Output, Sample, Verdict};
use memchr::memchr;

/// What records call it. The messages do not.
const VERSION: &[u8] = b"HTTP/0.9";

/// Absent where the sample is no such conversation.
pub(super) fn detect(sample: &Sample<'_>) -> Option<Verdict> {
    let is_one = |client: Direction| {
        let [asked, answered] = [client, client.reverse()].map(|way| sample.data[way.index()]);
        let is_all = |request: (&[u8], usize)| request.1 == asked.len();
        request(asked).is_some_and(is_all) && answered.trim_ascii_start().starts_with(b"<")
    };
    let is_found = sample.from_start == [true; 2] && Direction::BOTH.into_iter().any(is_one);
    is_found.then_some(Verdict::Match(90))
}

/// The target of a request that `data` begins with, and the length of its line.
fn request(data: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr(b'\n', data)?;
    let target = head::without_cr(&data[..end]).strip_prefix(b"GET ")?;
    // Where a version sticks to the target, the request is one of a later version, and faulty.
    let is_path = target.starts_with(b"/")
        && target.iter().all(u8::is_ascii_graphic)
        && memchr::memmem::find(target, b"HTTP/").is_none();
    is_path.then_some((target, end + 1))
}

impl Http1 {
    /// Begins a message of HTTP/0.9 at the beginning of a direction; absent where none is there.
    pub(super) fn step_simple(&mut self, input: Input<'_>, out: &mut dyn Output) -> Option<Step> {
        if input.offset > 0 || input.data.is_empty() {
            return None;
        }
        match self.requests {
            None => {
                let (target, length) = request(input.data)?;
                let start = StartLine::Request { method: b"GET", target, version: VERSION };
                let head = Head {
                    start,
                    headers: Vec::new(),
                    framing: Framing::Unsaid,
                    codings: Vec::new(),
                    upgrade: None,
                    expects_continue: false,
                };
                self.learn(input.direction, &start, out);
                self.is_simple = true;
                let begun = self.begin_message(input.direction, input.offset, [0, length], head, out);
                self.step_into(begun, input.direction, length)
            }
            Some(requests) if self.is_simple && requests != input.direction => {
                // Servers that do not speak it answer in a version that they do.
                let compared = input.data.len().min(b"HTTP/".len());
                if input.data[..compared] == b"HTTP/"[..compared] {
                    return None;
                }
                let arrival = self.side(input.direction).arrivals.at(input.offset);
                let asked = self.responding(input.direction, input.offset, arrival, out);
                let draft = Draft::simple(asked, VERSION, arrival.time, &self.options);
                self.step_into(Some(Ok(draft)), input.direction, 0)
            }
            Some(_) => None,
        }
    }

    fn step_into(&mut self, begun: Option<Framed>, direction: Direction, taken: usize) -> Option<Step> {
        let Some(Ok(draft)) = begun else { return None };
        self.side(direction).state = super::State::Body(draft);
        Some(Step::on(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Role;
    use crate::protocol::ALL;

    /// Which protocols match at least as well.
    fn found(sent: &[u8], received: &[u8], from_start: bool) -> Vec<&'static str> {
        let sample = Sample { data: [sent, received], from_start: [from_start; 2], role: Role::Client };
        let matches = |verdict| matches!(verdict, Verdict::Match(90..));
        ALL.iter().filter(|one| matches((one.detect)(&sample))).map(|one| one.name).collect()
    }

    #[test]
    fn a_line_is_a_request_where_a_document_answers_it() {
        assert_eq!(found(b"GET /a?b\r\n", b"<html>", true), ["http1"]);
        assert_eq!(found(b"GET /\n", b"\r\n <!DOCTYPE html>", true), ["http1"]);
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let none = [""; 0];
        assert_eq!(found(b"GET /a\r\n", b"", true), none);
        assert_eq!(found(b"GET /a\r\n", b"$-1\r\n", true).iter().find(|name| **name == "http1"), None);
        assert_eq!(found(b"GET a\r\n", b"<html>", true), none);
        assert_eq!(found(b"GET /a b\r\n", b"<html>", true), none);
        assert_eq!(found(b"GET /a\r\nGET /b\r\n", b"<html>", true), none);
        assert_eq!(found(b"GET /HTTP/1.1\r\n", b"<html>", true), none);
        assert_eq!(found(b"get /a\r\n", b"<html>", true), none);
        assert_eq!(found(b"GET /a\r\n", b"<html>", false), none, "what came before is not known");
    }
}
