//! Where a recording goes: a private file, or stdout. Keeps the file whole whatever happens.
//!
//! Bytes are collected until they are worth a system call, and reach the file only as whole events. If
//! the disk fills up, the file is cut back to its last whole event and gets no end mark, from which
//! readers know that something is missing (`recording-cut`). The format is the business of [`crate::output::recording`].

use super::private;
use crate::event::{Event, Timestamp};
use crate::exit::Usage;
use crate::output::recording::Writer;
use crate::redact::Content;
use crate::source::Summary;
use anyhow::Context;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IsTerminal, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

/// Bytes worth a write call.
const CHUNK: usize = 128 << 10;

/// How long an event may wait for others before it is written, in nanoseconds of the events' time.
const PATIENCE: u64 = 1_000_000_000;

/// A recording being written.
pub struct Recorder {
    name: String,
    writer: Option<Writer<Handle>>,
    chunks: Handle,
}

impl Recorder {
    /// Creates the recording, readable by its owner only; `-` is stdout. `input` is what is being read
    /// at the same time, which must not be the same file. `content` tells what becomes of payload.
    ///
    /// # Errors
    /// The file can't be created or is `input`.
    pub fn create(path: &Path, input: Option<&Path>, content: Content) -> anyhow::Result<Recorder> {
        if input.is_some_and(|input| is_same_file(input, path)) {
            let message = format!("{} can't be read and written at the same time", path.display());
            return Err(Usage::new(message, "give -w another name").into());
        }
        if path == Path::new("-") && io::stdout().is_terminal() {
            return Err(
                Usage::new("a recording is not for a terminal", "redirect stdout, or name a file").into()
            );
        }
        let name = path.display().to_string();
        let target = Target::open(path).with_context(|| format!("cannot write {name}"))?;
        let chunks = Handle(Rc::new(RefCell::new(Chunks::new(target))));
        let writer =
            Writer::with_content(chunks.clone(), content).with_context(|| format!("cannot write {name}"))?;
        // The head goes out at once: a reader that waits sees that the recording has begun.
        chunks.0.borrow_mut().push().with_context(|| format!("cannot write {name}"))?;
        Ok(Recorder { name, writer: Some(writer), chunks })
    }

    /// Records one event.
    ///
    /// # Errors
    /// The disk is full, or the reader of a pipe went away. Nothing more is recorded then.
    pub fn event(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = writer.event(event).and_then(|()| self.chunks.0.borrow_mut().whole(event.time));
        if written.is_err() {
            self.writer = None;
        }
        written.with_context(|| format!("cannot write {}", self.name))
    }

    /// Writes the end of the recording, unless an error was reported before.
    ///
    /// # Errors
    /// As for [`Recorder::event`].
    pub fn finish(&mut self, summary: &Summary) -> anyhow::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let written = writer.finish(summary).and_then(|()| self.chunks.0.borrow_mut().push());
        written.with_context(|| format!("cannot write {}", self.name))
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| path.metadata().ok().map(|data| (data.dev(), data.ino()));
    id(a).is_some() && id(a) == id(b) && a.is_file()
}

enum Target {
    /// A file that can be cut back.
    Regular(File),
    /// A pipe, a terminal, a device.
    Other(Box<dyn Write>),
}

impl Target {
    fn open(path: &Path) -> io::Result<Target> {
        if path == Path::new("-") {
            return Ok(Target::Other(Box::new(io::stdout())));
        }
        let file = private::create(path)?;
        Ok(if file.metadata()?.is_file() { Target::Regular(file) } else { Target::Other(Box::new(file)) })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Regular(file) => file.write(bytes),
            Target::Other(out) => out.write(bytes),
        }
    }

    /// Gives back what lies behind `length`, where that can be done.
    fn cut(&mut self, length: u64) -> io::Result<()> {
        match self {
            Target::Regular(file) => {
                file.set_len(length)?;
                file.seek(SeekFrom::Start(length)).map(drop)
            }
            Target::Other(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Regular(_) => Ok(()),
            Target::Other(out) => out.flush(),
        }
    }
}

/// Collects bytes and knows where events end among them.
struct Chunks {
    target: Target,
    /// Bytes in the target; always whole events.
    written: u64,
    pending: Vec<u8>,
    /// Where in `pending` a whole event (or the head of the recording) ends.
    ends: Vec<usize>,
    pushed: Timestamp,
}

impl Chunks {
    fn new(target: Target) -> Chunks {
        let pending = Vec::with_capacity(CHUNK + (64 << 10));
        Chunks { target, written: 0, pending, ends: Vec::new(), pushed: Timestamp::default() }
    }

    /// What is pending ends with a whole event.
    fn whole(&mut self, now: Timestamp) -> io::Result<()> {
        self.ends.push(self.pending.len());
        if self.pending.len() < CHUNK && now.since(self.pushed) < PATIENCE {
            return Ok(());
        }
        self.pushed = now;
        self.push()
    }

    /// Writes what is pending; all of it, or whole events only.
    fn push(&mut self) -> io::Result<()> {
        let mut done = 0;
        let mut result = Ok(());
        while done < self.pending.len() && result.is_ok() {
            match self.target.write(&self.pending[done..]) {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
        }
        if result.is_err() {
            done = self.last_end(done);
            self.target.cut(self.written + done as u64)?;
        }
        self.written += done as u64;
        self.pending.clear();
        self.ends.clear();
        result.and_then(|()| self.target.flush())
    }

    /// The last end of an event that is not behind `limit`.
    fn last_end(&self, limit: usize) -> usize {
        let before = self.ends.partition_point(|&end| end <= limit);
        before.checked_sub(1).map_or(0, |last| self.ends[last])
    }
}

/// One of the two hands on the chunks: the writer's, or the recorder's.
#[derive(Clone)]
struct Handle(Rc<RefCell<Chunks>>);

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// When to write is decided at the end of each event.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn chunks(path: &Path) -> Chunks {
        Chunks::new(Target::open(path).unwrap())
    }

    #[test]
    fn a_recording_is_private_even_where_the_file_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(chunks(&path));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(path.metadata().unwrap().len(), 0);
    }

    #[test]
    fn events_wait_for_each_other_but_not_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut chunks = chunks(&path);
        let length = || path.metadata().unwrap().len();
        let mut add = |bytes: &[u8], second: u64| {
            chunks.pending.extend_from_slice(bytes);
            chunks.whole(Timestamp(second * 1_000_000_000)).unwrap();
        };
        add(b"first", 100);
        assert_eq!(length(), 5);
        add(b"second", 100);
        assert_eq!(length(), 5);
        add(b"third", 101);
        assert_eq!(length(), 16);
        add(&vec![0; CHUNK], 101);
        assert_eq!(length(), 16 + CHUNK as u64);
    }

    #[test]
    fn the_last_whole_event_is_found() {
        let mut chunks = Chunks::new(Target::Other(Box::new(io::sink())));
        chunks.ends = vec![10, 20, 20, 50];
        for (limit, end) in [(0, 0), (9, 0), (10, 10), (19, 10), (20, 20), (49, 20), (50, 50), (90, 50)] {
            assert_eq!(chunks.last_end(limit), end, "up to {limit}");
        }
    }
}
