//! pcap files taken apart and put together again, packet by packet: Ethernet, IPv4 without options, TCP.

use std::path::Path;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const IP: usize = 14;
const TCP: usize = IP + 20;

/// A capture, little-endian.
pub struct PcapFile {
    header: Vec<u8>,
    pub packets: Vec<Packet>,
}

/// A packet with its record's header.
#[derive(Clone)]
pub struct Packet {
    header: [u8; RECORD_HEADER],
    pub bytes: Vec<u8>,
}

impl PcapFile {
    pub fn read(path: &Path) -> PcapFile {
        let file = std::fs::read(path).expect("a capture");
        let (header, mut rest) = file.split_at(FILE_HEADER);
        assert_eq!(header[2..4], [0xb2, 0xa1], "little-endian pcap");
        let mut packets = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<RECORD_HEADER>() {
            let length = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
            packets.push(Packet { header: *header, bytes: after[..length].to_vec() });
            rest = &after[length..];
        }
        PcapFile { header: header.to_vec(), packets }
    }

    pub fn write(&self, path: &Path) {
        let mut file = self.header.clone();
        for packet in &self.packets {
            file.extend(packet.header);
            file.extend(&packet.bytes);
        }
        std::fs::write(path, file).expect("a file that can be written");
    }
}

impl Packet {
    pub fn ports(&self) -> [u16; 2] {
        [0, 2].map(|at| u16::from_be_bytes(self.bytes[TCP + at..][..2].try_into().unwrap()))
    }

    pub fn seq(&self) -> u32 {
        u32::from_be_bytes(self.bytes[TCP + 4..][..4].try_into().unwrap())
    }

    pub fn ack(&self) -> u32 {
        u32::from_be_bytes(self.bytes[TCP + 8..][..4].try_into().unwrap())
    }

    /// Has it acknowledge everything before `seq`, and nothing more.
    pub fn acknowledge(&mut self, seq: u32) {
        self.bytes[TCP + 8..][..4].copy_from_slice(&seq.to_be_bytes());
    }

    pub fn is_syn(&self) -> bool {
        self.bytes[TCP + 13] & 2 != 0
    }

    /// Where the payload is among the bytes.
    pub fn payload(&self) -> std::ops::Range<usize> {
        let total = u16::from_be_bytes(self.bytes[IP + 2..][..2].try_into().unwrap());
        TCP + usize::from(self.bytes[TCP + 12] >> 4) * 4..IP + usize::from(total)
    }
}
