//! DNS in captures that nobody of this project wrote, through the capture source and the tracker: messages, types,
//! response codes and answers are those of tshark, transactions those of other tools.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, histogram, run, text, try_run};
use sockdbg::event::Cause;
use sockdbg::record::{Message, Record, Status, Value};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// How often each word comes.
type Counts = BTreeMap<String, usize>;

/// Queries, responses, types that were asked for, response codes.
type Figures = (usize, usize, Counts, Counts);

/// IANA's numbers of the types that the figures have as numbers, and of response codes.
const NUMBERS: [(&str, &str); 17] = [
    ("RRSIG", "46"),
    ("NSEC3PARAM", "51"),
    ("NAPTR", "35"),
    ("NULL", "10"),
    ("HINFO", "13"),
    ("SSHFP", "44"),
    ("SPF", "99"),
    ("SVCB", "64"),
    ("NSEC", "47"),
    ("LOC", "29"),
    ("NXT", "30"),
    ("NOERROR", "0"),
    ("FORMERR", "1"),
    ("SERVFAIL", "2"),
    ("NXDOMAIN", "3"),
    ("NOTIMP", "4"),
    ("REFUSED", "5"),
];

/// Files for which tshark counts other messages: what it has more or less of queries and responses, and why.
const OTHER_MESSAGES: [(&str, i32, i32, &str); 4] = [
    (
        "dns/dnscap--do1t-nosyn-1nolen.pcap",
        -1,
        0,
        "a query whose length is in a segment of its own is none to it",
    ),
    ("dns/pcpp--pkt--DnsTooManyResources.pcap", 1, 0, "25528 questions in 694 bytes: no message"),
    (
        "dns/pcpp--pkt--dns_stack_overflow.pcap",
        0,
        1,
        "its question can't be read: a label of an unknown kind",
    ),
    ("dns/zeek--dns--dns-invalid-names.pcap", 3, 0, "their questions can't be read: names without an end"),
];

/// Questions whose type tshark shows though their name can't be read: the type, how many, and why.
const UNREADABLE: [(&str, &str, usize, &str); 1] =
    [("dns/ndpi--malformed_dns.pcap", "A", 4, "the second question's name is longer than 255 bytes")];

/// Files for which it has other addresses and names, and how many we have more.
const OTHER_ANSWERS: [(&str, &str, i32, &str); 3] = [
    (
        "dns/ndpi--malformed_dns.pcap",
        "A",
        -4,
        "behind a question with a name that is too long nothing is a record",
    ),
    ("dns/ndpi--malformed_dns.pcap", "CNAME", -4, "likewise"),
    ("dns/zeek--dns--dns-edns-bad-length.pcap", "A", 1, "the answer before the damaged record is whole"),
];

fn number(message: &Message, name: &str) -> usize {
    match field(message, name) {
        Some(Value::Number(number)) => usize::try_from(*number).expect("a count"),
        _ => 0,
    }
}

/// How many messages a request or response was made of: a query that was sent again is in the record of the first, and
/// so are the messages of a zone transfer.
fn messages(message: &Message) -> usize {
    (1 + number(message, "retransmissions")).max(number(message, "messages"))
}

fn entry<'a>(value: &'a Value, name: &'static str) -> &'a Value {
    let Value::Map(entries) = value else { panic!("no map: {value:?}") };
    let found = entries.iter().find(|(key, _)| *key == Value::Text(name.into()));
    &found.unwrap_or_else(|| panic!("no {name}: {value:?}")).1
}

fn word(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("no text: {other:?}"),
    }
}

fn list<'a>(message: &'a Message, name: &str) -> &'a [Value] {
    match field(message, name) {
        Some(Value::List(list)) => list,
        _ => &[],
    }
}

/// Messages that tshark takes for DNS: mDNS and LLMNR are protocols of their own to it.
fn plain<'a>(records: &[&'a Record]) -> Vec<&'a Message> {
    let messages = records.iter().flat_map(|record| record.messages());
    messages.filter(|message| field(message, "variant").is_none()).collect()
}

