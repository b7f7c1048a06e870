//! Subscribers that do not keep up.

use std::time::Duration;

use campanile_core::namespaces::SlowPolicy;
use campanile_engine::sim::Faults;
use campanile_protocol::messages::Encoding::{Json, Protobuf};

use crate::support::channels::{a_large_publish, everything};
use crate::support::{Gateway, Setup};

/// Bytes of each message.
const PAYLOAD: usize = 500;

/// Connections that hold little, and a channel `room:1` with a log of so many bytes; who reads, and who does not.
fn room(slow: SlowPolicy, log_bytes_max: usize) -> (Gateway, usize, [usize; 2]) {
    let faults = Faults { window_bytes_max: 3_000, ..Faults::NONE };
    let setup = Setup::shards(2).faults(faults).namespace("room", |namespace| {
        (namespace.slow, namespace.log_bytes_max) = (slow, log_bytes_max);
    });
    // Whoever does not read at all is not what this is about.
    let mut gateway = setup.limits(|limits| limits.pong_timeout_ms = 100_000).start();
    let reads = gateway.subscriber("reads", 1, "room:1");
    let stalls = [Protobuf, Json].map(|encoding| {
        let number = 1 + u32::from(encoding == Json);
        let device = gateway.device_with("stalls", number, encoding, &everything());
        gateway.subscribes(device, "room:1");
        gateway[device].reads = false;
        device
    });
    (gateway, reads, stalls)
}

/// Publishes messages with these kinds, one after the other.
fn publish(gateway: &mut Gateway, kinds: std::ops::Range<u64>) {
    for kind in kinds {
        let published = gateway.publish_all(vec![a_large_publish("room:1", &kind.to_string(), PAYLOAD)]);
        assert!(published[0].is_ok());
    }
}

/// What each that stalls gets when it reads again: what it still had, where the gap ends, and what came behind.
fn told(gateway: &mut Gateway, device: usize, reason: &str) -> (Vec<u64>, u64, Vec<u64>) {
    gateway[device].reads = true;
    gateway.wait(Duration::from_secs(1));
    let gaps = gateway[device].gaps("room:1");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].reason, reason);
    let until = gaps[0].until;
    let (before, after): (Vec<u64>, Vec<u64>) =
        gateway[device].heard_offsets("room:1").into_iter().partition(|&offset| offset <= until);
    assert!(before.iter().copied().eq(1..=before.len() as u64), "{before:?}");
    assert!((before.len() as u64) < until, "nothing was left out");
    assert!(after.iter().copied().eq(until + 1..until + 1 + after.len() as u64), "{until}: {after:?}");
    (before, until, after)
}

#[test]
fn a_subscriber_that_falls_behind_the_log_is_told_of_the_gap_and_goes_on_with_the_newest() {
    let (mut gateway, reads, stalls) = room(SlowPolicy::Skip, 4_000);
    publish(&mut gateway, 1..61);
    assert_eq!(gateway.count("channel_gaps_too_slow"), 0);
    for device in stalls {
        let (_, until, after) = told(&mut gateway, device, "too_slow");
        assert_eq!((until, after), (59, vec![60]));
    }
    assert_eq!(gateway.count("channel_gaps_too_slow"), 2);
    publish(&mut gateway, 61..64);
    for device in stalls {
        assert_eq!(gateway[device].heard_offsets("room:1").split_off(1).last(), Some(&63));
        assert_eq!(gateway[device].gaps("room:1").len(), 1);
    }
    assert_eq!(gateway[reads].heard_offsets("room:1"), (1..64).collect::<Vec<_>>());
    assert_eq!(gateway[reads].gaps("room:1").len(), 0);
    gateway.ends_forgotten();
}

#[test]
fn a_subscriber_that_the_log_still_serves_misses_nothing() {
    let (mut gateway, reads, stalls) = room(SlowPolicy::Skip, 1 << 20);
    publish(&mut gateway, 1..61);
    for device in stalls {
        gateway[device].reads = true;
    }
    gateway.wait(Duration::from_secs(2));
    for device in [reads, stalls[0], stalls[1]] {
        assert_eq!(gateway[device].heard_offsets("room:1"), (1..61).collect::<Vec<_>>());
    }
    assert_eq!(gateway.count("channel_gaps_too_slow") + gateway.count("channel_gaps_conflated"), 0);
    gateway.ends_forgotten();
}

#[test]
fn a_subscriber_of_which_only_the_newest_counts_gets_only_that() {
    for log_bytes_max in [4_000, 1 << 20] {
        let (mut gateway, reads, stalls) = room(SlowPolicy::Conflate, log_bytes_max);
        publish(&mut gateway, 1..61);
        for device in stalls {
            let (_, until, after) = told(&mut gateway, device, "conflated");
            assert_eq!((until, after), (59, vec![60]));
        }
        assert_eq!(gateway.count("channel_gaps_conflated"), 2);
        publish(&mut gateway, 61..64);
        for device in stalls {
            let heard = gateway[device].heard_offsets("room:1");
            assert_eq!(heard[heard.len() - 4..], [60, 61, 62, 63], "who keeps up again gets everything");
        }
        assert_eq!(gateway[reads].heard_offsets("room:1"), (1..64).collect::<Vec<_>>());
        gateway.ends_forgotten();
    }
}

