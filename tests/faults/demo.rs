//! The recording and the capture that `sockdbg demo` keeps: real traffic, seen by the real sources.

use super::link::Link;
use sockdbg::compare::Coverage;
use sockdbg::event::{Address, Call, Cause, Direction, Event, Kind, Range, Vantage};
use sockdbg::source::{self, Source};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// The events of each connection by the client's address.
type Lists = BTreeMap<Option<Address>, Vec<Event<'static>>>;

/// Both files, read once.
pub struct Demo {
    lists: [Lists; 2],
    coverage: [Coverage; 2],
}

impl Demo {
    pub fn read() -> Demo {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/demo"));
        let mut recording = source::open(&folder.join("recording.pcapng")).expect("a recording");
        let mut capture = source::open(&folder.join("capture.pcap")).expect("a capture");
        let (process, traced) = read(&mut *recording);
        let (wire, captured) = read(&mut *capture);
        Demo { lists: [process, wire], coverage: [traced, captured] }
    }

    /// Its connections. `pairs` are the exchanges of each flow, in the client's terms.
    pub fn links(&self, pairs: &BTreeMap<u64, Vec<[Range; 2]>>) -> (Vec<Link<'static>>, [Coverage; 2]) {
        let link = |(client, process): (&Option<Address>, &Vec<Event<'static>>)| {
            let wire = self.lists[1][client].clone();
            let pairs = pairs.get(&wire[0].conn.socket).cloned().unwrap_or_default();
            let picture = transferred(process);
            Link::of([process.clone(), wire], pairs, picture)
        };
        (self.lists[0].iter().map(link).collect(), self.coverage)
    }
}

/// What the demo provokes on purpose: one answer goes through sendfile.
fn transferred(process: &[Event<'_>]) -> Vec<(Direction, Cause, Range)> {
    let data = process.iter().filter_map(|event| match &event.kind {
        Kind::Data(data) if data.call == Call::Sendfile => Some(data),
        _ => None,
    });
    data.map(|data| (data.direction, Cause::InKernelTransfer, data.range())).collect()
}

fn read(source: &mut dyn Source) -> (Lists, Coverage) {
    let (mut lists, mut clients) = (Lists::new(), BTreeMap::new());
    let vantage = source.vantage();
    let mut take = |event: &Event<'_>| {
        if let Kind::Open(open) = &event.kind {
            let client = if vantage == Vantage::Wire { open.local } else { open.remote };
            clients.insert(event.conn, client);
        }
        let client = clients.get(&event.conn).copied().flatten();
        lists.entry(client).or_default().push(kept(event));
        ControlFlow::Continue(())
    };
    let summary = source.run(&mut take).expect("the file can be read");
    (lists, Coverage { first: summary.first, last: summary.last, cut: summary.cut.is_some() })
}

/// The event with a payload that stays: the files are small and read once.
fn kept(event: &Event<'_>) -> Event<'static> {
    let kind = match &event.kind {
        Kind::Open(open) => Kind::Open(open.clone()),
        Kind::Close(close) => Kind::Close(*close),
        Kind::Loss(loss) => Kind::Loss(loss.clone()),
        Kind::Data(data) => {
            let payload: &'static [u8] = Box::leak(data.payload.to_vec().into_boxed_slice());
            Kind::Data(sockdbg::event::Data { payload, ..data.clone() })
        }
    };
    Event { time: event.time, conn: event.conn, task: event.task, fd: event.fd, kind }
}
