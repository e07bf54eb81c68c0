//! Datagrams that the capture has under other addresses: behind a translation (NAT, the virtual address of a service, the
//! mapped port of a container).
//!
//! Datagrams have no sequence numbers, so content alone tells. All that a socket moved with one other end is a talk, all
//! that the capture has between two ends, as one of them sees it, a lane. A talk is a lane where more different contents
//! agree than with any other lane, and than any other talk has in that lane. How often a content comes tells nothing,
//! since each time may be lost at either side. What several lanes, or several talks, have alike is ambiguous.

use super::{Datagrams, LOOK_MAX, Place, SLACK, ends, is_udp, local, peer};
use crate::compare::Finding;
use crate::compare::clock::{Clock, Estimate};
use crate::event::{Address, Cause, Direction, Range, Timestamp};
use crate::ledger::{HEAD, Ledger, Print};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Different contents that have to agree.
pub const CONTENTS_MIN: usize = 2;

/// Bytes that these have to have: as many as tell the place of a stream ([`crate::compare::anchor`]).
pub const BYTES_MIN: u64 = 16;

/// Lanes that one content may be in; what is in more of them tells nothing.
const LANES_MAX: usize = 64;

/// Rounds of pairing: what one round pairs may leave another talk with a single lane.
const ROUNDS_MAX: usize = 64;

/// How many lanes are named that a talk could be.
const NAMED: usize = 4;

/// Both ends of a lane, the process's first.
type Tuple = [SocketAddr; 2];

/// What is known of a content in advance: the length and the digest of the first bytes. Of a longer datagram the kernel
/// may make several (UDP_SEGMENT), the first of which begins alike, so the length of the first bytes is meant.
pub type Content = (u64, u64);

/// When a content first moved, by [`Direction::index`].
type Contents = FxHashMap<Content, [Option<Timestamp>; 2]>;

/// What pairing talks with lanes gave.
#[derive(Default)]
pub struct Translated {
    /// By socket of the process: the other end where it is known, and where the capture has the talk.
    pub lanes: FxHashMap<usize, Vec<(Option<SocketAddr>, Tuple)>>,
    /// The socket that each of these lanes is of.
    pub sockets: FxHashMap<Tuple, usize>,
    /// Datagrams of these lanes, by the way that they went from the process.
    places: FxHashMap<(Tuple, Direction), VecDeque<Place>>,
    /// Datagrams of the process that could be of several lanes: direction and number by socket, with an index into
    /// `details`.
    ambiguous: FxHashMap<usize, FxHashMap<(Direction, usize), usize>>,
    details: Vec<String>,
}

impl Translated {
    /// Why nothing can be said of a datagram of the process.
    pub fn why_ambiguous(&self, number: usize, way: Direction, index: usize) -> Option<&str> {
        let detail = *self.ambiguous.get(&number)?.get(&(way, index))?;
        Some(&self.details[detail])
    }

    /// True where something of a socket is, or could be, in the capture under other addresses.
    pub fn knows(&self, number: usize) -> bool {
        self.lanes.contains_key(&number) || self.ambiguous.contains_key(&number)
    }

    /// What the capture has of a socket's talks one way: of that with `peer`, or of all.
    pub fn places(&self, number: usize, peer: Option<SocketAddr>, way: Direction) -> Vec<Place> {
        let lanes = self.lanes.get(&number).into_iter().flatten();
        let lanes = lanes.filter(|(other, _)| peer.is_none() || *other == peer);
        lanes.filter_map(|&(_, tuple)| self.places.get(&(tuple, way))).flatten().copied().collect()
    }
}

/// The other end of a talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    Peer(SocketAddr),
    /// Unknown; the content is in one lane alone.
    In(usize),
    Unknown,
}

impl Other {
    fn peer(self) -> Option<SocketAddr> {
        if let Other::Peer(peer) = self { Some(peer) } else { None }
    }
}

