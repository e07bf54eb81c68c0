//! Containers and systemd units: which cgroups one of them has, found by its id or name.
//!
//! No runtime is asked. Its cgroups say which container they belong to, in a form that each runtime has; the names
//! that users give are in files ([`names`]).

mod names;

use super::cgroup::{Cgroup, Place, directories};
use names::{Named, named};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

/// How many containers an error lists.
const LISTED_MAX: usize = 20;

/// What a cgroup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `kubernetes` (by whichever runtime), or `systemd` for a unit.
    pub runtime: &'static str,
    /// Its id; of a unit, the name.
    pub id: String,
}

/// Why there is not exactly one.
#[derive(Debug)]
pub enum Error {
    /// None is called so, among these.
    Unknown(Vec<Container>),
    /// Several are, or their ids begin so.
    Ambiguous(Vec<Container>),
    /// No cgroup file system that is mounted here shows it.
    Hidden,
    /// /proc can't be read.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown(all) if all.is_empty() => f.write_str("there is none, as far as cgroups tell"),
            Error::Unknown(all) => write!(f, "there is none; known: {}", list(all)),
            Error::Ambiguous(all) => write!(f, "it may be any of {}", list(all)),
            Error::Hidden => f.write_str(
                "it runs, and no cgroup file system that is mounted here shows it: mount the host's /sys/fs/cgroup",
            ),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

fn list(containers: &[Container]) -> String {
    let shown = containers.iter().take(LISTED_MAX).map(Container::to_string).collect::<Vec<_>>().join(", ");
    match containers.len().checked_sub(LISTED_MAX) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.runtime)
    }
}

impl Container {
    /// The cgroups of the running container or unit that `wanted` names: by its id, by a beginning of its id that no
    /// other has, by the name that the user gave it (in Kubernetes also POD/NAME), or by the name of the unit or of the
    /// machine in it.
    ///
    /// # Errors
    /// There is none or more than one, it can't be seen from here, or /proc can't be read.
    pub fn cgroups(wanted: &str) -> Result<Vec<Cgroup>, Error> {
        let running = by_container(Place::all().map_err(Error::Io)?);
        let Named { ids, pids } = named(wanted);
        let places = match choose(wanted, running.keys(), &ids) {
            Ok(chosen) => running.get(chosen).cloned().unwrap_or_default(),
            // What contains nothing of the container in its path may be known by its first process.
            Err(Error::Unknown(_)) if pids.len() == 1 => {
                pids.into_iter().flat_map(Place::of).filter(|place| place.path != "/").collect()
            }
            Err(error) => return Err(error),
        };
        let found = directories(places).map_err(Error::Io)?;
        if found.is_empty() { Err(Error::Hidden) } else { Ok(found) }
    }
}

/// The place of each container's own cgroup, in all hierarchies.
fn by_container(places: BTreeSet<Place>) -> BTreeMap<Container, BTreeSet<Place>> {
    let mut all: BTreeMap<Container, BTreeSet<Place>> = BTreeMap::new();
    for place in places {
        for (container, path) in containers(&place.path) {
            let own = Place { hierarchy: place.hierarchy, path: path.to_owned() };
            all.entry(container).or_default().insert(own);
        }
    }
    all
}

/// The containers and units that a cgroup's path leads through, each with the path up to it.
fn containers(path: &str) -> Vec<(Container, &str)> {
    let mut found = Vec::new();
    let mut above = "";
    let mut end = 0;
    for name in path.split('/') {
        end += name.len();
        found.extend(container(above, name).map(|container| (container, &path[..end])));
        end += 1;
        above = name;
    }
    found
}

