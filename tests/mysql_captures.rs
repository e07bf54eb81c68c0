//! MySQL in captures that nobody of this project wrote, through the capture source and the tracker: commands, statements,
//! logins and errors are those of tshark, records those of Zeek, DeepFlow and packetbeat, and every difference is
//! explained, file by file.

mod common;

use common::captures::{assert_robust, count, expected, field, files, folder, histogram, run, text, try_run};
use sockdbg::event::Cause;
use sockdbg::record::{Message, Record, Value};
use std::collections::BTreeMap;

const COMPRESSED: &str = "the compressed protocol, which is named and not read";
const PCPP: &str = "the login of one connection, and behind it an answer from the middle of it";

const PROXIED: &str = "tcp/pcpp--one_tcp_stream_fin_rst_close_packet.pcap";

fn requests<'a>(records: &'a [&'a Record]) -> impl Iterator<Item = &'a Message> {
    records.iter().filter_map(|record| record.request.as_ref())
}

/// Commands, as tshark names them.
fn commands(records: &[&Record]) -> BTreeMap<String, usize> {
    let names = requests(records).filter_map(|request| text(request, "command"));
    count(names.map(|name| name.trim_start_matches("COM_").to_owned()))
}

fn is_login(request: &Message) -> bool {
    let kind = text(request, "type");
    kind.is_some_and(|kind| kind.starts_with("HandshakeResponse"))
}

/// What tshark counts by name.
fn figures(figure: &str) -> BTreeMap<String, usize> {
    if figure == "0" { BTreeMap::new() } else { histogram(figure) }
}

/// Captures in which tshark counts a command that there is not, with the reason.
const NO_COMMANDS: [(&str, &str, &str); 4] = [
    ("mysql/deepflow--mysql--mysql-compressed-response.pcap", "0", COMPRESSED),
    ("mysql/deepflow--mysql--mysql-use.pcap", "0", COMPRESSED),
    (
        "mysql/pcpp--pkt--mysql.pcapng",
        "141",
        "it takes the login for a command, for the greeting was not captured",
    ),
    (
        "mysql/zeek--mysql--caching_sha2_password.pcap",
        "202",
        "it takes the encrypted password, which a client sends in a login, for a command",
    ),
];

#[test]
fn commands_are_those_of_tshark() {
    let all = expected("tshark.mysql.commands");
    assert_eq!(all.len(), 34, "captures are missing");
    for (file, figure) in all {
        let mut theirs = figures(&figure);
        for (_, code, reason) in NO_COMMANDS.iter().filter(|row| row.0 == file) {
            assert_eq!(theirs.remove(*code), Some(1), "{file}: there is no difference any more: {reason}");
        }
        assert_eq!(commands(&run(&file).of("mysql")), theirs, "{file}");
    }
}

#[test]
fn statements_are_as_many_as_tshark_counts() {
    for (file, figure) in expected("tshark.mysql.queries") {
        let seen = run(&file);
        let statements =
            requests(&seen.of("mysql")).filter(|request| field(request, "query").is_some()).count();
        assert_eq!(statements.to_string(), figure, "{file}");
    }
}

/// Captures of which tshark misses the login, with the reason.
const MORE_LOGINS: [(&str, &str); 2] = [
    ("mysql/pcpp--pkt--mysql.pcapng", "it takes the login for a command, see above"),
    (PROXIED, "it does not know the header that a proxy puts in front of the login"),
];

#[test]
fn logins_are_as_many_as_tshark_counts() {
    for (file, figure) in expected("tshark.mysql.logins") {
        let seen = run(&file);
        let records = seen.of("mysql");
        let changes = commands(&records).get("CHANGE_USER").copied().unwrap_or(0);
        let logins = requests(&records).filter(|request| is_login(request)).count() + changes;
        let theirs: usize = figure.parse().expect("a number");
        let more = MORE_LOGINS.iter().filter(|row| row.0 == file).count();
        assert_eq!(logins, theirs + more, "{file}");
    }
}

#[test]
fn error_codes_are_those_of_tshark() {
    for (file, figure) in expected("tshark.mysql.errors") {
        let seen = run(&file);
        let records = seen.of("mysql");
        let responses = records.iter().filter_map(|record| record.response.as_ref());
        let codes = count(responses.filter_map(|response| text(response, "error_code")));
        assert_eq!(codes, figures(&figure), "{file}");
    }
}

/// What tshark decoded of each packet, in the order of the file: the values of one field.
fn column(file: &str, name: &str) -> Vec<String> {
    let table = std::fs::read_to_string(folder().join(format!("{file}.mysql.tshark.tsv"))).expect("a table");
    let mut rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let at = rows.next().expect("names").iter().position(|head| *head == name).expect("the field");
    rows.filter_map(|row| row.get(at).map(|value| (*value).to_owned()))
        .filter(|value| !value.is_empty())
        .collect()
}

/// The text of a statement as tshark writes it: without what it escapes.
fn letters(text: &str) -> String {
    text.chars().filter(|character| character.is_ascii_alphanumeric()).collect()
}

#[test]
fn the_text_of_statements_is_that_of_tshark() {
    for file in files("mysql") {
        if file.contains("binary-in-sql") {
            continue; // asserted below: tshark escapes its binary contents
        }
        let seen = run(&file);
        let mut ours: Vec<String> = requests(&seen.of("mysql"))
            .filter_map(|request| text(request, "query"))
            .map(|query| letters(&query))
            .collect();
        let mut theirs: Vec<String> = column(&file, "mysql.query")
            .iter()
            .map(|query| letters(&query.replace("\\n", " ").replace("\\t", " ")))
            .collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{file}");
    }
    let seen = run("mysql/deepflow--mysql--binary-in-sql.pcap");
    let queries: Vec<_> = requests(&seen.of("mysql")).filter_map(|request| text(request, "query")).collect();
    assert_eq!(queries[0], "set @@SQL_SELECT_LIMIT=60001");
    assert!(queries[1].starts_with("INSERT INTO XX_XXXXXXX_XXX_XXXX (message_id,"));
}

#[test]
fn affected_rows_are_those_of_tshark() {
    let file = "mysql/packetbeat--mysql_affected_rows.pcap";
    assert_eq!(column(file, "mysql.affected_rows"), ["316"]);
    let seen = run(file);
    let response = seen.of("mysql")[0].response.clone().expect("an answer");
    assert_eq!(text(&response, "affected_rows").as_deref(), Some("316"));
}

#[test]
fn records_are_the_rows_that_zeek_logs() {
    let all = expected("zeek.mysql.log.rows");
    assert_eq!(all.len(), 9, "captures are missing");
    for (file, figure) in all {
        let seen = run(&file);
        let records = seen.of("mysql");
        // It logs no greeting, and nothing of a connection that goes on with TLS.
        let logged = |request: &&Message| field(request, "command").is_some() || is_login(request);
        assert_eq!(requests(&records).filter(logged).count().to_string(), figure, "{file}");
    }
}

/// Captures of which DeepFlow counts other requests, responses and commands that nothing answers, with ours and the
/// reason.
const DEEPFLOW: [(&str, [usize; 3], &str); 3] = [
    ("mysql/deepflow--mysql--mysql-compressed-response.pcap", [0, 0, 0], COMPRESSED),
    ("mysql/deepflow--mysql--mysql-use.pcap", [0, 0, 0], COMPRESSED),
    (
        "mysql/deepflow--mysql--mysql-statement.pcap",
        [11, 8, 2],
        "eight answers are there (packets 68 to 96); two of them DeepFlow lists as \"Other\", since it reads packet by packet",
    ),
];

#[test]
fn requests_and_responses_are_those_of_deepflow() {
    let all = expected("deepflow.result.request/response/session");
    let all: Vec<_> = all.into_iter().filter(|(file, _)| file.starts_with("mysql/")).collect();
    assert_eq!(all.len(), 14, "captures are missing");
    for (file, figure) in all {
        let theirs: Vec<usize> = figure.split('/').map(|number| number.parse().expect("a number")).collect();
        let seen = run(&file);
        let records = seen.of("mysql");
        let alone = ["COM_QUIT", "COM_STMT_CLOSE"];
        let is_alone =
            |request: &Message| text(request, "command").is_some_and(|name| alone.contains(&name.as_str()));
        let sessions = requests(&records).filter(|request| is_alone(request)).count();
        let asked = requests(&records).count() - sessions;
        let answered = records.iter().filter(|one| one.request.is_some() && one.response.is_some()).count();
        match DEEPFLOW.iter().find(|row| row.0 == file) {
            Some((_, ours, reason)) => {
                assert_ne!(theirs, ours, "{file}: there is no difference any more: {reason}");
                assert_eq!([asked, answered, sessions], *ours, "{file}");
            }
            None => assert_eq!(vec![asked, answered, sessions], theirs, "{file}"),
        }
    }
}

#[test]
fn transactions_are_those_of_packetbeat() {
    let all = expected("packetbeat.transactions");
    let all: Vec<_> = all.into_iter().filter(|(file, _)| file.starts_with("mysql/")).collect();
    assert_eq!(all.len(), 5, "captures are missing");
    for (file, figure) in all {
        let counts = commands(&run(&file).of("mysql"));
        let of = |name: &str| counts.get(name).copied().unwrap_or(0);
        let transactions = of("QUERY") + of("STMT_PREPARE") + of("STMT_EXECUTE");
        assert_eq!(transactions.to_string(), figure, "{file}");
    }
}

#[test]
fn connections_are_those_of_arkime_and_those_with_tls_are_told() {
    let file = "mysql/arkime--mysql-tls.pcap";
    let figure = &expected("arkime.sessions")[file];
    assert!(figure.contains("mysql:1") && figure.contains("tls:1"), "{figure}");
    for file in [file, "mysql/zeek--mysql--encrypted.pcap"] {
        let seen = run(file);
        let said: Vec<String> =
            seen.records.iter().map(|(_, record)| record.summary.clone()).take(2).collect();
        assert!(said[0].starts_with("HandshakeV10 5."), "{said:?}");
        assert_eq!(said[1], "SSLRequest (TLS follows)");
    }
}

#[test]
fn what_pcapplusplus_holds_of_a_connection_is_a_login_and_an_answer_of_later() {
    let seen = run("mysql/pcpp--pkt--mysql.pcapng");
    let said: Vec<String> = seen.of("mysql").iter().map(|record| record.summary.clone()).collect();
    assert_eq!(said.len(), 2, "{PCPP}: {said:?}");
    assert_eq!(said[1], "HandshakeResponse41 user=root database=sakila");
}

/// Captures of other protocols in which somebody speaks MySQL as well: how many records.
const BESIDE: [(&str, usize, &str); 2] = [
    ("tcp/arkime--no-syn-ack.pcap", 2, "a greeting and a login, as tshark and Arkime say"),
    (PROXIED, 3, "a greeting and a login, in front of which a proxy tells for whom it connects"),
];

#[test]
fn no_other_protocol_is_taken_for_mysql() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !file.starts_with("mysql/") && !file.starts_with("format/"));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        let expected = BESIDE.iter().find(|row| row.0 == file).map_or(0, |row| row.1);
        let taken = seen.protocols.values().filter(|protocol| **protocol == Some("mysql")).count();
        if seen.of("mysql").len() != expected || expected == 0 && taken > 0 {
            let first = seen.of("mysql").first().map(|record| record.summary.clone());
            wrong.push((file, seen.of("mysql").len(), taken, first));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(read > 500, "captures are missing: {read} were read");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    files("mysql").iter().for_each(|file| assert_robust(file));
}

