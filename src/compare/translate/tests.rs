//! Conversations that the capture has under other addresses, with and without the process's sequence numbers.

use super::super::{Clock, Comparison, Pairing, Report, Side};
use crate::compare::anchor::Outline;
use crate::conn::{Options, Tracker};
use crate::event::{
    Call, Cause, ConnId, Data, Direction, Event, Kind, Open, Opened, Role, Start, Task, Timestamp, Vantage,
};
use crate::ledger::Book;

/// A request and its answer.
type Talk<'a> = [&'a [u8]; 2];

/// One connection at one vantage.
#[derive(Clone, Copy)]
struct Seen<'a> {
    number: u64,
    talk: Talk<'a>,
    seq: [u32; 2],
    begin: u64,
    /// Bytes of the request that passed before the vantage began; 0: its handshake was seen.
    late: usize,
}

const HOUR: u64 = 3_600_000_000_000;
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nthe answer, which is forty bytes of text";

fn seen(number: u64, talk: Talk<'_>, seq: [u32; 2], begin: u64) -> Seen<'_> {
    Seen { number, talk, seq, begin, late: 0 }
}

fn events<'a>(vantage: Vantage, seen: Seen<'a>) -> Vec<Event<'a>> {
    let conn = ConnId { socket: seen.number, opened: 0 };
    let of_process = vantage.is_process();
    let task = of_process.then_some(Task { pid: 7, tid: 7, ..Task::default() });
    let event = |time, kind| Event { time: Timestamp(time), conn, task, fd: None, kind };
    let (host, port) = if of_process { ("10.0.0.1", 40_000) } else { ("192.0.2.1", 50_000) };
    let remote = if of_process { "10.0.0.99:80" } else { "192.0.2.80:8080" };
    let late = seen.late as u32;
    let start = [late, 0].map(|late| Start { offset: u64::from(late), seq: None });
    let mut start = [0, 1].map(|side: usize| Start {
        seq: Some(seen.seq[side].wrapping_add(start[side].offset as u32)),
        ..start[side]
    });
    let found = seen.late > 0;
    if found && !of_process {
        start[0].offset = 0; // a capture counts from the first byte that it has
    }
    let open = Open {
        opened: if found { Opened::Found } else { Opened::Fresh },
        local: Some(format!("{host}:{}", port + seen.number).parse().unwrap()),
        remote: Some(remote.parse().unwrap()),
        role: Role::Client,
        start,
        exact: of_process || !found,
        ..Open::default()
    };
    let mut events = vec![event(seen.begin, Kind::Open(open))];
    for (direction, payload) in Direction::BOTH.into_iter().zip(seen.talk) {
        let late = if direction == Direction::Send { seen.late } else { 0 };
        let data = Data {
            direction,
            offset: start[direction.index()].offset,
            length: (payload.len() - late) as u64,
            payload: &payload[late..],
            tcp_seq: None,
            peer: None,
            call: if of_process { Call::Write } else { Call::Packet },
            cause: None,
            peek: false,
            past_tcp: false,
            acked: None,
            error: None,
        };
        events.push(event(seen.begin + 1000 * (1 + direction.index() as u64), Kind::Data(data)));
    }
    events
}

fn side(vantage: Vantage, all: &[Seen<'_>], also: &mut dyn FnMut(&Event<'_>)) -> Side {
    let mut tracker = Tracker::new(vantage, Options::default(), Book::default());
    for event in all.iter().flat_map(|one| events(vantage, *one)) {
        tracker.event(&event);
        also(&event);
    }
    Side { ledgers: tracker.finish().into_ledgers(), ..Side::default() }
}

fn compare(process: &[Seen<'_>], wire: &[Seen<'_>], one_host: bool) -> Report {
    let mut outline = Outline::default();
    let process = side(Vantage::Syscall, process, &mut |event| outline.event(event));
    let wire_side = side(Vantage::Wire, wire, &mut |_| ());
    let mut pairing = Pairing::new(&process, &wire_side, [Vantage::Syscall, Vantage::Wire]);
    if one_host {
        pairing.of_one_host();
    }
    if let Some(mut finder) = pairing.finder(outline) {
        side(Vantage::Wire, wire, &mut |event| finder.event(event));
        pairing.by_content(&finder.hits());
    }
    pairing.report()
}

