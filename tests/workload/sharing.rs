//! One connection, several descriptors, threads and processes.

use super::Mode;
use super::calls::send_all;
use super::exec;
use super::noise::noise;
use super::peer::{Peer, connected, receive};
use super::sys;
use super::truth::{Id, Truth, Way};
use nix::libc;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};

pub const MODES: &[Mode] = &[
    ("sharing/dup", |truth| duplicates(truth, sys::dup)),
    ("sharing/dup2", |truth| duplicates(truth, |stream| sys::dup2(stream, 50))),
    ("sharing/dup3", |truth| duplicates(truth, |stream| sys::dup3(stream, 51))),
    ("sharing/fcntl-dupfd", |truth| duplicates(truth, |stream| sys::dup_above(stream, 52))),
    ("sharing/pidfd-getfd", |truth| {
        duplicates(truth, |stream| sys::pidfd_getfd(std::process::id() as i32, stream.as_raw_fd()));
    }),
    ("sharing/fork-send", fork_send),
    ("sharing/fork-recv", fork_recv),
    ("sharing/fork-outlived", fork_outlived),
    ("sharing/thread", thread),
    ("sharing/thread-each-direction", thread_each_direction),
    ("sharing/scm-rights-self", scm_rights_self),
    ("sharing/scm-rights-other", |truth| scm_rights_other(truth, true)),
    ("sharing/scm-rights-by-other-only", |truth| scm_rights_other(truth, false)),
    ("sharing/pidfd-getfd-by-other", pidfd_getfd_by_other),
    ("sharing/exec-keeps", |truth| exec::begin(truth, true)),
    ("sharing/exec-closes", |truth| exec::begin(truth, false)),
];

fn send(truth: &mut Truth, id: Id, fd: &impl AsRawFd, seed: u64) {
    truth.via(id, Way::Send, fd.as_raw_fd());
    send_all(truth, id, fd, &noise(600, seed), sys::write);
}

/// The descriptors take turns, and are closed one after the other: the connection ends with the last one.
fn duplicates(truth: &mut Truth, duplicate: fn(&TcpStream) -> OwnedFd) {
    let (stream, id, peer) = connected(truth, &[]);
    send(truth, id, &stream, 80);
    let other = duplicate(&stream);
    send(truth, id, &other, 81);
    send(truth, id, &stream, 82);
    drop(stream);
    send(truth, id, &other, 83);
    drop(other);
    peer.agrees(truth, id);
}

/// A child that does `work` with the socket it shares with the workload, and ends.
/// Another process does the work, and is not traced unless children are followed.
pub fn by_child(work: impl FnOnce()) {
    Peer::fork(|_| work()).ended();
}

fn fork_send(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    send(truth, id, &stream, 84);
    let bytes = noise(5000, 85);
    by_child(|| (&stream).write_all(&bytes).expect("an open connection"));
    truth.hidden(id, Way::Send, &bytes, "other-process");
    send(truth, id, &stream, 86);
    drop(stream);
    peer.agrees(truth, id);
}

fn fork_recv(truth: &mut Truth) {
    let bytes = noise(3000, 87);
    let (stream, id, peer) = connected(truth, &bytes);
    let mut room = [0; 1000];
    let mut read = |truth: &mut Truth, from: usize| {
        (&stream).read_exact(&mut room).expect("the peer sends");
        assert_eq!(room, bytes[from..from + 1000]);
        truth.moved(id, Way::Recv, &room);
    };
    read(truth, 0);
    by_child(|| (&stream).read_exact(&mut [0; 1000]).expect("the peer sends"));
    truth.hidden(id, Way::Recv, &bytes[1000..2000], "other-process");
    read(truth, 2000);
    drop(stream);
    peer.agrees(truth, id);
}

