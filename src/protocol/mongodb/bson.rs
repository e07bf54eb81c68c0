//! BSON (<https://bsonspec.org/spec.html>): walks through documents, whole or cut, and shows values as Relaxed Extended
//! JSON (<https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md>) names them.

use super::decimal;
use crate::protocol::MASKED;
use crate::protocol::cursor::Cursor;
use crate::record::Value;
use data_encoding::BASE64;

/// How deep documents may lie in each other; servers take 200 (`BSONDepth::kDefaultMaxAllowableDepth`).
const DEPTH_MAX: usize = 200;

/// The smallest document: its length and the byte that ends it.
const DOCUMENT_MIN: usize = 5;

/// What an element costs of a budget besides its bytes: values are larger in memory than in BSON.
const ELEMENT_COST: usize = 8;

const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BINARY: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const OBJECT_ID: u8 = 0x07;
const BOOLEAN: u8 = 0x08;
const DATE_TIME: u8 = 0x09;
const NULL: u8 = 0x0a;
const REGEX: u8 = 0x0b;
const DB_POINTER: u8 = 0x0c;
const CODE: u8 = 0x0d;
const SYMBOL: u8 = 0x0e;
const CODE_WITH_SCOPE: u8 = 0x0f;
const INT32: u8 = 0x10;
const TIMESTAMP: u8 = 0x11;
const INT64: u8 = 0x12;
const DECIMAL128: u8 = 0x13;
const MAX_KEY: u8 = 0x7f;
const MIN_KEY: u8 = 0xff;

/// What is wrong with a document.
pub type Wrong = &'static str;

/// A document, or what is there of it.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// Its elements, without the byte that ends them.
    elements: &'a [u8],
    /// Bytes are missing at its end.
    pub is_cut: bool,
}

impl<'a> Document<'a> {
    /// Takes the document at the front of `cursor`, all there is of it where its end is missing.
    ///
    /// # Errors
    /// What is there is no document.
    pub fn take(cursor: &mut Cursor<'a>) -> Result<Document<'a>, Wrong> {
        let Some(length) = Cursor::new(cursor.rest()).u32_le() else {
            cursor.skip(cursor.len());
            return Ok(Document { elements: &[], is_cut: true });
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < DOCUMENT_MIN || length > i32::MAX as usize {
            return Err("a document of an impossible length");
        }
        if let Some(bytes) = cursor.bytes(length) {
            let [.., 0] = bytes else { return Err("a document without the byte that ends it") };
            return Ok(Document { elements: &bytes[4..length - 1], is_cut: false });
        }
        let bytes = cursor.bytes(cursor.len()).unwrap_or_default();
        Ok(Document { elements: bytes.get(4..).unwrap_or_default(), is_cut: true })
    }

    /// Its elements in order, up to the first that is wrong.
    pub fn elements(self) -> Elements<'a> {
        Elements { cursor: Cursor::new(self.elements), is_cut: self.is_cut }
    }

    /// The elements that can be read.
    pub fn readable(self) -> impl Iterator<Item = Element<'a>> {
        self.elements().map_while(Result::ok)
    }

    /// The first element.
    pub fn first(self) -> Option<Element<'a>> {
        self.readable().next()
    }

    /// The first element called `name`.
    pub fn get(self, name: &str) -> Option<Element<'a>> {
        self.readable().find(|element| element.name == name.as_bytes())
    }

    /// True where nothing is in it.
    pub fn is_empty(self) -> bool {
        self.elements.is_empty()
    }

    /// Walks through all that is there.
    ///
    /// # Errors
    /// It does not follow the format.
    pub fn check(self) -> Result<(), Wrong> {
        self.check_at(0)
    }

    fn check_at(self, depth: usize) -> Result<(), Wrong> {
        if depth >= DEPTH_MAX {
            return Err("documents lie too deep in each other");
        }
        for element in self.elements() {
            let element = element?;
            if matches!(element.kind, DOCUMENT | ARRAY) {
                element.document_or_wrong()?.check_at(depth + 1)?;
            }
        }
        Ok(())
    }
}

