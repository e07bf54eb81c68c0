//! Names the records that lost bytes would have become, as the capture shows them.
//!
//! A second pass over the capture: the first keeps no record, so memory grows with what is missing and
//! not with what is there. Of each finding no more records are kept than it lists.

use super::balance::stops_before_records;
use super::{LISTED_RECORDS, Missing, Report};
use crate::conn::{Info, Observer};
use crate::event::{ConnId, Direction, Range, Stage, Timestamp};
use crate::record::{Message, Record};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// The bytes of a finding, whose records are wanted.
#[derive(Debug)]
struct Want {
    /// In the flow's offsets.
    range: Range,
    /// Indices of the connection and the finding in the report.
    finding: (usize, usize),
    records: Vec<Missing>,
    count: u64,
}

/// Of a flow, by its direction, the stage, and the connection: both ends of a flow may be the process's. Sorted;
/// what one stage of one connection lacks does not overlap.
type Wants = BTreeMap<(Direction, Stage, usize), Vec<Want>>;

/// What a second pass over the capture has to look for.
#[derive(Debug, Default)]
pub struct Wanted {
    flows: FxHashMap<ConnId, Wants>,
}

impl Wanted {
    /// True where nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

impl Report {
    /// What a second pass over the capture should collect; empty where nothing is missing.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for (number, comparison) in self.connections.iter().enumerate() {
            let Some(flow) = comparison.flow else { continue };
            for (index, finding) in comparison.findings.iter().enumerate() {
                let stage = finding.cause.stage();
                if !stops_before_records(stage) {
                    continue;
                }
                let (direction, range) = match comparison.alignment {
                    Some(aligned) => (
                        aligned.flow_direction(finding.direction),
                        aligned.to_flow(finding.direction, finding.range),
                    ),
                    None => (finding.direction, finding.range),
                };
                let finding = (number, index);
                let want = Want { range, finding, records: Vec::new(), count: 0 };
                wanted
                    .flows
                    .entry(flow)
                    .or_default()
                    .entry((direction, stage, number))
                    .or_default()
                    .push(want);
            }
        }
        let lists = wanted.flows.values_mut().flat_map(BTreeMap::values_mut);
        lists.for_each(|wants| wants.sort_by_key(|want| want.range));
        wanted
    }

    /// Adds the collected records to the findings that they overlap.
    pub fn name_missing(&mut self, collector: Collector) {
        let clock = self.clock.unwrap_or_default();
        for want in collector.wanted.flows.into_values().flat_map(BTreeMap::into_values).flatten() {
            let (number, index) = want.finding;
            let comparison = &mut self.connections[number]; // the collector was made from this report
            let alignment = comparison.alignment;
            let finding = &mut comparison.findings[index];
            finding.record_count = want.count;
            finding.records = want.records;
            for record in &mut finding.records {
                record.started = clock.to_process(record.started);
            }
            if let Some(aligned) = alignment {
                for record in &mut finding.records {
                    record.range = aligned.to_process(finding.direction, record.range);
                }
            }
        }
    }
}

/// Keeps the records of a capture that overlap wanted ranges.
pub struct Collector {
    wanted: Wanted,
}

impl Collector {
    /// Collects what is wanted.
    pub fn new(wanted: Wanted) -> Collector {
        Collector { wanted }
    }
}

impl Observer for Collector {
    fn record(&mut self, info: &Info, _: Timestamp, record: Record) {
        let Some(wants) = self.wanted.flows.get_mut(&info.id) else { return };
        for message in record.messages() {
            let lists = wants.iter_mut().filter(|((direction, ..), _)| *direction == message.direction);
            lists.for_each(|(_, list)| add(&record, message, list));
        }
    }
}

/// Adds a record to the wanted ranges of one stage that its message overlaps.
fn add(record: &Record, message: &Message, wants: &mut [Want]) {
    let first = wants.partition_point(|want| want.range.to <= message.range.from);
    for want in wants[first..].iter_mut().take_while(|want| want.range.from < message.range.to) {
        if !message.ranges().any(|part| part.intersection(want.range).is_some()) {
            continue; // it lies between the frames of the message
        }
        want.count += 1;
        if want.records.len() < LISTED_RECORDS {
            let (protocol, started, range) = (record.protocol, record.started(), message.range);
            want.records.push(Missing { protocol, summary: record.summary.clone(), started, range });
        }
    }
}
