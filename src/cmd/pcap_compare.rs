//! `sockdbg pcap-compare`: a recording or a log of strace against a packet capture or each other, offline.

use super::anchored;
use super::comparison::{self, Show};
use super::spool::Rereadable;
use crate::event::Vantage;
use crate::exit::{Outcome, Usage};
use crate::source;
use std::path::{Path, PathBuf};

/// Compare a recording with a packet capture
///
/// The same comparison as verify, from files: needs neither root nor BPF. Says for each connection and
/// direction how many bytes reached each stage, names each missing range with stage and cause and the
/// records that are missing for it, and ends with status 1 where anything differs.
///
/// Two recordings, made at the two ends of connections, are held against each other: what one process sent, the other
/// received. What is missing at the other end is named with its own stage and cause.
///
/// A strace log can stand for either file. It has no sequence numbers: addresses, or where it lacks them
/// content, tell which connection of the other file is which, and content tells where calls are missing.
/// Either file may be compressed with gzip or zstd, or come through a pipe (-).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Example:
  sockdbg events -p PID -w rec.pcapng & tcpdump -i any -w cap.pcap
  sockdbg pcap-compare rec.pcapng cap.pcap

  strace -f -ttt -yy -xx -s 1000000 -e trace=%network,%desc,%process -o strace.log -p PID
  sockdbg pcap-compare strace.log cap.pcap
  sockdbg pcap-compare rec.pcapng strace.log

  sockdbg pcap-compare client.pcapng server.pcapng")]
pub struct Args {
    /// The process's side: made by sockdbg events -w, or a strace log
    recording: PathBuf,

    /// The wire's side: pcap, pcapng, or the JSON of tshark; or a strace log, or a recording, of the other end or of the
    /// same
    ///
    /// JSON as tshark -T json or -T ek writes it, whole or with fields (-e). What it lacks for the comparison is
    /// said on stderr, with the command that gives it.
    capture: PathBuf,

    #[command(flatten)]
    show: Show,
}

/// Compares and reports.
///
/// # Errors
/// An input that can't be read, output that can't be written.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut recording = source::open(&args.recording)?;
    let vantage = recording.vantage();
    if !vantage.is_process() {
        let message = format!("{} is a packet capture, not a recording", args.recording.display());
        return Err(
            Usage::new(message, "the first file has to come from sockdbg events -w or from strace").into()
        );
    }
    let title = format!("{} and {}", args.recording.display(), args.capture.display());
    let vantages = [vantage, of_file(&args.capture)?];
    if vantages.contains(&Vantage::Strace) {
        let (process, report) = anchored::compare(&args.recording, &args.capture, vantages, &args.show)?;
        return comparison::show(&report, &process, &title, &args.show);
    }
    let (process, outline) = comparison::process_side(&mut *recording)?;
    // It is read twice.
    let capture = Rereadable::new(&args.capture)?;
    let again = Some(&*args.recording).filter(|path| path.is_file());
    // Of a pipe that is known only now.
    let copied = matches!(capture, Rereadable::Copy(_));
    if vantages[1] == Vantage::Syscall
        || copied && source::open(capture.path())?.vantage() == Vantage::Syscall
    {
        let report = comparison::compare_recordings(&process, outline, again, capture.path(), &args.show)?;
        return comparison::show(&report, &process, &title, &args.show);
    }
    let report = comparison::compare(&process, outline, again, capture.path(), None, &args.show)?;
    comparison::show(&report, &process, &title, &args.show)
}

/// What the second file is. A pipe can be looked at but once, and is a capture.
fn of_file(file: &Path) -> Result<Vantage, source::Error> {
    let is_pipe = file.exists() && !file.is_file() || file == Path::new("-");
    match is_pipe {
        true => Ok(Vantage::Wire),
        false => Ok(source::open(file)?.vantage()),
    }
}
