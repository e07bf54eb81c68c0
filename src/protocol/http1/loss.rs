//! What becomes of a message that bytes are missing of, and of those behind it: gaps, malformed bytes, the end of what came.

use super::body::Extent;
use super::message::Draft;
use super::pairing::Lost;
use super::start_line::{self, Judgement};
use super::{Http1, Search, State, Step, advanced, head};
use crate::event::{Cause, Direction, Range};
use crate::protocol::{Gap, Input, Output, Then};

/// An unknown number of messages is lost.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    pub(super) cause: Cause,
    /// The first byte of the next message is among what is lost.
    pub(super) first_hit: bool,
    pub(super) lost: Lost,
}

impl Http1 {
    /// Interim responses whose final response will not come.
    pub(super) fn end_interim(
        &mut self,
        direction: Direction,
        to: u64,
        cause: Cause,
        out: &mut dyn Output,
    ) -> bool {
        let Some(interim) = self.side(direction).interim.take() else { return false };
        let started = self.side(direction).arrivals.at(interim.start).time;
        let mut draft = Draft::only_interim(interim, started);
        draft.truncate(cause);
        self.end_message(direction, draft, to, out);
        self.pairing.final_response_unsure();
        true
    }

    /// A gap at or behind the current place of a body. `Ok`: the bytes after it can be read. `Err`: they
    /// can't; tells whether the first byte of the next message is in the gap.
    pub(super) fn gap_in_body(
        &mut self,
        mut draft: Box<Draft>,
        gap: &Gap<'_>,
        out: &mut dyn Output,
    ) -> Result<(), bool> {
        draft.truncate(gap.cause);
        let known = draft.extent.known_ahead();
        let missing = gap.range.len().min(known);
        draft.miss(missing);
        let is_whole = matches!(draft.extent, Extent::Length(0));
        if !is_whole && known > 0 && missing == gap.range.len() {
            self.side(gap.direction).state = State::Body(draft);
            return Ok(());
        }
        let to = if is_whole { gap.range.from + missing } else { gap.range.from };
        self.end_message(gap.direction, draft, to, out);
        if is_whole && missing == gap.range.len() { Ok(()) } else { Err(is_whole) }
    }

    /// A gap in front of a message or in its head. A head whose start line is known makes a message.
    /// Returns whether the first byte of the next message is in the gap, or before it and lost with it.
    pub(super) fn gap_in_head(&mut self, unread: Input<'_>, cause: Cause, out: &mut dyn Output) -> bool {
        let lead = head::empty_lines(unread.data);
        let rest = &unread.data[lead..];
        match start_line::judge(rest, 0) {
            Judgement::Line(line)
                if self.fits(unread.direction, &line) && !self.is_held(unread.direction) =>
            {
                self.learn(unread.direction, &line, out);
                self.cut_head(unread, lead, cause, out);
                false
            }
            _ => {
                let hit = !self.end_interim(unread.direction, unread.offset, cause, out);
                self.skip_rest(unread, Cause::Incomplete, "a gap cuts the head", out);
                hit
            }
        }
    }

    /// Makes a message of the whole lines of a head that are there.
    pub(super) fn cut_head(&mut self, unread: Input<'_>, lead: usize, cause: Cause, out: &mut dyn Output) {
        let Input { direction, offset, data, .. } = unread;
        let lines = memchr::memrchr(b'\n', data).map_or(data.len(), |at| at + 1);
        let Ok(head) = head::parse(&data[lead..lines], self.options.show_secrets) else {
            return self.skip_rest(unread, Cause::Incomplete, "a gap cuts the head", out);
        };
        let to = offset + data.len() as u64;
        match self.begin_message(direction, offset, [lead, lines], head, out) {
            Some(Ok(mut draft) | Err((mut draft, _))) => {
                draft.cut(cause);
                self.end_message(direction, draft, to, out);
            }
            None => {
                self.end_interim(direction, to, cause, out);
            }
        }
    }

    /// Reads what was held back, now that it can't wait any longer; returns what is left.
    pub(super) fn drain<'a>(&mut self, input: Input<'a>, out: &mut dyn Output) -> Input<'a> {
        if let State::Body(draft) = &mut self.side(input.direction).state {
            draft.may_lack_body = false;
        }
        let mut taken = 0;
        while taken < input.data.len() && !self.side(input.direction).searching {
            self.side(input.direction).unblocked = true;
            let step = self.step(advanced(input, taken), out);
            taken += step.taken;
            if step.then.is_some() {
                break;
            }
        }
        advanced(input, taken)
    }

    /// Accounts for bytes that belong to no message.
    pub(super) fn skip_rest(&mut self, rest: Input<'_>, cause: Cause, reason: &str, out: &mut dyn Output) {
        self.side(rest.direction).head = Search::default();
        if !rest.data.is_empty() {
            let range = Range::new(rest.offset, rest.offset + rest.data.len() as u64);
            out.skip(rest.direction, range, cause, format_args!("{reason}"));
        }
    }

    pub(super) fn malformed(
        &mut self,
        input: Input<'_>,
        length: usize,
        reason: String,
        out: &mut dyn Output,
    ) -> Step {
        let hit = !self.end_interim(input.direction, input.offset, Cause::ParseError, out);
        self.lose(
            input.direction,
            Loss { cause: Cause::ParseError, first_hit: hit, lost: Lost::Messages },
            out,
        );
        Step::stop(Then::Malformed { length: length.clamp(1, input.data.len()), reason })
    }

    /// An unknown number of messages is lost, and the next boundary has to be searched.
    pub(super) fn lose(&mut self, direction: Direction, loss: Loss, out: &mut dyn Output) {
        let (order, side) = (self.order, self.side(direction));
        side.searching = true;
        side.head = Search::default();
        side.loss = Some((loss, order));
        if let Some(requests) = self.requests {
            self.tell_loss(direction, requests, out);
        }
    }

    pub(super) fn tell_loss(&mut self, direction: Direction, requests: Direction, out: &mut dyn Output) {
        let Some((loss, order)) = self.side(direction).loss.take() else { return };
        if direction == requests {
            self.pairing.requests_lost(loss.lost, self.now);
        } else if loss.lost != Lost::BeforeStart {
            // Responses from before the start answer requests from before it.
            self.pairing.responses_lost(loss.first_hit, loss.cause, order, out);
        }
    }
}
