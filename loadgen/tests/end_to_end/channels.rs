//! Channels, through the whole load generator.

use clap::Parser as _;

use super::*;

const TWO_OF_THREE: &str = "--shards 2 --subscribe room:{n} --channels 3 --subscriptions-per-device 2";

/// A run in which nothing goes wrong: 12 devices with two of three channels each.
fn flawless(driver: &str, name: &str, checked: u64, arguments: &str) -> Value {
    let arguments = format!(
        "--driver {driver} {TWO_OF_THREE} --publish-to room:{{n}} --rate 400 --duration 0.5 --fail-above max=60000 {arguments}"
    );
    let (code, report) = load(&format!("{name}-{driver}"), Faults::default(), &arguments);
    assert!(is(code, 0), "{report:#}");
    assert_eq!((&report["pushes"]["to"], &report["deliveries"]), (&"channels".into(), &Value::Null));
    assert_eq!((&report["pushes"]["offered"], &report["pushes"]["accepted"]), (&200.into(), &200.into()));
    let found = &report["channels"];
    assert_eq!((&found["channels"], &found["subscriptions_per_device"]), (&3.into(), &2.into()));
    assert_eq!(found["subscribed_at_end"], 12);
    // Each channel has eight subscribers.
    assert_eq!((&found["expected"], &found["frames"]), (&1_600.into(), &1_600.into()));
    assert!(
        found["frames_per_second"].as_f64().unwrap() > 0.0 && found["bytes"].as_u64().unwrap() > 1_600 * 128
    );
    assert_eq!((&found["checked"], &found["latency_ms"]["count"]), (&checked.into(), &checked.into()));
    for wrong in
        ["gaps_told", "gaps_not_told", "duplicated", "out_of_order", "astray", "foreign", "lost", "refused"]
    {
        assert_eq!(found[wrong], 0, "{wrong}");
    }
    assert_eq!(report["thresholds"][0]["kept"], true);
    report
}

#[test]
fn every_message_reaches_every_subscriber() {
    let report = flawless("uring", "channels-batch", 1_600, "--batch-ms 5");
    assert!(report["pushes"]["requests"].as_u64().unwrap() < 200, "in batches");
    let report = flawless("epoll", "channels-single", 1_600, "--single");
    assert_eq!(report["pushes"]["requests"], 200);
}

#[test]
fn devices_publish_over_their_own_connections() {
    let report = flawless("epoll", "channels-devices", 1_600, "--publish-from devices");
    assert_eq!(report["channels"]["publish_from"], "devices");
    assert_eq!(report["pushes"]["answer_latency_ms"]["count"], 200);
}

#[test]
fn devices_that_only_count_count_the_same() {
    let arguments =
        format!("{TWO_OF_THREE} --publish-to room:{{n}} --rate 400 --duration 0.5 --check-every 12");
    let (code, report) = load("channels-counting", Faults::default(), &arguments);
    assert!(is(code, 0), "{report:#}");
    let found = &report["channels"];
    assert_eq!((&found["frames"], &found["check_every"]), (&1_600.into(), &12.into()));
    let checked = found["checked"].as_u64().unwrap();
    assert!(checked > 0 && checked < 200, "{checked}: two channels of one device");
    assert_eq!(found["latency_ms"]["count"], checked);
}

#[test]
fn subscribers_may_wait_for_what_others_publish() {
    let (code, report) = load("channels-hold", Faults::default(), &format!("{TWO_OF_THREE} --hold 0.1"));
    assert!(is(code, 0), "{report:#}");
    let found = &report["channels"];
    assert_eq!((&found["subscribed_at_end"], &found["frames"]), (&12.into(), &0.into()));
    assert_eq!((&found["publish_from"], &report["pushes"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_hole_that_nobody_told_of_fails_any_run() {
    let run = |name: &str, faults: Faults, messages: u32| {
        let arguments =
            format!("--driver epoll {TWO_OF_THREE} --publish-to room:1 --rate 400 --messages {messages}");
        let (arguments, json) = command_line(name, faults, &arguments);
        let code = campanile_load::main_from(arguments.into_iter());
        let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        (code, report["channels"].clone())
    };
    // 100 messages to eight subscribers; the last one's loss is known from the publisher's answer.
    let (code, found) = run("channels-hole", Faults { lose_every: Some(10), ..Faults::default() }, 100);
    assert!(is(code, 99), "{found:#}");
    assert_eq!((&found["gaps_not_told"], &found["missed_not_told"]), (&(9 * 8).into(), &(9 * 8).into()));
    assert_eq!(found["lost"], 10 * 8);
    // The run ends when all are there, which does not count what comes twice.
    let (code, found) = run("channels-twice", Faults { duplicate_every: Some(10), ..Faults::default() }, 95);
    assert!(is(code, 99), "{found:#}");
    assert_eq!((&found["duplicated"], &found["gaps_not_told"]), (&(9 * 8).into(), &0.into()));
    assert_eq!(found["lost"], 0);
    let (code, found) = run("channels-gap", Faults { skip_every: Some(10), ..Faults::default() }, 100);
    assert!(is(code, 0), "a gap that is told breaks no promise: {found:#}");
    assert_eq!((&found["gaps_told"], &found["missed_told"]), (&(10 * 8).into(), &(10 * 8).into()));
}

#[test]
fn a_gap_is_a_loss_if_losses_matter() {
    let faults = Faults { skip_every: Some(10), ..Faults::default() };
    let arguments = format!("--driver epoll {TWO_OF_THREE} --publish-to room:1 --rate 400 --duration 0.25");
    let (code, report) = load("channels-loss", faults, &arguments);
    assert!(is(code, 99), "{report:#}");
}

#[test]
fn a_limit_that_is_not_kept_fails_the_run() {
    let arguments =
        format!("{TWO_OF_THREE} --publish-to room:1 --rate 100 --duration 0.1 --fail-above p50=0");
    let (code, report) = load("channels-limit", Faults::default(), &arguments);
    assert!(is(code, 99), "{report:#}");
    let threshold = &report["thresholds"][0];
    assert_eq!((&threshold["threshold"], &threshold["kept"]), (&"p(50)<=0".into(), &false.into()));
}

#[test]
fn a_refused_subscription_ends_the_run_with_a_reason_and_a_hint() {
    let faults = Faults { forbidden_channel: Some("room:1"), ..Faults::default() };
    let (arguments, _) = command_line("channels-forbidden", faults, &format!("{TWO_OF_THREE} --hold 60"));
    let plan = campanile_load::options::Options::try_parse_from(arguments).unwrap().plan().unwrap();
    let error = campanile_load::run::run(&plan).unwrap().broken_off.unwrap();
    for part in ["`room:1`", "channel_forbidden (not for you)", "claim `channels`"] {
        assert!(error.contains(part), "{error}");
    }
}
