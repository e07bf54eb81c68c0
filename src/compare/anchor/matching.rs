//! Lays the calls of a log out along a flow: which bytes of the flow each of them moved. What lies between two calls
//! that follow each other in the log is what the log lacks.
//!
//! Reads the flow once, in order; keeps the calls, and of the flow no more than is compared next.

use super::content::{Lane, pieces};
use crate::conn::stream::{Piece, Stream};
use crate::event::{Cause, Direction, Event, Kind, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};

/// Bytes of each call that are kept and compared.
const SHOWN: usize = 32;

/// Bytes that a place is searched by, where there are so many.
const NEEDLE: usize = 16;

/// Calls that are kept of all lanes. What is beyond stays where the call before it was found.
const MOST_CALLS: usize = 1 << 20;

#[derive(Clone, Debug)]
struct Call {
    offset: u64,
    length: u64,
    shown: Vec<u8>,
}

/// The calls of some lanes of a log.
#[derive(Debug, Default)]
pub struct Calls {
    lanes: FxHashMap<Lane, Vec<Call>>,
    wanted: FxHashSet<Lane>,
    count: usize,
}

impl Calls {
    /// Keeps the calls of these lanes.
    pub fn new(lanes: Vec<Lane>) -> Calls {
        Calls { wanted: lanes.into_iter().collect(), ..Calls::default() }
    }

    /// Takes an event of the log.
    pub fn event(&mut self, event: &Event<'_>) {
        let Kind::Data(data) = &event.kind else { return };
        let lane = (event.conn, data.direction);
        if data.peek || data.length == 0 || !self.wanted.contains(&lane) || self.count >= MOST_CALLS {
            return;
        }
        self.count += 1;
        let shown = data.payload[..data.payload.len().min(SHOWN)].to_vec();
        self.lanes.entry(lane).or_default().push(Call { offset: data.offset, length: data.length, shown });
    }

    pub(super) fn into_lanes(self) -> impl Iterator<Item = (Lane, CallList)> {
        self.lanes.into_iter().map(|(lane, calls)| (lane, CallList(calls)))
    }
}

/// Calls of one lane.
#[derive(Debug)]
pub(super) struct CallList(Vec<Call>);

/// Follows flows, and lays calls out along them.
#[derive(Default)]
pub struct Matcher {
    lanes: Vec<(Lane, Follower)>,
    by_flow: FxHashMap<Lane, Vec<usize>>,
    streams: FxHashMap<Lane, Stream>,
}

impl Matcher {
    /// Calls of `lane` are to be found in `flow`, the first of them `first` bytes further than in the log.
    pub(super) fn add(&mut self, lane: Lane, flow: Lane, calls: CallList, first: i64) {
        self.by_flow.entry(flow).or_default().push(self.lanes.len());
        self.lanes.push((lane, Follower::new(calls.0, first)));
    }

    /// Takes an event of the other vantage.
    pub fn event(&mut self, event: &Event<'_>) {
        if let Kind::Open(open) = &event.kind {
            for direction in Direction::BOTH {
                let start = open.start[direction.index()].offset;
                self.stream((event.conn, direction), start);
            }
        }
        pieces(event, |lane, offset, piece| self.insert(lane, offset, piece));
    }

    fn stream(&mut self, lane: Lane, start: u64) -> Option<&mut Stream> {
        if !self.by_flow.contains_key(&lane) {
            return None;
        }
        Some(self.streams.entry(lane).or_insert_with(|| Stream::new(start)))
    }

    fn insert(&mut self, lane: Lane, offset: u64, piece: Piece<'_>) {
        let Some(mut stream) = self.stream(lane, offset).map(std::mem::take) else { return };
        let (lanes, wanted) = (&mut self.lanes, &self.by_flow[&lane]);
        stream.insert(offset, piece, Timestamp(0), &mut |at, piece, _| {
            wanted.iter().for_each(|&index| lanes[index].1.piece(at, piece));
        });
        self.streams.insert(lane, stream);
    }

    /// Per lane: from which offsets on how much is to be added to get the flow's.
    pub(super) fn places(mut self) -> impl Iterator<Item = (Lane, Vec<(u64, i64)>)> {
        for (&flow, stream) in &mut self.streams {
            let (lanes, wanted) = (&mut self.lanes, &self.by_flow[&flow]);
            stream.flush(Cause::WireNotCaptured, Timestamp(0), &mut |at, piece, _| {
                wanted.iter().for_each(|&index| lanes[index].1.piece(at, piece));
            });
        }
        self.lanes.into_iter().map(|(lane, follower)| (lane, follower.places))
    }
}