/// One element of a document.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    kind: u8,
    /// Its name, as bytes that should be UTF-8.
    pub name: &'a [u8],
    value: &'a [u8],
    /// Bytes of its value are missing.
    pub is_cut: bool,
}

impl<'a> Element<'a> {
    /// The document or array that it is.
    pub fn document(self) -> Option<Document<'a>> {
        matches!(self.kind, DOCUMENT | ARRAY).then(|| self.document_or_wrong().ok()).flatten()
    }

    fn document_or_wrong(self) -> Result<Document<'a>, Wrong> {
        Document::take(&mut Cursor::new(self.value))
    }

    /// True where it is an array.
    pub fn is_array(self) -> bool {
        self.kind == ARRAY
    }

    /// The text that it is.
    pub fn text(self) -> Option<&'a [u8]> {
        let text = self.value.get(4..).filter(|_| matches!(self.kind, STRING | SYMBOL))?;
        Some(text.strip_suffix(b"\0").filter(|_| !self.is_cut).unwrap_or(text))
    }

    /// The whole number that it is, also where it is written as a floating-point number.
    pub fn number(self) -> Option<i64> {
        let mut cursor = Cursor::new(self.value);
        match self.kind {
            INT32 => cursor.i32_le().map(i64::from),
            INT64 => cursor.i64_le(),
            DOUBLE => cursor.f64_le().filter(|number| number.fract() == 0.0).map(|number| number as i64),
            _ => None,
        }
    }

    /// Whether it counts as true: servers take numbers for flags.
    pub fn is_true(self) -> bool {
        match self.kind {
            BOOLEAN => self.value == [1],
            DOUBLE => Cursor::new(self.value).f64_le().is_some_and(|number| number != 0.0),
            _ => self.number().is_some_and(|number| number != 0),
        }
    }
}

/// Walks through the elements of a document. Ends behind the first that is wrong.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    cursor: Cursor<'a>,
    is_cut: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        let read = self.read();
        if !matches!(read, Ok(Some(_))) {
            self.cursor.skip(self.cursor.len());
        }
        read.transpose()
    }
}

impl<'a> Elements<'a> {
    fn read(&mut self) -> Result<Option<Element<'a>>, Wrong> {
        let Some(kind) = self.cursor.u8() else { return Ok(None) };
        let least = least(kind).ok_or("an element of an unknown type")?;
        let Some(name) = self.cursor.until(0) else {
            return if self.is_cut { Ok(None) } else { Err("a name without an end") };
        };
        let rest = self.cursor.rest();
        let length = match least {
            Extent::Fixed(length) => Some(length),
            Extent::Prefixed { least, more } => match Cursor::new(rest).u32_le() {
                Some(length) if (length as usize) < least => return Err("a value shorter than its type"),
                Some(length) => (length as usize).checked_add(more),
                None => None,
            },
            Extent::Strings => strings(rest),
        };
        if let Some(value) = length.and_then(|length| self.cursor.bytes(length)) {
            let ends = match kind {
                STRING | CODE | SYMBOL | DOCUMENT | ARRAY => value.last() == Some(&0),
                BOOLEAN => matches!(value, [0 | 1]),
                _ => true,
            };
            if !ends {
                return Err("a value that does not end as its type does");
            }
            return Ok(Some(Element { kind, name, value, is_cut: false }));
        }
        if !self.is_cut {
            return Err("a value longer than its document");
        }
        self.cursor.skip(rest.len());
        Ok(Some(Element { kind, name, value: rest, is_cut: true }))
    }
}

/// How the length of a value is known.
enum Extent {
    Fixed(usize),
    /// It begins with a number, at least `least`; `more` bytes are not counted in it.
    Prefixed {
        least: usize,
        more: usize,
    },
    /// Two strings that each end with a zero.
    Strings,
}

