//! Bytes of a connection that the kernel itself moves or changes between a call and the wire: TLS within the kernel, and
//! programs that redirect what sockets receive or send (BPF sockmap).

use super::Mode;
use super::calls::{receive_all, send_all};
use super::flags::wait;
use super::noise::noise;
use super::peer::{Peer, receive, tell_received};
use super::sockmap::Sockmap;
use super::sys;
use super::truth::{Truth, Way};
use nix::poll::PollFlags;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

pub const MODES: &[Mode] = &[
    ("kernel/tls-send", tls_send),
    ("kernel/tls-recv", tls_receive),
    ("kernel/sockmap-egress", sockmap_egress),
    ("kernel/sockmap-ingress", |truth| sockmap_ingress(truth, &[])),
    ("kernel/sockmap-left", |truth| sockmap_ingress(truth, &noise(700, 6))),
];

/// What is sent with one call each, and so in one record of TLS each; the last is as large as a record may be.
fn records() -> impl Iterator<Item = Vec<u8>> {
    [1, 100, 5000, 1 << 14].into_iter().enumerate().map(|(seed, size)| noise(size, seed as u64))
}

/// As many bytes as a record takes on the wire: head, nonce and tag come to it (RFC 5246, 6.2.3.3; RFC 5288, 3). Which they
/// are, only the kernel knows.
fn encrypted(record: &[u8]) -> Vec<u8> {
    vec![0; 5 + 8 + record.len() + 16]
}

/// Plain bytes, then records of TLS made by the kernel.
fn tls_send(truth: &mut Truth) {
    let (mut peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        let mut greeting = [0; 7];
        stream.read_exact(&mut greeting).expect("the workload sends");
        sys::tls(&stream, nix::libc::TLS_RX);
        link.tell(0);
        let sent: Vec<u8> = records().flatten().collect();
        assert!(receive(&stream) == sent, "the workload's bytes");
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    send_all(truth, id, &stream, b"upgrade", sys::write);
    peer.link.hear();
    sys::tls(&stream, nix::libc::TLS_TX);
    for record in records() {
        assert_eq!(sys::write(stream.as_raw_fd(), &record), Ok(record.len()));
        truth.hidden(id, Way::Send, &encrypted(&record), "in-kernel-transfer");
    }
    drop(stream);
    peer.ended();
}

/// The same in the other direction.
fn tls_receive(truth: &mut Truth) {
    let (mut peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        stream.write_all(b"upgrade").expect("the workload reads");
        link.hear();
        sys::tls(&stream, nix::libc::TLS_TX);
        for record in records() {
            assert_eq!(sys::write(stream.as_raw_fd(), &record), Ok(record.len()));
            link.hear();
        }
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    receive_all(truth, id, &stream, b"upgrade", sys::read);
    sys::tls(&stream, nix::libc::TLS_RX);
    peer.link.tell(0);
    for record in records() {
        let mut room = vec![0; record.len()];
        assert_eq!(sys::read(stream.as_raw_fd(), &mut room), Ok(record.len()));
        assert!(room == record, "the peer's bytes");
        truth.hidden(id, Way::Recv, &encrypted(&record), "in-kernel-transfer");
        peer.link.tell(0);
    }
    drop(stream);
    peer.ended();
}

/// What one connection receives is sent on another one without any call, as proxies do.
fn sockmap_egress(truth: &mut Truth) {
    let redirected = noise(50_000, 1);
    let (mut from_peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        stream.write_all(b"greeting").expect("the workload reads");
        link.hear();
        stream.write_all(&redirected).expect("the kernel reads");
        link.hear();
    });
    let from = TcpStream::connect(address).expect("the peer listens");
    let from_id = truth.socket(&from, "tcp");
    let (mut to_peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        let mut received = vec![0; 1000 + 50_000];
        stream.read_exact(&mut received).expect("the kernel sends");
        link.tell(0);
        received.extend(receive(&stream));
        tell_received(&received, link);
    });
    let to = TcpStream::connect(address).expect("the peer listens");
    let to_id = truth.socket(&to, "tcp");
    receive_all(truth, from_id, &from, b"greeting", sys::read);
    send_all(truth, to_id, &to, &noise(1000, 2), sys::write);
    let map = Sockmap::redirecting_received(&from, &to);
    from_peer.link.tell(0);
    to_peer.link.hear();
    truth.hidden(from_id, Way::Recv, &redirected, "in-kernel-transfer");
    truth.hidden(to_id, Way::Send, &redirected, "in-kernel-transfer");
    send_all(truth, to_id, &to, &noise(500, 3), sys::write);
    // Closing a socket takes it out.
    std::mem::forget(map);
    to.shutdown(Shutdown::Write).expect("an open connection");
    to_peer.agrees(truth, to_id);
    from_peer.link.tell(0);
    // Also the redirected bytes wake a read up, which then finds none.
    while sys::read(from.as_raw_fd(), &mut [0]) != Ok(0) {
        wait(&from, PollFlags::POLLIN);
    }
    truth.end_of_stream(from_id);
    from_peer.ended();
}

/// What is sent goes straight to the receiving socket of the same machine, and never through TCP; `rest` does again.
fn sockmap_ingress(truth: &mut Truth, rest: &[u8]) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listening = truth.socket(&listener, "tcp");
    truth.idle(listening);
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("a connection");
    let (client_id, server_id) = (truth.socket(&client, "tcp"), truth.socket(&server, "tcp"));
    let exchange = |truth: &mut Truth, bytes: &[u8]| {
        send_all(truth, client_id, &client, bytes, sys::write);
        receive_all(truth, server_id, &server, bytes, sys::read);
    };
    exchange(truth, &noise(1000, 4));
    let map = Sockmap::redirecting_sent(&client, &server);
    exchange(truth, &noise(25_000, 5));
    drop(map);
    if !rest.is_empty() {
        exchange(truth, rest);
    }
}
