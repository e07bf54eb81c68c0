//! The parser under whole conversations, written by hand from the specification.

use super::PROTOCOL;
use crate::event::{Cause, Direction, Role};
use crate::protocol::testing::{
    Outcome, Setup, Step, bytes, field, recv, run, run_counted, run_damaged, run_in_cuts, send,
};
use crate::protocol::{Options, Sample, Verdict};
use crate::record::Value;

const INFO: &str =
    "INFO {\"server_id\":\"N\",\"server_name\":\"demo\",\"version\":\"2.10.7\",\"max_payload\":1048576} \r\n";
const CONNECT: &str = "CONNECT {\"verbose\":false,\"lang\":\"go\",\"version\":\"1.25.0\"}\r\n";
const INBOX: &str = "_INBOX.abc.1";

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

/// A conversation behind INFO and CONNECT, by its summaries; in all cuts and with all damage.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    let steps = [&[recv(INFO), send(CONNECT)][..], steps].concat();
    run_damaged(&PROTOCOL, &steps, setup());
    let mut outcome = run_in_cuts(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.skipped, []);
    let summaries = outcome.summaries();
    assert_eq!(summaries[..2], ["INFO demo 2.10.7", "CONNECT go 1.25.0"]);
    assert_eq!(summaries[2..], *expected);
    outcome.records.drain(..2);
    outcome
}

#[test]
fn what_is_published_is_told_by_itself() {
    let steps = [
        send("SUB foo.* workers 9\r\nPING\r\n"),
        recv("PONG\r\n"),
        send("pub foo.a 5\r\nhe\r\no\r\nPUB empty 0\r\n\r\n"),
        recv("MSG foo.a 9 5\r\nhe\r\no\r\nPING\r\n"),
        send("PONG\r\nUNSUB 9 3\r\nUNSUB 9\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            "SUB foo.* queue workers sid 9",
            "PING -> PONG",
            "PUB foo.a 5 bytes",
            "PUB empty 0 bytes",
            "MSG foo.a 5 bytes",
            "PING -> PONG",
            "UNSUB sid 9 after 3 messages",
            "UNSUB sid 9",
        ],
    );
    assert_eq!(field(&outcome.records[2], "payload"), Some(&bytes("he\r\no")));
    assert_eq!(field(&outcome.records[4], "sid"), Some(&bytes("9")));
}

#[test]
fn an_answer_in_the_inbox_is_paired_with_its_request_at_both_ends() {
    let steps = [
        // It asks, and is answered twice.
        send(format!("PUB add {INBOX} 3\r\n1+1\r\n")),
        recv(format!("MSG {INBOX} 1 1\r\n2\r\nMSG {INBOX} 1 1\r\n2\r\n")),
        // It is asked twice, and answers in the other order.
        recv("MSG add 7 _INBOX.x 3\r\n2+2\r\nMSG add 7 _INBOX.y 3\r\n3+3\r\n"),
        send("PUB _INBOX.y 1\r\n6\r\nPUB _INBOX.x 1\r\n4\r\n"),
        // Nobody is there.
        send("PUB none _INBOX.z 0\r\n\r\n"),
        recv("HMSG _INBOX.z 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"),
        // Never answered; no inbox.
        send("PUB add _INBOX.w 0\r\n\r\nPUB add plain.subject 0\r\n\r\n"),
    ];
    let outcome = check(
        &steps,
        &[
            "PUB add 3 bytes -> MSG _INBOX.abc.1 1 bytes",
            "MSG _INBOX.abc.1 1 bytes",
            "MSG add 3 bytes -> PUB _INBOX.y 1 bytes",
            "MSG add 3 bytes -> PUB _INBOX.x 1 bytes",
            "PUB none 0 bytes -> HMSG _INBOX.z 503 0 bytes",
            "PUB add 0 bytes",
            "PUB add 0 bytes [no-response]",
        ],
    );
    assert_eq!(field(&outcome.records[0], "reply_to"), Some(&bytes(INBOX)));
    assert_eq!(outcome.records[2].request.as_ref().unwrap().direction, Direction::Recv);
    assert_eq!(field(&outcome.records[4], "status"), Some(&bytes("503")));
}

#[test]
fn headers_are_read() {
    let message =
        "NATS/1.0\r\nBar: Baz\r\nA:b:c\r\nAuthorization: Bearer x\r\nX-Api-Key: k\r\n\r\nHello NATS!";
    let header = message.len() - 11;
    let steps = [send(format!("HPUB FOO {header} {}\r\n{message}\r\n", message.len()))];
    let outcome = check(&steps, &["HPUB FOO 11 bytes"]);
    let headers = Value::Map(vec![
        (bytes("Bar"), bytes("Baz")),
        (bytes("A"), bytes("b:c")),
        (bytes("Authorization"), Value::Text("***".into())),
        (bytes("X-Api-Key"), Value::Text("***".into())),
    ]);
    assert_eq!(field(&outcome.records[0], "headers"), Some(&headers));
    assert_eq!(field(&outcome.records[0], "payload"), Some(&bytes("Hello NATS!")));
}

