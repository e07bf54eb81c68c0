//! UDP sockets under the probes: every datagram is one event with its bytes and its peer, empty ones included. The
//! test is the other end, so it knows both.

mod common;

use common::peer::{Python, eventually, noise};
use common::trace::{Connection, Data, Report, Trace, What, require_bpf, tells_of_connects};
use sockdbg::event::{Address, Call, Cause, CloseReason, Direction, Opened, Range, Role, Transport};
use sockdbg::source::live::Options;
use std::net::UdpSocket;

/// A socket of the test's own, and its port.
fn peer(host: &str) -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((host, 0)).expect("a free port");
    socket.set_read_timeout(Some(common::peer::patience())).expect("a time");
    let port = socket.local_addr().expect("a bound socket has an address").port();
    (socket, port)
}

/// Runs `program`, traced from its first `pause()` on to its end, against `play`.
fn traced(options: Options, program: &str, port: u16, play: impl FnOnce()) -> Report {
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::with(Options { pids: vec![python.pid()], ..options });
    python.go();
    play();
    python.ended();
    trace.ended()
}

fn payloads(connection: Connection<'_>, direction: Direction) -> Vec<&[u8]> {
    connection.data(direction).map(|data| data.payload.as_slice()).collect()
}

fn received(socket: &UdpSocket) -> (Vec<u8>, Address) {
    let mut room = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut room).expect("a datagram comes");
    room.truncate(length);
    (room, from.into())
}

/// Lengths around every payload class of the probes, and the longest datagram.
fn lengths() -> Vec<usize> {
    let mut lengths: Vec<usize> =
        (7..=15).map(|power| 1usize << power).flat_map(|class| [class - 1, class, class + 1]).collect();
    lengths.extend([0, 1, 3 * 4096 + 1, 65_506, 65_507]);
    lengths
}

#[test]
fn connects_are_openings_and_failed_ones_tell_why() {
    if !require_bpf() {
        return;
    }
    let (socket, port) = peer("127.0.0.1");
    // To everybody: UDP wants that to be allowed first, TCP never does it.
    let program = "
pause()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('127.0.0.1', port)); u.send(b'datagram')
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    s = socket.socket(socket.AF_INET, kind); error = s.connect_ex(('255.255.255.255', port)); assert error
    print(error, flush=True)
pause()";
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let (_, from) = received(&socket);
    let errors = [(); 2].map(|()| python.line().parse::<i32>().expect("an errno"));
    python.paused();
    python.go();
    python.ended();
    let report = trace.ended();
    let opens: Vec<_> = report.all().map(|connection| connection.open()).collect();
    let (failed, made): (Vec<_>, Vec<_>) = opens.into_iter().partition(|open| open.error.is_some());
    let [made] = made[..] else { panic!("{made:?}") };
    let own_address = socket.local_addr().expect("bound").into();
    assert_eq!((made.local, made.remote, made.role), (Some(from), Some(own_address), Role::Client));
    if !tells_of_connects() {
        // Known: without a hook on them, the first use makes the one known, and nothing the others.
        assert_eq!((made.call, failed.len()), (Some(Call::Sendto), 0));
        return;
    }
    assert_eq!(made.call, Some(Call::Connect));
    let everybody = Some(Address::Ip(([255, 255, 255, 255], port).into()));
    for (transport, error) in [Transport::Udp, Transport::Tcp].into_iter().zip(errors) {
        let of = failed.iter().find(|open| open.transport == transport).expect("told of");
        assert_eq!((of.error, of.remote, of.role), (Some(error), everybody, Role::Client));
    }
    assert_eq!(failed.len(), 2);
}

