//! Every kind of call in logs of a real strace, in several notations: lists of buffers and of messages, calls that moved
//! bytes within the kernel, calls that signals interrupt, two threads at a time. The truth is what the test moved itself.

mod common;

use common::client::Client;
use common::events::json;
use common::noise::noise;
use common::peer::{Python, Server, eventually, free_port, listen};
use common::report::{Report, findings_of};
use common::watcher::Watcher;
use common::wire::Wire;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

/// What the program below sends, in order; where the payload is not in the process's memory, it is none.
const SENT: &[(&[u8], Option<&str>)] = &[
    (b"one \x00\xff\"quoted\" \\ \t\r\n \xc3\xa9 \x1b[31m", None),
    (b"a1b22", None),
    (&[b'c'; 40], None),
    (b"m1m2", None),
    (b"first message, second message, third", None),
    (&[b'f'; 100], Some("in-kernel-transfer")),
    (&[b'p'; 30], Some("in-kernel-transfer")),
    (b"more and the rest", None),
];

/// What it receives, in order.
const READ: &[u8] =
    b"peeked at, then read; readv of three buffers; recvmsg of two buffers; two messages of recvmmsg: ....";
const AWAITED: &[u8] = b"[awaited while a timer rings and another thread speaks, \x00\x01\x7f]";
const CHATTER: &[u8] = b"[of the other thread] ";
const DATAGRAMS: [&[u8]; 4] = [b"a datagram", b"", b"\xff\xfe third \"one\"", &[b'd'; 300]];

const PROGRAM: &str = r#"
import ctypes, signal, tempfile
libc = ctypes.CDLL(None, use_errno=True)
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
class msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(iovec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]
class mmsghdr(ctypes.Structure):
    _fields_ = [("msg", msghdr), ("len", ctypes.c_uint)]
def messages(lists):
    all = (mmsghdr * len(lists))()
    for one, buffers in zip(all, lists):
        vector = (iovec * len(buffers))()
        for place, buffer in zip(vector, buffers):
            place.base, place.len = ctypes.addressof(buffer), ctypes.sizeof(buffer) - 1
        one.msg.iov, one.msg.iovlen = vector, len(buffers)
    return all
def check(count):
    if count < 0: raise OSError(ctypes.get_errno(), "the call failed")
    return count
text = ctypes.create_string_buffer
def exactly(fd, size):
    while size: size -= len(os.read(fd, size))

s, other = connect(), connect()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0)); u.connect(("127.0.0.1", UDP))
print(u.getsockname()[1], flush=True)
pause()
fd = s.fileno()
s.sendall(b"one \x00\xff\"quoted\" \\ \t\r\n \xc3\xa9 \x1b[31m")
os.writev(fd, [b"a1", b"", b"b22", b"c" * 40])
s.sendmsg([b"m1", b"m2"])
lists = [[text(b"first "), text(b"message, ")], [text(b"second message, ")], [text(b"third")]]
assert check(libc.sendmmsg(fd, messages(lists), 3, 0)) == 3
with tempfile.TemporaryFile() as file:
    file.write(b"head." + b"f" * 100 + b"tail"); file.flush()
    assert os.sendfile(fd, file.fileno(), 5, 100) == 100
r, w = os.pipe(); os.write(w, b"p" * 30)
assert os.splice(r, fd, 30) == 30
s.send(b"more ", socket.MSG_MORE); s.send(b"and the rest")

assert s.recv(10, socket.MSG_PEEK) == b"peeked at,"
exactly(fd, 21)
assert os.readv(fd, [bytearray(7), bytearray(3), bytearray(14)]) == 24
assert s.recvmsg_into([bytearray(5), bytearray(18)])[0] == 23
room = messages([[text(12)], [text(9), text(14)]])
assert check(libc.recvmmsg(fd, room, 2, 0, None)) == 2 and [one.len for one in room] == [11, 21], [one.len for one in room]

rung = 0
def ring(*_):
    global rung
    rung += 1
    if rung == 3: print("rung", flush=True)
signal.signal(signal.SIGALRM, ring)
def chatter():
    for count in range(20):
        while rung < count:
            time.sleep(0.001)
        other.sendall(b"[of the other thread] ")
thread = threading.Thread(target=chatter); thread.start()
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
got = b""
while len(got) < AWAITED: got += s.recv(AWAITED - len(got), socket.MSG_WAITALL)
thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)

