//! Logins, statements, prepared statements and all other commands, each answered as the specification says.

use super::*;
use crate::event::Cause;
use crate::protocol::testing::run;

#[test]
fn a_login_is_one_record_with_all_its_steps_and_no_secret() {
    let switch = [b"\xfecaching_sha2_password\0".as_slice(), b"othersaltothersalt20\0"].concat();
    let steps = [
        recv(greeting(FLAGS)),
        send(response(FLAGS)),
        recv(packet(2, switch)),
        send(packet(3, [b'q'; 32])),
        recv(packet(4, b"\x01\x04")),
        send(packet(5, b"\x02")),
        recv(packet(6, b"\x01-----BEGIN PUBLIC KEY-----")),
        send(packet(7, [b'q'; 256])),
        recv(packet(8, ok(0, 0, AUTOCOMMIT))),
        send(command(1, "")),
    ];
    let outcome = converse(&steps);
    let said = "HandshakeResponse41 user=me database=db -> AuthSwitchRequest (caching_sha2_password); \
                AuthMoreData (full authentication); AuthMoreData; OK";
    assert_eq!(outcome.summaries(), [LOGIN[0], said, "COM_QUIT"]);
    let login = &outcome.records[1];
    assert_eq!(text(login, "username"), "me");
    assert_eq!(text(login, "authentication_packets"), "3");
    assert_eq!(text(login, "client_plugin_name"), "mysql_native_password");
    assert_eq!(text(&outcome.records[0], "server_version"), "8.0.36");
    let all = format!("{outcome:?}");
    let digits = data_encoding::HEXLOWER.encode(b"pppp");
    assert!(
        !all.contains("pppp") && !all.contains(&digits) && !all.contains("qqqq") && !all.contains("salt")
    );
    let options = Options { show_secrets: true, ..setup().options };
    let shown = run(&PROTOCOL, &steps, Setup { options, ..setup() });
    assert!(text(&shown.records[1], "auth_response").starts_with(&digits));
}

#[test]
fn a_server_can_refuse_before_or_after_the_login() {
    let refused = [
        recv(greeting(FLAGS)),
        send(response(FLAGS)),
        recv(packet(2, error(1045, "28000", "Access denied for user 'me'"))),
    ];
    let outcome = converse(&refused);
    let said = "HandshakeResponse41 user=me database=db -> ERROR 1045 (28000) Access denied for user 'me'";
    assert_eq!(outcome.summaries(), [LOGIN[0], said]);
    let outcome = converse(&[recv(packet(0, b"\xff\x10\x04Too many connections"))]);
    assert_eq!(outcome.summaries(), ["ERROR 1040 Too many connections"]);
    assert_eq!(text(&outcome.records[0], "error_message"), "Too many connections");
    // A server says why it ends a connection: nobody asked.
    let gone = packet(0, error(4031, "HY000", "The client was disconnected by the server"));
    check(&[recv(gone)], &["ERROR 4031 (HY000) The client was disconnected by the server"]);
}

#[test]
fn what_follows_an_ssl_request_is_tls() {
    let flags = FLAGS | capability::SSL as u32;
    let request = packet(1, [&flags.to_le_bytes()[..], &[0, 0, 0, 1, 45], &[0; 23]].concat());
    let steps =
        [recv(greeting(flags)), send(request), send(b"\x16\x03\x01\x00\x01\x01"), recv(b"\x16\x03\x03\0")];
    let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries(), [LOGIN[0], "SSLRequest (TLS follows)"]);
    assert_eq!(outcome.switched.as_deref(), Some("TLS"));
    let skipped: u64 = outcome.skipped.iter().map(|skipped| skipped.1.len()).sum();
    assert_eq!((skipped, outcome.skipped[0].2), (10, Cause::Unsupported));
}

