//! The comparison engine against faults with known answers: conversations are made up, seen from both
//! vantages, and damaged at random; what the engine names has to be exactly the damage.
//!
//! No kernel and no file of the engine's own making is involved: events go straight into the tracker.
//! Every failure prints its seed.

mod faults;

use faults::conversation::{Conversation, Rng, Talk};
use faults::demo::Demo;
use faults::inject::{Case, MOVED_MAX, opening};
use faults::link::Link;
use faults::oracle;
use sockdbg::compare::anchor::{Finder, Outline};
use sockdbg::compare::{Clock, Collector, Comparison, Coverage, Finding, Pairing, Report, Side};
use sockdbg::conn::{Entry, Info, Observer, Options, Tracker};
use sockdbg::event::{Close, ConnId, Direction, Event, Kind, Opened, Range, Stage, Timestamp, Vantage};
use sockdbg::ledger::Book;
use sockdbg::protocol::End;
use sockdbg::record::Record;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Seeds of a run, and of one that may take minutes (`make faults`).
const CASES: u64 = 1500;
const CASES_LONG: u64 = 20_000;

/// Seeds beyond those of a short run that found a fault once: ports used again under another clock (12500), a clock that only
/// translated connections show (10978, 17100), responses given to the request after theirs (9511), and a server that answered
/// what it had not read (13134).
const FOUND: [u64; 5] = [9511, 10978, 12500, 13134, 17100];

/// Seeds of a long run that are known to be wrong. Two calls of a client that takes turns are lost, and the answer right behind
/// them stays alone, too (11873, 19317); two cut calls of a connection that was open before make a pair of a request and the
/// answer to the next one (19838); a clock 20 ms ahead is taken for the same, because faults moved a tenth of the moments
/// (18446).
const KNOWN: [u64; 4] = [11873, 18446, 19317, 19838];

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_700_000_000 * SECOND;

/// A book, and the pairs that the records made.
#[derive(Default)]
struct Watch {
    book: Book,
    pairs: Vec<(ConnId, [Range; 2])>,
}

impl Observer for Watch {
    fn record(&mut self, info: &Info, time: Timestamp, record: Record) {
        if let (Some(request), Some(response)) = (&record.request, &record.response) {
            self.pairs.push((info.id, [request.range, response.range]));
        }
        self.book.record(info, time, record);
    }

    fn account(&mut self, info: &Info, direction: Direction, entry: Entry<'_>) {
        self.book.account(info, direction, entry);
    }

    fn bytes(&mut self, info: &Info, direction: Direction, offset: u64, bytes: &[u8]) {
        self.book.bytes(info, direction, offset, bytes);
    }

    fn closed(&mut self, info: &Info, end: End, close: Option<&Close>) {
        self.book.closed(info, end, close);
    }
}

/// Feeds one vantage's events of all connections in the order of time.
fn track<O: Observer>(vantage: Vantage, case: &Case<'_>, observer: O) -> O {
    let lists = case.links.iter().map(|link| match vantage {
        Vantage::Syscall | Vantage::Strace => &link.process,
        Vantage::Wire => &link.wire,
    });
    let mut events: Vec<&Event<'_>> = lists.flatten().collect();
    events.sort_by_key(|event| event.time);
    let mut tracker = Tracker::new(vantage, Options::default(), observer);
    for event in events {
        tracker.event(&Event { time: shown(vantage, event.time, case), ..event.clone() });
    }
    tracker.finish()
}

/// A time as the clock of a vantage shows it.
fn shown(vantage: Vantage, time: Timestamp, case: &Case<'_>) -> Timestamp {
    match vantage {
        Vantage::Wire => Timestamp(time.0.strict_add_signed(case.ahead)),
        Vantage::Syscall | Vantage::Strace => time,
    }
}

/// The report, with missing records named, and the pairs that the process's side made.
fn compare(case: &Case<'_>) -> (Report, Vec<(ConnId, [Range; 2])>) {
    let process = track(Vantage::Syscall, case, Watch::default());
    let wire = track(Vantage::Wire, case, Book::default());
    let process_side =
        Side { ledgers: process.book.into_ledgers(), coverage: case.coverage[0], ..Side::default() };
    let Coverage { first, last, cut } = case.coverage[1];
    let of_wire = |time: Timestamp| shown(Vantage::Wire, time, case);
    let coverage = Coverage { first: first.map(of_wire), last: last.map(of_wire), cut };
    let wire_side = Side { ledgers: wire.into_ledgers(), coverage, ..Side::default() };
    let mut pairing = Pairing::new(&process_side, &wire_side, [Vantage::Syscall, Vantage::Wire]);
    if let Some(finder) = pairing.finder(track_outline(case)) {
        pairing.by_content(&look(case, finder).hits());
    }
    let mut report = pairing.report();
    while let Some(keeper) = report.next_suspects() {
        let checker = track(Vantage::Syscall, case, keeper).checker();
        report.learn_contents(track(Vantage::Wire, case, checker));
    }
    let collector = track(Vantage::Wire, case, Collector::new(report.wanted()));
    report.name_missing(collector);
    (report, process.pairs)
}

