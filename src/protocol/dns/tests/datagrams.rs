//! DNS over UDP, and its kin of the local network.

use super::*;
use crate::protocol::Verdict;
use crate::protocol::exchange::PENDING_MAX;
use crate::protocol::testing::Outcome;
use std::net::SocketAddr;

const SECOND: u64 = 1_000_000_000;

/// What moved: when, which way, to or from whom, and how many bytes of it are missing.
struct Moved {
    at: u64,
    direction: Direction,
    peer: &'static str,
    bytes: Vec<u8>,
    cut: u64,
}

fn moved(at: u64, direction: Direction, peer: &'static str, message: Writer) -> Moved {
    Moved { at, direction, peer, bytes: message.0, cut: 0 }
}

fn sent(at: u64, message: Writer) -> Moved {
    moved(at, Direction::Send, "192.0.2.53:53", message)
}

fn received(at: u64, message: Writer) -> Moved {
    moved(at, Direction::Recv, "192.0.2.53:53", message)
}

/// What a socket at `local` is told, through detection; every byte has to be accounted for.
fn run_at(local: &str, all: &[Moved], options: Options) -> Outcome {
    let mut parser = (PROTOCOL.parser)(options);
    let (mut out, mut at) = (Outcome::default(), [0u64; 2]);
    let local: SocketAddr = local.parse().unwrap();
    for one in all {
        let from = at[one.direction.index()];
        let range = Range::new(from, from + one.bytes.len() as u64 + one.cut);
        at[one.direction.index()] = range.to;
        let peer: Option<SocketAddr> = (!one.peer.is_empty()).then(|| one.peer.parse().unwrap());
        let datagram = Datagram {
            direction: one.direction,
            range,
            time: Timestamp(one.at),
            data: &one.bytes,
            cause: (one.cut > 0).then_some(Cause::WireSnaplen),
            local: Some(local.into()),
            peer: peer.map(Address::from),
        };
        let verdict = detect::datagram(&datagram);
        assert!(matches!(verdict, Verdict::Match(_)), "{verdict:?}");
        parser.datagram(datagram, &mut out);
    }
    parser.close(End::Closed, Timestamp(0), &mut out);
    out
}

fn check(all: &[Moved], expected: &[&str]) -> Outcome {
    let outcome = run_at("10.0.0.1:40000", all, shown().options);
    assert_eq!(outcome.summaries(), expected);
    outcome
}

#[test]
fn a_query_is_answered() {
    let outcome =
        check(&[sent(1, query(1, 1)), received(5, address(1, 7))], &["NOERROR A example.org -> 192.0.2.7"]);
    assert_eq!(outcome.records[0].latency(), Some(4));
}

#[test]
fn a_query_that_is_sent_again_is_one_and_its_second_answer_is_told() {
    let outcome = check(
        &[
            sent(0, query(1, 1)),
            sent(5 * SECOND, query(1, 1)),
            received(6 * SECOND, address(1, 7)),
            received(7 * SECOND, address(1, 7)),
        ],
        &["NOERROR A example.org -> 192.0.2.7", "NOERROR A example.org -> 192.0.2.7 repeated"],
    );
    assert_eq!(field(&outcome.records[0], "retransmissions"), Some(&Value::Number(1)));
    assert_eq!(outcome.records[0].latency(), Some(6 * SECOND));
    assert_eq!(field(&outcome.records[1], "repeated"), Some(&Value::Flag(true)));
}

#[test]
fn a_query_is_given_up_after_a_minute_and_beyond_the_bound() {
    check(
        &[sent(0, query(1, 1)), sent(61 * SECOND, query(2, 1))],
        &["A example.org [no-response]", "A example.org [no-response]"],
    );
    let many: Vec<Moved> = (0..=PENDING_MAX as u16).map(|id| sent(0, query(id, 1))).collect();
    let outcome = run_at("10.0.0.1:40000", &many, Options::default());
    assert_eq!(outcome.records.len(), many.len());
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!(limited, 1);
}

#[test]
fn of_one_socket_with_several_peers_each_answers_for_itself() {
    let to = |at, peer, message| moved(at, Direction::Send, peer, message);
    let from = |at, peer, message| moved(at, Direction::Recv, peer, message);
    check(
        &[
            to(0, "192.0.2.1:53", query(1, 1)),
            to(0, "192.0.2.2:53", query(1, 1)),
            from(1, "192.0.2.2:53", address(1, 2)),
            from(1, "192.0.2.3:53", address(1, 3)),
            from(2, "192.0.2.1:53", address(1, 1)),
        ],
        &[
            "NOERROR A example.org -> 192.0.2.2",
            "NOERROR A example.org -> 192.0.2.3 [no-request]",
            "NOERROR A example.org -> 192.0.2.1",
        ],
    );
    // Who sent the response is not known where the call did not ask.
    check(
        &[to(0, "192.0.2.1:53", query(1, 1)), from(1, "", address(1, 1))],
        &["NOERROR A example.org -> 192.0.2.1"],
    );
}

#[test]
fn what_a_snap_length_cuts_is_read_as_far_as_it_came() {
    let mut cut = received(1, address(1, 1).record(Section::Answer, SAME, 1, &[192, 0, 2, 9]));
    cut.bytes.truncate(cut.bytes.len() - 3);
    cut.cut = 3;
    let outcome = check(&[sent(0, query(1, 1)), cut], &["NOERROR A example.org -> 192.0.2.1 [truncated]"]);
    assert_eq!(outcome.records[0].causes(), [Cause::WireSnaplen]);
}