#[test]
fn compression_is_named_and_begins_behind_the_login() {
    for (flag, name) in [(capability::COMPRESS, "zlib"), (capability::ZSTD, "zstd")] {
        let mut steps = login_with(FLAGS | flag as u32);
        steps.extend([
            send(b"\x05\0\0\0\0\0\0\x01\0\0\0\x0e"),
            recv(b"\x0b\0\0\x01\0\0\0\x07\0\0\x01\0\0\0\x02\0\0\0"),
        ]);
        let outcome = run_in_cuts(&PROTOCOL, &steps, setup());
        let login = LOGIN[1].replace(" -> ", &format!(" compression={name} (not decoded) -> "));
        assert_eq!(outcome.summaries(), [LOGIN[0], &login]);
        assert_eq!(outcome.switched, Some(format!("the compressed protocol of MySQL ({name})")));
    }
    // A client that offers it to a server that has it not.
    let mut steps = vec![recv(greeting(FLAGS)), send(response(FLAGS | capability::COMPRESS as u32))];
    steps.extend([recv(packet(2, ok(0, 0, 2))), send(command(0x0e, "")), recv(packet(1, ok(0, 0, 2)))]);
    assert_eq!(converse(&steps).summaries()[2], "COM_PING (keep-alive) -> OK");
}

#[test]
fn a_proxy_may_tell_first_for_whom_it_connects() {
    let steps = [&[send("PROXY TCP4 192.0.2.1 192.0.2.2 1000 3306\r\n")], &login_with(FLAGS)[..]].concat();
    let outcome = converse(&steps);
    assert_eq!(outcome.summaries(), ["PROXY TCP4 192.0.2.1 192.0.2.2 1000 3306", LOGIN[0], LOGIN[1]]);
}

#[test]
fn statements_have_results_of_every_kind() {
    let column = column("a", 253);
    let steps = [
        send(query("SELECT a\n FROM t")),
        recv(result(1, &["x", "yy"], AUTOCOMMIT)),
        send(query("INSERT INTO t VALUES (1)")),
        recv(packet(1, [&ok(1, 9, AUTOCOMMIT)[..], b"info"].concat())),
        send(query("SELECT * FROM nowhere")),
        recv(packet(1, error(1146, "42S02", "Table 'db.nowhere' doesn't exist"))),
        // An error in the middle of rows.
        send(query("SELECT a FROM big")),
        recv(packets(
            1,
            &[b"\x01", &column, &eof(AUTOCOMMIT), b"\x011", &error(1317, "70100", "interrupted")],
        )),
    ];
    let outcome = check(
        &steps,
        &[
            "SELECT a FROM t -> 2 rows",
            "INSERT INTO t VALUES (1) -> OK (1 affected)",
            "SELECT * FROM nowhere -> ERROR 1146 (42S02) Table 'db.nowhere' doesn't exist",
            "SELECT a FROM big -> 1 row; ERROR 1317 (70100) interrupted",
        ],
    );
    let [select, insert, fails, _] = &outcome.records[..] else { panic!("four") };
    assert_eq!((text(select, "columns"), text(select, "values")), ("[a]".into(), "[[x] [yy]]".into()));
    assert_eq!(text(select, "query"), "SELECT a\n FROM t");
    assert_eq!((text(insert, "affected_rows"), text(insert, "last_insert_id")), ("1".into(), "9".into()));
    assert_eq!(
        (text(insert, "info"), text(insert, "status_flags")),
        ("info".into(), "[SERVER_STATUS_AUTOCOMMIT]".into())
    );
    assert_eq!((text(fails, "error_code"), text(fails, "sql_state")), ("1146".into(), "42S02".into()));
}

#[test]
fn several_results_of_one_request_are_one_record() {
    let first = result(1, &["1"], MORE);
    let steps = [
        send(query("SELECT 1; UPDATE t SET a = 1; SELECT 2; CALL p()")),
        recv(first),
        recv(packet(6, ok(3, 0, MORE))),
        recv(result(7, &["2", "3"], MORE)),
        recv(packet(13, ok(0, 0, AUTOCOMMIT))),
    ];
    let said = "SELECT 1; UPDATE t SET a = 1; SELECT 2; CALL p() -> 1 row; OK (3 affected); 2 rows; OK";
    let outcome = check(&steps, &[said]);
    let Some(Value::List(results)) = field(&outcome.records[0], "results") else { panic!("results") };
    assert_eq!(results.len(), 4);
}

