//! Much traffic and no fault: a comparison of it has nothing to find. SOCKDBG_LONG=1 makes it a gigabyte (`make soak`).

mod common;

use common::peer::{Server, eventually, noise};
use common::report::Report;
use common::trace::require_bpf;
use common::watcher::{Watcher, program};
use common::wire::Wire;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// Length of each answer's body: fits into the rings of both vantages many times.
const BODY: usize = 1 << 20;
const CONNECTIONS: usize = 8;

fn bodies() -> usize {
    let long = common::is_long();
    if long { 1024 } else { 64 }
}

#[test]
fn much_traffic_without_a_fault_has_no_finding() {
    if !require_bpf() {
        return;
    }
    let body = noise(BODY, 90);
    let server = Server::nginx(&body, false);
    let (pid, address) = (server.pid(), server.address);
    let folder = tempfile::tempdir().expect("room for files");
    let [recording, capture] = ["rec.pcapng", "cap.pcap"].map(|name| folder.path().join(name));
    let wire = Wire::begin(&capture, address.port(), &[]);
    let events = Watcher::recording(pid, &recording, &[]);
    // With the bytes that came on each.
    let mut streams: Vec<(TcpStream, u64)> =
        (0..CONNECTIONS).map(|_| (TcpStream::connect(address).expect("nginx listens"), 0)).collect();
    let mut room = vec![0; BODY];
    for count in 0..bodies() {
        let (stream, bytes) = &mut streams[count % CONNECTIONS];
        stream.write_all(b"GET /body HTTP/1.1\r\nHost: nginx\r\n\r\n").expect("nginx reads");
        let head = head(stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        stream.read_exact(&mut room).expect("the whole body");
        assert!(room == body, "body {count}");
        *bytes += (head.len() + BODY) as u64;
        // Who is behind loses something: the last answers may be on their way.
        let written = (count * BODY) as u64;
        eventually("the answer in both files", || {
            [&capture, &recording].iter().all(|file| length(file) >= written)
        });
    }
    let answered: Vec<(u16, u64)> = streams.iter().map(|(stream, bytes)| (port(stream), *bytes)).collect();
    drop(streams);
    server.end();
    assert!(events.end().status.success());
    wire.end();
    println!("recording {} bytes, capture {} bytes", length(&recording), length(&capture));
    let [recording, capture] = [&recording, &capture].map(|file| file.to_str().expect("UTF-8"));
    let mut compare = Command::new(program("sockdbg"));
    let output = compare.args(["pcap-compare", recording, capture, "--format", "json"]).output();
    let report = Report::of(&output.expect("sockdbg runs"));
    report.assert_complete();
    for (peer, answered) in answered {
        let sent = &report.with_peer(peer)["send"];
        for stage in ["wire", "syscall", "captured", "delivered", "framed", "recorded"] {
            assert_eq!(sent[stage], answered, "{stage} of {peer}");
        }
    }
}

fn length(file: &Path) -> u64 {
    file.metadata().expect("a file").len()
}

fn port(stream: &TcpStream) -> u16 {
    stream.local_addr().expect("connected").port()
}

/// Reads a response's head.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}
