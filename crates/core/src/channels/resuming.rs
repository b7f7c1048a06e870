//! Where a subscriber goes on that passes do not bring forward: because it is slow, because more was published at once
//! than its log holds, or because it came late.

use campanile_telemetry::Counter;

use super::log::{Lag, Log};
use crate::counters::ShardCounters;
use crate::namespaces::SlowPolicy;

/// How a subscriber goes on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Resumed {
    /// It is not to go on: its session ends.
    Close,
    /// It is sent what there is from this cursor on, after it was told of a gap if there is one.
    From(u32, Option<GapReason>),
}

/// Why a subscriber does not get some messages.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum GapReason {
    /// It keeps up, but more was published at once than the log holds.
    Overrun,
    /// It fell behind the log.
    TooSlow,
    /// It was slow, and only the newest message counts.
    Conflated,
}

impl GapReason {
    /// The stable reason, for programs.
    pub(super) fn reason(self) -> &'static str {
        match self {
            GapReason::Overrun => "overrun",
            GapReason::TooSlow => "too_slow",
            GapReason::Conflated => "conflated",
        }
    }

    /// What counts such gaps.
    pub(super) fn counter(self, counters: &ShardCounters) -> &Counter {
        match self {
            GapReason::Overrun => &counters.channel_gaps_overrun,
            GapReason::TooSlow => &counters.channel_gaps_too_slow,
            GapReason::Conflated => &counters.channel_gaps_conflated,
        }
    }
}

/// How a subscriber with this cursor goes on in a channel, or in a user's status.
pub(super) fn resume(log: &Log, is_status: bool, policy: SlowPolicy, cursor: u32, is_slow: bool) -> Resumed {
    let newest = log.cursor_of_newest();
    match log.lag(cursor) {
        Lag::None => Resumed::From(cursor, None),
        // Of a status only the newest state counts.
        Lag::Lost if is_status => Resumed::From(newest, None),
        Lag::Lost if !is_slow => Resumed::From(newest, Some(GapReason::Overrun)),
        Lag::Lost => match policy {
            SlowPolicy::Close => Resumed::Close,
            SlowPolicy::Skip => Resumed::From(newest, Some(GapReason::TooSlow)),
            SlowPolicy::Conflate => Resumed::From(newest, Some(GapReason::Conflated)),
        },
        // Of what is lacking only the newest message counts; is there more than that?
        Lag::From(_) if policy == SlowPolicy::Conflate && is_slow && is_before(cursor, newest) => {
            // Events that were passed over are no gap.
            let messages = log.offset_before(newest) - log.offset_before(cursor);
            Resumed::From(newest, (messages > 0 && !is_status).then_some(GapReason::Conflated))
        }
        Lag::From(_) => Resumed::From(cursor, None),
    }
}

/// Whether a cursor comes before another of the same log.
fn is_before(cursor: u32, other: u32) -> bool {
    (other.wrapping_sub(cursor) as i32) > 0
}

#[cfg(test)]
mod tests {
    use campanile_protocol::messages::{ChannelMessage, Event};

    use super::*;

    const NOW_MS: u64 = 1_000_000;

    /// Messages 1 to `count`, of which only the newest is left if the log is `cut`.
    fn log_of(count: u64, cut: bool) -> Log {
        let mut log = Log::new(7);
        (0..count).for_each(|_| log.publish(ChannelMessage::default(), NOW_MS));
        if cut {
            log.keep_newest();
        }
        log
    }

    #[test]
    fn who_lacks_nothing_is_told_nothing() {
        let log = log_of(5, false);
        for policy in [SlowPolicy::Skip, SlowPolicy::Conflate, SlowPolicy::Close] {
            assert_eq!(resume(&log, false, policy, log.head_cursor(), true), Resumed::From(5, None));
        }
    }

    #[test]
    fn nothing_that_is_lost_is_skipped_silently() {
        let log = log_of(5, true);
        let resumed = |policy, is_slow| resume(&log, false, policy, 2, is_slow);
        for policy in [SlowPolicy::Skip, SlowPolicy::Conflate, SlowPolicy::Close] {
            assert_eq!(resumed(policy, false), Resumed::From(4, Some(GapReason::Overrun)), "{policy:?}");
        }
        assert_eq!(resumed(SlowPolicy::Skip, true), Resumed::From(4, Some(GapReason::TooSlow)));
        assert_eq!(resumed(SlowPolicy::Conflate, true), Resumed::From(4, Some(GapReason::Conflated)));
        assert_eq!(resumed(SlowPolicy::Close, true), Resumed::Close);
    }

    #[test]
    fn a_slow_subscriber_gets_all_that_the_log_has_unless_only_the_newest_counts() {
        let log = log_of(5, false);
        for policy in [SlowPolicy::Skip, SlowPolicy::Close] {
            assert_eq!(resume(&log, false, policy, 2, true), Resumed::From(2, None), "{policy:?}");
        }
        let conflated = |cursor, is_slow| resume(&log, false, SlowPolicy::Conflate, cursor, is_slow);
        assert_eq!(conflated(2, true), Resumed::From(4, Some(GapReason::Conflated)));
        assert_eq!(conflated(4, true), Resumed::From(4, None), "only the newest is lacking");
        assert_eq!(conflated(2, false), Resumed::From(2, None), "it keeps up");
    }

    #[test]
    fn events_that_are_passed_over_are_no_gap() {
        let mut log = log_of(1, false);
        log.announce(Event::default(), NOW_MS);
        log.announce(Event::default(), NOW_MS);
        log.publish(ChannelMessage::default(), NOW_MS);
        assert_eq!(resume(&log, false, SlowPolicy::Conflate, 1, true), Resumed::From(3, None));
    }

    #[test]
    fn whoever_watches_a_user_gets_its_newest_state_and_no_gap() {
        let mut log = Log::new(7);
        (0..5).for_each(|_| log.announce(Event::default(), NOW_MS));
        log.keep_newest();
        for policy in [SlowPolicy::Skip, SlowPolicy::Conflate, SlowPolicy::Close] {
            assert_eq!(resume(&log, true, policy, 2, true), Resumed::From(4, None), "{policy:?}");
        }
    }
}
