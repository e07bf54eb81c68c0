//! Work inside the network namespace of another process, without leaving one's own.

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::thread;

/// Runs `work` on a thread of its own inside the network namespace of `pid` and returns what it returns.
/// A socket opened there stays in that namespace after the thread has ended.
///
/// # Errors
/// `NotFound` where there is no such process, `PermissionDenied` without CAP_SYS_ADMIN.
///
/// # Panics
/// Where `work` does.
pub fn in_netns_of<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
