//! Gives a log of strace what it lacks, from another vantage of the same connections: addresses, sequence numbers,
//! the place of its bytes in the stream, and the calendar of its times.
//!
//! A log has calls in order and nothing that numbers their bytes: where it begins in the middle, or leaves calls out,
//! its offsets are not those of the stream. Content tells them. `content` finds which flow has bytes of which
//! connection, `pair` decides, `matching` lays calls out along a flow, exactly. The events then go to the tracker with
//! the places that [`Anchors::apply`] gives them, and everything else is as for a vantage with sequence numbers.
//!
//! Where the other vantage has the same bytes several times and the log lacks one of them, content does not tell
//! which: it is taken to be the last.

mod content;
mod elsewhere;
mod matching;
mod pair;

pub use content::{Finder, Hits, Outline};
pub use matching::{Calls, Matcher};

use super::align::ends_of;
use crate::event::{
    Address, CloseReason, ConnId, Data, Direction, Event, Kind, Open, Opened, Timestamp, Transport,
};
use crate::ledger::Ledger;
use crate::protocol::End;
use pair::{Pair, Pairs};
use rustc_hash::{FxHashMap, FxHashSet};

/// How the connections of a log go with the flows of another vantage.
#[derive(Debug, Default)]
pub struct Anchors {
    by_conn: FxHashMap<ConnId, Anchor>,
    /// Connections that nothing can tell anything of.
    unplaced: FxHashMap<ConnId, Transport>,
    elsewhere: Elsewhere,
    /// Added to the log's times, in ns.
    shift: i64,
    is_guess: bool,
}

/// Connections of a log that the other vantage has, or may have, under other addresses, as content tells.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// With the flow that each is, and whether the process is its server.
    pub known: FxHashMap<ConnId, (ConnId, bool)>,
    /// With the flows that each could be.
    pub ambiguous: FxHashMap<ConnId, Vec<ConnId>>,
}

/// What a connection of the log learns.
#[derive(Clone, Debug)]
struct Anchor {
    ends: Option<[Address; 2]>,
    /// The flow's first offset is the stream's.
    exact: bool,
    lanes: [Lane; 2],
}

/// What one direction of it learns.
#[derive(Clone, Debug)]
struct Lane {
    /// Its flow and that flow's direction.
    flow: (ConnId, Direction),
    /// From which offsets of the log on how much is to be added to get the flow's; sorted, begins at 0.
    places: Vec<(u64, i64)>,
    /// Sequence number of the flow's offset 0.
    seq: Option<u32>,
    /// Of the other vantage: offset after its last byte.
    flow_end: u64,
    /// How bytes behind the log's last one are told at the end.
    rest: Rest,
    /// Its place has to be found by content.
    vague: bool,
}

/// What bytes are that only the other vantage has, behind the last of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    /// Nothing is known of them.
    #[default]
    Open,
    /// They moved: calls that the log lacks.
    Moved,
    /// They wait to be read.
    Waiting,
}

impl Lane {
    /// Added to the log's offsets and to the flow's alike, so that none is below 0: the log may begin before the
    /// flow.
    fn base(&self) -> i64 {
        self.places.first().map_or(0, |place| place.1.min(0)).wrapping_neg().max(0)
    }

    /// Where the log begins.
    fn start(&self) -> u64 {
        self.places.first().map_or(0, |place| place.1.max(0) as u64)
    }

    fn place(&self, offset: u64) -> u64 {
        let index = self.places.partition_point(|place| place.0 <= offset);
        let added = index.checked_sub(1).map_or(0, |index| self.places[index].1);
        offset.saturating_add_signed(added.saturating_add(self.base()))
    }
}

impl Anchors {
    /// Pairs the connections of a log with flows. `hits` are the places where content of the log was found; `undated`:
    /// the log's times are not those of a calendar.
    pub fn new(log: &[Ledger], flows: &[Ledger], hits: &content::Hits, undated: bool) -> Anchors {
        let Pairs { mut pairs, elsewhere, shift, is_guess } = pair::pairs(log, flows, hits, undated);
        let id = |process: usize| log[process].info.id;
        let known =
            elsewhere.pairs.iter().map(|one| (id(one.process), (flows[one.flow].info.id, one.flipped)));
        let ambiguous = elsewhere.ambiguous.iter().map(|(process, could_be)| {
            (id(*process), could_be.iter().map(|&flow| flows[flow].info.id).collect())
        });
        let learnt = Elsewhere { known: known.collect(), ambiguous: ambiguous.collect() };
        pairs.extend(elsewhere.pairs);
        let anchor = |pair: &Pair| {
            let (process, flow) = (&log[pair.process], &flows[pair.flow]);
            (process.info.id, Anchor::new(process, flow, pair, hits, shift, log))
        };
        let by_conn: FxHashMap<ConnId, Anchor> = pairs.iter().map(anchor).collect();
        let unplaced = log.iter().filter(|ledger| {
            let conn = ledger.info.id;
            let silent = Direction::BOTH.into_iter().all(|direction| hits.size((conn, direction)) == 0);
            !by_conn.contains_key(&conn) && (silent && lacks_address(ledger) || is_nameless(ledger))
        });
        let unplaced = unplaced.map(|ledger| (ledger.info.id, ledger.info.open.transport)).collect();
        Anchors { by_conn, unplaced, elsewhere: learnt, shift, is_guess }
    }

