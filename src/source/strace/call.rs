//! A call as the log shows it: name, arguments, result; and the bytes in its buffers. Pure.

use super::line::name;
use super::syntax::{closing, field, inside, items, number, text, value};
use crate::event::Cause;
use nix::errno::Errno;

/// A call with its result.
#[derive(Clone, Debug)]
pub(super) struct Syscall<'a> {
    /// Its name, as strace has it.
    pub(super) name: &'a str,
    /// Its arguments.
    pub(super) args: Vec<&'a [u8]>,
    /// What it returned.
    pub(super) result: Outcome<'a>,
    /// How long it took in nanoseconds (-T).
    pub(super) took: Option<u64>,
}

/// What a call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// A value, with the notation it was read from: a descriptor has its decoration there.
    Value(i64, &'a [u8]),
    /// `errno`; 0 for one whose name is not known.
    Error(i32),
    /// Nothing: it did not return, will be restarted, or strace made the result up (-e inject).
    None,
}

impl<'a> Syscall<'a> {
    /// Takes `name(arguments) = result` apart.
    pub(super) fn parse(line: &'a [u8]) -> Option<Syscall<'a>> {
        let name = name(line)?;
        let end = closing(line, name.len() + 1)?;
        let args = items(&line[name.len() + 1..end]);
        let result = line[end + 1..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
        let (result, took) = duration(result);
        Some(Syscall { name, args, result: outcome(result), took })
    }

    /// An argument; empty where there are fewer.
    pub(super) fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index).copied().unwrap_or_default()
    }

    /// The value that it returned.
    pub(super) fn value(&self) -> Option<i64> {
        match self.result {
            Outcome::Value(value, _) => Some(value),
            _ => None,
        }
    }

    /// True where it returned, and not with an error.
    pub(super) fn succeeded(&self) -> bool {
        self.value().is_some_and(|value| value >= 0)
    }
}

/// The result without the time that -T adds: `3 <0.000012>`.
fn duration(result: &[u8]) -> (&[u8], Option<u64>) {
    let time = || {
        let open = memchr::memrchr(b'<', result)?;
        let inner = result[open + 1..].strip_suffix(b">")?;
        let mut parts = inner.split(|&byte| byte == b'.');
        let (seconds, fraction) = (number(parts.next()?)?, parts.next());
        let nanos = match fraction {
            Some(fraction) => super::line::fraction_of(fraction)?,
            None => 0,
        };
        let before = open.checked_sub(1).filter(|&at| result[at] == b' ')?;
        let whole = u64::try_from(seconds.0).ok().filter(|_| seconds.1.is_empty())?;
        Some((&result[..before], whole.checked_mul(1_000_000_000)?.checked_add(nanos)?))
    };
    time().map_or((result, None), |(rest, took)| (rest, Some(took)))
}

fn outcome(result: &[u8]) -> Outcome<'_> {
    if result.starts_with(b"?") || result.ends_with(b"(INJECTED)") {
        return Outcome::None;
    }
    match number(result) {
        Some((-1, rest)) if rest.starts_with(b" E") => {
            let word = rest[1..].split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
            Outcome::Error(errno(word))
        }
        Some((value, _)) => Outcome::Value(value, result),
        None => Outcome::None,
    }
}

/// The number of an error by its name; 0 where it is not known.
pub(super) fn errno(name: &[u8]) -> i32 {
    // Names end at 133 (errno(3)); what comes up most is an alias.
    let name = if name == b"EWOULDBLOCK" { b"EAGAIN" } else { name };
    (1..=133).find(|&number| format!("{:?}", Errno::from_raw(number)).as_bytes() == name).unwrap_or(0)
}

/// Bytes that moved one after the other, of which a first part is in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// How many moved.
    pub(super) length: u64,
    /// Those in the log.
    pub(super) bytes: Vec<u8>,
    /// Why there are fewer of them.
    pub(super) cause: Option<Cause>,
}

/// Collects the parts of a call. One that is whole is joined with the next.
#[derive(Debug, Default)]
pub(super) struct Parts(pub(super) Vec<Part>);

impl Parts {
    fn add(&mut self, part: Part) {
        if part.length == 0 {
            return;
        }
        match self.0.last_mut().filter(|last| last.cause.is_none()) {
            Some(last) => {
                last.length += part.length;
                last.bytes.extend_from_slice(&part.bytes);
                last.cause = part.cause;
            }
            None => self.0.push(part),
        }
    }

    /// The bytes of one buffer of which `length` moved.
    fn buffer(&mut self, item: &[u8], length: u64) {
        let shown = text(item);
        let cause = if shown.is_some() { Cause::StraceStringLimit } else { Cause::StraceNoPayload };
        let mut bytes = shown.unwrap_or_default().bytes;
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        let cause = ((bytes.len() as u64) < length).then_some(cause);
        self.add(Part { length, bytes, cause });
    }

    /// Everything as one part: what is in the log of its beginning.
    pub(super) fn joined(self) -> Part {
        let mut parts = self.0.into_iter();
        let Some(mut first) = parts.next() else { return Part::default() };
        // A part behind another follows a cut: see `add`.
        first.length += parts.map(|part| part.length).sum::<u64>();
        first
    }
}

