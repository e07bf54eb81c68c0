//! Flags of calls, and calls that move less than was asked for, or nothing.

use super::Mode;
use super::calls::{receive_all, send_all};
use super::noise::noise;
use super::peer::{Link, Peer, connected, converse, receive, tell_received};
use super::sys;
use super::truth::{Id, Truth, Way};
use nix::libc::{self, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_WAITALL, SO_SNDBUF, SOL_SOCKET};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::TimeVal;
use std::io::{IoSlice, IoSliceMut, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

pub const MODES: &[Mode] = &[
    ("flags/peek", peek),
    ("flags/trunc", trunc),
    ("flags/waitall", waitall),
    ("flags/oob-send", oob_send),
    ("flags/oob-recv", oob_recv),
    ("flags/zerocopy-errqueue", zerocopy),
    ("flags/dontwait", dontwait),
    ("flags/short-write", short_write),
    ("flags/short-write-by-signal", short_write_by_signal),
    ("flags/eagain", eagain),
    ("flags/eintr", eintr),
    ("flags/epipe", epipe),
    ("flags/recv-0", recv_0),
    ("flags/empty-calls", empty_calls),
];

/// A connection to a peer that does `work`.
fn with_peer(truth: &mut Truth, work: impl FnOnce(TcpStream, &mut Link)) -> (TcpStream, Id, Peer) {
    let (peer, address) = Peer::server("127.0.0.1", work);
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    (stream, id, peer)
}

fn peek(truth: &mut Truth) {
    let bytes = noise(5000, 30);
    let (stream, id, peer) = connected(truth, &bytes);
    let mut room = [0; 600];
    for at in [0, 600] {
        for _ in 0..2 {
            assert_eq!(sys::recv(stream.as_raw_fd(), &mut room, MSG_PEEK | MSG_WAITALL), Ok(600));
            assert_eq!(room, bytes[at..at + 600]);
            truth.peeked(id, &room);
        }
        receive_all(truth, id, &stream, &bytes[at..at + 600], |fd, room| sys::recv(fd, room, 0));
    }
    let mut control = [];
    let rooms = &mut [IoSliceMut::new(&mut room)];
    assert_eq!(sys::recvmsg(stream.as_raw_fd(), rooms, MSG_PEEK | MSG_WAITALL, &mut control).0, Ok(600));
    truth.peeked(id, &room);
    receive_all(truth, id, &stream, &bytes[1200..], sys::read);
    drop(stream);
    peer.agrees(truth, id);
}

/// On TCP the flag has the kernel throw the bytes away: they never were in memory.
fn trunc(truth: &mut Truth) {
    let bytes = noise(5000, 31);
    let (stream, id, peer) = connected(truth, &bytes);
    receive_all(truth, id, &stream, &bytes[..1000], sys::read);
    assert_eq!(sys::discard(stream.as_raw_fd(), 3000), Ok(3000));
    truth.hidden(id, Way::Recv, &bytes[1000..4000], "in-kernel-transfer");
    receive_all(truth, id, &stream, &bytes[4000..], sys::read);
    drop(stream);
    peer.agrees(truth, id);
}

/// One call that waits for bytes of three segments.
fn waitall(truth: &mut Truth) {
    let bytes = noise(3000, 32);
    let (stream, id, peer) = with_peer(truth, |mut stream, link| {
        stream.set_nodelay(true).expect("a TCP socket");
        for part in noise(3000, 32).chunks(1000) {
            stream.write_all(part).expect("the workload reads");
        }
        tell_received(&receive(&stream), link);
    });
    let mut room = [0; 3000];
    assert_eq!(sys::recv(stream.as_raw_fd(), &mut room, MSG_WAITALL), Ok(3000));
    assert_eq!(room[..], bytes);
    truth.moved(id, Way::Recv, &room);
    drop(stream);
    peer.agrees(truth, id);
}

/// An urgent byte has its place in the stream.
fn oob_send(truth: &mut Truth) {
    let (stream, id, peer) = with_peer(truth, |stream, link| {
        sys::set_option(&stream, SOL_SOCKET, libc::SO_OOBINLINE, 1);
        link.tell(0);
        tell_received(&receive(&stream), link);
    });
    let mut peer = peer;
    peer.link.hear();
    send_all(truth, id, &stream, &noise(1000, 33), sys::write);
    send_all(truth, id, &stream, b"!", |fd, bytes| sys::send(fd, bytes, MSG_OOB));
    send_all(truth, id, &stream, &noise(1000, 34), sys::write);
    drop(stream);
    peer.agrees(truth, id);
}

/// Reads pass an urgent byte, which has its place in the stream and is read by a call of its own.
fn oob_recv(truth: &mut Truth) {
    let (stream, id, mut peer) = with_peer(truth, |mut stream, link| {
        stream.write_all(&noise(1000, 35)).expect("the workload reads");
        sys::send(stream.as_raw_fd(), b"!", MSG_OOB).expect("the workload reads");
        stream.write_all(&noise(1000, 36)).expect("the workload reads");
        link.tell(0);
        tell_received(&receive(&stream), link);
    });
    peer.link.hear();
    receive_all(truth, id, &stream, &noise(1000, 35), sys::read);
    let mut urgent = [0];
    wait(&stream, PollFlags::POLLPRI);
    assert_eq!(sys::recv(stream.as_raw_fd(), &mut urgent, MSG_OOB), Ok(1));
    assert_eq!(urgent, *b"!");
    truth.hidden(id, Way::Recv, b"!", "untraced-syscall");
    receive_all(truth, id, &stream, &noise(1000, 36), sys::read);
    drop(stream);
    peer.agrees(truth, id);
}

/// What comes by the error queue (word of sent bytes) is not the stream.
fn zerocopy(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    sys::set_option(&stream, SOL_SOCKET, libc::SO_ZEROCOPY, 1);
    let bytes = noise(50_000, 37);
    let mut calls = 0;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let parts = [IoSlice::new(rest)];
        let sent = sys::sendmsg(stream.as_raw_fd(), &parts, libc::MSG_ZEROCOPY).expect("an open connection");
        truth.moved(id, Way::Send, &rest[..sent]);
        rest = &rest[sent..];
        calls += 1;
    }
    let mut told = 0;
    while told < calls {
        wait(&stream, PollFlags::POLLERR);
        let mut control = [0; 128];
        let (result, length, _) = sys::recvmsg(stream.as_raw_fd(), &mut [], libc::MSG_ERRQUEUE, &mut control);
        if result == Err(libc::EAGAIN) {
            continue;
        }
        assert!(result == Ok(0) && length >= 32, "{result:?}, {length} bytes of control");
        // struct sock_extended_err behind the header: ee_info and ee_data are the first and last call told of.
        let word = |at: usize| u32::from_ne_bytes(control[at..at + 4].try_into().expect("four bytes"));
        told += word(16 + 12) - word(16 + 8) + 1;
    }
    drop(stream);
    peer.agrees(truth, id);
}

