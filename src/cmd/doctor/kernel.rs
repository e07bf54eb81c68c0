//! What sockdbg needs of the machine: privileges, features of the kernel, hooks, settings.

use super::check::{Check, Printer, State};
use crate::exit::Outcome;
use crate::source::live::{self, DEFAULT_RING_SIZE, Live, Options};
use crate::source::{Error, hooks, tracepoint};
use anyhow::Context;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use procfs::process::Process;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Checks everything, and prints it.
///
/// # Errors
/// sockdbg can't trace here.
pub fn run(printer: &mut Printer) -> anyhow::Result<Outcome> {
    let privileges = Privileges::own()?;
    let mut hooks = Hooks::try_all(&privileges)?;
    let mut checks = privileges.checks();
    checks.extend(features());
    checks.extend(hooks.checks());
    checks.extend(settings(&hooks));
    for check in &checks {
        printer.check(check)?;
    }
    let needed = checks.iter().find(|check| check.state == State::Missing);
    let tried = match needed {
        // A trace might begin, and see nothing.
        Some(check) if check.name == PID_NAMESPACE => Err(Error::Attach(check.detail.clone())),
        _ => can_trace(),
    };
    let detail = match &tried {
        Ok(way) => (*way).to_owned(),
        Err(error) => error.to_string(),
    };
    printer.end(if tried.is_ok() { "can-trace" } else { "cannot-trace" }, &detail)?;
    Ok(tried.map(|_| Outcome::Well)?)
}

/// Puts the probes in place, as a trace does, and takes them away again. Says where they look.
///
/// # Errors
/// The kernel refuses.
pub fn can_trace() -> Result<&'static str, Error> {
    let live = Live::attach(Options { pids: vec![std::process::id()], ..Options::default() })?;
    Ok(if live.is_in_sockets() {
        "sockets tell of their traffic; no system call is hooked, other processes pay next to nothing"
    } else {
        "at the exit of every system call of the machine, each of which gets 0.1 to 0.25 us slower meanwhile"
    })
}

const SEND: &str = "tp_btf/sock_send_length";
const RECEIVE: &str = "tp_btf/sock_recv_length";
const SYS_EXIT: &str = "tp_btf/sys_exit";
const SEND_BEGIN: &str = "fentry/security_socket_sendmsg";
const RECEIVE_BEGIN: &str = "fentry/security_socket_recvmsg";

/// Capabilities by their bit, see include/uapi/linux/capability.h.
const NET_RAW: u64 = 1 << 13;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

struct Privileges {
    effective: u64,
}

impl Privileges {
    fn own() -> anyhow::Result<Privileges> {
        let status = Process::myself().and_then(|process| process.status()).context("/proc is needed")?;
        Ok(Privileges { effective: status.capeff })
    }

    fn have(&self, all: u64) -> bool {
        self.effective & all == all
    }

    fn may_trace(&self) -> bool {
        self.have(SYS_ADMIN) || self.have(BPF | PERFMON)
    }

    fn checks(&self) -> Vec<Check> {
        let check = |name: &str, held: bool, without: State, good: &str, bad: &str| {
            let (state, detail) = if held { (State::Ok, good) } else { (without, bad) };
            Check::new("privileges", name, state, detail)
        };
        vec![
            check(
                "CAP_BPF and CAP_PERFMON",
                self.may_trace(),
                State::Missing,
                "BPF programs may be loaded and may read",
                "nothing can be traced: run as root, or give both (before Linux 5.8: CAP_SYS_ADMIN)",
            ),
            check(
                "CAP_SYS_PTRACE",
                self.have(SYS_PTRACE),
                State::Absent,
                "processes of other users may be looked at",
                "of other users' processes neither roles nor sharing can be told",
            ),
            check(
                "CAP_NET_RAW",
                self.have(NET_RAW),
                State::Absent,
                "verify may capture packets",
                "verify can't capture packets; tracing works without",
            ),
        ]
    }
}

