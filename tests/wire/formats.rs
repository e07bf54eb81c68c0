//! Files: pcap and pcapng in each byte order, interfaces and sections, compressed ones.

use super::packets::{Captured, ETHERNET, RAW, Seen, Tape, ethernet, read, try_read};
use sockdbg::source::Error;
use std::io::{Seek, Write};
use std::process::{Command, Stdio};

/// A connection with a request and an answer.
fn conversation() -> Tape {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"ask").answer("A", 101, 104, b"answer");
    tape
}

#[track_caller]
fn check(seen: Seen) {
    seen.only().sent("ask", "answer");
}

#[test]
fn pcap_in_either_byte_order_and_resolution() {
    let tape = conversation();
    let times = [tape.packets[0].time, tape.packets[4].time].map(sockdbg::event::Timestamp);
    for (big_endian, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
        let seen = read(&tape.pcap_in(big_endian, nanoseconds));
        assert_eq!([seen.summary.first.unwrap(), seen.summary.last.unwrap()], times);
        assert_eq!(seen.packets, 5);
        check(seen);
    }
}

/// Writes pcapng (draft-ietf-opsawg-pcapng) in either byte order.
struct Sections {
    big_endian: bool,
    bytes: Vec<u8>,
}

impl Sections {
    fn new(big_endian: bool) -> Sections {
        let mut sections = Sections { big_endian, bytes: Vec::new() };
        sections.section(big_endian);
        sections
    }

