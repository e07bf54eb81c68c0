//! Every way to move bytes, against the truth of a workload that does it (tests/workload): each of its modes runs
//! under `sockdbg events -w`, and the recording has to tell every byte of it, and nothing else.

mod common;

use common::trace::{Seen, require_bpf};
use common::truth::differences;
use common::watcher::Watcher;
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Modes that fail today, and why. One that passes has to be taken out.
const KNOWN: &[(&str, &str)] = &[];

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

/// Runs all modes of a subject; exactly those that are known to fail may.
fn check(subject: &str) {
    if !require_bpf() {
        return;
    }
    let modes = modes(subject);
    assert!(!modes.is_empty(), "no mode of {subject}");
    let mut wrong = Vec::new();
    for mode in &modes {
        let known = KNOWN.iter().any(|(name, _)| name == mode);
        let found = run(mode);
        match found.first() {
            Some(first) if !known => wrong.push(format!("{mode}: {first} ({} differences)", found.len())),
            None if known => wrong.push(format!("{mode}: passes; take it out of KNOWN")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn known_modes_exist() {
    let subjects = ["calls", "flags", "iovecs", "udp", "unix", "sharing", "life", "many", "uring"];
    let tested: Vec<String> = subjects.into_iter().flat_map(modes).collect();
    assert_eq!(tested.len(), modes("").len(), "a subject has no test");
    for (mode, why) in KNOWN {
        assert!(tested.iter().any(|name| name == mode), "{mode} ({why}) is no mode");
    }
}

/// The names of the modes of a subject; of all where it is empty.
fn modes(subject: &str) -> Vec<String> {
    let output = Command::new(workload()).arg("list").output().expect("the workload runs");
    let names = String::from_utf8(output.stdout).expect("text");
    let is_of = |name: &&str| subject.is_empty() || name.split('/').next() == Some(subject);
    names.lines().filter(is_of).map(str::to_owned).collect()
}

/// Traces one mode. How the recording differs from the truth.
fn run(mode: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("room for files");
    let (recording, truth) = (folder.path().join("trace.pcapng"), folder.path().join("truth.json"));
    let (workload, paths) = (workload(), [&recording, &truth].map(|path| path.to_str().expect("UTF-8")));
    let program = workload.to_str().expect("UTF-8");
    let output =
        Watcher::sockdbg(&["events", "-w", paths[0], "--", program, "run", mode, "--truth", paths[1]]).end();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return vec![format!("sockdbg ends with {}: {said}", output.status)];
    }
    let Ok(truth) = std::fs::read(&truth) else { return vec![format!("the workload failed: {said}")] };
    let truth: Value = serde_json::from_slice(&truth).expect("JSON");
    let mut seen = Vec::new();
    let mut source = sockdbg::source::open(&recording).expect("a recording");
    let summary = source.run(&mut |event| {
        seen.push(Seen::new(event));
        ControlFlow::Continue(())
    });
    let summary = summary.expect("a readable recording");
    let mut found = differences(&truth, &seen);
    found.extend(summary.cut);
    found.extend(summary.warnings);
    found
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
