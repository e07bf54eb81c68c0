//! What filters leave out of a live trace: exact ranges with the cause `filtered`, in totals that balance; the rest is
//! delivered byte by byte.

mod common;

use common::peer::{Python, converse, listen, listen_at, noise};
use common::trace::{Connection, Report, Trace, What, require_bpf};
use sockdbg::event::{Address, Call, Cause, Direction, Range};
use sockdbg::source::filter::{Family, Filter};
use sockdbg::source::live::Options;
use std::net::{SocketAddr, TcpListener};

/// Runs a program against listeners, with which it exchanges what both ends know; it sends on the connections in the
/// order of the listeners, each of which answers with `reply`.
fn traced(
    filter: Filter,
    program: &str,
    listeners: &[(TcpListener, u16)],
    reply: &[u8],
) -> (Report, Vec<Talk>) {
    let ports: Vec<u16> = listeners.iter().map(|(_, port)| *port).collect();
    let mut python = Python::start(&format!("ports = {ports:?}\n{program}"), ports[0]);
    python.paused();
    let trace = Trace::with(Options { pids: vec![python.pid()], filter, ..Options::default() });
    python.go();
    let talks = listeners
        .iter()
        .map(|(listener, _)| {
            let (stream, address) = listener.accept().expect("the workload connects");
            Talk { client: address, sent: converse(&stream, reply) }
        })
        .collect();
    python.ended();
    (trace.ended(), talks)
}

/// What one peer got.
struct Talk {
    client: SocketAddr,
    sent: Vec<u8>,
}

fn of<'a>(report: &'a Report, client: SocketAddr) -> Connection<'a> {
    let port = client.port();
    let is_it = |connection: &Connection<'_>| {
        connection.open().local.and_then(Address::ip).is_some_and(|at| at.port() == port)
    };
    report.all().find(is_it).expect("the connection is known")
}

/// Everything was kept: both directions are what the peer saw.
fn check_kept(connection: Connection<'_>, sent: &[u8], received: &[u8]) {
    assert!(!connection.open().filtered);
    assert!(connection.bytes(Direction::Send) == sent && connection.bytes(Direction::Recv) == received);
}

/// Nothing was kept, and all of it is named.
fn check_left_out(connection: Connection<'_>, sent: usize, received: usize) {
    assert!(connection.open().filtered);
    for (direction, length) in [(Direction::Send, sent), (Direction::Recv, received)] {
        assert_eq!(connection.stream(direction), vec![None; length], "{direction:?}");
        assert_eq!(connection.losses(direction), [(Range::new(0, length as u64), Cause::Filtered)]);
        assert_eq!(connection.data(direction).count(), 0);
    }
}

const EXCHANGE: &str = "
pause()
for number in ports:
    s = socket.create_connection((hosts.get(number, '127.0.0.1'), number)); s.sendall(os.urandom(100000 + number))
    s.shutdown(1); receive(s); s.close()";

/// Exchanges with three listeners under a filter that keeps only the one in the middle.
#[track_caller]
fn check_middle(hosts: [&str; 3], filter: impl FnOnce([u16; 3]) -> Filter) {
    let listeners = hosts.map(listen_at);
    let ports = [0, 1, 2].map(|index| listeners[index].1);
    let table: Vec<String> =
        ports.iter().zip(hosts).map(|(port, host)| format!("{port}: '{host}'")).collect();
    let program = format!("hosts = {{{}}}\n{EXCHANGE}", table.join(", "));
    let reply = noise(70_001, 8);
    let (report, talks) = traced(filter(ports), &program, &listeners, &reply);
    assert_eq!(report.connections.len(), 3);
    for (index, talk) in talks.iter().enumerate() {
        assert_eq!(talk.sent.len(), 100_000 + usize::from(ports[index]));
        match index {
            1 => check_kept(of(&report, talk.client), &talk.sent, &reply),
            _ => check_left_out(of(&report, talk.client), talk.sent.len(), reply.len()),
        }
    }
}

