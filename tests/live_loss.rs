//! Bytes that moved without being captured: each cause provoked, and its exact range checked against the workload.

mod common;

use common::peer::{Python, Server, eventually, exchange, listen, noise};
use common::trace::{Data, Trace, What, cause_of_others, require_bpf, traced, traced_with};
use sockdbg::event::{Call, Cause, CloseReason, Direction, Range};
use sockdbg::source::live::{FdFilter, Options};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

/// Checks that what was captured of a stream equals `truth`, wherever it was captured.
fn agrees(stream: &[Option<u8>], truth: &[u8]) {
    assert_eq!(stream.len(), truth.len());
    assert!(stream.iter().zip(truth).all(|(seen, &byte)| seen.is_none_or(|seen| seen == byte)));
}

fn lost(stream: &[Option<u8>]) -> usize {
    stream.iter().filter(|byte| byte.is_none()).count()
}

#[test]
fn snaplen_cuts_each_call() {
    if !require_bpf() {
        return;
    }
    for snaplen in [0u64, 1, 100, 70_000] {
        let options = Options { snaplen: Some(snaplen), ..Options::default() };
        let (report, received) = traced_with(
            options,
            "pause(); s = connect(); s.send(os.urandom(100000)); s.send(b'short'); os.writev(s.fileno(), [b'a' * 90, b'b' * 90]); receive(s)",
            &noise(500, 1),
        );
        let connection = report.only();
        let stream = connection.stream(Direction::Send);
        agrees(&stream, &received);
        for data in connection.data(Direction::Send) {
            assert_eq!(data.payload.len() as u64, data.range.len().min(snaplen));
            assert_eq!(data.cause, (data.range.len() > snaplen).then_some(Cause::Snaplen));
        }
    }
}

const SENDFILE: &str = "
import tempfile
f = tempfile.TemporaryFile(); f.write(os.urandom(40000)); f.flush()
def sendfile(s, n):
    done = 0
    while done < n: done += os.sendfile(s.fileno(), f.fileno(), done, n - done)
";

#[test]
fn sendfile_is_an_exact_range() {
    if !require_bpf() {
        return;
    }
    let program = format!(
        "{SENDFILE}\npause(); s = connect(); s.sendall(b'head'); sendfile(s, 40000); s.sendall(b'tail'); receive(s); s.close()"
    );
    let (report, received) = traced(&program, b"ok");
    let connection = report.only();
    agrees(&connection.stream(Direction::Send), &received);
    assert_eq!(received.len(), 40_008);
    assert_eq!(connection.losses(Direction::Send), [(Range::new(4, 40_004), Cause::InKernelTransfer)]);
    assert_eq!(connection.bytes(Direction::Recv), b"ok");
}

#[test]
fn sendfile_after_the_last_event_is_reported_before_the_close() {
    if !require_bpf() {
        return;
    }
    // By a close call, by the end of the process, after our own FIN, and for a connection seen only that way.
    let endings =
        ["s.close()", "os._exit(0)", "s.shutdown(1); s.close()", "s.shutdown(1); receive(s); os._exit(0)"];
    for ending in endings {
        let program =
            format!("{SENDFILE}\npause(); s = connect(); s.sendall(b'head'); sendfile(s, 40000); {ending}");
        let (report, received) = traced(&program, b"");
        let connection = report.only();
        agrees(&connection.stream(Direction::Send), &received);
        assert_eq!(
            connection.losses(Direction::Send),
            [(Range::new(4, 40_004), Cause::InKernelTransfer)],
            "{ending}"
        );
        assert_eq!(connection.reason(), CloseReason::Closed);
    }
}

#[test]
fn splice_away_from_a_socket_is_an_exact_range() {
    if !require_bpf() {
        return;
    }
    let program = "
r, w = os.pipe()
pause(); s = connect(); assert s.recv(10, socket.MSG_WAITALL); n = 0
while n < 20000:
    k = os.splice(s.fileno(), w, min(4096, 20000 - n)); os.read(r, k); n += k
s.recv(30, socket.MSG_WAITALL)
n = 0
while n < 10: n += os.splice(s.fileno(), w, 10 - n)
pause(); s.close()";
    // `splice` came to Python's os module in 3.10.
    let reply = noise(20_050, 2);
    let (listener, port) = listen();
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (mut peer, _) = listener.accept().expect("the workload connects");
    peer.write_all(&reply).expect("the workload reads");
    python.paused();
    let report = trace.stop();
    python.go();
    python.ended();
    let connection = report.only();
    agrees(&connection.stream(Direction::Recv), &reply);
    let spliced = |from, to| (Range::new(from, to), Cause::InKernelTransfer);
    assert_eq!(connection.losses(Direction::Recv), [spliced(10, 20_010), spliced(20_040, 20_050)]);
    assert_eq!(connection.reason(), CloseReason::StillOpen);
}

