//! Connections that the capture has under other addresses: behind the kernel's own translation (nftables, in network
//! namespaces of the test's own), and on the other side of a proxy.

mod common;

use common::killed::Killed;
use common::peer::eventually;
use common::report::{Report, findings_of};
use common::trace::require_bpf;
use common::watcher::Watcher;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Serves requests of `GET /N`, on port 8080 of every address, each with an answer of its own; says when it listens.
const SERVER: &str = r"
import http.server
class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = (self.path * 100).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(('0.0.0.0', 8080), Answers)
print('listening', flush=True)
server.serve_forever()
";

/// What the server's host does with connections to its port 80: another port, and for the server another client.
const RULES: &str = "
table ip translated {
    chain before { type nat hook prerouting priority -100; meta l4proto { tcp, udp } th dport 80 dnat to 10.77.0.2:8080; }
    chain input { type nat hook input priority 100; meta l4proto { tcp, udp } th dport 8080 snat to 10.77.0.9; }
}";

/// Answers each datagram with one of its own, on port 8080 of every address; says when it is there.
const ANSWERS: &str = r"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('0.0.0.0', 8080))
print('listening', flush=True)
while True:
    question, peer = server.recvfrom(65535)
    server.sendto(b'the answer to ' + question, peer)
";

/// Sends each of its arguments to the service, on one socket, and awaits the answer.
const QUESTIONS: &str = r"
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(30)
client.connect(('10.77.0.2', 80))
for question in sys.argv[1:]:
    client.send(question.encode())
    assert client.recv(65535) == b'the answer to ' + question.encode()
";

/// A client's and a server's network namespace with a cable between them. They go with this.
struct Hosts {
    client: String,
    server: String,
}

impl Hosts {
    fn new() -> Hosts {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let hosts = Hosts { client: format!("sd-c-{unique}"), server: format!("sd-s-{unique}") };
        let Hosts { client, server } = &hosts;
        for line in [
            format!("netns add {client}"),
            format!("netns add {server}"),
            format!("-n {client} link add cable type veth peer name cable netns {server}"),
            format!("-n {client} addr add 10.77.0.1/24 dev cable"),
            format!("-n {server} addr add 10.77.0.2/24 dev cable"),
            format!("-n {client} link set cable up"),
            format!("-n {server} link set cable up"),
            format!("-n {server} link set lo up"),
        ] {
            run(Command::new("ip").args(line.split(' ')));
        }
        hosts
    }

    fn translate(&self) {
        run(hosts_command(&self.server, "nft").arg(RULES));
    }

    /// A server at work.
    fn serve(&self, program: &str) -> Killed {
        let mut child = hosts_command(&self.server, "python3")
            .args(["-c", program])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("the server speaks");
        assert_eq!(line, "listening\n");
        Killed(child)
    }

