//! Fingerprints of hellos: JA4 of clients (<https://github.com/FoxIO-LLC/ja4>, "technical_details/JA4.md"), JA3 and
//! JA3S (<https://github.com/salesforce/ja3>).

use super::hello::{Hello, extension, without_grease};
use super::names::is_grease;
use data_encoding::HEXLOWER;
use md5::Md5;
use sha2::{Digest, Sha256};

/// JA3: MD5 over version, cipher suites, extensions, groups and point formats, in the order in which the client has
/// them.
pub fn ja3(hello: &Hello<'_>) -> String {
    let numbers: Vec<u16> = hello.extensions.iter().map(|(number, _)| *number).collect();
    let points: Vec<u16> = hello.point_formats().iter().map(|&format| format.into()).collect();
    let lists = [&hello.cipher_suites, &numbers, &hello.groups(), &points].map(|list| decimal(list));
    md5(&format!("{},{}", hello.version, lists.join(",")))
}

/// JA3S: MD5 over version, cipher suite and extensions of the server's answer.
pub fn ja3s(hello: &Hello<'_>) -> String {
    let numbers: Vec<u16> = hello.extensions.iter().map(|(number, _)| *number).collect();
    let list = |numbers: &[u16]| numbers.iter().map(u16::to_string).collect::<Vec<_>>().join("-");
    md5(&format!("{},{},{}", hello.version, list(&hello.cipher_suites), list(&numbers)))
}

/// JA4 of a client over TCP.
pub fn ja4(hello: &Hello<'_>) -> String {
    let offered = without_grease(&hello.offered_versions()).max().unwrap_or(0);
    let version = match offered {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    };
    let mut suites: Vec<u16> = without_grease(&hello.cipher_suites).collect();
    let mut extensions: Vec<u16> =
        hello.extensions.iter().map(|(number, _)| *number).filter(|&number| !is_grease(number)).collect();
    let name = if extensions.contains(&extension::SERVER_NAME) { 'd' } else { 'i' };
    let counts = [suites.len().min(99), extensions.len().min(99)];
    let first = hello.alpn().first().map_or("00".to_owned(), |name| ends(name));
    suites.sort_unstable();
    extensions.retain(|number| ![extension::SERVER_NAME, extension::ALPN].contains(number));
    extensions.sort_unstable();
    let signatures: Vec<u16> = without_grease(&hello.signatures()).collect();
    let mut listed = hexadecimal(&extensions);
    if !signatures.is_empty() {
        listed = format!("{listed}_{}", hexadecimal(&signatures));
    }
    let digests = [hexadecimal(&suites), listed].map(|list| sha256(&list));
    let [suites, extensions] = counts;
    format!("t{version}{name}{suites:02}{extensions:02}{first}_{}", digests.join("_"))
}

/// The first and last character of a name; where one is no letter or digit, those of its hexadecimal form.
fn ends(name: &[u8]) -> String {
    match (name.first(), name.last()) {
        (Some(first), Some(last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
            format!("{}{}", char::from(*first), char::from(*last))
        }
        (Some(first), Some(last)) => format!("{:x}{:x}", first >> 4, last & 0x0f),
        _ => "00".to_owned(),
    }
}

fn decimal(numbers: &[u16]) -> String {
    without_grease(numbers).map(|number| number.to_string()).collect::<Vec<_>>().join("-")
}

fn hexadecimal(numbers: &[u16]) -> String {
    numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",")
}

fn md5(text: &str) -> String {
    HEXLOWER.encode(&Md5::digest(text.as_bytes()))
}

/// The first six bytes of the digest; zeros stand for that of an empty list.
fn sha256(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let mut hex = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    hex.truncate(12);
    hex
}
