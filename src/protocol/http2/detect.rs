//! What tells a connection that speaks HTTP/2, and where a frame begins in the middle of one: the preface, the first
//! SETTINGS, or frames that follow each other.

use super::frame::{self, Header};
use super::hpack::{Block, Decoder, Line};
use crate::protocol::cursor::Cursor;
use crate::protocol::{Resync, Sample, Verdict};

/// How far a connection that was open before is searched for frames while it has no protocol: in the longest frame that
/// is usual, the next one begins.
const SEARCH_MAX: usize = frame::DEFAULT_LENGTH as usize + 2 * frame::HEADER;

/// How many frames in a row are looked at.
const CHAIN_MAX: usize = 8;

/// Error codes beyond this are not used (RFC 9113, section 7; there are 14).
const ERROR_MAX: u32 = 0x1f;

/// The acknowledgement of SETTINGS, which every connection has one of in each direction.
const SETTINGS_ACK: [u8; frame::HEADER] = [0, 0, 0, frame::SETTINGS, frame::ACK, 0, 0, 0, 0];

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
    if places(&data[..until]).any(|at| at > 0 && chain(data, at, false) == Evidence::Proof) {
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

/// Where frames may begin: with the highest byte of a length, which is 0 in every plausible one.
fn places(data: &[u8]) -> impl Iterator<Item = usize> + '_ {
    memchr::memchr_iter(0, data)
}

/// What the frames are worth that follow each other from `at`. `known`: the connection speaks HTTP/2. Frames of DATA alone
/// are no proof otherwise: other protocols have headers of nine bytes with a length, too, and where theirs holds small
/// numbers, ours can be seen in it, some bytes beside.
fn chain(data: &[u8], at: usize, known: bool) -> Evidence {
    let mut rest = &data[at..];
    let mut links = Links { wanted: if known || at == 0 { 1 } else { 2 }, ..Links::default() };
    for index in 0..CHAIN_MAX {
        let Some(header) = Header::read(rest) else { break };
        // RFC 9113, section 6.10: nothing comes between the frames of a header block.
        let in_turn = match links.block {
            Some(stream) => (header.kind, header.stream) == (frame::CONTINUATION, stream),
            None => header.kind != frame::CONTINUATION || (known && index == 0),
        };
        if !in_turn || !header.is_plausible() {
            return Evidence::None;
        }
        let end = frame::HEADER + header.length as usize;
        let Some(payload) = rest.get(frame::HEADER..end) else {
            // What it says of itself counts, for it stands where the last frame said.
            return links.judge(known, true);
        };
        if !is_content(header, payload) {
            return Evidence::None;
        }
        links.add(header, payload);
        rest = &rest[end..];
    }
    links.judge(known, rest.is_empty() || rest.len() >= frame::HEADER)
}

/// What was seen of a chain of frames.
#[derive(Default)]
struct Links {
    /// Frames that are there to their end.
    whole: usize,
    /// Those among them that hardly anything else looks like.
    strong: usize,
    /// How many of these, behind each other with others, are a proof.
    wanted: usize,
    /// A header block has fields that say whose it is.
    named: bool,
    /// The stream whose header block goes on in the next frame.
    block: Option<u32>,
    /// The stream of the first frame, and whether all are of it.
    first: Option<u32>,
    others: bool,
}

impl Links {
    fn add(&mut self, header: Header, payload: &[u8]) {
        self.whole += 1;
        self.others |= *self.first.get_or_insert(header.stream) != header.stream;
        let opens = matches!(header.kind, frame::HEADERS | frame::PUSH_PROMISE | frame::CONTINUATION);
        let ends = header.has(frame::END_HEADERS);
        self.block = (opens && !ends).then_some(header.stream);
        self.strong += usize::from(match header.kind {
            frame::DATA | frame::CONTINUATION => false,
            frame::HEADERS | frame::PUSH_PROMISE => ends,
            // Nine bytes that are nearly all zero.
            frame::SETTINGS => !payload.is_empty(),
            _ => true,
        });
        self.named |= opens && header.kind != frame::CONTINUATION && ends && names_fields(header, payload);
    }

