//! The methods of AMQP 0-9-1: who sends them, with what arguments, and what answers them (amqp0-9-1.extended.xml, which
//! has RabbitMQ's own ones as well).

use crate::protocol::cursor::Cursor;

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bits in a row share an octet.
    Bit,
    Octet,
    Short,
    Long,
    LongLong,
    ShortStr,
    LongStr,
    Table,
}

/// What a method is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Is answered, unless it says `no_wait`.
    Call,
    /// Answers the oldest call of this method of its class on its channel.
    Answer(u16),
    /// Is not answered.
    Alone,
}

/// Who sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
    Both,
}

/// One method.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    pub class: u16,
    pub id: u16,
    /// Class and method, as in the specification.
    pub name: &'static str,
    pub part: Part,
    pub sender: Sender,
    /// Names, with underscores for the specification's hyphens, and types. Those without a name are reserved.
    pub arguments: &'static [(&'static str, Kind)],
}

impl Method {
    /// True where a content header and body follow: publish, return, deliver, get-ok.
    pub fn has_content(&self) -> bool {
        self.class == BASIC && matches!(self.id, 40 | 50 | 60 | 71)
    }
}

/// The class of channels.
pub const CHANNEL: u16 = 20;

/// The class that moves messages.
pub const BASIC: u16 = 60;

/// The method that `payload`, that of a method frame, begins with: class and number, and the row where it is known.
pub fn read(payload: &mut Cursor<'_>) -> Option<(u16, u16, Option<&'static Method>)> {
    let (class, id) = (payload.u16()?, payload.u16()?);
    Some((class, id, find(class, id)))
}

/// A known method.
pub fn find(class: u16, id: u16) -> Option<&'static Method> {
    METHODS.iter().find(|method| (method.class, method.id) == (class, id))
}

/// Declares the table: `class id name part sender [arguments];`.
macro_rules! methods {
    ($($class:literal $id:literal $name:literal $part:expr, $sender:ident [$($argument:literal $kind:ident),*];)*) => {
        const METHODS: &[Method] = &[$(
            Method {
                class: $class,
                id: $id,
                name: $name,
                part: $part,
                sender: Sender::$sender,
                arguments: &[$(($argument, Kind::$kind)),*],
            },
        )*];
    };
}

use Part::{Alone, Answer, Call};

