//! Which records are shown: conditions over their fields, as `protocol=http1 status>=500`.
//!
//! Conditions are separated by blanks, and all have to hold. A name is a field of the request or of the response, as in
//! JSON; with `request.` or `response.` in front, of that one only, and with a dot behind it, an entry of a map
//! (`headers.host`). Names of the record itself come first: `protocol`, `record` (its status: complete, no-response,
//! no-request, truncated), `latency`, `summary`, `cause`, `pid`, `comm`, `fd`, `socket`, `local`, `remote`, `role`.

use super::time::rfc3339;
use crate::conn::Info;
use crate::event::{Cause, Role};
use crate::protocol;
use crate::record::{Message, Record, Status, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::iter;
use std::str::FromStr;

/// Conditions that all have to hold.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<Condition>);

#[derive(Clone, Debug)]
struct Condition {
    name: String,
    operator: Operator,
    value: String,
    /// The value as a number; of a duration, in nanoseconds.
    number: Option<f64>,
    /// A record was asked for this name, and one had it.
    asked: bool,
    found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
}

/// A protocol of records that is none of the table: it is carried by another.
const GRPC: &str = "grpc";

/// Longer ones first: one is the beginning of another.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::Unequal),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("~", Operator::Contains),
];

impl FromStr for Query {
    type Err = String;

    fn from_str(text: &str) -> Result<Query, String> {
        let conditions: Vec<Condition> =
            words(text)?.iter().map(|word| condition(word)).collect::<Result<_, _>>()?;
        match conditions.is_empty() {
            true => Err("expected conditions, as in protocol=http1 status>=500".to_owned()),
            false => Ok(Query(conditions)),
        }
    }
}

/// Splits at blanks outside of quotes, which are taken away.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for character in text.chars() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        return Err(format!("a quotation mark is missing in {text:?}"));
    }
    words.extend(word);
    Ok(words)
}

fn condition(word: &str) -> Result<Condition, String> {
    let found = word.char_indices().find_map(|(at, _)| {
        let rest = &word[at..];
        let (sign, operator) = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign))?;
        Some((&word[..at], *operator, &rest[sign.len()..]))
    });
    match found {
        Some((name, operator, value)) if !name.is_empty() => {
            let (name, value) = (name.to_owned(), value.to_owned());
            let number = number(&value);
            let condition = Condition { name, operator, value, number, asked: false, found: false };
            condition.check().map(|()| condition)
        }
        _ => Err(format!("no condition: {word:?}; expected a name, one of = != < <= > >= ~, and a value")),
    }
}

/// A number, or a duration in nanoseconds.
fn number(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "" | "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * scale)
}

impl Query {
    /// True where the record meets all conditions.
    pub fn matches(&mut self, info: &Info, record: &Record) -> bool {
        self.0.iter_mut().all(|condition| condition.holds(info, record))
    }

    /// Names that no record had of those that met the conditions in front: they may be misspelt.
    pub fn never_found(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|one| one.asked && !one.found).map(|one| one.name.as_str())
    }
}

/// What the values of a name of the record itself can be.
fn possible(name: &str) -> Option<Vec<&'static str>> {
    let statuses = [Status::Complete, Status::NoResponse, Status::NoRequest, Status::Truncated];
    let roles = [Role::Client, Role::Server, Role::Unknown];
    Some(match name {
        "protocol" => protocol::ALL.iter().map(|one| one.name).chain(iter::once(GRPC)).collect(),
        "record" => statuses.iter().map(|one| one.name()).collect(),
        "role" => roles.iter().map(|one| one.name()).collect(),
        "cause" => Cause::ALL.iter().map(|one| one.slug()).collect(),
        _ => return None,
    })
}

