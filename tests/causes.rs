//! Every cause, provoked on a live process whose bytes the test knows: stage, cause and exact range.

mod common;

use common::peer::eventually;
use common::puppet::Puppet;
use common::report::{Report, findings_of};
use common::trace::require_bpf;
use common::watcher::{Watcher, program};
use common::wire::Wire;
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use tempfile::TempDir;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n";

/// A request of the same length for another target.
fn request(target: char) -> Vec<u8> {
    String::from_utf8_lossy(REQUEST).replace("/a", &format!("/{target}")).into_bytes()
}

fn response(body: usize) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    response.extend((0..body).map(|index| b'a' + (index % 26) as u8));
    response
}

/// One request and its response, at the traced server.
fn exchange(puppet: &mut Puppet, fd: i32, peer: &mut TcpStream, target: char, body: usize) {
    puppet.recv(fd, peer, &request(target));
    puppet.send(fd, peer, &response(body));
}

/// `verify` on the loopback interface, watching.
fn verify(puppet: &Puppet, args: &[&str]) -> Watcher {
    Watcher::verify(puppet.pid(), args)
}

/// A traced server and the two files of an offline comparison.
struct Offline {
    directory: TempDir,
    puppet: Puppet,
    listener: i32,
    port: u16,
}

impl Offline {
    fn new() -> Offline {
        let mut puppet = Puppet::new();
        let (listener, port) = puppet.listen();
        Offline { directory: tempfile::tempdir().unwrap(), puppet, listener, port }
    }

    fn recording(&self) -> PathBuf {
        self.directory.path().join("recording.pcapng")
    }

    fn capture(&self) -> PathBuf {
        self.directory.path().join("capture.pcap")
    }

    /// Captures the server's port from now on.
    fn wire(&self, tcpdump_args: &[&str]) -> Wire {
        Wire::begin(&self.capture(), self.port, tcpdump_args)
    }

    /// Records the server's calls from now on.
    fn record(&self) -> Watcher {
        Watcher::recording(self.puppet.pid(), &self.recording(), &[])
    }

    /// A connection: the server's descriptor and the test's end.
    fn connect(&mut self) -> (i32, TcpStream) {
        let peer = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        (self.puppet.tell(&format!("accept {}", self.listener)).parse().unwrap(), peer)
    }

    fn exchange(&mut self, connection: &mut (i32, TcpStream), target: char, body: usize) {
        exchange(&mut self.puppet, connection.0, &mut connection.1, target, body);
    }

    /// Ends the server, the recording and then the capture, which has everything.
    fn end(&mut self, connection: (i32, TcpStream), events: Watcher, wire: Wire) {
        self.puppet.end();
        assert!(events.end().status.success());
        drop(connection);
        wire.end();
    }

    fn compare(&self) -> Report {
        let (recording, capture) = (self.recording(), self.capture());
        let files = [recording.to_str().unwrap(), capture.to_str().unwrap()];
        Report::of(&Watcher::sockdbg(&["pcap-compare", files[0], files[1], "--format", "json"]).end())
    }
}

/// One exchange, recorded and captured from its start, compared.
fn compare_with_capture(tcpdump_args: &[&str], body: usize) -> Report {
    let mut offline = Offline::new();
    let (wire, events) = (offline.wire(tcpdump_args), offline.record());
    let mut connection = offline.connect();
    offline.exchange(&mut connection, 'a', body);
    offline.end(connection, events, wire);
    offline.compare()
}

/// Ends the traced process and gives the report of the `verify` that watched it.
fn finish(mut puppet: Puppet, verify: Watcher) -> Report {
    puppet.end();
    Report::of(&verify.end())
}

#[test]
fn clean_traffic_has_no_finding() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    for target in ['a', 'b', 'c'] {
        exchange(&mut puppet, fd, &mut peer, target, 70_000);
    }
    let report = finish(puppet, watcher);
    assert_eq!(report.findings(), [""; 0]);
    assert_eq!((report.status, &report.summary["verdict"]), (0, &"complete".into()));
    let (connection, sent) = (report.connection(), 3 * response(70_000).len() as u64);
    assert_eq!(connection["records"], 3);
    for stage in ["wire", "syscall", "captured", "delivered", "framed", "recorded"] {
        assert_eq!(connection["send"][stage], sent, "{stage}");
        assert_eq!(connection["recv"][stage], 3 * REQUEST.len() as u64, "{stage}");
    }
}

