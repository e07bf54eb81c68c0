//! `--bundle` and `--redact`: what is written for others, of a real process whose secrets the test knows.

mod common;

use common::peer::eventually;
use common::puppet::Puppet;
use common::report::Report;
use common::trace::require_bpf;
use common::watcher::{Watcher, program};
use common::wire::Wire;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Bytes that may be nowhere in what is redacted: of a path, of the name and the value of a header, of a body, of a
/// response, of a datagram.
const SECRETS: [&str; 7] = [
    "/account/0123-secret-path",
    "X-Hidden-Header-Name",
    "Bearer-q8r7t6-header-value",
    "card=4111111111111111&pin=9876",
    "X-Answer: concealed-answer",
    "the answer that nobody may see",
    "udp-5e2a97d0c41b-payload",
];

/// The least that is a strace log.
const LOG: &str = "1 10:00:00.000000 socket(AF_INET, SOCK_STREAM, 0) = 3<TCP:[1]>\n";

/// As many bytes of a secret in a row are a leak.
const WINDOW: usize = 8;

fn request() -> Vec<u8> {
    let [path, name, value, body, ..] = SECRETS;
    format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\n{name}: {value}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn response() -> Vec<u8> {
    let [.., header, body, _] = SECRETS;
    format!("HTTP/1.1 404 Not Found\r\n{header}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A recording of a server and a capture of what it moved, and a folder for both.
struct Pair {
    folder: TempDir,
}

impl Pair {
    /// Three exchanges; the recording is made with these options.
    fn new(args: &[&str]) -> Pair {
        let mut puppet = Puppet::new();
        let (listener, port) = puppet.listen();
        let folder = tempfile::tempdir().unwrap();
        let wire = Wire::begin(&folder.path().join("capture.pcap"), port, &["-s", "0"]);
        let watcher = Watcher::recording(puppet.pid(), &folder.path().join("recording.pcapng"), args);
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let fd = puppet.tell(&format!("accept {listener}")).parse().unwrap();
        for _ in 0..3 {
            puppet.recv(fd, &mut peer, &request());
            puppet.send(fd, &mut peer, &response());
        }
        puppet.tell(&format!("close {fd}"));
        drop(peer);
        puppet.tell(&format!("close {listener}"));
        watcher.signal(Signal::SIGINT);
        watcher.end();
        wire.end();
        Pair { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        Watcher::start(Command::new(program("sockdbg")).current_dir(&self.folder).args(args)).end()
    }

    fn compare(&self, recording: &str, capture: &str, args: &[&str]) -> Report {
        let fixed = ["pcap-compare", recording, capture, "--format", "json"];
        Report::of(&self.run(&[&fixed, args].concat()))
    }
}

/// Fails where a window of a secret is in the bytes.
fn assert_clean(name: &str, bytes: &[u8]) {
    for secret in SECRETS {
        for window in secret.as_bytes().windows(WINDOW) {
            let hex = data_encoding::HEXLOWER.encode(window);
            let found = memchr::memmem::find(bytes, window).or(memchr::memmem::find(bytes, hex.as_bytes()));
            assert_eq!(found, None, "{name} holds {:?}", String::from_utf8_lossy(window));
        }
    }
}

fn files_of(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const FILES: [&str; 8] = [
    "README.txt",
    "capture.pcapng",
    "doctor.txt",
    "recording.pcapng",
    "report.html",
    "report.json",
    "report.txt",
    "versions.txt",
];

/// The lines of a report.json.
fn lines(text: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    (lines.into_iter().filter(|one| one["of_process"] == true).collect(), summary)
}

/// What of a connection's ledger does not take parsing: its bytes at each stage, its findings but those of frames and
/// records.
fn transport_ledger(connection: &Value) -> Value {
    let stages = ["wire", "syscall", "captured", "delivered", "residual"];
    let side = |way: &str| stages.map(|stage| connection[way][stage].clone());
    let findings = connection["findings"].as_array().unwrap().iter();
    let findings: Vec<Value> = findings
        .filter(|one| !["stream", "frame", "record"].contains(&one["stage"].as_str().unwrap()))
        .map(|one| json!([one["direction"], one["range"], one["stage"], one["cause"], one["note"]]))
        .collect();
    json!([connection["local"], connection["remote"], side("send"), side("recv"), findings])
}

#[test]
fn a_bundle_gives_the_same_verdict_and_the_same_ledger_elsewhere() {
    if !require_bpf() {
        return;
    }
    for options in [&[][..], &["-s", "60"]] {
        let pair = Pair::new(options);
        let report = pair.compare("recording.pcapng", "capture.pcap", &["--bundle", "b"]);
        assert_eq!(files_of(&pair.path("b")), FILES);
        let (expected, summary) = lines(&pair.text("b/report.json"));
        assert_eq!(report.summary, summary);
        assert_eq!(summary["verdict"], if options.is_empty() { "complete" } else { "incomplete" });
        let again = pair.compare("b/recording.pcapng", "b/capture.pcapng", &[]);
        let ours: Vec<Value> =
            again.connections.into_iter().filter(|one| one["of_process"] == true).collect();
        // Numbers of flows are those of the file, and edges are for the page.
        let comparable = |mut connections: Vec<Value>| {
            for one in &mut connections {
                one.as_object_mut().unwrap().remove("flow");
                for finding in one["findings"].as_array_mut().unwrap() {
                    finding.as_object_mut().unwrap().remove("edges");
                }
            }
            connections
        };
        assert_eq!(comparable(ours), comparable(expected));
        for field in ["verdict", "connections", "records", "bytes", "residual", "bytes_not_compared"] {
            assert_eq!(again.summary[field], summary[field], "{field}");
        }
    }
}

#[test]
fn a_slice_has_the_packets_of_the_compared_connections_alone() {
    if !require_bpf() {
        return;
    }
    let pair = Pair::new(&[]);
    pair.run(&["pcap-compare", "recording.pcapng", "capture.pcap", "--bundle", "b"]);
    let count = |file: &str, filter: &str| {
        let path = pair.path(file);
        let mut tcpdump = Command::new("tcpdump");
        let output = tcpdump.args(["-n", "-r"]).arg(path).arg(filter).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    // The capture ends with a connection that was refused: a SYN and its reset.
    assert_eq!(count("capture.pcap", ""), count("b/capture.pcapng", "") + 2);
    assert_eq!(count("b/capture.pcapng", "tcp[tcpflags] & tcp-rst != 0"), 0);
    assert!(count("b/capture.pcapng", "tcp[tcpflags] & tcp-syn != 0") == 2);
}

#[test]
fn nothing_redacted_holds_a_secret_and_its_ledger_is_the_same() {
    if !require_bpf() {
        return;
    }
    for options in [&[][..], &["-s", "60"]] {
        let pair = Pair::new(options);
        let plain = pair.compare("recording.pcapng", "capture.pcap", &[]);
        let args = ["pcap-compare", "recording.pcapng", "capture.pcap", "--redact"];
        let output = pair.run(&[&args[..], &["--bundle", "b", "--html", "page.html"]].concat());
        assert_clean("stdout", &output.stdout);
        assert_clean("stderr", &output.stderr);
        assert_eq!(files_of(&pair.path("b")), FILES);
        for name in FILES.iter().map(|name| format!("b/{name}")).chain(["page.html".into()]) {
            assert_clean(&name, &fs::read(pair.path(&name)).unwrap());
        }
        assert_clean("JSON", &pair.run(&[&args[..], &["--format", "json"]].concat()).stdout);

        let redacted = pair.compare("b/recording.pcapng", "b/capture.pcapng", &[]);
        let expected: Vec<Value> =
            plain.connections.iter().filter(|one| one["of_process"] == true).map(transport_ledger).collect();
        let found: Vec<Value> = redacted
            .connections
            .iter()
            .filter(|one| one["of_process"] == true)
            .map(transport_ledger)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(redacted.summary["verdict"], plain.summary["verdict"]);
        let findings = redacted.connection()["findings"].as_array().unwrap();
        let frames = findings.iter().filter(|one| one["stage"] == "frame");
        let causes: Vec<&str> = frames.map(|one| one["cause"].as_str().unwrap()).collect();
        assert!(!causes.is_empty() && causes.iter().all(|&cause| cause == "redacted"), "{causes:?}");
        // One side that is redacted takes the other with it.
        for (recording, capture) in
            [("b/recording.pcapng", "capture.pcap"), ("recording.pcapng", "b/capture.pcapng")]
        {
            let mixed = pair.compare(recording, capture, &[]);
            assert_eq!(transport_ledger(mixed.connection()), expected[0], "{recording} {capture}");
        }
    }
}

#[test]
fn what_is_shown_redacted_tells_the_kind_and_the_length_and_no_content() {
    if !require_bpf() {
        return;
    }
    let pair = Pair::new(&[]);
    let views: [&[&str]; 8] = [
        &["events", "-r", "recording.pcapng", "-X", "-A"],
        &["events", "-r", "recording.pcapng", "--format", "json"],
        &["events", "-r", "capture.pcap", "-x"],
        &["conn-trace", "-r", "recording.pcapng", "-vv", "-X", "-A"],
        &["conn-trace", "-r", "recording.pcapng", "--format", "json"],
        &["conn-trace", "-r", "capture.pcap", "--stats"],
        &["conn-trace", "-r", "recording.pcapng", "--filter", "status=404"],
        &["events", "-r", "recording.pcapng", "-w", "redacted.pcapng"],
    ];
    for args in views {
        let plain = pair.run(args);
        let output = pair.run(&[args, &["--redact"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_clean(&args.join(" "), &output.stdout);
        assert_clean(&args.join(" "), &output.stderr);
        assert_eq!(plain.stdout.is_empty(), output.stdout.is_empty(), "{args:?}");
    }
    assert_clean("redacted.pcapng", &fs::read(pair.path("redacted.pcapng")).unwrap());

    let text = pair.run(&["conn-trace", "-r", "recording.pcapng", "--redact"]).stdout;
    let text = String::from_utf8(text).unwrap();
    let (asked, answered) = (request().len(), response().len());
    let expected = format!("http1 POST {asked} bytes -> 404 {answered} bytes");
    assert_eq!(text.lines().filter(|line| line.contains(&expected)).count(), 3, "{text}");

    let events = pair.run(&["events", "-r", "recording.pcapng", "--redact", "--format", "json"]).stdout;
    let events = String::from_utf8(events).unwrap();
    let data: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "data" && line["captured"].as_u64() > Some(0))
        .collect();
    assert!(data.iter().all(|one| one["redacted"] == true && one.get("payload").is_none()), "{data:?}");
    let hashes = |way: &str| -> std::collections::BTreeSet<&str> {
        data.iter()
            .filter(|one| one["direction"] == way)
            .map(|one| one["payload_hash"].as_str().unwrap())
            .collect()
    };
    // Three times the same, and another one the other way.
    assert_eq!((hashes("send").len(), hashes("recv").len()), (1, 1));
    assert_ne!(hashes("send"), hashes("recv"));

    // What was redacted is not shown as if its zeros were content.
    let again = pair.run(&["events", "-r", "redacted.pcapng", "--format", "json"]).stdout;
    let again = String::from_utf8(again).unwrap();
    assert!(!again.contains("\"payload\"") && again.contains("\"redacted\":true"), "{again}");
    pair.run(&["events", "-r", "redacted.pcapng", "-w", "copy.pcapng"]);
    let copy = pair.run(&["conn-trace", "-r", "copy.pcapng"]);
    assert!(String::from_utf8_lossy(&copy.stderr).contains("was made with --redact"), "{copy:?}");
    assert!(copy.stdout.is_empty());

    fs::write(pair.path("strace.log"), LOG).unwrap();
    let of_log = pair.run(&["pcap-compare", "strace.log", "redacted.pcapng"]);
    let said = String::from_utf8(of_log.stderr).unwrap();
    assert_eq!(
        (of_log.status.code(), said.contains("redacted.pcapng was made with --redact")),
        (Some(2), true),
        "{said}"
    );
}

#[test]
fn datagrams_are_told_apart_without_their_content() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let port = server.local_addr().unwrap().port();
    let capture = folder.path().join("capture.pcap");
    let wire = Wire::begin(&capture, port, &["-s", "0"]);
    let pid = std::process::id();
    let recording = folder.path().join("recording.pcapng");
    let watcher = Watcher::recording(pid, &recording, &["--port", &port.to_string()]);
    client.connect(("127.0.0.1", port)).unwrap();
    for number in 0..4 {
        let datagram = format!("{number} {}", SECRETS[6]);
        client.send(datagram.as_bytes()).unwrap();
        assert_eq!(server.recv(&mut [0; 100]).unwrap(), datagram.len());
    }
    watcher.signal(Signal::SIGINT);
    watcher.end();
    drop(server);
    wire.end();
    let run = |args: &[&str]| {
        Watcher::start(Command::new(program("sockdbg")).current_dir(&folder).args(args)).end()
    };
    let compare = |recording: &str, capture: &str| {
        Report::of(&run(&["pcap-compare", recording, capture, "--format", "json"]))
    };
    let plain = compare("recording.pcapng", "capture.pcap");
    let args = ["pcap-compare", "recording.pcapng", "capture.pcap", "--redact", "--bundle", "b"];
    assert_eq!(run(&args).status.code(), Some(plain.status));
    for name in files_of(&folder.path().join("b")) {
        assert_clean(&name, &fs::read(folder.path().join("b").join(&name)).unwrap());
    }
    let ledgers = |report: &Report| -> Vec<Value> {
        report.connections.iter().filter(|one| one["of_process"] == true).map(transport_ledger).collect()
    };
    let redacted = compare("b/recording.pcapng", "b/capture.pcapng");
    assert_eq!(ledgers(&redacted).len(), 2);
    assert_eq!(ledgers(&redacted), ledgers(&plain));
    assert_eq!(redacted.summary["verdict"], plain.summary["verdict"]);
}

#[test]
fn verify_bundles_what_it_saw() {
    if !require_bpf() {
        return;
    }
    for redact in [&[][..], &["--redact"]] {
        let mut puppet = Puppet::new();
        let (listener, port) = puppet.listen();
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("new/b");
        let refused =
            Watcher::sockdbg(&["verify", "-a", "-i", "lo", "--bundle", bundle.to_str().unwrap()]).end();
        assert_eq!(refused.status.code(), Some(2), "its parent is not there");
        let bundle = folder.path().join("b");
        let args = [&["--bundle", bundle.to_str().unwrap()], redact].concat();
        let watcher = Watcher::verify(puppet.pid(), &args);
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let fd = puppet.tell(&format!("accept {listener}")).parse().unwrap();
        puppet.recv(fd, &mut peer, &request());
        puppet.send(fd, &mut peer, &response());
        puppet.tell(&format!("close {fd}"));
        drop(peer);
        watcher.signal(Signal::SIGINT);
        let output = watcher.end();
        let report = Report::of(&output);
        assert_eq!(files_of(&bundle), FILES);
        if !redact.is_empty() {
            for name in FILES {
                assert_clean(name, &fs::read(bundle.join(name)).unwrap());
            }
        }
        let doctor = fs::read_to_string(bundle.join("doctor.txt")).unwrap();
        assert!(doctor.contains(&puppet.pid().to_string()), "{doctor}");
        let versions = fs::read_to_string(bundle.join("versions.txt")).unwrap();
        for word in ["sockdbg: ", "kernel: Linux ", "libbpf: v", "libpcap: libpcap version ", "--bundle"] {
            assert!(versions.contains(word), "{word}: {versions}");
        }
        let files = ["recording.pcapng", "capture.pcapng"].map(|name| bundle.join(name));
        let [recording, capture] = files.each_ref().map(|path| path.to_str().unwrap());
        let again =
            Report::of(&Watcher::sockdbg(&["pcap-compare", recording, capture, "--format", "json"]).end());
        assert_eq!(transport_ledger(again.connection()), transport_ledger(report.connection()));
        assert_eq!(again.summary["verdict"], report.summary["verdict"]);
        assert_eq!(report.summary["verdict"], "complete");
    }
}

#[test]
fn a_bundle_takes_a_new_or_an_empty_folder_and_says_what_is_in_the_way() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let files = ["recording.pcapng", "capture.pcap"].map(|name| format!("{demo}/{name}"));
    let folder = tempfile::tempdir().unwrap();
    let run = |recording: &str, capture: &str, bundle: &Path, more: &[&str]| {
        let args = ["pcap-compare", recording, capture, "--bundle", bundle.to_str().unwrap()];
        let output = Watcher::sockdbg(&[&args, more].concat()).end();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (status, said) = run(&files[0], &files[1], &empty, &[]);
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(files_of(&empty), FILES);
    for (path, why) in [(empty.clone(), "is not empty"), (empty.join("README.txt"), "is no folder")] {
        let (status, said) = run(&files[0], &files[1], &path, &[]);
        assert_eq!((status, said.matches(why).count()), (Some(2), 1), "{said}");
        assert_eq!(said.lines().count(), 2, "an error and a hint: {said}");
    }
    // Of a log nothing can be taken out, and then nothing is begun.
    let log = folder.path().join("strace.log");
    fs::write(&log, LOG).unwrap();
    let bundle = folder.path().join("of-a-log");
    let (status, said) = run(log.to_str().unwrap(), &files[1], &bundle, &["--redact"]);
    assert_eq!((status, said.contains("can't be redacted")), (Some(2), true), "{said}");
    assert!(!bundle.exists());
}

/// Nobody may be traced: no folder that would look like a bundle.
#[test]
fn what_can_t_be_traced_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("b");
    let path = bundle.to_str().unwrap();
    // No process has this number: it is beyond PID_MAX_LIMIT of the kernel.
    let gone = Watcher::sockdbg(&["verify", "-p", "4194305", "-i", "lo", "--bundle", path]).end();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program("sockdbg"));
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let forbidden = open.join("b");
    let pid = std::process::id().to_string();
    nobody.args(["verify", "-p", &pid, "-i", "lo", "--bundle", forbidden.to_str().unwrap()]);
    let forbidden_output = Watcher::start(&mut nobody).end();
    for (output, bundle) in [(gone, &bundle), (forbidden_output, &forbidden)] {
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(!bundle.exists(), "{said}");
        assert!(!said.contains("incomplete"), "{said}");
    }
    // What was there before stays.
    fs::create_dir(&bundle).unwrap();
    Watcher::sockdbg(&["verify", "-p", "4194305", "-i", "lo", "--bundle", path]).end();
    assert!(bundle.exists());
}

/// While the recording is being copied nothing is whole, and nothing stays.
#[test]
fn an_interruption_at_the_beginning_leaves_nothing() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let recording = fs::read(format!("{demo}/recording.pcapng")).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, bundle) = (folder.path().join("fifo"), folder.path().join("b"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut command = Command::new(program("sockdbg"));
        command
            .arg("pcap-compare")
            .arg(&fifo)
            .arg(format!("{demo}/capture.pcap"))
            .arg("--bundle")
            .arg(&bundle);
        let watcher = Watcher::start(&mut command);
        // Half of it, and no end.
        let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        writer.write_all(&recording[..recording.len() / 2]).unwrap();
        eventually("the copy has begun", || bundle.join("recording.pcapng").exists());
        watcher.signal(signal);
        let output = watcher.end();
        assert_eq!(output.status.signal(), Some(signal as i32));
        let said = String::from_utf8(output.stderr).unwrap();
        let expected =
            format!("sockdbg: interrupted: nothing of {} was whole, it is gone\n", bundle.display());
        assert_eq!(said, expected);
        assert!(!bundle.exists());
    }
}

/// What is whole stays and is named.
#[test]
fn an_interruption_near_the_end_leaves_what_is_whole() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("b");
    let mut command = Command::new(program("sockdbg"));
    let files = ["recording.pcapng", "capture.pcap"].map(|name| format!("{demo}/{name}"));
    let watcher = Watcher::start(command.arg("pcap-compare").args(files).arg("--bundle").arg(&bundle));
    // Doctor takes seconds, and is waited for.
    eventually("the report", || bundle.join("report.txt").exists());
    watcher.signal(Signal::SIGINT);
    let output = watcher.end();
    assert_eq!(output.status.signal(), Some(Signal::SIGINT as i32));
    let whole = ["capture.pcapng", "recording.pcapng", "report.html", "report.json", "report.txt"];
    assert_eq!(files_of(&bundle), whole);
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "sockdbg: interrupted: {} is incomplete: what is whole of it is {}\n",
        bundle.display(),
        whole.join(", ")
    );
    assert_eq!(said, expected);
}

/// A disk that is full: the rest is written as far as it goes, and one error says what is missing.
#[test]
fn a_full_disk_is_one_error_and_what_there_is_stays() {
    if !require_bpf() {
        return;
    }
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(none, &disk, Some("tmpfs"), flags, Some("size=64k")).unwrap();
    let bundle = disk.join("b");
    let [recording, capture] = ["recording.pcapng", "capture.pcap"].map(|name| format!("{demo}/{name}"));
    let output =
        Watcher::sockdbg(&["pcap-compare", &recording, &capture, "--bundle", bundle.to_str().unwrap()]).end();
    let files = files_of(&bundle);
    nix::mount::umount(&disk).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("is incomplete: cannot write ").count(), 1, "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(
        files.contains(&"recording.pcapng".to_owned()) && !files.contains(&"README.txt".to_owned()),
        "{files:?}"
    );
    assert!(files.iter().all(|name| FILES.contains(&name.as_str())), "nothing half written: {files:?}");
}