#[test]
fn in_verbose_mode_the_server_confirms() {
    let steps = [
        recv(INFO),
        // Verbose is the default.
        send("CONNECT {}\r\n"),
        recv("+OK\r\n"),
        send("SUB a 1\r\nPUB a 1\r\nx\r\nPUB forbidden 0\r\n\r\n"),
        recv("+OK\r\n+OK\r\nMSG a 1 1\r\nx\r\n-ERR 'Permissions Violation for Publish to \"forbidden\"'\r\n"),
        recv("-ERR 'Stale Connection'\r\n"),
    ];
    run_damaged(&PROTOCOL, &steps, setup());
    let expected = [
        "INFO demo 2.10.7",
        "CONNECT -> +OK",
        "SUB a sid 1 -> +OK",
        "PUB a 1 bytes -> +OK",
        "MSG a 1 bytes",
        "PUB forbidden 0 bytes -> -ERR 'Permissions Violation for Publish to \"forbidden\"'",
        "-ERR 'Stale Connection'",
    ];
    assert_eq!(run_in_cuts(&PROTOCOL, &steps, setup()).summaries(), expected);
}

#[test]
fn secrets_are_masked_unless_wanted() {
    let connect = "CONNECT {\"user\":\"me\",\"pass\":\"p4ss\",\"auth_token\":\"t0ken\",\"jwt\":\"j\",\"sig\":\"s1g\"}\r\n";
    let broken = "CONNECT {\"pass\":\"p4ss\" \"x\"}\r\n";
    for show_secrets in [false, true] {
        let options = Options { show_secrets, ..setup().options };
        let steps = [recv(INFO), send(connect), send(broken)];
        let outcome = run(&PROTOCOL, &steps, Setup { options, ..setup() });
        assert_eq!(outcome.summaries()[1], "CONNECT user=me [no-response]");
        for index in [1, 2] {
            let all = match field(&outcome.records[index], "options") {
                Some(Value::Map(pairs)) => pairs.iter().map(|(_, value)| flat(value)).collect(),
                Some(value) => flat(value),
                None => String::new(),
            };
            assert_eq!(all.contains("p4ss"), show_secrets, "{all}");
        }
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn behind_info_tls_can_begin() {
    let steps = [recv(INFO), send("\x16\x03\x01\x00\x05hello"), recv("\x16\x03\x03")];
    let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.switched.as_deref(), Some("TLS"));
    assert_eq!(outcome.summaries(), ["INFO demo 2.10.7"]);
}

#[test]
fn behind_a_gap_inboxes_still_pair_and_order_does_not() {
    let steps = [
        recv(INFO),
        send(CONNECT),
        send(format!("PUB add {INBOX} 3\r\n1+1\r\nPING\r\n")),
        Step::Gap(Direction::Recv, 50, Cause::RingFull),
        recv(format!("PONG\r\nMSG {INBOX} 1 1\r\n2\r\n")),
    ];
    let expected = [
        "INFO demo 2.10.7",
        "CONNECT go 1.25.0",
        "PING [no-response]",
        "PONG [no-request]",
        "PUB add 3 bytes -> MSG _INBOX.abc.1 1 bytes",
    ];
    assert_eq!(run(&PROTOCOL, &steps, setup()).summaries(), expected);
    // A gap inside a payload leaves its end known.
    let steps = [
        recv(INFO),
        recv("MSG a 1 10\r\nab"),
        Step::Gap(Direction::Recv, 6, Cause::RingFull),
        recv("ij\r\nMSG b 1 0\r\n\r\n"),
    ];
    let expected = ["INFO demo 2.10.7", "MSG a 10 bytes [truncated]", "MSG b 0 bytes"];
    assert_eq!(run(&PROTOCOL, &steps, setup()).summaries(), expected);
}

#[test]
fn records_begin_with_the_first_whole_message() {
    let steps = [recv("of a payload\r\nMSG a 1 3\r\nabc\r\nMSG b 1 1\r\nx\r\n"), send("PUB c 1\r\nx\r\n")];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..setup() });
    assert_eq!(outcome.summaries(), ["MSG a 3 bytes", "MSG b 1 bytes", "PUB c 1 bytes"]);
    assert_eq!(outcome.skipped[0].2, Cause::ResyncSkipped);
}