/// The traced process is done with the socket, another one is not: what that sends last shows in the totals.
fn fork_outlived(truth: &mut Truth) {
    let (peer, address) = Peer::server("127.0.0.1", |stream, _| {
        assert_eq!(receive(&stream), [noise(600, 88), noise(700, 89)].concat());
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    send(truth, id, &stream, 88);
    let mut child = Peer::fork(|link| {
        link.hear();
        (&stream).write_all(&noise(700, 89)).expect("an open connection");
    });
    drop(stream);
    child.link.tell(0);
    child.ended();
    truth.hidden(id, Way::Send, &noise(700, 89), "other-process");
    peer.ended();
}

fn thread(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    send(truth, id, &stream, 90);
    std::thread::scope(|scope| {
        scope.spawn(|| send(truth, id, &stream, 91));
    });
    send(truth, id, &stream, 92);
    drop(stream);
    peer.agrees(truth, id);
}

/// One thread sends while another receives.
fn thread_each_direction(truth: &mut Truth) {
    let (sent, received) = (noise(2_000_000, 93), noise(2_000_000, 94));
    let (stream, id, peer) = connected(truth, &received);
    std::thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&sent).expect("an open connection"));
        let mut room = vec![0; received.len()];
        (&stream).read_exact(&mut room).expect("the peer sends");
        assert!(room == received, "the peer's bytes");
    });
    truth.moved(id, Way::Send, &sent);
    truth.moved(id, Way::Recv, &received);
    drop(stream);
    peer.agrees(truth, id);
}

/// Two ends of a socket pair.
pub fn pair(truth: &mut Truth, kind: i32, transport: &'static str) -> [(OwnedFd, Id); 2] {
    let (a, b) = sys::socketpair(kind);
    let ids = [truth.socket(&a, transport), truth.socket(&b, transport)];
    [(a, ids[0]), (b, ids[1])]
}

fn scm_rights_self(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    let [(a, sender), (b, receiver)] = pair(truth, libc::SOCK_STREAM, "unix-stream");
    send(truth, id, &stream, 95);
    assert_eq!(sys::send_descriptor(a.as_raw_fd(), b"fd", &stream), Ok(2));
    truth.moved(sender, Way::Send, b"fd");
    let mut room = [0; 2];
    let (count, passed) = sys::receive_descriptor(b.as_raw_fd(), &mut room);
    assert_eq!(count, 2);
    truth.moved(receiver, Way::Recv, b"fd");
    send(truth, id, &passed, 96);
    drop(stream);
    send(truth, id, &passed, 97);
    drop(passed);
    peer.agrees(truth, id);
}

/// `used`: by the traced process, too, which makes it known in any case.
fn scm_rights_other(truth: &mut Truth, used: bool) {
    let [(ours, sender), (theirs, receiver)] = pair(truth, libc::SOCK_STREAM, "unix-stream");
    if used {
        assert_eq!(sys::write(theirs.as_raw_fd(), b"us"), Ok(2));
        truth.moved(receiver, Way::Send, b"us");
        assert_eq!(sys::read(ours.as_raw_fd(), &mut [0; 2]), Ok(2));
        truth.moved(sender, Way::Recv, b"us");
    }
    let child = Peer::fork(|_| {
        let (_, passed) = sys::receive_descriptor(theirs.as_raw_fd(), &mut [0; 2]);
        assert_eq!(sys::write(passed.as_raw_fd(), &noise(700, 98)), Ok(700));
    });
    let (stream, id, peer) = connected(truth, &[]);
    send(truth, id, &stream, 99);
    assert_eq!(sys::send_descriptor(ours.as_raw_fd(), b"fd", &stream), Ok(2));
    truth.moved(sender, Way::Send, b"fd");
    child.ended();
    truth.hidden(receiver, Way::Recv, b"fd", "other-process");
    truth.hidden(id, Way::Send, &noise(700, 98), "other-process");
    send(truth, id, &stream, 100);
    drop(stream);
    peer.agrees(truth, id);
}

/// An untraced process helps itself to the descriptor.
fn pidfd_getfd_by_other(truth: &mut Truth) {
    let (stream, id, peer) = connected(truth, &[]);
    send(truth, id, &stream, 101);
    let (pid, number) = (std::process::id() as i32, stream.as_raw_fd());
    let mut child = Peer::fork(|link| {
        // Its own copy is not used.
        assert_eq!(link.hear(), 1);
        let taken = sys::pidfd_getfd(pid, number);
        assert_eq!(sys::write(taken.as_raw_fd(), &noise(700, 102)), Ok(700));
    });
    child.link.tell(1);
    child.ended();
    truth.hidden(id, Way::Send, &noise(700, 102), "other-process");
    send(truth, id, &stream, 103);
    drop(stream);
    peer.agrees(truth, id);
}
