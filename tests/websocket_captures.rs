//! WebSocket records of captures that nobody of this project made, against tshark's frames. They lie in the folder of HTTP,
//! from which their connections switch.

mod common;

use common::captures::{assert_robust, expected, field, folder, run, text, try_run};
use common::tshark::tshark;
use sockdbg::record::{Message, Value};
use std::collections::BTreeMap;

/// The captures in which a connection switches to WebSocket.
const FILES: [&str; 7] = [
    "http/zeek--websocket--broker-websocket.pcap",
    "http/zeek--websocket--message-too-big-status.pcap",
    "http/zeek--websocket--oversized-close-frame.pcapng",
    "http/zeek--websocket--reply-ping-separate.pcap",
    "http/zeek--websocket--wrong-accept-header.pcap",
    "http/zeek--websocket--wstunnel-http.pcap",
    "http/zeek--websocket--wstunnel-ssh.pcap",
];
