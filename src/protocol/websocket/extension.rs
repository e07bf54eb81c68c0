//! What the handshake agreed on: extensions and subprotocol (RFC 6455, sections 9.1 and 1.9; RFC 7692, section 7.1).

use super::frame::{Header, Opcode};
use crate::protocol::Agreement;
use crate::record::{Message, Value};

/// The extension of RFC 7692.
const DEFLATE: &str = "permessage-deflate";

/// What is known of the extensions in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extensions {
    /// The handshake was not seen. Only permessage-deflate is reckoned with.
    Unknown,
    /// As the server's answer has them.
    Known(Agreed),
}

/// Extensions that both ends agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    deflate: Option<Deflate>,
    /// All, as they are called; empty where there are none.
    names: Vec<String>,
}

/// The parameters of permessage-deflate that matter to a reader: a window of 32 KiB reads what smaller ones wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Deflate {
    client_no_context_takeover: bool,
    server_no_context_takeover: bool,
}

impl Extensions {
    /// Those of the answer to the upgrade.
    pub(super) fn of(answer: &Message) -> Extensions {
        let mut agreed = Agreed::default();
        for value in headers(answer, "sec-websocket-extensions") {
            for one in String::from_utf8_lossy(value).split(',') {
                agreed.add(one);
            }
        }
        Extensions::Known(agreed)
    }

    /// Checks the reserved bits of a frame.
    pub(super) fn check(&self, header: &Header) -> Result<(), &'static str> {
        let (has_deflate, has_others) = match self {
            Extensions::Unknown => (true, false),
            Extensions::Known(agreed) => {
                let own = usize::from(agreed.deflate.is_some());
                (agreed.deflate.is_some(), agreed.names.len() > own)
            }
        };
        match header {
            _ if has_others => Ok(()),
            Header { rsv23: true, .. } => Err("a reserved bit (RSV2 or RSV3) that no extension uses"),
            Header { rsv1: false, .. } => Ok(()),
            _ if !has_deflate => Err("a reserved bit (RSV1) that no extension uses"),
            Header { opcode: Opcode::Text | Opcode::Binary, .. } => Ok(()),
            _ => Err("RSV1 on a frame that begins no message"),
        }
    }

    /// True where RSV1 says that the message is compressed with DEFLATE.
    pub(super) fn deflates(&self) -> bool {
        match self {
            Extensions::Unknown => true,
            Extensions::Known(agreed) => agreed.deflate.is_some(),
        }
    }

    /// True where each message of the client, or of the server, is compressed by itself.
    pub(super) fn forgets(&self, from_client: bool) -> bool {
        match self {
            Extensions::Known(Agreed { deflate: Some(deflate), .. }) => match from_client {
                true => deflate.client_no_context_takeover,
                false => deflate.server_no_context_takeover,
            },
            _ => false,
        }
    }

    /// Their names, as one value of a field; `unknown` where the handshake was not seen.
    pub(super) fn named(&self) -> Value {
        match self {
            Extensions::Unknown => Value::Text("unknown".into()),
            Extensions::Known(agreed) => Value::Bytes(agreed.names.join(", ").into_bytes()),
        }
    }
}

impl Agreed {
    /// Notes one extension with its parameters.
    fn add(&mut self, extension: &str) {
        let mut parts = extension.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        if name.is_empty() {
            return;
        }
        if name == DEFLATE {
            let deflate = self.deflate.get_or_insert_default();
            for parameter in parts {
                deflate.client_no_context_takeover |=
                    parameter.eq_ignore_ascii_case("client_no_context_takeover");
                deflate.server_no_context_takeover |=
                    parameter.eq_ignore_ascii_case("server_no_context_takeover");
            }
        }
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

/// What is known of the subprotocol that the server chose, such as `graphql-ws`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subprotocol {
    /// There is none.
    None,
    Known(Vec<u8>),
    /// What said it is lost, or came before the trace.
    Unknown,
}

impl Subprotocol {
    /// That of a handshake. A server chooses among those that the client offers (RFC 6455, section 4.2.2).
    pub(super) fn of(agreement: &Agreement) -> Subprotocol {
        const NAME: &str = "sec-websocket-protocol";
        let (asked, answer) = (agreement.asked.as_ref(), agreement.answer.as_ref());
        if let Some(chosen) = answer.and_then(|answer| headers(answer, NAME).next()) {
            return Subprotocol::Known(chosen.to_vec());
        }
        let is_whole = |message: &Message| message.causes.is_empty();
        let offers = asked.is_none_or(|asked| !is_whole(asked) || headers(asked, NAME).next().is_some());
        match answer.is_some_and(is_whole) || !offers {
            true => Subprotocol::None,
            false => Subprotocol::Unknown,
        }
    }

    /// As the value of a field, where it has one.
    pub(super) fn named(&self) -> Option<Value> {
        match self {
            Subprotocol::None => None,
            Subprotocol::Known(name) => Some(Value::Bytes(name.clone())),
            Subprotocol::Unknown => Some(Value::Text("unknown".into())),
        }
    }
}

/// The values of a header, which may come several times.
fn headers<'a>(message: &'a Message, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let all = match message.field("headers") {
        Some(Value::Map(pairs)) => pairs.as_slice(),
        _ => &[],
    };
    all.iter().filter_map(move |pair| match pair {
        (Value::Bytes(known), Value::Bytes(value)) if known.eq_ignore_ascii_case(name.as_bytes()) => {
            Some(value.as_slice())
        }
        _ => None,
    })
}
