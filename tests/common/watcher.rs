//! A sockdbg, or another program, at work beside the test: what it says, how it ends.

use super::killed::Killed;
use super::peer::{comes_true, patience};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// A program of this project, as it was built with the tests; or from the folder SOCKDBG_TEST_PROGRAMS, where the
/// tests run elsewhere.
pub fn program(name: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_sockdbg"));
    match std::env::var_os("SOCKDBG_TEST_PROGRAMS") {
        Some(folder) => Path::new(&folder).join(name),
        None if name == "sockdbg" => built.to_owned(),
        None => built.with_file_name("examples").join(name),
    }
}

/// True where the tests run elsewhere than they were built.
pub fn programs_are_elsewhere() -> bool {
    std::env::var_os("SOCKDBG_TEST_PROGRAMS").is_some()
}

/// A sockdbg (or another program) at work.
pub struct Watcher {
    child: Killed,
    stdout: thread::JoinHandle<Vec<u8>>,
    stderr: thread::JoinHandle<Vec<u8>>,
    lines: mpsc::Receiver<String>,
}

impl Watcher {
    /// Starts sockdbg.
    pub fn sockdbg(args: &[&str]) -> Watcher {
        Watcher::start(Command::new(program("sockdbg")).args(args))
    }

    /// Starts `verify` of a process on the loopback interface; it is watching.
    pub fn verify(pid: u32, args: &[&str]) -> Watcher {
        let pid = pid.to_string();
        let fixed = ["verify", "-p", &pid, "-i", "lo", "--format", "json"];
        Watcher::sockdbg(&[&fixed, args].concat()).wait_for("watching")
    }

    /// Starts `events` of a process, recording into `file`; it is watching.
    pub fn recording(pid: u32, file: &Path, args: &[&str]) -> Watcher {
        let pid = pid.to_string();
        let fixed = ["events", "-p", &pid, "-w", file.to_str().expect("a UTF-8 path")];
        Watcher::sockdbg(&[&fixed, args].concat()).wait_for("watching")
    }

    /// Starts `conn-trace` of a process; it is watching.
    pub fn conn_trace(pid: u32) -> Watcher {
        let pid = pid.to_string();
        Watcher::sockdbg(&["conn-trace", "-p", &pid, "--format", "json"]).wait_for("watching")
    }

    /// Starts a command.
    pub fn start(command: &mut Command) -> Watcher {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let err = child.stderr.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut all = Vec::new();
            out.read_to_end(&mut all).unwrap();
            all
        });
        let (send, lines) = mpsc::channel();
        let stderr = thread::spawn(move || read_lines(err, &send));
        Watcher { child: Killed(child), stdout, stderr, lines }
    }

    /// Waits for a line on stderr that contains `word`.
    pub fn wait_for(self, word: &str) -> Watcher {
        let deadline = Instant::now() + patience();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(word) => return self,
                Ok(_) => {}
                Err(error) => panic!("no {word:?} on stderr: {error}"),
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.0.id() as i32), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Output {
        if !comes_true(patience(), || self.child.0.try_wait().unwrap().is_some()) {
            self.child.0.kill().unwrap();
            panic!("the program does not end: {}", String::from_utf8_lossy(&self.stderr.join().unwrap()));
        }
        let status = self.child.0.wait().unwrap();
        let (stdout, stderr) = (self.stdout.join().unwrap(), self.stderr.join().unwrap());
        Output { status, stdout, stderr }
    }
}

fn read_lines(stream: ChildStderr, send: &mpsc::Sender<String>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).unwrap() == 0 {
            return all;
        }
        all.extend_from_slice(&line);
        // The test may have seen what it waited for.
        let _ = send.send(String::from_utf8_lossy(&line).into_owned());
    }
}
