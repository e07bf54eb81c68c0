//! Knows Kafka by its content, and where in a damaged stream the next message begins.

use super::request::{At, at, size_of};
use crate::event::Direction;
use crate::protocol::{Resync, Sample, Verdict};
use std::collections::BTreeSet;

/// How many messages in a row are looked at.
const CHAIN_MAX: usize = 8;

/// How many bytes of a request that is not whole are enough.
const BEGUN_ENOUGH: usize = 4 << 10;

/// Where in the bytes of a connection that was open before a request is looked for.
const WINDOW: usize = 16 << 10;

/// How long the rest of a message is waited for that would tell whether a place is its beginning.
const WAIT_MAX: u64 = 1 << 20;

/// What precedes the body of any message.
const HEAD: usize = 8;

/// Judges the first bytes of a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    // Which end is the client is a guess where the beginning was not seen; content tells better.
    judge(sample, Direction::Send).or_better(judge(sample, Direction::Recv))
}

fn judge(sample: &Sample<'_>, client: Direction) -> Verdict {
    let requests = sample.data[client.index()];
    let responses = sample.data[client.reverse().index()];
    let from_start = sample.from_start[client.index()];
    if requests.len() < HEAD {
        return Verdict::No("no request yet, and without one nothing tells");
    }
    let mut asked = Vec::new();
    let (mut rest, mut sure) = (requests, 0);
    while !rest.is_empty() && asked.len() < CHAIN_MAX {
        match at(rest) {
            At::Whole(length, correlation, weight) => {
                sure = sure.max(weight);
                asked.push(correlation);
                rest = &rest[length..];
            }
            At::Begun(_, _, weight) if asked.is_empty() => {
                return match weight {
                    90.. if requests.len() >= BEGUN_ENOUGH => Verdict::Match(90),
                    60.. => Verdict::Maybe("the rest of a request"),
                    _ => Verdict::No("the beginning of what could be anything"),
                };
            }
            At::Short if asked.is_empty() => return Verdict::Maybe("the rest of a request's header"),
            At::Begun(..) | At::Short => break,
            At::No if sure >= 95 => break,
            At::No if asked.is_empty() && !from_start => {
                return match search(&requests[..requests.len().min(WINDOW)], At::is_surely_whole) {
                    Resync::Found(_) => Verdict::Match(90),
                    Resync::Skip(_) => Verdict::No("no request of a known api"),
                };
            }
            At::No => return Verdict::No("no request of a known api"),
        }
    }
    match response_at(responses) {
        Some((_, correlation)) if asked.contains(&correlation) => Verdict::Match(98),
        None if !responses.is_empty()
            && responses.len() >= HEAD
            && sample.from_start[client.reverse().index()] =>
        {
            Verdict::No("what the other side says is no response")
        }
        _ if sure < 60 => Verdict::No("a request that others could send as well, without a response"),
        _ => Verdict::Match(sure),
    }
}

/// The size and number of a response, where bytes can be one.
fn response_at(data: &[u8]) -> Option<(usize, i32)> {
    let size = size_of(*data.first_chunk()?).filter(|&size| size >= 4)?;
    let correlation = i32::from_be_bytes(*data.get(4..)?.first_chunk()?);
    Some((size, correlation))
}

/// Looks for the next request: where a call or packet begins, or anywhere else with another one or nothing behind it.
pub fn boundary_of_request(data: &[u8], at_event: bool) -> Resync {
    if at_event && matches!(at(data), At::Whole(_, _, 60..) | At::Begun(_, _, 60..)) {
        return Resync::Found(0);
    }
    search(data, |found| found.is_surely_whole() || matches!(found, At::Begun(WAIT_MAX.., _, 90..)))
}

/// Looks for a request that is `enough` and has another one or nothing behind it.
fn search(data: &[u8], enough: impl Fn(&At) -> bool) -> Resync {
    for from in 0..data.len().saturating_sub(HEAD) {
        // Sizes of 16 MiB and more, and keys above 255, are not searched for.
        if data[from] != 0 || data[from + 4] != 0 {
            continue;
        }
        let found = at(&data[from..]);
        let behind = match found {
            At::Whole(length, ..) => at(&data[from + length..]),
            _ => At::Short,
        };
        if enough(&found) && behind != At::No {
            return Resync::Found(from);
        }
        if matches!(found, At::Begun(..WAIT_MAX, _, 60..)) {
            return Resync::Skip(from);
        }
    }
    Resync::Skip(data.len().saturating_sub(HEAD))
}

/// Looks for the next response: one to a request that waits; or, at the beginning of a call or packet, messages that end
/// with it.
pub fn boundary_of_response(data: &[u8], at_event: bool, awaited: &BTreeSet<i32>) -> Resync {
    if at_event {
        let is_answer = response_at(data).is_some_and(|(_, correlation)| awaited.contains(&correlation));
        if is_answer || ends_with_message(data) {
            return Resync::Found(0);
        }
    }
    for from in 0..data.len().saturating_sub(HEAD - 1) {
        let Some((size, _)) =
            response_at(&data[from..]).filter(|(_, correlation)| awaited.contains(correlation))
        else {
            continue;
        };
        match data.get(from + 4 + size..) {
            Some([]) => return Resync::Found(from),
            Some(behind) if behind.len() < HEAD || response_at(behind).is_some() => {
                return Resync::Found(from);
            }
            Some(_) => {}
            None if size as u64 <= WAIT_MAX => return Resync::Skip(from),
            None => {}
        }
    }
    Resync::Skip(data.len().saturating_sub(HEAD - 1))
}

/// True where messages fill the bytes exactly.
fn ends_with_message(data: &[u8]) -> bool {
    let mut rest = data;
    while let Some((size, _)) = response_at(rest) {
        match rest.get(4 + size..) {
            Some([]) => return true,
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    false
}
