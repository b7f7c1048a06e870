//! The log by itself: what it keeps, what cursors mean, what is sent of it.

use std::time::Duration;

use campanile_protocol::messages::{Content, Encoding, Payload};

use super::*;
use crate::channels::entry::payload_of;
use crate::compression::Inflating;

const NOW_MS: u64 = 1_000_000;

const PLAIN: Variant = Variant { encoding: Encoding::Protobuf, deflate: false };
const JSON: Variant = Variant { encoding: Encoding::Json, deflate: false };

fn namespace(history_messages_max: u32) -> Namespace {
    Namespace { history_messages_max, history_ttl: Duration::from_secs(60), ..Namespace::default() }
}

fn message(text: &str) -> ChannelMessage {
    ChannelMessage {
        channel: "c".to_owned(),
        payload: Some(Payload::text(text.to_owned())),
        ..ChannelMessage::default()
    }
}

fn event(state: &str) -> Event {
    Event { state: state.to_owned(), ..Event::default() }
}

fn len_of(entry: &Arc<Entry>) -> usize {
    entry.frame(PLAIN, &mut Deflating::default()).len()
}

/// Messages 1 to `count`, published at once.
fn log_of(count: u64) -> Log {
    let mut log = Log::new(7);
    for number in 1..=count {
        log.publish(message(&number.to_string()), NOW_MS);
        assert_eq!(log.offset(), number);
    }
    log
}

/// The texts and states that somebody with this cursor is sent.
fn sent(log: &Log, cursor: u32, variant: Variant, bytes_max: usize, now_ms: u64) -> (Vec<String>, u32) {
    let Lag::From(index) = log.lag(cursor) else { return (Vec::new(), cursor) };
    let mut bytes = Vec::new();
    let end = log.gather(index, variant, bytes_max, now_ms, &mut Deflating::default(), &mut bytes);
    let mut decoder = campanile_protocol::frame::Decoder::new();
    let mut input = &mut bytes[..];
    let mut texts = Vec::new();
    while let Some(message) = decoder.next(&mut input, &campanile_protocol::frame::Limits::CLIENT).unwrap() {
        texts.push(match ServerFrame::decode(variant.encoding, &message).unwrap() {
            ServerFrame::ChannelMessage(message) => match message.payload.and_then(|payload| payload.content)
            {
                Some(Content::Text(text)) => text,
                other => panic!("{other:?}"),
            },
            ServerFrame::Event(event) => event.state,
            other => panic!("{other:?}"),
        });
    }
    (texts, end)
}

#[test]
fn a_cursor_gets_everything_after_it_in_either_encoding() {
    let log = log_of(5);
    for variant in [PLAIN, JSON] {
        let (texts, end) = sent(&log, 2, variant, usize::MAX, NOW_MS);
        assert_eq!(texts, ["3", "4", "5"]);
        assert!(matches!(log.lag(end), Lag::None));
    }
}

#[test]
fn one_send_is_bounded_but_never_empty() {
    let log = log_of(5);
    let (texts, end) = sent(&log, 0, PLAIN, 1, NOW_MS);
    assert_eq!((texts, end), (vec!["1".to_owned()], 1));
    let two = len_of(&log.entries[0]) + len_of(&log.entries[1]);
    assert_eq!(sent(&log, 0, PLAIN, two, NOW_MS).1, 2);
    assert_eq!(sent(&log, 0, PLAIN, two + 1, NOW_MS).1, 2);
}

#[test]
fn whoever_lacks_what_is_forgotten_is_lost_and_nobody_else() {
    let mut log = log_of(5);
    log.cut(log.bytes() - 1);
    assert_eq!(log.first(), 1);
    assert!(matches!(log.lag(0), Lag::Lost));
    assert!(matches!(log.lag(1), Lag::From(0)));
    // Also around the end of the numbers that a cursor has.
    let mut log = Log::replica(7, u64::from(u32::MAX), 9, Vec::new());
    log.publish(message("10"), NOW_MS);
    log.publish(message("11"), NOW_MS);
    assert!(matches!(log.lag(u32::MAX - 1), Lag::Lost));
    assert!(matches!(log.lag(u32::MAX), Lag::From(0)));
    assert!(matches!(log.lag(0), Lag::From(1)));
    assert!(matches!(log.lag(1), Lag::None));
}

