//! librdkafka's mock cluster, traced while kcat produces and consumes: records equal what the clients did, seen live, from
//! the recording and from a capture.

mod common;

use common::observed::{Observed, essence, records_of};
use common::peer::eventually;
use common::trace::require_bpf;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A producer that has nothing to say, with a cluster of one broker in its process.
struct Cluster {
    child: Child,
    /// It ends when this does.
    input: Option<ChildStdin>,
    port: u16,
}

impl Cluster {
    fn start() -> Cluster {
        let mut command = Command::new("kcat");
        command.args(["-b", "mock:1", "-P", "-t", "idle", "-X", "test.mock.num.brokers=1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("kcat is installed");
        let input = child.stdin.take();
        let mut cluster = Cluster { child, input, port: 0 };
        eventually("the cluster listens", || match listens_on(cluster.child.id()) {
            Some(port) => {
                cluster.port = port;
                true
            }
            None => false,
        });
        cluster
    }

    fn stop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.stop();
    }
}

/// The port on which a process listens.
fn listens_on(pid: u32) -> Option<u16> {
    let process = Process::new(pid.cast_signed()).ok()?;
    let sockets: BTreeSet<u64> = process
        .fd()
        .ok()?
        .filter_map(|fd| match fd.ok()?.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let entries = process.tcp().ok()?;
    let own =
        |entry: &procfs::net::TcpNetEntry| entry.state == TcpState::Listen && sockets.contains(&entry.inode);
    entries.into_iter().find(own).map(|entry| entry.local_address.port())
}

/// Runs kcat to its end; what it prints.
fn kcat(port: u16, args: &[&str], input: &str) -> String {
    let mut command = Command::new("kcat");
    command.args(["-b", &format!("127.0.0.1:{port}")]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("kcat is installed");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The records counted in a field, over all partitions.
fn counted(record: &Value, side: &str, topics: &str, partitions: &str) -> u64 {
    let topics = record[side][topics].as_array().into_iter().flatten();
    let partitions = topics.flat_map(|topic| topic[partitions].as_array().into_iter().flatten());
    partitions.filter_map(|partition| partition["records"]["count"].as_u64()).sum()
}

#[test]
fn kcat_and_its_cluster_are_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let mut cluster = Cluster::start();
    let port = cluster.port;
    // Long enough to be worth compressing.
    let news: String = ["one", "two", "three"].map(|word| format!("{}\n", word.repeat(100))).concat();
    let (seen, _) = Observed::run(cluster.child.id(), port, || {
        kcat(port, &["-P", "-t", "news", "-p", "0", "-z", "gzip", "-X", "linger.ms=100"], &news);
        let read = kcat(port, &["-C", "-t", "news", "-p", "0", "-o", "beginning", "-e"], "");
        assert_eq!(read, news);
        let read = kcat(port, &["-G", "crew", "-c", "3", "-X", "auto.offset.reset=earliest", "news"], "");
        assert_eq!(read, news);
        cluster.stop();
    });
    // The cluster's process is a client of its own, too: those connections have both ends in it.
    let end = |one: &Value, name: &str| -> u16 {
        one[name].as_str().expect("an address").rsplit(':').next().expect("a port").parse().expect("a number")
    };
    let inside: BTreeSet<u16> =
        seen.live.iter().map(|one| end(one, "local")).filter(|&at| at != port).collect();
    let live: Vec<&Value> = seen.live.iter().filter(|one| !inside.contains(&end(one, "remote"))).collect();
    let live: Vec<&Value> = live.into_iter().filter(|one| end(one, "local") == port).collect();
    let of = |api: &str| -> Vec<&Value> {
        live.iter().copied().filter(|one| one["request"]["api"] == *api).collect()
    };
    for one in &live {
        assert_eq!(one["protocol"], json!("kafka"), "{one}");
        // The cluster refuses versions with what follows none: an array with a length of one byte, as in version 3, and
        // elements as in version 0. A broker answers in version 0.
        let refuses = one["response"]["error"] == "UNSUPPORTED_VERSION";
        let malformed = [&one["request"]["malformed"], &one["response"]["malformed"]].map(Value::is_string);
        assert_eq!(malformed, [false, refuses], "{one}");
        // A client leaves while it waits for answers, which come in the order of requests: to what it asked behind, none
        // came either.
        let from = |one: &Value| one["request_range"][0].as_u64();
        let behind =
            live.iter().filter(|other| end(other, "remote") == end(one, "remote") && from(other) > from(one));
        let leaves = one["status"] == "no-response"
            && behind.map(|other| &other["status"]).all(|status| status == "no-response");
        let expected = if refuses { "truncated" } else { "complete" };
        assert!(one["status"] == expected || leaves, "{one}");
    }
    let produced = of("Produce");
    let sum: u64 = produced.iter().map(|one| counted(one, "request", "topic_data", "partition_data")).sum();
    assert_eq!(sum, 3, "{produced:#?}");
    assert_eq!(produced[0]["request"]["topic_data"][0]["name"], json!("news"));
    assert_eq!(
        produced[0]["request"]["topic_data"][0]["partition_data"][0]["records"]["compression"],
        json!("gzip")
    );
    assert_eq!(produced[0]["response"]["responses"][0]["partition_responses"][0]["base_offset"], json!(0));
    let sum: u64 = of("Fetch").iter().map(|one| counted(one, "response", "responses", "partitions")).sum();
    assert_eq!(sum, 6, "two consumers read three records each");
    for api in ["JoinGroup", "SyncGroup", "LeaveGroup"] {
        let found = of(api);
        let summary = found.first().and_then(|one| one["summary"].as_str()).expect(api);
        assert!(summary.contains("group=crew") && summary.ends_with("-> ok"), "{summary}");
    }
    let coordinator = &of("FindCoordinator")[0]["request"];
    assert_eq!(coordinator["key"], json!("crew"));
    // librdkafka asks for more than its own cluster knows.
    let asked = of("ApiVersions");
    assert!(asked.iter().any(|one| one["response"]["error"] == "UNSUPPORTED_VERSION"), "{asked:#?}");
    assert!(
        asked.iter().any(|one| one["response"]["api_keys"].as_array().is_some_and(|keys| keys.len() > 10))
    );
    let outside = |records: &[Value]| {
        let mut all = essence(records, port);
        all.retain(|(client, _)| !inside.contains(client));
        all
    };
    let live = outside(&seen.live);
    assert_eq!(outside(&records_of(&seen.recording)), live, "recording and live");
    assert_eq!(outside(&records_of(&seen.capture)), live, "capture and live");
}
