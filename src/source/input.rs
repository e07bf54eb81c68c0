//! Bytes of a file or of standard input through one bounded buffer, with a position for messages.
//!
//! Knows nothing of what the bytes mean. It may wait for a file that is still being written, which is
//! why it is the only part of the file sources that sleeps.

use super::Error;
use super::compressed::{self, Compression};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Bytes asked of the system at once. Fits a second-level cache, so that packets are parsed while warm.
const CHUNK: usize = 256 << 10;

/// The longest unit (packet, block) that the buffer grows for. Lengths come from the file: a larger one
/// is damage, not data. libpcap's own limit for a packet is 256 KiB, for a block 16 MiB.
pub const MAX_UNIT: usize = 64 << 20;

/// How long to wait before looking again whether a growing file has grown.
const POLL: Duration = Duration::from_millis(10);

static BYTES_READ: AtomicU64 = AtomicU64::new(0);

/// Bytes that this process has read of all its inputs so far, as they are in the files: for a display of progress.
pub fn bytes_read() -> u64 {
    BYTES_READ.load(Ordering::Relaxed)
}

/// A readable input with a look-ahead buffer.
pub struct Input {
    name: String,
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    consumed: u64,
    /// Why nothing more comes, where that is not the input's proper end.
    failure: Option<String>,
    compressed: bool,
    /// The file itself, where what was read can be read again.
    file: Option<File>,
}

/// Reads again what an input has given.
pub struct Again(File);

impl Again {
    /// Fills `into` with the bytes from `position` on. False where that fails.
    pub fn read(&self, position: u64, into: &mut [u8]) -> bool {
        self.0.read_exact_at(into, position).is_ok()
    }
}

impl Input {
    /// Opens `path`, `-` for standard input. With `follow`, the end of the file means "wait for more"
    /// until the flag becomes true. What is compressed with gzip or zstd is decompressed as it is read.
    ///
    /// # Errors
    /// Missing, not readable, a directory, or compressed in another way.
    pub fn open(path: &Path, follow: Option<Arc<AtomicBool>>) -> Result<Input, Error> {
        if path == Path::new("-") {
            return Input::new("standard input".into(), io::stdin(), follow);
        }
        let name = path.display().to_string();
        let refuse = |error: io::Error| Error::Input(format!("{name}: {}", explain(&error)));
        let file = File::open(path).map_err(refuse)?;
        if file.metadata().map_err(refuse)?.is_dir() {
            return Err(Error::Input(format!("{name}: is a directory; name a capture or recording in it")));
        }
        let again =
            if file.metadata().is_ok_and(|file| file.is_file()) { file.try_clone().ok() } else { None };
        let input = Input::new(name, file, follow)?;
        // Positions in compressed data are none of the file.
        Ok(if input.compressed { input } else { Input { file: again, ..input } })
    }

    /// An input over any reader, called `name` in messages.
    ///
    /// # Errors
    /// As those of [`Input::open`].
    pub fn new(
        name: String,
        reader: impl Read + Send + 'static,
        follow: Option<Arc<AtomicBool>>,
    ) -> Result<Input, Error> {
        let reader = Box::new(Following { reader, follow });
        let buffer = vec![0; CHUNK];
        let mut input = Input {
            name,
            reader,
            buffer,
            start: 0,
            end: 0,
            consumed: 0,
            failure: None,
            compressed: false,
            file: None,
        };
        input.fill(compressed::MAGIC)?;
        match Compression::of(input.data()) {
            Some(compression) => input.decompress(compression),
            None => Ok(input),
        }
    }

    /// The decompressed form of an input of which nothing was consumed.
    fn decompress(self, compression: Compression) -> Result<Input, Error> {
        let head = io::Cursor::new(self.data().to_vec());
        let (name, reader) = (self.name, self.reader);
        let Some(reader) = compression.decoder(head.chain(reader)) else {
            let program = if let Compression::Other(program) = compression { program } else { "its program" };
            return Err(Error::Input(format!(
                "{name}: is compressed with {program}, which is not read; decompress it first (`{program} -dc`)"
            )));
        };
        Ok(Input { name, reader, start: 0, end: 0, compressed: true, ..self })
    }

