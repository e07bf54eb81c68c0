//! MQTT is not taken for what it is not: no capture of another protocol gets a record of it.

mod common;

use common::captures::{expected, folder, try_run};

#[test]
fn no_other_protocol_is_taken_for_mqtt() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("mqtt/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if let Some(record) = seen.of("mqtt").first() {
            wrong.push((file, record.summary.clone()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
