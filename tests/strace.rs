//! Logs of a real strace of real programs, against what the programs moved and what was on the wire.

mod common;

use common::client::Client;
use common::events::{json, stream};
use common::noise::noise;
use common::observed::{essence, records_of};
use common::peer::{Python, Server, converse, listen};
use common::report::{Report, findings_of};
use common::trace::require_bpf;
use common::watcher::Watcher;
use common::wire::Wire;
use nix::sys::signal::Signal;
use proptest::prelude::*;
use serde_json::Value;
use sockdbg::source;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// All that the comparison can use.
const WHOLE: &[&str] =
    &["-f", "-ttt", "-T", "-yy", "-xx", "-s", "1000000", "-e", "trace=%network,%desc,%process"];

/// A strace of a running process, in place when this returns.
fn attach(pid: u32, log: &Path, args: &[&str]) -> Watcher {
    let mut strace = Command::new("strace");
    strace.args(args).args(["-p", &pid.to_string(), "-o"]).arg(log);
    Watcher::start(&mut strace).wait_for("attached")
}

fn detach(strace: Watcher) {
    strace.signal(Signal::SIGINT);
    strace.end();
}

/// The events of a log, or of another file.
fn events(file: &Path) -> Vec<Value> {
    let output = Watcher::sockdbg(&["events", "--format", "json", "-r", file.to_str().unwrap()]).end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    json(&output.stdout).0
}

/// Those of the connection with this port at the other end.
fn of_peer(events: &[Value], port: u16) -> Vec<Value> {
    let end = format!(":{port}");
    events
        .iter()
        .filter(|event| event["remote"].as_str().is_some_and(|at| at.ends_with(&end)))
        .cloned()
        .collect()
}

fn compare(process: &Path, other: &Path) -> Report {
    let files = [process, other].map(|path| path.to_str().unwrap());
    Report::of(&Watcher::sockdbg(&["pcap-compare", files[0], files[1], "--format", "json"]).end())
}

/// Requests of every kind that a log shows in its own way: none, small and large bodies.
fn talk(client: &mut Client) {
    client.get("GET", "/body");
    client.get("HEAD", "/body");
    client.get("GET", "/none");
    client.finish();
}

struct Files {
    _folder: tempfile::TempDir,
    log: PathBuf,
    capture: PathBuf,
    recording: PathBuf,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let [log, capture, recording] =
            ["strace.log", "cap.pcap", "rec.pcapng"].map(|name| folder.path().join(name));
        Files { log, capture, recording, _folder: folder }
    }
}

/// Traces nginx with these arguments and checks both streams of each connection, byte for byte.
#[track_caller]
fn check_notation(args: &[&str]) -> Vec<u8> {
    let files = Files::new();
    let nginx = Server::nginx(&noise(100_000, 3), false);
    let trace = ["-s", "1000000", "-e", "trace=%network,%desc,%process"];
    let strace = attach(nginx.pid(), &files.log, &[args, &trace].concat());
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(nginx.address)).collect();
    clients.iter_mut().for_each(talk);
    nginx.settle();
    detach(strace);
    let events = events(&files.log);
    for client in &clients {
        let of_client = of_peer(&events, client.port);
        assert!(stream(&of_client, "send") == client.received, "{args:?}: sent");
        assert!(stream(&of_client, "recv") == client.sent, "{args:?}: received");
    }
    std::fs::read(&files.log).unwrap()
}

#[test]
fn times_of_every_kind() {
    for args in [
        &["-t"][..],
        &["-tt"],
        &["-ttt"],
        &["-r"],
        &["-r", "-tt", "-T"],
        &["-f", "-r"],
        &["--absolute-timestamps=format:time,precision:ns"],
        &["-f", "--absolute-timestamps=format:unix,precision:s", "--syscall-times=ns"],
    ] {
        check_notation(args);
    }
}

