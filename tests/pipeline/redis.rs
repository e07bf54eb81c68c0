//! Redis: redis-server with redis-benchmark, redis-cli and a raw client.

use crate::common::client::{Client, resp};
use crate::common::events::{records, text};
use crate::common::observed::Observed;
use crate::common::peer::Server;
use crate::common::report::Report;
use crate::common::trace::require_bpf;
use crate::common::watcher::{Watcher, program};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// Records by the first word of their summary.
fn by_command(records: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        assert_eq!(
            (&record["protocol"], &record["status"]),
            (&json!("redis"), &json!("complete")),
            "{record}"
        );
        let command = record["request"]["command"].as_str().expect("a command").to_ascii_lowercase();
        *counts.entry(command).or_default() += 1;
    }
    counts
}

/// How often the server says that it ran each command, subcommands added up.
fn ran(server: &Server) -> BTreeMap<String, u64> {
    let port = server.address.port().to_string();
    let output = Command::new("redis-cli").args(["-p", &port, "info", "commandstats"]).output().unwrap();
    let mut counts = BTreeMap::new();
    for line in text(&output.stdout).lines().filter_map(|line| line.trim().strip_prefix("cmdstat_")) {
        let (name, numbers) = line.split_once(":calls=").expect("name and calls");
        let calls: u64 = numbers.split(',').next().unwrap().parse().expect("a number");
        *counts.entry(name.split('|').next().unwrap().to_owned()).or_default() += calls;
    }
    counts
}

#[test]
fn every_command_of_a_pipelining_benchmark_is_a_record() {
    if !require_bpf() {
        return;
    }
    let redis = Server::redis();
    let port = redis.address.port().to_string();
    let trace = Watcher::conn_trace(redis.pid());
    let verify = Watcher::verify(redis.pid(), &[]);
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args(["-p", &port, "-P", "16", "-n", "5000", "-c", "5", "-t", "set,get", "-q"]);
    assert!(benchmark.stdout(Stdio::null()).status().expect("redis-benchmark is installed").success());
    let truth = ran(&redis);
    redis.end();
    let (trace, report) = (trace.end(), Report::of(&verify.end()));
    report.assert_complete();
    let mut counts = by_command(&records(&trace.stdout));
    // The question for these numbers, asked after them.
    assert_eq!(counts.remove("info"), Some(1));
    assert_eq!(counts, truth);
    // It asks in lots of 16.
    assert_eq!((counts["get"], counts["set"]), (5008, 5008));
    assert_eq!(report.summary["records"], counts.values().sum::<u64>() + 1);
}

/// Nothing else happens while a client waits for an element of a list.
#[test]
fn a_command_that_blocks_is_told_of_while_it_does() {
    if !require_bpf() {
        return;
    }
    let redis = Server::redis();
    let pid = redis.pid().to_string();
    let trace = ["conn-trace", "-p", &pid, "-v", "1", "--color", "never"];
    // Where lines can be awaited.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" >&2"]).arg(program("sockdbg")).args(trace);
    let trace = Watcher::start(&mut shell).wait_for("watching");
    let mut client = Client::connect(redis.address);
    client.send(&resp(&["BLPOP", "jobs", "0"]));
    let length = resp(&["BLPOP", "jobs", "0"]).len();
    let words = format!(" in-progress: no record yet of recv [0, {length}) command BLPOP jobs, 1.000s old");
    let trace = trace.wait_for(&words);
    Client::connect(redis.address).redis(&["RPUSH", "jobs", "one"], ":1\r\n");
    client.reply("*2\r\n$4\r\njobs\r\n$3\r\none\r\n");
    let trace = trace.wait_for("BLPOP jobs -> ");
    client.finish();
    redis.end();
    let output = trace.end();
    assert!(output.status.success());
}

