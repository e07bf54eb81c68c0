//! Signals as flags and callbacks: Ctrl-C and SIGTERM ask for a proper end, or interrupt what has to be tidied up, SIGUSR1
//! asks for a summary.
//!
//! SIGPIPE needs nothing here: Rust ignores it, a write then fails with `BrokenPipe`, and
//! [`crate::exit`] ends quietly.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Set by the first Ctrl-C or SIGTERM.
static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Where the SIGUSR1 handler writes one byte; -1 until somebody listens.
static BELL: AtomicI32 = AtomicI32::new(-1);
/// Where the handler of interruptions writes the signal's number; -1 until somebody listens.
static INTERRUPT: AtomicI32 = AtomicI32::new(-1);

/// The flag that the first Ctrl-C or SIGTERM sets. A second one kills, so that a hang can be left.
///
/// # Errors
/// The kernel refuses the handler, which no known kernel does for these signals.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let flag = STOP.get_or_init(Arc::default).clone();
    handle(Signal::SIGINT, on_stop)?;
    handle(Signal::SIGTERM, on_stop)?;
    Ok(flag)
}

/// From now on Ctrl-C and SIGTERM call `tidy`, from a thread of its own, and then end the process as they do by default; so
/// does a second one at once. Only the first call of a process is served.
///
/// # Errors
/// No descriptor or thread is left.
pub fn on_interrupt(tidy: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let wait = |mut listen: File| {
        let mut number = [0];
        if listen.read_exact(&mut number).is_ok() {
            tidy();
            Signal::try_from(i32::from(number[0])).into_iter().for_each(end_by);
        }
    };
    if !listen(&INTERRUPT, "interrupt", wait)? {
        return Ok(());
    }
    handle(Signal::SIGINT, on_first)?;
    handle(Signal::SIGTERM, on_first)
}

/// Calls `report` for each SIGUSR1, from a thread of its own that lives as long as the process. Only
/// the first call of a process is served.
///
/// # Errors
/// No descriptor or thread is left.
pub fn on_summary(report: impl Fn() + Send + 'static) -> io::Result<()> {
    let wait = move |mut listen: File| {
        let mut byte = [0];
        while listen.read_exact(&mut byte).is_ok() {
            report();
        }
    };
    if !listen(&BELL, "sigusr1", wait)? {
        return Ok(());
    }
    handle(Signal::SIGUSR1, on_bell)
}

/// Begins a thread that waits for what a handler writes, by [`ring`]. False where one does already.
fn listen(bell: &AtomicI32, name: &str, wait: impl FnOnce(File) + Send + 'static) -> io::Result<bool> {
    if bell.load(Ordering::Relaxed) >= 0 {
        return Ok(false);
    }
    let (listen, ring) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    thread::Builder::new().name(name.into()).spawn(move || wait(File::from(listen)))?;
    bell.store(ring.as_raw_fd(), Ordering::Relaxed);
    // The handler may use the descriptor until the process ends.
    std::mem::forget(ring);
    Ok(true)
}

/// Writes one byte, from a handler.
fn ring(bell: &AtomicI32, byte: u8) {
    let descriptor = bell.load(Ordering::Relaxed);
    // SAFETY: the descriptor is never closed once it is there, which is before the handler is.
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    let _ = nix::unistd::write(descriptor, &[byte]);
}

/// Without SA_RESTART: a call that waits returns, so that its loop sees the flag.
fn handle(signal: Signal, handler: extern "C" fn(i32)) -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handlers below do nothing but atomic loads and stores, write(2), sigaction(2) and
    // kill(2), all of which signal-safety(7) allows.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

extern "C" fn on_stop(number: i32) {
    let Some(flag) = STOP.get() else { return };
    if !flag.swap(true, Ordering::Relaxed) {
        return;
    }
    Signal::try_from(number).into_iter().for_each(end_by);
}

/// Ends the process by a signal's default action.
fn end_by(signal: Signal) {
    be_default(signal);
    // Not raise(3), which is for the thread: here it may be one that blocks signals.
    let _ = kill(Pid::this(), signal);
}

fn be_default(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: sigaction(2) is async-signal-safe, and the default action needs no handler of ours.
    let _ = unsafe { sigaction(signal, &default) };
}

extern "C" fn on_first(number: i32) {
    [Signal::SIGINT, Signal::SIGTERM].into_iter().for_each(be_default);
    ring(&INTERRUPT, number as u8);
}

extern "C" fn on_bell(_: i32) {
    ring(&BELL, b'!');
}