/// Follows one direction of a flow.
#[derive(Debug)]
struct Follower {
    calls: Vec<Call>,
    /// The next call.
    index: usize,
    /// Where it is expected; where it is looked for.
    at: u64,
    searching: bool,
    /// Bytes of the flow, the first of them at `from`.
    bytes: Vec<u8>,
    from: u64,
    places: Vec<(u64, i64)>,
}

impl Follower {
    fn new(calls: Vec<Call>, first: i64) -> Follower {
        // The log may begin before the flow: calls that do are where the first is.
        let index = calls.partition_point(|call| (call.offset as i64).saturating_add(first) < 0);
        let at = calls.get(index).map_or(0, |call| call.offset.saturating_add_signed(first));
        Follower { calls, index, at, searching: false, bytes: Vec::new(), from: 0, places: vec![(0, first)] }
    }

    fn piece(&mut self, offset: u64, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => {
                if self.from + self.bytes.len() as u64 != offset {
                    self.bytes.clear();
                    self.from = offset;
                }
                self.bytes.extend_from_slice(bytes);
                self.advance();
                self.forget();
            }
            Piece::Gap(length, _) => self.gap(offset, offset.saturating_add(length)),
        }
    }

    /// Drops bytes that are not compared any more.
    fn forget(&mut self) {
        let unneeded = self.at.saturating_sub(self.from).min(self.bytes.len() as u64) as usize;
        self.bytes.drain(..unneeded);
        self.from += unneeded as u64;
    }

    /// What the flow lacks can't be compared: calls that follow are taken to be there.
    fn gap(&mut self, from: u64, to: u64) {
        if self.searching {
            self.at = self.at.max(to);
        }
        while !self.searching && self.at < to && self.index < self.calls.len() {
            let overlap = from.saturating_sub(self.at) as usize;
            let shown = &self.calls[self.index].shown;
            let seen = self.seen().get(..overlap.min(shown.len())).unwrap_or_default();
            if *seen != shown[..seen.len()] {
                self.searching = true;
                self.at = to;
                break;
            }
            self.accept();
        }
        self.bytes.clear();
        self.from = to;
    }

    /// The flow's bytes from where the next call is expected.
    fn seen(&self) -> &[u8] {
        let skipped = usize::try_from(self.at.saturating_sub(self.from)).unwrap_or(usize::MAX);
        if self.at < self.from { &[] } else { self.bytes.get(skipped..).unwrap_or_default() }
    }

    /// Goes on with the calls as far as there are bytes.
    fn advance(&mut self) {
        while let Some(call) = self.calls.get(self.index) {
            if self.at < self.from {
                // Its bytes came before what there is to compare with.
                self.accept();
                continue;
            }
            if self.searching {
                match self.search() {
                    true => continue,
                    false => return,
                }
            }
            let (seen, shown) = (self.seen(), &call.shown[..]);
            let compared = seen.len().min(shown.len());
            if seen[..compared] != shown[..compared] {
                self.searching = true;
            } else if seen.len() < shown.len() {
                return; // more has to come
            } else {
                self.accept();
            }
        }
    }

    /// The next call is where it is expected.
    fn accept(&mut self) {
        let call = &self.calls[self.index];
        let distance = (self.at as i64).wrapping_sub(call.offset as i64);
        if self.places.last().is_some_and(|place| place.1 != distance) {
            self.places.push((call.offset, distance));
        }
        self.at = self.at.saturating_add(call.length);
        self.index += 1;
    }

    /// Looks for the next call from where it was expected on. True where it was found.
    fn search(&mut self) -> bool {
        let (ahead, needle) = self.needle();
        if needle.is_empty() {
            self.index = self.calls.len(); // nothing to recognise it by, up to the end
            return true;
        }
        let seen = self.seen();
        match memchr::memmem::find_iter(seen, &needle).find(|&at| at as u64 >= ahead) {
            Some(at) => {
                self.at += at as u64 - ahead;
                self.searching = false;
                // It is there, whatever its own bytes show: calls without payload stand before those with.
                self.accept();
                true
            }
            None => {
                let kept = needle.len() as u64 - 1 + ahead;
                self.at += (seen.len() as u64).saturating_sub(kept);
                false
            }
        }
    }

    /// Bytes by which the next call is recognised, of it and those behind it, and how far behind its first byte they
    /// begin.
    fn needle(&self) -> (u64, Vec<u8>) {
        let (mut ahead, mut needle) = (0, Vec::new());
        for call in &self.calls[self.index..] {
            if needle.is_empty() {
                ahead = call.offset - self.calls[self.index].offset;
            }
            needle.extend_from_slice(&call.shown);
            let whole = call.shown.len() as u64 == call.length;
            if needle.len() >= NEEDLE || !needle.is_empty() && !whole {
                break;
            }
        }
        needle.truncate(NEEDLE);
        (ahead, needle)
    }
}
