//! Bytes of a file or of standard input through one bounded buffer, with a position for messages.
//!
//! Knows nothing of what the bytes mean. It may wait for a file that is still being written, which is
//! why it is the only part of the file sources that sleeps.

use super::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes asked of the system at once. Fits a second-level cache, so that packets are parsed while warm.
const CHUNK: usize = 256 << 10;

/// The longest unit (packet, block) that the buffer grows for. Lengths come from the file: a larger one
/// is damage, not data. libpcap's own limit for a packet is 256 KiB, for a block 16 MiB.
pub const MAX_UNIT: usize = 64 << 20;

/// How long to wait before looking again whether a growing file has grown.
const POLL: Duration = Duration::from_millis(10);

/// A readable input with a look-ahead buffer.
pub struct Input {
    name: String,
    reader: Box<dyn Read + Send>,
    follow: Option<Arc<AtomicBool>>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    consumed: u64,
}

impl Input {
    /// Opens `path`, `-` for standard input. With `follow`, the end of the file means "wait for more"
    /// until the flag becomes true.
    ///
    /// # Errors
    /// Missing, not readable, or a directory.
    pub fn open(path: &Path, follow: Option<Arc<AtomicBool>>) -> Result<Input, Error> {
        if path == Path::new("-") {
            return Ok(Input::new("standard input".into(), Box::new(io::stdin()), follow));
        }
        let name = path.display().to_string();
        let refuse = |error: io::Error| Error::Input(format!("{name}: {}", explain(&error)));
        let file = File::open(path).map_err(refuse)?;
        if file.metadata().map_err(refuse)?.is_dir() {
            return Err(Error::Input(format!("{name}: is a directory; name a capture or recording in it")));
        }
        Ok(Input::new(name, Box::new(file), follow))
    }

    /// An input over any reader, called `name` in messages.
    pub fn new(name: String, reader: Box<dyn Read + Send>, follow: Option<Arc<AtomicBool>>) -> Input {
        Input { name, reader, follow, buffer: vec![0; CHUNK], start: 0, end: 0, consumed: 0 }
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
            // The flag is read before the file: what was written before it was set is still read.
            let last_look = self.follow.as_ref().is_none_or(|stop| stop.load(Ordering::Acquire));
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) if last_look => return Ok(false),
                Ok(0) => std::thread::sleep(POLL),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Input(format!("{}: {}", self.name, explain(&error)))),
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
        let mut input = Input::new("test".into(), Box::new(Drip(io::Cursor::new(bytes.clone()))), None);
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
        let mut input = Input::new("test".into(), Box::new(io::repeat(7)), None);
        assert!(!input.fill(MAX_UNIT + 1).unwrap());
        assert_eq!(input.buffer.len(), CHUNK);
        assert!(input.fill(MAX_UNIT).unwrap());
    }
}
