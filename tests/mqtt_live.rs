//! A real broker (Mosquitto), traced while its own clients and Paho talk to it: records equal what the clients did, seen
//! live, from the recording and from a capture.

mod common;

use common::captures::{assert_robust, count};
use common::killed::Killed;
use common::observed::{Observed, essence, records_of};
use common::peer::{eventually, free_port};
use common::python::SYSTEM_PYTHON;
use common::trace::require_bpf;
use common::tshark::tshark;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

/// Types of control packets, from 1 on (MQTT 5.0, section 2.1.2).
const PACKETS: [&str; 15] = [
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// The broker, ended with the test.
struct Broker {
    child: Killed,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Broker {
    /// It lets in `me` with the password `hunter2`, and nobody else.
    fn start() -> Broker {
        let folder = tempfile::tempdir().expect("room for files");
        let path = |name: &str| folder.path().join(name);
        let mut hashing = Command::new("mosquitto_passwd");
        hashing.args(["-b", "-c"]).arg(path("users")).args(["me", "hunter2"]);
        hashing.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(hashing.status().expect("mosquitto is installed").success());
        let port = free_port();
        let users = path("users").display().to_string();
        let settings = format!(
            "listener {port} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {users}\nlog_dest none\n"
        );
        fs::write(path("mosquitto.conf"), settings).expect("written");
        // In sbin, which is not in every user's PATH.
        let installed = Path::new("/usr/sbin/mosquitto");
        let program = if installed.exists() { installed } else { Path::new("mosquitto") };
        let mut command = Command::new(program);
        command.arg("-c").arg(path("mosquitto.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Killed(command.spawn().expect("mosquitto is installed"));
        let broker = Broker { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder };
        eventually("the broker listens", || TcpStream::connect(broker.address).is_ok());
        broker
    }

    /// Ends it when it has read all that clients said: none of its connections is open (ESTABLISHED, CLOSE_WAIT).
    fn end(self) {
        let own = format!(":{:04X}", self.address.port());
        eventually("all connections are closed", || {
            let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
            let mut sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            !sockets.any(|words| words[1].ends_with(&own) && ["01", "08"].contains(&words[3]))
        });
    }

    /// One of its clients: `pub` or `sub`.
    fn client(&self, kind: &str, version: &str, name: &str, arguments: &[&str]) -> Command {
        // What it tells has to come line by line.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", &format!("mosquitto_{kind}"), "-h", "127.0.0.1", "-p"]);
        command.arg(self.address.port().to_string()).args(["-V", version, "-i", name, "-u", "me"]);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn publish(&self, version: &str, name: &str, arguments: &[&str]) {
        let mut command = self.client("pub", version, name, &["-P", "hunter2"]);
        let status = command.args(arguments).stdout(Stdio::null()).status();
        assert!(status.expect("mosquitto-clients is installed").success(), "{name} {arguments:?}");
    }
}

/// A client that subscribed.
struct Subscriber {
    child: Killed,
    output: BufReader<ChildStdout>,
}

impl Subscriber {
    /// Is there when the broker has confirmed what it subscribes.
    fn start(mut command: Command) -> Subscriber {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("mosquitto-clients is installed");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut subscriber = Subscriber { child: Killed(child), output };
        subscriber.wait_for("Subscribed");
        subscriber
    }

    fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let count = self.output.read_line(&mut line).expect("text");
            assert!(count > 0, "the client ended before it told {text}");
        }
    }
}

/// What was seen of the connection of one client, in any order.
fn of_client<'a>(records: &'a [Value], client: &str) -> Vec<&'a Value> {
    let is_login = |one: &&Value| one["request"]["client_identifier"] == client;
    let login = records.iter().find(is_login).unwrap_or_else(|| panic!("no CONNECT of {client}"));
    records.iter().filter(|one| one["remote"] == login["remote"]).collect()
}

fn said(records: &[Value], client: &str) -> Vec<String> {
    let own = of_client(records, client).into_iter().inspect(|one| {
        assert_eq!((&one["protocol"], &one["status"]), (&json!("mqtt"), &json!("complete")), "{one}");
    });
    let mut all: Vec<String> =
        own.map(|one| one["summary"].as_str().expect("a summary").to_owned()).collect();
    all.sort();
    all
}

#[track_caller]
fn assert_said(records: &[Value], client: &str, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(said(records, client), expected, "{client}");
}

/// All clients of one version, on one broker.
/// `early` is what is told of a client that subscribed before the trace began.
fn what_clients_say_is_understood(
    version: &str,
    name: &str,
    [accepted, refused, lonely]: [&str; 3],
    early: impl Fn(&Value),
) {
    if !require_bpf() {
        return;
    }
    let broker = Broker::start();
    let port = broker.address.port();
    let options = ["-P", "hunter2", "-t", "sensors/#", "-q", "1", "-C", "1", "-d"];
    let mut earlier = Subscriber::start(broker.client("sub", version, "early", &options));
    let (seen, ()) = Observed::run(broker.child.0.id(), port, || {
        broker.publish(version, "sensor", &["-t", "sensors/kitchen/temperature", "-m", "21.5 C", "-q", "1"]);
        assert!(earlier.child.0.wait().expect("a child").success());
        broker.publish(version, "keeper", &["-t", "a/kept", "-m", "kept", "-q", "1", "-r"]);
        let options = ["-P", "hunter2", "-t", "a/#", "-q", "2", "-C", "5", "-d"];
        let mut subscriber = Subscriber::start(broker.client("sub", version, "listener", &options));
        subscriber.wait_for("kept");
        broker.publish(version, "two", &["-t", "a/two", "-m", "number 2", "-q", "2"]);
        subscriber.wait_for("number 2");
        broker.publish(version, "one", &["-t", "a/one", "-m", "number 1", "-q", "1"]);
        subscriber.wait_for("number 1");
        let will = ["--will-topic", "a/last", "--will-payload", "gone", "--will-qos", "1"];
        let options = [&["-P", "hunter2", "-t", "none", "-d"][..], &will].concat();
        let dying = Subscriber::start(broker.client("sub", version, "dying", &options));
        drop(dying);
        subscriber.wait_for("gone");
        let mut thief = broker.client("pub", version, "thief", &["-P", "wr0ng", "-t", "a/x", "-m", "x"]);
        assert!(!thief.stdout(Stdio::null()).status().expect("installed").success());
        broker.publish(version, "zero", &["-t", "a/zero", "-m", "number 0", "-q", "0"]);
        subscriber.wait_for("number 0");
        assert!(subscriber.child.0.wait().expect("a child").success());
        broker.end();
    });
    let login = |client: &str| format!("CONNECT {client} user=me MQTT {name} -> CONNACK {accepted}");
    let live = &seen.live;
    let keeper = format!("PUBLISH a/kept QoS 1 retain 4 bytes -> PUBACK{lonely}");
    assert_said(live, "keeper", &[&login("keeper"), &keeper, "DISCONNECT"]);
    assert_said(
        live,
        "two",
        &[&login("two"), "PUBLISH a/two QoS 2 8 bytes -> PUBREC", "PUBREL 1 -> PUBCOMP", "DISCONNECT"],
    );
    assert_said(live, "one", &[&login("one"), "PUBLISH a/one QoS 1 8 bytes -> PUBACK", "DISCONNECT"]);
    assert_said(live, "zero", &[&login("zero"), "PUBLISH a/zero QoS 0 8 bytes", "DISCONNECT"]);
    assert_said(live, "dying", &[&login("dying"), "SUBSCRIBE none -> SUBACK Granted QoS 0"]);
    let thief = format!("CONNECT thief user=me MQTT {name} -> CONNACK {refused}");
    assert_said(live, "thief", &[&thief]);
    let listener = [
        &login("listener"),
        "SUBSCRIBE a/# -> SUBACK Granted QoS 2",
        "PUBLISH a/kept QoS 1 retain 4 bytes -> PUBACK",
        "PUBLISH a/two QoS 2 8 bytes -> PUBREC",
        "PUBREL 2 -> PUBCOMP",
        "PUBLISH a/one QoS 1 8 bytes -> PUBACK",
        "PUBLISH a/last QoS 1 4 bytes -> PUBACK",
        "PUBLISH a/zero QoS 0 8 bytes",
        "DISCONNECT",
    ];
    assert_said(live, "listener", &listener);
    let is_login = |one: &&Value| !one["request"]["client_identifier"].is_null();
    let logins: Vec<&Value> = live.iter().filter(is_login).map(|one| &one["remote"]).collect();
    let before: Vec<&Value> = live.iter().filter(|one| !logins.contains(&&one["remote"])).collect();
    let [message, farewell] = before[..] else {
        panic!("of the connection that was open before: {before:?}")
    };
    assert_eq!([&message["status"], &farewell["status"]], ["complete"; 2]);
    assert_eq!(message["request"]["topic"], "sensors/kitchen/temperature");
    assert_eq!(message["response"]["packet"], "PUBACK");
    assert_eq!(farewell["summary"], "DISCONNECT");
    early(&message["request"]);
    let dying = of_client(live, "dying")[0];
    assert_eq!(dying["request"]["will_topic"], "a/last");
    assert_eq!(dying["request"]["will_payload"], "gone");
    assert_eq!(dying["request"]["password"], "***");
    let payloads: Vec<&Value> = of_client(live, "two").iter().map(|one| &one["request"]["payload"]).collect();
    assert!(payloads.contains(&&json!("number 2")), "{payloads:?}");
    for secret in ["hunter2", "wr0ng"] {
        assert!(!format!("{live:?}").contains(secret), "a password is shown");
    }
    compare(&seen, port, Some(&message["remote"]));
}

/// `before` is the client's end of a connection that was open before: a capture counts its bytes from its own beginning.
fn compare(seen: &Observed, port: u16, before: Option<&Value>) {
    let live = essence(&seen.live, port);
    assert_eq!(essence(&records_of(&seen.recording), port), live, "recording and live");
    let suffix = |client: u16| format!(":{client}");
    let is_before = |client| before.and_then(Value::as_str).is_some_and(|end| end.ends_with(&suffix(client)));
    let comparable = |mut records: Vec<(u16, Value)>| {
        for (_, record) in records.iter_mut().filter(|(client, _)| is_before(*client)) {
            ["request_range", "response_range"].iter().for_each(|&range| record[range] = Value::Null);
        }
        records
    };
    let capture = comparable(essence(&records_of(&seen.capture), port));
    assert_eq!(capture, comparable(live), "capture and live");
    // What tshark reads in the same capture, by the numbers of types.
    let (known, separator) = (format!("tcp.port=={port},mqtt"), "aggregator=,");
    let args = ["-d", &known, "-Y", "mqtt", "-T", "fields", "-e", "mqtt.msgtype", "-E", separator];
    let types = String::from_utf8(tshark(&seen.capture, &args)).expect("numbers");
    let theirs = count(types.split(['\n', ',']).filter(|one| !one.is_empty()).map(|number| {
        let number: usize = number.parse().expect("the number of a type");
        PACKETS[number - 1].to_owned()
    }));
    let messages = seen.live.iter().flat_map(|one| [&one["request"]["packet"], &one["response"]["packet"]]);
    let ours = count(messages.filter_map(Value::as_str).map(str::to_owned));
    assert_eq!(ours, theirs, "tshark");
    assert_robust(seen.capture.to_str().expect("a UTF-8 path"));
}

#[test]
fn what_clients_of_3_1_1_say_is_understood_three_ways() {
    let reasons = ["Connection Accepted", "Connection Refused, not authorized", ""];
    what_clients_say_is_understood("311", "3.1.1", reasons, |message| {
        // Text is no beginning of properties, so this is no 5.0.
        assert_eq!((&message["payload"], &message["protocol_version"]), (&json!("21.5 C"), &Value::Null));
    });
}

#[test]
fn what_clients_of_5_0_say_is_understood_three_ways() {
    let reasons = ["Success", "Not authorized", " No matching subscribers"];
    what_clients_say_is_understood("5", "5.0", reasons, |message| {
        // The length of no properties, or the first byte of a payload of 3.1.1.
        assert_eq!(message["properties_and_payload"], "\u{0}21.5 C");
        assert_eq!(message["protocol_version"], "unknown");
    });
}

/// A client with what those of the broker do not have: properties, aliases, a large payload, keep alive.
const PAHO: &str = r#"
import queue, sys
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
events = queue.Queue()
def wait_for(what):
    while events.get(timeout=30) != what: pass
client = mqtt.Client("paho", protocol=mqtt.MQTTv5)
client.username_pw_set("me", "hunter2")
client.on_connect = lambda *_: events.put("connected")
client.on_subscribe = lambda *_: events.put("subscribed")
client.on_unsubscribe = lambda *_: events.put("unsubscribed")
client.on_publish = lambda *_: events.put("published")
client.on_message = lambda c, u, message: events.put(message.topic)
client.on_log = lambda c, u, level, text: events.put(text)
client.connect("127.0.0.1", int(sys.argv[1]), keepalive=1)
client.loop_start()
wait_for("connected")
client.subscribe([("p/a", mqtt.SubscribeOptions(qos=1)), ("p/b", mqtt.SubscribeOptions(qos=0, retainAsPublished=True))])
wait_for("subscribed")
def publish(topic, payload, qos=0, alias=None, more=()):
    properties = Properties(PacketTypes.PUBLISH)
    if alias: properties.TopicAlias = alias
    for name, value in more: setattr(properties, name, value)
    client.publish(topic, payload, qos, properties=properties)
publish("p/b", "first", alias=3)
wait_for("p/b")
publish("", "second", alias=3)
wait_for("p/b")
more = [("ResponseTopic", "p/back"), ("CorrelationData", b"17"), ("UserProperty", ("k", "v")), ("MessageExpiryInterval", 90)]
publish("p/a", "x" * 300000, qos=1, more=more)
wait_for("p/a")
client.unsubscribe("p/a")
wait_for("unsubscribed")
wait_for("Received PINGRESP")
client.disconnect()
client.loop_stop()
print("done")
"#;

#[test]
fn properties_and_aliases_of_a_real_client_are_understood() {
    if !require_bpf() {
        return;
    }
    let broker = Broker::start();
    let port = broker.address.port();
    let (seen, ()) = Observed::run(broker.child.0.id(), port, || {
        let mut command = Command::new(SYSTEM_PYTHON);
        command.args(["-c", PAHO, &port.to_string()]).stdin(Stdio::null());
        let output = command.output().expect("python3 is installed");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && output.stdout == b"done\n", "{error}");
        broker.end();
    });
    // How many times it asks whether the broker is there depends on the machine.
    let mut all = said(&seen.live, "paho");
    let pings = all.iter().filter(|one| *one == "PINGREQ -> PINGRESP").count();
    assert!(pings > 0, "{all:?}");
    all.retain(|one| one != "PINGREQ -> PINGRESP");
    let mut expected = [
        "CONNECT paho user=me MQTT 5.0 -> CONNACK Success",
        "SUBSCRIBE p/a, p/b -> SUBACK Granted QoS 1, Granted QoS 0",
        "PUBLISH p/b QoS 0 5 bytes",
        "PUBLISH p/b QoS 0 5 bytes",
        "PUBLISH p/b QoS 0 6 bytes",
        "PUBLISH p/b QoS 0 6 bytes",
        "PUBLISH p/a QoS 1 300000 bytes -> PUBACK",
        "PUBLISH p/a QoS 1 300000 bytes -> PUBACK",
        "UNSUBSCRIBE p/a -> UNSUBACK Success",
        "DISCONNECT",
    ];
    expected.sort_unstable();
    assert_eq!(all, expected);
    let own = of_client(&seen.live, "paho");
    let message = |one: &&&Value| one["request"]["topic"] == "p/a";
    let sent = own.iter().find(message).expect("a PUBLISH");
    let expected = json!({
        "Message Expiry Interval": 90,
        "Response Topic": "p/back",
        "Correlation Data": "17",
        "User Property": {"k": "v"},
    });
    assert_eq!(sent["request"]["properties"], expected);
    let aliased = own.iter().filter(|one| one["request"]["properties"]["Topic Alias"] == 3);
    let topics: Vec<&Value> = aliased.map(|one| &one["request"]["topic"]).collect();
    assert_eq!(topics, ["p/b", "p/b"], "by its name, and by its alias");
    compare(&seen, port, None);
}
