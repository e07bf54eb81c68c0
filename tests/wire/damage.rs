//! Every capture that is at hand, damaged at random: whatever comes, no panic, and events keep their order.

use super::packets::try_read_file;
use crate::common::captures::folder;
use crate::common::random::Random;
use sockdbg::source::Error;
use std::path::PathBuf;

/// Captures up to this size: larger ones take long and show nothing new.
const LARGEST: u64 = 100_000;

fn captures() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let folders = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    for protocol in folders.filter(|path| path.is_dir()) {
        let inside = std::fs::read_dir(protocol).unwrap().map(|entry| entry.unwrap().path());
        files.extend(
            inside.filter(|path| path.extension().is_some_and(|end| end == "pcap" || end == "pcapng")),
        );
    }
    files.retain(|file| file.metadata().unwrap().len() <= LARGEST);
    files.sort();
    assert!(files.len() > 500, "only {} captures", files.len());
    files
}

/// Flips bits, writes garbage, takes out or doubles a piece, cuts the end: one or several of it.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let (at, length) = (random.below(bytes.len()), random.below(200));
        let end = (at + length).min(bytes.len());
        match random.below(5) {
            0 => (0..1 + random.below(30)).for_each(|_| {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }),
            1 => bytes[at..end].iter_mut().for_each(|byte| *byte = random.below(256) as u8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(bytes.len() - random.below(bytes.len() / 4)),
        }
    }
}

#[test]
fn every_capture_damaged_at_random_is_read_without_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pcap");
    let mut random = Random(3);
    let (mut read, mut refused) = (0, 0);
    for file in captures() {
        let whole = std::fs::read(&file).unwrap();
        for _ in 0..3 {
            let mut bytes = whole.clone();
            damage(&mut bytes, &mut random);
            std::fs::write(&path, &bytes).unwrap();
            match std::panic::catch_unwind(|| try_read_file(&path)) {
                Ok(Ok(_)) => read += 1,
                Ok(Err(Error::Input(message))) => {
                    assert!(message.contains("damaged.pcap") && !message.contains('\n'), "{message}");
                    refused += 1;
                }
                Ok(Err(error)) => panic!("{}: {error}", file.display()),
                Err(_) => {
                    let kept = std::env::temp_dir().join("sockdbg-panic.pcap");
                    std::fs::write(&kept, &bytes).unwrap();
                    panic!("{} damaged, now {}", file.display(), kept.display());
                }
            }
        }
    }
    assert!(read > 1000 && refused > 10, "{read} read, {refused} refused");
}

/// Damage inside packets, while the file around them stays whole: so it reaches every layer.
#[test]
fn damaged_packets_are_read_without_panic() {
    let mut random = Random(4);
    let mut read = 0;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pcap");
    for file in captures() {
        let mut bytes = std::fs::read(&file).unwrap();
        if bytes[..4] != 0xa1b2_c3d4u32.to_le_bytes() {
            continue;
        }
        let mut at = 24;
        while let Some(length) = bytes.get(at + 8..at + 12) {
            let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
            let Some(packet) = bytes.get_mut(at + 16..at + 16 + length) else { break };
            // Headers are where it hurts.
            let region = packet.len().min(if random.below(4) == 0 { 1 << 16 } else { 100 });
            for _ in 0..random.below(4) {
                if let Some(byte) = packet.get_mut(random.below(region)) {
                    *byte = if random.below(2) == 0 {
                        *byte ^ 1 << random.below(8)
                    } else {
                        random.below(256) as u8
                    };
                }
            }
            at += 16 + length;
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = try_read_file(&path) {
            // The file's header is untouched: one of an unknown version, and one of an unsupported link type.
            let words = ["is not supported", "a pcap file of unknown version"];
            assert!(words.iter().any(|word| error.to_string().contains(word)), "{}: {error}", file.display());
        }
        read += 1;
    }
    assert!(read > 300, "only {read} captures");
}
