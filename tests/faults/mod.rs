//! Fault injection: conversations, what both vantages see of them, faults, and what has to be named.

pub mod conversation;
pub mod demo;
pub mod inject;
pub mod link;
pub mod oracle;