/// What a socket moved with one other end, and the capture does not have under these addresses.
#[derive(Default)]
struct Talk {
    /// Numbers of datagrams, by [`Direction::index`].
    datagrams: [Vec<usize>; 2],
    contents: Contents,
    life: Life,
    /// The socket's end and the other, as far as they are known.
    ends: [Option<SocketAddr>; 2],
}

/// What the capture has between two ends, as one of them sees it: lane `n ^ 1` is the other's view.
struct Lane {
    tuple: Tuple,
    contents: Contents,
    life: Life,
    /// Flows with these addresses, and whether the lane is their server's view.
    flows: Vec<(u32, bool)>,
    /// Something of it was found under these addresses.
    taken: bool,
}

impl Lane {
    fn new(tuple: Tuple) -> Lane {
        let (contents, life, flows) = Default::default();
        Lane { tuple, contents, life, flows, taken: false }
    }

    /// True where a talk has one of its ends.
    fn shares_an_end(&self, talk: &Talk) -> bool {
        let same = |ours: SocketAddr, theirs: SocketAddr| {
            ours.port() == theirs.port() && (ours.ip().is_unspecified() || ours.ip() == theirs.ip())
        };
        talk.ends.iter().zip(self.tuple).any(|(ours, theirs)| ours.is_some_and(|ours| same(ours, theirs)))
    }
}

/// First and last moment.
#[derive(Clone, Copy, Default)]
struct Life(Option<[Timestamp; 2]>);

impl Life {
    fn note(&mut self, time: Timestamp) {
        let [first, last] = self.0.unwrap_or([time; 2]);
        self.0 = Some([first.min(time), last.max(time)]);
    }
}

fn note(contents: &mut Contents, content: Content, way: Direction, time: Timestamp) {
    let first = &mut contents.entry(content).or_default()[way.index()];
    *first = Some(first.map_or(time, |first| first.min(time)));
}

/// The content of a datagram, where as much of it was captured as tells.
pub fn content(print: &Print) -> Option<Content> {
    Some((print.range.len().min(HEAD as u64), print.head?)).filter(|content| content.0 > 0)
}

/// Which way the content went first, where it went both.
fn leads(ways: &[Option<Timestamp>; 2]) -> Option<Direction> {
    let [send, recv] = [ways[0]?, ways[1]?];
    (send != recv).then_some(if send < recv { Direction::Send } else { Direction::Recv })
}

/// All lanes of a capture, and where each content is.
struct Lanes {
    lanes: Vec<Lane>,
    by_content: FxHashMap<(Content, Direction), Vec<usize>>,
}

impl Lanes {
    fn new(all: &Datagrams<'_>) -> Lanes {
        let mut numbers: FxHashMap<Tuple, usize> = FxHashMap::default();
        let mut lanes: Vec<Lane> = Vec::new();
        for (flow, ledger) in (0u32..).zip(all.wire).filter(|(_, ledger)| is_udp(ledger)) {
            let Some([client, server]) = ends(ledger, Direction::Send) else { continue };
            let first = *numbers.entry([client, server]).or_insert_with(|| {
                lanes.extend([[client, server], [server, client]].map(Lane::new));
                lanes.len() - 2
            });
            numbers.entry([server, client]).or_insert(first ^ 1);
            lanes[first].flows.push((flow, false));
            lanes[first ^ 1].flows.push((flow, true));
            for direction in Direction::BOTH {
                let found = &all.found[flow as usize][direction.index()];
                for (print, found) in ledger.prints.lists[direction.index()].iter().zip(found) {
                    for (lane, way) in [(first, direction), (first ^ 1, direction.reverse())] {
                        let lane = &mut lanes[lane];
                        lane.taken |= found[way.index()];
                        lane.life.note(print.time);
                        if let Some(content) = content(print) {
                            note(&mut lane.contents, content, way, print.time);
                        }
                    }
                }
            }
        }
        let mut by_content: FxHashMap<(Content, Direction), Vec<usize>> = FxHashMap::default();
        for (number, lane) in lanes.iter().enumerate().filter(|(_, lane)| !lane.taken) {
            for (content, ways) in &lane.contents {
                for way in Direction::BOTH.into_iter().filter(|way| ways[way.index()].is_some()) {
                    by_content.entry((*content, way)).or_default().push(number);
                }
            }
        }
        Lanes { lanes, by_content }
    }

