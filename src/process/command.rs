//! Starts a command that waits before its first instruction, so that probes can be put in place.

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use nix::{errno::Errno, fcntl::OFlag};
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

/// What a child says when it has nothing left to do but to wait.
const READY: [u8; 1] = *b"r";

/// A child process that has not begun its program. Dropped without [`Suspended::resume`], it ends.
#[derive(Debug)]
pub struct Suspended {
    child: Running,
    /// One byte written here lets the child go; closed without it, the child ends.
    gate: Option<File>,
    /// Yields [`READY`], then the errno of a failed exec, or nothing more once the program runs.
    failure: File,
}

/// A child process that runs its program. Not ended when dropped.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
}

impl Suspended {
    /// Creates the child. It has the terminal, the environment and those descriptors of this process that its
    /// program will have too: who lists its sockets finds none that it is about to lose.
    ///
    /// # Errors
    /// `InvalidInput` for an empty command or one with a NUL byte; what pipe(2) and fork(2) say.
    pub fn spawn(argv: &[OsString]) -> io::Result<Suspended> {
        let arguments = argv
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "NUL byte in the command"))?;
        if arguments.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "empty command"));
        }
        let mut pointers: Vec<*const libc::c_char> =
            arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(ptr::null());
        let (gate_out, gate) = pipe2(OFlag::O_CLOEXEC)?;
        let (failure, failure_in) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: the child calls nothing but async-signal-safe functions (see `wait_and_exec`).
        match unsafe { fork() }? {
            ForkResult::Child => {
                // The child must not hold its own gate open.
                drop(gate);
                wait_and_exec(gate_out.as_raw_fd(), failure_in.as_raw_fd(), &pointers)
            }
            ForkResult::Parent { child } => {
                drop(failure_in);
                let mut suspended = Suspended {
                    child: Running { pid: child },
                    gate: Some(gate.into()),
                    failure: failure.into(),
                };
                suspended.failure.read_exact(&mut [0; READY.len()])?;
                Ok(suspended)
            }
        }
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Lets the child begin, and returns when it has.
    ///
    /// # Errors
    /// What execvp(3) says, e.g. `NotFound`; the child has ended then.
    pub fn resume(mut self) -> io::Result<Running> {
        let child = Running { pid: self.child.pid };
        if let Some(mut gate) = self.gate.take() {
            gate.write_all(b"g")?;
        }
        let mut errno = Vec::new();
        self.failure.read_to_end(&mut errno)?;
        match <[u8; 4]>::try_from(errno.as_slice()) {
            Ok(bytes) => {
                child.wait()?;
                Err(io::Error::from_raw_os_error(i32::from_ne_bytes(bytes)))
            }
            Err(_) => Ok(child),
        }
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        // Closing the gate would end the child, unless another child, forked meanwhile, holds it open too.
        if self.gate.take().is_some() {
            let _ = kill(self.child.pid, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// Waits for the end of the process.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                other => {
                    if let Some(status) = exit_status(other?) {
                        return Ok(status);
                    }
                }
            }
        }
    }

    /// The exit status, where the process has ended.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        Ok(exit_status(waitpid(self.pid, Some(WaitPidFlag::WNOHANG))?))
    }
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    match status {
        WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw((code & 0xff) << 8)),
        WaitStatus::Signaled(_, signal, core) => {
            Some(ExitStatus::from_raw(signal as i32 | if core { 0x80 } else { 0 }))
        }
        _ => None,
    }
}

/// The child's part, between fork and exec. Another thread may have held any lock when the process forked,
/// so only async-signal-safe functions are called (signal-safety(7)): nothing here allocates.
fn wait_and_exec(gate: RawFd, failure: RawFd, argv: &[*const libc::c_char]) -> ! {
    close_what_exec_closes(&[gate, failure]);
    let mut byte = 0u8;
    // SAFETY: plain system calls on descriptors this process owns and on local memory; `argv` ends with NULL
    // and its strings live until exec.
    unsafe {
        libc::write(failure, READY.as_ptr().cast(), READY.len());
        loop {
            match libc::read(gate, (&raw mut byte).cast(), 1) {
                1 => break,
                -1 if *libc::__errno_location() == libc::EINTR => {}
                _ => libc::_exit(127),
            }
        }
        // Rust ignores SIGPIPE; the command shall find what a shell would have given it.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execvp(argv[0], argv.as_ptr());
        let errno = *libc::__errno_location();
        libc::write(failure, (&raw const errno).cast(), size_of_val(&errno));
        libc::_exit(127)
    }
}

