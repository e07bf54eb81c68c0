//! Application protocols: what a parser is given, what it gives back, and the table of all of them.
//!
//! A parser is a push parser for one connection, both directions. It is sans-IO and survives cuts at
//! any byte, gaps and garbage. Buffering of bytes that it could not take yet, resynchronisation, the
//! choice of the protocol and the ledger are the business of [`crate::conn`], not of a parser.
//!
//! Parts for parsers: [`framed`] for messages that say their length, [`cursor`] to read them, [`exchange`] to make
//! records of them. [`endpoint`] names what a record counts as.
//!
//! To add a protocol: one file here that exports `PROTOCOL`, one word in `protocols!`.

pub mod cursor;
pub mod endpoint;
pub mod exchange;
pub mod framed;
mod judgement;
pub mod secrets;
#[cfg(test)]
mod testing;

use self::endpoint::Endpoint;
use crate::event::{Address, Cause, Direction, Range, Role, Timestamp};
use crate::record::{self, Message, Record, Value};
use std::borrow::Cow;
use std::fmt;

/// What stands for a secret, without [`Options::show_secrets`].
pub const MASK: &str = "***";

/// The same as the value of a field.
pub const MASKED: Value = Value::Text(Cow::Borrowed(MASK));

/// Declares the modules and builds the table [`ALL`] of their `PROTOCOL`s.
macro_rules! protocols {
    ($($module:ident)*) => {
        $(pub mod $module;)*

        /// Every protocol. The order has no meaning: detection weighs the verdicts of all.
        pub static ALL: &[&Protocol] = &[$(&$module::PROTOCOL,)*];
    };
}

protocols! { amqp cql dns http1 http2 kafka memcached mongodb mqtt mux mysql nats postgres redis tls websocket }

/// What both ends may agree to speak from some byte on, as [`Then::Switched`] names it, and the protocol whose parser
/// goes on there.
const UPGRADES: [(&str, &str); 3] =
    [("h2c", http2::PROTOCOL.name), ("TLS", tls::PROTOCOL.name), ("websocket", websocket::PROTOCOL.name)];

/// The protocol of `known` that goes on after a switch to `name`, which may say a version (`TLS/1.0`, RFC 2817) and what
/// is spoken inside (`TLS/1.0, HTTP/1.1`).
pub fn successor(name: &str, known: &[&'static Protocol]) -> Option<&'static Protocol> {
    let name = name.split([',', '/']).next().unwrap_or_default().trim();
    let (_, protocol) = UPGRADES.iter().find(|(token, _)| token.eq_ignore_ascii_case(name))?;
    known.iter().copied().find(|one| one.name == *protocol)
}

/// The protocol with this name.
pub fn named(name: &str) -> Option<&'static Protocol> {
    ALL.iter().copied().find(|protocol| protocol.name == name)
}

/// The exchange in which both ends agreed to speak something else.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The direction in which the side sends that asked for it.
    pub client: Direction,
    /// The request that asked for it, where that was seen.
    pub asked: Option<Message>,
    /// The answer that agreed, with what it set out for the time after it; absent where it was lost, and with causes where
    /// a part of it was.
    pub answer: Option<Message>,
}

/// What both directions speak from some byte on, where only its content can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undeclared {
    /// What one side offered to speak, where it did and nobody saw the other agree. It may have refused.
    pub offered: Option<String>,
    /// Why nothing else tells, in words for the trace.
    pub why: &'static str,
}

/// One row of the table of protocols.
pub struct Protocol {
    /// Short name, as in records, filters and traces.
    pub name: &'static str,
    /// Judges from content whether a connection speaks this protocol.
    pub detect: fn(&Sample<'_>) -> Verdict,
    /// Makes the parser of one connection.
    pub parser: fn(Options) -> Box<dyn Parser + Send>,
    /// Judges one whole datagram, where the protocol is spoken in datagrams, too: [`Parser::datagram`].
    pub datagrams: Option<fn(&Datagram<'_>) -> Verdict>,
    /// What a record counts as in statistics.
    pub endpoint: fn(&Record) -> Endpoint,
    /// The first words of the summaries of messages that do nothing but keep a connection alive, or try whether it is. Not
    /// a command for people, which Redis and MongoDB call ping, too.
    pub keep_alives: &'static [&'static str],
}

impl Protocol {
    /// True of a keep-alive that was answered as it should, or needs no answer. One that was not says something.
    pub fn is_routine(&self, record: &Record) -> bool {
        let asked = |words: &str| match record.summary.strip_prefix(words) {
            Some(rest) => rest.is_empty() || rest.starts_with(' '),
            None => false,
        };
        self.keep_alives.iter().any(|words| asked(words))
            && record.status == record::Status::Complete
            && record.causes().is_empty()
            && !endpoint::has_error(record)
    }
}

/// What a parser may spend on what it shows, and what is known of the connection beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many bytes of each body or long value to keep in a record's fields. 0: none, and parsers do no
    /// work for it. Bytes beyond it are counted, not kept, and the message gets
    /// [`Cause::FieldTruncated`].
    pub max_field: usize,
    /// Show passwords, tokens and cookies instead of masking them.
    pub show_secrets: bool,
    /// Which end of the connection is observed, where that is known.
    pub role: Role,
}

