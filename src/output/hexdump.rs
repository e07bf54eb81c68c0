//! Payload below its event line: as text, in hexadecimal, or both. Offsets are those of the stream.

use super::escape::is_harmful;
use std::io::{self, Write};

/// Which views to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Text with line breaks, everything else escaped.
    pub ascii: bool,
    /// Hexadecimal.
    pub hex: Hex,
}

/// How to show hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hex {
    /// Not at all.
    #[default]
    Off,
    /// Alone.
    Plain,
    /// With a column of ASCII.
    WithAscii,
}

const BYTES_PER_LINE: usize = 16;

impl Views {
    /// True where any view is to be shown.
    pub fn is_on(self) -> bool {
        self != Views::default()
    }

    /// Writes `payload`, whose first byte is at `offset` of its stream.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write(self, offset: u64, payload: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if self.hex != Hex::Off {
            write_hex(offset, payload, self.hex == Hex::WithAscii, out)?;
        }
        if self.ascii && !payload.is_empty() {
            write_ascii(payload, out)?;
        }
        Ok(())
    }
}

fn write_hex(offset: u64, payload: &[u8], ascii: bool, out: &mut dyn Write) -> io::Result<()> {
    for (number, line) in payload.chunks(BYTES_PER_LINE).enumerate() {
        write!(out, "\t0x{:08x}: ", offset.saturating_add((number * BYTES_PER_LINE) as u64))?;
        for pair in line.chunks(2) {
            out.write_all(b" ")?;
            pair.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        }
        if ascii {
            let digits = line.len() * 2 + line.len().div_ceil(2);
            write!(out, "{:1$}", "", 2 + BYTES_PER_LINE * 5 / 2 - digits)?;
            line.iter().try_for_each(|&byte| out.write_all(&[printable(byte)]))?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn printable(byte: u8) -> u8 {
    if matches!(byte, b' '..=b'~') { byte } else { b'.' }
}

/// Lines of text, each behind a tab. CR LF and LF end a line; other bytes are escaped, so a lone CR is
/// seen. A payload that does not end with a line break looks like one that does: the offsets of the
/// next event tell.
fn write_ascii(payload: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let body = payload.strip_suffix(b"\n").unwrap_or(payload);
    for line in body.split(|&byte| byte == b'\n') {
        out.write_all(b"\t")?;
        write_line(line.strip_suffix(b"\r").unwrap_or(line), out)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_line(line: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => out.write_all(b"\t")?,
                _ if is_harmful(character) => write!(out, "{}", character.escape_default())?,
                _ => write!(out, "{character}")?,
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(views: Views, payload: &[u8], expected: &str) {
        let mut out = Vec::new();
        views.write(0x1f0, payload, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    const ASCII: Views = Views { ascii: true, hex: Hex::Off };
    const PLAIN: Views = Views { ascii: false, hex: Hex::Plain };
    const BOTH: Views = Views { ascii: false, hex: Hex::WithAscii };

    #[test]
    fn hexadecimal_has_stream_offsets() {
        check(
            PLAIN,
            b"GET / HTTP/1.1\r\n\x1b",
            "\t0x000001f0:  4745 5420 2f20 4854 5450 2f31 2e31 0d0a\n\t0x00000200:  1b\n",
        );
        check(PLAIN, b"", "");
    }

    #[test]
    fn the_ascii_column_stays_aligned() {
        check(
            BOTH,
            b"GET / HTTP/1.1\r\n\x1bab",
            "\t0x000001f0:  4745 5420 2f20 4854 5450 2f31 2e31 0d0a  GET / HTTP/1.1..\n\
             \t0x00000200:  1b61 62                                  .ab\n",
        );
    }

    #[test]
    fn text_keeps_its_lines_and_nothing_that_a_terminal_obeys() {
        check(
            ASCII,
            b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n\x1b[2J\xff",
            "\tHTTP/1.1 200 OK\n\tA: b\n\t\n\t\\u{1b}[2J\\xff\n",
        );
        check(ASCII, b"a\rb", "\ta\\rb\n");
        check(ASCII, b"", "");
    }
}
