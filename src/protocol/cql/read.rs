//! Notations of the specification (section 3), and the types of columns (section 4.2.5.2). Nothing here panics: what is
//! not there is `None`.

use crate::protocol::cursor::Cursor;

/// How deep types may lie in each other.
const DEPTH_MAX: usize = 16;

/// How many columns of one result are looked at; a table has at most some thousands.
pub const COLUMNS_MAX: usize = 4096;

/// `[string]`: two bytes of length.
pub fn string<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u16()?;
    cursor.bytes(length.into())
}

/// `[long string]`: four bytes of length.
pub fn long_string<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u32()?;
    cursor.bytes(usize::try_from(length).ok()?)
}

/// `[bytes]`: four bytes of length, null where that is negative.
pub fn bytes<'a>(cursor: &mut Cursor<'a>) -> Option<Option<&'a [u8]>> {
    match usize::try_from(cursor.i32()?) {
        Ok(length) => cursor.bytes(length).map(Some),
        Err(_) => Some(None),
    }
}

/// `[string list]`.
pub fn string_list<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<&'a [u8]>> {
    (0..cursor.u16()?).map(|_| string(cursor)).collect()
}

/// `[string map]`.
pub fn string_map<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    (0..cursor.u16()?).map(|_| Some((string(cursor)?, string(cursor)?))).collect()
}

/// Names, each with its values.
pub type Multimap<'a> = Vec<(&'a [u8], Vec<&'a [u8]>)>;

/// `[string multimap]`.
pub fn string_multimap<'a>(cursor: &mut Cursor<'a>) -> Option<Multimap<'a>> {
    (0..cursor.u16()?).map(|_| Some((string(cursor)?, string_list(cursor)?))).collect()
}

/// What a bound variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    Bytes(&'a [u8]),
    Null,
    /// Nothing, which leaves a column as it is (from v4 on).
    NotSet,
}

/// `[value]`.
pub fn value<'a>(cursor: &mut Cursor<'a>) -> Option<Bound<'a>> {
    match cursor.i32()? {
        -2 => Some(Bound::NotSet),
        length if length < 0 => Some(Bound::Null),
        length => cursor.bytes(usize::try_from(length).ok()?).map(Bound::Bytes),
    }
}

/// The type of a column: its number, and how it is written in CQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    pub id: u16,
    pub text: String,
}

/// `[option]`: a type.
pub fn column_type(cursor: &mut Cursor<'_>) -> Option<Type> {
    type_at(cursor, 0)
}

fn type_at(cursor: &mut Cursor<'_>, depth: usize) -> Option<Type> {
    let id = cursor.u16()?;
    if depth >= DEPTH_MAX {
        return None;
    }
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned();
    let text = match id {
        0x00 => lossy(string(cursor)?),
        0x20 | 0x22 => {
            let inner = type_at(cursor, depth + 1)?.text;
            format!("{}<{inner}>", if id == 0x20 { "list" } else { "set" })
        }
        0x21 => {
            let key = type_at(cursor, depth + 1)?.text;
            format!("map<{key}, {}>", type_at(cursor, depth + 1)?.text)
        }
        0x30 => {
            let (keyspace, name) = (string(cursor)?, string(cursor)?);
            for _ in 0..cursor.u16()? {
                string(cursor)?;
                type_at(cursor, depth + 1)?;
            }
            format!("{}.{}", lossy(keyspace), lossy(name))
        }
        0x31 => {
            let count = cursor.u16()?;
            let inner: Option<Vec<String>> =
                (0..count).map(|_| type_at(cursor, depth + 1).map(|inner| inner.text)).collect();
            format!("tuple<{}>", inner?.join(", "))
        }
        _ => simple(id)?.to_owned(),
    };
    // Tuples in tuples would grow without end.
    (text.len() <= 4096).then_some(Type { id, text })
}

fn simple(id: u16) -> Option<&'static str> {
    Some(match id {
        0x01 => "ascii",
        0x02 => "bigint",
        0x03 => "blob",
        0x04 => "boolean",
        0x05 => "counter",
        0x06 => "decimal",
        0x07 => "double",
        0x08 => "float",
        0x09 => "int",
        0x0b => "timestamp",
        0x0c => "uuid",
        0x0d => "varchar",
        0x0e => "varint",
        0x0f => "timeuuid",
        0x10 => "inet",
        0x11 => "date",
        0x12 => "time",
        0x13 => "smallint",
        0x14 => "tinyint",
        0x15 => "duration",
        _ => return None,
    })
}

/// A column of a result, or a variable of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Type,
}

/// `<metadata>` of rows, or of a prepared statement's variables.
#[derive(Clone, Debug, Default)]
pub struct Metadata<'a> {
    pub has_more_pages: bool,
    /// How many columns there are, also where they are not described.
    pub count: u32,
    /// Their descriptions; empty where the client asked for none.
    pub columns: Vec<Column>,
    /// Keyspace and table, where all columns are of one.
    pub table: Option<(&'a [u8], &'a [u8])>,
    /// Columns that were not looked at.
    pub is_limited: bool,
}

/// Reads `<metadata>`; `of_variables` where it describes those of a statement, which in v4 and later have the indexes of
/// the partition key in front.
pub fn metadata<'a>(cursor: &mut Cursor<'a>, of_variables: bool, version: u8) -> Option<Metadata<'a>> {
    let flags = cursor.u32()?;
    let mut metadata =
        Metadata { has_more_pages: flags & 2 != 0, count: cursor.u32()?, ..Metadata::default() };
    if of_variables {
        if version >= 4 {
            let count = usize::try_from(cursor.u32()?).ok()?;
            cursor.skip(count.checked_mul(2)?)?;
        }
    } else {
        if metadata.has_more_pages {
            bytes(cursor)?;
        }
        if flags & 8 != 0 {
            string(cursor)?;
        }
    }
    if flags & 4 != 0 {
        return Some(metadata);
    }
    if flags & 1 != 0 {
        metadata.table = Some((string(cursor)?, string(cursor)?));
    }
    for _ in 0..metadata.count {
        if flags & 1 == 0 {
            string(cursor)?;
            string(cursor)?;
        }
        let name = String::from_utf8_lossy(string(cursor)?).into_owned();
        let kind = column_type(cursor)?;
        match metadata.columns.len() < COLUMNS_MAX {
            true => metadata.columns.push(Column { name, kind }),
            false => metadata.is_limited = true,
        }
    }
    Some(metadata)
}
