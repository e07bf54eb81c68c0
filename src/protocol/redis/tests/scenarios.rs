//! Conversations by hand: each type, each rule of pairing, each secret.

use super::driver::{Setup, Step, command, recv, run, run_all_cuts, send};
use crate::event::{Cause, Direction};
use crate::protocol::Options;
use crate::record::{Record, Status, Value};

/// Runs a conversation in all cuts and compares the summaries of its records.
fn check(steps: &[Step], expected: &[&str]) -> Vec<Record> {
    let outcome = run_all_cuts(steps, Setup::default());
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(outcome.skipped, vec![], "bytes were skipped");
    outcome.records
}

/// The value of a field of the response (or of a lone request).
fn field(record: &Record, name: &str) -> Option<Value> {
    let messages = record.messages().collect::<Vec<_>>();
    let message = messages.last()?;
    message.fields.iter().find(|field| field.name == name).map(|field| field.value.clone())
}

#[test]
fn every_type_of_a_reply_has_its_summary() {
    let replies = [
        ("+OK\r\n", "OK"),
        ("-ERR unknown command 'x'\r\n", "ERR unknown command 'x'"),
        (":-42\r\n", "-42"),
        ("$12\r\nhello\r\nworld\r\n", "12 B"),
        ("$0\r\n\r\n", "0 B"),
        ("$-1\r\n", "(nil)"),
        ("*-1\r\n", "(nil)"),
        ("*0\r\n", "(0 elements)"),
        ("*2\r\n*1\r\n:1\r\n$-1\r\n", "(2 elements)"),
        ("*1\r\n*0\r\n", "(1 element)"),
        ("_\r\n", "(nil)"),
        ("#t\r\n", "true"),
        ("#f\r\n", "false"),
        (",3.25\r\n", "3.25"),
        (",-inf\r\n", "-inf"),
        ("(3492890328409238509324850943850943825024385\r\n", "3492890328409238509324850943850943825024385"),
        ("!21\r\nSYNTAX invalid syntax\r\n", "SYNTAX invalid syntax"),
        ("=15\r\ntxt:Some string\r\n", "15 B"),
        ("%2\r\n+a\r\n:1\r\n+b\r\n%1\r\n+c\r\n_\r\n", "(2 fields)"),
        ("~3\r\n:1\r\n:2\r\n:3\r\n", "(3 members)"),
        ("|1\r\n+ttl\r\n:3600\r\n$1\r\nv\r\n", "1 B"),
        ("*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n", "(3 elements)"),
        ("$?\r\n;4\r\nHell\r\n;6\r\no worl\r\n;1\r\nd\r\n;0\r\n", "11 B"),
        ("*?\r\n:1\r\n*?\r\n.\r\n:2\r\n.\r\n", "(3 elements)"),
        ("%?\r\n+a\r\n:1\r\n.\r\n", "(1 field)"),
    ];
    let mut steps = Vec::new();
    let mut expected = Vec::new();
    for (reply, summary) in replies {
        steps.extend([send(command(&["GET", "k"])), recv(reply)]);
        expected.push(format!("GET k -> {summary}"));
    }
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&steps, &expected);
}

#[test]
fn a_pipeline_pairs_in_order() {
    let commands = [command(&["SET", "a", "1"]), command(&["INCR", "a"]), command(&["GET", "a"])].concat();
    let steps = [send(commands), recv("+OK\r\n:2\r\n$1\r\n2\r\n")];
    check(&steps, &["SET a -> OK", "INCR a -> 2", "GET a -> 1 B"]);
}

