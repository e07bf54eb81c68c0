//! What a record shows of its messages: fields, secrets, bodies in their codings, times, bounds.

use super::driver::{Driver, Log, Piece, run};
use super::{KEEP, field, summaries};
use crate::event::{Cause, Direction};
use crate::protocol::http1::head;
use crate::protocol::http1::start_line::StartLine;
use crate::protocol::{End, Options};
use crate::record::{Record, Status, Value};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write;

fn ask(bytes: &[u8]) -> Piece {
    Piece { direction: Direction::Send, bytes: bytes.to_vec(), lost: false }
}

fn answer(bytes: &[u8]) -> Piece {
    Piece { direction: Direction::Recv, bytes: bytes.to_vec(), lost: false }
}

fn only(log: Log) -> Record {
    assert_eq!(log.records.len(), 1, "{:#?}", log.steps);
    log.records.into_iter().next().expect("one record")
}

/// The record of one exchange.
fn exchange(request: &[u8], response: &[u8], options: Options) -> Record {
    only(run(&[ask(request), answer(response)], options, End::Closed))
}

fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn map(pairs: &[(&str, &str)]) -> Value {
    Value::Map(pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect())
}

#[test]
fn fields_are_named_as_in_the_standard() {
    let request = b"POST /a?b HTTP/1.1\r\nHost: x\r\nX: 1\r\nx:2\r\nX-Fold: a\r\n  b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nSum: 9\r\n\r\n";
    let response = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 404 Not  Found\r\nContent-Length: 2\r\n\r\nno";
    let record = exchange(request, response, KEEP);
    let names = |message: &Option<crate::record::Message>| {
        message.iter().flat_map(|message| &message.fields).map(|field| field.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&record.request),
        ["method", "target", "version", "headers", "trailers", "body_length", "body"]
    );
    assert_eq!(
        names(&record.response),
        ["status", "reason", "version", "headers", "interim", "body_length", "body"]
    );
    let request = |name| field(&record, "request", name).expect("the field").clone();
    let response = |name| field(&record, "response", name).expect("the field").clone();
    assert_eq!(
        [request("method"), request("target"), request("version")],
        ["POST", "/a?b", "HTTP/1.1"].map(bytes)
    );
    let headers =
        [("Host", "x"), ("X", "1"), ("x", "2"), ("X-Fold", "a b"), ("Transfer-Encoding", "chunked")];
    assert_eq!(request("headers"), map(&headers));
    assert_eq!(request("trailers"), map(&[("Sum", "9")]));
    assert_eq!((request("body_length"), request("body")), (Value::Number(3), bytes("abc")));
    assert_eq!((response("status"), response("reason")), (Value::Number(404), bytes("Not  Found")));
    assert_eq!(response("interim"), Value::List(vec![Value::Number(103)]));
    assert_eq!(record.summary, "404 POST /a?b 2 B");
}

#[test]
fn secrets_are_masked_unless_asked_for() {
    let request = b"GET / HTTP/1.1\r\nAuthorization: Basic s3cret\r\ncookie: s3cret\r\nProxy-Authorization: s3cret\r\n s3cret\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret\r\nContent-Length: 0\r\n\r\n";
    let shown = |show_secrets| {
        let record =
            exchange(request, response, Options { max_field: 0, show_secrets, ..Options::default() });
        format!("{:?}", record.messages().map(|message| &message.fields).collect::<Vec<_>>())
    };
    let secret = format!("{:?}", b"s3cret").trim_matches(['[', ']']).to_string();
    assert!(!shown(false).contains(&secret) && shown(false).contains("***"));
    assert_eq!(shown(true).matches(&secret).count(), 5);
}

const TEXT: &[u8] =
    b"The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog.";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("compresses into memory")
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("compresses into memory")
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("compresses into memory")
}

/// A response with these header lines and this body, whose end is the end of the stream.
fn with_body(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes(), body].concat()
}

fn chunked(data: &[u8]) -> Vec<u8> {
    let chunks = data
        .chunks(7)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    chunks.chain(*b"0\r\n\r\n").collect()
}

