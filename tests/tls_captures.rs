//! TLS in captures that nobody of this project wrote, through the capture source and the tracker: hellos, certificates,
//! names, versions, fingerprints and alerts are those of tshark, Zeek, nDPI and Arkime, and every difference is
//! explained, file by file.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, run, text, try_run};
use sockdbg::event::Cause;
use sockdbg::record::{Message, Record, Value};
use std::collections::{BTreeMap, BTreeSet};

fn messages<'a>(records: &'a [&'a Record]) -> impl Iterator<Item = &'a Message> {
    records.iter().flat_map(|record| record.messages())
}

/// The texts of a list; of one text, that.
fn texts(value: &Value) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    match value {
        Value::List(values) => values.iter().map(one).collect(),
        value => vec![one(value)],
    }
}

/// The fields of every hello: those of a message, and of a further hello within it.
fn hellos<'a>(message: &'a Message, second: &str) -> Vec<BTreeMap<String, &'a Value>> {
    let own = message.fields.iter().map(|field| (field.name.to_string(), &field.value)).collect();
    let mut all = vec![own];
    if let Some(Value::Map(pairs)) = field(message, second) {
        all.push(pairs.iter().map(|(name, value)| (texts(name)[0].clone(), value)).collect());
    }
    all
}

fn requests<'a>(records: &'a [&'a Record]) -> Vec<BTreeMap<String, &'a Value>> {
    let all = records.iter().filter_map(|record| record.request.as_ref());
    all.flat_map(|message| hellos(message, "second_client_hello")).collect()
}

fn responses<'a>(records: &'a [&'a Record]) -> Vec<BTreeMap<String, &'a Value>> {
    let all = records.iter().filter_map(|record| record.response.as_ref());
    all.flat_map(|message| hellos(message, "hello_retry_request")).collect()
}

/// All values of a field, each once.
fn set(messages: &[BTreeMap<String, &Value>], name: &str) -> String {
    let values: BTreeSet<String> =
        messages.iter().filter_map(|fields| fields.get(name)).flat_map(|value| texts(value)).collect();
    values.into_iter().collect::<Vec<_>>().join(",")
}

/// How often handshake messages of these names came.
fn said(records: &[&Record], name: &str) -> usize {
    let lists = messages(records).filter_map(|message| field(message, "messages"));
    lists.map(|list| texts(list).iter().filter(|one| *one == name).count()).sum()
}

fn hello_counts(records: &[&Record]) -> String {
    ["ClientHello", "ServerHello", "Certificate"].map(|name| said(records, name).to_string()).join("/")
}

/// Versions as the table of expected figures writes them.
fn negotiated(records: &[&Record]) -> String {
    let short = |name: String| match name.strip_prefix("TLS 1.3 draft ") {
        Some("26 (Facebook)") => "0xfb1a".to_owned(),
        Some(draft) => format!("0x7f{:02x}", draft.parse::<u8>().expect("a number")),
        None => match name.strip_prefix("TLS 1.3 experiment ") {
            Some(number) => format!("0x7e{number:0>2}"),
            None => name.replace("SSL 3.0", "SSL3").replace(' ', ""),
        },
    };
    let names = responses(records);
    let names =
        names.iter().filter_map(|fields| fields.get("version")).map(|value| short(texts(value)[0].clone()));
    let counts = count(names);
    counts.iter().map(|(name, count)| format!("{name}:{count}")).collect::<Vec<_>>().join(",")
}

/// Alerts in the clear, by number.
fn alerts(records: &[&Record]) -> String {
    const NUMBERS: [(&str, u8); 6] = [
        ("close_notify", 0),
        ("handshake_failure", 40),
        ("certificate_unknown", 46),
        ("unknown_ca", 48),
        ("protocol_version", 70),
        ("unrecognized_name", 112),
    ];
    let names = messages(records).filter_map(|message| field(message, "alerts")).flat_map(texts);
    let numbers = names.map(|name| {
        let name = name.split(' ').next_back().expect("a level and a name").to_owned();
        NUMBERS.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("{name}")).1.to_string()
    });
    count(numbers).iter().map(|(name, count)| format!("{name}:{count}")).collect::<Vec<_>>().join(",")
}

const BEHIND: &str = "TLS begins behind another protocol (STARTTLS, SOCKS), which has no parser here";
const QUIC: &str = "one of its hellos is in QUIC, which is UDP";
const EIGHT: &str =
    "the table lists eight of them; the others are in tshark's output beside the capture, too";
const ALPN: &str =
    "nDPI takes the first two characters of the protocol's name; JA4 is of the first and the last";
const NO_NAME: &str =
    "nDPI writes d (and the first two characters of ALPN) though the client names no server";
const MANY: &str = "nDPI has no fingerprint of a hello with so many cipher suites";
const EMPTY: &str = "nDPI writes d without a server name, and the digest of nothing where JA4 has zeros";
const ODD: &str =
    "the list of cipher suites says to be empty: lengths that contradict each other have no fingerprint";
const DRAFT: &str =
    "the ServerHello of draft 14 has no session id; tshark reads the cipher suite two extensions behind";
const RETRY: &str = "tshark takes the second ServerHello for the continuation of a segment that it misses";
const SSL2: &str = "the table has no figure for SSL 2";

/// Where others say something else: kind of figure, file, what only we say, what only they say, and why.
#[rustfmt::skip]
const DIFFERENCES: &[(&str, &str, &str, &str, &str)] = &[
    ("tshark.tls.client_hello/server_hello/certificate", "tls/ipfixprobe--tls.pcap", "28/27/1", "29/28/1", QUIC),
    ("tshark.tls.sni", "tls/ipfixprobe--tls.pcap", "", "signaler-pa.clients6.google.com", QUIC),
    ("tshark.tls.alpn", "tls/ipfixprobe--tls.pcap", "", "h3", QUIC),
    ("tshark.tls.negotiated", "tls/ipfixprobe--tls.pcap", "TLS1.3:12", "TLS1.3:13", QUIC),
    ("tshark.tls.ja3", "tls/ipfixprobe--tls.pcap", "", "21a9c1d4af6c20da8e0367fbe930ea53", QUIC),
    ("tshark.tls.ja3s", "tls/ipfixprobe--tls.pcap", "bfc90d56141386ee83b56cda231cccfc,eb1d94daa7e0344597e756a1fb6e7054,fcb2d4d0991292272fcb1e464eedfd43", "", EIGHT),
    ("ndpi.ja4", "tls/ndpi--443-git.pcap", "t12d6707h1_2955a3196ffa_c83f907a73d3", "t12d6707ht_2955a3196ffa_c83f907a73d3", ALPN),
    ("ndpi.ja4", "tls/ndpi--http_ipv6.pcap", "t12d1612h1_94fc43e2fc61_c9eaec7dbab4", "t12d1612ht_94fc43e2fc61_c9eaec7dbab4", ALPN),
    ("ndpi.ja4", "tls/ndpi--ja3_lots_of_cipher_suites.pcap", "t12i990300_28808c40d9f1_1e2a54cae03f", "", MANY),
    ("ndpi.ja4", "tls/ndpi--ssl-cert-name-mismatch.pcap", "t12d3810h1_845d1e55a368_7448b1316cd7", "t12d3810ht_845d1e55a368_7448b1316cd7", ALPN),
    ("ndpi.ja4", "tls/ndpi--tls_1.3_unidirectional_client.pcapng", "t13d1713h1_5b57614c22b0_352634941f3a", "t13d1713ht_5b57614c22b0_352634941f3a", ALPN),
    ("ndpi.ja4", "tls/ndpi--tls_2_reasms_b.pcapng", "t00d0309h1_55b375c5d22e_566d5108064c", "t00d0309ht_55b375c5d22e_566d5108064c", ALPN),
    ("tshark.tls.ja3", "tls/ndpi--tls_cipher_lens.pcap", "", "12f72b3830028e0151f98b64f504bd9c", ODD),
    ("ndpi.ja4", "tls/ndpi--tls_cipher_lens.pcap", "t10i660000_1ade43d4e5bc_000000000000", "t10d660000_1ade43d4e5bc_e3b0c44298fc", EMPTY),
    ("ndpi.ja4", "tls/ndpi--tls_client_certificate_with_missing_server_one.pcapng", "t12i640500_9197985d2161_a1e935682795,t12i6406ax_9197985d2161_a1e935682795", "t12d640500_9197985d2161_a1e935682795,t12d6406an_9197985d2161_a1e935682795", NO_NAME),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/ndpi--tls_heur__shadowsocks-tcp.pcapng", "1/1/0", "2/2/0", BEHIND),
    ("tshark.tls.negotiated", "tls/ndpi--tls_heur__shadowsocks-tcp.pcapng", "TLS1.3:1", "TLS1.3:2", BEHIND),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/ndpi--tls_heur__vmess-tcp-tls.pcapng", "2/2/0", "3/3/0", BEHIND),
    ("tshark.tls.negotiated", "tls/ndpi--tls_heur__vmess-tcp-tls.pcapng", "TLS1.3:2", "TLS1.3:3", BEHIND),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/ndpi--tls_heur__vmess-tcp.pcapng", "1/1/0", "2/2/0", BEHIND),
    ("tshark.tls.negotiated", "tls/ndpi--tls_heur__vmess-tcp.pcapng", "TLS1.3:1", "TLS1.3:2", BEHIND),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/ndpi--tls_heur__vmess-websocket.pcapng", "1/1/0", "2/2/0", BEHIND),
    ("tshark.tls.negotiated", "tls/ndpi--tls_heur__vmess-websocket.pcapng", "TLS1.3:1", "TLS1.3:2", BEHIND),
    ("ndpi.ja4", "tls/ndpi--tls_port_80.pcapng", "t12i550500_168bb377f8c8_a1e935682795", "t12d550500_168bb377f8c8_a1e935682795", NO_NAME),
    ("tshark.tls.ja3s", "tls/suricata--tls--tls13-draft14--tls13_draft14.pcap", "12ac0af01c6b637c7a470e5b7cd837b8", "24839eca4f44616f70548d4a2c0f09fc", DRAFT),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/zeek--socks-with-ssl.pcap", "", "1/1/1", BEHIND),
    ("tshark.tls.sni", "tls/zeek--socks-with-ssl.pcap", "", "www.google.com", BEHIND),
    ("tshark.tls.negotiated", "tls/zeek--socks-with-ssl.pcap", "", "TLS1.0:1", BEHIND),
    ("tshark.tls.ja3", "tls/zeek--socks-with-ssl.pcap", "", "2aef69b4ba1938c3a400de4188743185", BEHIND),
    ("tshark.tls.ja3s", "tls/zeek--socks-with-ssl.pcap", "", "07fc50eea7f1460e44a13b3e9893dccc", BEHIND),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/zeek--tls--hrr.pcap", "2/2/0", "2/1/0", RETRY),
    ("tshark.tls.negotiated", "tls/zeek--tls--hrr.pcap", "TLS1.3:2", "TLS1.3:1", RETRY),
    ("tshark.tls.ja3s", "tls/zeek--tls--hrr.pcap", "907bf3ecef1c987c889946b737b43de8", "", RETRY),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/zeek--tls--pop3-starttls.pcap", "", "1/1/2", BEHIND),
    ("tshark.tls.negotiated", "tls/zeek--tls--pop3-starttls.pcap", "", "TLS1.2:1", BEHIND),
    ("tshark.tls.ja3", "tls/zeek--tls--pop3-starttls.pcap", "", "13020a4ccb11b2d3c9c0e6c285c3c415", BEHIND),
    ("tshark.tls.ja3s", "tls/zeek--tls--pop3-starttls.pcap", "", "ee644a8a34c434abca4b737ec1d9efad", BEHIND),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/zeek--tls--smtp-starttls.pcap", "", "1/1/1", BEHIND),
    ("tshark.tls.negotiated", "tls/zeek--tls--smtp-starttls.pcap", "", "TLS1.2:1", BEHIND),
    ("tshark.tls.ja3", "tls/zeek--tls--smtp-starttls.pcap", "", "13020a4ccb11b2d3c9c0e6c285c3c415", BEHIND),
    ("tshark.tls.ja3s", "tls/zeek--tls--smtp-starttls.pcap", "", "ccc514751b175866924439bdbb5bba34", BEHIND),
    ("tshark.tls.negotiated", "tls/zeek--tls--ssl-v2.pcap", "SSL2.0:1", "", SSL2),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/zeek--tls--xmpp-dialback-starttls.pcap", "", "1/1/2", BEHIND),
    ("tshark.tls.negotiated", "tls/zeek--tls--xmpp-dialback-starttls.pcap", "", "TLS1.2:1", BEHIND),
    ("tshark.tls.ja3", "tls/zeek--tls--xmpp-dialback-starttls.pcap", "", "37f41521d2ec51e91e9c74649f591954", BEHIND),
    ("tshark.tls.ja3s", "tls/zeek--tls--xmpp-dialback-starttls.pcap", "", "873bc234a06e363e550fcfe0dd382a6c", BEHIND),
    ("tshark.tls.client_hello/server_hello/certificate", "tls/zeek--tls--xmpp-starttls.pcap", "", "1/1/1", BEHIND),
    ("tshark.tls.negotiated", "tls/zeek--tls--xmpp-starttls.pcap", "", "TLS1.2:1", BEHIND),
    ("tshark.tls.ja3", "tls/zeek--tls--xmpp-starttls.pcap", "", "c369db2c355ad05c76f5660af3179b01", BEHIND),
    ("tshark.tls.ja3s", "tls/zeek--tls--xmpp-starttls.pcap", "", "873bc234a06e363e550fcfe0dd382a6c", BEHIND),
];

/// What is told here, for each kind of figure.
type Figure = (&'static str, fn(&[&Record]) -> String);

const FIGURES: [Figure; 8] = [
    ("tshark.tls.client_hello/server_hello/certificate", hello_counts),
    ("tshark.tls.sni", |records| set(&requests(records), "server_name")),
    ("tshark.tls.alpn", |records| {
        let mut all = requests(records);
        all.extend(responses(records));
        set(&all, "application_layer_protocol_negotiation")
    }),
    ("tshark.tls.negotiated", negotiated),
    ("tshark.tls.ja3", |records| set(&requests(records), "ja3")),
    ("tshark.tls.ja3s", |records| set(&responses(records), "ja3s")),
    ("tshark.tls.alerts(cleartext)", alerts),
    ("ndpi.ja4", |records| set(&requests(records), "ja4")),
];

#[test]
fn what_hellos_say_is_what_others_read() {
    let mut found = Vec::new();
    for file in files("tls") {
        let seen = run(&file);
        for (kind, ours) in FIGURES {
            let theirs = match kind {
                "ndpi.ja4" => ja4_beside(&file),
                _ => expected(kind).remove(&file).or_else(|| Some(String::new())),
            };
            let ours = ours(&seen.of("tls"));
            let Some(theirs) = theirs else { continue };
            let theirs = if theirs == "0/0/0" { String::new() } else { theirs };
            let ours = if ours == "0/0/0" { String::new() } else { ours };
            if ours != theirs {
                let parts = |figure: &str| figure.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
                let only = |these: &str, others: &str| {
                    let left: Vec<_> = parts(these).difference(&parts(others)).cloned().collect();
                    left.join(",")
                };
                found.push((kind, file.clone(), only(&ours, &theirs), only(&theirs, &ours)));
            }
        }
    }
    let explained: BTreeSet<_> = DIFFERENCES.iter().map(|row| (row.0, row.1, row.2, row.3)).collect();
    let found: BTreeSet<_> =
        found.iter().map(|row| (row.0, row.1.as_str(), row.2.as_str(), row.3.as_str())).collect();
    let new: Vec<_> = found.difference(&explained).collect();
    assert!(new.is_empty(), "{new:#?}");
    let gone: Vec<_> = explained.difference(&found).collect();
    assert!(gone.is_empty(), "there is no difference any more: {gone:#?}");
}

/// The fingerprints that nDPI and Arkime wrote beside a capture.
fn ja4_beside(file: &str) -> Option<String> {
    let path = |end: &str| folder().join(format!("{file}.{end}"));
    let mut found = BTreeSet::new();
    if let Ok(text) = std::fs::read_to_string(path("ndpi.out")) {
        // It knows those over QUIC, which begin with q.
        let all = text.split("[JA4: ").skip(1).filter_map(|rest| rest.split(']').next());
        found.extend(all.filter(|one| one.starts_with('t')).map(str::to_owned));
    } else if let Ok(text) = std::fs::read_to_string(path("arkime.json")) {
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        collect(&json, &mut found);
    } else {
        return None;
    }
    Some(found.into_iter().collect::<Vec<_>>().join(","))
}

/// Every value of a key `ja4`.
fn collect(json: &serde_json::Value, found: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("ja4", serde_json::Value::Array(values)) => {
                        found.extend(values.iter().map(|value| value.as_str().expect("text").to_owned()));
                    }
                    _ => collect(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// One handshake as Zeek's ssl.log tells it: version, cipher suite, curve, name, resumed, alert, SHA-256 of the
/// certificates of the server and of the client.
fn as_zeek_does(record: &Record) -> [String; 8] {
    let both: Vec<&Message> = record.messages().collect();
    let of = |message: &Option<Message>, name: &str| {
        message.as_ref().and_then(|message| text(message, name)).unwrap_or("-".to_owned())
    };
    let (client, server) = (&record.request, &record.response);
    let version = of(server, "version");
    let version = match version.as_str() {
        "TLS 1.3 experiment 1" => "unknown-32257".to_owned(),
        name => name.replace("TLS 1.", "TLSv1").replace(" draft ", "-draft"),
    };
    let curve = [of(server, "named_curve"), of(server, "key_share")];
    let curve = curve.into_iter().find(|name| name != "-").unwrap_or("-".to_owned());
    let resumed = server.as_ref().is_some_and(|message| field(message, "resumed").is_some());
    let alerts = both.iter().filter_map(|message| field(message, "alerts")).flat_map(texts);
    let alert =
        alerts.last().map_or("-".to_owned(), |name| name.split(' ').next_back().expect("a name").to_owned());
    let chain = |message: &Option<Message>| {
        let Some(Value::List(chain)) = message.as_ref().and_then(|message| field(message, "certificates"))
        else {
            return "-".to_owned();
        };
        let digests =
            chain.iter().filter_map(|one| of_map(one, "sha256").map(|value| texts(value)[0].clone()));
        let digests = digests.collect::<Vec<_>>().join(",");
        if digests.is_empty() { "-".to_owned() } else { digests }
    };
    let flag = if resumed { "T" } else { "F" }.to_owned();
    let (suite, name) = (of(server, "cipher_suite"), of(client, "server_name"));
    [version, suite, curve, name, flag, alert, chain(server), chain(client)]
}

fn of_map<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(pairs) = value else { panic!("{value:?}") };
    pairs.iter().find(|(key, _)| texts(key)[0] == name).map(|(_, value)| value)
}

/// Captures in which Zeek says something else, with the reason.
const ZEEK: &[(&str, &str)] = &[
    (
        "tls/zeek--tls--chrome-63.0.3211.0-canary-tls_experiment.pcap",
        "it takes the echo of a session id for a resumption, which TLS 1.3 always has",
    ),
    ("tls/zeek--tls--pop3-starttls.pcap", BEHIND),
    ("tls/zeek--tls--smtp-starttls.pcap", BEHIND),
    ("tls/zeek--tls--xmpp-dialback-starttls.pcap", BEHIND),
    ("tls/zeek--tls--xmpp-starttls.pcap", BEHIND),
];

#[test]
fn handshakes_are_those_that_zeek_logs() {
    let (mut compared, mut differing) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(folder().join("tls")).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let Some((capture, _)) = name.split_once(".zeek.").filter(|_| name.ends_with(".ssl.log")) else {
            continue;
        };
        let file = format!("tls/{capture}");
        let log = std::fs::read_to_string(folder().join("tls").join(&name)).expect("a log");
        let rows = log.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            [6, 7, 8, 9, 10, 11, 15, 16].map(|index| columns[index].replace("(empty)", "-"))
        });
        let mut theirs: Vec<[String; 8]> = rows.collect();
        let seen = run(&file);
        let handshakes = seen.of("tls");
        let handshakes = handshakes.iter().filter(|one| {
            one.request.as_ref().is_some_and(|message| field(message, "legacy_version").is_some())
        });
        let mut ours: Vec<[String; 8]> = handshakes.map(|record| as_zeek_does(record)).collect();
        theirs.sort();
        ours.sort();
        compared += theirs.len();
        if ours != theirs {
            if !ZEEK.iter().any(|row| row.0 == file) {
                assert_eq!(ours, theirs, "{file}");
            }
            differing.insert(file);
        }
    }
    assert!(compared >= 24, "captures are missing");
    assert_eq!(differing.len(), ZEEK.len(), "a difference is gone: {differing:#?}");
}

