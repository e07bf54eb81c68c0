//! Start lines: what tells a connection that speaks HTTP/1.x, and where a message begins.
//!
//! Detection and resynchronisation weigh the same evidence, so they live here together; the heads
//! behind the start line are the business of [`super::head`].

use super::head::{self, MAX_HEAD};
use crate::protocol::{Resync, Sample, Verdict};
use memchr::{memchr, memchr_iter, memmem, memrchr};

/// Longest method that is believed. Registered ones have up to 17 letters (RFC 9110, section 16.1.1).
const MAX_METHOD: usize = 64;

/// How much of an incomplete start line is looked at again with each new byte. A line that is
/// plausible so far is judged as a whole when it is complete.
const PLAUSIBLE: usize = 1024;

/// Longest start line that a search for a boundary holds back when its end is not there yet.
const MAX_HELD_LINE: usize = 8 * 1024;

/// Methods that are believed where no line break is seen before them: a body may have ended there
/// without one, or a gap cut the method (`OST` is a token too). From the registry of RFC 9110, section
/// 16.1.1, without those that are the end of another, like LOCK of UNLOCK; PATCH is in all the same,
/// since PROPPATCH is rare.
const KNOWN_METHODS: [&[u8]; 17] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"UNLOCK",
    b"REPORT",
    b"QUERY",
];

/// A start line (RFC 9112, section 2.1), without its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartLine<'a> {
    /// A request line.
    Request { method: &'a [u8], target: &'a [u8], version: &'a [u8] },
    /// A status line.
    Response { version: &'a [u8], status: u16, reason: &'a [u8] },
}

/// What the bytes at a possible beginning are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement<'a> {
    /// A whole start line.
    Line(StartLine<'a>),
    /// The beginning of one.
    Partial,
    /// Not a start line; the first `length` bytes prove it.
    Bad { length: usize, reason: &'static str },
}

/// Judges `data`, which begins where a start line should. `searched` bytes are known to hold no line
/// break.
pub(super) fn judge(data: &[u8], searched: usize) -> Judgement<'_> {
    let searched = searched.min(data.len());
    let Some(end) = memchr(b'\n', &data[searched..]) else {
        return plausible(&data[..data.len().min(PLAUSIBLE)]);
    };
    let end = searched + end;
    match parse(head::without_cr(&data[..end])) {
        Ok(line) => Judgement::Line(line),
        Err(reason) => match plausible(&data[..end.min(PLAUSIBLE)]) {
            Judgement::Bad { length, reason } => Judgement::Bad { length, reason },
            _ => Judgement::Bad { length: end + 1, reason },
        },
    }
}

/// Parses a whole start line.
pub(super) fn parse(line: &[u8]) -> Result<StartLine<'_>, &'static str> {
    if line.starts_with(b"HTTP/") { parse_status_line(line) } else { parse_request_line(line) }
}

fn parse_status_line(line: &[u8]) -> Result<StartLine<'_>, &'static str> {
    const BAD: &str = "the status line is not `HTTP/1.x NNN reason`";
    let (version, rest) = line.split_at_checked(8).ok_or(BAD)?;
    if !is_version(version) {
        return Err("the version is not HTTP/1.x");
    }
    let [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] = rest else {
        return Err(BAD);
    };
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] => reason,
        _ => return Err(BAD),
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    Ok(StartLine::Response { version, status: digit(a) * 100 + digit(b) * 10 + digit(c), reason })
}

/// The target may hold spaces or be missing: such lines are on the wire (RFC 9112, section 3 asks servers
/// to refuse them), and their answers need their request. White space at the end of the line is tolerated.
fn parse_request_line(line: &[u8]) -> Result<StartLine<'_>, &'static str> {
    let line = line.trim_ascii_end();
    let method_end = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
    if method_end == 0 || method_end > MAX_METHOD || line.get(method_end) != Some(&b' ') {
        return Err("no request line: it does not begin with a method and a space");
    }
    let (method, rest) = line.split_at(method_end);
    let Some((target, version)) = rest.len().checked_sub(8).map(|at| rest.split_at(at)) else {
        return Err("no request line: no HTTP version at its end");
    };
    if !is_version(version) {
        return Err("no request line: no HTTP/1.x version at its end");
    }
    if !target.ends_with(b" ") {
        return Err("no request line: no space before the version");
    }
    let target = target.trim_ascii();
    if target.iter().any(|&byte| is_control(byte)) {
        return Err("no request line: a control character in the target");
    }
    Ok(StartLine::Request { method, target, version })
}

