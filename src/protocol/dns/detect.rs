//! Knows the protocol by its content, in datagrams and in streams.
//!
//! What proves a message is that all of it can be read and that it ends where it says: counts, names, classes and
//! lengths have to agree. Ports are asked about damaged datagrams alone.

use super::message::{Ending, HEADER, Header, Message, opcode};
use super::{LLMNR_PORT, MDNS_PORT, PORT, is_at};
use crate::event::Direction;
use crate::protocol::{Datagram, Resync, Sample, Verdict};

/// Ports where DNS is spoken in datagrams: also by multicast (RFC 6762), and link-local (LLMNR, RFC 4795).
const PORTS: [u16; 3] = [PORT, MDNS_PORT, LLMNR_PORT];

/// The longest label of a name of NetBIOS, whose name service has the same messages (RFC 1002, section 4.2.1).
const NETBIOS_LABEL: u8 = 32;

/// Judges one datagram.
pub fn datagram(datagram: &Datagram<'_>) -> Verdict {
    let length = datagram.range.len() as usize;
    let Some(message) = Message::read(datagram.data, length) else {
        return Verdict::No("shorter than a header");
    };
    let known_port = PORTS.iter().any(|&port| is_at(datagram, port));
    if is_netbios(&message) {
        return Verdict::No("the name service of NetBIOS");
    }
    let plausible = message.header.is_plausible(length);
    let speaks = !message.questions.is_empty() || !message.records.is_empty();
    match &message.ending {
        Ending::Whole if plausible && speaks && message.is_strict() => Verdict::Match(95),
        Ending::Cut if plausible && speaks => Verdict::Match(75),
        Ending::Whole | Ending::Trailing(_) if known_port && (plausible || speaks) => Verdict::Match(50),
        _ if known_port && plausible => Verdict::Match(50),
        _ => Verdict::No("counts, names and lengths do not agree"),
    }
}

/// True for names of NetBIOS: one label of 32 letters from A to P stands for its 16 bytes.
fn is_netbios(message: &Message<'_>) -> bool {
    let name = message.questions.first().map(|one| one.name).or(message.records.first().map(|one| one.name));
    let label = name.and_then(|at| message.data.get(at..at + 33));
    label.is_some_and(|label| {
        label[0] == NETBIOS_LABEL && label[1..].iter().all(|byte| (b'A'..=b'P').contains(byte))
    })
}

/// Judges the beginning of a stream.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    let verdicts = Direction::BOTH.map(|direction| {
        let data = sample.data[direction.index()];
        match sample.from_start[direction.index()] {
            _ if data.is_empty() => None,
            true => Some(first(data)),
            false => Some(match inside(data, true) {
                Inside::Whole(_) => Verdict::Match(95),
                Inside::Begun(0) if judge(data) == Judged::Begun => Verdict::Match(60),
                Inside::Begun(0) => Verdict::Maybe("the question of what may be a message"),
                _ => Verdict::No("no message begins here"),
            }),
        }
    });
    match verdicts {
        [Some(one), Some(other)] => both(one, other, sample.from_start),
        [Some(one), None] | [None, Some(one)] => one,
        [None, None] => Verdict::Maybe("the first message"),
    }
}

/// What directions that begin with their first byte deny is not the protocol.
fn both(one: Verdict, other: Verdict, from_start: [bool; 2]) -> Verdict {
    match (&one, &other) {
        (Verdict::No(_), _) if from_start[0] => one,
        (_, Verdict::No(_)) if from_start[1] => other,
        _ => one.or_better(other),
    }
}

/// The first message of a stream, behind its length (RFC 1035, section 4.2.2).
fn first(data: &[u8]) -> Verdict {
    match judge(data) {
        Judged::Whole => Verdict::Match(95),
        Judged::Weak => Verdict::Match(50),
        Judged::Begun => Verdict::Match(80),
        Judged::Unknown => Verdict::Maybe("the first question"),
        Judged::No => Verdict::No("no length, header and question"),
    }
}

/// What a place in a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// A whole message begins here.
    Whole,
    /// A whole message without question and records does: few bytes, that others could send, too.
    Weak,
    /// A length, a header and a question: the rest is still to come.
    Begun,
    /// Too few bytes to tell.
    Unknown,
    No,
}

fn judge(data: &[u8]) -> Judged {
    let Some(head) = data.first_chunk::<2>() else { return Judged::Unknown };
    let length = usize::from(u16::from_be_bytes(*head));
    let rest = &data[2..];
    if length < HEADER || rest.len() >= 4 && !is_kind(u16::from_be_bytes([rest[2], rest[3]])) {
        return Judged::No;
    }
    let data = &rest[..rest.len().min(length)];
    let Some(header) = Header::read(data) else { return Judged::Unknown };
    let [questions, records @ ..] = header.counts;
    if !header.is_plausible(length) || questions > 1 || !header.is_response() && questions == 0 {
        return Judged::No;
    }
    if header.counts == [0; 4] {
        return if length == HEADER { Judged::Weak } else { Judged::No };
    }
    let Some(message) = Message::read(data, length) else { return Judged::No };
    match message.ending {
        Ending::Whole if message.is_strict() && !is_netbios(&message) => Judged::Whole,
        // Servers and clients of one maker put two letters behind the query for a transfer.
        Ending::Trailing(_) if message.questions.len() == 1 => Judged::Begun,
        Ending::Cut => {
            let begun = Message { ending: Ending::Whole, ..message };
            match (begun.is_strict() && !is_netbios(&begun), begun.questions.len() + begun.records.len()) {
                (false, _) => Judged::No,
                (true, 0) if records == [0; 3] || questions > 0 || length > data.len() => Judged::Unknown,
                (true, _) => Judged::Begun,
            }
        }
        _ => Judged::No,
    }
}

/// True where the flags can be those of a query, notification or update.
fn is_kind(flags: u16) -> bool {
    let header = Header { id: 0, flags, counts: [1, 0, 0, 0] };
    header.opcode() != opcode::DSO && header.is_plausible(usize::MAX)
}

/// What is found behind an unknown place of a stream.
enum Inside {
    /// A whole message begins after this many bytes.
    Whole(usize),
    /// What may be one does.
    Begun(usize),
    Nothing,
}

/// Looks for the next message. `at_event`: a call or packet began with these bytes, where messages often do.
fn inside(data: &[u8], at_event: bool) -> Inside {
    let mut begun = None;
    for at in 0..data.len() {
        match judge(&data[at..]) {
            Judged::Whole => return Inside::Whole(at),
            Judged::Begun if at == 0 && at_event => return Inside::Begun(0),
            Judged::Begun | Judged::Unknown => drop(begun.get_or_insert(at)),
            Judged::Weak | Judged::No => {}
        }
    }
    begun.map_or(Inside::Nothing, Inside::Begun)
}

/// The next place where a message begins.
pub fn boundary(data: &[u8], at_event: bool) -> Resync {
    match inside(data, at_event) {
        Inside::Whole(at) => Resync::Found(at),
        Inside::Begun(0) if at_event && judge(data) == Judged::Begun => Resync::Found(0),
        Inside::Begun(at) => Resync::Skip(at),
        Inside::Nothing => Resync::Skip(data.len()),
    }
}