#[test]
fn a_process_in_its_own_network_namespace_is_captured_there() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::by(&["unshare", "--net", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]);
    let (listener, port) = puppet.listen();
    let watcher = verify(&puppet, &[]);
    let client: i32 = puppet.tell(&format!("connect {port}")).parse().unwrap();
    let server: i32 = puppet.tell(&format!("accept {listener}")).parse().unwrap();
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    puppet.tell(&format!("send {client} {}", hex(REQUEST)));
    puppet.tell(&format!("recv {server} {}", REQUEST.len()));
    puppet.tell(&format!("send {server} {}", hex(&response(10))));
    puppet.tell(&format!("recv {client} {}", response(10).len()));
    let report = finish(puppet, watcher);
    assert_eq!(report.summary["verdict"], "complete", "{:#?}", report.connections);
    let ours: Vec<_> = report.connections.iter().filter(|one| one["of_process"] == true).collect();
    assert_eq!(ours.len(), 2, "both ends belong to the process");
    assert!(ours.iter().all(|one| one["records"] == 1));
}

#[test]
fn snaplen() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &["-s", "100"]);
    let (fd, mut peer) = puppet.accepted();
    exchange(&mut puppet, fd, &mut peer, 'a', 5000);
    let report = finish(puppet, watcher);
    let end = response(5000).len();
    assert_eq!(report.findings(), [format!("send 100 {end} capture snaplen")]);
    assert_eq!(report.status, 1);
    let finding = &report.connection()["findings"][0];
    assert_eq!(finding["record_count"], 1);
    assert!(finding["records"][0]["summary"].as_str().unwrap().contains("GET /a"), "{finding}");
}

#[test]
fn ring_full() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &["--ring-size", "64K"]);
    let (fd, mut peer) = puppet.accepted();
    exchange(&mut puppet, fd, &mut peer, 'a', 1000);
    watcher.signal(Signal::SIGSTOP);
    for target in ['b', 'c', 'd', 'e', 'f', 'g'] {
        exchange(&mut puppet, fd, &mut peer, target, 20_000);
    }
    watcher.signal(Signal::SIGCONT);
    let report = finish(puppet, watcher);
    let (first, sent) =
        (response(1000).len() as u64, (response(1000).len() + 6 * response(20_000).len()) as u64);
    let connection = report.connection();
    let found = report.findings();
    assert!(!found.is_empty());
    let mut lost = 0;
    for finding in connection["findings"].as_array().unwrap() {
        if finding["stage"] == "delivery" {
            assert_eq!(finding["cause"], "ring-full");
        }
        if finding["cause"] == "ring-full" && finding["direction"] == "send" {
            assert!(finding["range"][0].as_u64().unwrap() >= first, "the first response was read at once");
            lost += finding["bytes"].as_u64().unwrap();
        }
    }
    assert!(lost > 0, "six responses of 20 kB cannot fit a ring of 64 KiB: {found:?}");
    assert_eq!(connection["send"]["delivered"].as_u64().unwrap() + lost, sent);
    assert_eq!(connection["send"]["syscall"], sent);
    assert_eq!(connection["send"]["wire"], sent);
}

#[test]
fn before_attach_and_wire_started_late() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let (fd, mut peer) = puppet.accepted();
    exchange(&mut puppet, fd, &mut peer, 'a', 3000);
    let watcher = verify(&puppet, &[]);
    exchange(&mut puppet, fd, &mut peer, 'b', 10);
    let report = finish(puppet, watcher);
    let (sent, received) = (response(3000).len(), REQUEST.len());
    assert_eq!(
        report.findings(),
        [
            format!("send 0 {sent} wire wire-started-late"),
            format!("send 0 {sent} syscall before-attach"),
            format!("recv 0 {received} wire wire-started-late"),
            format!("recv 0 {received} syscall before-attach"),
        ]
    );
    assert_eq!(report.connection()["records"], 1);
}

