//! Names and the data of records.

use super::*;
use crate::protocol::dns::{message::Message, name};

/// The data of a record as they are shown. Names in them may lead to the question's, at 12.
#[track_caller]
fn check(rtype: u16, data: &[u8], expected: &str) {
    let bytes = response(1, rtype).record(Section::Answer, SAME, rtype, data).0;
    let message = Message::read(&bytes, bytes.len()).unwrap();
    assert_eq!(data::text(&message, &message.records[0], false), expected);
}

/// Presentation formats of the RFCs that define the types.
#[test]
fn data_are_shown_as_in_zone_files() {
    check(1, &[192, 0, 2, 1], "192.0.2.1");
    check(28, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "2001:db8::1");
    check(5, b"\x03www\xc0\x0c", "www.example.org");
    check(
        6,
        &[&b"\x02ns\xc0\x0c\x01h\xc0\x0c"[..], &[0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]]
            .concat(),
        "ns.example.org h.example.org 5 1 2 3 4",
    );
    check(15, b"\x00\x0a\x02mx\xc0\x0c", "10 mx.example.org");
    check(16, b"\x03a\"b\x02\\\xff\x00", "\"a\\\"b\" \"\\\\\\255\" \"\"");
    check(33, b"\x00\x01\x00\x02\x1f\x90\x00", "1 2 8080 .");
    check(35, b"\x00\x64\x00\x0a\x01S\x07SIP+D2U\x00\x00", "100 10 \"S\" \"SIP+D2U\" \"\" .");
    check(43, b"\xec\x45\x05\x01\x2b\xb1", "60485 5 1 2bb1");
    check(44, b"\x02\x01\x12\x34", "2 1 1234");
    check(48, b"\x01\x01\x03\x0d\x00\x01\x02", "257 3 13 AAEC");
    // RFC 4034, section 4.3: the bitmap of A, MX, RRSIG, NSEC and TYPE1234.
    let bitmap = [&[0, 6, 0x40, 1, 0, 0, 0, 3, 4, 0x1b][..], &[0; 26], &[0x20]].concat();
    check(47, &[&b"\x04host\xc0\x0c"[..], &bitmap].concat(), "host.example.org A MX RRSIG NSEC TYPE1234");
    check(
        50,
        b"\x01\x01\x00\x0c\x04\xaa\xbb\xcc\xdd\x05\x00\x11\x22\x33\x44\x00\x01\x40",
        "1 1 12 aabbccdd 008I4CQ4 A",
    );
    check(51, b"\x01\x00\x00\x00\x00", "1 0 0 -");
    check(
        46,
        b"\x00\x01\x05\x03\x00\x01\x51\x80\x3e\x7d\x01\x4f\x3e\x55\x74\x4f\x0a\x52\xc0\x0c\x00\x01",
        "A 5 3 86400 20030323003527 20030221003527 2642 example.org AAE=",
    );
    check(52, b"\x03\x01\x01\xab", "3 1 1 ab");
    check(257, b"\x00\x05issueca.example.net", "0 issue \"ca.example.net\"");
    check(256, b"\x00\x0a\x00\x01ftp://x/", "10 1 \"ftp://x/\"");
    // RFC 9460, appendix D.
    check(64, b"\x00\x01\x00\x00\x03\x00\x02\x00\x35", "1 . port=53");
    check(
        65,
        b"\x00\x10\x03foo\x00\x00\x01\x00\x06\x02h2\x02h3\x00\x04\x00\x04\xc0\x00\x02\x01",
        "16 foo alpn=h2,h3 ipv4hint=192.0.2.1",
    );
    check(65, b"\x00\x00\x03foo\x00", "0 foo");
    check(64, b"\x00\x01\x00\x02\x9b\x00\x02hi", "1 . key667=\"hi\"");
}

/// RFC 3597, section 5; and what does not follow its type.
#[test]
fn unknown_data_are_shown_in_full() {
    check(731, b"\xab\xcd", "\\# 2 abcd");
    check(62347, b"", "");
    check(1, b"\x01\x02\x03", "\\# 3 010203");
    check(1, b"\x01\x02\x03\x04\x05", "\\# 5 0102030405");
    check(5, b"\x03www", "\\# 4 03777777");
    check(47, b"\x00\x00\x21\x01", "\\# 4 00002101");
    check(65, b"\x00\x01\x00\x00\x01\x00\x01\x00", "\\# 8 0001000001000100");
}

/// The texts in a value.
fn plain(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::List(values) => values.iter().map(plain).collect(),
        Value::Map(entries) => entries.iter().map(|(_, value)| plain(value)).collect(),
        _ => String::new(),
    }
}