    /// A way to read again what was given: of a file that is not compressed.
    pub fn again(&self) -> Option<Again> {
        self.file.as_ref()?.try_clone().ok().map(Again)
    }

    /// Why the input ended, where that was not its proper end: the compressed data is cut or damaged. What
    /// came before was given.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes at hand.
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Position in the input of the first byte of [`Input::data`].
    pub fn position(&self) -> u64 {
        self.consumed
    }

    /// Drops `count` bytes from the front of [`Input::data`] (all of it where there are fewer).
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.consumed += count as u64;
    }

    /// Reads until `count` bytes are at hand. False where the input ends before, or where `count` is
    /// more than [`MAX_UNIT`].
    ///
    /// # Errors
    /// The input can't be read any more.
    pub fn fill(&mut self, count: usize) -> Result<bool, Error> {
        if self.end - self.start >= count {
            return Ok(true);
        }
        if count > MAX_UNIT {
            return Ok(false);
        }
        self.make_room(count);
        while self.end - self.start < count {
            if self.failure.is_some() {
                return Ok(false);
            }
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match broken(&error) {
                    Some(reason) => self.failure = Some(reason),
                    None => return Err(Error::Input(format!("{}: {}", self.name, explain(&error)))),
                },
            }
        }
        Ok(true)
    }

    /// Moves the bytes at hand to the front and makes the buffer hold at least `count`.
    fn make_room(&mut self, count: usize) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < count {
            self.buffer.resize(count.next_multiple_of(CHUNK), 0);
        }
    }
}

/// Reads, and at the end waits for more until a flag is set.
struct Following<R> {
    reader: R,
    follow: Option<Arc<AtomicBool>>,
}

impl<R: Read> Read for Following<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            // The flag is read before the file: what was written before it was set is still read.
            let last_look = self.follow.as_ref().is_none_or(|stop| stop.load(Ordering::Acquire));
            let read = self.reader.read(into)?;
            BYTES_READ.fetch_add(read as u64, Ordering::Relaxed);
            if read > 0 || last_look {
                return Ok(read);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// What an error tells of compressed data; absent where it comes from the system.
fn broken(error: &io::Error) -> Option<String> {
    if error.raw_os_error().is_some() {
        return None;
    }
    Some(match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed data ends in the middle".into(),
        _ => format!("the compressed data is damaged ({error})"),
    })
}

/// The system's reason with what to do about it.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file; check the name".into(),
        io::ErrorKind::PermissionDenied => "permission denied; run as a user who may read it".into(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, the worst a pipe can do.
    struct Drip(io::Cursor<Vec<u8>>);

    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(1);
            self.0.read(&mut into[..length])
        }
    }

    #[test]
    fn bytes_come_in_order_through_a_small_window() {
        let bytes: Vec<u8> = (0..CHUNK * 2 + 7).map(|i| (i % 251) as u8).collect();
        let mut input = Input::new("test".into(), Drip(io::Cursor::new(bytes.clone())), None).unwrap();
        let mut seen = Vec::new();
        while input.fill(1000).unwrap() {
            seen.extend_from_slice(&input.data()[..1000]);
            input.consume(1000);
            assert_eq!(input.position(), seen.len() as u64);
        }
        seen.extend_from_slice(input.data());
        assert!(seen == bytes);
    }

    #[test]
    fn a_unit_beyond_the_bound_is_refused_without_growing() {
        let mut input = Input::new("test".into(), io::repeat(7), None).unwrap();
        assert!(!input.fill(MAX_UNIT + 1).unwrap());
        assert_eq!(input.buffer.len(), CHUNK);
        assert!(input.fill(MAX_UNIT).unwrap());
    }
}
