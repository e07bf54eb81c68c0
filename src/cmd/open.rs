//! Opens what a subcommand looks at: a file, running processes, or a command that it starts.

use super::options::{FdList, Limits, Targets};
use super::screen::say;
use super::subject::{Chosen, Subject};
use crate::event::Vantage;
use crate::process::command::{Running, Suspended};
use crate::source::live::{FdFilter, Live};
use crate::source::{self, Error, Sink, Source, Summary, live};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A source, and what belongs to it.
pub struct Opened {
    /// Where events come from.
    pub source: Box<dyn Source>,
    /// True where they come as they happen.
    pub live: bool,
    /// True where running the source starts a command.
    starts_command: bool,
    /// The command that was started for it, once it runs.
    command: Rc<OnceCell<Running>>,
}

impl Opened {
    /// Says on stderr that the probes are in place. A command speaks for itself, once it runs, and may turn
    /// out not to be there.
    pub fn announce(&self, message: &str) {
        if self.live && !self.starts_command {
            say(message);
        }
    }

    /// Says on stderr that a file was not read to its end, where `stop` was set on the way.
    pub fn report_interruption(&self, stop: &AtomicBool) {
        if !self.live && stop.load(Ordering::Relaxed) {
            say("interrupted: the rest of the input was not read");
        }
    }

    /// Says on stderr how the started command ended, unless it ended well.
    pub fn report_command(&self) {
        let Some(command) = self.command.get() else { return };
        match command.try_wait() {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(status)) => say(&format!("the command {}", describe(status))),
            _ => say(&format!("the command goes on running as process {}", command.pid())),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {signal}"),
        },
        (None, None) => "ended".into(),
    }
}

/// Opens the subject that the options chose. A live source ends when `stop` is set. A command begins
/// when its source is run: whatever else has to be ready can be made so until then.
///
/// # Errors
/// It can't be read or started, or the kernel does not let us observe.
pub fn subject(
    subject: &Subject,
    targets: &Targets,
    limits: &Limits,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Opened> {
    let attach = |chosen| Live::attach(live_options(chosen, targets, limits, stop));
    let command = Rc::default();
    let source: Box<dyn Source> = match subject {
        Subject::File(path) => file(path)?,
        Subject::Processes(chosen) => Box::new(attach(chosen.clone())?),
        Subject::Command(words) => {
            let child = Suspended::spawn(words).map_err(|error| cannot_run(words, &error))?;
            let live = attach(Chosen { pids: vec![child.pid()], ..Chosen::default() })?;
            let (words, running) = (words.clone(), Rc::clone(&command));
            Box::new(CommandSource { words, live, child: Some(child), running })
        }
    };
    let live = !matches!(subject, Subject::File(_));
    let starts_command = matches!(subject, Subject::Command(_));
    Ok(Opened { source, live, starts_command, command })
}

/// A live source with a command that waits for it: probes are in place before its first instruction.
struct CommandSource {
    words: Vec<OsString>,
    live: Live,
    child: Option<Suspended>,
    running: Rc<OnceCell<Running>>,
}

impl Source for CommandSource {
    fn vantage(&self) -> Vantage {
        self.live.vantage()
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        if let Some(child) = self.child.take() {
            let running = child.resume().map_err(|error| cannot_run(&self.words, &error))?;
            // Set once: the child is taken once.
            let _ = self.running.set(running);
        }
        self.live.run(sink)
    }
}

fn cannot_run(words: &[OsString], error: &std::io::Error) -> Error {
    let program = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    Error::Input(format!("cannot run {program}: {error}"))
}

fn live_options(chosen: Chosen, targets: &Targets, limits: &Limits, stop: Arc<AtomicBool>) -> live::Options {
    let Chosen { pids, names, cgroups, all } = chosen;
    let Limits { snaplen, duration, ring_size, hooks, .. } = *limits;
    live::Options {
        pids,
        follow: targets.follow_forks,
        names,
        cgroups,
        all,
        fds: targets.filters.fd.as_ref().map(fd_filter),
        filter: targets.filters.filter(),
        snaplen,
        ring_size,
        hooks: hooks.into(),
        duration,
        stop,
    }
}

fn fd_filter(list: &FdList) -> FdFilter {
    // FdList takes no number above i32::MAX.
    FdFilter { fds: list.fds.iter().map(|&fd| fd as i32).collect(), negate: list.negate }
}

/// Opens a recording or a capture; `-` is stdin.
///
/// # Errors
/// It can't be read, or is neither of them.
pub fn file(path: &Path) -> Result<Box<dyn Source>, Error> {
    source::open(path)
}
