//! `sockdbg conn-trace`: reassembled records of each connection, and why it came to them.

use super::drive::{Limiter, drive};
use super::open;
use super::options::{
    Format, Input, Limits, Output, Payload, Redact, Targets, TracedCommand, Verbosity, parse_size,
};
use super::progress::Progress;
use super::screen::{Screen, say};
use super::subject::Subject;
use crate::conn::{self, Entry, Info, Observer, Tracker};
use crate::event::{Cause, Close, Direction, Range, Timestamp};
use crate::exit::Outcome;
use crate::output::ongoing::Ongoing;
use crate::output::paint::Paint;
use crate::output::query::Query;
use crate::output::records::{RecordView, Step, TextRecords};
use crate::output::records_json::JsonRecords;
use crate::output::stats::Stats;
use crate::output::tally::Tally;
use crate::output::time::Clock;
use crate::protocol::{self, End};
use crate::record::Record;
use crate::redact::{self, Redaction};
use crate::signals;
use crate::source::{Source, now};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Show the reassembled records of each connection
///
/// Puts the bytes of each connection in order, finds out its protocol, cuts messages and pairs requests
/// with responses. From a live process (-p), a command (-- CMD), a recording, a packet capture or a strace log (-r), also
/// compressed with gzip or zstd.
/// One line per record. -v 1 adds what changes a connection's state: open, close, protocol found, gap with its cause,
/// resync; and what is in progress for a second and more, such as a request without its answer. -v 2 adds each step:
/// bytes arriving, frames cut, what is waited for.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  sockdbg conn-trace -p $(pgrep -o nginx) -v
  sockdbg conn-trace -r capture.pcap --format json | jq 'select(.status != \"complete\")'
  sockdbg conn-trace -p 1234 --filter 'protocol=http1 status>=500'
  sockdbg conn-trace -p 1234 --duration 10s --stats
  sockdbg conn-trace -vv -- curl http://localhost/ | grep '5<TCP'")]
pub struct Args {
    #[command(flatten)]
    targets: Targets,

    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    verbosity: Verbosity,

    /// Keep at most SIZE bytes of each body and long value for JSON, -A, -x and -X
    ///
    /// Longer ones are shown in part and marked with the cause field-truncated.
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = parse_size, help_heading = "Output")]
    max_field: u64,

    /// Show only the records that meet these conditions, as in 'protocol=http1 status>=500'
    ///
    /// Conditions are separated by blanks and all have to hold: a name, one of = != < <= > >= or ~ (contains), and a
    /// value, which may be quoted ("a b"). Names are those of JSON: protocol, record (complete, no-response, no-request,
    /// truncated), latency (as in 5ms), summary, cause, pid, comm, fd, socket, local, remote, role, and every field of
    /// the request and the response, request.NAME and response.NAME where it matters, headers.NAME for an entry. A name
    /// that no record has is told at the end.
    #[arg(long, value_name = "CONDITIONS", help_heading = "Output")]
    filter: Option<Query>,

    /// Count records instead of showing them: by endpoint, with failures and percentiles of the latency, at the end
    ///
    /// An endpoint is what the protocol asks for: a method and path without query and identifiers, a command, a
    /// statement without literals. Failed is what the answer calls an error: a status of 400 and above, an error reply.
    #[arg(long, help_heading = "Output")]
    stats: bool,

    /// Show keep-alives, too
    ///
    /// A keep-alive that is answered as it should be (PING, PINGREQ, heartbeat, COM_PING), and what a Redis server passes
    /// over (a blank line), is counted and not shown in text, unless --filter asks for records or -v 2 for every step. A
    /// keep-alive that is not answered is shown like any other request.
    #[arg(long, help_heading = "Output")]
    all_messages: bool,

    /// Show passwords, tokens and cookies instead of masking them
    #[arg(long, help_heading = "Output", conflicts_with = "redact")]
    show_secrets: bool,

    #[command(flatten)]
    redact: Redact,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    payload: Payload,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    command: TracedCommand,
}

