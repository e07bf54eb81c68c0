//! `sockdbg events` on real processes and as a recorder: what it shows and records is what the peers sent
//! and got, however the run ends.

mod common;

use assert_cmd::cargo::cargo_bin;
use common::events::{json, stream, text};
use common::peer::{Python, converse, eventually, exchange, listen, noise};
use common::trace::require_bpf;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn sockdbg(args: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("sockdbg"));
    command.env("TZ", "UTC").env_remove("NO_COLOR").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Shows a recording as JSON.
fn read_back(recording: &Path) -> Output {
    sockdbg(&["events", "--format", "json", "-q", "-r", recording.to_str().unwrap()]).output().unwrap()
}

/// Waits until a run that was started has probes in place: it says so by its first event, which the
/// workload makes by connecting.
fn first_event(run: &mut Child) -> Vec<u8> {
    let mut byte = [0];
    run.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    byte.to_vec()
}

/// A run's stdout and stderr to its end, which `end` brings about.
fn finished(mut run: Child, mut stdout: Vec<u8>) -> Output {
    run.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    let rest = run.wait_with_output().unwrap();
    Output { stdout, ..rest }
}

fn signal(run: &Child, signal: Signal) {
    kill(Pid::from_raw(run.id() as i32), signal).unwrap();
}

const CLIENT: &str = "import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.sendall(b'question' * 1000)
s.shutdown(1)
while s.recv(65536): pass
s.close()";

#[test]
fn a_command_is_traced_from_its_first_call_to_its_last() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let reply = noise(200_000, 1);
    let port = port.to_string();
    let run = sockdbg(&["events", "--format", "json", "--", "python3", "-c", CLIENT, &port]).spawn().unwrap();
    let received = exchange(&listener, &reply);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let (events, summary) = json(&output.stdout);
    assert_eq!(stream(&events, "send"), received);
    assert_eq!(stream(&events, "recv"), reply);
    // Not always the first one: the C library may have looked for a name service.
    let remote = format!("127.0.0.1:{port}");
    let open = events.iter().find(|event| event["remote"] == remote).expect("the connection");
    assert_eq!((&open["type"], &open["syscall"]), (&"open".into(), &"connect".into()));
    assert_eq!((&open["found"], &open["role"]), (&false.into(), &"client".into()));
    assert_eq!(summary["verdict"], "complete");
    assert!(text(&output.stderr).contains("nothing lost;"), "{}", text(&output.stderr));
}

#[test]
fn what_a_filter_leaves_out_is_counted_with_its_cause() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let port = port.to_string();
    let args = ["events", "--fd", "9999", "--format", "json", "--", "python3", "-c", CLIENT, &port];
    let run = sockdbg(&args).spawn().unwrap();
    assert_eq!(exchange(&listener, &noise(1234, 3)).len(), 8000);
    let output = run.wait_with_output().unwrap();
    let (events, summary) = json(&output.stdout);
    assert!(events.iter().all(|event| event["type"] != "data"));
    let lost: Vec<_> = events.iter().filter(|event| event["type"] == "loss").collect();
    let ranges: Vec<_> =
        lost.iter().map(|loss| (&loss["direction"], &loss["offset"], &loss["length"])).collect();
    assert_eq!(
        ranges,
        [(&"send".into(), &0.into(), &8000.into()), (&"recv".into(), &0.into(), &1234.into())]
    );
    assert!(lost.iter().all(|loss| loss["cause"] == "filtered" && loss["stage"] == "capture"));
    assert_eq!((&summary["causes"][0]["bytes"], &summary["verdict"]), (&9234.into(), &"incomplete".into()));
    assert!(!text(&output.stderr).contains("so far"), "the user's own filter is no news");
}