lists = [[text(b"a data"), text(b"gram")], [text(b"")], [text(b"\xff\xfe third \"one\"")], [text(b"d" * 300)]]
assert check(libc.sendmmsg(u.fileno(), messages(lists), 4, 0)) == 4
print("sent", flush=True)
pause()
room = messages([[text(101)], [text(11)], [text(6), text(60)], [text(101)]])
assert check(libc.recvmmsg(u.fileno(), room, 4, 0, None)) == 4
s.close(); other.close(); u.close()
"#;

/// Runs the program under strace; gives the ports of its three sockets.
fn trace(log: &Path, args: &[&str]) -> [u16; 3] {
    let (listener, port) = listen();
    let answers = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = answers.local_addr().unwrap().port();
    let constants = format!("UDP = {udp}\nAWAITED = {}\n", AWAITED.len());
    let mut python = Python::start(&format!("{constants}{PROGRAM}"), port);
    let (mut stream, peer) = listener.accept().unwrap();
    let (mut other, other_peer) = listener.accept().unwrap();
    let own: u16 = python.line().parse().unwrap();
    python.paused();
    let mut strace = Command::new("strace");
    strace.args(args).args(["-p", &python.pid().to_string(), "-o"]).arg(log);
    let strace = Watcher::start(&mut strace).wait_for("attached");
    python.go();
    let mut sent = vec![0; SENT.iter().map(|part| part.0.len()).sum()];
    stream.read_exact(&mut sent).unwrap();
    assert_eq!(sent, SENT.iter().map(|part| part.0).collect::<Vec<_>>().concat());
    stream.write_all(READ).unwrap();
    assert_eq!(python.line(), "rung");
    stream.write_all(AWAITED).unwrap();
    let mut chatter = Vec::new();
    for expected in DATAGRAMS {
        let mut room = [0; 1000];
        let length = answers.recv(&mut room).unwrap();
        assert_eq!(&room[..length], expected);
    }
    assert_eq!(python.line(), "sent");
    for datagram in DATAGRAMS {
        answers.send_to(datagram, ("127.0.0.1", own)).unwrap();
    }
    python.paused();
    python.go();
    other.read_to_end(&mut chatter).unwrap();
    assert_eq!(chatter, CHATTER.repeat(20));
    python.ended();
    strace.end();
    [peer.port(), other_peer.port(), own]
}

/// A run of bytes in order: which, and why its end is not there.
type Piece = (Vec<u8>, usize, Option<String>);

/// What the log tells of one direction of a socket, call by call, without what was only peeked at.
fn pieces(events: &[Value], port: u16, direction: &str) -> Vec<Piece> {
    let end = format!(":{port}");
    let mine = |event: &&Value| {
        event["type"] == "data"
            && event["direction"] == direction
            && event["peek"] != true
            && event["local"].as_str().is_some_and(|at| at.ends_with(&end))
    };
    let mut offset = 0;
    let pieces = events.iter().filter(mine).map(|event| {
        assert_eq!(event["offset"], offset, "{event}");
        offset += event["length"].as_u64().unwrap();
        let payload = event["payload"].as_str().unwrap_or_default();
        let payload = data_encoding::BASE64.decode(payload.as_bytes()).unwrap();
        assert_eq!(event["captured"], payload.len(), "{event}");
        (payload, event["length"].as_u64().unwrap() as usize, event["cause"].as_str().map(str::to_owned))
    });
    pieces.collect()
}

/// Checks pieces of a stream against what moved: every byte that is there, and the cause of every one that is not. With a
/// `limit` of strings, what is behind it is missing of each buffer.
#[track_caller]
fn check_stream(pieces: &[Piece], truth: &[(&[u8], Option<&str>)], limited: bool, what: &str) {
    let bytes: Vec<u8> = truth.iter().flat_map(|part| part.0.to_vec()).collect();
    let causes: Vec<Option<&str>> = truth.iter().flat_map(|part| vec![part.1; part.0.len()]).collect();
    let mut at = 0;
    for (payload, length, cause) in pieces {
        assert_eq!(payload[..], bytes[at..at + payload.len()], "{what}, at {at}");
        for missing in &causes[at + payload.len()..at + length] {
            let is_limit = limited && missing.is_none();
            let expected = if is_limit { Some("strace-string-limit") } else { *missing };
            assert_eq!(cause.as_deref(), expected, "{what}, at {at}");
        }
        assert!(causes[at..at + payload.len()].iter().all(Option::is_none), "{what}: invented, at {at}");
        at += length;
    }
    assert_eq!(at, bytes.len(), "{what}");
}

