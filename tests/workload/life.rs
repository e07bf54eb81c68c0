//! How connections begin and end, over each kind of address.

use super::Mode;
use super::calls::{receive_all, send_all};
use super::flags::wait;
use super::noise::noise;
use super::peer::{Peer, connected, converse, receive, tell_received};
use super::sys::{self, Outcome};
use super::truth::{Id, Truth, Way};
use nix::libc::{self, SOCK_NONBLOCK, SOCK_STREAM};
use nix::poll::PollFlags;
use nix::sched::{CloneFlags, unshare};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

pub const MODES: &[Mode] = &[
    ("life/tcp4", |truth| both_ends(truth, "127.0.0.1:0", "127.0.0.1")),
    ("life/tcp6", |truth| both_ends(truth, "[::1]:0", "::1")),
    // An IPv4 client of an IPv6 socket.
    ("life/tcp4-mapped", |truth| both_ends(truth, "[::]:0", "127.0.0.1")),
    ("life/tcp4-mapped-client", |truth| both_ends(truth, "127.0.0.1:0", "::ffff:127.0.0.1")),
    ("life/connect", |truth| {
        let (stream, id, peer) = connected(truth, &noise(700, 50));
        exchange(truth, stream, id, peer, &noise(700, 50));
    }),
    ("life/connect-nonblocking", connect_nonblocking),
    ("life/connect-refused", connect_refused),
    ("life/connect-refused-nonblocking", connect_refused_nonblocking),
    ("life/connect-refused-then-not", connect_again),
    ("life/fast-open", |truth| {
        fast_open(truth, false, |fd, address, bytes| {
            sys::sendto(fd.as_raw_fd(), bytes, &sys::inet(address), libc::MSG_FASTOPEN)
        });
    }),
    // Gives the bytes to the kernel, and does not wait for the handshake.
    ("life/fast-open-nonblocking", |truth| fast_open(truth, false, send_early)),
    ("life/fast-open-late", |truth| fast_open(truth, true, send_early)),
    // The connect returns at once; the first write sends the SYN.
    ("life/fast-open-connect", |truth| {
        fast_open(truth, false, |fd, address, bytes| {
            sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1);
            assert_eq!(sys::connect(fd, &sys::inet(address)), Ok(0));
            sys::write(fd.as_raw_fd(), bytes)
        });
    }),
    ("life/fast-open-accept", fast_open_accept),
    ("life/accept", |truth| accept(truth, false)),
    ("life/backlog-data", |truth| accept(truth, true)),
    ("life/accepted-and-closed-unused", accepted_unused),
    ("life/shutdown-write", shutdown_write),
    ("life/shutdown-read", shutdown_read),
    ("life/close-range", |truth| {
        ended_by(truth, |stream| sys::close_range(OwnedFd::from(stream)), "closed");
    }),
    ("life/peer-closes-first", peer_closes_first),
    ("life/reset-by-us", reset_by_us),
    ("life/reset-by-peer", reset_by_peer),
    ("life/reset-then-read", reset_then_read),
    ("life/reset-then-write", reset_then_write),
    ("life/reset-then-connect", reset_then_connect),
    ("life/disconnect-then-connect", disconnect_then_connect),
    ("life/unread-at-close", unread_at_close),
    ("life/exit", |truth| std::mem::forget(left_open(truth))),
    ("life/kill-9", |truth| {
        let _stream = left_open(truth);
        truth.write();
        // SAFETY: always sound.
        unsafe { libc::raise(libc::SIGKILL) };
    }),
    ("life/dup2-over", |truth| {
        let file = sys::file(&[]);
        ended_by(truth, |stream| drop(sys::dup2(&file, stream.into_raw_fd())), "closed");
    }),
    ("life/fd-reused", fd_reused),
];

/// Sends and receives a little on a connection, and closes it.
fn exchange(truth: &mut Truth, stream: TcpStream, id: Id, peer: Peer, bytes: &[u8]) {
    send_all(truth, id, &stream, &noise(900, 54), sys::write);
    receive_all(truth, id, &stream, bytes, sys::read);
    drop(stream);
    peer.agrees(truth, id);
}

