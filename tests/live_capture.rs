//! The probes against real peers: every byte that the workload moved is delivered, or named as a loss with its
//! exact range. What moved is known from the peer, not from sockdbg.

mod common;

use common::peer::{Python, Server, eventually, exchange, listen, listen_at, noise};
use common::trace::{Connection, Trace, What, require_bpf, traced, traced_with};
use sockdbg::event::{Call, Cause, CloseReason, Direction, Opened, Role};
use sockdbg::source::live::{Hooks, Options};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn both_directions_equal_what_the_peer_saw() {
    if !require_bpf() {
        return;
    }
    let reply = noise(300_000, 1);
    let (report, received) = traced(
        "pause(); s = connect(); s.sendall(os.urandom(123457)); s.shutdown(1); receive(s); s.close()",
        &reply,
    );
    assert_eq!(received.len(), 123_457);
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), received);
    assert_eq!(connection.bytes(Direction::Recv), reply);
    let open = connection.open();
    assert_eq!((open.opened, open.role, open.call), (Opened::Fresh, Role::Client, Some(Call::Connect)));
    assert_eq!((connection.reason(), connection.close().call), (CloseReason::Closed, Some(Call::Close)));
    // The read that returned 0.
    let end = connection.data(Direction::Recv).last().expect("a last read");
    assert_eq!((end.range.from, end.range.len(), end.error), (300_000, 0, None));
}

#[test]
fn nginx_sends_what_its_clients_got() {
    if !require_bpf() {
        return;
    }
    let body = noise(3_000_000, 2);
    let nginx = Server::nginx(&body, false);
    let trace = Trace::of(nginx.pid());
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(nginx.address).expect("nginx listens");
        let request = b"GET /body HTTP/1.1\r\nHost: x\r\n\r\nGET /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("nginx reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("nginx answers");
        assert!(answer.len() > 2 * body.len());
        streams.push((stream.local_addr().expect("connected"), request.to_vec(), answer));
    }
    eventually("both connections are closed", || {
        trace.so_far().iter().filter(|seen| matches!(seen.what, What::Close(_))).count() >= 2
    });
    let report = trace.stop();
    for (address, request, answer) in streams {
        let connection = report
            .all()
            .find(|connection| connection.open().remote == Some(address.into()))
            .expect("connection is seen");
        assert_eq!(connection.bytes(Direction::Recv), request);
        assert!(connection.bytes(Direction::Send) == answer, "nginx's bytes differ from curl's");
        assert_eq!(connection.open().role, Role::Server);
    }
}

#[test]
fn redis_speaks_on_a_connection_that_was_open_before() {
    if !require_bpf() {
        return;
    }
    let redis = Server::redis();
    let mut client = TcpStream::connect(redis.address).expect("redis listens");
    let mut ask = |command: &[u8], answer: usize| {
        client.write_all(command).expect("redis reads");
        let mut bytes = vec![0; answer];
        client.read_exact(&mut bytes).expect("redis answers");
        bytes
    };
    assert_eq!(ask(b"PING\r\n", 7), b"+PONG\r\n");
    let trace = Trace::of(redis.pid());
    let mut command = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n".to_vec();
    command.extend(noise(100_000, 3));
    command.extend(b"\r\n");
    assert_eq!(ask(&command, 5), b"+OK\r\n");
    let value = ask(b"GET k\r\n", 9 + 100_000 + 2);
    let report = trace.stop();
    let connection = report.only();
    let open = connection.open();
    assert_eq!((open.opened, open.role), (Opened::Found, Role::Server));
    assert_eq!(open.start.map(|start| start.offset), [7, 6], "moved before the probes: PING and its answer");
    assert_eq!(connection.bytes(Direction::Send), [b"+OK\r\n".as_slice(), &value].concat());
    assert_eq!(connection.bytes(Direction::Recv), [command.as_slice(), b"GET k\r\n"].concat());
    assert_eq!(connection.reason(), CloseReason::StillOpen);
}

/// Sizes around every payload class of the probes, and their multiples.
fn sizes() -> Vec<usize> {
    let mut sizes: Vec<usize> = Vec::new();
    for class in (7..=16).map(|power| 1usize << power) {
        sizes.extend([class - 1, class, class + 1, 2 * class, 3 * class, 3 * class + 1]);
    }
    sizes.push(1);
    sizes
}

