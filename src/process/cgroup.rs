//! Control groups: from a path of the user's, or of /proc/PID/cgroup, to what the kernel knows a cgroup by.

use procfs::process::Process;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cgroup {
    /// Its directory.
    pub path: PathBuf,
    /// The number of its hierarchy, as in /proc/PID/cgroup; 0 is version 2.
    pub hierarchy: u32,
    /// Inode of its directory, by which the kernel knows it within its hierarchy.
    pub id: u64,
}

impl Cgroup {
    /// Those that `path` names: a directory of a cgroup file system, or a path below the root of one, as systemd-cgls
    /// and /proc/PID/cgroup show it. Version 1 has several hierarchies, in which the same path may exist.
    ///
    /// # Errors
    /// `NotFound` where it is neither; what /proc and the directory say.
    pub fn named(path: &Path) -> io::Result<Vec<Cgroup>> {
        let mounts = mounts()?;
        if let Ok(directory) = path.canonicalize()
            && let Some(mount) = mount_of(&mounts, &directory)
        {
            return Ok(vec![at(directory, mount.hierarchy)?]);
        }
        let below = path.strip_prefix("/").unwrap_or(path);
        let directories = mounts.iter().map(|mount| {
            let within = path.strip_prefix(&mount.root).unwrap_or(below);
            (mount.point.join(within), mount.hierarchy)
        });
        let found: Vec<Cgroup> =
            directories.filter_map(|(directory, hierarchy)| at(directory, hierarchy).ok()).collect();
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found)
    }

    /// The processes in it and below.
    pub fn pids(&self) -> Vec<u32> {
        // Cgroups and processes may end meanwhile.
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        let mut pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            pids.extend(Cgroup { path: entry.path(), ..*self }.pids());
        }
        pids
    }
}

fn at(directory: PathBuf, hierarchy: u32) -> io::Result<Cgroup> {
    let data = fs::metadata(&directory)?;
    if !data.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(Cgroup { path: directory, hierarchy, id: data.ino() })
}

/// A mounted hierarchy.
#[derive(Debug)]
struct Mount {
    point: PathBuf,
    /// The cgroup that is seen at the mount point.
    root: PathBuf,
    hierarchy: u32,
}

fn mounts() -> io::Result<Vec<Mount>> {
    let me = Process::myself().map_err(io::Error::other)?;
    let hierarchies = me.cgroups().map_err(io::Error::other)?.0;
    let mounts = me.mountinfo().map_err(io::Error::other)?.0;
    let hierarchy = |mount: &procfs::process::MountInfo| match mount.fs_type.as_str() {
        "cgroup2" => Some(0),
        // The options of the file system are the names of its controllers, among others.
        "cgroup" => hierarchies
            .iter()
            .find(|one| one.hierarchy != 0 && one.controllers.iter().all(|name| has_option(mount, name)))
            .map(|one| one.hierarchy),
        _ => None,
    };
    let known = mounts.iter().filter_map(|mount| {
        let hierarchy = hierarchy(mount)?;
        Some(Mount { point: mount.mount_point.clone(), root: PathBuf::from(&mount.root), hierarchy })
    });
    Ok(known.collect())
}

/// `cpu`, or `name=systemd`, which the options have as a name with a value.
fn has_option(mount: &procfs::process::MountInfo, controller: &str) -> bool {
    match controller.split_once('=') {
        Some((key, value)) => mount.super_options.get(key).is_some_and(|is| is.as_deref() == Some(value)),
        None => mount.super_options.contains_key(controller),
    }
}

fn mount_of<'a>(mounts: &'a [Mount], directory: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| directory.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.as_os_str().len())
}

/// Where a process is: the path in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the hierarchy.
    pub hierarchy: u32,
    /// From its root, beginning with a slash.
    pub path: String,
}

