//! A real memcached with a client library of Python and with raw meta commands, traced: records equal what the clients
//! did, seen live, from the recording and from a capture; over a Unix socket, and attached in the middle.

mod common;

use common::client::Client;
use common::events::records;
use common::killed::Killed;
use common::observed::{Observed, essence, records_of};
use common::peer::{eventually, free_port};
use common::python::python;
use common::trace::require_bpf;
use common::watcher::Watcher;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The server, ended with the test.
struct Memcached {
    child: Killed,
}

impl Memcached {
    fn start(listen: &[&str]) -> Memcached {
        let mut command = Command::new("memcached");
        // Root has to say that it is meant.
        command.args(["-u", "root", "-t", "1", "-U", "0"]).args(listen);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Memcached { child: Killed(command.spawn().expect("memcached is installed")) }
    }

    fn at_port() -> (Memcached, SocketAddr) {
        let port = free_port();
        let server = Memcached::start(&["-l", "127.0.0.1", "-p", &port.to_string()]);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the server listens", || TcpStream::connect(address).is_ok());
        (server, address)
    }

    fn at_socket(path: &Path) -> Memcached {
        let server = Memcached::start(&["-s", path.to_str().expect("a UTF-8 path")]);
        eventually("the server listens", || UnixStream::connect(path).is_ok());
        server
    }
}

const SESSION: &str = r#"
import sys
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError
where = sys.argv[1]
client = Client(where if where.startswith("/") else ("127.0.0.1", int(where)), default_noreply=False)
assert client.set("a", b"one")
client.set("n", b"5", expire=100, noreply=True)
assert not client.add("a", b"x")
assert client.replace("a", b"two")
assert client.append("a", b"!") and client.prepend("a", b"<")
assert client.get("a") == b"<two!"
assert client.get_many(["a", "none", "n"]) == {"a": b"<two!", "n": b"5"}
value, unique = client.gets("a")
assert client.cas("a", b"END\r\n", unique) and client.cas("a", b"z", unique) is False
assert client.get("a") == b"END\r\n"
assert client.incr("n", 2) == 7 and client.decr("n", 9) == 0 and client.incr("none", 1) is None
try:
    client.incr("a", 1)
except MemcacheClientError:
    pass
assert client.touch("a", 50)
assert client.set_many({"p": b"1", "q": b"22"}) == []
assert b"22" in client.raw_command("gat 60 q", "END\r\n")
big = bytes(range(256)) * 3000
assert client.set("big", big) and client.get("big") == big
assert client.delete("a") and not client.delete("a")
assert client.version() and client.stats("settings")
assert client.flush_all()
client.quit()
"#;

/// What the session does, and what the server says to it.
const SAID: [&str; 28] = [
    "set a 3 bytes -> STORED",
    "set n 1 bytes noreply",
    "add a 1 bytes -> NOT_STORED",
    "replace a 3 bytes -> STORED",
    "append a 1 bytes -> STORED",
    "prepend a 1 bytes -> STORED",
    "get a -> hit, 5 bytes",
    "get a none n -> 2 hits, 1 miss, 6 bytes",
    "gets a -> hit, 5 bytes",
    "cas a 5 bytes -> STORED",
    "cas a 1 bytes -> EXISTS",
    "get a -> hit, 5 bytes",
    "incr n 2 -> 7",
    "decr n 9 -> 0",
    "incr none 1 -> NOT_FOUND",
    "incr a 1 -> CLIENT_ERROR cannot increment or decrement non-numeric value",
    "touch a 50 -> TOUCHED",
    "set p 1 bytes -> STORED",
    "set q 2 bytes -> STORED",
    "gat 60 q -> hit, 2 bytes",
    "set big 768000 bytes -> STORED",
    "get big -> hit, 768000 bytes",
    "delete a -> DELETED",
    "delete a -> NOT_FOUND",
    "version -> VERSION *",
    "stats settings -> * statistics",
    "flush_all 0 -> OK",
    "quit",
];

