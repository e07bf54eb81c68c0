//! The bytes around the beginning and the end of each finding, as the capture has them.

use super::{Comparison, Report};
use crate::event::{ConnId, Direction, Event, Kind, Range};
use rustc_hash::FxHashMap;

/// How many bytes are shown on each side of a finding's beginning and end.
pub const EDGE: u64 = 32;

/// Of how many findings the edges are collected.
const FINDINGS_MAX: usize = 2000;

/// Some bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Offset of the first, as the process counts.
    pub at: u64,
    /// The bytes; absent where the capture lacks them.
    pub bytes: Vec<Option<u8>>,
}

/// One edge that is being collected.
struct Want {
    direction: Direction,
    /// In the flow's offsets.
    range: Range,
    bytes: Vec<Option<u8>>,
    /// Indices of the connection and the finding in the report.
    finding: (usize, usize),
    /// Offset of the first byte, as the process counts.
    at: u64,
}

/// Collects edges from the events of the capture.
#[derive(Default)]
pub struct Edges {
    flows: FxHashMap<ConnId, Vec<Want>>,
}

impl Edges {
    /// What to look for: the edges of the first findings of a report that have a flow.
    pub fn of(report: &Report) -> Edges {
        let mut edges = Edges::default();
        let all = report.connections.iter().enumerate();
        let findings = all.flat_map(|(number, comparison)| {
            (0..comparison.findings.len()).map(move |index| (number, comparison, index))
        });
        for (number, comparison, index) in findings.filter(|one| one.1.flow.is_some()).take(FINDINGS_MAX) {
            edges.want(number, comparison, index);
        }
        edges
    }

    fn want(&mut self, number: usize, comparison: &Comparison, index: usize) {
        let Some(flow) = comparison.flow else { return };
        let finding = &comparison.findings[index];
        for edge in windows(finding.range) {
            let (direction, range) = match comparison.alignment {
                Some(aligned) => {
                    (aligned.flow_direction(finding.direction), aligned.to_flow(finding.direction, edge))
                }
                None => (finding.direction, edge),
            };
            let bytes = vec![None; range.len() as usize];
            // Before the flow's own beginning there is nothing.
            let at = edge.to - range.len();
            let want = Want { direction, range, bytes, finding: (number, index), at };
            self.flows.entry(flow).or_default().push(want);
        }
    }

    /// True where there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Takes what an event of the capture has of them. The first to arrive wins.
    pub fn event(&mut self, event: &Event<'_>) {
        let Kind::Data(data) = &event.kind else { return };
        let Some(wants) = self.flows.get_mut(&event.conn) else { return };
        let came = Range::new(data.offset, data.offset + data.payload.len() as u64);
        for want in wants.iter_mut().filter(|want| want.direction == data.direction) {
            let Some(part) = want.range.intersection(came) else { continue };
            for offset in part.from..part.to {
                let byte = data.payload[(offset - came.from) as usize];
                want.bytes[(offset - want.range.from) as usize].get_or_insert(byte);
            }
        }
    }

    /// Gives the findings what was collected.
    pub fn settle(self, report: &mut Report) {
        let mut wants: Vec<Want> = self.flows.into_values().flatten().collect();
        wants.sort_by_key(|want| (want.finding, want.at));
        for Want { finding: (number, index), at, bytes, .. } in wants {
            if bytes.iter().any(Option::is_some) {
                report.connections[number].findings[index].edges.push(Edge { at, bytes });
            }
        }
    }
}

/// Around the beginning and around the end; one where they meet.
fn windows(range: Range) -> Vec<Range> {
    let around = |offset: u64| Range::new(offset.saturating_sub(EDGE), offset + EDGE);
    let (first, last) = (around(range.from), around(range.to));
    match first.to >= last.from {
        true => vec![Range::new(first.from, last.to)],
        false => vec![first, last],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_that_meet_are_one() {
        assert_eq!(windows(Range::new(10, 20)), [Range::new(0, 52)]);
        assert_eq!(windows(Range::new(100, 1000)), [Range::new(68, 132), Range::new(968, 1032)]);
    }
}
