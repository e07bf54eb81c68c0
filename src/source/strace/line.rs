//! One line of a log: who, when, and what kind of line. Pure.

use super::syntax::number;

/// The parts of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Thread id, where strace was told to show it (-f).
    pub(super) tid: Option<u32>,
    /// The thread's name (-Y).
    pub(super) comm: Option<&'a [u8]>,
    /// The time in front (-t, -tt, -ttt, -r).
    pub(super) stamp: Option<Stamp>,
    /// The rest.
    pub(super) body: Body<'a>,
}

/// A time as the line has it, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Since the Unix epoch.
    Epoch(u64),
    /// Since midnight of some day, in some time zone.
    OfDay(u64),
    /// Since the line before.
    Since(u64),
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// A call with its result.
    Call(&'a [u8]),
    /// The first half of a call, another thread's line comes in between.
    Unfinished(&'a [u8]),
    /// The second half: the call's name, and what follows.
    Resumed(&'a [u8], &'a [u8]),
    /// The thread is gone.
    Exited,
    /// The thread took over the process `pid`, whose other threads are gone (execve).
    Superseded(u32),
    /// A row of a dump (-e read=, -e write=).
    Dump(&'a [u8]),
    /// strace told, within a line, that it follows another thread: what stands before, and which.
    Attached(&'a [u8], u32),
    /// A signal, a stack frame (-k), a word of strace's own, an empty line.
    Other,
    /// None of these.
    Unknown,
}

const UNFINISHED: &[u8] = b"<unfinished ...>";
const DETACHED: &[u8] = b"<detached ...>";

/// Takes a line apart. `line` is without its end.
pub(super) fn parse(line: &[u8]) -> Line<'_> {
    let line = line.trim_ascii_end();
    if let Some(row) = line.strip_prefix(b" | ") {
        return Line { tid: None, comm: None, stamp: None, body: Body::Dump(row) };
    }
    if line.starts_with(b" > ") || line.starts_with(b" * ") {
        return Line { tid: None, comm: None, stamp: None, body: Body::Other };
    }
    let (tid, comm, rest) = task(line);
    let (stamp, rest) = stamp(rest);
    Line { tid, comm, stamp, body: body(brackets(rest)) }
}

/// `1234 `, `1234<comm> `, `[pid  1234] `.
fn task(line: &[u8]) -> (Option<u32>, Option<&[u8]>, &[u8]) {
    let none = (None, None, line);
    let (inner, in_brackets) = match line.strip_prefix(b"[pid ") {
        Some(rest) => (rest.trim_ascii_start(), true),
        None => (line, false),
    };
    let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Process ids end at 2^22 (proc(5)); a longer number is a time.
    let Some(tid) = std::str::from_utf8(&inner[..digits]).ok().and_then(|text| text.parse().ok()) else {
        return none;
    };
    if !(1..=1 << 22).contains(&tid) {
        return none;
    }
    let (comm, rest) = match inner[digits..].strip_prefix(b"<") {
        Some(rest) => match memchr::memchr(b'>', rest) {
            Some(end) => (Some(&rest[..end]), &rest[end + 1..]),
            None => return none,
        },
        None => (None, &inner[digits..]),
    };
    // --decode-pids=pidns adds the id in strace's own namespace.
    let rest = match rest.strip_prefix(b" /*") {
        Some(comment) => memchr::memmem::find(comment, b"*/").map_or(rest, |end| &comment[end + 2..]),
        None => rest,
    };
    let rest = if in_brackets { rest.strip_prefix(b"]").unwrap_or(rest) } else { rest };
    match rest.first() {
        Some(b' ') => (Some(tid), comm, rest),
        _ => none,
    }
}

/// A time of day, of the epoch, since the line before; the latter also in parentheses behind one of the others.
fn stamp(line: &[u8]) -> (Option<Stamp>, &[u8]) {
    let rest = line.trim_ascii_start();
    let Some((stamp, rest)) = first_stamp(rest) else { return (None, rest) };
    let rest = rest.trim_ascii_start();
    let behind =
        rest.strip_prefix(b"(+").and_then(|rest| memchr::memchr(b')', rest).map(|end| &rest[end + 1..]));
    (Some(stamp), behind.unwrap_or(rest).trim_ascii_start())
}

fn first_stamp(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let end = memchr::memchr(b' ', text)?;
    let (token, rest) = text.split_at(end);
    let mut parts = token.splitn(2, |&byte| byte == b'.');
    let whole = parts.next()?;
    let nanos = match parts.next() {
        Some(fraction) => fraction_of(fraction)?,
        None => 0,
    };
    let parse = |digits: &[u8]| -> Option<u64> {
        let is_short = (1..=12).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        is_short.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    };
    let fields: Vec<&[u8]> = whole.splitn(4, |&byte| byte == b':').collect();
    let stamp = match fields[..] {
        [hours, minutes, seconds] => {
            let [hours, minutes, seconds] = [parse(hours)?, parse(minutes)?, parse(seconds)?];
            // 60: a leap second.
            (hours < 24 && minutes < 60 && seconds <= 60)
                .then_some(Stamp::OfDay(((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + nanos))?
        }
        [seconds] => {
            let seconds = parse(seconds)?;
            let time = seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?;
            // No log is older than 1973, no pause longer than three years.
            if seconds >= 100_000_000 { Stamp::Epoch(time) } else { Stamp::Since(time) }
        }
        _ => return None,
    };
    Some((stamp, rest))
}

/// The digits behind a decimal point, in billionths.
pub(super) fn fraction_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(value * 10u64.pow(9 - digits.len() as u32))
}

/// Steps over `[00007f...]` (-i) and `[ 45]` (-n).
fn brackets(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else { return text };
        if !rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b' ' | b'?' | b'x')) {
            return text;
        }
        text = rest[end + 1..].trim_ascii_start();
    }
    text
}