#[test]
fn blank_lines_and_empty_arrays_are_records_that_take_no_part_in_pairing() {
    let steps = [
        send("\r\nping\r\n\nset \"my key\" 'v w'\r\n*0\r\nget nokey\n*-3\r\nQUIT\r\n"),
        recv("+PONG\r\n+OK\r\n$-1\r\n+OK\r\n"),
    ];
    let records = check(
        &steps,
        &[
            "blank line",
            "blank line",
            "empty array",
            "empty array",
            "PING -> PONG",
            "SET my key -> OK",
            "GET nokey -> (nil)",
            "QUIT -> OK",
        ],
    );
    let routine: Vec<bool> = records.iter().map(|record| super::super::PROTOCOL.is_routine(record)).collect();
    assert_eq!(routine, [true, true, true, true, false, false, false, false]);
    // A command of that name is none of them: a server answers it.
    let unknown = check(
        &[send("\"blank line\"\r\n"), recv("-ERR unknown command 'blank line'\r\n")],
        &["blank line -> ERR unknown command 'blank line'"],
    );
    assert!(!super::super::PROTOCOL.is_routine(&unknown[0]));
}

#[test]
fn queued_commands_pair_with_their_queued() {
    let commands =
        [command(&["MULTI"]), command(&["SET", "k", "v"]), command(&["INCR", "n"]), command(&["EXEC"])]
            .concat();
    let steps = [send(commands), recv("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:1\r\n")];
    check(&steps, &["MULTI -> OK", "SET k -> QUEUED", "INCR n -> QUEUED", "EXEC -> (2 elements)"]);
}

