//! Fingerprints that others published for hellos of which they published the parts.

use super::super::fingerprint::{ja3, ja4};
use super::super::hello::Hello;
use super::*;

/// A Chrome whose parts and fingerprints browserleaks.com wrote down, with GREASE where Chrome puts it.
#[test]
fn a_published_hello_has_the_published_fingerprints() {
    let suites = [
        0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
        0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
    let empty = |number: u16| (number, Vec::new());
    let list = [
        empty(0x8a8a),
        empty(45),
        empty(51),
        alpn(&["h2", "http/1.1"]),
        empty(65037),
        empty(23),
        empty(17613),
        server_name("tls.browserleaks.com"),
        (11, list8([0])),
        (10, list16(numbers(&[0x9a9a, 4588, 29, 23, 24]))),
        (43, list8(numbers(&[0xdada, 0x0304, 0x0303]))),
        empty(65281),
        empty(35),
        empty(18),
        empty(5),
        (13, list16(numbers(&signatures))),
        empty(27),
        (0x1a1a, vec![0]),
    ];
    let bytes = client_hello(&[], &suites, &list);
    let hello = Hello::client(&bytes[4..]).expect("a hello");
    assert_eq!(ja4(&hello), "t13d1516h2_8daaf6152771_d8a2da3f94cd");
    assert_eq!(ja3(&hello), "98487aa16281980e7d1120d399efb6a4");
}

#[test]
fn what_a_hello_lacks_has_its_sign() {
    let ja4_of = |suites: &[u16], list: &[(u16, Vec<u8>)]| {
        let bytes = client_hello(&[], suites, list);
        ja4(&Hello::client(&bytes[4..]).expect("a hello"))
    };
    assert_eq!(ja4_of(&[], &[]), "t12i000000_000000000000_000000000000");
    assert!(ja4_of(&[], &[alpn(&["h"])]).starts_with("t12i0001hh_"));
    // Not a letter at an end: hexadecimal digits of both ends.
    assert!(ja4_of(&[], &[alpn(&["\u{1}2-"])]).starts_with("t12i00010d_"));
    assert!(
        ja4_of(&[0x0a0a, 0x1301], &[server_name("x"), (43, list8(numbers(&[0x0302])))])
            .starts_with("t11d0102")
    );
    assert!(ja4_of(&(0..120).collect::<Vec<u16>>(), &[]).starts_with("t12i9900"));
}
