//! Knows PostgreSQL by its content: whether a connection speaks it, and where in a damaged stream the next message
//! begins.
//!
//! What a client sends first is proof. Of a connection that was open before, messages are read as far as they are
//! there: a type byte, a length, and contents that agree with both. No single byte is evidence.

use super::message::{self, Shape, Side};
use super::startup;
use crate::event::Direction;
use crate::protocol::judgement::Judgement;
use crate::protocol::{Resync, Sample, Verdict};

/// How many bytes are looked at to judge a connection.
const WINDOW: usize = 8192;

/// How many messages are read to judge a place.
const MESSAGES: usize = 8;

/// How long the rest of a message is waited for that would tell whether a place is its beginning.
const WAIT_MAX: u64 = 64 << 10;

/// What follows the last whole message of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Nothing.
    Nothing,
    /// The beginning of a message that long, whose contents are as they should be so far.
    Begun(u64),
    /// Too little to say.
    Short,
    /// No message.
    Other,
}

/// Messages in a row.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// Whole ones.
    whole: usize,
    /// Those of them that can't be so by chance.
    strong: usize,
    behind: Behind,
}

fn chain(side: Side, data: &[u8]) -> Chain {
    let mut chain = Chain { whole: 0, strong: 0, behind: Behind::Nothing };
    let mut rest = data;
    while !rest.is_empty() && chain.whole < MESSAGES {
        match message::shape(side, rest) {
            Shape::Whole(length, strong) => {
                chain.whole += 1;
                chain.strong += usize::from(strong);
                rest = &rest[length..];
                continue;
            }
            Shape::Begun(length) => chain.behind = Behind::Begun(length),
            Shape::Short => chain.behind = Behind::Short,
            Shape::No => chain.behind = Behind::Other,
        }
        break;
    }
    chain
}

/// Where a call or packet begins, a message does more often than not: there one is enough if its contents agree with
/// it. Elsewhere it takes two in a row, one of them with contents that do not come by chance, or three.
fn judge(side: Side, data: &[u8], at_event: bool) -> Judgement {
    let found = chain(side, data);
    let enough = if at_event {
        found.whole > 0 && (found.behind != Behind::Other || found.strong > 0)
    } else {
        found.strong > 0 && found.whole > 1 || found.whole > 2
    };
    match found.behind {
        _ if enough => Judgement::Yes,
        Behind::Begun(_) if at_event => Judgement::Yes,
        Behind::Begun(length) if length <= WAIT_MAX => Judgement::Wait,
        Behind::Short => Judgement::Wait,
        // The bytes end with it: what comes next will tell.
        Behind::Nothing if found.strong > 0 => Judgement::Wait,
        Behind::Nothing if found.whole > 0 => Judgement::Wait,
        _ => Judgement::No,
    }
}

/// Looks for the next message of one of `sides`; where `packets`, also for what a client sends first.
pub fn boundary(sides: &[Side], data: &[u8], at_event: bool, packets: bool) -> Resync {
    if data.is_empty() {
        return Resync::Skip(0);
    }
    let judge_all =
        |data: &[u8], at_event: bool| Judgement::best(sides.iter().map(|&side| judge(side, data, at_event)));
    if at_event {
        if packets && matches!(startup::is_packet(data), Ok(whole) if whole || data.len() < 8) {
            return if startup::is_packet(data) == Ok(true) { Resync::Found(0) } else { Resync::Skip(0) };
        }
        match judge_all(data, true) {
            Judgement::Yes => return Resync::Found(0),
            Judgement::Wait => return Resync::Skip(0),
            Judgement::No => {}
        }
    }
    // The first byte of every length is zero, or nearly.
    for zero in memchr::memchr_iter(0, data) {
        let Some(at) = zero.checked_sub(1) else { continue };
        match judge_all(&data[at..], false) {
            Judgement::Yes => return Resync::Found(at),
            Judgement::Wait => return Resync::Skip(at),
            Judgement::No => {}
        }
    }
    // The last byte can be a type.
    Resync::Skip(data.len() - 1)
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    sample.judged_with_client(|client| assign(sample, client))
}

/// Judges it with the client in one direction.
fn assign(sample: &Sample<'_>, client: Direction) -> Verdict {
    let (ours, theirs) = (client.index(), client.reverse().index());
    let (sent, answered) = (sample.data[ours], sample.data[theirs]);
    if sample.from_start[ours] {
        return match startup::is_packet(sent) {
            _ if sent.is_empty() && !answered.is_empty() => Verdict::No("the server speaks first"),
            Ok(true) => Verdict::Match(100),
            Ok(false) => Verdict::Maybe("the rest of a startup packet"),
            Err(reason) => Verdict::No(reason),
        };
    }
    let confidence = confidence(Side::Client, sent).max(confidence(Side::Server, answered));
    if confidence > 0 { Verdict::Match(confidence) } else { Verdict::No("no message begins here") }
}

/// How sure it is that bytes from the middle of a connection are messages of one side.
fn confidence(side: Side, data: &[u8]) -> u8 {
    let data = &data[..data.len().min(WINDOW)];
    let Resync::Found(at) = boundary(&[side], data, true, side == Side::Client) else { return 0 };
    if side == Side::Client && startup::is_packet(&data[at..]) == Ok(true) {
        return 100;
    }
    let found = chain(side, &data[at..]);
    match (found.strong, found.whole, found.behind) {
        (2.., ..) => 95,
        (1, _, behind) if behind != Behind::Other => 90,
        (1, ..) => 70,
        (0, 3.., _) => 85,
        (0, 1.., behind) if behind != Behind::Other => 55,
        _ => 0,
    }
}