#[test]
fn datagrams_keep_their_boundaries_in_both_directions() {
    if !require_bpf() {
        return;
    }
    let (socket, port) = peer("127.0.0.1");
    let program = "
pause(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', port))
s.send(b'')
while True:
    data = s.recv(65536)
    if data == b'over': break
    s.send(data)
s.close()";
    let sent: Vec<Vec<u8>> = lengths().into_iter().map(|length| noise(length, length as u64)).collect();
    let mut local = None;
    let report = traced(Options::default(), program, port, || {
        let (first, from) = received(&socket);
        assert_eq!(first, b"");
        local = Some(from);
        let from = from.ip().expect("IP");
        for datagram in &sent {
            socket.send_to(datagram, from).expect("the workload is there");
            assert!(received(&socket).0 == *datagram);
        }
        socket.send_to(b"over", from).expect("the workload is there");
    });
    let connection = report.only();
    let open = connection.open();
    let call = if tells_of_connects() { Call::Connect } else { Call::Sendto };
    assert_eq!(
        (open.transport, open.opened, open.role, open.call),
        (Transport::Udp, Opened::Fresh, Role::Client, Some(call))
    );
    assert_eq!(open.remote, Some(socket.local_addr().expect("bound").into()));
    assert_eq!(open.local, local);
    let mut expected: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    expected.insert(0, b"");
    assert!(payloads(connection, Direction::Send) == expected);
    expected.remove(0);
    expected.push(b"over");
    assert!(payloads(connection, Direction::Recv) == expected);
    assert_eq!(connection.bytes(Direction::Recv), expected.concat());
    assert_eq!(connection.bytes(Direction::Send), sent.concat());
    let all = || Direction::BOTH.into_iter().flat_map(|direction| connection.data(direction));
    assert!(all().all(|data| data.peer.is_none() && data.tcp_seq.is_none()), "the peer is the connection's");
    assert_eq!(connection.reason(), CloseReason::Closed);
}

/// An unconnected server that answers each of several clients.
fn check_unconnected(family: &str, host: &str, bound: &str) {
    let program = format!(
        "
s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.bind(('{bound}', 0))
print(s.getsockname()[1], flush=True); pause()
for n in range(3):
    data, address = s.recvfrom(100); s.sendto(data.upper(), address)
for n in range(3):
    data, _, _, address = s.recvmsg(100); s.sendmsg([data[:1], data[1:].upper()], [], 0, address)
s.close()"
    );
    let mut python = Python::start(&program, 0);
    let port: u16 = python.line().parse().expect("a port");
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let clients: Vec<UdpSocket> = (0..3).map(|_| peer(host).0).collect();
    let mut expected = Vec::new();
    for round in 0..2 {
        for (number, client) in clients.iter().enumerate() {
            let question = format!("question {round}{number}");
            client.send_to(question.as_bytes(), (host, port)).expect("the server is there");
            let answer = received(client).0;
            expected.push((Address::from(client.local_addr().expect("bound")), question, answer));
        }
    }
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    let open = connection.open();
    assert_eq!((open.opened, open.call, open.remote), (Opened::Found, Some(Call::Listing), None));
    assert!(!open.exact, "nothing tells what came before");
    assert_eq!(open.local.and_then(Address::ip).map(|local| local.port()), Some(port));
    let seen = |direction| -> Vec<(Option<Address>, &[u8])> {
        connection.data(direction).map(|data: &Data| (data.peer, data.payload.as_slice())).collect()
    };
    let questions: Vec<(Option<Address>, &[u8])> =
        expected.iter().map(|(client, question, _)| (Some(*client), question.as_bytes())).collect();
    let answers: Vec<(Option<Address>, &[u8])> =
        expected.iter().map(|(client, _, answer)| (Some(*client), answer.as_slice())).collect();
    assert_eq!(seen(Direction::Recv), questions);
    assert_eq!(seen(Direction::Send), answers);
    let calls: Vec<Call> = connection.data(Direction::Recv).map(|data| data.call).collect();
    assert_eq!(calls, [[Call::Recvfrom; 3], [Call::Recvmsg; 3]].concat());
    connection.bytes(Direction::Recv);
    connection.bytes(Direction::Send);
}

#[test]
fn unconnected_sockets_tell_the_peer_of_each_datagram() {
    if require_bpf() {
        check_unconnected("AF_INET", "127.0.0.1", "127.0.0.1");
    }
}

#[test]
fn so_they_do_over_ipv6() {
    if require_bpf() {
        check_unconnected("AF_INET6", "::1", "::");
    }
}

#[test]
fn an_ipv6_socket_shows_ipv4_peers_as_what_they_are() {
    if require_bpf() {
        check_unconnected("AF_INET6", "127.0.0.1", "::");
    }
}

#[test]
fn a_socket_that_is_connected_elsewhere_tells_of_its_new_peer() {
    if !require_bpf() {
        return;
    }
    let (first, port) = peer("127.0.0.1");
    let (second, other) = peer("127.0.0.1");
    let program = format!(
        "
pause(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for p in port, {other}, port:
    s.connect(('127.0.0.1', p)); s.send(b'%d' % p); assert s.recv(10) == b'answer'
s.close()"
    );
    let report = traced(Options::default(), &program, port, || {
        for socket in [&first, &second, &first] {
            let from = received(socket).1.ip().expect("IP");
            socket.send_to(b"answer", from).expect("the workload is there");
        }
    });
    let connection = report.only();
    assert_eq!(connection.open().remote, Some(first.local_addr().expect("bound").into()));
    let moved = [None, Some(second.local_addr().expect("bound").into()), None];
    for direction in Direction::BOTH {
        let peers: Vec<Option<Address>> = connection.data(direction).map(|data| data.peer).collect();
        assert_eq!(peers, moved, "{direction:?}");
    }
}

#[test]
fn what_a_short_buffer_cuts_off_has_its_cause() {
    if !require_bpf() {
        return;
    }
    let (socket, port) = peer("127.0.0.1");
    let program = "
pause(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', port)); s.send(b'go')
assert s.recvfrom_into(bytearray(10), 10, socket.MSG_TRUNC)[0] == 30
assert s.recvmsg_into([bytearray(4), bytearray(3)], 0, socket.MSG_TRUNC)[0] == 9000
assert s.recvfrom_into(bytearray(5000), 5000, socket.MSG_TRUNC)[0] == 9000
assert s.recvfrom_into(bytearray(50), 50, socket.MSG_TRUNC)[0] == 30
s.close()";
    let sent = [30, 9000, 9000, 30].map(|length| noise(length, 7));
    let report = traced(Options::default(), program, port, || {
        let from = received(&socket).1.ip().expect("IP");
        for datagram in &sent {
            socket.send_to(datagram, from).expect("the workload is there");
        }
    });
    let connection = report.only();
    let seen: Vec<(u64, usize, Option<Cause>)> = connection
        .data(Direction::Recv)
        .map(|data| (data.range.len(), data.payload.len(), data.cause))
        .collect();
    let cut = Some(Cause::DatagramTruncated);
    assert_eq!(seen, [(30, 10, cut), (9000, 7, cut), (9000, 5000, cut), (30, 30, None)]);
    for (data, sent) in connection.data(Direction::Recv).zip(&sent) {
        assert_eq!(data.payload, sent[..data.payload.len()]);
    }
    assert_eq!(connection.stream(Direction::Recv).len(), 30 + 9000 + 9000 + 30);
}

#[test]
fn a_peek_does_not_count_and_snaplen_keeps_the_true_length() {
    if !require_bpf() {
        return;
    }
    let (socket, port) = peer("127.0.0.1");
    let program = "
pause(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', port)); s.send(b'go')
assert s.recv(100, socket.MSG_PEEK) == s.recv(100)
try: s.recv(1, socket.MSG_DONTWAIT)
except BlockingIOError: pass
s.close()";
    let options = Options { snaplen: Some(3), ..Options::default() };
    let report = traced(options, program, port, || {
        let from = received(&socket).1.ip().expect("IP");
        socket.send_to(b"datagram", from).expect("the workload is there");
    });
    let connection = report.only();
    let seen: Vec<_> = connection
        .data(Direction::Recv)
        .map(|data| (data.peek, data.range.from, data.range.to, data.payload.as_slice(), data.cause))
        .collect();
    let cut = Some(Cause::Snaplen);
    assert_eq!(seen, [(true, 0, 8, b"dat".as_slice(), cut), (false, 0, 8, b"dat".as_slice(), cut)]);
}

#[test]
fn a_full_ring_names_every_datagram_it_refused() {
    if !require_bpf() {
        return;
    }
    let (_socket, port) = peer("127.0.0.1");
    let program = "
pause(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', port))
for n in range(300): s.send(b'%03d' % n * 100)
pause(); s.send(b'last'); s.close()";
    let mut python = Python::start(program, port);
    python.paused();
    let options = Options { pids: vec![python.pid()], ring_size: 16 << 10, ..Options::default() };
    let trace = Trace::held(options);
    python.go();
    python.paused();
    trace.release();
    eventually("the ring is empty", || trace.so_far().iter().any(|seen| matches!(seen.what, What::Data(_))));
    python.go();
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    let stream = connection.stream(Direction::Send);
    assert_eq!(stream.len(), 300 * 300 + 4);
    let whole: Vec<u8> =
        (0..300).flat_map(|n| format!("{n:03}").repeat(100).into_bytes()).chain(*b"last").collect();
    assert!(stream.iter().zip(&whole).all(|(seen, byte)| seen.is_none_or(|seen| seen == *byte)));
    let losses = connection.losses(Direction::Send);
    assert!(!losses.is_empty() && losses.iter().all(|(_, cause)| *cause == Cause::RingFull), "{losses:?}");
    assert!(report.summary.dropped > 0);
}

#[test]
fn a_closed_socket_ends_though_the_process_goes_on_and_its_successor_is_another() {
    if !require_bpf() {
        return;
    }
    let (socket, port) = peer("127.0.0.1");
    let program = "
pause()
for n in range(20):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'%d' % n, ('127.0.0.1', port)); s.close()
pause()";
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let froms: Vec<(Vec<u8>, Address)> = (0..20).map(|_| received(&socket)).collect();
    python.paused();
    eventually("every socket has ended", || {
        trace.so_far().iter().filter(|seen| matches!(seen.what, What::Close(_))).count() == 20
    });
    python.go();
    python.ended();
    let report = trace.ended();
    let seen: Vec<(Vec<u8>, Option<u16>)> = report
        .all()
        .map(|connection| {
            assert_eq!(connection.reason(), CloseReason::Closed);
            let local = connection.open().local.and_then(Address::ip);
            (connection.bytes(Direction::Send), local.map(|local| local.port()))
        })
        .collect();
    let mut expected: Vec<(Vec<u8>, Option<u16>)> =
        froms.into_iter().map(|(bytes, from)| (bytes, from.ip().map(|from| from.port()))).collect();
    let mut seen = seen;
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn bytes_that_sendfile_moves_are_an_exact_range() {
    if !require_bpf() {
        return;
    }
    let (socket, port) = peer("127.0.0.1");
    let program = "
import tempfile
pause(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', port)); s.send(b'before')
with tempfile.TemporaryFile() as f:
    f.write(b'by sendfile'); f.flush(); assert os.sendfile(s.fileno(), f.fileno(), 0, 11) == 11
s.send(b'after'); s.close()";
    let report = traced(Options::default(), program, port, || {
        for expected in [b"before".as_slice(), b"by sendfile", b"after"] {
            assert_eq!(received(&socket).0, expected);
        }
    });
    let connection = report.only();
    assert_eq!(connection.losses(Direction::Send), [(Range::new(6, 17), Cause::InKernelTransfer)]);
    assert_eq!(payloads(connection, Direction::Send), [b"before".as_slice(), b"", b"after"]);
    connection.stream(Direction::Send);
}

#[test]
fn a_family_that_is_not_traced_is_counted() {
    if !require_bpf() {
        return;
    }
    // A request for the links (rtnetlink(7)), and its answer.
    let program = "
pause(); s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); s.bind((0, 0))
request = struct.pack('=LHHLL', 20, 18, 0x301, 1, 0) + bytes(4)
n = s.send(request); m = len(s.recv(65536)); print(n, m, flush=True)";
    let mut python = Python::start(program, 0);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let line = python.line();
    let moved: u64 = line.split(' ').map(|number| number.parse::<u64>().expect("a number")).sum();
    python.ended();
    let report = trace.ended();
    assert!(report.connections.is_empty());
    let text = format!("2 calls with {moved} bytes on sockets that are not traced: ");
    let found = report.summary.warnings.iter().find(|line| line.contains("AF_NETLINK SOCK_RAW"));
    assert!(found.is_some_and(|line| line.starts_with(&text)), "{:?}", report.summary.warnings);
}
