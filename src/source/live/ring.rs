//! The reading end of the ring buffer: when it is looked at, and how much is read at once.

use super::{Taker, cannot_load};
use crate::source::{Error, raw};
use libbpf_rs::{AsRawLibbpf, MapCore, RingBuffer, RingBufferBuilder, libbpf_sys};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::cell::{Cell, RefCell};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long records may wait in the ring before they are read, unless many wait. Longer than a tick of the kernel's
/// clock: a timer that is due sooner keeps an idle processor from its usual way into sleep, and whoever is traced
/// pays for waking it up (in a virtual machine, much).
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(40);

/// Records read before others may have the processor, on which the traced process or its peer waits, and how often
/// they may in one reading: a reader that is behind must catch up.
const PORTION: usize = 256;
const YIELDS_MAX: usize = 64;

/// The ring buffer, from user space.
pub(super) struct Ring<'a> {
    ring: RingBuffer<'a>,
    /// As many records as it can hold.
    capacity: usize,
    /// The most bytes that waited when it was looked at.
    peak: Cell<u64>,
}

impl<'a> Ring<'a> {
    pub(super) fn new(
        events: &impl MapCore,
        size: usize,
        taker: &'a RefCell<Taker<'_>>,
    ) -> Result<Ring<'a>, Error> {
        let mut builder = RingBufferBuilder::new();
        builder
            .add(events, |record| {
                let mut taker = taker.borrow_mut();
                taker.take(record);
                // A negative number ends the reading; this record counts as read.
                if taker.broken { -nix::libc::ECANCELED } else { 0 }
            })
            .map_err(|error| cannot_load(&error))?;
        let ring = builder.build().map_err(|error| cannot_load(&error))?;
        Ok(Ring { ring, capacity: size / size_of::<raw::Head>(), peak: Cell::new(0) })
    }

    /// Reads what waits now. Not all that comes: a process that is faster than the reader would never let it go.
    pub(super) fn consume(&self, taker: &RefCell<Taker<'_>>) -> Result<(), Error> {
        taker.borrow_mut().oldest = true;
        // A small ring is full before the others are done.
        let yields = YIELDS_MAX.min(self.capacity / PORTION / 32);
        for portion in 0..self.capacity.div_ceil(PORTION) {
            // Each time: while events are written the ring may fill up.
            self.peak.set(self.peak.get().max(self.waiting()));
            let code = self.ring.consume_raw_n(PORTION);
            match usize::try_from(code) {
                Ok(PORTION) if portion < yields => std::thread::yield_now(),
                Ok(PORTION) => {}
                Err(_) if !taker.borrow().broken => {
                    let error = std::io::Error::from_raw_os_error(-code);
                    return Err(Error::Attach(format!("reading the kernel's ring buffer: {error}")));
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// The most bytes that waited to be read.
    pub(super) fn peak(&self) -> u64 {
        self.peak.get()
    }

    /// Bytes that wait to be read, the heads of records included.
    fn waiting(&self) -> u64 {
        // SAFETY: the object lives as long as `self`, and has one ring, at index 0.
        unsafe {
            let ring = libbpf_sys::ring_buffer__ring(self.ring.as_libbpf_object().as_ptr(), 0);
            libbpf_sys::ring__avail_data_size(ring) as u64
        }
    }
}

/// Wakes once for each wake-up the probes send (edge-triggered): with a level-triggered wait a busy ring would
/// never let its reader sleep, and every record would cost a round.
pub(super) fn waker(events: &impl AsFd) -> nix::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(events, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    Ok(epoll)
}

pub(super) fn wait(waker: &Epoll, time: Duration) {
    let milliseconds = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    // Interrupted or not: the ring is looked at next.
    let _ = waker.wait(&mut [EpollEvent::empty()], EpollTimeout::from(milliseconds));
}
