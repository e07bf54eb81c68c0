//! Every way to move bytes, against the truth of a workload that does it (tests/workload): each of its modes runs
//! under `sockdbg events -w`, and the recording has to tell every byte of it, and nothing else. A mode that fails is
//! seen alone with `sockdbg events -- workload run --truth FOLDER MODE`.

mod common;

use common::trace::{Seen, hooks, require_bpf};
use common::truth::Told;
use common::watcher::Watcher;
use sockdbg::source::live::Hooks;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Modes that fail today, and why. One that passes has to be taken out.
const KNOWN: &[(&str, &str)] =
    &[("life/reset-then-read", "the call that fails after a reset was told of is not shown")];

/// Modes that fail where calls are hooked.
const KNOWN_OF_CALLS: &[(&str, &str)] = &[
    ("sharing/fork-send", OTHERS),
    ("sharing/fork-recv", OTHERS),
    ("sharing/fork-outlived", OTHERS),
    ("sharing/pidfd-getfd-by-other", OTHERS),
    ("sharing/scm-rights-other", OTHERS),
];

const OTHERS: &str = "calls of processes that are not traced are not looked at: untraced-syscall, or nothing";

#[test]
fn calls() {
    check("calls");
}

#[test]
fn flags() {
    check("flags");
}

#[test]
fn iovecs() {
    check("iovecs");
}

#[test]
fn udp() {
    check("udp");
}

#[test]
fn unix() {
    check("unix");
}

#[test]
fn sharing() {
    check("sharing");
}

#[test]
fn life() {
    check("life");
}

#[test]
fn many() {
    check("many");
}

#[test]
fn uring() {
    check("uring");
}

/// Traces all modes of a subject; exactly those that are known to fail may.
fn check(subject: &str) {
    if !require_bpf() {
        return;
    }
    let (alone, together): (Vec<_>, Vec<_>) = modes(subject).into_iter().partition(|mode| mode.alone);
    let mut runs = vec![together];
    runs.extend(alone.into_iter().map(|mode| vec![mode]));
    let wrong: Vec<String> =
        runs.iter().filter(|modes| !modes.is_empty()).flat_map(|modes| run(modes)).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn known_modes_exist() {
    let subjects = ["calls", "flags", "iovecs", "udp", "unix", "sharing", "life", "many", "uring"];
    let tested: Vec<Mode> = subjects.into_iter().flat_map(modes).collect();
    assert_eq!(tested.len(), modes("").len(), "a subject has no test");
    for (mode, why) in KNOWN.iter().chain(KNOWN_OF_CALLS) {
        assert!(tested.iter().any(|tested| tested.name == *mode), "{mode} ({why}) is no mode");
    }
}

/// Those of the hooks in use.
fn known() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let of_calls = if hooks() == Hooks::Calls { KNOWN_OF_CALLS } else { &[] };
    KNOWN.iter().chain(of_calls)
}

struct Mode {
    name: String,
    /// Needs a run of its own.
    alone: bool,
}

/// The modes of a subject; all where it is empty.
fn modes(subject: &str) -> Vec<Mode> {
    let output = Command::new(workload()).arg("list").output().expect("the workload runs");
    let lines = String::from_utf8(output.stdout).expect("text");
    let modes = lines.lines().map(|line| {
        let name = line.strip_suffix(" alone");
        Mode { name: name.unwrap_or(line).to_owned(), alone: name.is_some() }
    });
    modes.filter(|mode| subject.is_empty() || mode.name.split('/').next() == Some(subject)).collect()
}

/// Traces modes that run one after the other. One line for each of which the recording differs from the truth, or
/// does not where that is known.
fn run(modes: &[Mode]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("room for files");
    let recording = folder.path().join("trace.pcapng");
    let (program, path) = (workload(), |path: &Path| path.to_str().expect("UTF-8").to_owned());
    let command = [path(&program), "run".to_owned(), "--truth".to_owned(), path(folder.path())];
    let hooks = if hooks() == Hooks::Calls { "calls" } else { "auto" };
    let options = ["events", "--hooks", hooks, "-w", &path(&recording), "--"];
    let mut arguments = options.map(str::to_owned).to_vec();
    arguments.extend(command.into_iter().chain(modes.iter().map(|mode| mode.name.clone())));
    let output = Watcher::sockdbg(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).end();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return vec![format!("sockdbg ends with {}: {said}", output.status)];
    }
    let (seen, mut wrong) = read(&recording);
    let mut told = Told::new(&seen);
    for Mode { name, .. } in modes {
        let truth = folder.path().join(name.replace('/', "-")).with_extension("json");
        let found = match std::fs::read(truth) {
            Ok(truth) => told.differences(&serde_json::from_slice(&truth).expect("JSON")),
            Err(_) => return vec![format!("{name}: the workload failed: {said}")],
        };
        let known = known().any(|(known, _)| known == name);
        match found.first() {
            Some(first) if !known => wrong.push(format!("{name}: {first} ({} in all)", found.len())),
            None if known => wrong.push(format!("{name}: passes; take it out of KNOWN")),
            _ => {}
        }
    }
    wrong.extend(told.rest());
    wrong
}

/// The events of a recording, and what it says of itself.
fn read(recording: &Path) -> (Vec<Seen>, Vec<String>) {
    let mut seen = Vec::new();
    let mut source = sockdbg::source::open(recording).expect("a recording");
    let summary = source.run(&mut |event| {
        seen.push(Seen::new(event));
        ControlFlow::Continue(())
    });
    let summary = summary.expect("a readable recording");
    (seen, summary.cut.into_iter().chain(summary.warnings).collect())
}

/// The workload's program, as built by `cargo test` or `cargo build --example workload`.
fn workload() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_sockdbg")).with_file_name("examples").join("workload");
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workload");
    let sources = std::fs::read_dir(sources).into_iter().flatten().flatten();
    let newest = sources.filter_map(|source| changed(&source.path())).max();
    let built = changed(&program);
    assert!(
        built >= newest.or(Some(SystemTime::UNIX_EPOCH)),
        "{} is missing or older than its sources: cargo build --example workload",
        program.display()
    );
    program
}