impl Condition {
    /// A value that no record can have is a mistake.
    fn check(&self) -> Result<(), String> {
        let Condition { name, operator, value, .. } = self;
        if *operator == Operator::Contains {
            return Ok(());
        }
        if let Some(possible) = possible(name)
            && !possible.contains(&value.as_str())
        {
            return Err(format!("{name} is never {value:?}; it is one of {}", possible.join(", ")));
        }
        match name.as_str() {
            "latency" if self.number.is_none() => {
                Err(format!("{value:?} is no duration; expected one such as 5ms, 200us or 1s"))
            }
            "pid" | "fd" | "socket" if self.number.is_none() => {
                Err(format!("{name} is a number, and never {value:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Of several values with the name one has to fit; unequal means that none is equal, and holds where there is none.
    fn holds(&mut self, info: &Info, record: &Record) -> bool {
        let mut values = Vec::new();
        self.asked = true;
        match own(&self.name, info, record) {
            Some(own) => (self.found, values) = (true, own),
            None => fields(&self.name, record, &mut values),
        }
        self.found |= !values.is_empty();
        match self.operator {
            Operator::Unequal => !values.iter().any(|value| self.fits(value, Operator::Equal)),
            operator => values.iter().any(|value| self.fits(value, operator)),
        }
    }

    fn fits(&self, value: &Value, operator: Operator) -> bool {
        if let Value::List(values) = value {
            return values.iter().any(|value| self.fits(value, operator));
        }
        if operator == Operator::Contains {
            return text(value).to_lowercase().contains(&self.value.to_lowercase());
        }
        let order = match (as_number(value), self.number) {
            (Some(value), Some(wanted)) => value.partial_cmp(&wanted),
            _ => Some(text(value).as_ref().cmp(self.value.as_str())),
        };
        match operator {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Operator::Unequal | Operator::Contains => false,
        }
    }
}

/// The values of a name of the record itself; `None` where it is no such name.
fn own(name: &str, info: &Info, record: &Record) -> Option<Vec<Value>> {
    let words = |text: String| vec![Value::Bytes(text.into_bytes())];
    let numbers = |number: Option<i64>| number.map(Value::Number).into_iter().collect();
    Some(match name {
        "protocol" => words(record.protocol.to_owned()),
        "record" => words(record.status.name().to_owned()),
        "summary" => words(record.summary.clone()),
        "latency" => numbers(record.latency().map(|latency| i64::try_from(latency).unwrap_or(i64::MAX))),
        "time" => words(rfc3339(record.started())),
        "cause" => record.causes().iter().map(|cause| Value::Text(Cow::Borrowed(cause.slug()))).collect(),
        "pid" => numbers(info.task.map(|task| task.pid.into())),
        "comm" => info.task.iter().map(|task| Value::Bytes(task.comm.as_bytes().to_vec())).collect(),
        "fd" => numbers(info.fd.map(i64::from)),
        "socket" => numbers(i64::try_from(info.id.socket).ok()),
        "local" => info.open.local.iter().flat_map(|address| words(address.to_string())).collect(),
        "remote" => info.open.remote.iter().flat_map(|address| words(address.to_string())).collect(),
        "role" => words(info.open.role.name().to_owned()),
        _ => return None,
    })
}

/// The values of a name in the messages.
fn fields(name: &str, record: &Record, values: &mut Vec<Value>) {
    let (messages, name): (Vec<&Message>, &str) = match name.split_once('.') {
        Some(("request", rest)) => (record.request.iter().collect(), rest),
        Some(("response", rest)) => (record.response.iter().collect(), rest),
        _ => (record.messages().collect(), name),
    };
    for field in messages.iter().flat_map(|message| &message.fields) {
        if field.name == name {
            values.push(field.value.clone());
        } else if let Some(rest) = name.strip_prefix(&*field.name).and_then(|rest| rest.strip_prefix('.')) {
            entries(rest, &field.value, values);
        }
    }
}

/// The values of a key in a map; keys of maps are often names whose case means nothing.
fn entries(key: &str, value: &Value, values: &mut Vec<Value>) {
    let Value::Map(entries) = value else { return };
    let same = entries.iter().filter(|(name, _)| text(name).eq_ignore_ascii_case(key));
    values.extend(same.map(|(_, value)| value.clone()));
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes),
        Value::Text(text) => Cow::Borrowed(text),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Float(number) => Cow::Owned(number.to_string()),
        Value::Flag(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Null | Value::List(_) | Value::Map(_) => Cow::Borrowed(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cause, Direction, Range, Timestamp};
    use crate::record::{Field, Status};

    fn record() -> Record {
        let message = |direction, times: [u64; 2], fields| Message {
            direction,
            range: Range::new(0, 10),
            started: Timestamp(times[0]),
            ended: Timestamp(times[1]),
            fields,
            causes: vec![Cause::FieldTruncated],
            parts: Vec::new(),
        };
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let headers =
            Value::Map(vec![(bytes("Host"), bytes("example.org")), (bytes("Accept"), bytes("a b"))]);
        let request = vec![Field::new("method", bytes("GET")), Field::new("headers", headers)];
        let response = vec![
            Field::new("status", Value::Number(503)),
            Field::new("interim", Value::List(vec![Value::Number(100), Value::Number(103)])),
        ];
        Record {
            protocol: "http1",
            status: Status::Complete,
            summary: "503 GET /a".to_owned(),
            request: Some(message(Direction::Send, [0, 1_000_000], request)),
            response: Some(message(Direction::Recv, [3_500_000, 4_000_000], response)),
        }
    }

    fn check(query: &str, expected: bool) {
        let matches = query.parse::<Query>().unwrap().matches(&Info::default(), &record());
        assert_eq!(matches, expected, "{query}");
    }

    #[test]
    fn all_conditions_have_to_hold() {
        check("protocol=http1 status>=500", true);
        check("protocol=http1 status>503", false);
        check("  method=GET\tstatus<=503 ", true);
        check("method=get", false);
        check("record=complete cause=field-truncated socket=0", true);
    }

    #[test]
    fn numbers_compare_as_numbers_and_text_as_text() {
        check("status>99", true);
        check("status<1000", true);
        check("latency>2ms latency<=2.5ms", true);
        check("latency<1s latency>2499us", true);
        check("method>FOO", true);
    }

    #[test]
    fn maps_lists_and_parts_are_looked_into() {
        check("headers.host=example.org", true);
        check("request.headers.Host~EXAMPLE", true);
        check("response.headers.Host~example", false);
        check("interim=103 interim!=102", true);
        check("interim!=103", false);
        check("headers.accept=\"a b\"", true);
        check("summary~\"get /a\"", true);
    }

    #[test]
    fn what_is_not_there_is_unequal_and_nothing_else() {
        check("nothing!=1", true);
        check("nothing=1", false);
        check("nothing~1", false);
        check("pid>0", false);
    }

    #[test]
    fn what_is_no_condition_is_refused_by_name() {
        for (text, reason) in
            [("", "expected conditions"), ("status", "\"status\""), ("=5", "\"=5\""), ("a=\"b", "quotation")]
        {
            assert!(text.parse::<Query>().unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn what_no_record_can_have_is_refused() {
        for (text, reason) in [
            ("protocol=http", "http1"),
            ("protocol!=grcp", "grpc"),
            ("record=done", "no-response"),
            ("cause=lost", "ring-full"),
            ("role=peer", "client, server, unknown"),
            ("latency>5sec", "5ms"),
            ("pid=nginx", "number"),
        ] {
            assert!(text.parse::<Query>().unwrap_err().contains(reason), "{text}");
        }
        for text in ["protocol=grpc", "protocol~http", "record!=complete", "latency>5", "role=server"] {
            assert!(text.parse::<Query>().is_ok(), "{text}");
        }
    }

    #[test]
    fn names_that_no_record_has_are_told() {
        let never = |text: &str| {
            let mut query: Query = text.parse().unwrap();
            query.matches(&Info::default(), &record());
            query.never_found().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(never("stauts>=500"), ["stauts"]);
        assert_eq!(never("headers.hots!=a status=503"), ["headers.hots"]);
        assert!(never("status=200 nothing=1").is_empty(), "no record was asked for it");
        assert!(never("status>=500 headers.host=x pid=1").is_empty());
    }
}