fn ended_by(truth: &mut Truth, end: impl FnOnce(TcpStream), reason: &'static str) {
    let (stream, id, peer) = connected(truth, &noise(700, 55));
    send_all(truth, id, &stream, &noise(900, 56), sys::write);
    receive_all(truth, id, &stream, &noise(700, 55), sys::read);
    truth.ends(id, reason);
    end(stream);
    peer.agrees(truth, id);
}

/// Both ends of a connection in the traced process.
fn both_ends(truth: &mut Truth, at: &str, host: &str) {
    let listener = TcpListener::bind(at).expect("a free port");
    let listening = truth.socket(&listener, "tcp");
    truth.idle(listening);
    let port = listener.local_addr().expect("bound").port();
    let client = TcpStream::connect((host, port)).expect("somebody listens");
    let (server, _) = listener.accept().expect("somebody connects");
    let ids = [truth.socket(&client, "tcp"), truth.socket(&server, "tcp")];
    for (stream, id) in [&client, &server].into_iter().zip(ids) {
        let end = |address: std::io::Result<SocketAddr>| address.expect("connected").to_string();
        truth.addresses(id, end(stream.local_addr()), end(stream.peer_addr()));
    }
    for (seed, (from, to)) in [(0, 1), (1, 0), (0, 1)].into_iter().enumerate() {
        let bytes = noise(3000, 60 + seed as u64);
        let ends = [&client, &server];
        send_all(truth, ids[from], ends[from], &bytes, sys::write);
        receive_all(truth, ids[to], ends[to], &bytes, sys::read);
    }
}

/// Waits for a connect in progress; its error.
fn connected_in_time(fd: &OwnedFd, address: SocketAddr) -> i32 {
    let result = sys::connect(fd, &sys::inet(address));
    if let Err(errno) = result
        && errno != libc::EINPROGRESS
    {
        return errno;
    }
    wait(fd, PollFlags::POLLOUT);
    sys::pending_error(fd)
}

