//! The payload of the latest segments of a capture, to compare retransmissions with what came first.
//!
//! Of a file only the places are noted, and the bytes read again when they are needed: copying each payload made
//! reading a capture a tenth slower. What comes through a pipe or is compressed is kept in one ring. Memory is constant
//! in either case; what is no longer known can't be compared, and is counted by who asks.

use crate::event::Range;
use crate::source::input::Again;

/// Bytes of payload kept.
const RING: usize = 2 << 20;

/// Segments kept; a power of two, for their numbers wrap in it.
const SEGMENTS: usize = 1 << 14;

/// Segments of a direction that are looked through for one retransmission.
const MAX_STEPS: usize = 1 << 10;

/// Segments that one retransmission is compared with.
const MAX_PIECES: usize = 64;

/// A segment that is known. `Link::default()` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link(u64);

#[derive(Clone, Copy, Default)]
struct Known {
    /// The segment before it in the same direction.
    before: Link,
    /// Where its payload belongs in its stream.
    from: u64,
    /// Where its payload is: a position in the store.
    at: u64,
    length: usize,
}

/// The latest segments.
#[derive(Default)]
pub struct Recent {
    store: Store,
    /// Empty until the first segment.
    known: Vec<Known>,
    /// Segments that were ever known; the first is number 1.
    count: u64,
    /// Bytes read again.
    scratch: Vec<u8>,
}

/// Where payload is found.
enum Store {
    Ring(Ring),
    /// The input itself, and the packet at hand: its address, length and position.
    Input(Again, (usize, usize, u64)),
}

impl Default for Store {
    fn default() -> Store {
        Store::Ring(Ring::default())
    }
}

/// The latest bytes.
#[derive(Default)]
struct Ring {
    /// Empty until the first segment.
    bytes: Vec<u8>,
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
    /// Segments of an input that can be read again.
    pub fn from_input(again: Again) -> Recent {
        Recent { store: Store::Input(again, (0, 0, 0)), ..Recent::default() }
    }

    /// The packet at hand, and where it begins in the input.
    pub fn begin(&mut self, packet: &[u8], position: u64) {
        if let Store::Input(_, here) = &mut self.store {
            *here = (packet.as_ptr() as usize, packet.len(), position);
        }
    }

    /// Keeps a segment of the direction whose latest one is `before`.
    pub fn keep(&mut self, before: Link, from: u64, payload: &[u8]) -> Link {
        let length = payload.len();
        let Some(at) = self.store.keep(payload) else { return before };
        if self.known.is_empty() {
            self.known = vec![Known::default(); SEGMENTS];
        }
        self.count += 1;
        self.known[self.count as usize % SEGMENTS] = Known { before, from, at, length };
        Link(self.count)
    }

    /// Compares a segment with those before it in its direction.
    pub fn compare(&mut self, latest: Link, from: u64, payload: &[u8]) -> Compared {
        let whole = Range::new(from, from + payload.len() as u64);
        let (mut compared, mut pieces) = (Compared::default(), 0);
        let mut link = latest;
        for _ in 0..MAX_STEPS {
            let Some(known) = self.get(link) else { break };
            let range = Range::new(known.from, known.from + known.length as u64);
            if let Some(both) = range.intersection(whole) {
                let (at, length) = (known.at + (both.from - known.from), both.len() as usize);
                let other = &payload[(both.from - from) as usize..][..length];
                if let Some(bytes) = self.store.bytes(at, length, &mut self.scratch) {
                    compared.note(both, bytes, other);
                }
                pieces += 1;
                if compared.bytes >= whole.len() || pieces == MAX_PIECES {
                    break;
                }
            }
            link = known.before;
        }
        compared
    }

    /// A segment that was not overwritten since.
    fn get(&self, link: Link) -> Option<Known> {
        if link.0 == 0 || self.count - link.0 >= SEGMENTS as u64 {
            return None;
        }
        let known = self.known[link.0 as usize % SEGMENTS];
        self.store.has(known.at).then_some(known)
    }
}

impl Store {
    /// Keeps payload and gives its position; absent where it can't.
    fn keep(&mut self, payload: &[u8]) -> Option<u64> {
        match self {
            Store::Ring(ring) => ring.keep(payload),
            Store::Input(_, (address, length, position)) => {
                // A packet that was put together from fragments lies elsewhere.
                let within = (payload.as_ptr() as usize).checked_sub(*address)?;
                let fits = !payload.is_empty() && within + payload.len() <= *length;
                fits.then_some(*position + within as u64)
            }
        }
    }

    /// True where the bytes from there on were not overwritten.
    fn has(&self, at: u64) -> bool {
        match self {
            Store::Ring(ring) => at + RING as u64 >= ring.written,
            Store::Input(..) => true,
        }
    }

    fn bytes<'a>(&'a self, at: u64, length: usize, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match self {
            Store::Ring(ring) => ring.bytes.get(at as usize % RING..)?.get(..length),
            Store::Input(again, _) => {
                scratch.resize(length, 0);
                again.read(at, scratch).then_some(scratch)
            }
        }
    }
}

impl Ring {
    fn keep(&mut self, payload: &[u8]) -> Option<u64> {
        let length = payload.len();
        if length == 0 || length > RING / 2 {
            return None;
        }
        if self.bytes.is_empty() {
            self.bytes = vec![0; RING];
        }
        let mut start = self.written as usize % RING;
        if start + length > RING {
            self.written += (RING - start) as u64;
            start = 0;
        }
        self.bytes[start..start + length].copy_from_slice(payload);
        let at = self.written;
        self.written += length as u64;
        Some(at)
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
        let mut check = |link, from, payload: &[u8], differs: Option<(u64, u64)>, bytes| {
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
        assert_eq!(recent.known.len(), SEGMENTS);
    }

    #[test]
    fn one_retransmission_is_compared_with_a_bounded_number_of_segments() {
        let (mut recent, mut latest) = (Recent::default(), Link::default());
        for at in 0..200 {
            latest = recent.keep(latest, at, b"x");
        }
        assert_eq!(recent.compare(latest, 0, &[b'x'; 200]).bytes, MAX_PIECES as u64);
    }

    #[test]
    fn a_segment_larger_than_half_the_ring_is_not_kept() {
        let mut recent = Recent::default();
        assert_eq!(recent.keep(Link(0), 0, &vec![0; RING / 2 + 1]), Link(0));
    }
}
