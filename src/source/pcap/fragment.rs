//! Puts IP packets together that came in fragments (RFC 791, section 3.2; RFC 8200, section 4.5).
//!
//! Fragments come in any order and more than once. Where two overlap, the one that begins earlier stands, and of two
//! that begin alike the first to arrive: so Linux did until it began to discard such packets, and so does Wireshark.
//! That their bytes differ is counted. Where a fragment was cut by a snap length, the packet's captured bytes end there, and its
//! length is the true one. What stays incomplete is counted: its TCP data is a gap of the stream like any other.

use super::ip::Header;
use crate::event::Timestamp;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Packets that may be incomplete at once. Beyond it the oldest is given up.
const MAX_PACKETS: usize = 1024;

/// Bytes that all of them may hold. Beyond it the oldest is given up.
const MAX_BYTES: usize = 16 << 20;

/// How long fragments wait for the others, in nanoseconds of capture time: Linux waits for 30 s (IPv4) or 60 s.
pub const LIFETIME: u64 = 60_000_000_000;

/// Complete packets remembered, to recognise copies of their fragments in captures that show each packet twice.
pub const MAX_COMPLETE: usize = 64;

/// Fragments of one packet. With the smallest MTU that IPv4 allows (68 bytes) it has 1366.
const MAX_PIECES: usize = 2048;

/// Bytes that a fragment counts for beyond its own.
const PIECE_COST: usize = 64;

/// The longest payload of an IP packet: IPv4 has 16 bits for its length.
const MAX_LENGTH: usize = 65_535;

/// Which fragments belong together. The protocol number is part of it in IPv4 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    protocol: Option<u8>,
}

impl Key {
    /// Of a fragment; absent where it is a whole packet.
    pub fn of(header: &Header<'_>) -> Option<Key> {
        let protocol = header.source.is_ipv4().then_some(header.protocol);
        let (source, destination, id) = (header.source, header.destination, header.fragment?.id);
        Some(Key { source, destination, id, protocol })
    }
}

/// What came with fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Fragments.
    pub fragments: u64,
    /// Packets put together.
    pub complete: u64,
    /// Packets given up, because fragments of them were missing for too long or too many others waited.
    pub incomplete: u64,
    /// Fragments that contradict another one of their packet.
    pub contradicting: u64,
}

/// IP packets of which fragments are missing.
#[derive(Default)]
pub struct Fragments {
    packets: FxHashMap<Key, Packet>,
    /// All of them and some that are complete by now, the oldest first.
    order: VecDeque<(Timestamp, Key)>,
    /// Bytes that they hold.
    held: usize,
    complete: VecDeque<(Key, Whole)>,
    /// The last one was a copy of one whose packet was complete already.
    pub was_copy: bool,
    /// What came so far.
    pub counts: Counts,
}

/// The payload of an IP packet that was put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// What the payload is.
    pub protocol: u8,
    /// The captured bytes of it, up to the first that was not captured.
    pub bytes: Vec<u8>,
    /// Its length on the wire.
    pub length: usize,
}

impl Fragments {
    /// Takes a fragment; gives the payload of the packet that is complete with it.
    pub fn add(&mut self, time: Timestamp, header: &Header<'_>) -> Option<Whole> {
        let (place, part) = (header.fragment?, header.payload);
        self.was_copy = false;
        self.counts.fragments += 1;
        let (from, to) = (place.offset, place.offset + part.length);
        if to > MAX_LENGTH || (part.length == 0 && place.more) {
            self.counts.contradicting += 1;
            return None;
        }
        let key = Key::of(header)?;
        if self.complete.iter().any(|(other, whole)| *other == key && whole.holds(from, part.bytes)) {
            self.was_copy = true;
            return None;
        }
        self.expire(time);
        let packet = self.packets.entry(key).or_insert_with(|| {
            self.order.push_back((time, key));
            Packet { first: time, ..Packet::default() }
        });
        if from == 0 {
            packet.protocol = header.protocol;
        }
        let before = packet.cost;
        let agrees = packet.add(from, to, part.bytes, !place.more);
        self.held += packet.cost - before;
        self.counts.contradicting += u64::from(!agrees);
        if !packet.is_complete() {
            self.make_room();
            return None;
        }
        let (whole, agrees) = self.remove(&key)?.into_whole();
        self.counts.complete += 1;
        self.counts.contradicting += u64::from(!agrees);
        if self.complete.len() == MAX_COMPLETE {
            self.complete.pop_front();
        }
        self.complete.push_back((key, whole.clone()));
        Some(whole)
    }