const LOOPBACK: [&str; 3] = ["127.0.0.1"; 3];

#[test]
fn ports_at_either_end() {
    if !require_bpf() {
        return;
    }
    check_middle(LOOPBACK, |ports| Filter {
        ports: format!("1,{}", ports[1]).parse().expect("ports"),
        ..Filter::default()
    });
    check_middle(LOOPBACK, |ports| Filter {
        remote_ports: format!("{0}-{0},1-9", ports[1]).parse().expect("ports"),
        ..Filter::default()
    });
}

#[test]
fn peers_and_families() {
    if !require_bpf() {
        return;
    }
    let peers = |networks: &[&str]| {
        let peers = networks.iter().map(|network| network.parse().expect("a network")).collect();
        Filter { peers, ..Filter::default() }
    };
    check_middle(["127.0.0.1", "127.0.5.7", "127.0.4.1"], |_| peers(&["10.0.0.0/8", "127.0.5.0/24"]));
    check_middle(["127.0.0.1", "::1", "127.0.0.1"], |_| peers(&["::1"]));
    check_middle(["::1", "127.0.0.1", "::1"], |_| peers(&["127.0.0.0/8"]));
    let family = |family| Filter { family: Some(family), ..Filter::default() };
    check_middle(["127.0.0.1", "::1", "127.0.0.1"], |_| family(Family::Ipv6));
    // An IPv4 address in an IPv6 socket is IPv4.
    check_middle(["::1", "::ffff:127.0.0.1", "::1"], |_| family(Family::Ipv4));
}

#[test]
fn families_tell_unix_sockets_from_others() {
    if !require_bpf() {
        return;
    }
    let program = "
a, b = socket.socketpair(); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
pause(); a.send(b'pair'); b.recv(4); u.sendto(b'udp', ('127.0.0.1', ports[0]))
s = connect(); s.sendall(b'tcp'); s.shutdown(1); receive(s); s.close()";
    let lengths = [("unix-stream", [4, 0]), ("unix-stream", [0, 4]), ("udp", [3, 0]), ("tcp", [3, 5])];
    for (family, kept) in [
        (Some(Family::Unix), "unix-stream"),
        (Some(Family::Ipv4), "udp tcp"),
        (Some(Family::Ipv6), ""),
        (None, ""),
    ] {
        // No Unix socket is in a network, however large.
        let peers = if family.is_none() { vec!["::/0".parse().expect("a network")] } else { Vec::new() };
        let kept = if family.is_none() { "udp tcp" } else { kept };
        let listeners = [listen()];
        let (report, _) =
            traced(Filter { family, peers, ..Filter::default() }, program, &listeners, b"reply");
        let mut seen: Vec<_> = report
            .all()
            .map(|connection| {
                let transport = connection.open().transport.name();
                let is_kept = kept.split(' ').any(|name| name == transport);
                assert_eq!(connection.open().filtered, !is_kept, "{transport} for {family:?}");
                let streams = Direction::BOTH.map(|direction| {
                    let stream = connection.stream(direction);
                    assert!(stream.iter().all(|byte| byte.is_some() == is_kept));
                    let losses = connection.losses(direction);
                    assert!(losses.iter().all(|&(_, cause)| cause == Cause::Filtered));
                    assert_eq!(losses.is_empty(), is_kept || stream.is_empty());
                    stream.len()
                });
                (transport, streams)
            })
            .collect();
        let mut expected = lengths.to_vec();
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected, "{family:?}");
    }
}

