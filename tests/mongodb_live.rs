//! A real server that speaks MongoDB's wire protocol (SecantusDB, on WiredTiger) with MongoDB's own Python driver, traced:
//! records equal what the client did, seen live, from the recording and from a capture.

mod common;

use common::killed::Killed;
use common::observed::Observed;
use common::peer::{eventually, free_port};
use common::python::{python, script};
use common::trace::require_bpf;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

/// The server, ended with the test.
struct Secantus {
    child: Killed,
    address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Secantus {
    fn start() -> Secantus {
        let port = free_port();
        let files = tempfile::tempdir().expect("room for files");
        let mut command = Command::new(script("secantusd-py"));
        command.args(["--standalone", "--host", "127.0.0.1", "--port", &port.to_string(), "--storage-path"]);
        command.arg(files.path()).current_dir(files.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Killed(command.spawn().expect("secantusdb is installed"));
        let server = Secantus { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _files: files };
        eventually("the server listens", || TcpStream::connect(server.address).is_ok());
        server
    }
}

const SESSION: &str = r#"
import sys, pymongo
def join(**more):
    return pymongo.MongoClient("127.0.0.1", int(sys.argv[1]), directConnection=True, **more)
client = join()
orders = client.shop.orders
orders.insert_many([{"_id": n, "item": "x" * 20} for n in range(300)])
assert len(list(orders.find({"_id": {"$gte": 10}}, batch_size=200))) == 290
orders.update_one({"_id": 7}, {"$set": {"item": "seven"}})
orders.delete_many({"_id": {"$lt": 3}})
try:
    orders.insert_one({"_id": 7})
except pymongo.errors.DuplicateKeyError:
    pass
try:
    client.shop.command("nonsense")
except pymongo.errors.OperationFailure:
    pass
assert list(orders.aggregate([{"$match": {"_id": 7}}, {"$count": "n"}])) == [{"n": 1}]
assert orders.distinct("item", {"_id": 7}) == ["seven"]
quick = client.shop.get_collection("log", write_concern=pymongo.WriteConcern(w=0))
quick.insert_one({"_id": 1})
client.admin.command("createUser", "bob", pwd="hunter2", roles=["readWriteAnyDatabase"])
client.close()
client = join(username="bob", password="hunter2", authSource="admin")
assert client.shop.orders.find_one({"_id": 7}, {"_id": 0}) == {"item": "seven"}
client.close()
"#;

/// What the session does, and what the server says to it; what drivers do by themselves is left out.
const SAID: [&str; 12] = [
    "insert shop.orders 300 documents -> n=300",
    r#"find shop.orders {"_id": {"$gte": 10}} -> 200 documents, more"#,
    "getMore shop.orders cursor N -> 90 documents",
    r#"update shop.orders {"_id": 7} -> n=1, nModified=1"#,
    r#"delete shop.orders {"_id": {"$lt": 3}} -> n=3"#,
    "insert shop.orders 1 document -> n=0, 1 write error: 11000 E11000 duplicate key error collection: shop.orders index: _id_ dup key: { _id: 7 }",
    "nonsense shop -> error 59 CommandNotFound no such command: 'nonsense'",
    r#"aggregate shop.orders [{"$match": {"_id": 7}}, {"$count": "n"}] -> 1 document"#,
    r#"distinct shop.orders item {"_id": 7} -> 1 value"#,
    "insert shop.log 1 document",
    "createUser admin bob -> ok",
    r#"find shop.orders {"_id": 7} -> 1 document"#,
];

/// Cursors have numbers that nobody can know.
fn without_cursor(summary: &str) -> String {
    let words = summary.split(' ').map(|word| match word.parse::<i64>() {
        Ok(number) if number.abs() > 100_000 => "N",
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_a_driver_does_is_understood_three_ways() {
    if !require_bpf() {
        return;
    }
    let mut server = Secantus::start();
    let port = server.address.port();
    let (seen, ()) = Observed::run(server.child.0.id(), port, || {
        let status = Command::new(python()).args(["-c", SESSION, &port.to_string()]).status();
        assert!(status.expect("Python runs").success());
        server.child.0.kill().expect("it runs");
        server.child.0.wait().expect("it ends");
    });
    let of_driver = ["ismaster ", "hello ", "saslContinue ", "saslStart ", "endSessions "];
    let mut said = Vec::new();
    for one in &seen.live {
        assert_eq!(one["protocol"], json!("mongodb"), "{one}");
        let summary = one["summary"].as_str().expect("a summary");
        if !of_driver.iter().any(|command| summary.starts_with(command)) {
            assert_eq!(one["status"], json!("complete"), "{one}");
            said.push(without_cursor(summary));
        }
    }
    assert_eq!(said, SAID);
    let is_login = |one: &&Value| !one["request"]["body"]["payload"].is_null();
    let login = seen.live.iter().find(is_login).expect("a login");
    assert_eq!((&login["request"]["body"]["payload"], &login["status"]), (&json!("***"), &json!("complete")));
    assert!(!format!("{:?}", seen.live).contains("hunter2"), "the password is shown");
    let failed = [("insert shop.orders".to_owned(), 1), ("nonsense shop".to_owned(), 1)];
    assert_eq!(seen.failures(), failed);
    seen.assert_same_records(port);
}
