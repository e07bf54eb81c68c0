//! A trace in the background, and an account of what it delivered that is kept independently of sockdbg's own.

use super::peer::{Python, exchange, listen};
use sockdbg::event::{
    Address, Call, Cause, Close, CloseReason, ConnId, Direction, Event, Kind, Loss, Open, Range, Stage, Task,
    Timestamp,
};
use sockdbg::source::live::{Hooks, Live, Options};
use sockdbg::source::{Error, Source, Summary};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

/// True where probes can be put in place. Where they can't, the test says so and ends, unless
/// SOCKDBG_REQUIRE_BPF=1 makes that a failure.
pub fn require_bpf() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        match Live::attach(Options { pids: vec![std::process::id()], ..Options::default() }) {
            Ok(_) => true,
            Err(error) => {
                let required = std::env::var_os("SOCKDBG_REQUIRE_BPF").is_some_and(|value| value == "1");
                assert!(!required, "BPF is required and not available: {error}");
                eprintln!("not run, BPF is not available: {error}");
                false
            }
        }
    })
}

/// Which hooks the tests are to use.
pub fn hooks() -> Hooks {
    let calls = std::env::var_os("SOCKDBG_TEST_HOOKS").is_some_and(|value| value == "calls");
    if calls { Hooks::Calls } else { Hooks::Cheapest }
}

/// True where a hook of this kernel has the payload that io_uring moves in this direction, on TCP sockets or on those of
/// every kind. Tried apart from any trace.
pub fn has_uring(direction: Direction, tcp: bool) -> bool {
    static GRANTED: OnceLock<[bool; 2]> = OnceLock::new();
    let [functions, sends] = *GRANTED.get_or_init(|| {
        let tried = sockdbg::source::hooks::try_all().expect("sockdbg's own programs");
        let granted = |name: &str| tried.iter().any(|hook| hook.name == name && hook.refusal.is_none());
        let functions = ["fentry/security_socket_sendmsg", "fentry/security_socket_recvmsg"];
        [functions.into_iter().all(granted), granted("tp_btf/tcp_sendmsg_locked")]
    });
    functions || hooks() == Hooks::Cheapest && sends && tcp && direction == Direction::Send
}

/// True where calls are hooked and not sockets, by choice or for want of the tracepoints (before Linux 6.3): where
/// functions can't be hooked either, what is done by processes that are not traced, and by io_uring, shows in the counters
/// of TCP only.
pub fn calls_are_hooked() -> bool {
    static CALLS: OnceLock<bool> = OnceLock::new();
    *CALLS.get_or_init(|| {
        let types = std::fs::read("/sys/kernel/btf/vmlinux").expect("the types of the kernel");
        let names = memchr::memmem::find(&types, b"btf_trace_sock_send_length");
        hooks() == Hooks::Calls || names.is_none()
    })
}

/// True where a connect is told of that no state shows: of a UDP or Unix socket, or one of TCP that fails before a SYN.
pub fn tells_of_connects() -> bool {
    hooks() == Hooks::Calls || sockdbg::source::hooks::grants(&[sockdbg::source::hooks::RETURNS])
}

/// What bytes are named that a process outside the trace moves on a TCP socket inside it: the hooks on calls see those of
/// the traced processes only.
pub fn cause_of_others() -> Cause {
    if calls_are_hooked() { Cause::UntracedSyscall } else { Cause::OtherProcess }
}

/// An [`Event`] that owns its payload.
#[derive(Clone, Debug)]
pub struct Seen {
    pub time: Timestamp,
    pub conn: ConnId,
    pub task: Option<Task>,
    pub fd: Option<i32>,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Open(Open),
    Data(Data),
    Close(Close),
    Loss(Loss),
}

#[derive(Clone, Debug)]
pub struct Data {
    pub direction: Direction,
    pub range: Range,
    pub payload: Vec<u8>,
    pub tcp_seq: Option<u32>,
    pub peer: Option<Address>,
    pub call: Call,
    pub cause: Option<Cause>,
    pub peek: bool,
    pub past_tcp: bool,
    pub error: Option<i32>,
}

