//! Every way to move bytes, against the truth of a workload that does it (tests/workload): each of its modes runs
//! under `sockdbg events -w`, and the recording has to tell every byte of it, and nothing else. A mode that fails is
//! seen alone with `sockdbg events -- workload run --truth FOLDER MODE`. With SOCKDBG_TEST_HOOKS=calls the trace runs in
//! the test itself, with the hooks of kernels before 6.3.

mod common;

use common::trace::{Seen, Trace, hooks, require_bpf};
use common::truth::Told;
use common::watcher::{Watcher, program, programs_are_elsewhere};
use sockdbg::process::command::Suspended;
use sockdbg::source::live::{Hooks, Options};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// How many differences of a mode are shown.
const SHOWN_MAX: usize = 8;

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

#[test]
fn kernel() {
    check("kernel");
}

#[test]
fn two_at_once() {
    if !require_bpf() {
        return;
    }
    let pairs =
        [("calls", "life"), ("flags", "uring"), ("iovecs", "many"), ("udp", "unix"), ("sharing", "calls")];
    let together = |subject| modes(subject).into_iter().filter(|mode| !mode.alone).collect::<Vec<_>>();
    run(&pairs.map(|(one, other)| vec![together(one), together(other)]));
}

/// Traces all modes of a subject.
fn check(subject: &str) {
    if !require_bpf() {
        return;
    }
    let (alone, together): (Vec<_>, Vec<_>) = modes(subject).into_iter().partition(|mode| mode.alone);
    let processes = std::iter::once(together).chain(alone.into_iter().map(|mode| vec![mode]));
    let turns: Vec<_> = processes.filter(|modes| !modes.is_empty()).map(|modes| vec![modes]).collect();
    run(&turns);
}

#[test]
fn every_subject_has_a_test() {
    let subjects = ["calls", "flags", "iovecs", "udp", "unix", "sharing", "life", "many", "uring", "kernel"];
    let tested: Vec<Mode> = subjects.into_iter().flat_map(modes).collect();
    assert_eq!(tested.len(), modes("").len(), "a subject has no test");
}

struct Mode {
    name: String,
    /// Needs a process of its own.
    alone: bool,
    /// What the running kernel lacks that it needs.
    lacks: Option<String>,
}

/// The modes of a subject that this kernel can run; of all where it is empty.
fn modes(subject: &str) -> Vec<Mode> {
    let mut modes = listed();
    modes.retain(|mode| mode.lacks.is_none());
    modes.retain(|mode| subject.is_empty() || mode.name.split('/').next() == Some(subject));
    modes
}

fn listed() -> Vec<Mode> {
    let output = Command::new(workload()).arg("list").output().expect("the workload runs");
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).expect("text");
    let modes = lines.lines().map(|line| {
        let (rest, lacks) =
            line.split_once(" lacks ").map_or((line, None), |(rest, lacks)| (rest, Some(lacks)));
        let name = rest.strip_suffix(" alone");
        Mode { name: name.unwrap_or(rest).to_owned(), alone: name.is_some(), lacks: lacks.map(str::to_owned) }
    });
    modes.collect()
}

/// Modes that need more than the oldest kernel has (5.10), in the order of the workload's list, and the release that brought it.
const NEEDS: [(&str, (u32, u32)); 7] = [
    ("calls/zerocopy-receive", (5, 11)),
    ("uring/send-zc", (6, 0)),
    ("uring/sendmsg-zc", (6, 1)),
    ("uring/send-bundle", (6, 10)),
    ("uring/recv-multishot", (6, 0)),
    ("uring/recv-bundle", (6, 10)),
    ("uring/recv-multishot-bundle", (6, 10)),
];

/// Only what came with a later release may be lacking, and what this kernel's own release brought may not. TLS is a module
/// that a kernel may be built without.
#[test]
fn no_mode_is_left_out_but_for_the_kernel() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().expect("a number"));
    let running = (numbers.next().expect("a major number"), numbers.next().expect("a minor number"));
    let mut expected: Vec<&str> =
        NEEDS.iter().filter(|(_, since)| running < *since).map(|(mode, _)| *mode).collect();
    let modules = Path::new("/lib/modules").join(release.trim());
    let builtin = std::fs::read_to_string(modules.join("modules.builtin")).unwrap_or_default();
    let has_tls = builtin.contains("/tls.ko") || modules.join("kernel/net/tls").exists();
    if !has_tls {
        expected.extend(["kernel/tls-send", "kernel/tls-recv"]);
    }
    let listed = listed();
    let lacking: Vec<&str> =
        listed.iter().filter(|mode| mode.lacks.is_some()).map(|mode| mode.name.as_str()).collect();
    assert_eq!(lacking, expected, "on {release}");
}

