//! Placeholder.

use super::{Options, Parser, Protocol, Sample, Verdict};

/// Placeholder.
pub static PROTOCOL: Protocol = Protocol { name: "http1", detect, parser };

fn detect(_: &Sample<'_>) -> Verdict {
    Verdict::No("not written yet")
}

fn parser(_: Options) -> Box<dyn Parser + Send> {
    unreachable!("no sample matches")
}
