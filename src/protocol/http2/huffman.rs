//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, so the lengths
//! alone say everything.

/// End of string: may only begin the padding.
const EOS: u16 = 256;

/// The longest code, in bits.
const LONGEST: usize = 30;

/// Bits of the code of each byte, then of the end of the string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// What the lengths say, in the form in which decoding asks for it.
struct Code {
    /// Symbols by length, then by value.
    symbols: [u16; 257],
    /// For each length: the first code that is longer, in the high bits of 32, and what to add to the number of a code
    /// of this length to find its symbol.
    lengths: [(u64, i64); LONGEST + 1],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Code {
        let mut symbols = [0; 257];
        let mut lengths = [(0, 0); LONGEST + 1];
        let (mut length, mut next, mut code) = (1, 0, 0u64);
        while length <= LONGEST {
            code <<= 1;
            let shift = next as i64 - code as i64;
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    symbols[next] = symbol as u16;
                    next += 1;
                    code += 1;
                }
                symbol += 1;
            }
            lengths[length] = (code << (32 - length), shift);
            length += 1;
        }
        Code { symbols, lengths }
    }

    /// The symbol whose code begins the 32 bits of `window`, and the length of the code.
    fn symbol(&self, window: u32) -> Option<(u16, usize)> {
        let window = u64::from(window);
        let length = (5..=LONGEST).find(|&length| window < self.lengths[length].0)?;
        let (_, shift) = self.lengths[length];
        let index = (window >> (32 - length)) as i64 + shift;
        let symbol = usize::try_from(index).ok().and_then(|index| self.symbols.get(index))?;
        Some((*symbol, length))
    }
}

/// Decodes a string literal.
///
/// # Errors
/// The bits are no string: an end of string inside, or padding that is longer than 7 bits or not all ones.
pub(super) fn decode(data: &[u8]) -> Result<Vec<u8>, &'static str> {
    // The shortest code has five bits.
    let mut decoded = Vec::with_capacity(data.len() * 8 / 5);
    let (mut bits, mut held, mut rest) = (0u64, 0usize, data.iter());
    loop {
        while held <= 32 {
            let Some(byte) = rest.next() else { break };
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        // Behind the end the window is filled with ones, as the padding is: they are no whole code but that of EOS.
        let window = (bits >> 32) as u32 | if held >= 32 { 0 } else { u32::MAX >> held };
        match CODE.symbol(window) {
            Some((EOS, _)) | None if held < 8 => return Ok(decoded),
            Some((EOS, _)) => return Err("an end of string inside a Huffman-coded string"),
            Some((symbol, length)) if length <= held => {
                decoded.push(symbol as u8);
                bits <<= length;
                held -= length;
            }
            _ => return Err("padding of a Huffman-coded string that is not the beginning of EOS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).expect("hexadecimal")
    }

    #[test]
    fn the_strings_of_the_standard_are_decoded() {
        // RFC 7541, appendices C.4 and C.6.
        let table = [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
            ("", ""),
        ];
        for (coded, plain) in table {
            assert_eq!(decode(&hex(coded)), Ok(plain.as_bytes().to_vec()), "{coded}");
        }
    }

    #[test]
    fn every_symbol_has_the_code_that_the_standard_lists() {
        // RFC 7541, appendix B: the first and the last code of some lengths.
        let table = [
            (0x0, 5, b'0'),
            (0x9, 5, b't'),
            (0x14, 6, b' '),
            (0x2d, 6, b'u'),
            (0x1ff8, 13, 0),
            (0x7fff0, 19, b'\\'),
            (0x7fff2, 19, 208),
            (0x3ffffee, 26, 255),
            (0xffffffe, 28, 249),
            (0x3ffffffc, 30, b'\n'),
        ];
        for (code, length, symbol) in table {
            let window = (code << (32 - length)) | (u32::MAX >> length);
            assert_eq!(CODE.symbol(window), Some((u16::from(symbol), length)), "{symbol}");
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        // `0` and three bits of zeros; EOS; `0`, then eleven ones.
        for bits in [&[0x00][..], &[0xff; 4], &[0x07, 0xff]] {
            assert!(decode(bits).is_err(), "{bits:?}");
        }
        // A whole byte of padding alone (RFC 7541, section 5.2: strictly longer than 7 bits).
        assert!(decode(&[0xff]).is_err());
    }
}
