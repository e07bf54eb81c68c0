//! Which protocol each connection of every capture was found to speak, and how far the counts agree with those of others
//! (expected.tsv). `make accuracy` prints both. Why single files differ is told in the tests of the protocols
//! (tests/*_captures.rs), file by file.

mod common;

use common::captures::{Seen, expected, field, files, folder, histogram, try_run};
use sockdbg::protocol;
use sockdbg::record::{Message, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Folders of captures, and the protocols whose connections they are to have; that of the folder first.
const FOLDERS: [(&str, &[&str]); 13] = [
    ("amqp", &["amqp"]),
    ("cql", &["cql"]),
    ("dns", &["dns"]),
    ("http", &["http1"]),
    ("http2", &["http2", "http1"]),
    ("kafka", &["kafka"]),
    ("mongodb", &["mongodb"]),
    ("mux", &["mux"]),
    ("mysql", &["mysql"]),
    ("nats", &["nats"]),
    ("postgres", &["postgres"]),
    ("redis", &["redis"]),
    ("tls", &["tls"]),
];

const UPGRADED: &str = "what follows the upgrade; its frames are those of tshark (websocket_captures.rs)";

/// Captures that have connections of a protocol that nobody's figures tell of.
const BESIDE: &[(&str, &str, &str)] = &[
    (
        "http/akita--simple_http_two_with_noise.pcap",
        "dns",
        "multicast DNS, which tshark does not count as DNS",
    ),
    ("http/zeek--websocket--broker-websocket.pcap", "websocket", UPGRADED),
    ("http/zeek--websocket--message-too-big-status.pcap", "websocket", UPGRADED),
    ("http/zeek--websocket--oversized-close-frame.pcapng", "websocket", UPGRADED),
    ("http/zeek--websocket--reply-ping-separate.pcap", "websocket", UPGRADED),
    ("http/zeek--websocket--wrong-accept-header.pcap", "websocket", UPGRADED),
    ("http/zeek--websocket--wstunnel-http.pcap", "websocket", UPGRADED),
    ("http/zeek--websocket--wstunnel-ssh.pcap", "websocket", UPGRADED),
    ("tls/ndpi--tls_heur__vmess-websocket.pcapng", "websocket", UPGRADED),
];

/// Captures with connections of no protocol found: how many, and what they speak, or why no message of theirs is whole.
const UNKNOWN: &[(&str, usize, &str)] = &[
    ("cql/arkime--cassandra1.pcap", 1, "Thrift, which Cassandra spoke before CQL"),
    ("dns/pcpp--pkt--DnsTooManyResources.pcap", 1, "noise with the port of DNS"),
    ("dns/suricata--dns--bug-1158.pcap", 1, "a NetBIOS name query whose class is cut off"),
    ("dns/zeek--dns--dns-invalid-names.pcap", 2, "questions that end within the name"),
    ("http/akita--simple_http_two_with_noise.pcap", 1, "SSDP"),
    ("http/ndpi--log4j-webapp-exploit.pcap", 3, "LDAP, and a shell over TCP"),
    ("http/ndpi--soap.pcap", 1, "XML without HTTP around it"),
    ("http/packetbeat--http_100_continue.pcap", 1, "a line of its own"),
    (
        "http/suricata--http-missing-protocol.pcap",
        1,
        "a request line without a version, and no answer of HTTP",
    ),
    ("http/suricata--http-not09-spaces.pcap", 1, "HTTP/0.9 with lines behind it"),
    ("http/suricata--http-not09.pcap", 1, "HTTP/0.9 with lines behind it"),
    ("http/zeek--http--http_09.pcap", 4, "HTTP/0.9, but POST, or no document that answers"),
    ("mux/finagle--end-to-end.pkts1-552.pcap", 14, "Thrift without Mux around it"),
    (
        "postgres/suricata--pgsql--pgsql-events--UnknownMessage.pcap",
        1,
        "a request code that PostgreSQL does not have",
    ),
    ("postgres/suricata--pgsql-bug-6080-probe-test-01.pcap", 1, "one byte of no message"),
    (
        "postgres/zeek--postgresql--bad-startup-message-1.pcap",
        1,
        "a startup message shorter than its own length",
    ),
    ("redis/tcpdump--resp_3_malicious.pcap", 5, "beginnings of values that never go on"),
    ("tls/ipfixprobe--tls.pcap", 1, "QUIC"),
    ("tls/ndpi--http_ipv6.pcap", 2, "QUIC of Google's own"),
    ("tls/ndpi--mongo_false_positive.pcapng", 1, "encrypted, of an unknown protocol"),
    ("tls/ndpi--tls_certificate_too_long.pcap", 5, "NTP, and one encrypted, of an unknown protocol"),
    ("tls/ndpi--tls_false_positives.pcapng", 1, "a game's own protocol"),
    ("tls/ndpi--tls_heur__shadowsocks-tcp.pcapng", 2, "SOCKS, and Shadowsocks, which is encrypted"),
    ("tls/ndpi--tls_heur__vmess-tcp-tls.pcapng", 1, "SOCKS"),
    ("tls/ndpi--tls_heur__vmess-tcp.pcapng", 2, "SOCKS, and VMess, which is encrypted"),
    ("tls/ndpi--tls_heur__vmess-websocket.pcapng", 1, "SOCKS"),
    ("tls/ndpi--tls_unidirectional.pcap", 1, "an empty line"),
    ("tls/zeek--socks-with-ssl.pcap", 1, "SOCKS"),
    ("tls/zeek--ssl-and-ssh-using-sslh.pcap", 1, "SSH"),
    ("tls/zeek--tls--pop3-starttls.pcap", 1, "POP3, and TLS after its STLS"),
    ("tls/zeek--tls--smtp-starttls.pcap", 1, "SMTP, and TLS after its STARTTLS"),
    ("tls/zeek--tls--xmpp-dialback-starttls.pcap", 1, "XMPP, and TLS after its starttls"),
    ("tls/zeek--tls--xmpp-starttls.pcap", 1, "XMPP, and TLS after its starttls"),
];

/// A figure, the protocols whose records it counts, and which of them.
type Count = (&'static str, &'static [&'static str], fn(&Record) -> bool);

/// Figures that are counts of requests or of responses.
const COUNTS: &[Count] = &[
    ("tshark.http.requests", &["http1"], has_request),
    ("tshark.http.responses", &["http1"], has_response),
    ("zeek.http.log.rows", &["http1"], |_| true),
    ("tshark.http2.requests", &["http2", "grpc"], |record| says(record.request.as_ref(), "method")),
    ("tshark.http2.responses", &["http2", "grpc"], |record| says(record.response.as_ref(), "status")),
    ("tshark.dns.queries", &["dns"], has_request),
    ("tshark.dns.responses", &["dns"], has_response),
    ("zeek.dns.log.rows", &["dns"], |_| true),
    ("tshark.kafka.requests", &["kafka"], has_request),
    ("tshark.kafka.responses", &["kafka"], has_response),
];

fn has_request(record: &Record) -> bool {
    record.request.is_some()
}

fn has_response(record: &Record) -> bool {
    record.response.is_some()
}

/// A message has this field.
fn says(message: Option<&Message>, name: &str) -> bool {
    message.is_some_and(|message| field(message, name).is_some())
}

/// A figure: a count, or one of each kind.
fn sum(figure: &str) -> Option<usize> {
    figure.parse().ok().or_else(|| figure.contains(':').then(|| histogram(figure).values().sum()))
}

/// What of a file's figures tells that a protocol is in it: the word behind `tshark.`.
fn word(protocol: &str) -> &str {
    match protocol {
        "http1" => "http",
        "postgres" => "pgsql",
        "mongodb" => "mongo",
        other => other,
    }
}

/// The protocols that tshark counted something of, by file.
fn counted() -> BTreeMap<String, Vec<String>> {
    let table = fs::read_to_string(folder().join("expected.tsv")).expect("expected.tsv");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in table.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|row| row.len() > 3) {
        let mut parts = row[2].split('.');
        if let (Some("tshark"), Some(word)) = (parts.next(), parts.next())
            && !matches!(row[3], "0" | "0/0/0" | "")
        {
            found.entry(row[0].to_owned()).or_default().push(word.to_owned());
        }
    }
    found
}

#[test]
fn no_protocol_is_taken_for_another_and_none_is_missed() {
    let counted = counted();
    let (mut wrong, mut unused) = (Vec::new(), BESIDE.to_vec());
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    let (mut spoken, mut with_keep_alives) = (BTreeSet::new(), BTreeSet::new());
    println!("connections with payload, by folder and protocol found");
    for (folder_name, own) in FOLDERS {
        let mut row: BTreeMap<&str, usize> = BTreeMap::new();
        for file in files(folder_name) {
            let Some(seen) = try_run(&folder().join(&file)) else { continue };
            for (conn, record) in &seen.records {
                let protocol = seen.protocols.get(conn).copied().flatten().and_then(protocol::named);
                spoken.extend(protocol.map(|one| one.name));
                with_keep_alives.extend(protocol.filter(|one| one.is_routine(record)).map(|one| one.name));
            }
            for (conn, protocol) in &seen.protocols {
                if seen.arrived(*conn) == 0 {
                    continue;
                }
                *row.entry(protocol.unwrap_or("unknown")).or_default() += 1;
                let Some(protocol) = protocol else {
                    *unknown.entry(file.clone()).or_default() += 1;
                    continue;
                };
                let told =
                    counted.get(&file).is_some_and(|words| words.iter().any(|one| one == word(protocol)));
                let beside = BESIDE.iter().any(|(name, of, _)| *name == file && of == protocol);
                unused.retain(|(name, of, _)| *name != file || of != protocol);
                if !own.contains(protocol) && !told && !beside {
                    wrong.push(format!("{file}: {conn:?} is taken for {protocol}"));
                }
            }
        }
        let cells: Vec<String> = row.iter().map(|(protocol, count)| format!("{protocol} {count}")).collect();
        println!("  {folder_name:<9} {}", cells.join(", "));
        assert!(row.contains_key(own[0]), "{folder_name}: nothing is {}", own[0]);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(unused.is_empty(), "not so any more: {unused:?}");
    // The words by which keep-alives are known are those that records have.
    let known = protocol::ALL.iter().filter(|one| !one.keep_alives.is_empty() && spoken.contains(one.name));
    assert_eq!(with_keep_alives, known.map(|one| one.name).collect());
    println!("connections of no protocol");
    for (file, count, why) in UNKNOWN {
        println!("  {count:>3} in {file}: {why}");
    }
    let explained: BTreeMap<String, usize> =
        UNKNOWN.iter().map(|(file, count, _)| ((*file).to_owned(), *count)).collect();
    assert_eq!(unknown, explained);
}

#[test]
fn counts_agree_with_those_of_others() {
    println!("files whose count agrees, by figure");
    let mut runs: BTreeMap<String, Seen> = BTreeMap::new();
    for (kind, protocols, counts) in COUNTS {
        let (mut agreeing, mut all, mut differing) = (0, 0, Vec::new());
        for (file, figure) in expected(kind) {
            if !runs.contains_key(&file) {
                let Some(seen) = try_run(&folder().join(&file)) else { continue };
                runs.insert(file.clone(), seen);
            }
            let records = runs[&file].records.iter().map(|(_, record)| record);
            let ours =
                records.filter(|record| protocols.contains(&record.protocol) && counts(record)).count();
            all += 1;
            match sum(&figure) == Some(ours) {
                true => agreeing += 1,
                false => differing.push(format!("{file} ({ours}, not {figure})")),
            }
        }
        println!("  {kind:<24} {agreeing} of {all}");
        differing.iter().for_each(|file| println!("      {file}"));
        assert!(all > 0, "{kind}: no capture has this figure");
    }
}