    fn u16(&self, number: u16) -> [u8; 2] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(&self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> &mut Sections {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = self.u32((12 + body.len() + padding.len()) as u32);
        let block = [&self.u32(kind)[..], &length, body, &padding, &length].concat();
        self.bytes.extend(block);
        self
    }

    fn section(&mut self, big_endian: bool) -> &mut Sections {
        self.big_endian = big_endian;
        let versions = [self.u16(1), self.u16(0)].concat();
        let body = [&self.u32(0x1a2b_3c4d)[..], &versions, &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
        [&self.u16(code)[..], &self.u16(value.len() as u16), value, &padding].concat()
    }

    /// With a name, `resolution` as if_tsresol has it, and an offset in seconds.
    fn interface(
        &mut self,
        link: u16,
        snaplen: u32,
        name: &str,
        resolution: u8,
        offset: i64,
    ) -> &mut Sections {
        let offset = if self.big_endian { offset.to_be_bytes() } else { offset.to_le_bytes() };
        let options = [
            self.option(2, name.as_bytes()),
            self.option(9, &[resolution]),
            self.option(14, &offset),
            self.option(0, &[]),
        ];
        let body = [&self.u16(link)[..], &[0, 0], &self.u32(snaplen), &options.concat()].concat();
        self.block(1, &body)
    }

    /// An Enhanced Packet Block; `time` in units of the interface.
    fn packet(&mut self, interface: u32, time: u64, packet: &Captured) -> &mut Sections {
        let time = [self.u32((time >> 32) as u32), self.u32(time as u32)].concat();
        let lengths = [self.u32(packet.bytes.len() as u32), self.u32(packet.length as u32)].concat();
        let body = [&self.u32(interface)[..], &time, &lengths, &packet.bytes].concat();
        self.block(6, &body)
    }

    fn simple(&mut self, packet: &Captured) -> &mut Sections {
        let body = [&self.u32(packet.length as u32)[..], &packet.bytes].concat();
        self.block(3, &body)
    }

    /// The obsolete Packet Block.
    fn old(&mut self, interface: u16, time: u64, packet: &Captured) -> &mut Sections {
        let time = [self.u32((time >> 32) as u32), self.u32(time as u32)].concat();
        let lengths = [self.u32(packet.bytes.len() as u32), self.u32(packet.length as u32)].concat();
        let head = [self.u16(interface), self.u16(0xffff)].concat();
        self.block(2, &[&head[..], &time, &lengths, &packet.bytes].concat())
    }
}

#[test]
fn pcapng_with_every_kind_of_block() {
    let packets = conversation().packets;
    for big_endian in [false, true] {
        let mut file = Sections::new(big_endian);
        file.interface(RAW, 0, "eth0", 6, 0).interface(ETHERNET, 0, "eth1", 9, -1000);
        // Names, secrets, statistics, custom and unheard-of blocks.
        for kind in [4, 10, 0x0000_0bad, 0x4000_0bad, 0x1234_5678] {
            file.block(kind, &[0; 16]);
        }
        file.packet(0, packets[0].time / 1000, &packets[0]);
        let frame = ethernet(0x0800, &packets[1].bytes);
        let framed = Captured { length: frame.len(), bytes: frame, ..packets[1] };
        file.packet(1, framed.time + 1_000_000_000_000, &framed);
        file.old(0, packets[2].time / 1000, &packets[2]);
        // Another section in the other byte order, whose first interface has a resolution of 2^-20 s.
        file.section(!big_endian).interface(RAW, 0, "wlan0", 0x80 | 20, 1_700_000_000);
        let units = (packets[3].time - 1_700_000_000_000_000_000) * (1 << 20) / 1_000_000_000;
        file.packet(0, units, &packets[3]).simple(&packets[4]);
        let seen = read(&file.bytes);
        let (first, last) = (seen.summary.first.unwrap().0, seen.summary.last.unwrap().0);
        assert_eq!(first, packets[0].time);
        assert!(packets[3].time - last < 1_000_000_000 / (1 << 20) + 1, "{last}");
        check(seen);
    }
}

#[test]
fn a_simple_packet_is_as_long_as_its_snap_length() {
    let mut tape = conversation();
    let last = tape.packets.pop().unwrap();
    let mut file = Sections::new(false);
    file.interface(RAW, 43, "eth0", 9, 0);
    for packet in &tape.packets {
        file.packet(0, packet.time, packet);
    }
    // 40 bytes of headers, 3 of 6 bytes of payload, and one of padding.
    let cut = Captured { bytes: [&last.bytes[..43], b"!"].concat(), ..last };
    let conn = read(&file.simple(&cut).bytes).only();
    assert_eq!((conn.sent[1].as_str(), conn.moved), ("ans???", [3, 6]));
}

#[test]
fn interfaces_that_are_not_supported_are_named_and_their_packets_counted() {
    let packets = conversation().packets;
    let mut file = Sections::new(false);
    file.interface(RAW, 0, "eth0", 9, 0).interface(105, 0, "wlan0", 9, 0).interface(189, 0, "usbmon1", 9, 0);
    for packet in &packets {
        file.packet(0, packet.time, packet).packet(1, packet.time, packet);
    }
    file.packet(2, packets[0].time, &packets[0]).packet(7, packets[0].time, &packets[0]);
    let seen = read(&file.bytes);
    let lines: Vec<&str> =
        seen.summary.warnings.iter().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "5 packets of interface wlan0 left out: link type 105 (IEEE 802.11) is not supported",
            "1 packets of interface usbmon1 left out: link type 189 (USB of Linux) is not supported",
            "1 packets of interfaces that the file does not describe not read",
        ]
    );
    seen.one().sent("ask", "answer");
}

#[test]
fn a_capture_of_nothing_but_unsupported_link_types_is_refused_by_name() {
    let mut tape = conversation();
    tape.link = 105;
    let mut file = Sections::new(false);
    file.interface(105, 0, "wlan0", 9, 0).interface(147, 0, "", 9, 0);
    for packet in &tape.packets {
        file.packet(0, packet.time, packet).packet(1, packet.time, packet);
    }
    let files = [
        (tape.pcap(), "link type 105 (IEEE 802.11) is not supported"),
        (file.bytes, "link type 105 (IEEE 802.11), 147 (private use) is not supported"),
    ];
    for (bytes, words) in files {
        let Err(Error::Input(message)) = try_read(&bytes) else { panic!("{words}") };
        assert!(message.contains(words), "{message}");
    }
}

