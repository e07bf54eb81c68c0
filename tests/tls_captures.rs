//! TLS in captures that nobody of this project wrote, through the capture source and the tracker: hellos, certificates,
//! names, versions, fingerprints and alerts are those of tshark, Zeek, nDPI and Arkime, and every difference is
//! explained, file by file.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, run, text, try_run};
use sockdbg::event::Cause;
use sockdbg::record::{Message, Record, Value};
use std::collections::{BTreeMap, BTreeSet};

fn messages<'a>(records: &'a [&'a Record]) -> impl Iterator<Item = &'a Message> {
    records.iter().flat_map(|record| record.messages())
}

/// The texts of a list; of one text, that.
fn texts(value: &Value) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    match value {
        Value::List(values) => values.iter().map(one).collect(),
        value => vec![one(value)],
    }
}

/// The fields of every hello: those of a message, and of a further hello within it.
fn hellos<'a>(message: &'a Message, second: &str) -> Vec<BTreeMap<String, &'a Value>> {
    let own = message.fields.iter().map(|field| (field.name.to_string(), &field.value)).collect();
    let mut all = vec![own];
    if let Some(Value::Map(pairs)) = field(message, second) {
        all.push(pairs.iter().map(|(name, value)| (texts(name)[0].clone(), value)).collect());
    }
    all
}

