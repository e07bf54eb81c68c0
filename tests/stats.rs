//! `conn-trace --stats` against what tshark counts: which answers say that something failed.

mod common;

use common::captures;
use common::events::lines;
use common::watcher::Watcher;

/// Failures that `--stats` counts of a protocol in a capture.
fn failed(file: &str, protocol: &str) -> u64 {
    let path = captures::folder().join(file);
    let args = ["conn-trace", "-q", "-r", path.to_str().unwrap(), "--stats", "--format", "json"];
    let endpoints = lines(&Watcher::sockdbg(&args).end().stdout);
    let of_protocol = endpoints.iter().filter(|line| line["protocol"] == protocol);
    of_protocol.map(|line| line["failed"].as_u64().expect("a number")).sum()
}

/// How many of tshark's codes tell of a failure, for each capture in which it found any.
#[track_caller]
fn check(kind: &str, protocol: &str, is_failure: impl Fn(&str) -> bool) {
    let mut total = 0;
    for (file, codes) in captures::expected(kind) {
        // Of none at all the table has a plain 0.
        let codes = if codes == "0" { String::new() } else { codes };
        let codes = captures::histogram(&codes);
        let expected: usize = codes.iter().filter(|(code, _)| is_failure(code)).map(|(_, count)| count).sum();
        assert_eq!(failed(&file, protocol), expected as u64, "{file}: {codes:?}");
        total += expected;
    }
    assert!(total > 0, "{kind}: nothing fails there");
}

#[test]
fn dns_fails_with_any_code_but_noerror() {
    check("tshark.dns.rcodes", "dns", |code| code != "0");
}

#[test]
fn mysql_fails_with_an_error() {
    check("tshark.mysql.errors", "mysql", |_| true);
}

#[test]
fn postgresql_fails_with_an_error_and_not_with_a_notice() {
    check("tshark.pgsql.error_codes", "postgres", |code| code != "00000");
}

#[test]
fn tls_fails_with_a_fatal_alert() {
    const UNRECOGNIZED_NAME: &str = "112"; // those in the captures are warnings
    check("tshark.tls.alerts(cleartext)", "tls", |code| code != UNRECOGNIZED_NAME);
}