    /// Fetches these paths on one connection.
    fn fetch(&self, port: u16, paths: std::ops::Range<u32>) {
        let urls = paths.map(|path| format!("http://10.77.0.2:{port}/{path}"));
        let output = hosts_command(&self.client, "curl").arg("-sS").args(urls).output().expect("curl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Asks by datagrams, all from one socket.
    fn ask(&self, questions: &[&str]) {
        let asked = hosts_command(&self.client, "python3").args(["-c", QUESTIONS]).args(questions).output();
        let output = asked.expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A capture of the cable, at the server's end.
    fn capture(&self, file: &Path) -> Watcher {
        let mut command = hosts_command(&self.server, "tcpdump");
        command
            .args(["-i", "cable", "-U", "--immediate-mode", "-Z", "root", "-w"])
            .arg(file)
            .arg("tcp or udp");
        Watcher::start(&mut command).wait_for("listening on")
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            // What could not be made can't be deleted.
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

/// A program in a namespace: `ip netns exec` becomes it, so that its process id is the child's.
fn hosts_command(name: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name, program]);
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("it can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Each connection of the process was seen under the addresses of the client and the service, whole.
fn check(report: &Report, connections: usize) {
    report.assert_complete();
    let ours: Vec<&Value> = report.connections.iter().filter(|one| one["of_process"] == true).collect();
    assert_eq!(ours.len(), connections);
    for one in ours {
        assert_eq!(one["local"], "10.77.0.2:8080");
        assert!(one["remote"].as_str().unwrap().starts_with("10.77.0.9:"), "{one:#}");
        assert_eq!(one["wire_local"], "10.77.0.2:80");
        assert!(one["wire_remote"].as_str().unwrap().starts_with("10.77.0.1:"), "{one:#}");
        let (sent, received) = (&one["send"]["syscall"], &one["recv"]["syscall"]);
        let expected = ["send", "recv"].map(|way| {
            let bytes = if way == "send" { sent } else { received };
            format!("{way} 0 {bytes} wire wire-address-translated")
        });
        assert_eq!(findings_of(one), expected);
        for finding in one["findings"].as_array().unwrap() {
            let detail = finding["detail"].as_str().unwrap();
            for (side, address) in [("process", &one["local"]), ("capture", &one["wire_local"])] {
                assert!(detail.contains(address.as_str().unwrap()), "no {side}: {detail}");
            }
        }
    }
}

/// Recordings of both ends, between which addresses are translated.
#[test]
fn two_recordings_on_both_sides_of_a_translation_are_compared() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [client, server] = ["client.pcapng", "server.pcapng"].map(|name| folder.path().join(name));
    let hosts = Hosts::new();
    hosts.translate();
    let served = hosts.serve(SERVER);
    let watcher = Watcher::recording(served.0.id(), &server, &[]);
    let command = ["netns", "exec", &hosts.client, "curl", "-sS", "http://10.77.0.2/1", "http://10.77.0.2/2"];
    let traced = ["events", "-f", "-w", client.to_str().unwrap(), "--", "ip"];
    assert!(Watcher::sockdbg(&[&traced[..], &command].concat()).end().status.success());
    watcher.signal(Signal::SIGINT);
    watcher.end();
    check(&compare(&server, &client), 1);
    let report = compare(&client, &server);
    report.assert_complete();
    let ours: Vec<&Value> = report.connections.iter().filter(|one| one["of_process"] == true).collect();
    let tcp: Vec<&&Value> = ours.iter().filter(|one| one["transport"] == "tcp").collect();
    assert_eq!(tcp.len(), 1);
    assert_eq!(
        (&tcp[0]["remote"], &tcp[0]["wire_remote"]),
        (&"10.77.0.2:80".into(), &"10.77.0.2:8080".into())
    );
    assert_eq!(tcp[0]["send"]["wire"], tcp[0]["send"]["syscall"]);
    assert_eq!(tcp[0]["recv"]["wire"], tcp[0]["recv"]["syscall"]);
}

/// Recordings of both ends of datagrams, between which addresses are translated: content tells which are which.
#[test]
fn two_recordings_of_translated_datagrams_are_compared() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [client, server] = ["client.pcapng", "server.pcapng"].map(|name| folder.path().join(name));
    let hosts = Hosts::new();
    hosts.translate();
    let served = hosts.serve(ANSWERS);
    let watcher = Watcher::recording(served.0.id(), &server, &[]);
    let questions = ["which one", "and which other", "one more"];
    let command = ["netns", "exec", &hosts.client, "python3", "-c", QUESTIONS];
    let traced = ["events", "-f", "-w", client.to_str().unwrap(), "--", "ip"];
    let asked = Watcher::sockdbg(&[&traced[..], &command, &questions].concat()).end();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    watcher.signal(Signal::SIGINT);
    watcher.end();
    let (asked, answered) = (questions.concat().len(), questions.map(|one| one.len() + 14).iter().sum());
    for (first, second, of_client) in [(&client, &server, true), (&server, &client, false)] {
        let report = compare(first, second);
        report.assert_complete();
        let udp: Vec<&Value> = report.connections.iter().filter(|one| one["transport"] == "udp").collect();
        let [one] = udp[..] else { panic!("{udp:#?}") };
        let [sent, received] = if of_client { [asked, answered] } else { [answered, asked] };
        assert_moved(one, received, sent);
        let found = findings_of(one).into_iter().filter(|one| one.contains(" wire "));
        let expected = [("send", sent), ("recv", received)]
            .map(|(way, bytes)| format!("{way} 0 {bytes} wire wire-address-translated"));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let text = |name: &str| one[name].as_str().unwrap_or_else(|| panic!("no {name}: {one:#}"));
        let (ours, theirs) = if of_client {
            (("10.77.0.1:", "10.77.0.2:80"), ("10.77.0.9:", "0.0.0.0:8080"))
        } else {
            (("0.0.0.0:8080", "10.77.0.9:"), ("10.77.0.2:80", "10.77.0.1:"))
        };
        assert!(text("wire_local").starts_with(theirs.0) && text("wire_remote").starts_with(theirs.1));
        let detail = one["findings"].as_array().unwrap().iter();
        let detail = detail.filter(|one| one["cause"] == "wire-address-translated");
        for detail in detail.map(|one| one["detail"].as_str().unwrap()) {
            for end in [ours.0, ours.1, theirs.0, theirs.1, "at the other end"] {
                assert!(detail.contains(end), "no {end}: {detail}");
            }
        }
    }
}

/// Both addresses of what the client's host sends are translated.
const MASK: &str = "
table ip masked {
    chain out { type nat hook output priority -100; ip daddr 10.99.0.1 dnat to 10.77.0.2; }
    chain post { type nat hook postrouting priority 100; ip saddr 10.77.0.1 snat to 10.77.0.7; }
}";

/// A connection without a byte, one that is refused, and one with a request.
const CONNECTIONS: &str = r"
import socket
socket.create_connection(('10.99.0.1', 8080)).close()
try:
    socket.create_connection(('10.99.0.1', 8081))
    raise SystemExit('somebody listens')
except ConnectionRefusedError:
    pass
client = socket.create_connection(('10.99.0.1', 8080))
client.sendall(b'GET /1 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')
while client.recv(65536):
    pass
";

#[test]
fn a_translated_connection_without_bytes_is_no_difference() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [recording, capture] = ["rec.pcapng", "cap.pcap"].map(|name| folder.path().join(name));
    let hosts = Hosts::new();
    let client = &hosts.client;
    for line in ["addr add 10.77.0.7/24 dev cable", "route add 10.99.0.1/32 dev cable"] {
        run(Command::new("ip").args(["-n", client]).args(line.split(' ')));
    }
    run(hosts_command(client, "nft").arg(MASK));
    let _served = hosts.serve(SERVER);
    let tcpdump = hosts.capture(&capture);
    let command = ["ip", "netns", "exec", client, "python3", "-c", CONNECTIONS];
    let traced = ["events", "-f", "-w", recording.to_str().unwrap(), "--"];
    let output = Watcher::sockdbg(&[&traced[..], &command].concat()).end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    tcpdump.signal(Signal::SIGINT);
    tcpdump.end();
    let report = compare(&recording, &capture);
    report.assert_complete();
    let of_tcp = |ours: bool| {
        report
            .connections
            .iter()
            .filter(move |one| one["of_process"] == ours && one["transport"] == "tcp")
            .collect::<Vec<_>>()
    };
    let translated = of_tcp(true).into_iter().filter(|one| one["wire_local"].is_string());
    let translated: Vec<(String, String, usize)> = translated
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            assert!(text("wire_local").starts_with("10.77.0.7:"), "{one:#}");
            (text("remote"), text("wire_remote"), findings_of(one).len())
        })
        .collect();
    assert_eq!(translated, [("10.99.0.1:8080".to_owned(), "10.77.0.2:8080".to_owned(), 2)]);
    // Of a refused connection no number is known by which it could be the process's: it is nobody's, and nothing is missing.
    let others = of_tcp(false);
    assert!(others.iter().all(|one| one["remote"] == "10.77.0.2:8081"), "{others:#?}");
    assert!(others.iter().all(|one| findings_of(one).is_empty()), "{others:#?}");
}

