//! The live kernel: puts the probes of `src/bpf` in place and reads their ring buffer.
//!
//! What the records mean is left to [`crate::source::decode`]; what the probes do, to the C sources.

mod choosing;
mod listings;
mod offered;
mod pace;
mod ring;
mod uring;

use crate::event::{Comm, Event, Kind, Timestamp, Vantage};
use crate::process::Process;
use crate::process::cgroup::Cgroup;
use crate::source::decode::{self, Decoder};
use crate::source::filter::Filter;
use crate::source::roles::Roles;
use crate::source::{Error, Sink, Source, Summary, cgroup, hooks, now, raw, unsupported};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{ErrorKind, IterOpts, Link, MapCore, MapFlags, ProgramMut};
use listings::Listings;
use nix::time::{ClockId, clock_gettime};
use pace::Sampling;
use ring::{POLL_INTERVAL, Ring, wait, waker};
use skeleton::{SocketSkel, SocketSkelBuilder, types};
use std::cell::RefCell;
use std::io::Read;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use offered::{sockets_tell_of_traffic, tracepoints_are_preemptible, traffic_comes_by_perf};
pub use uring::UringReach;

/// Size of the ring buffer where the user gives none: room for the bursts of a fast server.
pub const DEFAULT_RING_SIZE: usize = 16 << 20;

/// At the end of a trace, how long bytes that no call has told of may wait for theirs to return, and how many
/// listings at least (to empty the ring between them may take longer); how long after one comes the next.
const RETURN_TIME: Duration = Duration::from_millis(500);
const PATIENT_ROUNDS: usize = 16;
const END_INTERVAL: Duration = Duration::from_millis(1);

/// Each listing empties the ring, and the smallest ring has room for the ends of several connections.
const LISTINGS_MAX: usize = 32_768;

/// The largest payload class of `src/bpf/payload.h`.
const CHUNK_MAX: u64 = 64 << 10;

#[allow(missing_docs, clippy::all, unreachable_pub)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/socket.skel.rs"));
}

/// Which descriptors are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdFilter {
    /// The descriptors named.
    pub fds: Vec<i32>,
    /// Watch all but these.
    pub negate: bool,
}

/// Where calls are seen, see `src/bpf/socket.bpf.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hooks {
    /// Where the kernel offers it, in the sockets: costs nobody but the traced process.
    #[default]
    Cheapest,
    /// In the sockets, or not at all.
    Sockets,
    /// At the exit of every system call of the machine, as on kernels before 6.3. Tells, beyond the rest, which
    /// call accepted a connection, and of the close of a descriptor that was not the last one.
    Calls,
}

/// What to observe, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Processes to trace. Without `names`, `cgroups` and `all`, the trace ends with the last of them.
    pub pids: Vec<u32>,
    /// Trace the children of those traced, too, and theirs. The trace then ends with the last of all of them.
    pub follow: bool,
    /// Trace every process that is called so, as long as it is.
    pub names: Vec<Comm>,
    /// Trace every process in these cgroups and below, as long as it is there.
    pub cgroups: Vec<Cgroup>,
    /// Trace every process but this one.
    pub all: bool,
    /// Only these descriptors; the totals of the others are still counted. A connection is left out, all of it,
    /// when the descriptor it is first seen with is.
    pub fds: Option<FdFilter>,
    /// What else is left out, and still counted.
    pub filter: Filter,
    /// Payload bytes to capture of each call; all where absent.
    pub snaplen: Option<u64>,
    /// Bytes of the ring buffer; rounded up to a power of two of at least a page.
    pub ring_size: usize,
    /// Where to look.
    pub hooks: Hooks,
    /// End after this time.
    pub duration: Option<Duration>,
    /// End when another thread, or a signal handler, sets it.
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            pids: Vec::new(),
            follow: false,
            names: Vec::new(),
            cgroups: Vec::new(),
            all: false,
            fds: None,
            filter: Filter::default(),
            snaplen: None,
            ring_size: DEFAULT_RING_SIZE,
            hooks: Hooks::default(),
            duration: None,
            stop: Arc::default(),
        }
    }
}

/// Probes in place. Events are kept in the ring from [`Live::attach`] on, until [`Source::run`] takes them.
pub struct Live {
    options: Options,
    skel: SocketSkel<'static>,
    /// Dropped to take the probes away.
    links: Vec<Link>,
    processes: Vec<Process>,
    attached: Timestamp,
    clock_offset: u64,
    /// Why the peers of received datagrams are not known.
    no_peers: Option<String>,
}

