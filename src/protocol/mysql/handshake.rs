//! How a connection begins: the server's greeting, encryption, who the client is, and how it proves that.
//!
//! Source: MySQL Source Code Documentation, "Connection Phase"
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).

use super::packet::{self, Packet, bytes, capability, number, status_flags, text, until_zero};
use crate::protocol::MASK;
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};

/// Length of an SSLRequest: a HandshakeResponse41 up to the user's name.
pub const SSL_REQUEST: u64 = 32;

/// The most connection attributes that are kept.
const ATTRIBUTES_MAX: usize = 64;

/// The longest name or other short text that is kept.
pub const SHORT_MAX: usize = 1024;

/// What a server says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting<'a> {
    pub protocol: u8,
    pub version: &'a [u8],
    pub thread: u32,
    pub flags: u64,
    pub charset: Option<u8>,
    pub status: Option<u16>,
    pub plugin: &'a [u8],
    /// The challenge to the client.
    pub challenge: Vec<u8>,
}

/// Reads HandshakeV10 or HandshakeV9. None where it is none, or not whole.
pub fn greeting(data: &[u8]) -> Option<Greeting<'_>> {
    let mut cursor = Cursor::new(data);
    let protocol = cursor.u8()?;
    let version = cursor.until(0)?;
    let thread = cursor.u32_le()?;
    let mut greeting = Greeting {
        protocol,
        version,
        thread,
        flags: 0,
        charset: None,
        status: None,
        plugin: b"",
        challenge: Vec::new(),
    };
    if protocol == 9 {
        greeting.challenge = until_zero(&mut cursor).to_vec();
        return Some(greeting);
    }
    greeting.challenge = cursor.bytes(8)?.to_vec();
    cursor.skip(1)?;
    greeting.flags = cursor.u16_le()?.into();
    // Servers of old end here, or anywhere below.
    greeting.charset = cursor.u8();
    greeting.status = cursor.u16_le();
    greeting.flags |= u64::from(cursor.u16_le().unwrap_or(0)) << 16;
    let length = usize::from(cursor.u8().unwrap_or(0));
    let reserved: [u8; 10] = cursor.array().unwrap_or_default();
    // MariaDB has its own flags where MySQL has zeros.
    if greeting.flags & capability::MYSQL == 0 {
        let mut own = Cursor::new(&reserved[6..]);
        greeting.flags |= u64::from(own.u32_le().unwrap_or(0)) << 32;
    }
    if greeting.flags & capability::SECURE_CONNECTION != 0 {
        let second = length.saturating_sub(8).max(13).min(cursor.len());
        greeting.challenge.extend_from_slice(cursor.bytes(second).unwrap_or_default());
    }
    if greeting.flags & capability::PLUGIN_AUTH != 0 {
        greeting.plugin = until_zero(&mut cursor);
    }
    Some(greeting)
}

impl Greeting<'_> {
    /// Whether it could have been made by chance.
    pub fn is_plausible(&self) -> bool {
        let printable = |text: &[u8]| text.iter().all(u8::is_ascii_graphic);
        let version = self.version;
        (1..=256).contains(&version.len())
            && version.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
            && version.iter().any(u8::is_ascii_digit)
            && printable(self.plugin)
            && (self.protocol == 9 || self.challenge.len() >= 8)
    }

    /// Its summary and fields.
    pub fn describe(&self, show_secrets: bool) -> (String, Vec<Field>) {
        let name = if self.protocol == 9 { "HandshakeV9" } else { "HandshakeV10" };
        let summary = format!("{name} {} thread {}", String::from_utf8_lossy(self.version), self.thread);
        let mut fields = vec![
            text("type", name),
            number("protocol_version", self.protocol.into()),
            bytes("server_version", short(self.version)),
            number("thread_id", self.thread.into()),
            Field::new("auth_plugin_data", secret(&self.challenge, show_secrets)),
        ];
        if self.protocol != 9 {
            fields.push(Field::new("capability_flags", packet::capabilities(self.flags)));
        }
        fields.extend(self.charset.map(|charset| number("character_set", charset.into())));
        fields.extend(self.status.map(status_flags));
        if !self.plugin.is_empty() {
            fields.push(bytes("auth_plugin_name", short(self.plugin)));
        }
        (summary, fields)
    }
}

/// What a client says first: who it is, or that it wants TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login<'a> {
    /// It is of the protocol before 4.1.
    pub old: bool,
    pub flags: u64,
    pub max_packet: u32,
    pub charset: u8,
    pub user: &'a [u8],
    pub response: &'a [u8],
    pub database: Option<&'a [u8]>,
    pub plugin: Option<&'a [u8]>,
    pub attributes: Vec<(&'a [u8], &'a [u8])>,
    pub zstd_level: Option<u8>,
}