/// Judges the beginning of a line whose end is not there yet.
fn plausible(line: &[u8]) -> Judgement<'_> {
    let bad = |length, reason| Judgement::Bad { length, reason };
    if line.starts_with(b"HTTP/") || b"HTTP/".starts_with(line) {
        return plausible_status_line(line);
    }
    let method_end = line.iter().take(MAX_METHOD + 1).position(|&byte| !is_token(byte));
    let Some(method_end) = method_end else {
        let reason = "no start line: no method within 64 bytes";
        return if line.len() <= MAX_METHOD { Judgement::Partial } else { bad(MAX_METHOD + 1, reason) };
    };
    if method_end == 0 || line[method_end] != b' ' {
        return bad(method_end + 1, "no start line: it does not begin with a method and a space");
    }
    let body = line.strip_suffix(b"\r").unwrap_or(line);
    match body.iter().position(|&byte| is_control(byte)) {
        Some(at) => bad(at + 1, "no start line: a control character"),
        None => Judgement::Partial,
    }
}

fn plausible_status_line(line: &[u8]) -> Judgement<'_> {
    match status_line_mismatch(line) {
        Some(at) => Judgement::Bad { length: at + 1, reason: "no status line of HTTP/1.x" },
        None => Judgement::Partial,
    }
}

/// Whether a status line begins here; none where more bytes will tell.
pub(super) fn begins_status_line(data: &[u8]) -> Option<bool> {
    match status_line_mismatch(data) {
        Some(_) => Some(false),
        None => (data.len() >= STATUS_LINE.len()).then_some(true),
    }
}

/// The beginning of a status line; `0` stands for any digit.
const STATUS_LINE: &[u8; 12] = b"HTTP/1.0 000";

fn status_line_mismatch(line: &[u8]) -> Option<usize> {
    line.iter().zip(STATUS_LINE).position(|(&byte, &pattern)| match pattern {
        b'0' => !byte.is_ascii_digit(),
        _ => byte != pattern,
    })
}

fn is_version(bytes: &[u8]) -> bool {
    matches!(bytes, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'])
}

/// `tchar` of RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

/// Judges whether a connection speaks HTTP/1.x: see [`crate::protocol::Protocol::detect`].
pub(super) fn detect(sample: &Sample<'_>) -> Verdict {
    let verdicts = [0, 1].map(|index| detect_direction(sample.data[index], sample.from_start[index]));
    // One direction's proof is enough; its opposite may be in the middle of a body. Without one, a
    // refusal counts more than a hope.
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Match(_) => 0,
        Verdict::No(_) => 1,
        Verdict::Maybe(_) => 2,
    };
    let [first, second] = verdicts;
    if rank(&second) < rank(&first) { second } else { first }
}

fn detect_direction(data: &[u8], from_start: bool) -> Verdict {
    let lead = head::empty_lines(data);
    let rest = if data[lead..] == *b"\r" { b"" } else { &data[lead..] };
    match judge(rest, 0) {
        Judgement::Line(_) => return Verdict::Match(100),
        Judgement::Partial if rest.is_empty() => return Verdict::Maybe("the first bytes"),
        Judgement::Partial => return Verdict::Maybe("the end of the first line"),
        Judgement::Bad { reason, .. } if from_start => return Verdict::No(reason),
        Judgement::Bad { .. } => {}
    }
    match find_boundary(data, false, &|_| true) {
        Resync::Found(_) => Verdict::Match(100),
        Resync::Skip(_) => Verdict::Maybe("a place where a message begins"),
    }
}