/// The causes of a connection.
fn causes(one: &Comparison) -> Vec<Cause> {
    one.findings
        .iter()
        .map(|finding| finding.cause)
        .filter(|cause| *cause != Cause::ProtocolUnknown)
        .collect()
}

/// For each connection of the process: which flow it is, or the cause why none.
fn check(report: &Report, expected: &[Result<u64, Cause>]) {
    let ours = report.connections.iter().filter(|one| one.of_process);
    let found: Vec<Result<u64, Cause>> = ours
        .map(|one| match one.flow {
            Some(flow) => Ok(flow.socket),
            None => Err(causes(one)[0]),
        })
        .collect();
    assert_eq!(found, expected);
    for one in report.connections.iter().filter(|one| one.of_process && one.flow.is_some()) {
        assert!(causes(one).contains(&Cause::WireAddressTranslated), "{one:#?}");
        assert_eq!((one.residual(), one.translated.is_some()), (0, true));
    }
}

const GET: [&[u8]; 3] = [
    b"GET /one HTTP/1.1\r\nHost: first.example\r\n\r\n",
    b"GET /two HTTP/1.1\r\nHost: second.example\r\n\r\n",
    b"GET /three HTTP/1.1\r\nHost: third.example\r\n\r\n",
];

#[test]
fn sequence_numbers_tell_connections_with_the_same_content_apart() {
    let talk = [GET[0], ANSWER];
    let seq = [[1, 2], [3, 4], [5, 6]];
    let process: Vec<_> = (1..4).zip(seq).map(|(number, seq)| seen(number, talk, seq, number)).collect();
    let wire = [3, 1, 2].map(|of: u64| seen(of + 10, talk, seq[of as usize - 1], 4 - of));
    check(&compare(&process, &wire, false), &[Ok(11), Ok(12), Ok(13)]);
    check(
        &compare(&process, &wire[..1], false),
        &[Err(Cause::WireNoVantage), Err(Cause::WireNoVantage), Ok(13)],
    );
}

/// The capture ends before the SYN is answered.
#[test]
fn an_unanswered_syn_is_told_by_its_number_and_the_end_that_is_the_same() {
    let process = side(Vantage::Syscall, &[seen(1, [GET[0], ANSWER], [100, 200], 5)], &mut |_| ());
    for (same_end, expected) in [(true, Cause::WireEndedEarly), (false, Cause::WireNoVantage)] {
        let mut wire = side(Vantage::Wire, &[seen(11, [b"", b""], [100, 0], 5)], &mut |_| ());
        let open = &mut wire.ledgers[0].info.open;
        open.start[1].seq = None;
        if same_end {
            open.local = process.ledgers[0].info.open.local;
        }
        wire.coverage.last = Some(Timestamp(6));
        wire.ledgers[0].close = None;
        let report = Pairing::new(&process, &wire, [Vantage::Syscall, Vantage::Wire]).report();
        let of_process = report.connections.iter().find(|one| one.of_process).unwrap();
        assert_eq!(causes(of_process), [expected; 2]);
    }
}

/// What the process sent tells of offsets that what it received does not; here it sent on a translated connection alone.
#[test]
fn what_was_sent_tells_of_the_clock_under_whatever_addresses() {
    let all = |begin| {
        [seen(1, [b"".as_slice(), ANSWER], [7, 9], begin), seen(2, [GET[0], ANSWER], [100, 200], begin)]
    };
    let process = side(Vantage::Syscall, &all(HOUR), &mut |_| ());
    let mut wire = side(Vantage::Wire, &all(HOUR - 20_000_000), &mut |_| ());
    let at = |side: &Side| side.ledgers.iter().position(|one| one.info.id.socket == 1).unwrap();
    let (ours, theirs) = (at(&process), at(&wire));
    let open = &process.ledgers[ours].info.open;
    (wire.ledgers[theirs].info.open.local, wire.ledgers[theirs].info.open.remote) = (open.local, open.remote);
    let report = Pairing::new(&process, &wire, [Vantage::Syscall, Vantage::Wire]).report();
    let flows: Vec<_> = report.connections.iter().map(|one| one.translated.is_some()).collect();
    assert_eq!(flows, [ours == 1, ours == 0]);
    assert_eq!(report.clock, Some(Clock { ahead: -20_000_000, same: false }));
}

