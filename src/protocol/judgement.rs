//! Whether a place in a stream is the beginning of a message, for protocols whose messages have no mark of their own.

use super::Resync;
use memchr::memmem;

/// Ordered by how much it says for the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It is not.
    No,
    /// More bytes will tell.
    Wait,
    /// It is.
    Yes,
}

impl Judgement {
    /// What the best of several readings says.
    pub fn best(readings: impl Iterator<Item = Judgement>) -> Judgement {
        readings.max().unwrap_or(Judgement::No)
    }
}

/// Looks for the next message of a protocol of lines: asks `judge`, which is told whether a call or packet begins there, about
/// the beginning of an event and every place behind a line end.
pub fn behind_line_ends(
    data: &[u8],
    at_event: bool,
    mut judge: impl FnMut(&[u8], bool) -> Judgement,
) -> Resync {
    if at_event {
        match judge(data, true) {
            Judgement::Yes => return Resync::Found(0),
            Judgement::Wait => return Resync::Skip(0),
            Judgement::No => {}
        }
    }
    for at in memmem::find_iter(data, b"\r\n") {
        match judge(&data[at + 2..], false) {
            Judgement::Yes => return Resync::Found(at + 2),
            // The line end stays: it is what makes the place a candidate.
            Judgement::Wait => return Resync::Skip(at),
            Judgement::No => {}
        }
    }
    Resync::Skip(data.len() - usize::from(data.ends_with(b"\r")))
}
