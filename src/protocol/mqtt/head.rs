//! Types of control packets and their fixed header (MQTT 5.0, section 2.1; 3.1.1, section 2.2).

use super::values::{Length, length};
use std::fmt;

/// The most bytes of a fixed header: the type with its flags, and four bytes of length.
pub const HEAD_MAX: usize = 5;

/// What both sides agreed to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1, of before the standard; packets are those of 3.1.1 but for the DUP flag of some.
    V31,
    V311,
    V5,
}

impl Version {
    /// The version with this protocol level. Mosquitto's bridges set the highest bit besides.
    pub fn of_level(level: u8) -> Option<Version> {
        match level & 0x7f {
            3 => Some(Version::V31),
            4 => Some(Version::V311),
            5 => Some(Version::V5),
            _ => None,
        }
    }

    /// As the standards are called.
    pub fn name(self) -> &'static str {
        match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5.0",
        }
    }
}

/// Declares the types in the order of their numbers, from 1.
macro_rules! kinds {
    ($($kind:ident $name:literal)*) => {
        /// The type of a control packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($kind,)*
        }

        const KINDS: &[Kind] = &[$(Kind::$kind,)*];

        impl Kind {
            /// As the standard calls it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    Connect "CONNECT"
    Connack "CONNACK"
    Publish "PUBLISH"
    Puback "PUBACK"
    Pubrec "PUBREC"
    Pubrel "PUBREL"
    Pubcomp "PUBCOMP"
    Subscribe "SUBSCRIBE"
    Suback "SUBACK"
    Unsubscribe "UNSUBSCRIBE"
    Unsuback "UNSUBACK"
    Pingreq "PINGREQ"
    Pingresp "PINGRESP"
    Disconnect "DISCONNECT"
    Auth "AUTH"
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Kind {
    /// The number of the type, 1 to 15.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The only side that sends it; absent where both do.
    pub fn sender(self) -> Option<Side> {
        match self {
            Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq => Some(Side::Client),
            Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp => Some(Side::Server),
            _ => None,
        }
    }

    fn are_flags(self, flags: u8, version: Option<Version>) -> bool {
        // DUP (8) of what can be sent again was taken away by 3.1.1.
        let is_again = version == Some(Version::V31) && flags == 0b1010;
        match self {
            // There is no QoS 3, and nothing of QoS 0 is sent again.
            Kind::Publish => flags & 0b0110 != 0b0110 && flags & 0b1110 != 0b1000,
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => flags == 0b0010 || is_again,
            _ => flags == 0,
        }
    }

    /// Whether a packet of this type can have that remaining length, in any version or in that one.
    fn is_length(self, remaining: u32, version: Option<Version>) -> bool {
        let is_5 = version.is_none_or(|version| version == Version::V5);
        let is_only_5 = version == Some(Version::V5);
        // Of a version without properties; the shortest of one with them.
        let either = |before: bool, after: u32| before && !is_only_5 || is_5 && remaining >= after;
        match self {
            Kind::Connect => remaining >= 12,
            Kind::Connack => either(remaining == 2, 3),
            Kind::Publish => remaining >= 3,
            Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => either(remaining == 2, 2),
            Kind::Subscribe => either(remaining >= 6, 7),
            Kind::Suback => either(remaining >= 3, 4),
            Kind::Unsubscribe => either(remaining >= 5, 6),
            Kind::Unsuback => either(remaining == 2, 4),
            Kind::Pingreq | Kind::Pingresp => remaining == 0,
            Kind::Disconnect => either(remaining == 0, 0),
            Kind::Auth => is_5 && remaining != 1,
        }
    }
}

/// A fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    /// The lower half of the first byte.
    pub flags: u8,
    /// Bytes of the fixed header.
    pub size: usize,
    /// Bytes of the packet behind it.
    pub remaining: u32,
    /// The length has no more bytes than it takes.
    pub is_shortest: bool,
}

impl Head {
    /// Bytes of all of the packet.
    pub fn length(&self) -> u64 {
        self.size as u64 + u64::from(self.remaining)
    }

    /// Whether packets of that version can have this remaining length.
    pub fn is_of(&self, version: Version) -> bool {
        self.kind.is_length(self.remaining, Some(version))
    }

    /// The quality of service of a PUBLISH.
    pub fn qos(&self) -> u8 {
        self.flags >> 1 & 3
    }
}

/// Why bytes are no fixed header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Not {
    /// More bytes will tell.
    Yet,
    /// They are none; up to which byte that takes, and the reason.
    Ever(usize, Wrong),
}

/// What is wrong with bytes that are no fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Type,
    Version,
    Flags(Kind, u8),
    Endless(Kind),
    Padded(Kind),
    Remaining(Kind, u32),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Type => write!(f, "a control packet of the reserved type 0"),
            Wrong::Version => write!(f, "AUTH in a version before 5.0"),
            Wrong::Flags(kind, flags) => write!(f, "{} with the flags {flags:04b}", kind.name()),
            Wrong::Endless(kind) => write!(f, "a remaining length of {} that never ends", kind.name()),
            Wrong::Padded(kind) => {
                write!(f, "a remaining length of {} in more bytes than it takes", kind.name())
            }
            Wrong::Remaining(kind, length) => {
                write!(f, "{} with the remaining length {length}", kind.name())
            }
        }
    }
}

/// Whether a packet of any version but 3.1 can begin with this byte.
pub fn may_begin(first: u8) -> bool {
    let kind = (first >> 4).checked_sub(1).and_then(|index| KINDS.get(usize::from(index)));
    kind.is_some_and(|kind| kind.are_flags(first & 0xf, None))
}

/// Reads the fixed header at the front of bytes that are not empty.
pub fn head(data: &[u8], version: Option<Version>) -> Result<Head, Not> {
    let first = *data.first().ok_or(Not::Yet)?;
    let no = |length: usize, wrong: Wrong| Err(Not::Ever(length, wrong));
    let Some(&kind) = (first >> 4).checked_sub(1).and_then(|index| KINDS.get(usize::from(index))) else {
        return no(1, Wrong::Type);
    };
    let flags = first & 0xf;
    if kind == Kind::Auth && version.is_some_and(|version| version != Version::V5) {
        return no(1, Wrong::Version);
    }
    if !kind.are_flags(flags, version) {
        return no(1, Wrong::Flags(kind, flags));
    }
    let (remaining, bytes) = match length(&data[1..]) {
        Length::Is(remaining, bytes) => (remaining, bytes),
        Length::Begun => return Err(Not::Yet),
        Length::No(bytes) => return no(1 + bytes, Wrong::Endless(kind)),
    };
    let size = 1 + bytes;
    let is_shortest = bytes == 1 || remaining >> (7 * (bytes - 1)) != 0;
    if !is_shortest && version == Some(Version::V5) {
        return no(size, Wrong::Padded(kind));
    }
    // A server that knows no 5.0 refuses it as the versions before do.
    if !kind.is_length(remaining, version) && (kind, remaining) != (Kind::Connack, 2) {
        return no(size, Wrong::Remaining(kind, remaining));
    }
    Ok(Head { kind, flags, size, remaining, is_shortest })
}
