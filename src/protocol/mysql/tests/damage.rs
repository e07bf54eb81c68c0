//! Losses, and connections that were open before: what is certain is kept, what is not is said.

use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::testing::run;

fn inside(steps: &[Step]) -> Outcome {
    run(&PROTOCOL, steps, Setup { mid_stream: true, ..setup() })
}

fn lost(direction: Direction, bytes: usize) -> Step {
    Step::Gap(direction, bytes as u64, Cause::RingFull)
}

#[test]
fn a_connection_that_was_open_begins_with_its_first_whole_message() {
    let fine = packet(1, ok(0, 0, AUTOCOMMIT));
    let outcome = inside(&[
        // The end of an answer to what was not seen.
        recv([&b"alf a row"[..], &packets(9, &[b"\x011", b"\x012", b"\x013", &eof(AUTOCOMMIT)])].concat()),
        send(command(0x17, b"\x05\0\0\0\0\x01\0\0\0\0\x01\x03\0\x07\0\0\0")),
        recv(fine.clone()),
        send(query("SELECT 1")),
        recv(result(1, &["1"], AUTOCOMMIT)),
    ]);
    assert_eq!(
        outcome.summaries(),
        ["3 rows [no-request]", "unknown statement 5 -> OK", "SELECT 1 -> 1 row"]
    );
    assert_eq!(text(&outcome.records[1], "statement"), "unknown");
    assert_eq!(text(&outcome.records[1], "parameters"), "unknown");
    assert_eq!(outcome.skipped[0].2, Cause::ResyncSkipped);
    assert_eq!(outcome.skipped.len(), 1);
}

#[test]
fn whether_columns_end_with_eof_is_learnt() {
    for eofs in [true, false] {
        let column = column("a", 253);
        let answer = match eofs {
            true => result(1, &["1", "2"], AUTOCOMMIT),
            false => packets(1, &[b"\x01", &column, b"\x011", b"\x012", &end(AUTOCOMMIT)]),
        };
        let (parameter, head) = (self::column("?", 253), b"\0\x01\0\0\0\0\0\x01\0\0\0\0");
        let prepared = match eofs {
            true => packets(1, &[head, &parameter, &eof(AUTOCOMMIT)]),
            false => packets(1, &[head, &parameter]),
        };
        // First where nothing but what follows tells whether the answer is at its end.
        let outcome = inside(&[
            send(command(0x16, "DELETE FROM t WHERE a = ?")),
            recv(prepared),
            send(query("SELECT a")),
            recv(answer),
            send(command(0x19, b"\x01\0\0\0")),
        ]);
        assert_eq!(
            outcome.summaries(),
            [
                "COM_STMT_PREPARE DELETE FROM t WHERE a = ? -> statement 1",
                "SELECT a -> 2 rows",
                "COM_STMT_CLOSE DELETE FROM t WHERE a = ?",
            ]
        );
        assert_eq!(outcome.skipped, []);
    }
}

#[test]
fn the_compressed_protocol_is_named_where_its_beginning_was_not_seen() {
    let outcome = inside(&[
        send(b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03SELECT 1"),
        recv(b"\x0b\0\0\x01\0\0\0\x07\0\0\x01\0\0\0\x02\0\0\0"),
    ]);
    assert_eq!(outcome.switched.as_deref(), Some("the compressed protocol of MySQL"));
    assert!(outcome.skipped.iter().all(|skipped| skipped.2 == Cause::Unsupported));
}

#[test]
fn a_gap_in_rows_leaves_the_answer_to_its_request() {
    let rows: Vec<String> = (0..20).map(|n| format!("this is row number {n:02}")).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let answer = result(1, &rows, AUTOCOMMIT);
    for from in [60, 100, 150, 200] {
        let steps = [
            login_with(FLAGS),
            vec![
                send(query("SELECT a FROM t")),
                recv(&answer[..from]),
                lost(Direction::Recv, 100),
                recv(&answer[from + 100..]),
                send(query("SELECT 2")),
                recv(result(1, &["2"], AUTOCOMMIT)),
            ],
        ]
        .concat();
        let outcome = run(&PROTOCOL, &steps, setup());
        let said = outcome.summaries();
        assert_eq!(said.len(), 4, "{from}: {said:?}");
        assert!(
            said[2].starts_with("SELECT a FROM t -> 1") && said[2].ends_with(" rows [truncated]"),
            "{said:?}"
        );
        assert!(outcome.records[2].causes().contains(&Cause::RingFull));
        assert_eq!(said[3], "SELECT 2 -> 1 row");
    }
}

#[test]
fn an_answer_that_is_lost_is_said_to_be() {
    let steps = [
        login_with(FLAGS),
        vec![
            send(query("SELECT 1")),
            lost(Direction::Recv, 60),
            send(query("SELECT 2")),
            recv(result(1, &["2"], AUTOCOMMIT)),
            // And a request.
            lost(Direction::Send, 13),
            recv(packet(1, ok(5, 0, AUTOCOMMIT))),
            send(query("SELECT 3")),
            recv(result(1, &["3"], AUTOCOMMIT)),
        ],
    ]
    .concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries()[2..],
        ["SELECT 1 [no-response]", "SELECT 2 -> 1 row", "OK (5 affected) [no-request]", "SELECT 3 -> 1 row"]
    );
    assert_eq!(outcome.records[2].causes(), [Cause::RingFull, Cause::NoResponse]);
}

