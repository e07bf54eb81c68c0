//! Messages (RFC 1035, section 4): header, questions and resource records, in place.

use super::name::{self, Fault};
use super::tables::{class, rtype};
use crate::protocol::cursor::Cursor;

/// Bytes of a header.
pub const HEADER: usize = 12;

/// The shortest question: the root's name, type and class.
const QUESTION_MIN: usize = 5;

/// The shortest resource record: the root's name, type, class, time to live, length.
const RECORD_MIN: usize = 11;

/// Bits of the second word of a header (RFC 1035, section 4.1.1; RFC 4035, section 3).
pub mod flag {
    pub const QR: u16 = 0x8000;
    pub const AA: u16 = 0x0400;
    pub const TC: u16 = 0x0200;
    pub const RD: u16 = 0x0100;
    pub const RA: u16 = 0x0080;
    pub const Z: u16 = 0x0040;
    pub const AD: u16 = 0x0020;
    pub const CD: u16 = 0x0010;
}

/// Numbers of kinds of messages (IANA, "DNS OpCodes").
pub mod opcode {
    pub const QUERY: u8 = 0;
    pub const IQUERY: u8 = 1;
    pub const STATUS: u8 = 2;
    pub const NOTIFY: u8 = 4;
    pub const UPDATE: u8 = 5;
    /// Stateful operations (RFC 8490): no questions and records follow the header.
    pub const DSO: u8 = 6;
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u16,
    pub flags: u16,
    /// Questions, and records of the three sections behind them.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads the header at the front; absent where it is not whole.
    pub fn read(data: &[u8]) -> Option<Header> {
        let mut cursor = Cursor::new(data);
        let (id, flags) = (cursor.u16()?, cursor.u16()?);
        Some(Header { id, flags, counts: [cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?] })
    }

    pub fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn is_response(self) -> bool {
        self.has(flag::QR)
    }

    pub fn opcode(self) -> u8 {
        (self.flags >> 11 & 15) as u8
    }

    /// The low four bits of the response code.
    pub fn rcode(self) -> u16 {
        self.flags & 15
    }

    /// True where a message of `length` bytes can begin so: a known kind of message, a query without error, and room
    /// for as many questions and records as it counts.
    pub fn is_plausible(self, length: usize) -> bool {
        let [questions, records @ ..] = self.counts.map(usize::from);
        let least = HEADER + questions * QUESTION_MIN + records.iter().sum::<usize>() * RECORD_MIN;
        let kind = match self.opcode() {
            opcode::QUERY | opcode::NOTIFY | opcode::UPDATE => self.is_response() || questions > 0,
            opcode::IQUERY | opcode::STATUS => true,
            opcode::DSO => self.counts == [0; 4],
            _ => false,
        };
        kind && !self.has(flag::Z) && (self.is_response() || self.rcode() == 0) && least <= length
    }
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where its name begins.
    pub name: usize,
    pub rtype: u16,
    pub class: u16,
}

/// A resource record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1 to 3: answer, authority, additional.
    pub section: usize,
    /// Where its name begins.
    pub name: usize,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    /// Where its data begin, and end.
    pub data: (usize, usize),
}

/// How a message ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its last record.
    Whole,
    /// So many bytes follow its last record.
    Trailing(usize),
    /// The rest was not captured.
    Cut,
    /// It does not follow the protocol: where, and what is wrong.
    Malformed(String),
}

/// A message, as far as it can be read.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    pub header: Header,
    pub questions: Vec<Question>,
    pub records: Vec<Record>,
    pub ending: Ending,
}

