//! What the traced processes did with sockets of kinds that are not traced: counted, never silent.

use libbpf_rs::{MapCore, MapFlags};

/// One line for each kind of socket.
pub(super) fn lines(map: &impl MapCore) -> Vec<String> {
    let mut lines: Vec<String> = map
        .keys()
        .filter_map(|key| {
            let value = map.lookup(&key, MapFlags::ANY).ok()??;
            line(&key, &value)
        })
        .collect();
    lines.sort();
    lines
}

/// `key` and `value` as in `src/bpf/abi.h`: struct sd_unsupported and struct sd_traffic.
fn line(key: &[u8], value: &[u8]) -> Option<String> {
    let short = |at: usize| Some(u16::from_ne_bytes(key.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(value.get(at..at + 8)?.try_into().ok()?));
    let protocol = protocol(short(0)?, short(4)?);
    let (family, kind) = (family(short(0)?), kind(short(2)?));
    let (calls, bytes) = (long(0)?, long(8)?);
    Some(format!(
        "{calls} calls with {bytes} bytes on sockets that are not traced: unsupported family or type {family} {kind} \
         ({protocol})"
    ))
}

/// Names as in address_families(7), without `AF_`.
fn family(number: u16) -> String {
    let name = match number {
        1 => "UNIX",
        2 => "INET",
        10 => "INET6",
        16 => "NETLINK",
        17 => "PACKET",
        29 => "CAN",
        31 => "BLUETOOTH",
        38 => "ALG",
        40 => "VSOCK",
        43 => "SMC",
        44 => "XDP",
        number => return format!("AF {number}"),
    };
    format!("AF_{name}")
}

/// Names as in socket(2).
fn kind(number: u16) -> String {
    let name = match number {
        1 => "STREAM",
        2 => "DGRAM",
        3 => "RAW",
        4 => "RDM",
        5 => "SEQPACKET",
        number => return format!("type {number}"),
    };
    format!("SOCK_{name}")
}

/// Names as in linux/in.h, of the protocols of IP that have sockets of their own.
fn protocol(family: u16, number: u16) -> String {
    let name = match (family, number) {
        (2, 1) => "ICMP",
        (2 | 10, 33) => "DCCP",
        (10, 58) => "ICMPv6",
        (2 | 10, 132) => "SCTP",
        (2 | 10, 136) => "UDP-Lite",
        (2 | 10, 262) => "MPTCP",
        _ => return format!("protocol {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_line() {
        let key = |numbers: [u16; 4]| numbers.map(u16::to_ne_bytes).concat();
        let value = [2u64, 99].map(u64::to_ne_bytes).concat();
        let netlink = line(&key([16, 3, 0, 0]), &value).unwrap();
        let text = "2 calls with 99 bytes on sockets that are not traced: unsupported family or type ";
        assert_eq!(netlink, format!("{text}AF_NETLINK SOCK_RAW (protocol 0)"));
        let unheard = line(&key([99, 9, 7, 0]), &value).unwrap();
        assert_eq!(unheard, format!("{text}AF 99 type 9 (protocol 7)"));
        let multipath = line(&key([10, 1, 262, 0]), &value).unwrap();
        assert_eq!(multipath, format!("{text}AF_INET6 SOCK_STREAM (MPTCP)"));
        assert_eq!(line(&[0; 3], &value), None);
    }
}