fn compare(recording: &Path, capture: &Path) -> Report {
    let [recording, capture] = [recording, capture].map(|file| file.to_str().unwrap());
    Report::of(&Watcher::sockdbg(&["pcap-compare", recording, capture, "--format", "json"]).end())
}

/// A recording of a server and a capture on the other side of a translation, while clients do what they do.
fn translated(folder: &Path, server: &str, clients: impl FnOnce(&Hosts)) -> [PathBuf; 2] {
    let [recording, capture] = ["rec.pcapng", "cap.pcap"].map(|name| folder.join(name));
    let hosts = Hosts::new();
    hosts.translate();
    let server = hosts.serve(server);
    let tcpdump = hosts.capture(&capture);
    let watcher = Watcher::recording(server.0.id(), &recording, &[]);
    clients(&hosts);
    watcher.signal(Signal::SIGINT);
    watcher.end();
    tcpdump.signal(Signal::SIGINT);
    tcpdump.end();
    [recording, capture]
}

#[test]
fn a_translated_connection_is_compared_live() {
    if !require_bpf() {
        return;
    }
    let hosts = Hosts::new();
    hosts.translate();
    let server = hosts.serve(SERVER);
    let pid = server.0.id().to_string();
    let watcher =
        Watcher::sockdbg(&["verify", "-p", &pid, "-i", "cable", "--format", "json"]).wait_for("watching");
    hosts.fetch(80, 0..3);
    hosts.fetch(80, 3..5);
    watcher.signal(Signal::SIGINT);
    check(&Report::of(&watcher.end()), 2);
}

