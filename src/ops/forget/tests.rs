//! Policies over made-up snapshots, on a calendar without zones; and the log entries that come of them.

use super::*;
use crate::format::node::MapRoot;
use crate::format::snapshot::{Counts, Snapshot};
use crate::ops::testing::{Shelf, noise};
use crate::ops::{snapshots, tag};

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;
/// 2024-01-01 00:00, a Monday, is day 0 of these tests.
const EPOCH_NS: i64 = 1_704_067_200_000_000_000;

/// Every month has 30 days, every year 360, every week 7 from day 0 on.
struct Plain;

impl Calendar for Plain {
    fn civil(&self, time_ns: i64) -> Civil {
        let (day, hour) = ((time_ns - EPOCH_NS).div_euclid(DAY_NS), (time_ns - EPOCH_NS).rem_euclid(DAY_NS) / HOUR_NS);
        let (week, year) = (day.div_euclid(7), day.div_euclid(360));
        Civil {
            year: 2024 + year as i32,
            month: (day.rem_euclid(360) / 30) as u8 + 1,
            day: (day.rem_euclid(30)) as u8 + 1,
            hour: hour as u8,
            iso_year: 2024 + week.div_euclid(52) as i32,
            iso_week: week.rem_euclid(52) as u8 + 1,
        }
    }

    fn before(&self, time_ns: i64, span: &Span) -> i64 {
        let days = i64::from(span.years) * 360 + i64::from(span.months) * 30 + i64::from(span.days);
        time_ns - days * DAY_NS - i64::from(span.hours) * HOUR_NS
    }
}

fn snapshot(hours: i64) -> SnapshotInfo {
    let snapshot = Snapshot {
        time_ns: EPOCH_NS + hours * HOUR_NS,
        host: "h".into(),
        user: "u".into(),
        roots: vec![b"/a".to_vec()],
        filters: vec![],
        program: "p".into(),
        parent: None,
        name: None,
        tags: vec![],
        tree: MapRoot::Inline(vec![]),
        witness: None,
        counts: Counts::default(),
        complete: true,
    };
    let id = Snapshot::id_of(&snapshot.encode());
    SnapshotInfo { id, number: hours.unsigned_abs(), snapshot, pinned: false, forgotten: None }
}

/// Hours of the snapshots that stay, oldest first.
fn kept(list: Vec<SnapshotInfo>, policy: &Policy) -> Vec<i64> {
    let now = EPOCH_NS + 10_000 * DAY_NS;
    let plan = by_policy(list, &Filter::default(), GroupBy::default(), policy, &Plain, now).unwrap();
    let hours = |s: &SnapshotInfo| (s.snapshot.time_ns - EPOCH_NS) / HOUR_NS;
    let mut out: Vec<i64> = plan.groups.iter().flat_map(|g| g.keep.iter().map(|(s, _)| hours(s))).collect();
    out.sort_unstable();
    out
}

/// One snapshot every six hours, at 0, 6, 12 and 18 o'clock, over these days.
fn every_six_hours(days: i64) -> Vec<SnapshotInfo> {
    (0..days * 4).map(|i| snapshot(i * 6)).collect()
}

#[test]
fn the_last_ones_stay() {
    assert_eq!(kept(every_six_hours(3), &Policy { last: Keep::Last(2), ..Default::default() }), [60, 66]);
    assert_eq!(kept(every_six_hours(3), &Policy { last: Keep::All, ..Default::default() }).len(), 12);
}

#[test]
fn of_a_day_the_newest_stays_and_days_without_one_do_not_count() {
    let mut list = every_six_hours(3);
    list.extend([snapshot(10 * 24 + 1), snapshot(10 * 24 + 2)]);
    let policy = Policy { daily: Keep::Last(3), ..Default::default() };
    assert_eq!(kept(list, &policy), [42, 66, 242]);
}

#[test]
fn the_oldest_stays_while_a_rule_has_counts_left() {
    let policy = Policy { daily: Keep::Last(9), ..Default::default() };
    assert_eq!(kept(every_six_hours(3), &policy), [0, 18, 42, 66]);
    let policy = Policy { daily: Keep::Last(3), ..Default::default() };
    assert_eq!(kept(every_six_hours(3), &policy), [18, 42, 66]);
}

#[test]
fn weeks_months_and_years_are_those_of_the_calendar() {
    let daily: Vec<_> = (0..800).map(|d| snapshot(d * 24)).collect();
    let days = |policy: Policy| kept(daily.clone(), &policy).into_iter().map(|h| h / 24).collect::<Vec<_>>();
    assert_eq!(days(Policy { weekly: Keep::Last(3), ..Default::default() }), [790, 797, 799]);
    assert_eq!(days(Policy { monthly: Keep::Last(2), ..Default::default() }), [779, 799]);
    assert_eq!(days(Policy { yearly: Keep::Last(5), ..Default::default() }), [0, 359, 719, 799]);
}

#[test]
fn rules_add_up() {
    let policy = Policy { last: Keep::Last(1), daily: Keep::Last(2), hourly: Keep::Last(2), ..Default::default() };
    assert_eq!(kept(every_six_hours(3), &policy), [42, 60, 66]);
}

