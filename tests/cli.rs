//! The command line as users meet it: stdout, stderr and exit status, with a cleared environment.
//!
//! What needs root or a kernel with BPF is tested elsewhere.

mod common;

use assert_cmd::Command;
use common::captures;
use predicates::prelude::*;
use predicates::str::{contains, is_empty, is_match, starts_with};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn sockdbg(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("sockdbg").unwrap();
    command.env_clear().env("TZ", "UTC").args(args);
    command
}

/// Two HTTP requests, whole. expected.tsv and streams.tsv of the captures say what is in it.
fn capture() -> String {
    captures::folder().join("http/akita--simple_http_two.pcap").to_str().unwrap().to_owned()
}

/// Lengths of the directions of `file`, as a reassembly that is not ours counted them.
fn stream_lengths(file: &str) -> Vec<u64> {
    let table = fs::read_to_string(captures::folder().join("streams.tsv")).unwrap();
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let header: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let column = |name: &str| header.iter().position(|title| *title == name).unwrap();
    let (name, bytes) = (column("file"), column("bytes"));
    let rows = lines.map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| row[name] == file).map(|row| row[bytes].parse().unwrap()).collect()
}

#[test]
fn help_goes_to_stdout_for_every_command() {
    sockdbg(&["--help"]).assert().success().stdout(contains("Exit status: 0 all well")).stderr(is_empty());
    for command in sockdbg::cmd::root().get_subcommands() {
        let usage = format!("Usage: sockdbg {}", command.get_name());
        sockdbg(&[command.get_name(), "--help"])
            .assert()
            .success()
            .stdout(contains(usage))
            .stderr(is_empty());
    }
    let version = format!("sockdbg {}\n", env!("CARGO_PKG_VERSION"));
    sockdbg(&["--version"]).assert().success().stdout(version);
}

#[test]
fn wrong_usage_is_2_and_goes_to_stderr() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: sockdbg"),
        (&["evnets"], "events"),
        (&["events", "--bogus"], "--bogus"),
        (&["events", "-p", "0"], "'0' for '--pid <PID>'"),
        (&["events", "-p", "1,x"], "'x' for '--pid <PID>'"),
        (&["events", "-p", "1", "--duration", "10x"], "unknown unit \"x\""),
        (&["events", "-p", "1", "--duration", "0s"], "more than nothing"),
        (&["events", "-p", "1", "--snaplen", "-5"], "-5"),
        (&["events", "-p", "1", "-c", "0"], "0 is not in 1.."),
        (&["events", "-p", "1", "--ring-size", "12"], "from 4K to 1G"),
        (&["events", "-p", "1", "--fd", "3,x"], "\"x\" is no descriptor"),
        (&["events", "-p", "1", "--port", "80,x"], "\"x\" is no port"),
        (&["events", "-p", "1", "--local-port", "9-1"], "\"9-1\" is no port"),
        (&["events", "-p", "1", "--peer", "10.0.0.0/33"], "is no prefix: expected 0 to 32 bits"),
        (&["events", "-p", "1", "--peer", "localhost"], "\"localhost\" is no address"),
        (&["events", "-p", "1", "--family", "vsock"], "ipv4, ipv6, unix"),
        (&["events", "-p", "1", "--hooks", "anywhere"], "auto, sockets, calls"),
        (&["events", "-p", "1", "--syscall", "read,open"], "\"open\" is no call that moves bytes"),
        (&["events", "-p", "1", "--direction", "both"], "send, recv"),
        (&["events", "--comm", ""], "expected the name of a process"),
        (&["events", "-a", "-p", "1"], "-a can't be combined with -p"),
        (&["events", "-r", "x", "-f"], "-f can't be combined with -r"),
        (&["events", "--cgroup", "no/such/cgroup"], "no/such/cgroup is no cgroup"),
        (&["events", "--container", "no-such-container"], "container no-such-container: there is none"),
        (&["events", "-p", "1", "--print"], "--write"),
        (&["events", "-p", "1", "-x", "-X"], "cannot be used with"),
        (&["events", "-p", "1", "--color", "maybe"], "auto, always, never"),
        (&["completions", "tcsh"], "bash"),
        (&["doctor", "-p", "1", "--self-test"], "cannot be used with"),
    ];
    for (args, message) in cases {
        sockdbg(args).assert().code(2).stdout(is_empty()).stderr(contains(*message));
    }
}

