//! Commands and their answers in OP_MSG.

use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::testing::{recv, run, send};

fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn find(request_id: i32) -> Vec<u8> {
    let filter = inner("filter", &[text("status", "A"), inner("qty", &[int("$gt", 3)])]);
    msg([request_id, 0], 0, &doc(&[text("find", "orders"), filter, text("$db", "shop")]), &[])
}

fn batch(ids: [i32; 2], name: &str, cursor: i64, documents: &[Vec<u8>]) -> Vec<u8> {
    let cursor = inner("cursor", &[array(name, documents), long("id", cursor), text("ns", "shop.orders")]);
    msg(ids, 0, &doc(&[cursor, double("ok", 1.0)]), &[])
}

fn get_more(request_id: i32, cursor: i64) -> Vec<u8> {
    let command = [long("getMore", cursor), text("collection", "orders"), text("$db", "shop")];
    msg([request_id, 0], 0, &doc(&command), &[])
}

#[test]
fn a_cursor_is_followed_to_its_end() {
    let row = |n| doc(&[int("_id", n)]);
    let steps = [
        send(find(1)),
        recv(batch([100, 1], "firstBatch", 77, &[row(1), row(2)])),
        send(get_more(2, 77)),
        recv(batch([101, 2], "nextBatch", 0, &[row(3)])),
        send(get_more(3, 78)),
        recv(msg(
            [102, 3],
            0,
            &doc(&[
                double("ok", 0.0),
                text("errmsg", "cursor id 78 not found"),
                int("code", 43),
                text("codeName", "CursorNotFound"),
            ]),
            &[],
        )),
    ];
    let find = r#"find shop.orders {"status": "A", "qty": {"$gt": 3}}"#;
    let expected = [
        &format!("{find} -> 2 documents, more"),
        "getMore shop.orders cursor 77 -> 1 document",
        "getMore shop.orders cursor 78 -> error 43 CursorNotFound cursor id 78 not found",
    ];
    let outcome = check(&steps, &expected);
    assert_eq!(field(&outcome.records[1], "cursorOpenedBy"), Some(&bytes(find)));
    assert_eq!(field(&outcome.records[2], "cursorOpenedBy"), Some(&Value::Text("unknown".into())));
    assert_eq!(field(&outcome.records[0], "cursorID"), Some(&Value::Number(77)));
    assert_eq!(field(&outcome.records[0], "collection"), Some(&bytes("orders")));
    assert_eq!(field(&outcome.records[0], "db"), Some(&bytes("shop")));
    assert_eq!(field(&outcome.records[2], "code"), Some(&Value::Number(43)));
    assert_eq!(field(&outcome.records[2], "ok"), Some(&Value::Number(0)));
}

#[test]
fn answers_in_another_order_belong_to_what_they_answer() {
    let steps = [send(ping(1)), send(find(2)), recv(batch([9, 2], "firstBatch", 0, &[])), recv(ok(8, 1))];
    let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        [r#"find shop.orders {"status": "A", "qty": {"$gt": 3}} -> 0 documents"#, "ping admin -> ok"]
    );
}

#[test]
fn documents_in_sequences_are_counted_and_one_change_is_shown() {
    let db = || text("$db", "shop");
    let row = |n| doc(&[int("_id", n)]);
    let change = || doc(&[inner("q", &[int("_id", 7)]), inner("u", &[inner("$set", &[int("n", 1)])])]);
    let n = |ids, more: Vec<u8>| msg(ids, 0, &doc(&[int("n", 1), more, double("ok", 1.0)]), &[]);
    let duplicate = doc(&[int("index", 0), int("code", 11000), text("errmsg", "E11000 duplicate key")]);
    let steps = [
        send(msg(
            [1, 0],
            0,
            &doc(&[text("insert", "orders"), db()]),
            &sequence("documents", &[row(1), row(2), row(3)]),
        )),
        recv(n([11, 1], array("writeErrors", &[duplicate]))),
        // The sequence may stand in front of the body.
        send(message(
            2,
            0,
            2013,
            &[&[0; 4][..], &sequence("updates", &[change()]), &[0], &doc(&[text("update", "orders"), db()])]
                .concat(),
        )),
        recv(n([12, 2], int("nModified", 1))),
        send(msg(
            [3, 0],
            0,
            &doc(&[text("delete", "orders"), array("deletes", &[change(), change()]), db()]),
            &[],
        )),
        recv(n([13, 3], inner("writeConcernError", &[int("code", 64), text("errmsg", "timed out")]))),
    ];
    let outcome = check(
        &steps,
        &[
            "insert shop.orders 3 documents -> n=1, 1 write error: 11000 E11000 duplicate key",
            r#"update shop.orders {"_id": 7} -> n=1, nModified=1"#,
            "delete shop.orders 2 deletes -> n=1, write concern error: 64 timed out",
        ],
    );
    let row = |n| Value::Map(vec![(bytes("_id"), Value::Number(n))]);
    let documents = Value::List(vec![row(1), row(2), row(3)]);
    let expected = Value::Map(vec![(bytes("documents"), documents)]);
    assert_eq!(field(&outcome.records[0], "documentSequences"), Some(&expected));
}

