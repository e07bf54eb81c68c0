//! Redis in captures that nobody of this project wrote, through the capture source and the tracker: the
//! counts of commands and replies are those of the reference parser beside the captures
//! (captures/README.md), and every difference is explained, file by file.

mod common;

use common::captures::{assert_robust, expected, field, files, folder, histogram, run, try_run};
use sockdbg::event::Cause;
use sockdbg::record::{Message, Record, Value};
use std::collections::BTreeMap;

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

fn is_whole(message: &&Message) -> bool {
    !message.causes.contains(&Cause::Incomplete)
}

fn count(records: &[&Record]) -> Counts {
    // Blank lines and empty arrays are records without a command.
    let is_command = |message: &&Message| is_whole(message) && field(message, "command").is_some();
    let requests = records.iter().filter_map(|record| record.request.as_ref()).filter(is_command);
    let (inline, arrays): (Vec<&Message>, Vec<&Message>) =
        requests.partition(|message| field(message, "inline").is_some());
    let replies = records.iter().filter_map(|record| record.response.as_ref()).filter(is_whole);
    [arrays.len(), inline.len(), replies.count()]
}

/// Array commands by name, as `GET:7,EXISTS:3`.
fn commands(records: &[&Record]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for request in records.iter().filter_map(|record| record.request.as_ref()) {
        if let (Some(Value::Bytes(name)), None) = (field(request, "command"), field(request, "inline")) {
            *names.entry(String::from_utf8_lossy(name).to_ascii_uppercase()).or_default() += 1;
        }
    }
    names
}

#[test]
fn commands_and_replies_are_those_of_the_reference() {
    let figures = expected("ref.redis.client_values/inline/server_values");
    assert_eq!(figures.len(), 20, "captures are missing");
    let mut wrong = Vec::new();
    for (file, figure) in figures {
        let ours = count(&run(&file).of("redis"));
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
        assert_eq!(commands(&run(&file).of("redis")), histogram(&figure), "{file}");
    }
}

#[test]
fn no_other_protocol_is_taken_for_redis() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("redis/") && !file.starts_with("format/"));
    let mut read = 0;
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        assert!(seen.of("redis").is_empty(), "{file}");
    }
    assert!(read > 500, "captures are missing: {read} were read");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("redis").iter().for_each(|file| assert_robust(file));
}