/// Whether this begins like a HandshakeResponse41 or SSLRequest. None: too short to say.
pub fn begins_login(data: &[u8]) -> Option<bool> {
    let mut cursor = Cursor::new(data);
    let (Some(flags), Some(_), Some(_)) = (cursor.u32_le(), cursor.u32_le(), cursor.u8()) else {
        return if data.len() >= 2 && data[1] & 2 == 0 { Some(false) } else { None };
    };
    let is_41 = u64::from(flags) & capability::PROTOCOL_41 != 0;
    // MariaDB has flags of its own in the last four of the bytes that MySQL fills with zeros.
    let zeros = cursor.rest().iter().take(19).all(|&byte| byte == 0);
    match (is_41 && zeros, cursor.len() >= 23) {
        (false, _) => Some(false),
        (true, whole) => whole.then_some(true),
    }
}

/// Reads a HandshakeResponse, as far as it is there. `server` are the server's flags, where they are known.
pub fn login(data: &[u8], server: Option<u64>) -> Login<'_> {
    let mut cursor = Cursor::new(data);
    let mut login = Login::default();
    let low = u64::from(Cursor::new(data).u16_le().unwrap_or(0));
    if low & capability::PROTOCOL_41 == 0 {
        (login.old, login.flags) = (true, low);
        let _ = cursor.skip(2);
        login.max_packet = cursor.u24_le().unwrap_or(0);
        login.user = until_zero(&mut cursor);
        login.response = until_zero(&mut cursor);
        login.database = (!cursor.is_empty()).then(|| until_zero(&mut cursor));
        return login;
    }
    login.flags = cursor.u32_le().unwrap_or(0).into();
    login.max_packet = cursor.u32_le().unwrap_or(0);
    login.charset = cursor.u8().unwrap_or(0);
    let filler: [u8; 23] = cursor.array().unwrap_or_default();
    if login.flags & capability::MYSQL == 0 && server.is_none_or(|server| server & capability::MYSQL == 0) {
        let mut own = Cursor::new(&filler[19..]);
        login.flags |= u64::from(own.u32_le().unwrap_or(0)) << 32;
    }
    login.user = until_zero(&mut cursor);
    let flags = login.flags;
    let has = |flag: u64| flags & flag != 0;
    login.response = if has(capability::PLUGIN_AUTH_LENENC) {
        packet::string(&mut cursor).unwrap_or_default()
    } else if has(capability::SECURE_CONNECTION) {
        let length = usize::from(cursor.u8().unwrap_or(0)).min(cursor.len());
        cursor.bytes(length).unwrap_or_default()
    } else {
        until_zero(&mut cursor)
    };
    if has(capability::CONNECT_WITH_DB) {
        login.database = Some(until_zero(&mut cursor));
    }
    if has(capability::PLUGIN_AUTH) {
        login.plugin = Some(until_zero(&mut cursor));
    }
    if has(capability::CONNECT_ATTRS) {
        login.attributes = attributes(&mut cursor);
    }
    if has(capability::ZSTD) {
        login.zstd_level = cursor.u8();
    }
    login
}

/// Names and values, behind the length of all.
fn attributes<'a>(cursor: &mut Cursor<'a>) -> Vec<(&'a [u8], &'a [u8])> {
    let length = packet::integer(cursor).map_or(0, |length| length.min(cursor.len() as u64) as usize);
    let mut part = Cursor::new(cursor.bytes(length).unwrap_or_default());
    let mut all = Vec::new();
    while all.len() < ATTRIBUTES_MAX
        && let (Some(name), Some(value)) = (packet::string(&mut part), packet::string(&mut part))
    {
        all.push((name, value));
    }
    all
}

