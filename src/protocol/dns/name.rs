//! Domain names (RFC 1035, section 3.1) and their compression (section 4.1.4).

/// The longest name, with its length bytes (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 255;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The message ends inside it.
    Short,
    /// It breaks a rule.
    Wrong(&'static str),
}

/// Follows the name at `at` through the message, label by label. Gives where it ends in place, behind the first pointer
/// if there is one.
///
/// A pointer has to lead to a prior place: before the name, or before the place that the pointer before led to. So no
/// name goes on for ever.
pub fn walk(message: &[u8], at: usize, mut label: impl FnMut(&[u8])) -> Result<usize, Fault> {
    let (mut at, mut start, mut end, mut length) = (at, at, None, 1);
    loop {
        let &first = message.get(at).ok_or(Fault::Short)?;
        match first >> 6 {
            0 if first == 0 => return Ok(end.unwrap_or(at + 1)),
            0 => {
                let to = at + 1 + usize::from(first);
                let bytes = message.get(at + 1..to).ok_or(Fault::Short)?;
                length += 1 + bytes.len();
                if length > NAME_MAX {
                    return Err(Fault::Wrong("a name is longer than 255 bytes"));
                }
                label(bytes);
                at = to;
            }
            3 => {
                let &second = message.get(at + 1).ok_or(Fault::Short)?;
                let to = usize::from(first & 0x3f) << 8 | usize::from(second);
                end.get_or_insert(at + 2);
                if to >= start {
                    return Err(Fault::Wrong("a compressed name does not lead back"));
                }
                (at, start) = (to, to);
            }
            _ => return Err(Fault::Wrong("a label of an unknown kind")),
        }
    }
}

/// The name at `at` as text, without the dot at its end, and where it ends. What is not printable, and dots within
/// labels, are escaped as in zone files (RFC 1035, section 5.1; RFC 4343, section 2.1).
pub fn text(message: &[u8], at: usize) -> Result<(String, usize), Fault> {
    let mut text = String::new();
    let end = walk(message, at, |label| {
        if !text.is_empty() {
            text.push('.');
        }
        label.iter().for_each(|&byte| push_escaped(&mut text, byte, b".\\\"()@$; "));
    })?;
    if text.is_empty() {
        text.push('.');
    }
    Ok((text, end))
}

/// The name at `at` in small letters, for comparison: case does not count (RFC 4343).
pub fn key(message: &[u8], at: usize) -> Result<(Vec<u8>, usize), Fault> {
    let mut key = Vec::new();
    let end = walk(message, at, |label| {
        key.push(label.len() as u8);
        key.extend(label.to_ascii_lowercase());
    })?;
    Ok((key, end))
}

/// Adds one byte of a name or text, with a backslash where it is one of `special`, as its number where it is not
/// printable.
pub fn push_escaped(text: &mut String, byte: u8, special: &[u8]) {
    if special.contains(&byte) && byte != b' ' {
        text.push('\\');
        text.push(char::from(byte));
    } else if byte.is_ascii_graphic() || byte == b' ' && !special.contains(&b' ') {
        text.push(char::from(byte));
    } else {
        text.push_str(&format!("\\{byte:03}"));
    }
}
