//! What control packets say (MQTT 5.0 and 3.1.1, chapter 3): their fields and summaries, secrets masked.

use super::head::{Head, Kind, Version};
use super::properties::{self, Owner, Properties};
use super::reason::{Reason, reason};
use super::values::{Read, Reader, Stop};
use crate::protocol::{MASKED, Options};
use crate::record::{Field, Value};

/// How long a text may be in a summary, in characters.
const SHOWN_MAX: usize = 128;

/// How many topic filters a summary names.
const FILTERS_MAX: usize = 3;

/// What stands for what can't be known.
const UNKNOWN: Value = Value::Text(std::borrow::Cow::Borrowed("unknown"));

/// One packet, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    pub kind: Kind,
    /// What tells its answer.
    pub identifier: Option<u16>,
    pub fields: Vec<Field>,
    pub summary: String,
    /// The version that a CONNECT asks for; absent where it is none that is known.
    pub version: Option<Version>,
    /// The topic of a PUBLISH, as it was sent, and what shall stand for it.
    pub topic: Option<Vec<u8>>,
    pub alias: Option<u16>,
    /// The QoS of a PUBLISH, and whether it is sent again.
    pub qos: u8,
    pub is_again: bool,
    /// Something is shown shorter than it is.
    pub is_cut: bool,
    /// Something is not decoded: what follows the version of a CONNECT that is not known.
    pub is_unsupported: bool,
    /// Nothing of it is what no peer would send, such as a topic with control characters.
    pub is_plausible: bool,
    /// How many characters of names it has: the longer, the surer that it is a packet.
    pub named: usize,
}

/// What is known of the connection.
pub struct Context<'a> {
    /// In which version to read; absent: only what all versions have in common.
    pub version: Option<Version>,
    pub options: Options,
    /// The topic for which an alias stands, where that was seen.
    pub topic_of: &'a dyn Fn(u16) -> Option<&'a [u8]>,
}

/// Reads the packet behind its fixed header. `body` is all of it, or (not `is_whole`) its beginning: then what can't be
/// read any more is left out.
///
/// # Errors
/// The packet does not follow the standard.
pub fn read(head: Head, body: &[u8], is_whole: bool, context: &Context<'_>) -> Result<Packet, &'static str> {
    let name = head.kind.name();
    let packet = Packet {
        kind: head.kind,
        identifier: None,
        fields: vec![Field::new("packet", Value::Text(name.into()))],
        summary: name.to_owned(),
        version: None,
        topic: None,
        alias: None,
        qos: if head.kind == Kind::Publish { head.qos() } else { 0 },
        is_again: head.kind == Kind::Publish && head.flags & 8 != 0,
        is_cut: false,
        is_unsupported: false,
        is_plausible: true,
        named: 0,
    };
    let mut body = Body { reader: Reader::new(body), packet, head, is_whole, context };
    match body.read() {
        Ok(()) if is_whole && !body.reader.is_empty() => return Err("bytes behind its last field"),
        Ok(()) => {}
        Err(Stop::Bad(reason)) => return Err(reason),
        Err(Stop::End) if is_whole => return Err("it ends inside a field"),
        Err(Stop::End) => body.reader.is_cut = true,
    }
    let Body { reader, mut packet, .. } = body;
    packet.is_cut = reader.is_cut;
    packet.is_plausible &= reader.is_plausible;
    Ok(packet)
}

struct Body<'a, 'c, 't> {
    reader: Reader<'a>,
    packet: Packet,
    head: Head,
    is_whole: bool,
    context: &'c Context<'t>,
}

impl<'a> Body<'a, '_, '_> {
    fn read(&mut self) -> Read<()> {
        match self.packet.kind {
            Kind::Connect => self.connect(),
            Kind::Connack => self.connack(),
            Kind::Publish => self.publish(),
            Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => self.acknowledgement(),
            Kind::Subscribe => self.subscribe(),
            Kind::Unsubscribe => self.unsubscribe(),
            Kind::Suback => self.suback(),
            Kind::Unsuback => self.unsuback(),
            Kind::Pingreq | Kind::Pingresp => Ok(()),
            Kind::Disconnect | Kind::Auth => self.farewell(),
        }
    }

