//! Names the records that lost bytes would have become, as the capture shows them.
//!
//! A second pass over the capture: the first keeps no record, so memory grows with what is missing and
//! not with what is there. Of each finding no more records are kept than it lists.

use super::balance::stops_before_records;
use super::{Comparison, Finding, LISTED_RECORDS, Missing, Report};
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
    /// The process's offset of its first byte, where no alignment of streams tells.
    at: Option<u64>,
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
            for (index, finding) in comparison.findings.iter().enumerate() {
                let stage = finding.cause.stage();
                if !stops_before_records(stage) {
                    continue;
                }
                for (flow, direction, range, at) in places(comparison, finding) {
                    let want = Want { range, at, finding: (number, index), records: Vec::new(), count: 0 };
                    let wants = wanted.flows.entry(flow).or_default();
                    wants.entry((direction, stage, number)).or_default().push(want);
                }
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
            finding.record_count += want.count;
            for mut record in want.records {
                record.started = clock.to_process(record.started);
                record.range = match (want.at, alignment) {
                    (Some(at), _) => moved(record.range, want.range.from, at),
                    (None, Some(aligned)) => aligned.to_process(finding.direction, record.range),
                    (None, None) => record.range,
                };
                finding.records.push(record);
            }
        }
        let findings = self.connections.iter_mut().flat_map(|one| &mut one.findings);
        findings.for_each(|finding| finding.records.sort_by_key(|record| record.range));
    }
}

/// Where the bytes of a finding are in the capture: flow, its direction, its offsets, and the process's offset of the first
/// where the flow is not aligned with it.
fn places(comparison: &Comparison, finding: &Finding) -> Vec<(ConnId, Direction, Range, Option<u64>)> {
    let (way, range) = (finding.direction, finding.range);
    match (comparison.flow, comparison.alignment) {
        (Some(flow), Some(aligned)) => {
            vec![(flow, aligned.flow_direction(way), aligned.to_flow(way, range), None)]
        }
        (Some(flow), None) => vec![(flow, way, range, None)],
        (None, _) => {
            let placed = &comparison.placed;
            let first = placed.partition_point(|one| (one.direction, one.range.to) <= (way, range.from));
            let here = placed[first..].iter();
            let parts = here.take_while(|one| one.direction == way && one.range.from < range.to);
            let parts = parts.filter_map(|placed| {
                let part = placed.range.intersection(range)?;
                let place = moved(part, placed.range.from, placed.at);
                Some((placed.flow, placed.flow_direction, place, Some(part.from)))
            });
            parts.collect()
        }
    }
}

/// A range where `from` is at `to`.
fn moved(range: Range, from: u64, to: u64) -> Range {
    // A message of several datagrams may begin before the first of them that is placed.
    let place = |at: u64| at.saturating_add(to).saturating_sub(from);
    Range::new(place(range.from), place(range.to))
}

/// Keeps the records of a capture that overlap wanted ranges.
pub struct Collector {
    wanted: Wanted,
    /// How many each finding has.
    listed: FxHashMap<(usize, usize), usize>,
}

impl Collector {
    /// Collects what is wanted.
    pub fn new(wanted: Wanted) -> Collector {
        Collector { wanted, listed: FxHashMap::default() }
    }
}

impl Observer for Collector {
    fn record(&mut self, info: &Info, _: Timestamp, record: Record) {
        let Some(wants) = self.wanted.flows.get_mut(&info.id) else { return };
        for message in record.messages() {
            let lists = wants.iter_mut().filter(|((direction, ..), _)| *direction == message.direction);
            lists.for_each(|(_, list)| add(&record, message, list, &mut self.listed));
        }
    }
}

/// Adds a record to the wanted ranges of one stage that its message overlaps.
fn add(
    record: &Record,
    message: &Message,
    wants: &mut [Want],
    listed: &mut FxHashMap<(usize, usize), usize>,
) {
    let first = wants.partition_point(|want| want.range.to <= message.range.from);
    let mut last = None;
    for want in wants[first..].iter_mut().take_while(|want| want.range.from < message.range.to) {
        if !message.ranges().any(|part| part.intersection(want.range).is_some()) {
            continue; // it lies between the frames of the message
        }
        // What one record is in may be several datagrams of a finding.
        if last.replace(want.finding) == Some(want.finding) {
            continue;
        }
        want.count += 1;
        let listed = listed.entry(want.finding).or_default();
        if *listed < LISTED_RECORDS {
            *listed += 1;
            let (protocol, started, range) = (record.protocol, record.started(), message.range);
            want.records.push(Missing { protocol, summary: record.summary.clone(), started, range });
        }
    }
}