fn least(kind: u8) -> Option<Extent> {
    Some(match kind {
        UNDEFINED | NULL | MAX_KEY | MIN_KEY => Extent::Fixed(0),
        BOOLEAN => Extent::Fixed(1),
        INT32 => Extent::Fixed(4),
        DOUBLE | DATE_TIME | TIMESTAMP | INT64 => Extent::Fixed(8),
        OBJECT_ID => Extent::Fixed(12),
        DECIMAL128 => Extent::Fixed(16),
        STRING | CODE | SYMBOL => Extent::Prefixed { least: 1, more: 4 },
        DB_POINTER => Extent::Prefixed { least: 1, more: 16 },
        BINARY => Extent::Prefixed { least: 0, more: 5 },
        DOCUMENT | ARRAY => Extent::Prefixed { least: DOCUMENT_MIN, more: 0 },
        CODE_WITH_SCOPE => Extent::Prefixed { least: 14, more: 0 },
        REGEX => Extent::Strings,
        _ => return None,
    })
}

fn strings(bytes: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(bytes);
    cursor.until(0)?;
    cursor.until(0)?;
    Some(bytes.len() - cursor.len())
}

/// Where in a message a document lies, which decides what in it is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A command, or the answer to one.
    Body,
    /// Likewise, where its `key` is a digest of the password: `authenticate`.
    Authenticate,
    /// The beginning of a login within `hello`.
    Login,
    /// What users store and ask for.
    Content,
}

/// Turns documents into values, as far as its budget goes.
#[derive(Clone, Copy, Debug)]
pub struct Shower {
    /// How many bytes may still be shown.
    pub budget: usize,
    /// Something was left out.
    pub is_cut: bool,
    /// Nothing is masked.
    pub show_secrets: bool,
}

impl Shower {
    /// The elements of a document.
    pub fn document(&mut self, document: Document<'_>, place: Place) -> Value {
        self.document_at(document, place, 0)
    }

    fn document_at(&mut self, document: Document<'_>, place: Place, depth: usize) -> Value {
        let mut pairs = Vec::new();
        if depth >= DEPTH_MAX {
            self.is_cut = true;
            return Value::Map(pairs);
        }
        for element in document.readable() {
            let Some(left) = self.budget.checked_sub(element.name.len() + ELEMENT_COST) else {
                self.is_cut = true;
                break;
            };
            self.budget = left;
            let value = self.element(element, place, depth);
            pairs.push((Value::Bytes(element.name.to_vec()), value));
        }
        Value::Map(pairs)
    }

    fn array(&mut self, document: Document<'_>, depth: usize) -> Value {
        let mut list = Vec::new();
        for element in document.readable() {
            let left = self.budget.checked_sub(ELEMENT_COST).filter(|_| depth < DEPTH_MAX);
            let Some(left) = left else {
                self.is_cut = true;
                break;
            };
            self.budget = left;
            list.push(self.element(element, Place::Content, depth));
        }
        Value::List(list)
    }

    fn element(&mut self, element: Element<'_>, place: Place, depth: usize) -> Value {
        if !self.show_secrets && is_secret(element.name, place) && !matches!(element.kind, NULL) {
            return MASKED;
        }
        let within = match (place, element.name) {
            (Place::Body | Place::Authenticate, b"speculativeAuthenticate") => Place::Login,
            // A query of the time before OP_MSG can be wrapped in one with options.
            (Place::Body, b"$query" | b"query") if element.kind == DOCUMENT => place,
            _ => Place::Content,
        };
        match (element.kind, element.document()) {
            (ARRAY, Some(array)) => self.array(array, depth + 1),
            (_, Some(document)) => self.document_at(document, within, depth + 1),
            _ => self.leaf(element, depth),
        }
    }

