//! Redis in captures that nobody of this project wrote, through the capture source and the tracker: the
//! counts of commands and replies are those of the reference parser beside the captures
//! (captures/README.md), and every difference is explained, file by file.

use sockdbg::conn::{Entry, Info, Observer, Options, Tracker};
use sockdbg::event::{Cause, Direction, Timestamp, Vantage};
use sockdbg::record::{Field, Message, Record, Value};
use sockdbg::source::Source;
use sockdbg::source::pcap::{self, Capture};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Commands as arrays, inline commands, replies: each whole.
type Counts = [usize; 3];

/// Files in which the reference parser counts otherwise, with our figures and the reason.
const DIFFERENCES: [(&str, Counts, &str); 2] = [
    (
        "redis/tcpdump--resp_3_malicious.pcap",
        [3, 17, 21],
        "the reference reads what the client sends as RESP values of every type; a server knows only arrays, \
         takes all other lines for inline commands and passes over empty arrays: 20 commands, and 20 replies \
         besides the one to a line that is no command",
    ),
    (
        "redis/zeek--redis--pipeline-quotes.pcap",
        [0, 6, 7],
        "the server refuses the seventh line for its quotes and reads no further, as its last reply shows; \
         the reference counts lines",
    ),
];

fn captures() -> PathBuf {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/captures"));
    assert!(
        path.is_dir(),
        "{} is missing: the tests need the captures beside the repository",
        path.display()
    );
    path
}

/// Collects records, and proves that delivered bytes are framed or skipped exactly once.
#[derive(Default)]
struct Collector {
    records: Vec<Record>,
    delivered: BTreeMap<(u64, Direction), u64>,
    settled: BTreeMap<(u64, Direction), u64>,
}

impl Observer for Collector {
    fn record(&mut self, _: &Info, _: Timestamp, record: Record) {
        self.records.push(record);
    }

    fn account(&mut self, info: &Info, direction: Direction, entry: Entry<'_>) {
        let key = (info.id.socket, direction);
        match entry {
            Entry::Delivered(range) => *self.delivered.entry(key).or_default() += range.len(),
            Entry::Framed(range) | Entry::Skipped(range, ..) => {
                *self.settled.entry(key).or_default() += range.len();
            }
            Entry::Lost(..) => {}
        }
    }
}

fn run(path: &Path) -> Collector {
    try_run(path).unwrap_or_else(|| panic!("{} is no capture", path.display()))
}

fn try_run(path: &Path) -> Option<Collector> {
    let mut tracker = Tracker::new(Vantage::Wire, Options::default(), Collector::default());
    let mut capture = Capture::open(path, pcap::Options::default()).ok()?;
    let summary = capture.run(&mut |event| {
        tracker.event(event);
        ControlFlow::Continue(())
    });
    summary.ok()?;
    Some(tracker.finish())
}

fn field<'a>(message: &'a Message, name: &str) -> Option<&'a Value> {
    message.fields.iter().find(|field: &&Field| field.name == name).map(|field| &field.value)
}

fn is_whole(message: &&Message) -> bool {
    !message.causes.contains(&Cause::Incomplete)
}

fn count(records: &[Record]) -> Counts {
    let requests = records.iter().filter_map(|record| record.request.as_ref()).filter(is_whole);
    let (inline, arrays): (Vec<&Message>, Vec<&Message>) =
        requests.partition(|message| field(message, "inline").is_some());
    let replies = records.iter().filter_map(|record| record.response.as_ref()).filter(is_whole);
    [arrays.len(), inline.len(), replies.count()]
}

/// Array commands by name, as `GET:7,EXISTS:3`.
fn commands(records: &[Record]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for request in records.iter().filter_map(|record| record.request.as_ref()) {
        if let (Some(Value::Bytes(name)), None) = (field(request, "command"), field(request, "inline")) {
            *names.entry(String::from_utf8_lossy(name).to_ascii_uppercase()).or_default() += 1;
        }
    }
    names
}

/// The figures of one kind, by file.
fn expected(kind: &str) -> BTreeMap<String, String> {
    let table = std::fs::read_to_string(captures().join("expected.tsv")).expect("expected.tsv");
    let mut figures = BTreeMap::new();
    for line in table.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        if let [file, "redis", of, value, ..] = columns[..]
            && of == kind
        {
            figures.insert(file.to_owned(), value.to_owned());
        }
    }
    figures
}

#[test]
fn commands_and_replies_are_those_of_the_reference() {
    let figures = expected("ref.redis.client_values/inline/server_values");
    assert_eq!(figures.len(), 20, "captures are missing");
    let mut wrong = Vec::new();
    for (file, figure) in figures {
        let ours = count(&run(&captures().join(&file)).records);
        let theirs: Vec<usize> = figure.split('/').map(|number| number.parse().expect("a number")).collect();
        match DIFFERENCES.iter().find(|difference| difference.0 == file) {
            Some((_, figures, _)) => {
                assert_ne!(theirs, figures, "{file}: there is no difference any more");
                if ours != *figures {
                    wrong.push((file, ours, figures.to_vec()));
                }
            }
            None if ours[..] != theirs[..] => wrong.push((file, ours, theirs)),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "file, ours, expected: {wrong:#?}");
}

#[test]
fn commands_have_the_names_that_the_reference_found() {
    for (file, figure) in expected("ref.redis.commands") {
        let names: BTreeMap<String, usize> = figure
            .split(',')
            .map(|item| item.rsplit_once(':').expect("name:count"))
            .map(|(name, count)| (name.to_owned(), count.parse().expect("a number")))
            .collect();
        assert_eq!(commands(&run(&captures().join(&file)).records), names, "{file}");
    }
}

#[test]
fn no_other_protocol_is_taken_for_redis() {
    let table = std::fs::read_to_string(captures().join("expected.tsv")).expect("expected.tsv");
    let files: BTreeSet<&str> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
        .filter(|file| !file.starts_with("redis/") && !file.starts_with("format/"))
        .collect();
    let mut read = 0;
    for file in files {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(collector) = try_run(&captures().join(file)) else { continue };
        read += 1;
        assert!(!collector.records.iter().any(|record| record.protocol == "redis"), "{file}");
    }
    assert!(read > 500, "captures are missing: {read} were read");
}

#[test]
fn every_delivered_byte_is_framed_or_skipped() {
    for file in expected("capinfos.packets").into_keys() {
        let collector = run(&captures().join(&file));
        assert!(!collector.delivered.is_empty(), "{file}");
        for (key, delivered) in &collector.delivered {
            assert_eq!(collector.settled.get(key), Some(delivered), "{file}: {key:?}");
        }
    }
}
