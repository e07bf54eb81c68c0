//! `sockdbg pcap-compare`: a recording against a packet capture, offline.

use super::comparison::{self, Show};
use super::spool::Rereadable;
use crate::event::Vantage;
use crate::exit::{Outcome, Usage};
use crate::source;
use std::path::PathBuf;

/// Compare a recording with a packet capture
///
/// The same comparison as verify, from files: needs neither root nor BPF. Says for each connection and
/// direction how many bytes reached each stage, names each missing range with stage and cause and the
/// records that are missing for it, and ends with status 1 where anything differs.
///
/// Either file may be compressed with gzip or zstd, or come through a pipe (-).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Example:
  sockdbg events -p PID -w rec.pcapng & tcpdump -i any -w cap.pcap
  sockdbg pcap-compare rec.pcapng cap.pcap")]
pub struct Args {
    /// The process's side, made by sockdbg events -w
    recording: PathBuf,

    /// The wire's side: pcap or pcapng
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
    if recording.vantage() != Vantage::Syscall {
        let message = format!("{} is a packet capture, not a recording", args.recording.display());
        return Err(Usage::new(message, "the first file has to come from sockdbg events -w").into());
    }
    let process = comparison::side(&mut *recording)?;
    // It is read twice.
    let capture = Rereadable::new(&args.capture)?;
    let report = comparison::compare(&process, capture.path(), None)?;
    comparison::show(&report, &process, &args.show)
}
