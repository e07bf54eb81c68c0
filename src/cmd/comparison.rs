//! What `verify`, `pcap-compare` and `demo` share: books of both vantages, the second pass that names
//! missing records, and the report.

use super::blanked::Blanked;
use super::bundle::Bundle;
use super::options::{Format, Output, Redact};
use super::private;
use super::screen::{Screen, say};
use crate::compare::anchor::{Finder, Outline};
use crate::compare::{Collector, Coverage, Edges, Pairing, Report, Side, Verdict};
use crate::conn::{Info, Observer, Options, Tracker};
use crate::event::{Event, Timestamp, Vantage};
use crate::exit::Outcome;
use crate::ledger::Book;
use crate::output::paint::Paint;
use crate::output::report::TextReport;
use crate::output::time::Clock;
use crate::output::{report_html, report_json};
use crate::record::Record;
use crate::redact::{self, Redaction};
use crate::source::{self, Source, Summary};
use anyhow::Context;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How to show a comparison.
#[derive(clap::Args, Clone, Debug)]
pub struct Show {
    /// Format, colours, quiet.
    #[command(flatten)]
    pub output: Output,

    /// List every connection and record instead of folding long lists
    #[arg(long, help_heading = "Output")]
    pub full: bool,

    /// Write the report as one HTML page that needs nothing else, too
    ///
    /// Readable for its owner only: it shows some of the payload, around the findings.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,

    /// Put everything that somebody needs to look at it elsewhere into this folder, new or empty
    ///
    /// The recording, the packets of the compared connections, the report as text, HTML and JSON, what doctor says, and
    /// versions: what one attaches to a bug report. It holds payload, unless --redact is given.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub bundle: Option<PathBuf>,

    /// Whether to leave content out.
    #[command(flatten)]
    pub redact: Redact,

    /// How content is left out in this run.
    #[arg(skip)]
    pub redaction: Option<Redaction>,

    /// The payload of one side was taken out, or of both by two runs: it is not looked at.
    #[arg(skip)]
    pub blank: bool,
}

impl Show {
    /// Begins what has to be the same for all that is shown.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.redaction = self.redact.begin()?;
        Ok(())
    }

    /// Opens a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(&self, path: &Path) -> Result<Box<dyn Source>, source::Error> {
        source::open(path).map(|source| self.blanked(source))
    }

    /// Opens a capture.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open_capture(&self, path: &Path) -> Result<Box<dyn Source>, source::Error> {
        source::open_capture(path).map(|source| self.blanked(source))
    }

    fn blanked(&self, source: Box<dyn Source>) -> Box<dyn Source> {
        if self.blank { Box::new(Blanked::new(source)) } else { source }
    }
}

