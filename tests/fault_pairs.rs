//! Faults injected into pairs of files, a recording and a capture of the same connections: the verdict has to name each
//! with its stage, its cause and its exact range, blame nothing else, and leave no residual.

mod common;
mod pairs;

use common::captures::folder;
use common::client::{Client, resp};
use common::mariadb::{self, MariaDb};
use common::nats::{Nats, join};
use common::noise::noise;
use common::observed::Observed;
use common::peer::Server;
use common::postgres::{self, Held, Postgres};
use common::random::Random;
use common::trace::require_bpf;
use pairs::case::Case;
use pairs::compare::{FILES, compare, take_encrypted};
use pairs::damage::FAULTS;
use pairs::datagrams;
use pairs::oracle::{self, Named};
use pairs::packets::{self, Packet};
use pairs::pair::{Calls, Pair};
use sha2::{Digest, Sha256};
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
    ("redis", "large values", "redis/ndpi--resp.pcap", true, Calls::Large),
    ("redis", "debugging", "redis/deepflow--redis--redis-debug.pcap", true, Calls::Packets),
    ("redis", "50 pings", "redis/zeek--pop3--redis-50-pings.pcap", false, Calls::Small(5)),
    ("redis", "IPv6, pipelined", "redis/zeek--redis--pipeline-quotes.pcap", false, Calls::Small(20)),
    ("postgres", "an application", "postgres/zeek--postgresql--greenhouse-app.pcap", false, Calls::Packets),
    ("postgres", "COPY out", "postgres/suricata--pgsql--pgsql-copy-data-out.pcap", true, Calls::Small(100)),
    ("mysql", "attributes", "mysql/zeek--mysql--many-query-attrs.pcap", true, Calls::Packets),
    ("mysql", "authentication", "mysql/zeek--mysql--caching_sha2_password.pcap", false, Calls::Small(4)),
    ("mongodb", "OP_MSG", "mongodb/deepflow--mongo--mongo.pcap", true, Calls::Packets),
    ("amqp", "a publisher", "amqp/deepflow--amqp--amqp3.pcap", true, Calls::Small(64)),
    ("nats", "headers", "nats/deepflow--nats--nats-headers.pcap", false, Calls::Packets),
    ("postgres", "6 connections", "postgres/ndpi--pgsql.pcap", true, Calls::Packets),
    ("postgres", "COPY in", COPY_IN, false, Calls::Large),
    ("postgres", "cancel", "postgres/suricata--pgsql--pgsql-cancel-request.pcap", true, Calls::Packets),
    ("mysql", "queries", "mysql/zeek--mysql--selects_with_new_proto.pcap", true, Calls::Large),
    ("amqp", "2 connections", "amqp/deepflow--amqp--amqp1.pcap", false, Calls::Packets),
    ("nats", "tracing", "nats/deepflow--nats--nats-opentelemetry.pcap", true, Calls::Small(30)),
    (
        "cql",
        "21 connections",
        "cql/packetbeat--cassandra--v4--cassandra_mixed_frame.pcap",
        true,
        Calls::Large,
    ),
    (
        "dns",
        "over TCP",
        "dns/suricata--dns--dns-tcp-multirequest-buffer--dns-tcp-multirequest-buffer.pcap",
        true,
        Calls::Small(2),
    ),
    ("dns", "over TCP, a query", "dns/tcpdump--dns_tcp.pcap", false, Calls::Packets),
    ("mux", "24 connections", "mux/finagle--end-to-end.pkts1-552.pcap", true, Calls::Packets),
    ("tls", "SSL 3", "tls/zeek--tls--ssl.v3.pcap", true, Calls::Large),
    ("tls", "curl", "tls/ndpi--443-curl.pcap", false, Calls::Packets),
    ("tcp", WRAPPING, "http/zeek--http--byteranges.pcap", true, Calls::Packets),
    ("tcp", "IPv6", "tcp/pcpp--one_ipv6_http_stream.pcap", true, Calls::Large),
    ("tcp", "retransmissions", "tcp/arkime--wireshark-retrans.pcap", true, Calls::Packets),
    ("tcp", "three streams", "tcp/pcpp--three_http_streams.pcap", false, Calls::Small(100)),
    ("tcp", "packets twice", "tcp/zeek--tcp--ssh-dups.pcap", true, Calls::Packets),
    ("tcp", "reordered handshake", "tcp/zeek--tcp--handshake-reorder.pcap", false, Calls::Packets),
    ("kafka", "produce", "kafka/deepflow--kafka--00-produce-v9.pcap", true, Calls::Packets),
    (
        "kafka",
        "mixed with others",
        "kafka/deepflow--kafka--mixed-with-unsupported.pcap",
        false,
        Calls::Small(40),
    ),
    ("mixed", "many protocols", "link/pcapfileex--mixed_traffic_sample.pcap", true, Calls::Packets),
    ("mixed", "VLAN and MPLS", "link/zeek--mixed-vlan-mpls.pcap", false, Calls::Packets),
];