fn requests<'a>(records: &'a [&'a Record]) -> Vec<BTreeMap<String, &'a Value>> {
    let all = records.iter().filter_map(|record| record.request.as_ref());
    all.flat_map(|message| hellos(message, "second_client_hello")).collect()
}

fn responses<'a>(records: &'a [&'a Record]) -> Vec<BTreeMap<String, &'a Value>> {
    let all = records.iter().filter_map(|record| record.response.as_ref());
    all.flat_map(|message| hellos(message, "hello_retry_request")).collect()
}

/// All values of a field, each once.
fn set(messages: &[BTreeMap<String, &Value>], name: &str) -> String {
    let values: BTreeSet<String> =
        messages.iter().filter_map(|fields| fields.get(name)).flat_map(|value| texts(value)).collect();
    values.into_iter().collect::<Vec<_>>().join(",")
}

/// How often handshake messages of these names came.
fn said(records: &[&Record], name: &str) -> usize {
    let lists = messages(records).filter_map(|message| field(message, "messages"));
    lists.map(|list| texts(list).iter().filter(|one| *one == name).count()).sum()
}

fn hello_counts(records: &[&Record]) -> String {
    ["ClientHello", "ServerHello", "Certificate"].map(|name| said(records, name).to_string()).join("/")
}

/// Versions as the table of expected figures writes them.
fn negotiated(records: &[&Record]) -> String {
    let short = |name: String| match name.strip_prefix("TLS 1.3 draft ") {
        Some("26 (Facebook)") => "0xfb1a".to_owned(),
        Some(draft) => format!("0x7f{:02x}", draft.parse::<u8>().expect("a number")),
        None => match name.strip_prefix("TLS 1.3 experiment ") {
            Some(number) => format!("0x7e{number:0>2}"),
            None => name.replace("SSL 3.0", "SSL3").replace(' ', ""),
        },
    };
    let names = responses(records);
    let names =
        names.iter().filter_map(|fields| fields.get("version")).map(|value| short(texts(value)[0].clone()));
    let counts = count(names);
    counts.iter().map(|(name, count)| format!("{name}:{count}")).collect::<Vec<_>>().join(",")
}

/// Alerts in the clear, by number.
fn alerts(records: &[&Record]) -> String {
    const NUMBERS: [(&str, u8); 6] = [
        ("close_notify", 0),
        ("handshake_failure", 40),
        ("certificate_unknown", 46),
        ("unknown_ca", 48),
        ("protocol_version", 70),
        ("unrecognized_name", 112),
    ];
    let names = messages(records).filter_map(|message| field(message, "alerts")).flat_map(texts);
    let numbers = names.map(|name| {
        let name = name.split(' ').next_back().expect("a level and a name").to_owned();
        NUMBERS.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("{name}")).1.to_string()
    });
    count(numbers).iter().map(|(name, count)| format!("{name}:{count}")).collect::<Vec<_>>().join(",")
}

/// Where others say something else: kind of figure, file, what is told here, and why.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[];

/// What is told here, for each kind of figure.
type Figure = (&'static str, fn(&[&Record]) -> String);

const FIGURES: [Figure; 8] = [
    ("tshark.tls.client_hello/server_hello/certificate", hello_counts),
    ("tshark.tls.sni", |records| set(&requests(records), "server_name")),
    ("tshark.tls.alpn", |records| {
        let mut all = requests(records);
        all.extend(responses(records));
        set(&all, "application_layer_protocol_negotiation")
    }),
    ("tshark.tls.negotiated", negotiated),
    ("tshark.tls.ja3", |records| set(&requests(records), "ja3")),
    ("tshark.tls.ja3s", |records| set(&responses(records), "ja3s")),
    ("tshark.tls.alerts(cleartext)", alerts),
    ("ndpi.ja4", |records| set(&requests(records), "ja4")),
];

#[test]
fn what_hellos_say_is_what_others_read() {
    let mut found = Vec::new();
    for file in files("tls") {
        let seen = run(&file);
        for (kind, ours) in FIGURES {
            let theirs = match kind {
                "ndpi.ja4" => ja4_beside(&file),
                _ => expected(kind).remove(&file).or_else(|| Some(String::new())),
            };
            let ours = ours(&seen.of("tls"));
            let Some(theirs) = theirs else { continue };
            let theirs = if theirs == "0/0/0" { String::new() } else { theirs };
            let ours = if ours == "0/0/0" { String::new() } else { ours };
            if ours != theirs {
                found.push((kind, file.clone(), ours, theirs));
            }
        }
    }
    let explained: BTreeSet<(&str, String, String)> =
        DIFFERENCES.iter().map(|row| (row.0, row.1.to_owned(), row.2.to_owned())).collect();
    let unexplained: Vec<_> = found
        .iter()
        .filter(|(kind, file, ours, _)| !explained.contains(&(*kind, file.clone(), ours.clone())))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    assert_eq!(found.len(), DIFFERENCES.len(), "a difference is gone: {found:#?}");
}

/// The fingerprints that nDPI and Arkime wrote beside a capture.
fn ja4_beside(file: &str) -> Option<String> {
    let path = |end: &str| folder().join(format!("{file}.{end}"));
    let mut found = BTreeSet::new();
    if let Ok(text) = std::fs::read_to_string(path("ndpi.out")) {
        // It knows those over QUIC, which begin with q.
        let all = text.split("[JA4: ").skip(1).filter_map(|rest| rest.split(']').next());
        found.extend(all.filter(|one| one.starts_with('t')).map(str::to_owned));
    } else if let Ok(text) = std::fs::read_to_string(path("arkime.json")) {
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        collect(&json, &mut found);
    } else {
        return None;
    }
    Some(found.into_iter().collect::<Vec<_>>().join(","))
}

/// Every value of a key `ja4`.
fn collect(json: &serde_json::Value, found: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("ja4", serde_json::Value::Array(values)) => {
                        found.extend(values.iter().map(|value| value.as_str().expect("text").to_owned()));
                    }
                    _ => collect(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[test]
fn zz_skipped() {
    for file in files("tls") {
        let seen = run(&file);
        let skipped: Vec<_> = Cause::ALL
            .iter()
            .filter(|&&cause| seen.skipped(cause) > 0)
            .map(|&cause| (cause.slug(), seen.skipped(cause)))
            .collect();
        println!("{file} {skipped:?}");
        for record in seen.of("tls") {
            println!("    [{}] {}", record.status.name(), record.summary);
        }
    }
}

#[test]
fn no_other_protocol_is_taken_for_tls() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("tls/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        let records: Vec<&str> = seen.of("tls").iter().map(|one| one.summary.as_str()).collect();
        if !records.is_empty() {
            wrong.push((file, records.iter().map(|one| one.to_string()).collect::<Vec<_>>()));
        }
    }
    assert!(read > 500, "captures are missing: {read} were read");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("tls").iter().for_each(|file| assert_robust(file));
}
