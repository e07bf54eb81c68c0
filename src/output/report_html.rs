//! The result of a comparison as one HTML page that needs nothing else: data, style and script are inside.
//!
//! The data are the lines of [`super::report_json`]; what is drawn of them is the business of the script.

use super::report_json::{ConnectionLine, SummaryLine};
use crate::compare::Report;
use crate::event::{Stage, Timestamp};
use serde::Serialize;
use std::io::{self, Write};

const STYLE: &str = include_str!("report.css");
/// The lanes of a direction, in pipeline order.
const LANES: [Stage; 7] = [
    Stage::Wire,
    Stage::Syscall,
    Stage::Capture,
    Stage::Delivery,
    Stage::Stream,
    Stage::Frame,
    Stage::Record,
];

const SCRIPT: &str = include_str!("report.js");

/// Writes the page; `time` is when the comparison's last input ended, `title` names the inputs.
///
/// # Errors
/// `out` can't be written.
pub fn write(report: &Report, title: &str, time: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let data = Data {
        title,
        version: env!("CARGO_PKG_VERSION"),
        stages: LANES.map(Stage::name),
        summary: SummaryLine::new(report, time),
        connections: report.connections.iter().map(ConnectionLine::new).collect(),
    };
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>sockdbg report</title>\n<style>\n{STYLE}</style>\n<body>\n\
         <noscript>This page is drawn by a script of its own. The same report as text: sockdbg pcap-compare.</noscript>\n\
         <script type=\"application/json\" id=\"data\">"
    )?;
    serde_json::to_writer(Inert(&mut *out), &data)?;
    writeln!(out, "</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>")
}

#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    version: &'static str,
    stages: [&'static str; LANES.len()],
    summary: SummaryLine,
    connections: Vec<ConnectionLine<'a>>,
}

/// Writes JSON that nothing in it can end early: `<` only occurs within its strings.
struct Inert<W>(W);

impl<W: Write> Write for Inert<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (index, part) in bytes.split(|&byte| byte == b'<').enumerate() {
            if index > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Side;

    #[test]
    fn no_text_from_outside_can_end_the_data() {
        let mut page = Vec::new();
        let title = "</script><script>alert(1)</script>";
        let report = Report::new(&Side::default(), &Side::default());
        write(&report, title, Timestamp(0), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert_eq!(page.matches("</script>").count(), 2);
        let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["title"], title);
    }
}
