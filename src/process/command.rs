//! Starts a command that waits before its first instruction, so that probes can be put in place.

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use nix::{errno::Errno, fcntl::OFlag};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

/// A child process that has not begun its program. Dropped without [`Suspended::resume`], it ends.
#[derive(Debug)]
pub struct Suspended {
    child: Running,
    /// One byte written here lets the child go; closed without it, the child ends.
    gate: Option<File>,
    /// Yields the errno of a failed exec, or nothing once the program runs.
    failure: File,
}

/// A child process that runs its program. Not ended when dropped.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
}

impl Suspended {
    /// Creates the child. It has the terminal, the descriptors and the environment of this process.
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
            ForkResult::Parent { child } => Ok(Suspended {
                child: Running { pid: child },
                gate: Some(gate.into()),
                failure: failure.into(),
            }),
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
    let mut byte = 0u8;
    // SAFETY: plain system calls on descriptors this process owns and on local memory; `argv` ends with NULL
    // and its strings live until exec.
    unsafe {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn dropped_child_ends() {
        let child = Suspended::spawn(&words(&["sleep", "1000"])).unwrap();
        let pid = child.pid();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
