//! Records of the probes, made by hand, and random ones.

use super::super::raw::{RawStart, RawTotal};
use super::*;
use proptest::prelude::*;
use zerocopy::IntoBytes;

const PORTS: (u16, u16) = (1000, 2000);

fn head(kind: u8, direction: u8, tid: u32) -> Head {
    Head {
        time: 5,
        inode: 77,
        opened: 3,
        pid: 10,
        tid,
        fd: 4,
        comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
        kind,
        call: Call::Write as u8,
        direction,
        flags: FLAG_SEQ,
        padding: 0,
    }
}

fn open(flags: u8) -> Vec<u8> {
    open_as(Transport::Tcp as u32, flags)
}

fn open_as(transport: u32, flags: u8) -> Vec<u8> {
    let start = [RawStart { offset: 1, seq: 2, known: 1 }, RawStart { offset: 3, seq: 4, known: 0 }];
    let mut local = [0; 16];
    local[..4].copy_from_slice(&[192, 0, 2, 1]);
    let mut remote = [0; 16];
    remote[..4].copy_from_slice(&[192, 0, 2, 2]);
    let (local_port, remote_port) = PORTS;
    let head = Head { flags, ..head(KIND_OPEN, 0, 1) };
    let family = 2; // AF_INET
    let raw =
        RawOpen { head, start, local, remote, local_port, remote_port, family, role: 2, error: 0, transport };
    raw.as_bytes().to_vec()
}

/// A chunk of a call by thread `tid` that sent `length` bytes at `offset`; it carries `payload` from `at` on.
fn chunk(tid: u32, offset: u64, length: u64, at: u64, payload: &[u8]) -> Vec<u8> {
    let raw = RawData {
        head: head(KIND_DATA, 0, tid),
        offset,
        length,
        wanted: length,
        at,
        captured: payload.len() as u32,
        seq: offset as u32,
        error: 0,
        cause: 0,
    };
    // The ring hands out the whole class the probe reserved.
    [raw.as_bytes(), payload, &[0xee; 100]].concat()
}

fn loss(tid: u32, from: u64, to: u64) -> Vec<u8> {
    let cause = Cause::RingFull as u32;
    RawLoss { head: head(KIND_LOSS, 0, tid), from, to, cause, padding: 0 }.as_bytes().to_vec()
}

fn close(reason: u32) -> Vec<u8> {
    let total = [
        RawTotal { moved: 9, end: 10, pending: 1, known: 1 },
        RawTotal { moved: 0, end: 0, pending: 0, known: 0 },
    ];
    RawClose { head: head(KIND_CLOSE, 0, 1), total, reason, padding: 0 }.as_bytes().to_vec()
}

/// The events of `records`, one line each.
fn lines(records: &[Vec<u8>]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut decoder = Decoder::new(100);
    let mut emit = |event: Event<'_>| {
        assert_eq!((event.time, event.fd), (Timestamp(105), Some(4)));
        lines.push(line(&event));
        ControlFlow::Continue(())
    };
    for record in records {
        assert_eq!(decoder.record(record, &mut emit), Ok(ControlFlow::Continue(())));
    }
    assert!(decoder.finish(&mut emit).is_continue());
    lines
}

fn line(event: &Event<'_>) -> String {
    match &event.kind {
        Kind::Open(open) => format!("open {:?} {:?}", open.opened, open.role),
        Kind::Data(data) => {
            let cause = data.cause.map_or("whole", Cause::slug);
            format!("data {} {} {cause}", data.range(), String::from_utf8_lossy(data.payload))
        }
        Kind::Loss(loss) => format!("loss {} {}", loss.range, loss.cause.slug()),
        Kind::Close(close) => format!("close {}", close.reason.name()),
    }
}

#[test]
fn payload_that_never_was_in_reach_has_its_own_cause() {
    let mut record = RawData::read_from_prefix(&chunk(1, 0, 9, 0, b"")).unwrap().0;
    (record.wanted, record.cause) = (0, Cause::IoUring as u32);
    assert_eq!(lines(&[record.as_bytes().to_vec()]), ["data [0, 9)  io-uring"]);
    record.cause = 255;
    let mut decoder = Decoder::default();
    assert_eq!(decoder.record(record.as_bytes(), &mut |_| ControlFlow::Continue(())), Err(Malformed));
}

