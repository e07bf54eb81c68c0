//! A file that can be read more than once, whatever the user names.

use super::private::Unnamed;
use anyhow::Context;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A path; of a pipe (`-` and `/dev/fd/N` included), that of a copy which goes with this.
pub enum Rereadable {
    /// It can be read again as it is, or not at all.
    There(PathBuf),
    /// What came through the pipe.
    Copy(Unnamed),
}

impl Rereadable {
    /// Reads a pipe to its end; other files are left alone.
    ///
    /// # Errors
    /// The pipe can't be read, or the copy not written.
    pub fn new(path: &Path) -> anyhow::Result<Rereadable> {
        let standard_input = path == Path::new("-");
        if !standard_input && fs::metadata(path).map_or(true, |file| file.is_file() || file.is_dir()) {
            return Ok(Rereadable::There(path.to_owned()));
        }
        let name = if standard_input { "standard input".into() } else { path.display().to_string() };
        let mut copy = Unnamed::new().context("no temporary file for the capture")?;
        let copied = if standard_input {
            io::copy(&mut io::stdin().lock(), copy.file())
        } else {
            File::open(path).and_then(|mut pipe| io::copy(&mut pipe, copy.file()))
        };
        copied.with_context(|| format!("{name} can't be copied to a temporary file"))?;
        Ok(Rereadable::Copy(copy))
    }

    /// Where to read it.
    pub fn path(&self) -> &Path {
        match self {
            Rereadable::There(path) => path,
            Rereadable::Copy(file) => file.path(),
        }
    }
}
