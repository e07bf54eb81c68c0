//! Which of its hooks the running kernel offers a trace, and those that are used only where it does.

use super::skeleton::{OpenSocketProgs, SocketProgs};
use super::{Hooks, attach, refused};
use crate::source::{Error, hooks, tracepoint};
use libbpf_rs::btf::{self, Btf};
use libbpf_rs::{Link, OpenProgramMut, ProgramMut};
use std::os::fd::IntoRawFd;

/// True where the hooks are to be in the sockets.
pub(super) fn in_sockets(hooks: Hooks) -> Result<bool, Error> {
    match (hooks, sockets_tell_of_traffic()) {
        (Hooks::Calls, _) => Ok(false),
        (Hooks::Sockets, false) => Err(Error::Attach(
            "the sockets of this kernel do not tell of their traffic (Linux 6.3): leave --hooks sockets out"
                .into(),
        )),
        (_, told) => Ok(told),
    }
}

/// True where the kernel has the tracepoints sock_send_length and sock_recv_length (Linux 6.3): sockets tell what moves on
/// them, whoever moves it.
pub fn sockets_tell_of_traffic() -> bool {
    has_tracepoint("sock_send_length") && has_tracepoint("sock_recv_length")
}

/// True where a program on a tracepoint may be preempted by another task's: from Linux 7.0 on. Nothing but the release tells.
pub fn tracepoints_are_preemptible() -> bool {
    let release = nix::sys::utsname::uname();
    let release = release.as_ref().ok().and_then(|name| name.release().to_str());
    let major = release.and_then(|release| release.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 7)
}

/// True where the words of sockets on their traffic are heard by way of perf, which keeps preemption off around programs:
/// where they may be preempted otherwise, and perf has those tracepoints (it takes tracefs and the right to ask).
pub fn traffic_comes_by_perf() -> bool {
    tracepoints_are_preemptible()
        && BY_PERF.iter().all(|name| {
            let opened = tracepoint::open(name);
            opened.inspect_err(|error| log::debug!("no tracepoint {name} of perf's: {error}")).is_ok()
        })
}

const BY_PERF: [&str; 3] = ["sock/sock_send_length", "sock/sock_recv_length", "tcp/tcp_rcv_space_adjust"];

/// True where the kernel has this tracepoint.
pub(super) fn has_tracepoint(name: &str) -> bool {
    let of =
        |btf: Btf<'_>| btf.type_by_name::<btf::types::Typedef<'_>>(&format!("btf_trace_{name}")).is_some();
    Btf::from_vmlinux().is_ok_and(of)
}

/// True where the kernel has this function for BPF programs.
pub(super) fn kernel_has(function: &str) -> bool {
    Btf::from_vmlinux().is_ok_and(|btf| has_function(&btf, function))
}

fn has_function(btf: &Btf<'_>, name: &str) -> bool {
    btf.type_by_name::<btf::types::Func<'_>>(name).is_some()
}

/// Loads the programs at the return of the functions behind connect, where sockets tell of `traffic` and the kernel
/// lets programs be attached to functions.
pub(super) fn select_connects(progs: &mut OpenSocketProgs<'_>, traffic: bool) {
    let programs = [
        &mut progs.on_stream_connect,
        &mut progs.on_dgram_connect,
        &mut progs.on_unix_stream_connect,
        &mut progs.on_unix_dgram_connect,
    ];
    select_returns(programs, traffic && hooks::grants(&[hooks::RETURNS]));
}

/// Loads programs at the return of functions (fexit) where that is `granted`, as far as the kernel has the functions.
pub(super) fn select_returns<'a, 'o: 'a>(
    programs: impl IntoIterator<Item = &'a mut OpenProgramMut<'o>>,
    granted: bool,
) {
    // The kernel's types take a while to read.
    let btf = granted.then(Btf::from_vmlinux).and_then(Result::ok);
    for program in programs {
        let section = program.section().to_string_lossy().into_owned();
        let has = |btf: &Btf<'_>| section.strip_prefix("fexit/").is_some_and(|name| has_function(btf, name));
        program.set_autoload(btf.as_ref().is_some_and(has));
    }
}

/// Attaches those that hear of the sockets' traffic.
pub(super) fn attach_traffic(progs: &SocketProgs<'_>) -> Result<Vec<Link>, Error> {
    if !progs.on_send_perf.autoload() {
        return attach_loaded([&progs.on_send, &progs.on_receive, &progs.on_read]);
    }
    let programs = [&progs.on_send_perf, &progs.on_receive_perf, &progs.on_read_perf];
    let by_perf = |program: &ProgramMut<'_>| {
        attach_by_perf(program).map_err(|error| refused(&program.section().to_string_lossy(), &error))
    };
    programs.into_iter().map(by_perf).collect()
}

/// Puts a program on the tracepoint of perf's that its section names (`tracepoint/category/event`).
pub(super) fn attach_by_perf(program: &ProgramMut<'_>) -> libbpf_rs::Result<Link> {
    let section = program.section().to_string_lossy();
    let name = section.strip_prefix("tracepoint/").unwrap_or(&section);
    let event = tracepoint::open(name).map_err(libbpf_rs::Error::from)?;
    // The link owns the descriptor from here on.
    program.attach_perf_event(event.into_raw_fd())
}

/// Attaches those that were loaded.
pub(super) fn attach_connects(progs: &SocketProgs<'_>) -> Result<Vec<Link>, Error> {
    attach_loaded([
        &progs.on_stream_connect,
        &progs.on_dgram_connect,
        &progs.on_unix_stream_connect,
        &progs.on_unix_dgram_connect,
    ])
}

/// Attaches those of the programs that were loaded, in this order.
pub(super) fn attach_loaded<'a, 'o: 'a>(
    programs: impl IntoIterator<Item = &'a ProgramMut<'o>>,
) -> Result<Vec<Link>, Error> {
    programs.into_iter().filter(|program| program.autoload()).map(attach).collect()
}