    /// As many of `bytes` as the budget allows.
    fn bytes<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = bytes.len().min(self.budget);
        self.budget -= count;
        self.is_cut |= count < bytes.len();
        &bytes[..count]
    }

    fn text(&mut self, bytes: &[u8]) -> Value {
        Value::Bytes(self.bytes(bytes).to_vec())
    }

    fn leaf(&mut self, element: Element<'_>, depth: usize) -> Value {
        let mut cursor = Cursor::new(element.value);
        let value = match element.kind {
            DOUBLE => cursor.f64_le().map(Value::Float),
            STRING => element.text().map(|text| self.text(text)),
            SYMBOL => element.text().map(|text| named("$symbol", self.text(text))),
            BINARY => self.binary(&mut cursor, element.is_cut),
            UNDEFINED => Some(named("$undefined", Value::Flag(true))),
            OBJECT_ID => cursor.array::<12>().map(|id| named("$oid", hex(&id))),
            BOOLEAN => cursor.u8().map(|flag| Value::Flag(flag != 0)),
            DATE_TIME => cursor.i64_le().map(|time| named("$date", Value::Text(date(time).into()))),
            NULL => Some(Value::Null),
            REGEX => cursor.until(0).map(|pattern| {
                let options = cursor.until(0).unwrap_or_default();
                let pairs = [("pattern", self.text(pattern)), ("options", self.text(options))];
                named("$regularExpression", map(pairs))
            }),
            DB_POINTER => self.pointer(&mut cursor),
            CODE => element
                .value
                .get(4..)
                .map(|code| named("$code", self.text(code.strip_suffix(b"\0").unwrap_or(code)))),
            CODE_WITH_SCOPE => self.code(&mut cursor, depth),
            INT32 => cursor.i32_le().map(|number| Value::Number(number.into())),
            TIMESTAMP => cursor.u32_le().and_then(|increment| {
                let time = cursor.u32_le()?;
                let pairs = [("t", Value::Number(time.into())), ("i", Value::Number(increment.into()))];
                Some(named("$timestamp", map(pairs)))
            }),
            INT64 => cursor.i64_le().map(Value::Number),
            DECIMAL128 => {
                cursor.array().map(|bytes| named("$numberDecimal", Value::Text(decimal::text(bytes).into())))
            }
            MIN_KEY => Some(named("$minKey", Value::Number(1))),
            MAX_KEY => Some(named("$maxKey", Value::Number(1))),
            _ => None,
        };
        // What is missing of a value that the end of the bytes cuts is said by the message's cause.
        value.unwrap_or(Value::Null)
    }

    fn binary(&mut self, cursor: &mut Cursor<'_>, is_cut: bool) -> Option<Value> {
        let length = cursor.u32_le()?;
        let subtype = cursor.u8()?;
        let bytes = cursor.rest();
        if let (4, 16, Ok(id)) = (subtype, length, <[u8; 16]>::try_from(bytes))
            && !is_cut
        {
            return Some(named("$uuid", Value::Text(uuid(id).into())));
        }
        let shown = self.bytes(bytes);
        let pairs = [
            ("base64", Value::Text(BASE64.encode(shown).into())),
            ("subType", Value::Text(format!("{subtype:02x}").into())),
        ];
        Some(named("$binary", map(pairs)))
    }

    fn pointer(&mut self, cursor: &mut Cursor<'_>) -> Option<Value> {
        let length = cursor.u32_le()? as usize;
        let name = cursor.bytes(length)?;
        let id = cursor.array::<12>()?;
        let pairs =
            [("$ref", self.text(name.strip_suffix(b"\0").unwrap_or(name))), ("$id", named("$oid", hex(&id)))];
        Some(named("$dbPointer", map(pairs)))
    }

    fn code(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Option<Value> {
        cursor.skip(4)?;
        let length = cursor.u32_le()? as usize;
        let code = cursor.bytes(length)?;
        let code = self.text(code.strip_suffix(b"\0").unwrap_or(code));
        let scope = Document::take(cursor).ok()?;
        let scope = self.document_at(scope, Place::Content, depth + 1);
        Some(map([("$code", code), ("$scope", scope)]))
    }
}

/// Members that let somebody in, or that a password can be searched with.
fn is_secret(name: &[u8], place: Place) -> bool {
    match name {
        b"storedKey" | b"serverKey" | b"MONGODB-CR" => true,
        b"payload" | b"nonce" => place != Place::Content,
        b"pwd" => place == Place::Body,
        b"key" => matches!(place, Place::Authenticate | Place::Login),
        _ => false,
    }
}

