//! HTTP/2 in clear text: nghttpd and nghttpx with curl, nghttp and h2load.

use crate::common::events::text;
use crate::common::observed::{Observed, essence, records_of};
use crate::common::peer::{Server, noise};
use crate::common::trace::require_bpf;
use serde_json::{Value, json};
use std::process::Command;

/// The records of streams, without those of frames that belong to the connection.
fn streams(records: &[Value]) -> Vec<Value> {
    let is_stream =
        |record: &&Value| ["request", "response"].iter().any(|half| record[half].get("stream_id").is_some());
    records.iter().filter(is_stream).cloned().collect()
}

/// Runs a client, which has to succeed; gives what it printed.
fn client(program: &str, args: &[&str]) -> String {
    let output =
        Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).to_owned()
}

/// The three ways in which a run was seen agree on its streams.
fn assert_vantages_agree(seen: &Observed, port: u16) {
    let live = essence(&streams(&seen.live), port);
    assert_eq!(live, essence(&streams(&records_of(&seen.recording)), port), "the recording");
    assert_eq!(live, essence(&streams(&records_of(&seen.capture)), port), "the capture");
}

#[test]
fn every_request_of_a_load_on_many_streams_is_a_record() {
    if !require_bpf() {
        return;
    }
    let body = noise(20_000, 7);
    let server = Server::nghttpd(&[("body", &body), ("empty", b"")], &[]);
    let (pid, address) = (server.pid(), server.address);
    let (seen, printed) = Observed::run(pid, address.port(), || {
        let urls = ["body", "empty", "none"].map(|path| format!("http://{address}/{path}"));
        let mut args = vec!["-n", "300", "-c", "2", "-m", "10"];
        args.extend(urls.iter().map(String::as_str));
        let printed = client("h2load", &args);
        server.end();
        printed
    });
    assert!(printed.contains("300 done"), "{printed}");
    let records = streams(&seen.live);
    assert_eq!(records.len(), 300);
    for (path, status, length) in
        [("/body", 200, Some(body.len())), ("/empty", 200, Some(0)), ("/none", 404, None)]
    {
        let of_path = records.iter().filter(|record| record["request"]["path"] == path);
        let of_path: Vec<&Value> = of_path.collect();
        assert_eq!(of_path.len(), 100, "{path}");
        for record in of_path {
            assert_eq!((&record["protocol"], &record["status"]), (&json!("http2"), &json!("complete")));
            assert_eq!(
                (&record["request"]["method"], &record["response"]["status"]),
                (&json!("GET"), &json!(status))
            );
            assert!(length.is_none_or(|length| record["response"]["body_length"] == length), "{record}");
        }
    }
    assert_vantages_agree(&seen, address.port());
}

#[test]
fn pushes_padding_priorities_and_trailers_are_understood() {
    if !require_bpf() {
        return;
    }
    let style = noise(70_000, 9);
    let more = ["-p", "/page=/style", "-b", "40", "--trailer", "checked: yes"];
    let server = Server::nghttpd(&[("page", b"<html>"), ("style", &style)], &more);
    let (pid, address) = (server.pid(), server.address);
    let (seen, _) = Observed::run(pid, address.port(), || {
        let printed = client("nghttp", &["-n", "-b", "30", &format!("http://{address}/page")]);
        server.end();
        printed
    });
    let mut summaries: Vec<String> = streams(&seen.live)
        .iter()
        .map(|record| record["summary"].as_str().expect("text").to_owned())
        .collect();
    summaries.sort();
    assert_eq!(summaries, ["200 GET /page 6 B", "200 GET /style 70.0 kB (pushed)"]);
    for record in streams(&seen.live) {
        assert_eq!(record["response"]["trailers"]["checked"], "yes", "{record}");
    }
    // nghttp opens with five streams that only carry priorities.
    let steering = seen.live.iter().find(|record| record["request"].get("PRIORITY").is_some());
    assert_eq!(steering.expect("a record")["request"]["PRIORITY"], 5);
    assert_vantages_agree(&seen, address.port());
}

#[test]
fn curl_with_prior_knowledge_agrees_on_sizes() {
    if !require_bpf() {
        return;
    }
    let body = noise(3_000_000, 8);
    let server = Server::nghttpd(&[("body", &body)], &["--echo-upload"]);
    let (pid, address) = (server.pid(), server.address);
    let folder = tempfile::tempdir().expect("room for files");
    let upload = folder.path().join("upload");
    std::fs::write(&upload, &body[..200_000]).expect("room for files");
    let (seen, printed) = Observed::run(pid, address.port(), || {
        let upload = format!("@{}", upload.display());
        let (get, post) = (format!("http://{address}/body"), format!("http://{address}/echo"));
        let out = "%{http_code} %{size_upload} %{size_download}\n";
        let common = ["-s", "-o", "/dev/null", "--http2-prior-knowledge", "-w", out];
        let first = client("curl", &[&common[..], &["-H", "authorization: Bearer sesame", &get]].concat());
        let second = client("curl", &[&common[..], &["--data-binary", &upload, &post]].concat());
        server.end();
        first + &second
    });
    let records = streams(&seen.live);
    let length = |half: &Value| half["body_length"].as_u64().expect("a number");
    let ours: Vec<String> = records
        .iter()
        .map(|record| {
            let (request, response) = (&record["request"], &record["response"]);
            format!("{} {} {}", response["status"], length(request), length(response))
        })
        .collect();
    assert_eq!(ours, printed.lines().collect::<Vec<_>>());
    assert_eq!(records[0]["request"]["headers"]["authorization"], "***");
    assert!(!format!("{:?}", seen.live).contains("sesame"));
    assert_vantages_agree(&seen, address.port());
}

#[test]
fn an_upgrade_from_http_1_goes_on_as_http_2() {
    if !require_bpf() {
        return;
    }
    let body = noise(50_000, 3);
    let nginx = Server::nginx(&body, false);
    let server = Server::nghttpx(nginx.address);
    let (pid, address) = (server.pid(), server.address);
    let (seen, ()) = Observed::run(pid, address.port(), || {
        let (first, second) = (format!("http://{address}/body?1"), format!("http://{address}/body?2"));
        client("nghttp", &["-nu", &first, &second]);
        server.end();
    });
    let port = address.port();
    let front =
        |record: &&Value| record["local"].as_str().is_some_and(|at| at.ends_with(&format!(":{port}")));
    let lines: Vec<&str> =
        seen.live.iter().filter(front).filter_map(|record| record["summary"].as_str()).collect();
    let wanted = ["101 GET /body?1 0 B", "200 GET /body?1 50.0 kB", "200 GET /body?2 50.0 kB"];
    assert!(wanted.iter().all(|line| lines.contains(line)), "{lines:?}");
    let upgraded = seen.live.iter().find(|record| record["request"]["upgraded"] == true).expect("stream 1");
    assert_eq!((&upgraded["request"]["stream_id"], &upgraded["protocol"]), (&json!(1), &json!("http2")));
    assert!(upgraded["request"]["settings"].get("MAX_CONCURRENT_STREAMS").is_some(), "{upgraded}");
    assert_vantages_agree(&seen, port);
}
