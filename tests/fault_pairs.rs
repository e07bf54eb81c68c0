//! Faults injected into pairs of files, a recording and a capture of the same connections: the verdict has to name each
//! with its stage, its cause and its exact range, blame nothing else, and leave no residual.

mod common;
mod pairs;

use common::captures::folder;
use common::random::Random;
use pairs::case::Case;
use pairs::compare::{compare, take_encrypted};
use pairs::damage::FAULTS;
use pairs::oracle::{self, Named};
use pairs::pair::{Calls, Pair};
use std::collections::BTreeMap;
use std::path::Path;

/// The pairs that come from captures: protocol, what is special about it, file, whether the process is the server, and its
/// calls.
const CAPTURES: &[(&str, &str, &str, bool, Calls)] = &[
    ("http1", "49 connections, all methods", "http/zeek--http--methods.pcap", true, Calls::Packets),
    ("http1", "a large upload", "http/zeek--http--http-post-large.pcap", false, Calls::Large),
    ("http1", "pipelined", "http/zeek--http--pipelined-requests.pcap", true, Calls::Small(700)),
    ("http1", "100-continue", "http/zeek--http--100-continue.pcap", false, Calls::Packets),
    ("http1", "a hundred requests", "http/suricata--http-multiple100.pcap", true, Calls::Packets),
    ("http1", "ranges", "http/zeek--http--byteranges.pcap", false, Calls::Large),
    ("http2", "nghttp2", "http2/arkime--http2-nghttp2.pcap", true, Calls::Large),
    ("http2", "5 connections", "http2/suricata--http2-range--http2-range.pcap", false, Calls::Packets),
    ("redis", "bulk loading", "redis/zeek--redis--bulk-loading.pcap", true, Calls::Large),
    ("redis", "15 connections", "redis/tcpdump--resp_1_benchmark.pcap", true, Calls::Packets),
    ("redis", "IPv6, pipelined", "redis/zeek--redis--pipeline-quotes.pcap", false, Calls::Small(20)),
    ("postgres", "an application", "postgres/zeek--postgresql--greenhouse-app.pcap", false, Calls::Packets),
    ("postgres", "COPY out", "postgres/suricata--pgsql--pgsql-copy-data-out.pcap", true, Calls::Small(100)),
    ("mysql", "attributes", "mysql/zeek--mysql--many-query-attrs.pcap", true, Calls::Packets),
    ("mysql", "authentication", "mysql/zeek--mysql--caching_sha2_password.pcap", false, Calls::Small(4)),
    ("mongodb", "OP_MSG", "mongodb/deepflow--mongo--mongo.pcap", true, Calls::Packets),
    ("amqp", "a publisher", "amqp/deepflow--amqp--amqp3.pcap", true, Calls::Small(64)),
    ("nats", "headers", "nats/deepflow--nats--nats-headers.pcap", false, Calls::Packets),
    ("cql", "21 connections", "cql/packetbeat--cassandra--v4--cassandra_mixed_frame.pcap", true, Calls::Large),
    ("dns", "over TCP", "dns/suricata--dns--dns-tcp-multirequest-buffer--dns-tcp-multirequest-buffer.pcap", true, Calls::Small(2)),
    ("dns", "over TCP, a query", "dns/tcpdump--dns_tcp.pcap", false, Calls::Packets),
    ("mux", "24 connections", "mux/finagle--end-to-end.pkts1-552.pcap", true, Calls::Packets),
    ("tls", "SSL 3", "tls/zeek--tls--ssl.v3.pcap", true, Calls::Large),
    ("tls", "curl", "tls/ndpi--443-curl.pcap", false, Calls::Packets),
    ("tcp", "sequence numbers wrap", "tcp/pcpp--one_tcp_stream_max_seq.pcap", false, Calls::Packets),
    ("tcp", "IPv6", "tcp/pcpp--one_ipv6_http_stream.pcap", true, Calls::Large),
    ("tcp", "retransmissions", "tcp/arkime--wireshark-retrans.pcap", true, Calls::Packets),
    ("tcp", "three streams", "tcp/pcpp--three_http_streams.pcap", false, Calls::Small(100)),
    ("tcp", "packets twice", "tcp/zeek--tcp--ssh-dups.pcap", true, Calls::Packets),
    ("tcp", "reordered handshake", "tcp/zeek--tcp--handshake-reorder.pcap", false, Calls::Packets),
    ("mixed", "many protocols", "link/pcapfileex--mixed_traffic_sample.pcap", true, Calls::Packets),
    ("mixed", "VLAN and MPLS", "link/zeek--mixed-vlan-mpls.pcap", false, Calls::Packets),
];

/// Injections, and those of a run that may take minutes (`make faults`).
const INJECTIONS: usize = 640;
const INJECTIONS_LONG: usize = 6000;

fn pairs() -> Vec<Pair> {
    let folder = folder();
    let captures = CAPTURES.iter().map(|&(protocol, what, file, server, calls)| {
        let name = format!("{protocol}: {what}").leak();
        Pair::of_capture(name, &folder.join(file), server, calls)
    });
    captures.filter(|pair| !pair.conns.is_empty()).collect()
}

/// What the clean pair says of frames and records, and of encryption.
struct Clean {
    late: Named,
    encrypted: Named,
}

