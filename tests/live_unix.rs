//! Unix sockets under the probes: streams byte by byte, messages one by one, the names of both ends, and the protocols
//! spoken there. The test is the other end, so it knows what moved.

mod common;

use common::events::text;
use common::observed::{Observed, records_of};
use common::peer::{Python, Server, eventually, noise};
use common::report::Report as Verdict;
use common::trace::{Connection, Report, Trace, What, hooks, require_bpf, tells_of_connects};
use common::watcher::Watcher;
use sockdbg::event::{
    Address, Call, Cause, CloseReason, Direction, Opened, Range, Role, Transport, UnixName,
};
use sockdbg::source::live::Hooks;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `program`, traced from its first `pause()` on to its end, against `play`. `path` is a variable of the program.
fn traced(program: &str, path: &Path, play: impl FnOnce()) -> Report {
    let mut python = Python::start(&format!("path = {path:?}\n{program}"), 0);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    play();
    python.ended();
    trace.ended()
}

fn named(path: &Path) -> Option<Address> {
    Some(Address::Unix(UnixName::new(path.as_os_str().as_bytes())))
}

const UNNAMED: Option<Address> = Some(Address::Unix(UnixName::UNNAMED));

fn payloads(connection: Connection<'_>, direction: Direction) -> Vec<&[u8]> {
    connection.data(direction).map(|data| data.payload.as_slice()).collect()
}

#[test]
fn streams_equal_what_the_peer_saw_at_both_ends() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("room for files");
    let (path, own) = (folder.path().join("test"), folder.path().join("own"));
    let listener = UnixListener::bind(&path).expect("a free name");
    let (reply, question) = (noise(300_000, 1), noise(100_000, 2));
    let mut received = [Vec::new(), Vec::new()];
    let program = format!(
        "
l = socket.socket(socket.AF_UNIX); l.bind({own:?}); l.listen()
pause()
s = socket.socket(socket.AF_UNIX); s.connect(path); s.sendall(os.urandom(123457)); s.shutdown(1)
assert len(receive(s)) == 300000; s.close()
s, _ = l.accept(); assert len(receive(s)) == 100000; s.sendall(b'bye'); s.close()"
    );
    let report = traced(&program, &path, || {
        let (mut stream, _) = listener.accept().expect("the workload connects");
        stream.read_to_end(&mut received[0]).expect("it writes and shuts down");
        stream.write_all(&reply).expect("it reads");
        drop(stream);
        let mut stream = UnixStream::connect(&own).expect("the workload listens");
        stream.write_all(&question).expect("it reads");
        stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
        stream.read_to_end(&mut received[1]).expect("it writes and closes");
    });
    assert_eq!(report.connections.len(), 2, "a listener is no connection");
    let of = |role| report.all().find(|connection| connection.open().role == role).expect("both roles");
    let (client, server) = (of(Role::Client), of(Role::Server));
    for connection in [client, server] {
        let open = connection.open();
        assert_eq!((open.transport, open.opened), (Transport::UnixStream, Opened::Fresh));
        assert_eq!(connection.reason(), CloseReason::Closed);
        let end = connection.data(Direction::Recv).last().expect("a last read");
        assert_eq!((end.range.len(), end.error), (0, None), "the end of the stream");
    }
    assert_eq!((client.open().local, client.open().remote), (UNNAMED, named(&path)));
    assert_eq!((server.open().local, server.open().remote), (named(&own), UNNAMED));
    assert!(client.bytes(Direction::Send) == received[0] && received[0].len() == 123_457);
    assert!(client.bytes(Direction::Recv) == reply);
    assert!(server.bytes(Direction::Recv) == question);
    assert_eq!((server.bytes(Direction::Send), received[1].as_slice()), (b"bye".to_vec(), b"bye".as_slice()));
}

#[test]
fn a_stream_that_was_open_before_counts_from_where_it_is_found() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("room for files");
    let path = folder.path().join("test");
    let listener = UnixListener::bind(&path).expect("a free name");
    let program = "
s = socket.socket(socket.AF_UNIX); s.connect(path); s.send(b'before'); pause(); s.send(b'after'); s.recv(100)";
    let report = traced(program, &path, || {
        let (mut stream, _) = listener.accept().expect("the workload connects");
        let mut room = [0; 11];
        stream.read_exact(&mut room).expect("it writes");
        assert_eq!(&room, b"beforeafter");
        stream.write_all(b"answer").expect("it reads");
    });
    let connection = report.only();
    let open = connection.open();
    assert_eq!((open.opened, open.exact, open.role), (Opened::Found, false, Role::Client));
    assert_eq!(open.remote, named(&path));
    assert_eq!(connection.bytes(Direction::Send), b"after");
    assert_eq!(connection.bytes(Direction::Recv), b"answer");
}