#[test]
fn what_needs_no_answer_is_told_by_itself() {
    let insert = doc(&[text("insert", "log"), text("$db", "shop")]);
    let steps = [
        send(msg([1, 0], 2, &insert, &sequence("documents", &[doc(&[int("a", 1)])]))),
        send(ping(2)),
        recv(ok(9, 2)),
    ];
    let outcome = check(&steps, &["insert shop.log 1 document", "ping admin -> ok"]);
    let flags = Value::List(vec![Value::Text("moreToCome".into())]);
    assert_eq!(field(&outcome.records[0], "flagBits"), Some(&flags));
}

#[test]
fn a_stream_of_answers_says_to_what_it_belongs() {
    let hello = doc(&[int("hello", 1), int("maxAwaitTimeMS", 10_000), text("$db", "admin")]);
    let answer = |ids, flags| msg(ids, flags, &doc(&[double("ok", 1.0)]), &[]);
    let steps = [
        send(msg([5, 0], 1 << 16, &hello, &[])),
        recv(answer([50, 5], 2)),
        recv(answer([51, 50], 2)),
        recv(answer([52, 51], 0)),
    ];
    let outcome =
        check(&steps, &["hello admin -> ok", "hello admin (exhaust) -> ok", "hello admin (exhaust) -> ok"]);
    assert_eq!(field(&outcome.records[1], "exhaustOf"), Some(&bytes("hello admin")));
    assert_eq!(field(&outcome.records[1], "exhaustAllowed"), None);
}

#[test]
fn checksums_are_checked() {
    // The CRC-32C (Castagnoli) of "123456789" is the check value of the catalogue of parametrised CRC algorithms.
    assert_eq!(super::super::CHECKSUM.checksum(b"123456789"), 0xe306_9283);
    let mut right = msg([1, 0], 1, &doc(&[int("ping", 1), text("$db", "admin")]), &[0; 4]);
    let end = right.len() - 4;
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&right[..end]);
    right[end..].copy_from_slice(&sum.to_le_bytes());
    let mut wrong = right.clone();
    wrong[4] = 2;
    let outcome = check(
        &[send(right), recv(ok(9, 1)), send(wrong), recv(ok(10, 2))],
        &["ping admin -> ok", "ping admin -> ok"],
    );
    let words = outcome.records.iter().map(|record| field(record, "checksum").cloned());
    let expected = ["right", "wrong"].map(|word| Some(Value::Text(word.into())));
    assert_eq!(words.collect::<Vec<_>>(), expected);
}

/// A login, and users: everything that lets somebody in.
fn secrets() -> Vec<Step> {
    let db = || text("$db", "admin");
    let payload = || binary("payload", b"s3cret");
    let login = inner("speculativeAuthenticate", &[int("saslStart", 1), payload()]);
    let credentials = inner("credentials", &[inner("SCRAM-SHA-256", &[text("storedKey", "s3cret")])]);
    vec![
        send(msg([1, 0], 0, &doc(&[int("hello", 1), login, db()]), &[])),
        recv(msg(
            [11, 1],
            0,
            &doc(&[inner("speculativeAuthenticate", &[payload()]), double("ok", 1.0)]),
            &[],
        )),
        send(msg([2, 0], 0, &doc(&[int("saslContinue", 1), payload(), db()]), &[])),
        recv(msg([12, 2], 0, &doc(&[int("conversationId", 1), payload(), double("ok", 1.0)]), &[])),
        send(msg([3, 0], 0, &doc(&[text("createUser", "bob"), text("pwd", "s3cret"), db()]), &[])),
        recv(ok(13, 3)),
        send(msg([4, 0], 0, &doc(&[int("authenticate", 1), text("key", "s3cret"), db()]), &[])),
        recv(ok(14, 4)),
        send(msg([5, 0], 0, &doc(&[text("usersInfo", "bob"), db()]), &[])),
        recv(msg([15, 5], 0, &doc(&[array("users", &[doc(&[credentials])]), double("ok", 1.0)]), &[])),
    ]
}