impl<'a> Message<'a> {
    /// Reads a message of `length` bytes, of which `data` are at hand. Absent where its header is not whole.
    pub fn read(data: &'a [u8], length: usize) -> Option<Message<'a>> {
        let header = Header::read(data)?;
        let (questions, records) = (Vec::new(), Vec::new());
        let mut message = Message { data, header, questions, records, ending: Ending::Whole };
        message.ending = match message.read_sections() {
            _ if header.opcode() == opcode::DSO => Ending::Whole,
            Ok(end) if end < length => Ending::Trailing(length - end),
            Ok(_) => Ending::Whole,
            Err((_, Fault::Short)) if data.len() < length => Ending::Cut,
            Err((place, Fault::Short)) => Ending::Malformed(format!("{place}: the message ends inside it")),
            Err((place, Fault::Wrong(what))) => Ending::Malformed(format!("{place}: {what}")),
        };
        Some(message)
    }

    /// Reads all that the header counts. Gives where it ends, or what can't be read.
    fn read_sections(&mut self) -> Result<usize, (String, Fault)> {
        let (data, mut at) = (self.data, HEADER);
        for number in 0..self.header.counts[0] {
            let (question, end) =
                question(data, at).map_err(|fault| (format!("question {}", number + 1), fault))?;
            self.questions.push(question);
            at = end;
        }
        for section in 1..4 {
            for number in 0..self.header.counts[section] {
                let read = record(data, at, section);
                let (record, end) = read.map_err(|fault| {
                    (format!("{} record {}", self.section_name(section), number + 1), fault)
                })?;
                self.records.push(record);
                at = end;
            }
        }
        Ok(at)
    }

    /// What a section is called (RFC 1035, section 4.1; of updates RFC 2136, section 2).
    pub fn section_name(&self, section: usize) -> &'static str {
        match (self.header.opcode(), section) {
            (opcode::UPDATE, 0) => "zone",
            (opcode::UPDATE, 1) => "prerequisite",
            (opcode::UPDATE, 2) => "update",
            (_, 0) => "question",
            (_, 1) => "answer",
            (_, 2) => "authority",
            _ => "additional",
        }
    }

    /// The records of one section.
    pub fn section(&self, section: usize) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.section == section)
    }

    /// The pseudo-record that extends the header (RFC 6891, section 6.1.1).
    pub fn opt(&self) -> Option<&Record> {
        self.section(3).find(|record| record.rtype == rtype::OPT)
    }

    /// The response code, with the bits that an OPT record adds (RFC 6891, section 6.1.3).
    pub fn rcode(&self) -> u16 {
        self.header.rcode() | self.opt().map_or(0, |opt| (opt.ttl >> 24) as u16) << 4
    }

    /// True where nothing in it speaks against being a message of this protocol: it ends where it says, and every
    /// class is one that is in use.
    pub fn is_strict(&self) -> bool {
        let known = |name: u16| class::is_known(name & !class::TOP_BIT);
        self.ending == Ending::Whole
            && self.questions.iter().all(|question| known(question.class) && question.rtype != 0)
            && self.records.iter().all(|record| record.rtype == rtype::OPT || known(record.class))
    }
}

fn question(data: &[u8], at: usize) -> Result<(Question, usize), Fault> {
    let end = name::walk(data, at, |_| {})?;
    let mut cursor = Cursor::new(&data[end..]);
    let (rtype, class) = (cursor.u16().ok_or(Fault::Short)?, cursor.u16().ok_or(Fault::Short)?);
    Ok((Question { name: at, rtype, class }, end + 4))
}

fn record(data: &[u8], at: usize, section: usize) -> Result<(Record, usize), Fault> {
    let end = name::walk(data, at, |_| {})?;
    let mut cursor = Cursor::new(&data[end..]);
    let mut head = || Some((cursor.u16()?, cursor.u16()?, cursor.u32()?, cursor.u16()?));
    let (rtype, class, ttl, length) = head().ok_or(Fault::Short)?;
    let from = end + 10;
    let to = from + usize::from(length);
    if data.len() < to {
        return Err(Fault::Short);
    }
    Ok((Record { section, name: at, rtype, class, ttl, data: (from, to) }, to))
}
