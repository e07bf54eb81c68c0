//! Runs a source until it ends or a limit of the user's is reached: what `events` and `conn-trace` share.

use super::filter::Filter;
use super::options::{Limits, Targets};
use crate::event::{Cause, Data, Event, Kind, Timestamp};
use crate::source::{self, Source};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the source ended, and what stopped it if that was an error of ours.
pub struct Ended {
    /// What the source says.
    pub source: Result<source::Summary, source::Error>,
    /// The first error of `show`.
    pub output: Option<anyhow::Error>,
}

/// Pushes the wanted events into `show` until there are no more, a limit is reached, or it fails.
pub fn drive(
    source: &mut dyn Source,
    limiter: &mut Limiter,
    mut show: impl FnMut(&Event<'_>) -> anyhow::Result<()>,
) -> Ended {
    let mut output = None;
    let source = source.run(&mut |event| match limiter.judge(event) {
        Verdict::Show { last } => match show(limiter.reduce(event).as_ref().unwrap_or(event)) {
            Ok(()) if last => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                output = Some(error);
                ControlFlow::Break(())
            }
        },
        Verdict::PassOver => ControlFlow::Continue(()),
        Verdict::Stop => ControlFlow::Break(()),
    });
    Ended { source, output }
}

/// Decides of each event whether it is wanted, and whether it is the last.
pub struct Limiter {
    filter: Option<Filter>,
    count: Option<u64>,
    /// Bytes of payload to keep of each event of a file; for a live source the kernel cuts.
    snaplen: Option<usize>,
    /// End of `--duration` in the time of a file; a live source looks at the clock itself.
    until: Until,
    /// A live source looks at the flag itself, and then still has to say where each connection stands.
    stop: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy)]
enum Until {
    Never,
    After(u64),
    Time(Timestamp),
}

enum Verdict {
    Show { last: bool },
    PassOver,
    Stop,
}

impl Limiter {
    /// What the options ask for. A live source does most of it itself: what is left is counting.
    pub fn new(targets: &Targets, limits: &Limits, live: bool, stop: Arc<AtomicBool>) -> Limiter {
        let until = match limits.duration {
            Some(duration) if !live => Until::After(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
            _ => Until::Never,
        };
        let filter = (!live).then(|| Filter::new(targets));
        let snaplen =
            limits.snaplen.filter(|_| !live).map(|snaplen| usize::try_from(snaplen).unwrap_or(usize::MAX));
        Limiter { filter, count: limits.count, snaplen, until, stop: (!live).then_some(stop) }
    }

    fn judge(&mut self, event: &Event<'_>) -> Verdict {
        if self.stopped() || self.is_over(event.time) {
            return Verdict::Stop;
        }
        if self.filter.as_mut().is_some_and(|filter| !filter.keeps(event)) {
            return Verdict::PassOver;
        }
        self.count = self.count.map(|left| left.saturating_sub(1));
        Verdict::Show { last: self.count == Some(0) }
    }

    /// The event with less payload, where it has more than `--snaplen` allows, or without its bytes, where a filter
    /// leaves them out.
    fn reduce<'a>(&self, event: &Event<'a>) -> Option<Event<'a>> {
        if let Some(loss) = self.filter.as_ref().and_then(|filter| filter.account(event)) {
            return Some(loss);
        }
        let Kind::Data(data) = &event.kind else { return None };
        let payload = data.payload.get(..self.snaplen?).filter(|kept| kept.len() < data.payload.len())?;
        let data = Data { payload, cause: Some(Cause::Snaplen), ..data.clone() };
        Some(Event { kind: Kind::Data(data), ..event.clone() })
    }

    fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn is_over(&mut self, now: Timestamp) -> bool {
        if let Until::After(duration) = self.until {
            self.until = Until::Time(Timestamp(now.0.saturating_add(duration)));
        }
        matches!(self.until, Until::Time(end) if now > end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::HooksAt;
    use super::*;
    use crate::event::{Call, ConnId, Direction, Vantage};

    /// Events of five bytes each, one a second, until the sink breaks.
    struct Seconds {
        left: u64,
    }

    impl Source for Seconds {
        fn vantage(&self) -> Vantage {
            Vantage::Syscall
        }

        fn run(&mut self, sink: &mut source::Sink<'_>) -> Result<source::Summary, source::Error> {
            for second in 0..self.left {
                if sink(&event(second)).is_break() {
                    break;
                }
            }
            Ok(source::Summary::default())
        }
    }

    fn event(second: u64) -> Event<'static> {
        let data = Data {
            direction: Direction::Send,
            offset: second * 5,
            length: 5,
            payload: b"hello",
            tcp_seq: None,
            peer: None,
            call: Call::Write,
            cause: None,
            peek: false,
            past_tcp: false,
            acked: None,
            error: None,
        };
        let time = Timestamp(1_000_000_000 * (100 + second));
        Event { time, conn: ConnId::default(), task: None, fd: Some(3), kind: Kind::Data(data) }
    }

    fn limits(count: Option<u64>, seconds: Option<u64>, snaplen: Option<u64>) -> Limits {
        let duration = seconds.map(std::time::Duration::from_secs);
        Limits { snaplen, count, duration, ring_size: 4096, hooks: HooksAt::default() }
    }

    /// Runs ten events and gives the captured and missing bytes of each that was shown.
    fn check(limits: Limits, stop: bool, expected: &[(usize, Option<Cause>)]) {
        let stop = Arc::new(AtomicBool::new(stop));
        let mut limiter = Limiter::new(&Targets::default(), &limits, false, stop);
        let mut shown = Vec::new();
        let ended = drive(&mut Seconds { left: 10 }, &mut limiter, |event| {
            let Kind::Data(data) = &event.kind else { unreachable!("the source yields data only") };
            assert_eq!(data.length, 5);
            shown.push((data.payload.len(), data.cause));
            Ok(())
        });
        assert!(ended.source.is_ok() && ended.output.is_none());
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_limits_everything_is_shown() {
        check(limits(None, None, None), false, &[(5, None); 10]);
    }

    #[test]
    fn count_and_duration_and_stop_end_it() {
        check(limits(Some(3), None, None), false, &[(5, None); 3]);
        check(limits(None, Some(3), None), false, &[(5, None); 4]);
        check(limits(None, None, None), true, &[]);
    }

    #[test]
    fn snaplen_cuts_and_says_so() {
        check(limits(Some(1), None, Some(4)), false, &[(4, Some(Cause::Snaplen))]);
        check(limits(Some(1), None, Some(0)), false, &[(0, Some(Cause::Snaplen))]);
        check(limits(Some(1), None, Some(5)), false, &[(5, None)]);
        check(limits(Some(1), None, Some(6)), false, &[(5, None)]);
    }

    #[test]
    fn an_error_of_the_output_ends_it_and_is_kept() {
        let mut limiter = Limiter::new(&Targets::default(), &limits(None, None, None), false, Arc::default());
        let mut shown = 0;
        let ended = drive(&mut Seconds { left: 10 }, &mut limiter, |_| {
            shown += 1;
            anyhow::bail!("disk full")
        });
        assert_eq!((shown, ended.output.unwrap().to_string().as_str()), (1, "disk full"));
    }
}