#[test]
fn before_attach_while_the_wire_was_watched() {
    if !require_bpf() {
        return;
    }
    let mut offline = Offline::new();
    let wire = offline.wire(&[]);
    let mut connection = offline.connect();
    offline.exchange(&mut connection, 'a', 3000);
    let events = offline.record();
    offline.exchange(&mut connection, 'b', 10);
    offline.end(connection, events, wire);
    let report = offline.compare();
    let (sent, received) = (response(3000).len(), REQUEST.len());
    let expected =
        [format!("send 0 {sent} syscall before-attach"), format!("recv 0 {received} syscall before-attach")];
    assert_eq!(report.findings(), expected);
    let missing = &report.connection()["findings"][0]["records"][0]["summary"];
    assert!(missing.as_str().unwrap().contains("GET /a"), "{missing}");
}

#[test]
fn filtered() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let (fd, mut peer) = puppet.accepted();
    let watcher = verify(&puppet, &["--fd", &format!("!{fd}")]);
    exchange(&mut puppet, fd, &mut peer, 'a', 3000);
    let report = finish(puppet, watcher);
    let (sent, received) = (response(3000).len(), REQUEST.len());
    let expected = [format!("send 0 {sent} capture filtered"), format!("recv 0 {received} capture filtered")];
    assert_eq!(report.findings(), expected);
}

/// Two exchanges of one connection; `send` has the puppet send the body of the first answer, `length` bytes, by another
/// path than its calls. What comes of it, and where the body is.
fn body_by(length: usize, send: impl FnOnce(&mut Puppet, i32)) -> (Report, usize, usize) {
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    puppet.recv(fd, &mut peer, REQUEST);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    puppet.send(fd, &mut peer, head.as_bytes());
    send(&mut puppet, fd);
    let mut body = vec![0; length];
    peer.read_exact(&mut body).unwrap();
    exchange(&mut puppet, fd, &mut peer, 'b', 10);
    (finish(puppet, watcher), head.len(), head.len() + length)
}

#[test]
fn in_kernel_transfer() {
    if !require_bpf() {
        return;
    }
    let (report, from, to) = body_by(5000, |puppet, fd| drop(puppet.tell(&format!("sendfile {fd} 5000"))));
    assert_eq!(report.findings(), [format!("send {from} {to} syscall in-kernel-transfer")]);
    let finding = &report.connection()["findings"][0];
    assert!(finding["records"][0]["summary"].as_str().unwrap().contains("GET /a"), "{finding}");
    assert_eq!(report.connection()["records"], 2);
}

#[test]
fn in_kernel_transfer_at_the_end_of_the_connection() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    puppet.recv(fd, &mut peer, REQUEST);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n";
    puppet.send(fd, &mut peer, head);
    puppet.tell(&format!("sendfile {fd} 5000"));
    puppet.tell(&format!("close {fd}"));
    let report = finish(puppet, watcher);
    let (from, to) = (head.len(), head.len() + 5000);
    assert_eq!(report.findings(), [format!("send {from} {to} syscall in-kernel-transfer")]);
}

#[test]
fn untraced_syscall() {
    if !require_bpf() {
        return;
    }
    let (report, from, to) = body_by(1000, |puppet, fd| {
        assert_eq!(puppet.tell(&format!("send32 {fd} {}", "66".repeat(1000))), "1000");
    });
    assert_eq!(report.findings(), [format!("send {from} {to} syscall untraced-syscall")]);
    assert_eq!(report.connection()["records"], 2);
}

#[test]
fn wire_not_captured() {
    if !require_bpf() {
        return;
    }
    // The response is one packet on the loopback interface; the filter keeps it out.
    let report = compare_with_capture(&["less 1000 and"], 5000);
    let end = response(5000).len();
    assert_eq!(report.findings(), [format!("send 0 {end} wire wire-not-captured")]);
    assert_eq!((report.status, &report.connection()["records"]), (1, &1.into()));
}

