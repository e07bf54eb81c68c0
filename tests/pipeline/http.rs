//! HTTP: nginx and a Python server, clients that know every byte.

use crate::common::client::Client;
use crate::common::events::{records, text};
use crate::common::observed::{Observed, records_of};
use crate::common::peer::{Python, Server, noise};
use crate::common::report::{Report, assert_bytes};
use crate::common::trace::require_bpf;
use crate::common::watcher::Watcher;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

/// Bytes of the body that nginx serves.
pub const BODY: usize = 3_000_000;

/// Method, target and status of twenty requests.
pub fn twenty() -> Vec<(&'static str, String, u16)> {
    let plan = |number| match number % 5 {
        1 => ("HEAD", format!("/body?{number}"), 200),
        2 => ("GET", format!("/missing?{number}"), 404),
        3 => ("HEAD", format!("/missing?{number}"), 404),
        _ if number == 0 || number == 19 => ("GET", format!("/body?{number}"), 200),
        _ => ("GET", format!("/missing/{number}"), 404),
    };
    (0..20).map(plan).collect()
}

/// nginx, asked the twenty requests on one connection, one after another.
pub fn nginx_asked_twenty() -> (Observed, Client) {
    let nginx = Server::nginx(&noise(BODY, 5), false);
    let (pid, address) = (nginx.pid(), nginx.address);
    Observed::run(pid, address.port(), || {
        let mut client = Client::connect(address);
        for (method, target, status) in twenty() {
            let response = client.get(method, &target);
            assert!(response.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{method} {target}");
        }
        client.finish();
        nginx.end();
        client
    })
}

/// A response whose body nobody repeats, in chunks with a trailer, and one in gzip.
const CHUNKING: &str = r#"
import gzip, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        plain = b"".join(b"line %d of the text\n" % number for number in range(150))
        self.send_response(200)
        if self.path == "/gzip":
            body = gzip.compress(plain)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "Checked")
        self.end_headers()
        for part in (plain[:1], plain[1:1000], plain[1000:]):
            self.wfile.write(b"%x;part=yes\r\n" % len(part) + part + b"\r\n")
        self.wfile.write(b"0\r\nChecked: yes\r\n\r\n")
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// The text that the server of [`CHUNKING`] sends.
fn plain() -> String {
    (0..150).map(|number| format!("line {number} of the text\n")).collect()
}

/// Starts the server of [`CHUNKING`].
fn chunking() -> (Python, SocketAddr) {
    let mut server = Python::start(CHUNKING, 0);
    let port = server.line().parse().expect("the port");
    (server, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Three requests at once: chunked, gzip, chunked and the end.
fn ask_three(client: &mut Client) {
    for (target, connection) in [("/chunked", "keep-alive"), ("/gzip", "keep-alive"), ("/last", "close")] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n");
        client.send(head.as_bytes());
    }
    client.finish();
}

/// The server of [`CHUNKING`], asked three requests on one connection.
pub fn chunking_asked_three() -> (Observed, Client) {
    let (server, address) = chunking();
    Observed::run(server.pid(), address.port(), || {
        let mut client = Client::connect(address);
        ask_three(&mut client);
        server.kill();
        client
    })
}

#[test]
fn streams_and_records_equal_what_the_client_of_nginx_saw() {
    if !require_bpf() {
        return;
    }
    let (seen, client) = nginx_asked_twenty();
    let [by_server, by_client] = seen.streams(client.port);
    assert!(by_server == client.received && by_client == client.sent, "other bytes than the client's");
    let records = records_of(&seen.recording);
    assert_eq!(records.len(), 20);
    for (record, (method, target, status)) in records.iter().zip(twenty()) {
        let (request, response) = (&record["request"], &record["response"]);
        assert_eq!((&record["protocol"], &record["status"]), (&json!("http1"), &json!("complete")));
        assert_eq!((&request["method"], &request["target"]), (&json!(method), &json!(target)));
        assert_eq!(response["status"], status);
        // Of a body, JSON shows the first 4 KiB.
        let is_long = (method, status) == ("GET", 200);
        assert_eq!(record["causes"], if is_long { json!(["field-truncated"]) } else { json!([]) });
    }
    assert_eq!(records[0]["response"]["body_length"], BODY);
}

/// What curl counted of a request: bytes of the request, of the response's head, of its body, new connections.
fn counted(line: &str) -> [u64; 4] {
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn verify_agrees_with_what_curl_counted() {
    if !require_bpf() {
        return;
    }
    let nginx = Server::nginx(&noise(BODY, 6), false);
    let verify = Watcher::verify(nginx.pid(), &[]);
    let mut curl = Command::new("curl");
    for (index, (method, target, _)) in twenty().into_iter().enumerate() {
        let out = "%{size_request} %{size_header} %{size_download} %{num_connects} %{local_port}\n";
        curl.args((index > 0).then_some("--next")).args(["-s", "-o", "/dev/null", "-w", out]);
        curl.args((method == "HEAD").then_some("-I")).arg(format!("http://{}{target}", nginx.address));
    }
    let output = curl.output().expect("curl is installed");
    assert!(output.status.success(), "{output:?}");
    nginx.end();
    let report = Report::of(&verify.end());
    report.assert_complete();
    let lines = text(&output.stdout);
    let (mut total, mut port) = ([0; 4], "");
    for line in lines.lines() {
        let (numbers, last) = line.rsplit_once(' ').unwrap();
        port = last;
        total = std::array::from_fn(|index| total[index] + counted(numbers)[index]);
    }
    let [request, head, body, connects] = total;
    assert_eq!((lines.lines().count(), connects), (20, 1), "one connection");
    let connection = report.with_peer(port.parse().unwrap());
    assert_eq!(connection["records"], 20);
    assert!(body > 2 * BODY as u64);
    assert_bytes(connection, head + body, request);
}

#[test]
fn chunks_trailers_and_gzip_are_shown_as_the_text_that_was_sent() {
    if !require_bpf() {
        return;
    }
    let (server, address) = chunking();
    let trace = Watcher::conn_trace(server.pid());
    let mut client = Client::connect(address);
    ask_three(&mut client);
    trace.signal(Signal::SIGINT);
    let records = records(&trace.end().stdout);
    server.kill();
    let targets: Vec<&Value> = records.iter().map(|one| &one["request"]["target"]).collect();
    assert_eq!(targets, ["/chunked", "/gzip", "/last"]);
    let mut end = 0;
    for record in &records {
        assert_eq!((&record["status"], &record["causes"]), (&json!("complete"), &json!([])), "{record}");
        let response = &record["response"];
        assert_eq!(response["body"], plain());
        assert_eq!(record["response_range"][0], end, "responses follow each other without a gap");
        end = record["response_range"][1].as_u64().unwrap();
        if record["request"]["target"] == "/gzip" {
            let sent = response["headers"]["Content-Length"].as_str().unwrap().parse::<usize>().unwrap();
            assert_eq!((&response["body_length"], &response["body_decoded"]), (&json!(sent), &json!(true)));
        } else {
            assert_eq!(response["body_length"], plain().len());
            assert_eq!(response["trailers"], json!({"Checked": "yes"}));
        }
    }
    assert_eq!(end, client.received.len() as u64);
}
