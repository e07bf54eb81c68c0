//! Handshakes of each version, to their end and not.

use super::*;
use crate::protocol::testing::{recv, send};
use crate::record::Status;

#[test]
fn tls_13_is_one_handshake_and_what_follows_under_protection() {
    let steps = [
        send(cut(22, TLS10, hello13("example.org"))),
        recv([handshake(answer13(&[])), change_cipher(), data(900), data(80)].concat()),
        send([change_cipher(), data(53), data(200)].concat()),
        recv([data(250), data(1000)].concat()),
        send(data(19)),
    ];
    let outcome = talk(&steps);
    let expected = [
        "ClientHello example.org (h2, http/1.1) -> TLS 1.3 TLS_AES_256_GCM_SHA384",
        "application data: 3 records 272 B -> 4 records 2.2 kB",
    ];
    assert_eq!(outcome.summaries(), expected);
    let hello = request(&outcome.records[0]);
    assert_eq!(*value(hello, "server_name"), Value::Bytes(b"example.org".to_vec()));
    assert_eq!(*value(hello, "supported_versions"), words(&["TLS 1.3", "TLS 1.2"]));
    assert_eq!(*value(hello, "key_share"), words(&["x25519"]));
    let suites =
        ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
    assert_eq!(*value(hello, "cipher_suites"), words(&suites));
    let answer = response(&outcome.records[0]);
    assert_eq!(*value(answer, "version"), Value::Text("TLS 1.3".into()));
    assert_eq!(*value(answer, "messages"), words(&["ServerHello", "change_cipher_spec"]));
}

/// Hello, certificate, key, done.
fn flight12(suite: u16, list: &[(u16, Vec<u8>)]) -> Vec<Vec<u8>> {
    vec![
        server_hello(&[0x22; 32], &[0xbb; 32], suite, list),
        certificates(&[certificate("example.org"), certificate("ca.example.org")]),
        message(12, [3, 0, 29, 1, 5]),
        message(14, []),
    ]
}

fn hello12() -> Vec<u8> {
    client_hello(&[], &[0xc02f, 0x009c], &[server_name("example.org"), (35, Vec::new())])
}

#[test]
fn tls_12_shows_its_certificates_however_messages_lie_in_records() {
    let flight = flight12(0xc02f, &[alpn(&["h2"])]);
    let together = handshake(flight.concat());
    let apart: Vec<u8> = flight.iter().flat_map(handshake).collect();
    let in_pieces: Vec<u8> = flight.concat().chunks(7).flat_map(handshake).collect();
    for served in [together, apart, in_pieces] {
        let steps = [
            send(handshake(hello12())),
            recv(served),
            send([handshake(message(16, [4; 33])), change_cipher(), handshake(ciphertext(40))].concat()),
            recv([handshake(message(4, [0, 0, 0x0e, 0x10, 0, 2, 1, 1])), change_cipher()].concat()),
            recv(handshake(ciphertext(40))),
            send(data(100)),
            recv([data(200), cut(21, TLS12, ciphertext(26))].concat()),
        ];
        let outcome = talk(&steps);
        let expected = [
            "ClientHello example.org -> TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 h2",
            "application data: 1 record 100 B -> 1 record 200 B, 1 alert",
        ];
        assert_eq!(outcome.summaries(), expected);
        let answer = response(&outcome.records[0]);
        let Value::List(chain) = value(answer, "certificates") else { panic!("no list") };
        let Value::Map(first) = &chain[0] else { panic!("no map") };
        let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let of = |name: &'static str| {
            first.iter().find(|pair| pair.0 == Value::Text(name.into())).map(|pair| &pair.1)
        };
        assert_eq!(chain.len(), 2);
        assert_eq!(of("subject"), Some(&text("CN=example.org")));
        assert_eq!(of("issuer"), Some(&text("CN=Test CA")));
        assert_eq!(of("serial_number"), Some(&text("01ff")));
        assert_eq!(of("not_before"), Some(&text("2024-01-01T00:00:00Z")));
        assert_eq!(of("not_after"), Some(&text("2050-01-01T00:00:00Z")));
        assert_eq!(of("public_key"), Some(&text("EC secp256r1")));
        let names = Value::List(["DNS:example.org", "DNS:*.example.net", "IP:192.0.2.1"].map(text).to_vec());
        assert_eq!(of("subject_alternative_name"), Some(&names));
        assert_eq!(*value(answer, "ticket_lifetime_hint"), Value::Number(3600));
        assert_eq!(*value(answer, "named_curve"), Value::Text("x25519".into()));
        let said = ["ClientHello", "ClientKeyExchange", "change_cipher_spec", "Finished (encrypted)"];
        assert_eq!(*value(request(&outcome.records[0]), "messages"), words(&said));
    }
}