/// Closes the descriptors marked close-on-exec but `kept`. Like its caller it allocates nothing: opendir(3) does,
/// so the directory is read by its system call. Where /proc is missing, nothing is closed before exec.
fn close_what_exec_closes(kept: &[RawFd]) {
    // getdents64(2) wants records aligned to 8 bytes.
    let mut entries = [0u64; 256];
    // SAFETY: the path ends with NUL; the buffer is as long as said; a record lies within what the call filled
    // (its `d_reclen` says how long it is) and its name ends with NUL; each descriptor closed is this process's.
    unsafe {
        let directory =
            libc::open(c"/proc/self/fd".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC);
        if directory < 0 {
            return;
        }
        loop {
            let filled =
                libc::syscall(libc::SYS_getdents64, directory, entries.as_mut_ptr(), size_of_val(&entries));
            let mut at = 0;
            while at < filled {
                let entry = entries.as_ptr().byte_offset(at as isize).cast::<libc::dirent64>();
                let name = CStr::from_ptr((&raw const (*entry).d_name).cast());
                at += libc::c_long::from((*entry).d_reclen);
                // "." and "..", and the directory itself, which is closed below.
                let Some(fd) = decimal(name.to_bytes()).filter(|fd| *fd != directory) else { continue };
                if !kept.contains(&fd) && libc::fcntl(fd, libc::F_GETFD) & libc::FD_CLOEXEC != 0 {
                    libc::close(fd);
                }
            }
            if filled <= 0 {
                break;
            }
        }
        libc::close(directory);
    }
}

/// The number a name consists of.
fn decimal(name: &[u8]) -> Option<RawFd> {
    name.iter().try_fold(0, |value: RawFd, digit| {
        digit.is_ascii_digit().then(|| value * 10 + RawFd::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn command_begins_only_when_resumed() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let child = Suspended::spawn(&words(&["touch", mark.to_str().unwrap()])).unwrap();
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", child.pid())).unwrap();
        assert_ne!(comm.trim(), "touch");
        assert!(!mark.exists());
        assert!(child.resume().unwrap().wait().unwrap().success());
        assert!(mark.exists());
    }

    #[test]
    fn exit_code_and_signal_are_told_apart() {
        let child = Suspended::spawn(&words(&["sh", "-c", "exit 7"])).unwrap();
        assert_eq!(child.resume().unwrap().wait().unwrap().code(), Some(7));
        let child = Suspended::spawn(&words(&["sh", "-c", "kill -TERM $$"])).unwrap();
        assert_eq!(child.resume().unwrap().wait().unwrap().signal(), Some(libc::SIGTERM));
    }

    #[test]
    fn missing_program_is_reported_with_its_errno() {
        let child = Suspended::spawn(&words(&["/nonexistent/program"])).unwrap();
        assert_eq!(child.resume().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(Suspended::spawn(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn child_that_waits_has_the_descriptors_of_its_program_and_no_others() {
        let (lost, kept) = pipe2(OFlag::O_CLOEXEC).unwrap();
        nix::fcntl::fcntl(kept.as_fd(), nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        // More than one call of getdents64 gives.
        let many: Vec<_> = (0..200).map(|_| lost.try_clone().unwrap()).collect();
        let child = Suspended::spawn(&words(&["sleep", "1000"])).unwrap();
        let link = |fd: RawFd| std::fs::read_link(format!("/proc/{}/fd/{fd}", child.pid())).ok();
        let here = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        assert_eq!(link(kept.as_raw_fd()), here(kept.as_raw_fd()));
        for fd in many.iter().chain([&lost]) {
            assert_ne!(link(fd.as_raw_fd()), here(fd.as_raw_fd()));
        }
    }

    #[test]
    fn dropped_child_ends() {
        let child = Suspended::spawn(&words(&["sleep", "1000"])).unwrap();
        let pid = child.pid();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
