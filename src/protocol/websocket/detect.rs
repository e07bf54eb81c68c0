//! Frames known by their content: where the handshake was not seen, and where the next one begins after a loss.
//!
//! A header has little that tells it from chance, so no single one is believed: what counts is a chain of frames that
//! follow each other and obey the rules of masking, fragments and text. Its evidence is counted in bits: a chance of one
//! in two, that bytes which are no frame look so, is one bit.

use super::close;
use super::extension::Extensions;
use super::frame::{self, Header, Opcode, Read};
use crate::event::Direction;
use crate::protocol::{Resync, Sample, Verdict};

/// What one header proves: 9 of 256 first bytes are valid, and the mask is as expected.
const HEADER_BITS: u32 = 5;

/// The most that the text of one frame proves.
const TEXT_BITS: u32 = 24;

/// What it proves that frames end where a call or packet does.
const EXACT_BITS: u32 = 8;

/// Enough for a boundary where a call or packet begins: a frame that is all of it, or several frames.
const ENOUGH_AT_EVENT: u32 = 13;

/// Enough for a boundary at any byte: there are many.
const ENOUGH: u32 = 26;

/// Enough for one direction alone to tell the protocol: readable text, in so many frames. Repeated bytes make chains of
/// anything else.
const ENOUGH_ALONE: (u32, u32) = (80, 8);

/// How many frames each direction has to have for the protocol to be told.
const FRAMES_MIN: u32 = 3;

/// Where in a direction the first frame is looked for.
const SEARCH_MAX: usize = 16 << 10;

/// How many bytes of a possible frame are waited for.
const HOLD_MAX: usize = 256 << 10;

/// Frames that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Chain {
    /// Whole frames.
    frames: u32,
    bits: u32,
    /// How many of the bits come from text.
    text: u32,
    end: Ending,
}

/// How a chain ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    /// With the bytes at hand.
    #[default]
    Exact,
    /// Within a frame whose rest may come.
    Cut,
    /// With what is no frame.
    Wrong,
}

/// Judges a connection that was open before the trace.
pub(super) fn detect(sample: &Sample<'_>) -> Verdict {
    let begins =
        Direction::BOTH.map(Direction::index).map(|at| sample.from_start[at] && !sample.data[at].is_empty());
    if begins.contains(&true) {
        return Verdict::No("it begins without a handshake");
    }
    // Masks tell the client better than the role, which is often a guess where the beginning was not seen.
    judge(sample, Direction::Send).or_better(judge(sample, Direction::Recv))
}

fn judge(sample: &Sample<'_>, client: Direction) -> Verdict {
    let is_empty = |direction: Direction| sample.data[direction.index()].is_empty();
    // One direction by itself has to begin with a frame.
    let is_alone = Direction::BOTH.into_iter().any(is_empty);
    let best = |direction: Direction| {
        best(sample.data[direction.index()], direction == client, if is_alone { 1 } else { SEARCH_MAX })
    };
    let chains = [best(client), best(client.reverse())];
    if chains.iter().all(|(_, chain)| chain.frames >= FRAMES_MIN && is_proof(chain)) {
        return Verdict::Match(95);
    }
    for ((at, chain), other) in chains.iter().zip([client.reverse(), client]) {
        let (bits, frames) = ENOUGH_ALONE;
        let is_enough =
            *at == 0 && chain.text >= bits && chain.frames >= frames && chain.end != Ending::Wrong;
        if is_enough && is_empty(other) {
            return Verdict::Match(90);
        }
    }
    let is_possible = chains.iter().zip([client, client.reverse()]).all(|((at, chain), direction)| {
        is_empty(direction) || (*at == 0 && chain.end != Ending::Wrong && chain.frames > 0)
    });
    if is_possible && chains.iter().any(|(_, chain)| chain.bits > HEADER_BITS) {
        return Verdict::Maybe("more frames");
    }
    Verdict::No("no chain of frames in both directions")
}

fn is_proof(chain: &Chain) -> bool {
    chain.end != Ending::Wrong && chain.bits >= ENOUGH
}

/// The best chain that begins within the first `search` bytes of a direction, and where it begins.
fn best(data: &[u8], masked: bool, search: usize) -> (usize, Chain) {
    let mut best = (0, chain(data, Some(masked), &Extensions::Unknown));
    if best.1.end == Ending::Wrong {
        best.1 = Chain { end: Ending::Wrong, ..Chain::default() };
    }
    for at in 1..data.len().min(search) {
        if is_proof(&best.1) {
            break;
        }
        if !may_begin(&data[at..]) {
            continue;
        }
        let found = chain(&data[at..], Some(masked), &Extensions::Unknown);
        if is_proof(&found) && found.bits > best.1.bits {
            best = (at, found);
        }
    }
    best
}

