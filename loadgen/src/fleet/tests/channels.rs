//! Subscribed devices.

use campanile_protocol::messages::{
    ChannelMessage, Error, Gap, Position as WirePosition, Publish, Published, Subscribe, Subscribed,
};

use super::*;
use crate::channels::{Names, Template};
use crate::schedule::Rate;
use crate::stats::ChannelStats;

/// What the server does with every subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelScript {
    /// Sends this a while later.
    Send(&'static [Step]),
    /// Refuses it.
    Forbid,
    /// As it should be for those that come back after message 3: messages 4 and 5 are in the history.
    Recover,
    /// The history has nothing.
    Forget,
    /// Sends one message after the other for as long as there is a connection, and has all of them for those that come
    /// back.
    Chatter,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Message(u64),
    Gap(u64),
}
use Step::{Gap as G, Message as M};

/// What devices asked for.
#[derive(Default)]
pub(super) struct Requests {
    subscribes: Vec<Subscribe>,
    publishes: Vec<Publish>,
}

/// The number that the next message of a new subscription has.
const FIRST: u64 = 1;
/// Channels in all, and of each device.
const CHANNELS: (u32, u32) = (5, 2);
/// Subscriptions in all.
const SUBSCRIPTIONS: u64 = DEVICES as u64 * 2;

fn names() -> Names {
    Names::new(vec![Template::parse("room:{n}").unwrap()], CHANNELS.0).unwrap()
}

fn targets() -> Targets {
    Targets::new(names(), 1)
}

/// A message of the run that belongs to this channel.
fn message(channel: &str, offset: u64) -> ServerFrame {
    let number =
        (0..).find(|&number| targets().names().name(targets().channel_of(number)) == channel).unwrap();
    let mut payload = Vec::new();
    Stamp { run: RUN, number, due: Time(1) }.write(40, &mut payload);
    let payload = Some(Payload::data(payload));
    ServerFrame::ChannelMessage(ChannelMessage {
        channel: channel.into(),
        offset,
        payload,
        ..Default::default()
    })
}

fn send(peer: &mut Peer, frame: ServerFrame) {
    frame.encode_frame(Encoding::Protobuf, &mut peer.out).unwrap();
}

impl ChannelScript {
    pub(super) fn stream(self, peer: &mut Peer) {
        if self == ChannelScript::Chatter {
            peer.turns += 1;
            for (channel, newest) in peer.subscribed.clone().into_iter().zip(peer.newest.clone()) {
                if peer.turns.is_multiple_of(2) {
                    send(peer, message(&channel, newest + 1));
                }
            }
            peer.newest.iter_mut().for_each(|newest| *newest += u64::from(peer.turns.is_multiple_of(2)));
            return;
        }
        let ChannelScript::Send(steps) = self else { return };
        peer.turns += u32::from(peer.subscribed.len() == CHANNELS.1 as usize);
        if peer.turns != WHILE {
            return;
        }
        for step in steps {
            for channel in peer.subscribed.clone() {
                send(
                    peer,
                    match *step {
                        M(offset) => message(&channel, offset),
                        G(until) => ServerFrame::Gap(Gap { channel, until, reason: "too_slow".into() }),
                    },
                );
            }
        }
    }
}