#[test]
fn another_process_on_the_same_socket() {
    if !require_bpf() {
        return;
    }
    let program = "
pause(); s = connect(); s.send(b'parent'); s.recv(6, socket.MSG_WAITALL)
if os.fork() == 0: s.send(b'child'); s.recv(5, socket.MSG_WAITALL); os._exit(0)
os.wait(); s.send(b'parent'); s.recv(1); s.close()";
    let (report, received) = traced(program, b"parentchild!");
    let connection = report.only();
    assert_eq!(received, b"parentchildparent");
    for direction in Direction::BOTH {
        connection.stream(direction);
        assert_eq!(connection.losses(direction), [(Range::new(6, 11), cause_of_others())]);
    }
}

#[test]
fn nginx_with_sendfile_loses_exactly_the_body() {
    if !require_bpf() {
        return;
    }
    let body = noise(3_000_000, 3);
    let nginx = Server::nginx(&body, true);
    let trace = Trace::of(nginx.pid());
    let mut stream = TcpStream::connect(nginx.address).expect("nginx listens");
    stream.write_all(b"GET /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("nginx reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("nginx answers");
    eventually("nginx closes", || trace.so_far().iter().any(|seen| matches!(seen.what, What::Close(_))));
    let report = trace.stop();
    let connection = report.only();
    agrees(&connection.stream(Direction::Send), &answer);
    let head = (answer.len() - body.len()) as u64;
    let lost: u64 = connection.losses(Direction::Send).iter().map(|(range, _)| range.len()).sum();
    assert_eq!(connection.losses(Direction::Send)[0].0.from, head);
    assert_eq!(lost, body.len() as u64);
    assert!(connection.losses(Direction::Send).iter().all(|&(_, cause)| cause == Cause::InKernelTransfer));
}

#[test]
fn full_ring_loses_exact_ranges() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
pause(); s = connect()
for i in range(300): s.send(os.urandom(1 + i * 13 % 3000))
receive(s)
while True:
    print('ready', flush=True)
    if not sys.stdin.readline(): break
    s.send(os.urandom(100))
s.close()";
    let mut python = Python::start(program, port);
    python.paused();
    let options = Options { pids: vec![python.pid()], ring_size: 64 << 10, ..Options::default() };
    let trace = Trace::held(options);
    python.go();
    let (stream, _) = listener.accept().expect("the workload connects");
    let reply = noise(100_000, 4);
    (&stream).write_all(&reply).expect("the workload reads");
    stream.shutdown(Shutdown::Write).expect("open");
    python.paused();
    // All is refused or in the ring by now. From here on it is read, and at some time there is room again.
    trace.release();
    eventually("the ring has room", || {
        python.go();
        python.paused();
        let is_last = |data: &Data| data.direction == Direction::Send && data.payload.len() == 100;
        trace
            .so_far()
            .iter()
            .any(|seen| matches!(&seen.what, What::Data(data) if is_last(data) && data.cause.is_none()))
    });
    let mut received = Vec::new();
    python.ended();
    (&stream).read_to_end(&mut received).expect("the workload writes");
    let report = trace.ended();
    let connection = report.only();
    for (direction, truth) in [(Direction::Send, &received), (Direction::Recv, &reply)] {
        let stream = connection.stream(direction);
        agrees(&stream, truth);
        assert!(lost(&stream) > 0, "{direction:?}: the ring was too small for all");
        assert!(connection.losses(direction).iter().all(|&(_, cause)| cause == Cause::RingFull));
    }
    assert!(report.summary.dropped > 0);
    let last = connection.data(Direction::Send).last().expect("a send after the ring had room");
    assert_eq!((last.payload.len(), last.range.to), (100, received.len() as u64));
}