#[test]
fn a_client_that_does_not_wait_for_the_servers_finished_is_followed() {
    let steps = [
        send(handshake(hello12())),
        recv(handshake(flight12(0x009c, &[]).concat())),
        send(
            [handshake(message(16, [4; 33])), change_cipher(), handshake(ciphertext(40)), data(77)].concat(),
        ),
        recv([change_cipher(), handshake(ciphertext(40)), data(10)].concat()),
    ];
    let expected = [
        "ClientHello example.org -> TLS 1.2 TLS_RSA_WITH_AES_128_GCM_SHA256",
        "application data: 1 record 77 B -> 1 record 10 B",
    ];
    assert_eq!(talk(&steps).summaries(), expected);
}

#[test]
fn a_session_that_goes_on_is_said_to() {
    let steps = [
        send(handshake(client_hello(&[0xbb; 32], &[0xc02f], &[server_name("example.org")]))),
        recv(
            [
                handshake(server_hello(&[0x22; 32], &[0xbb; 32], 0xc02f, &[])),
                change_cipher(),
                handshake(ciphertext(40)),
            ]
            .concat(),
        ),
        send([change_cipher(), handshake(ciphertext(40)), data(5)].concat()),
        recv(data(6)),
    ];
    let outcome = talk(&steps);
    let expected = [
        "ClientHello example.org -> TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 resumed",
        "application data: 1 record 5 B -> 1 record 6 B",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(*value(response(&outcome.records[0]), "resumed"), Value::Flag(true));
    // Of TLS 1.3 the server tells by taking a key that was offered.
    let steps = [
        send(handshake(hello13("example.org"))),
        recv([handshake(answer13(&[(41, numbers(&[0]))])), data(60)].concat()),
        send(data(53)),
    ];
    assert_eq!(
        talk(&steps).summaries()[0],
        "ClientHello example.org (h2, http/1.1) -> TLS 1.3 TLS_AES_256_GCM_SHA384 resumed"
    );
}

#[test]
fn a_server_that_asks_for_another_hello_has_one_handshake() {
    let retry =
        server_hello(&retry_random(), &[0xaa; 32], 0x1302, &[(51, numbers(&[23])), (43, numbers(&[0x0304]))]);
    let steps = [
        send(cut(22, TLS10, hello13("example.org"))),
        recv([handshake(retry), change_cipher()].concat()),
        send([change_cipher(), handshake(hello13("example.org"))].concat()),
        recv([handshake(answer13(&[])), data(900)].concat()),
        send([data(53), data(30)].concat()),
    ];
    let outcome = talk(&steps);
    let expected = [
        "ClientHello example.org (h2, http/1.1) -> TLS 1.3 TLS_AES_256_GCM_SHA384",
        "application data: 2 records 83 B -> 1 record 900 B",
    ];
    assert_eq!(outcome.summaries(), expected);
    let Value::Map(retried) = value(response(&outcome.records[0]), "hello_retry_request") else {
        panic!("no map")
    };
    assert!(
        retried.contains(&(Value::Text("key_share".into()), Value::Text("secp256r1".into()))),
        "{retried:?}"
    );
    let said = ["ClientHello", "change_cipher_spec", "ClientHello"];
    assert_eq!(*value(request(&outcome.records[0]), "messages"), words(&said));
    assert!(matches!(value(request(&outcome.records[0]), "second_client_hello"), Value::Map(_)));
}

#[test]
fn data_before_another_hello_hides_it_not() {
    let retry = server_hello(&retry_random(), &[0xaa; 32], 0x1302, &[(43, numbers(&[0x0304]))]);
    let list = [(42, Vec::new()), (43, list8(numbers(&[0x0304])))];
    let steps = [
        // The client goes on as if its key were taken: what it sends till the answer comes is lost to the server.
        send([handshake(client_hello(&[], &[0x1302], &list)), change_cipher(), data(300)].concat()),
        recv([handshake(retry), change_cipher()].concat()),
        send(handshake(hello13("example.org"))),
        recv([handshake(answer13(&[])), data(900)].concat()),
        send(data(53)),
    ];
    let outcome = talk(&steps);
    let expected = [
        "ClientHello -> TLS 1.3 TLS_AES_256_GCM_SHA384",
        "application data: 2 records 353 B -> 1 record 900 B",
    ];
    assert_eq!(outcome.summaries(), expected);
    let Value::Map(second) = value(request(&outcome.records[0]), "second_client_hello") else {
        panic!("no map")
    };
    assert!(second.contains(&(Value::Text("server_name".into()), Value::Bytes(b"example.org".to_vec()))));
}

#[test]
fn a_handshake_that_fails_names_the_alert_and_who_sent_it() {
    let refused = [send(handshake(hello13("example.org"))), recv(alert(2, 70))];
    let outcome = talk(&refused);
    assert_eq!(
        outcome.summaries(),
        ["ClientHello example.org (h2, http/1.1) -> server: fatal protocol_version"]
    );
    let unknown =
        [send(handshake(hello12())), recv(handshake(flight12(0xc02f, &[]).concat())), send(alert(2, 48))];
    let line =
        "ClientHello example.org -> TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; client: fatal unknown_ca";
    assert_eq!(talk(&unknown).summaries(), [line]);
    // A warning that ends nothing.
    let mut warned = unknown.to_vec();
    warned[1] = recv([alert(1, 112), handshake(flight12(0xc02f, &[]).concat())].concat());
    let line = "ClientHello example.org -> TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; client: fatal unknown_ca; \
                server: warning unrecognized_name";
    assert_eq!(talk(&warned).summaries(), [line]);
    // Of TLS 1.3 the client's alert is encrypted; by its length it can be nothing else.
    let hidden = [
        send(handshake(hello13("example.org"))),
        recv([handshake(answer13(&[])), data(900)].concat()),
        send([change_cipher(), data(19)].concat()),
    ];
    let outcome = talk(&hidden);
    let expected = [
        "ClientHello example.org (h2, http/1.1) -> TLS 1.3 TLS_AES_256_GCM_SHA384; client: encrypted alert",
        "application data: 1 record 900 B",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(*value(request(&outcome.records[0]), "encrypted_alert"), Value::Flag(true));
}

#[test]
fn a_handshake_without_end_or_answer_says_so() {
    let half = [send(handshake(hello12())), recv(handshake(flight12(0xc02f, &[]).concat()))];
    let line = "ClientHello example.org -> TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; not finished";
    assert_eq!(talk(&half).summaries(), [line]);
    assert_eq!(talk(&half[..1]).summaries(), ["ClientHello example.org [no-response]"]);
    assert_eq!(talk(&half[1..]).summaries(), ["TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 [no-request]"]);
}

#[test]
fn early_data_is_offered_and_its_length_is_no_alert() {
    let list = [(42, Vec::new()), (43, list8(numbers(&[0x0304])))];
    let steps = [
        send([handshake(client_hello(&[], &[0x1302], &list)), change_cipher(), data(19)].concat()),
        recv([handshake(answer13(&[(41, numbers(&[0]))])), change_cipher(), data(80)].concat()),
        send([data(21), data(53)].concat()),
    ];
    let outcome = talk(&steps);
    let expected = [
        "ClientHello -> TLS 1.3 TLS_AES_256_GCM_SHA384 resumed",
        "application data: 3 records 93 B -> 1 record 80 B",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(*value(request(&outcome.records[0]), "early_data"), Value::Flag(true));
}

#[test]
fn latency_is_from_hello_to_hello() {
    let setup = Setup { pause: 1_000, ..Setup::default() };
    let steps = [
        send(handshake(hello12())),
        recv(handshake(flight12(0x009c, &[]).concat())),
        send([handshake(message(16, [4; 33])), change_cipher(), handshake(ciphertext(40))].concat()),
        recv([change_cipher(), handshake(ciphertext(40))].concat()),
    ];
    let outcome = crate::protocol::testing::run(&PROTOCOL, &steps, setup);
    assert_eq!(outcome.records[0].latency(), Some(1_000));
    assert_eq!(outcome.records[0].status, Status::Complete);
}

/// The ClientHello of SSL 2: cipher specs of three bytes, a challenge.
fn hello2(version: u16) -> Vec<u8> {
    let specs = [[0, 0, 0x2f], [1, 0, 0x80]].concat();
    let lengths = [specs.len() as u16, 0, 16].map(u16::to_be_bytes).concat();
    let body = [&[1], &version.to_be_bytes()[..], &lengths, &specs, &[5; 16]].concat();
    [&[0x80, body.len() as u8], &body[..]].concat()
}

#[test]
fn a_hello_of_ssl_2_can_begin_tls() {
    let steps = [
        send(hello2(TLS10)),
        recv(handshake(flight12(0x002f, &[]).concat())),
        send([handshake(message(16, [4; 33])), change_cipher(), handshake(ciphertext(40)), data(1)].concat()),
        recv([change_cipher(), handshake(ciphertext(40)), data(2)].concat()),
    ];
    let outcome = talk(&steps);
    let expected = [
        "ClientHello of SSL 2 for TLS 1.0 -> TLS 1.2 TLS_RSA_WITH_AES_128_CBC_SHA",
        "application data: 1 record 1 B -> 1 record 2 B",
    ];
    assert_eq!(outcome.summaries(), expected);
    let suites = words(&["TLS_RSA_WITH_AES_128_CBC_SHA", "SSL2_RC4_128_WITH_MD5"]);
    assert_eq!(*value(request(&outcome.records[0]), "cipher_suites"), suites);
}

#[test]
fn a_connection_can_stay_with_ssl_2() {
    let der = certificate("old.example");
    let lengths = [der.len() as u16, 3, 16].map(u16::to_be_bytes).concat();
    let body = [&[4, 0, 1, 0, 2][..], &lengths, &der, &[1, 0, 0x80], &[6; 16]].concat();
    let answer = [&[0x80 | (body.len() >> 8) as u8, body.len() as u8], &body[..]].concat();
    let steps = [
        send(hello2(2)),
        recv(answer),
        send([&[0x80, 5, 2, 1, 1, 1, 1][..], &[0x80, 20], &ciphertext(20)].concat()),
        recv([&[0x80, 30][..], &ciphertext(30)].concat()),
    ];
    let outcome = talk(&steps);
    let expected =
        ["ClientHello of SSL 2 for SSL 2.0 -> SSL 2.0", "application data: 1 record 17 B -> 1 record 27 B"];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(
        *value(request(&outcome.records[0]), "messages"),
        words(&["ClientHello (SSL 2.0)", "ClientMasterKey"])
    );
    assert!(
        matches!(value(response(&outcome.records[0]), "certificates"), Value::List(chain) if chain.len() == 1)
    );
}
