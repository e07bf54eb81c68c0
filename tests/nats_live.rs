//! A real NATS server, traced: records equal what its clients sent and got, seen live, from the recording and from a
//! capture.

mod common;

use common::nats::{Nats, join};
use common::observed::Observed;
use common::trace::require_bpf;
use serde_json::{Value, json};

#[test]
fn what_clients_say_is_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let nats = Nats::start();
    let port = nats.address.port();
    let (seen, ports) = Observed::run(nats.child.0.id(), port, || {
        let mut worker = join(nats.address, r#""verbose":false"#);
        worker.reply("PONG\r\n");
        worker.send(b"SUB add.* crew 7\r\nPING\r\n");
        worker.reply("PONG\r\n");
        let mut asker = join(nats.address, r#""verbose":false"#);
        asker.reply("PONG\r\n");
        asker.send(b"SUB _INBOX.a.* 1\r\nPUB add.two _INBOX.a.1 3\r\n1+1\r\n");
        worker.reply("MSG add.two 7 _INBOX.a.1 3\r\n1+1\r\n");
        worker.send(b"HPUB _INBOX.a.1 20 21\r\nNATS/1.0\r\nA: b c\r\n\r\n2\r\n");
        asker.reply("HMSG _INBOX.a.1 1 20 21\r\nNATS/1.0\r\nA: b c\r\n\r\n2\r\n");
        asker.send(b"PUB nobody _INBOX.a.2 0\r\n\r\n");
        asker.reply("HMSG _INBOX.a.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
        asker.send(b"UNSUB 1\r\nPUB lonely 2\r\nhi\r\nPING\r\n");
        asker.reply("PONG\r\n");
        let mut loud = join(nats.address, r#""verbose":true"#);
        loud.reply("+OK\r\nPONG\r\n");
        loud.send(b"SUB x 1\r\nPUB x 1\r\ny\r\n");
        loud.reply("+OK\r\n+OK\r\nMSG x 1 1\r\ny\r\n");
        let ports = [&mut worker, &mut asker, &mut loud].map(|client| {
            client.finish();
            client.port
        });
        drop(nats);
        ports
    });
    let said = |port: u16| -> Vec<String> {
        let remote = format!("127.0.0.1:{port}");
        let own = seen.live.iter().filter(|one| one["remote"] == *remote);
        let own = own.inspect(|one| {
            assert_eq!((&one["protocol"], &one["status"]), (&json!("nats"), &json!("complete")), "{one}");
        });
        let summaries = own.map(|one| one["summary"].as_str().expect("a summary").to_owned());
        // What the server says of itself, and when it asks whether a client is there, is its own affair.
        let own = |one: &String| !one.starts_with("INFO ");
        summaries.filter(own).collect()
    };
    let connect = "CONNECT test 1 user=me";
    let [worker, asker, loud] = ports.map(said);
    let expected = [
        connect,
        "PING -> PONG",
        "SUB add.* queue crew sid 7",
        "PING -> PONG",
        "MSG add.two 3 bytes -> HPUB _INBOX.a.1 1 bytes",
    ];
    assert_eq!(worker, expected);
    let expected = [
        connect,
        "PING -> PONG",
        "SUB _INBOX.a.* sid 1",
        "PUB add.two 3 bytes -> HMSG _INBOX.a.1 1 bytes",
        "PUB nobody 0 bytes -> HMSG _INBOX.a.2 503 0 bytes",
        "UNSUB sid 1",
        "PUB lonely 2 bytes",
        "PING -> PONG",
    ];
    assert_eq!(asker, expected);
    let mut expected = vec![
        "CONNECT test 1 user=me -> +OK",
        "MSG x 1 bytes",
        "PING -> PONG",
        "PUB x 1 bytes -> +OK",
        "SUB x sid 1 -> +OK",
    ];
    let mut loud = loud;
    loud.sort();
    expected.sort();
    assert_eq!(loud, expected);
    let headers =
        |one: &&Value| !one["response"]["headers"].is_null() || !one["request"]["headers"].is_null();
    let answer = seen.live.iter().find(headers).expect("a message with headers");
    assert_eq!(answer["response"]["headers"], json!({"A": "b c"}));
    assert!(!format!("{:?}", seen.live).contains("hunter2"), "the password is shown");
    seen.assert_same_records(port);
}
