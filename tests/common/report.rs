//! The JSON that `verify` and `pcap-compare` print.

use serde_json::Value;
use std::process::Output;

/// A comparison's JSON lines.
pub struct Report {
    /// One per connection of the process, then others.
    pub connections: Vec<Value>,
    /// The last line.
    pub summary: Value,
    /// Exit status.
    pub status: i32,
}

impl Report {
    /// Reads what `verify` or `pcap-compare` printed with `--format json`.
    pub fn of(output: &Output) -> Report {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let Some((summary, connections)) = lines.split_last() else {
            panic!("no report: {}", String::from_utf8_lossy(&output.stderr));
        };
        assert_eq!(summary["type"], "summary");
        let status = output.status.code().unwrap();
        Report { connections: connections.to_vec(), summary: summary.clone(), status }
    }

    /// The process's only connection.
    pub fn connection(&self) -> &Value {
        let ours: Vec<_> = self.connections.iter().filter(|one| one["of_process"] == true).collect();
        assert_eq!(ours.len(), 1, "{:#?}", self.connections);
        ours[0]
    }

    /// The process's connection with this port at the other end.
    pub fn with_peer(&self, port: u16) -> &Value {
        let is_peer = |one: &&Value| {
            one["of_process"] == true && one["remote"].as_str().unwrap().ends_with(&format!(":{port}"))
        };
        let found: Vec<_> = self.connections.iter().filter(is_peer).collect();
        assert_eq!(found.len(), 1, "{:#?}", self.connections);
        found[0]
    }

    /// Checks that nothing is missing and nothing unexplained.
    pub fn assert_complete(&self) {
        assert_eq!(self.summary["verdict"], "complete", "{:#?}\n{:#?}", self.connections, self.summary);
        assert_eq!((self.status, &self.summary["residual"]), (0, &0.into()));
    }

    /// The findings of the process's only connection, each as `direction from to stage cause`; no byte
    /// may be left unexplained.
    pub fn findings(&self) -> Vec<String> {
        assert_eq!(self.summary["residual"], 0, "{:#?}", self.connections);
        findings_of(self.connection())
    }
}

/// Checks that all bytes of a connection reached every stage: so many sent and so many received.
pub fn assert_bytes(connection: &Value, sent: u64, received: u64) {
    assert_eq!(connection["findings"], Value::Array(Vec::new()));
    for stage in ["wire", "syscall", "captured", "delivered", "framed", "recorded"] {
        assert_eq!(connection["send"][stage], sent, "{stage}");
        assert_eq!(connection["recv"][stage], received, "{stage}");
    }
}

/// The findings of a connection, each as `direction from to stage cause`.
pub fn findings_of(connection: &Value) -> Vec<String> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = connection["findings"].as_array().unwrap();
    let shown = findings.iter().map(|finding| {
        let (from, to) = (&finding["range"][0], &finding["range"][1]);
        let (stage, cause) = (text(finding, "stage"), text(finding, "cause"));
        format!("{} {from} {to} {stage} {cause}", text(finding, "direction"))
    });
    shown.collect()
}
