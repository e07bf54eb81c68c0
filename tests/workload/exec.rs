//! A process that becomes another program, with and without its connection.

use super::calls::send_all;
use super::noise::noise;
use super::peer::{Peer, receive};
use super::sys;
use super::truth::{Truth, Way};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::wait::{WaitStatus, wait};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn before() -> Vec<u8> {
    noise(900, 110)
}

fn afterwards() -> Vec<u8> {
    noise(1100, 111)
}

/// Sends, and becomes a program that sends the rest, where it keeps the connection.
pub fn begin(truth: &mut Truth, keeps: bool) {
    let (_peer, address) = Peer::server("127.0.0.1", |stream, _| {
        let rest = if keeps { afterwards() } else { Vec::new() };
        assert!(receive(&stream) == [before(), rest].concat(), "the peer got other bytes");
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    send_all(truth, id, &stream, &before(), sys::write);
    if keeps {
        fcntl(stream.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).expect("an open descriptor");
    }
    let fd = if keeps { stream.as_raw_fd() } else { -1 };
    // Otherwise it is exec that closes it.
    let _ = stream.into_raw_fd();
    let program = std::env::current_exe().expect("this program");
    let error = Command::new(program)
        .args(["after-exec", &fd.to_string(), &truth.inode(id).to_string()])
        .arg(truth.file())
        .exec();
    panic!("exec: {error}");
}

/// The other program. It knows what the first one did.
pub fn after(fd: &str, inode: &str, file: &Path) {
    let fd: i32 = fd.parse().expect("a descriptor");
    let mut truth = Truth::new(file);
    let id = truth.former(inode.parse().expect("an inode"), "tcp");
    truth.moved(id, Way::Send, &before());
    if fd >= 0 {
        // SAFETY: the first program left it open for this one.
        let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
        send_all(&mut truth, id, &stream, &afterwards(), sys::write);
    }
    // The peer is a child of the process, whichever program that is.
    let ended = wait().expect("a child");
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "the peer failed: {ended:?}");
    truth.write();
}
