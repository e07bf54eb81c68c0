//! Reads numbers and byte strings from the front of a message. Nothing here panics: what is not there is `None`.

/// A place in a message.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

/// Declares readers of big-endian and little-endian numbers.
macro_rules! numbers {
    ($($big:ident $little:ident $number:ident;)*) => {
        $(
            /// The next number, in network byte order.
            pub fn $big(&mut self) -> Option<$number> {
                self.array().map($number::from_be_bytes)
            }

            /// The next number, least significant byte first.
            pub fn $little(&mut self) -> Option<$number> {
                self.array().map($number::from_le_bytes)
            }
        )*
    };
}

impl<'a> Cursor<'a> {
    /// Begins at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// True where all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes were not read yet.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next byte as a signed number.
    pub fn i8(&mut self) -> Option<i8> {
        self.u8().map(u8::cast_signed)
    }

    numbers! {
        u16 u16_le u16;
        u32 u32_le u32;
        u64 u64_le u64;
        i16 i16_le i16;
        i32 i32_le i32;
        i64 i64_le i64;
        f32 f32_le f32;
        f64 f64_le f64;
    }

    /// The next three bytes as a number, in network byte order.
    pub fn u24(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// The next three bytes as a number, least significant byte first.
    pub fn u24_le(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    /// The next `count` bytes. Takes none where there are fewer.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    /// The next `count` bytes as a message of their own.
    pub fn part(&mut self, count: usize) -> Option<Cursor<'a>> {
        self.bytes(count).map(Cursor::new)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.bytes(count).map(drop)
    }

    /// The bytes before the next `end`, which is passed over. Takes none where there is no `end`.
    pub fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = memchr::memchr(end, self.rest)?;
        let bytes = self.bytes(at)?;
        self.skip(1)?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_taken() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!((cursor.u32(), cursor.u16(), cursor.u16_le()), (None, Some(0x0102), None));
        assert_eq!((cursor.bytes(2), cursor.rest()), (None, &[3][..]));
        assert_eq!((cursor.i8(), cursor.u8(), cursor.is_empty()), (Some(3), None, true));
        let mut cursor = Cursor::new(b"abc\0\x01\x00\x00x");
        assert_eq!((cursor.until(b'?'), cursor.until(0)), (None, Some(&b"abc"[..])));
        assert_eq!((cursor.u24_le(), cursor.u24(), cursor.len()), (Some(1), None, 1));
    }
}
