//! The messages of an account.

use super::*;

fn message(id: &str, campaign: Option<&str>, sent_at: Option<Timestamp>) -> Message {
    let application = Arc::from("app");
    Message {
        application,
        id: Arc::from(id),
        campaign: campaign.map(Arc::from),
        sent_at,
    }
}

/// Seconds after a time at which the clock can stand.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn now(seconds: u64) -> Now {
    let wall = at(seconds.try_into().unwrap());
    Now {
        wall,
        settled: wall,
        monotonic: Moment::from_start(Duration::from_secs(seconds)),
    }
}

fn tracker(max_messages: usize) -> Tracker {
    Tracker::new(Duration::from_secs(100), max_messages)
}

fn key(id: &str) -> MessageKey {
    (0, Arc::from(id))
}

fn name(tracker: &mut Tracker, message: Message, source: Source, seconds: u64) -> Named {
    tracker.name(0, message, source, false, now(seconds))
}

#[test]
fn one_message_under_two_names_is_one() {
    let mut tracker = tracker(9);
    assert_eq!(
        name(
            &mut tracker,
            message("123", Some("spring"), None),
            Source::Static,
            0
        ),
        Named::New
    );
    assert_eq!(
        name(
            &mut tracker,
            message("A-1", None, Some(at(5))),
            Source::Static,
            9
        ),
        Named::New
    );
    assert!(tracker.rename(&key("123"), &Arc::from("A-1"), at(9)));
    assert_eq!(tracker.len(), 1);
    let known = tracker.get(&key("A-1")).unwrap();
    assert_eq!(known.message.campaign.as_deref(), Some("spring"));
    assert_eq!(
        (known.message.sent_at, known.first_seen),
        (Some(at(5)), at(0))
    );
    assert_eq!(
        name(&mut tracker, message("123", None, None), Source::Static, 9),
        Named::Known
    );
    assert_eq!(tracker.len(), 1);
}

#[test]
fn a_known_campaign_never_changes_and_what_is_missing_is_learned() {
    let mut tracker = tracker(9);
    name(
        &mut tracker,
        message("1", Some("a"), None),
        Source::Static,
        0,
    );
    name(
        &mut tracker,
        message("1", Some("b"), Some(at(1))),
        Source::Static,
        0,
    );
    tracker.learn(&key("1"), Some(Arc::from("c")), Some(at(2)), at(3));
    let known = &tracker.get(&key("1")).unwrap().message;
    assert_eq!(
        (known.campaign.as_deref(), known.sent_at),
        (Some("a"), Some(at(1)))
    );
}

#[test]
fn a_message_that_is_scheduled_anew_is_as_old_as_the_vendor_says() {
    let mut tracker = tracker(9);
    let mut named = |sent_at, source, now| {
        name(
            &mut tracker,
            message("1", None, Some(at(sent_at))),
            source,
            now,
        );
        tracker.get(&key("1")).unwrap().message.sent_at
    };
    assert_eq!(named(50, Source::List, 0), Some(at(50)));
    assert_eq!(named(70, Source::List, 10), Some(at(70)));
    assert_eq!(named(60, Source::Static, 20), Some(at(70)));
    assert_eq!(named(90, Source::List, 80), Some(at(70)), "it was sent");
}

#[test]
fn old_messages_are_refused_and_forgotten_ones_stay_forgotten() {
    let mut tracker = tracker(9);
    assert_eq!(
        name(
            &mut tracker,
            message("1", None, Some(at(0))),
            Source::Static,
            101
        ),
        Named::TooOld
    );
    name(
        &mut tracker,
        message("2", None, Some(at(50))),
        Source::Static,
        101,
    );
    name(&mut tracker, message("3", None, None), Source::Static, 101);
    assert_eq!(tracker.forget_old(now(151)), [key("2")]);
    assert_eq!(
        name(&mut tracker, message("2", None, None), Source::Static, 151),
        Named::Forgotten
    );
    assert_eq!(tracker.forget_old(now(202)), [key("3")]);
    assert!(tracker.is_empty());
}

#[test]
fn beyond_the_limit_the_oldest_that_the_list_alone_names_give_way_and_stay_away() {
    let mut tracker = tracker(3);
    for (id, sent_at, source) in [
        ("old-registered", 10, Source::Api),
        ("old", 20, Source::List),
        ("new", 40, Source::List),
        ("newer", 50, Source::List),
    ] {
        let named = name(
            &mut tracker,
            message(id, None, Some(at(sent_at))),
            source,
            60,
        );
        assert_eq!(named, Named::New);
    }
    assert_eq!(tracker.give_up(), [key("old")]);
    assert!(tracker.is_full() && tracker.give_up().is_empty());
    for (id, sent_at, source, expected) in [
        ("old", 20, Source::List, Named::NoRoom),
        ("older", 5, Source::List, Named::NoRoom),
        ("newest", 55, Source::List, Named::New),
        ("registered", 1, Source::File, Named::New),
    ] {
        let named = name(
            &mut tracker,
            message(id, None, Some(at(sent_at))),
            source,
            60,
        );
        assert_eq!(named, expected, "{id}");
    }
    assert_eq!(tracker.give_up(), [key("new"), key("newer")]);
    // As soon as there is room, what gave way may come back.
    assert_eq!(tracker.forget_old(now(105)), [key("registered")]);
    let named = name(
        &mut tracker,
        message("new", None, Some(at(40))),
        Source::List,
        105,
    );
    assert_eq!(named, Named::New);
}

