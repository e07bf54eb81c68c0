//! Records where segments are missing: what is not affected stays as it is, what lacks bytes or a half says so. With
//! SOCKDBG_LONG=1 every segment of every capture is lost once, otherwise a few of each. SOCKDBG_ONLY=WORD takes the captures
//! with that word in their names, and prints what is known to be wrong of them. Of protocols without captures conversations
//! lose theirs.

mod common;

use common::captures::files;
use common::losses::{Losses, Wrong, lose_each, lose_each_step, remove_each};
use sockdbg::event::Direction;
use std::collections::BTreeSet;

const FOLDERS: [&str; 13] = [
    "amqp", "cql", "dns", "http", "http2", "kafka", "mongodb", "mux", "mysql", "nats", "postgres", "redis",
    "tls",
];

/// Segments lost of each capture, unless all are.
const SAMPLE: usize = 6;

/// Captures longer than this are left to other tests: each loss takes a run over all of it.
const LENGTH_MAX: u64 = 2 << 20;

/// The same where the file is read again without each packet.
const REMOVED_LENGTH_MAX: u64 = 64 << 10;

const ORDER: &str = "pairs by order, and nothing tells how many messages the lost bytes held";
const ALIKE: &str = "those that wait are alike, and an answer to one of them may be lost";
const STREAM_END: &str =
    "whether a frame came behind the end of its stream is told by that end alone, which is lost";
const SEARCHED: &str = "behind a loss one message by itself is not certain to be one";
const TUNNEL: &str = "what tells that another protocol follows is lost";
const PROTOCOL: &str = "what tells the protocol is lost";
const MORE_LOST: &str =
    "the capture itself lacks bytes, and with those before them lost too the next pair is certain";
const UNMASKED: &str = "a client that does not mask its frames breaks the protocol, and with the first ones lost nothing tells that it does";
const EMPTY: &str = "an empty line behind a loss can be the end of what is lost";
const SSL2: &str = "nothing but the hellos tells SSL 2 from other bytes, and one is lost";
const VIOLATION: &str = "the peers break the protocol, and what shows that is lost";
const REPEATED: &str = "an answer that came again is the only one where the first, or its question, is lost";
const FIN_OR_BYTE: &str = "the last number that was acknowledged may be that of a FIN, and with a byte less its record lacks its end";
const CIPHERTEXT: &str =
    "the record of all ciphertext counts what came whole, and does not say that the last of it is cut";

/// Captures of which some loss leads to what is known to be wrong, and why.
#[rustfmt::skip]
const KNOWN: &[(&str, Wrong, &str)] = &[
    ("dns/ndpi--malformed_dns.pcap", Wrong::Missing, REPEATED),
    ("http/ndpi--http_connect.pcap", Wrong::Missing, TUNNEL),
    ("http/ndpi--http_starting_with_reply.pcapng", Wrong::Missing, ORDER),
    ("http/ndpi--http_ua_splitted_in_two_pkts.pcapng", Wrong::Missing, ORDER),
    ("http/suricata--http-gap-beyond-body.pcap", Wrong::Mispaired, MORE_LOST),
    ("http/suricata--http-gap-beyond-body.pcap", Wrong::Missing, ORDER),
    ("http/suricata--http-gap-double.pcap", Wrong::Missing, ORDER),
    ("http/suricata--http-gap-simple.pcap", Wrong::Missing, ORDER),
    ("http/suricata--http-gap-whole-body.pcap", Wrong::Mispaired, MORE_LOST),
    ("http/suricata--http-gap-whole-body.pcap", Wrong::Missing, ORDER),
    ("http/suricata--http-post-file.pcap", Wrong::Missing, ORDER),
    ("http/zeek--http--docker-http-upgrade.pcap", Wrong::Missing, ORDER),
    ("http/zeek--http--http-bad-request-with-version.pcap", Wrong::Missing, PROTOCOL),
    ("http/zeek--http--http-desync-request-response-5.pcap", Wrong::Mispaired, ORDER),
    ("http/zeek--http--http-desync-request-response-5.pcap", Wrong::Missing, ORDER),
    ("http/zeek--http--missing-zlib-header.pcap", Wrong::Missing, ORDER),
    ("http/zeek--http--zero-length-bodies-with-drops.pcap", Wrong::Missing, ORDER),
    ("http/zeek--websocket--wstunnel-http.pcap", Wrong::Missing, UNMASKED),
    ("http2/arkime--http2-nghttp2.pcap", Wrong::Missing, SEARCHED),
    ("http2/deepflow--http--grpc-service-name.pcap", Wrong::Missing, ALIKE),
    ("http2/suricata--dns-over-http2--dns_over_https.pcap", Wrong::Invented, STREAM_END),
    ("http2/suricata--dns-over-http2--dns_over_https.pcap", Wrong::Missing, STREAM_END),
    ("http2/suricata--dns-over-http2-limit.pcap", Wrong::Altered, STREAM_END),
    ("http2/suricata--dns-over-http2-limit.pcap", Wrong::Missing, STREAM_END),
    ("kafka/ndpi--kafka.pcap", Wrong::Missing, PROTOCOL),
    ("redis/tcpdump--resp_3_malicious.pcap", Wrong::Missing, PROTOCOL),
    ("redis/zeek--redis--bulk-loading.pcap", Wrong::Missing, EMPTY),
    ("redis/zeek--redis--start-with-server.pcapng", Wrong::Missing, PROTOCOL),
    ("tls/arkime--https-connect.pcap", Wrong::Missing, TUNNEL),
    ("tls/suricata--tls-duplicate-hello.pcap", Wrong::Invented, VIOLATION),
    ("tls/zeek--tls--ssl-v2.pcap", Wrong::Missing, SSL2),
    ("tls/zeek--tls--tls1.2-protocol-violation.pcap", Wrong::Invented, VIOLATION),
    ("tls/zeek--tls--tls1.2-protocol-violation.pcap", Wrong::Missing, VIOLATION),
];

