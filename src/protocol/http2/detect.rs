//! What tells a connection that speaks HTTP/2, and where a frame begins in the middle of one: the preface, the first
//! SETTINGS, or frames that follow each other.

use super::frame::{self, Header};
use super::hpack::{Decoder, Known};
use crate::protocol::cursor::Cursor;
use crate::protocol::{Resync, Sample, Verdict};

/// How far a connection that was open before is searched for frames while it has no protocol: in the longest frame that
/// is usual, the next one begins.
const SEARCH_MAX: usize = frame::DEFAULT_LENGTH as usize + 2 * frame::HEADER;

/// How many frames in a row are looked at.
const CHAIN_MAX: usize = 8;

/// Error codes beyond this are not used (RFC 9113, section 7; there are 14).
const ERROR_MAX: u32 = 0x1f;

/// How sure a chain of frames makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Evidence {
    /// No frame begins here.
    None,
    /// One may, more bytes will tell.
    Open,
    /// One frame, which something else could look like.
    Weak,
    /// Nothing else looks like this.
    Proof,
}

/// Judges whether a connection speaks HTTP/2: see [`crate::protocol::Protocol::detect`].
pub(super) fn detect(sample: &Sample<'_>) -> Verdict {
    let [one, other] = [0, 1].map(|index| match (sample.data[index], sample.from_start[index]) {
        ([], _) => None,
        (data, true) => Some(at_start(data)),
        (data, false) => Some(inside(data)),
    });
    match (one, other) {
        (Some(Verdict::Match(one)), Some(Verdict::Match(other))) => Verdict::Match(one.max(other).max(92)),
        // Where the first byte is seen, there is no doubt.
        (Some(no @ Verdict::No(_)), _) if sample.from_start[0] => no,
        (_, Some(no @ Verdict::No(_))) if sample.from_start[1] => no,
        (Some(Verdict::Match(sure)), _) | (_, Some(Verdict::Match(sure))) => Verdict::Match(sure),
        (Some(no @ Verdict::No(_)), _) | (_, Some(no @ Verdict::No(_))) => no,
        (Some(maybe), _) | (None, Some(maybe)) => maybe,
        (None, None) => Verdict::Maybe("no bytes"),
    }
}

/// The client begins with the preface, the server with SETTINGS (RFC 9113, section 3.4).
fn at_start(data: &[u8]) -> Verdict {
    let seen = data.len().min(frame::PREFACE.len());
    if data[..seen] == frame::PREFACE[..seen] {
        return if seen == frame::PREFACE.len() {
            Verdict::Match(100)
        } else {
            Verdict::Maybe("the rest of the preface")
        };
    }
    const NEITHER: Verdict = Verdict::No("neither the preface nor SETTINGS");
    let Some(header) = Header::read(data) else {
        let begins = data.iter().zip([0, 0]).all(|(byte, zero)| *byte == zero);
        let is_settings = data.get(3).is_none_or(|kind| *kind == frame::SETTINGS);
        return if begins && is_settings { Verdict::Maybe("the rest of the first frame") } else { NEITHER };
    };
    let is_first = header.kind == frame::SETTINGS && header.is_plausible() && !header.has(frame::ACK);
    if !is_first || header.length > 256 {
        return NEITHER;
    }
    match data.get(frame::HEADER..frame::HEADER + header.length as usize) {
        None => Verdict::Maybe("the rest of SETTINGS"),
        // Nine bytes that are nearly all zero.
        Some([]) => Verdict::Match(60),
        Some(payload) if is_content(header, payload) => Verdict::Match(95),
        Some(_) => NEITHER,
    }
}

fn inside(data: &[u8]) -> Verdict {
    match chain(data, 0, false) {
        Evidence::Proof => return Verdict::Match(95),
        Evidence::Weak => return Verdict::Match(60),
        Evidence::Open | Evidence::None => {}
    }
    let until = data.len().min(SEARCH_MAX);
    if (1..until).any(|at| chain(data, at, false) == Evidence::Proof) {
        return Verdict::Match(92);
    }
    match Header::read(data) {
        Some(header)
            if header.is_plausible()
                && header.kind != frame::DATA
                && chain(data, 0, false) == Evidence::Open =>
        {
            Verdict::Maybe("the rest of a frame")
        }
        _ => Verdict::No("no frames that follow each other"),
    }
}

