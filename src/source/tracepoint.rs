//! Opens a kernel tracepoint, also where tracefs is not mounted, as in many containers and small systems.
//!
//! A tracepoint is named to the kernel by a number that only a file of tracefs tells.

use super::mounted;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

/// Where tracefs is mounted by custom; the second one is that of kernels before 4.1.
const ROOTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// PERF_TYPE_TRACEPOINT, include/uapi/linux/perf_event.h.
const TYPE_TRACEPOINT: u32 = 2;

/// PERF_FLAG_FD_CLOEXEC, the same file.
const CLOSE_ON_EXEC: u64 = 1 << 3;

/// The beginning of struct perf_event_attr as of its first version (PERF_ATTR_SIZE_VER0); the rest is 0.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    rest: [u64; 6],
}

const _: () = assert!(size_of::<Attributes>() == 64);

/// Opens the tracepoint called `name` (`category/event`) as a perf event to attach a program to.
///
/// # Errors
/// There is no such tracepoint, tracefs can't be had, or the kernel refuses the event.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: TYPE_TRACEPOINT,
        size: size_of::<Attributes>() as u32,
        config: number(name)?,
        rest: [0; 6],
    };
    let (pid, cpu, group) = (-1, 0, -1);
    // SAFETY: the kernel reads `size` bytes of the structure, which lives through the call.
    let fd = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_perf_event_open,
            &raw const attributes,
            pid,
            cpu,
            group,
            CLOSE_ON_EXEC,
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel just gave us this descriptor.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number by which the kernel knows the tracepoint called `name` (`category/event`).
///
/// # Errors
/// There is no such tracepoint, or tracefs can't be had.
pub fn number(name: &str) -> io::Result<u64> {
    let known = ROOTS.iter().find_map(|root| read(Path::new(root), name).ok());
    known.map_or_else(|| mounted::look_into("tracefs", |root| read(root, name)), Ok)
}

fn read(root: &Path, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(root.join("events").join(name).join("id"))?;
    text.trim().parse().map_err(io::Error::other)
}