impl Live {
    /// Loads the probes, attaches them, and lists the sockets that are open already.
    ///
    /// # Errors
    /// [`Error::Attach`]: one line that says what is missing and what to do.
    pub fn attach(options: Options) -> Result<Live, Error> {
        let processes = options.pids.iter().map(|&pid| open_process(pid)).collect::<Result<Vec<_>, _>>()?;
        require_btf()?;
        let skel = load(&options)?;
        choosing::fill(&skel, &options)?;
        let mut links = attach_probes(&skel)?;
        links.extend(choosing::attach_probes(&skel, &options)?);
        let no_peers = attach_to_peers(&skel, &mut links).err();
        let clock_offset = clock_offset();
        let attached = now();
        let mut live = Live { options, skel, links, processes, attached, clock_offset, no_peers };
        if let Some(bss) = live.skel.maps.bss_data.as_mut() {
            bss.attached = 1;
        }
        live.list_sockets()?;
        Ok(live)
    }

    /// The sockets tell of their traffic, and no call is hooked.
    pub fn is_in_sockets(&self) -> bool {
        is_in_sockets(&self.skel.progs)
    }

    /// What the kernel has counted of each program in use.
    pub fn runs(&self) -> Vec<hooks::Runs> {
        hooks::runs(self.skel.object())
    }

