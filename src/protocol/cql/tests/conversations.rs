//! Requests and answers of each kind.

use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::testing::run;

/// `<metadata>` of one table: a column `id int` and a column `name varchar`.
fn two_columns() -> Vec<u8> {
    let columns = [&string("id")[..], &[0, 9], &string("name"), &[0, 0x0d]].concat();
    [&[0, 0, 0, 1, 0, 0, 0, 2][..], &string("shop"), &string("orders"), &columns].concat()
}

fn rows(metadata: &[u8], rows: &[[Vec<u8>; 2]]) -> Vec<u8> {
    let count = u32::try_from(rows.len()).expect("few").to_be_bytes();
    let content = rows.concat().concat();
    [&[0, 0, 0, 2][..], metadata, &count, &content].concat()
}

#[test]
fn a_session_from_its_beginning() {
    let options = [&[0, 1][..], &string("CQL_VERSION"), &[0, 1], &string("3.4.5")].concat();
    let event =
        [&string("STATUS_CHANGE")[..], &string("UP"), &[4, 10, 0, 0, 7], &9042u32.to_be_bytes()].concat();
    let changed = ["CREATED", "TABLE", "shop", "orders"].map(string).concat();
    let schema = [string("SCHEMA_CHANGE"), changed.clone()].concat();
    let register = [&[0, 2][..], &string("STATUS_CHANGE"), &string("SCHEMA_CHANGE")].concat();
    let row = [value(&7i32.to_be_bytes()), value(b"seven")];
    let none = [value(&8i32.to_be_bytes()), (-1i32).to_be_bytes().to_vec()];
    let steps = [
        send(envelope(4, 0, 0, 5, &[])),
        recv(envelope(0x84, 0, 0, 6, &options)),
        send(startup(4, None)),
        recv(ready(4)),
        send(envelope(4, 0, 1, 0x0b, &register)),
        recv(envelope(0x84, 0, 1, 2, &[])),
        send(query(2, "USE shop")),
        recv(envelope(0x84, 0, 2, 8, &[&[0, 0, 0, 3][..], &string("shop")].concat())),
        send(query(3, "CREATE TABLE orders (\n  id int PRIMARY KEY, name text)")),
        recv(envelope(0x84, 0, 3, 8, &[&[0, 0, 0, 5][..], &changed].concat())),
        recv(envelope(0x84, 0, -1, 0x0c, &schema)),
        recv(envelope(0x84, 0, -1, 0x0c, &event)),
        // Two at once, answered in the other order.
        send([query(4, "INSERT INTO orders (id) VALUES (1)"), query(5, "SELECT * FROM orders")].concat()),
        recv([envelope(0x84, 0, 5, 8, &rows(&two_columns(), &[row, none])), void(4)].concat()),
    ];
    let outcome = check(
        &steps,
        &[
            "OPTIONS -> SUPPORTED",
            "STARTUP CQL 3.0.0 -> READY",
            "REGISTER STATUS_CHANGE, SCHEMA_CHANGE -> READY",
            "USE shop -> keyspace shop",
            "CREATE TABLE orders ( id int PRIMARY KEY, name text) -> CREATED TABLE shop.orders",
            "EVENT SCHEMA_CHANGE CREATED TABLE shop.orders",
            "EVENT STATUS_CHANGE UP 10.0.0.7:9042",
            "SELECT * FROM orders -> 2 rows",
            "INSERT INTO orders (id) VALUES (1) -> void",
        ],
    );
    let select = &outcome.records[7];
    let columns = Value::List(vec![bytes("id int"), bytes("name varchar")]);
    assert_eq!(field(select, "columns"), Some(&columns));
    let row = |id, name| Value::Map(vec![(bytes("id"), Value::Number(id)), (bytes("name"), name)]);
    let rows = Value::List(vec![row(7, bytes("seven")), row(8, Value::Null)]);
    assert_eq!(field(select, "rows"), Some(&rows));
    assert_eq!(field(select, "consistency"), Some(&word("ONE")));
    assert_eq!(field(select, "table"), Some(&bytes("orders")));
}

