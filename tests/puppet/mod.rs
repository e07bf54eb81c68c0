//! A traced process that does to its sockets what a test tells it, and the sockdbg that watches it.
//!
//! The test is the peer at the other end of the connection: both streams are known to it byte by byte.

#![allow(dead_code)] // each test binary uses its own part of this module

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// True where BPF works. With `SOCKDBG_REQUIRE_BPF=1` its absence fails the test, else the test says so.
pub fn bpf_or_report() -> bool {
    let probe = Command::new(env!("CARGO_BIN_EXE_sockdbg")).args(["events", "--", "true"]).output().unwrap();
    if probe.status.success() {
        return true;
    }
    let why = String::from_utf8_lossy(&probe.stderr).into_owned();
    let required = std::env::var_os("SOCKDBG_REQUIRE_BPF").is_some_and(|value| value == "1");
    assert!(!required, "BPF is required here: {why}");
    eprintln!("not run, no BPF here: {why}");
    false
}

/// Fails the test unless `done` becomes true in time.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
    }
}

/// The traced process.
pub struct Puppet {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Puppet {
    /// Starts one.
    pub fn new() -> Puppet {
        Puppet::by(&[])
    }

    /// Starts one by a command in front, such as `ip netns exec NAME`.
    pub fn by(prefix: &[&str]) -> Puppet {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/puppet/puppet.py");
        let mut words = prefix.iter().copied().chain(["python3", script]);
        let mut command = Command::new(words.next().unwrap());
        let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Puppet { child, stdin, stdout }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives a command and waits for the answer.
    pub fn tell(&mut self, command: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the puppet failed at {command}");
        answer.trim_end().to_owned()
    }

    /// Listens on a free port: its descriptor and the port.
    pub fn listen(&mut self) -> (i32, u16) {
        let answer = self.tell("listen");
        let (fd, port) = answer.split_once(' ').unwrap();
        (fd.parse().unwrap(), port.parse().unwrap())
    }

    /// A connection that the puppet accepted: its descriptor, and the test's end.
    pub fn accepted(&mut self) -> (i32, TcpStream) {
        let (listener, port) = self.listen();
        let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let fd = self.tell(&format!("accept {listener}")).parse().unwrap();
        self.tell(&format!("close {listener}"));
        (fd, peer)
    }

    /// A connection that the puppet made: its descriptor, and the test's end.
    pub fn connected(&mut self) -> (i32, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fd = self.tell(&format!("connect {port}")).parse().unwrap();
        (fd, listener.accept().unwrap().0)
    }

    /// Lets the puppet send bytes, and receives them at the other end.
    pub fn send(&mut self, fd: i32, peer: &mut TcpStream, bytes: &[u8]) {
        let hex = data_encoding::HEXLOWER.encode(bytes);
        self.tell(&format!("send {fd} {hex}"));
        let mut received = vec![0; bytes.len()];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(received, bytes);
    }

    /// Sends bytes from the other end, and lets the puppet receive them.
    pub fn recv(&mut self, fd: i32, peer: &mut TcpStream, bytes: &[u8]) {
        peer.write_all(bytes).unwrap();
        let hex = self.tell(&format!("recv {fd} {}", bytes.len()));
        assert_eq!(data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap(), bytes);
    }

    /// Ends the process; the kernel closes its sockets.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.end();
    }
}

/// A sockdbg (or another program) at work.
pub struct Watcher {
    child: Child,
    stdout: thread::JoinHandle<Vec<u8>>,
    stderr: thread::JoinHandle<Vec<u8>>,
    lines: mpsc::Receiver<String>,
}

impl Watcher {
    /// Starts sockdbg.
    pub fn sockdbg(args: &[&str]) -> Watcher {
        Watcher::start(Command::new(env!("CARGO_BIN_EXE_sockdbg")).args(args))
    }

    /// Starts a command.
    pub fn start(command: &mut Command) -> Watcher {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let err = child.stderr.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut all = Vec::new();
            out.read_to_end(&mut all).unwrap();
            all
        });
        let (send, lines) = mpsc::channel();
        let stderr = thread::spawn(move || read_lines(err, &send));
        Watcher { child, stdout, stderr, lines }
    }

    /// Waits for a line on stderr that contains `word`.
    pub fn wait_for(self, word: &str) -> Watcher {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(word) => return self,
                Ok(_) => {}
                Err(error) => panic!("no {word:?} on stderr: {error}"),
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Output {
        let deadline = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("the program does not end: {}", String::from_utf8_lossy(&self.stderr.join().unwrap()));
            }
            thread::yield_now();
        };
        let (stdout, stderr) = (self.stdout.join().unwrap(), self.stderr.join().unwrap());
        Output { status, stdout, stderr }
    }
}

