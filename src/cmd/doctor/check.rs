//! What the parts of `doctor` have in common: a thing that was checked, its state, and how it is shown.

use crate::cmd::options::Format;
use crate::output::escape::escape;
use crate::output::json::write_line;
use crate::output::paint::Paint;
use serde::Serialize;
use std::io::{self, BufWriter, StdoutLock, Write};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not there; something else is used.
    Fallback,
    /// Not there, and not needed.
    Absent,
    /// Not there, and sockdbg can't do without.
    Missing,
    /// Wrong result of the self-test.
    Failed,
    /// Could not be checked.
    Unknown,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Fallback => "fallback",
            State::Absent => "absent",
            State::Missing => "missing",
            State::Failed => "failed",
            State::Unknown => "unknown",
        }
    }
}

/// One thing that was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    r#type: &'static str,
    /// What belongs together.
    pub group: &'static str,
    /// What was checked.
    pub name: String,
    /// How it ended.
    pub state: State,
    /// What that means.
    pub detail: String,
}

impl Check {
    /// A check of `group`.
    pub fn new(
        group: &'static str,
        name: impl Into<String>,
        state: State,
        detail: impl Into<String>,
    ) -> Check {
        Check { r#type: "check", group, name: name.into(), state, detail: detail.into() }
    }
}

/// The last line: what all checks together mean.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    r#type: &'static str,
    verdict: &'static str,
    detail: &'a str,
}

/// Shows checks on stdout, as text or as JSON Lines.
pub struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    paint: Paint,
    group: &'static str,
}

impl Printer {
    /// In `format`; text is coloured by `paint`.
    pub fn new(format: Format, paint: Paint) -> Printer {
        Printer { out: BufWriter::new(io::stdout().lock()), format, paint, group: "" }
    }

    /// Shows a check, below the name of its group.
    ///
    /// # Errors
    /// stdout can't be written.
    pub fn check(&mut self, check: &Check) -> io::Result<()> {
        if self.format == Format::Json {
            return write_line(check, &mut self.out);
        }
        if self.group != check.group {
            let gap = if self.group.is_empty() { "" } else { "\n" };
            self.group = check.group;
            writeln!(self.out, "{gap}{}", self.paint.quiet(check.group))?;
        }
        let word = format!("{:8}", check.state.word());
        let state = match check.state {
            State::Missing | State::Failed => self.paint.alarm(word),
            State::Fallback => self.paint.word(word),
            _ => self.paint.quiet(word),
        };
        let detail = escape(check.detail.as_bytes());
        writeln!(self.out, "  {state}  {:35} {detail}", escape(check.name.as_bytes()).to_string())
    }

    /// Shows something as `text`, line by line and escaped by the caller, or as the JSON line `value`.
    ///
    /// # Errors
    /// stdout can't be written.
    pub fn item(&mut self, value: &impl Serialize, text: impl FnOnce(Paint) -> String) -> io::Result<()> {
        match self.format {
            Format::Json => write_line(value, &mut self.out),
            Format::Text => writeln!(self.out, "{}", text(self.paint)),
        }
    }

    /// Shows what all of it means, and that nothing more comes.
    ///
    /// # Errors
    /// stdout can't be written.
    pub fn end(&mut self, verdict: &'static str, detail: &str) -> io::Result<()> {
        let summary = Summary { r#type: "summary", verdict, detail };
        self.item(&summary, |paint| {
            format!("\n{}: {}", paint.word(verdict.replace('-', " ")), escape(detail.as_bytes()))
        })?;
        self.out.flush()
    }
}
