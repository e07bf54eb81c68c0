//! Says what a message means: its fields, and the line that shows it.

use super::data;
use super::edns;
use super::message::{Ending, Message, Record, flag, opcode};
use super::name;
use super::tables::{class, opcode_name, rcode_name, rtype, type_name};
use super::{Variant, transfer::Transfer};
use crate::event::Cause;
use crate::protocol::Options;
use crate::record::{Field, Value};

/// Records of one message, or of one transfer, that are shown. Those beyond it are counted.
pub const RECORDS_MAX: usize = 1000;

/// Answers that the line of a record names.
const SUMMARY_ANSWERS: usize = 3;

/// How many characters of each of them.
const SUMMARY_DATA: usize = 80;

/// What is said of one message.
#[derive(Debug, Default)]
pub struct Shown {
    pub fields: Vec<Field>,
    /// Its response code; empty for a query.
    pub rcode: String,
    /// What it is about: `A example.org`.
    pub subject: String,
    /// What a response brings: ` -> 192.0.2.1`.
    pub outcome: String,
    /// What is not shown, or not as it should be.
    pub causes: Vec<Cause>,
}

/// Reads a message for people.
pub fn show(message: &Message<'_>, variant: Option<Variant>, options: Options) -> Shown {
    let header = message.header;
    let mut shown = Shown::default();
    let mut push = |name: &'static str, value: Value| shown.fields.push(Field::new(name, value));
    push("id", Value::Number(header.id.into()));
    if let Some(variant) = variant {
        push("variant", Value::Text(variant.name().into()));
    }
    push("opcode", Value::Text(opcode_name(header.opcode())));
    push("flags", flags(message, variant));
    if header.is_response() {
        push("rcode", Value::Text(rcode_name(message.rcode())));
    }
    questions(message, &mut shown.fields);
    for section in 1..4 {
        let records = message.section(section).filter(|record| record.rtype != rtype::OPT);
        let (list, whole) = list(message, records, options);
        if !whole {
            shown.causes.push(Cause::FieldTruncated);
        }
        if !list.is_empty() {
            shown.fields.push(Field::new(message.section_name(section), Value::List(list)));
        }
    }
    if let Some(opt) = message.opt() {
        let (value, whole) = edns::value(message, opt, options.show_secrets);
        shown.fields.push(Field::new("edns", value));
        if !whole {
            shown.causes.push(Cause::FieldTruncated);
        }
    }
    match &message.ending {
        Ending::Malformed(reason) => {
            shown.fields.push(Field::new("malformed", Value::Text(reason.clone().into())));
            shown.causes.push(Cause::ParseError);
        }
        Ending::Trailing(count) => {
            shown.fields.push(Field::new("trailing-bytes", Value::Number(*count as i64)));
        }
        Ending::Whole | Ending::Cut => {}
    }
    summarize(message, variant, options, &mut shown);
    shown
}

/// The flags that are set, by the names of RFC 1035 (section 4.1.1) and RFC 4035.
fn flags(message: &Message<'_>, variant: Option<Variant>) -> Value {
    let llmnr = variant == Some(Variant::Llmnr);
    // LLMNR has others in their places (RFC 4795, section 2.1.1): conflict, tentative.
    let (aa, rd) = if llmnr { ("c", "t") } else { ("aa", "rd") };
    let names = [
        (flag::QR, "qr"),
        (flag::AA, aa),
        (flag::TC, "tc"),
        (flag::RD, rd),
        (flag::RA, "ra"),
        (flag::Z, "z"),
        (flag::AD, "ad"),
        (flag::CD, "cd"),
    ];
    let set = names.iter().filter(|(bit, _)| message.header.has(*bit));
    Value::List(set.map(|(_, name)| Value::Text((*name).into())).collect())
}

/// The first question in fields of its own, by the names of RFC 1035 (section 4.1.2); where there are several, all of
/// them in a list, too.
fn questions(message: &Message<'_>, fields: &mut Vec<Field>) {
    let parts = |index: usize| {
        let question = &message.questions[index];
        let (name, _) = name::text(message.data, question.name).ok()?;
        let class = class::name(question.class & !class::TOP_BIT);
        Some((name, type_name(question.rtype), class, question.class & class::TOP_BIT != 0))
    };
    let Some((name, rtype, class, unicast)) = (!message.questions.is_empty()).then(|| parts(0)).flatten()
    else {
        return;
    };
    fields.push(Field::new("qname", Value::Bytes(name.into_bytes())));
    fields.push(Field::new("qtype", Value::Text(rtype)));
    fields.push(Field::new("qclass", Value::Text(class)));
    if unicast {
        fields.push(Field::new("unicast-response", Value::Flag(true)));
    }
    if message.questions.len() > 1 {
        let all = (0..message.questions.len().min(RECORDS_MAX)).filter_map(parts);
        let all = all.map(|(name, rtype, class, _)| {
            let text = |text: &'static str| Value::Text(text.into());
            Value::Map(vec![
                (text("name"), Value::Bytes(name.into_bytes())),
                (text("type"), Value::Text(rtype)),
                (text("class"), Value::Text(class)),
            ])
        });
        fields.push(Field::new("questions", Value::List(all.collect())));
    }
}

