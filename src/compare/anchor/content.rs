//! Where bytes of a log's connections are in the flows of another vantage: needles of 16 bytes, found by a window
//! that slides over every flow. Memory grows with connections, not with bytes.

use crate::conn::stream::{Piece, Stream};
use crate::event::{Cause, ConnId, Direction, Event, Kind, Range, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// Bytes of a needle.
const LENGTH: usize = 16;

/// Needles that are kept of a direction; of more every second one is, again and again.
const KEPT: usize = 64;

/// From this many bytes on, a call gives a needle of its own, from its middle: the beginnings of messages are alike.
const LONG: usize = 3 * LENGTH;

/// Places of one needle that are kept; one that is everywhere tells nothing.
const PLACES: usize = 64;

/// A direction of a connection.
pub type Lane = (ConnId, Direction);

/// What of an event goes into the streams of its connection: each piece with its lane and offset.
pub fn pieces(event: &Event<'_>, mut each: impl FnMut(Lane, u64, Piece<'_>)) {
    match &event.kind {
        Kind::Data(data) if !data.peek && data.length > 0 => {
            let captured = data.payload.len() as u64;
            let lane = (event.conn, data.direction);
            each(lane, data.offset, Piece::Bytes(data.payload));
            if captured < data.length {
                let gap = Piece::Gap(data.length - captured, Cause::Snaplen);
                each(lane, data.offset + captured, gap);
            }
        }
        Kind::Loss(loss) => {
            each((event.conn, loss.direction), loss.range.from, Piece::Gap(loss.range.len(), loss.cause));
        }
        _ => {}
    }
}

/// Needles of a log, by lane.
#[derive(Debug, Default)]
pub struct Outline {
    lanes: FxHashMap<Lane, Needles>,
}

#[derive(Debug, Default)]
struct Needles {
    kept: Vec<(u64, u128)>,
    /// One needle in so many is kept.
    step: u64,
    seen: u64,
    /// Bytes that may become a needle, and the offset behind them.
    window: Vec<u8>,
    next: u64,
}

impl Outline {
    /// Takes an event of the log.
    pub fn event(&mut self, event: &Event<'_>) {
        let Kind::Data(data) = &event.kind else { return };
        if data.peek || data.length == 0 {
            return;
        }
        let needles = self.lanes.entry((event.conn, data.direction)).or_default();
        if data.offset != needles.next {
            needles.window.clear();
        }
        needles.bytes(data.offset, data.payload);
        needles.next = data.offset.saturating_add(data.length);
        if (data.payload.len() as u64) < data.length {
            needles.window.clear();
        }
    }
}

impl Needles {
    fn bytes(&mut self, offset: u64, payload: &[u8]) {
        if payload.len() >= LONG {
            let at = (payload.len() - LENGTH) / 2;
            self.keep(offset + at as u64, &payload[at..at + LENGTH]);
            self.window.clear();
            return;
        }
        self.window.extend_from_slice(payload);
        if self.window.len() >= LENGTH {
            let window = std::mem::take(&mut self.window);
            let start = (offset + payload.len() as u64).saturating_sub(window.len() as u64);
            self.keep(start, &window[..LENGTH]);
        }
    }

    fn keep(&mut self, offset: u64, bytes: &[u8]) {
        let wanted = self.seen.is_multiple_of(self.step.max(1));
        self.seen += 1;
        if !wanted {
            return;
        }
        self.kept.push((offset, bytes.iter().fold(0, |sum, &byte| sum << 8 | u128::from(byte))));
        if self.kept.len() > KEPT {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.step = self.step.max(1) * 2;
        }
    }
}

/// Looks for needles in the flows of another vantage.
pub struct Finder {
    wanted: FxHashMap<u128, Vec<(Lane, u64)>>,
    /// One bit for each value of a short hash: most windows are no needle.
    filter: Vec<u64>,
    windows: FxHashMap<Lane, Window>,
    /// Puts segments in order, and leaves out what comes again.
    streams: FxHashMap<Lane, Stream>,
    places: FxHashMap<u128, Vec<(Lane, u64)>>,
    sizes: FxHashMap<Lane, usize>,
    /// The flows to look at; absent: all.
    among: Option<FxHashSet<ConnId>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    bytes: u128,
    filled: usize,
    next: u64,
}