#[test]
fn messages_keep_their_boundaries_in_seqpacket_pairs() {
    if !require_bpf() {
        return;
    }
    let program = "
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
pause()
for n in (3, 0, 70000, 1, 4096):
    assert a.send(b'x' * n) == n and len(b.recv(100000)) == n
a.send(b'0123456789'); assert b.recvmsg_into([bytearray(4)], 0, socket.MSG_TRUNC)[0] == 10";
    let report = traced(program, Path::new("none"), || {});
    assert_eq!(report.connections.len(), 2);
    let lengths = |connection: Connection<'_>, direction| -> Vec<u64> {
        connection.data(direction).map(|data| data.range.len()).collect()
    };
    let mut seen = [Vec::new(), Vec::new()];
    for connection in report.all() {
        let open = connection.open();
        assert_eq!((open.transport, open.local, open.remote), (Transport::UnixSeqpacket, UNNAMED, UNNAMED));
        for direction in Direction::BOTH {
            seen[direction.index()].extend(lengths(connection, direction));
            connection.stream(direction);
        }
        if let Some(last) = connection.data(Direction::Recv).last() {
            assert_eq!(
                (last.payload.as_slice(), last.cause),
                (b"0123".as_slice(), Some(Cause::DatagramTruncated))
            );
        }
    }
    assert_eq!(seen, [[3, 0, 70_000, 1, 4096, 10]; 2]);
}

#[test]
fn datagrams_tell_paths_and_abstract_names_of_their_peers() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("room for files");
    let (path, own) = (folder.path().join("test"), folder.path().join("own"));
    let by_path = UnixDatagram::bind(&path).expect("a free name");
    let name = format!("sockdbg-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let by_name = UnixDatagram::bind_addr(&address).expect("a free name");
    let program = format!(
        "
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind({own:?})
pause()
for to in path, '\\0{name}':
    s.sendto(b'to ' + to.encode(), to); data, address = s.recvfrom(100); s.sendto(data, address)
data, _, _, address = s.recvmsg(100); s.sendto(b'', address)
s.connect(path); s.send(b'connected')"
    );
    let report = traced(&program, &path, || {
        let mut room = [0; 300];
        for socket in [&by_path, &by_name] {
            socket.recv(&mut room).expect("a datagram comes");
            socket.send_to(b"answer", &own).expect("the workload is there");
            assert_eq!(socket.recv(&mut room).expect("a datagram comes"), 6);
        }
        by_path.send_to(b"third", &own).expect("the workload is there");
        assert_eq!(by_path.recv(&mut room).expect("a datagram comes"), 0);
        assert_eq!(by_path.recv(&mut room).expect("a datagram comes"), 9);
    });
    let connection = report.only();
    let open = connection.open();
    assert_eq!((open.transport, open.local, open.remote), (Transport::UnixDgram, named(&own), None));
    let (path, name) = (named(&path), Some(Address::Unix(UnixName::new(format!("\0{name}").as_bytes()))));
    let peers =
        |direction| -> Vec<Option<Address>> { connection.data(direction).map(|data| data.peer).collect() };
    assert_eq!(peers(Direction::Recv), [path, name, path]);
    assert_eq!(peers(Direction::Send)[..5], [path, path, name, name, path]);
    assert_eq!(payloads(connection, Direction::Recv), [b"answer".as_slice(), b"answer", b"third"]);
    assert_eq!(payloads(connection, Direction::Send)[4..], [b"".as_slice(), b"connected"]);
    connection.bytes(Direction::Send);
}

#[test]
fn a_passed_descriptor_stays_the_same_connection() {
    if !require_bpf() {
        return;
    }
    let program = "
a, b = socket.socketpair(); c, d = socket.socketpair()
pause()
c.send(b'one'); socket.send_fds(a, [b'fd'], [c.fileno()])
_, fds, _, _ = socket.recv_fds(b, 10, 1); e = socket.socket(fileno=fds[0]); c.close(); e.send(b'two')
assert d.recv(3) + d.recv(3) == b'onetwo'";
    let report = traced(program, Path::new("none"), || {});
    assert_eq!(report.connections.len(), 4);
    let sent: Vec<Vec<u8>> = report.all().map(|connection| connection.bytes(Direction::Send)).collect();
    assert!(sent.contains(&b"onetwo".to_vec()) && sent.contains(&b"fd".to_vec()), "{sent:?}");
}