const PID_NAMESPACE: &str = "pid namespace";

fn features() -> Vec<Check> {
    let group = "kernel";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = format!("{} {}", release.trim(), std::env::consts::ARCH);
    let mut checks = vec![Check::new(group, "release", State::Ok, release)];
    checks.push(if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Check::new(group, "BTF", State::Ok, "tells the layout of the kernel's types")
    } else {
        let without = "/sys/kernel/btf/vmlinux is not there: the kernel needs CONFIG_DEBUG_INFO_BTF, and /sys \
                       must be visible";
        Check::new(group, "BTF", State::Missing, without)
    });
    // PROC_PID_INIT_INO, include/linux/proc_ns.h.
    let first = fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]");
    checks.push(if first {
        Check::new(group, PID_NAMESPACE, State::Ok, "process ids are those of the kernel")
    } else {
        let without = "process ids here are not those that the kernel's programs see, so that nothing would be \
                       found: run in the host's pid namespace (docker: --pid=host)";
        Check::new(group, PID_NAMESPACE, State::Missing, without)
    });
    checks.push(lockdown());
    checks
}

/// The words in brackets of /sys/kernel/security/lockdown, see kernel_lockdown(7).
fn lockdown() -> Check {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let (state, detail) = if text.contains("[confidentiality]") {
        (State::Missing, "confidentiality: programs may not read the kernel's memory; boot with another mode")
    } else if text.contains("[integrity]") {
        (State::Ok, "integrity: programs may read")
    } else {
        (State::Ok, "none")
    };
    Check::new("kernel", "lockdown", state, detail)
}

/// What a hook is for, and what becomes of it without.
struct Use {
    name: &'static str,
    need: Need,
    good: &'static str,
    without: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing works without it.
    Always,
    /// Without it, data is seen at the exit of calls.
    Sockets,
    /// Needed only where sockets don't tell.
    Calls,
    /// Saves time or trouble.
    Better,
    /// Reaches more where sockets tell and functions can't be hooked.
    NoFunctions,
    /// sockdbg has no use for it yet.
    Never,
}

const USES: &[Use] = &[
    Use {
        name: SEND,
        need: Need::Sockets,
        good: "sockets tell what is sent",
        without: "tp_btf/sys_exit is used, which costs every call of the machine (sockets tell from Linux 6.3 on)",
    },
    Use {
        name: RECEIVE,
        need: Need::Sockets,
        good: "sockets tell what is received",
        without: "tp_btf/sys_exit is used",
    },
    Use {
        name: "tp_btf/tcp_rcv_space_adjust",
        need: Need::Sockets,
        good: "what splice takes out of a socket",
        without: "tp_btf/sys_exit is used",
    },
    Use {
        name: SYS_EXIT,
        need: Need::Calls,
        good: "data, where sockets don't tell; loaded, not attached",
        without: "no data can be seen",
    },
    Use {
        name: "tp_btf/sys_enter",
        need: Need::Better,
        good: "close, where sockets don't tell and tracefs is not to be had; loaded, not attached",
        without: "close is seen through its tracepoint only",
    },
    Use {
        name: "tp_btf/inet_sock_set_state",
        need: Need::Always,
        good: "beginnings and ends of TCP connections",
        without: "no connection can be followed",
    },
    Use {
        name: "tp_btf/tcp_destroy_sock",
        need: Need::Always,
        good: "the end of each socket",
        without: "connections could not be told apart",
    },
    Use {
        name: "iter/task_file",
        need: Need::Always,
        good: "sockets that are open already",
        without: "sockets that are open already would not be known",
    },
    Use {
        name: "iter/bpf_map_elem",
        need: Need::Always,
        good: "where each connection stands at the end of a trace",
        without: "bytes without a record would not be known",
    },
    Use {
        name: "bpf_rdonly_cast",
        need: Need::Better,
        good: "the kernel's memory is read by plain loads",
        without: "each field is read by a helper's call, several times slower (plain loads: from Linux 6.2 on)",
    },
    Use {
        name: SEND_BEGIN,
        need: Need::Better,
        good: "payload that io_uring sends",
        without: "of what io_uring sends only tp_btf/tcp_sendmsg_locked has the payload; the rest is named io-uring, but \
                  for UDP and Unix sockets before Linux 6.3, where it is not seen",
    },
    Use {
        name: RECEIVE_BEGIN,
        need: Need::Better,
        good: "payload that io_uring receives",
        without: "what io_uring receives is named io-uring, with its range and without payload, but for UDP and Unix \
                  sockets before Linux 6.3, where it is not seen",
    },
    Use {
        name: "tp_btf/tcp_sendmsg_locked",
        need: Need::NoFunctions,
        good: "payload that io_uring sends by TCP, where functions can't be hooked",
        without: "what io_uring sends is named io-uring, with its range and without payload (Linux 6.16)",
    },
    Use {
        name: hooks::RETURNS,
        need: Need::Better,
        good: "connects of UDP and Unix sockets when they are made, and connects that fail",
        without: "connects of UDP and Unix sockets show when first used, and those that fail, of TCP before a SYN is \
                  sent, not at all; --hooks calls tells of them",
    },
    Use {
        name: "kprobe/tcp_sendmsg",
        need: Need::Never,
        good: "any instruction of the kernel; not used yet",
        without: "",
    },
    Use { name: "uprobe", need: Need::Never, good: "functions of TLS libraries; not used yet", without: "" },
];

