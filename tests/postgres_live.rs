//! A real PostgreSQL server with its real clients, traced: records equal what the clients did. By psycopg (simple and
//! extended protocol, pipeline mode, COPY), by psql over a Unix socket, by pgbench in all its query modes.

mod common;

use common::events::{records, text};
use common::observed::Observed;
use common::postgres::{Held, Postgres, program};
use common::python::SYSTEM_PYTHON;
use common::trace::require_bpf;
use common::watcher::Watcher;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn summaries(records: &[Value]) -> Vec<String> {
    records.iter().map(|one| one["summary"].as_str().expect("a summary").to_owned()).collect()
}

fn assert_complete(records: &[Value]) {
    for one in records {
        assert_eq!((&one["protocol"], &one["status"]), (&json!("postgres"), &json!("complete")), "{one}");
    }
}

const SESSION: &str = r#"
import sys, psycopg
connection = psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} sslmode=disable", autocommit=True)
print(connection.info.backend_pid)
connection.execute("CREATE TABLE t (id int, name text)")
connection.execute("INSERT INTO t VALUES (%s, %s)", (1, "one"))
connection.execute("INSERT INTO t VALUES (%s, %s)", ("2", None), prepare=True)
assert connection.execute("SELECT id, name FROM t ORDER BY id").fetchall() == [(1, "one"), (2, None)]
try:
    connection.execute("SELECT * FROM nowhere")
except psycopg.errors.UndefinedTable:
    pass
with connection.pipeline():
    cursors = [connection.execute("SELECT %s::text", (str(n),), prepare=True) for n in (10, 20, 30)]
assert [cursor.fetchone() for cursor in cursors] == [("10",), ("20",), ("30",)]
with connection.cursor() as cursor:
    with cursor.copy("COPY t FROM STDIN") as copy:
        copy.write(b"3\tthree\n4\tfour\n")
    with cursor.copy("COPY t TO STDOUT") as copy:
        assert len(b"".join(copy)) == 26
connection.execute("DO $$ BEGIN RAISE WARNING 'careful'; END $$")
connection.execute("LISTEN news")
connection.execute("NOTIFY news, 'hot'")
connection.close()
"#;

/// What the session does, and what the server says to it, before its last two steps.
const SAID: [&str; 16] = [
    "StartupMessage user=postgres database=postgres -> AuthenticationSASL (SCRAM-SHA-256)",
    "SASLInitialResponse SCRAM-SHA-256 -> AuthenticationSASLContinue",
    "SASLResponse -> AuthenticationOk",
    "CREATE TABLE t (id int, name text) -> CREATE TABLE",
    "INSERT INTO t VALUES ($1, $2) [1, 'one'] -> INSERT 0 1",
    "Parse \"_pg3_0\" INSERT INTO t VALUES ($1, $2) -> ParseComplete",
    "INSERT INTO t VALUES ($1, $2) [2, NULL] -> INSERT 0 1",
    "SELECT id, name FROM t ORDER BY id -> 2 rows (SELECT 2)",
    "SELECT * FROM nowhere -> ERROR 42P01 relation \"nowhere\" does not exist",
    "SELECT $1::text [10] -> 1 row (SELECT 1)",
    "SELECT $1::text [20] -> 1 row (SELECT 1)",
    "SELECT $1::text [30] -> 1 row (SELECT 1)",
    "COPY t FROM STDIN (1 CopyData, 15 bytes) -> COPY 2",
    "COPY t TO STDOUT -> 4 CopyData, 26 bytes (COPY 4)",
    "DO $$ BEGIN RAISE WARNING 'careful'; END $$ -> DO; WARNING 01000 careful",
    "LISTEN news -> LISTEN",
];

#[test]
fn psycopg_is_understood_live_and_from_recording_and_capture() {
    if !require_bpf() {
        return;
    }
    let server = Postgres::start();
    let port = server.address.port();
    let client = Held::new(Path::new(SYSTEM_PYTHON), &["-c", SESSION, &port.to_string()]);
    let (seen, output) = Observed::run(client.pid(), port, || {
        let output = client.run();
        server.end();
        output
    });
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_complete(&seen.live);
    let (said, backend) = (summaries(&seen.live), text(&output.stdout).trim().to_owned());
    assert_eq!(said[..SAID.len()], SAID);
    let notified =
        format!("NOTIFY news, 'hot' -> NOTIFY; NotificationResponse \"news\" \"hot\" from process {backend}");
    assert_eq!(said[SAID.len()..], [notified, "Terminate".to_owned()]);
    assert_eq!(seen.live[2]["response"]["process_id"].to_string(), backend);
    seen.assert_same_records(port);
    let all = format!("{:?}", seen.live);
    assert!(!all.contains(common::postgres::PASSWORD), "the password is shown");
}