    fn with(&self, content: Content, way: Direction) -> &[usize] {
        self.by_content.get(&(content, way)).map_or(&[], Vec::as_slice)
    }

    /// The lanes that a talk could be, each with the number of contents that agree.
    fn fitting(&self, talk: &Talk, clock: Option<Clock>) -> Vec<(usize, usize)> {
        let mut agreeing: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
        for (&content, ways) in &talk.contents {
            for way in Direction::BOTH.into_iter().filter(|way| ways[way.index()].is_some()) {
                let lanes = self.with(content, way);
                for &lane in lanes.iter().filter(|_| lanes.len() <= LANES_MAX) {
                    agreeing.entry(lane).or_default()[way.index()] += 1;
                }
            }
        }
        let sizes = |contents: &Contents| {
            [0, 1].map(|way: usize| contents.values().filter(|ways| ways[way].is_some()).count())
        };
        let ours = sizes(&talk.contents);
        let fits = |lane: usize, agree: [usize; 2]| {
            let theirs = sizes(&self.lanes[lane].contents);
            let least = ours.iter().sum::<usize>().min(theirs.iter().sum());
            let each_way = (0..2).all(|way| agree[way] > 0 || ours[way] == 0 || theirs[way] == 0);
            // A proxy's other connection has the content of this one, seen from the other end.
            let distinct = !self.lanes[lane ^ 1].taken || self.lanes[lane].shares_an_end(talk);
            distinct
                && each_way
                && 2 * agree.iter().sum::<usize>() > least
                && self.live_at_once(talk, lane, clock)
        };
        let mut fitting: Vec<(usize, usize)> = agreeing
            .into_iter()
            .filter(|&(lane, agree)| fits(lane, agree))
            .map(|(lane, agree)| (lane, agree.iter().sum()))
            .collect();
        self.drop_mirrored(talk, &mut fitting);
        fitting
    }

    /// Where an end sends back what it got, both views of a lane fit alike: whoever had a content first tells.
    fn drop_mirrored(&self, talk: &Talk, fitting: &mut Vec<(usize, usize)>) {
        let all = fitting.clone();
        fitting.retain(|&(lane, agree)| !all.contains(&(lane ^ 1, agree)) || self.order(talk, lane) >= 0);
    }

    /// How many contents that went both ways went first the way that they did in the lane, less those that did not.
    fn order(&self, talk: &Talk, lane: usize) -> i64 {
        let common = talk.contents.iter().filter_map(|(content, ways)| {
            Some((leads(ways)?, leads(self.lanes[lane].contents.get(content)?)?))
        });
        common.map(|(ours, theirs)| if ours == theirs { 1 } else { -1 }).sum()
    }

    /// False where the two certainly did not live at the same time.
    fn live_at_once(&self, talk: &Talk, lane: usize, clock: Option<Clock>) -> bool {
        let (Some(clock), Some(ours), Some(theirs)) = (clock, talk.life.0, self.lanes[lane].life.0) else {
            return true;
        };
        let [begin, end] = theirs.map(|time| clock.to_process(time));
        begin.since(ours[1]) <= SLACK && ours[0].since(end) <= SLACK
    }

    /// True where so much agrees that it is no chance.
    fn is_proof(&self, talk: &Talk, lane: usize, agree: usize) -> bool {
        let theirs = &self.lanes[lane].contents;
        let common = talk.contents.iter().filter(|(content, ways)| {
            theirs.get(content).is_some_and(|other| (0..2).any(|way| ways[way].and(other[way]).is_some()))
        });
        agree >= CONTENTS_MIN && common.map(|(content, _)| content.0).sum::<u64>() >= BYTES_MIN
    }
}

