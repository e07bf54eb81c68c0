//! A PostgreSQL server of the test's own, and clients that wait to be watched.

use super::peer::{comes_true, eventually, free_port, patience};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The password of the role `postgres`.
pub const PASSWORD: &str = "hunter2";

/// The server: on a port of the loopback interface, where it asks for a password (SCRAM), and on a Unix socket, where
/// it trusts.
pub struct Postgres {
    child: Child,
    pub address: SocketAddr,
    files: tempfile::TempDir,
}

impl Postgres {
    pub fn start() -> Postgres {
        Postgres::start_with(None)
    }

    /// With TLS, if there is a certificate and a key for it, in files of PEM.
    pub fn start_with(tls: Option<[&Path; 2]>) -> Postgres {
        let files = tempfile::tempdir().expect("room for files");
        let port = free_port();
        // The server refuses to run as root: it has a user of its own, who has to reach its files.
        run(Command::new("chown").args(["postgres:postgres"]).arg(files.path()));
        let password = files.path().join("password");
        std::fs::write(&password, PASSWORD).expect("room for files");
        run(Command::new("chmod").arg("644").arg(&password));
        let data = files.path().join("data");
        let mut create = as_postgres("initdb", files.path());
        create.args(["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--no-locale"]);
        create.args(["--encoding=UTF8", "--pwfile"]).arg(&password).arg("-D").arg(&data);
        run(create.stdout(Stdio::null()));
        let mut serve = as_postgres("postgres", files.path());
        serve.arg("-D").arg(&data).arg("-k").arg(files.path());
        serve.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F", "-c", "wal_level=logical"]);
        if let Some(pair) = tls {
            serve.args(["-c", "ssl=on"]);
            for (name, from) in ["ssl_cert_file", "ssl_key_file"].into_iter().zip(pair) {
                let to = files.path().join(name);
                std::fs::copy(from, &to).expect("room for files");
                run(Command::new("chown").arg("postgres:postgres").arg(&to));
                run(Command::new("chmod").arg("600").arg(&to));
                serve.arg("-c").arg(format!("{name}={}", to.display()));
            }
        }
        let child = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Postgres {
            child: child.expect("postgres is installed"),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            files,
        };
        eventually("the server accepts connections", || {
            let mut asks = Command::new(program("pg_isready"));
            let asks = asks.args(["-q", "-h"]).arg(server.socket_folder()).args(["-p", &port.to_string()]);
            asks.status().expect("pg_isready").success()
        });
        server
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its Unix socket is; the port is part of the socket's name.
    pub fn socket_folder(&self) -> &Path {
        self.files.path()
    }

    /// The Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.files.path().join(format!(".s.PGSQL.{}", self.address.port()))
    }

    /// Ends it, and waits for its end: nobody listens on its port any more.
    pub fn end(mut self) {
        self.stop();
    }

    /// Immediate shutdown: all its processes end, and its shared memory goes.
    fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGQUIT);
        comes_true(patience(), || !matches!(self.child.try_wait(), Ok(None)));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of PostgreSQL: not all are in the PATH of Debian and Ubuntu.
pub fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

fn as_postgres(name: &str, folder: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program(name));
    command.current_dir(folder);
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    assert!(status.success(), "{command:?}");
}

/// A command that begins when it is told to, as the same process.
pub struct Held(Child);

impl Held {
    /// Prepares `program` with `args`.
    pub fn new(program: &Path, args: &[&str]) -> Held {
        let mut command = Command::new("sh");
        command.args(["-c", "read go; exec \"$0\" \"$@\""]).arg(program).args(args);
        command.env("PGPASSWORD", PASSWORD).env("PGUSER", "postgres").env("PGDATABASE", "postgres");
        command.env("PGAPPNAME", "test").env("PGCLIENTENCODING", "UTF8").env("PGGSSENCMODE", "disable");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Held(child.expect("a shell"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets it run to its end.
    pub fn run(mut self) -> Output {
        self.0.stdin.take().expect("piped").write_all(b"go\n").expect("it waits");
        self.0.wait_with_output().expect("it ends")
    }
}
