//! `verify` in every way it is used: a growing capture of tcpdump, IPv6, many connections, a command.

use crate::common::client::Client;
use crate::common::peer::{Server, noise};
use crate::common::report::{Report, assert_bytes};
use crate::common::trace::require_bpf;
use crate::common::watcher::{Watcher, program};
use crate::common::wire::Wire;
use nix::sys::signal::Signal;
use serde_json::json;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

/// Checks a connection's bytes at every stage against what its client sent and got.
fn check(report: &Report, client: &Client, records: u64) {
    let connection = report.with_peer(client.port);
    assert_eq!(connection["records"], records);
    assert_bytes(connection, client.received.len() as u64, client.sent.len() as u64);
}

#[test]
fn a_capture_that_tcpdump_still_writes() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("growing");
    let nginx = Server::nginx(&noise(300_000, 7), false);
    let (pid, file) = (nginx.pid().to_string(), capture.to_str().unwrap());
    let wire = Wire::begin(&capture, nginx.address.port(), &[]);
    let args = ["verify", "-p", &pid, "--pcap", file, "--format", "json"];
    let verify = Watcher::sockdbg(&args).wait_for("watching");
    let mut client = Client::connect(nginx.address);
    for _ in 0..5 {
        client.get("GET", "/body");
    }
    client.finish();
    nginx.end();
    let report = Report::of(&verify.end());
    wire.end_now();
    report.assert_complete();
    check(&report, &client, 5);
}

#[test]
fn ipv6() {
    if !require_bpf() {
        return;
    }
    let nginx = Server::nginx(&noise(100_000, 8), false);
    let verify = Watcher::verify(nginx.pid(), &[]);
    let mut client = Client::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, nginx.address.port())));
    client.get("GET", "/body");
    client.get("HEAD", "/body");
    client.finish();
    nginx.end();
    let report = Report::of(&verify.end());
    report.assert_complete();
    check(&report, &client, 2);
    let connection = report.with_peer(client.port);
    assert_eq!(
        (&connection["family"], &connection["remote"]),
        (&json!("ipv6"), &json!(format!("[::1]:{}", client.port)))
    );
}

#[test]
fn fifty_connections_at_once() {
    if !require_bpf() {
        return;
    }
    let nginx = Server::nginx(&noise(10_000, 9), false);
    let verify = Watcher::verify(nginx.pid(), &[]);
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(nginx.address)).collect();
    for round in 0..4 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.get(if (index + round) % 3 == 0 { "HEAD" } else { "GET" }, &format!("/body?{index}"));
        }
    }
    clients.iter_mut().for_each(Client::finish);
    nginx.end();
    let report = Report::of(&verify.end());
    report.assert_complete();
    assert_eq!(report.summary["records"], 200);
    for client in &clients {
        check(&report, client, 4);
    }
}

#[test]
fn a_command_that_is_a_client() {
    if !require_bpf() {
        return;
    }
    let nginx = Server::nginx(&noise(200_000, 10), false);
    let url = format!("http://{}/body", nginx.address);
    let out = "%{stderr}%{size_request} %{size_header} %{size_download}\n";
    let curl = ["curl", "-s", "-o", "/dev/null", "-w", out, &url];
    let args = [&["verify", "-i", "lo", "--format", "json", "--"], &curl[..]].concat();
    let output = Watcher::sockdbg(&args).end();
    let report = Report::of(&output);
    report.assert_complete();
    let said = String::from_utf8(output.stderr).unwrap();
    let counted = said.lines().find(|line| !line.starts_with("sockdbg")).expect("what curl counted");
    let [request, head, body] =
        counted.split(' ').map(|one| one.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{said}");
    };
    let connection = report.with_peer(nginx.address.port());
    assert_eq!((&connection["role"], &connection["records"]), (&json!("client"), &json!(1)));
    assert_bytes(connection, request, head + body);
}

/// What one call sends is one datagram on this wire and several at the receiver (UDP_SEGMENT), or one there, too (UDP_GRO); what
/// two calls send is one (UDP_CORK). The numbers of the options are those of include/uapi/linux/udp.h.
const SPLIT_AND_JOINED: &str = "
import os, socket, struct
CORK, SEGMENT, GRO = 1, 103, 104
def receiver():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', 0))
    return s
plain, whole, sender = receiver(), receiver(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
whole.setsockopt(socket.IPPROTO_UDP, GRO, 1)
data = os.urandom(4500)
for to in plain, whole:
    sender.sendmsg([data], [(socket.IPPROTO_UDP, SEGMENT, struct.pack('H', 1200))], 0, to.getsockname())
received = [plain.recv(9000) for _ in range(4)]
assert [len(one) for one in received] == [1200, 1200, 1200, 900] and b''.join(received) == data
assert whole.recv(9000) == data
corked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
corked.connect(plain.getsockname())
corked.setsockopt(socket.IPPROTO_UDP, CORK, 1)
corked.send(b'first half, ')
corked.send(b'second half')
corked.setsockopt(socket.IPPROTO_UDP, CORK, 0)
assert plain.recv(9000) == b'first half, second half'
";

#[test]
fn datagrams_that_the_kernel_splits_and_joins() {
    if !require_bpf() {
        return;
    }
    let args = ["verify", "-i", "lo", "--format", "json", "--", "python3", "-c", SPLIT_AND_JOINED];
    let output = Watcher::sockdbg(&args).end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = Report::of(&output);
    report.assert_complete();
    let ours = report.connections.iter().filter(|one| one["of_process"] == true);
    let mut moved: Vec<_> = ours
        .map(|one| {
            ["send", "recv"].map(|way| ["wire", "syscall", "captured"].map(|stage| one[way][stage].clone()))
        })
        .collect();
    moved.sort_by_key(|sides| sides.clone().map(|side| side[0].as_u64()));
    let all = |sent: u64, received: u64| [sent, received].map(|bytes| [(); 3].map(|()| json!(bytes)));
    assert_eq!(moved, [all(0, 4500), all(0, 4523), all(23, 0), all(9000, 0)]);
}

/// Whatever ends `verify`, its capture goes with it: it holds payload, and never has a name.
#[test]
fn no_capture_stays_behind() {
    if !require_bpf() {
        return;
    }
    for signals in [&[Signal::SIGKILL][..], &[Signal::SIGINT, Signal::SIGINT], &[Signal::SIGINT]] {
        let folder = tempfile::tempdir().unwrap();
        let nginx = Server::nginx(&noise(10_000, 11), false);
        let pid = nginx.pid().to_string();
        let mut command = Command::new(program("sockdbg"));
        command.args(["verify", "-p", &pid, "-i", "lo", "--format", "json"]).env("TMPDIR", folder.path());
        let verify = Watcher::start(&mut command).wait_for("watching");
        let mut client = Client::connect(nginx.address);
        client.get("GET", "/body");
        client.finish();
        let names = || std::fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().path());
        assert_eq!(names().collect::<Vec<_>>(), Vec::<PathBuf>::new(), "while it watches");
        signals.iter().for_each(|&signal| verify.signal(signal));
        let output = verify.end();
        assert_eq!(names().collect::<Vec<_>>(), Vec::<PathBuf>::new(), "{signals:?}");
        if signals == [Signal::SIGINT] {
            let report = Report::of(&output);
            report.assert_complete();
            check(&report, &client, 1);
        }
        nginx.end();
    }
}
