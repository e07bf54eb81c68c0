//! A real WebSocket server (Python's websockets), traced while its client talks to it, directly and through nginx: records
//! equal what the client did, seen live, from the recording and from a capture.

mod common;

use common::killed::Killed;
use common::observed::{Observed, essence, records_of};
use common::peer::{Python, Server, eventually, free_port};
use common::python::python;
use common::trace::require_bpf;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

/// Answers each text with an echo, but for words that ask for more.
const SERVER: &str = r#"
import sys
from websockets.sync.server import serve
def handle(connection):
    for message in connection:
        if message == "ping me":
            assert connection.ping(b"server").wait(10)
            connection.send("pinged")
        elif message == "in parts":
            connection.send(iter(["one ", "two ", "three"]))
        elif message == "close":
            connection.close(4001, "as asked")
        else:
            connection.send(message)
with serve(handle, "127.0.0.1", int(sys.argv[1]), ping_interval=None, max_size=None, subprotocols=["chat"]) as server:
    server.serve_forever()
"#;

/// The client; prints its ports.
const CLIENT: &str = r#"
import sys, json
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosed
def join(**more):
    url = f"ws://127.0.0.1:{sys.argv[1]}/chat?a=b"
    return connect(url, subprotocols=["chat"], ping_interval=None, max_size=None, proxy=None, **more)
ports = []
def note(connection):
    ports.append(connection.local_address[1])
with join(compression=None) as plain:
    note(plain)
    plain.send("héllo")
    assert plain.recv() == "héllo"
    plain.send(b"\x00\x01\xff")
    assert plain.recv() == b"\x00\x01\xff"
    assert plain.ping(b"client").wait(10)
    plain.send("ping me")
    assert plain.recv() == "pinged"
    plain.send(iter(["a", "b", "c"]))
    assert plain.recv() == "abc"
    plain.send("in parts")
    assert plain.recv() == "one two three"
    large = "".join(f"{n}," for n in range(400000))
    plain.send(large)
    assert plain.recv() == large
    plain.send("close")
    try:
        plain.recv()
        assert False
    except ConnectionClosed as closed:
        assert closed.rcvd.code == 4001
with join() as deflated:
    note(deflated)
    for n in range(30):
        text = json.dumps({"method": "subscribe", "channel": "prices", "number": n})
        deflated.send(text)
        assert deflated.recv() == text
    deflated.send(large)
    assert deflated.recv() == large
    deflated.send("in parts")
    assert deflated.recv() == "one two three"
    deflated.close(1001, "enough")
print(*ports)
"#;

/// A client whose connection is open before it is traced; it goes on when a line comes in.
const LATE: &str = r#"
import sys, json
from websockets.sync.client import connect
def talk(connection, numbers):
    for n in numbers:
        text = json.dumps({"method": "subscribe", "channel": "prices", "number": n})
        connection.send(text)
        assert connection.recv() == text
url = f"ws://127.0.0.1:{sys.argv[1]}/"
with connect(url, subprotocols=["chat"], ping_interval=None, proxy=None) as connection:
    talk(connection, range(5))
    print(connection.local_address[1], flush=True)
    sys.stdin.readline()
    assert connection.ping(b"late").wait(10)
    talk(connection, range(5, 15))
"#;

/// The server, ended with the test.
struct WebSockets {
    child: Killed,
    address: SocketAddr,
}

