//! Bytes that both vantages have, compared one by one.
//!
//! The ledgers' digests tell at once that nearly all of them are the same. What they leave (blocks that differ, and blocks
//! of which one vantage lacks a part) is looked at in passes over both inputs, each of which keeps no more than
//! [`KEPT_MAX`] bytes. A live trace can't be looked at again: there a difference is known to within a block.

use super::align::Alignment;
use super::{Finding, Report};
use crate::conn::{Info, Observer};
use crate::event::{Cause, ConnId, Direction, Range, Timestamp};
use crate::ledger::{Differences, Ledger};
use crate::record::Record;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Bytes that are kept of one pass.
const KEPT_MAX: u64 = 32 << 20;

/// Passes that are made at most; what is left then is told.
const PASSES_MAX: u32 = 32;

/// Ranges that are kept of a direction of a connection; further differences lengthen the last.
const RANGES_MAX: usize = 1000;

/// Bytes of both vantages, in the process's offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    direction: Direction,
    range: Range,
    /// The digests differ: some of them do, too.
    pub certain: bool,
}

/// What has to be looked at of a connection and its flow.
pub fn suspects(process: &Ledger, flow: &Ledger, alignment: Alignment) -> Vec<Suspect> {
    let mut suspects: Vec<Suspect> = Vec::new();
    for direction in Direction::BOTH {
        let ours = &process.accounts[direction.index()];
        let theirs = alignment.account(direction, flow);
        let digest = &flow.accounts[alignment.flow_direction(direction).index()].digest;
        // Blocks are numbered from the first byte.
        let Differences { differing, open } = match alignment.shift[direction.index()] {
            0 => ours.digest.differences(digest, [&ours.delivered, &theirs.delivered]),
            _ => Differences { differing: Vec::new(), open: vec![Range::new(0, u64::MAX)] },
        };
        let blocks =
            differing.iter().map(|block| (*block, true)).chain(open.iter().map(|block| (*block, false)));
        for (block, certain) in blocks {
            let held = ours.delivered.within(block).into_iter();
            let both = held.flat_map(|part| theirs.delivered.within(part));
            suspects.extend(both.map(|range| Suspect { direction, range, certain }));
        }
    }
    suspects.sort_by_key(|one| (one.direction, one.range));
    suspects
}

impl Report {
    /// What the next pass keeps of the process's side; `None` where nothing is left to look at.
    pub fn next_suspects(&mut self) -> Option<Keeper> {
        self.passes += 1;
        if self.passes > PASSES_MAX {
            self.leave_contents();
        }
        let mut keeper = Keeper::default();
        let mut left = KEPT_MAX;
        for (number, comparison) in self.connections.iter_mut().enumerate() {
            let Some(alignment) = comparison.alignment else { continue };
            let Some(flow) = comparison.flow else { continue };
            while left > 0 {
                let Some(mut suspect) = comparison.suspects.pop() else { break };
                if suspect.range.len() > left {
                    let middle = suspect.range.to - left;
                    let rest = Range::new(suspect.range.from, middle);
                    comparison.suspects.push(Suspect { range: rest, ..suspect });
                    suspect.range = Range::new(middle, suspect.range.to);
                }
                left -= suspect.range.len();
                keeper.keep(number, (comparison.info.id, flow), alignment, suspect);
            }
        }
        keeper.sort();
        (!keeper.kept.is_empty()).then_some(keeper)
    }

    /// Takes what a pass found.
    pub fn learn_contents(&mut self, checker: Checker) {
        for (number, direction, ranges) in checker.found() {
            let findings = ranges
                .into_iter()
                .map(|range| differs(direction, range, "the other vantage has other bytes"));
            self.connections[number].findings.extend(findings);
            self.join_differences(number);
        }
    }

    /// Nothing can be looked at again: what is certain is told, the rest is counted.
    pub fn leave_contents(&mut self) {
        for number in 0..self.connections.len() {
            for suspect in std::mem::take(&mut self.connections[number].suspects) {
                match suspect.certain {
                    true => {
                        let detail = "the other vantage has other bytes somewhere in this range";
                        self.connections[number].findings.push(differs(
                            suspect.direction,
                            suspect.range,
                            detail,
                        ));
                    }
                    false => self.uncompared += suspect.range.len(),
                }
            }
            self.join_differences(number);
        }
    }

    /// Puts findings in their order, and makes one of differences that touch.
    fn join_differences(&mut self, number: usize) {
        let findings = &mut self.connections[number].findings;
        findings
            .sort_by_key(|finding| (finding.direction, finding.cause.stage(), finding.cause, finding.range));
        findings.dedup_by(|next, last| {
            let touches = next.cause == Cause::WireContentDiffers
                && (next.cause, next.direction) == (last.cause, last.direction)
                && next.range.from <= last.range.to
                && next.detail == last.detail;
            if touches {
                last.range.to = last.range.to.max(next.range.to);
            }
            touches
        });
        findings.sort_by_key(|finding| (finding.direction, finding.cause.stage(), finding.range));
    }
}

fn differs(direction: Direction, range: Range, detail: &str) -> Finding {
    Finding::new(direction, range, Cause::WireContentDiffers, detail.to_owned())
}

/// A direction of a connection, or of a flow.
type Lane = (ConnId, Direction);

