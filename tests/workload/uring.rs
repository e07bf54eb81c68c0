//! io_uring: the kernel moves the bytes in a system call that names no socket, in a worker, or in a thread of its own.

use super::Mode;
use super::calls::{receive_all, send_all};
use super::noise::noise;
use super::peer::connected;
use super::sys;
use super::truth::{Truth, Way};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode};
use nix::libc::{self, iovec, msghdr};
use std::os::fd::{AsRawFd, RawFd};

pub const MODES: &[Mode] = &[
    ("uring/write", |truth| send(truth, ring(), |fd, at, length| opcode::Write::new(fd, at, length).build())),
    ("uring/send", |truth| send(truth, ring(), |fd, at, length| opcode::Send::new(fd, at, length).build())),
    ("uring/sendmsg", |truth| send_message(truth, |fd, at| opcode::SendMsg::new(fd, at).build())),
    ("uring/send-zc", |truth| {
        send(truth, ring(), |fd, at, length| opcode::SendZc::new(fd, at, length).build())
    }),
    ("uring/sendmsg-zc", |truth| send_message(truth, |fd, at| opcode::SendMsgZc::new(fd, at).build())),
    // By a worker thread of the kernel.
    ("uring/send-async", |truth| {
        send(truth, ring(), |fd, at, length| opcode::Send::new(fd, at, length).build().flags(Flags::ASYNC))
    }),
    ("uring/send-sqpoll", |truth| {
        send(truth, polled(), |fd, at, length| opcode::Send::new(fd, at, length).build())
    }),
    ("uring/read", |truth| {
        receive(truth, ring(), |fd, at, length| opcode::Read::new(fd, at, length).build())
    }),
    ("uring/recv", |truth| {
        receive(truth, ring(), |fd, at, length| opcode::Recv::new(fd, at, length).build())
    }),
    ("uring/recvmsg", receive_message),
    ("uring/recv-async", |truth| {
        receive(truth, ring(), |fd, at, length| opcode::Recv::new(fd, at, length).build().flags(Flags::ASYNC))
    }),
    ("uring/recv-sqpoll", |truth| {
        receive(truth, polled(), |fd, at, length| opcode::Recv::new(fd, at, length).build())
    }),
    ("uring/recv-provided", |truth| provided(truth, false)),
    ("uring/recv-multishot", |truth| provided(truth, true)),
];

const CAUSE: &str = "io-uring";

fn ring() -> IoUring {
    IoUring::new(8).expect("a kernel with io_uring")
}

/// A thread of the kernel takes what is submitted.
fn polled() -> IoUring {
    IoUring::builder().setup_sqpoll(100).build(8).expect("a kernel with io_uring")
}

/// Submits one operation, and gives the results of this and earlier ones until it is done.
fn submit(ring: &mut IoUring, entry: &Entry) -> cqueue::Entry {
    // SAFETY: callers keep the memory that the entry points to until the operation is done, which is awaited here
    // or, where there is more to come, by them.
    unsafe { ring.submission().push(entry) }.expect("room");
    next(ring)
}

/// Waits for the next result.
fn next(ring: &mut IoUring) -> cqueue::Entry {
    loop {
        if let Some(result) = ring.completion().next() {
            return result;
        }
        ring.submit_and_wait(1).expect("a ring that works");
    }
}

/// What an operation moved. Zero-copy ones tell a second time, once the pages are free.
fn moved(ring: &mut IoUring, entry: &Entry) -> usize {
    let result = submit(ring, entry);
    let count = usize::try_from(result.result()).expect("an open connection");
    if cqueue::more(result.flags()) {
        next(ring);
    }
    count
}

fn send(truth: &mut Truth, mut ring: IoUring, make: fn(Fd, *const u8, u32) -> Entry) {
    send_by(truth, |fd, bytes| moved(&mut ring, &make(Fd(fd), bytes.as_ptr(), bytes.len() as u32)));
}

fn send_message(truth: &mut Truth, make: fn(Fd, *const msghdr) -> Entry) {
    let mut ring = ring();
    send_by(truth, |fd, bytes| {
        let (first, second) = bytes.split_at(bytes.len() / 3);
        let mut parts = [part(first), part(second)];
        let header = header(&mut parts);
        moved(&mut ring, &make(Fd(fd), &raw const header))
    });
}

