//! Retransmissions that bring other bytes than what came first: found, and kept to be reported.
//!
//! Which of the two the receiver took, no capture tells; the first to arrive stand. Somebody injected packets, a
//! middlebox rewrote them, or a program in between resends with other bytes.

use super::half::Half;
use super::link::Segment;
use super::recent::Recent;
use crate::event::{Range, Timestamp};
use std::net::SocketAddr;

/// Overlaps that are kept with their range; of further ones the number.
const MAX_KEPT: usize = 16;

/// Bytes that came twice and differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    pub time: Timestamp,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// From the first to the last offset that differs.
    pub range: Range,
    /// TCP sequence number of the first of them.
    pub seq: u32,
}

/// All of a capture.
#[derive(Default)]
pub struct Overlaps {
    recent: Recent,
    /// The first ones.
    pub kept: Vec<Overlap>,
    /// How many there are.
    pub count: u64,
    /// Retransmitted bytes whose first copy was too long ago.
    pub uncompared: u64,
}

impl Overlaps {
    /// Compares a segment that has bytes from before the top with what came first.
    pub fn compare(
        &mut self,
        time: Timestamp,
        segment: &Segment<'_>,
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
            self.kept.push(Overlap { time, source, destination, range, seq });
        }
    }

    /// Keeps a segment that brings something new.
    pub fn keep(&mut self, half: &mut Half, from: u64, payload: &[u8]) {
        half.latest = self.recent.keep(half.latest, from, payload);
    }
}
