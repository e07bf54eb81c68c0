//! What is kept of one top-level element: a bounded picture of its content, whatever its size.
//!
//! The beginnings of its first few direct elements are always kept, they name a command and its key, a push
//! and its channel. The content as a tree is kept only up to `max_field`. Filled by [`super::resp`].

use crate::record::Value;
use std::borrow::Cow;

/// How many direct elements are kept as [`Piece`]s: a command, its first arguments; a push with channel.
pub const PIECES: usize = 4;
/// How many bytes of each are kept.
pub const PIECE_BYTES: usize = 64;
/// How many bytes of a simple string or error are kept for the summary.
pub const TEXT_BYTES: usize = 256;

/// The types of RESP2 and RESP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of the specification
pub enum Kind {
    SimpleString,
    Error,
    Integer,
    Bulk,
    Array,
    Null,
    Boolean,
    Double,
    BigNumber,
    BulkError,
    Verbatim,
    Map,
    Attribute,
    Set,
    Push,
}

impl Kind {
    /// The type that a type byte stands for.
    pub fn of(byte: u8) -> Option<Kind> {
        Some(match byte {
            b'+' => Kind::SimpleString,
            b'-' => Kind::Error,
            b':' => Kind::Integer,
            b'$' => Kind::Bulk,
            b'*' => Kind::Array,
            b'_' => Kind::Null,
            b'#' => Kind::Boolean,
            b',' => Kind::Double,
            b'(' => Kind::BigNumber,
            b'!' => Kind::BulkError,
            b'=' => Kind::Verbatim,
            b'%' => Kind::Map,
            b'|' => Kind::Attribute,
            b'~' => Kind::Set,
            b'>' => Kind::Push,
            _ => return None,
        })
    }

    /// The name used in records.
    pub fn name(self) -> &'static str {
        match self {
            Kind::SimpleString => "simple string",
            Kind::Error => "simple error",
            Kind::Integer => "integer",
            Kind::Bulk => "bulk string",
            Kind::Array => "array",
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Double => "double",
            Kind::BigNumber => "big number",
            Kind::BulkError => "bulk error",
            Kind::Verbatim => "verbatim string",
            Kind::Map => "map",
            Kind::Attribute => "attribute",
            Kind::Set => "set",
            Kind::Push => "push",
        }
    }
}

/// The beginning of a leaf.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Its type; an aggregate has no bytes.
    pub kind: Kind,
    /// Its bytes, as many as were in the stream so far.
    pub length: u64,
    /// True where it was seen to its end, and without gaps.
    pub whole: bool,
    bytes: [u8; PIECE_BYTES],
    kept: u8,
}

impl Piece {
    const EMPTY: Piece =
        Piece { kind: Kind::Null, length: 0, whole: false, bytes: [0; PIECE_BYTES], kept: 0 };

    /// The bytes kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.kept)]
    }

    /// The bytes, if all of them are at hand.
    pub fn text(&self) -> Option<&[u8]> {
        (self.whole && self.length == u64::from(self.kept)).then(|| self.bytes())
    }

    fn push(&mut self, bytes: &[u8]) {
        let kept = usize::from(self.kept);
        let length = bytes.len().min(PIECE_BYTES - kept);
        self.bytes[kept..kept + length].copy_from_slice(&bytes[..length]);
        self.kept += length as u8;
    }
}

/// An aggregate of the tree whose elements are being collected.
#[derive(Debug)]
struct Branch {
    kind: Kind,
    values: Vec<Value>,
}