/// Runs until the source ends or a limit is reached.
///
/// # Errors
/// Nothing to look at, a source that can't be opened or ends in the middle, output that can't be written.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let subject = Subject::choose(&args.targets, &args.command, &args.input)?;
    let stop = signals::stop_flag()?;
    let mut opened = open::subject(&subject, &args.targets, &args.limits, stop.clone())?;
    let printer = Printer::new(&args, opened.live)?;
    let tracker = Tracker::new(opened.source.vantage(), options(&args, &*opened.source), printer);
    let mut limiter = Limiter::new(&args.targets, &args.limits, opened.live, stop.clone());
    let mut tally = Tally::default();
    if !args.output.quiet {
        opened.announce("watching; Ctrl-C ends it");
    }
    // What is shown on a terminal tells how far it is.
    let prints = !args.stats && io::stdout().is_terminal();
    let files: Vec<&Path> = args.input.read.iter().map(PathBuf::as_path).collect();
    let progress = Progress::begin(!opened.live && !args.output.quiet && !prints, &files);
    let ticks = opened.live && args.verbosity.level() >= 1;
    let tracker = Mutex::new(tracker);
    let lock = || tracker.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = ticking(ticks.then_some(|| lock().observer().tick(now())), || {
        drive(&mut *opened.source, &mut limiter, |event| {
            tally.count(event);
            let mut tracker = lock();
            tracker.observer().tick(event.time);
            tracker.event(event);
            tracker.observer().check()
        })
    });
    drop(progress);
    let mut printer = tracker.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    let summary = ended.source.as_ref().cloned().unwrap_or_default();
    if !args.output.quiet && !opened.live {
        opened.report_interruption(&stop);
        for warning in &summary.warnings {
            say(&format!("warning: {warning}"));
        }
    }
    printer.show_stats();
    printer.check()?;
    printer.screen.flush()?;
    if printer.hidden > 0 && !args.output.quiet {
        say(&format!("{} keep-alives are not shown; --all-messages shows them", printer.hidden));
    }
    if !args.output.quiet {
        for name in printer.filter.iter().flat_map(Query::never_found) {
            say(&format!("warning: no record has a field {name}; --format json shows the names there are"));
        }
        if let Some(skipped) = printer.skipped() {
            say(&skipped);
        }
    }
    let cut = summary.cut.clone();
    tally.end(summary);
    if !args.output.quiet && opened.live {
        say(&tally.text());
    }
    if !args.output.quiet {
        opened.report_command();
    }
    match (ended.output, ended.source, cut) {
        (Some(error), ..) => Err(error),
        (_, Err(error), _) => Err(error.into()),
        (.., Some(cut)) => Err(crate::source::Error::Input(cut).into()),
        _ => Ok(Outcome::Well),
    }
}

/// Runs `work`, and `tick` again and again while that is under way: time passes where nothing happens.
fn ticking<T>(tick: Option<impl Fn() + Send>, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (work_is_done, done) = mpsc::channel::<()>();
        if let Some(tick) = tick {
            scope.spawn(move || {
                while done.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    tick();
                }
            });
        }
        let result = work();
        drop(work_is_done);
        result
    })
}

fn options(args: &Args, source: &dyn Source) -> conn::Options {
    let shown = args.output.format == Format::Json || args.payload.views().is_on() || args.filter.is_some();
    let max_field =
        if shown || args.stats { usize::try_from(args.max_field).unwrap_or(usize::MAX) } else { 0 };
    let protocol = protocol::Options { max_field, show_secrets: args.show_secrets, ..Default::default() };
    let redacted = source.redacted().is_some();
    conn::Options { protocol, redacted, ..conn::Options::default() }
}

/// How often it is looked whether something in progress has become old.
const TICK: Duration = Duration::from_millis(500);

/// Prints what the tracker tells. The first error of stdout is kept until it is asked for.
struct Printer {
    view: Box<dyn RecordView + Send>,
    screen: Screen,
    level: u8,
    ongoing: Ongoing,
    filter: Option<Query>,
    stats: Option<Stats>,
    /// Keep-alives are left out, and how many were.
    hides_routine: bool,
    hidden: u64,
    /// Bytes that became no frame.
    skipped: BTreeMap<Cause, u64>,
    format: Format,
    paint: Paint,
    redaction: Option<Redaction>,
    error: Option<io::Error>,
}