    fn put(&mut self, name: &'static str, value: Value) {
        self.packet.fields.push(Field::new(name, value));
    }

    fn say(&mut self, words: &str) {
        self.packet.summary.push(' ');
        self.packet.summary.push_str(words);
    }

    /// A text that is a field.
    fn text(&mut self, name: &'static str) -> Read<Vec<u8>> {
        let text = self.reader.text()?;
        self.packet.named += text.len();
        let value = self.reader.keep(text);
        self.put(name, value);
        Ok(text.to_vec())
    }

    fn identifier(&mut self) -> Read<()> {
        let identifier = self.reader.identifier()?;
        self.packet.identifier = Some(identifier);
        self.put("packet_identifier", Value::Number(identifier.into()));
        Ok(())
    }

    /// The properties of a packet, in 5.0.
    fn properties(&mut self) -> Read<()> {
        self.properties_of(Owner::Packet(self.packet.kind), "properties")
    }

    fn properties_of(&mut self, owner: Owner, name: &'static str) -> Read<()> {
        let mut found = Properties::default();
        let show_secrets = self.context.options.show_secrets;
        let result = properties::read(&mut self.reader, owner, show_secrets, &mut found);
        self.packet.alias = self.packet.alias.or(found.alias);
        if !found.list.is_empty() {
            self.put(name, Value::Map(found.list));
        }
        result
    }

    fn is_5(&self) -> bool {
        self.context.version == Some(Version::V5)
    }

    /// Says that the version has to be known to read on.
    fn version_unknown(&mut self) {
        self.put("protocol_version", UNKNOWN);
    }