/// The outline of the process's content.
fn track_outline(case: &Case<'_>) -> Outline {
    let mut outline = Outline::default();
    case.links.iter().flat_map(|link| &link.process).for_each(|event| outline.event(event));
    outline
}

/// Shows a finder the capture.
fn look(case: &Case<'_>, mut finder: Finder) -> Finder {
    case.links.iter().flat_map(|link| &link.wire).for_each(|event| finder.event(event));
    finder
}

/// Compares, and holds what the engine says against what was done.
fn check(case: &Case<'_>) -> Result<(), String> {
    let (report, pairs) = compare(case);
    check_clock(case, report.clock)?;
    let mut compared = 0;
    for link in &case.links {
        let found = report.connections.iter().find(|one| match one.of_process {
            true => one.info.id == link.conn,
            false => one.flow == Some(link.flow) && link.process.is_empty(),
        });
        compared += usize::from(found.is_some());
        check_link(case, link, found)?;
        check_pairs(link, &pairs)?;
    }
    match compared == report.connections.len() {
        true => Ok(()),
        false => Err(format!("{} connections, {compared} of them expected", report.connections.len())),
    }
}

/// The offset of the clocks is what it was made; faults that move packets in time move it by no more than they do.
fn check_clock(case: &Case<'_>, clock: Option<Clock>) -> Result<(), String> {
    let moved = if case.log.len() > 1 { MOVED_MAX } else { 0 };
    match clock {
        _ if case.ahead == 0 => Ok(()),
        Some(clock) if clock.ahead.abs_diff(case.ahead) <= moved && !clock.same => Ok(()),
        _ => Err(format!("{clock:?}, and the capture's clock is {} ns ahead", case.ahead)),
    }
}

fn check_link(case: &Case<'_>, link: &Link<'_>, found: Option<&Comparison>) -> Result<(), String> {
    let expected = oracle::expected(case, link);
    let nothing = Vec::new();
    let findings = found.map_or(&nothing, |found| &found.findings);
    let (early, late): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.cause.stage() < Stage::Stream);
    let actual = oracle::named(early.iter().map(|one| (one.direction, one.cause, one.range)));
    if actual != expected {
        return Err(format!("{:?}: named {actual:?}\n  expected {expected:?}", link.conn));
    }
    if let Some(found) = found.filter(|found| found.residual() > blank_lines(link)) {
        return Err(format!("{:?}: residual {:?}", link.conn, found.balances));
    }
    check_names(link, found)?;
    check_consequences(link, &late)
}

/// Where the capture is whole, each range that the process's side lacks names the messages in it.
fn check_names(link: &Link<'_>, found: Option<&Comparison>) -> Result<(), String> {
    let Some(found) = found.filter(|_| link.has_whole_flow()) else { return Ok(()) };
    for finding in &found.findings {
        if !(Stage::Syscall..=Stage::Frame).contains(&finding.cause.stage()) {
            continue;
        }
        let direction = match found.of_process {
            true => finding.direction,
            false => link.flow_direction(finding.direction),
        };
        let side = usize::from(direction != link.asks);
        let messages = link.pairs.iter().filter(|pair| pair[side].intersection(finding.range).is_some());
        let expected = messages.count();
        if (finding.record_count, finding.records.len()) != (expected as u64, expected) {
            return Err(format!("{:?}: {finding:?} should name {expected} records", link.conn));
        }
    }
    Ok(())
}

/// Known to be wrong: an empty Redis command is a frame and no record, so its two bytes are a residual. Nobody
/// sends one here, but where the beginning is not seen the replies can be taken for commands, and the end of a
/// bulk string for an empty one.
fn blank_lines(link: &Link<'_>) -> u64 {
    let guessed = link.talk == Talk::Redis && !touched(link).is_empty();
    if guessed { 2 * link.pairs.len() as u64 } else { 0 }
}

