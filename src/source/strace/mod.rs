//! A log of strace as a source: `strace -f -tt -xx -s N -e trace=network,read,write,...`, with or without -y and -yy,
//! as one file (-o) or one for each thread (-ff).
//!
//! `line` takes lines apart, `call` and `address` what is in them, `tracer` follows what calls do to threads (`tasks`)
//! and sockets (`sockets`). A log has no sequence numbers, so offsets count what its calls moved. What it lacks is
//! noted and said at its end (`notes`). Constant memory but for open sockets and living threads.

mod address;
mod call;
mod line;
mod notes;
mod sockets;
mod syntax;
mod tasks;
#[cfg(test)]
mod tests;
mod tracer;

use super::input::{Input, MAX_UNIT};
use super::{Error, Sink, Source, Summary};
use crate::event::{Kind, Timestamp, Vantage};
use call::{Outcome, Syscall};
use line::{Body, Line, Stamp};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tracer::Tracer;

const DAY: u64 = 24 * 3600 * 1_000_000_000;

/// Lines among which one has to be strace's for a file to be taken for a log.
const SNIFFED_LINES: usize = 50;

/// Bytes that are looked at for it.
const SNIFFED_BYTES: usize = 64 << 10;

/// Files of one log (-ff) that are read at once at most.
const MOST_FILES: usize = 512;

/// A log, open.
pub struct Log {
    files: Vec<File>,
    name: String,
    tracer: Tracer,
    /// The thread of lines that do not tell theirs.
    unnamed: Option<u32>,
}

/// One file of a log, and its next line.
struct File {
    input: Input,
    /// The thread that all of it is of (-ff).
    tid: Option<u32>,
    clock: Clock,
    line: Vec<u8>,
    /// What follows the line of its bytes.
    dump: Vec<u8>,
    /// The line's time, where there is a line.
    time: Option<Timestamp>,
    /// A line that strace's own words interrupted.
    begun: Vec<u8>,
    /// The threads that these words named.
    attached: Vec<u32>,
    number: u64,
    too_long: u64,
    /// The last line has no end.
    cut: Option<u64>,
}

/// Places the times of a log.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    now: u64,
    days: u64,
    last: u64,
    kind: Kept,
}

/// What times a log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    Nothing,
    Epoch,
    OfDay,
    Since,
}

impl Clock {
    /// The time of a line. Times of day are those of 1970-01-01, the next day where they go back by half a day;
    /// pauses count from there as well, and without times each line takes a nanosecond.
    fn time(&mut self, stamp: Option<Stamp>) -> Timestamp {
        match stamp {
            Some(Stamp::Epoch(time)) => (self.now, self.kind) = (time, Kept::Epoch),
            Some(Stamp::OfDay(time)) => {
                if time + DAY / 2 < self.last {
                    self.days += 1;
                }
                (self.last, self.kind) = (time, Kept::OfDay);
                self.now = self.days.saturating_mul(DAY).saturating_add(time);
            }
            Some(Stamp::Since(pause)) => {
                (self.now, self.kind) = (self.now.saturating_add(pause), Kept::Since);
            }
            None if self.kind == Kept::Nothing => self.now += 1,
            None => {}
        }
        Timestamp(self.now)
    }

    /// What times the user should not take for those of a calendar.
    fn undated(self) -> Option<&'static str> {
        match self.kind {
            Kept::Epoch => None,
            Kept::OfDay => Some("times of day have no date: they are shown as of 1970-01-01 (UTC)"),
            Kept::Since => Some("times count from the log's first line, from 1970-01-01 (UTC) on"),
            Kept::Nothing => Some("lines have no times: shown is their order"),
        }
    }
}

/// True where the input begins like a log of strace.
pub(super) fn is_log(input: &mut Input) -> Result<bool, Error> {
    let mut wanted = 4096;
    loop {
        let more = input.fill(wanted)?;
        let data = &input.data()[..input.data().len().min(SNIFFED_BYTES)];
        let mut lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
        if more && lines.len() > 1 {
            lines.pop(); // its end is not there yet
        }
        if lines.iter().take(SNIFFED_LINES).any(|line| is_line(line)) {
            return Ok(true);
        }
        if !more || wanted >= SNIFFED_BYTES || lines.len() > SNIFFED_LINES || data.contains(&0) {
            return Ok(false);
        }
        wanted *= 4;
    }
}

fn is_line(line: &[u8]) -> bool {
    match line::parse(line).body {
        Body::Call(text) => Syscall::parse(text).is_some(),
        Body::Unfinished(_) | Body::Resumed(..) | Body::Exited | Body::Superseded(_) => true,
        _ => false,
    }
}

