//! A server under full load, seen through a ring that is too small for it: whatever is lost has to be told, with its
//! exact range and its cause. SOCKDBG_LONG=1 makes it last (`make soak`).

mod common;

use common::client::resp;
use common::peer::{Server, noise};
use common::report::Report;
use common::trace::require_bpf;
use common::watcher::Watcher;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use sockdbg::event::{Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Range};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

/// Connections that stay, whose bytes are known.
const CONNECTIONS: usize = 64;

/// Threads that use them.
const THREADS: usize = 2;

#[test]
fn all_that_a_full_ring_refuses_is_told() {
    for ring in ["64K", "4K"] {
        soak(ring, TraceEnds::AfterTheLoad);
    }
}

#[test]
fn a_trace_that_ends_under_full_load_tells_all_until_then() {
    for ring in ["64K", "16M"] {
        soak(ring, TraceEnds::UnderLoad);
    }
}

/// The ring is full when the trace ends, and stays so while connections end.
#[test]
fn a_trace_that_ends_while_its_recording_is_read_slowly_tells_all_until_then() {
    soak("64K", TraceEnds::ReadSlowly);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TraceEnds {
    /// All of it is in the trace.
    AfterTheLoad,
    UnderLoad,
    /// As before, and whoever reads the recording is slower than the load.
    ReadSlowly,
}

/// How often each connection of the load asks before a trace may end: for a few seconds, or minutes. Not minutes where a
/// ring takes next to nothing, or nobody reads it: the ends of connections that it refuses wait in the kernel's table, which
/// has room for 32,768 (what comes then is told as `table-full`, without ranges).
fn rounds(ring: &str, ends: TraceEnds) -> u64 {
    let takes_most_ends = ring != "4K" && ends != TraceEnds::ReadSlowly;
    if common::is_long() && takes_most_ends { 10_000 } else { 100 }
}

/// Traces redis under load.
fn soak(ring: &str, ends: TraceEnds) {
    if !require_bpf() {
        return;
    }
    let server = Server::redis();
    let before = Statistics::of(server.address);
    server.settle();
    let folder = tempfile::tempdir().expect("room for a pipe");
    let pipe = folder.path().join("recording");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");
    let load = Load::prepare(server.address);
    let slow = folder.path().join("slow");
    let read = if ends == TraceEnds::ReadSlowly {
        nix::unistd::mkfifo(&slow, Mode::S_IRWXU).expect("a pipe");
        let (from, to) = (pipe.clone(), slow.clone());
        std::thread::spawn(move || pass_slowly(&from, &to, server.address));
        slow
    } else {
        pipe.clone()
    };
    let book = std::thread::spawn({
        let truth = load.truth.clone();
        move || Book::read(&read, truth)
    });
    let watcher = Watcher::recording(server.pid(), &pipe, &["--ring-size", ring]);
    let load = load.begin(rounds(ring, ends));
    load.has_asked();
    let quiet = ends == TraceEnds::AfterTheLoad;
    let (output, done, after) = if quiet {
        let done = load.end();
        let after = Statistics::of(server.address);
        server.settle();
        watcher.signal(Signal::SIGINT);
        (watcher.end(), done, Some(after))
    } else {
        watcher.signal(Signal::SIGINT);
        let output = watcher.end();
        (output, load.end(), None)
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let book = book.join().expect("the recording is read");
    println!("ring {ring}, {ends:?}: {book}\n{said}");
    book.check(&done, quiet);
    let [sent, received] = Direction::BOTH.map(|direction| book.sum(|side| side.moved, direction));
    if let Some(after) = after {
        // The first question is counted before the trace began, its answer is not.
        assert_eq!(received, after.input - before.input, "bytes that redis says it received");
        let answers = after.answer as u64 - before.answer as u64;
        assert_eq!(sent, after.output - before.output + answers, "bytes that redis says it sent");
    }
    let lost: u64 = Direction::BOTH.map(|direction| book.sum(|side| side.refused, direction)).iter().sum();
    assert!(said.contains(&format!("{sent} bytes sent, {received} received")), "{said}");
    assert!(!said.contains("warning"), "{said}");
    let causes: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("cause ")).map(|(_, cause)| cause).collect();
    if ring == "16M" && lost == 0 {
        return;
    }
    assert_eq!(causes, ["ring-full"]);
    assert!(lost > 0 && said.contains(&format!("\n  {lost} bytes in ")), "{lost} lost: {said}");
}

/// Passes a recording on, a piece of it each time that the server has answered on one more connection.
fn pass_slowly(from: &Path, to: &Path, server: SocketAddr) {
    let mut from = File::open(from).expect("a pipe");
    let mut to = File::create(to).expect("a pipe");
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut piece).expect("a pipe");
        if length == 0 {
            return;
        }
        to.write_all(&piece[..length]).expect("it is read");
        Statistics::of(server);
    }
}