/// PREPARE of an INSERT with two variables, and its answer.
fn prepared(version: u8) -> [Step; 2] {
    let id = [&[0, 2][..], b"\xab\xcd"].concat();
    let metadata_id = if version >= 5 { [&[0, 1][..], b"m"].concat() } else { Vec::new() };
    // From v4 on there are the indexes of the partition key: here one, which is 0.
    let keys: &[u8] = if version >= 4 { &[0, 0, 0, 1, 0, 0] } else { &[] };
    let described = two_columns();
    let (numbers, columns) = described.split_at(8);
    let none = [0, 0, 0, 4, 0, 0, 0, 0];
    let answer = [&[0, 0, 0, 4][..], &id, &metadata_id, numbers, keys, columns, &none].concat();
    let flags: &[u8] = if version >= 5 { &[0, 0, 0, 0] } else { &[] };
    let ask = [&long_string("INSERT INTO orders (id, name) VALUES (?, ?)")[..], flags].concat();
    [send(envelope(version, 0, 9, 9, &ask)), recv(envelope(version | 0x80, 0, 9, 8, &answer))]
}

fn execute(version: u8, stream: i16, id: &[u8; 2]) -> Step {
    let values = [&[0, 2][..], &value(&7i32.to_be_bytes()), &value(b"seven")].concat();
    let metadata_id = if version >= 5 { [&[0, 1][..], b"m"].concat() } else { Vec::new() };
    let flags: &[u8] = if version >= 5 { &[0, 0, 0, 0x21] } else { &[0x21] };
    let time = 1_700_000_000_000_000i64.to_be_bytes();
    let body = [&[0, 2][..], id, &metadata_id, &[0, 6], flags, &values, &time].concat();
    send(envelope(version, 0, stream, 0x0a, &body))
}

#[test]
fn prepared_statements_have_their_text_in_every_version() {
    for version in [3, 4, 5] {
        let [ask, answer] = prepared(version);
        let done = |stream| recv(envelope(version | 0x80, 0, stream, 8, &[0, 0, 0, 1]));
        let steps = [
            ask,
            answer,
            execute(version, 1, b"\xab\xcd"),
            done(1),
            execute(version, 2, b"\xff\xff"),
            done(2),
        ];
        let outcome = check(
            &steps,
            &[
                "PREPARE INSERT INTO orders (id, name) VALUES (?, ?) -> prepared, 2 variables",
                "INSERT INTO orders (id, name) VALUES (?, ?) [7, 'seven'] -> void",
                "EXECUTE ffff (statement unknown) [0x00000007, 'seven'] -> void",
            ],
        );
        let values = Value::List(vec![
            Value::Map(vec![(bytes("id"), Value::Number(7))]),
            Value::Map(vec![(bytes("name"), bytes("seven"))]),
        ]);
        assert_eq!(field(&outcome.records[1], "values"), Some(&values));
        assert_eq!(field(&outcome.records[1], "consistency"), Some(&word("LOCAL_QUORUM")));
        assert_eq!(field(&outcome.records[1], "timestamp"), Some(&Value::Number(1_700_000_000_000_000)));
        assert_eq!(field(&outcome.records[2], "statement"), Some(&word("unknown")));
        assert_eq!(field(&outcome.records[2], "id"), Some(&word("ffff")));
    }
}

#[test]
fn rows_without_a_description_have_that_of_the_prepared_statement() {
    let id = [&[0, 2][..], b"\xab\xcd"].concat();
    let nothing = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let answer = [&[0, 0, 0, 4][..], &id, &nothing, &two_columns()].concat();
    let without = [0, 0, 0, 4, 0, 0, 0, 2];
    let row = [value(&7i32.to_be_bytes()), value(b"seven")];
    let execute = |id: &[u8]| [&[0, 2][..], id, &[0, 1, 2]].concat();
    let steps = [
        send(envelope(4, 0, 1, 9, &long_string("SELECT * FROM orders"))),
        recv(envelope(0x84, 0, 1, 8, &answer)),
        send(envelope(4, 0, 1, 0x0a, &execute(b"\xab\xcd"))),
        recv(envelope(0x84, 0, 1, 8, &rows(&without, std::slice::from_ref(&row)))),
        send(envelope(4, 0, 1, 0x0a, &execute(b"\x01\x02"))),
        recv(envelope(0x84, 0, 1, 8, &rows(&without, &[row]))),
    ];
    let outcome = check(
        &steps,
        &[
            "PREPARE SELECT * FROM orders -> prepared, 0 variables",
            "SELECT * FROM orders -> 1 row",
            "EXECUTE 0102 (statement unknown) -> 1 row",
        ],
    );
    let row = |id| Value::List(vec![Value::Map(vec![(bytes("id"), id), (bytes("name"), bytes("seven"))])]);
    assert_eq!(field(&outcome.records[1], "rows"), Some(&row(Value::Number(7))));
    assert_eq!(field(&outcome.records[2], "columns"), Some(&word("unknown")));
}

