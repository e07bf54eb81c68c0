//! Compares a log of strace with another vantage of the same traffic: the passes over both files by which the log
//! learns what it lacks ([`crate::compare::anchor`]), and then the comparison that all vantages share.

use super::comparison::{self, Show, observe, side_of};
use super::screen::say;
use crate::compare::anchor::{Anchors, Calls, Finder, Outline};
use crate::compare::{Report, Side};
use crate::event::{Event, Vantage};
use crate::exit::Usage;
use crate::ledger::Book;
use crate::redact::RunId;
use crate::source::{self, Sink, Source, Summary};
use std::ops::ControlFlow;
use std::path::Path;

/// A shift of clocks below it is not told: files of one machine have none.
const TOLD: u64 = 1_000_000_000;

/// Compares two files of which at least one is a log of strace; the first is the process's side. Gives that side and
/// the report.
///
/// # Errors
/// A file can't be read, or is none that can be read more than once.
pub fn compare(
    process: &Path,
    other: &Path,
    vantages: [Vantage; 2],
    how: &Show,
) -> anyhow::Result<(Side, Report)> {
    for (path, _) in [process, other].iter().zip(vantages).filter(|(_, vantage)| *vantage == Vantage::Strace)
    {
        if path.exists() && !path.is_file() || *path == Path::new("-") {
            let message = format!("{}: a log of strace is read more than once", path.display());
            return Err(Usage::new(message, "write it into a file first, and name that").into());
        }
    }
    // The log that learns; the other one is what it learns from.
    let process_learns = vantages[0] == Vantage::Strace;
    let (log, reference) = if process_learns { (process, other) } else { (other, process) };
    let (mut reference_side, reference_summary) = read(&mut *source::open(reference)?)?;
    warn(&reference_summary);
    let (anchors, mut log_side, undated) = anchored(log, reference, &reference_side)?;
    if undated && anchors.is_empty() {
        // Their times have nothing in common: that one is earlier means nothing.
        for coverage in [&mut reference_side.coverage, &mut log_side.coverage] {
            (coverage.first, coverage.last) = (None, None);
        }
    }
    let (process_side, other_side) =
        if process_learns { (log_side, reference_side) } else { (reference_side, log_side) };
    let mut report = Report::between(&process_side, &other_side, vantages);
    let open = |path: &Path, learns: bool| -> Result<Box<dyn Source + '_>, source::Error> {
        let source = source::open(path)?;
        Ok(if learns { Box::new(Anchored { source, anchors: &anchors }) } else { source })
    };
    let (again, other_again) = (|| open(process, process_learns), || open(other, !process_learns));
    // Zeros may stand for the payload, at one side alone.
    let is_redacted = again()?.redacted().or(other_again()?.redacted()).is_some();
    match is_redacted || anchors.is_guess() {
        false => comparison::compare_contents(&mut report, again, other_again)?,
        true => report.leave_contents(),
    }
    comparison::name_missing(&mut report, how, other_again)?;
    Ok((process_side, report))
}

/// Reads a log as often as it takes to place its bytes. Also whether its times are not those of a calendar.
fn anchored(log: &Path, reference: &Path, flows: &Side) -> Result<(Anchors, Side, bool), source::Error> {
    let mut outline = Outline::default();
    let (book, summary) = observe(&mut *source::open(log)?, Book::default(), |event| {
        outline.event(event);
        ControlFlow::Continue(())
    })?;
    warn(&summary);
    let ledgers = book.into_ledgers();
    let mut finder = Finder::new(outline);
    if Anchors::wants_content(&ledgers, &flows.ledgers) {
        look(reference, |event| finder.event(event))?;
    }
    let mut anchors = Anchors::new(&ledgers, &flows.ledgers, &finder.hits(), summary.undated);
    let vague = anchors.vague();
    if !vague.is_empty() {
        let mut calls = Calls::new(vague);
        look(log, |event| calls.event(event))?;
        let mut matcher = anchors.matcher(calls);
        look(reference, |event| matcher.event(event))?;
        anchors.learn(matcher);
    }
    if summary.undated && anchors.is_empty() {
        say(&format!(
            "{}: nothing tells how its times go with those of {}",
            log.display(),
            reference.display()
        ));
    } else if summary.undated || anchors.shift().unsigned_abs() > TOLD {
        say(&format!(
            "{}: {:+.6} s are added to its times, by those of {}",
            log.display(),
            anchors.shift() as f64 / 1e9,
            reference.display()
        ));
    }
    let mut source = Anchored { source: source::open(log)?, anchors: &anchors };
    let (side, _) = read(&mut source)?;
    let (unplaced, elsewhere) = (anchors.unplaced().clone(), anchors.elsewhere().clone());
    let side = Side { unplaced, elsewhere, ..side };
    Ok((anchors, side, summary.undated))
}

fn read(source: &mut dyn Source) -> Result<(Side, Summary), source::Error> {
    let (book, summary) = observe(source, Book::default(), |_| ControlFlow::Continue(()))?;
    Ok((side_of(book, &summary), summary))
}

/// Shows every event of a file to `take`.
fn look(file: &Path, mut take: impl FnMut(&Event<'_>)) -> Result<(), source::Error> {
    source::open(file)?.run(&mut |event| {
        take(event);
        ControlFlow::Continue(())
    })?;
    Ok(())
}

fn warn(summary: &Summary) {
    for warning in &summary.warnings {
        say(&format!("warning: {warning}"));
    }
}

/// A log with what it learnt.
struct Anchored<'a> {
    source: Box<dyn Source>,
    anchors: &'a Anchors,
}

impl Source for Anchored<'_> {
    fn vantage(&self) -> Vantage {
        self.source.vantage()
    }

    fn redacted(&self) -> Option<RunId> {
        self.source.redacted()
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, source::Error> {
        let mut summary = self.source.run(&mut |event| sink(&self.anchors.apply(event)))?;
        summary.first = summary.first.map(|time| self.anchors.time(time));
        summary.last = summary.last.map(|time| self.anchors.time(time));
        Ok(summary)
    }
}