/// Opens the files `path.TID` of `strace -ff -o path`; `None` where there are none.
pub(super) fn open_split(path: &Path) -> Result<Option<Log>, Error> {
    let Some(stem) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let tid = name.to_str().and_then(|name| name.strip_prefix(stem)?.strip_prefix('.')?.parse().ok());
        found.extend(tid.map(|tid| (tid, entry.path())));
    }
    found.sort();
    if found.len() > MOST_FILES {
        let count = found.len();
        return Err(Error::Input(format!(
            "{}: {count} files of one log; more than {MOST_FILES} can't be read at once, name one of them",
            path.display()
        )));
    }
    let mut files = Vec::new();
    for (tid, path) in found {
        let mut input = Input::open(&path, None)?;
        if is_log(&mut input)? {
            files.push(File::new(input, Some(tid)));
        }
    }
    let name = path.display().to_string();
    Ok((!files.is_empty()).then(|| Log::new(files, name)))
}

impl Log {
    /// A log over an input of which [`is_log`] is true.
    pub(super) fn from_input(input: Input) -> Log {
        let name = input.name().to_owned();
        // -ff -o FILE writes FILE.TID.
        let tid = name.rsplit_once('.').and_then(|(_, tid)| tid.parse().ok());
        Log::new(vec![File::new(input, tid.filter(|tid| (1..=1 << 22).contains(tid)))], name)
    }

    fn new(files: Vec<File>, name: String) -> Log {
        Log { files, name, tracer: Tracer::default(), unnamed: None }
    }

