//! A real MariaDB server with its real clients, traced: records equal what the clients did. By its C library (text and
//! prepared statements, cursors, arrays, several results, a local file, other users), by PyMySQL (statements longer than a
//! packet), by the command-line client over a Unix socket, by `mariadb-binlog` (replication).

mod common;

use common::events::{records, text};
use common::mariadb::{MariaDb, PASSWORD};
use common::observed::Observed;
use common::postgres::Held;
use common::python::SYSTEM_PYTHON;
use common::trace::require_bpf;
use common::watcher::Watcher;
use serde_json::{Value, json};
use std::path::Path;

fn summaries(records: &[Value]) -> Vec<String> {
    records.iter().map(|one| one["summary"].as_str().expect("a summary").to_owned()).collect()
}

fn assert_complete(records: &[Value]) {
    for one in records {
        assert_eq!((&one["protocol"], &one["status"]), (&json!("mysql"), &json!("complete")), "{one}");
    }
}

const INSERT: &str = "INSERT INTO t VALUES (?, ?)";
const SELECT: &str = "SELECT id, name FROM t WHERE id < ? ORDER BY id";

/// What `tests/clients/mariadb.c` does behind its login, and what the server says to it.
fn session(file: &str) -> Vec<String> {
    let bulk = "INSERT INTO t VALUES (?, 'bulk')";
    let fetch = format!("COM_STMT_FETCH 2 rows of {SELECT} -> ");
    let syntax = "You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server \
                  version for the right syntax to use near 'FROM' at line 1";
    vec![
        "CREATE TABLE t (id int, name varchar(20)) -> OK".to_owned(),
        "COM_PING (keep-alive) -> OK".to_owned(),
        format!("COM_STMT_PREPARE {INSERT} -> statement 1"),
        format!("{INSERT} [1, 'one'] -> OK (1 affected)"),
        format!("{INSERT} [2, NULL] -> OK (1 affected)"),
        format!("COM_STMT_SEND_LONG_DATA 2 bytes for parameter 1 of {INSERT}"),
        format!("COM_STMT_SEND_LONG_DATA 3 bytes for parameter 1 of {INSERT}"),
        format!("{INSERT} [3, long data] -> OK (1 affected)"),
        format!("COM_STMT_RESET {INSERT} -> OK"),
        format!("COM_STMT_CLOSE {INSERT}"),
        format!("COM_STMT_PREPARE {bulk} -> statement 2"),
        format!("bulk {bulk} (3 sets of parameters) -> OK (3 affected)"),
        format!("COM_STMT_CLOSE {bulk}"),
        format!("COM_STMT_PREPARE {SELECT} -> statement 3"),
        format!("{SELECT} [12] -> 5 rows"),
        format!("COM_STMT_CLOSE {SELECT}"),
        format!("COM_STMT_PREPARE {SELECT} -> statement 4"),
        format!("{SELECT} [12] -> cursor"),
        format!("{fetch}2 rows"),
        format!("{fetch}2 rows"),
        format!("{fetch}1 row"),
        format!("COM_STMT_CLOSE {SELECT}"),
        "SELECT 1 AS a; UPDATE t SET name = 'x' WHERE id > 10; SELECT 2 UNION SELECT 3 \
         -> 1 row; OK (2 affected); 2 rows"
            .to_owned(),
        "SELECT * FROM nowhere -> ERROR 1146 (42S02) Table 'test.nowhere' doesn't exist".to_owned(),
        format!("COM_STMT_PREPARE SELECT FROM -> ERROR 1064 (42000) {syntax}"),
        format!(
            "LOAD DATA LOCAL INFILE '{file}' INTO TABLE t (23 bytes of a local file) -> LOCAL INFILE {file}; OK (2 affected)"
        ),
        "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END -> OK".to_owned(),
        "CALL p() -> 1 row; 1 row; OK".to_owned(),
        "COM_INIT_DB test -> OK".to_owned(),
        "COM_STATISTICS -> ".to_owned(),
        "COM_SET_OPTION MYSQL_OPTION_MULTI_STATEMENTS_OFF -> OK".to_owned(),
        "COM_RESET_CONNECTION -> OK".to_owned(),
        "CREATE USER other IDENTIFIED BY '***' -> OK".to_owned(),
        "COM_CHANGE_USER user=other -> AuthSwitchRequest (mysql_native_password); OK".to_owned(),
        "SELECT CURRENT_USER() -> 1 row".to_owned(),
        "COM_CHANGE_USER user=tester database=test -> AuthSwitchRequest (mysql_native_password); \
         ERROR 1045 (28000) Access denied for user 'tester'@'127.0.0.1' (using password: YES)"
            .to_owned(),
        "COM_QUIT".to_owned(),
    ]
}

