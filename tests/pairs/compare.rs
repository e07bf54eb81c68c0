//! Has sockdbg compare two files, and takes what it says apart.

use super::case::{Case, Files};
use super::oracle::Named;
use super::pair::Conn;
use super::ranges::Ranges;
use sockdbg::compare::anchor::Outline;
use sockdbg::compare::{Collector, Comparison, Coverage, Pairing, Report, Side};
use sockdbg::conn::{Observer, Options, Tracker};
use sockdbg::event::{Address, Cause, Direction, Event, Range, Stage, Vantage};
use sockdbg::ledger::Book;
use sockdbg::source::{self, Summary};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What was said, in the terms of [`super::oracle`].
pub struct Said {
    /// Before bytes become frames.
    pub early: Named,
    /// Of frames and records.
    pub late: Named,
    pub residual: u64,
    /// Comparisons that belong to no connection of the pair.
    pub strange: usize,
}

fn run<O: Observer>(
    file: &Path,
    observer: O,
    mut also: impl FnMut(&Event<'_>),
) -> Result<(O, Summary), String> {
    let mut source = source::open(file).map_err(|error| error.to_string())?;
    let mut tracker = Tracker::new(source.vantage(), Options::default(), observer);
    let summary = source.run(&mut |event| {
        tracker.event(event);
        also(event);
        ControlFlow::Continue(())
    });
    Ok((tracker.finish(), summary.map_err(|error| error.to_string())?))
}

fn side((book, summary): (Book, Summary)) -> Side {
    let coverage = Coverage { first: summary.first, last: summary.last, cut: summary.cut.is_some() };
    Side {
        ledgers: book.into_ledgers(),
        coverage,
        streams_only: summary.streams_only,
        conflicts: summary.conflicts,
        ..Side::default()
    }
}

/// The comparison as `pcap-compare` makes it.
pub fn report([recording, capture]: [&Path; 2]) -> Result<Report, String> {
    if !source::open(recording).map_err(|error| error.to_string())?.vantage().is_process() {
        return Err(format!("{} is no recording", recording.display())); // as pcap-compare refuses it
    }
    let mut outline = Outline::default();
    let process = side(run(recording, Book::default(), |event| outline.event(event))?);
    let wire = side(run(capture, Book::default(), |_| ())?);
    let mut pairing = Pairing::new(&process, &wire, [Vantage::Syscall, Vantage::Wire]);
    if let Some(mut finder) = pairing.finder(outline) {
        run(capture, Book::default(), |event| finder.event(event))?;
        pairing.by_content(&finder.hits());
    }
    let mut report = pairing.report();
    while let Some(keeper) = report.next_suspects() {
        let checker = run(recording, keeper, |_| ())?.0.checker();
        report.learn_contents(run(capture, checker, |_| ())?.0);
    }
    let collector = run(capture, Collector::new(report.wanted()), |_| ())?.0;
    report.name_missing(collector);
    Ok(report)
}

/// What the files of a case are called.
pub const FILES: [&str; 2] = ["recording.pcapng", "capture.pcap"];

/// Compares a case's files, which are kept in `folder`.
pub fn compare(case: &Case<'_>, files: &Files, folder: &Path) -> Result<Said, String> {
    let paths: [PathBuf; 2] = FILES.map(|name| folder.join(name));
    std::fs::write(&paths[0], &files.recording).expect("a file");
    std::fs::write(&paths[1], &files.capture).expect("a file");
    let report = report([&paths[0], &paths[1]])?;
    let mut said = Said { early: Named::new(), late: Named::new(), residual: 0, strange: 0 };
    for comparison in &report.connections {
        said.residual += comparison.residual();
        match place(case, comparison) {
            Some((conn, sends)) => add(&mut said, conn, sends, comparison),
            None => said.strange += 1,
        }
    }
    Ok(said)
}

/// Which connection it is, and the side that sends in its send direction.
fn place(case: &Case<'_>, comparison: &Comparison) -> Option<(usize, usize)> {
    let conns = case.pair.conns.iter().enumerate();
    let open = &comparison.info.open;
    let find = |is: &dyn Fn(&Conn) -> bool| conns.clone().find(|(_, conn)| is(conn)).map(|(index, _)| index);
    if comparison.of_process {
        let index = find(&|conn| conn.id == comparison.info.id)?;
        return Some((index, case.pair.conns[index].side(Direction::Send)));
    }
    let address = |end: SocketAddr| Some(Address::from(end));
    let index = find(&|conn| {
        let ends = conn.flow.ends.map(address);
        [open.local, open.remote] == ends || [open.remote, open.local] == ends
    })?;
    Some((index, usize::from(open.local != address(case.pair.conns[index].flow.ends[0]))))
}

fn add(said: &mut Said, conn: usize, sends: usize, comparison: &Comparison) {
    for finding in &comparison.findings {
        let side = if finding.direction == Direction::Send { sends } else { 1 - sends };
        let named = if finding.cause.stage() < Stage::Stream { &mut said.early } else { &mut said.late };
        let Range { from, to } = finding.range;
        let all = named.entry((conn, side, finding.cause)).or_default();
        *all = all.or(&Ranges::of(from, to));
    }
}

/// Takes what is said of encryption out of what was said.
pub fn take_encrypted(said: &mut Named) -> Named {
    let (encrypted, rest) =
        std::mem::take(said).into_iter().partition(|((.., cause), _)| *cause == Cause::WireEncrypted);
    *said = rest;
    encrypted
}