    /// `goes_on`: behind the whole frames another one begins, or the data ends.
    fn judge(&self, known: bool, goes_on: bool) -> Evidence {
        match self.whole {
            1.. if self.named && goes_on => Evidence::Proof,
            2.. if self.strong >= self.wanted && goes_on => Evidence::Proof,
            2.. if known && !self.others && goes_on => Evidence::Proof,
            1.. if self.strong > 0 && goes_on => Evidence::Weak,
            _ => Evidence::Open,
        }
    }
}

/// True where a whole payload is one of its type.
fn is_content(header: Header, payload: &[u8]) -> bool {
    let number = || Cursor::new(payload).u32().unwrap_or(0);
    match header.kind {
        frame::DATA => frame::unpadded(header, payload).is_ok(),
        frame::SETTINGS => {
            let known =
                payload.chunks_exact(6).filter(|pair| pair[0] == 0 && (1..=9).contains(&pair[1])).count();
            frame::settings_fault(payload).is_none() && (payload.is_empty() || known > 0)
        }
        frame::RST_STREAM => number() <= ERROR_MAX,
        frame::GOAWAY => Cursor::new(&payload[4..]).u32().is_some_and(|code| code <= ERROR_MAX),
        frame::WINDOW_UPDATE => number() & 0x7fff_ffff != 0,
        frame::HEADERS | frame::PUSH_PROMISE if header.has(frame::END_HEADERS) => {
            block(header, payload).is_some()
        }
        _ => true,
    }
}

/// The header block of a whole HEADERS or PUSH_PROMISE frame, if it is one: all of it can be decoded, and says what fields can say.
fn block(header: Header, payload: &[u8]) -> Option<Block> {
    let skipped = match header.kind {
        frame::PUSH_PROMISE => 4,
        _ if header.has(frame::WITH_PRIORITY) => 5,
        _ => 0,
    };
    let fragment = frame::unpadded(header, payload).ok()?.get(skipped..)?;
    let mut decoder = Decoder::default();
    decoder.forget();
    let block = decoder.decode(fragment);
    let is_line = |(name, value): &Line| match (name.bytes(), value.bytes()) {
        (Some(name), Some(value)) => is_name(name) && is_value(name, value),
        (Some(name), None) => is_name(name),
        (None, _) => true,
    };
    (block.fault.is_none() && block.lines.iter().all(is_line)).then_some(block)
}

/// True for a name that a field can have (RFC 9113, section 8.2.1).
fn is_name(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b":").unwrap_or(name);
    !rest.is_empty() && rest.iter().all(|&byte| (0x21..0x7f).contains(&byte) && !byte.is_ascii_uppercase())
}

/// True for a value that a field of this name can have (RFC 9113, sections 8.2.1 and 8.3).
fn is_value(name: &[u8], value: &[u8]) -> bool {
    match name {
        b":status" => value.len() == 3 && value.iter().all(u8::is_ascii_digit),
        b":method" => !value.is_empty() && value.iter().all(u8::is_ascii_graphic),
        b":path" => matches!(value.first(), Some(b'/' | b'*')),
        b":scheme" => !value.is_empty() && value.iter().all(u8::is_ascii_graphic),
        _ => value.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control()),
    }
}

/// True where a block that [`is_content`] has fields that say whose it is: a request's or a response's, or several.
fn names_fields(header: Header, payload: &[u8]) -> bool {
    let Some(block) = block(header, payload) else { return false };
    let known: Vec<&[u8]> = block.lines.iter().filter_map(|(name, _)| name.bytes()).collect();
    known.iter().any(|name| name.starts_with(b":")) || known.len() >= 3
}

/// Looks for the next frame: see [`crate::protocol::Parser::resync`].
pub(super) fn resync(data: &[u8], at_event: bool) -> Resync {
    if at_event && chain(data, 0, true) >= Evidence::Weak {
        return Resync::Found(0);
    }
    // What is too little elsewhere is enough where a call or packet begins with it.
    let is_ack = data.starts_with(&SETTINGS_ACK) && chain(data, 0, true) != Evidence::None;
    if at_event && (data.starts_with(frame::PREFACE) || is_ack) {
        return Resync::Found(0);
    }
    let mut first_open = None;
    for at in places(data) {
        match chain(data, at, true) {
            Evidence::Proof => return Resync::Found(at),
            Evidence::Open | Evidence::Weak if first_open.is_none() => first_open = Some(at),
            _ => {}
        }
    }
    Resync::Skip(first_open.unwrap_or(data.len()))
}