/// Runs the session to its end.
fn converse(server: &str) {
    let output = Command::new(python()).args(["-c", SESSION, server]).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Summaries in order of the requests, without what depends on the version of the server. The client library connects
/// anew behind an error.
fn said(records: &[&Value]) -> Vec<String> {
    let mut own: Vec<&&Value> = records.iter().collect();
    own.sort_by_key(|one| (one["time"].as_str(), one["request_range"][0].as_u64()));
    let summary = |one: &&Value| {
        let summary = one["summary"].as_str().expect("a summary");
        match summary.split_once(" -> ") {
            Some((asked, answer)) if answer.starts_with("VERSION ") => format!("{asked} -> VERSION *"),
            Some((asked, answer)) if answer.ends_with(" statistics") => format!("{asked} -> * statistics"),
            _ => summary.to_owned(),
        }
    };
    own.iter().map(|one| summary(one)).collect()
}

#[track_caller]
fn check_complete(records: &[&Value]) {
    for one in records {
        assert_eq!((&one["protocol"], &one["status"]), (&json!("memcached"), &json!("complete")), "{one}");
    }
}

#[test]
fn what_a_client_library_does_is_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let (server, address) = Memcached::at_port();
    let port = address.port();
    let (seen, ()) = Observed::run(server.child.0.id(), port, || {
        converse(&port.to_string());
        drop(server);
    });
    let all: Vec<&Value> = seen.live.iter().collect();
    check_complete(&all);
    assert_eq!(said(&all), SAID);
    let many = all.iter().find(|one| one["request"]["key_count"] == 3).expect("a get of many");
    assert_eq!(many["request"]["keys"], json!(["a", "none", "n"]));
    assert_eq!(many["response"]["misses"], json!(["none"]));
    assert_eq!(many["response"]["values"][1]["data"], json!("5"));
    let settings = all.iter().find(|one| !one["response"]["stats"].is_null()).expect("statistics");
    assert_eq!(settings["response"]["stats"]["tcpport"], json!(port));
    seen.assert_same_records(port);
}