/// What a program of the system makes of `bytes`.
pub fn compress(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let output = Command::new(program).arg("-c").stdin(file).output();
    output.unwrap_or_else(|error| panic!("{program} has to be installed: {error}")).stdout
}

#[test]
fn compressed_captures_are_read_as_they_are() {
    for program in ["gzip", "zstd"] {
        check(read(&compress(program, &conversation().pcap())));
        let mut file = Sections::new(true);
        file.interface(RAW, 0, "eth0", 9, 0);
        for packet in &conversation().packets {
            file.packet(0, packet.time, packet);
        }
        check(read(&compress(program, &file.bytes)));
    }
}

#[test]
fn a_compressed_capture_cut_short_gives_what_it_holds_and_says_so() {
    let mut tape = Tape::connected();
    let text: Vec<u8> = (0..400_000u64).map(|at| b"abcdefghijklmnop"[(at * at / 7 % 16) as usize]).collect();
    for (number, piece) in text.chunks(1000).enumerate() {
        tape.send("A", 101 + number as u32 * 1000, 101, piece);
    }
    for program in ["gzip", "zstd"] {
        let whole = compress(program, &tape.pcap());
        let seen = read(&whole[..whole.len() * 2 / 3]);
        let cut = seen.summary.cut.clone().unwrap();
        assert!(
            cut.contains(": the compressed data ends in the middle; the capture in it can be read"),
            "{cut}"
        );
        let sent = &seen.one().sent[0];
        assert!(sent.len() >= 100_000 && text.starts_with(sent.as_bytes()), "{program}: {}", sent.len());
        let Err(Error::Input(message)) = try_read(&whole[..8]) else { panic!("{program}") };
        assert!(message.contains("the compressed data ends in the middle; nothing can be read"), "{message}");
    }
}

#[test]
fn other_compressions_are_refused_by_name() {
    let files: [(&[u8], &str); 3] =
        [(b"BZh91AY&SY", "bzip2"), (b"\xfd7zXZ\0\0\x04", "xz"), (b"\x04\x22\x4d\x18\x64\x40\xa7", "lz4")];
    for (bytes, name) in files {
        let Err(Error::Input(message)) = try_read(bytes) else { panic!("{name}") };
        let words =
            format!("is compressed with {name}, which is not read; decompress it first (`{name} -dc`)");
        assert!(message.ends_with(&words), "{message}");
    }
}

/// Standard output of sockdbg with these arguments and this standard input.
fn piped(args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockdbg"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn standard_input_may_be_compressed() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"GET /piped HTTP/1.1\r\nHost: a\r\n\r\n");
    tape.answer("A", 101, 134, b"HTTP/1.1 204 No Content\r\n\r\n");
    for bytes in [tape.pcap(), compress("gzip", &tape.pcap()), compress("zstd", &tape.pcap())] {
        let text = piped(&["conn-trace", "-r", "-"], &bytes);
        assert!(text.contains("/piped") && text.contains("204"), "{text}");
    }
}

/// A comparison with differences reads the capture twice, which a pipe does not allow.
#[test]
fn either_side_of_a_comparison_may_come_through_a_pipe() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let (recording, capture) = (format!("{folder}/recording.pcapng"), format!("{folder}/capture.pcap"));
    let bytes = |file: &str| std::fs::read(file).unwrap();
    let expected = piped(&["pcap-compare", &recording, &capture], b"");
    assert!(expected.contains("missing"), "the demonstration has differences: {expected}");
    for bytes in [bytes(&capture), compress("gzip", &bytes(&capture))] {
        assert_eq!(piped(&["pcap-compare", &recording, "-"], &bytes), expected);
    }
    // Contents that seem to differ are looked at by reading both once more, and this side can't be.
    let found = piped(&["pcap-compare", "-", &capture], &compress("zstd", &bytes(&recording)));
    let is_remark = |line: &&str| line.contains("their content was not compared");
    assert_eq!(found.lines().filter(is_remark).count(), 1, "{found}");
    assert!(found.lines().filter(|line| !is_remark(line)).eq(expected.lines()), "{found}");
}
