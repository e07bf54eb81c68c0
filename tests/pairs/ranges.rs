//! Sets of bytes, by plain arithmetic.

use sockdbg::event::Range;

/// Ranges in order, none of which touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(pub Vec<Range>);

impl FromIterator<Range> for Ranges {
    fn from_iter<T: IntoIterator<Item = Range>>(ranges: T) -> Ranges {
        let mut all: Vec<Range> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        all.sort();
        let mut joined: Vec<Range> = Vec::new();
        for range in all {
            match joined.last_mut() {
                Some(last) if last.to >= range.from => last.to = last.to.max(range.to),
                _ => joined.push(range),
            }
        }
        Ranges(joined)
    }
}

impl Ranges {
    /// One range.
    pub fn of(from: u64, to: u64) -> Ranges {
        [Range::new(from, to)].into_iter().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// After the last byte.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |last| last.to)
    }

    pub fn and(&self, other: &Ranges) -> Ranges {
        let pairs = self.0.iter().flat_map(|one| other.0.iter().map(move |two| one.intersection(*two)));
        pairs.flatten().collect()
    }

    pub fn or(&self, other: &Ranges) -> Ranges {
        self.0.iter().chain(&other.0).copied().collect()
    }

    pub fn without(&self, other: &Ranges) -> Ranges {
        let (mut left, mut rest) = (Vec::new(), self.0.clone());
        for taken in &other.0 {
            let mut after = Vec::new();
            for range in rest {
                left.push(Range::new(range.from, range.to.min(taken.from)));
                after.push(Range::new(range.from.max(taken.to), range.to));
            }
            rest = after.into_iter().filter(|range| !range.is_empty()).collect();
        }
        left.into_iter().chain(rest).collect()
    }
}