const COPY_IN: &str = "postgres/suricata--pgsql--pgsql-copy-data-in--TLPW-Jason-copyfrom-small.pcap";

/// Of this pair the sequence numbers are moved, so that both directions wrap.
const WRAPPING: &str = "sequence numbers wrap";

/// Injections, and those of a run that may take minutes (`make faults`).
const INJECTIONS: usize = 640;
const INJECTIONS_LONG: usize = 6400;

fn pairs() -> Vec<Pair> {
    let folder = folder();
    let captures = CAPTURES.iter().map(|&(protocol, what, file, server, calls)| {
        let name = format!("{protocol}: {what}").leak();
        let change: Option<fn(&mut Vec<Packet>)> = match what {
            WRAPPING => Some(|packets| packets::wrap(packets)),
            // Captures of Kafka begin in open connections.
            _ if protocol == "kafka" => Some(packets::add_handshakes),
            _ => None,
        };
        let pair = Pair::of_capture(name, &folder.join(file), server, calls, change);
        assert_streams(&pair, file);
        pair
    });
    let demo = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/demo"));
    let demo = Pair::of_files("real: the demo", &demo.join("recording.pcapng"), &demo.join("capture.pcap"));
    captures.chain([demo]).chain(real_pairs()).collect()
}

/// The bytes of a pair are those that other tools found in the file (`streams.tsv`).
fn assert_streams(pair: &Pair, file: &str) {
    let table = std::fs::read_to_string(folder().join("streams.tsv")).expect("streams.tsv");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    for conn in &pair.conns {
        for side in [0, 1] {
            let direction = format!("{} -> {}", conn.flow.ends[side], conn.flow.ends[1 - side]);
            let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&conn.flow.streams[side]));
            let is_same = |row: &&Vec<&str>| row[0] == file && row[2] == direction && row[4] == hash;
            assert!(rows.iter().any(|row| is_same(&row)), "{}: other bytes in {direction}", pair.name);
        }
    }
}

/// Traffic of real servers, seen by the kernel's probes and by tcpdump. Empty where neither can run.
fn real_pairs() -> Vec<Pair> {
    if !require_bpf() {
        return Vec::new();
    }
    let web = observe("real: nginx", Server::nginx(&noise(40_000, 3), false), |clients| {
        for round in 0..3 {
            for client in clients.iter_mut() {
                client.get("GET", &format!("/body?{round}"));
            }
        }
    });
    let sendfile = observe("real: nginx with sendfile", Server::nginx(&noise(9000, 4), true), |clients| {
        for client in clients.iter_mut() {
            client.get("GET", "/body");
        }
        clients[0].get("HEAD", "/body");
    });
    let redis = observe("real: redis", Server::redis(), |clients| {
        clients[0].send(&[resp(&["SET", "a", "1"]), resp(&["INCR", "a"]), resp(&["GET", "none"])].concat());
        clients[0].reply("+OK\r\n:2\r\n$-1\r\n");
        clients[1].redis(&["HSET", "h", "f", "v"], ":1\r\n");
        clients[2].redis(&["GET", "a"], "$1\r\n2\r\n");
    });
    vec![web, sendfile, redis, nats(), client_of_postgres(), client_of_mariadb()]
}