/// The residual is that of a comparison with the wire.
#[test]
fn a_comparison_of_what_a_full_ring_left_has_no_residual() {
    if !require_bpf() {
        return;
    }
    let server = Server::redis();
    let load = Load::prepare(server.address);
    let watcher = Watcher::verify(server.pid(), &["--ring-size", "64K"]);
    // Both sides are kept until they are compared.
    let load = load.begin(5);
    load.has_asked();
    load.end();
    server.settle();
    watcher.signal(Signal::SIGINT);
    let output = watcher.end();
    let report = Report::of(&output);
    println!("{} connections, residual {}", report.connections.len(), report.summary["residual"]);
    assert_eq!(report.summary["verdict"], "incomplete");
    assert_eq!(report.summary["residual"], 0);
}

/// What redis counts itself.
struct Statistics {
    input: u64,
    output: u64,
    /// Length of the answer that says so.
    answer: usize,
}

impl Statistics {
    fn of(address: SocketAddr) -> Statistics {
        let mut stream = TcpStream::connect(address).expect("redis listens");
        stream.write_all(&resp(&["INFO", "stats"])).expect("redis reads");
        stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("redis answers and closes");
        let figure = |name: &str| -> u64 {
            let line = answer.lines().find_map(|line| line.strip_prefix(name)).expect("a figure");
            line.parse().expect("a number")
        };
        Statistics {
            input: figure("total_net_input_bytes:"),
            output: figure("total_net_output_bytes:"),
            answer: answer.len(),
        }
    }
}

/// What every connection of the load says, again and again, and what is answered.
struct Truth {
    questions: Vec<u8>,
    answers: Vec<u8>,
    /// Local ports of the connections.
    ports: Mutex<BTreeSet<u16>>,
}

impl Truth {
    fn new() -> Truth {
        let (mut questions, mut answers) = (Vec::new(), Vec::new());
        for seed in 0..40u64 {
            let bytes = data_encoding::HEXLOWER.encode(&noise(1 + (seed * 37 % 500) as usize, seed));
            questions.extend_from_slice(&resp(&["ECHO", &bytes]));
            answers.extend_from_slice(format!("${}\r\n{bytes}\r\n", bytes.len()).as_bytes());
        }
        Truth { questions, answers, ports: Mutex::default() }
    }

    /// `bytes` are those that the server moved in the direction at `offset`.
    fn agrees(&self, direction: Direction, offset: u64, bytes: &[u8]) -> bool {
        let whole = if direction == Direction::Send { &self.answers } else { &self.questions };
        let (mut at, mut rest) = ((offset % whole.len() as u64) as usize, bytes);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(whole.len() - at));
            if whole[at..at + now.len()] != *now {
                return false;
            }
            (at, rest) = (0, later);
        }
        true
    }
}

/// Clients that will keep the server busy.
struct Load {
    address: SocketAddr,
    truth: Arc<Truth>,
}