#[test]
fn columns_end_without_eof_where_both_ends_agree() {
    let column = column("a", 253);
    let steps = [
        send(query("SELECT 1")),
        recv(packets(1, &[b"\x01", &column, b"\x011", b"\xfb", &end(AUTOCOMMIT)])),
        send(query("SELECT 1 WHERE false")),
        recv(packets(1, &[b"\x01", &column, &end(AUTOCOMMIT)])),
        // A row whose first value is so long that it begins as EOF does.
        send(query("SELECT 2")),
        recv(packets(1, &[b"\x01", &column, b"\xfc\x02\x00ab", &end(AUTOCOMMIT)])),
    ];
    let expected = ["SELECT 1 -> 2 rows", "SELECT 1 WHERE false -> 0 rows", "SELECT 2 -> 1 row"];
    let outcome = check_with(FLAGS | DEPRECATE_EOF, &steps, &expected);
    assert_eq!(text(&outcome.records[0], "values"), "[[1] [Null]]");
}

#[test]
fn query_attributes_stand_before_the_text() {
    let flags = FLAGS | capability::QUERY_ATTRIBUTES as u32;
    let attributes = b"\x01\x01\0\x01\xfe\0\x04name\x05value";
    let steps = [
        send(command(3, [attributes, &b"SELECT 1"[..]].concat())),
        recv(packet(1, ok(0, 0, AUTOCOMMIT))),
        send(command(3, b"\0\x01SELECT 2")),
        recv(packet(1, ok(0, 0, AUTOCOMMIT))),
    ];
    let outcome = check_with(flags, &steps, &["SELECT 1 -> OK", "SELECT 2 -> OK"]);
    assert_eq!(text(&outcome.records[0], "query_attributes"), "{name=value}");
    assert_eq!(text(&outcome.records[0], "query"), "SELECT 1");
    assert_eq!(text(&outcome.records[1], "query"), "SELECT 2");
}

#[test]
fn changes_of_the_session_are_told() {
    let flags = FLAGS | capability::SESSION_TRACK as u32;
    // No info; a system variable and the schema.
    let changes = [b"\0\x0f\x0aautocommit\x03OFF".as_slice(), b"\x01\x03\x02db"].concat();
    let body = [b"\0\0\0\x02\x40\0\0\0".as_slice(), &[changes.len() as u8], &changes].concat();
    let outcome = check_with(flags, &[send(query("USE db")), recv(packet(1, body))], &["USE db -> OK"]);
    let expected = "[{autocommit=OFF} {SESSION_TRACK_SCHEMA=db}]";
    assert_eq!(text(&outcome.records[0], "session_state_info"), expected);
}

/// The answer to COM_STMT_PREPARE: statement 1 with two parameters and one column.
fn prepared(eofs: bool) -> Vec<u8> {
    let (parameter, column, eof) = (column("?", 253), column("a", 3), eof(AUTOCOMMIT));
    let head = b"\0\x01\0\0\0\x01\0\x02\0\0\0\0";
    match eofs {
        true => packets(1, &[head, &parameter, &parameter, &eof, &column, &eof]),
        false => packets(1, &[head, &parameter, &parameter, &column]),
    }
}

/// COM_STMT_EXECUTE of statement 1 with a number and a string, and their types.
fn execute(flags: u8) -> Vec<u8> {
    command(
        0x17,
        [b"\x01\0\0\0".as_slice(), &[flags], b"\x01\0\0\0\0\x01\x03\0\xfd\0\x07\0\0\0\x03abc"].concat(),
    )
}