/// What changes from run to run: how often progress is reported, and what the server counts.
fn steady(summary: &str) -> String {
    let summary = summary.split("; progress reports: ").next().expect("a first part");
    match summary.strip_prefix("COM_STATISTICS -> ") {
        Some(said) => {
            assert!(said.starts_with("Uptime: "), "{said}");
            "COM_STATISTICS -> ".to_owned()
        }
        None => summary.to_owned(),
    }
}

#[test]
fn the_c_library_is_understood_live_and_from_recording_and_capture() {
    if !require_bpf() {
        return;
    }
    let server = MariaDb::start();
    let port = server.address.port();
    let file = server.file("load", b"20\ttwenty\n21\ttwentyone\n");
    let file = file.to_str().expect("UTF-8").to_owned();
    let client = Held::new(&server.client(), &[&port.to_string(), &file]);
    let (seen, output) = Observed::run(client.pid(), port, || {
        let output = client.run();
        server.end();
        output
    });
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_complete(&seen.live);
    let said = summaries(&seen.live);
    let thread = text(&output.stdout).trim().to_owned();
    assert!(
        said[0].starts_with("HandshakeV10 ") && said[0].ends_with(&format!(" thread {thread}")),
        "{}",
        said[0]
    );
    assert_eq!(said[1], "HandshakeResponse41 user=tester database=test -> OK");
    let said: Vec<String> = said[2..].iter().map(|summary| steady(summary)).collect();
    assert_eq!(said, session(&file));
    let login = &seen.live[1]["request"];
    assert_eq!(login["connect_attributes"]["program"], "test");
    assert_eq!(login["auth_response"], "***");
    let rows =
        seen.live.iter().find(|one| one["summary"] == format!("{SELECT} [12] -> 5 rows")).expect("rows");
    let values = json!([[1, "one"], [2, null], [3, "three"], [10, "bulk"], [11, "bulk"]]);
    assert_eq!(rows["response"]["values"], values);
    let bulk =
        seen.live.iter().find(|one| one["request"]["command"] == "COM_STMT_BULK_EXECUTE").expect("one");
    assert_eq!(bulk["request"]["parameters"], json!([[10], [11], [12]]));
    seen.assert_same_records(port);
    let all = format!("{:?}", seen.live);
    assert!(!all.contains(PASSWORD) && !all.contains("pa55"), "a password is shown");
}

const LONG: &str = r#"
import sys, pymysql
connection = pymysql.connect(host="127.0.0.1", port=int(sys.argv[1]), user="tester", password=sys.argv[2],
                             database="test", max_allowed_packet=64 << 20, autocommit=True)
with connection.cursor() as cursor:
    cursor.execute("SELECT LENGTH('" + "x" * (20 << 20) + "')")
    assert cursor.fetchall() == ((20 << 20,),)
    cursor.execute("SELECT REPEAT('y', 17 << 20), 7")
    assert len(cursor.fetchone()[0]) == 17 << 20
    cursor.execute("SELECT %s", ("short",))
    assert cursor.fetchall() == (("short",),)
connection.close()
"#;

#[test]
fn what_is_longer_than_a_packet_is_one_statement_or_row() {
    if !require_bpf() {
        return;
    }
    let server = MariaDb::start();
    let port = server.address.port();
    let client = Held::new(Path::new(SYSTEM_PYTHON), &["-c", LONG, &port.to_string(), PASSWORD]);
    // Room for all of it: how fast the ring is emptied is not the subject here.
    let pid = client.pid().to_string();
    let args = ["conn-trace", "-p", &pid, "--format", "json", "--ring-size", "128M"];
    let trace = Watcher::sockdbg(&args).wait_for("watching");
    let output = client.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen = records(&trace.end().stdout);
    server.end();
    let of = |begin: &str| {
        let mut found = seen.iter().filter(|one| one["summary"].as_str().expect("text").starts_with(begin));
        let one = found.next().unwrap_or_else(|| panic!("{begin}: {:?}", summaries(&seen)));
        assert!(found.next().is_none(), "{begin}");
        one
    };
    let long = of("SELECT LENGTH('xxx");
    assert_eq!(long["request"]["query_length"], (20 << 20) + "SELECT LENGTH('')".len());
    assert_eq!(long["response"]["values"], json!([[(20 << 20).to_string()]]));
    let row = of("SELECT REPEAT('y', 17 << 20), 7 -> 1 row");
    assert_eq!(row["response"]["rows"], 1);
    let short = of("SELECT 'short' -> 1 row");
    assert_eq!(short["response"]["values"], json!([["short"]]));
    assert_complete(&[long.clone(), row.clone(), short.clone()]);
}