#[test]
fn every_size_class_is_whole_at_its_edges() {
    if !require_bpf() {
        return;
    }
    let sizes = sizes();
    let reply = noise(sizes.iter().sum(), 4);
    let list = format!("{sizes:?}");
    let program = format!(
        "sizes = {list}\npause(); s = connect()\nfor n in sizes:\n    assert s.send(os.urandom(n)) == n\n\
         for n in sizes:\n    assert len(s.recv(n, socket.MSG_WAITALL)) == n\n"
    );
    let (report, received) = traced(&program, &reply);
    let connection = report.only();
    assert!(connection.bytes(Direction::Send) == received);
    assert!(connection.bytes(Direction::Recv) == reply);
    for direction in Direction::BOTH {
        let seen: Vec<usize> = connection.data(direction).map(|data| data.payload.len()).collect();
        assert_eq!(seen, sizes, "{direction:?}: one event for each call, of its own length");
    }
}

#[test]
fn every_call_that_moves_bytes_is_seen() {
    if !require_bpf() {
        return;
    }
    let program = "
import ctypes
pause(); s = connect(); fd = s.fileno()
os.write(fd, b'write'); os.writev(fd, [b'wri', b'', b'tev']); s.send(b'sendto'); s.sendmsg([b'send', b'msg'])
whole = socket.MSG_WAITALL
time.sleep(0) ; s.recv(6, socket.MSG_WAITALL | socket.MSG_PEEK)
assert os.read(fd, 3) == b'abc'
a, b = bytearray(1), bytearray(2)
assert os.readv(fd, [a, b]) == 3
assert s.recv(3, whole) == b'ghi'
assert s.recvmsg_into([a, b], 0, whole)[0] == 3
s.close()";
    let (report, received) = traced(program, b"abcdefghijkl");
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), received);
    assert_eq!(received, b"writewritevsendtosendmsg");
    assert_eq!(connection.bytes(Direction::Recv), b"abcdefghijkl");
    let calls = |direction| connection.data(direction).map(|data| data.call).collect::<Vec<_>>();
    assert_eq!(calls(Direction::Send), [Call::Write, Call::Writev, Call::Sendto, Call::Sendmsg]);
    assert_eq!(
        calls(Direction::Recv),
        [Call::Recvfrom, Call::Read, Call::Readv, Call::Recvfrom, Call::Recvmsg]
    );
    let peek = connection.data(Direction::Recv).next().expect("the peek");
    assert!(peek.peek);
    assert_eq!((peek.range.from, peek.payload.as_slice()), (0, b"abcdef".as_slice()));
}

#[test]
fn thousand_buffers_in_one_call() {
    if !require_bpf() {
        return;
    }
    // Every 7th buffer is empty, the others have up to 300 bytes; 1024 is the most the kernel takes (UIO_MAXIOV).
    let program = "
parts = [os.urandom(0 if i % 7 == 0 else i * 37 % 300 + 1) for i in range(1024)]
rooms = [bytearray(0 if i % 5 == 0 else i * 41 % 200 + 1) for i in range(1024)]
total = sum(map(len, parts)); room = sum(map(len, rooms))
pause(); s = connect(); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
assert os.writev(s.fileno(), parts) == total
n = 0
assert s.recvmsg_into(rooms, 0, socket.MSG_WAITALL)[0] == room
assert s.sendmsg(parts) == total
s.close()";
    let room: usize = (0..1024).map(|i| if i % 5 == 0 { 0 } else { i * 41 % 200 + 1 }).sum();
    let reply = noise(room, 5);
    let (report, received) = traced(program, &reply);
    let connection = report.only();
    assert!(connection.bytes(Direction::Send) == received);
    assert!(connection.bytes(Direction::Recv) == reply);
    assert_eq!(connection.data(Direction::Send).count(), 2, "one event for each call");
    assert_eq!(connection.data(Direction::Recv).next().expect("a read").payload.len(), room);
}

#[test]
fn one_call_of_many_megabytes() {
    if !require_bpf() {
        return;
    }
    let (report, received) =
        traced("pause(); s = connect(); assert s.send(os.urandom(8 << 20)) == 8 << 20; s.close()", b"");
    let connection = report.only();
    assert_eq!(received.len(), 8 << 20);
    assert!(connection.bytes(Direction::Send) == received);
    assert_eq!(connection.data(Direction::Send).count(), 1);
}