/// Looks for the place where a message begins.
///
/// Every start line of HTTP/1.x holds `HTTP/1.`: binary bodies are searched at the speed of `memmem`,
/// and a false hit needs in them a whole start line and header lines by chance.
///
/// A text body that quotes a message is the hard case. Senders begin a message with a call of its own
/// far more often than not, so at the beginning of an event a start line with one header line is
/// enough. Anywhere else the whole head has to be there and well-formed; a body that quotes even that
/// can't be told from a message. Bodies often end without a line break, so a boundary in the middle of
/// a line counts too, for a request if its method is a well-known one.
pub(super) fn find_boundary(data: &[u8], at_event: bool, fits: &dyn Fn(&StartLine<'_>) -> bool) -> Resync {
    let mut held = None;
    for hit in memmem::find_iter(data, b"HTTP/1.") {
        let Some(start) = line_around(data, hit) else { continue };
        match evidence(&data[start..], at_event && head::empty_lines(data) == start, fits) {
            Evidence::Enough => return Resync::Found(start),
            Evidence::Incomplete if held.is_none() => held = Some(start),
            Evidence::Incomplete | Evidence::Against => {}
        }
    }
    Resync::Skip(held.unwrap_or_else(|| possible_line(data)))
}

/// Where the start line begins that `HTTP/1.` at `hit` belongs to.
fn line_around(data: &[u8], hit: usize) -> Option<usize> {
    let line_start = memrchr(b'\n', &data[..hit]).map_or(0, |at| at + 1);
    let before = &data[line_start..hit];
    if !before.ends_with(b" ") {
        return Some(hit);
    }
    // `method SP target SP`, read from its end; the target holds no space here.
    let target_end = before.len() - 1;
    let target = memrchr(b' ', &before[..target_end])? + 1;
    let method_end = target - 1;
    let token = before[..method_end].iter().rposition(|&byte| !is_token(byte)).map_or(0, |at| at + 1);
    let method = match token == 0 && line_start > 0 {
        true => 0,
        false => known_method(&before[token..method_end])? + token,
    };
    (method < method_end && target < target_end).then_some(line_start + method)
}

/// Where in `token` the known method begins that it ends with, the longest if several do.
fn known_method(token: &[u8]) -> Option<usize> {
    let known = KNOWN_METHODS.iter().filter(|method| token.ends_with(method));
    known.map(|method| token.len() - method.len()).min()
}

enum Evidence {
    Enough,
    Incomplete,
    Against,
}

/// Weighs what stands at a possible boundary; `loose` where it is the beginning of an event.
fn evidence(data: &[u8], loose: bool, fits: &dyn Fn(&StartLine<'_>) -> bool) -> Evidence {
    match judge(data, 0) {
        Judgement::Line(line) if fits(&line) => {}
        Judgement::Line(_) => return Evidence::Against,
        Judgement::Partial if data.len() <= MAX_HELD_LINE => return Evidence::Incomplete,
        Judgement::Partial | Judgement::Bad { .. } => return Evidence::Against,
    }
    let mut lines = memchr_iter(b'\n', data);
    // The judgement says that the first line is whole.
    let Some(mut start) = lines.next().map(|at| at + 1) else { return Evidence::Against };
    for end in lines {
        let line = head::without_cr(&data[start..end]);
        if line.is_empty() {
            return Evidence::Enough;
        }
        match head::is_header_line(line) {
            true if loose => return Evidence::Enough,
            false if !loose => return Evidence::Against,
            _ => {}
        }
        start = end + 1;
    }
    if data.len() > MAX_HEAD { Evidence::Against } else { Evidence::Incomplete }
}

/// How many bytes from the front can't begin a message, where no whole `HTTP/1.` was found: all before
/// the last line, which may be the beginning of a start line.
fn possible_line(data: &[u8]) -> usize {
    let line = memrchr(b'\n', data).map_or(0, |at| at + 1);
    line.max(data.len().saturating_sub(MAX_HELD_LINE))
}