#[test]
fn strings_and_constants_of_every_kind() {
    for args in [
        &["-xx"][..],
        &["-x"],
        &["-X", "raw"],
        &["-X", "raw", "-xx"],
        &["-X", "verbose", "-v"],
        &["-f", "-n", "-i"],
        &["-k"],
    ] {
        check_notation(args);
    }
}

#[test]
fn descriptors_of_every_kind() {
    for args in [
        &["-y"][..],
        &["-yy"],
        &["-yy", "-xx", "-X", "verbose"],
        &["-f", "-Y", "-yy"],
        &["--decode-fds=socket"],
    ] {
        check_notation(args);
    }
}

#[test]
fn dumps_stand_in_for_strings_that_are_cut() {
    let files = Files::new();
    let nginx = Server::nginx(&noise(10_000, 3), false);
    let args = ["-s", "4", "-e", "trace=%network,%desc", "-e", "read=all", "-e", "write=all"];
    let strace = attach(nginx.pid(), &files.log, &args);
    let mut client = Client::connect(nginx.address);
    talk(&mut client);
    nginx.settle();
    detach(strace);
    let of_client = of_peer(&events(&files.log), client.port);
    assert!(stream(&of_client, "send") == client.received && stream(&of_client, "recv") == client.sent);
}

/// A server in Python that takes each connection in its own way, and clients of it that are followed as well.
const SERVER: &str = r#"
mode = os.environ["MODE"]
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port)); listener.listen(8)
def serve(s):
    total = b""
    while True:
        some = s.recv(1000)
        if not some: break
        total += some
        s.sendmsg([some[:10], some[10:]])
    s.close()
print("listening", flush=True)
workers = []
for _ in range(3):
    s, _ = listener.accept()
    if mode == "fork":
        pid = os.fork()
        if pid == 0:
            listener.close(); serve(s); os._exit(0)
        s.close(); workers.append(pid)
    else:
        t = threading.Thread(target=serve, args=(s,)); t.start(); workers.append(t)
for w in workers: os.waitpid(w, 0) if mode == "fork" else w.join()
"#;