impl Seen {
    /// The event again.
    pub fn event(&self) -> Event<'_> {
        let kind = match &self.what {
            What::Open(open) => Kind::Open(open.clone()),
            What::Close(close) => Kind::Close(*close),
            What::Loss(loss) => Kind::Loss(loss.clone()),
            What::Data(data) => Kind::Data(sockdbg::event::Data {
                direction: data.direction,
                offset: data.range.from,
                length: data.range.len(),
                payload: &data.payload,
                tcp_seq: data.tcp_seq,
                peer: data.peer,
                call: data.call,
                cause: data.cause,
                peek: data.peek,
                past_tcp: data.past_tcp,
                acked: None,
                error: data.error,
            }),
        };
        Event { time: self.time, conn: self.conn, task: self.task, fd: self.fd, kind }
    }

    pub fn new(event: &Event<'_>) -> Seen {
        let what = match &event.kind {
            Kind::Open(open) => What::Open(open.clone()),
            Kind::Close(close) => What::Close(*close),
            Kind::Loss(loss) => What::Loss(loss.clone()),
            Kind::Data(data) => What::Data(Data {
                direction: data.direction,
                range: data.range(),
                payload: data.payload.to_vec(),
                tcp_seq: data.tcp_seq,
                peer: data.peer,
                call: data.call,
                cause: data.cause,
                peek: data.peek,
                past_tcp: data.past_tcp,
                error: data.error,
            }),
        };
        Seen { time: event.time, conn: event.conn, task: event.task, fd: event.fd, what }
    }
}

/// A trace that runs on a thread of its own.
pub struct Trace {
    stop: Arc<AtomicBool>,
    hold: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: JoinHandle<Result<Summary, Error>>,
}

impl Trace {
    /// Attaches to `pid`.
    pub fn of(pid: u32) -> Trace {
        Trace::with(Options { pids: vec![pid], ..Options::default() })
    }

    /// Attaches, and takes events as they come.
    pub fn with(options: Options) -> Trace {
        let trace = Trace::held(options);
        trace.hold.store(false, Ordering::Relaxed);
        trace
    }

    /// Attaches, but takes no event out of the ring before [`Trace::release`].
    pub fn held(mut options: Options) -> Trace {
        if hooks() == Hooks::Calls {
            options.hooks = Hooks::Calls;
        }
        let stop = Arc::new(AtomicBool::new(false));
        options.stop = stop.clone();
        let mut live = Live::attach(options).expect("probes can be put in place");
        let hold = Arc::new(AtomicBool::new(true));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let (hold, seen) = (hold.clone(), seen.clone());
            move || {
                while hold.load(Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                live.run(&mut |event| {
                    seen.lock().unwrap().push(Seen::new(event));
                    ControlFlow::Continue(())
                })
            }
        });
        Trace { stop, hold, seen, thread }
    }

    /// Begins to take events.
    pub fn release(&self) {
        self.hold.store(false, Ordering::Relaxed);
    }

    /// Events so far.
    pub fn so_far(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many events there are so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Ends the trace.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.ended()
    }

    /// Waits for the trace to end by itself, which it does when its processes have ended.
    pub fn ended(self) -> Report {
        self.release();
        let summary = self.thread.join().expect("the trace does not panic").expect("the trace ends well");
        let mut report = Report { summary, connections: BTreeMap::new() };
        let all = std::mem::take(&mut *self.seen.lock().unwrap());
        for seen in all.into_iter().filter(|seen| !looks_for_name_service(seen)) {
            report.connections.entry(seen.conn).or_default().push(seen);
        }
        report
    }
}

/// A C library looks for the name service cache (nscd(8)) in vain, where a program asks who the user is. Shells and
/// interpreters do that where HOME is not set.
fn looks_for_name_service(seen: &Seen) -> bool {
    let What::Open(Open { error: Some(_), remote: Some(Address::Unix(name)), .. }) = &seen.what else {
        return false;
    };
    name.as_bytes() == b"/var/run/nscd/socket"
}

/// Runs `program`, traced from its first `pause()` on, against a peer that sends `reply`. Returns what the peer got, too.
pub fn traced(program: &str, reply: &[u8]) -> (Report, Vec<u8>) {
    traced_with(Options::default(), program, reply)
}

/// The same, with `options`, of which the processes are left out.
pub fn traced_with(options: Options, program: &str, reply: &[u8]) -> (Report, Vec<u8>) {
    let (listener, port) = listen();
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::with(Options { pids: vec![python.pid()], ..options });
    python.go();
    let received = exchange(&listener, reply);
    python.ended();
    (trace.ended(), received)
}

/// All that a trace delivered.
pub struct Report {
    pub summary: Summary,
    pub connections: BTreeMap<ConnId, Vec<Seen>>,
}