/// Records as values, and whether they are all there and whole.
pub fn list<'a>(
    message: &Message<'_>,
    records: impl Iterator<Item = &'a Record>,
    options: Options,
) -> (Vec<Value>, bool) {
    let (mut list, mut whole) = (Vec::new(), true);
    if options.max_field == 0 {
        return (list, whole);
    }
    for record in records {
        if list.len() == RECORDS_MAX {
            return (list, false);
        }
        let (value, all) = value(message, record, options);
        whole &= all;
        list.push(value);
    }
    (list, whole)
}

fn value(message: &Message<'_>, record: &Record, options: Options) -> (Value, bool) {
    let text = |text: &'static str| Value::Text(text.into());
    let (name, _) = name::text(message.data, record.name).unwrap_or_default();
    let mut data = data::text(message, record, options.show_secrets);
    let whole = data.len() <= options.max_field;
    truncate(&mut data, options.max_field);
    let (flush, class) = match record.class {
        class if class & class::TOP_BIT != 0 && class::is_known(class & !class::TOP_BIT) => {
            (true, class & !class::TOP_BIT)
        }
        class => (false, class),
    };
    let mut entries = vec![
        (text("name"), Value::Bytes(name.into_bytes())),
        (text("type"), Value::Text(type_name(record.rtype))),
        (text("class"), Value::Text(class::name(class))),
        (text("ttl"), Value::Number(record.ttl.into())),
        (text("data"), Value::Bytes(data.into_bytes())),
    ];
    if flush {
        entries.push((text("cache-flush"), Value::Flag(true)));
    }
    (Value::Map(entries), whole)
}

/// Cuts a text to at most `length` bytes.
fn truncate(text: &mut String, length: usize) {
    text.truncate(text.floor_char_boundary(length));
}

fn summarize(message: &Message<'_>, variant: Option<Variant>, options: Options, shown: &mut Shown) {
    let header = message.header;
    let mut words: Vec<String> = Vec::new();
    words.extend(variant.map(|variant| variant.name().to_owned()));
    if header.opcode() != opcode::QUERY {
        words.push(opcode_name(header.opcode()).into_owned());
    }
    if let Some(question) = message.questions.first() {
        if header.opcode() != opcode::UPDATE {
            words.push(type_name(question.rtype).into_owned());
        }
        words.extend(name::text(message.data, question.name).map(|(name, _)| name));
        if message.questions.len() > 1 {
            words.push(format!("+{}", message.questions.len() - 1));
        }
    }
    if header.opcode() == opcode::UPDATE && !header.is_response() {
        let count = message.section(2).count();
        words.push(format!("{count} {}", if count == 1 { "change" } else { "changes" }));
    }
    shown.subject = words.join(" ");
    if header.is_response() {
        let multicast = variant == Some(Variant::Mdns) && message.rcode() == 0;
        shown.rcode = if multicast { String::new() } else { rcode_name(message.rcode()).into_owned() };
        shown.outcome = outcome(message, options);
    }
}

/// What a response brings, on one line.
fn outcome(message: &Message<'_>, options: Options) -> String {
    let asked = message.questions.first().map(|question| question.rtype);
    // Signatures come with what was asked for.
    let is_shown = |record: &&Record| record.rtype != rtype::RRSIG || asked == Some(rtype::RRSIG);
    let answers = || message.section(1).filter(is_shown);
    let is_update = message.header.opcode() == opcode::UPDATE;
    let mut parts: Vec<String> = Vec::new();
    for record in answers().take(if is_update { 0 } else { SUMMARY_ANSWERS }) {
        let mut data = data::text(message, record, options.show_secrets);
        if data.len() > SUMMARY_DATA {
            truncate(&mut data, SUMMARY_DATA - 3);
            data.push_str("...");
        }
        parts.push(match asked {
            Some(asked) if asked == record.rtype => data,
            Some(_) => format!("{} {data}", type_name(record.rtype)),
            None => {
                let (name, _) = name::text(message.data, record.name).unwrap_or_default();
                format!("{} {name} {data}", type_name(record.rtype))
            }
        });
    }
    let more = if is_update { 0 } else { answers().count() - parts.len() };
    if more > 0 {
        parts.push(format!("+{more}"));
    }
    let is_query = message.header.opcode() == opcode::QUERY;
    if parts.is_empty() && is_query && message.rcode() == 0 && message.ending == Ending::Whole {
        parts.push("no answer".to_owned());
    }
    let mut text = if parts.is_empty() { String::new() } else { format!(" -> {}", parts.join(", ")) };
    if message.header.has(flag::TC) {
        text.push_str(" truncated");
    }
    if let Some(error) = edns::extended_error(message) {
        text.push_str(&format!(" ({error})"));
    }
    text
}

/// The line of a transfer's end.
pub fn transfer_outcome(transfer: &Transfer) -> String {
    let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(" -> {} in {}", plural(transfer.records, "record"), plural(transfer.messages, "message"))
}