impl WebSockets {
    fn start() -> WebSockets {
        let port = free_port();
        let mut command = Command::new(python());
        command.args(["-c", SERVER, &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Killed(command.spawn().expect("Python runs"));
        let server = WebSockets { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        eventually("the server listens", || TcpStream::connect(server.address).is_ok());
        server
    }
}

/// Runs the client against this port; gives the ports of its two connections.
fn talk(port: u16) -> [u16; 2] {
    let output =
        Command::new(python()).args(["-c", CLIENT, &port.to_string()]).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let ports: Vec<u16> = text.split_whitespace().map(|port| port.parse().expect("a port")).collect();
    ports.try_into().expect("two connections")
}

/// What the server and the client said to each other in the connection with this port, without lengths of what is
/// compressed, which nobody can know.
fn said(records: &[Value], port: u16) -> Vec<String> {
    let remote = format!("127.0.0.1:{port}");
    let own = records.iter().filter(|one| one["remote"] == *remote && one["protocol"] == "websocket");
    own.map(|one| {
        assert_eq!(one["status"], json!("complete"), "{one}");
        let summary = one["summary"].as_str().expect("a summary");
        match (summary.find(" ("), summary.find(" compressed)")) {
            (Some(from), Some(to)) => {
                format!("{}{}", &summary[..from], &summary[to + " compressed)".len()..])
            }
            _ => summary.to_owned(),
        }
    })
    .collect()
}

/// The numbers that the client sends in one text.
fn large() -> String {
    (0..400_000).map(|n| format!("{n},")).collect()
}

/// What the first connection says.
fn expected_plain() -> Vec<String> {
    let large = format!("text {} bytes: {}…", large().len(), &large()[..60]);
    let mut expected: Vec<String> = [
        "text 6 bytes: héllo",
        "text 6 bytes: héllo",
        "binary 3 bytes",
        "binary 3 bytes",
        "ping 6 bytes -> pong 6 bytes",
        "text 7 bytes: ping me",
        "ping 6 bytes -> pong 6 bytes",
        "text 6 bytes: pinged",
        "text 3 bytes: abc",
        "text 3 bytes: abc",
        "text 8 bytes: in parts",
        "text 13 bytes: one two three",
    ]
    .map(str::to_owned)
    .to_vec();
    expected.extend([large.clone(), large]);
    expected.push("text 5 bytes: close".to_owned());
    expected.push("close 4001 private use: as asked -> close 4001 private use: as asked".to_owned());
    expected
}

/// What the second one says.
fn expected_deflated() -> Vec<String> {
    let texts =
        (0..30).map(|n| format!("{{\"method\": \"subscribe\", \"channel\": \"prices\", \"number\": {n}}}"));
    let mut expected: Vec<String> = texts
        .flat_map(|text| {
            let shown: String = text.chars().take(60).collect();
            let mark = if shown.len() < text.len() { "…" } else { "" };
            let line = format!("text {} bytes: {shown}{mark}", text.len());
            [line.clone(), line]
        })
        .collect();
    let large = format!("text {} bytes: {}…", large().len(), &large()[..60]);
    expected.extend([large.clone(), large]);
    expected.extend(["text 8 bytes: in parts".to_owned(), "text 13 bytes: one two three".to_owned()]);
    expected.push("close 1001 Going Away: enough -> close 1001 Going Away: enough".to_owned());
    expected
}

#[test]
fn what_clients_say_is_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let server = WebSockets::start();
    let port = server.address.port();
    let (seen, [plain, deflated]) = Observed::run(server.child.0.id(), port, || {
        let ports = talk(port);
        drop(server);
        ports
    });
    assert_eq!(said(&seen.live, plain), expected_plain());
    assert_eq!(said(&seen.live, deflated), expected_deflated());
    let of = |port: u16| {
        let remote = format!("127.0.0.1:{port}");
        seen.live.iter().filter(move |one| one["remote"] == *remote && one["protocol"] == "websocket")
    };
    let parts = of(plain).find(|one| one["request"]["payload"] == "abc").expect("the fragmented one");
    assert_eq!(
        (&parts["request"]["fragments"], &parts["request"]["subprotocol"]),
        (&json!(4), &json!("chat"))
    );
    let inflated = of(deflated).filter(|one| one["request"]["extension"] == "permessage-deflate");
    let lengths: Vec<&Value> = inflated.map(|one| &one["request"]["inflated_length"]).collect();
    assert_eq!((lengths.len(), lengths[30]), (32, &json!(large().len())));
    // Each has the handshake in front, as HTTP.
    let handshakes =
        seen.live.iter().filter(|one| one["protocol"] == "http1" && one["response"]["status"] == 101);
    assert_eq!(handshakes.count(), 2);
    seen.assert_same_records(port);
}

#[test]
fn a_proxy_passes_the_same_on_both_sides() {
    if !require_bpf() {
        return;
    }
    let server = WebSockets::start();
    let proxy = Server::nginx_proxy(server.address);
    let (pid, port) = (proxy.pid(), proxy.address.port());
    let (seen, [plain, deflated]) = Observed::run(pid, port, || {
        let ports = talk(port);
        proxy.end();
        ports
    });
    assert_eq!(said(&seen.live, plain), expected_plain());
    assert_eq!(said(&seen.live, deflated), expected_deflated());
    // Behind the proxy both connections go to one address; the order of each is that of its messages.
    let mut behind = said(&seen.live, server.address.port());
    let mut expected = [expected_plain(), expected_deflated()].concat();
    behind.sort();
    expected.sort();
    assert_eq!(behind, expected);
}

#[test]
fn attached_in_the_middle_what_is_not_known_is_said() {
    if !require_bpf() {
        return;
    }
    let server = WebSockets::start();
    let port = server.address.port();
    let mut client = Python::start_by(&python(), LATE, port);
    let own: u16 = client.line().trim().parse().expect("a port");
    let (seen, ()) = Observed::run(server.child.0.id(), port, || {
        client.go();
        client.ended();
        drop(server);
    });
    let remote = format!("127.0.0.1:{own}");
    let records: Vec<&Value> = seen.live.iter().filter(|one| one["remote"] == *remote).collect();
    assert!(records.iter().all(|one| one["protocol"] == "websocket"), "{records:?}");
    assert_eq!(records[0]["summary"], "ping 4 bytes -> pong 4 bytes");
    assert!(
        records.last().expect("records")["summary"].as_str().is_some_and(|one| one.starts_with("close 1000"))
    );
    let texts = &records[1..records.len() - 1];
    assert_eq!(texts.len(), 20);
    for (index, one) in texts.iter().enumerate() {
        let side = if index % 2 == 0 { "request" } else { "response" };
        let message = &one[side];
        assert_eq!((&message["opcode"], &message["extension"]), (&json!("text"), &json!("unknown")), "{one}");
        let sent = format!(r#"{{"method": "subscribe", "channel": "prices", "number": {}}}"#, 5 + index / 2);
        let why = "what it refers to came before the trace";
        assert!(message["payload"] == *sent || message["undecoded"] == why, "{one}");
    }
    // What was said before is in the context of the first.
    assert!(texts[0]["request"]["payload"].is_null() && texts[1]["response"]["payload"].is_null());
    let live = essence(&seen.live, port);
    assert_eq!(essence(&records_of(&seen.recording), port), live, "recording and live");
    // A capture begins to count where it begins.
    let placeless = |records: Vec<(u16, Value)>| {
        let keys = ["protocol", "status", "summary", "request", "response", "causes"];
        let one = |(_, record): &(u16, Value)| keys.map(|key| record[key].clone());
        records.iter().map(one).collect::<Vec<_>>()
    };
    let capture = essence(&records_of(&seen.capture), port);
    assert_eq!(placeless(capture), placeless(live), "capture and live");
}
