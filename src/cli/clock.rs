//! The wall clock of this machine's zone, for policies; spans of time as they are typed.

use crate::ops::forget::{Calendar, Civil, Span};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The wall clock in a zone.
pub(super) struct WallClock {
    zone: TimeZone,
}

impl WallClock {
    /// In this machine's zone (`TZ`).
    pub fn local() -> WallClock {
        WallClock { zone: TimeZone::system() }
    }

    fn at(&self, time_ns: i64) -> Zoned {
        // nanoseconds in an i64 lie between the years 1677 and 2262
        let moment = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
        moment.to_zoned(self.zone.clone())
    }
}

impl Calendar for WallClock {
    fn civil(&self, time_ns: i64) -> Civil {
        let z = self.at(time_ns);
        let week = z.date().iso_week_date();
        let small = |n: i8| u8::try_from(n).unwrap_or_default(); // months, days, hours and weeks are not negative
        Civil {
            year: i32::from(z.year()),
            month: small(z.month()),
            day: small(z.day()),
            hour: small(z.hour()),
            iso_year: i32::from(week.year()),
            iso_week: small(week.week()),
        }
    }

    fn before(&self, time_ns: i64, span: &Span) -> i64 {
        let whole = |n: u32| i64::from(n);
        let of = || {
            let dates = jiff::Span::new().try_years(whole(span.years)).ok()?;
            let dates = dates.try_months(whole(span.months)).ok()?.try_days(whole(span.days)).ok()?;
            let hours = jiff::Span::new().try_hours(whole(span.hours)).ok()?;
            let moment = self.at(time_ns).checked_sub(dates).ok()?.checked_sub(hours).ok()?;
            i64::try_from(moment.timestamp().as_nanosecond()).ok()
        };
        of().unwrap_or(i64::MIN) // before the calendar begins: everything is later
    }
}

/// Parses a span of the calendar: `1y5m7d2h`, each unit at most once, in this order or another.
///
/// # Errors
/// A sentence for clap to print.
pub fn span(text: &str) -> Result<Span, String> {
    let bad = || "a span is numbers with y, m, d and h behind them, as in 1y6m, 30d or 12h, each once".to_owned();
    let mut span = Span::default();
    let mut seen = Vec::new();
    for (number, unit) in parts(text).ok_or_else(bad)? {
        let number = u32::try_from(number).ok().filter(|n| *n <= 10_000_000);
        let number = number.ok_or_else(|| "that is longer than the calendar".to_owned())?;
        let field = match unit {
            'y' => &mut span.years,
            'm' => &mut span.months,
            'd' => &mut span.days,
            'h' => &mut span.hours,
            _ => return Err(bad()),
        };
        if seen.contains(&unit) {
            return Err(bad());
        }
        seen.push(unit);
        *field = number;
    }
    Ok(span)
}

/// Numbers, and the letter behind each; `None` for anything else, and for nothing.
fn parts(text: &str) -> Option<Vec<(u64, char)>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let mut letters = behind.chars();
        parts.push((number.parse().ok()?, letters.next()?));
        rest = letters.as_str();
    }
    (!parts.is_empty()).then_some(parts)
}

/// Parses a duration in nanoseconds: `7d`, `36h`, `90m`, `30s`, `0s`, or several of them.
///
/// # Errors
/// A sentence for clap to print.
pub fn duration_ns(text: &str) -> Result<i64, String> {
    let bad = || "a duration is numbers with w, d, h, m and s behind them, as in 7d, 36h or 0s".to_owned();
    let mut total = 0i64;
    for (number, unit) in parts(text).ok_or_else(bad)? {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(bad()),
        };
        let ns =
            i64::try_from(number).ok().and_then(|n| n.checked_mul(seconds)).and_then(|n| n.checked_mul(1_000_000_000));
        total = ns.and_then(|n| n.checked_add(total)).ok_or_else(|| "that is longer than there is time".to_owned())?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_durations_are_read() {
        assert_eq!(span("1y5m7d2h"), Ok(Span { years: 1, months: 5, days: 7, hours: 2 }));
        assert_eq!(span("30d"), Ok(Span { days: 30, ..Span::default() }));
        assert_eq!(duration_ns("0s"), Ok(0));
        assert_eq!(duration_ns("1w1d2h3m4s"), Ok((8 * 86_400 + 2 * 3600 + 3 * 60 + 4) * 1_000_000_000));
        for text in ["", "7", "d", "7x", "-1d", "1.5d", "7d x", "99999999999999999999d", "7ü"] {
            assert!(span(text).is_err() && duration_ns(text).is_err(), "{text:?}");
        }
        assert!(duration_ns("999999999999w").is_err());
        assert!(span("1d2d").is_err() && span("99999999y").is_err(), "a unit stands once");
    }

    #[test]
    fn the_calendar_is_that_of_the_zone() {
        let clock = WallClock { zone: TimeZone::get("America/New_York").unwrap_or(TimeZone::UTC) };
        if clock.zone == TimeZone::UTC {
            return; // a machine without a zone database
        }
        // 2024-12-30 03:30 UTC is the evening before in New York; the 29th is a Sunday of ISO week 52.
        let ns = 1_735_529_400_000_000_000;
        let want = Civil { year: 2024, month: 12, day: 29, hour: 22, iso_year: 2024, iso_week: 52 };
        assert_eq!(clock.civil(ns), want);
        let utc = WallClock { zone: TimeZone::UTC };
        assert_eq!((utc.civil(ns).iso_year, utc.civil(ns).iso_week, utc.civil(ns).year), (2025, 1, 2024));
        // A day is the wall clock's: over the change to summer time it has 23 hours.
        let noon = 1_710_086_400_000_000_000; // 2024-03-10 12:00 in New York
        let day = noon - clock.before(noon, &Span { days: 1, ..Span::default() });
        assert_eq!(day, 23 * 3_600_000_000_000);
        assert_eq!(clock.before(noon, &Span { years: 9_000_000, ..Span::default() }), i64::MIN);
    }
}