/// What the frames are worth that follow each other from `at`. `known`: the connection speaks HTTP/2. Frames of DATA alone
/// are no proof otherwise: other protocols have headers of nine bytes with a length, too, and where theirs holds small
/// numbers, ours can be seen in it, some bytes beside.
fn chain(data: &[u8], at: usize, known: bool) -> Evidence {
    let mut rest = &data[at..];
    let (mut whole, mut control, mut named) = (0, 0, false);
    let (mut first, mut same) = (None, true);
    for _ in 0..CHAIN_MAX {
        let Some(header) = Header::read(rest) else { break };
        if !header.is_plausible() {
            return Evidence::None;
        }
        let end = frame::HEADER + header.length as usize;
        let Some(payload) = rest.get(frame::HEADER..end) else {
            // What it says of itself counts, for it stands where the last frame said.
            return judge(whole, control, named, true, known && same);
        };
        if !is_content(header, payload) {
            return Evidence::None;
        }
        whole += 1;
        same &= *first.get_or_insert(header.stream) == header.stream;
        control += usize::from(header.kind != frame::DATA);
        named |= header.kind == frame::HEADERS && names_fields(header, payload);
        rest = &rest[end..];
    }
    let goes_on = rest.is_empty() || rest.len() >= frame::HEADER;
    judge(whole, control, named, goes_on, known && same)
}

/// `goes_on`: behind the whole frames another one begins, or the data ends. `one`: all are of one stream of a connection
/// that is known to speak HTTP/2.
fn judge(whole: usize, control: usize, named: bool, goes_on: bool, one: bool) -> Evidence {
    match whole {
        _ if named && goes_on => Evidence::Proof,
        2.. if control > 0 && goes_on => Evidence::Proof,
        2.. if one && goes_on => Evidence::Proof,
        1.. if control > 0 && goes_on => Evidence::Weak,
        _ => Evidence::Open,
    }
}

/// True where a whole payload is one of its type.
fn is_content(header: Header, payload: &[u8]) -> bool {
    let number = || Cursor::new(payload).u32().unwrap_or(0);
    let unpadded = || frame::unpadded(header, payload);
    match header.kind {
        frame::DATA => unpadded().is_ok(),
        frame::SETTINGS => {
            let known =
                payload.chunks_exact(6).filter(|pair| pair[0] == 0 && (1..=9).contains(&pair[1])).count();
            frame::settings_fault(payload).is_none() && (payload.is_empty() || known > 0)
        }
        frame::RST_STREAM => number() <= ERROR_MAX,
        frame::GOAWAY => Cursor::new(&payload[4..]).u32().is_some_and(|code| code <= ERROR_MAX),
        frame::WINDOW_UPDATE => number() & 0x7fff_ffff != 0,
        frame::HEADERS if header.has(frame::END_HEADERS) => {
            let skipped = if header.has(frame::WITH_PRIORITY) { 5 } else { 0 };
            let block = unpadded().ok().and_then(|payload| payload.get(skipped..));
            block.is_some_and(|block| {
                let mut decoder = Decoder::default();
                decoder.forget();
                let block = decoder.decode(block);
                block.fault.is_none() && block.lines.iter().all(|(name, _)| is_name(name))
            })
        }
        _ => true,
    }
}

/// True for a name that a field can have (RFC 9113, section 8.2.1), or one that is not known.
fn is_name(name: &Known) -> bool {
    let Some(name) = name.bytes() else { return true };
    let rest = name.strip_prefix(b":").unwrap_or(name);
    !rest.is_empty() && rest.iter().all(|&byte| (0x21..0x7f).contains(&byte) && !byte.is_ascii_uppercase())
}

/// True where a block that [`is_content`] has a field that says whose it is: of a request or a response, or several.
fn names_fields(header: Header, payload: &[u8]) -> bool {
    let Ok(payload) = frame::unpadded(header, payload) else { return false };
    let skipped = if header.has(frame::WITH_PRIORITY) { 5 } else { 0 };
    let mut decoder = Decoder::default();
    decoder.forget();
    let block = decoder.decode(payload.get(skipped..).unwrap_or_default());
    let known: Vec<&[u8]> = block.lines.iter().filter_map(|(name, _)| name.bytes()).collect();
    known.iter().any(|name| name.starts_with(b":")) || known.len() >= 3
}

/// Looks for the next frame: see [`crate::protocol::Parser::resync`].
pub(super) fn resync(data: &[u8], at_event: bool) -> Resync {
    if at_event && chain(data, 0, true) >= Evidence::Weak {
        return Resync::Found(0);
    }
    if at_event && data.starts_with(frame::PREFACE) {
        return Resync::Found(0);
    }
    let mut first_open = None;
    for at in 0..data.len() {
        match chain(data, at, true) {
            Evidence::Proof => return Resync::Found(at),
            Evidence::Open | Evidence::Weak if first_open.is_none() => first_open = Some(at),
            _ => {}
        }
    }
    Resync::Skip(first_open.unwrap_or(data.len()))
}