#[test]
fn psql_over_a_unix_socket_seen_from_both_ends() {
    if !require_bpf() {
        return;
    }
    let server = Postgres::start();
    let port = server.address.port().to_string();
    let (folder, socket) = (server.socket_folder().to_str().expect("UTF-8").to_owned(), server.socket());
    let statement = "SELECT 1 AS a; SELECT n FROM generate_series(1, 3) n; CREATE ROLE x PASSWORD 'p4ss'";
    let args = ["-X", "-h", &folder, "-p", &port, "-c", statement, "-c", "SELECT", "-c", "VACUUM nowhere"];
    let client = Held::new(&program("psql"), &args);
    let trace = Watcher::conn_trace(client.pid());
    // Each connection has a process of the server of its own.
    let pid = server.pid().to_string();
    let other = Watcher::sockdbg(&["conn-trace", "-f", "-p", &pid, "--format", "json"]).wait_for("watching");
    client.run();
    let seen = records(&trace.end().stdout);
    server.end();
    let served = records(&other.end().stdout);
    assert_complete(&seen);
    assert_complete(&served);
    assert_eq!(summaries(&served), summaries(&seen));
    assert!(
        served.iter().all(|one| one["local"] == socket.to_str().expect("UTF-8") && one["role"] == "server")
    );
    let shown = statement.replace("p4ss", "***");
    let expected = [
        "StartupMessage user=postgres database=postgres -> AuthenticationOk".to_owned(),
        format!("{shown} -> 1 row (SELECT 1); 3 rows (SELECT 3); CREATE ROLE"),
        "SELECT -> 1 row (SELECT 1)".to_owned(),
        "VACUUM nowhere -> ERROR 42P01 relation \"nowhere\" does not exist".to_owned(),
        "Terminate".to_owned(),
    ];
    assert_eq!(summaries(&seen), expected);
    assert!(seen.iter().all(|one| one["transport"] == "unix-stream"));
    let results = &seen[1]["response"]["results"];
    assert_eq!(results[0]["columns"], json!(["a"]));
    assert_eq!(results[1]["values"], json!([["1"], ["2"], ["3"]]));
}

#[test]
fn every_transaction_of_pgbench_is_told_in_each_query_mode() {
    if !require_bpf() {
        return;
    }
    const TRANSACTIONS: usize = 25;
    let server = Postgres::start();
    let port = server.address.port().to_string();
    let folder = server.socket_folder().to_str().expect("UTF-8").to_owned();
    let mut fill = Command::new(program("pgbench"));
    fill.args(["-i", "-q", "-h", &folder, "-p", &port, "-U", "postgres", "postgres"]);
    assert!(fill.output().expect("pgbench is installed").status.success());
    for mode in ["simple", "extended", "prepared"] {
        let transactions = TRANSACTIONS.to_string();
        let args = ["-n", "-c", "2", "-t", &transactions, "-M", mode, "-h", &folder, "-p", &port];
        let client = Held::new(&program("pgbench"), &args);
        let trace = Watcher::conn_trace(client.pid());
        let output = client.run();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let seen = records(&trace.end().stdout);
        assert_complete(&seen);
        let said = summaries(&seen);
        // Two clients; each transaction is these statements (pgbench's manual, "TPC-B (sort of)").
        let count = |begin: &str, end: &str| {
            said.iter().filter(|one| one.starts_with(begin) && one.ends_with(end)).count()
        };
        for (begin, end) in [
            ("BEGIN", " -> BEGIN"),
            ("UPDATE pgbench_accounts SET abalance = abalance + ", " -> UPDATE 1"),
            ("SELECT abalance FROM pgbench_accounts WHERE aid = ", " -> 1 row (SELECT 1)"),
            ("UPDATE pgbench_tellers SET tbalance = tbalance + ", " -> UPDATE 1"),
            ("UPDATE pgbench_branches SET bbalance = bbalance + ", " -> UPDATE 1"),
            ("INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (", " -> INSERT 0 1"),
            ("END", " -> COMMIT"),
        ] {
            assert_eq!(count(begin, end), 2 * TRANSACTIONS, "{mode}: {begin} in {said:#?}");
        }
        let parses = said.iter().filter(|one| one.starts_with("Parse ")).count();
        let executions = seen.iter().filter(|one| one["request"]["type"] == "Execute").count();
        let expected = match mode {
            "simple" => (0, 0),
            "extended" => (0, 2 * 7 * TRANSACTIONS),
            _ => (2 * 7, 2 * 7 * TRANSACTIONS),
        };
        assert_eq!((parses, executions), expected, "{mode}");
        if mode != "simple" {
            let parameters: Vec<&Value> = seen
                .iter()
                .map(|one| &one["request"]["parameter_count"])
                .filter(|count| !count.is_null())
                .collect();
            assert_eq!(parameters.len(), 2 * 5 * TRANSACTIONS, "{mode}: all but BEGIN and END have some");
        }
    }
    server.end();
}

#[test]
fn a_connection_that_is_open_before_the_trace_begins_with_what_is_said_then() {
    if !require_bpf() {
        return;
    }
    let server = Postgres::start();
    let program = r#"
import sys, psycopg
connection = psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} sslmode=disable", autocommit=True)
ask = lambda n: connection.execute("SELECT %s::text", (n,), prepare=True).fetchall()
ask("before")
print("ready", flush=True)
sys.stdin.readline()
ask("after")
connection.execute("SELECT 1")
connection.close()
"#;
    let mut command = Command::new(SYSTEM_PYTHON);
    command.args(["-c", program, &server.address.port().to_string()]).env("PGUSER", "postgres");
    command.env("PGPASSWORD", common::postgres::PASSWORD).env("PGDATABASE", "postgres");
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
    let expected = [
        "unknown statement \"_pg3_0\" ['after'] -> 1 row (SELECT 1)",
        "SELECT 1 -> 1 row (SELECT 1)",
        "Terminate",
    ];
    assert_eq!(summaries(&seen), expected);
    assert_eq!(seen[0]["request"]["statement"], "unknown");
}