#[test]
fn reading_nothing_is_not_the_end_of_the_stream() {
    if !require_bpf() {
        return;
    }
    let (report, _) = traced(
        "pause(); s = connect(); s.send(b''); os.read(s.fileno(), 0); s.recv(1); os.read(s.fileno(), 0); receive(s)",
        b"xy",
    );
    let connection = report.only();
    let reads: Vec<_> =
        connection.data(Direction::Recv).map(|data| (data.range.from, data.range.to)).collect();
    assert_eq!(reads, [(0, 1), (1, 2), (2, 2)]);
    assert_eq!(connection.data(Direction::Send).count(), 0);
}

#[test]
fn ipv6_and_mapped_addresses() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen_at("::1");
    let mut python = Python::start("pause(); s = connect('::1'); s.sendall(b'six'); receive(s)", port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    assert_eq!(exchange(&listener, b"back"), b"six");
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.open().remote.map(|remote| remote.to_string()), Some(format!("[::1]:{port}")));
    assert_eq!(connection.bytes(Direction::Recv), b"back");

    let program = "
s = socket.socket(socket.AF_INET6); pause(); s.connect(('::ffff:127.0.0.1', port)); s.sendall(b'four'); receive(s)";
    let (report, received) = traced(program, b"");
    let remote = report.only().open().remote.expect("an address");
    assert_eq!(
        (remote.ip().expect("TCP").ip().to_string(), received),
        ("127.0.0.1".to_string(), b"four".to_vec())
    );
}

#[test]
fn connect_that_does_not_wait() {
    if !require_bpf() {
        return;
    }
    let reply = noise(5000, 6);
    let program = "
s = socket.socket(); s.setblocking(False); pause()
assert s.connect_ex(('127.0.0.1', port)) == errno.EINPROGRESS
select.select([], [s], [])
assert s.connect_ex(('127.0.0.1', port)) in (0, errno.EISCONN)
s.setblocking(True); s.sendall(b'hello'); receive(s); s.close()";
    let (report, received) = traced(program, &reply);
    let connection = report.only();
    assert_eq!((connection.open().opened, connection.open().error), (Opened::Fresh, None));
    assert_eq!(connection.bytes(Direction::Send), received);
    assert_eq!(connection.bytes(Direction::Recv), reply);
}

#[test]
fn connect_that_fails() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    drop(listener);
    let mut python =
        Python::start("s = socket.socket(); pause(); s.connect_ex(('127.0.0.1', port)); s.close()", port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.open().error, Some(nix::libc::ECONNREFUSED));
    assert_eq!(connection.0.len(), 1, "nothing follows a failed connect");
}

#[test]
fn found_connections_have_exact_offsets() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    // The peer has sent 70,003 bytes, of which 50,001 were read, and its FIN; the program has sent 123,457.
    let program = "
s = connect(); s.sendall(os.urandom(123457)); s.recv(50001, socket.MSG_WAITALL)
pause(); s.sendall(os.urandom(1000)); receive(s); s.shutdown(1); pause(); pause(); s.close()";
    let mut python = Python::start(program, port);
    let (mut peer, _) = listener.accept().expect("the workload connects");
    let mut before = vec![0; 123_457];
    peer.read_exact(&mut before).expect("the workload writes");
    let reply = noise(70_003, 7);
    peer.write_all(&reply).expect("the workload reads");
    peer.shutdown(std::net::Shutdown::Write).expect("open");
    python.paused();
    let first = Trace::of(python.pid());
    python.go();
    let mut after = Vec::new();
    peer.read_to_end(&mut after).expect("the workload writes");
    python.paused();
    let report = first.stop();
    let connection = report.only();
    assert_eq!(connection.open().opened, Opened::Found);
    assert_eq!(connection.open().start.map(|start| start.offset), [123_457, 50_001]);
    assert_eq!(connection.bytes(Direction::Send), after);
    assert_eq!(connection.bytes(Direction::Recv), reply[50_001..]);
    assert_eq!(connection.open().role, Role::Unknown, "both ports are ephemeral");

    // Both FINs are behind it now, and must not be counted.
    let second = Trace::of(python.pid());
    python.go();
    python.paused();
    python.go();
    python.ended();
    let report = second.ended();
    for connection in report.all() {
        assert_eq!(connection.open().start.map(|start| start.offset), [124_457, 70_003]);
        assert_eq!(connection.bytes(Direction::Send), b"");
    }
}