impl Place {
    /// All places in which there is a process now.
    ///
    /// # Errors
    /// /proc can't be read.
    pub fn all() -> io::Result<BTreeSet<Place>> {
        from_the_roots(|| {
            let processes = procfs::process::all_processes().map_err(io::Error::other)?;
            // Processes may end meanwhile.
            Ok(processes.filter_map(Result::ok).flat_map(|process| places(&process)).collect())
        })
    }

    /// The places of a process; none where it has ended.
    pub fn of(pid: u32) -> Vec<Place> {
        from_the_roots(|| {
            i32::try_from(pid)
                .ok()
                .and_then(|pid| Process::new(pid).ok())
                .map_or(Vec::new(), |it| places(&it))
        })
    }
}

fn places(process: &Process) -> Vec<Place> {
    let all = process.cgroups().map_or(Vec::new(), |all| all.0);
    all.into_iter().map(|one| Place { hierarchy: one.hierarchy, path: one.pathname }).collect()
}

/// The cgroup namespace that the kernel begins with (`PROC_CGROUP_INIT_INO`, include/linux/proc_ns.h).
const INITIAL: &str = "cgroup:[4026531835]";

/// Runs `look` where /proc shows paths of cgroups from the roots of their hierarchies: in the initial cgroup namespace,
/// which only the thread that looks enters. In a container's own namespace the path of its own cgroup is `/`, and tells
/// nothing. Where no process in the initial one is in sight, paths are as they are seen from here.
fn from_the_roots<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    let is_initial =
        |folder: &Path| fs::read_link(folder.join("ns/cgroup")).is_ok_and(|link| link.as_os_str() == INITIAL);
    if is_initial(Path::new("/proc/self")) {
        return look();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let initial = processes
        .filter(|folder| is_initial(folder))
        .find_map(|it| fs::File::open(it.join("ns/cgroup")).ok());
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            if let Some(initial) = initial {
                // Refused without CAP_SYS_ADMIN: see above.
                let _ = nix::sched::setns(initial, nix::sched::CloneFlags::CLONE_NEWCGROUP);
            }
            look()
        });
        looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The directories of places, where their hierarchies are mounted.
///
/// # Errors
/// /proc can't be read.
pub fn directories(places: impl IntoIterator<Item = Place>) -> io::Result<Vec<Cgroup>> {
    let mounts = from_the_roots(mounts)?;
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for place in places {
        let directories =
            mounts.iter().filter(|mount| mount.hierarchy == place.hierarchy).filter_map(|mount| {
                Some(mount.point.join(Path::new(&place.path).strip_prefix(&mount.root).ok()?))
            });
        for directory in directories {
            // One that is gone holds no process.
            let cgroup = at(directory, place.hierarchy).ok();
            found.extend(cgroup.filter(|cgroup| seen.insert((cgroup.hierarchy, cgroup.id))));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroups_hold_this_process() {
        let me = std::process::id();
        let own = Process::myself().unwrap().cgroups().unwrap().0;
        let places = own.into_iter().map(|one| Place { hierarchy: one.hierarchy, path: one.pathname });
        let found = directories(places).unwrap();
        assert!(!found.is_empty(), "no cgroup file system is mounted");
        for cgroup in &found {
            let direct = fs::read_to_string(cgroup.path.join("cgroup.procs")).unwrap();
            assert!(direct.lines().any(|line| line == me.to_string()), "{cgroup:?}");
            assert_eq!(&Cgroup::named(&cgroup.path).unwrap()[..], std::slice::from_ref(cgroup));
        }
        assert!(!Place::all().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_cgroup_is_not_found() {
        for path in ["/", "/proc", "no/such/cgroup"] {
            let named = Cgroup::named(Path::new(path));
            // The root of a hierarchy is called / as well.
            let is_root = path == "/" && named.as_ref().is_ok_and(|found| !found.is_empty());
            assert!(is_root || named.is_err_and(|error| error.kind() == io::ErrorKind::NotFound), "{path}");
        }
    }
}