fn body(text: &[u8]) -> Body<'_> {
    if text.is_empty() || text.starts_with(b"---") || text.starts_with(b"strace: [") {
        return Body::Other;
    }
    if let Some(end) = text.strip_prefix(b"+++ ") {
        return match end.strip_prefix(b"superseded by execve in pid ") {
            Some(pid) => Body::Superseded(number(pid).map_or(0, |(pid, _)| pid as u32)),
            None if end.starts_with(b"exited") || end.starts_with(b"killed") => Body::Exited,
            None => Body::Unknown,
        };
    }
    if let Some((before, pid)) = attached(text) {
        return Body::Attached(before, pid);
    }
    if text.starts_with(b"strace: ") {
        return Body::Other;
    }
    if let Some(rest) = text.strip_prefix(b"<... ") {
        let Some(end) = memchr::memmem::find(rest, b" resumed>") else { return Body::Unknown };
        return Body::Resumed(&rest[..end], &rest[end + b" resumed>".len()..]);
    }
    if name(text).is_none() {
        return Body::Unknown;
    }
    match text.strip_suffix(UNFINISHED) {
        Some(first) => Body::Unfinished(first),
        None if text.ends_with(DETACHED) => Body::Other,
        None => Body::Call(text),
    }
}

/// `strace: Process 123 attached`, wherever the line stood at that moment.
fn attached(text: &[u8]) -> Option<(&[u8], u32)> {
    let before = text.strip_suffix(b" attached")?;
    let at = memchr::memmem::rfind(before, b"strace: Process ")?;
    let (pid, rest) = number(&before[at + b"strace: Process ".len()..])?;
    rest.is_empty().then_some((&before[..at], u32::try_from(pid).ok()?))
}

/// The name of the call that a line shows.
pub(super) fn name(text: &[u8]) -> Option<&str> {
    let end = memchr::memchr(b'(', text.get(..text.len().min(40))?)?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let name = &text[..end];
    let fits = name.first().is_some_and(u8::is_ascii_lowercase) && name.iter().all(is_name);
    fits.then_some(std::str::from_utf8(name).ok()?)
}

