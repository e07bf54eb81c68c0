//! Flags of meta commands and of their answers, by their documented meaning (doc/protocol.txt, "Meta Commands").

use super::command::{Verb, number, signed};
use crate::record::Value;
use data_encoding::BASE64;

/// What a flag of a command means. `P` and `L` are hints for proxies, which servers ignore.
pub fn asked(verb: Verb, flag: u8) -> Option<&'static str> {
    Some(match (verb, flag) {
        (_, b'b') => "base64_key",
        (_, b'c') => "return_cas",
        (_, b'f') => "return_client_flags",
        (_, b'h') => "return_hit_before",
        (_, b'k') => "return_key",
        (_, b'l') => "return_last_access",
        (_, b's') => "return_size",
        (_, b't') => "return_ttl",
        (_, b'v') => "return_value",
        (_, b'O') => "opaque",
        (_, b'q') => "quiet",
        (_, b'u') => "no_bump",
        (_, b'x') => "remove_value",
        (_, b'C') => "compare_cas",
        (_, b'D') => "delta",
        (_, b'E') => "new_cas",
        (_, b'F') => "client_flags",
        (_, b'I') => "invalidate",
        (_, b'J') => "initial_value",
        (_, b'M') => "mode",
        (_, b'N') => "vivify_ttl",
        (_, b'R') => "recache_ttl",
        (_, b'T') => "ttl",
        (_, b'L' | b'P') => "proxy_hint",
        _ => return None,
    })
}

/// What a flag of an answer means.
pub fn answered(flag: u8) -> Option<&'static str> {
    Some(match flag {
        b'b' => "base64_key",
        b'c' => "cas",
        b'f' => "client_flags",
        b'h' => "hit_before",
        b'k' => "key",
        b'l' => "last_access",
        b'O' => "opaque",
        b's' => "size",
        b't' => "ttl",
        b'W' => "won_recache",
        b'X' => "stale",
        b'Z' => "win_already_sent",
        _ => return None,
    })
}

/// Flags that an answer has without having been asked for them.
pub const UNASKED: &[u8] = b"WXZb";

/// What the letter behind `M` stands for.
fn mode(verb: Verb, letter: u8) -> Option<&'static str> {
    Some(match (verb, letter.to_ascii_uppercase()) {
        (Verb::MetaSet, b'E') => "add",
        (Verb::MetaSet, b'A') => "append",
        (Verb::MetaSet, b'P') => "prepend",
        (Verb::MetaSet, b'R') => "replace",
        (Verb::MetaSet, b'S') => "set",
        (Verb::MetaArithmetic, b'I' | b'+') => "increment",
        (Verb::MetaArithmetic, b'D' | b'-') => "decrement",
        _ => return None,
    })
}

/// Whether a server takes these words as the flags of a command: each a known letter, and none twice.
pub fn are_flags(words: &[&[u8]]) -> bool {
    let mut seen = 0u128;
    words.iter().all(|word| {
        let Some(&flag) = word.first().filter(|flag| flag.is_ascii_alphabetic()) else { return false };
        let bit = 1u128 << flag;
        let is_new = seen & bit == 0;
        seen |= bit;
        is_new && asked(Verb::MetaGet, flag).is_some()
    })
}

/// Names and values of flags: a number, a text, or true for a flag that has no token.
pub fn values(words: &[&[u8]], name: impl Fn(u8) -> Option<&'static str>, verb: Verb) -> Value {
    let one = |word: &&[u8]| {
        let (&flag, token) = word.split_first()?;
        let name = match name(flag) {
            Some(name) => Value::Text(name.into()),
            None => Value::Bytes(vec![flag]),
        };
        let value = match token {
            [] => Value::Flag(true),
            [letter] if flag == b'M' => {
                mode(verb, *letter).map_or(Value::Bytes(vec![*letter]), |mode| Value::Text(mode.into()))
            }
            // Flags that stand for a state are written as 0 or 1.
            [digit @ (b'0' | b'1')] if flag == b'h' => Value::Flag(*digit == b'1'),
            token if !matches!(flag, b'O' | b'k' | b'P' | b'L') => numeric(token),
            token => Value::Bytes(token.to_vec()),
        };
        Some((name, value))
    };
    Value::Map(words.iter().filter_map(one).collect())
}

fn numeric(token: &[u8]) -> Value {
    match signed(token) {
        Some(number) => Value::Number(number),
        // CAS values are unsigned numbers of 64 bits.
        None if number(token).is_some() => Value::Text(String::from_utf8_lossy(token).into_owned().into()),
        None => Value::Bytes(token.to_vec()),
    }
}

/// The token of a flag, where it is there.
pub fn token<'a>(words: &[&'a [u8]], flag: u8) -> Option<&'a [u8]> {
    words
        .iter()
        .find_map(|word| word.split_first().filter(|(first, _)| **first == flag).map(|(_, token)| token))
}

/// The bytes that a key in base64 stands for.
pub fn decoded(key: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(key).ok()
}
