//! Stdout for data and stderr for everything else, with the buffering that fits a live trace.

use super::progress;
use crate::output::escape::escape;
use nix::sys::stat::{SFlag, fstat};
use std::io::{self, BufWriter, Stdout, Write};

const BUFFER: usize = 64 << 10;

/// Stdout, buffered. A live trace shows each event at once, unless stdout is a file.
pub struct Screen {
    out: BufWriter<Stdout>,
    prompt: bool,
}

impl Screen {
    /// For output that comes as it happens (`live`), or as fast as a file can be read.
    pub fn new(live: bool) -> Screen {
        let out = BufWriter::with_capacity(BUFFER, io::stdout());
        Screen { out, prompt: live && !stdout_is_file() }
    }

    /// Writes with `write`, and shows it where that should happen at once.
    ///
    /// # Errors
    /// Stdout can't be written.
    pub fn show(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        write(&mut self.out)?;
        if self.prompt { self.out.flush() } else { Ok(()) }
    }

    /// Shows what is still in the buffer.
    ///
    /// # Errors
    /// Stdout can't be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn stdout_is_file() -> bool {
    let kind = |stat: nix::sys::stat::FileStat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    fstat(io::stdout()).is_ok_and(|stat| kind(stat) == SFlag::S_IFREG)
}

/// Says something on stderr, behind the program's name. Line breaks stay, everything else is escaped.
pub fn say(text: &str) {
    let mut message = String::from("sockdbg: ");
    for (number, line) in text.lines().enumerate() {
        let line_break = if number > 0 { "\n" } else { "" };
        message.push_str(&format!("{line_break}{}", escape(line.as_bytes())));
    }
    message.push('\n');
    // Nothing can be done about a stderr that is gone.
    progress::hidden(|| drop(io::stderr().lock().write_all(message.as_bytes())));
}
