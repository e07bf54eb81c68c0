//! Link layers, tags, fragments and tunnels around one conversation.

use super::packets::{ETHERNET, RAW, Tape, datagram, ethernet, fragments, read};

fn conversation() -> Tape {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"ask").answer("A", 101, 104, b"answer");
    tape
}

/// The conversation with each packet wrapped.
fn wrapped(link: u16, wrap: impl Fn(&[u8]) -> Vec<u8>) -> Tape {
    let mut tape = Tape::new(link);
    for packet in &conversation().packets {
        tape.packet(wrap(&packet.bytes));
    }
    tape
}

#[track_caller]
fn check(link: u16, wrap: impl Fn(&[u8]) -> Vec<u8>) {
    let tape = wrapped(link, wrap);
    tape.read().only().sent("ask", "answer");
    // Cut anywhere, nothing breaks, and no byte is wrong.
    for keep in 0..tape.packets[4].bytes.len() {
        let mut cut = tape.clone();
        cut.packets.iter_mut().for_each(|packet| packet.bytes.truncate(keep));
        for conn in cut.read().conns {
            let agrees = |seen: &str, whole: &str| {
                seen.len() <= whole.len() && seen.bytes().zip(whole.bytes()).all(|(a, b)| a == b'?' || a == b)
            };
            assert!(agrees(&conn.sent[0], "ask") && agrees(&conn.sent[1], "answer"), "{keep}: {conn:?}");
        }
    }
}

fn joined(head: &[u8], packet: &[u8]) -> Vec<u8> {
    [head, packet].concat()
}

#[test]
fn link_layers() {
    check(ETHERNET, |packet| ethernet(0x0800, packet));
    // Padding to the shortest frame.
    check(ETHERNET, |packet| [ethernet(0x0800, packet), vec![0; 20]].concat());
    // IEEE 802.2 with SNAP.
    check(ETHERNET, |packet| {
        let snap = joined(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], packet);
        [ethernet(snap.len() as u16, &snap), vec![0; 5]].concat()
    });
    for link in [12, 14, 101, 228] {
        check(link, <[u8]>::to_vec);
    }
    // Null and loop in either byte order.
    for family in [[2, 0, 0, 0], [0, 0, 0, 2]] {
        check(0, |packet| joined(&family, packet));
        check(108, |packet| joined(&family, packet));
    }
    check(113, |packet| joined(&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0], packet));
    check(276, |packet| joined(&[8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], packet));
    // PPP with and without address and control field, with a short protocol number, in Cisco's framing, of pppd.
    check(9, |packet| joined(&[0xff, 3, 0, 0x21], packet));
    check(9, |packet| joined(&[0, 0x21], packet));
    check(50, |packet| joined(&[0xff, 3, 0x21], packet));
    check(50, |packet| joined(&[0x0f, 0, 8, 0], packet));
    check(204, |packet| joined(&[1, 0xff, 3, 0, 0x21], packet));
    check(104, |packet| joined(&[0x0f, 0, 8, 0], packet));
    check(51, |packet| {
        let length = packet.len() as u16 + 2;
        [&[0x11, 0, 0, 7][..], &length.to_be_bytes(), &[0, 0x21], packet, &[0; 9]].concat()
    });
    check(239, |packet| {
        let length = packet.len() as u16 + 4;
        let payload = [&length.to_le_bytes()[..], &[9, 0], packet].concat();
        joined(&[2, 0, 0, 5, 8, 0, 1, 0, 8, 0, 0, 0, 5, 0, 10, 0, 0, 0, 0, 0], &payload)
    });
}

#[test]
fn tags_before_the_network_layer() {
    let tag = |kind: [u8; 2], next: &[u8]| [&kind[..], &[0, 42], next].concat();
    check(ETHERNET, |packet| ethernet(0x8100, &joined(&[0, 42, 8, 0], packet)));
    check(ETHERNET, |packet| ethernet(0x88a8, &joined(&[0, 1, 0x81, 0, 0, 2, 8, 0], packet)));
    let three = [[0, 1, 0x91, 0], [0, 2, 0x81, 0], [0, 3, 8, 0]].concat();
    check(ETHERNET, |packet| ethernet(0x88a8, &joined(&three, packet)));
    check(113, |packet| {
        let head = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        joined(&head, &tag([0x81, 0], &joined(&[8, 0], packet)))
    });
    check(ETHERNET, |packet| ethernet(0x8847, &joined(&[0, 1, 0x20, 64, 0, 1, 0x31, 64], packet)));
}