#[test]
fn what_is_no_operation_is_named_and_passed_over() {
    let steps =
        [recv(INFO), send(CONNECT), send("DEADBEEF\r\n"), recv("-ERR 'Unknown Protocol Operation'\r\n")];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries()[2..], ["-ERR 'Unknown Protocol Operation'"]);
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
}

#[test]
fn a_payload_of_any_size_streams_through_and_is_shown_in_part() {
    let mut steps = vec![recv(INFO), send(CONNECT), send(format!("PUB big {}\r\n", 64 << 20))];
    steps.extend((0..1024).map(|_| send(vec![b'x'; 64 << 10])));
    steps.push(send("\r\n"));
    let moved: u64 =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() as u64 } else { 0 }).sum();
    let (outcome, offered) = run_counted(&PROTOCOL, &steps, setup());
    assert_eq!(offered, moved, "no byte is offered twice: none is held back");
    let record = &outcome.records[2];
    assert_eq!(
        (record.summary.as_str(), record.causes()),
        ("PUB big 67108864 bytes", vec![Cause::FieldTruncated])
    );
    let Some(Value::Bytes(payload)) = field(record, "payload") else { panic!("a payload") };
    assert_eq!(payload.len(), 4096);
}

#[test]
fn requests_that_wait_are_bounded() {
    let requests: String = (0..5000).map(|n| format!("PUB a _INBOX.{n} 0\r\n\r\n")).collect();
    let outcome = run(&PROTOCOL, &[recv(INFO), send(CONNECT), send(requests)], setup());
    assert_eq!(outcome.records.len(), 5002);
    let limited = outcome.records.iter().filter(|record| record.causes().contains(&Cause::Limit)).count();
    assert_eq!(limited, 5000 - crate::protocol::exchange::PENDING_MAX);
}

#[test]
fn a_server_that_tells_who_it_is_is_proof() {
    let verdict = |send: &str, recv: &str, from_start: bool| {
        let data = [send.as_bytes(), recv.as_bytes()];
        (PROTOCOL.detect)(&Sample { data, from_start: [from_start; 2], role: Role::Unknown })
    };
    assert_eq!(verdict("", INFO, true), Verdict::Match(100));
    for length in 1..INFO.len() - 1 {
        assert!(matches!(verdict("", &INFO[..length], true), Verdict::Maybe(_)), "{length}");
    }
    for other in ["INFO\r\n", "+OK POP3\r\n", "220 smtp\r\n", "INFO {\"a\":1}\r\n"] {
        assert!(matches!(verdict("", other, true), Verdict::No(_)), "{other}");
    }
    assert!(matches!(verdict("PING\r\n", "+PONG\r\n", true), Verdict::No(_)), "Redis");
    assert!(matches!(verdict("PING\r\n", "", false), Verdict::No(_)), "can be anybody's");
    let Verdict::Match(90..) = verdict("PUB a 1\r\nx\r\n", "", false) else { panic!("PUB") };
    let Verdict::Match(90..) = verdict("", "tail\r\nMSG a 1 1\r\nx\r\nMSG a 1 1\r\ny\r\n", false) else {
        panic!("MSG")
    };
}

#[test]
fn whether_the_server_confirms_is_unknown_where_connect_is_lost_until_it_does() {
    let steps = [
        recv(INFO),
        Step::Gap(Direction::Send, 40, Cause::RingFull),
        send("SUB a 1\r\n"),
        recv("+OK\r\n"),
        send("SUB b 2\r\n"),
    ];
    let options = Options { role: Role::Client, ..setup().options };
    let outcome = run(&PROTOCOL, &steps, Setup { options, ..setup() });
    let expected = ["INFO demo 2.10.7", "SUB a sid 1", "+OK [no-request]", "SUB b sid 2 [no-response]"];
    assert_eq!(outcome.summaries(), expected);
    let verbose = outcome.records.iter().map(|record| field(record, "verbose").cloned());
    let unknown = Some(Value::Text("unknown".into()));
    assert_eq!(verbose.collect::<Vec<_>>(), [None, unknown, None, None]);
}

