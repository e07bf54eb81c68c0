//! Sizes and numbers of buffers.

use super::Mode;
use super::calls::send_all;
use super::noise::noise;
use super::peer::connected;
use super::sys;
use super::truth::{Truth, Way};
use nix::libc::{MSG_WAITALL, SO_SNDBUF, SOL_SOCKET};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;

pub const MODES: &[Mode] = &[
    ("iovecs/counts", counts),
    ("iovecs/recv-counts", recv_counts),
    ("iovecs/1024-large", large),
    ("iovecs/size-classes", size_classes),
    ("iovecs/size-classes-recv", size_classes_recv),
    ("iovecs/one-call-of-64-MiB", huge),
];

/// Numbers of buffers around what probes may gather at once, and the most that the kernel takes (UIO_MAXIOV).
const COUNTS: [usize; 12] = [1, 2, 3, 7, 8, 9, 16, 17, 128, 129, 1023, 1024];

/// Odd sizes, some empty.
fn length(index: usize, seed: usize) -> usize {
    if index % 5 == 3 { 0 } else { (index * 37 + seed * 11) % 301 + 1 }
}

fn counts(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    sys::set_option(&stream, SOL_SOCKET, SO_SNDBUF, 4 << 20);
    for count in COUNTS {
        let lengths: Vec<usize> = (0..count).map(|index| length(index, count)).collect();
        let bytes = noise(lengths.iter().sum(), count as u64);
        let mut rest = &bytes[..];
        let mut parts = Vec::new();
        for length in lengths {
            let (part, after) = rest.split_at(length);
            parts.push(IoSlice::new(part));
            rest = after;
        }
        assert_eq!(sys::writev(stream.as_raw_fd(), &parts), Ok(bytes.len()));
        truth.moved(id, Way::Send, &bytes);
        assert_eq!(sys::sendmsg(stream.as_raw_fd(), &parts, 0), Ok(bytes.len()));
        truth.moved(id, Way::Send, &bytes);
    }
    drop(stream);
    peer.agrees(truth, id);
}

fn recv_counts(truth: &mut Truth) {
    let total: usize =
        COUNTS.map(|count| (0..count).map(|index| length(index, count)).sum::<usize>()).iter().sum();
    let bytes = noise(total, 20);
    let (stream, id, peer) = connected(truth, &bytes);
    let mut at = 0;
    for count in COUNTS {
        let lengths: Vec<usize> = (0..count).map(|index| length(index, count)).collect();
        let mut room = vec![0; lengths.iter().sum()];
        let mut rest = &mut room[..];
        let mut rooms = Vec::new();
        for length in lengths {
            let (part, after) = rest.split_at_mut(length);
            rooms.push(IoSliceMut::new(part));
            rest = after;
        }
        let (count, ..) = sys::recvmsg(stream.as_raw_fd(), &mut rooms, MSG_WAITALL, &mut []);
        assert_eq!(count, Ok(room.len()));
        assert_eq!(room, bytes[at..at + room.len()], "the peer's bytes");
        truth.moved(id, Way::Recv, &room);
        at += room.len();
    }
    drop(stream);
    peer.agrees(truth, id);
}

/// As many buffers as there can be, each larger than what probes copy at once.
fn large(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    let bytes = noise(1024 * 4099, 21);
    send_all(truth, id, &stream, &bytes, |fd, rest| {
        sys::writev(fd, &rest.chunks(4099).map(IoSlice::new).collect::<Vec<_>>())
    });
    drop(stream);
    peer.agrees(truth, id);
}

/// At, below and above each size in which payload may be copied, and its multiples.
fn sizes() -> Vec<usize> {
    let classes = (7..=16).map(|power| 1usize << power);
    classes.flat_map(|n| [n - 1, n, n + 1, 2 * n, 3 * n, 3 * n + 1]).collect()
}

fn size_classes(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    for size in sizes() {
        let bytes = noise(size, size as u64);
        send_all(truth, id, &stream, &bytes, sys::write);
        send_all(truth, id, &stream, &bytes, |fd, rest| {
            sys::writev(fd, &rest.chunks(size.div_ceil(2)).map(IoSlice::new).collect::<Vec<_>>())
        });
    }
    drop(stream);
    peer.agrees(truth, id);
}

fn size_classes_recv(truth: &mut Truth) {
    let bytes = noise(sizes().iter().sum(), 22);
    let (stream, id, peer) = connected(truth, &bytes);
    let mut at = 0;
    for size in sizes() {
        let mut room = vec![0; size];
        assert_eq!(sys::recv(stream.as_raw_fd(), &mut room, MSG_WAITALL), Ok(size));
        assert_eq!(room, bytes[at..at + size], "the peer's bytes");
        truth.moved(id, Way::Recv, &room);
        at += size;
    }
    drop(stream);
    peer.agrees(truth, id);
}

/// The largest single call: a blocking write returns when all of it is taken. It is larger than the ring between
/// probes and reader, so pieces of it may be refused; each is then missing as a whole.
fn huge(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    let bytes = noise(64 << 20, 23);
    assert_eq!(sys::write(stream.as_raw_fd(), &bytes), Ok(bytes.len()));
    for piece in bytes.chunks(64 << 10) {
        truth.hidden(id, Way::Send, piece, "ring-full");
    }
    drop(stream);
    peer.agrees(truth, id);
}