#[test]
fn every_kind_of_call_in_every_notation() {
    const CALLS: &str = "trace=%network,%desc,%process";
    for (args, limit) in [
        (&["-f", "-ttt", "-T", "-yy", "-xx", "-s", "1000", "-e", CALLS][..], None),
        (&["-f", "-tt", "-yy", "-s", "1000", "-e", CALLS], None),
        (&["-f", "-r", "-x", "-yy", "-s", "1000"], None),
        (&["-f", "-ttt", "-yy", "-s", "4", "-e", CALLS], Some(4)),
        (&["-f", "-tt", "-T", "-yy", "-xx", "-s", "20", "-e", "signal=none"], Some(20)),
        (&["-ff", "-ttt", "-yy", "-s", "1000", "-e", CALLS], None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("strace.log");
        let [port, other, own] = trace(&log, args);
        let output = Watcher::sockdbg(&["events", "--format", "json", "-r", log.to_str().unwrap()]).end();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let events = json(&output.stdout).0;
        let limited = limit.is_some();
        check_stream(&pieces(&events, port, "send"), SENT, limited, &format!("{args:?} sent"));
        let read = [(READ, None), (AWAITED, None)];
        check_stream(&pieces(&events, port, "recv"), &read, limited, &format!("{args:?} received"));
        let chatter = vec![(CHATTER, None); 20];
        check_stream(&pieces(&events, other, "send"), &chatter, limited, &format!("{args:?} chatter"));
        for direction in ["send", "recv"] {
            let told = pieces(&events, own, direction);
            assert_eq!(told.len(), DATAGRAMS.len(), "{args:?} {direction}: {told:?}");
            for ((payload, length, cause), truth) in told.iter().zip(DATAGRAMS) {
                // The last one is longer than its buffer. No call of these asks for its true length (MSG_TRUNC), so neither
                // the log nor a live trace knows what was thrown away.
                assert!(truth.starts_with(payload), "{args:?} {direction}: {payload:?}");
                let room = if direction == "recv" { 100 } else { usize::MAX };
                let expected = match limit {
                    Some(limit) if truth.len().min(room) > limit => Some("strace-string-limit"),
                    _ => None,
                };
                assert_eq!(
                    (cause.as_deref(), *length),
                    (expected, truth.len().min(room)),
                    "{args:?} {direction}"
                );
                assert!(
                    expected.is_some() || payload[..] == truth[..*length],
                    "{args:?} {direction}: {payload:?}"
                );
            }
        }
        let peeked = events.iter().filter(|event| event["peek"] == true);
        assert_eq!(peeked.map(|event| &event["length"]).collect::<Vec<_>>(), [10], "{args:?}");
    }
}

/// The table of -C behind the calls is no call, and a log that is nothing else is refused by name.
#[test]
fn tables_of_counts_are_no_calls() {
    let folder = tempfile::tempdir().unwrap();
    let said = |option: &str| {
        let log = folder.path().join(option);
        let mut strace = Command::new("strace");
        strace.arg(option).args(["-f", "-ttt", "-yy", "-s", "1000", "-o"]).arg(&log);
        let (listener, port) = listen();
        strace.args([
            "python3",
            "-c",
            "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).send(b'hello')",
        ]);
        let strace = Watcher::start(strace.arg(port.to_string()));
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"hello");
        assert!(strace.end().status.success());
        let output = Watcher::sockdbg(&["events", "-r", log.to_str().unwrap()]).end();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, both) = said("-C");
    assert_eq!(
        (status, both.contains("5 bytes sent"), both.contains("not understood")),
        (Some(0), true, false),
        "{both}"
    );
    let (status, counts) = said("-c");
    assert_eq!((status, counts.contains("is the table of strace -c")), (Some(2), true), "{counts}");
}

/// An nginx that was asked twice on one connection, under strace with these arguments and captured: how long its answers
/// are, the report, and what was said on stderr.
struct Asked {
    client: Client,
    first: u64,
    report: Report,
    said: String,
}

