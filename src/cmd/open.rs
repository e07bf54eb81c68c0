//! Opens what a subcommand looks at: a file, running processes, or a command that it starts.

use super::options::{Limits, Subject, Targets};
use super::screen::say;
use crate::process::command::{Running, Suspended};
use crate::source::live::{FdFilter, Live, Options};
use crate::source::{self, Source};
use anyhow::Context;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A source, and what belongs to it.
pub struct Opened {
    /// Where events come from.
    pub source: Box<dyn Source>,
    /// True where they come as they happen.
    pub live: bool,
    command: Option<Running>,
}

impl Opened {
    /// Says on stderr how the started command ended, where one was started and did not end well. One that
    /// still runs is left alone.
    pub fn report_command(&mut self) {
        let ended = self.command.as_ref().and_then(|command| command.try_wait().ok().flatten());
        if let Some(status) = ended.filter(|status| !status.success()) {
            say(&format!("the command ended with {}", words(status)));
        }
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Opens the subject that the options chose. A live source ends when `stop` is set.
///
/// # Errors
/// It can't be read, or the kernel does not let us observe.
pub fn subject(
    subject: &Subject,
    targets: &Targets,
    limits: &Limits,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Opened> {
    match subject {
        Subject::File(path) => Ok(Opened { source: source::open(path)?, live: false, command: None }),
        Subject::Pids(pids) => {
            let source = Box::new(Live::attach(options(pids.clone(), targets, limits, stop))?);
            Ok(Opened { source, live: true, command: None })
        }
        Subject::Command(argv) => start(argv, targets, limits, stop),
    }
}

/// Puts the probes in place before the command's first instruction.
fn start(
    argv: &[OsString],
    targets: &Targets,
    limits: &Limits,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Opened> {
    let name = || argv.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let suspended = Suspended::spawn(argv).with_context(|| format!("cannot start {}", name()))?;
    let source = Box::new(Live::attach(options(vec![suspended.pid()], targets, limits, stop))?);
    let command = suspended.resume().with_context(|| format!("cannot start {}", name()))?;
    Ok(Opened { source, live: true, command: Some(command) })
}

fn options(pids: Vec<u32>, targets: &Targets, limits: &Limits, stop: Arc<AtomicBool>) -> Options {
    // A descriptor of the list fits: its parser checks.
    let fds = targets.fd.as_ref().map(|list| FdFilter {
        fds: list.fds.iter().filter_map(|&fd| i32::try_from(fd).ok()).collect(),
        negate: list.negate,
    });
    let (snaplen, ring_size, duration) = (limits.snaplen, limits.ring_size, limits.duration);
    Options { pids, fds, snaplen, ring_size, duration, stop }
}