/// Runs the server under strace from its beginning; gives what three clients sent, which is what they got.
fn echo(mode: &str, log: &Path, args: &[&str], port: u16) -> Vec<(u16, Vec<u8>)> {
    let prelude = "import os, socket, sys, threading\nport = int(sys.argv[1])\n";
    let mut strace = Command::new("strace");
    strace.env("MODE", mode).args(args).arg("-o").arg(log);
    strace.args(["python3", "-c", &format!("{prelude}{SERVER}"), &port.to_string()]);
    let mut server = strace.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut listening = [0; 10];
    server.stdout.as_mut().unwrap().read_exact(&mut listening).unwrap();
    assert_eq!(&listening, b"listening\n");
    let truth = std::thread::scope(|scope| {
        let one = |seed| {
            let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let bytes = noise(5_000 + seed as usize, seed);
            let received = converse(&stream, &bytes);
            assert!(received == bytes, "the server answers with what it got");
            (stream.local_addr().unwrap().port(), bytes)
        };
        let clients: Vec<_> = (1..4u64).map(|seed| scope.spawn(move || one(seed))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(server.wait().unwrap().success());
    truth
}

#[test]
fn forked_and_threaded_servers() {
    for (mode, args) in [
        ("fork", &["-f", "-ttt"][..]),
        ("thread", &["-f", "-tt", "-xx"]),
        ("fork", &["-f", "-yy", "-Y", "-ttt"]),
        ("thread", &["-f", "-yy", "-r"]),
        ("fork", &["-ff", "-ttt"]),
        ("thread", &["-ff", "-ttt", "-y"]),
    ] {
        let files = Files::new();
        let port = common::peer::free_port();
        let fixed = ["-s", "100000", "-e", "trace=%network,%desc,%process"];
        let truth = echo(mode, &files.log, &[args, &fixed].concat(), port);
        let events = events(&files.log);
        for (client, bytes) in truth {
            let of_client = of_peer(&events, client);
            assert!(stream(&of_client, "send") == bytes, "{mode} {args:?}: sent");
            assert!(stream(&of_client, "recv") == bytes, "{mode} {args:?}: received");
            let closes: Vec<_> = of_client.iter().filter(|event| event["type"] == "close").collect();
            assert_eq!(closes.last().unwrap()["reason"], "closed", "{mode} {args:?}");
        }
    }
}

/// A server's log and the capture of the same time: the same records, and nothing is missing.
#[track_caller]
fn check_complete(server: Server, args: &[&str], workload: impl FnOnce(&Server) -> usize) {
    let files = Files::new();
    let port = server.address.port();
    let wire = Wire::begin(&files.capture, port, &[]);
    let strace = attach(server.pid(), &files.log, args);
    let wanted = workload(&server);
    server.settle();
    detach(strace);
    drop(server);
    wire.end();
    let report = compare(&files.log, &files.capture);
    report.assert_complete();
    assert_eq!(
        (&report.summary["records"], &report.summary["vantages"]),
        (&wanted.into(), &serde_json::json!(["strace", "wire"]))
    );
    let mut log = records_of(&files.log);
    // Without -yy a log that begins after the listener was bound does not tell where that is.
    let local = format!("127.0.0.1:{port}");
    log.iter_mut()
        .filter(|record| record["local"].is_null())
        .for_each(|record| record["local"] = local.clone().into());
    assert_eq!(essence(&log, port), essence(&records_of(&files.capture), port));
    assert_eq!(log.len(), wanted);
}

#[test]
fn records_are_those_of_the_wire() {
    for args in [WHOLE, &["-tt", "-xx", "-s", "1000000", "-e", "trace=network,read,write,writev,close"]] {
        check_complete(Server::nginx(&noise(100_000, 5), false), args, |nginx| {
            let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(nginx.address)).collect();
            clients.iter_mut().for_each(talk);
            12
        });
        check_complete(Server::redis(), args, |redis| {
            let mut client = Client::connect(redis.address);
            client.redis(&["SET", "key", &"v".repeat(50_000)], "+OK\r\n");
            client.redis(&["GET", "none"], "$-1\r\n");
            client.finish();
            2
        });
    }
}

/// curl and redis-cli under strace: without -yy the log has but one address of each connection, and none of its own
/// where the program does not ask.
#[test]
fn clients_are_found_on_the_wire_by_content() {
    for args in [
        WHOLE,
        &["-f", "-tt", "-s", "1000000", "-e", "trace=socket,connect,read,write,sendto,recvfrom,close"],
    ] {
        let (mut nginx, mut redis) = (Server::nginx(&noise(60_000, 5), false), Server::redis());
        let url = |name: &str| format!("http://{}/{name}", nginx.address);
        let port = redis.address.port().to_string();
        let http = ["curl", "-s", "-o", "/dev/null", &url("body"), "-o", "/dev/null", &url("none")]
            .map(str::to_owned);
        let resp = ["redis-cli", "-p", &port, "SET", "key", "value"].map(str::to_owned);
        for (command, server, records) in [(&http[..], &mut nginx, 2), (&resp[..], &mut redis, 1)] {
            let files = Files::new();
            let port = server.address.port();
            let wire = Wire::begin(&files.capture, port, &[]);
            // Others that look like it, before and after.
            let run = |strace: Option<&Path>| {
                let mut line = Command::new(if strace.is_some() { "strace" } else { &command[0] });
                if let Some(log) = strace {
                    line.args(args).arg("-o").arg(log).arg(&command[0]);
                }
                assert!(line.args(&command[1..]).output().unwrap().status.success());
            };
            run(None);
            run(Some(&files.log));
            run(None);
            server.settle();
            server.stop();
            wire.end();
            let report = compare(&files.log, &files.capture);
            let connection = report.with_peer(port);
            assert_eq!(findings_of(connection), Vec::<String>::new(), "{args:?} {command:?}");
            assert_eq!((&report.summary["residual"], &connection["role"]), (&0.into(), &"client".into()));
            assert!(connection["flow"].is_u64(), "{args:?} {command:?}: {connection:#}");
            // redis-cli may ask for the table of commands as well.
            assert!(connection["records"].as_u64().unwrap() >= records, "{connection:#}");
        }
    }
}

#[test]
fn a_string_limit_leaves_exactly_what_is_behind_it() {
    let files = Files::new();
    let redis = Server::redis();
    let wire = Wire::begin(&files.capture, redis.address.port(), &[]);
    let strace = attach(redis.pid(), &files.log, &["-ttt", "-yy", "-s", "32", "-e", "trace=%network,%desc"]);
    let mut client = Client::connect(redis.address);
    // One call each at the server: a command below the limit, one above it.
    client.redis(&["PING"], "+PONG\r\n");
    let before = client.sent.len();
    client.redis(&["SET", "key", &"v".repeat(100)], "+OK\r\n");
    let after = client.sent.len();
    client.finish();
    redis.settle();
    detach(strace);
    drop(redis);
    wire.end();
    let report = compare(&files.log, &files.capture);
    let findings = findings_of(report.with_peer(client.port));
    let cut = format!("recv {} {after} capture strace-string-limit", before + 32);
    assert_eq!(
        (findings[0].as_str(), &report.summary["residual"]),
        (cut.as_str(), &0.into()),
        "{findings:?}"
    );
    let limited = findings.iter().filter(|finding| finding.contains("strace-string-limit")).count();
    assert_eq!(limited, 1, "{findings:?}");
}

/// A program that moves bytes by turns through two kinds of calls, one of which the log leaves out.
const TURNS: &str = r#"
s = connect()
pause()
for turn in range(6):
    s.sendall(b"sent by sendto: %d " % turn * 5)
    if turn % 2: os.write(s.fileno(), b"[by write: %d] " % turn * 7)
s.shutdown(socket.SHUT_WR)
while s.recv(64): pass
s.close()
"#;

#[test]
fn calls_that_the_log_leaves_out_are_found_in_the_middle() {
    let files = Files::new();
    let (listener, port) = listen();
    let wire = Wire::begin(&files.capture, port, &[]);
    let mut python = Python::start(TURNS, port);
    let (stream, peer) = listener.accept().unwrap();
    python.paused();
    let args = ["-ttt", "-s", "1000", "-e", "trace=sendto,recvfrom,close"];
    let strace = attach(python.pid(), &files.log, &args);
    python.go();
    let mut received = Vec::new();
    (&stream).read_to_end(&mut received).unwrap();
    (&stream).write_all(b"that is all, and it is read to its end").unwrap();
    drop(stream);
    python.ended();
    strace.end();
    drop(listener);
    wire.end();
    let mut truth = Vec::new();
    let mut at = 0;
    for turn in 0..6 {
        at += 5 * format!("sent by sendto: {turn} ").len();
        if turn % 2 == 1 {
            let length = 7 * format!("[by write: {turn}] ").len();
            truth.push(format!("send {at} {} syscall untraced-syscall", at + length));
            at += length;
        }
    }
    assert_eq!(at, received.len());
    let report = compare(&files.log, &files.capture);
    let connection = report.connection();
    let mut findings = findings_of(connection);
    findings.retain(|finding| !finding.contains(" frame "));
    assert_eq!(findings, truth);
    assert_eq!((&report.summary["residual"], &connection["local"]), (&0.into(), &peer.to_string().into()));
}

const MIDDLE: &str = r#"
s = connect()
s.sendall(b"before: nobody looks " * 11)
receive_exactly = lambda n: b"".join(iter(lambda: s.recv(1), b""))[:0] if n == 0 else s.recv(n, socket.MSG_WAITALL)
receive_exactly(33)
pause()
s.sendall(b"GET /in-the-middle HTTP/1.1\r\nHost: test\r\n\r\n")
receive_exactly(45)
s.close()
"#;

#[test]
fn a_log_that_begins_in_the_middle_names_what_was_before() {
    for decorated in [true, false] {
        let files = Files::new();
        let (listener, port) = listen();
        let wire = Wire::begin(&files.capture, port, &[]);
        let mut python = Python::start(MIDDLE, port);
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 21 * 11];
        stream.read_exact(&mut first).unwrap();
        stream.write_all(&[b'.'; 33]).unwrap();
        python.paused();
        let mut args = vec!["-ttt", "-s", "1000", "-e", "trace=sendto,recvfrom,close"];
        args.extend(decorated.then_some("-yy"));
        let strace = attach(python.pid(), &files.log, &args);
        python.go();
        let mut request = [0; 43];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswer\n").unwrap();
        python.ended();
        strace.end();
        drop((stream, listener));
        wire.end();
        let report = compare(&files.log, &files.capture);
        let findings = findings_of(report.connection());
        let before = ["send 0 231 syscall before-attach", "recv 0 33 syscall before-attach"];
        let named: Vec<_> = findings.iter().filter(|finding| finding.contains("before-attach")).collect();
        assert_eq!(named, before, "decorated: {decorated}, {findings:?}");
        assert_eq!((&report.summary["residual"], &report.summary["records"]), (&0.into(), &1.into()));
    }
}

#[test]
fn a_capture_that_begins_in_the_middle_lacks_what_was_before() {
    let files = Files::new();
    let redis = Server::redis();
    let strace = attach(redis.pid(), &files.log, WHOLE);
    let mut client = Client::connect(redis.address);
    client.redis(&["SET", "early", "bird"], "+OK\r\n");
    let [sent, received] = [client.sent.len(), client.received.len()];
    let wire = Wire::begin(&files.capture, redis.address.port(), &[]);
    client.redis(&["GET", "early"], "$4\r\nbird\r\n");
    client.redis(&["STRLEN", "some longer key"], ":0\r\n");
    client.finish();
    redis.settle();
    detach(strace);
    drop(redis);
    wire.end();
    let report = compare(&files.log, &files.capture);
    let findings = findings_of(report.with_peer(client.port));
    let late = |direction: &str, to: usize| format!("{direction} 0 {to} wire wire-started-late");
    assert_eq!(findings, [late("send", received), late("recv", sent)]);
    assert_eq!(report.summary["residual"], 0);
}

/// Records redis with sockdbg and with strace at once.
fn both(args: &[&str], workload: impl FnOnce(&Server)) -> (Files, Report, Report) {
    let files = Files::new();
    let redis = Server::redis();
    let recording = Watcher::recording(redis.pid(), &files.recording, &[]);
    let strace = attach(redis.pid(), &files.log, args);
    workload(&redis);
    redis.settle();
    detach(strace);
    drop(redis);
    assert!(recording.end().status.success());
    let reports =
        [[&files.recording, &files.log], [&files.log, &files.recording]].map(|[a, b]| compare(a, b));
    let [by_log, by_recording] = reports;
    (files, by_log, by_recording)
}

#[test]
fn a_recording_and_a_log_of_the_same_process_agree() {
    if !require_bpf() {
        return;
    }
    for args in [WHOLE, &["-tt", "-s", "100000", "-e", "trace=network,read,write,close"]] {
        let (_, by_log, by_recording) = both(args, |redis| {
            let mut client = Client::connect(redis.address);
            client.redis(&["SET", "key", &"v".repeat(5_000)], "+OK\r\n");
            client.redis(&["GET", "none"], "$-1\r\n");
            client.finish();
            let mut local = std::os::unix::net::UnixStream::connect(redis.unix_socket()).unwrap();
            local.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
            let mut reply = [0; 7];
            local.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"+PONG\r\n");
        });
        for (report, vantages) in [(&by_log, ["syscall", "strace"]), (&by_recording, ["strace", "syscall"])] {
            let differing: Vec<_> = report
                .connections
                .iter()
                .filter(|one| {
                    one["transport"] == "tcp"
                        && one["findings"].as_array().is_some_and(|list| !list.is_empty())
                })
                .collect();
            assert!(differing.is_empty(), "{args:?} {vantages:?}: {differing:#?}");
            assert_eq!(
                (&report.summary["residual"], &report.summary["vantages"]),
                (&0.into(), &serde_json::json!(vantages))
            );
        }
    }
}

