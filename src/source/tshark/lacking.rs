//! What tshark's JSON lacks for a comparison, and the command that gives it.

use super::datagram;
use super::segment::Columns;
use std::collections::BTreeMap;

/// Gives all that is needed, and little else.
const COMMAND: &str = "tshark -r CAPTURE -o tcp.desegment_tcp_streams:FALSE -T json \
                       -e frame.time_epoch -e frame.protocols -e frame.len \
                       -e frame.cap_len -e frame.interface_id -e ip.id -e ip.src -e ip.dst -e ipv6.src -e ipv6.dst -e tcp.srcport \
                       -e tcp.dstport -e tcp.seq_raw -e tcp.ack_raw -e tcp.flags -e tcp.len -e tcp.payload \
                       -e udp.srcport -e udp.dstport -e udp.length -e udp.payload > FILE.json";

/// What the packets of the JSON were.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets read.
    pub packets: u64,
    /// TCP segments among them.
    pub tcp: u64,
    /// Those of them that had all they need.
    pub taken: u64,
    /// UDP datagrams among the packets.
    pub udp: u64,
    /// Those of them that had all they need.
    pub udp_taken: u64,
    /// Those whose values can't be true.
    pub udp_damaged: u64,
    /// Packets whose protocols are not told.
    pub unnamed: u64,
    /// Those whose values can't be true.
    pub damaged: u64,
    /// Those whose sequence numbers are relative.
    pub relative: u64,
    /// Those whose payload was left out of the JSON.
    pub left_out: u64,
    /// Datagrams whose payload is there.
    pub with_payload: u64,
    /// Datagrams whose payload was left out of the JSON.
    pub udp_left_out: u64,
    /// Packets without time.
    pub untimed: u64,
    /// Objects that are no packets, or no JSON.
    pub unread: u64,
    /// What the first of them was.
    pub first_unread: Option<String>,
    /// A packet came as a list of fields.
    pub lists: bool,
    /// Segments and datagrams that could not be used, by what they lack: at most as many as there are messages.
    lacking: BTreeMap<(&'static str, &'static str), u64>,
}

/// What segments are called in messages.
pub const SEGMENTS: &str = "TCP segments";

/// What datagrams are called in messages.
pub const DATAGRAMS: &str = "UDP datagrams";

impl Counts {
    /// Counts a segment or datagram that can't be used.
    pub fn lack(&mut self, kind: &'static str, what: &'static str) {
        *self.lacking.entry((kind, what)).or_default() += 1;
    }

    /// True where all datagrams of the capture are there, or it has none: not where nobody can tell.
    pub fn has_datagrams(&self) -> bool {
        self.udp_taken > 0 || (self.packets > 0 && self.unnamed == 0 && self.udp == 0)
    }

    /// Why nothing in the JSON can be used; absent where something can, or there is nothing.
    pub fn refusal(&self, columns: &Columns, datagrams: &datagram::Columns) -> Option<String> {
        if self.taken + self.udp_taken == 0 && !self.lacking.is_empty() {
            let mut what: Vec<&str> = self.lacking.keys().map(|(_, what)| *what).collect();
            what.dedup();
            return Some(format!("lacks {}; run: {COMMAND}", what.join(", ")));
        }
        if self.udp_taken > 0 && !datagrams.length && self.with_payload == 0 {
            return Some(format!("lacks udp.length and udp.payload; run: {COMMAND}"));
        }
        if self.taken > 0 && !columns.length && !columns.payload {
            return Some(format!("lacks tcp.len and tcp.payload; run: {COMMAND}"));
        }
        None
    }

    /// What the user should know, one line each.
    pub fn warnings(&self, columns: &Columns, datagrams: &datagram::Columns) -> Vec<String> {
        let mut warnings = Vec::new();
        let lacks = self.lacks(columns, datagrams);
        if !lacks.is_empty() {
            warnings.push(format!("lacks {}; run: {COMMAND}", lacks.join("; lacks ")));
        }
        for ((kind, what), count) in &self.lacking {
            warnings.push(format!("{count} {kind} not read: they lack {what}"));
        }
        for (kind, count) in [(SEGMENTS, self.damaged), (DATAGRAMS, self.udp_damaged)] {
            if count > 0 {
                warnings.push(format!("{count} {kind} not read: their numbers can't be true"));
            }
        }
        if let Some(first) = &self.first_unread {
            warnings.push(format!("{} objects not read; the first: {first}", self.unread));
        }
        if self.packets > 0 && self.tcp + self.udp == 0 {
            let fields =
                if self.lists { format!("; if there are some, run: {COMMAND}") } else { String::new() };
            warnings.push(format!("neither TCP nor UDP among {} packets{fields}", self.packets));
        }
        warnings
    }

    /// Fields that are missing, each with what can't be told without it.
    fn lacks(&self, columns: &Columns, datagrams: &datagram::Columns) -> Vec<&'static str> {
        let (tcp, udp) = (self.taken > 0, self.udp_taken > 0);
        let lacks = [
            (self.left_out > 0, "tcp.payload: content can't be compared"),
            (
                self.relative > 0,
                "tcp.seq_raw: numbers are relative, so connections are aligned by their beginning, and those that \
                 the capture found open can't be",
            ),
            (tcp && !columns.length, "tcp.len: a packet that was cut looks whole"),
            (tcp && !columns.ack, "tcp.ack_raw: bytes at the end that were not captured can't be told"),
            (tcp && !columns.flags, "tcp.flags: beginning and end of connections can't be told"),
            (self.udp_left_out > 0, "udp.payload: datagrams are told by their lengths alone"),
            (udp && !datagrams.length, "udp.length: a datagram that was cut looks whole"),
            (udp && !datagrams.id, "ip.id: a datagram that was captured twice counts twice"),
            (tcp | udp && self.untimed > 0, "frame.time_epoch: some times are unknown"),
        ];
        lacks.into_iter().filter(|&(missing, _)| missing).map(|(_, what)| what).collect()
    }
}
