//! Option groups that subcommands share, and the values they parse. Letters mean what users of strace
//! and tcpdump expect.
//!
//! A subcommand flattens the groups it needs into its `Args`.

use crate::event::{Call, Comm, Direction};
use crate::output::hexdump::{Hex, Views};
use crate::redact::Redaction;
use crate::source::filter::{Family, Filter, Network, Ports};
use crate::source::live::Hooks;
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Processes by their ids.
#[derive(Args, Clone, Debug, Default)]
pub struct Processes {
    /// These processes: a list, repeatable
    #[arg(
        short = 'p',
        long = "pid",
        value_name = "PID",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)),
    )]
    pub pids: Vec<u32>,
}

/// Whom to trace.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Target")]
pub struct Targets {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub processes: Processes,

    /// Trace the children of the traced processes, too, and theirs
    ///
    /// From the first instruction of each. Children that run already are none of these.
    #[arg(short = 'f', long)]
    pub follow_forks: bool,

    /// Trace every process with this name, those that take it later too; repeatable
    ///
    /// The name of a process is that of its first thread, as in /proc/PID/comm; of a longer one the kernel keeps
    /// 15 bytes.
    #[arg(long, value_name = "NAME", value_parser = parse_comm)]
    pub comm: Vec<Comm>,

    /// Trace every process in this cgroup and below, those that enter it later too; repeatable
    ///
    /// Named by its directory, or by its path as in /proc/PID/cgroup.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<PathBuf>,

    /// Trace every process of this container or systemd unit; repeatable
    ///
    /// By its id or a beginning of it, or by the name given to it (Docker, containerd, CRI-O, Podman, LXC; in Kubernetes
    /// NAME or POD/NAME), or by the name of the service, scope, slice or machine.
    #[arg(long, value_name = "ID")]
    pub container: Vec<String>,

    /// Trace every process but sockdbg
    #[arg(short = 'a', long)]
    pub all: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub filters: Filters,
}

/// What to leave out.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filter")]
pub struct Filters {
    /// Only these descriptors, as in 3,5; with ! in front, all but these
    ///
    /// Connections on other descriptors are still counted, so that their bytes have a cause (filtered). So it is
    /// with all filters.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub fd: Option<FdList>,

    /// Only connections with one of these ports at either end, as in 80,8000-8999
    #[arg(long, value_name = "LIST")]
    pub port: Option<Ports>,

    /// Only connections with one of these ports at the traced process's end
    #[arg(long, value_name = "LIST")]
    pub local_port: Option<Ports>,

    /// Only connections with one of these ports at the other end
    #[arg(long, value_name = "LIST")]
    pub remote_port: Option<Ports>,

    /// Only connections with this address, or one of this network, at the other end: a list, repeatable
    #[arg(long, value_name = "ADDR[/PREFIX]", value_delimiter = ',')]
    pub peer: Vec<Network>,

    /// Only connections over this family of addresses; IPv4 in an IPv6 socket is ipv4
    #[arg(long, value_parser = ["ipv4", "ipv6", "unix"], value_name = "FAMILY")]
    pub family: Option<String>,

    /// Only bytes that these system calls moved, as in read,sendto
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_data_call)]
    pub syscall: Vec<Call>,

    /// Only bytes in this direction
    #[arg(long, value_parser = ["send", "recv"], value_name = "DIRECTION")]
    pub direction: Option<String>,
}

impl Filters {
    /// All of them but `--fd`, as sources understand them.
    pub fn filter(&self) -> Filter {
        let ports = |ports: &Option<Ports>| ports.clone().unwrap_or_default();
        Filter {
            ports: ports(&self.port),
            local_ports: ports(&self.local_port),
            remote_ports: ports(&self.remote_port),
            peers: self.peer.clone(),
            family: self.family.as_deref().map(|name| match name {
                "ipv4" => Family::Ipv4,
                "ipv6" => Family::Ipv6,
                _ => Family::Unix,
            }),
            calls: self.syscall.clone(),
            direction: self.direction.as_deref().map(|name| match name {
                "send" => Direction::Send,
                _ => Direction::Recv,
            }),
        }
    }
}

