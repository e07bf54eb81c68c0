//! The time of a packet, as the versions of tshark write it.

use super::fields::{Field, Fields};
use crate::event::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// When a packet was captured; absent where no field tells it for certain.
pub fn of(fields: &Fields<'_>) -> Option<Timestamp> {
    let get = |field| fields.get(field);
    get(Field::TimeEpoch)
        .and_then(|text| seconds(text).or_else(|| iso_8601(text)))
        .or_else(|| get(Field::Time).and_then(|text| iso_8601(text).or_else(|| words(text))))
        .or_else(|| get(Field::Timestamp).and_then(milliseconds))
}

/// `1362692526.869344000`.
fn seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse::<u64>().ok()?;
    let whole = seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?;
    Some(Timestamp(whole.checked_add(nanoseconds)?))
}

/// `1362692526869`, the time of `-T ek`.
fn milliseconds(text: &str) -> Option<Timestamp> {
    Some(Timestamp(text.parse::<u64>().ok()?.checked_mul(1_000_000)?))
}

/// `2013-03-07T21:42:06.869344000Z`, or with the distance from UTC.
fn iso_8601(text: &str) -> Option<Timestamp> {
    nanoseconds(text.parse::<jiff::Timestamp>().ok()?)
}

/// `Mar  7, 2013 21:42:06.869344000 UTC`. The name of a zone is no distance from UTC, unless it is the one in
/// which this machine tells the time, or UTC.
fn words(text: &str) -> Option<Timestamp> {
    let mut word = text.split_ascii_whitespace();
    let mut next = || word.next();
    let (month, day, year, time) = (next()?, next()?, next()?, next()?);
    let zone = word.collect::<Vec<_>>().join(" ");
    let civil = format!("{month} {day} {year} {time}");
    let civil = DateTime::strptime("%b %d, %Y %H:%M:%S%.f", civil).ok()?;
    let zoned = if ["UTC", "GMT", "Coordinated Universal Time"].contains(&zone.as_str()) {
        civil.to_zoned(TimeZone::UTC).ok()?
    } else {
        let here = civil.to_zoned(TimeZone::system()).ok()?;
        let is_ours = here.strftime("%Z").to_string() == zone;
        Some(here).filter(|_| is_ours)?
    };
    nanoseconds(zoned.timestamp())
}

fn nanoseconds(time: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<u64>) {
        let (_, fields) = Fields::read(json.as_bytes()).unwrap();
        assert_eq!(of(&fields).map(|time| time.0), expected, "{json}");
    }

    /// `date -u -d '2013-03-07 21:42:06' +%s` says 1362692526.
    #[test]
    fn every_spelling_of_a_time_is_read() {
        let exact = Some(1_362_692_526_869_344_001);
        for time in [
            r#""frame.time_epoch":["1362692526.869344001"]"#,
            r#""frame.time_epoch":"2013-03-07T21:42:06.869344001Z""#,
            r#""frame":{"frame.time_epoch":"1362692526.869344001"}"#,
            r#""frame":{"frame.time":"Mar  7, 2013 21:42:06.869344001 UTC"}"#,
            r#""frame":{"frame.time":"Mar  7, 2013 21:42:06.869344001 Coordinated Universal Time"}"#,
            r#""frame":{"frame_frame_time":"2013-03-07T21:42:06.869344001Z"}"#,
            r#""frame_time":["2013-03-07T22:42:06.869344001+0100"]"#,
        ] {
            check(&format!(r#"{{"layers":{{{time}}}}}"#), exact);
        }
        let whole = Some(1_362_692_526_000_000_000);
        check(r#"{"layers":{"frame.time_epoch":"1362692526"}}"#, whole);
        check(r#"{"timestamp":"1362692526869","layers":{}}"#, Some(1_362_692_526_869_000_000));
    }

    #[test]
    fn a_time_that_is_none_or_in_an_unknown_zone_is_absent() {
        for time in [
            "",
            "x",
            "1.1.1",
            "99999999999999999999",
            "1.1234567890",
            "Mar  7, 2013",
            "Feb 30, 2013 1:1:1 UTC",
        ] {
            check(&format!(r#"{{"layers":{{"frame.time_epoch":"{time}","frame.time":"{time}"}}}}"#), None);
        }
        check(r#"{"layers":{"frame.time":"Mar  7, 2013 21:42:06.869344000 Nowhere Time"}}"#, None);
    }
}