fn nats() -> Pair {
    let server = Nats::start();
    let (pid, port) = (server.child.0.id(), server.address.port());
    let (seen, ()) = Observed::run(pid, port, || {
        let [mut worker, mut asker] = [(); 2].map(|()| join(server.address, r#""verbose":false"#));
        for client in [&mut worker, &mut asker] {
            client.reply("PONG\r\n");
        }
        worker.send(b"SUB add.* crew 7\r\nPING\r\n");
        worker.reply("PONG\r\n");
        asker.send(b"SUB _INBOX.a.* 1\r\nPUB add.two _INBOX.a.1 3\r\n1+1\r\n");
        worker.reply("MSG add.two 7 _INBOX.a.1 3\r\n1+1\r\n");
        worker.send(b"PUB _INBOX.a.1 1\r\n2\r\n");
        asker.reply("MSG _INBOX.a.1 1 1\r\n2\r\n");
        for client in [&mut worker, &mut asker] {
            client.finish();
        }
        drop(server);
    });
    Pair::of_files("real: NATS", &seen.recording, &seen.capture)
}

fn client_of_postgres() -> Pair {
    let server = Postgres::start();
    let port = server.address.port();
    let to =
        format!("postgresql://postgres:{}@127.0.0.1:{port}/postgres?sslmode=disable", postgres::PASSWORD);
    let rows = "SELECT n, repeat('x', n) FROM generate_series(1, 60) n";
    let client = Held::new(&postgres::program("psql"), &["-X", &to, "-c", rows, "-c", "VACUUM nowhere"]);
    observe_client("real: PostgreSQL", client, port, || server.end())
}

fn client_of_mariadb() -> Pair {
    let server = MariaDb::start();
    let port = server.address.port();
    let password = format!("-p{}", mariadb::PASSWORD);
    let statements = "SHOW VARIABLES; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2); SELECT * FROM t";
    let at = port.to_string();
    let args =
        ["--no-defaults", "--skip-ssl", "-h", "127.0.0.1", "-P", &at, "-u", "tester", &password, "test"];
    let args: Vec<&str> = args.into_iter().chain(["-e", statements]).collect();
    let client = Held::new(Path::new("/usr/bin/mariadb"), &args);
    observe_client("real: MariaDB", client, port, || server.end())
}

/// A client, until it has ended its connection, and then its server.
fn observe_client(name: &'static str, client: Held, port: u16, end: impl FnOnce()) -> Pair {
    let (seen, ()) = Observed::run(client.pid(), port, || {
        client.run();
        end();
    });
    Pair::of_files(name, &seen.recording, &seen.capture)
}

/// A server and three clients.
fn observe(name: &'static str, server: Server, talk: impl FnOnce(&mut [Client; 3])) -> Pair {
    let (pid, address) = (server.pid(), server.address);
    let (seen, ()) = Observed::run(pid, address.port(), || {
        let mut clients = [(); 3].map(|()| Client::connect(address));
        talk(&mut clients);
        clients.iter_mut().for_each(Client::finish);
        server.end();
    });
    let pair = Pair::of_files(name, &seen.recording, &seen.capture);
    assert_eq!(pair.conns.len(), 3, "{name}");
    pair
}

/// What the clean pair says of frames and records, and of encryption.
struct Clean {
    late: Named,
    encrypted: Named,
}

/// Compares the pair as it is. What a real recording lacks already its events tell.
fn clean(pair: &Pair, folder: &Path) -> Clean {
    let mut case = Case::new(pair);
    let files = case.files();
    let mut said = compare(&case, &files, folder).expect("two files");
    let encrypted = take_encrypted(&mut said.early);
    assert_eq!(said.early, oracle::expected(&case, &files), "{}", pair.name);
    assert_eq!((said.residual, said.strange), (0, 0), "{}", pair.name);
    Clean { late: said.late, encrypted }
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
            return Err(format!(
                "connection {conn}, side {side}: {named:?} encrypted, not {ranges:?} of {both:?}"
            ));
        }
    }
    Ok(())
}

/// What the first has and the second has otherwise.
fn difference(one: &Named, other: &Named) -> Named {
    one.iter()
        .filter(|(key, ranges)| other.get(key) != Some(ranges))
        .map(|(key, ranges)| (*key, ranges.clone()))
        .collect()
}

/// What came of the injections of one thread.
#[derive(Default)]
struct Outcome {
    /// By pair and fault: how many, and how many of them in a comparison that went wrong.
    table: BTreeMap<(usize, usize), [usize; 2]>,
    injections: usize,
    wrong: Vec<String>,
}

