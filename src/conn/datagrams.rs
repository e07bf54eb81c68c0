//! Reads a socket of datagrams: each one is judged by itself and goes to the parser of the protocol that knows it.

use super::Options;
use super::reader::{Context, REDACTED};
use crate::event::Cause;
use crate::protocol::{self, Datagram, End, Output, Parser, Protocol, Verdict};

/// The parsers of one socket. Several protocols may share it.
pub struct Datagrams {
    options: Options,
    parsers: Vec<(&'static Protocol, Box<dyn Parser + Send>)>,
}

impl Datagrams {
    pub fn new(options: Options) -> Datagrams {
        Datagrams { options, parsers: Vec::new() }
    }

    /// The next datagram, which is not empty.
    pub fn take(&mut self, datagram: Datagram<'_>, cx: &mut Context<'_>) {
        let Datagram { direction, range, data, .. } = datagram;
        let captured = crate::event::Range::new(range.from, range.from + data.len() as u64);
        if self.options.redacted {
            return cx.skip(direction, captured, Cause::Redacted, format_args!("{REDACTED}"));
        }
        let Some(protocol) = self.judge(&datagram) else {
            return cx.skip(
                direction,
                captured,
                Cause::ProtocolUnknown,
                format_args!("no protocol knows it"),
            );
        };
        if cx.info.protocol != Some(protocol.name) {
            cx.info.protocol = Some(protocol.name);
            cx.trace(1, "protocol", format_args!("{}", protocol.name));
        }
        self.parser(protocol, cx).datagram(datagram, cx);
    }

    /// The socket, or the trace, is over.
    pub fn close(&mut self, end: End, cx: &mut Context<'_>) {
        for (_, parser) in &mut self.parsers {
            parser.close(end, cx.time, cx);
        }
    }

    /// The protocol that knows it from before, or is surest of it.
    fn judge(&self, datagram: &Datagram<'_>) -> Option<&'static Protocol> {
        if let Some((protocol, _)) = self.parsers.iter().find(|(_, parser)| parser.continues(datagram)) {
            return Some(protocol);
        }
        let verdicts = self.options.protocols.iter().filter_map(|&protocol| {
            match protocol.datagrams.map(|judge| judge(datagram)) {
                Some(Verdict::Match(confidence)) => Some((protocol, confidence)),
                _ => None,
            }
        });
        let best =
            verdicts.max_by_key(|&(protocol, confidence)| (confidence, std::cmp::Reverse(protocol.name)));
        best.map(|(protocol, _)| protocol)
    }

    fn parser(&mut self, protocol: &'static Protocol, cx: &Context<'_>) -> &mut (dyn Parser + Send) {
        let known = self.parsers.iter().position(|(of, _)| of.name == protocol.name);
        let index = known.unwrap_or_else(|| {
            let options = protocol::Options { role: cx.info.open.role, ..self.options.protocol };
            self.parsers.push((protocol, (protocol.parser)(options)));
            self.parsers.len() - 1
        });
        &mut *self.parsers[index].1
    }
}