#[test]
fn a_failing_command_is_reported_and_no_failure_of_ours() {
    if !require_bpf() {
        return;
    }
    let output = sockdbg(&["events", "--", "sh", "-c", "exit 7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).ends_with("sockdbg: the command ended with exit status 7\n"));
    let output = sockdbg(&["events", "--", "sh", "-c", "kill -KILL $$"]).output().unwrap();
    assert!(text(&output.stderr).ends_with("sockdbg: the command was ended by SIGKILL\n"));
}

#[test]
fn what_can_not_be_traced_is_named_in_one_line() {
    if !require_bpf() {
        return;
    }
    let output = sockdbg(&["events", "--", "/nonexistent/program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = "sockdbg: cannot run /nonexistent/program: No such file or directory";
    assert!(text(&output.stderr).starts_with(message), "{}", text(&output.stderr));
    // Above the largest pid that Linux gives (PID_MAX_LIMIT).
    let output = sockdbg(&["events", "-p", "4194305"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stderr), "sockdbg: process 4194305 does not exist\n");
}

#[test]
fn failing_to_attach_leaves_an_existing_recording_alone() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "recorded before").unwrap();
    let output = sockdbg(&["events", "-p", "4194305", "-w", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(fs::read(&path).unwrap(), b"recorded before");
}

#[test]
fn a_recording_is_private_silent_and_says_what_live_output_says() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pcapng");
    let (listener, port) = listen();
    let reply = noise(1_000_000, 2);
    let (port, name) = (port.to_string(), path.to_str().unwrap());
    let args = ["events", "-w", name, "--", "python3", "-c", CLIENT, &port];
    let silent = sockdbg(&args).spawn().unwrap();
    let received = exchange(&listener, &reply);
    let silent = silent.wait_with_output().unwrap();
    assert_eq!((silent.status.code(), silent.stdout.len()), (Some(0), 0));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (events, _) = json(&read_back(&path).stdout);
    assert_eq!(stream(&events, "send"), received);
    assert_eq!(stream(&events, "recv"), reply);

    let args = ["events", "--format", "json", "-w", name, "--print", "--", "python3", "-c", CLIENT, &port];
    let printing = sockdbg(&args).spawn().unwrap();
    exchange(&listener, &reply);
    let printing = printing.wait_with_output().unwrap();
    let (live, (recorded, _)) = (json(&printing.stdout).0, json(&read_back(&path).stdout));
    assert_eq!(live, recorded);
}

#[test]
fn signals_finish_the_recording() {
    if !require_bpf() {
        return;
    }
    for ending in [Signal::SIGINT, Signal::SIGTERM] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.pcapng");
        let (listener, port) = listen();
        let program = "pause(); s = connect(); s.sendall(b'x' * 50000); pause(); s.close()";
        let mut python = Python::start(program, port);
        python.paused();
        let pid = python.pid().to_string();
        let args = ["events", "--format", "json", "-p", &pid, "-w", path.to_str().unwrap(), "--print"];
        let mut run = sockdbg(&args).spawn().unwrap();
        eventually("the probes are in place", || path.exists());
        python.go();
        let (mut peer, _) = listener.accept().unwrap();
        let mut received = vec![0; 50_000];
        peer.read_exact(&mut received).unwrap();
        let first = first_event(&mut run);
        signal(&run, ending);
        let output = finished(run, first);
        assert_eq!(output.status.code(), Some(0), "{ending}: {}", text(&output.stderr));
        let again = read_back(&path);
        assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
        let (events, _) = json(&again.stdout);
        assert_eq!(stream(&events, "send"), received);
        let last = events.last().unwrap();
        assert_eq!((&last["reason"], &last["sent"]), (&"still-open".into(), &50_000.into()));
        python.paused();
        python.go();
        python.ended();
    }
}

#[test]
fn sigusr1_sums_up_in_between() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python = Python::start("s = connect(); pause(); s.sendall(b'x' * 500); pause()", port);
    let (peer, _) = listener.accept().unwrap();
    python.paused();
    let mut run = sockdbg(&["events", "-p", &python.pid().to_string()]).spawn().unwrap();
    // The socket was open already: its listing is the first event.
    let first = first_event(&mut run);
    python.go();
    (&peer).read_exact(&mut [0; 500]).unwrap();
    python.paused();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert_eq!(said, "sockdbg: watching; Ctrl-C ends it\n");
    said.clear();
    signal(&run, Signal::SIGUSR1);
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("sockdbg: "), "{said}");
    assert!(said.contains(" on 1 connection, "), "{said}");
    python.go();
    python.ended();
    let output = finished(run, first);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("was open already"), "{}", text(&output.stdout));
}

#[test]
fn count_and_duration_end_a_live_run() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python = Python::start("pause(); s = connect(); receive(s); s.close(); pause()", port);
    python.paused();
    let pid = python.pid().to_string();
    let output = sockdbg(&["events", "-p", &pid, "--duration", "50ms"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    let mut run = sockdbg(&["events", "-p", &pid, "-c", "1", "-w", "-"]).spawn().unwrap();
    // The head of the recording comes once the probes are in place.
    let head = first_event(&mut run);
    python.go();
    let (peer, _) = listener.accept().unwrap();
    assert_eq!(converse(&peer, b"reply"), b"");
    let output = finished(run, head);
    assert_eq!(output.status.code(), Some(0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one");
    fs::write(&path, &output.stdout).unwrap();
    let (events, _) = json(&read_back(&path).stdout);
    assert_eq!(events.len(), 1);
    python.paused();
    python.go();
    python.ended();
}