#[test]
fn descriptor_used_again_at_once_is_another_connection() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python = Python::start(
        "pause()\nfor i in range(60):\n    s = connect(); s.sendall(b'number %d' % i); receive(s); s.close()",
        port,
    );
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    for index in 0..60 {
        let received = exchange(&listener, format!("answer {index}").as_bytes());
        assert_eq!(received, format!("number {index}").as_bytes());
    }
    python.ended();
    let report = trace.ended();
    assert_eq!(report.connections.len(), 60);
    let mut sent: Vec<_> = report.all().map(|connection| connection.bytes(Direction::Send)).collect();
    let mut expected: Vec<_> = (0..60).map(|index| format!("number {index}").into_bytes()).collect();
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected);
    assert!(report.all().all(|connection| connection.reason() == CloseReason::Closed));
}

#[test]
fn many_connections_at_once() {
    if !require_bpf() {
        return;
    }
    const COUNT: usize = 200;
    let (listener, port) = listen();
    // A server: each connection is answered by a thread of its own with what it sent, backwards.
    let program = "
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(200); print(l.getsockname()[1], flush=True); pause()
def serve(s):
    total = receive(s); s.sendall(total[::-1]); s.close()
threads = [threading.Thread(target=serve, args=(l.accept()[0],)) for i in range(200)]
for t in threads: t.start()
for t in threads: t.join()
l.close()";
    drop(listener);
    let mut python = Python::start(program, port);
    let port: u16 = python.line().parse().expect("a port");
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let streams: Vec<_> =
        (0..COUNT).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("the workload listens")).collect();
    let mut expected = std::collections::BTreeMap::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = streams
            .iter()
            .enumerate()
            .map(|(index, stream)| {
                let question = noise(1000 + index * 97, index as u64);
                scope.spawn(move || {
                    let answer = common::peer::converse(stream, &question);
                    (stream.local_addr().expect("connected"), question, answer)
                })
            })
            .collect();
        for client in clients {
            let (address, question, answer) = client.join().expect("the client ends well");
            expected.insert(address, (question, answer));
        }
    });
    python.ended();
    let report = trace.ended();
    assert_eq!(report.connections.len(), COUNT);
    for connection in report.all() {
        let remote = connection.open().remote.expect("an address");
        let (question, answer) = expected.remove(&remote.ip().expect("TCP")).expect("one of the clients");
        assert!(connection.bytes(Direction::Recv) == question, "{remote}");
        assert!(connection.bytes(Direction::Send) == answer, "{remote}");
        assert_eq!((connection.open().role, connection.reason()), (Role::Server, CloseReason::Closed));
    }
}

#[test]
fn descriptors_of_one_socket_are_one_connection() {
    if !require_bpf() {
        return;
    }
    let program = "pause(); s = connect(); d = s.dup(); s.send(b'one'); s.close(); d.send(b'two'); d.close()";
    let last = (CloseReason::Closed, 6);
    assert_eq!(closes(Hooks::Cheapest, program).pop(), Some(last));
    // Only where calls are hooked is the close of one descriptor among several told.
    assert_eq!(closes(Hooks::Calls, program), [(CloseReason::Descriptor, 3), last]);
}

/// What is told of the closes of the one connection of `program`, and of the bytes it had sent by then.
fn closes(hooks: Hooks, program: &str) -> Vec<(CloseReason, u64)> {
    let (report, received) = traced_with(Options { hooks, ..Options::default() }, program, b"");
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), received);
    let told = connection.0.iter().filter_map(|seen| match &seen.what {
        What::Close(close) => Some((close.reason, close.totals[0].moved)),
        _ => None,
    });
    told.collect()
}

#[test]
fn failed_calls_tell_their_errno() {
    if !require_bpf() {
        return;
    }
    let program = "
import signal; signal.signal(signal.SIGPIPE, signal.SIG_IGN)
pause(); s = connect(); s.send(b'x'); s.shutdown(1)
try: s.send(b'y')
except BrokenPipeError: pass
s.setblocking(False)
try: s.recv(1)
except BlockingIOError: pass
s.close()";
    let (listener, port) = listen();
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (peer, _) = listener.accept().expect("the workload connects");
    python.ended();
    drop(peer);
    let report = trace.ended();
    let errors = |direction| report.only().data(direction).map(|data| data.error).collect::<Vec<_>>();
    assert_eq!(errors(Direction::Send), [None, Some(nix::libc::EPIPE)]);
    assert_eq!(errors(Direction::Recv), [], "EAGAIN is no event");
}