#[test]
fn events_needs_exactly_one_subject() {
    let nothing = "sockdbg: nothing to look at\nhint: give one of: -p PID, --comm NAME, --cgroup PATH, \
                   --container ID, -a, -r FILE, -- CMD ARGS\n";
    sockdbg(&["events"]).assert().code(2).stdout(is_empty()).stderr(nothing);
    for more in [&["-p", "1"], &["-r", "x"]] {
        let args = [&["events"], &more[..], &["--", "true"]].concat();
        sockdbg(&args).assert().code(2).stderr(starts_with("sockdbg: a command can't be combined"));
    }
}

#[test]
fn unreadable_input_is_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let whole = fs::read(capture()).unwrap();
    let inputs = [
        folder.path().join("missing").to_str().unwrap().to_owned(),
        folder.path().to_str().unwrap().to_owned(),
        file("empty", b""),
        file("text", b"This is not a capture, however long it goes on about it.\n"),
        file("short", &whole[..20]),
        file("new\nline\x1b[2J", b"not a capture either, but with a name that must not reach a terminal"),
    ];
    for input in &inputs {
        let escaped = input.replace('\n', "\\n").replace('\x1b', "\\x1b");
        let error = sockdbg(&["events", "-q", "-r", input]).assert().code(2).stdout(is_empty());
        let stderr = String::from_utf8(error.get_output().stderr.clone()).unwrap();
        let messages = stderr.lines().filter(|line| !line.starts_with("hint: ")).count();
        assert!(messages == 1 && stderr.starts_with("sockdbg: ") && stderr.contains(&escaped), "{stderr:?}");
    }
}

#[test]
fn a_capture_that_ends_in_the_middle_is_shown_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, path) = (fs::read(capture()).unwrap(), folder.path().join("cut.pcap"));
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let run = sockdbg(&["events", "-q", "-r", path.to_str().unwrap()]).assert().code(2);
    let run = run.stdout(contains("TCP")).stderr(contains("cut.pcap"));
    assert_eq!(run.get_output().stderr.iter().filter(|&&byte| byte == b'\n').count(), 1);
}

/// streams.tsv of the captures: 172.17.0.1:54854 sent 603 bytes to 172.17.0.2:80 and got 1158.
#[test]
fn filters_apply_to_files() {
    let run = |args: &[&str]| -> (Vec<Value>, Value) {
        let fixed = ["events", "--format", "json", "-q", "-r"];
        let run = sockdbg(&[&fixed[..], &[&capture()], args].concat()).assert().success();
        let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap();
        (lines, summary)
    };
    let bytes = |lines: &[Value], kind: &str, direction: &str| -> u64 {
        let of_kind = lines.iter().filter(|line| line["type"] == kind && line["direction"] == direction);
        of_kind.map(|line| line["length"].as_u64().unwrap()).sum()
    };
    for kept in [
        &["--port", "80"][..],
        &["--port", "1-79,54854"],
        &["--local-port", "54854"],
        &["--remote-port", "80", "--family", "ipv4"],
        &["--peer", "10.0.0.0/8,172.17.0.2"],
        &["--peer", "::1", "--peer", "172.17.0.0/16"],
    ] {
        let (lines, _) = run(kept);
        assert_eq!((bytes(&lines, "data", "send"), bytes(&lines, "data", "recv")), (603, 1158), "{kept:?}");
    }
    for left_out in [
        &["--port", "81-9999"][..],
        &["--local-port", "80"],
        &["--remote-port", "54854"],
        &["--family", "ipv6"],
        &["--peer", "172.17.0.1"],
    ] {
        assert_eq!(run(left_out).0, [] as [Value; 0], "{left_out:?}");
    }
    for (direction, sent, received) in [("send", 603, 0), ("recv", 0, 1158)] {
        let (lines, summary) = run(&["--direction", direction]);
        assert_eq!((bytes(&lines, "data", "send"), bytes(&lines, "data", "recv")), (sent, received));
        let lost = (bytes(&lines, "loss", "send"), bytes(&lines, "loss", "recv"));
        assert_eq!(lost, (603 - sent, 1158 - received));
        assert!(lines.iter().all(|line| line["type"] != "loss" || line["cause"] == "filtered"));
        assert_eq!((&summary["sent"], &summary["received"]), (&603.into(), &1158.into()));
    }
}