fn figures(all: &[&Message]) -> Figures {
    let mut figures = Figures::default();
    for message in all {
        let is_response = list(message, "flags").contains(&Value::Text("qr".into()));
        let count = messages(message);
        *(if is_response { &mut figures.1 } else { &mut figures.0 }) += count;
        let asked = match list(message, "questions") {
            [] => text(message, "qtype").into_iter().collect(),
            several => several.iter().map(|one| word(entry(one, "type"))).collect::<Vec<_>>(),
        };
        for name in asked {
            *figures.2.entry(name).or_default() += count;
        }
        if let Some(code) = text(message, "rcode") {
            *figures.3.entry(code).or_default() += count;
        }
    }
    figures
}

/// With IANA's numbers in place of names, where the figures have those.
fn numbered(counts: Counts, theirs: &Counts) -> Counts {
    let name = |name: String| match NUMBERS.iter().find(|(known, _)| *known == name) {
        Some((_, number)) if !theirs.contains_key(&name) => (*number).to_owned(),
        // RFC 3597, section 5.
        _ => name.strip_prefix("TYPE").unwrap_or(&name).to_owned(),
    };
    counts.into_iter().map(|(of, count)| (name(of), count)).collect()
}

#[test]
fn messages_types_and_codes_are_those_of_tshark() {
    let of = |kind: &str| expected(&format!("tshark.dns.{kind}"));
    let (queries, responses, types, codes) = (of("queries"), of("responses"), of("qtypes"), of("rcodes"));
    let mut compared = 0;
    for file in files("dns") {
        let seen = run(&file);
        let ours = figures(&plain(&seen.of("dns")));
        let counts =
            |of: &BTreeMap<String, String>| of.get(&file).map_or(Counts::new(), |text| histogram(text));
        let (types, codes) = (counts(&types), counts(&codes));
        let [queries, responses] =
            [&queries, &responses].map(|of| of[&file].parse::<i32>().expect("a count"));
        let (_, more_queries, more_responses, why) =
            OTHER_MESSAGES.into_iter().find(|row| row.0 == file).unwrap_or_default();
        let (ours_queries, ours_responses) = (ours.0 as i32, ours.1 as i32);
        assert_eq!(ours_queries, queries - more_queries, "queries of {file} ({why})");
        assert_eq!(ours_responses, responses - more_responses, "responses of {file} ({why})");
        if why.is_empty() {
            let mut types = types;
            if let Some((_, rtype, count, _)) = UNREADABLE.iter().find(|row| row.0 == file) {
                *types.get_mut(*rtype).expect("the type") -= count;
            }
            assert_eq!(numbered(ours.2, &types), types, "{file}");
            assert_eq!(numbered(ours.3, &codes), codes, "{file}");
            compared += 1;
        }
    }
    assert_eq!(compared, 110 - OTHER_MESSAGES.iter().filter(|row| !row.3.is_empty()).count());
}

#[test]
fn answers_are_those_of_tshark() {
    let mut compared = 0;
    for file in files("dns") {
        let Ok(table) = fs::read_to_string(folder().join(format!("{file}.dns.tshark.tsv"))) else { continue };
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
        let (names, rows) = rows.split_first().expect("a header");
        let seen = run(&file);
        let all = plain(&seen.of("dns"));
        for (column, rtype) in [("dns.a", "A"), ("dns.aaaa", "AAAA"), ("dns.cname", "CNAME")] {
            let column = names.iter().position(|name| *name == column).expect("a column");
            let cells = rows.iter().filter_map(|row| row.get(column)).flat_map(|cell| cell.split('|'));
            let theirs = count(cells.filter(|cell| !cell.is_empty()).map(str::to_owned));
            let sections = ["answer", "authority", "additional", "prerequisite", "update"];
            let records = all.iter().flat_map(|message| sections.iter().flat_map(|name| list(message, name)));
            let records = records.filter(|record| word(entry(record, "type")) == rtype);
            let ours =
                count(records.map(|record| word(entry(record, "data"))).filter(|data| !data.is_empty()));
            match OTHER_ANSWERS.iter().find(|row| (row.0, row.1) == (file.as_str(), rtype)) {
                Some((.., more, why)) => {
                    let total = |counts: &Counts| counts.values().sum::<usize>() as i32;
                    assert_eq!(total(&ours), total(&theirs) + more, "{rtype} of {file} ({why})");
                }
                None => assert_eq!(ours, theirs, "{rtype} of {file}"),
            }
            compared += theirs.len();
        }
    }
    assert!(compared > 500, "captures are missing: {compared} answers");
}

