//! From one packet's JSON to the fields that matter, whatever the form in which tshark wrote it.
//!
//! The forms: a tree of layers (`-T json`, `-T ek`), or a list of fields (with `-e`). Names are as in the
//! display filter reference of Wireshark; `-T ek` writes underscores for dots, and in a tree the name of
//! the layer before. tshark writes a key several times in one object, so this is no map. What the values
//! say is the business of `segment`.

use crate::source::pcap::tunnel;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Values of one packet that are kept. tshark writes a few dozen.
const MAX_VALUES: usize = 256;

/// The longest name that is looked for, with the name of its layer before it.
const MAX_NAME: usize = 32;

macro_rules! fields {
    ($($variant:ident $name:literal,)*) => {
        /// A field that is read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            /// Milliseconds, outside of the layers, in `-T ek` only.
            Timestamp,
            $(#[doc = concat!("`", $name, "`, with underscores for dots.")] $variant,)*
        }

        impl Field {
            fn of(name: &[u8]) -> Option<Field> {
                const NAMES: &[(&[u8], Field)] = &[$(($name.as_bytes(), Field::$variant),)*];
                NAMES.iter().find(|(known, _)| *known == name).map(|&(_, field)| field)
            }
        }
    };
}

fields! {
    Frame "frame",
    TimeEpoch "frame_time_epoch",
    Time "frame_time",
    FrameNumber "frame_number",
    FrameLength "frame_len",
    Captured "frame_cap_len",
    Protocols "frame_protocols",
    Ip "ip",
    IpSource "ip_src",
    IpDestination "ip_dst",
    IpAddress "ip_addr",
    IpLength "ip_len",
    IpHeader "ip_hdr_len",
    Ipv6 "ipv6",
    Ipv6Source "ipv6_src",
    Ipv6Destination "ipv6_dst",
    Ipv6Address "ipv6_addr",
    Ipv6Length "ipv6_plen",
    Ipv6Next "ipv6_nxt",
    Tcp "tcp",
    SourcePort "tcp_srcport",
    DestinationPort "tcp_dstport",
    Port "tcp_port",
    SeqRaw "tcp_seq_raw",
    Seq "tcp_seq",
    AckRaw "tcp_ack_raw",
    Ack "tcp_ack",
    Length "tcp_len",
    TcpHeader "tcp_hdr_len",
    Flags "tcp_flags",
    FlagsText "tcp_flags_str",
    Syn "tcp_flags_syn",
    Fin "tcp_flags_fin",
    Reset "tcp_flags_reset",
    AckFlag "tcp_flags_ack",
    Payload "tcp_payload",
    PayloadBytes "tcp_payload_raw",
    SegmentData "tcp_segment_data",
    RawPort "tcp_srcport_raw",
    Segments "tcp_segments",
    Part "tcp_segment",
    Reassembled "tcp_reassembled_data",
    Data "data",
    DataData "data_data",
    IpId "ip_id",
    Udp "udp",
    UdpSource "udp_srcport",
    UdpDestination "udp_dstport",
    UdpPort "udp_port",
    UdpLength "udp_length",
    UdpPayload "udp_payload",
    Interface "frame_interface_id",
    Cooked "sll",
    CookedInterface "sll_ifindex",
    CookedType "sll_pkttype",
}

/// The layers of a tree that are read. The segments of a message that was put together are one of their own.
const LAYERS: [Field; 8] = [
    Field::Frame,
    Field::Cooked,
    Field::Ip,
    Field::Ipv6,
    Field::Udp,
    Field::Tcp,
    Field::Segments,
    Field::Data,
];

/// What an object turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Object {
    /// A packet of tshark.
    Packet,
    /// The line before a packet in `-T ek`, for Elasticsearch.
    Index,
    /// An event or record of sockdbg's own `--format json`.
    Own,
    /// Something else.
    #[default]
    Foreign,
}

