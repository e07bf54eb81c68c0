//! `sockdbg pcap-compare`: a recording or a log of strace against a packet capture or each other, offline.

use super::anchored;
use super::blanked::Blanked;
use super::bundle::Bundle;
use super::comparison::{self, Show};
use super::progress::Progress;
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
pub fn run(mut args: Args) -> anyhow::Result<Outcome> {
    args.show.begin()?;
    let mut recording = source::open(&args.recording)?;
    let (vantage, redacted) = (recording.vantage(), recording.redacted());
    if !vantage.is_process() {
        let message = format!("{} is a packet capture, not a recording", args.recording.display());
        return Err(
            Usage::new(message, "the first file has to come from sockdbg events -w or from strace").into()
        );
    }
    let title = format!("{} and {}", args.recording.display(), args.capture.display());
    // It is read more than once.
    let is_log = |path: &Path| -> Result<bool, source::Error> { Ok(of_file(path)? == Vantage::Strace) };
    let capture = if vantage == Vantage::Strace || is_log(&args.capture)? {
        Rereadable::There(args.capture.clone())
    } else {
        Rereadable::new(&args.capture)?
    };
    let path = capture.path();
    let other = source::open(path)?;
    let vantages = [vantage, other.vantage()];
    let both = [redacted, other.redacted()];
    drop(other);
    if vantages.contains(&Vantage::Strace) && both.iter().any(Option::is_some) {
        let redacted = if both[0].is_some() { &*args.recording } else { path };
        let message = format!("{} was made with --redact", redacted.display());
        return Err(Usage::new(
            message,
            "a strace log has no sequence numbers: it takes the other file's content",
        )
        .into());
    }
    for (path, vantage) in [&*args.recording, path].into_iter().zip(vantages) {
        Bundle::check(&args.show, path, vantage)?;
    }
    let mut bundle = Bundle::create(&args.show)?;
    let progress = Progress::begin(!args.show.output.quiet, &[&args.recording, path]);
    if let Some(bundle) = &mut bundle {
        bundle.is_copy();
        bundle.may_be_interrupted()?;
        bundle.doctor(&[]);
    }
    let (process, report) = if vantages.contains(&Vantage::Strace) {
        anchored::compare(&args.recording, path, vantages, &args.show)?
    } else {
        // Where one run took the payload of both out, they are alike.
        args.show.blank = both[0] != both[1];
        if args.show.blank {
            recording = Box::new(Blanked::new(recording));
        }
        let (process, outline) = comparison::process_side(&mut *recording, &mut bundle)?;
        let again = Some(&*args.recording).filter(|path| path.is_file());
        let report = match vantages[1] {
            Vantage::Syscall => comparison::compare_recordings(&process, outline, again, path, &args.show)?,
            _ => comparison::compare(&process, outline, again, path, None, &args.show)?,
        };
        (process, report)
    };
    if let Some(bundle) = &mut bundle {
        bundle.process_file(&args.recording, vantages[0]);
        bundle.other_file(path, vantages[1], None, &report);
    }
    drop(progress);
    comparison::show(&report, &process, &title, &args.show, bundle)
}

/// What the second file is. A pipe can be looked at but once, and is a capture.
fn of_file(file: &Path) -> Result<Vantage, source::Error> {
    let is_pipe = file.exists() && !file.is_file() || file == Path::new("-");
    match is_pipe {
        true => Ok(Vantage::Wire),
        false => Ok(source::open(file)?.vantage()),
    }
}