#[test]
fn recovery_gives_exactly_what_was_missed_or_says_no() {
    let log = log_of(10);
    let namespace = namespace(4);
    let after = |offset| log.cursor_after(offset, &namespace, NOW_MS);
    assert_eq!(after(10), Some(10));
    assert_eq!(after(7), Some(7));
    assert_eq!(after(6), Some(6));
    assert_eq!(after(5), None, "message 6 is not in the history");
    assert_eq!(after(11), None, "never published");
    assert_eq!(log.cursor_after(9, &namespace, NOW_MS + 60_000), None, "too old");
    assert_eq!(log.cursor_after(10, &namespace, NOW_MS + 60_000), Some(10), "nothing was missed");
    assert_eq!(log.history_messages(&namespace, NOW_MS), 4);
    assert_eq!(log.cursor_before_newest(2, &namespace, NOW_MS), 8);
    assert_eq!(log.cursor_before_newest(100, &namespace, NOW_MS), 6);
    assert_eq!(log.cursor_before_newest(0, &namespace, NOW_MS), 10);
}

#[test]
fn without_history_nobody_gets_what_came_before() {
    let (log, namespace) = (log_of(3), namespace(0));
    assert_eq!(log.cursor_after(2, &namespace, NOW_MS), None);
    assert_eq!(log.cursor_after(3, &namespace, NOW_MS), Some(3));
    assert_eq!(log.cursor_before_newest(5, &namespace, NOW_MS), 3);
    assert!(log.history(None, 10, &namespace, NOW_MS).is_empty());
}

#[test]
fn events_stand_between_messages_and_go_stale() {
    let mut log = log_of(1);
    log.announce(event("typing"), NOW_MS);
    log.publish(message("2"), NOW_MS);
    assert_eq!(sent(&log, 0, JSON, usize::MAX, NOW_MS + 1_000).0, ["1", "typing", "2"]);
    assert_eq!(sent(&log, 0, JSON, usize::MAX, NOW_MS + 6_000), (vec!["1".to_owned(), "2".to_owned()], 3));
    // Who has message 1 lacks only message 2.
    assert_eq!(log.cursor_after(1, &namespace(10), NOW_MS), Some(2));
    assert_eq!(log.offset_before(2), 1);
    assert_eq!(log.offset_before(1), 1);
    assert_eq!(log.cursor_of_newest(), 2);
    // The only entry of a status stays.
    log.keep_newest();
    log.announce(event("away"), NOW_MS);
    log.keep_newest();
    assert_eq!(sent(&log, 3, PLAIN, usize::MAX, NOW_MS + 3_600_000).0, ["away"]);
}

#[test]
fn trimming_keeps_the_history_and_what_is_young() {
    let namespace = namespace(2);
    let mut log = log_of(5);
    log.trim(&namespace, NOW_MS + 9_999);
    assert_eq!(log.first(), 0, "all are young");
    log.trim(&namespace, NOW_MS + 10_000);
    assert_eq!(log.first(), 3, "two are history");
    log.trim(&namespace, NOW_MS + 60_000);
    assert!(log.is_empty(), "and too old in the end");
    assert_eq!((log.offset(), log.bytes(), log.head()), (5, 0, 5));

    let mut log = log_of(5);
    let small = Namespace { log_bytes_max: log.bytes() / 2, ..namespace };
    log.trim(&small, NOW_MS);
    assert_eq!(log.entries.len(), 2, "as much as may be kept");
    let tiny = Namespace { log_bytes_max: 1, ..small };
    log.trim(&tiny, NOW_MS);
    assert_eq!(log.entries.len(), 1, "but always the newest");
}

