//! Opens what a subcommand looks at: a file, running processes, or a command that it starts.

use super::options::{Limits, Subject, Targets};
use crate::source::{self, Source};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A source, and what belongs to it.
pub struct Opened {
    /// Where events come from.
    pub source: Box<dyn Source>,
    /// True where they come as they happen.
    pub live: bool,
}

impl Opened {
    /// Says on stderr how the started command ended, where one was started and did not end well.
    pub fn report_command(&mut self) {}
}

/// Opens the subject that the options chose. A live source ends when `stop` is set.
///
/// # Errors
/// It can't be read, or the kernel does not let us observe.
pub fn subject(
    subject: &Subject,
    _targets: &Targets,
    _limits: &Limits,
    _stop: Arc<AtomicBool>,
) -> anyhow::Result<Opened> {
    match subject {
        Subject::File(path) => Ok(Opened { source: file(path)?, live: false }),
        Subject::Pids(_) | Subject::Command(_) => {
            Err(source::Error::Attach("this build has no live source yet".into()).into())
        }
    }
}

/// Opens a recording or a capture; `-` is stdin.
///
/// # Errors
/// It can't be read, or is neither of them.
pub fn file(path: &Path) -> Result<Box<dyn Source>, source::Error> {
    Ok(Box::new(source::pcap::Capture::open(path, source::pcap::Options::default())?))
}
