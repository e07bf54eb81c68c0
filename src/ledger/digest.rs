//! A digest of the bytes of one direction, in few blocks: what two vantages have of the same bytes can be compared without
//! keeping any.
//!
//! Each block has the sum of its words times powers of one number, modulo a prime (a polynomial hash: Carter and Wegman,
//! "Universal classes of hash functions", 1979). Bytes can be added in any order and with holes, and two blocks next to
//! each other make one of twice the length. When there are too many, they do: memory does not grow with bytes.

use crate::event::Range;

/// 2^61 - 1, a prime by which it is easy to divide.
const PRIME: u64 = (1 << 61) - 1;

/// The number whose powers are taken. Contents are not chosen by somebody who wants to hide their difference here.
const BASE: u64 = 0x0f1e_2d3c_4b5a_6978;

/// Bytes of a block at first.
const FIRST_BLOCK: u32 = 6;

/// Blocks that are kept at most.
const BLOCKS_MAX: usize = 512;

const WORD: u64 = 8;

/// Digests of the bytes at hand, by blocks of offsets.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    /// Number of the block and sum of its words, in order; blocks without bytes are left out.
    blocks: Vec<(u64, u64)>,
    /// A block has [`FIRST_BLOCK`] plus so many bits.
    grown: u32,
}

fn reduce(value: u128) -> u64 {
    let fold = |value: u128| (value & u128::from(PRIME)) + (value >> 61);
    let folded = fold(fold(value)) as u64; // below 2^62 by now
    if folded >= PRIME { folded - PRIME } else { folded }
}

fn times(a: u64, b: u64) -> u64 {
    reduce(u128::from(a) * u128::from(b))
}

fn power(mut exponent: u64) -> u64 {
    let (mut base, mut power) = (BASE, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = times(power, base);
        }
        base = times(base, base);
        exponent >>= 1;
    }
    power
}

impl Digest {
    /// Adds bytes, none of which was added before.
    pub fn add(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let block = offset >> self.bits();
            let (part, rest) = bytes.split_at(self.left(offset).min(bytes.len()));
            let sum = sum(offset - (block << self.bits()), part);
            match self.blocks.last_mut() {
                Some(last) if last.0 == block => last.1 = reduce(u128::from(last.1) + u128::from(sum)),
                Some(last) if last.0 > block => self.insert(block, sum),
                _ => self.blocks.push((block, sum)),
            }
            (offset, bytes) = (offset + part.len() as u64, rest);
            while self.blocks.len() > BLOCKS_MAX {
                self.grow();
            }
        }
    }

    /// The blocks in which the bytes differ, of those of which both have the same bytes, or the same ones are missing; and
    /// the blocks of which they have not. `have` tells which bytes there are, of this and of the other.
    pub fn differences(&self, other: &Digest, have: [&super::RangeSet; 2]) -> Differences {
        let (mut ours, mut theirs) = (self.clone(), other.clone());
        while ours.grown < theirs.grown {
            ours.grow();
        }
        while theirs.grown < ours.grown {
            theirs.grow();
        }
        let mut differences = Differences::default();
        let mut others = theirs.blocks.iter().peekable();
        for &(block, sum) in &ours.blocks {
            while others.next_if(|other| other.0 < block).is_some() {}
            let Some(&(_, their_sum)) = others.next_if(|other| other.0 == block) else { continue };
            let from = block << ours.bits();
            let range = Range::new(from, from.saturating_add(1 << ours.bits()));
            let [here, there] = have.map(|have| have.within(range));
            match here == there {
                true if sum == their_sum => {}
                true => differences.differing.push(range),
                false => differences.open.push(range),
            }
        }
        differences
    }

    fn bits(&self) -> u32 {
        FIRST_BLOCK + self.grown
    }

    /// Bytes from `offset` to the end of its block.
    fn left(&self, offset: u64) -> usize {
        let size = 1u64 << self.bits();
        usize::try_from(size - (offset & (size - 1))).unwrap_or(usize::MAX)
    }

    fn insert(&mut self, block: u64, sum: u64) {
        match self.blocks.binary_search_by_key(&block, |one| one.0) {
            Ok(at) => self.blocks[at].1 = reduce(u128::from(self.blocks[at].1) + u128::from(sum)),
            Err(at) => self.blocks.insert(at, (block, sum)),
        }
    }

    /// Makes one block of two.
    fn grow(&mut self) {
        let upper = power((1 << self.bits()) / WORD);
        let mut grown: Vec<(u64, u64)> = Vec::with_capacity(BLOCKS_MAX);
        for &(block, sum) in &self.blocks {
            let sum = if block & 1 == 1 { times(sum, upper) } else { sum };
            match grown.last_mut() {
                Some(last) if last.0 == block >> 1 => last.1 = reduce(u128::from(last.1) + u128::from(sum)),
                _ => grown.push((block >> 1, sum)),
            }
        }
        self.blocks = grown;
        self.grown += 1;
    }
}

