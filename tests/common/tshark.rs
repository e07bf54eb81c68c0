//! tshark as a writer of JSON.

use std::path::Path;
use std::process::Command;

/// In which form tshark writes a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `-T json`.
    Json,
    /// `-T ek`.
    Ek,
    /// `-T json -x`: each field with its bytes.
    JsonBytes,
    /// `-T ek -x`.
    EkBytes,
    /// `-T json` with all fields that are needed.
    Fields,
    /// The same in `-T ek`.
    EkFields,
    /// `-T json --no-duplicate-keys`.
    Merged,
    /// `-T json`, only the layers of IP and TCP and the frame.
    Layers,
    /// `-T json` with addresses, ports, number, length and payload.
    Few,
    /// `-T json` with the summaries of IP and TCP, and what nobody dissects.
    Summaries,
    /// The same in `-T ek`.
    EkSummaries,
}

const FEW: &[&str] =
    &["ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.len", "tcp.payload"];
const MORE: &[&str] = &[
    "ipv6.src",
    "ipv6.dst",
    "tcp.ack_raw",
    "tcp.flags",
    "frame.time_epoch",
    "frame.protocols",
    "frame.len",
    "frame.cap_len",
    "frame.interface_id",
    "ip.id",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "udp.payload",
];

/// tshark shows the last part of a message that ends with the connection only as part of the whole.
fn whole_segments(mut args: Vec<&'static str>) -> Vec<&'static str> {
    args.extend(["-o", "tcp.desegment_tcp_streams:FALSE"]);
    args
}

impl Form {
    /// The forms in which nothing is left out.
    pub const WHOLE: [Form; 8] = [
        Form::Json,
        Form::Ek,
        Form::JsonBytes,
        Form::EkBytes,
        Form::Merged,
        Form::Layers,
        Form::Fields,
        Form::EkFields,
    ];

    /// What tshark is told.
    pub fn args(self) -> Vec<&'static str> {
        let fields = |format, lists: &[&[&'static str]]| {
            let named = lists.iter().flat_map(|list| list.iter()).flat_map(|&name| ["-e", name]);
            ["-T", format].into_iter().chain(named).collect()
        };
        match self {
            Form::Json => vec!["-T", "json"],
            Form::Ek => vec!["-T", "ek"],
            Form::JsonBytes => vec!["-T", "json", "-x"],
            Form::EkBytes => vec!["-T", "ek", "-x"],
            Form::Merged => vec!["-T", "json", "--no-duplicate-keys"],
            Form::Layers => vec!["-T", "json", "-j", "frame sll ip ipv6 udp tcp tcp.segments"],
            Form::Fields => whole_segments(fields("json", &[FEW, MORE])),
            Form::EkFields => whole_segments(fields("ek", &[MORE, FEW])),
            Form::Few => fields("json", &[FEW]),
            Form::Summaries => fields("json", &[&["ip", "tcp", "data"]]),
            Form::EkSummaries => fields("ek", &[&["ip", "tcp", "data"]]),
        }
    }
}

/// What tshark writes of a capture.
pub fn tshark(capture: &Path, args: &[&str]) -> Vec<u8> {
    let mut tshark = Command::new("tshark");
    let output = tshark.arg("-r").arg(capture).args(args).output();
    output.expect("tshark has to be installed (package tshark)").stdout
}