/// The fields of one packet, in the order of the JSON.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    values: Vec<(Field, Cow<'a, str>)>,
    /// The packet came as a tree of layers, not as a list of fields.
    pub is_tree: bool,
    /// The tree has a layer of TCP.
    pub has_tcp_layer: bool,
    /// The tree has a layer of UDP.
    pub has_udp_layer: bool,
    object: Object,
    /// A number came in the array that is being read: it holds raw bytes with their place.
    number_seen: bool,
}

impl<'a> Fields<'a> {
    /// Reads one object.
    ///
    /// # Errors
    /// It is no valid JSON.
    pub fn read(json: &'a [u8]) -> Result<(Object, Fields<'a>), serde_json::Error> {
        let mut fields = Fields::default();
        let mut json = serde_json::Deserializer::from_slice(json);
        Walk { fields: &mut fields, level: Level::Top }.deserialize(&mut json)?;
        json.end()?;
        Ok((fields.object, fields))
    }

    /// Every value of a field.
    pub fn all(&self, field: Field) -> impl DoubleEndedIterator<Item = &str> {
        self.values.iter().filter(move |(known, _)| *known == field).map(|(_, value)| value.as_ref())
    }

    /// How many values a field has.
    pub fn count(&self, field: Field) -> usize {
        self.all(field).count()
    }

    /// The value of a field that a packet has once. In a list it may come again from an inner packet; in a
    /// tree, `-x` writes the raw bytes of `tcp.seq` before `tcp.seq_raw`, under the same name.
    pub fn get(&self, field: Field) -> Option<&str> {
        if self.is_tree { self.all(field).next_back() } else { self.all(field).next() }
    }

    /// True where any field of TCP is there.
    pub fn has_tcp(&self) -> bool {
        let of_tcp = Field::Tcp as u8..=Field::RawPort as u8;
        self.has_tcp_layer || self.values.iter().any(|&(field, _)| of_tcp.contains(&(field as u8)))
    }

    /// True where any field of UDP is there.
    pub fn has_udp(&self) -> bool {
        let of_udp = Field::Udp as u8..=Field::UdpPayload as u8;
        self.has_udp_layer || self.values.iter().any(|&(field, _)| of_udp.contains(&(field as u8)))
    }

    /// The datagram of which the layers so far told carries another packet.
    fn is_tunnel(&self) -> bool {
        let port = self.all(Field::UdpDestination).next_back();
        port.and_then(|port| port.parse().ok()).is_some_and(tunnel::is_port)
    }

    fn push(&mut self, field: Field, value: Cow<'a, str>) {
        if self.values.len() < MAX_VALUES {
            self.values.push((field, value));
        }
    }

    /// A layer of the tree begins. True where it is to be read: what is behind the first layer of TCP
    /// belongs to an inner packet, but for the data; addresses are those of the IP layer before it.
    fn enter(&mut self, layer: Field) -> bool {
        self.is_tree = true;
        let headers = [Field::Ip, Field::Ipv6, Field::Udp, Field::Tcp];
        if self.has_udp_layer && !self.is_tunnel() && headers.contains(&layer) {
            return false; // a datagram's content
        }
        match layer {
            Field::Udp if self.has_tcp_layer => false,
            Field::Udp => {
                self.has_udp_layer = true;
                true
            }
            Field::Tcp => !std::mem::replace(&mut self.has_tcp_layer, true),
            Field::Ip | Field::Ipv6 if self.has_tcp_layer => false,
            Field::Ip | Field::Ipv6 => {
                // What came before was the outer packet: a tunnel.
                self.has_udp_layer = false;
                let addresses = Field::Ip as u8..=Field::Ipv6Next as u8;
                let of_udp = Field::IpId as u8..=Field::UdpPayload as u8;
                self.values.retain(|&(field, _)| {
                    !addresses.contains(&(field as u8)) && !of_udp.contains(&(field as u8))
                });
                true
            }
            _ => true,
        }
    }