fn named(name: &'static str, value: Value) -> Value {
    map([(name, value)])
}

fn map<const N: usize>(pairs: [(&'static str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(name, value)| (Value::Text(name.into()), value)).collect())
}

fn hex(bytes: &[u8]) -> Value {
    Value::Text(data_encoding::HEXLOWER.encode(bytes).into())
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = data_encoding::HEXLOWER.encode(&bytes);
    [20, 16, 12, 8].iter().for_each(|&at| text.insert(at, '-'));
    text
}

/// Milliseconds since 1970 as RFC 3339 has them, or as they are where it can't.
fn date(milliseconds: i64) -> String {
    let days = milliseconds.div_euclid(86_400_000);
    let within = milliseconds.rem_euclid(86_400_000);
    // From days to a date of the Gregorian calendar: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
    let from_march = days + 719_468;
    let era = from_march.div_euclid(146_097);
    let day_of_era = from_march.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return milliseconds.to_string();
    }
    let (hour, minute) = (within / 3_600_000, within / 60_000 % 60);
    let (second, millisecond) = (within / 1000 % 60, within % 1000);
    let fraction = if millisecond == 0 { String::new() } else { format!(".{millisecond:03}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads hexadecimal digits.
    fn bytes(digits: &str) -> Vec<u8> {
        data_encoding::HEXUPPER.decode(digits.as_bytes()).expect("hexadecimal digits")
    }

    fn show(bytes: &[u8], budget: usize) -> (Value, bool) {
        let document = Document::take(&mut Cursor::new(bytes)).expect("a document");
        let mut shower = Shower { budget, is_cut: false, show_secrets: false };
        let value = shower.document(document, Place::Content);
        (value, shower.is_cut)
    }

    /// Documents of one element called `a` (or as named), of MongoDB's BSON corpus
    /// (<https://github.com/mongodb/specifications/tree/master/source/bson-corpus/tests>).
    #[track_caller]
    fn check(digits: &str, expected: Value) {
        let bytes = bytes(digits);
        let document = Document::take(&mut Cursor::new(&bytes)).expect("a document");
        assert_eq!(document.check(), Ok(()));
        let (Value::Map(pairs), false) = show(&bytes, 4096) else { panic!("no document, or a cut one") };
        assert_eq!(pairs.len(), 1);
        assert_eq!(pairs[0].1, expected);
    }

    fn text(text: &'static str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn values_are_those_of_the_corpus() {
        check("10000000016400000000000000F03F00", Value::Float(1.0));
        check("0E00000002610002000000620000", Value::Bytes(b"b".to_vec()));
        check("0D000000037800050000000000", Value::Map(vec![]));
        check("140000000461000C0000001030000A0000000000", Value::List(vec![Value::Number(10)]));
        check("0F0000000578000200000000FFFF00", {
            named("$binary", map([("base64", text("//8=")), ("subType", text("00"))]))
        });
        check(
            "1D000000057800100000000473FFD26444B34C6990E8E7D1DFC035D400",
            named("$uuid", text("73ffd264-44b3-4c69-90e8-e7d1dfc035d4")),
        );
        check("0800000006610000", named("$undefined", Value::Flag(true)));
        check("1400000007610056E1FC72E0C917E9C471416100", named("$oid", text("56e1fc72e0c917e9c4714161")));
        check("090000000862000100", Value::Flag(true));
        check("10000000096100C5D8D6CC3B01000000", named("$date", text("2012-12-24T12:15:30.501Z")));
        check("10000000096100C33CE7B9BDFFFFFF00", named("$date", text("1960-12-24T12:15:30.499Z")));
        check("080000000A610000", Value::Null);
        check("0F0000000B610061626300696D0000", {
            let pairs =
                [("pattern", Value::Bytes(b"abc".to_vec())), ("options", Value::Bytes(b"im".to_vec()))];
            named("$regularExpression", map(pairs))
        });
        check("1A0000000C610002000000620056E1FC72E0C917E9C471416100", {
            let id = named("$oid", text("56e1fc72e0c917e9c4714161"));
            named("$dbPointer", map([("$ref", Value::Bytes(b"b".to_vec())), ("$id", id)]))
        });
        check("0E0000000D610002000000620000", named("$code", Value::Bytes(b"b".to_vec())));
        check("0E0000000E610002000000620000", named("$symbol", Value::Bytes(b"b".to_vec())));
        check("210000000F6100190000000500000061626364000C000000107800010000000000", {
            let scope = Value::Map(vec![(Value::Bytes(b"x".to_vec()), Value::Number(1))]);
            map([("$code", Value::Bytes(b"abcd".to_vec())), ("$scope", scope)])
        });
        check("0C0000001069000000008000", Value::Number(i32::MIN.into()));
        check("100000001161002A00000015CD5B0700", {
            named("$timestamp", map([("t", Value::Number(123_456_789)), ("i", Value::Number(42))]))
        });
        check("10000000126100000000000000008000", Value::Number(i64::MIN));
        check("08000000FF610000", named("$minKey", Value::Number(1)));
        check("080000007F610000", named("$maxKey", Value::Number(1)));
    }

    #[test]
    fn what_the_corpus_calls_wrong_is_wrong() {
        let wrong = [
            "0B0000000164000000F03F00",         // a double that is cut
            "0C0000000261000000000000",         // a string of no length
            "0C000000026100FFFFFFFF0000",       // a string of negative length
            "10000000026100050000006200620000", // a string longer than its document
            "0E00000002610001000000000000",     // no end where the length says
            "0900000008620002 00",              // neither true nor false
            "0800000080610000",                 // an unknown type
            "0D000000057800FFFFFFFF0000",       // a binary of negative length
        ];
        for digits in wrong {
            let bytes = bytes(&digits.replace(' ', ""));
            let wrong = Document::take(&mut Cursor::new(&bytes)).and_then(Document::check);
            assert!(wrong.is_err(), "{digits}");
        }
    }

    #[test]
    fn of_a_cut_document_what_is_there_is_shown() {
        let whole = bytes("1A0000000C610002000000620056E1FC72E0C917E9C471416100");
        for end in 0..whole.len() {
            let Ok(document) = Document::take(&mut Cursor::new(&whole[..end])) else { panic!("{end}") };
            assert!(document.is_cut);
            assert_eq!(document.check(), Ok(()));
            show(&whole[..end], 100);
        }
        let (value, is_cut) = show(&bytes("0E00000002610002000000620000")[..12], 100);
        assert_eq!(value, Value::Map(vec![(Value::Bytes(b"a".to_vec()), Value::Bytes(b"b".to_vec()))]));
        assert!(!is_cut, "what is missing is not left out");
    }

    #[test]
    fn the_budget_bounds_what_is_shown() {
        let (value, is_cut) = show(&bytes("0E00000002610002000000620000"), 9);
        assert_eq!(value, Value::Map(vec![(Value::Bytes(b"a".to_vec()), Value::Bytes(vec![]))]));
        assert!(is_cut);
        let (value, is_cut) = show(&bytes("0E00000002610002000000620000"), 8);
        assert_eq!((value, is_cut), (Value::Map(vec![]), true));
    }

    #[test]
    fn documents_lie_only_so_deep_in_each_other() {
        let nest = |levels: usize| {
            let mut document = vec![5, 0, 0, 0, 0];
            for _ in 0..levels {
                let mut outer = (document.len() as u32 + 8).to_le_bytes().to_vec();
                outer.extend_from_slice(b"\x03a\0");
                outer.extend_from_slice(&document);
                outer.push(0);
                document = outer;
            }
            document
        };
        let check = |bytes: &[u8]| Document::take(&mut Cursor::new(bytes)).expect("a document").check();
        assert_eq!(check(&nest(DEPTH_MAX - 1)), Ok(()));
        assert!(check(&nest(DEPTH_MAX)).is_err());
        assert!(show(&nest(DEPTH_MAX + 10), 1 << 20).1);
        assert!(!show(&nest(DEPTH_MAX - 1), 1 << 20).1);
    }
}