#[derive(Debug)]
struct Kept {
    /// Its place in the report.
    number: usize,
    direction: Direction,
    alignment: Alignment,
    range: Range,
    bytes: Vec<u8>,
}

/// Keeps bytes of the process's side.
#[derive(Debug, Default)]
pub struct Keeper {
    kept: Vec<Kept>,
    /// By their lanes at the process and in the flow, and by their connection: both ends of a flow may be the process's.
    /// In the order of their offsets.
    lanes: [FxHashMap<Lane, BTreeMap<usize, Vec<usize>>>; 2],
}

impl Keeper {
    fn keep(&mut self, number: usize, ids: (ConnId, ConnId), alignment: Alignment, suspect: Suspect) {
        let Suspect { direction, range, .. } = suspect;
        let index = self.kept.len();
        let lanes = [(ids.0, direction), (ids.1, alignment.flow_direction(direction))];
        for (lists, lane) in self.lanes.iter_mut().zip(lanes) {
            lists.entry(lane).or_default().entry(number).or_default().push(index);
        }
        let bytes = vec![0; range.len() as usize]; // no longer than a pass keeps
        self.kept.push(Kept { number, direction, alignment, range, bytes });
    }

    fn sort(&mut self) {
        let kept = &self.kept;
        let lists = self.lanes.iter_mut().flat_map(FxHashMap::values_mut).flat_map(BTreeMap::values_mut);
        lists.for_each(|list| list.sort_by_key(|&index| kept[index].range));
    }

    /// Those of one connection that a range of its flow has bytes of.
    fn within<'a>(&'a self, list: &'a [usize], range: Range) -> impl Iterator<Item = &'a Kept> {
        let came = list.first().map_or(range, |&index| {
            let kept = &self.kept[index];
            kept.alignment.to_process(kept.direction, range)
        });
        let first = list.partition_point(|&index| self.kept[index].range.to <= came.from);
        list[first..].iter().map(|&index| &self.kept[index]).take_while(move |kept| kept.range.from < came.to)
    }

    /// What compares with the other side, now that the bytes are there.
    pub fn checker(self) -> Checker {
        Checker { keeper: self, found: FxHashMap::default() }
    }
}

impl Observer for Keeper {
    fn record(&mut self, _: &Info, _: Timestamp, _: Record) {}

    fn bytes(&mut self, info: &Info, direction: Direction, offset: u64, bytes: &[u8]) {
        let came = Range::new(offset, offset + bytes.len() as u64);
        for list in self.lanes[0].get(&(info.id, direction)).into_iter().flat_map(BTreeMap::values) {
            let first = list.partition_point(|&index| self.kept[index].range.to <= came.from);
            for &index in &list[first..] {
                let kept = &mut self.kept[index];
                let Some(part) = kept.range.intersection(came) else { break };
                let (to, from) = ((part.from - kept.range.from) as usize, (part.from - came.from) as usize);
                let length = part.len() as usize;
                kept.bytes[to..to + length].copy_from_slice(&bytes[from..from + length]);
            }
        }
    }
}

/// Compares bytes of the other side with those that were kept.
#[derive(Debug)]
pub struct Checker {
    keeper: Keeper,
    found: FxHashMap<(usize, Direction), Vec<Range>>,
}

impl Checker {
    fn found(self) -> impl Iterator<Item = (usize, Direction, Vec<Range>)> {
        let mut found: Vec<_> =
            self.found.into_iter().map(|((number, direction), ranges)| (number, direction, ranges)).collect();
        found.sort_by_key(|&(number, direction, _)| (number, direction));
        found.into_iter()
    }
}

impl Observer for Checker {
    fn record(&mut self, _: &Info, _: Timestamp, _: Record) {}

    fn bytes(&mut self, info: &Info, direction: Direction, offset: u64, bytes: &[u8]) {
        let flow_range = Range::new(offset, offset + bytes.len() as u64);
        let lists = self.keeper.lanes[1].get(&(info.id, direction)).into_iter().flat_map(BTreeMap::values);
        for kept in lists.flat_map(|list| self.keeper.within(list, flow_range)) {
            let came = kept.alignment.to_process(kept.direction, flow_range);
            let Some(part) = kept.range.intersection(came) else { continue };
            // What lies before the process's first byte was cut off at the beginning.
            let skipped = (part.from - came.from) as usize + (bytes.len() - came.len() as usize);
            let at = (part.from - kept.range.from) as usize;
            let length = part.len() as usize;
            let (ours, theirs) = (&kept.bytes[at..at + length], &bytes[skipped..skipped + length]);
            if ours != theirs {
                let ranges = self.found.entry((kept.number, kept.direction)).or_default();
                let unlike = ours.iter().zip(theirs).enumerate().filter(|(_, (ours, theirs))| ours != theirs);
                unlike.for_each(|(index, _)| add(ranges, part.from + index as u64));
            }
        }
    }
}

/// Adds an offset to ranges that grow in their order.
fn add(ranges: &mut Vec<Range>, offset: u64) {
    let full = ranges.len() >= RANGES_MAX;
    match ranges.last_mut() {
        Some(last) if offset >= last.from && (full || offset <= last.to) => {
            last.to = last.to.max(offset + 1);
        }
        _ => ranges.push(Range::new(offset, offset + 1)),
    }
}