#[test]
fn call_larger_than_the_ring_is_cut_where_the_ring_ends() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
pause(); s = connect(); s.send(b'small'); assert s.send(os.urandom(300000)) == 300000; pause(); s.send(b'after'); s.close()";
    let mut python = Python::start(program, port);
    python.paused();
    let options = Options { pids: vec![python.pid()], ring_size: 64 << 10, ..Options::default() };
    let trace = Trace::held(options);
    python.go();
    let (mut stream, _) = listener.accept().expect("the workload connects");
    let mut received = vec![0; 300_005];
    stream.read_exact(&mut received).expect("the workload writes");
    python.paused();
    trace.release();
    eventually("the ring is read", || !trace.so_far().is_empty());
    python.go();
    stream.read_to_end(&mut received).expect("the workload writes");
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    let bytes = connection.stream(Direction::Send);
    agrees(&bytes, &received);
    let calls: Vec<_> = connection.data(Direction::Send).collect();
    assert_eq!(calls.len(), 3);
    assert_eq!((calls[1].range, calls[1].cause), (Range::new(5, 300_005), Some(Cause::RingFull)));
    assert!(!calls[1].payload.is_empty(), "its first chunks fit");
    assert_eq!(connection.losses(Direction::Send), [], "the call itself says what it lacks");
}

#[test]
fn end_of_a_connection_survives_a_full_ring() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
pause()
for i in range(40):
    s = connect(); s.sendall(os.urandom(5000)); s.close()
pause()";
    let mut python = Python::start(program, port);
    python.paused();
    let options = Options { pids: vec![python.pid()], ring_size: 16 << 10, ..Options::default() };
    let trace = Trace::held(options);
    python.go();
    let mut received = Vec::new();
    for _ in 0..40 {
        let (mut stream, _) = listener.accept().expect("the workload connects");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the workload writes");
        received.push(bytes);
    }
    python.paused();
    python.go();
    python.ended();
    let report = trace.ended();
    assert_eq!(report.connections.len(), 40, "every connection is known, whatever the ring refused");
    for connection in report.all() {
        assert_eq!(connection.stream(Direction::Send).len(), 5000);
    }
}

#[test]
fn killed_process_leaves_exact_totals() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python =
        Python::start("pause(); s = connect(); s.sendall(os.urandom(50000)); s.recv(7); pause()", port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (mut stream, _) = listener.accept().expect("the workload connects");
    stream.write_all(b"1234567").expect("the workload reads");
    python.paused();
    stream.write_all(b"never read").expect("the kernel takes it");
    python.kill();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send).len(), 50_000);
    assert_eq!(connection.bytes(Direction::Recv), b"1234567");
    assert_eq!((connection.reason(), connection.close().call), (CloseReason::Closed, Some(Call::Exit)));
    assert_eq!(connection.close().totals[1].pending, 10, "arrived, never read");
}

#[test]
fn reset_by_the_peer_and_the_call_that_meets_it() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
pause(); s = connect(); s.sendall(b'hello'); pause()
try: s.recv(1)
except ConnectionResetError: pass
s.close()";
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (stream, _) = listener.accept().expect("the workload connects");
    python.paused();
    // Closing with unread bytes resets the connection (RFC 2525, 2.17).
    drop(stream);
    python.go();
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    // The end comes when no call can follow any more.
    assert_eq!((connection.reason(), connection.close().call), (CloseReason::Reset, Some(Call::Close)));
    let failed = connection.data(Direction::Recv).filter_map(|data| data.error);
    assert_eq!(failed.collect::<Vec<_>>(), [nix::libc::ECONNRESET]);
    assert_eq!(connection.bytes(Direction::Send), b"hello");
}