impl Options {
    /// The direction in which the client sends, where it is known which end that is.
    pub fn client(self) -> Option<Direction> {
        match self.role {
            Role::Client => Some(Direction::Send),
            Role::Server => Some(Direction::Recv),
            Role::Unknown => None,
        }
    }
}

/// The first bytes of a connection, for [`Protocol::detect`].
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The bytes at hand of each direction, by [`Direction::index`].
    pub data: [&'a [u8]; 2],
    /// True where `data` begins with the direction's first byte; else it may begin anywhere in a message.
    pub from_start: [bool; 2],
    /// Which end is observed.
    pub role: Role,
}

impl Sample<'_> {
    /// The verdict of `judge`, which is told the direction in which the client sends: where the role does not tell
    /// that, the better of the verdicts on both.
    pub fn judged_with_client(&self, judge: impl Fn(Direction) -> Verdict) -> Verdict {
        match self.role {
            Role::Client => judge(Direction::Send),
            Role::Server => judge(Direction::Recv),
            Role::Unknown => judge(Direction::Send).or_better(judge(Direction::Recv)),
        }
    }
}

/// What a protocol makes of a [`Sample`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this protocol. The highest confidence wins: 100 is proof (a magic number, a whole valid
    /// message with a version string), 50 a well-formed message that other protocols could also produce.
    Match(u8),
    /// It can be, more bytes will tell. Says what is missing.
    Maybe(&'static str),
    /// It is not. Says why.
    No(&'static str),
}

impl Verdict {
    /// The other verdict where it says more for the protocol than this one.
    pub fn or_better(self, other: Verdict) -> Verdict {
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Match(confidence) => 2 + u16::from(*confidence),
            Verdict::Maybe(_) => 1,
            Verdict::No(_) => 0,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// Bytes at the head of one direction's unread stream.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Which direction.
    pub direction: Direction,
    /// Offset of the first byte of `data`.
    pub offset: u64,
    /// When the newest of the bytes arrived.
    pub time: Timestamp,
    /// The bytes. Starts with what the last call left, never with what it took.
    pub data: &'a [u8],
}

/// One datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Which direction.
    pub direction: Direction,
    /// Its place among the bytes of its direction, where datagrams count one after the other. Never empty.
    pub range: Range,
    /// When it was sent or received.
    pub time: Timestamp,
    /// Its bytes: all, or those that were captured.
    pub data: &'a [u8],
    /// Why `data` is shorter than `range`; absent where it is not.
    pub cause: Option<Cause>,
    /// The address of the observed end, where it is known. Of a socket that hears at all addresses of its host it has
    /// just the port.
    pub local: Option<Address>,
    /// The other end, where it is known: that of the datagram, or of its connection.
    pub peer: Option<Address>,
}

impl Datagram<'_> {
    /// The part of its range that was captured.
    pub fn captured(&self) -> Range {
        Range::new(self.range.from, self.range.from + self.data.len() as u64)
    }

    /// Says that no datagrams are expected.
    fn refuse(&self, out: &mut dyn Output) {
        let reason = format_args!("not a protocol of datagrams");
        out.skip(self.direction, self.captured(), Cause::Unsupported, reason);
    }
}

/// What a parser did with its [`Input`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the front. They are never shown again.
    pub taken: usize,
    /// What has to happen before the bytes after them can be taken.
    pub then: Then,
}

/// What a parser waits for after the bytes it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// More bytes of this direction (also where all were taken). Says of what, for the trace.
    More(&'static str),
    /// Nothing of this direction can be read before the other has moved on: a response whose request is
    /// not read yet. Tried again whenever the other direction moved, then with [`Parser::unblock`].
    Other(&'static str),
    /// The next `length` bytes (at least 1) do not follow the protocol. They are marked
    /// [`Cause::ParseError`] with the reason, then [`Parser::resync`] looks for the next boundary.
    Malformed {
        /// Extent of the malformed unit: up to and including the byte that proves it.
        length: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// From here on both directions speak something else (HTTP upgrade, CONNECT). Names it. A parser that is made for it
    /// goes on ([`successor`]), with what [`Parser::hand_over`] gives; without one all later bytes are marked
    /// [`Cause::Unsupported`].
    Switched(String),
    /// Likewise, but nobody names what it is: a tunnel. It is looked for as at the beginning of a connection.
    Undeclared(Undeclared),
}

/// What a gap does to the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterGap {
    /// The gap lies inside a part of known length (or of no interest): the byte after it can be read.
    Continue,
    /// The next boundary has to be searched with [`Parser::resync`].
    Resync,
    /// As [`Then::Switched`]: the gap is among the words that agreed on it, and may reach into what follows.
    Switched(String),
    /// As [`Then::Undeclared`]: the gap is where the words were that would tell.
    Undeclared(Undeclared),
}

/// Answer of [`Parser::resync`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// A message begins after this many bytes (0: at once).
    Found(usize),
    /// No boundary yet; this many bytes from the front cannot begin one. The rest is shown again with
    /// more bytes behind it.
    Skip(usize),
}

