//! Datagrams above the sources: what no capture is compared with is in the ledger, and nothing is said of it per datagram;
//! UDP is compared with captures datagram by datagram.

use sockdbg::compare::{Coverage, Report, Side, Verdict};
use sockdbg::conn::{Options, Tracker};
use sockdbg::event::{
    Address, Call, Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Loss, Open, Range,
    Timestamp, Total, Transport, Vantage,
};
use sockdbg::ledger::{Book, Ledger};

/// The ledger of a connection that sends and receives each of `payloads`.
fn ledger(transport: Transport, payloads: &[&[u8]]) -> Ledger {
    let mut tracker = Tracker::new(Vantage::Syscall, Options::default(), Book::default());
    let mut time = 0;
    let mut tell = |kind| {
        time += 1;
        let conn = ConnId { socket: 7, opened: 1 };
        tracker.event(&Event { time: Timestamp(time), conn, task: None, fd: None, kind });
    };
    tell(Kind::Open(Open { transport, exact: true, ..Open::default() }));
    let mut offset = 0;
    for payload in payloads {
        for direction in Direction::BOTH {
            tell(Kind::Data(Data {
                direction,
                offset,
                length: payload.len() as u64,
                payload,
                tcp_seq: None,
                peer: None,
                call: Call::Sendto,
                cause: None,
                peek: false,
                error: None,
            }));
        }
        offset += payload.len() as u64;
    }
    let totals = [Total { moved: offset, end: Some(offset), ..Total::default() }; 2];
    tell(Kind::Close(Close { reason: CloseReason::Closed, call: None, totals }));
    let mut ledgers = tracker.finish().into_ledgers();
    assert_eq!(ledgers.len(), 1);
    ledgers.remove(0)
}

/// Compares it with a capture of which no datagrams are read: verdict, and the findings by cause and range.
fn compared(ledger: Ledger) -> (Verdict, Vec<(Direction, Cause, Range)>) {
    let wire = Side { streams_only: true, ..Side::default() };
    let report = Report::new(&Side { ledgers: vec![ledger], ..Side::default() }, &wire);
    let findings = report.connections.iter().flat_map(|comparison| &comparison.findings);
    (report.verdict(), findings.map(|finding| (finding.direction, finding.cause, finding.range)).collect())
}

#[test]
fn datagrams_are_one_finding_for_each_direction_and_no_failure() {
    let payloads: Vec<&[u8]> =
        (0..100).map(|n| [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"PING\r\n", b""][n % 3]).collect();
    let ledger = ledger(Transport::Udp, &payloads);
    let whole = Range::new(0, payloads.concat().len() as u64);
    for account in &ledger.accounts {
        assert_eq!(account.delivered.iter().collect::<Vec<_>>(), [whole]);
        assert_eq!(account.stages().residual(), 0);
    }
    let expected: Vec<_> = Direction::BOTH
        .into_iter()
        .flat_map(|direction| {
            [Cause::WireNotCompared, Cause::ProtocolUnknown].map(|cause| (direction, cause, whole))
        })
        .collect();
    assert_eq!(compared(ledger), (Verdict::NothingToCompare, expected));
}

#[test]
fn a_unix_stream_is_parsed_and_its_absence_from_captures_is_no_failure() {
    let ledger = ledger(Transport::UnixStream, &[b"PING\r\n"]);
    let whole = Range::new(0, 6);
    for account in &ledger.accounts {
        assert_eq!(account.delivered.iter().collect::<Vec<_>>(), [whole]);
    }
    let (verdict, findings) = compared(ledger);
    let absent = findings.iter().filter(|finding| finding.1 == Cause::WireNoVantage);
    assert_eq!(absent.map(|finding| finding.2).collect::<Vec<_>>(), [whole; 2]);
    // Both ends say PING: neither is an answer.
    assert_eq!(verdict, Verdict::Incomplete);
}

/// When both vantages watch.
const BEGIN: u64 = 1000;
const END: u64 = 2000;

const RESOLVER: &str = "10.0.0.1:40000";
const ANY: &str = "0.0.0.0:40000";
const ONE: &str = "192.0.2.1:53";
const TWO: &str = "192.0.2.2:53";

/// What moved on a socket or flow: when, which way, its other end where that is not the connection's, the captured
/// bytes, and why others are missing.
type Moved<'a> = (u64, Direction, &'a str, &'a [u8], Option<(u64, Cause)>);

