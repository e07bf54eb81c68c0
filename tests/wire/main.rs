//! Captures made up packet by packet: every file format, link layer, tunnel and habit of TCP, against what was put
//! in.

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod formats;
mod layers;
mod packets;
mod tcp;