/// The bounded picture of one top-level element.
#[derive(Debug)]
pub struct Element {
    max_field: usize,
    /// The top-level type; absent until known.
    pub kind: Option<Kind>,
    /// It is a null bulk string or null array of RESP2.
    pub is_null: bool,
    /// It is an inline command.
    pub is_inline: bool,
    /// Direct elements of a top-level aggregate as declared; a map has two for each entry.
    pub count: Option<u64>,
    /// Direct elements seen, in whole or in part.
    pub seen: u64,
    /// The text of a top-level leaf, up to [`TEXT_BYTES`].
    pub text: Vec<u8>,
    /// Bytes of a top-level leaf.
    pub length: u64,
    pieces: [Piece; PIECES],
    /// Open aggregates, attributes included.
    depth: usize,
    /// Depth at which an attribute is open.
    attribute: Option<usize>,
    /// Bytes of a gap lie in the leaf that is being read.
    lossy: bool,
    branches: Vec<Branch>,
    leaf: Option<(Kind, Vec<u8>)>,
    root: Option<Value>,
    attributes: Option<Value>,
    budget: usize,
    /// More content than the tree shows.
    pub cut: bool,
    /// Bytes of a gap lie in it.
    pub has_gap: bool,
}

impl Element {
    /// An empty picture that will show up to `max_field` bytes of content.
    pub fn new(max_field: usize) -> Element {
        Element {
            max_field,
            kind: None,
            is_null: false,
            is_inline: false,
            count: None,
            seen: 0,
            text: Vec::new(),
            length: 0,
            pieces: [Piece::EMPTY; PIECES],
            depth: 0,
            attribute: None,
            lossy: false,
            branches: Vec::new(),
            leaf: None,
            root: None,
            attributes: None,
            budget: max_field,
            cut: false,
            has_gap: false,
        }
    }

    /// Empties it for the next element.
    pub fn reset(&mut self) {
        let text = std::mem::take(&mut self.text);
        *self = Element { text, ..Element::new(self.max_field) };
        self.text.clear();
    }

    /// The direct element at `index` of a top-level aggregate, if it was seen (and `index` < [`PIECES`]).
    pub fn piece(&self, index: usize) -> Option<&Piece> {
        self.pieces.get(index).filter(|_| (index as u64) < self.seen)
    }

    /// The content, as far as `max_field` allowed. Absent where nothing was to be kept.
    pub fn take_value(&mut self) -> Option<Value> {
        self.end_leaf();
        while !self.branches.is_empty() {
            self.end_branch();
        }
        self.root.take()
    }

    /// The attribute in front of the element, likewise.
    pub fn take_attributes(&mut self) -> Option<Value> {
        self.attributes.take()
    }

    /// A leaf of known or unknown length begins.
    pub fn begin(&mut self, kind: Kind, _length: Option<u64>) {
        self.lossy = false;
        self.enter(kind);
        if self.keep_node() {
            self.leaf = Some((kind, Vec::new()));
        }
    }

    /// The next bytes of the leaf.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.grow(bytes.len() as u64);
        if self.attribute.is_none() {
            match self.depth {
                0 => {
                    let room = TEXT_BYTES.saturating_sub(self.text.len());
                    self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                1 if !self.lossy => {
                    if let Some(piece) = self.current() {
                        piece.push(bytes);
                    }
                }
                _ => {}
            }
        }
        if let Some((_, kept)) = &mut self.leaf
            && !self.lossy
        {
            let length = bytes.len().min(self.budget);
            kept.extend_from_slice(&bytes[..length]);
            self.budget -= length;
            self.cut |= length < bytes.len();
        }
    }

    /// `length` bytes of the leaf are missing: what comes after them is counted, not kept.
    pub fn lose(&mut self, length: u64) {
        self.lossy |= length > 0;
        self.has_gap |= length > 0;
        self.grow(length);
    }

    /// The leaf is complete.
    pub fn end(&mut self) {
        let whole = !self.lossy;
        if self.depth == 1
            && self.attribute.is_none()
            && let Some(piece) = self.current()
        {
            piece.whole = whole;
        }
        self.end_leaf();
    }

    /// A RESP2 null, written as a bulk string or array of length -1.
    pub fn null(&mut self, kind: Kind) {
        self.enter(kind);
        self.is_null |= self.depth == 0;
        if self.depth == 1
            && self.attribute.is_none()
            && let Some(piece) = self.current()
        {
            piece.whole = true;
        }
        if self.keep_node() {
            self.put(Value::Null);
        }
    }