#[test]
fn subscriptions_of_resp2_get_a_confirmation_for_each_channel() {
    let steps = [
        send(command(&["SUBSCRIBE", "news", "rain"])),
        recv("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$4\r\nrain\r\n:2\r\n"),
        recv("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"),
        send(command(&["PSUBSCRIBE", "n*"])),
        recv("*3\r\n$7\r\nmessage\r\n$4\r\nrain\r\n$0\r\n\r\n"),
        recv("*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:3\r\n"),
        recv("*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$3\r\nabc\r\n"),
        send(command(&["PING"])),
        recv("*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        send(command(&["UNSUBSCRIBE"])),
        recv(
            "*3\r\n$11\r\nunsubscribe\r\n$4\r\nrain\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n",
        ),
        send(command(&["PUNSUBSCRIBE", "n*"])),
        recv("*3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:0\r\n"),
        send(command(&["UNSUBSCRIBE"])),
        recv("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"),
        send(command(&["GET", "k"])),
        recv("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"),
    ];
    let records = check(
        &steps,
        &[
            "SUBSCRIBE news -> push subscribe news 1",
            "push subscribe rain 2",
            "push message news 5 B",
            "push message rain 0 B",
            "PSUBSCRIBE n* -> push psubscribe n* 3",
            "push pmessage n* news 3 B",
            "PING -> (2 elements)",
            "UNSUBSCRIBE -> push unsubscribe rain 2",
            "push unsubscribe news 1",
            "PUNSUBSCRIBE n* -> push punsubscribe n* 0",
            "UNSUBSCRIBE -> push unsubscribe 0",
            "GET k -> push message news 5 B",
        ],
    );
    assert_eq!((records[2].request.as_ref(), records[2].status), (None, Status::Complete));
}

#[test]
fn pushes_of_resp3_come_between_replies() {
    let steps = [
        send(command(&["HELLO", "3"])),
        recv("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        send([command(&["SUBSCRIBE", "a", "b"]), command(&["GET", "k"]), command(&["GET", "l"])].concat()),
        recv(
            ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n$1\r\nv\r\n",
        ),
        recv(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$3\r\nxyz\r\n"),
        recv("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$3\r\nxyz\r\n"),
        recv(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n>2\r\n$10\r\ninvalidate\r\n_\r\n"),
    ];
    check(
        &steps,
        &[
            "HELLO -> (1 field)",
            "SUBSCRIBE a -> push subscribe a 1",
            "push subscribe b 2",
            "GET k -> 1 B",
            "push message a 3 B",
            "GET l -> push message a 3 B",
            "push invalidate",
            "push invalidate",
        ],
    );
}

#[test]
fn lines_of_monitor_are_out_of_band_until_reset() {
    let line = "+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n";
    let steps = [
        send(command(&["MONITOR"])),
        recv("+OK\r\n"),
        recv(line),
        send(command(&["PING"])),
        recv(line),
        recv("+PONG\r\n"),
        send(command(&["RESET"])),
        recv("+RESET\r\n"),
        send(command(&["ECHO", "x"])),
        recv(line),
    ];
    let text = "1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"";
    let echo = format!("ECHO -> {text}");
    check(&steps, &["MONITOR -> OK", text, text, "PING -> PONG", "RESET -> RESET", &echo]);
}

#[test]
fn commands_without_reply_are_known_as_such() {
    let steps = [
        send("CLIENT REPLY SKIP\r\nSET a 1\r\nSET b 2\r\nCLIENT REPLY OFF\r\nGET a\r\n"),
        send("CLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nGET b\r\n"),
        recv("+OK\r\n+OK\r\n$1\r\n2\r\n"),
    ];
    let records = check(
        &steps,
        &[
            "CLIENT REPLY",
            "SET a",
            "CLIENT REPLY",
            "GET a",
            "CLIENT REPLY",
            "SET b -> OK",
            "CLIENT REPLY -> OK",
            "GET b -> 1 B",
        ],
    );
    assert!(records.iter().all(|record| record.causes().is_empty()));
}

#[test]
fn a_replication_stream_is_named_and_left_alone() {
    let psync = [
        send(
            [command(&["PING"]), command(&["REPLCONF", "capa", "eof"]), command(&["PSYNC", "?", "-1"])]
                .concat(),
        ),
        recv("+PONG\r\n+OK\r\n\n\n+FULLRESYNC 8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb 0\r\n"),
        recv("$5\r\nREDIS*1\r\n$4\r\nPING\r\n"),
        send(command(&["REPLCONF", "ACK", "14"])),
    ];
    let outcome = run_all_cuts(&psync, Setup::default());
    assert_eq!(outcome.switched.as_deref(), Some("redis replication"));
    let resync = "PSYNC -> FULLRESYNC 8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb 0";
    let newline = "newline (keep-alive)";
    assert_eq!(outcome.summaries(), ["PING -> PONG", "REPLCONF -> OK", newline, newline, resync]);
    assert!(outcome.skipped.iter().all(|skip| skip.2 == Cause::Unsupported));

    let sync = run_all_cuts(&[send("SYNC\r\n"), recv("$5\r\nREDIS")], Setup::default());
    assert_eq!((sync.switched.is_some(), sync.summaries()), (true, vec!["SYNC [no-response]".to_owned()]));
    let refused =
        [send("SYNC\r\n"), recv("-NOAUTH Authentication required.\r\n"), send("PING\r\n"), recv("+PONG\r\n")];
    check(&refused, &["SYNC -> NOAUTH Authentication required.", "PING -> PONG"]);
}

#[test]
fn a_reply_waits_for_the_rest_of_its_command() {
    let get = command(&["GET", "k"]);
    let (head, tail) = get.split_at(7);
    let steps = [send(head), recv("$1\r\nv\r\n"), send(tail)];
    assert_eq!(run(&steps, Setup::default()).summaries(), ["GET k -> 1 B"]);
}

#[test]
fn what_stays_open_is_named() {
    let steps = [send([command(&["GET", "a"]), command(&["BLPOP", "q", "0"])].concat()), recv("$1\r\nv\r\n")];
    let records = check(&steps, &["GET a -> 1 B", "BLPOP q [no-response]"]);
    assert_eq!(records[1].causes(), [Cause::NoResponse]);

    let records =
        check(&[send("PING\r\n"), recv("+PONG\r\n+more\r\n")], &["PING -> PONG", "more [no-request]"]);
    assert_eq!(records[1].causes(), [Cause::NoRequest]);

    let steps = [send(&command(&["SET", "key", "value"])[..25]), recv("$5\r\nab")];
    let outcome = run_all_cuts(&steps, Setup::default());
    let names: Vec<Status> = outcome.records.iter().map(|record| record.status).collect();
    assert!(names.iter().all(|status| *status == Status::Truncated), "{names:?}");
    assert!(outcome.records.iter().all(|record| record.causes().contains(&Cause::Incomplete)));
}

fn fields_of(steps: &[Step], options: Options) -> Vec<Record> {
    run_all_cuts(steps, Setup { options, ..Setup::default() }).records
}

fn text(words: &str) -> Value {
    Value::Bytes(words.as_bytes().to_vec())
}

#[test]
fn fields_hold_arguments_and_values_up_to_the_bound() {
    let steps = [send(command(&["SET", "key", "0123456789"])), recv("+OK\r\n")];
    let whole = fields_of(&steps, Options { max_field: 100, ..Options::default() });
    let request = whole[0].request.as_ref().unwrap();
    let names: Vec<&str> = request.fields.iter().map(|field| field.name.as_ref()).collect();
    assert_eq!(names, ["command", "key", "args", "arg_count"]);
    assert_eq!(request.fields[2].value, Value::List(vec![text("key"), text("0123456789")]));
    assert_eq!(request.fields[3].value, Value::Number(2));
    assert_eq!(whole[0].causes(), []);

    // One byte each for the array and its elements, three for SET, three for key: four are left.
    let short = fields_of(&steps, Options { max_field: 14, ..Options::default() });
    let request = short[0].request.as_ref().unwrap();
    assert_eq!(request.fields[2].value, Value::List(vec![text("key"), text("0123")]));
    assert_eq!(request.causes, [Cause::FieldTruncated]);

    let none = fields_of(&steps, Options::default());
    assert!(none[0].request.as_ref().unwrap().fields.iter().all(|field| field.name != "args"));
    assert_eq!(none[0].causes(), []);
}

#[test]
fn values_keep_their_types() {
    let steps = [
        send(command(&["GET", "k"])),
        recv("|1\r\n+ttl\r\n:3\r\n%2\r\n+a\r\n*2\r\n:1\r\n$-1\r\n#t\r\n,0.5\r\n"),
    ];
    let records = fields_of(&steps, Options { max_field: 100, ..Options::default() });
    let list = Value::List(vec![Value::Number(1), Value::Null]);
    let map = Value::Map(vec![(text("a"), list), (Value::Flag(true), Value::Float(0.5))]);
    assert_eq!(field(&records[0], "value"), Some(map));
    assert_eq!(field(&records[0], "attributes"), Some(Value::Map(vec![(text("ttl"), Value::Number(3))])));
    assert_eq!(field(&records[0], "type"), Some(Value::Text("map".into())));
}

#[test]
fn secrets_are_masked_unless_asked_for() {
    let steps = [
        send(command(&["AUTH", "s3cret"])),
        recv("+OK\r\n"),
        send("auth user s3cret\r\n"),
        recv("-WRONGPASS invalid\r\n"),
        send(command(&["HELLO", "3", "AUTH", "me", "s3cret"])),
        recv("%1\r\n+a\r\n+b\r\n"),
        send(command(&["CONFIG", "SET", "requirepass", "s3cret"])),
        recv("+OK\r\n"),
        send(command(&["CONFIG", "GET", "requirepass"])),
        recv("*2\r\n$11\r\nrequirepass\r\n$6\r\ns3cret\r\n"),
        send(command(&["ACL", "SETUSER", "me", ">s3cret"])),
        recv("+OK\r\n"),
        send(command(&["ACL", "SETUSER", "me", "<s3cret"])),
        recv("-ERR Error in ACL SETUSER modifier '<s3cret': The password does not exist\r\n"),
        send(command(&["MIGRATE", "h", "1", "k", "0", "9", "AUTH", "s3cret"])),
        recv("+OK\r\n"),
    ];
    for max_field in [0, 40, 1000] {
        let masked = fields_of(&steps, Options { max_field, ..Options::default() });
        assert!(!format!("{masked:?}").contains(&format!("{:?}", b"s3cret").replace(['[', ']'], "")));
        assert!(!format!("{masked:?}").contains("s3c"));
    }
    let shown = fields_of(&steps, Options { max_field: 1000, show_secrets: true, ..Options::default() });
    let needle = format!("{:?}", b"s3cret").replace(['[', ']'], "");
    assert_eq!(format!("{shown:?}").matches(&needle).count(), 9);
}

#[test]
fn what_is_no_redis_is_malformed_and_the_next_message_is_found() {
    let garbage = "\u{1}\u{2}garbage\r\n";
    let steps = [
        send(command(&["GET", "a"])),
        recv("$1\r\nv\r\n"),
        recv(garbage),
        send(command(&["GET", "b"])),
        recv("$2\r\nvv\r\n"),
        send(command(&["GET", "c"])),
        recv("$3\r\nvvv\r\n"),
    ];
    let outcome = run(&steps, Setup::default());
    assert_eq!(outcome.summaries(), ["GET a -> 1 B", "GET b -> 2 B", "GET c -> 3 B"]);
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
}

#[test]
fn bounds_of_a_server_are_bounds_here() {
    let malformed = |steps: &[Step]| {
        let outcome = run(steps, Setup::default());
        outcome.skipped.iter().any(|skip| skip.2 == Cause::ParseError)
    };
    let get = || send(command(&["GET", "a"]));
    assert!(!malformed(&[send("*2\r\n$3\r\nGET\r\n$536870912\r\n")]));
    assert!(malformed(&[send("*2\r\n$3\r\nGET\r\n$536870913\r\n")]));
    assert!(malformed(&[send("*2147483648\r\n$3\r\nGET\r\n")]));
    assert!(malformed(&[send("*1\r\n:1\r\n"), recv(":1\r\n")]));
    let nested = |depth: usize| recv([&b"*1\r\n".repeat(depth)[..], b":1\r\n"].concat());
    assert!(!malformed(&[get(), nested(super::super::resp::MAX_DEPTH)]));
    assert!(malformed(&[get(), nested(super::super::resp::MAX_DEPTH + 1)]));
    let line = |length: usize| recv([b"+", &b"x".repeat(length)[..], b"\r\n"].concat());
    let longest = super::super::resp::MAX_TEXT as usize;
    assert!(!malformed(&[get(), line(longest)]));
    assert!(malformed(&[get(), line(longest + 1)]));
    let inline = |length: usize| send([b"GET ", &b"x".repeat(length - 5)[..], b"\n"].concat());
    let longest = super::super::resp::MAX_INLINE;
    assert!(!malformed(&[inline(longest)]));
    assert!(malformed(&[inline(longest + 1)]));
    for wrong in [
        "$01x\r\n",
        "$-2\r\n",
        ":1a\r\n",
        "#x\r\n",
        ",x\r\n",
        "(1x\r\n",
        "_x\r\n",
        "+a\nb\r\n",
        ".\r\n",
        "?\r\n",
    ] {
        assert!(malformed(&[get(), recv(wrong)]), "{wrong:?}");
    }
}

#[test]
fn a_large_value_is_looked_at_once() {
    let value = vec![b'x'; 1 << 20];
    let set = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048576\r\n".to_vec(), value, b"\r\n".to_vec()].concat();
    let length = set.len() as u64;
    let steps = super::driver::cut(&[send(set), recv("+OK\r\n")], || 1000);
    let (outcome, offered) = super::driver::run_counted(&steps, Setup::default());
    assert_eq!(outcome.summaries(), ["SET k -> OK"]);
    assert!(offered <= length + 100, "{offered} bytes were offered for {length}");
}

#[test]
fn roles_are_learnt_from_either_direction() {
    let swapped = |steps: &[Step]| -> Vec<Step> {
        steps
            .iter()
            .map(|step| match step {
                Step::Bytes(direction, bytes) => Step::Bytes(direction.reverse(), bytes.clone()),
                gap => gap.clone(),
            })
            .collect()
    };
    let steps = [
        send(command(&["JSON.GET", "k"])),
        recv("$1\r\nv\r\n"),
        send(command(&["GET", "k"])),
        recv("$-1\r\n"),
    ];
    check(&swapped(&steps), &["JSON.GET -> 1 B", "GET k -> (nil)"]);
    let outcome = run_all_cuts(&swapped(&steps), Setup::default());
    assert_eq!(outcome.records[0].request.as_ref().unwrap().direction, Direction::Recv);
}