    /// Reads every line. Breaks when the sink does.
    fn lines(&mut self, summary: &mut Summary, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, Error> {
        for file in &mut self.files {
            file.next()?;
        }
        loop {
            // Few files: a look at each is cheap.
            let next = (0..self.files.len()).filter(|&index| self.files[index].time.is_some());
            let Some(index) = next.min_by_key(|&index| self.files[index].time) else {
                return Ok(ControlFlow::Continue(()));
            };
            let file = &mut self.files[index];
            let time = file.time.unwrap_or_default();
            summary.first.get_or_insert(time);
            summary.last = summary.last.max(Some(time));
            let line = std::mem::take(&mut file.line);
            let dump = std::mem::take(&mut file.dump);
            let (tid, attached) = (file.tid, std::mem::take(&mut file.attached));
            self.line(&line, &dump, time, tid, &attached);
            let file = &mut self.files[index];
            (file.line, file.dump) = (line, dump);
            file.next()?;
            if self.hand_on(summary, sink).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn hand_on(&mut self, summary: &mut Summary, sink: &mut Sink<'_>) -> ControlFlow<()> {
        for (event, payload) in self.tracer.sockets.queue.drain(..) {
            summary.last = summary.last.max(Some(event.time));
            let mut event = event;
            if let Kind::Data(data) = &mut event.kind {
                data.payload = &payload;
            }
            sink(&event)?;
        }
        ControlFlow::Continue(())
    }

    fn line(&mut self, line: &[u8], dump: &[u8], time: Timestamp, of_file: Option<u32>, attached: &[u32]) {
        let Line { tid, comm, body, .. } = line::parse(line);
        self.tracer.notes.lines += 1;
        let tid = self.thread(tid.or(of_file), attached);
        if let Some(comm) = comm {
            self.tracer.rename(tid, comm);
        }
        match body {
            Body::Call(text) => self.call(tid, text, time, true, dump),
            Body::Unfinished(text) => self.tracer.threads.begin(tid, text),
            Body::Resumed(name, rest) => match self.tracer.threads.resume(tid) {
                Some(mut text) if text.starts_with(name) => {
                    text.extend_from_slice(rest);
                    self.call(tid, &text, time, false, dump);
                }
                _ => {
                    let call = [&b"x("[..], rest].concat();
                    let result = Syscall::parse(&call).map_or(Outcome::None, |call| call.result);
                    let name = std::str::from_utf8(name).unwrap_or_default();
                    self.tracer.headless(name, result);
                }
            },
            Body::Exited => self.tracer.exited(tid, time),
            Body::Superseded(from) => self.tracer.superseded(tid, from, time),
            Body::Unknown if line::is_of_table(line) => {}
            Body::Unknown => self.unknown(),
            Body::Other | Body::Dump(_) | Body::Attached(..) => {}
        }
        for &child in attached {
            self.tracer.threads.get(child);
        }
    }

    fn unknown(&mut self) {
        let notes = &mut self.tracer.notes;
        notes.unknown += 1;
        if notes.first_unknown == 0 {
            notes.first_unknown = notes.lines;
        }
    }

    /// A line has the time at which its call began, and with -T how long it took. The second half of a call has the
    /// time at which it ended.
    fn call(&mut self, tid: u32, text: &[u8], time: Timestamp, is_whole: bool, dump: &[u8]) {
        let Some(call) = Syscall::parse(text) else { return self.unknown() };
        let took = call.took.filter(|_| is_whole).unwrap_or(0);
        self.tracer.call(tid, &call, Timestamp(time.0.saturating_add(took)), dump);
    }

    /// Whose line it is. strace tells no id while there is but one thread.
    fn thread(&mut self, tid: Option<u32>, attached: &[u32]) -> u32 {
        let threads = &mut self.tracer.threads;
        let Some(tid) = tid else {
            let known = self.unnamed.filter(|&tid| threads.knows(tid));
            let tid = known.or_else(|| threads.only()).unwrap_or(0);
            self.unnamed = Some(tid);
            return tid;
        };
        if self.unnamed == Some(0) && !threads.knows(tid) && !attached.contains(&tid) && threads.knows(0) {
            threads.rename(0, tid);
            self.unnamed = Some(tid);
        }
        tid
    }
}

impl Source for Log {
    fn vantage(&self) -> Vantage {
        Vantage::Strace
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        if self.lines(&mut summary, sink)?.is_continue() {
            self.tracer.sockets.finish(summary.last.unwrap_or_default());
            let _stopped = self.hand_on(&mut summary, sink);
        }
        let cut = self.files.iter().find_map(|file| Some((file.cut?, file.input.name())));
        summary.cut = cut.map(|(number, name)| format!("{name}: the log ends inside line {number}"));
        let undated = self.files.iter().find_map(|file| file.clock.undated());
        summary.undated = undated.is_some();
        let notes = &mut self.tracer.notes;
        (notes.guessed, notes.roots) = (self.tracer.sockets.guessed, self.tracer.threads.roots);
        notes.refused = self.tracer.threads.refused + self.tracer.sockets.refused;
        notes.too_long = self.files.iter().map(|file| file.too_long).sum();
        summary.warnings = notes.warnings(&self.name, undated);
        Ok(summary)
    }
}

impl File {
    fn new(input: Input, tid: Option<u32>) -> File {
        File {
            input,
            tid,
            clock: Clock::default(),
            line: Vec::new(),
            dump: Vec::new(),
            time: None,
            begun: Vec::new(),
            attached: Vec::new(),
            number: 0,
            too_long: 0,
            cut: None,
        }
    }

    /// Has the next line at hand, whole, and what follows it of its bytes.
    fn next(&mut self) -> Result<(), Error> {
        self.time = None;
        loop {
            self.line.clear();
            self.dump.clear();
            self.line.append(&mut self.begun);
            if !self.read_line()? {
                // What strace's words interrupted and nothing followed.
                return Ok(());
            }
            let Line { stamp, body, .. } = line::parse(&self.line);
            if let Body::Attached(before, pid) = body {
                self.attached.push(pid);
                // The time and the thread in front belong to the line that goes on behind.
                let head = before.as_ptr() as usize - self.line.as_ptr() as usize + before.len();
                if !before.is_empty() {
                    self.begun = self.line[..head].to_vec();
                }
                continue;
            }
            self.time = Some(self.clock.time(stamp));
            return self.read_dump();
        }
    }

    /// Appends the next line of the input, without its end. False where there is none.
    fn read_line(&mut self) -> Result<bool, Error> {
        let mut scanned = 0;
        loop {
            let data = self.input.data();
            if let Some(end) = memchr::memchr(b'\n', &data[scanned..]) {
                self.line.extend_from_slice(&data[..scanned + end]);
                self.input.consume(scanned + end + 1);
                self.number += 1;
                return Ok(true);
            }
            scanned = data.len();
            if scanned >= MAX_UNIT {
                self.input.consume(scanned);
                self.skip_line()?;
                scanned = 0;
            } else if !self.input.fill(scanned + 1)? {
                return Ok(self.last_line(scanned));
            }
        }
    }

    /// The rest of the input has no end of line: strace was interrupted while it wrote.
    fn last_line(&mut self, length: usize) -> bool {
        if length == 0 {
            return !self.line.is_empty();
        }
        self.line.extend_from_slice(&self.input.data()[..length]);
        self.input.consume(length);
        self.number += 1;
        if !is_line(&self.line) {
            self.cut = Some(self.number);
        }
        true
    }

    fn skip_line(&mut self) -> Result<(), Error> {
        self.too_long += 1;
        self.number += 1;
        while self.input.fill(1)? {
            let data = self.input.data();
            match memchr::memchr(b'\n', data) {
                Some(end) => {
                    self.input.consume(end + 1);
                    return Ok(());
                }
                None => self.input.consume(data.len()),
            }
        }
        Ok(())
    }

    /// Collects the rows of a dump that follow the line.
    fn read_dump(&mut self) -> Result<(), Error> {
        while self.input.fill(3)?
            && (self.input.data().starts_with(b" | ") || self.input.data().starts_with(b" * "))
        {
            let line = std::mem::take(&mut self.line);
            let read = self.read_line();
            let row = std::mem::replace(&mut self.line, line);
            read?;
            if let Body::Dump(row) = line::parse(&row).body
                && self.dump.len() < MAX_UNIT
            {
                self.dump.extend(dumped(row));
            }
        }
        Ok(())
    }
}

/// The bytes of a row: `00000  68 65 6c 6c 6f 0a   hello.  |`, sixteen at most.
fn dumped(row: &[u8]) -> impl Iterator<Item = u8> + '_ {
    /// Where the bytes stand behind the offset, and where their text begins.
    const WIDTH: usize = 2 + 16 * 3 + 1;
    let start = row.iter().position(|&byte| byte == b' ').unwrap_or(row.len());
    let end = (start + WIDTH).min(row.len());
    let pairs = row[start..end].split(|&byte| byte == b' ').filter(|pair| pair.len() == 2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
}
