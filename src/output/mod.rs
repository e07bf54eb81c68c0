//! What people and programs read: text, JSON Lines, summaries.
//!
//! Views format into any writer. They know no terminal, no file and no clock; the time zone of the text
//! view is given to it. Everything that comes from outside passes through [`escape`].

pub mod escape;
pub mod head;
pub mod hexdump;
pub mod json;
pub mod ongoing;
pub mod paint;
pub mod query;
pub mod recording;
pub mod records;
pub mod records_json;
mod remedy;
pub mod report;
pub mod report_html;
pub mod report_json;
pub mod sockets;
pub mod stats;
pub mod tally;
pub mod text;
pub mod time;

use crate::event::Event;
use std::io::{self, Write};

/// Shows events, one after the other.
pub trait View {
    /// Writes the lines of one event.
    ///
    /// # Errors
    /// `out` can't be written.
    fn event(&mut self, event: &Event<'_>, out: &mut dyn Write) -> io::Result<()>;

    /// Writes what ends the output after the last event; text has nothing to say there.
    ///
    /// # Errors
    /// `out` can't be written.
    fn end(&mut self, tally: &tally::Tally, out: &mut dyn Write) -> io::Result<()>;
}