#[test]
fn calls_that_only_the_recording_has_are_named_at_the_log() {
    if !require_bpf() {
        return;
    }
    let mut port = 0;
    let mut sizes = (0, 0);
    let (_, by_log, by_recording) =
        both(&["-ttt", "-yy", "-s", "1000", "-e", "trace=%network,read,close"], |redis| {
            let mut client = Client::connect(redis.address);
            client.redis(&["SET", "key", "value"], "+OK\r\n");
            client.redis(&["GET", "key"], "$5\r\nvalue\r\n");
            client.finish();
            (port, sizes) = (client.port, (client.sent.len(), client.received.len()));
        });
    // redis answers with write, which the log lacks.
    let missing = format!("send 0 {} syscall untraced-syscall", sizes.1);
    assert_eq!(findings_of(by_log.with_peer(port)).join("; "), missing);
    let findings = findings_of(by_recording.with_peer(port));
    assert!(findings.contains(&missing), "{findings:?}");
    assert_eq!((&by_log.summary["residual"], &by_recording.summary["residual"]), (&0.into(), &0.into()));
}

#[test]
fn a_log_is_read_more_than_once() {
    let files = Files::new();
    std::fs::write(&files.log, "1 close(3) = 0\n").unwrap();
    let output = Watcher::sockdbg(&["pcap-compare", files.log.to_str().unwrap(), "/dev/null"]).end();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let shell = format!("{} pcap-compare <(cat {1}) {1}", env!("CARGO_BIN_EXE_sockdbg"), files.log.display());
    let output = Watcher::start(Command::new("bash").args(["-c", &shell])).end();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("read more than once"), "{said}");
}