    /// What a key at some level leads to; `None` where it is of no interest.
    fn step(&mut self, level: Level, key: &[u8]) -> Option<Level> {
        match level {
            Level::Top => self.top(key),
            Level::Source if key == b"layers" => {
                self.object = Object::Packet;
                Some(Level::Layers)
            }
            Level::Layers => match named(key)? {
                layer if LAYERS.contains(&layer) => Some(Level::Layer(layer)),
                field => Some(Level::Value(field)),
            },
            Level::Layer(layer) => {
                let field = named(key)?;
                // A summary is no field of the layer itself.
                (field != layer).then_some(Level::Value(field))
            }
            _ => None,
        }
    }

    fn top(&mut self, key: &[u8]) -> Option<Level> {
        match key {
            b"_source" => return Some(Level::Source),
            b"layers" => {
                self.object = Object::Packet;
                return Some(Level::Layers);
            }
            b"timestamp" => return Some(Level::Value(Field::Timestamp)),
            b"index" if self.object == Object::Foreign => self.object = Object::Index,
            b"type" if self.object == Object::Foreign => self.object = Object::Own,
            _ => {}
        }
        None
    }
}

/// The field that a key names, in any of its spellings.
fn named(key: &[u8]) -> Option<Field> {
    let mut name = [0; MAX_NAME];
    let name = name.get_mut(..key.len())?;
    for (to, &from) in name.iter_mut().zip(key) {
        *to = if from == b'.' { b'_' } else { from };
    }
    for layer in [&b"frame_"[..], b"ip_", b"ipv6_", b"tcp_", b"udp_", b"sll_", b"data_"] {
        if let Some(rest) = name.strip_prefix(layer).filter(|rest| rest.starts_with(layer)) {
            return Field::of(rest);
        }
    }
    Field::of(name)
}

/// Where in the packet's JSON we are.
#[derive(Clone, Copy)]
enum Level {
    Top,
    Source,
    Layers,
    /// Value of a layer: an object, several in an array, or (in a list) its summary as text.
    Layer(Field),
    Value(Field),
    /// Inside the array of a value.
    Element(Field),
}

/// Reads the value at a level into the fields.
struct Walk<'f, 'de> {
    fields: &'f mut Fields<'de>,
    level: Level,
}

impl<'de> Walk<'_, 'de> {
    fn at(&mut self, level: Level) -> Walk<'_, 'de> {
        Walk { fields: self.fields, level }
    }

    fn text(self, text: Cow<'de, str>) {
        match self.level {
            Level::Layer(field) | Level::Value(field) | Level::Element(field) => {
                self.fields.push(field, text)
            }
            Level::Top | Level::Source | Level::Layers => {}
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let wanted = match self.level {
            Level::Layer(layer) => self.fields.enter(layer),
            Level::Value(_) | Level::Element(_) => false,
            Level::Top | Level::Source | Level::Layers => true,
        };
        let level = self.level;
        while let Some(key) = map.next_key_seed(Key)? {
            match self.fields.step(level, &key).filter(|_| wanted) {
                Some(next) => map.next_value_seed(self.at(next))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let start = self.fields.values.len();
        match self.level {
            Level::Layer(_) => while seq.next_element_seed(self.at(self.level))?.is_some() {},
            Level::Value(field) => {
                self.fields.number_seen = false;
                while seq.next_element_seed(self.at(Level::Element(field)))?.is_some() {}
                if self.fields.number_seen && field != Field::PayloadBytes {
                    self.fields.values.truncate(start);
                }
            }
            _ => while seq.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.text(Cow::Borrowed(if value { "1" } else { "0" }));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if matches!(self.level, Level::Element(_)) {
            self.fields.number_seen = true;
        } else {
            self.text(Cow::Owned(value.to_string()));
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key as bytes: names that come from a packet need not be UTF-8.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_bytes<E: Error>(self, key: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_vec()))
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key.as_bytes()))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.as_bytes().to_vec()))
    }
}