fn read_lines(stream: ChildStderr, send: &mpsc::Sender<String>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).unwrap() == 0 {
            return all;
        }
        all.extend_from_slice(&line);
        // The test may have seen what it waited for.
        let _ = send.send(String::from_utf8_lossy(&line).into_owned());
    }
}

/// A comparison's JSON lines.
pub struct Report {
    /// One per connection of the process, then others.
    pub connections: Vec<Value>,
    /// The last line.
    pub summary: Value,
    /// Exit status.
    pub status: i32,
}

impl Report {
    /// Reads what `verify` or `pcap-compare` printed with `--format json`.
    pub fn of(output: &Output) -> Report {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let Some((summary, connections)) = lines.split_last() else {
            panic!("no report: {}", String::from_utf8_lossy(&output.stderr));
        };
        assert_eq!(summary["type"], "summary");
        let status = output.status.code().unwrap();
        Report { connections: connections.to_vec(), summary: summary.clone(), status }
    }

    /// The process's only connection.
    pub fn connection(&self) -> &Value {
        let ours: Vec<_> = self.connections.iter().filter(|one| one["of_process"] == true).collect();
        assert_eq!(ours.len(), 1, "{:#?}", self.connections);
        ours[0]
    }

    /// The findings of the process's only connection, each as `direction from to stage cause`; no byte
    /// may be left unexplained.
    pub fn findings(&self) -> Vec<String> {
        assert_eq!(self.summary["residual"], 0, "{:#?}", self.connections);
        findings_of(self.connection())
    }
}

/// The findings of a connection, each as `direction from to stage cause`.
pub fn findings_of(connection: &Value) -> Vec<String> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = connection["findings"].as_array().unwrap();
    let shown = findings.iter().map(|finding| {
        let (from, to) = (&finding["range"][0], &finding["range"][1]);
        let (stage, cause) = (text(finding, "stage"), text(finding, "cause"));
        format!("{} {from} {to} {stage} {cause}", text(finding, "direction"))
    });
    shown.collect()
}

/// A capture of the loopback interface by tcpdump, from before [`Wire::begin`] returns.
pub struct Wire {
    tcpdump: Watcher,
    file: PathBuf,
    port: u16,
    marks: usize,
}

impl Wire {
    /// Captures the packets of `port` into `file`, with more arguments (options, the beginning of a filter).
    pub fn begin(file: &Path, port: u16, args: &[&str]) -> Wire {
        let mut command = Command::new("tcpdump");
        command.args(["-i", "lo", "-U", "--immediate-mode", "-Z", "root", "-w"]).arg(file);
        command.args(args).arg(format!("port {port}"));
        let tcpdump = Watcher::start(&mut command).wait_for("listening on");
        Wire { tcpdump, file: file.to_owned(), port, marks: 0 }
    }

    /// Puts a refused connection into the capture. Nobody may listen on the port.
    pub fn mark(&mut self) {
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        assert!(refused.is_err(), "somebody listens on port {}", self.port);
        self.marks += 1;
    }

    /// Ends the capture when it has everything until now: a mark is the last thing in the file.
    pub fn end(mut self) {
        self.mark();
        let (file, marks) = (self.file.clone(), self.marks);
        wait_until("the mark in the capture", || resets(&std::fs::read(&file).unwrap()) == marks);
        self.end_now();
    }

    /// Ends the capture at once.
    pub fn end_now(self) {
        self.tcpdump.signal(nix::sys::signal::Signal::SIGINT);
        self.tcpdump.end();
    }
}

/// TCP segments with RST (RFC 9293, section 3.1) in a pcap file of Ethernet and IPv4.
fn resets(file: &[u8]) -> usize {
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    const FLAGS: usize = 14 + 20 + 13;
    let (mut rest, mut count) = (file.get(FILE_HEADER..).unwrap_or_default(), 0);
    while let Some(length) = rest.get(8..12) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let Some(packet) = rest.get(RECORD_HEADER..RECORD_HEADER + length) else { break };
        count += usize::from(packet.get(FLAGS).is_some_and(|flags| flags & 4 != 0));
        rest = &rest[RECORD_HEADER + length..];
    }
    count
}