impl Asked {
    fn of(sendfile: bool, body: usize, args: &[&str]) -> Asked {
        let folder = tempfile::tempdir().unwrap();
        let [log, capture] = ["strace.log", "cap.pcap"].map(|name| folder.path().join(name));
        let nginx = Server::nginx(&noise(body, 7), sendfile);
        let wire = Wire::begin(&capture, nginx.address.port(), &[]);
        let mut strace = Command::new("strace");
        strace.args(args).args(["-p", &nginx.pid().to_string(), "-o"]).arg(&log);
        let strace = Watcher::start(&mut strace).wait_for("attached");
        let mut client = Client::connect(nginx.address);
        client.get("GET", "/body");
        let first = client.received.len() as u64;
        client.get("GET", "/none");
        client.finish();
        // A connection of the test's own would be in both files, too.
        eventually("the server closes", || {
            let calls = std::fs::read_to_string(&log).unwrap();
            let is_end = |line: &&str| line.contains("recvfrom(") && line.ends_with(" = 0");
            calls.lines().skip_while(|line| !is_end(line)).any(|line| line.contains("close("))
        });
        strace.signal(Signal::SIGINT);
        strace.end();
        drop(nginx);
        wire.end();
        let files = [&log, &capture].map(|path| path.to_str().unwrap());
        let output = Watcher::sockdbg(&["pcap-compare", files[0], files[1], "--format", "json"]).end();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        Asked { client, first, report: Report::of(&output), said }
    }

    /// Bytes of both directions and of the first answer's head, if its body has so many.
    fn sizes(&self, body: u64) -> [u64; 3] {
        [self.client.received.len() as u64, self.client.sent.len() as u64, self.first - body]
    }
}

/// The process's memory never had these bytes, and strace shows but how many they are.
#[test]
fn nginx_with_sendfile_loses_exactly_the_body() {
    const BODY: u64 = 3_000_000;
    const WITHOUT: &str = "trace=accept4,recvfrom,writev,write,close";
    for (args, cause) in [
        (
            &["-f", "-ttt", "-yy", "-xx", "-s", "1000000", "-e", "trace=%network,%desc"][..],
            "in-kernel-transfer",
        ),
        (&["-f", "-tt", "-s", "100000", "-e", "trace=network,read,write,writev,close"], "in-kernel-transfer"),
        (&["-ttt", "-s", "100000"], "in-kernel-transfer"),
        // Only the wire tells of a call that the log leaves out.
        (&["-f", "-ttt", "-s", "100000", "-e", WITHOUT], "untraced-syscall"),
    ] {
        let asked = Asked::of(true, BODY as usize, args);
        let [sent, received, head] = asked.sizes(BODY);
        let connection = asked.report.connection();
        let body = format!("send {head} {} syscall {cause}", head + BODY);
        // It may take several calls, whose ranges follow each other.
        let mut findings: Vec<(u64, u64)> = Vec::new();
        for finding in connection["findings"].as_array().unwrap() {
            assert_eq!([&finding["direction"], &finding["cause"]], ["send", cause], "{args:?}");
            let [from, to] = [0, 1].map(|index| finding["range"][index].as_u64().unwrap());
            match findings.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => findings.push((from, to)),
            }
        }
        assert_eq!(findings, [(head, head + BODY)], "{args:?}: {body}");
        assert_eq!(asked.report.summary["residual"], 0, "{args:?}");
        assert_eq!(
            [&connection["send"]["wire"], &connection["send"]["captured"], &connection["recv"]["recorded"]],
            [sent, sent - BODY, received],
            "{args:?}"
        );
        let records = connection["findings"][0]["records"].as_array().unwrap();
        assert!(records[0]["summary"].as_str().unwrap().contains("200 GET /body"), "{args:?}: {records:?}");
    }
}

