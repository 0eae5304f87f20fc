//! Which snapshots of one group a policy keeps, and why.
//!
//! The rules are restic's (its manual, "Removing snapshots according to a policy"), for complete snapshots to the letter:
//! snapshots are gone through from the newest on; `--keep-daily n` keeps the newest snapshot of each of the last n days
//! that have one, and so on for hours, ISO weeks, months and years; the oldest snapshot of all also stays while a
//! rule has counts left; `within` is counted back from the newest snapshot that does not lie in the future. Rules
//! add up: what one keeps stays.

use crate::ops::forget::has_all;
use crate::ops::snapshots::SnapshotInfo;

/// How many of a kind are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    #[default]
    None,
    Last(u32),
    All,
}

/// A span of the calendar, as in `1y5m7d2h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub years: u32,
    pub months: u32,
    pub days: u32,
    pub hours: u32,
}

impl Span {
    fn is_empty(&self) -> bool {
        *self == Span::default()
    }
}

/// A moment on a wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i32,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    /// The ISO 8601 week and the year it belongs to.
    pub iso_year: i32,
    pub iso_week: u8,
}

/// The wall clock: which one is the caller's affair.
pub trait Calendar {
    /// What the wall clock shows at this moment, in ns since 1970.
    fn civil(&self, time_ns: i64) -> Civil;
    /// The moment that lies this span before another; months and days are those of the wall clock.
    fn before(&self, time_ns: i64, span: &Span) -> i64;
}

/// What to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub last: Keep,
    pub hourly: Keep,
    pub daily: Keep,
    pub weekly: Keep,
    pub monthly: Keep,
    pub yearly: Keep,
    pub within: Span,
    pub within_hourly: Span,
    pub within_daily: Span,
    pub within_weekly: Span,
    pub within_monthly: Span,
    pub within_yearly: Span,
    /// Those with all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }
}

/// Why a snapshot stays, as restic words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

type Bucket = fn(&Civil) -> i64;

fn hours(c: &Civil) -> i64 {
    days(c) * 24 + i64::from(c.hour)
}

/// No day count: any number that is another one on another day.
fn days(c: &Civil) -> i64 {
    months(c) * 31 + i64::from(c.day)
}

fn weeks(c: &Civil) -> i64 {
    i64::from(c.iso_year) * 54 + i64::from(c.iso_week)
}

fn months(c: &Civil) -> i64 {
    years(c) * 12 + i64::from(c.month)
}

fn years(c: &Civil) -> i64 {
    i64::from(c.year)
}

struct Counted {
    left: Keep,
    /// `None`: each snapshot by itself.
    bucket: Option<Bucket>,
    last: Option<i64>,
    word: &'static str,
}

struct Within {
    /// Nothing from before this moment.
    from_ns: i64,
    bucket: Bucket,
    last: Option<i64>,
    word: &'static str,
}

/// For each snapshot, newest first, the reasons why it stays; none where it goes.
pub fn reasons(list: &[SnapshotInfo], policy: &Policy, calendar: &dyn Calendar, now_ns: i64) -> Vec<Vec<Reason>> {
    let mut out = apply(&list.iter().collect::<Vec<_>>(), policy, calendar, now_ns);
    for (info, reasons) in list.iter().zip(&mut out) {
        if info.pinned {
            reasons.push(Reason("pinned".into()));
        }
    }
    if list.iter().any(|s| !s.snapshot.complete) {
        let complete: Vec<usize> = (0..list.len()).filter(|&i| list[i].snapshot.complete).collect(); // i < len
        let without: Vec<&SnapshotInfo> = complete.iter().map(|&i| &list[i]).collect(); // of the same range
        let kept = apply(&without, policy, calendar, now_ns);
        for (i, reasons) in complete.into_iter().zip(kept) {
            // one list of reasons a snapshot, as many as there are snapshots
            if out[i].is_empty() {
                out[i] = reasons.into_iter().map(|r| Reason(format!("{} among the complete ones", r.0))).collect();
            }
        }
    }
    out
}

fn apply(list: &[&SnapshotInfo], policy: &Policy, calendar: &dyn Calendar, now_ns: i64) -> Vec<Vec<Reason>> {
    let counted = |left, bucket, word| Counted { left, bucket, last: None, word };
    let mut counted = [
        counted(policy.last, None, "last snapshot"),
        counted(policy.hourly, Some(hours as Bucket), "hourly snapshot"),
        counted(policy.daily, Some(days), "daily snapshot"),
        counted(policy.weekly, Some(weeks), "weekly snapshot"),
        counted(policy.monthly, Some(months), "monthly snapshot"),
        counted(policy.yearly, Some(years), "yearly snapshot"),
    ];
    // Of snapshots from the future none is the newest: they would end every `within` at once.
    let newest = list.iter().map(|s| s.snapshot.time_ns).filter(|t| *t <= now_ns).max();
    let newest = newest.or_else(|| list.iter().map(|s| s.snapshot.time_ns).max()).unwrap_or(now_ns);
    let from = |span: &Span| (!span.is_empty()).then(|| calendar.before(newest, span));
    let mut within: Vec<Within> = [
        (&policy.within_hourly, hours as Bucket, "hourly within"),
        (&policy.within_daily, days, "daily within"),
        (&policy.within_weekly, weeks, "weekly within"),
        (&policy.within_monthly, months, "monthly within"),
        (&policy.within_yearly, years, "yearly within"),
    ]
    .into_iter()
    .filter_map(|(span, bucket, word)| Some(Within { from_ns: from(span)?, bucket, last: None, word }))
    .collect();
    let within_all = from(&policy.within);
    let mut out = Vec::with_capacity(list.len());
    for (i, info) in list.iter().enumerate() {
        let (s, oldest) = (&info.snapshot, i + 1 == list.len());
        let civil = calendar.civil(s.time_ns);
        let mut reasons = Vec::new();
        for tags in policy.tags.iter().filter(|tags| has_all(&s.tags, tags)) {
            reasons.push(Reason(format!("has tags [{}]", tags.join(", "))));
        }
        if within_all.is_some_and(|from| s.time_ns > from) {
            reasons.push(Reason("within".into()));
        }
        for rule in &mut counted {
            if matches!(rule.left, Keep::None | Keep::Last(0)) {
                continue;
            }
            let value = rule.bucket.map_or(i as i64, |bucket| bucket(&civil)); // a list in memory is no longer
            let another = rule.last != Some(value);
            if another || oldest {
                rule.last = Some(value);
                if let Keep::Last(n) = &mut rule.left {
                    *n -= 1; // it was not 0
                }
                let word = rule.word;
                reasons.push(Reason(if another { word.into() } else { format!("oldest {word}") }));
            }
        }
        for rule in within.iter_mut().filter(|r| s.time_ns > r.from_ns) {
            let value = (rule.bucket)(&civil);
            if rule.last != Some(value) || oldest {
                rule.last = Some(value);
                reasons.push(Reason(rule.word.into()));
            }
        }
        out.push(reasons);
    }
    out
}
