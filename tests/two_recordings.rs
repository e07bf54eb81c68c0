//! Recordings of both ends of a connection, held against each other: two traced processes on the loopback interface, whose
//! bytes the test knows.

mod common;

use common::peer::free_port;
use common::puppet::Puppet;
use common::report::{Report, findings_of};
use common::trace::require_bpf;
use common::watcher::Watcher;
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::PathBuf;
use tempfile::TempDir;

const REQUEST: &[u8] = b"POST /order HTTP/1.1\r\nHost: test\r\nContent-Length: 40\r\n\r\n0123456789012345678901234567890123456789";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world";

/// A client, a server, and the socket of each.
struct Pair {
    folder: TempDir,
    client: Puppet,
    server: Puppet,
    fds: [i32; 2],
    listener: i32,
    port: u16,
}

impl Pair {
    fn new() -> Pair {
        let (client, mut server) = (Puppet::new(), Puppet::new());
        let (listener, port) = server.listen();
        let folder = tempfile::tempdir().unwrap();
        Pair { folder, client, server, fds: [0; 2], listener, port }
    }

    fn connect(&mut self) {
        self.fds[0] = self.client.tell(&format!("connect {}", self.port)).parse().unwrap();
        self.fds[1] = self.server.tell(&format!("accept {}", self.listener)).parse().unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn record_client(&self, args: &[&str]) -> Watcher {
        Watcher::recording(self.client.pid(), &self.file("client.pcapng"), args)
    }

    fn record_server(&self, args: &[&str]) -> Watcher {
        Watcher::recording(self.server.pid(), &self.file("server.pcapng"), args)
    }

    fn request(&mut self) {
        let [client, server] = self.fds;
        self.client.tell(&format!("send {client} {}", data_encoding::HEXLOWER.encode(REQUEST)));
        self.server.tell(&format!("recv {server} {}", REQUEST.len()));
    }

    fn respond(&mut self) {
        let [client, server] = self.fds;
        self.server.tell(&format!("send {server} {}", data_encoding::HEXLOWER.encode(RESPONSE)));
        self.client.tell(&format!("recv {client} {}", RESPONSE.len()));
    }

    fn exchange(&mut self) {
        self.request();
        self.respond();
    }

    fn close(&mut self) {
        self.client.tell(&format!("close {}", self.fds[0]));
        self.server.tell(&format!("close {}", self.fds[1]));
    }

    /// The first recording against the second.
    fn compare(&self, first: &str, second: &str) -> Report {
        let files = [first, second].map(|name| self.file(name).to_str().unwrap().to_owned());
        let output = Watcher::sockdbg(&["pcap-compare", &files[0], &files[1], "--format", "json"]).end();
        let report = Report::of(&output);
        assert_eq!(report.summary["vantages"], serde_json::json!(["syscall", "syscall"]));
        report
    }

    /// The findings of the client's recording against the server's, and the other way round.
    fn check(&self, client: &[&str], server: &[&str]) {
        for (first, second, expected) in
            [("client.pcapng", "server.pcapng", client), ("server.pcapng", "client.pcapng", server)]
        {
            let report = self.compare(first, second);
            assert_eq!(report.findings(), expected, "{first} against {second}");
            let offset = report.summary["clock_offset_ns"].as_i64();
            assert!(offset.is_none_or(|offset| offset.unsigned_abs() < 1_000_000_000), "{offset:?}");
        }
    }
}

fn end(watchers: impl IntoIterator<Item = Watcher>) {
    for watcher in watchers {
        watcher.signal(Signal::SIGINT);
        watcher.end();
    }
}

#[test]
fn what_one_sent_the_other_received() {
    if !require_bpf() {
        return;
    }
    let mut pair = Pair::new();
    let watchers = [pair.record_client(&[]), pair.record_server(&[])];
    pair.connect();
    (0..3).for_each(|_| pair.exchange());
    pair.close();
    end(watchers);
    pair.check(&[], &[]);
    let report = pair.compare("client.pcapng", "server.pcapng");
    report.assert_complete();
    common::report::assert_bytes(report.connection(), 3 * REQUEST.len() as u64, 3 * RESPONSE.len() as u64);
}

#[test]
fn what_the_other_recording_cut_is_its_own_loss() {
    if !require_bpf() {
        return;
    }
    let mut pair = Pair::new();
    let watchers = [pair.record_client(&[]), pair.record_server(&["-s", "50"])];
    pair.connect();
    pair.exchange();
    pair.close();
    end(watchers);
    let length = REQUEST.len();
    let cut = [format!("send 50 {length} capture snaplen"), format!("recv 50 {length} capture snaplen")];
    pair.check(&[&cut[0]], &[&cut[1]]);
    let report = pair.compare("client.pcapng", "server.pcapng");
    assert_eq!(report.connection()["findings"][0]["detail"], "at the other end");
}

#[test]
fn what_the_receiver_left_unread_is_no_loss_of_a_tracer() {
    if !require_bpf() {
        return;
    }
    for closed in [true, false] {
        let mut pair = Pair::new();
        let watchers = [pair.record_client(&[]), pair.record_server(&[])];
        pair.connect();
        pair.exchange();
        let (client, server) = (pair.fds[0], pair.fds[1]);
        let length = REQUEST.len();
        pair.client.tell(&format!("send {client} {}", data_encoding::HEXLOWER.encode(REQUEST)));
        pair.server.tell(&format!("recv {server} 30"));
        if closed {
            pair.server.tell(&format!("close {server}"));
        }
        end(watchers);
        let unread = format!("{} {} syscall unread", length + 30, 2 * length);
        let report = pair.compare("client.pcapng", "server.pcapng");
        let found: Vec<String> =
            report.findings().into_iter().filter(|one| one.contains(" syscall ")).collect();
        assert_eq!(found, [format!("send {unread}")], "closed: {closed}");
        let report = pair.compare("server.pcapng", "client.pcapng");
        let found: Vec<String> =
            report.findings().into_iter().filter(|one| one.contains(" syscall ")).collect();
        assert_eq!(found, [format!("recv {unread}")], "closed: {closed}");
    }
}

#[test]
fn what_came_before_the_other_recording_is_named() {
    if !require_bpf() {
        return;
    }
    let mut pair = Pair::new();
    let client = pair.record_client(&[]);
    pair.connect();
    pair.exchange();
    let server = pair.record_server(&[]);
    pair.exchange();
    pair.close();
    end([client, server]);
    let (request, response) = (REQUEST.len(), RESPONSE.len());
    let early = |way: &str, length: usize| format!("{way} 0 {length} syscall before-attach");
    let expected = [early("send", request), early("recv", response)];
    let report = pair.compare("client.pcapng", "server.pcapng");
    assert_eq!(report.findings(), expected);
    // Of the server's side, what the client's recording shows names the requests.
    let report = pair.compare("server.pcapng", "client.pcapng");
    let expected = [early("send", response), early("recv", request)];
    assert_eq!(report.findings(), expected);
    for finding in report.connection()["findings"].as_array().unwrap() {
        let record = finding["records"][0]["summary"].as_str().unwrap();
        assert!(record.contains("POST /order"), "{record}");
    }
}

#[test]
fn a_connection_to_somebody_else_is_in_no_other_recording() {
    if !require_bpf() {
        return;
    }
    let mut pair = Pair::new();
    let watchers = [pair.record_client(&[]), pair.record_server(&[])];
    pair.connect();
    pair.exchange();
    let (fd, mut peer) = pair.client.connected();
    pair.client.send(fd, &mut peer, b"GET /elsewhere HTTP/1.1\r\n\r\n");
    pair.close();
    end(watchers);
    let report = pair.compare("client.pcapng", "server.pcapng");
    let port = peer.local_addr().unwrap().port();
    assert_eq!(findings_of(report.with_peer(pair.port)), [""; 0]);
    assert!(findings_of(report.with_peer(port)).contains(&"send 0 27 wire wire-no-vantage".to_owned()));
    // The server has nothing to do with it.
    let report = pair.compare("server.pcapng", "client.pcapng");
    assert_eq!(report.summary["verdict"], "complete", "{:#?}", report.connections);
    let other =
        report.connections.iter().find(|one| one["of_process"] == false).expect("the other connection");
    assert_eq!(findings_of(other), ["send 0 27 syscall not-this-process"]);
}

/// Answers three datagrams; the fourth waits when it ends.
const ANSWERS: &str = "import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print('listening', file=sys.stderr, flush=True)
for _ in range(3):
    question, peer = server.recvfrom(1000)
    server.sendto(b'the answer to ' + question, peer)
server.recv(1000, socket.MSG_PEEK)";

const QUESTIONS: &str = "import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(('127.0.0.1', int(sys.argv[1])))
for question in sys.argv[2:5]:
    client.send(question.encode())
    assert client.recv(1000) == b'the answer to ' + question.encode()
client.send(sys.argv[5].encode())";

/// Datagram by datagram, whether the server knows at which of its addresses it was asked or not.
#[test]
fn datagrams_are_those_of_the_other_end() {
    if !require_bpf() {
        return;
    }
    let questions = ["first", "second question", "third", "that nobody reads"];
    let asked: usize = questions[..3].iter().map(|one| one.len()).sum();
    let (all, answered) = (asked + questions[3].len(), asked + 3 * "the answer to ".len());
    for address in ["127.0.0.1", "0.0.0.0"] {
        let folder = tempfile::tempdir().unwrap();
        let [client, server] =
            ["client", "server"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
        let port = free_port().to_string();
        let record = |file: &str, args: &[&str]| {
            let fixed = ["events", "-q", "-w", file, "--", "python3", "-c"];
            Watcher::sockdbg(&[&fixed, args].concat())
        };
        let serving = record(&server, &[ANSWERS, address, &port]).wait_for("listening");
        assert!(record(&client, &[&[QUESTIONS, &port], &questions[..]].concat()).end().status.success());
        assert!(serving.end().status.success());
        for (first, second) in [(&client, &server), (&server, &client)] {
            let report =
                Report::of(&Watcher::sockdbg(&["pcap-compare", first, second, "--format", "json"]).end());
            assert_eq!(report.summary["residual"], 0, "{:#?}", report.connections);
            let udp = report.connections.iter().filter(|one| one["transport"] == "udp");
            let mut found: Vec<String> =
                udp.flat_map(findings_of).filter(|one| !one.contains("protocol-unknown")).collect();
            found.sort();
            assert_eq!(found, [format!("send {asked} {all} syscall unread")], "{address}: {first}");
            let one = report.connections.iter().find(|one| one["transport"] == "udp").unwrap();
            let [sent, received] = if first == &client { [all, answered] } else { [answered, asked] };
            let on_wire = if first == &client { [asked, answered] } else { [answered, asked] };
            assert_eq!([&one["send"]["syscall"], &one["recv"]["syscall"]], [&json!(sent), &json!(received)]);
            assert_eq!(
                [&one["send"]["wire"], &one["recv"]["wire"]],
                on_wire.map(|bytes| json!(bytes)).each_ref()
            );
        }
    }
}
