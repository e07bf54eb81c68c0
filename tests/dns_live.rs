//! A real name server, traced: records equal what dig asked and got, by UDP and TCP, seen live, from the recording and
//! from a capture; and every datagram is found in the capture.

mod common;

use common::events::records;
use common::named::Named;
use common::observed::{Observed, records_of};
use common::report::Report;
use common::trace::require_bpf;
use common::watcher::Watcher;
use serde_json::{Value, json};
use std::fs;
use std::net::UdpSocket;

/// Summary and status of each record, sorted: sockets of datagrams have no order among each other.
fn lines(records: &[Value]) -> Vec<(String, String)> {
    let text = |record: &Value, key: &str| record[key].as_str().expect("text").to_owned();
    let of_dns = records.iter().filter(|record| record["protocol"] == "dns");
    let mut lines: Vec<_> = of_dns.map(|record| (text(record, "summary"), text(record, "status"))).collect();
    lines.sort();
    lines
}

#[test]
fn what_a_server_is_asked_is_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let named = Named::start();
    let (seen, ()) = Observed::run(named.pid(), named.port, || {
        named.dig(&["www.example.test"], "192.0.2.7");
        named.dig(&["host.example.test", "AAAA"], "2001:db8::7");
        named.dig(&["nope.example.test"], "NXDOMAIN");
        named.dig(&["elsewhere.test"], "REFUSED");
        named.dig(&["svc.example.test", "HTTPS"], "h2,h3");
        named.dig(&["_sip._tcp.example.test", "SRV"], "5060");
        named.dig(&["example.test", "CAA"], "ca.test");
        // Large, by UDP.
        named.dig(&["+bufsize=4096", "+nocookie", "big.example.test", "TXT"], "(UDP)");
        // Too large: asked again by TCP.
        named.dig(&["+noedns", "big.example.test", "TXT"], "(TCP)");
        named.dig(&["+tcp", "example.test", "MX"], "(TCP)");
        named.dig(&["example.test", "AXFR"], "XFR size: 12 records");
        named.end();
    });
    let big = format!("NOERROR TXT big.example.test -> \"{}...", "x".repeat(76));
    let mut expected = [
        "NOERROR A www.example.test -> CNAME host.example.test, 192.0.2.7",
        "NOERROR AAAA host.example.test -> 2001:db8::7",
        "NXDOMAIN A nope.example.test",
        "REFUSED A elsewhere.test",
        "NOERROR HTTPS svc.example.test -> 1 . alpn=h2,h3 port=8443",
        "NOERROR SRV _sip._tcp.example.test -> 1 2 5060 host.example.test",
        "NOERROR CAA example.test -> 0 issue \"ca.test\"",
        &big,
        "NOERROR TXT big.example.test -> no answer truncated",
        &big,
        "NOERROR MX example.test -> 10 host.example.test",
        "NOERROR AXFR example.test -> 12 records in 1 message",
    ]
    .map(|summary| (summary.to_owned(), "complete".to_owned()));
    expected.sort();
    assert_eq!(lines(&seen.live), expected, "live");
    assert_eq!(lines(&records_of(&seen.recording)), expected, "from the recording");
    assert_eq!(lines(&records_of(&seen.capture)), expected, "from the capture");
}

#[test]
fn every_datagram_of_a_server_is_found_in_the_capture() {
    if !require_bpf() {
        return;
    }
    let named = Named::start();
    let verify = Watcher::verify(named.pid(), &[]);
    for _ in 0..5 {
        named.dig(&["www.example.test"], "192.0.2.7");
        named.dig(&["+bufsize=4096", "big.example.test", "TXT"], "(UDP)");
        named.dig(&["+noedns", "big.example.test", "TXT"], "(TCP)");
    }
    let port = named.port;
    named.end();
    let report = Report::of(&verify.end());
    report.assert_complete();
    let own = |one: &&Value| one["local"].as_str().is_some_and(|at| at.ends_with(&format!(":{port}")));
    let connections = report.connections.iter().filter(own);
    let records: u64 = connections.map(|one| one["records"].as_u64().expect("a count")).sum();
    assert_eq!(records, 5 * 4);
}