    /// Finds the sockets that are open already: those that --fd names first, then the others.
    fn list_sockets(&mut self) -> Result<(), Error> {
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            bss.listing += 1;
        }
        for filtered in 0..=u32::from(self.options.fds.is_some()) {
            if let Some(bss) = self.skel.maps.bss_data.as_mut() {
                bss.list_filtered = filtered;
            }
            let listing = self.skel.progs.list_sockets.attach_iter_with_opts(IterOpts::None);
            run_iterator(&listing.map_err(|error| refused("iter/task_file", &error))?)?;
        }
        Ok(())
    }

    /// Waits for records and hands them on, until it is time to end.
    fn pump(&mut self, ring: &Ring<'_>, taker: &RefCell<Taker<'_>>) -> Result<(), Error> {
        let waker = waker(&self.skel.maps.events).map_err(|errno| Error::Attach(errno.to_string()))?;
        let deadline = self.options.duration.map(|duration| Instant::now() + duration);
        let (mut refused_ends, mut all_told) = (0, true);
        let mut listings = Listings::new();
        let mut sampling = Sampling::new();
        loop {
            sampling.turn(taker.borrow().records);
            let left = deadline.map_or(POLL_INTERVAL, |at| at.saturating_duration_since(Instant::now()));
            wait(&waker, left.min(POLL_INTERVAL));
            // Looked at before the ring: what a process did before its end is in the ring by then.
            let over = self.options.stop.load(Ordering::Relaxed)
                || deadline.is_some_and(|at| Instant::now() >= at)
                || self.nobody_left();
            ring.consume(taker)?;
            if over || taker.borrow().broken {
                return Ok(());
            }
            let joined = self.shared(|bss| &bss.joined);
            if listings.is_due(joined, self.unclaimed() > 0 || self.counted_known() > 0) {
                // Shows connections on which nothing moves; the others show themselves. And which are no more.
                let known = taker.borrow().records;
                self.list_sockets()?;
                all_told = self.list_conns()?;
                ring.consume(taker)?;
                listings.made(joined, taker.borrow().records != known);
            }
            let counted = self.counters().refused_ends;
            if counted != refused_ends || !all_told {
                refused_ends = counted;
                all_told = self.list_conns()?;
            }
        }
    }

    /// Has the probes tell where each connection stands: the trace ends. Where the ring takes no more, empties it and
    /// goes on.
    fn end_conns(&mut self, ring: &Ring<'_>, taker: &RefCell<Taker<'_>>) -> Result<(), Error> {
        let patient_until = Instant::now() + RETURN_TIME;
        for round in 0..LISTINGS_MAX {
            let waits = round < PATIENT_ROUNDS || Instant::now() < patient_until;
            if let Some(bss) = self.skel.maps.bss_data.as_mut() {
                (bss.ending, bss.waiting) = (1, u32::from(waits));
            }
            let before = taker.borrow().records;
            let all_told = self.list_conns()?;
            ring.consume(taker)?;
            if all_told || taker.borrow().broken {
                break;
            }
            if taker.borrow().records == before {
                std::thread::sleep(END_INTERVAL);
            }
        }
        Ok(())
    }

    /// Has the probes report the ends that a full ring refused. False: it has refused some again.
    fn list_conns(&mut self) -> Result<bool, Error> {
        if let Some(bss) = self.skel.maps.bss_data.as_mut() {
            bss.unlisted = 0;
        }
        let link = self
            .skel
            .progs
            .list_conns
            .attach_iter(self.skel.maps.conns.as_fd())
            .map_err(|error| refused("iter/bpf_map_elem", &error))?;
        run_iterator(&link)?;
        Ok(self.shared(|bss| &bss.unlisted) == 0)
    }

    /// True where every process that was to be traced has ended, and no other can become a target.
    fn nobody_left(&mut self) -> bool {
        if self.options.goes_on() || !self.processes.iter().all(Process::has_ended) {
            return false;
        }
        while self.options.follow {
            // One that ended during the search may have had a child before.
            let followed = self.shared(|bss| &bss.followed);
            self.processes = choosing::survivor(&self.skel).into_iter().collect();
            if !self.processes.is_empty() {
                return false;
            }
            if self.shared(|bss| &bss.followed) == followed {
                break;
            }
        }
        true
    }

    /// Connections of which it is not known who accepted them, and whether anybody has.
    fn unclaimed(&self) -> i32 {
        self.shared(|bss| &bss.unclaimed)
    }

    /// Connections whose end nothing but a listing of the open descriptors tells.
    fn counted_known(&self) -> i32 {
        self.shared(|bss| &bss.counted_known)
    }

    /// What the probes have counted so far.
    fn counters(&self) -> types::sd_counters {
        self.shared(|bss| &bss.counters)
    }

    /// A variable that the probes write to.
    fn shared<T: Copy + Default>(&self, variable: impl FnOnce(&types::bss) -> &T) -> T {
        // SAFETY: the section is mapped, of this type, for as long as the skeleton lives; the kernel writes to it.
        self.skel
            .maps
            .bss_data
            .as_ref()
            .map_or_else(T::default, |bss| unsafe { std::ptr::read_volatile(variable(bss)) })
    }

    fn summary(&self, taker: &Taker<'_>, ring_peak: u64) -> Summary {
        let runs = self.runs();
        let pace = pace::of(&runs, ring_size(self.options.ring_size) as u64, ring_peak, taker.lag);
        let mut warnings = Vec::new();
        let mut warn = |count: u64, text: &str| {
            if count > 0 {
                warnings.push(format!("{count} {text}"));
            }
        };
        let counters = self.counters();
        warn(
            counters.table_full,
            "calls on connections for which the kernel's table had no room (table-full)",
        );
        warn(
            counters.targets_full,
            "processes for which the kernel's table of targets had no room (table-full): they are not traced",
        );
        warn(counters.lost_ends, "connections whose end a full ring refused (ring-full): totals unknown");
        warn(counters.misplaced, "calls made on one socket at the same instant: their order is not known");
        warn(
            counters.past_tcp,
            "calls whose bytes the kernel handed from socket to socket (BPF sockmap): no packet has them",
        );
        let hooks: Vec<&str> =
            runs.iter().filter(|program| program.missed > 0).map(|program| program.hook.as_str()).collect();
        warn(
            pace.missed,
            &format!(
                "runs of probes that the kernel left out ({}): what they would have seen may be named untraced-syscall",
                hooks.join(", ")
            ),
        );
        warn(taker.malformed, "records of the ring could not be decoded: this is a fault of sockdbg");
        warnings.extend(unsupported::lines(&self.skel.maps.unsupported));
        if let Some(reason) = self.no_peers.as_ref().filter(|_| taker.datagrams) {
            warnings.push(format!(
                "who sent the datagrams received on unconnected sockets is not known: {reason}"
            ));
        }
        Summary {
            conflicts: Vec::new(),
            first: Some(self.attached),
            last: Some(now()),
            cut: None,
            dropped: counters.refused_calls,
            warnings,
            pace: Some(pace),
            undated: false,
            streams_only: false,
        }
    }
}

