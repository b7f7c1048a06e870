//! What files mean, what is wrong with those that mean nothing, and the files that are shipped.

use std::path::PathBuf;

use super::file::File;
use super::*;
use crate::options::PublishFrom;
use crate::schedule::Rate;

fn compiled(text: &str, overrides: &Overrides) -> Result<Scenarios, String> {
    parse(text, &overrides.variables).and_then(|file| compile::compile(&file, overrides))
}

/// A scenario that does something, with more lines.
fn with(more: &str) -> String {
    format!(
        "[target]\napi_key_file = \"k\"\njwt_hs256_file = \"s\"\n[scenario.one]\nstages = [{{ duration = \"10s\", \
         target = 100 }}, {{ duration = \"1m\", target = 100 }}, {{ duration = \"5s\", target = 0 }}]\n{more}"
    )
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_file_becomes_a_plan() {
    let text = with(
        "users = 40\nsubscribe = [\"news\"]\nsubscribers = \"${HOW_MANY:-30}\"\nsession = \"30s\"\nack_every = 5\n\
         [[scenario.one.publish]]\nto = \"random-user\"\nrate = 200\ndurability = \"durable\"\npayload = \"1KiB\"\n\
         [[scenario.one.publish]]\nto_channels = [\"news\"]\nfrom = \"devices\"\nrate = \"0.5\"\nstart = \"20s\"\n\
         duration = \"30s\"\n[thresholds]\nerrors = [\"rate<0.01\", \"count<3\"]\n\
         \"lost{scenario:one}\" = [\"count==0\"]",
    );
    let scenarios = compiled(&text, &Overrides::default()).unwrap();
    assert_eq!(scenarios.length_max(), secs(85), "stages, and 10 s to stop");
    assert_eq!(scenarios.thresholds.len(), 3);
    let plan = &scenarios.scenarios[0].plan;
    assert_eq!((plan.options.connections, plan.audience.users, plan.options.ack_every), (100, 40, 5));
    let pushes = plan.pushes.as_ref().unwrap();
    assert_eq!(
        (pushes.start, pushes.duration),
        (Some(secs(10)), secs(58)),
        "while all are there, but for 2 s"
    );
    assert_eq!((pushes.messages(), pushes.payload_bytes), (200 * 58, 1_024));
    let messages = plan.messages.as_ref().unwrap();
    assert_eq!((messages.start, messages.duration, messages.messages()), (Some(secs(20)), secs(30), 15));
    assert_eq!(plan.options.channels.publish_from, PublishFrom::Devices);
    assert_eq!(plan.channels.subscriptions.as_ref().unwrap().devices(), 30);
}

#[test]
fn the_command_line_scales_what_counts_devices_and_what_has_a_time() {
    let text = with(
        "start = \"10s\"\nusers = 50\nsubscribe = [\"news\"]\nsubscribers = 10\n[[scenario.one.publish]]\n\
         to_channels = [\"news\"]\nstages = [{ duration = \"30s\", target = 10 }]\nstart = \"20s\"",
    );
    let overrides =
        Overrides { devices: Some(10), duration: Some(Duration::from_millis(8_500)), ..Overrides::default() };
    let scenarios = compiled(&text, &overrides).unwrap();
    let Scenario { plan, staging, .. } = &scenarios.scenarios[0];
    assert_eq!((plan.options.connections, plan.audience.users), (10, 5));
    assert_eq!(plan.channels.subscriptions.as_ref().unwrap().devices(), 1);
    assert_eq!((staging.start, staging.connections.length()), (secs(1), Duration::from_millis(7_500)));
    let messages = plan.messages.as_ref().unwrap();
    assert_eq!(messages.start, Some(secs(2)));
    let Some(Rate::Stages(rate)) = &messages.rate else { panic!("{messages:?}") };
    assert_eq!((rate.length(), rate.peak()), (secs(3), 10.0), "a rate of messages is no number of devices");
}

#[test]
fn what_cannot_be_read_is_told_with_its_line_and_what_was_meant() {
    for (text, parts) in [
        (with("sesion = \"3s\""), &["line 6", "unknown field `sesion`", "did you mean `session`"][..]),
        (
            with("[[scenario.one.publish]]\nrate = 1\nto_channel = [\"a\"]"),
            &["line 8", "did you mean `to_channels`"],
        ),
        (with("session = \"3x\""), &["line 6", "`3x` is not a number of seconds"]),
        (with("users = \"many\""), &["line 6", "`many` is not a whole number"]),
        (with("users = 1.5"), &["line 6", "`1.5` is not a whole number"]),
        (with("users = [1]"), &["line 6", "a number or a text"]),
        (
            with("[thresholds]\nerror = [\"rate<1\"]"),
            &["line 7", "`error` is no metric", "did you mean `errors`"],
        ),
        (with("[thresholds]\nerrors = [\"rate<l\"]"), &["line 7", "expected a number at column 6"]),
        (with("users = \"${USERS}\""), &["line 6", "${USERS} has no value"]),
        ("[scenario.a]\n".into(), &["line 1", "missing field `stages`"]),
        ("scenario = {}\n[target]\nport = 1".into(), &["line 3", "unknown field `port`"]),
    ] {
        let error = compiled(&text, &Overrides::default()).unwrap_err();
        parts.iter().for_each(|part| assert!(error.contains(part), "{text}: {error}"));
    }
}

#[test]
fn what_makes_no_sense_is_told_with_its_key() {
    let publish = "[[scenario.one.publish]]\n";
    for (more, parts) in [
        ("users = 1\ndevices_per_user = 2".into(), &["scenario.one: ", "exclude each other"][..]),
        ("stalled_percent = 101".into(), &["stalled_percent"]),
        ("subscribers = 3".into(), &["subscribers without subscribe"]),
        ("subscribe = [\"a\", \"a\"]".into(), &["`a` is named twice"]),
        (format!("{publish}to = \"somebody\"\nrate = 1"), &["publish[0]: to: ", "`somebody`"]),
        (format!("{publish}rate = 1\nstages = []"), &["publish[0]: rate and stages exclude"]),
        (format!("{publish}to = \"broadcast\""), &["publish[0]: rate, or stages,"]),
        (format!("{publish}rate = 1\n{publish}rate = 2"), &["publish[1]: a second one to devices"]),
        (format!("{publish}rate = 1\nfrom = \"devices\""), &["publish[0]: from: "]),
        (format!("{publish}rate = 1\nduration = \"2m\""), &["publish[0]: it would last until"]),
        (format!("{publish}rate = 1\npayload = \"3\""), &["payload: 3 is not between 24"]),
        (format!("{publish}rate = 0.0001"), &["no message falls due"]),
        (
            format!("subscribe = [\"a\"]\n{publish}rate = 1\nto_channels = [\"a\"]\nstart = \"1s\""),
            &["who is not subscribed"],
        ),
        (
            "[thresholds]\n\"lost{scenario:on}\" = [\"count==0\"]".into(),
            &["no scenario `on`", "did you mean `one`"],
        ),
        ("[thresholds]\nlost = [\"p(95)<1\"]".into(), &["thresholds.\"lost\"", "a share"]),
    ] {
        let error = compiled(&with(&more), &Overrides::default()).unwrap_err();
        parts.iter().for_each(|part| assert!(error.contains(part), "{more}: {error}"));
    }
    for (text, part) in [
        ("scenario = {}".to_owned(), "there is no scenario"),
        ("[scenario.a]\nstages = [{ duration = 1, target = 0 }]".into(), "no device ever connects"),
        (
            "[scenario.a]\nstages = [{ duration = 1, target = 5 }]".into(),
            "target.jwt_hs256_file or target.tokens_file",
        ),
        (with("").replace("[target]", "[target]\nurl = \"ws://example.com/\""), "target.url: only loopback"),
        (
            with(&format!("{publish}rate = 1")).replace("api_key_file = \"k\"", ""),
            "needs target.api_key_file",
        ),
    ] {
        let error = compiled(&text, &Overrides::default()).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_check_says_what_would_run() {
    let text = with(
        "users = 40\n[[scenario.one.publish]]\nto = \"random-user\"\nrate = 200\n[thresholds]\nlost = [\"count==0\"]",
    );
    let said = compiled(&text, &Overrides::default()).unwrap().to_string();
    for part in [
        "scenario            one",
        "100 of 40 users, all there from 10s to 1m10s; 1m15s in all, and at most 10s more to stop",
        "200/s to random-user from 10s on for 58s: 11,600 messages of 128 bytes",
        "ports             100 of about 224,000 at 8 source addresses",
        "memory            about 0.5 MB",
        "threshold           lost count==0",
        "ends after          1m25s at the latest",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), name].iter().collect()
}

#[test]
fn the_files_that_are_shipped_make_sense_at_their_size() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder("scenarios")).unwrap() {
        let path = entry.unwrap().path();
        let scenarios = load(&path, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(!scenarios.thresholds.is_empty(), "{}", path.display());
        names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    names.sort_unstable();
    assert_eq!(names, ["100k", "broadcast", "chat", "churn", "slow-readers", "smoke", "soak"]);
    let stages = load(&folder("scenarios/100k.toml"), &Overrides::default()).unwrap();
    let plan = &stages.scenarios[0].plan;
    assert_eq!((plan.options.connections, plan.audience.users), (100_000, 33_334));
    assert_eq!(plan.channels.subscriptions.as_ref().unwrap().devices(), 10_000);
    assert_eq!(plan.pushes.as_ref().unwrap().messages(), 2_000 * 178);
}

#[test]
fn the_schema_is_that_of_the_language() {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(File)).unwrap() + "\n";
    let path = folder("scenario.schema.json");
    if std::env::var_os("WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, schema,
        "write it again: WRITE_SCHEMA=1 cargo test -p campanile-load --lib the_schema_is"
    );
}
