//! Unix sockets of each kind and kind of name. Both ends are the workload's.

use super::Mode;
use super::noise::noise;
use super::sharing::pair;
use super::sys;
use super::truth::{Id, Truth, Way};
use nix::libc::{self, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

pub const MODES: &[Mode] = &[
    ("unix/stream-pair", |truth| exchange(truth, SOCK_STREAM, paired)),
    ("unix/stream-named", |truth| exchange(truth, SOCK_STREAM, named)),
    ("unix/stream-abstract", |truth| exchange(truth, SOCK_STREAM, with_abstract_name)),
    ("unix/dgram-pair", |truth| exchange(truth, SOCK_DGRAM, paired)),
    ("unix/dgram-named", |truth| exchange(truth, SOCK_DGRAM, named)),
    ("unix/dgram-abstract", |truth| exchange(truth, SOCK_DGRAM, with_abstract_name)),
    ("unix/seqpacket-pair", |truth| exchange(truth, SOCK_SEQPACKET, paired)),
    ("unix/seqpacket-named", |truth| exchange(truth, SOCK_SEQPACKET, named)),
    ("unix/seqpacket-abstract", |truth| exchange(truth, SOCK_SEQPACKET, with_abstract_name)),
    ("unix/dgram-empty", empty_datagram),
    ("unix/dgram-mmsg", many_messages),
    ("unix/stream-peek", peek),
    ("unix/stream-end", end_of_stream),
    ("unix/stream-epipe", epipe),
];

type Ends = [(OwnedFd, Id); 2];

fn transport(kind: i32) -> &'static str {
    match kind {
        SOCK_STREAM => "unix-stream",
        SOCK_DGRAM => "unix-dgram",
        _ => "unix-seqpacket",
    }
}

fn paired(truth: &mut Truth, kind: i32) -> Ends {
    pair(truth, kind, transport(kind))
}

fn named(truth: &mut Truth, kind: i32) -> Ends {
    let folder = tempfile::tempdir().expect("room for files");
    connected(truth, kind, folder.path().join("socket").as_os_str().as_bytes())
}

fn with_abstract_name(truth: &mut Truth, kind: i32) -> Ends {
    connected(truth, kind, format!("\0workload-{}", std::process::id()).as_bytes())
}

/// A socket of this name, and one connected to it.
fn connected(truth: &mut Truth, kind: i32, name: &[u8]) -> Ends {
    let (name, transport) = (sys::unix(name), transport(kind));
    let [client, server] = [(); 2].map(|()| sys::socket(libc::AF_UNIX, kind));
    let [client_id, server_id] = [truth.socket(&client, transport), truth.socket(&server, transport)];
    assert_eq!(sys::bind(&server, &name), Ok(0));
    if kind == SOCK_DGRAM {
        assert_eq!(sys::connect(&client, &name), Ok(0));
        return [(client, client_id), (server, server_id)];
    }
    truth.idle(server_id);
    assert_eq!(sys::listen(&server), Ok(0));
    assert_eq!(sys::connect(&client, &name), Ok(0));
    let accepted = sys::accept(&server);
    let accepted_id = truth.socket(&accepted, transport);
    [(client, client_id), (accepted, accepted_id)]
}

fn note(truth: &mut Truth, kind: i32, id: Id, way: Way, bytes: &[u8]) {
    if kind == SOCK_STREAM {
        truth.moved(id, way, bytes);
    } else {
        truth.datagram(id, way, bytes, None);
    }
}