#[test]
fn keys_and_cookies_are_masked_unless_asked_for() {
    // RFC 2930, section 2: a key of 3 bytes.
    let key = [&b"\x04gss\x2d\x00"[..], &[0; 12], &[0, 3, b'k', b'e', b'y', 0, 0]].concat();
    let cookie = [&[0, 10, 0, 8][..], &[7; 8]].concat();
    let message = response(1, 249).record(Section::Answer, SAME, 249, &key).whole_record(
        Section::Additional,
        b"\x00",
        41,
        1232,
        0x8000,
        &cookie,
    );
    let text = |show_secrets| {
        let options = Options { show_secrets, ..shown().options };
        let message = Message::read(&message.0, message.0.len()).unwrap();
        let shown = show::show(&message, None, options);
        let fields = shown.fields.iter().map(|field| plain(&field.value));
        fields.chain([shown.outcome.clone()]).collect::<String>()
    };
    let masked = text(false);
    assert!(
        !masked.contains("a2V5") && !masked.contains("0707") && masked.matches("***").count() == 3,
        "{masked}"
    );
    assert!(text(true).contains("a2V5") && text(true).contains("0707070707070707"));
}

#[test]
fn the_extension_record_gives_the_code_and_tells_why() {
    // BADVERS (16): its upper bits are in the OPT record.
    let error = b"\x00\x0f\x00\x07\x00\x06 note";
    let message = Writer::new(1, RESPONSE | 2).question(NAME, 1, 1);
    let message = message.whole_record(Section::Additional, b"\x00", 41, 1232, 0, error);
    let read = Message::read(&message.0, message.0.len()).unwrap();
    let shown = show::show(&read, None, shown().options);
    assert_eq!((shown.rcode.as_str(), shown.outcome.as_str()), ("SERVFAIL", " (DNSSEC Bogus:  note)"));
    let extended = Writer::new(1, RESPONSE).question(NAME, 1, 1).whole_record(
        Section::Additional,
        b"\x00",
        41,
        1232,
        1 << 24,
        b"",
    );
    let read = Message::read(&extended.0, extended.0.len()).unwrap();
    assert_eq!(show::show(&read, None, Options::default()).rcode, "BADVERS");
}

#[test]
fn names_lead_back_and_end() {
    let text = |bytes: &[u8], at| name::text(bytes, at).map(|(text, end)| format!("{text} {end}"));
    assert_eq!(text(b"\x00", 0), Ok(". 1".to_owned()));
    assert_eq!(text(b"\x01a\x00\x01b\xc0\x00", 3), Ok("b.a 7".to_owned()));
    assert_eq!(text(b"\x03a.b\x02\\\x00\x00", 0), Ok("a\\.b.\\\\\\000 8".to_owned()));
    let wrong = |bytes: &[u8], at| matches!(name::text(bytes, at), Err(name::Fault::Wrong(_)));
    assert!(wrong(b"\xc0\x00", 0), "to itself");
    assert!(wrong(b"\x01a\xc0\x00", 0), "round and round");
    assert!(wrong(b"\xc0\x02\xc0\x00", 0), "forward");
    assert!(wrong(b"\xc0\x02\xc0\x00", 2), "back, and then forward");
    assert!(wrong(b"\x40a", 0) && wrong(b"\x80a", 0));
    let long = [&[63u8][..], &[b'a'; 63]].concat().repeat(4);
    assert!(wrong(&[&long[..], &[0]].concat(), 0), "257 bytes");
    let most = [&long[..192], &[61], &[b'a'; 61], &[0]].concat();
    assert_eq!(name::walk(&most, 0, |_| {}), Ok(255));
    assert_eq!(name::text(b"\x03ab", 0), Err(name::Fault::Short));
}

#[test]
fn records_and_their_data_are_bounded() {
    let mut message = response(1, 16).record(Section::Answer, SAME, 16, &[&[200][..], &[b'a'; 200]].concat());
    for _ in 0..show::RECORDS_MAX {
        message = message.record(Section::Answer, SAME, 1, &[192, 0, 2, 1]);
    }
    let read = Message::read(&message.0, message.0.len()).unwrap();
    let list = |max_field| {
        let shown = show::show(&read, None, Options { max_field, ..Options::default() });
        let answers =
            shown.fields.iter().find(|field| field.name == "answer").map(|field| match &field.value {
                Value::List(list) => (list.len(), format!("{:?}", list[0]).matches("97").count()),
                other => panic!("{other:?}"),
            });
        (answers, shown.causes.contains(&Cause::FieldTruncated))
    };
    assert_eq!(list(0), (None, false));
    let (answers, truncated) = list(100);
    assert_eq!((answers.map(|answers| answers.0), truncated), (Some(show::RECORDS_MAX), true));
    assert_eq!(answers.unwrap().1, 1 + 99, "that of the name, and the data without their quote");
}
