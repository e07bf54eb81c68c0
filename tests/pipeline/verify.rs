//! `verify` in every way it is used: a growing capture of tcpdump, IPv6, many connections, a command.

use crate::common::client::Client;
use crate::common::peer::{Server, noise};
use crate::common::report::{Report, assert_bytes};
use crate::common::trace::require_bpf;
use crate::common::watcher::Watcher;
use crate::common::wire::Wire;
use serde_json::json;
use std::net::{Ipv6Addr, SocketAddr};

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
