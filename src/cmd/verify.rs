//! `sockdbg verify`: a live process against the wire, while both run.

use super::bundle::Bundle;
use super::comparison::{self, Show};
use super::open;
use super::options::{Input, Limits, Targets, TracedCommand};
use super::private::Unnamed;
use super::screen::say;
use super::subject::Subject;
use crate::event::{Timestamp, Vantage};
use crate::exit::{Outcome, Usage};
use crate::process::netns;
use crate::signals;
use crate::source;
use crate::source::interface::{Interface, Running};
use anyhow::Context;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long a capture file that another program writes has to stay unchanged to count as complete.
const SETTLED: Duration = Duration::from_millis(500);

/// How often to wait for that at most.
const SETTLE_ROUNDS: u32 = 20;

/// Compare what eBPF sees of a process with what is on the wire
///
/// Traces the process and captures its traffic at the same time (-i), or compares with a capture that
/// another program writes meanwhile (--pcap). Runs until Ctrl-C, --duration, or the end of the process.
/// Then says for each connection and direction how many bytes reached each stage, names each missing
/// range with stage and cause and the records that are missing for it, and ends with status 1 where
/// anything differs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  sockdbg verify -p $(pgrep -o nginx) -i any --duration 10s
  sockdbg verify -i lo -- curl http://localhost/
  sockdbg verify -p 1234 --pcap cap.pcap")]
pub struct Args {
    #[command(flatten)]
    targets: Targets,

    #[command(flatten)]
    wire: Wire,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    show: Show,

    #[command(flatten)]
    command: TracedCommand,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Wire")]
struct Wire {
    /// Compare with this capture; it may still be growing
    ///
    /// pcap, pcapng, or the JSON of tshark (-T json, -T ek).
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,

    /// Capture on this interface of the process's network namespace; any: all of them
    #[arg(short = 'i', long, value_name = "IFACE")]
    interface: Option<String>,
}

impl Wire {
    /// What was compared, for the head of a report.
    fn title(&self) -> String {
        match (&self.pcap, &self.interface) {
            (Some(path), _) => format!("a live trace and {}", path.display()),
            (None, Some(interface)) => format!("a live trace and the traffic of {interface}"),
            (None, None) => "a live trace".to_owned(),
        }
    }
}

/// Traces, then compares and reports.
///
/// # Errors
/// Nothing to trace, the kernel does not let us observe, the capture can't be made or read.
pub fn run(mut args: Args) -> anyhow::Result<Outcome> {
    args.show.begin()?;
    let subject = Subject::choose(&args.targets, &args.command, &Input::default())?;
    if let Some(path) = &args.wire.pcap {
        Bundle::check(&args.show, path, Vantage::Wire)?;
    }
    let mut bundle = Bundle::create(&args.show)?;
    if let Some(bundle) = &mut bundle {
        // Of a process that may not live as long as the trace.
        let pids = if let Subject::Processes(chosen) = &subject { chosen.running() } else { Vec::new() };
        bundle.doctor(&pids);
    }
    let capture = Packets::begin(&args.wire, &subject)?;
    let stop = signals::stop_flag()?;
    let mut opened = open::subject(&subject, &args.targets, &args.limits, stop)?;
    if !args.show.output.quiet {
        opened.announce("watching; Ctrl-C ends it and shows the comparison");
    }
    let (process, outline) = comparison::process_side(&mut *opened.source, &mut bundle)?;
    if let Some(bundle) = &bundle {
        bundle.may_be_interrupted()?;
    }
    let capture = capture.end()?;
    opened.report_command();
    let report = comparison::compare(&process, outline, None, capture.path(), capture.span(), &args.show)?;
    if let Some(bundle) = &mut bundle {
        bundle.other_file(capture.path(), Vantage::Wire, capture.span(), &report);
    }
    comparison::show(&report, &process, &args.wire.title(), &args.show, bundle)
}

/// The wire's side while the trace runs.
enum Packets {
    Others(PathBuf),
    Ours(Unnamed, Running, String),
}

/// The capture, complete.
enum File {
    Others(PathBuf),
    Ours(Unnamed, (Timestamp, Timestamp)),
}

impl File {
    /// When it ran, where that is known.
    fn span(&self) -> Option<(Timestamp, Timestamp)> {
        match self {
            File::Others(_) => None,
            File::Ours(_, span) => Some(*span),
        }
    }

    fn path(&self) -> &Path {
        match self {
            File::Others(path) => path,
            File::Ours(file, _) => file.path(),
        }
    }
}

impl Packets {
    fn begin(wire: &Wire, subject: &Subject) -> anyhow::Result<Packets> {
        if let Some(path) = &wire.pcap {
            let kind = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
            if kind.is_dir() {
                let message = format!("{} is a directory, not a packet capture", path.display());
                return Err(Usage::new(message, "name a pcap or pcapng file").into());
            }
            return Ok(Packets::Others(path.clone()));
        }
        let name = wire.interface.clone().unwrap_or_default();
        let interface = match subject {
            Subject::Processes(chosen) => open_in_namespace(&chosen.running(), &name)?,
            _ => Interface::open(&name)?,
        };
        let file = Unnamed::new().context("no temporary file for the capture")?;
        let running = interface.run(file.path())?;
        Ok(Packets::Ours(file, running, name))
    }

    fn end(self) -> Result<File, source::Error> {
        match self {
            Packets::Others(path) => {
                settle(&path);
                Ok(File::Others(path))
            }
            Packets::Ours(file, running, name) => {
                let stats = running.stop()?;
                if stats.dropped > 0 {
                    let (dropped, packets) = (stats.dropped, stats.packets);
                    say(&format!("warning: the capture on {name} lost {dropped} of {packets} packets"));
                }
                Ok(File::Ours(file, stats.span))
            }
        }
    }
}

/// All processes have to live in one network namespace: the capture sees one.
fn open_in_namespace(pids: &[u32], name: &str) -> anyhow::Result<Interface> {
    let [pid, others @ ..] = pids else {
        // Whoever is still to come, or all: those of our own.
        return Ok(Interface::open(name)?);
    };
    let pid = *pid;
    for &other in others {
        if namespace(other)? != namespace(pid)? {
            let message = format!("processes {pid} and {other} live in different network namespaces");
            return Err(Usage::new(message, "verify them one by one").into());
        }
    }
    let name = name.to_owned();
    Ok(netns::in_netns_of(pid, move || Interface::open(&name))
        .map_err(|error| no_namespace(pid, &error))??)
}

fn namespace(pid: u32) -> Result<PathBuf, source::Error> {
    fs::read_link(format!("/proc/{pid}/ns/net")).map_err(|error| no_namespace(pid, &error))
}

fn no_namespace(pid: u32, error: &io::Error) -> source::Error {
    source::Error::Attach(match error.kind() {
        io::ErrorKind::NotFound => format!("process {pid} does not exist"),
        _ => format!(
            "cannot enter the network namespace of process {pid}: {error}; run as root, or with \
             CAP_SYS_ADMIN and CAP_SYS_PTRACE"
        ),
    })
}

/// Waits until a file that another program writes no longer grows.
fn settle(path: &Path) {
    let size = || fs::metadata(path).map(|data| data.len()).unwrap_or(0);
    let mut last = size();
    for _ in 0..SETTLE_ROUNDS {
        thread::sleep(SETTLED);
        let now = size();
        if now == last {
            return;
        }
        last = now;
    }
}