/// Of what a snap length cut, the capture tells what it was: in JSON, in the text and on the page.
#[test]
fn what_was_cut_of_datagrams_is_named_by_the_capture() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("room for files");
    let file = |name: &str| folder.path().join(name).to_str().expect("a UTF-8 path").to_owned();
    let named = Named::start();
    let verify = Watcher::verify(named.pid(), &["-s", "20", "--bundle", &file("b")]);
    named.dig(&["+nocookie", "www.example.test"], "192.0.2.7");
    named.dig(&["+nocookie", "nope.example.test"], "NXDOMAIN");
    named.end();
    let report = Report::of(&verify.end());
    assert_eq!((&report.summary["verdict"], &report.summary["residual"]), (&json!("incomplete"), &json!(0)));
    let asked =
        ["NOERROR A www.example.test -> CNAME host.example.test, 192.0.2.7", "NXDOMAIN A nope.example.test"];
    for direction in ["recv", "send"] {
        let findings = report.connections.iter().flat_map(|one| one["findings"].as_array().expect("a list"));
        let cut = findings.filter(|one| one["cause"] == "snaplen" && one["direction"] == direction);
        let cut: Vec<&Value> = cut.collect();
        let named = |one: &&Value| one["records"][0]["summary"].as_str().map(str::to_owned);
        assert_eq!(cut.iter().map(named).collect::<Vec<_>>(), asked.map(|one| Some(one.to_owned())));
        for one in cut {
            let (cut, record) = (&one["range"], &one["records"][0]["range"]);
            // Twenty bytes of the datagram are there.
            assert_eq!(cut[0].as_u64().map(|from| from - 20), record[0].as_u64(), "{one}");
            assert_eq!((&cut[1], &one["record_count"]), (&record[1], &json!(1)), "{one}");
        }
    }
    for name in ["b/report.txt", "b/report.html"] {
        let text =
            fs::read_to_string(file(name)).expect("a report").replace("&gt;", ">").replace(r"\u003e", ">");
        asked.iter().for_each(|summary| assert!(text.contains(summary), "{name} lacks {summary}"));
    }
}

/// Asks for the address of host.example.test until it is answered.
const ASKER: &str = r#"
import socket, sys
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.connect(("127.0.0.1", int(sys.argv[1])))
asker.settimeout(0.2)
while True:
    asker.send(b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x04host\x07example\x04test\0\0\x01\0\x01")
    try:
        asker.recv(512)
        break
    except TimeoutError:
        pass
"#;

#[test]
fn a_query_that_is_answered_at_the_second_time_is_one_record() {
    if !require_bpf() {
        return;
    }
    let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = server.local_addr().expect("an address").port().to_string();
    let answers = std::thread::spawn(move || {
        let mut room = [0; 512];
        server.recv(&mut room).expect("a query");
        let (length, from) = server.recv_from(&mut room).expect("the query again");
        room[2] |= 0x80;
        server.send_to(&room[..length], from).expect("somebody asks");
    });
    let args = ["conn-trace", "--format", "json", "--", "python3", "-c", ASKER, &port];
    let output = Watcher::sockdbg(&args).end();
    answers.join().expect("an answer");
    let records = records(&output.stdout);
    let record = records.iter().find(|record| record["protocol"] == "dns").expect("a record");
    let expected = (&json!("NOERROR A host.example.test -> no answer"), &json!("complete"));
    assert_eq!((&record["summary"], &record["status"]), expected);
    assert!(record["request"]["retransmissions"].as_u64() >= Some(1), "{record}");
    // From the first query on, not from its repetition.
    assert!(record["latency_ns"].as_u64() >= Some(200_000_000), "{record}");
}