#[test]
fn filtered_descriptors_are_counted() {
    if !require_bpf() {
        return;
    }
    let program = "
a = socket.socket(); b = socket.socket(); os.dup2(a.fileno(), 50); os.dup2(b.fileno(), 51); a.close(); b.close()
a = socket.socket(fileno=50); b = socket.socket(fileno=51); pause()
a.connect(('127.0.0.1', port)); b.connect(('127.0.0.1', port))
for i in range(10): a.send(b'kept'); b.send(b'filtered'); 
a.recv(10, socket.MSG_WAITALL); b.recv(10, socket.MSG_WAITALL)
a.close(); b.close()";
    for filter in [FdFilter { fds: vec![50], negate: false }, FdFilter { fds: vec![51], negate: true }] {
        let (listener, port) = listen();
        let mut python = Python::start(program, port);
        python.paused();
        let trace =
            Trace::with(Options { pids: vec![python.pid()], fds: Some(filter), ..Options::default() });
        python.go();
        // Kept until the workload has ended: a peer that closes with bytes unread would reset the connection.
        let peers = [(); 2].map(|()| listener.accept().expect("the workload connects").0);
        for mut peer in &peers {
            peer.write_all(b"0123456789").expect("the workload reads");
        }
        python.ended();
        let report = trace.ended();
        assert_eq!(report.connections.len(), 2);
        for connection in report.all() {
            if connection.open().filtered {
                let filtered = |to| vec![(Range::new(0, to), Cause::Filtered)];
                assert_eq!(connection.losses(Direction::Send), filtered(80));
                assert_eq!(connection.losses(Direction::Recv), filtered(10));
                assert_eq!(connection.stream(Direction::Send), vec![None; 80]);
                assert_eq!(connection.stream(Direction::Recv), vec![None; 10]);
            } else {
                assert_eq!(connection.bytes(Direction::Send), b"kept".repeat(10));
                assert_eq!(connection.bytes(Direction::Recv), b"0123456789");
            }
        }
        assert_eq!(report.all().filter(|connection| connection.open().filtered).count(), 1);
    }
}

#[test]
fn memory_that_is_gone_when_the_call_returns() {
    if !require_bpf() {
        return;
    }
    // The call blocks in the middle of its buffer; another thread takes away the pages it has passed already.
    let program = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True); libc.mmap.restype = ctypes.c_void_p; libc.send.restype = ctypes.c_ssize_t
size = 32 << 20
base = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0))
ctypes.memset(base, 65, size)
pause(); s = connect()
done = []
t = threading.Thread(target=lambda: done.append(libc.send(s.fileno(), ctypes.c_void_p(base), ctypes.c_size_t(size), 0)))
t.start(); sys.stdin.readline()
libc.munmap(ctypes.c_void_p(base), ctypes.c_size_t(4096))
print('unmapped', flush=True)
t.join(); assert done == [size]; s.close()";
    let (listener, port) = listen();
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (mut stream, _) = listener.accept().expect("the workload connects");
    let mut received = vec![0; 1];
    stream.read_exact(&mut received).expect("the workload writes");
    python.go();
    assert_eq!(python.line(), "unmapped");
    stream.read_to_end(&mut received).expect("the workload writes");
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    let call = connection.data(Direction::Send).next().expect("the call");
    assert_eq!((call.range, call.cause), (Range::new(0, 32 << 20), Some(Cause::UserMemoryFault)));
    agrees(&connection.stream(Direction::Send), &received);
}

#[test]
fn reset_in_the_middle_of_a_call() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
pause(); s = connect()
for i in range(2):
    try: s.send(os.urandom(16 << 20))
    except (ConnectionResetError, BrokenPipeError): pass
s.close()";
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (mut stream, _) = listener.accept().expect("the workload connects");
    let mut received = vec![0; 1_000_000];
    stream.read_exact(&mut received).expect("the workload writes");
    drop(stream);
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.reason(), CloseReason::Reset);
    let bytes = connection.bytes(Direction::Send);
    assert!(bytes.len() > received.len(), "the call had written more than the peer read");
    assert_eq!(bytes[..received.len()], received);
}

#[test]
fn bytes_read_after_a_reset() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
pause(); s = connect(); s.sendall(b'question'); pause()
got = b''
try:
    while True: got += s.recv(100)
except ConnectionResetError: pass
assert got == b'x' * 1000; s.close()";
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (mut stream, _) = listener.accept().expect("the workload connects");
    stream.write_all(&[b'x'; 1000]).expect("the workload reads");
    python.paused();
    drop(stream);
    python.go();
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Recv), [b'x'; 1000]);
    assert_eq!(connection.reason(), CloseReason::Reset);
}