/// redis-server, spoken to in every way: pipelined, inline, RESP3 with types of its own, pushed to.
pub fn redis_spoken_to() -> (Observed, [Client; 2]) {
    let redis = Server::redis();
    let (pid, address) = (redis.pid(), redis.address);
    Observed::run(pid, address.port(), || {
        let mut one = Client::connect(address);
        one.send(&[resp(&["SET", "a", "1"]), resp(&["INCR", "a"]), resp(&["GET", "none"])].concat());
        one.reply("+OK\r\n:2\r\n$-1\r\n");
        one.send(b"PING inline\r\n");
        one.reply("$6\r\ninline\r\n");
        one.redis(&["NOSUCH"], "-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
        let mut two = Client::connect(address);
        two.send(&resp(&["HELLO", "3"]));
        two.receive_until(|reply| reply.ends_with(b"$7\r\nmodules\r\n*0\r\n"));
        two.redis(&["HSET", "h", "f", "v"], ":1\r\n");
        two.redis(&["HGETALL", "h"], "%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
        two.redis(&["SUBSCRIBE", "news"], ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
        one.redis(&["PUBLISH", "news", "hot"], ":1\r\n");
        two.reply(">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\nhot\r\n");
        two.redis(&["GET", "a"], "$1\r\n2\r\n");
        one.finish();
        two.finish();
        redis.end();
        [one, two]
    })
}

#[test]
fn every_kind_of_talk_is_recorded_byte_for_byte_and_understood() {
    if !require_bpf() {
        return;
    }
    let (seen, clients) = redis_spoken_to();
    let said = |client: &Client| -> Vec<(Value, Value)> {
        let peer = format!("127.0.0.1:{}", client.port);
        let ours = seen.live.iter().filter(|one| one["remote"] == *peer);
        ours.map(|one| (one["request"]["command"].clone(), one["response"]["value"].clone())).collect()
    };
    for client in &clients {
        let [sent, received] = seen.streams(client.port);
        assert_eq!((sent, received), (client.received.clone(), client.sent.clone()));
    }
    let [one, two] = clients.each_ref().map(said);
    let expected = [
        (json!("SET"), json!("OK")),
        (json!("INCR"), json!(2)),
        (json!("GET"), json!(null)),
        (json!("PING"), json!("inline")),
        (json!("NOSUCH"), json!(null)),
        (json!("PUBLISH"), json!(1)),
    ];
    assert_eq!(one, expected);
    assert_eq!((&two[0].0, &two[0].1["proto"]), (&json!("HELLO"), &json!(3)));
    let expected = [
        (json!("HSET"), json!(1)),
        (json!("HGETALL"), json!({"f": "v"})),
        (json!("SUBSCRIBE"), json!(["subscribe", "news", 1])),
        (json!(null), json!(["message", "news", "hot"])),
        (json!("GET"), json!("2")),
    ];
    assert_eq!(two[1..], expected);
    let field = |command: &str, half: &str, name: &str| {
        let all = seen.live.iter().filter(|one| one["request"]["command"] == command);
        all.map(|one| one[half][name].clone()).collect::<Vec<_>>()
    };
    assert_eq!(field("PING", "request", "inline"), [json!(true)]);
    let error = "ERR unknown command 'NOSUCH', with args beginning with: ";
    assert_eq!(field("NOSUCH", "response", "error"), [json!(error)]);
    let pushes: Vec<_> = seen.live.iter().filter(|one| one["response"]["type"] == "push").collect();
    assert_eq!(pushes.len(), 2, "the answer to SUBSCRIBE, and the message");
    assert!(seen.live.iter().all(|one| one["causes"] == json!([])));
}

#[test]
fn redis_cli_in_resp3() {
    if !require_bpf() {
        return;
    }
    let redis = Server::redis();
    let port = redis.address.port().to_string();
    let trace = Watcher::conn_trace(redis.pid());
    let mut cli = Command::new("redis-cli");
    let mut cli = cli.args(["-3", "-p", &port]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cli.stdin.take().unwrap().write_all(b"zadd z 1.5 m\nzscore z m\nsmembers none\n").unwrap();
    assert!(cli.wait_with_output().unwrap().status.success());
    redis.settle();
    trace.signal(Signal::SIGINT);
    let said = records(&trace.end().stdout);
    let said: Vec<_> = said
        .iter()
        .filter(|one| one["request"]["command"] != "COMMAND") // for its own help
        .map(|one| (&one["request"]["command"], &one["response"]["type"], &one["response"]["value"]))
        .collect();
    assert_eq!((said[0].0, said[0].1), (&json!("HELLO"), &json!("map")));
    let expected = [
        (&json!("zadd"), &json!("integer"), &json!(1)),
        (&json!("zscore"), &json!("double"), &json!(1.5)),
        (&json!("smembers"), &json!("set"), &json!([])),
    ];
    assert_eq!(said[1..], expected);
}
