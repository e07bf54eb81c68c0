//! A packet capture as a source: pcap or pcapng, from a file, a file that still grows, or a pipe.
//!
//! `file` reads packets, `link` finds the TCP segment in them, `flow` (with `half`) turns segments into
//! events. Constant memory but for open flows; payload is handed on in place.

mod file;
pub(super) mod flow;
mod half;
pub(super) mod link;

use super::input::Input;
use super::{Error, Sink, Source, Summary};
use crate::event::{Timestamp, Vantage};
use file::{Packet, Reader, Unit};
use flow::Flows;
use link::Content;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
    /// Neither TCP nor any of the following.
    pub other: u64,
    /// Fragments of IP packets, which are not put together.
    pub fragments: u64,
    /// Packets of interfaces that the file does not describe.
    pub stray: u64,
    /// Packets by link type (LINKTYPE_ value) that can't be read.
    pub unknown_links: BTreeMap<u16, u64>,
}

/// A capture, open.
pub struct Capture {
    reader: Reader,
    flows: Flows,
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
        Ok(Capture { reader: Reader::open(input)?, flows: Flows::default(), counts: Counts::default() })
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
                    if take(&packet, time, &mut self.flows, &mut self.counts, sink).is_break() {
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
        let unknown: u64 = self.counts.unknown_links.values().sum();
        if unknown == 0 || unknown < self.counts.packets {
            return Ok(());
        }
        let links: Vec<String> = self.counts.unknown_links.keys().map(|&link| describe(link)).collect();
        Err(Error::Input(format!(
            "{}: no packet can be read, link type {}; capture on an Ethernet, raw IP, loopback or \"any\" interface",
            self.reader.name(),
            links.join(", ")
        )))
    }

    fn warnings(&self) -> Vec<String> {
        let name = self.reader.name();
        let (counts, ignored) = (&self.counts, &self.flows.ignored);
        let mut warnings: Vec<String> = counts
            .unknown_links
            .iter()
            .map(|(&link, count)| format!("{name}: {count} packets of link type {} not read", describe(link)))
            .collect();
        let mut warn = |count: u64, what: &str| {
            if count > 0 {
                warnings.push(format!("{name}: {count} {what}"));
            }
        };
        warn(counts.stray, "packets of interfaces that the file does not describe not read");
        warn(counts.fragments, "IP fragments not put together; TCP data in them counts as not captured");
        for (count, what) in ignored.reasons() {
            warn(count, what);
        }
        if counts.packets > 0 && counts.tcp == 0 {
            warnings.push(format!("{name}: no TCP segment among {} packets", counts.packets));
        }
        warnings
    }
}

impl Source for Capture {
    fn vantage(&self) -> Vantage {
        Vantage::Wire
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        if self.packets(&mut summary, sink)?.is_continue() {
            self.refuse_unreadable()?;
            let _stopped = self.flows.end(sink);
        }
        summary.dropped = self.reader.dropped;
        summary.warnings = self.warnings();
        Ok(summary)
    }
}

fn take(
    packet: &Packet<'_>,
    time: Timestamp,
    flows: &mut Flows,
    counts: &mut Counts,
    sink: &mut Sink<'_>,
) -> ControlFlow<()> {
    counts.packets += 1;
    match link::dissect(packet) {
        Content::Tcp(segment) => {
            counts.tcp += 1;
            return flows.segment(time, &segment, sink);
        }
        Content::Other => counts.other += 1,
        Content::Fragment => counts.fragments += 1,
        // At most 65,536 different ones: the number has 16 bits.
        Content::UnknownLink => *counts.unknown_links.entry(packet.link).or_default() += 1,
    }
    ControlFlow::Continue(())
}

/// Gives the packet's time; where it has none, that of the latest packet before.
pub(super) fn note_time(summary: &mut Summary, time: Option<Timestamp>) -> Timestamp {
    let Some(time) = time else { return summary.last.unwrap_or_default() };
    summary.first = Some(summary.first.map_or(time, |first| first.min(time)));
    summary.last = Some(summary.last.map_or(time, |last| last.max(time)));
    time
}

fn describe(link: u16) -> String {
    format!("{link} ({})", link::link_name(link))
}
