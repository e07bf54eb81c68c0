//! Each call that moves bytes, alone on a TCP connection.

use super::noise::noise;
use super::peer::connected;
use super::sys::{self, Outcome};
use super::truth::{Id, Truth, Way};
use super::{Mode, peer::Peer};
use std::io::{IoSlice, IoSliceMut, PipeReader, PipeWriter};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

pub const MODES: &[Mode] = &[
    ("calls/write", |truth| send(truth, "write", sys::write)),
    ("calls/read", |truth| receive(truth, "read", sys::read)),
    ("calls/writev", |truth| send(truth, "writev", |fd, bytes| sys::writev(fd, &parts(bytes)))),
    ("calls/readv", |truth| receive(truth, "readv", |fd, room| sys::readv(fd, &mut rooms(room)))),
    // glibc makes both of the same system call.
    ("calls/send", |truth| send(truth, "sendto", |fd, bytes| sys::send(fd, bytes, 0))),
    ("calls/recv", |truth| receive(truth, "recvfrom", |fd, room| sys::recv(fd, room, 0))),
    // TCP ignores the address of a connected socket.
    ("calls/sendto", |truth| {
        send(truth, "sendto", |fd, bytes| {
            sys::sendto(fd, bytes, &sys::inet("127.0.0.1:9".parse().expect("an address")), 0)
        })
    }),
    ("calls/recvfrom", |truth| receive(truth, "recvfrom", sys::recvfrom)),
    ("calls/sendmsg", |truth| send(truth, "sendmsg", |fd, bytes| sys::sendmsg(fd, &parts(bytes), 0))),
    ("calls/recvmsg", |truth| {
        receive(truth, "recvmsg", |fd, room| sys::recvmsg(fd, &mut rooms(room), 0, &mut []).0)
    }),
    ("calls/sendmmsg", |truth| {
        send(truth, "sendmmsg", |fd, bytes| {
            let messages: Vec<_> = bytes.chunks(bytes.len().div_ceil(3)).map(parts).collect();
            Ok(sys::sendmmsg(fd, &messages)?.iter().sum())
        })
    }),
    ("calls/recvmmsg", recvmmsg),
    ("calls/pwritev2", |truth| send(truth, "pwritev2", |fd, bytes| sys::pwritev2(fd, &parts(bytes)))),
    ("calls/preadv2", |truth| receive(truth, "preadv2", |fd, room| sys::preadv2(fd, &mut rooms(room)))),
    ("calls/sendfile", |truth| {
        transfer(truth, |fd, bytes| {
            let file = sys::file(bytes);
            let sent = sys::sendfile(fd, &file, 0, bytes.len()).expect("an open connection");
            sent + sys::sendfile(fd, &file, sent as i64, bytes.len() - sent).expect("an open connection")
        })
    }),
    ("calls/splice-send", |truth| {
        transfer(truth, |fd, bytes| {
            let (output, input) = pipe();
            assert_eq!(sys::write(input.as_raw_fd(), bytes), Ok(bytes.len()));
            drain(&output, fd, bytes.len())
        })
    }),
    ("calls/splice-recv", splice_recv),
    ("calls/vmsplice", |truth| {
        transfer(truth, |fd, bytes| {
            let (output, input) = pipe();
            assert_eq!(sys::vmsplice(input.as_raw_fd(), bytes), Ok(bytes.len()));
            drain(&output, fd, bytes.len())
        })
    }),
    ("calls/zerocopy-receive", zerocopy_receive),
    ("calls/io-submit", io_submit),
    ("calls/tee", tee),
];

/// Small and large, more than a chunk of the probes and more than the kernel takes at once.
const SIZES: [usize; 6] = [1, 100, 4096, 5000, 70_000, 300_000];

/// Bytes in buffers of different size, one of them empty.
fn parts(bytes: &[u8]) -> Vec<IoSlice<'_>> {
    let (first, rest) = bytes.split_at(bytes.len() / 3);
    vec![IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(rest)]
}

