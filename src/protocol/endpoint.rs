//! What a record counts as where records are counted: the endpoint that was asked, and whether it failed.
//!
//! A name stands for many requests, so what tells single ones apart is taken out: the query of a path, identifiers
//! within it, the literals of a statement.

use crate::record::{Message, Record, Value};
use std::borrow::Cow;

/// What a record counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What was asked, such as `GET /users/*` or `SELECT * FROM t WHERE id = ?`. May hold any character of the peer's.
    pub name: String,
    /// The answer says that it failed. Not true of an answer that is missing.
    pub failed: bool,
}

/// Longest name, in bytes; the rest is cut.
const NAME_MAX: usize = 120;

/// Of any protocol: what its summary says before the answer; failed where a message has an `error` that is not zero.
pub fn of_summary(record: &Record) -> Endpoint {
    let asked = record.summary.split(" -> ").next().unwrap_or_default();
    Endpoint { name: statement(asked), failed: has_error(record) }
}

/// Of HTTP, with the names of the fields that hold the method and the target. Failed with a status of 400 and above.
pub fn of_http(record: &Record, method: &str, target: &str) -> Endpoint {
    let Some(method) = asked(record, method) else { return of_summary(record) };
    let path = path(&asked(record, target).unwrap_or_default());
    let status = answered(record, "status").and_then(|status| status.parse::<u32>().ok());
    Endpoint { name: format!("{method} {path}"), failed: status.is_some_and(|status| status >= 400) }
}

/// The text of a request's field.
pub fn asked<'a>(record: &'a Record, name: &str) -> Option<Cow<'a, str>> {
    text(record.request.as_ref()?, name)
}

/// The text of a response's field.
pub fn answered<'a>(record: &'a Record, name: &str) -> Option<Cow<'a, str>> {
    text(record.response.as_ref()?, name)
}

fn text<'a>(message: &'a Message, name: &str) -> Option<Cow<'a, str>> {
    match message.field(name)? {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// A message has a field `error` that says more than zero or nothing.
pub fn has_error(record: &Record) -> bool {
    let errors = record.messages().filter_map(|message| message.field("error"));
    errors.into_iter().any(|error| !matches!(error, Value::Null | Value::Number(0) | Value::Flag(false)))
}

/// The first words of the summary before the answer: what was asked, and of what.
pub fn first_words(record: &Record, count: usize) -> String {
    let asked = record.summary.split(" -> ").next().unwrap_or_default();
    shortened(&asked.split_whitespace().take(count).collect::<Vec<_>>().join(" "))
}

/// Whether a message has a field of which this holds, however deep in lists and maps.
pub fn any_field(record: &Record, holds: impl Fn(&str, &Value) -> bool) -> bool {
    let mut fields = record.messages().flat_map(|message| &message.fields);
    fields.any(|field| any_within(&field.name, &field.value, &holds))
}

fn any_within(name: &str, value: &Value, holds: &impl Fn(&str, &Value) -> bool) -> bool {
    let key = |key: &Value| match key {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        _ => Cow::Borrowed(""),
    };
    holds(name, value)
        || match value {
            Value::List(values) => values.iter().any(|value| any_within(name, value, holds)),
            Value::Map(entries) => entries.iter().any(|(name, value)| any_within(&key(name), value, holds)),
            _ => false,
        }
}

/// A path without its query, and with a star for each part that looks like an identifier.
pub fn path(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').map(|part| if is_identifier(part) { "*" } else { part }).collect();
    shortened(&parts.join("/"))
}

/// A topic of a broker, or a filter of topics, with a star for each level that looks like an identifier.
pub fn topic(topic: &str) -> String {
    let levels: Vec<&str> =
        topic.split('/').map(|level| if is_identifier(level) { "*" } else { level }).collect();
    shortened(&levels.join("/"))
}

/// A number, a UUID, or a long hexadecimal one.
fn is_identifier(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_hexadecimal = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    digits > 0 && (digits == part.len() || is_hexadecimal && part.len() >= 16)
}

/// A statement on one line, with a question mark for each literal: quoted text, and numbers that are no part of a name.
pub fn statement(text: &str) -> String {
    statement_with(text, &['\''])
}

/// The same, where other marks quote literals, too.
pub fn statement_with(text: &str, quotes: &[char]) -> String {
    let mut name = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        // What is left out can be long; what is kept is bounded.
        if name.len() > NAME_MAX {
            break;
        }
        let in_name = name.ends_with(|last: char| last.is_alphanumeric() || matches!(last, '_' | '$' | '.'));
        match character {
            quote if quotes.contains(&quote) => {
                // A doubled quotation mark stands for one.
                while let Some(next) = characters.next() {
                    if next == quote && characters.next_if_eq(&quote).is_none() {
                        break;
                    }
                }
                name.push('?');
            }
            digit if digit.is_ascii_digit() && !in_name => {
                while characters.next_if(|next| next.is_ascii_alphanumeric() || *next == '.').is_some() {}
                name.push('?');
            }
            blank if blank.is_whitespace() => {
                if !name.ends_with(' ') && !name.is_empty() {
                    name.push(' ');
                }
            }
            other => name.push(other),
        }
    }
    shortened(name.trim_end())
}

/// At most `NAME_MAX` bytes of a name.
pub fn shortened(text: &str) -> String {
    let mut end = text.len().min(NAME_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_resource_have_one_name() {
        assert_eq!(path("/users/17/orders?page=2"), "/users/*/orders");
        assert_eq!(path("/a/550e8400-e29b-41d4-a716-446655440000"), "/a/*");
        assert_eq!(path("/v1/b2#top"), "/v1/b2");
        assert_eq!(path("/decade/cafe"), "/decade/cafe", "words may consist of hexadecimal digits");
        assert_eq!(path("*"), "*");
        assert_eq!(path(""), "");
    }

    #[test]
    fn topics_that_differ_in_identifiers_have_one_name() {
        assert_eq!(topic("home/17/temperature"), "home/*/temperature");
        assert_eq!(topic("home/+/#"), "home/+/#", "a filter is no path with a fragment");
        assert_eq!(topic("what?/a"), "what?/a");
    }

    #[test]
    fn statements_that_differ_in_literals_have_one_name() {
        let name = "SELECT a1, t2.b FROM t2 WHERE c = ? AND d = ? AND e = $1";
        assert_eq!(
            statement("SELECT a1, t2.b\n\tFROM t2 WHERE c = 'it''s' AND d = 3.5e7  AND e = $1 "),
            name
        );
        assert_eq!(statement("SELECT a1, t2.b FROM t2 WHERE c = '' AND d = 0x1f AND e = $1"), name);
        assert_eq!(statement("SELECT 'never closed"), "SELECT ?");
    }

    #[test]
    fn names_are_short() {
        let long = "ä".repeat(1000);
        for name in [path(&long), statement(&long)] {
            assert!(name.len() <= NAME_MAX + '…'.len_utf8() && name.ends_with('…'), "{name}");
        }
        assert_eq!(statement(&format!("VALUES ('{long}')")), "VALUES (?)");
    }
}
