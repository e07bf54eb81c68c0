//! UDP: datagrams keep their boundaries and have each a peer. Both ends are the workload's.

use super::Mode;
use super::noise::noise;
use super::sharing::by_child;
use super::sys;
use super::truth::{Id, Truth, Way};
use nix::libc;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

pub const MODES: &[Mode] = &[
    ("udp/connected4", |truth| connected(truth, "127.0.0.1:0")),
    ("udp/connected6", |truth| connected(truth, "[::1]:0")),
    ("udp/peers4", |truth| peers(truth, "127.0.0.1:0", "127.0.0.1:0")),
    ("udp/peers6", |truth| peers(truth, "[::1]:0", "[::1]:0")),
    ("udp/peers4-mapped", |truth| peers(truth, "[::]:0", "127.0.0.1:0")),
    ("udp/msg", messages),
    ("udp/mmsg", many_messages),
    ("udp/peek", peek),
    ("udp/trunc", trunc),
    ("udp/errors", errors),
    ("udp/by-child-only", by_child_only),
    ("udp/by-child-between", by_child_between),
    ("udp/io-submit", io_submit),
];

/// With the largest payload there is.
const SIZES: [usize; 8] = [1, 0, 1472, 1473, 4096, 0, 65_507, 2];

fn bound(truth: &mut Truth, at: &str) -> (UdpSocket, Id) {
    let socket = UdpSocket::bind(at).expect("a free port");
    let id = truth.socket(&socket, "udp");
    (socket, id)
}

/// Two sockets connected with each other.
fn pair(truth: &mut Truth, at: &str) -> [(UdpSocket, Id); 2] {
    let pair = [bound(truth, at), bound(truth, at)];
    for (one, other) in [(0, 1), (1, 0)] {
        pair[one].0.connect(address(&pair[other].0)).expect("a bound peer");
    }
    pair
}

fn address(socket: &UdpSocket) -> std::net::SocketAddr {
    socket.local_addr().expect("bound")
}

fn connected(truth: &mut Truth, at: &str) {
    let [(a, a_id), (b, b_id)] = pair(truth, at);
    for (seed, size) in SIZES.into_iter().enumerate() {
        let bytes = noise(size, 120 + seed as u64);
        assert_eq!(sys::write(a.as_raw_fd(), &bytes), Ok(size));
        truth.datagram(a_id, Way::Send, &bytes, Some(address(&b).to_string()));
        let mut room = vec![0; 1 << 16];
        assert_eq!(sys::read(b.as_raw_fd(), &mut room), Ok(size));
        assert_eq!(room[..size], bytes);
        truth.datagram(b_id, Way::Recv, &bytes, Some(address(&a).to_string()));
    }
}

/// One server, three clients, no connection; answers included.
fn peers(truth: &mut Truth, server_at: &str, client_at: &str) {
    let (server, server_id) = bound(truth, server_at);
    let clients = [(); 3].map(|()| bound(truth, client_at));
    let port = address(&server).port();
    for (seed, size) in SIZES.into_iter().enumerate() {
        let (client, id) = &clients[seed % 3];
        let to = std::net::SocketAddr::new(address(client).ip(), port);
        let bytes = noise(size, 130 + seed as u64);
        assert_eq!(client.send_to(&bytes, to).expect("room"), size);
        truth.datagram(*id, Way::Send, &bytes, Some(to.to_string()));
        let mut room = vec![0; 1 << 16];
        let (count, from) = server.recv_from(&mut room).expect("a datagram");
        assert_eq!((&room[..count], from.port()), (&bytes[..], address(client).port()));
        truth.datagram(server_id, Way::Recv, &bytes, Some(from.to_string()));
        assert_eq!(server.send_to(&bytes, from).expect("room"), size);
        truth.datagram(server_id, Way::Send, &bytes, Some(from.to_string()));
        let (count, from) = client.recv_from(&mut room).expect("a datagram");
        assert_eq!(room[..count], bytes);
        truth.datagram(*id, Way::Recv, &bytes, Some(from.to_string()));
    }
}

fn messages(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = pair(truth, "127.0.0.1:0");
    for size in [0, 2, 3000] {
        let bytes = noise(size, 140);
        let (first, second) = bytes.split_at(size / 3);
        let parts = [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(second)];
        assert_eq!(sys::sendmsg(a.as_raw_fd(), &parts, 0), Ok(size));
        truth.datagram(a_id, Way::Send, &bytes, Some(address(&b).to_string()));
        let (mut first, mut second) = ([0; 1000], [0; 3000]);
        let rooms = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(sys::recvmsg(b.as_raw_fd(), rooms, 0, &mut []).0, Ok(size));
        assert_eq!([first.as_slice(), second.as_slice()].concat()[..size], bytes);
        truth.datagram(b_id, Way::Recv, &bytes, Some(address(&a).to_string()));
    }
}

/// Several datagrams with one call.
fn many_messages(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = pair(truth, "127.0.0.1:0");
    let datagrams: Vec<Vec<u8>> = [10, 0, 1000, 1, 5000]
        .into_iter()
        .enumerate()
        .map(|(seed, size)| noise(size, 150 + seed as u64))
        .collect();
    let messages: Vec<_> = datagrams.iter().map(|bytes| vec![IoSlice::new(bytes)]).collect();
    let lengths: Vec<usize> = datagrams.iter().map(Vec::len).collect();
    assert_eq!(sys::sendmmsg(a.as_raw_fd(), &messages), Ok(lengths.clone()));
    let mut room = vec![0; 10 * 6000];
    let mut rooms: Vec<_> = room.chunks_mut(6000).map(|part| vec![IoSliceMut::new(part)]).collect();
    assert_eq!(sys::recvmmsg(b.as_raw_fd(), &mut rooms, libc::MSG_WAITFORONE), Ok(lengths));
    for (bytes, room) in datagrams.iter().zip(room.chunks(6000)) {
        assert_eq!(room[..bytes.len()], bytes[..]);
        truth.datagram(a_id, Way::Send, bytes, Some(address(&b).to_string()));
        truth.datagram(b_id, Way::Recv, bytes, Some(address(&a).to_string()));
    }
}

