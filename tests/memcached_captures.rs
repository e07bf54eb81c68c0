//! There are no captures of memcached: no capture of another protocol is taken for it.

mod common;

use common::captures::{expected, folder, try_run};

#[test]
fn no_other_protocol_is_taken_for_memcached() {
    let all = expected("capinfos.packets").into_keys();
    let mut read = 0;
    for file in all.filter(|file| !file.starts_with("format/")) {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        assert!(seen.of("memcached").is_empty(), "{file}");
    }
    assert!(read > 500, "captures are missing: {read} were read");
}