#[test]
fn a_client_that_waits_for_each_confirmation_is_counted_again_behind_a_loss() {
    let turn = |subject: &str| [send(format!("SUB {subject} 1\r\n")), recv("+OK\r\n")];
    let lost = |length| Step::Gap(Direction::Send, length, Cause::RingFull);
    let begin = [recv(INFO), send("CONNECT {}\r\n"), recv("+OK\r\n")];
    let steps = [&begin[..], &[lost(40), recv("+OK\r\n")], &turn("a"), &turn("b")].concat();
    let expected = [
        "INFO demo 2.10.7",
        "CONNECT -> +OK",
        "+OK [no-request]",
        "SUB a sid 1 -> +OK",
        "SUB b sid 1 -> +OK",
    ];
    assert_eq!(run(&PROTOCOL, &steps, setup()).summaries(), expected);

    // What was lost is too short for anything that is confirmed.
    let steps = [&begin[..], &[recv("PING\r\n"), lost(6)], &turn("a")].concat();
    let expected = ["INFO demo 2.10.7", "CONNECT -> +OK", "SUB a sid 1 -> +OK", "PING [no-response]"];
    let mut found = run(&PROTOCOL, &steps, setup()).summaries();
    found.sort_by_key(|line| line.starts_with("PING"));
    assert_eq!(found, expected);

    // Who sends while something is owed has perhaps done so before.
    let ahead =
        [send("SUB a 1\r\nSUB b 1\r\n"), recv("+OK\r\n"), send("SUB c 1\r\n"), recv("+OK\r\n+OK\r\n")];
    let steps = [&begin[..], &[lost(40), recv("+OK\r\n")], &ahead].concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    let pairs: Vec<_> = outcome.summaries().into_iter().filter(|line| line.contains("->")).collect();
    assert_eq!(pairs, ["CONNECT -> +OK", "SUB a sid 1 -> +OK"]);
}

/// The confirmation of a request comes before its answer, and is not that of what is sent behind it.
#[test]
fn a_request_by_inbox_is_confirmed_in_its_turn() {
    let begin = [recv(INFO), send("CONNECT {}\r\n"), recv("+OK\r\n")];
    let ask = send(format!("PUB svc {INBOX} 1\r\n1\r\nSUB a 1\r\n"));
    let answer = recv(format!("+OK\r\n+OK\r\nMSG {INBOX} 9 1\r\n2\r\n"));
    let outcome = run(&PROTOCOL, &[&begin[..], &[ask, answer]].concat(), setup());
    let places = outcome.records.iter().filter_map(|record| {
        let ok = record.response.as_ref()?;
        Some((record.summary.as_str(), ok.range.from))
    });
    let sub = places.filter(|(summary, _)| summary.starts_with("SUB")).collect::<Vec<_>>();
    let confirmed = 2 * "+OK\r\n".len() as u64;
    assert_eq!(sub, [("SUB a sid 1 -> +OK", INFO.len() as u64 + confirmed)]);
}

/// Of several confirmations some may be lost and some left: they belong to nothing that is sent later.
#[test]
fn confirmations_behind_a_loss_of_others_are_not_of_later_messages() {
    let begin = [recv(INFO), send("CONNECT {}\r\n"), recv("+OK\r\n")];
    let lost = Step::Gap(Direction::Recv, 5, Cause::RingFull);
    let steps =
        [send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n"), lost, send("SUB d 4\r\n"), recv("+OK\r\n+OK\r\n+OK\r\n")];
    let outcome = run(&PROTOCOL, &[&begin[..], &steps].concat(), setup());
    let pairs: Vec<_> = outcome.summaries().into_iter().filter(|line| line.contains("->")).collect();
    assert_eq!(pairs, ["CONNECT -> +OK"]);

    // A PONG is behind the confirmations of all that was sent before its PING, and of nothing else.
    let lost = Step::Gap(Direction::Send, 40, Cause::RingFull);
    let steps = [
        lost,
        send("PING\r\nSUB a 1\r\n"),
        recv("+OK\r\nPONG\r\n"),
        send("SUB b 2\r\n"),
        recv("+OK\r\n+OK\r\n"),
    ];
    let outcome = run(&PROTOCOL, &[&begin[..], &steps].concat(), setup());
    let pairs: Vec<_> = outcome.summaries().into_iter().filter(|line| line.contains("->")).collect();
    assert_eq!(pairs, ["CONNECT -> +OK", "PING -> PONG", "SUB b sid 2 -> +OK"]);
    let of_b =
        outcome.records.iter().find(|record| record.summary.starts_with("SUB b")).expect("it is there");
    let oks = "+OK\r\n+OK\r\nPONG\r\n+OK\r\n".len() as u64;
    assert_eq!(of_b.response.as_ref().map(|ok| ok.range.from), Some(INFO.len() as u64 + oks));
}

#[test]
fn an_answer_to_a_question_that_may_be_lost_is_not_complete() {
    let lost = Step::Gap(Direction::Recv, 40, Cause::RingFull);
    let steps = [recv(INFO), send(CONNECT), lost, send(format!("PUB {INBOX} 1\r\n2\r\n"))];
    let expected = ["INFO demo 2.10.7", "CONNECT go 1.25.0", "PUB _INBOX.abc.1 1 bytes [truncated]"];
    assert_eq!(run(&PROTOCOL, &steps, setup()).summaries(), expected);
}
