//! One direction's bytes in stream order: sorts, trims what comes twice, and keeps what comes early.
//!
//! Holds payload only while something before it is missing, and never more than [`HOLD_LIMIT`] bytes.

use crate::event::{Cause, Timestamp};
use std::collections::BTreeMap;

/// How many bytes may wait behind a hole before it is given up as [`Cause::BufferLimit`].
pub const HOLD_LIMIT: usize = 16 << 20;

/// A part of the stream: its bytes, or the fact that they are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The bytes.
    Bytes(&'a [u8]),
    /// So many bytes are lost, and why.
    Gap(u64, Cause),
}

impl<'a> Piece<'a> {
    fn len(self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Gap(length, _) => length,
        }
    }

    /// The piece without its first `n` bytes.
    fn skip(self, n: u64) -> Piece<'a> {
        match self {
            Piece::Bytes(bytes) => Piece::Bytes(&bytes[n as usize..]),
            Piece::Gap(length, cause) => Piece::Gap(length - n, cause),
        }
    }

    /// The first `n` bytes of the piece.
    fn take(self, n: u64) -> Piece<'a> {
        match self {
            Piece::Bytes(bytes) => Piece::Bytes(&bytes[..n as usize]),
            Piece::Gap(_, cause) => Piece::Gap(n, cause),
        }
    }
}

enum Bytes {
    Here(Vec<u8>),
    Lost(u64, Cause),
}

/// A piece that waits.
struct Held {
    bytes: Bytes,
    came: Came,
}

impl Held {
    fn piece(&self) -> Piece<'_> {
        match &self.bytes {
            Bytes::Here(bytes) => Piece::Bytes(bytes),
            Bytes::Lost(length, cause) => Piece::Gap(*length, *cause),
        }
    }
}

/// How a piece came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Came {
    /// When.
    pub time: Timestamp,
    /// Its number among the pieces of both directions. One that was sent before others is not behind them, however late it
    /// came.
    pub turn: u64,
    /// Its sender had got all bytes of the other direction before this offset.
    pub acked: Option<u64>,
}

/// Takes pieces in stream order, each with the offset of its first byte and the time it came.
pub type Release<'a> = dyn FnMut(u64, Piece<'_>, Timestamp) + 'a;

/// The reassembly of one direction.
#[derive(Default)]
pub struct Stream {
    next: u64,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
}

impl Stream {
    /// A stream whose first byte of interest is at `offset`.
    pub fn new(offset: u64) -> Stream {
        Stream { next: offset, ..Stream::default() }
    }

    /// Offset after the last byte released.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Adds a piece. What is in order now is released; bytes that came before are dropped: the first to
    /// arrive win.
    pub fn insert(&mut self, offset: u64, piece: Piece<'_>, time: Timestamp, release: &mut Release<'_>) {
        let Some((offset, piece)) = self.news(offset, piece) else { return };
        if offset > self.next || !self.is_empty() {
            self.hold(offset, piece, Came { time, ..Came::default() });
            self.drain(release);
            while self.is_full() {
                self.give_up_first_hole(Cause::BufferLimit, time);
                self.drain(release);
            }
            return;
        }
        self.pass(piece);
        release(offset, piece, time);
    }

    /// Declares every hole lost that still has something behind it.
    pub fn flush(&mut self, cause: Cause, time: Timestamp, release: &mut Release<'_>) {
        while !self.is_empty() {
            self.give_up_first_hole(cause, time);
            self.drain(release);
        }
    }

