//! Which protocol a connection speaks: keeps its first bytes until a protocol recognises them.
//!
//! Nothing is lost to the decision: what was kept is replayed to the chosen parser in the order in which
//! it came, gaps included.

use crate::event::{Cause, Direction, Range, Role, Timestamp};
use crate::protocol::{Agreement, End, Options, Protocol, Resync, Sample, Verdict};
use std::fmt;

/// How many bytes of a connection are kept while no protocol recognises them.
pub const KEEP_LIMIT: usize = 256 << 10;

/// Up to how many bytes the protocols are asked whenever there are more.
const ALWAYS: usize = 4 << 10;

/// From this confidence on one direction's bytes decide at once; below it both directions are awaited.
const SURE: u8 = 90;

/// Something that happened before the decision.
pub enum Kept {
    Bytes(Direction, u64, Vec<u8>, Timestamp),
    Gap(Direction, Range, Cause, Timestamp),
    Finish(Direction, u64, End, Timestamp),
}

/// What came before on a connection that goes on with something else.
#[derive(Clone)]
pub struct Inherited {
    /// What both were about to speak, if one agreed to what the other offered.
    pub offered: Option<&'static Protocol>,
    /// For the parser of that.
    pub agreement: Option<Agreement>,
}

/// The state of a connection without a protocol.
pub struct Detector {
    protocols: &'static [&'static Protocol],
    role: Role,
    kept: Vec<Kept>,
    bytes: usize,
    heads: [Vec<u8>; 2],
    from_start: [bool; 2],
    finished: [bool; 2],
    given_up: bool,
    /// Guesses that turned out to be wrong.
    refuted: Vec<&'static str>,
    /// How many bytes each direction must have before the protocols are asked again.
    due: [usize; 2],
    inherited: Option<Inherited>,
}

