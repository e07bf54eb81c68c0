//! Counts what a run showed and what it could not, for the summary at its end (or on SIGUSR1) and for
//! loss lines while it runs. Time is that of the events.

use super::time::{duration, rfc3339};
use crate::event::{Cause, Data, Event, Kind, Timestamp};
use crate::ledger::catalogue;
use crate::source::{self, Pace};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Shortest time between two loss lines, in nanoseconds.
const BETWEEN_NOTES: u64 = 1_000_000_000;

/// Counts of one run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    events: u64,
    connections: u64,
    /// Bytes that moved, by direction.
    moved: [u64; 2],
    /// Bytes among them whose payload is there.
    captured: [u64; 2],
    missing: BTreeMap<Cause, Missing>,
    last: Timestamp,
    ended: Option<source::Summary>,
    noted: Option<Noted>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missing {
    bytes: u64,
    ranges: u64,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    time: Timestamp,
    bytes: u64,
}

impl Tally {
    /// Counts one event.
    pub fn count(&mut self, event: &Event<'_>) {
        self.events += 1;
        self.last = event.time;
        match &event.kind {
            Kind::Open(open) => self.connections += u64::from(open.error.is_none()),
            Kind::Data(data) if !data.peek => self.data(data),
            Kind::Loss(loss) => {
                self.moved[loss.direction.index()] += loss.range.len();
                self.missing(loss.cause, loss.range.len());
            }
            Kind::Data(_) | Kind::Close(_) => {}
        }
    }

    fn data(&mut self, data: &Data<'_>) {
        let captured = data.payload.len() as u64;
        self.moved[data.direction.index()] += data.length;
        self.captured[data.direction.index()] += captured;
        if let Some(cause) = data.cause {
            self.missing(cause, data.length.saturating_sub(captured));
        }
    }

    fn missing(&mut self, cause: Cause, bytes: u64) {
        let missing = self.missing.entry(cause).or_default();
        missing.bytes += bytes;
        missing.ranges += 1;
    }

    /// Takes what the source said when it ended.
    pub fn end(&mut self, summary: source::Summary) {
        self.ended = Some(summary);
    }

    /// Events counted so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// True where no byte is missing and the source tells of no loss.
    pub fn is_complete(&self) -> bool {
        let ended_well = |summary: &source::Summary| summary.cut.is_none() && summary.dropped == 0;
        self.missing.is_empty() && self.ended.as_ref().is_none_or(ended_well)
    }

    /// A line about losses that nobody was told of yet, at most one a second. What the user's own options
    /// leave out is no news.
    pub fn note(&mut self) -> Option<String> {
        let unwanted = || self.missing.iter().filter(|(cause, _)| !is_wanted(**cause));
        let bytes = unwanted().map(|(_, missing)| missing.bytes).sum();
        let new = bytes - self.noted.map_or(0, |noted| noted.bytes);
        let due = self.noted.is_none_or(|noted| self.last.since(noted.time) >= BETWEEN_NOTES);
        if new == 0 || !due {
            return None;
        }
        let causes: Vec<&str> = unwanted().map(|(cause, _)| cause.slug()).collect();
        self.noted = Some(Noted { time: self.last, bytes });
        Some(format!("{new} bytes without payload (so far {bytes}): {}", causes.join(", ")))
    }

    /// The summary for people, without a line break at the end: one line where nothing is missing.
    pub fn text(&self) -> String {
        let [sent, received] = self.moved;
        let mut text = format!(
            "{} on {}, {} sent, {received} received",
            plural(self.events, "event"),
            plural(self.connections, "connection"),
            plural(sent, "byte"),
        );
        if self.is_complete() {
            text.push_str(", nothing lost");
        }
        if let Some(pace) = self.ended.as_ref().and_then(|summary| summary.pace) {
            let _ = write!(text, "; {}", described(pace));
        }
        for (cause, missing) in &self.missing {
            let (stage, slug) = (cause.stage().name(), cause.slug());
            let remedy = catalogue::entry(*cause).remedy;
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "\n  {} in {}: stage {stage}, cause {slug}\n    {remedy}",
                plural(missing.bytes, "byte"),
                plural(missing.ranges, "range")
            );
        }
        for line in self.ended.iter().flat_map(said_by_source) {
            let _ = write!(text, "\n  {line}");
        }
        text
    }

    /// The summary for programs: the last line of JSON output.
    pub fn summary(&self) -> Summary<'_> {
        let cause = |(&cause, missing): (&Cause, &Missing)| CauseTotal {
            cause: cause.slug(),
            stage: cause.stage().name(),
            bytes: missing.bytes,
            ranges: missing.ranges,
        };
        Summary {
            r#type: "summary",
            time: rfc3339(self.ended.as_ref().and_then(|summary| summary.last).unwrap_or(self.last)),
            verdict: if self.is_complete() { "complete" } else { "incomplete" },
            events: self.events,
            connections: self.connections,
            sent: self.moved[0],
            received: self.moved[1],
            sent_captured: self.captured[0],
            received_captured: self.captured[1],
            dropped: self.ended.as_ref().map_or(0, |summary| summary.dropped),
            cut: self.ended.as_ref().and_then(|summary| summary.cut.as_deref()),
            causes: self.missing.iter().map(cause).collect(),
            remedies: self.missing.keys().map(|&cause| catalogue::entry(cause).remedy).collect(),
            warnings: self.ended.as_ref().map_or(&[], |summary| &summary.warnings),
            pace: self.ended.as_ref().and_then(|summary| summary.pace).map(|pace| PaceLine {
                ring_size: pace.ring_size,
                ring_peak: pace.ring_peak,
                lag_ns: pace.lag,
                probe_ns: pace.run_time,
                probes_missed: pace.missed,
            }),
        }
    }
}

