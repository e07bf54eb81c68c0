//! Knows MySQL by its content: whether a connection speaks it, and where in a damaged stream the next packet begins.
//!
//! What a server sends first is proof, and so is a login. Of a connection that was open before, packets are read as far
//! as they are there: lengths, sequence numbers that count, and contents that agree with both. No single byte is
//! evidence.

use super::handshake;
use super::packet::{self, ERR, HEADER, header};
use super::shape::{self, Shape, Side, shape};
use crate::event::Direction;
use crate::protocol::judgement::Judgement;
use crate::protocol::{Resync, Sample, Verdict};

/// How many bytes are looked at to judge a connection.
const WINDOW: usize = 4096;

/// How many packets are read to judge a place.
const PACKETS: usize = 8;

/// How long the rest of a packet is waited for that would tell whether a place is its beginning.
const WAIT_MAX: u64 = 16 << 10;

/// The longest greeting that is waited for.
const GREETING_MAX: u64 = 1024;

/// The longest login that is waited for: names, a password and attributes.
const LOGIN_MAX: u64 = 128 << 10;

/// The longest login of the protocol before 4.1, with its header.
pub const OLD_LOGIN_MAX: u64 = 512;

/// What follows the last whole packet of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Nothing.
    Nothing,
    /// The beginning of a packet that long, whose contents are as they should be so far.
    Begun { length: u64, strong: bool },
    /// Too little to say.
    Short,
    /// No packet.
    Other,
}

/// Packets in a row.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// Whole ones.
    whole: usize,
    /// Those of them that can't be so by chance.
    strong: usize,
    /// The number of the first.
    seq: u8,
    behind: Behind,
}

/// Packets of a server count on; each command of a client is a new beginning.
fn chain(side: Side, data: &[u8]) -> Chain {
    let mut chain = Chain { whole: 0, strong: 0, seq: 0, behind: Behind::Nothing };
    let mut rest = data;
    let mut expected: Option<u8> = None;
    while !rest.is_empty() && chain.whole < PACKETS {
        let next = header(rest).map(|(_, seq)| seq);
        let counts = match (side, expected, next) {
            // A new answer begins with 1.
            (Side::Server, Some(expected), Some(seq)) => seq == expected || seq == 1,
            _ => true,
        };
        chain.behind = match shape(side, rest) {
            _ if !counts => Behind::Other,
            Shape::Whole { length, seq, strong } => {
                if chain.whole == 0 {
                    chain.seq = seq;
                }
                chain.whole += 1;
                chain.strong += usize::from(strong);
                expected = Some(seq.wrapping_add(1));
                rest = &rest[length..];
                continue;
            }
            Shape::Begun { length, strong } => Behind::Begun { length, strong },
            Shape::Short => Behind::Short,
            Shape::No => Behind::Other,
        };
        return chain;
    }
    chain.behind = Behind::Nothing;
    chain
}

/// Where a call or packet begins, a packet of the protocol does more often than not: there one is enough if its
/// contents agree with it. Elsewhere it takes two in a row, one of them with contents that do not come by chance, or
/// four.
fn judge(side: Side, data: &[u8], at_event: bool) -> Judgement {
    let found = chain(side, data);
    let enough = if at_event {
        found.whole > 0 && (found.behind != Behind::Other || found.strong > 0)
    } else {
        found.strong > 0 && found.whole > 1 || found.whole > 3
    };
    match found.behind {
        _ if enough => Judgement::Yes,
        Behind::Begun { strong: true, .. } if at_event => Judgement::Yes,
        Behind::Begun { length, .. } if length <= WAIT_MAX => Judgement::Wait,
        Behind::Short => Judgement::Wait,
        // The bytes end with it: what comes next will tell.
        Behind::Nothing if found.whole > 0 => Judgement::Wait,
        _ => Judgement::No,
    }
}

/// Looks for the next packet of one of `sides`.
pub fn boundary(sides: &[Side], data: &[u8], at_event: bool) -> Resync {
    if data.is_empty() {
        return Resync::Skip(0);
    }
    let judge_all =
        |data: &[u8], at_event: bool| Judgement::best(sides.iter().map(|&side| judge(side, data, at_event)));
    let may_begin = sides.contains(&Side::Client);
    // What is certain further behind counts more than what may become so.
    let mut waits = None;
    for at in 0..data.len() {
        if may_begin && starts_login(&data[at..]) == Some(true) {
            return Resync::Found(at);
        }
        match judge_all(&data[at..], at_event && at == 0) {
            Judgement::Yes => return Resync::Found(at),
            Judgement::Wait => _ = waits.get_or_insert(at),
            Judgement::No => {}
        }
    }
    Resync::Skip(waits.unwrap_or(data.len()))
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
        return begins(answered);
    }
    if sample.from_start[ours] && !sent.is_empty() {
        // What a client sends first is its login, with a number that follows the greeting.
        return match starts_login(sent) {
            Some(true) => Verdict::Match(100),
            Some(false) => Verdict::No("no login, and the client speaks first"),
            None => Verdict::Maybe("the rest of a login"),
        };
    }
    if shape::is_compressed(sent) || shape::is_compressed(answered) {
        return Verdict::Match(90);
    }
    match confidence(sent, answered) {
        0 => Verdict::No("no packet begins here"),
        confidence => Verdict::Match(confidence),
    }
}