/// Logs in notations that differ, for the tests that damage them.
fn fixtures() -> &'static [Vec<u8>] {
    static FIXTURES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        [&["-f", "-tt", "-yy", "-T"][..], &["-X", "verbose", "-r"], &["-xx", "-e", "write=all"]]
            .map(|args| {
                let mut log = check_notation(args);
                // The first connections have every kind of line.
                log.truncate(60_000);
                log
            })
            .into()
    })
}

/// Runs a log to its end, whatever it says.
fn survives(log: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(log).unwrap();
    if let Ok(mut source) = source::open(file.path()) {
        let mut next = std::collections::HashMap::new();
        let run = source.run(&mut |event| {
            if let sockdbg::event::Kind::Data(data) = &event.kind {
                let known = next.entry((event.conn, data.direction)).or_insert(data.offset);
                assert_eq!(*known, data.offset, "a byte is missing or comes twice");
                assert!(data.payload.len() as u64 <= data.length);
                *known += if data.peek { 0 } else { data.length };
            }
            ControlFlow::Continue(())
        });
        let _ = run;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_and_garbage_are_survived(
        which in 0usize..3,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..200),
    ) {
        let log = &fixtures()[which];
        let (from, to) = (from.index(log.len()), to.index(log.len()));
        let mut part = log[from.min(to)..from.max(to)].to_vec();
        for (at, byte) in garbage {
            if !part.is_empty() {
                let at = at.index(part.len());
                part[at] = byte;
            }
        }
        survives(&part);
    }
}