fn exchange(truth: &mut Truth, kind: i32, make: fn(&mut Truth, i32) -> Ends) {
    let ends = make(truth, kind);
    // The named end of a datagram pair does not know the other.
    let ways: &[(usize, usize)] = if kind == SOCK_DGRAM { &[(0, 1)] } else { &[(0, 1), (1, 0)] };
    for &(from, to) in ways {
        for size in [1, 4096, 4097, 30_000] {
            let bytes = noise(size, 170 + size as u64);
            let ((sender, sender_id), (receiver, receiver_id)) = (&ends[from], &ends[to]);
            assert_eq!(sys::write(sender.as_raw_fd(), &bytes), Ok(size));
            note(truth, kind, *sender_id, Way::Send, &bytes);
            let parts = [IoSlice::new(&bytes[..size / 2]), IoSlice::new(&bytes[size / 2..])];
            assert_eq!(sys::sendmsg(sender.as_raw_fd(), &parts, 0), Ok(size));
            note(truth, kind, *sender_id, Way::Send, &bytes);
            let mut room = vec![0; size];
            assert_eq!(sys::recv(receiver.as_raw_fd(), &mut room, libc::MSG_WAITALL), Ok(size));
            assert_eq!(room, bytes);
            note(truth, kind, *receiver_id, Way::Recv, &bytes);
            let mut rooms = [IoSliceMut::new(&mut room)];
            let (count, ..) = sys::recvmsg(receiver.as_raw_fd(), &mut rooms, libc::MSG_WAITALL, &mut []);
            assert_eq!(count, Ok(size));
            assert_eq!(room, bytes);
            note(truth, kind, *receiver_id, Way::Recv, &bytes);
        }
    }
}

fn empty_datagram(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = paired(truth, SOCK_DGRAM);
    for bytes in [noise(10, 180), Vec::new(), noise(20, 181)] {
        assert_eq!(sys::send(a.as_raw_fd(), &bytes, 0), Ok(bytes.len()));
        truth.datagram(a_id, Way::Send, &bytes, None);
        assert_eq!(sys::read(b.as_raw_fd(), &mut [0; 100]), Ok(bytes.len()));
        truth.datagram(b_id, Way::Recv, &bytes, None);
    }
}

fn many_messages(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = paired(truth, SOCK_DGRAM);
    let datagrams = [noise(10, 182), noise(3000, 183), noise(1, 184)];
    let messages: Vec<_> = datagrams.iter().map(|bytes| vec![IoSlice::new(bytes)]).collect();
    assert_eq!(sys::sendmmsg(a.as_raw_fd(), &messages), Ok(vec![10, 3000, 1]));
    let mut room = [0; 12_000];
    let mut rooms: Vec<_> = room.chunks_mut(4000).map(|part| vec![IoSliceMut::new(part)]).collect();
    assert_eq!(sys::recvmmsg(b.as_raw_fd(), &mut rooms, 0), Ok(vec![10, 3000, 1]));
    for bytes in &datagrams {
        truth.datagram(a_id, Way::Send, bytes, None);
        truth.datagram(b_id, Way::Recv, bytes, None);
    }
}

fn peek(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = paired(truth, SOCK_STREAM);
    let bytes = noise(1000, 185);
    assert_eq!(sys::write(a.as_raw_fd(), &bytes), Ok(1000));
    truth.moved(a_id, Way::Send, &bytes);
    let mut room = [0; 1000];
    for _ in 0..2 {
        assert_eq!(sys::recv(b.as_raw_fd(), &mut room[..300], libc::MSG_PEEK), Ok(300));
        truth.peeked(b_id, &room[..300]);
    }
    assert_eq!(sys::read(b.as_raw_fd(), &mut room), Ok(1000));
    truth.moved(b_id, Way::Recv, &bytes);
}

fn end_of_stream(truth: &mut Truth) {
    let [(a, a_id), (b, b_id)] = paired(truth, SOCK_STREAM);
    let bytes = noise(1000, 186);
    assert_eq!(sys::write(a.as_raw_fd(), &bytes), Ok(1000));
    truth.moved(a_id, Way::Send, &bytes);
    drop(a);
    let mut room = [0; 1000];
    assert_eq!(sys::read(b.as_raw_fd(), &mut room), Ok(1000));
    truth.moved(b_id, Way::Recv, &bytes);
    assert_eq!(sys::read(b.as_raw_fd(), &mut room), Ok(0));
    truth.end_of_stream(b_id);
}

fn epipe(truth: &mut Truth) {
    let [(a, a_id), (b, _)] = paired(truth, SOCK_STREAM);
    drop(b);
    assert_eq!(sys::send(a.as_raw_fd(), b"late", libc::MSG_NOSIGNAL), Err(libc::EPIPE));
    truth.failed(a_id, Way::Send, libc::EPIPE);
}
