//! What the integration tests share: real peers to trace, and a trace to check them against.

#![allow(dead_code)] // every test binary uses its own part

pub mod peer;
pub mod trace;