/// Which hooks were granted.
struct Hooks {
    /// Why not, by name; absent where it was granted. `None`: not permitted to try.
    refusals: Option<HashMap<String, Option<String>>>,
}

impl Hooks {
    fn try_all(privileges: &Privileges) -> anyhow::Result<Hooks> {
        if !privileges.may_trace() {
            return Ok(Hooks { refusals: None });
        }
        let tried = hooks::try_all().context("own BPF programs")?;
        // A function is no hook of its own: the program that calls it names it behind another hook's kind.
        let name = |name: String| name.strip_prefix("raw_tp/").map(str::to_owned).unwrap_or(name);
        Ok(Hooks { refusals: Some(tried.into_iter().map(|hook| (name(hook.name), hook.refusal)).collect()) })
    }

    fn granted(&self, name: &str) -> bool {
        self.refusals.as_ref().is_some_and(|all| matches!(all.get(name), Some(None)))
    }

    fn in_sockets(&self) -> bool {
        self.granted(SEND) && self.granted(RECEIVE)
    }

    fn in_functions(&self) -> bool {
        self.granted(SEND_BEGIN) && self.granted(RECEIVE_BEGIN)
    }

    fn checks(&mut self) -> Vec<Check> {
        USES.iter().map(|hook| self.check(hook)).collect()
    }

    fn check(&self, hook: &Use) -> Check {
        let Some(refusals) = &self.refusals else {
            return Check::new("hooks", hook.name, State::Unknown, "not permitted to try");
        };
        let Some(refusal) = refusals.get(hook.name).cloned().flatten() else {
            return Check::new("hooks", hook.name, State::Ok, hook.good);
        };
        let state = match hook.need {
            Need::Always => State::Missing,
            Need::Sockets if self.granted(SYS_EXIT) => State::Fallback,
            Need::Sockets => State::Missing,
            Need::Calls if !self.in_sockets() => State::Missing,
            Need::Better => State::Fallback,
            Need::NoFunctions if self.in_sockets() && !self.in_functions() => State::Fallback,
            Need::Calls | Need::NoFunctions | Need::Never => State::Absent,
        };
        let meaning = match state {
            State::Absent => hook.good,
            _ => hook.without,
        };
        Check::new("hooks", hook.name, state, format!("{meaning} ({refusal})"))
    }
}

fn settings(hooks: &Hooks) -> Vec<Check> {
    vec![ring_buffer(hooks), memory(hooks), tracefs(hooks), unprivileged(), jit()]
}