impl Source for Live {
    fn vantage(&self) -> Vantage {
        Vantage::Syscall
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        yield_to_the_traced();
        let taker = RefCell::new(Taker::new(self.clock_offset, sink));
        let ring = Ring::new(&self.skel.maps.events, ring_size(self.options.ring_size), &taker)?;
        let mut result = self.pump(&ring, &taker);
        if result.is_ok() && !taker.borrow().broken {
            // The probes stay until each connection's end is told: what moves meanwhile is still seen.
            if self.counted_known() > 0 {
                self.list_sockets()?;
            }
            result = self.end_conns(&ring, &taker);
            taker.borrow_mut().finish();
        }
        let peak = ring.peak();
        drop(ring);
        let summary = self.summary(&taker.into_inner(), peak);
        self.links.clear();
        result.map(|()| summary)
    }
}

/// Decodes records and hands the events to the sink.
struct Taker<'a> {
    decoder: Decoder,
    roles: Roles,
    sink: &'a mut dyn FnMut(&Event<'_>) -> ControlFlow<()>,
    broken: bool,
    records: u64,
    malformed: u64,
    /// The next record is the oldest of those that waited.
    oldest: bool,
    /// The longest that one has waited, in nanoseconds.
    lag: u64,
    /// There was a socket whose datagrams may come from anybody.
    datagrams: bool,
}

impl<'a> Taker<'a> {
    fn new(clock_offset: u64, sink: &'a mut Sink<'_>) -> Taker<'a> {
        let decoder = Decoder::new(clock_offset);
        Taker {
            decoder,
            roles: Roles::default(),
            sink,
            broken: false,
            records: 0,
            malformed: 0,
            oldest: false,
            lag: 0,
            datagrams: false,
        }
    }

    fn take(&mut self, record: &[u8]) {
        if std::mem::take(&mut self.oldest) {
            self.lag = self.lag.max(clock(ClockId::CLOCK_MONOTONIC).saturating_sub(decode::time(record)));
        }
        let Taker { decoder, roles, sink, datagrams, .. } = self;
        self.records += 1;
        let mut emit = |event: Event<'_>| {
            if let Kind::Open(open) = &event.kind {
                *datagrams |= !open.transport.is_stream() && open.remote.is_none();
            }
            sink(&roles.complete(event))
        };
        match decoder.record(record, &mut emit) {
            Ok(flow) => self.broken |= flow.is_break(),
            Err(decode::Malformed) => self.malformed += 1,
        }
    }

    fn finish(&mut self) {
        let Taker { decoder, roles, sink, .. } = self;
        self.broken |= decoder.finish(&mut |event| sink(&roles.complete(event))).is_break();
    }
}

/// Lets the reader wait for its turn instead of interrupting the traced process each time it wakes up
/// (SCHED_BATCH, sched(7)). The ring has room for that long.
fn yield_to_the_traced() {
    let parameters = nix::libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the structure, which lives through the call. Where it refuses, the reader
    // keeps its usual policy, which costs speed and nothing else.
    unsafe { nix::libc::sched_setscheduler(0, nix::libc::SCHED_BATCH, &raw const parameters) };
}

/// Takes hold of a process.
///
/// # Errors
/// [`Error::Attach`]: there is none with this id, or it is the id of a thread.
pub fn open_process(pid: u32) -> Result<Process, Error> {
    Process::open(pid).map_err(|error| {
        Error::Attach(match error.kind() {
            std::io::ErrorKind::NotFound => format!("process {pid} does not exist"),
            std::io::ErrorKind::InvalidInput => format!("{pid} is a thread: give the id of its process"),
            _ => format!("process {pid}: {error}"),
        })
    })
}

fn require_btf() -> Result<(), Error> {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        return Ok(());
    }
    Err(Error::Attach(format!(
        "{path} is missing: the kernel must be built with CONFIG_DEBUG_INFO_BTF, and /sys must be visible"
    )))
}

fn load(options: &Options) -> Result<SocketSkel<'static>, Error> {
    log_libbpf();
    // The skeleton borrows the room of its object for as long as it lives; a few bytes for each trace.
    let room = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = SocketSkelBuilder::default().open(room).map_err(|error| cannot_load(&error))?;
    let ring_size = ring_size(options.ring_size);
    configure(&mut open, options, ring_size);
    choosing::configure(&mut open, options);
    select_hooks(&mut open, offered::in_sockets(options.hooks)?);
    open.maps.events.set_max_entries(ring_size as u32).map_err(|error| cannot_load(&error))?;
    open.load().map_err(|error| cannot_load(&error))
}