fn peek(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = pair(truth, "127.0.0.1:0");
    let bytes = noise(800, 160);
    assert_eq!(sys::write(a.as_raw_fd(), &bytes), Ok(800));
    truth.datagram(a_id, Way::Send, &bytes, Some(address(&b).to_string()));
    let mut room = [0; 1000];
    for _ in 0..2 {
        assert_eq!(sys::recv(b.as_raw_fd(), &mut room, libc::MSG_PEEK), Ok(800));
        truth.peeked(b_id, &room[..800]);
    }
    assert_eq!(sys::read(b.as_raw_fd(), &mut room), Ok(800));
    assert_eq!(room[..800], bytes);
    truth.datagram(b_id, Way::Recv, &bytes, Some(address(&a).to_string()));
}

/// A datagram larger than the buffer. The call tells its length with MSG_TRUNC; without, only the part that was
/// copied is known to have moved.
fn trunc(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = pair(truth, "127.0.0.1:0");
    let bytes = noise(1000, 161);
    for _ in 0..2 {
        assert_eq!(sys::write(a.as_raw_fd(), &bytes), Ok(1000));
        truth.datagram(a_id, Way::Send, &bytes, Some(address(&b).to_string()));
    }
    let mut room = [0; 300];
    assert_eq!(sys::recv(b.as_raw_fd(), &mut room, libc::MSG_TRUNC), Ok(1000));
    assert_eq!(room, bytes[..300]);
    truth.cut_datagram(b_id, Way::Recv, &bytes, 300, "datagram-truncated");
    assert_eq!(sys::read(b.as_raw_fd(), &mut room), Ok(300));
    truth.datagram(b_id, Way::Recv, &room, Some(address(&a).to_string()));
}

/// Nothing there; then nobody there, which ICMP tells and the next call says.
fn errors(truth: &mut Truth) {
    let (a, id) = bound(truth, "127.0.0.1:0");
    let (closed, closed_id) = bound(truth, "127.0.0.1:0");
    truth.idle(closed_id);
    let to = address(&closed);
    a.connect(to).expect("an address");
    drop(closed);
    assert_eq!(sys::recv(a.as_raw_fd(), &mut [0; 10], libc::MSG_DONTWAIT), Err(libc::EAGAIN));
    let bytes = noise(100, 162);
    assert_eq!(sys::write(a.as_raw_fd(), &bytes), Ok(100));
    truth.datagram(id, Way::Send, &bytes, Some(to.to_string()));
    assert_eq!(sys::read(a.as_raw_fd(), &mut [0; 10]), Err(libc::ECONNREFUSED));
    truth.failed(id, Way::Recv, libc::ECONNREFUSED);
}

/// A child process that is not traced uses a socket that its parent never does.
fn by_child_only(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = pair(truth, "127.0.0.1:0");
    let (sent, received) = (noise(300, 150), noise(700, 151));
    by_child(|| assert_eq!(a.send(&sent).expect("room"), sent.len()));
    truth.hidden_datagram(a_id, Way::Send, &sent, "other-process");
    let mut room = [0; 1000];
    assert_eq!(b.recv(&mut room).expect("a datagram"), sent.len());
    truth.datagram(b_id, Way::Recv, &sent, Some(address(&a).to_string()));
    assert_eq!(b.send(&received).expect("room"), received.len());
    truth.datagram(b_id, Way::Send, &received, Some(address(&a).to_string()));
    by_child(|| assert_eq!(a.recv(&mut [0; 1000]).expect("a datagram"), received.len()));
    truth.hidden_datagram(a_id, Way::Recv, &received, "other-process");
}

/// What the child moves lies between what its parent does.
fn by_child_between(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = pair(truth, "[::1]:0");
    let mut room = [0; 1000];
    for (seed, own) in [(152, true), (153, false), (154, true)] {
        let bytes = noise(100, seed);
        if own {
            assert_eq!(a.send(&bytes).expect("room"), bytes.len());
            truth.datagram(a_id, Way::Send, &bytes, Some(address(&b).to_string()));
        } else {
            by_child(|| assert_eq!(a.send(&bytes).expect("room"), bytes.len()));
            truth.hidden_datagram(a_id, Way::Send, &bytes, "other-process");
        }
        assert_eq!(b.recv(&mut room).expect("a datagram"), bytes.len());
        truth.datagram(b_id, Way::Recv, &bytes, Some(address(&a).to_string()));
    }
}

fn io_submit(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = pair(truth, "127.0.0.1:0");
    for (seed, size) in [(155, 300), (156, 40_000)] {
        let bytes = noise(size, seed);
        assert_eq!(sys::io_submit_write(a.as_raw_fd(), &bytes), Ok(size));
        truth.hidden_datagram(a_id, Way::Send, &bytes, "untraced-syscall");
        let mut room = vec![0; size + 1];
        assert_eq!(sys::io_submit_read(b.as_raw_fd(), &mut room), Ok(size));
        assert_eq!(room[..size], bytes, "the datagram");
        truth.hidden_datagram(b_id, Way::Recv, &bytes, "untraced-syscall");
    }
}