#[test]
fn local_port_of_a_connection_that_was_accepted_and_of_one_that_was_found() {
    if !require_bpf() {
        return;
    }
    let (other, other_port) = listen();
    let program = "
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(); print(l.getsockname()[1], flush=True)
found = l.accept()[0]; out = connect(); pause()
new = l.accept()[0]
for s in found, new: s.sendall(b'yes'); s.close()
out.sendall(b'no'); out.close()";
    let mut python = Python::start(program, other_port);
    let port: u16 = python.line().parse().expect("a port");
    let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).expect("the workload listens");
    let found = connect();
    let (out, out_client) = other.accept().expect("the workload connects");
    python.paused();
    let filter = Filter { local_ports: port.to_string().parse().expect("a port"), ..Filter::default() };
    let trace = Trace::with(Options { pids: vec![python.pid()], filter, ..Options::default() });
    let new = connect();
    python.go();
    for (stream, sent) in [(&found, "yes"), (&new, "yes"), (&out, "no")] {
        assert_eq!(converse(stream, b""), sent.as_bytes());
    }
    python.ended();
    let report = trace.ended();
    for stream in [found, new] {
        let client = stream.local_addr().expect("connected");
        let mut all = report.all();
        let connection =
            all.find(|connection| connection.open().remote == Some(client.into())).expect("known");
        assert_eq!(connection.bytes(Direction::Send), b"yes");
    }
    let left_out = of(&report, out_client);
    assert_eq!(left_out.stream(Direction::Send), [None, None]);
    assert_eq!(left_out.losses(Direction::Send), [(Range::new(0, 2), Cause::Filtered)]);
}

#[test]
fn calls_and_directions_leave_exact_ranges_out() {
    if !require_bpf() {
        return;
    }
    let program = "
pause(); s = connect(); fd = s.fileno()
for i in range(40): os.write(fd, b'w%02d' % i); s.send(b'sendto'); os.writev(fd, [b'w', b'v'])
s.shutdown(1)
assert s.recv(10, socket.MSG_WAITALL | socket.MSG_PEEK) == s.recv(10, socket.MSG_WAITALL)
while os.read(fd, 1000): pass
s.close()";
    let reply = noise(5000, 9);
    let run = |filter| {
        let listeners = [listen()];
        let (report, talks) = traced(filter, program, &listeners, &reply);
        (report, talks.into_iter().next().expect("one").sent)
    };
    // Of every eleven bytes, write moves three, sendto six, writev two.
    let (report, sent) = run(Filter { calls: vec![Call::Write, Call::Read], ..Filter::default() });
    assert_eq!(sent.len(), 40 * 11);
    let connection = report.only();
    assert!(!connection.open().filtered);
    let expected: Vec<_> = sent.iter().enumerate().map(|(at, &byte)| (at % 11 < 3).then_some(byte)).collect();
    assert_eq!(connection.stream(Direction::Send), expected);
    let ranges: Vec<_> = (0..40).map(|i| (Range::new(i * 11 + 3, i * 11 + 11), Cause::Filtered)).collect();
    assert_eq!(connection.losses(Direction::Send), ranges);
    assert_eq!(connection.losses(Direction::Recv), [(Range::new(0, 10), Cause::Filtered)]);
    let received = connection.stream(Direction::Recv);
    assert!(received[..10].iter().all(Option::is_none));
    assert_eq!(received[10..].iter().copied().collect::<Option<Vec<u8>>>().as_deref(), Some(&reply[10..]));
    assert!(connection.data(Direction::Recv).all(|data| data.call == Call::Read && !data.peek));

    let (report, sent) = run(Filter { direction: Some(Direction::Send), ..Filter::default() });
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), sent);
    assert_eq!(connection.stream(Direction::Recv), vec![None; 5000]);
    assert_eq!(connection.losses(Direction::Recv), [(Range::new(0, 5000), Cause::Filtered)]);
    assert_eq!(connection.data(Direction::Recv).count(), 0);

    let (report, sent) = run(Filter { direction: Some(Direction::Recv), ..Filter::default() });
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Recv), reply);
    assert_eq!(connection.losses(Direction::Send), [(Range::new(0, sent.len() as u64), Cause::Filtered)]);
    assert!(connection.0.iter().any(|seen| matches!(&seen.what, What::Data(data) if data.peek)));
}