/// A command to start and trace from its first instruction.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Target")]
pub struct TracedCommand {
    /// Start this command and trace it from its first instruction to its end
    #[arg(last = true, value_name = "CMD", num_args = 1..)]
    pub command: Vec<OsString>,
}

/// Where to read from instead of a live kernel.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Input")]
pub struct Input {
    /// Read a recording (or capture, or strace log) instead of tracing; - is stdin
    ///
    /// A capture is pcap, pcapng, or what tshark -T json or -T ek writes of one, whole or with fields (-e).
    #[arg(short = 'r', long = "read", value_name = "FILE")]
    pub read: Option<PathBuf>,
}

/// How to show results.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Show as text, or as JSON Lines with stable field names
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,

    /// Colour the text: auto means where stdout is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,

    /// Print no summary and no warning on stderr, only errors
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

/// Whether to leave content out.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct Redact {
    /// Show and write no content: lengths and hashes instead
    ///
    /// Payload is left out, with its length and a hash; in recordings and captures zeros stand for it, so that they can
    /// still be compared. Of records the kind of message, its status and lengths stay; other fields become their length
    /// and a hash. Hashes are SHA-256 with a random key that is kept nowhere: equal content of one run has the same, and no
    /// guess can be tried. Addresses, ports, names of processes and Unix sockets, and times stay.
    #[arg(long)]
    pub redact: bool,
}

impl Redact {
    /// With a key of its own, where content is to be left out.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn begin(self) -> anyhow::Result<Option<Redaction>> {
        self.redact.then(|| Ok(Redaction::new(super::bundle::key()?))).transpose()
    }
}

/// Which views of the payload text shows.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct Payload {
    /// Show payload as text below its line, escaped
    #[arg(short = 'A', long = "ascii")]
    pub ascii: bool,

    /// Show payload in hexadecimal below its line
    #[arg(short = 'x', long = "hex", conflicts_with = "hex_ascii")]
    pub hex: bool,

    /// Show payload in hexadecimal and ASCII below its line
    #[arg(short = 'X', long = "hex-ascii")]
    pub hex_ascii: bool,
}

impl Payload {
    /// What they ask of the text views.
    pub fn views(self) -> Views {
        let hex = match (self.hex, self.hex_ascii) {
            (_, true) => Hex::WithAscii,
            (true, false) => Hex::Plain,
            (false, false) => Hex::Off,
        };
        Views { ascii: self.ascii, hex }
    }
}

/// When to stop, how much to keep, and by which hooks.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Keep only the first SIZE bytes of each call's payload (default: all of it)
    ///
    /// What is cut keeps its true length and its cause, snaplen.
    #[arg(short = 's', long, value_name = "SIZE", value_parser = parse_size)]
    pub snaplen: Option<u64>,

    /// Stop after N events
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this time: 10s, 500ms, 2m, 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Size of the ring buffer between kernel and sockdbg, rounded up to a power of two
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_ring_size)]
    pub ring_size: usize,

    /// Where the kernel is asked: its sockets, or every system call; auto is sockets where they tell (Linux 6.3)
    ///
    /// Calls tell more (which call accepted a connection, failed connects of any kind, each descriptor that is closed),
    /// and make every system call of the machine 0.1 to 0.25 us slower. Where a trace looks wrong, the other way shows
    /// whether the hooks are to blame.
    #[arg(long, value_enum, default_value_t, value_name = "WHERE", help_heading = "Target")]
    pub hooks: HooksAt,
}

/// Of `--hooks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HooksAt {
    /// Sockets where they tell, else calls.
    #[default]
    Auto,
    /// The sockets' own word.
    Sockets,
    /// The exit of system calls.
    Calls,
}