    /// Packets given up, and those that are still incomplete.
    pub fn incomplete(&self) -> u64 {
        self.counts.incomplete + self.packets.len() as u64
    }

    fn remove(&mut self, key: &Key) -> Option<Packet> {
        let packet = self.packets.remove(key)?;
        self.held -= packet.cost;
        Some(packet)
    }

    /// Gives up what has waited too long.
    fn expire(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|&(first, _)| now.since(first) > LIFETIME) {
            self.give_up_oldest();
        }
    }

    fn make_room(&mut self) {
        // Entries of complete packets are dropped here, too, so that the queue stays as short as the table.
        while self.packets.len() > MAX_PACKETS || self.held > MAX_BYTES || self.order.len() > 2 * MAX_PACKETS
        {
            if !self.give_up_oldest() {
                break;
            }
        }
    }

    /// False where there is none.
    fn give_up_oldest(&mut self) -> bool {
        let Some((first, key)) = self.order.pop_front() else { return false };
        if self.packets.get(&key).is_some_and(|packet| packet.first == first) {
            self.remove(&key);
            self.counts.incomplete += 1;
        }
        true
    }
}

impl Whole {
    /// True where these bytes are part of it.
    fn holds(&self, from: usize, bytes: &[u8]) -> bool {
        let known = self.bytes.get(from..).unwrap_or_default();
        let both = known.len().min(bytes.len());
        from + bytes.len() <= self.length && known[..both] == bytes[..both]
    }
}

/// A packet of which fragments are missing.
#[derive(Default)]
struct Packet {
    first: Timestamp,
    protocol: u8,
    /// Length of the payload, once the last fragment came.
    length: Option<usize>,
    /// By where they begin, then by arrival.
    pieces: Vec<Piece>,
    /// The largest end of them.
    end: usize,
    /// Bytes on the wire of all pieces.
    came: usize,
    /// Bytes of memory.
    cost: usize,
}

struct Piece {
    from: usize,
    to: usize,
    /// The captured bytes.
    bytes: Vec<u8>,
}

impl Packet {
    /// Takes the fragment `[from, to)`. False where it can't belong to the packet.
    fn add(&mut self, from: usize, to: usize, bytes: &[u8], last: bool) -> bool {
        let fits = self.length.is_none_or(|length| if last { to == length } else { to <= length });
        if !fits || (last && self.end > to) || self.pieces.len() == MAX_PIECES {
            return false;
        }
        if last {
            self.length = Some(to);
        }
        let at = self.pieces.partition_point(|piece| piece.from <= from);
        let same = |piece: &&Piece| piece.from == from && piece.to == to && piece.bytes == bytes;
        if from < to
            && !self.pieces[..at].iter().rev().take_while(|piece| piece.from == from).any(|p| same(&p))
        {
            self.pieces.insert(at, Piece { from, to, bytes: bytes.to_vec() });
            self.end = self.end.max(to);
            self.came += to - from;
            self.cost += bytes.len() + PIECE_COST;
        }
        true
    }

    fn is_complete(&self) -> bool {
        let Some(length) = self.length.filter(|&length| self.came >= length) else { return false };
        let reach = |at: usize, piece: &Piece| if piece.from <= at { at.max(piece.to) } else { at };
        self.pieces.iter().fold(0, reach) == length
    }

