//! DNS in captures that nobody of this project wrote, through the capture source and the tracker: messages, types and
//! response codes are those of tshark, records those of other tools.

mod common;

use common::captures::{expected, field, histogram, run, text};
use sockdbg::record::{Message, Record, Value};
use std::collections::BTreeMap;

fn number(message: &Message, name: &str) -> usize {
    match field(message, name) {
        Some(Value::Number(number)) => *number as usize,
        _ => 0,
    }
}

/// How many messages a request or response was made of: a query that was sent again is in the record of the first, and
/// so are the messages of a zone transfer.
fn count(message: &Message) -> usize {
    (1 + number(message, "retransmissions")).max(number(message, "messages"))
}

/// Number of queries, of responses, and how often each type was asked for, as tshark counts them.
fn figures(records: &[&Record]) -> (usize, usize, BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let (mut queries, mut responses, mut types, mut codes) = (0, 0, BTreeMap::new(), BTreeMap::new());
    for message in records.iter().flat_map(|record| record.messages()) {
        let Some(Value::List(flags)) = field(message, "flags") else { panic!("no flags") };
        let is_response = flags.contains(&Value::Text("qr".into()));
        let count = count(message);
        *(if is_response { &mut responses } else { &mut queries }) += count;
        let asked: Vec<String> = match field(message, "questions") {
            Some(Value::List(list)) => list
                .iter()
                .map(|one| {
                    let Value::Map(entries) = one else { panic!("no question") };
                    let rtype = entries.iter().find(|(name, _)| *name == Value::Text("type".into()));
                    let Some((_, Value::Text(rtype))) = rtype else { panic!("no type") };
                    rtype.to_string()
                })
                .collect(),
            _ => text(message, "qtype").into_iter().collect(),
        };
        for rtype in asked {
            *types.entry(rtype).or_default() += count;
        }
        if let Some(code) = text(message, "rcode") {
            *codes.entry(code).or_default() += count;
        }
    }
    (queries, responses, types, codes)
}

#[test]
fn messages_are_those_of_tshark() {
    let of = |kind: &str| expected(&format!("tshark.dns.{kind}"));
    let (queries, responses, types, codes) = (of("queries"), of("responses"), of("qtypes"), of("rcodes"));
    let mut wrong = Vec::new();
    for file in queries.keys().filter(|file| file.starts_with("dns/")) {
        let seen = run(file);
        let ours = figures(&seen.of("dns"));
        let histogram =
            |of: &BTreeMap<String, String>| of.get(file).map(|text| histogram(text)).unwrap_or_default();
        let theirs = (
            queries[file].parse::<usize>().unwrap(),
            responses[file].parse::<usize>().unwrap(),
            histogram(&types),
            histogram(&codes),
        );
        wrong.push(format!(
            "{} {file}\n  ours   {ours:?}\n  theirs {theirs:?}",
            (ours.0, ours.1) == (theirs.0, theirs.1)
        ));
    }
    println!("{}", wrong.join("\n"));
}