fn binary_result(seq: u8, eofs: bool) -> Vec<u8> {
    let (column, row) = (column("a", 3), b"\0\0\x2a\0\0\0");
    match eofs {
        true => packets(seq, &[b"\x01", &column, &eof(AUTOCOMMIT), row, &eof(AUTOCOMMIT)]),
        false => packets(seq, &[b"\x01", &column, row, &end(AUTOCOMMIT)]),
    }
}

#[test]
fn prepared_statements_are_told_by_their_text() {
    for eofs in [true, false] {
        let steps = [
            send(command(0x16, "SELECT a FROM t WHERE b = ? AND c = ?")),
            recv(prepared(eofs)),
            send(execute(0)),
            recv(binary_result(1, eofs)),
            // Again, with the types of before; the second is NULL.
            send(command(0x17, b"\x01\0\0\0\0\x01\0\0\0\x02\0\x08\0\0\0")),
            recv(binary_result(1, eofs)),
            send(command(0x18, b"\x01\0\0\0\x01\0long")),
            send(command(0x17, b"\x01\0\0\0\0\x01\0\0\0\0\0\x09\0\0\0")),
            recv(binary_result(1, eofs)),
            send(command(0x1a, b"\x01\0\0\0")),
            recv(packet(1, ok(0, 0, AUTOCOMMIT))),
            send(command(0x19, b"\x01\0\0\0")),
            send(command(0x17, b"\x01\0\0\0\0\x01\0\0\0")),
            recv(packet(1, error(1243, "HY000", "Unknown prepared statement handler"))),
        ];
        let text_of = "SELECT a FROM t WHERE b = ? AND c = ?";
        let expected = [
            format!("COM_STMT_PREPARE {text_of} -> statement 1"),
            format!("{text_of} [7, 'abc'] -> 1 row"),
            format!("{text_of} [8, NULL] -> 1 row"),
            format!("COM_STMT_SEND_LONG_DATA 4 bytes for parameter 1 of {text_of}"),
            format!("{text_of} [9, long data] -> 1 row"),
            format!("COM_STMT_RESET {text_of} -> OK"),
            format!("COM_STMT_CLOSE {text_of}"),
            "unknown statement 1 -> ERROR 1243 (HY000) Unknown prepared statement handler".to_owned(),
        ];
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let flags = if eofs { FLAGS } else { FLAGS | DEPRECATE_EOF };
        let outcome = check_with(flags, &steps, &expected);
        assert_eq!(text(&outcome.records[0], "num_params"), "2");
        assert_eq!(text(&outcome.records[1], "parameters"), "[7 abc]");
        assert_eq!(text(&outcome.records[1], "statement"), text_of);
        assert_eq!(text(&outcome.records[1], "values"), "[[42]]");
        assert_eq!(text(&outcome.records[3], "data"), "long");
    }
}

#[test]
fn a_cursor_gives_its_rows_to_fetches() {
    let (column, opened) = (column("a", 3), eof(AUTOCOMMIT | 0x40));
    let row = b"\0\0\x2a\0\0\0";
    let steps = [
        send(command(0x16, "SELECT a FROM t WHERE b = ? AND c = ?")),
        recv(prepared(true)),
        send(execute(1)),
        recv(packets(1, &[b"\x01", &column, &opened])),
        send(command(0x1c, b"\x01\0\0\0\x02\0\0\0")),
        recv(packets(1, &[row, row, &eof(AUTOCOMMIT | 0x40)])),
        send(command(0x1c, b"\x01\0\0\0\x02\0\0\0")),
        recv(packets(1, &[&eof(AUTOCOMMIT | 0x80)])),
    ];
    let text_of = "SELECT a FROM t WHERE b = ? AND c = ?";
    let fetch = format!("COM_STMT_FETCH 2 rows of {text_of} -> ");
    let expected = [
        format!("COM_STMT_PREPARE {text_of} -> statement 1"),
        format!("{text_of} [7, 'abc'] -> cursor"),
        format!("{fetch}2 rows"),
        format!("{fetch}0 rows"),
    ];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let outcome = check(&steps, &expected);
    assert_eq!(text(&outcome.records[1], "flags"), "[CURSOR_TYPE_READ_ONLY]");
    assert_eq!(text(&outcome.records[2], "values"), "[[42] [42]]");
    assert!(text(&outcome.records[3], "status_flags").contains("SERVER_STATUS_LAST_ROW_SENT"));
}

