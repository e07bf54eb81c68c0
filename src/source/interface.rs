//! Captures the packets of a network interface into a file, for a comparison afterwards.
//!
//! The file is what [`super::pcap`] reads: a live capture and one made by tcpdump take the same way.

use super::{Error, now};
use crate::event::Timestamp;
use nix::poll::{PollFd, PollFlags, poll};
use pcap::{Active, Capture, Savefile};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Kernel buffer for packets that are not read yet, in bytes.
const BUFFER_SIZE: i32 = 64 << 20;

/// Longest packet kept whole, in bytes: a segment that offloading made larger than any MTU fits.
const SNAPLEN: i32 = 262_144;

/// How long the kernel may keep packets back, in milliseconds.
const TIMEOUT_MS: i32 = 50;

/// After so many milliseconds without a packet there is none left in the kernel. The kernel looks every
/// [`TIMEOUT_MS`] and hands out a block when it looks for the second time (net/packet/af_packet.c,
/// prb_retire_rx_blk_timer_expired).
const IDLE_MS: u16 = 5 * TIMEOUT_MS as u16;

/// An interface that is being captured.
pub struct Interface {
    capture: Capture<Active>,
    name: String,
    began: Timestamp,
}

/// What a capture says when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Packets written to the file.
    pub packets: u64,
    /// Packets that the kernel had no room for.
    pub dropped: u64,
    /// When the capture began and ended, whatever packets there were.
    pub span: (Timestamp, Timestamp),
}

/// A capture that runs on a thread of its own.
pub struct Running {
    thread: JoinHandle<Result<Stats, Error>>,
    began: Timestamp,
    /// Microseconds since the Unix epoch up to which packets are wanted; 0 while there is no end.
    stop: Arc<AtomicU64>,
}

impl Interface {
    /// Opens the interface called `name` (`any`: all) of the caller's network namespace. From then on
    /// every packet is kept.
    ///
    /// # Errors
    /// [`Error::Input`] where there is no such interface, [`Error::Attach`] without the right to capture.
    pub fn open(name: &str) -> Result<Interface, Error> {
        let fail = |error: pcap::Error| refuse(name, &error);
        let capture = Capture::from_device(name).map_err(fail)?;
        let capture = capture.snaplen(SNAPLEN).buffer_size(BUFFER_SIZE).timeout(TIMEOUT_MS).promisc(false);
        let capture = capture.open().and_then(Capture::setnonblock).map_err(fail)?;
        Ok(Interface { capture, name: name.to_owned(), began: now() })
    }

    /// Writes packets to `file` until it is told to stop.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn run(mut self, file: &Path) -> Result<Running, Error> {
        let mut savefile = self.capture.savefile(file).map_err(|error| unwritable(file, &error))?;
        let stop = Arc::new(AtomicU64::new(0));
        let stopped = Arc::clone(&stop);
        let began = self.began;
        let thread = thread::spawn(move || self.write_until(&mut savefile, &stopped));
        Ok(Running { thread, began, stop })
    }

    fn write_until(&mut self, savefile: &mut Savefile, stop: &AtomicU64) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        let mut idle = false;
        loop {
            let until = stop.load(Ordering::Relaxed);
            match self.capture.next_packet() {
                Ok(packet) if until > 0 && micros(packet.header.ts) > until => break,
                Ok(packet) => {
                    savefile.write(&packet);
                    stats.packets += 1;
                }
                // Nothing came since the stop: everything from before it has been handed out.
                Err(pcap::Error::TimeoutExpired) if idle && until > 0 => break,
                Err(pcap::Error::TimeoutExpired) => idle = !self.wait() && until > 0,
                Err(error) => {
                    return Err(Error::Input(format!("capture on {} failed: {}", self.name, words(&error))));
                }
            }
        }
        savefile
            .flush()
            .map_err(|error| Error::Input(format!("the capture can't be written: {}", words(&error))))?;
        stats.dropped = self.capture.stats().map_or(0, |counts| u64::from(counts.dropped));
        Ok(stats)
    }
}

impl Interface {
    /// Waits for packets, for as long as the kernel may keep them back. True where some came. (libpcap
    /// itself would wait for ever on an idle interface.)
    fn wait(&self) -> bool {
        // SAFETY: the capture owns the descriptor and outlives this call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.capture.as_raw_fd()) };
        let mut descriptors = [PollFd::new(descriptor, PollFlags::POLLIN)];
        poll(&mut descriptors, IDLE_MS).is_ok_and(|ready| ready > 0)
    }
}

impl Running {
    /// Stops the capture when everything that the interface has seen until now is in the file.
    ///
    /// # Errors
    /// The capture failed on the way.
    pub fn stop(self) -> Result<Stats, Error> {
        let now = now();
        self.stop.store(now.0 / 1000, Ordering::Relaxed);
        let ended = self.thread.join();
        let stats = ended.unwrap_or_else(|_| Err(Error::Input("the capture thread failed".into())))?;
        Ok(Stats { span: (self.began, now), ..stats })
    }
}

fn micros(time: nix::libc::timeval) -> u64 {
    time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64
}

fn unwritable(file: &Path, error: &pcap::Error) -> Error {
    Error::Input(format!("{} can't be written: {}", file.display(), words(error)))
}

fn refuse(name: &str, error: &pcap::Error) -> Error {
    let words = words(error);
    if words.contains("ermission") || words.contains("ermitted") {
        return Error::Attach(format!("cannot capture on {name}: needs root or CAP_NET_RAW"));
    }
    let names = pcap::Device::list().unwrap_or_default().into_iter().map(|device| device.name);
    let names = names.filter(|name| !name.contains("usb") && !name.starts_with("bluetooth"));
    let known = names.collect::<Vec<_>>().join(", ");
    Error::Input(format!("cannot capture on {name}: {words}; interfaces here: {known}"))
}

/// libpcap's message without the crate's prefix.
fn words(error: &pcap::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("libpcap error: ").unwrap_or(&text).to_owned()
}