    /// Connections of the log that could be any of the other vantage: the log has neither both addresses nor content
    /// that can be looked for.
    pub fn unplaced(&self) -> &FxHashMap<ConnId, Transport> {
        &self.unplaced
    }

    /// What the other vantage has under other addresses.
    pub fn elsewhere(&self) -> &Elsewhere {
        &self.elsewhere
    }

    /// True where several flows could be each connection, and neither content nor clock tells: what content is not looked
    /// at may be that of another.
    pub fn is_guess(&self) -> bool {
        self.is_guess
    }

    /// True where no connection told how far the log's times are behind.
    pub fn is_empty(&self) -> bool {
        self.by_conn.is_empty()
    }

    /// True where only content can tell which flow a connection is, or where its bytes belong.
    pub fn wants_content(log: &[Ledger], flows: &[Ledger]) -> bool {
        let vague = |ledger: &Ledger| ledger.info.open.opened == Opened::Found || lacks_address(ledger);
        let ends: FxHashSet<_> = flows.iter().filter_map(ends_of).collect();
        let is_astray =
            |ledger: &Ledger| elsewhere::is_astray(ledger, |[one, other]| ends.contains(&(one, other)));
        log.iter().any(|ledger| vague(ledger) || is_astray(ledger))
            || flows.iter().any(|flow| flow.info.open.opened == Opened::Found)
    }

    /// The lanes whose calls have to be laid out along their flows.
    pub fn vague(&self) -> Vec<(ConnId, Direction)> {
        let lanes = self.by_conn.iter().flat_map(|(&conn, anchor)| {
            let vague = Direction::BOTH.into_iter().filter(|direction| anchor.lanes[direction.index()].vague);
            vague.map(move |direction| (conn, direction))
        });
        lanes.collect()
    }

    /// A matcher of these calls with the flows that they belong to.
    pub fn matcher(&self, calls: Calls) -> Matcher {
        let mut matcher = Matcher::default();
        for ((conn, direction), list) in calls.into_lanes() {
            if let Some(anchor) = self.by_conn.get(&conn) {
                let lane = &anchor.lanes[direction.index()];
                let first = lane.places.first().map_or(0, |place| place.1);
                matcher.add((conn, direction), lane.flow, list, first);
            }
        }
        matcher
    }

    /// Takes what the matcher found.
    pub fn learn(&mut self, matcher: Matcher) {
        for ((conn, direction), places) in matcher.places() {
            if let Some(anchor) = self.by_conn.get_mut(&conn)
                && !places.is_empty()
            {
                anchor.lanes[direction.index()].places = places;
            }
        }
    }

    /// How far the log's times are behind those of the other vantage, in ns.
    pub fn shift(&self) -> i64 {
        self.shift
    }

    /// A time of the log as the other vantage has it.
    pub fn time(&self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add_signed(self.shift))
    }

    /// An event of the log with what was learnt.
    pub fn apply<'a>(&self, event: &Event<'a>) -> Event<'a> {
        let mut event = Event { time: self.time(event.time), ..event.clone() };
        let Some(anchor) = self.by_conn.get(&event.conn) else { return event };
        match &mut event.kind {
            Kind::Open(open) => anchor.open(open),
            Kind::Data(data) => anchor.data(data),
            Kind::Loss(loss) => {
                let lane = &anchor.lanes[loss.direction.index()];
                let from = lane.place(loss.range.from);
                loss.range = crate::event::Range::new(from, from + loss.range.len());
            }
            Kind::Close(close) if close.reason != CloseReason::Descriptor => {
                for (total, lane) in close.totals.iter_mut().zip(&anchor.lanes) {
                    // The last byte's place, not that of one that would follow it.
                    let end = total
                        .moved
                        .checked_sub(1)
                        .map_or(lane.place(0), |last| lane.place(last).saturating_add(1));
                    let flow_end = lane.flow_end.saturating_add_signed(lane.base());
                    match lane.rest {
                        Rest::Moved => total.end = Some(end.max(flow_end)),
                        Rest::Waiting => total.pending = flow_end.saturating_sub(end),
                        Rest::Open => {}
                    }
                }
            }
            Kind::Close(_) => {}
        }
        event
    }
}

