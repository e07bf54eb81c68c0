//! The same traffic seen live, from its recording, from a packet capture, and by tshark.

use crate::common::events::text;
use crate::common::observed::Observed;
use crate::common::trace::require_bpf;
use crate::http::{chunking_asked_three, nginx_asked_twenty, twenty};
use crate::redis::redis_spoken_to;
use std::path::Path;
use std::process::Command;

/// Three ways, the same records; `count` of them.
fn check(seen: &Observed, server: u16, count: usize) {
    assert_eq!(seen.live.len(), count);
    seen.assert_same_records(server);
}

/// The server's port, from a record.
fn server(seen: &Observed) -> u16 {
    let local = seen.live[0]["local"].as_str().unwrap();
    local.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn nginx_three_ways() {
    if !require_bpf() {
        return;
    }
    let (seen, _) = nginx_asked_twenty();
    check(&seen, server(&seen), 20);
}

#[test]
fn chunks_and_gzip_three_ways() {
    if !require_bpf() {
        return;
    }
    let (seen, _) = chunking_asked_three();
    check(&seen, server(&seen), 3);
}

#[test]
fn redis_three_ways() {
    if !require_bpf() {
        return;
    }
    let (seen, _) = redis_spoken_to();
    check(&seen, server(&seen), 12);
}

/// What tshark says of a file.
fn tshark(file: &Path, args: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(file).args(args).output().expect("tshark is installed");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The bytes of both sides of a TCP stream as tshark follows it: of the client, of the server.
fn followed(file: &Path, number: u32, client: u16) -> [Vec<u8>; 2] {
    let said = tshark(file, &["-q", "-z", &format!("follow,tcp,raw,{number}")]);
    let first = said.lines().find_map(|line| line.strip_prefix("Node 0: ")).expect("node 0");
    assert!(first.ends_with(&format!(":{client}")), "node 0 is the client: {first}");
    let mut sides = [Vec::new(), Vec::new()];
    for line in said.lines().skip_while(|line| !line.starts_with("Node 1: ")).skip(1) {
        let (side, hex) = line.strip_prefix('\t').map_or((0, line), |hex| (1, hex));
        if !hex.starts_with('=') {
            sides[side].extend(data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal"));
        }
    }
    sides
}

/// No packet that tshark cannot read, and none that it finds out of order or missing.
fn assert_clean(file: &Path) {
    for filter in ["_ws.malformed", "tcp.analysis.flags"] {
        assert_eq!(tshark(file, &["-Y", filter]), "", "{filter}");
    }
}

#[test]
fn tshark_sees_the_same_requests_and_bytes_in_a_recording_of_nginx() {
    if !require_bpf() {
        return;
    }
    let (seen, client) = nginx_asked_twenty();
    let uris = tshark(&seen.recording, &["-Y", "http.request", "-T", "fields", "-e", "http.request.uri"]);
    let asked: Vec<String> = twenty().into_iter().map(|(_, target, _)| target).collect();
    assert_eq!(uris.lines().collect::<Vec<_>>(), asked);
    let [by_client, by_server] = followed(&seen.recording, 0, client.port);
    assert!(by_client == client.sent && by_server == client.received, "other bytes than the client's");
    assert_clean(&seen.recording);
}

#[test]
fn tshark_sees_the_same_bytes_in_a_recording_of_redis() {
    if !require_bpf() {
        return;
    }
    let (seen, clients) = redis_spoken_to();
    for (number, client) in clients.iter().enumerate() {
        let [by_client, by_server] = followed(&seen.recording, number as u32, client.port);
        assert_eq!((by_client, by_server), (client.sent.clone(), client.received.clone()));
    }
    assert_clean(&seen.recording);
}