#[test]
fn bytes_the_kernel_threw_away_were_never_in_memory() {
    if !require_bpf() {
        return;
    }
    // tcp(7): MSG_TRUNC discards; urgent bytes are skipped by a read that passes them.
    let program = "
pause(); s = connect(); s.recv(10, socket.MSG_WAITALL)
assert s.recv(5, socket.MSG_TRUNC | socket.MSG_WAITALL) == bytes(5) or True
receive(s); s.close()";
    let (report, _) = traced(program, b"0123456789tossed and kept");
    let connection = report.only();
    let tossed = connection.data(Direction::Recv).nth(1).expect("the second read");
    assert_eq!((tossed.range, tossed.cause), (Range::new(10, 15), Some(Cause::InKernelTransfer)));
    let stream = connection.stream(Direction::Recv);
    agrees(&stream, b"0123456789tossed and kept");
    assert_eq!(lost(&stream), 5);
}

#[test]
fn a_trace_that_ends_between_the_bytes_and_the_return_of_a_call_blames_nothing() {
    if !require_bpf() {
        return;
    }
    // Is in a call most of the time, so that the end of a trace meets it there sooner or later; and in long ones, or a
    // reader that does not get a processor on a busy machine would let the ring overflow.
    let (listener, port) = listen();
    let program = "
s = connect()
while True:
    s.sendall(bytes(100_000)); left = 100_000
    while left: left -= len(s.recv(left))";
    let python = Python::start(program, port);
    let (mut peer, _) = listener.accept().expect("the workload connects");
    let echo = std::thread::spawn(move || std::io::copy(&mut peer.try_clone()?, &mut peer));
    for _ in 0..8 {
        let trace = Trace::with(Options { pids: vec![python.pid()], snaplen: Some(0), ..Options::default() });
        eventually("bytes move", || trace.count() > 50);
        let report = trace.stop();
        for direction in [Direction::Send, Direction::Recv] {
            assert_eq!(report.only().losses(direction), []);
        }
        assert_eq!(report.summary.warnings, Vec::<String>::new());
    }
    python.kill();
    echo.join().expect("the peer does not panic").ok();
}

#[test]
fn descriptor_replaced_or_closed_in_bulk() {
    if !require_bpf() {
        return;
    }
    let program = "
pause()
a = connect(); a.send(b'one'); os.dup2(0, a.fileno()); a.detach()
b = connect(); b.send(b'two'); os.closerange(b.fileno(), b.fileno() + 1); b.detach()
pause()";
    let (listener, port) = listen();
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    assert_eq!([exchange(&listener, b""), exchange(&listener, b"")], [b"one", b"two"]);
    python.paused();
    eventually("both are closed", || {
        trace.so_far().iter().filter(|seen| matches!(seen.what, What::Close(_))).count() == 2
    });
    python.go();
    python.ended();
    for connection in trace.ended().all() {
        assert_eq!(connection.reason(), CloseReason::Closed);
        assert_eq!(connection.bytes(Direction::Send).len(), 3);
    }
}

/// More sockets than the kernel's table of connections holds: those beyond it are counted, the others are whole.
#[test]
fn a_full_table_is_told() {
    if !require_bpf() {
        return;
    }
    const HELD: usize = 32_768;
    const BEYOND: usize = 40;
    // One process may have too few descriptors for all, and one address has too few ports.
    const PROCESSES: usize = 4;
    let each = (HELD + BEYOND) / PROCESSES;
    // Nobody listens there.
    let port =
        UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    let mut pythons: Vec<Python> = (0..PROCESSES)
        .map(|number| {
            let program = format!(
                "
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({each} + 100, {each} + 100))
pause()
kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({each})]
for s in kept: s.bind(('127.0.0.{}', 0))
for s in kept: s.sendto(b'x', ('127.0.0.1', port))
pause()",
                number + 1
            );
            Python::start(&program, port)
        })
        .collect();
    pythons.iter_mut().for_each(Python::paused);
    let trace =
        Trace::with(Options { pids: pythons.iter().map(Python::pid).collect(), ..Options::default() });
    pythons.iter_mut().for_each(Python::go);
    pythons.iter_mut().for_each(Python::paused);
    let report = trace.stop();
    pythons.into_iter().for_each(Python::kill);
    assert_eq!(report.connections.len(), HELD);
    for connection in report.all() {
        assert_eq!(connection.bytes(Direction::Send), b"x");
    }
    let warnings = &report.summary.warnings;
    let told = warnings.iter().find_map(|line| {
        line.strip_suffix(" calls on connections for which the kernel's table had no room (table-full)")
    });
    let told: usize = told.unwrap_or_else(|| panic!("{warnings:?}")).parse().expect("a number");
    assert!(told >= BEYOND, "{warnings:?}");
}
