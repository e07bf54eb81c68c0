//! The parser under whole conversations, written by hand from doc/protocol.txt.

mod conversations;
mod damage;
mod datagrams;
mod detection;

use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, check_whole};

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

/// A conversation by its summaries; in all cuts and with all damage.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_whole(&super::PROTOCOL, steps, setup(), expected)
}