#[test]
fn nothing_that_is_remembered_of_messages_grows_for_ever() {
    let mut tracker = tracker(10);
    for number in 0..5000_u64 {
        let id = format!("m{number}");
        let sent_at = Some(at(number.try_into().unwrap()));
        name(
            &mut tracker,
            message(&id, None, sent_at),
            Source::List,
            number,
        );
        tracker.rename(&key(&format!("other-{number}")), &Arc::from(id), at(0));
        name(
            &mut tracker,
            message(&format!("old-{number}"), None, Some(at(-200))),
            Source::List,
            number,
        );
        tracker.give_up();
        tracker.forget_old(now(number));
    }
    assert_eq!(tracker.len(), 10);
    assert!(tracker.forgotten.len() <= 20, "{}", tracker.forgotten.len());
    assert!(tracker.aliases.len() <= 40, "{}", tracker.aliases.len());
}

#[test]
fn the_age_of_a_message_without_a_time_is_none_of_the_wall_clock() {
    let mut tracker = tracker(9);
    name(&mut tracker, message("1", None, None), Source::Static, 10);
    let year = SignedDuration::from_hours(365 * 24);
    tracker.shift(year);
    let mut later_now = now(60);
    for step in [year, -year, SignedDuration::ZERO] {
        later_now.wall = later(at(60), step);
        later_now.settled = later_now.wall;
        assert_eq!(
            tracker.get(&key("1")).unwrap().age(later_now),
            SignedDuration::from_secs(50)
        );
        assert!(tracker.forget_old(later_now).is_empty());
    }
}

#[test]
fn what_was_dated_while_the_clock_was_not_set_is_dated_anew() {
    let mut tracker = tracker(9);
    let boot = Now {
        wall: Timestamp::UNIX_EPOCH,
        settled: Timestamp::UNIX_EPOCH,
        monotonic: Moment::default(),
    };
    let sent = message("1", None, Some(Timestamp::UNIX_EPOCH));
    assert_eq!(tracker.name(0, sent, Source::Api, true, boot), Named::New);
    let first_seen = Timestamp::UNIX_EPOCH;
    tracker.recall(&key("1"), first_seen, Some(first_seen), None);
    tracker.shift(at(0).duration_since(Timestamp::UNIX_EPOCH));
    assert!(tracker.forget_old(now(50)).is_empty());
    assert_eq!(tracker.get(&key("1")).unwrap().since(), at(0));
}

#[test]
fn a_clock_that_was_ahead_takes_no_message_away_for_good() {
    let mut tracker = tracker(9);
    let sent = || message("1", None, Some(at(0)));
    assert_eq!(
        name(&mut tracker, sent(), Source::Static, 1_000_000),
        Named::TooOld
    );
    assert!(!tracker.reconsider(at(1_000_000)));
    assert!(tracker.reconsider(at(50)));
    assert_eq!(name(&mut tracker, sent(), Source::Static, 50), Named::New);
}

/// Names a message, lets it become too old, and says whether its row stays, and whether it is remembered.
fn after_its_time(namings: &[(Option<i64>, Source)]) -> (bool, bool) {
    let mut tracker = tracker(9);
    for (sent_at, source) in namings {
        name(
            &mut tracker,
            message("1", None, sent_at.map(at)),
            *source,
            0,
        );
    }
    assert_eq!(tracker.forget_old(now(150)), [key("1")]);
    let keeps_row = tracker.keeps_row(&key("1"));
    tracker.drop_forgotten(at(100), now(200).monotonic);
    (keeps_row, tracker.names(&key("1")))
}

#[test]
fn rows_of_forgotten_messages_stay_only_where_a_source_may_name_them_as_new() {
    use Source::{Api, File, Http, List, Static};
    for (namings, expected) in [
        (&[(Some(0), Api)][..], (false, false)),
        // A list names it again and again, and has it refused once.
        (&[(Some(0), List)], (false, true)),
        (&[(Some(0), Api), (Some(0), List)], (false, true)),
        // Without a time, or with a later one, it would be taken for a new one.
        (&[(None, List)], (true, true)),
        (&[(Some(0), List), (Some(5), Api)], (true, true)),
        (&[(Some(0), File)], (true, true)),
        (&[(Some(0), Api), (None, Http)], (true, true)),
        (&[(None, Static)], (true, true)),
    ] {
        assert_eq!(after_its_time(namings), expected, "{namings:?}");
    }
}

#[test]
fn what_a_wrong_clock_has_dropped_is_read_again_when_it_is_set_right() {
    let mut tracker = tracker(9);
    let sent = message("1", None, Some(at(0)));
    assert_eq!(
        name(&mut tracker, sent.clone(), Source::Api, 500),
        Named::TooOld
    );
    tracker.drop_forgotten(at(400), now(500).monotonic);
    assert!(tracker.reconsider(at(10)));
    assert!(!tracker.reconsider(at(10)), "once");
    assert_eq!(name(&mut tracker, sent, Source::Api, 10), Named::New);
}
