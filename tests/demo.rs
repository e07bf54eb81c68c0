//! `sockdbg demo`: the provoked loss is named, live and from the recordings that the repository holds.

mod common;

use common::trace::require_bpf;
use std::process::{Command, Output};

/// What the workload does: one answer of 10000 bytes by sendfile, 6 requests, 2 connections.
const LOSS: &str = "in-kernel-transfer (at syscall): 10000 bytes in 1 range, 1 record affected";
const VERDICT: &str = "incomplete: 1 of 2 connections differ, by 10000 bytes, each with its cause below (30673 bytes seen at \
     the calls, 6 records); residual 0";
/// What to run next, up to the number of the process.
const COMMAND: &str = "$ strace -f -y -e trace=sendfile,splice -p ";

fn check(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains(VERDICT) && text.contains(LOSS) && text.contains("http1 200 GET /picture.png"),
        "{text}"
    );
    let process = text.split_once(COMMAND).and_then(|(_, rest)| rest.lines().next());
    assert!(process.is_some_and(|process| process.parse::<u32>().is_ok()), "{text}");
}

#[test]
fn the_provoked_loss_is_named_live() {
    if !require_bpf() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_sockdbg")).arg("demo").output().unwrap();
    check(&output);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_rights_the_recordings_show_the_same() {
    // In a user namespace of its own a process has no rights in the machine's.
    let mut command = Command::new("unshare");
    let output = command.args(["--user", env!("CARGO_BIN_EXE_sockdbg"), "demo"]).output().unwrap();
    check(&output);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("no live run here") && why.lines().count() == 1, "{why}");
}
