//! Retransmissions that bring other bytes than what came first: found, and kept to be reported.
//!
//! Which of the two the receiver took, no capture tells; the first to arrive stand. Somebody injected packets, a
//! middlebox rewrote them, or a program in between resends with other bytes.

use super::half::Half;
use super::link::Segment;
use super::recent::Recent;
use crate::event::{Conflict, ConnId, Direction, Range};
use crate::source::input::Again;
use std::net::SocketAddr;

/// Overlaps that are kept with their range; of further ones the number.
const MAX_KEPT: usize = 4096;

/// Overlaps that have a line of their own; of further ones the number.
const MAX_LINES: usize = 16;

/// Bytes that came twice and differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Overlap {
    source: SocketAddr,
    destination: SocketAddr,
    conflict: Conflict,
    /// TCP sequence number of the first of them.
    seq: u32,
}

impl Overlap {
    fn line(&self) -> String {
        format!(
            "{} -> {} sent the bytes {} (TCP sequence number {}) again with other content; the first to arrive stand",
            self.source, self.destination, self.conflict.range, self.seq
        )
    }
}

/// All of a capture.
#[derive(Default)]
pub struct Overlaps {
    recent: Recent,
    /// The first ones.
    kept: Vec<Overlap>,
    /// How many there are.
    count: u64,
    /// Retransmitted bytes whose first copy was too long ago.
    uncompared: u64,
}

impl Overlaps {
    /// Segments need not be kept: they can be read again.
    pub fn read_from(&mut self, again: Again) {
        self.recent = Recent::from_input(again);
    }

    /// The packet at hand, and where it begins in the input.
    pub fn begin(&mut self, packet: &[u8], position: u64) {
        self.recent.begin(packet, position);
    }

    /// Compares a segment that has bytes from before the top with what came first.
    pub fn compare(
        &mut self,
        segment: &Segment<'_>,
        (conn, direction): (ConnId, Direction),
        half: &Half,
        from: u64,
        payload: &[u8],
    ) {
        let range = Range::new(from, from + payload.len() as u64);
        let compared = self.recent.compare(half.latest, from, payload);
        self.uncompared += half.seen(range).saturating_sub(compared.bytes);
        let Some(range) = compared.differs else { return };
        self.count += 1;
        if let (true, Some(seq)) = (self.kept.len() < MAX_KEPT, half.seq(range.from)) {
            let (source, destination) = (segment.source, segment.destination);
            let conflict = Conflict { conn, direction, range };
            self.kept.push(Overlap { source, destination, conflict, seq });
        }
    }

    /// The first of them.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.kept.iter().map(|overlap| overlap.conflict).collect()
    }

    /// What the user should know of them, a line each.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let further = self.count - self.kept.len().min(MAX_LINES) as u64;
        let counts = [
            (further, "further retransmissions with other content"),
            (
                self.uncompared,
                "retransmitted bytes not compared with their first copy, which was too long before",
            ),
        ];
        let counts = counts.into_iter().filter(|&(count, _)| count > 0);
        self.kept
            .iter()
            .take(MAX_LINES)
            .map(Overlap::line)
            .chain(counts.map(|(count, what)| format!("{count} {what}")))
    }

    /// Keeps a segment that brings something new.
    pub fn keep(&mut self, half: &mut Half, from: u64, payload: &[u8]) {
        half.latest = self.recent.keep(half.latest, from, payload);
    }
}
