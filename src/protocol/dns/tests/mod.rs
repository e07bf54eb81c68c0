//! Conversations written by hand from the RFCs.

mod datagrams;
mod streams;
mod values;

use super::*;
use crate::protocol::testing::{Setup, Step};
use crate::record::{Field, Record, Value};

/// A message, part by part (RFC 1035, section 4).
#[derive(Clone)]
struct Writer(Vec<u8>);

/// Where the records of a message go.
#[derive(Clone, Copy)]
enum Section {
    Answer = 1,
    Authority = 2,
    Additional = 3,
}

/// Flags of a query that wants recursion, and of a good response to it.
const QUERY: u16 = 0x0100;
const RESPONSE: u16 = 0x8180;

impl Writer {
    fn new(id: u16, flags: u16) -> Writer {
        let mut bytes = vec![0; 12];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        Writer(bytes)
    }

    fn count(&mut self, section: usize) {
        let at = 4 + 2 * section;
        let count = u16::from_be_bytes([self.0[at], self.0[at + 1]]) + 1;
        self.0[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    fn question(mut self, name: &[u8], rtype: u16, class: u16) -> Writer {
        self.count(0);
        self.0.extend(name);
        self.0.extend(rtype.to_be_bytes());
        self.0.extend(class.to_be_bytes());
        self
    }

    fn record(self, section: Section, name: &[u8], rtype: u16, data: &[u8]) -> Writer {
        self.whole_record(section, name, rtype, 1, 300, data)
    }

    fn whole_record(
        mut self,
        section: Section,
        name: &[u8],
        rtype: u16,
        class: u16,
        ttl: u32,
        data: &[u8],
    ) -> Writer {
        self.count(section as usize);
        self.0.extend(name);
        self.0.extend(rtype.to_be_bytes());
        self.0.extend(class.to_be_bytes());
        self.0.extend(ttl.to_be_bytes());
        self.0.extend((data.len() as u16).to_be_bytes());
        self.0.extend(data);
        self
    }

    /// Behind its length.
    fn in_stream(self) -> Vec<u8> {
        [&(self.0.len() as u16).to_be_bytes()[..], &self.0].concat()
    }
}

/// `example.org`, and a pointer to it where it is the question.
const NAME: &[u8] = b"\x07example\x03org\x00";
const SAME: &[u8] = &[0xc0, 12];

fn query(id: u16, rtype: u16) -> Writer {
    Writer::new(id, QUERY).question(NAME, rtype, 1)
}

fn response(id: u16, rtype: u16) -> Writer {
    Writer::new(id, RESPONSE).question(NAME, rtype, 1)
}

fn address(id: u16, last: u8) -> Writer {
    response(id, 1).record(Section::Answer, SAME, 1, &[192, 0, 2, last])
}

/// The SOA record's data: `. .` and five numbers.
fn soa(serial: u32) -> Vec<u8> {
    [&[0, 0][..], &serial.to_be_bytes(), &[0; 16]].concat()
}

fn field<'a>(record: &'a Record, name: &str) -> Option<&'a Value> {
    let mut fields = record.messages().flat_map(|message| &message.fields);
    fields.find(|field: &&Field| field.name == name).map(|field| &field.value)
}

fn shown() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}
