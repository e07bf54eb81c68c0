//! The payload of the latest segments of a capture, to compare retransmissions with what came first.
//!
//! One ring for all flows, so memory is constant; what was overwritten can't be compared, and is counted by who asks.

use crate::event::Range;

/// Bytes of payload kept.
const RING: usize = 4 << 20;

/// Segments kept; a power of two, for their numbers wrap in it.
const SEGMENTS: usize = 1 << 13;

/// Segments of a direction that are looked through for one retransmission.
const MAX_STEPS: usize = 1 << 10;

/// A segment that is kept. `Link::default()` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link(u64);

#[derive(Clone, Copy, Default)]
struct Kept {
    /// The segment before it in the same direction.
    before: Link,
    /// Where its payload belongs in its stream.
    from: u64,
    /// Where its payload is: a position in all bytes that were ever kept.
    at: u64,
    length: usize,
}

/// The latest segments.
#[derive(Default)]
pub struct Recent {
    /// Empty until the first segment.
    bytes: Vec<u8>,
    kept: Vec<Kept>,
    /// Segments that were ever kept; the first is number 1.
    count: u64,
    /// Bytes that were ever kept, those left free at the end of the ring included.
    written: u64,
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// From the first to the last byte that differs; absent where none does.
    pub differs: Option<Range>,
    /// Bytes that could be compared.
    pub bytes: u64,
}

impl Recent {
    /// Keeps a segment of the direction whose latest one is `before`.
    pub fn keep(&mut self, before: Link, from: u64, payload: &[u8]) -> Link {
        let length = payload.len();
        if length == 0 || length > RING / 2 {
            return before;
        }
        if self.bytes.is_empty() {
            // Pages that are not written yet cost nothing.
            self.bytes = vec![0; RING];
            self.kept = vec![Kept::default(); SEGMENTS];
        }
        let mut start = self.written as usize % RING;
        if start + length > RING {
            self.written += (RING - start) as u64;
            start = 0;
        }
        self.bytes[start..start + length].copy_from_slice(payload);
        self.count += 1;
        self.kept[self.count as usize % SEGMENTS] = Kept { before, from, at: self.written, length };
        self.written += length as u64;
        Link(self.count)
    }

    /// Compares a segment with those before it in its direction.
    pub fn compare(&self, latest: Link, from: u64, payload: &[u8]) -> Compared {
        let whole = Range::new(from, from + payload.len() as u64);
        let mut compared = Compared::default();
        let mut link = latest;
        for _ in 0..MAX_STEPS {
            let Some(kept) = self.get(link) else { break };
            let range = Range::new(kept.from, kept.from + kept.length as u64);
            if let Some(both) = range.intersection(whole) {
                let start = kept.at as usize % RING + (both.from - kept.from) as usize;
                let length = both.len() as usize;
                let known = &self.bytes[start..start + length];
                let other = &payload[(both.from - from) as usize..][..length];
                compared.note(both, known, other);
                if compared.bytes >= whole.len() {
                    break;
                }
            }
            link = kept.before;
        }
        compared
    }

    /// A segment that was not overwritten since.
    fn get(&self, link: Link) -> Option<Kept> {
        if link.0 == 0 || self.count - link.0 >= SEGMENTS as u64 {
            return None;
        }
        let kept = self.kept[link.0 as usize % SEGMENTS];
        (kept.at + RING as u64 >= self.written).then_some(kept)
    }
}

impl Compared {
    fn note(&mut self, range: Range, known: &[u8], other: &[u8]) {
        self.bytes += range.len();
        if known == other {
            return;
        }
        let pairs = || known.iter().zip(other);
        let first = pairs().position(|(one, other)| one != other).unwrap_or(0) as u64;
        let last = pairs().rposition(|(one, other)| one != other).unwrap_or(0) as u64;
        let here = Range::new(range.from + first, range.from + last + 1);
        let before = self.differs.unwrap_or(here);
        self.differs = Some(Range::new(before.from.min(here.from), before.to.max(here.to)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retransmission_is_compared_whatever_its_segments() {
        let mut recent = Recent::default();
        let first = recent.keep(Link::default(), 0, b"hello ");
        let other = recent.keep(Link::default(), 0, b"another direction");
        let second = recent.keep(first, 6, b"world");
        let check = |link, from, payload: &[u8], differs: Option<(u64, u64)>, bytes| {
            let differs = differs.map(|(from, to)| Range::new(from, to));
            assert_eq!(recent.compare(link, from, payload), Compared { differs, bytes });
        };
        check(second, 0, b"hello world", None, 11);
        check(second, 4, b"o w", None, 3);
        check(second, 3, b"lO WOrld and more", Some((4, 8)), 8);
        check(first, 6, b"world", None, 0);
        check(other, 0, b"hello", Some((0, 5)), 5);
        check(Link::default(), 0, b"hello", None, 0);
    }

    #[test]
    fn what_was_overwritten_is_not_compared() {
        let mut recent = Recent::default();
        let first = recent.keep(Link::default(), 0, b"x");
        let block = vec![1; RING / 4 - 10];
        let mut latest = Link::default();
        for number in 0..3 {
            latest = recent.keep(latest, number * block.len() as u64, &block);
        }
        assert_eq!(recent.compare(first, 0, b"y").bytes, 1);
        assert_eq!(recent.compare(latest, 0, &block).bytes, block.len() as u64);
        for number in 3..6 {
            latest = recent.keep(latest, number * block.len() as u64, &block);
        }
        assert_eq!(recent.compare(first, 0, b"y").bytes, 0);
        assert_eq!(recent.compare(latest, 0, &block).bytes, 0);
        assert_eq!(recent.compare(latest, 3 * block.len() as u64, &block).differs, None);
        // Many small ones.
        for _ in 0..SEGMENTS {
            recent.keep(Link::default(), 0, b"z");
        }
        assert_eq!(recent.compare(latest, 5 * block.len() as u64, &block).bytes, 0);
        assert_eq!((recent.bytes.len(), recent.kept.len()), (RING, SEGMENTS));
    }

    #[test]
    fn a_segment_larger_than_half_the_ring_is_not_kept() {
        let mut recent = Recent::default();
        assert_eq!(recent.keep(Link(0), 0, &vec![0; RING / 2 + 1]), Link(0));
    }
}