impl Login<'_> {
    /// Its summary and fields. `flags` are those that hold for the connection.
    pub fn describe(&self, is_ssl_request: bool, show_secrets: bool) -> (String, Vec<Field>) {
        let name = match (is_ssl_request, self.old) {
            (true, _) => "SSLRequest",
            (false, true) => "HandshakeResponse320",
            (false, false) => "HandshakeResponse41",
        };
        let mut fields = vec![
            text("type", name),
            Field::new("client_flag", packet::capabilities(self.flags)),
            number("max_packet_size", self.max_packet.into()),
        ];
        if !self.old {
            fields.push(number("character_set", self.charset.into()));
        }
        if is_ssl_request {
            return (format!("{name} (TLS follows)"), fields);
        }
        let mut summary = format!("{name} user={}", shown(self.user));
        fields.push(bytes("username", short(self.user)));
        fields.push(Field::new("auth_response", secret(self.response, show_secrets)));
        if let Some(database) = self.database {
            summary.push_str(&format!(" database={}", shown(database)));
            fields.push(bytes("database", short(database)));
        }
        fields.extend(self.plugin.map(|plugin| bytes("client_plugin_name", short(plugin))));
        if !self.attributes.is_empty() {
            fields.push(attribute_field(&self.attributes));
        }
        fields.extend(self.zstd_level.map(|level| number("zstd_compression_level", level.into())));
        (summary, fields)
    }
}

fn attribute_field(attributes: &[(&[u8], &[u8])]) -> Field {
    let pairs = attributes.iter();
    let pairs =
        pairs.map(|(name, value)| (Value::Bytes(short(name).to_vec()), Value::Bytes(short(value).to_vec())));
    Field::new("connect_attributes", Value::Map(pairs.collect()))
}

/// The summary and fields of a COM_CHANGE_USER, behind its first byte.
pub fn change_user(body: &[u8], flags: Option<u64>, show_secrets: bool) -> (String, Vec<Field>) {
    let mut cursor = Cursor::new(body);
    let user = until_zero(&mut cursor);
    let length = usize::from(cursor.u8().unwrap_or(0)).min(cursor.len());
    let response = cursor.bytes(length).unwrap_or_default();
    let database = until_zero(&mut cursor);
    let charset = cursor.u16_le();
    let mut summary = format!("COM_CHANGE_USER user={}", shown(user));
    let mut fields = vec![
        bytes("user", short(user)),
        Field::new("auth_plugin_data", secret(response, show_secrets)),
        bytes("database", short(database)),
    ];
    if !database.is_empty() {
        summary.push_str(&format!(" database={}", shown(database)));
    }
    fields.extend(charset.map(|charset| number("character_set", charset.into())));
    let has = |flag: u64| flags.is_none_or(|flags| flags & flag != 0);
    if has(capability::PLUGIN_AUTH) && !cursor.is_empty() {
        fields.push(bytes("auth_plugin_name", short(until_zero(&mut cursor))));
    }
    if has(capability::CONNECT_ATTRS) && !cursor.is_empty() {
        fields.push(attribute_field(&attributes(&mut cursor)));
    }
    (summary, fields)
}

/// What a server says while a client proves who it is, besides OK and ERR: its name, what it says on one line, and the
/// fields.
pub fn exchange(packet: &Packet<'_>, show_secrets: bool) -> (&'static str, Option<String>, Vec<Field>) {
    let mut cursor = Cursor::new(packet.body());
    match packet.kind() {
        Some(packet::EOF) if packet.length == 1 => ("OldAuthSwitchRequest", None, Vec::new()),
        Some(0x02) if packet.length > 2 && cursor.rest()[..1][0].is_ascii_graphic() => {
            let plugin = until_zero(&mut cursor);
            let fields = next_plugin(plugin, cursor.rest(), show_secrets);
            ("AuthNextFactor", Some(shown(plugin)), fields)
        }
        Some(packet::EOF) => {
            let plugin = until_zero(&mut cursor);
            let fields = next_plugin(plugin, cursor.rest(), show_secrets);
            ("AuthSwitchRequest", Some(shown(plugin)), fields)
        }
        Some(0x01) => {
            // caching_sha2_password tells the result of its first step by one byte.
            let said = match packet.data.as_ref() {
                [1, 3] => Some("fast authentication succeeded".to_owned()),
                [1, 4] => Some("full authentication".to_owned()),
                _ => None,
            };
            ("AuthMoreData", said, Vec::new())
        }
        _ => ("authentication data", None, Vec::new()),
    }
}

fn next_plugin(plugin: &[u8], data: &[u8], show_secrets: bool) -> Vec<Field> {
    vec![bytes("auth_plugin_name", short(plugin)), Field::new("auth_plugin_data", secret(data, show_secrets))]
}

/// At most [`SHORT_MAX`] bytes.
pub fn short(text: &[u8]) -> &[u8] {
    &text[..text.len().min(SHORT_MAX)]
}

/// Short text for a summary.
pub fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned()
}

/// In hexadecimal digits, for it holds any byte; or masked.
pub fn secret(bytes: &[u8], show: bool) -> Value {
    let digits = || data_encoding::HEXLOWER.encode(short(bytes));
    Value::Text(if show { digits().into() } else { MASK.into() })
}
