//! Names that stand for a credential, whatever protocol carries them, and URLs and forms without the credentials in them.

use super::MASK;
use crate::record::{Field, Value};

/// Names of headers, properties and parameters whose values let somebody in. Dashes and underscores are the same.
const NAMES: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "jwt",
];

/// What names end with that are made up in the same way: `X-Api-Key`, `access_token`, `X-Amz-Security-Token`.
const ENDINGS: [&str; 13] = [
    "-authorization",
    "-password",
    "-secret",
    "api-key",
    "apikey",
    "auth-key",
    "access-token",
    "auth-token",
    "id-token",
    "private-token",
    "refresh-token",
    "security-token",
    "vault-token",
];

/// Endings of parameters of a URL besides: with a signature in it, a URL is a credential of its own.
const SIGNATURES: [&str; 3] = ["sig", "signature", "-signature"];

/// What stands behind a parameter; a fragment has parameters, too, in OAuth.
const SEPARATORS: &[u8] = b"&;#";

/// Headers whose values are URLs.
const WITH_URLS: [&[u8]; 3] = [b"location", b"content-location", b"referer"];

/// How long a name is looked at: longer ones are none of these.
const NAME_MAX: usize = 64;

/// Whether the value of a header, property or parameter with this name is a credential. Case means nothing.
pub fn is_secret_name(name: &[u8]) -> bool {
    let Some(name) = plain(name) else { return false };
    NAMES.contains(&name.as_str()) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn is_secret_parameter(name: &[u8]) -> bool {
    is_secret_name(name)
        || plain(name).is_some_and(|name| {
            SIGNATURES
                .iter()
                .any(|ending| name == *ending || ending.starts_with('-') && name.ends_with(ending))
        })
}

/// Lower case, with dashes; none where it is too long to be one of these.
fn plain(name: &[u8]) -> Option<String> {
    if name.len() > NAME_MAX {
        return None;
    }
    let name = name.iter().map(|&byte| if byte == b'_' { '-' } else { byte.to_ascii_lowercase() as char });
    Some(name.collect())
}

/// Whether the value of a header with this name is a URL.
pub fn holds_url(name: &[u8]) -> bool {
    WITH_URLS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A URL, or the target of a request, with its password (RFC 3986, section 3.2.1) and secret parameters masked.
pub fn url(text: &[u8]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(text.len());
    let mut rest = text;
    if let Some(at) = memchr::memmem::find(text, b"//") {
        let authority = &text[at + 2..];
        let end = authority.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(authority.len());
        if let Some(host) = memchr::memrchr(b'@', &authority[..end])
            && let Some(colon) = memchr::memchr(b':', &authority[..host])
            && !text[..at].contains(&b'?')
        {
            masked.extend_from_slice(&text[..at + 2 + colon + 1]);
            masked.extend_from_slice(MASK.as_bytes());
            rest = &authority[host..];
        }
    }
    let query = memchr::memchr(b'?', rest).map_or(rest.len(), |at| at + 1);
    masked.extend_from_slice(&rest[..query]);
    masked.extend(parameters(&rest[query..]));
    masked
}

/// Parameters as in a query or a form, `a=1&password=***`.
fn parameters(text: &[u8]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(text.len());
    for parameter in text.split_inclusive(|byte| SEPARATORS.contains(byte)) {
        let is_separated = parameter.last().is_some_and(|last| SEPARATORS.contains(last));
        let end = parameter.len() - usize::from(is_separated);
        let (pair, separator) = parameter.split_at(end);
        match memchr::memchr(b'=', pair) {
            Some(at) if is_secret_parameter(&pair[..at]) && at + 1 < pair.len() => {
                masked.extend_from_slice(&pair[..=at]);
                masked.extend_from_slice(MASK.as_bytes());
            }
            _ => masked.extend_from_slice(pair),
        }
        masked.extend_from_slice(separator);
    }
    masked
}

/// Masks the secret parameters of a body that is a form, where the headers among the fields say so.
pub fn mask_form(fields: &mut [Field]) {
    let is_form = |(name, value): &(Value, Value)| match (name, value) {
        (Value::Bytes(name), Value::Bytes(value)) => {
            name.eq_ignore_ascii_case(b"content-type")
                && value.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
        }
        _ => false,
    };
    let says_so = fields.iter().any(|field| match &field.value {
        Value::Map(headers) => field.name == "headers" && headers.iter().any(is_form),
        _ => false,
    });
    let body = fields.iter_mut().find(|field| field.name == "body").filter(|_| says_so);
    if let Some(Field { value: Value::Bytes(body), .. }) = body {
        *body = parameters(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials_are_known_in_any_spelling() {
        for name in
            ["Authorization", "X-Api-Key", "x_auth_token", "access_token", "clientSecret-secret", "API_KEY"]
        {
            assert!(is_secret_name(name.as_bytes()), "{name}");
        }
        for name in
            ["Sec-WebSocket-Key", "Idempotency-Key", "pageToken", "X-Request-Id", "", "tokens", "keys"]
        {
            assert!(!is_secret_name(name.as_bytes()), "{name}");
        }
        assert!(!is_secret_name(&[b'-'; 1000]));
    }

    #[test]
    fn credentials_within_urls_are_masked() {
        for (text, expected) in [
            ("/a?b=1&password=x&c=2", "/a?b=1&password=***&c=2"),
            ("/a?access_token=x#top", "/a?access_token=***#top"),
            ("/a?X-Amz-Signature=x&X-Amz-Date=1", "/a?X-Amz-Signature=***&X-Amz-Date=1"),
            ("/a?sig=x;d=1", "/a?sig=***;d=1"),
            ("http://u:p@h:80/a?b=1", "http://u:***@h:80/a?b=1"),
            ("http://u:p@q@h/", "http://u:***@h/"),
            ("//u:p@h", "//u:***@h"),
        ] {
            assert_eq!(String::from_utf8(url(text.as_bytes())).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_credential_stays() {
        for text in [
            "",
            "*",
            "/",
            "/a?password=",
            "/a?password",
            "/a?x=1&&y=2&",
            "http://u@h/a",
            "http://h:80/a@b:c",
            "h:443",
            "/a?to=http://u:p@h/",
            "/design=1?nosig=2",
        ] {
            assert_eq!(String::from_utf8(url(text.as_bytes())).unwrap(), text);
        }
    }

    #[test]
    fn forms_are_masked_where_the_type_says_so() {
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let body = |kind: &str| {
            let headers = Value::Map(vec![(bytes("Content-Type"), bytes(kind))]);
            let mut fields = [Field::new("headers", headers), Field::new("body", bytes("a=1&password=x"))];
            mask_form(&mut fields);
            fields[1].value.clone()
        };
        assert_eq!(body("application/x-www-form-urlencoded; charset=utf-8"), bytes("a=1&password=***"));
        assert_eq!(body("text/plain"), bytes("a=1&password=x"));
    }
}
