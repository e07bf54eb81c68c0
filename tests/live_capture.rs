//! The probes against real peers: every byte that the workload moved is delivered, or named as a loss with its
//! exact range. What moved is known from the peer, not from sockdbg.

mod common;

use common::peer::{Python, Server, converse, eventually, exchange, listen, noise};
use common::trace::{Trace, require_bpf};
use sockdbg::event::{Call, CloseReason, Direction, Opened, Role};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Runs `program`, traced from its first `pause()` on, against a peer that sends `reply`. Returns what the peer got.
fn traced(program: &str, reply: &[u8]) -> (common::trace::Report, Vec<u8>) {
    let (listener, port) = listen();
    let mut python = Python::start(program, port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let received = exchange(&listener, reply);
    python.ended();
    (trace.ended(), received)
}

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
        trace.so_far().iter().filter(|seen| matches!(seen.what, common::trace::What::Close(_))).count() >= 2
    });
    let report = trace.stop();
    for (address, request, answer) in streams {
        let connection = report
            .all()
            .find(|connection| connection.open().remote == Some(address))
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
