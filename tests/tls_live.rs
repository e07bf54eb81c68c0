//! Real TLS, traced: nginx and a PostgreSQL server asked by curl, openssl and psycopg. What the records tell of each
//! handshake is what the client says that it agreed on.

mod common;

use common::events::{records, text};
use common::observed::{Observed, essence, records_of};
use common::peer::{Python, Server, noise};
use common::postgres::{Held, Postgres};
use common::python::SYSTEM_PYTHON;
use common::report::Report;
use common::trace::require_bpf;
use common::watcher::Watcher;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The host that the certificate is for.
const HOST: &str = "tls.test";

/// Bytes of the body that nginx serves.
const BODY: usize = 100_000;

/// A certificate that signs itself, and its key.
struct Identity {
    folder: tempfile::TempDir,
}

impl Identity {
    fn new() -> Identity {
        let folder = tempfile::tempdir().expect("room for files");
        let identity = Identity { folder };
        let names = format!("subjectAltName=DNS:{HOST},DNS:other.test,IP:127.0.0.1");
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ]);
        command.args(["-subj", &format!("/O=Test, Inc./CN={HOST}"), "-addext", &names]);
        command.arg("-keyout").arg(identity.key()).arg("-out").arg(identity.certificate());
        let output = command.output().expect("openssl is installed");
        assert!(output.status.success(), "{}", text(&output.stderr));
        identity
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// What openssl prints of the certificate, as asked.
    fn says(&self, what: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout"]).args(what).arg("-in").arg(self.certificate());
        let line = text(&command.output().expect("openssl is installed").stdout);
        let line = line.trim();
        line.split_once('=').expect("a name and a value").1.trim().to_owned()
    }

    fn nginx(&self) -> Server {
        Server::nginx_tls(&noise(BODY, 11), &self.certificate(), &self.key())
    }

    /// curl for the body, with further arguments.
    fn curl(&self, port: u16, more: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["-v", "-sS", "-o", "/dev/null", "--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
        command.args(more).arg(format!("https://{HOST}:{port}/body"));
        command.output().expect("curl is installed")
    }

    /// openssl's client, which asks for the body.
    fn s_client(&self, port: u16, more: &[&str]) -> Output {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", HOST, "-ign_eof"]);
        command.args(["-CAfile"]).arg(self.certificate()).args(more);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        // Where the handshake fails it does not read this.
        let _ = child.stdin.take().expect("piped").write_all(b"GET /body HTTP/1.0\r\n\r\n");
        child.wait_with_output().expect("it ends")
    }
}

/// The name that IANA has for a cipher suite that openssl names in its own way.
fn standard_name(openssl: &str) -> String {
    let output = Command::new("openssl").args(["ciphers", "-stdname", "ALL"]).output().expect("openssl");
    let table = text(&output.stdout);
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(2) == Some(&openssl)).unwrap_or_else(|| panic!("no suite {openssl}"));
    row[0].to_owned()
}

/// The words of a line of curl's behind `start`.
fn curl_says(output: &Output, start: &str) -> String {
    let all = text(&output.stderr);
    let line = all.lines().find_map(|line| line.split_once(start));
    line.unwrap_or_else(|| panic!("no {start} in {all}")).1.trim().to_owned()
}

fn handshakes(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|one| one["protocol"] == "tls" && one["request"]["ja4"].is_string()).collect()
}