/// Files of which not every byte becomes a frame, for these causes.
const SKIPPED: [(&str, Cause, &str); 3] = [
    ("mysql/deepflow--mysql--mysql-compressed-response.pcap", Cause::Unsupported, COMPRESSED),
    ("mysql/deepflow--mysql--mysql-use.pcap", Cause::Unsupported, COMPRESSED),
    (
        "mysql/packetbeat--mysql_with_gap.pcap",
        Cause::ResyncSkipped,
        "the end of a row whose beginning is missing",
    ),
];

#[test]
fn every_byte_is_framed_where_nothing_is_missing() {
    for file in files("mysql") {
        let seen = run(&file);
        let skipped: Vec<Cause> =
            Cause::ALL.iter().copied().filter(|&cause| seen.skipped(cause) > 0).collect();
        let expected: Vec<Cause> = SKIPPED.iter().filter(|row| row.0 == file).map(|row| row.1).collect();
        assert_eq!(skipped, expected, "{file}");
    }
}

#[test]
fn passwords_are_masked_unless_they_are_wanted() {
    // The helper shows secrets: what a client sends to prove who it is is in hexadecimal digits there.
    let seen = run("mysql/packetbeat--mysql_int_string_operations.pcap");
    let records = seen.of("mysql");
    let login = requests(&records).find(|request| is_login(request)).expect("a login");
    assert!(
        matches!(field(login, "auth_response"), Some(Value::Text(text)) if text.len() == 40 || text.is_empty())
    );
}
