//! HTTP/0.9, HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112): from bytes to request/response records.
//!
//! This file leads one connection through its messages. What start lines, heads and bodies look like
//! is told by [`start_line`], [`head`] and [`body`]; which response answers which request by [`pairing`]; what becomes of
//! messages that lack bytes by [`loss`]; what comes after HTTP by [`switch`].
//!
//! HTTP/0.9 is in [`simple`]. A `br` or `zstd` body is shown as it is and marked [`Cause::Unsupported`].
//!
//! A frame is a whole message: empty lines before it, interim (1xx) responses, head, body, trailers.

mod arrivals;
pub(super) mod body;
pub(super) mod head;
mod loss;
mod message;
pub(super) mod pairing;
mod simple;
mod start_line;
mod switch;
#[cfg(test)]
mod tests;

use super::{
    AfterGap, Agreement, End, Endpoint, Gap, Input, Options, Output, Parser, Progress, Protocol, Resync,
    Sample, Then, Verdict, endpoint,
};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::record::Record;
use arrivals::{Arrival, Arrivals};
use body::{Advance, Extent};
use head::{Head, MAX_HEAD};
use loss::Loss;
use message::{Draft, Framed, Interim};
use pairing::{Asked, Lost, Match, Pairing};
use start_line::{Judgement, StartLine};

/// The name in records, filters and traces.
const NAME: &str = "http1";

/// Most bytes of empty lines in front of a message.
const MAX_EMPTY: usize = 1024;

/// HTTP/1.x.
pub static PROTOCOL: Protocol =
    Protocol { name: NAME, detect, parser, datagrams: None, endpoint, keep_alives: &[] };

fn detect(sample: &Sample<'_>) -> Verdict {
    simple::detect(sample).unwrap_or_else(|| start_line::detect(sample))
}

/// A request by its method and path; failed with a status of 400 and above.
fn endpoint(record: &Record) -> Endpoint {
    endpoint::of_http(record, "method", "target")
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Http1 {
        options,
        requests: None,
        sides: Default::default(),
        pairing: Pairing::default(),
        order: 0,
        now: Timestamp::default(),
        switched: None,
        agreement: None,
        is_simple: false,
    })
}

/// One connection.
struct Http1 {
    options: Options,
    /// Which direction carries requests; learnt from the first start line, so that a connection whose
    /// role is unknown needs no special case.
    requests: Option<Direction>,
    sides: [Side; 2],
    pairing: Pairing,
    /// Counts calls of [`Parser::feed`].
    order: u64,
    /// When the newest bytes came, or the newest gap was known.
    now: Timestamp,
    /// What both directions speak since an upgrade, or a tunnel.
    switched: Option<Then>,
    /// The exchange that agreed on it.
    agreement: Option<Agreement>,
    /// The client asked in HTTP/0.9.
    is_simple: bool,
}

/// One direction.
#[derive(Default)]
struct Side {
    state: State,
    arrivals: Arrivals,
    /// What is known of the head under way.
    head: Search,
    /// The request whose answer tells whether the bytes after it are HTTP: CONNECT or Upgrade.
    held_by: Option<u64>,
    /// Go on once without the other direction.
    unblocked: bool,
    finished: bool,
    /// What was found behind a loss is no HTTP: a request for a tunnel is among what is lost.
    tunnelled: bool,
    /// Offset after the last byte taken.
    position: u64,
    /// Offset after the last message.
    ended: u64,
    /// Between a loss, which is told then, and the next byte fed.
    searching: bool,
    /// A loss before it was known which way requests go, and the [`Arrival::order`] of what was fed before it.
    loss: Option<(Loss, u64)>,
    interim: Option<Interim>,
}

/// How far the search for the end of a head is: each byte is looked at once, however the head is cut.
#[derive(Clone, Copy, Default)]
struct Search {
    /// Bytes that are known not to hold the end.
    searched: usize,
    /// The start line is whole, and says whether this is a request.
    is_request: Option<bool>,
    /// And that it ends HTTP, whatever its request was.
    switches: bool,
}