#[test]
fn secrets_are_masked_unless_asked_for() {
    let outcome = check(
        &secrets(),
        &[
            "hello admin -> ok",
            "saslContinue admin -> ok",
            "createUser admin bob -> ok",
            "authenticate admin -> ok",
            "usersInfo admin bob -> ok",
        ],
    );
    let shown = format!("{:?}", outcome.records);
    let secret = format!("{:?}", b"s3cret").replace(['[', ']'], "");
    assert!(!shown.contains(&secret) && !shown.contains("s3cret") && !shown.contains("czNjcmV0"));
    assert_eq!(shown.matches("\"***\"").count(), 7);
    let options = Options { show_secrets: true, ..setup().options };
    let shown = format!("{:?}", run(&PROTOCOL, &secrets(), Setup { options, ..setup() }).records);
    assert_eq!(shown.matches("czNjcmV0").count() + shown.matches(&secret).count(), 7);
}

#[test]
fn what_users_store_is_not_masked() {
    let row = doc(&[text("payload", "mine"), text("key", "k"), text("pwd", "p")]);
    let steps = [
        send(msg([1, 0], 0, &doc(&[text("insert", "t"), text("$db", "d")]), &sequence("documents", &[row]))),
        recv(ok(2, 1)),
    ];
    assert!(!format!("{:?}", check(&steps, &["insert d.t 1 document -> ok"]).records).contains("***"));
}

#[test]
fn without_fields_only_what_is_in_the_line_is_kept() {
    let outcome = run(&PROTOCOL, &secrets(), Setup::default());
    assert!(outcome.records.iter().all(|record| field(record, "body").is_none()));
    assert!(outcome.records.iter().all(|record| record.causes().is_empty()));
}

#[test]
fn a_gap_takes_only_the_messages_in_it() {
    let first = find(1);
    let rest = u64::try_from(first.len() - 40).expect("a length");
    let steps = [
        send(&first[..40]),
        Step::Gap(Direction::Send, rest, Cause::RingFull),
        send(ping(2)),
        recv(ok(11, 1)),
        recv(ok(12, 2)),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries(), ["find -> ok [truncated]", "ping admin -> ok"]);
    assert_eq!(outcome.records[0].causes(), [Cause::RingFull]);
    // The whole answer is lost, and the header of the next one.
    let lost = u64::try_from(ok(11, 1).len() + 10).expect("a length");
    let steps = [
        send(ping(1)),
        send(ping(2)),
        send(ping(3)),
        Step::Gap(Direction::Recv, lost, Cause::RingFull),
        recv([&ok(12, 2)[10..], &ok(13, 3)].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        ["ping admin -> ok", "ping admin [no-response]", "ping admin [no-response]"]
    );
    assert_eq!(outcome.records[1].causes(), [Cause::RingFull, Cause::NoResponse]);
}

#[test]
fn a_document_longer_than_what_is_kept_is_counted_as_far_as_it_was_looked_at() {
    let rows: Vec<Vec<u8>> =
        (0..40).map(|n| doc(&[int("_id", n), text("x", &"y".repeat(100_000))])).collect();
    let insert = doc(&[text("insert", "big"), text("$db", "d")]);
    let steps = [send(msg([1, 0], 0, &insert, &sequence("documents", &rows))), recv(ok(2, 1))];
    let outcome = run_in_cuts_briefly(&steps);
    assert_eq!(outcome.summaries(), ["insert d.big 11+ documents -> ok"]);
    assert_eq!(outcome.records[0].causes(), [Cause::FieldTruncated]);
}

/// Pieces of the size of a segment: by bytes it would take minutes.
fn run_in_cuts_briefly(steps: &[Step]) -> Outcome {
    let pieces = crate::protocol::testing::cut(steps, || 1460);
    let outcome = run(&PROTOCOL, &pieces, setup());
    let whole = run(&PROTOCOL, steps, setup());
    assert_eq!(outcome.summaries(), whole.summaries());
    outcome
}