/// Everything but the IPv4 header of a packet between two gateways.
fn outer(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = datagram("192.0.2.1:1", "192.0.2.2:2", payload);
    packet.drain(20..28);
    packet[9] = protocol;
    packet[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    packet
}

#[test]
fn tunnels_show_what_is_inside_and_nothing_else() {
    check(RAW, |packet| outer(4, packet));
    // GRE: plain, with checksum, key and sequence number, each alone and together; an Ethernet frame in it.
    for flags in [0u8, 0x80, 0x20, 0x10, 0xa0, 0xb0] {
        let fields = vec![0; 4 * flags.count_ones() as usize];
        check(RAW, |packet| outer(47, &[&[flags, 0, 8, 0], &fields[..], packet].concat()));
    }
    check(RAW, |packet| outer(47, &joined(&[0, 0, 0x65, 0x58], &ethernet(0x0800, packet))));
    // PPTP: key and acknowledgement number, PPP inside.
    check(RAW, |packet| {
        outer(47, &joined(&[0x20, 0x81, 0x88, 0x0b, 0, 50, 0, 7, 0, 0, 0, 1, 0xff, 3, 0, 0x21], packet))
    });
    // ERSPAN I, II and III.
    check(RAW, |packet| outer(47, &joined(&[0, 0, 0x88, 0xbe], &ethernet(0x0800, packet))));
    let second = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 0, 0, 0, 0, 0];
    check(RAW, |packet| outer(47, &joined(&second, &ethernet(0x0800, packet))));
    let third = [0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    check(RAW, |packet| outer(47, &joined(&third, &ethernet(0x0800, packet))));
    // Over UDP.
    let udp = |port: u16, head: &[u8], inner: &[u8]| {
        datagram("192.0.2.1:54321", &format!("192.0.2.2:{port}"), &joined(head, inner))
    };
    for port in [4789, 8472] {
        check(RAW, |packet| udp(port, &[8, 0, 0, 0, 0, 0, 42, 0], &ethernet(0x0800, packet)));
    }
    check(RAW, |packet| udp(4790, &[0x0c, 0, 0, 1, 0, 0, 42, 0], packet));
    let options = [0x02, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 1, 9, 9, 9, 9];
    check(RAW, |packet| udp(6081, &options, &ethernet(0x0800, packet)));
    check(RAW, |packet| {
        udp(2152, &[&[0x30, 255][..], &(packet.len() as u16).to_be_bytes(), &[0, 0, 0, 7]].concat(), packet)
    });
    // With a sequence number and an extension header.
    check(RAW, |packet| {
        let length = (packet.len() as u16 + 8).to_be_bytes();
        let head = [&[0x36, 255][..], &length, &[0, 0, 0, 7, 0, 1, 0, 0x85, 1, 1, 2, 0]].concat();
        udp(2152, &head, packet)
    });
    // A tunnel in a tunnel in a tagged frame.
    check(ETHERNET, |packet| {
        let inner = outer(47, &joined(&[0, 0, 8, 0], packet));
        let frame = ethernet(0x8100, &joined(&[0, 9, 8, 0], &inner));
        ethernet(0x0800, &udp(4789, &[8, 0, 0, 0, 0, 0, 42, 0], &frame))
    });
}

#[test]
fn ports_of_tunnels_alone_make_no_tunnel() {
    let packet = conversation().packets[0].bytes.clone();
    let heads: [(u16, [u8; 8]); 4] = [
        (4789, [0, 0, 0, 0, 0, 0, 42, 0]),
        (6081, [0x80, 0, 0x08, 0, 0, 0, 42, 0]),
        (2152, [0x30, 1, 0, 40, 0, 0, 0, 7]),
        (9999, [8, 0, 0, 0, 0, 0, 42, 0]),
    ];
    for (port, head) in heads {
        let mut tape = Tape::new(RAW);
        tape.packet(datagram(
            "192.0.2.1:5",
            &format!("192.0.2.2:{port}"),
            &joined(&head, &ethernet(0x0800, &packet)),
        ));
        let seen = tape.read();
        assert_eq!(seen.conns, [], "{port}");
    }
}

/// IPv6 packets around the segments of the conversation, with these headers between.
fn version6(extensions: &[u8], first: u8) -> Tape {
    let ends = ["[2001:db8::1]:50000", "[2001:db8::2]:80"];
    let segment = super::packets::segment;
    let mut tape = Tape::new(229);
    let (client, server) = (ends[0], ends[1]);
    for packet in [
        segment(client, server, "S", 100, 0, b""),
        segment(server, client, "SA", 100, 101, b""),
        segment(client, server, "A", 101, 101, b"ask"),
        segment(server, client, "A", 101, 104, b"answer"),
    ] {
        let mut whole = [&packet[..40], extensions, &packet[40..]].concat();
        whole[6] = first;
        let length = (whole.len() - 40) as u16;
        whole[4..6].copy_from_slice(&length.to_be_bytes());
        tape.packet(whole);
    }
    tape
}

#[test]
fn extension_headers_of_ipv6() {
    // Hop-by-hop, routing, destination options, authentication.
    version6(&[6, 0, 1, 4, 0, 0, 0, 0], 0).read().only().sent("ask", "answer");
    let all =
        [&[43, 0, 5, 2, 0, 0, 1, 0][..], &[60, 0, 4, 0, 0, 0, 0, 0], &[51, 0, 1, 4, 0, 0, 0, 0]].concat();
    let all = [&all[..], &[6, 4, 0, 0], &[0; 20]].concat();
    version6(&all, 0).read().only().sent("ask", "answer");
    // A fragment header on a packet that is whole.
    version6(&[6, 0, 0, 0, 0, 0, 0, 7], 44).read().only().sent("ask", "answer");
    // Encrypted, or nothing behind.
    assert_eq!(version6(&[0; 8], 50).read().conns, []);
    assert_eq!(version6(&[0; 8], 59).read().conns, []);
}

#[test]
fn a_length_of_zero_means_that_the_frame_tells() {
    // IPv4 and IPv6 packets of more than 64 KiB, as Linux hands them to a capture (BIG TCP).
    let long: String = (0..100_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    for (client, server, at) in
        [("10.0.0.1:50000", "10.0.0.2:80", 2), ("[2001:db8::1]:50000", "[2001:db8::2]:80", 4)]
    {
        let segment = super::packets::segment;
        let mut tape = Tape::new(RAW);
        tape.packet(segment(client, server, "S", 100, 0, b""))
            .packet(segment(server, client, "SA", 7, 101, b""));
        let mut large = segment(client, server, "A", 101, 8, b"");
        large[at..at + 2].fill(0);
        large.extend(long.as_bytes());
        tape.packet(large);
        tape.read().only().sent(&long, "");
    }
}

#[test]
fn fragments_are_put_together_in_any_order_and_in_tunnels() {
    let text: String = (0..3000).map(|at| char::from(b'a' + (at % 19) as u8)).collect();
    let large = super::packets::segment("10.0.0.1:50000", "10.0.0.2:80", "A", 101, 101, text.as_bytes());
    let pieces = fragments(&large, 800, 7);
    assert_eq!(pieces.len(), 4);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let mut tape = Tape::connected();
        for piece in order {
            tape.packet(pieces[piece].clone());
        }
        tape.answer("A", 101, 3101, b"");
        tape.read().only().sent(&text, "");
    }
    // The outer packet is fragmented, and the inner one as well.
    let mut tape = Tape::connected();
    for (number, piece) in pieces.iter().enumerate() {
        for part in fragments(&outer(47, &joined(&[0, 0, 8, 0], piece)), 400, 100 + number as u16) {
            tape.packet(part);
        }
    }
    tape.read().only().sent(&text, "");
}

#[test]
fn fragments_of_ipv6_are_put_together() {
    let text: String = (0..3000).map(|at| char::from(b'a' + (at % 17) as u8)).collect();
    let (client, server) = ("[2001:db8::1]:50000", "[2001:db8::2]:80");
    let segment = super::packets::segment;
    let mut tape = Tape::new(RAW);
    tape.packet(segment(client, server, "S", 100, 0, b"")).packet(segment(server, client, "SA", 7, 101, b""));
    let large = segment(client, server, "A", 101, 8, text.as_bytes());
    // Destination options are part of what is fragmented.
    let payload = [&[6, 0, 1, 4, 0, 0, 0, 0], &large[40..]].concat();
    for (number, piece) in payload.chunks(1200).enumerate().collect::<Vec<_>>().into_iter().rev() {
        let more = u16::from((number + 1) * 1200 < payload.len());
        let place = ((number * 1200) as u16 | more).to_be_bytes();
        let mut whole = [&large[..40], &[60, 0], &place, &[0, 0, 0, 9], piece].concat();
        whole[4..6].copy_from_slice(&(piece.len() as u16 + 8).to_be_bytes());
        whole[6] = 44;
        tape.packet(whole);
    }
    tape.read().only().sent(&text, "");
}

#[test]
fn a_missing_fragment_is_a_gap_and_is_counted() {
    let text = vec![b'x'; 3000];
    let large = super::packets::segment("10.0.0.1:50000", "10.0.0.2:80", "A", 101, 101, &text);
    let mut tape = Tape::connected();
    for (number, piece) in fragments(&large, 800, 7).into_iter().enumerate() {
        if number != 2 {
            tape.packet(piece);
        }
    }
    tape.answer("A", 101, 3101, b"got it").send("A", 3101, 107, b"!");
    let seen = read(&tape.pcap());
    let warning = &seen.summary.warnings[0];
    assert!(
        warning.contains(": 1 IP packets lack fragments; TCP data in them counts as not captured"),
        "{warning}"
    );
    assert_eq!(seen.summary.warnings.len(), 1);
    let conn = seen.one();
    let expected = (false, sockdbg::event::Range::new(0, 3000), sockdbg::event::Cause::WireNotCaptured);
    assert_eq!((conn.missing, conn.moved), (vec![expected], [1, 6]));
}

#[test]
fn headers_nested_without_end_are_given_up() {
    let mut tape = Tape::new(RAW);
    let mut packet = conversation().packets[3].bytes.clone();
    for _ in 0..60 {
        packet = outer(4, &packet);
    }
    tape.packet(packet);
    assert_eq!(tape.read().conns, []);
}
