//! What comes after HTTP on a connection: an upgrade (RFC 9110, section 7.8), or a tunnel (section 9.3.6).

use super::body::Extent;
use super::message::{Draft, Next, header};
use super::start_line::StartLine;
use super::{Http1, State};
use crate::event::Direction;
use crate::protocol::{AfterGap, Agreement, Output, Then, Undeclared};
use crate::record::Message;

impl Http1 {
    /// HTTP ends with an answer to the exchange `id`.
    pub(super) fn switch(&mut self, next: Next, id: Option<u64>, answer: &Message) {
        let asked = id.and_then(|id| self.pairing.request(id)).cloned();
        self.switched = Some(after(next, asked.as_ref()));
        let client = answer.direction.reverse();
        self.agreement = Some(Agreement { client, asked, answer: Some(answer.clone()) });
    }

    /// The request whose answer, in `direction`, tells whether the bytes after it are HTTP, and what it says.
    pub(super) fn held_for(&self, direction: Direction) -> Option<(u64, Option<Message>)> {
        let id = self.sides[direction.reverse().index()].held_by.filter(|&id| self.pairing.waits(id))?;
        Some((id, self.pairing.request(id).cloned()))
    }

    /// The answer is lost that tells whether both go on with HTTP: what they say tells.
    fn answer_lost(&mut self, asked: Option<Message>, out: &mut dyn Output) -> AfterGap {
        let why = "the answer is lost that tells what both speak from here on";
        out.step("assumed", format_args!("{why}: their bytes decide"));
        let client = self.requests.unwrap_or(Direction::Send);
        let offered = asked.as_ref().and_then(|asked| header(asked, "upgrade"));
        self.agreement = Some(Agreement { client, asked, answer: None });
        let next = Undeclared { offered, why };
        self.switched = Some(Then::Undeclared(next.clone()));
        AfterGap::Undeclared(next)
    }

    /// The client speaks through a tunnel that it asked for in what is lost.
    pub(super) fn tunnel_found(&mut self, client: Direction, out: &mut dyn Output) -> Then {
        let server = client.reverse();
        let side = &mut self.sides[server.index()];
        let position = side.position;
        // The answer to CONNECT has no body (RFC 9110, section 9.3.6).
        let is_answer = |draft: &Draft| matches!(draft.extent, Extent::UntilClose) && draft.start < position;
        match std::mem::take(&mut side.state) {
            State::Body(draft) if is_answer(&draft) => self.end_message(server, draft, position, out),
            state => side.state = state,
        }
        let next = Undeclared { offered: None, why: "TLS begins where a request for a tunnel is lost" };
        self.switched = Some(Then::Undeclared(next.clone()));
        Then::Undeclared(next)
    }

    /// What follows a gap behind which the next message would have to be searched. `held`: the request whose answer was
    /// awaited at its beginning, to know whether both go on with HTTP.
    pub(super) fn after_gap(
        &mut self,
        held: Option<(u64, Option<Message>)>,
        out: &mut dyn Output,
    ) -> AfterGap {
        match (&self.switched, held) {
            (Some(Then::Switched(name)), _) => AfterGap::Switched(name.clone()),
            (Some(Then::Undeclared(next)), _) => AfterGap::Undeclared(next.clone()),
            (_, Some((id, asked))) if !self.pairing.waits(id) => self.answer_lost(asked, out),
            _ => AfterGap::Resync,
        }
    }
}

/// What comes after the answer that ends HTTP. `asked` is its request.
fn after(next: Next, asked: Option<&Message>) -> Then {
    let upgrade = match next {
        Next::Tunnel => {
            return Then::Undeclared(Undeclared { offered: None, why: "a tunnel (CONNECT)" });
        }
        Next::Upgrade(upgrade) => upgrade,
    };
    let offered = asked.and_then(|asked| header(asked, "upgrade"));
    match upgrade {
        Some(name) => Then::Switched(name),
        None => Then::Undeclared(Undeclared { offered, why: "the answer does not name what follows it" }),
    }
}

/// The status line alone says that something else follows: 101 (Switching Protocols), or the words with which proxies
/// answer CONNECT, and nobody anything else.
pub(super) fn is_said_by(line: &StartLine<'_>) -> bool {
    match line {
        StartLine::Response { status: 101, .. } => true,
        StartLine::Response { status: 200..300, reason, .. } => {
            reason.trim_ascii().eq_ignore_ascii_case(b"connection established")
        }
        _ => false,
    }
}

/// Whether a record of the record layer begins here that a ClientHello fills (RFC 8446, sections 4 and 5.1); absent
/// where more bytes will tell.
pub(super) fn begins_tls(data: &[u8]) -> Option<bool> {
    let &[0x16, 3, 0..=4, high, low, 1, 0, first, second, 3, ..] = data else {
        let is_begun = |at: usize| match data.get(at) {
            None => true,
            Some(&byte) => byte == [0x16, 3][at],
        };
        return if data.len() < 10 && is_begun(0) && is_begun(1) { None } else { Some(false) };
    };
    let [record, hello] = [[high, low], [first, second]].map(u16::from_be_bytes);
    Some(hello >= 38 && record == hello.saturating_add(4))
}