#[test]
fn transactions_are_those_of_packetbeat_deepflow_and_zeek() {
    let of = |kind: &str| {
        let figures = expected(kind).into_iter();
        figures.filter(|(file, _)| file.starts_with("dns/")).collect::<Vec<_>>()
    };
    let tables = [of("packetbeat.transactions"), of("zeek.dns.log.rows")];
    assert_eq!(tables.each_ref().map(Vec::len), [4, 14], "captures are missing");
    for (file, figure) in tables.iter().flatten() {
        assert_eq!(run(file).of("dns").len().to_string(), *figure, "{file}");
    }
    let figures_of = of("deepflow.result.request/response/session");
    assert_eq!(figures_of.len(), 5, "captures are missing");
    for (file, figure) in figures_of {
        let ours = figures(&plain(&run(&file).of("dns")));
        assert_eq!(format!("{}/{}/0", ours.0, ours.1), figure, "{file}");
    }
}

/// The frames that tshark takes for DNS or its kin.
fn frames_of_tshark(file: &str) -> usize {
    let output = Command::new("tshark")
        .args(["-n", "-Y", "dns || mdns || llmnr", "-T", "fields", "-e", "frame.number", "-r"])
        .arg(folder().join(file))
        .output()
        .expect("tshark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count()
}

/// Captures with other traffic besides have DNS, too: as much of it as tshark says, and no more.
#[test]
fn no_other_protocol_is_taken_for_dns() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("dns/") && !file.starts_with("format/"));
    let (mut read, mut with_dns) = (0, 0);
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        let ours: usize = seen.of("dns").into_iter().flat_map(Record::messages).map(messages).sum();
        if ours > 0 {
            with_dns += 1;
            let theirs = frames_of_tshark(&file);
            assert!(ours <= theirs, "{file}: {ours} messages, tshark has {theirs}");
        }
    }
    assert!(read > 500 && with_dns > 20, "captures are missing: {read} were read, {with_dns} had DNS");
}

#[test]
fn what_is_no_message_is_named() {
    let skipped = |file: &str| {
        let seen = run(&format!("dns/{file}"));
        (seen.skipped_datagrams(Cause::ParseError), seen.skipped_datagrams(Cause::ProtocolUnknown))
    };
    // Its 12 bytes of header, and 1024 - 8 bytes of UDP payload in all: a packet of 1096 bytes behind 14 of Ethernet.
    assert_eq!(skipped("pcpp--pkt--dns_stack_overflow.pcap"), (1068, 0));
    assert_eq!(skipped("pcpp--pkt--DnsTooManyResources.pcap"), (0, 706));
    assert_eq!(skipped("zeek--dns--dns-invalid-names.pcap"), (18, 14 + 16));
}

#[test]
fn a_name_that_is_too_long_cuts_a_message_and_not_the_record() {
    let seen = run("dns/ndpi--malformed_dns.pcap");
    let records = seen.of("dns");
    assert!(records.iter().any(|record| record.status == Status::Truncated));
    let response = records[0].response.as_ref().expect("a response");
    let expected = "question 2: a name is longer than 255 bytes";
    assert_eq!(text(response, "malformed").as_deref(), Some(expected));
    assert!(response.causes.contains(&Cause::ParseError));
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("dns").iter().for_each(|file| assert_robust(file));
}