#[test]
fn command_is_traced_from_its_first_instruction() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = format!(
        "import socket; s = socket.create_connection(('127.0.0.1', {port})); s.sendall(b'first'); s.recv(9)"
    );
    let argv = ["python3", "-c", &program].map(std::ffi::OsString::from);
    let child = sockdbg::process::command::Suspended::spawn(&argv).expect("a child");
    let trace = Trace::of(child.pid());
    let running = child.resume().expect("python3 is installed");
    assert_eq!(exchange(&listener, b"last"), b"first");
    assert!(running.wait().expect("a child").success());
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), b"first");
    assert_eq!(connection.reason(), CloseReason::Closed);
}

#[test]
fn attached_and_detached_in_the_middle_of_traffic() {
    if !require_bpf() {
        return;
    }
    const COUNT: usize = 6;
    // Each thread sends and receives as fast as it can; the peer keeps everything. Sizes make many sends block.
    let program = "
socks = [connect() for i in range(6)]
def talk(s, seed):
    def send():
        block = os.urandom(200000); n = 0
        while n < 60: s.sendall(block[:1 + (seed * 7919 + n * 104729) % 200000]); n += 1
        s.shutdown(1)
    t = threading.Thread(target=send); t.start(); receive(s); t.join(); s.close()
threads = [threading.Thread(target=talk, args=(s, i)) for i, s in enumerate(socks)]
pause()
for t in threads: t.start()
for t in threads: t.join()";
    let (listener, port) = listen();
    let mut python = Python::start(program, port);
    let streams: Vec<_> = (0..COUNT).map(|_| listener.accept().expect("the workload connects").0).collect();
    python.paused();
    python.go();
    std::thread::scope(|scope| {
        let peers: Vec<_> = streams
            .iter()
            .enumerate()
            .map(|(index, stream)| {
                scope.spawn(move || {
                    let sent = noise(4_000_000 + index, index as u64);
                    (stream.peer_addr().expect("connected"), common::peer::converse(stream, &sent), sent)
                })
            })
            .collect();
        let mut reports = Vec::new();
        while !peers.iter().all(|peer| peer.is_finished()) && reports.len() < 8 {
            let trace = Trace::of(python.pid());
            eventually("some traffic, or its end", || {
                trace.so_far().len() > 100 || peers.iter().all(|peer| peer.is_finished())
            });
            reports.push(trace.stop());
        }
        for peer in peers {
            let (address, received, sent) = peer.join().expect("the peer ends well");
            for connection in reports.iter().flat_map(|report| report.all()) {
                if connection.open().local == Some(address.into()) {
                    is_a_stretch_of(connection, Direction::Send, &received);
                    is_a_stretch_of(connection, Direction::Recv, &sent);
                }
            }
        }
        assert!(!reports.is_empty());
    });
    python.ended();
}

/// What was captured, from the first offset to the last, is what the peer has at the same offsets.
fn is_a_stretch_of(connection: Connection<'_>, direction: Direction, truth: &[u8]) {
    let stream = connection.stream(direction);
    let start = connection.open().start[direction.index()].offset as usize;
    let truth = &truth[start..start + stream.len()];
    let agrees = stream.iter().zip(truth).all(|(seen, &byte)| seen.is_none_or(|seen| seen == byte));
    assert!(agrees, "{direction:?} from {start}");
    // Only what a call moved after the trace, or was still moving when the trace ended, may lack its event.
    for (range, cause) in connection.losses(direction) {
        assert_eq!(cause, Cause::UntracedSyscall);
        assert_eq!(range.to, (start + stream.len()) as u64, "a loss in the middle");
    }
}

#[test]
fn found_after_its_own_fin_and_closed_later() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python = Python::start(
        "s = connect(); s.sendall(b'12345'); s.shutdown(1); pause(); receive(s); pause(); s.close()",
        port,
    );
    let (mut peer, _) = listener.accept().expect("the workload connects");
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("the workload writes and shuts down");
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    peer.write_all(b"late").expect("the workload reads");
    drop(peer);
    python.paused();
    python.go();
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.open().start.map(|start| start.offset), [5, 0]);
    assert_eq!(connection.bytes(Direction::Send), b"");
    assert_eq!(connection.bytes(Direction::Recv), b"late");
    assert_eq!(connection.close().totals.map(|total| total.end), [Some(5), Some(4)]);
}