impl Printer {
    fn new(args: &Args, live: bool) -> anyhow::Result<Printer> {
        let (format, paint) = (args.output.format, Paint::new(args.output.color.wanted()));
        let view: Box<dyn RecordView + Send> = match format {
            Format::Json => Box::new(JsonRecords),
            Format::Text => Box::new(TextRecords::new(Clock::local(), paint, args.payload.views())),
        };
        let (level, filter) = (args.verbosity.level(), args.filter.clone());
        let stats = args.stats.then(Stats::default);
        let shows_all = args.all_messages || args.stats || filter.is_some() || level >= 2;
        let hides_routine = !shows_all && format == Format::Text;
        let (screen, redaction) = (Screen::new(live), args.redact.begin()?);
        Ok(Printer {
            view,
            screen,
            level,
            ongoing: Ongoing::default(),
            filter,
            stats,
            hides_routine,
            hidden: 0,
            skipped: BTreeMap::new(),
            format,
            paint,
            redaction,
            error: None,
        })
    }

    /// It is `now`: tells what is in progress for long.
    fn tick(&mut self, now: Timestamp) {
        let Printer { ongoing, view, screen, error, .. } = self;
        ongoing.tell(now, |info, time, message| {
            let step = Step { time, level: 1, step: "in-progress", message };
            let shown = screen.show(|out| view.trace(info, &step, out));
            *error = error.take().or(shown.err());
        });
    }

    fn show_stats(&mut self) {
        let Some(stats) = self.stats.take() else { return };
        let paint = self.paint;
        let shown = self.screen.show(|out| match self.format {
            Format::Json => stats.write_json(out),
            Format::Text => stats.write_text(paint, out),
        });
        self.error = self.error.take().or(shown.err());
    }

    /// What there are no records of, in a sentence.
    fn skipped(&self) -> Option<String> {
        let part = |(cause, bytes): (&Cause, &u64)| format!("{bytes} bytes ({})", cause.slug());
        let parts: Vec<String> = self.skipped.iter().map(part).collect();
        let more = if self.level == 0 { "; -v shows where" } else { "" };
        (!parts.is_empty()).then(|| format!("in no record: {}{more}", parts.join(", ")))
    }

    fn show_step(&mut self, info: &Info, step: &Step<'_>) -> io::Result<()> {
        self.screen.show(|out| self.view.trace(info, step, out))
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.error.take().map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Observer for Printer {
    fn trace_level(&self) -> u8 {
        self.level
    }

    fn trace(
        &mut self,
        info: &Info,
        time: Timestamp,
        level: u8,
        step: &'static str,
        message: fmt::Arguments<'_>,
    ) {
        let shown = match self.redaction.is_none() || redact::is_harmless(step) {
            true => self.show_step(info, &Step { time, level, step, message }),
            false => self.show_step(info, &Step { time, level, step, message: format_args!("(redacted)") }),
        };
        self.error = self.error.take().or(shown.err());
    }

    fn frame(
        &mut self,
        info: &Info,
        time: Timestamp,
        direction: Direction,
        range: Range,
        what: fmt::Arguments<'_>,
    ) {
        match self.redaction {
            None => self.ongoing.frame(info, time, direction, range, what),
            Some(_) => self.ongoing.frame(info, time, direction, range, format_args!("(redacted)")),
        }
    }

    fn account(&mut self, _: &Info, _: Direction, entry: Entry<'_>) {
        if let Entry::Skipped(range, cause, _) = entry {
            *self.skipped.entry(cause).or_default() += range.len();
        }
    }

    fn withdraw(&mut self, info: &Info) {
        self.ongoing.forget(info.id);
    }

    fn closed(&mut self, info: &Info, _: End, _: Option<&Close>) {
        self.ongoing.forget(info.id);
    }

    fn record(&mut self, info: &Info, time: Timestamp, record: Record) {
        self.ongoing.record(info, &record);
        if self.filter.as_mut().is_some_and(|filter| !filter.matches(info, &record)) {
            return;
        }
        if self.hides_routine
            && info.protocol.and_then(protocol::named).is_some_and(|protocol| protocol.is_routine(&record))
        {
            self.hidden += 1;
            return;
        }
        let record = match &self.redaction {
            Some(redaction) => redaction.record(record),
            None => record,
        };
        if let Some(stats) = &mut self.stats {
            return stats.count(info, &record);
        }
        let shown = self.screen.show(|out| self.view.record(info, time, &record, out));
        self.error = self.error.take().or(shown.err());
    }
}
