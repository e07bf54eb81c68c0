//! Zone transfers: AXFR (RFC 5936) and IXFR (RFC 1995), whose answer is one or many messages.

use super::message::Message;
use super::tables::rtype;
use crate::protocol::cursor::Cursor;

/// How far the answer to a transfer's query has come.
#[derive(Clone, Debug, Default)]
pub struct Transfer {
    /// Messages that came.
    pub messages: u64,
    /// Records of their answer sections.
    pub records: u64,
    /// The serial number that the client has, if it told.
    has: Option<u32>,
    /// Asked for the changes alone.
    incremental: bool,
    /// The serial number of the first SOA record.
    serial: Option<u32>,
    /// SOA records so far.
    soas: u64,
    /// The answer is made of changes: its second record is a SOA, too.
    changes: bool,
    /// Its last record came, or it is none.
    done: bool,
}

impl Transfer {
    /// The one that a query asks for, if it does.
    pub fn asked_by(query: &Message<'_>) -> Option<Transfer> {
        let question = query.questions.first()?;
        let incremental = question.rtype == rtype::IXFR;
        if !incremental && question.rtype != rtype::AXFR {
            return None;
        }
        let has = query.section(2).find(|record| record.rtype == rtype::SOA);
        let has = has.and_then(|soa| serial(query, soa.data));
        Some(Transfer { has, incremental, ..Transfer::default() })
    }

    /// True where its last record came.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the next message of the answer. True where it was the last.
    pub fn take(&mut self, message: &Message<'_>) -> bool {
        self.messages += 1;
        for record in message.section(1) {
            self.records += 1;
            let serial = (record.rtype == rtype::SOA).then(|| serial(message, record.data)).flatten();
            self.record(record.rtype == rtype::SOA, serial);
        }
        let only_soa = self.incremental && self.messages == 1 && self.records == 1;
        // The client has the newest already: then the answer is that one record (RFC 1995, section 2).
        let up_to_date = only_soa && (self.has.is_none() || self.has == self.serial);
        self.done |= up_to_date || self.records == 0 || message.rcode() != 0;
        self.done
    }

    fn record(&mut self, is_soa: bool, serial: Option<u32>) {
        self.soas += u64::from(is_soa);
        match self.records {
            1 if is_soa => self.serial = serial,
            1 => self.done = true,
            2 if is_soa && self.incremental => {
                self.changes = true;
                self.done = serial == self.serial;
            }
            _ if is_soa && !self.changes => self.done = true,
            // Each change is what goes behind its old SOA, and what comes behind its new one. The last SOA is the
            // first one again, where a change would begin.
            _ if is_soa && self.soas.is_multiple_of(2) => self.done = serial == self.serial,
            _ => {}
        }
    }
}

/// The serial number in the data of a SOA record: behind two names, which are compressed or not.
fn serial(message: &Message<'_>, (from, to): (usize, usize)) -> Option<u32> {
    let first = super::name::walk(message.data, from, |_| {}).ok()?;
    let second = super::name::walk(message.data, first, |_| {}).ok()?;
    Cursor::new(message.data.get(second..to)?).u32()
}
