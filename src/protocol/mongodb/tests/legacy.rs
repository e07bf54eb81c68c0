//! Operations of the time before OP_MSG.

use super::*;
use crate::protocol::testing::{recv, send};

fn query(request_id: i32, flags: u32, namespace: &str, document: &[u8]) -> Vec<u8> {
    let numbers = [0i32, -1].map(i32::to_le_bytes).concat();
    let body = [&flags.to_le_bytes()[..], namespace.as_bytes(), &[0], &numbers, document].concat();
    message(request_id, 0, 2004, &body)
}

fn reply(ids: [i32; 2], flags: u32, cursor: i64, documents: &[Vec<u8>]) -> Vec<u8> {
    let count = i32::try_from(documents.len()).expect("few documents");
    let numbers = [0, count].map(i32::to_le_bytes).concat();
    let body = [&flags.to_le_bytes()[..], &cursor.to_le_bytes(), &numbers, &documents.concat()].concat();
    message(ids[0], ids[1], 1, &body)
}

/// `zero`, `fullCollectionName`, and what follows.
fn with_namespace(request_id: i32, op_code: i32, namespace: &str, rest: &[u8]) -> Vec<u8> {
    message(request_id, 0, op_code, &[&[0; 4], namespace.as_bytes(), &[0], rest].concat())
}

#[test]
fn queries_and_what_goes_on_with_their_cursors() {
    let row = || doc(&[int("_id", 1), int("ok", 0)]);
    let more = [&2i32.to_le_bytes()[..], &99i64.to_le_bytes()].concat();
    let kill = [&[0; 4][..], &1i32.to_le_bytes(), &99i64.to_le_bytes()].concat();
    let steps = [
        send(query(0, 4, "d.c", &doc(&[int("a", 1)]))),
        recv(reply([50, 0], 8, 99, &[row(), row()])),
        send(with_namespace(1, 2005, "d.c", &more)),
        recv(reply([51, 1], 0, 0, &[row()])),
        send(with_namespace(2, 2005, "d.c", &more)),
        recv(reply([52, 2], 1, 0, &[])),
        send(message(3, 0, 2007, &kill)),
        send(query(4, 0, "d.c", &doc(&[int("$bad", 1)]))),
        recv(reply([53, 4], 2, 0, &[doc(&[text("$err", "no such operator"), int("code", 2)])])),
        send(query(5, 0, "admin.$cmd", &doc(&[int("isMaster", 1)]))),
        recv(reply([54, 5], 8, 0, &[doc(&[double("ok", 1.0)])])),
    ];
    let outcome = check(
        &steps,
        &[
            r#"OP_QUERY d.c {"a": 1} -> 2 documents, more"#,
            "OP_GET_MORE d.c cursor 99 -> 1 document",
            "OP_GET_MORE d.c cursor 99 -> error: cursor not found",
            "OP_KILL_CURSORS 1 cursor",
            r#"OP_QUERY d.c {"$bad": 1} -> error no such operator"#,
            "isMaster admin -> ok",
        ],
    );
    let opened = Value::Bytes(br#"OP_QUERY d.c {"a": 1}"#.to_vec());
    assert_eq!(field(&outcome.records[1], "cursorOpenedBy"), Some(&opened));
    assert_eq!(
        field(&outcome.records[0], "flagBits"),
        Some(&Value::List(vec![Value::Text("slaveOk".into())]))
    );
}

#[test]
fn an_exhaust_query_is_answered_several_times() {
    let row = || doc(&[int("_id", 1)]);
    let steps = [
        send(query(7, 1 << 6, "d.c", &doc(&[]))),
        recv(reply([50, 7], 0, 99, &[row()])),
        recv(reply([51, 50], 0, 99, &[row()])),
        recv(reply([52, 51], 0, 0, &[row()])),
    ];
    let expected = [
        "OP_QUERY d.c {} -> 1 document, more",
        "OP_QUERY d.c {} (exhaust) -> 1 document, more",
        "OP_QUERY d.c {} (exhaust) -> 1 document",
    ];
    check(&steps, &expected);
}

#[test]
fn writes_have_no_answer() {
    let selector = doc(&[int("a", 1)]);
    let steps = [
        send(with_namespace(1, 2002, "d.c", &[selector.clone(), selector.clone()].concat())),
        send(with_namespace(2, 2001, "d.c", &[&1u32.to_le_bytes()[..], &selector, &selector].concat())),
        send(with_namespace(3, 2006, "d.c", &[&0u32.to_le_bytes()[..], &selector].concat())),
    ];
    check(&steps, &["OP_INSERT d.c 2 documents", r#"OP_UPDATE d.c {"a": 1}"#, r#"OP_DELETE d.c {"a": 1}"#]);
}

#[test]
fn op_command_of_the_servers_between() {
    let command = [b"d\0ping\0", &doc(&[int("ping", 1)])[..], &doc(&[])].concat();
    let other_order = [b"d\0ping\0", &doc(&[])[..], &doc(&[int("ping", 1)])].concat();
    let answer = [doc(&[double("ok", 1.0)]), doc(&[])].concat();
    let steps = [
        send(message(1, 0, 2010, &command)),
        recv(message(9, 1, 2011, &answer)),
        send(message(2, 0, 2010, &other_order)),
        recv(message(10, 2, 2011, &answer)),
    ];
    check(&steps, &["ping d -> ok", "ping d -> ok"]);
}

#[test]
fn operations_that_nobody_knows_say_so() {
    let steps = [send(message(1, 0, 2269, &[1, 2, 3])), send(ping(2)), recv(ok(9, 2))];
    check(&steps, &["ping admin -> ok", "opCode 2269 [no-response]"]);
}