#[test]
fn wire_snaplen() {
    if !require_bpf() {
        return;
    }
    // Ethernet 14, IPv4 20, TCP 20 with 12 bytes of timestamp option.
    let report = compare_with_capture(&["-s", "150"], 5000);
    let (from, to) = (150 - 14 - 20 - 32, response(5000).len());
    assert_eq!(report.findings(), [format!("send {from} {to} wire wire-snaplen")]);
}

#[test]
fn wire_started_late_and_ended_early() {
    if !require_bpf() {
        return;
    }
    let mut offline = Offline::new();
    let events = offline.record();
    let mut connection = offline.connect();
    offline.exchange(&mut connection, 'a', 1000);
    let wire = offline.wire(&[]);
    offline.exchange(&mut connection, 'b', 2000);
    let complete = (REQUEST.len() + response(2000).len() + 100) as u64;
    let capture = offline.capture();
    eventually("the capture of the second exchange", || {
        fs::metadata(&capture).is_ok_and(|data| data.len() > complete)
    });
    wire.end_now();
    offline.exchange(&mut connection, 'c', 3000);
    offline.puppet.end();
    assert!(events.end().status.success());
    let report = offline.compare();
    let (one, two, all) = (response(1000).len(), response(2000).len(), response(3000).len());
    let request = REQUEST.len();
    assert_eq!(
        report.findings(),
        [
            format!("send 0 {one} wire wire-started-late"),
            format!("send {} {} wire wire-ended-early", one + two, one + two + all),
            format!("recv 0 {request} wire wire-started-late"),
            format!("recv {} {} wire wire-ended-early", 2 * request, 3 * request),
        ]
    );
    assert_eq!(report.connection()["records"], 3);
}

#[test]
fn wire_no_vantage() {
    if !require_bpf() {
        return;
    }
    // A capture of a port that nobody uses, with packets from before and after the connection.
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut offline = Offline::new();
    let mut wire = Wire::begin(&offline.capture(), other, &[]);
    wire.mark();
    let events = offline.record();
    let mut connection = offline.connect();
    offline.exchange(&mut connection, 'a', 100);
    offline.end(connection, events, wire);
    let report = offline.compare();
    let (sent, received) = (response(100).len(), REQUEST.len());
    let expected =
        [format!("send 0 {sent} wire wire-no-vantage"), format!("recv 0 {received} wire wire-no-vantage")];
    assert_eq!(report.findings(), expected);
}

/// The peer reads nothing: its window closes, and what is written beyond it is never sent.
#[test]
fn wire_unsent() {
    if !require_bpf() {
        return;
    }
    let mut offline = Offline::new();
    let (wire, events) = (offline.wire(&[]), offline.record());
    let (fd, mut peer) = offline.connect();
    offline.puppet.recv(fd, &mut peer, REQUEST);
    // Its body goes on until the connection ends.
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    offline.puppet.send(fd, &mut peer, head);
    let block = data_encoding::HEXLOWER.encode(&[b'x'; 5000]);
    let answer = offline.puppet.tell(&format!("fill {fd} {block}"));
    let (written, unsent) = answer.split_once(' ').expect("two numbers");
    let [written, unsent] = [written, unsent].map(|number| number.parse::<u64>().expect("a number"));
    assert!(unsent > 0 && unsent < written, "{answer}");
    // It has not read all that came, so this is a reset.
    drop(peer);
    offline.puppet.tell(&format!("close {fd}"));
    offline.puppet.end();
    assert!(events.end().status.success());
    wire.end();
    let report = offline.compare();
    let end = head.len() as u64 + written;
    assert_eq!(report.findings(), [format!("send {} {end} wire wire-unsent", end - unsent)]);
}