/// As many buffers as the kernel takes are walked to their end, so no call brings this about on a ring of usual size.
#[test]
fn buffers_that_were_not_visited_have_their_own_cause() {
    let limit = |at: u64| {
        let mut record = RawData::read_from_prefix(&chunk(1, 0, 9, at, b"")).unwrap().0;
        record.head.flags |= FLAG_LIMIT;
        record.as_bytes().to_vec()
    };
    assert_eq!(lines(&[chunk(1, 0, 9, 0, b"abc"), limit(3)]), ["data [0, 9) abc iovec-limit"]);
    assert_eq!(
        lines(&[limit(0), chunk(1, 9, 2, 0, b"jk")]),
        ["data [0, 9)  iovec-limit", "data [9, 11) jk whole"]
    );
}

#[test]
fn records_become_events_in_order() {
    let records = [open(FLAG_FOUND), chunk(1, 0, 3, 0, b"abc"), loss(1, 3, 9), close(2)];
    let expected = ["open Found Server", "data [0, 3) abc whole", "loss [3, 9) ring-full", "close closed"];
    assert_eq!(lines(&records), expected);
}

#[test]
fn open_and_close_carry_what_the_kernel_knows() {
    let mut decoder = Decoder::new(0);
    let check = &mut |event: Event<'_>| {
        assert_eq!(event.conn, ConnId { socket: 77, opened: 3 });
        match event.kind {
            Kind::Open(open) => {
                assert_eq!(open.local, Some("192.0.2.1:1000".parse().unwrap()));
                assert_eq!(open.remote, Some("192.0.2.2:2000".parse().unwrap()));
                assert_eq!(open.start[0], Start { offset: 1, seq: Some(2) });
                assert_eq!(open.start[1], Start { offset: 3, seq: None });
                assert!(open.filtered && open.exact);
            }
            Kind::Close(close) => {
                assert_eq!(
                    close.totals[0],
                    Total { moved: 9, end: Some(10), pending: 1, ..Total::default() }
                );
                assert_eq!(close.totals[1], Total::default());
            }
            other => panic!("{other:?}"),
        }
        ControlFlow::Break(())
    };
    assert_eq!(decoder.record(&open(FLAG_NOT_SENT), check), Ok(ControlFlow::Break(())));
    assert_eq!(decoder.record(&close(4), check), Ok(ControlFlow::Break(())));
}

#[test]
fn chunks_of_one_call_are_joined_across_other_threads() {
    let records = [
        chunk(1, 0, 6, 0, b"ab"),
        chunk(2, 6, 4, 0, b"gh"),
        chunk(1, 0, 6, 2, b"cd"),
        chunk(1, 0, 6, 4, b"ef"),
        chunk(2, 6, 4, 2, b"ij"),
    ];
    assert_eq!(lines(&records), ["data [0, 6) abcdef whole", "data [6, 10) ghij whole"]);
}

#[test]
fn refused_chunks_complete_their_call() {
    // The loss says what the call lacks, and more: the call after it was refused, too.
    let records = [chunk(1, 10, 6, 0, b"ab"), loss(1, 12, 20), chunk(1, 20, 1, 0, b"z")];
    let expected = ["data [10, 16) ab ring-full", "loss [16, 20) ring-full", "data [20, 21) z whole"];
    assert_eq!(lines(&records), expected);
    // Nothing more came at all.
    assert_eq!(lines(&records[..1]), ["data [10, 16) ab ring-full"]);
    // The thread went on to do something else before the loss was said: that must not say it twice.
    let records = [chunk(1, 10, 6, 0, b"ab"), chunk(1, 16, 1, 0, b"z"), loss(1, 12, 16)];
    assert_eq!(lines(&records), ["data [10, 16) ab ring-full", "data [16, 17) z whole"]);
}

#[test]
fn what_others_tell_in_the_name_of_a_thread_does_not_end_its_call() {
    // The announcement and the end of another connection, which the ring had refused.
    let other = |mut record: Vec<u8>| {
        record[std::mem::offset_of!(Head, inode)] = 78;
        record
    };
    let records = [chunk(1, 0, 4, 0, b"ab"), other(open(0)), other(close(2)), chunk(1, 0, 4, 2, b"cd")];
    assert_eq!(lines(&records), ["open Fresh Server", "close closed", "data [0, 4) abcd whole"]);
    // Its own connection does not end while more is to come.
    let records = [open(0), chunk(1, 0, 4, 0, b"ab"), close(2)];
    assert_eq!(lines(&records), ["open Fresh Server", "data [0, 4) ab ring-full", "close closed"]);
}