methods! {
    10 10 "connection.start" Call, Server ["version_major" Octet, "version_minor" Octet, "server_properties" Table, "mechanisms" LongStr, "locales" LongStr];
    10 11 "connection.start-ok" Answer(10), Client ["client_properties" Table, "mechanism" ShortStr, "response" LongStr, "locale" ShortStr];
    10 20 "connection.secure" Call, Server ["challenge" LongStr];
    10 21 "connection.secure-ok" Answer(20), Client ["response" LongStr];
    10 30 "connection.tune" Call, Server ["channel_max" Short, "frame_max" Long, "heartbeat" Short];
    10 31 "connection.tune-ok" Answer(30), Client ["channel_max" Short, "frame_max" Long, "heartbeat" Short];
    10 40 "connection.open" Call, Client ["virtual_host" ShortStr, "" ShortStr, "" Bit];
    10 41 "connection.open-ok" Answer(40), Server ["" ShortStr];
    10 50 "connection.close" Call, Both ["reply_code" Short, "reply_text" ShortStr, "class_id" Short, "method_id" Short];
    10 51 "connection.close-ok" Answer(50), Both [];
    10 60 "connection.blocked" Alone, Server ["reason" ShortStr];
    10 61 "connection.unblocked" Alone, Server [];
    10 70 "connection.update-secret" Call, Client ["new_secret" LongStr, "reason" ShortStr];
    10 71 "connection.update-secret-ok" Answer(70), Server [];
    20 10 "channel.open" Call, Client ["" ShortStr];
    20 11 "channel.open-ok" Answer(10), Server ["" LongStr];
    20 20 "channel.flow" Call, Both ["active" Bit];
    20 21 "channel.flow-ok" Answer(20), Both ["active" Bit];
    20 40 "channel.close" Call, Both ["reply_code" Short, "reply_text" ShortStr, "class_id" Short, "method_id" Short];
    20 41 "channel.close-ok" Answer(40), Both [];
    30 10 "access.request" Call, Client ["realm" ShortStr, "exclusive" Bit, "passive" Bit, "active" Bit, "write" Bit, "read" Bit];
    30 11 "access.request-ok" Answer(10), Server ["" Short];
    40 10 "exchange.declare" Call, Client ["" Short, "exchange" ShortStr, "type" ShortStr, "passive" Bit, "durable" Bit, "auto_delete" Bit, "internal" Bit, "no_wait" Bit, "arguments" Table];
    40 11 "exchange.declare-ok" Answer(10), Server [];
    40 20 "exchange.delete" Call, Client ["" Short, "exchange" ShortStr, "if_unused" Bit, "no_wait" Bit];
    40 21 "exchange.delete-ok" Answer(20), Server [];
    40 30 "exchange.bind" Call, Client ["" Short, "destination" ShortStr, "source" ShortStr, "routing_key" ShortStr, "no_wait" Bit, "arguments" Table];
    40 31 "exchange.bind-ok" Answer(30), Server [];
    40 40 "exchange.unbind" Call, Client ["" Short, "destination" ShortStr, "source" ShortStr, "routing_key" ShortStr, "no_wait" Bit, "arguments" Table];
    40 51 "exchange.unbind-ok" Answer(40), Server [];
    50 10 "queue.declare" Call, Client ["" Short, "queue" ShortStr, "passive" Bit, "durable" Bit, "exclusive" Bit, "auto_delete" Bit, "no_wait" Bit, "arguments" Table];
    50 11 "queue.declare-ok" Answer(10), Server ["queue" ShortStr, "message_count" Long, "consumer_count" Long];
    50 20 "queue.bind" Call, Client ["" Short, "queue" ShortStr, "exchange" ShortStr, "routing_key" ShortStr, "no_wait" Bit, "arguments" Table];
    50 21 "queue.bind-ok" Answer(20), Server [];
    50 30 "queue.purge" Call, Client ["" Short, "queue" ShortStr, "no_wait" Bit];
    50 31 "queue.purge-ok" Answer(30), Server ["message_count" Long];
    50 40 "queue.delete" Call, Client ["" Short, "queue" ShortStr, "if_unused" Bit, "if_empty" Bit, "no_wait" Bit];
    50 41 "queue.delete-ok" Answer(40), Server ["message_count" Long];
    50 50 "queue.unbind" Call, Client ["" Short, "queue" ShortStr, "exchange" ShortStr, "routing_key" ShortStr, "arguments" Table];
    50 51 "queue.unbind-ok" Answer(50), Server [];
    60 10 "basic.qos" Call, Client ["prefetch_size" Long, "prefetch_count" Short, "global" Bit];
    60 11 "basic.qos-ok" Answer(10), Server [];
    60 20 "basic.consume" Call, Client ["" Short, "queue" ShortStr, "consumer_tag" ShortStr, "no_local" Bit, "no_ack" Bit, "exclusive" Bit, "no_wait" Bit, "arguments" Table];
    60 21 "basic.consume-ok" Answer(20), Server ["consumer_tag" ShortStr];
    60 30 "basic.cancel" Call, Both ["consumer_tag" ShortStr, "no_wait" Bit];
    60 31 "basic.cancel-ok" Answer(30), Both ["consumer_tag" ShortStr];
    60 40 "basic.publish" Alone, Client ["" Short, "exchange" ShortStr, "routing_key" ShortStr, "mandatory" Bit, "immediate" Bit];
    60 50 "basic.return" Alone, Server ["reply_code" Short, "reply_text" ShortStr, "exchange" ShortStr, "routing_key" ShortStr];
    60 60 "basic.deliver" Alone, Server ["consumer_tag" ShortStr, "delivery_tag" LongLong, "redelivered" Bit, "exchange" ShortStr, "routing_key" ShortStr];
    60 70 "basic.get" Call, Client ["" Short, "queue" ShortStr, "no_ack" Bit];
    60 71 "basic.get-ok" Answer(70), Server ["delivery_tag" LongLong, "redelivered" Bit, "exchange" ShortStr, "routing_key" ShortStr, "message_count" Long];
    60 72 "basic.get-empty" Answer(70), Server ["" ShortStr];
    60 80 "basic.ack" Alone, Both ["delivery_tag" LongLong, "multiple" Bit];
    60 90 "basic.reject" Alone, Client ["delivery_tag" LongLong, "requeue" Bit];
    60 100 "basic.recover-async" Alone, Client ["requeue" Bit];
    60 110 "basic.recover" Call, Client ["requeue" Bit];
    60 111 "basic.recover-ok" Answer(110), Server [];
    60 120 "basic.nack" Alone, Both ["delivery_tag" LongLong, "multiple" Bit, "requeue" Bit];
    85 10 "confirm.select" Call, Client ["no_wait" Bit];
    85 11 "confirm.select-ok" Answer(10), Server [];
    90 10 "tx.select" Call, Client [];
    90 11 "tx.select-ok" Answer(10), Server [];
    90 20 "tx.commit" Call, Client [];
    90 21 "tx.commit-ok" Answer(20), Server [];
    90 30 "tx.rollback" Call, Client [];
    90 31 "tx.rollback-ok" Answer(30), Server [];
}

/// Properties of a message of class basic, in the order of their flags from the highest bit (section 4.2.6.1 and
/// the class in the specification's file).
pub const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::ShortStr),
    ("content_encoding", Kind::ShortStr),
    ("headers", Kind::Table),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::ShortStr),
    ("reply_to", Kind::ShortStr),
    ("expiration", Kind::ShortStr),
    ("message_id", Kind::ShortStr),
    ("timestamp", Kind::LongLong),
    ("type", Kind::ShortStr),
    ("user_id", Kind::ShortStr),
    ("app_id", Kind::ShortStr),
    ("cluster_id", Kind::ShortStr),
];
