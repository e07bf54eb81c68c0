//! Kafka in captures that nobody of this project wrote, through the capture source and the tracker: requests, responses
//! and messages are those of tshark and DeepFlow, and every difference is explained, file by file.

mod common;

use common::captures::{assert_robust, count, expected, files, folder, histogram, run, text, try_run};
use sockdbg::record::Record;
use std::collections::BTreeMap;

type Counts = BTreeMap<String, usize>;

fn of_folder(kind: &str) -> BTreeMap<String, String> {
    let figures: BTreeMap<_, _> =
        expected(kind).into_iter().filter(|(file, _)| file.starts_with("kafka/")).collect();
    assert!(!figures.is_empty(), "captures are missing");
    figures
}

/// `Fetch:1` in the figures; nothing is `0`.
fn figure(value: &str) -> Counts {
    if value == "0" { Counts::new() } else { histogram(value) }
}

fn requests(records: &[&Record]) -> Counts {
    count(records.iter().filter_map(|record| text(record.request.as_ref()?, "api")))
}

/// Responses by what they answer.
fn responses(records: &[&Record]) -> Counts {
    let answered = records.iter().filter(|record| record.response.is_some());
    count(answered.filter_map(|record| text(record.request.as_ref().or(record.response.as_ref())?, "api")))
}

fn messages(records: &[&Record]) -> usize {
    records.iter().map(|record| record.messages().count()).sum()
}

/// Files of which tshark leaves responses out, with what it leaves out and the reason.
const DIFFERENCES: [(&str, &str, &str); 5] = [
    ("kafka/deepflow--kafka--00-produce-v9.pcap", "Produce:1", "tshark 4.0 does not know the version"),
    ("kafka/deepflow--kafka--01-fetch-v12-ok.pcap", "Fetch:1", "tshark 4.0 does not know the version"),
    ("kafka/deepflow--kafka--01-fetch-v12-perf.pcap", "Fetch:1", "tshark 4.0 does not know the version"),
    ("kafka/deepflow--kafka--mixed-with-unsupported.pcap", "Fetch:1", "tshark 4.0 does not know the version"),
    (
        "kafka/ndpi--kafka.pcap",
        "unknown:3",
        "the capture lacks the requests: tshark leaves such responses out",
    ),
];

#[test]
fn requests_and_responses_are_those_of_tshark() {
    let theirs = of_folder("tshark.kafka.responses");
    assert_eq!(theirs.len(), 8, "captures are missing");
    for (file, asked) in of_folder("tshark.kafka.requests") {
        let seen = run(&file);
        let records = seen.of("kafka");
        assert_eq!(requests(&records), figure(&asked), "{file}");
        let mut answered = figure(&theirs[&file]);
        if let Some((_, more, _)) = DIFFERENCES.iter().find(|difference| difference.0 == file) {
            answered.extend(figure(more));
        }
        assert_eq!(responses(&records), answered, "{file}");
    }
}

#[test]
fn messages_are_those_of_tshark() {
    for (file, theirs) in of_folder("tshark.kafka.messages") {
        assert_eq!(messages(&run(&file).of("kafka")).to_string(), theirs, "{file}");
    }
}

#[test]
fn deepflow_counts_the_same() {
    let figures = of_folder("deepflow.result.request/response/session");
    assert_eq!(figures.len(), 6, "captures are missing");
    for (file, theirs) in figures {
        let seen = run(&file);
        let total = |counts: Counts| counts.values().sum::<usize>();
        let ours = [total(requests(&seen.of("kafka"))), total(responses(&seen.of("kafka")))];
        assert_eq!(format!("{}/{}/0", ours[0], ours[1]), theirs, "{file}");
    }
}

/// Bodies are decoded to their last byte: none has bytes left over, and none has too few.
#[test]
fn every_body_follows_its_schema() {
    for file in files("kafka") {
        for record in run(&file).of("kafka") {
            for message in record.messages() {
                let wrong = ["malformed", "undecoded", "trailing_bytes"].map(|name| text(message, name));
                assert_eq!(wrong, [None, None, None], "{file}: {}", record.summary);
            }
        }
    }
}

#[test]
fn summaries_tell_what_matters() {
    let summaries = |file: &str| -> Vec<String> {
        run(file).of("kafka").iter().map(|record| record.summary.clone()).collect()
    };
    assert_eq!(
        summaries("kafka/deepflow--kafka--mixed-with-unsupported.pcap"),
        [
            "OffsetCommit v8 group=frauddetectionservice orders -> ok",
            "Heartbeat v4 group=frauddetectionservice -> ok",
            "Fetch v13 -> ok",
        ]
    );
    assert_eq!(
        summaries("kafka/deepflow--kafka--00-produce-v9.pcap"),
        ["Produce v9 zqy-test 1 record -> ok"]
    );
    assert_eq!(
        summaries("kafka/deepflow--kafka--11-join-group-v7.pcap"),
        ["JoinGroup v7 group=zzzz12 -> UNKNOWN_SERVER_ERROR"]
    );
}

#[test]
fn no_other_protocol_is_taken_for_kafka() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("kafka/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if !seen.of("kafka").is_empty() {
            wrong.push((file, seen.of("kafka")[0].summary.clone()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("kafka").iter().for_each(|file| assert_robust(file));
}