/// Runs a source to its end through a tracker with `observer`. `also` sees each event as well, and can
/// stop the run.
///
/// # Errors
/// Those of the source.
pub fn observe<O: Observer>(
    source: &mut dyn Source,
    observer: O,
    mut also: impl FnMut(&Event<'_>) -> ControlFlow<()>,
) -> Result<(O, Summary), source::Error> {
    let options = Options { redacted: source.redacted().is_some(), ..Options::default() };
    let mut tracker = Tracker::new(source.vantage(), options, observer);
    let summary = source.run(&mut |event| {
        tracker.event(event);
        also(event)
    })?;
    Ok((tracker.finish(), summary))
}

/// Runs a source to its end and gives its side of the comparison. Warnings go to stderr.
///
/// # Errors
/// Those of the source.
pub fn side(source: &mut dyn Source) -> Result<Side, source::Error> {
    let (book, summary) = observe(source, Book::default(), |_| ControlFlow::Continue(()))?;
    for warning in &summary.warnings {
        say(&format!("warning: {warning}"));
    }
    Ok(side_of(book, &summary))
}

/// As [`side`], of a process; with the outline of its content, by which it can be found in a capture. A bundle gets its
/// recording on the way.
///
/// # Errors
/// Those of the source.
pub fn process_side(
    source: &mut dyn Source,
    bundle: &mut Option<Bundle>,
) -> Result<(Side, Outline), source::Error> {
    let mut outline = Outline::default();
    if let Some(bundle) = bundle {
        bundle.begin(source);
    }
    let (book, summary) = observe(source, Book::default(), |event| {
        if let Some(bundle) = bundle {
            bundle.event(event);
        }
        outline.event(event);
        ControlFlow::Continue(())
    })?;
    for warning in &summary.warnings {
        say(&format!("warning: {warning}"));
    }
    if let Some(bundle) = bundle {
        bundle.end_recording(&summary);
    }
    Ok((side_of(book, &summary), outline))
}

/// The side of the comparison that a book and its source's summary make.
pub fn side_of(book: Book, summary: &Summary) -> Side {
    let coverage = Coverage { first: summary.first, last: summary.last, cut: summary.cut.is_some() };
    Side {
        ledgers: book.into_ledgers(),
        coverage,
        streams_only: summary.streams_only,
        conflicts: summary.conflicts.clone(),
        ..Side::default()
    }
}

/// Compares the process's side with a capture, and names the records that are missing. `outline` finds connections under
/// other addresses. `recording` is where that side can be read again, to find differing bytes exactly. `span` tells when the capture ran, where that is known better than by its first and last packet: the
/// two vantages have one clock then.
///
/// # Errors
/// The capture can't be read.
pub fn compare(
    process: &Side,
    outline: Outline,
    recording: Option<&Path>,
    capture: &Path,
    span: Option<(Timestamp, Timestamp)>,
    how: &Show,
) -> Result<Report, source::Error> {
    let mut source = how.open_capture(capture)?;
    let redacted = source.redacted().is_some();
    let mut wire = side(&mut *source)?;
    if let Some((began, ended)) = span {
        wire.coverage.first = Some(began);
        wire.coverage.last = wire.coverage.last.max(Some(ended));
    }
    let mut pairing = Pairing::new(process, &wire, [Vantage::Syscall, Vantage::Wire]);
    if span.is_some() {
        pairing.of_one_host();
    }
    // Zeros are the content of any connection.
    if let Some(finder) = pairing.finder(outline).filter(|_| !redacted) {
        pairing.by_content(&look(finder, &mut *how.open_capture(capture)?)?.hits());
    }
    let mut report = pairing.report();
    match recording {
        Some(recording) => {
            compare_contents(&mut report, || how.open(recording), || how.open_capture(capture))?
        }
        None => report.leave_contents(),
    }
    name_missing(&mut report, how, || how.open_capture(capture))?;
    Ok(report)
}

/// Looks at the bytes that both sides have where digests do not tell that they are the same.
///
/// # Errors
/// Those of the sources, which are opened anew as often as it takes.
pub fn compare_contents<'a>(
    report: &mut Report,
    process: impl Fn() -> Result<Box<dyn Source + 'a>, source::Error>,
    other: impl Fn() -> Result<Box<dyn Source + 'a>, source::Error>,
) -> Result<(), source::Error> {
    while let Some(keeper) = report.next_suspects() {
        let checker = watch(&mut *process()?, keeper)?.checker();
        report.learn_contents(watch(&mut *other()?, checker)?);
    }
    Ok(())
}

/// Runs a source through a tracker that knows no protocol: its streams are all that matters.
fn watch<O: Observer>(source: &mut dyn Source, observer: O) -> Result<O, source::Error> {
    let options = Options { protocols: &[], redacted: source.redacted().is_some(), ..Options::default() };
    let mut tracker = Tracker::new(source.vantage(), options, observer);
    source.run(&mut |event| {
        tracker.event(event);
        ControlFlow::Continue(())
    })?;
    Ok(tracker.finish())
}