/// Frames and records: what is named there has to follow from bytes that are missing at the process.
fn check_consequences(link: &Link<'_>, late: &[&Finding]) -> Result<(), String> {
    let touched = touched(link);
    for finding in late {
        let side = usize::from(finding.direction != link.asks);
        let hit = |pair: &usize| link.pairs[*pair][side].intersection(finding.range).is_some();
        let pairs: Vec<usize> = (0..link.pairs.len()).filter(hit).collect();
        if !follows(link, finding.cause.stage(), &pairs, &touched) {
            return Err(format!(
                "{:?}: {finding:?} follows from nothing, touched {touched:?} of {:?}",
                link.conn, link.pairs
            ));
        }
    }
    Ok(())
}

/// Whether a finding in the messages of `pairs` can follow from the `touched` ones.
///
/// An HTTP message begins so plainly that the search for it ends with the message that was touched, and a client
/// that was seen to take turns twice keeps its other pairs (the rules of http1's pairing). A client that
/// pipelines, or may, can lose every pair behind the loss, and the search for a Redis message may pass over any
/// that looks like payload: there all that is certain is that nothing before the first loss is concerned.
fn follows(link: &Link<'_>, stage: Stage, pairs: &[usize], touched: &[usize]) -> bool {
    let (Some(last), Some(&first)) = (pairs.last(), touched.first()) else { return false };
    let confined = match (link.talk, stage) {
        (Talk::Redis, _) => false,
        (Talk::Pipelined, Stage::Record) => false,
        (Talk::KeepAlive, Stage::Record) => first >= 2,
        (Talk::KeepAlive | Talk::Pipelined, _) => true,
    };
    if confined { pairs.iter().all(|pair| touched.contains(pair)) } else { first <= *last }
}

/// The pairs of which the process's side does not have every byte, in order. A connection that was open
/// before begins inside a message, as far as anybody can tell.
fn touched(link: &Link<'_>) -> Vec<usize> {
    let mut held: [Vec<Range>; 2] = Default::default();
    for event in &link.process {
        if let Kind::Data(data) = &event.kind {
            let range = Range::new(data.offset, data.offset + data.payload.len() as u64);
            held[data.direction.index()].push(range);
        }
    }
    let whole = |direction: Direction, message: Range| {
        let held = held[direction.index()].iter().filter_map(|range| range.intersection(message));
        held.map(Range::len).sum::<u64>() == message.len()
    };
    let found = opening(&link.process).is_some_and(|(_, open)| open.opened == Opened::Found);
    let hit = |pair: &usize| {
        let [request, response] = link.pairs[*pair];
        (found && *pair == 0) || !whole(link.asks, request) || !whole(link.asks.reverse(), response)
    };
    (0..link.pairs.len()).filter(hit).collect()
}

/// No request was given another's response.
///
/// Two guesses of the parsers are left out, both stated where they pair. A client that pipelines from before the
/// trace began can't be told from one that takes turns until it does so again. Of Redis, whose shortest
/// messages look alike in both directions, only the pairs of a whole connection are held against the truth here.
fn check_pairs(link: &Link<'_>, pairs: &[(ConnId, [Range; 2])]) -> Result<(), String> {
    let found = opening(&link.process).is_some_and(|(_, open)| open.opened == Opened::Found);
    let guessed = match link.talk {
        Talk::KeepAlive => false,
        Talk::Pipelined => found,
        Talk::Redis => !touched(link).is_empty(),
    };
    for (_, made) in pairs.iter().filter(|(conn, _)| *conn == link.conn && !guessed) {
        let is_made = |pair: &[Range; 2]| (0..2).all(|side| pair[side].intersection(made[side]).is_some());
        if !link.pairs.iter().any(is_made) {
            return Err(format!("{:?}: the pair {made:?} was never made of {:?}", link.conn, link.pairs));
        }
    }
    Ok(())
}