/// Waits until this is so of a descriptor.
pub fn wait(fd: impl AsFd, what: PollFlags) {
    poll(&mut [PollFd::new(fd.as_fd(), what)], PollTimeout::NONE).expect("a descriptor to poll");
}

fn dontwait(truth: &mut Truth) {
    let bytes = noise(2000, 38);
    let (stream, id, mut peer) = with_peer(truth, |stream, link| {
        link.hear();
        converse(&stream, &noise(2000, 38), link);
    });
    let mut room = [0; 1000];
    assert_eq!(sys::recv(stream.as_raw_fd(), &mut room, MSG_DONTWAIT), Err(libc::EAGAIN));
    peer.link.tell(0);
    for part in bytes.chunks(1000) {
        let mut count = 0;
        while count < part.len() {
            wait(&stream, PollFlags::POLLIN);
            let more = sys::recv(stream.as_raw_fd(), &mut room[..part.len() - count], MSG_DONTWAIT);
            let more = more.expect("bytes that were announced");
            assert_eq!(room[..more], part[count..count + more]);
            truth.moved(id, Way::Recv, &room[..more]);
            count += more;
        }
    }
    send_all(truth, id, &stream, &noise(3000, 39), |fd, bytes| sys::send(fd, bytes, MSG_DONTWAIT));
    drop(stream);
    peer.agrees(truth, id);
}

/// A connection with little room, whose peer begins to read when told.
fn narrow(truth: &mut Truth) -> (TcpStream, Id, Peer) {
    let (stream, id, peer) = with_peer(truth, |stream, link| {
        link.hear();
        converse(&stream, &[], link);
    });
    sys::set_option(&stream, SOL_SOCKET, SO_SNDBUF, 16 << 10);
    (stream, id, peer)
}

fn short_write(truth: &mut Truth) {
    let (stream, id, mut peer) = narrow(truth);
    stream.set_nonblocking(true).expect("a socket");
    let bytes = noise(8 << 20, 40);
    let mut sent = sys::write(stream.as_raw_fd(), &bytes).expect("some room");
    assert!(sent < bytes.len(), "the kernel took all");
    truth.moved(id, Way::Send, &bytes[..sent]);
    peer.link.tell(0);
    while sent < bytes.len() {
        wait(&stream, PollFlags::POLLOUT);
        // Retried without waiting, too: EAGAIN is no event.
        let parts = [IoSlice::new(&bytes[sent..])];
        match sys::writev(stream.as_raw_fd(), &parts) {
            Ok(more) => {
                truth.moved(id, Way::Send, &bytes[sent..sent + more]);
                sent += more;
            }
            Err(errno) => assert_eq!(errno, libc::EAGAIN),
        }
    }
    drop(stream);
    peer.agrees(truth, id);
}

