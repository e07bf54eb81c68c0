//! The display of progress, on a pseudo-terminal by script(1): it comes, it goes, and nothing but a terminal sees it.

mod common;

use common::packets::{ACK, SYN, ip, pcap, tcp};
use common::watcher::{Watcher, program};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Carriage return, then CSI 2 K: the line is empty (ECMA-48, 8.3.41).
const ERASED: &str = "\r\u{1b}[2K";

/// A capture of which the events are more than a pipe holds.
fn capture() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut packets = vec![ip(6, client, server, &tcp(1000, 80, 99, 0, SYN, b""))];
    for number in 0..1000 {
        let segment = tcp(1000, 80, 100 + number * 1000, 1, ACK, &[number as u8; 1000]);
        packets.push(ip(6, client, server, &segment));
    }
    fs::write(folder.path().join("x.pcap"), pcap(&packets)).unwrap();
    folder
}

/// Runs `command | reader` on a terminal, where the reader waits until the terminal shows `bar`. Gives what it showed.
fn on_a_terminal(folder: &Path, command: &str, bar: &str) -> String {
    let wait = "{ until [ -e go ]; do sleep 0.05; done; cat; } > out";
    let line = format!("{} {command} | {wait}", program("sockdbg").display());
    let mut script = Command::new("timeout");
    // Without a type of terminal nothing can be drawn on it.
    script.args(["60", "script", "-qec", &line, "/dev/null"]).env("TERM", "xterm").current_dir(folder);
    let mut child = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (mut shown, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = out.read(&mut part).unwrap();
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&part[..count]);
        if String::from_utf8_lossy(&shown).contains(bar) {
            fs::write(folder.join("go"), "").unwrap();
        }
    }
    let shown = String::from_utf8(shown).unwrap();
    assert!(child.wait().unwrap().success(), "{shown:?}");
    shown
}

#[test]
fn a_terminal_sees_a_bar_that_goes_before_the_summary() {
    let folder = capture();
    let shown = on_a_terminal(folder.path(), "events -r x.pcap --format json", "% ");
    let last = shown.rfind("% ").unwrap();
    let (bar, after) = shown.split_at(last);
    let drawn = bar.rsplit(ERASED).next().unwrap();
    assert!(drawn.trim().parse::<u8>().is_ok_and(|percent| percent <= 100), "{drawn:?}");
    let size = fs::metadata(folder.path().join("x.pcap")).unwrap().len();
    let (drawn, after) = after.split_once(ERASED).expect("erased at last");
    let of = format!(" of {:.2} MiB", size as f64 / f64::from(1 << 20));
    for word in [&of[..], "/s", " left"] {
        assert!(drawn.contains(word), "{word:?}: {drawn:?}");
    }
    assert!(after.contains("1001 events on 1 connection") || after.contains("sent"), "{after:?}");
    assert!(!after.contains(" of ") && !after.contains('%'), "{after:?}");
    assert_eq!(
        fs::read_to_string(folder.path().join("out")).unwrap().matches("\"type\":\"data\"").count(),
        1000
    );
}

#[test]
fn of_a_pipe_the_bytes_so_far_are_told() {
    let folder = capture();
    let size = fs::metadata(folder.path().join("x.pcap")).unwrap().len();
    let shown = on_a_terminal(folder.path(), "events -r - --format json < x.pcap", " read, ");
    assert!(shown.contains("KiB read, ") || shown.contains("MiB read, "), "{size}: {shown:?}");
    assert!(!shown.contains('%'), "{shown:?}");
}

/// The reader begins when there would be a bar. That there was none shows at the end.
#[test]
fn nobody_else_sees_one() {
    let folder = capture();
    let run = |command: &str| {
        let line = format!("{} {command} | {{ sleep 1.5; cat; }} > out", program("sockdbg").display());
        let output = Watcher::start(
            Command::new("script")
                .args(["-qec", &line, "/dev/null"])
                .env("TERM", "xterm")
                .stdin(Stdio::null())
                .current_dir(&folder),
        );
        String::from_utf8(output.end().stdout).unwrap()
    };
    assert_eq!(run("events -r x.pcap --format json -q"), "", "quiet");
    let piped = run("events -r x.pcap --format json 2> err");
    assert_eq!(piped, "", "stderr is a file");
    let said = fs::read_to_string(folder.path().join("err")).unwrap();
    assert!(
        said.starts_with("sockdbg: ") && said.lines().count() == 1 && !said.contains('\u{1b}'),
        "{said:?}"
    );
}