/// Looks for the next frame. `masked`: which frames come in this direction, where that is known.
pub(super) fn boundary(data: &[u8], masked: Option<bool>, extensions: &Extensions, at_event: bool) -> Resync {
    let mut held = None;
    for at in 0..data.len() {
        if !may_begin(&data[at..]) {
            continue;
        }
        let found = chain(&data[at..], masked, extensions);
        let is_exact = at_event && found.end == Ending::Exact;
        let is_event = at_event && at == 0 && found.end != Ending::Wrong;
        let bits = found.bits + if is_exact && found.frames > 0 { EXACT_BITS } else { 0 };
        if bits >= if is_event { ENOUGH_AT_EVENT } else { ENOUGH } {
            return Resync::Found(at);
        }
        if found.end != Ending::Wrong && data.len() - at < HOLD_MAX {
            held.get_or_insert(at);
        }
    }
    Resync::Skip(held.unwrap_or(data.len()))
}

/// A first byte that a frame can have, for a quick look at many places.
fn may_begin(data: &[u8]) -> bool {
    matches!(data, [first, ..] if first & 0x30 == 0 && matches!(first & 0x0f, 0..=2 | 8..=10))
}

/// Follows the frames from the front of `data`.
fn chain(data: &[u8], masked: Option<bool>, extensions: &Extensions) -> Chain {
    let mut chain = Chain::default();
    let mut rules = Rules { masked, inside: None, is_over: false };
    let mut rest = data;
    while !rest.is_empty() {
        let header = match frame::read(rest) {
            Read::Header(header) => header,
            Read::Begun if may_begin(rest) => return Chain { end: Ending::Cut, ..chain },
            Read::Begun | Read::Bad(..) => return Chain { end: Ending::Wrong, ..chain },
        };
        let payload = &rest[header.size..];
        let whole = usize::try_from(header.length).ok().filter(|&length| length <= payload.len());
        let shown = &payload[..whole.unwrap_or(payload.len())];
        let fits = extensions.check(&header).is_ok() && !header.rsv23 && rules.allow(&header);
        let Some(bits) = evidence(&header, shown, whole.is_some()).filter(|_| fits) else {
            return Chain { end: Ending::Wrong, ..chain };
        };
        let Some(length) = whole else { return Chain { end: Ending::Cut, ..chain } };
        chain.frames += 1;
        // What repeats makes chains of unfinished messages more easily than of others.
        chain.bits += bits + if header.fin { HEADER_BITS } else { 0 };
        chain.text += bits;
        rest = &payload[length..];
    }
    chain
}

/// What frames say about those behind them.
struct Rules {
    masked: Option<bool>,
    /// Within a fragmented message; absent while that is not known.
    inside: Option<bool>,
    /// A close came.
    is_over: bool,
}

impl Rules {
    fn allow(&mut self, header: &Header) -> bool {
        if *self.masked.get_or_insert(header.mask.is_some()) != header.mask.is_some() || self.is_over {
            return false;
        }
        if header.opcode.is_control() {
            self.is_over = header.opcode == Opcode::Close;
            return true;
        }
        let begins = header.opcode != Opcode::Continuation;
        let is_right = self.inside.is_none_or(|inside| inside != begins);
        self.inside = Some(!header.fin);
        // Zeros are no frames, nor are small numbers in four bytes.
        is_right && (header.fin || header.length > 0)
    }
}

/// What the payload of a frame proves, as far as it is at hand; none where it proves that it is no frame.
fn evidence(header: &Header, payload: &[u8], is_whole: bool) -> Option<u32> {
    let plain = |most: usize| {
        let mut plain = payload[..payload.len().min(most)].to_vec();
        frame::unmask(&mut plain, header.mask, 0);
        plain
    };
    match header.opcode {
        Opcode::Close if is_whole => {
            let (_, wrong) = close::read(&plain(payload.len()));
            wrong.is_none().then_some(0)
        }
        Opcode::Text if !header.rsv1 => {
            const LOOK: usize = 1024;
            let text = plain(LOOK);
            let is_all = is_whole && header.fin && payload.len() <= LOOK;
            let is_text = match str::from_utf8(&text) {
                Ok(_) => true,
                Err(error) => error.error_len().is_none() && !is_all,
            };
            // Numbers of binary protocols are text to UTF-8, but not to a reader.
            let is_readable = text.iter().all(|byte| !matches!(byte, 0..=8 | 0x0e..=0x1d | 0x7f));
            is_text.then_some(if is_readable { TEXT_BITS.min(text.len() as u32) } else { 0 })
        }
        _ => Some(0),
    }
}