#[test]
fn meta_commands_and_mistakes_are_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let (server, address) = Memcached::at_port();
    let port = address.port();
    let (seen, ()) = Observed::run(server.child.0.id(), port, || {
        let mut client = Client::connect(address);
        client.send(b"ms foo 5 T0 F7 Oab k\r\nhello\r\n");
        client.reply("HD Oab kfoo\r\n");
        client.send(b"mg foo v f s k O1\r\nmg none v k\r\n");
        client.reply("VA 5 f7 s5 kfoo O1\r\nhello\r\nEN knone\r\n");
        // Quiet: two misses and what is stored are suppressed.
        client.send(b"mg m1 v q O1\r\nmg foo v q O2\r\nmg m2 v q O3\r\nms bar 1 q\r\nx\r\nms bar 1 q ME\r\ny\r\nmn\r\n");
        client.reply("VA 5 O2\r\nhello\r\nNS\r\nMN\r\n");
        client.send(b"ms AAEC/w== 2 b k\r\nhi\r\nmg AAEC/w== b k v\r\n");
        client.reply("HD kAAEC/w== b\r\nVA 2 kAAEC/w== b\r\nhi\r\n");
        client.send(b"ma n N0 J13 v\r\nma n D2 v\r\nma n MD q O5\r\nma none\r\nmd foo C1234567\r\nmd foo q\r\nme foo\r\nmn\r\n");
        client.reply("VA 2\r\n13\r\nVA 2\r\n15\r\nNF\r\nEX\r\nEN\r\nMN\r\n");
        client.send(b"bogus\r\nset a 0 0 5\r\nhello world\r\n");
        client.reply("ERROR\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\n");
        client.send(b"mg foo v q\r\nmg foo v v\r\nmn\r\n");
        client.reply("CLIENT_ERROR duplicate flag\r\nMN\r\n");
        // Refused by its line; the server swallows the data, and says so behind it.
        client.send(b"set big 0 0 2000000\r\n");
        client.send(&vec![b'\n'; 2_000_000]);
        client.send(b"\r\nmn\r\n");
        client.reply("SERVER_ERROR object too large for cache\r\nMN\r\n");
        client.finish();
        drop(server);
    });
    let all: Vec<&Value> = seen.live.iter().collect();
    check_complete(&all);
    let expected = [
        "ms foo 5 bytes T0 F7 Oab k -> HD Oab kfoo",
        "mg foo v f s k O1 -> VA 5 bytes f7 s5 kfoo O1",
        "mg none v k -> EN knone",
        "mg m1 v q O1 -> suppressed",
        "mg foo v q O2 -> VA 5 bytes O2",
        "mg m2 v q O3 -> suppressed",
        "ms bar 1 bytes q -> suppressed",
        "ms bar 1 bytes q ME -> NS",
        "mn -> MN",
        "ms AAEC/w== 2 bytes b k -> HD kAAEC/w== b",
        "mg AAEC/w== b k v -> VA 2 bytes kAAEC/w== b",
        "ma n N0 J13 v -> VA 2 bytes",
        "ma n D2 v -> VA 2 bytes",
        "ma n MD q O5 -> suppressed",
        "ma none -> NF",
        "md foo C1234567 -> EX",
        "md foo q -> suppressed",
        "me foo -> EN",
        "mn -> MN",
        "bogus -> ERROR",
        "set a 5 bytes -> CLIENT_ERROR bad data chunk",
        "orld -> ERROR",
        "mg foo v q -> suppressed",
        "mg foo v v -> CLIENT_ERROR duplicate flag",
        "mn -> MN",
        "set big 2000000 bytes -> SERVER_ERROR object too large for cache",
        "mn -> MN",
    ];
    assert_eq!(said(&all), expected);
    assert_eq!(all.iter().filter(|one| one["request"]["answer"] == "suppressed").count(), 6);
    seen.assert_same_records(port);
}

#[test]
fn a_connection_that_was_open_before_is_understood_from_its_first_command() {
    if !require_bpf() {
        return;
    }
    let (server, address) = Memcached::at_port();
    let port = address.port();
    let mut client = Client::connect(address);
    client.send(b"set a 0 0 1\r\nx\r\n");
    client.reply("STORED\r\n");
    let (seen, ()) = Observed::run(server.child.0.id(), port, || {
        client.send(b"get a\r\n");
        client.reply("VALUE a 0 1\r\nx\r\nEND\r\n");
        client.send(b"set b 0 0 2\r\nyz\r\n");
        client.reply("STORED\r\n");
        client.send(b"delete a\r\n");
        client.reply("DELETED\r\n");
        client.finish();
        drop(server);
    });
    let all: Vec<&Value> = seen.live.iter().collect();
    check_complete(&all);
    assert_eq!(said(&all), ["get a -> hit, 1 bytes", "set b 2 bytes -> STORED", "delete a -> DELETED"]);
    let recorded = records_of(&seen.recording);
    assert_eq!(essence(&recorded, port), essence(&seen.live, port), "recording and live");
    // Which end is the server, the ports in the capture do not tell.
    let captured = records_of(&seen.capture);
    check_complete(&captured.iter().collect::<Vec<_>>());
    assert_eq!(said(&captured.iter().collect::<Vec<_>>()), said(&all), "capture and live");
}

#[test]
fn over_a_unix_socket_it_is_the_same() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().expect("room for files");
    let socket = folder.path().join("socket");
    let server = Memcached::at_socket(&socket);
    let trace = Watcher::conn_trace(server.child.0.id());
    converse(socket.to_str().expect("a UTF-8 path"));
    drop(server);
    let output = trace.end();
    let live = records(&output.stdout);
    let all: Vec<&Value> = live.iter().collect();
    check_complete(&all);
    assert!(all.iter().all(|one| one["transport"] == "unix-stream"), "{all:?}");
    assert_eq!(said(&all), SAID);
}

