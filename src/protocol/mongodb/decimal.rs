//! Decimal128 as text (<https://github.com/mongodb/specifications/blob/master/source/bson-decimal128/decimal128.md>).

/// The largest coefficient: 34 digits. What is larger counts as 0.
const COEFFICIENT_MAX: u128 = 9_999_999_999_999_999_999_999_999_999_999_999;

/// What is taken from an exponent as it is written.
const BIAS: i32 = 6176;

/// A number of IEEE 754-2008, binary encoding, least significant byte first.
pub fn text(bytes: [u8; 16]) -> String {
    let bits = u128::from_le_bytes(bytes);
    let sign = if bits >> 127 == 1 { "-" } else { "" };
    let combination = (bits >> 122) & 0x1f;
    match combination {
        0x1f => return "NaN".to_owned(),
        0x1e => return format!("{sign}Infinity"),
        _ => {}
    }
    // With these two bits set the exponent stands two bits further right, and the coefficient is above the largest.
    let (exponent, coefficient) = if combination >> 3 == 3 {
        ((bits >> 111) & 0x3fff, 0)
    } else {
        ((bits >> 113) & 0x3fff, bits & ((1 << 113) - 1))
    };
    let coefficient = if coefficient > COEFFICIENT_MAX { 0 } else { coefficient };
    let exponent = i32::try_from(exponent).unwrap_or(0) - BIAS;
    let digits = coefficient.to_string();
    let count = i32::try_from(digits.len()).unwrap_or(0);
    let scientific = exponent + count - 1;
    if exponent > 0 || scientific < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E{scientific:+}");
    }
    if exponent == 0 {
        return format!("{sign}{digits}");
    }
    let fraction = exponent.unsigned_abs() as usize;
    let padded = format!("{digits:0>width$}", width = fraction + 1);
    let (whole, fraction) = padded.split_at(padded.len() - fraction);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::text;

    /// Numbers of MongoDB's BSON corpus (`decimal128-1.json`).
    #[test]
    fn numbers_are_those_of_the_corpus() {
        let corpus = [
            ("0000000000000000000000000000007C", "NaN"),
            ("00000000000000000000000000000078", "Infinity"),
            ("000000000000000000000000000000F8", "-Infinity"),
            ("000000000000000000000000000040B0", "-0"),
            ("01000000000000000000000000004030", "1"),
            ("01000000000000000000000000003E30", "0.1"),
            ("D2040000000000000000000000003430", "0.001234"),
            ("40EF5A07000000000000000000002A30", "0.00123400000"),
            ("F2AF967ED05C82DE3297FF6FDE3CFC2F", "0.1234567890123456789012345678901234"),
            ("0100000000000000000000000000F02F", "1E-40"),
            ("00000000000000000000000000004230", "0E+1"),
            ("01000000000000000000000000000000", "1E-6176"),
        ];
        for (digits, expected) in corpus {
            let bytes = data_encoding::HEXUPPER.decode(digits.as_bytes()).expect("digits");
            assert_eq!(text(bytes.try_into().expect("16 bytes")), expected);
        }
    }
}