/// Where in its messages a direction is.
#[derive(Default)]
enum State {
    /// In front of a message, or in its head.
    #[default]
    Head,
    Body(Box<Draft>),
    /// Behind a head that does not tell where its message ends.
    Astray(&'static str),
}

/// What one step of [`Parser::feed`] did.
struct Step {
    taken: usize,
    /// Absent: go on.
    then: Option<Then>,
}

impl Step {
    fn on(taken: usize) -> Step {
        Step { taken, then: None }
    }

    fn stop(then: Then) -> Step {
        Step { taken: 0, then: Some(then) }
    }
}

impl Parser for Http1 {
    fn feed(&mut self, input: Input<'_>, out: &mut dyn Output) -> Progress {
        self.order += 1;
        self.now = self.now.max(input.time);
        let order = self.order;
        let side = self.side(input.direction);
        side.searching = false;
        side.arrivals.note(&input, order);
        let mut taken = 0;
        loop {
            let step = self.step(advanced(input, taken), out);
            taken += step.taken;
            if let Some(then) = step.then {
                return Progress { taken, then };
            }
        }
    }

    fn gap(&mut self, gap: Gap<'_>, out: &mut dyn Output) -> AfterGap {
        self.now = self.now.max(gap.time);
        let offset = gap.range.from - gap.unread.len() as u64;
        let unread = Input { direction: gap.direction, offset, time: gap.time, data: gap.unread };
        let unread = self.drain(unread, out);
        if self.switched.is_some() {
            self.skip_rest(unread, Cause::Unsupported, "behind a switch of protocols", out);
            return AfterGap::Continue;
        }
        let side = self.side(gap.direction);
        side.position = gap.range.to;
        let first_hit = match std::mem::take(&mut side.state) {
            State::Body(draft) => match self.gap_in_body(draft, &gap, out) {
                Ok(()) => return AfterGap::Continue,
                Err(first_hit) => first_hit,
            },
            // What was hit first is told already.
            State::Head if side.searching => {
                self.skip_rest(unread, Cause::ResyncSkipped, "no message begins here", out);
                false
            }
            State::Astray(reason) => {
                self.skip_rest(unread, Cause::ParseError, reason, out);
                true
            }
            State::Head => self.gap_in_head(unread, gap.cause, out),
        };
        let lost = match gap.cause {
            Cause::BeforeAttach | Cause::WireStartedLate => Lost::BeforeStart,
            Cause::Snaplen | Cause::WireSnaplen | Cause::IovecLimit | Cause::UserMemoryFault => Lost::Tail,
            _ => Lost::Messages,
        };
        let held = self.held_for(gap.direction);
        self.lose(gap.direction, Loss { cause: gap.cause, first_hit, lost }, out);
        self.after_gap(held, out)
    }

    fn begin_inside(&mut self, direction: Direction) {
        let side = self.side(direction);
        side.searching = true;
        let loss = Loss { cause: Cause::BeforeAttach, first_hit: false, lost: Lost::BeforeStart };
        side.loss = Some((loss, 0));
    }

    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync {
        let (known, order) = (self.requests, self.order);
        let side = self.side(direction);
        if !side.searching {
            // Neither a gap nor an error led here: bytes were dropped that waited for too long.
            side.searching = true;
            let loss = Loss { cause: Cause::BufferLimit, first_hit: true, lost: Lost::Messages };
            side.loss = Some((loss, order));
        }
        side.state = State::Head;
        side.head = Search::default();
        if at_event && known == Some(direction) {
            match switch::begins_tls(data) {
                Some(true) => {
                    side.tunnelled = true;
                    return Resync::Found(0);
                }
                None => return Resync::Skip(0),
                Some(false) => {}
            }
        }
        let fits = |line: &StartLine<'_>| known.is_none_or(|known| is_request(line) == (known == direction));
        start_line::find_boundary(data, at_event, &fits)
    }

    fn hand_over(&mut self) -> Option<Agreement> {
        self.agreement.take()
    }