/// -e raw= and -e verbose= put addresses in the place of payload: how many bytes moved is known all the same, and
/// nothing else is claimed.
#[test]
fn payload_that_the_log_lacks_is_named_by_call() {
    const BODY: u64 = 1000;
    const CALLS: &str = "trace=%network,%desc";
    for (args, hidden) in [
        // -yy still tells the addresses.
        (&["-f", "-ttt", "-yy", "-s", "10000", "-e", CALLS, "-e", "raw=writev,recvfrom"][..], [true, true]),
        (&["-f", "-ttt", "-yy", "-s", "10000", "-e", CALLS, "-e", "verbose=none"], [true, false]),
        // Only content tells which connection it is.
        (&["-f", "-tt", "-s", "10000", "-e", CALLS, "-e", "verbose=none"], [true, false]),
        (&["-f", "-tt", "-s", "10000", "-e", CALLS, "-e", "raw=accept4,recvfrom"], [false, true]),
    ] {
        let asked = Asked::of(false, BODY as usize, args);
        let [sent, received, _] = asked.sizes(BODY);
        let connection = asked.report.connection();
        assert_eq!(
            [&connection["send"]["wire"], &connection["send"]["syscall"]],
            [sent, sent],
            "{args:?}: {connection:#}"
        );
        assert_eq!(
            [&connection["recv"]["wire"], &connection["recv"]["syscall"]],
            [received, received],
            "{args:?}"
        );
        assert_eq!(asked.report.summary["residual"], 0, "{args:?}");
        // What follows from it at later stages, requests without their responses, is named as well.
        let at_capture: Vec<String> =
            findings_of(connection).into_iter().filter(|one| !one.contains(" record no-re")).collect();
        let lost = [("send", hidden[0], sent), ("recv", hidden[1], received)];
        let lost = lost.into_iter().filter(|(_, hidden, _)| *hidden);
        let expected: Vec<String> = lost
            .map(|(direction, _, bytes)| format!("{direction} 0 {bytes} capture strace-no-payload"))
            .collect();
        assert_eq!(at_capture, expected, "{args:?}");
        for (hidden, call, bytes) in [(hidden[0], "writev", sent), (hidden[1], "recvfrom", received)] {
            assert_eq!(asked.said.contains(&format!("{call} {bytes}")), hidden, "{args:?}: {}", asked.said);
        }
    }
}

/// With neither addresses nor payload nothing tells which connection of the capture it is: that is said, and no stage or
/// process is blamed for what may be there.
#[test]
fn a_log_of_addresses_in_memory_places_nothing() {
    for time in ["-ttt", "-tt"] {
        let args = ["-f", time, "-yy", "-s", "10000", "-e", "trace=%network,%desc", "-e", "raw=all"];
        let asked = Asked::of(true, 5000, &args);
        let [sent, received, head] = asked.sizes(5000);
        let ours: Vec<&Value> =
            asked.report.connections.iter().filter(|one| one["of_process"] == true).collect();
        assert_eq!(
            ours.iter().map(|one| findings_of(one)).collect::<Vec<_>>(),
            [[
                format!("send 0 {sent} wire strace-no-address"),
                format!("send {head} {} syscall in-kernel-transfer", head + 5000),
                format!("send 0 {head} capture strace-no-payload"),
                format!("send {} {sent} capture strace-no-payload", head + 5000),
                format!("recv 0 {received} wire strace-no-address"),
                format!("recv 0 {received} capture strace-no-payload"),
            ]],
            "{time}"
        );
        let others: Vec<Vec<String>> = asked
            .report
            .connections
            .iter()
            .filter(|one| one["of_process"] == false)
            .map(findings_of)
            .filter(|findings| !findings.is_empty()) // the end of the capture is marked by a refused connection
            .collect();
        // The capture has the directions as the client sees them.
        assert_eq!(
            others,
            [[
                format!("send 0 {received} wire strace-no-address"),
                format!("recv 0 {sent} wire strace-no-address")
            ]],
            "{time}"
        );
        assert_eq!(
            (&asked.report.summary["verdict"], &asked.report.summary["residual"]),
            (&"incomplete".into(), &0.into())
        );
        let remedies = asked.report.summary["remedies"].to_string();
        assert!(remedies.contains("-yy") && remedies.contains("-e raw="), "{remedies}");
    }
}