/// What a cgroup is, by its name and the one above it.
fn container(above: &str, name: &str) -> Option<Container> {
    let of = |runtime, id: &str| Some(Container { runtime, id: id.to_owned() });
    // Where systemd manages the cgroups of containers: PREFIX-ID.scope. Processes that watch a container are in
    // scopes of their own, PREFIX-conmon-ID.scope, and no part of it.
    let scopes = [
        ("docker-", "docker"),
        ("cri-containerd-", "containerd"),
        ("nerdctl-", "containerd"),
        ("crio-", "cri-o"),
        ("libpod-", "podman"),
    ];
    let stem = name.strip_suffix(".scope");
    for (prefix, runtime) in scopes {
        // Podman and CRI-O have the same names without .scope where they manage cgroups themselves.
        if let Some(id) = stem.unwrap_or(name).strip_prefix(prefix).filter(|id| is_id(id)) {
            return of(runtime, id);
        }
    }
    // containerd without its own parent for pods: SLICE:PREFIX:ID, as the runtime is told it.
    if let Some(id) = name.rsplit_once(":cri-containerd:").map(|(_, id)| id).filter(|id| is_id(id)) {
        return of("containerd", id);
    }
    if is_id(name) {
        return match above {
            "docker" => of("docker", name),
            _ if is_pod(above) => of("kubernetes", name),
            // containerd: a namespace of its own, then the container.
            "default" | "k8s.io" | "moby" => of("containerd", name),
            _ => None,
        };
    }
    // LXC, also by LXD and Incus; the monitor of a container is in lxc.monitor.NAME.
    if let Some(name) = name.strip_prefix("lxc.payload.").or((above == "lxc").then_some(name)) {
        return of("lxc", name);
    }
    // `ctr run` takes any name for an id.
    if above == "default" && stem.is_none() {
        return of("containerd", name);
    }
    [".service", ".scope", ".slice"]
        .iter()
        .any(|kind| name.ends_with(kind))
        .then(|| of("systemd", name))
        .flatten()
}

/// 64 hexadecimal digits, as all runtimes make them.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The cgroup of a pod: podUID, or kubepods-burstable-podUID.slice.
fn is_pod(name: &str) -> bool {
    let rest = name.strip_prefix("pod").or_else(|| name.split_once("-pod").map(|(_, rest)| rest));
    rest.is_some_and(|uid| uid.bytes().filter(u8::is_ascii_hexdigit).count() >= 32)
}

/// The machine (systemd-nspawn, a virtual machine) that a unit is for: machine-NAME.scope, systemd-nspawn@NAME.service.
fn machine(unit: &str) -> Option<String> {
    let scope = unit.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"));
    let service = unit.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
    scope.or(service).map(unescape)
}

