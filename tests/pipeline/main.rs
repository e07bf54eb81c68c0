//! The whole pipeline, end to end, through the command line and on real peers: every stream equals what the
//! peer sent and got, every request becomes a record, and what is missing is named.

#[path = "../common/mod.rs"]
mod common;

mod cuts;
mod endings;
mod grpc;
mod http;
mod http2;
mod redis;
mod tshark;
mod vantages;
mod verify;
