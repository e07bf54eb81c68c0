//! Names the records that lost bytes would have become, as the capture shows them.
//!
//! A second pass over the capture: the first keeps no record, so memory grows with what is missing and
//! not with what is there.

use super::align::Alignment;
use super::balance::stops_before_records;
use super::{Finding, LISTED_RECORDS, Missing, Report};
use crate::conn::{Info, Observer};
use crate::event::{ConnId, Range, Timestamp};
use crate::ledger::RangeSet;
use crate::record::Record;
use rustc_hash::FxHashMap;

/// The ranges of each flow whose records are wanted, in the flow's offsets.
pub type Wanted = FxHashMap<ConnId, [RangeSet; 2]>;

impl Report {
    /// What a second pass over the capture should collect; empty where nothing is missing.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for comparison in &self.connections {
            let Some(flow) = comparison.flow else { continue };
            for finding in
                comparison.findings.iter().filter(|finding| stops_before_records(finding.cause.stage()))
            {
                let (direction, range) = match comparison.alignment {
                    Some(aligned) => {
                        let range = aligned.to_flow(finding.direction, finding.range);
                        (aligned.flow_direction(finding.direction), range)
                    }
                    None => (finding.direction, finding.range),
                };
                let sets = wanted.entry(flow).or_default();
                sets[direction.index()].insert(range);
            }
        }
        wanted
    }

    /// Adds the collected records to the findings that they overlap.
    pub fn name_missing(&mut self, collected: &FxHashMap<ConnId, Vec<Record>>) {
        for comparison in &mut self.connections {
            let records = comparison.flow.and_then(|flow| collected.get(&flow));
            let alignment = comparison.alignment;
            for record in records.into_iter().flatten() {
                for finding in &mut comparison.findings {
                    if let Some(range) = overlap(record, finding, alignment) {
                        add(record, range, finding);
                    }
                }
            }
        }
    }
}

/// The range of a record's message in the process's offsets, where it overlaps what the process's side
/// lacks.
fn overlap(record: &Record, finding: &Finding, alignment: Option<Alignment>) -> Option<Range> {
    if !stops_before_records(finding.cause.stage()) {
        return None;
    }
    let mut ranges = record.messages().filter_map(|message| match alignment {
        Some(aligned) if aligned.flow_direction(finding.direction) == message.direction => {
            Some(aligned.to_process(finding.direction, message.range))
        }
        None if finding.direction == message.direction => Some(message.range),
        _ => None,
    });
    ranges.find(|range| range.intersection(finding.range).is_some())
}

fn add(record: &Record, range: Range, finding: &mut Finding) {
    finding.record_count += 1;
    if finding.records.len() < LISTED_RECORDS {
        let (protocol, started) = (record.protocol, record.started());
        finding.records.push(Missing { protocol, summary: record.summary.clone(), started, range });
    }
}

/// Keeps the records of a capture that overlap wanted ranges.
pub struct Collector {
    wanted: Wanted,
    /// What was found, by flow.
    pub records: FxHashMap<ConnId, Vec<Record>>,
}

impl Collector {
    /// Collects what is wanted.
    pub fn new(wanted: Wanted) -> Collector {
        Collector { wanted, records: FxHashMap::default() }
    }
}

impl Observer for Collector {
    fn record(&mut self, info: &Info, _: Timestamp, record: Record) {
        let Some(sets) = self.wanted.get(&info.id) else { return };
        if record.messages().any(|message| !sets[message.direction.index()].within(message.range).is_empty())
        {
            self.records.entry(info.id).or_default().push(record);
        }
    }
}
