//! Knows TLS by its content, and where in a damaged stream the next record begins.

use super::record::{self, Content, HEADER};
use super::ssl2::{self, Shape};
use crate::event::Direction;
use crate::protocol::{Resync, Sample, Verdict};

/// How many bytes are looked at to judge a connection that was open before: a record of the largest size and the
/// header of the next one.
const WINDOW: usize = record::PAYLOAD_MAX as usize + 64;

/// How sure records in a row make where no handshake is seen.
fn confidence(chain: record::Chain, begins: Option<u8>) -> u8 {
    match (chain.headers, chain.broken, chain.is_even) {
        (_, true, _) | (0, ..) => 0,
        (2.., ..) => 95,
        // One record that ends where the bytes do, and one whose rest has not come.
        (1, _, true) => 85,
        // Alerts and handshakes have lengths that say more than those of data.
        _ if begins == Some(23) => 60,
        _ => 50,
    }
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    let judged = Direction::BOTH.map(|direction| {
        let index = direction.index();
        judge(sample.data[index], sample.from_start[index])
    });
    let [first, second] = judged;
    let begins_otherwise = |index: usize| sample.from_start[index] && !sample.data[index].is_empty();
    match (&first, &second) {
        (Verdict::Match(one), Verdict::Match(other)) => Verdict::Match((*one).max(*other)),
        // A direction that begins with something else refutes weak evidence; one that is seen from amid a record does not.
        (Verdict::Match(_), Verdict::No(_)) if begins_otherwise(1) => weaker(first),
        (Verdict::No(_), Verdict::Match(_)) if begins_otherwise(0) => weaker(second),
        _ => first.or_better(second),
    }
}

/// The verdict where the other direction is none of TLS.
fn weaker(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Match(confidence @ 95..) => Verdict::Match(confidence),
        _ => Verdict::No("the other direction has no records"),
    }
}

fn judge(data: &[u8], from_start: bool) -> Verdict {
    if data.is_empty() {
        return Verdict::No("no bytes");
    }
    let begins = begins(data, from_start);
    if from_start || !matches!(begins, Verdict::No(_)) {
        return begins;
    }
    // In the middle of a record: two headers, one where the other says, make one sure.
    match boundary(&data[..data.len().min(WINDOW)], false, None) {
        Resync::Found(at) => Verdict::Match(confidence(record::chain(&data[at..]), data.get(at).copied())),
        Resync::Skip(_) => Verdict::No("no records"),
    }
}

/// Judges bytes by how they begin.
fn begins(data: &[u8], from_start: bool) -> Verdict {
    match record::header(data) {
        Err(_) if from_start => match ssl2::client_hello(data) {
            Shape::Hello(_) => Verdict::Match(95),
            Shape::Begun if data.len() > 2 => Verdict::Maybe("the rest of an SSL 2 hello"),
            _ => match ssl2::server_hello(data) {
                Shape::Hello(_) => Verdict::Match(90),
                _ => Verdict::No("no record begins here"),
            },
        },
        Err(_) => Verdict::No("no record begins here"),
        Ok(None) => Verdict::Maybe("the header of a record"),
        Ok(Some(header)) => {
            let payload = &data[HEADER..];
            match header.content {
                Content::Handshake => hello(data, header.length, from_start),
                Content::Alert if from_start => alert(payload, header.length),
                // The hello can have gone another way: by a connection of Multipath TCP that began before.
                _ if from_start => match by_chain(data) {
                    Verdict::Match(0..85) => Verdict::Maybe("a second record"),
                    verdict => verdict,
                },
                _ => by_chain(data),
            }
        }
    }
}

fn by_chain(data: &[u8]) -> Verdict {
    match confidence(record::chain(data), data.first().copied()) {
        0 => Verdict::No("no record follows the first"),
        confidence => Verdict::Match(confidence),
    }
}

/// A first message: its type, its length, which leads to the end of a record or beyond it, and its version.
fn hello(data: &[u8], length: u16, from_start: bool) -> Verdict {
    let payload = &data[HEADER..];
    let prefix = |at: usize, ok: &dyn Fn(u8) -> bool| payload.get(at).is_none_or(|&byte| ok(byte));
    let is_shaped = prefix(0, &|kind| kind == 1 || kind == 2)
        && prefix(1, &|high| high == 0)
        // Drafts of TLS 1.3 had numbers of their own in their ServerHello.
        && prefix(4, &|major| major == 3 || major == 0x7f || major == 0x7e);
    if !is_shaped {
        return match from_start {
            true => Verdict::No("the first message is no hello"),
            false => by_chain(data),
        };
    }
    match payload.get(..6) {
        // A hello has a version, a random, and the lengths of what follows.
        Some([_, 0, high, low, ..]) if u16::from_be_bytes([*high, *low]) >= 38 => Verdict::Match(100),
        Some(_) => Verdict::No("a hello is longer"),
        // Some clients send it in records of a few bytes.
        None if payload.len() >= usize::from(length) => Verdict::Match(60),
        None => Verdict::Maybe("the beginning of a hello"),
    }
}

fn alert(payload: &[u8], length: u16) -> Verdict {
    match (length, payload) {
        (2, [1 | 2, ..] | []) => match payload.len() {
            0 | 1 => Verdict::Maybe("an alert"),
            _ => Verdict::Match(70),
        },
        _ => Verdict::No("no alert that begins a connection"),
    }
}

/// Looks for the next record. A header is believed where another one follows where it says, or where the bytes end just
/// there; at the beginning of a call or packet one alone is enough. `version` is that of the connection, where it is
/// known.
pub fn boundary(data: &[u8], at_event: bool, version: Option<u16>) -> Resync {
    let mut pending = None;
    for at in memchr::memchr_iter(3, data).filter_map(|at| at.checked_sub(1)) {
        let rest = &data[at..];
        let fits = match record::header(rest) {
            Ok(Some(header)) => version.is_none_or(|version| version == header.version),
            Ok(None) => true,
            Err(_) => false,
        };
        if !fits {
            continue;
        }
        let chain = record::chain(rest);
        if chain.headers >= 2 && !chain.broken || chain.headers == 1 && chain.is_even {
            return Resync::Found(at);
        }
        if at == 0 && at_event && chain.headers == 1 && !chain.broken {
            return Resync::Found(0);
        }
        if !chain.broken {
            pending.get_or_insert(at);
        }
    }
    // The last byte can be the type of a record.
    let last = data.len() - usize::from(data.last().is_some_and(|kind| (20..=24).contains(kind)));
    Resync::Skip(pending.unwrap_or(last))
}