/// Compares two recordings: of both ends of connections, or of one end twice. `first` is where the process's side can be
/// read again.
///
/// # Errors
/// One of them can't be read.
pub fn compare_recordings(
    process: &Side,
    outline: Outline,
    first: Option<&Path>,
    other: &Path,
    how: &Show,
) -> Result<Report, source::Error> {
    let mut source = how.open(other)?;
    let redacted = source.redacted().is_some();
    let other_side = side(&mut *source)?;
    let mut pairing = Pairing::new(process, &other_side, [Vantage::Syscall; 2]);
    if let Some(finder) = pairing.finder(outline).filter(|_| !redacted) {
        pairing.by_content(&look(finder, &mut *how.open(other)?)?.hits());
    }
    let mut report = pairing.report();
    match first {
        Some(first) => compare_contents(&mut report, || how.open(first), || how.open(other))?,
        None => report.leave_contents(),
    }
    name_missing(&mut report, how, || how.open(other))?;
    Ok(report)
}

/// Shows a finder everything of a source.
fn look(mut finder: Finder, source: &mut dyn Source) -> Result<Finder, source::Error> {
    source.run(&mut |event| {
        finder.event(event);
        ControlFlow::Continue(())
    })?;
    Ok(finder)
}

/// Has the second side's source, read `again`, tell what is missing from the first, and the bytes around it where the
/// report is to show them.
///
/// # Errors
/// Those of the source.
pub fn name_missing<'a>(
    report: &mut Report,
    how: &Show,
    again: impl FnOnce() -> Result<Box<dyn Source + 'a>, source::Error>,
) -> Result<(), source::Error> {
    let wanted = report.wanted();
    // Bytes around a finding are content.
    let shows_edges = (how.html.is_some() || how.bundle.is_some()) && how.redaction.is_none();
    let mut edges = if shows_edges { Edges::of(report) } else { Edges::default() };
    if !wanted.is_empty() || !edges.is_empty() {
        let collector = Discreet { observer: Collector::new(wanted), redaction: how.redaction.as_ref() };
        let (collector, _) = observe(&mut *again()?, collector, |event| {
            edges.event(event);
            ControlFlow::Continue(())
        })?;
        report.name_missing(collector.observer);
        edges.settle(report);
    }
    if how.redaction.is_some() {
        let findings = report.connections.iter_mut().flat_map(|one| &mut one.findings);
        findings
            .filter(|finding| redact::may_quote(finding.cause))
            .for_each(|finding| finding.detail.clear());
    }
    Ok(())
}

/// An observer that is shown records without their content.
struct Discreet<'a, O> {
    observer: O,
    redaction: Option<&'a Redaction>,
}

impl<O: Observer> Observer for Discreet<'_, O> {
    fn record(&mut self, info: &Info, time: Timestamp, record: Record) {
        let record = match self.redaction {
            Some(redaction) => redaction.record(record),
            None => record,
        };
        self.observer.record(info, time, record);
    }
}

/// Shows a report and says whether there are differences. `title` names what was compared.
///
/// # Errors
/// Stdout or the page can't be written.
pub fn show(
    report: &Report,
    process: &Side,
    title: &str,
    how: &Show,
    bundle: Option<Bundle>,
) -> anyhow::Result<Outcome> {
    let mut screen = Screen::new(false);
    let time = process.coverage.last.unwrap_or_default();
    if let Some(path) = &how.html {
        private::write_whole(path, |page| report_html::write(report, title, time, page))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match how.output.format {
        Format::Json => screen.show(|out| report_json::write(report, time, out))?,
        Format::Text => {
            let paint = Paint::new(how.output.color.wanted());
            let view = TextReport { clock: Clock::local(), paint, full: how.full };
            screen.show(|out| view.write(report, out))?;
        }
    }
    screen.flush()?;
    if let Some(bundle) = bundle {
        bundle.finish(report, time, title, how.output.quiet)?;
    }
    Ok(match report.verdict() {
        Verdict::Complete => Outcome::Well,
        _ => Outcome::Differences,
    })
}
