//! `sockdbg events`: every network call of a process, live or from a recording, shown or recorded.

use super::drive::{Ended, Limiter, drive};
use super::open;
use super::options::{Format, Input, Limits, Output, Payload, Redact, Targets, TracedCommand};
use super::progress::Progress;
use super::recorder::Recorder;
use super::screen::{Screen, say};
use super::subject::Subject;
use crate::event::{Event, Vantage};
use crate::exit::{Outcome, Usage};
use crate::output::View;
use crate::output::json::JsonView;
use crate::output::paint::Paint;
use crate::output::tally::Tally;
use crate::output::text::TextView;
use crate::output::time::Clock;
use crate::redact::Content;
use crate::signals;
use crate::source::{self, Source};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Show or record every network call of a process
///
/// Traces running processes (-p), all of a name, a cgroup or a container, a command from its first
/// instruction (-- CMD), or shows a recording or a strace log (-r). One line per event; a range of bytes whose payload is
/// missing is a line of its own with stage and cause. Ends with the processes of -p and -f, the command,
/// --duration, -c or Ctrl-C, and then says on stderr whether anything was lost; on SIGUSR1 it says so in
/// between.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  sockdbg events -p $(pgrep -o nginx) --fd 5 -A
  sockdbg events -w run.pcapng -- curl http://localhost/
  sockdbg events --container web --local-port 80 --direction recv -A
  sockdbg events -r run.pcapng --format json | jq 'select(.type == \"loss\")'")]
pub struct Args {
    #[command(flatten)]
    targets: Targets,

    #[command(flatten)]
    input: Input,

    /// Write a recording (pcapng, mode 0600) instead of printing; - is stdout
    ///
    /// Wireshark, tshark and sockdbg read it. As with tcpdump, nothing is printed then, unless --print
    /// is given.
    #[arg(short = 'w', long = "write", value_name = "FILE", help_heading = "Output")]
    write: Option<PathBuf>,

    /// Print events also while -w writes a recording
    #[arg(long, requires = "write", help_heading = "Output")]
    print: bool,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    payload: Payload,

    #[command(flatten)]
    redact: Redact,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    command: TracedCommand,
}

/// Runs until the source ends or a limit is reached, then says how it went.
///
/// # Errors
/// Nothing to look at, a source that can't be opened or ends in the middle, output that can't be
/// written. What was captured until then is shown or recorded.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let subject = Subject::choose(&args.targets, &args.command, &args.input)?;
    if args.print && args.write.as_deref() == Some(Path::new("-")) {
        return Err(Usage::new("stdout can't take both the recording and the text", "give -w a file").into());
    }
    let stop = signals::stop_flag()?;
    let mut opened = open::subject(&subject, &args.targets, &args.limits, stop.clone())?;
    let mut sink = Destination::new(&args, &*opened.source, opened.live)?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    if opened.live {
        report_on_signal(&tally)?;
    }
    let mut limiter = Limiter::new(&args.targets, &args.limits, opened.live, stop.clone());
    let told = opened.live && !args.output.quiet;
    if !args.output.quiet {
        opened.announce("watching; Ctrl-C ends it");
    }
    // What is shown on a terminal tells how far it is.
    let prints = sink.printer.is_some() && io::stdout().is_terminal();
    let files: Vec<&Path> = args.input.read.iter().map(PathBuf::as_path).collect();
    let progress = Progress::begin(!opened.live && !args.output.quiet && !prints, &files);
    let ended = drive(&mut *opened.source, &mut limiter, |event| {
        let note = count(&tally, event);
        if let Some(note) = note.filter(|_| told) {
            say(&note);
        }
        sink.event(event)
    });
    drop(progress);
    let mut tally = lock(&tally).clone();
    let result = finish(ended, &mut tally, &mut sink);
    // After a failure the counts would sound better than it was; a gap in the input is among them.
    if !args.output.quiet && (result.is_ok() || !tally.is_complete()) {
        say(&tally.text());
        opened.report_interruption(&stop);
        opened.report_command();
    }
    result
}

/// Counts the event, and gives what is worth a line. The lock is not held any longer: output may block.
fn count(tally: &Mutex<Tally>, event: &Event<'_>) -> Option<String> {
    let mut tally = lock(tally);
    tally.count(event);
    tally.note()
}

/// A panic while the lock is held would leave counts that are at worst one event behind.
fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report_on_signal(tally: &Arc<Mutex<Tally>>) -> anyhow::Result<()> {
    let tally = Arc::clone(tally);
    signals::on_summary(move || say(&lock(&tally).text()))?;
    Ok(())
}

/// Completes the output whatever happened. The first thing that went wrong is what counts.
fn finish(ended: Ended, tally: &mut Tally, sink: &mut Destination) -> anyhow::Result<Outcome> {
    let mut summary = source::Summary::default();
    let source = match ended.source {
        Ok(said) => {
            summary = said;
            summary.cut.clone().map_or(Ok(()), |cut| Err(source::Error::Input(cut)))
        }
        Err(error) => Err(error),
    };
    tally.end(summary.clone());
    let finished = sink.finish(tally, &summary);
    if let Some(error) = ended.output {
        return Err(error);
    }
    source?;
    finished.map(|()| Outcome::Well)
}

/// Where events go: to stdout, into a recording, or both.
struct Destination {
    printer: Option<Printer>,
    recorder: Option<Recorder>,
}

struct Printer {
    view: Box<dyn View>,
    screen: Screen,
}

impl Destination {
    fn new(args: &Args, source: &dyn Source, live: bool) -> anyhow::Result<Destination> {
        let content = Content::of(source.redacted(), args.redact.begin()?);
        let printer = (args.write.is_none() || args.print).then(|| Printer {
            view: view(args, source.vantage(), content.clone()),
            screen: Screen::new(live),
        });
        let create = |path: &PathBuf| Recorder::create(path, args.input.read.as_deref(), content.clone());
        let recorder = args.write.as_ref().map(create).transpose()?;
        Ok(Destination { printer, recorder })
    }

    fn event(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.event(event)?;
        }
        if let Some(Printer { view, screen }) = &mut self.printer {
            screen.show(|out| view.event(event, out))?;
        }
        Ok(())
    }

    /// Both are finished, whichever fails.
    fn finish(&mut self, tally: &Tally, summary: &source::Summary) -> anyhow::Result<()> {
        let recorded = self.recorder.as_mut().map_or(Ok(()), |recorder| recorder.finish(summary));
        if let Some(Printer { view, screen }) = &mut self.printer {
            screen.show(|out| view.end(tally, out)).and_then(|()| screen.flush())?;
        }
        recorded
    }
}

fn view(args: &Args, vantage: Vantage, content: Content) -> Box<dyn View> {
    match args.output.format {
        Format::Json => Box::new(JsonView::with_content(vantage, content)),
        Format::Text => {
            let paint = Paint::new(args.output.color.wanted());
            Box::new(TextView::with_content(Clock::local(), paint, args.payload.views(), content))
        }
    }
}