fn clean(pair: &Pair, folder: &Path) -> Result<Clean, String> {
    let mut case = Case::new(pair);
    let files = case.files();
    let mut said = compare(&case, &files, folder)?;
    let encrypted = take_encrypted(&mut said.early);
    match said.early.is_empty() && said.residual == 0 && said.strange == 0 {
        true => Ok(Clean { late: said.late, encrypted }),
        false => Err(format!("clean: {:?}, residual {}, {} strange", said.early, said.residual, said.strange)),
    }
}

/// Faults of one injection, at most.
const FAULTS_MAX: usize = 3;

/// Injects faults; their numbers in the list.
fn inject(case: &mut Case<'_>, first: usize, random: &mut Random) -> Vec<usize> {
    let mut done = Vec::new();
    for round in 0..1 + random.below(FAULTS_MAX) {
        let fault = if round == 0 { first } else { random.below(FAULTS.len()) };
        if FAULTS[fault].1(case, random) {
            case.log.push(FAULTS[fault].0.to_owned());
            done.push(fault);
        }
    }
    done
}

/// Compares, and holds what is said against what was done.
fn check(case: &mut Case<'_>, clean: &Clean, folder: &Path) -> Result<(), String> {
    let files = case.files();
    let said = compare(case, &files, folder);
    if files.hopeless != [false; 2] {
        return match said {
            Err(why) if why.contains(folder.to_str().unwrap()) => Ok(()),
            Err(why) => Err(format!("the error names no file: {why}")),
            Ok(_) => Err("a file without its beginning was read".to_owned()),
        };
    }
    let mut said = said?;
    let encrypted = take_encrypted(&mut said.early);
    let expected = oracle::expected(case, &files);
    if said.early != expected {
        let (more, less) = (difference(&said.early, &expected), difference(&expected, &said.early));
        return Err(format!("said {more:?}\n    not {less:?}"));
    }
    if said.residual > 0 || said.strange > 0 {
        return Err(format!("residual {}, {} strange", said.residual, said.strange));
    }
    for conn in 0..case.states.len() {
        check_rest(case, conn, clean, &said.late, &encrypted)?;
    }
    Ok(())
}

/// What is named of encryption is what both have; and what is said of frames and records is what is said of the clean pair
/// where the process's side lacks nothing.
fn check_rest(
    case: &Case<'_>,
    conn: usize,
    clean: &Clean,
    late: &Named,
    encrypted: &Named,
) -> Result<(), String> {
    let of_conn = |named: &Named| -> Named {
        named.iter().filter(|(key, _)| key.0 == conn).map(|(key, ranges)| (*key, ranges.clone())).collect()
    };
    let whole = oracle::is_whole_at_process(case, conn);
    if whole && of_conn(late) != of_conn(&clean.late) {
        return Err(format!("frames and records: {:?}\n    not {:?}", of_conn(late), of_conn(&clean.late)));
    }
    for (&(_, side, cause), ranges) in &of_conn(if whole { &clean.encrypted } else { encrypted }) {
        let both = oracle::in_both(case, conn, side);
        let none = Default::default();
        let named = encrypted.get(&(conn, side, cause)).unwrap_or(&none);
        if *named != ranges.and(&both) {
            return Err(format!("connection {conn}, side {side}: {named:?} encrypted, not {ranges:?} of {both:?}"));
        }
    }
    Ok(())
}

/// What the first has and the second has otherwise.
fn difference(one: &Named, other: &Named) -> Named {
    one.iter().filter(|(key, ranges)| other.get(key) != Some(ranges)).map(|(key, ranges)| (*key, ranges.clone())).collect()
}

#[test]
fn every_fault_in_a_pair_is_named() {
    let long = std::env::var_os("SOCKDBG_LONG").is_some();
    let count = if long { INJECTIONS_LONG } else { INJECTIONS };
    let pairs = pairs();
    let temporary = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    let mut table: BTreeMap<(usize, usize), [usize; 2]> = BTreeMap::new();
    let mut clean_ones = Vec::new();
    for pair in &pairs {
        match clean(pair, temporary.path()) {
            Ok(clean) => clean_ones.push(Some(clean)),
            Err(why) => {
                failed.push(format!("{}: {why}", pair.name));
                clean_ones.push(None);
            }
        }
        println!("{}: {} connections, {} bytes, {} packets", pair.name, pair.conns.len(), pair.bytes(), pair.packets.len());
    }
    for seed in 0..count {
        let (of_pair, fault) = (seed % pairs.len(), seed / pairs.len() % FAULTS.len());
        let Some(clean) = &clean_ones[of_pair] else { continue };
        let mut case = Case::new(&pairs[of_pair]);
        let done = inject(&mut case, fault, &mut Random(seed as u64));
        let outcome = check(&mut case, clean, temporary.path());
        for fault in done {
            let [count, wrong] = table.entry((of_pair, fault)).or_default();
            (*count, *wrong) = (*count + 1, *wrong + usize::from(outcome.is_err()));
        }
        if let Err(why) = outcome {
            failed.push(format!("seed {seed}, {}, {:?}:\n    {why}", pairs[of_pair].name, case.log));
        }
    }
    for (index, (name, _)) in FAULTS.iter().enumerate() {
        let sum = table.iter().filter(|(key, _)| key.1 == index).fold([0; 2], |sum, (_, [count, wrong])| [sum[0] + count, sum[1] + wrong]);
        println!("{name:>16} {:>6} {:>4}", sum[0], sum[1]);
    }
    let shown: Vec<String> = failed.iter().map(|one| one.chars().take(700).collect()).collect();
    assert!(failed.is_empty(), "{} wrong:\n{}", failed.len(), shown.join("\n"));
}