impl From<HooksAt> for Hooks {
    fn from(at: HooksAt) -> Hooks {
        match at {
            HooksAt::Auto => Hooks::Cheapest,
            HooksAt::Sockets => Hooks::Sockets,
            HooksAt::Calls => Hooks::Calls,
        }
    }
}

/// How much to tell of what happens inside.
#[derive(Args, Clone, Debug, Default)]
pub struct Verbosity {
    /// Tell more: -v or -v 1 state changes, -vv or -v 2 every step
    #[arg(
        short = 'v',
        long = "verbose",
        value_name = "LEVEL",
        num_args = 0..=1,
        default_missing_value = "1",
        action = clap::ArgAction::Append,
        value_parser = parse_level,
        help_heading = "Output",
    )]
    levels: Vec<u8>,
}

impl Verbosity {
    /// The highest level there is.
    pub const MAX: u8 = 2;

    /// 0, 1 or 2.
    pub fn level(&self) -> u8 {
        self.levels.iter().fold(0, |sum: u8, &level| sum.saturating_add(level)).min(Verbosity::MAX)
    }
}

/// Of `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// JSON Lines.
    Json,
}

/// Of `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Where stdout is a terminal and neither NO_COLOR nor a dumb TERM speaks against it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Decides for stdout, see <https://no-color.org>.
    pub fn wanted(self) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
        }
    }
}

/// Of `--fd`: descriptors to keep, or with `!` to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdList {
    /// The listed descriptors.
    pub fds: BTreeSet<u32>,
    /// True where the listed ones are left out.
    pub negate: bool,
}

impl FdList {
    /// True where the filter keeps this descriptor.
    pub fn keeps(&self, fd: u32) -> bool {
        self.fds.contains(&fd) != self.negate
    }
}

impl FromStr for FdList {
    type Err = String;

    fn from_str(text: &str) -> Result<FdList, String> {
        let (list, negate) = match text.strip_prefix('!') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let fd = |item: &str| match item.trim().parse::<u32>() {
            Ok(fd) if i32::try_from(fd).is_ok() => Ok(fd),
            _ => Err(format!("{item:?} is no descriptor: expected numbers as in 3,5 or !3")),
        };
        Ok(FdList { fds: list.split(',').map(fd).collect::<Result<_, _>>()?, negate })
    }
}