#[test]
fn not_this_process() {
    if !require_bpf() {
        return;
    }
    let (mut puppet, mut other) = (Puppet::new(), Puppet::new());
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    exchange(&mut puppet, fd, &mut peer, 'a', 10);
    let (other_fd, mut other_peer) = other.accepted();
    exchange(&mut other, other_fd, &mut other_peer, 'b', 500);
    let address = other_peer.peer_addr().unwrap().to_string();
    let report = finish(puppet, watcher);
    assert_eq!((report.status, report.findings().len()), (0, 0), "traffic of others is no difference");
    let stranger = report.connections.iter().find(|one| one["remote"] == address.as_str()).unwrap();
    let (request, answer) = (REQUEST.len(), response(500).len());
    let expected = [
        format!("send 0 {request} syscall not-this-process"),
        format!("recv 0 {answer} syscall not-this-process"),
    ];
    assert_eq!(findings_of(stranger), expected);
    assert!(stranger["findings"][0]["records"][0]["summary"].as_str().unwrap().contains("GET /b"));
}

#[test]
fn protocol_unknown() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    puppet.recv(fd, &mut peer, b"\x01\x02\x03 nobody speaks this");
    puppet.send(fd, &mut peer, b"\x04\x05\x06\x07");
    let report = finish(puppet, watcher);
    assert_eq!(report.findings(), ["send 0 4 frame protocol-unknown", "recv 0 22 frame protocol-unknown"]);
}

#[test]
fn parse_error_and_resync_skipped() {
    if !require_bpf() {
        return;
    }
    let garbage = b"\x00this is no request\r\nnor is this\r\n";
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    // Two exchanges show that the client waits for its answers: so the one after the garbage is paired.
    for target in ['a', 'b'] {
        exchange(&mut puppet, fd, &mut peer, target, 10);
    }
    puppet.recv(fd, &mut peer, garbage);
    exchange(&mut puppet, fd, &mut peer, 'c', 10);
    let report = finish(puppet, watcher);
    let from = 2 * REQUEST.len() as u64;
    let findings = report.connection()["findings"].as_array().unwrap().clone();
    let ranges: Vec<_> = findings
        .iter()
        .map(|finding| {
            assert_eq!(
                (finding["direction"].as_str(), finding["stage"].as_str()),
                (Some("recv"), Some("frame"))
            );
            let end = |index: usize| finding["range"][index].as_u64().unwrap();
            (finding["cause"].as_str().unwrap(), end(0), end(1))
        })
        .collect();
    // The first byte proves that it is no request: what follows is the search for the next one.
    let [("parse-error", first, proof), ("resync-skipped", rest, to)] = ranges[..] else {
        panic!("{ranges:?}");
    };
    assert_eq!((first, rest, to), (from, proof, from + garbage.len() as u64));
    assert_eq!(report.connection()["records"], 3);
    assert_eq!(report.summary["residual"], 0);
}

#[test]
fn no_response() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    exchange(&mut puppet, fd, &mut peer, 'a', 10);
    puppet.recv(fd, &mut peer, &request('b'));
    puppet.tell(&format!("close {fd}"));
    let report = finish(puppet, watcher);
    let (from, to) = (REQUEST.len(), 2 * REQUEST.len());
    assert_eq!(report.findings(), [format!("recv {from} {to} record no-response")]);
    assert!(report.connection()["findings"][0]["detail"].as_str().unwrap().contains("GET /b"));
}

/// More requests at once than may wait for their answers: those that gave way, and the answers that were theirs.
#[test]
fn limit() {
    if !require_bpf() {
        return;
    }
    const WAITING: usize = 1024;
    const BEYOND: usize = 6;
    let mut offline = Offline::new();
    let (wire, events) = (offline.wire(&[]), offline.record());
    let (fd, mut peer) = offline.connect();
    offline.puppet.recv(fd, &mut peer, &REQUEST.repeat(WAITING + BEYOND));
    offline.puppet.send(fd, &mut peer, &response(1).repeat(WAITING + BEYOND));
    offline.end((fd, peer), events, wire);
    let report = offline.compare();
    let rows = [("send", response(1).len()), ("recv", REQUEST.len())].map(|(direction, length)| {
        format!("{direction} {} {} record limit", WAITING * length, (WAITING + BEYOND) * length)
    });
    assert_eq!(report.findings(), rows);
    assert_eq!((report.status, &report.connection()["records"]), (1, &(WAITING + 2 * BEYOND).into()));
    let detail = report.connection()["findings"][1]["detail"].as_str().unwrap();
    assert!(detail.contains("GET /a"), "{detail}");
}

