//! A packet capture as a source: pcap or pcapng, from a file, a file that still grows, or a pipe.
//!
//! `file` reads packets (`foreign` names files that it can't read), `link` (with `linktype`, `ip`, `fragment`, `tunnel`) finds the TCP segment or UDP datagram in
//! them, `flow` (with `half`, `overlap`, `recent`) and `datagram` turn those into events. Constant memory but for open flows; payload is
//! handed on in place.

mod checksum;
pub(super) mod datagram;
mod file;
pub(super) mod flow;
mod foreign;
mod fragment;
mod half;
mod ip;
pub(super) mod link;
mod linktype;
mod overlap;
mod recent;
pub mod slice;
pub(super) mod tunnel;

use super::input::Input;
use super::{Error, Sink, Source, Summary};
use crate::event::{Timestamp, Vantage};
use crate::redact::RunId;
use datagram::DatagramFlows;
use file::{Packet, Reader, Unit};
use flow::Flows;
use link::{Content, Dissector};
use linktype::describe;
use rustc_hash::FxHasher;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Interfaces whose packets can't be read that are told apart; those of further ones count together.
const MAX_LEFT_OUT: usize = 64;

/// Ports below are those of system services (RFC 6335, section 6).
const SYSTEM_PORTS: u16 = 1024;

/// Ports from here on are those that Linux gives to clients (net.ipv4.ip_local_port_range).
const CLIENT_PORTS: u16 = 32_768;

/// Which kind of port it is: the lower, the more likely a server's.
fn port_class(port: u16) -> u8 {
    u8::from(port >= SYSTEM_PORTS) + u8::from(port >= CLIENT_PORTS)
}

/// How to read a capture.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file is still being written: wait for more at its end, until the flag becomes true; then read
    /// on to the end.
    pub follow: Option<Arc<AtomicBool>>,
}

/// What the packets of a capture were.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Packets read.
    pub packets: u64,
    /// TCP segments among them.
    pub tcp: u64,
    /// UDP datagrams among them.
    pub udp: u64,
    /// Neither TCP nor UDP nor any of the following.
    pub other: u64,
    /// Fragments of IP packets that were not complete with them.
    pub fragments: u64,
    /// Packets of interfaces that the file does not describe.
    pub stray: u64,
    /// Packets that can't be read, by link type (LINKTYPE_ value) and name of the interface, if it has one.
    pub left_out: BTreeMap<(u16, String), u64>,
}

impl Counts {
    /// Counts a packet that becomes no event.
    fn leave(&mut self, content: &Content<'_>, packet: &Packet<'_>) {
        match content {
            Content::Other => self.other += 1,
            Content::Fragment => self.fragments += 1,
            Content::UnknownLink => self.leave_out(packet),
            Content::Tcp(_) | Content::Udp(_) => {}
        }
    }

    fn leave_out(&mut self, packet: &Packet<'_>) {
        let mut key = (packet.link, packet.interface.unwrap_or_default().to_owned());
        if self.left_out.len() >= MAX_LEFT_OUT && !self.left_out.contains_key(&key) {
            key.1 = "any other".to_owned();
        }
        // The link types that there are bound it: their numbers have 16 bits.
        *self.left_out.entry(key).or_default() += 1;
    }
}

/// A capture, open.
pub struct Capture {
    reader: Reader,
    dissector: Dissector,
    flows: Flows,
    datagrams: DatagramFlows,
    counts: Counts,
}

impl Capture {
    /// Opens the capture at `path` (`-`: standard input) and recognises its format.
    ///
    /// # Errors
    /// [`Error::Input`] where it can't be read or is no capture.
    pub fn open(path: &Path, options: Options) -> Result<Capture, Error> {
        Capture::from_input(Input::open(path, options.follow)?)
    }

    /// A capture over an input that is open already.
    pub(super) fn from_input(input: Input) -> Result<Capture, Error> {
        let reader = Reader::open(input)?;
        if let Some(link) = reader.link().filter(|&link| !linktype::is_supported(link)) {
            return Err(unsupported(reader.name(), &describe(link)));
        }
        let (dissector, counts) = (Dissector::default(), Counts::default());
        let mut flows = Flows::default();
        if let Some(again) = reader.again() {
            flows.overlaps.read_from(again);
        }
        Ok(Capture { reader, dissector, flows, datagrams: DatagramFlows::default(), counts })
    }

