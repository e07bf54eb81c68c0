//! gRPC in clear text: a server and a client of grpcio.

use crate::common::events::records;
use crate::common::observed::{Observed, records_of};
use crate::common::peer::Python;
use crate::common::python::SYSTEM_PYTHON;
use crate::common::trace::require_bpf;
use crate::common::watcher::Watcher;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;

/// Answers with what it was sent, in each of the four ways; fails when asked to.
const SERVER: &str = r#"
import grpc
from concurrent import futures
def say(request, context):
    if b"nobody" in request:
        context.abort(grpc.StatusCode.NOT_FOUND, "nobody, 100% sure: \u20ac")
    return request
def count(request, context):
    for number in range(5): yield b"\x08" + bytes([number])
def gather(requests, context):
    return b"\x08" + bytes([sum(1 for _ in requests)])
def chat(requests, context):
    for request in requests: yield request
methods = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Gather": grpc.stream_unary_rpc_method_handler(gather),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
}
server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.readline()
server.stop(None).wait()
"#;

/// Calls in each of the four ways, one after another; waits twice, the first time behind one call.
const CLIENT: &str = r#"
import grpc
channel = grpc.insecure_channel("127.0.0.1:%d" % port)
say = channel.unary_unary("/test.Echo/Say")
hello = b"\x0a\x05hello\x10\x96\x01"
assert say(hello) == hello
pause()
assert say(hello, metadata=(("authorization", "Bearer sesame"), ("x-tag", "seven"))) == hello
assert len(list(channel.unary_stream("/test.Echo/Count")(b""))) == 5
assert channel.stream_unary("/test.Echo/Gather")(iter([b"\x08\x01"] * 3)) == b"\x08\x03"
assert len(list(channel.stream_stream("/test.Echo/Chat")(iter([b"\x08\x01"] * 4)))) == 4
try: say(b"\x0a\x06nobody")
except grpc.RpcError as error: assert error.code() == grpc.StatusCode.NOT_FOUND
big = b"\x0a\x80\xb5\x18" + b"x" * 400000
assert say(big) == big
again = b"\x0a\x80\x08" + b"y" * 1024
assert say(again, compression=grpc.Compression.Gzip) == again
channel.close()
pause()
"#;

fn server() -> (Python, u16) {
    let mut server = Python::start_by(Path::new(SYSTEM_PYTHON), SERVER, 0);
    let port = server.line().parse().expect("the port");
    (server, port)
}

fn calls(records: &[Value]) -> Vec<Value> {
    records.iter().filter(|record| record["protocol"] == "grpc").cloned().collect()
}

fn summaries(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["summary"].as_str()).collect()
}

#[test]
fn calls_of_every_kind_are_records_with_their_messages() {
    if !require_bpf() {
        return;
    }
    let (server, port) = server();
    let (seen, ()) = Observed::run(server.pid(), port, || {
        let mut client = Python::start_by(Path::new(SYSTEM_PYTHON), CLIENT, port);
        client.paused();
        client.go();
        client.paused();
        client.go();
        client.ended();
        server.ended();
    });
    let live = calls(&seen.live);
    let expected = [
        "OK /test.Echo/Say 1 -> 1 messages",
        "OK /test.Echo/Say 1 -> 1 messages",
        "OK /test.Echo/Count 1 -> 5 messages",
        "OK /test.Echo/Gather 3 -> 1 messages",
        "OK /test.Echo/Chat 4 -> 4 messages",
        "NOT_FOUND /test.Echo/Say 1 -> 0 messages: nobody, 100% sure: \u{20ac}",
        "OK /test.Echo/Say 1 -> 1 messages",
        "OK /test.Echo/Say 1 -> 1 messages",
    ];
    assert_eq!(summaries(&live), expected);
    let hello = json!({"1": "hello", "2": 150});
    assert_eq!(live[0]["request"]["messages"][0], json!({"length": 10, "protobuf": hello}));
    assert_eq!(live[0]["response"]["messages"][0]["protobuf"], hello);
    assert_eq!(
        (&live[0]["request"]["grpc_service"], &live[0]["request"]["grpc_method"]),
        (&json!("test.Echo"), &json!("Say"))
    );
    assert_eq!(live[1]["request"]["headers"]["x-tag"], "seven");
    assert!(!format!("{:?}", seen.live).contains("sesame"));
    assert_eq!(live[2]["response"]["messages"][4]["protobuf"], json!({"1": 4}));
    assert_eq!(
        (&live[6]["request"]["body_length"], &live[6]["causes"]),
        (&json!(400_009), &json!(["field-truncated"]))
    );
    // The client compressed it.
    let zipped = &live[7]["request"]["messages"][0];
    assert_eq!((&zipped["compressed"], &zipped["protobuf"]), (&json!(true), &json!({"1": "y".repeat(1024)})));
    for file in [&seen.recording, &seen.capture] {
        let found = calls(&records_of(file));
        assert_eq!(summaries(&found), expected);
        for (one, other) in live.iter().zip(&found) {
            assert_eq!((&one["request"], &one["response"]), (&other["request"], &other["response"]));
        }
    }
}

/// What was indexed before the trace can't be known; messages and whatever is new can.
#[test]
fn an_attach_in_the_middle_of_a_connection_says_what_it_can_not_know() {
    if !require_bpf() {
        return;
    }
    let (server, port) = server();
    let mut client = Python::start_by(Path::new(SYSTEM_PYTHON), CLIENT, port);
    client.paused();
    let trace = Watcher::conn_trace(server.pid());
    client.go();
    client.paused();
    trace.signal(Signal::SIGINT);
    let records = records(&trace.end().stdout);
    client.go();
    client.ended();
    server.ended();
    let calls = calls(&records);
    assert_eq!(calls.len(), 7, "{:?}", summaries(&records));
    let first = &calls[0]["request"];
    assert!(first["unknown_fields"].as_u64().is_some_and(|count| count > 0), "{first}");
    assert_eq!(first["messages"][0]["protobuf"], json!({"1": "hello", "2": 150}));
    assert_eq!(first["headers"]["x-tag"], "seven");
    // The other paths come for the first time.
    assert_eq!(calls[1]["request"]["path"], "/test.Echo/Count");
    assert_eq!(calls[1]["response"]["message_count"], 5);
}