    fn finish(&mut self, rest: Input<'_>, end: End, out: &mut dyn Output) {
        let rest = self.drain(rest, out);
        let side = self.side(rest.direction);
        side.finished = true;
        let searching = side.searching;
        match std::mem::take(&mut side.state) {
            State::Body(mut draft) => {
                let is_whole = match draft.extent {
                    Extent::UntilClose => end != End::TraceEnded,
                    Extent::Length(left) => left == 0,
                    _ => false,
                };
                if !is_whole {
                    draft.truncate(Cause::Incomplete);
                }
                let to = rest.offset + rest.data.len() as u64;
                self.end_message(rest.direction, draft, to, out);
            }
            State::Astray(reason) => self.skip_rest(rest, Cause::ParseError, reason, out),
            State::Head if self.switched.is_some() => {
                self.skip_rest(rest, Cause::Unsupported, "behind a switch of protocols", out);
            }
            State::Head if searching => self.skip_rest(rest, Cause::ResyncSkipped, end.reason(), out),
            State::Head => {
                self.end_interim(rest.direction, rest.offset, Cause::Incomplete, out);
                self.skip_rest(rest, Cause::Incomplete, end.reason(), out);
            }
        }
    }

    fn unblock(&mut self, direction: Direction) {
        self.side(direction).unblocked = true;
    }

    fn close(&mut self, end: End, _time: Timestamp, out: &mut dyn Output) {
        // A switch of protocols ends the connection for this parser in the middle of everything.
        for direction in Direction::BOTH {
            let side = self.side(direction);
            let position = side.position;
            if let State::Body(mut draft) = std::mem::take(&mut side.state) {
                draft.truncate(Cause::Incomplete);
                self.end_message(direction, draft, position, out);
            }
            self.end_interim(direction, position, Cause::Incomplete, out);
        }
        out.step("close", format_args!("{}", end.reason()));
        self.pairing.close(out);
    }
}

impl Http1 {
    fn side(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction.index()]
    }

    /// Takes one part: a head or a part of a body.
    fn step(&mut self, input: Input<'_>, out: &mut dyn Output) -> Step {
        if let Some(then) = &self.switched {
            return Step::stop(then.clone());
        }
        let step = match std::mem::take(&mut self.side(input.direction).state) {
            State::Head => self.step_head(input, out),
            State::Body(draft) => self.step_body(draft, input, out),
            State::Astray(reason) => self.step_astray(reason, input, out),
        };
        self.side(input.direction).position = input.offset + step.taken as u64;
        step
    }

    fn step_head(&mut self, input: Input<'_>, out: &mut dyn Output) -> Step {
        if self.sides[input.direction.index()].tunnelled {
            return Step::stop(self.tunnel_found(input.direction, out));
        }
        if let Some(step) = self.step_simple(input, out) {
            return step;
        }
        let lead = head::empty_lines(input.data);
        let rest = &input.data[lead..];
        if rest.is_empty() || rest == b"\r" {
            return match lead < MAX_EMPTY {
                true => more("a message"),
                false => self.malformed(input, lead, "only empty lines".into(), out),
            };
        }
        if self.is_held(input.direction) {
            return Step::stop(Then::Other("the answer to the upgrade"));
        }
        if let Some(step) = self.judge_start(input, lead, out) {
            return step;
        }
        let search = self.side(input.direction).head;
        if search.is_request == Some(false) && self.must_wait(input.direction) {
            return Step::stop(Then::Other("its request"));
        }
        let searched = search.searched.saturating_sub(lead);
        match head::section_end(rest, searched) {
            Some(end) if end <= MAX_HEAD => self.take_head(input, lead, lead + end, out),
            None if rest.len() < MAX_HEAD => {
                self.side(input.direction).head.searched = input.data.len();
                more("the end of the head")
            }
            _ => self.malformed(
                input,
                lead + MAX_HEAD,
                format!("no end of the head within {MAX_HEAD} bytes"),
                out,
            ),
        }
    }

    /// Judges the start line, if that is not done yet. Gives a step where it ends the matter.
    fn judge_start(&mut self, input: Input<'_>, lead: usize, out: &mut dyn Output) -> Option<Step> {
        let search = self.side(input.direction).head;
        if search.is_request.is_some() {
            return None;
        }
        let rest = &input.data[lead..];
        let (length, reason) = match start_line::judge(rest, search.searched.saturating_sub(lead)) {
            Judgement::Partial => return None,
            Judgement::Line(line) if self.fits(input.direction, &line) => {
                let head = &mut self.side(input.direction).head;
                head.is_request = Some(is_request(&line));
                head.switches = switch::is_said_by(&line);
                return None;
            }
            Judgement::Line(_) => {
                let line = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                (line, "a message of the other direction")
            }
            Judgement::Bad { length, reason } => (length, reason),
        };
        Some(self.malformed(input, lead + length, reason.into(), out))
    }

