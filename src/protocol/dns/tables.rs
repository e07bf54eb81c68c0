//! Names of numbers (IANA, "Domain Name System (DNS) Parameters"), and how the data of each type are laid out.

use std::borrow::Cow;

/// Types that the code asks for.
pub mod rtype {
    pub const SOA: u16 = 6;
    pub const OPT: u16 = 41;
    pub const RRSIG: u16 = 46;
    pub const TKEY: u16 = 249;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
}

/// Classes.
pub mod class {
    /// Of a question: answer to me alone; of a record: forget others of the name (RFC 6762, sections 5.4 and 10.2).
    pub const TOP_BIT: u16 = 0x8000;

    /// IN, CH, HS; and NONE and ANY of questions and updates (RFC 2136, section 1.3).
    const NAMES: [(u16, &str); 5] = [(1, "IN"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];

    pub fn is_known(class: u16) -> bool {
        NAMES.iter().any(|(number, _)| *number == class)
    }

    /// Its name; of one that has none as RFC 3597 (section 5) wants it.
    pub fn name(class: u16) -> std::borrow::Cow<'static, str> {
        super::named(&NAMES, class, "CLASS")
    }
}

/// How a part of a record's data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A domain name.
    Name,
    U8,
    U16,
    U32,
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// A string behind its length.
    Text,
    /// As many of those as there are.
    Texts,
    /// The rest, as text.
    Rest,
    /// The rest in base 64.
    Base64,
    /// The rest in base 16.
    Hex,
    /// Bytes behind their length (8 bits) in base 16; `-` where there are none.
    Salt,
    /// Bytes behind their length (8 bits) in base 32 (RFC 5155, section 3.3).
    Hash,
    /// A type.
    Type,
    /// A bitmap of types (RFC 4034, section 4.1.2).
    Types,
    /// Seconds since 1970, as a date (RFC 4034, section 3.2).
    Date,
    /// A tag behind its length, without quotes (RFC 8659, section 4.1).
    Tag,
    /// Parameters of a service (RFC 9460, section 2.2).
    Service,
    /// 48 bits: seconds since 1970 (RFC 8945, section 4.2).
    U48,
    /// Bytes behind their length (16 bits) in base 64.
    Base64Of16,
    /// Bytes behind their length (16 bits) that nobody is to see unless asked.
    Secret,
}

use Part::{
    Base64, Base64Of16, Date, Hash, Hex, Name, Rest, Salt, Secret, Service, Tag, Text, Texts, Type, Types,
    U8, U16, U32, U48, V4, V6,
};

/// Number, name and layout. Those without layout are shown as RFC 3597 (section 5) wants it.
const TYPES: &[(u16, &str, &[Part])] = &[
    (1, "A", &[V4]),
    (2, "NS", &[Name]),
    (3, "MD", &[Name]),
    (4, "MF", &[Name]),
    (5, "CNAME", &[Name]),
    (6, "SOA", &[Name, Name, U32, U32, U32, U32, U32]),
    (7, "MB", &[Name]),
    (8, "MG", &[Name]),
    (9, "MR", &[Name]),
    (10, "NULL", &[]),
    (11, "WKS", &[]),
    (12, "PTR", &[Name]),
    (13, "HINFO", &[Text, Text]),
    (14, "MINFO", &[Name, Name]),
    (15, "MX", &[U16, Name]),
    (16, "TXT", &[Texts]),
    (17, "RP", &[Name, Name]),
    (18, "AFSDB", &[U16, Name]),
    (19, "X25", &[Text]),
    (20, "ISDN", &[Texts]),
    (21, "RT", &[U16, Name]),
    (22, "NSAP", &[Hex]),
    (23, "NSAP-PTR", &[Name]),
    (24, "SIG", &[Type, U8, U8, U32, Date, Date, U16, Name, Base64]),
    (25, "KEY", &[U16, U8, U8, Base64]),
    (26, "PX", &[U16, Name, Name]),
    (27, "GPOS", &[Text, Text, Text]),
    (28, "AAAA", &[V6]),
    (29, "LOC", &[]),
    (30, "NXT", &[]),
    (33, "SRV", &[U16, U16, U16, Name]),
    (34, "ATMA", &[]),
    (35, "NAPTR", &[U16, U16, Text, Text, Text, Name]),
    (36, "KX", &[U16, Name]),
    (37, "CERT", &[U16, U16, U8, Base64]),
    (38, "A6", &[]),
    (39, "DNAME", &[Name]),
    (41, "OPT", &[]),
    (42, "APL", &[]),
    (43, "DS", &[U16, U8, U8, Hex]),
    (44, "SSHFP", &[U8, U8, Hex]),
    (45, "IPSECKEY", &[]),
    (46, "RRSIG", &[Type, U8, U8, U32, Date, Date, U16, Name, Base64]),
    (47, "NSEC", &[Name, Types]),
    (48, "DNSKEY", &[U16, U8, U8, Base64]),
    (49, "DHCID", &[Base64]),
    (50, "NSEC3", &[U8, U8, U16, Salt, Hash, Types]),
    (51, "NSEC3PARAM", &[U8, U8, U16, Salt]),
    (52, "TLSA", &[U8, U8, U8, Hex]),
    (53, "SMIMEA", &[U8, U8, U8, Hex]),
    (55, "HIP", &[]),
    (59, "CDS", &[U16, U8, U8, Hex]),
    (60, "CDNSKEY", &[U16, U8, U8, Base64]),
    (61, "OPENPGPKEY", &[Base64]),
    (62, "CSYNC", &[U32, U16, Types]),
    (63, "ZONEMD", &[U32, U8, U8, Hex]),
    (64, "SVCB", &[U16, Name, Service]),
    (65, "HTTPS", &[U16, Name, Service]),
    (99, "SPF", &[Texts]),
    (104, "NID", &[U16, Hex]),
    (105, "L32", &[U16, V4]),
    (106, "L64", &[U16, Hex]),
    (107, "LP", &[U16, Name]),
    (108, "EUI48", &[Hex]),
    (109, "EUI64", &[Hex]),
    (249, "TKEY", &[Name, Date, Date, U16, U16, Secret, Base64Of16]),
    (250, "TSIG", &[Name, U48, U16, Base64Of16, U16, U16, Base64Of16]),
    (251, "IXFR", &[]),
    (252, "AXFR", &[]),
    (253, "MAILB", &[]),
    (254, "MAILA", &[]),
    (255, "ANY", &[]),
    (256, "URI", &[U16, U16, Rest]),
    (257, "CAA", &[U8, Tag, Rest]),
    (258, "AVC", &[Texts]),
    (260, "AMTRELAY", &[]),
    (261, "RESINFO", &[Texts]),
    (32768, "TA", &[U16, U8, U8, Hex]),
    (32769, "DLV", &[U16, U8, U8, Hex]),
];