#[test]
fn batches_tell_their_statements() {
    let [ask, answer] = prepared(4);
    let values = [&[0, 2][..], &value(&7i32.to_be_bytes()), &(-2i32).to_be_bytes()].concat();
    let body = [
        &[1, 0, 3, 0][..],
        &long_string("DELETE FROM orders WHERE id = 1"),
        &[0, 0, 1, 0, 2, 0xab, 0xcd],
        &values,
        &[1, 0, 2, 0xff, 0xff, 0, 0],
        // LOCAL_QUORUM, a serial consistency.
        &[0, 6, 0x10, 0, 8],
    ]
    .concat();
    let steps = [ask, answer, send(envelope(4, 0, 1, 0x0d, &body)), recv(void(1))];
    let outcome = check(
        &steps,
        &[
            "PREPARE INSERT INTO orders (id, name) VALUES (?, ?) -> prepared, 2 variables",
            "BATCH UNLOGGED 3 statements: DELETE FROM orders WHERE id = 1 -> void",
        ],
    );
    let Some(Value::List(queries)) = field(&outcome.records[1], "queries") else { panic!("no queries") };
    let insert = Value::Map(vec![
        (word("query"), bytes("INSERT INTO orders (id, name) VALUES (?, ?)")),
        (
            word("values"),
            Value::List(vec![
                Value::Map(vec![(bytes("id"), Value::Number(7))]),
                Value::Map(vec![(bytes("name"), word("not set"))]),
            ]),
        ),
    ]);
    assert_eq!(queries[1], insert);
    let unknown = Value::Map(vec![
        (word("id"), bytes("ffff (statement unknown)")),
        (word("statement"), word("unknown")),
    ]);
    assert_eq!(queries[2], unknown);
    assert_eq!(field(&outcome.records[1], "serial_consistency"), Some(&word("SERIAL")));
}

