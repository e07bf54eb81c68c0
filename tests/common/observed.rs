//! One run of a server seen in three ways at once: by `conn-trace` live, as a recording, as a capture.

use super::events::{json, lines, records, stream};
use super::watcher::Watcher;
use super::wire::Wire;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What was seen.
pub struct Observed {
    _folder: tempfile::TempDir,
    pub recording: PathBuf,
    pub capture: PathBuf,
    /// Records of the live trace.
    pub live: Vec<Value>,
}

impl Observed {
    /// Observes the process that serves `port` until `workload` has ended it; gives what that gives.
    pub fn run<T>(pid: u32, port: u16, workload: impl FnOnce() -> T) -> (Observed, T) {
        let folder = tempfile::tempdir().expect("room for files");
        let (recording, capture) = (folder.path().join("rec.pcapng"), folder.path().join("cap.pcap"));
        let wire = Wire::begin(&capture, port, &[]);
        let events = Watcher::recording(pid, &recording, &[]);
        let trace = Watcher::conn_trace(pid);
        let truth = workload();
        let (events, trace) = (events.end(), trace.end());
        wire.end();
        assert!(events.status.success() && trace.status.success(), "{events:?}");
        (Observed { live: records(&trace.stdout), recording, capture, _folder: folder }, truth)
    }

    /// Checks that the recording and the capture give the records of the live trace of the server at this port.
    pub fn assert_same_records(&self, server: u16) {
        let live = essence(&self.live, server);
        assert_eq!(essence(&records_of(&self.recording), server), live, "recording and live");
        assert_eq!(essence(&records_of(&self.capture), server), live, "capture and live");
    }

    /// Endpoints of which `--stats` counts failures in the recording, with their number.
    pub fn failures(&self) -> Vec<(String, u64)> {
        let file = self.recording.to_str().expect("a UTF-8 path");
        let args = ["conn-trace", "-q", "--stats", "--format", "json", "-r", file];
        let endpoints = lines(&Watcher::sockdbg(&args).end().stdout);
        let one = |line: &Value| {
            (
                line["endpoint"].as_str().expect("a name").to_owned(),
                line["failed"].as_u64().expect("a number"),
            )
        };
        let mut failures: Vec<_> = endpoints.iter().map(one).filter(|(_, failed)| *failed > 0).collect();
        failures.sort();
        failures
    }

    /// Both streams of the connection with this port at the other end: sent by the process, received by it.
    pub fn streams(&self, peer: u16) -> [Vec<u8>; 2] {
        let args = ["events", "--format", "json", "-r", self.recording.to_str().expect("a UTF-8 path")];
        let mut events = json(&Watcher::sockdbg(&args).end().stdout).0;
        events.retain(|event| event["remote"].as_str().is_some_and(|at| at.ends_with(&format!(":{peer}"))));
        [stream(&events, "send"), stream(&events, "recv")]
    }
}

/// Records that `conn-trace` makes of a file.
pub fn records_of(file: &Path) -> Vec<Value> {
    let args = ["conn-trace", "--format", "json", "-r", file.to_str().expect("a UTF-8 path")];
    let output = Watcher::sockdbg(&args).end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    records(&output.stdout)
}

/// What a record says, without times and without the names that depend on the side from which the
/// connection is seen. By the client's port, then by place.
pub fn essence(records: &[Value], server: u16) -> Vec<(u16, Value)> {
    let port = |end: &Value| -> u16 { end.as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap() };
    let keys =
        ["protocol", "status", "summary", "request", "response", "request_range", "response_range", "causes"];
    let one = |record: &Value| {
        let ends = [port(&record["local"]), port(&record["remote"])];
        assert!(ends.contains(&server), "{record}");
        let client = if ends[0] == server { ends[1] } else { ends[0] };
        let said = keys.iter().map(|&key| (key.to_owned(), record[key].clone())).collect();
        (client, Value::Object(said))
    };
    let mut all: Vec<_> = records.iter().map(one).collect();
    all.sort_by_key(|(client, record)| {
        let start = |key: &str| record[key][0].as_u64();
        (*client, start("response_range"), start("request_range"))
    });
    all
}
