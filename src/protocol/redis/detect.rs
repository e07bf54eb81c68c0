//! Knows Redis by its content: whether a connection speaks it, which direction has the commands, and where in
//! a damaged stream the next message begins.
//!
//! Everything is judged by reading elements with the real grammar; no single byte is evidence.

use super::command::{is_name, lookup};
use super::element::{Element, Kind, PIECE_BYTES, Piece};
use super::resp::{Grammar, Reader, Step};
use crate::event::Direction;
use crate::protocol::judgement::{Judgement, behind_line_ends};
use crate::protocol::{Resync, Sample, Verdict};
use memchr::memmem;

/// How many bytes of an element are looked at to judge it.
const WINDOW: usize = 4096;

/// The two sides of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What a client sends.
    Commands,
    /// What a server sends.
    Replies,
    /// An array of strings that both can send.
    Either,
}

/// Which side `data`, the beginning of a message, comes from; `None` if it is too short to tell.
pub fn side(data: &[u8]) -> Option<Side> {
    let &first = data.first()?;
    match first {
        b'*' => match command(data) {
            Look::Known(_) | Look::Damaged => Some(Side::Commands),
            Look::Name(_) | Look::Nameless => Some(Side::Either),
            Look::Partial => None,
            Look::Not => Some(Side::Replies),
        },
        _ if Kind::of(first).is_some() => Some(Side::Replies),
        _ if first.is_ascii_alphabetic() || first.is_ascii_whitespace() => Some(Side::Commands),
        _ => Some(Side::Either),
    }
}

/// What the beginning of some bytes looks like as a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A command of Redis; its length if it is whole.
    Known(Option<usize>),
    /// A command by its form, not known by name; its length if it is whole.
    Name(Option<usize>),
    /// An empty command, or one whose first word is no name.
    Nameless,
    /// A command of Redis that goes on as none can.
    Damaged,
    /// Too short to tell.
    Partial,
    /// None.
    Not,
}

fn command(data: &[u8]) -> Look {
    let window = &data[..data.len().min(WINDOW)];
    let mut element = Element::new(0);
    let (taken, step) = Reader::new(Grammar::Request).read(window, &mut element);
    let word = element.piece(0).and_then(Piece::text);
    let known = word.is_some_and(|word| lookup(word).is_some());
    let length = match step {
        Step::Whole => Some(taken),
        Step::Need(_) => None,
        Step::Malformed { .. } => return if known { Look::Damaged } else { Look::Not },
    };
    match word {
        Some(_) if known => Look::Known(length),
        Some(word) if is_name(word) => Look::Name(length),
        Some(_) => Look::Nameless,
        None if length.is_some() => Look::Nameless,
        // A first word longer than what is kept of it.
        None if element.piece(0).is_some_and(|piece| piece.length > PIECE_BYTES as u64) => Look::Nameless,
        None => Look::Partial,
    }
}

/// What the beginning of some bytes looks like as replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Replies {
    /// Whole elements.
    whole: usize,
    /// Those of them that no line of text could be by chance: strings with their length, aggregates.
    strong: usize,
    /// Whole elements of other types than simple strings and errors.
    typed: usize,
    /// An element begins behind them whose first line is whole and says how much follows.
    begun: bool,
    /// The bytes end inside an element, or behind the last.
    open: bool,
}

fn replies(data: &[u8]) -> Replies {
    let window = &data[..data.len().min(WINDOW)];
    let mut reader = Reader::new(Grammar::Reply);
    let mut element = Element::new(0);
    let mut found = Replies::default();
    let mut at = 0;
    loop {
        element.reset();
        let (taken, step) = reader.read(&window[at..], &mut element);
        at += taken;
        let long = matches!(element.kind, Some(Kind::Bulk | Kind::Verbatim | Kind::BulkError))
            || element.count.is_some_and(|count| count > 0);
        match step {
            Step::Whole => {
                found.whole += 1;
                found.strong += usize::from(long && !element.is_null);
                let text = matches!(element.kind, Some(Kind::SimpleString | Kind::Error));
                found.typed += usize::from(!text);
            }
            Step::Need(_) => {
                found.begun = long;
                found.open = true;
                return found;
            }
            Step::Malformed { .. } => return found,
        }
    }
}

/// Looks for the next command. Enough evidence is a command of Redis by name in a well-formed array behind a
/// line end or at an event; of an unknown command, the whole of it. Inline commands are lines of text like
/// any other: only an event that holds nothing but such lines, all with known names, counts.
pub fn command_boundary(data: &[u8], at_event: bool) -> Resync {
    behind_line_ends(data, at_event, |data, at_event| match data.first() {
        Some(b'*') => match command(data) {
            Look::Known(_) | Look::Name(Some(_)) => Judgement::Yes,
            Look::Partial | Look::Name(None) if data.len() < WINDOW => Judgement::Wait,
            _ => Judgement::No,
        },
        Some(_) if at_event && inline_commands(data) > 0 => Judgement::Yes,
        Some(_) => Judgement::No,
        None => Judgement::Wait,
    })
}

