//! Which of its hooks the running kernel offers a trace, and those that are used only where it does.

use super::skeleton::{OpenSocketProgs, SocketProgs};
use super::{Hooks, attach};
use crate::source::{Error, hooks};
use libbpf_rs::Link;
use libbpf_rs::btf::{self, Btf};

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

/// True where the kernel has the tracepoints sock_send_length and sock_recv_length (Linux 6.3).
pub(super) fn sockets_tell_of_traffic() -> bool {
    has_tracepoint("sock_send_length") && has_tracepoint("sock_recv_length")
}

/// True where the kernel has this tracepoint.
pub(super) fn has_tracepoint(name: &str) -> bool {
    let of =
        |btf: Btf<'_>| btf.type_by_name::<btf::types::Typedef<'_>>(&format!("btf_trace_{name}")).is_some();
    Btf::from_vmlinux().is_ok_and(of)
}

/// True where the kernel has this function for BPF programs.
pub(super) fn kernel_has(function: &str) -> bool {
    let btf = Btf::from_vmlinux();
    btf.is_ok_and(|btf| btf.type_by_name::<btf::types::Func<'_>>(function).is_some())
}

/// Loads the programs at the return of the functions behind connect, where sockets tell of `traffic` and the kernel
/// lets programs be attached to functions.
pub(super) fn select_connects(progs: &mut OpenSocketProgs<'_>, traffic: bool) {
    let returns = traffic && hooks::grants(&[hooks::RETURNS]);
    for (function, program) in [
        ("inet_stream_connect", &mut progs.on_stream_connect),
        ("inet_dgram_connect", &mut progs.on_dgram_connect),
        ("unix_stream_connect", &mut progs.on_unix_stream_connect),
        ("unix_dgram_connect", &mut progs.on_unix_dgram_connect),
    ] {
        program.set_autoload(returns && kernel_has(function));
    }
}

/// Attaches those that were loaded.
pub(super) fn attach_connects(progs: &SocketProgs<'_>) -> Result<Vec<Link>, Error> {
    let all = [
        &progs.on_stream_connect,
        &progs.on_dgram_connect,
        &progs.on_unix_stream_connect,
        &progs.on_unix_dgram_connect,
    ];
    all.into_iter().filter(|program| program.autoload()).map(|program| attach("fexit", program)).collect()
}
