//! Sets of stream offsets, kept as few sorted ranges: memory grows with holes, not with bytes.

use crate::event::Range;

/// A set of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Sorted, disjoint, never touching, never empty.
    ranges: Vec<Range>,
}

impl RangeSet {
    /// Adds every offset of `range`.
    pub fn insert(&mut self, range: Range) {
        if range.is_empty() {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if range.from >= last.from => {
                if range.from <= last.to {
                    last.to = last.to.max(range.to);
                } else {
                    self.ranges.push(range);
                }
            }
            None => self.ranges.push(range),
            _ => self.insert_before_end(range),
        }
    }

    /// Takes every offset of `range` out.
    pub fn remove(&mut self, range: Range) {
        if range.is_empty() {
            return;
        }
        let hit = self.overlapping(range);
        let (Some(first), Some(last)) = (self.ranges[hit.clone()].first(), self.ranges[hit.clone()].last())
        else {
            return;
        };
        let rest = [Range::new(first.from, range.from), Range::new(range.to, last.to)];
        let rest = rest.into_iter().filter(|part| !part.is_empty());
        self.ranges.splice(hit, rest);
    }

    /// The ranges, sorted.
    pub fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.ranges.iter().copied()
    }

    /// Offsets in the set.
    pub fn len(&self) -> u64 {
        self.iter().map(Range::len).sum()
    }

    /// True where the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The parts of `range` that are not in the set, sorted.
    pub fn missing_in(&self, range: Range) -> Vec<Range> {
        let (mut missing, mut from) = (Vec::new(), range.from);
        for have in self.within(range) {
            missing.push(Range::new(from, have.from));
            from = have.to;
        }
        missing.push(Range::new(from, range.to));
        missing.retain(|range| !range.is_empty());
        missing
    }

    /// The parts of `range` that are in the set, sorted.
    pub fn within(&self, range: Range) -> Vec<Range> {
        let hit = &self.ranges[self.overlapping(range)];
        hit.iter().filter_map(|have| have.intersection(range)).collect()
    }

    /// Indices of the ranges that share bytes with `range`: found without looking at the others, so that
    /// a connection with very many holes stays fast.
    fn overlapping(&self, range: Range) -> std::ops::Range<usize> {
        let first = self.ranges.partition_point(|have| have.to <= range.from);
        let after = self.ranges.partition_point(|have| have.from < range.to);
        first..after.max(first)
    }

    fn insert_before_end(&mut self, range: Range) {
        let first = self.ranges.partition_point(|have| have.to < range.from);
        let after = self.ranges.partition_point(|have| have.from <= range.to);
        let joined = self.ranges[first..after]
            .iter()
            .fold(range, |joined, have| Range::new(joined.from.min(have.from), joined.to.max(have.to)));
        self.ranges.splice(first..after, [joined]);
    }
}

impl FromIterator<Range> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> RangeSet {
        // In order each insertion is at the end, whatever the number.
        let mut ranges: Vec<Range> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut set = RangeSet::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u64, u64),
        Remove(u64, u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        (any::<bool>(), 0u64..100, 0u64..30).prop_map(|(insert, from, length)| {
            if insert {
                Operation::Insert(from, from + length)
            } else {
                Operation::Remove(from, from + length)
            }
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_table_of_all_offsets(operations in prop::collection::vec(operation(), 1..40)) {
            let (mut set, mut table) = (RangeSet::default(), [false; 200]);
            for operation in operations {
                let (from, to, present) = match operation {
                    Operation::Insert(from, to) => (from, to, true),
                    Operation::Remove(from, to) => (from, to, false),
                };
                if present { set.insert(Range::new(from, to)) } else { set.remove(Range::new(from, to)) }
                table[from as usize..to as usize].fill(present);
            }
            let whole = Range::new(0, 200);
            let holds: RangeSet = set.within(whole).into_iter().collect();
            prop_assert_eq!(&holds, &set);
            prop_assert_eq!(set.len(), table.iter().filter(|&&held| held).count() as u64);
            for part in set.iter() {
                prop_assert!(table[part.from as usize..part.to as usize].iter().all(|&held| held));
            }
            for part in set.missing_in(whole) {
                prop_assert!(table[part.from as usize..part.to as usize].iter().all(|&held| !held));
            }
            for pair in set.ranges.windows(2) {
                prop_assert!(pair[0].to < pair[1].from, "ranges are sorted and never touch");
            }
        }
    }
}