    /// What the packets read so far were.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes every packet. Gives why the file ends in the middle, if it does.
    fn packets(&mut self, summary: &mut Summary, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, Error> {
        loop {
            match self.reader.next()? {
                Unit::Packet(packet) => {
                    let time = note_time(summary, packet.time);
                    let (flows, counts) = ((&mut self.flows, &mut self.datagrams), &mut self.counts);
                    counts.packets += 1;
                    flows.0.overlaps.begin(packet.data, packet.position);
                    let (streams, datagrams) = flows;
                    let step = self.dissector.packet(time, &packet, &mut |content| match content {
                        Content::Tcp(segment) => {
                            counts.tcp += 1;
                            streams.segment(time, &segment, sink)
                        }
                        Content::Udp(datagram) => {
                            counts.udp += 1;
                            let numbers = &mut streams.numbers;
                            datagrams.datagram(time, &datagram, place(&packet), numbers, sink)
                        }
                        other => {
                            counts.leave(&other, &packet);
                            ControlFlow::Continue(())
                        }
                    });
                    if step.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Unit::Stray => self.counts.stray += 1,
                Unit::Other => {}
                Unit::End => return Ok(ControlFlow::Continue(())),
                Unit::Cut(reason) => {
                    summary.cut = Some(reason);
                    return Ok(ControlFlow::Continue(()));
                }
            }
        }
    }

    /// Nothing but packets of unknown link types is no usable capture.
    fn refuse_unreadable(&self) -> Result<(), Error> {
        let left_out: u64 = self.counts.left_out.values().sum();
        if left_out == 0 || left_out < self.counts.packets {
            return Ok(());
        }
        let mut links: Vec<String> = self.counts.left_out.keys().map(|(link, _)| describe(*link)).collect();
        links.dedup();
        Err(unsupported(self.reader.name(), &links.join(", ")))
    }

    fn warnings(&self) -> Vec<String> {
        let name = self.reader.name();
        let (counts, flows) = (&self.counts, &self.flows);
        let mut warnings: Vec<String> = counts
            .left_out
            .iter()
            .map(|((link, interface), count)| {
                let interface =
                    if interface.is_empty() { String::new() } else { format!(" of interface {interface}") };
                let link = describe(*link);
                format!("{name}: {count} packets{interface} left out: link type {link} is not supported")
            })
            .collect();
        let mut warn = |count: u64, what: &str| {
            if count > 0 {
                warnings.push(format!("{name}: {count} {what}"));
            }
        };
        let fragments = &self.dissector.fragments;
        warn(counts.stray, "packets of interfaces that the file does not describe not read");
        warn(
            fragments.incomplete(),
            "IP packets lack fragments; TCP data in them counts as not captured, UDP datagrams are left out (a filter on ports lets only first \
             fragments pass)",
        );
        warn(fragments.counts.contradicting, "IP fragments contradict others of their packet, which stand");
        for (count, what) in flows.ignored.reasons().into_iter().chain(self.datagrams.ignored.reasons()) {
            warn(count, what);
        }
        warnings.extend(flows.overlaps.lines().map(|line| format!("{name}: {line}")));
        if counts.packets > 0 && counts.tcp + counts.udp == 0 {
            warnings.push(format!("{name}: neither TCP nor UDP among {} packets", counts.packets));
        }
        warnings
    }
}

fn unsupported(name: &str, links: &str) -> Error {
    Error::Input(format!(
        "{name}: link type {links} is not supported; capture on an Ethernet, raw IP, loopback or \"any\" interface"
    ))
}

impl Source for Capture {
    fn vantage(&self) -> Vantage {
        Vantage::Wire
    }

    fn redacted(&self) -> Option<RunId> {
        self.reader.redacted
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        if self.packets(&mut summary, sink)?.is_continue() {
            self.refuse_unreadable()?;
            let _stopped = self.flows.end(sink).is_break() || self.datagrams.end(sink).is_break();
        }
        if let Some((first, last)) = self.reader.span {
            summary.first = Some(summary.first.map_or(first, |time| time.min(first)));
            summary.last = summary.last.max(Some(last));
        }
        summary.dropped = self.reader.dropped;
        summary.conflicts = self.flows.overlaps.conflicts();
        summary.warnings = self.warnings();
        Ok(summary)
    }
}

/// Where a packet was seen: its interface, and what a Linux cooked header says of interface and direction.
fn place(packet: &Packet<'_>) -> u64 {
    let cooked = match packet.link {
        113 => packet.data.get(..2),
        276 => packet.data.get(4..11),
        _ => None,
    };
    let mut hasher = FxHasher::default();
    (packet.interface, cooked).hash(&mut hasher);
    hasher.finish()
}

/// Gives the packet's time; where it has none, that of the latest packet before.
pub(super) fn note_time(summary: &mut Summary, time: Option<Timestamp>) -> Timestamp {
    let Some(time) = time else { return summary.last.unwrap_or_default() };
    summary.first = Some(summary.first.map_or(time, |first| first.min(time)));
    summary.last = Some(summary.last.map_or(time, |last| last.max(time)));
    time
}