    /// An aggregate with `count` direct elements (`None`: streamed) begins.
    pub fn open(&mut self, kind: Kind, count: Option<u64>) {
        self.enter(kind);
        if self.depth == 0 && kind != Kind::Attribute {
            self.count = count;
        }
        if kind == Kind::Attribute && self.attribute.is_none() {
            self.attribute = Some(self.depth);
        }
        self.depth += 1;
        if self.keep_node() {
            self.branches.push(Branch { kind, values: Vec::new() });
        }
    }

    /// The innermost aggregate is complete.
    pub fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        let of_attribute = self.attribute == Some(self.depth);
        // With the budget spent an aggregate may have no branch of its own.
        if self.branches.len() > self.depth {
            self.end_branch();
        }
        if of_attribute {
            self.attribute = None;
        }
    }

    /// A whole inline command.
    pub fn inline(&mut self, arguments: &[Cow<'_, [u8]>]) {
        self.is_inline = true;
        self.open(Kind::Array, Some(arguments.len() as u64));
        for argument in arguments {
            self.begin(Kind::Bulk, None);
            self.bytes(argument);
            self.end();
        }
        self.close();
    }

    /// Notes the type of a value that begins.
    fn enter(&mut self, kind: Kind) {
        if self.attribute.is_some() || kind == Kind::Attribute {
            return;
        }
        match self.depth {
            0 => self.kind = Some(kind),
            1 => {
                self.seen += 1;
                if let Some(piece) = self.current() {
                    *piece = Piece { kind, ..Piece::EMPTY };
                }
            }
            _ => {}
        }
    }

    fn current(&mut self) -> Option<&mut Piece> {
        let index = usize::try_from(self.seen.checked_sub(1)?).ok()?;
        self.pieces.get_mut(index)
    }

    fn grow(&mut self, length: u64) {
        if self.attribute.is_some() {
            return;
        }
        match self.depth {
            0 => self.length += length,
            1 => {
                if let Some(piece) = self.current() {
                    piece.length += length;
                }
            }
            _ => {}
        }
    }

    /// Pays for one more value in the tree; one byte each, so that the bound holds for empty values too.
    fn keep_node(&mut self) -> bool {
        let nested_attribute = self.attribute.is_some_and(|depth| depth > 0);
        if self.max_field == 0 || nested_attribute {
            return false;
        }
        // Once a value is left out all later ones are, and the tree stays a true beginning.
        if self.budget == 0 || self.cut {
            self.cut = true;
            return false;
        }
        self.budget -= 1;
        true
    }

    fn end_leaf(&mut self) {
        if let Some((kind, bytes)) = self.leaf.take() {
            self.put(leaf_value(kind, bytes));
        }
    }

    fn end_branch(&mut self) {
        let Some(branch) = self.branches.pop() else { return };
        let value = match branch.kind {
            Kind::Map | Kind::Attribute => Value::Map(pairs(branch.values)),
            _ => Value::List(branch.values),
        };
        if branch.kind == Kind::Attribute && self.branches.is_empty() {
            self.attributes = Some(value);
        } else {
            self.put(value);
        }
    }

    fn put(&mut self, value: Value) {
        match self.branches.last_mut() {
            Some(branch) => branch.values.push(value),
            None => self.root = Some(value),
        }
    }
}

/// Keys with values; a key whose value was cut off gets none.
fn pairs(values: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(values.len().div_ceil(2));
    let mut values = values.into_iter();
    while let Some(key) = values.next() {
        pairs.push((key, values.next().unwrap_or(Value::Null)));
    }
    pairs
}

fn leaf_value(kind: Kind, bytes: Vec<u8>) -> Value {
    let text = || std::str::from_utf8(&bytes).ok();
    let value = match kind {
        Kind::Integer => text().and_then(|text| text.parse().ok()).map(Value::Number),
        Kind::Double => text().and_then(|text| text.parse().ok()).map(Value::Float),
        Kind::Boolean => Some(Value::Flag(bytes == b"t")),
        Kind::Null => Some(Value::Null),
        _ => None,
    };
    value.unwrap_or(Value::Bytes(bytes))
}