#[test]
fn second_announcement_is_dropped() {
    let records = [open(0), open(0), close(2), open(0)];
    assert_eq!(lines(&records), ["open Fresh Server", "close closed", "open Fresh Server"]);
}

/// A datagram of thread `tid`, behind its peer 192.0.2.`host`:53 if there is one.
fn datagram(tid: u32, host: Option<u8>, payload: &[u8]) -> Vec<Vec<u8>> {
    let mut data = chunk(tid, 0, payload.len() as u64, 0, payload);
    data[std::mem::offset_of!(Head, flags)] = 0;
    let mut records = Vec::new();
    if let Some(host) = host {
        let mut address = [0; 112];
        address[..8].copy_from_slice(&[2, 0, 0, 53, 192, 0, 2, host]);
        let head = head(KIND_PEER, 0, tid);
        records.push(RawPeer { head, address, length: 16, padding: 0 }.as_bytes().to_vec());
        data[std::mem::offset_of!(Head, flags)] |= FLAG_WITH_PEER;
    }
    records.push(data);
    records
}

#[test]
fn datagrams_are_numbered_in_the_order_of_the_ring_and_keep_their_peers() {
    let mut records = vec![open_as(Transport::Udp as u32, 0)];
    // Two threads were given offset 0 both.
    records.extend(datagram(1, Some(7), b"abc"));
    records.extend(datagram(2, Some(8), b"de"));
    records.push(loss(1, 5, 9));
    records.extend(datagram(1, None, b""));
    // The ring took this peer, but not its datagram.
    records.push(datagram(1, Some(9), b"")[0].clone());
    records.extend(datagram(1, None, b"f"));
    let mut seen = Vec::new();
    let mut decoder = Decoder::new(0);
    for record in &records {
        let mut emit = |event: Event<'_>| {
            match &event.kind {
                Kind::Data(data) => {
                    let peer = data.peer.map_or("none".into(), |peer| peer.to_string());
                    seen.push(format!("{} {peer}", data.range()));
                }
                Kind::Loss(loss) => seen.push(format!("{} lost", loss.range)),
                _ => {}
            }
            ControlFlow::Continue(())
        };
        assert_eq!(decoder.record(record, &mut emit), Ok(ControlFlow::Continue(())));
    }
    let expected =
        ["[0, 3) 192.0.2.7:53", "[3, 5) 192.0.2.8:53", "[5, 9) lost", "[9, 9) none", "[9, 10) none"];
    assert_eq!(seen, expected);
}

#[test]
fn truncated_records_are_refused() {
    for record in [open(0), loss(1, 3, 9), close(2)] {
        for length in 0..record.len() {
            let mut decoder = Decoder::new(0);
            let decoded = decoder.record(&record[..length], &mut |event| panic!("{event:?}"));
            assert_eq!(decoded, Err(Malformed), "{length} of {}", record.len());
        }
    }
    let record = chunk(1, 0, 3, 0, b"abc");
    for length in 0..record.len() - 100 {
        let decoded = Decoder::new(0).record(&record[..length], &mut |event| panic!("{event:?}"));
        assert_eq!(decoded, Err(Malformed));
    }
}

proptest! {
    /// Whatever the ring holds, the decoder ends without a panic and hands on sane ranges.
    #[test]
    fn any_bytes_are_survived(
        records in prop::collection::vec((0usize..9, prop::collection::vec((0usize..200, any::<u8>()), 0..6)), 1..20),
        garbage in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let models = [
            open(0),
            chunk(1, 0, 6, 0, b"ab"),
            chunk(1, 0, 6, 2, b"cdef"),
            chunk(1, u64::MAX - 3, 3, 0, b"x"),
            loss(1, 2, 6),
            close(2),
            open_as(Transport::Udp as u32, 0),
            datagram(1, Some(1), b"abc")[0].clone(),
            datagram(1, Some(1), b"abc")[1].clone(),
        ];
        let mut decoder = Decoder::new(u64::MAX);
        let mut emit = |event: Event<'_>| {
            if let Kind::Data(data) = &event.kind {
                assert!(data.payload.len() as u64 <= data.length);
                assert_eq!(data.range().len(), data.length);
                assert_eq!(data.cause.is_none(), data.payload.len() as u64 == data.length);
            }
            ControlFlow::Continue(())
        };
        for (model, changes) in records {
            let mut record = models[model].clone();
            for (at, value) in changes {
                if let Some(byte) = record.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = decoder.record(&record, &mut emit);
        }
        let _ = decoder.record(&garbage, &mut emit);
        let _ = decoder.finish(&mut emit);
    }
}
