//! What a log lacks, counted while it is read and said once at its end, each with the command that gives it.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How to run strace so that nothing is missing.
pub(super) const COMMAND: &str =
    "strace -f -ttt -T -yy -xx -s 1000000 -e trace=%network,%desc,%process -o FILE";

/// Descriptors that are named; others are counted.
const NAMED: usize = 5;

/// What was noticed.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Lines read.
    pub(super) lines: u64,
    /// Lines that were not understood, and the number of the first.
    pub(super) unknown: u64,
    pub(super) first_unknown: u64,
    /// Lines longer than is kept.
    pub(super) too_long: u64,
    /// Calls that moved bytes on a socket.
    pub(super) data_calls: u64,
    /// Descriptors of unknown kind: calls and bytes, by thread and number.
    pub(super) unknown_fds: BTreeMap<(u32, i32), (u64, u64)>,
    /// Further ones, that had no room in the table.
    pub(super) more_unknown: u64,
    /// Second halves of calls whose first is not in the log, and their bytes.
    pub(super) headless: (u64, u64),
    /// Bytes whose payload is an address in the log, by the name of the call.
    pub(super) no_payload: BTreeMap<&'static str, u64>,
    /// Messages of calls with many of which the log has the address alone: not even how many bytes they moved.
    pub(super) no_length: BTreeMap<&'static str, u64>,
    /// Sockets whose transport nothing told: taken for TCP.
    pub(super) guessed: u64,
    /// Calls and bytes on sockets of other families.
    pub(super) other_sockets: (u64, u64),
    /// Calls to io_uring_enter.
    pub(super) io_uring: u64,
    /// Messages of one call that the log leaves out.
    pub(super) messages_left_out: u64,
    /// True where a call closed a descriptor, and where a descriptor had its kind beside it.
    pub(super) saw_close: bool,
    pub(super) saw_decoration: bool,
    /// Threads whose beginning is not in the log.
    pub(super) roots: usize,
    /// Threads or descriptors beyond the bound.
    pub(super) refused: u64,
}

/// Descriptors of unknown kind that are kept apart.
const MOST_UNKNOWN: usize = 1024;

impl Notes {
    /// Bytes moved on a descriptor of which nothing tells whether it is a socket.
    pub(super) fn unknown_fd(&mut self, tid: u32, fd: i32, bytes: u64) {
        let room = self.unknown_fds.len() < MOST_UNKNOWN;
        if !room && !self.unknown_fds.contains_key(&(tid, fd)) {
            self.more_unknown += 1;
            return;
        }
        let entry = self.unknown_fds.entry((tid, fd)).or_default();
        (entry.0, entry.1) = (entry.0 + 1, entry.1.saturating_add(bytes));
    }

    /// One line each; `name` is the file's.
    pub(super) fn warnings(&self, name: &str, undated: Option<&str>) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |is: bool, text: String| {
            if is {
                warnings.push(format!("{name}: {text}"));
            }
        };
        warn(
            self.data_calls == 0,
            format!(
                "no call moved bytes on a socket: the program moved none, or -e trace= leaves its calls out; {COMMAND}"
            ),
        );
        warn(undated.is_some(), format!("{}; strace -ttt has both", undated.unwrap_or_default()));
        warn(!self.unknown_fds.is_empty(), self.unknown_descriptors());
        warn(
            self.guessed > 0,
            format!(
                "{} sockets were open before and nothing tells of what kind: taken for TCP; strace -yy tells",
                self.guessed
            ),
        );
        warn(
            !self.no_payload.is_empty(),
            format!(
                "{} bytes without payload ({}): the log has the address of their buffer; run strace without -e raw= \
                 and -e verbose= for these calls: {COMMAND}",
                sum(&self.no_payload),
                by_call(&self.no_payload)
            ),
        );
        warn(
            !self.no_length.is_empty(),
            format!(
                "{} messages of unknown length ({}): the log has the address of their list; run strace without \
                 -e raw= and -e verbose= for these calls: {COMMAND}",
                sum(&self.no_length),
                by_call(&self.no_length)
            ),
        );
        let (calls, bytes) = self.headless;
        warn(
            calls > 0,
            format!(
                "{calls} calls with {bytes} bytes ignored: the log begins in their middle, so their descriptor is not known"
            ),
        );
        let (calls, bytes) = self.other_sockets;
        warn(
            calls > 0,
            format!("{calls} calls with {bytes} bytes on sockets that are neither TCP, UDP nor Unix"),
        );
        warn(
            self.messages_left_out > 0,
            format!(
                "{} messages of calls with many are left out; strace -s 1000000 has them",
                self.messages_left_out
            ),
        );
        warn(
            self.io_uring > 0,
            format!("{} calls to io_uring_enter: what moves by io_uring is not in the log", self.io_uring),
        );
        let vague = !self.saw_decoration && self.data_calls > 0;
        warn(
            vague && !self.saw_close,
            "no call closes a descriptor: a number that is used again may be taken for the socket before; strace -yy, \
             or close in -e trace="
                .into(),
        );
        warn(
            vague && self.roots > 1,
            format!(
                "{} threads or processes were there before the log: which of them share descriptors is not known; strace -yy",
                self.roots
            ),
        );
        warn(
            self.unknown > 0,
            format!("{} lines not understood, the first is line {}", self.unknown, self.first_unknown),
        );
        warn(
            self.too_long > 0,
            format!("{} lines longer than 64 MiB not read; use a smaller -s", self.too_long),
        );
        warn(self.refused > 0, format!("{} threads or descriptors too many at once, ignored", self.refused));
        warnings
    }

    /// The call moved bytes that the log does not show.
    pub(super) fn add(table: &mut BTreeMap<&'static str, u64>, call: &'static str, count: u64) {
        let entry = table.entry(call).or_default();
        *entry = entry.saturating_add(count);
    }

    fn unknown_descriptors(&self) -> String {
        let calls: u64 = self.unknown_fds.values().map(|one| one.0).sum();
        let bytes = self.unknown_fds.values().fold(0u64, |sum, one| sum.saturating_add(one.1));
        let mut text =
            format!("{calls} calls with {bytes} bytes on descriptors that may be sockets or not, ignored:");
        for ((tid, fd), (calls, bytes)) in self.unknown_fds.iter().take(NAMED) {
            let whose = if *tid == 0 { String::new() } else { format!(" of {tid}") };
            let _ = write!(text, " {fd}{whose} ({calls} calls, {bytes} bytes),");
        }
        let more = self.unknown_fds.len().saturating_sub(NAMED) as u64 + self.more_unknown;
        if more > 0 {
            let _ = write!(text, " and {more} more,");
        }
        text.pop();
        text + "; strace -yy tells what they are"
    }
}

fn sum(table: &BTreeMap<&'static str, u64>) -> u64 {
    table.values().fold(0, |sum, count| sum.saturating_add(*count))
}

/// `recvfrom 166, writev 1104`.
fn by_call(table: &BTreeMap<&'static str, u64>) -> String {
    table.iter().map(|(call, count)| format!("{call} {count}")).collect::<Vec<_>>().join(", ")
}