#[test]
fn what_curl_and_nginx_agree_on_is_told_live_and_from_recording_and_capture() {
    if !require_bpf() {
        return;
    }
    let identity = Identity::new();
    for (limit, protocol) in [("1.2", "http/1.1"), ("1.2", "h2"), ("1.3", "h2")] {
        let nginx = identity.nginx();
        let port = nginx.address.port();
        let (seen, output) = Observed::run(nginx.pid(), port, || {
            let trust = identity.certificate();
            let http = if protocol == "h2" { "--http2" } else { "--http1.1" };
            let output =
                identity.curl(port, &["--cacert", trust.to_str().expect("UTF-8"), "--tls-max", limit, http]);
            nginx.end();
            output
        });
        assert!(output.status.success(), "{}", text(&output.stderr));
        let using = curl_says(&output, "SSL connection using ");
        let words: Vec<&str> = using.split(" / ").collect();
        let version = words[0].replace("TLSv", "TLS ");
        assert_eq!(version, format!("TLS {limit}"));
        let accepted = curl_says(&output, "server accepted ");
        assert_eq!(accepted.rsplit(' ').next(), Some(protocol));
        let suite = standard_name(words[1]);
        let told: Vec<&Value> = seen.live.iter().filter(|one| one["protocol"] == "tls").collect();
        assert_eq!(told.len(), 2, "{told:#?}");
        let offered = if protocol == "h2" { "h2, http/1.1" } else { protocol };
        // Of TLS 1.3 the server's choice is encrypted.
        let chosen = if limit == "1.2" { format!(" {protocol}") } else { String::new() };
        let expected = format!("ClientHello {HOST} ({offered}) -> {version} {suite}{chosen}");
        assert_eq!((&told[0]["summary"], &told[0]["status"]), (&json!(expected), &json!("complete")));
        assert!(told.iter().all(|one| one["role"] == "server"), "{told:#?}");
        if limit == "1.2" {
            let certificate = &told[0]["response"]["certificates"][0];
            // openssl's form of RFC 4514.
            assert_eq!(certificate["subject"], identity.says(&["-subject", "-nameopt", "RFC2253"]));
            assert_eq!(certificate["issuer"], certificate["subject"]);
            let digest = identity.says(&["-fingerprint", "-sha256"]).replace(':', "").to_lowercase();
            assert_eq!(certificate["sha256"], digest);
            let serial = identity.says(&["-serial"]).to_lowercase();
            assert_eq!(certificate["serial_number"].as_str().expect("text").trim_start_matches("00"), serial);
            let names = json!([format!("DNS:{HOST}"), "DNS:other.test", "IP:127.0.0.1"]);
            assert_eq!(certificate["subject_alternative_name"], names);
        }
        assert_eq!(told[1]["status"], "complete");
        let received = told[1]["response"]["bytes"].as_u64().expect("a number");
        assert!(received > BODY as u64 && received < BODY as u64 + 10_000, "{received}");
        seen.assert_same_records(port);
    }
}

#[test]
fn handshakes_that_fail_name_the_alert() {
    if !require_bpf() {
        return;
    }
    let identity = Identity::new();
    let nginx = identity.nginx();
    let port = nginx.address.port();
    let trace = Watcher::conn_trace(nginx.pid());
    // Nobody told it to trust the certificate.
    for limit in ["1.2", "1.3"] {
        let output = identity.curl(port, &["--tls-max", limit]);
        assert_eq!(output.status.code(), Some(60), "{}", text(&output.stderr));
    }
    let old = identity.s_client(port, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(text(&old.stderr).contains("alert protocol version"), "{}", text(&old.stderr));
    nginx.end();
    let seen = records(&trace.end().stdout);
    let lines: Vec<&str> =
        handshakes(&seen).iter().map(|one| one["summary"].as_str().expect("a summary")).collect();
    // OpenSSL 3.0 sends it in the clear in TLS 1.3, too: it has not sent ChangeCipherSpec by then.
    let ends =
        ["; client: fatal unknown_ca", "; client: fatal unknown_ca", "-> server: fatal protocol_version"];
    assert_eq!(lines.len(), ends.len(), "{lines:#?}");
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.starts_with(&format!("ClientHello {HOST}")) && line.ends_with(end), "{line}");
    }
}

#[test]
fn sessions_that_go_on_are_told_where_openssl_says_so() {
    if !require_bpf() {
        return;
    }
    let identity = Identity::new();
    let nginx = identity.nginx();
    let port = nginx.address.port();
    let session = identity.folder.path().join("session");
    let session = session.to_str().expect("UTF-8");
    let trace = Watcher::conn_trace(nginx.pid());
    let mut expected = Vec::new();
    for version in ["-tls1_2", "-tls1_3"] {
        for (option, word) in [("-sess_out", "New, TLSv1."), ("-sess_in", "Reused, TLSv1.")] {
            let output = identity.s_client(port, &[version, option, session]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains(word), "{said}");
            expected.push(option == "-sess_in");
        }
    }
    nginx.end();
    let seen = records(&trace.end().stdout);
    let resumed: Vec<bool> =
        handshakes(&seen).iter().map(|one| one["response"]["resumed"] == json!(true)).collect();
    assert_eq!(resumed, expected);
    assert!(handshakes(&seen).iter().all(|one| one["status"] == "complete"), "{seen:#?}");
}

