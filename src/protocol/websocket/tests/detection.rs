//! What is taken for WebSocket where the handshake was not seen.

use super::{PROTOCOL, all, client, server};
use crate::event::Role;
use crate::protocol::testing::Random;
use crate::protocol::{Sample, Verdict};

fn verdict(send: &[u8], recv: &[u8], from_start: bool, role: Role) -> Verdict {
    (PROTOCOL.detect)(&Sample { data: [send, recv], from_start: [from_start; 2], role })
}

fn conversation() -> [Vec<u8>; 2] {
    let sent = all(&[
        client(0x81, "{\"op\":\"subscribe\"}"),
        client(0x89, "1"),
        client(0x81, "{\"op\":\"unsubscribe\"}"),
        client(0x82, [1, 2, 3]),
    ]);
    let received = all(&[
        server(0x81, "{\"result\":\"subscribed\"}"),
        server(0x8a, "1"),
        server(0xc1, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        server(0x81, "{\"result\":\"unsubscribed\"}"),
    ]);
    [sent, received]
}

#[test]
fn frames_in_both_directions_are_proof_where_the_handshake_was_not_seen() {
    let [sent, received] = conversation();
    // Who masks is the client, whatever the role is guessed to be.
    for role in [Role::Client, Role::Server, Role::Unknown] {
        assert_eq!(verdict(&sent, &received, false, role), Verdict::Match(95));
        assert_eq!(verdict(&received, &sent, false, role), Verdict::Match(95));
    }
    // Either both sides mask or none does.
    for both in [&sent, &received] {
        assert!(matches!(verdict(both, both, false, Role::Unknown), Verdict::No(_)));
    }
    // The beginning lies in the middle of frames.
    let tail = |bytes: &[u8]| [&b"\x17 the tail of a payload"[..], bytes].concat();
    assert_eq!(verdict(&tail(&sent), &tail(&received), false, Role::Unknown), Verdict::Match(95));
}

#[test]
fn no_connection_begins_with_frames() {
    let [sent, received] = conversation();
    assert!(matches!(verdict(&sent, &received, true, Role::Unknown), Verdict::No(_)));
}

#[test]
fn few_frames_prove_nothing() {
    let [sent, received] = conversation();
    assert!(matches!(verdict(&sent, &[], false, Role::Unknown), Verdict::Maybe(_)));
    assert!(matches!(verdict(&sent, &received[..26], false, Role::Unknown), Verdict::Maybe(_)));
    assert!(matches!(verdict(&sent, b"\r\n", false, Role::Unknown), Verdict::No(_)));
    assert!(matches!(verdict(&[], &[0x82], false, Role::Unknown), Verdict::No(_)));
    // A long chain of one direction is enough.
    let many: Vec<Vec<u8>> = (0..9).map(|n| server(0x81, format!("{{\"price\":{n}}}"))).collect();
    assert_eq!(verdict(&[], &all(&many), false, Role::Unknown), Verdict::Match(90));
}

#[test]
fn neither_noise_nor_numbers_are_frames() {
    let mut random = Random(0x0bad_cafe);
    for _ in 0..2000 {
        let [one, other] = [(); 2]
            .map(|()| (0..1 + random.below(600)).map(|_| random.below(256) as u8).collect::<Vec<u8>>());
        let found = verdict(&one, &other, false, Role::Unknown);
        assert!(!matches!(found, Verdict::Match(_)), "{found:?} {one:02x?} {other:02x?}");
    }
    let numbers = |of: fn(u32) -> [u8; 4]| (0..300).flat_map(of).collect::<Vec<u8>>();
    for bytes in
        [numbers(u32::to_le_bytes), numbers(u32::to_be_bytes), vec![0; 1000], vec![1; 1000], vec![2; 999]]
    {
        assert!(!matches!(verdict(&bytes, &bytes, false, Role::Unknown), Verdict::Match(_)));
    }
}
