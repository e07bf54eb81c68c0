//! What client and server say to each other, and the records of it.

use super::*;
use crate::record::Status;

fn one_row() -> Vec<u8> {
    [columns(&["a"]), row(&[Some(b"1")])].concat()
}

#[test]
fn a_login_by_scram_is_three_steps() {
    let steps = [
        send(packet(80_877_103, &[])),
        recv("N"),
        send(startup("user\0zeek\0database\0zeek\0application_name\0psql\0\0")),
        recv(auth(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")),
        send(msg(b'p', b"SCRAM-SHA-256\0\x00\x00\x00\x08n,,n=,r=")),
        recv(auth(11, b"r=abc,s=c2FsdA==,i=4096")),
        send(msg(b'p', b"c=biws,r=abc,p=proof")),
        recv(
            [
                auth(12, b"v=signature"),
                auth(0, &[]),
                msg(b'S', "server_version\x0015.18\0"),
                msg(b'S', "TimeZone\0UTC\0"),
                msg(b'K', [0, 0, 0, 9, 1, 2, 3, 4]),
                ready('I'),
            ]
            .concat(),
        ),
        send(msg(b'X', "")),
    ];
    let outcome = converse(&steps);
    let expected = [
        "SSLRequest -> N (refused)",
        "StartupMessage user=zeek database=zeek -> AuthenticationSASL (SCRAM-SHA-256-PLUS, SCRAM-SHA-256)",
        "SASLInitialResponse SCRAM-SHA-256 -> AuthenticationSASLContinue",
        "SASLResponse -> AuthenticationOk",
        "Terminate",
    ];
    assert_eq!(outcome.summaries(), expected);
    let [_, first, _, last, _] = outcome.records.as_slice() else { panic!("five records") };
    assert_eq!(text(first, "protocol_version"), "3.0");
    let parameters = [("user", "zeek"), ("database", "zeek"), ("application_name", "psql")];
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let map = |pairs: &[(&str, &str)]| {
        Some(Value::Map(pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()))
    };
    assert_eq!(field(first, "parameters").cloned(), map(&parameters));
    let status = [("server_version", "15.18"), ("TimeZone", "UTC")];
    assert_eq!(field(last, "parameter_status").cloned(), map(&status));
    assert_eq!((text(last, "process_id"), text(last, "transaction_status")), ("9".into(), "idle".into()));
}

#[test]
fn logins_by_password_and_refused_ones() {
    let steps = [
        send(startup("user\0me\0\0")),
        recv(auth(5, &[1, 2, 3, 4])),
        send(msg(b'p', "md5abc\0")),
        recv(error("FATAL", "28P01", "password authentication failed for user \"me\"")),
    ];
    let expected = [
        "StartupMessage user=me -> AuthenticationMD5Password",
        "PasswordMessage -> FATAL 28P01 password authentication failed for user \"me\"",
    ];
    assert_eq!(converse(&steps).summaries(), expected);
    let steps =
        [send(startup("user\0me\0\0")), recv(error("FATAL", "53300", "sorry, too many clients already"))];
    let expected = ["StartupMessage user=me -> FATAL 53300 sorry, too many clients already"];
    assert_eq!(converse(&steps).summaries(), expected);
}

#[test]
fn a_newer_protocol_is_negotiated() {
    let steps = [
        send(packet(0x0003_0002, b"user\0me\0_pq_.x\x001\0\0")),
        recv(
            [
                msg(b'v', [&[0, 3, 0, 0, 0, 0, 0, 1][..], b"_pq_.x\0"].concat()),
                auth(0, &[]),
                // A key of 32 bytes is of protocol 3.2.
                msg(b'K', [&[0, 0, 0, 9][..], &[7; 32]].concat()),
                ready('I'),
            ]
            .concat(),
        ),
        send(packet(80_877_102, &[&[0, 0, 0, 9][..], &[7; 32]].concat())),
    ];
    let outcome = converse(&steps[..2]);
    let expected = ["StartupMessage user=me -> protocol 3.0 at most; AuthenticationOk"];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(text(&outcome.records[0], "protocol_version"), "3.2");
    assert_eq!(converse(&steps[2..]).summaries(), ["CancelRequest for process 9"]);
}

#[test]
fn behind_a_yes_comes_something_else() {
    for (code, letter, name) in [(80_877_103, "S", "TLS"), (80_877_104, "G", "GSSAPI encryption")] {
        let steps =
            [send(packet(code, &[])), recv(letter), send("\x16\x03\x01\x00\x01x"), recv("\x16\x03\x01")];
        let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
        run_damaged(&PROTOCOL, &steps, setup());
        assert_eq!(outcome.switched.as_deref(), Some(name));
        let request = if letter == "S" { "SSLRequest" } else { "GSSENCRequest" };
        assert_eq!(outcome.summaries(), [format!("{request} -> {letter} ({name} follows)")]);
    }
    // Refused, asked for the other, refused by a server that does not know what is asked.
    let steps = [
        send(packet(80_877_104, &[])),
        recv("N"),
        send(packet(80_877_103, &[])),
        recv(error("FATAL", "0A000", "unsupported frontend protocol 1234.5679")),
    ];
    let expected =
        ["GSSENCRequest -> N (refused)", "SSLRequest -> FATAL 0A000 unsupported frontend protocol 1234.5679"];
    assert_eq!(converse(&steps).summaries(), expected);
}

#[test]
fn a_query_with_several_statements_is_one_record() {
    let steps = [
        send(query("SELECT 1; INSERT INTO t\n  VALUES (2);;SELECT 3")),
        recv(
            [
                one_row(),
                done("SELECT 1"),
                done("INSERT 0 1"),
                columns(&["a", "b"]),
                row(&[Some(b"x"), None]),
                row(&[Some(b"y"), Some(b"")]),
                done("SELECT 2"),
                ready('T'),
            ]
            .concat(),
        ),
        send(query("")),
        recv([bare("I"), ready('T')].concat()),
    ];
    let outcome = check(
        &steps,
        &[
            "SELECT 1; INSERT INTO t VALUES (2);;SELECT 3 -> 1 row (SELECT 1); INSERT 0 1; 2 rows (SELECT 2)",
            "(empty query) -> empty query",
        ],
    );
    let Some(Value::List(results)) = field(&outcome.records[0], "results") else { panic!("results") };
    assert_eq!(results.len(), 3);
    let Value::Map(last) = &results[2] else { panic!("a result") };
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let rows = Value::List(vec![
        Value::List(vec![bytes("x"), Value::Null]),
        Value::List(vec![bytes("y"), bytes("")]),
    ]);
    assert!(last.contains(&(Value::Text("values".into()), rows)), "{last:?}");
    assert_eq!(text(&outcome.records[0], "transaction_status"), "in transaction");
}

#[test]
fn errors_and_notices_are_told() {
    let notice = msg(b'N', "SNOTICE\0VNOTICE\0C00000\0Mtable \"t\" does not exist, skipping\0\0");
    let steps = [
        send(query("SELECT x")),
        recv([error("ERROR", "42P01", "relation \"x\" does not exist"), ready('E')].concat()),
        send(query("DROP TABLE IF EXISTS t")),
        recv([notice.clone(), done("DROP TABLE"), ready('I')].concat()),
        recv(notice),
        recv(msg(b'S', "TimeZone\0UTC\0")),
        recv(error("FATAL", "57P01", "terminating connection due to administrator command")),
    ];
    let outcome = check(
        &steps,
        &[
            "SELECT x -> ERROR 42P01 relation \"x\" does not exist",
            "DROP TABLE IF EXISTS t -> DROP TABLE; NOTICE 00000 table \"t\" does not exist, skipping",
            "NOTICE 00000 table \"t\" does not exist, skipping",
            "ParameterStatus TimeZone=UTC",
            "FATAL 57P01 terminating connection due to administrator command",
        ],
    );
    assert_eq!(text(&outcome.records[0], "sqlstate"), "42P01");
    assert_eq!(text(&outcome.records[0], "severity"), "ERROR");
    assert!(outcome.records[2].request.is_none());
}

#[test]
fn notifications_come_alone_or_before_the_answer_ends() {
    let notification = msg(b'A', b"\x00\x00\x00\x07rules\0hot\0");
    let steps = [
        recv(notification.clone()),
        send(query("NOTIFY rules, 'hot'")),
        recv([done("NOTIFY"), notification, ready('I')].concat()),
    ];
    check(
        &steps,
        &[
            "NotificationResponse \"rules\" \"hot\" from process 7",
            "NOTIFY rules, 'hot' -> NOTIFY; NotificationResponse \"rules\" \"hot\" from process 7",
        ],
    );
}

#[test]
fn an_execution_names_its_statement_and_parameters() {
    let steps = [
        // Prepared, described and executed at once.
        send(
            [
                parse("", "SELECT * FROM t WHERE id = $1 AND n = $2", &[23, 25]),
                bind("", "", 1, &[Some(&[0, 0, 0, 7]), Some(b"abc")]),
                describe('P', ""),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ),
        recv([bare("12"), one_row(), row(&[None]), done("SELECT 2"), ready('I')].concat()),
        // Prepared, with types told by the server; executed later, without a description.
        send([parse("s1", "UPDATE t SET a = $1", &[]), describe('S', "s1"), sync()].concat()),
        recv([bare("1"), msg(b't', [0, 1, 0, 0, 0, 20]), bare("n"), ready('I')].concat()),
        send([bind("", "s1", 1, &[Some(&[0, 0, 0, 0, 0, 0, 0, 5])]), execute("", 0), sync()].concat()),
        recv([bare("2"), done("UPDATE 1"), ready('I')].concat()),
        send([close('S', "s1"), sync()].concat()),
        recv([bare("3"), ready('I')].concat()),
        send([bind("", "s1", 0, &[None]), execute("", 0), sync()].concat()),
        recv([error("ERROR", "26000", "prepared statement \"s1\" does not exist"), ready('I')].concat()),
    ];
    let outcome = check(
        &steps,
        &[
            "SELECT * FROM t WHERE id = $1 AND n = $2 [7, 'abc'] -> 2 rows (SELECT 2)",
            "Parse \"s1\" UPDATE t SET a = $1, Describe statement \"s1\" -> ParseComplete; NoData",
            "UPDATE t SET a = $1 [5] -> UPDATE 1",
            "Close statement \"s1\" -> CloseComplete",
            "unknown statement \"s1\" [NULL] -> ERROR 26000 prepared statement \"s1\" does not exist",
        ],
    );
    let [first, second, third, _, last] = outcome.records.as_slice() else { panic!("five records") };
    assert_eq!(text(first, "type"), "Execute");
    let parameters = Value::List(vec![Value::Number(7), Value::Bytes(b"abc".to_vec())]);
    assert_eq!(field(first, "parameters"), Some(&parameters));
    assert_eq!(text(first, "rows"), "2");
    assert_eq!(field(second, "parameter_types"), Some(&Value::List(vec![Value::Number(20)])));
    assert_eq!(
        (text(third, "statement_name"), text(third, "query")),
        ("s1".into(), "UPDATE t SET a = $1".into())
    );
    assert_eq!(text(last, "statement"), "unknown");
}

#[test]
fn a_portal_is_read_in_parts() {
    let steps = [
        send([parse("", "SELECT $1", &[]), bind("c", "", 0, &[Some(b"x")]), flush()].concat()),
        recv(bare("12")),
        send([execute("c", 1), flush()].concat()),
        recv([row(&[Some(b"x")]), bare("s")].concat()),
        send([execute("c", 0), close('P', "c"), sync()].concat()),
        recv([done("SELECT 0"), bare("3"), ready('I')].concat()),
    ];
    let outcome = check(
        &steps,
        &[
            "Parse SELECT $1, Bind \"\" -> ParseComplete; BindComplete",
            "SELECT $1 ['x'] -> 1 row (portal suspended)",
            "SELECT $1 ['x'] -> 0 rows (SELECT 0)",
            "Close portal \"c\" -> CloseComplete",
        ],
    );
    assert_eq!(text(&outcome.records[1], "max_rows"), "1");
    assert_eq!(text(&outcome.records[1], "portal"), "c");
}

#[test]
fn pipelined_executions_are_paired_in_order_and_an_error_skips_to_the_sync() {
    let one = |value: &[u8]| [bind("", "s", 0, &[Some(value)]), execute("", 0)].concat();
    let steps = [
        send([parse("s", "SELECT $1", &[]), sync()].concat()),
        recv([bare("1"), ready('I')].concat()),
        send([one(b"1"), one(b"2"), sync(), one(b"3"), sync()].concat()),
        recv([bare("2"), row(&[Some(b"1")]), done("SELECT 1")].concat()),
        recv([bare("2"), row(&[Some(b"2")]), done("SELECT 1"), ready('I')].concat()),
        recv([bare("2"), row(&[Some(b"3")]), done("SELECT 1"), ready('I')].concat()),
        send([one(b"4"), one(b"5"), one(b"6"), sync(), one(b"7"), sync()].concat()),
        recv([bare("2"), done("SELECT 0"), error("ERROR", "22012", "division by zero"), ready('I')].concat()),
        recv([bare("2"), done("SELECT 0"), ready('I')].concat()),
    ];
    let outcome = check(
        &steps,
        &[
            "Parse \"s\" SELECT $1 -> ParseComplete",
            "SELECT $1 [1] -> 1 row (SELECT 1)",
            "SELECT $1 [2] -> 1 row (SELECT 1)",
            "SELECT $1 [3] -> 1 row (SELECT 1)",
            "SELECT $1 [4] -> 0 rows (SELECT 0)",
            "SELECT $1 [5] -> ERROR 22012 division by zero",
            "SELECT $1 [6] (passed over after an error) -> ReadyForQuery (idle)",
            "SELECT $1 [7] -> 0 rows (SELECT 0)",
        ],
    );
    assert!(outcome.records.iter().all(|record| record.status == Status::Complete));
}

#[test]
fn what_comes_behind_an_error_before_the_sync_is_passed_over() {
    let steps = [
        send([parse("a", "SELEC", &[]), describe('S', "a"), flush()].concat()),
        recv(error("ERROR", "42601", "syntax error at or near \"SELEC\"")),
        send([bind("", "a", 0, &[]), execute("", 0), flush()].concat()),
        send(sync()),
        recv(ready('I')),
        send([bind("", "a", 0, &[]), execute("", 0), sync()].concat()),
        recv([error("ERROR", "26000", "prepared statement \"a\" does not exist"), ready('I')].concat()),
    ];
    check(
        &steps,
        &[
            "Parse \"a\" SELEC, Describe statement \"a\" -> ERROR 42601 syntax error at or near \"SELEC\"",
            "unknown statement \"a\" (passed over after an error)",
            "Flush (passed over after an error)",
            "Sync (passed over after an error) -> ReadyForQuery (idle)",
            "unknown statement \"a\" -> ERROR 26000 prepared statement \"a\" does not exist",
        ],
    );
}

#[test]
fn copies_are_counted() {
    let asks = |kind| msg(kind, [0, 0, 1, 0, 0]);
    let steps = [
        send(query("COPY t FROM STDIN")),
        recv(asks(b'G')),
        send([msg(b'd', "1\n2\n"), msg(b'd', "3\n"), msg(b'c', "")].concat()),
        recv([done("COPY 3"), ready('I')].concat()),
        send(query("COPY t TO STDOUT")),
        recv(
            [asks(b'H'), msg(b'd', "1\n"), msg(b'd', "22\n"), bare("c"), done("COPY 2"), ready('I')].concat(),
        ),
        // By the extended protocol: the Sync before the data counts for nothing.
        send([parse("", "COPY t FROM STDIN", &[]), bind("", "", 0, &[]), execute("", 0), sync()].concat()),
        recv([bare("12"), asks(b'G')].concat()),
        send([msg(b'd', "1\n"), msg(b'c', ""), sync()].concat()),
        recv([done("COPY 1"), ready('I')].concat()),
        send(query("COPY t FROM STDIN")),
        recv(asks(b'G')),
        send(msg(b'f', "no more\0")),
        recv([error("ERROR", "57014", "COPY from stdin failed: no more"), ready('I')].concat()),
        // The server refuses while data are on their way.
        send(query("COPY t FROM STDIN")),
        recv(asks(b'G')),
        send(msg(b'd', "bad\n")),
        recv([error("ERROR", "22P02", "invalid input"), ready('I')].concat()),
        send([msg(b'd', "more\n"), msg(b'c', "")].concat()),
        send(query("SELECT")),
        recv([columns(&[]), row(&[]), done("SELECT 1"), ready('I')].concat()),
    ];
    let outcome = check(
        &steps,
        &[
            "COPY t FROM STDIN (2 CopyData, 6 bytes) -> COPY 3",
            "COPY t TO STDOUT -> 2 CopyData, 5 bytes (COPY 2)",
            "COPY t FROM STDIN (1 CopyData, 2 bytes) -> COPY 1",
            "COPY t FROM STDIN -> ERROR 57014 COPY from stdin failed: no more",
            "COPY t FROM STDIN (1 CopyData, 4 bytes) -> ERROR 22P02 invalid input",
            "1 CopyData, 5 bytes: passed over by the server, the COPY has failed",
            "SELECT -> 1 row (SELECT 1)",
        ],
    );
    assert_eq!(text(&outcome.records[0], "copy_bytes"), "6");
    assert_eq!(text(&outcome.records[1], "copy_messages"), "2");
    assert_eq!(text(&outcome.records[3], "copy_fail"), "no more");
}

#[test]
fn a_function_is_called() {
    let mut call = 1234u32.to_be_bytes().to_vec();
    call.extend([0, 1, 0, 0, 0, 1]);
    call.extend(cell(Some(b"42")));
    call.extend([0, 0]);
    let steps = [send(msg(b'F', call)), recv([msg(b'V', cell(Some(b"43"))), ready('I')].concat())];
    let outcome = check(&steps, &["FunctionCall 1234 [42] -> a value of 2 bytes"]);
    assert_eq!(text(&outcome.records[0], "value"), "43");
}

#[test]
fn replication_is_named_message_by_message() {
    let wal = [&b"w"[..], &0x0150_0000u64.to_be_bytes(), &0x0150_0064u64.to_be_bytes(), &[0; 8], &[7; 100]]
        .concat();
    let keepalive = [&b"k"[..], &0x1_0000_0000u64.to_be_bytes(), &[0; 8], &[1]].concat();
    let status =
        [&b"r"[..], &1u64.to_be_bytes(), &2u64.to_be_bytes(), &3u64.to_be_bytes(), &[0; 8], &[0]].concat();
    let steps = [
        send(query("START_REPLICATION 0/1500000 TIMELINE 1")),
        recv([msg(b'W', [0, 0, 0]), msg(b'd', wal)].concat()),
        recv(msg(b'd', keepalive)),
        send(msg(b'd', status)),
        recv(msg(b'c', "")),
        send(msg(b'c', "")),
        recv([done("COPY 0"), done("START_STREAMING"), ready('I')].concat()),
        send(query("SELECT 1")),
        recv([one_row(), done("SELECT 1"), ready('I')].concat()),
    ];
    check(
        &steps,
        &[
            "START_REPLICATION 0/1500000 TIMELINE 1 -> streaming in both directions",
            "XLogData 0/1500000 100 bytes",
            "PrimaryKeepalive 1/0, reply requested",
            "StandbyStatusUpdate written 0/1, flushed 0/2, applied 0/3",
            "CopyDone",
            "CopyDone -> COPY 0; START_STREAMING",
            "SELECT 1 -> 1 row (SELECT 1)",
        ],
    );
}
