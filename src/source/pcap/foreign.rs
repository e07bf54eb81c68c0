//! Files that are taken for a capture and are none that can be read: what they are, by their first bytes, and what to do.

/// Other formats of captures, as Wireshark's wiretap knows them. editcap of Wireshark reads all of these.
const CAPTURES: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a Solaris snoop file"),
    (b"GMBU", "a capture of Microsoft Network Monitor"),
    (b"RTSS", "a capture of Microsoft Network Monitor"),
    (b"XCP\0", "a capture of NetXRay or the Windows Sniffer"),
    (b"TRSNIFF data    \x1a", "a capture of the DOS Sniffer"),
    (b"iptrace 1.0", "a capture of AIX iptrace"),
    (b"iptrace 2.0", "a capture of AIX iptrace"),
];

/// Why a file can't be read that begins with these bytes; absent where it is nothing that is known.
pub fn reason(head: &[u8]) -> Option<String> {
    if let Some((_, name)) = CAPTURES.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(format!("is {name}; convert it with `editcap -F pcapng`"));
    }
    let text = head.trim_ascii_start();
    if text.starts_with(b"% time ") {
        return Some(
            "is the table of strace -c, which has counts and no calls; leave -c out, or use -C".to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First bytes as `editcap -F` writes them.
    #[test]
    fn foreign_files_are_named() {
        for (head, words) in [
            (&b"snoop\0\0\0\0\0\0\x02\0\0\0\x04"[..], "Solaris snoop"),
            (b"GMBU\0\x02\x01\0", "Microsoft Network Monitor"),
            (b"RTSS\x01\x01\x01\0", "Microsoft Network Monitor"),
            (b"XCP\x00002.002\0", "NetXRay"),
            (b"TRSNIFF data    \x1a\x04", "DOS Sniffer"),
            (b"iptrace 2.0", "AIX iptrace"),
            (b"% time     seconds  usecs/call     calls    errors syscall\n", "strace -c"),
        ] {
            let reason = reason(head).unwrap_or_default();
            assert!(reason.contains(words), "{words}: {reason}");
        }
        assert_eq!(reason(b"10:00:00.0 IP 127.0.0.1.80 > "), None);
        assert_eq!(reason(b""), None);
    }
}
