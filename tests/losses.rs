//! Records where segments are missing: what is not affected stays as it is, what lacks bytes or a half says so. With
//! SOCKDBG_LONG=1 every segment of every capture is lost once, otherwise a few of each. SOCKDBG_ONLY=WORD takes the captures
//! with that word in their names, and prints what is known to be wrong of them.

mod common;

use common::captures::files;
use common::losses::{Losses, Wrong, lose_each};
use std::collections::BTreeSet;

const FOLDERS: [&str; 13] = [
    "amqp", "cql", "dns", "http", "http2", "kafka", "mongodb", "mux", "mysql", "nats", "postgres", "redis",
    "tls",
];

/// Segments lost of each capture, unless all are.
const SAMPLE: usize = 6;

/// Captures longer than this are left to other tests: each loss takes a run over all of it.
const LENGTH_MAX: u64 = 2 << 20;

const ORDER: &str = "pairs by order, and nothing tells how many messages the lost bytes held";
const ALIKE: &str = "those that wait are alike, and an answer to one of them may be lost";
const STREAM_END: &str =
    "whether a frame came behind the end of its stream is told by that end alone, which is lost";
const SEARCHED: &str = "behind a loss one message by itself is not certain to be one";
const UPGRADE: &str =
    "the request to upgrade is lost, its answer waits for it, and frames are passed over until then";
const TUNNEL: &str = "what tells that another protocol follows is lost";
const PROTOCOL: &str = "what tells the protocol is lost";
const MORE_LOST: &str =
    "the capture itself lacks bytes, and with those before them lost too the next pair is certain";
const REPLY: &str = "an answer to a message that is lost is a message like any other";
const COPY: &str = "data of a COPY whose statement is lost, which the record says";
const NOTICE: &str = "a notice to a command that is lost is like one that came by itself";
const REPEATED: &str = "an answer that came again is the only one where the first, or its question, is lost";
const ENCRYPTED: &str = "an encrypted record behind a loss is Finished, an alert or data";
const LATE: &str = "the loss is known when the connection ends, and the answer has been told by then";

