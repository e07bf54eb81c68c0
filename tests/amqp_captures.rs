//! AMQP in captures that nobody of this project wrote, through the capture source and the tracker: methods and frames are
//! those of tshark, transactions those of DeepFlow and packetbeat.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, histogram, run, text, try_run};
use sockdbg::record::{Message, Record, Value};
use std::collections::BTreeMap;

fn methods(records: &[&Record]) -> BTreeMap<String, usize> {
    let messages = records.iter().flat_map(|record| record.messages());
    count(messages.filter_map(|message| text(message, "method")).filter(|name| name != "protocol-header"))
}

fn of_folder(kind: &str) -> Vec<(String, String)> {
    let figures: Vec<_> = expected(kind).into_iter().filter(|(file, _)| file.starts_with("amqp/")).collect();
    assert!(!figures.is_empty(), "captures are missing");
    figures
}

#[test]
fn methods_are_those_of_tshark() {
    let figures = of_folder("tshark.amqp.methods");
    assert_eq!(figures.len(), 5, "captures are missing");
    for (file, figure) in figures {
        assert_eq!(methods(&run(&file).of("amqp")), histogram(&figure), "{file}");
    }
}

/// Frames by type, counted from what they are part of: each of these messages has its body in one frame.
#[test]
fn frames_are_those_of_tshark() {
    for (file, figure) in of_folder("tshark.amqp.frame_types") {
        let seen = run(&file);
        let records = seen.of("amqp");
        let messages: Vec<&Message> = records.iter().flat_map(|record| record.messages()).collect();
        let with = |name: &str| messages.iter().filter(|message| field(message, name).is_some()).count();
        let lone = records.iter().filter(|record| record.summary == "heartbeat").count();
        let ours = [
            ("method", methods(&records).values().sum()),
            ("header", with("body_size")),
            ("body", with("body")),
            ("heartbeat", lone),
        ];
        let ours: BTreeMap<String, usize> = ours
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        assert_eq!(ours, histogram(&figure), "{file}");
    }
}

#[test]
fn deepflow_counts_the_same() {
    let figures = of_folder("deepflow.result.request/response/session");
    assert_eq!(figures.len(), 3, "captures are missing");
    for (file, figure) in figures {
        let seen = run(&file);
        let records = seen.of("amqp");
        let pairs =
            records.iter().filter(|record| record.request.is_some() && record.response.is_some()).count();
        // What it calls a session is each frame that is not answered: of a message its method, header and body.
        let alone: usize = records
            .iter()
            .filter(|record| record.request.is_none() || record.response.is_none())
            .flat_map(|record| record.messages())
            .map(|message| {
                1 + ["body_size", "body"].iter().filter(|name| field(message, name).is_some()).count()
            })
            .sum();
        assert_eq!(format!("{pairs}/{pairs}/{alone}"), figure, "{file}");
    }
}

/// packetbeat makes transactions of everything but classes connection and channel.
#[test]
fn packetbeat_counts_the_same() {
    let figures = of_folder("packetbeat.transactions");
    assert_eq!(figures.len(), 2, "captures are missing");
    for (file, figure) in figures {
        let seen = run(&file);
        let records = seen.of("amqp");
        let is_counted = |record: &&&Record| {
            !["connection", "channel", "protocol header", "heartbeat"]
                .iter()
                .any(|prefix| record.summary.starts_with(prefix))
        };
        assert_eq!(records.iter().filter(is_counted).count().to_string(), figure, "{file}");
    }
}

#[test]
fn messages_have_their_names_and_bodies() {
    let seen = run("amqp/packetbeat--amqp_emit_receive.pcap");
    let mut found = Vec::new();
    for record in seen.of("amqp") {
        for message in record.messages().filter(|message| field(message, "body").is_some()) {
            let get = |name: &str| text(message, name).unwrap_or_default();
            found.push([get("method"), get("exchange"), get("routing_key"), get("body_size")].join(" "));
            assert!(matches!(field(message, "properties"), Some(Value::Map(all)) if !all.is_empty()));
        }
    }
    assert_eq!(found, ["basic.publish logs  5", "basic.deliver logs  5"]);
}

#[test]
fn no_other_protocol_is_taken_for_amqp() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("amqp/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        if !seen.of("amqp").is_empty() {
            wrong.push((file, seen.of("amqp")[0].summary.clone()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("amqp").iter().for_each(|file| assert_robust(file));
}
