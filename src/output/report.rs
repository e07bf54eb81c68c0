//! The result of a comparison as text: the verdict first, then causes with remedies, then connections
//! with findings, then the clean ones.

use super::escape::escape;
use super::head::Head;
use super::paint::Paint;
use super::remedy;
use super::text::gap;
use super::time::Clock;
use crate::compare::{Balance, Comparison, Finding, Missing, Report, Verdict};
use crate::event::{Cause, Direction, Transport, Vantage};
use crate::ledger::catalogue;
use std::io::{self, Write};

/// How many connections without findings, and how many of others, are listed without `--full`.
const FOLD: usize = 20;

/// How many missing records of a finding are listed without `--full`.
const FOLD_RECORDS: usize = 10;

/// Writes a report as text.
#[derive(Debug)]
pub struct TextReport {
    /// Time zone of the times.
    pub clock: Clock,
    /// Colours.
    pub paint: Paint,
    /// List everything.
    pub full: bool,
}

impl TextReport {
    /// Writes the report.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        self.verdict(report, out)?;
        self.clocks(report, out)?;
        self.causes(report, out)?;
        self.uncompared(report, out)?;
        let (ours, others): (Vec<_>, Vec<_>) = report.connections.iter().partition(|one| one.of_process);
        // Of connections that are just encrypted there would be nothing to read.
        let (differing, clean): (Vec<_>, Vec<_>) = ours.into_iter().partition(|one| {
            one.residual() > 0 || one.findings.iter().any(|finding| finding.cause != Cause::WireEncrypted)
        });
        for comparison in differing {
            self.connection(comparison, report.vantages[1], out)?;
        }
        if !clean.is_empty() {
            writeln!(out, "\n{} without a difference:", count(clean.len() as u64, "connection"))?;
            self.list(&clean, out)?;
        }
        if !others.is_empty() {
            writeln!(
                out,
                "\n{}, but not seen at the process: {}:",
                place(report.vantages[1]),
                count(others.len() as u64, "connection")
            )?;
            self.list(&others, out)?;
        }
        Ok(())
    }

    fn verdict(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let ours = report.connections.iter().filter(|one| one.of_process);
        let (mut connections, mut differing, mut bytes, mut records, mut residual) = (0, 0, 0, 0, 0);
        for one in ours {
            connections += 1;
            differing += u64::from(one.differs());
            bytes += one.balances.iter().map(|balance| balance.syscall).sum::<u64>();
            records += one.records;
            residual += one.residual();
        }
        let records = count(records, "record");
        let verdict = report.verdict();
        let word = verdict.name();
        match verdict {
            Verdict::Complete => writeln!(
                out,
                "{}: {}, {bytes} bytes, {records}; residual 0, nothing missing",
                self.paint.word(word),
                count(connections, "connection")
            ),
            Verdict::Incomplete => writeln!(
                out,
                "{}: {differing} of {connections} connections differ, by {}, each with its cause below ({bytes} bytes seen \
                 at the calls, {records}); residual 0",
                self.paint.alarm(word),
                count(report.missing(), "byte")
            ),
            Verdict::Unexplained => writeln!(
                out,
                "{}: {residual} bytes have no explanation: sockdbg is wrong or lacks a cause, please report it \
                 ({differing} of {connections} connections differ, {bytes} bytes seen at the calls, {records})",
                self.paint.alarm(word)
            ),
            Verdict::NothingToCompare => {
                writeln!(out, "{}: the process moved no byte that could be compared", self.paint.alarm(word))
            }
        }
    }

    /// That the clocks differ, where they do.
    fn clocks(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let Some(clock) = report.clock.filter(|clock| !clock.same) else { return Ok(()) };
        let by = clock.ahead.unsigned_abs() as f64 / 1e9;
        let (whose, how) = (whose(report.vantages[1]), if clock.ahead < 0 { "behind" } else { "ahead of" });
        writeln!(out, "  the clock of {whose} is {by:.3} s {how} the process's; times are the process's")
    }

    /// How far the verdict goes: below the causes, none of which speaks of these bytes.
    fn uncompared(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        if report.uncompared == 0 {
            return Ok(());
        }
        let bytes = count(report.uncompared, "byte");
        writeln!(
            out,
            "  note: {bytes} that both sides have agree in place and length; their content was not compared, which takes \
             both as files (sockdbg events -w, then pcap-compare)"
        )
    }

    fn causes(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut causes: Vec<_> = report.causes().into_iter().collect();
        causes.sort_by_key(|(cause, total)| (std::cmp::Reverse(total.bytes), *cause));
        for (cause, total) in causes {
            let entry = catalogue::entry(cause);
            let (stage, slug) = (cause.stage().name(), self.paint.word(cause.slug()));
            let (bytes, ranges) = (count(total.bytes, "byte"), count(total.findings, "range"));
            write!(out, "  {slug} (at {stage}): {bytes} in {ranges}")?;
            if total.records > 0 {
                write!(out, ", {} affected", count(total.records, "record"))?;
            }
            writeln!(out, "\n    remedy: {}", entry.remedy)?;
            if let Some(command) = remedy::command(report, cause) {
                writeln!(out, "    $ {command}")?;
            }
        }
        Ok(())
    }

    fn connection(&self, comparison: &Comparison, other: Vantage, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}{}", self.head(comparison), self.speaks(comparison))?;
        writeln!(
            out,
            "  {:<5} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>9}",
            "",
            if other == Vantage::Syscall { "other end" } else { other.name() },
            "syscall",
            "captured",
            "delivered",
            "framed",
            "recorded",
            "residual"
        )?;
        for direction in Direction::BOTH {
            self.balance(direction, &comparison.balances[direction.index()], out)?;
        }
        let transport = comparison.info.open.transport;
        comparison.findings.iter().try_for_each(|finding| self.finding(finding, transport, other, out))
    }

    fn balance(&self, direction: Direction, balance: &Balance, out: &mut dyn Write) -> io::Result<()> {
        let Balance { wire, syscall, captured, delivered, framed, recorded, residual } = balance;
        let name = direction.name();
        let row = format!(
            "  {name:<5} {wire:>12} {syscall:>12} {captured:>12} {delivered:>12} {framed:>12} {recorded:>12}"
        );
        match residual {
            0 => writeln!(out, "{row} {residual:>9}"),
            _ => writeln!(out, "{row} {} unexplained", self.paint.alarm(format_args!("{residual:>9}"))),
        }
    }

    fn finding(
        &self,
        finding: &Finding,
        transport: Transport,
        other: Vantage,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let word = match finding.is_note(transport) {
            true => "note",
            false if finding.is_contradiction() => "differs",
            false => "missing",
        };
        let gap = gap(finding.direction, finding.range, finding.cause);
        write!(out, "  {} {gap}", self.paint.alarm(word))?;
        if !finding.detail.is_empty() {
            write!(out, ": {}", escape(finding.detail.as_bytes()))?;
        }
        writeln!(out)?;
        let most = if self.full { usize::MAX } else { FOLD_RECORDS };
        finding.records.iter().take(most).try_for_each(|record| self.record(record, other, out))?;
        let hidden = finding.record_count - finding.records.len().min(most) as u64;
        if hidden > 0 {
            writeln!(out, "    and {} more", count(hidden, "record"))?;
        }
        Ok(())
    }

    fn record(&self, record: &Missing, other: Vantage, out: &mut dyn Write) -> io::Result<()> {
        let time = self.clock.time_of_day(record.started);
        let summary = escape(record.summary.as_bytes());
        let place = place(other);
        writeln!(out, "    record {place}: {time} {} {summary}, bytes {}", record.protocol, record.range)
    }

    fn list(&self, comparisons: &[&Comparison], out: &mut dyn Write) -> io::Result<()> {
        let most = if self.full { usize::MAX } else { FOLD };
        for comparison in comparisons.iter().take(most) {
            let [send, recv] = comparison.balances.map(|balance| balance.syscall.max(balance.wire));
            let (head, speaks) = (self.head(comparison), self.speaks(comparison));
            write!(out, "  {head}{speaks}, {send} sent, {recv} received")?;
            match comparison.findings.first() {
                Some(finding) => writeln!(out, ": {}", finding.cause.slug())?,
                None => writeln!(out)?,
            }
        }
        let hidden = comparisons.len().saturating_sub(most);
        if hidden > 0 {
            writeln!(out, "  and {hidden} more (--full lists them)")?;
        }
        Ok(())
    }

    fn head<'a>(&'a self, comparison: &'a Comparison) -> Head<'a> {
        Head::of_connection(&self.clock, self.paint, &comparison.info, comparison.info.first)
    }

    fn speaks(&self, comparison: &Comparison) -> String {
        match (comparison.info.protocol, comparison.records) {
            (Some(protocol), 0) => format!(" {protocol}"),
            (Some(protocol), records) => format!(" {protocol}, {}", count(records, "record")),
            (None, _) => String::new(),
        }
    }
}

/// Where the other vantage is.
fn place(vantage: Vantage) -> &'static str {
    match vantage {
        Vantage::Wire => "on the wire",
        Vantage::Syscall => "in the other recording",
        Vantage::Strace => "in the strace log",
    }
}

/// The other vantage.
fn whose(vantage: Vantage) -> &'static str {
    match vantage {
        Vantage::Wire => "the capture",
        Vantage::Syscall => "the other recording",
        Vantage::Strace => "the strace log",
    }
}

/// `1 record`, `2 records`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