#[test]
fn bytes_that_sendfile_moves_are_an_exact_range() {
    if !require_bpf() {
        return;
    }
    let program = "
import tempfile
a, b = socket.socketpair()
pause()
with tempfile.TemporaryFile() as f:
    f.write(b'by sendfile'); f.flush(); assert os.sendfile(a.fileno(), f.fileno(), 0, 11) == 11
a.send(b'after'); assert b.recv(16, socket.MSG_WAITALL) == b'by sendfileafter'";
    let report = traced(program, Path::new("none"), || {});
    let sender = report.all().find(|connection| connection.data(Direction::Send).count() > 0).expect("sent");
    assert_eq!(sender.losses(Direction::Send), [(Range::new(0, 11), Cause::InKernelTransfer)]);
    sender.stream(Direction::Send);
}

#[test]
fn connects_and_accepts_are_openings_with_their_roles() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("room for files");
    let (path, own, client) =
        (folder.path().join("test"), folder.path().join("own"), folder.path().join("client"));
    let listener = UnixListener::bind(&path).expect("a free name");
    // The names of the ends tell nothing: both have one.
    let program = format!(
        "
l = socket.socket(socket.AF_UNIX); l.bind({own:?}); l.listen()
pause()
s = socket.socket(socket.AF_UNIX); s.bind({client:?}); s.connect(path); s.send(b'asks')
t, _ = l.accept(); t.send(b'answers')
pause()"
    );
    let mut python = Python::start(&format!("path = {path:?}\n{program}"), 0);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (accepted, _) = listener.accept().expect("the workload connects");
    let other = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket");
    let to = |path: &Path| nix::sys::socket::UnixAddr::new(path).expect("a short path");
    let own_end = folder.path().join("other");
    nix::sys::socket::bind(other.as_raw_fd(), &to(&own_end)).expect("a free name");
    nix::sys::socket::connect(other.as_raw_fd(), &to(&own)).expect("the workload listens");
    python.paused();
    python.go();
    python.ended();
    drop((accepted, other));
    let report = trace.ended();
    assert_eq!(report.connections.len(), 2);
    let of = |bytes: &[u8]| {
        report
            .all()
            .find(|connection| connection.bytes(Direction::Send) == bytes)
            .expect("both were used")
            .open()
    };
    let (asks, answers) = (of(b"asks"), of(b"answers"));
    assert_eq!((asks.local, asks.remote), (named(&client), named(&path)));
    assert_eq!((answers.local, answers.remote), (named(&own), named(&own_end)));
    if tells_of_connects() {
        assert_eq!((asks.role, asks.call), (Role::Client, Some(Call::Connect)));
    } else {
        // Known: without a hook on either, the first use makes it known.
        assert_eq!((asks.role, asks.call), (Role::Unknown, Some(Call::Sendto)));
    }
    if hooks() == Hooks::Calls {
        assert_eq!((answers.role, answers.call), (Role::Server, Some(Call::Accept4)));
    } else {
        // Known: sockets do not tell of an accept.
        assert_eq!((answers.role, answers.call), (Role::Unknown, Some(Call::Sendto)));
    }
}

#[test]
fn connects_that_fail_tell_why_and_whom_they_were_to_reach() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("room for files");
    let path = folder.path().join("test");
    // The name stays, and nobody listens.
    drop(UnixListener::bind(&path).expect("a free name"));
    let none = folder.path().join("none");
    let name = format!("\0sockdbg-nobody-{}", std::process::id());
    let program = format!(
        "
pause()
for to in path, {none:?}, '\\0{}':
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET:
        s = socket.socket(socket.AF_UNIX, kind); s.setblocking(kind == socket.SOCK_STREAM)
        assert s.connect_ex(to) == (errno.ENOENT if to == {none:?} else errno.ECONNREFUSED)",
        &name[1..]
    );
    let report = traced(&program, &path, || {});
    if !tells_of_connects() {
        // Known: nothing tells of them.
        assert!(report.connections.is_empty());
        return;
    }
    let mut failed: Vec<_> = report
        .connections
        .values()
        .map(|seen| {
            let [only] = &seen[..] else { panic!("{seen:?}") };
            let What::Open(open) = &only.what else { panic!("{only:?}") };
            assert_eq!((open.role, open.call, open.local), (Role::Client, Some(Call::Connect), UNNAMED));
            assert!(only.fd.is_some_and(|fd| fd > 2));
            (open.remote, open.transport.name(), open.error)
        })
        .collect();
    let to_name = Some(Address::Unix(UnixName::new(name.as_bytes())));
    let mut expected = Vec::new();
    for (to, errno) in [
        (named(&path), nix::libc::ECONNREFUSED),
        (named(&none), nix::libc::ENOENT),
        (to_name, nix::libc::ECONNREFUSED),
    ] {
        let kinds = [Transport::UnixStream, Transport::UnixDgram, Transport::UnixSeqpacket];
        expected.extend(kinds.map(|kind| (to, kind.name(), Some(errno))));
    }
    let order = |one: &(Option<Address>, &str, Option<i32>)| format!("{one:?}");
    failed.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(failed, expected);
}