fn connect_nonblocking(truth: &mut Truth) {
    let bytes = noise(700, 57);
    let (peer, address) = Peer::server("127.0.0.1", |stream, link| converse(&stream, &noise(700, 57), link));
    let fd = sys::socket(libc::AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    let id = truth.socket(&fd, "tcp");
    assert_eq!(connected_in_time(&fd, address), 0);
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(false).expect("a socket");
    exchange(truth, stream, id, peer, &bytes);
}

/// A port where nobody listens: the system won't give it to others while this socket has it.
fn closed_port(truth: &mut Truth) -> (OwnedFd, SocketAddr) {
    let fd = sys::socket(libc::AF_INET, SOCK_STREAM);
    let id = truth.socket(&fd, "tcp");
    truth.idle(id);
    assert_eq!(sys::bind(&fd, &sys::inet("127.0.0.1:0".parse().expect("an address"))), Ok(0));
    let address = sys::local_address(&fd);
    (fd, address)
}

fn connect_refused(truth: &mut Truth) {
    let (_holder, address) = closed_port(truth);
    let fd = sys::socket(libc::AF_INET, SOCK_STREAM);
    let id = truth.socket(&fd, "tcp");
    assert_eq!(sys::connect(&fd, &sys::inet(address)), Err(libc::ECONNREFUSED));
    truth.not_connected(id, libc::ECONNREFUSED);
}

fn connect_refused_nonblocking(truth: &mut Truth) {
    let (_holder, address) = closed_port(truth);
    let fd = sys::socket(libc::AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    let id = truth.socket(&fd, "tcp");
    assert_eq!(connected_in_time(&fd, address), libc::ECONNREFUSED);
    truth.not_connected(id, libc::ECONNREFUSED);
}

/// One socket, and a second try that succeeds: two connections.
fn connect_again(truth: &mut Truth) {
    let bytes = noise(700, 58);
    let (peer, address) = Peer::server("127.0.0.1", |stream, link| converse(&stream, &noise(700, 58), link));
    let (_holder, closed) = closed_port(truth);
    let fd = sys::socket(libc::AF_INET, SOCK_STREAM);
    let first = truth.socket(&fd, "tcp");
    assert_eq!(sys::connect(&fd, &sys::inet(closed)), Err(libc::ECONNREFUSED));
    truth.not_connected(first, libc::ECONNREFUSED);
    let second = truth.again(first);
    assert_eq!(sys::connect(&fd, &sys::inet(address)), Ok(0));
    exchange(truth, TcpStream::from(fd), second, peer, &bytes);
}

fn send_early(fd: &OwnedFd, address: SocketAddr, bytes: &[u8]) -> Outcome {
    sys::sendto(fd.as_raw_fd(), bytes, &sys::inet(address), libc::MSG_FASTOPEN | libc::MSG_DONTWAIT)
}

/// A network in which the first bytes travel with the SYN: the setting is one of a namespace.
fn enable_fast_open(truth: &mut Truth) {
    unshare(CloneFlags::CLONE_NEWNET).expect("root");
    let any = sys::socket(libc::AF_INET, libc::SOCK_DGRAM);
    let idle = truth.socket(&any, "udp");
    truth.idle(idle);
    sys::bring_up_loopback(&any);
    // Client and server, and on both without a cookie (ip-sysctl.rst): 0x1, 0x2, 0x4, 0x200.
    std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "519").expect("root");
}

/// `late`: the peer's queue is full when the SYN comes, so the handshake ends with the next one, a second later.
fn fast_open(truth: &mut Truth, late: bool, begin: fn(&OwnedFd, SocketAddr, &[u8]) -> Outcome) {
    enable_fast_open(truth);
    let mut peer = Peer::fork(|link| {
        sys::close_sockets();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        sys::set_option(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 5);
        let address = listener.local_addr().expect("bound");
        let first = late.then(|| {
            assert_eq!(sys::listen_for(&listener, 0), Ok(0));
            TcpStream::connect(address).expect("room for one")
        });
        link.tell(u64::from(address.port()));
        link.hear();
        if first.is_some() {
            listener.accept().expect("the first one");
        }
        let (stream, _) = listener.accept().expect("the workload connects");
        converse(&stream, &noise(700, 59), link);
    });
    let address = SocketAddr::from(([127, 0, 0, 1], peer.link.hear() as u16));
    let fd = sys::socket(libc::AF_INET, SOCK_STREAM);
    let id = truth.socket(&fd, "tcp");
    let bytes = noise(600, 60);
    assert_eq!(begin(&fd, address, &bytes), Ok(bytes.len()));
    truth.moved(id, Way::Send, &bytes);
    peer.link.tell(0);
    wait(&fd, PollFlags::POLLOUT);
    assert!(late || sys::syn_carried_data(&fd), "the SYN carried no data");
    exchange(truth, TcpStream::from(fd), id, peer, &noise(700, 59));
}

/// The peer's first bytes come with its SYN.
fn fast_open_accept(truth: &mut Truth) {
    enable_fast_open(truth);
    let mut peer = Peer::fork(|link| {
        sys::close_sockets();
        let fd = sys::socket(libc::AF_INET, SOCK_STREAM);
        let address = SocketAddr::from(([127, 0, 0, 1], link.hear() as u16));
        let (early, rest) = (noise(600, 60), noise(300, 61));
        let sent = sys::sendto(fd.as_raw_fd(), &early, &sys::inet(address), libc::MSG_FASTOPEN);
        assert_eq!(sent, Ok(early.len()));
        assert!(sys::syn_carried_data(&fd), "the SYN carried no data");
        converse(&TcpStream::from(fd), &rest, link);
    });
    let (listener, port) = listen(truth);
    sys::set_option(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 5);
    peer.link.tell(port);
    let (stream, _) = listener.accept().expect("the peer connects");
    let id = truth.socket(&stream, "tcp");
    exchange(truth, stream, id, peer, &[noise(600, 60), noise(300, 61)].concat());
}

/// A peer's connection is accepted, before or after it has sent something.
fn accept(truth: &mut Truth, late: bool) {
    let mut peer = Peer::client("127.0.0.1", move |mut stream, link| {
        stream.write_all(&noise(2000, 61)).expect("the workload reads");
        link.tell(0);
        tell_received(&receive(&stream), link);
    });
    let (listener, port) = listen(truth);
    peer.link.tell(port);
    if late {
        peer.link.hear();
    }
    let (stream, _) = listener.accept().expect("the peer connects");
    let id = truth.socket(&stream, "tcp");
    if !late {
        peer.link.hear();
    }
    receive_all(truth, id, &stream, &noise(2000, 61), sys::read);
    send_all(truth, id, &stream, &noise(1000, 62), sys::write);
    drop(stream);
    peer.agrees(truth, id);
}

fn listen(truth: &mut Truth) -> (TcpListener, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let id = truth.socket(&listener, "tcp");
    truth.idle(id);
    let port = listener.local_addr().expect("bound").port();
    (listener, u64::from(port))
}

fn accepted_unused(truth: &mut Truth) {
    let mut peer = Peer::client("127.0.0.1", |stream, link| tell_received(&receive(&stream), link));
    let (listener, port) = listen(truth);
    peer.link.tell(port);
    let (stream, _) = listener.accept().expect("the peer connects");
    let id = truth.socket(&stream, "tcp");
    drop(stream);
    peer.agrees(truth, id);
}

fn shutdown_write(truth: &mut Truth) {
    let (peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        let received = receive(&stream);
        stream.write_all(&noise(2000, 63)).expect("the workload reads");
        tell_received(&received, link);
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    send_all(truth, id, &stream, &noise(1000, 64), sys::write);
    stream.shutdown(Shutdown::Write).expect("an open connection");
    receive_all(truth, id, &stream, &noise(2000, 63), sys::read);
    assert_eq!(sys::read(stream.as_raw_fd(), &mut [0]), Ok(0));
    truth.end_of_stream(id);
    drop(stream);
    peer.agrees(truth, id);
}

fn shutdown_read(truth: &mut Truth) {
    let (peer, address) = Peer::server("127.0.0.1", |stream, link| tell_received(&receive(&stream), link));
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    stream.shutdown(Shutdown::Read).expect("an open connection");
    assert_eq!(sys::read(stream.as_raw_fd(), &mut [0]), Ok(0));
    truth.end_of_stream(id);
    send_all(truth, id, &stream, &noise(1000, 65), sys::write);
    drop(stream);
    peer.agrees(truth, id);
}

fn peer_closes_first(truth: &mut Truth) {
    let (peer, address) = Peer::server("127.0.0.1", |mut stream, _| {
        stream.write_all(&noise(1000, 66)).expect("the workload reads");
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    receive_all(truth, id, &stream, &noise(1000, 66), sys::read);
    assert_eq!(sys::read(stream.as_raw_fd(), &mut [0]), Ok(0));
    truth.end_of_stream(id);
    drop(stream);
    peer.ended();
}

fn reset_by_us(truth: &mut Truth) {
    let (mut peer, address) = Peer::server("127.0.0.1", |stream, link| {
        assert_eq!(sys::recv(stream.as_raw_fd(), &mut [0; 700], libc::MSG_WAITALL), Ok(700));
        link.tell(0);
        assert_eq!(sys::read(stream.as_raw_fd(), &mut [0]), Err(libc::ECONNRESET));
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    send_all(truth, id, &stream, &noise(700, 51), sys::write);
    peer.link.hear();
    sys::reset_on_close(&stream);
    drop(stream);
    peer.ended();
}

/// A connection that only the end of the process closes. What the peer got is not asked: nobody would be there.
fn left_open(truth: &mut Truth) -> TcpStream {
    let (_peer, address) = Peer::server("127.0.0.1", |stream, _| drop(receive(&stream)));
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    send_all(truth, id, &stream, &noise(700, 52), sys::write);
    stream
}

/// A connection that the peer resets when told, after it got 700 bytes and sent 500.
fn to_be_reset(truth: &mut Truth) -> (TcpStream, Id, Peer) {
    let (peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        stream.write_all(&noise(500, 67)).expect("the workload reads");
        assert_eq!(sys::recv(stream.as_raw_fd(), &mut [0; 700], libc::MSG_WAITALL), Ok(700));
        link.hear();
        sys::reset_on_close(&stream);
        drop(stream);
        link.tell(0);
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    truth.ends(id, "reset");
    send_all(truth, id, &stream, &noise(700, 68), sys::write);
    (stream, id, peer)
}

fn reset_by_peer(truth: &mut Truth) {
    let (stream, id, mut peer) = to_be_reset(truth);
    receive_all(truth, id, &stream, &noise(500, 67), sys::read);
    peer.link.tell(0);
    peer.link.hear();
    peer.ended();
    drop(stream);
}

/// The reset shows as an error of the next call, once; the stream has ended for those that come later.
fn reset_then_read(truth: &mut Truth) {
    let (stream, id, mut peer) = to_be_reset(truth);
    let mut room = [0; 500];
    assert_eq!(sys::recv(stream.as_raw_fd(), &mut room[..400], libc::MSG_WAITALL), Ok(400));
    truth.moved(id, Way::Recv, &room[..400]);
    peer.link.tell(0);
    peer.link.hear();
    peer.ended();
    // Bytes that were there before the reset can still be read.
    assert_eq!(sys::read(stream.as_raw_fd(), &mut room[400..]), Ok(100));
    truth.moved(id, Way::Recv, &room[400..]);
    assert_eq!(room[..], noise(500, 67));
    assert_eq!(sys::read(stream.as_raw_fd(), &mut room), Err(libc::ECONNRESET));
    truth.failed(id, Way::Recv, libc::ECONNRESET);
    assert_eq!(sys::read(stream.as_raw_fd(), &mut room), Ok(0));
    truth.end_of_stream(id);
    assert_eq!(sys::send(stream.as_raw_fd(), &room, libc::MSG_NOSIGNAL), Err(libc::EPIPE));
    truth.failed(id, Way::Send, libc::EPIPE);
}

fn reset_then_write(truth: &mut Truth) {
    let (stream, id, mut peer) = to_be_reset(truth);
    receive_all(truth, id, &stream, &noise(500, 67), sys::read);
    peer.link.tell(0);
    peer.link.hear();
    peer.ended();
    for errno in [libc::ECONNRESET, libc::EPIPE] {
        assert_eq!(sys::send(stream.as_raw_fd(), b"late", libc::MSG_NOSIGNAL), Err(errno));
        truth.failed(id, Way::Send, errno);
    }
}

/// A socket whose connection was reset, with bytes left to read, begins another one.
fn reset_then_connect(truth: &mut Truth) {
    let (stream, id, mut peer) = to_be_reset(truth);
    assert_eq!(sys::recv(stream.as_raw_fd(), &mut [0; 400], libc::MSG_WAITALL), Ok(400));
    truth.moved(id, Way::Recv, &noise(500, 67)[..400]);
    peer.link.tell(0);
    peer.link.hear();
    peer.ended();
    assert_eq!(sys::read(stream.as_raw_fd(), &mut [0; 60]), Ok(60));
    truth.moved(id, Way::Recv, &noise(500, 67)[400..460]);
    begin_another(truth, id, stream);
}

/// The same where it is the process that ends the first connection.
fn disconnect_then_connect(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &noise(700, 103));
    send_all(truth, id, &stream, &noise(900, 104), sys::write);
    receive_all(truth, id, &stream, &noise(700, 103), sys::read);
    stream.shutdown(Shutdown::Write).expect("an open connection");
    peer.agrees(truth, id);
    begin_another(truth, id, stream);
}

fn begin_another(truth: &mut Truth, id: Id, stream: TcpStream) {
    let bytes = noise(700, 105);
    let (peer, address) = Peer::server("127.0.0.1", |stream, link| converse(&stream, &bytes, link));
    assert_eq!(sys::disconnect(&stream), Ok(0));
    let second = truth.again(id);
    assert_eq!(sys::connect(&stream, &sys::inet(address)), Ok(0));
    exchange(truth, stream, second, peer, &bytes);
}

/// Bytes that arrived and were not read are not part of the stream that the process saw.
fn unread_at_close(truth: &mut Truth) {
    let (mut peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        stream.write_all(&noise(1000, 69)).expect("the workload reads");
        link.tell(0);
        assert_eq!(sys::read(stream.as_raw_fd(), &mut [0]), Err(libc::ECONNRESET));
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    peer.link.hear();
    receive_all(truth, id, &stream, &noise(400, 69), sys::read);
    drop(stream);
    peer.ended();
}

/// The number of a closed descriptor is the next one's: other sockets, other connections.
fn fd_reused(truth: &mut Truth) {
    let mut number = None;
    for seed in 0..20 {
        let (peer, address) =
            Peer::server("127.0.0.1", |stream, link| tell_received(&receive(&stream), link));
        let stream = TcpStream::connect(address).expect("the peer listens");
        let id = truth.socket(&stream, "tcp");
        assert_eq!(*number.get_or_insert(stream.as_raw_fd()), stream.as_raw_fd());
        truth.via(id, Way::Send, stream.as_raw_fd());
        send_all(truth, id, &stream, &noise(500, 70 + seed), sys::write);
        drop(stream);
        peer.agrees(truth, id);
    }
}