fn configure(open: &mut skeleton::OpenSocketSkel<'_>, options: &Options, ring_size: usize) {
    let Some(settings) = open.maps.rodata_data.as_deref_mut() else { return };
    let quarter = ring_size as u64 / 4;
    settings.cfg_snaplen = options.snaplen.unwrap_or(u64::MAX);
    // A quarter of the ring, and room for the record's head: the largest class must fit several times.
    settings.cfg_chunk_max = CHUNK_MAX.min(quarter / 2);
    // Waking up costs the traced process more than the ring's memory: polls alone keep up with most.
    settings.cfg_wakeup = quarter;
    // All processors together pass the mark by an eighth at most.
    settings.cfg_look = quarter / 8 / processors();
}

/// A power of two of at least a page, at most what the kernel's ring can be (2^31).
fn ring_size(wanted: usize) -> usize {
    wanted.clamp(page_size(), 1 << 30).next_power_of_two()
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}

/// How many processors the kernel may run programs on.
fn processors() -> u64 {
    libbpf_rs::num_possible_cpus().map_or(1, |count| count as u64)
}

/// Loads only what the way of tracing needs, see `src/bpf/socket.bpf.c`.
fn select_hooks(open: &mut skeleton::OpenSocketSkel<'_>, traffic: bool) {
    let returns = uring::select_hooks(&mut open.progs, traffic);
    if let Some(settings) = open.maps.rodata_data.as_deref_mut() {
        (settings.cfg_traffic, settings.cfg_returns) = (traffic, returns);
        settings.cfg_preemptible = offered::tracepoints_are_preemptible();
    }
    let progs = &mut open.progs;
    let by_perf = traffic && offered::traffic_comes_by_perf();
    for program in [&mut progs.on_send, &mut progs.on_receive, &mut progs.on_read] {
        program.set_autoload(traffic && !by_perf);
    }
    for program in [&mut progs.on_send_perf, &mut progs.on_receive_perf, &mut progs.on_read_perf] {
        program.set_autoload(by_perf);
    }
    offered::select_connects(progs, traffic);
    let peers = traffic && cgroup::know_their_task();
    for program in [&mut progs.on_receive_ipv4, &mut progs.on_receive_ipv6] {
        program.set_autoload(peers);
    }
    progs.on_receive_unix.set_autoload(peers && offered::kernel_has("bpf_sock_addr_set_sun_path"));
    for program in [&mut progs.on_sys_enter_close, &mut progs.on_sys_enter, &mut progs.on_sys_exit] {
        program.set_autoload(!traffic);
    }
}

fn attach_probes(skel: &SocketSkel<'_>) -> Result<Vec<Link>, Error> {
    let progs = &skel.progs;
    // Ends first: an end that is seen early is known, a call before its connection's end must be.
    let mut links = vec![
        attach(&progs.on_destroy)?,
        attach(&progs.on_destroy_nested)?,
        attach(&progs.on_set_state)?,
        attach(&progs.on_set_state_nested)?,
    ];
    links.extend(uring::attach_probes(progs)?);
    if is_in_sockets(progs) {
        links.extend(offered::attach_traffic(progs)?);
        links.extend(offered::attach_connects(progs)?);
    } else {
        links.push(match attach_to_close(&progs.on_sys_enter_close) {
            Some(link) => link,
            None => attach(&progs.on_sys_enter)?,
        });
        links.push(attach(&progs.on_sys_exit)?);
    }
    Ok(links)
}

/// The programs that were loaded hook sockets, and no calls.
fn is_in_sockets(progs: &skeleton::SocketProgs<'_>) -> bool {
    progs.on_send.autoload() || progs.on_send_perf.autoload()
}

/// Puts a program where its section says.
fn attach(program: &ProgramMut<'_>) -> Result<Link, Error> {
    program.attach().map_err(|error| refused(&program.section().to_string_lossy(), &error))
}

/// Who sent a datagram is asked of the control groups; where calls are hooked, they tell. Says why it can't be asked.
fn attach_to_peers(skel: &SocketSkel<'_>, links: &mut Vec<Link>) -> Result<(), String> {
    let progs = &skel.progs;
    if !is_in_sockets(progs) {
        return Ok(());
    }
    if !progs.on_receive_ipv4.autoload() {
        return Err("this kernel does not tell programs of control groups which task they run in".into());
    }
    let programs = [&progs.on_receive_ipv4, &progs.on_receive_ipv6, &progs.on_receive_unix];
    let loaded: Vec<_> = programs.into_iter().filter(|program| program.autoload()).collect();
    links.extend(cgroup::attach(&loaded).map_err(|error| format!("{error:#}"))?);
    if !progs.on_receive_unix.autoload() {
        return Err("of Unix sockets this kernel does not tell it (Linux 6.7)".into());
    }
    Ok(())
}

