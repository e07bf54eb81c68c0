//! A real server, and a client that keeps every byte it moved and reads the replies in its own way.

use super::driver::{Setup, Step, command, recv, run_all_cuts, send};
use crate::protocol::Options;
use crate::record::{Record, Value};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(10);

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Server {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--enable-debug-command", "yes", "--dir"])
            .arg(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server has to be installed for this test");
        Server { process, port }
    }

    fn connect(&self) -> Client {
        let start = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
                    return Client::new(stream);
                }
                Err(error) => assert!(start.elapsed() < DEADLINE, "redis-server does not answer: {error}"),
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What was done, as the client saw it.
#[derive(Debug, PartialEq)]
struct Done {
    /// The command's words; absent for a push.
    words: Option<Vec<String>>,
    value: Value,
}

struct Client {
    stream: TcpStream,
    unread: VecDeque<u8>,
    steps: Vec<Step>,
    waiting: VecDeque<Vec<String>>,
    done: Vec<Done>,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        let (waiting, done) = (VecDeque::new(), Vec::new());
        Client { stream, unread: VecDeque::new(), steps: Vec::new(), waiting, done }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("a write");
        self.steps.push(send(bytes));
    }

    /// Sends commands in one write and reads a reply for each, and the pushes before it.
    fn pipeline(&mut self, commands: &[&[&str]]) {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| command(words)).collect();
        self.write(&bytes);
        self.waiting.extend(commands.iter().map(|words| words.iter().map(|&word| word.to_owned()).collect()));
        while !self.waiting.is_empty() {
            self.reply(true);
        }
    }

    fn call(&mut self, words: &[&str]) {
        self.pipeline(&[words]);
    }

    /// Reads one reply or push. RESP3 confirms subscriptions by pushes: `confirms` takes those for replies.
    fn reply(&mut self, confirms: bool) {
        let (kind, value) = self.value();
        let is_confirmation = confirms
            && matches!(&value, Value::List(list) if list.first() == Some(&Value::Bytes(b"subscribe".to_vec())));
        let words = if kind == b'>' && !is_confirmation { None } else { self.waiting.pop_front() };
        self.done.push(Done { words, value });
    }

    fn byte(&mut self) -> u8 {
        loop {
            if let Some(byte) = self.unread.pop_front() {
                return byte;
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).expect("a reply in time");
            assert!(length > 0, "the server closed the connection");
            self.unread.extend(&buffer[..length]);
            self.steps.push(recv(&buffer[..length]));
        }
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.byte());
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).expect("text")
    }

    /// One value in the plainest way: recursion, byte by byte.
    fn value(&mut self) -> (u8, Value) {
        let kind = self.byte();
        let line = self.line();
        let value = match kind {
            b'+' | b'-' | b'(' => Value::Bytes(line.into_bytes()),
            b':' => Value::Number(line.parse().expect("a number")),
            b',' => Value::Float(line.parse().expect("a float")),
            b'#' => Value::Flag(line == "t"),
            b'_' => Value::Null,
            b'$' | b'*' if line == "-1" => Value::Null,
            b'$' | b'=' => {
                let length: usize = line.parse().expect("a length");
                let bytes = (0..length).map(|_| self.byte()).collect();
                assert_eq!(self.line(), "");
                Value::Bytes(bytes)
            }
            b'*' | b'~' | b'>' => Value::List((0..length(&line)).map(|_| self.value().1).collect()),
            b'%' => Value::Map((0..length(&line)).map(|_| (self.value().1, self.value().1)).collect()),
            b'|' => {
                for _ in 0..2 * length(&line) {
                    self.value();
                }
                return self.value();
            }
            other => panic!("type {other}"),
        };
        (kind, value)
    }
}

fn length(line: &str) -> usize {
    line.parse().expect("a length")
}

/// The same of a record.
fn done(record: &Record) -> Option<Done> {
    let field = |message: &crate::record::Message, name: &str| {
        message.fields.iter().find(|field| field.name == name).map(|field| field.value.clone())
    };
    let text = |value: Value| match value {
        Value::Bytes(bytes) => String::from_utf8(bytes).expect("text"),
        other => panic!("{other:?}"),
    };
    let response = record.response.as_ref()?;
    let words = record.request.as_ref().map(|request| {
        let mut words = vec![text(field(request, "command").expect("a command"))];
        if let Some(Value::List(arguments)) = field(request, "args") {
            words.extend(arguments.into_iter().map(text));
        }
        words
    });
    let value = field(response, "value").or_else(|| field(response, "error")).expect("a value");
    Some(Done { words, value })
}