/// Looks for the next reply. A short reply (`+OK`, `:1`) can stand in any value, behind a line end of the
/// value. So behind a line end it takes two whole elements in a row, or one that holds its own length and
/// agrees with it. Where a call or packet begins, servers begin a reply much more often than not: there one
/// whole element is enough if nothing but the beginning of another follows, or the first line of a long one.
pub fn reply_boundary(data: &[u8], at_event: bool) -> Resync {
    behind_line_ends(data, at_event, judge_reply)
}

fn judge_reply(data: &[u8], at_event: bool) -> Judgement {
    if data.is_empty() {
        return Judgement::Wait;
    }
    let found = replies(data);
    match found.whole {
        0 if !found.open => Judgement::No,
        0 if at_event && found.begun => Judgement::Yes,
        _ if found.strong > 0 || found.whole >= 2 => Judgement::Yes,
        1 if at_event && found.open => Judgement::Yes,
        _ if found.open && data.len() < WINDOW => Judgement::Wait,
        _ => Judgement::No,
    }
}

/// Looks for the next message while it is not known which side this is. Strings, and arrays of them, do not
/// tell: the rest of a damaged command looks like the replies to several GETs.
pub fn any_boundary(data: &[u8], at_event: bool) -> Resync {
    behind_line_ends(data, at_event, |data, at_event| match data.first() {
        Some(b'*') => match command(data) {
            Look::Known(_) => Judgement::Yes,
            Look::Partial if data.len() < WINDOW => Judgement::Wait,
            _ => Judgement::No,
        },
        Some(b'$') => Judgement::No,
        Some(_) if at_event && inline_commands(data) > 0 => Judgement::Yes,
        _ => judge_reply(data, at_event),
    })
}

/// How many inline commands with known names fill all of `data`, blank lines aside; 0 if anything else is in
/// it.
fn inline_commands(data: &[u8]) -> usize {
    let Some(lines) = data.strip_suffix(b"\n") else { return 0 };
    let mut count = 0;
    for line in lines[..lines.len().min(WINDOW)].split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        let word = line.split(u8::is_ascii_whitespace).next().unwrap_or(line);
        if lookup(word).is_some() && !is_foreign(line) {
            count += 1;
        } else if !line.is_empty() {
            return 0;
        }
    }
    count
}

/// A line that nothing but a client of Redis sends.
fn is_own_inline(line: &[u8]) -> bool {
    let mut words = line.trim_ascii().split(u8::is_ascii_whitespace);
    let is = |word: Option<&[u8]>, names: &[&str]| {
        word.is_some_and(|word| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes())))
    };
    is(words.next(), &["CLIENT"])
        && is(words.next(), &["REPLY"])
        && is(words.next(), &["ON", "OFF", "SKIP"])
        && words.next().is_none()
}

/// Lines of other protocols whose first word is also a command of Redis: an HTTP request, and the NATS
/// server's INFO.
fn is_foreign(line: &[u8]) -> bool {
    memmem::find(line, b" HTTP/").is_some() || memmem::find(line, b" {").is_some()
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    sample.judged_with_client(|client| assign(sample, client))
}

/// Errors that only a server of Redis words like this, whatever it was sent. POP3 and NATS have `-ERR` too.
const OWN_ERRORS: [&str; 7] = [
    "-ERR unknown command '",
    "-ERR unknown command `",
    "-ERR wrong number of arguments for '",
    "-ERR Protocol error: ",
    "-NOAUTH Authentication required",
    "-WRONGTYPE Operation against a key",
    "-DENIED Redis is running in protected mode",
];

/// One of them, behind nothing but replies of one word: POP3 greets with several.
fn has_own_error(data: &[u8]) -> bool {
    let mut lines = data[..data.len().min(WINDOW)].split_inclusive(|&byte| byte == b'\n');
    let is_word = |line: &&[u8]| matches!(line, [b'+' | b':', ..]) && !line.contains(&b' ');
    let first = lines.find(|line| !is_word(line)).unwrap_or_default();
    OWN_ERRORS.iter().any(|error| first.starts_with(error.as_bytes()))
}