fn part(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

fn header(parts: &mut [iovec]) -> msghdr {
    // SAFETY: zero is a valid header of an empty message.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    header
}

/// Sends by io_uring between plain calls.
fn send_by(truth: &mut Truth, mut make: impl FnMut(RawFd, &[u8]) -> usize) {
    let (stream, id, peer) = connected(truth, &[]);
    send_all(truth, id, &stream, &noise(1000, 200), sys::write);
    for size in [100, 70_000] {
        let bytes = noise(size, 201);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let sent = make(stream.as_raw_fd(), rest);
            truth.hidden(id, Way::Send, &rest[..sent], CAUSE);
            rest = &rest[sent..];
        }
    }
    send_all(truth, id, &stream, &noise(500, 202), sys::write);
    drop(stream);
    peer.agrees(truth, id);
}

fn receive(truth: &mut Truth, mut ring: IoUring, make: fn(Fd, *mut u8, u32) -> Entry) {
    receive_by(truth, |fd, room| {
        let count = moved(&mut ring, &make(Fd(fd), room.as_mut_ptr(), room.len() as u32));
        room[..count].to_vec()
    });
}

fn receive_message(truth: &mut Truth) {
    let mut ring = ring();
    receive_by(truth, |fd, room| {
        let (first, second) = room.split_at(room.len() / 3);
        let mut parts = [part(first), part(second)];
        let mut header = header(&mut parts);
        let count = moved(&mut ring, &opcode::RecvMsg::new(Fd(fd), &raw mut header).build());
        room[..count].to_vec()
    });
}

/// Receives by io_uring between plain calls.
fn receive_by(truth: &mut Truth, mut make: impl FnMut(RawFd, &mut [u8]) -> Vec<u8>) {
    let bytes = noise(40_000, 203);
    let (stream, id, peer) = connected(truth, &bytes);
    receive_all(truth, id, &stream, &bytes[..1000], sys::read);
    let mut at = 1000;
    let mut room = vec![0; 10_000];
    while at < 39_000 {
        let length = room.len().min(39_000 - at);
        let received = make(stream.as_raw_fd(), &mut room[..length]);
        assert_eq!(received, bytes[at..at + received.len()], "the peer's bytes");
        truth.hidden(id, Way::Recv, &received, CAUSE);
        at += received.len();
    }
    receive_all(truth, id, &stream, &bytes[39_000..], sys::read);
    drop(stream);
    peer.agrees(truth, id);
}

/// The kernel chooses the buffer; with multishot, for as many receives as there are buffers.
fn provided(truth: &mut Truth, multishot: bool) {
    const SIZE: usize = 4000;
    const GROUP: u16 = 7;
    let bytes = noise(8 * SIZE, 204);
    let (stream, id, peer) = connected(truth, &bytes);
    let mut ring = ring();
    let mut room = vec![0u8; 4 * SIZE];
    let fd = Fd(stream.as_raw_fd());
    let mut at = 0;
    while at < bytes.len() {
        let buffers = opcode::ProvideBuffers::new(room.as_mut_ptr(), SIZE as i32, 4, GROUP, 0).build();
        assert!(submit(&mut ring, &buffers).result() >= 0);
        // As long as there are buffers; then the kernel says ENOBUFS and is done.
        loop {
            let entry = if multishot {
                opcode::RecvMulti::new(fd, GROUP).build()
            } else {
                opcode::Recv::new(fd, std::ptr::null_mut(), SIZE as u32)
                    .buf_group(GROUP)
                    .build()
                    .flags(Flags::BUFFER_SELECT)
            };
            let mut result = submit(&mut ring, &entry);
            while result.result() > 0 {
                let buffer = usize::from(cqueue::buffer_select(result.flags()).expect("a buffer")) * SIZE;
                let received = &room[buffer..buffer + result.result() as usize];
                assert_eq!(received, &bytes[at..at + received.len()], "the peer's bytes");
                truth.hidden(id, Way::Recv, received, CAUSE);
                at += received.len();
                if !cqueue::more(result.flags()) {
                    break;
                }
                result = next(&mut ring);
            }
            if at == bytes.len() || result.result() == -libc::ENOBUFS {
                break;
            }
            assert!(result.result() > 0, "{}", result.result());
        }
    }
    drop(stream);
    drop(ring);
    peer.agrees(truth, id);
}