/// Some connections of one process, to or from the same port of one host.
fn conversations(rng: &mut Rng) -> Vec<Conversation> {
    let host: IpAddr = if rng.chance(30) { "2001:db8::1" } else { "192.0.2.1" }.parse().unwrap();
    let peer: IpAddr = if host.is_ipv6() { "2001:db8::2" } else { "192.0.2.2" }.parse().unwrap();
    let mut conversations: Vec<Conversation> = Vec::new();
    for number in 0..1 + rng.below(3) {
        let talk = rng.pick(&[Talk::KeepAlive, Talk::KeepAlive, Talk::Pipelined, Talk::Redis]);
        // The same ports again, after the connection before; or others, at the same time.
        let reused = number > 0 && rng.chance(30);
        let (port, begin) = match conversations.last() {
            Some(last) if reused => (last.client.port(), last.begin + SECOND),
            _ => (40_000 + number as u16, BEGIN + rng.below(3_000_000)),
        };
        let ends = [SocketAddr::new(host, port), SocketAddr::new(peer, 80)];
        let prior = match rng.chance(20) && !reused {
            true => [0, 1].map(|_| rng.pick(&[1, 70_000, 5 << 30])),
            false => [0; 2],
        };
        // Of the same ports the initial sequence number goes on with the clock (RFC 9293, section 3.4.1).
        let before = if reused { conversations.last().map(|last| last.seq) } else { None };
        let seq = before.map(|seq| seq.map(|seq| seq.wrapping_add(250_000)));
        conversations.push(Conversation::new(talk, ends, prior, begin, seq, rng));
    }
    conversations
}

fn case<'a>(conversations: &'a [Conversation], rng: &mut Rng) -> Case<'a> {
    let server = rng.chance(50);
    let links = (1..).zip(conversations).map(|(number, talk)| Link::new(talk, number, server, rng)).collect();
    let whole = Coverage {
        first: Some(Timestamp(BEGIN - SECOND)),
        last: Some(Timestamp(BEGIN + 9 * SECOND)),
        cut: false,
    };
    Case { links, coverage: [whole; 2], ahead: 0, log: Vec::new() }
}

const THREADS: usize = 2;

/// Runs the seeds; the first ones that fail are shown together.
fn run(seeds: &[u64], faulty: bool) {
    let failed: Vec<String> = std::thread::scope(|scope| {
        let begin = |first| {
            let mine = seeds.iter().skip(first).step_by(THREADS);
            scope.spawn(move || mine.filter_map(|&seed| failure(seed, faulty)).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..THREADS).map(begin).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let shown: Vec<&str> = failed.iter().take(5).map(String::as_str).collect();
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), shown.join("\n"));
}

/// What is wrong in the comparison of a seed, which is also printed at once.
fn failure(seed: u64, faulty: bool) -> Option<String> {
    let mut rng = Rng(seed);
    let conversations = conversations(&mut rng);
    let mut case = case(&conversations, &mut rng);
    match faulty {
        true => case.inject(&mut rng),
        false => case.shift_clock(&mut rng),
    }
    let why = check(&case).err()?;
    let failure = format!("seed {seed}: {:?}\n  {why}", case.log);
    eprintln!("{failure}");
    Some(failure)
}

#[test]
fn nothing_is_found_where_nothing_is_missing() {
    run(&Vec::from_iter(0..500), false);
}

#[test]
fn every_fault_is_named_with_its_cause_and_range() {
    let long = std::env::var_os("SOCKDBG_LONG").is_some();
    // To see a failure again: its seed.
    let seeds: Vec<u64> = match std::env::var("SOCKDBG_SEEDS") {
        Ok(named) => named.split(',').map(|seed| seed.parse().expect("a seed")).collect(),
        Err(_) if long => (0..CASES_LONG).filter(|seed| !KNOWN.contains(seed)).collect(),
        Err(_) => (0..CASES).chain(FOUND).collect(),
    };
    run(&seeds, true);
}

/// Who repairs one takes it out of the list.
#[test]
fn what_is_known_to_be_wrong_still_is() {
    let right: Vec<u64> = KNOWN.into_iter().filter(|&seed| failure(seed, true).is_none()).collect();
    assert!(right.is_empty(), "{right:?} pass; take them out of KNOWN");
}

/// The demo's recording and capture: what is named beyond its one real finding is what was injected.
#[test]
fn every_fault_in_real_traffic_is_named() {
    let demo = Demo::read();
    let (links, coverage) = demo.links(&BTreeMap::new());
    let whole = Case { links, coverage, ahead: 0, log: Vec::new() };
    let mut pairs: BTreeMap<u64, Vec<[Range; 2]>> = BTreeMap::new();
    for (flow, pair) in track(Vantage::Wire, &whole, Watch::default()).pairs {
        pairs.entry(flow.socket).or_default().push(pair);
    }
    assert_eq!(pairs.values().map(Vec::len).sum::<usize>(), 6, "the demo makes six requests");
    for seed in 0..300 {
        let (links, coverage) = demo.links(&pairs);
        let mut case = Case { links, coverage, ahead: 0, log: Vec::new() };
        case.inject_into_connections(&mut Rng(seed));
        check(&case).unwrap_or_else(|why| panic!("seed {seed}: {:?}\n  {why}", case.log));
    }
}