impl Detector {
    /// `from_start` tells for each direction whether its first byte will be seen.
    pub fn new(protocols: &'static [&'static Protocol], role: Role, from_start: [bool; 2]) -> Detector {
        Detector {
            protocols,
            role,
            kept: Vec::new(),
            bytes: 0,
            heads: Default::default(),
            from_start,
            finished: [false; 2],
            given_up: false,
            refuted: Vec::new(),
            due: [1; 2],
            inherited: None,
        }
    }

    /// Likewise where another protocol ended.
    pub fn after(self, inherited: Inherited) -> Detector {
        Detector { inherited: Some(inherited), ..self }
    }

    /// What a parser of `protocol` should know of what came before.
    pub fn agreement(&self, protocol: &Protocol) -> Option<Agreement> {
        let inherited = self.inherited.as_ref()?;
        let is_offered = inherited.offered.is_some_and(|offered| offered.name == protocol.name);
        inherited.agreement.clone().filter(|_| is_offered)
    }

    /// Whether each direction's kept bytes begin with its first byte.
    pub fn begins_at_start(&self) -> [bool; 2] {
        self.from_start
    }

    /// True once more came than is kept; from then on each event is judged by itself.
    pub fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// Keeps bytes for the replay.
    pub fn add(&mut self, direction: Direction, offset: u64, data: &[u8], time: Timestamp) {
        self.heads[direction.index()].extend_from_slice(data);
        self.bytes += data.len();
        self.kept.push(Kept::Bytes(direction, offset, data.to_vec(), time));
    }

    /// Keeps a gap. A direction that is not recognised before it may be recognised by what comes after.
    pub fn gap(&mut self, direction: Direction, range: Range, cause: Cause, time: Timestamp) {
        self.heads[direction.index()].clear();
        self.due[direction.index()] = 1;
        self.from_start[direction.index()] = false;
        if self.given_up {
            return; // what comes next is searched from where it begins
        }
        // A connection of which nothing but losses is seen must not grow with them.
        let mut gaps = self.kept.iter_mut().rev().take(2).map_while(|kept| match kept {
            Kept::Gap(at, before, why, _) => Some((*at, before, *why)),
            _ => None,
        });
        let continued =
            |gap: &(Direction, &mut Range, Cause)| (gap.0, gap.1.to, gap.2) == (direction, range.from, cause);
        match gaps.find(continued) {
            Some((_, before, _)) => before.to = range.to,
            None => self.kept.push(Kept::Gap(direction, range, cause, time)),
        }
    }

    /// Keeps the end of a direction.
    pub fn finish(&mut self, direction: Direction, offset: u64, end: End, time: Timestamp) {
        if !std::mem::replace(&mut self.finished[direction.index()], true) {
            self.kept.push(Kept::Finish(direction, offset, end, time));
        }
    }

    /// True where more is kept than should be.
    pub fn is_full(&self) -> bool {
        self.bytes > KEEP_LIMIT
    }

    /// What was kept; from now on each event is judged by itself.
    pub fn give_up(&mut self) -> Vec<Kept> {
        self.given_up = true;
        self.from_start = [false; 2];
        self.heads = Default::default();
        self.due = [1; 2];
        self.bytes = 0;
        std::mem::take(&mut self.kept)
    }

    /// Everything kept, for the replay.
    pub fn take(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// Keeps again what was taken.
    pub fn keep(&mut self, kept: Vec<Kept>) {
        self.kept = kept;
    }

    /// A guess was wrong.
    pub fn refute(&mut self, protocol: &Protocol) {
        self.refuted.push(protocol.name);
    }

    /// True where enough came since the protocols were asked last. Asking costs time for all that is kept, so beyond
    /// the first [`ALWAYS`] bytes it is done each time it has grown by a quarter.
    pub fn is_due(&mut self) -> bool {
        let lengths = self.heads.each_ref().map(Vec::len);
        let is_due = lengths.iter().zip(self.due).any(|(&length, due)| length >= due) || self.is_full();
        if is_due {
            self.due = lengths.map(|length| if length < ALWAYS { length + 1 } else { length + length / 4 });
        }
        is_due
    }

    /// What each protocol says to the bytes at hand.
    pub fn verdicts(&self) -> Vec<(&'static Protocol, Verdict)> {
        self.judge([&self.heads[0], &self.heads[1]])
    }

    /// What each protocol says to one event's bytes, taken by themselves.
    pub fn verdicts_on(&self, direction: Direction, data: &[u8]) -> Vec<(&'static Protocol, Verdict)> {
        let mut heads: [&[u8]; 2] = [&[], &[]];
        heads[direction.index()] = data;
        self.judge(heads)
    }

    fn judge(&self, data: [&[u8]; 2]) -> Vec<(&'static Protocol, Verdict)> {
        let sample = Sample { data, from_start: self.from_start, role: self.role };
        let judge = |protocol: &Protocol| match self.refuted.contains(&protocol.name) {
            true => Verdict::No("its first messages did not follow it"),
            false => (protocol.detect)(&sample).or_better(self.follows_offer(protocol, &data)),
        };
        self.protocols.iter().map(|&protocol| (protocol, judge(protocol))).collect()
    }

    /// What was offered needs less evidence: a message of it where the answer would be followed by one.
    fn follows_offer(&self, protocol: &Protocol, data: &[&[u8]; 2]) -> Verdict {
        let offered = self.inherited.as_ref().and_then(|inherited| inherited.offered);
        if offered.is_none_or(|offered| offered.name != protocol.name) {
            return Verdict::No("it was not offered");
        }
        let begins = |direction: Direction| {
            let data = data[direction.index()];
            let mut parser = (protocol.parser)(Options { role: self.role, ..Options::default() });
            !data.is_empty() && parser.resync(direction, data, true) == Resync::Found(0)
        };
        match Direction::BOTH.into_iter().any(begins) {
            true => Verdict::Match(SURE),
            false => Verdict::Maybe("a message of what was offered"),
        }
    }

    /// The decision that the verdicts allow now; at the end of the connection (`last`) any match counts.
    pub fn choose(&self, verdicts: &[(&'static Protocol, Verdict)], last: bool) -> Option<&'static Protocol> {
        let (protocol, confidence) = best(verdicts)?;
        let both = self.heads.iter().all(|head| !head.is_empty());
        let rivals = verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Maybe(_)));
        (confidence >= SURE || last || (both && !rivals)).then_some(protocol)
    }

    /// The decision on one event by itself: only a sure one counts.
    pub fn choose_alone(verdicts: &[(&'static Protocol, Verdict)]) -> Option<&'static Protocol> {
        best(verdicts).filter(|&(_, confidence)| confidence >= SURE).map(|(protocol, _)| protocol)
    }
}

fn best(verdicts: &[(&'static Protocol, Verdict)]) -> Option<(&'static Protocol, u8)> {
    let matches = verdicts.iter().filter_map(|(protocol, verdict)| match verdict {
        Verdict::Match(confidence) => Some((*protocol, *confidence)),
        _ => None,
    });
    matches.max_by_key(|&(protocol, confidence)| (confidence, std::cmp::Reverse(protocol.name)))
}

/// One line for the trace: `http1 matches (100); redis no: neither an array nor a line of text`. Made only
/// where it is shown.
pub struct Explained<'a>(pub &'a [(&'static Protocol, Verdict)]);

/// The same of the protocols that match alone: which there was to choose from.
pub struct Matching<'a>(pub &'a [(&'static Protocol, Verdict)]);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0.iter(), f)
    }
}

impl fmt::Display for Matching<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Match(_))), f)
    }
}

fn write<'a>(
    verdicts: impl Iterator<Item = &'a (&'static Protocol, Verdict)>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (index, (protocol, verdict)) in verdicts.enumerate() {
        f.write_str(if index == 0 { "" } else { "; " })?;
        f.write_str(protocol.name)?;
        match verdict {
            Verdict::Match(confidence) => write!(f, " matches ({confidence})")?,
            Verdict::Maybe(missing) => write!(f, " maybe: {missing}")?,
            Verdict::No(reason) => write!(f, " no: {reason}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_repeated_ends_before_the_decision_are_not_collected() {
        let mut detector = Detector::new(crate::protocol::ALL, Role::Client, [true; 2]);
        for n in 0..1000 {
            for direction in Direction::BOTH {
                detector.gap(direction, Range::new(n * 10, n * 10 + 10), Cause::RingFull, Timestamp(n));
            }
        }
        (0..1000).for_each(|n| detector.finish(Direction::Send, 10_000, End::Finished, Timestamp(n)));
        assert_eq!(detector.kept.len(), 3);
        for kept in detector.take() {
            if let Kept::Gap(_, range, ..) = kept {
                assert_eq!(range, Range::new(0, 10_000));
            }
        }
    }
}