/// The shown body of a response, byte by byte and at once the same.
fn shown(response: &[u8], max_field: usize) -> (Vec<u8>, bool, Vec<Cause>) {
    let options = Options { max_field, ..Options::default() };
    let pieces = [ask(b"GET / HTTP/1.1\r\n\r\n"), answer(response)];
    let results = [response.len(), 1, 5].map(|length| {
        let record = only(run(&super::driver::cut(&pieces, || length), options, End::Closed));
        let Some(Value::Bytes(body)) = field(&record, "response", "body").cloned() else { panic!("no body") };
        (body, field(&record, "response", "body_decoded").is_some(), record.causes())
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    results.into_iter().next().expect("three results")
}

#[test]
fn bodies_are_decompressed() {
    for (headers, body) in [
        ("Content-Encoding: gzip\r\n", gzip(TEXT)),
        ("Content-Encoding: X-GZip\r\n", gzip(TEXT)),
        ("Content-Encoding: deflate\r\n", zlib(TEXT)),
        ("Content-Encoding: deflate\r\n", deflate(TEXT)),
        ("Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", chunked(&gzip(TEXT))),
        ("Transfer-Encoding: gzip, chunked\r\n", chunked(&gzip(TEXT))),
    ] {
        assert_eq!(shown(&with_body(headers, &body), 4096), (TEXT.to_vec(), true, vec![]), "{headers}");
    }
}

#[test]
fn what_is_not_decompressed_is_shown_as_it_is() {
    let (body, decoded, causes) = shown(&with_body("Content-Encoding: br\r\n", TEXT), 4096);
    assert_eq!((body, decoded, causes), (TEXT.to_vec(), false, vec![Cause::Unsupported]));
    // A server that says gzip and does not do it.
    let (body, decoded, causes) = shown(&with_body("Content-Encoding: gzip\r\n", TEXT), 4096);
    assert_eq!((body, decoded, causes), (TEXT.to_vec(), false, vec![]));
}

#[test]
fn a_cut_or_corrupt_body_gives_its_decodable_prefix() {
    let long: Vec<u8> = (0..20_000u32).flat_map(|number| number.to_string().into_bytes()).collect();
    let whole = gzip(&long);
    let (body, decoded, _) =
        shown(&with_body("Content-Encoding: gzip\r\n", &whole[..whole.len() / 2]), 1 << 20);
    assert!(decoded && body.len() > 1000 && long.starts_with(&body), "{} bytes", body.len());
    let mut corrupt = whole.clone();
    corrupt[whole.len() / 2] ^= 0xff;
    let options = Options { max_field: 1 << 20, ..Options::default() };
    let response = with_body("Content-Encoding: gzip\r\n", &corrupt);
    assert_eq!(exchange(b"GET / HTTP/1.1\r\n\r\n", &response, options).status, Status::Complete);
}

#[test]
fn what_is_shown_of_a_body_is_bounded_and_says_so() {
    for (headers, body) in [("", TEXT.to_vec()), ("Content-Encoding: gzip\r\n", gzip(TEXT))] {
        for limit in [1, TEXT.len() - 1, TEXT.len(), TEXT.len() + 1] {
            let (body, _, causes) = shown(&with_body(headers, &body), limit);
            assert_eq!(body, &TEXT[..limit.min(TEXT.len())]);
            assert_eq!(causes.contains(&Cause::FieldTruncated), limit < TEXT.len(), "{limit}");
        }
    }
    let bomb = gzip(&vec![0; 8 << 20]);
    assert_eq!(shown(&with_body("Content-Encoding: gzip\r\n", &bomb), 1000).0.len(), 1000);
}

#[test]
fn without_a_bound_bodies_are_not_kept() {
    let record =
        exchange(b"GET / HTTP/1.1\r\n\r\n", &with_body("Content-Encoding: br\r\n", TEXT), Options::default());
    assert_eq!(field(&record, "response", "body"), None);
    assert_eq!(field(&record, "response", "body_length"), Some(&Value::Number(TEXT.len() as i64)));
    assert!(record.causes().is_empty());
}

#[test]
fn times_are_those_of_first_and_last_byte() {
    let pieces = [
        ask(b"GET /1 HTTP/1.1\r\n"),
        ask(b"\r\nGET /2 HTTP/1.1\r\n\r\n"),
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1"),
        answer(b"1HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"),
        answer(b"2"),
    ];
    let log = run(&pieces, Options::default(), End::Closed);
    let times = log.records.iter().flat_map(Record::messages).map(|m| (m.started.0 / 1000, m.ended.0 / 1000));
    assert_eq!(times.collect::<Vec<_>>(), [(1, 2), (3, 4), (2, 2), (4, 5)]);
    assert_eq!(log.records[0].latency(), Some(1000));
}

#[test]
fn a_response_that_waits_for_its_request_keeps_its_time() {
    let request = b"GET /1 HTTP/1.1\r\n\r\n";
    let pieces =
        [ask(&request[..5]), answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"), ask(&request[5..])];
    let record = only(run(&pieces, Options::default(), End::Closed));
    let response = record.response.expect("a response");
    assert_eq!((response.started.0, response.ended.0), (2000, 2000));
}

/// One request per length of its head.
fn head_of(length: usize) -> Vec<u8> {
    let fixed = b"GET / HTTP/1.1\r\nX: \r\n\r\n".len();
    format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(length - fixed)).into_bytes()
}

#[test]
fn a_head_is_bounded() {
    for (length, records) in [(head::MAX_HEAD - 1, 1), (head::MAX_HEAD, 1), (head::MAX_HEAD + 1, 0)] {
        let log = run(&[ask(&head_of(length))], Options::default(), End::Closed);
        assert_eq!(log.records.len(), records, "{length}");
        assert_eq!(log.skipped(Cause::ParseError) > 0, records == 0, "{length}");
    }
    for (count, records) in [(head::MAX_HEADERS, 1), (head::MAX_HEADERS + 1, 0)] {
        let request = format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(count));
        let log = run(&[ask(request.as_bytes())], Options::default(), End::Closed);
        assert_eq!(
            (log.records.len(), log.skipped(Cause::ParseError) > 0),
            (records, records == 0),
            "{count}"
        );
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_searched_once() {
    // Quadratic work would take minutes here.
    let pieces = super::driver::cut(&[ask(&head_of(head::MAX_HEAD / 8))], || 1);
    let mut driver = Driver::new(Options::default());
    pieces.iter().for_each(|piece| driver.push(piece));
    assert_eq!(summaries(&driver.end(End::Closed)), ["no-response: --- GET /"]);
}

#[test]
fn waiting_requests_are_bounded() {
    let requests = b"GET / HTTP/1.1\r\n\r\n".repeat(1500);
    let responses = b"HTTP/1.1 204 No Content\r\n\r\n".repeat(1500);
    let log = run(&[ask(&requests), answer(&responses)], Options::default(), End::Closed);
    let count = |status| log.records.iter().filter(|record| record.status == status).count();
    assert_eq!([Status::Complete, Status::NoResponse, Status::NoRequest].map(count), [1024, 476, 476]);
    assert!(
        log.records
            .iter()
            .filter(|r| r.status == Status::NoResponse)
            .all(|r| r.causes().contains(&Cause::Limit))
    );
}

/// Whatever `httparse` accepts has to be read as it reads it.
#[test]
fn heads_are_read_as_httparse_reads_them() {
    for text in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nPOST /a?b=c#d HTTP/1.0\r\nA:b\r\nC: d e \t\r\nEmpty:\r\n\r\n",
        "PATCH * HTTP/1.1\nX-~!#$%&'*+-.^_`|1: \"\u{e9}\"\n\n",
    ] {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut oracle = httparse::Request::new(&mut headers);
        assert!(oracle.parse(text.as_bytes()).expect("accepted").is_complete());
        let data = &text.as_bytes()[head::empty_lines(text.as_bytes())..];
        let head = head::parse(data, true).expect("parsed");
        let StartLine::Request { method, target, .. } = head.start else { panic!("a response") };
        assert_eq!(
            (Some(method), Some(target)),
            (oracle.method.map(str::as_bytes), oracle.path.map(str::as_bytes))
        );
        let expected = oracle.headers.iter().map(|h| (bytes(h.name), Value::Bytes(h.value.to_vec())));
        assert_eq!(head.headers, expected.collect::<Vec<_>>());
    }
}
