//! Whom the probes trace, and what they leave out: settings, tables and hooks of `src/bpf/targets.h` and
//! `src/bpf/filter.h`.

use super::offered::{attach_loaded, tracepoints_are_preemptible};
use super::skeleton::{OpenSocketSkel, SocketSkel, types};
use super::{Options, add, cannot_load, refused, run_iterator};
use crate::event::Direction;
use crate::process::Process;
use crate::source::Error;
use crate::source::filter::{Family, Filter, Ports};
use libbpf_rs::{IterOpts, Link, MapCore, MapFlags};

/// `BY_PID` of targets.h.
const BY_PID: u32 = 1;

/// Bytes of `struct ports` of filter.h: a bit for each.
const PORTS_SIZE: usize = 65536 / 8;

impl Options {
    /// Processes become targets, or cease to be, while the trace runs.
    fn is_dynamic(&self) -> bool {
        self.follow || self.finds()
    }

    /// Targets are found in the kernel, by what they are called and where they are.
    fn finds(&self) -> bool {
        !self.names.is_empty() || !self.cgroups.is_empty()
    }

    /// True where others may become targets when nobody is left.
    pub(super) fn goes_on(&self) -> bool {
        self.all || self.finds()
    }
}

/// Sets what has to be known when the programs are loaded, and which of them are.
pub(super) fn configure(open: &mut OpenSocketSkel<'_>, options: &Options) {
    if let Some(settings) = open.maps.rodata_data.as_deref_mut() {
        settings.cfg_target = match options.pids[..] {
            [pid] if !options.is_dynamic() => pid,
            _ => 0,
        };
        settings.cfg_all = options.all;
        settings.cfg_self = std::process::id();
        settings.cfg_follow = options.follow;
        settings.cfg_names = !options.names.is_empty();
        settings.cfg_cgroups = !options.cgroups.is_empty();
        settings.cfg_fds = options.fds.as_ref().map_or(0, |filter| 1 + u32::from(filter.negate));
        filter(settings, &options.filter);
    }
    let progs = &mut open.progs;
    progs.on_free.set_autoload(options.is_dynamic());
    let again = tracepoints_are_preemptible();
    let pairs = [
        (options.is_dynamic(), &mut progs.on_fork, &mut progs.on_fork_again),
        (!options.names.is_empty(), &mut progs.on_rename, &mut progs.on_rename_again),
        (!options.cgroups.is_empty(), &mut progs.on_move, &mut progs.on_move_again),
    ];
    for (wanted, first, second) in pairs {
        first.set_autoload(wanted);
        second.set_autoload(wanted && again);
    }
    progs.list_targets.set_autoload(options.finds());
}

fn filter(settings: &mut types::rodata, filter: &Filter) {
    let given = |(index, ports): (usize, &Ports)| u32::from(!ports.0.is_empty()) << index;
    settings.cfg_ports = port_sets(filter).into_iter().enumerate().map(given).sum();
    settings.cfg_peers = !filter.peers.is_empty();
    settings.cfg_family = match filter.family {
        None => 0,
        Some(Family::Ipv4) => nix::libc::AF_INET as u32,
        Some(Family::Ipv6) => nix::libc::AF_INET6 as u32,
        Some(Family::Unix) => nix::libc::AF_UNIX as u32,
    };
    if !filter.calls.is_empty() {
        settings.cfg_calls = filter.calls.iter().fold(0, |calls, &call| calls | 1 << (call as u8));
    }
    settings.cfg_directions = match filter.direction {
        None => 3,
        Some(Direction::Send) => 1,
        Some(Direction::Recv) => 2,
    };
}

/// In the order of the kernel's table.
fn port_sets(filter: &Filter) -> [&Ports; 3] {
    [&filter.ports, &filter.local_ports, &filter.remote_ports]
}

/// Fills the tables.
pub(super) fn fill(skel: &SocketSkel<'_>, options: &Options) -> Result<(), Error> {
    let maps = &skel.maps;
    for pid in &options.pids {
        put(&maps.targets, &pid.to_ne_bytes(), &target())?;
    }
    for name in &options.names {
        add(&maps.names, &name.0)?;
    }
    for cgroup in &options.cgroups {
        let key = [cgroup.id.to_ne_bytes(), u64::from(cgroup.hierarchy).to_ne_bytes()].concat();
        add(&maps.cgroups, &key)?;
    }
    for fd in options.fds.iter().flat_map(|filter| &filter.fds) {
        add(&maps.fds, &fd.to_ne_bytes())?;
    }
    for (index, ports) in (0u32..).zip(port_sets(&options.filter)) {
        put(&maps.ports, &index.to_ne_bytes(), &bits(ports))?;
    }
    for peer in &options.filter.peers {
        let key = [&u32::from(peer.prefix).to_ne_bytes()[..], &peer.address.octets()].concat();
        add(&maps.peers, &key)?;
    }
    Ok(())
}

/// `struct target` of one that user space enters.
fn target() -> [u8; size_of::<types::target>()] {
    let mut value = [0; size_of::<types::target>()];
    let at = std::mem::offset_of!(types::target, reasons);
    value[at..at + 4].copy_from_slice(&BY_PID.to_ne_bytes());
    value
}

fn bits(ports: &Ports) -> Vec<u8> {
    let mut bits = vec![0; PORTS_SIZE];
    for port in ports.0.iter().cloned().flatten() {
        // Words of 64 bits, which are little-endian on every architecture that the probes know.
        bits[usize::from(port) / 8] |= 1 << (port % 8);
    }
    bits
}

fn put(map: &impl MapCore, key: &[u8], value: &[u8]) -> Result<(), Error> {
    map.update(key, value, MapFlags::ANY).map_err(|error| cannot_load(&error))
}

/// Attaches the hooks that keep the table of targets up to date, then finds those there are.
pub(super) fn attach_probes(skel: &SocketSkel<'_>, options: &Options) -> Result<Vec<Link>, Error> {
    let progs = &skel.progs;
    // The end first: who is entered must be seen to go.
    let links = attach_loaded([
        &progs.on_free,
        &progs.on_fork,
        &progs.on_fork_again,
        &progs.on_rename,
        &progs.on_rename_again,
        &progs.on_move,
        &progs.on_move_again,
    ])?;
    if options.finds() {
        let listing = progs.list_targets.attach_iter_with_opts(IterOpts::None);
        run_iterator(&listing.map_err(|error| refused("iter/task", &error))?)?;
    }
    Ok(links)
}

/// A target that has not ended.
pub(super) fn survivor(skel: &SocketSkel<'_>) -> Option<Process> {
    let pids = skel.maps.targets.keys().filter_map(|key| Some(u32::from_ne_bytes(key.try_into().ok()?)));
    pids.filter_map(|pid| Process::open(pid).ok()).find(|process| !process.has_ended())
}
