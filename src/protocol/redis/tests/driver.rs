//! The shared driver, for this protocol.

use super::super::PROTOCOL;
use crate::protocol::testing;
pub use crate::protocol::testing::{Outcome, Random, Setup, Step, cut, recv, send};

/// A command as an array of bulk strings.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// See [`testing::run`].
pub fn run(steps: &[Step], setup: Setup) -> Outcome {
    testing::run(&PROTOCOL, steps, setup)
}

/// See [`testing::run_counted`].
pub fn run_counted(steps: &[Step], setup: Setup) -> (Outcome, u64) {
    testing::run_counted(&PROTOCOL, steps, setup)
}

/// See [`testing::run_in_cuts`].
pub fn run_all_cuts(steps: &[Step], setup: Setup) -> Outcome {
    testing::run_in_cuts(&PROTOCOL, steps, setup)
}
