//! How far the reading of files is, on stderr: a bar that comes after a second of work and goes before anything else is
//! shown. Only a terminal gets one.

use crate::source;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Bytes that are read of each file to find out what it is, before it is read from its beginning.
const LOOKS: u64 = 4 << 20;

/// The bar that is on the terminal.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A display of progress, which goes with this.
pub struct Progress {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Of reading these files, once each; of one that has no size (a pipe) the bytes so far are shown. `wanted` is false
    /// where nothing is to be shown.
    pub fn begin(wanted: bool, files: &[&Path]) -> Progress {
        let done = Arc::new(AtomicBool::new(false));
        if !wanted || !io::stderr().is_terminal() {
            return Progress { done, thread: None };
        }
        let size = files
            .iter()
            .map(|path| fs::metadata(path).ok().filter(fs::Metadata::is_file))
            .try_fold(0u64, |sum, file| Some(sum.saturating_add(file?.len())));
        let stop = Arc::clone(&done);
        // Without a thread there is no bar, and nothing else is missing.
        let thread = thread::Builder::new().name("progress".into()).spawn(move || draw(size, &stop)).ok();
        Progress { done, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic would be a bar that is not drawn.
            let _ = thread.join();
        }
    }
}

/// Writes something to the terminal where the bar is not in its way.
pub fn hidden(write: impl FnOnce()) {
    match &*SHOWN.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn draw(size: Option<u64>, done: &AtomicBool) {
    let began = Instant::now();
    let over = || done.load(Ordering::Relaxed);
    while !over() && began.elapsed() < PATIENCE {
        thread::park_timeout(PATIENCE.saturating_sub(began.elapsed()));
    }
    if over() {
        return;
    }
    let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr()).with_elapsed(began.elapsed());
    let known = "{percent:>3} % {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    bar.set_style(style(if size.is_some() { known } else { "{bytes} read, {bytes_per_sec}" }));
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
    let mut again = false;
    while !over() {
        let read = source::bytes_read();
        if !again && size.is_some_and(|size| read > size.saturating_add(LOOKS)) {
            // What differs is looked for in further passes, of which nobody knows how many there will be.
            again = true;
            bar.unset_length();
            bar.set_style(style("looking again at what differs: {bytes} read, {bytes_per_sec}"));
        }
        bar.set_position(size.filter(|_| !again).map_or(read, |size| read.min(size)));
        thread::park_timeout(TICK);
    }
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    bar.finish_and_clear();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template that is a constant")
}
