//! What a replica asks for and gets: named, event by event.

use super::*;

/// An event: header, and contents of so many bytes.
fn event(kind: u8, contents: usize) -> Vec<u8> {
    let size = (19 + contents) as u32;
    let head = [&[0x00, 0x5e, 0x0b, 0x65, kind, 1, 0, 0, 0][..], &size.to_le_bytes(), &[200, 0, 0, 0, 0, 0]];
    [&head.concat()[..], &vec![7; contents]].concat()
}

#[test]
fn events_of_a_binary_log_are_named() {
    let plain = |kind, contents| [&[0][..], &event(kind, contents)].concat();
    let semi = [&[0, 0xef, 1][..], &event(16, 8)].concat();
    let steps = [
        send(command(0x15, b"\x02\0\0\0\x04host\x04user\x02pw\xea\x0c\0\0\0\0\0\0\0\0")),
        recv(packet(1, ok(0, 0, AUTOCOMMIT))),
        send(command(0x12, b"\x04\0\0\0\0\0\x02\0\0\0binlog.000001")),
        recv(packets(1, &[&plain(4, 24), &plain(15, 90), &semi])),
        send(command(0xef, b"\xc8\0\0\0\0\0\0\0binlog.000001")),
        recv(packet(4, error(1236, "HY000", "could not find next log"))),
    ];
    let outcome = check(
        &steps,
        &[
            "COM_REGISTER_SLAVE server 2 -> OK",
            "COM_BINLOG_DUMP binlog.000001 at 4 for server 2 -> ROTATE_EVENT 43 bytes to position 200",
            "FORMAT_DESCRIPTION_EVENT 109 bytes to position 200",
            "XID_EVENT 27 bytes to position 200",
            "SEMI_SYNC_ACK binlog.000001 at 200",
            "ERROR 1236 (HY000) could not find next log",
        ],
    );
    assert_eq!(text(&outcome.records[0], "slaves_password"), "***");
    assert_eq!(text(&outcome.records[1], "binlog_filename"), "binlog.000001");
}

#[test]
fn a_dump_by_gtid_and_of_a_table_are_named() {
    let gtid = [b"\0\0\x02\0\0\0\x01\0\0\0f\x04\0\0\0\0\0\0\0".as_slice(), &[0; 8]].concat();
    let steps = [
        send(command(0x1e, gtid)),
        recv(packet(1, eof(AUTOCOMMIT))),
        send(command(0x13, b"\x02db\x01t")),
        recv(packet(1, error(1047, "08S01", "Unknown command"))),
    ];
    check(
        &steps,
        &[
            "COM_BINLOG_DUMP_GTID f at 4 for server 2 -> OK",
            "COM_TABLE_DUMP db.t -> ERROR 1047 (08S01) Unknown command",
        ],
    );
}