#[test]
fn sockets_of_others_in_the_memory_of_closed_ones_are_no_connections() {
    if !require_bpf() {
        return;
    }
    const PAIRS: usize = 200;
    let program = "
pairs = [socket.socketpair() for _ in range(200)]
pause()
for a, b in pairs: a.send(b'ours'); b.recv(4); a.close(); b.close()
pause()";
    let mut python = Python::start(program, 0);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    python.paused();
    // The kernel hands out again what was freed last. No listing has told yet that those sockets are no more.
    let mut others: Vec<_> = (0..PAIRS).map(|_| UnixStream::pair().expect("descriptors")).collect();
    for (one, other) in &mut others {
        one.write_all(b"not ours").expect("room");
        other.read_exact(&mut [0; 8]).expect("it was sent");
    }
    python.go();
    python.ended();
    let report = trace.ended();
    assert_eq!(report.connections.len(), 2 * PAIRS);
    for connection in report.all() {
        let bytes = Direction::BOTH.map(|direction| connection.bytes(direction)).concat();
        assert_eq!(bytes, b"ours");
    }
}

#[test]
fn closed_sockets_end_though_the_process_goes_on() {
    if !require_bpf() {
        return;
    }
    let program = "
pause()
for n in range(20):
    a, b = socket.socketpair(); a.send(b'%d' % n); a.close(); b.recv(10); assert b.recv(10) == b''; b.close()
pause()";
    let mut python = Python::start(program, 0);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    python.paused();
    eventually("every socket has ended", || {
        trace.so_far().iter().filter(|seen| matches!(seen.what, What::Close(_))).count() == 40
    });
    python.go();
    python.ended();
    let report = trace.ended();
    let mut sent: Vec<Vec<u8>> = report.all().map(|connection| connection.bytes(Direction::Send)).collect();
    sent.retain(|bytes| !bytes.is_empty());
    sent.sort();
    let mut expected: Vec<Vec<u8>> = (0..20).map(|n: u32| n.to_string().into_bytes()).collect();
    expected.sort();
    assert_eq!(sent, expected);
    assert!(report.all().all(|connection| connection.reason() == CloseReason::Closed));
}

#[test]
fn redis_over_a_unix_socket_says_what_its_client_shows() {
    if !require_bpf() {
        return;
    }
    let redis = Server::redis();
    let (pid, socket) = (redis.pid(), redis.unix_socket());
    let commands = ["SET k value", "GET k", "INCR n", "ECHO hello", "STRLEN k", "APPEND k more", "GET k"];
    let (seen, shown) = Observed::run(pid, redis.address.port(), || {
        let mut client = Command::new("redis-cli");
        client.arg("-s").arg(&socket).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = client.spawn().expect("redis-cli is installed");
        client.stdin.take().expect("piped").write_all(commands.join("\n").as_bytes()).expect("it reads");
        let shown = text(&client.wait_with_output().expect("it ends").stdout);
        redis.end();
        shown
    });
    let check = |records: &[serde_json::Value]| {
        let ours: Vec<_> = records.iter().filter(|one| one["transport"] == "unix-stream").collect();
        assert!(ours.iter().all(|one| {
            one["local"] == socket.to_str().expect("UTF-8")
                && one["role"] == "server"
                && one["status"] == "complete"
        }));
        // What redis-cli asks for itself, to know the commands.
        let ours: Vec<_> = ours.into_iter().filter(|one| one["request"]["command"] != "COMMAND").collect();
        let asked: Vec<_> =
            ours.iter().map(|one| one["request"]["command"].as_str().expect("a command")).collect();
        let words: Vec<_> = commands.iter().map(|line| line.split(' ').next().expect("a word")).collect();
        assert_eq!(asked, words);
        let answers: Vec<String> = ours
            .iter()
            .map(|one| match &one["response"]["value"] {
                serde_json::Value::String(value) => value.clone(),
                value => value.to_string(),
            })
            .collect();
        assert_eq!(answers, shown.lines().collect::<Vec<_>>());
    };
    check(&seen.live);
    check(&records_of(&seen.recording));
    // It is no difference that a capture has nothing of it.
    let files = [&seen.recording, &seen.capture].map(|path| path.to_str().expect("UTF-8"));
    let report =
        Verdict::of(&Watcher::sockdbg(&["pcap-compare", "--format", "json", files[0], files[1]]).end());
    let ours = report.connections.iter().find(|one| one["transport"] == "unix-stream").expect("reported");
    let findings = ours["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 2, "{ours}");
    assert!(findings.iter().all(|one| one["cause"] == "wire-no-vantage" && one["note"] == true), "{ours}");
    assert_ne!(report.summary["verdict"], "incomplete");
}