#[test]
fn errors_are_named_and_their_details_shown() {
    let error =
        |code: u32, message: &str, more: &[u8]| [&code.to_be_bytes()[..], &string(message), more].concat();
    let numbers = [&[0, 4][..], &3u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
    let written = [&numbers[..], &string("SIMPLE")].concat();
    let steps = [
        send(query(1, "SELEC")),
        recv(envelope(0x84, 0, 1, 0, &error(0x2000, "line 1:0 no viable alternative", &[]))),
        send(query(1, "SELECT 1")),
        recv(envelope(0x84, 0, 1, 0, &error(0x1000, "Cannot achieve consistency", &numbers))),
        send(query(1, "SELECT 2")),
        recv(envelope(0x84, 0, 1, 0, &error(0x1100, "timed out", &written))),
        send(query(1, "SELECT 3")),
        recv(envelope(0x84, 0, 1, 0, &error(0x2500, "unprepared", &[0, 2, 0xab, 0xcd]))),
        send(query(1, "SELECT 4")),
        recv(envelope(0x84, 0, 1, 0, &error(0x9999, "new", &[]))),
    ];
    let outcome = check(
        &steps,
        &[
            "SELEC -> ERROR 0x2000 Syntax_error: line 1:0 no viable alternative",
            "SELECT 1 -> ERROR 0x1000 Unavailable: Cannot achieve consistency",
            "SELECT 2 -> ERROR 0x1100 Write_timeout: timed out",
            "SELECT 3 -> ERROR 0x2500 Unprepared: unprepared",
            "SELECT 4 -> ERROR 0x9999 unknown: new",
        ],
    );
    assert_eq!(field(&outcome.records[1], "required"), Some(&Value::Number(3)));
    assert_eq!(field(&outcome.records[2], "write_type"), Some(&bytes("SIMPLE")));
    assert_eq!(field(&outcome.records[3], "id"), Some(&word("abcd")));
}

#[test]
fn warnings_tracing_and_custom_payload_stand_in_front() {
    let front = [&[0x11; 16][..], &[0, 1], &string("careful"), &[0, 1], &string("k"), &value(b"v")].concat();
    let ask = [&[0, 1][..], &string("k"), &value(b"v"), &long_string("SELECT 1"), &[0, 1, 0]].concat();
    let steps = [
        send(envelope(4, 0x06, 1, 7, &ask)),
        recv(envelope(0x84, 0x0e, 1, 8, &[&front[..], &[0, 0, 0, 1]].concat())),
    ];
    let outcome = check(&steps, &["SELECT 1 -> void"]);
    assert_eq!(field(&outcome.records[0], "tracing_id"), Some(&word("11111111-1111-1111-1111-111111111111")));
    assert_eq!(field(&outcome.records[0], "warnings"), Some(&Value::List(vec![bytes("careful")])));
    assert_eq!(
        field(&outcome.records[0], "custom_payload"),
        Some(&Value::Map(vec![(bytes("k"), bytes("v"))]))
    );
}

#[test]
fn secrets_are_masked_unless_asked_for() {
    let class = string("org.apache.cassandra.auth.PasswordAuthenticator");
    let steps = [
        send(startup(4, None)),
        recv(envelope(0x84, 0, 0, 3, &class)),
        send(envelope(4, 0, 0, 0x0f, &value(b"\0me\0s3cret"))),
        recv(envelope(0x84, 0, 0, 0x0e, &value(b"s3cret"))),
        send(envelope(4, 0, 0, 0x0f, &value(b"s3cret"))),
        recv(envelope(0x84, 0, 0, 0x10, &value(b"s3cret"))),
        send(query(1, "ALTER ROLE me WITH PASSWORD = 's3cret'")),
        recv(void(1)),
    ];
    let outcome = check(
        &steps,
        &[
            "STARTUP CQL 3.0.0 -> AUTHENTICATE PasswordAuthenticator",
            "AUTH_RESPONSE -> AUTH_CHALLENGE",
            "AUTH_RESPONSE -> AUTH_SUCCESS",
            "ALTER ROLE me WITH PASSWORD = '***' -> void",
        ],
    );
    let secret = format!("{:?}", b"s3cret").replace(['[', ']'], "");
    let shown = format!("{:?}", outcome.records);
    assert!(!shown.contains("s3cret") && !shown.contains(&secret));
    let options = Options { show_secrets: true, ..setup().options };
    let shown = format!("{:?}", run(&PROTOCOL, &steps, Setup { options, ..setup() }).records);
    assert_eq!(shown.matches(&secret).count(), 5);
}

#[test]
fn what_is_lost_is_no_response_and_nothing_else() {
    let lost = u64::try_from(void(1).len() + 4).expect("a length");
    let steps = [
        &joined(None)[..],
        &[
            send([query(1, "SELECT 1"), query(2, "SELECT 2"), query(3, "SELECT 3")].concat()),
            Step::Gap(Direction::Recv, lost, Cause::RingFull),
            recv([&void(2)[4..], &void(3)].concat()),
            // A stream that is used again had its answer.
            send(query(1, "SELECT 4")),
            recv(void(1)),
        ],
    ]
    .concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries()[1..],
        ["SELECT 3 -> void", "SELECT 1 [no-response]", "SELECT 4 -> void", "SELECT 2 [no-response]"]
    );
    assert_eq!(outcome.records[2].causes(), [Cause::RingFull, Cause::NoResponse]);
}

#[test]
fn a_body_of_any_size_passes_in_part() {
    let text = "x".repeat(3 << 20);
    let steps = [send(query(1, &format!("INSERT INTO t (a) VALUES ('{text}')"))), recv(void(1))];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records[0].causes(), [Cause::FieldTruncated]);
    assert!(outcome.records[0].summary.starts_with("QUERY"), "{}", &outcome.records[0].summary[..40]);
}

#[test]
fn what_is_shorter_than_it_says_is_told() {
    let steps = [send(envelope(4, 0, 1, 7, &[0, 0, 1, 0, b'S'])), recv(void(1))];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records[0].causes(), [Cause::ParseError]);
}