impl Datagrams<'_> {
    /// How far the capture's clock is ahead, by the datagrams that were found; `None` where none was.
    pub fn clock(&self) -> Option<Clock> {
        let mut estimate = Estimate::default();
        for (&number, lists) in &self.matched {
            for way in Direction::BOTH {
                let prints = &self.process[number].prints.lists[way.index()];
                let found = prints.iter().zip(&lists[way.index()]);
                let moments =
                    found.filter_map(|(print, place)| Some((self.print((*place)?).time, print.time)));
                estimate.moments(way, moments);
            }
        }
        estimate.clock()
    }

    /// Looks under other addresses for what the capture does not have under those of the process.
    pub fn translate(&mut self, clock: Option<Clock>) {
        let mut talks = self.talks(None);
        if talks.is_empty() {
            return;
        }
        let lanes = Lanes::new(self);
        if talks.keys().any(|(_, other)| *other == Other::Unknown) {
            talks = self.talks(Some(&lanes));
        }
        let talks: Vec<((usize, Other), Talk)> = talks.into_iter().collect();
        let mut fitting: Vec<_> = talks.iter().map(|(_, talk)| lanes.fitting(talk, clock)).collect();
        let mut assigned: Vec<(usize, usize)> = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let more = best(&fitting, |talk, lane, agree| lanes.is_proof(&talks[talk].1, lane, agree));
            if more.is_empty() {
                break;
            }
            let taken: FxHashSet<usize> = more.iter().map(|&(_, lane)| lane).collect();
            fitting.iter_mut().for_each(|lanes| lanes.retain(|(lane, _)| !taken.contains(lane)));
            more.iter().for_each(|&(talk, _)| fitting[talk].clear());
            assigned.extend(more);
        }
        for (talk, lane) in assigned {
            let ((number, other), talk) = &talks[talk];
            let lane = &lanes.lanes[lane];
            self.translated.sockets.insert(lane.tuple, *number);
            self.translated.lanes.entry(*number).or_default().push((other.peer(), lane.tuple));
            Direction::BOTH.into_iter().for_each(|way| self.find_in(*number, talk, lane, way));
        }
        for (((number, _), talk), fitting) in talks.iter().zip(&fitting).filter(|(_, left)| !left.is_empty())
        {
            let tuples = fitting.iter().map(|&(lane, _)| lanes.lanes[lane].tuple).collect::<Vec<_>>();
            let detail = self.translated.details.len();
            self.translated.details.push(could_be(&tuples));
            for way in Direction::BOTH {
                let datagrams = talk.datagrams[way.index()].iter();
                let ambiguous = self.translated.ambiguous.entry(*number).or_default();
                ambiguous.extend(datagrams.map(|&index| ((way, index), detail)));
            }
        }
    }

    /// What was not found, by socket and other end; where something of both was found, the rest is missing. With `lanes`,
    /// datagrams of unknown ends go by the lane that has their content.
    fn talks(&self, lanes: Option<&Lanes>) -> BTreeMap<(usize, Other), Talk> {
        let mut talks: BTreeMap<(usize, Other), Talk> = BTreeMap::new();
        let mut found: FxHashSet<(usize, Option<SocketAddr>)> = FxHashSet::default();
        for (&number, lists) in &self.matched {
            let socket = &self.process[number];
            let known: FxHashSet<SocketAddr> =
                socket.prints.lists.iter().flatten().filter_map(|print| peer(socket, print)).collect();
            let only = known.iter().next().copied().filter(|_| known.len() == 1);
            for way in Direction::BOTH {
                let prints = socket.prints.lists[way.index()].iter().zip(&lists[way.index()]);
                for (index, (print, place)) in prints.enumerate() {
                    let other = peer(socket, print).or(only);
                    if place.is_some() {
                        found.insert((number, other));
                        continue;
                    }
                    // A group's address is never translated, and many send it the same.
                    if other.is_some_and(|end| end.ip().is_multicast()) {
                        continue;
                    }
                    let other = other.map_or_else(|| in_lane(lanes, print, way), Other::Peer);
                    let talk = talks.entry((number, other)).or_default();
                    talk.datagrams[way.index()].push(index);
                    talk.ends = [local(socket), other.peer()];
                    talk.life.note(print.time);
                    if let Some(content) = content(print) {
                        note(&mut talk.contents, content, way, print.time);
                    }
                }
            }
        }
        talks.retain(|(number, other), _| !found.contains(&(*number, other.peer())));
        talks
    }

    /// Finds the datagrams of a talk in its lane, one way.
    fn find_in(&mut self, number: usize, talk: &Talk, lane: &Lane, way: Direction) {
        let places = self.places_of(lane, way);
        let mut by_content: FxHashMap<(u64, u64), VecDeque<Place>> = FxHashMap::default();
        for &place in &places {
            let print = self.print(place);
            if let Some(head) = print.head {
                by_content.entry((print.range.len(), head)).or_default().push_back(place);
            }
        }
        let prints = &self.process[number].prints.lists[way.index()];
        let mut rest = Vec::new();
        for &index in &talk.datagrams[way.index()] {
            let print = &prints[index];
            let alike = print.head.and_then(|head| by_content.get_mut(&(print.range.len(), head)));
            match alike.and_then(|alike| self.pop_like(alike, print)) {
                Some(place) => self.set(number, way, index, place),
                None => rest.push(index),
            }
        }
        // Of these the content is not known at one side: the first in order that can be it is.
        let mut left: VecDeque<Place> =
            places.iter().copied().filter(|&place| !*self.is_found(place, way)).collect();
        for index in rest {
            if let Some(place) = self.pop_like(&mut left, &prints[index]) {
                self.set(number, way, index, place);
            }
        }
        self.translated.places.insert((lane.tuple, way), places);
    }

    fn pop_like(&self, queue: &mut VecDeque<Place>, print: &Print) -> Option<Place> {
        let at = queue.iter().take(LOOK_MAX).position(|&place| self.print(place).is_like(print))?;
        queue.remove(at)
    }

    fn set(&mut self, number: usize, way: Direction, index: usize, place: Place) {
        *self.is_found(place, way) = true;
        self.matched.entry(number).or_default()[way.index()][index] = Some(place);
    }

    /// The datagrams of a lane one way, in the order of the capture.
    fn places_of(&self, lane: &Lane, way: Direction) -> VecDeque<Place> {
        let mut places = VecDeque::new();
        for &(flow, flipped) in &lane.flows {
            let direction = if flipped { way.reverse() } else { way };
            let prints = &self.wire[flow as usize].prints.lists[direction.index()];
            places.extend((0u32..).zip(prints).map(|(index, _)| (flow, direction, index)));
        }
        places
    }

    /// That talks of a socket were seen under other addresses, for each run of datagrams.
    pub fn translated_findings(&self, number: usize) -> Vec<Finding> {
        let socket = &self.process[number];
        let mut findings: Vec<Finding> = Vec::new();
        let Some(lists) = self.matched.get(&number) else { return findings };
        for way in Direction::BOTH {
            let prints = socket.prints.lists[way.index()].iter().zip(&lists[way.index()]);
            let mut last: Option<(Range, Tuple)> = None;
            for (print, place) in prints {
                let tuple = place.and_then(|place| self.other_addresses(number, way, place));
                // One that a log of strace has without any address has none that could be others.
                let named = local(socket).is_some() || peer(socket, print).is_some();
                let Some(tuple) = tuple.filter(|_| named && !print.range.is_empty()) else { continue };
                match (last.as_mut(), findings.last_mut()) {
                    (Some((range, before)), Some(finding))
                        if *before == tuple && range.to == print.range.from =>
                    {
                        range.to = print.range.to;
                        finding.range.to = print.range.to;
                    }
                    _ => {
                        last = Some((print.range, tuple));
                        let detail = self.how_translated(socket, print, tuple);
                        findings.push(Finding::new(way, print.range, Cause::WireAddressTranslated, detail));
                    }
                }
            }
        }
        findings
    }

    /// The lane of a datagram that was found, where it has other addresses than the process's.
    fn other_addresses(&self, number: usize, way: Direction, place: Place) -> Option<Tuple> {
        let [source, destination] = ends(&self.wire[place.0 as usize], place.1)?;
        let tuple = if way == Direction::Send { [source, destination] } else { [destination, source] };
        // Who received without asking from whom does not know the other end.
        let is_known = tuple.iter().all(|end| end.port() != 0);
        (is_known && self.translated.sockets.get(&tuple) == Some(&number)).then_some(tuple)
    }

    fn how_translated(&self, socket: &Ledger, print: &Print, [own, other]: Tuple) -> String {
        let ours = local(socket).map_or_else(|| "an unknown address".to_owned(), |end| end.to_string());
        let theirs =
            peer(socket, print).map_or_else(|| "an unknown address".to_owned(), |end| end.to_string());
        let place = if self.far.is_some() { "at the other end" } else { "in the capture" };
        format!("{ours} -> {theirs} at the process is {own} -> {other} {place}, as content alone tells")
    }

    /// The addresses under which the capture has all of a socket that it has, where these are others and nothing is
    /// ambiguous.
    pub fn only_lane(&self, number: usize) -> Option<[Address; 2]> {
        if self.translated.ambiguous.contains_key(&number) {
            return None;
        }
        let [(_, tuple)] = self.translated.lanes.get(&number)?[..] else { return None };
        let lists = self.matched.get(&number)?;
        let all = Direction::BOTH.into_iter().all(|way| {
            let mut places = lists[way.index()].iter().flatten();
            places.all(|&place| self.other_addresses(number, way, place).is_some())
        });
        all.then(|| tuple.map(Address::from))
    }
}

