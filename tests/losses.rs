//! Records where segments are missing: what is not affected stays as it is, what lacks bytes or a half says so. With
//! SOCKDBG_LONG=1 every segment of every capture is lost once, otherwise a few of each.

mod common;

use common::captures::files;
use common::losses::{Losses, Wrong, lose_each};
use std::collections::BTreeSet;

const FOLDERS: [&str; 13] = [
    "amqp", "cql", "dns", "http", "http2", "kafka", "mongodb", "mux", "mysql", "nats", "postgres", "redis",
    "tls",
];

/// Segments lost of each capture, unless all are.
const SAMPLE: usize = 6;

/// Captures longer than this are left to other tests: each loss takes a run over all of it.
const LENGTH_MAX: u64 = 2 << 20;

/// Captures of which some loss leads to what is known to be wrong, and why.
const KNOWN: &[(&str, Wrong, &str)] = &[];

#[test]
fn a_lost_segment_affects_its_own_records_only() {
    let long = std::env::var_os("SOCKDBG_LONG").is_some_and(|value| value == "1");
    let only = std::env::var("SOCKDBG_ONLY").ok();
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        let mut total = Losses::default();
        let short = |file: &String| {
            common::captures::folder()
                .join(file)
                .metadata()
                .is_ok_and(|metadata| metadata.len() <= LENGTH_MAX)
        };
        let wanted = |file: &String| only.as_ref().is_none_or(|only| file.contains(only));
        for file in files(folder).iter().filter(|file| short(file) && wanted(file)) {
            let losses = lose_each(file, if long { usize::MAX } else { SAMPLE });
            total.unaffected += losses.unaffected;
            total.kept += losses.kept;
            total.unknown += losses.unknown;
            let known: BTreeSet<Wrong> =
                KNOWN.iter().filter(|known| known.0 == file).map(|known| known.1).collect();
            let found: BTreeSet<Wrong> = losses.wrong.keys().copied().collect();
            for (kind, all) in losses.wrong.into_iter().filter(|(kind, _)| !known.contains(kind)) {
                wrong.extend(all.into_iter().map(|what| format!("{kind:?}: {what}")));
            }
            if long {
                let passes = known.difference(&found);
                wrong.extend(passes.map(|kind| format!("{file}: {kind:?} passes; take it out of KNOWN")));
            }
        }
        let Losses { unaffected, kept, unknown, .. } = total;
        println!(
            "{folder}: of {unaffected} records that a loss does not touch, {kept} stay, {unknown} say what is unknown"
        );
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