#[test]
fn a_late_capture_is_told_by_content_in_its_place() {
    let talk = [GET[0], ANSWER];
    let process = [seen(1, talk, [u32::MAX - 5, 8], 5), seen(2, talk, [70_000, 9], 5)];
    let wire = [Seen { late: 6, ..seen(11, talk, [70_000, 9], 5) }];
    let report = compare(&process, &wire, false);
    check(&report, &[Err(Cause::WireNoVantage), Ok(11)]);
    assert_eq!(
        report.connections[1]
            .findings
            .iter()
            .map(|one| (one.direction, one.cause, one.range.from, one.range.to))
            .filter(|one| one.1 == Cause::WireStartedLate)
            .collect::<Vec<_>>(),
        [(Direction::Send, Cause::WireStartedLate, 0, 6)]
    );
}

#[test]
fn behind_a_proxy_content_tells_where_it_is_of_one_connection_alone() {
    let process = [seen(1, [GET[0], ANSWER], [1, 2], 5), seen(2, [GET[1], ANSWER], [3, 4], 5)];
    let wire = [seen(11, [GET[1], ANSWER], [30, 40], 5), seen(12, [GET[2], ANSWER], [50, 60], 5)];
    let report = compare(&process, &wire, false);
    check(&report, &[Err(Cause::WireNoVantage), Ok(11)]);
    let detail = &report.connections[1].findings[0].detail;
    assert!(
        detail
            .contains("10.0.0.1:40002 -> 10.0.0.99:80 at the process is 192.0.2.1:50011 -> 192.0.2.80:8080")
    );
}

#[test]
fn what_differs_in_one_direction_is_another_connection() {
    let other = ANSWER.to_ascii_uppercase();
    let process = [seen(1, [GET[0], ANSWER], [1, 2], 5)];
    check(&compare(&process, &[seen(11, [GET[0], &other], [3, 4], 5)], true), &[Err(Cause::WireNoVantage)]);
}

#[test]
fn the_same_content_behind_a_proxy_is_told_by_time_or_is_ambiguous() {
    let talk = [GET[0], ANSWER];
    let process = [seen(1, talk, [1, 2], HOUR), seen(2, talk, [3, 4], 2 * HOUR)];
    let apart = [seen(11, talk, [10, 20], HOUR + 5), seen(12, talk, [30, 40], 2 * HOUR + 5)];
    check(&compare(&process, &apart, true), &[Ok(11), Ok(12)]);
    check(&compare(&process, &apart[1..], true), &[Err(Cause::WireNoVantage), Ok(12)]);
    let ambiguous = Err(Cause::WireAmbiguous);
    // Nothing tells what the clock of the capture is.
    check(&compare(&process, &apart, false), &[ambiguous, ambiguous]);
    check(&compare(&process, &apart[1..], false), &[ambiguous, ambiguous]);
    let at_once = apart.map(|one| Seen { begin: HOUR, ..one });
    check(&compare(&process[..1], &at_once, true), &[ambiguous]);
}

#[test]
fn a_flow_seen_on_both_sides_of_a_translation_is_named_as_such() {
    let talk = [GET[0], ANSWER];
    let process = [seen(1, talk, [1, 2], 5)];
    let wire = [seen(11, talk, [1, 2], 5), seen(12, talk, [1, 2], 5)];
    let report = compare(&process, &wire, false);
    check(&report, &[Ok(11)]);
    let other = &report.connections[1];
    assert_eq!((other.of_process, causes(other)), (false, vec![Cause::WireAddressTranslated; 2]));
}