/// What moved through a buffer of `size` bytes. A datagram may have been longer than its buffer: then the call tells
/// more than fitted.
pub(super) fn one_buffer(item: &[u8], size: Option<u64>, moved: u64) -> Parts {
    let mut parts = Parts::default();
    let fitted = size.map_or(moved, |size| size.min(moved));
    parts.buffer(item, fitted);
    thrown_away(&mut parts, moved - fitted);
    parts
}

/// What moved through a list of buffers.
pub(super) fn buffers(list: &[u8], moved: u64) -> Parts {
    let (mut parts, mut left) = (Parts::default(), moved);
    let mut whole = true;
    for item in inside(list).map(items).unwrap_or_default() {
        let fields = inside(item).map(items).unwrap_or_default();
        let (base, size) = (field(&fields, "iov_base"), field(&fields, "iov_len").and_then(value));
        let (Some(base), Some(size)) = (base, size) else {
            whole = false; // `...`, or the address of the structure
            break;
        };
        let length = left.min(size.max(0) as u64);
        parts.buffer(base, length);
        left -= length;
    }
    if inside(list).is_none() {
        parts.add(Part { length: left, bytes: Vec::new(), cause: Some(Cause::StraceNoPayload) });
    } else if !whole {
        parts.add(Part { length: left, bytes: Vec::new(), cause: Some(Cause::StraceStringLimit) });
    } else {
        thrown_away(&mut parts, left);
    }
    parts
}

fn thrown_away(parts: &mut Parts, length: u64) {
    parts.add(Part { length, bytes: Vec::new(), cause: Some(Cause::DatagramTruncated) });
}

/// A message of sendmsg, recvmsg and their like.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    /// The peer's address.
    pub(super) name: &'a [u8],
    /// The list of buffers; empty where the log has only an address.
    pub(super) buffers: &'a [u8],
    /// Its flags.
    pub(super) flags: &'a [u8],
    /// True where it carries what only Unix sockets carry.
    pub(super) is_unix: bool,
}

impl<'a> Message<'a> {
    /// Takes a `struct msghdr` apart.
    pub(super) fn parse(item: &'a [u8]) -> Message<'a> {
        let fields = inside(item).map(items).unwrap_or_default();
        let get = |name| field(&fields, name).unwrap_or_default();
        let control = get("msg_control");
        let is_unix = memchr::memmem::find(control, b"SCM_RIGHTS").is_some()
            || memchr::memmem::find(control, b"SCM_CREDENTIALS").is_some();
        Message { name: get("msg_name"), buffers: get("msg_iov"), flags: get("msg_flags"), is_unix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_in_every_notation() {
        let check = |line: &str, result: Outcome<'_>, took: Option<u64>| {
            let call = Syscall::parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((call.result, call.took), (result, took), "{line}");
        };
        check("close(3)      = 0", Outcome::Value(0, b"0"), None);
        check("dup(3) = 4<TCP:[1->2]> <0.000012>", Outcome::Value(4, b"4<TCP:[1->2]>"), Some(12_000));
        check("read(3, 0x1, 2) = -1 EAGAIN (Resource temporarily unavailable)", Outcome::Error(11), None);
        check("read(3, 0x1, 2) = -1 EWOULDBLOCK (x) <1.5>", Outcome::Error(11), Some(1_500_000_000));
        check("read(3, 0x1, 2) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)", Outcome::None, None);
        check("exit_group(0) = ?", Outcome::None, None);
        check("read(3, \"a\", 2) = 1 (INJECTED)", Outcome::None, None);
        check("read(0x3, 0x1, 0x2) = 0x20", Outcome::Value(32, b"0x20"), None);
        assert!(Syscall::parse(b"read(3, \"a").is_none());
    }

    fn part(length: u64, bytes: &[u8], cause: Option<Cause>) -> Part {
        Part { length, bytes: bytes.to_vec(), cause }
    }

    #[test]
    fn buffers_are_joined_up_to_a_cut() {
        let list =
            br#"[{iov_base="ab", iov_len=2}, {iov_base="cd"..., iov_len=5}, {iov_base="ef", iov_len=9}]"#;
        let limit = Some(Cause::StraceStringLimit);
        assert_eq!(buffers(list, 9).0, [part(7, b"abcd", limit), part(2, b"ef", None)]);
        assert_eq!(buffers(list, 3).0, [part(3, b"abc", None)]);
        assert_eq!(buffers(list, 9).joined(), part(9, b"abcd", limit));
        let more = br#"[{iov_base="ab", iov_len=2}, ...]"#;
        assert_eq!(buffers(more, 5).0, [part(5, b"ab", limit)]);
        assert_eq!(buffers(b"0x7ffc", 5).0, [part(5, b"", Some(Cause::StraceNoPayload))]);
    }

    #[test]
    fn a_datagram_longer_than_its_buffer() {
        let truncated = Some(Cause::DatagramTruncated);
        assert_eq!(one_buffer(br#""abc""#, Some(3), 10).joined(), part(10, b"abc", truncated));
        assert_eq!(one_buffer(b"0x1", None, 4).0, [part(4, b"", Some(Cause::StraceNoPayload))]);
        assert_eq!(one_buffer(br#""abcd""#, Some(4), 2).0, [part(2, b"ab", None)]);
        assert_eq!(one_buffer(br#""""#, Some(4), 0).0, []);
    }
}