struct Running {
    asked: mpsc::Receiver<()>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<(u16, u64)>>>,
    short: Child,
}

impl Load {
    fn prepare(address: SocketAddr) -> Load {
        Load { address, truth: Arc::new(Truth::new()) }
    }

    fn begin(self, rounds: u64) -> Running {
        let (tell, asked) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..THREADS).map(|_| {
            let (address, truth, stop, tell) = (self.address, self.truth.clone(), stop.clone(), tell.clone());
            std::thread::spawn(move || {
                let asked = |count| {
                    if count == rounds {
                        tell.send(()).expect("the load is awaited");
                    }
                };
                ask(address, &truth, &stop, asked)
            })
        });
        let threads = threads.collect();
        // A connection for each command.
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let short = Command::new("redis-benchmark")
            .args([
                "-h",
                &host,
                "-p",
                &port,
                "-k",
                "0",
                "-c",
                "20",
                "-n",
                "1000000000",
                "-d",
                "700",
                "-t",
                "set",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-benchmark");
        Running { asked, stop, threads, short }
    }
}

impl Running {
    /// Waits until every connection has asked as often as it was to; they go on.
    fn has_asked(&self) {
        for _ in 0..THREADS {
            self.asked.recv().expect("the server answers");
        }
    }

    /// Ends it. How often each connection asked, by its port.
    fn end(mut self) -> BTreeMap<u16, u64> {
        self.short.kill().expect("a child");
        self.short.wait().expect("a child");
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
    }
}

/// Asks on some connections until it is to stop; each has its answers by then. How often, by port.
fn ask(address: SocketAddr, truth: &Truth, stop: &AtomicBool, asked: impl Fn(u64)) -> Vec<(u16, u64)> {
    let connect = |_| {
        let stream = TcpStream::connect(address).expect("the server listens");
        let port = stream.local_addr().expect("connected").port();
        truth.ports.lock().expect("no panic").insert(port);
        (stream, port)
    };
    let mut streams: Vec<_> = (0..CONNECTIONS / THREADS).map(connect).collect();
    let (mut count, mut room) = (0, vec![0; truth.answers.len()]);
    while !stop.load(Ordering::Relaxed) {
        for (stream, _) in &mut streams {
            stream.write_all(&truth.questions).expect("the server reads");
        }
        for (stream, _) in &mut streams {
            stream.read_exact(&mut room).expect("the server answers");
            assert!(room == truth.answers, "answers");
        }
        count += 1;
        asked(count);
    }
    streams.iter().map(|(_, port)| (*port, count)).collect()
}

/// What a recording tells, kept as sums while it is read.
struct Book {
    truth: Arc<Truth>,
    connections: BTreeMap<ConnId, Account>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Account {
    port: u16,
    sides: [Side; 2],
    closed: bool,
}

#[derive(Default)]
struct Side {
    next: u64,
    moved: u64,
    captured: u64,
    refused: u64,
    ranges: u64,
}

impl Book {
    fn read(path: &Path, truth: Arc<Truth>) -> Book {
        let mut book = Book { truth, connections: BTreeMap::new(), wrong: Vec::new() };
        let mut source = sockdbg::source::open(path).expect("a recording");
        let summary = source.run(&mut |event| {
            book.event(event);
            ControlFlow::Continue(())
        });
        let summary = summary.expect("a readable recording");
        book.wrong.extend(summary.cut.into_iter().chain(summary.warnings));
        book
    }

    fn event(&mut self, event: &Event<'_>) {
        let account = self.connections.entry(event.conn).or_default();
        let wrong = match &event.kind {
            _ if account.closed => Some("comes after the end".to_owned()),
            Kind::Open(open) => {
                account.port = open.remote.and_then(|remote| remote.ip()).map_or(0, |remote| remote.port());
                for direction in Direction::BOTH {
                    account.sides[direction.index()].next = open.start[direction.index()].offset;
                }
                (open.start.iter().any(|start| start.offset > 0)).then(|| "begins in the middle".to_owned())
            }
            Kind::Data(data) => account.data(data, &self.truth),
            Kind::Loss(loss) => {
                let side = &mut account.sides[loss.direction.index()];
                side.add(loss.range, 0, Some(loss.cause))
            }
            Kind::Close(close) => account.close(close),
        };
        if let Some(wrong) = wrong
            && self.wrong.len() < 100
        {
            self.wrong.push(format!("{wrong}: {:.400}", format!("{event:?}")));
        }
    }