/// The connection ends inside an answer: that has no end anywhere, so nothing is missing at either vantage.
#[test]
fn incomplete() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let watcher = verify(&puppet, &[]);
    let (fd, mut peer) = puppet.accepted();
    exchange(&mut puppet, fd, &mut peer, 'a', 10);
    puppet.recv(fd, &mut peer, &request('b'));
    puppet.send(fd, &mut peer, &response(1000)[..500]);
    puppet.tell(&format!("close {fd}"));
    let report = finish(puppet, watcher);
    let from = response(10).len();
    assert_eq!(report.findings(), [format!("send {from} {} frame incomplete", from + 500)]);
    let finding = &report.connection()["findings"][0];
    assert!(finding["detail"].as_str().unwrap().contains("GET /b"), "{finding}");
    assert_eq!((report.status, &report.connection()["records"]), (1, &2.into()));
}

#[test]
fn no_request() {
    if !require_bpf() {
        return;
    }
    let mut offline = Offline::new();
    let wire = offline.wire(&[]);
    let (fd, mut peer) = offline.connect();
    offline.puppet.recv(fd, &mut peer, REQUEST);
    let events = offline.record();
    offline.puppet.send(fd, &mut peer, &response(10));
    offline.end((fd, peer), events, wire);
    let report = offline.compare();
    let (sent, received) = (response(10).len(), REQUEST.len());
    let expected =
        [format!("send 0 {sent} record no-request"), format!("recv 0 {received} syscall before-attach")];
    assert_eq!(report.findings(), expected);
}

/// What goes through a BPF sockmap is on no wire, however well that is captured.
#[test]
fn past_tcp_no_packet_has_the_bytes() {
    if !require_bpf() {
        return;
    }
    let truth = tempfile::tempdir().unwrap();
    let (workload, folder) = (program("workload"), truth.path().to_str().unwrap());
    let command = ["run", "--truth", folder, "kernel/sockmap-ingress"];
    let verify = ["verify", "-i", "lo", "--format", "json", "--", workload.to_str().unwrap()];
    let report = Report::of(&Watcher::sockdbg(&[&verify[..], &command].concat()).end());
    assert_eq!(report.summary["residual"], 0, "{:#?}", report.connections);
    let ours = report.connections.iter().filter(|one| one["of_process"] == true);
    let mut found: Vec<_> = ours.map(findings_of).collect();
    found.sort();
    let expected = ["recv", "send"].map(|direction| {
        [
            format!("{direction} 1000 26000 wire wire-no-vantage"),
            format!("{direction} 0 26000 frame protocol-unknown"),
        ]
    });
    assert_eq!(found, expected);
}

#[test]
fn recording_cut() {
    if !require_bpf() {
        return;
    }
    let mut offline = Offline::new();
    let (wire, events) = (offline.wire(&[]), offline.record());
    let mut connection = offline.connect();
    offline.exchange(&mut connection, 'a', 1000);
    offline.exchange(&mut connection, 'b', 2000);
    offline.end(connection, events, wire);
    let recording = offline.recording();
    // As if the disk had filled up inside the second request.
    let bytes = fs::read(&recording).unwrap();
    let cut = bytes.windows(6).position(|window| window == b"GET /b").unwrap() + 3;
    fs::File::create(&recording).unwrap().write_all(&bytes[..cut]).unwrap();
    let report = offline.compare();
    let (one, two) = (response(1000).len(), response(2000).len());
    let request = REQUEST.len();
    assert_eq!(
        report.findings(),
        [
            format!("send {one} {} delivery recording-cut", one + two),
            format!("recv {request} {} delivery recording-cut", 2 * request),
        ]
    );
    assert_eq!(report.status, 1);
    let missing = &report.connection()["findings"][0]["records"][0]["summary"];
    assert!(missing.as_str().unwrap().contains("GET /b"), "{missing}");
}