    /// The part of a piece that lies behind what was released.
    pub fn news<'a>(&self, offset: u64, piece: Piece<'a>) -> Option<(u64, Piece<'a>)> {
        let known = self.next.saturating_sub(offset).min(piece.len());
        (known < piece.len()).then(|| (offset + known, piece.skip(known)))
    }

    /// Counts the next piece as released.
    pub fn pass(&mut self, piece: Piece<'_>) {
        self.next += piece.len();
    }

    /// True where nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// True where more waits than may.
    pub fn is_full(&self) -> bool {
        self.held_bytes > HOLD_LIMIT
    }

    /// Offset after the last byte that came.
    pub fn top(&self) -> u64 {
        self.held.last_key_value().map_or(self.next, |(at, held)| at + held.piece().len())
    }

    /// How the first piece that waits came; before it bytes may be missing.
    pub fn first(&self) -> Option<Came> {
        self.held.first_key_value().map(|(_, held)| held.came)
    }

    /// How the piece came that is in order now.
    pub fn head(&self) -> Option<Came> {
        self.held.first_key_value().filter(|(at, _)| **at == self.next).map(|(_, held)| held.came)
    }

    /// Keeps the parts of the piece that are not held yet.
    pub fn hold(&mut self, mut offset: u64, mut piece: Piece<'_>, came: Came) {
        while piece.len() > 0 {
            let before = self.held.range(..=offset).next_back();
            let covered = before.map_or(0, |(&at, held)| (at + held.piece().len()).saturating_sub(offset));
            if covered > 0 {
                let covered = covered.min(piece.len());
                (offset, piece) = (offset + covered, piece.skip(covered));
                continue;
            }
            let behind = self.held.range(offset..).next();
            let mut came = came;
            if let Some((_, Held { came: behind, .. })) = behind {
                came.turn = came.turn.min(behind.turn);
                // A loss shows when something comes that lies behind it.
                if let Piece::Gap(..) = piece {
                    came.time = came.time.min(behind.time);
                }
            }
            let room = behind.map_or(u64::MAX, |(&at, _)| at - offset);
            let part = piece.take(room.min(piece.len()));
            let bytes = match part {
                Piece::Bytes(bytes) => {
                    self.held_bytes += bytes.len();
                    Bytes::Here(bytes.to_vec())
                }
                Piece::Gap(length, cause) => Bytes::Lost(length, cause),
            };
            self.held.insert(offset, Held { bytes, came });
            (offset, piece) = (offset + part.len(), piece.skip(part.len()));
        }
    }

    /// Releases the piece that is in order now. False where there is none.
    pub fn release(&mut self, release: &mut Release<'_>) -> bool {
        let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() == self.next) else {
            return false;
        };
        let (offset, held) = entry.remove_entry();
        let piece = held.piece();
        if let Piece::Bytes(bytes) = piece {
            self.held_bytes -= bytes.len();
        }
        self.pass(piece);
        release(offset, piece, held.came.time);
        true
    }

    /// Declares lost what is missing before the first piece that waits.
    pub fn give_up_first_hole(&mut self, cause: Cause, time: Timestamp) {
        let Some((&first, held)) = self.held.first_key_value() else { return };
        let came = Came { time, acked: None, ..held.came };
        self.hold(self.next, Piece::Gap(first - self.next, cause), came);
    }

    fn drain(&mut self, release: &mut Release<'_>) {
        while self.release(release) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: Timestamp = Timestamp(0);

    /// Feeds the pieces and returns the stream as one byte an offset, `None` where it is lost.
    fn check(pieces: &[(u64, Piece<'_>)]) -> Vec<Option<u8>> {
        let (mut stream, mut out) = (Stream::new(0), Vec::new());
        let mut release = |offset: u64, piece: Piece<'_>, _: Timestamp| {
            assert_eq!(offset, out.len() as u64, "released in order and once");
            match piece {
                Piece::Bytes(bytes) => out.extend(bytes.iter().copied().map(Some)),
                Piece::Gap(length, _) => out.extend((0..length).map(|_| None)),
            }
        };
        for &(offset, piece) in pieces {
            stream.insert(offset, piece, TIME, &mut release);
        }
        stream.flush(Cause::WireNotCaptured, TIME, &mut release);
        out
    }

    /// The same by a table of all offsets: the first to arrive wins.
    fn model(pieces: &[(u64, Piece<'_>)]) -> Vec<Option<u8>> {
        let end = pieces.iter().map(|(offset, piece)| offset + piece.len()).max().unwrap_or(0);
        let mut table: Vec<Option<Option<u8>>> = vec![None; end as usize];
        for &(offset, piece) in pieces {
            for index in 0..piece.len() {
                let slot = &mut table[(offset + index) as usize];
                let byte = match piece {
                    Piece::Bytes(bytes) => Some(bytes[index as usize]),
                    Piece::Gap(..) => None,
                };
                slot.get_or_insert(byte);
            }
        }
        table.into_iter().map(Option::flatten).collect()
    }

    #[test]
    fn early_bytes_wait_for_those_before_them() {
        let pieces =
            [(3, Piece::Bytes(b"def")), (0, Piece::Bytes(b"abcXX")), (6, Piece::Gap(2, Cause::Snaplen))];
        let expected: Vec<Option<u8>> = b"abcdef".iter().copied().map(Some).chain([None, None]).collect();
        assert_eq!(check(&pieces), expected);
    }

    #[test]
    fn a_hole_is_given_up_at_the_limit() {
        let mut stream = Stream::new(0);
        let block = vec![7u8; 1 << 20];
        let mut gaps = Vec::new();
        let mut release = |offset: u64, piece: Piece<'_>, _: Timestamp| {
            if let Piece::Gap(length, cause) = piece {
                gaps.push((offset, length, cause));
            }
        };
        for index in 0..(HOLD_LIMIT >> 20) as u64 + 1 {
            stream.insert(10 + (index << 20), Piece::Bytes(&block), TIME, &mut release);
        }
        assert_eq!(gaps, [(0, 10, Cause::BufferLimit)]);
        assert!(stream.held.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_a_table_of_all_offsets(
            parts in prop::collection::vec((0u64..60, 1u64..20, any::<bool>()), 1..30)
        ) {
            let bytes: Vec<Vec<u8>> = (0..parts.len()).map(|part| vec![part as u8; 20]).collect();
            let pieces: Vec<(u64, Piece<'_>)> = parts.iter().zip(&bytes).map(|(&(offset, length, gap), bytes)| {
                let piece = if gap { Piece::Gap(length, Cause::Snaplen) } else { Piece::Bytes(&bytes[..length as usize]) };
                (offset, piece)
            }).collect();
            prop_assert_eq!(check(&pieces), model(&pieces));
        }
    }
}
