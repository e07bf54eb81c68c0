//! Datagrams above the sources: what no capture is compared with is in the ledger, and nothing is said of it per datagram;
//! UDP is compared with captures datagram by datagram.

mod parts;

use sockdbg::compare::{Collector, Coverage, Report, Side, Verdict};
use sockdbg::conn::{Observer, Options, Tracker};
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
                past_tcp: false,
                acked: None,
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

/// Shows an observer these sockets or flows: local end, remote end, and what moved.
fn observed<O: Observer>(vantage: Vantage, connections: &[(&str, &str, &[Moved<'_>])], observer: O) -> O {
    let mut tracker = Tracker::new(vantage, Options::default(), observer);
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
                    ([], Some(cause)) if cause != Cause::WirePayloadLeftOut => {
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
                        past_tcp: false,
                        acked: None,
                        error: None,
                    }),
                },
            );
        }
    }
    tracker.finish()
}

/// One side with these sockets or flows.
fn side(vantage: Vantage, connections: &[(&str, &str, &[Moved<'_>])]) -> Side {
    let coverage = Coverage { first: Some(Timestamp(BEGIN)), last: Some(Timestamp(END)), cut: false };
    let ledgers = observed(vantage, connections, Book::default()).into_ledgers();
    Side { ledgers, coverage, ..Side::default() }
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

const VIP: &str = "10.96.0.10:53";
const OUTSIDE: &str = "198.51.100.9:61000";
const POD: &str = "10.244.0.7:1053";
const OTHER_OUTSIDE: &str = "198.51.100.9:61001";

/// Two questions and their answers, as the client sees them.
fn asked(time: u64, peer: &str) -> [Moved<'_>; 4] {
    [
        sent(time, peer, b"question one"),
        got(time + 1, peer, b"answer one"),
        sent(time + 2, peer, b"question two"),
        got(time + 3, peer, b"answer two"),
    ]
}

const TRANSLATED: Cause = Cause::WireAddressTranslated;

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
    // The JSON of tshark may lack payload: the length tells the datagram.
    check(
        &[(ANY, ONE, &[sent(1100, "", b"abc")])],
        &[(RESOLVER, ONE, &[(1100, SEND, "", b"", Some((3, Cause::WirePayloadLeftOut)))])],
        &[(true, SEND, Cause::WirePayloadLeftOut, 0, 3)],
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

/// Cause, range, number of missing records, and those that are listed: protocol, summary, range.
type NamedRange = (Cause, Range, u64, Vec<(&'static str, String, Range)>);

/// A query for the address of a name (RFC 1035, section 4.1), and the answer that there is none.
fn dns(id: u8, name: &str) -> [Vec<u8>; 2] {
    let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let mut answer = query.clone();
    answer[2] |= 0x80;
    [query, answer]
}

/// What the process lacks of datagrams, the capture names: lost ones of two flows in one range, and the rest of one that was
/// cut.
#[test]
fn missing_datagrams_are_named_by_what_was_in_them() {
    let [a, b, c, d] =
        [(1, "a.test"), (2, "bb.test"), (3, "c.test"), (4, "d.test")].map(|(id, name)| dns(id, name));
    let lengths = [&a, &b, &c, &d].map(|pair| pair[1].len() as u64);
    let lost = |time, bytes| (time, RECV, "", &b""[..], Some((bytes, Cause::RingFull)));
    let cut = (1600, RECV, ONE, &d[1][..15], Some((lengths[3] - 15, Cause::Snaplen)));
    let sockets: &[(&str, &str, &[Moved<'_>])] = &[(
        ANY,
        "",
        &[
            sent(1100, ONE, &a[0]),
            got(1150, ONE, &a[1]),
            sent(1200, ONE, &b[0]),
            lost(1250, lengths[1]),
            sent(1300, TWO, &c[0]),
            lost(1350, lengths[2]),
            sent(1500, ONE, &d[0]),
            cut,
        ],
    )];
    let flows: &[(&str, &str, &[Moved<'_>])] = &[
        (
            RESOLVER,
            ONE,
            &[
                sent(1100, "", &a[0]),
                got(1150, "", &a[1]),
                sent(1200, "", &b[0]),
                got(1250, "", &b[1]),
                sent(1500, "", &d[0]),
                got(1600, "", &d[1]),
            ],
        ),
        (RESOLVER, TWO, &[sent(1300, "", &c[0]), got(1350, "", &c[1])]),
    ];
    let (process, wire) = (side(Vantage::Syscall, sockets), side(Vantage::Wire, flows));
    let mut report = Report::new(&process, &wire);
    let collector = Collector::new(report.wanted());
    report.name_missing(observed(Vantage::Wire, flows, collector));
    let before: Vec<u64> = (0..=4).map(|count| lengths[..count].iter().sum()).collect();
    let findings = report.connections[0].findings.iter().filter(|finding| finding.direction == RECV);
    let findings = findings.filter(|finding| [Cause::RingFull, Cause::Snaplen].contains(&finding.cause));
    let named = |finding: &sockdbg::compare::Finding| {
        let records =
            finding.records.iter().map(|one| (one.protocol, one.summary.clone(), one.range)).collect();
        (finding.cause, finding.range, finding.record_count, records)
    };
    let missing = |name: &str, index: usize| {
        let summary = format!("NOERROR A {name} -> no answer");
        ("dns", summary, Range::new(before[index], before[index + 1]))
    };
    let found: Vec<NamedRange> = findings.map(named).collect();
    let expected = vec![
        (Cause::Snaplen, Range::new(before[3] + 15, before[4]), 1, vec![missing("d.test", 3)]),
        (
            Cause::RingFull,
            Range::new(before[1], before[3]),
            2,
            vec![missing("bb.test", 1), missing("c.test", 2)],
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_translated_talk_is_told_by_its_contents() {
    let flow = asked(1100, "");
    // A connected socket, and one that names its peer each time; a server behind the translation.
    for (remote, peer) in [(VIP, ""), ("", VIP)] {
        let talk = asked(1100, peer);
        check(
            &[(ANY, remote, &talk)],
            &[(OUTSIDE, POD, &flow)],
            &[(true, SEND, TRANSLATED, 0, 24), (true, RECV, TRANSLATED, 0, 20)],
            Verdict::Complete,
        );
        let lost_in_capture = [flow[0], flow[1], flow[3]];
        check(
            &[(ANY, remote, &talk)],
            &[(OUTSIDE, POD, &lost_in_capture)],
            &[
                (true, SEND, TRANSLATED, 0, 12),
                (true, SEND, Cause::WireNotCaptured, 12, 24),
                (true, RECV, TRANSLATED, 0, 20),
            ],
            Verdict::Incomplete,
        );
        let lost_in_socket = [talk[0], talk[1], talk[2]];
        check(
            &[(ANY, remote, &lost_in_socket)],
            &[(OUTSIDE, POD, &flow)],
            &[
                (true, SEND, TRANSLATED, 0, 24),
                (true, RECV, TRANSLATED, 0, 10),
                (true, RECV, Cause::Unread, 10, 20),
            ],
            Verdict::Incomplete,
        );
    }
    let served = [
        got(1100, RESOLVER, b"question one"),
        sent(1101, RESOLVER, b"answer one"),
        got(1102, ONE, b"ignored"),
    ];
    check(
        &[("0.0.0.0:1053", "", &served)],
        &[
            (OUTSIDE, VIP, &[sent(1100, "", b"question one"), got(1101, "", b"answer one")]),
            (ONE, "10.0.0.1:1053", &[sent(1102, "", b"ignored")]),
        ],
        &[(true, SEND, TRANSLATED, 0, 10), (true, RECV, TRANSLATED, 0, 12)],
        Verdict::Complete,
    );
}

/// A capture of every interface has what is translated on its way twice.
#[test]
fn a_talk_on_both_sides_of_a_translation_is_seen_again() {
    let near = asked(1100, "");
    let again = [(false, SEND, TRANSLATED, 0, 24), (false, RECV, TRANSLATED, 0, 20)];
    let foreign = [(false, SEND, Cause::NotThisProcess, 0, 24), (false, RECV, Cause::NotThisProcess, 0, 20)];
    let sockets: &[(&str, &str, &[Moved<'_>])] = &[(ANY, VIP, &near)];
    check(sockets, &[(RESOLVER, VIP, &near), (OUTSIDE, POD, &asked(1101, ""))], &again, Verdict::Complete);
    // One that was lost on one side is no other talk; a single one that agrees tells nothing.
    let most = asked(1101, "");
    check(
        sockets,
        &[(RESOLVER, VIP, &near), (OUTSIDE, POD, &most[..3])],
        &[again[0], (false, RECV, TRANSLATED, 0, 10)],
        Verdict::Complete,
    );
    check(
        sockets,
        &[(RESOLVER, VIP, &near), (OUTSIDE, POD, &most[..1])],
        &[(false, SEND, Cause::NotThisProcess, 0, 12)],
        Verdict::Complete,
    );
    // A proxy sends datagrams of its own.
    let proxy = VIP.replace(":53", ":50000");
    check(sockets, &[(RESOLVER, VIP, &near), (&proxy, POD, &asked(1101, ""))], &foreign, Verdict::Complete);
}

/// The addresses under which the capture has a socket are given where all of it is there.
#[test]
fn a_report_has_both_tuples_of_a_translated_socket() {
    let process = side(Vantage::Syscall, &[(RESOLVER, VIP, &asked(1100, ""))]);
    let wire = side(Vantage::Wire, &[(OUTSIDE, POD, &asked(1100, ""))]);
    let report = Report::new(&process, &wire);
    let one = &report.connections[0];
    assert_eq!(one.translated, Some([OUTSIDE, POD].map(|end| address(end).unwrap())));
    let translated: Vec<_> = one.findings.iter().filter(|finding| finding.cause == TRANSLATED).collect();
    assert_eq!(translated.len(), 2);
    for finding in translated {
        let expected = format!("{RESOLVER} -> {VIP} at the process is {OUTSIDE} -> {POD} in the capture");
        assert!(finding.detail.starts_with(&expected), "{}", finding.detail);
    }
}

#[test]
fn contents_that_come_again_elsewhere_are_ambiguous() {
    let ambiguous = [(true, SEND, Cause::WireAmbiguous, 0, 24), (true, RECV, Cause::WireAmbiguous, 0, 20)];
    let other = |from: u64| {
        [(false, SEND, Cause::NotThisProcess, from, 24), (false, RECV, Cause::NotThisProcess, from, 20)]
    };
    // Two flows that may be it.
    check(
        &[(ANY, VIP, &asked(1100, ""))],
        &[(OUTSIDE, POD, &asked(1100, "")), (OTHER_OUTSIDE, POD, &asked(1150, ""))],
        &[ambiguous, other(0), other(0)].concat(),
        Verdict::Incomplete,
    );
    // Two sockets that may be it.
    check(
        &[(ANY, VIP, &asked(1100, "")), ("0.0.0.0:40001", VIP, &asked(1150, ""))],
        &[(OUTSIDE, POD, &asked(1100, ""))],
        &[ambiguous, ambiguous, other(0)].concat(),
        Verdict::Incomplete,
    );
    // How often it comes is no difference: any of them may have been lost.
    let beats = |count: usize| [sent(1100, "", b"the heart beats"), got(1101, "", b"it does")].repeat(count);
    let (three, two) = (beats(3), beats(2));
    check(
        &[(ANY, VIP, &three), ("0.0.0.0:40001", VIP, &two)],
        &[(OUTSIDE, POD, &three), (OTHER_OUTSIDE, POD, &two)],
        &[
            (true, SEND, Cause::WireAmbiguous, 0, 45),
            (true, RECV, Cause::WireAmbiguous, 0, 21),
            (true, SEND, Cause::WireAmbiguous, 0, 30),
            (true, RECV, Cause::WireAmbiguous, 0, 14),
            (false, SEND, Cause::NotThisProcess, 0, 45),
            (false, RECV, Cause::NotThisProcess, 0, 21),
            (false, SEND, Cause::NotThisProcess, 0, 30),
            (false, RECV, Cause::NotThisProcess, 0, 14),
        ],
        Verdict::Incomplete,
    );
    // So little may be anybody's.
    check(
        &[(ANY, VIP, &[sent(1100, "", b"ping"), got(1101, "", b"pong")])],
        &[(OUTSIDE, POD, &[sent(1100, "", b"ping"), got(1101, "", b"pong")])],
        &[
            (true, SEND, Cause::WireAmbiguous, 0, 4),
            (true, RECV, Cause::WireAmbiguous, 0, 4),
            (false, SEND, Cause::NotThisProcess, 0, 4),
            (false, RECV, Cause::NotThisProcess, 0, 4),
        ],
        Verdict::Incomplete,
    );
}

#[test]
fn one_content_of_its_own_tells_a_talk_and_leaves_the_other_to_the_rest() {
    let alike = asked(1100, "");
    let own = [alike[0], alike[1], alike[2], alike[3], sent(1110, "", b"its own")];
    let translated = |sent| [(true, SEND, TRANSLATED, 0, sent), (true, RECV, TRANSLATED, 0, 20)];
    check(
        &[(ANY, VIP, &alike), ("0.0.0.0:40001", VIP, &own)],
        &[(OUTSIDE, POD, &own), (OTHER_OUTSIDE, POD, &alike)],
        &[translated(24), translated(31)].concat(),
        Verdict::Complete,
    );
}

#[test]
fn what_an_end_sends_back_is_told_by_who_had_it_first() {
    let echoed = [sent(1100, "", b"an echo of it"), got(1101, "", b"an echo of it")];
    let flow = [got(1100, "", b"an echo of it"), sent(1101, "", b"an echo of it")];
    let more = [sent(1110, "", b"another one"), got(1111, "", b"another one")];
    let back = [got(1110, "", b"another one"), sent(1111, "", b"another one")];
    let found = [(true, SEND, TRANSLATED, 0, 24), (true, RECV, TRANSLATED, 0, 24)];
    let (client, flipped) = ([echoed, more].concat(), [flow, back].concat());
    check(&[(ANY, VIP, &client)], &[(OUTSIDE, POD, &client)], &found, Verdict::Complete);
    // The capture took the other end for the client.
    check(&[(ANY, VIP, &client)], &[(POD, OUTSIDE, &flipped)], &found, Verdict::Complete);
    // Both ends, and no address of them.
    check(
        &[(ANY, VIP, &client), ("10.244.0.7:2053", "10.0.0.99:7", &flipped)],
        &[("198.51.100.9:61000", "192.0.2.1:9", &client)],
        &[found, found].concat(),
        Verdict::Complete,
    );
}

/// A proxy has the content of its client's datagrams on another socket: it is no translation that shows one of them.
#[test]
fn the_far_side_of_a_proxy_is_not_the_near_one() {
    let near = [
        got(1100, RESOLVER, b"question one"),
        sent(1103, RESOLVER, b"answer one"),
        got(1104, RESOLVER, b"question two"),
        sent(1107, RESOLVER, b"answer two"),
    ];
    check(
        &[(ONE, "", &near), ("192.0.2.1:50000", VIP, &asked(1101, ""))],
        &[(RESOLVER, ONE, &asked(1099, ""))],
        &[(true, SEND, Cause::WireNoVantage, 0, 24), (true, RECV, Cause::WireNoVantage, 0, 20)],
        Verdict::Incomplete,
    );
}

#[test]
fn other_datagrams_are_another_talk_and_a_group_is_not_translated() {
    let absent = [(true, SEND, Cause::WireNoVantage, 0, 24), (true, RECV, Cause::WireNoVantage, 0, 20)];
    let others = [
        sent(1100, "", b"question one"),
        got(1101, "", b"ANSWER ONE"),
        sent(1102, "", b"question two"),
        got(1103, "", b"ANSWER TWO"),
    ];
    let foreign = [(false, SEND, Cause::NotThisProcess, 0, 24), (false, RECV, Cause::NotThisProcess, 0, 20)];
    check(
        &[(ANY, VIP, &asked(1100, ""))],
        &[(OUTSIDE, POD, &others)],
        &[absent, foreign].concat(),
        Verdict::Incomplete,
    );
    let group = "224.0.0.251:5353";
    let asks = [sent(1100, group, b"who is printer.local"), sent(1101, group, b"who is there")];
    check(
        &[("10.0.0.1:40000", "", &asks)],
        &[("10.0.0.7:5353", group, &asks.map(|one| sent(one.0, "", one.3)))],
        &[(true, SEND, Cause::WireNoVantage, 0, 32), (false, SEND, Cause::NotThisProcess, 0, 32)],
        Verdict::Incomplete,
    );
}

/// The capture's clock is an hour ahead, which the datagrams tell themselves.
#[test]
fn the_clocks_of_datagrams_may_differ() {
    const HOUR: u64 = 3_600_000_000_000;
    let process = side(Vantage::Syscall, &[(RESOLVER, VIP, &asked(1100, "")[..3])]);
    let all = asked(1100 + HOUR, "");
    for (flow, translated) in [((RESOLVER, VIP), 0), ((OUTSIDE, POD), 2)] {
        let mut wire = side(Vantage::Wire, &[(flow.0, flow.1, &all)]);
        let [first, last] = [BEGIN, END].map(|time| Some(Timestamp(time + HOUR)));
        wire.coverage = Coverage { first, last, cut: false };
        let report = Report::new(&process, &wire);
        assert_eq!(report.clock.map(|clock| (clock.ahead, clock.same)), Some((HOUR as i64, false)));
        let causes = report.connections.iter().flat_map(|one| &one.findings).map(|finding| finding.cause);
        let causes: Vec<Cause> = causes.filter(|cause| *cause != Cause::ProtocolUnknown).collect();
        // Not taken for what came after the trace.
        assert_eq!(causes, [vec![TRANSLATED; translated], vec![Cause::Unread]].concat());
        let times = report.connections[1].findings[0].times.unwrap();
        assert!(times.iter().all(|time| (BEGIN..END).contains(&time.0)), "{times:?}");
    }
}
