//! Processes: whether one is alive, which ports its network namespace listens on, which sockets it holds and what
//! it runs, how to start one under observation, which ones a name, a cgroup or a container means. What is on the wire
//! or in a call is left to [`crate::source`].

pub mod cgroup;
pub mod command;
pub mod container;
pub mod image;
mod listing;
pub mod netns;
pub mod sockets;

use crate::event::Comm;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procfs::net::TcpState;
use procfs::{ProcError, ProcResult};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

/// A process that keeps its identity: a number reused for another process is not taken for it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    /// Takes hold of a running process. `NotFound` where there is none with this id.
    pub fn open(pid: u32) -> io::Result<Process> {
        // SAFETY: pidfd_open takes two integers and returns a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
        match Errno::result(fd) {
            // SAFETY: the kernel has just returned this descriptor to us alone.
            Ok(fd) => Ok(Process { pid, pidfd: unsafe { OwnedFd::from_raw_fd(fd as i32) } }),
            Err(Errno::ESRCH) => Err(io::ErrorKind::NotFound.into()),
            // The number of a thread that is not the first of its process.
            Err(Errno::EINVAL) | Err(Errno::ENOENT) => Err(io::ErrorKind::InvalidInput.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// True once its last thread has ended, reaped or not.
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(count) if count > 0)
    }
}

/// The running processes with this name: that of their first thread, as in /proc/PID/comm.
///
/// # Errors
/// /proc can't be read.
pub fn named(name: &Comm) -> ProcResult<Vec<u32>> {
    // Processes may end meanwhile.
    let stats = procfs::process::all_processes()?.filter_map(|process| process.ok()?.stat().ok());
    let is_called = |stat: &procfs::process::Stat| Comm::new(stat.comm.as_bytes()) == *name;
    Ok(stats.filter(is_called).map(|stat| stat.pid as u32).collect())
}

/// TCP ports that are listened on in the network namespace of `pid`, over IPv4 and IPv6.
///
/// # Errors
/// The process is gone, or its tables in /proc can't be read.
pub fn listening_ports(pid: u32) -> ProcResult<HashSet<u16>> {
    let process = procfs::process::Process::new(pid as i32)?;
    let mut sockets = process.tcp()?;
    match process.tcp6() {
        Ok(more) => sockets.extend(more),
        // IPv6 may be disabled.
        Err(ProcError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    let listening = sockets.into_iter().filter(|socket| socket.state == TcpState::Listen);
    Ok(listening.map(|socket| socket.local_address.port()).collect())
}

/// The children of a process that run.
///
/// # Errors
/// The process is gone.
pub fn children(pid: u32) -> ProcResult<Vec<u32>> {
    let threads = procfs::process::Process::new(pid as i32)?.tasks()?;
    // A thread that has ended has none, and not every kernel lists them (CONFIG_PROC_CHILDREN).
    Ok(threads.flatten().flat_map(|thread| thread.children().unwrap_or_default()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn own_listener_is_listed_and_own_process_lives() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening_ports(std::process::id()).unwrap().contains(&port));
        drop(listener);
        assert!(!listening_ports(std::process::id()).unwrap().contains(&port));
        assert!(!Process::open(std::process::id()).unwrap().has_ended());
    }

    #[test]
    fn missing_process_is_not_found() {
        // Above the largest pid the kernel gives (PID_MAX_LIMIT, 2^22).
        let error = Process::open(1 << 23).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
