//! Real processes to observe: Python programs written in the test, nginx, nghttpd, nghttpx, redis-server. Each is ended by its
//! own id when the test is done with it.

#[allow(unused_imports)] // see mod.rs
pub use super::noise::noise;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long any awaited condition may take on a busy machine; longer, by the factor SOCKDBG_TEST_SLOW, on one that
/// is slow by itself.
pub fn patience() -> Duration {
    let factor =
        std::env::var("SOCKDBG_TEST_SLOW").map_or(1, |factor| factor.parse().expect("a whole number"));
    Duration::from_secs(30) * factor
}

/// Polls until `condition` holds; fails the test when it does not in time.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(patience(), condition), "not in time: {what}");
}

/// Polls until `condition` holds; false where it does not for so long.
pub fn comes_true(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A listener on a free loopback port.
pub fn listen() -> (TcpListener, u16) {
    listen_at("127.0.0.1")
}

/// A listener on a free port of `host`.
pub fn listen_at(host: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((host, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    (listener, port)
}

/// A port nobody listens on now, for servers that can't be told to take any.
pub fn free_port() -> u16 {
    listen().1
}

/// Accepts one connection, sends `bytes`, closes its side, and returns all that came.
pub fn exchange(listener: &TcpListener, bytes: &[u8]) -> Vec<u8> {
    let (stream, _) = listener.accept().expect("the workload connects");
    converse(&stream, bytes)
}

/// Sends `bytes`, closes its side, and returns all that came meanwhile.
pub fn converse(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = stream;
            stream.write_all(bytes).expect("the workload reads");
            stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
        });
        let mut received = Vec::new();
        let mut stream = stream;
        stream.read_to_end(&mut received).expect("the workload writes and closes");
        received
    })
}

/// Ends a connection, and waits until the other end did: nothing of it is left at a tracer's start.
fn hang_up(mut stream: &TcpStream) -> bool {
    stream.shutdown(std::net::Shutdown::Write).is_ok() && stream.read_to_end(&mut Vec::new()).is_ok()
}

/// A Python program that does what a test wants traced.
pub struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

const PRELUDE: &str = r#"
import errno, os, select, socket, struct, sys, threading, time
port = int(sys.argv[1])
def pause():
    print("ready", flush=True)
    if not sys.stdin.readline(): sys.exit(1)
def connect(host="127.0.0.1"):
    return socket.create_connection((host, port))
def receive(s):
    total = b""
    while True:
        some = s.recv(65536)
        if not some: return total
        total += some
"#;

impl Python {
    /// Starts a program. It has `port`, `pause()` (waits for [`Python::go`]), `connect()` and `receive(s)`
    /// (to the end of the stream).
    pub fn start(program: &str, port: u16) -> Python {
        Python::start_by(Path::new("python3"), program, port)
    }

    /// The same with another interpreter, which finds other packages.
    pub fn start_by(interpreter: &Path, program: &str, port: u16) -> Python {
        let mut child = Command::new(interpreter)
            .args(["-c", &format!("{PRELUDE}\n{program}"), &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Python { child, input, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program calls `pause()`.
    pub fn paused(&mut self) {
        assert_eq!(self.line(), "ready");
    }

    /// The next line it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_string()
    }

    /// Lets it go on after `pause()`.
    pub fn go(&mut self) {
        self.input.write_all(b"go\n").expect("the program waits");
    }

    /// Waits for its end, which must be a good one.
    pub fn ended(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("a child").success(), "the workload failed");
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("a running child");
        self.child.wait().expect("a child");
    }
}

/// A server process, ended with the test.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    files: tempfile::TempDir,
}

impl Server {
    fn start(mut command: Command, port: u16, files: tempfile::TempDir) -> Server {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = Server { child, address, files };
        eventually("the server listens", || TcpStream::connect(address).is_ok_and(|probe| hang_up(&probe)));
        server
    }

    /// nginx as one process, in the foreground, on both loopback addresses; serves `body` as /body.
    pub fn nginx(body: &[u8], sendfile: bool) -> Server {
        let files = tempfile::tempdir().expect("room for files");
        let root = files.path().to_str().expect("a UTF-8 path").to_string();
        let port = free_port();
        std::fs::write(files.path().join("body"), body).expect("room for files");
        let configuration = format!(
            "daemon off; master_process off; user root; pid {root}/pid; error_log {root}/error;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; sendfile {}; keepalive_timeout 60; server {{ listen 127.0.0.1:{port}; listen [::1]:{port}; \
             root {root}; }} client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; \
             uwsgi_temp_path {root}/d; scgi_temp_path {root}/e; }}\n",
            if sendfile { "on" } else { "off" }
        );
        let path = files.path().join("conf");
        std::fs::write(&path, configuration).expect("room for files");
        let mut command = Command::new("nginx");
        command.args(["-p", &root, "-e", &format!("{root}/error"), "-c"]).arg(path);
        Server::start(command, port, files)
    }