/// Captures of which some loss leads to what is known to be wrong, and why.
#[rustfmt::skip]
const KNOWN: &[(&str, Wrong, &str)] = &[
    ("dns/ndpi--malformed_dns.pcap", Wrong::Missing, REPEATED),
    ("http/ndpi--http_connect.pcap", Wrong::Missing, TUNNEL),
    ("http/ndpi--http_starting_with_reply.pcapng", Wrong::Missing, ORDER),
    ("http/ndpi--http_ua_splitted_in_two_pkts.pcapng", Wrong::Missing, ORDER),
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
    ("http/zeek--websocket--broker-websocket.pcap", Wrong::Missing, UPGRADE),
    ("http/zeek--websocket--message-too-big-status.pcap", Wrong::Missing, UPGRADE),
    ("http/zeek--websocket--reply-ping-separate.pcap", Wrong::Missing, UPGRADE),
    ("http/zeek--websocket--wstunnel-http.pcap", Wrong::Missing, UPGRADE),
    ("http/zeek--websocket--wstunnel-ssh.pcap", Wrong::Missing, UPGRADE),
    ("http2/arkime--http2-nghttp2.pcap", Wrong::Missing, SEARCHED),
    ("http2/deepflow--http--grpc-service-name.pcap", Wrong::Missing, ALIKE),
    ("http2/suricata--dns-over-http2--dns_over_https.pcap", Wrong::Invented, STREAM_END),
    ("http2/suricata--dns-over-http2--dns_over_https.pcap", Wrong::Missing, STREAM_END),
    ("http2/suricata--dns-over-http2-limit.pcap", Wrong::Altered, STREAM_END),
    ("http2/suricata--dns-over-http2-limit.pcap", Wrong::Missing, STREAM_END),
    ("http2/suricata--http2-deflate--http2_deflate.pcap", Wrong::Missing, UPGRADE),
    ("http2/suricata--http2-deflate-case.pcap", Wrong::Missing, UPGRADE),
    ("http2/suricata--http2-range--http2-range.pcap", Wrong::Missing, UPGRADE),
    ("kafka/ndpi--kafka.pcap", Wrong::Missing, PROTOCOL),
    ("nats/deepflow--nats--nats-headers.pcap", Wrong::Missing, ORDER),
    ("nats/deepflow--nats--nats-nrpc1.pcap", Wrong::Invented, REPLY),
    ("postgres/arkime--postgres-good.pcap", Wrong::Missing, LATE),
    ("postgres/ndpi--pgsql.pcap", Wrong::Missing, LATE),
    ("postgres/packetbeat--pgsql_rt.pcap", Wrong::Missing, LATE),
    ("postgres/suricata--pgsql--pgsql-cancel-request.pcap", Wrong::Missing, LATE),
    ("postgres/suricata--pgsql--pgsql-copy-data-in--TLPW-Jason-copyfrom-small.pcap", Wrong::Invented, COPY),
    ("postgres/suricata--pgsql--pgsql-copy-data-in--TLPW-Jason-copyfrom-small.pcap", Wrong::Missing, LATE),
    ("postgres/suricata--pgsql--pgsql-copy-data-out.pcap", Wrong::Missing, LATE),
    ("postgres/suricata--pgsql--pgsql-pwd-output-disabled.pcap", Wrong::Missing, LATE),
    ("postgres/suricata--pgsql--pgsql-query-keyword-01.pcap", Wrong::Missing, LATE),
    ("postgres/suricata--pgsql--pgsql-ssl-rejected-md5-auth-simple-query.pcap", Wrong::Missing, LATE),
    ("postgres/zeek--postgresql--greenhouse-app.pcap", Wrong::Missing, LATE),
    ("postgres/zeek--postgresql--psql-insert-fail-drop-fail.pcap", Wrong::Invented, NOTICE),
    ("postgres/zeek--postgresql--psql-login.pcap", Wrong::Missing, LATE),
    ("postgres/zeek--postgresql--psql-select-now.pcap", Wrong::Missing, LATE),
    ("redis/tcpdump--resp_3_malicious.pcap", Wrong::Missing, ORDER),
    ("redis/zeek--redis--bulk-loading.pcap", Wrong::Missing, ORDER),
    ("redis/zeek--redis--pipeline-quotes.pcap", Wrong::Missing, ORDER),
    ("redis/zeek--redis--pubsub.pcap", Wrong::Missing, ORDER),
    ("redis/zeek--redis--reply-off-on-2conn.pcap", Wrong::Missing, ORDER),
    ("redis/zeek--redis--reply-off-on.pcap", Wrong::Missing, ORDER),
    ("redis/zeek--redis--start-with-server.pcapng", Wrong::Missing, ORDER),
    ("tls/arkime--https-connect.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/arkime--openssl-ssl3.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/arkime--openssl-tls1-tls1_2.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/arkime--openssl-tls1.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/ndpi--ssl-cert-name-mismatch.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/ndpi--tls_1.3_unidirectional_client.pcapng", Wrong::Missing, ENCRYPTED),
    ("tls/ndpi--tls_2_reasms.pcapng", Wrong::Missing, ENCRYPTED),
    ("tls/ndpi--tls_2_reasms_b.pcapng", Wrong::Invented, ENCRYPTED),
    ("tls/ndpi--tls_2_reasms_b.pcapng", Wrong::Missing, ENCRYPTED),
    ("tls/ndpi--tls_change_cipher.pcap", Wrong::Invented, ENCRYPTED),
    ("tls/ndpi--tls_heur__vmess-websocket.pcapng", Wrong::Missing, ENCRYPTED),
    ("tls/suricata--tls--tls13-draft14--tls13_draft14.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/suricata--tls--tls13-draft28--tls13_draft28.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/suricata--tls-duplicate-hello.pcap", Wrong::Invented, ENCRYPTED),
    ("tls/zeek--tls--cert-no-cn.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--certificate-with-sct.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--google-cert-repeat.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--heartbleed-encrypted.pcap", Wrong::Invented, ENCRYPTED),
    ("tls/zeek--tls--heartbleed-encrypted.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--hrr.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--missing-intermediate.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--ssl-v2.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--tls-13draft19-early-data.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--tls1.2-protocol-violation.pcap", Wrong::Invented, ENCRYPTED),
    ("tls/zeek--tls--tls1.2-protocol-violation.pcap", Wrong::Missing, ENCRYPTED),
    ("tls/zeek--tls--tls1_1.pcap", Wrong::Missing, ENCRYPTED),
];

#[test]
fn a_lost_segment_affects_its_own_records_only() {
    let long = common::is_long();
    let only = std::env::var("SOCKDBG_ONLY").ok();
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        let mut total = Losses::default();
        let short = |file: &String| {
            common::captures::folder()
                .join(file)
                .metadata()
                .is_ok_and(|metadata| metadata.len() <= LENGTH_MAX)
        };
        let wanted = |file: &String| only.as_ref().is_none_or(|only| file.contains(only));
        for file in files(folder).iter().filter(|file| short(file) && wanted(file)) {
            let losses = lose_each(file, if long { usize::MAX } else { SAMPLE });
            total.unaffected += losses.unaffected;
            total.kept += losses.kept;
            total.unknown += losses.unknown;
            let known: BTreeSet<Wrong> =
                KNOWN.iter().filter(|known| known.0 == file).map(|known| known.1).collect();
            let found: BTreeSet<Wrong> = losses.wrong.keys().copied().collect();
            for (kind, all) in losses.wrong {
                let lines = all.into_iter().map(|what| format!("{kind:?}: {what}"));
                match known.contains(&kind) {
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
        let Losses { unaffected, kept, unknown, .. } = total;
        println!(
            "{folder}: of {unaffected} records that a loss does not touch, {kept} stay, {unknown} say what is unknown"
        );
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