    fn sum(&self, figure: impl Fn(&Side) -> u64, direction: Direction) -> u64 {
        self.connections.values().map(|account| figure(&account.sides[direction.index()])).sum()
    }

    /// `done`: how often each connection of the load asked.
    fn check(&self, done: &BTreeMap<u16, u64>, all: bool) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        let mut found = 0;
        for (conn, account) in &self.connections {
            assert!(account.closed, "{conn:?} has no end");
            for side in &account.sides {
                assert_eq!(side.moved, side.captured + side.refused, "{conn:?}");
            }
            let Some(&rounds) = done.get(&account.port) else { continue };
            found += 1;
            for (direction, whole) in
                [(Direction::Send, &self.truth.answers), (Direction::Recv, &self.truth.questions)]
            {
                let (next, most) = (account.sides[direction.index()].next, rounds * whole.len() as u64);
                assert!(if all { next == most } else { next <= most }, "{conn:?}: {next} of {most}");
            }
        }
        assert_eq!(found, done.len(), "connections of the load that the trace knows");
    }
}

impl Account {
    fn data(&mut self, data: &Data<'_>, truth: &Truth) -> Option<String> {
        if data.peek || data.error.is_some() {
            return (!matches!(data.error, Some(nix::libc::ECONNRESET | nix::libc::EPIPE)))
                .then(|| "is no call of redis".to_owned());
        }
        let ours = truth.ports.lock().expect("no panic").contains(&self.port);
        if ours && !truth.agrees(data.direction, data.offset, data.payload) {
            return Some("has other bytes".to_owned());
        }
        self.sides[data.direction.index()].add(data.range(), data.payload.len() as u64, data.cause)
    }

    /// The account that the kernel kept.
    fn close(&mut self, close: &Close) -> Option<String> {
        self.closed = close.reason != CloseReason::Descriptor;
        let differs = Direction::BOTH.iter().find(|direction| {
            let (total, side) = (close.totals[direction.index()], &self.sides[direction.index()]);
            self.closed && (total.moved != side.moved || total.end != Some(side.next))
        });
        differs.map(|direction| {
            let side = &self.sides[direction.index()];
            format!("{direction:?}: {} moved, to offset {}", side.moved, side.next)
        })
    }
}

impl Side {
    fn add(&mut self, range: Range, captured: u64, cause: Option<Cause>) -> Option<String> {
        let missing = range.len() - captured;
        let wrong = if range.from != self.next {
            Some(format!("follows on offset {}", self.next))
        } else if cause.is_some() != (missing > 0) || cause.is_some_and(|cause| cause != Cause::RingFull) {
            Some("is missing for another cause".to_owned())
        } else {
            None
        };
        self.next = range.to;
        self.moved += range.len();
        self.captured += captured;
        self.refused += missing;
        self.ranges += u64::from(missing > 0);
        wrong
    }
}

impl std::fmt::Display for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} connections", self.connections.len())?;
        for direction in Direction::BOTH {
            let [moved, captured, refused, ranges] = [
                |side: &Side| side.moved,
                |side: &Side| side.captured,
                |side: &Side| side.refused,
                |side: &Side| side.ranges,
            ]
            .map(|figure| self.sum(figure, direction));
            write!(
                f,
                "; {}: {moved} bytes = {captured} captured + {refused} refused in {ranges} ranges",
                direction.name()
            )?;
        }
        Ok(())
    }
}
