//! What a trace says when it can't begin, and when it ends.

mod common;

use common::peer::{Python, Server, eventually, exchange, listen};
use common::trace::{Trace, What, require_bpf};
use sockdbg::event::{CloseReason, Direction, Kind, Opened, Role};
use sockdbg::process::netns::in_netns_of;
use sockdbg::source::live::{Live, Options};
use sockdbg::source::{Error, Source};
use std::io::Write;
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn refusal(pid: u32) -> String {
    match Live::attach(Options { pids: vec![pid], ..Options::default() }) {
        Err(Error::Attach(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("attached to {pid}"),
    }
}

#[test]
fn process_that_does_not_exist_is_named() {
    // Above the largest id the kernel gives (PID_MAX_LIMIT, 2^22).
    assert_eq!(refusal(8_388_608), "process 8388608 does not exist");
}

#[test]
fn thread_is_not_taken_for_its_process() {
    let tid = nix::unistd::gettid().as_raw() as u32;
    assert_ne!(tid, std::process::id(), "tests run on threads of their own");
    assert_eq!(refusal(tid), format!("{tid} is a thread: give the id of its process"));
}

#[test]
fn without_privileges_it_says_what_is_missing() {
    // This very test program, as a user that may do nothing, attaching to itself.
    if std::env::var_os("SOCKDBG_TEST_UNPRIVILEGED").is_some() {
        eprintln!("refusal: {}", refusal(std::process::id()));
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let program = std::env::current_exe().expect("a test program");
    let copy = tempfile::tempdir().expect("room for files");
    let path = copy.path().join("test");
    std::fs::copy(program, &path).expect("room for files");
    std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("own folder");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"])
        .arg(&path)
        .args(["--exact", "without_privileges_it_says_what_is_missing", "--nocapture"])
        .env("SOCKDBG_TEST_UNPRIVILEGED", "1")
        .output()
        .expect("setpriv is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("refusal: loading BPF programs is not permitted: run as root"), "{text}");
}

#[test]
fn duration_ends_the_trace() {
    if !require_bpf() {
        return;
    }
    let (_listener, port) = listen();
    let mut python = Python::start("s = connect(); pause()", port);
    python.paused();
    let begin = Instant::now();
    let duration = Some(Duration::from_millis(300));
    let trace = Trace::with(Options { pids: vec![python.pid()], duration, ..Options::default() });
    let report = trace.ended();
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(report.only().reason(), CloseReason::StillOpen);
    assert!(report.summary.first < report.summary.last);
}

#[test]
fn sink_that_breaks_ends_the_trace() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python =
        Python::start("pause(); s = connect(); s.send(b'a'); s.send(b'b'); s.send(b'c'); pause()", port);
    python.paused();
    let mut live =
        Live::attach(Options { pids: vec![python.pid()], ..Options::default() }).expect("attached");
    python.go();
    let peer = listener.accept().expect("the workload connects");
    let mut kinds = Vec::new();
    let summary = live.run(&mut |event| {
        kinds.push(matches!(event.kind, Kind::Data(_)));
        if kinds.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(summary.is_ok());
    assert_eq!(kinds, [false, true], "the open and the first send, nothing after the break");
    drop(peer);
    python.kill();
}

#[test]
fn process_that_ends_ends_the_trace() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python = Python::start("pause(); s = connect(); s.sendall(b'bye')", port);
    python.paused();
    let options = Options { pids: vec![python.pid()], ..Options::default() };
    let stop = options.stop.clone();
    let trace = Trace::with(options);
    python.go();
    assert_eq!(exchange(&listener, b""), b"bye");
    python.ended();
    let report = trace.ended();
    assert!(!stop.load(Ordering::Relaxed));
    assert_eq!(report.only().bytes(Direction::Send), b"bye");
}

#[test]
fn busy_redis_loses_nothing() {
    if !require_bpf() {
        return;
    }
    let redis = Server::redis();
    let trace = Trace::of(redis.pid());
    let status = Command::new("redis-benchmark")
        .args([
            "-p",
            &redis.address.port().to_string(),
            "-t",
            "set,get",
            "-n",
            "20000",
            "-c",
            "20",
            "-P",
            "16",
            "-q",
        ])
        .stdout(std::process::Stdio::null())
        .status()
        .expect("redis-benchmark is installed");
    assert!(status.success());
    eventually("redis closes its connections", || {
        let seen = trace.so_far();
        let count = |close: bool| {
            let of_kind = seen.iter().filter(|seen| match seen.what {
                common::trace::What::Open(_) => !close,
                common::trace::What::Close(_) => close,
                _ => false,
            });
            of_kind.count()
        };
        count(false) >= 40 && count(false) == count(true)
    });
    let report = trace.stop();
    assert_eq!((report.summary.dropped, report.summary.warnings.len()), (0, 0), "{:?}", report.summary);
    let mut requests = 0;
    for connection in report.all() {
        let asked = connection.bytes(Direction::Recv);
        let answered = connection.bytes(Direction::Send);
        requests += asked.windows(4).filter(|window| window == b"*3\r\n" || window == b"*2\r\n").count();
        assert_eq!(answered.is_empty(), asked.is_empty());
    }
    // 20,000 SET (*3) and 20,000 GET (*2), and one CONFIG GET (*3) for each of "save" and "appendonly".
    assert!(requests >= 40_000, "{requests} requests");
}

#[test]
fn work_in_another_network_namespace() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut child =
        Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().expect("unshare is installed");
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("a process");
    let pid = child.id();
    eventually("the child has its own namespace", || namespace(&pid.to_string()) != namespace("self"));
    let inside = in_netns_of(pid, || {
        std::fs::read_link("/proc/thread-self/ns/net").expect("this thread has a namespace")
    });
    assert_eq!(inside.expect("root may enter"), namespace(&pid.to_string()));
    assert_ne!(namespace("thread-self"), namespace(&pid.to_string()), "the caller stays where it was");
    child.kill().expect("a running child");
    child.wait().expect("a child");
    let error = in_netns_of(8_388_608, || ()).expect_err("no such process");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn accepted_connections_on_which_no_call_moves_anything_are_known() {
    if !require_bpf() {
        return;
    }
    let program = "
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(); print(l.getsockname()[1], flush=True); pause()
idle = l.accept()[0]; unused = l.accept()[0]; pause(); unused.close(); pause()";
    let (_, unused_port) = listen();
    let mut python = Python::start(program, unused_port);
    let port: u16 = python.line().parse().expect("a port");
    python.paused();
    let trace = Trace::of(python.pid());
    let mut idle = TcpStream::connect(("127.0.0.1", port)).expect("the workload listens");
    let mut unused = TcpStream::connect(("127.0.0.1", port)).expect("the workload listens");
    unused.write_all(b"never read").expect("sent");
    python.go();
    python.paused();
    eventually("the idle one is known", || {
        let local = Some(idle.local_addr().expect("connected"));
        trace
            .so_far()
            .iter()
            .any(|seen| matches!(&seen.what, What::Open(open) if open.remote == local.map(Into::into)))
    });
    python.go();
    python.paused();
    // What moves on it later has its place from the first byte on.
    idle.write_all(b"late").expect("sent");
    let report = trace.stop();
    let of = |stream: &TcpStream| {
        let remote = Some(stream.local_addr().expect("connected"));
        report.all().find(|connection| connection.open().remote == remote.map(Into::into)).expect("known")
    };
    for (stream, reason) in [(&idle, CloseReason::StillOpen), (&unused, CloseReason::Closed)] {
        let (connection, open) = (of(stream), of(stream).open());
        assert_eq!((open.opened, open.role), (Opened::Fresh, Role::Server));
        assert_eq!(open.start.map(|start| start.offset), [0, 0]);
        assert_eq!(connection.reason(), reason);
    }
    assert_eq!(of(&unused).close().totals[Direction::Recv.index()].pending, 10);
    python.kill();
}
