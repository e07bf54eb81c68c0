//! Containers and systemd units: which cgroups one of them has, found by its id or name.
//!
//! No runtime is asked. Its cgroups say which container they belong to, in a form that each runtime has; the names
//! that users give are in files of Docker and Podman.

use super::cgroup::{Cgroup, Place, directories};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Where Docker keeps its containers: a folder for each, named by id.
const DOCKER: &str = "/var/lib/docker/containers";

/// Where Podman and CRI-O keep a list of theirs.
const PODMAN: &str = "/var/lib/containers/storage/overlay-containers/containers.json";

/// How many containers an error lists.
const LISTED_MAX: usize = 20;

/// What a cgroup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// `docker`, `containerd`, `cri-o`, `podman`, `kubernetes` (by whichever runtime), or `systemd` for a unit.
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
    /// /proc can't be read.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown(all) if all.is_empty() => f.write_str("there is none, as far as cgroups tell"),
            Error::Unknown(all) => write!(f, "there is none; known: {}", list(all)),
            Error::Ambiguous(all) => write!(f, "it may be any of {}", list(all)),
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
    /// other has, by the name that the user gave it (Docker, Podman), or by the name of the unit.
    ///
    /// # Errors
    /// There is none or more than one, or /proc can't be read.
    pub fn cgroups(wanted: &str) -> Result<Vec<Cgroup>, Error> {
        let running = by_container(Place::all().map_err(Error::Io)?);
        let chosen = choose(wanted, running.keys(), &named(wanted))?.clone();
        let places = running.get(&chosen).cloned().unwrap_or_default();
        directories(places).map_err(Error::Io)
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
    // `ctr run` takes any name for an id.
    if above == "default" && stem.is_none() {
        return of("containerd", name);
    }
    (name.ends_with(".service") || stem.is_some()).then(|| of("systemd", name)).flatten()
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

/// `names`: ids of containers that the user called `wanted`.
fn choose<'a>(
    wanted: &str,
    running: impl Iterator<Item = &'a Container> + Clone,
    names: &BTreeSet<String>,
) -> Result<&'a Container, Error> {
    let is_called = |container: &&Container| match container.runtime {
        "systemd" => container.id == wanted || container.id.rsplit_once('.').is_some_and(|it| it.0 == wanted),
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

/// Ids of the containers to which a user of Docker or Podman gave this name.
fn named(name: &str) -> BTreeSet<String> {
    let folders = fs::read_dir(DOCKER).into_iter().flatten().flatten();
    let docker = folders.filter_map(|folder| docker_name(&folder.path(), name));
    docker.chain(fs::read(PODMAN).ok().into_iter().flat_map(|list| podman_names(&list, name))).collect()
}

fn docker_name(folder: &Path, name: &str) -> Option<String> {
    let state: Value = serde_json::from_slice(&fs::read(folder.join("config.v2.json")).ok()?).ok()?;
    let is_called = state["Name"].as_str()?.trim_start_matches('/') == name;
    is_called.then(|| state["ID"].as_str().map(str::to_owned)).flatten()
}

fn podman_names(list: &[u8], name: &str) -> Vec<String> {
    let all: Vec<Value> = serde_json::from_slice(list).unwrap_or_default();
    let is_called = |one: &&Value| {
        one["names"].as_array().is_some_and(|names| names.iter().any(|is| is.as_str() == Some(name)))
    };
    all.iter().filter(is_called).filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "f75aff467357c5d0ddd47cb7ad87ed38746e018992586ff66198a5c11218f634";
    const B: &str = "f75b00c8b38413c88eefe063b8cd3f01c16be5e3bda9693a19a68a88807baca9";
    const POD: &str = "5759a1ae_36ca_48a8_b20a_b0b5c8a90fb8";

    /// What the path leads to: runtime, id, and the path up to it without the rest.
    fn check(path: &str, expected: &[(&str, &str)]) {
        let path = path.replace("ID", A).replace("POD", POD);
        let found: Vec<_> = containers(&path).into_iter().map(|(it, _)| (it.runtime, it.id)).collect();
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
        check("/user.slice", &[]);
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
        let own = [0, 4].map(|hierarchy| place(hierarchy, "/machine.slice/libpod-ID.scope"));
        assert_eq!(found.len(), 1);
        assert_eq!(found.into_values().next().unwrap(), BTreeSet::from(own));
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

    #[test]
    fn names_are_in_files_of_the_runtimes() {
        let folder = tempfile::tempdir().unwrap();
        let state = format!(r#"{{"State":{{"Running":true}},"ID":"{A}","Name":"/web"}}"#);
        fs::write(folder.path().join("config.v2.json"), state).unwrap();
        assert_eq!(docker_name(folder.path(), "web").as_deref(), Some(A));
        assert_eq!(docker_name(folder.path(), "we"), None);
        let list = format!(r#"[{{"id":"{A}","names":["db"]}},{{"id":"{B}","names":["web","front"]}},{{}}]"#);
        assert_eq!(podman_names(list.as_bytes(), "front"), [B]);
        assert!(podman_names(b"not JSON", "front").is_empty());
    }
}