#[test]
fn a_translated_connection_is_compared_offline() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The same bytes again and again: the sequence numbers tell which is which.
    let [recording, capture] =
        translated(folder.path(), SERVER, |hosts| (0..3).for_each(|_| hosts.fetch(80, 0..4)));
    eventually("the capture is written", || capture.metadata().is_ok_and(|file| file.len() > 1000));
    let report = compare(&recording, &capture);
    check(&report, 3);
    // Another clock, by hours and by little.
    let offset = report.summary["clock_offset_ns"].as_i64().unwrap();
    assert!(offset.unsigned_abs() < 10_000_000, "one host has one clock: {offset}");
    for (shift, nanoseconds) in
        [("7200", 7_200_000_000_000i64), ("-5400", -5_400_000_000_000), ("0.5", 500_000_000)]
    {
        let shifted = folder.path().join("shifted.pcap");
        run(Command::new("editcap").args(["-F", "nsecpcap", "-t", shift]).args([&capture, &shifted]));
        let report = compare(&recording, &shifted);
        check(&report, 3);
        assert_eq!(report.summary["clock_offset_ns"].as_i64(), Some(offset + nanoseconds));
        let text =
            Watcher::sockdbg(&["pcap-compare", recording.to_str().unwrap(), shifted.to_str().unwrap()]).end();
        let text = String::from_utf8(text.stdout).unwrap();
        let way = if nanoseconds < 0 { "behind" } else { "ahead of" };
        assert!(text.contains(&format!("s {way} the process's")), "{text}");
    }
}

/// A log of strace has no sequence numbers: content tells.
#[test]
fn a_translated_connection_of_a_log_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let [log, capture] = ["strace.log", "cap.pcap"].map(|name| folder.path().join(name));
    let hosts = Hosts::new();
    hosts.translate();
    let server = hosts.serve(SERVER);
    let tcpdump = hosts.capture(&capture);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "-yy", "-xx", "-s", "1000000", "-e", "trace=%network,%desc", "-o"]).arg(&log);
    let strace = Watcher::start(strace.args(["-p", &server.0.id().to_string()])).wait_for("attached");
    for agent in ["a client that nobody else is like", "some other client, with words of its own"] {
        let agent = format!("{agent}; {agent}; {agent}; {agent}; {agent}");
        let urls = (0..3).map(|path| format!("http://10.77.0.2/{path}"));
        run(hosts_command(&hosts.client, "curl").args(["-sS", "-A", &agent]).args(urls));
    }
    for watcher in [strace, tcpdump] {
        watcher.signal(Signal::SIGINT);
        watcher.end();
    }
    let report = compare(&log, &capture);
    check(&report, 2);
    assert!(report.connections.iter().all(|one| one["of_process"] == true), "{:#?}", report.connections);
}