#[test]
fn mariadb_prepares_and_executes_in_one_go_and_in_bulk() {
    let bulk = b"\xff\xff\xff\xff\x80\0\x03\0\xfd\0\0\x01\0\0\0\0\x01a\0\x02\0\0\0\x01";
    let steps = [
        send([command(0x16, "INSERT INTO t VALUES (?, ?)"), command(0xfa, bulk)].concat()),
        recv(prepared(true)),
        recv(packet(1, ok(2, 0, AUTOCOMMIT))),
    ];
    // Both come before the number of parameters is known.
    let expected = [
        "COM_STMT_PREPARE INSERT INTO t VALUES (?, ?) -> statement 1",
        "bulk INSERT INTO t VALUES (?, ?) -> OK (2 affected)",
    ];
    check(&steps, &expected);
    let steps = [
        send(command(0x16, "INSERT INTO t VALUES (?, ?)")),
        recv(prepared(true)),
        send(command(0xfa, bulk)),
        recv(packet(1, ok(2, 0, AUTOCOMMIT))),
    ];
    let said = "bulk INSERT INTO t VALUES (?, ?) (2 sets of parameters) -> OK (2 affected)";
    let outcome = check(&steps, &[expected[0], said]);
    assert_eq!(text(&outcome.records[1], "parameters"), "[[1 a] [2 Null]]");
}