/// Traces processes, turn by turn: those of one turn run at once, each of them some modes one after the other. Loading the
/// probes takes longer than most modes (a minute on an emulated processor), so one trace has all of them.
fn run(turns: &[Vec<Vec<Mode>>]) {
    let folder = tempfile::tempdir().expect("room for files");
    let truths = |turn: usize, process: usize| folder.path().join(format!("{turn}-{process}"));
    let children = turns.iter().enumerate().map(|(turn, processes)| {
        let processes = processes.iter().enumerate().map(|(process, modes)| {
            let truths = truths(turn, process);
            std::fs::create_dir(&truths).expect("a folder");
            let fixed = [workload().into(), "run".into(), "--truth".into(), truths.into()];
            let words = fixed.into_iter().chain(modes.iter().map(|mode| mode.name.clone().into()));
            Suspended::spawn(&words.collect::<Vec<OsString>>()).expect("the workload")
        });
        processes.collect()
    });
    let children = children.collect();
    let (seen, mut wrong) =
        if hooks() == Hooks::Calls { traced_here(children) } else { recorded(children, folder.path()) };
    let past_tcp = turns.iter().flatten().flatten().any(|mode| mode.name.starts_with("kernel/sockmap"));
    let warned = wrong.extract_if(.., |line| line.contains("no packet has them")).count();
    assert_eq!(warned, usize::from(past_tcp), "warnings of bytes past TCP");
    let mut told = Told::new(&seen);
    for (turn, processes) in turns.iter().enumerate() {
        for (process, modes) in processes.iter().enumerate() {
            for Mode { name, .. } in modes {
                let truth = truths(turn, process).join(name.replace('/', "-")).with_extension("json");
                let Ok(truth) = std::fs::read(truth) else {
                    wrong.push(format!("{name}: the workload failed"));
                    continue;
                };
                let found = told.differences(&serde_json::from_slice(&truth).expect("JSON"));
                if !found.is_empty() {
                    let first = found[..found.len().min(SHOWN_MAX)].join("; ");
                    wrong.push(format!("{name}: {first} ({} in all)", found.len()));
                }
            }
        }
    }
    wrong.extend(told.rest());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Lets them run, one turn after the other.
fn in_turn(turns: Vec<Vec<Suspended>>) {
    for turn in turns {
        let running = turn.into_iter().map(|child| child.resume().expect("the workload runs"));
        // A child that nobody waits for has not ended.
        for child in running.collect::<Vec<_>>() {
            child.wait().expect("a child");
        }
    }
}

fn pids(turns: &[Vec<Suspended>]) -> impl Iterator<Item = u32> {
    turns.iter().flatten().map(Suspended::pid)
}

/// Runs them under `sockdbg events -w`. What the recording tells, and whatever is wrong with it.
fn recorded(turns: Vec<Vec<Suspended>>, folder: &Path) -> (Vec<Seen>, Vec<String>) {
    let recording = folder.join("trace.pcapng");
    let pids: Vec<String> = pids(&turns).map(|pid| pid.to_string()).collect();
    let path = recording.to_str().expect("UTF-8");
    let watcher = Watcher::sockdbg(&["events", "-p", &pids.join(","), "-w", path]).wait_for("watching");
    in_turn(turns);
    let output = watcher.end();
    let (seen, mut wrong) = read(&recording);
    if !output.status.success() {
        wrong.push(format!(
            "sockdbg ends with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    (seen, wrong)
}

/// Runs them traced by this process.
fn traced_here(turns: Vec<Vec<Suspended>>) -> (Vec<Seen>, Vec<String>) {
    let trace = Trace::with(Options { pids: pids(&turns).collect(), ..Options::default() });
    in_turn(turns);
    let report = trace.ended();
    (report.connections.into_values().flatten().collect(), of_these(report.summary.warnings).collect())
}

/// Warnings that concern the processes traced. That runs of a probe were left out may be the work of any process: one that
/// is preempted within a probe keeps it from all others on its processor. What ours would have lost shows in the
/// comparison with the truth.
fn of_these(warnings: Vec<String>) -> impl Iterator<Item = String> {
    warnings.into_iter().filter(|warning| !warning.contains("runs of probes that the kernel left out"))
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
    (seen, summary.cut.into_iter().chain(of_these(summary.warnings)).collect())
}

/// The workload's program. What `cargo test` alone has not built anew does not count.
fn workload() -> PathBuf {
    let workload = program("workload");
    if programs_are_elsewhere() {
        return workload;
    }
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workload");
    let sources = std::fs::read_dir(sources).into_iter().flatten().flatten();
    let newest = sources.filter_map(|source| changed(&source.path())).max();
    let built = changed(&workload);
    assert!(
        built >= newest.or(Some(SystemTime::UNIX_EPOCH)),
        "{} is missing or older than its sources: cargo build --example workload",
        workload.display()
    );
    workload
}
