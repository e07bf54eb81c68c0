//! The objects of a JSON array, or of JSON one after the other, from an input of any size.
//!
//! Finds only where an object begins and ends, so that one packet is in memory at a time. What is in it
//! is the business of `fields`.

use super::super::Error;
use super::super::input::{Input, MAX_UNIT};

/// What reading one unit of the input gave.
pub enum Unit<'a> {
    /// One object, with its braces, and the position of its first byte.
    Object(&'a [u8], u64),
    /// The input ends here, as it should.
    End,
    /// The input ends in the middle, and where.
    Cut(String),
    /// Something other than an object comes next, and where.
    Other(String),
}

/// JSON, open. Arrays may follow each other, as after `cat a.json b.json`.
pub struct Reader {
    input: Input,
    /// Between `[` and `]`.
    in_array: bool,
    /// Bytes of the object given last. They stay in the buffer until the next call.
    taken: usize,
}

impl Reader {
    /// Reads the input from here.
    pub fn new(input: Input) -> Reader {
        Reader { input, in_array: false, taken: 0 }
    }

    /// What messages call the input.
    pub fn name(&self) -> &str {
        self.input.name()
    }

    /// The next object. After any other unit there is none.
    ///
    /// # Errors
    /// The input can't be read any more.
    pub fn next(&mut self) -> Result<Unit<'_>, Error> {
        self.input.consume(std::mem::take(&mut self.taken));
        loop {
            if !self.input.fill(1)? {
                return Ok(self.end());
            }
            match self.input.data()[0] {
                b'{' => return self.object(),
                b'[' if !self.in_array => self.in_array = true,
                b']' if self.in_array => self.in_array = false,
                b',' if self.in_array => {}
                byte if byte.is_ascii_whitespace() => {}
                _ => return Ok(Unit::Other(self.place("no JSON object"))),
            }
            self.input.consume(1);
        }
    }

    /// The object that begins with the next byte.
    fn object(&mut self) -> Result<Unit<'_>, Error> {
        let mut scan = Scan::default();
        let mut seen = 0;
        loop {
            if let Some(length) = scan.end(&self.input.data()[seen..]) {
                self.taken = seen + length;
                let position = self.input.position();
                return Ok(Unit::Object(&self.input.data()[..self.taken], position));
            }
            seen = self.input.data().len();
            if !self.input.fill(seen + 1)? {
                let what = if seen < MAX_UNIT { "ends inside a packet" } else { "a packet without end" };
                return Ok(Unit::Cut(self.place(what)));
            }
        }
    }

    fn end(&self) -> Unit<'static> {
        if self.in_array {
            return Unit::Cut(self.place("ends without the closing bracket: tshark was stopped"));
        }
        Unit::End
    }

    fn place(&self, what: &str) -> String {
        format!("{}: {what}, at byte {}", self.input.name(), self.input.position())
    }
}

/// Looks for the end of an object, piece by piece.
#[derive(Default)]
struct Scan {
    /// Brackets and braces that are open.
    depth: usize,
    in_string: bool,
    /// The byte before was a backslash in a string.
    escaped: bool,
}

impl Scan {
    /// Where in `bytes`, which follow those of the call before, the object has ended.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if std::mem::take(&mut self.escaped) {
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => at += plain(&bytes[at..]),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1; // not below 0: the first byte is a brace, and the end is at 0
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Bytes until the next that means something in a string. Most strings are short, payloads are not.
fn plain(bytes: &[u8]) -> usize {
    memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Read};

    /// Gives a few bytes at a time.
    struct Drip(io::Cursor<Vec<u8>>, usize);

    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(self.1);
            self.0.read(&mut into[..length])
        }
    }

    /// The objects of `text`, then `end` or why it is cut.
    fn check(text: &str, expected: &[&str]) {
        for step in [1, 2, 3, 1000] {
            let drip = Drip(io::Cursor::new(text.as_bytes().to_vec()), step);
            let mut reader = Reader::new(Input::new("x".into(), Box::new(drip), None).unwrap());
            let mut units = Vec::new();
            loop {
                match reader.next().unwrap() {
                    Unit::Object(bytes, position) => {
                        assert!(text.as_bytes()[position as usize..].starts_with(bytes));
                        units.push(String::from_utf8(bytes.to_vec()).unwrap());
                    }
                    Unit::End => break units.push("end".into()),
                    Unit::Cut(reason) | Unit::Other(reason) => break units.push(reason),
                }
            }
            assert_eq!(units, expected, "{text:?} in steps of {step}");
        }
    }

    #[test]
    fn objects_are_found_in_arrays_and_in_lines() {
        check("[\n]\n", &["end"]);
        check("[{}, {\"a\":[{}]}\n]", &["{}", "{\"a\":[{}]}", "end"]);
        check("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}", "end"]);
        check("[{}][{}]", &["{}", "{}", "end"]);
    }

    #[test]
    fn braces_and_quotes_in_strings_do_not_count() {
        check(r#"[{"}\"]":"{\\"},{"\\\"":"["}]"#, &[r#"{"}\"]":"{\\"}"#, r#"{"\\\"":"["}"#, "end"]);
    }

    #[test]
    fn a_cut_is_said_with_its_place() {
        check("[{},{\"a\":", &["{}", "x: ends inside a packet, at byte 4"]);
        check("[{},\n", &["{}", "x: ends without the closing bracket: tshark was stopped, at byte 5"]);
        check("[{}] x", &["{}", "x: no JSON object, at byte 5"]);
        check("{}]", &["{}", "x: no JSON object, at byte 2"]);
    }

    #[test]
    fn a_packet_without_end_is_given_up_at_the_bound() {
        let text = Read::chain(&b"[{\""[..], io::repeat(b'x'));
        let mut reader = Reader::new(Input::new("x".into(), Box::new(text), None).unwrap());
        let Unit::Cut(reason) = reader.next().unwrap() else { panic!("an object without end") };
        assert_eq!(reason, "x: a packet without end, at byte 1");
    }
}
