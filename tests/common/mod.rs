//! What the integration tests share: real peers to trace, and a trace to check them against.

pub mod peer;
pub mod trace;
