//! Which hooks the running kernel grants, found by loading a program for each of them (`src/bpf/hooks.bpf.c`);
//! and how often the programs of a trace have run.
//!
//! What a hook is good for, and what its absence means, is left to whoever asks.

use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{IterOpts, Link, MapHandle, MapType, Object, ObjectBuilder, Program, ProgramMut, UprobeOpts};
use nix::errno::Errno;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

const PROGRAMS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hooks.bpf.o"));

/// A hook, and whether the kernel grants it.
#[derive(Debug)]
pub struct Hook {
    /// As the section of a program names it: `tp_btf/sock_send_length`.
    pub name: String,
    /// Why not, in one line.
    pub refusal: Option<String>,
}

/// Tries every hook, one after the other, and leaves none in place.
///
/// # Errors
/// The object file can't be read: sockdbg itself is broken.
pub fn try_all() -> libbpf_rs::Result<Vec<Hook>> {
    super::live::log_libbpf();
    let object = ObjectBuilder::default().open_memory(PROGRAMS)?;
    let names = object.progs().map(|program| program.section().to_string_lossy().into_owned());
    Ok(names
        .map(|name| Hook { refusal: try_together(&[&name]).err().map(|error| one_line(&error)), name })
        .collect())
}

/// True where the kernel grants all of these hooks, of those that [`try_all`] tries.
pub fn grants(names: &[&str]) -> bool {
    super::live::log_libbpf();
    let tried = try_together(names);
    tried.inspect_err(|error| log::debug!("no {}: {}", names.join(", "), one_line(error))).is_ok()
}

/// The hook on the return from any function of the kernel.
pub const RETURNS: &str = "fexit/tcp_sendmsg";

/// The reason at the bottom, which is the kernel's, without the number that the standard library adds.
fn one_line(error: &libbpf_rs::Error) -> String {
    let whole = format!("{error:#}");
    let reason = whole.lines().next().and_then(|line| line.rsplit(": ").next()).unwrap_or_default();
    reason.split(" (os error").next().unwrap_or_default().to_owned()
}

fn try_together(names: &[&str]) -> libbpf_rs::Result<()> {
    let mut object = ObjectBuilder::default().open_memory(PROGRAMS)?;
    for mut program in object.progs_mut() {
        let wanted = program.section().to_str().is_some_and(|section| names.contains(&section));
        program.set_autoload(wanted);
    }
    let object = object.load()?;
    for program in object.progs_mut().filter(|program| program.autoload()) {
        attach(&program.section().to_string_lossy(), &program, &object)?;
    }
    Ok(())
}

/// Attaches where that costs nobody else: a hook on system calls makes each of them slower from the moment it
/// is in place, whoever makes it, and what can be loaded for it can be attached.
fn attach(name: &str, program: &ProgramMut<'_>, object: &Object) -> libbpf_rs::Result<Option<Link>> {
    match name {
        "tp_btf/sys_exit" | "tp_btf/sys_enter" | "raw_tp/bpf_rdonly_cast" => Ok(None),
        "iter/task_file" => program.attach_iter_with_opts(IterOpts::None).map(Some),
        "iter/bpf_map_elem" => object.maps().next().map(|map| program.attach_iter(map.as_fd())).transpose(),
        "uprobe" => {
            let this_process = std::process::id() as i32;
            let func_name = Some("getpid".to_owned());
            let options = UprobeOpts { func_name, ..UprobeOpts::default() };
            program.attach_uprobe_with_opts(this_process, "libc.so.6", 0, options).map(Some)
        }
        _ => program.attach().map(Some),
    }
}

/// Creates a ring buffer of `size` bytes, and lets it go.
///
/// # Errors
/// The kernel has none (before 5.8), or not the memory: before 5.11 it counts against RLIMIT_MEMLOCK.
pub fn try_ring_buffer(size: u32) -> libbpf_rs::Result<()> {
    super::live::log_libbpf();
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    MapHandle::create(MapType::RingBuf, Some("try"), 0, 0, size, &options).map(drop)
}

/// True where the memory of BPF counts against the control group and no longer against RLIMIT_MEMLOCK (5.11,
/// the release that also brought the helper looked for here).
pub fn memory_is_of_the_cgroup() -> bool {
    use libbpf_rs::libbpf_sys::{
        BPF_FUNC_ktime_get_coarse_ns, BPF_PROG_TYPE_SOCKET_FILTER, libbpf_probe_bpf_helper,
    };
    super::live::log_libbpf();
    // SAFETY: takes two numbers and no options, and loads a program of its own.
    let found = unsafe {
        libbpf_probe_bpf_helper(BPF_PROG_TYPE_SOCKET_FILTER, BPF_FUNC_ktime_get_coarse_ns, std::ptr::null())
    };
    found == 1
}

/// Makes the kernel count how often each BPF program runs, for as long as the result is held. Costs every program
/// of the machine two readings of a clock each time.
///
/// # Errors
/// Not permitted, or the kernel is older than 5.8.
pub fn count_runs() -> io::Result<OwnedFd> {
    // SAFETY: takes a number and returns a descriptor or an error.
    let fd = unsafe { libbpf_rs::libbpf_sys::bpf_enable_stats(libbpf_rs::libbpf_sys::BPF_STATS_RUN_TIME) };
    Errno::result(fd)?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel has counted of the programs on one hook.
#[derive(Clone, Debug)]
pub struct Runs {
    /// As the section of the programs names it.
    pub hook: String,
    /// Runs while runs were counted, see [`count_runs`].
    pub count: u64,
    /// What these took, in nanoseconds.
    pub time: u64,
    /// Runs that were left out, since the programs were loaded, because they were running on that processor already.
    /// Of programs that stand in for each other it is the least: at most so many times did none of them run.
    pub missed: u64,
}

/// What the kernel has counted of the loaded programs of `object`, by hook.
pub(super) fn runs(object: &Object) -> Vec<Runs> {
    let ids = object.progs().filter(|program| program.autoload()).filter_map(|program| {
        let id = Program::id_from_fd(program.as_fd()).ok()?;
        Some((id, program.section().to_string_lossy().into_owned()))
    });
    let mut hooks: FxHashMap<u32, String> = ids.collect();
    let mut runs: BTreeMap<String, Runs> = BTreeMap::new();
    for program in ProgInfoIter::default() {
        let Some(hook) = hooks.remove(&program.id) else { continue };
        let missed = program.recursion_misses;
        let known = runs.entry(hook.clone()).or_insert(Runs { hook, count: 0, time: 0, missed });
        known.count += program.run_cnt;
        known.time += program.run_time_ns;
        known.missed = known.missed.min(missed);
    }
    runs.into_values().collect()
}