const FILTER_BITS: u32 = 20;

fn filter_slot(bytes: u128) -> usize {
    let folded = (bytes as u64) ^ ((bytes >> 64) as u64).rotate_left(31);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS)) as usize
}

impl Finder {
    /// Looks for the needles of a log.
    pub fn new(outline: Outline) -> Finder {
        let mut finder = Finder {
            wanted: FxHashMap::default(),
            filter: vec![0; 1 << (FILTER_BITS - 6)],
            windows: FxHashMap::default(),
            streams: FxHashMap::default(),
            places: FxHashMap::default(),
            sizes: FxHashMap::default(),
            among: None,
        };
        for (lane, needles) in outline.lanes {
            finder.sizes.insert(lane, needles.kept.len());
            for (offset, bytes) in needles.kept {
                let slot = filter_slot(bytes);
                finder.filter[slot / 64] |= 1 << (slot % 64);
                finder.wanted.entry(bytes).or_default().push((lane, offset));
            }
        }
        finder
    }

    /// Looks for the needles of some connections, in some flows.
    pub fn among(mut outline: Outline, connections: &FxHashSet<ConnId>, flows: FxHashSet<ConnId>) -> Finder {
        outline.lanes.retain(|lane, _| connections.contains(&lane.0));
        Finder { among: Some(flows), ..Finder::new(outline) }
    }

    /// Takes an event of the other vantage.
    pub fn event(&mut self, event: &Event<'_>) {
        if self.among.as_ref().is_some_and(|flows| !flows.contains(&event.conn)) {
            return;
        }
        if let Kind::Open(open) = &event.kind {
            for direction in Direction::BOTH {
                let start = open.start[direction.index()].offset;
                self.streams.entry((event.conn, direction)).or_insert_with(|| Stream::new(start));
            }
        }
        pieces(event, |lane, offset, piece| self.insert(lane, offset, piece));
    }

    fn insert(&mut self, lane: Lane, offset: u64, piece: Piece<'_>) {
        let mut stream = self.streams.remove(&lane).unwrap_or_else(|| Stream::new(offset));
        stream.insert(offset, piece, Timestamp(0), &mut |at, piece, _| self.piece(lane, at, piece));
        self.streams.insert(lane, stream);
    }

    /// Takes the next bytes of a flow.
    fn piece(&mut self, lane: Lane, offset: u64, piece: Piece<'_>) {
        let Piece::Bytes(payload) = piece else { return };
        let window = self.windows.entry(lane).or_default();
        // Behind a gap the window begins anew.
        if offset != window.next {
            *window = Window { next: offset, ..Window::default() };
        }
        for &byte in payload {
            window.bytes = window.bytes << 8 | u128::from(byte);
            window.filled += 1;
            window.next += 1;
            let slot = filter_slot(window.bytes);
            if window.filled < LENGTH || self.filter[slot / 64] & 1 << (slot % 64) == 0 {
                continue;
            }
            if self.wanted.contains_key(&window.bytes) {
                let places = self.places.entry(window.bytes).or_default();
                if places.len() < PLACES {
                    places.push((lane, window.next - LENGTH as u64));
                }
            }
        }
    }

    /// What was found.
    pub fn hits(mut self) -> Hits {
        for (lane, mut stream) in std::mem::take(&mut self.streams) {
            let cause = Cause::WireNotCaptured;
            stream.flush(cause, Timestamp(0), &mut |at, piece, _| self.piece(lane, at, piece));
        }
        let mut hits = Hits { sizes: self.sizes, ..Hits::default() };
        for (bytes, needles) in self.wanted {
            for &(lane, offset) in &needles {
                hits.needles.entry(lane).or_default().push(offset);
            }
            let Some(places) = self.places.get(&bytes) else { continue };
            for &(lane, offset) in &needles {
                if places.len() == PLACES {
                    // It is everywhere, and tells of none.
                    hits.sizes.entry(lane).and_modify(|size| *size -= 1);
                    hits.everywhere.insert(lane.0);
                    hits.needles.entry(lane).and_modify(|list| list.retain(|&needle| needle != offset));
                    continue;
                }
                let mut flows = FxHashSet::default();
                for &(flow, at) in places {
                    flows.insert(flow);
                    hits.shifts
                        .entry((lane, flow))
                        .or_default()
                        .entry((at as i64).wrapping_sub(offset as i64))
                        .or_default()
                        .add(offset);
                }
                for flow in flows {
                    hits.flows.entry(lane.0).or_default().insert(flow.0);
                    *hits.votes.entry((lane, flow)).or_default() += 1;
                }
            }
        }
        hits
    }
}