    /// Takes the whole head `input.data[lead..end]`.
    fn take_head(&mut self, input: Input<'_>, lead: usize, end: usize, out: &mut dyn Output) -> Step {
        let head = match head::parse(&input.data[lead..end], self.options.show_secrets) {
            Ok(head) => head,
            Err(reason) => return self.malformed(input, end, reason, out),
        };
        self.learn(input.direction, &head.start, out);
        self.side(input.direction).head = Search::default();
        let Input { direction, offset, .. } = input;
        match self.begin_message(direction, offset, [lead, end], head, out) {
            Some(Ok(draft)) => self.side(direction).state = State::Body(draft),
            Some(Err((mut draft, reason))) => {
                draft.truncate(Cause::ParseError);
                self.end_message(direction, draft, offset + end as u64, out);
                self.side(direction).state = State::Astray(reason);
            }
            None => {}
        }
        Step::on(end)
    }

    /// Begins the message at `start` that has this head from byte `lead` on, behind empty lines, to byte `end`. None: it
    /// is an interim response.
    fn begin_message(
        &mut self,
        direction: Direction,
        start: u64,
        [lead, end]: [usize; 2],
        head: Head<'_>,
        out: &mut dyn Output,
    ) -> Option<Framed> {
        // The empty lines may have come long before, behind the last message.
        let arrival = self.side(direction).arrivals.at(start + lead as u64);
        let StartLine::Response { status, .. } = head.start else {
            let room = start.saturating_sub(self.side(direction).ended);
            let asked = Asked { length: (end - lead) as u64, room, ..asked(&head, arrival) };
            let id = self.pairing.begin_request(asked);
            if asked.connect || head.upgrade.is_some() {
                self.side(direction).held_by = Some(id);
            }
            return Some(Draft::request(head, id, start, arrival.time, &self.options));
        };
        let mut interim = self.responding(direction, start, arrival, out);
        if is_interim(status) {
            interim.add(status);
            self.side(direction).interim = Some(interim);
            return None;
        }
        Some(Draft::response(head, status, interim, arrival.time, &self.options))
    }

    /// True where a response can't be read before its request is.
    fn must_wait(&self, direction: Direction) -> bool {
        let side = &self.sides[direction.index()];
        let requests = &self.sides[direction.reverse().index()];
        // What comes behind a lost request is passed over as long as nobody knows that it is not HTTP.
        let asked_is_lost = side.head.switches && requests.searching;
        side.interim.is_none()
            && !side.unblocked
            && !requests.finished
            && !asked_is_lost
            && !self.pairing.knows_next()
    }

    /// The response that goes on, or begins at `start`, with the request it answers.
    fn responding(
        &mut self,
        direction: Direction,
        start: u64,
        arrival: Arrival,
        out: &mut dyn Output,
    ) -> Interim {
        let side = &mut self.sides[direction.index()];
        if let Some(interim) = side.interim.take() {
            return interim;
        }
        let (id, asked) = match self.pairing.begin_response(arrival, out) {
            Match::Known(id, asked) => (Some(id), asked),
            Match::Lone(why) => {
                out.step("lone-response", format_args!("{why}"));
                (None, Asked::default())
            }
            Match::None => {
                out.step("lone-response", format_args!("no request is known that waits for an answer"));
                self.pairing.begin_lone_response(arrival);
                (None, Asked::default())
            }
        };
        side.unblocked = false;
        Interim::new(id, asked, start)
    }