#[test]
fn datagrams_of_a_log_of_addresses_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let program = "import socket, sys
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', int(sys.argv[1])))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (5, 40, 300):
    b.sendto(bytes([size % 256]) * size, a.getsockname()); _, peer = a.recvfrom(1000)
    a.sendto(b'answer', peer); b.recvfrom(1000)";
    for (option, named) in [("raw=all", false), ("verbose=none", true)] {
        let [log, capture] =
            [format!("{option}.log"), format!("{option}.pcap")].map(|name| folder.path().join(name));
        let port = free_port();
        let wire = Wire::begin(&capture, port, &[]);
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-ttt", "-s", "10000", "-e", "trace=%network,%desc", "-e", option, "-o"])
            .arg(&log);
        let strace = strace.args(["python3", "-c", program, &port.to_string()]).output().unwrap();
        assert!(strace.status.success(), "{strace:?}");
        wire.end();
        let files = [&log, &capture].map(|path| path.to_str().unwrap());
        let report =
            Report::of(&Watcher::sockdbg(&["pcap-compare", files[0], files[1], "--format", "json"]).end());
        assert_eq!(report.summary["residual"], 0);
        let udp = |ours: bool| {
            let udp = report.connections.iter();
            let udp = udp.filter(move |one| one["of_process"] == ours && one["transport"] == "udp");
            udp.map(|one| {
                let findings = findings_of(one);
                findings.into_iter().filter(|finding| !finding.contains(" frame ")).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
        };
        let no_address = |sent: u64, received: u64, rest: &[&str]| {
            let mut all = Vec::new();
            for (direction, bytes) in [("send", sent), ("recv", received)] {
                all.push(format!("{direction} 0 {bytes} wire strace-no-address"));
                all.extend(rest.iter().map(|cause| format!("{direction} 0 {bytes} {cause}")));
            }
            all
        };
        match named {
            // Content alone tells, which is no translation: the log names no address that could be another.
            true => assert_eq!((udp(true), udp(false)), (vec![Vec::new(); 2], Vec::new()), "{option}"),
            false => {
                let hidden = ["capture strace-no-payload"];
                let both = vec![no_address(18, 345, &hidden), no_address(345, 18, &hidden)];
                assert_eq!(udp(true), both);
                assert_eq!(udp(false), [no_address(345, 18, &[])]);
            }
        }
    }
}

/// One address and no payload: where the capture has several connections to that address, nothing tells which it is, and none is
/// guessed. Where it has one, that one is it.
#[test]
fn a_log_with_one_address_and_no_payload_is_no_guess() {
    const CLIENT: &str = "import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.sendall(b'0123456789'); assert s.recv(100) == b'an answer'
assert s.recv(100) == b''";
    for others in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (log, capture) = (folder.path().join("strace.log"), folder.path().join("cap.pcap"));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Wire::begin(&capture, port, &[]);
        let run = |strace: bool| {
            let mut command = Command::new(if strace { "strace" } else { "python3" });
            if strace {
                command.args(["-ttt", "-s", "0", "-e", "trace=connect,sendto,recvfrom,close", "-o"]);
                command.arg(&log).arg("python3");
            }
            let mut client = command.args(["-c", CLIENT, &port.to_string()]).spawn().unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = [0; 10];
            peer.read_exact(&mut asked).unwrap();
            peer.write_all(b"an answer").unwrap();
            drop(peer);
            assert!(client.wait().unwrap().success());
        };
        for strace in [false, true, false].into_iter().filter(|&strace| strace || others) {
            run(strace);
        }
        drop(listener);
        wire.end();
        let files = [&log, &capture].map(|path| path.to_str().unwrap());
        let report =
            Report::of(&Watcher::sockdbg(&["pcap-compare", files[0], files[1], "--format", "json"]).end());
        let connection = report.connection();
        let hidden = |findings: Vec<String>| {
            findings.into_iter().filter(|one| !one.contains(" wire ")).collect::<Vec<_>>()
        };
        let limits = ["send 0 10 capture strace-string-limit", "recv 0 9 capture strace-string-limit"];
        assert_eq!(hidden(report.findings()), limits, "{others}");
        let on_wire: Vec<String> =
            report.findings().into_iter().filter(|one| one.contains(" wire ")).collect();
        let of_others: Vec<&Value> = report
            .connections
            .iter()
            .filter(|one| one["of_process"] == false && !findings_of(one).is_empty())
            .collect();
        if others {
            let unplaced = ["send 0 10 wire strace-no-address", "recv 0 9 wire strace-no-address"];
            assert_eq!((on_wire, connection["flow"].is_null()), (unplaced.map(str::to_owned).to_vec(), true));
            assert_eq!(of_others.len(), 3);
            assert!(of_others.iter().all(|one| findings_of(one) == unplaced), "{of_others:#?}");
        } else {
            assert_eq!((on_wire.len(), of_others.len()), (0, 0), "{:#?}", report.connections);
            assert!(connection["flow"].is_u64());
        }
    }
}