/// Judges it with the commands in one direction.
fn assign(sample: &Sample<'_>, direction: Direction) -> Verdict {
    let (ours, theirs) = (direction.index(), direction.reverse().index());
    if has_own_error(sample.data[theirs]) {
        return Verdict::Match(90);
    }
    let sent = match judge_commands(sample.data[ours], sample.from_start[ours]) {
        Ok(sent) => sent,
        Err(reason) => return Verdict::No(reason),
    };
    let answered = match judge_replies(sample.data[theirs], sample.from_start[theirs]) {
        Ok(answered) => answered,
        Err(reason) => return Verdict::No(reason),
    };
    match (sent, answered) {
        (Sent::Known, _) => Verdict::Match(95),
        (Sent::Name, Answered::None) => Verdict::Match(60),
        (Sent::Name, _) => Verdict::Match(80),
        (Sent::Partial, Answered::None | Answered::Text(_)) => Verdict::Maybe("a whole command"),
        // A banner before the first command, or more lines than commands, is POP3.
        (Sent::Inline(commands), Answered::Text(lines)) if lines > commands => {
            Verdict::No("more reply lines than inline commands")
        }
        (Sent::Inline(_), Answered::None) => Verdict::Maybe("the reply to an inline command"),
        (Sent::Inline(_), Answered::Text(_)) => Verdict::Match(70),
        (Sent::Inline(_), Answered::Typed(_)) => Verdict::Match(85),
        (Sent::Partial, Answered::Typed(_)) => Verdict::Match(50),
        (Sent::None, Answered::None) => Verdict::Maybe("a whole message"),
        (Sent::None, Answered::Text(_)) => Verdict::Maybe("the command that is answered"),
        (Sent::None, Answered::Typed(1)) => Verdict::Match(45),
        (Sent::None, Answered::Typed(_)) => Verdict::Match(60),
    }
}

/// What the direction of the commands holds.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// Nothing yet, or nothing with a known beginning.
    None,
    /// Too little to tell.
    Partial,
    /// A command array with a known name.
    Known,
    /// A command array with another name.
    Name,
    /// So many inline commands.
    Inline(usize),
}

/// What the direction of the replies holds.
#[derive(Clone, Copy, Debug)]
enum Answered {
    /// Nothing yet, or nothing with a known beginning.
    None,
    /// So many simple strings and errors, which NATS and POP3 have too.
    Text(usize),
    /// So many elements, some of other types.
    Typed(usize),
}

fn judge_commands(data: &[u8], from_start: bool) -> Result<Sent, &'static str> {
    let data = match command_boundary(data, true) {
        Resync::Found(at) if at == 0 || !from_start => &data[at..],
        _ if from_start => data,
        _ => return Ok(Sent::None),
    };
    match data.first() {
        None => Ok(Sent::None),
        Some(b'*') => match command(data) {
            Look::Known(_) => Ok(Sent::Known),
            Look::Name(Some(_)) => Ok(Sent::Name),
            Look::Name(None) | Look::Partial => Ok(Sent::Partial),
            Look::Nameless | Look::Damaged | Look::Not => Err("an array that is no command"),
        },
        Some(byte) if byte.is_ascii_alphabetic() || byte.is_ascii_whitespace() => match inline_commands(data)
        {
            0 if is_begun_inline(data) => Ok(Sent::Partial),
            0 => Err("a line that is no command"),
            _ if data.split(|&byte| byte == b'\n').any(is_own_inline) => Ok(Sent::Known),
            count => Ok(Sent::Inline(count)),
        },
        Some(_) => Err("neither an array nor a line of text"),
    }
}

/// True where `data` is the beginning of a line that can become an inline command.
fn is_begun_inline(data: &[u8]) -> bool {
    const LONGEST: usize = 24;
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let Some((last, whole)) = lines.split_last() else { return false };
    let known =
        |line: &&[u8]| line.trim_ascii().is_empty() || inline_commands(&[line, &b"\n"[..]].concat()) == 1;
    let whole_known = whole.iter().all(known);
    let word = last.split(u8::is_ascii_whitespace).next().unwrap_or(last);
    let begun =
        if word.len() < last.len() { lookup(word).is_some() } else { word.len() <= LONGEST && is_name(word) };
    whole_known && begun && !is_foreign(last)
}

fn judge_replies(data: &[u8], from_start: bool) -> Result<Answered, &'static str> {
    let data = match reply_boundary(data, true) {
        Resync::Found(at) if at == 0 || !from_start => &data[at..],
        _ if from_start => data,
        _ => return Ok(Answered::None),
    };
    if data.is_empty() {
        return Ok(Answered::None);
    }
    let found = replies(data);
    match found {
        Replies { whole: 0, open: false, .. } => Err("no type byte with its line"),
        Replies { whole: 0, begun: true, .. } => Ok(Answered::Typed(1)),
        Replies { whole: 0, .. } => Ok(Answered::None),
        Replies { typed: 0, whole, .. } => Ok(Answered::Text(whole)),
        Replies { whole, .. } => Ok(Answered::Typed(whole)),
    }
}