/// Room as in [`parts`].
fn rooms(room: &mut [u8]) -> Vec<IoSliceMut<'_>> {
    let (first, rest) = room.split_at_mut(room.len() / 3);
    vec![IoSliceMut::new(first), IoSliceMut::new(&mut []), IoSliceMut::new(rest)]
}

/// Pages that a splice moves may be in use after it: the pipes and the bytes outlive the connection's end.
fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().expect("a pipe")
}

fn send(truth: &mut Truth, call: &'static str, make: fn(RawFd, &[u8]) -> Outcome) {
    let (stream, id, peer) = connected(truth, &[]);
    truth.called(id, Way::Send, call);
    for (seed, size) in SIZES.into_iter().enumerate() {
        send_all(truth, id, &stream, &noise(size, seed as u64), make);
    }
    drop(stream);
    peer.agrees(truth, id);
}

/// Calls until all bytes are sent.
pub fn send_all(
    truth: &mut Truth,
    id: Id,
    stream: &impl AsRawFd,
    bytes: &[u8],
    make: impl Fn(RawFd, &[u8]) -> Outcome,
) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = make(stream.as_raw_fd(), rest).expect("an open connection");
        truth.moved(id, Way::Send, &rest[..sent]);
        rest = &rest[sent..];
    }
}

fn receive(truth: &mut Truth, call: &'static str, make: fn(RawFd, &mut [u8]) -> Outcome) {
    let bytes = noise(SIZES.iter().sum(), 7);
    let (stream, id, peer) = connected(truth, &bytes);
    truth.called(id, Way::Recv, call);
    receive_all(truth, id, &stream, &bytes, make);
    drop(stream);
    peer.agrees(truth, id);
}

/// Calls until all bytes are there, which are to be `bytes`.
pub fn receive_all(
    truth: &mut Truth,
    id: Id,
    stream: &impl AsRawFd,
    bytes: &[u8],
    make: impl Fn(RawFd, &mut [u8]) -> Outcome,
) {
    let mut received = 0;
    for size in SIZES.into_iter().cycle() {
        let mut room = vec![0; size.min(bytes.len() - received)];
        let count = make(stream.as_raw_fd(), &mut room).expect("an open connection");
        assert_eq!(&room[..count], &bytes[received..received + count], "the peer's bytes");
        truth.moved(id, Way::Recv, &room[..count]);
        received += count;
        if received == bytes.len() {
            return;
        }
    }
}

fn recvmmsg(truth: &mut Truth) {
    let bytes = noise(50_000, 8);
    let (stream, id, peer) = connected(truth, &bytes);
    truth.called(id, Way::Recv, "recvmmsg");
    let mut received = 0;
    while received < bytes.len() {
        let mut room = vec![0; 3000.min(bytes.len() - received)];
        let mut messages: Vec<_> = room.chunks_mut(1000).map(rooms).collect();
        let flags = nix::libc::MSG_WAITFORONE;
        let counts = sys::recvmmsg(stream.as_raw_fd(), &mut messages, flags).expect("an open connection");
        for (message, count) in room.chunks(1000).zip(counts) {
            assert_eq!(&message[..count], &bytes[received..received + count], "the peer's bytes");
            truth.moved(id, Way::Recv, &message[..count]);
            received += count;
        }
    }
    drop(stream);
    peer.agrees(truth, id);
}

/// Bytes that never are in user memory, between such that are.
fn transfer(truth: &mut Truth, make: fn(RawFd, &[u8]) -> usize) {
    let (stream, id, peer) = connected(truth, &[]);
    let bytes = noise(60_000, 9);
    send_all(truth, id, &stream, &noise(1000, 10), sys::write);
    assert_eq!(make(stream.as_raw_fd(), &bytes), bytes.len());
    truth.hidden(id, Way::Send, &bytes, "in-kernel-transfer");
    send_all(truth, id, &stream, &noise(500, 11), sys::write);
    finish(truth, stream, id, peer);
}

