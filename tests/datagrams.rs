//! Connections that no capture is compared with, above the sources: their bytes are in the ledger, and nothing is
//! said of them per datagram.

use sockdbg::compare::{Report, Side, Verdict};
use sockdbg::conn::{Options, Tracker};
use sockdbg::event::{
    Call, Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Open, Range, Timestamp, Total,
    Transport, Vantage,
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
    let totals = [Total { moved: offset, end: Some(offset), pending: 0 }; 2];
    tell(Kind::Close(Close { reason: CloseReason::Closed, call: None, totals }));
    let mut ledgers = tracker.finish().into_ledgers();
    assert_eq!(ledgers.len(), 1);
    ledgers.remove(0)
}

/// Compares it with a capture that has nothing of it: verdict, and the findings by cause and range.
fn compared(ledger: Ledger) -> (Verdict, Vec<(Direction, Cause, Range)>) {
    let report = Report::new(&Side { ledgers: vec![ledger], ..Side::default() }, &Side::default());
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
