//! The JSON that `events` and `conn-trace` print.

use serde_json::Value;

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The lines of a JSON run that are records.
pub fn records(output: &[u8]) -> Vec<Value> {
    let mut records = lines(output);
    records.retain(|line| line["type"] == "record");
    records
}

/// All lines of a JSON run.
pub fn lines(output: &[u8]) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of a JSON run without the summary, and the summary.
pub fn json(output: &[u8]) -> (Vec<Value>, Value) {
    let mut lines = lines(output);
    let summary = lines.pop().unwrap();
    assert_eq!(summary["type"], "summary");
    (lines, summary)
}

/// The bytes of one direction, put together by offset; every byte has to come exactly once.
pub fn stream(events: &[Value], direction: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events.iter().filter(|event| event["type"] == "data" && event["direction"] == direction) {
        assert_eq!(event["offset"], bytes.len(), "{event}");
        bytes.extend(data_encoding::BASE64.decode(event["payload"].as_str().unwrap().as_bytes()).unwrap());
    }
    bytes
}
