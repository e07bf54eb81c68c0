//! A real RabbitMQ server, traced while pika talks to it: records equal what the client did, seen live, from the
//! recording and from a capture.

mod common;

use common::captures::count;
use common::observed::Observed;
use common::peer::{comes_true, eventually, free_port, patience};
use common::python::SYSTEM_PYTHON;
use common::trace::require_bpf;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// The server and the registry of nodes that Erlang wants, both of our own, with all that they write in one folder.
struct Rabbit {
    registry: Child,
    /// The script that starts the server, and waits for it.
    script: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Rabbit {
    fn start() -> Rabbit {
        let folder = tempfile::tempdir().expect("room for files");
        let path = |name: &str| folder.path().join(name);
        let [port, peers, registry_port] = [free_port(), free_port(), free_port()];
        fs::write(path("plugins"), "[].\n").expect("written");
        fs::write(path("rabbitmq.conf"), "default_user = me\ndefault_pass = hunter2\n").expect("written");
        let quiet = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn()
        };
        let number = registry_port.to_string();
        let registry = quiet(Command::new("epmd").args(["-address", "127.0.0.1", "-port", &number]));
        let registry = registry.expect("rabbitmq-server is installed, and Erlang with it");
        eventually("the registry listens", || TcpStream::connect(("127.0.0.1", registry_port)).is_ok());
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        command
            .env("HOME", folder.path())
            .env("ERL_EPMD_PORT", &number)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("sockdbg{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", peers.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_PID_FILE", path("pid"));
        let script = quiet(&mut command).expect("rabbitmq-server is installed");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut rabbit = Rabbit { registry, script, address, folder };
        // It takes longer to start than anything else here.
        let listens = comes_true(4 * patience(), || {
            assert!(matches!(rabbit.script.try_wait(), Ok(None)), "the server does not start");
            TcpStream::connect(address).is_ok()
        });
        assert!(listens, "not in time: the server listens");
        rabbit
    }

    /// The server's own number, which it writes once it runs.
    fn written_pid(&self) -> Option<i32> {
        fs::read_to_string(self.folder.path().join("pid")).ok()?.trim().parse().ok()
    }

    fn pid(&self) -> u32 {
        self.written_pid().expect("the server writes its number").unsigned_abs()
    }

    fn stop(&mut self) {
        if let Ok(None) = self.script.try_wait()
            && let Some(pid) = self.written_pid()
        {
            // The script waits for it, so the number is still the server's.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = self.script.wait();
        }
        for child in [&mut self.script, &mut self.registry] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the client does; it tells the port of its own end.
const SESSION: &str = r#"
import sys, pika
login = pika.PlainCredentials("me", "hunter2")
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]), credentials=login, heartbeat=0))
print(connection._impl._transport._sock.getsockname()[1])
channel = connection.channel()
channel.exchange_declare("logs", "fanout")
channel.queue_declare("hello")
channel.queue_bind("hello", "logs", "k")
channel.basic_publish("logs", "k", b"first", pika.BasicProperties(content_type="text/plain", headers={"n": 1, "t": {"a": [True, None]}}))
channel.confirm_delivery()
channel.basic_publish("logs", "k", b"x" * 300000)
try:
    channel.basic_publish("", "nowhere", b"lost", mandatory=True)
    sys.exit("it was routed")
except pika.exceptions.UnroutableError:
    pass
assert channel.basic_get("hello", auto_ack=True)[2] == b"first"
assert channel.basic_get("hello", auto_ack=True)[2] == b"x" * 300000
assert channel.basic_get("hello", auto_ack=True)[0] is None
got = []
def take(channel, method, properties, body):
    got.append(body)
    channel.basic_ack(method.delivery_tag)
channel.basic_consume("hello", take, consumer_tag="t1")
channel.basic_publish("", "hello", b"again")
while not got:
    connection.process_data_events(time_limit=1)
assert got == [b"again"]
channel.basic_cancel("t1")
try:
    channel.queue_declare("missing", passive=True)
    sys.exit("it is there")
except pika.exceptions.ChannelClosedByBroker:
    pass
other = connection.channel()
other.queue_delete("hello")
connection.close()
"#;

