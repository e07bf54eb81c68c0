//! A recording against the JSON that tshark makes of its capture: the verdict is that of the capture.

use crate::common::observed::{Observed, essence, records_of};
use crate::common::report::{Report, findings_of};
use crate::common::trace::require_bpf;
use crate::common::tshark::{Form, tshark};
use crate::common::watcher::Watcher;
use crate::http::{chunking_asked_three, nginx_asked_twenty};
use std::path::{Path, PathBuf};
use std::process::Output;

/// What `pcap-compare` says of a recording and a capture.
fn compare(recording: &Path, capture: &Path) -> Output {
    let [recording, capture] = [recording, capture].map(|path| path.to_str().expect("a UTF-8 path"));
    Watcher::sockdbg(&["pcap-compare", "--full", "--format", "json", recording, capture]).end()
}

/// The JSON of a capture, beside it.
fn json_of(capture: &Path, args: &[&str]) -> PathBuf {
    let path = capture.with_extension("json");
    std::fs::write(&path, tshark(capture, args)).expect("room for files");
    path
}

/// The capture without the packets that a display filter of Wireshark finds.
fn without(capture: &Path, packets: &str) -> PathBuf {
    let path = capture.with_extension("less.pcap");
    let others = format!("not ({packets})");
    let path_name = path.to_str().expect("a UTF-8 path");
    assert!(tshark(capture, &["-Y", &others, "-F", "pcap", "-w", path_name]).is_empty());
    assert!(path.metadata().expect("a capture").len() < capture.metadata().expect("a capture").len());
    path
}

/// Every whole form says what the capture says, word by word.
fn check(seen: &Observed, capture: &Path, verdict: &str) {
    let expected = Report::of(&compare(&seen.recording, capture));
    assert_eq!(expected.summary["verdict"], verdict, "{:#?}", expected.summary);
    for form in Form::WHOLE {
        let output = compare(&seen.recording, &json_of(capture, &form.args()));
        let found = Report::of(&output);
        assert_eq!(found.connections, expected.connections, "{form:?}");
        assert_eq!(found.summary, expected.summary, "{form:?}");
        assert_eq!(found.status, expected.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{form:?}");
    }
}

#[test]
fn every_form_has_the_verdict_of_the_capture() {
    if !require_bpf() {
        return;
    }
    let (seen, client) = chunking_asked_three();
    check(&seen, &seen.capture, "complete");
    let server = seen.live[0]["local"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let of_capture = essence(&records_of(&seen.capture), server);
    assert_eq!(of_capture.len(), 3);
    for form in Form::WHOLE {
        let json = json_of(&seen.capture, &form.args());
        assert_eq!(essence(&records_of(&json), server), of_capture, "{form:?}");
    }
    let requests = format!("tcp.srcport == {} and tcp.len > 0", client.port);
    // The first and the last segment stay.
    let responses = format!("tcp.dstport == {} and tcp.seq > 1 and tcp.seq < 3000", client.port);
    for packets in [&requests, &responses] {
        check(&seen, &without(&seen.capture, packets), "incomplete");
    }
    // Addresses, ports, number, length and payload tell no SYN: the ranges are the same for all that.
    let few = |capture: &Path| {
        let expected = Report::of(&compare(&seen.recording, capture));
        let output = compare(&seen.recording, &json_of(capture, &Form::Few.args()));
        let found = Report::of(&output);
        [&found, &expected].map(|report| {
            let connection = report.with_peer(client.port);
            (findings_of(connection), connection["send"].clone(), connection["recv"].clone())
        })
    };
    let [found, expected] = few(&seen.capture);
    assert_eq!((&found, found.0.len()), (&expected, 0));
    // A hole between the response's bytes.
    let [found, expected] = few(&without(&seen.capture, &responses));
    assert_eq!(found, expected);
    assert!(found.0.iter().any(|finding| finding.ends_with("wire wire-not-captured")), "{found:?}");
    // All that the client sent: no acknowledgement is there to tell that it was on the wire meanwhile.
    let [mut found, expected] = few(&without(&seen.capture, &requests));
    assert_eq!(found.0, ["recv 0 172 wire wire-ended-early"]);
    found.0 = vec!["recv 0 172 wire wire-not-captured".into()];
    assert_eq!(found, expected);
}

#[test]
fn what_the_json_lacks_is_said_and_no_byte_is_unexplained() {
    if !require_bpf() {
        return;
    }
    let (seen, client) = nginx_asked_twenty();
    let [sent, received] = [client.received.len(), client.sent.len()];
    // The summaries, and no payload, for a dissector took it: relative numbers.
    let output = compare(&seen.recording, &json_of(&seen.capture, &Form::Summaries.args()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for lack in
        ["lacks tcp.payload: content can't be compared", "lacks tcp.seq_raw", "run: tshark -r CAPTURE"]
    {
        assert!(stderr.contains(lack), "{lack:?} is not in {stderr}");
    }
    let report = Report::of(&output);
    let connection = report.with_peer(client.port);
    assert_eq!(report.summary["residual"], 0);
    for (direction, length) in [("send", sent), ("recv", received)] {
        let bytes = &connection[direction];
        assert_eq!(
            (&bytes["syscall"], &bytes["recorded"]),
            (&length.into(), &length.into()),
            "{connection:#}"
        );
    }
    let expected = [("recv", received), ("send", sent)]
        .map(|(direction, length)| format!("{direction} 0 {length} wire wire-payload-left-out"));
    let mut found = findings_of(connection);
    found.sort();
    assert_eq!(found, expected);
}