/// Parses `10s`, `500ms`, `2m`, `1h` or `1.5s`; a bare number means seconds.
///
/// # Errors
/// No such number or unit, zero, or longer than a year.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const LONGEST_SECONDS: f64 = 366.0 * 86400.0;
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}: expected ms, s, m or h, as in 500ms or 2m")),
    };
    let seconds = parse_number(number, "10s, 500ms or 2m")? * scale;
    if seconds <= 0.0 || seconds > LONGEST_SECONDS {
        return Err("expected more than nothing and at most a year".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses a number of bytes: `4096`, `64K`, `16M`, `1G` (powers of 1024; `KiB` and the like too).
///
/// # Errors
/// No such number or unit, or more than fits.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let shift = match unit.to_ascii_lowercase().trim_end_matches("ib") {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(format!("unknown unit {unit:?}: expected K, M or G, as in 64K")),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number, as in 4096 or 64K".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more than 64 bits can hold".to_owned())
}

/// A size that the kernel takes for a ring buffer: a power of two of at least a page.
fn parse_ring_size(text: &str) -> Result<usize, String> {
    const SMALLEST: u64 = 4096;
    const LARGEST: u64 = 1 << 30;
    let size = parse_size(text)?;
    if !(SMALLEST..=LARGEST).contains(&size) {
        return Err("expected from 4K to 1G".into());
    }
    // At most 1 GiB, which fits.
    Ok(size.next_power_of_two() as usize)
}

/// A process's name, of which the kernel keeps 15 bytes.
fn parse_comm(text: &str) -> Result<Comm, String> {
    if text.is_empty() {
        return Err("expected the name of a process, as in nginx".into());
    }
    Ok(Comm::new(text.as_bytes()))
}

/// The name of a call that moves bytes; of the library's send and recv, the call that they make.
fn parse_data_call(text: &str) -> Result<Call, String> {
    let name = match text.trim() {
        "send" => "sendto",
        "recv" => "recvfrom",
        name => name,
    };
    let mut calls = Call::data_calls();
    calls.clone().find(|call| call.name() == name).ok_or_else(|| {
        let known = calls.by_ref().map(Call::name).collect::<Vec<_>>().join(", ");
        format!("{name:?} is no call that moves bytes: expected some of {known}")
    })
}

/// `1`, `2`, or the letters behind the first of `-vv`.
fn parse_level(text: &str) -> Result<u8, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "2" | "v" => Ok(2),
        _ if text.bytes().all(|letter| letter == b'v') => Ok(2),
        _ => Err("expected 0, 1 or 2".into()),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

fn parse_number(number: &str, example: &str) -> Result<f64, String> {
    number.parse().map_err(|_| format!("expected a number with a unit, as in {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        for bad in ["", "s", "0", "0s", "-1s", "1y", "1.2.3s", "9999999h", "ten", "1 s", "nan"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("8191"), Ok(8191));
        assert_eq!(parse_size("64K"), Ok(65536));
        assert_eq!(parse_size("16MiB"), Ok(16 << 20));
        assert_eq!(parse_size("1g"), Ok(1 << 30));
        for bad in ["", "K", "-1", "1.5M", "1T", "18446744073709551616", "17179869184G"] {
            assert!(parse_size(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn ring_sizes_become_powers_of_two_within_bounds() {
        assert_eq!(parse_ring_size("4096"), Ok(4096));
        assert_eq!(parse_ring_size("5000"), Ok(8192));
        assert_eq!(parse_ring_size("1G"), Ok(1 << 30));
        assert!(parse_ring_size("4095").is_err() && parse_ring_size("1025M").is_err());
    }

    #[test]
    fn descriptors_can_be_kept_or_left_out() {
        let keep: FdList = "3,5".parse().unwrap();
        assert!(keep.keeps(3) && keep.keeps(5) && !keep.keeps(4));
        let leave: FdList = "!3".parse().unwrap();
        assert!(!leave.keeps(3) && leave.keeps(4));
        for bad in ["", "!", "3,", "x", "-1", "4294967295"] {
            assert!(bad.parse::<FdList>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn calls_that_move_bytes_have_names() {
        assert_eq!(parse_data_call("readv"), Ok(Call::Readv));
        assert_eq!(parse_data_call(" send"), Ok(Call::Sendto));
        for bad in ["", "connect", "close", "listing", "packet", "reads"] {
            assert!(parse_data_call(bad).is_err_and(|error| error.contains("read, write, ")), "{bad:?}");
        }
    }

    #[test]
    fn verbosity_follows_every_usual_spelling() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            verbosity: Verbosity,
        }
        let level = |args: &[&str]| {
            let args = ["x"].iter().chain(args);
            <Line as clap::Parser>::try_parse_from(args).map(|line| line.verbosity.level()).ok()
        };
        assert_eq!(level(&[]), Some(0));
        for one in [&["-v"][..], &["-v", "1"], &["-v1"], &["--verbose"], &["--verbose=1"]] {
            assert_eq!(level(one), Some(1), "{one:?}");
        }
        for two in [&["-vv"][..], &["-v", "2"], &["-v2"], &["-v", "-v"], &["-vvv"]] {
            assert_eq!(level(two), Some(2), "{two:?}");
        }
        assert_eq!(level(&["-v", "0"]), Some(0));
        assert_eq!(level(&["-v", "3"]), None);
    }
}