fn sent<'a>(time: u64, peer: &'a str, bytes: &'a [u8]) -> Moved<'a> {
    (time, Direction::Send, peer, bytes, None)
}

fn got<'a>(time: u64, peer: &'a str, bytes: &'a [u8]) -> Moved<'a> {
    (time, Direction::Recv, peer, bytes, None)
}

fn address(text: &str) -> Option<Address> {
    (!text.is_empty()).then(|| text.parse().expect("an address"))
}

/// One side with these sockets or flows: local end, remote end, and what moved.
fn side(vantage: Vantage, connections: &[(&str, &str, &[Moved<'_>])]) -> Side {
    let mut tracker = Tracker::new(vantage, Options::default(), Book::default());
    for (number, &(local, remote, all)) in (1..).zip(connections) {
        let conn = ConnId { socket: number, opened: 1 };
        let mut at = [0; 2];
        let mut tell = |time, kind| {
            tracker.event(&Event { time: Timestamp(time), conn, task: None, fd: None, kind });
        };
        let (local, remote) = (address(local), address(remote));
        let exact = vantage.is_process();
        let open = Open { transport: Transport::Udp, local, remote, exact, ..Open::default() };
        tell(BEGIN, Kind::Open(open));
        for &(time, direction, peer, payload, missing) in all {
            let at: &mut u64 = &mut at[direction.index()];
            let offset = *at;
            let length = payload.len() as u64 + missing.map_or(0, |(count, _)| count);
            *at += length;
            let cause = missing.map(|(_, cause)| cause);
            tell(
                time,
                match (payload, cause) {
                    ([], Some(cause)) => {
                        Kind::Loss(Loss { direction, range: Range::new(offset, *at), cause })
                    }
                    _ => Kind::Data(Data {
                        direction,
                        offset,
                        length,
                        payload,
                        tcp_seq: None,
                        peer: address(peer),
                        call: Call::Packet,
                        cause,
                        peek: false,
                        error: None,
                    }),
                },
            );
        }
    }
    let coverage = Coverage { first: Some(Timestamp(BEGIN)), last: Some(Timestamp(END)), cut: false };
    Side { ledgers: tracker.finish().into_ledgers(), coverage, ..Side::default() }
}

/// Whether it is of the process, direction, cause, range.
type Found = (bool, Direction, Cause, u64, u64);

/// Compares sockets with flows; what nobody parses is left out.
#[track_caller]
fn check(
    sockets: &[(&str, &str, &[Moved<'_>])],
    flows: &[(&str, &str, &[Moved<'_>])],
    expected: &[Found],
    verdict: Verdict,
) {
    let (process, wire) = (side(Vantage::Syscall, sockets), side(Vantage::Wire, flows));
    let report = Report::new(&process, &wire);
    let findings = report.connections.iter().flat_map(|one| {
        one.findings.iter().map(move |finding| {
            let range = finding.range;
            (one.of_process, finding.direction, finding.cause, range.from, range.to)
        })
    });
    let found: Vec<Found> = findings.filter(|finding| finding.2 != Cause::ProtocolUnknown).collect();
    assert_eq!(found, expected);
    assert_eq!(report.connections.iter().map(|one| one.residual()).sum::<u64>(), 0);
    assert_eq!(report.verdict(), verdict);
}

const SEND: Direction = Direction::Send;
const RECV: Direction = Direction::Recv;

#[test]
fn datagrams_in_another_order_are_the_same() {
    check(
        &[(
            ANY,
            "",
            &[
                sent(1100, ONE, b"abc"),
                sent(1101, TWO, b"abc"),
                got(1102, ONE, b"x"),
                got(1103, TWO, b"yy"),
                sent(1104, ONE, b"d"),
            ],
        )],
        &[
            (RESOLVER, ONE, &[sent(1103, "", b"d"), sent(1104, "", b"abc"), got(1100, "", b"x")]),
            (RESOLVER, TWO, &[got(1099, "", b"yy"), sent(1101, "", b"abc")]),
        ],
        &[],
        Verdict::Complete,
    );
    // The process may be the server's side of a flow, and not ask who sent.
    check(
        &[(ONE, "", &[got(1100, "", b"abc"), sent(1101, RESOLVER, b"x")])],
        &[(RESOLVER, ONE, &[sent(1100, "", b"abc"), got(1101, "", b"x")])],
        &[],
        Verdict::Complete,
    );
    // Both ends of a flow.
    check(
        &[
            (ANY, ONE, &[sent(1100, "", b"abc"), got(1102, "", b"x")]),
            (ONE, "", &[got(1101, RESOLVER, b"abc"), sent(1101, RESOLVER, b"x")]),
        ],
        &[(RESOLVER, ONE, &[sent(1100, "", b"abc"), got(1101, "", b"x")])],
        &[],
        Verdict::Complete,
    );
}

#[test]
fn what_the_capture_lacks_is_named_one_by_one() {
    let flow: &[Moved<'_>] = &[
        sent(1100, "", b"abc"),
        sent(1300, "", b"hij"),
        (1400, SEND, "", b"kl", Some((2, Cause::WireSnaplen))),
    ];
    check(
        &[(
            ANY,
            ONE,
            &[
                sent(900, "", b"early"),
                sent(1100, "", b"abc"),
                sent(1200, "", b"defg"),
                sent(1300, "", b"hij"),
                sent(1400, "", b"klmn"),
                sent(2100, "", b"late"),
            ],
        )],
        &[(RESOLVER, ONE, flow)],
        &[
            (true, SEND, Cause::WireStartedLate, 0, 5),
            (true, SEND, Cause::WireNotCaptured, 8, 12),
            (true, SEND, Cause::WireSnaplen, 17, 19),
            (true, SEND, Cause::WireEndedEarly, 19, 23),
        ],
        Verdict::Incomplete,
    );
    check(
        &[("10.0.0.1:40001", ONE, &[sent(1100, "", b"abc")])],
        &[],
        &[(true, SEND, Cause::WireNoVantage, 0, 3)],
        Verdict::Incomplete,
    );
}

#[test]
fn what_the_process_lacks_is_named_one_by_one() {
    check(
        &[(ANY, "", &[sent(1100, ONE, b"abc"), got(1200, ONE, b"x")])],
        &[
            (
                RESOLVER,
                ONE,
                &[
                    got(900, "", b"before"),
                    sent(1100, "", b"abc"),
                    got(1200, "", b"x"),
                    got(1300, "", b"unread"),
                    sent(1400, "", b"other"),
                    got(2100, "", b"after"),
                ],
            ),
            ("10.0.0.9:40000", ONE, &[sent(1100, "", b"elsewhere")]),
        ],
        &[
            (true, SEND, Cause::UntracedSyscall, 3, 8),
            (true, RECV, Cause::BeforeAttach, 0, 6),
            (true, RECV, Cause::Unread, 7, 13),
            (true, RECV, Cause::AfterDetach, 13, 18),
            (false, SEND, Cause::NotThisProcess, 0, 9),
        ],
        Verdict::Incomplete,
    );
}

#[test]
fn what_the_process_lost_is_missing_there_alone() {
    let lost = |time, bytes| (time, RECV, "", &b""[..], Some((bytes, Cause::RingFull)));
    check(
        &[(ANY, ONE, &[got(1100, "", b"abc"), lost(1200, 5), lost(1201, 2), got(1300, "", b"d")])],
        &[(
            RESOLVER,
            ONE,
            &[got(1100, "", b"abc"), got(1200, "", b"vwxyz"), got(1201, "", b"uv"), got(1300, "", b"d")],
        )],
        &[(true, RECV, Cause::RingFull, 3, 10)],
        Verdict::Incomplete,
    );
    // A datagram whose bytes were not copied is known by its length.
    let cut = (1100, RECV, "", &b"a"[..], Some((40, Cause::Snaplen)));
    check(
        &[(ANY, ONE, &[cut])],
        &[(RESOLVER, ONE, &[got(1100, "", &[b'a'; 41])])],
        &[(true, RECV, Cause::Snaplen, 1, 41)],
        Verdict::Incomplete,
    );
}

#[test]
fn what_one_call_moves_may_be_several_datagrams_on_the_wire() {
    check(
        &[(ANY, ONE, &[sent(1100, "", b"0123456789abcdef"), got(1200, "", b"uvwxyz")])],
        &[(
            RESOLVER,
            ONE,
            &[
                sent(1100, "", b"01234567"),
                sent(1100, "", b"89abcdef"),
                got(1199, "", b"uvw"),
                got(1199, "", b"xyz"),
            ],
        )],
        &[],
        Verdict::Complete,
    );
}