/// Judges what a server says first: its greeting, or that it refuses to talk.
fn begins(data: &[u8]) -> Verdict {
    let no = Verdict::No("no greeting of a server");
    let Some((length, seq)) = header(data) else {
        let can_be =
            data.get(2).is_none_or(|&high| high == 0) && data.get(1).is_none_or(|&middle| middle < 4);
        return if can_be { Verdict::Maybe("the header of a greeting") } else { no };
    };
    if seq != 0 || !(4..=GREETING_MAX).contains(&length) {
        return no;
    }
    let contents = &data[HEADER..data.len().min(HEADER + length as usize)];
    let whole = contents.len() as u64 == length;
    match contents.first() {
        None => Verdict::Maybe("a greeting"),
        Some(9 | 10) => {
            let is_plausible = handshake::greeting(contents).map(|greeting| greeting.is_plausible());
            let version = contents[1..].split(|&byte| byte == 0).next().unwrap_or_default();
            let is_printable = version.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
            match is_plausible {
                Some(true) if whole => Verdict::Match(100),
                _ if !whole && is_printable && version.len() < 256 => {
                    Verdict::Maybe("the rest of a greeting")
                }
                _ => no,
            }
        }
        Some(&ERR) => match shape(Side::Server, data) {
            Shape::Whole { length, .. } if length == data.len() => Verdict::Match(90),
            Shape::Begun { .. } | Shape::Short => Verdict::Maybe("the rest of an error"),
            _ => no,
        },
        _ => no,
    }
}

/// Whether a login begins here. None: too few bytes to say.
pub fn starts_login(data: &[u8]) -> Option<bool> {
    let Some((length, seq)) = header(data) else {
        return if data.get(2).is_some_and(|&high| high > 1) { Some(false) } else { None };
    };
    if seq != 1 || !(handshake::SSL_REQUEST..=LOGIN_MAX).contains(&length) {
        return Some(false);
    }
    let contents = &data[HEADER..data.len().min(HEADER + length as usize)];
    match handshake::begins_login(contents) {
        Some(true) if length > handshake::SSL_REQUEST => {
            let whole = contents.len() as u64 == length;
            if whole { Some(contents[32..].contains(&0)) } else { None }
        }
        Some(true) => {
            let login = handshake::login(contents, None);
            Some(login.flags & packet::capability::SSL != 0)
        }
        other => other,
    }
}

/// How sure it is that bytes from the middle of a connection are packets of a client and of a server.
fn confidence(sent: &[u8], answered: &[u8]) -> u8 {
    if starts_login(sent) == Some(true) {
        return 100;
    }
    let asks = chain(Side::Client, &sent[..sent.len().min(WINDOW)]);
    let says = chain(Side::Server, &answered[..answered.len().min(WINDOW)]);
    let is_command = asks.whole > 0 && asks.behind != Behind::Other;
    let is_answer = says.whole > 0 && says.behind != Behind::Other;
    let answers = is_answer && says.seq == 1;
    let asks_begun = asks.whole == 0 && matches!(asks.behind, Behind::Begun { .. });
    let contradicts = !answered.is_empty() && says.whole == 0 && says.behind == Behind::Other
        || !sent.is_empty() && asks.whole == 0 && asks.behind == Behind::Other;
    match () {
        () if is_command && answers && asks.strong + says.strong > 0 => 98,
        () if is_command && asks.strong > 0 => 95,
        () if asks_begun && answers && says.strong > 0 => 90,
        () if contradicts => server_alone(answered),
        () if is_command && asks.whole > 2 => 85,
        () if is_command && answers => 80,
        () if is_command => 55,
        () if is_answer && says.strong > 1 => 90,
        () if is_answer && says.strong > 0 && says.whole > 2 => 92,
        () if says.strong > 0 && says.seq == 1 && is_answer => 60,
        () => server_alone(answered),
    }
}

/// Of a server's packets that a gap or a late beginning cuts, those behind are evidence enough if they are many.
fn server_alone(answered: &[u8]) -> u8 {
    let data = &answered[..answered.len().min(WINDOW)];
    let Resync::Found(at) = boundary(&[Side::Server], data, true) else { return 0 };
    let found = chain(Side::Server, &data[at..]);
    match (found.strong, found.whole) {
        (1.., 4..) if found.behind != Behind::Other => 90,
        (2.., 3..) => 70,
        _ => 0,
    }
}