/// Injects faults with these seeds.
fn run(pairs: &[Pair], clean: &[Clean], seeds: impl Iterator<Item = usize>) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut outcome = Outcome::default();
    for seed in seeds {
        let (index, fault) = (seed % pairs.len(), seed / pairs.len() % FAULTS.len());
        let mut case = Case::new(&pairs[index]);
        let done = inject(&mut case, fault, &mut Random(seed as u64));
        let result = check(&mut case, &clean[index], folder.path());
        outcome.injections += usize::from(!done.is_empty());
        for fault in done {
            let [count, wrong] = outcome.table.entry((index, fault)).or_default();
            (*count, *wrong) = (*count + 1, *wrong + usize::from(result.is_err()));
        }
        if let Err(why) = result {
            keep(seed, folder.path());
            let why: String = why.chars().take(600).collect();
            outcome.wrong.push(format!("seed {seed}, {}, {:?}:\n    {why}", pairs[index].name, case.log));
        }
    }
    outcome
}

/// Keeps the files of a seed that went wrong below the folder that `SOCKDBG_KEEP` names, to look at them with sockdbg.
fn keep(seed: usize, folder: &Path) {
    let Some(kept) = std::env::var_os("SOCKDBG_KEEP") else { return };
    let kept = Path::new(&kept).join(seed.to_string());
    std::fs::create_dir_all(&kept).expect("a folder");
    for name in FILES {
        std::fs::copy(folder.join(name), kept.join(name)).expect("a file");
    }
}

/// Prints how often each fault was injected into each pair, and how many of these comparisons went wrong.
fn show(pairs: &[Pair], table: &BTreeMap<(usize, usize), [usize; 2]>) {
    let row = |name: &str, cell: &dyn Fn(usize) -> [usize; 2]| {
        let cells = (0..FAULTS.len()).map(|fault| match cell(fault) {
            [count, 0] => format!("{count:>5}"),
            [count, wrong] => format!("{:>5}", format!("{count}!{wrong}")),
        });
        println!("{name:<28}{}", cells.collect::<String>());
    };
    for (number, (name, _)) in FAULTS.iter().enumerate() {
        println!("{number:>4} {name}");
    }
    row("", &|fault| [fault, 0]);
    for (index, pair) in pairs.iter().enumerate() {
        row(pair.name, &|fault| table.get(&(index, fault)).copied().unwrap_or_default());
    }
    row("all", &|fault| {
        let cells = table.iter().filter(|(key, _)| key.1 == fault).map(|(_, cell)| cell);
        cells.fold([0; 2], |sum, cell| [sum[0] + cell[0], sum[1] + cell[1]])
    });
}

/// Pairs of datagrams: name, capture, and whether the process is its servers or its clients.
const DATAGRAMS: &[(&str, &str, bool)] = &[
    ("dns: one client, servers", "dns/arkime--dns-wiresharkrepo.pcap", true),
    ("dns: one client", "dns/arkime--dns-wiresharkrepo.pcap", false),
    ("dns: many sockets", "dns/dnscap--dns.pcap", false),
    ("dns: a server asked by many", "dns/dnscap--dns.pcap", true),
    ("dns: EDNS", "dns/ipfixprobe--dns.pcap", false),
    ("dns: IPv6", "dns/dnscap--dns6.pcap", true),
];

/// Injections into pairs of datagrams, and those of a long run.
const DATAGRAM_INJECTIONS: usize = 400;
const DATAGRAM_INJECTIONS_LONG: usize = 4000;

/// The pairs of datagrams; the last is of BIND, where its traffic can be seen.
fn datagram_pairs() -> Vec<datagrams::Pair> {
    let of_capture = |&(name, file, server): &(&'static str, &str, bool)| {
        datagrams::Pair::of_capture(name, &folder().join(file), server)
    };
    let mut pairs: Vec<datagrams::Pair> = DATAGRAMS.iter().map(of_capture).collect();
    if require_bpf() {
        let named = common::named::Named::start();
        let (seen, ()) = Observed::run(named.pid(), named.port, || {
            for round in 0..4 {
                named.dig(&["www.example.test"], "192.0.2.7");
                named.dig(&["+nocookie", &format!("nope{round}.example.test")], "NXDOMAIN");
                named.dig(&["host.example.test", "AAAA"], "2001:db8::7");
                named.dig(&["+bufsize=4096", "big.example.test", "TXT"], "(UDP)");
            }
            named.end();
        });
        pairs.push(datagrams::Pair::of_files("real: BIND", &seen.recording, &seen.capture));
    }
    pairs
}