fn lacks_address(ledger: &Ledger) -> bool {
    let open = &ledger.info.open;
    open.transport == Transport::Tcp && (open.local.is_none() || open.remote.is_none())
}

/// A socket of UDP of which the log has no address at all; its datagrams may still be found by content.
fn is_nameless(ledger: &Ledger) -> bool {
    let open = &ledger.info.open;
    let has_any = open.local.is_some() || open.remote.is_some() || !ledger.prints.peers.is_empty();
    open.transport == Transport::Udp && !has_any
}

impl Anchor {
    fn new(
        process: &Ledger,
        flow: &Ledger,
        pair: &Pair,
        hits: &content::Hits,
        shift: i64,
        log: &[Ledger],
    ) -> Anchor {
        let flow_open = &flow.info.open;
        let ends = flow_open.local.zip(flow_open.remote).map(|(local, remote)| match pair.flipped {
            true => [remote, local],
            false => [local, remote],
        });
        let last = log.iter().map(|ledger| ledger.info.last).max().unwrap_or_default();
        let watched = flow.info.last.0 <= last.0.saturating_add_signed(shift);
        let lanes = Direction::BOTH.map(|direction| {
            let of_flow = pair.flow_direction(direction);
            let start = flow_open.start[of_flow.index()];
            let both_fresh = process.info.open.opened == Opened::Fresh && flow_open.opened == Opened::Fresh;
            let moved = process.accounts[direction.index()].end();
            let flow_end = flow.accounts[of_flow.index()].end();
            let (lane, of) = ((process.info.id, direction), (flow.info.id, of_flow));
            let ends_alike = (flow_end as i64).wrapping_sub(moved as i64);
            let both_ended = process.end == Some(End::Closed) && finished(flow);
            let found = hits.first_place(lane, of, ends_alike).or(both_ended.then_some(ends_alike));
            let first = if both_fresh { 0 } else { found.unwrap_or(start.offset as i64) };
            Lane {
                flow: (flow.info.id, of_flow),
                places: vec![(0, first)],
                seq: start.seq.map(|seq| seq.wrapping_sub(start.offset as u32)),
                flow_end,
                rest: rest(process, flow, direction, watched),
                vague: moved.checked_add_signed(first) != Some(flow_end) || hits.moves(lane, of),
            }
        });
        Anchor { ends, exact: flow_open.opened == Opened::Fresh || flow_open.exact, lanes }
    }

    fn open(&self, open: &mut Open) {
        if let Some([local, remote]) = self.ends {
            let known =
                |own: Option<Address>| own.filter(|own| own.ip().is_none_or(|ip| !ip.ip().is_unspecified()));
            open.local = known(open.local).or(Some(local));
            open.remote = open.remote.or(Some(remote));
        }
        if open.opened == Opened::Found {
            open.exact = self.exact;
        }
        for (start, lane) in open.start.iter_mut().zip(&self.lanes) {
            start.offset = lane.start();
            let of_flow = (start.offset as i64).wrapping_sub(lane.base());
            start.seq = lane.seq.map(|seq| seq.wrapping_add(of_flow as u32));
        }
    }

    fn data(&self, data: &mut Data<'_>) {
        let lane = &self.lanes[data.direction.index()];
        // The end of a stream is behind all that the log has of it.
        let offset = match (data.length, data.offset.checked_sub(1)) {
            (0, Some(last)) => lane.place(last).saturating_add(1),
            _ => lane.place(data.offset),
        };
        data.offset = offset;
    }
}

/// Linux resets a connection that is closed with bytes unread (tcp_close): where both ends finished, all were read.
fn rest(process: &Ledger, flow: &Ledger, direction: Direction, watched: bool) -> Rest {
    let closed = process.end == Some(End::Closed);
    let silent = process.accounts[direction.index()].end() == 0;
    match direction {
        Direction::Send if closed || watched => Rest::Moved,
        Direction::Recv if closed && finished(flow) => Rest::Moved,
        Direction::Recv if !closed && watched && silent => Rest::Moved,
        Direction::Recv if !closed && watched => Rest::Waiting,
        _ => Rest::Open,
    }
}

/// The flow ended, and not by a reset.
fn finished(flow: &Ledger) -> bool {
    flow.close.is_some_and(|close| matches!(close.reason, CloseReason::Fin | CloseReason::Closed))
}

#[cfg(test)]
mod tests;