    fn body(&mut self, names: [&'static str; 2], bytes: &[u8], length: u64) {
        let max = self.context.options.max_field;
        self.put(names[0], Value::Number(i64::try_from(length).unwrap_or(i64::MAX)));
        if max > 0 && length > 0 {
            let value = self.reader.keep_body(bytes, length, max);
            self.put(names[1], value);
        }
    }

    fn connect(&mut self) -> Read<()> {
        let name = self.reader.text()?;
        let level = self.reader.u8()?;
        if !matches!((name, level & 0x7f), (b"MQTT", 4..) | (b"MQIsdp", 3)) {
            return Err(Stop::Bad("a protocol name and level that are not those of MQTT"));
        }
        self.packet.named += 2 * name.len();
        self.put("protocol_name", Value::Bytes(name.to_vec()));
        let Some(version) = Version::of_level(level) else {
            self.put("protocol_version", Value::Number(level.into()));
            self.say(&format!("protocol version {level}"));
            self.packet.is_unsupported = true;
            let rest = self.reader.rest().len();
            self.reader.part(u32::try_from(rest).unwrap_or(u32::MAX));
            return Ok(());
        };
        self.packet.version = Some(version);
        self.put("protocol_version", Value::Text(version.name().into()));
        if level & 0x80 != 0 {
            self.put("bridge", Value::Flag(true));
        }
        let flags = self.reader.u8()?;
        let bit = |at: u8| flags >> at & 1 == 1;
        let (has_will, will_qos) = (bit(2), flags >> 3 & 3);
        if bit(0) {
            return Err(Stop::Bad("the reserved connect flag"));
        }
        if will_qos == 3 || !has_will && (will_qos != 0 || bit(5)) {
            return Err(Stop::Bad("connect flags of a will that contradict each other"));
        }
        if version != Version::V5 && bit(6) && !bit(7) {
            return Err(Stop::Bad("a password without a user name"));
        }
        let clean = if version == Version::V5 { "clean_start" } else { "clean_session" };
        self.put(clean, Value::Flag(bit(1)));
        let keep_alive = self.reader.u16()?;
        self.put("keep_alive", Value::Number(keep_alive.into()));
        if version == Version::V5 {
            self.properties()?;
        }
        let client = self.text("client_identifier")?;
        if !client.is_empty() {
            self.say(&shown(&client));
        }
        if has_will {
            if version == Version::V5 {
                self.properties_of(Owner::Will, "will_properties")?;
            }
            self.text("will_topic")?;
            self.put("will_qos", Value::Number(will_qos.into()));
            self.put("will_retain", Value::Flag(bit(5)));
            let payload = self.reader.binary()?;
            self.body(["will_payload_length", "will_payload"], payload, payload.len() as u64);
        }
        // 3.1 lets a client set the flags and leave out what they announce.
        let may_miss = version == Version::V31 && self.is_whole;
        if bit(7) && !(may_miss && self.reader.is_empty()) {
            let user = self.text("user_name")?;
            self.say(&format!("user={}", shown(&user)));
        }
        if bit(6) && !(may_miss && self.reader.is_empty()) {
            let password = self.reader.binary()?;
            let is_shown = self.context.options.show_secrets;
            let value = if is_shown { self.reader.keep(password) } else { MASKED };
            self.put("password", value);
        }
        self.say(&format!("MQTT {}", version.name()));
        Ok(())
    }

    fn connack(&mut self) -> Read<()> {
        let flags = self.reader.u8()?;
        // 3.1 has no flags here, and says nothing of the byte.
        if flags > 1 {
            return Err(Stop::Bad("reserved connect acknowledge flags"));
        }
        self.put("session_present", Value::Flag(flags == 1));
        let code = self.reader.u8()?;
        let is_5 = self.is_5() && self.head.remaining > 2;
        let reason = if is_5 {
            self.reason(code, "reason_code", Version::V5)
        } else {
            self.reason(code, "return_code", Version::V311)
        };
        self.say(&reason.name);
        if flags == 1 {
            self.say("session present");
        }
        if is_5 { self.properties() } else { Ok(()) }
    }

    /// Puts a code and what it says.
    fn reason(&mut self, code: u8, field: &'static str, version: Version) -> Reason {
        let reason = reason(self.packet.kind, code, version);
        self.packet.is_plausible &= reason.is_known;
        self.put(field, Value::Number(code.into()));
        self.put("reason", Value::Text(reason.name.clone()));
        if reason.is_failure {
            self.put("error", Value::Text(reason.name.clone()));
        }
        reason
    }

    fn publish(&mut self) -> Read<()> {
        let (qos, flags) = (self.packet.qos, self.head.flags);
        let at_start = self.reader.rest().len();
        if let [high, low, ..] = *self.reader.rest()
            && u32::from(u16::from_be_bytes([high, low])) + 2 > self.head.remaining
        {
            return Err(Stop::Bad("a topic that goes beyond the packet"));
        }
        let topic = self.reader.text();
        let is_retained = flags & 1 != 0;
        self.put("dup", Value::Flag(self.packet.is_again));
        self.put("qos", Value::Number(qos.into()));
        self.put("retain", Value::Flag(is_retained));
        // The alias, which comes later, may tell what the topic is.
        let at = self.packet.fields.len();
        let rest = topic.and_then(|topic| {
            self.packet.named += topic.len();
            self.packet.is_plausible &= !topic.iter().any(|byte| matches!(byte, b'+' | b'#'));
            self.packet.topic = Some(topic.to_vec());
            if qos > 0 {
                self.identifier()?;
            }
            if self.is_5() { self.properties() } else { Ok(()) }
        });
        let topic = self.topic();
        let known = match &topic {
            Some(topic) => self.reader.keep(topic),
            None => UNKNOWN,
        };
        self.packet.fields.insert(at, Field::new("topic", known));
        self.say(&topic.map_or_else(|| "(topic: unknown)".to_owned(), |topic| shown(&topic)));
        self.say(&format!("QoS {qos}"));
        if is_retained {
            self.say("retain");
        }
        if self.packet.is_again {
            self.say("dup");
        }
        rest?;
        if self.packet.topic.as_ref().is_some_and(Vec::is_empty) && self.packet.alias.is_none() {
            // 5.0 allows it with an alias, versions before not at all.
            if self.context.version.is_some() {
                return Err(Stop::Bad("neither a topic nor an alias of one"));
            }
        }
        let payload = self.reader.rest();
        let read = (at_start - payload.len()) as u64;
        let length = u64::from(self.head.remaining).saturating_sub(read);
        let names = match self.context.version {
            Some(_) => ["payload_length", "payload"],
            None => {
                self.version_unknown();
                ["properties_and_payload_length", "properties_and_payload"]
            }
        };
        self.say(&format!("{length} bytes"));
        self.body(names, payload, length);
        self.reader.part(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// The topic of a PUBLISH, by its alias where it has just that.
    fn topic(&self) -> Option<Vec<u8>> {
        match (&self.packet.topic, self.packet.alias) {
            (Some(topic), Some(alias)) if topic.is_empty() => {
                (self.context.topic_of)(alias).map(<[u8]>::to_vec)
            }
            (Some(topic), _) if !topic.is_empty() => Some(topic.clone()),
            _ => None,
        }
    }

    /// PUBACK, PUBREC, PUBREL, PUBCOMP: 5.0 leaves out what says nothing.
    fn acknowledgement(&mut self) -> Read<()> {
        self.identifier()?;
        if self.packet.kind == Kind::Pubrel {
            self.say(&self.packet.identifier.unwrap_or(0).to_string());
        }
        if self.head.remaining > 2 {
            self.code_and_properties(4)?;
        }
        Ok(())
    }

    fn farewell(&mut self) -> Read<()> {
        if self.head.remaining > 0 { self.code_and_properties(2) } else { Ok(()) }
    }

    /// A reason code, and properties where the remaining length is at least `with`.
    fn code_and_properties(&mut self, with: u32) -> Read<()> {
        let code = self.reader.u8()?;
        let reason = self.reason(code, "reason_code", Version::V5);
        if code != 0 || self.packet.kind == Kind::Auth {
            self.say(&reason.name);
        }
        if self.head.remaining >= with { self.properties() } else { Ok(()) }
    }

    fn subscribe(&mut self) -> Read<()> {
        self.filters(true)
    }

    fn unsubscribe(&mut self) -> Read<()> {
        self.filters(false)
    }

    fn filters(&mut self, with_options: bool) -> Read<()> {
        self.identifier()?;
        match self.context.version {
            Some(Version::V5) => self.properties()?,
            Some(_) => {}
            None => {
                self.version_unknown();
                self.put("topic_filters", UNKNOWN);
                let rest = self.reader.rest().len();
                self.reader.part(u32::try_from(rest).unwrap_or(u32::MAX));
                return Ok(());
            }
        }
        let (mut filters, mut options) = (Vec::new(), Vec::new());
        let mut count = 0usize;
        let result = loop {
            if self.reader.is_empty() {
                break if self.is_whole { Ok(()) } else { Err(Stop::End) };
            }
            match self.filter(with_options) {
                Ok((filter, option)) => {
                    count += 1;
                    if count <= FILTERS_MAX {
                        let comma = if count > 1 { "," } else { "" };
                        self.packet.summary.push_str(&format!("{comma} {}", shown(filter)));
                    }
                    if self.reader.has_room() {
                        filters.push(self.reader.keep(filter));
                        options.extend(option);
                    }
                }
                Err(stop) => break Err(stop),
            }
        };
        if count > FILTERS_MAX {
            self.say(&format!("and {} more", count - FILTERS_MAX));
        }
        self.put("topic_filters", Value::List(filters));
        if with_options {
            self.put("subscription_options", Value::List(options));
        }
        result?;
        if count == 0 { Err(Stop::Bad("no topic filter")) } else { Ok(()) }
    }

    /// A topic filter and what is wanted of it.
    fn filter(&mut self, with_options: bool) -> Read<(&'a [u8], Option<Value>)> {
        let filter = self.reader.text()?;
        if filter.is_empty() {
            return Err(Stop::Bad("a topic filter without a character"));
        }
        self.packet.named += filter.len();
        if !with_options {
            return Ok((filter, None));
        }
        let options = self.reader.u8()?;
        let qos = ("qos", Value::Number((options & 3).into()));
        let entry = |(name, value): (&'static str, Value)| (Value::Text(name.into()), value);
        if !self.is_5() {
            if options > 2 {
                return Err(Stop::Bad("a requested QoS that there is not"));
            }
            return Ok((filter, Some(Value::Map(vec![entry(qos)]))));
        }
        let handling = options >> 4 & 3;
        if options & 3 == 3 || handling == 3 || options & 0xc0 != 0 {
            return Err(Stop::Bad("subscription options that are reserved"));
        }
        let all = [
            qos,
            ("no_local", Value::Flag(options & 4 != 0)),
            ("retain_as_published", Value::Flag(options & 8 != 0)),
            ("retain_handling", Value::Number(handling.into())),
        ];
        Ok((filter, Some(Value::Map(all.map(entry).to_vec()))))
    }

    fn suback(&mut self) -> Read<()> {
        self.identifier()?;
        match self.context.version {
            Some(Version::V5) => {
                self.properties()?;
                self.codes("reason_codes")
            }
            Some(_) => self.codes("return_codes"),
            None => {
                self.version_unknown();
                self.put("reason_codes", UNKNOWN);
                let rest = self.reader.rest().len();
                self.reader.part(u32::try_from(rest).unwrap_or(u32::MAX));
                Ok(())
            }
        }
    }

    fn unsuback(&mut self) -> Read<()> {
        self.identifier()?;
        if self.head.remaining == 2 {
            return Ok(());
        }
        self.properties()?;
        self.codes("reason_codes")
    }

    /// A code for each topic filter.
    fn codes(&mut self, field: &'static str) -> Read<()> {
        let version = self.context.version.unwrap_or(Version::V5);
        let (mut codes, mut names) = (Vec::new(), Vec::new());
        let mut error = None;
        let mut count = 0usize;
        while let Ok(code) = self.reader.u8() {
            let reason = reason(self.packet.kind, code, version);
            if !reason.is_known && version != Version::V5 {
                return Err(Stop::Bad("a return code that is reserved"));
            }
            self.packet.is_plausible &= reason.is_known;
            count += 1;
            if count <= FILTERS_MAX {
                let comma = if count > 1 { "," } else { "" };
                self.packet.summary.push_str(&format!("{comma} {}", reason.name));
            }
            if reason.is_failure && error.is_none() {
                error = Some(reason.name.clone());
            }
            if self.reader.has_room() {
                codes.push(Value::Number(code.into()));
                names.push(Value::Text(reason.name));
            }
        }
        if count > FILTERS_MAX {
            self.say(&format!("and {} more", count - FILTERS_MAX));
        }
        self.put(field, Value::List(codes));
        self.put("reasons", Value::List(names));
        if let Some(error) = error {
            self.put("error", Value::Text(error));
        }
        match (self.is_whole, count) {
            (true, 0) => Err(Stop::Bad("no reason code")),
            (true, _) => Ok(()),
            (false, _) => Err(Stop::End),
        }
    }
}

/// A text on one line, cut where it is long.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let more = if shown.len() < text.len() { "\u{2026}" } else { "" };
    format!("{shown}{more}")
}