#[test]
fn within_counts_back_from_the_newest_and_not_from_the_future() {
    let span = Span { days: 1, ..Default::default() };
    let policy = Policy { within: span, ..Default::default() };
    assert_eq!(kept(every_six_hours(3), &policy), [48, 54, 60, 66]);
    let policy = Policy { within_daily: Span { days: 2, ..Default::default() }, ..Default::default() };
    assert_eq!(kept(every_six_hours(4), &policy), [66, 90]);
    let mut list = every_six_hours(1);
    list.push(snapshot(20_000 * 24));
    let policy = Policy { within: Span { hours: 7, ..Default::default() }, ..Default::default() };
    assert_eq!(kept(list, &policy), [12, 18, 20_000 * 24]);
}

#[test]
fn tags_keep_and_do_not_count() {
    let mut list = every_six_hours(3);
    list[0].snapshot.tags = vec!["gold".into(), "x".into()];
    let policy = Policy { last: Keep::Last(1), tags: vec![vec!["x".into(), "gold".into()]], ..Default::default() };
    assert_eq!(kept(list.clone(), &policy), [0, 66]);
    let policy = Policy { last: Keep::Last(1), tags: vec![vec!["x".into(), "y".into()]], ..Default::default() };
    assert_eq!(kept(list, &policy), [66]);
}

#[test]
fn an_incomplete_snapshot_takes_no_place_of_a_complete_one() {
    let mut list = every_six_hours(3);
    list[5..12].iter_mut().for_each(|s| s.snapshot.complete = false);
    // the newest seven are incomplete: those that are kept without them stay
    assert_eq!(kept(list.clone(), &Policy { last: Keep::Last(1), ..Default::default() }), [24, 66]);
    assert_eq!(kept(list, &Policy { daily: Keep::Last(1), ..Default::default() }), [24, 66]);
}

#[test]
fn pinned_ones_stay_and_are_refused_by_name() {
    let mut list = every_six_hours(2);
    list[1].pinned = true;
    assert_eq!(kept(list.clone(), &Policy { last: Keep::Last(1), ..Default::default() }), [6, 42]);
    assert!(by_name(vec![list[0].clone()]).is_ok());
    assert!(by_name(list).is_err());
}

#[test]
fn groups_are_by_what_was_asked_and_filters_leave_the_others_alone() {
    let mut list = every_six_hours(1);
    list[0].snapshot.host = "other".into();
    list[1].snapshot.tags = vec!["t".into()];
    list[2].snapshot.roots = vec![b"/b".to_vec(), b"/a".to_vec()];
    let policy = Policy { last: Keep::Last(1), ..Default::default() };
    let plan = |by, filter: &Filter| by_policy(list.clone(), filter, by, &policy, &Plain, i64::MAX).unwrap();
    let all = Filter::default();
    assert_eq!(plan(GroupBy::default(), &all).groups.len(), 3);
    assert_eq!(plan(GroupBy { tags: true, ..Default::default() }, &all).groups.len(), 4);
    let none = GroupBy { host: false, paths: false, tags: false };
    assert_eq!(plan(none, &all).removed().len(), 3);
    let filter = Filter { hosts: vec!["h".into()], tags: vec![vec!["t".into()], vec![String::new()]], ..all };
    assert_eq!(plan(none, &filter).removed().len(), 2);
    let filter = Filter { paths: vec![b"/b".to_vec()], ..Filter::default() };
    assert_eq!(plan(none, &filter).groups[0].keep.len(), 1);
}

#[test]
fn a_policy_that_says_nothing_or_keeps_nothing_is_refused() {
    let plan = |policy| by_policy(every_six_hours(1), &Filter::default(), GroupBy::default(), &policy, &Plain, 0);
    assert!(plan(Policy::default()).is_err());
    assert!(plan(Policy { tags: vec![vec!["no".into()]], ..Default::default() }).is_err());
}

#[test]
fn what_was_forgotten_is_listed_apart_and_comes_back() {
    let shelf = Shelf::new(1);
    shelf.stream("a", &noise(1, 100_000));
    shelf.stream("a", &noise(2, 100_000));
    let store = shelf.write();
    let (control, list) = (Control::default(), snapshots::list(&store, &[]));
    let plan = by_name(vec![list[0].clone()]).unwrap();
    assert_eq!(run(&store, &plan, "me", "why", &control).unwrap(), 1);
    assert!(run(&store, &plan, "me", "why", &control).is_err(), "it is forgotten already");
    let forgotten = snapshots::forgotten(&store);
    assert_eq!((forgotten.len(), snapshots::list(&store, &[]).len()), (1, 1));
    assert_eq!(forgotten[0].forgotten.as_ref().map(|f| f.why.as_str()), Some("why"));
    drop(store);
    let store = shelf.write(); // as the log says it
    assert!(tag::undelete(&store, &list[1].id.to_string(), "me", &control).is_err(), "it is not forgotten");
    let back = tag::undelete(&store, &list[0].id.to_string()[..12], "me", &control).unwrap();
    assert_eq!(back.id, list[0].id);
    assert_eq!(snapshots::list(&store, &[]), list);
    tag::pin(&store, &list[..1], true, &control).unwrap();
    assert!(run(&store, &plan, "me", "why", &control).is_err(), "it was pinned after the plan");
    tag::rename(&store, &list[0], Some("x".into()), &control).unwrap();
    assert!(tag::rename(&store, &list[1], Some("x".into()), &control).is_err(), "taken");
    assert_eq!(snapshots::resolve(&store, "x").unwrap().id, list[0].id);
}