#[test]
fn every_fault_in_a_pair_of_datagrams_is_named() {
    let long = common::is_long();
    let (pairs, folder) = (datagram_pairs(), tempfile::tempdir().unwrap());
    for pair in &pairs {
        println!("{}: {} datagrams", pair.name, pair.datagrams());
        datagrams::Case::new(pair).check(folder.path()).unwrap_or_else(|why| panic!("{}: {why}", pair.name));
    }
    let seeds: Vec<usize> = match std::env::var("SOCKDBG_SEEDS") {
        Ok(_) => seeds(long),
        Err(_) => (0..if long { DATAGRAM_INJECTIONS_LONG } else { DATAGRAM_INJECTIONS }).collect(),
    };
    let (mut wrong, mut counts) = (Vec::new(), vec![0; datagrams::FAULTS.len()]);
    for seed in seeds {
        let pair = &pairs[seed % pairs.len()];
        let (mut case, mut random) = (datagrams::Case::new(pair), Random(seed as u64));
        for round in 0..1 + random.below(FAULTS_MAX) {
            let all = datagrams::FAULTS.len();
            let fault = if round == 0 { seed / pairs.len() % all } else { random.below(all) };
            let (name, inject) = datagrams::FAULTS[fault];
            if inject(&mut case, &mut random) {
                case.log.push(name);
                counts[fault] += 1;
            }
        }
        if let Err(why) = case.check(folder.path()) {
            keep(seed, folder.path());
            wrong.push(format!("seed {seed}, {}, {:?}:\n    {why}", pair.name, case.log));
        }
    }
    for ((name, _), count) in datagrams::FAULTS.iter().zip(&counts) {
        println!("{count:>6} {name}");
    }
    println!("{} faults, {} comparisons wrong", counts.iter().sum::<usize>(), wrong.len());
    assert!(
        counts.iter().all(|&count| count > 0) || std::env::var_os("SOCKDBG_SEEDS").is_some(),
        "{counts:?}"
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

const THREADS: usize = 2;

/// Protocols of which there is a pair at least.
const PROTOCOLS: [&str; 15] = [
    "http1", "http2", "redis", "postgres", "mysql", "mongodb", "amqp", "nats", "cql", "dns", "mux", "tls",
    "tcp", "kafka", "real",
];

/// The seeds to run: those that `SOCKDBG_SEEDS` names, with commas, to see a failure again.
fn seeds(long: bool) -> Vec<usize> {
    match std::env::var("SOCKDBG_SEEDS") {
        Ok(named) => named.split(',').map(|seed| seed.parse().expect("a seed")).collect(),
        Err(_) => (0..if long { INJECTIONS_LONG } else { INJECTIONS }).collect(),
    }
}

#[test]
fn every_fault_in_a_pair_is_named() {
    let long = common::is_long();
    let seeds = seeds(long);
    let pairs = pairs();
    assert!(pairs.len() >= 20, "{} pairs", pairs.len());
    for protocol in PROTOCOLS {
        assert!(pairs.iter().any(|pair| pair.name.starts_with(protocol)), "no pair of {protocol}");
    }
    let folder = tempfile::tempdir().unwrap();
    let clean: Vec<Clean> = pairs.iter().map(|pair| clean(pair, folder.path())).collect();
    for pair in &pairs {
        let (connections, packets) = (pair.conns.len(), pair.packets.len());
        println!("{}: {connections} connections, {} bytes, {packets} packets", pair.name, pair.bytes());
    }
    let outcomes = std::thread::scope(|scope| {
        let (pairs, clean, seeds) = (&pairs, &clean, &seeds);
        let begin = |first| {
            scope.spawn(move || run(pairs, clean, seeds.iter().copied().skip(first).step_by(THREADS)))
        };
        let threads: Vec<_> = (0..THREADS).map(begin).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<Outcome>>()
    });
    let mut whole = Outcome::default();
    for outcome in outcomes {
        whole.injections += outcome.injections;
        whole.wrong.extend(outcome.wrong);
        for (key, [count, wrong]) in outcome.table {
            let cell = whole.table.entry(key).or_default();
            *cell = [cell[0] + count, cell[1] + wrong];
        }
    }
    show(&pairs, &whole.table);
    println!("{} injections, {} wrong", whole.injections, whole.wrong.len());
    assert!(
        !long || seeds.len() < INJECTIONS_LONG || whole.injections >= 5000,
        "{} injections",
        whole.injections
    );
    assert!(whole.wrong.is_empty(), "{} wrong:\n{}", whole.wrong.len(), whole.wrong.join("\n"));
}