fn eagain(truth: &mut Truth) {
    let (stream, id, mut peer) = narrow(truth);
    stream.set_nonblocking(true).expect("a socket");
    let bytes = noise(100_000, 41);
    assert_eq!(sys::read(stream.as_raw_fd(), &mut [0; 10]), Err(libc::EAGAIN));
    let error = loop {
        match sys::write(stream.as_raw_fd(), &bytes) {
            Ok(sent) => truth.moved(id, Way::Send, &bytes[..sent]),
            Err(errno) => break errno,
        }
    };
    assert_eq!(error, libc::EAGAIN);
    assert_eq!(sys::sendmsg(stream.as_raw_fd(), &[IoSlice::new(&bytes)], 0), Err(libc::EAGAIN));
    peer.link.tell(0);
    drop(stream);
    peer.agrees(truth, id);
}

extern "C" fn ignore(_: i32) {}

/// Signals that interrupt calls, every 10 ms until the guard is dropped.
struct Interruptions;

impl Interruptions {
    fn begin() -> Interruptions {
        let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGALRM, &action) }.expect("a signal that can be caught");
        Interruptions::every(10_000);
        Interruptions
    }

    fn every(microseconds: i64) {
        let interval = *TimeVal::new(0, microseconds).as_ref();
        let timer = libc::itimerval { it_interval: interval, it_value: interval };
        // SAFETY: the old value is not asked for.
        let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
        assert_eq!(set, 0);
    }
}

impl Drop for Interruptions {
    fn drop(&mut self) {
        Interruptions::every(0);
    }
}

/// A blocking write that a signal ends in the middle.
fn short_write_by_signal(truth: &mut Truth) {
    let (stream, id, mut peer) = narrow(truth);
    let bytes = noise(8 << 20, 42);
    let signals = Interruptions::begin();
    let sent = sys::write(stream.as_raw_fd(), &bytes).expect("some room");
    drop(signals);
    assert!(sent < bytes.len(), "no signal came");
    truth.moved(id, Way::Send, &bytes[..sent]);
    peer.link.tell(0);
    send_all(truth, id, &stream, &bytes[sent..sent + 1000], sys::write);
    drop(stream);
    peer.agrees(truth, id);
}

fn eintr(truth: &mut Truth) {
    let (stream, id, mut peer) = with_peer(truth, |stream, link| {
        link.hear();
        converse(&stream, &noise(2000, 43), link);
    });
    let signals = Interruptions::begin();
    let mut room = [0; 100];
    assert_eq!(sys::read(stream.as_raw_fd(), &mut room), Err(libc::EINTR));
    assert_eq!(sys::recv(stream.as_raw_fd(), &mut room, MSG_WAITALL), Err(libc::EINTR));
    drop(signals);
    peer.link.tell(0);
    receive_all(truth, id, &stream, &noise(2000, 43), sys::read);
    drop(stream);
    peer.agrees(truth, id);
}

fn epipe(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    send_all(truth, id, &stream, &noise(1000, 44), sys::write);
    stream.shutdown(Shutdown::Write).expect("an open connection");
    for _ in 0..2 {
        assert_eq!(sys::send(stream.as_raw_fd(), b"late", MSG_NOSIGNAL), Err(libc::EPIPE));
        truth.failed(id, Way::Send, libc::EPIPE);
    }
    drop(stream);
    peer.agrees(truth, id);
}

fn recv_0(truth: &mut Truth) {
    let bytes = noise(1000, 45);
    let (stream, id, peer) = connected(truth, &bytes);
    receive_all(truth, id, &stream, &bytes, sys::read);
    for _ in 0..2 {
        assert_eq!(sys::read(stream.as_raw_fd(), &mut [0; 10]), Ok(0));
        truth.end_of_stream(id);
    }
    send_all(truth, id, &stream, &noise(1000, 46), sys::write);
    drop(stream);
    peer.agrees(truth, id);
}

/// Calls with no room or no bytes move nothing, and say nothing about the stream.
fn empty_calls(truth: &mut Truth) {
    let (stream, id, mut peer) = with_peer(truth, |stream, link| {
        converse(&stream, &noise(1000, 47), link);
        link.hear();
    });
    assert_eq!(sys::write(stream.as_raw_fd(), &[]), Ok(0));
    assert_eq!(sys::sendmsg(stream.as_raw_fd(), &[], 0), Ok(0));
    receive_all(truth, id, &stream, &noise(500, 47), sys::read);
    assert_eq!(sys::recv(stream.as_raw_fd(), &mut [], MSG_DONTWAIT), Ok(0));
    receive_all(truth, id, &stream, &noise(1000, 47)[500..], sys::read);
    send_all(truth, id, &stream, &noise(1000, 48), sys::write);
    drop(stream);
    peer.link.tell(0);
    peer.agrees(truth, id);
}