/// Captures of other folders in which somebody speaks TLS as well, as tshark says, too.
const BESIDE: [&str; 15] = [
    "http/packetbeat--http_10_connection_close.pcap",
    "link/deepflow--common--ipip.pcap",
    "link/ndpi--4in6tunnel.pcap",
    "link/ndpi--6in4tunnel.pcap",
    "link/ndpi--heuristic_tcp_ack_payload.pcap",
    "link/ndpi--vxlan.pcap",
    "link/pcpp--many_interfaces-1.pcapng",
    "link/pcpp--sll2.pcap",
    "link/ptcpdump--curl-user.pcapng",
    "link/zeek--pppoe-over-qinq.pcap",
    "link/zeek--raw_packets.pcap",
    "http/ndpi--http_connect.pcap",
    "mysql/arkime--mysql-tls.pcap",
    "mysql/zeek--mysql--encrypted.pcap",
    "postgres/zeek--postgresql--psql-aws-ssl-preferred.pcap",
];

/// One of them, in which tshark takes the only hello for a retransmission, since its acknowledgement comes before it.
const RETRANSMITTED: &str = "link/ptcpdump--curl-user.pcapng";

#[test]
fn no_other_protocol_is_taken_for_tls() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("tls/") && !file.starts_with("format/"));
    let (mut read, mut found) = (0, BTreeSet::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if !seen.of("tls").is_empty() {
            found.insert(file);
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    let expected: BTreeSet<String> = BESIDE.iter().map(|&file| file.to_owned()).collect();
    assert_eq!(found, expected);
    for file in found.iter().filter(|file| *file != RETRANSMITTED) {
        assert!(tshark(file, &["-Y", "tls", "-c", "1000"]).lines().next().is_some(), "{file}");
    }
}

/// What tshark prints of a capture.
fn tshark(file: &str, args: &[&str]) -> String {
    let output = std::process::Command::new("tshark").arg("-r").arg(folder().join(file)).args(args).output();
    String::from_utf8(output.expect("tshark is installed").stdout).expect("UTF-8")
}

/// Files of which not every byte becomes a frame, with the causes and the reason.
const SKIPPED: &[(&str, &[Cause], &str)] = &[
    ("tls/ipfixprobe--tls.pcap", &[Cause::ResyncSkipped], "packets are cut by the snap length"),
    ("tls/ndpi--mongo_false_positive.pcapng", &[Cause::ProtocolUnknown], "MongoDB"),
    (
        "tls/ndpi--tls_certificate_too_long.pcap",
        &[Cause::ProtocolUnknown],
        "one connection speaks something else",
    ),
    ("tls/ndpi--tls_false_positives.pcapng", &[Cause::ProtocolUnknown], "no TLS, as its name says"),
    ("tls/ndpi--tls_heur__shadowsocks-tcp.pcapng", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/ndpi--tls_heur__vmess-tcp-tls.pcapng", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/ndpi--tls_heur__vmess-tcp.pcapng", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/ndpi--tls_heur__vmess-websocket.pcapng", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/ndpi--tls_unidirectional.pcap", &[Cause::ProtocolUnknown], "two bytes"),
    ("tls/zeek--socks-with-ssl.pcap", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/zeek--ssl-and-ssh-using-sslh.pcap", &[Cause::ProtocolUnknown], "one connection is SSH"),
    (
        "tls/zeek--tls--https-to-http.pcap",
        &[Cause::ParseError, Cause::ResyncSkipped],
        "a server without TLS answers in text",
    ),
    (
        "tls/zeek--tls--tls1.2-late-protocol-error.pcap",
        &[Cause::ParseError, Cause::ResyncSkipped],
        "bytes that are no record were put in",
    ),
    ("tls/zeek--tls--pop3-starttls.pcap", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/zeek--tls--smtp-starttls.pcap", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/zeek--tls--xmpp-dialback-starttls.pcap", &[Cause::ProtocolUnknown], BEHIND),
    ("tls/zeek--tls--xmpp-starttls.pcap", &[Cause::ProtocolUnknown], BEHIND),
];

#[test]
fn every_byte_is_framed_where_nothing_is_missing() {
    for file in files("tls") {
        let seen = run(&file);
        let skipped: Vec<Cause> =
            Cause::ALL.iter().copied().filter(|&cause| seen.skipped(cause) > 0).collect();
        let expected = SKIPPED.iter().find(|row| row.0 == file).map_or(&[][..], |row| row.1);
        assert_eq!(skipped, expected, "{file}");
    }
}

/// Suricata's own expectation of one certificate.
#[test]
fn a_certificate_reads_as_suricata_expects_it() {
    let seen = run("tls/suricata--tls--tls-glupteba-mb.pcap");
    let seen = seen.of("tls");
    let answer = seen[0].response.as_ref().expect("an answer");
    let Some(Value::List(chain)) = field(answer, "certificates") else { panic!("no chain") };
    let of = |name: &str| texts(of_map(&chain[0], name).unwrap_or_else(|| panic!("no {name}")));
    assert_eq!(of("subject"), ["CN=xn--j1ahhq.xn--p1ai"]);
    assert_eq!(of("issuer"), ["CN=R3,O=Let's Encrypt,C=US"]);
    assert_eq!(of("serial_number"), ["03de23897e97fb868e7cc55309feaed0ae20"]);
    assert_eq!(of("not_before"), ["2022-12-01T06:47:31Z"]);
    assert_eq!(of("not_after"), ["2023-03-01T06:47:30Z"]);
    let mut names: Vec<String> = ["server".to_owned(), String::new()]
        .iter()
        .flat_map(|prefix| match prefix.as_str() {
            "" => vec!["DNS:xn--j1ahhq.xn--p1ai".to_owned()],
            _ => (1..=16).map(|n| format!("DNS:{prefix}{n}.xn--j1ahhq.xn--p1ai")).collect(),
        })
        .collect();
    names.sort();
    assert_eq!(of("subject_alternative_name"), names);
}

/// Lists of numbers that Suricata's test expects of one hello, as names here.
#[test]
fn a_hello_lists_what_suricata_expects() {
    let seen = run("tls/suricata--ja4-cl-handshake.pcap");
    let seen = seen.of("tls");
    let hello = seen[0].request.as_ref().expect("a hello");
    let of = |name: &str| texts(field(hello, name).unwrap_or_else(|| panic!("no {name}")));
    assert_eq!(of("cipher_suites").len(), 28);
    assert_eq!(of("cipher_suites")[0], "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    let names = [
        "server_name",
        "ec_point_formats",
        "supported_groups",
        "session_ticket",
        "encrypt_then_mac",
        "extended_master_secret",
        "signature_algorithms",
    ];
    assert_eq!(of("extensions"), names);
    assert_eq!(of("signature_algorithms").len(), 23);
    assert_eq!(of("signature_algorithms")[..2], ["ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384"]);
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("tls").iter().for_each(|file| assert_robust(file));
}