impl Report {
    /// The events of the only connection there is.
    pub fn only(&self) -> Connection<'_> {
        assert_eq!(self.connections.len(), 1, "connections: {:?}", self.connections.keys());
        Connection(self.connections.values().next().expect("just counted"))
    }

    /// Every connection.
    pub fn all(&self) -> impl Iterator<Item = Connection<'_>> {
        self.connections.values().map(|seen| Connection(seen))
    }
}

/// The events of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a>(pub &'a [Seen]);

impl<'a> Connection<'a> {
    /// How it was announced, which is the first event and comes once.
    pub fn open(self) -> &'a Open {
        let opens = self.0.iter().filter(|seen| matches!(seen.what, What::Open(_))).count();
        match &self.0[0].what {
            What::Open(open) if opens == 1 => open,
            other => panic!("{opens} announcements, first event: {other:?}"),
        }
    }

    /// Its last event, which is a close.
    pub fn close(self) -> &'a Close {
        match &self.0[self.0.len() - 1].what {
            What::Close(close) => close,
            other => panic!("ends with {other:?}"),
        }
    }

    pub fn data(self, direction: Direction) -> impl Iterator<Item = &'a Data> {
        self.0.iter().filter_map(move |seen| match &seen.what {
            What::Data(data) if data.direction == direction => Some(data),
            _ => None,
        })
    }

    /// What moved without payload by a path that no call's arguments lead to: ranges that touch are one.
    pub fn losses(self, direction: Direction) -> Vec<(Range, Cause)> {
        let mut losses: Vec<(Range, Cause)> = Vec::new();
        for seen in self.0 {
            let (range, cause) = match &seen.what {
                What::Loss(loss) if loss.direction == direction => (loss.range, loss.cause),
                What::Data(data) if data.direction == direction => match data.cause {
                    Some(cause) if cause.stage() == Stage::Syscall => (data.range, cause),
                    _ => continue,
                },
                _ => continue,
            };
            match losses.last_mut() {
                Some(last) if last.0.to == range.from && last.1 == cause => last.0.to = range.to,
                _ => losses.push((range, cause)),
            }
        }
        losses
    }

    /// Checks that every offset from the start to the end that the kernel's own counters tell is covered exactly
    /// once, by data or by a loss, and that the totals agree; then lays the captured bytes out by offset. `None`
    /// where no payload is. Also: sequence numbers follow the offsets.
    pub fn stream(self, direction: Direction) -> Vec<Option<u8>> {
        let open = self.open();
        let start = open.start[direction.index()];
        let total = self.close().totals[direction.index()];
        let mut next = start.offset;
        let mut bytes = Vec::new();
        let mut moved = 0;
        for seen in self.0 {
            let (range, payload): (Range, &[u8]) = match &seen.what {
                What::Data(data) if data.direction == direction && !data.peek => {
                    moved += data.range.len();
                    assert_eq!(
                        data.payload.len() as u64 == data.range.len(),
                        data.cause.is_none(),
                        "{data:?}"
                    );
                    if let (Some(seq), Some(base)) = (data.tcp_seq, start.seq) {
                        let distance = (data.range.from - start.offset) as u32;
                        assert_eq!(seq, base.wrapping_add(distance), "sequence number");
                    }
                    (data.range, &data.payload)
                }
                What::Loss(loss) if loss.direction == direction => {
                    if matches!(loss.cause, Cause::RingFull | Cause::Filtered) {
                        moved += loss.range.len();
                    }
                    (loss.range, &[])
                }
                _ => continue,
            };
            assert_eq!(range.from, next, "a byte is missing or comes twice: {:?}", seen.what);
            bytes.extend(payload.iter().map(|&byte| Some(byte)));
            bytes.resize((range.to - start.offset) as usize, None);
            next = range.to;
        }
        assert_eq!(total.end, Some(next), "{direction:?}: the kernel counted other bytes than were reported");
        assert_eq!(total.moved, moved, "{direction:?}: moved");
        bytes
    }

    /// The stream, all of it captured, nothing lost.
    pub fn bytes(self, direction: Direction) -> Vec<u8> {
        assert_eq!(self.losses(direction), []);
        let bytes: Option<Vec<u8>> = self.stream(direction).into_iter().collect();
        bytes.unwrap_or_else(|| panic!("{direction:?}: payload is missing"))
    }

    /// The reason of its last close.
    pub fn reason(self) -> CloseReason {
        self.close().reason
    }
}
