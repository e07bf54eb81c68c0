//! Knows NATS by its content, and where in a damaged stream the next message begins.

use super::line::{self, Op, Read, Side};
use crate::event::Direction;
use crate::protocol::judgement::{Judgement, behind_line_ends};
use crate::protocol::{Resync, Sample, Verdict};
use memchr::memmem;

/// How many bytes are looked at to judge a connection.
const WINDOW: usize = 8192;

/// How long the rest of a message is waited for that would tell whether a place is its beginning.
const WAIT_MAX: u64 = 64 << 10;

/// How sure one message makes, by what it is.
fn weight(op: Op) -> u8 {
    match op {
        Op::Info | Op::Connect => 100,
        Op::Hpub | Op::Hmsg => 95,
        Op::Pub | Op::Msg => 90,
        Op::Sub => 60,
        // Redis has PING, POP3 and Redis answer alike.
        Op::Unsub | Op::Ping | Op::Pong | Op::Ok | Op::Err => 20,
    }
}

/// What messages in a row make of some bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    whole: usize,
    /// The best weight of them.
    weight: u8,
    /// No message follows them.
    broken: bool,
    /// What follows is the beginning of one with a payload, that long.
    begun: Option<u64>,
    /// The beginning of a line follows.
    begun_line: bool,
}

fn chain(side: Side, data: &[u8]) -> Chain {
    let mut chain = Chain::default();
    let mut rest = data;
    while !rest.is_empty() && chain.whole < 8 {
        match line::read(side, rest) {
            Read::Line(line) => {
                if matches!(line.op, Op::Info) && memmem::find(line.rest, b"\"server_id\"").is_none() {
                    chain.broken = true;
                    return chain;
                }
                let Some(end) = usize::try_from(line.whole()).ok().filter(|&end| end <= rest.len()) else {
                    chain.begun = Some(line.whole());
                    chain.weight = chain.weight.max(weight(line.op) / 2 + 25);
                    return chain;
                };
                if line.words.total.is_some() && !rest[..end].ends_with(b"\r\n") {
                    chain.broken = true;
                    return chain;
                }
                chain.whole += 1;
                chain.weight = chain.weight.max(weight(line.op));
                rest = &rest[end..];
            }
            Read::Begun => {
                chain.begun_line = true;
                return chain;
            }
            Read::No(_) => {
                chain.broken = true;
                return chain;
            }
        }
    }
    chain
}

/// Looks for the next message of one of `sides`: at the beginning of a call or packet, or behind a line's end. A payload
/// can hold lines like these, so elsewhere than there it takes two messages, or one with a payload that ends where its
/// length says.
pub fn boundary(sides: &[Side], data: &[u8], at_event: bool) -> Resync {
    behind_line_ends(data, at_event, |data, at_event| {
        let mut wait = false;
        for &side in sides {
            let found = chain(side, data);
            let sure = found.weight >= 90 && found.whole > 0 || found.whole >= 2;
            let likely = at_event && (found.whole > 0 || found.begun.is_some());
            if !(found.broken && found.weight < 90) && (sure || likely) {
                return Judgement::Yes;
            }
            wait |= !found.broken && found.begun.is_none_or(|length| length <= WAIT_MAX);
        }
        if wait { Judgement::Wait } else { Judgement::No }
    })
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    sample.judged_with_client(|client| assign(sample, client))
}

/// Judges it with the client in one direction.
fn assign(sample: &Sample<'_>, client: Direction) -> Verdict {
    let (ours, theirs) = (client.index(), client.reverse().index());
    let (sent, answered) = (sample.data[ours], sample.data[theirs]);
    if sample.from_start[theirs] && !answered.is_empty() {
        // The server speaks first, and tells who it is.
        return match chain(Side::Server, &answered[..answered.len().min(line::LINE_MAX)]) {
            Chain { whole: 1.., weight: 100, .. } => Verdict::Match(100),
            Chain { whole: 0, broken: false, .. } if is_begun_info(answered) => {
                Verdict::Maybe("the rest of INFO")
            }
            _ => Verdict::No("the server's first line is no INFO"),
        };
    }
    if sample.from_start[theirs] && sample.from_start[ours] {
        return Verdict::No("the client speaks first");
    }
    let confidence = confidence(Side::Client, sent).max(confidence(Side::Server, answered));
    if confidence >= 50 { Verdict::Match(confidence) } else { Verdict::No("no operation begins here") }
}

fn is_begun_info(data: &[u8]) -> bool {
    const BEGIN: &[u8] = b"INFO {";
    let count = data.len().min(BEGIN.len());
    data[..count] == BEGIN[..count]
}

fn confidence(side: Side, data: &[u8]) -> u8 {
    let data = &data[..data.len().min(WINDOW)];
    let Resync::Found(at) = boundary(&[side], data, true) else { return 0 };
    let found = chain(side, &data[at..]);
    if found.broken && found.weight < 90 { 0 } else { found.weight }
}
