//! Times and durations as people and programs read them.

use crate::event::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;

const SECOND: u64 = 1_000_000_000;

/// Shows the time of day in one time zone, to the microsecond, like tcpdump.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
}

impl Clock {
    /// In the user's time zone.
    pub fn local() -> Clock {
        Clock { zone: TimeZone::system() }
    }

    /// In UTC.
    pub fn utc() -> Clock {
        Clock { zone: TimeZone::UTC }
    }

    /// `21:20:01.123456`.
    pub fn time_of_day(&self, time: Timestamp) -> TimeOfDay {
        let offset = self.zone.to_offset(moment(time)).seconds();
        // A u64 of nanoseconds is below 2^35 seconds.
        let seconds = ((time.0 / SECOND) as i64 + i64::from(offset)).rem_euclid(86400) as u32;
        TimeOfDay { seconds, micros: (time.0 % SECOND / 1000) as u32 }
    }
}

/// What [`Clock::time_of_day`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    seconds: u32,
    micros: u32,
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes) = (self.seconds / 3600, self.seconds / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02}.{:06}", self.seconds % 60, self.micros)
    }
}

/// RFC 3339 in UTC with nanoseconds: `2026-11-22T21:20:01.123456789Z`.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{:.9}", moment(time))
}

/// Every u64 of nanoseconds since 1970 (up to the year 2554) is a time that jiff knows.
fn moment(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or(jiff::Timestamp::MAX)
}

/// Nanoseconds with a fitting unit and three decimals: `1.234ms`.
pub fn duration(nanoseconds: u64) -> String {
    let (unit, scale) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds}ns"),
        1_000..1_000_000 => ("us", 1_000),
        1_000_000..SECOND => ("ms", 1_000_000),
        _ => ("s", SECOND),
    };
    let (whole, part) = (nanoseconds / scale, nanoseconds % scale / (scale / 1000));
    format!("{whole}.{part:03}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `date -u -d @1795382401 +%FT%TZ` says 2026-11-22T21:20:01Z.
    const TIME: Timestamp = Timestamp(1_795_382_401_123_456_789);

    #[test]
    fn json_time_is_rfc_3339_with_nine_decimals() {
        assert_eq!(rfc3339(TIME), "2026-11-22T21:20:01.123456789Z");
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn text_time_follows_the_zone() {
        assert_eq!(Clock::utc().time_of_day(TIME).to_string(), "21:20:01.123456");
        let india = Clock { zone: TimeZone::fixed(jiff::tz::offset(5)) };
        assert_eq!(india.time_of_day(TIME).to_string(), "02:20:01.123456");
    }

    #[test]
    fn durations_take_the_unit_that_fits() {
        assert_eq!(duration(999), "999ns");
        assert_eq!(duration(1_000), "1.000us");
        assert_eq!(duration(12_345_678), "12.345ms");
        assert_eq!(duration(61 * SECOND), "61.000s");
    }
}
