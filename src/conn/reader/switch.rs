//! Where both directions begin to speak something else: what an agreement names goes on with the parser for it, what
//! nothing names is looked for as at the beginning of a connection.

use super::{Context, Reader, State};
use crate::conn::detect::{Detector, Inherited};
use crate::event::{Cause, Direction, Range};
use crate::protocol::{Agreement, End, Gap, Input, Parser, Protocol, Undeclared, successor};

impl Reader {
    /// From now on both directions speak something else; what the other one holds unread is part of it. `lost`: a gap that
    /// may be its own, at least in part.
    pub(super) fn switch(
        &mut self,
        direction: Direction,
        name: String,
        lost: Option<(Range, Cause)>,
        cx: &mut Context<'_>,
    ) {
        let other = direction.reverse();
        let agreement = self.end_parser(cx);
        self.state = match successor(&name, self.options.protocols) {
            Some(protocol) => State::Parsing(self.go_on(protocol, agreement, cx)),
            None => State::Switched(name),
        };
        if let (State::Parsing(parser), Some((range, cause))) = (&mut self.state, lost) {
            // All of it is lost to the new parser: nothing of it was offered.
            let _ = parser.gap(Gap { direction, range, unread: &[], cause, time: cx.time }, cx);
        }
        self.lanes[other.index()].blocked = None;
        self.resume(other, cx);
    }

    /// From now on both directions speak something else, and only what they say tells what that is. `rest`: what came of it
    /// in this direction already.
    pub(super) fn look_again(
        &mut self,
        direction: Direction,
        next: Undeclared,
        rest: &[u8],
        cx: &mut Context<'_>,
    ) {
        cx.trace(1, "undeclared", format_args!("{}: what follows is known by its content", next.why));
        let agreement = self.end_parser(cx);
        // Who has come to this point has spoken the protocol before.
        self.confirm(cx);
        let offered = next.offered.and_then(|name| successor(&name, self.options.protocols));
        let from_start = self.lanes.each_ref().map(|lane| !lane.resyncing);
        let detector = Detector::new(self.options.protocols, cx.info.open.role, from_start);
        let mut detector = detector.after(Inherited { offered, agreement });
        let time = cx.time;
        for (direction, rest) in [(direction.reverse(), &[][..]), (direction, rest)] {
            let lane = &mut self.lanes[direction.index()];
            (lane.resyncing, lane.blocked) = (false, None);
            let (unread, from) = (std::mem::take(&mut lane.unread), lane.offset);
            let held = if rest.is_empty() { unread.as_slice() } else { rest };
            lane.offset += held.len() as u64;
            if !held.is_empty() {
                detector.add(direction, from, held, time);
            }
            if lane.finished {
                detector.finish(direction, lane.offset, End::Finished, time);
            }
        }
        self.state = State::Detecting(Box::new(detector));
        self.consider(cx);
        // Whoever led here goes on to speak, and is held back with the new guess.
        cx.held = self.trial.as_mut().map(|trial| std::mem::take(&mut trial.said));
    }

    /// What was spoken until now is over. What the parser of it agreed on for what comes.
    fn end_parser(&mut self, cx: &mut Context<'_>) -> Option<Agreement> {
        let State::Parsing(parser) = &mut self.state else { return None };
        let agreement = parser.hand_over();
        parser.close(End::Finished, cx.time, cx);
        agreement
    }

    /// The parser of a protocol that begins in the middle of the connection.
    fn go_on(
        &mut self,
        protocol: &'static Protocol,
        agreement: Option<Agreement>,
        cx: &mut Context<'_>,
    ) -> Box<dyn Parser + Send> {
        cx.info.protocol = Some(protocol.name);
        cx.info.protocol_from = self.lanes.each_ref().map(|lane| lane.offset);
        let mut parser = self.parser(protocol, cx);
        if let Some(agreement) = agreement {
            parser.take_over(agreement);
        }
        for direction in Direction::BOTH {
            let lane = &self.lanes[direction.index()];
            let rest = Input { direction, offset: lane.offset, time: cx.time, data: &[] };
            if lane.resyncing {
                parser.begin_inside(direction);
            }
            if lane.finished {
                parser.finish(rest, End::Finished, cx);
            }
        }
        parser
    }
}