/// Where needles of a log were found.
#[derive(Debug, Default)]
pub struct Hits {
    /// How many needles of a lane are in a flow.
    votes: FxHashMap<(Lane, Lane), usize>,
    /// Distances between the flow's offsets and the lane's, with the needles that have them.
    shifts: FxHashMap<(Lane, Lane), BTreeMap<i64, Shift>>,
    /// Needles of a lane.
    sizes: FxHashMap<Lane, usize>,
    /// Flows that have a needle of a connection.
    flows: FxHashMap<ConnId, FxHashSet<ConnId>>,
    /// Offsets of a lane's needles, those left out that are everywhere.
    needles: FxHashMap<Lane, Vec<u64>>,
    /// Connections with needles that are everywhere.
    everywhere: FxHashSet<ConnId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    needles: usize,
    first: u64,
}

impl Shift {
    fn add(&mut self, offset: u64) {
        self.first = if self.needles == 0 { offset } else { self.first.min(offset) };
        self.needles += 1;
    }
}

impl Hits {
    /// How many needles of the lane there are.
    pub fn size(&self, lane: Lane) -> usize {
        self.sizes.get(&lane).copied().unwrap_or(0)
    }

    /// The flows that have any of a connection.
    pub fn flows(&self, conn: ConnId) -> impl Iterator<Item = ConnId> {
        self.flows.get(&conn).into_iter().flatten().copied()
    }

    /// How many of them are in this flow.
    pub fn votes(&self, lane: Lane, flow: Lane) -> usize {
        self.votes.get(&(lane, flow)).copied().unwrap_or(0)
    }

    /// How far the flow's offsets are ahead of the lane's at its first byte. The distance at which both end alike, if
    /// content allows it; else that of the first needles, since calls that are missing later change it.
    pub fn first_place(&self, lane: Lane, flow: Lane, ends_alike: i64) -> Option<i64> {
        let shifts = self.shifts.get(&(lane, flow))?;
        let most = shifts.values().map(|shift| shift.needles).max()?;
        let is_good = |shift: &Shift| shift.needles * 4 >= most;
        if shifts.get(&ends_alike).is_some_and(|shift| shift.needles == most) {
            return Some(ends_alike);
        }
        let good = shifts.iter().filter(|(_, shift)| is_good(shift));
        good.min_by_key(|(distance, shift)| (shift.first, distance.abs())).map(|(&distance, _)| distance)
    }

    /// How many needles of the lane are in the flow at this distance.
    pub fn votes_at(&self, lane: Lane, flow: Lane, distance: i64) -> usize {
        let shifts = self.shifts.get(&(lane, flow));
        shifts.and_then(|shifts| shifts.get(&distance)).map_or(0, |shift| shift.needles)
    }

    /// The distances at which the flow has needles of the lane.
    pub fn distances(&self, lane: Lane, flow: Lane) -> impl Iterator<Item = i64> {
        self.shifts.get(&(lane, flow)).into_iter().flat_map(|shifts| shifts.keys().copied())
    }

    /// The places of the lane's needles.
    pub fn needles(&self, lane: Lane) -> impl Iterator<Item = Range> {
        let offsets = self.needles.get(&lane).into_iter().flatten();
        offsets.map(|&offset| Range::new(offset, offset + LENGTH as u64))
    }

    /// True where some of what the connection moved is at so many places that it tells nothing.
    pub fn is_everywhere(&self, conn: ConnId) -> bool {
        self.everywhere.contains(&conn)
    }

    /// True where needles of the lane lie at different distances, so that calls are missing between them.
    pub fn moves(&self, lane: Lane, flow: Lane) -> bool {
        let Some(shifts) = self.shifts.get(&(lane, flow)) else { return false };
        shifts.values().all(|shift| shift.needles < self.votes(lane, flow))
    }
}