/// One request in a datagram, and the text of its answer, put together.
fn asked_by_datagram(socket: &UdpSocket, id: u16, text: &[u8]) -> Option<(u16, Vec<u8>)> {
    let head = [id.to_be_bytes(), [0, 0], [0, 1], [0, 0]].concat();
    socket.send(&[&head[..], text].concat()).ok()?;
    let (mut parts, mut total) = (std::collections::BTreeMap::new(), 1);
    while parts.len() < usize::from(total) {
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).ok()?;
        let number = |at: usize| u16::from_be_bytes([buffer[at], buffer[at + 1]]);
        assert_eq!((number(0), number(6)), (id, 0), "its request id, and zero");
        total = number(4);
        parts.insert(number(2), buffer[8..length].to_vec());
    }
    Some((total, parts.into_values().flatten().collect()))
}

#[test]
fn datagrams_are_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let port = free_port();
    let server = Memcached::start(&["-l", "127.0.0.1", "-p", "0", "-U", &port.to_string()]);
    let connect = || {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        socket.connect(("127.0.0.1", port)).expect("an address");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        socket
    };
    eventually("the server answers", || asked_by_datagram(&connect(), 0, b"version\r\n").is_some());
    let big = "0123456789".repeat(500);
    let (seen, datagrams) = Observed::run(server.child.0.id(), port, || {
        let socket = connect();
        let ask = |id, text: &str| asked_by_datagram(&socket, id, text.as_bytes()).expect("an answer");
        let quiet = [&[0, 1, 0, 0, 0, 1, 0, 0], &b"set n 0 0 1 noreply\r\n5\r\n"[..]].concat();
        socket.send(&quiet).expect("sent");
        assert_eq!(ask(2, &format!("set big 0 0 {}\r\n{big}\r\n", big.len())).1, b"STORED\r\n");
        let (datagrams, text) = ask(3, "get big\r\n");
        assert_eq!(text, format!("VALUE big 0 5000\r\n{big}\r\nEND\r\n").into_bytes());
        assert_eq!(ask(4, "incr n 2\r\n").1, b"7\r\n");
        assert_eq!(ask(5, "mg none v\r\n").1, b"EN\r\n");
        drop(server);
        datagrams
    });
    assert!(datagrams > 1, "an answer of several datagrams");
    let all: Vec<&Value> = seen.live.iter().collect();
    check_complete(&all);
    let expected = [
        "set n 1 bytes noreply",
        "set big 5000 bytes -> STORED",
        "get big -> hit, 5000 bytes",
        "incr n 2 -> 7",
        "mg none v -> EN",
    ];
    for records in [&seen.live, &records_of(&seen.recording), &records_of(&seen.capture)] {
        let all: Vec<&Value> = records.iter().collect();
        check_complete(&all);
        assert_eq!(said(&all), expected);
        let get = all.iter().find(|one| one["request"]["key"] == "big" && one["request"]["command"] == "get");
        assert_eq!(get.expect("the get")["response"]["datagrams"], json!(datagrams));
        assert_eq!(get.expect("the get")["response"]["request_id"], json!(3));
    }
}

#[test]
fn the_binary_protocol_is_named() {
    if !require_bpf() {
        return;
    }
    let (server, address) = Memcached::at_port();
    let (seen, ()) = Observed::run(server.child.0.id(), address.port(), || {
        let mut client = Client::connect(address);
        // Version (opcode 0x0b).
        client.send(b"\x80\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0");
        client.receive_until(|bytes| bytes.len() > 24);
        client.finish();
        drop(server);
    });
    assert_eq!(seen.live, [] as [Value; 0]);
    for file in [&seen.recording, &seen.capture] {
        let args = ["conn-trace", "-v", "-r", file.to_str().expect("a UTF-8 path")];
        let output = Watcher::sockdbg(&args).end();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("the binary protocol of memcached"), "{text}");
    }
}
