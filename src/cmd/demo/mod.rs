//! `sockdbg demo`: the main job on a workload of its own, with one loss provoked on purpose.

mod workload;

use super::comparison::{self, Show};
use super::options::{Color, Format, Output, Redact};
use super::recorder::Recorder;
use super::screen::say;
use crate::compare::Side;
use crate::compare::anchor::Outline;
use crate::exit::Outcome;
use crate::ledger::Book;
use crate::redact::Content;
use crate::source;
use crate::source::interface::Interface;
use crate::source::live::{self, Live};
use anyhow::Context;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What an earlier run of this demo kept, for machines without BPF.
const RECORDING: &[u8] = include_bytes!("../../../demo/recording.pcapng");
const CAPTURE: &[u8] = include_bytes!("../../../demo/capture.pcap");

/// How long the whole traffic may take.
const PATIENCE: Duration = Duration::from_secs(30);

const INTRODUCTION: &str = "\
A small HTTP server answers 6 requests on 2 connections. Its socket calls are traced with eBPF, and the
loopback interface is captured at the same time. One answer, /picture.png, goes through sendfile(2):
its payload never passes through the memory of the process, so tracing read and write can't see it.
This is what verify says:
";

/// Show what sockdbg does, on a workload of its own
///
/// Starts a small HTTP server, traces it, captures the wire, and prints the comparison. One loss is
/// provoked on purpose. Where BPF is not available the same comparison is made from recordings of an
/// earlier run.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Keep the recording and the capture in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Write the report as one HTML page that needs nothing else, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Colour the text: auto means where stdout is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,

    /// Be the demo's server.
    #[arg(long, hide = true)]
    serve: bool,
}

/// Runs the demo. The differences that it shows are its purpose: they are no failure.
///
/// # Errors
/// The workload fails for another reason than missing BPF.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    if args.serve {
        workload::serve().context("the demo's server")?;
        return Ok(Outcome::Well);
    }
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let keep = args.keep.as_deref();
    let files = Files::in_directory(keep.unwrap_or(directory.path()));
    println!("{INTRODUCTION}");
    let process = match trace(&files) {
        Ok(process) => process,
        Err(error) => match error.downcast::<source::Error>() {
            Ok(source::Error::Attach(why)) => {
                say(&format!(
                    "no live run here ({why}); the recordings of an earlier run are compared instead"
                ));
                files.unpack().context("no place for the recordings")?;
                comparison::side(&mut *source::open(&files.recording)?)?
            }
            Ok(other) => return Err(other.into()),
            Err(other) => return Err(other),
        },
    };
    let output = Output { format: Format::Text, color: args.color, quiet: false };
    let show = Show {
        output,
        full: false,
        html: args.html,
        bundle: None,
        redact: Redact::default(),
        redaction: None,
        blank: false,
    };
    let report = comparison::compare(&process, Outline::default(), None, &files.capture, None, &show)?;
    comparison::show(&report, &process, "the demo", &show, None)?;
    if let Some(keep) = keep {
        println!(
            "\nThe same offline: sockdbg pcap-compare {0}/recording.pcapng {0}/capture.pcap",
            keep.display()
        );
    }
    println!("\nOn a process of yours: sockdbg verify -p PID -i any");
    Ok(Outcome::Well)
}

struct Files {
    recording: PathBuf,
    capture: PathBuf,
}

impl Files {
    fn in_directory(directory: &Path) -> Files {
        Files { recording: directory.join("recording.pcapng"), capture: directory.join("capture.pcap") }
    }

    fn unpack(&self) -> io::Result<()> {
        fs::write(&self.recording, RECORDING)?;
        fs::write(&self.capture, CAPTURE)
    }
}

/// Runs the workload under both vantages.
fn trace(files: &Files) -> anyhow::Result<Side> {
    let mut server = Server::start()?;
    let packets = Interface::open("lo")?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut live = Live::attach(live::Options {
        pids: vec![server.child.id()],
        duration: Some(PATIENCE),
        stop: Arc::clone(&stop),
        ..live::Options::default()
    })?;
    let mut recorder = Recorder::create(&files.recording, None, Content::Whole)?;
    let packets = packets.run(&files.capture)?;
    let client = thread::spawn(move || server.be_visited());
    let mut written: anyhow::Result<()> = Ok(());
    let (book, summary) = comparison::observe(&mut live, Book::default(), |event| {
        written = recorder.event(event);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    stop.store(true, Ordering::Relaxed);
    written?;
    recorder.finish(&summary)?;
    client.join().map_err(|_| anyhow::anyhow!("the demo's client failed"))?.context("the demo's client")?;
    packets.stop()?;
    Ok(comparison::side_of(book, &summary))
}

/// The traced process.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> anyhow::Result<Server> {
        let program = env::current_exe().context("own program file")?;
        let mut command = Command::new(program);
        command.args(["demo", "--serve"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the demo's server")?;
        let mut port = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut port)?;
        }
        let port = port.trim().parse().context("the demo's server names no port")?;
        Ok(Server { child, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Sends all requests, then lets the server end: the traced process is gone, and so is the trace.
    fn be_visited(&mut self) -> io::Result<()> {
        let mut stdin = self.child.stdin.take();
        workload::visit(self.address, || stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(b"\n")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The server ends with its stdin; where it could not even do that, there is nobody to tell.
        let _ = self.child.wait();
    }
}
