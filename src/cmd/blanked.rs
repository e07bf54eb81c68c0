//! A source whose payload is taken out as it is read: what the other side of a comparison has as zeros can only be
//! compared with zeros.

use crate::event::{Data, Event, Kind, Vantage};
use crate::redact::RunId;
use crate::source::{Error, Sink, Source, Summary};

/// Another source, with zeros for its payload.
pub struct Blanked {
    /// The source as it is.
    pub source: Box<dyn Source>,
    zeros: Vec<u8>,
}

impl Blanked {
    /// Of this source.
    pub fn new(source: Box<dyn Source>) -> Blanked {
        Blanked { source, zeros: Vec::new() }
    }
}

impl Source for Blanked {
    fn vantage(&self) -> Vantage {
        self.source.vantage()
    }

    fn redacted(&self) -> Option<RunId> {
        Some(self.source.redacted().unwrap_or(RunId([0; 8])))
    }

    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let zeros = &mut self.zeros;
        self.source.run(&mut |event| {
            let Kind::Data(data) = &event.kind else { return sink(event) };
            zeros.resize(zeros.len().max(data.payload.len()), 0);
            let data = Data { payload: &zeros[..data.payload.len()], ..data.clone() };
            sink(&Event { kind: Kind::Data(data), ..event.clone() })
        })
    }
}
