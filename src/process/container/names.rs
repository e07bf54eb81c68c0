//! The names that users give to containers: files of Docker, Podman, CRI-O, containerd (nerdctl, Kubernetes) and
//! systemd, those of users without privileges too. No runtime is asked, and what can't be read names nothing.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a name stands for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Ids of containers, and names of units.
    pub(super) ids: BTreeSet<String>,
    /// First processes of containers of containerd, whose cgroups may be called anything.
    pub(super) pids: BTreeSet<u32>,
}

/// What `name` stands for on this machine, also where this is a container with the host's processes in sight.
pub(super) fn named(name: &str) -> Named {
    let (own, first) = (Path::new("/"), Path::new("/proc/1/root"));
    let identity = |path: &Path| fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    let mut roots = vec![own];
    if identity(first).is_some() && identity(first) != identity(own) {
        roots.push(first);
    }
    let mut found = Named::default();
    for root in roots {
        Files { root }.find(name, &mut found);
    }
    found
}

/// The files below a root directory.
struct Files<'a> {
    root: &'a Path,
}

/// Of a user of Docker, Podman and nerdctl without privileges, below the home directory.
const OF_USERS: &str = ".local/share";

impl Files<'_> {
    fn find(&self, name: &str, found: &mut Named) {
        let homes = self.homes();
        let state = |folder: &str, of_user: &str| {
            let of_users = homes.iter().map(|home| home.join(OF_USERS).join(of_user));
            std::iter::once(self.root.join(folder)).chain(of_users).collect::<Vec<_>>()
        };
        let docker = self.docker_root().into_iter().chain(state("var/lib/docker", "docker"));
        for containers in docker.flat_map(|root| children(&root.join("containers"))) {
            found.ids.extend(docker_id(&containers, name));
        }
        let mut storage = state("var/lib/containers/storage", "containers/storage");
        storage.push(self.root.join("run/containers/storage"));
        for driver in storage.iter().flat_map(|root| children(root)) {
            if driver.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-containers")) {
                found.ids.extend(storage_ids(&driver, name));
            }
        }
        for store in state("var/lib/nerdctl", "nerdctl").iter().flat_map(|root| children(root)) {
            found.ids.extend(nerdctl_ids(&store, name));
        }
        for task in self.tasks() {
            self.of_task(&task, name, found);
        }
        found.ids.extend(machine_unit(&self.root.join("run/systemd/machines").join(name), name));
    }

    fn homes(&self) -> BTreeSet<PathBuf> {
        let users = fs::read_to_string(self.root.join("etc/passwd")).unwrap_or_default();
        let homes = users.lines().filter_map(|line| line.split(':').nth(5)?.strip_prefix('/'));
        homes.filter(|home| !home.is_empty()).map(|home| self.root.join(home)).collect()
    }

    /// Where the administrator has moved Docker's files.
    fn docker_root(&self) -> Option<PathBuf> {
        let path = json(&self.root.join("etc/docker/daemon.json"))?;
        Some(self.root.join(path["data-root"].as_str()?.trim_start_matches('/')))
    }

    /// The folders of containerd's running containers, each named by its id.
    fn tasks(&self) -> Vec<PathBuf> {
        const TASKS: &str = "containerd/io.containerd.runtime.v2.task";
        let run = self.root.join("run");
        let users = children(&run.join("user"));
        let roots = [run.clone(), run.join("k3s")].into_iter().chain(users).map(|root| root.join(TASKS));
        roots.flat_map(|root| children(&root)).flat_map(|namespace| children(&namespace)).collect()
    }

    fn of_task(&self, task: &Path, name: &str, found: &mut Named) {
        let Some(id) = task.file_name().and_then(|id| id.to_str()) else { return };
        let called =
            json(&task.join("config.json")).is_some_and(|spec| is_annotated(&spec["annotations"], name));
        if id != name && !called {
            return;
        }
        if called {
            found.ids.insert(id.to_owned());
        }
        let pid = fs::read_to_string(task.join("init.pid")).ok();
        found.pids.extend(pid.and_then(|pid| pid.trim().parse::<u32>().ok()));
    }
}

/// What is in a folder; nothing where there is none.
fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Docker: a folder for each container.
fn docker_id(folder: &Path, name: &str) -> Option<String> {
    let state = json(&folder.join("config.v2.json"))?;
    let is_called = state["Name"].as_str()?.trim_start_matches('/') == name;
    is_called.then(|| state["ID"].as_str().map(str::to_owned)).flatten()
}

/// Podman and CRI-O: lists of names, the second one of containers that vanish with their end, and a folder for each
/// container.
fn storage_ids(driver: &Path, name: &str) -> Vec<String> {
    let lists = ["containers.json", "volatile-containers.json"].map(|list| json(&driver.join(list)));
    let all = lists.into_iter().flatten().filter_map(|list| list.as_array().cloned()).flatten();
    let is_called = |one: &Value| {
        one["names"].as_array().is_some_and(|names| names.iter().any(|is| is.as_str() == Some(name)))
    };
    let named = all.filter(is_called).filter_map(|one| Some(one["id"].as_str()?.to_owned()));
    let annotated = children(driver).into_iter().filter(|folder| {
        json(&folder.join("userdata/config.json"))
            .is_some_and(|spec| is_annotated(&spec["annotations"], name))
    });
    named.chain(annotated.filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))).collect()
}