/// The name of a type; of one that has none as RFC 3597 (section 5) wants it.
pub fn type_name(number: u16) -> Cow<'static, str> {
    match TYPES.iter().find(|row| row.0 == number) {
        Some((_, name, _)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("TYPE{number}")),
    }
}

/// How the data of a type are laid out; empty where that is not known.
pub fn layout(number: u16) -> &'static [Part] {
    TYPES.iter().find(|row| row.0 == number).map_or(&[], |row| row.2)
}

const OPCODES: [(u16, &str); 6] =
    [(0, "QUERY"), (1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE"), (6, "DSO")];

const RCODES: [(u16, &str); 20] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADVERS"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

/// Options of EDNS ("DNS EDNS0 Option Codes (OPT)").
const OPTIONS: [(u16, &str); 16] = [
    (1, "LLQ"),
    (2, "UL"),
    (3, "NSID"),
    (5, "DAU"),
    (6, "DHU"),
    (7, "N3U"),
    (8, "ECS"),
    (9, "EXPIRE"),
    (10, "COOKIE"),
    (11, "TCP-KEEPALIVE"),
    (12, "PADDING"),
    (13, "CHAIN"),
    (14, "KEY-TAG"),
    (15, "EDE"),
    (18, "REPORT-CHANNEL"),
    (19, "ZONEVERSION"),
];

/// Extended DNS errors (RFC 8914, section 5.2, and the registry).
const ERRORS: [(u16, &str); 30] = [
    (0, "Other Error"),
    (1, "Unsupported DNSKEY Algorithm"),
    (2, "Unsupported DS Digest Type"),
    (3, "Stale Answer"),
    (4, "Forged Answer"),
    (5, "DNSSEC Indeterminate"),
    (6, "DNSSEC Bogus"),
    (7, "Signature Expired"),
    (8, "Signature Not Yet Valid"),
    (9, "DNSKEY Missing"),
    (10, "RRSIGs Missing"),
    (11, "No Zone Key Bit Set"),
    (12, "NSEC Missing"),
    (13, "Cached Error"),
    (14, "Not Ready"),
    (15, "Blocked"),
    (16, "Censored"),
    (17, "Filtered"),
    (18, "Prohibited"),
    (19, "Stale NXDomain Answer"),
    (20, "Not Authoritative"),
    (21, "Not Supported"),
    (22, "No Reachable Authority"),
    (23, "Network Error"),
    (24, "Invalid Data"),
    (25, "Signature Expired before Valid"),
    (26, "Too Early"),
    (27, "Unsupported NSEC3 Iterations Value"),
    (28, "Unable to conform to policy"),
    (29, "Synthesized"),
];

/// Keys of service parameters (RFC 9460, section 14.3.2, and the registry).
const SERVICE_KEYS: [(u16, &str); 9] = [
    (0, "mandatory"),
    (1, "alpn"),
    (2, "no-default-alpn"),
    (3, "port"),
    (4, "ipv4hint"),
    (5, "ech"),
    (6, "ipv6hint"),
    (7, "dohpath"),
    (8, "ohttp"),
];

/// The name of a kind of message.
pub fn opcode_name(number: u8) -> Cow<'static, str> {
    named(&OPCODES, u16::from(number), "OPCODE")
}

/// The name of a response code.
pub fn rcode_name(number: u16) -> Cow<'static, str> {
    named(&RCODES, number, "RCODE")
}

/// The name of an option.
pub fn option_name(number: u16) -> Cow<'static, str> {
    named(&OPTIONS, number, "OPT")
}

/// The name of an extended error.
pub fn error_name(number: u16) -> Cow<'static, str> {
    named(&ERRORS, number, "EDE")
}

/// The name of a service parameter.
pub fn service_key(number: u16) -> Cow<'static, str> {
    named(&SERVICE_KEYS, number, "key")
}

fn named(names: &[(u16, &'static str)], number: u16, prefix: &str) -> Cow<'static, str> {
    match names.iter().find(|(of, _)| *of == number) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("{prefix}{number}")),
    }
}