#[test]
fn a_subscriber_that_may_miss_nothing_is_disconnected_instead() {
    let (mut gateway, reads, stalls) = room(SlowPolicy::Close, 4_000);
    publish(&mut gateway, 1..61);
    for device in stalls {
        gateway[device].reads = true;
    }
    gateway.wait(Duration::from_secs(1));
    for device in stalls {
        assert_eq!(gateway[device].code(), Some(1008));
        let heard = gateway[device].heard_offsets("room:1");
        assert!(heard.iter().copied().eq(1..=heard.len() as u64), "{heard:?}");
        assert!(heard.len() < 60 && gateway[device].gaps("room:1").is_empty());
    }
    assert_eq!(gateway.count("sessions_too_slow_for_channel"), 2);
    assert_eq!((gateway.count("sessions"), gateway.count("subscriptions")), (1, 1));
    assert_eq!(gateway[reads].heard_offsets("room:1"), (1..61).collect::<Vec<_>>());
    gateway.ends_forgotten();
}

#[test]
fn what_has_become_too_old_is_not_skipped_silently() {
    for slow in [SlowPolicy::Skip, SlowPolicy::Conflate, SlowPolicy::Close] {
        let (mut gateway, _, stalls) = room(slow, 1 << 20);
        publish(&mut gateway, 1..61);
        // Nothing more is published, and what was is forgotten meanwhile.
        gateway.wait(Duration::from_secs(30));
        assert_eq!(gateway.count("channel_log_bytes"), 0);
        for device in stalls {
            if slow == SlowPolicy::Close {
                gateway[device].reads = true;
                gateway.wait(Duration::from_secs(1));
                assert_eq!(gateway[device].code(), Some(1008));
                continue;
            }
            let reason = if slow == SlowPolicy::Skip { "too_slow" } else { "conflated" };
            let (_, until, after) = told(&mut gateway, device, reason);
            assert_eq!((until, after), (60, vec![]), "{slow:?}");
        }
        publish(&mut gateway, 61..62);
        if slow != SlowPolicy::Close {
            assert!(stalls.iter().all(|&device| gateway[device].heard_offsets("room:1").ends_with(&[61])));
        }
        gateway.ends_forgotten();
    }
}

#[test]
fn one_slow_channel_does_not_cost_a_session_the_messages_of_another() {
    let (mut gateway, _, stalls) = room(SlowPolicy::Skip, 4_000);
    for device in stalls {
        gateway[device].subscribe("calm:1");
    }
    gateway.settle();
    publish(&mut gateway, 1..61);
    for number in 0..5 {
        gateway.publish("calm:1", &number.to_string());
    }
    for device in stalls {
        told(&mut gateway, device, "too_slow");
        assert_eq!(gateway[device].heard_kinds("calm:1"), ["0", "1", "2", "3", "4"]);
        assert_eq!(gateway[device].gaps("calm:1").len(), 0);
    }
    gateway.ends_forgotten();
}

#[test]
fn a_slow_subscriber_holds_at_most_the_rest_of_one_frame() {
    for (slow, log_bytes_max) in [
        (SlowPolicy::Skip, 4_000),
        (SlowPolicy::Skip, 1 << 20),
        (SlowPolicy::Conflate, 4_000),
        (SlowPolicy::Conflate, 1 << 20),
    ] {
        let (mut gateway, reads, stalls) = room(slow, log_bytes_max);
        // What others hold for a moment is not of interest.
        [reads, stalls[1]].iter().for_each(|&device| gateway.hang_up(device, true));
        gateway.settle();
        // A frame with its header, and perhaps the notice of a gap before it.
        let frame = PAYLOAD + 200;
        for round in 0..60u64 {
            let batch =
                (0..5).map(|number| a_large_publish("room:1", &(5 * round + number).to_string(), PAYLOAD));
            gateway.ask_publish(batch.collect());
            for _ in 0..6 {
                gateway.steps(2);
                let held = gateway.count("bytes_held") as usize;
                assert!(held <= frame, "{slow:?} with {log_bytes_max}: {held} bytes are held");
            }
            // Now and then it reads what is there, once.
            gateway[stalls[0]].reads = round % 4 == 0;
            gateway.pump();
            gateway[stalls[0]].reads = false;
        }
        assert!(gateway.count("sends_incomplete") > 3);
        gateway[stalls[0]].reads = true;
        gateway.wait(Duration::from_secs(3));
        assert_eq!(gateway[stalls[0]].heard_offsets("room:1").last(), Some(&300));
        assert_eq!(gateway.count("bytes_held"), 0);
        gateway.ends_forgotten();
    }
}

#[test]
fn who_keeps_up_is_not_blamed_when_too_much_is_published_at_once() {
    let setup = Setup::shards(1).namespace("room", |namespace| {
        (namespace.slow, namespace.log_bytes_max) = (SlowPolicy::Close, 4_000);
    });
    let mut gateway = setup.start();
    let ada = gateway.subscriber("ada", 1, "room:1");
    gateway.publish_all((1..=60).map(|number| a_large_publish("room:1", &number.to_string(), 400)).collect());
    let gaps: Vec<_> = gateway[ada].gaps("room:1").iter().map(|gap| (&*gap.reason, gap.until)).collect();
    assert_eq!(gaps, [("overrun", 59)]);
    assert_eq!(gateway[ada].heard_offsets("room:1"), [60]);
    assert_eq!(gateway[ada].code(), None);
    gateway.ends_forgotten();
}