/// So many bytes were sent and received at both vantages.
fn assert_moved(one: &Value, received: usize, sent: usize) {
    for (way, bytes) in [("recv", received), ("send", sent)] {
        for stage in ["wire", "syscall"] {
            assert_eq!(one[way][stage], bytes, "{way} {stage}: {one:#}");
        }
    }
}

#[test]
fn translated_datagrams_are_compared_live() {
    if !require_bpf() {
        return;
    }
    let hosts = Hosts::new();
    hosts.translate();
    let server = hosts.serve(ANSWERS);
    let pid = server.0.id().to_string();
    let watcher =
        Watcher::sockdbg(&["verify", "-p", &pid, "-i", "cable", "--format", "json"]).wait_for("watching");
    let questions = ["which one", "and which other", "one more"];
    hosts.ask(&questions);
    watcher.signal(Signal::SIGINT);
    let report = Report::of(&watcher.end());
    report.assert_complete();
    let one = report.connection();
    let (asked, answered) = (questions.concat().len(), questions.map(|one| one.len() + 14).iter().sum());
    assert_eq!((&one["local"], &one["wire_local"]), (&"0.0.0.0:8080".into(), &"10.77.0.2:80".into()));
    assert!(one["wire_remote"].as_str().unwrap().starts_with("10.77.0.1:"), "{one:#}");
    assert_moved(one, asked, answered);
    let translated = |finding: &String| finding.ends_with(" wire wire-address-translated");
    let found: Vec<String> = findings_of(one).into_iter().filter(translated).collect();
    let expected = [("send", answered), ("recv", asked)]
        .map(|(way, bytes)| format!("{way} 0 {bytes} wire wire-address-translated"));
    assert_eq!(found, expected);
    for finding in one["findings"].as_array().unwrap() {
        if finding["cause"] == "wire-address-translated" {
            let detail = finding["detail"].as_str().unwrap();
            assert!(detail.starts_with("0.0.0.0:8080 -> 10.77.0.9:"), "{detail}");
            assert!(detail.contains("at the process is 10.77.0.2:80 -> 10.77.0.1:"), "{detail}");
        }
    }
}

#[test]
fn translated_datagrams_with_the_same_contents_are_ambiguous_offline() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (own, alike) = (["first of its own", "second of its own"], ["as everybody asks", "and asks again"]);
    let [recording, capture] = translated(folder.path(), ANSWERS, |hosts| {
        [&own, &alike, &alike].into_iter().for_each(|questions| hosts.ask(questions));
    });
    let report = compare(&recording, &capture);
    assert_eq!((&report.summary["verdict"], &report.summary["residual"]), (&"incomplete".into(), &0.into()));
    let one = report.connections.iter().find(|one| one["of_process"] == true).unwrap();
    assert_eq!(one["wire_local"], Value::Null);
    let length = |texts: [&str; 2], more: usize| texts.map(|text| text.len() + more).iter().sum::<usize>();
    let expected = [("send", 14), ("recv", 0)].map(|(way, more)| {
        let (told, not) = (length(own, more), 2 * length(alike, more));
        [
            format!("{way} 0 {told} wire wire-address-translated"),
            format!("{way} {told} {} wire wire-ambiguous", told + not),
        ]
    });
    let found = findings_of(one).into_iter().filter(|finding| finding.contains(" wire "));
    let mut found: Vec<String> = found.collect();
    found.sort_by_key(|finding| finding.starts_with("recv"));
    // One talk of each of the two clients, which need not be named alike.
    let joined = join(&found);
    assert_eq!(joined, expected.concat());
}

/// Findings with those joined that continue another of their kind.
fn join(findings: &[String]) -> Vec<String> {
    let mut joined: Vec<[String; 4]> = Vec::new();
    for finding in findings {
        let words: Vec<String> = finding.splitn(4, ' ').map(str::to_owned).collect();
        let words: [String; 4] = words.try_into().expect("a finding");
        match joined.last_mut() {
            Some(last) if last[0] == words[0] && last[2] == words[1] && last[3] == words[3] => {
                last[2].clone_from(&words[2]);
            }
            _ => joined.push(words),
        }
    }
    joined.iter().map(|words| words.join(" ")).collect()
}