    /// Its payload, once it is complete, and whether its pieces agree.
    fn into_whole(self) -> (Whole, bool) {
        let length = self.length.unwrap_or(self.end);
        let mut bytes: Vec<u8> = Vec::with_capacity(length);
        // Where the bytes at hand end: all captured ones, until a snap length left out some.
        let (mut at, mut whole, mut agrees) = (0, true, true);
        for piece in &self.pieces {
            let known = bytes.get(piece.from..).unwrap_or_default();
            let both = known.len().min(piece.bytes.len());
            agrees &= known[..both] == piece.bytes[..both];
            if whole && piece.to > at {
                bytes.extend_from_slice(piece.bytes.get(at - piece.from..).unwrap_or_default());
                whole = bytes.len() == piece.to;
                at = piece.to;
            }
        }
        (Whole { protocol: self.protocol, bytes, length }, agrees)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ip::Fragment;
    use super::super::link::Part;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn payload(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    /// One fragment of packet `id`, of which `captured` bytes are at hand.
    fn add(
        fragments: &mut Fragments,
        time: u64,
        id: u32,
        at: usize,
        piece: &[u8],
        more: bool,
        captured: usize,
    ) -> Option<Whole> {
        let header = Header {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol: 6,
            id,
            payload: Part { bytes: &piece[..captured.min(piece.len())], length: piece.len() },
            fragment: Some(Fragment { id, offset: at, more }),
        };
        fragments.add(Timestamp(time), &header)
    }

    fn whole(bytes: &[u8]) -> Option<Whole> {
        Some(Whole { protocol: 6, bytes: bytes.to_vec(), length: bytes.len() })
    }

    #[test]
    fn fragments_come_in_any_order_and_twice() {
        let data = payload(4000);
        let pieces = [(0, 1480), (1480, 2960), (2960, 4000)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1], [1, 2, 0]] {
            let mut fragments = Fragments::default();
            let mut seen = Vec::new();
            // Each twice in a row, as a bridge shows them, and all again.
            for piece in [order[0], order[0], order[1], order[1], order[2], order[2], 0, 1, 2] {
                let (from, to) = pieces[piece];
                seen.extend(add(&mut fragments, 0, 7, from, &data[from..to], to < 4000, 9999));
            }
            assert_eq!(seen, Vec::from_iter(whole(&data)), "{order:?}");
            assert_eq!((fragments.incomplete(), fragments.counts.contradicting), (0, 0));
        }
    }

    #[test]
    fn of_bytes_that_come_twice_those_of_the_earlier_fragment_stand() {
        let data = payload(2000);
        let mut fragments = Fragments::default();
        let f = &mut fragments;
        assert_eq!(add(f, 0, 7, 800, &data[800..1600], true, 9999), None);
        assert_eq!(add(f, 0, 7, 400, &[9; 1000], true, 9999), None);
        assert_eq!(add(f, 0, 7, 400, &[8; 1000], true, 9999), None);
        assert_eq!(add(f, 0, 7, 1200, &data[1200..], false, 9999), None);
        let mut expected = data.clone();
        expected[800..1400].fill(9);
        assert_eq!(add(f, 0, 7, 0, &data[..800], true, 9999), whole(&expected));
        assert_eq!(fragments.counts.contradicting, 1);
    }

    #[test]
    fn the_pieces_of_one_packet_are_bounded() {
        let mut fragments = Fragments::default();
        for number in 0..MAX_PIECES + 10 {
            add(&mut fragments, 0, 7, 8, &number.to_le_bytes(), true, 9999);
        }
        assert_eq!(fragments.counts.contradicting, 10);
        assert_eq!(fragments.held, MAX_PIECES * (8 + PIECE_COST));
    }

    #[test]
    fn a_snap_length_cuts_the_bytes_and_not_the_length() {
        let data = payload(3000);
        let mut fragments = Fragments::default();
        assert_eq!(add(&mut fragments, 0, 7, 1480, &data[1480..], false, 9999), None);
        let seen = add(&mut fragments, 0, 7, 0, &data[..1480], true, 96);
        assert_eq!(seen, Some(Whole { protocol: 6, bytes: data[..96].to_vec(), length: 3000 }));
    }

    #[test]
    fn contradicting_ends_and_impossible_lengths_are_left_out() {
        let data = payload(3000);
        let mut fragments = Fragments::default();
        let f = &mut fragments;
        assert_eq!(add(f, 0, 7, 1480, &data[1480..], false, 9999), None);
        assert_eq!(add(f, 0, 7, 1480, &data[1480..2960], false, 9999), None, "another end");
        assert_eq!(add(f, 0, 7, 2960, &data[..800], true, 9999), None, "beyond the end");
        assert_eq!(add(f, 0, 7, 65_528, &data[..8], true, 9999), None, "beyond 64 KiB");
        assert_eq!(add(f, 0, 7, 8, &[], true, 9999), None, "empty");
        assert_eq!(add(f, 0, 7, 0, &data[..1480], true, 9999), whole(&data));
        assert_eq!(fragments.counts.contradicting, 4);
    }

    #[test]
    fn a_number_used_again_is_another_packet() {
        let (one, other) = (payload(2000), vec![1; 2000]);
        let mut fragments = Fragments::default();
        for data in [&one, &other, &one] {
            assert_eq!(add(&mut fragments, 0, 7, 0, &data[..1480], true, 9999), None);
            // The third is taken for a late copy of the first.
            let expected = if fragments.counts.complete < 2 { whole(data) } else { None };
            assert_eq!(add(&mut fragments, 0, 7, 1480, &data[1480..], false, 9999), expected);
        }
    }

    #[test]
    fn what_stays_incomplete_is_given_up_in_time_and_within_bounds() {
        let data = payload(1480);
        let mut fragments = Fragments::default();
        add(&mut fragments, 0, 1, 0, &data, true, 9999);
        add(&mut fragments, 61 * SECOND, 2, 0, &data, true, 9999);
        assert_eq!((fragments.packets.len(), fragments.counts.incomplete), (1, 1));
        for id in 0..3 * MAX_PACKETS as u32 {
            add(&mut fragments, 62 * SECOND, 10 + id, 0, &data, true, 9999);
        }
        assert_eq!(fragments.packets.len(), MAX_PACKETS);
        assert_eq!(fragments.incomplete(), 2 + 3 * MAX_PACKETS as u64);
        let long = vec![0; 65_000];
        for id in 0..2 * (MAX_BYTES / 65_000) as u32 {
            add(&mut fragments, 62 * SECOND, 100_000 + id, 0, &long, true, 99_999);
        }
        assert!(fragments.held <= MAX_BYTES && fragments.held > MAX_BYTES - 66_000);
        assert!(fragments.order.len() <= 2 * MAX_PACKETS);
        let held: usize = fragments.packets.values().map(|packet| packet.cost).sum();
        assert_eq!(fragments.held, held);
    }

    proptest::proptest! {
        /// Against a table of bytes: whatever pieces come, what is complete is what the earliest of them say.
        #[test]
        fn a_packet_is_what_a_table_of_its_bytes_holds(
            pieces in proptest::collection::vec((0..20usize, 1..10usize, proptest::num::u8::ANY), 1..40),
        ) {
            let (mut fragments, mut table) = (Fragments::default(), vec![None::<(usize, u8)>; 160]);
            for (from, length, byte) in pieces {
                let (from, piece) = (from * 8, vec![byte; length * 8]);
                let to = from + piece.len();
                if to > 160 {
                    continue;
                }
                let seen = add(&mut fragments, 0, 7, from, &piece, to < 160, 9999);
                for slot in &mut table[from..to] {
                    if slot.is_none_or(|(begins, _)| from < begins) {
                        *slot = Some((from, byte));
                    }
                }
                let known: Vec<u8> = table.iter().flatten().map(|&(_, byte)| byte).collect();
                let done = known.len() == table.len();
                proptest::prop_assert_eq!(seen, if done { whole(&known) } else { None });
                if done {
                    break;
                }
            }
        }
    }
}