    /// nginx likewise, over TLS 1.2 and 1.3, with the certificate and key in these files of PEM; speaks HTTP/2 with who
    /// wants that, and keeps sessions.
    pub fn nginx_tls(body: &[u8], certificate: &Path, key: &Path) -> Server {
        let files = tempfile::tempdir().expect("room for files");
        let root = files.path().to_str().expect("a UTF-8 path").to_string();
        let port = free_port();
        std::fs::write(files.path().join("body"), body).expect("room for files");
        let (certificate, key) = (certificate.display(), key.display());
        let configuration = format!(
            "daemon off; master_process off; user root; pid {root}/pid; error_log {root}/error;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; ssl_certificate {certificate}; ssl_certificate_key {key}; \
             ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:a:1m; \
             server {{ listen 127.0.0.1:{port} ssl http2; root {root}; }} client_body_temp_path {root}/a; \
             proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; \
             scgi_temp_path {root}/e; }}\n"
        );
        let path = files.path().join("conf");
        std::fs::write(&path, configuration).expect("room for files");
        let mut command = Command::new("nginx");
        command.args(["-p", &root, "-e", &format!("{root}/error"), "-c"]).arg(path);
        Server::start(command, port, files)
    }

    /// nginx likewise, in front of `behind`, to which it passes on upgrades of the protocol.
    pub fn nginx_proxy(behind: SocketAddr) -> Server {
        let files = tempfile::tempdir().expect("room for files");
        let root = files.path().to_str().expect("a UTF-8 path").to_string();
        let port = free_port();
        let configuration = format!(
            "daemon off; master_process off; user root; pid {root}/pid; error_log {root}/error;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{behind}; \
             proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
             proxy_set_header Connection upgrade; }} }} client_body_temp_path {root}/a; proxy_temp_path {root}/b; \
             fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; scgi_temp_path {root}/e; }}\n"
        );
        let path = files.path().join("conf");
        std::fs::write(&path, configuration).expect("room for files");
        let mut command = Command::new("nginx");
        command.args(["-p", &root, "-e", &format!("{root}/error"), "-c"]).arg(path);
        Server::start(command, port, files)
    }

    /// nghttpd in clear text: HTTP/2 for who knows that beforehand; serves `files`, and pushes as `more` says.
    pub fn nghttpd(files: &[(&str, &[u8])], more: &[&str]) -> Server {
        let root = tempfile::tempdir().expect("room for files");
        let port = free_port();
        for (name, body) in files {
            std::fs::write(root.path().join(name), body).expect("room for files");
        }
        let mut command = Command::new("nghttpd");
        command.args(["--no-tls", "-a", "127.0.0.1", "-d", root.path().to_str().expect("a UTF-8 path")]);
        command.args(more).arg(port.to_string());
        Server::start(command, port, root)
    }

    /// nghttpx in clear text, as one process, in front of `behind`; upgrades from HTTP/1.1 to HTTP/2.
    pub fn nghttpx(behind: SocketAddr) -> Server {
        let files = tempfile::tempdir().expect("room for files");
        let port = free_port();
        let mut command = Command::new("nghttpx");
        command.args(["--conf=/dev/null", "--single-process", "--workers=1", "--errorlog-file=/dev/null"]);
        command.args([format!("-f127.0.0.1,{port};no-tls"), format!("-b127.0.0.1,{}", behind.port())]);
        Server::start(command, port, files)
    }

    /// redis-server without persistence, at a Unix socket, too.
    pub fn redis() -> Server {
        let files = tempfile::tempdir().expect("room for files");
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
        ]);
        command.arg("--unixsocket").arg(files.path().join("socket"));
        command.current_dir(files.path());
        Server::start(command, port, files)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where redis listens beside its port.
    pub fn unix_socket(&self) -> PathBuf {
        self.files.path().join("socket")
    }

    /// Ends it once it has returned from every call that answered what it was asked until now: it serves on
    /// one thread, and has come round to closing a connection made later.
    pub fn end(self) {
        self.settle();
    }

    /// Ends it now, and waits for that; its port is free then.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it has returned from every call that answered what it was asked until now.
    pub fn settle(&self) {
        let probe = TcpStream::connect(self.address).expect("the server listens");
        assert!(hang_up(&probe), "the server closes");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