fn finish(truth: &mut Truth, stream: TcpStream, id: Id, peer: Peer) {
    drop(stream);
    peer.agrees(truth, id);
}

/// Moves `length` bytes from a pipe into a socket.
fn drain(pipe: &PipeReader, fd: RawFd, length: usize) -> usize {
    let mut moved = 0;
    while moved < length {
        moved += sys::splice(pipe.as_raw_fd(), fd, length - moved).expect("an open connection");
    }
    moved
}

fn splice_recv(truth: &mut Truth) {
    let bytes = noise(40_000, 12);
    let (stream, id, peer) = connected(truth, &bytes);
    let (output, input) = pipe();
    let mut at = 1000;
    receive_all(truth, id, &stream, &bytes[..at], sys::read);
    while at < 39_000 {
        let length = 39_000 - at;
        let count = sys::splice(stream.as_raw_fd(), input.as_raw_fd(), length).expect("an open connection");
        let mut room = vec![0; count];
        assert_eq!(sys::read(output.as_raw_fd(), &mut room), Ok(count));
        assert_eq!(room, bytes[at..at + count], "the peer's bytes");
        truth.hidden(id, Way::Recv, &room, "in-kernel-transfer");
        at += count;
    }
    receive_all(truth, id, &stream, &bytes[at..], sys::read);
    finish(truth, stream, id, peer);
}

/// The same pages on two connections.
fn tee(truth: &mut Truth) {
    let ends = [connected(truth, &[]), connected(truth, &[])];
    let bytes = noise(30_000, 13);
    let (pipes, copies) = (pipe(), pipe());
    assert_eq!(sys::write(pipes.1.as_raw_fd(), &bytes), Ok(bytes.len()));
    let copied = sys::tee(pipes.0.as_raw_fd(), copies.1.as_raw_fd(), bytes.len());
    assert_eq!(copied, Ok(bytes.len()));
    for ((stream, id, peer), output) in ends.into_iter().zip([&pipes.0, &copies.0]) {
        drain(output, stream.as_raw_fd(), bytes.len());
        truth.hidden(id, Way::Send, &bytes, "in-kernel-transfer");
        finish(truth, stream, id, peer);
    }
}

/// Bytes that are received by asking for an option of the socket: no call that moves data has a part in it.
fn zerocopy_receive(truth: &mut Truth) {
    let bytes = noise(9000, 14);
    let (stream, id, peer) = connected(truth, &bytes);
    let mut at = 1000;
    receive_all(truth, id, &stream, &bytes[..at], sys::read);
    while at < bytes.len() {
        let mut room = [0; 8000];
        let count = sys::zerocopy_receive(&stream, &mut room);
        assert_eq!(room[..count], bytes[at..at + count], "the peer's bytes");
        truth.hidden(id, Way::Recv, &room[..count], "untraced-syscall");
        at += count;
    }
    finish(truth, stream, id, peer);
}

/// The kernel's older interface for asynchronous I/O, which on sockets is done when the call returns.
fn io_submit(truth: &mut Truth) {
    let (sent, received) = (noise(3000, 15), noise(2000, 16));
    let (stream, id, peer) = connected(truth, &received);
    send_all(truth, id, &stream, &sent[..1000], sys::write);
    assert_eq!(sys::io_submit_write(stream.as_raw_fd(), &sent[1000..]), Ok(2000));
    truth.hidden(id, Way::Send, &sent[1000..], "untraced-syscall");
    let mut at = 0;
    while at < received.len() {
        let mut room = [0; 2000];
        let count = sys::io_submit_read(stream.as_raw_fd(), &mut room).expect("an open connection");
        assert_eq!(room[..count], received[at..at + count], "the peer's bytes");
        truth.hidden(id, Way::Recv, &room[..count], "untraced-syscall");
        at += count;
    }
    finish(truth, stream, id, peer);
}
