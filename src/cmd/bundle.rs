//! `--bundle DIR`: everything that somebody needs to look at a comparison elsewhere, in one folder.
//!
//! Each file gets its name when it is whole; the recording alone grows under its name, since it is what could not be had
//! again. README.txt comes last: where it is, the bundle is complete. What fails or is interrupted before leaves what is whole,
//! and says what that is; of an empty folder nothing is left.

use super::comparison::Show;
use super::recorder::Recorder;
use super::screen::say;
use super::versions;
use crate::compare::{Comparison, Report};
use crate::event::{Address, Cause, Event, Timestamp, Transport, Vantage};
use crate::exit::Usage;
use crate::output::paint::Paint;
use crate::output::report::TextReport;
use crate::output::time::Clock;
use crate::output::{report_html, report_json};
use crate::redact::{Content, Redaction, RunId};
use crate::signals;
use crate::source::pcap::slice::{self, Failure};
use crate::source::{self, Source, Summary};
use anyhow::{Context, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustc_hash::FxHashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The process's side.
pub const RECORDING: &str = "recording.pcapng";
/// The wire's side, if it is packets.
pub const CAPTURE: &str = "capture.pcapng";
/// The wire's side, if it is the JSON of tshark.
const CAPTURE_JSON: &str = "capture.json";
/// The other side, if it is a recording.
const OTHER_RECORDING: &str = "recording-other.pcapng";
/// Either side, if it is a log.
const LOG: &str = "strace.log";
/// Comes last, and says that the bundle is complete.
const README: &str = "README.txt";

/// A folder that is being filled.
pub struct Bundle {
    folder: PathBuf,
    redaction: Option<Redaction>,
    /// The process's side is read from a file.
    is_copy: bool,
    /// The run before that took the payload out of the process's side.
    redacted: Option<RunId>,
    /// The first thing that went wrong. What can be written is written all the same.
    failed: Option<anyhow::Error>,
    recorder: Option<Recorder>,
    doctor: Option<Child>,
    /// Name of the file of each side, once there is one.
    sides: [Option<&'static str>; 2],
    state: Arc<Mutex<State>>,
    finished: bool,
}

/// What there is of a bundle, for whom it ends early. It changes only while it is locked.
struct State {
    folder: PathBuf,
    /// The folder was not there before.
    is_new: bool,
    /// Files that are whole.
    whole: Vec<String>,
    /// A file that is not, and can be had again.
    partial: Option<PathBuf>,
    doctor: Option<u32>,
}

impl State {
    /// Takes away what is not whole, and the folder if nothing is left in it. Gives what to say of it.
    fn tidy(&mut self) -> Option<String> {
        // What is gone already need not be taken away.
        self.partial.take().map(fs::remove_file);
        if self.is_new && fs::remove_dir(&self.folder).is_ok() {
            return None;
        }
        let folder = self.folder.display();
        self.whole.sort();
        Some(match self.whole.join(", ") {
            _ if self.whole.iter().any(|name| name == README) => format!("{folder} is complete"),
            files if files.is_empty() => format!("{folder} is incomplete: no file of it is whole"),
            files => format!("{folder} is incomplete: what is whole of it is {files}"),
        })
    }
}

impl Bundle {
    /// A bundle in a folder that is not there yet, or empty; absent where the user wants none.
    ///
    /// # Errors
    /// There is something in the way, or the folder can't be made.
    pub fn create(show: &Show) -> anyhow::Result<Option<Bundle>> {
        let Some(folder) = &show.bundle else { return Ok(None) };
        let name = folder.display();
        let mut is_new = false;
        match fs::read_dir(folder) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    let message = format!("{name} is not empty");
                    return Err(Usage::new(message, "name a new folder for the bundle").into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // It will hold payload.
                DirBuilder::new()
                    .mode(0o700)
                    .create(folder)
                    .with_context(|| format!("cannot make {name}"))?;
                is_new = true;
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(
                    Usage::new(format!("{name} is no folder"), "name a new folder for the bundle").into()
                );
            }
            Err(error) => return Err(error).with_context(|| format!("cannot use {name} for the bundle")),
        }
        let redaction = show.redaction.clone();
        let (folder, recorder) = (folder.clone(), None);
        let state = State { folder: folder.clone(), is_new, whole: Vec::new(), partial: None, doctor: None };
        Ok(Some(Bundle {
            folder,
            redaction,
            is_copy: false,
            redacted: None,
            failed: None,
            recorder,
            doctor: None,
            sides: [None; 2],
            state: Arc::new(Mutex::new(state)),
            finished: false,
        }))
    }

    /// From now on nothing is written that could not be had again: Ctrl-C and SIGTERM end the run, and say what there is.
    ///
    /// # Errors
    /// No descriptor or thread is left.
    pub fn may_be_interrupted(&self) -> anyhow::Result<()> {
        let state = Arc::clone(&self.state);
        let tidy = move || {
            // Nothing more gets its name: the lock is kept until the process ends.
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(doctor) = state.doctor.and_then(|pid| i32::try_from(pid).ok()) {
                // It ends by itself, later.
                let _ = kill(Pid::from_raw(doctor), Signal::SIGKILL);
            }
            let folder = state.folder.display().to_string();
            let left = state.tidy().unwrap_or_else(|| format!("nothing of {folder} was whole, it is gone"));
            say(&format!("interrupted: {left}"));
            std::mem::forget(state);
        };
        signals::on_interrupt(tidy).context("cannot handle signals")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process's side comes from this source.
    pub fn begin(&mut self, source: &dyn Source) {
        self.redacted = source.redacted();
    }

    /// The process's side is there already, in a file.
    pub fn is_copy(&mut self) {
        self.is_copy = true;
    }

    /// Does a part of the work; of the first that fails the user is told at the end.
    fn part(&mut self, done: anyhow::Result<()>) {
        if let Err(error) = done {
            self.failed.get_or_insert(error);
        }
    }

    /// As [`Bundle::part`], of a file that was written under its name.
    fn is_whole(&mut self, name: &str, done: anyhow::Result<()>) {
        let mut state = self.state();
        state.partial = None;
        state.whole.extend(done.is_ok().then(|| name.to_owned()));
        drop(state);
        self.part(done);
    }

    /// Writes a file, which gets its name when it is whole.
    fn file(&mut self, name: &str, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) {
        let path = self.folder.join(name);
        let done = || -> anyhow::Result<()> {
            // Only the owner may read it.
            let mut state = self.state();
            let mut out = BufWriter::new(tempfile::NamedTempFile::new_in(&self.folder)?);
            state.partial = Some(out.get_ref().path().to_owned());
            drop(state);
            let written = write(&mut out);
            let out = out.into_inner().map_err(io::IntoInnerError::into_error);
            let mut state = self.state();
            state.partial = None;
            written?;
            out?.persist(&path)?;
            state.whole.push(name.to_owned());
            Ok(())
        };
        let done = done().with_context(|| format!("cannot write {}", path.display()));
        self.part(done);
    }

    /// Takes an event of the process's side. The recording begins with the first.
    pub fn event(&mut self, event: &Event<'_>) {
        if self.recorder.is_none() && self.sides[0].is_none() {
            self.begin_recording();
        }
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.event(event)
        {
            // It stays as far as it came.
            self.recorder = None;
            self.part(Err(error));
        }
    }

    fn begin_recording(&mut self) {
        self.sides[0] = Some(RECORDING);
        let content = Content::of(self.redacted, self.redaction.clone());
        if self.is_copy {
            self.state().partial = Some(self.folder.join(RECORDING));
        }
        match Recorder::create(&self.folder.join(RECORDING), None, content) {
            Ok(recorder) => self.recorder = Some(recorder),
            Err(error) => self.part(Err(error)),
        }
    }

    /// Ends the recording. One whose source was cut lacks its end as well.
    pub fn end_recording(&mut self, summary: &Summary) {
        if self.sides[0].is_none() {
            self.begin_recording();
        }
        let Some(mut recorder) = self.recorder.take() else { return };
        let done = if summary.cut.is_none() { recorder.finish(summary) } else { Ok(()) };
        self.is_whole(RECORDING, done);
    }

    /// Makes sure that this file can be a side of the bundle that is wanted.
    ///
    /// # Errors
    /// It would have to be redacted and can't.
    pub fn check(show: &Show, path: &Path, vantage: Vantage) -> anyhow::Result<()> {
        if show.bundle.is_none() || show.redaction.is_none() {
            return Ok(());
        }
        let what = match vantage {
            Vantage::Strace => "a strace log",
            Vantage::Wire if path.is_file() && !source::is_packets(path)? => "JSON of tshark",
            _ => return Ok(()),
        };
        let message = format!("{} is {what}, which can't be redacted", path.display());
        let hint =
            "--redact takes recordings and captures (pcap, pcapng); without --bundle it redacts any report";
        Err(Usage::new(message, hint).into())
    }

    /// Adds one of the two sides from a file that is no capture of packets: a log or JSON as it is, a recording anew.
    fn copy_side(&mut self, side: usize, path: &Path, vantage: Vantage) {
        if vantage == Vantage::Syscall {
            let name = if side == 0 { RECORDING } else { OTHER_RECORDING };
            self.sides[side] = Some(name);
            self.state().partial = Some(self.folder.join(name));
            let done = record_anew(path, &self.folder.join(name), self.redaction.clone());
            return self.is_whole(name, done);
        }
        // Two logs may be compared; the second goes by another name.
        let name = match vantage {
            Vantage::Strace if side == 1 && self.sides[0] == Some(LOG) => "strace-other.log",
            Vantage::Strace => LOG,
            _ => CAPTURE_JSON,
        };
        self.sides[side] = Some(name);
        self.file(name, |out| {
            let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            io::copy(&mut file, out).map(drop).map_err(Into::into)
        });
    }

    /// Adds the process's side from its file, where it was not recorded on the way.
    pub fn process_file(&mut self, path: &Path, vantage: Vantage) {
        if self.sides[0].is_none() {
            self.copy_side(0, path, vantage);
        }
    }

    /// Adds the other side: of a capture the packets of the compared connections.
    pub fn other_file(
        &mut self,
        path: &Path,
        vantage: Vantage,
        span: Option<(Timestamp, Timestamp)>,
        report: &Report,
    ) {
        if vantage != Vantage::Wire || !source::is_packets(path).unwrap_or(true) {
            return self.copy_side(1, path, vantage);
        }
        self.sides[1] = Some(CAPTURE);
        let (kept, redaction) = (Kept::of(report), self.redaction.clone());
        let mut left_out = 0;
        self.file(CAPTURE, |out| {
            let keep = |is_tcp, source, destination| kept.has(is_tcp, source, destination);
            match slice::slice(path, &keep, span, redaction.as_ref(), out) {
                Ok(sliced) => {
                    left_out = sliced.left_out;
                    Ok(())
                }
                Err(Failure::Read(error)) => Err(error.into()),
                Err(Failure::Write(error)) => Err(error.into()),
            }
        });
        if left_out > 0 {
            say(&format!(
                "warning: {left_out} fragments of tunnelled packets are left out of {CAPTURE}: what is payload in them can't be told"
            ));
        }
    }

    /// Has doctor look at the machine, and at processes, while the comparison goes on: it takes seconds.
    pub fn doctor(&mut self, pids: &[u32]) {
        match begin_doctor(pids) {
            Ok(doctor) => {
                self.state().doctor = Some(doctor.id());
                self.doctor = Some(doctor);
            }
            Err(error) => self.part(Err(error)),
        }
    }

    fn end_doctor(&mut self) {
        let Some(doctor) = self.doctor.take() else { return };
        self.state().doctor = None; // once it has ended, its number may be another's
        self.file("doctor.txt", |out| {
            let output = doctor.wait_with_output().context("sockdbg doctor is lost")?;
            out.write_all(&output.stdout)?;
            Ok(out.write_all(&output.stderr)?)
        });
    }

    /// Writes the report in each of its forms, and what the bundle is. `title` names what was compared.
    ///
    /// # Errors
    /// The first thing that could not be written. Everything else was.
    pub fn finish(
        mut self,
        report: &Report,
        time: Timestamp,
        title: &str,
        quiet: bool,
    ) -> anyhow::Result<()> {
        self.file("report.json", |out| Ok(report_json::write(report, time, out)?));
        self.file("report.html", |out| Ok(report_html::write(report, title, time, out)?));
        self.file("report.txt", |out| {
            let view = TextReport { clock: Clock::local(), paint: Paint::new(false), full: true };
            Ok(view.write(report, out)?)
        });
        self.end_doctor();
        let is_redacted = self.redaction.is_some();
        self.file("versions.txt", |out| Ok(versions::write(is_redacted, out)?));
        if self.failed.is_none() {
            let text = self.readme(title);
            self.file(README, |out| Ok(out.write_all(text.as_bytes())?));
        }
        self.finished = true;
        let folder = self.folder.display();
        match self.failed.take() {
            Some(error) => Err(error.context(format!("{folder} is incomplete"))),
            None => {
                if !quiet {
                    say(&format!("everything for a report is in {folder}"));
                }
                Ok(())
            }
        }
    }

    fn readme(&self, title: &str) -> String {
        let [process, other] = self.sides.map(|side| side.unwrap_or("-"));
        let redacted = match &self.redaction {
            Some(redaction) => format!(
                "\nRedacted (run {}). Payload is not in these files: zeros stand for it in streams, hashes for the first 32\n\
                 bytes of datagrams; checksums over it are zero. Of fields of records the kind of message, its status and\n\
                 its lengths are left; all else is its length and a hash, SHA-256 with a key that was thrown away. Addresses,\n\
                 ports, names of processes and of Unix sockets, and times are as they were. The comparison can be repeated;\n\
                 frames and records can't (cause: redacted), nor would bytes that differ show. report.json tells of both.\n",
                redaction.id()
            ),
            None => {
                "\nNot redacted: these files hold payload. sockdbg's --redact leaves it out.\n".to_owned()
            }
        };
        format!(
            "sockdbg compared {title}.\n{redacted}\n\
             {process:<24}the process's side: what its calls moved\n\
             {other:<24}the other side: of a capture, the packets of the compared connections\n\
             report.txt              the comparison, for reading\n\
             report.html             the same as a page that needs nothing else\n\
             report.json             the same as JSON Lines: a line for each connection, the summary last\n\
             doctor.txt              what the kernel offers, and what would be missed of the process\n\
             versions.txt            program, kernel, libraries, and the command that was run\n\n\
             To repeat the comparison, in this folder:\n\n    sockdbg pcap-compare {process} {other}\n"
        )
    }
}

impl Drop for Bundle {
    /// One that was not finished, for what went wrong is told elsewhere.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Some(mut doctor) = self.doctor.take() {
            // It may have ended.
            let _ = doctor.kill();
            let _ = doctor.wait();
        }
        let left = self.state().tidy();
        left.iter().for_each(|left| say(left));
    }
}