#[test]
fn a_truncated_response_says_so() {
    let cut = Writer::new(1, RESPONSE | 0x0200).question(NAME, 16, 1);
    check(&[sent(0, query(1, 16)), received(1, cut)], &["NOERROR TXT example.org -> no answer truncated"]);
}

#[test]
fn updates_and_notifications_are_called_so() {
    let update = |flags: u16| Writer::new(1, flags).question(NAME, 6, 1);
    let asked = update(0x2800)
        .whole_record(Section::Authority, SAME, 1, 1, 300, &[192, 0, 2, 1])
        .whole_record(Section::Authority, SAME, 28, 255, 0, b"");
    let notify = |flags: u16| Writer::new(2, flags).question(NAME, 6, 1);
    let outcome = check(
        &[sent(0, asked), received(1, update(0xa800)), received(2, notify(0x2400)), sent(3, notify(0xa400))],
        &["NOERROR UPDATE example.org 2 changes", "NOERROR NOTIFY SOA example.org"],
    );
    let Some(Value::List(changes)) = field(&outcome.records[0], "update") else { panic!("no changes") };
    assert_eq!(changes.len(), 2);
}

#[test]
fn multicast_dns_needs_no_answer() {
    const LOCAL: &[u8] = b"\x04host\x05local\x00";
    let to_all = |at, message| moved(at, Direction::Send, "224.0.0.251:5353", message);
    let asked = Writer::new(0, 0).question(LOCAL, 1, 0x8001);
    let told = Writer::new(0, 0x8400).whole_record(Section::Answer, LOCAL, 1, 0x8001, 120, &[10, 0, 0, 2]);
    let heard = moved(2, Direction::Recv, "10.0.0.2:5353", told.clone());
    let outcome = run_at("10.0.0.1:5353", &[to_all(0, asked), to_all(1, told), heard], shown().options);
    let expected = ["mDNS A host.local", "mDNS -> A host.local 10.0.0.2", "mDNS -> A host.local 10.0.0.2"];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(field(&outcome.records[0], "unicast-response"), Some(&Value::Flag(true)));
    let Some(Value::List(answers)) = field(&outcome.records[1], "answer") else { panic!("no answer") };
    let Value::Map(entries) = &answers[0] else { panic!("no record") };
    assert!(entries.contains(&(Value::Text("cache-flush".into()), Value::Flag(true))));
    assert!(entries.contains(&(Value::Text("class".into()), Value::Text("IN".into()))));
}

#[test]
fn a_link_local_name_is_asked_of_many_and_told_by_one() {
    let to_all = |at, message| moved(at, Direction::Send, "224.0.0.252:5355", message);
    let from_one = moved(1, Direction::Recv, "10.0.0.2:5355", address(1, 2));
    let all = [to_all(0, query(1, 1)), from_one, to_all(2, query(2, 28))];
    let outcome = run_at("10.0.0.1:50000", &all, shown().options);
    assert_eq!(outcome.summaries(), ["NOERROR LLMNR A example.org -> 192.0.2.2", "LLMNR AAAA example.org"]);
}

#[test]
fn damaged_messages_are_known_by_port_and_keep_what_can_be_read() {
    let mut damaged = address(1, 1).record(Section::Answer, &[0x80], 1, &[1, 2, 3, 4]);
    let outcome = check(
        &[sent(0, query(1, 1)), received(1, damaged.clone())],
        &["NOERROR A example.org -> 192.0.2.1 [truncated]"],
    );
    let reason = Value::Text("answer record 2: a label of an unknown kind".into());
    assert_eq!(field(&outcome.records[0], "malformed"), Some(&reason));
    // Without its question it is none.
    damaged.0[12] = 0x80;
    let outcome = check(&[received(0, damaged)], &[]);
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
}

fn judge(bytes: &[u8], port: u16) -> Verdict {
    detect::datagram(&Datagram {
        direction: Direction::Send,
        range: Range::new(0, bytes.len() as u64),
        time: Timestamp(0),
        data: bytes,
        cause: None,
        local: None,
        peer: Some(SocketAddr::from(([192, 0, 2, 1], port)).into()),
    })
}

#[test]
fn a_datagram_is_known_whole_wherever_it_goes_and_no_other_is() {
    assert_eq!(judge(&query(1, 1).0, 9999), Verdict::Match(95));
    assert_eq!(judge(&address(1, 1).0, 9999), Verdict::Match(95));
    let trailing = [&query(1, 1).0[..], b"x"].concat();
    assert_eq!(judge(&trailing, 53), Verdict::Match(50));
    for other in [&trailing[..], &query(1, 1).0[..20], &Writer::new(1, 0x8105).0] {
        assert!(matches!(judge(other, 9999), Verdict::No(_)), "{other:?}");
    }
    // A name query of NetBIOS (RFC 1002, section 4.2.12), which can be read as one of DNS.
    let netbios = Writer::new(1, 0x0110).question(b"\x20FHEPFCELEHFCEPFFFACACACACACACABM\x00", 0x20, 1);
    assert!(matches!(judge(&netbios.0, 137), Verdict::No(_)));
    // NTP (RFC 5905), SNMP, a STUN request, QUIC, and text.
    let ntp = [&[0x23, 0, 6, 0xec][..], &[0; 44]].concat();
    let snmp = b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x01";
    let stun = [&b"\x00\x01\x00\x00\x21\x12\xa4\x42"[..], &[7; 12]].concat();
    let quic = [&[0xc3, 0, 0, 0, 1, 8][..], &[9; 1200]].concat();
    for other in [&ntp[..], snmp, &stun, &quic, b"hello, this is some text\n", &[0; 64], &[0xff; 64]] {
        for port in [53, 9999] {
            assert!(matches!(judge(other, port), Verdict::No(_)), "{port} {other:?}");
        }
    }
}
