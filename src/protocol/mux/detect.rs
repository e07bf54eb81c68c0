//! Knows Mux by its content, and where in a damaged stream the next message begins.

use super::message::{self, CAN_TINIT, HEADER, Header, Kind};
use crate::event::Direction;
use crate::protocol::{Resync, Sample, Verdict};

/// How many bytes are looked at to judge a connection.
const WINDOW: usize = 16 << 10;

/// The longest message that is taken for one without other evidence.
const LIKELY_MAX: u64 = 16 << 20;

/// How sure a message must make where it does not begin with a call or packet, and no other follows.
const SURE: u8 = 90;

/// How sure a message must make to count at all.
const LIKELY: u8 = 50;

/// What some bytes are, taken for the beginning of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    No,
    /// Too few bytes to say more.
    Short,
    /// The beginning of a message: how sure that is.
    Begun(u8),
    /// A whole message: how sure, and where it ends.
    Whole(u8, usize),
}

fn look(data: &[u8]) -> Look {
    if !Header::is_possible(data) {
        return Look::No;
    }
    let Some(header) = Header::read(data) else { return Look::Short };
    if header.whole > LIKELY_MAX {
        return Look::No;
    }
    let whole = usize::try_from(header.whole).unwrap_or(usize::MAX);
    let is_whole = whole <= data.len();
    match (weigh(&header, &data[HEADER..whole.min(data.len())], is_whole), is_whole) {
        (None, _) => Look::No,
        (Some(weight), true) => Look::Whole(weight, whole),
        (Some(weight), false) if weight >= LIKELY => Look::Begun(weight),
        (Some(_), false) if data.len() < 64 => Look::Short,
        (Some(_), false) => Look::No,
    }
}

/// How sure a body makes; None where it is none.
fn weigh(header: &Header, bytes: &[u8], is_whole: bool) -> Option<u8> {
    // A fragment is a part of anything.
    if header.is_fragment {
        return Some(20);
    }
    let (body, is_read) = message::body(header.kind, bytes);
    if is_whole && !is_read {
        return None;
    }
    let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| !text.contains(char::is_control));
    let named = [&body.contexts, &body.headers, &body.dtab];
    if !named.iter().all(|pairs| pairs.iter().all(|(name, _)| !name.is_empty() && is_text(name))) {
        return None;
    }
    let has_finagle = body.contexts.iter().any(|(name, _)| name.starts_with(b"com.twitter.finagle."));
    match header.kind {
        Kind::Tdispatch if has_finagle => Some(100),
        Kind::Tdispatch => match body.dst {
            Some(dst) if !dst.is_empty() && (!is_text(dst) || !dst.starts_with(b"/")) => None,
            Some(dst) if !body.dtab.iter().all(|(_, to)| is_text(to)) || dst.is_empty() && !is_read => None,
            Some(dst) if !dst.is_empty() || !body.contexts.is_empty() => Some(95),
            Some(_) => Some(40),
            None if !body.contexts.is_empty() => Some(80),
            None => Some(20),
        },
        Kind::Rdispatch | Kind::Rreq => match body.status {
            Some(0) if header.kind == Kind::Rdispatch => Some(if is_read { 60 } else { 30 }),
            Some(0) => Some(30),
            // Why it failed is text.
            Some(1 | 2) if is_text(body.rest) => Some(70),
            Some(_) => None,
            None => Some(10),
        },
        Kind::Treq => {
            let sane = body.keys.iter().all(|(key, value)| match key {
                1 => value.len() == 24,
                2 => true,
                _ => false,
            });
            if !sane {
                return None;
            }
            Some(if body.keys.first().is_some_and(|(key, _)| *key == 1) { 90 } else { 20 })
        }
        Kind::Tinit | Kind::Rinit => match body.version {
            Some(1) if is_read => Some(if body.headers.is_empty() { 80 } else { 100 }),
            Some(1) => Some(80),
            Some(_) => None,
            None => Some(20),
        },
        Kind::Rerr if bytes == CAN_TINIT => Some(100),
        Kind::Rerr => (is_text(bytes) && !bytes.is_empty()).then_some(55),
        Kind::Tdiscarded => is_text(body.rest).then_some(60),
        Kind::Tlease => body.lease.is_some_and(|(unit, length)| unit <= 1 && length >= 0).then_some(70),
        // Eight bytes, of which the tag alone is open.
        Kind::Tping | Kind::Rping | Kind::Tdrain | Kind::Rdrain | Kind::Rdiscarded => {
            Some(if header.tag < 0x1_0000 { 70 } else { 40 })
        }
    }
}

/// Looks for the next message. Where a call or packet begins, a likely one is enough.
pub fn boundary(data: &[u8], at_event: bool) -> Resync {
    for at in 0..data.len() {
        let rest = &data[at..];
        let is_first = at == 0 && at_event;
        match look(rest) {
            Look::Whole(weight, end) => {
                let next = || match look(&rest[end..]) {
                    Look::Whole(next, _) | Look::Begun(next) => next >= LIKELY && weight >= LIKELY,
                    _ => false,
                };
                if weight >= SURE || is_first && weight >= LIKELY || next() {
                    return Resync::Found(at);
                }
            }
            Look::Begun(weight) if weight >= SURE || is_first => return Resync::Found(at),
            Look::Short if is_first || rest.len() < HEADER => return Resync::Skip(at),
            _ => {}
        }
    }
    Resync::Skip(data.len())
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    let found = [0, 1].map(|index| first(sample.data[index], sample.from_start[index]));
    // A question and its answer.
    if let [Some((one, _)), Some((other, _))] = found
        && one.kind != other.kind
        && one.tag == other.tag
        && answers(one.kind, other.kind) | answers(other.kind, one.kind)
    {
        return Verdict::Match(97);
    }
    let verdicts = Direction::BOTH.map(|direction| {
        let (data, found) = (sample.data[direction.index()], found[direction.index()]);
        match found {
            Some((_, weight)) if weight >= LIKELY => Verdict::Match(weight),
            _ if data.is_empty() => Verdict::No("nothing was sent"),
            _ if look(data) == Look::Short => Verdict::Maybe("more of a message"),
            _ => Verdict::No("no message of Mux begins here"),
        }
    });
    let [one, other] = verdicts;
    // One side alone can look like much; what the other says counts, too.
    match (&one, &other) {
        (Verdict::Match(weight), Verdict::No(reason)) | (Verdict::No(reason), Verdict::Match(weight))
            if *weight < SURE && sample.data.iter().all(|data| data.len() >= HEADER) =>
        {
            Verdict::No(reason)
        }
        _ => one.or_better(other),
    }
}

fn answers(ask: Kind, answer: Kind) -> bool {
    matches!(
        (ask, answer),
        (Kind::Tping, Kind::Rping)
            | (Kind::Tdispatch, Kind::Rdispatch)
            | (Kind::Treq, Kind::Rreq)
            | (Kind::Tdrain, Kind::Rdrain)
            | (Kind::Tinit, Kind::Rinit)
    )
}

/// The first message of a direction that is whole or likely, and how sure it makes.
fn first(data: &[u8], from_start: bool) -> Option<(Header, u8)> {
    let data = &data[..data.len().min(WINDOW)];
    let at = match from_start {
        true => 0,
        false => match boundary(data, true) {
            Resync::Found(at) => at,
            Resync::Skip(_) => return None,
        },
    };
    match look(&data[at..]) {
        Look::Whole(weight, _) | Look::Begun(weight) => Some((Header::read(&data[at..])?, weight)),
        _ => None,
    }
}