/// How a direction, or the connection, came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The direction alone: its sender said that no more bytes come (FIN, shutdown).
    Finished,
    /// The connection was closed or reset.
    Closed,
    /// The trace or capture ended while it was open.
    TraceEnded,
}

impl End {
    /// Words for a reason: `the connection was closed`, `the trace ended`.
    pub fn reason(self) -> &'static str {
        match self {
            End::Finished => "the stream ended",
            End::Closed => "the connection was closed",
            End::TraceEnded => "the trace ended",
        }
    }
}

/// The parser of one connection. All methods may be called in any order that a broken trace can produce.
pub trait Parser {
    /// Takes what it can of the bytes at the head of one direction. Every taken byte has to be accounted
    /// for, then or later, by exactly one [`Output::frame`] or [`Output::skip`].
    fn feed(&mut self, input: Input<'_>, out: &mut dyn Output) -> Progress;

    /// The bytes of `gap.range` will never come. `gap.unread` were offered and not taken before it; they
    /// have to be accounted for here, by the frame of a truncated message or by [`Output::skip`]. A
    /// message under way that can't be carried over the gap is finished as far as it came, with
    /// `gap.cause` among its causes.
    fn gap(&mut self, gap: Gap<'_>, out: &mut dyn Output) -> AfterGap;

    /// The trace begins in the middle of this direction: the first bytes shown may lie anywhere in a
    /// message, and [`Parser::resync`] comes first. Called before anything else of the direction. Nothing
    /// is lost by it but what moved before the trace.
    fn begin_inside(&mut self, direction: Direction) {
        let _ = direction;
    }

    /// Looks for the next place where a message begins, by the strongest evidence the protocol offers.
    /// `at_event` tells that `data` begins where a call or packet did.
    fn resync(&mut self, direction: Direction, data: &[u8], at_event: bool) -> Resync;

    /// No more bytes will come in this direction. `rest` holds those that were offered and not taken (and
    /// where the stream ends); they have to be accounted for here, like the unread bytes of a gap.
    /// Called once per direction, at the latest before [`Parser::close`].
    fn finish(&mut self, rest: Input<'_>, end: End, out: &mut dyn Output);

    /// What the parser that goes on after [`Then::Switched`] or [`Then::Undeclared`] should know.
    fn hand_over(&mut self) -> Option<Agreement> {
        None
    }

    /// This parser goes on where another one ended with [`Then::Switched`]. Called before anything else.
    fn take_over(&mut self, agreement: Agreement) {
        let _ = agreement;
    }

    /// Waiting for the other direction ([`Then::Other`]) is over: it has a gap or its end there. The next
    /// [`Parser::feed`] of `direction` has to go on without.
    fn unblock(&mut self, direction: Direction);

    /// Takes a datagram that the protocol recognised ([`Protocol::datagrams`]); accounts for its range
    /// by [`Output::frame`], or by [`Output::skip`] of what was captured of it, at once or when what it is a part of has come. A parser gets datagrams or streams, never both.
    fn datagram(&mut self, datagram: Datagram<'_>, out: &mut dyn Output) {
        datagram.refuse(out);
    }

    /// Whether a datagram continues what this parser was given before, so that it needs no judgement by itself.
    fn continues(&self, datagram: &Datagram<'_>) -> bool {
        let _ = datagram;
        false
    }

    /// The connection or the trace ended, both directions are finished: what still waits for its other
    /// half becomes a record.
    fn close(&mut self, end: End, time: Timestamp, out: &mut dyn Output);
}

/// Bytes that will never come.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    /// Which direction.
    pub direction: Direction,
    /// The missing bytes.
    pub range: Range,
    /// The bytes just before `range` that were offered and not taken.
    pub unread: &'a [u8],
    /// Why they are missing.
    pub cause: Cause,
    /// When the gap became known.
    pub time: Timestamp,
}

/// Where a parser puts what it found.
pub trait Output {
    /// A frame was cut from `range` of the stream (a gap that the frame spans may lie inside). `what` is
    /// shown at trace level 2.
    fn frame(&mut self, direction: Direction, range: Range, what: fmt::Arguments<'_>);

    /// A frame was cut as by [`Output::frame`], whose record nobody waits for: it has none, or is one of many that are
    /// shown by a single record at the end.
    fn frame_aside(&mut self, direction: Direction, range: Range, what: fmt::Arguments<'_>) {
        self.frame(direction, range, what);
    }

    /// Bytes were taken that belong to no frame.
    fn skip(&mut self, direction: Direction, range: Range, cause: Cause, reason: fmt::Arguments<'_>);

    /// A record is ready. Its messages' ranges are ranges of frames given before.
    fn record(&mut self, record: Record);

    /// A step of the parser's reasoning, shown at trace level 2: a slug and a message.
    fn step(&mut self, step: &'static str, message: fmt::Arguments<'_>);
}
