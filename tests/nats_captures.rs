//! NATS in captures that nobody of this project wrote, through the capture source and the tracker: operations are
//! those of the reference parser beside the captures and of DeepFlow.

mod common;

use common::captures::{assert_robust, count, expected, files, folder, histogram, run, text, try_run};
use common::watcher::program;
use sockdbg::event::Cause;
use sockdbg::record::Record;
use std::collections::BTreeMap;
use std::process::Command;

fn operations(records: &[&Record]) -> BTreeMap<String, usize> {
    let messages = records.iter().flat_map(|record| record.messages());
    count(messages.map(|message| text(message, "op").expect("an operation")))
}

/// What is no operation: the line of a client that tries.
const BAD: [(&str, u64); 1] = [("nats/deepflow--nats--nats-err.pcap", "DEADBEEF\r\n".len() as u64)];

#[test]
fn operations_are_those_of_the_reference() {
    let figures = expected("ref.nats.ops");
    assert_eq!(figures.len(), 5, "captures are missing");
    for (file, figure) in figures {
        let mut theirs = histogram(&figure.replace("BAD:DEADBEEF", "BAD"));
        let seen = run(&file);
        let bad = theirs.remove("BAD").map_or(0, |_| BAD.iter().find(|row| row.0 == file).expect("known").1);
        assert_eq!(operations(&seen.of("nats")), theirs, "{file}");
        assert_eq!(seen.skipped(Cause::ParseError), bad, "{file}");
    }
}

#[test]
fn deepflow_counts_the_same() {
    let figures = expected("deepflow.result.request/response/session");
    let figures: Vec<_> = figures.into_iter().filter(|(file, _)| file.starts_with("nats/")).collect();
    assert_eq!(figures.len(), 5, "captures are missing");
    for (file, figure) in figures {
        let operations = operations(&run(&file).of("nats"));
        let of = |names: &[&str]| names.iter().filter_map(|name| operations.get(*name)).sum::<usize>();
        // It takes INFO and PING for requests, CONNECT and PONG for their answers, all else for both at once.
        let (asks, answers) = (of(&["INFO", "PING"]), of(&["CONNECT", "PONG"]));
        let others = operations.values().sum::<usize>() - asks - answers;
        assert_eq!(format!("{asks}/{answers}/{others}"), figure, "{file}");
    }
}

#[test]
fn requests_are_paired_with_the_answer_in_their_inbox() {
    let seen = run("nats/deepflow--nats--nats-nrpc1.pcap");
    let pairs: Vec<&str> =
        seen.of("nats").iter().map(|one| one.summary.as_str()).filter(|one| one.contains("-> PUB")).collect();
    let expected = [
        "MSG Greeter.SayHello 7 bytes -> PUB _INBOX.dR7nhYWqTTzqicG1BcZrM6.oVkiuwjU 13 bytes",
        "MSG Greeter.SayHello 7 bytes -> PUB _INBOX.0XEGzLYG5gnvtA4SYvY6MU.e4lZhf8l 13 bytes",
    ];
    assert_eq!(pairs, expected);
}

/// In each of the captures every PING has its PONG.
#[test]
fn keep_alives_are_counted_and_not_shown_unless_asked_for() {
    for (file, figure) in expected("ref.nats.ops") {
        let figures = histogram(&figure);
        assert_eq!(figures["PING"], figures["PONG"], "{file}");
        let path = folder().join(&file);
        let shown = |more: &[&str]| {
            let args = ["conn-trace", "--color", "never", "-r", path.to_str().expect("UTF-8")];
            let output =
                Command::new(program("sockdbg")).args([&args, more].concat()).output().expect("sockdbg runs");
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text"))
        };
        let pings = |text: &str| text.lines().filter(|line| line.contains(" PING -> PONG")).count();
        let [records, said] = shown(&[]);
        assert_eq!(pings(&records), 0, "{records}");
        let words = format!("{} keep-alives are not shown; --all-messages shows them", figures["PING"]);
        assert!(said.contains(&words), "{said}");
        let [all, said] = shown(&["--all-messages"]);
        assert_eq!(pings(&all), figures["PING"], "{all}");
        let others: Vec<&str> = all.lines().filter(|line| !line.contains(" PING -> PONG")).collect();
        assert_eq!(records.lines().collect::<Vec<_>>(), others, "{file}");
        assert!(!said.contains("keep-alives"), "{said}");
        assert_eq!(pings(&shown(&["--filter", "summary~PING"])[0]), figures["PING"], "{file}");
    }
}

#[test]
fn no_other_protocol_is_taken_for_nats() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("nats/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if !seen.of("nats").is_empty() {
            wrong.push((file, seen.of("nats")[0].summary.clone()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("nats").iter().for_each(|file| assert_robust(file));
}
