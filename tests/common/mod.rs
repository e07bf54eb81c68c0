//! What the integration tests share: real peers to trace, sockdbg at work, and independent accounts to check
//! it against.

#![allow(dead_code)] // every test binary uses its own part

pub mod captures;
pub mod client;
pub mod events;
pub mod killed;
pub mod losses;
pub mod mariadb;
pub mod named;
pub mod nats;
pub mod noise;
pub mod observed;
pub mod packets;
pub mod pcap_file;
pub mod peer;
pub mod postgres;
pub mod puppet;
pub mod python;
pub mod random;
pub mod removed;
pub mod report;
pub mod trace;
pub mod truth;
pub mod tshark;
pub mod watcher;
pub mod wire;

/// The longer run of a test is wanted: SOCKDBG_LONG=1.
pub fn is_long() -> bool {
    std::env::var_os("SOCKDBG_LONG").is_some_and(|value| value == "1")
}