/// Its exit status says whether sockdbg can trace, which is no error here.
fn begin_doctor(pids: &[u32]) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("cannot find sockdbg itself")?);
    command.args(["doctor", "--color", "never"]);
    if !pids.is_empty() {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        command.args(["-p", &pids.join(",")]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C ends the trace, not this.
    command.process_group(0);
    command.spawn().context("cannot run sockdbg doctor")
}

/// Copies a recording, event by event.
fn record_anew(from: &Path, to: &Path, redaction: Option<Redaction>) -> anyhow::Result<()> {
    let mut source = source::open(from)?;
    let mut recorder = Recorder::create(to, Some(from), Content::of(source.redacted(), redaction))?;
    let mut failed = None;
    let summary = source.run(&mut |event| match recorder.event(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None if summary.cut.is_some() => Ok(()),
        None => recorder.finish(&summary),
    }
}

/// Whose packets a slice keeps.
#[derive(Default)]
struct Kept {
    /// All of them: connections were compared with flows that may be anyone's.
    all: bool,
    /// Both ends, the lesser first.
    pairs: FxHashSet<(bool, SocketAddr, SocketAddr)>,
    /// Ends that talk with many, or of which the other is not known.
    ends: FxHashSet<(bool, SocketAddr)>,
}

impl Kept {
    fn of(report: &Report) -> Kept {
        let mut kept = Kept::default();
        for one in &report.connections {
            let others = one.findings.iter().all(|finding| finding.cause == Cause::NotThisProcess);
            if one.of_process || !others {
                kept.add(one);
            }
        }
        kept
    }

    fn add(&mut self, one: &Comparison) {
        // Which flow it is could not be told, so each may be it.
        self.all |= one.findings.iter().any(|finding| finding.cause == Cause::WireAmbiguous);
        // A socket's datagrams may be there under several addresses.
        let translated = one.findings.iter().any(|finding| finding.cause == Cause::WireAddressTranslated);
        self.all |= translated && one.translated.is_none() && one.lanes.is_empty();
        let open = &one.info.open;
        let is_tcp = open.transport == Transport::Tcp;
        // Where the datagrams of a socket are is known one by one; of a flow, its ends are.
        let flow = one.flow.and(open.local.and_then(Address::ip).zip(open.remote.and_then(Address::ip)));
        let flow = flow.filter(|_| open.transport == Transport::Udp).map(|(local, remote)| [local, remote]);
        let lanes: Vec<[SocketAddr; 2]> = one.lanes.iter().copied().chain(flow).collect();
        if !lanes.is_empty() {
            return self
                .pairs
                .extend(lanes.iter().map(|ends| pair(false, canonical(ends[0]), canonical(ends[1]))));
        }
        let tuples = [Some([open.local, open.remote]), one.translated.map(|ends| ends.map(Some))];
        for [local, remote] in tuples.into_iter().flatten() {
            let [local, remote] = [local, remote].map(|end| end.and_then(Address::ip).map(canonical));
            match (local, remote) {
                (Some(local), Some(remote)) if is_tcp && !local.ip().is_unspecified() => {
                    self.pairs.insert(pair(is_tcp, local, remote));
                }
                (Some(local), _) => drop(self.ends.insert((is_tcp, local))),
                (None, Some(remote)) => drop(self.ends.insert((is_tcp, remote))),
                // Nothing tells which packets are its own.
                (None, None) => self.all |= !open.transport.is_unix(),
            }
        }
    }

    fn has(&self, is_tcp: bool, source: SocketAddr, destination: SocketAddr) -> bool {
        let [source, destination] = [source, destination].map(canonical);
        let has_end = |end: SocketAddr| {
            let any = SocketAddr::new(
                match end {
                    SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
                },
                end.port(),
            );
            // A socket of IPv6 may take IPv4 as well.
            let both = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), end.port());
            [end, any, both].iter().any(|&end| self.ends.contains(&(is_tcp, end)))
        };
        self.all
            || self.pairs.contains(&pair(is_tcp, source, destination))
            || has_end(source)
            || has_end(destination)
    }
}

fn pair(is_tcp: bool, one: SocketAddr, other: SocketAddr) -> (bool, SocketAddr, SocketAddr) {
    (is_tcp, one.min(other), one.max(other))
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// A key for one run.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn key() -> anyhow::Result<[u8; 32]> {
    let mut key = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| io::Read::read_exact(&mut random, &mut key));
    read.map_err(|error| anyhow!("no random key for --redact: {error}"))?;
    Ok(key)
}
