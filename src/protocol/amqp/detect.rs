//! Knows AMQP by its content, and where in a damaged stream the next frame begins.

use super::frame::{self, END, HEAD, HEADERS, Not, SIZE_MAX, Type};
use super::method::{self, BASIC};
use super::values::Reader;
use crate::event::Direction;
use crate::protocol::cursor::Cursor;
use crate::protocol::{Resync, Sample, Verdict};

/// How many frames in a row are looked at.
const CHAIN_MAX: usize = 4;

/// Where in the bytes of a connection that was open before a frame is looked for.
const WINDOW: usize = 16 << 10;

/// How long the rest of a frame is waited for that would tell whether a place is its beginning.
const WAIT_MAX: u64 = 1 << 20;

/// What some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A frame that long; how sure that is.
    Whole(usize, u8),
    /// The beginning of one; how long it is, and how sure that is: 0 where only its head could be read.
    Begun(u64, u8),
    /// The beginning of what could be anything.
    Short,
    No,
}

fn at(data: &[u8]) -> At {
    if let Some(known) = HEADERS.iter().find(|known| data.starts_with(&known[..data.len().min(8)])) {
        return if data.len() >= known.len() { At::Whole(known.len(), 100) } else { At::Short };
    }
    let frame = match frame::head(data, SIZE_MAX) {
        Ok(frame) => frame,
        Err(Not::Yet) => return At::Short,
        Err(Not::Ever(..)) => return At::No,
    };
    let Some(weight) = payload(frame.kind, &data[HEAD..], frame.size as usize) else { return At::No };
    match usize::try_from(frame.length()) {
        Ok(length) if length <= data.len() => match data[length - 1] {
            END => At::Whole(length, weight),
            _ => At::No,
        },
        _ => At::Begun(frame.length(), weight),
    }
}

/// How sure the payload of a frame makes, of which all or the beginning is in `data`.
fn payload(kind: Type, data: &[u8], size: usize) -> Option<u8> {
    let is_whole = data.len() >= size;
    let mut cursor = Cursor::new(&data[..size.min(data.len())]);
    match kind {
        Type::Method => {
            let Some((_, _, method)) = method::read(&mut cursor) else { return Some(0) };
            let mut reader = Reader::new(cursor, false);
            let is_read = reader.arguments(method?.arguments, &mut Vec::new()).is_some();
            match is_whole {
                true => (is_read && reader.cursor.is_empty()).then_some(95),
                false => (!is_read).then_some(60),
            }
        }
        Type::Header => {
            let (Some(class), Some(weight)) = (cursor.u16(), cursor.u16()) else { return Some(0) };
            if class != BASIC || weight != 0 {
                return None;
            }
            let _size = cursor.u64();
            let mut reader = Reader::new(cursor, false);
            let is_read = reader.properties(&mut Vec::new()).is_some();
            match is_whole {
                true => (is_read && reader.cursor.is_empty()).then_some(90),
                false => (!is_read).then_some(60),
            }
        }
        Type::Body => Some(if is_whole { 60 } else { 0 }),
        Type::Heartbeat => Some(90),
    }
}

/// Judges the first bytes of a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    let [send, recv] = Direction::BOTH.map(|direction| {
        let index = direction.index();
        judge(sample.data[index], sample.from_start[index])
    });
    if sample.data.iter().any(|data| is_other_version(data)) {
        return Verdict::No("AMQP 1.0, which is another protocol than 0-9-1");
    }
    match (send, recv) {
        (None, None) => Verdict::Maybe("no byte yet"),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(send), Some(recv)) => match (send, recv) {
            (Verdict::Match(a), Verdict::Match(b)) => Verdict::Match(a.max(b)),
            (Verdict::Match(a), _) | (_, Verdict::Match(a)) => Verdict::Match(a),
            (Verdict::Maybe(missing), _) | (_, Verdict::Maybe(missing)) => Verdict::Maybe(missing),
            (no, _) => no,
        },
    }
}

/// The header of AMQP 1.0, or of SASL or TLS before it.
fn is_other_version(data: &[u8]) -> bool {
    data.len() >= 8 && data.starts_with(b"AMQP") && data[5..8] == [1, 0, 0]
}

fn judge(data: &[u8], from_start: bool) -> Option<Verdict> {
    if data.is_empty() {
        return None;
    }
    Some(match chain(data) {
        Some(verdict) => verdict,
        None if from_start => Verdict::No("begins neither with a protocol header nor with a frame"),
        None => match search(&data[..data.len().min(WINDOW)]) {
            Found::At(_) => Verdict::Match(90),
            _ => Verdict::No("neither a protocol header nor a frame"),
        },
    })
}

/// What frames in a row make of the bytes at the front. None where the first is none.
fn chain(data: &[u8]) -> Option<Verdict> {
    let (mut rest, mut whole, mut sure) = (data, 0, 0);
    while !rest.is_empty() && whole < CHAIN_MAX {
        match at(rest) {
            At::Whole(length, weight) => {
                rest = &rest[length..];
                whole += 1;
                sure = sure.max(weight);
            }
            At::Begun(_, weight) if whole == 0 => {
                return (weight > 0).then_some(Verdict::Maybe("the rest of a frame"));
            }
            At::Short if whole == 0 => {
                // The first byte alone is no evidence.
                let is_name = data.starts_with(b"A") || data.len() >= HEAD;
                return is_name.then_some(Verdict::Maybe("the rest of a frame"));
            }
            At::Begun(..) | At::Short => break,
            // Damage behind a protocol header, or a frame that is surely one, is not another protocol's.
            At::No if sure >= 95 => break,
            At::No => return None,
        }
    }
    Some(Verdict::Match(if whole > 1 { sure.max(95) } else { sure }))
}

enum Found {
    /// A frame begins here.
    At(usize),
    /// One may begin here.
    Perhaps(usize),
    /// Nowhere in what is there.
    Nowhere,
}

/// Looks for a frame, at the front or behind the end of another: whole, with another one or nothing behind it.
fn search(data: &[u8]) -> Found {
    for from in std::iter::once(0).chain(memchr::memchr_iter(END, data).map(|end| end + 1)) {
        match at(&data[from..]) {
            At::Whole(length, weight) => match at(&data[from + length..]) {
                At::Whole(..) | At::Begun(..) => return Found::At(from),
                At::Short if weight >= 90 => return Found::At(from),
                At::Short => return Found::Perhaps(from),
                At::No => {}
            },
            At::Begun(length, _) if length <= WAIT_MAX => return Found::Perhaps(from),
            At::Short => return Found::Perhaps(from),
            At::Begun(..) | At::No => {}
        }
    }
    Found::Nowhere
}

/// Looks for the next frame: where a call or packet begins, or behind the octet that ends another. A body can hold
/// anything, so elsewhere it takes a whole frame and what may follow one.
pub fn boundary(data: &[u8], at_event: bool) -> Resync {
    if at_event && matches!(at(data), At::Whole(..) | At::Begun(_, 1..)) {
        return Resync::Found(0);
    }
    match search(data) {
        Found::At(from) => Resync::Found(from),
        Found::Perhaps(from) => Resync::Skip(from.saturating_sub(1)),
        // A frame's end may have been the last byte.
        _ if data.last() == Some(&END) => Resync::Skip(data.len() - 1),
        _ => Resync::Skip(data.len()),
    }
}