impl Requests {
    pub(super) fn serve(&mut self, script: ChannelScript, peer: &mut Peer, frame: ClientFrame) {
        match frame {
            ClientFrame::Subscribe(frame) => self.subscribe(script, peer, frame),
            ClientFrame::Publish(Publish { r#ref, channel, .. }) if channel == "room:0" => {
                let reason = "publish_too_fast".into();
                send(peer, ServerFrame::Error(Error { reason, r#ref, ..Error::default() }));
            }
            ClientFrame::Publish(frame) => {
                let position = Some(WirePosition { epoch: EPOCH, offset: self.publishes.len() as u64 + 1 });
                let (r#ref, channel) = (frame.r#ref.clone(), frame.channel.clone());
                send(peer, ServerFrame::Published(Published { r#ref, channel, position }));
                self.publishes.push(frame);
            }
            other => panic!("a device sent {other:?}"),
        }
    }

    fn subscribe(&mut self, script: ChannelScript, peer: &mut Peer, frame: Subscribe) {
        let (r#ref, channel) = (frame.r#ref.clone(), frame.channel.clone());
        let position = |offset| Some(WirePosition { epoch: EPOCH, offset });
        let (back, has) = (frame.since.is_some(), frame.since.unwrap_or_default().offset);
        self.subscribes.push(frame);
        let answer = |offset, recovered, channel| {
            ServerFrame::Subscribed(Subscribed {
                r#ref: r#ref.clone(),
                channel,
                position: position(offset),
                recovered,
            })
        };
        peer.subscribed.push(channel.clone());
        match script {
            ChannelScript::Chatter => {
                peer.newest.push(has);
                send(peer, answer(has, back, channel));
            }
            ChannelScript::Forbid => {
                let (reason, message) = ("channel_forbidden".into(), "not yours".into());
                send(peer, ServerFrame::Error(Error { reason, message, r#ref, ..Error::default() }));
            }
            ChannelScript::Send(_) => send(peer, answer(FIRST - 1, false, channel)),
            ChannelScript::Recover | ChannelScript::Forget if !back => {
                send(peer, answer(2, false, channel.clone()));
                send(peer, message(&channel, 3));
            }
            ChannelScript::Recover => {
                send(peer, answer(5, true, channel.clone()));
                send(peer, message(&channel, 4));
                send(peer, message(&channel, 5));
            }
            ChannelScript::Forget => send(peer, answer(1_000, false, channel)),
        }
    }
}

/// A fleet whose devices have two of five channels each.
fn subscribed(
    seed: u64,
    faults: Faults,
    script: ChannelScript,
    change: impl FnOnce(&mut FleetSettings),
) -> Simulation {
    Simulation::with(seed, faults, Script::Channels(script), |settings| {
        settings.ledger = None;
        settings.channels = Some(ChannelSettings {
            subscriptions: Some(Subscriptions::new(names(), CHANNELS.1)),
            check_every: 1,
            resume: false,
            publishing: Some(ChannelPublishing {
                targets: targets(),
                messages: 100,
                payload_bytes: 40,
                from_devices: None,
            }),
            newest: OnceLock::new(),
        });
        change(settings);
    })
}

fn channels(settings: &mut FleetSettings) -> &mut ChannelSettings {
    settings.channels.as_mut().unwrap()
}

/// What a fleet counts that is sent these frames on each subscription.
fn sent(steps: &'static [Step]) -> Arc<Stats> {
    let mut simulation = subscribed(20, Faults::NONE, ChannelScript::Send(steps), |_| {});
    simulation.run();
    simulation.stats
}

#[test]
fn every_device_subscribes_to_its_own_channels() {
    let mut simulation = subscribed(20, Faults::NONE, ChannelScript::Send(&[M(1), M(2)]), |_| {});
    simulation.settle();
    let stats = Arc::clone(&simulation.stats);
    assert_eq!(stats.channels.subscribed.value(), u64::from(DEVICES));
    let server = simulation.end();
    let mut asked: Vec<_> = server.channels.subscribes.iter().map(|frame| frame.channel.clone()).collect();
    asked.sort_unstable();
    let expected = (0..5).flat_map(|number| vec![format!("room:{number}"); SUBSCRIPTIONS as usize / 5]);
    assert_eq!(asked, expected.collect::<Vec<_>>());
    assert!(server.channels.subscribes.iter().all(|frame| frame.since.is_none()));
    let channels = &stats.channels;
    assert_eq!((channels.frames.value(), channels.checked.value()), (2 * SUBSCRIPTIONS, 2 * SUBSCRIPTIONS));
    assert_eq!(stats.details().channel_latency.len(), 2 * SUBSCRIPTIONS);
    assert!(channels.bytes.value() > 80 * SUBSCRIPTIONS && channels.last_frame.value() > 0);
    for wrong in [&channels.gaps_not_told, &channels.duplicated, &channels.astray, &channels.foreign] {
        assert_eq!(wrong.value(), 0);
    }
}

#[test]
fn a_gap_that_is_told_is_no_loss_and_one_that_is_not_is_found() {
    let counts = |stats: &Stats| {
        let channels = &stats.channels;
        [&channels.gaps_told, &channels.missed_told, &channels.gaps_not_told, &channels.missed_not_told]
            .map(|counter| counter.value() / SUBSCRIPTIONS)
    };
    assert_eq!(counts(&sent(&[M(1), G(5), M(6)])), [1, 4, 0, 0]);
    assert_eq!(counts(&sent(&[M(1), G(5), M(7), M(8)])), [1, 4, 1, 1]);
    assert_eq!(counts(&sent(&[M(3)])), [0, 0, 1, 2]);
}

#[test]
fn duplicates_and_disorder_are_told_apart() {
    let counts = |steps| {
        let stats = sent(steps);
        let channels = &stats.channels;
        [&channels.duplicated, &channels.out_of_order, &channels.gaps_not_told]
            .map(|counter| counter.value() / SUBSCRIPTIONS)
    };
    assert_eq!(counts(&[M(1), M(2), M(2), M(1)]), [2, 0, 0]);
    assert_eq!(counts(&[M(2), M(1)]), [0, 1, 1]);
}

#[test]
fn most_devices_only_count_and_count_right_whatever_the_network_does() {
    const STEPS: &[Step] = &[M(1), M(2), G(9), M(10), M(11)];
    for seed in 0..60 {
        let faults = Faults { reset: 0, ..Faults::HOSTILE };
        let change = |settings: &mut FleetSettings| channels(settings).check_every = 5;
        let mut simulation = subscribed(seed, faults, ChannelScript::Send(STEPS), change);
        simulation.settle();
        for _ in 0..40 {
            simulation.world.steps(500);
            if simulation.stats.channels.frames.value() == 4 * SUBSCRIPTIONS {
                break;
            }
        }
        simulation.end();
        let (stats, devices) = (&simulation.stats, u64::from(DEVICES));
        let (connected, channels) = (stats.opened.value(), &stats.channels);
        assert_eq!(connected, devices, "seed {seed}");
        assert_eq!(channels.frames.value(), 4 * SUBSCRIPTIONS, "seed {seed}");
        assert_eq!(channels.checked.value(), 4 * SUBSCRIPTIONS / 5, "seed {seed}");
        assert_eq!(channels.gaps_told.value(), SUBSCRIPTIONS, "seed {seed}: every device hears of gaps");
        assert_eq!(channels.missed_told.value(), 7 * SUBSCRIPTIONS / 5, "seed {seed}");
        assert_eq!(channels.gaps_not_told.value() + stats.undecodable.value(), 0, "seed {seed}");
    }
}

#[test]
fn a_refused_subscription_is_counted_by_its_reason() {
    let mut simulation = subscribed(21, Faults::NONE, ChannelScript::Forbid, |_| {});
    simulation.run();
    let channels: &ChannelStats = &simulation.stats.channels;
    assert_eq!((channels.refused.value(), channels.subscribed.value()), (SUBSCRIPTIONS, 0));
    let details = simulation.stats.details();
    assert_eq!(details.refusals, [("channel_forbidden".to_owned(), SUBSCRIPTIONS)].into());
    let first = details.first_refusal.as_ref().unwrap();
    assert!(first.channel.starts_with("room:") && first.message == "not yours", "{first:?}");
    assert_eq!(simulation.stats.refused_frames.value(), 0, "not counted twice");
}

/// Devices that stay for about a second and come back.
fn coming_and_going(faults: Faults, script: ChannelScript) -> (Arc<Stats>, Vec<Option<WirePosition>>) {
    let mut simulation = subscribed(22, faults, script, |settings| {
        settings.reconnect = true;
        settings.session = Some(Duration::from_secs(1));
    });
    for _ in 0..60 {
        simulation.world.advance(Duration::from_millis(50));
        simulation.world.steps(60);
    }
    let stats = Arc::clone(&simulation.stats);
    let since = simulation.end().channels.subscribes.iter().map(|frame| frame.since);
    (stats, since.filter(Option::is_some).collect())
}

#[test]
fn whoever_comes_back_asks_for_what_it_missed() {
    let (stats, since) = coming_and_going(Faults::NONE, ChannelScript::Recover);
    let (channels, returned) = (&stats.channels, since.len() as u64);
    assert!(returned >= SUBSCRIPTIONS, "{returned} came back");
    assert!(since.contains(&Some(WirePosition { epoch: EPOCH, offset: 3 })));
    // The last of them may not have been answered.
    let recovered = channels.recovered.value();
    assert!(recovered <= returned && recovered + SUBSCRIPTIONS > returned, "{recovered} of {returned}");
    assert!(channels.replayed.value() >= SUBSCRIPTIONS);
    assert_eq!((channels.not_recovered.value(), channels.gaps_not_told.value()), (0, 0));
    let live = channels.checked.value() - channels.replayed.value() - channels.duplicated.value();
    assert_eq!(stats.details().channel_latency.len(), live, "what was recovered waited for its device");
}

#[test]
fn what_is_on_its_way_to_a_device_that_leaves_is_not_its_concern() {
    let (stats, since) =
        coming_and_going(Faults { reset: 0, clock_jump: 0, ..Faults::HOSTILE }, ChannelScript::Chatter);
    let channels = &stats.channels;
    assert!(since.len() as u64 >= SUBSCRIPTIONS && channels.checked.value() > 10 * SUBSCRIPTIONS);
    assert_eq!(channels.checked.value(), channels.frames.value());
    for wrong in [&channels.astray, &channels.duplicated, &channels.gaps_not_told, &channels.not_recovered] {
        assert_eq!(wrong.value(), 0);
    }
    // Nobody is counted as subscribed who has left.
    assert!(channels.subscribed.value() <= stats.opened.value() - stats.left.value());
}

#[test]
fn a_history_that_is_gone_is_counted_and_no_hole() {
    let (stats, since) = coming_and_going(Faults::NONE, ChannelScript::Forget);
    let not_recovered = stats.channels.not_recovered.value();
    assert!(not_recovered > 0 && not_recovered <= since.len() as u64, "{not_recovered}");
    assert!(since.contains(&Some(WirePosition { epoch: EPOCH, offset: 1_000 })));
    assert_eq!((stats.channels.recovered.value(), stats.channels.gaps_not_told.value()), (0, 0));
}

#[test]
fn who_stands_still_has_subscribed_before_and_may_read_again() {
    const STEPS: &[Step] = &[M(1), G(7), M(8), M(10)];
    for resume in [false, true] {
        let mut simulation = subscribed(23, Faults::NONE, ChannelScript::Send(STEPS), |settings| {
            settings.audience.silent_percent = 30;
            channels(settings).resume = resume;
            channels(settings).check_every = 20;
        });
        simulation.settle();
        let (stats, silent) = (Arc::clone(&simulation.stats), SUBSCRIPTIONS * 3 / 10);
        assert_eq!(stats.channels.subscribed.value(), u64::from(DEVICES), "they have subscribed");
        assert_eq!(stats.stalled.value(), u64::from(DEVICES) * 3 / 10);
        assert_eq!(stats.channels.frames.value(), 3 * (SUBSCRIPTIONS - silent));
        assert_eq!(stats.channels.frames_late.value(), 0);
        simulation.control.drain();
        simulation.world.steps(2_000);
        let late = if resume { silent } else { 0 };
        assert_eq!(stats.channels.frames_late.value(), 3 * late);
        assert_eq!(stats.channels.gaps_told_late.value(), late);
        assert_eq!(stats.channels.gaps_told.value(), SUBSCRIPTIONS - silent);
        // They are looked at, and so is device 0.
        assert_eq!(stats.channels.gaps_not_told.value(), late + 2);
        assert_eq!(stats.details().channel_latency.len(), 3 * 2, "and the wait is theirs");
        simulation.end();
    }
}

#[test]
fn what_is_lacking_at_the_end_is_counted() {
    let mut simulation = subscribed(24, Faults::NONE, ChannelScript::Send(&[M(1), M(2)]), |settings| {
        let newest = Position { accepted: 3, epoch: EPOCH, newest: 3 };
        let other = Position { epoch: EPOCH + 1, ..newest };
        channels(settings).newest.set(vec![newest, newest, other, Position::default(), newest]).unwrap();
    });
    simulation.run();
    assert_eq!(
        simulation.stats.channels.behind.value(),
        SUBSCRIPTIONS * 3 / 5,
        "one message of three channels"
    );
}

#[test]
fn devices_publish_in_turn_when_it_is_time_and_hear_what_became_of_it() {
    let mut simulation = subscribed(25, Faults::NONE, ChannelScript::Send(&[]), |settings| {
        settings.audience.silent_percent = 10;
        let devices = DevicePublishing { rate: Rate::Constant(1_000.0), duration: Duration::from_secs(1) };
        channels(settings).publishing.as_mut().unwrap().from_devices = Some(devices);
    });
    simulation.settle();
    assert!(simulation.server().channels.publishes.is_empty(), "nobody has said that it is time");
    let start = simulation.world.time();
    simulation.control.publish(start);
    while simulation.world.time().since(start) < Duration::from_millis(200) {
        simulation.world.steps(1);
    }
    simulation.world.steps(500);
    let stats = Arc::clone(&simulation.stats);
    let refused = (0..100).filter(|&number| targets().channel_of(number) == 0).count() as u64;
    let channels = &stats.channels;
    assert_eq!((channels.offered.value(), channels.sent.value()), (100, 100));
    assert_eq!((channels.accepted.value(), channels.failed.value()), (100 - refused, refused));
    let details = stats.details();
    assert_eq!(details.publish_failures, [("publish_too_fast".to_owned(), refused)].into());
    assert_eq!(details.publish_latency.len(), 100 - refused);
    assert_eq!(details.positions.values().map(|position| position.accepted).sum::<u64>(), 100 - refused);
    assert_eq!(details.positions.values().map(|position| position.newest).max(), Some(100 - refused));
    drop(details);
    let publishes = &simulation.server().channels.publishes;
    let mut numbers = Vec::new();
    for publish in publishes {
        let Some(campanile_protocol::messages::Content::Data(data)) =
            publish.payload.as_ref().and_then(|payload| payload.content.as_ref())
        else {
            panic!("{publish:?}")
        };
        let stamp = Stamp::read(data).unwrap();
        assert_eq!((data.len(), stamp.run), (40, RUN));
        assert_eq!(stamp.due, start + Duration::from_millis(stamp.number));
        assert_eq!(publish.channel, targets().names().name(targets().channel_of(stamp.number)));
        numbers.push(stamp.number);
    }
    numbers.sort_unstable();
    let expected = (0..100).filter(|&number| targets().channel_of(number) != 0);
    assert_eq!(numbers, expected.collect::<Vec<_>>(), "each once");
    simulation.end();
}