/// The sum of the words of bytes that begin at `at` in their block.
fn sum(at: u64, bytes: &[u8]) -> u64 {
    let (mut power, mut sum) = (power(at / WORD), 0u64);
    let head = ((WORD - at % WORD) % WORD).min(bytes.len() as u64) as usize;
    let (head, rest) = bytes.split_at(head);
    let mut add = |word: u64, power: &mut u64| {
        sum = reduce(u128::from(sum) + u128::from(word) * u128::from(*power));
        *power = times(*power, BASE);
    };
    if !head.is_empty() {
        add(word(head) << (8 * (at % WORD)), &mut power);
    }
    rest.chunks(WORD as usize).for_each(|chunk| add(word(chunk), &mut power));
    sum
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD as usize];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Where two digests do not agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Blocks with other bytes.
    pub differing: Vec<Range>,
    /// Blocks of which one has bytes that the other lacks: digests can't tell.
    pub open: Vec<Range>,
}

#[cfg(test)]
mod tests {
    use super::super::RangeSet;
    use super::*;
    use proptest::prelude::*;

    fn digest(bytes: &[u8], cuts: &[usize], order: bool) -> Digest {
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut parts: Vec<(usize, usize)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        if order {
            parts.reverse();
        }
        let mut digest = Digest::default();
        parts.into_iter().for_each(|(from, to)| digest.add(from as u64, &bytes[from..to]));
        digest
    }

    proptest! {
        #[test]
        fn any_cuts_in_any_order_give_the_same_and_any_change_shows(
            length in 1usize..100_000,
            cuts in prop::collection::vec(any::<usize>(), 2..20),
            at in any::<usize>(),
            change in 1u8..,
        ) {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 7 + index / 300) as u8).collect();
            let all: RangeSet = [Range::new(0, length as u64)].into_iter().collect();
            let [ours, theirs] = [digest(&bytes, &cuts[..1], false), digest(&bytes, &cuts[1..], true)];
            prop_assert_eq!(ours.differences(&theirs, [&all, &all]), Differences::default());
            let mut changed = bytes.clone();
            changed[at % length] ^= change;
            let found = ours.differences(&digest(&changed, &cuts, false), [&all, &all]);
            prop_assert_eq!(found.differing.len(), 1);
            prop_assert!(found.differing[0].intersection(Range::new((at % length) as u64, (at % length) as u64 + 1)).is_some());
            prop_assert!(ours.blocks.len() <= BLOCKS_MAX);
        }
    }

    #[test]
    fn a_block_of_which_one_lacks_bytes_is_left_open() {
        let bytes = [5; 200];
        let [mut ours, mut theirs] = [Digest::default(), Digest::default()];
        ours.add(0, &bytes);
        theirs.add(0, &bytes[..70]);
        theirs.add(80, &bytes[80..]);
        let have: [RangeSet; 2] = [vec![Range::new(0, 200)], vec![Range::new(0, 70), Range::new(80, 200)]]
            .map(|ranges| ranges.into_iter().collect());
        let found = ours.differences(&theirs, [&have[0], &have[1]]);
        assert_eq!(found, Differences { differing: Vec::new(), open: vec![Range::new(64, 128)] });
    }
}