fn ring_buffer(hooks: &Hooks) -> Check {
    let name = format!("ring buffer of {} MiB", DEFAULT_RING_SIZE >> 20);
    let (state, detail) = match hooks::try_ring_buffer(DEFAULT_RING_SIZE as u32) {
        _ if hooks.refusals.is_none() => (State::Unknown, "not permitted to try".to_owned()),
        Ok(()) => (State::Ok, "between kernel and sockdbg; --ring-size gives another".to_owned()),
        Err(error) => (State::Missing, format!("{error}: a smaller --ring-size may do")),
    };
    Check::new("settings", name, state, detail)
}

fn memory(hooks: &Hooks) -> Check {
    let limit = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((RLIM_INFINITY, _)) => "unlimited".to_owned(),
        Ok((bytes, _)) => format!("{} KiB", bytes >> 10),
        Err(errno) => errno.to_string(),
    };
    let (state, detail) = if hooks.refusals.is_none() {
        (State::Unknown, format!("{limit}; not permitted to try whether it counts"))
    } else if hooks::memory_is_of_the_cgroup() {
        (State::Ok, format!("{limit}; does not count here: BPF's memory is that of the control group"))
    } else {
        (State::Ok, format!("{limit}; raised for a trace (before Linux 5.11 BPF's memory counts)"))
    };
    Check::new("settings", "RLIMIT_MEMLOCK", state, detail)
}

/// Tracefs leads to the tracepoints of perf's: that of close(2), used where sockets don't tell, and those of the sockets'
/// traffic, used where programs on other hooks may be preempted.
fn tracefs(hooks: &Hooks) -> Check {
    let (state, detail) = if hooks.refusals.is_none() {
        (State::Unknown, "not permitted to try".to_owned())
    } else if hooks.in_sockets() && live::tracepoints_are_preemptible() {
        match live::traffic_comes_by_perf() {
            true => (State::Ok, "sockets tell by way of perf, whose programs are not preempted".to_owned()),
            false => {
                let lost = "what threads that share a processor move may go unseen, then named \
                            untraced-syscall: give access to tracefs and to perf (CAP_PERFMON)";
                (State::Fallback, lost.to_owned())
            }
        }
    } else {
        match tracepoint::number("syscalls/sys_enter_close") {
            Ok(_) if hooks.in_sockets() => {
                (State::Ok, "to be had; not needed, as no system call is hooked".to_owned())
            }
            Ok(_) => (State::Ok, "the tracepoint of close is to be had".to_owned()),
            Err(error) if hooks.in_sockets() => {
                (State::Absent, format!("not needed, as no system call is hooked ({error})"))
            }
            Err(error) => {
                (State::Fallback, format!("tp_btf/sys_enter is used, which costs every call ({error})"))
            }
        }
    };
    Check::new("settings", "tracefs", state, detail)
}

/// The value of a sysctl by its path below /proc/sys.
fn sysctl(path: &str) -> Option<String> {
    Some(fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?.trim().to_owned())
}

fn unprivileged() -> Check {
    let name = "kernel.unprivileged_bpf_disabled";
    let detail = match sysctl("kernel/unprivileged_bpf_disabled").as_deref() {
        Some("0") => {
            "0: users without capabilities may load some programs, none that sockdbg needs".to_owned()
        }
        Some(value) => format!("{value}: capabilities are needed, which sockdbg's programs need anyway"),
        None => "not there".to_owned(),
    };
    Check::new("settings", name, State::Ok, detail)
}

fn jit() -> Check {
    let (state, detail) = match sysctl("net/core/bpf_jit_enable").as_deref() {
        Some("0") => (State::Fallback, "0: programs are interpreted, several times slower; set it to 1"),
        Some(_) => (State::Ok, "programs are compiled"),
        None => (State::Unknown, "not visible in this network namespace"),
    };
    Check::new("settings", "net.core.bpf_jit_enable", state, detail)
}
