//! Records counted by endpoint: how many, how many of them failed, and how long their answers took.

use super::escape::escape;
use super::json::write_line;
use super::paint::Paint;
use super::time::duration;
use crate::conn::Info;
use crate::protocol::{self, endpoint::of_summary};
use crate::record::{Record, Status};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Endpoints that are told apart; what comes to others is counted as one.
const ENDPOINTS_MAX: usize = 2000;

/// What the endpoints beyond [`ENDPOINTS_MAX`] are called.
const OTHERS: &str = "(others)";

/// Latencies are counted in steps of this many nanoseconds.
const STEP: u64 = 100;

/// Records by protocol and endpoint.
#[derive(Debug, Default)]
pub struct Stats {
    endpoints: BTreeMap<(&'static str, String), Counts>,
}

#[derive(Debug)]
struct Counts {
    records: u64,
    failed: u64,
    /// By [`Status`]: without response, without request, truncated.
    no_response: u64,
    no_request: u64,
    truncated: u64,
    /// In steps of [`STEP`], to two significant digits.
    latencies: Histogram<u32>,
    /// The longest, in nanoseconds.
    longest: u64,
}

impl Default for Counts {
    fn default() -> Counts {
        let latencies = Histogram::new(2).expect("two digits are within what it takes");
        Counts { records: 0, failed: 0, no_response: 0, no_request: 0, truncated: 0, latencies, longest: 0 }
    }
}

/// Latencies in nanoseconds; of an endpoint of which no answer was seen there are none.
#[derive(Serialize)]
struct Latencies {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    protocol: &'static str,
    endpoint: &'a str,
    records: u64,
    failed: u64,
    no_response: u64,
    no_request: u64,
    truncated: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ns: Option<Latencies>,
}

impl Counts {
    fn count(&mut self, record: &Record, failed: bool) {
        self.records += 1;
        self.failed += u64::from(failed);
        match record.status {
            Status::Complete => {}
            Status::NoResponse => self.no_response += 1,
            Status::NoRequest => self.no_request += 1,
            Status::Truncated => self.truncated += 1,
        }
        if let Some(latency) = record.latency() {
            self.longest = self.longest.max(latency);
            // It grows as needed, and has room for centuries.
            let _ = self.latencies.record((latency / STEP).max(1));
        }
    }

    fn latencies(&self) -> Option<Latencies> {
        // What is counted in a step is known no better than by its end.
        let at = |quantile| (self.latencies.value_at_quantile(quantile) * STEP).min(self.longest);
        let any = !self.latencies.is_empty();
        any.then(|| Latencies { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: self.longest })
    }
}

impl Stats {
    /// Counts a record.
    pub fn count(&mut self, info: &Info, record: &Record) {
        let endpoint = match info.protocol.and_then(protocol::named) {
            Some(protocol) => (protocol.endpoint)(record),
            None => of_summary(record),
        };
        let mut key = (record.protocol, endpoint.name);
        if self.endpoints.len() >= ENDPOINTS_MAX && !self.endpoints.contains_key(&key) {
            key.1 = OTHERS.to_owned();
        }
        self.endpoints.entry(key).or_default().count(record, endpoint.failed);
    }

    /// The endpoints, those with the most records first.
    fn sorted(&self) -> Vec<(&(&'static str, String), &Counts)> {
        let mut all: Vec<_> = self.endpoints.iter().collect();
        all.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.records));
        all
    }

    /// One line each, under a heading.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write_text(&self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        let heading = format!(
            "{:>9} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}  PROTOCOL ENDPOINT",
            "RECORDS", "FAILED", "UNANSWERED", "P50", "P90", "P99", "MAX"
        );
        writeln!(out, "{}", paint.quiet(heading))?;
        for ((protocol, endpoint), counts) in self.sorted() {
            let percent = 100.0 * counts.failed as f64 / counts.records as f64;
            let failed = if counts.failed == 0 { "-".to_owned() } else { format!("{percent:.1}%") };
            let [p50, p90, p99, max] = match counts.latencies() {
                Some(of) => [of.p50, of.p90, of.p99, of.max].map(duration),
                None => [(); 4].map(|()| "-".to_owned()),
            };
            write!(out, "{:>9} ", counts.records)?;
            let padded = format!("{failed:>8}");
            match counts.failed {
                0 => write!(out, "{padded}")?,
                _ => write!(out, "{}", paint.alarm(padded))?,
            }
            writeln!(
                out,
                " {:>10} {p50:>10} {p90:>10} {p99:>10} {max:>10}  {protocol} {}",
                counts.no_response,
                escape(endpoint.as_bytes()),
            )?;
        }
        Ok(())
    }

    /// JSON Lines: `type: endpoint`.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        for ((protocol, endpoint), counts) in self.sorted() {
            let line = Line {
                r#type: "endpoint",
                protocol,
                endpoint,
                records: counts.records,
                failed: counts.failed,
                no_response: counts.no_response,
                no_request: counts.no_request,
                truncated: counts.truncated,
                latency_ns: counts.latencies(),
            };
            write_line(&line, out)?;
        }
        Ok(())
    }
}