/// The same of files that lack a packet alone.
#[rustfmt::skip]
const KNOWN_OF_FILES: &[(&str, Wrong, &str)] = &[
    ("tls/ndpi--tls_2_reasms_b.pcapng", Wrong::Invented, FIN_OR_BYTE),
    ("tls/suricata--tls--tls-cert-noissuer--tls.pcap", Wrong::Invented, CIPHERTEXT),
    ("tls/zeek--tls--client-certificate.pcap", Wrong::Invented, CIPHERTEXT),
    ("tls/zeek--tls--heartbleed-success.pcap", Wrong::Invented, CIPHERTEXT),
];

#[test]
fn a_lost_segment_affects_its_own_records_only() {
    check_captures(LENGTH_MAX, KNOWN, &[], |file, most| Some(lose_each(file, most)));
}

/// Where a packet is missing in a file, that shows later: by what lies behind its bytes, or was answered to them.
#[test]
fn a_packet_that_a_file_lacks_affects_its_own_records_only() {
    check_captures(REMOVED_LENGTH_MAX, KNOWN_OF_FILES, KNOWN, remove_each);
}

/// Compares captures of all folders, of at most a length, with what `lose` makes of them. What is `known` to be wrong has to
/// be so; what `may` be wrong need not.
fn check_captures(
    length_max: u64,
    known: &[(&str, Wrong, &str)],
    may: &[(&str, Wrong, &str)],
    lose: impl Fn(&str, usize) -> Option<Losses>,
) {
    let long = common::is_long();
    let only = std::env::var("SOCKDBG_ONLY").ok();
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        let mut total = Losses::default();
        let short = |file: &String| {
            common::captures::folder()
                .join(file)
                .metadata()
                .is_ok_and(|metadata| metadata.len() <= length_max)
        };
        let wanted = |file: &String| only.as_ref().is_none_or(|only| file.contains(only));
        for file in files(folder).iter().filter(|file| short(file) && wanted(file)) {
            let Some(losses) = lose(file, if long { usize::MAX } else { SAMPLE }) else { continue };
            total.unaffected += losses.unaffected;
            total.kept += losses.kept;
            total.unknown += losses.unknown;
            total.untold += losses.untold;
            let of_file = |rows: &[(&str, Wrong, &str)]| -> BTreeSet<Wrong> {
                rows.iter().filter(|row| row.0 == file).map(|row| row.1).collect()
            };
            let (known, may) = (of_file(known), of_file(may));
            let found: BTreeSet<Wrong> = losses.wrong.keys().copied().collect();
            for (kind, all) in losses.wrong {
                let lines = all.into_iter().map(|what| format!("{kind:?}: {what}"));
                match known.contains(&kind) || may.contains(&kind) {
                    true if only.is_some() => lines.for_each(|line| println!("known, {line}")),
                    true => {}
                    false => wrong.extend(lines),
                }
            }
            if long {
                let passes = known.difference(&found);
                wrong.extend(passes.map(|kind| format!("{file}: {kind:?} passes; take it out of KNOWN")));
            }
        }
        let Losses { unaffected, kept, unknown, untold, .. } = total;
        println!(
            "{folder}: of {unaffected} records that a loss does not touch, {kept} stay, {unknown} say what is unknown; \
             {untold} losses that nothing tells of"
        );
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Bytes that a client sends.
fn send(bytes: &[u8]) -> (Direction, &[u8]) {
    (Direction::Send, bytes)
}

/// Bytes that it gets.
fn recv(bytes: &[u8]) -> (Direction, &[u8]) {
    (Direction::Recv, bytes)
}

/// Loses each segment of a conversation once. Of `records` that no loss touches, counted over all of them, each has to stay,
/// or to say what of it is unknown.
#[track_caller]
fn check_conversation(name: &str, steps: &[(Direction, &[u8])], records: usize) {
    let Losses { unaffected, kept, unknown, wrong, .. } = lose_each_step(name, steps);
    let wrong: Vec<String> = wrong.into_values().flatten().collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((unaffected, kept + unknown), (records, records), "{name}");
}

/// Of both versions, with all qualities of service; identifiers pair, and pings by their order.
#[test]
fn of_mqtt_a_lost_packet_affects_its_own_records_only() {
    let versions: [(&[u8], &[u8]); 2] = [
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c", b"\x20\x02\0\0"),
        (b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c", b"\x20\x03\0\0\0"),
    ];
    for (connect, connack) in versions {
        let is_5 = connack.len() == 5;
        let subscribe: &[u8] =
            if is_5 { b"\x82\x09\0\x0a\0\0\x03a/b\x01" } else { b"\x82\x08\0\x0a\0\x03a/b\x01" };
        let suback: &[u8] = if is_5 { b"\x90\x04\0\x0a\0\x01" } else { b"\x90\x03\0\x0a\x01" };
        let publish: &[u8] = if is_5 { b"\x32\x0a\0\x03a/b\0\x01\0hi" } else { b"\x32\x09\0\x03a/b\0\x01hi" };
        let again: &[u8] = if is_5 { b"\x34\x0a\0\x03a/b\0\x02\0ho" } else { b"\x34\x09\0\x03a/b\0\x02ho" };
        let steps = [
            send(connect),
            recv(connack),
            send(subscribe),
            recv(suback),
            send(publish),
            recv(b"\x40\x02\0\x01"),
            send(b"\xc0\0"),
            recv(b"\xd0\0"),
            send(again),
            recv(b"\x50\x02\0\x02"),
            send(b"\x62\x02\0\x02"),
            recv(b"\x70\x02\0\x02"),
            send(b"\xc0\0"),
            recv(b"\xd0\0"),
            send(b"\xe0\0"),
        ];
        // Eight records; each of seven has two segments, and the last has one.
        check_conversation(if is_5 { "MQTT 5" } else { "MQTT 3.1.1" }, &steps, 15 * 8 - 15);
    }
}

/// The text protocol, one command at a time: answers go by order.
#[test]
fn of_memcached_a_lost_segment_affects_its_own_records_only() {
    let steps = [
        send(b"set a 0 0 5\r\nhello\r\n"),
        recv(b"STORED\r\n"),
        send(b"get a b\r\n"),
        recv(b"VALUE a 0 5\r\nhello\r\nEND\r\n"),
        send(b"incr n 1\r\n"),
        recv(b"7\r\n"),
        send(b"mg a v\r\n"),
        recv(b"VA 5\r\nhello\r\n"),
        send(b"delete a\r\n"),
        recv(b"DELETED\r\n"),
        send(b"get b\r\n"),
        recv(b"END\r\n"),
        send(b"version\r\n"),
        recv(b"VERSION 1.6.0\r\n"),
    ];
    check_conversation("memcached", &steps, 14 * 7 - 14);
}
