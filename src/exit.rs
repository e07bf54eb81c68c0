//! How a run ends: its outcome or error becomes one message, perhaps a hint, and the exit status.
//!
//! The statuses: 0 well, 1 differences found, 2 wrong usage or unreadable input (also: output that
//! can't be written), 3 cannot attach. Nothing else in the crate chooses a status.

use crate::output::escape::escape;
use crate::source;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to complain of: status 0.
    Well,
    /// A comparison found differences: status 1.
    Differences,
}

/// The user asked for something that can't be done: status 2.
#[derive(Debug)]
pub struct Usage {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
}

impl Usage {
    /// An error with a hint.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Usage {
        Usage { message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Usage {}

/// Reports an error on stderr, if there is one, and gives the exit status.
pub fn status(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Differences) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = io::stderr().lock();
            // Nothing can be done about a stderr that is gone.
            let _ = stderr.write_all(message(&error).as_bytes());
            ExitCode::from(code(&error))
        }
    }
}

/// `sockdbg: what failed: why`, and a line with a hint where there is one.
fn message(error: &anyhow::Error) -> String {
    let mut text = format!("sockdbg: {}\n", escape(format!("{error:#}").as_bytes()));
    if let Some(hint) = hint(error) {
        text.push_str(&format!("hint: {}\n", escape(hint.as_bytes())));
    }
    text
}

fn code(error: &anyhow::Error) -> u8 {
    let attach = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(source::Error::Attach(_)))
    };
    if error.chain().any(attach) { 3 } else { 2 }
}

fn hint(error: &anyhow::Error) -> Option<String> {
    for cause in error.chain() {
        if let Some(usage) = cause.downcast_ref::<Usage>() {
            return usage.hint.clone();
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return hint_for_io(error.kind()).map(str::to_owned);
        }
    }
    None
}

fn hint_for_io(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::PermissionDenied => Some("recordings and captures often belong to root: try sudo"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Some("what was recorded until then is in the file; record elsewhere, or less with --snaplen")
        }
        io::ErrorKind::IsADirectory => Some("name a file"),
        _ => None,
    }
}

/// True where the reader of our output went away, which is how `| head` ends a run.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
        Some(error) => error.kind() == io::ErrorKind::BrokenPipe,
        None => cause
            .downcast_ref::<serde_json::Error>()
            .is_some_and(|error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe)),
    };
    error.chain().any(broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn failing_to_attach_is_3_however_deep_it_lies() {
        let error = Err::<(), _>(source::Error::Attach("no BTF".into())).context("process 1").unwrap_err();
        assert_eq!(code(&error), 3);
        assert_eq!(message(&error), "sockdbg: process 1: no BTF\n");
    }

    #[test]
    fn everything_else_is_2() {
        assert_eq!(code(&anyhow!("x")), 2);
        assert_eq!(code(&source::Error::Input("not a capture".into()).into()), 2);
        assert_eq!(code(&Usage::new("a", "b").into()), 2);
    }

    #[test]
    fn a_message_is_one_harmless_line_and_the_hint_another() {
        let error = Usage::new("no file \u{1b}[2Jx\ny", "look").into();
        assert_eq!(message(&error), "sockdbg: no file \\x1b[2Jx\\ny\nhint: look\n");
    }

    #[test]
    fn a_broken_pipe_is_recognised_below_context_and_in_json() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(pipe()).context("stdout")));
        assert!(is_broken_pipe(&serde_json::Error::io(pipe()).into()));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
