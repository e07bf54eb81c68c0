//! `sockdbg explain`: the catalogue of causes, or one entry of it.

use super::options::{Color, Format};
use crate::event::Cause;
use crate::exit::{Outcome, Usage};
use crate::ledger::catalogue::{self, Entry};
use crate::output::json::write_line;
use crate::output::paint::Paint;
use serde::Serialize;
use std::io::{self, BufWriter, Write};

/// Explain why a byte did not become a record
///
/// Without a slug: every cause, by stage in the order of the pipeline. With one: what it means, how
/// sockdbg knows, and what to do about it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The cause, as reports name it: ring-full, before-attach, ...
    slug: Option<String>,

    /// Show as text, or as JSON Lines with stable field names
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// Colour the text: auto means where stdout is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

/// Prints the list or the entry.
///
/// # Errors
/// No cause has that slug, or stdout can't be written.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let entries: Vec<Entry> = match &args.slug {
        Some(slug) => vec![find(slug)?],
        None => catalogue::all().collect(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let paint = Paint::new(args.color.wanted());
    match (args.format, args.slug) {
        (Format::Json, _) => {
            entries.iter().try_for_each(|entry| write_line(&Line::from(*entry), &mut out))?;
        }
        (Format::Text, Some(_)) => write_entry(&entries[0], paint, &mut out)?,
        (Format::Text, None) => write_list(&entries, paint, &mut out)?,
    }
    out.flush()?;
    Ok(Outcome::Well)
}

fn find(slug: &str) -> Result<Entry, Usage> {
    const SUGGESTIONS: usize = 3;
    Cause::from_slug(slug).map(catalogue::entry).ok_or_else(|| {
        let near = catalogue::nearest(slug, SUGGESTIONS).join(", ");
        let hint = format!("the nearest are {near}; sockdbg explain lists all");
        Usage::new(format!("no cause is called {slug:?}"), hint)
    })
}

/// A stage, then its causes with the first sentence of each.
fn write_list(entries: &[Entry], paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let mut stage = None;
    for entry in entries {
        let next = Some(entry.cause.stage());
        if stage != next {
            let gap = if stage.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}{}", paint.quiet(entry.cause.stage().name()))?;
            stage = next;
        }
        let slug = entry.cause.slug();
        writeln!(out, "  {}{:2$} {3}", paint.word(slug), "", 18 - slug.len().min(18), entry.meaning)?;
    }
    Ok(())
}

fn write_entry(entry: &Entry, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} (stage {})", paint.word(entry.cause.slug()), entry.cause.stage().name())?;
    let parts =
        [("What happened", entry.meaning), ("How it is known", entry.detection), ("Remedy", entry.remedy)];
    for (title, text) in parts {
        writeln!(out, "\n{}\n  {text}", paint.quiet(title))?;
    }
    if let Some(command) = entry.command {
        writeln!(out, "\n  $ {command}")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Line {
    r#type: &'static str,
    cause: &'static str,
    stage: &'static str,
    meaning: &'static str,
    detection: &'static str,
    remedy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Line {
        let Entry { cause, meaning, detection, remedy, command } = entry;
        let (slug, stage) = (cause.slug(), cause.stage().name());
        Line { r#type: "cause", cause: slug, stage, meaning, detection, remedy, command }
    }
}