    fn step_body(&mut self, mut draft: Box<Draft>, input: Input<'_>, out: &mut dyn Output) -> Step {
        let advance = draft.advance(input.data, self.options.show_secrets);
        if let Advance::Taken(taken) = advance {
            let side = self.side(input.direction);
            side.arrivals.forget_before(input.offset + taken as u64);
            side.state = State::Body(draft);
            return Step::on(taken);
        }
        match advance {
            Advance::More(what) => {
                self.side(input.direction).state = State::Body(draft);
                more(what)
            }
            Advance::Bad(length, reason) => {
                draft.truncate(Cause::ParseError);
                self.end_message(input.direction, draft, input.offset, out);
                self.lose(
                    input.direction,
                    Loss { cause: Cause::ParseError, first_hit: false, lost: Lost::Messages },
                    out,
                );
                Step::stop(Then::Malformed { length, reason })
            }
            Advance::Whole(taken) | Advance::Taken(taken) => {
                self.end_message(input.direction, draft, input.offset + taken as u64, out);
                Step { taken, then: self.switched.clone() }
            }
        }
    }

    /// Behind a head that contradicts itself the next message is only believed where it looks like one.
    fn step_astray(&mut self, reason: &'static str, input: Input<'_>, out: &mut dyn Output) -> Step {
        if input.data.is_empty() {
            self.side(input.direction).state = State::Astray(reason);
            return more("a message");
        }
        let is_requests = self.requests == Some(input.direction);
        match start_line::find_boundary(input.data, true, &|line| is_request(line) == is_requests) {
            Resync::Found(0) => self.step_head(input, out),
            Resync::Skip(0) if input.data.len() < MAX_HEAD => {
                self.side(input.direction).state = State::Astray(reason);
                more("the next message")
            }
            _ => self.malformed(input, 1, reason.into(), out),
        }
    }

    /// A message is as whole as it will be: its frame goes out, and what it makes with its other half.
    fn end_message(&mut self, direction: Direction, draft: Box<Draft>, to: u64, out: &mut dyn Output) {
        let side = self.side(direction);
        let ended = side.arrivals.at(to.saturating_sub(1)).time;
        side.arrivals.forget_before(to);
        side.head = Search::default();
        side.ended = to;
        out.frame(direction, Range::new(draft.start, to), format_args!("{draft}"));
        let switches_to = draft.switches_to();
        let (is_request, id) = (draft.is_request, draft.id);
        let half = draft.into_half(direction, to, ended);
        if let Some(next) = switches_to {
            self.switch(next, id, &half.message);
        }
        match id {
            Some(id) if is_request => self.pairing.end_request(id, half, out),
            id => self.pairing.end_response(id, half, out),
        }
    }

    /// Learns from a start line which way requests go, and tells the losses that waited for it.
    fn learn(&mut self, direction: Direction, line: &StartLine<'_>, out: &mut dyn Output) {
        let requests = *self.requests.get_or_insert_with(|| {
            let requests = if is_request(line) { direction } else { direction.reverse() };
            out.step("role", format_args!("requests go in direction {}", requests.name()));
            requests
        });
        for direction in Direction::BOTH {
            self.tell_loss(direction, requests, out);
        }
    }

    fn fits(&self, direction: Direction, line: &StartLine<'_>) -> bool {
        self.requests.is_none_or(|requests| (requests == direction) == is_request(line))
    }

    /// True while it is not known whether the bytes after a CONNECT or Upgrade request are HTTP.
    fn is_held(&mut self, direction: Direction) -> bool {
        let over = self.sides[direction.reverse().index()].finished;
        let side = &mut self.sides[direction.index()];
        let waits = side.held_by.is_some_and(|id| self.pairing.waits(id)) && !side.unblocked && !over;
        if !waits && side.held_by.take().is_some() {
            side.unblocked = false;
        }
        waits
    }
}

/// What the answer to a request depends on.
fn asked(head: &Head<'_>, arrival: Arrival) -> Asked {
    let StartLine::Request { method, .. } = head.start else { return Asked { arrival, ..Asked::default() } };
    Asked {
        arrival,
        head: method == b"HEAD",
        connect: method == b"CONNECT",
        expects_continue: head.expects_continue,
        ..Asked::default()
    }
}

/// 101 (Switching Protocols) is the last response in HTTP.
fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

fn is_request(line: &StartLine<'_>) -> bool {
    matches!(line, StartLine::Request { .. })
}

fn more(what: &'static str) -> Step {
    Step::stop(Then::More(what))
}

/// `input` without its first `taken` bytes.
fn advanced(input: Input<'_>, taken: usize) -> Input<'_> {
    Input { offset: input.offset + taken as u64, data: &input.data[taken..], ..input }
}