/// True for what the user asked for with --snaplen or a filter.
fn is_wanted(cause: Cause) -> bool {
    matches!(cause, Cause::Snaplen | Cause::Filtered)
}

/// `1 event`, `2 events`.
pub fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// How the trace kept up, in words.
fn described(pace: Pace) -> String {
    let share = (pace.ring_peak * 100).div_ceil(pace.ring_size.max(1));
    let mut text = format!("ring filled to {share} %, read {} late at most", duration(pace.lag));
    if let Some(time) = pace.run_time {
        let _ = write!(text, ", a probe takes {}", duration(time));
    }
    text
}

fn said_by_source(summary: &source::Summary) -> Vec<String> {
    let mut lines = Vec::new();
    if summary.dropped > 0 {
        lines.push(format!("{} events or packets were dropped before they reached sockdbg", summary.dropped));
    }
    lines.extend(summary.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(summary.cut.iter().map(|cut| format!("the input ends in the middle: {cut}")));
    lines
}

/// The line of type `summary`.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    r#type: &'static str,
    time: String,
    verdict: &'static str,
    events: u64,
    connections: u64,
    sent: u64,
    received: u64,
    sent_captured: u64,
    received_captured: u64,
    dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<&'a str>,
    causes: Vec<CauseTotal>,
    remedies: Vec<&'static str>,
    warnings: &'a [String],
    #[serde(flatten)]
    pace: Option<PaceLine>,
}

/// How a live trace kept up.
#[derive(Debug, Serialize)]
struct PaceLine {
    ring_size: u64,
    ring_peak: u64,
    lag_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_ns: Option<u64>,
    probes_missed: u64,
}

#[derive(Debug, Serialize)]
struct CauseTotal {
    cause: &'static str,
    stage: &'static str,
    bytes: u64,
    ranges: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConnId, Direction, Loss, Range};

    fn loss(second: u64, from: u64, to: u64) -> Event<'static> {
        let range = Range::new(from, to);
        let kind = Kind::Loss(Loss { direction: Direction::Recv, range, cause: Cause::RingFull });
        let time = Timestamp(second * 1_000_000_000);
        Event { time, conn: ConnId::default(), task: None, fd: None, kind }
    }

    #[test]
    fn without_loss_the_summary_is_one_line() {
        let tally = Tally::default();
        let line = "0 events on 0 connections, 0 bytes sent, 0 received, nothing lost";
        assert_eq!(tally.text(), line);
        assert_eq!(serde_json::to_value(tally.summary()).unwrap()["verdict"], "complete");
    }

    #[test]
    fn a_live_trace_tells_how_it_kept_up() {
        let pace = Pace { ring_size: 1000, ring_peak: 11, lag: 41_000_000, run_time: Some(700), missed: 0 };
        let mut tally = Tally::default();
        tally.end(source::Summary { pace: Some(pace), ..source::Summary::default() });
        let text = tally.text();
        assert!(
            text.ends_with("; ring filled to 2 %, read 41.000ms late at most, a probe takes 700ns"),
            "{text}"
        );
        let json = serde_json::to_value(tally.summary()).unwrap();
        assert_eq!((&json["ring_peak"], &json["lag_ns"]), (&11.into(), &41_000_000.into()));
        assert_eq!((&json["probe_ns"], &json["probes_missed"]), (&700.into(), &0.into()));
    }

    #[test]
    fn losses_are_added_up_by_cause_with_a_remedy() {
        let mut tally = Tally::default();
        tally.count(&loss(1, 0, 10));
        tally.count(&loss(1, 20, 25));
        let text = tally.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "2 events on 0 connections, 0 bytes sent, 15 received");
        assert_eq!(lines[1], "  15 bytes in 2 ranges: stage delivery, cause ring-full");
        assert_eq!(lines.len(), 3, "{text}");
        let json = serde_json::to_value(tally.summary()).unwrap();
        assert_eq!((&json["verdict"], &json["causes"][0]["bytes"]), (&"incomplete".into(), &15.into()));
    }

    #[test]
    fn a_cut_input_is_not_complete() {
        let mut tally = Tally::default();
        tally.end(source::Summary { cut: Some("at byte 7".into()), ..source::Summary::default() });
        assert!(!tally.is_complete());
        assert!(tally.text().ends_with("the input ends in the middle: at byte 7"));
    }

    #[test]
    fn loss_lines_come_at_most_once_a_second_and_only_for_news() {
        let mut tally = Tally::default();
        assert_eq!(tally.note(), None);
        tally.count(&loss(10, 0, 10));
        assert!(tally.note().unwrap().starts_with("10 bytes without payload (so far 10)"));
        tally.count(&loss(10, 10, 30));
        assert_eq!(tally.note(), None);
        tally.count(&loss(11, 30, 31));
        assert!(tally.note().unwrap().starts_with("21 bytes without payload (so far 31)"));
        assert_eq!(tally.note(), None);
    }

    #[test]
    fn what_the_user_left_out_is_no_news_but_in_the_summary() {
        let mut tally = Tally::default();
        let mut filtered = loss(10, 0, 10);
        let Kind::Loss(loss) = &mut filtered.kind else { unreachable!("made as a loss") };
        loss.cause = Cause::Filtered;
        tally.count(&filtered);
        assert_eq!(tally.note(), None);
        assert!(tally.text().contains("10 bytes in 1 range: stage capture, cause filtered"));
    }
}