/// Compares what the client did with the records of its bytes, in all cuts.
fn check(client: &Client, silent: usize) {
    let options = Options { max_field: 1 << 20, show_secrets: true, ..Options::default() };
    let outcome = run_all_cuts(&client.steps, Setup { options, ..Setup::default() });
    let seen: Vec<Done> = outcome.records.iter().filter_map(done).collect();
    assert_eq!(seen, client.done);
    assert_eq!(outcome.records.len() - seen.len(), silent, "commands without reply, and blank lines");
    assert_eq!(outcome.skipped, vec![]);
    assert!(outcome.records.iter().all(|record| record.causes().is_empty()));
}

#[test]
fn resp2_with_a_real_server() {
    let server = Server::start();
    let mut client = server.connect();
    client.call(&["PING"]);
    client.call(&["SET", "large", &"value ".repeat(20_000)]);
    client.call(&["GET", "large"]);
    client.call(&["GET", "none"]);
    client.call(&["FOO", "bar"]);
    client.call(&["AUTH", "user", "wrong"]);
    client.call(&["EVAL", "return {1, {2, 'x', {}}, false, redis.status_reply('fine')}", "0"]);
    client.pipeline(&[
        &["MULTI"],
        &["INCR", "n"],
        &["LPUSH", "l", "a", "b"],
        &["EXEC"],
        &["BLPOP", "l", "1"],
    ]);
    let many: Vec<Vec<String>> =
        (0..500).map(|n| vec!["SET".into(), format!("k{n}"), n.to_string()]).collect();
    let many: Vec<Vec<&str>> = many.iter().map(|words| words.iter().map(String::as_str).collect()).collect();
    client.pipeline(&many.iter().map(Vec::as_slice).collect::<Vec<_>>());
    client.call(&["COMMAND"]);
    client.write(b"PING hello\r\n\r\nget \"k7\"\n");
    client.waiting.extend([vec!["PING".into(), "hello".into()], vec!["get".into(), "k7".into()]]);
    client.reply(false);
    client.reply(false);
    client.write(&[command(&["CLIENT", "REPLY", "SKIP"]), command(&["SET", "quiet", "1"])].concat());
    client.call(&["GET", "quiet"]);
    // The blank line is a third.
    check(&client, 3);
}

#[test]
fn resp3_with_a_real_server() {
    let server = Server::start();
    let mut client = server.connect();
    let mut other = server.connect();
    client.call(&["HELLO", "3"]);
    for kind in ["string", "integer", "double", "null", "array", "set", "map", "attrib", "push", "verbatim"] {
        client.call(&["DEBUG", "PROTOCOL", kind]);
    }
    for kind in ["true", "false", "bignum"] {
        client.call(&["DEBUG", "PROTOCOL", kind]);
    }
    client.call(&["HGETALL", "none"]);
    client.call(&["CONFIG", "GET", "maxmemory*"]);
    client.call(&["CLIENT", "TRACKING", "ON"]);
    client.call(&["GET", "watched"]);
    other.call(&["SET", "watched", "1"]);
    client.reply(false);
    client.call(&["SUBSCRIBE", "news"]);
    other.call(&["PUBLISH", "news", "from another"]);
    client.reply(false);
    client.call(&["GET", "watched"]);
    client.call(&["RESET"]);
    client.call(&["QUIT"]);
    check(&client, 0);
    check(&other, 0);
}

#[test]
fn pub_sub_and_monitor_of_resp2_with_a_real_server() {
    let server = Server::start();
    let (mut subscriber, mut other) = (server.connect(), server.connect());
    subscriber.write(&command(&["SUBSCRIBE", "a", "b"]));
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.to_owned()).collect() };
    subscriber.waiting.push_back(words(&["SUBSCRIBE", "a", "b"]));
    subscriber.reply(false);
    subscriber.reply(false);
    other.call(&["PUBLISH", "b", "text"]);
    subscriber.reply(false);
    subscriber.call(&["PING"]);
    subscriber.write(&command(&["UNSUBSCRIBE"]));
    subscriber.waiting.push_back(words(&["UNSUBSCRIBE"]));
    subscriber.reply(false);
    subscriber.reply(false);
    subscriber.call(&["GET", "a"]);
    check(&subscriber, 0);

    let mut monitor = server.connect();
    monitor.call(&["MONITOR"]);
    other.call(&["SET", "seen", "by monitor"]);
    monitor.reply(false);
    other.call(&["GET", "seen"]);
    monitor.reply(false);
    check(&monitor, 0);
    check(&other, 0);
}