#[test]
fn a_local_file_belongs_to_its_statement() {
    let steps = [
        send(query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t")),
        recv(packet(1, b"\xfbf")),
        send([packet(2, "1\n2\n"), packet(3, "3\n"), packet(4, "")].concat()),
        recv(packet(5, ok(3, 0, AUTOCOMMIT))),
        send(query("SELECT 1")),
        recv(result(1, &["1"], AUTOCOMMIT)),
    ];
    let said = "LOAD DATA LOCAL INFILE 'f' INTO TABLE t (6 bytes of a local file) -> LOCAL INFILE f; OK (3 affected)";
    let outcome = check(&steps, &[said, "SELECT 1 -> 1 row"]);
    assert_eq!(text(&outcome.records[0], "infile_packets"), "2");
    assert_eq!(text(&outcome.records[0], "filename"), "f");
}

/// Numbers wrap after 255, so that a packet of the file can have that of a command.
#[test]
fn a_local_file_of_many_packets_is_no_command() {
    let mut file: Vec<u8> = (0..600u32).flat_map(|n| packet((n + 2) as u8, b"\x03 1")).collect();
    file.extend(packet((602 % 256) as u8, ""));
    let steps = [
        send(query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t")),
        recv(packet(1, b"\xfbf")),
        send(file),
        recv(packet((603 % 256) as u8, ok(0, 0, AUTOCOMMIT))),
    ];
    let mut all = login_with(FLAGS);
    all.extend(steps);
    let outcome = run(&PROTOCOL, &all, setup());
    assert_eq!(outcome.records.len(), 3);
    assert_eq!(text(&outcome.records[2], "infile_packets"), "600");
}

#[test]
fn progress_is_part_of_the_answer() {
    let progress = b"\xff\xff\xff\x01\x01\x02\x50\xc3\0\x04copy";
    let steps = [
        send(query("ALTER TABLE t ADD b int")),
        recv(packets(1, &[progress, progress, &ok(0, 0, AUTOCOMMIT)])),
    ];
    let outcome = check(&steps, &["ALTER TABLE t ADD b int -> OK; progress reports: 2"]);
    assert_eq!(text(&outcome.records[0], "progress"), "stage 1 of 2, 50.000%: copy");
}

#[test]
fn every_other_command_has_its_name_and_answer() {
    let fine = || recv(packet(1, ok(0, 0, AUTOCOMMIT)));
    let ended = || recv(packet(1, eof(AUTOCOMMIT)));
    let columns = packets(1, &[&column("a", 3), &column("b", 3), &eof(AUTOCOMMIT)]);
    let steps = [
        send(command(0x0e, "")),
        fine(),
        send(command(0x02, "other")),
        fine(),
        send(command(0x04, "t\0%")),
        recv(columns),
        send(command(0x05, "new")),
        fine(),
        send(command(0x06, "new")),
        fine(),
        send(command(0x07, b"\x01")),
        fine(),
        send(command(0x09, "")),
        recv(packet(1, "Uptime: 7")),
        send(command(0x0a, "")),
        recv(result(1, &["1"], AUTOCOMMIT)),
        send(command(0x0c, b"\x09\0\0\0")),
        fine(),
        send(command(0x0d, "")),
        ended(),
        send(command(0x1b, b"\0\0")),
        ended(),
        send(command(0x1f, "")),
        fine(),
        send(command(0x0b, "")),
        recv(packet(1, error(1047, "08S01", "Unknown command"))),
        send(command(0x08, b"\0")),
        ended(),
    ];
    check(
        &steps,
        &[
            "COM_PING (keep-alive) -> OK",
            "COM_INIT_DB other -> OK",
            "COM_FIELD_LIST t -> 2 columns",
            "COM_CREATE_DB new -> OK",
            "COM_DROP_DB new -> OK",
            "COM_REFRESH -> OK",
            "COM_STATISTICS -> Uptime: 7",
            "COM_PROCESS_INFO -> 1 row",
            "COM_PROCESS_KILL 9 -> OK",
            "COM_DEBUG -> OK",
            "COM_SET_OPTION MYSQL_OPTION_MULTI_STATEMENTS_ON -> OK",
            "COM_RESET_CONNECTION -> OK",
            "COM_CONNECT -> ERROR 1047 (08S01) Unknown command",
            "COM_SHUTDOWN -> OK",
        ],
    );
}

#[test]
fn a_change_of_user_is_a_login_and_forgets_statements() {
    let change = b"you\0\x04passother\0\x2d\0mysql_native_password\0";
    let steps = [
        send(command(0x16, "SELECT a FROM t WHERE b = ? AND c = ?")),
        recv(prepared(true)),
        send(command(0x11, change)),
        recv(packet(1, b"\xfemysql_native_password\0challengechallenge20\0")),
        send(packet(2, [b'q'; 20])),
        recv(packet(3, ok(0, 0, AUTOCOMMIT))),
        send(command(0x19, b"\x01\0\0\0")),
    ];
    let outcome = check(
        &steps,
        &[
            "COM_STMT_PREPARE SELECT a FROM t WHERE b = ? AND c = ? -> statement 1",
            "COM_CHANGE_USER user=you database=other -> AuthSwitchRequest (mysql_native_password); OK",
            "COM_STMT_CLOSE unknown statement 1",
        ],
    );
    assert_eq!(text(&outcome.records[1], "auth_plugin_data"), "***");
    assert!(!format!("{:?}", outcome.records[1]).contains("challenge"));
    assert_eq!(text(&outcome.records[2], "statement"), "unknown");
}

#[test]
fn passwords_in_statements_are_masked() {
    let steps = [send(query("CREATE USER a IDENTIFIED BY 'hunter2'")), recv(packet(1, ok(0, 0, AUTOCOMMIT)))];
    let outcome = check(&steps, &["CREATE USER a IDENTIFIED BY '***' -> OK"]);
    assert!(!format!("{:?}", outcome.records).contains("hunter2"));
}

#[test]
fn what_comes_out_of_order_is_paired_all_the_same() {
    let mut steps = login_with(FLAGS);
    // The answer is seen before its request.
    steps.extend([recv(result(1, &["1"], AUTOCOMMIT)), send(query("SELECT 1"))]);
    assert_eq!(run(&PROTOCOL, &steps, setup()).summaries()[2], "SELECT 1 -> 1 row");
}