/// nerdctl: names/NAMESPACE/NAME holds the id.
fn nerdctl_ids(store: &Path, name: &str) -> Vec<String> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Vec::new();
    }
    let namespaces = children(&store.join("names"));
    let ids = namespaces.iter().filter_map(|namespace| fs::read_to_string(namespace.join(name)).ok());
    ids.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).collect()
}

/// Annotations in which nerdctl and Kubernetes (by containerd and by CRI-O) name a container: by its name, or by
/// those of its pod and itself, POD/NAME.
fn is_annotated(annotations: &Value, name: &str) -> bool {
    let is = |key: &str, name: &str| annotations[key].as_str() == Some(name);
    let pairs = [
        ("io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name"),
        ("io.kubernetes.pod.name", "io.kubernetes.container.name"),
    ];
    let of_pod = |(pod_key, key): (&str, &str)| match name.split_once('/') {
        Some((pod, name)) => is(pod_key, pod) && is(key, name),
        None => is(key, name),
    };
    is("nerdctl/name", name) || pairs.into_iter().any(of_pod)
}

/// systemd-machined: a file for each machine, with the unit that holds its processes.
fn machine_unit(file: &Path, name: &str) -> Option<String> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return None;
    }
    let text = fs::read_to_string(file).ok()?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value("UNIT").or(value("SCOPE")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "f75aff467357c5d0ddd47cb7ad87ed38746e018992586ff66198a5c11218f634";
    const B: &str = "f75b00c8b38413c88eefe063b8cd3f01c16be5e3bda9693a19a68a88807baca9";

    /// What `name` stands for where a file has this text.
    fn check(files: &[(&str, &str)], name: &str, ids: &[&str], pids: &[u32]) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("A_ID", A).replace("B_ID", B)).unwrap();
        }
        let mut found = Named::default();
        Files { root: root.path() }.find(name, &mut found);
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(found, Named { ids, pids: pids.iter().copied().collect() }, "{name}");
    }

    const USERS: (&str, &str) =
        ("etc/passwd", "nobody:x:9:9::/:/bin/false\nann:x:1000:1000:Ann:/users/ann:/bin/sh\n");

    #[test]
    fn docker_wherever_its_files_are() {
        let state = r#"{"State":{"Running":true},"ID":"A_ID","Name":"/web"}"#;
        let moved = ("etc/docker/daemon.json", r#"{"data-root": "/srv/docker"}"#);
        for path in ["var/lib/docker", "users/ann/.local/share/docker", "srv/docker"] {
            let path = format!("{path}/containers/A_ID/config.v2.json");
            let files = [USERS, moved, (path.as_str(), state)];
            check(&files, "web", &[A], &[]);
            check(&files, "we", &[], &[]);
            check(&files, "", &[], &[]);
        }
    }

    #[test]
    fn podman_with_and_without_privileges() {
        let list = r#"[{"id":"A_ID","names":["db"]},{"id":"B_ID","names":["web","front"]},{}]"#;
        for path in [
            "var/lib/containers/storage/overlay-containers/containers.json",
            "var/lib/containers/storage/vfs-containers/volatile-containers.json",
            "users/ann/.local/share/containers/storage/overlay-containers/containers.json",
        ] {
            check(&[USERS, (path, list)], "front", &[B], &[]);
            check(&[USERS, (path, "not JSON")], "front", &[], &[]);
        }
    }

    #[test]
    fn kubernetes_by_either_runtime() {
        let crio =
            r#"{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"pod-1"}}"#;
        let path = format!("run/containers/storage/overlay-containers/{A}/userdata/config.json");
        let cri = r#"{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"pod-2"}}"#;
        let task = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{B}");
        let (spec, pid) = (format!("{task}/config.json"), format!("{task}/init.pid"));
        let files = [(path.as_str(), crio), (spec.as_str(), cri), (pid.as_str(), "4711")];
        check(&files, "app", &[A, B], &[4711]);
        check(&files, "pod-1/app", &[A], &[]);
        check(&files, "pod-2/app", &[B], &[4711]);
        check(&files, "pod-3/app", &[], &[]);
        check(&files, "pod-1", &[], &[]);
    }

    #[test]
    fn containerd_by_nerdctl_and_ctr() {
        let path = "var/lib/nerdctl/1935db59/names/default/web";
        check(&[(path, "A_ID\n")], "web", &[A], &[]);
        check(&[(path, "A_ID\n")], "../default/web", &[], &[]);
        // ctr takes any namespace and any id.
        let pid = "run/containerd/io.containerd.runtime.v2.task/mine/redis/init.pid";
        check(&[(pid, "12\n")], "redis", &[], &[12]);
        check(&[(pid, "no number")], "redis", &[], &[]);
    }

    #[test]
    fn machines_of_systemd() {
        let file = "run/systemd/machines/box";
        check(&[(file, "NAME=box\nSCOPE=machine-box.scope\n")], "box", &["machine-box.scope"], &[]);
        check(&[(file, "UNIT=systemd-nspawn@box.service\n")], "box", &["systemd-nspawn@box.service"], &[]);
        check(&[(file, "UNIT=x\n")], "../machines/box", &[], &[]);
    }
}