#[test]
fn json_lines_hold_the_bytes_that_another_reassembly_found() {
    let run = sockdbg(&["events", "--format", "json", "-q", "-r", &capture()]).assert().success();
    let run = run.stderr(is_empty());
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert!(line["type"].is_string() && line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    let summary = lines.last().unwrap();
    assert_eq!((&summary["type"], &summary["verdict"]), (&"summary".into(), &"complete".into()));

    let data = lines.iter().filter(|line| line["type"] == "data");
    let payload: u64 = data
        .map(|line| {
            let bytes = data_encoding::BASE64.decode(line["payload"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(line["length"], bytes.len());
            bytes.len() as u64
        })
        .sum();
    let expected: u64 = stream_lengths("http/akita--simple_http_two.pcap").iter().sum();
    assert!(expected > 0);
    assert_eq!(payload, expected);
    assert_eq!(summary["sent"].as_u64().unwrap() + summary["received"].as_u64().unwrap(), expected);
}

#[test]
fn text_is_a_line_an_event_and_the_summary_one_on_stderr() {
    let run = sockdbg(&["events", "-r", &capture()]).assert().success();
    let line = r"^\d\d:\d\d:\d\d\.\d{6} TCP:\[[0-9.:]+->[0-9.:]+\] \w+";
    let run = run.stderr(is_match(r"^sockdbg: \d+ events on 1 connection, .*, nothing lost\n$").unwrap());
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    let line = is_match(line).unwrap();
    assert!(text.lines().count() > 2 && text.lines().all(|text| line.eval(text)), "{text}");
}

#[test]
fn payload_views_and_limits_apply() {
    let ascii = sockdbg(&["events", "-A", "-q", "-r", &capture()]).assert().success();
    ascii.stdout(is_match(r"(?m)^\t(GET|POST) /.* HTTP/1\.1$").unwrap());
    let hex = sockdbg(&["events", "-X", "-q", "-r", &capture()]).assert().success();
    hex.stdout(is_match(r"(?m)^\t0x00000000:  [0-9a-f]{4} .*  (GET|POST) /").unwrap());
    let two = sockdbg(&["events", "-q", "-c", "2", "-r", &capture()]).assert().success();
    assert_eq!(two.get_output().stdout.iter().filter(|&&byte| byte == b'\n').count(), 2);
}

#[test]
fn a_capture_can_come_from_stdin() {
    let file = sockdbg(&["events", "-r", &capture()]).assert().success().get_output().stdout.clone();
    let mut piped = sockdbg(&["events", "-r", "-"]);
    piped.write_stdin(fs::read(capture()).unwrap()).assert().success().stdout(file);
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let coloured = |args: &[&str], variable: &str| {
        let mut command = sockdbg(&[&["events", "-q", "-r", &capture()], args].concat());
        let run = command.env(variable, "1").assert().success();
        run.get_output().stdout.contains(&0x1b)
    };
    assert!(!coloured(&[], "UNUSED"));
    assert!(coloured(&["--color", "always"], "NO_COLOR"));
    assert!(!coloured(&["--color", "never"], "UNUSED"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let binary = assert_cmd::cargo::cargo_bin("sockdbg");
    let script = "\"$0\" events -q -X -r \"$1\" | head -n 1; echo \"${PIPESTATUS[0]}\"";
    let bash = std::process::Command::new("bash")
        .args(["-c", script])
        .args([binary.to_str().unwrap(), &largest_capture()])
        .output()
        .unwrap();
    let stdout = String::from_utf8(bash.stdout).unwrap();
    assert_eq!(stdout.lines().last(), Some("0"), "{stdout}");
    assert_eq!(String::from_utf8(bash.stderr).unwrap(), "");
}

/// More than fits into a pipe once it is shown in hexadecimal.
fn largest_capture() -> String {
    let files = fs::read_dir(captures::folder().join("http")).unwrap().map(|entry| entry.unwrap().path());
    let pcaps = files.filter(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    let largest = pcaps.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    assert!(largest.metadata().unwrap().len() > 64 << 10);
    largest.to_str().unwrap().to_owned()
}

/// The limit of a file's size stands for a disk that fills up: a write takes a part, the next one fails.
#[test]
fn a_full_disk_leaves_whole_events_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, binary) = (folder.path().join("x.pcapng"), assert_cmd::cargo::cargo_bin("sockdbg"));
    let script = "ulimit -f 40; trap '' XFSZ; exec \"$0\" events -r \"$1\" -w \"$2\"";
    let mut bash = std::process::Command::new("bash");
    let full = bash.args(["-c", script]).arg(binary).arg(largest_capture()).arg(&recording).output().unwrap();
    assert_eq!(full.status.code(), Some(2));
    let stderr = String::from_utf8(full.stderr).unwrap();
    assert!(stderr.starts_with("sockdbg: cannot write ") && stderr.contains("\nhint: "), "{stderr}");
    assert!(recording.metadata().unwrap().len() <= 40 * 1024);

    let show = |input: &str| sockdbg(&["events", "-q", "-r", input]).output().unwrap();
    let (whole, cut) = (show(&largest_capture()), show(recording.to_str().unwrap()));
    assert!(cut.stdout.len() > 1000 && whole.stdout.starts_with(&cut.stdout));
    assert_eq!(cut.status.code(), Some(2));
    assert!(String::from_utf8(cut.stderr).unwrap().contains("without its end marker"));
}

#[test]
fn a_recording_over_its_own_input_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, content) = (folder.path().join("x.pcap"), fs::read(capture()).unwrap());
    fs::write(&path, &content).unwrap();
    let name = path.to_str().unwrap();
    let run = sockdbg(&["events", "-r", name, "-w", name]).assert().code(2);
    run.stderr(contains("can't be read and written at the same time"));
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn explain_lists_every_cause_and_shows_each() {
    let list = sockdbg(&["explain"]).assert().success().stderr(is_empty());
    let list = String::from_utf8(list.get_output().stdout.clone()).unwrap();
    for cause in sockdbg::event::Cause::ALL {
        let slug = cause.slug();
        assert!(list.contains(&format!("\n  {slug} ")), "{slug} is missing");
        let title = format!("{slug} (stage {})\n", cause.stage().name());
        sockdbg(&["explain", slug]).assert().success().stdout(starts_with(title).and(contains("Remedy")));
    }
}

#[test]
fn explain_speaks_json() {
    let run = sockdbg(&["explain", "ring-full", "--format", "json"]).assert().success();
    let line: Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!((&line["cause"], &line["stage"]), (&"ring-full".into(), &"delivery".into()));
    assert!(line["remedy"].is_string() && line["command"].is_string());
}

#[test]
fn an_unknown_cause_is_2_with_the_nearest_names() {
    let run = sockdbg(&["explain", "ringfull"]).assert().code(2).stdout(is_empty());
    run.stderr(starts_with("sockdbg: no cause is called \"ringfull\"\nhint: the nearest are ring-full,"));
}

#[test]
fn completions_are_those_that_are_committed() {
    for (shell, file) in [
        ("bash", "sockdbg.bash"),
        ("zsh", "_sockdbg"),
        ("fish", "sockdbg.fish"),
        ("elvish", "sockdbg.elv"),
        ("powershell", "_sockdbg.ps1"),
    ] {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file);
        let committed = fs::read_to_string(committed).unwrap();
        sockdbg(&["completions", shell]).assert().success().stdout(committed);
    }
}

#[test]
fn a_filter_that_can_match_nothing_is_told() {
    let path = capture();
    let run = |filter: &str| sockdbg(&["conn-trace", "-r", &path, "--filter", filter]).assert();
    run("stauts>=200").success().stdout("").stderr(contains("warning: no record has a field stauts"));
    run("status>=600").success().stdout("").stderr(is_empty());
    run("protocol=http").code(2).stdout("").stderr(contains("protocol is never \"http\""));
}

/// streams.tsv has the bytes; nothing of what follows the login is a record, and that is said.
#[test]
fn bytes_of_no_record_are_counted() {
    let path = captures::folder().join("mysql/deepflow--mysql--mysql-compressed-response.pcap");
    let run = |more: &[&str]| {
        let args = ["conn-trace", "-r", path.to_str().unwrap()];
        sockdbg(&[&args, more].concat()).assert().success()
    };
    run(&[]).stderr(
        is_match(r"^sockdbg: in no record: [0-9]+ bytes \(unsupported\); -v shows where\n$").unwrap(),
    );
    run(&["-q"]).stderr(is_empty());
    let whole = capture();
    sockdbg(&["conn-trace", "-r", &whole]).assert().success().stderr(is_empty());
}

/// Objects of JSON Lines.
fn objects(output: &std::process::Output) -> Vec<Value> {
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// tshark counted the requests and the statuses (expected.tsv).
#[test]
fn stats_count_what_tshark_counts() {
    const FILES: [&str; 6] = [
        "http/akita--simple_http_two.pcap",
        "http/packetbeat--http_minitwit.pcap",
        "http/packetbeat--http_post.pcap",
        "http/packetbeat--http_url_params.pcap",
        "http/ndpi--http_auth.pcap",
        "http/zeek--http--http-non-printable-characters.pcap",
    ];
    let requests = captures::expected("tshark.http.requests");
    let statuses = captures::expected("tshark.http.status");
    for file in FILES {
        let path = captures::folder().join(file);
        let run = |more: &[&str]| {
            let args = ["conn-trace", "-q", "-r", path.to_str().unwrap(), "--format", "json"];
            objects(&sockdbg(&[&args, more].concat()).output().unwrap())
        };
        let (endpoints, records) = (run(&["--stats"]), run(&[]));
        assert!(endpoints.iter().all(|line| line["type"] == "endpoint"), "{file}: {endpoints:?}");
        let sum = |name: &str| endpoints.iter().map(|line| line[name].as_u64().unwrap()).sum::<u64>();
        let is_failure = |(status, _): &(&String, &usize)| status.as_str() >= "400";
        let failed = captures::histogram(&statuses[file]);
        let failed: usize = failed.iter().filter(is_failure).map(|(_, count)| count).sum();
        assert_eq!(sum("records"), requests[file].parse::<u64>().unwrap(), "{file}: {endpoints:?}");
        assert_eq!(sum("failed"), failed as u64, "{file}: {endpoints:?}");
        // The longest latency is that of a record, to two digits.
        let longest = records.iter().filter_map(|line| line["latency_ns"].as_u64()).max().unwrap() as f64;
        let shown =
            endpoints.iter().filter_map(|line| line["latency_ns"]["max"].as_u64()).max().unwrap() as f64;
        assert!((shown / longest - 1.0).abs() < 0.02, "{file}: {shown} of {longest}");
    }
}