/// The other end of a datagram of which the process did not ask.
fn in_lane(lanes: Option<&Lanes>, print: &Print, way: Direction) -> Other {
    let lanes = lanes.zip(content(print)).map_or(&[][..], |(lanes, content)| lanes.with(content, way));
    if let [only] = lanes { Other::In(*only) } else { Other::Unknown }
}

/// Talks with the one lane that each fits best, and no other talk fits as well.
fn best(
    fitting: &[Vec<(usize, usize)>],
    is_proof: impl Fn(usize, usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    /// The most, and how many have it.
    #[derive(Clone, Copy, Default)]
    struct Most(usize, usize);
    impl Most {
        fn note(&mut self, agree: usize) {
            match agree.cmp(&self.0) {
                std::cmp::Ordering::Greater => *self = Most(agree, 1),
                std::cmp::Ordering::Equal => self.1 += 1,
                std::cmp::Ordering::Less => {}
            }
        }
    }
    let mut of_lane: FxHashMap<usize, Most> = FxHashMap::default();
    for &(lane, agree) in fitting.iter().flatten() {
        of_lane.entry(lane).or_default().note(agree);
    }
    let best = fitting.iter().enumerate().filter_map(|(talk, lanes)| {
        let mut most = Most::default();
        lanes.iter().for_each(|&(_, agree)| most.note(agree));
        let &(lane, agree) = lanes.iter().find(|(_, agree)| *agree == most.0)?;
        let Most(highest, alike) = of_lane[&lane];
        let only = most.1 == 1 && highest == agree && alike == 1;
        (only && is_proof(talk, lane, agree)).then_some((talk, lane))
    });
    best.collect()
}

fn could_be(tuples: &[Tuple]) -> String {
    let named: Vec<String> =
        tuples.iter().take(NAMED).map(|[own, other]| format!("{own} -> {other}")).collect();
    let more = match tuples.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let any = if tuples.len() == 1 { "it could be" } else { "it could be any of" };
    let carry = if tuples.len() == 1 { "carries" } else { "carry" };
    format!("{any} {}{more}, which {carry} the same datagrams", named.join(", "))
}
