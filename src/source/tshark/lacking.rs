//! What tshark's JSON lacks for a comparison, and the command that gives it.

use super::segment::Columns;
use std::collections::BTreeMap;

/// Gives all that is needed, and little else.
const COMMAND: &str = "tshark -r CAPTURE -o tcp.desegment_tcp_streams:FALSE -T json \
                       -e frame.time_epoch -e frame.protocols -e frame.len \
                       -e frame.cap_len -e ip.src -e ip.dst -e ipv6.src -e ipv6.dst -e tcp.srcport \
                       -e tcp.dstport -e tcp.seq_raw -e tcp.ack_raw -e tcp.flags -e tcp.len -e tcp.payload \
                       > FILE.json";

/// What the packets of the JSON were.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets read.
    pub packets: u64,
    /// TCP segments among them.
    pub tcp: u64,
    /// Those of them that had all they need.
    pub taken: u64,
    /// Those whose values can't be true.
    pub damaged: u64,
    /// Those whose sequence numbers are relative.
    pub relative: u64,
    /// Those whose payload was left out of the JSON.
    pub left_out: u64,
    /// Packets without time.
    pub untimed: u64,
    /// Objects that are no packets, or no JSON.
    pub unread: u64,
    /// What the first of them was.
    pub first_unread: Option<String>,
    /// A packet came as a list of fields.
    pub lists: bool,
    /// Segments that could not be used, by what they lack: at most as many as there are messages.
    lacking: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Counts a segment that can't be used.
    pub fn lack(&mut self, what: &'static str) {
        *self.lacking.entry(what).or_default() += 1;
    }

    /// Why nothing in the JSON can be used; absent where something can, or there is nothing.
    pub fn refusal(&self, columns: &Columns) -> Option<String> {
        if self.tcp > 0 && self.taken == 0 && !self.lacking.is_empty() {
            let what: Vec<&str> = self.lacking.keys().copied().collect();
            return Some(format!("lacks {}; run: {COMMAND}", what.join(", ")));
        }
        if self.taken > 0 && !columns.length && !columns.payload {
            return Some(format!("lacks tcp.len and tcp.payload; run: {COMMAND}"));
        }
        None
    }

    /// What the user should know, one line each.
    pub fn warnings(&self, columns: &Columns) -> Vec<String> {
        let mut warnings = Vec::new();
        let lacks = self.lacks(columns);
        if !lacks.is_empty() {
            warnings.push(format!("lacks {}; run: {COMMAND}", lacks.join("; lacks ")));
        }
        for (what, count) in &self.lacking {
            warnings.push(format!("{count} TCP segments not read: they lack {what}"));
        }
        if self.damaged > 0 {
            warnings.push(format!("{} TCP segments not read: their numbers can't be true", self.damaged));
        }
        if let Some(first) = &self.first_unread {
            warnings.push(format!("{} objects not read; the first: {first}", self.unread));
        }
        if self.packets > 0 && self.tcp == 0 {
            let fields =
                if self.lists { format!("; if there are some, run: {COMMAND}") } else { String::new() };
            warnings.push(format!("no TCP segment among {} packets{fields}", self.packets));
        }
        warnings
    }

    /// Fields that are missing, each with what can't be told without it.
    fn lacks(&self, columns: &Columns) -> Vec<&'static str> {
        let lacks = [
            (self.left_out > 0, "tcp.payload: content can't be compared"),
            (
                self.relative > 0,
                "tcp.seq_raw: numbers are relative, so connections are aligned by their beginning, and those that \
                 the capture found open can't be",
            ),
            (!columns.length, "tcp.len: a packet that was cut looks whole"),
            (!columns.ack, "tcp.ack_raw: bytes at the end that were not captured can't be told"),
            (!columns.flags, "tcp.flags: beginning and end of connections can't be told"),
            (self.untimed > 0, "frame.time_epoch: some times are unknown"),
        ];
        let missing = lacks.into_iter().filter(|&(missing, _)| missing && self.taken > 0);
        missing.map(|(_, what)| what).collect()
    }
}