#[test]
fn a_comparison_says_that_it_compared_ciphertext() {
    if !require_bpf() {
        return;
    }
    let identity = Identity::new();
    let nginx = identity.nginx();
    let port = nginx.address.port();
    let verify = Watcher::verify(nginx.pid(), &[]);
    let trust = identity.certificate();
    let output = identity.curl(port, &["--cacert", trust.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    nginx.end();
    let report = Report::of(&verify.end());
    report.assert_complete();
    let connection = report.connection();
    let expected: Vec<String> = ["send", "recv"]
        .map(|direction| format!("{direction} 0 {} wire wire-encrypted", connection[direction]["wire"]))
        .to_vec();
    assert_eq!((&connection["protocol"], report.findings()), (&json!("tls"), expected));
    for direction in ["send", "recv"] {
        assert_eq!(connection[direction]["wire"], connection[direction]["recorded"]);
    }
}

/// Asks twice on one connection, the second time when it is told to.
const TWICE: &str = r#"
import ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1_3
s = context.wrap_socket(connect(), server_hostname="tls.test")
def ask(more):
    s.sendall(b"HEAD /body HTTP/1.1\r\nHost: tls.test\r\n%s\r\n" % more)
    answer = b""
    while b"\r\n\r\n" not in answer: answer += s.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
ask(b"")
pause()
ask(b"Connection: close\r\n")
assert receive(s) == b""
s.close()
"#;

#[test]
fn of_a_connection_that_is_open_before_the_trace_ciphertext_is_counted() {
    if !require_bpf() {
        return;
    }
    let identity = Identity::new();
    let nginx = identity.nginx();
    let mut client = Python::start(TWICE, nginx.address.port());
    client.paused();
    let trace = Watcher::conn_trace(nginx.pid());
    client.go();
    client.ended();
    nginx.end();
    let seen = records(&trace.end().stdout);
    assert_eq!(seen.len(), 1, "{seen:#?}");
    // One byte for the type, and a tag of 16 (RFC 8446, section 5.2).
    let asked = "HEAD /body HTTP/1.1\r\nHost: tls.test\r\nConnection: close\r\n\r\n".len() + 17;
    let request = json!({"handshake": "unseen", "records": 1, "bytes": asked});
    assert_eq!((&seen[0]["request"], &seen[0]["status"]), (&request, &json!("complete")));
    // The answer's head, and the alert that closes.
    assert_eq!(seen[0]["response"]["records"], 2, "{seen:#?}");
    let line = seen[0]["summary"].as_str().expect("a summary");
    assert!(line.starts_with("application data (handshake unseen): 1 record"), "{line}");
}

const QUERY: &str = r#"
import sys, psycopg
connection = psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} sslmode=require", autocommit=True)
assert connection.execute("SELECT 7").fetchone() == (7,)
with connection.cursor() as cursor:
    cursor.execute("SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    print(*cursor.fetchone())
connection.close()
"#;

#[test]
fn postgres_hands_over_to_tls() {
    if !require_bpf() {
        return;
    }
    let identity = Identity::new();
    let server = Postgres::start_with(Some([&identity.certificate(), &identity.key()]));
    let port = server.address.port();
    let client = Held::new(Path::new(SYSTEM_PYTHON), &["-c", QUERY, &port.to_string()]);
    let (seen, output) = Observed::run(client.pid(), port, || {
        let output = client.run();
        server.end();
        output
    });
    assert!(output.status.success(), "{}", text(&output.stderr));
    // What the server itself says of the connection.
    let said = text(&output.stdout);
    let (version, suite) = said.trim().split_once(' ').expect("two words");
    let lines: Vec<String> = seen
        .live
        .iter()
        .map(|one| format!("{} {}", one["protocol"].as_str().unwrap(), one["summary"].as_str().unwrap()))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!(lines[0], "postgres SSLRequest -> S (TLS follows)");
    let agreed = format!(" -> {} {}", version.replace("TLSv", "TLS "), standard_name(suite));
    assert!(lines[1].starts_with("tls ClientHello") && lines[1].contains(&agreed), "{lines:#?}");
    assert!(lines[2].starts_with("tls application data: "), "{lines:#?}");
    assert!(seen.live.iter().all(|one| one["status"] == "complete"), "{lines:#?}");
    let live = essence(&seen.live, port);
    assert_eq!(essence(&records_of(&seen.recording), port), live, "recording and live");
    // The server's last alert comes when the client has closed, which nobody reads: it is on the wire alone.
    let capture = essence(&records_of(&seen.capture), port);
    assert_eq!(capture[..2], live[..2], "capture and live");
    let [captured, traced] = [&capture[2].1, &live[2].1].map(|one| (&one["request"], &one["request_range"]));
    assert_eq!((capture.len(), captured), (3, traced), "capture and live");
    let count = |one: &Value| one["response"]["records"].as_u64().expect("a number");
    assert_eq!(count(&capture[2].1), count(&live[2].1) + 1);
}
