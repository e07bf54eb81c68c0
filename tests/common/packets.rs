//! Packets and captures, byte by byte.

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A TCP segment without options or checksum (RFC 9293, section 3.1).
pub fn tcp(source: u16, destination: u16, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([5 << 4, flags, 4, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// An IPv4 packet without options or checksum (RFC 791, section 3.1).
pub fn ip(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = 20 + payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

/// A pcap file of IP packets (link type 101), one a second (draft-ietf-opsawg-pcap).
pub fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 262_144, 101u32] {
        file.extend(word.to_le_bytes());
    }
    for (second, packet) in packets.iter().enumerate() {
        let length = packet.len() as u32;
        for word in [1_000_000_000 + second as u32, 5, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}