/// The tracepoint of close(2) alone costs the other calls of the machine less. `None` where the kernel or its
/// tracefs can't be brought to grant it.
fn attach_to_close(program: &ProgramMut<'_>) -> Option<Link> {
    let link = offered::attach_by_perf(program);
    link.inspect_err(|error| log::debug!("no tracepoint of close: {error}")).ok()
}

fn add(map: &impl MapCore, key: &[u8]) -> Result<(), Error> {
    map.update(key, &[1], MapFlags::ANY).map_err(|error| cannot_load(&error))
}

fn cannot_load(error: &libbpf_rs::Error) -> Error {
    // Of the two errnos of this kind the verifier uses EACCES for programs that it refuses.
    let not_permitted = error.kind() == ErrorKind::PermissionDenied
        && format!("{error:#}").contains(&format!("(os error {})", nix::libc::EPERM));
    Error::Attach(if not_permitted {
        "loading BPF programs is not permitted: run as root, or with CAP_BPF and CAP_PERFMON \
         (before Linux 5.8: CAP_SYS_ADMIN)"
            .into()
    } else {
        format!(
            "the kernel does not take the BPF programs: {error:#} (the log at debug level has the verifier's words)"
        )
    })
}

fn refused(hook: &str, error: &libbpf_rs::Error) -> Error {
    Error::Attach(format!(
        "the kernel refuses the hook {hook}: {error}; sockdbg needs it (Linux 5.10 or later)"
    ))
}

/// Runs an iterator program over all its elements.
fn run_iterator(link: &Link) -> Result<(), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Attach(format!("listing sockets in the kernel: {error}"));
    let mut output = libbpf_rs::Iter::new(link).map_err(|error| failed(&error))?;
    // The programs print nothing: reading is what makes them run.
    output.read_to_end(&mut Vec::new()).map_err(|error| failed(&error))?;
    Ok(())
}

fn clock(id: ClockId) -> u64 {
    // Both clocks exist on every kernel (clock_gettime(2)), and count from 1970 or from boot.
    clock_gettime(id).map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Unix time less the kernel's monotonic clock: of several readings the one that took the shortest time.
fn clock_offset() -> u64 {
    let readings = (0..8).map(|_| {
        let before = clock(ClockId::CLOCK_MONOTONIC);
        let real = clock(ClockId::CLOCK_REALTIME);
        let after = clock(ClockId::CLOCK_MONOTONIC);
        (after - before, real - (before + (after - before) / 2))
    });
    readings.min().map_or(0, |(_, offset)| offset)
}

/// What libbpf says goes where all messages for developers go.
pub(super) fn log_libbpf() {
    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Debug, |level, message| {
        log::log!(target: "libbpf", log_level(level), "{}", message.trim_end());
    })));
}

fn log_level(level: libbpf_rs::PrintLevel) -> log::Level {
    match level {
        libbpf_rs::PrintLevel::Warn => log::Level::Debug,
        libbpf_rs::PrintLevel::Info => log::Level::Debug,
        libbpf_rs::PrintLevel::Debug => log::Level::Trace,
    }
}

/// Asserts when compiling that a record of the probes and the decoder's view of it are the same.
macro_rules! same_layout {
    ($probe:ident, $view:ident: $($field:ident),*) => {
        const _: () = {
            assert!(size_of::<types::$probe>() == size_of::<raw::$view>());
            $(assert!(offset_of!(types::$probe, $field) == offset_of!(raw::$view, $field));)*
        };
    };
}

same_layout!(sd_head, Head: time, inode, opened, pid, tid, fd, comm, kind, call, direction, flags, padding);
same_layout!(sd_start, RawStart: offset, seq, known);
same_layout!(sd_open, RawOpen: head, start, local, remote, local_port, remote_port, family, role, error, transport);
same_layout!(sd_peer, RawPeer: head, address, length, padding);
same_layout!(sd_names, RawNames: head, local, remote, local_length, remote_length);
same_layout!(sd_data, RawData: head, offset, length, wanted, at, captured, seq, error, cause);
same_layout!(sd_loss, RawLoss: head, from, to, cause, padding);
same_layout!(sd_total, RawTotal: moved, end, pending, known);
same_layout!(sd_close, RawClose: head, total, reason, padding);