#[test]
fn the_command_line_client_over_a_unix_socket_seen_from_both_ends() {
    if !require_bpf() {
        return;
    }
    let server = MariaDb::start();
    let socket = server.socket();
    let socket = socket.to_str().expect("UTF-8").to_owned();
    let statement = "SELECT 1 AS a; CREATE USER x IDENTIFIED BY 'p4ss'; DO 1/0; SHOW WARNINGS";
    let args = ["--no-defaults", "-S", &socket, "-u", "root", "-e", statement];
    let client = Held::new(Path::new("/usr/bin/mariadb"), &args);
    let trace = Watcher::conn_trace(client.pid());
    let other = Watcher::conn_trace(server.pid());
    let output = client.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen = records(&trace.end().stdout);
    server.end();
    let served = records(&other.end().stdout);
    assert_complete(&seen);
    assert_complete(&served);
    assert_eq!(summaries(&served), summaries(&seen));
    assert!(seen.iter().all(|one| one["transport"] == "unix-stream" && one["role"] == "client"));
    assert!(served.iter().all(|one| one["local"] == socket && one["role"] == "server"));
    let said = summaries(&seen);
    assert_eq!(said[1], "HandshakeResponse41 user=root -> OK");
    let expected = [
        "SELECT 1 AS a -> 1 row",
        "CREATE USER x IDENTIFIED BY '***' -> OK",
        "DO 1/0 -> OK (1 warning)",
        "SHOW WARNINGS -> 1 row",
        "COM_QUIT",
    ];
    // What the client asks by itself before depends on its version.
    assert_eq!(said[said.len() - expected.len()..], expected);
}

#[test]
fn a_replica_is_told_event_by_event() {
    if !require_bpf() {
        return;
    }
    let server = MariaDb::start();
    let port = server.address.port().to_string();
    let password = format!("-p{PASSWORD}");
    let args =
        ["--no-defaults", "-R", "-h", "127.0.0.1", "-P", &port, "-u", "tester", &password, "binlog.000001"];
    let client = Held::new(Path::new("/usr/bin/mariadb-binlog"), &args);
    let trace = Watcher::conn_trace(client.pid());
    let output = client.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen = records(&trace.end().stdout);
    server.end();
    assert_complete(&seen);
    let said = summaries(&seen);
    let begins = |begin: &str| said.iter().filter(|one| one.starts_with(begin)).count();
    assert_eq!(begins("COM_BINLOG_DUMP binlog.000001 at 4 for server "), 1, "{said:#?}");
    // The client writes a line for each event that has a place in the log.
    let printed = text(&output.stdout);
    let events = |name: &str| printed.lines().filter(|line| line.contains(name)).count();
    assert_eq!(begins("FORMAT_DESCRIPTION_EVENT "), events("Start: binlog v 4"));
    assert_eq!(begins("GTID_EVENT "), events("\tGTID "), "{said:#?}");
    assert_eq!(begins("QUERY_EVENT "), events("\tQuery\t"), "{said:#?}");
    assert!(begins("QUERY_EVENT ") >= 3, "the statements that made the user");
}

#[test]
fn a_connection_that_is_open_before_the_trace_begins_with_what_is_said_then() {
    if !require_bpf() {
        return;
    }
    let server = MariaDb::start();
    let program = r#"
import sys, struct, pymysql
connection = pymysql.connect(host="127.0.0.1", port=int(sys.argv[1]), user="tester", password=sys.argv[2],
                             database="test", autocommit=True)
def ask(command, body):
    connection._execute_command(command, body)
    return connection._read_packet().get_all_data()
prepared = ask(0x16, "DO 1")
number = prepared[1:5]
print("ready", flush=True)
sys.stdin.readline()
assert ask(0x17, number + b"\0\1\0\0\0")[0] == 0
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
connection.close()
"#;
    let mut command = std::process::Command::new(SYSTEM_PYTHON);
    command.args(["-c", program, &server.address.port().to_string(), PASSWORD]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut client = command.spawn().expect("python3 is installed");
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(client.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut reader, &mut line).expect("text");
    assert_eq!(line, "ready\n");
    let trace = Watcher::conn_trace(client.id());
    std::io::Write::write_all(&mut client.stdin.take().expect("piped"), b"go\n").expect("it waits");
    assert!(client.wait().expect("a child").success());
    let seen = records(&trace.end().stdout);
    server.end();
    assert_complete(&seen);
    assert_eq!(summaries(&seen), ["unknown statement 1 -> OK", "SELECT 1 -> 1 row", "COM_QUIT"]);
    assert_eq!(seen[0]["request"]["statement"], "unknown");
}
