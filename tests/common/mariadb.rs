//! A MariaDB server of the test's own, and a client of its library.

use super::peer::{comes_true, eventually, free_port, patience};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The password of the user `tester`.
pub const PASSWORD: &str = "hunter2";

/// The server: on a port of the loopback interface, and on a Unix socket, with a binary log.
pub struct MariaDb {
    child: Child,
    pub address: SocketAddr,
    files: tempfile::TempDir,
}

impl MariaDb {
    pub fn start() -> MariaDb {
        let files = tempfile::tempdir().expect("room for files");
        let port = free_port();
        let data = files.path().join("data");
        let mut create = Command::new("mariadb-install-db");
        create.args(["--no-defaults", "--user=root", "--skip-test-db", "--skip-name-resolve"]);
        create.args(["--auth-root-authentication-method=normal"]).arg(option("--datadir", &data));
        run(create.stdout(Stdio::null()).stderr(Stdio::null()));
        let begin = files.path().join("begin.sql");
        let statements = format!(
            "CREATE DATABASE test;\n\
             CREATE USER tester@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO tester@'127.0.0.1' WITH GRANT OPTION;\n"
        );
        std::fs::write(&begin, statements).expect("room for files");
        let mut serve = Command::new(server_program());
        serve.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--local-infile=1"]);
        serve.args(["--skip-name-resolve", "--innodb-buffer-pool-size=16M", "--max-allowed-packet=64M"]);
        serve.args(["--log-bin=binlog", "--server-id=1", "--max-session-mem-used=1G"]);
        serve.args([option("--datadir", &data), option("--init-file", &begin)]);
        serve.arg(option("--socket", &files.path().join("socket"))).arg(format!("--port={port}"));
        let child = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = MariaDb {
            child: child.expect("mariadbd is installed"),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            files,
        };
        eventually("the server has made the user and accepts connections", || {
            let mut asks = Command::new("mariadb-admin");
            asks.args(["--no-defaults", "-h", "127.0.0.1", "-u", "tester", "ping"]);
            asks.args([format!("-P{port}"), format!("-p{PASSWORD}")]);
            let asks = asks.stdout(Stdio::null()).stderr(Stdio::null());
            asks.status().expect("mariadb-admin").success()
        });
        server
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.files.path().join("socket")
    }

    /// A file of the test's own, with this in it.
    pub fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, contents).expect("room for files");
        path
    }

    /// The client of MariaDB's library, `tests/clients/mariadb.c`.
    pub fn client(&self) -> PathBuf {
        let path = self.files.path().join("client");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/mariadb.c");
        let mut compile = Command::new("clang");
        compile.args(["-O0", "-I/usr/include/mariadb", "-o"]).arg(&path).args([source, "-lmariadb"]);
        run(&mut compile);
        path
    }

    /// Ends it, and waits for its end: nobody listens on its port any more.
    pub fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        comes_true(patience(), || !matches!(self.child.try_wait(), Ok(None)));
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.stop();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Servers live in sbin directories, which are not in every user's PATH.
fn server_program() -> PathBuf {
    let path = PathBuf::from("/usr/sbin/mariadbd");
    if path.exists() { path } else { PathBuf::from("mariadbd") }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.to_str().expect("a UTF-8 path"))
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    assert!(status.success(), "{command:?}");
}