#[test]
fn a_short_send_leaves_only_the_rest_of_one_frame() {
    let log = log_of(3);
    let lens: Vec<usize> = log.entries.iter().map(len_of).collect();
    let rewind = |sent| log.rewind(0, PLAIN, sent, NOW_MS, &mut Deflating::default());
    assert_eq!(rewind(0), Some((0, 0)));
    assert_eq!(rewind(1), Some((1, lens[0] - 1)));
    assert_eq!(rewind(lens[0]), Some((1, 0)));
    assert_eq!(rewind(lens[0] + 1), Some((2, lens[1] - 1)));
    assert_eq!(rewind(lens.iter().sum()), Some((3, 0)));
    assert_eq!(rewind(lens.iter().sum::<usize>() + 1), None);
}

#[test]
fn a_feed_that_leaves_something_out_makes_whoever_lacks_it_lost() {
    let owner = log_of(6);
    let mut replica = Log::replica(7, 0, 2, owner.entries.iter().take(2).map(Arc::clone).collect());
    assert_eq!(replica.head(), owner.first() + 2);
    replica.feed(4, owner.since(4), 6);
    assert_eq!((replica.first(), replica.offset(), replica.head()), (4, 6, 6));
    assert!(matches!(replica.lag(2), Lag::Lost));
    assert_eq!(sent(&replica, 4, PLAIN, usize::MAX, NOW_MS).0, ["5", "6"]);
}

#[test]
fn a_compressed_frame_is_made_once_and_says_the_same() {
    let mut log = Log::new(7);
    log.publish(message(&"to be or not to be, ".repeat(40)), NOW_MS);
    let mut deflating = Deflating::default();
    let variant = Variant { deflate: true, ..JSON };
    let entry = &log.entries[0];
    let frame = entry.frame(variant, &mut deflating);
    assert!(frame.len() * 4 < entry.frame(JSON, &mut deflating).len());
    assert_eq!(frame[0], 0b1100_0001, "FIN, RSV1, text");
    assert_eq!(frame.as_ptr(), entry.frame(variant, &mut deflating).as_ptr());
    let mut inflating = Inflating::default();
    let message = inflating.message(true, payload_of(frame), 1 << 16).unwrap();
    assert!(matches!(ServerFrame::decode(Encoding::Json, &message), Ok(ServerFrame::ChannelMessage(_))));
}

#[test]
fn events_that_are_over_do_not_push_out_the_history() {
    let namespace = Namespace { log_bytes_max: 8 * 1024, ..namespace(10) };
    let mut log = log_of(2);
    for second in 0..50 {
        for _ in 0..4 {
            log.announce(event("typing"), NOW_MS + second * 1_000);
            log.trim(&namespace, NOW_MS + second * 1_000);
        }
    }
    assert_eq!(log.history_messages(&namespace, NOW_MS + 50_000), 2);
    assert_eq!(log.head(), 202, "positions stay what they were");
    let (texts, end) = sent(&log, 0, JSON, usize::MAX, NOW_MS + 50_000);
    assert_eq!(
        (texts.len(), texts[0].as_str(), end),
        (2 + 5 * 4, "1", 202),
        "messages, and what is not stale"
    );
    log.cut(0);
    assert_eq!(log.bytes(), log.entries[0].bytes());
}

#[test]
fn a_feed_without_entries_still_tells_how_far_the_channel_is() {
    let mut replica = Log::replica(7, 0, 2, log_of(2).since(0));
    replica.feed(9, Vec::new(), 9);
    assert_eq!((replica.offset(), replica.head()), (9, 9));
    assert!(matches!(replica.lag(2), Lag::Lost));
    assert!(matches!(replica.lag(replica.cursor_of_newest()), Lag::None));
}
