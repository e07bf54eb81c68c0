//! MySQL in captures that nobody of this project wrote, through the capture source and the tracker: commands, statements,
//! logins and errors are those of tshark, records those of Zeek, DeepFlow and packetbeat, and every difference is
//! explained, file by file.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, histogram, run, text, try_run};
use sockdbg::event::Cause;
use sockdbg::record::{Message, Record, Value};
use std::collections::BTreeMap;

#[test]
#[ignore]
fn dump() {
    for file in files("mysql") {
        let seen = try_run(&folder().join(&file)).unwrap();
        println!("== {file} {:?}", seen.protocols.values());
        for cause in Cause::ALL {
            if seen.skipped(*cause) > 0 { println!("   SKIP {} {}", cause.slug(), seen.skipped(*cause)); }
        }
        for (c, r) in seen.records.iter().take(16) {
            println!("   {c:?} [{}] {} {:?}", r.status.name(), r.summary.chars().take(150).collect::<String>(), r.causes());
        }
        println!("   {} records", seen.records.len());
    }
}
