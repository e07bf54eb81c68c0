//! However a run ends, there is a report, and what was left in the middle is named.

use crate::common::client::Client;
use crate::common::peer::{Server, noise};
use crate::common::puppet::Puppet;
use crate::common::report::{Report, assert_bytes};
use crate::common::trace::require_bpf;
use crate::common::watcher::Watcher;
use nix::sys::signal::Signal;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n";
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!";

#[test]
fn signals_end_in_a_report() {
    if !require_bpf() {
        return;
    }
    for ending in [Signal::SIGINT, Signal::SIGTERM] {
        let nginx = Server::nginx(&noise(100_000, 11), false);
        let verify = Watcher::verify(nginx.pid(), &[]);
        // The connection stays open, which is nothing to complain of.
        let mut client = Client::connect(nginx.address);
        client.get("GET", "/body");
        client.get("GET", "/body");
        nginx.settle();
        verify.signal(ending);
        let report = Report::of(&verify.end());
        report.assert_complete();
        let connection = report.with_peer(client.port);
        assert_eq!(connection["records"], 2, "{ending}");
        assert_bytes(connection, client.received.len() as u64, client.sent.len() as u64);
    }
}

#[test]
fn a_process_that_ends_inside_its_response() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let verify = Watcher::verify(puppet.pid(), &[]);
    let (fd, mut peer) = puppet.accepted();
    puppet.recv(fd, &mut peer, REQUEST);
    puppet.send(fd, &mut peer, HALF);
    puppet.end();
    let report = Report::of(&verify.end());
    assert_eq!(report.findings(), [format!("send 0 {} frame incomplete", HALF.len())]);
    assert_eq!(report.status, 1);
}

#[test]
fn a_run_that_ends_inside_a_response() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let verify = Watcher::verify(puppet.pid(), &[]);
    let (fd, mut peer) = puppet.accepted();
    puppet.recv(fd, &mut peer, REQUEST);
    puppet.send(fd, &mut peer, HALF);
    verify.signal(Signal::SIGINT);
    let report = Report::of(&verify.end());
    assert_eq!(report.findings(), [format!("send 0 {} frame incomplete", HALF.len())]);
    assert_eq!((report.status, &report.connection()["recv"]["recorded"]), (1, &REQUEST.len().into()));
}

#[test]
fn a_process_that_ends_inside_a_request() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let verify = Watcher::verify(puppet.pid(), &[]);
    let (fd, mut peer) = puppet.accepted();
    puppet.recv(fd, &mut peer, &REQUEST[..20]);
    puppet.end();
    let report = Report::of(&verify.end());
    assert_eq!(report.findings(), ["recv 0 20 frame incomplete"]);
    assert_eq!(report.status, 1);
}

#[test]
fn a_process_that_ends_before_its_response() {
    if !require_bpf() {
        return;
    }
    let mut puppet = Puppet::new();
    let verify = Watcher::verify(puppet.pid(), &[]);
    let (fd, mut peer) = puppet.accepted();
    puppet.recv(fd, &mut peer, REQUEST);
    puppet.end();
    let report = Report::of(&verify.end());
    assert_eq!(report.findings(), [format!("recv 0 {} record no-response", REQUEST.len())]);
    assert_eq!(report.status, 1);
}