/// True for a line of the table that -C adds behind the calls: its head, its rules, a row of one call or of all.
pub(super) fn is_of_table(line: &[u8]) -> bool {
    let is_number =
        |word: &&[u8]| !word.is_empty() && word.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    match [words.next(), words.next()] {
        [Some(b"%"), Some(b"time")] => true,
        [Some(first), Some(second)] if is_number(&first) => {
            first.contains(&b'.')
                && second.contains(&b'.')
                && is_number(&second)
                && words.take(2).all(|word| is_number(&word))
        }
        [Some(first), _] => first.len() > 2 && first.iter().all(|&byte| byte == b'-'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn check(line: &str, tid: Option<u32>, stamp: Option<Stamp>, body: Body<'_>) {
        let found = parse(line.as_bytes());
        assert_eq!((found.tid, found.stamp, found.body), (tid, stamp, body), "{line}");
    }

    #[test]
    fn every_prefix() {
        let call = Body::Call(b"close(3) = 0");
        check("close(3) = 0", None, None, call);
        check("1234  close(3) = 0", Some(1234), None, call);
        check("[pid  1234] close(3) = 0", Some(1234), None, call);
        let of_day = Stamp::OfDay((21 * 3600 + 9 * 60 + 56) * SECOND);
        check("1234 21:09:56 close(3) = 0", Some(1234), Some(of_day), call);
        check("21:09:56.5 close(3) = 0", None, Some(Stamp::OfDay(76_196 * SECOND + SECOND / 2)), call);
        let epoch = Stamp::Epoch(1_795_640_999_264_403_000);
        check("99 1795640999.264403 close(3) = 0", Some(99), Some(epoch), call);
        check("1795640999.264403 close(3) = 0", None, Some(epoch), call);
        check("1795640999 close(3) = 0", None, Some(Stamp::Epoch(1_795_640_999 * SECOND)), call);
        check("99       0.000057 close(3) = 0", Some(99), Some(Stamp::Since(57_000)), call);
        check("     0 close(3) = 0", None, Some(Stamp::Since(0)), call);
        check("7 21:09:56 (+     0.000100) close(3) = 0", Some(7), Some(of_day), call);
        check("7 [00007f36] [ 45] close(3) = 0", Some(7), None, call);
        let named = parse(b"99<a b> close(3) = 0");
        assert_eq!((named.tid, named.comm, named.body), (Some(99), Some(&b"a b"[..]), call));
    }

    #[test]
    fn every_kind_of_line() {
        check("9 read(3,  <unfinished ...>", Some(9), None, Body::Unfinished(b"read(3,  "));
        check("9 <... read resumed>\"a\", 1) = 1", Some(9), None, Body::Resumed(b"read", b"\"a\", 1) = 1"));
        check("9 +++ exited with 0 +++", Some(9), None, Body::Exited);
        check("9 +++ killed by SIGTERM +++", Some(9), None, Body::Exited);
        check("9 +++ superseded by execve in pid 8 +++", Some(9), None, Body::Superseded(8));
        check("9 --- SIGCHLD {si_signo=SIGCHLD} ---", Some(9), None, Body::Other);
        check(" > /lib/libc.so.6(read+0x1) [0x2]", None, None, Body::Other);
        check("vfork(strace: Process 12 attached", None, None, Body::Attached(b"vfork(", 12));
        check("strace: [ Process PID=9 runs in 32 bit mode. ]", None, None, Body::Other);
        check("9 read(3,  <detached ...>", Some(9), None, Body::Other);
        check(" | 00000  61 62   ab |", None, None, Body::Dump(b"00000  61 62   ab |"));
        check("[{\"_index\": 1}]", None, None, Body::Unknown);
        check("GET / HTTP/1.1", None, None, Body::Unknown);
    }
}