#[test]
fn a_client_that_sends_ahead_is_not_paired_by_guess_after_a_loss() {
    let ping = || send(command(0x0e, "").repeat(3));
    let fine = || packet(1, ok(0, 0, AUTOCOMMIT));
    let steps = [
        login_with(FLAGS),
        vec![
            ping(),
            recv(fine().repeat(3)),
            ping(),
            recv(fine()),
            lost(Direction::Recv, fine().len()),
            recv(fine()),
            ping(),
            recv(fine().repeat(3)),
        ],
    ]
    .concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    let said = outcome.summaries();
    assert_eq!(said[2..6], vec!["COM_PING (keep-alive) -> OK"; 4]);
    assert!(
        said[6..].iter().all(|one| one.ends_with("[no-response]") || one.ends_with("[no-request]")),
        "{said:?}"
    );
    assert_eq!(said.len(), 6 + 2 + 3 + 4);
}

#[test]
fn a_packet_out_of_order_is_no_part_of_an_answer() {
    let steps = [
        login_with(FLAGS),
        vec![
            send(query("SELECT 1")),
            recv(packet(3, ok(0, 0, AUTOCOMMIT))),
            send(query("SELECT 2")),
            recv(result(1, &["2"], AUTOCOMMIT)),
        ],
    ]
    .concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
    assert_eq!(outcome.summaries().last().unwrap(), "SELECT 2 -> 1 row");
}

#[test]
fn a_login_that_is_lost_in_part_is_followed_by_what_comes() {
    let steps = [
        recv(greeting(FLAGS)),
        lost(Direction::Send, 60),
        recv(packet(2, ok(0, 0, AUTOCOMMIT))),
        send(query("SELECT 1")),
        recv(result(1, &["1"], AUTOCOMMIT)),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries(), [LOGIN[0], "OK [no-request]", "SELECT 1 -> 1 row"]);
}

/// A login in which packet 2 asks for another proof, which is packet 3, and packet 4 agrees; each in its own step.
fn login() -> Vec<Step> {
    vec![
        recv(greeting(FLAGS)),
        send(response(FLAGS)),
        recv(packet(2, b"\xfemysql_native_password\0saltsaltsaltsaltsalt\0")),
        send(packet(3, b"pppppppppppppppppppp")),
        recv(packet(4, ok(0, 0, AUTOCOMMIT))),
        send(query("SELECT 1")),
        recv(result(1, &["1"], AUTOCOMMIT)),
    ]
}

#[test]
fn a_packet_that_is_lost_within_a_login_is_missed_by_its_number() {
    let lines = |steps: &[Step]| run(&PROTOCOL, steps, setup()).summaries();
    let whole = "HandshakeResponse41 user=me database=db -> AuthSwitchRequest (mysql_native_password); OK";
    assert_eq!(lines(&login())[1..], [whole, "SELECT 1 -> 1 row"]);
    let short = "HandshakeResponse41 user=me database=db -> OK [truncated]";
    let cut = format!("{whole} [truncated]");
    for (index, expected) in [(2, short), (3, &cut)] {
        let mut steps = login();
        let Step::Bytes(direction, bytes) = &steps[index] else { continue };
        steps[index] = lost(*direction, bytes.len());
        assert_eq!(lines(&steps)[1..], [expected, "SELECT 1 -> 1 row"], "without {index}");
    }
}

#[test]
fn an_answer_whose_beginning_is_lost_is_not_complete() {
    let columns: Vec<Vec<u8>> = ["a", "b", "c"].iter().map(|name| column(name, 253)).collect();
    let bodies: Vec<&[u8]> = columns.iter().map(Vec::as_slice).collect();
    let first = packet(1, &columns[0]);
    let rest = [packets(2, &bodies[1..]), packet(4, eof(AUTOCOMMIT))].concat();
    let steps = [
        recv(greeting(FLAGS)),
        send(response(FLAGS)),
        recv(packet(2, ok(0, 0, AUTOCOMMIT))),
        send(command(4, b"t\0")),
        lost(Direction::Recv, first.len()),
        recv(rest),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let last = outcome.records.last().expect("a record");
    assert_eq!((last.status, last.causes()), (crate::record::Status::Truncated, vec![Cause::RingFull]));
    assert!(last.summary.starts_with("COM_FIELD_LIST t -> "), "{}", last.summary);
}

#[test]
fn what_the_login_would_tell_is_read_from_the_answer_where_that_is_enough() {
    let info = b"Records: 0";
    // Status with SESSION_STATE_CHANGED: info and state with their lengths (page_protocol_basic_ok_packet).
    let tracked = [&[0, 0, 0, 2, 0x40, 0, 0, 10], &info[..], &[4, 1, 2, 1, b'd']].concat();
    let plain = [&[0, 0, 0, 2, 0, 0, 0, 10], &info[..]].concat();
    // COM_FIELD_LIST: a default value of some length behind a column.
    let listed = [column("a", 253), b"\x08CURRENT_".to_vec()].concat();
    let outcome = inside(&[
        send(query("DO 1")),
        recv(packet(1, tracked)),
        send(query("DO 2")),
        recv(packet(1, plain)),
        send(command(4, b"t\0")),
        recv([packet(1, listed), packet(2, eof(AUTOCOMMIT))].concat()),
    ]);
    let shown = |index: usize, name: &str| {
        let response = outcome.records[index].response.as_ref().expect("a response");
        response.field(name).cloned()
    };
    assert_eq!(shown(0, "info"), Some(Value::Bytes(info.to_vec())));
    let change = Value::Map(vec![(Value::Text("SESSION_TRACK_SCHEMA".into()), Value::Bytes(b"d".to_vec()))]);
    assert_eq!(shown(0, "session_state_info"), Some(Value::List(vec![change])));
    assert_eq!(shown(1, "info"), Some(Value::Bytes(info.to_vec())));
    assert_eq!(shown(2, "columns"), Some(Value::List(vec![Value::Bytes(b"a".to_vec())])));
}