/// What is said behind the opening, in any order of what each side sends on its own.
const SAID: [&str; 22] = [
    "channel.open -> channel.open-ok",
    "exchange.declare exchange=logs type=fanout -> exchange.declare-ok",
    "queue.declare queue=hello -> queue.declare-ok queue=hello message_count=0 consumer_count=0",
    "queue.bind queue=hello exchange=logs routing_key=k -> queue.bind-ok",
    "basic.publish exchange=logs routing_key=k 5 bytes",
    "confirm.select -> confirm.select-ok",
    "basic.publish exchange=logs routing_key=k 300000 bytes -> basic.ack delivery_tag=1",
    "basic.return 312 NO_ROUTE routing_key=nowhere 4 bytes",
    "basic.publish routing_key=nowhere 4 bytes -> basic.ack delivery_tag=2",
    "basic.get queue=hello -> basic.get-ok delivery_tag=1 exchange=logs routing_key=k message_count=1 5 bytes",
    "basic.get queue=hello -> basic.get-ok delivery_tag=2 exchange=logs routing_key=k message_count=0 300000 bytes",
    "basic.get queue=hello -> basic.get-empty",
    "basic.consume queue=hello consumer_tag=t1 -> basic.consume-ok consumer_tag=t1",
    "basic.publish routing_key=hello 5 bytes -> basic.ack delivery_tag=3",
    "basic.deliver consumer_tag=t1 delivery_tag=3 routing_key=hello 5 bytes",
    "basic.ack delivery_tag=3",
    "basic.cancel consumer_tag=t1 -> basic.cancel-ok consumer_tag=t1",
    "queue.declare queue=missing (refused: 404)",
    "channel.close 404 NOT_FOUND - no queue 'missing' in vhost '/' -> channel.close-ok",
    "queue.delete queue=hello -> queue.delete-ok message_count=0",
    "channel.close 200 Normal shutdown -> channel.close-ok",
    "connection.close 200 Normal shutdown -> connection.close-ok",
];

#[test]
fn pika_and_rabbitmq_are_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let mut rabbit = Rabbit::start();
    let port = rabbit.address.port();
    let (seen, client) = Observed::run(rabbit.pid(), port, || {
        let output = Command::new(SYSTEM_PYTHON).args(["-c", SESSION, &port.to_string()]).output();
        let output = output.expect("python3 is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "python3-pika is needed: {errors}");
        rabbit.stop();
        String::from_utf8(output.stdout).expect("a number").trim().parse::<u16>().expect("a port")
    });
    let remote = format!("127.0.0.1:{client}");
    let own: Vec<&Value> = seen.live.iter().filter(|one| one["remote"] == *remote).collect();
    let summaries: Vec<&str> = own.iter().map(|one| one["summary"].as_str().expect("a summary")).collect();
    let opening = [
        "protocol header 0-0-9-1",
        "connection.start RabbitMQ ",
        "connection.tune frame_max=131072 heartbeat=60 -> connection.tune-ok frame_max=131072 heartbeat=0",
        "connection.open virtual_host=/ -> connection.open-ok",
    ];
    for (summary, expected) in summaries.iter().zip(opening) {
        assert!(summary.starts_with(expected), "{summary}");
    }
    assert!(summaries[1].contains("connection.start-ok Pika"), "{}", summaries[1]);
    assert!(summaries[1].ends_with("mechanism=PLAIN user=me"), "{}", summaries[1]);
    let words = |all: &[&str]| count(all.iter().map(|one| (*one).to_owned()));
    // A second channel is opened after the first was closed.
    let expected = words(&[&SAID[..], &SAID[..1]].concat());
    assert_eq!(words(&summaries[4..]), expected, "{summaries:#?}");
    for one in &own {
        let refused = one["summary"].as_str().is_some_and(|summary| summary.contains("refused"));
        let status = if refused { "no-response" } else { "complete" };
        assert_eq!((&one["protocol"], &one["status"]), (&json!("amqp"), &json!(status)), "{one}");
    }
    let first = own.iter().find(|one| one["summary"] == SAID[4]).expect("published");
    let properties = &first["request"]["properties"];
    assert_eq!(properties["content_type"], json!("text/plain"));
    assert_eq!(properties["headers"], json!({"n": 1, "t": {"a": [true, null]}}));
    assert!(!format!("{:?}", seen.live).contains("hunter2"), "the password is shown");
    let failed = ["basic.return routing_key=nowhere", "channel.close", "queue.declare queue=missing"];
    assert_eq!(seen.failures(), failed.map(|endpoint| (endpoint.to_owned(), 1)));
    seen.assert_same_records(port);
}