/// Of a unit's name, see systemd-escape(1): `\\x2d` for a byte, `-` for a slash.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = text_of_escape(rest).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(if *first == b'-' { b'/' } else { *first }));
        rest = if byte.is_some() { &rest[4..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text_of_escape(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.strip_prefix(b"\\x")?.get(..2)?).ok()
}

/// `names`: ids of containers and units that the user called `wanted`.
fn choose<'a>(
    wanted: &str,
    running: impl Iterator<Item = &'a Container> + Clone,
    names: &BTreeSet<String>,
) -> Result<&'a Container, Error> {
    let is_called = |container: &&Container| match container.runtime {
        "systemd" => {
            container.id == wanted
                || names.contains(&container.id)
                || container.id.rsplit_once('.').is_some_and(|it| it.0 == wanted)
                || machine(&container.id).is_some_and(|name| name == wanted)
        }
        _ => container.id == wanted || names.contains(&container.id),
    };
    let begins = |container: &&Container| {
        container.runtime != "systemd" && !wanted.is_empty() && container.id.starts_with(wanted)
    };
    let mut found: Vec<&Container> = running.clone().filter(is_called).collect();
    if found.is_empty() {
        found = running.clone().filter(begins).collect();
    }
    match found[..] {
        [one] => Ok(one),
        [] => Err(Error::Unknown(running.cloned().collect())),
        _ => Err(Error::Ambiguous(found.into_iter().cloned().collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "f75aff467357c5d0ddd47cb7ad87ed38746e018992586ff66198a5c11218f634";
    const B: &str = "f75b00c8b38413c88eefe063b8cd3f01c16be5e3bda9693a19a68a88807baca9";
    const POD: &str = "5759a1ae_36ca_48a8_b20a_b0b5c8a90fb8";

    /// What the path leads to, but for slices: runtime and id.
    fn check(path: &str, expected: &[(&str, &str)]) {
        let path = path.replace("ID", A).replace("POD", POD);
        let found = containers(&path).into_iter().map(|(it, _)| (it.runtime, it.id));
        let found: Vec<_> = found.filter(|(_, id)| !id.ends_with(".slice")).collect();
        let expected: Vec<_> = expected.iter().map(|&(runtime, id)| (runtime, id.replace("ID", A))).collect();
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn docker_by_either_driver() {
        check("/docker/ID", &[("docker", "ID")]);
        check("/system.slice/docker-ID.scope", &[("docker", "ID")]);
        check("/docker/ID/system.slice/nginx.service", &[("docker", "ID"), ("systemd", "nginx.service")]);
        check(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            &[("systemd", "user@1000.service"), ("docker", "ID")],
        );
        check("/system.slice/docker.service", &[("systemd", "docker.service")]);
    }

    #[test]
    fn containerd_with_and_without_kubernetes() {
        check("/kubepods/burstable/podPOD/ID", &[("kubernetes", "ID")]);
        check("/kubepods/pod5759a1ae-36ca-48a8-b20a-b0b5c8a90fb8/ID", &[("kubernetes", "ID")]);
        check(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD.slice/cri-containerd-ID.scope",
            &[("containerd", "ID")],
        );
        check(
            "/system.slice/containerd.service/kubepods-burstable-podPOD.slice:cri-containerd:ID",
            &[("systemd", "containerd.service"), ("containerd", "ID")],
        );
        check("/default/ID", &[("containerd", "ID")]);
        check("/default/web", &[("containerd", "web")]);
        check("/system.slice/nerdctl-ID.scope", &[("containerd", "ID")]);
    }

    #[test]
    fn cri_o_without_its_monitor() {
        let pod = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podPOD.slice";
        check(&format!("{pod}/crio-ID.scope"), &[("cri-o", "ID")]);
        check(&format!("{pod}/crio-ID.scope/container"), &[("cri-o", "ID")]);
        check("/kubepods/besteffort/podPOD/crio-ID", &[("cri-o", "ID")]);
        check(&format!("{pod}/crio-conmon-ID.scope"), &[("systemd", "crio-conmon-ID.scope")]);
    }

    #[test]
    fn podman_without_its_monitor() {
        check("/machine.slice/libpod-ID.scope", &[("podman", "ID")]);
        check("/machine.slice/libpod-ID.scope/container", &[("podman", "ID")]);
        check("/libpod_parent/libpod-ID", &[("podman", "ID")]);
        check(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            &[("systemd", "user@1000.service"), ("podman", "ID")],
        );
        check("/machine.slice/libpod-conmon-ID.scope", &[("systemd", "libpod-conmon-ID.scope")]);
        check("/libpod_parent/conmon", &[]);
    }

    #[test]
    fn units_of_systemd() {
        check("/system.slice/nginx.service", &[("systemd", "nginx.service")]);
        check("/system.slice/system-getty.slice/getty@tty1.service", &[("systemd", "getty@tty1.service")]);
        check("/user.slice/user-1000.slice/session-4.scope", &[("systemd", "session-4.scope")]);
        check("/", &[]);
        let slices: Vec<_> = containers("/user.slice/user-1000.slice/session-4.scope").into_iter().collect();
        let ids: Vec<_> = slices.iter().map(|(it, path)| (it.id.as_str(), *path)).collect();
        let path = "/user.slice/user-1000.slice";
        let session = "/user.slice/user-1000.slice/session-4.scope";
        assert_eq!(
            ids,
            [("user.slice", "/user.slice"), ("user-1000.slice", path), ("session-4.scope", session)]
        );
    }

    #[test]
    fn lxc_without_its_monitor() {
        check("/lxc.payload.web/system.slice/x.service", &[("lxc", "web"), ("systemd", "x.service")]);
        check("/lxc/web", &[("lxc", "web")]);
        check("/lxc.monitor.web", &[]);
    }

    #[test]
    fn machines_have_the_names_that_their_units_hold() {
        let names = [
            ("machine-box.scope", Some("box")),
            (r"machine-qemu\x2d1\x2dbig\x2dbox.scope", Some("qemu-1-big-box")),
            ("systemd-nspawn@box.service", Some("box")),
            (r"systemd-nspawn@\x2.service", Some(r"\x2")),
            ("machine.slice", None),
            ("nginx.service", None),
        ];
        for (unit, name) in names {
            assert_eq!(machine(unit).as_deref(), name, "{unit}");
            let running = [Container { runtime: "systemd", id: unit.to_owned() }];
            if let Some(name) = name {
                assert_eq!(choose(name, running.iter(), &BTreeSet::new()).unwrap().id, unit);
            }
        }
        let running = [Container { runtime: "systemd", id: "box.scope".to_owned() }];
        let known = BTreeSet::from(["box.scope".to_owned()]);
        assert_eq!(
            choose("any", running.iter(), &known).unwrap().id,
            "box.scope",
            "by the file of the machine"
        );
    }

    #[test]
    fn places_below_a_container_are_its_own() {
        let place = |hierarchy, path: &str| Place { hierarchy, path: path.replace("ID", A) };
        let places = [
            place(0, "/machine.slice/libpod-ID.scope/container"),
            place(0, "/machine.slice/libpod-ID.scope/init"),
            place(4, "/machine.slice/libpod-ID.scope"),
            place(4, "/"),
        ];
        let found = by_container(places.into_iter().collect());
        let both = |path: &str| BTreeSet::from([0, 4].map(|hierarchy| place(hierarchy, path)));
        let found: Vec<_> = found.into_iter().map(|(it, places)| (it.runtime, places)).collect();
        let expected = [("podman", "/machine.slice/libpod-ID.scope"), ("systemd", "/machine.slice")];
        assert_eq!(found, expected.map(|(runtime, path)| (runtime, both(path))));
    }

    #[test]
    fn one_is_chosen_by_id_name_or_beginning() {
        let running = [("docker", A), ("podman", B), ("systemd", "nginx.service"), ("systemd", "f7.service")]
            .map(|(runtime, id)| Container { runtime, id: id.to_owned() });
        let names = BTreeSet::from([B.to_owned()]);
        let none = BTreeSet::new();
        let id = |wanted: &str, names| choose(wanted, running.iter(), names).map(|it| it.id.clone());
        assert_eq!(id(A, &none).unwrap(), A);
        assert_eq!(id("f75a", &none).unwrap(), A);
        assert_eq!(id("f75b", &none).unwrap(), B);
        assert_eq!(id("web", &names).unwrap(), B);
        assert_eq!(id("nginx.service", &none).unwrap(), "nginx.service");
        assert_eq!(id("nginx", &none).unwrap(), "nginx.service");
        assert_eq!(id("f7", &none).unwrap(), "f7.service", "a name goes before a beginning");
        let ambiguous = id("f75", &none).unwrap_err().to_string();
        assert_eq!(ambiguous, format!("it may be any of {A} (docker), {B} (podman)"));
        for unknown in ["", "ngin", "0", "web"] {
            let message = id(unknown, &none).unwrap_err().to_string();
            assert!(message.starts_with("there is none; known: ") && message.contains(A), "{message}");
        }
    }

    #[test]
    fn long_lists_say_how_much_they_leave_out() {
        let all: Vec<_> =
            (0..25).map(|n| Container { runtime: "systemd", id: format!("{n}.service") }).collect();
        let text = list(&all);
        assert!(text.ends_with("19.service (systemd) and 5 more"), "{text}");
        assert!(list(&all[..20]).ends_with("19.service (systemd)"));
    }
}
